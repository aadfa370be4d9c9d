//! The serving side: what peers ask of this replica.
//!
//! Owns: limits and checks of what arrives. Not: connections, and who the caller is (the transport knows).
//! Holds: (1) nothing is decoded that is longer than its kind allows; (2) a peer speaks only for itself: a
//! vote or an append in another's name is refused; (3) a snapshot reaches openraft only as a verified file.

use std::time::Duration;

use bytes::Bytes;
use kluis_chunkstore::ids::NodeId;
use openraft::{
    Snapshot, Vote,
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

use super::{
    Core,
    state_machine::Receiving,
    transport::PeerCall,
    types::TypeConfig,
    wire::{self, APPEND_BYTES_MAX, PROPOSE_BYTES_MAX, SMALL_BYTES_MAX, SNAPSHOT_HEADER_BYTES_MAX, SnapshotHeader},
};
use crate::{command::Request, store::StoreError};

/// A peer's proposal is answered within this.
const PROPOSE_DEADLINE: Duration = Duration::from_secs(5);
/// A snapshot whose bytes stop coming for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const RECEIVE_BYTES: usize = 256 << 10;

fn speaks_for_itself(from: NodeId, vote: &Vote<u64>) -> Result<(), String> {
    if vote.leader_id.node_id == from.0 {
        return Ok(());
    }
    Err(format!("identity_mismatch: node {from} speaks for node n{}", vote.leader_id.node_id))
}

impl Core {
    /// See [`super::Consensus::handle_call`].
    pub(crate) async fn handle_call(&self, from: NodeId, call: PeerCall, body: Bytes) -> Result<Bytes, String> {
        match call {
            PeerCall::AppendEntries => {
                let request: AppendEntriesRequest<TypeConfig> = wire::decode(&body, APPEND_BYTES_MAX)?;
                speaks_for_itself(from, &request.vote)?;
                // A leader that was replaced is no sign of one. Noted before and after: the log may be slow, and who
                // says meanwhile that it hears nothing would then not vote.
                if request.vote >= self.raft.server_metrics().borrow().vote {
                    self.signs.note();
                }
                let answer = self.raft.append_entries(request).await.map_err(|e| e.to_string())?;
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    self.signs.note();
                }
                self.heard.note(from.0);
                wire::encode(&answer)
            }
            PeerCall::Vote => {
                let request: VoteRequest<u64> = wire::decode(&body, SMALL_BYTES_MAX)?;
                speaks_for_itself(from, &request.vote)?;
                let answer = self.raft.vote(request).await.map_err(|e| e.to_string())?;
                wire::encode(&answer)
            }
            PeerCall::Propose => {
                let request: Request = wire::decode(&body, PROPOSE_BYTES_MAX)?;
                wire::encode(&self.propose_here(request, PROPOSE_DEADLINE).await)
            }
            PeerCall::ReadIndex => {
                wire::decode::<()>(&body, SMALL_BYTES_MAX)?;
                self.serve_read_index().await
            }
            PeerCall::Sight => {
                wire::decode::<()>(&body, SMALL_BYTES_MAX)?;
                self.serve_sight()
            }
        }
    }

    /// See [`super::Consensus::handle_stream`].
    pub(crate) async fn handle_stream(
        &self,
        from: NodeId,
        header: Bytes,
        body: &mut (dyn AsyncRead + Send + Unpin),
        len: u64,
    ) -> Result<Bytes, String> {
        let header: SnapshotHeader = wire::decode(&header, SNAPSHOT_HEADER_BYTES_MAX)?;
        speaks_for_itself(from, &header.vote)?;
        if len > self.state.bytes_max() {
            return Err(format!("the snapshot has {len} bytes where at most {} are allowed", self.state.bytes_max()));
        }
        let own = self.raft.metrics().borrow().vote;
        if own > header.vote {
            return wire::encode(&SnapshotResponse::new(own));
        }
        let Ok(_alone) = self.receiving.try_lock() else { return Err("another snapshot is arriving".into()) };
        let received = self.state.receiving().await.map_err(|e| e.to_string())?;
        self.receive(&received, body, len).await?;
        let (meta, file) = self.state.verify(received).await?;
        let path = file.path.clone();
        let announced = (meta.last_log_id, &meta.last_membership, file.checksum, file.len)
            == (header.meta.last_log_id, &header.meta.last_membership, header.checksum, len);
        if !announced {
            let _ = self.state.discard_unless_current(path).await;
            return Err("the snapshot is not the one that was announced".into());
        }
        self.state.announce_install(&header.meta, &file).await.map_err(|e| e.to_string())?;
        let snapshot = Snapshot { meta: header.meta, snapshot: Box::new(file) };
        // An error means that the replica has stopped: the note then stands for the next start.
        let installed = self.raft.install_full_snapshot(header.vote, snapshot).await.map_err(|e| e.to_string())?;
        self.state.discard_unless_current(path).await.map_err(|e| e.to_string())?;
        wire::encode(&installed)
    }

    /// Writes exactly `len` bytes into the file.
    async fn receive(&self, into: &Receiving, body: &mut (dyn AsyncRead + Send + Unpin), len: u64) -> Result<(), String> {
        let file = into.file().ok_or("the file is gone")?;
        let mut offset = 0u64;
        let mut buffer = vec![0; RECEIVE_BYTES];
        while offset < len {
            let room = usize::try_from(len - offset).unwrap_or(RECEIVE_BYTES).min(RECEIVE_BYTES);
            let read = body.read(buffer.get_mut(..room).unwrap_or_default());
            let count = timeout(SILENCE_MAX, read).await.map_err(|_| "the snapshot stopped coming")?;
            let count = count.map_err(|e| format!("receiving a snapshot: {e}"))?;
            if count == 0 {
                return Err(format!("the snapshot was cut off after {offset} of {len} bytes"));
            }
            let to = std::sync::Arc::clone(&file);
            let block = buffer;
            buffer = self
                .world
                .run(move || {
                    let written = to.write_at(offset, block.get(..count).unwrap_or_default());
                    written.map(|()| block).map_err(|e| StoreError::Io(format!("receiving a snapshot: {e}")))
                })
                .await
                .map_err(|e| e.to_string())?;
            offset += u64::try_from(count).unwrap_or(u64::MAX);
        }
        Ok(())
    }
}
