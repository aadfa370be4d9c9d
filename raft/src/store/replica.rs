//! The store of one replica: state, log and bookkeeping in one database.
//!
//! | column family | holds |
//! |---|---|
//! | `state_a`, `state_b` | the state; one of them is active, the other is empty or being filled by a snapshot |
//! | `meta` | which state is active, identity, vote, applied and purged positions, the current snapshot |
//! | `log` | the Raft log, by big-endian index (see `consensus::log_store`) |
//!
//! Owns: the families, the swap of one whole state for another. Not: what the bytes mean, nor the database
//! itself ([`super::rocks`], or what a simulation brings).
//! Holds: (1) the effects of commands and the applied position are in one batch; (2) a synced log write
//! makes every earlier state write durable; (3) a state is replaced by filling the inactive family
//! and then changing one key: a reader sees the old state or the new one, and so does a restart.

use std::{
    io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use kluis_chunkstore::database::{Batch, Database, Databases, Family, Instant, Scan};

use super::{Entry, Read, Store, StoreError, Writes};

/// Column family of the Raft log.
pub(crate) const LOG: &str = "log";
const META: &str = "meta";
const STATE_A: &str = "state_a";
const STATE_B: &str = "state_b";
/// Key in `meta`: which state is active.
const ACTIVE: &[u8] = b"active";
/// Longest key of the state, in bytes. A snapshot with a longer one is refused.
pub(crate) const KEY_BYTES_MAX: usize = 512;
/// After every key of the state.
const AFTER_ALL: [u8; KEY_BYTES_MAX + 1] = [0xff; KEY_BYTES_MAX + 1];

const FAMILIES: [Family; 4] = [
    Family { name: STATE_A, write_buffer_bytes: 32 << 20, compress: true },
    Family { name: STATE_B, write_buffer_bytes: 32 << 20, compress: true },
    Family { name: META, write_buffer_bytes: 1 << 20, compress: false },
    Family { name: LOG, write_buffer_bytes: 16 << 20, compress: false },
];

/// One of the two families that take turns in holding the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    A,
    B,
}

impl Slot {
    fn family(self) -> &'static str {
        match self {
            Self::A => STATE_A,
            Self::B => STATE_B,
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
pub(crate) fn failed(error: io::Error) -> StoreError {
    StoreError::Io(error.to_string())
}

/// A replica's store.
pub struct ReplicaStore {
    db: Arc<dyn Database>,
    /// Read-locked by every read for as long as it lasts, write-locked for the instant of a swap: a
    /// reader that chose a state is never overtaken by the removal of that state.
    active: RwLock<Slot>,
}

impl std::fmt::Debug for ReplicaStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicaStore").finish_non_exhaustive()
    }
}

impl ReplicaStore {
    /// Opens the database in `dir`; makes it only if `create` is set.
    ///
    /// # Errors
    /// [`StoreError`] when it is missing (and not to be made), locked by another process or damaged.
    pub fn open(databases: &dyn Databases, dir: &Path, create: bool) -> Result<Self, StoreError> {
        let db = databases.open(dir, &FAMILIES, create).map_err(failed)?;
        let store = Self { db, active: RwLock::new(Slot::A) };
        let slot = Slot::from_meta(store.meta(ACTIVE)?.as_deref())?;
        *store.active.write().unwrap_or_else(PoisonError::into_inner) = slot;
        // What a snapshot left behind that was not finished.
        store.clear(slot.other())?;
        Ok(store)
    }

    /// The database itself, for the log.
    pub(crate) fn db(&self) -> &dyn Database {
        &*self.db
    }

