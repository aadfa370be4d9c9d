//! A disk: a directory of append-only segments that stores shards and gives them back checked.
//!
//! Tour: [`open`](Disk::open) checks the label and rebuilds the `index` (`open`, `scan`, `checkpoint`);
//! `writer` is the one task that appends, with one sync for many; `reader` verifies; `compact` frees
//! space; `state` is health and figures; [`fault`] breaks file systems on purpose, for tests and drills.
//!
//! Owns: durability of single shards on one disk. Not: which shards belong here ([`crate::placement`]),
//! repair of lost ones (reconcile, in the node).
//! Holds: (1) an answered put is on the medium; (2) a get gives the bytes that were put, an error or
//! nothing, never other bytes; (3) a disk is open once, in one process; (4) no state of a disk ends the
//! process; (5) memory is bounded by the index, the queue and one batch.
//! Why one writer: order without locks, and many shards for one sync.

mod buffer;
mod checkpoint;
mod compact;
mod error;
pub mod fault;
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod open;
mod reader;
mod scan;
mod state;
mod writer;

use std::{
    collections::BTreeSet,
    io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use self::{
    buffer::AlignedBuffer,
    compact::CompactReport,
    error::{DiskError, OpenError},
    state::{DiskState, DiskUsage, SYNC_BUCKETS_US},
};
use self::{
    index::{Index, Location},
    reader::ReadError,
    state::{Counters, Health, lock},
    writer::{Op, Queued, Start, Writer},
};
pub use crate::format::label::DiskLabel;
use crate::{
    env::{Env, FileSystem, Space},
    format::{
        BLOCK,
        record::{self, HEADER_BYTES},
        segment,
    },
    ids::{DiskId, ShardKey},
};

const LABEL_FILE: &str = "label";
const INDEX_FILE: &str = "index";
const FAILED_FILE: &str = "failed";
const LOCK_FILE: &str = "lock";

/// Smallest segment: room for a few blocks of records, in bytes.
const MIN_SEGMENT_BYTES: u64 = 8 * BLOCK as u64;
/// Most suspect keys remembered for [`Disk::take_suspects`]; reconcile finds the others as missing.
const MAX_SUSPECTS: usize = 65_536;
/// Most keys of one tombstone operation.
const MAX_DELETE_KEYS: usize = 8_192;

/// How a disk is run.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskOptions {
    /// Length of a segment file: a multiple of 4,096 from 32 KiB to 2 GiB.
    pub segment_bytes: u64,
    /// Bytes of puts that may wait; further callers wait for room.
    pub queue_bytes: usize,
    /// Most bytes written at once.
    pub max_batch_bytes: usize,
    /// Share of a segment that must be dead for it to be compacted, above 0 and up to 1.
    pub compact_dead_ratio: f64,
    /// Free space of the file system that puts leave to tombstones and compaction.
    pub reserve_bytes: u64,
    /// Longest shard (lowered to what a segment can hold).
    pub max_payload_bytes: usize,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 256 << 20,
            queue_bytes: 64 << 20,
            max_batch_bytes: 8 << 20,
            compact_dead_ratio: 0.5,
            reserve_bytes: 64 << 20,
            max_payload_bytes: 16 << 20,
        }
    }
}

impl DiskOptions {
    fn check(&self) -> Result<(), OpenError> {
        let segment = self.segment_bytes;
        if !(MIN_SEGMENT_BYTES..=segment::MAX_SEGMENT_BYTES).contains(&segment) || !segment.is_multiple_of(BLOCK as u64) {
            return Err(OpenError::BadOption("segment_bytes"));
        }
        if self.queue_bytes == 0 {
            return Err(OpenError::BadOption("queue_bytes"));
        }
        if !(self.compact_dead_ratio > 0.0 && self.compact_dead_ratio <= 1.0) {
            return Err(OpenError::BadOption("compact_dead_ratio"));
        }
        Ok(())
    }

    /// Bytes that the records of one batch may take in a segment.
    fn batch_room_bytes(&self) -> u64 {
        // The header block, the closing padding and what puts leave to tombstones.
        self.segment_bytes - 3 * BLOCK as u64 - self.segment_bytes / 16
    }
}

