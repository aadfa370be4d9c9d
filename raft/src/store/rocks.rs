//! The store as a RocksDB: state, log and bookkeeping of one replica in one database.
//!
//! | column family | holds |
//! |---|---|
//! | `state_a`, `state_b` | the state; one of them is active, the other is empty or being filled by a snapshot |
//! | `meta` | which state is active, identity, vote, applied and purged positions, the current snapshot |
//! | `log` | the Raft log, by big-endian index (see `consensus::log_store`) |
//!
//! Owns: the database, its options, the swap of one whole state for another. Not: what the bytes mean.
//! Holds: (1) the effects of commands and the applied position are in one write batch; (2) all families
//! share one write-ahead log, so what survives a crash is a prefix of what was written, and a synced log
//! write makes every earlier state write durable; (3) a state is replaced by filling the inactive family
//! and then changing one key: a reader sees the old state or the new one, and so does a restart.
//! Why the strict recovery mode: a damaged record in the middle must stop this node by name. Only an
//! unfinished record at the very end, which was never acknowledged, is cut.

use std::{
    path::Path,
    sync::{PoisonError, RwLock},
};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, IteratorMode, Options,
    ReadOptions, SnapshotWithThreadMode, WriteBatch, WriteOptions,
};

use super::{Entry, Read, Store, StoreError, Writes};

/// Column family of the Raft log.
pub(crate) const LOG: &str = "log";
const META: &str = "meta";
/// Key in `meta`: which state is active.
const ACTIVE: &[u8] = b"active";
/// Longest key of the state, in bytes. A snapshot with a longer one is refused.
pub(crate) const KEY_BYTES_MAX: usize = 512;
/// After every key of the state.
const AFTER_ALL: [u8; KEY_BYTES_MAX + 1] = [0xff; KEY_BYTES_MAX + 1];
const BLOCK_CACHE_BYTES: usize = 64 << 20;

/// One of the two families that take turns in holding the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    A,
    B,
}

impl Slot {
    fn family(self) -> &'static str {
        match self {
            Self::A => "state_a",
            Self::B => "state_b",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    fn from_meta(value: Option<&[u8]>) -> Result<Self, StoreError> {
        match value {
            None | Some(b"a") => Ok(Self::A),
            Some(b"b") => Ok(Self::B),
            Some(other) => Err(StoreError::Damaged { key: "meta/active".into(), why: format!("{other:?} is neither a nor b") }),
        }
    }

    fn to_meta(self) -> &'static [u8] {
        match self {
            Self::A => b"a",
            Self::B => b"b",
        }
    }
}

/// An error of the database as one of the store.
pub(crate) fn failed(error: rocksdb::Error) -> StoreError {
    StoreError::Io(error.into_string())
}

/// A replica's database.
pub struct RocksStore {
    db: DB,
    /// Read-locked by every read for as long as it lasts, write-locked for the instant of a swap: a
    /// reader that chose a state is never overtaken by the removal of that state.
    active: RwLock<Slot>,
}

impl std::fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksStore").field("path", &self.db.path()).finish_non_exhaustive()
    }
}

fn database_options(create: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(128 << 20);
    options.set_max_open_files(512);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 << 20);
    options
}

fn family_options(cache: &Cache, write_buffer_bytes: usize, compression: DBCompressionType) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(write_buffer_bytes);
    options.set_compression_type(compression);
    options
}

impl RocksStore {
    /// Opens the database in `dir`; makes it only if `create` is set.
    ///
    /// # Errors
    /// [`StoreError`] when it is missing (and not to be made), locked by another process or damaged.
    pub fn open(dir: &Path, create: bool) -> Result<Self, StoreError> {
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let families = [
            (Slot::A.family(), 32 << 20, DBCompressionType::Lz4),
            (Slot::B.family(), 32 << 20, DBCompressionType::Lz4),
            (META, 1 << 20, DBCompressionType::None),
            (LOG, 16 << 20, DBCompressionType::None),
        ];
        let families = families
            .into_iter()
            .map(|(name, buffer, compression)| ColumnFamilyDescriptor::new(name, family_options(&cache, buffer, compression)));
        let db = DB::open_cf_descriptors(&database_options(create), dir, families).map_err(failed)?;
        let store = Self { db, active: RwLock::new(Slot::A) };
        let slot = Slot::from_meta(store.meta(ACTIVE)?.as_deref())?;
        *store.active.write().unwrap_or_else(PoisonError::into_inner) = slot;
        // What a snapshot left behind that was not finished.
        store.clear(slot.other())?;
        Ok(store)
    }

