//! Real replicas (openraft, RocksDB in temporary directories) in one process, over a network that a test can cut.
#![cfg(feature = "consensus")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    hash::{BuildHasher, Hasher, RandomState},
    path::PathBuf,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use kluis_chunkstore::{
    code::Code,
    env::{Blocking, Clock, Entropy, NoProbe},
    env_real::SystemFiles,
    ids::{ClusterId, NodeId, StorageId},
};
use kluis_raft::{
    client::{Metadata, MetadataError},
    command::{AccountSeed, Command, NewNode, REQUEST_BYTES_MAX},
    consensus::{Consensus, ConsensusOptions, OpenError, PeerCall, PeerError, PeerTransport, ReplicaRole, World},
    keys,
    model::{AccountId, Actor, NodeRole, Role, Sealed, SessionId, TokenHash, Trail, VaultId, WrappedKey},
    outcome::{Outcome, Refusal},
    store::rocks::RocksDatabases,
};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};

const CLUSTER: ClusterId = ClusterId(42);

struct WallClock;

impl Clock for WallClock {
    fn now_ms(&self) -> u64 {
        u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
    }
}

/// Different in every call; not fit for keys.
struct SomeBytes(AtomicU64);

impl Entropy for SomeBytes {
    fn fill(&self, buffer: &mut [u8]) {
        for piece in buffer.chunks_mut(8) {
            let mut hasher = RandomState::new().build_hasher();
            hasher.write_u64(self.0.fetch_add(1, Ordering::Relaxed));
            piece.copy_from_slice(&hasher.finish().to_le_bytes()[..piece.len()]);
        }
    }
}

struct Threads;

impl Blocking for Threads {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        drop(tokio::task::spawn_blocking(job));
    }
}

fn world() -> World {
    World {
        clock: Arc::new(WallClock),
        entropy: Arc::new(SomeBytes(AtomicU64::new(0))),
        blocking: Arc::new(Threads),
        files: Arc::new(SystemFiles { direct: false }),
        databases: Arc::new(RocksDatabases),
        probe: Arc::new(NoProbe),
    }
}

/// The network: who is there, who is cut off, what is lost.
#[derive(Default)]
struct Fabric {
    nodes: Mutex<BTreeMap<u64, Weak<Consensus>>>,
    cut: Mutex<BTreeSet<u64>>,
    /// Answers to proposals that are still to be lost.
    lose_answers: Mutex<u64>,
    lost_answers: AtomicU64,
    /// Streams end after this many bytes; 0 = they do not.
    stream_limit: AtomicU64,
    broken_streams: AtomicU64,
}

impl Fabric {
    fn reach(&self, from: u64, to: NodeId) -> Result<Arc<Consensus>, PeerError> {
        let cut = self.cut.lock().unwrap();
        if cut.contains(&from) || cut.contains(&to.0) {
            return Err(PeerError::Unreachable("cut off".into()));
        }
        let node = self.nodes.lock().unwrap().get(&to.0).and_then(Weak::upgrade);
        node.ok_or_else(|| PeerError::Unreachable("not running".into()))
    }
}

struct Link {
    fabric: Arc<Fabric>,
    me: u64,
}

#[async_trait]
impl PeerTransport for Link {
    async fn call(&self, to: NodeId, call: PeerCall, body: Bytes, deadline: Duration) -> Result<Bytes, PeerError> {
        let peer = self.fabric.reach(self.me, to)?;
        let answer = tokio::time::timeout(deadline, peer.handle_call(NodeId(self.me), call, body)).await;
        // The answer takes the same way back.
        self.fabric.reach(self.me, to)?;
        let answer = answer.map_err(|_| PeerError::Timeout)?.map_err(PeerError::Refused)?;
        if call == PeerCall::Propose {
            let mut left = self.fabric.lose_answers.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                self.fabric.lost_answers.fetch_add(1, Ordering::SeqCst);
                return Err(PeerError::Timeout);
            }
        }
        Ok(answer)
    }

    async fn stream(
        &self,
        to: NodeId,
        header: Bytes,
        body: Box<dyn AsyncRead + Send + Unpin>,
        len: u64,
        deadline: Duration,
    ) -> Result<Bytes, PeerError> {
        let peer = self.fabric.reach(self.me, to)?;
        let limit = match self.fabric.stream_limit.load(Ordering::SeqCst) {
            0 => u64::MAX,
            limit => limit,
        };
        if limit < len {
            self.fabric.broken_streams.fetch_add(1, Ordering::SeqCst);
        }
        let mut body = body.take(limit);
        let answer = tokio::time::timeout(deadline, peer.handle_stream(NodeId(self.me), header, &mut body, len)).await;
        answer.map_err(|_| PeerError::Timeout)?.map_err(PeerError::Refused)
    }
}