    /// A value of `meta`.
    pub(crate) fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get(META, key).map_err(failed)
    }

    /// Adds a write of `meta` to a batch.
    pub(crate) fn batch_meta(&self, batch: &mut Batch, key: &[u8], value: Option<&[u8]>) {
        match value {
            Some(value) => batch.put(META, key, value),
            None => batch.delete(META, key),
        }
    }

    /// Writes a batch; with `sync` it and everything before it is durable when this returns.
    pub(crate) fn commit(&self, batch: &Batch, sync: bool) -> Result<(), StoreError> {
        self.db.write(batch, sync).map_err(failed)
    }

    /// Sets one key of `meta`.
    pub(crate) fn put_meta(&self, key: &[u8], value: &[u8], sync: bool) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        self.batch_meta(&mut batch, key, Some(value));
        self.commit(&batch, sync)
    }

    /// Effects of commands and the key of `meta` that says how far they go: all of it or nothing.
    pub(crate) fn write_with_meta(&self, writes: Writes, meta: (&[u8], &[u8])) -> Result<(), StoreError> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let mut batch = state_batch(*active, writes);
        self.batch_meta(&mut batch, meta.0, Some(meta.1));
        self.commit(&batch, false)
    }

    /// Removes everything from a state.
    fn clear(&self, slot: Slot) -> Result<(), StoreError> {
        let scan = Scan { start: b"", end: None, limit: 1, bytes_max: usize::MAX, back: false };
        if self.db.scan(slot.family(), scan).map_err(failed)?.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        batch.delete_range(slot.family(), b"".as_slice(), AFTER_ALL.as_slice());
        self.commit(&batch, false)
    }

    /// Begins to fill the inactive state, which is empty afterwards.
    pub(crate) fn begin_replace(&self) -> Result<Slot, StoreError> {
        let slot = self.active.read().unwrap_or_else(PoisonError::into_inner).other();
        self.clear(slot)?;
        Ok(slot)
    }

    /// Adds entries to the state that is being filled.
    pub(crate) fn fill(&self, slot: Slot, entries: Vec<Entry>) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for (key, value) in entries {
            batch.put(slot.family(), key, value);
        }
        self.commit(&batch, false)
    }

    /// Makes the filled state the active one, together with the given keys of `meta`, durably; then the
    /// old one is removed.
    pub(crate) fn finish_replace(&self, slot: Slot, meta: &[(&[u8], Option<Vec<u8>>)]) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        self.batch_meta(&mut batch, ACTIVE, Some(slot.to_meta()));
        for (key, value) in meta {
            self.batch_meta(&mut batch, key, value.as_deref());
        }
        {
            let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
            self.commit(&batch, true)?;
            *active = slot;
        }
        self.clear(slot.other())
    }

    /// One instant of the store, whatever is written meanwhile.
    pub(crate) fn frozen(&self) -> Frozen<'_> {
        Frozen { view: self.db.freeze() }
    }

    fn range(&self, start: &[u8], end: &[u8], limit: usize, back: bool) -> Result<Vec<Entry>, StoreError> {
        if start >= end || limit == 0 {
            return Ok(Vec::new());
        }
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let scan = Scan { start, end: Some(end), limit, bytes_max: usize::MAX, back };
        self.db.scan(active.family(), scan).map_err(failed)
    }
}

fn state_batch(slot: Slot, writes: Writes) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in writes {
        match value {
            Some(value) => batch.put(slot.family(), key, value),
            None => batch.delete(slot.family(), key),
        }
    }
    batch
}

/// See [`ReplicaStore::frozen`].
pub(crate) struct Frozen<'a> {
    view: Box<dyn Instant + 'a>,
}

impl Frozen<'_> {
    /// A value of `meta` at that instant.
    pub(crate) fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.view.get(META, key).map_err(failed)
    }

    /// Calls `each` with every entry of the state at that instant, in order.
    pub(crate) fn each_entry<E: From<StoreError>>(&self, mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>) -> Result<(), E> {
        let slot = Slot::from_meta(self.meta(ACTIVE)?.as_deref())?;
        let mut result = Ok(());
        let whole = self.view.each(slot.family(), &mut |key, value| {
            result = each(key, value);
            result.is_ok()
        });
        whole.map_err(failed)?;
        result
    }
}

impl Read for ReplicaStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        self.db.get(active.family(), key).map_err(failed)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.range(start, end, limit, false)
    }

    fn scan_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.range(start, end, limit, true)
    }
}

impl Store for ReplicaStore {
    fn write(&self, writes: &Writes) -> Result<(), StoreError> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        self.commit(&state_batch(*active, writes.clone()), false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{Transaction, memory::MemoryStore, rocks::RocksDatabases};

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
            let rocks = ReplicaStore::open(&RocksDatabases, dir.path(), true).unwrap();
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

    fn put(store: &ReplicaStore, key: &[u8], value: &[u8]) {
        store.write(&Writes::from([(key.to_vec(), Some(value.to_vec()))])).unwrap();
    }

    #[test]
    fn a_replaced_state_is_the_old_one_or_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        {
            let store = ReplicaStore::open(&RocksDatabases, dir.path(), true).unwrap();
            put(&store, b"old", b"1");
            let slot = store.begin_replace().unwrap();
            store.fill(slot, vec![(b"new".to_vec(), b"2".to_vec())]).unwrap();
            assert_eq!(store.get(b"old").unwrap().as_deref(), Some(&b"1"[..]));
            assert_eq!(store.get(b"new").unwrap(), None);
            // The process ends here: the swap never happened.
        }
        let store = ReplicaStore::open(&RocksDatabases, dir.path(), false).unwrap();
        assert_eq!(store.scan(b"", b"z", 9).unwrap(), vec![(b"old".to_vec(), b"1".to_vec())]);
        let frozen = store.frozen();
        let slot = store.begin_replace().unwrap();
        store.fill(slot, vec![(b"new".to_vec(), b"2".to_vec())]).unwrap();
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
        let store = ReplicaStore::open(&RocksDatabases, dir.path(), false).unwrap();
        assert_eq!(store.scan(b"", b"z", 9).unwrap(), vec![(b"new".to_vec(), b"2".to_vec())]);
        assert_eq!(store.meta(b"applied").unwrap().as_deref(), Some(&b"7"[..]));
    }

    #[test]
    fn a_missing_database_is_not_made_unasked() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ReplicaStore::open(&RocksDatabases, &dir.path().join("none"), false).is_err());
    }
}
