//! Reconcile: makes this node's disks agree with the metadata. Repair, collection and catch-up are one thing.
//!
//! Each node looks after its own disks: it walks the blobs in order of id, and for each chunk whose home
//! (placement under the topology in force, nothing avoided) is one of its disks, it makes the shard anew from any k
//! others if it is not there. Then it walks what its disks hold and deletes what no version and no running
//! upload wants, once it is older than the grace time. The leader of the metadata group, in addition, asks
//! the homes of each unsettled blob whether every shard is there, and if so records that: from then on the
//! copies made elsewhere while a site was down are unwanted.
//!
//! Owns: the loop, its budget, its progress. Not: the decision where a shard belongs (placement), nor
//! which blobs exist (metadata).
//! Holds: (1) a shard is deleted only when a linearizable view, taken after the disk was listed, does not want
//! it there; so a shard of an upload that began meanwhile is never touched; (2) a copy away from home is
//! deleted only after every home shard of its blob was seen on its disk; (3) a chunk that cannot be read now
//! does not hold up the others; (4) bytes a second stay within the budget.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use kluis_chunkstore::{
    codec::erasure::Erasure,
    disk::{Disk, DiskState},
    env::Env,
    ids::{BlobId, ChunkId, DiskId, NodeId, ShardKey},
    placement::{Avoid, Placer},
    wire::{LIST_MAX, PeerAnswer, PeerRequest},
};
use kluis_gateway::seal;
use kluis_raft::{
    client::Metadata,
    command::Command,
    consensus::Consensus,
    model::{Blob, BlobLayout},
    outcome::Outcome,
    store::Read,
    view,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use crate::{data_path::DataPath, peers::Peers, status::WorkStatus};

/// Blobs read at a time.
const PAGE: usize = 256;
/// Shards listed or deleted at a time.
const BATCH: usize = 1024;
/// Unsettled blobs that the leader looks at in one pass.
const SETTLE_MAX: usize = 4096;
/// Blobs that one pass marks as not whole any more.
const UNSETTLE_MAX: usize = 64;

/// Longest wait for one write to a disk: one that hangs must not hold up the others.
const DISK_PATIENCE: Duration = Duration::from_secs(30);

/// Settings of reconcile.
#[derive(Debug, Clone)]
pub struct ReconcileOptions {
    /// Pause between passes.
    pub interval: Duration,
    /// Age below which an unwanted shard is left alone.
    pub grace: Duration,
    /// Bytes a second that it may read and write.
    pub budget_bytes_per_second: u64,
}

/// What passes did since the process began.
#[derive(Debug, Default)]
pub struct ReconcileCounters {
    /// Passes completed.
    pub passes: AtomicU64,
    /// Shards made anew.
    pub rebuilt: AtomicU64,
    /// Bytes of them.
    pub rebuilt_bytes: AtomicU64,
    /// Shards deleted.
    pub collected: AtomicU64,
    /// Blobs settled.
    pub settled: AtomicU64,
    /// Chunks that could not be read when a shard was to be made.
    pub unreadable: AtomicU64,
    /// Shards that belong on this node's disks and are not there yet.
    pub missing: AtomicU64,
}

/// Reconcile of one node.
pub struct Reconcile {
    own: NodeId,
    env: Env,
    peers: Arc<Peers>,
    path: Arc<DataPath>,
    hub: Arc<kluis_chunkstore::net::Hub>,
    consensus: Arc<Consensus>,
    options: ReconcileOptions,
    settle_from: std::sync::Mutex<u128>,
    /// Counts.
    pub counters: ReconcileCounters,
}

/// Something that kept a pass from its end; the next one tries again.
type PassError = String;

impl Reconcile {
    /// Reconcile over these parts.
    pub fn new(
        own: NodeId,
        env: Env,
        peers: Arc<Peers>,
        path: Arc<DataPath>,
        hub: Arc<kluis_chunkstore::net::Hub>,
        consensus: Arc<Consensus>,
        options: ReconcileOptions,
    ) -> Self {
        Self {
            own,
            env,
            peers,
            path,
            hub,
            consensus,
            options,
            settle_from: std::sync::Mutex::new(0),
            counters: ReconcileCounters::default(),
        }
    }

    /// Runs until `suspects` is closed: a pass each interval, and suspects as they come.
    pub async fn run(self: Arc<Self>, mut suspects: mpsc::Receiver<(BlobId, u32)>) {
        loop {
            self.peers.disks.watch_once(&self.env).await;
            let begun = Instant::now();
            match self.pass().await {
                Ok(()) => {
                    self.counters.passes.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(seconds = begun.elapsed().as_secs_f64(), "reconcile pass done");
                }
                Err(why) => tracing::debug!(why, "reconcile pass not completed"),
            }
            let pause = sleep(self.options.interval);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    suspect = suspects.recv() => match suspect {
                        Some((blob, index)) => self.look_at(blob, index).await,
                        None => return,
                    },
                }
            }
        }
    }

    async fn pass(&self) -> Result<(), PassError> {
        for disk in self.peers.disks.all() {
            for key in disk.take_suspects() {
                disk.forget(key);
            }
        }
        self.consensus.linearize().await.map_err(|e| e.to_string())?;
        let view = self.consensus.view();
        let topology = self.path.topology().map_err(|e| e.to_string())?;
        let home = BlobLayout { topology: topology.version(), avoid: Avoid::nothing() };
        self.rebuild(&*view, &home).await?;
        for disk in self.peers.disks.all() {
            self.collect(&disk).await?;
        }
        for disk in self.peers.disks.all() {
            if let Err(error) = disk.compact_once().await {
                tracing::debug!(%error, disk = %disk.label().disk, "compaction");
            }
        }
        if self.consensus.status().await.leader == Some(self.own) {
            self.settle(&*view, &home).await?;
        }
        Ok(())
    }

    /// Makes every shard that should be on a disk of this node and is not: counts them first, so that progress
    /// can be told truthfully, then makes them.
    async fn rebuild(&self, view: &dyn Read, home: &BlobLayout) -> Result<(), PassError> {
        let disks: BTreeMap<DiskId, Arc<Disk>> = self.peers.disks.all().into_iter().map(|d| (d.label().disk, d)).collect();
        let mut progress = Progress::new(self.options.budget_bytes_per_second);
        let mut from = Some(BlobId(0));
        while let Some((page, next)) = self.page(view, from)? {
            for (blob, key, _) in self.missing(&page, home, &disks) {
                progress.left_shards += 1;
                progress.left_bytes += shard_bytes(blob, key);
            }
            from = next;
        }
        progress.total_bytes = progress.left_bytes;
        self.report(&progress);
        let mut from = if progress.left_shards > 0 { Some(BlobId(0)) } else { None };
        let mut unsettled = 0;
        while let Some((page, next)) = self.page(view, from)? {
            for (blob, key, disk) in self.missing(&page, home, &disks) {
                match self.make(blob, key, disk).await {
                    Ok(bytes) => {
                        progress.left_shards = progress.left_shards.saturating_sub(1);
                        progress.left_bytes = progress.left_bytes.saturating_sub(shard_bytes(blob, key));
                        self.report(&progress);
                        progress.spend(bytes).await;
                    }
                    Err(why) => {
                        progress.held += 1;
                        self.counters.unreadable.fetch_add(1, Ordering::Relaxed);
                        tracing::debug!(%key, why, "a shard cannot be made at present");
                        // It is not whole at home any more: copies elsewhere, if any are left, are wanted again.
                        if blob.settled && unsettled < UNSETTLE_MAX {
                            unsettled += 1;
                            let _ = self.consensus.propose(Command::UnsettleBlob { blob: blob.id }).await;
                        }
                    }
                }
            }
            from = next;
        }
        self.report(&progress);
        Ok(())
    }

    /// A page of blobs, with where the next one begins.
    #[allow(clippy::type_complexity)]
    fn page(&self, view: &dyn Read, from: Option<BlobId>) -> Result<Option<(Vec<Blob>, Option<BlobId>)>, PassError> {
        let Some(from) = from else { return Ok(None) };
        let page = view::blobs(view, from, PAGE).map_err(|e| e.to_string())?;
        let Some(last) = page.last() else { return Ok(None) };
        let next = last.id.0.checked_add(1).map(BlobId);
        Ok(Some((page, next)))
    }

    /// Shards of these blobs that belong on a disk of this node and are not there.
    fn missing<'a>(
        &self,
        page: &'a [Blob],
        home: &BlobLayout,
        disks: &'a BTreeMap<DiskId, Arc<Disk>>,
    ) -> Vec<(&'a Blob, ShardKey, &'a Arc<Disk>)> {
        let mut missing = Vec::new();
        for blob in page {
            let Some(placer) = self.path.placer(home, blob.code) else { continue };
            for chunk in blob.all_chunks() {
                let wanted = wanted_here(&placer, disks, chunk);
                missing.extend(wanted.into_iter().filter(|(disk, key)| !disk.contains(*key)).map(|(disk, key)| (blob, key, disk)));
            }
        }
        missing
    }

    /// Makes one shard from any k others and stores it. Returns the bytes moved.
    async fn make(&self, blob: &Blob, key: ShardKey, disk: &Arc<Disk>) -> Result<u64, String> {
        // Before k shards are fetched in vain, past the budget, for each shard of each pass.
        if matches!(disk.state(), DiskState::Full | DiskState::Failed { .. }) {
            return Err("the disk takes no shards at present".into());
        }
        let sealed_len = sealed_len(blob, key.chunk).ok_or("the blob has no such chunk")?;
        let shards = self.path.fetch_shards(key.chunk, blob.code, &blob.layouts, sealed_len).await.map_err(|e| e.to_string())?;
        let codec = Erasure::of(blob.code).map_err(|e| e.to_string())?;
        let moved: usize = shards.iter().map(|(_, s)| s.len()).sum();
        let shard = self.env.run_blocking(move || codec.rebuild(&shards, key.shard, sealed_len)).await;
        let shard: Bytes = shard.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        let bytes = shard.len() as u64;
        let stored = timeout(DISK_PATIENCE, disk.put(key, shard)).await;
        stored.map_err(|_| "the disk does not answer".to_owned())?.map_err(|e| e.to_string())?;
        self.env.probe.reached("repair.rebuilt");
        self.counters.rebuilt.fetch_add(1, Ordering::Relaxed);
        self.counters.rebuilt_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(bytes + moved as u64)
    }

    /// Looks at one chunk out of turn.
    async fn look_at(&self, id: BlobId, index: u32) {
        for disk in self.peers.disks.all() {
            for key in disk.take_suspects() {
                disk.forget(key);
            }
        }
        let Ok(Some(blob)) = view::blob(&*self.consensus.view(), id) else { return };
        let Ok(topology) = self.path.topology() else { return };
        let home = BlobLayout { topology: topology.version(), avoid: Avoid::nothing() };
        let Some(placer) = self.path.placer(&home, blob.code) else { return };
        let disks: BTreeMap<DiskId, Arc<Disk>> = self.peers.disks.all().into_iter().map(|d| (d.label().disk, d)).collect();
        let Some(chunk) = blob.wanted(index) else { return };
        for (disk, key) in wanted_here(&placer, &disks, chunk) {
            if !disk.contains(key)
                && let Err(why) = self.make(&blob, key, disk).await
            {
                tracing::debug!(%key, why, "a shard cannot be made at present");
            }
        }
    }

    /// Deletes what nothing wants on a disk, a page at a time: what is there first, then a linearizable view of what
    /// should be (invariant 1).
    async fn collect(&self, disk: &Arc<Disk>) -> Result<(), PassError> {
        let grace = u64::try_from(self.options.grace.as_millis()).unwrap_or(u64::MAX);
        let old = self.env.clock.now_ms().saturating_sub(grace);
        let mut from = Bound::Unbounded;
        loop {
            let page = disk.list(from, BATCH);
            let Some((last, _)) = page.last() else { return Ok(()) };
            from = Bound::Excluded(*last);
            let keys: Vec<ShardKey> = page.into_iter().filter(|(_, info)| info.written_ms <= old).map(|(key, _)| key).collect();
            if keys.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            self.consensus.linearize().await.map_err(|e| e.to_string())?;
            let view = self.consensus.view();
            let topology = self.path.topology().map_err(|e| e.to_string())?;
            let home = BlobLayout { topology: topology.version(), avoid: Avoid::nothing() };
            let mut unwanted = Vec::new();
            let mut blob: Option<(BlobId, Fate)> = None;
            for key in keys {
                let fate = match &blob {
                    Some((id, fate)) if *id == key.chunk.blob => fate,
                    _ => {
                        let fate = self.fate(&*view, &home, key.chunk.blob)?;
                        &blob.insert((key.chunk.blob, fate)).1
                    }
                };
                if fate.unwanted(key, disk.label().disk) {
                    unwanted.push(key);
                }
            }
            if unwanted.is_empty() {
                continue;
            }
            let count = unwanted.len() as u64;
            match timeout(DISK_PATIENCE, disk.delete(unwanted)).await {
                Ok(Ok(())) => {
                    self.env.probe.reached("collect.deleted");
                    self.counters.collected.fetch_add(count, Ordering::Relaxed);
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, disk = %disk.label().disk, "unwanted shards stay for now");
                    return Ok(());
                }
                Err(_) => return Err(format!("disk {} does not answer", disk.label().disk)),
            }
        }
    }

    fn fate(&self, view: &dyn Read, home: &BlobLayout, id: BlobId) -> Result<Fate, PassError> {
        let text = |e: kluis_raft::store::StoreError| e.to_string();
        let Some(blob) = view::blob(view, id).map_err(text)? else {
            // The upload may have been committed between the two looks: look again.
            if view::is_reserved(view, id).map_err(text)? || view::blob(view, id).map_err(text)?.is_some() {
                return Ok(Fate::Keep);
            }
            return Ok(Fate::Unknown);
        };
        let settled_home = blob.settled && blob.layouts == [home.clone()];
        let placer = if settled_home { self.path.placer(home, blob.code) } else { None };
        Ok(Fate::Known { blob: Box::new(blob), placer })
    }

    /// Records which blobs are whole at home.
    async fn settle(&self, view: &dyn Read, home: &BlobLayout) -> Result<(), PassError> {
        // Where the last pass ended, so that blobs that cannot be settled now do not hold up the others for ever.
        let cursor = BlobId(*self.settle_from.lock().unwrap_or_else(PoisonError::into_inner));
        let mut ids = view::unsettled(view, cursor, SETTLE_MAX).map_err(|e| e.to_string())?;
        let next = if ids.len() < SETTLE_MAX { 0 } else { ids.last().map_or(0, |id| id.0.wrapping_add(1)) };
        *self.settle_from.lock().unwrap_or_else(PoisonError::into_inner) = next;
        let mut from = BlobId(0);
        // Blobs settled under an older topology move too.
        while ids.len() < SETTLE_MAX {
            let page = view::blobs(view, from, PAGE).map_err(|e| e.to_string())?;
            let Some(next) = page.last().and_then(|b| b.id.0.checked_add(1)) else { break };
            ids.extend(page.iter().filter(|b| b.settled && b.layouts != [home.clone()]).map(|b| b.id));
            from = BlobId(next);
        }
        for id in ids {
            let Some(blob) = view::blob(view, id).map_err(|e| e.to_string())? else { continue };
            if !self.is_whole(&blob, home).await {
                continue;
            }
            let command = Command::SettleBlob { blob: id, seen: blob.layouts.clone(), layout: home.clone() };
            match self.consensus.propose(command).await.map_err(|e| e.to_string())? {
                Outcome::Done => {
                    self.counters.settled.fetch_add(1, Ordering::Relaxed);
                }
                other => tracing::debug!(?other, "a blob was not settled"),
            }
        }
        Ok(())
    }

    /// Whether every shard of a blob is where it belongs, by asking the disks.
    async fn is_whole(&self, blob: &Blob, home: &BlobLayout) -> bool {
        let Some(placer) = self.path.placer(home, blob.code) else { return false };
        let Ok(topology) = self.path.topology() else { return false };
        let mut keys: BTreeMap<DiskId, Vec<ShardKey>> = BTreeMap::new();
        for chunk in blob.all_chunks() {
            let placement = placer.place(chunk);
            if placement.placed() < blob.code.n() {
                return false;
            }
            for (shard, disk) in placement.iter() {
                keys.entry(disk).or_default().push(ShardKey { chunk, shard });
            }
        }
        for (disk, keys) in keys {
            let Some(node) = topology.node_of(disk) else { return false };
            for part in keys.chunks(LIST_MAX) {
                if !self.has_all(disk, node, part).await {
                    return false;
                }
            }
        }
        true
    }

    async fn has_all(&self, disk: DiskId, node: NodeId, keys: &[ShardKey]) -> bool {
        if node == self.own {
            return self.peers.disks.disk(disk).is_some_and(|d| keys.iter().all(|key| d.contains(*key)));
        }
        let request = PeerRequest::HasShards { disk, keys: keys.to_vec() };
        match self.hub.call(node, &request, Bytes::new(), Duration::from_secs(5)).await {
            Ok((PeerAnswer::Present(bits), _)) => bits.len() == keys.len() && bits.into_iter().all(|b| b),
            _ => false,
        }
    }

    fn report(&self, progress: &Progress) {
        self.counters.missing.store(progress.left_shards, Ordering::Relaxed);
        let rate = progress.rate();
        let work = WorkStatus {
            kind: "repair".into(),
            done: progress.total_bytes.saturating_sub(progress.left_bytes),
            total: progress.total_bytes,
            rate_bytes_per_second: rate,
            budget_bytes_per_second: self.options.budget_bytes_per_second,
            eta_s: progress.left_bytes.checked_div(rate).filter(|_| progress.held == 0),
            held: (progress.held > 0)
                .then(|| format!("{} shards cannot be made until more of their chunks' shards are within reach", progress.held)),
        };
        let shown = if progress.left_shards > 0 { vec![work] } else { Vec::new() };
        *self.peers.work.write().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}

