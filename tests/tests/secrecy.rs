//! What people store, and what opens it, is found nowhere but where it must be: not on disks, in metadata, in
//! logs, in metrics or in a status.
//!
//! Owns: searching everything that a cluster writes for bytes that must not be there. Not: memory of processes.
//! Holds: the search finds what was put before its eyes, or it would show nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kluis_tests::{Api, Cluster, ClusterOptions};

/// In names and contents of all documents.
const MARKER: &str = "marker-of-the-search-Zq7";
/// Bytes that are searched at once.
const BLOCK_BYTES: usize = 1 << 20;

/// Something that must not be found.
struct Needle {
    what: String,
    bytes: Vec<u8>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_stored_or_secret_lies_about() {
    let env = vec![("KLUIS_STORAGE_SEGMENT_BYTES".to_owned(), "16 MiB".to_owned())];
    let cluster = Cluster::start_with(ClusterOptions { nodes_per_site: 1, disks_per_node: 3, env, ..ClusterOptions::default() });
    let token = cluster.sign_in(0);
    let api = Api::new(&cluster, token.as_str());
    let mut documents = Vec::new();
    // Of both classes, and of several chunks.
    for len in [100, 10_000, 100_000, 2_500_000] {
        let body = MARKER.bytes().cycle().take(len).collect::<Vec<u8>>();
        let doc = api.put(&format!("{MARKER} {len}"), body.clone()).await.unwrap();
        assert!(api.get(&doc.id).await.unwrap() == body);
        documents.push(doc);
    }
    let listed = api.list().await.unwrap();
    assert!(listed.iter().all(|doc| doc.name.starts_with(MARKER)), "its owner sees the names: {listed:?}");
    // A refusal that speaks of the name, a token that is none, a document that is gone.
    assert!(api.put(&format!("{MARKER}\u{7}"), MARKER).await.is_err());
    assert!(Api::new(&cluster, MARKER).list().await.is_err());
    api.delete(&documents[0].id).await.unwrap();

    let needles = needles(&cluster, &token);
    let mut found = Vec::new();
    for node in cluster.node_ids() {
        let node = cluster.node(node);
        let metrics = cluster.client().get(format!("{}/metrics", node.admin)).send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("kluis_disk_shards"), "{metrics}");
        found.extend(search(metrics.as_bytes(), &needles).into_iter().map(|what| format!("metrics of n{}: {what}", node.id)));
    }
    let status = cluster.status().await.to_string();
    found.extend(search(status.as_bytes(), &needles).into_iter().map(|what| format!("status: {what}")));

    // In order, so that everything is in files.
    for node in cluster.node_ids() {
        cluster.stop_node(node);
    }
    let mut files = Vec::new();
    for dir in ["nodes", "disks"] {
        collect(&cluster.path().join(dir), &mut files);
    }
    // What a demo says at its start: it lists its made-up people, for whoever tries it out. Nothing else may be there.
    let announcement = cluster.path().join("supervisor.log");
    let others = search_file(&announcement, &needles).into_iter().filter(|what| !what.starts_with("a national number"));
    found.extend(others.map(|what| format!("{}: {what}", announcement.display())));
    let planted = cluster.path().join("nodes").join("planted");
    fs::write(&planted, [&vec![0; BLOCK_BYTES - 5][..], MARKER.as_bytes()].concat()).unwrap();
    assert_eq!(search_file(&planted, &needles), [needles[0].what.as_str()], "the search is blind");
    let (mut bytes, mut logs, mut segments) = (0, 0, 0);
    for file in &files {
        bytes += file.metadata().map_or(0, |metadata| metadata.len());
        logs += usize::from(file.ends_with("log"));
        segments += usize::from(file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("segment-")));
        found.extend(search_file(file, &needles).into_iter().map(|what| format!("{}: {what}", file.display())));
    }
    println!("{} files, {bytes} bytes, {logs} logs, {segments} segments; {} needles", files.len(), needles.len());
    assert!(logs >= 3 && segments >= 9, "the places that matter were not searched: {files:?}");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What must not be found: documents, the person, the token, the keys that open everything.
fn needles(cluster: &Cluster, token: &str) -> Vec<Needle> {
    let needle = |what: &str, bytes: &[u8]| Needle { what: what.to_owned(), bytes: bytes.to_vec() };
    let mut needles = vec![needle("a document or its name", MARKER.as_bytes()), needle("a bearer token", token.as_bytes())];
    needles.push(needle("a national number", cluster.national_number(0).as_bytes()));
    let digits: String = cluster.national_number(0).chars().filter(char::is_ascii_digit).collect();
    needles.push(needle("a national number's digits", digits.as_bytes()));
    let master = fs::read_to_string(cluster.path().join("keys").join("master")).expect("a demo has its master key in a file");
    for line in master.lines().filter(|line| line.starts_with("generation ")) {
        let text = line.rsplit(' ').next().unwrap();
        let key = URL_SAFE_NO_PAD.decode(text).expect("the key file's form is known");
        assert_eq!(key.len(), 32);
        needles.push(needle("the master key as text", text.as_bytes()));
        needles.push(needle("the master key in hexadecimal", hex::encode(&key).as_bytes()));
        needles.push(needle("the master key", &key));
    }
    assert!(needles.len() >= 7, "no generation of the master key was found");
    needles
}

/// Everything below a directory that is a file.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.is_file() {
            files.push(path);
        }
    }
}

/// What of the needles is in a file. Blocks overlap, so that a cut hides nothing.
fn search_file(path: &Path, needles: &[Needle]) -> Vec<String> {
    let Ok(mut file) = File::open(path) else { return Vec::new() };
    let overlap = needles.iter().map(|needle| needle.bytes.len()).max().unwrap_or(0);
    let (mut window, mut found) = (Vec::new(), Vec::new());
    loop {
        let kept = window.len().saturating_sub(overlap);
        window.drain(..kept);
        let before = window.len();
        if file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut window).unwrap() == 0 {
            break;
        }
        // Segments are mostly zeros that nothing was written to yet.
        if window[before..].iter().any(|byte| *byte != 0) {
            found.extend(search(&window, needles));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// What of the needles is in `bytes`.
fn search(bytes: &[u8], needles: &[Needle]) -> Vec<String> {
    let starts: Vec<bool> = (0..=u8::MAX).map(|byte| needles.iter().any(|needle| needle.bytes[0] == byte)).collect();
    let mut found = Vec::new();
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| starts[usize::from(**byte)]) {
        for needle in needles.iter().filter(|needle| bytes[at..].starts_with(&needle.bytes)) {
            if !found.contains(&needle.what) {
                found.push(needle.what.clone());
            }
        }
    }
    found
}
