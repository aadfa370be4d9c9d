//! What is understood: frames, heads, bodies and shards, right and wrong.

use bytes::Bytes;
use kluis_chunkstore::{
    format::record::payload_checksum,
    ids::DiskId,
    wire::{BODY_BYTES_MAX, FRAME_BYTES, FaultCode, Frame, FrameKind, HEAD_BYTES_MAX, LIST_MAX, PeerAnswer, PeerRequest, VERSION},
};

use super::{
    noise,
    world::{Caller, Reply, Served, World, framed, hello, message, read_reply, shard, within},
};

fn put(served: &Served, number: u128, body: &[u8]) -> PeerRequest {
    PeerRequest::PutShard { disk: served.disk, key: shard(number), checksum: payload_checksum(body) }
}

/// The connection is as good as before: a shard goes through it and back.
async fn still_serves(served: &Served, caller: &Caller, number: u128) {
    let body = format!("shard {number}").into_bytes();
    assert_eq!(caller.ask(&put(served, number, &body), &body).await, Reply::Answer(PeerAnswer::Done, Bytes::new()));
    let fetched = caller.ask(&PeerRequest::FetchShard { disk: served.disk, key: shard(number) }, &[]).await;
    assert_eq!(fetched, Reply::Answer(PeerAnswer::Shard { checksum: payload_checksum(&body) }, body.into()));
}

/// A right frame with some of its bytes changed, and what follows.
fn altered(change: impl FnOnce(&mut [u8; FRAME_BYTES])) -> Vec<u8> {
    let whole = message(&PeerRequest::Observe, &[]);
    let (frame, rest) = whole.split_first_chunk::<FRAME_BYTES>().unwrap();
    let mut frame = *frame;
    change(&mut frame);
    [frame.as_slice(), rest].concat()
}

