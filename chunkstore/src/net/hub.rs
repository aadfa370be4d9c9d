//! The hub: one connection to each peer, kept up in the background, and calls over them.
//!
//! Owns: dialling, hellos, the table of peers. Not: what is said.
//! Holds: (1) of a pair, the node with the lower id dials and the other waits; (2) a connection enters the
//! table only after both hellos were admitted; (3) a call never waits longer than its deadline, and a call
//! to a peer that is not connected fails at once; (4) dialling never stops while a peer is listed, with a
//! pause that grows to [`HubOptions::redial_max`]; (5) metadata goes before everything else on a connection, and the
//! rest never uses up its window or its streams (`BULK_BYTES_MAX`).
//! Why in the background: a connection whose life is tied to one call's deadline never comes up over a
//! slow link that reorders packets.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    time::Duration,
};

use bytes::Bytes;
use quinn::{Connection, Endpoint, Incoming};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::{Notify, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use super::{
    PeerHandler, endpoint,
    identity::{IdentityError, NodeIdentity, NodeName},
    message::{self, MessageError},
    server,
};
use crate::{
    env::Env,
    ids::{NodeId, SiteName},
    wire::{FaultCode, FrameKind, Hello, PeerAnswer, PeerFault, PeerRequest},
};

/// Most bytes of requests, metadata excepted, that are under way to one peer. With the answers that it may ask for
/// ([`server::BULK_ANSWERS_MAX`] shards) this stays below the window of a connection, so that metadata has room.
const BULK_BYTES_MAX: u32 = 14 * 1024 * 1024;
/// What a small request counts: so many at once leave streams ([`endpoint::STREAMS_MAX`]) for metadata.
const BULK_BYTES_MIN: u32 = 32 * 1024;

/// A peer that this node should be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its id.
    pub node: NodeId,
    /// Its site.
    pub site: SiteName,
    /// Where it speaks QUIC.
    pub address: SocketAddr,
}

/// Waiting times of the hub.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Longest time for a connection with its hello.
    pub connect_deadline: Duration,
    /// Pause after the first failed attempt.
    pub redial_min: Duration,
    /// Longest pause between attempts.
    pub redial_max: Duration,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self { connect_deadline: Duration::from_secs(3), redial_min: Duration::from_millis(100), redial_max: Duration::from_secs(1) }
    }
}

/// Why a call had no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NetError {
    /// No connection to the peer at present.
    #[error("{0} is not connected")]
    NotConnected(NodeId),
    /// No answer before the deadline.
    #[error("{0} did not answer in time")]
    Timeout(NodeId),
    /// The connection broke, or what came was no message.
    #[error("{node}: {why}")]
    Broken {
        /// The peer.
        node: NodeId,
        /// What happened.
        why: String,
    },
    /// The peer refused.
    #[error("{node}: {fault}")]
    Fault {
        /// The peer.
        node: NodeId,
        /// Its reason.
        fault: PeerFault,
    },
}

/// What is known of a connected peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Round-trip time.
    pub rtt: Duration,
    /// Bytes sent over UDP on this connection.
    pub sent_bytes: u64,
    /// Bytes received over UDP on this connection.
    pub received_bytes: u64,
    /// Datagram size in use.
    pub datagram_bytes: u16,
    /// Version of the peer's program.
    pub program: String,
}

/// Bytes over UDP with one peer since this process began, over all connections with it. Never falls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Sent to it.
    pub sent_bytes: u64,
    /// Received from it.
    pub received_bytes: u64,
}

impl Traffic {
    fn add(&mut self, connection: &Connection) {
        let stats = connection.stats();
        self.sent_bytes = self.sent_bytes.saturating_add(stats.udp_tx.bytes);
        self.received_bytes = self.received_bytes.saturating_add(stats.udp_rx.bytes);
    }
}

/// How much was ever received on a connection: two that are equal mean that nothing came in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    connection: usize,
    datagrams: u64,
}

#[derive(Clone)]
struct Peer {
    connection: Connection,
    program: String,
    /// Room for requests other than metadata.
    bulk: Arc<Semaphore>,
}