/// Waits for something that must come; fails when it does not come in a minute.
async fn eventually<F, R>(what: &str, mut check: F)
where
    F: FnMut() -> R,
    R: Future<Output = bool>,
{
    for _ in 0..600 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never: {what}");
}

fn hash(n: u64) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&n.to_be_bytes());
    hash
}

fn sign_in(person: u64) -> Command {
    let id = u128::from(person);
    Command::SignIn {
        lookup: hash(person),
        attempt: hash(person),
        seed: Box::new(AccountSeed {
            account: AccountId(id),
            vault: VaultId(id + (1 << 64)),
            keys: vec![WrappedKey { master: "m".into(), bytes: vec![7; 40] }],
            profile: Sealed(vec![8; 200]),
            roles: vec![Role::Citizen],
        }),
        session: SessionId(hash(person)),
        session_public_id: id,
        lifetime_ms: 3_600_000,
        acr: "high".into(),
        facts: Box::default(),
        trail: Box::new(Trail::bare(Actor::System, hash(person))),
        sealed_for: VaultId(id + (1 << 64)),
    }
}

fn new_node(id: u64) -> NewNode {
    // A site for each, so that an odd number of nodes all vote.
    let address = "127.0.0.1:1".parse().unwrap();
    NewNode {
        site: format!("site-{id}").parse().unwrap(),
        roles: vec![NodeRole::Metadata],
        storage: storage(id),
        quic: address,
        admin: address,
        gateway: None,
    }
}

fn storage(id: u64) -> StorageId {
    StorageId(u128::from(id) + 1000)
}

struct Cluster {
    fabric: Arc<Fabric>,
    dirs: BTreeMap<u64, TempDir>,
    nodes: BTreeMap<u64, Arc<Consensus>>,
    snapshot_every: u64,
}

impl Cluster {
    fn options(&self, id: u64) -> ConsensusOptions {
        let dir: PathBuf = self.dirs[&id].path().join("metadata");
        ConsensusOptions {
            heartbeat_ms: 200,
            election_ms: (800, 1600),
            drive_ms: 100,
            // No ticks: states are compared.
            tick_ms: 3_600_000,
            snapshot_every_entries: self.snapshot_every,
            keep_log_entries: 2,
            ..ConsensusOptions::new(NodeId(id), storage(id), CLUSTER, dir)
        }
    }

    fn create(&mut self, id: u64) {
        self.dirs.insert(id, tempfile::tempdir().unwrap());
        Consensus::create(&RocksDatabases, &self.options(id)).unwrap();
    }

    async fn open(&mut self, id: u64) {
        let options = self.options(id);
        for attempt in 0.. {
            let link = Arc::new(Link { fabric: Arc::clone(&self.fabric), me: id });
            match Consensus::open(world(), options.clone(), link).await {
                Ok(node) => {
                    self.fabric.nodes.lock().unwrap().insert(id, Arc::downgrade(&node));
                    self.nodes.insert(id, node);
                    return;
                }
                // The database of the replica before is still being closed.
                Err(OpenError::Store(e)) if attempt < 100 && e.to_string().contains("lock") => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(e) => panic!("node {id} does not open: {e}"),
            }
        }
    }

