//! Builds every part of a node once, in the order in which they need each other. Read it to see the machine.
//!
//! card -> identity -> disks -> peers -> hub (QUIC) -> consensus -> data path -> reconcile -> operators'
//! listener -> gateway. Stopping goes the other way: refuse, drain, flush, leave.
//!
//! Owns: construction and ordered stop. Not: what the parts do.
//! Holds: (1) a node that cannot work says why and ends with the exit code of that reason; (2) disks and log
//! are closed last, after everything that could still write.

use std::{
    fs,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use kluis_chunkstore::{
    disk::DiskOptions,
    env::{Env, NoProbe},
    env_real::{SystemClock, SystemEntropy, SystemFiles, ThreadPool},
    ids::NodeId,
    net::{Hub, HubOptions, NodeIdentity, sockets::SystemSockets},
};
use kluis_gateway::{
    api::{Gateway, GatewayConfig as HttpConfig, Guards, Health},
    auth::oidc::SignIn,
    keys::{
        KeyRing, LookupKey, MasterKey,
        file::FileMasterKey,
        pkcs11::{Pkcs11Config, Pkcs11MasterKey},
    },
    limits::Limits,
    recorder::Recorder,
    router::router,
    scan::Scanner,
    server::{self, ReloadableCert},
    telemetry::Telemetry,
};
use kluis_raft::{
    client::Metadata,
    command::{Command, NewDisk},
    consensus::{Consensus, ConsensusOptions, InitialiseError, OpenError},
    model::NodeRole,
    outcome::{Outcome, Refusal},
    store::rocks::RocksDatabases,
    view,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    admin::{self, Admin},
    ca::Authority,
    certificates::{load_certificate, reload_certificates},
    checkpoints::{self, CheckpointOptions},
    config::{
        Config,
        types::{GatewayConfig, MasterKeyConfig},
    },
    data_path::{ClusterBytes, DataPath, DataPathOptions},
    disks::DiskSet,
    dispatcher,
    exit::ExitError,
    health::NodeHealth,
    logging,
    member::{self, Card},
    metrics::NodeMetrics,
    peers::{Peers, QuicTransport, follow_members},
    reconcile::{Reconcile, ReconcileOptions},
    ways,
};

/// Suspects that wait for reconcile.
const SUSPECTS_MAX: usize = 4096;
/// Longest time that running requests have to end when the node stops.
const DRAIN: Duration = Duration::from_secs(8);

/// The operating system as it is.
pub fn real_env() -> Env {
    Env {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        files: Arc::new(SystemFiles { direct: true }),
        databases: Arc::new(RocksDatabases),
        blocking: Arc::new(ThreadPool),
        probe: Arc::new(NoProbe),
        sockets: Arc::new(SystemSockets),
    }
}

/// Runs a node until SIGTERM or SIGINT.
///
/// # Errors
/// Why it cannot run, with the exit code of that reason.
pub async fn run(config: Config, env: Env) -> Result<(), ExitError> {
    let card = member::read(&config.node.dir)?;
    let writer = logging::Writer { node: Some(card.node), site: Some(card.site.clone()) };
    logging::start(&config.log, writer, env.clock.clone())?;
    let failed = |e: std::io::Error| ExitError::failed(format!("signals: {e}"));
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate()).map_err(failed)?, signal(SignalKind::interrupt()).map_err(failed)?);
    let node = Node::start(config, env).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    node.stop().await;
    Ok(())
}

/// A running node: what `run` keeps until a signal comes, and what a test holds in its own process.
pub struct Node {
    /// Who it is.
    pub card: Card,
    /// Peers, disks and members.
    pub peers: Arc<Peers>,
    /// Connections.
    pub hub: Arc<Hub>,
    /// The metadata replica.
    pub consensus: Arc<Consensus>,
    /// Chunks to disks and back.
    pub path: Arc<DataPath>,
    /// The reconcile loop.
    pub reconcile: Arc<Reconcile>,
    config: Config,
    env: Env,
    telemetry: Arc<Telemetry>,
    health: Arc<NodeHealth>,
    ended: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
}

impl Node {
    /// Builds and starts everything.
    ///
    /// # Errors
    /// Why it cannot run.
    pub async fn start(config: Config, env: Env) -> Result<Self, ExitError> {
        let mut node = Self::start_member(config, env).await?;
        node.listen().await?;
        tracing::info!("started");
        Ok(node)
    }

