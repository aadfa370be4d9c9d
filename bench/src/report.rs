//! Limits, ratios, the table and the JSON.
//!
//! The limit of an operation is what the machine could do if it did nothing but the primitives that the
//! operation cannot do without, all nodes and the client on its cores:
//! - upload of a GiB: TLS at both ends (as two passes of its cipher), sealing, coding, one checksum and one
//!   durable write of every shard, QUIC for the shards that leave the gateway's node;
//! - download of a GiB: TLS at both ends, opening, one checksum of the data shards, QUIC for those that
//!   come from other nodes;
//! - upload of a document smaller than a chunk of [`LARGE_BYTES`]: two durable writes, one after the other
//!   (shards, then metadata), at the rate of one disk, for each request at a time; no limit is computed for
//!   downloads of that size.
//!
//! The kernel's share of HTTPS is not in it: the limit is a little too high, and the ratio a little too low.
//!
//! Owns: this arithmetic and its presentation. Not: measuring. Holds: pure but for the description of the
//! machine.

use std::{
    fmt::Write as _,
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use kluis_chunkstore::{code::Code, format::record::stored_bytes};
use serde::Serialize;

use crate::{
    cluster::Shape,
    load::{Direction, Done},
    primitives::{Primitives, Rate},
};

const MIB: f64 = 1_048_576.0;
const CODE: Code = Code::STANDARD;
/// Documents from this size on are bound by bytes, smaller ones by durable writes.
const LARGE_BYTES: usize = 1 << 20;

/// Where the figures come from.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// When the run began, UTC.
    pub date: String,
}

impl Machine {
    /// This machine, now.
    ///
    /// # Errors
    /// The system does not tell how many cores there are.
    pub fn of_this() -> Result<Self> {
        let line = |file: &str, key: &str| -> Option<String> {
            let text = fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory_kib = line("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok(Self {
            cpu: line("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().context("the number of cores is not known")?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            memory_bytes: memory_kib.unwrap_or(0).saturating_mul(1024),
            date: utc(seconds),
        })
    }
}

/// What a step cost.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    /// Requests.
    pub operations: u64,
    /// Requests a second.
    pub operations_per_second: f64,
    /// Bytes of documents a second, in MiB.
    pub mib_per_second: f64,
    /// Median time of a request, in milliseconds.
    pub p50_ms: f64,
    /// Time within which 99 of 100 requests were done, in milliseconds.
    pub p99_ms: f64,
    /// Processor time of all nodes for a GiB, in seconds.
    pub server_cpu_seconds_per_gib: f64,
    /// Processor time of the client for a GiB, in seconds.
    pub client_cpu_seconds_per_gib: f64,
}

impl Cost {
    /// From what was done, with processor time.
    pub fn new(done: &Done, size_bytes: usize, server_cpu_seconds: f64, client_cpu_seconds: f64) -> Self {
        let operations = done.latencies.len() as u64;
        let (seconds, mib) = (done.elapsed.as_secs_f64(), operations as f64 * size_bytes as f64 / MIB);
        Self {
            operations,
            operations_per_second: operations as f64 / seconds,
            mib_per_second: mib / seconds,
            p50_ms: percentile_ms(&done.latencies, 50),
            p99_ms: percentile_ms(&done.latencies, 99),
            server_cpu_seconds_per_gib: server_cpu_seconds / mib * 1024.0,
            client_cpu_seconds_per_gib: client_cpu_seconds / mib * 1024.0,
        }
    }
}

/// The least of the sorted times within which `percent` of them lie.
fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1e3)
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
}

/// Bytes in segments for each byte of a document, from the shards that appeared. `None` when the figures do
/// not fit whole chunks of a known code: something else wrote meanwhile.
pub fn stored_per_byte(size_bytes: usize, documents: u64, shards: u64) -> Option<f64> {
    let per_document = shards.checked_div(documents).filter(|each| *each > 0 && each * documents == shards)?;
    let (code, chunks) = [CODE, Code::SMALL].into_iter().find_map(|code| {
        let n = u64::try_from(code.n()).ok()?;
        per_document.is_multiple_of(n).then_some((code, per_document / n))
    })?;
    let chunk_bytes = size_bytes.div_ceil(usize::try_from(chunks).ok()?);
    let shard_bytes = u32::try_from(code.shard_len(chunk_bytes)).ok()?;
    Some(per_document as f64 * stored_bytes(shard_bytes) as f64 / size_bytes as f64)
}

