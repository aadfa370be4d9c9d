//! A record: one shard, one tombstone, or the padding that closes a batch.
//!
//! Owns: the 64 bytes before a payload. Not: the order of records ([`crate::disk`]).
//! Holds: (1) a header decodes only at the offset, in the segment and on the disk that it was written
//! for, because its checksum is seeded with all three: a block that the medium put elsewhere is damage,
//! not data; (2) records begin at multiples of 8; (3) a batch begins at a multiple of 4,096 with a
//! record marked `first` and ends at one with a padding record, so that one surviving header tells
//! where its batch began.
//!
//! ```text
//!    0  4  magic "KLSR"
//!    4  1  version
//!    5  1  kind: 1 shard, 2 tombstone, 3 padding
//!    6  1  number of the shard
//!    7  1  1 when the record is the first of its batch, else 0
//!    8 16  blob id
//!   24  4  chunk index; of a padding record: offset at which its batch begins
//!   28  4  length of the payload, in bytes
//!   32  8  sequence: of two records of a key the higher one counts
//!   40  8  time of the append, milliseconds since 1970
//!   48  8  xxh3-64 of the payload, also where it is empty (a tombstone); 0 in padding
//!   56  8  xxh3-64 of bytes 0..56, seeded with disk, segment and offset
//!   64     payload, then zeros up to a multiple of 8
//! ```

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{FormatError, array, round_up, u32_at, u64_at, u128_at};
use crate::ids::{BlobId, ChunkId, DiskId, ShardKey};

/// The first four bytes of every record.
pub const MAGIC: [u8; 4] = *b"KLSR";

/// Bytes before a payload.
pub const HEADER_BYTES: usize = 64;

/// What offsets of records are multiples of.
pub const ALIGNMENT: u64 = 8;

const VERSION: u8 = 1;
const CHECKSUM_AT: usize = 56;
const _: () = assert!(CHECKSUM_AT + 8 == HEADER_BYTES);
const _: () = assert!(HEADER_BYTES.is_multiple_of(ALIGNMENT as usize) && super::BLOCK.is_multiple_of(HEADER_BYTES));

/// What a record says about its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The payload is the shard.
    Shard,
    /// The shard is gone, in every record up to this sequence.
    Tombstone,
    /// Nothing: fills a batch up.
    Padding,
}

/// The fields of a record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the record is.
    pub kind: Kind,
    /// Whether a batch begins here.
    pub first: bool,
    /// Whose record it is (of padding: see [`RecordHeader::padding`]).
    pub key: ShardKey,
    /// Bytes of the payload.
    pub len: u32,
    /// Rank among the records of the key.
    pub sequence: u64,
    /// When it was first appended, in milliseconds since 1970. For people and grace times.
    pub written_ms: u64,
    /// [`payload_checksum`] of the payload, which of a tombstone is empty; of padding 0.
    pub checksum: u64,
}

/// What the checksums of a segment's headers are seeded with, before the offset.
pub fn segment_seed(disk: DiskId, segment: u32) -> u64 {
    xxh3_64_with_seed(&disk.to_bytes(), u64::from(segment))
}

/// Checksum of a payload.
pub fn payload_checksum(payload: &[u8]) -> u64 {
    xxh3_64(payload)
}

/// Bytes that a record with a payload of `len` bytes takes in a segment.
pub const fn stored_bytes(len: u32) -> u64 {
    round_up(HEADER_BYTES as u64 + len as u64, ALIGNMENT)
}

impl RecordHeader {
    /// The padding that closes the batch begun at `batch_start`, with `len` bytes after the header.
    pub fn padding(batch_start: u32, len: u32) -> Self {
        Self {
            kind: Kind::Padding,
            first: false,
            key: ShardKey { chunk: ChunkId { blob: BlobId(0), index: batch_start }, shard: 0 },
            len,
            sequence: 0,
            written_ms: 0,
            checksum: 0,
        }
    }

    /// The tombstone of a key: buries its records up to `sequence`.
    pub fn tombstone(key: ShardKey, sequence: u64, written_ms: u64) -> Self {
        let checksum = payload_checksum(&[]);
        Self { kind: Kind::Tombstone, first: false, key, len: 0, sequence, written_ms, checksum }
    }

    /// Of a padding record: the offset at which its batch begins.
    pub fn batch_start(&self) -> u32 {
        self.key.chunk.index
    }

