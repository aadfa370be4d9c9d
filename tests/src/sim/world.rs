//! Nine nodes on three sites, their clocks, and how time passes for them.
//!
//! Owns: making the cluster (as an operator would: the first node begins it, the others join, the disks are taken
//! into use), windows of time, crash and restart, asking a node to do something. Not: which faults come when.
//! Holds: (1) a node is what `Node::start_member` makes it, in a runtime of its own; (2) a crash ends the runtime
//! after the machine stopped taking anything from it; (3) what a node is asked runs inside its runtime, and is
//! lost with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Request, Response};
use kluis_chunkstore::{
    code::Code,
    disk::{Disk, fault::FaultyFiles},
    env::Env,
    ids::{ClusterId, NodeId, SiteName, StorageId},
    net::identity::NodeName,
};
use kluis_gateway::{
    api::{Gateway, auth::sign_in},
    auth::{device::Device, oidc::Identity},
    keys::file::FileMasterKey,
    router::router,
};
use kluis_node::{
    assemble::Node,
    config::{
        Config,
        types::{GatewayConfig, MasterKeyConfig},
    },
    join::format_disk,
    member::{self, Card},
};
use kluis_raft::{
    client::Metadata,
    command::{Command, NewNode},
    consensus::{Consensus, ConsensusOptions},
    model::{NodeRole, TokenHash},
    outcome::Outcome,
    view,
};
use tempfile::TempDir;
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};
use tower::ServiceExt;
use tracing::Instrument;

use super::{
    authority::Authority,
    database::SimDatabases,
    disk::SimFiles,
    elections,
    env::{Sighting, SimBlocking, SimClock, SimEntropy, SimProbe, SimSockets},
    fabric::{Fabric, Links, WINDOW_US},
    rng::Rng,
};

/// Sites.
pub const SITES: usize = 3;
/// Nodes of each.
pub const NODES_PER_SITE: usize = 3;
/// All nodes.
pub const NODES: usize = SITES * NODES_PER_SITE;
/// Disks of each node.
pub const DISKS: usize = 2;
/// Plaintext bytes of a chunk: small, so that documents have many.
pub const CHUNK_BYTES: u32 = 16 * 1024;
/// Documents up to this many bytes are copied whole.
pub const SMALL_MAX_BYTES: u32 = 2 * 1024;
/// Life of an upload.
pub const UPLOAD_LIFETIME: Duration = Duration::from_secs(20);
/// Age below which an unwanted shard stays.
pub const GRACE: Duration = Duration::from_secs(4);

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node that runs.
pub struct Live {
    /// The node.
    pub node: Arc<Node>,
    gateway: Arc<OnceLock<(Arc<Gateway>, Router)>>,
}

impl Live {
    /// Its gateway, once the cluster let it be built.
    pub fn gateway(&self) -> Option<&(Arc<Gateway>, Router)> {
        self.gateway.get()
    }
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
type Job = Box<dyn FnOnce(Arc<Live>) -> Work + Send>;

/// A node could not be asked, or died before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

/// How clients and the test reach nodes.
#[derive(Clone, Default)]
pub struct Switchboard(Arc<Mutex<Vec<Option<mpsc::UnboundedSender<Job>>>>>);

impl Switchboard {
    /// Has node `at` (from 0) do something, and waits for what comes of it.
    ///
    /// # Errors
    /// [`Lost`], also after `patience`.
    pub async fn ask<T, F>(&self, at: usize, patience: Duration, work: impl FnOnce(Arc<Live>) -> F + Send + 'static) -> Result<T, Lost>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |live| {
            let work = work(live);
            Box::pin(async move {
                let _ = reply.send(work.await);
            })
        });
        let sent = lock(&self.0).get(at).cloned().flatten().is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            return Err(Lost);
        }
        timeout(patience, answer).await.ok().and_then(Result::ok).ok_or(Lost)
    }

    /// A request to the gateway of node `at`, answered with its whole body.
    ///
    /// # Errors
    /// [`Lost`]: it is not known whether the request was carried out.
    pub async fn http(&self, at: usize, patience: Duration, request: Request<Body>) -> Result<Response<Bytes>, Lost> {
        let answer = self.ask(at, patience, move |live| async move {
            let (_, router) = live.gateway()?;
            let response = router.clone().oneshot(request).await.ok()?;
            let (parts, body) = response.into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await.ok()?;
            Some(Response::from_parts(parts, bytes))
        });
        answer.await?.ok_or(Lost)
    }

    /// Begins a session for a person at the gateway of node `at`; gives the bearer token.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn sign_in(
        &self,
        at: usize,
        patience: Duration,
        identity: impl FnOnce() -> Identity + Send + 'static,
    ) -> Result<String, Lost> {
        let answer = self.ask(at, patience, move |live| async move {
            let (gateway, _) = live.gateway()?;
            sign_in(gateway, &identity(), &Device::default()).await.ok().map(|begun| begun.token.to_text().to_string())
        });
        answer.await?.ok_or(Lost)
    }
}

