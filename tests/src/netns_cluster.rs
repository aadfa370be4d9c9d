//! A real cluster whose sites are network namespaces: nine nodes, three a site, and a client elsewhere, behind a switch
//! that breaks the network between them.
//!
//! The nodes are made as operators make them: `cluster init`, a token for each further node, `node join`,
//! `apply-topology`. Nothing of a demo is in their configurations.
//!
//! Reading order: this file (making and ending it), `seen` (what is seen of it).
//!
//! Owns: its nodes, and the client's place. Not: faults ([`crate::switch`]), documents ([`crate::api`]).
//! Holds: (1) its addresses exist inside its namespaces only; (2) all processes end with the value, also when the test
//! fails.
//! Why the embedded identity provider runs for one sign-in only, inside the first site: it signs in anybody, so it
//! listens on loopback alone, and that site's gateway shares its loopback. The session is good at every gateway.

mod seen;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use kluis_chunkstore::code::Code;
use kluis_node::{
    assemble::real_env,
    cli::sign_in::sign_in,
    demo::{
        identity::{self, CLIENT_ID, ENCRYPT_KEY, PROVIDER, SIGN_KEY},
        layout::{Layout, PlannedNode, SITES, Settings},
        record::operator_dir,
        setup::make_shared,
    },
    idp::{self, ACR_ADVANCED, NATIONAL_NUMBER_CLAIM, ROLES_CLAIM},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::{
    api::Api,
    cluster::{client, tails},
    netns::Namespace,
    program::{self, said},
    switch::Switch,
};

/// Port of the switch that the client is at; sites are at 0, 1 and 2.
pub const CLIENT: usize = 3;
/// The sites' ports of the switch.
pub const SITE_PORTS: [usize; 3] = [0, 1, 2];
/// Nodes of a site.
const NODES_PER_SITE: u16 = 3;
/// Disks of a node.
const DISKS_PER_NODE: u16 = 2;
/// Disks of the cluster.
const DISKS: usize = 18;
/// First port of the nodes: any would do, for nobody else is there.
const BASE_PORT: u16 = 7100;
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Limit of a step on the way to a cluster that serves.
const STEP_LIMIT: Duration = Duration::from_secs(120);

/// A running cluster.
pub struct NetnsCluster {
    /// The network: see [`SITE_PORTS`] and [`CLIENT`].
    pub switch: Switch,
    children: Mutex<BTreeMap<u64, Child>>,
    layout: Layout,
    ca: Vec<u8>,
    token: String,
    sites: Vec<Namespace>,
    client: Namespace,
    dir: TempDir,
}

/// Address of everything at a port of the switch.
fn address(port: usize) -> Ipv4Addr {
    let third = u8::try_from(port + 1).expect("there are four ports");
    Ipv4Addr::new(10, 77, third, 1)
}

impl NetnsCluster {
    /// A cluster that serves, in a network without faults. `seed` decides what becomes of frames once there are some.
    ///
    /// # Panics
    /// With the logs' ends when it does not serve.
    pub fn start(seed: u64) -> Self {
        // A second choice of the same provider is no failure.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::Builder::new().prefix("kluis-test-").tempdir().expect("the temporary directory is writable");
        let sites: Vec<Namespace> = SITES.iter().map(|_| Namespace::new()).collect();
        let client = Namespace::new();
        let everybody = sites.iter().chain([&client]).enumerate();
        let ports: Vec<(&Namespace, Ipv4Addr)> = everybody.map(|(port, namespace)| (namespace, address(port))).collect();
        let switch = Switch::new(seed, &ports);
        let mut cluster =
            Self { switch, children: Mutex::default(), layout: layout(&dir), ca: Vec::new(), token: String::new(), sites, client, dir };
        cluster.make();
        cluster
    }

    /// Makes all nodes, takes their disks into use and signs a person in.
    fn make(&mut self) {
        make_shared(&self.layout, &real_env()).unwrap_or_else(|e| panic!("{e}"));
        let nodes = self.layout.nodes.clone();
        for (i, node) in nodes.iter().enumerate() {
            let made = if i == 0 { self.init(node) } else { self.join(node) };
            assert!(made.status.success(), "{} does not become a member: {}\n{}", node.id, said(&made), tails(self.dir.path()));
            fs::write(node.config(), config(&self.layout, node)).expect("a configuration can be written");
            self.start_node(node.id.0);
        }
        self.ca = fs::read(operator_dir(&self.layout.dir).join("ca.pem")).expect("init left the CA");
        self.step("all disks are announced", || {
            let plan = json(&self.admin(&["--output", "json", "cluster", "apply-topology"]));
            plan["added"].as_array().is_some_and(|added| added.len() == DISKS)
        });
        self.step("the topology is applied", || self.admin(&["cluster", "apply-topology", "--apply"]).status.success());
        self.step("nine nodes vote", || self.status()["metadata"]["voters"] == 9);
        self.token = self.sign_in();
        let api = self.api();
        let stored = self.as_client(async || api.put("first", vec![1_u8; 1000]).await);
        stored.unwrap_or_else(|failure| panic!("no document can be stored: {failure}\n{}", tails(self.dir.path())));
    }

    fn init(&self, node: &PlannedNode) -> Output {
        let operator = operator_dir(&self.layout.dir);
        let mut command = self.command_at(node);
        command.args(["cluster", "init", "--name", "wan", "--site", node.site, "--quota", "5GB", "--operator-dir"]).arg(operator);
        finished(listening(&mut command, node))
    }

    fn join(&self, node: &PlannedNode) -> Output {
        let roles = if node.gateway.is_some() { "metadata,chunk,gateway" } else { "metadata,chunk" };
        let file = self.dir.path().join("token");
        self.step(&format!("a token for {}", node.id), || {
            let issued = self.admin(&["--output", "json", "node", "token", "create", "--site", node.site, "--roles", roles]);
            let token = json(&issued)["token"].as_str().map(str::to_owned);
            token.is_some_and(|token| fs::write(&file, token).is_ok())
        });
        let mut command = self.command_at(node);
        command.args(["node", "join", "--token-file"]).arg(&file);
        finished(listening(&mut command, node))
    }

    /// A command of the program at the site of a node.
    fn command_at(&self, node: &PlannedNode) -> Command {
        inside(&self.sites[port_of(node)])
    }

    /// An operator's command, at the first site: at whichever node answers.
    fn admin(&self, args: &[&str]) -> Output {
        self.admin_at(&self.sites[0], args)
    }

    fn admin_at(&self, place: &Namespace, args: &[&str]) -> Output {
        let operator = operator_dir(&self.layout.dir);
        let mut command = inside(place);
        command.args(args);
        let members = self.layout.nodes.iter().filter(|node| node.config().exists());
        for node in members {
            command.arg("--admin").arg(format!("https://{}", node.admin));
        }
        for (flag, name) in [("--cert", "cert.pem"), ("--key", "key.pem"), ("--ca", "ca.pem")] {
            command.arg(flag).arg(operator.join(name));
        }
        finished(&mut command)
    }

    /// Repeats a step on the way to a cluster that serves until it succeeds.
    fn step(&self, what: &str, mut done: impl FnMut() -> bool) {
        let until = Instant::now() + STEP_LIMIT;
        while !done() {
            assert!(Instant::now() < until, "still not so: {what}\n{}", tails(self.dir.path()));
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The token of a person of the embedded provider, by the real flow, walked inside the first site.
    fn sign_in(&self) -> String {
        let gateway = self.gateways().remove(0);
        let people: Vec<(String, usize)> = idp::demo_people().into_iter().enumerate().map(|(i, p)| (p.national_number, i)).collect();
        let mut token = None;
        self.sites[0].run(|| {
            runtime().block_on(async {
                let provider = identity::serve(real_env(), &self.layout).await.unwrap_or_else(|e| panic!("{e}"));
                self.wait_until("a person signs in", 60, async || {
                    let signed_in = sign_in(&gateway, &self.ca, PROVIDER, &people[0].0, &people).await;
                    token = signed_in.inspect_err(|error| println!("not signed in yet: {error:#}")).ok();
                    token.is_some()
                })
                .await;
                drop(provider);
            });
        });
        token.expect("the wait ended")
    }

    /// Runs work at the client's place, on a runtime of its own.
    pub fn as_client<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.client.run(|| runtime().block_on(work()))
    }

    /// The documents of the person who was signed in, over all gateways. To be used within [`NetnsCluster::as_client`].
    pub fn api(&self) -> Api {
        self.api_at(&SITE_PORTS)
    }

    /// The same over the gateways of some sites.
    pub fn api_at(&self, sites: &[usize]) -> Api {
        let gateways = self.gateways();
        Api::over(client(&self.ca), sites.iter().map(|site| gateways[*site].clone()).collect(), self.token.clone())
    }

    /// Addresses of the gateways, by site.
    fn gateways(&self) -> Vec<String> {
        self.layout.gateways().map(|gateway| format!("https://{gateway}")).collect()
    }

    /// Nodes of a site (0, 1, 2), by id.
    pub fn nodes_of_site(&self, site: usize) -> Vec<u64> {
        self.layout.nodes.iter().filter(|node| port_of(node) == site).map(|node| node.id.0).collect()
    }

    /// Starts a node that does not run.
    ///
    /// # Panics
    /// When it runs.
    pub fn start_node(&self, id: u64) {
        let node = self.layout.nodes.iter().find(|node| node.id.0 == id).unwrap_or_else(|| panic!("there is no n{id}"));
        let log = File::options().create(true).append(true).open(node.log()).expect("a log can be written");
        let mut command = self.command_at(node);
        command.args(["node", "run", "--config"]).arg(node.config()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        let child = command.spawn().unwrap_or_else(|e| panic!("n{id} cannot be started: {e}"));
        let before = self.children.lock().unwrap().insert(id, child);
        assert!(before.is_none(), "n{id} runs already");
    }

    /// Ends nodes without warning: all are signalled before any is awaited.
    pub fn kill_all(&self, ids: &[u64]) {
        let mut all = self.children.lock().unwrap();
        let mut ending: Vec<Child> = ids.iter().filter_map(|id| all.remove(id)).collect();
        end(&mut ending);
    }
}

impl Drop for NetnsCluster {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", tails(self.dir.path()));
        }
        let all = self.children.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut ending: Vec<Child> = std::mem::take(all).into_values().collect();
        end(&mut ending);
    }
}

/// Ends processes of ours. (`ip netns exec` became the program: its id is the program's.)
fn end(children: &mut [Child]) {
    for child in &mut *children {
        // One that ended by itself cannot be killed, and that is as well.
        let _ = child.kill();
    }
    for child in children {
        let _ = child.wait();
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be built")
}

/// The program, inside a namespace, with nothing of ours in its environment.
fn inside(place: &Namespace) -> Command {
    let program: PathBuf = program::program();
    let mut command = place.command(program.to_str().expect("test paths are UTF-8"));
    program::clean(&mut command);
    command
}

fn finished(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("`ip` can be run: deploy/setup.sh installs it")
}

/// What a command printed; null when it failed.
fn json(output: &Output) -> Value {
    if output.status.success() { serde_json::from_slice(&output.stdout).unwrap_or_default() } else { Value::Null }
}

/// A demo's layout, with the addresses of the namespaces in the place of loopback's.
fn layout(dir: &TempDir) -> Layout {
    let settings = Settings {
        base_port: BASE_PORT,
        nodes_per_site: NODES_PER_SITE,
        disks_per_node: DISKS_PER_NODE,
        code: Code::STANDARD,
        quota_bytes: 5_000_000_000,
        set: Vec::new(),
    };
    let mut layout = Layout::new(dir.path(), settings).unwrap_or_else(|e| panic!("{e}"));
    for node in &mut layout.nodes {
        let ip = IpAddr::V4(address(port_of(node)));
        node.quic.set_ip(ip);
        node.admin.set_ip(ip);
        node.gateway = node.gateway.map(|gateway| SocketAddr::new(ip, gateway.port()));
    }
    layout
}

/// The switch's port of a node's site.
fn port_of(node: &PlannedNode) -> usize {
    SITES.iter().position(|site| *site == node.site).expect("a node is of one of the sites")
}

fn listening<'a>(command: &'a mut Command, node: &PlannedNode) -> &'a mut Command {
    command.arg("--dir").arg(&node.dir).args(["--quic", &node.quic.to_string(), "--admin", &node.admin.to_string()]);
    if let Some(gateway) = node.gateway {
        command.args(["--gateway", &gateway.to_string()]);
    }
    for disk in &node.disks {
        command.arg("--disks").arg(disk);
    }
    command
}

