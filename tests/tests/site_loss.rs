//! A whole site may be lost in the middle of everything, and one more node with it: documents are stored and
//! read all the time, nothing acknowledged is lost, and a site that comes back becomes whole by itself.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use kluis_tests::{Api, Cluster, ClusterOptions, Load};

/// Two classes of code, and documents of one and of several chunks.
const SIZES: [usize; 3] = [300, 40 << 10, 3 << 20];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_and_one_more_node_are_lost_and_documents_go_on() {
    let cluster = Cluster::start_with(ClusterOptions::eager());
    let api = Api::new(&cluster, cluster.sign_in(0));
    let load = Load::start(&api, 3, 3, &SIZES);
    more_of_both(&cluster, &load, "before anything happens").await;

    // The leader's site: the hardest one to lose.
    let (_, lost_site) = leader(&cluster).await;
    let mut lost = cluster.nodes_of_site(&lost_site);
    println!("site {lost_site} is lost");
    cluster.kill_all(&lost);
    more_of_both(&cluster, &load, "without a site").await;

    let (next, site) = leader(&cluster).await;
    assert_ne!(site, lost_site);
    println!("n{next} of {site} is lost too");
    cluster.kill(next);
    lost.push(next);
    more_of_both(&cluster, &load, "without a site and one more node").await;

    let report = load.stop().await;
    assert_eq!(cluster.live_nodes().len(), 5, "no other process ended");
    report.verify_all(&api).await;
    let status = cluster.status().await;
    assert!(has_finding(&status, "SITE_DOWN") && has_finding(&status, "NODE_DOWN"), "{status}");

    for id in &lost {
        cluster.start_node(*id);
    }
    for id in &lost {
        cluster.wait_ready(*id).await;
    }
    cluster.wait_settled().await;
    let status = cluster.status().await;
    assert_eq!(status["margin"]["sites_may_fail"], 1, "{status}");

    // Only when the first site really has its shards again can another one be missed.
    let other = ["dc1", "dc2", "dc3"].into_iter().find(|name| *name != lost_site && *name != site).unwrap();
    println!("site {other} is lost");
    cluster.kill_all(&cluster.nodes_of_site(other));
    report.verify_all(&api).await;
    api.put("afterwards", vec![7_u8; 100_000]).await.expect("documents are stored without that site, too");
}

/// Waits until the load stored and read a good many documents more.
async fn more_of_both(cluster: &Cluster, load: &Load, when: &str) {
    let (puts, gets) = (load.puts(), load.gets());
    cluster.wait_until(&format!("documents are stored {when}"), 120, async || load.puts() >= puts + 30).await;
    cluster.wait_until(&format!("documents are read {when}"), 120, async || load.gets() >= gets + 30).await;
}

/// The leader of the metadata group that is alive, and its site.
async fn leader(cluster: &Cluster) -> (u64, String) {
    let mut found = None;
    cluster
        .wait_until("there is a leader", 60, async || {
            let status = cluster.status().await;
            let leader = status["metadata"]["leader"].as_u64().filter(|id| cluster.live_nodes().contains(id));
            found = leader.map(|id| (id, cluster.node(id).site));
            found.is_some()
        })
        .await;
    found.unwrap()
}

fn has_finding(status: &serde_json::Value, code: &str) -> bool {
    status["findings"].as_array().unwrap().iter().any(|finding| finding["code"] == code)
}
