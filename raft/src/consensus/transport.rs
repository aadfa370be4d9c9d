//! What consensus asks of the network: calls with a deadline and one-way streams with an answer.
//!
//! Owns: the port. Not: connections, certificates, back-pressure (the node fills the port with QUIC).
//! Holds: the transport has verified that a peer is who it says; consensus checks that what the peer
//! says agrees with that.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kluis_chunkstore::ids::NodeId;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerCall {
    /// A leader replicates its log, or only its heartbeat.
    AppendEntries,
    /// A candidate asks for a vote.
    Vote,
    /// Another node hands a command to the leader.
    Propose,
    /// Another node asks the leader how far a linearizable read must see.
    ReadIndex,
    /// Another node asks whether this one leads or hears the leader.
    Sight,
}

/// Why a peer gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// No connection could be had, or it broke.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The deadline passed. The peer may or may not have acted.
    #[error("no answer before the deadline")]
    Timeout,
    /// The peer answered that it will not.
    #[error("refused: {0}")]
    Refused(String),
}

/// The network between the replicas of one cluster.
#[async_trait]
pub trait PeerTransport: Send + Sync + 'static {
    /// Sends `body` to a peer's [`super::Consensus::handle_call`] and returns its answer.
    ///
    /// # Errors
    /// [`PeerError`]; after `Timeout` and `Unreachable` the peer may have acted all the same.
    async fn call(&self, to: NodeId, call: PeerCall, body: Bytes, deadline: Duration) -> Result<Bytes, PeerError>;

    /// Streams `len` bytes of `body` after `header` to a peer's [`super::Consensus::handle_stream`] and
    /// returns its answer. A body that ends early must reach the peer as one that ends early.
    ///
    /// # Errors
    /// As [`PeerTransport::call`].
    async fn stream(
        &self,
        to: NodeId,
        header: Bytes,
        body: Box<dyn AsyncRead + Send + Unpin>,
        len: u64,
        deadline: Duration,
    ) -> Result<Bytes, PeerError>;
}
