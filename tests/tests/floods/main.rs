//! Promise: floods take a bounded amount of a gateway's memory, and whoever behaves is served beside them.
//!
//! One real cluster whose gateways count by address as they would outside a demo: attackers have loopback
//! addresses of their own. Every case is printed; the memory is looked at after each flood.
//!
//! Reading order: this file (the order of floods, the witness who is served throughout, the memory),
//! [`wire`] (connections from any loopback address), [`idle`] (connections that do nothing or little),
//! [`heads`] (heads that do not end, or grow when they are decoded), [`frames`] (HTTP/2 frames without end),
//! [`tokens`] (guessing).
//!
//! Owns: what many connections and endless input do together. Not: single bad requests (`bad_input/`), QUIC
//! (`peers.rs`).
//! Holds: memory is compared in bytes with the start; nothing here is a promise about time.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod frames;
mod heads;
mod idle;
mod tokens;
mod wire;

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use kluis_tests::{Api, Cluster, ClusterOptions, content};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use wire::Target;

/// What a gateway may hold more than at its start: 64 KiB for each connection that it takes at most. What the
/// floods send and open is far more.
const GROWTH_MAX_KIB: u64 = 4096 * 64;
/// Rounds that the witness makes at least.
const ROUNDS_MIN: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_floods_take_bounded_memory_and_others_are_served() {
    let files = raise_open_files();
    let env = [
        ("KLUIS_GATEWAY_CONNECTIONS_PER_ADDRESS", "64"),
        ("KLUIS_GATEWAY_LOOPBACK_EXEMPT", "false"),
        // Connections stay as long as they are let, so that all of them are there at once.
        ("KLUIS_LIMITS_HEAD_DEADLINE", "5m"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let cluster = Cluster::start_with(ClusterOptions { nodes_per_site: 1, disks_per_node: 3, env, ..ClusterOptions::default() });
    let node = cluster.nodes_of_site("dc1")[0];
    let pid = cluster.node(node).pid;
    let token = cluster.sign_in(0);
    let target = Target::new(&cluster.gateway(0), &cluster.ca_file());

    // Caches fill before the start is measured.
    witness_round(&cluster, &token, 0).await;
    let before = Memory::of(pid);
    println!("at the start: {before:?}");
    let over = AtomicBool::new(false);
    let floods = async {
        for (name, kept) in idle::one_address(&target).await {
            println!("ok   {name} -> {kept}");
        }
        check(pid, &before, "5,000 connections from one address");
        let held = idle::many_addresses(&target, files).await;
        // The node takes its figures every other second.
        cluster
            .wait_until("connections are refused for want of places", 120, async || {
                let figures = cluster.figures(node).await;
                figures.is_some_and(|figures| figures.sum("kluis_http_connections_refused_total") >= 10_000.0)
            })
            .await;
        check(pid, &before, "10,000 slow connections from 200 addresses");
        // All places are taken as far as strangers get them, and one who never asked before comes.
        let late = tokens::late_comer(&cluster).await;
        println!("ok   a new address among {} connections -> {late}", held.len());
        assert_eq!(late, 200);
        drop(held);
        heads::endless(&target).await;
        check(pid, &before, "heads that do not end");
        heads::growing(&target).await;
        check(pid, &before, "heads that grow when they are decoded");
        frames::floods(&target).await;
        check(pid, &before, "floods of HTTP/2 frames");
        tokens::guessing(&cluster).await;
        over.store(true, Ordering::Relaxed);
    };
    let witness = async {
        let mut rounds = 0;
        while rounds < ROUNDS_MIN || !over.load(Ordering::Relaxed) {
            rounds += 1;
            witness_round(&cluster, &token, rounds).await;
        }
        rounds
    };
    let ((), rounds) = tokio::join!(floods, witness);
    println!("ok   served throughout -> {rounds} documents");
    check(pid, &before, "all floods");
    assert_eq!(cluster.node(node).pid, pid);
    assert_eq!(cluster.live_nodes().len(), 3, "a process died");
}

/// A document goes in and comes back at the flooded gateway, over connections of its own.
async fn witness_round(cluster: &Cluster, token: &str, round: u64) {
    let api = Api::new(cluster, token).at(0);
    let body = content(round, 40_000);
    let doc = api.put(&format!("witness {round}"), body.clone()).await.expect("the witness stores");
    assert!(api.get(&doc.id).await.expect("the witness reads") == body, "document {round} changed");
    api.delete(&doc.id).await.expect("the witness deletes");
}

/// Memory of a process.
#[derive(Debug)]
struct Memory {
    now_kib: u64,
    peak_kib: u64,
}

impl Memory {
    fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the gateway runs");
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells memory in kB");
            line.trim().strip_suffix(" kB").and_then(|kib| kib.parse().ok()).expect("memory is a number")
        };
        Self { now_kib: field("VmRSS:"), peak_kib: field("VmHWM:") }
    }
}

/// The most that the gateway ever held, against its start.
fn check(pid: u32, before: &Memory, what: &str) {
    let now = Memory::of(pid);
    println!("ok   memory after {what} -> {now:?}");
    let most = before.peak_kib.max(before.now_kib + GROWTH_MAX_KIB);
    assert!(now.peak_kib <= most, "{what}: {now:?}, {before:?} at the start, {most} KiB at most");
}

/// Open files that this process, and whatever it starts, may have.
fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).expect("a limit may be raised to its maximum");
    limit.maximum.unwrap_or(u64::MAX)
}
