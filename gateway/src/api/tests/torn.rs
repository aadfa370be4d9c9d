//! Requests that break off with chunks under way, and others that go on with other bytes.
//!
//! Owns: disks that take a part of the shards now and another part late ([`TornDisks`]). Not: when an attempt begins
//! (`kluis_raft::apply::upload`).
//! Holds: what comes out is what the requests brought that were answered well, in whatever order shards arrive.

use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::AtomicBool},
};

use kluis_chunkstore::{
    codec::erasure::Erasure,
    ids::{BlobId, ChunkId, ShardKey},
    placement::Avoid,
};
use kluis_raft::{
    model::{Blob, BlobLayout, Runs, UploadId, VaultId},
    view,
};

use super::*;
use crate::ports::{BytesError, ChunkReceipt, DocumentBytes, PutChunk};

/// Disks that keep shards by key, the latest that came, as real ones do.
#[derive(Default)]
struct TornDisks {
    shards: Mutex<BTreeMap<ShardKey, Bytes>>,
    late: Mutex<Vec<(ShardKey, Bytes)>>,
    /// Of every chunk some shards are stored, some are on their way, the rest is lost, and no receipt is given.
    torn: AtomicBool,
}

impl TornDisks {
    /// What was on its way arrives.
    fn arrive(&self) {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        assert!(!late.is_empty(), "nothing was under way");
        self.shards.lock().unwrap().extend(late);
    }

    /// The chunks of which shards lie here.
    fn chunks(&self) -> Vec<ChunkId> {
        let mut chunks: Vec<ChunkId> = self.shards.lock().unwrap().keys().map(|key| key.chunk).collect();
        chunks.dedup();
        chunks
    }
}

#[async_trait]
impl DocumentBytes for TornDisks {
    async fn put_chunk(&self, put: PutChunk) -> Result<ChunkReceipt, BytesError> {
        // Any n rows will do; which a cluster takes is placement's matter.
        let rows: Vec<u8> = (0..=u8::MAX).step_by(20).take(put.code.n()).collect();
        let encoded = Erasure::of(put.code).unwrap().encode(&put.sealed, &rows);
        let mut shards = rows.into_iter().zip(encoded).map(|(shard, bytes)| (ShardKey { chunk: put.chunk, shard }, bytes));
        let mut stored = self.shards.lock().unwrap();
        if self.torn.load(Ordering::Relaxed) {
            stored.extend(shards.by_ref().take(2));
            self.late.lock().unwrap().extend(shards.take(2));
            return Err(BytesError::WriteUnavailable { stored: 2, wanted: put.code.write_quorum() });
        }
        stored.extend(shards);
        Ok(ChunkReceipt { layout: BlobLayout { topology: 1, avoid: Avoid::nothing() }, reduced: false, complete: true })
    }

    async fn fetch_chunk(&self, chunk: ChunkId, code: Shards, _: &[BlobLayout], sealed_len: usize) -> Result<Bytes, BytesError> {
        let stored = self.shards.lock().unwrap();
        let found: Vec<(u8, Bytes)> = stored
            .iter()
            .filter(|(key, bytes)| key.chunk == chunk && bytes.len() == code.shard_len(sealed_len))
            .map(|(key, bytes)| (key.shard, bytes.clone()))
            .take(code.k())
            .collect();
        let missing = BytesError::NotEnoughShards { have: found.len(), need: code.k() };
        Erasure::of(code).unwrap().decode(&found, sealed_len).map_err(|_| missing)
    }

    async fn report_suspect(&self, _: &Blob, _: u32) {}
}

/// The world, with its gateway on torn disks.
async fn torn_world() -> (World, Arc<TornDisks>) {
    let mut world = World::new().await;
    let disks = Arc::new(TornDisks::default());
    let old = &world.gateway;
    let gateway = Arc::new(Gateway {
        clock: Arc::clone(&old.clock),
        entropy: Arc::clone(&old.entropy),
        metadata: Arc::clone(&old.metadata),
        bytes: Arc::clone(&disks) as Arc<dyn DocumentBytes>,
        keys: Arc::clone(&old.keys),
        lookup: Arc::clone(&old.lookup),
        sign_in: SignIn::default(),
        config: old.config.clone(),
        telemetry: Arc::clone(&old.telemetry),
        health: Arc::clone(&old.health),
        guards: Guards::default(),
        recorder: Recorder::start(Arc::clone(&old.metadata)),
        scan: None,
        notify: Arc::clone(&old.notify),
        search: Default::default(),
    });
    world.router = crate::router::router(Arc::clone(&gateway)).unwrap();
    world.gateway = gateway;
    (world, disks)
}

/// The only blob there is.
fn blob(world: &World) -> Blob {
    let mut blobs = view::blobs(&*world.metadata.view(), BlobId(0), 10).unwrap();
    assert_eq!(blobs.len(), 1);
    blobs.remove(0)
}

/// The id and the vault of the only upload there is.
fn upload(world: &World) -> (UploadId, VaultId) {
    let uploads = view::uploads(&*world.metadata.view(), 10).unwrap();
    assert_eq!(uploads.len(), 1);
    (uploads[0].id, uploads[0].vault)
}

/// Bytes that differ from those of [`pattern`] everywhere.
fn other(len: usize) -> Vec<u8> {
    pattern(len).into_iter().map(|byte| !byte).collect()
}

async fn content(world: &World, last: &Reply) -> Bytes {
    assert_eq!(last.status, StatusCode::NO_CONTENT, "{:?}", last.body);
    let got = world.call("GET", &format!("/v1/documents/{}/content", last.header("vault-document")), &[], "").await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.body);
    got.body
}

