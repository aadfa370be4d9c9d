//! The metadata database of one machine, in memory, with what a crash and a failing disk do to it.
//!
//! After a power cut a prefix of the batches that were written since the last synced one is left, as with a
//! write-ahead log. A write that fails leaves the database as it was before or after, and nothing more is
//! written until it is opened again, as RocksDB does. Writes fail by chance, or the n-th call of any kind fails.
//!
//! Owns: this model of [`kluis_chunkstore::database`]. Not: RocksDB, which the same operations are held against
//! (`tests/tests/database_model.rs`).
//! Holds: (1) a synced batch, and all before it, survives; (2) a handle of a process that crashed does nothing.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use kluis_chunkstore::database::{Batch, Database, Databases, Edit, Family, Instant, Pair, Scan};

use super::rng::Rng;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type Families = BTreeMap<String, Map>;

#[derive(Default)]
struct State {
    now: Families,
    synced: Families,
    pending: Vec<Batch>,
    /// A write failed: nothing is written until the next opening.
    broken: bool,
}

fn apply(families: &mut Families, batch: &Batch) {
    for edit in &batch.0 {
        match edit {
            Edit::Put { family, key, value } => {
                families.entry((*family).to_owned()).or_default().insert(key.clone(), value.clone());
            }
            Edit::Delete { family, key } => {
                if let Some(map) = families.get_mut(*family) {
                    map.remove(key);
                }
            }
            Edit::DeleteRange { family, start, end } => {
                if let Some(map) = families.get_mut(*family)
                    && start < end
                {
                    let gone: Vec<Vec<u8>> = map.range(start.clone()..end.clone()).map(|(key, _)| key.clone()).collect();
                    for key in gone {
                        map.remove(&key);
                    }
                }
            }
        }
    }
}

#[derive(Default)]
struct Machine {
    databases: BTreeMap<PathBuf, State>,
    life: u64,
    /// Writes that fail, of a million.
    failing_writes: u64,
    /// The call that is to fail.
    nth: Option<Nth>,
    injected: u64,
    /// Whether a vote was written since somebody last looked.
    voted: bool,
}

/// Where a replica keeps its vote: the family and the key.
const VOTE: (&str, &[u8]) = ("meta", b"vote");

fn is_vote(edit: &Edit) -> bool {
    matches!(edit, Edit::Put { family, key, .. } if (*family, key.as_slice()) == VOTE)
}

/// A call that is to fail.
struct Nth {
    /// Calls until then, it included.
    left: u64,
    /// Whether a write that fails is on the medium all the same.
    lands: bool,
}

impl Machine {
    /// Counts a call. `Some` when it is the one that fails: whether it lands if it writes.
    fn call(&mut self) -> Option<bool> {
        let nth = self.nth.as_mut()?;
        nth.left = nth.left.saturating_sub(1);
        if nth.left > 0 {
            return None;
        }
        self.injected += 1;
        self.nth.take().map(|nth| nth.lands)
    }
}

fn failure() -> io::Error {
    io::Error::from_raw_os_error(5)
}

/// The databases of one machine. Clones are the same machine; [`SimDatabases::crash`] makes older ones useless.
#[derive(Clone)]
pub struct SimDatabases {
    machine: Arc<Mutex<Machine>>,
    rng: Arc<Mutex<Rng>>,
    life: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimDatabases {
    /// A machine without databases.
    pub fn new(rng: Rng) -> Self {
        Self { machine: Arc::default(), rng: Arc::new(Mutex::new(rng)), life: 0 }
    }

    /// As [`super::disk::SimFiles::crash`].
    #[must_use]
    pub fn crash(&self, power: bool) -> Self {
        let mut machine = lock(&self.machine);
        machine.life += 1;
        for state in machine.databases.values_mut() {
            let pending = std::mem::take(&mut state.pending);
            if power {
                let keep = lock(&self.rng).below(pending.len() as u64 + 1) as usize;
                for batch in pending.iter().take(keep) {
                    apply(&mut state.synced, batch);
                }
                state.now.clone_from(&state.synced);
            } else {
                for batch in &pending {
                    apply(&mut state.synced, batch);
                }
            }
            state.broken = false;
        }
        Self { machine: self.machine.clone(), rng: self.rng.clone(), life: machine.life }
    }

    /// Removes everything: somebody put an empty disk in its place.
    pub fn empty(&self) {
        lock(&self.machine).databases.clear();
    }

    /// Sets how many writes fail, of a million.
    pub fn set_failing_writes(&self, per_million: u64) {
        lock(&self.machine).failing_writes = per_million;
    }

    /// Makes the `n`-th call (from 1) from now on fail, be it opening, reading or writing; if it writes, the batch is on
    /// the medium all the same if `lands`.
    pub fn fail_nth(&self, n: u64, lands: bool) {
        lock(&self.machine).nth = Some(Nth { left: n.max(1), lands });
    }

    /// Whether that call came, and failed; or none was to.
    pub fn nth_struck(&self) -> bool {
        lock(&self.machine).nth.is_none()
    }

    /// No call is to fail any more.
    pub fn heal_nth(&self) {
        lock(&self.machine).nth = None;
    }

    /// Whether a vote was written since this was last asked.
    pub fn take_voted(&self) -> bool {
        std::mem::take(&mut lock(&self.machine).voted)
    }

    /// The vote as the process has written it.
    pub fn vote(&self) -> Option<Vec<u8>> {
        self.find_vote(|state| &state.now)
    }

    /// The vote that the worst power cut at this moment would leave.
    pub fn durable_vote(&self) -> Option<Vec<u8>> {
        self.find_vote(|state| &state.synced)
    }

    fn find_vote(&self, which: impl Fn(&State) -> &Families) -> Option<Vec<u8>> {
        lock(&self.machine).databases.values().find_map(|state| which(state).get(VOTE.0)?.get(VOTE.1).cloned())
    }

    /// Calls that failed.
    pub fn injected(&self) -> u64 {
        lock(&self.machine).injected
    }
}

impl Databases for SimDatabases {
    fn exists(&self, dir: &Path) -> bool {
        lock(&self.machine).databases.contains_key(dir)
    }

