//! Reading a segment from end to end, past any damage.
//!
//! Owns: the walk over records. Not: what is made of them ([`super::open`], [`super::compact`]).
//! Holds: (1) every record whose header is whole is visited, whatever lies around it; (2) memory is
//! one window, or one payload where that is longer; (3) a place that cannot be read twice is damage,
//! not the end.
//! Why the whole file, past the first zeros: a medium that lost one block must not hide those after it.

use std::io;

use crate::{
    env::File,
    format::{
        BLOCK,
        record::{self, HEADER_BYTES, Kind, MAGIC, RecordHeader},
        segment,
    },
};

/// Bytes read at once.
const WINDOW_BYTES: u64 = 1 << 20;
const STEP: usize = record::ALIGNMENT as usize;

/// A record that was found.
pub(crate) struct Found {
    pub(crate) offset: u32,
    pub(crate) header: RecordHeader,
    /// Whether the payload is what the header says.
    pub(crate) intact: bool,
}

/// What the walk learnt of the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scan {
    /// First offset after the last closed batch.
    pub(crate) end: u64,
    /// Whether records may be appended at `end`: the last batch is whole and only zeros follow.
    pub(crate) clean: bool,
    /// Where the last batch begins. Damage from here on may be an append that was never acknowledged;
    /// damage before it is rot, for a batch is begun only after the one before was synced.
    pub(crate) last_batch: u64,
    /// Places that were damaged.
    pub(crate) damaged_places: u64,
    /// Those of them that the file system did not give: they may be whole another day.
    pub(crate) unreadable_places: u64,
}

/// Walks the records of `file` (`len` bytes) from `from` on and shows shards and tombstones to `visit`.
///
/// # Errors
/// When the file cannot be read for another reason than a bad medium.
pub(crate) fn scan(file: &dyn File, len: u64, seed: u64, from: u64, visit: &mut dyn FnMut(Found)) -> io::Result<Scan> {
    let len = len.min(segment::MAX_SEGMENT_BYTES);
    let mut window = Window { file, len, start: 0, bytes: Vec::new() };
    let mut position = from.max(segment::HEADER_BYTES);
    let mut result = Scan { end: position, clean: false, last_batch: position, damaged_places: 0, unreadable_places: 0 };
    let mut last_damage: Option<u64> = None;
    // Where whole records were found up to; `result.end` is where the last batch was closed.
    let mut records_end = position;
    while position + HEADER_BYTES as u64 <= len {
        let Some(head) = window.at(position, HEADER_BYTES as u64)? else {
            last_damage = Some(position);
            result.damaged_places += 1;
            result.unreadable_places += 1;
            position = (position + 1).next_multiple_of(BLOCK as u64);
            continue;
        };
        let offset = u32::try_from(position).unwrap_or(u32::MAX);
        let header = RecordHeader::decode(head, seed, offset).ok();
        let header = header.filter(|h| position + record::stored_bytes(h.len) <= len);
        let Some(header) = header else {
            let (next, first_dirty) = window.next_magic(position);
            if let Some(dirty) = first_dirty {
                last_damage = Some(dirty);
                result.damaged_places += 1;
            }
            position = next;
            continue;
        };
        let next = position + record::stored_bytes(header.len);
        if header.first {
            result.last_batch = position;
        }
        if header.kind == Kind::Padding {
            let start = u64::from(header.batch_start());
            if start < position {
                result.last_batch = result.last_batch.max(start);
            }
            result.end = next;
        } else {
            let payload = window.at(position + HEADER_BYTES as u64, u64::from(header.len))?;
            if payload.is_none() {
                result.unreadable_places += 1;
            }
            let intact = payload.is_some_and(|p| record::payload_checksum(p) == header.checksum);
            if !intact {
                last_damage = Some(position);
                result.damaged_places += 1;
            }
            visit(Found { offset, header, intact });
        }
        records_end = next;
        position = next;
    }
    result.clean =
        result.end == records_end && result.end.is_multiple_of(BLOCK as u64) && last_damage.is_none_or(|at| at < result.last_batch);
    Ok(result)
}

/// A part of the file in memory.
struct Window<'a> {
    file: &'a dyn File,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `n` bytes at `position` (within the file), or `None` where the medium does not give them.
    fn at(&mut self, position: u64, n: u64) -> io::Result<Option<&[u8]>> {
        let held = position >= self.start && position + n <= self.start + self.bytes.len() as u64;
        if !(held || self.fill(position, n.max(WINDOW_BYTES))? || self.fill(position, n)?) {
            return Ok(None);
        }
        let at = usize::try_from(position - self.start).unwrap_or(usize::MAX);
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        Ok(self.bytes.get(at..).and_then(|rest| rest.get(..n)))
    }

    fn fill(&mut self, position: u64, n: u64) -> io::Result<bool> {
        let n = n.min(self.len.saturating_sub(position));
        self.start = position;
        self.bytes.clear();
        self.bytes.resize(usize::try_from(n).unwrap_or(0), 0);
        match self.file.read_at(position, &mut self.bytes) {
            Ok(()) => Ok(true),
            Err(error) => {
                self.bytes.clear();
                let bad_medium = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
                if bad_medium || error.kind() == io::ErrorKind::UnexpectedEof { Ok(false) } else { Err(error) }
            }
        }
    }

    /// The next place after `position` where a record may begin (or the end of what is held), and the
    /// first place passed that was not zero. `position` is held.
    fn next_magic(&self, position: u64) -> (u64, Option<u64>) {
        let at = usize::try_from(position - self.start).unwrap_or(usize::MAX);
        let rest = self.bytes.get(at..).unwrap_or_default();
        let mut first_dirty = None;
        for (ordinal, piece) in rest.chunks_exact(STEP).enumerate() {
            let here = position + (ordinal * STEP) as u64;
            if ordinal > 0 && piece.starts_with(&MAGIC) {
                return (here, first_dirty);
            }
            if first_dirty.is_none() && piece.iter().any(|byte| *byte != 0) {
                first_dirty = Some(here);
            }
        }
        let passed = (rest.len() / STEP * STEP).max(STEP) as u64;
        (position + passed, first_dirty)
    }
}
