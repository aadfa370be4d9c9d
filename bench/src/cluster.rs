//! A cluster of real processes, and what it costs.
//!
//! Owns: starting and stopping by `kluis demo`, processor time and memory of its nodes, their metrics. Not: load.
//! Holds: (1) only what `kluis demo` started is stopped: by `kluis demo stop`, or as the process that it wrote
//! down; (2) figures of nodes are taken when they rest, because nodes publish them every other second.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use kluis_node::demo::record::{DemoRecord, NodeEntry, Processes};
use reqwest::Certificate;
use rustix::process::Signal;
use serde::Serialize;

use crate::{proc, scrape, stats::per_second};

/// Metrics are taken every other second: two looks that agree, further apart than that, are at rest.
const METRICS_AGE: Duration = Duration::from_millis(2_500);
/// Looks after which counters that still move are taken as they are.
const LOOKS_MAX: usize = 8;
/// Longest time for a node to stop, to start or to be ready.
const NODE_DEADLINE: Duration = Duration::from_secs(120);
/// Pause between two looks at something that is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How large a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Nodes of each of the three sites.
    pub nodes_per_site: u16,
    /// Disks of each node.
    pub disks_per_node: u16,
}

impl Shape {
    /// All nodes.
    pub fn nodes(self) -> u16 {
        3 * self.nodes_per_site
    }
}

/// What nodes count, summed over all of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Shards on all disks.
    pub shards: f64,
    /// Bytes that nodes sent to nodes of other sites.
    pub site_bytes: f64,
    /// When they were taken.
    pub at: Instant,
}

/// A cluster that serves.
pub struct Cluster {
    binary: PathBuf,
    dir: PathBuf,
    demo: DemoRecord,
    client: reqwest::Client,
}

impl Cluster {
    /// Starts one and waits until it serves.
    ///
    /// # Errors
    /// It does not come up; what it said is in the text.
    pub fn start(binary: &Path, dir: &Path, shape: Shape) -> Result<Self> {
        let base = free_ports(10 * (shape.nodes() + 1)).context("no free range of ports")?;
        let stop = StopOnDrop { binary, dir };
        let mut command = kluis(binary);
        command.arg("demo").arg("--dir").arg(dir).args(["--base-port", &base.to_string(), "--code", "4+5", "--quota", "1TB", "--detach"]);
        command.args(["--nodes-per-site", &shape.nodes_per_site.to_string(), "--disks-per-node", &shape.disks_per_node.to_string()]);
        let output = command.output().context("the binary cannot be run")?;
        ensure!(output.status.success(), "the cluster did not start: {}", said(&output));
        let demo = DemoRecord::read(dir).map_err(|e| anyhow::anyhow!("{e}"))?;
        let client = client(&demo.ca_file)?;
        std::mem::forget(stop);
        Ok(Self { binary: binary.to_owned(), dir: dir.to_owned(), demo, client })
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Addresses of the gateways.
    pub fn gateways(&self) -> &[String] {
        &self.demo.gateways
    }

    /// The certification authority's file.
    pub fn ca_file(&self) -> &Path {
        &self.demo.ca_file
    }

    /// A node.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn node(&self, id: &str) -> Result<&NodeEntry> {
        self.demo.nodes.iter().find(|node| node.id == id).with_context(|| format!("there is no node {id}"))
    }

    /// A bearer token of a person: each has a vault with a quota of its own.
    ///
    /// # Errors
    /// The sign-in fails.
    pub fn sign_in(&self, person: usize) -> Result<String> {
        let count = self.demo.people.len().max(1);
        let number = &self.demo.people.get(person % count).context("the demo has nobody")?.national_number;
        let output = self.kluis(&["demo", "sign-in"], &[number.as_str()])?;
        ensure!(output.status.success(), "the sign-in failed: {}", said(&output));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Processor time of all nodes since they began, in seconds.
    ///
    /// # Errors
    /// A node has ended.
    pub fn cpu_seconds(&self) -> Result<f64> {
        self.demo.nodes.iter().map(|node| proc::cpu_seconds(node.pid)).sum()
    }

    /// Most memory that each node had since [`Self::reset_peak_memory`], in bytes, by id.
    ///
    /// # Errors
    /// A node has ended.
    pub fn peak_memory_bytes(&self) -> Result<BTreeMap<String, u64>> {
        self.demo.nodes.iter().map(|node| Ok((node.id.clone(), proc::peak_memory_bytes(node.pid)?))).collect()
    }

    /// Memory of the largest node now, in bytes.
    ///
    /// # Errors
    /// A node has ended.
    pub fn resident_memory_bytes(&self) -> Result<u64> {
        self.demo.nodes.iter().try_fold(0, |most, node| Ok(proc::resident_memory_bytes(node.pid)?.max(most)))
    }

    /// Begins anew with the most memory. `false` where the system does not allow it for every node: what is read
    /// later is then the most since a node began.
    pub fn reset_peak_memory(&self) -> bool {
        // Of every node, also after one that does not allow it.
        self.demo.nodes.iter().filter(|node| !proc::reset_peak_memory(node.pid)).count() == 0
    }

    /// The sum of a metric over all nodes, with each line's labels shown to `wanted`.
    ///
    /// # Errors
    /// A node does not answer.
    pub async fn sum(&self, name: &str, wanted: impl Fn(&NodeEntry, &str) -> bool) -> Result<f64> {
        let mut sum = 0.0;
        for node in &self.demo.nodes {
            sum += scrape::sum(&self.metrics(node).await?, name, |labels| wanted(node, labels));
        }
        Ok(sum)
    }

    /// What nodes count, once the number of shards rests.
    ///
    /// # Errors
    /// A node does not answer.
    pub async fn settled(&self) -> Result<Figures> {
        let mut last = self.figures().await?;
        for _ in 0..LOOKS_MAX {
            tokio::time::sleep(METRICS_AGE).await;
            let now = self.figures().await?;
            let rests = now.shards == last.shards;
            last = now;
            if rests {
                break;
            }
        }
        Ok(last)
    }

    /// Bytes a second that go between sites while nobody asks for anything: heartbeats and acknowledgements.
    ///
    /// # Errors
    /// A node does not answer.
    pub async fn idle_site_bytes_per_second(&self) -> Result<f64> {
        let before = self.settled().await?;
        tokio::time::sleep(2 * METRICS_AGE).await;
        let after = self.figures().await?;
        Ok(per_second((after.site_bytes - before.site_bytes).max(0.0), after.at - before.at))
    }

    async fn figures(&self) -> Result<Figures> {
        let shards = self.sum("kluis_disk_shards", |_, _| true).await?;
        let leaves = |node: &NodeEntry, labels: &str| {
            scrape::label(labels, "direction") == Some("sent") && scrape::label(labels, "site") != Some(node.site.as_str())
        };
        Ok(Figures { shards, site_bytes: self.sum("kluis_peer_bytes_total", leaves).await?, at: Instant::now() })
    }

    /// The metrics of a node, as they are published.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metrics(&self, node: &NodeEntry) -> Result<String> {
        let url = format!("{}/metrics", node.admin.as_str().trim_end_matches('/'));
        Ok(self.client.get(url).send().await?.error_for_status()?.text().await?)
    }

