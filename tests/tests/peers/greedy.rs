//! Who takes too much: requests that are never finished, answers that are never read.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use kluis_chunkstore::{
    format::record::payload_checksum,
    net::server::BODIES_BYTES_MAX,
    wire::{BODY_BYTES_MAX, Frame, FrameKind, PeerAnswer, PeerRequest, encode_head},
};

use super::world::{Reply, Served, World, message, shard, within};

const MIB: u64 = 1 << 20;
/// Streams that stall: together they announce three times what a node keeps.
const STALLED: u64 = 3 * (BODIES_BYTES_MAX as u64) / BODY_BYTES_MAX;

/// Another peer is served: small questions at once, shards once there is room (it asks again until then).
async fn others_are_served(served: &Served, world: &World, number: u128) {
    let other = served.peer(world, 3).await;
    assert!(matches!(other.ask(&PeerRequest::Observe, &[]).await, Reply::Answer(PeerAnswer::Body, _)));
    let body = vec![9; 100_000];
    let put = PeerRequest::PutShard { disk: served.disk, key: shard(number), checksum: payload_checksum(&body) };
    within(async {
        while other.ask(&put, &body).await != Reply::Answer(PeerAnswer::Done, Bytes::new()) {
            assert!(other.connection.close_reason().is_none(), "the other peer lost its connection");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let fetched = other.ask(&PeerRequest::FetchShard { disk: served.disk, key: shard(number) }, &[]).await;
    assert_eq!(fetched, Reply::Answer(PeerAnswer::Shard { checksum: payload_checksum(&body) }, body.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_never_finished_take_no_more_than_their_share() {
    let world = World::new("test");
    let served = world.serve(1).await;
    let own_window_bytes = 4 * MIB as u32;
    let config = world.config_with_windows(2, own_window_bytes, own_window_bytes);
    let greedy = served.dial(config, &world.dns(1)).await.unwrap();
    greedy.greet(2).await;
    let taken = Arc::new(AtomicU64::new(0));
    // Every request is announced before the first body begins: they all wait together, and end together.
    let mut announced = Vec::new();
    for number in 0..STALLED {
        let (mut send, recv) = greedy.connection.open_bi().await.unwrap();
        let head = encode_head(&PeerRequest::PutShard { disk: served.disk, key: shard(number.into()), checksum: 0 }).unwrap();
        let frame = Frame { kind: FrameKind::Request, head_len: u32::try_from(head.len()).unwrap(), body_len: BODY_BYTES_MAX };
        send.write_all(&frame.encode()).await.unwrap();
        send.write_all(&head).await.unwrap();
        announced.push((send, recv));
    }
    let mut streams = Vec::new();
    for (mut send, recv) in announced {
        let taken = taken.clone();
        streams.push(tokio::spawn(async move {
            // All but the last byte, which never comes.
            let body = vec![0; usize::try_from(BODY_BYTES_MAX - 1).unwrap()];
            let mut at = 0;
            // Asked for beforehand: a writer that waits for room in its own window is not told.
            let given_up = send.stopped();
            tokio::pin!(given_up);
            while let Some(rest) = body.get(at..).filter(|rest| !rest.is_empty()) {
                let written = tokio::select! {
                    written = send.write(rest) => written,
                    _ = &mut given_up => return drop(recv),
                };
                match written {
                    Ok(written) => {
                        at += written;
                        taken.fetch_add(written as u64, Ordering::Relaxed);
                    }
                    Err(_) => break,
                }
            }
            let _ = given_up.await;
            drop(recv);
        }));
    }
    others_are_served(&served, &world, 1_000).await;
    // Every request is given up in the end, whole or not.
    for stream in streams {
        within(stream).await.unwrap();
    }
    // What the node keeps, its window for bytes not yet read, the caller's own window, and what still came in
    // while the first of them were being given up.
    let limit = BODIES_BYTES_MAX as u64 + (32 + 4 + 64) * MIB;
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken <= limit, "{} MiB were taken where {} MiB are the limit", taken / MIB, limit / MIB);
    assert!(taken >= BODY_BYTES_MAX, "the test did not press: {taken} bytes");
    others_are_served(&served, &world, 1_001).await;
    assert!(matches!(greedy.ask(&PeerRequest::Observe, &[]).await, Reply::Answer(PeerAnswer::Body, _)), "the connection itself is whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_never_read_are_given_up() {
    let world = World::new("test");
    let served = world.serve(1).await;
    let body = vec![5; 1 << 20];
    served.peers.put_shard(served.disk, shard(1), body.clone().into()).await.unwrap();
    // Windows so small that no answer fits.
    let config = world.config_with_windows(2, 64 * 1024, 4 * MIB as u32);
    let greedy = served.dial(config, &world.dns(1)).await.unwrap();
    greedy.greet(2).await;
    let fetch = message(&PeerRequest::FetchShard { disk: served.disk, key: shard(1) }, &[]);
    let mut unread = Vec::new();
    for _ in 0..64 {
        let (mut send, recv) = greedy.connection.open_bi().await.unwrap();
        send.write_all(&fetch).await.unwrap();
        send.finish().unwrap();
        unread.push(recv);
    }
    others_are_served(&served, &world, 1_000).await;
    for mut recv in unread {
        let reset = within(recv.received_reset()).await;
        assert!(matches!(reset, Ok(Some(_))), "an answer waits for ever: {reset:?}");
    }
    // Whoever begins to read again is served again.
    let fetched = within(greedy.say(&fetch)).await;
    assert_eq!(fetched, Reply::Answer(PeerAnswer::Shard { checksum: payload_checksum(&body) }, body.into()));
}