/// All of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// Whether steps were too short for the figures to mean much.
    pub quick: bool,
    /// What the machine can do.
    pub primitives: Primitives,
    /// What the clusters did.
    pub operations: Vec<Operation>,
}

/// The limit of an operation, in operations a second, where one is computed.
fn limit(primitives: &Primitives, cores: usize, operation: &Operation) -> Option<f64> {
    let size = operation.size_bytes as f64;
    if operation.size_bytes >= LARGE_BYTES {
        let cpu_seconds_per_gib = match operation.direction {
            Direction::Put => put_cpu(primitives, operation.shape),
            Direction::Get => get_cpu(primitives, operation.shape),
        };
        return Some(cores as f64 / cpu_seconds_per_gib * 1024.0 * MIB / size);
    }
    match operation.direction {
        Direction::Put => Some(primitives.append_block_synced.operations_per_second / 2.0 * operation.concurrency as f64),
        Direction::Get => None,
    }
}

/// Part of the shards that lie on other nodes than the gateway's.
fn remote(shape: Shape) -> f64 {
    let nodes = f64::from(shape.nodes());
    (nodes - 1.0) / nodes
}

fn put_cpu(p: &Primitives, shape: Shape) -> f64 {
    let expansion = CODE.n() as f64 / CODE.k() as f64;
    let cpu = |rate: Rate| rate.cpu_seconds_per_gib;
    let shards = cpu(p.xxh3) + cpu(p.append_shard_synced) + cpu(p.quic_loopback) * remote(shape);
    3.0 * cpu(p.aes_256_gcm) + cpu(p.rs_encode_4_5) + expansion * shards
}

fn get_cpu(p: &Primitives, shape: Shape) -> f64 {
    let cpu = |rate: Rate| rate.cpu_seconds_per_gib;
    3.0 * cpu(p.aes_256_gcm) + cpu(p.xxh3) + cpu(p.quic_loopback) * remote(shape)
}

impl Report {
    fn limits(&self) -> Vec<Option<f64>> {
        self.operations.iter().map(|operation| limit(&self.primitives, self.machine.cores, operation)).collect()
    }

    /// As a table for people.
    pub fn table(&self) -> String {
        let Machine { cpu, cores, kernel, memory_bytes, date } = &self.machine;
        let mut out = format!("{cpu}, {cores} cores, {} GiB, Linux {kernel}, {date}\n", memory_bytes >> 30);
        if self.quick {
            out.push_str("quick run: the figures show that it works, not how fast\n");
        }
        let p = &self.primitives;
        let _ = writeln!(out, "\n{:<28} {:>10} {:>12} {:>10}", "primitive", "MiB/s", "ops/s", "CPU s/GiB");
        for (name, rate) in [
            ("AES-256-GCM", p.aes_256_gcm),
            ("Reed-Solomon 4+5 encode", p.rs_encode_4_5),
            ("XXH3", p.xxh3),
            ("append 256 KiB, fdatasync", p.append_shard_synced),
            ("append 4 KiB, fdatasync", p.append_block_synced),
            ("QUIC loopback, both ends", p.quic_loopback),
        ] {
            let Rate { mib_per_second, operations_per_second, cpu_seconds_per_gib } = rate;
            let _ = writeln!(out, "{name:<28} {mib_per_second:>10.1} {operations_per_second:>12.1} {cpu_seconds_per_gib:>10.3}");
        }
        let heading =
            ["nodes", "op", "size", "at once", "ops/s", "MiB/s", "p50 ms", "p99 ms", "CPU s/GiB", "client", "stored", "limit/s", "ratio"];
        let _ = writeln!(
            out,
            "\n{:>5} {:>3} {:>8} {:>7} {:>9} {:>8} {:>9} {:>9} {:>9} {:>7} {:>6} {:>9} {:>6}",
            heading[0],
            heading[1],
            heading[2],
            heading[3],
            heading[4],
            heading[5],
            heading[6],
            heading[7],
            heading[8],
            heading[9],
            heading[10],
            heading[11],
            heading[12]
        );
        for (operation, limit) in self.operations.iter().zip(self.limits()) {
            let Operation { shape, direction, size_bytes, concurrency, cost, stored_bytes_per_byte } = operation;
            let name = match direction {
                Direction::Put => "put",
                Direction::Get => "get",
            };
            let number = |value: Option<f64>, digits: usize| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"));
            let _ = writeln!(
                out,
                "{:>5} {name:>3} {:>8} {concurrency:>7} {:>9.1} {:>8.1} {:>9.2} {:>9.2} {:>9.2} {:>7.2} {:>6} {:>9} {:>6}",
                shape.nodes(),
                shown_size(*size_bytes),
                cost.operations_per_second,
                cost.mib_per_second,
                cost.p50_ms,
                cost.p99_ms,
                cost.server_cpu_seconds_per_gib,
                cost.client_cpu_seconds_per_gib,
                number(*stored_bytes_per_byte, 3),
                number(limit, 1),
                number(limit.map(|limit| cost.operations_per_second / limit), 3),
            );
        }
        out
    }

