//! The limit of an operation: what the machine could do if it did nothing but what the operation cannot do without.
//!
//! All nodes and the client share the machine, as they do in the bench. Three limits are computed from the
//! primitives; the lowest holds.
//!
//! **Processor**: cores, divided by the processor time of one operation. With `S` bytes, `f` the share of shards
//! that lie on other nodes (`(nodes - 1) / nodes`), `e` the shards' bytes for each byte, `n` shards a chunk and
//! `c` operations at a time:
//!
//! | step | upload | download |
//! |---|---|---|
//! | HTTPS | one exchange, `S` over TLS (both ends, the kernel's share in it) | the same |
//! | cipher | seal `S` | open `S` |
//! | code | `n` rows combined (not where copies are stored) | `k` rows combined (the same) |
//! | checksum | `e S` once | `S` once |
//! | QUIC | `f e S`, at least `f n` exchanges | `f S`, at least `f` exchanges (a small one) |
//! | disk | `e S` appended past the cache | none: the page cache |
//! | metadata | two commits on every voter, two exchanges with each; shared by all `c` | one round of exchanges, shared by all `c` |
//!
//! **Disk**, uploads: `e S` at the rate of many writers. All disks of the bench are one.
//!
//! **Waiting**: `c` operations at a time, each of which waits for an HTTPS exchange and, one after the other:
//! uploads for a commit, a synced append and a commit; downloads for the exchange that confirms the read.
//!
//! A row of the code that is a part of the chunk need not be combined, neither on the way up nor on the way down: of the
//! 256 rows `k` are, and placement draws each with about the same chance, so `1 - k / 256` of both is counted.
//!
//! What can be shared is taken to be shared by all that is under way, and nothing waits for a processor: so this
//! is a limit, not an estimate. SHA-256 of an upload's content, HTTP itself and Raft are not in it.
//!
//! Owns: this arithmetic. Not: measuring. Holds: pure.

use kluis_chunkstore::code::Code;
use serde::Serialize;

use crate::{
    cluster::Shape,
    load::Direction,
    primitives::{BLOCK_BYTES, CHUNK_BYTES, Primitives},
    stats::{GIB, MIB},
};

/// Commands that an upload cannot do without: it reserves, it commits.
const COMMITS: f64 = 2.0;

/// An operation, as the limit sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Operation {
    /// The cluster.
    pub shape: Shape,
    /// Upload or download.
    pub direction: Direction,
    /// Bytes of the document.
    pub size_bytes: usize,
    /// Operations at a time.
    pub concurrency: usize,
    /// Documents up to this many bytes are stored as copies.
    pub small_max_bytes: usize,
}

/// What an operation runs into first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Cores.
    Processor,
    /// Bytes a second of the disk.
    Disk,
    /// Steps that come one after the other.
    Waiting,
}

/// The limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limit {
    /// Operations a second.
    pub operations_per_second: f64,
    /// What it runs into.
    pub bound: Bound,
    /// Processor time of one operation, in seconds.
    pub cpu_seconds: f64,
}

/// Computes it.
pub fn limit(primitives: &Primitives, cores: usize, operation: &Operation) -> Limit {
    let cpu_seconds = cpu_seconds(primitives, operation);
    let candidates = [
        (cores as f64 / cpu_seconds, Bound::Processor),
        (disk(primitives, operation), Bound::Disk),
        (operation.concurrency as f64 / wait_seconds(primitives, operation), Bound::Waiting),
    ];
    let lowest = candidates.into_iter().min_by(|one, other| one.0.total_cmp(&other.0));
    let (operations_per_second, bound) = lowest.unwrap_or((0.0, Bound::Processor));
    Limit { operations_per_second, bound, cpu_seconds }
}

/// The code of a document's chunks.
pub fn code_of(size_bytes: usize, small_max_bytes: usize) -> Code {
    if size_bytes <= small_max_bytes { Code::SMALL } else { Code::STANDARD }
}

/// Voters that the metadata group settles at: three a site where there are as many nodes, else one.
fn voters(shape: Shape) -> f64 {
    if shape.nodes_per_site >= 3 { 9.0 } else { 3.0 }
}

