//! A whole site may be lost in the middle of everything, and one more node with it: documents are stored and
//! read all the time, nothing acknowledged is lost, and a site that comes back becomes whole by itself.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use kluis_tests::{Api, Cluster, ClusterOptions, Load, content, fresh_key};
use tokio::sync::mpsc;

/// Two classes of code, and documents of one and of several chunks.
const SIZES: [usize; 3] = [300, 40 << 10, 3 << 20];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_and_one_more_node_are_lost_and_documents_go_on() {
    let cluster = Cluster::start_with(ClusterOptions::eager());
    let api = Api::new(&cluster, cluster.sign_in(0));
    let load = Load::start(&api, 3, 3, &SIZES);
    more_of_both(&cluster, &load, "before anything happens").await;

    // The leader's site: the hardest one to lose.
    let (_, lost_site) = leader(&cluster).await;
    let mut lost = cluster.nodes_of_site(&lost_site);
    println!("site {lost_site} is lost");
    cluster.kill_all(&lost);
    more_of_both(&cluster, &load, "without a site").await;

    let (next, site) = leader(&cluster).await;
    assert_ne!(site, lost_site);
    println!("n{next} of {site} is lost too");
    cluster.kill(next);
    lost.push(next);
    more_of_both(&cluster, &load, "without a site and one more node").await;

    let report = load.stop().await;
    assert_eq!(cluster.live_nodes().len(), 5, "no other process ended");
    report.verify_all(&api).await;
    let status = cluster.status().await;
    assert!(has_finding(&status, "SITE_DOWN") && has_finding(&status, "NODE_DOWN"), "{status}");

    for id in &lost {
        cluster.start_node(*id);
    }
    for id in &lost {
        cluster.wait_ready(*id).await;
    }
    cluster.wait_settled().await;
    let status = cluster.status().await;
    assert_eq!(status["margin"]["sites_may_fail"], 1, "{status}");

    // Only when the first site really has its shards again can another one be missed.
    let other = ["dc1", "dc2", "dc3"].into_iter().find(|name| *name != lost_site && *name != site).unwrap();
    println!("site {other} is lost");
    cluster.kill_all(&cluster.nodes_of_site(other));
    report.verify_all(&api).await;
    api.put("afterwards", vec![7_u8; 100_000]).await.expect("documents are stored without that site, too");
}

/// One request each, under way all the time: a site is killed in the middle, comes back, and another one is
/// killed. The piece sizes fit no chunk, so that chunks are cut over every event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_upload_and_one_download_outlive_two_sites_in_turn() {
    const PIECE: usize = 700_001;
    const PIECES: usize = 160;
    let cluster = Cluster::start_with(ClusterOptions::eager());
    let (token, client) = (cluster.sign_in(0), cluster.client());
    let whole = Bytes::from(content(7, PIECE * PIECES));
    // The gateway of the site that stays.
    let gateway = cluster.gateway(2);

    let (pieces, body) = mpsc::channel::<Bytes>(1);
    let body = stream::unfold(body, |mut body| async move { body.recv().await.map(|piece| (Ok::<_, std::io::Error>(piece), body)) });
    let upload = client
        .post(format!("{gateway}/v1/documents?name=long"))
        .bearer_auth(&token)
        .header("Idempotency-Key", fresh_key())
        .header("Content-Length", whole.len())
        .body(reqwest::Body::wrap_stream(body));
    let upload = tokio::spawn(upload.send());
    for (i, piece) in (0..PIECES).map(|i| whole.slice(i * PIECE..(i + 1) * PIECE)).enumerate() {
        events(&cluster, i, PIECES).await;
        pieces.send(piece).await.expect("the upload goes on");
    }
    drop(pieces);
    let answer = upload.await.unwrap().expect("the upload has an answer");
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap_or_default());
    let document: serde_json::Value = answer.json().await.unwrap();
    for id in cluster.nodes_of_site("dc2") {
        cluster.start_node(id);
    }
    for id in cluster.nodes_of_site("dc2") {
        cluster.wait_ready(id).await;
    }

    let address = format!("{gateway}/v1/documents/{}/content", document["id"].as_str().unwrap());
    let answer = client.get(address).bearer_auth(&token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let (mut stream, mut at, mut next) = (answer.bytes_stream(), 0, 0);
    while let Some(part) = stream.next().await {
        let part = part.expect("the download goes on");
        assert!(whole[at..].starts_with(&part), "other bytes from {at} on");
        at += part.len();
        while next < PIECES && at >= next * PIECE {
            events(&cluster, next, PIECES).await;
            next += 1;
        }
    }
    assert_eq!(at, whole.len(), "the download was cut off");
}

