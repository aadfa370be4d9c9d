//! How a replica is set up, and why it may refuse to start.
//!
//! Owns: options, the identity stored in the database, [`OpenError`]. Not: the configuration file (node).
//! Holds: a database is opened only by the node, storage and cluster that it was made for.

use std::path::{Path, PathBuf};

use kluis_chunkstore::{
    database::Databases,
    ids::{ClusterId, NodeId, StorageId},
};
use serde::{Deserialize, Serialize};

use super::election::Rules;
use crate::store::{StoreError, replica::ReplicaStore};

/// Key in `meta` of the identity.
const IDENTITY: &[u8] = b"identity";
const IDENTITY_VERSION: u8 = 1;

/// How a replica is set up. The times are those that simulation showed to be safe: a message of 64
/// entries of 16 KiB must fit into the heartbeat interval, which is its deadline.
#[derive(Debug, Clone)]
pub struct ConsensusOptions {
    /// This node.
    pub node: NodeId,
    /// Its storage.
    pub storage: StorageId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The directory made by [`super::Consensus::create`].
    pub dir: PathBuf,
    /// Between heartbeats, in milliseconds; also the deadline of an append message.
    pub heartbeat_ms: u64,
    /// Shortest and longest silence of the leader after which a voter asks the others and, if they hear nothing either,
    /// stands for election; in milliseconds, at least [`ConsensusOptions::agree_ms`]. Each silence draws its own time
    /// between the two.
    pub election_ms: (u64, u64),
    /// Most entries of an append message.
    pub max_payload_entries: u64,
    /// Entries from one snapshot to the next.
    pub snapshot_every_entries: u64,
    /// Entries that stay in the log after a snapshot, for followers that were away for a moment.
    pub keep_log_entries: u64,
    /// Largest snapshot that is taken from a leader, in bytes.
    pub snapshot_bytes_max: u64,
    /// Between the looks at membership and due work, in milliseconds.
    pub drive_ms: u64,
    /// Clock movement that is recorded even when no work is due, in milliseconds.
    pub tick_ms: u64,
}

impl ConsensusOptions {
    /// The defaults for a node whose database is in `dir`.
    pub fn new(node: NodeId, storage: StorageId, cluster: ClusterId, dir: PathBuf) -> Self {
        Self {
            node,
            storage,
            cluster,
            dir,
            heartbeat_ms: 500,
            election_ms: (600, 800),
            max_payload_entries: 64,
            snapshot_every_entries: 20_000,
            keep_log_entries: 5_000,
            snapshot_bytes_max: 64 << 30,
            drive_ms: 1000,
            tick_ms: 10_000,
        }
    }

    /// Silence of the leader, in milliseconds, after which a voter agrees to an election: a little more than the
    /// heartbeat, since openraft refuses votes for as long as that after a leader's message.
    pub fn agree_ms(&self) -> u64 {
        self.heartbeat_ms.saturating_add(3).saturating_add(self.heartbeat_ms / 20)
    }

    /// The waiting times of an election.
    pub(crate) fn rules(&self) -> Rules {
        let half = (self.heartbeat_ms / 2).max(1);
        Rules { agree_ms: self.agree_ms(), ask_ms: (self.heartbeat_ms.saturating_mul(2) / 5).max(1), stagger_ms: half }
    }

    /// Where the database lies.
    pub(crate) fn database(&self) -> PathBuf {
        database(&self.dir)
    }

    /// Where snapshots lie.
    pub(crate) fn snapshots(&self) -> PathBuf {
        self.dir.join("snapshots")
    }

    /// The same for openraft. Its timer calls no election (`super::watch_leader` does). What it makes of the election
    /// timeout is then: the shortest is the deadline of a vote, and the longest the lease, the time after a leader's
    /// message in which votes are refused. It insists that both are above the heartbeat.
    pub(crate) fn raft_config(&self) -> Result<openraft::Config, OpenError> {
        let (min, max) = self.election_ms;
        if min < self.agree_ms() || max <= min {
            let agree = self.agree_ms();
            return Err(OpenError::Options(format!(
                "an election silence of {min} to {max} ms: at least {agree} ms, and a range, is needed"
            )));
        }
        openraft::Config {
            cluster_name: self.cluster.to_string(),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: self.heartbeat_ms.saturating_add(1),
            election_timeout_max: self.heartbeat_ms.saturating_add(2),
            enable_elect: false,
            max_payload_entries: self.max_payload_entries,
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(self.snapshot_every_entries.max(1)),
            max_in_snapshot_log_to_keep: self.keep_log_entries,
            replication_lag_threshold: self.snapshot_every_entries.saturating_mul(2).max(1),
            ..openraft::Config::default()
        }
        .validate()
        .map_err(|e| OpenError::Options(e.to_string()))
    }
}

fn database(dir: &Path) -> PathBuf {
    dir.join("db")
}

