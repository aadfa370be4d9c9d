//! The index checkpoint: where every shard lay at some moment, so that a start need not read the disk.
//!
//! Owns: the layout of the file `index`. Not: when it is written, or what is done without it.
//! Holds: (1) a checkpoint decodes whole or not at all, as each part has a checksum that is bound to
//! the disk and to its position; (2) every part is a multiple of 4,096 bytes.
//! Why blocks: an index of millions of shards is written and read without a second copy in memory.
//!
//! ```text
//! preamble, padded with zeros to a multiple of 4,096:
//!    0  8  magic "KLUISIDX"
//!    8  2  format version
//!   10  2  zero
//!   12  4  number of covered segments
//!   16 16  disk id
//!   32  8  next sequence
//!   40  4  next segment number
//!   44  4  zero
//!   48  8  xxh3-64 of bytes 0..48 and of the list below
//!   56     covered segments, 24 bytes each:
//!          0  4 number   4  4 zero   8  8 covered up to this offset   16  8 bytes of tombstones below it
//! blocks, each padded with zeros to a multiple of 4,096, the last one with no entries:
//!    0  4  number of entries (at most 4,095)
//!    4  4  zero
//!    8  8  xxh3-64 of bytes 0..8 and of the entries, seeded with disk and ordinal
//!   16     entries, 64 bytes each:
//!          0 16 blob   16  4 chunk   20  1 shard   21  3 zero   24  4 segment   28  4 offset
//!         32  4 length   36  4 zero   40  8 sequence   48  8 append time   56  8 payload checksum
//! ```

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{BLOCK, FORMAT_VERSION, FormatError, array, round_up, u16_at, u32_at, u64_at, u128_at};
use crate::ids::{BlobId, ChunkId, DiskId, ShardKey};

const MAGIC: &[u8; 8] = b"KLUISIDX";
const PREAMBLE_BYTES: usize = 56;
const COVERED_BYTES: usize = 24;
const BLOCK_HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 64;

/// Most entries of one block.
pub const MAX_BLOCK_ENTRIES: usize = 4095;

/// Most covered segments: more than the largest disk has.
const MAX_COVERED: usize = 1 << 20;

const _: () = assert!(16 + 4 + 1 + 3 + 4 + 4 + 4 + 4 + 8 + 8 + 8 == ENTRY_BYTES);
const _: () = assert!((BLOCK_HEADER_BYTES + MAX_BLOCK_ENTRIES * ENTRY_BYTES) <= 64 * BLOCK);

/// A segment whose records up to an offset are in the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Covered {
    /// Number of the segment.
    pub number: u32,
    /// First offset that is not covered.
    pub end: u64,
    /// Bytes of tombstones below `end`.
    pub tombstones: u64,
}

/// What precedes the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preamble {
    /// The disk that the checkpoint is of.
    pub disk: DiskId,
    /// Above every sequence used so far.
    pub next_sequence: u64,
    /// Above every segment number used so far.
    pub next_segment: u32,
    /// The segments that need not be read.
    pub covered: Vec<Covered>,
}

/// Where a shard lies, and what is known of it without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The shard.
    pub key: ShardKey,
    /// Segment that holds the record.
    pub segment: u32,
    /// Offset of the record's header.
    pub offset: u32,
    /// Bytes of the payload.
    pub len: u32,
    /// Sequence of the record.
    pub sequence: u64,
    /// When it was appended, in milliseconds since 1970.
    pub written_ms: u64,
    /// xxh3-64 of the payload.
    pub checksum: u64,
}

impl Preamble {
    /// Bytes that the preamble takes, given its first [`BLOCK`] bytes.
    ///
    /// # Errors
    /// [`FormatError`] when they are no preamble.
    pub fn encoded_bytes(head: &[u8]) -> Result<usize, FormatError> {
        if !head.starts_with(MAGIC) {
            return Err(FormatError::Magic);
        }
        let found = u16_at(head, 8)?;
        if found != FORMAT_VERSION {
            return Err(FormatError::Version { found, supported: FORMAT_VERSION });
        }
        let count = usize::try_from(u32_at(head, 12)?).map_err(|_| FormatError::Field("covered"))?;
        if count > MAX_COVERED {
            return Err(FormatError::Field("covered"));
        }
        Ok((PREAMBLE_BYTES + count * COVERED_BYTES).next_multiple_of(BLOCK))
    }

