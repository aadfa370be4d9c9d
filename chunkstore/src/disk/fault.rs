//! A file system that breaks on command, around any other: for tests and for drills.
//!
//! Owns: faults and the count of calls. Not: storage; that is the inner file system's.
//! Holds: (1) without a fault set it changes nothing; (2) after [`FaultyFiles::drop_unsynced`] a file
//! holds what was written before its last honest sync; creation, renaming and removal of files are
//! taken as durable at once.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rustix::io::Errno;

use super::{buffer::AlignedBuffer, state::lock};
use crate::{
    env::{File, FileSystem, Space},
    format::BLOCK,
};

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`FileSystem::open`]
    Open,
    /// [`FileSystem::create`]
    Create,
    /// [`FileSystem::list`]
    List,
    /// [`FileSystem::create_dir_all`]
    CreateDir,
    /// [`FileSystem::rename`]
    Rename,
    /// [`FileSystem::remove`]
    Remove,
    /// [`FileSystem::sync_dir`]
    SyncDir,
    /// [`FileSystem::space`]
    Space,
    /// [`File::read_at`]
    Read,
    /// [`File::write_at`]
    Write,
    /// [`File::sync`]
    Sync,
    /// [`File::allocate`]
    Allocate,
    /// [`File::set_len`]
    SetLen,
    /// [`FileSystem::lock`]
    Lock,
}

/// Number of kinds of calls.
const CALLS: usize = Call::Lock as usize + 1;

impl Call {
    fn changes(self) -> bool {
        !matches!(self, Self::Open | Self::List | Self::Space | Self::Read | Self::Lock)
    }
}

struct Planned {
    /// `None`: any kind.
    call: Option<Call>,
    /// Matching calls until it strikes, from 1.
    left: u64,
    errno: i32,
    /// Strikes ever after, too.
    lasting: bool,
}

/// A page as it was before a write that is not synced.
struct Before {
    path: PathBuf,
    file: Arc<dyn File>,
    offset: u64,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct State {
    calls: [u64; CALLS],
    planned: Vec<Planned>,
    fail_sync: bool,
    full: bool,
    read_only: bool,
    lie_on_sync: bool,
    keep_before: bool,
    short_write: Option<usize>,
    before: Vec<Before>,
}

impl State {
    fn call(&mut self, call: Call) -> io::Result<()> {
        if let Some(count) = self.calls.get_mut(call as usize) {
            *count += 1;
        }
        let mut strikes = None;
        for planned in &mut self.planned {
            if planned.call.is_none_or(|wanted| wanted == call) {
                planned.left = planned.left.saturating_sub(1);
                if planned.left == 0 {
                    strikes.get_or_insert(planned.errno);
                }
            }
        }
        self.planned.retain(|planned| planned.left > 0 || planned.lasting);
        if let Some(errno) = strikes {
            return Err(io::Error::from_raw_os_error(errno));
        }
        if self.read_only && call.changes() {
            return Err(Errno::ROFS.into());
        }
        if self.full && call == Call::Allocate {
            return Err(Errno::NOSPC.into());
        }
        if self.fail_sync && call == Call::Sync {
            return Err(Errno::IO.into());
        }
        Ok(())
    }
}

/// The file system with faults. Clones share their faults.
#[derive(Clone)]
pub struct FaultyFiles {
    inner: Arc<dyn FileSystem>,
    state: Arc<Mutex<State>>,
}

impl FaultyFiles {
    /// Without a fault, around `inner`.
    pub fn new(inner: Arc<dyn FileSystem>) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// Calls so far, of all kinds.
    pub fn calls(&self) -> u64 {
        lock(&self.state).calls.iter().sum()
    }

    /// Calls so far, of one kind.
    pub fn calls_of(&self, call: Call) -> u64 {
        lock(&self.state).calls.get(call as usize).copied().unwrap_or(0)
    }

    /// Makes the `n`-th (from 1) call of this kind (`None`: of any) from now on fail once.
    pub fn fail_nth(&self, call: Option<Call>, n: u64, errno: i32) {
        lock(&self.state).planned.push(Planned { call, left: n.max(1), errno, lasting: false });
    }

    /// Makes the `n`-th (from 1) call of this kind (`None`: of any) and all later ones fail.
    pub fn fail_from(&self, call: Option<Call>, n: u64, errno: i32) {
        lock(&self.state).planned.push(Planned { call, left: n.max(1), errno, lasting: true });
    }

    /// Makes every sync of a file fail with `EIO`.
    pub fn fail_sync(&self, on: bool) {
        lock(&self.state).fail_sync = on;
    }

    /// No space: nothing can be allocated, writes past a file's end fail with `ENOSPC`, no space is free.
    pub fn full(&self, on: bool) {
        lock(&self.state).full = on;
    }

    /// Every call that changes something fails with `EROFS`.
    pub fn read_only(&self, on: bool) {
        lock(&self.state).read_only = on;
    }

    /// Syncs succeed and do nothing that outlives [`Self::drop_unsynced`].
    pub fn lie_on_sync(&self, on: bool) {
        lock(&self.state).lie_on_sync = on;
    }

    /// The next write stops after `bytes` bytes (down to a whole page) and fails with `EIO`.
    pub fn short_write_then_error(&self, bytes: usize) {
        lock(&self.state).short_write = Some(bytes);
    }

