//! Uploads and downloads on real processes: what they take, what they cost, how near they come to the limit.
//!
//! Owns: the steps of one cluster and their figures. Not: single requests ([`crate::load`]), the limit's arithmetic
//! ([`crate::limit`]).
//! Holds: (1) what is downloaded is what the same step uploaded; (2) processor time of nodes and of this process are
//! apart; (3) bytes between sites are those that the nodes' connections carried, acknowledgements and sending again
//! included, less what an idle cluster sends in the same time; (4) a step that cannot be measured is named in the
//! report, and the next one is measured.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use kluis_chunkstore::{code::Code, format::record::stored_bytes};
use serde::Serialize;

use crate::{
    cluster::{Cluster, Figures, Shape},
    limit::{self, Limit},
    load::{self, Client, Direction, Document, Done},
    plan::Plan,
    primitives::Primitives,
    proc::own_cpu_seconds,
    refusals::Trouble,
    report::{Failed, Report},
    stats::{GIB, Latency, MIB, per_second},
};

/// Documents up to this many bytes are stored as copies; the demo keeps the cluster's default.
pub const SMALL_MAX_BYTES: usize = 16 << 10;

/// Whose vault: the first of the demo's people.
const PERSON: usize = 0;

/// What a step cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// Requests that succeeded.
    pub operations: u64,
    /// Of them a second.
    pub operations_per_second: f64,
    /// Bytes of documents a second, in MiB.
    pub mib_per_second: f64,
    /// Times of a request, from its first attempt to its success.
    pub latency: Latency,
    /// Processor time of all nodes for a GiB that succeeded, in seconds; no number where nothing did.
    pub server_cpu_seconds_per_gib: f64,
    /// Processor time of the client for a GiB, in seconds.
    pub client_cpu_seconds_per_gib: f64,
}

impl Cost {
    /// From what was done, with processor time.
    pub fn new(done: &Done, size_bytes: usize, server_cpu_seconds: f64, client_cpu_seconds: f64) -> Self {
        let operations = done.latencies.len() as u64;
        let bytes = operations as f64 * size_bytes as f64;
        Self {
            operations,
            operations_per_second: per_second(operations as f64, done.elapsed),
            mib_per_second: per_second(bytes / MIB, done.elapsed),
            latency: Latency::of(done.latencies.clone()),
            server_cpu_seconds_per_gib: server_cpu_seconds / bytes * GIB,
            client_cpu_seconds_per_gib: client_cpu_seconds / bytes * GIB,
        }
    }
}

/// One operation on one cluster.
#[derive(Debug, Clone, Serialize)]
pub struct Operation {
    /// The cluster.
    pub shape: Shape,
    /// Upload or download.
    pub direction: Direction,
    /// Size of the documents.
    pub size_bytes: usize,
    /// Requests at a time.
    pub concurrency: usize,
    /// What was measured.
    pub cost: Cost,
    /// Bytes in segments for each byte of a document; uploads only.
    pub stored_bytes_per_byte: Option<f64>,
    /// Bytes from nodes to nodes of other sites for each byte of a document.
    pub site_bytes_per_byte: f64,
    /// Most memory of each node during the step, in bytes, by id.
    pub peak_memory_bytes: BTreeMap<String, u64>,
    /// Whether that is of this step alone: the system may not allow to begin anew, and then it is since the start.
    pub peak_memory_of_step: bool,
    /// What was refused and given up.
    pub trouble: Trouble,
    /// What the machine could do.
    pub limit: Limit,
    /// Measured rate over the limit.
    pub ratio: f64,
}

impl Operation {
    /// Most memory of the largest node, in bytes.
    pub fn peak_of_largest(&self) -> u64 {
        self.peak_memory_bytes.values().copied().max().unwrap_or(0)
    }
}

/// A cluster under measurement.
struct Bench<'a> {
    cluster: &'a Cluster,
    shape: Shape,
    plan: &'a Plan,
    primitives: Primitives,
    cores: usize,
    idle_site_bytes_per_second: f64,
}

/// Measures all sizes and concurrencies on a cluster of one shape, into `report`; `keep` is called after each size.
///
/// # Errors
/// The cluster fails, or `keep` does. Steps that fail alone are named in the report.
pub async fn measure(
    binary: &Path,
    dir: &Path,
    shape: Shape,
    plan: &Plan,
    report: &mut Report,
    keep: &dyn Fn(&Report) -> Result<()>,
) -> Result<()> {
    eprintln!("starting {} nodes", shape.nodes());
    let cluster = Cluster::start(binary, dir, shape)?;
    let idle_site_bytes_per_second = cluster.idle_site_bytes_per_second().await?;
    let (primitives, cores) = (report.primitives.clone(), report.machine.cores);
    let bench = Bench { cluster: &cluster, shape, plan, primitives, cores, idle_site_bytes_per_second };
    for &size in &plan.grid.sizes {
        let client = Client::new(&cluster, PERSON)?;
        let warming = warm_up(&client, size).await?;
        if !warming.is_none() {
            eprintln!("  warming up with {size} bytes: {warming}");
        }
        let mut rest = cluster.settled().await?;
        for &concurrency in &plan.grid.concurrencies {
            eprintln!("  {size} bytes, {concurrency} at a time");
            let mut documents = Vec::new();
            for direction in [Direction::Put, Direction::Get] {
                match bench.step(&client, direction, size, concurrency, &documents, &mut rest).await {
                    Ok((operation, stored)) => {
                        let (cost, ratio) = (&operation.cost, operation.ratio);
                        let (rate, bytes) = (cost.operations_per_second, cost.mib_per_second);
                        eprintln!("    {}: {bytes:.1} MiB/s, {rate:.1}/s, {ratio:.2} of the limit", direction.name());
                        if !operation.trouble.is_none() {
                            eprintln!("    {}: {}", direction.name(), operation.trouble);
                        }
                        report.operations.push(operation);
                        documents = stored;
                    }
                    Err(why) => {
                        let part = format!("{} nodes, {} of {size} bytes, {concurrency} at a time", shape.nodes(), direction.name());
                        report.failed.push(Failed::new(part, &why));
                        rest = cluster.settled().await?;
                    }
                }
            }
        }
        keep(report)?;
    }
    cluster.stop()
}