    /// The database itself, for the log.
    pub(crate) fn db(&self) -> &DB {
        &self.db
    }

    /// A column family by name.
    pub(crate) fn family(&self, name: &str) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(name).ok_or_else(|| StoreError::Io(format!("column family {name} is missing")))
    }

    /// A value of `meta`.
    pub(crate) fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.family(META)?, key).map_err(failed)
    }

    /// Adds a write of `meta` to a batch.
    pub(crate) fn batch_meta(&self, batch: &mut WriteBatch, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        let family = self.family(META)?;
        match value {
            Some(value) => batch.put_cf(family, key, value),
            None => batch.delete_cf(family, key),
        }
        Ok(())
    }

    /// Writes a batch; with `sync` it and everything before it is durable when this returns.
    pub(crate) fn commit(&self, batch: WriteBatch, sync: bool) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch, &options).map_err(failed)
    }

    /// Sets one key of `meta`.
    pub(crate) fn put_meta(&self, key: &[u8], value: &[u8], sync: bool) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        self.batch_meta(&mut batch, key, Some(value))?;
        self.commit(batch, sync)
    }

    /// Effects of commands and the key of `meta` that says how far they go: all of it or nothing.
    pub(crate) fn write_with_meta(&self, writes: &Writes, meta: (&[u8], &[u8])) -> Result<(), StoreError> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let mut batch = self.state_batch(*active, writes)?;
        self.batch_meta(&mut batch, meta.0, Some(meta.1))?;
        self.commit(batch, false)
    }

    fn state_batch(&self, slot: Slot, writes: &Writes) -> Result<WriteBatch, StoreError> {
        let family = self.family(slot.family())?;
        let mut batch = WriteBatch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.put_cf(family, key, value),
                None => batch.delete_cf(family, key),
            }
        }
        Ok(batch)
    }

    /// Removes everything from a state.
    fn clear(&self, slot: Slot) -> Result<(), StoreError> {
        let family = self.family(slot.family())?;
        let mut iterator = self.db.iterator_cf(family, IteratorMode::Start);
        match iterator.next() {
            None => Ok(()),
            Some(Err(e)) => Err(failed(e)),
            Some(Ok(_)) => {
                let mut batch = WriteBatch::default();
                batch.delete_range_cf(family, b"".as_slice(), AFTER_ALL.as_slice());
                self.commit(batch, false)
            }
        }
    }

    /// Begins to fill the inactive state, which is empty afterwards.
    pub(crate) fn begin_replace(&self) -> Result<Slot, StoreError> {
        let slot = self.active.read().unwrap_or_else(PoisonError::into_inner).other();
        self.clear(slot)?;
        Ok(slot)
    }

    /// Adds entries to the state that is being filled.
    pub(crate) fn fill(&self, slot: Slot, entries: &[Entry]) -> Result<(), StoreError> {
        let family = self.family(slot.family())?;
        let mut batch = WriteBatch::default();
        for (key, value) in entries {
            batch.put_cf(family, key, value);
        }
        self.commit(batch, false)
    }

    /// Makes the filled state the active one, together with the given keys of `meta`, durably; then the
    /// old one is removed.
    pub(crate) fn finish_replace(&self, slot: Slot, meta: &[(&[u8], Option<Vec<u8>>)]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        self.batch_meta(&mut batch, ACTIVE, Some(slot.to_meta()))?;
        for (key, value) in meta {
            self.batch_meta(&mut batch, key, value.as_deref())?;
        }
        {
            let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
            self.commit(batch, true)?;
            *active = slot;
        }
        self.clear(slot.other())
    }

    /// One instant of the database, whatever is written meanwhile.
    pub(crate) fn frozen(&self) -> Frozen<'_> {
        Frozen { store: self, view: self.db.snapshot() }
    }

    fn range(&self, start: &[u8], end: &[u8], limit: usize, back: bool) -> Result<Vec<Entry>, StoreError> {
        if start >= end || limit == 0 {
            return Ok(Vec::new());
        }
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(start);
        options.set_iterate_upper_bound(end);
        let mode = if back { IteratorMode::End } else { IteratorMode::Start };
        let iterator = self.db.iterator_cf_opt(self.family(active.family())?, options, mode);
        let pairs = iterator.take(limit).map(|pair| pair.map(|(k, v)| (k.into_vec(), v.into_vec())).map_err(failed));
        pairs.collect()
    }
}

