//! How fast the shards of a lost disk are made anew.
//!
//! A cluster of nine processes holds documents of a MiB. One node is stopped, one of its disks is emptied, the node is
//! started again, and the new disk is put in force (`kluis cluster apply-topology --apply`), as an operator would.
//! The clock runs from there until no node lacks a shard and nothing was made for a while; the time of the last
//! change is the end.
//!
//! Owns: this course. Not: repair itself, nor its budget (`reconcile.budget_bytes_per_second` of each node).
//! Holds: (1) the shards that are there afterwards are at least as many as before the loss; (2) nodes publish their
//! counts every other second, so the time is that coarse.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use kluis_node::{
    config::Config,
    demo::{layout::Layout, record},
};
use serde::Serialize;

use crate::{
    cluster::Cluster,
    load::{self, Client, Direction},
    plan::{Plan, SHAPES},
    refusals::Trouble,
    stats::{GIB, MIB, per_second},
};

/// The node that loses a disk: no gateway.
const VICTIM: &str = "n5";
const DOCUMENT_BYTES: usize = 1 << 20;
const UPLOADS_AT_ONCE: usize = 16;
/// Longest time for the repair.
const DEADLINE: Duration = Duration::from_secs(1_800);
/// Time without a change after which nothing more comes: two rounds of reconcile in a demo.
const QUIET: Duration = Duration::from_secs(12);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the repair took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Repair {
    /// Bytes of documents in the cluster.
    pub document_bytes: u64,
    /// Shards on all disks before the loss.
    pub shards_before: u64,
    /// Shards on all disks right after it.
    pub shards_lost: u64,
    /// Bytes of shards that were made anew, on all nodes.
    pub repaired_bytes: u64,
    /// From the new topology to the last shard, in seconds.
    pub seconds: f64,
    /// Bytes of shards a second, in MiB.
    pub mib_per_second: f64,
    /// What one node may repair a second, in MiB, as configured.
    pub budget_mib_per_second: f64,
    /// Processor time of all nodes for a GiB of shards, in seconds.
    pub server_cpu_seconds_per_gib: f64,
    /// What was refused and given up while the documents were stored.
    pub trouble: Trouble,
}

/// Runs it.
///
/// # Errors
/// The cluster does not come up, or is not whole in time.
pub async fn measure(binary: &Path, dir: &Path, plan: &Plan) -> Result<Repair> {
    let [shape, _] = SHAPES;
    eprintln!("starting {} nodes, of which one will lose a disk", shape.nodes());
    let mut cluster = Cluster::start(binary, dir, shape)?;
    let budget = budget_bytes_per_second(cluster.dir())?;
    let client = Client::new(&cluster, 0)?;
    let done = load::run(&client, Direction::Put, DOCUMENT_BYTES, UPLOADS_AT_ONCE, &[], DEADLINE, plan.repair_bytes).await?;
    let before = cluster.settled().await?.shards;

    let disk = cluster.node(VICTIM)?.disks.first().context("the node has no disk")?.clone();
    cluster.stop_node(VICTIM).await?;
    fs::remove_dir_all(&disk).with_context(|| format!("cannot empty {}", disk.display()))?;
    fs::create_dir(&disk)?;
    cluster.start_node(VICTIM).await?;
    let left = cluster.settled().await?.shards;
    ensure!(left < before, "no shard lay on the disk that was emptied");
    let (made, cpu) = (repaired(&cluster).await?, cluster.cpu_seconds()?);
    cluster.apply_topology(1).await?;

    let begun = Instant::now();
    let (mut last, mut changed, mut cpu_then) = (made, begun, cpu);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = repaired(&cluster).await?;
        if now > last {
            (last, changed, cpu_then) = (now, Instant::now(), cluster.cpu_seconds()?);
        }
        let whole = changed.elapsed() > QUIET && last > made;
        if whole && cluster.sum("kluis_repair_backlog_shards", |_, _| true).await? == 0.0 {
            break;
        }
        ensure!(begun.elapsed() < DEADLINE, "the disk is not whole after {} s", begun.elapsed().as_secs());
    }
    let after = cluster.settled().await?.shards;
    ensure!(after >= before, "{after} shards after the repair, {before} before the loss");
    cluster.stop()?;
    let (bytes, time) = (last - made, changed - begun);
    Ok(Repair {
        document_bytes: (done.latencies.len() * DOCUMENT_BYTES) as u64,
        // Counts of shards and bytes are far below what a float holds exactly.
        shards_before: before as u64,
        shards_lost: (before - left) as u64,
        repaired_bytes: bytes as u64,
        seconds: time.as_secs_f64(),
        mib_per_second: per_second(bytes / MIB, time),
        budget_mib_per_second: budget as f64 / MIB,
        server_cpu_seconds_per_gib: (cpu_then - cpu) / bytes * GIB,
        trouble: done.trouble,
    })
}

async fn repaired(cluster: &Cluster) -> Result<f64> {
    cluster.sum("kluis_repair_bytes_total", |_, _| true).await
}

/// What the victim's configuration allows.
fn budget_bytes_per_second(dir: &Path) -> Result<u64> {
    let settings = record::settings(dir)?.context("the demo has no settings")?;
    let layout = Layout::new(dir, settings)?;
    let node = layout.nodes.iter().find(|node| node.id.to_string() == VICTIM).context("the demo lacks a node")?;
    Ok(Config::load(&node.config(), [])?.reconcile.budget_bytes_per_second)
}