    /// Appends the preamble to `out`. Segments past the largest number that fits are left out (they
    /// are then read at the next start).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut covered = Vec::with_capacity(self.covered.len() * COVERED_BYTES);
        let mut count = 0_u32;
        for segment in self.covered.iter().take(MAX_COVERED) {
            covered.extend_from_slice(&segment.number.to_le_bytes());
            covered.extend_from_slice(&[0; 4]);
            covered.extend_from_slice(&segment.end.to_le_bytes());
            covered.extend_from_slice(&segment.tombstones.to_le_bytes());
            count += 1;
        }
        let mut head = [0; PREAMBLE_BYTES];
        head[..8].copy_from_slice(MAGIC);
        head[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        head[12..16].copy_from_slice(&count.to_le_bytes());
        head[16..32].copy_from_slice(&self.disk.to_bytes());
        head[32..40].copy_from_slice(&self.next_sequence.to_le_bytes());
        head[40..44].copy_from_slice(&self.next_segment.to_le_bytes());
        let sum = sum_of(0, &head[..48], &covered);
        head[48..].copy_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&covered);
        pad(out);
    }

    /// The preamble at the start of `bytes`.
    ///
    /// # Errors
    /// [`FormatError`] when they are short, damaged or no preamble.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let _ = Self::encoded_bytes(bytes)?;
        let count = usize::try_from(u32_at(bytes, 12)?).map_err(|_| FormatError::Field("covered"))?;
        let head: [u8; 48] = array(bytes, 0)?;
        let list = bytes.get(PREAMBLE_BYTES..PREAMBLE_BYTES + count * COVERED_BYTES).ok_or(FormatError::Short)?;
        if sum_of(0, &head, list) != u64_at(bytes, 48)? {
            return Err(FormatError::Checksum);
        }
        let covered = list
            .chunks_exact(COVERED_BYTES)
            .map(|c| Ok(Covered { number: u32_at(c, 0)?, end: u64_at(c, 8)?, tombstones: u64_at(c, 16)? }))
            .collect::<Result<_, FormatError>>()?;
        Ok(Self { disk: DiskId(u128_at(&head, 16)?), next_sequence: u64_at(&head, 32)?, next_segment: u32_at(&head, 40)?, covered })
    }
}

/// Appends block number `ordinal` to `out`: the first [`MAX_BLOCK_ENTRIES`] of `entries`. Returns how
/// many that were.
pub fn encode_block(disk: DiskId, ordinal: u64, entries: &[Entry], out: &mut Vec<u8>) -> usize {
    let mut body = Vec::with_capacity(entries.len().min(MAX_BLOCK_ENTRIES) * ENTRY_BYTES);
    let mut count = 0_u32;
    for entry in entries.iter().take(MAX_BLOCK_ENTRIES) {
        body.extend_from_slice(&entry.key.chunk.blob.to_bytes());
        body.extend_from_slice(&entry.key.chunk.index.to_le_bytes());
        body.extend_from_slice(&[entry.key.shard, 0, 0, 0]);
        body.extend_from_slice(&entry.segment.to_le_bytes());
        body.extend_from_slice(&entry.offset.to_le_bytes());
        body.extend_from_slice(&entry.len.to_le_bytes());
        body.extend_from_slice(&[0; 4]);
        body.extend_from_slice(&entry.sequence.to_le_bytes());
        body.extend_from_slice(&entry.written_ms.to_le_bytes());
        body.extend_from_slice(&entry.checksum.to_le_bytes());
        count += 1;
    }
    let mut head = [0; BLOCK_HEADER_BYTES];
    head[..4].copy_from_slice(&count.to_le_bytes());
    let sum = sum_of(block_seed(disk, ordinal), &head[..8], &body);
    head[8..].copy_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(&body);
    pad(out);
    body.len() / ENTRY_BYTES
}

/// Bytes that a block takes, given its first [`BLOCK`] bytes.
///
/// # Errors
/// [`FormatError`] when it says more entries than a block may have.
pub fn block_bytes(head: &[u8]) -> Result<usize, FormatError> {
    Ok((BLOCK_HEADER_BYTES + entry_count(head)? * ENTRY_BYTES).next_multiple_of(BLOCK))
}

/// The entries of block number `ordinal`; none in the last block.
///
/// # Errors
/// [`FormatError`] when the bytes are short or damaged, or of another disk or ordinal.
pub fn decode_block(disk: DiskId, ordinal: u64, bytes: &[u8]) -> Result<Vec<Entry>, FormatError> {
    let count = entry_count(bytes)?;
    let head: [u8; 8] = array(bytes, 0)?;
    let end = BLOCK_HEADER_BYTES + count * ENTRY_BYTES;
    let body = bytes.get(BLOCK_HEADER_BYTES..end).ok_or(FormatError::Short)?;
    if sum_of(block_seed(disk, ordinal), &head, body) != u64_at(bytes, 8)? {
        return Err(FormatError::Checksum);
    }
    body.chunks_exact(ENTRY_BYTES)
        .map(|e| {
            let [shard] = array(e, 20)?;
            Ok(Entry {
                key: ShardKey { chunk: ChunkId { blob: BlobId(u128_at(e, 0)?), index: u32_at(e, 16)? }, shard },
                segment: u32_at(e, 24)?,
                offset: u32_at(e, 28)?,
                len: u32_at(e, 32)?,
                sequence: u64_at(e, 40)?,
                written_ms: u64_at(e, 48)?,
                checksum: u64_at(e, 56)?,
            })
        })
        .collect()
}

