//! The consensus group: every replica applies the same commands in the same order (Raft, by openraft).
//!
//! The way of a command: [`Consensus::propose`](crate::client::Metadata::propose) → `propose` (forwarded to
//! the leader, gathered into a batch) → openraft → `log_store` (one sync) → `network` → the other replicas'
//! `serve` → committed → `state_machine` ([`crate::apply`], one write batch) → the outcome goes back.
//! The way of a linearizable read: `read_index` (one round of heartbeats for all who wait) → the local state.
//! A replica that is far behind gets a file in the format of [`snapshot`]. `driver` lets the leader look after
//! membership ([`membership`]) and time. `watch_leader` has a silent leader replaced, by the rules of `election`.
//!
//! Owns: the replica of one node. Not: business rules ([`crate::apply`]), connections ([`transport`] is a port).
//! Holds: nothing is acknowledged that a majority has not synced; an answer that cannot be had in time is
//! `NoQuorum`, never a guess; an error of the local disk stops this replica and no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use kluis_chunkstore::{database::Databases, ids::NodeId};
use openraft::{
    ServerState,
    error::{InitializeError, RaftError},
    metrics::RaftServerMetrics,
};
use tokio::{
    io::AsyncRead,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    client::{Metadata, MetadataError},
    command::Command,
    outcome::{Outcome, Refusal},
    store::{Read, replica::ReplicaStore},
};

mod driver;
mod election;
mod file_io;
#[doc(hidden)]
pub mod fuzzing;
mod gather;
mod log_store;
pub mod membership;
mod network;
pub mod options;
mod propose;
mod read_index;
mod serve;
pub mod snapshot;
mod state_machine;
pub mod status;
pub mod transport;
mod types;
mod watch_leader;
mod wire;
pub mod world;

pub use options::{ConsensusOptions, OpenError};
pub use status::{ConsensusCounters, ConsensusStatus, ReplicaRole};
pub use transport::{PeerCall, PeerError, PeerTransport};
pub use world::World;

use gather::Gather;
use log_store::LogStore;
use network::Network;
use state_machine::{State, StateMachine};
use status::Heard;
use types::Raft;
use watch_leader::Signs;
use wire::Answer;

/// Why a cluster could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum InitialiseError {
    /// Another command than `InitCluster` was given.
    #[error("a cluster begins with InitCluster")]
    WrongCommand,
    /// The command was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The command was not committed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The answer is none that `InitCluster` has.
    #[error("unexpected answer to InitCluster: {0}")]
    Unexpected(String),
}

/// Who leads, as this node learns it.
pub(crate) type Leaders = watch::Receiver<RaftServerMetrics<u64, ()>>;

/// What the tasks of a replica share.
pub(crate) struct Core {
    pub(crate) raft: Raft,
    pub(crate) store: Arc<ReplicaStore>,
    pub(crate) state: Arc<State>,
    pub(crate) world: World,
    pub(crate) options: ConsensusOptions,
    pub(crate) transport: Arc<dyn PeerTransport>,
    pub(crate) counters: Arc<ConsensusCounters>,
    pub(crate) heard: Arc<Heard>,
    pub(crate) signs: Signs,
    pub(crate) batches: mpsc::Sender<propose::Proposal>,
    pub(crate) leader_reads: Gather<Answer<u64>>,
    /// Held while a snapshot arrives: one at a time.
    pub(crate) receiving: tokio::sync::Mutex<()>,
}

impl Core {
    /// Refuses when the replica has stopped.
    pub(crate) fn running(&self) -> Result<(), MetadataError> {
        match &self.raft.metrics().borrow().running_state {
            Ok(()) => Ok(()),
            Err(openraft::error::Fatal::Stopped) => Err(MetadataError::Stopping),
            Err(e) => Err(MetadataError::Store(e.to_string())),
        }
    }

    /// How long a silent peer still counts as heard.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(self.options.heartbeat_ms.saturating_mul(16))
    }

    /// Waits until another than `tried` leads, at most for `pause`, and a moment in any case. Compared with who was
    /// tried, not with who leads when the wait begins: a leader that came in between would be waited past.
    pub(crate) async fn leader_or_pause(&self, leaders: &mut Leaders, tried: Option<u64>, pause: Duration) {
        let moment = Duration::from_millis(10).min(pause);
        tokio::time::sleep(moment).await;
        let other = leaders.wait_for(|metrics| metrics.current_leader.is_some() && metrics.current_leader != tried);
        // A channel that is closed answers at once; the moment above keeps that from being a busy loop.
        let _ = timeout(pause.saturating_sub(moment), other).await;
    }

    /// What `asked`, which was taken for the leader, answers; or `NotLeader` as soon as this node, which knew `known`
    /// as the leader, learns otherwise: who waits for a dead leader's answer can ask the next one.
    pub(crate) async fn while_it_leads<T>(
        &self,
        leaders: &mut Leaders,
        known: Option<u64>,
        asked: u64,
        answer: impl Future<Output = Answer<T>>,
    ) -> Answer<T> {
        let another = async {
            let changed = leaders.wait_for(|metrics| metrics.current_leader != known && metrics.current_leader != Some(asked));
            changed.await.ok().and_then(|metrics| metrics.current_leader)
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            leader = another => Answer::NotLeader(leader),
        }
    }
}

