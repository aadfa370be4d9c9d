//! Opening a disk: whose it is, what it holds, where to go on.
//!
//! Owns: the checks of the label, the index from its checkpoint and from the segments, the verdict
//! over damage. Not: the walk itself ([`super::scan`]).
//! Holds: (1) nothing on the disk is changed by opening it but for a sync (and its failure noted); (2) any file may be
//! missing, cut, damaged or strange: the rest is served; (3) what was read from a segment past the
//! checkpoint is synced before it counts as stored.
//! Damage has two meanings. In the last batch of a segment it may be an append that nobody was told
//! of (a torn tail): an older record of the key still counts. Anywhere else it is rot: the key is
//! reported, and an older record of it does not come back.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

use super::{
    DiskError, DiskOptions, FAILED_FILE, LABEL_FILE, OpenError,
    buffer::AlignedBuffer,
    checkpoint,
    index::{Index, Location, Segment},
    scan::{self, Found},
    state::DiskState,
    writer::Active,
};
use crate::{
    env::{Env, File, FileSystem},
    format::{
        BLOCK, FORMAT_VERSION, FormatError,
        label::DiskLabel,
        record::{self, Kind},
        segment::{self, SegmentHeader},
    },
    ids::ShardKey,
};

/// More places than this that cannot be read, and the disk is not opened.
const MAX_UNREADABLE_PLACES: u64 = 1024;

/// A disk as found.
pub(crate) struct Loaded {
    pub(crate) index: Index,
    pub(crate) state: DiskState,
    /// Keys whose record is rotten or whose segment is gone.
    pub(crate) suspects: BTreeSet<ShardKey>,
    pub(crate) damaged_places: u64,
    pub(crate) active: Option<Active>,
    pub(crate) next_sequence: u64,
    pub(crate) next_segment: u32,
    /// There is an index file that could not be used.
    pub(crate) bad_index: bool,
}

fn io_error(during: &'static str) -> impl Fn(io::Error) -> OpenError {
    move |error| OpenError::Io { during, error: Arc::new(error) }
}

/// The label in `dir`, or `None` where there is none.
pub(crate) fn read_label(files: &dyn FileSystem, dir: &Path) -> Result<Option<DiskLabel>, OpenError> {
    let file = match files.open(&dir.join(LABEL_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("opening the label")(error)),
    };
    let mut bytes = [0; BLOCK];
    match file.read_at(0, &mut bytes) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(OpenError::BadLabel(FormatError::Short)),
        Err(error) => return Err(io_error("reading the label")(error)),
    }
    match DiskLabel::decode(&bytes) {
        Ok(label) => Ok(Some(label)),
        Err(error) => Err(version_error(error).unwrap_or(OpenError::BadLabel(error))),
    }
}

fn version_error(error: FormatError) -> Option<OpenError> {
    match error {
        FormatError::Version { found, supported } if found < FORMAT_VERSION => Some(OpenError::OldFormat { found, supported }),
        FormatError::Version { found, supported } => Some(OpenError::NewFormat { found, supported }),
        _ => None,
    }
}

/// Compares a label with the one wanted.
pub(crate) fn check_label(found: &DiskLabel, expect: &DiskLabel) -> Result<(), OpenError> {
    if found.cluster != expect.cluster {
        return Err(OpenError::ForeignCluster { expected: expect.cluster, found: found.cluster });
    }
    if found.node != expect.node {
        return Err(OpenError::ForeignNode { expected: expect.node, found: found.node });
    }
    if found.disk != expect.disk {
        return Err(OpenError::ForeignDisk { expected: expect.disk, found: found.disk });
    }
    Ok(())
}

/// Makes `dir` a disk (blocking).
pub(crate) fn format(files: &dyn FileSystem, dir: &Path, label: &DiskLabel) -> Result<(), OpenError> {
    if label.node.0 == 0 {
        return Err(OpenError::BadLabel(FormatError::Field("node")));
    }
    files.create_dir_all(dir).map_err(io_error("making the directory"))?;
    let names = files.list(dir).map_err(io_error("listing the directory"))?;
    let is_ours = |name: &str| name == LABEL_FILE || segment::parse_file_name(name).is_some();
    if names.iter().filter_map(|name| name.to_str()).any(is_ours) {
        return Err(OpenError::InUse);
    }
    let temporary = dir.join("label.tmp");
    if names.iter().any(|name| name.as_os_str() == "label.tmp") {
        files.remove(&temporary).map_err(io_error("removing a half-made label"))?;
    }
    let write = || -> io::Result<()> {
        let file = files.create(&temporary)?;
        file.write_at(0, AlignedBuffer::block_of(&label.encode()).as_slice())?;
        file.sync()?;
        files.rename(&temporary, &dir.join(LABEL_FILE))?;
        files.sync_dir(dir)
    };
    write().map_err(io_error("writing the label"))
}

