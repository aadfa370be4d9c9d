//! The index in memory: where each shard lies, and how much of each segment is still wanted.
//!
//! Owns: the map and the accounts of the segments. Not: durability (an entry is put here only after
//! its sync), reading files.
//! Holds: (1) `live` of a segment is the sum of the records that the map has in it; (2) every
//! location names a segment that is here; (3) an entry is only ever replaced by one of a higher
//! sequence, or by a copy of itself.
//! Why a packed key: a disk holds millions of shards, and 21 bytes sort like the key.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use crate::{
    env::File,
    format::{index::Entry, record},
    ids::{BlobId, ChunkId, ShardKey},
};

/// A shard key in 21 bytes that sort as the key does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Packed([u8; 21]);

impl Packed {
    fn of(key: ShardKey) -> Self {
        let mut bytes = [0; 21];
        bytes[..16].copy_from_slice(&key.chunk.blob.to_bytes());
        bytes[16..20].copy_from_slice(&key.chunk.index.to_be_bytes());
        bytes[20] = key.shard;
        Self(bytes)
    }

    fn key(self) -> ShardKey {
        let mut blob = [0; 16];
        blob.copy_from_slice(&self.0[..16]);
        let mut index = [0; 4];
        index.copy_from_slice(&self.0[16..20]);
        ShardKey { chunk: ChunkId { blob: BlobId(u128::from_be_bytes(blob)), index: u32::from_be_bytes(index) }, shard: self.0[20] }
    }
}

/// Where a record lies and what its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) sequence: u64,
    pub(crate) written_ms: u64,
    pub(crate) checksum: u64,
}

/// Memory of a shard, but for the nodes of the map: what `bench/CAPACITY.md` reckons with.
const _: () = assert!(size_of::<Packed>() + size_of::<Location>() == 61);

impl Location {
    pub(crate) fn of(entry: &Entry) -> Self {
        Self {
            segment: entry.segment,
            offset: entry.offset,
            len: entry.len,
            sequence: entry.sequence,
            written_ms: entry.written_ms,
            checksum: entry.checksum,
        }
    }

    pub(crate) fn entry(&self, key: ShardKey) -> Entry {
        Entry {
            key,
            segment: self.segment,
            offset: self.offset,
            len: self.len,
            sequence: self.sequence,
            written_ms: self.written_ms,
            checksum: self.checksum,
        }
    }

    /// Bytes that the record takes in its segment.
    pub(crate) fn stored_bytes(&self) -> u64 {
        record::stored_bytes(self.len)
    }

    /// First offset after the record.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.offset) + self.stored_bytes()
    }
}

/// A segment file and its account.
pub(crate) struct Segment {
    pub(crate) file: Arc<dyn File>,
    /// Length of the file.
    pub(crate) file_bytes: u64,
    /// Where the next record would go; of a sealed segment, its length.
    pub(crate) end: u64,
    /// Bytes of records that the map points to.
    pub(crate) live: u64,
    /// Bytes of tombstones.
    pub(crate) tombstones: u64,
    /// Nothing is appended any more.
    pub(crate) sealed: bool,
    /// Some of it could not be read when the disk was opened: no checkpoint may spare reading it again.
    pub(crate) unread: bool,
}

