//! A metadata group of three replicas on simulated machines, in one runtime.
//!
//! Owns: making the group, power cuts, restarts, cuts of the network, waiting. Not: what is asked of it.
//! Holds: (1) the replicas are the production ones; (2) a replica whose machine lost power changes nothing any more;
//! (3) blocking work runs at once, so the order of calls follows from the order of messages.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use kluis_chunkstore::{
    code::Code,
    disk::fault::FaultyFiles,
    env::{Blocking, Clock, FileSystem},
    ids::{ClusterId, NodeId, StorageId},
};
use kluis_raft::{
    client::Metadata,
    command::{AccountSeed, Command, NewNode},
    consensus::{Consensus, ConsensusOptions, PeerCall, PeerError, PeerTransport, ReplicaRole, World},
    model::{AccountId, Actor, NodeRole, Role, Sealed, SessionId, TokenHash, Trail, VaultId, WrappedKey},
    outcome::Outcome,
};
use tokio::{
    io::AsyncRead,
    time::{Instant, sleep, timeout},
};

use super::Target;
use crate::sim::{
    database::SimDatabases,
    disk::SimFiles,
    env::{SimEntropy, SimProbe},
    rng::Rng,
};

const CLUSTER: ClusterId = ClusterId(42);
/// Replicas, each of a site of its own.
pub(super) const REPLICAS: u64 = 3;
/// When the world of a group begins, milliseconds since 1970.
const EPOCH_MS: u64 = 1_800_000_000_000;
/// One way of a message.
const LATENCY: Duration = Duration::from_millis(1);
/// Between two looks at something that is awaited, and how many there are.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS: usize = 1_200;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wall-clock time that goes as timers do.
struct SinceBegun(Instant);

impl Clock for SinceBegun {
    fn now_ms(&self) -> u64 {
        EPOCH_MS + u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }
}

struct Inline;

impl Blocking for Inline {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

/// The network: who is there, who is cut off.
#[derive(Default)]
struct Wires {
    nodes: Mutex<BTreeMap<u64, Weak<Consensus>>>,
    cut: Mutex<BTreeSet<u64>>,
}

impl Wires {
    fn reach(&self, from: u64, to: NodeId) -> Result<Arc<Consensus>, PeerError> {
        let cut = lock(&self.cut);
        if cut.contains(&from) || cut.contains(&to.0) {
            return Err(PeerError::Unreachable("cut off".into()));
        }
        let node = lock(&self.nodes).get(&to.0).and_then(Weak::upgrade);
        node.ok_or_else(|| PeerError::Unreachable("not running".into()))
    }
}

struct Link {
    wires: Arc<Wires>,
    me: u64,
}

#[async_trait]
impl PeerTransport for Link {
    async fn call(&self, to: NodeId, call: PeerCall, body: Bytes, deadline: Duration) -> Result<Bytes, PeerError> {
        sleep(LATENCY).await;
        let peer = self.wires.reach(self.me, to)?;
        let answer = timeout(deadline, peer.handle_call(NodeId(self.me), call, body)).await;
        // The answer takes the same way back.
        self.wires.reach(self.me, to)?;
        answer.map_err(|_| PeerError::Timeout)?.map_err(PeerError::Refused)
    }

