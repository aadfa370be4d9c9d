//! Load in the background: writers and readers that go on whatever happens to the cluster.
//!
//! Owns: what was acknowledged, and the comparison of every byte of it. Not: whether a failure is allowed
//! at that moment (the test knows).
//! Holds: (1) a document counts from the moment its 201 arrived; (2) wrong bytes are never taken for a
//! failure: they are kept apart and fail the test; (3) the content follows from the seed, so nothing is kept;
//! (4) a document that was not acknowledged may exist, but only as it was sent.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::api::{Api, Failure, content};

/// Bytes after which only the smallest documents are written: a person's quota is 5 GB, and everything is
/// read back in the end.
const BYTES_MAX: u64 = 600 << 20;
/// How long a writer or reader keeps at one document before it goes on with another.
const PATIENCE: Duration = Duration::from_secs(15);
/// Documents that are read back at a time.
const VERIFIERS: usize = 6;
/// What the names of documents begin with; the seed of the content follows.
const NAME: &str = "load ";
/// Failures whose text is kept.
const SAMPLES_MAX: usize = 20;

/// A document whose 201 arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its id.
    pub id: String,
    /// What its content follows from.
    pub seed: u64,
    /// Its length, in bytes.
    pub len: usize,
}

/// What load came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// Every document that was acknowledged.
    pub acknowledged: Vec<Acknowledged>,
    /// The sizes that were written.
    pub sizes: Vec<usize>,
    /// Puts that failed.
    pub put_failures: u64,
    /// Gets that failed.
    pub get_failures: u64,
    /// Gets that succeeded.
    pub gets: u64,
    /// Documents that came back with other bytes.
    pub damaged: Vec<String>,
    /// The longest time without any success. For people: no test depends on it.
    pub longest_stall_ms: u64,
    /// Some of the failures, in words.
    pub samples: Vec<String>,
}

struct Shared {
    api: Api,
    sizes: Vec<usize>,
    stop: AtomicBool,
    next_seed: AtomicU64,
    bytes: AtomicU64,
    puts: AtomicU64,
    gets: AtomicU64,
    put_failures: AtomicU64,
    get_failures: AtomicU64,
    acknowledged: Mutex<Vec<Acknowledged>>,
    damaged: Mutex<Vec<String>>,
    samples: Mutex<Vec<String>>,
    progress: Mutex<(Instant, u64)>,
}

impl Shared {
    fn succeeded(&self) {
        let mut progress = self.progress.lock().unwrap();
        let now = Instant::now();
        let stall = u64::try_from((now - progress.0).as_millis()).unwrap_or(u64::MAX);
        *progress = (now, progress.1.max(stall));
    }

    fn failed(&self, what: &str, failure: &Failure) {
        let mut samples = self.samples.lock().unwrap();
        if samples.len() < SAMPLES_MAX {
            samples.push(format!("{what}: {failure}"));
        }
    }

    async fn write_one(&self) {
        let seed = self.next_seed.fetch_add(1, Ordering::Relaxed);
        let full = self.bytes.load(Ordering::Relaxed) >= BYTES_MAX;
        let turn = usize::try_from(seed % self.sizes.len() as u64).unwrap();
        let len = if full { *self.sizes.iter().min().unwrap() } else { self.sizes[turn] };
        match self.api.put(&format!("{NAME}{seed}"), content(seed, len)).await {
            Ok(doc) => {
                self.acknowledged.lock().unwrap().push(Acknowledged { id: doc.id, seed, len });
                self.bytes.fetch_add(len as u64, Ordering::Relaxed);
                self.puts.fetch_add(1, Ordering::Relaxed);
                self.succeeded();
            }
            Err(failure) => {
                self.put_failures.fetch_add(1, Ordering::Relaxed);
                self.failed("put", &failure);
            }
        }
    }

    async fn read_one(&self, random: u64) {
        let chosen = {
            let all = self.acknowledged.lock().unwrap();
            all.get(usize::try_from(random % (all.len() as u64).max(1)).unwrap()).cloned()
        };
        let Some(document) = chosen else {
            sleep(Duration::from_millis(20)).await;
            return;
        };
        match self.api.get(&document.id).await {
            Ok(body) if body == content(document.seed, document.len) => {
                self.gets.fetch_add(1, Ordering::Relaxed);
                self.succeeded();
            }
            Ok(body) => self.damaged.lock().unwrap().push(format!("{document:?} came back with other bytes ({} of them)", body.len())),
            // An acknowledged document that is not there is lost, not late.
            Err(failure) if failure.status == Some(404) => self.damaged.lock().unwrap().push(format!("{document:?}: {failure}")),
            Err(failure) => {
                self.get_failures.fetch_add(1, Ordering::Relaxed);
                self.failed("get", &failure);
            }
        }
    }
}