    /// The header as bytes, for a place in a segment with [`segment_seed`] `seed`.
    pub fn encode(&self, seed: u64, offset: u32) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = match self.kind {
            Kind::Shard => 1,
            Kind::Tombstone => 2,
            Kind::Padding => 3,
        };
        bytes[6] = self.key.shard;
        bytes[7] = u8::from(self.first);
        bytes[8..24].copy_from_slice(&self.key.chunk.blob.to_bytes());
        bytes[24..28].copy_from_slice(&self.key.chunk.index.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.len.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.written_ms.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.checksum.to_le_bytes());
        let sum = header_checksum(&bytes, seed, offset);
        bytes[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The header at the start of `bytes`, which lie at `offset` of a segment.
    ///
    /// # Errors
    /// [`FormatError`] when no record was written there, or a changed one.
    pub fn decode(bytes: &[u8], seed: u64, offset: u32) -> Result<Self, FormatError> {
        let header: [u8; HEADER_BYTES] = array(bytes, 0)?;
        if !header.starts_with(&MAGIC) {
            return Err(FormatError::Magic);
        }
        if header_checksum(&header, seed, offset) != u64_at(&header, CHECKSUM_AT)? {
            return Err(FormatError::Checksum);
        }
        if header[4] != VERSION {
            return Err(FormatError::Version { found: header[4].into(), supported: VERSION.into() });
        }
        let kind = match header[5] {
            1 => Kind::Shard,
            2 => Kind::Tombstone,
            3 => Kind::Padding,
            _ => return Err(FormatError::Field("kind")),
        };
        let first = match header[7] {
            0 => false,
            1 => true,
            _ => return Err(FormatError::Field("first")),
        };
        Ok(Self {
            kind,
            first,
            key: ShardKey { chunk: ChunkId { blob: BlobId(u128_at(&header, 8)?), index: u32_at(&header, 24)? }, shard: header[6] },
            len: u32_at(&header, 28)?,
            sequence: u64_at(&header, 32)?,
            written_ms: u64_at(&header, 40)?,
            checksum: u64_at(&header, 48)?,
        })
    }
}

fn header_checksum(header: &[u8; HEADER_BYTES], seed: u64, offset: u32) -> u64 {
    let (body, _) = header.split_at(CHECKSUM_AT);
    xxh3_64_with_seed(body, seed.wrapping_add(u64::from(offset)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    #[test]
    fn a_record_of_version_1_is_read_for_ever() {
        let mut old = [0_u8; 64];
        old[..8].copy_from_slice(&[b'K', b'L', b'S', b'R', 1, 2, 5, 1]);
        old[23] = 7;
        old[24] = 3;
        old[32] = 42;
        old[40] = 9;
        old[48..56].copy_from_slice(&[0xc2, 0x94, 0xd3, 0x38, 0x05, 0x80, 0x06, 0x2d]);
        let seed = segment_seed(DiskId(1), 2);
        let sum = xxh3_64_with_seed(&old[..56], seed.wrapping_add(4096));
        old[56..].copy_from_slice(&sum.to_le_bytes());
        let key = ShardKey { chunk: ChunkId { blob: BlobId(7), index: 3 }, shard: 5 };
        let header = RecordHeader { first: true, ..RecordHeader::tombstone(key, 42, 9) };
        assert_eq!(RecordHeader::decode(&old, seed, 4096), Ok(header));
        assert_eq!(header.encode(seed, 4096), old);
        assert_eq!((stored_bytes(0), stored_bytes(1), stored_bytes(8)), (64, 72, 72));
    }

    proptest! {
        #[test]
        fn headers_round_trip_only_in_their_place(
            kind in prop_oneof![Just(Kind::Shard), Just(Kind::Tombstone), Just(Kind::Padding)],
            blob: u128, index: u32, shard: u8, len: u32, sequence: u64, disk: u128, segment: u32, offset: u32,
            at in 0_usize..64, change in 1_u8..,
        ) {
            let header = RecordHeader {
                kind, first: shard & 1 == 1,
                key: ShardKey { chunk: ChunkId { blob: BlobId(blob), index }, shard },
                len, sequence, written_ms: sequence ^ 5, checksum: sequence ^ 6,
            };
            let seed = segment_seed(DiskId(disk), segment);
            let mut bytes = header.encode(seed, offset);
            prop_assert_eq!(RecordHeader::decode(&bytes, seed, offset), Ok(header));
            prop_assert!(RecordHeader::decode(&bytes, seed, offset ^ 8).is_err());
            let other = segment_seed(DiskId(disk), segment ^ 1);
            prop_assert!(RecordHeader::decode(&bytes, other, offset).is_err());
            bytes[at] ^= change;
            prop_assert!(RecordHeader::decode(&bytes, seed, offset).is_err());
        }
    }
}
