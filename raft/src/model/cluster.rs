//! The cluster itself: members, disks, join tokens, settings.

use std::net::SocketAddr;

use kluis_chunkstore::{
    code::Code,
    ids::{ClusterId, DiskId, NodeId, SiteName, StorageId},
};
use serde::{Deserialize, Serialize};

use super::{Sealed, TimeMs};

/// Facts and settings of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Random id.
    pub id: ClusterId,
    /// Name: a DNS label, part of every node's certificate.
    pub name: String,
    /// Code of documents above [`ClusterRecord::small_max_bytes`].
    pub code: Code,
    /// Documents up to this many bytes are stored as copies ([`Code::SMALL`]).
    pub small_max_bytes: u32,
    /// Plaintext bytes of a chunk.
    pub chunk_bytes: u32,
    /// Quota of a new vault, in bytes.
    pub quota_bytes: u64,
    /// The key of the keyed hash of national numbers, wrapped under the master key; set by the first gateway.
    pub lookup_key: Option<Sealed>,
    /// Id of the next node to join.
    pub next_node: u64,
    /// Latest time that a command carried.
    pub clock_ms: TimeMs,
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// Keeps metadata (a Raft voter or learner). Every node keeps a copy; this role lets it vote.
    Metadata,
    /// Owns disks.
    Chunk,
    /// Serves people and programs.
    Gateway,
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its id.
    pub id: NodeId,
    /// Its site.
    pub site: SiteName,
    /// What it does.
    pub roles: Vec<NodeRole>,
    /// The storage it joined with; another one under this id is refused.
    pub storage: StorageId,
    /// Where it speaks QUIC.
    pub quic: SocketAddr,
    /// Where it serves operators and health checks.
    pub admin: SocketAddr,
    /// Where it serves people, if it is a gateway.
    pub gateway: Option<SocketAddr>,
    /// When it joined.
    pub joined_ms: TimeMs,
}

/// What operators decided about a disk (what it is seen to be is observed, not stored).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskState {
    /// Announced by its node, not yet in the topology.
    Candidate,
    /// In the topology.
    Active,
    /// Taken out of the topology.
    Removed,
}

/// A disk that a node announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRecord {
    /// Its id.
    pub id: DiskId,
    /// The node that owns it.
    pub node: NodeId,
    /// Share of the data that it takes, usually its size in GiB; at least 1.
    pub weight: u32,
    /// What operators decided.
    pub state: DiskState,
}

/// SHA-256 of a join token: the token itself is nowhere stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenHash(pub [u8; 32]);

/// Leave to join, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Its hash.
    pub hash: TokenHash,
    /// The only site it is good for.
    pub site: SiteName,
    /// The roles that the node gets.
    pub roles: Vec<NodeRole>,
    /// When it ends.
    pub expires_ms: TimeMs,
    /// The node that used it up.
    pub used_by: Option<NodeId>,
}
