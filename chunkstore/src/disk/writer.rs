//! The one writer of a disk: many appends, one write, one sync.
//!
//! Owns: the order of records, segments and their rotation, what an error means for the disk.
//! Not: queue bounds ([`super::Disk`]), reads.
//! Holds: (1) nobody is told that a record is stored before the sync after its write succeeded, and
//! the index learns of it only then; (2) a batch is one write into one segment, and the next one begins
//! after its sync; (3) a failed write or sync is never tried again: the segment gets no more records,
//! and but for a full or read-only file system the disk is failed; then the batch is cut off before
//! anything else is acknowledged; (4) a segment number is used once; (5) operations on a key take
//! effect in the order in which they were queued, whether or not someone waits for them.

use std::{collections::HashMap, io::ErrorKind, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::Instant,
};

use super::{
    DiskError, INDEX_FILE, Shared,
    buffer::AlignedBuffer,
    checkpoint,
    index::{Location, Segment},
    open,
    state::{Counters, DiskState, Trouble},
};
use crate::{
    env::File,
    format::{
        BLOCK,
        index::estimated_bytes,
        record::{self, HEADER_BYTES, Kind, RecordHeader},
        round_up,
        segment::{self, SegmentHeader},
    },
    ids::ShardKey,
};

/// How often an idle writer looks whether space returned.
const SPACE_INTERVAL: Duration = Duration::from_secs(5);
/// Smallest segment made for tombstones when there is no room for a whole one, in bytes.
const SMALL_SEGMENT_BYTES: u64 = 64 * 1024;
/// Room at a segment's end that puts leave to tombstones, in bytes.
const TOMBSTONE_ROOM_BYTES: u64 = 16 * 1024;

/// Where the result of an operation goes; the one who waits may be gone.
pub(crate) type Answer = oneshot::Sender<Result<(), DiskError>>;

/// What compaction appends again.
pub(crate) enum CopyRecord {
    /// A shard, if the index still has it at `from`.
    Shard { key: ShardKey, from: Location, payload: Bytes },
    /// A tombstone, as it was.
    Tombstone { key: ShardKey, sequence: u64, written_ms: u64 },
}

pub(crate) enum Op {
    Put {
        key: ShardKey,
        payload: Bytes,
        checksum: u64,
        written_ms: u64,
        done: Answer,
    },
    Delete {
        keys: Vec<ShardKey>,
        written_ms: u64,
        done: Answer,
    },
    /// Buries every record of the key up to `sequence`; the index has dropped it already.
    Forget {
        key: ShardKey,
        sequence: u64,
        written_ms: u64,
    },
    Copy {
        records: Vec<CopyRecord>,
        done: Answer,
    },
    /// Removes a segment that has nothing live.
    Remove {
        segment: u32,
        done: Answer,
    },
    /// Ends the writer, with or without a checkpoint.
    Stop {
        checkpoint: bool,
        done: oneshot::Sender<()>,
    },
}

impl Op {
    fn is_append(&self) -> bool {
        !matches!(self, Self::Remove { .. } | Self::Stop { .. })
    }

    /// Bytes that it takes in a segment.
    pub(crate) fn stored_bytes(&self) -> u64 {
        let header = HEADER_BYTES as u64;
        match self {
            Self::Put { payload, .. } => round_up(header + payload.len() as u64, record::ALIGNMENT),
            Self::Delete { keys, .. } => header * keys.len() as u64,
            Self::Forget { .. } => header,
            Self::Copy { records, .. } => records.iter().map(CopyRecord::stored_bytes).sum(),
            Self::Remove { .. } | Self::Stop { .. } => 0,
        }
    }

    fn answer(self, result: Result<(), DiskError>) {
        match self {
            Self::Put { done, .. } | Self::Delete { done, .. } | Self::Copy { done, .. } | Self::Remove { done, .. } => {
                let _ = done.send(result);
            }
            Self::Stop { done, .. } => {
                let _ = done.send(());
            }
            Self::Forget { .. } => {}
        }
    }
}

impl CopyRecord {
    pub(crate) fn stored_bytes(&self) -> u64 {
        match self {
            Self::Shard { from, .. } => from.stored_bytes(),
            Self::Tombstone { .. } => HEADER_BYTES as u64,
        }
    }
}

