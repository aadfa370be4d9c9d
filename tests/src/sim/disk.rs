//! The disks of one machine: files that remember what was synced and what was not.
//!
//! At a crash every page that was written since the last sync of its file is kept, lost or torn, each for itself; a
//! length that was not synced is the old or the new one; of the changes to directories that were not synced a prefix
//! is kept. A sync that fails drops the pages that it should have written, as Linux does: the next one
//! succeeds and knows nothing of them. Beyond that a disk may rot, write elsewhere, be full or read-only.
//!
//! Owns: this model. Not: when which fault comes ([`super::plan`]), nor the account of what is durable, which it keeps
//! as it goes ([`super::ledger`]).
//! Holds: (1) what a successful sync covered survives every crash; (2) a handle of a process that crashed can do
//! nothing; (3) faults lie below directories, so that each disk of a machine has its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use kluis_chunkstore::{
    env::{File, FileSystem, Space},
    format::segment,
    ids::ChunkId,
};

use super::{ledger::Ledger, rng::Rng};

const PAGE: usize = 4096;
/// What a disk may lose half of: the least that a medium writes at once.
const SECTOR: usize = 512;
/// Size of a file system.
const TOTAL_BYTES: u64 = 4 << 30;

type Page = Box<[u8; PAGE]>;

#[derive(Default)]
struct Content {
    pages: BTreeMap<u64, Page>,
    len: u64,
    /// Pages written since the last sync, as they were then (`None`: not there).
    before: BTreeMap<u64, Option<Page>>,
    synced_len: u64,
}

impl Content {
    fn page_mut(&mut self, number: u64) -> &mut Page {
        let old = self.pages.get(&number);
        self.before.entry(number).or_insert_with(|| old.cloned());
        self.pages.entry(number).or_insert_with(|| Box::new([0; PAGE]))
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let within = (at % PAGE as u64) as usize;
            let count = rest.len().min(PAGE - within);
            self.page_mut(at / PAGE as u64)[within..within + count].copy_from_slice(&rest[..count]);
            at += count as u64;
            rest = &rest[count..];
        }
        self.len = self.len.max(offset + data.len() as u64);
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset + buffer.len() as u64 > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let within = (at % PAGE as u64) as usize;
            let count = rest.len().min(PAGE - within);
            let (part, more) = rest.split_at_mut(count);
            match self.pages.get(&(at / PAGE as u64)) {
                Some(page) => part.copy_from_slice(&page[within..within + count]),
                None => part.fill(0),
            }
            at += count as u64;
            rest = more;
        }
        Ok(())
    }

    fn set_len(&mut self, len: u64) {
        let first_gone = len.div_ceil(PAGE as u64);
        let gone: Vec<u64> = self.pages.range(first_gone..).map(|(n, _)| *n).collect();
        for number in gone {
            if let Some(page) = self.pages.remove(&number) {
                self.before.entry(number).or_insert(Some(page));
            }
        }
        let within = (len % PAGE as u64) as usize;
        if within > 0 && len < self.len && self.pages.contains_key(&(len / PAGE as u64)) {
            self.page_mut(len / PAGE as u64)[within..].fill(0);
        }
        self.len = len;
    }

    fn sync(&mut self) {
        self.before.clear();
        self.synced_len = self.len;
    }

    /// Pages that were written since the last sync.
    fn unsynced(&self) -> Vec<u64> {
        self.before.keys().copied().collect()
    }

    /// The bytes of pages in order, in one piece where they lie together.
    fn runs(&self, pages: &[u64]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for number in pages {
            let Some(page) = self.pages.get(number) else { continue };
            let offset = number * PAGE as u64;
            match runs.last_mut() {
                Some((from, bytes)) if *from + bytes.len() as u64 == offset => bytes.extend_from_slice(&page[..]),
                _ => runs.push((offset, page.to_vec())),
            }
        }
        runs
    }

    /// A sync that failed: each page is on the medium or dropped from the cache for good.
    fn drop_pages(&mut self, rng: &mut Rng) {
        for (number, old) in std::mem::take(&mut self.before) {
            if rng.chance(500_000) {
                self.put_back(number, old);
            }
        }
        self.synced_len = self.len;
    }

    fn put_back(&mut self, number: u64, old: Option<Page>) {
        match old {
            Some(page) => {
                self.pages.insert(number, page);
            }
            None => {
                self.pages.remove(&number);
            }
        }
    }

    fn crash(&mut self, rng: &mut Rng) {
        for (number, old) in std::mem::take(&mut self.before) {
            match rng.below(3) {
                0 => {}
                1 => self.put_back(number, old),
                _ => {
                    // Torn: the first sectors are new, the rest is old.
                    let cut = rng.between(1, (PAGE / SECTOR) as u64 - 1) as usize * SECTOR;
                    let old = old.unwrap_or_else(|| Box::new([0; PAGE]));
                    let page = self.pages.entry(number).or_insert_with(|| Box::new([0; PAGE]));
                    page[cut..].copy_from_slice(&old[cut..]);
                }
            }
        }
        if self.len != self.synced_len && rng.chance(500_000) {
            self.len = self.synced_len;
        }
        self.synced_len = self.len;
    }
}