/// A right put whose frame announces another length of the body than follows.
fn announced(served: &Served, body_len: u64) -> Vec<u8> {
    let head = kluis_chunkstore::wire::encode_head(&put(served, 1, &[])).unwrap();
    let frame = Frame { kind: FrameKind::Request, head_len: u32::try_from(head.len()).unwrap(), body_len };
    [frame.encode().as_slice(), &head, &[0; 64]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_messages_have_their_codes_and_leave_the_connection_whole() {
    let world = World::new("test");
    let served = world.serve(1).await;
    let caller = served.peer(&world, 2).await;
    let whole = message(&put(&served, 1, b"body"), b"body");
    let many = PeerRequest::HasShards { disk: served.disk, keys: vec![shard(1); LIST_MAX + 1] };
    let head_len = |len: u32| altered(|f| f[4..8].copy_from_slice(&len.to_le_bytes()));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing at all", Vec::new(), "truncated"),
        ("half a frame", whole[..7].to_vec(), "truncated"),
        ("a frame without its head", whole[..FRAME_BYTES].to_vec(), "truncated"),
        ("half a head", whole[..FRAME_BYTES + 5].to_vec(), "truncated"),
        ("a body that ends early", whole[..whole.len() - 1].to_vec(), "truncated"),
        ("the next version", altered(|f| f[0] = VERSION + 1), "version"),
        ("version 0", altered(|f| f[0] = 0), "version"),
        ("an unknown kind", altered(|f| f[1] = 9), "unknown_type"),
        ("an answer nobody asked for", altered(|f| f[1] = 2), "unknown_type"),
        ("a fault nobody asked for", altered(|f| f[1] = 3), "unknown_type"),
        ("reserved bytes", altered(|f| f[3] = 1), "malformed"),
        ("a head of 2^32 - 1 bytes", head_len(u32::MAX), "frame_too_large"),
        ("a head one byte too long", head_len(HEAD_BYTES_MAX + 1), "frame_too_large"),
        ("a body one byte too long", announced(&served, BODY_BYTES_MAX + 1), "frame_too_large"),
        ("a body of 2^32 - 1 bytes", announced(&served, u32::MAX.into()), "frame_too_large"),
        ("a body of 2^64 - 1 bytes", announced(&served, u64::MAX), "frame_too_large"),
        ("an unknown message", framed(&[99], &[]), "malformed"),
        ("an empty head", framed(&[], &[]), "malformed"),
        ("bytes after the head's message", framed(&[whole[FRAME_BYTES..whole.len() - 4].to_vec(), vec![0]].concat(), &[]), "malformed"),
        ("a number without an end", framed(&[2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], &[]), "malformed"),
        ("a second hello", message(&PeerRequest::Hello(hello(2)), &[]), ""),
        ("too long a list", message(&many, &[]), ""),
        ("an unknown metadata call", message(&PeerRequest::Raft { call: 9 }, &[]), "unknown_type"),
        ("a stream with too long a header", message(&PeerRequest::RaftStream { header_len: 64 * 1024 + 1 }, &[0; 8]), "frame_too_large"),
        ("a stream shorter than its header", message(&PeerRequest::RaftStream { header_len: 9 }, &[0; 8]), "malformed"),
    ];
    let mut wrong = Vec::new();
    for (what, bytes, code) in cases {
        match within(caller.say(&bytes)).await {
            Reply::Fault(FaultCode::BadRequest, detail) if detail.starts_with(code) => {}
            other => wrong.push(format!("{what}: bad_request {code} expected, {other:?} came")),
        }
        assert!(caller.connection.close_reason().is_none(), "{what} ended the connection");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    still_serves(&served, &caller, 100).await;
    // Nothing of all that was stored.
    let refused = caller.ask(&PeerRequest::FetchShard { disk: served.disk, key: shard(1) }, &[]).await;
    assert_eq!(refused, Reply::Answer(PeerAnswer::Absent, Bytes::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_first_message_ends_the_connection_with_its_code() {
    let world = World::new("test");
    let served = world.serve(1).await;
    let cases: [(Vec<u8>, &str); 5] = [
        (altered(|f| f[0] = VERSION + 1), "version"),
        (altered(|f| f[7] = 0xff), "frame_too_large"),
        (altered(|f| f[1] = 77), "unknown_type"),
        (vec![VERSION, 1], "truncated"),
        (framed(&[99, 98, 97], &[]), "malformed"),
    ];
    for (bytes, code) in cases {
        let caller = served.stranger(&world, 2).await;
        match caller.say(&bytes).await {
            Reply::Fault(FaultCode::BadRequest, detail) => assert!(detail.starts_with(code), "{code} expected: {detail}"),
            other => panic!("{code} expected: {other:?}"),
        }
        within(caller.connection.closed()).await;
    }
    assert!(served.hub.connected().is_empty());
    still_serves(&served, &served.peer(&world, 2).await, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_streams_is_refused_every_time() {
    let world = World::new("test");
    let served = world.serve(1).await;
    let caller = served.peer(&world, 2).await;
    let mut next = noise(11);
    for round in 0..300 {
        let len = usize::try_from(next() % 4_096).unwrap();
        let bytes: Vec<u8> = std::iter::repeat_with(|| next().to_le_bytes()[3]).take(len).collect();
        match caller.say(&bytes).await {
            Reply::Fault(FaultCode::BadRequest, _) => {}
            other => panic!("round {round}, {len} bytes: {other:?}"),
        }
    }
    still_serves(&served, &caller, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_never_ends_is_dropped_while_others_are_served() {
    let world = World::new("test");
    let served = world.serve(1).await;
    let caller = served.peer(&world, 2).await;
    let whole = message(&put(&served, 1, b"body"), b"body");
    let mut open = Vec::new();
    for cut in [1, FRAME_BYTES, FRAME_BYTES + 3, whole.len() - 1] {
        let (mut send, recv) = caller.connection.open_bi().await.unwrap();
        send.write_all(&whole[..cut]).await.unwrap();
        open.push((send, recv));
    }
    still_serves(&served, &caller, 100).await;
    for (send, mut recv) in open {
        let reply = within(read_reply(&mut recv)).await;
        assert!(matches!(reply, Reply::Closed(_)), "{reply:?}");
        drop(send);
    }
    still_serves(&served, &caller, 101).await;
    let refused = caller.ask(&PeerRequest::FetchShard { disk: served.disk, key: shard(1) }, &[]).await;
    assert_eq!(refused, Reply::Answer(PeerAnswer::Absent, Bytes::new()), "a message that was never whole is not carried out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_shard_and_a_disk_that_is_not_here_are_refused_by_name() {
    let world = World::new("test");
    let served = world.serve(1).await;
    let caller = served.peer(&world, 2).await;
    let body = [7; 5_000];
    let mut changed = body;
    changed[4_321] ^= 1;
    let request = put(&served, 1, &body);
    for wrong in [&changed[..], &body[..4_999], &[]] {
        match caller.ask(&request, wrong).await {
            Reply::Fault(FaultCode::ChecksumMismatch, _) => {}
            other => panic!("{} bytes: {other:?}", wrong.len()),
        }
    }
    let fetch = PeerRequest::FetchShard { disk: served.disk, key: shard(1) };
    assert_eq!(caller.ask(&fetch, &[]).await, Reply::Answer(PeerAnswer::Absent, Bytes::new()));

    let nowhere = DiskId(served.disk.0 ^ 1);
    for request in [
        PeerRequest::PutShard { disk: nowhere, key: shard(1), checksum: payload_checksum(&body) },
        PeerRequest::FetchShard { disk: nowhere, key: shard(1) },
        PeerRequest::HasShards { disk: nowhere, keys: vec![shard(1)] },
    ] {
        let sent: &[u8] = if matches!(request, PeerRequest::PutShard { .. }) { &body } else { &[] };
        match caller.ask(&request, sent).await {
            Reply::Fault(FaultCode::UnknownDisk, detail) => assert!(detail.contains(&nowhere.to_string()), "{detail}"),
            other => panic!("{request:?}: {other:?}"),
        }
    }
    assert_eq!(caller.ask(&request, &body).await, Reply::Answer(PeerAnswer::Done, Bytes::new()));
    assert_eq!(caller.ask(&fetch, &[]).await, Reply::Answer(PeerAnswer::Shard { checksum: payload_checksum(&body) }, body.to_vec().into()));
    let has = PeerRequest::HasShards { disk: served.disk, keys: vec![shard(1), shard(2)] };
    assert_eq!(caller.ask(&has, &[]).await, Reply::Answer(PeerAnswer::Present(vec![true, false]), Bytes::new()));
}
