//! A real cluster: one process a node on loopback, made and stopped by `kluis demo`.
//!
//! Owns: its start and end, killing, stopping, freezing and starting of its nodes, and what is seen of it
//! from outside (status, metrics, logs). Not: documents ([`crate::api`]).
//! Holds: (1) only processes of this cluster are signalled, each known by id and start time; (2) all of
//! them end when the cluster is dropped, also when the test fails; (3) no wait of this file is a promise
//! about time: limits only end what hangs.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use kluis_node::demo::{process::Process, record::Processes};
use reqwest::{Certificate, Client, redirect};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    ports::Ports,
    program::{self, run, said},
};

/// Pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Limit of one command.
const COMMAND_LIMIT: Duration = Duration::from_secs(400);
/// Limit of a process' end after a signal.
const END_LIMIT: Duration = Duration::from_secs(30);
/// Limit of [`Cluster::wait_settled`].
const SETTLE_LIMIT_SECS: u64 = 600;
/// Completed passes of every node between two looks of [`Cluster::wait_settled`].
const SETTLE_PASSES: u64 = 3;
/// What a node logs when reconcile completed a pass.
pub(crate) const PASS_DONE: &str = "reconcile pass done";

/// What a cluster is made with.
#[derive(Debug, Clone)]
pub struct ClusterOptions<'a> {
    /// Nodes of each of the three sites.
    pub nodes_per_site: u16,
    /// Disks of each node.
    pub disks_per_node: u16,
    /// Code of documents, as `4+5`.
    pub code: &'a str,
    /// Quota of each vault; `None` is the product's own default.
    pub quota: Option<&'a str>,
    /// Settings of every node, as `KLUIS_SECTION_KEY` and the value's text. A demo keeps such variables from its
    /// nodes, so they are written into the nodes' configuration files.
    pub env: Vec<(String, String)>,
    /// Variables of others, for the demo and its nodes: libraries that they load read their own.
    pub variables: Vec<(String, String)>,
}

impl Default for ClusterOptions<'_> {
    fn default() -> Self {
        Self { nodes_per_site: 3, disks_per_node: 2, code: "4+5", quota: Some("5GB"), env: Vec::new(), variables: Vec::new() }
    }
}

impl ClusterOptions<'_> {
    /// Nine nodes whose reconcile passes every second and leaves unwanted shards alone for two.
    pub fn eager() -> Self {
        let env = [("KLUIS_RECONCILE_INTERVAL", "1s"), ("KLUIS_RECONCILE_GRACE", "2s")];
        Self { env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(), ..Self::default() }
    }
}

/// A node as it was started last.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// Its number: 4 is `n4`.
    pub id: u64,
    /// Its site.
    pub site: String,
    /// Its process.
    pub pid: u32,
    /// What it does.
    pub roles: Vec<String>,
    /// Directories of its disks.
    pub disks: Vec<PathBuf>,
    /// Its operator interface, without a slash at the end.
    pub admin: String,
    /// Its directory: configuration, identity, metadata, log.
    pub dir: PathBuf,
}

/// A node's metrics: the sum of each over its labels, and each line by name and labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// The sum of a metric over its labels; 0 when there is none.
    pub fn sum(&self, name: &str) -> f64 {
        let own = |line: &str| line == name || line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        self.0.iter().filter(|(line, _)| own(line)).map(|(_, value)| value).sum()
    }

    /// The lines of a metric, with their labels.
    pub fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.iter().filter(move |(line, _)| line.starts_with(name)).map(|(line, value)| (line.as_str(), *value))
    }

    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(
            lines
                .filter_map(|line| line.rsplit_once(' '))
                .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
                .collect(),
        )
    }
}

/// A running cluster.
pub struct Cluster {
    /// Everything of it.
    pub dir: tempfile::TempDir,
    /// `demo.json` as it was when the cluster began to serve. Process ids change: see [`Cluster::node`].
    pub demo: Value,
    ca: Vec<u8>,
    client: Client,
    variables: Vec<(String, String)>,
    frozen: Mutex<Vec<Process>>,
    _ports: Ports,
}

