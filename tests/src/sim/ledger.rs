//! What lies on the media of a machine, and since when: written by the simulated disks, whatever the node believes.
//!
//! At every sync of a segment the records in the pages that it covered are read from the medium. A record counts
//! from that moment on: no power cut takes it away any more.
//!
//! Owns: reading records, their history by disk and shard. Not: what must lie there when ([`super::durability`]).
//! Holds: (1) nothing is asked of the node: only bytes under a name that is durable too count, and only with the
//! right checksums; (2) what a lying disk was given counts as if it had done as it said: that lie is the fault, and
//! the shards of other disks must make up for it; (3) damage after the sync does not count as deletion.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use kluis_chunkstore::{
    format::{
        BLOCK,
        record::{self, HEADER_BYTES, Kind, RecordHeader},
        segment::SegmentHeader,
    },
    ids::{ChunkId, ShardKey},
};

/// A record that became durable.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at_us: u64,
    sequence: u64,
    /// A shard; else its tombstone.
    stored: bool,
}

/// The history of one machine's disks.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By the directory of the disk.
    disks: BTreeMap<PathBuf, BTreeMap<ShardKey, Vec<Mark>>>,
    /// What the checksums of each segment are seeded with: its header may be damaged later.
    seeds: BTreeMap<PathBuf, u64>,
}

impl Ledger {
    /// The first block of a segment, as it is now.
    pub fn header(&mut self, segment: &Path, block: &[u8]) {
        if let Ok(header) = SegmentHeader::decode(block) {
            self.seeds.insert(segment.to_owned(), record::segment_seed(header.disk, header.number));
        }
    }

    /// Bytes of a segment that became durable, from a whole number of blocks on.
    pub fn durable(&mut self, segment: &Path, offset: u64, bytes: &[u8], at_us: u64) {
        let (Some(seed), Some(dir)) = (self.seeds.get(segment), segment.parent()) else { return };
        for header in records(*seed, offset, bytes) {
            let mark = Mark { at_us, sequence: header.sequence, stored: header.kind == Kind::Shard };
            let disk = self.disks.entry(dir.to_owned()).or_default();
            disk.entry(header.key).or_default().push(mark);
        }
    }

    /// Somebody put an empty disk in the place of the one in `dir`. What was there stays in the history.
    pub fn emptied(&mut self, dir: &Path) {
        self.seeds.retain(|segment, _| !segment.starts_with(dir));
    }

    /// The shards of a chunk that were on this machine's media at a moment.
    pub fn held(&self, chunk: ChunkId, at_us: u64) -> Vec<u8> {
        let (from, to) = (ShardKey { chunk, shard: 0 }, ShardKey { chunk, shard: u8::MAX });
        let all = self.disks.values().flat_map(|disk| disk.range(from..=to));
        all.filter(|(_, marks)| is_stored(marks, at_us)).map(|(key, _)| key.shard).collect()
    }
}

fn is_stored(marks: &[Mark], at_us: u64) -> bool {
    let newest = |stored| marks.iter().filter(|m| m.stored == stored && m.at_us <= at_us).map(|m| m.sequence).max();
    // A deletion has a sequence of its own. A tombstone with that of the shard only forgets a record that the medium
    // damaged: that is the fault, not a deletion.
    newest(true).is_some_and(|shard| newest(false).is_none_or(|gone| shard >= gone))
}

/// The whole records in bytes that begin at a block.
fn records(seed: u64, offset: u64, bytes: &[u8]) -> Vec<RecordHeader> {
    let mut found = Vec::new();
    let mut at = 0usize;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= HEADER_BYTES) {
        let place = u32::try_from(offset + at as u64).ok();
        match place.and_then(|place| RecordHeader::decode(rest, seed, place).ok()) {
            Some(header) => {
                let payload = rest.get(HEADER_BYTES..HEADER_BYTES + header.len as usize);
                if header.kind != Kind::Padding && payload.is_some_and(|p| record::payload_checksum(p) == header.checksum) {
                    found.push(header);
                }
                at += record::stored_bytes(header.len) as usize;
            }
            // A batch begins at a block.
            None => at = (at + 1).next_multiple_of(BLOCK),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use kluis_chunkstore::ids::{BlobId, DiskId};

    use super::*;

    const SEGMENT: &str = "/n1/d1/segment-00000001";

    fn batch(offset: u32, headers: &[RecordHeader], payload: &[u8]) -> Vec<u8> {
        let seed = record::segment_seed(DiskId(7), 1);
        let mut bytes = Vec::new();
        for header in headers {
            let at = offset + u32::try_from(bytes.len()).unwrap();
            bytes.extend_from_slice(&header.encode(seed, at));
            if header.kind == Kind::Shard {
                bytes.extend_from_slice(payload);
            }
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn shard(key: ShardKey, sequence: u64, payload: &[u8]) -> RecordHeader {
        let (len, checksum) = (u32::try_from(payload.len()).unwrap(), record::payload_checksum(payload));
        RecordHeader { kind: Kind::Shard, first: true, key, len, sequence, written_ms: 0, checksum }
    }

    #[test]
    fn a_shard_is_there_from_its_sync_to_its_deletion() {
        let chunk = ChunkId { blob: BlobId(1), index: 0 };
        let (one, two) = (ShardKey { chunk, shard: 1 }, ShardKey { chunk, shard: 2 });
        let payload = [9; 100];
        let mut ledger = Ledger::default();
        ledger.header(Path::new(SEGMENT), &SegmentHeader { disk: DiskId(7), number: 1 }.encode());
        let written = batch(4096, &[shard(one, 1, &payload), shard(two, 2, &payload)], &payload);
        ledger.durable(Path::new(SEGMENT), 4096, &written, 50);
        assert!(ledger.held(chunk, 49).is_empty());
        assert_eq!(ledger.held(chunk, 50), [1, 2]);
        let gone = [RecordHeader::tombstone(one, 3, 0), RecordHeader::tombstone(two, 2, 0)];
        ledger.durable(Path::new(SEGMENT), 8192, &batch(8192, &gone, &[]), 70);
        assert_eq!(ledger.held(chunk, 69), [1, 2]);
        assert_eq!(ledger.held(chunk, 70), [2], "the other one was only forgotten");
    }

    #[test]
    fn what_lies_elsewhere_or_is_torn_is_none() {
        let chunk = ChunkId { blob: BlobId(1), index: 0 };
        let key = ShardKey { chunk, shard: 1 };
        let payload = [9; 5000];
        let written = batch(4096, &[shard(key, 1, &payload)], &payload);
        let mut torn = written.clone();
        torn[4500] ^= 1;
        for (offset, bytes) in [(8192, &written), (4096, &torn)] {
            let mut ledger = Ledger::default();
            ledger.header(Path::new(SEGMENT), &SegmentHeader { disk: DiskId(7), number: 1 }.encode());
            ledger.durable(Path::new(SEGMENT), offset, bytes, 1);
            assert!(ledger.held(chunk, 9).is_empty());
        }
    }
}
