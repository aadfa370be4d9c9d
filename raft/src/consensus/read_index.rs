//! Linearizable reads without a log write (ReadIndex, Ongaro 2014 section 6.4).
//!
//! Owns: the two stages of gathering: all readers of a node wait for one round of that node, and all
//! nodes that ask the leader wait for one round of heartbeats. Not: the reads themselves, which go to the
//! local state afterwards.
//! Holds: a reader is served by a round that began after its call, and returns when the local state has
//! come as far as that round found.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use kluis_chunkstore::ids::NodeId;
use openraft::error::{CheckIsLeaderError, RaftError};
use tokio::time::{Instant, timeout};

use super::{
    Core,
    status::ConsensusCounters,
    transport::PeerCall,
    types::Raft,
    wire::{self, Answer, SMALL_BYTES_MAX},
};
use crate::client::MetadataError;

/// A linearizable read that is not confirmed within this has no quorum.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);
/// A follower gives one try on the leader this long.
const ASK_DEADLINE: Duration = Duration::from_millis(1000);

/// One round on the leader: a majority confirms that it leads.
pub(crate) async fn leader_round(raft: Raft, counters: Arc<ConsensusCounters>) -> Answer<u64> {
    counters.read_rounds.fetch_add(1, Ordering::Relaxed);
    match timeout(DEADLINE, raft.get_read_log_id()).await {
        Ok(Ok((position, _))) => Answer::Done(position.map_or(0, |position| position.index)),
        Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to)))) => Answer::NotLeader(to.leader_id),
        Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_)))) | Err(_) => Answer::NoQuorum,
        Ok(Err(RaftError::Fatal(e))) => Answer::Stopped(e.to_string()),
    }
}

impl Core {
    async fn ask_leader(&self, leader: u64) -> Answer<u64> {
        let Ok(body) = wire::encode(&()) else { return Answer::NotLeader(None) };
        match self.transport.call(NodeId(leader), PeerCall::ReadIndex, body, ASK_DEADLINE).await {
            Ok(answer) => wire::decode(&answer, SMALL_BYTES_MAX).unwrap_or(Answer::NotLeader(None)),
            Err(_) => Answer::NotLeader(None),
        }
    }

    /// One round of this node: the index that a read begun before it must see.
    pub(crate) async fn read_round(&self) -> Result<u64, MetadataError> {
        let deadline = Instant::now() + DEADLINE;
        let mut leaders = self.raft.server_metrics();
        loop {
            self.running()?;
            let known = leaders.borrow_and_update().current_leader;
            let answer = match known {
                Some(leader) if leader == self.options.node.0 => {
                    let round = async { self.leader_reads.join().await.unwrap_or(Answer::Stopped("this node is stopping".into())) };
                    self.while_it_leads(&mut leaders, known, leader, round).await
                }
                Some(leader) => self.while_it_leads(&mut leaders, known, leader, self.ask_leader(leader)).await,
                None => Answer::NotLeader(None),
            };
            if let Answer::Done(index) = answer {
                return Ok(index);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(MetadataError::NoQuorum);
            }
            self.leader_or_pause(&mut leaders, known, Duration::from_millis(100).min(left)).await;
        }
    }

    /// What a peer's ReadIndex call is answered.
    pub(crate) async fn serve_read_index(&self) -> Result<Bytes, String> {
        let answer = self.leader_reads.join().await.unwrap_or(Answer::Stopped("this node is stopping".into()));
        wire::encode(&answer)
    }

    /// Returns when the local state has come to `index`.
    pub(crate) async fn applied_to(&self, index: u64) -> Result<(), MetadataError> {
        let mut applied = self.state.watch();
        applied.wait_for(|applied| *applied >= index).await.map(drop).map_err(|_| MetadataError::Stopping)
    }
}
