//! The Raft log and vote, in the replica's store.
//!
//! Key: index, 8 bytes big-endian. Value:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | version: 1 |
//! | 1 | 8 | xxh3 of the rest, little-endian |
//! | 9 | .. | the entry (postcard) |
//!
//! Owns: the bytes of the log, vote, committed and purged positions. Not: when they are written (openraft).
//! Holds: (1) an append is one batch with one sync, and is confirmed after it; (2) the log has no hole:
//! [`check`] refuses one at start, together with entries that do not decode.
//! Why no queue of appends: openraft 0.9 awaits each append before it issues the next one, so a queue
//! would never hold two. What shares a sync is gathered before: requests into a [`super::types::Batch`],
//! and up to 64 entries into one append message.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, atomic::Ordering},
};

use kluis_chunkstore::database::{Batch as Edits, Scan};
use openraft::{
    ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader, StorageError, Vote,
    storage::{LogFlushed, RaftLogStorage},
};
use serde::{Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    options::OpenError,
    status::ConsensusCounters,
    types::{LogEntry, Position, TypeConfig, storage_error},
    wire::APPEND_FILL_BYTES,
    world::World,
};
use crate::store::{
    StoreError,
    replica::{LOG, ReplicaStore, failed},
};

const VERSION: u8 = 1;
/// Bytes of the log that are checked at a time.
const CHECK_BYTES: usize = 4 << 20;
/// Keys in `meta`.
const VOTE: &[u8] = b"vote";
const COMMITTED: &[u8] = b"committed";
const PURGED: &[u8] = b"purged";

/// A small record of `meta`: version byte, then postcard.
pub(crate) fn encode_meta<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(value, vec![VERSION]).map_err(|e| StoreError::Io(format!("encoding: {e}")))
}

/// See [`encode_meta`].
pub(crate) fn decode_meta<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    let damaged = |why: String| StoreError::Damaged { key: format!("meta/{}", String::from_utf8_lossy(key)), why };
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|e| damaged(e.to_string())),
        Some((version, _)) => Err(damaged(format!("version {version} is unknown"))),
        None => Err(damaged("empty".into())),
    }
}

fn load_meta<T: DeserializeOwned>(store: &ReplicaStore, key: &[u8]) -> Result<Option<T>, StoreError> {
    store.meta(key)?.map(|bytes| decode_meta(key, &bytes)).transpose()
}

pub(super) fn encode_entry(entry: &LogEntry) -> Result<Vec<u8>, StoreError> {
    let mut value = postcard::to_extend(entry, vec![0; 9]).map_err(|e| StoreError::Io(format!("encoding a log entry: {e}")))?;
    let sum = xxh3_64(value.get(9..).unwrap_or_default());
    if let Some(head) = value.first_chunk_mut::<9>() {
        head[0] = VERSION;
        head[1..].copy_from_slice(&sum.to_le_bytes());
    }
    Ok(value)
}

pub(super) fn decode_entry(key: &[u8], value: &[u8]) -> Result<LogEntry, StoreError> {
    let damaged = |why: &str| StoreError::Damaged { key: format!("log/{}", hex::encode(key)), why: why.into() };
    let index = u64::from_be_bytes(key.try_into().map_err(|_| damaged("the key is no index"))?);
    let (head, body) = value.split_first_chunk::<9>().ok_or_else(|| damaged("cut off"))?;
    let [version, sum @ ..] = *head;
    if version != VERSION {
        return Err(damaged("unknown version"));
    }
    if xxh3_64(body) != u64::from_le_bytes(sum) {
        return Err(damaged("checksum_mismatch"));
    }
    let entry: LogEntry = postcard::from_bytes(body).map_err(|e| damaged(&e.to_string()))?;
    if entry.log_id.index == index { Ok(entry) } else { Err(damaged("it is another entry")) }
}

