//! What a node of the simulation is given in the place of the operating system, besides disks and network: a clock, dice,
//! blocking work, and the probe that counts where the code came.
//!
//! Owns: these. Holds: all of them follow from the seed and from the world's time.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use kluis_chunkstore::env::{Blocking, Clock, Entropy, Probe, Sockets};
use tokio::time::sleep;

use super::{fabric::Fabric, rng::Rng};

/// When the simulated world begins, milliseconds since 1970.
const EPOCH_MS: u64 = 1_800_000_000_000;

/// States that the code came to, counted, and the dice of its improbable turns.
#[derive(Clone)]
pub struct SimProbe {
    states: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    rng: Arc<Mutex<Rng>>,
    /// Improbable turns taken, of a million.
    per_million: Arc<AtomicU64>,
    /// Which machine's code this one hears, from 0.
    at: Option<usize>,
    /// Where the code of machines came since somebody last looked.
    fresh: Arc<Mutex<Vec<Sighting>>>,
}

/// A machine, from 0, and the state that its code came to.
pub type Sighting = (usize, &'static str);

impl SimProbe {
    /// No state was reached yet.
    pub fn new(rng: Rng) -> Self {
        let per_million = Arc::new(AtomicU64::new(20_000));
        Self { states: Arc::default(), rng: Arc::new(Mutex::new(rng)), per_million, at: None, fresh: Arc::default() }
    }

    /// The probe of one machine.
    #[must_use]
    pub fn of(&self, at: usize) -> Self {
        Self { at: Some(at), ..self.clone() }
    }

    /// Where the code of machines came since this was last asked.
    pub fn take_fresh(&self) -> Vec<Sighting> {
        std::mem::take(&mut lock(&self.fresh))
    }

    /// How often each state was reached.
    pub fn states(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.states).clone()
    }

    /// Notes a state.
    pub fn note(&self, state: &'static str) {
        *lock(&self.states).entry(state).or_default() += 1;
        if let Some(at) = self.at {
            lock(&self.fresh).push((at, state));
        }
    }

    /// No more improbable turns.
    pub fn calm(&self) {
        self.per_million.store(0, Ordering::Relaxed);
    }
}

impl Probe for SimProbe {
    fn buggify(&self, point: &'static str) -> bool {
        let takes = lock(&self.rng).chance(self.per_million.load(Ordering::Relaxed));
        if takes {
            self.note(point);
        }
        takes
    }

    fn reached(&self, state: &'static str) {
        self.note(state);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall clock of a machine: the world's time, off by as much as a fault says.
pub(super) struct SimClock {
    pub(super) now_us: Arc<AtomicU64>,
    pub(super) skew_ms: Arc<AtomicI64>,
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        let now = EPOCH_MS + self.now_us.load(Ordering::Relaxed) / 1000;
        now.saturating_add_signed(self.skew_ms.load(Ordering::Relaxed))
    }
}

/// Randomness of one life of a process.
pub(super) struct SimEntropy(pub(super) Mutex<Rng>);

impl Entropy for SimEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        lock(&self.0).fill(buffer);
    }
}

/// Blocking work: done by the one thread, after a while.
pub(super) struct SimBlocking {
    pub(super) rng: Mutex<Rng>,
    /// Longest wait, in microseconds.
    pub(super) slow_us: Arc<AtomicU64>,
}

impl Blocking for SimBlocking {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        let most = self.slow_us.load(Ordering::Relaxed);
        let wait = lock(&self.rng).below(most);
        if wait < 1_000 {
            job();
        } else {
            tokio::spawn(async move {
                sleep(Duration::from_micros(wait)).await;
                job();
            });
        }
    }
}

/// Sockets on the fabric.
pub(super) struct SimSockets(pub(super) Fabric);

#[async_trait]
impl Sockets for SimSockets {
    fn udp(&self, address: SocketAddr) -> std::io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Ok(self.0.bind(address))
    }

    fn quinn_runtime(&self) -> Arc<dyn quinn::Runtime> {
        Arc::new(quinn::TokioRuntime)
    }

    async fn tcp_listen(&self, _: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}