type Inode = Arc<Mutex<Content>>;
/// Bytes of a file and where they begin.
type Run = (u64, Vec<u8>);

/// A change to a directory.
enum NameChange {
    Link(PathBuf, Inode),
    Unlink(PathBuf),
}

/// What is wrong with a disk, by its directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskFault {
    /// Syncs that fail, of a million.
    pub failing_syncs: u64,
    /// Reads that fail, of a million.
    pub failing_reads: u64,
    /// Writes that go to another place in the file, of a million.
    pub misdirected_writes: u64,
    /// Nothing can be written.
    pub read_only: bool,
    /// There is no room.
    pub full: bool,
}

#[derive(Default)]
struct Tree {
    names: BTreeMap<PathBuf, Inode>,
    dirs: BTreeSet<PathBuf>,
    synced: BTreeMap<PathBuf, Inode>,
    /// Changes since the last sync of a directory, in order.
    changes: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    claims: BTreeSet<u128>,
    faults: BTreeMap<PathBuf, DiskFault>,
    /// Which process's handles are good.
    life: u64,
    /// Syncs that failed, writes that were misdirected, pages that rotted.
    injected: u64,
}

struct Machine {
    tree: Mutex<Tree>,
    rng: Mutex<Rng>,
    ledger: Mutex<Ledger>,
    /// The world's time, in microseconds.
    now_us: Arc<AtomicU64>,
}

