//! Placement: which disks hold shards of a chunk, and which row of the code each holds, as a pure function.
//!
//! Weighted rendezvous in three steps, so that each cap is kept exactly: how many shards each site
//! takes, which of its nodes take them, which of the node's disks. Each step draws with inclusion
//! probabilities p proportional to weight. One of many: the lowest -ln(u) / p over the hashes u in (0, 1), which
//! is exact. Several of many: the lowest (1 - u) (1 - p) / (u p), Pareto order sampling (B. Rosén, "On sampling
//! with probability proportional to size", J. Statist. Plann. Inference 62, 1997), for taking the several
//! lowest of the former gives heavy nodes up to a fifth less than their share.
//!
//! A shard's number is a row of the code ([`Code::ROWS`]), of which there are many more than shards. Each place
//! of a node has its own by id or hash, whoever else takes part, so those who stay keep theirs when one is
//! exchanged; a row is given up only to a place that comes earlier and began with the same.
//!
//! Owns: the function and what it avoids. Not: what is up ([`Avoid`] is an argument), nor any I/O.
//! Holds: (1) no two shards of a chunk share a disk or a row; (2) no site holds more than its cap; (3) shards
//! are spread over nodes before disks; (4) the result depends on nothing but the arguments: arithmetic is
//! IEEE 754 addition, multiplication, division and comparison, equal on every machine.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    code::Code,
    ids::{ChunkId, DiskId, NodeId, SiteName},
    topology::Topology,
};

/// What a placement must do without: it was out of reach when the shards were written.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Avoid {
    /// Whole sites.
    pub sites: BTreeSet<SiteName>,
    /// Nodes of other sites.
    pub nodes: BTreeSet<NodeId>,
    /// Disks of other nodes.
    pub disks: BTreeSet<DiskId>,
}

impl Avoid {
    /// Nothing to avoid.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Whether nothing is avoided.
    pub fn is_empty(&self) -> bool {
        self.sites.is_empty() && self.nodes.is_empty() && self.disks.is_empty()
    }

    /// Whether everything that `other` avoids is avoided here too.
    pub fn covers(&self, other: &Self, topology: &Topology) -> bool {
        let site = |name: &SiteName| self.sites.contains(name);
        let node = |id: NodeId| self.nodes.contains(&id) || topology.site_of(id).is_some_and(site);
        other.sites.iter().all(site)
            && other.nodes.iter().all(|id| node(*id))
            && other.disks.iter().all(|id| self.disks.contains(id) || topology.node_of(*id).is_some_and(node))
    }

    /// The same by whole sites, if only one site is touched; else as it is. For uploads that outlive many
    /// failures: fewer distinct layouts.
    pub fn widened(&self, topology: &Topology) -> Self {
        let mut sites = self.sites.clone();
        sites.extend(self.nodes.iter().filter_map(|id| topology.site_of(*id)).cloned());
        sites.extend(self.disks.iter().filter_map(|id| topology.site_of(topology.node_of(*id)?)).cloned());
        if sites.len() == 1 { Self { sites, ..Self::default() } } else { self.clone() }
    }
}

/// Where the shards of one chunk go: row of the code and disk, ascending by row. Fewer than `n` where disks ran out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    shards: Vec<(u8, DiskId)>,
}

impl Placement {
    /// The disk of a shard.
    pub fn disk(&self, shard: u8) -> Option<DiskId> {
        self.iter().find(|(s, _)| *s == shard).map(|(_, d)| d)
    }

    /// All shards, ascending by row.
    pub fn iter(&self) -> impl Iterator<Item = (u8, DiskId)> + '_ {
        self.shards.iter().copied()
    }

    /// The shard that a disk holds, if any.
    pub fn shard_on(&self, disk: DiskId) -> Option<u8> {
        self.iter().find(|(_, d)| *d == disk).map(|(s, _)| s)
    }

    /// Number of shards.
    pub fn placed(&self) -> usize {
        self.shards.len()
    }
}

struct Candidate<T> {
    item: T,
    /// Exponentially distributed with rate 1: how late it comes in the draw, before its weight counts.
    wait: f64,
    weight: f64,
    /// Shards that it can take.
    capacity: usize,
}

struct PlacerNode {
    id: NodeId,
    weight: f64,
    disks: Vec<(DiskId, f64)>,
}

