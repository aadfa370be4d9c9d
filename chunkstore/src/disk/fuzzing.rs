//! The two readers of whole files of a disk, for tests that feed them with bytes of their own (`tests/src/fuzz`).
//!
//! Owns: the way in. Not: any behaviour (the neighbouring modules).
//! Holds: nothing of the program calls this; what a caller gets is what the disk would have got.

use std::io;

use super::{checkpoint, scan};
use crate::{
    env::File,
    format::{
        index::{Entry, Preamble},
        record::RecordHeader,
    },
    ids::DiskId,
};

/// What a walk over a segment found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Offset and header of each shard and tombstone, and whether its payload is whole.
    pub records: Vec<(u32, RecordHeader, bool)>,
    /// First offset after the last closed batch.
    pub end: u64,
    /// Whether records may be appended there.
    pub clean: bool,
    /// Where the last batch begins.
    pub last_batch: u64,
    /// Places that were damaged.
    pub damaged_places: u64,
}

/// Walks the records of a segment of `len` bytes from `from` on.
///
/// # Errors
/// The file cannot be read.
pub fn scan_segment(file: &dyn File, len: u64, seed: u64, from: u64) -> io::Result<Scanned> {
    let mut records = Vec::new();
    let scan = scan::scan(file, len, seed, from, &mut |found| records.push((found.offset, found.header, found.intact)))?;
    Ok(Scanned { records, end: scan.end, clean: scan.clean, last_batch: scan.last_batch, damaged_places: scan.damaged_places })
}

/// Reads a whole index checkpoint of `disk`.
///
/// # Errors
/// The file is none, or cannot be read.
pub fn read_checkpoint(file: &dyn File, disk: DiskId) -> io::Result<(Preamble, Vec<Entry>)> {
    checkpoint::decode(file, disk).map(|read| (read.preamble, read.entries))
}