    /// Builds and starts all but the TCP listeners: a member of the cluster that nobody can ask from outside.
    /// What a simulation runs; it asks [`Node::gateway`] directly.
    ///
    /// # Errors
    /// Why it cannot run.
    pub async fn start_member(config: Config, env: Env) -> Result<Self, ExitError> {
        let card = member::read(&config.node.dir)?;
        if let Some(site) = &config.node.site
            && *site != card.site
        {
            return Err(ExitError::refused(
                format!("node.site is {site}, but this node joined at {}", card.site),
                "correct node.site; a node never changes its site",
            ));
        }
        tracing::info!(cluster = %card.cluster, node = %card.node, site = %card.site, version = env!("CARGO_PKG_VERSION"), "starting");
        let identity_dir = member::identity_dir(&config.node.dir);
        let identity = NodeIdentity::load(&identity_dir)
            .map_err(|e| ExitError::refused(e.to_string(), "restore identity/ of this node, or join it as a new one"))?;
        if identity.name.node != card.node {
            return Err(ExitError::refused(
                format!("the certificate is of {}, this is {}", identity.name.node, card.node),
                "restore identity/ of this node",
            ));
        }

        let disks = Arc::new(DiskSet::open(&env, &card, &config.disks.paths, &disk_options(&config)).await);
        let (suspect, suspects) = mpsc::channel(SUSPECTS_MAX);
        let peers = Arc::new(Peers::new(env.clone(), card.clone(), disks, suspect));
        let hub = Hub::start(&env, &identity, config.listen.quic, peers.clone(), HubOptions::default())
            .map_err(|e| ExitError::failed(format!("listen.quic {}: {e}", config.listen.quic)))?;
        let consensus = open_consensus(&config, &env, &card, &hub).await?;
        let _ = peers.consensus.set(consensus.clone());
        let ended = Arc::new(AtomicBool::new(false));
        let worker = |name, work| watched(name, ended.clone(), work);
        let mut workers = vec![worker("members", Box::pin(follow_members(peers.clone(), hub.clone(), consensus.clone())) as Work)];
        begin_cluster(&config, &consensus).await?;
        workers.push(worker("announce", Box::pin(announce(config.clone(), card.clone(), peers.clone(), consensus.clone()))));

        let metadata: Arc<dyn Metadata> = consensus.clone();
        let path = Arc::new(DataPath::new(card.node, peers.clone(), hub.clone(), metadata, data_path_options(&config)));
        let options = ReconcileOptions {
            interval: config.reconcile.interval,
            grace: config.reconcile.grace,
            budget_bytes_per_second: config.reconcile.budget_bytes_per_second,
        };
        let reconcile =
            Arc::new(Reconcile::new(card.node, env.clone(), peers.clone(), path.clone(), hub.clone(), consensus.clone(), options));
        workers.push(worker("reconcile", Box::pin(reconcile.clone().run(suspects))));

        let health = Arc::new(NodeHealth::new(env.clone(), card.clone(), peers.clone(), consensus.clone(), ended.clone()));
        let internal = |e: prometheus::Error| ExitError::failed(format!("metrics: {e}"));
        let telemetry =
            Arc::new(Telemetry::new(env!("CARGO_PKG_VERSION"), option_env!("KLUIS_COMMIT").unwrap_or("unknown")).map_err(internal)?);
        let metrics = NodeMetrics::register(&telemetry.registry).map_err(internal)?;
        workers.push(worker(
            "watch",
            Box::pin(watch_self(health.clone(), metrics, peers.clone(), hub.clone(), reconcile.clone(), identity.not_after)),
        ));

        let (stop, _) = watch::channel(false);
        Ok(Self { card, peers, hub, consensus, path, reconcile, config, env, telemetry, health, ended, stop, servers: Vec::new(), workers })
    }

