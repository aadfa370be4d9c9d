//! A site and any two more nodes may be lost: service stops with a clear answer, nothing is lost, and service
//! resumes when a majority is back, though the shards of all five nodes are still missing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use kluis_tests::{Api, Cluster, ClusterOptions, Load, content};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_and_two_more_nodes_are_lost_and_nothing_with_them() {
    let cluster = Cluster::start_with(ClusterOptions::eager());
    let api = Api::new(&cluster, cluster.sign_in(0));
    let load = Load::start(&api, 3, 1, &[300, 40 << 10, 3 << 20]);
    cluster.wait_until("documents are stored", 120, async || load.puts() >= 90).await;
    let report = load.stop().await;
    // What was stored while a disk was slow lies elsewhere until it is at home.
    cluster.wait_settled().await;

    let mut lost = cluster.nodes_of_site("dc1");
    // One of each other site, and no gateway of theirs: somebody has to answer.
    lost.extend([5, 9]);
    cluster.kill_all(&lost);
    assert_eq!(cluster.live_nodes(), [4, 6, 7, 8]);

    for site in [1, 2] {
        let gateway = api.at(site).once();
        // Answers that were under way may still time out; none may say that it was stored.
        cluster
            .wait_until("an upload is refused", 120, async || match gateway.put("too few", content(1, 1000)).await {
                Ok(doc) => panic!("stored without a majority: {doc:?}"),
                Err(failure) => failure.status == Some(503) && failure.code == "no_quorum",
            })
            .await;
        let failure = gateway.get(&report.acknowledged[0].id).await.expect_err("no right can be checked without a majority");
        assert_eq!(failure.status, Some(503), "{failure}");
    }

    // A majority comes back with its metadata, but one of the five without its disks: four shards of nine are left.
    for disk in cluster.node(5).disks {
        fs::remove_dir_all(&disk).unwrap();
        // A file in its place: not even an empty disk to rebuild on.
        fs::write(&disk, "not a disk").unwrap();
    }
    cluster.start_node(5);
    cluster.wait_check(5, "quorum_read").await;
    report.verify_all(&api).await;

    // With the last of them, everything can be stored again.
    for id in [1, 2, 3, 9] {
        cluster.start_node(id);
    }
    for id in [1, 2, 3, 9] {
        cluster.wait_ready(id).await;
    }
    let doc = api.put("again", content(2, 1 << 20)).await.expect("documents are stored again");
    assert_eq!(api.get(&doc.id).await.unwrap(), content(2, 1 << 20));
    let listed = api.list().await.unwrap();
    assert!(listed.iter().all(|d| d.name != "too few"), "a refused upload appeared");
    report.verify_all(&api).await;
}
