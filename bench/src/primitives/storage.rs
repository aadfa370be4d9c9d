//! Durable writes: into segments as a disk of the product makes them, and into RocksDB.
//!
//! Owns: these loops. Not: the product's disk and store, which do more than this.
//! Holds: (1) every write is synced before it counts; (2) files go when the figures are there.
//! Why not through the product's disk: it gathers what waits and checks what it wrote; the limit is the
//! hardware's, and what the product adds or saves is in the ratio.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use kluis_chunkstore::{
    env::{File, FileSystem},
    env_real::SystemFiles,
};
use rocksdb::{DB, Options, WriteBatch, WriteOptions};

use super::Rate;
use crate::{load::random, proc::own_cpu_seconds};

/// What a write past the page cache is aligned to.
const ALIGNMENT: usize = 4096;
/// Bytes of a file: long enough that making one is rare, short enough for a file each of many writers.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Bytes of a record in the metadata.
const RECORD_BYTES: usize = 200;

/// A buffer at an address that a write past the page cache may have.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn random(len: usize) -> Result<Self> {
        let mut memory = vec![0; len + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        memory.get_mut(start..start + len).context("a buffer cannot be aligned")?.copy_from_slice(&random(len)?);
        Ok(Self { memory, start, len })
    }

    fn bytes(&self) -> &[u8] {
        self.memory.get(self.start..self.start + self.len).unwrap_or_default()
    }
}

/// One file after the other, each preallocated and written once from its front to its end.
struct Segments {
    files: SystemFiles,
    path: PathBuf,
    file: Arc<dyn File>,
    at: u64,
}

impl Segments {
    fn create(path: PathBuf) -> Result<Self> {
        let files = SystemFiles { direct: true };
        let file = Self::segment(&files, &path)?;
        Ok(Self { files, path, file, at: 0 })
    }

    fn segment(files: &SystemFiles, path: &Path) -> Result<Arc<dyn File>> {
        let file = files.create(path).with_context(|| format!("cannot make {}", path.display()))?;
        file.allocate(SEGMENT_BYTES)?;
        file.sync()?;
        Ok(file)
    }

    fn append(&mut self, content: &[u8]) -> Result<()> {
        let len = content.len() as u64;
        if self.at + len > SEGMENT_BYTES {
            fs::remove_file(&self.path)?;
            self.file = Self::segment(&self.files, &self.path)?;
            self.at = 0;
        }
        self.file.write_at(self.at, content)?;
        self.file.sync()?;
        self.at += len;
        Ok(())
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Appends of `bytes_each`, each made durable, by `writers` with a file each.
///
/// # Errors
/// The disk is full or fails.
pub fn append(dir: &Path, bytes_each: usize, writers: usize, time: Duration) -> Result<Rate> {
    let content = Aligned::random(bytes_each)?;
    let mut files = Vec::new();
    for writer in 0..writers {
        let mut file = Segments::create(dir.join(format!("append-{writer}")))?;
        file.append(content.bytes())?;
        files.push(file);
    }
    let content = content.bytes();
    shared(files, bytes_each, time, |file| file.append(content))
}

/// Durable commits of one record by `writers` threads.
///
/// # Errors
/// The database fails.
pub fn rocksdb_commit(dir: &Path, writers: usize, time: Duration) -> Result<Rate> {
    let path = dir.join("rocksdb");
    let mut options = Options::default();
    options.create_if_missing(true);
    let db = DB::open(&options, &path)?;
    let record = random(RECORD_BYTES)?;
    let commit = |number: &mut u64| -> Result<()> {
        *number += 1;
        let mut batch = WriteBatch::default();
        batch.put(number.to_be_bytes(), &record);
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(db.write_opt(batch, &synced)?)
    };
    let mut numbers: Vec<u64> = (0..writers as u64).map(|writer| writer << 32).collect();
    for number in &mut numbers {
        commit(number)?;
    }
    let measured = shared(numbers, RECORD_BYTES, time, commit);
    drop(db);
    fs::remove_dir_all(&path)?;
    measured
}

/// Repeats `round` for `time` on a thread for each of `parts`.
fn shared<T: Send>(parts: Vec<T>, bytes_each: usize, time: Duration, round: impl Fn(&mut T) -> Result<()> + Sync) -> Result<Rate> {
    let round = &round;
    let (begun, cpu) = (Instant::now(), own_cpu_seconds());
    let operations = thread::scope(|scope| {
        let threads: Vec<_> = parts
            .into_iter()
            .map(|mut part| {
                scope.spawn(move || {
                    let mut operations = 0_u64;
                    while operations == 0 || begun.elapsed() < time {
                        round(&mut part)?;
                        operations += 1;
                    }
                    anyhow::Ok(operations)
                })
            })
            .collect();
        let mut sum = 0;
        for thread in threads {
            sum += thread.join().map_err(|_| anyhow!("a writer panicked"))??;
        }
        anyhow::Ok(sum)
    })?;
    Ok(Rate::new(operations, bytes_each, begun.elapsed(), own_cpu_seconds() - cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_whole() {
        for len in [ALIGNMENT, 64 * ALIGNMENT] {
            let buffer = Aligned::random(len).unwrap();
            assert_eq!(buffer.bytes().len(), len);
            assert!(buffer.bytes().as_ptr().addr().is_multiple_of(ALIGNMENT));
        }
    }

    #[test]
    fn every_writer_writes_and_an_error_is_told() {
        let parts = vec![0_u64; 3];
        let seen = std::sync::atomic::AtomicU64::new(0);
        let count = |part: &mut u64| {
            *part += 1;
            seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        };
        let rate = shared(parts, 1, Duration::ZERO, count).unwrap();
        assert_eq!(seen.load(std::sync::atomic::Ordering::Relaxed), 3);
        assert!(rate.operations_per_second > 0.0);
        assert!(shared(vec![()], 1, Duration::ZERO, |_| Err(anyhow!("full"))).is_err());
    }
}