    /// Opens the operators' listener and, on a gateway, that of people and programs.
    async fn listen(&mut self) -> Result<(), ExitError> {
        let identity_dir = member::identity_dir(&self.config.node.dir);
        let http = load_certificate(&identity_dir.join("http.pem"), &identity_dir.join("http.key"))?;
        let reload = Box::pin(reload_certificates(identity_dir, http.clone(), self.hub.clone()));
        self.workers.push(watched("certificates", self.ended.clone(), reload));
        let slot: Arc<OnceLock<Arc<Gateway>>> = Arc::default();
        let admin = self.serve_admin(http.clone(), slot.clone()).await?;
        self.servers.push(admin);
        if let (Some(address), Some(gateway)) = (self.config.listen.gateway, &self.config.gateway) {
            let listener =
                self.env.sockets.tcp_listen(address).await.map_err(|e| ExitError::failed(format!("listen.gateway {address}: {e}")))?;
            let certificate = match &gateway.certificate {
                Some(files) => load_certificate(&files.certificate, &files.key)?,
                None => http,
            };
            let tls = server::tls_config(certificate).map_err(|e| ExitError::failed(e.to_string()))?;
            let parts = self.gateway_parts(gateway)?;
            self.servers.push(tokio::spawn(parts.serve(listener, tls, self.stop.subscribe(), slot)));
        }
        Ok(())
    }

    fn gateway_parts(&self, config: &GatewayConfig) -> Result<GatewayParts, ExitError> {
        Ok(GatewayParts {
            node: self.card.node,
            env: self.env.clone(),
            config: self.config.clone(),
            consensus: self.consensus.clone(),
            path: self.path.clone(),
            telemetry: self.telemetry.clone(),
            health: self.health.clone(),
            master: open_master(config, &self.env)?,
        })
    }

    /// What its gateway serves, without the listener; waits until the cluster lets it be built.
    ///
    /// # Errors
    /// It is no gateway, or its master key cannot be used.
    pub async fn gateway(&self) -> Result<Arc<Gateway>, ExitError> {
        let config = self.config.gateway.as_ref().ok_or_else(|| ExitError::failed("this node is no gateway".to_owned()))?;
        Ok(self.gateway_parts(config)?.build_patiently().await)
    }

    async fn serve_admin(
        &self,
        certificate: Arc<ReloadableCert>,
        gateway: Arc<OnceLock<Arc<Gateway>>>,
    ) -> Result<JoinHandle<()>, ExitError> {
        let dir = member::identity_dir(&self.config.node.dir);
        let ca_path = dir.join("ca.pem");
        let ca = fs::read(&ca_path).map_err(|e| ExitError::file("read", &ca_path, &e))?;
        let roots = CertificateDer::pem_slice_iter(&ca)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| ExitError::refused(format!("{}: {e}", ca_path.display()), ""))?;
        let key_path = dir.join("ca.key");
        let authority = match fs::read_to_string(&key_path) {
            Ok(key) => Some(Authority::load(&String::from_utf8_lossy(&ca), &zeroize::Zeroizing::new(key))?),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(ExitError::file("read", &key_path, &e)),
        };
        let address = self.config.listen.admin;
        let opened = self.env.sockets.tcp_listen(address).await;
        let listener = opened.map_err(|e| ExitError::failed(format!("listen.admin {address}: {e}")))?;
        let tls = admin::serve::tls_config(certificate, roots).map_err(|e| ExitError::failed(e.to_string()))?;
        let admin = Arc::new(Admin {
            env: self.env.clone(),
            card: self.card.clone(),
            address,
            peers: self.peers.clone(),
            hub: self.hub.clone(),
            consensus: self.consensus.clone(),
            authority,
            telemetry: self.telemetry.clone(),
            health: self.health.clone() as Arc<dyn Health>,
            gateway,
        });
        Ok(tokio::spawn(admin::serve::serve(listener, tls, admin::router(admin), self.stop.subscribe())))
    }

    /// Stops in order: no new requests, running ones end, workers end, disks and log are closed.
    pub async fn stop(self) {
        tracing::info!("stopping");
        self.health.draining.store(true, Ordering::Relaxed);
        let _ = self.stop.send(true);
        for server in self.servers {
            let _ = timeout(DRAIN + Duration::from_secs(1), server).await;
        }
        for worker in &self.workers {
            worker.abort();
        }
        self.consensus.shutdown().await;
        self.hub.close(Duration::from_millis(500)).await;
        self.peers.disks.close().await;
        tracing::info!("stopped");
    }
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a worker that must not end by itself: if it panics or returns, a person is told, and `livez` says so,
/// so that a supervisor starts the process again.
fn watched(name: &'static str, ended: Arc<AtomicBool>, work: Work) -> JoinHandle<()> {
    tokio::spawn(async move {
        let how = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(()) => "ended",
            Err(_) => "panicked",
        };
        ended.store(true, Ordering::Relaxed);
        tracing::error!(code = "WORKER_ENDED", worker = name, "a worker of this node {how}; this is a defect of the program");
    })
}

