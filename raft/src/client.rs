//! How the rest of the system asks the metadata group.
//!
//! Owns: the [`Metadata`] port. Two implementations: `consensus::Consensus` (a real group) and
//! [`memory::MemoryMetadata`] (one replica in memory, for tests of what lies above).

use std::sync::Arc;

use async_trait::async_trait;

use crate::{command::Command, outcome::Outcome, store::Read};

pub mod memory;

/// Why the metadata group did not answer. Retrying is safe: `propose` is exactly-once by request id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// No majority of voters answered in time. The command may or may not have happened.
    #[error("the metadata group has no majority at present")]
    NoQuorum,
    /// The node is stopping.
    #[error("this node is stopping")]
    Stopping,
    /// The command is larger than the log takes.
    #[error("the request is too large for the metadata log")]
    TooLarge,
    /// The local store failed; an operator must look at this node.
    #[error("the metadata store of this node failed: {0}")]
    Store(String),
}

/// The metadata group, as seen from one node.
#[async_trait]
pub trait Metadata: Send + Sync {
    /// Has `command` applied once, on whichever node leads, and returns its outcome. Retries with one
    /// request id until a deadline.
    async fn propose(&self, command: Command) -> Result<Outcome, MetadataError>;

    /// After `Ok`, [`Metadata::view`] shows everything that was acknowledged before the call began
    /// (ReadIndex, Ongaro 2014 section 6.4; batched, no log write).
    async fn linearize(&self) -> Result<(), MetadataError>;

    /// The local replica's state. Each read sees one instant; two reads may see two.
    fn view(&self) -> Arc<dyn Read>;
}