impl Cluster {
    /// Three sites with three nodes of two disks each, code 4+5.
    ///
    /// # Panics
    /// With the logs' ends when it does not serve.
    pub fn start() -> Self {
        Self::start_with(ClusterOptions::default())
    }

    /// A cluster of another shape.
    ///
    /// # Panics
    /// With the logs' ends when it does not serve.
    pub fn start_with(options: ClusterOptions<'_>) -> Self {
        // A second choice of the same provider is no failure.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::Builder::new().prefix("kluis-test-").tempdir().expect("the temporary directory is writable");
        let ports = Ports::reserve();
        // From here on `Running` stops what was started, also when this function panics.
        let running = Running(dir.path().to_owned());
        let shape = [options.nodes_per_site.to_string(), options.disks_per_node.to_string(), ports.base.to_string()];
        let [nodes, disks, base] = shape.each_ref().map(String::as_str);
        let begin = ["demo", "--detach", "--base-port", base, "--nodes-per-site", nodes, "--disks-per-node", disks, "--code", options.code];
        let set: Vec<String> = options.env.iter().map(|(name, value)| format!("{}={value}", setting(name))).collect();
        let mut arguments: Vec<&str> = begin.to_vec();
        if let Some(quota) = options.quota {
            arguments.extend(["--quota", quota]);
        }
        arguments.extend(set.iter().flat_map(|setting| ["--set", setting.as_str()]));
        expect_ready(dir.path(), &arguments, &options.variables);
        let demo = read_demo(dir.path());
        let ca = fs::read(demo["ca_file"].as_str().unwrap()).unwrap();
        let client = client(&ca);
        std::mem::forget(running);
        Self { dir, demo, ca, client, variables: options.variables, frozen: Mutex::default(), _ports: ports }
    }

    /// The cluster's directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Address of the gateway of a site, from 0.
    pub fn gateway(&self, site: usize) -> String {
        self.demo["gateways"][site].as_str().expect("the demo has a gateway at that site").to_owned()
    }

    /// How many gateways there are.
    pub fn gateway_count(&self) -> usize {
        self.demo["gateways"].as_array().map_or(0, Vec::len)
    }

    /// A client that trusts the cluster's CA alone, follows no redirect and uses no proxy. Each has connections
    /// of its own.
    pub fn client(&self) -> Client {
        client(&self.ca)
    }

    /// The file of the cluster's CA.
    pub fn ca_file(&self) -> PathBuf {
        PathBuf::from(self.demo["ca_file"].as_str().unwrap())
    }

    /// National number of a person of the demo, from 0.
    pub fn national_number(&self, person: usize) -> String {
        self.demo["people"][person]["national_number"].as_str().expect("the demo has that person").to_owned()
    }

