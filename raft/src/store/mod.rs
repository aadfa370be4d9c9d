//! The ordered transactional map under the state machine.
//!
//! Owns: the traits [`Read`] and [`Store`], and [`Transaction`], which gathers the writes of one
//! command over a store. Two stores: [`memory::MemoryStore`] (a BTreeMap) and `replica::ReplicaStore`
//! (feature `consensus`, over RocksDB); a property test drives both with the same operations.
//! Holds: (1) a transaction reads its own writes; (2) its writes reach the store all at once or not at all.

use std::collections::BTreeMap;

pub mod memory;
#[cfg(feature = "consensus")]
pub mod replica;
#[cfg(feature = "consensus")]
pub mod rocks;

/// The store below failed: a person must look at this node's metadata disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database reported an error.
    #[error("metadata store: {0}")]
    Io(String),
    /// A record does not decode: damage, or written by a newer version.
    #[error("metadata record {key} is damaged: {why}")]
    Damaged {
        /// The key, in hexadecimal.
        key: String,
        /// What the decoder said.
        why: String,
    },
}

/// One key with its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Reading in key order.
pub trait Read: Send + Sync {
    /// The value at `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// At most `limit` entries with `start <= key < end`, in order.
    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError>;
    /// At most `limit` entries with `start <= key < end`, from the last backwards.
    fn scan_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError>;
}

/// Writes of one or more commands: `None` deletes.
pub type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A map that takes a set of writes atomically.
pub trait Store: Read {
    /// Applies all writes, or none. Durability is the caller's matter (the Raft log can repeat them).
    fn write(&self, writes: &Writes) -> Result<(), StoreError>;
}

/// Writes gathered over a store, readable before they are written.
pub struct Transaction<'a> {
    base: &'a dyn Read,
    writes: Writes,
}

impl<'a> Transaction<'a> {
    /// An empty transaction over `base`.
    pub fn new(base: &'a dyn Read) -> Self {
        Self { base, writes: Writes::new() }
    }

    /// A transaction over `base` that has already made `writes`.
    pub fn resume(base: &'a dyn Read, writes: Writes) -> Self {
        Self { base, writes }
    }

    /// Sets `key`.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes.insert(key, Some(value));
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }

    /// What was gathered.
    pub fn into_writes(self) -> Writes {
        self.writes
    }

    /// Merges the store's entries with the gathered writes, forwards or backwards.
    fn merged(&self, start: &[u8], end: &[u8], limit: usize, back: bool) -> Result<Vec<Entry>, StoreError> {
        if start >= end || limit == 0 {
            return Ok(Vec::new());
        }
        let range = (std::ops::Bound::Included(start.to_vec()), std::ops::Bound::Excluded(end.to_vec()));
        let ours: Writes = self.writes.range(range).map(|(k, v)| (k.clone(), v.clone())).collect();
        // Each of our writes can hide at most one entry of the store.
        let want = limit.saturating_add(ours.len());
        let theirs = if back { self.base.scan_back(start, end, want)? } else { self.base.scan(start, end, want)? };
        let mut all: BTreeMap<Vec<u8>, Option<Vec<u8>>> = theirs.into_iter().map(|(k, v)| (k, Some(v))).collect();
        all.extend(ours);
        let live = all.into_iter().filter_map(|(k, v)| v.map(|v| (k, v)));
        Ok(if back {
            let mut live: Vec<Entry> = live.collect();
            live.reverse();
            live.truncate(limit);
            live
        } else {
            live.take(limit).collect()
        })
    }
}

impl Read for Transaction<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.writes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.merged(start, end, limit, false)
    }

    fn scan_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.merged(start, end, limit, true)
    }
}