fn disk_options(config: &Config) -> DiskOptions {
    DiskOptions {
        segment_bytes: config.storage.segment_bytes,
        queue_bytes: usize::try_from(config.storage.queue_bytes).unwrap_or(usize::MAX),
        ..DiskOptions::default()
    }
}

fn data_path_options(config: &Config) -> DataPathOptions {
    DataPathOptions {
        quiet: config.storage.shard_deadline.min(Duration::from_millis(400)),
        silence: config.storage.shard_deadline.min(Duration::from_secs(2)),
        shard_deadline: config.storage.shard_deadline.max(Duration::from_secs(10)),
        chunk_deadline: config.storage.shard_deadline.max(Duration::from_secs(10)) * 3,
        hedge_after: config.storage.hedge_after,
        linger: config.storage.write_linger,
    }
}

async fn open_consensus(config: &Config, env: &Env, card: &Card, hub: &Arc<Hub>) -> Result<Arc<Consensus>, ExitError> {
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let options = ConsensusOptions {
        heartbeat_ms: ms(config.raft.heartbeat),
        election_ms: (ms(config.raft.election_min), ms(config.raft.election_max)),
        snapshot_every_entries: config.raft.snapshot_every_entries,
        keep_log_entries: config.raft.snapshot_every_entries / 4,
        ..ConsensusOptions::new(card.node, card.storage, card.cluster, member::metadata_dir(&config.node.dir))
    };
    let transport = Arc::new(QuicTransport { hub: hub.clone() });
    Consensus::open(env, options, transport).await.map_err(|e| match e {
        OpenError::StorageLost(_)
        | OpenError::OtherStorage { .. }
        | OpenError::OtherNode { .. }
        | OpenError::OtherCluster { .. }
        | OpenError::LogDamaged { .. } => {
            ExitError::refused(e.to_string(), "this node's metadata is gone or not its own: join the machine as a new node")
        }
        other => ExitError::failed(other.to_string()),
    })
}

/// Carries out the first command of a new cluster, if that is still to be done.
async fn begin_cluster(config: &Config, consensus: &Consensus) -> Result<(), ExitError> {
    let Some(command) = member::pending_beginning(&config.node.dir)? else { return Ok(()) };
    match consensus.initialise(command).await {
        Ok(_) | Err(InitialiseError::Refused(Refusal::AlreadyInitialised)) => member::has_begun(&config.node.dir),
        Err(error) => Err(ExitError::failed(format!("the cluster could not begin: {error}"))),
    }
}

/// Tells the cluster where this node is and which disks it has, again until it is heard, and then whenever
/// that changes.
async fn announce(config: Config, card: Card, peers: Arc<Peers>, consensus: Arc<Consensus>) {
    loop {
        if let Err(why) = announce_once(&config, &card, &peers, &consensus).await {
            tracing::debug!(why, "not announced yet");
            sleep(Duration::from_millis(300)).await;
        } else {
            sleep(Duration::from_secs(5)).await;
        }
    }
}

async fn announce_once(config: &Config, card: &Card, peers: &Peers, consensus: &Consensus) -> Result<(), String> {
    let read = consensus.view();
    let record = view::node(&*read, card.node).map_err(|e| e.to_string())?.ok_or("this node is not in its own metadata yet")?;
    let gateway = config.listen.gateway.filter(|_| card.roles.contains(&NodeRole::Gateway));
    if (record.quic, record.admin, record.gateway) != (config.listen.quic, config.listen.admin, gateway) {
        let command =
            Command::UpdateNode { node: card.node, storage: card.storage, quic: config.listen.quic, admin: config.listen.admin, gateway };
        done(consensus.propose(command).await)?;
    }
    if !card.roles.contains(&NodeRole::Chunk) {
        return Ok(());
    }
    let known = view::disks(&*read).map_err(|e| e.to_string())?;
    let mut new = Vec::new();
    for disk in peers.disks.all() {
        let id = disk.label().disk;
        if !known.iter().any(|k| k.id == id) {
            let gib = disk.usage().fs_total_bytes >> 30;
            let weight = config.disks.weight.unwrap_or_else(|| u32::try_from(gib.max(1)).unwrap_or(u32::MAX));
            new.push(NewDisk { id, weight });
        }
    }
    if new.is_empty() { Ok(()) } else { done(consensus.propose(Command::AddDisks { node: card.node, disks: new }).await) }
}

