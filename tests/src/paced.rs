//! What a client notices of a fault: puts and gets that start at fixed times, and how long each takes until it
//! succeeded.
//!
//! Owns: pacing, measuring, the table. Not: the fault, and whether the figures are good enough (no test depends on how
//! fast the machine is).
//! Holds: (1) a call is timed from when it was due, not from when it was sent: one stall shows in everything that was
//! due meanwhile, as it does to people; (2) a call that fails is repeated by the client until it succeeds; what
//! never does is kept apart and fails the test; (3) so do wrong bytes.

use std::{
    fmt::{self, Write as _},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, interval},
};

use crate::api::{Api, content};

/// Time between two puts.
const PUT_EVERY: Duration = Duration::from_millis(100);
/// Time between two gets.
const GET_EVERY: Duration = Duration::from_millis(50);
/// How long a client keeps at one call.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a document.
const DOCUMENT_BYTES: usize = 40 << 10;
/// Documents that are read: those stored first.
const READ_MAX: usize = 200;

/// Puts or gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Uploads of 40 KiB.
    Put,
    /// Downloads of the same.
    Get,
}

/// A call that succeeded.
#[derive(Debug, Clone, Copy)]
struct Sample {
    kind: Kind,
    due: Instant,
    done: Instant,
}

struct Shared {
    clients: Vec<Api>,
    turn: AtomicUsize,
    seed: AtomicU64,
    stop: AtomicBool,
    stored: Mutex<Vec<(String, u64)>>,
    samples: Mutex<Vec<Sample>>,
    wrong: Mutex<Vec<String>>,
}

/// Paced calls under way.
pub struct Paced {
    shared: Arc<Shared>,
    pacers: Vec<JoinHandle<()>>,
}

impl Paced {
    /// Starts them, spread over these clients (one a gateway).
    pub fn start(clients: &[Api]) -> Self {
        let shared = Arc::new(Shared {
            clients: clients.iter().map(|client| client.patience(PATIENCE)).collect(),
            turn: AtomicUsize::new(0),
            seed: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            stored: Mutex::default(),
            samples: Mutex::default(),
            wrong: Mutex::default(),
        });
        let pace = |kind, every| tokio::spawn(pace(Arc::clone(&shared), kind, every));
        let pacers = vec![pace(Kind::Put, PUT_EVERY), pace(Kind::Get, GET_EVERY)];
        Self { shared, pacers }
    }

    /// Calls of a kind that were due from `since` on and succeeded.
    pub fn done(&self, kind: Kind, since: Instant) -> usize {
        self.shared.samples.lock().unwrap().iter().filter(|sample| sample.kind == kind && sample.due >= since).count()
    }

    /// Stops, waits for what is under way, and tells what was due from `since` on.
    ///
    /// # Panics
    /// When a call never succeeded or a document came back with other bytes.
    pub async fn stop(self, since: Instant) -> [Stall; 2] {
        self.shared.stop.store(true, Ordering::Relaxed);
        for pacer in self.pacers {
            pacer.await.expect("a pacer panicked");
        }
        let wrong = self.shared.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{wrong:#?}");
        let samples = self.shared.samples.lock().unwrap();
        [Kind::Put, Kind::Get].map(|kind| {
            let chosen = samples.iter().filter(|sample| sample.kind == kind && sample.due >= since);
            Stall::of(chosen.map(|sample| sample.done - sample.due).collect())
        })
    }
}

async fn pace(shared: Arc<Shared>, kind: Kind, every: Duration) {
    let mut calls = JoinSet::new();
    // A tick that is late keeps the time at which it was due.
    let mut ticks = interval(every);
    while !shared.stop.load(Ordering::Relaxed) {
        let due = ticks.tick().await;
        let shared = Arc::clone(&shared);
        calls.spawn(async move {
            match kind {
                Kind::Put => shared.put(due).await,
                Kind::Get => shared.get(due).await,
            }
        });
        while calls.try_join_next().is_some() {}
    }
    while let Some(ended) = calls.join_next().await {
        ended.expect("a call panicked");
    }
}

impl Shared {
    fn client(&self) -> &Api {
        &self.clients[self.turn.fetch_add(1, Ordering::Relaxed) % self.clients.len()]
    }