/// One machine with its node.
pub struct Machine {
    /// Number of the node, from 1.
    pub number: u64,
    /// Its site, from 0.
    pub site: usize,
    /// Where it speaks QUIC.
    pub address: SocketAddr,
    /// Its disks.
    pub disks: Vec<PathBuf>,
    /// Its file systems.
    pub files: SimFiles,
    /// What its process asks of them, so that the n-th call can be made to fail; of the latest process.
    pub calls: FaultyFiles,
    /// Its databases.
    pub databases: SimDatabases,
    /// How far its clock is off.
    pub skew_ms: Arc<AtomicI64>,
    /// Longest wait of blocking work, in microseconds.
    pub slow_us: Arc<AtomicU64>,
    /// Why it did not start, if it did not.
    pub refused: Arc<OnceLock<String>>,
    dir: PathBuf,
    config: Option<Config>,
    rng: Rng,
    runtime: Option<Runtime>,
    begun: Option<Instant>,
}

impl Machine {
    /// Whether its process runs.
    pub fn is_up(&self) -> bool {
        self.runtime.is_some()
    }
}

/// The cluster, its network and its time.
pub struct World {
    /// The machines.
    pub machines: Vec<Machine>,
    /// The network.
    pub fabric: Fabric,
    /// How to ask a node.
    pub switchboard: Switchboard,
    /// What the code came to.
    pub probe: SimProbe,
    /// Where machines came in the last window.
    pub fresh: Vec<Sighting>,
    now_us: Arc<AtomicU64>,
    clients: Runtime,
    clients_begun: Instant,
    _dir: TempDir,
}

fn runtime() -> (Runtime, Instant) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let begun = runtime.block_on(async { Instant::now() });
    (runtime, begun)
}

/// Links as they are between three data centres of one country.
pub fn calm_links() -> Links {
    Links { near_us: (2_000, 2_000), far_us: (4_000, 8_000), loss: 0, duplicate: 0, straggle: 0 }
}

fn site_name(site: usize) -> SiteName {
    format!("dc{}", site + 1).parse().expect("a site's name")
}

fn cluster_id() -> ClusterId {
    ClusterId(0x6b6c_7569_735f_7369_6d00)
}

const CLUSTER_NAME: &str = "sim";

impl World {
    /// Nine machines without a cluster.
    pub fn new(rng: &mut Rng) -> Self {
        let dir = tempfile::Builder::new().prefix("kluis-sim-").tempdir().expect("a directory");
        let now_us: Arc<AtomicU64> = Arc::default();
        let mut machines = Vec::new();
        let mut site_of = BTreeMap::new();
        for index in 0..NODES {
            let (number, site) = (index as u64 + 1, index / NODES_PER_SITE);
            let address = SocketAddr::from(([10, 77, site as u8, 1], 7000 + number as u16));
            site_of.insert(address, site);
            let mut own = rng.fork(&format!("machine {number}"));
            let files = SimFiles::new(own.fork("disks"), now_us.clone());
            machines.push(Machine {
                number,
                site,
                address,
                disks: (0..DISKS).map(|d| PathBuf::from(format!("/n{number}/d{}", d + 1))).collect(),
                calls: FaultyFiles::new(Arc::new(files.clone())),
                files,
                databases: SimDatabases::new(own.fork("databases")),
                skew_ms: Arc::default(),
                slow_us: Arc::new(AtomicU64::new(1_500)),
                refused: Arc::default(),
                dir: dir.path().join(format!("n{number}")),
                config: None,
                rng: own,
                runtime: None,
                begun: None,
            });
        }
        let (clients, clients_begun) = runtime();
        let switchboard = Switchboard(Arc::new(Mutex::new(vec![None; NODES])));
        Self {
            machines,
            fabric: Fabric::new(rng.fork("fabric"), calm_links(), site_of),
            switchboard,
            probe: SimProbe::new(rng.fork("probe")),
            fresh: Vec::new(),
            now_us,
            clients,
            clients_begun,
            _dir: dir,
        }
    }