/// One upload and one download through every gateway: connections, keys and code paths are there afterwards. Gives
/// what was refused.
async fn warm_up(client: &Client, size: usize) -> Result<Trouble> {
    let content = load::random(size)?;
    let mut trouble = Trouble::default();
    for gateway in 0..client.gateways() {
        let key = format!("warm-{:016x}", load::rand_u64()?);
        if let Some(document) = client.put(gateway, &key, content.clone(), &mut trouble).await {
            client.get(gateway, &document, &mut trouble).await;
        }
    }
    Ok(trouble)
}

impl Bench<'_> {
    /// One step, from the figures of a cluster at rest to the next such figures.
    async fn step(
        &self,
        client: &Client,
        direction: Direction,
        size_bytes: usize,
        concurrency: usize,
        documents: &[Document],
        rest: &mut Figures,
    ) -> Result<(Operation, Vec<Document>)> {
        let peak_memory_of_step = self.cluster.reset_peak_memory();
        let (server, own) = (self.cluster.cpu_seconds()?, own_cpu_seconds());
        let done = load::run(client, direction, size_bytes, concurrency, documents, self.plan.step, self.plan.step_bytes).await?;
        let (server, own) = (self.cluster.cpu_seconds()? - server, own_cpu_seconds() - own);
        let peak_memory_bytes = self.cluster.peak_memory_bytes()?;
        let after = self.cluster.settled().await?;
        let before = std::mem::replace(rest, after);

        let cost = Cost::new(&done, size_bytes, server, own);
        let bytes = cost.operations as f64 * size_bytes as f64;
        let idle = self.idle_site_bytes_per_second * (after.at - before.at).as_secs_f64();
        let limit = limit::limit(
            &self.primitives,
            self.cores,
            &limit::Operation { shape: self.shape, direction, size_bytes, concurrency, small_max_bytes: SMALL_MAX_BYTES },
        );
        let shards = after.shards - before.shards;
        let operation = Operation {
            shape: self.shape,
            direction,
            size_bytes,
            concurrency,
            cost,
            stored_bytes_per_byte: (direction == Direction::Put).then(|| stored_per_byte(size_bytes, cost.operations, shards)).flatten(),
            site_bytes_per_byte: (after.site_bytes - before.site_bytes - idle).max(0.0) / bytes,
            peak_memory_bytes,
            peak_memory_of_step,
            trouble: done.trouble,
            limit,
            ratio: cost.operations_per_second / limit.operations_per_second,
        };
        Ok((operation, done.documents))
    }
}

/// Bytes in segments for each byte of a document, from the shards that appeared. `None` when the figures do
/// not fit whole chunks of a known code: something else wrote meanwhile. (Segments are preallocated, so their
/// lengths do not tell.)
fn stored_per_byte(size_bytes: usize, documents: u64, shards: f64) -> Option<f64> {
    if shards <= 0.0 || shards.fract() != 0.0 {
        return None;
    }
    // Counts of shards are far below what a float holds exactly.
    let shards = shards as u64;
    let per_document = shards.checked_div(documents).filter(|each| *each > 0 && each * documents == shards)?;
    let (code, chunks) = [Code::STANDARD, Code::SMALL].into_iter().find_map(|code| {
        let n = u64::try_from(code.n()).ok()?;
        per_document.is_multiple_of(n).then_some((code, per_document / n))
    })?;
    let chunk_bytes = size_bytes.div_ceil(usize::try_from(chunks).ok()?);
    let shard_bytes = u32::try_from(code.shard_len(chunk_bytes)).ok()?;
    Some(per_document as f64 * stored_bytes(shard_bytes) as f64 / size_bytes as f64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn stored_bytes_follow_from_counted_shards() {
        // A MiB in one chunk: nine shards of a quarter, each with its record's header.
        let stored = stored_per_byte(1 << 20, 10, 90.0).unwrap();
        assert!((2.25..2.26).contains(&stored), "{stored}");
        let copies = stored_per_byte(4 << 10, 3, 15.0).unwrap();
        assert!((5.0..5.2).contains(&copies), "{copies}");
        assert_eq!(stored_per_byte(1 << 20, 10, 91.0), None);
        assert_eq!(stored_per_byte(1 << 20, 0, 0.0), None);
        assert_eq!(stored_per_byte(1 << 20, 10, -9.0), None, "something was collected meanwhile");
    }

    #[test]
    fn a_cost_is_told_for_each_gib_and_second() {
        let (latencies, elapsed) = (vec![Duration::from_millis(5); 8], Duration::from_secs(2));
        let done = Done { latencies, elapsed, documents: Vec::new(), trouble: Trouble::default() };
        let cost = Cost::new(&done, 64 << 20, 1.5, 0.25);
        assert_eq!((cost.operations, cost.operations_per_second, cost.mib_per_second), (8, 4.0, 256.0));
        assert_eq!((cost.server_cpu_seconds_per_gib, cost.client_cpu_seconds_per_gib), (3.0, 0.5));
        assert_eq!(cost.latency.p99_ms, 5.0);
    }
}
