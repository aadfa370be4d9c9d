//! Nodes talking to nodes: QUIC with mutual TLS 1.3.
//!
//! Reading order: [`identity`] (who a node is, from its certificate), [`endpoint`] (the socket and how
//! quinn is tuned), [`message`] (one message on one stream), [`server`] (streams that peers open), [`hub`]
//! (one connection a pair of nodes, kept up in the background; calls with deadlines).
//!
//! Owns: connections between nodes. Not: what a request means (a [`PeerHandler`] does).
//! Holds: (1) one connection a pair of nodes, dialled by the one with the lower id; (2) a peer counts as
//! up only when its hello was answered, for with TLS 1.3 a client learns that its certificate was refused
//! only afterwards; (3) every wait has a deadline; (4) memory of requests in flight is bounded.

pub mod endpoint;
pub mod hub;
pub mod identity;
pub mod message;
pub mod server;
pub mod sockets;

pub use hub::{Hub, HubOptions, NetError, PeerAddress, PeerStatus, Pulse, Traffic};
pub use identity::{IdentityError, NodeIdentity};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    ids::NodeId,
    wire::{Hello, PeerAnswer, PeerFault, PeerRequest},
};

/// The body of a stream, as it arrives. Reads end with an error at the deadline or when the peer goes.
pub type BodyReader<'a> = &'a mut (dyn tokio::io::AsyncRead + Send + Unpin);

/// What a node does with the requests of its peers.
#[async_trait]
pub trait PeerHandler: Send + Sync + 'static {
    /// Who this node is, for a hello to `to`.
    fn hello(&self, to: NodeId) -> Hello;

    /// Whether the peer may talk to this node; the certificate's name was checked before.
    ///
    /// # Errors
    /// Why not, for the peer's operator.
    fn admit(&self, hello: &Hello) -> Result<(), String>;

    /// Answers a request. `body` is at most `BODY_BYTES_MAX` long.
    async fn handle(&self, from: NodeId, request: PeerRequest, body: Bytes) -> Result<(PeerAnswer, Bytes), PeerFault>;

    /// Answers a stream: `len` bytes follow in `body`, of which `header_len` are its header.
    async fn handle_stream(&self, from: NodeId, header_len: u32, len: u64, body: BodyReader<'_>) -> Result<Bytes, PeerFault>;
}
