//! Promise: bad input gets a clear, coded answer, costs bounded memory and changes nothing.
//!
//! One real cluster for all cases, so that each meets what the others left behind. Every case is a line of a
//! table (case -> answer); the test fails at the end with all lines that are wrong.
//!
//! Reading order: this file (the order of cases, and what must hold after them), [`world`] (what a case
//! does), [`wire`] (bytes that no proper client sends), then the cases: [`tokens`], [`uploads`], [`reads`],
//! [`heads`], [`operators`], [`slow`].
//!
//! Owns: the HTTP contract under bad input, on real processes. Not: resumable uploads (`tus.rs`), the contract's own form (`openapi.rs`).
//! Holds: after all cases the cluster is healthy, no process died, and exactly what was acknowledged is listed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod heads;
mod operators;
mod reads;
mod slow;
mod tokens;
mod uploads;
mod wire;
mod world;

use std::{fs, sync::Arc};

use kluis_tests::Cluster;

use wire::Target;
use world::World;

/// Most memory that a gateway may ever have held, in KiB: a fraction of the 1 GB that went through it.
const GATEWAY_MAX_KIB: u64 = 512 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cluster_bad_input_gets_a_clear_answer_and_changes_nothing() {
    let cluster = Cluster::start();
    let gateways: Vec<String> = (0..3).map(|site| cluster.gateway(site)).collect();
    let target = Target::new(&gateways[0], &cluster.ca_file());
    let tokens = [0, 1, 2, 3].map(|person| cluster.sign_in(person));
    let pids: Vec<u32> =
        cluster.demo["nodes"].as_array().unwrap().iter().map(|n| u32::try_from(n["pid"].as_u64().unwrap()).unwrap()).collect();
    let started: Vec<Option<String>> = pids.iter().map(|pid| start_time(*pid)).collect();
    assert!(started.iter().all(Option::is_some), "every node runs: {started:?}");

    let clock_url = cluster.demo["clock_url"].as_str().unwrap().to_owned();
    let world = Arc::new(World::new(cluster.client(), gateways, target, tokens, clock_url));
    let slow = tokio::spawn(slow::run(world.clone()));
    tokens::bad_tokens(&world).await;
    tokens::replayed_sign_in(&world).await;
    tokens::revoked(&world, &cluster.sign_in(0)).await;
    tokens::foreign_documents(&world).await;
    uploads::bodies(&world).await;
    uploads::names(&world).await;
    uploads::idempotency(&world).await;
    uploads::json(&world).await;
    reads::ranges(&world).await;
    reads::conditions(&world).await;
    reads::two_writers(&world).await;
    reads::lists(&world).await;
    heads::heads(&world).await;
    heads::chunked(&world).await;
    operators::strangers(&world, &cluster).await;
    slow.await.unwrap();
    uploads::big(&world).await;
    let used_kib = peak_kib(pids[0]);
    world.holds(format!("peak memory of the gateway below {GATEWAY_MAX_KIB} KiB"), used_kib < GATEWAY_MAX_KIB, used_kib);
    tokens::expired(&world).await;

    after(&cluster, &world).await;
    for (pid, before) in pids.iter().zip(&started) {
        world.holds(format!("process {pid} lives"), start_time(*pid) == *before, start_time(*pid));
    }
    world.finish();
}

/// What holds when all is over.
async fn after(cluster: &Cluster, world: &World) {
    let token = cluster.sign_in(0);
    let (listed, acknowledged) = (world.listed(&token).await, world.acknowledged());
    let unknown: Vec<&String> = listed.symmetric_difference(&acknowledged).collect();
    world.holds("exactly what was acknowledged is listed", unknown.is_empty() && !listed.is_empty(), unknown);
    for id in &acknowledged {
        let got = world.send(2, &token, "GET", &format!("/v1/documents/{id}/content"), &[], b"").await;
        world.check("an acknowledged document is read at another site", &["200"], got.brief());
    }
    for (name, person, documents) in [("somebody else", 1, 1), ("who was slow", 2, 0), ("who stored 1 GB", 3, 0)] {
        let listed = world.listed(&cluster.sign_in(person)).await;
        world.holds(format!("documents of {name}"), listed.len() == documents, listed);
    }
    world.holds("no quota is held", world.wait_reserved(&token, false).await, "still reserved");
    let status = cluster.status().await;
    let critical: Vec<&serde_json::Value> = status["findings"].as_array().unwrap().iter().filter(|f| f["severity"] == "critical").collect();
    world.holds("the cluster is well", critical.is_empty() && status["nodes"].as_array().unwrap().iter().all(|n| n["up"] == true), &status);
}

/// When a process was started, in clock ticks; `None` when it is gone or ended (proc(5), fields 3 and 22).
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

/// The most memory that a process ever held, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
