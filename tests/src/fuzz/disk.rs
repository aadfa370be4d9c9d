//! Targets: what a disk gives back. Labels, segments and their records, index checkpoints.
//!
//! Owns: the bytes of one disk. Not: files of a node ([`super::files`]).
//! Holds: what decodes is encoded to bytes that decode to the same; a walk over a segment stays inside it.

use std::io;

use kluis_chunkstore::{
    disk::fuzzing::{read_checkpoint, scan_segment},
    env::File,
    format::{
        BLOCK,
        index::{self, Covered, Entry, Preamble},
        label::DiskLabel,
        record::{self, Kind, RecordHeader, payload_checksum, segment_seed},
        segment::{self, SegmentHeader},
    },
    ids::{BlobId, ChunkId, ClusterId, DiskId, NodeId, ShardKey},
};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

use super::{Target, text, texts};

const WORDS: &str = include_str!("../../fuzz/dictionaries/disk.dict");
const DISK: DiskId = DiskId(4);
const SEGMENT: u32 = 2;
const OFFSET: u32 = 4096;

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    Target::new("disk_label", disk_label, || vec![label().encode().to_vec()], WORDS).slow(2),
    Target::new("segment_header", segment_header, || vec![SegmentHeader { disk: DISK, number: 7 }.encode().to_vec()], WORDS).slow(2),
    Target::new("segment_name", segment_name, || texts(&[segment::file_name(7), "index".to_owned(), "segment-+0000001".to_owned()]), WORDS),
    Target::new("record_header", record_header, record_seeds, WORDS),
    Target::new("segment_scan", scan, segment_seeds, WORDS).slow(4),
    Target::new("index_preamble", index_preamble, || vec![preamble_bytes(3), preamble_bytes(0)], WORDS).slow(2),
    Target::new("index_block", index_block, || vec![block_bytes(0, 3), block_bytes(0, 0)], WORDS).slow(2),
    Target::new("index_checkpoint", index_checkpoint, || vec![[preamble_bytes(2), block_bytes(0, 3), block_bytes(1, 0)].concat()], WORDS)
        .slow(4),
];

