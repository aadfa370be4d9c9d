//! A mixed run: documents are stored, read and deleted while nodes are killed, frozen and restarted, shards rot, a disk
//! vanishes and is replaced, and the clock moves. In the end every acknowledged document is read back to the last byte,
//! and every deleted one is gone.
//!
//! Owns: the faults and their order. Not: the load ([`kluis_tests::mixed`]).
//! Holds: what is damaged for good (rot, lost disks) is all of one site, so at most three shards of nine of a chunk:
//! with any number of such faults nothing may be lost.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use kluis_tests::{Api, Cluster, ClusterOptions, Mixed, program::said, rot, switch::Random};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

/// Nodes that are away at a time at most: nine voters keep a majority with one to spare, and documents go on.
const AWAY_MAX: usize = 3;
/// Time between two faults.
const FAULT_EVERY: Duration = Duration::from_secs(1);
/// Time between two lost disks, at least.
const DISK_EVERY: Duration = Duration::from_secs(60);
const SITES: [&str; 3] = ["dc1", "dc2", "dc3"];

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Kill,
    Freeze,
    Restart,
    Rot,
    LoseDisk,
    MoveClock,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn documents_outlive_minutes_of_everything() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let minutes = number("KLUIS_SOAK_MINUTES").unwrap_or(3);
    let seed = number("KLUIS_TEST_SEED").unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs());
    println!("KLUIS_TEST_SEED={seed} chooses the same faults again; {minutes} minutes");

    let cluster = Arc::new(Cluster::start_with(ClusterOptions::eager()));
    let api = Api::new(&cluster, cluster.sign_in(0));
    let load = Mixed::start(&api, 5, &[300, 40 << 10, 1 << 20], seed);
    cluster.wait_until("documents are stored", 60, async || load.puts() >= 30).await;
    let before = load.puts();

    let counts = break_things(&cluster, Random::new(seed), Duration::from_secs(60 * minutes)).await;
    for id in cluster.node_ids() {
        cluster.wait_ready(id).await;
    }
    let stored = load.puts() - before;
    let outcome = load.stop().await;
    println!("faults: {counts:?}; {stored} documents stored meanwhile");
    assert!(stored > 0, "nothing was stored under faults: {:#?}", outcome.samples);
    let happened = |fault| counts.get(&fault).copied().unwrap_or(0);
    assert!(happened(Fault::Kill) > 0 && happened(Fault::LoseDisk) > 0, "too little happened: {counts:?}");
    outcome.verify_all(&api).await;
    assert_eq!(cluster.live_nodes(), cluster.node_ids());
}