/// An operation and the share of the queue that it takes until it is answered.
pub(crate) struct Queued {
    pub(crate) op: Op,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// The segment that is appended to.
pub(crate) struct Active {
    pub(crate) number: u32,
    pub(crate) file: Arc<dyn File>,
    pub(crate) end: u64,
    pub(crate) bytes: u64,
}

/// A segment whose last batch was refused, with what may lie past `end`.
struct Unfinished {
    segment: u32,
    file: Arc<dyn File>,
    end: u64,
}

/// Where a writer begins.
pub(crate) struct Start {
    pub(crate) active: Option<Active>,
    pub(crate) next_sequence: u64,
    pub(crate) next_segment: u32,
    /// The index file could not be used: it goes before the first append.
    pub(crate) drop_index: bool,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    active: Option<Active>,
    unfinished: Option<Unfinished>,
    drop_index: bool,
    next_sequence: u64,
    next_segment: u32,
    buffer: AlignedBuffer,
    since_checkpoint: u64,
}

fn refuse(ops: Vec<Op>, error: &DiskError) {
    for op in ops {
        op.answer(Err(error.clone()));
    }
}

/// A record about to be written.
struct Staged {
    header: RecordHeader,
    payload: Bytes,
    /// Where compaction took it from.
    copied_from: Option<Location>,
}

impl Staged {
    fn is_put(&self) -> bool {
        self.header.kind == Kind::Shard && self.copied_from.is_none()
    }

    fn stored_bytes(&self) -> u64 {
        record::stored_bytes(self.header.len)
    }
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, start: Start) -> Self {
        Self {
            shared,
            active: start.active,
            unfinished: None,
            drop_index: start.drop_index,
            next_sequence: start.next_sequence,
            next_segment: start.next_segment,
            buffer: AlignedBuffer::new(),
            since_checkpoint: 0,
        }
    }

