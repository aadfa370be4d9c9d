//! A node whose storage was emptied does not come back under its old id, neither by itself nor past its peers:
//! it would vote with a log that it forgot. The cluster goes on without it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, fs, process::Output};

use kluis_chunkstore::ids::StorageId;
use kluis_node::member;
use kluis_raft::{
    consensus::{Consensus, ConsensusOptions},
    store::rocks::RocksDatabases,
};
use kluis_tests::{Api, Cluster, content, program::said};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_storage_does_not_come_back_as_itself() {
    let cluster = Cluster::start();
    let api = Api::new(&cluster, cluster.sign_in(0));
    let doc = api.put("before", content(1, 2 << 20)).await.unwrap();
    let pids = others(&cluster);

    println!("its metadata is gone");
    cluster.stop_node(5);
    let meta = member::metadata_dir(&cluster.node(5).dir);
    fs::remove_dir_all(&meta).unwrap();
    fs::create_dir(&meta).unwrap();
    refused(&run(&cluster, 5), "storage_lost");
    assert_eq!(fs::read_dir(&meta).unwrap().count(), 0, "a refusal changes nothing");
    assert!(!cluster.try_start_node(5).status.success(), "start-node says so, too");
    goes_on(&cluster, &api, &doc.id, &pids).await;

    println!("everything but its identity is gone");
    let node = cluster.node(5);
    for entry in fs::read_dir(&node.dir).unwrap() {
        let path = entry.unwrap().path();
        let is_kept = ["identity", "kluis.toml"].iter().any(|name| path.ends_with(name));
        match path.is_dir() {
            _ if is_kept => {}
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
    for disk in &node.disks {
        fs::remove_dir_all(disk).unwrap();
        fs::create_dir(disk).unwrap();
    }
    refused(&run(&cluster, 5), "storage_lost");
    goes_on(&cluster, &api, &doc.id, &pids).await;

    println!("it says that it has another storage");
    cluster.stop_node(9);
    let dir = cluster.node(9).dir;
    let mut card = member::read(&dir).unwrap();
    card.storage = StorageId(card.storage.0 ^ 1);
    member::write_json(&member::identity_dir(&dir).join("member.json"), &card).unwrap();
    refused(&run(&cluster, 9), "storage_id_mismatch");

    println!("and has an empty database of that storage: now only its peers can tell");
    let meta = member::metadata_dir(&dir);
    fs::remove_dir_all(&meta).unwrap();
    let options = ConsensusOptions::new(card.node, card.storage, card.cluster, meta);
    tokio::task::spawn_blocking(move || Consensus::create(&RocksDatabases, &options)).await.unwrap().unwrap();
    cluster.start_node(9);
    cluster
        .wait_until("its peers refuse it by name", 60, async || {
            let refusals = |id| cluster.log(id).lines().any(|line| line.contains("peer refused") && line.contains("storage_id_mismatch"));
            refusals(1) && refusals(4)
        })
        .await;
    goes_on(&cluster, &api, &doc.id, &pids).await;
    let status = cluster.status().await;
    let seen = status["nodes"].as_array().unwrap().iter().find(|n| n["id"] == 9).unwrap();
    assert_eq!(seen["up"], false, "{seen}");
}

/// Runs a node in the foreground, as a person or a supervisor would.
fn run(cluster: &Cluster, id: u64) -> Output {
    let config = cluster.node(id).dir.join("kluis.toml").display().to_string();
    cluster.kluis(&["node", "run", "--config", &config])
}

fn refused(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(4), "{}", said(output));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(why) && text.contains("join"), "the reason and the way out are missing: {text}");
}

/// Processes of the nodes that nobody touches.
fn others(cluster: &Cluster) -> BTreeMap<u64, u32> {
    cluster.node_ids().into_iter().filter(|id| ![5, 9].contains(id)).map(|id| (id, cluster.node(id).pid)).collect()
}

async fn goes_on(cluster: &Cluster, api: &Api, before: &str, pids: &BTreeMap<u64, u32>) {
    let status = cluster.status().await;
    assert!(status["metadata"]["leader"].is_u64(), "there is no leader: {status}");
    let doc = api.put("meanwhile", content(2, 1 << 20)).await.expect("documents are stored");
    assert_eq!(api.get(&doc.id).await.unwrap(), content(2, 1 << 20));
    assert_eq!(api.get(before).await.unwrap(), content(1, 2 << 20));
    assert_eq!(&others(cluster), pids);
    let live = cluster.live_nodes();
    assert!(pids.keys().all(|id| live.contains(id)), "of {pids:?} only {live:?} live");
}