fn cpu_seconds(p: &Primitives, operation: &Operation) -> f64 {
    let Operation { shape, direction, size_bytes, concurrency, small_max_bytes } = *operation;
    let code = code_of(size_bytes, small_max_bytes);
    let gib = size_bytes as f64 / GIB;
    let (k, n) = (code.k() as f64, code.n() as f64);
    let chunks = size_bytes.div_ceil(CHUNK_BYTES) as f64;
    let nodes = f64::from(shape.nodes());
    let remote = (nodes - 1.0) / nodes;
    let (others, sharing) = (voters(shape) - 1.0, concurrency.max(1) as f64);
    // The primitives combine every row; copies none.
    let coded = if code.k() == 1 { 0.0 } else { gib * (1.0 - k / Code::ROWS as f64) };
    let https = p.tls_exchange.cpu_seconds_per_operation + gib * p.tls_stream.cpu_seconds_per_gib;
    // By bytes for shards of full chunks, by exchanges where these are short.
    let quic = |bytes_gib: f64, exchanges: f64| {
        (bytes_gib * p.quic_stream.cpu_seconds_per_gib).max(exchanges * p.quic_exchange.cpu_seconds_per_operation) * remote
    };
    match direction {
        Direction::Put => {
            let expansion = n / k;
            // A short shard costs a whole sync, but one that is shared.
            let appended =
                (gib * expansion * p.append_shard.cpu_seconds_per_gib).max(chunks * n * p.append_block.cpu_seconds_per_operation / sharing);
            let metadata = COMMITS
                * (voters(shape) * p.rocksdb_commit.cpu_seconds_per_operation + others * p.quic_exchange.cpu_seconds_per_operation)
                / sharing;
            https
                + gib * p.aead_seal.cpu_seconds_per_gib
                + coded * p.rs_encode.cpu_seconds_per_gib
                + gib * expansion * p.xxh3.cpu_seconds_per_gib
                + quic(gib * expansion, chunks * n)
                + appended
                + metadata
        }
        Direction::Get => {
            let round = others * p.quic_exchange.cpu_seconds_per_operation / sharing;
            https
                + gib * (p.aead_open.cpu_seconds_per_gib + p.xxh3.cpu_seconds_per_gib)
                + coded * p.rs_decode_worst.cpu_seconds_per_gib
                + quic(gib, chunks * k)
                + round
        }
    }
}

/// Uploads a second that the disk takes.
fn disk(p: &Primitives, operation: &Operation) -> f64 {
    if operation.direction == Direction::Get {
        return f64::INFINITY;
    }
    let code = code_of(operation.size_bytes, operation.small_max_bytes);
    let bytes = operation.size_bytes.max(BLOCK_BYTES) as f64 * code.n() as f64 / code.k() as f64;
    p.append_shard_shared.mib_per_second.max(p.append_shard.mib_per_second) * MIB / bytes
}