    async fn stream(
        &self,
        to: NodeId,
        header: Bytes,
        mut body: Box<dyn AsyncRead + Send + Unpin>,
        len: u64,
        deadline: Duration,
    ) -> Result<Bytes, PeerError> {
        sleep(LATENCY).await;
        let peer = self.wires.reach(self.me, to)?;
        let answer = timeout(deadline, peer.handle_stream(NodeId(self.me), header, &mut *body, len)).await;
        answer.map_err(|_| PeerError::Timeout)?.map_err(PeerError::Refused)
    }
}

struct Machine {
    files: SimFiles,
    calls: FaultyFiles,
    databases: SimDatabases,
    rng: Rng,
    node: Option<Arc<Consensus>>,
}

/// The group.
pub(super) struct Group {
    machines: BTreeMap<u64, Machine>,
    wires: Arc<Wires>,
    begun: Instant,
    snapshot_every: u64,
    /// What the code came to.
    pub(super) probe: SimProbe,
}

impl Group {
    /// A group whose replicas all vote.
    pub(super) async fn found(rng: &mut Rng, snapshot_every: u64) -> Self {
        let probe = SimProbe::new(rng.fork("probe"));
        probe.calm();
        let mut group = Self { machines: BTreeMap::new(), wires: Arc::default(), begun: Instant::now(), snapshot_every, probe };
        group.add(1, rng).await;
        let init = Command::InitCluster {
            id: CLUSTER,
            name: "group".into(),
            code: Code::STANDARD,
            small_max_bytes: 16 * 1024,
            chunk_bytes: 1 << 20,
            quota_bytes: 1 << 30,
            node: new_node(1),
        };
        group.node(1).initialise(init).await.expect("the first replica begins the group");
        for id in 2..=REPLICAS {
            let (hash, site) = (TokenHash([u8::try_from(id).unwrap_or(0); 32]), new_node(id).site);
            let create = Command::CreateJoinToken { hash, site, roles: vec![NodeRole::Metadata], lifetime_ms: 600_000 };
            group.node(1).propose(create).await.expect("a token");
            let joined = group.node(1).propose(Command::RedeemJoinToken { hash, node: new_node(id) }).await;
            assert_eq!(joined, Ok(Outcome::NodeAdded { node: NodeId(id) }));
            group.add(id, rng).await;
        }
        for _ in 0..LOOKS {
            if group.node(1).status().await.voters.len() as u64 == REPLICAS {
                return group;
            }
            sleep(LOOK_EVERY).await;
        }
        panic!("the replicas never all vote");
    }

    async fn add(&mut self, id: u64, rng: &mut Rng) {
        let mut own = rng.fork(&format!("machine {id}"));
        let (files, databases) = (SimFiles::new(own.fork("disks"), Arc::default()), SimDatabases::new(own.fork("databases")));
        Consensus::create(&databases, &self.options(id)).expect("a database");
        let calls = FaultyFiles::new(Arc::new(files.clone()));
        self.machines.insert(id, Machine { files, calls, databases, rng: own, node: None });
        self.start(id).await.expect("a new replica starts");
    }

    fn options(&self, id: u64) -> ConsensusOptions {
        ConsensusOptions {
            heartbeat_ms: 200,
            election_ms: (800, 1600),
            drive_ms: 200,
            tick_ms: 1_000,
            snapshot_every_entries: self.snapshot_every,
            keep_log_entries: 2,
            ..ConsensusOptions::new(NodeId(id), storage(id), CLUSTER, dir(id))
        }
    }

    fn machine(&self, id: u64) -> &Machine {
        self.machines.get(&id).expect("a machine")
    }

    /// A replica that runs.
    pub(super) fn node(&self, id: u64) -> Arc<Consensus> {
        self.machine(id).node.clone().expect("the replica runs")
    }

    /// The files of a replica, as its process asks for them.
    pub(super) fn files(&self, id: u64) -> Target {
        Target::Files(self.machine(id).calls.clone())
    }

    /// The databases of a replica.
    pub(super) fn databases(&self, id: u64) -> Target {
        Target::Databases(self.machine(id).databases.clone())
    }

    /// Names of the files of snapshots of a replica.
    pub(super) fn snapshot_files(&self, id: u64) -> Vec<PathBuf> {
        self.machine(id).files.list(&dir(id).join("snapshots")).unwrap_or_default()
    }

    /// Nothing passes to and from a replica, or again.
    pub(super) fn cut(&self, id: u64, cut: bool) {
        if cut {
            lock(&self.wires.cut).insert(id);
        } else {
            lock(&self.wires.cut).remove(&id);
        }
    }

    /// The machine of a replica loses power.
    pub(super) async fn power_cut(&mut self, id: u64) {
        lock(&self.wires.nodes).remove(&id);
        let machine = self.machines.get_mut(&id).expect("a machine");
        // First the machine stops listening to the process, then the process ends.
        machine.files = machine.files.crash(true);
        machine.databases = machine.databases.crash(true);
        if let Some(node) = machine.node.take() {
            let _ = timeout(Duration::from_secs(10), node.shutdown()).await;
        }
    }