/// Entries with `start <= index < end` (no end = to the last), at most about `bytes_max` of them but one.
fn read_entries(store: &ReplicaStore, start: u64, end: Option<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, StoreError> {
    if end.is_some_and(|end| end <= start) {
        return Ok(Vec::new());
    }
    let (from, to) = (start.to_be_bytes(), end.map(u64::to_be_bytes));
    let scan = Scan { start: &from, end: to.as_ref().map(|to| &to[..]), limit: usize::MAX, bytes_max, back: false };
    store.db().scan(LOG, scan).map_err(failed)?.iter().map(|(key, value)| decode_entry(key, value)).collect()
}

fn last_entry(store: &ReplicaStore) -> Result<Option<LogEntry>, StoreError> {
    let scan = Scan { start: &[], end: None, limit: 1, bytes_max: usize::MAX, back: true };
    store.db().scan(LOG, scan).map_err(failed)?.first().map(|(key, value)| decode_entry(key, value)).transpose()
}

/// Brings the log in line with a state that a snapshot put at `position`, after a crash in between.
/// Entries that follow it are kept only if they are known to follow it: the entry at the position is
/// that very one, or openraft had purged up to it before it appended them.
pub(crate) fn align(store: &ReplicaStore, position: Position) -> Result<(), StoreError> {
    let purged: Option<Position> = load_meta(store, PURGED)?;
    if purged >= Some(position) {
        return Ok(());
    }
    let there = read_entries(store, position.index, position.index.checked_add(1), usize::MAX)?;
    if there.first().is_some_and(|entry| entry.log_id == position) {
        return Ok(());
    }
    let mut batch = Edits::default();
    store.batch_meta(&mut batch, PURGED, Some(&encode_meta(&position)?));
    batch.delete_range(LOG, [0; 8], [0xff; 9]);
    store.commit(&batch, true)
}

/// Reads the whole log once: every entry decodes, none is missing, and it begins no later than the state
/// that was applied up to `applied` ends.
pub(crate) fn check(store: &ReplicaStore, applied: Option<Position>) -> Result<(), OpenError> {
    let purged: Option<Position> = load_meta(store, PURGED)?;
    if purged.map(|at| at.index) > applied.map(|at| at.index) {
        let index = applied.map_or(0, |at| at.index.saturating_add(1));
        return Err(OpenError::LogDamaged { index, why: "missing: neither in the log nor in the state".into() });
    }
    let mut expected = purged.map_or(0, |p| p.index.saturating_add(1));
    loop {
        let from = expected.to_be_bytes();
        let scan = Scan { start: &from, end: None, limit: 1024, bytes_max: CHECK_BYTES, back: false };
        let page = store.db().scan(LOG, scan).map_err(|e| OpenError::LogDamaged { index: expected, why: e.to_string() })?;
        if page.is_empty() {
            return Ok(());
        }
        for (key, value) in page {
            let entry = decode_entry(&key, &value).map_err(|e| OpenError::LogDamaged { index: expected, why: e.to_string() })?;
            if entry.log_id.index != expected {
                return Err(OpenError::LogDamaged { index: expected, why: format!("missing; entry {} follows", entry.log_id.index) });
            }
            expected = expected.saturating_add(1);
        }
    }
}

/// The log of one replica. Clones share it.
#[derive(Clone)]
pub struct LogStore {
    store: Arc<ReplicaStore>,
    world: World,
    counters: Arc<ConsensusCounters>,
}

impl LogStore {
    /// The log in `store`.
    pub(crate) fn new(store: Arc<ReplicaStore>, world: World, counters: Arc<ConsensusCounters>) -> Self {
        Self { store, world, counters }
    }

    async fn with_store<T: Send + 'static>(
        &self,
        job: impl FnOnce(&ReplicaStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = Arc::clone(&self.store);
        self.world.run(move || job(&store)).await
    }

    async fn put_meta<T: Serialize>(&self, key: &'static [u8], value: &T, sync: bool) -> Result<(), StoreError> {
        let bytes = encode_meta(value)?;
        self.with_store(move |store| store.put_meta(key, &bytes, sync)).await
    }

    /// Writes encoded entries and syncs once.
    async fn write(&self, entries: Vec<(u64, Vec<u8>)>) -> Result<(), StoreError> {
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        self.with_store(move |store| {
            let mut batch = Edits::default();
            for (index, value) in entries {
                batch.put(LOG, index.to_be_bytes(), value);
            }
            store.commit(&batch, true)
        })
        .await?;
        self.counters.log_syncs.fetch_add(1, Ordering::Relaxed);
        self.counters.log_entries.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<LogEntry>, StorageError<u64>> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index.checked_add(1),
            Bound::Excluded(index) => Some(*index),
            Bound::Unbounded => None,
        };
        self.with_store(move |store| read_entries(store, start, end, usize::MAX))
            .await
            .map_err(|e| storage_error(ErrorSubject::Logs, ErrorVerb::Read, e))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, StorageError<u64>> {
        // A message must fit into its deadline, however many entries are waiting.
        self.with_store(move |store| read_entries(store, start, Some(end), APPEND_FILL_BYTES))
            .await
            .map_err(|e| storage_error(ErrorSubject::Logs, ErrorVerb::Read, e))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError<u64>> {
        self.with_store(|store| {
            let last_purged_log_id: Option<Position> = load_meta(store, PURGED)?;
            // An entry at or below the purged position is one whose removal did not become durable.
            let last = last_entry(store)?.map(|entry| entry.log_id).filter(|last| Some(*last) > last_purged_log_id);
            Ok(LogState { last_purged_log_id, last_log_id: last.or(last_purged_log_id) })
        })
        .await
        .map_err(|e| storage_error(ErrorSubject::Logs, ErrorVerb::Read, e))
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), StorageError<u64>> {
        self.put_meta(VOTE, vote, true).await.map_err(|e| storage_error(ErrorSubject::Vote, ErrorVerb::Write, e))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, StorageError<u64>> {
        self.with_store(|store| load_meta(store, VOTE)).await.map_err(|e| storage_error(ErrorSubject::Vote, ErrorVerb::Read, e))
    }

    async fn save_committed(&mut self, committed: Option<Position>) -> Result<(), StorageError<u64>> {
        // Not synced: after a crash an older value only means that the leader says it again.
        self.put_meta(COMMITTED, &committed, false).await.map_err(|e| storage_error(ErrorSubject::Logs, ErrorVerb::Write, e))
    }

    async fn read_committed(&mut self) -> Result<Option<Position>, StorageError<u64>> {
        self.with_store(|store| load_meta::<Option<Position>>(store, COMMITTED))
            .await
            .map(Option::flatten)
            .map_err(|e| storage_error(ErrorSubject::Logs, ErrorVerb::Read, e))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError<u64>>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let encoded: Result<Vec<_>, StoreError> =
            entries.into_iter().map(|entry| encode_entry(&entry).map(|value| (entry.log_id.index, value))).collect();
        let result = match encoded {
            Ok(encoded) => self.write(encoded).await,
            Err(e) => Err(e),
        };
        match result {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(e) => {
                callback.log_io_completed(Err(io::Error::other(e.to_string())));
                Err(storage_error(ErrorSubject::Logs, ErrorVerb::Write, e))
            }
        }
    }

    async fn truncate(&mut self, log_id: Position) -> Result<(), StorageError<u64>> {
        self.with_store(move |store| {
            let mut batch = Edits::default();
            // Nine bytes: after every key of eight.
            batch.delete_range(LOG, log_id.index.to_be_bytes(), [0xff; 9]);
            store.commit(&batch, true)
        })
        .await
        .map_err(|e| storage_error(ErrorSubject::Logs, ErrorVerb::Delete, e))
    }

    async fn purge(&mut self, log_id: Position) -> Result<(), StorageError<u64>> {
        let purged = encode_meta(&log_id).map_err(|e| storage_error(ErrorSubject::Logs, ErrorVerb::Delete, e))?;
        self.with_store(move |store| {
            let mut batch = Edits::default();
            store.batch_meta(&mut batch, PURGED, Some(&purged));
            let end = log_id.index.saturating_add(1).to_be_bytes();
            batch.delete_range(LOG, [0; 8], end);
            // Not synced: if it is lost, the entries are merely still there.
            store.commit(&batch, false)
        })
        .await
        .map_err(|e| storage_error(ErrorSubject::Logs, ErrorVerb::Delete, e))
    }
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, EntryPayload, LogId};

    use super::*;
    use crate::{
        command::{Command, Request},
        consensus::types::Batch,
        store::rocks::RocksDatabases,
    };

    fn entry(index: u64) -> LogEntry {
        let request = Request { id: u128::from(index), now_ms: 1, command: Command::Tick };
        LogEntry {
            log_id: LogId::new(CommittedLeaderId::new(1, 1), index),
            payload: EntryPayload::Normal(Batch { requests: vec![request] }),
        }
    }

    fn filled(dir: &std::path::Path, indices: &[u64]) -> ReplicaStore {
        let store = ReplicaStore::open(&RocksDatabases, dir, true).unwrap();
        let mut batch = Edits::default();
        for index in indices {
            batch.put(LOG, index.to_be_bytes(), encode_entry(&entry(*index)).unwrap());
        }
        store.commit(&batch, true).unwrap();
        store
    }

    #[test]
    fn entries_round_trip_and_every_flip_is_found() {
        let key = 5u64.to_be_bytes();
        let value = encode_entry(&entry(5)).unwrap();
        assert_eq!(decode_entry(&key, &value).unwrap(), entry(5));
        assert!(decode_entry(&6u64.to_be_bytes(), &value).is_err());
        for at in 0..value.len() {
            let mut bad = value.clone();
            bad[at] ^= 1;
            assert!(decode_entry(&key, &bad).is_err(), "flipped at {at}");
            assert!(decode_entry(&key, &value[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn reading_respects_bounds_and_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(dir.path(), &[0, 1, 2, 3]);
        let indices = |entries: Vec<LogEntry>| entries.into_iter().map(|e| e.log_id.index).collect::<Vec<_>>();
        assert_eq!(indices(read_entries(&store, 1, Some(3), usize::MAX).unwrap()), [1, 2]);
        assert_eq!(indices(read_entries(&store, 2, None, usize::MAX).unwrap()), [2, 3]);
        assert_eq!(indices(read_entries(&store, 0, None, 1).unwrap()), [0]);
        assert_eq!(read_entries(&store, 3, Some(3), usize::MAX).unwrap().len(), 0);
        assert_eq!(last_entry(&store).unwrap().unwrap().log_id.index, 3);
    }

    #[test]
    fn after_a_snapshot_only_entries_known_to_follow_it_stay() {
        let at = |index: u64, term: u64| LogId::new(CommittedLeaderId::new(term, 1), index);
        // (purged up to, position of the snapshot, entries left)
        for (purged, position, left) in [
            (None, at(2, 1), 4),           // the entry is the very one
            (None, at(2, 9), 0),           // another entry stands there
            (None, at(7, 1), 0),           // the log ends before it
            (Some(at(7, 1)), at(7, 1), 4), // purged already
        ] {
            let dir = tempfile::tempdir().unwrap();
            let store = filled(dir.path(), &[1, 2, 3, 4]);
            if let Some(purged) = purged {
                store.put_meta(PURGED, &encode_meta(&purged).unwrap(), true).unwrap();
            }
            align(&store, position).unwrap();
            assert_eq!(read_entries(&store, 0, None, usize::MAX).unwrap().len(), left, "{position}");
        }
    }

    #[test]
    fn a_hole_and_a_damaged_entry_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(dir.path(), &[0, 1, 2]);
        check(&store, Some(entry(1).log_id)).unwrap();
        let mut batch = Edits::default();
        batch.put(LOG, 1u64.to_be_bytes(), b"xxxxxxxxxxxx");
        store.commit(&batch, true).unwrap();
        assert!(matches!(check(&store, None), Err(OpenError::LogDamaged { index: 1, .. })));
        let mut batch = Edits::default();
        batch.delete(LOG, 1u64.to_be_bytes());
        store.commit(&batch, true).unwrap();
        assert!(matches!(check(&store, None), Err(OpenError::LogDamaged { index: 1, .. })));
        store.put_meta(PURGED, &encode_meta(&entry(1).log_id).unwrap(), true).unwrap();
        assert!(matches!(check(&store, Some(entry(0).log_id)), Err(OpenError::LogDamaged { index: 1, .. })));
        check(&store, Some(entry(1).log_id)).unwrap();
    }
}