    async fn close(&mut self, id: u64) {
        self.fabric.nodes.lock().unwrap().remove(&id);
        if let Some(node) = self.nodes.remove(&id) {
            node.shutdown().await;
        }
    }

    async fn start(count: u64, snapshot_every: u64) -> Self {
        let mut cluster = Self { fabric: Arc::default(), dirs: BTreeMap::new(), nodes: BTreeMap::new(), snapshot_every };
        cluster.create(1);
        cluster.open(1).await;
        let init = Command::InitCluster {
            id: CLUSTER,
            name: "test".into(),
            code: Code::STANDARD,
            small_max_bytes: 16384,
            chunk_bytes: 1 << 20,
            quota_bytes: 1 << 30,
            node: new_node(1),
        };
        assert_eq!(cluster.nodes[&1].initialise(init.clone()).await.unwrap(), NodeId(1));
        assert!(cluster.nodes[&1].initialise(init).await.is_err(), "a cluster begins once");
        for id in 2..=count {
            cluster.join(id).await;
        }
        let all: BTreeSet<NodeId> = (1..=count).map(NodeId).collect();
        cluster.voters(&all).await;
        cluster
    }

    async fn join(&mut self, id: u64) {
        let token = TokenHash(hash(id));
        let site = new_node(id).site;
        let create = Command::CreateJoinToken { hash: token, site, roles: vec![NodeRole::Metadata], lifetime_ms: 600_000 };
        let first = self.nodes.values().next().unwrap();
        assert!(matches!(first.propose(create).await.unwrap(), Outcome::TokenCreated(_)));
        let redeem = Command::RedeemJoinToken { hash: token, node: new_node(id) };
        assert_eq!(first.propose(redeem.clone()).await.unwrap(), Outcome::NodeAdded { node: NodeId(id) });
        assert!(matches!(first.propose(redeem).await.unwrap(), Outcome::Refused(_)), "a token is good once");
        self.create(id);
        self.open(id).await;
    }

    async fn voters(&self, wanted: &BTreeSet<NodeId>) {
        eventually("the voters", || async {
            for node in self.nodes.values() {
                let status = node.status().await;
                if &status.voters != wanted || status.leader.is_none() {
                    return false;
                }
            }
            true
        })
        .await;
    }

    async fn leader(&self) -> u64 {
        let found = Mutex::new(0);
        eventually("a leader", || async {
            for (id, node) in &self.nodes {
                let status = node.status().await;
                if !self.fabric.cut.lock().unwrap().contains(id) && status.role == ReplicaRole::Leader && status.quorum_ok {
                    *found.lock().unwrap() = *id;
                    return true;
                }
            }
            false
        })
        .await;
        found.into_inner().unwrap()
    }

    async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        *self.nodes.keys().find(|id| **id != leader).unwrap()
    }

    /// Signs somebody in, on any node that has a quorum.
    async fn fill(&self, people: std::ops::Range<u64>) {
        let node = &self.nodes[&self.leader().await];
        for person in people {
            assert!(matches!(node.propose(sign_in(person)).await.unwrap(), Outcome::SignedIn { created: true, .. }));
        }
    }

    /// All replicas come to the same state.
    async fn agree(&self) {
        eventually("the same state everywhere", || async {
            let mut states = Vec::new();
            for node in self.nodes.values() {
                states.push((*node.watch_applied().borrow(), node.view().scan(&[], &[0xff; 40], 1_000_000).unwrap()));
            }
            states.windows(2).all(|pair| pair[0] == pair[1])
        })
        .await;
    }
}

