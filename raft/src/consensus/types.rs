//! What openraft is told about our types, and how our errors become its errors.
//!
//! Owns: [`TypeConfig`], [`Batch`], [`SnapshotFile`]. Not: any behaviour.
//! Why a log entry is a batch: openraft 0.9 writes and syncs the leader's log one entry at a time, so
//! the only place where commands that arrive together can share one sync is one entry. A batch is at
//! most [`crate::command::REQUEST_BYTES_MAX`] of requests, so entries stay as short as single requests.

use std::{path::PathBuf, sync::Arc};

use kluis_chunkstore::env::File;
use openraft::{AnyError, ErrorSubject, ErrorVerb, LogId, StorageError, StorageIOError, StoredMembership};
use serde::{Deserialize, Serialize};

use crate::{command::Request, outcome::Outcome};

/// Requests that share one log entry: applied in order, each for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// In the order of application.
    pub requests: Vec<Request>,
}

/// A snapshot as a finished, verified file.
#[derive(Clone)]
pub struct SnapshotFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Open, so that it stays readable when a newer one takes its place.
    pub file: Arc<dyn File>,
    /// Bytes.
    pub len: u64,
    /// The checksum in its footer.
    pub checksum: u64,
}

impl std::fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotFile").field("path", &self.path).field("len", &self.len).finish_non_exhaustive()
    }
}

openraft::declare_raft_types!(
    /// The types of our Raft group.
    pub TypeConfig:
        D = Batch,
        R = Vec<Outcome>,
        NodeId = u64,
        Node = (),
        SnapshotData = SnapshotFile,
);

/// A log entry.
pub type LogEntry = openraft::Entry<TypeConfig>;
/// The position of an entry.
pub type Position = LogId<u64>;
/// Facts about a snapshot.
pub type SnapshotMeta = openraft::SnapshotMeta<u64, ()>;
/// Voters and learners, with the position of the entry that set them.
pub type Members = StoredMembership<u64, ()>;
/// A running replica.
pub type Raft = openraft::Raft<TypeConfig>;

/// How far the state has come; stored in the same write batch as the effects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The last entry applied.
    pub last: Option<Position>,
    /// The last membership applied.
    pub membership: Members,
}

/// An error of ours in openraft's clothes. It stops the replica: what cannot be stored must not be confirmed.
pub(crate) fn storage_error(subject: ErrorSubject<u64>, verb: ErrorVerb, why: impl ToString) -> StorageError<u64> {
    StorageIOError::new(subject, verb, AnyError::error(why)).into()
}