struct PlacerSite {
    hash: u64,
    weight: f64,
    nodes: Vec<PlacerNode>,
    disks: usize,
}

/// A topology prepared for one code and one set of things to avoid.
pub struct Placer {
    code: Code,
    site_cap: usize,
    sites: Vec<PlacerSite>,
}

impl Placer {
    /// Prepares `topology`. While a site is avoided, the others share its shards, as evenly as they can.
    pub fn new(topology: &Topology, code: Code, avoid: &Avoid) -> Self {
        let mut sites = Vec::new();
        for site in topology.sites().iter().filter(|s| !avoid.sites.contains(&s.name)) {
            let mut nodes = Vec::new();
            for (id, disks) in site.nodes.iter().filter(|(id, _)| !avoid.nodes.contains(id)) {
                let disks: Vec<(DiskId, f64)> =
                    disks.iter().filter(|d| !avoid.disks.contains(&d.id)).map(|d| (d.id, f64::from(d.weight))).collect();
                if !disks.is_empty() {
                    nodes.push(PlacerNode { id: *id, weight: disks.iter().map(|d| d.1).sum(), disks });
                }
            }
            if !nodes.is_empty() {
                sites.push(PlacerSite {
                    hash: xxh3_64_with_seed(site.name.as_str().as_bytes(), SEED_SITE),
                    weight: nodes.iter().map(|n| n.weight).sum(),
                    disks: nodes.iter().map(|n| n.disks.len()).sum(),
                    nodes,
                });
            }
        }
        let even = if sites.is_empty() { 0 } else { code.n().div_ceil(sites.len()) };
        Self { code, site_cap: code.site_cap().max(even), sites }
    }

    /// Places one chunk.
    pub fn place(&self, chunk: ChunkId) -> Placement {
        let base = chunk_hash(chunk);
        let sites: Vec<Candidate<&PlacerSite>> = self
            .sites
            .iter()
            .map(|s| Candidate {
                item: s,
                wait: -natural_log(unit(mix(base, s.hash))),
                weight: s.weight,
                capacity: s.disks.min(self.site_cap),
            })
            .collect();
        let counts = draw(&sites, self.code.n());
        let taken: Vec<Taken> = sites.iter().zip(counts).flat_map(|(site, count)| choose_disks(site.item, base, count)).collect();
        let mut shards = Vec::with_capacity(self.code.n());
        for (taken, rows) in taken.iter().zip(deal_rows(base, &taken)) {
            shards.extend(match_rows(base, &rows, &taken.disks));
        }
        shards.sort_unstable();
        Placement { shards }
    }
}

/// Places one chunk; [`Placer`] is cheaper for many.
pub fn place(topology: &Topology, chunk: ChunkId, code: Code, avoid: &Avoid) -> Placement {
    Placer::new(topology, code, avoid).place(chunk)
}

const SEED_CHUNK: u64 = 0x6b6c_7569_7300_0001;
const SEED_SITE: u64 = 0x6b6c_7569_7300_0002;
const SEED_ROW: u64 = 0x6b6c_7569_7300_0003;
const SEED_DISK: u64 = 0x6b6c_7569_7300_0005;
const SEED_MATCH: u64 = 0x6b6c_7569_7300_0006;

fn chunk_hash(chunk: ChunkId) -> u64 {
    let mut bytes = [0; 20];
    let (blob, index) = bytes.split_at_mut(16);
    blob.copy_from_slice(&chunk.blob.to_bytes());
    index.copy_from_slice(&chunk.index.to_be_bytes());
    xxh3_64_with_seed(&bytes, SEED_CHUNK)
}

fn mix(a: u64, b: u64) -> u64 {
    xxh3_64_with_seed(&b.to_le_bytes(), a)
}