    /// Microseconds since the beginning.
    pub fn now_us(&self) -> u64 {
        self.now_us.load(Ordering::Relaxed)
    }

    /// The clock of the world, for tasks of clients.
    pub fn clock(&self) -> Arc<AtomicU64> {
        self.now_us.clone()
    }

    /// Has a client do something; it goes on while time passes.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.clients.spawn(work);
    }

    /// One window of time, for everybody.
    pub fn step(&mut self) {
        let now = self.now_us();
        self.fabric.deliver(now);
        let end = Duration::from_micros(now + WINDOW_US);
        for machine in &mut self.machines {
            if let (Some(runtime), Some(begun)) = (&machine.runtime, machine.begun) {
                runtime.block_on(async move { sleep_until(begun + end).await });
            }
        }
        let clients_end = self.clients_begun + end;
        self.clients.block_on(async move { sleep_until(clients_end).await });
        self.now_us.store(now + WINDOW_US, Ordering::Relaxed);
        self.fresh = self.probe.take_fresh();
        for (at, machine) in self.machines.iter().enumerate() {
            if machine.databases.take_voted() {
                self.fresh.push((at, elections::sighting(machine)));
            }
        }
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now_us() + u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        while self.now_us() < end {
            self.step();
        }
    }

    /// Runs a client's question to its end, at most for `patience` of the world's time.
    pub fn finish<T: Send + 'static>(&mut self, patience: Duration, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (done, mut result) = oneshot::channel();
        self.clients.spawn(async move {
            let _ = done.send(work.await);
        });
        let end = self.now_us() + u64::try_from(patience.as_micros()).unwrap_or(u64::MAX);
        while self.now_us() < end {
            self.step();
            match result.try_recv() {
                Ok(found) => return Some(found),
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => return None,
            }
        }
        None
    }

    /// Asks a node something and runs until it answers.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn ask<T, F>(&mut self, at: usize, patience: Duration, work: impl FnOnce(Arc<Live>) -> F + Send + 'static) -> Result<T, Lost>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let switchboard = self.switchboard.clone();
        self.finish(patience + Duration::from_secs(1), async move { switchboard.ask(at, patience, work).await }).unwrap_or(Err(Lost))
    }

    /// Runs until `look` finds something; asks again every 100 ms.
    pub fn await_some<T>(&mut self, patience: Duration, mut look: impl FnMut(&mut Self) -> Option<T>) -> Option<T> {
        let end = self.now_us() + u64::try_from(patience.as_micros()).unwrap_or(u64::MAX);
        while self.now_us() < end {
            if let Some(found) = look(self) {
                return Some(found);
            }
            self.run_for(Duration::from_millis(100));
        }
        None
    }

    fn env(&mut self, at: usize) -> Env {
        let (fabric, now_us, probe) = (self.fabric.clone(), self.now_us.clone(), self.probe.clone());
        let machine = &mut self.machines[at];
        machine.calls = FaultyFiles::new(Arc::new(machine.files.clone()));
        Env {
            clock: Arc::new(SimClock { now_us, skew_ms: machine.skew_ms.clone() }),
            entropy: Arc::new(SimEntropy(Mutex::new(machine.rng.fork("entropy")))),
            files: Arc::new(machine.calls.clone()),
            databases: Arc::new(machine.databases.clone()),
            blocking: Arc::new(SimBlocking { rng: Mutex::new(machine.rng.fork("blocking")), slow_us: machine.slow_us.clone() }),
            probe: Arc::new(probe.of(at)),
            sockets: Arc::new(SimSockets(fabric)),
        }
    }

    /// Starts the process of a machine.
    pub fn start(&mut self, at: usize) {
        assert!(!self.machines[at].is_up(), "it runs already");
        let env = self.env(at);
        let now = Duration::from_micros(self.now_us());
        let machine = &mut self.machines[at];
        let config = machine.config.clone().expect("the machine is a member");
        let (runtime, begun) = runtime();
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        machine.refused = Arc::default();
        let refused = machine.refused.clone();
        let span = tracing::error_span!("node", n = machine.number);
        runtime.spawn(
            async move {
                let is_gateway = config.gateway.is_some();
                let node = match Node::start_member(config, env).await {
                    Ok(node) => Arc::new(node),
                    Err(why) => {
                        let _ = refused.set(why.to_string());
                        return;
                    }
                };
                let live = Arc::new(Live { node: node.clone(), gateway: Arc::default() });
                if is_gateway {
                    let (node, place) = (node.clone(), live.gateway.clone());
                    tokio::spawn(async move {
                        if let Ok(gateway) = node.gateway().await
                            && let Ok(router) = router(gateway.clone())
                        {
                            let _ = place.set((gateway, router));
                        }
                    });
                }
                while let Some(job) = queue.recv().await {
                    tokio::spawn(job(live.clone()));
                }
            }
            .instrument(span),
        );
        // Its clock of timers shows what it would, had it run from the beginning.
        machine.begun = Some(begun.checked_sub(now).expect("monotonic clocks began long ago"));
        machine.runtime = Some(runtime);
        lock(&self.switchboard.0)[at] = Some(jobs);
    }

    /// Kills the process of a machine; with `power` what it had not synced may be gone.
    pub fn crash(&mut self, at: usize, power: bool) {
        lock(&self.switchboard.0)[at] = None;
        let machine = &mut self.machines[at];
        // First the machine stops listening to the process, then the process ends: whatever destructors do is lost.
        machine.files = machine.files.crash(power);
        machine.databases = machine.databases.crash(power);
        self.fabric.unbind(machine.address);
        machine.runtime = None;
        machine.begun = None;
    }

    /// What an operator does about disks that failed: trusts them again. The machine's process does not run.
    pub fn trust_disks(&mut self, at: usize) {
        let (env, disks) = (self.env(at), self.machines[at].disks.clone());
        let (operator, _) = runtime();
        operator.block_on(async {
            for disk in &disks {
                Disk::clear_failure(&env, disk).await.expect("the note of a failure goes");
            }
        });
    }

    /// Makes the machines one cluster with every disk in use.
    pub fn found_cluster(&mut self) {
        let authority = Authority::new(self._dir.path());
        for at in 0..NODES {
            self.prepare(at, &authority);
        }
        self.enrol(0, Vec::new());
        self.start(0);
        self.await_some(Duration::from_secs(30), |world| {
            world.ask(0, Duration::from_secs(2), |live| async move { view::cluster(&*live.node.consensus.view()).ok()? }).ok()?
        })
        .expect("the first node begins the cluster");
        for at in 1..NODES {
            let (site, address) = (self.machines[at].site, self.machines[at].address);
            let (storage, roles) = (storage_of(at), roles_of(at));
            let hash = TokenHash([at as u8; 32]);
            let joined = self.ask(0, Duration::from_secs(10), move |live| async move {
                let consensus = &live.node.consensus;
                let create = Command::CreateJoinToken { hash, site: site_name(site), roles: roles.clone(), lifetime_ms: 60_000 };
                consensus.propose(create).await.ok()?;
                let node = NewNode { site: site_name(site), roles, storage, quic: address, admin: address, gateway: None };
                match consensus.propose(Command::RedeemJoinToken { hash, node }).await.ok()? {
                    Outcome::NodeAdded { node } => Some((node, view::nodes(&*consensus.view()).ok()?)),
                    _ => None,
                }
            });
            let (node, members) = joined.ok().flatten().expect("a node joins");
            assert_eq!(node, NodeId(at as u64 + 1));
            self.enrol(at, members);
            self.start(at);
        }
        self.await_some(Duration::from_secs(60), |world| {
            let status = world.ask(0, Duration::from_secs(2), |live| async move { live.node.consensus.status().await }).ok()?;
            (status.voters.len() == NODES).then_some(())
        })
        .expect("every node becomes a voter");
        self.take_disks_into_use();
        self.await_some(Duration::from_secs(60), |world| world.all_ready().then_some(())).expect("every node knows the disks");
    }

    /// Whether every node runs, is connected to every other one, and knows the newest topology; gateways serve.
    pub fn all_ready(&mut self) -> bool {
        let mut versions = BTreeSet::new();
        for at in 0..NODES {
            let ready = self.ask(at, Duration::from_secs(2), move |live| async move {
                let met = (1..=NODES as u64).all(|n| live.node.path.is_connected(NodeId(n)));
                let serves = !is_gateway(at) || live.gateway().is_some();
                (met && serves).then(|| live.node.path.topology().map_or(0, |t| t.version()))
            });
            match ready {
                Ok(Some(version)) if version > 0 => versions.insert(version),
                _ => return false,
            };
        }
        versions.len() == 1
    }

    /// What `kluis cluster apply-topology --apply` does: every disk that its node has comes in, the others go out.
    pub fn take_disks_into_use(&mut self) {
        self.await_some(Duration::from_secs(90), |world| {
            let mut open = BTreeSet::new();
            for at in 0..NODES {
                let found = world.ask(at, Duration::from_secs(2), |live| async move {
                    let disks = live.node.peers.disks.all();
                    disks
                        .iter()
                        .filter(|d| !matches!(d.state(), kluis_chunkstore::disk::DiskState::Failed { .. }))
                        .map(|d| d.label().disk)
                        .collect::<Vec<_>>()
                });
                let found = found.ok()?;
                if found.len() < DISKS {
                    return None;
                }
                open.extend(found);
            }
            let leader = world.leader();
            let leader = leader?;
            let applied = world.ask(leader, Duration::from_secs(10), move |live| async move {
                let consensus = &live.node.consensus;
                consensus.linearize().await.ok()?;
                let read = consensus.view();
                let (members, disks) = (view::nodes(&*read).ok()?, view::disks(&*read).ok()?);
                let known: Vec<_> = disks.into_iter().filter(|d| open.contains(&d.id)).collect();
                if known.len() < open.len() {
                    return None;
                }
                let version = view::topology(&*read).ok()?.map_or(0, |t| t.version());
                let nodes = members.iter().map(|m| kluis_chunkstore::topology::TopologyNode { id: m.id, site: m.site.clone() }).collect();
                let disks =
                    known.iter().map(|d| kluis_chunkstore::topology::TopologyDisk { id: d.id, node: d.node, weight: d.weight }).collect();
                let topology = kluis_chunkstore::topology::Topology::build(version + 1, Code::STANDARD, nodes, disks).ok()?;
                match consensus.propose(Command::ApplyTopology { expected_version: version, topology }).await.ok()? {
                    Outcome::TopologyApplied { .. } => Some(()),
                    _ => None,
                }
            });
            applied.ok().flatten()
        })
        .expect("the disks are taken into use");
    }

    /// The leader of the metadata group, from 0, as most of its nodes see it.
    pub fn leader(&mut self) -> Option<usize> {
        let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
        for at in 0..NODES {
            if !self.machines[at].is_up() {
                continue;
            }
            let status = self.ask(at, Duration::from_secs(1), |live| async move { live.node.consensus.status().await });
            if let Ok(Some(leader)) = status.map(|s| s.leader) {
                *votes.entry(leader.0).or_default() += 1;
            }
        }
        let (leader, count) = votes.into_iter().max_by_key(|(_, count)| *count)?;
        (count > NODES / 2).then(|| usize::try_from(leader - 1).unwrap_or(0))
    }

    /// Files that a node reads once at start: certificates, configuration, the master key.
    fn prepare(&mut self, at: usize, authority: &Authority) {
        let env = self.env(at);
        let machine = &mut self.machines[at];
        let identity = member::identity_dir(&machine.dir);
        fs::create_dir_all(&identity).expect("a directory");
        let name = NodeName { node: NodeId(machine.number), site: site_name(machine.site), cluster: CLUSTER_NAME.to_owned() };
        authority.issue(&identity, &name, machine.number);
        let paths: Vec<String> = machine.disks.iter().map(|d| format!("{:?}", d.display().to_string())).collect();
        let text = format!(
            "[node]\ndir = {:?}\n[listen]\nquic = \"{address}\"\nadmin = \"{address}\"\n[disks]\npaths = [{}]\nweight = 1\n",
            machine.dir.display().to_string(),
            paths.join(", "),
            address = machine.address,
        );
        let file = machine.dir.join("kluis.toml");
        fs::write(&file, text).expect("a file");
        let mut config = Config::load(&file, []).expect("a configuration");
        config.storage.segment_bytes = 512 * 1024;
        config.reconcile.interval = Duration::from_secs(3);
        config.reconcile.grace = GRACE;
        // A node that was away for some seconds is behind the beginning of the leader's log.
        config.raft.snapshot_every_entries = 80;
        config.limits.upload_lifetime = UPLOAD_LIFETIME;
        if is_gateway(at) {
            let key = authority.dir.join("master.key");
            if !key.exists() {
                FileMasterKey::create(&key, &*env.entropy).expect("a master key");
            }
            config.gateway = Some(GatewayConfig {
                public_url: "https://vault.example".parse().expect("a URL"),
                certificate: None,
                connections_per_address: None,
                loopback_exempt: true,
                body_max_bytes: 64 << 20,
                identity: Vec::new(),
                card: None,
                minimum_age: 0,
                master_key: MasterKeyConfig::File { path: key },
            });
        }
        machine.config = Some(config);
    }

    /// Makes a prepared machine a member: its card, its empty database, its formatted disks.
    fn enrol(&mut self, at: usize, members: Vec<kluis_raft::model::NodeRecord>) {
        let env = self.env(at);
        let machine = &self.machines[at];
        let card = Card {
            cluster: cluster_id(),
            cluster_name: CLUSTER_NAME.to_owned(),
            node: NodeId(machine.number),
            site: site_name(machine.site),
            roles: roles_of(at),
            storage: storage_of(at),
            first_peers: members,
        };
        let identity = member::identity_dir(&machine.dir);
        member::write_json(&identity.join("member.json"), &card).expect("a card");
        if at == 0 {
            let node = NewNode {
                site: card.site.clone(),
                roles: card.roles.clone(),
                storage: card.storage,
                quic: machine.address,
                admin: machine.address,
                gateway: None,
            };
            let begin = Command::InitCluster {
                id: card.cluster,
                name: card.cluster_name.clone(),
                code: Code::STANDARD,
                small_max_bytes: SMALL_MAX_BYTES,
                chunk_bytes: CHUNK_BYTES,
                quota_bytes: 1 << 30,
                node,
            };
            member::write_json(&identity.join("begin.json"), &begin).expect("the first command");
        }
        let options = ConsensusOptions::new(card.node, card.storage, card.cluster, member::metadata_dir(&machine.dir));
        Consensus::create(&*env.databases, &options).expect("a database");
        let disks = machine.disks.clone();
        let (maker, _) = runtime();
        maker.block_on(async {
            for disk in &disks {
                format_disk(&env, disk, &card).await.expect("a disk");
            }
        });
    }

    /// The disks of a machine as its node has them.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn disks(&mut self, at: usize) -> Result<Vec<Arc<Disk>>, Lost> {
        self.ask(at, Duration::from_secs(2), |live| async move { live.node.peers.disks.all() })
    }
}

/// Whether a machine is a gateway: the first of each site.
pub fn is_gateway(at: usize) -> bool {
    at.is_multiple_of(NODES_PER_SITE)
}

fn storage_of(at: usize) -> StorageId {
    StorageId(0xa000 + at as u128)
}

fn roles_of(at: usize) -> Vec<NodeRole> {
    let mut roles = vec![NodeRole::Metadata, NodeRole::Chunk];
    if is_gateway(at) {
        roles.push(NodeRole::Gateway);
    }
    roles
}