    /// Asks a node to stop and waits until it has.
    ///
    /// # Errors
    /// It does not.
    pub async fn stop_node(&self, id: &str) -> Result<()> {
        let processes = Processes::read(&self.dir).map_err(|e| anyhow::anyhow!("{e}"))?;
        let process = processes.nodes.get(id).with_context(|| format!("{id} does not run"))?;
        process.signal(Signal::TERM);
        ensure!(process.ended_within(NODE_DEADLINE).await, "{id} does not stop");
        Ok(())
    }

    /// Starts a node again; returns the time until it was ready to serve.
    ///
    /// # Errors
    /// It does not start, or is not ready in time.
    pub async fn start_node(&mut self, id: &str) -> Result<Duration> {
        let begun = Instant::now();
        let output = self.kluis(&["demo", "start-node"], &[id])?;
        ensure!(output.status.success(), "{id} does not start: {}", said(&output));
        // It has another process now.
        self.demo = DemoRecord::read(&self.dir).map_err(|e| anyhow::anyhow!("{e}"))?;
        let url = format!("{}/readyz", self.node(id)?.admin.as_str().trim_end_matches('/'));
        while !self.client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            ensure!(begun.elapsed() < NODE_DEADLINE, "{id} is not ready");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(begun.elapsed())
    }

    /// Puts the disks that are announced and not yet in use into force, once there are `count` of them.
    ///
    /// # Errors
    /// They are not announced in time, or the plan is refused.
    pub async fn apply_topology(&self, count: usize) -> Result<()> {
        let begun = Instant::now();
        loop {
            let output = self.kluis(&["--output", "json", "cluster", "apply-topology"], &[])?;
            let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if plan.get("added").and_then(|added| added.as_array()).is_some_and(|added| added.len() >= count) {
                break;
            }
            ensure!(begun.elapsed() < NODE_DEADLINE, "{count} new disks are not announced: {plan} {}", said(&output));
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let output = self.kluis(&["cluster", "apply-topology", "--apply"], &[])?;
        ensure!(output.status.success(), "the topology was not applied: {}", said(&output));
        Ok(())
    }

    /// Runs a command of the product about this cluster.
    fn kluis(&self, command: &[&str], arguments: &[&str]) -> Result<Output> {
        kluis(&self.binary).args(command).arg("--dir").arg(&self.dir).args(arguments).output().context("the binary cannot be run")
    }

    /// Stops it.
    ///
    /// # Errors
    /// A process does not end.
    pub fn stop(self) -> Result<()> {
        let output = stop(&self.binary, &self.dir)?;
        ensure!(output.status.success(), "the cluster did not stop: {}", said(&output));
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A second stop does nothing.
        let _ = stop(&self.binary, &self.dir);
    }
}

/// Stops a cluster that came up only in part.
struct StopOnDrop<'a> {
    binary: &'a Path,
    dir: &'a Path,
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        let _ = stop(self.binary, self.dir);
    }
}

fn stop(binary: &Path, dir: &Path) -> std::io::Result<Output> {
    kluis(binary).args(["demo", "stop", "--dir"]).arg(dir).output()
}

fn kluis(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("KLUIS_")) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

/// An HTTPS client that trusts one authority; HTTP/1.1, so that each request at a time has its own connection.
///
/// # Errors
/// The file is no certificate.
pub fn client(ca_file: &Path) -> Result<reqwest::Client> {
    let pem = fs::read(ca_file).with_context(|| format!("cannot read {}", ca_file.display()))?;
    let builder = reqwest::Client::builder().tls_certs_only(Certificate::from_pem_bundle(&pem)?).no_proxy().http1_only();
    Ok(builder.timeout(Duration::from_secs(300)).build()?)
}

/// The first of `count` ports in a row that nobody uses.
///
/// # Errors
/// There are none.
pub fn free_ports(count: u16) -> Result<u16> {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    for base in (12_000..30_000_u16).step_by(usize::from(count)) {
        if (base..base.saturating_add(count)).all(free) {
            return Ok(base);
        }
    }
    bail!("every range of {count} ports is in use")
}