/// A refused hello, kept for people to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Who (by certificate).
    pub node: NodeId,
    /// Why.
    pub why: String,
}

/// Connections of one node.
pub struct Hub {
    own: NodeName,
    endpoint: Mutex<Endpoint>,
    handler: Arc<dyn PeerHandler>,
    options: HubOptions,
    wanted: RwLock<BTreeMap<NodeId, PeerAddress>>,
    peers: RwLock<BTreeMap<NodeId, Peer>>,
    dialling: Mutex<BTreeMap<NodeId, Arc<Notify>>>,
    refused: Mutex<BTreeMap<NodeId, Refused>>,
    /// Traffic of connections that ended. Changed only while `peers` is locked, so that no connection is counted
    /// twice or not at all.
    ended: Mutex<BTreeMap<NodeId, Traffic>>,
    room: Arc<Semaphore>,
}

impl Hub {
    /// Binds the socket and begins to accept. Peers are dialled once [`Hub::set_peers`] names them.
    ///
    /// # Errors
    /// The socket cannot be bound or the identity does not work.
    pub fn start(
        env: &Env,
        identity: &NodeIdentity,
        listen: SocketAddr,
        handler: Arc<dyn PeerHandler>,
        options: HubOptions,
    ) -> std::io::Result<Arc<Self>> {
        let endpoint = endpoint::open(env, identity, listen)?;
        let hub = Arc::new(Self {
            own: identity.name.clone(),
            endpoint: Mutex::new(endpoint.clone()),
            handler,
            options,
            wanted: RwLock::default(),
            peers: RwLock::default(),
            dialling: Mutex::default(),
            refused: Mutex::default(),
            ended: Mutex::default(),
            room: Arc::new(Semaphore::new(server::BODIES_BYTES_MAX)),
        });
        tokio::spawn(accept(Arc::downgrade(&hub), endpoint));
        Ok(hub)
    }