    fn open(&self, dir: &Path, families: &[Family], create: bool) -> io::Result<Arc<dyn Database>> {
        let mut machine = lock(&self.machine);
        if machine.life != self.life {
            return Err(gone());
        }
        if machine.call().is_some() {
            return Err(failure());
        }
        if !create && !machine.databases.contains_key(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let state = machine.databases.entry(dir.to_owned()).or_default();
        for family in families {
            state.now.entry(family.name.to_owned()).or_default();
            state.synced.entry(family.name.to_owned()).or_default();
        }
        Ok(Arc::new(SimDatabase { all: self.clone(), dir: dir.to_owned() }))
    }
}

fn gone() -> io::Error {
    io::Error::other("the process that held this has crashed")
}

struct SimDatabase {
    all: SimDatabases,
    dir: PathBuf,
}

impl SimDatabase {
    fn read<T>(&self, work: impl FnOnce(&State) -> io::Result<T>) -> io::Result<T> {
        let mut machine = lock(&self.all.machine);
        if machine.life != self.all.life {
            return Err(gone());
        }
        if machine.call().is_some() {
            return Err(failure());
        }
        work(machine.databases.get(&self.dir).ok_or_else(gone)?)
    }

    /// Whether the next write fails, and if so whether it lands.
    fn strikes(&self, machine: &mut Machine) -> Option<bool> {
        let nth = machine.call();
        if nth.is_some() || machine.failing_writes == 0 {
            return nth;
        }
        let mut rng = lock(&self.all.rng);
        if !rng.chance(machine.failing_writes) {
            return None;
        }
        machine.injected += 1;
        Some(rng.chance(500_000))
    }
}

fn map<'a>(families: &'a Families, family: &str) -> io::Result<&'a Map> {
    families.get(family).ok_or_else(|| io::Error::other(format!("column family {family} is missing")))
}

impl Database for SimDatabase {
    fn get(&self, family: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.read(|state| map(&state.now, family).map(|map| map.get(key).cloned()))
    }

    fn scan(&self, family: &str, scan: Scan<'_>) -> io::Result<Vec<Pair>> {
        self.read(|state| map(&state.now, family).map(|map| pairs(map, scan)))
    }

    fn write(&self, batch: &Batch, sync: bool) -> io::Result<()> {
        let mut machine = lock(&self.all.machine);
        if machine.life != self.all.life {
            return Err(gone());
        }
        if machine.databases.get(&self.dir).ok_or_else(gone)?.broken {
            return Err(io::Error::other("an earlier write failed"));
        }
        let strikes = self.strikes(&mut machine);
        let state = machine.databases.get_mut(&self.dir).ok_or_else(gone)?;
        if let Some(lands) = strikes {
            state.broken = true;
            if lands {
                // It may be on the medium all the same.
                state.pending.push(batch.clone());
            }
            return Err(failure());
        }
        apply(&mut state.now, batch);
        state.pending.push(batch.clone());
        if sync {
            for batch in std::mem::take(&mut state.pending) {
                apply(&mut state.synced, &batch);
            }
        }
        if batch.0.iter().any(is_vote) {
            machine.voted = true;
        }
        Ok(())
    }

    fn freeze(&self) -> Box<dyn Instant + '_> {
        // An instant without families fails every read of it.
        let families = self.read(|state| Ok(state.now.clone())).unwrap_or_default();
        Box::new(Frozen { families, all: self.all.clone() })
    }
}

fn pairs(map: &Map, scan: Scan<'_>) -> Vec<Pair> {
    if scan.end.is_some_and(|end| end <= scan.start) {
        return Vec::new();
    }
    let range = match scan.end {
        Some(end) => map.range(scan.start.to_vec()..end.to_vec()),
        None => map.range(scan.start.to_vec()..),
    };
    let ordered: Box<dyn Iterator<Item = (&Vec<u8>, &Vec<u8>)>> = if scan.back { Box::new(range.rev()) } else { Box::new(range) };
    let mut found: Vec<Pair> = Vec::new();
    let mut bytes = 0usize;
    for (key, value) in ordered.take(scan.limit) {
        bytes = bytes.saturating_add(value.len());
        if bytes > scan.bytes_max && !found.is_empty() {
            break;
        }
        found.push((key.clone(), value.clone()));
    }
    found
}

struct Frozen {
    families: Families,
    all: SimDatabases,
}

impl Frozen {
    fn map(&self, family: &str) -> io::Result<&Map> {
        if lock(&self.all.machine).call().is_some() {
            return Err(failure());
        }
        map(&self.families, family)
    }
}

impl Instant for Frozen {
    fn get(&self, family: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.map(family)?.get(key).cloned())
    }

    fn each(&self, family: &str, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> io::Result<()> {
        for (key, value) in self.map(family)? {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}