    /// Starts a replica on what its machine holds.
    pub(super) async fn start(&mut self, id: u64) -> Result<(), String> {
        let (begun, options, probe) = (self.begun, self.options(id), self.probe.clone());
        let machine = self.machines.get_mut(&id).expect("a machine");
        machine.calls = FaultyFiles::new(Arc::new(machine.files.clone()));
        let world = World {
            clock: Arc::new(SinceBegun(begun)),
            entropy: Arc::new(SimEntropy(Mutex::new(machine.rng.fork("entropy")))),
            blocking: Arc::new(Inline),
            files: Arc::new(machine.calls.clone()),
            databases: Arc::new(machine.databases.clone()),
            probe: Arc::new(probe),
        };
        let link = Arc::new(Link { wires: self.wires.clone(), me: id });
        let node = Consensus::open(world, options, link).await.map_err(|e| e.to_string())?;
        lock(&self.wires.nodes).insert(id, Arc::downgrade(&node));
        machine.node = Some(node);
        Ok(())
    }

    /// The replica that leads, once one does.
    pub(super) async fn leader(&self) -> Option<u64> {
        for _ in 0..LOOKS {
            for id in 1..=REPLICAS {
                let status = self.node(id).status().await;
                if status.role == ReplicaRole::Leader && status.quorum_ok {
                    return Some(id);
                }
            }
            sleep(LOOK_EVERY).await;
        }
        None
    }

    /// How far a replica has come. Asks nothing of its database, so it is none of the calls that are counted.
    pub(super) fn applied(&self, id: u64) -> u64 {
        *self.node(id).watch_applied().borrow()
    }

    /// Waits until all replicas hold the same, and have applied the same.
    pub(super) async fn agree(&self) -> bool {
        for _ in 0..LOOKS {
            let applied: BTreeSet<u64> = (1..=REPLICAS).map(|id| self.applied(id)).collect();
            // Only then are they worth reading whole.
            if applied.len() == 1 {
                let states: Vec<_> = (1..=REPLICAS).map(|id| self.node(id).view().scan(&[], &[0xff; 40], usize::MAX)).collect();
                if states.iter().all(|state| state.is_ok() && Some(state) == states.first()) {
                    return true;
                }
            }
            sleep(LOOK_EVERY).await;
        }
        false
    }
}

fn dir(id: u64) -> PathBuf {
    PathBuf::from(format!("/n{id}/metadata"))
}

fn storage(id: u64) -> StorageId {
    StorageId(u128::from(id) + 1_000)
}

fn new_node(id: u64) -> NewNode {
    let address = std::net::SocketAddr::from(([10, 0, 0, u8::try_from(id).unwrap_or(0)], 1));
    NewNode {
        site: format!("dc{id}").parse().expect("a site's name"),
        roles: vec![NodeRole::Metadata],
        storage: storage(id),
        quic: address,
        admin: address,
        gateway: None,
    }
}

/// The account of a person, and the vault.
pub(super) fn ids(person: u64) -> (AccountId, VaultId) {
    (AccountId(u128::from(person)), VaultId(u128::from(person) + (1 << 64)))
}

/// A person signs in for the first time.
pub(super) fn sign_in(person: u64) -> Command {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&person.to_be_bytes());
    let (account, vault) = ids(person);
    Command::SignIn {
        lookup: hash,
        attempt: hash,
        seed: Box::new(AccountSeed {
            account,
            vault,
            keys: vec![WrappedKey { master: "m".into(), bytes: vec![7; 40] }],
            profile: Sealed(vec![8; 200]),
            roles: vec![Role::Citizen],
        }),
        session: SessionId(hash),
        session_public_id: u128::from(person),
        lifetime_ms: 24 * 3_600_000,
        acr: "high".into(),
        facts: Box::default(),
        trail: Box::new(Trail::bare(Actor::System, hash)),
        sealed_for: vault,
    }
}