/// Bytes as a file that can only be read.
struct Bytes<'a>(&'a [u8]);

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl File for Bytes<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or_default();
        let part = from.get(..buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        read_only()
    }

    fn alignment(&self) -> usize {
        1
    }

    fn sync(&self) -> io::Result<()> {
        read_only()
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        read_only()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        read_only()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

fn label() -> DiskLabel {
    DiskLabel { cluster: ClusterId(1), node: NodeId(3), disk: DISK }
}

/// The input as one block with the right checksum.
fn mended_block(data: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let len = data.len().min(BLOCK - 8);
    block[..len].copy_from_slice(&data[..len]);
    let sum = xxh3_64(&block[..BLOCK - 8]);
    block[BLOCK - 8..].copy_from_slice(&sum.to_le_bytes());
    block
}

fn disk_label(data: &[u8]) -> bool {
    let check = |bytes: &[u8]| match DiskLabel::decode(bytes) {
        Ok(label) => {
            assert_eq!(DiskLabel::decode(&label.encode()), Ok(label));
            true
        }
        Err(_) => false,
    };
    check(data) | check(&mended_block(data))
}

fn segment_header(data: &[u8]) -> bool {
    let check = |bytes: &[u8]| match SegmentHeader::decode(bytes) {
        Ok(header) => {
            assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
            true
        }
        Err(_) => false,
    };
    check(data) | check(&mended_block(data))
}

fn segment_name(data: &[u8]) -> bool {
    let name = text(data);
    match segment::parse_file_name(&name) {
        Some(number) => {
            assert_eq!(segment::file_name(number), name);
            true
        }
        None => false,
    }
}

fn key(shard: u8) -> ShardKey {
    ShardKey { chunk: ChunkId { blob: BlobId(7), index: 3 }, shard }
}

fn shard(payload: &[u8], first: bool) -> RecordHeader {
    let len = u32::try_from(payload.len()).expect("seeds are short");
    RecordHeader { kind: Kind::Shard, first, key: key(1), len, sequence: 42, written_ms: 9, checksum: payload_checksum(payload) }
}

fn record_seeds() -> Vec<Vec<u8>> {
    let seed = segment_seed(DISK, SEGMENT);
    let headers = [shard(b"payload", true), RecordHeader::tombstone(key(2), 43, 9), RecordHeader::padding(OFFSET, 100)];
    headers.iter().map(|header| header.encode(seed, OFFSET).to_vec()).collect()
}

/// Writes the checksum of a record's header, if there is one at `at`.
fn mend_record(bytes: &mut [u8], at: usize) {
    let seed = segment_seed(DISK, SEGMENT).wrapping_add(at as u64);
    if let Some(header) = bytes.get_mut(at..at.saturating_add(record::HEADER_BYTES)) {
        let sum = xxh3_64_with_seed(&header[..56], seed);
        header[56..].copy_from_slice(&sum.to_le_bytes());
    }
}

fn record_header(data: &[u8]) -> bool {
    let seed = segment_seed(DISK, SEGMENT);
    let check = |bytes: &[u8]| match RecordHeader::decode(bytes, seed, OFFSET) {
        Ok(header) => {
            assert_eq!(header.encode(seed, OFFSET)[..], bytes[..record::HEADER_BYTES]);
            assert!(record::stored_bytes(header.len) >= u64::from(header.len));
            true
        }
        Err(_) => false,
    };
    // Mended as if it lay at its offset.
    let mut mended = vec![0; OFFSET as usize];
    mended.extend_from_slice(data);
    mend_record(&mut mended, OFFSET as usize);
    check(data) | check(&mended[OFFSET as usize..])
}

/// A segment with a batch of a shard and a tombstone, closed by padding, and a second batch that is cut.
fn segment_bytes() -> Vec<u8> {
    let seed = segment_seed(DISK, SEGMENT);
    let mut bytes = SegmentHeader { disk: DISK, number: SEGMENT }.encode().to_vec();
    let mut push = |header: RecordHeader, payload: &[u8]| {
        let offset = u32::try_from(bytes.len()).expect("seeds are short");
        bytes.extend_from_slice(&header.encode(seed, offset));
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.len()
    };
    push(shard(&[5; 300], true), &[5; 300]);
    let at = push(RecordHeader::tombstone(key(2), 43, 9), &[]);
    let rest = 2 * BLOCK - at - record::HEADER_BYTES;
    push(RecordHeader::padding(OFFSET, u32::try_from(rest).expect("within a block")), &vec![0; rest]);
    push(shard(b"second", true), b"second");
    bytes.resize(4 * BLOCK, 0);
    bytes
}

fn segment_seeds() -> Vec<Vec<u8>> {
    let whole = segment_bytes();
    vec![whole[..BLOCK + 500].to_vec(), whole, vec![0; 2 * BLOCK]]
}

/// Walks the segment as it is, and once more with the checksum of every place that looks like a record mended.
fn scan(data: &[u8]) -> bool {
    let seed = segment_seed(DISK, SEGMENT);
    let check = |bytes: &[u8]| {
        let len = bytes.len() as u64;
        let scanned = scan_segment(&Bytes(bytes), len, seed, 0).expect("bytes in memory can be read");
        assert!(scanned.end >= segment::HEADER_BYTES && scanned.end <= len.max(segment::HEADER_BYTES), "{scanned:?}");
        assert!(scanned.last_batch <= scanned.end.max(len), "{scanned:?}");
        let mut last_end = segment::HEADER_BYTES;
        for (offset, header, intact) in &scanned.records {
            let (start, end) = (u64::from(*offset), u64::from(*offset) + record::stored_bytes(header.len));
            assert!(start >= last_end && end <= len, "a record at {start} to {end} of {len}");
            last_end = end;
            if *intact {
                let payload = start as usize + record::HEADER_BYTES;
                assert_eq!(payload_checksum(&bytes[payload..payload + header.len as usize]), header.checksum);
            }
        }
        !scanned.records.is_empty()
    };
    let mut mended = data.to_vec();
    for at in (0..mended.len()).step_by(8) {
        if mended[at..].starts_with(&record::MAGIC) {
            mend_record(&mut mended, at);
        }
    }
    check(data) | check(&mended)
}

fn preamble_bytes(covered: u32) -> Vec<u8> {
    let covered = (0..covered).map(|number| Covered { number, end: 4096, tombstones: 64 }).collect();
    let mut bytes = Vec::new();
    Preamble { disk: DISK, next_sequence: 44, next_segment: 3, covered }.encode(&mut bytes);
    bytes
}

fn block_bytes(ordinal: u64, entries: u8) -> Vec<u8> {
    let entry = |shard| Entry {
        key: key(shard),
        segment: SEGMENT,
        offset: OFFSET,
        len: 300,
        sequence: 42,
        written_ms: 9,
        checksum: u64::from(shard),
    };
    let entries: Vec<Entry> = (0..entries).map(entry).collect();
    let mut bytes = Vec::new();
    index::encode_block(DISK, ordinal, &entries, &mut bytes);
    bytes
}

/// The checksum over the first `head` bytes and the list of `len` bytes that begins at `body`.
fn sum_of(bytes: &[u8], seed: u64, head: usize, body: usize, len: usize) -> Option<[u8; 8]> {
    let mut hash = Xxh3::with_seed(seed);
    hash.update(bytes.get(..head)?);
    hash.update(bytes.get(body..body.checked_add(len)?)?);
    Some(hash.digest().to_le_bytes())
}

fn count_at(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 4).map_or(0, |field| u32::from_le_bytes([field[0], field[1], field[2], field[3]]) as usize)
}