/// Removes the note of an earlier failure (blocking).
pub(crate) fn clear_failure(files: &dyn FileSystem, dir: &Path) -> Result<(), DiskError> {
    match files.remove(&dir.join(FAILED_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => files.sync_dir(dir),
    }
    .map_err(|error| DiskError::Io { during: "removing the note of a failure", error: Arc::new(error) })
}

fn read_failure(files: &dyn FileSystem, dir: &Path) -> DiskState {
    let file = match files.open(&dir.join(FAILED_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return DiskState::Active,
        Err(error) => return DiskState::Failed { reason: format!("the note of a failure is not readable: {error}") },
    };
    let len = file.len().unwrap_or(0).min(BLOCK as u64);
    let mut text = vec![0; usize::try_from(len).unwrap_or(0)];
    let reason = match file.read_at(0, &mut text) {
        Ok(()) => String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned(),
        Err(error) => error.to_string(),
    };
    DiskState::Failed { reason: format!("failed earlier: {reason}") }
}

/// Leaves word for the next start that the disk has failed, as far as the disk still takes it (blocking).
pub(crate) fn mark_failed(files: &dyn FileSystem, dir: &Path, reason: &str) {
    let mark = || -> io::Result<()> {
        let file = files.create(&dir.join(FAILED_FILE))?;
        file.write_at(0, AlignedBuffer::block_of(reason.as_bytes()).as_slice())?;
        file.sync()?;
        files.sync_dir(dir)
    };
    if let Err(error) = mark() {
        tracing::warn!(dir = %dir.display(), %error, "the failure could not be noted on the disk itself");
    }
}

/// What is known of keys that have no live record.
#[derive(Clone, Copy)]
enum Gone {
    /// Deleted up to a sequence, inclusive.
    Buried(u64),
    /// The record of this sequence is rotten; the same record elsewhere would do.
    Rotten(u64),
}

/// The rules by which records of a key outrank each other, whatever order they are met in.
#[derive(Default)]
struct Rebuild {
    index: Index,
    gone: BTreeMap<ShardKey, Gone>,
    /// Torn records: wanted only if the key has nothing else.
    torn: BTreeSet<ShardKey>,
}

impl Rebuild {
    fn shard(&mut self, key: ShardKey, location: Location) {
        match self.gone.get(&key) {
            Some(Gone::Buried(sequence)) if *sequence >= location.sequence => return,
            Some(Gone::Rotten(sequence)) if *sequence > location.sequence => return,
            Some(_) => {
                self.gone.remove(&key);
            }
            None => {}
        }
        self.index.insert(key, location);
    }

    fn tombstone(&mut self, key: ShardKey, sequence: u64) {
        let outranked = match self.gone.get(&key) {
            Some(Gone::Buried(other)) => *other >= sequence,
            Some(Gone::Rotten(other)) => *other > sequence,
            None => false,
        };
        let newer_lives = self.index.find(key).is_some_and(|location| location.sequence > sequence);
        if outranked || newer_lives {
            return;
        }
        self.index.remove(key, sequence);
        self.torn.remove(&key);
        self.gone.insert(key, Gone::Buried(sequence));
    }

    fn rotten(&mut self, key: ShardKey, sequence: u64) {
        let outranked = match self.gone.get(&key) {
            Some(Gone::Buried(other) | Gone::Rotten(other)) => *other >= sequence,
            None => false,
        };
        let lives = self.index.find(key).is_some_and(|location| location.sequence >= sequence);
        if outranked || lives {
            return;
        }
        self.index.remove(key, sequence);
        self.gone.insert(key, Gone::Rotten(sequence));
    }

    /// The index, and the keys that should be in it and are not.
    fn finish(self) -> (Index, BTreeSet<ShardKey>) {
        let mut suspects: BTreeSet<_> = self.gone.iter().filter(|(_, gone)| matches!(gone, Gone::Rotten(_))).map(|(key, _)| *key).collect();
        let index = self.index;
        suspects.extend(self.torn.into_iter().filter(|key| index.find(*key).is_none() && !self.gone.contains_key(key)));
        (index, suspects)
    }
}

/// Reads the disk in `dir` (blocking). Its label was checked.
pub(crate) fn load(env: &Env, dir: &Path, label: &DiskLabel, options: &DiskOptions) -> Result<Loaded, OpenError> {
    let files = &*env.files;
    let mut state = read_failure(files, dir);
    let names = files.list(dir).map_err(io_error("listing the directory"))?;
    let numbers: BTreeSet<u32> = names.iter().filter_map(|name| segment::parse_file_name(name.to_str()?)).collect();
    let mut rebuild = Rebuild::default();
    let mut next_sequence = 1;
    let mut damaged_places = 0;
    let mut unreadable_places = 0;
    for number in &numbers {
        let path = dir.join(segment::file_name(*number));
        let file = match files.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => continue,
            opened => opened.map_err(io_error("opening a segment"))?,
        };
        let file_bytes = file.len().map_err(io_error("measuring a segment"))?;
        match segment_header(&*file, file_bytes) {
            Ok(header) if header.disk != label.disk || header.number != *number => {
                tracing::warn!(path = %path.display(), "a segment of another disk or number lies here: left alone");
                continue;
            }
            // The records speak for themselves.
            Ok(_) => {}
            Err(error) => match version_error(error) {
                Some(refusal) => return Err(refusal),
                None => tracing::warn!(path = %path.display(), %error, "segment header damaged: reading the records"),
            },
        }
        let entry = Segment { file, file_bytes, end: file_bytes, live: 0, tombstones: 0, sealed: true, unread: false };
        rebuild.index.segments.insert(*number, entry);
    }
    // Files that are not ours do not count: the writer steps over their names.
    let mut next_segment = rebuild.index.segments.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
    let mut covered = BTreeMap::new();
    let checkpoint = checkpoint::read(env, dir, label.disk);
    let bad_index = matches!(checkpoint, checkpoint::Read::Bad);
    if let checkpoint::Read::Whole(found) = checkpoint {
        next_sequence = next_sequence.max(found.preamble.next_sequence);
        next_segment = next_segment.max(found.preamble.next_segment);
        for segment in &found.preamble.covered {
            if let Some(entry) = rebuild.index.segments.get_mut(&segment.number) {
                entry.tombstones = segment.tombstones;
                covered.insert(segment.number, segment.end);
            }
        }
        for entry in &found.entries {
            let location = Location::of(entry);
            let held = rebuild.index.segments.get(&location.segment);
            if held.is_some_and(|segment| location.end() <= segment.file_bytes) {
                rebuild.shard(entry.key, location);
            } else {
                rebuild.rotten(entry.key, location.sequence);
            }
        }
    }
    let newest = rebuild.index.segments.last_key_value().map(|(number, _)| *number);
    let all: Vec<_> = rebuild.index.segments.iter().map(|(n, s)| (*n, s.file.clone(), s.file_bytes)).collect();
    let mut active = None;
    for (number, file, file_bytes) in all {
        let from = covered.get(&number).copied().unwrap_or(0);
        if from >= file_bytes {
            continue;
        }
        let seed = record::segment_seed(label.disk, number);
        let mut rotten = Vec::new();
        let mut tombstone_bytes = 0;
        let mut visit = |Found { offset, header, intact }: Found| {
            next_sequence = next_sequence.max(header.sequence.saturating_add(1));
            if !intact {
                rotten.push((offset, header));
            } else if header.kind == Kind::Tombstone {
                tombstone_bytes += record::stored_bytes(header.len);
                rebuild.tombstone(header.key, header.sequence);
            } else {
                let location = Location {
                    segment: number,
                    offset,
                    len: header.len,
                    sequence: header.sequence,
                    written_ms: header.written_ms,
                    checksum: header.checksum,
                };
                rebuild.shard(header.key, location);
            }
        };
        let scan = scan::scan(&*file, file_bytes, seed, from, &mut visit).map_err(io_error("reading a segment"))?;
        damaged_places += scan.damaged_places;
        unreadable_places += scan.unreadable_places;
        if unreadable_places > 0 {
            check_device(files, dir, unreadable_places)?;
        }
        for (offset, header) in rotten {
            if u64::from(offset) < scan.last_batch {
                rebuild.rotten(header.key, header.sequence);
            } else if Some(number) != newest {
                rebuild.torn.insert(header.key);
            }
        }
        if let Some(entry) = rebuild.index.segments.get_mut(&number) {
            entry.tombstones += tombstone_bytes;
            entry.unread = scan.unreadable_places > 0;
        }
        if state == DiskState::Active {
            match file.sync() {
                // Nothing was in the cache, for nothing could be written.
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
                // Whatever a second sync said would be worth nothing: reads only, from now on.
                Err(error) => {
                    let reason = format!("syncing a segment at the start: {error}");
                    mark_failed(files, dir, &reason);
                    state = DiskState::Failed { reason };
                }
                Ok(()) => {}
            }
        }
        // An unclean tail gets no more records: the next batch begins a new segment.
        let usable = scan.clean && file_bytes.is_multiple_of(BLOCK as u64) && file_bytes <= segment::MAX_SEGMENT_BYTES;
        let has_header = segment_header(&*file, file_bytes).is_ok();
        if Some(number) == newest && usable && has_header && scan.end + BLOCK as u64 <= file_bytes {
            active = Some(Active { number, file, end: scan.end, bytes: file_bytes.min(options.segment_bytes.max(scan.end)) });
            if let Some(entry) = rebuild.index.segments.get_mut(&number) {
                entry.sealed = false;
                entry.end = scan.end;
            }
        }
    }
    let (index, suspects) = rebuild.finish();
    Ok(Loaded { index, state, suspects, damaged_places, active, next_sequence, next_segment, bad_index })
}

/// Tells a disk with bad places from one that gives nothing at all: serving the latter as if it were
/// empty would have reconcile rebuild everything.
fn check_device(files: &dyn FileSystem, dir: &Path, unreadable_places: u64) -> Result<(), OpenError> {
    if unreadable_places > MAX_UNREADABLE_PLACES {
        let error = Arc::new(io::Error::from(rustix::io::Errno::IO));
        return Err(OpenError::Io { during: "reading the segments: too many places are unreadable", error });
    }
    read_label(files, dir).map(|_| ())
}

fn segment_header(file: &dyn File, file_bytes: u64) -> Result<SegmentHeader, FormatError> {
    let mut block = [0; BLOCK];
    if file_bytes < BLOCK as u64 || file.read_at(0, &mut block).is_err() {
        return Err(FormatError::Short);
    }
    SegmentHeader::decode(&block)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop_assert_eq, proptest};

    use super::*;
    use crate::ids::{BlobId, ChunkId};

    fn key() -> ShardKey {
        ShardKey { chunk: ChunkId { blob: BlobId(1), index: 0 }, shard: 0 }
    }

    fn at(sequence: u64) -> Location {
        Location { segment: 0, offset: 4096, len: 0, sequence, written_ms: 0, checksum: 0 }
    }

    proptest! {
        /// Shards have odd sequences and tombstones even ones, so that no two records tie.
        #[test]
        fn the_highest_sequence_wins_in_any_order(
            order in Just((1..=9_u64).collect::<Vec<_>>()).prop_shuffle(), take in 1..=9_usize,
        ) {
            let mut rebuild = Rebuild::default();
            let taken = &order[..take];
            for sequence in taken {
                if sequence % 2 == 1 { rebuild.shard(key(), at(*sequence)) } else { rebuild.tombstone(key(), *sequence) }
            }
            let (index, suspects) = rebuild.finish();
            let highest = taken.iter().copied().max().filter(|s| s % 2 == 1);
            prop_assert_eq!(index.find(key()).map(|l| l.sequence), highest);
            prop_assert_eq!(suspects.len(), 0);
        }
    }

    #[test]
    fn rot_hides_older_records_and_copies_heal_it() {
        let mut rebuild = Rebuild::default();
        rebuild.shard(key(), at(3));
        rebuild.rotten(key(), 5);
        rebuild.shard(key(), at(4));
        assert!(rebuild.index.find(key()).is_none());
        rebuild.shard(key(), at(5));
        assert_eq!(rebuild.index.find(key()), Some(at(5)));
        rebuild.tombstone(key(), 5);
        let (index, suspects) = rebuild.finish();
        assert!(index.find(key()).is_none() && suspects.is_empty());
    }
}