fn knows(node: &Consensus, person: u64) -> bool {
    node.view().get(&keys::lookup(&hash(person))).unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_takes_commands_and_every_node_sees_what_was_acknowledged() {
    let cluster = Cluster::start(3, 1000).await;
    for (person, node) in (100..).zip(cluster.nodes.values()) {
        assert!(matches!(node.propose(sign_in(person)).await.unwrap(), Outcome::SignedIn { created: true, .. }));
        for other in cluster.nodes.values() {
            other.linearize().await.unwrap();
            assert!(knows(other, person));
        }
    }
    let mut large = sign_in(7);
    if let Command::SignIn { seed, .. } = &mut large {
        seed.profile = Sealed(vec![0; REQUEST_BYTES_MAX]);
    }
    assert_eq!(cluster.nodes[&1].propose(large).await, Err(MetadataError::TooLarge));
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_after_a_lost_answer_gets_the_first_answer() {
    let cluster = Cluster::start(3, 1000).await;
    let follower = &cluster.nodes[&cluster.follower().await];
    *cluster.fabric.lose_answers.lock().unwrap() = 2;
    let outcome = follower.propose(sign_in(5)).await.unwrap();
    assert_eq!(cluster.fabric.lost_answers.load(Ordering::SeqCst), 2);
    // A second application would have been refused: the attempt is used.
    assert!(matches!(outcome, Outcome::SignedIn { created: true, .. }), "{outcome:?}");
    assert_eq!(follower.propose(sign_in(5)).await.unwrap(), Outcome::Refused(Refusal::AttemptUsed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_has_no_quorum_and_the_others_go_on() {
    let cluster = Cluster::start(5, 1000).await;
    cluster.fill(0..3).await;
    let old = cluster.leader().await;
    cluster.fabric.cut.lock().unwrap().insert(old);
    assert_eq!(cluster.nodes[&old].linearize().await, Err(MetadataError::NoQuorum));
    let new = cluster.leader().await;
    assert_ne!(new, old);
    cluster.fill(3..6).await;
    assert_eq!(cluster.nodes[&old].propose(sign_in(99)).await, Err(MetadataError::NoQuorum));
    assert!(!knows(&cluster.nodes[&old], 4));
    cluster.fabric.cut.lock().unwrap().clear();
    cluster.leader().await;
    eventually("the old leader catches up", || async {
        let node = &cluster.nodes[&old];
        node.linearize().await.is_ok() && (0..6).all(|person| knows(node, person))
    })
    .await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_asks_and_never_raises_the_term() {
    let cluster = Cluster::start(3, 1000).await;
    let lonely = cluster.follower().await;
    let term = cluster.nodes[&lonely].status().await.term;
    cluster.fabric.cut.lock().unwrap().insert(lonely);
    let counters = cluster.nodes[&lonely].counters();
    let stood = counters.elections.load(Ordering::SeqCst);
    let asked = counters.leader_polls.load(Ordering::SeqCst);
    eventually("it asks again and again", || async { counters.leader_polls.load(Ordering::SeqCst) >= asked + 5 }).await;
    assert_eq!(counters.elections.load(Ordering::SeqCst), stood);
    assert_eq!(cluster.nodes[&lonely].status().await.term, term);
    cluster.fabric.cut.lock().unwrap().clear();
    eventually("a linearizable read", || async { cluster.nodes[&lonely].linearize().await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_all_keeps_everything() {
    let mut cluster = Cluster::start(3, 20).await;
    cluster.fill(0..60).await;
    let ids: Vec<u64> = cluster.nodes.keys().copied().collect();
    for id in &ids {
        cluster.close(*id).await;
    }
    for id in &ids {
        cluster.open(*id).await;
    }
    cluster.leader().await;
    for node in cluster.nodes.values() {
        eventually("a linearizable read", || async { node.linearize().await.is_ok() }).await;
        assert!((0..60).all(|person| knows(node, person)));
    }
    cluster.fill(60..62).await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_is_refused_under_its_old_id_and_comes_back_as_a_new_one_by_snapshot() {
    let mut cluster = Cluster::start(3, 20).await;
    cluster.fill(0..100).await;
    let wiped = cluster.follower().await;
    cluster.close(wiped).await;
    std::fs::remove_dir_all(cluster.dirs[&wiped].path().join("metadata")).unwrap();
    let link = Arc::new(Link { fabric: Arc::clone(&cluster.fabric), me: wiped });
    let refused = Consensus::open(world(), cluster.options(wiped), link).await;
    assert!(matches!(refused.err(), Some(OpenError::StorageLost(_))));

    cluster.join(4).await;
    let newcomer = Arc::clone(&cluster.nodes[&4]);
    eventually("the newcomer has everything", || async { (0..100).all(|person| knows(&newcomer, person)) }).await;
    assert!(newcomer.counters().snapshots_installed.load(Ordering::SeqCst) > 0);
    eventually("a linearizable read", || async { newcomer.linearize().await.is_ok() }).await;
    cluster.agree().await;

    // What came by snapshot is there after a restart too.
    drop(newcomer);
    cluster.close(4).await;
    cluster.open(4).await;
    assert!((0..100).all(|person| knows(&cluster.nodes[&4], person)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_cut_off_leaves_the_old_state() {
    let mut cluster = Cluster::start(3, 20).await;
    cluster.fill(0..100).await;
    let behind = cluster.follower().await;
    cluster.fabric.cut.lock().unwrap().insert(behind);
    cluster.fill(100..200).await;
    cluster.fabric.stream_limit.store(5000, Ordering::SeqCst);
    cluster.fabric.cut.lock().unwrap().clear();
    eventually("a broken transfer", || async { cluster.fabric.broken_streams.load(Ordering::SeqCst) >= 2 }).await;
    let node = Arc::clone(&cluster.nodes[&behind]);
    assert!(knows(&node, 0), "the old state is readable");
    assert!(!knows(&node, 199));
    drop(node);
    // A restart in between changes nothing about that.
    cluster.close(behind).await;
    cluster.open(behind).await;
    assert!(knows(&cluster.nodes[&behind], 0));
    cluster.fabric.stream_limit.store(0, Ordering::SeqCst);
    eventually("the transfer succeeds", || async { knows(&cluster.nodes[&behind], 199) }).await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_share_few_rounds() {
    let cluster = Cluster::start(3, 1000).await;
    let leader = cluster.leader().await;
    let rounds = || cluster.nodes[&leader].counters().read_rounds.load(Ordering::SeqCst);
    for id in [leader, cluster.follower().await] {
        let before = rounds();
        // All wait before the first yields, so that what is counted is the sharing and not the machine's load.
        let readers = (0..100).map(|_| cluster.nodes[&id].linearize());
        for answer in futures_util::future::join_all(readers).await {
            answer.unwrap();
        }
        let used = rounds() - before;
        assert!((1..=25).contains(&used), "100 readers took {used} rounds");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_few_syncs() {
    let cluster = Cluster::start(3, 1000).await;
    let node = &cluster.nodes[&cluster.leader().await];
    let before = node.counters().log_syncs.load(Ordering::SeqCst);
    let writers: Vec<_> = (0..200)
        .map(|person| {
            let node = Arc::clone(node);
            tokio::spawn(async move { node.propose(sign_in(person)).await })
        })
        .collect();
    for writer in writers {
        assert!(matches!(writer.await.unwrap().unwrap(), Outcome::SignedIn { created: true, .. }));
    }
    let used = node.counters().log_syncs.load(Ordering::SeqCst) - before;
    assert!(used < 150, "200 commands took {used} syncs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_speaks_only_for_itself_and_garbage_is_refused() {
    let cluster = Cluster::start(3, 1000).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let node = &cluster.nodes[&follower];
    for call in [PeerCall::AppendEntries, PeerCall::Vote, PeerCall::Propose, PeerCall::ReadIndex, PeerCall::Sight] {
        for body in [vec![], vec![9, 9, 9], vec![0xff; 5 << 20]] {
            assert!(node.handle_call(NodeId(leader), call, body.into()).await.is_err(), "{call:?}");
        }
    }
    let mut nothing: &[u8] = &[];
    assert!(node.handle_stream(NodeId(leader), Bytes::from_static(&[1, 2]), &mut nothing, 1 << 60).await.is_err());
    node.propose(sign_in(1)).await.unwrap();
    cluster.agree().await;
}