/// What becomes of a blob's shards.
enum Fate {
    /// An upload is under way.
    Keep,
    /// Nothing knows the blob.
    Unknown,
    /// A version has it; `placer` is given when every shard is known to be at home.
    Known { blob: Box<Blob>, placer: Option<Arc<Placer>> },
}

impl Fate {
    fn unwanted(&self, key: ShardKey, disk: DiskId) -> bool {
        match self {
            Self::Keep => false,
            Self::Unknown => true,
            Self::Known { blob, .. } if blob.wanted(key.chunk.index).is_none() => true,
            Self::Known { placer: Some(placer), .. } => placer.place(key.chunk).disk(key.shard) != Some(disk),
            Self::Known { placer: None, .. } => false,
        }
    }
}

/// Sealed bytes of a chunk of a blob.
fn sealed_len(blob: &Blob, chunk: ChunkId) -> Option<usize> {
    let start = u64::from(chunk.position()?).checked_mul(u64::from(blob.chunk_bytes))?;
    let left = blob.size.checked_sub(start).filter(|left| *left > 0)?;
    usize::try_from(left.min(u64::from(blob.chunk_bytes))).ok().map(seal::sealed_len)
}

fn wanted_here<'a>(placer: &Placer, disks: &'a BTreeMap<DiskId, Arc<Disk>>, chunk: ChunkId) -> Vec<(&'a Arc<Disk>, ShardKey)> {
    let placement = placer.place(chunk);
    placement.iter().filter_map(|(shard, disk)| disks.get(&disk).map(|d| (d, ShardKey { chunk, shard }))).collect()
}

