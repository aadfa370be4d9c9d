//! Any node may be killed at any instant: for a minute one dies every second, comes back a second later, and
//! every document that was acknowledged meanwhile is there to the last byte.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use kluis_tests::{Api, Cluster, Load, content};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// How long nodes are killed.
const KILLING: Duration = Duration::from_secs(60);
/// Nodes that are away at a time at most: nine voters keep a majority, so that there is load to lose.
const AWAY_MAX: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_die_every_second_and_every_acknowledged_document_is_there() {
    let seed = std::env::var("KLUIS_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs());
    println!("KLUIS_TEST_SEED={seed} chooses the same nodes again");
    let cluster = Arc::new(Cluster::start());
    let api = Api::new(&cluster, cluster.sign_in(0));
    let load = Load::start(&api, 3, 3, &[300, 40 << 10, 1 << 20]);
    cluster.wait_until("documents are stored", 60, async || load.puts() >= 10).await;

    let before = load.puts();
    let away = Arc::new(Mutex::new(BTreeSet::new()));
    let mut starts = Vec::new();
    let mut kills = 0;
    let mut choices = content(seed, 1024).into_iter();
    let until = Instant::now() + KILLING;
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < until {
        ticks.tick().await;
        let there: Vec<u64> = {
            let away = away.lock().unwrap();
            if away.len() >= AWAY_MAX {
                continue;
            }
            cluster.node_ids().into_iter().filter(|id| !away.contains(id)).collect()
        };
        let id = there[usize::from(choices.next().expect("there are more choices than seconds")) % there.len()];
        assert!(cluster.live_nodes().contains(&id), "n{id} ended by itself");
        cluster.kill(id);
        kills += 1;
        away.lock().unwrap().insert(id);
        let (cluster, away) = (Arc::clone(&cluster), Arc::clone(&away));
        starts.push(tokio::spawn(async move {
            sleep(Duration::from_secs(1)).await;
            let started = tokio::task::spawn_blocking(move || cluster.start_node(id)).await;
            started.unwrap_or_else(|_| panic!("n{id} does not start again"));
            away.lock().unwrap().remove(&id);
        }));
    }
    for start in starts {
        start.await.expect("every node starts again");
    }
    for id in cluster.node_ids() {
        cluster.wait_ready(id).await;
    }
    let stored = load.puts() - before;
    let report = load.stop().await;
    println!("{kills} kills, {stored} documents stored meanwhile");
    assert!(kills >= 15, "only {kills} nodes were killed");
    assert!(stored > 0, "nothing was stored while nodes died: {:#?}", report.samples);
    report.verify_all(&api).await;
    assert_eq!(cluster.live_nodes(), cluster.node_ids());
}
