//! Three members of etcd, as the Debian package has it, on this machine.
//!
//! Owns: starting, asking and ending them. Not: installing (etcd-server).
//! Holds: (1) only the processes that were started here are ended; (2) they sync as they do by default, and their
//! data lies beside that of our own group; (3) settings from the environment are not taken.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use crate::{
    cluster::free_ports,
    load::{rand_u64, random},
    proc,
};

const MEMBERS: u16 = 3;
const KEY_BYTES: usize = 32;
const VALUE_BYTES: usize = 100;
/// Longest time until all members say that they are healthy.
const START_DEADLINE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The program, if it is on the path.
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|file| file.is_file())
}

/// Members that serve.
pub struct Etcd {
    members: Vec<Running>,
    client: reqwest::Client,
    version: String,
}

struct Running {
    child: Child,
    url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Etcd {
    /// Starts three members with their data in `dir`, and waits until each is healthy.
    ///
    /// # Errors
    /// They do not come up.
    pub async fn start(program: &Path, dir: &Path) -> Result<Self> {
        let output = command(program).arg("--version").output().context("etcd cannot be run")?;
        let version = version_of(&String::from_utf8_lossy(&output.stdout));
        let base = free_ports(2 * MEMBERS)?;
        let peer = |member: u16| format!("http://127.0.0.1:{}", base + member);
        let cluster: Vec<String> = (0..MEMBERS).map(|member| format!("m{member}={}", peer(member))).collect();
        let (cluster, token) = (cluster.join(","), format!("bench-{:016x}", rand_u64()?));
        let mut members = Vec::new();
        for member in 0..MEMBERS {
            let (name, url) = (format!("m{member}"), format!("http://127.0.0.1:{}", base + MEMBERS + member));
            let data = dir.join(&name);
            fs::create_dir_all(&data)?;
            let log = File::create(dir.join(format!("{name}.log")))?;
            let mut command = command(program);
            command.args(["--name", name.as_str(), "--initial-cluster-state", "new", "--logger", "zap", "--log-level", "error"]);
            command.arg("--data-dir").arg(&data);
            for (option, value) in [
                ("--listen-client-urls", &url),
                ("--advertise-client-urls", &url),
                ("--listen-peer-urls", &peer(member)),
                ("--initial-advertise-peer-urls", &peer(member)),
                ("--initial-cluster", &cluster),
                ("--initial-cluster-token", &token),
            ] {
                command.arg(option).arg(value);
            }
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            members.push(Running { child: command.spawn().context("etcd cannot be started")?, url });
        }
        let client = reqwest::Client::builder().no_proxy().http1_only().timeout(Duration::from_secs(60)).build()?;
        let etcd = Self { members, client, version };
        let begun = Instant::now();
        while !etcd.is_healthy().await {
            ensure!(begun.elapsed() < START_DEADLINE, "etcd does not come up: {}", said(dir));
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(etcd)
    }

    async fn is_healthy(&self) -> bool {
        for member in &self.members {
            let answer = self.client.get(format!("{}/health", member.url)).send().await;
            if !answer.is_ok_and(|answer| answer.status().is_success()) {
                return false;
            }
        }
        true
    }

    /// Name and version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Processor time of all members since they began, in seconds.
    ///
    /// # Errors
    /// One has ended.
    pub fn cpu_seconds(&self) -> Result<f64> {
        self.members.iter().map(|member| proc::cpu_seconds(member.child.id())).sum()
    }

    /// Puts a value under a new key, on the member that a client asks.
    ///
    /// # Errors
    /// It is refused.
    pub async fn put(&self, client: usize) -> Result<()> {
        let member = self.members.get(client % self.members.len().max(1)).context("no member")?;
        let body = json!({ "key": BASE64_STANDARD.encode(random(KEY_BYTES)?), "value": BASE64_STANDARD.encode(random(VALUE_BYTES)?) });
        let answer = self.client.post(format!("{}/v3/kv/put", member.url)).json(&body).send().await?;
        let status = answer.status();
        // Read to its end, so that the connection is used again.
        let text = answer.text().await?;
        ensure!(status.is_success(), "etcd refused a put: {status} {text}");
        Ok(())
    }
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("ETCD_")) {
            command.env_remove(name);
        }
    }
    command
}

/// `etcd 3.4.23` of `etcd Version: 3.4.23` and more lines.
fn version_of(output: &str) -> String {
    let version = output.lines().next().and_then(|line| line.strip_prefix("etcd Version:")).map_or("", str::trim);
    format!("etcd {version}").trim().to_owned()
}

/// The ends of the members' logs.
fn said(dir: &Path) -> String {
    let ends = (0..MEMBERS).filter_map(|member| {
        let log = fs::read_to_string(dir.join(format!("m{member}.log"))).ok()?;
        log.lines().last().map(str::to_owned)
    });
    ends.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_first_line() {
        assert_eq!(version_of("etcd Version: 3.4.23\nGit SHA: Not provided\n"), "etcd 3.4.23");
        assert_eq!(version_of("something else"), "etcd");
    }
}
