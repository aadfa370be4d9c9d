//! Disks rot, lose files, vanish and end up in the wrong machine: documents stay readable throughout, no
//! process dies of it, what is wrong is named, and what is missing is made anew.
//!
//! Owns: damage to files under a real cluster. Not: failing system calls (a faulty file system in one
//! process has those).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use kluis_chunkstore::format::record::{HEADER_BYTES, MAGIC};
use kluis_tests::{Api, Cluster, ClusterOptions, Load, Report};

/// The node whose disks suffer: no gateway, so that what is read from it crosses the network.
const VICTIM: u64 = 5;
/// Its site's gateway, which asks its neighbours first.
const GATEWAY: usize = 1;
/// Shards that are damaged on each of the victim's two disks.
const FLIPS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rot_cuts_and_lost_indexes_are_mended() {
    let (cluster, api, report) = cluster_with_documents().await;
    let disks = cluster.node(VICTIM).disks;
    let shards = shards(&cluster, VICTIM).await;

    println!("an index is deleted");
    cluster.stop_node(VICTIM);
    for disk in &disks {
        fs::remove_file(disk.join("index")).expect("a disk that was closed in order left an index");
    }
    cluster.start_node(VICTIM);
    cluster.wait_ready(VICTIM).await;
    wait_for_shards(&cluster, VICTIM, shards).await;
    assert_eq!(rebuilt(&cluster, VICTIM).await, 0.0, "the segments tell what the index did");
    report.verify_all(&api).await;

    println!("a byte of a few shards is flipped on each disk");
    cluster.stop_node(VICTIM);
    for disk in &disks {
        let (segment, records) = fullest_segment(disk);
        for part in 1..=FLIPS {
            let record = records[records.len() * part / (FLIPS + 1)];
            flip(&segment, record.payload + record.len / 2);
        }
    }
    cluster.start_node(VICTIM);
    cluster.wait_ready(VICTIM).await;
    // Its neighbour's gateway asks it for a shard of every chunk: that is how rot is found. The reader never notices.
    report.verify_all(&api.at(GATEWAY)).await;
    cluster
        .wait_until("the damaged shards are made anew", 120, async || {
            report.verify_all(&api.at(GATEWAY)).await;
            // A shard that was moved or deleted before left a record that nobody reads: not every flip is seen.
            rebuilt(&cluster, VICTIM).await > FLIPS as f64
        })
        .await;
    wait_for_shards(&cluster, VICTIM, shards).await;

    println!("shards of two documents change places on a disk");
    cluster.stop_node(VICTIM);
    let (segment, records) = fullest_segment(&disks[0]);
    for (one, other) in exchangeable(&records) {
        exchange(&segment, one, other);
    }
    cluster.start_node(VICTIM);
    cluster.wait_ready(VICTIM).await;
    cluster
        .wait_until("what was exchanged is made anew", 120, async || {
            report.verify_all(&api.at(GATEWAY)).await;
            rebuilt(&cluster, VICTIM).await >= 1.0
        })
        .await;
    wait_for_shards(&cluster, VICTIM, shards).await;

    println!("a segment is cut in half");
    cluster.stop_node(VICTIM);
    let (segment, records) = fullest_segment(&disks[0]);
    let middle = records[records.len() / 2];
    File::options().write(true).open(&segment).unwrap().set_len(middle.payload + middle.len / 2).unwrap();
    cluster.start_node(VICTIM);
    cluster.wait_ready(VICTIM).await;
    report.verify_all(&api).await;
    cluster
        .wait_until("the lost shards are made anew", 120, async || {
            report.verify_all(&api.at(GATEWAY)).await;
            rebuilt(&cluster, VICTIM).await >= 2.0 && self::shards(&cluster, VICTIM).await == shards
        })
        .await;
    cluster.wait_settled().await;

    // A site and one more node away: five shards are left of each chunk, the victim's among them.
    cluster.kill_all(&[1, 2, 3, 4]);
    report.verify_all(&api).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_disks_are_replaced_and_swapped_ones_are_named() {
    let (cluster, api, report) = cluster_with_documents().await;
    let dir = cluster.path().display().to_string();
    let (other, stopped) = (8, 6);
    let (own, others) = (cluster.node(VICTIM).disks[0].clone(), cluster.node(other).disks[0].clone());
    let before = (shards(&cluster, VICTIM).await, shards(&cluster, other).await);

    println!("two disks are swapped");
    cluster.stop_node(VICTIM);
    cluster.stop_node(other);
    swap(&own, &others);
    for (node, disk) in [(VICTIM, &own), (other, &others)] {
        cluster.start_node(node);
        cluster.wait_ready(node).await;
        let log = cluster.log(node);
        let named = log.lines().any(|line| line.contains("DISK_REFUSED") && line.contains(&disk.display().to_string()));
        assert!(named, "n{node} does not name its foreign disk: {log}");
    }
    let status = cluster.status().await;
    assert_eq!(findings(&status, "DISK_MISSING"), 2, "{status}");
    report.verify_all(&api).await;
    api.put("with two disks less", vec![1_u8; 200_000]).await.expect("the nodes run with the rest");

    println!("and swapped back");
    cluster.stop_node(VICTIM);
    cluster.stop_node(other);
    swap(&own, &others);
    for node in [VICTIM, other] {
        cluster.start_node(node);
        cluster.wait_ready(node).await;
    }
    cluster.wait_settled().await;
    let after = (shards(&cluster, VICTIM).await, shards(&cluster, other).await);
    assert!(after.0 >= before.0 && after.1 >= before.1, "{before:?} before, {after:?} after: a shard was lost on the way");
    assert_eq!(findings(&cluster.status().await, "DISK_MISSING"), 0);

    println!("a disk's directory is deleted under a running node, another under a stopped one");
    let pid = cluster.node(VICTIM).pid;
    fs::remove_dir_all(&own).unwrap();
    cluster.wait_until("the running node names the lost disk", 60, async || findings(&cluster.status().await, "DISK_MISSING") == 1).await;
    report.verify_all(&api).await;
    assert_eq!(cluster.node(VICTIM).pid, pid);
    assert!(cluster.live_nodes().contains(&VICTIM), "a process died of a lost disk");
    cluster.stop_node(stopped);
    let second = cluster.node(stopped).disks[0].clone();
    fs::remove_dir_all(&second).unwrap();

    println!("empty directories take their places");
    fs::create_dir(&own).unwrap();
    fs::create_dir(&second).unwrap();
    cluster.stop_node(VICTIM);
    for node in [VICTIM, stopped] {
        cluster.start_node(node);
        cluster.wait_ready(node).await;
    }
    report.verify_all(&api).await;
    // What is planned is shown, and nothing happens before it is applied.
    let mut plan = serde_json::Value::Null;
    cluster
        .wait_until("the new disks are announced", 60, async || {
            let output = cluster.kluis(&["cluster", "apply-topology", "--output", "json", "--dir", &dir]);
            plan = serde_json::from_slice(&output.stdout).unwrap_or_default();
            plan["added"].as_array().is_some_and(|added| added.len() == 2)
        })
        .await;
    assert_eq!(plan["removed"].as_array().unwrap().len(), 2, "the lost disks go out: {plan}");
    assert_eq!(cluster.status().await["cluster"]["topology_version"], plan["current_version"]);
    let applied = cluster.kluis(&["cluster", "apply-topology", "--apply", "--dir", &dir]);
    assert!(applied.status.success(), "{}", kluis_tests::program::said(&applied));
    cluster.wait_settled().await;

    let status = cluster.status().await;
    assert_eq!(status["cluster"]["topology_version"], plan["next_version"]);
    for node in [VICTIM, stopped] {
        let seen = status["nodes"].as_array().unwrap().iter().find(|n| n["id"] == node).unwrap();
        let disks = seen["disks"].as_array().unwrap();
        assert_eq!(disks.len(), 2, "{seen}");
        assert!(disks.iter().all(|disk| disk["state"] == "ok" && disk["shards"].as_u64() > Some(0)), "n{node} is not whole: {seen}");
    }
    // The other two nodes of the site and a whole other site away: the new disks have to serve.
    cluster.kill_all(&[1, 2, 3, 4]);
    report.verify_all(&api).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_shards_are_a_clear_answer_and_never_part_of_a_document() {
    // Three nodes of three disks: nine shards, one on each disk; four are needed.
    let cluster = Cluster::start_with(ClusterOptions { nodes_per_site: 1, disks_per_node: 3, ..ClusterOptions::default() });
    let api = Api::new(&cluster, cluster.sign_in(0));
    let body = kluis_tests::content(1, 3 << 20);
    let doc = api.put("three shards too few", body.clone()).await.unwrap();
    cluster.wait_until("all nine shards of its three chunks are there", 60, async || cluster.sum("kluis_disk_shards").await >= 27.0).await;

    println!("two disks of each node are away");
    let away: Vec<PathBuf> = cluster.node_ids().into_iter().flat_map(|id| cluster.node(id).disks.into_iter().take(2)).collect();
    for (node, disks) in cluster.node_ids().into_iter().zip(away.chunks(2)) {
        cluster.stop_node(node);
        for disk in disks {
            fs::rename(disk, disk.with_extension("aside")).unwrap();
        }
        cluster.start_node(node);
    }
    for site in 0..3 {
        let at = api.at(site);
        let mut refusal = None;
        // Until the nodes know one another again the answer may be another 503.
        cluster
            .wait_until("the gateway says how many shards there are", 60, async || {
                let failure = at.once().get(&doc.id).await.expect_err("three shards are no document");
                assert!(failure.status.is_none_or(|status| status == 503), "{failure}");
                let told = failure.code == "not_enough_shards" && failure.detail.contains("have=3 need=4");
                refusal = Some(failure);
                told
            })
            .await;
        println!("gateway {site}: {}", refusal.expect("it answered"));
    }

    println!("and back");
    for (node, disks) in cluster.node_ids().into_iter().zip(away.chunks(2)) {
        cluster.stop_node(node);
        for disk in disks {
            fs::rename(disk.with_extension("aside"), disk).unwrap();
        }
        cluster.start_node(node);
        cluster.wait_ready(node).await;
    }
    assert!(api.get(&doc.id).await.unwrap() == body, "the document changed");
}

async fn cluster_with_documents() -> (Cluster, Api, Report) {
    let cluster = Cluster::start_with(ClusterOptions::eager());
    let api = Api::new(&cluster, cluster.sign_in(0));
    let load = Load::start(&api, 3, 0, &[300, 40 << 10, 3 << 20]);
    cluster.wait_until("documents are stored", 120, async || load.puts() >= 60).await;
    let report = load.stop().await;
    cluster.wait_settled().await;
    (cluster, api, report)
}

/// Shards on a node's disks.
async fn shards(cluster: &Cluster, node: u64) -> f64 {
    cluster.figures(node).await.expect("a running node has metrics").sum("kluis_disk_shards")
}

/// Shards that a node made anew since it was started.
async fn rebuilt(cluster: &Cluster, node: u64) -> f64 {
    cluster.figures(node).await.expect("a running node has metrics").sum("kluis_repair_shards_total")
}

async fn wait_for_shards(cluster: &Cluster, node: u64, wanted: f64) {
    cluster.wait_until(&format!("n{node} has {wanted} shards again"), 120, async || shards(cluster, node).await == wanted).await;
}

fn findings(status: &serde_json::Value, code: &str) -> usize {
    status["findings"].as_array().unwrap().iter().filter(|finding| finding["code"] == code).count()
}

fn swap(one: &Path, other: &Path) {
    let aside = one.with_extension("aside");
    fs::rename(one, &aside).unwrap();
    fs::rename(other, one).unwrap();
    fs::rename(&aside, other).unwrap();
}

/// Where a shard lies in its segment.
#[derive(Clone, Copy)]
struct Record {
    blob: [u8; 16],
    payload: u64,
    len: u64,
}

/// Pairs of shards, each of one length and of two documents. The last of the segment: of earlier ones some were
/// moved, and nobody reads them.
fn exchangeable(records: &[Record]) -> Vec<(Record, Record)> {
    let mut free = records.to_vec();
    let mut pairs = Vec::new();
    while let Some(one) = free.pop().filter(|_| pairs.len() < FLIPS) {
        if let Some(at) = free.iter().rposition(|other| one.len == other.len && one.blob != other.blob) {
            pairs.push((one, free.remove(at)));
        }
    }
    assert!(!pairs.is_empty(), "documents of the same length were stored");
    pairs
}

/// Puts the bytes of each in the place of the other's.
fn exchange(path: &Path, one: Record, other: Record) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let read = |record: Record| {
        let mut bytes = vec![0; usize::try_from(record.len).unwrap()];
        file.read_exact_at(&mut bytes, record.payload).unwrap();
        bytes
    };
    let (first, second) = (read(one), read(other));
    assert_ne!(first, second, "the exchange would change nothing");
    file.write_all_at(&second, one.payload).unwrap();
    file.write_all_at(&first, other.payload).unwrap();
}

/// The segment of a disk with the most shards of larger documents, and where those lie.
fn fullest_segment(disk: &Path) -> (PathBuf, Vec<Record>) {
    let segments = fs::read_dir(disk).unwrap().map(|entry| entry.unwrap().path());
    let segments = segments.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("segment-"));
    let found = segments.map(|path| (path.clone(), records(&fs::read(path).unwrap())));
    let (path, records) = found.max_by_key(|(_, records)| records.len()).expect("the disk has a segment");
    assert!(records.len() >= 4, "{} holds too few shards to damage one of them", path.display());
    (path, records)
}

/// Shards of at least 4 KiB: those of the standard class, of which every node has one a chunk.
fn records(segment: &[u8]) -> Vec<Record> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(header) = segment.get(at..at + HEADER_BYTES) {
        let is_shard = header[..4] == MAGIC && header[5] == 1;
        let len = u32::from_le_bytes(header[28..32].try_into().unwrap());
        if is_shard && len >= 4096 {
            let blob = header[8..24].try_into().unwrap();
            found.push(Record { blob, payload: (at + HEADER_BYTES) as u64, len: u64::from(len) });
        }
        at += 8;
    }
    found
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}