/// See [`RocksStore::frozen`].
pub(crate) struct Frozen<'a> {
    store: &'a RocksStore,
    view: SnapshotWithThreadMode<'a, DB>,
}

impl Frozen<'_> {
    /// A value of `meta` at that instant.
    pub(crate) fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.view.get_cf(self.store.family(META)?, key).map_err(failed)
    }

    /// Calls `each` with every entry of the state at that instant, in order.
    pub(crate) fn each_entry<E: From<StoreError>>(&self, mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>) -> Result<(), E> {
        let slot = Slot::from_meta(self.meta(ACTIVE)?.as_deref())?;
        let mut options = ReadOptions::default();
        // A pass over everything must not push the working set out of the cache.
        options.fill_cache(false);
        for pair in self.view.iterator_cf_opt(self.store.family(slot.family())?, options, IteratorMode::Start) {
            let (key, value) = pair.map_err(failed)?;
            each(&key, &value)?;
        }
        Ok(())
    }
}

impl Read for RocksStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        self.db.get_cf(self.family(active.family())?, key).map_err(failed)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.range(start, end, limit, false)
    }

    fn scan_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.range(start, end, limit, true)
    }
}

impl Store for RocksStore {
    fn write(&self, writes: &Writes) -> Result<(), StoreError> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let batch = self.state_batch(*active, writes)?;
        self.commit(batch, false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{Transaction, memory::MemoryStore};

    #[derive(Debug, Clone)]
    enum Op {
        Write(Vec<(Vec<u8>, Option<Vec<u8>>)>),
        Get(Vec<u8>),
        Scan {
            start: Vec<u8>,
            end: Vec<u8>,
            limit: usize,
            back: bool,
        },
        /// The same writes in a transaction that is thrown away; reads go through it.
        Peek {
            writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
            start: Vec<u8>,
            end: Vec<u8>,
            limit: usize,
            back: bool,
        },
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        // Few and short keys, so that operations meet; 0xff so that bounds are tried at the edge.
        prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 0xff]), 0..4)
    }

    fn writes() -> impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>> {
        prop::collection::vec((key(), prop::option::of(prop::collection::vec(any::<u8>(), 0..5))), 0..8)
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            writes().prop_map(Op::Write),
            key().prop_map(Op::Get),
            (key(), key(), 0usize..6, any::<bool>()).prop_map(|(start, end, limit, back)| Op::Scan { start, end, limit, back }),
            (writes(), key(), key(), 0usize..6, any::<bool>()).prop_map(|(writes, start, end, limit, back)| Op::Peek {
                writes,
                start,
                end,
                limit,
                back
            }),
        ]
    }

    fn read(read: &dyn Read, start: &[u8], end: &[u8], limit: usize, back: bool) -> Vec<Entry> {
        if back { read.scan_back(start, end, limit).unwrap() } else { read.scan(start, end, limit).unwrap() }
    }

    fn peek(base: &dyn Read, writes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Writes {
        let mut transaction = Transaction::new(base);
        for (key, value) in writes {
            match value {
                Some(value) => transaction.put(key.clone(), value.clone()),
                None => transaction.delete(key.clone()),
            }
        }
        transaction.into_writes()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_two_stores_answer_alike(ops in prop::collection::vec(op(), 1..60)) {
            let dir = tempfile::tempdir().unwrap();
            let rocks = RocksStore::open(dir.path(), true).unwrap();
            let memory = MemoryStore::default();
            for op in ops {
                match op {
                    Op::Write(writes) => {
                        let writes: Writes = writes.into_iter().collect();
                        rocks.write(&writes).unwrap();
                        memory.write(&writes).unwrap();
                    }
                    Op::Get(key) => prop_assert_eq!(rocks.get(&key).unwrap(), memory.get(&key).unwrap()),
                    Op::Scan { start, end, limit, back } => {
                        prop_assert_eq!(read(&rocks, &start, &end, limit, back), read(&memory, &start, &end, limit, back));
                    }
                    Op::Peek { writes, start, end, limit, back } => {
                        let one = Transaction::resume(&rocks, peek(&rocks, &writes));
                        let two = Transaction::resume(&memory, peek(&memory, &writes));
                        prop_assert_eq!(read(&one, &start, &end, limit, back), read(&two, &start, &end, limit, back));
                    }
                }
            }
        }
    }

    fn put(store: &RocksStore, key: &[u8], value: &[u8]) {
        store.write(&Writes::from([(key.to_vec(), Some(value.to_vec()))])).unwrap();
    }

    #[test]
    fn a_replaced_state_is_the_old_one_or_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        {
            let store = RocksStore::open(dir.path(), true).unwrap();
            put(&store, b"old", b"1");
            let slot = store.begin_replace().unwrap();
            store.fill(slot, &[(b"new".to_vec(), b"2".to_vec())]).unwrap();
            assert_eq!(store.get(b"old").unwrap().as_deref(), Some(&b"1"[..]));
            assert_eq!(store.get(b"new").unwrap(), None);
            // The process ends here: the swap never happened.
        }
        let store = RocksStore::open(dir.path(), false).unwrap();
        assert_eq!(store.scan(b"", b"z", 9).unwrap(), vec![(b"old".to_vec(), b"1".to_vec())]);
        let frozen = store.frozen();
        let slot = store.begin_replace().unwrap();
        store.fill(slot, &[(b"new".to_vec(), b"2".to_vec())]).unwrap();
        store.finish_replace(slot, &[(&b"applied"[..], Some(b"7".to_vec()))]).unwrap();
        assert_eq!(store.scan(b"", b"z", 9).unwrap(), vec![(b"new".to_vec(), b"2".to_vec())]);
        let mut seen = Vec::new();
        frozen
            .each_entry(|k, v| {
                seen.push((k.to_vec(), v.to_vec()));
                Ok::<(), StoreError>(())
            })
            .unwrap();
        assert_eq!(seen, vec![(b"old".to_vec(), b"1".to_vec())]);
        drop(frozen);
        drop(store);
        let store = RocksStore::open(dir.path(), false).unwrap();
        assert_eq!(store.scan(b"", b"z", 9).unwrap(), vec![(b"new".to_vec(), b"2".to_vec())]);
        assert_eq!(store.meta(b"applied").unwrap().as_deref(), Some(&b"7"[..]));
    }

    #[test]
    fn a_missing_database_is_not_made_unasked() {
        let dir = tempfile::tempdir().unwrap();
        assert!(RocksStore::open(&dir.path().join("none"), false).is_err());
    }

    /// The write-ahead log of a closed database with a hundred records of 200 bytes in it.
    fn write_ahead_log(dir: &Path) -> std::path::PathBuf {
        {
            let store = RocksStore::open(dir, true).unwrap();
            for number in 0..100_u8 {
                let mut batch = WriteBatch::default();
                batch.put_cf(store.family(LOG).unwrap(), [number], [number; 200]);
                store.commit(batch, true).unwrap();
            }
        }
        let logs = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let logs = logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.max_by_key(|path| std::fs::metadata(path).unwrap().len()).expect("a database has a write-ahead log")
    }

    #[test]
    fn a_record_cut_at_the_tail_is_dropped_and_all_before_it_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = write_ahead_log(dir.path());
        let file = std::fs::File::options().write(true).open(&log).unwrap();
        file.set_len(file.metadata().unwrap().len() - 50).unwrap();
        let store = RocksStore::open(dir.path(), false).unwrap();
        let family = store.family(LOG).unwrap();
        for number in 0..99_u8 {
            assert_eq!(store.db().get_cf(family, [number]).unwrap().as_deref(), Some(&[number; 200][..]));
        }
        assert_eq!(store.db().get_cf(family, [99]).unwrap(), None, "half a record is none");
    }

    #[test]
    fn a_record_damaged_in_the_middle_stops_the_database() {
        use std::os::unix::fs::FileExt;
        let dir = tempfile::tempdir().unwrap();
        let log = write_ahead_log(dir.path());
        let file = std::fs::File::options().read(true).write(true).open(&log).unwrap();
        let middle = file.metadata().unwrap().len() / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, middle).unwrap();
        file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
        let refused = RocksStore::open(dir.path(), false).expect_err("a damaged record in the middle is no tail");
        assert!(refused.to_string().to_lowercase().contains("corrupt"), "{refused}");
    }
}
