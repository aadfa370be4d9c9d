//! Commands on their way into the log.
//!
//! Owns: gathering of requests into batches on the leader, forwarding on the others, retries.
//! Not: exactly-once itself (the request table of [`crate::apply`]).
//! Holds: (1) every try of one call has the same request id, so that a lost answer costs nothing but time;
//! (2) a batch is at most [`REQUEST_BYTES_MAX`] of requests; (3) a call ends within [`DEADLINE`]; (4) nothing waits for a
//! leader of which it is known that it leads no more.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use kluis_chunkstore::ids::NodeId;
use openraft::error::{ClientWriteError, RaftError};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    Core,
    transport::PeerCall,
    types::{Batch, Raft},
    watch_leader::deposed,
    wire::{self, ANSWER_BYTES_MAX, Answer},
    world::{Stamp, World},
};
use crate::{
    client::MetadataError,
    command::{Command, REQUEST_BYTES_MAX, Request},
    outcome::Outcome,
};

/// A call of [`crate::client::Metadata::propose`] ends within this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// The leader waits this long for one batch. A majority that is there answers much sooner.
const BATCH_DEADLINE: Duration = Duration::from_secs(4);
/// Batches under way at once: more arrive in one batch instead of in more batches.
const BATCHES_MAX: usize = 8;
const BATCH_REQUESTS_MAX: usize = 256;
const WAITING_MAX: usize = 4096;
/// Between two tries. The longest is cut short when another leader comes to be known.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX_MS: u64 = 200;

/// A request that waits for its outcome.
pub(crate) struct Proposal {
    request: Request,
    bytes: usize,
    answer: oneshot::Sender<Answer<Outcome>>,
}

/// Encoded size of a request, with the largest stamp.
pub(crate) fn request_bytes(request: &Request) -> Result<usize, MetadataError> {
    postcard::to_stdvec(request).map(|bytes| bytes.len()).map_err(|e| MetadataError::Store(format!("encoding a command: {e}")))
}

/// Starts the task that gathers requests and hands them to openraft.
pub(crate) fn spawn_batches(raft: Raft, world: World) -> (mpsc::Sender<Proposal>, JoinHandle<()>) {
    let (waiting, arrivals) = mpsc::channel(WAITING_MAX);
    (waiting, tokio::spawn(batches(raft, world, arrivals)))
}

async fn batches(raft: Raft, world: World, mut arrivals: mpsc::Receiver<Proposal>) {
    let stamp = Stamp::default();
    let under_way = Arc::new(Semaphore::new(BATCHES_MAX));
    let mut held: Option<Proposal> = None;
    loop {
        let first = match held.take() {
            Some(proposal) => proposal,
            None => match arrivals.recv().await {
                Some(proposal) => proposal,
                None => return,
            },
        };
        let Ok(permit) = Arc::clone(&under_way).acquire_owned().await else { return };
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while batch.len() < BATCH_REQUESTS_MAX {
            let Ok(next) = arrivals.try_recv() else { break };
            bytes = bytes.saturating_add(next.bytes);
            if bytes > REQUEST_BYTES_MAX {
                held = Some(next);
                break;
            }
            batch.push(next);
        }
        let now_ms = stamp.now_ms(&*world.clock);
        let raft = raft.clone();
        tokio::spawn(async move {
            write(&raft, batch, now_ms).await;
            drop(permit);
        });
    }
}

/// Writes one batch and answers everybody in it.
async fn write(raft: &Raft, batch: Vec<Proposal>, now_ms: u64) {
    let mut requests = Vec::with_capacity(batch.len());
    let mut waiters = Vec::with_capacity(batch.len());
    for proposal in batch {
        requests.push(Request { now_ms, ..proposal.request });
        waiters.push(proposal.answer);
    }
    let written = tokio::select! {
        biased;
        written = timeout(BATCH_DEADLINE, raft.client_write(Batch { requests })) => Ok(written),
        // Whether it happens is then up to the next leader, which is asked with the same ids.
        leader = deposed(raft.server_metrics()) => Err(leader),
    };
    let problem = match written {
        Ok(Ok(Ok(written))) => {
            for (waiter, outcome) in waiters.into_iter().zip(written.data) {
                let _ = waiter.send(Answer::Done(outcome));
            }
            return;
        }
        Ok(Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))))) => Answer::NotLeader(to.leader_id),
        Ok(Ok(Err(RaftError::APIError(e)))) => Answer::Stopped(e.to_string()),
        Ok(Ok(Err(RaftError::Fatal(e)))) => Answer::Stopped(e.to_string()),
        Ok(Err(_)) => Answer::NoQuorum,
        Err(leader) => Answer::NotLeader(leader),
    };
    for waiter in waiters {
        let _ = waiter.send(problem.clone());
    }
}