/// Writers and readers at work.
pub struct Load {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts them. Each writer stores documents of these sizes in turn; each reader reads back what was
    /// acknowledged so far, in any order.
    pub fn start(api: &Api, writers: usize, readers: usize, sizes: &[usize]) -> Self {
        assert!(!sizes.is_empty(), "load needs sizes");
        let shared = Arc::new(Shared {
            api: api.patience(PATIENCE),
            sizes: sizes.to_vec(),
            stop: AtomicBool::new(false),
            next_seed: AtomicU64::new(1),
            bytes: AtomicU64::new(0),
            puts: AtomicU64::new(0),
            gets: AtomicU64::new(0),
            put_failures: AtomicU64::new(0),
            get_failures: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            damaged: Mutex::default(),
            samples: Mutex::default(),
            progress: Mutex::new((Instant::now(), 0)),
        });
        let mut tasks = Vec::new();
        for _ in 0..writers {
            let shared = Arc::clone(&shared);
            tasks.push(tokio::spawn(async move {
                while !shared.stop.load(Ordering::Relaxed) {
                    shared.write_one().await;
                }
            }));
        }
        for reader in 0..readers {
            let shared = Arc::clone(&shared);
            tasks.push(tokio::spawn(async move {
                let mut turn = 0_u64;
                while !shared.stop.load(Ordering::Relaxed) {
                    turn += 1;
                    let random = (turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16) ^ reader as u64;
                    shared.read_one(random).await;
                }
            }));
        }
        Self { shared, tasks }
    }

    /// Puts that were acknowledged so far.
    pub fn puts(&self) -> u64 {
        self.shared.puts.load(Ordering::Relaxed)
    }

    /// Gets that succeeded so far.
    pub fn gets(&self) -> u64 {
        self.shared.gets.load(Ordering::Relaxed)
    }

    /// Stops when every writer and reader is done with the document it is at.
    pub async fn stop(self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a writer or reader panicked");
        }
        let shared = &self.shared;
        let acknowledged = shared.acknowledged.lock().unwrap().clone();
        Report {
            acknowledged,
            sizes: shared.sizes.clone(),
            put_failures: shared.put_failures.load(Ordering::Relaxed),
            get_failures: shared.get_failures.load(Ordering::Relaxed),
            gets: shared.gets.load(Ordering::Relaxed),
            damaged: shared.damaged.lock().unwrap().clone(),
            longest_stall_ms: shared.progress.lock().unwrap().1,
            samples: shared.samples.lock().unwrap().clone(),
        }
    }
}

impl Report {
    /// Reads every acknowledged document back and compares all of it.
    ///
    /// # Panics
    /// When one cannot be read or has other bytes, now or while the load ran.
    pub async fn verify_all(&self, api: &Api) {
        println!(
            "{} documents acknowledged, {} read under load; failed: {} puts, {} gets; longest stall {} ms",
            self.acknowledged.len(),
            self.gets,
            self.put_failures,
            self.get_failures,
            self.longest_stall_ms
        );
        let wrong: Vec<String> = stream::iter(self.acknowledged.clone())
            .map(|document| {
                let api = api.clone();
                async move {
                    match api.get(&document.id).await {
                        Ok(body) if body == content(document.seed, document.len) => None,
                        Ok(body) => Some(format!("{document:?} came back with other bytes ({} of them)", body.len())),
                        Err(failure) => Some(format!("{document:?}: {failure}")),
                    }
                }
            })
            .buffer_unordered(VERIFIERS)
            .filter_map(|wrong| async move { wrong })
            .collect()
            .await;
        assert!(self.damaged.is_empty(), "read under load: {:#?}", self.damaged);
        assert!(!self.acknowledged.is_empty(), "nothing was stored, so nothing was shown; {:#?}", self.samples);
        assert!(wrong.is_empty(), "{} of {} acknowledged documents: {wrong:#?}", wrong.len(), self.acknowledged.len());
    }

    /// Reads every other document of the load: what was not acknowledged may be there or not, but never with
    /// other bytes, and no put left two documents. Returns how many there are.
    ///
    /// # Panics
    /// When one has a size or bytes that nobody sent, or two are of the same put.
    pub async fn verify_unacknowledged(&self, api: &Api) -> usize {
        let listed = api.list().await.expect("documents can be listed");
        let mut seeds = BTreeSet::new();
        let mut rest = Vec::new();
        for doc in listed {
            let Some(seed) = doc.name.strip_prefix(NAME).and_then(|seed| seed.parse::<u64>().ok()) else { continue };
            assert!(seeds.insert(seed), "one put left two documents: {doc:?}");
            if !self.acknowledged.iter().any(|known| known.id == doc.id) {
                let len = usize::try_from(doc.size).unwrap();
                assert!(self.sizes.contains(&len), "a document of a size that nobody sent: {doc:?}");
                rest.push((doc, seed, len));
            }
        }
        for (doc, seed, len) in &rest {
            let body = api.get(&doc.id).await.unwrap_or_else(|e| panic!("{doc:?} is listed and cannot be read: {e}"));
            assert!(body == content(*seed, *len), "{doc:?} has other bytes");
        }
        rest.len()
    }
}
