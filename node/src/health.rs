//! Whether this node can serve: named checks.
//!
//! Holds: (1) each check ends within a second or so; (2) `live` asks nothing of anybody, so that no
//! supervisor restarts nodes during a partition.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use kluis_chunkstore::{disk::DiskState, env::Env};
use kluis_gateway::api::{Check, Health};
use kluis_raft::{client::Metadata, consensus::Consensus, model::NodeRole, view};
use tokio::time::timeout;

use crate::{member::Card, peers::Peers};

/// Difference to the cluster's clock that is worth a person's look.
const CLOCK_TOLERANCE_MS: u64 = 15_000;
/// Silence of the heartbeat task after which the process does not turn.
const STALL_MS: u64 = 15_000;

/// The health of one node.
pub struct NodeHealth {
    env: Env,
    card: Card,
    peers: Arc<Peers>,
    consensus: Arc<Consensus>,
    /// Set once the node is stopping.
    pub draining: AtomicBool,
    beat_ms: AtomicU64,
    worker_ended: Arc<AtomicBool>,
    begun: tokio::time::Instant,
}

impl NodeHealth {
    /// Health over these parts; `worker_ended` is set when a worker that must not end did.
    pub fn new(env: Env, card: Card, peers: Arc<Peers>, consensus: Arc<Consensus>, worker_ended: Arc<AtomicBool>) -> Self {
        Self {
            env,
            card,
            peers,
            consensus,
            draining: AtomicBool::new(false),
            beat_ms: AtomicU64::new(0),
            worker_ended,
            begun: tokio::time::Instant::now(),
        }
    }

    /// Notes that the process turns. To be called every second or so.
    pub fn beat(&self) {
        self.beat_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn check(name: &'static str, result: Result<(), String>) -> Check {
    Check { name, ok: result.is_ok(), detail: result.err().unwrap_or_default() }
}

#[async_trait]
impl Health for NodeHealth {
    async fn checks(&self) -> Vec<Check> {
        let quorum = match timeout(Duration::from_secs(1), self.consensus.linearize()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer within a second".into()),
        };
        let disks = self.peers.disks.all();
        let writable = disks.iter().any(|d| d.state() == DiskState::Active);
        let disk = if writable || !self.card.roles.contains(&NodeRole::Chunk) { Ok(()) } else { Err("no disk can be written".into()) };
        let read = self.consensus.view();
        let clock = match view::cluster(&*read) {
            Ok(Some(cluster)) if cluster.clock_ms > self.env.clock.now_ms().saturating_add(CLOCK_TOLERANCE_MS) => {
                Err("this node's clock is behind the cluster's".into())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        let topology = match view::topology(&*read) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("the cluster has no topology yet".into()),
            Err(error) => Err(error.to_string()),
        };
        let draining = if self.draining.load(Ordering::Relaxed) { Err("this node is stopping".into()) } else { Ok(()) };
        vec![
            check("quorum_read", quorum),
            check("disk_writable", disk),
            check("topology", topology),
            check("clock", clock),
            check("not_draining", draining),
        ]
    }

    fn live(&self) -> bool {
        !self.worker_ended.load(Ordering::Relaxed) && self.elapsed_ms().saturating_sub(self.beat_ms.load(Ordering::Relaxed)) < STALL_MS
    }
}
