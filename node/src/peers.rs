//! What this node does with its peers' requests, and whom it talks to.
//!
//! Owns: admission by cluster and storage id, dispatch of requests to disks and to the metadata replica,
//! the list of members that the hub keeps connections to. Not: connections themselves
//! ([`kluis_chunkstore::net`]).
//! Holds: (1) a peer is admitted only under the storage id that it joined with, so that a node whose disk was
//! emptied cannot come back as itself and make the leader see a log that went backwards; (2) a request about
//! a disk that is not here is refused by name; (3) no answer depends on the state of another peer.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use kluis_chunkstore::{
    disk::{Disk, DiskError},
    env::Env,
    ids::{BlobId, ClusterId, DiskId, NodeId, ShardKey, StorageId},
    net::{BodyReader, Hub, NetError, PeerAddress, PeerHandler},
    wire::{FaultCode, Hello, LIST_MAX, PeerAnswer, PeerFault, PeerRequest},
};
use kluis_raft::{
    client::Metadata,
    consensus::{Consensus, PeerCall, PeerError, PeerTransport},
    model::NodeRecord,
    view,
};
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncReadExt, sync::mpsc};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    disks::DiskSet,
    member::Card,
    status::{DiskStatus, WorkStatus},
};

/// Most bytes of the header of a metadata stream.
const STREAM_HEADER_BYTES_MAX: u32 = 64 * 1024;

/// What a node tells of itself when a peer asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Observation {
    /// Version of its program.
    pub version: String,
    /// Its disks.
    pub disks: Vec<DiskStatus>,
    /// Its background work.
    pub work: Vec<WorkStatus>,
}

/// Who the members are, as this node knows.
pub struct Directory {
    card: Card,
    members: RwLock<BTreeMap<NodeId, NodeRecord>>,
}

impl Directory {
    /// The members that the node was told of when it joined.
    pub fn new(card: Card) -> Self {
        let members = card.first_peers.iter().map(|n| (n.id, n.clone())).collect();
        Self { card, members: RwLock::new(members) }
    }

    /// Takes over the members in the metadata, and has the hub connect to them. Members of the time of
    /// joining stay until the metadata knows any.
    pub fn refresh(&self, nodes: Vec<NodeRecord>, hub: &Arc<Hub>) {
        let peers: Vec<PeerAddress> = {
            let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
            if !nodes.is_empty() {
                // What was told at joining may be newer than a replica that is still catching up.
                members.extend(nodes.into_iter().map(|n| (n.id, n)));
            }
            members.values().map(|n| PeerAddress { node: n.id, site: n.site.clone(), address: n.quic }).collect()
        };
        hub.set_peers(peers);
    }

    /// All members.
    pub fn members(&self) -> Vec<NodeRecord> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn admit(&self, cluster: ClusterId, node: NodeId, storage: StorageId) -> Result<(), String> {
        if cluster != self.card.cluster {
            return Err(format!("wrong_cluster: this is cluster {}, not {cluster}", self.card.cluster));
        }
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        match members.get(&node) {
            None => Err(format!("unknown_node: {node} is not a member that this node knows of")),
            Some(known) if known.storage != storage => Err(format!("storage_id_mismatch: {node} lost its storage; join it as a new node")),
            Some(_) => Ok(()),
        }
    }
}

/// The handler of peers' requests.
pub struct Peers {
    env: Env,
    card: Card,
    /// Members.
    pub directory: Directory,
    /// This node's disks.
    pub disks: Arc<DiskSet>,
    /// The metadata replica, once it runs.
    pub consensus: OnceLock<Arc<Consensus>>,
    /// What to say of background work.
    pub work: RwLock<Vec<WorkStatus>>,
    suspects: mpsc::Sender<(BlobId, u32)>,
}

impl Peers {
    /// A handler over these disks; suspects go to `suspects`.
    pub fn new(env: Env, card: Card, disks: Arc<DiskSet>, suspects: mpsc::Sender<(BlobId, u32)>) -> Self {
        let directory = Directory::new(card.clone());
        Self { env, card, directory, disks, consensus: OnceLock::new(), work: RwLock::default(), suspects }
    }