#[derive(Default)]
pub(crate) struct Index {
    shards: BTreeMap<Packed, Location>,
    pub(crate) segments: BTreeMap<u32, Segment>,
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }

    pub(crate) fn find(&self, key: ShardKey) -> Option<Location> {
        self.shards.get(&Packed::of(key)).copied()
    }

    /// The location and the file to read it from, which stays readable when the segment is removed.
    pub(crate) fn find_file(&self, key: ShardKey) -> Option<(Location, Arc<dyn File>)> {
        let location = self.find(key)?;
        let segment = self.segments.get(&location.segment)?;
        Some((location, segment.file.clone()))
    }

    /// Puts `key` at `location`, unless something newer is there.
    pub(crate) fn insert(&mut self, key: ShardKey, location: Location) {
        let packed = Packed::of(key);
        if self.shards.get(&packed).is_some_and(|old| old.sequence > location.sequence) {
            return;
        }
        let old = self.shards.insert(packed, location);
        if let Some(segment) = self.segments.get_mut(&location.segment) {
            segment.live += location.stored_bytes();
        }
        if let Some(old) = old {
            self.unaccount(old);
        }
    }

    /// Removes `key` if its record is not newer than `sequence`. Says whether it was there.
    pub(crate) fn remove(&mut self, key: ShardKey, sequence: u64) -> bool {
        let packed = Packed::of(key);
        match self.shards.get(&packed).copied() {
            Some(old) if old.sequence <= sequence => {
                self.shards.remove(&packed);
                self.unaccount(old);
                true
            }
            _ => false,
        }
    }

    fn unaccount(&mut self, old: Location) {
        if let Some(segment) = self.segments.get_mut(&old.segment) {
            segment.live = segment.live.saturating_sub(old.stored_bytes());
        }
    }

    /// Up to `limit` shards from `from` on, in the order of keys.
    pub(crate) fn range(&self, from: Bound<ShardKey>, limit: usize) -> Vec<(ShardKey, Location)> {
        let from = from.map(Packed::of);
        self.shards.range((from, Bound::Unbounded)).take(limit).map(|(p, l)| (p.key(), *l)).collect()
    }

    /// All shards of a segment, in the order of their records.
    pub(crate) fn in_segment(&self, number: u32) -> Vec<(ShardKey, Location)> {
        let mut found: Vec<_> = self.shards.iter().filter(|(_, l)| l.segment == number).map(|(p, l)| (p.key(), *l)).collect();
        found.sort_unstable_by_key(|(_, location)| location.offset);
        found
    }

    pub(crate) fn is_oldest(&self, number: u32) -> bool {
        self.segments.first_key_value().is_some_and(|(oldest, _)| *oldest == number)
    }

    /// Bytes of a segment that must be kept: its live records, and its tombstones while an older
    /// segment may hold what they bury.
    fn wanted(&self, number: u32, segment: &Segment) -> u64 {
        segment.live + if self.is_oldest(number) { 0 } else { segment.tombstones }
    }

    /// The sealed segment most worth compacting: the one with the least wanted share, if at least
    /// `dead_ratio` of it is dead; else the oldest when tombstones take more than `tombstone_limit`,
    /// since only the oldest segment can drop them.
    pub(crate) fn compaction_candidate(&self, dead_ratio: f64, tombstone_limit: u64) -> Option<u32> {
        let dead_share = |number: u32, segment: &Segment| {
            if segment.file_bytes == 0 {
                return 1.0;
            }
            let dead = segment.file_bytes.saturating_sub(self.wanted(number, segment));
            dead as f64 / segment.file_bytes as f64
        };
        let worst = self
            .segments
            .iter()
            .filter(|(_, s)| s.sealed)
            .map(|(n, s)| (*n, dead_share(*n, s)))
            .filter(|(_, share)| *share >= dead_ratio)
            .max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((number, _)) = worst {
            return Some(number);
        }
        let tombstones: u64 = self.segments.values().filter(|s| s.sealed).map(|s| s.tombstones).sum();
        let (number, oldest) = self.segments.first_key_value()?;
        (tombstones > tombstone_limit && oldest.sealed).then_some(*number)
    }

    /// (live, dead, all) bytes of the segments.
    pub(crate) fn bytes(&self) -> (u64, u64, u64) {
        self.segments.iter().fold((0, 0, 0), |(live, dead, all), (number, segment)| {
            let written = if segment.sealed { segment.file_bytes } else { segment.end };
            let dead_here = written.saturating_sub(self.wanted(*number, segment));
            (live + segment.live, dead + dead_here, all + segment.file_bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    fn key(blob: u128, index: u32, shard: u8) -> ShardKey {
        ShardKey { chunk: ChunkId { blob: BlobId(blob), index }, shard }
    }

    proptest! {
        #[test]
        fn packed_keys_sort_like_keys(a: (u128, u32, u8), b: (u128, u32, u8)) {
            let (a, b) = (key(a.0, a.1, a.2), key(b.0, b.1, b.2));
            prop_assert_eq!(Packed::of(a).key(), a);
            prop_assert_eq!(Packed::of(a).cmp(&Packed::of(b)), a.cmp(&b));
        }
    }

    #[test]
    fn newer_records_win_and_older_removals_do_nothing() {
        let at = |sequence| Location { segment: 0, offset: 4096, len: 1, sequence, written_ms: 0, checksum: 0 };
        let mut index = Index::default();
        index.insert(key(1, 0, 0), at(5));
        index.insert(key(1, 0, 0), at(4));
        assert_eq!(index.find(key(1, 0, 0)).unwrap().sequence, 5);
        assert!(!index.remove(key(1, 0, 0), 4));
        assert!(index.remove(key(1, 0, 0), 5));
        assert_eq!(index.len(), 0);
    }
}