fn wait_seconds(p: &Primitives, operation: &Operation) -> f64 {
    let https = 1.0 / p.tls_exchange.operations_per_second;
    let peers = 1.0 / p.quic_exchange.operations_per_second;
    match operation.direction {
        Direction::Put => {
            let commit = peers + 1.0 / p.rocksdb_commit.operations_per_second;
            https + COMMITS * commit + peers + 1.0 / p.append_block.operations_per_second
        }
        Direction::Get => https + peers,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::primitives::Rate;

    const SMALL_MAX: usize = 16 << 10;

    /// Primitives that all cost the same: 1 CPU second a GiB, 1 ms an operation, 1,000 a second, 100 MiB/s.
    pub fn even() -> Primitives {
        let rate =
            Rate { mib_per_second: 100.0, operations_per_second: 1_000.0, cpu_seconds_per_gib: 1.0, cpu_seconds_per_operation: 0.001 };
        Primitives {
            tls_stream: rate,
            tls_exchange: rate,
            aead_seal: rate,
            aead_open: rate,
            rs_encode: rate,
            rs_decode_worst: rate,
            xxh3: rate,
            sha_256: rate,
            quic_stream: rate,
            quic_exchange: rate,
            append_shard: rate,
            append_shard_shared: rate,
            append_block: rate,
            rocksdb_commit: rate,
            rocksdb_commit_shared: rate,
        }
    }

    fn operation(direction: Direction, size_bytes: usize, concurrency: usize) -> Operation {
        let shape = Shape { nodes_per_site: 3, disks_per_node: 2 };
        Operation { shape, direction, size_bytes, concurrency, small_max_bytes: SMALL_MAX }
    }

    fn near(actual: f64, wanted: f64) -> bool {
        (actual - wanted).abs() <= wanted.abs() * 1e-9
    }

    #[test]
    fn a_large_upload_is_the_sum_of_its_steps() {
        // Bytes only: what is paid for each operation costs nothing here.
        let mut p = even();
        for rate in [&mut p.tls_exchange, &mut p.quic_exchange, &mut p.append_block, &mut p.rocksdb_commit] {
            rate.cpu_seconds_per_operation = 0.0;
        }
        let gib = operation(Direction::Put, 1 << 30, 1);
        // TLS, seal; 252 of 256 rows combined; 2.25 times checksum and append; 2.25 times 8/9 QUIC.
        let coded = 252.0 / 256.0;
        assert!(near(limit(&p, 2, &gib).cpu_seconds, 2.0 + coded + 2.25 * 2.0 + 2.0));
        // TLS, open, checksum; the same share of rows; 8/9 QUIC.
        let back = operation(Direction::Get, 1 << 30, 1);
        assert!(near(limit(&p, 2, &back).cpu_seconds, 3.0 + coded + 8.0 / 9.0));
    }

    #[test]
    fn small_documents_are_copies_and_pay_by_operations() {
        let mut p = even();
        for rate in [&mut p.tls_stream, &mut p.aead_seal, &mut p.xxh3, &mut p.quic_stream, &mut p.append_shard] {
            rate.cpu_seconds_per_gib = 0.0;
        }
        // One HTTPS exchange, 5 shards to 8/9 of the nodes, 5 syncs, 2 commits on 9 voters with 8 exchanges.
        let alone = limit(&p, 2, &operation(Direction::Put, 4 << 10, 1));
        assert!(near(alone.cpu_seconds, 0.001 * (1.0 + 5.0 * 8.0 / 9.0 + 5.0 + 2.0 * 17.0)));
        let many = limit(&p, 2, &operation(Direction::Put, 4 << 10, 64));
        assert!(many.cpu_seconds < alone.cpu_seconds, "syncs and commits are shared");
    }

    #[test]
    fn the_lowest_bound_holds() {
        let mut p = even();
        // Seven steps of a millisecond: HTTPS, two commits with their exchange, an append with its exchange.
        p.rocksdb_commit.cpu_seconds_per_operation = 0.0;
        p.quic_exchange.cpu_seconds_per_operation = 0.0;
        p.append_block.cpu_seconds_per_operation = 0.0;
        let waiting = limit(&p, 2, &operation(Direction::Put, 4 << 10, 1));
        assert_eq!(waiting.bound, Bound::Waiting);
        assert!(near(waiting.operations_per_second, 1_000.0 / 7.0));
        p.append_shard_shared.mib_per_second = 0.1;
        p.append_shard.mib_per_second = 0.1;
        let disk = limit(&p, 2, &operation(Direction::Put, 1 << 20, 64));
        assert_eq!(disk.bound, Bound::Disk);
        assert!(near(disk.operations_per_second, 0.1 / 2.25));
        let read = limit(&p, 2, &operation(Direction::Get, 64 << 20, 64));
        assert_eq!(read.bound, Bound::Processor, "reads do not wait for the disk");
    }

    #[test]
    fn a_dearer_primitive_lowers_the_limit_and_more_cores_raise_it() {
        let cheap = even();
        let mut dear = even();
        dear.quic_stream.cpu_seconds_per_gib = 50.0;
        for direction in [Direction::Put, Direction::Get] {
            let operation = operation(direction, 64 << 20, 64);
            let rate = |p: &Primitives, cores| limit(p, cores, &operation).operations_per_second;
            assert!(rate(&dear, 2) < rate(&cheap, 2));
            assert!(rate(&dear, 4) > rate(&dear, 2));
        }
        // SHA-256 is measured and not in it.
        let mut hashed = even();
        hashed.sha_256.cpu_seconds_per_gib = 1e6;
        let put = operation(Direction::Put, 1 << 20, 1);
        assert_eq!(limit(&hashed, 2, &put), limit(&cheap, 2, &put));
    }
}