    fn succeeded(&self, kind: Kind, due: Instant) {
        self.samples.lock().unwrap().push(Sample { kind, due, done: Instant::now() });
    }

    fn went_wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    async fn put(&self, due: Instant) {
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        match self.client().put(&format!("paced {seed}"), content(seed, DOCUMENT_BYTES)).await {
            Ok(document) => {
                self.succeeded(Kind::Put, due);
                let mut stored = self.stored.lock().unwrap();
                if stored.len() < READ_MAX {
                    stored.push((document.id, seed));
                }
            }
            Err(failure) => self.went_wrong(format!("put {seed}: {failure}")),
        }
    }

    async fn get(&self, due: Instant) {
        let turn = self.turn.load(Ordering::Relaxed);
        let chosen = {
            let stored = self.stored.lock().unwrap();
            stored.get(turn % stored.len().max(1)).cloned()
        };
        // Nothing is there yet.
        let Some((id, seed)) = chosen else { return };
        match self.client().get(&id).await {
            Ok(body) if body == content(seed, DOCUMENT_BYTES) => self.succeeded(Kind::Get, due),
            Ok(body) => self.went_wrong(format!("get {seed}: other bytes ({} of them)", body.len())),
            Err(failure) => self.went_wrong(format!("get {seed}: {failure}")),
        }
    }
}

/// How long calls took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// How many there were.
    pub calls: usize,
    /// Half of them took at most this.
    pub median: Duration,
    /// 99 of 100 took at most this.
    pub p99: Duration,
    /// The longest.
    pub largest: Duration,
}

impl Stall {
    /// Of the times that calls took, in any order.
    pub fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        let at_most = |percent: usize| {
            let rank = (took.len() * percent).div_ceil(100).max(1);
            took.get(rank - 1).copied().unwrap_or_default()
        };
        Self { calls: took.len(), median: at_most(50), p99: at_most(99), largest: at_most(100) }
    }
}

/// What was measured, case by case.
#[derive(Debug, Default)]
pub struct Table(Vec<(String, [Stall; 2])>);

impl Table {
    /// Adds a case.
    pub fn add(&mut self, case: &str, stalls: [Stall; 2]) {
        self.0.push((case.to_owned(), stalls));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<40} {:<6} {:>6} {:>9} {:>9} {:>10}", "case", "calls", "number", "median", "p99", "largest")?;
        for (case, stalls) in &self.0 {
            for (kind, stall) in ["write", "read"].iter().zip(stalls) {
                let mut line = format!("{case:<40} {kind:<6} {:>6}", stall.calls);
                for (took, width) in [(stall.median, 6), (stall.p99, 6), (stall.largest, 7)] {
                    write!(line, " {:>width$} ms", took.as_millis())?;
                }
                writeln!(f, "{line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_calls_that_were_made() {
        let stall = Stall::of((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!((stall.calls, stall.median.as_millis()), (200, 100));
        assert_eq!((stall.p99.as_millis(), stall.largest.as_millis()), (198, 200));
        let one = Stall::of(vec![Duration::from_millis(7)]);
        assert_eq!((one.median, one.p99), (one.largest, one.largest));
        assert_eq!(Stall::of(Vec::new()).largest, Duration::ZERO);
    }

    #[test]
    fn the_table_names_every_case_twice() {
        let mut table = Table::default();
        let stall = Stall::of(vec![Duration::from_millis(1234)]);
        table.add("a site is lost", [stall.clone(), stall]);
        let text = table.to_string();
        assert_eq!(text.matches("a site is lost").count(), 2, "{text}");
        assert_eq!(text.matches("1234 ms").count(), 6, "{text}");
    }
}