    /// From now on remembers what unsynced writes replace, as [`Self::drop_unsynced`] needs it. Costs a
    /// read a write.
    pub fn track_unsynced(&self, on: bool) {
        lock(&self.state).keep_before = on;
    }

    /// Ends all faults.
    pub fn heal(&self) {
        let mut state = lock(&self.state);
        state.planned.clear();
        state.short_write = None;
        (state.fail_sync, state.full, state.read_only, state.lie_on_sync) = (false, false, false, false);
    }

    /// A power cut: all writes that were not synced are undone.
    ///
    /// # Errors
    /// When the inner file system fails.
    pub fn drop_unsynced(&self) -> io::Result<()> {
        self.drop_unsynced_pages(&mut || true)
    }

    /// A power cut that loses those unsynced pages for which `loses` says so.
    ///
    /// # Errors
    /// When the inner file system fails.
    pub fn drop_unsynced_pages(&self, loses: &mut dyn FnMut() -> bool) -> io::Result<()> {
        let before = std::mem::take(&mut lock(&self.state).before);
        for page in before.into_iter().rev() {
            if loses() {
                page.file.write_at(page.offset, AlignedBuffer::block_of(&page.bytes).as_slice())?;
            }
        }
        Ok(())
    }

    /// Flips a bit of a file, as rot would.
    ///
    /// # Errors
    /// When the file is shorter, or the inner file system fails.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        let file = self.inner.open(path)?;
        let start = offset / BLOCK as u64 * BLOCK as u64;
        let len = file.len()?.saturating_sub(start).min(BLOCK as u64);
        let mut page = vec![0; usize::try_from(len).unwrap_or(0)];
        file.read_at(start, &mut page)?;
        let byte = usize::try_from(offset - start).ok().and_then(|at| page.get_mut(at));
        *byte.ok_or(io::ErrorKind::UnexpectedEof)? ^= 1 << (bit % 8);
        if page.len() == BLOCK {
            file.write_at(start, AlignedBuffer::block_of(&page).as_slice())?;
        } else {
            file.write_at(start, &page)?;
        }
        file.sync()
    }

    fn call(&self, call: Call) -> io::Result<()> {
        lock(&self.state).call(call)
    }

    fn wrap(&self, path: &Path, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(FaultyFile { path: path.to_owned(), file, state: self.state.clone() })
    }
}

impl FileSystem for FaultyFiles {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.call(Call::Open)?;
        Ok(self.wrap(path, self.inner.open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.call(Call::Create)?;
        Ok(self.wrap(path, self.inner.create(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.call(Call::List)?;
        self.inner.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.call(Call::CreateDir)?;
        self.inner.create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Call::Rename)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(Call::Remove)?;
        self.inner.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(Call::SyncDir)?;
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.call(Call::Lock)?;
        self.inner.lock(path)
    }

    fn claim(&self, id: u128) -> Option<Box<dyn Send + Sync>> {
        self.inner.claim(id)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.call(Call::Space)?;
        let space = self.inner.space(dir)?;
        let full = lock(&self.state).full;
        Ok(if full { Space { free: 0, ..space } } else { space })
    }
}

struct FaultyFile {
    path: PathBuf,
    file: Arc<dyn File>,
    state: Arc<Mutex<State>>,
}

impl FaultyFile {
    /// Remembers the pages that a write replaces.
    fn keep_before(&self, state: &mut State, offset: u64, len: usize) -> io::Result<()> {
        let file_bytes = self.file.len()?;
        let end = offset.saturating_add(len as u64).min(file_bytes);
        let mut page = offset / BLOCK as u64 * BLOCK as u64;
        while page < end {
            let held = (file_bytes - page).min(BLOCK as u64);
            let mut bytes = vec![0; usize::try_from(held).unwrap_or(0)];
            self.file.read_at(page, &mut bytes)?;
            state.before.push(Before { path: self.path.clone(), file: self.file.clone(), offset: page, bytes });
            page += BLOCK as u64;
        }
        Ok(())
    }
}

impl File for FaultyFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        lock(&self.state).call(Call::Read)?;
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.call(Call::Write)?;
        if state.full && offset.saturating_add(data.len() as u64) > self.file.len()? {
            return Err(Errno::NOSPC.into());
        }
        if state.keep_before {
            self.keep_before(&mut state, offset, data.len())?;
        }
        let short = state.short_write.take();
        drop(state);
        match short {
            None => self.file.write_at(offset, data),
            Some(bytes) => {
                let whole = bytes.min(data.len()) / BLOCK * BLOCK;
                if let Some(part) = data.get(..whole).filter(|part| !part.is_empty()) {
                    self.file.write_at(offset, part)?;
                }
                Err(Errno::IO.into())
            }
        }
    }

    fn alignment(&self) -> usize {
        self.file.alignment()
    }

    fn sync(&self) -> io::Result<()> {
        {
            let mut state = lock(&self.state);
            state.call(Call::Sync)?;
            if state.lie_on_sync {
                return Ok(());
            }
            state.before.retain(|page| page.path != self.path);
        }
        self.file.sync()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        lock(&self.state).call(Call::Allocate)?;
        self.file.allocate(bytes)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        lock(&self.state).call(Call::SetLen)?;
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
