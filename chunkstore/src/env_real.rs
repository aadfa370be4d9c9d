//! The real world behind [`crate::env`]: system clock, system randomness, a thread pool, files.
//!
//! Owns: the calls to the operating system for disks. Not: sockets, policy of any kind.
//! Holds: (1) a file that was made when the file system could not be written says `EROFS` and nothing
//! else on a write; (2) a write either goes whole through one descriptor or is an error.
//! Why two descriptors: writes that bypass the page cache cost a tenth of buffered ones, reads want
//! the cache; Linux keeps both views of a file coherent.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{FallocateFlags, FlockOperation, OFlags},
    io::Errno,
};

use crate::env::{Blocking, Clock, Entropy, File, FileSystem, Space};

/// What writes that bypass the page cache are aligned to, in bytes.
const DIRECT_ALIGNMENT: usize = 4096;

/// The wall clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The randomness of the operating system, through the process's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        if aws_lc_rs::rand::fill(buffer).is_err() {
            // Keys made of predictable bytes would be worse than no process.
            std::process::abort();
        }
    }
}

/// Blocking work on tokio's pool. To be used from within a tokio runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThreadPool;

impl Blocking for ThreadPool {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        drop(tokio::task::spawn_blocking(job));
    }
}

/// The files of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemFiles {
    /// Write around the page cache where the file system allows it.
    pub direct: bool,
}

impl SystemFiles {
    fn wrap(self, file: fs::File, path: &Path, writable: bool) -> Arc<dyn File> {
        Arc::new(SystemFile {
            file,
            path: path.to_owned(),
            writable,
            try_direct: self.direct && writable,
            direct: OnceLock::new(),
            direct_refused: AtomicBool::new(false),
        })
    }
}

impl FileSystem for SystemFiles {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        match fs::OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(self.wrap(file, path, true)),
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(self.wrap(fs::File::open(path)?, path, false)),
            Err(error) => Err(error),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(self.wrap(file, path, true))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|entry| Ok(PathBuf::from(entry?.file_name()))).collect()
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let file = match fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path) {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => fs::File::open(path)?,
            opened => opened?,
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn claim(&self, id: u128) -> Option<Box<dyn Send + Sync>> {
        lock(&CLAIMED).insert(id).then(|| Box::new(Claim(id)) as Box<dyn Send + Sync>)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(Space { total: stat.f_blocks.saturating_mul(stat.f_frsize), free: stat.f_bavail.saturating_mul(stat.f_frsize) })
    }
}

/// What this process has claimed.
static CLAIMED: Mutex<BTreeSet<u128>> = Mutex::new(BTreeSet::new());

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Claim(u128);

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&CLAIMED).remove(&self.0);
    }
}

struct SystemFile {
    file: fs::File,
    path: PathBuf,
    writable: bool,
    try_direct: bool,
    /// Opened at the first write: a sealed segment that is only read costs one descriptor.
    direct: OnceLock<Option<fs::File>>,
    /// Some file systems allow the open and refuse the write.
    direct_refused: AtomicBool,
}

impl SystemFile {
    fn direct(&self) -> Option<&fs::File> {
        if !self.try_direct || self.direct_refused.load(Ordering::Relaxed) {
            return None;
        }
        let open = || {
            let flag = i32::try_from(OFlags::DIRECT.bits()).ok()?;
            fs::OpenOptions::new().write(true).custom_flags(flag).open(&self.path).ok()
        };
        self.direct.get_or_init(open).as_ref()
    }
}

fn is_aligned(offset: u64, data: &[u8]) -> bool {
    offset.is_multiple_of(DIRECT_ALIGNMENT as u64)
        && data.len().is_multiple_of(DIRECT_ALIGNMENT)
        && data.as_ptr().addr().is_multiple_of(DIRECT_ALIGNMENT)
}

impl File for SystemFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if !self.writable {
            return Err(Errno::ROFS.into());
        }
        if is_aligned(offset, data)
            && let Some(direct) = self.direct()
        {
            match direct.write_all_at(data, offset) {
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    self.direct_refused.store(true, Ordering::Relaxed);
                }
                result => return result,
            }
        }
        self.file.write_all_at(data, offset)
    }

    fn alignment(&self) -> usize {
        if self.direct().is_some() { DIRECT_ALIGNMENT } else { 1 }
    }

    fn sync(&self) -> io::Result<()> {
        if !self.writable {
            return Ok(());
        }
        self.file.sync_data()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        if !self.writable {
            return Err(Errno::ROFS.into());
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.file.set_len(bytes),
            Err(error) => Err(error.into()),
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        if !self.writable {
            return Err(Errno::ROFS.into());
        }
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_what_was_written_with_and_without_the_cache() {
        for direct in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let files = SystemFiles { direct };
            let path = dir.path().join("a");
            let file = files.create(&path).unwrap();
            assert_eq!(files.create(&path).map(|_| ()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            file.allocate(16_384).unwrap();
            assert_eq!(file.len().unwrap(), 16_384);
            let mut data = vec![0; 3 * DIRECT_ALIGNMENT];
            let start = data.as_ptr().align_offset(DIRECT_ALIGNMENT);
            data[start..start + DIRECT_ALIGNMENT].fill(7);
            file.write_at(4096, &data[start..start + DIRECT_ALIGNMENT]).unwrap();
            file.write_at(100, b"unaligned").unwrap();
            file.sync().unwrap();
            files.sync_dir(dir.path()).unwrap();
            let mut back = [0; 4096];
            files.open(&path).unwrap().read_at(4096, &mut back).unwrap();
            assert_eq!(back, [7; 4096]);
            let past = file.read_at(16_380, &mut back).unwrap_err();
            assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
            assert_eq!(files.list(dir.path()).unwrap(), [PathBuf::from("a")]);
            assert!(files.space(dir.path()).unwrap().total > 0);
        }
    }

    #[test]
    fn a_lock_is_held_by_one_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let files = SystemFiles { direct: false };
        let path = dir.path().join("lock");
        let held = files.lock(&path).unwrap();
        assert!(held.is_some());
        assert!(files.lock(&path).unwrap().is_none());
        drop(held);
        assert!(files.lock(&path).unwrap().is_some());
    }
}