/// What is known of a shard without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardInfo {
    /// Length in bytes.
    pub len: u32,
    /// When it was put, in milliseconds since 1970.
    pub written_ms: u64,
}

impl ShardInfo {
    fn of(location: &Location) -> Self {
        Self { len: location.len, written_ms: location.written_ms }
    }
}

/// What the callers and the writer share.
pub(crate) struct Shared {
    env: Env,
    dir: PathBuf,
    label: DiskLabel,
    options: DiskOptions,
    index: RwLock<Index>,
    health: Health,
    counters: Counters,
    suspects: Mutex<Suspects>,
    space: Mutex<Option<Space>>,
    /// Room in the queue, in bytes.
    budget: Arc<Semaphore>,
    registration: Mutex<Option<Registration>>,
}

#[derive(Default)]
struct Suspects {
    /// Not taken yet.
    fresh: BTreeSet<ShardKey>,
    /// In the index although their record is known to be bad: never taken for stored.
    damaged: BTreeSet<ShardKey>,
}

impl Shared {
    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn batch_limit_bytes(&self) -> u64 {
        self.options.batch_room_bytes().min(self.options.max_batch_bytes as u64)
    }

    fn max_payload_bytes(&self) -> usize {
        let room = self.options.batch_room_bytes() - HEADER_BYTES as u64 - record::ALIGNMENT;
        self.options.max_payload_bytes.min(usize::try_from(room).unwrap_or(usize::MAX))
    }

    /// Asks for free space (blocking), and ends `Full` when there is enough again.
    fn refresh_space(&self) -> io::Result<Space> {
        let space = self.env.files.space(&self.dir)?;
        *lock(&self.space) = Some(space);
        let enough = self.options.segment_bytes.saturating_add(self.options.reserve_bytes);
        if space.free >= enough && self.health.is(&DiskState::Full) {
            self.health.set(DiskState::Active);
        }
        Ok(space)
    }

    fn note_corrupt(&self, key: ShardKey, location: &Location) {
        Counters::add(&self.counters.corrupt, 1);
        tracing::warn!(dir = %self.dir.display(), %key, segment = location.segment, "corrupt shard");
        self.suspect(key, location);
    }

    fn note_unreadable(&self, key: ShardKey, location: &Location) {
        Counters::add(&self.counters.read_errors, 1);
        self.suspect(key, location);
    }

    fn suspect(&self, key: ShardKey, location: &Location) {
        // Under the index lock, so that a record put in between is not suspected for its predecessor.
        let index = self.index();
        if index.find(key) != Some(*location) {
            return;
        }
        let mut suspects = lock(&self.suspects);
        suspects.damaged.insert(key);
        if suspects.fresh.len() < MAX_SUSPECTS {
            suspects.fresh.insert(key);
        }
    }

    fn is_damaged(&self, key: ShardKey) -> bool {
        lock(&self.suspects).damaged.contains(&key)
    }

    /// Whether `index` has exactly this shard, and its record is not known to be bad.
    fn holds(&self, index: &Index, key: ShardKey, len: usize, checksum: u64) -> bool {
        let same = |l: Location| l.checksum == checksum && usize::try_from(l.len) == Ok(len);
        index.find(key).is_some_and(same) && !self.is_damaged(key)
    }

    fn clear_damaged(&self, keys: &[ShardKey]) {
        let mut suspects = lock(&self.suspects);
        for key in keys {
            suspects.damaged.remove(key);
        }
    }

    /// Lets the disk be opened again.
    fn release(&self) {
        lock(&self.registration).take();
    }
}

/// The right to use a disk: in this process by its identifier, among processes by a lock in its directory. A disk is
/// the same by whatever path it is reached.
struct Registration {
    // In this order: who finds the identifier free must find the lock free.
    _lock: Box<dyn Send + Sync>,
    _claim: Box<dyn Send + Sync>,
}