/// Sends a piece while disks are torn.
async fn torn_piece(world: &World, disks: &TornDisks, path: &str, offset: usize, piece: &[u8]) {
    disks.torn.store(true, Ordering::Relaxed);
    tus_piece(world, path, offset, piece).await.refused(503, "write_unavailable");
    disks.torn.store(false, Ordering::Relaxed);
    assert_eq!(world.call("HEAD", path, &[TUS], "").await.header("upload-offset"), offset.to_string());
}

#[tokio::test]
async fn a_resumed_upload_may_bring_other_bytes() {
    let (world, disks) = torn_world().await;
    let (first, second) = (pattern(2_500_000), other(2_500_000));
    let path = tus_begin(&world, second.len(), &[]).await.header("location").to_owned();
    torn_piece(&world, &disks, &path, 0, &first).await;
    let last = tus_piece(&world, &path, 0, &second).await;
    // Only now do shards of the first content come, over whatever has the same key.
    disks.arrive();
    assert!(content(&world, &last).await == second, "other bytes came out");
    let blob = blob(&world);
    let (wanted, left): (Vec<_>, Vec<_>) = disks.chunks().into_iter().partition(|chunk| blob.wanted(chunk.index).is_some());
    assert_eq!(wanted, blob.all_chunks().collect::<Vec<_>>());
    assert!(!left.is_empty() && left.iter().all(|chunk| chunk.attempt() == Some(0)), "{left:?}");
}

#[tokio::test]
async fn a_break_in_the_middle_keeps_what_came_before() {
    let (world, disks) = torn_world().await;
    let whole = [pattern(1_500_000), other(1_500_000)].concat();
    let path = tus_begin(&world, whole.len(), &[("repr-digest", &sha256_field_value(&digest(&whole)))]).await;
    let path = path.header("location").to_owned();
    let kept = tus_piece(&world, &path, 0, &whole[..1_500_000]).await;
    assert_eq!((kept.status, kept.header("upload-offset")), (StatusCode::NO_CONTENT, "1500000"));
    for _ in 0..3 {
        torn_piece(&world, &disks, &path, 1_500_000, &pattern(1_500_000)).await;
    }
    let last = tus_piece(&world, &path, 1_500_000, &whole[1_500_000..]).await;
    disks.arrive();
    assert!(content(&world, &last).await == whole, "other bytes came out");
    let attempts: Vec<_> = blob(&world).all_chunks().filter_map(ChunkId::attempt).collect();
    assert_eq!(attempts, [0, 3, 3]);
}

#[tokio::test]
async fn the_same_bytes_again_after_a_break_are_as_good() {
    let (world, disks) = torn_world().await;
    let whole = pattern(2_500_000);
    let path = tus_begin(&world, whole.len(), &[]).await.header("location").to_owned();
    torn_piece(&world, &disks, &path, 0, &whole).await;
    let last = tus_piece(&world, &path, 0, &whole).await;
    disks.arrive();
    assert!(content(&world, &last).await == whole, "other bytes came out");
}

#[tokio::test]
async fn pieces_that_end_well_stay_one_attempt() {
    let (world, _) = torn_world().await;
    let whole = pattern(2_600_000);
    let path = tus_begin(&world, whole.len(), &[]).await.header("location").to_owned();
    // Refused before anything was sent, or cut off by the client: neither leaves anything unknown.
    tus_piece(&world, &path, 7, b"x").await.refused(409, "offset_mismatch");
    let cut = futures_util::stream::iter([Ok(Bytes::copy_from_slice(&whole[..1_200_000])), Err(std::io::Error::other("reset"))]);
    let cut = world.call("PATCH", &path, &[TUS, PIECE, ("upload-offset", "0")], Body::from_stream(cut)).await;
    cut.refused(400, "length_mismatch");
    let mut at = 1_200_000;
    for to in [1_200_001, 2_000_000, 2_097_152] {
        assert_eq!(tus_piece(&world, &path, at, &whole[at..to]).await.status, StatusCode::NO_CONTENT);
        at = to;
    }
    let last = tus_piece(&world, &path, at, &whole[at..]).await;
    assert!(content(&world, &last).await == whole, "other bytes came out");
    assert_eq!(blob(&world).runs, Runs::default());
}

#[tokio::test]
async fn a_gateway_that_died_leaves_a_new_attempt_to_the_next_one() {
    let (world, _) = torn_world().await;
    let whole = pattern(100_000);
    let path = tus_begin(&world, whole.len(), &[]).await.header("location").to_owned();
    let (upload, vault) = upload(&world);
    let lock = |lease_ms| Command::LockUpload { upload, vault, writer: 7, lease_ms, renew: false };
    world.gateway.propose(lock(60_000)).await.unwrap();
    tus_piece(&world, &path, 0, &whole).await.refused(409, "upload_busy");
    world.clock.0.fetch_add(60_001, Ordering::Relaxed);
    let last = tus_piece(&world, &path, 0, &whole).await;
    assert!(content(&world, &last).await == whole, "other bytes came out");
    assert_eq!(blob(&world).runs.current(), 1);
}

#[tokio::test]
async fn an_upload_that_breaks_off_without_end_is_refused() {
    let (world, _) = torn_world().await;
    let path = tus_begin(&world, 10, &[]).await.header("location").to_owned();
    let (upload, vault) = upload(&world);
    for writer in 0..u128::from(ChunkId::ATTEMPTS) {
        world.gateway.propose(Command::LockUpload { upload, vault, writer, lease_ms: 0, renew: false }).await.unwrap();
    }
    tus_piece(&world, &path, 0, b"0123456789").await.refused(409, "upload_restart");
    assert_eq!(world.call("DELETE", &path, &[TUS], "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.quota().await, (0, 0));
}
