//! A cluster in this process: three sites of one node with four disks each, whose disks fail when they are told to.
//!
//! Owns: making it with the production parts (`init_cluster`, `join`, `Node::start`; QUIC on loopback,
//! RocksDB, real files), storing and reading chunks by the data path. Not: what a fault must lead to.
//! Holds: (1) each disk has faults of its own, the rest of its node sees the file system as it is; (2) what is
//! noted as stored was acknowledged.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use kluis_chunkstore::{
    code::Code,
    disk::{Disk, DiskOptions, DiskState, fault::FaultyFiles},
    env::{Env, File, FileSystem, Space},
    ids::{BlobId, ChunkId, SiteName},
};
use kluis_gateway::ports::{BytesError, DocumentBytes, PutChunk};
use kluis_node::{
    admin_client::AdminClient,
    assemble::{Node, real_env},
    config::Config,
    data_path::ClusterBytes,
    join::{create_token, init_cluster, join},
    options::{InitOptions, JoinOptions, TokenOptions},
};
use kluis_raft::model::{BlobLayout, NodeRole};
use kluis_tests::{content, ports::Ports};
use tempfile::TempDir;
use tokio::time::sleep;

/// Sites, with one node each.
pub const SITES: [&str; 3] = ["dc1", "dc2", "dc3"];
/// Disks of each node: one more than a site needs for code 4+5.
pub const DISKS: usize = 4;
/// Bytes of a segment: small, so that new ones are begun often.
pub const SEGMENT_BYTES: u64 = 1 << 20;
/// Looks at a condition before a test is taken to hang.
pub const LOOKS: usize = 600;
/// Pause between two looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The files of a node: each disk's directory with its own faults, everything else as it is.
struct PerDisk {
    disks: Vec<(PathBuf, FaultyFiles)>,
    rest: Arc<dyn FileSystem>,
}

impl PerDisk {
    fn of(&self, path: &Path) -> &dyn FileSystem {
        match self.disks.iter().find(|(dir, _)| path.starts_with(dir)) {
            Some((_, files)) => files,
            None => &*self.rest,
        }
    }
}

impl FileSystem for PerDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.of(path).open(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.of(path).create(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.of(dir).list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.of(dir).create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.of(from).rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.of(path).remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.of(dir).sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.of(path).lock(path)
    }

    fn claim(&self, id: u128) -> Option<Box<dyn Send + Sync>> {
        self.rest.claim(id)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.of(dir).space(dir)
    }
}

/// A node of the cluster.
pub struct LocalNode {
    /// The node as it runs.
    pub node: Node,
    /// Its world.
    pub env: Env,
    disks: Vec<(PathBuf, FaultyFiles)>,
}

impl LocalNode {
    /// Faults of a disk.
    pub fn faults(&self, disk: usize) -> &FaultyFiles {
        &self.disks[disk].1
    }

    /// Directory of a disk.
    pub fn dir(&self, disk: usize) -> &Path {
        &self.disks[disk].0
    }

    /// A disk as its node uses it.
    pub fn disk(&self, disk: usize) -> Arc<Disk> {
        self.node.peers.disks.all().into_iter().find(|d| d.dir() == self.dir(disk)).expect("the disk is in use")
    }
}

/// A chunk that was acknowledged.
pub struct Stored {
    /// Which.
    pub chunk: ChunkId,
    /// Whether it was acknowledged with fewer shards than usual.
    pub reduced: bool,
    layout: BlobLayout,
    seed: u64,
    len: usize,
}

/// The cluster.
pub struct Local {
    /// Its nodes, by site.
    pub nodes: Vec<LocalNode>,
    /// Its operators' interface.
    pub admin: AdminClient,
    /// Everything that was acknowledged.
    pub stored: Vec<Stored>,
    next: u64,
    _ports: Ports,
    dir: TempDir,
}

/// Options that the disks run with, as far as a test that opens one itself must know.
pub fn disk_options() -> DiskOptions {
    DiskOptions { segment_bytes: SEGMENT_BYTES, ..DiskOptions::default() }
}