impl Registration {
    /// Blocking.
    fn take(files: &dyn FileSystem, dir: &Path, disk: DiskId) -> Result<Self, OpenError> {
        let claim = files.claim(disk.0).ok_or(OpenError::AlreadyOpen)?;
        match files.lock(&dir.join(LOCK_FILE)) {
            Ok(Some(held)) => Ok(Self { _lock: held, _claim: claim }),
            Ok(None) => Err(OpenError::AlreadyOpen),
            Err(error) => Err(OpenError::Io { during: "locking the disk", error: Arc::new(error) }),
        }
    }
}

/// An open disk. Share it by `Arc`; dropping the last one stops it without a checkpoint.
pub struct Disk {
    shared: Arc<Shared>,
    queue: mpsc::UnboundedSender<Queued>,
}

impl Disk {
    /// Makes `dir` (made if missing) a disk with this label.
    ///
    /// # Errors
    /// [`OpenError::InUse`] when it holds a label or segments; [`OpenError::Io`].
    pub async fn format(env: &Env, dir: &Path, label: &DiskLabel) -> Result<(), DiskError> {
        let (files, dir, label) = (env.files.clone(), dir.to_owned(), *label);
        let done = env.run_blocking(move || open::format(&*files, &dir, &label)).await;
        Ok(done.map_err(|_| DiskError::Closed)??)
    }

    /// The label of the disk in `dir`, or `None` where there is none.
    ///
    /// # Errors
    /// [`OpenError`] when there is one that cannot be read or is of another format.
    pub async fn read_label(env: &Env, dir: &Path) -> Result<Option<DiskLabel>, DiskError> {
        let (files, dir) = (env.files.clone(), dir.to_owned());
        let label = env.run_blocking(move || open::read_label(&*files, &dir)).await;
        Ok(label.map_err(|_| DiskError::Closed)??)
    }

    /// Removes the note that the disk in `dir` has failed: an operator decided to trust it again. Takes
    /// effect when the disk is next opened.
    ///
    /// # Errors
    /// [`DiskError::Io`] when the note cannot be removed.
    pub async fn clear_failure(env: &Env, dir: &Path) -> Result<(), DiskError> {
        let (files, dir) = (env.files.clone(), dir.to_owned());
        env.run_blocking(move || open::clear_failure(&*files, &dir)).await.map_err(|_| DiskError::Closed)?
    }

    /// Opens the disk in `dir`, which must be `expect`, and starts its writer on the present runtime.
    /// Without a usable index checkpoint this reads the whole disk.
    ///
    /// # Errors
    /// [`OpenError`]: whose disk it is instead, what is wrong with it.
    pub async fn open(env: &Env, dir: &Path, expect: &DiskLabel, options: DiskOptions) -> Result<Arc<Self>, DiskError> {
        options.check()?;
        let work = {
            let (env, dir, expect, options) = (env.clone(), dir.to_owned(), *expect, options.clone());
            move || {
                let found = open::read_label(&*env.files, &dir)?.ok_or(OpenError::NoLabel)?;
                open::check_label(&found, &expect)?;
                let registration = Registration::take(&*env.files, &dir, found.disk)?;
                let loaded = open::load(&env, &dir, &found, &options)?;
                Ok::<_, OpenError>((registration, loaded))
            }
        };
        let (registration, loaded) = env.run_blocking(work).await.map_err(|_| DiskError::Closed)??;
        if loaded.damaged_places > 0 || !loaded.suspects.is_empty() {
            let (places, suspects) = (loaded.damaged_places, loaded.suspects.len());
            tracing::warn!(dir = %dir.display(), places, suspects, "damage found while opening the disk");
        }
        let budget = Arc::new(Semaphore::new(options.queue_bytes.min(Semaphore::MAX_PERMITS)));
        let counters = Counters::default();
        Counters::add(&counters.damaged_places, loaded.damaged_places);
        Counters::add(&counters.corrupt, loaded.suspects.len() as u64);
        let fresh = loaded.suspects.into_iter().take(MAX_SUSPECTS).collect();
        let shared = Arc::new(Shared {
            env: env.clone(),
            dir: dir.to_owned(),
            label: *expect,
            options,
            index: RwLock::new(loaded.index),
            health: Health::new(loaded.state),
            counters,
            suspects: Mutex::new(Suspects { fresh, damaged: BTreeSet::new() }),
            space: Mutex::new(None),
            budget,
            registration: Mutex::new(Some(registration)),
        });
        let first_look = shared.clone();
        let space = env.run_blocking(move || first_look.refresh_space()).await.map_err(|_| DiskError::Closed)?;
        if let Err(error) = space {
            tracing::warn!(dir = %dir.display(), %error, "free space unknown");
        }
        let (queue, requests) = mpsc::unbounded_channel();
        let start = Start {
            active: loaded.active,
            next_sequence: loaded.next_sequence,
            next_segment: loaded.next_segment,
            drop_index: loaded.bad_index,
        };
        let writer = Writer::new(shared.clone(), start);
        tokio::spawn(writer.run(requests));
        Ok(Arc::new(Self { shared, queue }))
    }