impl Machine {
    /// Tells the ledger what became durable just now, if it is of a segment; `named`: under a name that is durable too.
    fn account(&self, path: &Path, named: bool, runs: impl FnOnce() -> Vec<Run>) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if segment::parse_file_name(&name).is_none() {
            return;
        }
        let mut ledger = lock(&self.ledger);
        for (offset, bytes) in runs() {
            if offset == 0 {
                ledger.header(path, &bytes);
            }
            if named {
                ledger.durable(path, offset, &bytes, self.now_us.load(Ordering::Relaxed));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gone() -> io::Error {
    io::Error::other("the process that held this has crashed")
}

/// The file systems of one machine. Clones are the same machine; [`SimFiles::crash`] makes older ones useless.
#[derive(Clone)]
pub struct SimFiles {
    machine: Arc<Machine>,
    life: u64,
}

impl SimFiles {
    /// A machine with empty disks, in a world whose time is `now_us`.
    pub fn new(rng: Rng, now_us: Arc<AtomicU64>) -> Self {
        let machine = Machine { tree: Mutex::default(), rng: Mutex::new(rng), ledger: Mutex::default(), now_us };
        Self { machine: Arc::new(machine), life: 0 }
    }

    /// The shards of a chunk that no power cut could have taken from these disks at a moment.
    pub fn held(&self, chunk: ChunkId, at_us: u64) -> Vec<u8> {
        lock(&self.machine.ledger).held(chunk, at_us)
    }

    /// The process that used this dies, and with `power` the machine too: what was not synced may be gone. Returns the
    /// file systems for the next process.
    #[must_use]
    pub fn crash(&self, power: bool) -> Self {
        let mut tree = lock(&self.machine.tree);
        let mut rng = lock(&self.machine.rng);
        tree.life += 1;
        tree.locks.clear();
        tree.claims.clear();
        if power {
            let keep = rng.below(tree.changes.len() as u64 + 1) as usize;
            let changes = std::mem::take(&mut tree.changes);
            let mut names = std::mem::take(&mut tree.synced);
            for change in changes.into_iter().take(keep) {
                apply(&mut names, &change);
            }
            for (path, inode) in &names {
                let mut content = lock(inode);
                let unsynced = content.unsynced();
                content.crash(&mut rng);
                // What it left is on the medium.
                self.machine.account(path, true, || content.runs(&unsynced));
            }
            tree.names.clone_from(&names);
            tree.synced = names;
        }
        Self { machine: self.machine.clone(), life: tree.life }
    }

    /// Sets what is wrong with the disk in `dir`.
    pub fn set_fault(&self, dir: &Path, fault: DiskFault) {
        lock(&self.machine.tree).faults.insert(dir.to_owned(), fault);
    }

    /// Nothing is wrong with any disk any more; what was damaged stays so.
    pub fn heal(&self) {
        lock(&self.machine.tree).faults.clear();
    }

    /// Removes everything in `dir`: somebody put an empty disk in its place.
    pub fn empty(&self, dir: &Path) {
        let mut tree = lock(&self.machine.tree);
        tree.names.retain(|path, _| !path.starts_with(dir));
        tree.synced.retain(|path, _| !path.starts_with(dir));
        tree.changes.clear();
        lock(&self.machine.ledger).emptied(dir);
    }

    /// Flips a bit somewhere in a segment below `dir`.
    pub fn rot(&self, dir: &Path) -> bool {
        let mut tree = lock(&self.machine.tree);
        let mut rng = lock(&self.machine.rng);
        let files: Vec<Inode> = tree
            .names
            .iter()
            .filter(|(path, _)| path.starts_with(dir) && path.to_string_lossy().contains("segment-"))
            .map(|(_, inode)| inode.clone())
            .collect();
        if files.is_empty() {
            return false;
        }
        let inode: &Inode = rng.pick(&files);
        let mut content = lock(inode);
        let pages: Vec<u64> = content.pages.keys().copied().collect();
        if pages.is_empty() {
            return false;
        }
        let number = *rng.pick(&pages);
        let (at, bit) = (rng.below(PAGE as u64) as usize, rng.below(8));
        if let Some(page) = content.pages.get_mut(&number) {
            page[at] ^= 1 << bit;
        }
        tree.injected += 1;
        true
    }

    /// Faults that came to pass: failed syncs and reads, misdirected writes, rotten pages.
    pub fn injected(&self) -> u64 {
        lock(&self.machine.tree).injected
    }

    fn tree(&self) -> io::Result<std::sync::MutexGuard<'_, Tree>> {
        let tree = lock(&self.machine.tree);
        if tree.life == self.life { Ok(tree) } else { Err(gone()) }
    }

    fn handle(&self, path: &Path, inode: Inode) -> Arc<dyn File> {
        Arc::new(SimFile { files: self.clone(), path: path.to_owned(), inode })
    }

    fn change(&self, path: &Path, changes: impl FnOnce(&mut Tree) -> io::Result<Vec<NameChange>>) -> io::Result<()> {
        let mut tree = self.tree()?;
        if fault_of(&tree, path).read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        for change in changes(&mut tree)? {
            apply(&mut tree.names, &change);
            tree.changes.push(change);
        }
        Ok(())
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Inode>, change: &NameChange) {
    match change {
        NameChange::Link(path, inode) => {
            names.insert(path.clone(), inode.clone());
        }
        NameChange::Unlink(path) => {
            names.remove(path);
        }
    }
}

fn fault_of(tree: &Tree, path: &Path) -> DiskFault {
    tree.faults.iter().find(|(dir, _)| path.starts_with(dir)).map(|(_, fault)| fault.clone()).unwrap_or_default()
}

impl FileSystem for SimFiles {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = self.tree()?.names.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(path, inode))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = Inode::default();
        self.change(path, |tree| {
            if tree.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Ok(vec![NameChange::Link(path.to_owned(), inode.clone())])
        })?;
        Ok(self.handle(path, inode))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let tree = self.tree()?;
        if !tree.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below = |path: &PathBuf| path.parent() == Some(dir);
        let all = tree.names.keys().chain(&tree.dirs).filter(|path| below(path));
        Ok(all.filter_map(|path| path.file_name()).map(PathBuf::from).collect())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.tree()?.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(from, |tree| {
            let inode = tree.names.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
            Ok(vec![NameChange::Link(to.to_owned(), inode), NameChange::Unlink(from.to_owned())])
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(path, |tree| {
            if !tree.names.contains_key(path) {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(vec![NameChange::Unlink(path.to_owned())])
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut tree = self.tree()?;
        let fault = fault_of(&tree, dir);
        if fault.failing_syncs > 0 && lock(&self.machine.rng).chance(fault.failing_syncs) {
            tree.injected += 1;
            return Err(io::Error::from_raw_os_error(5));
        }
        // The journal of a file system is one: what came before is durable too.
        for change in std::mem::take(&mut tree.changes) {
            apply(&mut tree.synced, &change);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        if !self.tree()?.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(Held { files: self.clone(), path: path.to_owned() })))
    }

    fn claim(&self, id: u128) -> Option<Box<dyn Send + Sync>> {
        let fresh = self.tree().ok()?.claims.insert(id);
        fresh.then(|| Box::new(Claimed { files: self.clone(), id }) as Box<dyn Send + Sync>)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let tree = self.tree()?;
        let free = if fault_of(&tree, dir).full { 0 } else { TOTAL_BYTES / 2 };
        Ok(Space { total: TOTAL_BYTES, free })
    }
}

struct Held {
    files: SimFiles,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Ok(mut tree) = self.files.tree() {
            tree.locks.remove(&self.path);
        }
    }
}

struct Claimed {
    files: SimFiles,
    id: u128,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Ok(mut tree) = self.files.tree() {
            tree.claims.remove(&self.id);
        }
    }
}

struct SimFile {
    files: SimFiles,
    path: PathBuf,
    inode: Inode,
}

impl SimFile {
    /// The faults of the disk, if the process that holds this still lives.
    fn fault(&self) -> io::Result<DiskFault> {
        Ok(fault_of(&*self.files.tree()?, &self.path))
    }

    fn strikes(&self, per_million: u64) -> bool {
        let strikes = per_million > 0 && lock(&self.files.machine.rng).chance(per_million);
        if strikes {
            lock(&self.files.machine.tree).injected += 1;
        }
        strikes
    }

    /// Tells the ledger what became durable just now.
    fn account(&self, runs: impl FnOnce() -> Vec<Run>) {
        let named = lock(&self.files.machine.tree).synced.get(&self.path).is_some_and(|inode| Arc::ptr_eq(inode, &self.inode));
        self.files.machine.account(&self.path, named, runs);
    }

    fn writable(&self) -> io::Result<DiskFault> {
        let fault = self.fault()?;
        if fault.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(fault) }
    }
}

impl File for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.strikes(self.fault()?.failing_reads) {
            return Err(io::Error::from_raw_os_error(5));
        }
        lock(&self.inode).read(offset, buffer)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let fault = self.writable()?;
        let mut content = lock(&self.inode);
        if fault.full && offset + data.len() as u64 > content.len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut offset = offset;
        if self.strikes(fault.misdirected_writes) {
            // It says that it did as it was told.
            self.account(|| vec![(offset, data.to_vec())]);
            // Another place of the same file, a whole number of pages away.
            let pages = content.len / PAGE as u64;
            offset = lock(&self.files.machine.rng).below(pages.max(1)) * PAGE as u64 + offset % PAGE as u64;
        }
        content.write(offset, data);
        Ok(())
    }