/// The configuration of a node, as an operator would write it: only reconcile is faster, so that tests see it work.
fn config(layout: &Layout, node: &PlannedNode) -> String {
    let path = |path: PathBuf| path.display().to_string();
    let disks: Vec<String> = node.disks.iter().cloned().map(path).collect();
    let mut text = format!(
        "[node]\ndir = {:?}\nsite = {:?}\n[disks]\npaths = {disks:?}\nweight = 1\n[reconcile]\ninterval = \"1s\"\ngrace = \"2s\"\n\
         [log]\nformat = \"json\"\n[listen]\nquic = \"{}\"\nadmin = \"{}\"\n",
        path(node.dir.clone()),
        node.site,
        node.quic,
        node.admin
    );
    if let Some(gateway) = node.gateway {
        text.push_str(&format!(
            "gateway = \"{gateway}\"\n[keys]\nmaster = \"file\"\nfile = {:?}\n[gateway]\npublic_url = \"https://{gateway}\"\n\
             [[gateway.identity]]\nname = {PROVIDER:?}\nissuer = {:?}\nclient_id = {CLIENT_ID:?}\nclient_key_file = {:?}\n\
             encryption_key_file = {:?}\nnational_number_claim = {NATIONAL_NUMBER_CLAIM:?}\nroles_claim = {ROLES_CLAIM:?}\n\
             acr_values = [{ACR_ADVANCED:?}]\n",
            path(layout.key_file("master")),
            identity::issuer(layout),
            path(layout.key_file(SIGN_KEY)),
            path(layout.key_file(ENCRYPT_KEY)),
        ));
    }
    text
}