/// Why a replica does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no database where one must be.
    #[error("storage_lost: there is no metadata database in {0}; join this node as a new one")]
    StorageLost(PathBuf),
    /// [`super::Consensus::create`] found something.
    #[error("there is a metadata database in {0} already")]
    Exists(PathBuf),
    /// The database is of another storage.
    #[error("storage_id_mismatch: the database belongs to storage {found}, this node has {wanted}; join it as a new node")]
    OtherStorage {
        /// In the database.
        found: StorageId,
        /// In the options.
        wanted: StorageId,
    },
    /// The database is of another node.
    #[error("node_id_mismatch: the database belongs to node {found}, this is {wanted}")]
    OtherNode {
        /// In the database.
        found: NodeId,
        /// In the options.
        wanted: NodeId,
    },
    /// The database is of another cluster.
    #[error("cluster_id_mismatch: the database belongs to cluster {found}, this node to {wanted}")]
    OtherCluster {
        /// In the database.
        found: ClusterId,
        /// In the options.
        wanted: ClusterId,
    },
    /// The log is damaged in its middle. Nothing is cut: those entries were acknowledged.
    #[error("log_damaged: entry {index}: {why}; rebuild this node by joining it as a new one")]
    LogDamaged {
        /// Index of the first bad entry.
        index: u64,
        /// What is wrong.
        why: String,
    },
    /// The database does not open or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The options contradict each other.
    #[error("consensus options: {0}")]
    Options(String),
    /// Raft does not start.
    #[error("consensus: {0}")]
    Raft(String),
}

/// Whose database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    node: NodeId,
    storage: StorageId,
    cluster: ClusterId,
}

impl Identity {
    fn of(options: &ConsensusOptions) -> Self {
        Self { node: options.node, storage: options.storage, cluster: options.cluster }
    }
}

/// Makes the database of a node that just joined or began a cluster.
pub(crate) fn create(databases: &dyn Databases, options: &ConsensusOptions) -> Result<(), OpenError> {
    if databases.exists(&options.database()) {
        return Err(OpenError::Exists(options.dir.clone()));
    }
    let store = ReplicaStore::open(databases, &options.database(), true)?;
    let identity = postcard::to_extend(&Identity::of(options), vec![IDENTITY_VERSION])
        .map_err(|e| StoreError::Io(format!("encoding the identity: {e}")))?;
    store.put_meta(IDENTITY, &identity, true)?;
    Ok(())
}

/// Opens and checks the database. Blocking.
pub(crate) fn open(databases: &dyn Databases, options: &ConsensusOptions) -> Result<ReplicaStore, OpenError> {
    if !databases.exists(&options.database()) {
        return Err(OpenError::StorageLost(options.dir.clone()));
    }
    let store = ReplicaStore::open(databases, &options.database(), false)?;
    let bytes = store.meta(IDENTITY)?.ok_or_else(|| OpenError::StorageLost(options.dir.clone()))?;
    let damaged = |why: String| StoreError::Damaged { key: "meta/identity".into(), why };
    let found: Identity = match bytes.split_first() {
        Some((&IDENTITY_VERSION, rest)) => postcard::from_bytes(rest).map_err(|e| damaged(e.to_string()))?,
        Some((version, _)) => return Err(damaged(format!("version {version} is unknown")).into()),
        None => return Err(damaged("empty".into()).into()),
    };
    let wanted = Identity::of(options);
    if found.cluster != wanted.cluster {
        return Err(OpenError::OtherCluster { found: found.cluster, wanted: wanted.cluster });
    }
    if found.node != wanted.node {
        return Err(OpenError::OtherNode { found: found.node, wanted: wanted.node });
    }
    if found.storage != wanted.storage {
        return Err(OpenError::OtherStorage { found: found.storage, wanted: wanted.storage });
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rocks::RocksDatabases;

    fn options(dir: &Path) -> ConsensusOptions {
        ConsensusOptions::new(NodeId(1), StorageId(2), ClusterId(3), dir.to_path_buf())
    }

    #[test]
    fn only_the_owner_opens_a_database() {
        let dir = tempfile::tempdir().unwrap();
        let own = options(dir.path());
        assert!(matches!(open(&RocksDatabases, &own), Err(OpenError::StorageLost(_))));
        create(&RocksDatabases, &own).unwrap();
        assert!(matches!(create(&RocksDatabases, &own), Err(OpenError::Exists(_))));
        drop(open(&RocksDatabases, &own).unwrap());
        let other = ConsensusOptions { storage: StorageId(9), ..own.clone() };
        assert!(matches!(open(&RocksDatabases, &other), Err(OpenError::OtherStorage { found: StorageId(2), wanted: StorageId(9) })));
        let other = ConsensusOptions { node: NodeId(9), ..own.clone() };
        assert!(matches!(open(&RocksDatabases, &other), Err(OpenError::OtherNode { .. })));
        let other = ConsensusOptions { cluster: ClusterId(9), ..own.clone() };
        assert!(matches!(open(&RocksDatabases, &other), Err(OpenError::OtherCluster { .. })));
        std::fs::remove_dir_all(own.database()).unwrap();
        assert!(matches!(open(&RocksDatabases, &own), Err(OpenError::StorageLost(_))));
    }

    #[test]
    fn the_defaults_are_a_valid_configuration() {
        options(Path::new("x")).raft_config().unwrap();
        let bad = ConsensusOptions { election_ms: (400, 300), ..options(Path::new("x")) };
        assert!(matches!(bad.raft_config(), Err(OpenError::Options(_))));
        let hasty = ConsensusOptions { election_ms: (500, 900), ..options(Path::new("x")) };
        assert!(matches!(hasty.raft_config(), Err(OpenError::Options(_))));
    }

    /// Who agreed to an election must be able to vote in it, at any heartbeat.
    #[test]
    fn the_lease_ends_before_a_voter_agrees() {
        for heartbeat_ms in [10, 30, 200, 500, 10_000] {
            let silence = heartbeat_ms * 2;
            let options = ConsensusOptions { heartbeat_ms, election_ms: (silence, silence + 1), ..options(Path::new("x")) };
            let config = options.raft_config().unwrap();
            assert!(config.election_timeout_max < options.rules().agree_ms, "{heartbeat_ms}");
            assert!(!config.enable_elect);
        }
    }
}