    /// What this node tells of itself.
    pub fn observation(&self) -> Observation {
        Observation {
            version: env!("CARGO_PKG_VERSION").into(),
            disks: self.disks.observe(),
            work: self.work.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Has reconcile look at a chunk soon. Best effort: the queue is bounded, and it looks at everything in time.
    pub fn suspect(&self, blob: BlobId, index: u32) {
        let _ = self.suspects.try_send((blob, index));
    }

    /// Stores a shard on a disk of this node.
    ///
    /// # Errors
    /// The disk is not here, is full or fails.
    pub async fn put_shard(&self, disk: DiskId, key: ShardKey, body: Bytes) -> Result<(), PeerFault> {
        self.disk(disk)?.put(key, body).await.map_err(|e| disk_fault(&e))
    }

    /// Fetches a shard from a disk of this node.
    ///
    /// # Errors
    /// The disk is not here or the shard on it is damaged.
    pub async fn fetch_shard(&self, disk: DiskId, key: ShardKey) -> Result<Option<Bytes>, PeerFault> {
        match self.disk(disk)?.get(key).await {
            Ok(found) => Ok(found),
            Err(error) => {
                self.suspect(key.chunk.blob, key.chunk.index);
                Err(disk_fault(&error))
            }
        }
    }

    fn disk(&self, id: DiskId) -> Result<Arc<Disk>, PeerFault> {
        self.disks.disk(id).ok_or_else(|| PeerFault::new(FaultCode::UnknownDisk, format!("{} has no disk {id} in use", self.card.node)))
    }

    fn consensus(&self) -> Result<&Arc<Consensus>, PeerFault> {
        self.consensus.get().ok_or_else(|| PeerFault::new(FaultCode::Unavailable, "the metadata replica is not ready"))
    }

    /// The environment.
    pub fn env(&self) -> &Env {
        &self.env
    }
}

fn disk_fault(error: &DiskError) -> PeerFault {
    let code = match error {
        DiskError::Full => FaultCode::DiskFull,
        _ => FaultCode::DiskFault,
    };
    PeerFault::new(code, error.to_string())
}

#[async_trait]
impl PeerHandler for Peers {
    fn hello(&self, to: NodeId) -> Hello {
        Hello {
            cluster: self.card.cluster,
            node: self.card.node,
            storage: self.card.storage,
            to,
            program: env!("CARGO_PKG_VERSION").into(),
        }
    }

    fn admit(&self, hello: &Hello) -> Result<(), String> {
        self.directory.admit(hello.cluster, hello.node, hello.storage)
    }

    async fn handle(&self, from: NodeId, request: PeerRequest, body: Bytes) -> Result<(PeerAnswer, Bytes), PeerFault> {
        match request {
            PeerRequest::PutShard { disk, key, checksum } => {
                if xxh3_64(&body) != checksum {
                    return Err(PeerFault::new(FaultCode::ChecksumMismatch, format!("shard {key} changed on its way")));
                }
                self.put_shard(disk, key, body).await?;
                Ok((PeerAnswer::Done, Bytes::new()))
            }
            PeerRequest::FetchShard { disk, key } => match self.fetch_shard(disk, key).await? {
                Some(body) => Ok((PeerAnswer::Shard { checksum: xxh3_64(&body) }, body)),
                None => Ok((PeerAnswer::Absent, Bytes::new())),
            },
            PeerRequest::HasShards { disk, keys } => {
                if keys.len() > LIST_MAX {
                    return Err(PeerFault::new(FaultCode::BadRequest, format!("at most {LIST_MAX} shards at a time")));
                }
                let disk = self.disk(disk)?;
                Ok((PeerAnswer::Present(keys.into_iter().map(|key| disk.contains(key)).collect()), Bytes::new()))
            }
            PeerRequest::Suspect { blob, index } => {
                self.suspect(blob, index);
                Ok((PeerAnswer::Done, Bytes::new()))
            }
            PeerRequest::Raft { call } => {
                let call = decode_call(call).ok_or_else(|| PeerFault::new(FaultCode::BadRequest, format!("unknown_type: call {call}")))?;
                let answer = self.consensus()?.handle_call(from, call, body).await;
                answer.map(|body| (PeerAnswer::Body, body)).map_err(|why| PeerFault::new(FaultCode::Raft, why))
            }
            PeerRequest::Observe => {
                let body = serde_json::to_vec(&self.observation()).map_err(|e| PeerFault::new(FaultCode::Unavailable, e.to_string()))?;
                Ok((PeerAnswer::Body, body.into()))
            }
            PeerRequest::Hello(_) | PeerRequest::RaftStream { .. } => {
                Err(PeerFault::new(FaultCode::BadRequest, "this request does not belong here"))
            }
        }
    }

    async fn handle_stream(&self, from: NodeId, header_len: u32, len: u64, body: BodyReader<'_>) -> Result<Bytes, PeerFault> {
        let bad = |why: &str| PeerFault::new(FaultCode::BadRequest, why);
        if header_len > STREAM_HEADER_BYTES_MAX {
            return Err(bad("frame_too_large: the header of a stream has at most 64 KiB"));
        }
        let data = len.checked_sub(u64::from(header_len)).ok_or_else(|| bad("malformed: the header is longer than the stream"))?;
        let mut header = vec![0; header_len as usize];
        body.read_exact(&mut header).await.map_err(|_| bad("truncated: the stream ended inside its header"))?;
        let consensus = self.consensus()?;
        consensus.handle_stream(from, header.into(), body, data).await.map_err(|why| PeerFault::new(FaultCode::Raft, why))
    }
}

fn encode_call(call: PeerCall) -> u8 {
    match call {
        PeerCall::AppendEntries => 1,
        PeerCall::Vote => 2,
        PeerCall::Propose => 3,
        PeerCall::ReadIndex => 4,
        PeerCall::Sight => 5,
    }
}

fn decode_call(call: u8) -> Option<PeerCall> {
    let calls = [PeerCall::AppendEntries, PeerCall::Vote, PeerCall::Propose, PeerCall::ReadIndex, PeerCall::Sight];
    calls.into_iter().find(|c| encode_call(*c) == call)
}

/// The metadata group's network, over the hub.
pub struct QuicTransport {
    /// Connections of this node.
    pub hub: Arc<Hub>,
}

fn peer_error(error: NetError) -> PeerError {
    match error {
        NetError::Timeout(_) => PeerError::Timeout,
        NetError::Fault { fault, .. } => PeerError::Refused(fault.to_string()),
        other => PeerError::Unreachable(other.to_string()),
    }
}

#[async_trait]
impl PeerTransport for QuicTransport {
    async fn call(&self, to: NodeId, call: PeerCall, body: Bytes, deadline: Duration) -> Result<Bytes, PeerError> {
        let request = PeerRequest::Raft { call: encode_call(call) };
        self.hub.call(to, &request, body, deadline).await.map(|(_, body)| body).map_err(peer_error)
    }

    async fn stream(
        &self,
        to: NodeId,
        header: Bytes,
        mut body: Box<dyn tokio::io::AsyncRead + Send + Unpin>,
        len: u64,
        deadline: Duration,
    ) -> Result<Bytes, PeerError> {
        self.hub.stream(to, header, &mut *body, len, deadline).await.map_err(peer_error)
    }
}

/// Keeps the hub's list of peers equal to the members in the metadata, until `hub` or `consensus` goes.
pub async fn follow_members(peers: Arc<Peers>, hub: Arc<Hub>, consensus: Arc<Consensus>) {
    let mut applied = consensus.watch_applied();
    let mut last: Vec<NodeRecord> = Vec::new();
    peers.directory.refresh(Vec::new(), &hub);
    loop {
        match view::nodes(&*consensus.view()) {
            Ok(nodes) if nodes != last => {
                last.clone_from(&nodes);
                peers.directory.refresh(nodes, &hub);
            }
            Ok(_) => {}
            Err(error) => tracing::error!(code = "METADATA_STORE", %error, "the members cannot be read"),
        }
        if applied.changed().await.is_err() {
            return;
        }
        // Many commands a second change no member: look at most five times a second.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_round_trip_and_strangers_are_refused() {
        for code in 0..=255 {
            if let Some(call) = decode_call(code) {
                assert_eq!(encode_call(call), code);
            }
        }
        assert_eq!(decode_call(9), None);
        let record = |id: u64| NodeRecord {
            id: NodeId(id),
            site: "dc1".parse().unwrap(),
            roles: vec![],
            storage: StorageId(id.into()),
            quic: std::net::SocketAddr::from(([127, 0, 0, 1], 1)),
            admin: std::net::SocketAddr::from(([127, 0, 0, 1], 2)),
            gateway: None,
            joined_ms: 0,
        };
        let card = Card {
            cluster: ClusterId(1),
            cluster_name: "c".into(),
            node: NodeId(9),
            site: "dc1".parse().unwrap(),
            roles: vec![],
            storage: StorageId(9),
            first_peers: vec![record(1), record(2)],
        };
        let directory = Directory::new(card);
        assert_eq!(directory.admit(ClusterId(1), NodeId(1), StorageId(1)), Ok(()));
        for (cluster, node, storage, code) in [(2, 1, 1, "wrong_cluster"), (1, 3, 3, "unknown_node"), (1, 2, 7, "storage_id_mismatch")] {
            let refused = directory.admit(ClusterId(cluster), NodeId(node), StorageId(storage)).unwrap_err();
            assert!(refused.starts_with(code), "{refused}");
        }
    }
}