    fn alignment(&self) -> usize {
        1
    }

    fn sync(&self) -> io::Result<()> {
        let fault = self.fault()?;
        let mut content = lock(&self.inode);
        if self.strikes(fault.failing_syncs) {
            content.drop_pages(&mut lock(&self.files.machine.rng));
            return Err(io::Error::from_raw_os_error(5));
        }
        let unsynced = content.unsynced();
        content.sync();
        self.account(|| content.runs(&unsynced));
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        if self.writable()?.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut content = lock(&self.inode);
        content.len = content.len.max(bytes);
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.writable()?;
        lock(&self.inode).set_len(bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.fault()?;
        Ok(lock(&self.inode).len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(seed: u64) -> SimFiles {
        let files = SimFiles::new(Rng::new(seed), Arc::default());
        files.create_dir_all(Path::new("/d")).unwrap();
        files
    }

    fn whole(files: &SimFiles, path: &str) -> Option<Vec<u8>> {
        let file = files.open(Path::new(path)).ok()?;
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        Some(bytes)
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_may_not() {
        let (mut kept, mut lost, mut torn) = (0, 0, 0);
        for seed in 0..200 {
            let files = machine(seed);
            let file = files.create(Path::new("/d/a")).unwrap();
            file.write_at(0, &[1; 8192]).unwrap();
            file.sync().unwrap();
            files.sync_dir(Path::new("/d")).unwrap();
            file.write_at(4096, &[2; 4096]).unwrap();
            files.create(Path::new("/d/b")).unwrap();
            let after = files.crash(true);
            assert!(file.write_at(0, b"late").is_err(), "a dead process writes nothing");
            let bytes = whole(&after, "/d/a").unwrap();
            assert_eq!(bytes[..4096], [1; 4096]);
            match bytes[4096..].iter().filter(|b| **b == 2).count() {
                0 => lost += 1,
                4096 => kept += 1,
                _ => torn += 1,
            }
        }
        assert!(kept > 20 && lost > 20 && torn > 20, "{kept} {lost} {torn}");
    }

    #[test]
    fn a_failed_sync_drops_pages_and_the_next_one_says_nothing_of_it() {
        let mut dropped = 0;
        for seed in 0..50 {
            let files = machine(seed);
            let file = files.create(Path::new("/d/a")).unwrap();
            file.write_at(0, &[1; 4096]).unwrap();
            files.set_fault(Path::new("/d"), DiskFault { failing_syncs: 1_000_000, ..DiskFault::default() });
            assert!(file.sync().is_err());
            files.heal();
            file.sync().unwrap();
            dropped += usize::from(whole(&files, "/d/a").unwrap()[0] == 0);
        }
        assert!((10..40).contains(&dropped), "{dropped}");
    }

    #[test]
    fn a_process_crash_loses_nothing_and_locks_are_free_again() {
        let files = machine(3);
        files.create(Path::new("/d/a")).unwrap().write_at(0, b"unsynced").unwrap();
        let held = files.lock(Path::new("/d/lock")).unwrap();
        assert!(held.is_some() && files.lock(Path::new("/d/lock")).unwrap().is_none());
        let after = files.crash(false);
        assert_eq!(whole(&after, "/d/a").unwrap(), b"unsynced");
        assert!(after.lock(Path::new("/d/lock")).unwrap().is_some());
    }
}