    /// Serves the queue until it is closed or told to stop.
    pub(crate) async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Queued>) {
        let shared = self.shared.clone();
        let limit = shared.batch_limit_bytes();
        let mut carried = None;
        let mut stopped = None;
        while stopped.is_none() {
            let first = match carried.take() {
                Some(queued) => queued,
                None => match tokio::time::timeout(SPACE_INTERVAL, queue.recv()).await {
                    Ok(Some(queued)) => queued,
                    Ok(None) => break,
                    Err(_) => {
                        let shared = shared.clone();
                        let env = shared.env.clone();
                        if env.run_blocking(move || shared.refresh_space()).await.is_err() {
                            break;
                        }
                        continue;
                    }
                },
            };
            let appends = first.op.is_append();
            let mut bytes = first.op.stored_bytes();
            let mut batch = vec![first];
            while appends && carried.is_none() && !shared.env.probe.buggify("buggify.batch_of_one") {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.op.stored_bytes();
                if next.op.is_append() && bytes <= limit { batch.push(next) } else { carried = Some(next) }
            }
            let work = move || {
                let stop = self.handle(batch);
                (self, stop)
            };
            match shared.env.run_blocking(work).await {
                Ok((writer, stop)) => {
                    self = writer;
                    stopped = stop;
                }
                // The process is stopping: whoever waits sees the channel closed.
                Err(_) => break,
            }
        }
        // First of all: whoever learns that the disk is closed may open it again.
        shared.release();
        queue.close();
        shared.budget.close();
        for queued in carried.into_iter().chain(std::iter::from_fn(|| queue.try_recv().ok())) {
            queued.op.answer(Err(DiskError::Closed));
        }
        if let Some(done) = stopped {
            let _ = done.send(());
        }
    }

    /// Does one batch (blocking) and answers it. Gives back whom to tell that the writer has stopped.
    fn handle(&mut self, batch: Vec<Queued>) -> Option<oneshot::Sender<()>> {
        let mut appends = Vec::with_capacity(batch.len());
        let mut permits = Vec::with_capacity(batch.len());
        let mut stop = None;
        for Queued { op, permit } in batch {
            permits.push(permit);
            match op {
                Op::Remove { segment, done } => {
                    let result = self.remove_segment(segment);
                    let _ = done.send(result);
                }
                Op::Stop { checkpoint, done } => {
                    if checkpoint && !self.shared.health.is_failed() {
                        self.checkpoint();
                    }
                    stop = Some(done);
                }
                op => appends.push(op),
            }
        }
        if !appends.is_empty() {
            self.append(appends);
        }
        stop
    }

    fn append(&mut self, ops: Vec<Op>) {
        if let DiskState::Failed { reason } = self.shared.health.state() {
            return refuse(ops, &DiskError::Failed { reason });
        }
        if let Err(trouble) = self.cut_unfinished().and_then(|()| self.drop_bad_index()) {
            return refuse(ops, &self.meet(trouble));
        }
        let staged = self.stage(&ops);
        if staged.is_empty() {
            for op in ops {
                op.answer(Ok(()));
            }
            return;
        }
        let has_puts = staged.iter().any(Staged::is_put);
        let records: u64 = staged.iter().map(Staged::stored_bytes).sum();
        match self.reserve(round_up(records + HEADER_BYTES as u64, BLOCK as u64), !has_puts) {
            Ok(()) => self.commit(ops, &staged),
            Err(trouble) => {
                let error = self.meet(trouble);
                if !has_puts {
                    return refuse(ops, &error);
                }
                let (puts, rest): (Vec<_>, Vec<_>) = ops.into_iter().partition(|op| matches!(op, Op::Put { .. }));
                refuse(puts, &error);
                // Tombstones and copies may still find room; without puts this comes here no more.
                if !rest.is_empty() {
                    self.append(rest);
                }
            }
        }
    }

    /// Writes, syncs, enters into the index, answers. Room was reserved.
    fn commit(&mut self, ops: Vec<Op>, staged: &[Staged]) {
        let result = match self.write(staged) {
            Ok((segment, offsets)) => {
                self.enter(segment, staged, &offsets);
                if staged.iter().any(Staged::is_put) || !self.shared.health.is(&DiskState::Full) {
                    self.shared.health.set(DiskState::Active);
                }
                Ok(())
            }
            Err(trouble) => {
                // What the segment holds past its last sync is unknown. It is sealed when that is cut
                // off, so that compaction does not read it before.
                let unfinished = |active: Active| Unfinished { segment: active.number, file: active.file, end: active.end };
                self.unfinished = self.active.take().map(unfinished);
                let error = self.meet(trouble);
                if !self.shared.health.is_failed()
                    && let Err(trouble) = self.cut_unfinished()
                {
                    let _ = self.meet(trouble);
                }
                Err(error)
            }
        };
        for op in ops {
            op.answer(result.clone());
        }
    }

    /// Cuts a batch off that was refused (no space, read-only) but may lie on the disk in part or
    /// whole. Until that is done nothing is acknowledged: such a record would outrank, at the next
    /// start, what callers were told since.
    fn cut_unfinished(&mut self) -> Result<(), Trouble> {
        let Some(unfinished) = &self.unfinished else { return Ok(()) };
        let end = unfinished.end;
        unfinished.file.set_len(end).map_err(|e| Trouble::of("cutting a refused batch off", e))?;
        // All below the cut was synced before: this sync does not try that one again.
        unfinished.file.sync().map_err(|e| Trouble::of("syncing a cut segment", e))?;
        if let Some(segment) = self.shared.index_mut().segments.get_mut(&unfinished.segment) {
            (segment.end, segment.file_bytes, segment.sealed) = (end, end, true);
        }
        self.unfinished = None;
        Ok(())
    }

    /// Removes an index file that could not be used, before anything is appended that it knows nothing of.
    fn drop_bad_index(&mut self) -> Result<(), Trouble> {
        if !self.drop_index {
            return Ok(());
        }
        let files = &self.shared.env.files;
        match files.remove(&self.shared.dir.join(INDEX_FILE)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Trouble::of("removing a bad index", error));
            }
            _ => files.sync_dir(&self.shared.dir).map_err(|e| Trouble::of("syncing the directory", e))?,
        }
        self.drop_index = false;
        Ok(())
    }

    /// The records that `ops` ask for, in their order; none where the disk is as asked already. That is
    /// decided here and not by the callers, so that it counts what was asked for before.
    fn stage(&mut self, ops: &[Op]) -> Vec<Staged> {
        let shared = self.shared.clone();
        let index = shared.index();
        let mut staged: Vec<Staged> = Vec::new();
        // Whether a key is stored after what this batch did to it.
        let mut changed: HashMap<ShardKey, bool> = HashMap::new();
        let mut sequence = || {
            self.next_sequence += 1;
            self.next_sequence - 1
        };
        let tombstone = |key, sequence, written_ms| Staged {
            header: RecordHeader::tombstone(key, sequence, written_ms),
            payload: Bytes::new(),
            copied_from: None,
        };
        let shard = |key, payload: &Bytes, checksum, sequence, written_ms, copied_from| {
            let len = u32::try_from(payload.len()).ok()?;
            let header = RecordHeader { kind: Kind::Shard, first: false, key, len, sequence, written_ms, checksum };
            Some(Staged { header, payload: payload.clone(), copied_from })
        };
        for op in ops {
            match op {
                Op::Put { key, payload, checksum, written_ms, .. } => {
                    if !changed.contains_key(key) && shared.holds(&index, *key, payload.len(), *checksum) {
                        continue;
                    }
                    changed.insert(*key, true);
                    staged.extend(shard(*key, payload, *checksum, sequence(), *written_ms, None));
                }
                Op::Delete { keys, written_ms, .. } => {
                    for key in keys {
                        if changed.get(key).copied().unwrap_or_else(|| index.find(*key).is_some()) {
                            changed.insert(*key, false);
                            staged.push(tombstone(*key, sequence(), *written_ms));
                        }
                    }
                }
                Op::Forget { key, sequence, written_ms } => staged.push(tombstone(*key, *sequence, *written_ms)),
                Op::Copy { records, .. } => {
                    for record in records {
                        match record {
                            CopyRecord::Shard { key, from, payload } => {
                                if index.find(*key) == Some(*from) {
                                    let (sum, ms) = (from.checksum, from.written_ms);
                                    staged.extend(shard(*key, payload, sum, from.sequence, ms, Some(*from)));
                                }
                            }
                            CopyRecord::Tombstone { key, sequence, written_ms } => {
                                staged.push(tombstone(*key, *sequence, *written_ms));
                            }
                        }
                    }
                }
                Op::Remove { .. } | Op::Stop { .. } => {}
            }
        }
        if let Some(first) = staged.first_mut() {
            first.header.first = true;
        }
        staged
    }

    /// Lays the records out, writes them at once and syncs. Gives the segment and the offsets.
    fn write(&mut self, staged: &[Staged]) -> Result<(u32, Vec<u32>), Trouble> {
        let range = || Trouble::Full;
        let active = self.active.as_mut().ok_or_else(range)?;
        let seed = record::segment_seed(self.shared.label.disk, active.number);
        let start = u32::try_from(active.end).map_err(|_| range())?;
        let records: u64 = staged.iter().map(Staged::stored_bytes).sum();
        let all = round_up(records + HEADER_BYTES as u64, BLOCK as u64);
        let all_len = usize::try_from(all).map_err(|_| range())?;
        self.buffer.reset(all_len);
        let mut offsets = Vec::with_capacity(staged.len());
        let mut offset = active.end;
        for one in staged {
            let at = u32::try_from(offset).map_err(|_| range())?;
            self.buffer.push(&one.header.encode(seed, at));
            self.buffer.push(&one.payload);
            self.buffer.pad_to(self.buffer.filled().next_multiple_of(STEP));
            offsets.push(at);
            offset += record::stored_bytes(one.header.len);
        }
        let padding = u32::try_from(all - records).map_err(|_| range())?.saturating_sub(HEADER_BYTES as u32);
        let at = u32::try_from(offset).map_err(|_| range())?;
        self.buffer.push(&RecordHeader::padding(start, padding).encode(seed, at));
        self.buffer.pad_to(all_len);
        active.file.write_at(active.end, self.buffer.as_slice()).map_err(|e| Trouble::of("writing a batch", e))?;
        let began = Instant::now();
        active.file.sync().map_err(|e| Trouble::of("syncing a batch", e))?;
        let counters = &self.shared.counters;
        counters.synced(began.elapsed());
        Counters::add(&counters.batches, 1);
        Counters::add(&counters.appends, staged.len() as u64);
        Counters::add(&counters.appended_bytes, all);
        active.end += all;
        self.since_checkpoint += all;
        Ok((active.number, offsets))
    }

    /// Tells the index what is durable now.
    fn enter(&self, segment: u32, staged: &[Staged], offsets: &[u32]) {
        let end = self.active.as_ref().map(|active| active.end);
        let mut index = self.shared.index_mut();
        let mut repaired = Vec::new();
        for (one, offset) in staged.iter().zip(offsets) {
            let header = &one.header;
            if header.kind == Kind::Tombstone {
                if index.remove(header.key, header.sequence) {
                    repaired.push(header.key);
                }
                if let Some(segment) = index.segments.get_mut(&segment) {
                    segment.tombstones += HEADER_BYTES as u64;
                }
                continue;
            }
            // A copy counts only if nothing happened to the original in between.
            if one.copied_from.is_some() && index.find(header.key) != one.copied_from {
                continue;
            }
            let location = Location {
                segment,
                offset: *offset,
                len: header.len,
                sequence: header.sequence,
                written_ms: header.written_ms,
                checksum: header.checksum,
            };
            index.insert(header.key, location);
            repaired.push(header.key);
        }
        if let (Some(segment), Some(end)) = (index.segments.get_mut(&segment), end) {
            segment.end = end;
        }
        // Under the lock of the index: a record found bad from now on is one of these.
        self.shared.clear_damaged(&repaired);
    }

    /// Makes room for `bytes` in one piece, in a new segment if need be. `emergency`: tombstones and
    /// copies, which may use the reserve.
    fn reserve(&mut self, bytes: u64, emergency: bool) -> Result<(), Trouble> {
        let options = &self.shared.options;
        let segment_bytes = options.segment_bytes;
        let kept = if emergency { 0 } else { TOMBSTONE_ROOM_BYTES.min(segment_bytes / 16) };
        let early = !emergency && self.shared.env.probe.buggify("buggify.segment_sealed_early");
        if !early && self.active.as_ref().is_some_and(|active| active.end + bytes + kept <= active.bytes) {
            return Ok(());
        }
        let space = self.shared.refresh_space().map_err(|e| Trouble::Passing("asking for free space", e))?;
        let bytes = if space.free >= segment_bytes.saturating_add(options.reserve_bytes) {
            segment_bytes
        } else if emergency {
            let small = round_up(segment::HEADER_BYTES + bytes, BLOCK as u64).max(SMALL_SEGMENT_BYTES).min(segment_bytes);
            if space.free < small {
                return Err(Trouble::Full);
            }
            small
        } else {
            return Err(Trouble::Full);
        };
        self.rotate(bytes)
    }

    /// Begins a new segment of `bytes`; the present one, if any, is sealed once it is there.
    fn rotate(&mut self, bytes: u64) -> Result<(), Trouble> {
        let (number, path, file) = loop {
            let number = self.next_segment;
            let next = number.checked_add(1).ok_or(Trouble::Full)?;
            let path = self.shared.dir.join(segment::file_name(number));
            match self.shared.env.files.create(&path) {
                Ok(file) => {
                    self.next_segment = next;
                    break (number, path, file);
                }
                // A file that is not ours: left alone.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => self.next_segment = next,
                Err(error) => return Err(Trouble::of_open("creating a segment", error)),
            }
        };
        if let Err(trouble) = self.prepare_segment(&*file, number, bytes) {
            // Best effort: an empty segment does no harm but take space.
            let _ = self.shared.env.files.remove(&path);
            return Err(trouble);
        }
        self.seal_active();
        let end = segment::HEADER_BYTES;
        let entry = Segment { file: file.clone(), file_bytes: bytes, end, live: 0, tombstones: 0, sealed: false, unread: false };
        self.shared.index_mut().segments.insert(number, entry);
        self.active = Some(Active { number, file, end, bytes });
        // A checkpoint costs as much as the index is large: write it when that is little beside what
        // was appended since the last one.
        let worth = estimated_bytes(self.shared.index().len()).saturating_mul(4);
        if self.since_checkpoint >= worth {
            self.checkpoint();
        }
        match self.shared.health.state() {
            DiskState::Failed { reason } => Err(Trouble::Broken("an earlier operation", std::io::Error::other(reason))),
            _ => Ok(()),
        }
    }

    fn prepare_segment(&self, file: &dyn File, number: u32, bytes: u64) -> Result<(), Trouble> {
        file.allocate(bytes).map_err(|e| Trouble::of("allocating a segment", e))?;
        let header = SegmentHeader { disk: self.shared.label.disk, number }.encode();
        let header = AlignedBuffer::block_of(&header);
        file.write_at(0, header.as_slice()).map_err(|e| Trouble::of("writing a segment's header", e))?;
        file.sync().map_err(|e| Trouble::of("syncing a new segment", e))?;
        self.shared.env.files.sync_dir(&self.shared.dir).map_err(|e| Trouble::of("syncing the directory", e))
    }

    fn seal_active(&mut self) {
        if let Some(active) = self.active.take()
            && let Some(segment) = self.shared.index_mut().segments.get_mut(&active.number)
        {
            segment.sealed = true;
            segment.end = segment.file_bytes;
        }
    }

    fn remove_segment(&mut self, number: u32) -> Result<(), DiskError> {
        if let DiskState::Failed { reason } = self.shared.health.state() {
            return Err(DiskError::Failed { reason });
        }
        let removable = {
            let index = self.shared.index();
            index.segments.get(&number).is_some_and(|segment| segment.sealed && segment.live == 0)
        };
        if !removable {
            return Ok(());
        }
        let files = &self.shared.env.files;
        let path = self.shared.dir.join(segment::file_name(number));
        let removed = match files.remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Trouble::of("removing a segment", error)),
            // Durable before the next removal: an older segment that came back alone could bring back
            // what a newer one buried.
            _ => files.sync_dir(&self.shared.dir).map_err(|e| Trouble::of("syncing the directory", e)),
        };
        match removed {
            Ok(()) => {
                self.shared.index_mut().segments.remove(&number);
                let _ = self.shared.refresh_space();
                Ok(())
            }
            Err(trouble) => Err(self.meet(trouble)),
        }
    }

    fn checkpoint(&mut self) {
        // A checkpoint speaks for whole segments. One that could not be read must be read again, and
        // with it all that came later, for the tombstones are there.
        if self.unfinished.is_some() || self.shared.index().segments.values().any(|segment| segment.unread) {
            return;
        }
        match checkpoint::write(&self.shared, self.next_sequence, self.next_segment) {
            Ok(()) => {
                self.since_checkpoint = 0;
                self.drop_index = false;
            }
            // Without a fresh index the next start reads more, no worse.
            Err(trouble @ Trouble::Broken(..)) => {
                let _ = self.meet(trouble);
            }
            Err(trouble) => tracing::warn!(dir = %self.shared.dir.display(), ?trouble, "no index checkpoint written"),
        }
    }

    /// Changes the disk's state as `trouble` asks and says what the waiters are told.
    fn meet(&self, trouble: Trouble) -> DiskError {
        let dir = self.shared.dir.display();
        match trouble {
            Trouble::Full => {
                if self.shared.health.set(DiskState::Full) {
                    self.shared.env.probe.reached("disk.full");
                    tracing::warn!(%dir, "disk full: puts are refused until space returns");
                }
                DiskError::Full
            }
            Trouble::ReadOnly => {
                if self.shared.health.set(DiskState::ReadOnly) {
                    self.shared.env.probe.reached("disk.read_only");
                    tracing::error!(%dir, "file system is read-only: reads go on");
                }
                DiskError::ReadOnly
            }
            Trouble::Passing(during, error) => DiskError::Io { during, error: Arc::new(error) },
            Trouble::Broken(during, error) => {
                let reason = format!("{during}: {error}");
                if self.shared.health.set(DiskState::Failed { reason: reason.clone() }) {
                    self.shared.env.probe.reached("disk.failed");
                    tracing::error!(%dir, reason, "disk failed: it takes no more writes until an operator clears it");
                    open::mark_failed(&*self.shared.env.files, &self.shared.dir, &reason);
                }
                DiskError::Failed { reason }
            }
        }
    }
}

const STEP: usize = record::ALIGNMENT as usize;
