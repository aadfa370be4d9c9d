//! Sites far from each other, behind a network that delays, loses and cuts: documents go in and out, nothing that was
//! acknowledged is lost, the majority goes on, and a site that comes back becomes whole without bringing back what was
//! deleted.
//!
//! Owns: faults of the network. Not: faults of processes and disks. Times are printed, none is promised here.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use kluis_tests::{
    Api, Load, NetnsCluster, content,
    netns_cluster::{CLIENT, SITE_PORTS},
};
use tokio::time::{MissedTickBehavior, interval};

/// Two classes of code, and documents of one and of several chunks.
const SIZES: [usize; 3] = [300, 40 << 10, 1 << 20];
/// The site that the network takes away.
const LOST: usize = 2;
/// The others.
const KEPT: [usize; 2] = [0, 1];
/// How long a flapping link is up, and how long down.
const FLAP: Duration = Duration::from_secs(1);
/// How often it goes down.
const FLAPS: usize = 10;

#[test]
fn documents_go_in_and_out_over_a_slow_lossy_network_and_through_one_way_cuts() {
    let cluster = NetnsCluster::start(1);
    // 20 ms there and back, and every hundredth frame is lost.
    cluster.switch.among(&SITE_PORTS, |faults| {
        faults.delay_us = 10_000;
        faults.jitter_us = 1_000;
        faults.loss_ppm = 10_000;
    });
    cluster.as_client(async || {
        let api = cluster.api();
        let load = Load::start(&api, 3, 3, &SIZES);
        more_of_both(&cluster, &load, "over a slow network that loses").await;
        let lost: u64 = SITE_PORTS.iter().map(|to| cluster.switch.counters(0, *to).lost).sum();
        assert!(lost > 0, "the network lost nothing: no fault was made");

        // It hears the others and is not heard by them, then the other way round.
        for (what, outwards) in [("that is not heard", true), ("that does not hear", false)] {
            for other in KEPT {
                let (from, to) = if outwards { (LOST, other) } else { (other, LOST) };
                cluster.switch.change(from, to, |faults| faults.cut = true);
            }
            more_of_both(&cluster, &load, &format!("beside a site {what}")).await;
            cluster.switch.isolate(LOST, &KEPT, false);
            more_of_both(&cluster, &load, "when it is back").await;
        }
        let report = load.stop().await;
        all_there(&cluster).await;
        for gateway in SITE_PORTS {
            report.verify_all(&api.at(gateway)).await;
        }
    });
    assert_eq!(cluster.live_nodes().len(), 9, "a process ended by itself");
}

#[test]
fn a_flapping_link_loses_nothing_and_the_majority_goes_on() {
    let cluster = NetnsCluster::start(2);
    cluster.as_client(async || {
        let api = cluster.api();
        // At the gateways of the majority: who is at the other one notices every flap.
        let load = Load::start(&cluster.api_at(&KEPT), 3, 3, &SIZES);
        more_of_both(&cluster, &load, "before anything happens").await;
        let (puts, gets) = (load.puts(), load.gets());
        let mut ticks = interval(FLAP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..FLAPS {
            for cut in [true, false] {
                ticks.tick().await;
                cluster.switch.isolate(LOST, &KEPT, cut);
            }
        }
        let (stored, read) = (load.puts() - puts, load.gets() - gets);
        println!("while the link flapped: {stored} documents stored, {read} read");
        assert!(stored > 0 && read > 0, "the majority did not go on: {stored} stored, {read} read");
        more_of_both(&cluster, &load, "when the link is steady").await;
        let report = load.stop().await;
        all_there(&cluster).await;
        for gateway in SITE_PORTS {
            report.verify_all(&api.at(gateway)).await;
        }
    });
    assert!(cluster.switch.counters(LOST, 0).cut > 0, "nothing was cut: no fault was made");
    assert_eq!(cluster.live_nodes().len(), 9, "a process ended by itself");
}

#[test]
fn a_site_that_was_cut_off_becomes_whole_and_brings_no_deleted_document_back() {
    let cluster = NetnsCluster::start(3);
    cluster.as_client(async || {
        let api = cluster.api();
        let mut doomed = Vec::new();
        for seed in 0..20_u64 {
            doomed.push(api.put(&format!("to be deleted {seed}"), content(seed, 100_000)).await.unwrap().id);
        }
        let load = Load::start(&api, 3, 2, &SIZES);
        more_of_both(&cluster, &load, "before anything happens").await;

        // From everybody: its own clients, too.
        cluster.switch.isolate(LOST, &[0, 1, CLIENT], true);
        more_of_both(&cluster, &load, "without the site").await;
        for id in &doomed {
            api.delete(id).await.expect("the majority deletes");
        }
        more_of_both(&cluster, &load, "still without it").await;
        let report = load.stop().await;

        cluster.switch.isolate(LOST, &[0, 1, CLIENT], false);
        all_there(&cluster).await;
        report.verify_all(&api.at(LOST)).await;
        gone(&api.at(LOST), &doomed).await;
        cluster.wait_settled().await;

        // Now another one is gone for good: what the site missed has to be there.
        cluster.kill_all(&cluster.nodes_of_site(0));
        let rest = api.at(LOST);
        report.verify_all(&rest).await;
        gone(&rest, &doomed).await;
        rest.put("afterwards", content(99, 100_000)).await.expect("documents are stored without that site, too");
    });
    assert_eq!(cluster.live_nodes().len(), 6, "a process ended by itself");
}

/// Waits until all nodes are seen by an operator, under one leader.
async fn all_there(cluster: &NetnsCluster) {
    cluster
        .wait_until("all nodes are seen", 180, async || {
            let status = cluster.status();
            let up = |node: &serde_json::Value| node["up"] == true;
            status["metadata"]["leader"].is_u64()
                && status["nodes"].as_array().is_some_and(|nodes| nodes.len() == 9 && nodes.iter().all(up))
        })
        .await;
}

async fn gone(api: &Api, ids: &[String]) {
    for id in ids {
        let failure = api.get(id).await.expect_err("a deleted document came back");
        assert_eq!(failure.status, Some(404), "{failure}");
    }
    let listed = api.list().await.expect("documents are listed");
    assert!(listed.iter().all(|document| !ids.contains(&document.id)), "a deleted document is listed");
}

/// Waits until the load stored and read a good many documents more.
async fn more_of_both(cluster: &NetnsCluster, load: &Load, when: &str) {
    let (puts, gets) = (load.puts(), load.gets());
    cluster.wait_until(&format!("documents are stored {when}"), 180, async || load.puts() >= puts + 20).await;
    cluster.wait_until(&format!("documents are read {when}"), 180, async || load.gets() >= gets + 20).await;
}
