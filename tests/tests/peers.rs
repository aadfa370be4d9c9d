//! Promise: a hostile or broken peer on QUIC gets a clear, coded refusal, costs bounded memory and harms
//! nobody else.
//!
//! Reading order: [`world`] (authority, nodes, callers made by hand), [`certificates`] (who is let in),
//! [`frames`] (what is understood), [`greedy`] (who takes too much), and here one real cluster under a rain
//! of garbage.
//!
//! Holds: the node under test is the product's own hub with the product's own handler and a real disk; only
//! the callers are made by hand, with `quinn` and `rustls` alone.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "peers/certificates.rs"]
mod certificates;
#[path = "peers/frames.rs"]
mod frames;
#[path = "peers/greedy.rs"]
mod greedy;
#[path = "peers/world.rs"]
mod world;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use kluis_tests::{Api, Cluster, content};

/// Datagrams thrown at a node.
const DATAGRAMS: u64 = 100_000;

/// Bytes that look random and are the same in every run.
fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// Sends garbage: of every length, half of it with the first bytes of a QUIC version 1 Initial packet, so
/// that it gets past the first look.
fn rain(target: SocketAddr) {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let mut next = noise(7);
    for number in 0..DATAGRAMS {
        let len = usize::try_from(1 + next() % 1_400).unwrap();
        let mut datagram: Vec<u8> = std::iter::repeat_with(|| next().to_le_bytes()).take(len.div_ceil(8)).flatten().collect();
        datagram.truncate(len);
        if number % 2 == 0 {
            for (byte, quic) in datagram.iter_mut().zip([0xc3, 0, 0, 0, 1, 8]) {
                *byte = quic;
            }
        }
        // A full buffer is the kernel's way of dropping rain.
        let _ = socket.send_to(&datagram, target);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_serves_documents_under_a_rain_of_garbage_datagrams() {
    let cluster = Cluster::start();
    let api = Api::new(&cluster, cluster.sign_in(0));
    let status = cluster.status().await;
    let target = |id: u64| -> SocketAddr {
        let nodes = status["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|n| n["id"] == id).expect("the status names every node");
        node["quic"].as_str().unwrap().parse().unwrap()
    };
    let before: Vec<u32> = (1..=9).map(|id| cluster.node(id).pid).collect();
    // A gateway, and a node that only stores.
    let storms: Vec<_> = [1, 5].map(target).into_iter().map(|address| tokio::task::spawn_blocking(move || rain(address))).collect();

    let mut stored = Vec::new();
    // At least a few rounds, and on for as long as it rains.
    while stored.len() < 10 || storms.iter().any(|storm| !storm.is_finished()) {
        let seed = stored.len() as u64;
        let body = content(seed, if seed.is_multiple_of(2) { 3_000 } else { 1_500_000 });
        let document = api.put(&format!("rain {seed}"), body.clone()).await.expect("stored in the rain");
        assert!(api.get(&document.id).await.expect("read in the rain") == body, "document {seed} changed");
        stored.push((document.id, body));
    }
    for storm in storms {
        storm.await.unwrap();
    }
    for (id, body) in &stored {
        assert!(api.get(id).await.unwrap() == *body, "{id} changed");
    }
    let after: Vec<u32> = (1..=9).map(|id| cluster.node(id).pid).collect();
    assert_eq!(before, after);
    for id in 1..=9 {
        cluster.wait_ready(id).await;
    }
    let status = cluster.status().await;
    assert!(status["nodes"].as_array().unwrap().iter().all(|n| n["up"] == true), "{status}");
}