    /// The address that the socket is bound to.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        lock(&self.endpoint).local_addr()
    }

    /// Names the peers to be connected to; connections to others are closed.
    pub fn set_peers(self: &Arc<Self>, peers: impl IntoIterator<Item = PeerAddress>) {
        let wanted: BTreeMap<NodeId, PeerAddress> = peers.into_iter().filter(|p| p.node != self.own.node).map(|p| (p.node, p)).collect();
        *self.wanted.write().unwrap_or_else(PoisonError::into_inner) = wanted.clone();
        self.peers.write().unwrap_or_else(PoisonError::into_inner).retain(|node, peer| {
            let keep = wanted.contains_key(node);
            if !keep {
                peer.connection.close(1u8.into(), b"no longer a member");
            }
            keep
        });
        let mut dialling = lock(&self.dialling);
        for node in wanted.keys().filter(|node| self.own.node < **node) {
            match dialling.get(node) {
                Some(wake) => wake.notify_one(),
                None => {
                    let wake = Arc::new(Notify::new());
                    dialling.insert(*node, wake.clone());
                    tokio::spawn(dial_loop(Arc::downgrade(self), *node, wake));
                }
            }
        }
    }

    /// Puts a renewed certificate in force for new connections.
    ///
    /// # Errors
    /// The identity does not work; the old one stays.
    pub fn reload(&self, identity: &NodeIdentity) -> Result<(), IdentityError> {
        endpoint::reload(&mut lock(&self.endpoint), identity)
    }

    /// Peers that are connected and admitted.
    pub fn connected(&self) -> BTreeMap<NodeId, PeerStatus> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers
            .iter()
            .filter(|(_, peer)| peer.connection.close_reason().is_none())
            .map(|(node, peer)| {
                let stats = peer.connection.stats();
                let status = PeerStatus {
                    rtt: stats.path.rtt,
                    sent_bytes: stats.udp_tx.bytes,
                    received_bytes: stats.udp_rx.bytes,
                    datagram_bytes: stats.path.current_mtu,
                    program: peer.program.clone(),
                };
                (*node, status)
            })
            .collect()
    }

    /// Traffic with every peer that was ever connected.
    pub fn traffic(&self) -> BTreeMap<NodeId, Traffic> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = lock(&self.ended).clone();
        for (node, peer) in peers.iter() {
            all.entry(*node).or_default().add(&peer.connection);
        }
        all
    }

    /// Whether a peer is connected.
    pub fn is_connected(&self, node: NodeId) -> bool {
        self.connection(node).is_some()
    }

    /// Peers whose hello was refused last, by either side.
    pub fn refused(&self) -> Vec<Refused> {
        lock(&self.refused).values().cloned().collect()
    }

    /// Asks `node` and waits for its answer until `deadline` from now.
    ///
    /// # Errors
    /// [`NetError`]; after `Timeout` or `Broken` the request may have been carried out.
    pub async fn call(
        &self,
        node: NodeId,
        request: &PeerRequest,
        body: Bytes,
        deadline: Duration,
    ) -> Result<(PeerAnswer, Bytes), NetError> {
        let Peer { connection, bulk, .. } = self.peer(node).ok_or(NetError::NotConnected(node))?;
        let exchange = async {
            let metadata = matches!(request, PeerRequest::Raft { .. });
            // Held until the answer is there.
            let _room = if metadata {
                None
            } else {
                Some(bulk.acquire_many(weight(body.len())).await.map_err(|e| MessageError::Lost(e.to_string()))?)
            };
            let (mut send, mut recv) = connection.open_bi().await.map_err(|e| MessageError::Lost(e.to_string()))?;
            if metadata {
                message::urgent(&send);
            }
            message::send(&mut send, FrameKind::Request, request, body).await?;
            message::receive_answer(&mut recv).await
        };
        match timeout(deadline, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(net_error(node, error)),
            Err(_) => Err(NetError::Timeout(node)),
        }
    }

    /// Streams `header` and then `len` bytes of `body` to `node`; returns its answer.
    ///
    /// # Errors
    /// [`NetError`], also when `body` ends early.
    pub async fn stream(
        &self,
        node: NodeId,
        header: Bytes,
        body: &mut (dyn AsyncRead + Send + Unpin),
        len: u64,
        deadline: Duration,
    ) -> Result<Bytes, NetError> {
        let connection = self.connection(node).ok_or(NetError::NotConnected(node))?;
        let end = Instant::now() + deadline;
        let exchange = async {
            let (mut send, mut recv) = connection.open_bi().await.map_err(|e| MessageError::Lost(e.to_string()))?;
            let request = PeerRequest::RaftStream { header_len: u32::try_from(header.len()).unwrap_or(u32::MAX) };
            message::send_head(&mut send, FrameKind::Request, &request, header.len() as u64 + len).await?;
            let lost = |e: &dyn std::fmt::Display| MessageError::Lost(e.to_string());
            send.write_chunk(header).await.map_err(|e| lost(&e))?;
            let mut left = body.take(len);
            let copied = tokio::io::copy(&mut left, &mut send).await.map_err(|e| lost(&e))?;
            if copied != len {
                let _ = send.reset(0u8.into());
                return Err(MessageError::Lost("the data to stream ended early".into()));
            }
            send.finish().map_err(|e| lost(&e))?;
            message::receive_answer(&mut recv).await.map(|(_, body)| body)
        };
        match timeout_at(end, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(net_error(node, error)),
            Err(_) => Err(NetError::Timeout(node)),
        }
    }

    /// Closes every connection and the socket, once queued data was sent or `patience` ran out.
    pub async fn close(&self, patience: Duration) {
        let endpoint = lock(&self.endpoint).clone();
        endpoint.close(0u8.into(), b"stopping");
        let _ = timeout(patience, endpoint.wait_idle()).await;
    }

    /// What was received from a peer so far; `None` when it is not connected.
    pub fn pulse(&self, node: NodeId) -> Option<Pulse> {
        let connection = self.connection(node)?;
        Some(Pulse { connection: connection.stable_id(), datagrams: connection.stats().udp_rx.datagrams })
    }

    fn peer(&self, node: NodeId) -> Option<Peer> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(&node).filter(|peer| peer.connection.close_reason().is_none()).cloned()
    }

    fn connection(&self, node: NodeId) -> Option<Connection> {
        self.peer(node).map(|peer| peer.connection)
    }

    fn wanted(&self, node: NodeId) -> Option<PeerAddress> {
        self.wanted.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    fn note_refusal(&self, node: NodeId, why: &str) {
        let refused = Refused { node, why: why.to_owned() };
        if lock(&self.refused).insert(node, refused.clone()).as_ref() != Some(&refused) {
            tracing::warn!(peer = %node, why, "peer refused");
        }
    }

    /// Enters an admitted connection into the table and serves its streams until it ends.
    async fn adopt(self: &Arc<Self>, hello: &Hello, connection: Connection) {
        let node = hello.node;
        lock(&self.refused).remove(&node);
        let bulk = Arc::new(Semaphore::new(BULK_BYTES_MAX as usize));
        let peer = Peer { connection: connection.clone(), program: hello.program.clone(), bulk };
        let old = self.peers.write().unwrap_or_else(PoisonError::into_inner).insert(node, peer);
        if let Some(old) = old {
            old.connection.close(2u8.into(), b"replaced by a newer connection");
        }
        tracing::info!(peer = %node, "peer connected");
        server::serve(connection.clone(), node, self.handler.clone(), self.room.clone()).await;
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        lock(&self.ended).entry(node).or_default().add(&connection);
        if peers.get(&node).is_some_and(|p| p.connection.stable_id() == connection.stable_id()) {
            peers.remove(&node);
        }
        drop(peers);
        tracing::info!(peer = %node, reason = ?connection.close_reason(), "peer disconnected");
    }
}

