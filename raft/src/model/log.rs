//! The log's own record: how far it is, and who speaks for it.

use serde::{Deserialize, Serialize};

use super::Sealed;
use crate::log::merkle::Edge;

/// The log as the state keeps it, beside its hashes and entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// The tree's right edge.
    pub edge: Edge,
    /// The key that signs checkpoints; set by the first gateway.
    pub key: Option<LogKeyRecord>,
    /// The newest checkpoint.
    pub checkpoint: Option<StoredCheckpoint>,
}

/// The key that signs checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogKeyRecord {
    /// The private key, wrapped under the master key.
    pub sealed: Sealed,
    /// The public key, as `NAME+KEYID+BASE64`.
    pub verifier: String,
}

/// A signed checkpoint that this replica compared with its own tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCheckpoint {
    /// Number of entries that it covers.
    pub size: u64,
    /// The signed note.
    pub note: String,
}
