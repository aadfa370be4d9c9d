//! Placement as properties: caps always, balance by weight, little moved by a change.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    ids::BlobId,
    topology::{TopologyDisk, TopologyNode},
};

/// `shape[site][node]` = weights of the node's disks.
fn topology(version: u64, code: Code, shape: &[Vec<Vec<u32>>]) -> Topology {
    let (mut nodes, mut disks) = (Vec::new(), Vec::new());
    for (s, site) in shape.iter().enumerate() {
        for (n, weights) in site.iter().enumerate() {
            let id = NodeId((s * 100 + n + 1) as u64);
            nodes.push(TopologyNode { id, site: format!("dc{s}").parse().unwrap() });
            for (d, &weight) in weights.iter().enumerate() {
                let id = DiskId(xxhash_rust::xxh3::xxh3_128(format!("{s}/{n}/{d}").as_bytes()));
                disks.push(TopologyDisk { id, node: NodeId((s * 100 + n + 1) as u64), weight });
            }
        }
    }
    Topology::build(version, code, nodes, disks).unwrap()
}

fn chunk(i: u32) -> ChunkId {
    ChunkId { blob: BlobId(xxhash_rust::xxh3::xxh3_128(&i.to_le_bytes())), index: i % 7 }
}

fn check_caps(topology: &Topology, code: Code, avoid: &Avoid, placement: &Placement) {
    let mut per_site: BTreeMap<&SiteName, usize> = BTreeMap::new();
    let mut per_node: BTreeMap<NodeId, usize> = BTreeMap::new();
    let (mut seen, mut rows) = (BTreeSet::new(), BTreeSet::new());
    for (row, disk) in placement.iter() {
        assert!(seen.insert(disk), "a disk twice");
        assert!(rows.insert(row), "a row twice");
        assert_eq!((placement.disk(row), placement.shard_on(disk)), (Some(disk), Some(row)));
        let node = topology.node_of(disk).unwrap();
        let site = topology.site_of(node).unwrap();
        assert!(!avoid.disks.contains(&disk) && !avoid.nodes.contains(&node) && !avoid.sites.contains(site));
        *per_site.entry(site).or_default() += 1;
        *per_node.entry(node).or_default() += 1;
    }
    if avoid.is_empty() {
        assert_eq!(placement.placed(), code.n());
        assert!(per_site.values().all(|&n| n <= code.site_cap()), "{per_site:?}");
    }
    // Nodes before disks: none takes two more than another of its site that could take more.
    for site in topology.sites() {
        let load = |id: &NodeId| per_node.get(id).copied().unwrap_or(0);
        let live = |id: &NodeId, disks: &Vec<TopologyDisk>| {
            if avoid.nodes.contains(id) { 0 } else { disks.iter().filter(|d| !avoid.disks.contains(&d.id)).count() }
        };
        let most = site.nodes.iter().map(|(id, _)| load(id)).max().unwrap();
        for (id, disks) in &site.nodes {
            assert!(load(id) + 1 >= most || load(id) == live(id, disks), "{site:?} {per_node:?}");
        }
    }
}