/// The hash as a number strictly between 0 and 1.
fn unit(hash: u64) -> f64 {
    // 53 bits are exact in an f64; the half keeps both ends out.
    ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// Expected number of shards of each candidate: proportional to weight, none above its capacity.
/// What a capped candidate cannot take goes to the others in proportion.
fn shares<T>(candidates: &[Candidate<T>], total: usize) -> Vec<f64> {
    let mut share: Vec<f64> = vec![0.0; candidates.len()];
    let mut capped = vec![false; candidates.len()];
    let mut left = total as f64;
    loop {
        let weight: f64 = candidates.iter().zip(&capped).filter(|(_, c)| !**c).map(|(c, _)| c.weight).sum();
        let mut again = false;
        for ((candidate, share), capped) in candidates.iter().zip(&mut share).zip(&mut capped) {
            if *capped {
                continue;
            }
            let capacity = candidate.capacity as f64;
            *share = if weight > 0.0 { left * candidate.weight / weight } else { 0.0 };
            if *share >= capacity {
                *share = capacity;
                *capped = true;
                again = true;
            }
        }
        if !again {
            return share;
        }
        left = total as f64 - candidates.iter().zip(&capped).filter(|(_, c)| **c).map(|(c, _)| c.capacity as f64).sum::<f64>();
        if left <= 0.0 {
            // Rounding left nothing for the rest.
            for (share, capped) in share.iter_mut().zip(&capped) {
                if !capped {
                    *share = 0.0;
                }
            }
            return share;
        }
    }
}

/// How many of `total` shards each candidate takes: the whole part of its share, and one more for those
/// that win the draw over the fractions.
fn draw<T>(candidates: &[Candidate<T>], total: usize) -> Vec<usize> {
    let total = total.min(candidates.iter().map(|c| c.capacity).sum());
    // A hair above keeps 2.9999999 from becoming 2 with a fraction of 1.
    const HAIR: f64 = 1e-9;
    let shares = shares(candidates, total);
    let mut counts: Vec<usize> = shares.iter().map(|s| (s + HAIR) as usize).collect();
    let left = total.saturating_sub(counts.iter().sum());
    if left == 0 {
        return counts;
    }
    let mut ranks: Vec<(f64, usize)> = Vec::with_capacity(candidates.len());
    for (i, ((candidate, share), count)) in candidates.iter().zip(&shares).zip(&counts).enumerate() {
        if *count >= candidate.capacity {
            continue;
        }
        let p = (share - *count as f64).clamp(HAIR, 1.0 - HAIR);
        // The rule goes by `total`, which a change of topology leaves as it is, not by `left`.
        let rank = if total == 1 { candidate.wait / p } else { (exponential(candidate.wait) - 1.0) * (1.0 - p) / p };
        ranks.push((rank, i));
    }
    ranks.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    for (_, i) in ranks.into_iter().take(left) {
        if let Some(count) = counts.get_mut(i) {
            *count += 1;
        }
    }
    counts
}

/// Natural logarithm of a number in (0, 1), by IEEE 754 basic operations alone: the platform's own may
/// differ in the last digit from one machine to the next, and with it the placement.
fn natural_log(x: f64) -> f64 {
    const LN_2: f64 = std::f64::consts::LN_2;
    let bits = x.to_bits();
    // x = m * 2^e with 1 <= m < 2; `unit` never gives a subnormal.
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
    let mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    // ln m = 2 (s + s^3/3 + s^5/5 + ...) with s = (m - 1) / (m + 1) <= 1/3: the terms up to s^31 give all digits.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let (mut sum, mut power, mut divisor) = (0.0, s, 1.0);
    while divisor < 32.0 {
        sum += power / divisor;
        power *= square;
        divisor += 2.0;
    }
    f64::from(exponent) * LN_2 + 2.0 * sum
}

/// The exponential function for 0 <= x, by basic operations alone as [`natural_log`] is.
fn exponential(x: f64) -> f64 {
    const LN_2: f64 = std::f64::consts::LN_2;
    let x = x.min(700.0);
    // e^x = 2^k e^r with 0 <= r < ln 2, and e^r by its series: the terms up to r^17 give all digits.
    let k = (x / LN_2) as u64;
    let r = x - k as f64 * LN_2;
    let (mut sum, mut term, mut n) = (1.0, 1.0, 1.0);
    while n < 18.0 {
        term = term * r / n;
        sum += term;
        n += 1.0;
    }
    sum * f64::from_bits((1023 + k) << 52)
}

/// The disks of one node that take a shard each.
struct Taken {
    node: NodeId,
    disks: Vec<DiskId>,
}

/// `count` disks of a site, spread over its nodes.
fn choose_disks(site: &PlacerSite, base: u64, count: usize) -> Vec<Taken> {
    let mut cap = 1;
    while site.nodes.iter().map(|n| n.disks.len().min(cap)).sum::<usize>() < count {
        cap += 1;
    }
    // Each disk waits for a time that is exponential with its weight as rate; a node waits for its first
    // disk, which is exponential with the sum of the weights. So a node that gets a shard because it
    // got a disk gets it on that disk, and nothing else moves.
    let orders: Vec<Vec<(f64, DiskId)>> = site
        .nodes
        .iter()
        .map(|n| {
            let mut order: Vec<(f64, DiskId)> =
                n.disks.iter().map(|&(id, weight)| (-natural_log(unit(disk_hash(base, SEED_DISK, id))) / weight, id)).collect();
            order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            order
        })
        .collect();
    // All nodes are filled evenly up to one below the cap; weights decide who takes the rest.
    let even = |n: &PlacerNode| n.disks.len().min(cap - 1);
    let nodes: Vec<Candidate<&PlacerNode>> = site
        .nodes
        .iter()
        .zip(&orders)
        .map(|(n, order)| {
            let first = order.first().map_or(0.0, |(wait, _)| *wait);
            Candidate { item: n, wait: first * n.weight, weight: n.weight, capacity: n.disks.len().min(cap) - even(n) }
        })
        .collect();
    let rest = count.saturating_sub(site.nodes.iter().map(even).sum());
    let extra = draw(&nodes, rest);
    nodes
        .iter()
        .zip(&orders)
        .zip(extra)
        .map(|((node, order), extra)| Taken {
            node: node.item.id,
            disks: order.iter().take(even(node.item) + extra).map(|&(_, disk)| disk).collect(),
        })
        .collect()
}

fn disk_hash(base: u64, seed: u64, disk: DiskId) -> u64 {
    xxh3_64_with_seed(&disk.to_bytes(), mix(base, seed))
}

/// Rows that follow from a node's id: the largest prime below 256.
const ID_ROWS: u64 = 251;

/// The rows of each node, as many as it has disks taken. Every place (node and how many it has before this one)
/// has its own sequence of rows, and takes the first that no place before it in the order of hashes has. A node's
/// first place begins with `a * id + b` modulo a prime, where `a` and `b` are hashes of the chunk: two nodes meet
/// there only if their ids are equal modulo 251, and ids are given one by one. All other rows are hashes.
fn deal_rows(base: u64, taken: &[Taken]) -> Vec<Vec<u8>> {
    let seed = mix(base, SEED_ROW);
    let (a, b) = (1 + seed % (ID_ROWS - 1), mix(seed, SEED_ROW) % ID_ROWS);
    let mut places: Vec<(u64, usize, Option<u8>)> = Vec::new();
    for (i, node) in taken.iter().enumerate() {
        let hash = mix(seed, node.node.0);
        let own = ((a * (node.node.0 % ID_ROWS) + b) % ID_ROWS) as u8;
        places.extend((0u64..).zip(&node.disks).map(|(copy, _)| (mix(hash, copy), i, (copy == 0).then_some(own))));
    }
    places.sort_unstable();
    let mut rows: Vec<Vec<u8>> = vec![Vec::new(); taken.len()];
    let mut used = [false; Code::ROWS];
    for (hash, i, first) in places {
        // At most 32 of the 256 rows are used, so a free one comes after few steps.
        let hashed = (0u64..).map(|step| mix(hash, step).to_le_bytes()[0]);
        let free = first.into_iter().chain(hashed).find(|row| !used[usize::from(*row)]);
        if let (Some(row), Some(of_node)) = (free, rows.get_mut(i)) {
            used[usize::from(row)] = true;
            of_node.push(row);
        }
    }
    rows
}

/// Gives each of a node's rows one of its disks: the pair with the lowest hash first. When one of several disks
/// is exchanged for another, most of the others keep their row.
fn match_rows(base: u64, rows: &[u8], disks: &[DiskId]) -> Vec<(u8, DiskId)> {
    let mut pairs = Vec::with_capacity(rows.len() * disks.len());
    for &disk in disks {
        let hash = disk_hash(base, SEED_MATCH, disk);
        pairs.extend(rows.iter().map(|&row| (mix(hash, u64::from(row)), row, disk)));
    }
    pairs.sort_unstable();
    let mut result: Vec<(u8, DiskId)> = Vec::with_capacity(rows.len());
    for (_, row, disk) in pairs {
        if !result.iter().any(|&(r, d)| r == row || d == disk) {
            result.push((row, disk));
        }
    }
    result
}

#[cfg(test)]
mod tests;