    /// As JSON: what was measured, with limit and ratio of each operation.
    ///
    /// # Errors
    /// A figure has no JSON form.
    pub fn json(&self) -> Result<String> {
        let mut value = serde_json::to_value(self)?;
        let operations = value.get_mut("operations").and_then(|o| o.as_array_mut()).context("a report has operations")?;
        for ((shown, operation), limit) in operations.iter_mut().zip(&self.operations).zip(self.limits()) {
            let members = shown.as_object_mut().context("an operation is an object")?;
            members.insert("limit_operations_per_second".to_owned(), limit.into());
            members.insert("ratio".to_owned(), limit.map(|limit| operation.cost.operations_per_second / limit).into());
        }
        let mut text = serde_json::to_string_pretty(&value)?;
        text.push('\n');
        Ok(text)
    }
}

fn shown_size(bytes: usize) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

/// Seconds since 1970 as RFC 3339.
fn utc(seconds: u64) -> String {
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for len in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < len {
            break;
        }
        days -= len;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}Z", days + 1, rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn percentiles_are_among_the_times() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!((percentile_ms(&times, 50), percentile_ms(&times, 99)), (50.0, 99.0));
        assert_eq!(percentile_ms(&times[..1], 99), 1.0);
        assert_eq!(percentile_ms(&[], 50), 0.0);
    }

    #[test]
    fn stored_bytes_follow_from_counted_shards() {
        // A MiB in one chunk: nine shards of a quarter, each with its record's header.
        let stored = stored_per_byte(1 << 20, 10, 90).unwrap();
        assert!((2.25..2.26).contains(&stored), "{stored}");
        let copies = stored_per_byte(4 << 10, 3, 15).unwrap();
        assert!((5.0..5.2).contains(&copies), "{copies}");
        assert_eq!(stored_per_byte(1 << 20, 10, 91), None);
        assert_eq!(stored_per_byte(1 << 20, 0, 0), None);
    }

    #[test]
    fn a_limit_falls_when_a_primitive_is_dearer() {
        let rate = Rate { mib_per_second: 100.0, operations_per_second: 200.0, cpu_seconds_per_gib: 0.5 };
        let cheap = Primitives {
            aes_256_gcm: rate,
            rs_encode_4_5: rate,
            xxh3: rate,
            append_shard_synced: rate,
            append_block_synced: rate,
            quic_loopback: rate,
        };
        let dear = Primitives { quic_loopback: Rate { cpu_seconds_per_gib: 5.0, ..rate }, ..cheap.clone() };
        let nothing = Cost::new(&Done::default(), 1, 0.0, 0.0);
        let shape = Shape { nodes_per_site: 3, disks_per_node: 2 };
        for direction in [Direction::Put, Direction::Get] {
            let operation = Operation { shape, direction, size_bytes: 1 << 20, concurrency: 1, cost: nothing, stored_bytes_per_byte: None };
            assert!(limit(&dear, 2, &operation).unwrap() < limit(&cheap, 2, &operation).unwrap());
        }
        let small = Operation {
            shape,
            direction: Direction::Put,
            size_bytes: 4 << 10,
            concurrency: 16,
            cost: nothing,
            stored_bytes_per_byte: None,
        };
        assert_eq!(limit(&cheap, 2, &small), Some(1_600.0));
    }
}
