//! The part of the environment that consensus uses.
//!
//! Owns: [`World`], and running blocking work as a future. Not: timers (tokio's) and sockets (behind
//! [`super::transport::PeerTransport`]).

use std::{
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
};

use kluis_chunkstore::{
    database::Databases,
    env::{Blocking, Clock, Entropy, Env, FileSystem, Probe},
};
use tokio::sync::oneshot;

use crate::store::StoreError;

/// Clock, randomness, blocking work, files and database.
#[derive(Clone)]
pub struct World {
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Blocking work.
    pub blocking: Arc<dyn Blocking>,
    /// The files of snapshots.
    pub files: Arc<dyn FileSystem>,
    /// The database.
    pub databases: Arc<dyn Databases>,
    /// What a simulation asks of the code.
    pub probe: Arc<dyn Probe>,
}

impl From<&Env> for World {
    fn from(env: &Env) -> Self {
        Self {
            clock: Arc::clone(&env.clock),
            entropy: Arc::clone(&env.entropy),
            blocking: Arc::clone(&env.blocking),
            files: Arc::clone(&env.files),
            databases: Arc::clone(&env.databases),
            probe: Arc::clone(&env.probe),
        }
    }
}

impl From<&World> for World {
    fn from(world: &World) -> Self {
        world.clone()
    }
}

impl World {
    /// Runs `job` where it may block and waits for its result.
    ///
    /// # Errors
    /// Those of the job, or [`StoreError::Io`] when the process is stopping and the job was dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (done, result) = oneshot::channel();
        self.blocking.run(Box::new(move || {
            let _ = done.send(job());
        }));
        result.await.unwrap_or_else(|_| Err(StoreError::Io("the process is stopping".into())))
    }

    /// 128 random bits.
    pub(crate) fn random_u128(&self) -> u128 {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        u128::from_be_bytes(bytes)
    }

    /// A number from 0 up to and with `max`, for jitter.
    pub(crate) fn jitter(&self, max: u64) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes) % max.saturating_add(1).max(1)
    }
}

/// The leader's clock as commands see it: never backwards within one process.
#[derive(Debug, Default)]
pub(crate) struct Stamp(AtomicU64);

impl Stamp {
    /// The wall clock, or the latest stamp if that is ahead.
    pub(crate) fn now_ms(&self, clock: &dyn Clock) -> u64 {
        let now = clock.now_ms();
        self.0.fetch_max(now, Ordering::Relaxed).max(now)
    }
}
