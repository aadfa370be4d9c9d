//! Bytes on a disk: what a label, a segment, a record and an index checkpoint look like.
//!
//! Owns: the layouts, their versions and checksums. Not: files, or when anything is written ([`crate::disk`]).
//! Holds: (1) all functions are pure and total: any bytes give a value or an error, never a panic;
//! (2) numbers are little-endian, identifiers big-endian (so that their bytes sort like they do);
//! (3) magic, version and checksum of a label and of a segment header stay where they are in every
//! future version, so that any version can name any other.
//!
//! A disk directory:
//!
//! ```text
//! label              4,096 bytes   who the disk is                     label
//! segment-xxxxxxxx   preallocated  header block, then records          segment, record
//! index              checkpoint    where shards lie; may be missing    index
//! failed             text          the disk failed, and why; an operator removes it
//! lock               empty         locked while a process has the disk open
//! *.tmp              half-made files that a crash left; overwritten
//! ```

pub mod index;
pub mod label;
pub mod record;
pub mod segment;

/// Unit in which files are laid out and written, in bytes.
pub const BLOCK: usize = 4096;

/// The version of all layouts that this program reads and writes.
pub const FORMAT_VERSION: u16 = 1;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Fewer bytes than the layout has.
    #[error("too short")]
    Short,
    /// Not this kind of thing at all.
    #[error("wrong magic number")]
    Magic,
    /// Changed since they were written.
    #[error("checksum does not match")]
    Checksum,
    /// A version that this program reads no longer, or not yet.
    #[error("format version {found}, this program reads {supported}")]
    Version {
        /// What the bytes say.
        found: u16,
        /// What this program reads.
        supported: u16,
    },
    /// A field whose value means nothing.
    #[error("field {0} is out of range")]
    Field(&'static str),
}

/// Where the checksum of a one-block layout lies: it covers all bytes before it.
const BLOCK_CHECKSUM: usize = BLOCK - 8;

/// `n` rounded up to a multiple of `unit` (a power of two); saturates.
pub const fn round_up(n: u64, unit: u64) -> u64 {
    match n.checked_next_multiple_of(unit) {
        Some(rounded) => rounded,
        None => u64::MAX,
    }
}

/// `N` bytes at `at`.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], FormatError> {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().ok_or(FormatError::Short)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, FormatError> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, FormatError> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, FormatError> {
    array(bytes, at).map(u64::from_le_bytes)
}

fn u128_at(bytes: &[u8], at: usize) -> Result<u128, FormatError> {
    array(bytes, at).map(u128::from_be_bytes)
}

/// Puts the checksum into a block whose other bytes are final.
fn seal_block(block: &mut [u8; BLOCK]) {
    let (body, sum) = block.split_at_mut(BLOCK_CHECKSUM);
    sum.copy_from_slice(&xxhash_rust::xxh3::xxh3_64(body).to_le_bytes());
}

/// The first block of `bytes`, its magic, checksum and version checked in this order.
fn open_block<'a>(bytes: &'a [u8], magic: &[u8; 8]) -> Result<&'a [u8; BLOCK], FormatError> {
    let block = bytes.first_chunk::<BLOCK>().ok_or(FormatError::Short)?;
    if !block.starts_with(magic) {
        return Err(FormatError::Magic);
    }
    let (body, _) = block.split_at(BLOCK_CHECKSUM);
    if xxhash_rust::xxh3::xxh3_64(body) != u64_at(block, BLOCK_CHECKSUM)? {
        return Err(FormatError::Checksum);
    }
    match u16_at(block, 8)? {
        FORMAT_VERSION => Ok(block),
        found => Err(FormatError::Version { found, supported: FORMAT_VERSION }),
    }
}