/// Opens and checks everything that lies on the disk. Blocking.
fn open_storage(
    options: &ConsensusOptions,
    world: World,
    counters: Arc<ConsensusCounters>,
) -> Result<(Arc<ReplicaStore>, Arc<State>), OpenError> {
    let store = Arc::new(options::open(&*world.databases, options)?);
    let shared = Arc::clone(&store);
    // Before the log is checked: this may have to finish what a crash interrupted.
    let state = State::open(shared, world, options.snapshots(), options.cluster, options.snapshot_bytes_max, counters)?;
    log_store::check(&store, state.applied()?.last)?;
    Ok((store, Arc::new(state)))
}

/// The replica of this node, and through it the group.
pub struct Consensus {
    core: Arc<Core>,
    reads: Gather<Result<u64, MetadataError>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Consensus {
    /// Makes the empty database of a node that begins a cluster or just joined one. Blocking.
    ///
    /// # Errors
    /// [`OpenError::Exists`] when there is one, [`OpenError::Store`] when it cannot be made.
    pub fn create(databases: &dyn Databases, options: &ConsensusOptions) -> Result<(), OpenError> {
        options::create(databases, options)
    }

    /// Opens the database and starts the replica.
    ///
    /// # Errors
    /// [`OpenError`], which names what is wrong with the storage or the options.
    pub async fn open(
        world: impl Into<World>,
        options: ConsensusOptions,
        transport: Arc<dyn PeerTransport>,
    ) -> Result<Arc<Self>, OpenError> {
        let world = world.into();
        let config = Arc::new(options.raft_config()?);
        let counters = Arc::new(ConsensusCounters::default());
        let heard = Arc::new(Heard::default());

        let job = {
            let (world, options, counters) = (world.clone(), options.clone(), Arc::clone(&counters));
            move || Ok(open_storage(&options, world, counters))
        };
        let (store, state) = world.run(job).await??;

        let network = Network::new(options.node, Arc::clone(&transport), Arc::clone(&heard), world.clone());
        let log = LogStore::new(Arc::clone(&store), world.clone(), Arc::clone(&counters));
        let machine = StateMachine::new(Arc::clone(&state));
        let raft = Raft::new(options.node.0, config, network, log, machine).await.map_err(|e| OpenError::Raft(e.to_string()))?;

        let (batches, batch_task) = propose::spawn_batches(raft.clone(), world.clone());
        let (leader_reads, leader_task) = {
            let (raft, counters) = (raft.clone(), Arc::clone(&counters));
            Gather::spawn(move || read_index::leader_round(raft.clone(), Arc::clone(&counters)))
        };
        let core = Arc::new(Core {
            raft,
            store,
            state,
            world,
            options,
            transport,
            counters,
            heard,
            signs: Signs::new(),
            batches,
            leader_reads,
            receiving: tokio::sync::Mutex::new(()),
        });
        let (reads, read_task) = {
            let core = Arc::clone(&core);
            Gather::spawn(move || {
                let core = Arc::clone(&core);
                async move { core.read_round().await }
            })
        };
        let drive_task = tokio::spawn(driver::drive(Arc::clone(&core)));
        let watch_task = tokio::spawn(watch_leader::watch_leader(Arc::clone(&core)));
        let tasks = Mutex::new(vec![batch_task, leader_task, read_task, drive_task, watch_task]);
        Ok(Arc::new(Self { core, reads, tasks }))
    }

    /// Begins a cluster: a group of this node alone, then `InitCluster`. Safe to repeat after a crash.
    /// Returns the id that the first node has, which must be this node's.
    ///
    /// # Errors
    /// [`InitialiseError`]; a cluster that exists already is a refusal.
    pub async fn initialise(&self, init: Command) -> Result<NodeId, InitialiseError> {
        if !matches!(init, Command::InitCluster { .. }) {
            return Err(InitialiseError::WrongCommand);
        }
        let me = self.core.options.node;
        match self.core.raft.initialize(BTreeMap::from([(me.0, ())])).await {
            // Not allowed: the group exists; whether the cluster does, the command finds out.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(e) => return Err(MetadataError::Store(e.to_string()).into()),
        }
        match self.core.propose(init).await? {
            Outcome::NodeAdded { node } if node == me => Ok(node),
            Outcome::Refused(refusal) => Err(refusal.into()),
            other => Err(InitialiseError::Unexpected(format!("{other:?}"))),
        }
    }

    /// Stops the replica. Calls that are waiting end with [`MetadataError::Stopping`].
    pub async fn shutdown(&self) {
        if let Err(e) = self.core.raft.shutdown().await {
            tracing::warn!(error = %e, "the replica did not stop in order");
        }
        self.stop_tasks();
    }

    fn stop_tasks(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    /// Serves a peer's [`PeerTransport::call`]. `from` is who the transport has verified it to be.
    ///
    /// # Errors
    /// Why the call is refused, for people.
    pub async fn handle_call(&self, from: NodeId, call: PeerCall, body: Bytes) -> Result<Bytes, String> {
        self.core.handle_call(from, call, body).await
    }

    /// Serves a peer's [`PeerTransport::stream`]: a snapshot of `len` bytes.
    ///
    /// # Errors
    /// Why it is refused, for people; the old state is kept.
    pub async fn handle_stream(
        &self,
        from: NodeId,
        header: Bytes,
        body: &mut (dyn AsyncRead + Send + Unpin),
        len: u64,
    ) -> Result<Bytes, String> {
        self.core.handle_stream(from, header, body, len).await
    }

    /// The index of the last applied entry, as it changes.
    pub fn watch_applied(&self) -> watch::Receiver<u64> {
        self.core.state.watch()
    }

    /// Counts since the process began.
    pub fn counters(&self) -> &ConsensusCounters {
        &self.core.counters
    }

    /// What this replica is and knows at the moment.
    pub async fn status(&self) -> ConsensusStatus {
        let committed = self.core.raft.with_raft_state(|state| state.committed.map(|at| at.index)).await;
        let metrics = self.core.raft.metrics().borrow().clone();
        let view = driver::view_of(&metrics);
        let stopped = metrics.running_state.as_ref().err().map(ToString::to_string);
        let role = match metrics.state {
            _ if stopped.is_some() => ReplicaRole::Stopped,
            ServerState::Learner => ReplicaRole::Learner,
            ServerState::Follower => ReplicaRole::Follower,
            ServerState::Candidate => ReplicaRole::Candidate,
            ServerState::Leader => ReplicaRole::Leader,
            ServerState::Shutdown => ReplicaRole::Stopped,
        };
        let last_log = metrics.last_log_index.unwrap_or(0);
        let replication = metrics.replication.iter().flatten().filter(|(id, _)| **id != metrics.id);
        let lag = replication.map(|(id, at)| (NodeId(*id), at.as_ref().map_or(last_log, |at| last_log.saturating_sub(at.index))));
        let applied = *self.core.state.watch().borrow();
        ConsensusStatus {
            node: self.core.options.node,
            leader: metrics.current_leader.map(NodeId),
            term: metrics.current_term,
            role,
            applied,
            committed: committed.ok().flatten().unwrap_or(applied),
            last_log,
            voters: view.voters,
            learners: view.learners,
            lag: lag.collect(),
            snapshot: metrics.snapshot.map(|at| at.index),
            quorum_ok: stopped.is_none() && self.quorum_ok(&metrics),
            stopped,
        }
    }

    fn quorum_ok(&self, metrics: &openraft::RaftMetrics<u64, ()>) -> bool {
        let mut heard: BTreeSet<u64> = self.core.heard.within(self.core.patience());
        heard.insert(metrics.id);
        match metrics.current_leader {
            None => false,
            Some(leader) if leader == metrics.id => status::majority(metrics.membership_config.membership().get_joint_config(), &heard),
            Some(leader) => heard.contains(&leader),
        }
    }
}

impl Drop for Consensus {
    fn drop(&mut self) {
        self.stop_tasks();
    }
}

#[async_trait]
impl Metadata for Consensus {
    async fn propose(&self, command: Command) -> Result<Outcome, MetadataError> {
        self.core.propose(command).await
    }

    async fn linearize(&self) -> Result<(), MetadataError> {
        self.core.counters.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let whole = async {
            let index = self.reads.join().await.ok_or(MetadataError::Stopping)??;
            self.core.applied_to(index).await
        };
        timeout(read_index::DEADLINE, whole).await.unwrap_or(Err(MetadataError::NoQuorum))
    }

    fn view(&self) -> Arc<dyn Read> {
        Arc::clone(&self.core.store) as Arc<dyn Read>
    }
}
