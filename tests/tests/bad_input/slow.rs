//! Clients that take their time: each is cut off, and nobody else waits for it.
//!
//! These run beside the other cases, under the deadlines that a gateway has by default. Nothing here measures
//! time: a case ends when the connection does.

use std::{
    io::{ErrorKind, Read},
    sync::Arc,
    thread,
    time::Duration,
};

use kluis_tests::fresh_key;

use super::{
    wire::{Wire, blocking},
    world::World,
};

/// Idle connections at once.
const IDLE: usize = 300;
/// Bytes that a slow client sends at most: many more than any deadline lets it.
const DRIPS: usize = 90;

/// All slow clients, side by side.
pub async fn run(world: Arc<World>) {
    tokio::join!(silent(&world), slow_head(&world), slow_body(&world), stuck_chunk(&world), idle(&world));
    world.holds("slow uploads hold no quota", world.wait_reserved(&world.slow, false).await, "still reserved");
}

async fn silent(world: &World) {
    let target = world.wire.clone();
    let closed = blocking(move || target.connect().is_closed_in_time());
    world.holds("a connection that never asks is closed", closed.await, "open");
    let target = world.wire.clone();
    let closed = blocking(move || match target.tcp().read(&mut [0; 16]) {
        Ok(got) => got == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    });
    world.holds("a connection without a handshake is closed", closed.await, "open");
}

/// Sends a byte a second until the gateway has had enough.
fn drip(wire: &mut Wire) {
    for _ in 0..DRIPS {
        if wire.send(b"a").is_err() {
            return;
        }
        thread::sleep(Duration::from_secs(1));
    }
}

async fn slow_head(world: &World) {
    let target = world.wire.clone();
    let closed = blocking(move || {
        let mut wire = target.connect();
        wire.send(b"GET /livez HTTP/1.1\r\nX-A: ").unwrap();
        drip(&mut wire);
        wire.is_closed_in_time()
    });
    world.holds("a head of a byte a second is cut off", closed.await, "open");
}

async fn slow_body(world: &World) {
    let key = format!("Idempotency-Key: {}", fresh_key());
    let head = world.head("POST /v1/documents?name=slow HTTP/1.1", &world.slow, &[&key, "Content-Length: 1000000"]);
    let target = world.wire.clone();
    let got = blocking(move || {
        let mut wire = target.connect();
        wire.send(head.as_bytes()).unwrap();
        wire.send(&[7; 1000]).unwrap();
        // Silent from here on: less than any minimum rate.
        wire.read().brief()
    });
    world.check("a body that stops coming", &["408 body_timeout"], got.await);
}

async fn stuck_chunk(world: &World) {
    let key = format!("Idempotency-Key: {}", fresh_key());
    let head = world.head("POST /v1/documents?name=stuck HTTP/1.1", &world.slow, &[&key, "Transfer-Encoding: chunked"]);
    let got = world.wire.exchange(head + "7FFFFFFFFFFFFFFF\r\nx").await;
    world.check("a chunk of nearly 2^63 bytes that never comes", &["408 body_timeout"], got.brief());
}

/// Many connections that do nothing: others are served, and in the end all are closed.
async fn idle(world: &World) {
    let target = world.wire.clone();
    let mut wires = blocking(move || (0..IDLE).map(|_| target.connect()).collect::<Vec<_>>()).await;
    let served = world.send(0, &world.slow, "GET", "/v1/me", &[], b"").await;
    world.check(format!("served beside {IDLE} idle connections"), &["200"], served.brief());
    let open = blocking(move || wires.iter_mut().map(Wire::is_closed_in_time).filter(|closed| !closed).count());
    world.check("idle connections that stay open", &["0"], open.await.to_string());
}
