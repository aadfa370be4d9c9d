//! Mixed load: workers that store, read and delete documents in any order, whatever happens to the cluster.
//!
//! Owns: what has to be there and what has to be gone. Not: faults, and load without deletions ([`crate::load`]).
//! Holds: (1) a document is there from its 201 on until somebody begins to delete it, and gone from its 204 on; a
//! deletion without an answer leaves it as either; (2) whoever deletes a document has taken it out of the list
//! first, so a reader that does not find what is still listed has found a loss.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::task::JoinHandle;

use crate::{
    api::{Api, Failure, content},
    load::Acknowledged,
    switch::Random,
};

/// How long a worker keeps at one document before it goes on with another.
const PATIENCE: Duration = Duration::from_secs(15);
/// Documents that are kept: from then on as many are deleted as are stored.
const KEPT_MAX: usize = 1_000;
/// Documents below which nothing is deleted.
const KEPT_MIN: usize = 20;
/// Documents that are looked at at a time in the end.
const VERIFIERS: usize = 6;
/// Failures whose text is kept.
const SAMPLES_MAX: usize = 20;

struct Shared {
    api: Api,
    sizes: Vec<usize>,
    stop: AtomicBool,
    next_seed: AtomicU64,
    random: Mutex<Random>,
    kept: Mutex<Vec<Acknowledged>>,
    gone: Mutex<Vec<Acknowledged>>,
    puts: AtomicU64,
    gets: AtomicU64,
    failures: AtomicU64,
    samples: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
}

/// Workers at it.
pub struct Mixed {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// What they leave behind.
#[derive(Debug)]
pub struct Outcome {
    /// Documents that have to be there.
    pub kept: Vec<Acknowledged>,
    /// Documents that have to be gone.
    pub gone: Vec<Acknowledged>,
    /// Puts that were acknowledged.
    pub puts: u64,
    /// Gets that returned the right bytes.
    pub gets: u64,
    /// Calls that failed for good.
    pub failures: u64,
    /// Some of those, in words.
    pub samples: Vec<String>,
    /// What came back wrong or was not there, while faults were made.
    pub wrong: Vec<String>,
}

impl Mixed {
    /// Starts workers over documents of these sizes.
    pub fn start(api: &Api, workers: usize, sizes: &[usize], seed: u64) -> Self {
        assert!(!sizes.is_empty(), "documents need sizes");
        let shared = Arc::new(Shared {
            api: api.patience(PATIENCE),
            sizes: sizes.to_vec(),
            stop: AtomicBool::new(false),
            next_seed: AtomicU64::new(1),
            random: Mutex::new(Random::new(seed)),
            kept: Mutex::default(),
            gone: Mutex::default(),
            puts: AtomicU64::new(0),
            gets: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            samples: Mutex::default(),
            wrong: Mutex::default(),
        });
        let workers = (0..workers).map(|_| tokio::spawn(work(Arc::clone(&shared)))).collect();
        Self { shared, workers }
    }

    /// Puts that were acknowledged so far.
    pub fn puts(&self) -> u64 {
        self.shared.puts.load(Ordering::Relaxed)
    }

    /// Stops when every worker is done with the document that it is at.
    pub async fn stop(self) -> Outcome {
        self.shared.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.expect("a worker panicked");
        }
        let shared = &self.shared;
        Outcome {
            kept: shared.kept.lock().unwrap().clone(),
            gone: shared.gone.lock().unwrap().clone(),
            puts: shared.puts.load(Ordering::Relaxed),
            gets: shared.gets.load(Ordering::Relaxed),
            failures: shared.failures.load(Ordering::Relaxed),
            samples: shared.samples.lock().unwrap().clone(),
            wrong: shared.wrong.lock().unwrap().clone(),
        }
    }
}

async fn work(shared: Arc<Shared>) {
    while !shared.stop.load(Ordering::Relaxed) {
        let (kind, choice) = {
            let mut random = shared.random.lock().unwrap();
            (random.below(10), random.number())
        };
        let kept = shared.kept.lock().unwrap().len();
        match kind {
            0..4 if kept < KEPT_MAX => shared.put().await,
            4..8 if kept > 0 => shared.get(choice).await,
            _ if kept > KEPT_MIN => shared.delete(choice).await,
            _ => shared.put().await,
        }
    }
}

