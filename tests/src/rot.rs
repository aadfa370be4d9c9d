//! Rot: a byte of a stored shard that changes while nobody looks.
//!
//! Owns: finding a shard in the files of a disk, and the change. Not: whether anybody notices.
//! Holds: only the content of a shard is changed, never what lies between: a shard is lost, not a segment.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use kluis_chunkstore::format::record::{HEADER_BYTES, MAGIC};

use crate::switch::Random;

/// What records begin at a multiple of.
const ALIGNMENT: usize = 8;
/// Where the head of a record has its kind, and the kind of a shard.
const KIND_AT: usize = 5;
const SHARD: u8 = 1;
/// Where it has the length of the content, in four bytes.
const LENGTH_AT: usize = 28;

/// Flips a bit of a random shard on the disk in `dir`, whose node may be running; whether there was one. (A segment may
/// be compacted away meanwhile: then there was none.)
pub fn flip_one(dir: &Path, random: &mut Random) -> bool {
    let segments = segments(dir);
    let chosen = usize::try_from(random.below(segments.len() as u64)).unwrap_or(0);
    let Some(path) = segments.get(chosen) else { return false };
    let shards = fs::read(path).map(|bytes| shards(&bytes)).unwrap_or_default();
    let chosen = usize::try_from(random.below(shards.len() as u64)).unwrap_or(0);
    let Some((start, len)) = shards.get(chosen) else { return false };
    flip(path, start + random.below(*len)).is_ok()
}

/// Segments of a disk, in order of their names.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_segment = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("segment-"));
    let mut found: Vec<PathBuf> = entries.filter(is_segment).collect();
    found.sort();
    found
}

/// Where the contents of shards lie, and how long they are.
fn shards(segment: &[u8]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(head) = segment.get(at..at + HEADER_BYTES) {
        let is_shard = head.starts_with(&MAGIC) && head[KIND_AT] == SHARD;
        let len = head[LENGTH_AT..LENGTH_AT + 4].iter().rev().fold(0_u64, |len, byte| (len << 8) | u64::from(*byte));
        let start = at + HEADER_BYTES;
        if is_shard && len > 0 && segment.len() as u64 >= start as u64 + len {
            found.push((start as u64, len));
        }
        at += ALIGNMENT;
    }
    found
}

fn flip(path: &Path, at: u64) -> std::io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 0x10], at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment with one shard of `len` bytes after some other bytes.
    fn segment(len: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        let mut head = vec![0; HEADER_BYTES];
        head[..MAGIC.len()].copy_from_slice(&MAGIC);
        head[KIND_AT] = SHARD;
        head[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&len.to_le_bytes());
        bytes.extend(head);
        bytes.extend(vec![7; 100]);
        bytes
    }

    #[test]
    fn the_shard_is_found_and_one_that_is_cut_off_is_not() {
        assert_eq!(shards(&segment(100)), [(64 + HEADER_BYTES as u64, 100)]);
        assert!(shards(&segment(101)).is_empty());
    }

    #[test]
    fn one_bit_of_the_content_changes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!flip_one(dir.path(), &mut Random::new(1)), "an empty disk has nothing to rot");
        let path = dir.path().join("segment-0000000000000001");
        fs::write(&path, segment(100)).unwrap();
        fs::write(dir.path().join("index"), segment(100)).unwrap();
        assert!(flip_one(dir.path(), &mut Random::new(1)));
        let (before, after) = (segment(100), fs::read(&path).unwrap());
        let changed: Vec<usize> = (0..before.len()).filter(|i| before[*i] != after[*i]).collect();
        assert!(matches!(changed[..], [at] if at >= 64 + HEADER_BYTES), "{changed:?}");
        assert_eq!(fs::read(dir.path().join("index")).unwrap(), before, "only segments rot");
    }
}
