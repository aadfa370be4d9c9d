//! Promise: an owner sees what happened, can prove it to anybody without the service, and no replica tells another story.
//!
//! Owns: the history and the log through a running cluster. Not: the tree and its formats (beside their code).
//! The judges are two: `kluis verify proof`, and a verifier in Python that shares no code with us.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use kluis_tests::{
    Api, Cluster, ClusterOptions, content,
    program::{run, said},
};
use reqwest::{Method, StatusCode};
use serde_json::Value;

fn cluster() -> Cluster {
    Cluster::start_with(ClusterOptions { nodes_per_site: 1, disks_per_node: 3, ..ClusterOptions::default() })
}

async fn text(cluster: &Cluster, gateway: usize, path: &str) -> Option<String> {
    let answer = cluster.client().get(format!("{}{path}", cluster.gateway(gateway))).send().await.ok()?;
    if answer.status().is_success() { answer.text().await.ok() } else { None }
}

async fn json(api: &Api, gateway: usize, path: &str) -> Value {
    let answer = api.request(Method::GET, gateway, path).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.json().await.unwrap()
}

fn events(page: &Value) -> Vec<String> {
    page["events"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
}

/// Size and root of a checkpoint.
fn stand(checkpoint: &str) -> (u64, String) {
    let mut lines = checkpoint.lines().skip(1);
    (lines.next().unwrap().parse().unwrap(), lines.next().unwrap().to_owned())
}

fn by_kluis(file: &Path, key: &str) -> Output {
    run(&["verify", "proof", &file.display().to_string(), "--key", key], &[], Duration::from_secs(60))
}

fn by_python(file: &Path, key: &str) -> Output {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/history/verify.py");
    Command::new("python3").arg(script).arg(file).arg(key).output().expect("python3 cannot be run; deploy/setup.sh installs it")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_sees_what_happened_and_can_prove_it_without_the_service() {
    let cluster = cluster();
    let api = Api::new(&cluster, cluster.sign_in(0));
    let stranger = Api::new(&cluster, cluster.sign_in(1));
    let doc = api.put("will.pdf", content(1, 3 << 20)).await.unwrap();
    assert_eq!(api.get(&doc.id).await.unwrap(), content(1, 3 << 20));

    let history = format!("/v1/documents/{}/history", doc.id);
    cluster.wait_until("the read is in the history", 60, async || events(&json(&api, 0, &history).await).len() >= 2).await;
    let page = json(&api, 1, &history).await;
    assert_eq!(events(&page), ["document.read", "document.uploaded"], "one event for a download of several chunks");
    for event in page["events"].as_array().unwrap() {
        assert_eq!(event["own"], true, "{event}");
        assert_eq!(event["from"], "127.0.0.1", "{event}");
        assert_eq!(event["name"], "will.pdf", "{event}");
    }

    api.delete(&doc.id).await.unwrap();
    assert_eq!(events(&json(&api, 2, &history).await)[0], "document.erased", "the history outlives the document");
    let all = json(&api, 0, "/v1/me/history?limit=2").await;
    assert_eq!(events(&all), ["document.erased", "document.read"]);
    let next = format!("/v1/me/history?limit=2&cursor={}", all["next"].as_str().unwrap());
    assert_eq!(events(&json(&api, 1, &next).await), ["document.uploaded", "session.began"]);

    // Another person sees nothing of it, not even that there is something.
    for path in [history.clone(), format!("/v1/documents/{}/proofs", doc.id)] {
        assert_eq!(stranger.request(Method::GET, 0, &path).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    }
    assert!(!json(&stranger, 0, "/v1/me/history").await.to_string().contains(&doc.id));

    println!("a checkpoint covers all of it, and it is the same everywhere");
    let last = json(&api, 0, &history).await["events"][0]["log_index"].as_u64().unwrap();
    let mut checkpoints = Vec::new();
    for gateway in 0..cluster.gateway_count() {
        let mut found = String::new();
        cluster
            .wait_until("the checkpoint advances", 120, async || {
                found = text(&cluster, gateway, "/v1/log/checkpoint").await.unwrap_or_default();
                !found.is_empty() && stand(&found).0 > last
            })
            .await;
        checkpoints.push(stand(&found));
    }
    for (size, root) in &checkpoints {
        let same = checkpoints.iter().filter(|(other, _)| other == size).all(|(_, other)| other == root);
        assert!(same, "two roots of one size: {checkpoints:?}");
    }

    println!("proofs are verified by two programs that need no cluster");
    let key = text(&cluster, 0, "/v1/log/key").await.unwrap().trim().to_owned();
    assert_eq!(text(&cluster, 1, "/v1/log/key").await.unwrap().trim(), key);
    let proofs = json(&api, 1, &format!("/v1/documents/{}/proofs", doc.id)).await;
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for proof in proofs["proofs"].as_array().unwrap() {
        let file = dir.path().join(format!("{}.tlog-proof", proof["log_index"]));
        std::fs::write(&file, proof["proof"].as_str().unwrap()).unwrap();
        files.push((file, proof["event"].as_str().unwrap().to_owned()));
    }
    assert_eq!(files.len(), 3);
    let first = files[0].0.clone();
    drop(cluster);
    for (file, event) in &files {
        let told = by_kluis(file, &key);
        assert!(told.status.success() && said(&told).contains(event.as_str()), "{}", said(&told));
        let told = by_python(file, &key);
        assert!(told.status.success() && String::from_utf8_lossy(&told.stdout).trim() == event, "{}", said(&told));
    }

    println!("a flipped byte anywhere is refused by both");
    let whole = std::fs::read(&first).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 12) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        let file = dir.path().join("flipped");
        std::fs::write(&file, bytes).unwrap();
        assert!(!by_kluis(&file, &key).status.success(), "byte {at}");
        assert!(!by_python(&file, &key).status.success(), "byte {at}");
    }
    let unsigned = run(&["verify", "proof", &first.display().to_string()], &[], Duration::from_secs(60));
    assert_eq!(unsigned.status.code(), Some(4), "without a key nobody knows who signed: {}", said(&unsigned));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auditors_find_the_tree_as_tiles() {
    let cluster = cluster();
    let api = Api::new(&cluster, cluster.sign_in(0));
    api.put("a", content(1, 10)).await.unwrap();
    let client = cluster.client();
    let fetch = async |path: &str| client.get(format!("{}{path}", cluster.gateway(0))).send().await.unwrap();
    let hashes = fetch("/v1/log/tile/0/000.p/2").await;
    assert_eq!(hashes.status(), StatusCode::OK);
    let hashes = hashes.bytes().await.unwrap();
    let entries = fetch("/v1/log/tile/entries/000.p/2").await.bytes().await.unwrap();
    assert_eq!(hashes.len(), 64);
    let mut rest = &entries[..];
    for hash in hashes.chunks(32) {
        let (len, after) = rest.split_first_chunk::<2>().unwrap();
        let (entry, after) = after.split_at(u16::from_be_bytes(*len).into());
        assert_eq!(kluis_raft::log::merkle::leaf_hash(entry)[..], *hash);
        rest = after;
    }
    assert!(rest.is_empty());
    for path in ["/v1/log/tile/0/000", "/v1/log/tile/0/x000/000", "/v1/log/tile/9/000.p/1", "/v1/log/proof?index=999999"] {
        assert_eq!(fetch(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}