fn shape() -> impl Strategy<Value = Vec<Vec<Vec<u32>>>> {
    let node = prop::collection::vec(1u32..=16, 1..=4);
    prop::collection::vec(prop::collection::vec(node, 3..=6), 3..=5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn caps_hold_in_every_topology_and_with_anything_avoided(shape in shape(), down_site in 0usize..6, down_node in 0u64..8, down_disk in any::<prop::sample::Index>()) {
        for code in [Code::STANDARD, Code::SMALL] {
            let t = topology(1, code, &shape);
            let mut avoid = Avoid::nothing();
            for i in 0..50 {
                check_caps(&t, code, &avoid, &place(&t, chunk(i), code, &avoid));
            }
            if down_site < 3 { avoid.sites.insert(format!("dc{down_site}").parse().unwrap()); }
            if down_node > 0 { avoid.nodes.insert(NodeId(100 + down_node)); }
            avoid.disks.insert(down_disk.get(t.disks()).id);
            for i in 0..50 {
                check_caps(&t, code, &avoid, &place(&t, chunk(i), code, &avoid));
            }
        }
    }
}

/// Shards on each disk over `chunks` chunks.
fn load(t: &Topology, code: Code, chunks: u32) -> BTreeMap<DiskId, f64> {
    let placer = Placer::new(t, code, &Avoid::nothing());
    let mut load: BTreeMap<DiskId, f64> = t.disks().iter().map(|d| (d.id, 0.0)).collect();
    for i in 0..chunks {
        for (_, disk) in placer.place(chunk(i)).iter() {
            *load.get_mut(&disk).unwrap() += 1.0;
        }
    }
    load
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Where the caps let weights be followed (equal sites, no node above a third of its site), each disk's
    /// load is within 5 % of its weight's share at 10^5 chunks.
    #[test]
    fn balance_is_within_five_percent_of_weight(nodes in prop::collection::vec(prop::collection::vec(3u32..=6, 2..=3), 6..=7)) {
        let total: u32 = nodes.iter().flatten().sum();
        prop_assume!(nodes.iter().all(|n| 3 * n.iter().sum::<u32>() <= total));
        let t = topology(1, Code::STANDARD, &[nodes.clone(), nodes.clone(), nodes]);
        let chunks = 100_000;
        let weight: f64 = t.disks().iter().map(|d| f64::from(d.weight)).sum();
        for (disk, load) in load(&t, Code::STANDARD, chunks) {
            let share = f64::from(chunks) * 9.0 * f64::from(t.disk(disk).unwrap().weight) / weight;
            prop_assert!((load / share - 1.0).abs() < 0.05, "disk {disk}: {load} of {share}");
        }
    }
}

/// Shares of all shards: what lies elsewhere when the one disk that `after` has more is added (or, backwards,
/// removed), and what that disk holds.
fn moved_and_share(before: &[Vec<Vec<u32>>], after: &[Vec<Vec<u32>>]) -> (f64, f64) {
    let (before, after) = (topology(1, Code::STANDARD, before), topology(2, Code::STANDARD, after));
    let new = after.disks().iter().find(|d| before.disk(d.id).is_none()).unwrap().id;
    let (one, two) = (Placer::new(&before, Code::STANDARD, &Avoid::nothing()), Placer::new(&after, Code::STANDARD, &Avoid::nothing()));
    let chunks = 10_000;
    let (mut moved, mut back, mut share) = (0u32, 0u32, 0u32);
    for i in 0..chunks {
        let (a, b) = (one.place(chunk(i)), two.place(chunk(i)));
        moved += b.iter().filter(|&(row, disk)| a.disk(row) != Some(disk)).count() as u32;
        back += a.iter().filter(|&(row, disk)| b.disk(row) != Some(disk)).count() as u32;
        share += u32::from(b.shard_on(new).is_some());
    }
    assert_eq!(moved, back, "a removal moves as much as the addition");
    let all = f64::from(chunks) * 9.0;
    (f64::from(moved) / all, f64::from(share) / all)
}

/// Beyond its share a disk moves at most 2 % of all shards while it holds at most a twentieth of them, and at most
/// 2.5 % otherwise. None of it is a shard that only changes its number: it is what drawing three of four to six nodes
/// costs when the weights of all are seen against each other. A hill climb over some fifty starts among the shapes
/// below ended between 1.4 and 2.34 %; below a twentieth it reached 1.99 %. (For one of several drawn by shared hashes
/// the excess over a difference d is d (1 - d) / (1 + d), at most 0.172 shards of a chunk, 1.9 % of nine.)
fn allowed(share: f64) -> f64 {
    share + if share <= 0.05 { 0.02 } else { 0.025 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, rng_seed: proptest::test_runner::RngSeed::Fixed(21), ..ProptestConfig::default() })]

    /// Three to six nodes a site, one to four disks a node, a disk for one of the nodes or for a new one.
    #[test]
    fn a_change_moves_its_share_and_little_more(
        before in prop::collection::vec(prop::collection::vec(prop::collection::vec(2u32..=6, 1..=4), 3..=6), 3..=3),
        site in 0usize..3, on_new_node in any::<bool>(), node in any::<prop::sample::Index>(), weight in 2u32..=6,
    ) {
        let mut after = before.clone();
        if on_new_node {
            after[site].push(vec![weight]);
        } else {
            let node = node.index(after[site].len());
            after[site][node].push(weight);
        }
        let (moved, share) = moved_and_share(&before, &after);
        prop_assert!(moved <= allowed(share), "moved {moved:.4} of all shards, the disk's share is {share:.4}: {before:?}, {after:?}");
    }
}

#[test]
fn the_worst_changes_that_a_search_found_stay_within_the_bound() {
    let even = vec![vec![4]; 3];
    for (before, node) in [
        (vec![vec![3, 6], vec![4], vec![5, 4], vec![5]], 3),
        (vec![vec![5], vec![5, 3, 2], vec![2, 3], vec![5, 2, 3]], 2),
        (vec![vec![4], vec![2, 6, 2], vec![2, 4, 2], vec![6], vec![2]], 3),
        (vec![vec![6], vec![5, 3], vec![2, 6, 4], vec![6, 2], vec![2]], 1),
    ] {
        let mut after = before.clone();
        after[node].push(6);
        let (moved, share) = moved_and_share(&[before, even.clone(), even.clone()], &[after, even.clone(), even.clone()]);
        assert!(moved <= allowed(share), "moved {moved:.4} of all shards, the disk's share is {share:.4}");
    }
}