    /// Who the disk is.
    pub fn label(&self) -> &DiskLabel {
        &self.shared.label
    }

    /// Where the disk is.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Stores a shard and returns when it is durable. A stored shard of the same length and checksum
    /// is left as it is; a different one is replaced. A caller who goes away leaves it open whether
    /// the shard is stored.
    ///
    /// # Errors
    /// [`DiskError`]; after any of them the shard may or may not be there after the next start.
    pub async fn put(&self, key: ShardKey, payload: Bytes) -> Result<(), DiskError> {
        let shared = &self.shared;
        self.check_not_failed()?;
        let max = shared.max_payload_bytes();
        if payload.len() > max {
            return Err(DiskError::TooLarge { len: payload.len(), max });
        }
        let checksum = record::payload_checksum(&payload);
        let (done, result) = oneshot::channel();
        let written_ms = shared.env.clock.now_ms();
        self.append(Op::Put { key, payload, checksum, written_ms, done }).await?;
        result.await.map_err(|_| DiskError::Closed)?
    }

    /// The shard, or `None` where it is not stored.
    ///
    /// # Errors
    /// [`DiskError::Corrupt`] when the medium changed it, [`DiskError::Io`] when it cannot be read; the
    /// key is then a suspect in both cases.
    pub async fn get(&self, key: ShardKey) -> Result<Option<Bytes>, DiskError> {
        let shared = &self.shared;
        let Some((location, file)) = shared.index().find_file(key) else { return Ok(None) };
        Counters::add(&shared.counters.reads, 1);
        let seed = record::segment_seed(shared.label.disk, location.segment);
        let work = move || reader::read_record(&*file, seed, key, &location);
        match shared.env.run_blocking(work).await.map_err(|_| DiskError::Closed)? {
            Ok(payload) => Ok(Some(payload)),
            Err(ReadError::Corrupt) => {
                shared.note_corrupt(key, &location);
                Err(DiskError::Corrupt { key })
            }
            Err(ReadError::Io(error)) => {
                shared.note_unreadable(key, &location);
                Err(DiskError::Io { during: "reading a shard", error: Arc::new(error) })
            }
        }
    }

    /// Deletes shards (absent ones are fine), durably, most often with one sync for all.
    ///
    /// # Errors
    /// [`DiskError`]; some of the keys may be deleted then.
    pub async fn delete(&self, keys: Vec<ShardKey>) -> Result<(), DiskError> {
        self.check_not_failed()?;
        let written_ms = self.shared.env.clock.now_ms();
        let room = usize::try_from(self.shared.batch_limit_bytes()).unwrap_or(usize::MAX);
        let at_once = (room / HEADER_BYTES).clamp(1, MAX_DELETE_KEYS);
        let mut results = Vec::new();
        for keys in keys.chunks(at_once) {
            let (done, result) = oneshot::channel();
            self.append(Op::Delete { keys: keys.to_vec(), written_ms, done }).await?;
            results.push(result);
        }
        for result in results {
            result.await.map_err(|_| DiskError::Closed)??;
        }
        Ok(())
    }

    /// Whether the shard is stored, as far as is known.
    pub fn contains(&self, key: ShardKey) -> bool {
        self.shared.index().find(key).is_some()
    }

    /// Length and age of a stored shard.
    pub fn info(&self, key: ShardKey) -> Option<ShardInfo> {
        self.shared.index().find(key).map(|location| ShardInfo::of(&location))
    }

