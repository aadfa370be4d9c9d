//! What a replica can tell about itself.
//!
//! Owns: [`ConsensusStatus`], [`ConsensusCounters`], and who was heard when. Not: metric names (gateway, node).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kluis_chunkstore::ids::NodeId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// What a replica is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaRole {
    /// Keeps a copy and has no vote.
    Learner,
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Has stopped.
    Stopped,
}

/// One replica's view of the group. Positions are indices of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsensusStatus {
    /// This node.
    pub node: NodeId,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// Term.
    pub term: u64,
    /// What this node is.
    pub role: ReplicaRole,
    /// Last entry in the state.
    pub applied: u64,
    /// Last entry known to be committed.
    pub committed: u64,
    /// Last entry in the log.
    pub last_log: u64,
    /// Who votes.
    pub voters: BTreeSet<NodeId>,
    /// Who keeps a copy without a vote.
    pub learners: BTreeSet<NodeId>,
    /// On the leader: entries that each other member lacks.
    pub lag: BTreeMap<NodeId, u64>,
    /// Last entry in the latest snapshot.
    pub snapshot: Option<u64>,
    /// Whether a majority was heard lately, within 16 heartbeats (leader), or the leader was (others).
    pub quorum_ok: bool,
    /// Why the replica stopped, if it did.
    pub stopped: Option<String>,
}

/// Counts since the process began.
#[derive(Debug, Default)]
pub struct ConsensusCounters {
    /// Commands proposed on this node.
    pub proposals: AtomicU64,
    /// Microseconds that they took, in sum.
    pub propose_us_sum: AtomicU64,
    /// Proposals that ended without an outcome.
    pub commits_failed: AtomicU64,
    /// Changes of leader that this node saw.
    pub leader_changes: AtomicU64,
    /// Rounds in which this node, hearing no leader, asked the others whether they do.
    pub leader_polls: AtomicU64,
    /// Elections for which this node stood.
    pub elections: AtomicU64,
    /// Syncs of the log.
    pub log_syncs: AtomicU64,
    /// Entries written to the log.
    pub log_entries: AtomicU64,
    /// Rounds that confirmed leadership for linearizable reads.
    pub read_rounds: AtomicU64,
    /// Linearizable reads served.
    pub reads: AtomicU64,
    /// Snapshots installed.
    pub snapshots_installed: AtomicU64,
}

impl ConsensusCounters {
    /// Seconds that proposals took, in sum.
    pub fn propose_seconds_sum(&self) -> f64 {
        Duration::from_micros(self.propose_us_sum.load(Ordering::Relaxed)).as_secs_f64()
    }
}

/// When each peer was last heard: on a leader by its answers, on others by the leader's messages.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<BTreeMap<u64, Instant>>);

impl Heard {
    /// A peer was heard just now.
    pub(crate) fn note(&self, peer: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, Instant::now());
    }

    /// Who was heard within the given time.
    pub(crate) fn within(&self, time: Duration) -> BTreeSet<u64> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().filter(|(_, at)| at.elapsed() <= time).map(|(peer, _)| *peer).collect()
    }
}

/// Whether `heard` holds a majority of every one of `groups` (two while membership changes).
pub(crate) fn majority(groups: &[BTreeSet<u64>], heard: &BTreeSet<u64>) -> bool {
    !groups.is_empty() && groups.iter().all(|group| group.intersection(heard).count() * 2 > group.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_one_of_every_group() {
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
        assert!(!majority(&[], &set(&[1])));
        assert!(!majority(&[set(&[1, 2])], &set(&[1])));
        assert!(majority(&[set(&[1, 2, 3])], &set(&[1, 3])));
        assert!(!majority(&[set(&[1, 2, 3]), set(&[4, 5, 6])], &set(&[1, 2, 4])));
        assert!(majority(&[set(&[1, 2, 3]), set(&[4, 5, 6])], &set(&[1, 2, 4, 5])));
    }
}
