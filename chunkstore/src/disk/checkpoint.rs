//! Writing and reading the file `index`.
//!
//! Owns: the steps that make a checkpoint appear whole or not at all. Not: its bytes
//! ([`crate::format::index`]), when it is due ([`super::writer`]).
//! Holds: (1) only the writer makes one, so the covered offsets are those of its own last batch; (2)
//! what is not covered was appended later than all that is, since a checkpoint has no tombstones: an
//! older record read again would come back to life; (3) a file that cannot be used is as good as none,
//! and is removed before the next append, so that it cannot become usable again and tell an old tale.

use std::{io, ops::Bound, path::Path};

use super::{
    INDEX_FILE, Shared,
    buffer::AlignedBuffer,
    state::{Counters, Trouble},
};
use crate::{
    env::{Env, File},
    format::{
        BLOCK, FormatError,
        index::{self, Covered, Entry, Preamble},
    },
    ids::DiskId,
};

const TEMPORARY: &str = "index.tmp";
/// Bytes gathered before they are written.
const FLUSH_BYTES: usize = 1 << 20;

/// Writes a checkpoint of the index as it is. Takes the index lock for one block at a time.
pub(crate) fn write(shared: &Shared, next_sequence: u64, next_segment: u32) -> Result<(), Trouble> {
    let written = write_steps(shared, next_sequence, next_segment);
    if written.is_err() {
        // Best effort: half a file only takes space, which may be what is missing.
        let _ = shared.env.files.remove(&shared.dir.join(TEMPORARY));
    }
    written
}

fn write_steps(shared: &Shared, next_sequence: u64, next_segment: u32) -> Result<(), Trouble> {
    let files = &shared.env.files;
    let temporary = shared.dir.join(TEMPORARY);
    match files.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Trouble::of("removing a half-made index", error));
        }
        _ => {}
    }
    let file = files.create(&temporary).map_err(|e| Trouble::of_open("creating the index file", e))?;
    let covered = {
        let index = shared.index();
        let cover = |(number, s): (&u32, &super::index::Segment)| Covered {
            number: *number,
            end: if s.sealed { s.file_bytes } else { s.end },
            tombstones: s.tombstones,
        };
        index.segments.iter().map(cover).collect()
    };
    let disk = shared.label.disk;
    let mut pending = Vec::new();
    Preamble { disk, next_sequence, next_segment, covered }.encode(&mut pending);
    let mut offset = 0;
    let mut from = Bound::Unbounded;
    let mut ordinal = 0;
    loop {
        let entries: Vec<Entry> = {
            let index = shared.index();
            index.range(from, index::MAX_BLOCK_ENTRIES).iter().map(|(key, location)| location.entry(*key)).collect()
        };
        index::encode_block(disk, ordinal, &entries, &mut pending);
        ordinal += 1;
        let last = entries.last().map(|entry| entry.key);
        if pending.len() >= FLUSH_BYTES || last.is_none() {
            let aligned = AlignedBuffer::block_of(&pending);
            file.write_at(offset, aligned.as_slice()).map_err(|e| Trouble::of("writing the index", e))?;
            offset += aligned.filled() as u64;
            pending.clear();
        }
        match last {
            Some(key) => from = Bound::Excluded(key),
            None => break,
        }
    }
    file.sync().map_err(|e| Trouble::of("syncing the index", e))?;
    files.rename(&temporary, &shared.dir.join(INDEX_FILE)).map_err(|e| Trouble::of("putting the index in place", e))?;
    files.sync_dir(&shared.dir).map_err(|e| Trouble::of("syncing the directory", e))?;
    Counters::add(&shared.counters.checkpoints, 1);
    Ok(())
}

/// A checkpoint as read.
pub(crate) struct Checkpoint {
    pub(crate) preamble: Preamble,
    pub(crate) entries: Vec<Entry>,
}

/// The file `index` as found.
pub(crate) enum Read {
    /// To be used.
    Whole(Checkpoint),
    /// Not there.
    Missing,
    /// Not to be used (said in the log).
    Bad,
}

/// The checkpoint in `dir`.
pub(crate) fn read(env: &Env, dir: &Path, disk: DiskId) -> Read {
    let path = dir.join(INDEX_FILE);
    let file = match env.files.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Read::Missing,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "index not readable: rebuilding it from the segments");
            return Read::Bad;
        }
    };
    match decode(&*file, disk) {
        Ok(checkpoint) => Read::Whole(checkpoint),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "index not usable: rebuilding it from the segments");
            Read::Bad
        }
    }
}

pub(super) fn decode(file: &dyn File, disk: DiskId) -> io::Result<Checkpoint> {
    let file_bytes = file.len()?;
    let bad = |error: FormatError| io::Error::new(io::ErrorKind::InvalidData, error);
    let part = |offset: u64, bytes: usize| -> io::Result<Vec<u8>> {
        if offset + bytes as u64 > file_bytes {
            return Err(bad(FormatError::Short));
        }
        let mut part = vec![0; bytes];
        file.read_at(offset, &mut part)?;
        Ok(part)
    };
    let bytes = Preamble::encoded_bytes(&part(0, BLOCK)?).map_err(bad)?;
    let preamble = Preamble::decode(&part(0, bytes)?).map_err(bad)?;
    if preamble.disk != disk {
        return Err(bad(FormatError::Field("disk")));
    }
    let mut offset = bytes as u64;
    let mut entries = Vec::new();
    for ordinal in 0.. {
        let bytes = index::block_bytes(&part(offset, BLOCK)?).map_err(bad)?;
        let block = index::decode_block(disk, ordinal, &part(offset, bytes)?).map_err(bad)?;
        offset += bytes as u64;
        if block.is_empty() {
            break;
        }
        entries.extend(block);
    }
    Ok(Checkpoint { preamble, entries })
}
