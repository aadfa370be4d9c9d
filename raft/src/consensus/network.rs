//! How openraft reaches its peers: its messages over [`PeerTransport`].
//!
//! Owns: encoding of openraft's calls, deadlines of snapshots. Not: the serving side ([`super::serve`]).
//! Holds: a peer that cannot be reached is retried after a pause, never in a tight loop; a snapshot is
//! read from its open file, so that a newer one can take its place meanwhile.

use std::{pin::pin, sync::Arc, time::Duration};

use kluis_chunkstore::{env::File, ids::NodeId};
use openraft::{
    AnyError, OptionalSend, RPCTypes, RaftNetwork, RaftNetworkFactory, Snapshot, Vote,
    error::{Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{Backoff, RPCOption},
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::{
    status::Heard,
    transport::{PeerCall, PeerError, PeerTransport},
    types::TypeConfig,
    wire::{self, ANSWER_BYTES_MAX, SnapshotHeader},
    world::World,
};
use crate::store::StoreError;

/// Pause before a peer that could not be reached is tried again.
const BACKOFF: Duration = Duration::from_millis(300);
/// Bytes of a snapshot that are read at a time.
const READ_BYTES: usize = 256 << 10;
/// A snapshot may take this long and a second more for each of the bytes below.
const SNAPSHOT_TIME: Duration = Duration::from_secs(60);
const SNAPSHOT_BYTES_A_SECOND: u64 = 1 << 20;

type CallError = RPCError<u64, (), RaftError<u64>>;

/// Makes a [`Peer`] for each member.
pub struct Network {
    node: u64,
    transport: Arc<dyn PeerTransport>,
    heard: Arc<Heard>,
    world: World,
}

impl Network {
    pub(crate) fn new(node: NodeId, transport: Arc<dyn PeerTransport>, heard: Arc<Heard>, world: World) -> Self {
        Self { node: node.0, transport, heard, world }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _node: &()) -> Peer {
        Peer { node: self.node, target, transport: Arc::clone(&self.transport), heard: Arc::clone(&self.heard), world: self.world.clone() }
    }
}

/// One member, as openraft calls it.
pub struct Peer {
    node: u64,
    target: u64,
    transport: Arc<dyn PeerTransport>,
    heard: Arc<Heard>,
    world: World,
}

impl Peer {
    fn timeout(&self, action: RPCTypes, timeout: Duration) -> Timeout<u64> {
        Timeout { action, id: self.node, target: self.target, timeout }
    }

    async fn call<A: Serialize, B: DeserializeOwned>(
        &self,
        call: PeerCall,
        action: RPCTypes,
        request: &A,
        deadline: Duration,
    ) -> Result<B, CallError> {
        let body = wire::encode(request).map_err(|e| NetworkError::new(&AnyError::error(e)))?;
        match self.transport.call(NodeId(self.target), call, body, deadline).await {
            Ok(answer) => {
                self.heard.note(self.target);
                Ok(wire::decode(&answer, ANSWER_BYTES_MAX).map_err(|e| Unreachable::new(&AnyError::error(e)))?)
            }
            Err(PeerError::Timeout) => Err(self.timeout(action, deadline).into()),
            Err(other) => Err(Unreachable::new(&other).into()),
        }
    }
}

/// Reads a file from its beginning into a stream. Ends early on an error, which the receiver notices.
async fn feed(world: World, file: Arc<dyn File>, len: u64, mut into: DuplexStream) {
    let mut offset = 0u64;
    while offset < len {
        let from = Arc::clone(&file);
        let want = usize::try_from(len - offset).unwrap_or(READ_BYTES).min(READ_BYTES);
        let block = world
            .run(move || {
                let mut block = vec![0; want];
                from.read_at(offset, &mut block).map_err(|e| StoreError::Io(e.to_string()))?;
                Ok(block)
            })
            .await;
        let Ok(block) = block else {
            tracing::warn!(offset, "a snapshot could not be read while it was sent");
            return;
        };
        if into.write_all(&block).await.is_err() {
            return;
        }
        offset += u64::try_from(block.len()).unwrap_or(u64::MAX);
    }
    let _ = into.shutdown().await;
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError> {
        self.call(PeerCall::AppendEntries, RPCTypes::AppendEntries, &rpc, option.hard_ttl()).await
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, option: RPCOption) -> Result<VoteResponse<u64>, CallError> {
        self.call(PeerCall::Vote, RPCTypes::Vote, &rpc, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<u64>,
        snapshot: Snapshot<TypeConfig>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        let file = *snapshot.snapshot;
        let header = SnapshotHeader { vote, meta: snapshot.meta, checksum: file.checksum };
        let header = wire::encode(&header).map_err(|e| NetworkError::new(&AnyError::error(e)))?;
        let deadline = SNAPSHOT_TIME.saturating_add(Duration::from_secs(file.len / SNAPSHOT_BYTES_A_SECOND));
        let (tx, rx) = tokio::io::duplex(READ_BYTES);
        tokio::spawn(feed(self.world.clone(), file.file, file.len, tx));
        let sent = self.transport.stream(NodeId(self.target), header, Box::new(rx), file.len, deadline);
        let mut cancel = pin!(cancel);
        let answer = tokio::select! {
            closed = &mut cancel => return Err(closed.into()),
            answer = sent => answer,
        };
        match answer {
            Ok(answer) => {
                self.heard.note(self.target);
                Ok(wire::decode(&answer, ANSWER_BYTES_MAX).map_err(|e| Unreachable::new(&AnyError::error(e)))?)
            }
            Err(PeerError::Timeout) => Err(self.timeout(RPCTypes::InstallSnapshot, deadline).into()),
            Err(other) => Err(Unreachable::new(&other).into()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}
