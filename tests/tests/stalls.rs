//! What clients of the other sites notice when a site, or the leader of the metadata, is lost or frozen: measured at
//! default settings and printed.
//!
//! Owns: the cases. Not: a limit on the times (they depend on the machine; the promise is p99 of at most 1 s for writes
//! and 0.5 s for reads). What is promised here: every call succeeds in the end, with the right bytes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use kluis_tests::{
    Api, Cluster,
    paced::{Kind, Paced, Table},
};
use tokio::time::Instant;

/// Calls before the fault: connections are warm, documents are there to be read.
const BEFORE: usize = 30;
/// Calls of each kind that are due after it and are measured.
const PUTS: usize = 200;
const GETS: usize = 400;
const SITES: [&str; 3] = ["dc1", "dc2", "dc3"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_other_sites_go_on_when_a_site_or_the_leader_is_lost_or_frozen() {
    let cluster = Cluster::start();
    let api = Api::new(&cluster, cluster.sign_in(0));
    let mut table = Table::default();

    let (_, leading) = cluster.leader().await;
    measure(&cluster, &api, &leading, "nothing happens", &mut table, |_| {}).await;

    for with_leader in [false, true] {
        let site = site(&cluster, with_leader).await;
        let which = if with_leader { "the leader's site" } else { "a site without the leader" };
        let nodes = cluster.nodes_of_site(&site);
        measure(&cluster, &api, &site, &format!("{which} is killed"), &mut table, |cluster| cluster.kill_all(&nodes)).await;
        for id in &nodes {
            cluster.start_node(*id);
        }
        recovered(&cluster).await;
    }

    let (leader, leading) = cluster.leader().await;
    measure(&cluster, &api, &leading, "the leader alone is killed", &mut table, |cluster| cluster.kill(leader)).await;
    cluster.start_node(leader);
    recovered(&cluster).await;

    for with_leader in [false, true] {
        let site = site(&cluster, with_leader).await;
        let which = if with_leader { "the leader's site" } else { "a site without the leader" };
        let nodes = cluster.nodes_of_site(&site);
        let freeze = |cluster: &Cluster| nodes.iter().for_each(|id| cluster.freeze(*id));
        measure(&cluster, &api, &site, &format!("{which} is frozen"), &mut table, freeze).await;
        let thaw = |cluster: &Cluster| nodes.iter().for_each(|id| cluster.thaw(*id));
        measure(&cluster, &api, &site, &format!("{which} goes on"), &mut table, thaw).await;
        recovered(&cluster).await;
    }
    println!("\n{table}");
    assert_eq!(cluster.live_nodes(), cluster.node_ids(), "a process ended by itself");
}

/// Measures what is due from the fault on, at the gateways of the sites that it spares.
async fn measure(cluster: &Cluster, api: &Api, site: &str, case: &str, table: &mut Table, fault: impl FnOnce(&Cluster)) {
    let spared: Vec<Api> = (0..SITES.len()).filter(|i| SITES[*i] != site).map(|i| api.at(i)).collect();
    assert_eq!(spared.len(), 2);
    let calls = Paced::start(&spared);
    let began = Instant::now();
    let done = |since, puts, gets| calls.done(Kind::Put, since) >= puts && calls.done(Kind::Get, since) >= gets;
    cluster.wait_until("calls succeed before the fault", 120, async || done(began, BEFORE, BEFORE)).await;
    let since = Instant::now();
    fault(cluster);
    cluster.wait_until(&format!("calls succeed: {case}"), 180, async || done(since, PUTS, GETS)).await;
    let stalls = calls.stop(since).await;
    println!("{case}: {stalls:?}");
    table.add(case, stalls);
}

/// The site of the leader, or another one.
async fn site(cluster: &Cluster, with_leader: bool) -> String {
    let (_, leading) = cluster.leader().await;
    let found = SITES.into_iter().find(|site| (*site == leading) == with_leader);
    found.expect("there are three sites").to_owned()
}

/// All nodes serve again, under a leader.
async fn recovered(cluster: &Cluster) {
    for id in cluster.node_ids() {
        cluster.wait_ready(id).await;
    }
    cluster.leader().await;
}