/// Makes faults for a while and mends all of them; how many of each there were.
async fn break_things(cluster: &Arc<Cluster>, mut random: Random, length: Duration) -> BTreeMap<Fault, u32> {
    let rotting = cluster.nodes_of_site(SITES[chosen(&mut random, SITES.len())]);
    println!("what is damaged for good is on the nodes {rotting:?}");
    let away = Arc::new(Mutex::new(BTreeSet::new()));
    let mut mending = JoinSet::new();
    let mut counts = BTreeMap::new();
    let until = Instant::now() + length;
    // The first one soon, so that the shortest run has one.
    let mut next_disk = Instant::now();
    let mut ticks = interval(FAULT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < until {
        ticks.tick().await;
        while let Some(mended) = mending.try_join_next() {
            mended.expect("a fault is mended");
        }
        let there: Vec<u64> = {
            let away = away.lock().unwrap();
            cluster.node_ids().into_iter().filter(|id| !away.contains(id)).collect()
        };
        let live = cluster.live_nodes();
        for id in &there {
            assert!(live.contains(id), "n{id} ended by itself\n{}", cluster.tails());
        }
        let fault = drawn(&mut random, Instant::now() >= next_disk);
        let node = there[chosen(&mut random, there.len())];
        let is_leaving = matches!(fault, Fault::Kill | Fault::Freeze | Fault::Restart);
        if is_leaving && cluster.node_ids().len() - there.len() >= AWAY_MAX {
            continue;
        }
        match fault {
            Fault::Kill | Fault::Freeze | Fault::Restart => {
                away.lock().unwrap().insert(node);
                let pause = Duration::from_millis(500 + random.below(4_000));
                mending.spawn(leave(Arc::clone(cluster), Arc::clone(&away), fault, node, pause));
            }
            Fault::Rot => {
                let node = cluster.node(rotting[chosen(&mut random, rotting.len())]);
                let disk = &node.disks[chosen(&mut random, node.disks.len())];
                if !rot::flip_one(disk, &mut random) {
                    continue;
                }
            }
            Fault::LoseDisk => {
                // Alone: the plan that replaces it is made from what all nodes say.
                mended(&mut mending).await;
                lose_disk(cluster, rotting[chosen(&mut random, rotting.len())]).await;
                next_disk = Instant::now() + DISK_EVERY;
            }
            Fault::MoveClock => cluster.advance_clock("30s").await,
        }
        *counts.entry(fault).or_insert(0) += 1;
    }
    mended(&mut mending).await;
    counts
}

/// The next fault.
fn drawn(random: &mut Random, disk_may_go: bool) -> Fault {
    match random.below(20) {
        0..8 => Fault::Kill,
        8..11 => Fault::Freeze,
        11..13 => Fault::Restart,
        13..16 => Fault::Rot,
        16..18 if disk_may_go => Fault::LoseDisk,
        18 => Fault::MoveClock,
        // Often enough that the shortest run has it.
        _ if disk_may_go => Fault::LoseDisk,
        _ => Fault::Rot,
    }
}

fn chosen(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.below(count as u64)).unwrap()
}

async fn mended(mending: &mut JoinSet<()>) {
    while let Some(ended) = mending.join_next().await {
        ended.expect("a fault is mended");
    }
}

/// A node goes and comes back. Signals and waits for processes block, so they are not for the workers of the runtime.
async fn leave(cluster: Arc<Cluster>, away: Arc<Mutex<BTreeSet<u64>>>, fault: Fault, node: u64, pause: Duration) {
    let going = Arc::clone(&cluster);
    let go = move || match fault {
        Fault::Freeze => going.freeze(node),
        Fault::Restart => going.stop_node(node),
        _ => going.kill(node),
    };
    tokio::task::spawn_blocking(go).await.expect("a node goes");
    sleep(pause).await;
    let back = move || if fault == Fault::Freeze { cluster.thaw(node) } else { cluster.start_node(node) };
    tokio::task::spawn_blocking(back).await.unwrap_or_else(|_| panic!("n{node} does not come back"));
    away.lock().unwrap().remove(&node);
}

/// A disk vanishes under a running node, and an empty one takes its place.
async fn lose_disk(cluster: &Cluster, node: u64) {
    let dir = cluster.path().display().to_string();
    let disk = cluster.node(node).disks[0].clone();
    println!("n{node} loses {}", disk.display());
    remove(&disk);
    cluster.stop_node(node);
    // What the node wrote while it was told to stop.
    remove(&disk);
    fs::create_dir(&disk).unwrap();
    cluster.start_node(node);
    cluster.wait_ready(node).await;
    cluster
        .wait_until("the new disk is in use", 120, async || {
            let planned = cluster.kluis(&["cluster", "apply-topology", "--output", "json", "--dir", &dir]);
            let plan: serde_json::Value = serde_json::from_slice(&planned.stdout).unwrap_or_default();
            let ours = |list: &str| plan[list].as_array().is_some_and(|disks| disks.iter().any(|disk| disk["node"] == node));
            if !ours("added") || !ours("removed") {
                return false;
            }
            let applied = cluster.kluis(&["cluster", "apply-topology", "--apply", "--dir", &dir]);
            if !applied.status.success() {
                println!("the plan is not applied: {}", said(&applied));
            }
            applied.status.success()
        })
        .await;
}

/// Removes a directory that somebody may be writing to.
fn remove(dir: &Path) {
    loop {
        match fs::remove_dir_all(dir) {
            Ok(()) => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) => panic!("{}: {error}", dir.display()),
        }
    }
}