/// Who stays keeps its row, whoever comes or goes: with ids that differ modulo 251, always.
#[test]
fn no_row_changes_hands_among_nodes_that_stay() {
    let shape = vec![vec![vec![3, 4]; 5]; 3];
    let mut more = shape.clone();
    more[1].push(vec![6, 6]);
    let (before, after) = (topology(1, Code::STANDARD, &shape), topology(2, Code::STANDARD, &more));
    let mut exchanged = 0;
    for i in 0..2_000 {
        let nodes = |t: &Topology| -> BTreeMap<NodeId, u8> {
            place(t, chunk(i), Code::STANDARD, &Avoid::nothing()).iter().map(|(row, disk)| (t.node_of(disk).unwrap(), row)).collect()
        };
        let (a, b) = (nodes(&before), nodes(&after));
        exchanged += usize::from(!a.keys().eq(b.keys()));
        assert!(a.iter().all(|(node, row)| b.get(node).is_none_or(|other| other == row)), "{a:?} {b:?}");
    }
    assert!(exchanged > 500, "{exchanged}: the nodes hardly changed");
}

#[test]
fn rows_are_spread_over_the_code() {
    let t = topology(1, Code::STANDARD, &vec![vec![vec![1, 1]; 3]; 3]);
    let mut seen = BTreeMap::new();
    for i in 0..20_000 {
        for (row, _) in place(&t, chunk(i), Code::STANDARD, &Avoid::nothing()).iter() {
            *seen.entry(row).or_insert(0u32) += 1;
        }
    }
    // 180,000 shards on 251 rows: 717 each, give or take five standard deviations.
    assert_eq!(seen.len(), 251);
    assert!(seen.values().all(|n| (580..=855).contains(n)), "{seen:?}");
}

#[test]
fn an_equal_cluster_is_even_and_the_function_is_pinned() {
    let t = topology(1, Code::STANDARD, &vec![vec![vec![1, 1]; 3]; 3]);
    for (disk, load) in load(&t, Code::STANDARD, 100_000) {
        assert!((load / 50_000.0 - 1.0).abs() < 0.05, "{disk}: {load}");
    }
    // Data written by one version of the program is found by the next: the function must never change.
    let pinned: Vec<String> = place(&t, ChunkId { blob: BlobId(42), index: 7 }, Code::STANDARD, &Avoid::nothing())
        .iter()
        .map(|(row, disk)| format!("{row}:{}", &disk.to_string()[..4]))
        .collect();
    assert_eq!(pinned.join(" "), PINNED);
}

const PINNED: &str = "10:a40f 39:a632 97:9b1b 109:e67f 138:1f7a 150:3fb6 208:b4bc 237:a092 249:a1d3";

#[test]
fn logarithm_and_exponential_are_what_they_say() {
    for i in 1..1000 {
        let x = f64::from(i) / 1000.0;
        assert!((natural_log(x) - x.ln()).abs() < 1e-14, "{x}");
        assert!((exponential(x * 40.0) / (x * 40.0).exp() - 1.0).abs() < 1e-12, "{x}");
    }
}

#[test]
fn with_a_site_down_the_others_take_five_and_four_at_most_two_a_node() {
    let t = topology(1, Code::STANDARD, &vec![vec![vec![1, 1]; 3]; 3]);
    let mut avoid = Avoid::nothing();
    avoid.sites.insert("dc0".parse().unwrap());
    for i in 0..200 {
        let p = place(&t, chunk(i), Code::STANDARD, &avoid);
        assert_eq!(p.placed(), 9);
        let in_dc1 = p.iter().filter(|(_, d)| t.site_of(t.node_of(*d).unwrap()).unwrap().as_str() == "dc1").count();
        assert!(in_dc1 == 4 || in_dc1 == 5);
    }
    // One more node gone: still nine places, for the code 4+5 needs 5 + 4 disks.
    avoid.nodes.insert(NodeId(101));
    assert_eq!(place(&t, chunk(1), Code::STANDARD, &avoid).placed(), 9);
}

#[test]
fn what_is_avoided_can_be_compared_and_widened() {
    let t = topology(1, Code::STANDARD, &vec![vec![vec![1, 1]; 3]; 3]);
    let nodes = |ids: &[u64]| Avoid { nodes: ids.iter().map(|id| NodeId(*id)).collect(), ..Avoid::default() };
    let disk = t.disks().iter().find(|d| d.node == NodeId(1)).unwrap().id;
    let disks = Avoid { disks: [disk].into(), ..Avoid::default() };
    let site = Avoid { sites: ["dc0".parse().unwrap()].into(), ..Avoid::default() };
    assert!(site.covers(&nodes(&[1, 2]), &t) && site.covers(&disks, &t) && site.covers(&Avoid::nothing(), &t));
    assert!(nodes(&[1]).covers(&disks, &t) && !disks.covers(&nodes(&[1]), &t) && !nodes(&[1]).covers(&site, &t));
    assert!(!site.covers(&nodes(&[1, 101]), &t));
    assert_eq!(nodes(&[1]).widened(&t), site);
    assert_eq!(disks.widened(&t), site);
    assert_eq!(nodes(&[1, 101]).widened(&t), nodes(&[1, 101]));
    assert_eq!(Avoid::nothing().widened(&t), Avoid::nothing());
}