/// What a request with a body of `len` bytes counts.
fn weight(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX).clamp(BULK_BYTES_MIN, BULK_BYTES_MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn net_error(node: NodeId, error: MessageError) -> NetError {
    match error {
        MessageError::Fault(fault) => NetError::Fault { node, fault },
        other => NetError::Broken { node, why: other.to_string() },
    }
}

/// Keeps the connection to one peer up for as long as the peer is wanted.
async fn dial_loop(hub: Weak<Hub>, node: NodeId, wake: Arc<Notify>) {
    let mut pause = Duration::ZERO;
    loop {
        let Some(strong) = hub.upgrade() else { return };
        let Some(peer) = strong.wanted(node) else {
            lock(&strong.dialling).remove(&node);
            return;
        };
        let options = strong.options.clone();
        match timeout(options.connect_deadline, dial(&strong, &peer)).await {
            Ok(Ok((hello, connection))) => {
                pause = options.redial_min;
                strong.adopt(&hello, connection).await;
            }
            Ok(Err(why)) => {
                tracing::debug!(peer = %node, %why, "connection failed");
                pause = (pause * 2).clamp(options.redial_min, options.redial_max);
            }
            Err(_) => pause = (pause * 2).clamp(options.redial_min, options.redial_max),
        }
        drop(strong);
        let _ = timeout(pause, wake.notified()).await;
    }
}

async fn dial(hub: &Arc<Hub>, peer: &PeerAddress) -> Result<(Hello, Connection), String> {
    let name = NodeName { node: peer.node, site: peer.site.clone(), cluster: hub.own.cluster.clone() };
    let connecting = lock(&hub.endpoint).connect(peer.address, &name.to_dns()).map_err(|e| e.to_string())?;
    let connection = connecting.await.map_err(|e| e.to_string())?;
    let result = async {
        let (mut send, mut recv) = connection.open_bi().await.map_err(|e| e.to_string())?;
        let request = PeerRequest::Hello(hub.handler.hello(peer.node));
        message::send(&mut send, FrameKind::Request, &request, Bytes::new()).await.map_err(|e| e.to_string())?;
        match message::receive_answer(&mut recv).await {
            Ok((PeerAnswer::Welcome(hello), _)) if hello.node == peer.node => hub.handler.admit(&hello).map(|()| hello),
            Ok(_) => Err("the peer answered the hello with something else".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    match result.await {
        Ok(hello) => Ok((hello, connection)),
        Err(why) => {
            hub.note_refusal(peer.node, &why);
            connection.close(3u8.into(), b"hello refused");
            Err(why)
        }
    }
}

async fn accept(hub: Weak<Hub>, endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        let Some(hub) = hub.upgrade() else { return };
        // Under a flood of unvalidated addresses, make them prove theirs first: Retry keeps no state.
        if endpoint.open_connections() > 256 && !incoming.remote_address_validated() {
            let _ = incoming.retry();
            continue;
        }
        tokio::spawn(async move {
            let deadline = hub.options.connect_deadline;
            match timeout(deadline, welcome(&hub, incoming)).await {
                Ok(Ok((hello, connection))) => hub.adopt(&hello, connection).await,
                Ok(Err(why)) => tracing::debug!(%why, "incoming connection refused"),
                Err(_) => tracing::debug!("incoming connection: no hello in time"),
            }
        });
    }
}

/// Completes the handshake of a caller, checks its hello against its certificate and answers it.
async fn welcome(hub: &Arc<Hub>, incoming: Incoming) -> Result<(Hello, Connection), String> {
    let connection = incoming.await.map_err(|e| e.to_string())?;
    let name = peer_name(&connection)?;
    let (mut send, mut recv) = connection.accept_bi().await.map_err(|e| e.to_string())?;
    let refuse = async |send: &mut quinn::SendStream, code: FaultCode, why: String| {
        let fault = PeerFault::new(code, why.clone());
        let _ = message::send(send, FrameKind::Fault, &fault, Bytes::new()).await;
        let _ = timeout(Duration::from_secs(1), send.stopped()).await;
        connection.close(3u8.into(), b"hello refused");
        Err(why)
    };
    let hello = match message::receive_head(&mut recv).await.and_then(|(_, head)| message::decode::<PeerRequest>(&head)) {
        Ok(PeerRequest::Hello(hello)) => hello,
        Ok(_) => return refuse(&mut send, FaultCode::NotAdmitted, "the first request must be a hello".into()).await,
        Err(error) => return refuse(&mut send, FaultCode::BadRequest, error.to_string()).await,
    };
    let admitted = if hello.node != name.node {
        Err(format!("identity_mismatch: the certificate is of {}, the hello of {}", name.node, hello.node))
    } else if hello.to != hub.own.node {
        Err(format!("wrong_node: this is {}, not {}", hub.own.node, hello.to))
    } else {
        hub.handler.admit(&hello)
    };
    if let Err(why) = admitted {
        hub.note_refusal(name.node, &why);
        return refuse(&mut send, FaultCode::NotAdmitted, why).await;
    }
    let answer = PeerAnswer::Welcome(hub.handler.hello(hello.node));
    message::send(&mut send, FrameKind::Answer, &answer, Bytes::new()).await.map_err(|e| e.to_string())?;
    Ok((hello, connection))
}

fn peer_name(connection: &Connection) -> Result<NodeName, String> {
    let identity = connection.peer_identity().ok_or("the peer showed no certificate")?;
    let chain = identity.downcast::<Vec<rustls_pki_types::CertificateDer<'static>>>().map_err(|_| "the peer showed no certificate")?;
    let leaf = chain.first().ok_or("the peer showed no certificate")?;
    NodeName::of_certificate(leaf).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_leaves_streams_and_window_for_metadata() {
        let shards = u32::try_from(server::BULK_ANSWERS_MAX).unwrap() * 256 * 1024;
        assert!(BULK_BYTES_MAX + shards < endpoint::CONNECTION_WINDOW_BYTES);
        const { assert!(BULK_BYTES_MAX / BULK_BYTES_MIN + 32 <= endpoint::STREAMS_MAX) };
        assert_eq!((weight(0), weight(1 << 20), weight(1 << 30)), (BULK_BYTES_MIN, 1 << 20, BULK_BYTES_MAX));
    }
}