    /// A bearer token of a person, by the real flow.
    pub fn sign_in(&self, person: usize) -> String {
        let output = self.demo_command(&["sign-in"], &[self.national_number(person).as_str()]);
        assert!(output.status.success(), "person {person} cannot sign in: {}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A node, with the process that it runs as now.
    pub fn node(&self, id: u64) -> NodeInfo {
        let demo = read_demo(self.path());
        let name = format!("n{id}");
        let nodes = demo["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|n| n["id"] == name.as_str()).unwrap_or_else(|| panic!("the demo has no node {name}"));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let list = |value: &Value| value.as_array().unwrap().iter().map(text).collect::<Vec<_>>();
        NodeInfo {
            id,
            site: text(&node["site"]),
            pid: u32::try_from(node["pid"].as_u64().unwrap()).unwrap(),
            roles: list(&node["roles"]),
            disks: list(&node["disks"]).into_iter().map(PathBuf::from).collect(),
            admin: text(&node["admin"]).trim_end_matches('/').to_owned(),
            dir: self.path().join("nodes").join(name),
        }
    }

    /// All nodes, by id.
    pub fn node_ids(&self) -> Vec<u64> {
        let nodes = self.demo["nodes"].as_array().unwrap().iter();
        nodes.map(|n| n["id"].as_str().unwrap().trim_start_matches('n').parse().unwrap()).collect()
    }

    /// The nodes of a site (`dc1`, `dc2`, `dc3`), by id.
    pub fn nodes_of_site(&self, site: &str) -> Vec<u64> {
        self.node_ids().into_iter().filter(|id| self.node(*id).site == site).collect()
    }

    /// The nodes whose process lives and is not frozen.
    pub fn live_nodes(&self) -> Vec<u64> {
        let frozen = self.frozen.lock().unwrap().clone();
        let lives = |id: &u64| self.process(*id).is_some_and(|p| p.is_alive() && !frozen.contains(&p));
        self.node_ids().into_iter().filter(lives).collect()
    }

    /// The process of a node, if it was started.
    pub fn process(&self, id: u64) -> Option<Process> {
        let processes = Processes::read(self.path()).unwrap_or_else(|e| panic!("{e}"));
        processes.nodes.get(&format!("n{id}")).copied()
    }

    /// Ends a node's process without warning, and waits until it is gone. One that is dead already stays so.
    pub fn kill(&self, id: u64) {
        self.signal(id, Signal::KILL);
        self.wait_gone(id);
    }

    /// Ends several nodes at once: all are signalled before any is awaited.
    pub fn kill_all(&self, ids: &[u64]) {
        for id in ids {
            self.signal(*id, Signal::KILL);
        }
        for id in ids {
            self.wait_gone(*id);
        }
    }

    /// Asks a node to stop, and waits until it has.
    pub fn stop_node(&self, id: u64) {
        self.signal(id, Signal::TERM);
        self.wait_gone(id);
    }

    /// Stops a node's process from running, without ending it: it is silent, and its connections stay.
    pub fn freeze(&self, id: u64) {
        let process = self.process(id).filter(|p| p.is_alive()).unwrap_or_else(|| panic!("n{id} does not run"));
        assert!(process.signal(Signal::STOP), "n{id} cannot be frozen");
        self.frozen.lock().unwrap().push(process);
    }

    /// Lets a frozen node go on.
    pub fn thaw(&self, id: u64) {
        let process = self.process(id).unwrap_or_else(|| panic!("n{id} was never started"));
        process.signal(Signal::CONT);
        self.frozen.lock().unwrap().retain(|p| *p != process);
    }

    /// Starts a node that was killed or stopped. It listens when this returns; whether it is ready,
    /// [`Cluster::wait_ready`] tells.
    pub fn start_node(&self, id: u64) {
        let output = self.try_start_node(id);
        assert!(output.status.success(), "n{id} does not start: {}", said(&output));
    }

    /// As [`Cluster::start_node`], for nodes that may refuse.
    pub fn try_start_node(&self, id: u64) -> Output {
        self.demo_command(&["start-node"], &[format!("n{id}").as_str()])
    }

    fn signal(&self, id: u64, signal: Signal) {
        if let Some(process) = self.process(id) {
            process.signal(signal);
            self.frozen.lock().unwrap().retain(|p| *p != process);
        }
    }

    fn wait_gone(&self, id: u64) {
        let Some(process) = self.process(id) else { return };
        let until = Instant::now() + END_LIMIT;
        while process.is_alive() {
            assert!(Instant::now() < until, "n{id} does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a node says that it can serve.
    pub async fn wait_ready(&self, id: u64) {
        self.wait_health(id, "/readyz").await;
    }

    /// Waits until one check of a node's readiness holds, as `quorum_read`.
    pub async fn wait_check(&self, id: u64, check: &str) {
        self.wait_health(id, &format!("/readyz/{check}")).await;
    }

    async fn wait_health(&self, id: u64, path: &str) {
        let address = format!("{}{path}", self.node(id).admin);
        self.wait_until(&format!("n{id} answers 200 at {path}"), 180, async || {
            let answer = self.client.get(&address).timeout(Duration::from_secs(5)).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// The whole cluster, as any live node sees it.
    pub async fn status(&self) -> Value {
        let mut seen = Value::Null;
        self.wait_until("some node gives its status", 60, async || {
            let output = self.kluis(&["status", "--output", "json", "--dir", &self.path().display().to_string()]);
            if output.status.success() {
                seen = serde_json::from_slice(&output.stdout).expect("a status is JSON");
            }
            output.status.success()
        })
        .await;
        seen
    }

    /// The leader of the metadata group, once there is one that is alive, and its site.
    pub async fn leader(&self) -> (u64, String) {
        let mut found = None;
        self.wait_until("there is a leader", 60, async || {
            let status = self.status().await;
            found = status["metadata"]["leader"].as_u64().filter(|id| self.live_nodes().contains(id));
            found.is_some()
        })
        .await;
        let id = found.expect("the wait ended");
        (id, self.node(id).site)
    }

    /// A node's metrics; `None` when it does not answer.
    pub async fn figures(&self, id: u64) -> Option<Figures> {
        let address = format!("{}/metrics", self.node(id).admin);
        let answer = self.client.get(address).timeout(Duration::from_secs(5)).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok().map(|text| Figures::parse(&text))
    }

    /// The sum of a metric over the live nodes, every one of them.
    pub async fn sum(&self, name: &str) -> f64 {
        let mut sum = 0.0;
        for id in self.live_nodes() {
            let mut part = None;
            self.wait_until(&format!("n{id} gives its metrics"), 60, async || {
                part = self.figures(id).await.map(|figures| figures.sum(name));
                part.is_some()
            })
            .await;
            sum += part.unwrap_or_default();
        }
        sum
    }

    /// Waits until a condition holds.
    ///
    /// # Panics
    /// With what was waited for when it does not within `secs` seconds.
    pub async fn wait_until(&self, what: &str, secs: u64, mut holds: impl AsyncFnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(secs);
        while !holds().await {
            assert!(Instant::now() < until, "still not so after {secs} s: {what}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until reconcile has nothing left to do on the live nodes: each completed passes that made,
    /// moved, settled and deleted nothing and missed nothing. With the usual interval of a demo that takes
    /// minutes: see [`ClusterOptions::eager`].
    pub async fn wait_settled(&self) {
        let until = Instant::now() + Duration::from_secs(SETTLE_LIMIT_SECS);
        let mut before = self.work_seen().await;
        // Metrics are taken every other second: two quiet looks in a row outlast their age.
        let mut quiet = 0;
        while quiet < 2 {
            let passes: BTreeMap<u64, u64> = self.live_nodes().into_iter().map(|id| (id, self.passes(id))).collect();
            while passes.iter().any(|(id, passes)| self.passes(*id) < passes + SETTLE_PASSES) {
                assert!(Instant::now() < until, "reconcile does not complete its passes: {passes:?} before, {before:?}\n{}", self.tails());
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let now = self.work_seen().await;
            quiet = if now == before && now.as_ref().is_some_and(|seen| seen.backlog == 0.0) { quiet + 1 } else { 0 };
            before = now;
            assert!(Instant::now() < until, "reconcile does not come to rest: {before:?}\n{}", self.tails());
        }
    }

    /// What reconcile did so far; `None` when a live node does not tell.
    async fn work_seen(&self) -> Option<WorkSeen> {
        let mut seen = WorkSeen { nodes: self.live_nodes(), ..WorkSeen::default() };
        for id in seen.nodes.clone() {
            let figures = self.figures(id).await?;
            seen.backlog += figures.sum("kluis_repair_backlog_shards");
            seen.rebuilt += figures.sum("kluis_repair_shards_total");
            seen.collected += figures.sum("kluis_collected_shards_total");
            seen.settled += figures.sum("kluis_settled_blobs_total");
            seen.shards += figures.sum("kluis_disk_shards");
        }
        Some(seen)
    }

    /// Passes of reconcile that a node completed, over all its processes.
    pub fn passes(&self, id: u64) -> u64 {
        self.log(id).matches(PASS_DONE).count() as u64
    }

    /// Everything that a node logged.
    pub fn log(&self, id: u64) -> String {
        let bytes = fs::read(self.path().join("nodes").join(format!("n{id}")).join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Moves the cluster's clock, as `25h`.
    pub async fn advance_clock(&self, by: &str) {
        let address = self.demo["clock_url"].as_str().unwrap();
        let answer = self.client.put(address).json(&serde_json::json!({ "advance": by })).send().await.expect("the movable clock answers");
        assert!(answer.status().is_success(), "the clock does not move: {}", answer.status());
    }

    /// Runs the program, with none of its variables but the log's. A command that does not end is ended.
    pub fn kluis(&self, args: &[&str]) -> Output {
        run(args, &borrowed(&self.variables), COMMAND_LIMIT)
    }

    /// Runs a client's command as the holder of `token`, over all gateways.
    pub fn kluis_as(&self, token: &str, args: &[&str]) -> Output {
        let gateways = (0..self.gateway_count()).map(|site| self.gateway(site)).collect::<Vec<_>>().join(",");
        let ca = self.ca_file().display().to_string();
        run(args, &[("KLUIS_GATEWAY", gateways.as_str()), ("KLUIS_CA", ca.as_str()), ("KLUIS_TOKEN", token)], COMMAND_LIMIT)
    }

    /// As [`Cluster::kluis_as`], with standard error on a terminal of 120 columns. Standard output is a file, as
    /// after `>`; what came to the terminal is the output's standard error.
    pub fn kluis_on_terminal(&self, token: &str, args: &[&str]) -> Output {
        let out = tempfile::NamedTempFile::new().unwrap();
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
        let program = program::program().display().to_string();
        let words: Vec<String> = [program.as_str()].iter().chain(args).map(|word| quoted(word)).collect();
        let line = format!("stty rows 40 cols 120; exec {} >{}", words.join(" "), quoted(&out.path().display().to_string()));
        let gateways = (0..self.gateway_count()).map(|site| self.gateway(site)).collect::<Vec<_>>().join(",");
        // script(1) makes the terminal and copies what comes to it; with a terminal, but no type of it, no bar is drawn.
        let mut command = Command::new("script");
        program::clean(&mut command)
            .args(["-qec", line.as_str(), "/dev/null"])
            .envs([("TERM", "xterm"), ("SHELL", "/bin/sh")])
            .stdin(Stdio::null());
        command.env("KLUIS_GATEWAY", gateways).env("KLUIS_CA", self.ca_file()).env("KLUIS_TOKEN", token);
        let seen = command.output().expect("script can be run: it is part of Debian's bsdutils");
        Output { status: seen.status, stdout: fs::read(out.path()).unwrap(), stderr: seen.stdout }
    }

    fn demo_command(&self, verb: &[&str], args: &[&str]) -> Output {
        let dir = self.path().display().to_string();
        let all: Vec<&str> = ["demo"].iter().chain(verb).chain(&["--dir", dir.as_str()]).chain(args).copied().collect();
        self.kluis(&all)
    }

    /// The ends of all logs: what a person needs when a test failed.
    pub fn tails(&self) -> String {
        tails(self.path())
    }
}

/// What the work of reconcile looks like from outside.
#[derive(Debug, Clone, Default, PartialEq)]
struct WorkSeen {
    nodes: Vec<u64>,
    backlog: f64,
    rebuilt: f64,
    collected: f64,
    settled: f64,
    shards: f64,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.frozen.lock().map(|frozen| frozen.clone()).unwrap_or_default() {
            process.signal(Signal::CONT);
        }
        if std::thread::panicking() {
            eprintln!("{}", tails(self.dir.path()));
        }
        stop(self.dir.path());
        if std::thread::panicking() && std::env::var_os("KLUIS_KEEP").is_some() {
            eprintln!("kept: {}", self.dir.path().display());
            self.dir.disable_cleanup(true);
        }
    }
}

/// Stops a cluster that is not yet in a [`Cluster`].
struct Running(PathBuf);

impl Drop for Running {
    fn drop(&mut self) {
        stop(&self.0);
    }
}

fn stop(dir: &Path) {
    if let Ok(program) = program::find() {
        // The test's own result counts; what was not stopped is seen by the next one's ports.
        let _ = program::clean(&mut Command::new(program))
            .args(["demo", "stop", "--dir"])
            .arg(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

fn read_demo(dir: &Path) -> Value {
    let path = dir.join("demo.json");
    let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).expect("demo.json is JSON")
}

pub(crate) fn client(ca: &[u8]) -> Client {
    let ca = Certificate::from_pem_bundle(ca).expect("the CA is PEM");
    let builder = Client::builder().tls_certs_only(ca).redirect(redirect::Policy::none()).no_proxy();
    builder.connect_timeout(Duration::from_secs(5)).build().expect("TLS can be set up")
}

fn expect_ready(dir: &Path, args: &[&str], variables: &[(String, String)]) {
    let path = dir.display().to_string();
    let all: Vec<&str> = args.iter().copied().chain(["--dir", path.as_str()]).collect();
    let output = run(&all, &borrowed(variables), COMMAND_LIMIT);
    let is_ready = output.status.success() && String::from_utf8_lossy(&output.stdout).lines().any(|line| line == "ready");
    assert!(is_ready, "the cluster does not serve: {}\n{}", said(&output), tails(dir));
}

fn borrowed(variables: &[(String, String)]) -> Vec<(&str, &str)> {
    variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// The key that a variable of ours stands for, as `section.key`.
fn setting(variable: &str) -> String {
    let key = variable.strip_prefix("KLUIS_").expect("a setting is named KLUIS_SECTION_KEY").to_ascii_lowercase();
    let (section, key) = key.split_once('_').expect("a setting is named KLUIS_SECTION_KEY");
    format!("{section}.{key}")
}

pub(crate) fn tails(dir: &Path) -> String {
    let mut out = String::new();
    let mut logs = vec![dir.join("supervisor.log")];
    logs.extend(fs::read_dir(dir.join("nodes")).into_iter().flatten().flatten().map(|node| node.path().join("log")));
    logs.sort();
    for path in logs {
        let Ok(bytes) = fs::read(&path) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        let telling = |line: &&str| !line.contains(PASS_DONE) && !line.contains("\"answered\"");
        let lines: Vec<&str> = text.lines().filter(telling).collect();
        let _ = writeln!(out, "--- {}", path.display());
        for line in lines.iter().skip(lines.len().saturating_sub(12)) {
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_their_labels_and_not_over_longer_names() {
        let text = "# HELP a x\na{disk=\"1\"} 2\na{disk=\"2\"} 3\na_total 100\nb 1.5\n";
        let figures = Figures::parse(text);
        assert_eq!((figures.sum("a"), figures.sum("a_total"), figures.sum("b"), figures.sum("c")), (5.0, 100.0, 1.5, 0.0));
        assert_eq!(figures.lines("a{").count(), 2);
    }

    #[test]
    fn a_variable_stands_for_a_key() {
        assert_eq!(setting("KLUIS_RECONCILE_GRACE"), "reconcile.grace");
        assert_eq!(setting("KLUIS_LIMITS_UPLOADS_PER_ACCOUNT"), "limits.uploads_per_account");
    }
}