impl Local {
    /// A cluster that stores chunks.
    pub async fn start() -> Self {
        // A second choice of the same provider is no failure.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (dir, ports) = (tempfile::Builder::new().prefix("kluis-disks-").tempdir().unwrap(), Ports::reserve());
        let operator_dir = dir.path().join("operator");
        let mut nodes = Vec::new();
        let mut admin = None;
        for (number, site) in (0..).zip(SITES) {
            let place = Place::new(dir.path(), ports.base + 10 * number);
            let site: SiteName = site.parse().unwrap();
            match &admin {
                None => place.begin(site, operator_dir.clone()).await,
                Some(admin) => place.join(site, admin).await,
            }
            nodes.push(place.run().await);
            if admin.is_none() {
                let url = format!("https://{}", place.admin).parse().unwrap();
                let file = |name: &str| operator_dir.join(name);
                admin = Some(AdminClient::new(vec![url], &file("ca.pem"), &file("cert.pem"), &file("key.pem")).unwrap());
            }
        }
        let local = Self { nodes, admin: admin.unwrap(), stored: Vec::new(), next: 1, _ports: ports, dir };
        local.take_disks_into_use().await;
        local
    }

    async fn take_disks_into_use(&self) {
        let version = patiently("a plan with every disk", async || {
            let plan = self.admin.plan_topology().await.ok()?;
            (plan.added.len() == SITES.len() * DISKS && plan.refused.is_none()).then_some(plan.next_version)
        });
        let version = version.await;
        patiently("the plan is applied", async || self.admin.apply_topology(version).await.ok()).await;
        patiently("every node knows the disks and the others", async || {
            let knows = |n: &LocalNode| n.node.path.topology().is_ok_and(|t| t.version() == version);
            let meets = |n: &LocalNode| self.nodes.iter().all(|other| n.node.path.is_connected(other.node.card.node));
            self.nodes.iter().all(|n| knows(n) && meets(n)).then_some(())
        })
        .await;
    }

    /// Stores a new chunk of `len` bytes by a node's data path; what is acknowledged is noted.
    pub async fn put(&mut self, by: usize, len: usize) -> Result<(), BytesError> {
        let seed = self.next;
        self.next += 1;
        let bytes: Bytes = content(seed, len).into();
        let id: [u8; 16] = content(seed, 16).try_into().unwrap();
        let chunk = ChunkId { blob: BlobId::from_random(id), index: 0 };
        let receipt =
            self.nodes[by].node.path.put(PutChunk { chunk, code: Code::STANDARD, sealed: bytes, strict: false, known: Vec::new() }).await?;
        self.stored.push(Stored { chunk, reduced: receipt.reduced, layout: receipt.layout, seed, len });
        Ok(())
    }

    /// Stores a chunk that must be acknowledged in full.
    pub async fn put_well(&mut self, by: usize, len: usize) {
        self.put(by, len).await.expect("eleven disks are enough");
        assert!(!self.stored.last().unwrap().reduced, "eleven disks are enough for the whole rule");
    }

    /// Reads a chunk by a node's data path.
    pub async fn read(&self, by: usize, stored: &Stored) -> Result<Bytes, BytesError> {
        let path = ClusterBytes(self.nodes[by].node.path.clone());
        path.fetch_chunk(stored.chunk, Code::STANDARD, std::slice::from_ref(&stored.layout), stored.len).await
    }

    /// Reads everything that was acknowledged and compares it.
    pub async fn read_all(&self, by: usize) {
        assert!(!self.stored.is_empty());
        for stored in &self.stored {
            self.same(by, stored).await;
        }
    }

    /// Reads one chunk and compares it.
    pub async fn same(&self, by: usize, stored: &Stored) {
        let got = self.read(by, stored).await.unwrap_or_else(|e| panic!("chunk {} by node {by}: {e}", stored.chunk));
        assert!(got == content(stored.seed, stored.len), "chunk {} by node {by}: other bytes came out", stored.chunk);
    }

