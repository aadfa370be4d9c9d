//! A cluster of real processes, and what it costs.
//!
//! Owns: starting and stopping by `kluis demo`, processor time of its nodes, their metrics. Not: load.
//! Holds: only what `kluis demo` started is stopped, by `kluis demo stop`.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Certificate;
use serde::{Deserialize, Serialize};

/// Clock ticks a second in `/proc/PID/stat`: fixed for programs, whatever the kernel's own rate.
const TICKS_PER_SECOND: f64 = 100.0;
/// Metrics are taken every other second: two looks that agree, further apart than that, are at rest.
const METRICS_AGE: Duration = Duration::from_millis(2_500);
/// Looks after which counters that still move are taken as they are.
const LOOKS_MAX: usize = 8;

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

/// `demo.json`, as far as it is used.
#[derive(Debug, Deserialize)]
struct Demo {
    gateways: Vec<String>,
    ca_file: PathBuf,
    people: Vec<Person>,
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Person {
    national_number: String,
}

#[derive(Debug, Deserialize)]
struct Node {
    pid: u32,
    admin: String,
}

/// A cluster that serves.
pub struct Cluster {
    binary: PathBuf,
    dir: PathBuf,
    demo: Demo,
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
        let demo: Demo = serde_json::from_slice(&fs::read(dir.join("demo.json"))?).context("demo.json has another form")?;
        let client = client(&demo.ca_file)?;
        std::mem::forget(stop);
        Ok(Self { binary: binary.to_owned(), dir: dir.to_owned(), demo, client })
    }

    /// Addresses of the gateways.
    pub fn gateways(&self) -> &[String] {
        &self.demo.gateways
    }

    /// The certification authority's file.
    pub fn ca_file(&self) -> &Path {
        &self.demo.ca_file
    }

    /// A bearer token of a person: each has a vault with a quota of its own.
    ///
    /// # Errors
    /// The sign-in fails.
    pub fn sign_in(&self, person: usize) -> Result<String> {
        let count = self.demo.people.len().max(1);
        let number = &self.demo.people.get(person % count).context("the demo has nobody")?.national_number;
        let output = kluis(&self.binary).args(["demo", "sign-in", "--dir"]).arg(&self.dir).arg(number).output()?;
        ensure!(output.status.success(), "the sign-in failed: {}", said(&output));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Processor time of all nodes since they began, in seconds.
    ///
    /// # Errors
    /// A node has ended.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let mut sum = 0.0;
        for node in &self.demo.nodes {
            sum += cpu_seconds(&format!("/proc/{}/stat", node.pid)).with_context(|| format!("process {} has ended", node.pid))?;
        }
        Ok(sum)
    }

    /// Shards on all disks, once that number rests.
    ///
    /// # Errors
    /// A node does not answer.
    pub async fn settled_shards(&self) -> Result<u64> {
        let mut last = self.shards().await?;
        for _ in 0..LOOKS_MAX {
            tokio::time::sleep(METRICS_AGE).await;
            let now = self.shards().await?;
            if now == last {
                break;
            }
            last = now;
        }
        Ok(last)
    }

    async fn shards(&self) -> Result<u64> {
        let mut sum = 0;
        for node in &self.demo.nodes {
            let url = format!("{}/metrics", node.admin.trim_end_matches('/'));
            let text = self.client.get(&url).send().await?.error_for_status()?.text().await?;
            sum += sum_of(&text, "kluis_disk_shards");
        }
        Ok(sum)
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

/// The sum of a metric over its labels, in Prometheus' text form.
fn sum_of(text: &str, name: &str) -> u64 {
    let of = |line: &str| -> Option<u64> {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with([' ', '{']) {
            return None;
        }
        rest.rsplit_once(' ')?.1.parse().ok()
    };
    text.lines().filter_map(of).sum()
}

/// Processor time of this process, in seconds.
///
/// # Errors
/// The system does not tell.
pub fn own_cpu_seconds() -> Result<f64> {
    cpu_seconds("/proc/self/stat")
}

/// User and system time of a process: fields 14 and 15 of proc(5). The name in field 2 may hold spaces.
fn cpu_seconds(stat_file: &str) -> Result<f64> {
    parse_cpu_ticks(&fs::read_to_string(stat_file)?).map(|ticks| ticks as f64 / TICKS_PER_SECOND).context("/proc has another form")
}

fn parse_cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

/// The first of `count` ports in a row that nobody uses.
fn free_ports(count: u16) -> Result<u16> {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    for base in (12_000..30_000_u16).step_by(usize::from(count)) {
        if (base..base.saturating_add(count)).all(free) {
            return Ok(base);
        }
    }
    bail!("every range of {count} ports is in use")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_an_ugly_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 150 7 8 20 0 1 0 987654 1000 200";
        assert_eq!(parse_cpu_ticks(stat), Some(400));
        assert_eq!(parse_cpu_ticks("7 x S"), None);
    }

    #[test]
    fn only_the_named_metric_is_summed() {
        let text = "# HELP a b\nkluis_disk_shards{disk=\"1\"} 4\nkluis_disk_shards{disk=\"2\"} 5\nkluis_disk_shards_total 100\n";
        assert_eq!(sum_of(text, "kluis_disk_shards"), 9);
    }
}