/// Bytes of a whole checkpoint with so many entries, roughly: for deciding when one is worth writing.
pub fn estimated_bytes(entries: usize) -> u64 {
    let entries = u64::try_from(entries).unwrap_or(u64::MAX);
    round_up(entries.saturating_mul(ENTRY_BYTES as u64), BLOCK as u64).saturating_add(2 * BLOCK as u64)
}

fn entry_count(bytes: &[u8]) -> Result<usize, FormatError> {
    match usize::try_from(u32_at(bytes, 0)?) {
        Ok(count) if count <= MAX_BLOCK_ENTRIES => Ok(count),
        _ => Err(FormatError::Field("entries")),
    }
}

fn block_seed(disk: DiskId, ordinal: u64) -> u64 {
    xxh3_64(&disk.to_bytes()).wrapping_add(ordinal)
}

fn sum_of(seed: u64, head: &[u8], body: &[u8]) -> u64 {
    let mut hash = Xxh3::with_seed(seed);
    hash.update(head);
    hash.update(body);
    hash.digest()
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn entry() -> impl Strategy<Value = Entry> {
        (any::<u128>(), any::<[u32; 4]>(), any::<u8>(), any::<[u64; 3]>()).prop_map(|(blob, a, shard, b)| Entry {
            key: ShardKey { chunk: ChunkId { blob: BlobId(blob), index: a[0] }, shard },
            segment: a[1],
            offset: a[2],
            len: a[3],
            sequence: b[0],
            written_ms: b[1],
            checksum: b[2],
        })
    }

    #[test]
    fn a_block_of_version_1_is_read_for_ever() {
        let mut old = vec![0_u8; BLOCK];
        old[0] = 1;
        old[16 + 15] = 5;
        old[16 + 20] = 8;
        old[16 + 25] = 1;
        old[16 + 56] = 3;
        let mut hash = Xxh3::with_seed(block_seed(DiskId(4), 2));
        hash.update(&old[..8]);
        hash.update(&old[16..80]);
        let sum = hash.digest().to_le_bytes();
        old[8..16].copy_from_slice(&sum);
        let entry = Entry {
            key: ShardKey { chunk: ChunkId { blob: BlobId(5), index: 0 }, shard: 8 },
            segment: 256,
            offset: 0,
            len: 0,
            sequence: 0,
            written_ms: 0,
            checksum: 3,
        };
        assert_eq!(decode_block(DiskId(4), 2, &old), Ok(vec![entry]));
        assert_eq!(decode_block(DiskId(4), 3, &old), Err(FormatError::Checksum));
        assert_eq!(block_bytes(&old), Ok(BLOCK));
    }

    proptest! {
        #[test]
        fn blocks_round_trip_and_a_changed_byte_is_seen(
            entries in proptest::collection::vec(entry(), 0..90), ordinal: u64, at: usize, change in 1_u8..,
        ) {
            let mut bytes = Vec::new();
            prop_assert_eq!(encode_block(DiskId(1), ordinal, &entries, &mut bytes), entries.len());
            prop_assert_eq!(block_bytes(&bytes), Ok(bytes.len()));
            prop_assert_eq!(decode_block(DiskId(1), ordinal, &bytes), Ok(entries.clone()));
            let used = 16 + entries.len() * 64;
            bytes[at % used] ^= change;
            prop_assert!(decode_block(DiskId(1), ordinal, &bytes).is_err());
        }

        #[test]
        fn preambles_round_trip_and_a_changed_byte_is_seen(
            numbers in proptest::collection::vec(any::<u32>(), 0..300), next in (any::<u64>(), any::<u32>()),
            at: usize, change in 1_u8.., disk in Just(DiskId(77)),
        ) {
            let covered = numbers.iter().map(|n| Covered { number: *n, end: u64::from(*n) * 3, tombstones: 64 }).collect();
            let preamble = Preamble { disk, next_sequence: next.0, next_segment: next.1, covered };
            let mut bytes = Vec::new();
            preamble.encode(&mut bytes);
            prop_assert_eq!(Preamble::encoded_bytes(&bytes), Ok(bytes.len()));
            prop_assert_eq!(Preamble::decode(&bytes), Ok(preamble.clone()));
            let used = 56 + numbers.len() * 24;
            bytes[at % used] ^= change;
            prop_assert!(Preamble::decode(&bytes).is_err());
        }
    }
}