impl Core {
    /// One try on this node.
    pub(crate) async fn propose_here(&self, request: Request, wait: Duration) -> Answer<Outcome> {
        let bytes = match request_bytes(&request) {
            Ok(bytes) if bytes <= REQUEST_BYTES_MAX => bytes,
            Ok(_) => return Answer::TooLarge,
            Err(e) => return Answer::Stopped(e.to_string()),
        };
        let (answer, answered) = oneshot::channel();
        let whole = async {
            if self.batches.send(Proposal { request, bytes, answer }).await.is_err() {
                return Answer::Stopped("this node is stopping".into());
            }
            answered.await.unwrap_or_else(|_| Answer::Stopped("this node is stopping".into()))
        };
        timeout(wait, whole).await.unwrap_or(Answer::NoQuorum)
    }

    async fn propose_there(&self, leader: u64, request: &Request, wait: Duration) -> Answer<Outcome> {
        let Ok(body) = wire::encode(request) else { return Answer::TooLarge };
        match self.transport.call(NodeId(leader), PeerCall::Propose, body, wait).await {
            Ok(answer) => wire::decode(&answer, ANSWER_BYTES_MAX).unwrap_or(Answer::NotLeader(None)),
            // Whether it happened is unknown; the next try asks with the same id.
            Err(_) => Answer::NotLeader(None),
        }
    }

    /// Tries until there is an outcome or the deadline has passed.
    pub(crate) async fn propose(&self, command: Command) -> Result<Outcome, MetadataError> {
        let began = Instant::now();
        self.counters.proposals.fetch_add(1, Ordering::Relaxed);
        let result = self.propose_until(began + DEADLINE, command).await;
        if result.is_err() {
            self.counters.commits_failed.fetch_add(1, Ordering::Relaxed);
        }
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.propose_us_sum.fetch_add(took, Ordering::Relaxed);
        result
    }

    async fn propose_until(&self, deadline: Instant, command: Command) -> Result<Outcome, MetadataError> {
        let request = Request { id: self.world.random_u128(), now_ms: u64::MAX, command };
        if request_bytes(&request)? > REQUEST_BYTES_MAX {
            return Err(MetadataError::TooLarge);
        }
        let me = self.options.node.0;
        let mut leaders = self.raft.server_metrics();
        let mut hint: Option<u64> = None;
        let mut pause_ms = 20u64;
        loop {
            self.running()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(MetadataError::NoQuorum);
            }
            let known = leaders.borrow_and_update().current_leader;
            let leader = hint.take().or(known);
            let wait = left.min(BATCH_DEADLINE + Duration::from_secs(1));
            let answer = match leader {
                Some(leader) if leader == me => {
                    self.while_it_leads(&mut leaders, known, me, self.propose_here(request.clone(), wait)).await
                }
                Some(leader) => self.while_it_leads(&mut leaders, known, leader, self.propose_there(leader, &request, wait)).await,
                None => Answer::NotLeader(None),
            };
            match answer {
                // The answer is lost on its way: asking again under the same id must give the same one.
                Answer::Done(_) if self.world.probe.buggify("buggify.answer_lost") => {}
                Answer::Done(outcome) => return Ok(outcome),
                Answer::TooLarge => return Err(MetadataError::TooLarge),
                Answer::NotLeader(Some(other)) if Some(other) != leader => hint = Some(other),
                Answer::NotLeader(_) | Answer::NoQuorum | Answer::Stopped(_) => {}
            }
            // Who was named is asked at once; the shortest pause keeps two that name each other from a busy loop.
            let pause = if hint.is_some() { Duration::ZERO } else { Duration::from_millis(pause_ms + self.world.jitter(pause_ms)) };
            let pause = pause.max(PAUSE_MIN).min(deadline.saturating_duration_since(Instant::now()));
            self.leader_or_pause(&mut leaders, leader, pause).await;
            pause_ms = (pause_ms * 2).min(PAUSE_MAX_MS);
        }
    }
}