    /// Up to `limit` stored shards from `from` on, in the order of keys.
    pub fn list(&self, from: Bound<ShardKey>, limit: usize) -> Vec<(ShardKey, ShardInfo)> {
        let found = self.shared.index().range(from, limit);
        found.iter().map(|(key, location)| (*key, ShardInfo::of(location))).collect()
    }

    /// Drops a corrupt shard from the index at once, so that reconcile sees it as missing; the next
    /// batch makes that durable. A record put later is not touched.
    pub fn forget(&self, key: ShardKey) {
        // The guard must be gone before `forget_at` asks for the other one.
        let found = self.shared.index().find(key);
        if let Some(location) = found {
            self.forget_at(key, &location);
        }
    }

    fn forget_at(&self, key: ShardKey, location: &Location) {
        let sequence = location.sequence;
        if !self.shared.index_mut().remove(key, sequence) {
            return;
        }
        self.shared.clear_damaged(&[key]);
        let written_ms = self.shared.env.clock.now_ms();
        // A closed queue: the record is found corrupt again after the next start.
        let _ = self.send(Queued { op: Op::Forget { key, sequence, written_ms }, permit: None });
    }

    /// Keys found corrupt, unreadable or lost since the last call, for reconcile.
    pub fn take_suspects(&self) -> Vec<ShardKey> {
        std::mem::take(&mut lock(&self.shared.suspects).fresh).into_iter().collect()
    }

    /// What the disk can do at present.
    pub fn state(&self) -> DiskState {
        self.shared.health.state()
    }

    /// Figures; asks nothing of the file system.
    pub fn usage(&self) -> DiskUsage {
        let mut usage = DiskUsage::default();
        {
            let index = self.shared.index();
            usage.shards = index.len() as u64;
            usage.segments = index.segments.len() as u64;
            (usage.live_bytes, usage.dead_bytes, usage.segment_bytes) = index.bytes();
        }
        if let Some(space) = *lock(&self.shared.space) {
            usage.fs_total_bytes = space.total;
            usage.fs_free_bytes = space.free;
        }
        self.shared.counters.fill(&mut usage);
        usage
    }

    /// One step of compaction: frees the segment most worth it, if any is.
    ///
    /// # Errors
    /// [`DiskError`]; nothing is lost, the step may be tried again unless the disk has failed.
    pub async fn compact_once(&self) -> Result<CompactReport, DiskError> {
        compact::step(self).await
    }

    /// Finishes what waits, writes the index checkpoint and stops. Later calls answer
    /// [`DiskError::Closed`]; the disk may be opened again.
    pub async fn close(&self) {
        self.stop(true).await;
    }

    /// Stops as a killed process would, but orderly: what was begun ends, no checkpoint is written.
    pub async fn abandon(&self) {
        self.stop(false).await;
    }

    async fn stop(&self, checkpoint: bool) {
        let (done, stopped) = oneshot::channel();
        if self.send(Queued { op: Op::Stop { checkpoint, done }, permit: None }).is_ok() {
            let _ = stopped.await;
        }
    }

    fn send(&self, queued: Queued) -> Result<(), DiskError> {
        self.queue.send(queued).map_err(|_| DiskError::Closed)
    }

    /// Puts an operation into the queue once there is room for it.
    async fn append(&self, op: Op) -> Result<(), DiskError> {
        let bytes = op.stored_bytes().min(self.shared.options.queue_bytes as u64);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit = self.shared.budget.clone().acquire_many_owned(permits).await.map_err(|_| DiskError::Closed)?;
        self.send(Queued { op, permit: Some(permit) })
    }

    fn check_not_failed(&self) -> Result<(), DiskError> {
        match self.state() {
            DiskState::Failed { reason } => Err(DiskError::Failed { reason }),
            _ => Ok(()),
        }
    }

    fn check_writable(&self) -> Result<(), DiskError> {
        match self.state() {
            DiskState::ReadOnly => Err(DiskError::ReadOnly),
            _ => self.check_not_failed(),
        }
    }
}

#[cfg(test)]
mod tests;