    /// Every disk with its faults.
    pub fn all_disks(&self) -> Vec<(Arc<Disk>, FaultyFiles)> {
        self.nodes.iter().flat_map(|n| (0..DISKS).map(|d| (n.disk(d), n.faults(d).clone()))).collect()
    }

    /// Ends all faults.
    pub fn heal(&self) {
        for (_, faults) in self.all_disks() {
            faults.heal();
        }
    }

    /// Stores chunks until a disk is in a state; all of them must be acknowledged in full.
    pub async fn put_until(&mut self, by: usize, len: usize, disk: &Disk, wanted: impl Fn(&DiskState) -> bool) {
        for _ in 0..LOOKS {
            self.put_well(by, len).await;
            if wanted(&disk.state()) {
                return;
            }
            // A disk that refused is left alone for a while: do not fill the others meanwhile.
            sleep(LOOK_EVERY).await;
        }
        panic!("the disk is {:?}", disk.state());
    }

    /// Stops all nodes in order. Their files stay until what is returned is dropped.
    pub async fn stop(self) -> TempDir {
        for node in self.nodes {
            node.node.stop().await;
        }
        self.dir
    }
}

/// Looks until there is something.
pub async fn patiently<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS {
        if let Some(found) = look().await {
            return found;
        }
        sleep(LOOK_EVERY).await;
    }
    panic!("{what}: never")
}

/// Where a node is to be.
struct Place {
    dir: PathBuf,
    disks: Vec<PathBuf>,
    quic: SocketAddr,
    admin: SocketAddr,
}

impl Place {
    fn new(root: &Path, port: u16) -> Self {
        let dir = root.join(format!("node-{port}"));
        fs::create_dir_all(&dir).unwrap();
        let disks = (1..=DISKS).map(|d| root.join(format!("disk-{port}-{d}"))).collect();
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { dir, disks, quic: at(port), admin: at(port + 1) }
    }

    async fn begin(&self, site: SiteName, operator_dir: PathBuf) {
        let options = InitOptions {
            dir: self.dir.clone(),
            operator_dir,
            cluster_name: "disks".to_owned(),
            site,
            roles: vec![NodeRole::Chunk],
            quic: self.quic,
            admin: self.admin,
            gateway: None,
            disks: self.disks.clone(),
            code: Code::STANDARD,
            quota_bytes: 1 << 30,
        };
        init_cluster(options, real_env()).await.unwrap();
    }

    async fn join(&self, site: SiteName, admin: &AdminClient) {
        let wanted = TokenOptions { site, roles: vec![NodeRole::Metadata, NodeRole::Chunk], lifetime_s: 600 };
        let issued = patiently("a join token", async || create_token(admin, &wanted).await.ok()).await;
        let options = JoinOptions {
            dir: self.dir.clone(),
            token: issued.token.into(),
            quic: self.quic,
            admin: self.admin,
            gateway: None,
            disks: self.disks.clone(),
        };
        join(options, real_env()).await.unwrap();
    }

    async fn run(&self) -> LocalNode {
        let paths: Vec<String> = self.disks.iter().map(|d| format!("{:?}", d.display().to_string())).collect();
        let text = format!(
            "[node]\ndir = {:?}\n[listen]\nquic = \"{}\"\nadmin = \"{}\"\n[disks]\npaths = [{}]\nweight = 1\n\
             [storage]\nsegment_bytes = \"{SEGMENT_BYTES} B\"\n[reconcile]\ninterval = \"24h\"\n",
            self.dir.display().to_string(),
            self.quic,
            self.admin,
            paths.join(", "),
        );
        let file = self.dir.join("kluis.toml");
        fs::write(&file, text).unwrap();
        let config = Config::load(&file, []).unwrap();
        let real = real_env();
        let disks: Vec<(PathBuf, FaultyFiles)> = self.disks.iter().map(|d| (d.clone(), FaultyFiles::new(real.files.clone()))).collect();
        let env = Env { files: Arc::new(PerDisk { disks: disks.clone(), rest: real.files.clone() }), ..real };
        let node = Node::start(config, env.clone()).await.unwrap();
        LocalNode { node, env, disks }
    }
}
