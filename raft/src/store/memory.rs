//! The store as a BTreeMap: the executable model of the RocksDB one, and the store of tests.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use super::{Entry, Read, Store, StoreError, Writes};

/// Keys and values in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    map: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemoryStore {
    fn range(&self, start: &[u8], end: &[u8], limit: usize, back: bool) -> Vec<Entry> {
        if start >= end {
            return Vec::new();
        }
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let range = map.range(start.to_vec()..end.to_vec()).map(|(k, v)| (k.clone(), v.clone()));
        if back { range.rev().take(limit).collect() } else { range.take(limit).collect() }
    }
}

impl Read for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.map.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        Ok(self.range(start, end, limit, false))
    }

    fn scan_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        Ok(self.range(start, end, limit, true))
    }
}

impl Store for MemoryStore {
    fn write(&self, writes: &Writes) -> Result<(), StoreError> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in writes {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
        Ok(())
    }
}