/// When neither rule can be had (a site, a node of another and a disk of that one's neighbour are gone: 5 + 3
/// places are left), an upload is acknowledged as `reduced`, unless the vault is strict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reduced_redundancy_is_marked_and_a_strict_vault_refuses_it() {
    let cluster = Cluster::start_with(ClusterOptions::eager());
    let (token, client) = (cluster.sign_in(0), cluster.client());
    let mut lost = cluster.nodes_of_site("dc1");
    lost.push(5);
    cluster.kill_all(&lost);
    std::fs::remove_dir_all(&cluster.node(4).disks[0]).unwrap();

    let put = async || {
        let upload = client
            .post(format!("{}/v1/documents?name=reduced", cluster.gateway(2)))
            .bearer_auth(&token)
            .header("Idempotency-Key", fresh_key());
        upload.body(content(3, 300_000)).send().await.unwrap()
    };
    cluster
        .wait_until("an upload is marked as reduced", 120, async || {
            let answer = put().await;
            answer.status() == 201 && answer.headers().get("Vault-Redundancy").is_some_and(|v| v == "reduced")
        })
        .await;

    let me: serde_json::Value =
        client.get(format!("{}/v1/me", cluster.gateway(2))).bearer_auth(&token).send().await.unwrap().json().await.unwrap();
    let dir = cluster.path().display().to_string();
    let set = cluster.kluis(&["cluster", "vault-limits", me["vault_id"].as_str().unwrap(), "--strict", "true", "--dir", &dir]);
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    let answer = put().await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("Retry-After"));
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["code"], "write_unavailable");
}

/// What happens at a piece of a long transfer.
async fn events(cluster: &Cluster, piece: usize, pieces: usize) {
    if piece == pieces / 4 {
        println!("dc1 is killed at piece {piece}");
        cluster.kill_all(&cluster.nodes_of_site("dc1"));
    } else if piece == pieces / 2 {
        for id in cluster.nodes_of_site("dc1") {
            cluster.start_node(id);
        }
        for id in cluster.nodes_of_site("dc1") {
            cluster.wait_ready(id).await;
        }
        println!("dc1 is back at piece {piece}");
    } else if piece == pieces * 3 / 4 {
        println!("dc2 is killed at piece {piece}");
        cluster.kill_all(&cluster.nodes_of_site("dc2"));
    }
}

/// Waits until the load stored and read a good many documents more.
async fn more_of_both(cluster: &Cluster, load: &Load, when: &str) {
    let (puts, gets) = (load.puts(), load.gets());
    cluster.wait_until(&format!("documents are stored {when}"), 120, async || load.puts() >= puts + 30).await;
    cluster.wait_until(&format!("documents are read {when}"), 120, async || load.gets() >= gets + 30).await;
}

/// The leader of the metadata group that is alive, and its site.
async fn leader(cluster: &Cluster) -> (u64, String) {
    let mut found = None;
    cluster
        .wait_until("there is a leader", 60, async || {
            let status = cluster.status().await;
            let leader = status["metadata"]["leader"].as_u64().filter(|id| cluster.live_nodes().contains(id));
            found = leader.map(|id| (id, cluster.node(id).site));
            found.is_some()
        })
        .await;
    found.unwrap()
}

fn has_finding(status: &serde_json::Value, code: &str) -> bool {
    status["findings"].as_array().unwrap().iter().any(|finding| finding["code"] == code)
}
