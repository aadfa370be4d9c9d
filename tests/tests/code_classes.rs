//! The wider codes keep what they promise on real disks: `dense` (6+6) goes on without a site and one more node,
//! `vast` (4+8) has every document when the disks of two whole sites are lost.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use kluis_tests::{Api, Cluster, ClusterOptions, content};

/// Nothing, a document that is kept as whole copies, and one of three chunks that is cut by the code.
const SIZES: [usize; 3] = [0, 10_000, 3 << 20];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dense_goes_on_without_a_site_and_one_more_node() {
    let options = ClusterOptions { nodes_per_site: 4, disks_per_node: 2, code: "6+6", ..ClusterOptions::default() };
    let cluster = Cluster::start_with(options);
    assert_eq!(cluster.status().await["cluster"]["code"], "6+6");
    let api = Api::new(&cluster, cluster.sign_in(0));
    let mut stored = store(&api, 1).await;
    read_everywhere(&api, &[0, 1, 2], &stored).await;

    println!("dc2 is lost: eight shards of twelve are left, six are needed");
    cluster.kill_all(&cluster.nodes_of_site("dc2"));
    read_everywhere(&api, &[0, 2], &stored).await;
    stored.extend(store(&api, 2).await);
    read_everywhere(&api, &[0, 2], &stored).await;

    // One that is no gateway: somebody has to answer.
    let more = *cluster.nodes_of_site("dc3").last().unwrap();
    println!("n{more} is lost too");
    cluster.kill(more);
    read_everywhere(&api, &[0, 2], &stored).await;
    stored.extend(store(&api, 3).await);
    read_everywhere(&api, &[0, 2], &stored).await;
    assert_eq!(cluster.live_nodes().len(), 7, "no other process ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vast_has_every_document_when_the_disks_of_two_sites_are_lost() {
    // A node of four disks a site is the least that 4+8 takes.
    let options = ClusterOptions { nodes_per_site: 1, disks_per_node: 4, code: "4+8", ..ClusterOptions::eager() };
    let cluster = Cluster::start_with(options);
    assert_eq!(cluster.status().await["cluster"]["code"], "4+8");
    let api = Api::new(&cluster, cluster.sign_in(0));
    let stored = store(&api, 1).await;
    read_everywhere(&api, &[0, 1, 2], &stored).await;
    // What was acknowledged outlives one site; two, once every shard is at home.
    cluster.wait_settled().await;

    println!("dc1 and dc3 are lost: the data is there, and nobody may say whose it is");
    let lost = [1, 3];
    cluster.kill_all(&lost);
    let left = api.at(1).once();
    cluster
        .wait_until("a read is refused for want of a majority", 120, async || match left.get(&stored[2].id).await {
            // An answer that was under way may still come, and it is the right one.
            Ok(body) => {
                assert!(body == stored[2].content(), "other bytes came back");
                false
            }
            Err(failure) => failure.status == Some(503) && failure.code == "no_quorum",
        })
        .await;

    println!("both come back with their metadata and with empty disks");
    for disk in lost.into_iter().flat_map(|id| cluster.node(id).disks) {
        assert!(fs::read_dir(&disk).unwrap().next().is_some(), "{} is empty already", disk.display());
        fs::remove_dir_all(&disk).unwrap();
        fs::create_dir(&disk).unwrap();
    }
    for id in lost {
        cluster.start_node(id);
    }
    for id in lost {
        cluster.wait_check(id, "quorum_read").await;
    }
    read_everywhere(&api, &[0, 1, 2], &stored).await;
    for id in lost {
        let shards = cluster.figures(id).await.expect("a running node has metrics").sum("kluis_disk_shards");
        assert_eq!(shards, 0.0, "n{id} has shards: what was read did not come from the one site that is left");
    }
}

/// A document and what its content follows from.
struct Stored {
    id: String,
    seed: u64,
    len: usize,
}

impl Stored {
    fn content(&self) -> Vec<u8> {
        content(self.seed, self.len)
    }
}

/// Stores a document of each size.
async fn store(api: &Api, round: u64) -> Vec<Stored> {
    let mut stored = Vec::new();
    for (seed, len) in (round * 10..).zip(SIZES) {
        let doc = api.put(&format!("document {seed}"), content(seed, len)).await.unwrap_or_else(|e| panic!("{len} bytes: {e}"));
        assert_eq!(doc.size, len as u64);
        stored.push(Stored { id: doc.id, seed, len });
    }
    stored
}

/// Reads every document at every one of these gateways.
async fn read_everywhere(api: &Api, gateways: &[usize], stored: &[Stored]) {
    for gateway in gateways {
        let api = api.at(*gateway);
        for document in stored {
            let body = api.get(&document.id).await.unwrap_or_else(|e| panic!("{} bytes at gateway {gateway}: {e}", document.len));
            assert!(body == document.content(), "{} bytes came back as {} others", document.len, body.len());
        }
    }
}
