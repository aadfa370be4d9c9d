//! The first block of a segment: which segment of which disk the records after it belong to.
//!
//! Owns: the header block. Not: the records ([`super::record`]); the length of the file, which is
//! what was preallocated.
//! Holds: records begin at [`HEADER_BYTES`] and stay readable when this block is damaged, for their
//! checksums are bound to disk, segment and offset by themselves.
//!
//! ```text
//!    0  8  magic "KLUISSEG"
//!    8  2  format version
//!   10  6  zero
//!   16 16  disk id
//!   32  4  segment number
//!   36     zero
//! 4088  8  xxh3-64 of bytes 0..4088
//! ```

use super::{BLOCK, FORMAT_VERSION, FormatError, open_block, seal_block, u32_at, u128_at};
use crate::ids::DiskId;

const MAGIC: &[u8; 8] = b"KLUISSEG";

/// Bytes before the first record.
pub const HEADER_BYTES: u64 = BLOCK as u64;

/// Longest segment, in bytes: offsets are 32 bits with room to spare.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 31;

/// What the header block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The disk that wrote the segment.
    pub disk: DiskId,
    /// Number of the segment; grows, never used twice.
    pub number: u32,
}

impl SegmentHeader {
    /// The header as bytes.
    pub fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..8].copy_from_slice(MAGIC);
        block[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        block[16..32].copy_from_slice(&self.disk.to_bytes());
        block[32..36].copy_from_slice(&self.number.to_le_bytes());
        seal_block(&mut block);
        block
    }

    /// The header at the start of `bytes`.
    ///
    /// # Errors
    /// [`FormatError`] when they are short, damaged, of another version or no segment.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let block = open_block(bytes, MAGIC)?;
        Ok(Self { disk: DiskId(u128_at(block, 16)?), number: u32_at(block, 32)? })
    }
}

/// Name of the file of a segment.
pub fn file_name(number: u32) -> String {
    format!("segment-{number:08x}")
}

/// The number of the segment that a file of this name holds, or `None` for any other file.
pub fn parse_file_name(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("segment-")?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    // Only the canonical form: a copy made by hand under another spelling is not ours.
    (file_name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn a_header_of_version_1_is_read_for_ever() {
        let mut old = [0_u8; BLOCK];
        old[..8].copy_from_slice(b"KLUISSEG");
        old[8] = 1;
        old[31] = 9;
        old[32..36].copy_from_slice(&[1, 2, 0, 0]);
        let sum = xxhash_rust::xxh3::xxh3_64(&old[..4088]);
        old[4088..].copy_from_slice(&sum.to_le_bytes());
        let header = SegmentHeader { disk: DiskId(9), number: 0x201 };
        assert_eq!(SegmentHeader::decode(&old), Ok(header));
        assert_eq!(header.encode(), old);
    }

    #[test]
    fn only_canonical_names_are_segments() {
        for bad in ["segment-1", "segment-+0000001", "segment-0000000A", "segment-00000001.tmp", "index", ""] {
            assert_eq!(parse_file_name(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn headers_and_names_round_trip(disk: u128, number: u32, at in 0..BLOCK, change in 1_u8..) {
            let header = SegmentHeader { disk: DiskId(disk), number };
            let mut bytes = header.encode();
            prop_assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
            bytes[at] ^= change;
            prop_assert!(SegmentHeader::decode(&bytes).is_err());
            prop_assert_eq!(parse_file_name(&file_name(number)), Some(number));
        }
    }
}