fn mended_preamble(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    if let Some(sum) = sum_of(&bytes, 0, 48, 56, count_at(&bytes, 12).saturating_mul(24)) {
        bytes[48..56].copy_from_slice(&sum);
    }
    bytes
}

fn index_preamble(data: &[u8]) -> bool {
    let check = |bytes: &[u8]| match Preamble::decode(bytes) {
        Ok(preamble) => {
            let mut again = Vec::new();
            preamble.encode(&mut again);
            assert_eq!(Preamble::encoded_bytes(&again), Ok(again.len()));
            assert_eq!(Preamble::decode(&again), Ok(preamble));
            true
        }
        Err(_) => false,
    };
    check(data) | check(&mended_preamble(data))
}

fn mended_block_of_index(data: &[u8], ordinal: u64) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let seed = xxh3_64(&DISK.to_bytes()).wrapping_add(ordinal);
    if let Some(sum) = sum_of(&bytes, seed, 8, 16, count_at(&bytes, 0).saturating_mul(64)) {
        bytes[8..16].copy_from_slice(&sum);
    }
    bytes
}

fn index_block(data: &[u8]) -> bool {
    let check = |bytes: &[u8]| match index::decode_block(DISK, 0, bytes) {
        Ok(entries) => {
            let mut again = Vec::new();
            assert_eq!(index::encode_block(DISK, 0, &entries, &mut again), entries.len());
            assert_eq!(index::block_bytes(&again), Ok(again.len()));
            assert_eq!(index::decode_block(DISK, 0, &again), Ok(entries));
            true
        }
        Err(_) => false,
    };
    check(data) | check(&mended_block_of_index(data, 0))
}

/// Reads the file as it is, and with a mended preamble and first block.
fn index_checkpoint(data: &[u8]) -> bool {
    let check = |bytes: &[u8]| match read_checkpoint(&Bytes(bytes), DISK) {
        Ok((preamble, entries)) => {
            assert!(preamble.disk == DISK && entries.len() * 64 <= bytes.len());
            true
        }
        Err(_) => false,
    };
    let mut mended = mended_preamble(data);
    if let Ok(at) = Preamble::encoded_bytes(&mended)
        && at < mended.len()
    {
        let block = mended_block_of_index(&mended[at..], 0);
        mended[at..].copy_from_slice(&block);
    }
    check(data) | check(&mended)
}
