//! Any node may be killed at any instant: for sixty seconds one dies every second and is started again at once,
//! whether it had come up from its last death or not, and every document that was acknowledged meanwhile is there
//! to the last byte.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeMap,
    process::Output,
    sync::Arc,
    time::{Duration, SystemTime},
};

use kluis_tests::{Api, Cluster, Load, content, program::said};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval},
};

/// Nodes that are killed, one a second.
const KILLS: usize = 60;
/// Documents that must be acknowledged meanwhile: fewer would show nothing.
const STORED_MIN: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_die_every_second_and_every_acknowledged_document_is_there() {
    let seed = std::env::var("KLUIS_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs());
    println!("KLUIS_TEST_SEED={seed} draws the same numbers again");
    let cluster = Arc::new(Cluster::start());
    let api = Api::new(&cluster, cluster.sign_in(0));
    let load = Load::start(&api, 3, 3, &[300, 40 << 10, 1 << 20]);
    cluster.wait_until("documents are stored", 60, async || load.puts() >= 10).await;

    let before = load.puts();
    let mut starts = Starts::default();
    let mut early = 0;
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for choice in content(seed, KILLS) {
        ticks.tick().await;
        starts.look(&cluster).await;
        let mut running = Vec::new();
        cluster
            .wait_until("some node runs", 60, async || {
                running = cluster.live_nodes();
                !running.is_empty()
            })
            .await;
        let id = running[usize::from(choice) % running.len()];
        cluster.kill(id);
        early += usize::from(starts.again(&cluster, id));
    }
    starts.finish().await;
    assert_eq!(cluster.live_nodes(), cluster.node_ids(), "a node ended by itself");
    let stored = load.puts() - before;
    for id in cluster.node_ids() {
        cluster.wait_ready(id).await;
    }
    let report = load.stop().await;
    cluster
        .wait_until("the cluster is whole", 120, async || {
            let status = cluster.status().await;
            let up = status["nodes"].as_array().unwrap().iter().filter(|node| node["up"] == true).count();
            up == cluster.node_ids().len() && status["metadata"]["voters_up"] == 9
        })
        .await;
    println!("{KILLS} kills, {early} of them of a node that was still starting; {stored} documents stored meanwhile");
    assert!(stored >= STORED_MIN, "only {stored} documents were stored while nodes died: {:#?}", report.samples);
    report.verify_all(&api).await;
    let others = report.verify_unacknowledged(&api).await;
    println!("{others} documents are there that were not acknowledged");
    assert_eq!(cluster.live_nodes(), cluster.node_ids(), "a node ended by itself");
}

/// The starts that are under way, at most one that counts for a node.
#[derive(Default)]
struct Starts {
    under_way: BTreeMap<u64, JoinHandle<Output>>,
    /// Starts of processes that were killed before they listened: they may fail.
    overtaken: Vec<JoinHandle<Output>>,
}

impl Starts {
    /// Starts a node that was killed; whether its last start was still under way.
    fn again(&mut self, cluster: &Arc<Cluster>, id: u64) -> bool {
        let cluster = Arc::clone(cluster);
        let start = spawn_blocking(move || cluster.try_start_node(id));
        let last = self.under_way.insert(id, start);
        let early = last.is_some();
        self.overtaken.extend(last);
        early
    }

    /// Looks whether every start that ended went well, and whether every node lives that is not starting.
    async fn look(&mut self, cluster: &Cluster) {
        let ended: Vec<u64> = self.under_way.iter().filter(|(_, start)| start.is_finished()).map(|(id, _)| *id).collect();
        for id in ended {
            let start = self.under_way.remove(&id).expect("it was there a moment ago");
            went_well(id, start).await;
        }
        let live = cluster.live_nodes();
        for id in cluster.node_ids() {
            assert!(live.contains(&id) || self.under_way.contains_key(&id), "n{id} ended by itself");
        }
    }

    /// Waits until every node was started.
    async fn finish(self) {
        for start in self.overtaken {
            start.await.expect("a start does not panic");
        }
        for (id, start) in self.under_way {
            went_well(id, start).await;
        }
    }
}

async fn went_well(id: u64, start: JoinHandle<Output>) {
    let output = start.await.expect("a start does not panic");
    assert!(output.status.success(), "n{id} does not start again: {}", said(&output));
}