fn done(result: Result<Outcome, kluis_raft::client::MetadataError>) -> Result<(), String> {
    match result {
        Ok(Outcome::Refused(refusal)) => {
            tracing::error!(code = "ANNOUNCE_REFUSED", %refusal, "the cluster refuses what this node announces");
            Err(refusal.to_string())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Beats the heart of `livez` and takes over figures into the metrics.
async fn watch_self(
    health: Arc<NodeHealth>,
    metrics: NodeMetrics,
    peers: Arc<Peers>,
    hub: Arc<Hub>,
    reconcile: Arc<Reconcile>,
    certificate_expiry: i64,
) {
    loop {
        health.beat();
        if let Some(consensus) = peers.consensus.get() {
            let status = consensus.status().await;
            metrics.update(&peers, &hub, &status, &reconcile.counters, certificate_expiry);
        }
        sleep(Duration::from_secs(2)).await;
    }
}

fn open_master(config: &GatewayConfig, env: &Env) -> Result<Arc<dyn MasterKey>, ExitError> {
    let refused = |e: kluis_gateway::keys::KeyError| {
        ExitError::refused(format!("the master key cannot be used: {e}"), "check [keys] of the configuration")
    };
    Ok(match &config.master_key {
        MasterKeyConfig::File { path } => {
            tracing::warn!(path = %path.display(), "the master key is a file: keep a copy apart from the disks; a hardware module is safer");
            Arc::new(FileMasterKey::open(path, env.entropy.clone()).map_err(refused)?)
        }
        MasterKeyConfig::Pkcs11 { module, token_label, pin_file, key_label } => {
            let config = Pkcs11Config {
                module: module.clone(),
                token: token_label.clone(),
                pin_file: pin_file.clone(),
                key_label: key_label.clone(),
            };
            Arc::new(Pkcs11MasterKey::open(&config, env.blocking.clone(), env.entropy.clone()).map_err(refused)?)
        }
    })
}

/// What a gateway is made of, once the cluster lets it.
struct GatewayParts {
    node: NodeId,
    env: Env,
    config: Config,
    consensus: Arc<Consensus>,
    path: Arc<DataPath>,
    telemetry: Arc<Telemetry>,
    health: Arc<NodeHealth>,
    master: Arc<dyn MasterKey>,
}

impl GatewayParts {
    /// Waits for the cluster's look-up key, then serves until `stop`.
    /// `slot` has the gateway from then on, for what operators ask of it.
    async fn serve(
        self,
        listener: tokio::net::TcpListener,
        tls: Arc<rustls::ServerConfig>,
        stop: watch::Receiver<bool>,
        slot: Arc<OnceLock<Arc<Gateway>>>,
    ) {
        let mut stopping = stop.clone();
        let gateway = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            gateway = self.build_patiently() => gateway,
        };
        // Empty until now: a node has one gateway.
        let _ = slot.set(gateway.clone());
        let router = match router(gateway.clone()) {
            Ok(router) => router,
            Err(problem) => {
                tracing::error!(
                    code = "GATEWAY_DEFECT",
                    detail = problem.detail,
                    "the gateway cannot serve; this is a defect of the program"
                );
                return;
            }
        };
        tracing::info!(address = ?listener.local_addr().ok(), "gateway serves");
        let stop = async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        let lists = self.config.gateway.as_ref().and_then(|gateway| gateway.card.as_ref()).map(|card| card.lists_file.clone());
        let renewing = gateway.sign_in.card().cloned().zip(lists).map(|(card, file)| tokio::spawn(ways::renew_card_lists(card, file)));
        let signing = checkpoints::run(gateway.clone(), self.consensus.clone(), self.node, CheckpointOptions::default());
        let signing = tokio::spawn(signing);
        let sending = tokio::spawn(dispatcher::run(gateway.clone(), self.consensus.clone(), self.node));
        server::serve(gateway.clone(), router, listener, tls, stop, DRAIN).await;
        if let Some(renewing) = renewing {
            renewing.abort();
        }
        signing.abort();
        sending.abort();
        // Reads that were answered are in the log before this node leaves, if a majority is there.
        let _ = timeout(Duration::from_secs(1), gateway.recorder.flush()).await;
    }

    async fn build_patiently(&self) -> Arc<Gateway> {
        let mut said = String::new();
        loop {
            match self.build().await {
                Ok(gateway) => return Arc::new(gateway),
                Err(why) => {
                    if why != said {
                        tracing::warn!(why, "the gateway waits");
                        said = why;
                    }
                    sleep(Duration::from_millis(300)).await;
                }
            }
        }
    }

    async fn build(&self) -> Result<Gateway, String> {
        let config = self.config.gateway.as_ref().ok_or("no [gateway] is configured")?;
        let keys = Arc::new(KeyRing::new(vec![self.master.clone()], self.env.entropy.clone()).map_err(|e| e.to_string())?);
        let lookup = Arc::new(self.lookup_key(&keys).await?);
        let public_url = config.public_url.as_str().trim_end_matches('/').to_owned();
        let mut providers = Vec::new();
        for identity in &config.identity {
            providers.push(ways::relying_party(identity, &public_url, &lookup, &self.env)?);
        }
        let card = config.card.as_ref().map(|card| ways::web_eid(card, &config.public_url, &lookup)).transpose()?;
        let sign_in = SignIn::new(providers).map_err(|e| e.to_string())?.with_card(card).with_minimum_age(config.minimum_age);
        let limits = limits(&self.config, config);
        Ok(Gateway {
            clock: self.env.clock.clone(),
            entropy: self.env.entropy.clone(),
            metadata: self.consensus.clone(),
            bytes: Arc::new(ClusterBytes(self.path.clone())),
            keys,
            lookup,
            sign_in,
            config: HttpConfig { public_url, limits },
            telemetry: self.telemetry.clone(),
            health: self.health.clone(),
            guards: Guards::default(),
            recorder: Recorder::start(self.consensus.clone()),
            scan: self.config.scan.clone().map(|scan| Arc::new(Scanner::new(scan))),
            notify: Arc::new(ways::notifier(&self.config)?),
            search: Default::default(),
        })
    }

    /// The cluster's look-up key: the one in the metadata, or a new one if this gateway is the first.
    async fn lookup_key(&self, keys: &KeyRing) -> Result<LookupKey, String> {
        let cluster = view::cluster(&*self.consensus.view()).map_err(|e| e.to_string())?.ok_or("the metadata has not arrived yet")?;
        let sealed = match cluster.lookup_key {
            Some(sealed) => sealed,
            None => {
                let (_, sealed) = keys.create_lookup_key().await.map_err(|e| e.to_string())?;
                match self.consensus.propose(Command::SetLookupKey { key: sealed }).await.map_err(|e| e.to_string())? {
                    Outcome::LookupKey(first) => first,
                    other => return Err(format!("unexpected answer: {other:?}")),
                }
            }
        };
        keys.lookup_key(&sealed).await.map_err(|e| format!("the master key does not open this cluster's keys: {e}"))
    }
}

fn limits(config: &Config, gateway: &GatewayConfig) -> Limits {
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let defaults = Limits::default();
    Limits {
        body_max_bytes: gateway.body_max_bytes,
        connections_per_address: gateway.connections_per_address.unwrap_or(usize::MAX),
        loopback_exempt: gateway.loopback_exempt,
        uploads_per_account: usize::try_from(config.limits.uploads_per_account).unwrap_or(defaults.uploads_per_account),
        upload_lifetime_ms: ms(config.limits.upload_lifetime),
        head_deadline_ms: ms(config.limits.head_deadline),
        write_stall_ms: ms(config.limits.stall_deadline),
        upload_window_chunks: config.storage.upload_window_chunks,
        ..defaults
    }
}