/// Bytes of a shard of a blob.
fn shard_bytes(blob: &Blob, key: ShardKey) -> u64 {
    sealed_len(blob, key.chunk).map_or(0, |len| blob.code.shard_len(len) as u64)
}

/// How far a pass is, kept within its bytes a second.
struct Progress {
    budget: u64,
    begun: Instant,
    spent: u64,
    left_shards: u64,
    left_bytes: u64,
    total_bytes: u64,
    held: u64,
}

impl Progress {
    fn new(budget: u64) -> Self {
        Self { budget: budget.max(1), begun: Instant::now(), spent: 0, left_shards: 0, left_bytes: 0, total_bytes: 0, held: 0 }
    }

    async fn spend(&mut self, bytes: u64) {
        self.spent = self.spent.saturating_add(bytes);
        let due = Duration::from_secs_f64(self.spent as f64 / self.budget as f64);
        if let Some(wait) = due.checked_sub(self.begun.elapsed()) {
            sleep(wait).await;
        }
    }

    /// Bytes of shards made a second.
    fn rate(&self) -> u64 {
        let seconds = self.begun.elapsed().as_secs_f64();
        let made = self.total_bytes.saturating_sub(self.left_bytes);
        if seconds > 0.0 { (made as f64 / seconds) as u64 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use kluis_chunkstore::code::Code;
    use kluis_raft::model::{Runs, VaultId};

    use super::*;

    /// Three chunks, the last two written by the second attempt of the upload.
    fn blob() -> Blob {
        let mut runs = Runs::default();
        runs.raise(1).unwrap();
        Blob {
            id: BlobId(1),
            vault: VaultId(1),
            code: Code::STANDARD,
            chunks: 3,
            chunk_bytes: 100,
            size: 250,
            layouts: vec![],
            settled: true,
            runs,
            references: 1,
        }
    }

    #[test]
    fn chunk_lengths_follow_from_the_blob() {
        let blob = blob();
        let len = |attempt, position| sealed_len(&blob, ChunkId::of(blob.id, attempt, position).unwrap());
        let lens = [len(0, 0), len(1, 1), len(1, 2), len(1, 3)];
        assert_eq!(lens, [Some(seal::sealed_len(100)), Some(seal::sealed_len(100)), Some(seal::sealed_len(50)), None]);
    }

    #[test]
    fn what_a_superseded_attempt_left_is_unwanted_and_nothing_else() {
        let blob = blob();
        let id = blob.id;
        let fate = Fate::Known { blob: Box::new(blob), placer: None };
        let unwanted = |chunk| fate.unwanted(ShardKey { chunk, shard: 0 }, DiskId(1));
        let of = |attempt, position| ChunkId::of(id, attempt, position).unwrap();
        for wanted in [of(0, 0), of(1, 1), of(1, 2)] {
            assert!(!unwanted(wanted), "{wanted}");
        }
        for left in [of(1, 0), of(0, 1), of(0, 2), of(2, 1), of(1, 3), ChunkId::tail(id, 0)] {
            assert!(unwanted(left), "{left}");
        }
        // While the upload runs, no attempt is known to be over: everything stays.
        assert!(!Fate::Keep.unwanted(ShardKey { chunk: of(0, 1), shard: 0 }, DiskId(1)));
    }
}