impl Shared {
    fn failed(&self, what: &str, failure: &Failure) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut samples = self.samples.lock().unwrap();
        if samples.len() < SAMPLES_MAX {
            samples.push(format!("{what}: {failure}"));
        }
    }

    async fn put(&self) {
        let seed = self.next_seed.fetch_add(1, Ordering::Relaxed);
        let len = self.sizes[usize::try_from(seed % self.sizes.len() as u64).unwrap()];
        match self.api.put(&format!("mixed {seed}"), content(seed, len)).await {
            Ok(document) => {
                self.kept.lock().unwrap().push(Acknowledged { id: document.id, seed, len });
                self.puts.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) => self.failed("put", &failure),
        }
    }

    async fn get(&self, choice: u64) {
        let chosen = {
            let kept = self.kept.lock().unwrap();
            place(choice, kept.len()).and_then(|place| kept.get(place)).cloned()
        };
        let Some(document) = chosen else { return };
        match looked_at(&self.api, &document).await {
            Ok(()) => {
                self.gets.fetch_add(1, Ordering::Relaxed);
            }
            Err(Seen::Other(what)) => self.wrong.lock().unwrap().push(what),
            Err(Seen::Failed(failure)) if failure.status == Some(404) => {
                // Unless somebody deletes it just now.
                if self.kept.lock().unwrap().contains(&document) {
                    self.wrong.lock().unwrap().push(format!("{document:?}: {failure}"));
                }
            }
            Err(Seen::Failed(failure)) => self.failed("get", &failure),
        }
    }

    async fn delete(&self, choice: u64) {
        let chosen = {
            let mut kept = self.kept.lock().unwrap();
            place(choice, kept.len()).map(|place| kept.swap_remove(place))
        };
        let Some(document) = chosen else { return };
        match self.api.delete(&document.id).await {
            Ok(()) => self.gone.lock().unwrap().push(document),
            Err(failure) => self.failed("delete", &failure),
        }
    }
}

fn place(choice: u64, count: usize) -> Option<usize> {
    usize::try_from(choice.checked_rem(count as u64)?).ok()
}

/// Why a document was not read.
enum Seen {
    Other(String),
    Failed(Failure),
}

async fn looked_at(api: &Api, document: &Acknowledged) -> Result<(), Seen> {
    match api.get(&document.id).await {
        Ok(body) if body == content(document.seed, document.len) => Ok(()),
        Ok(body) => Err(Seen::Other(format!("{document:?} came back with other bytes ({} of them)", body.len()))),
        Err(failure) => Err(Seen::Failed(failure)),
    }
}

impl Outcome {
    /// Reads every document that has to be there, to the last byte, and asks for every one that has to be gone.
    ///
    /// # Panics
    /// When one is not as it has to be, or was not while faults were made.
    pub async fn verify_all(&self, api: &Api) {
        println!(
            "{} documents stored, {} deleted, {} to be read back; {} reads and {} failures meanwhile",
            self.puts,
            self.gone.len(),
            self.kept.len(),
            self.gets,
            self.failures
        );
        let kept = self.kept.iter().map(|document| (document.clone(), true));
        let gone = self.gone.iter().map(|document| (document.clone(), false));
        let wrong: Vec<String> = stream::iter(kept.chain(gone).collect::<Vec<_>>())
            .map(|(document, is_kept)| {
                let api = api.clone();
                async move {
                    match looked_at(&api, &document).await {
                        Ok(()) if is_kept => None,
                        Err(Seen::Failed(failure)) if !is_kept && failure.status == Some(404) => None,
                        Ok(()) => Some(format!("{document:?} was deleted and is back")),
                        Err(Seen::Other(what)) => Some(what),
                        Err(Seen::Failed(failure)) => Some(format!("{document:?}: {failure}")),
                    }
                }
            })
            .buffer_unordered(VERIFIERS)
            .filter_map(|wrong| async move { wrong })
            .collect()
            .await;
        assert!(self.wrong.is_empty(), "while faults were made: {:#?}", self.wrong);
        assert!(!self.kept.is_empty() && !self.gone.is_empty(), "nothing was shown: {:#?}", self.samples);
        assert!(wrong.is_empty(), "{} documents: {wrong:#?}", wrong.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_that_is_there() {
        assert_eq!(place(7, 0), None);
        assert_eq!((place(7, 1), place(7, 3)), (Some(0), Some(1)));
    }
}
