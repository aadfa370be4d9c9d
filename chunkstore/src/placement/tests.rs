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
    let mut seen = BTreeSet::new();
    for (_, disk) in placement.iter() {
        assert!(seen.insert(disk), "a disk twice");
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

    /// A disk added or removed moves no more than its share of all shards plus 2 %: with three nodes a site,
    /// and in larger sites once a disk is no more than a fiftieth of the cluster. (In sites of four or five
    /// nodes with few disks a disk is 3 to 4 % of all and moves up to twice its share: the last bound.)
    #[test]
    fn a_change_moves_its_share_and_little_more(
        (shape, few) in prop_oneof![
            prop::collection::vec(prop::collection::vec(prop::collection::vec(2u32..=6, 2..=3), 3..=3), 3..=3).prop_map(|s| (s, false)),
            prop::collection::vec(prop::collection::vec(prop::collection::vec(4u32..=6, 4..=6), 4..=6), 3..=3).prop_map(|s| (s, false)),
            prop::collection::vec(prop::collection::vec(prop::collection::vec(4u32..=6, 2..=3), 4..=5), 3..=3).prop_map(|s| (s, true)),
        ],
        site in 0usize..3, node in any::<prop::sample::Index>(), weight in 4u32..=6,
    ) {
        let before = topology(1, Code::STANDARD, &shape);
        let mut bigger = shape.clone();
        let node = node.index(bigger[site].len());
        bigger[site][node].push(weight);
        let after = topology(2, Code::STANDARD, &bigger);
        let new = after.disks().iter().find(|d| before.disk(d.id).is_none()).unwrap().id;
        let (one, two) = (Placer::new(&before, Code::STANDARD, &Avoid::nothing()), Placer::new(&after, Code::STANDARD, &Avoid::nothing()));
        let chunks = 5_000;
        let (mut moved, mut share) = (0.0, 0.0);
        for i in 0..chunks {
            let (a, b) = (one.place(chunk(i)), two.place(chunk(i)));
            moved += (0..9).filter(|&s| a.disk(s) != b.disk(s)).count() as f64;
            share += b.shard_on(new).map_or(0.0, |_| 1.0);
        }
        let all = f64::from(chunks) * 9.0;
        // The same count serves for the removal: it is the same pair of topologies, backwards.
        let allowed = if few { 2.0 * share } else { share };
        prop_assert!(moved <= allowed + 0.02 * all, "moved {:.4} of all shards, the disk's share is {:.4}", moved / all, share / all);
    }
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
        .map(|(_, d)| d.to_string()[..4].to_owned())
        .collect();
    assert_eq!(pinned.join(" "), PINNED);
}

const PINNED: &str = "a40f 1f7a a1d3 e67f a632 3fb6 b4bc a092 9b1b";

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
