//! `kluis-bench`: what the cluster does a second, and what this machine could do at most.
//!
//! Reading order: this file (the order of a run), [`primitives`] (what the machine can do), [`cluster`]
//! (processes of the real binary, what they cost), [`load`] (uploads and downloads), [`report`] (limits,
//! ratios, table, JSON).
//!
//! Owns: the plan of a run. Not: building the binary that it measures.
//! Holds: (1) primitives and cluster are measured in one run on one machine, so that their ratio means
//! something on any machine; (2) no figure is written down here: what is printed was measured or computed
//! from what was; (3) whatever it started it stops, also after an error.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod cluster;
mod load;
mod primitives;
mod report;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use clap::Parser;

use cluster::{Cluster, Shape};
use load::{Client, Direction, Document};
use report::{Cost, Machine, Operation, Report};

/// Sizes of documents, in bytes.
const SIZES: [usize; 3] = [4 << 10, 1 << 20, 64 << 20];
/// Requests at a time.
const CONCURRENCIES: [usize; 2] = [1, 16];
/// Nine processes, and three: what each is worth.
const SHAPES: [Shape; 2] = [Shape { nodes_per_site: 3, disks_per_node: 2 }, Shape { nodes_per_site: 1, disks_per_node: 3 }];

/// Measures a cluster of real processes and the machine that it runs on.
#[derive(Debug, Parser)]
#[command(name = "kluis-bench", version)]
struct Arguments {
    /// The `kluis` binary to measure; built with optimisation if the figures are to mean anything
    #[arg(long, value_name = "PATH")]
    binary: PathBuf,
    /// Short steps: to see that it works, not how fast
    #[arg(long)]
    quick: bool,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where disks and metadata are put for the time of the run
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// How long and how much.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Time of a primitive.
    primitive: Duration,
    /// Time of a step of load.
    step: Duration,
    /// Bytes of documents after which a step ends early: the disks of the machine are not endless.
    step_bytes: u64,
}

impl Limits {
    fn new(quick: bool) -> Self {
        if quick {
            Self { primitive: Duration::from_millis(300), step: Duration::from_secs(2), step_bytes: 64 << 20 }
        } else {
            Self { primitive: Duration::from_secs(2), step: Duration::from_secs(10), step_bytes: 512 << 20 }
        }
    }
}

/// A directory that goes with the value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let limits = Limits::new(arguments.quick);
    let binary = fs::canonicalize(&arguments.binary).with_context(|| format!("there is no {}", arguments.binary.display()))?;
    let parent = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = Scratch(std::path::absolute(parent.join(format!("kluis-bench-{}", std::process::id())))?);
    fs::create_dir_all(&scratch.0).with_context(|| format!("cannot make {}", scratch.0.display()))?;

    eprintln!("measuring the machine");
    let primitives = primitives::measure(&scratch.0, limits.primitive).await?;
    let mut report = Report { machine: Machine::of_this()?, quick: arguments.quick, primitives, operations: Vec::new() };
    for shape in SHAPES {
        let dir = scratch.0.join(format!("{}-nodes", shape.nodes()));
        eprintln!("starting {} nodes", shape.nodes());
        let cluster = Cluster::start(&binary, &dir, shape)?;
        for (person, size) in SIZES.into_iter().enumerate() {
            let client = Client::new(&cluster, person)?;
            for concurrency in CONCURRENCIES {
                eprintln!("  {size} bytes, {concurrency} at a time");
                let operations = measure(&cluster, &client, shape, size, concurrency, limits).await?;
                report.operations.extend(operations);
            }
        }
        cluster.stop()?;
        // The disks of one cluster need not lie beside those of the next.
        let _ = fs::remove_dir_all(&dir);
    }
    print!("{}", report.table());
    if let Some(out) = &arguments.out {
        fs::write(out, report.json()?).with_context(|| format!("cannot write {}", out.display()))?;
    }
    Ok(())
}

/// Uploads for a while, then downloads what was uploaded.
async fn measure(
    cluster: &Cluster,
    client: &Client,
    shape: Shape,
    size: usize,
    concurrency: usize,
    limits: Limits,
) -> Result<[Operation; 2]> {
    let before = cluster.settled_shards().await?;
    let (put, documents) = step(cluster, client, Direction::Put, size, concurrency, &[], limits).await?;
    let shards = cluster.settled_shards().await?.saturating_sub(before);
    let (get, _) = step(cluster, client, Direction::Get, size, concurrency, &documents, limits).await?;
    let operation =
        |direction, cost, stored| Operation { shape, direction, size_bytes: size, concurrency, cost, stored_bytes_per_byte: stored };
    Ok([operation(Direction::Put, put, report::stored_per_byte(size, put.operations, shards)), operation(Direction::Get, get, None)])
}

async fn step(
    cluster: &Cluster,
    client: &Client,
    direction: Direction,
    size: usize,
    concurrency: usize,
    documents: &[Document],
    limits: Limits,
) -> Result<(Cost, Vec<Document>)> {
    let (server, own) = (cluster.cpu_seconds()?, cluster::own_cpu_seconds()?);
    let done = load::run(client, direction, size, concurrency, documents, limits.step, limits.step_bytes).await?;
    let server_cpu_seconds = cluster.cpu_seconds()? - server;
    let client_cpu_seconds = cluster::own_cpu_seconds()? - own;
    Ok((Cost::new(&done, size, server_cpu_seconds, client_cpu_seconds), done.documents))
}
