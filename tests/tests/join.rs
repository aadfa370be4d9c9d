//! Promise: a machine becomes a member only with a token that is good, once; nothing is written over; and a
//! copy of a member is no member.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/command.rs"]
mod command;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use command::{Running, assert_ended, free_address, run, said};
use kluis_chunkstore::ids::StorageId;
use kluis_node::member::{Card, identity_dir, metadata_dir};
use kluis_raft::{
    consensus::{Consensus, ConsensusOptions},
    store::rocks::RocksDatabases,
};
use kluis_tests::{Api, Cluster, content};
use serde_json::Value;

const PREFIX: &str = "kluis1.";

/// A new token of the cluster, with what is said about it.
fn issued(cluster: &Cluster, site: &str) -> Value {
    let dir = cluster.path().display().to_string();
    let made = cluster.kluis(&[
        "--output",
        "json",
        "node",
        "token",
        "create",
        "--site",
        site,
        "--roles",
        "metadata,chunk",
        "--lifetime",
        "1h",
        "--dir",
        &dir,
    ]);
    assert!(made.status.success(), "{}", said(&made));
    serde_json::from_slice(&made.stdout).unwrap()
}

/// A new token of the cluster.
fn token(cluster: &Cluster, site: &str) -> String {
    issued(cluster, site)["token"].as_str().unwrap().to_owned()
}

/// A token with something else in it.
fn altered(token: &str, change: impl FnOnce(&mut Value)) -> String {
    let json = BASE64_URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX).unwrap()).unwrap();
    let mut content: Value = serde_json::from_slice(&json).unwrap();
    change(&mut content);
    format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(content.to_string()))
}

/// A machine that wants to be a member.
struct Machine {
    dir: PathBuf,
    quic: String,
    admin: String,
}

impl Machine {
    fn new(root: &Path, name: &str) -> Self {
        let dir = root.join(name);
        fs::create_dir_all(&dir).unwrap();
        Self { dir, quic: free_address().to_string(), admin: free_address().to_string() }
    }

    fn node(&self) -> PathBuf {
        self.dir.join("node")
    }

    fn disks(&self) -> [String; 2] {
        ["d1", "d2"].map(|name| self.dir.join(name).display().to_string())
    }

    fn join(&self, token: &str) -> Output {
        let file = self.dir.join("token");
        fs::write(&file, token).unwrap();
        let (dir, file) = (self.node().display().to_string(), file.display().to_string());
        let disks = self.disks().join(",");
        run([
            "--output",
            "json",
            "node",
            "join",
            "--dir",
            &dir,
            "--token-file",
            &file,
            "--quic",
            &self.quic,
            "--admin",
            &self.admin,
            "--disks",
            &disks,
        ])
    }

    /// Nothing of a member is there: the next attempt starts from nothing.
    fn is_empty(&self) -> bool {
        !identity_dir(&self.node()).join("member.json").exists() && self.disks().iter().all(|disk| !Path::new(disk).join("label").exists())
    }

    fn config(&self) -> PathBuf {
        let [first, second] = self.disks();
        let text = format!(
            "[node]\ndir = {:?}\n[listen]\nquic = {:?}\nadmin = {:?}\n[disks]\npaths = [{first:?}, {second:?}]\nweight = 1\n[log]\nformat = \"json\"\n",
            self.node().display().to_string(),
            self.quic,
            self.admin
        );
        let file = self.dir.join("kluis.toml");
        fs::write(&file, text).unwrap();
        file
    }

    fn start(&self) -> Running {
        Running::start(&self.config(), &self.dir.join("log"))
    }
}

fn node_count(status: &Value) -> usize {
    status["nodes"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_refuses_tokens_that_are_used_foreign_forged_or_too_old() {
    let cluster = Cluster::start();
    let elsewhere = tempfile::tempdir().unwrap();
    let machine = |name: &str| Machine::new(elsewhere.path(), name);

    // One that is good, so that the refusals below are for what they say.
    let good = token(&cluster, "dc1");
    let tenth = machine("tenth");
    let joined = tenth.join(&good);
    assert_ended(&joined, 0, &[]);
    let member: Value = serde_json::from_slice(&joined.stdout).unwrap();
    assert_eq!((&member["node"], &member["site"]), (&Value::from(10), &Value::from("dc1")));

    let fresh = token(&cluster, "dc2");
    let foreign_authority = altered(&fresh, |content| {
        let env = kluis_node::assemble::real_env();
        let (authority, _) = kluis_node::ca::Authority::create(&env, "demo").unwrap();
        content["ca"] = authority.certificate_pem.into();
    });
    let cases: [(&str, String, i32, &str); 8] = [
        ("used", good, 4, "join_refused: the token is unknown, used or withdrawn"),
        (
            "forged",
            altered(&fresh, |content| content["secret"] = BASE64_URL_SAFE_NO_PAD.encode([7_u8; 32]).into()),
            4,
            "join_refused: the token is unknown",
        ),
        ("short", altered(&fresh, |content| content["secret"] = "AAAA".into()), 4, "join_refused: the token is unknown"),
        ("for-another-site", altered(&fresh, |content| content["site"] = "dc3".into()), 4, "join_refused: the token is for site dc2"),
        ("with-an-unknown-field", altered(&fresh, |content| content["role"] = "gateway".into()), 4, "join_refused: this is no join token"),
        ("garbage", "kluis1.!!!".to_owned(), 4, "join_refused: this is no join token"),
        ("empty", String::new(), 4, "join_refused: this is no join token"),
        // Whoever answers there is not the cluster of the token: nothing is said to it.
        ("of-another-authority", foreign_authority, 3, "does not answer"),
    ];
    for (what, token, code, text) in cases {
        let machine = machine(what);
        let refused = machine.join(&token);
        assert_eq!(refused.status.code(), Some(code), "{what}: {}", said(&refused));
        assert!(said(&refused).contains(text), "{what}: {}", said(&refused));
        assert!(machine.is_empty(), "{what} left something behind");
    }
    // The token that all forgeries were made from was not used up by them.
    assert_ended(&machine("eleventh").join(&fresh), 0, &[]);

    // Last, for it moves the clock of the whole cluster.
    let old = issued(&cluster, "dc3");
    cluster.advance_clock("2h").await;
    cluster
        .wait_until("the nodes' clocks to pass the token's end", 60, async || {
            // RFC 3339 in UTC: the order of the texts, to the second, is the order of the times.
            let status = cluster.status().await;
            status["cluster"]["time"].as_str().unwrap()[..19] > old["expires_at"].as_str().unwrap()[..19]
        })
        .await;
    let late = machine("late");
    assert_ended(&late.join(old["token"].as_str().unwrap()), 4, &["join_refused: the token"]);
    assert!(late.is_empty());
    assert_eq!(node_count(&cluster.status().await), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_takes_a_tenth_node_in_and_its_disks_into_use() {
    let cluster = Cluster::start();
    let api = Api::new(&cluster, cluster.sign_in(0));
    let before = content(1, 2_500_000);
    let old = api.put("before", before.clone()).await.unwrap();

    let elsewhere = tempfile::tempdir().unwrap();
    let machine = Machine::new(elsewhere.path(), "tenth");
    assert_ended(&machine.join(&token(&cluster, "dc2")), 0, &[]);
    let mut node = machine.start();
    let tenth = |status: &Value| status["nodes"].as_array().unwrap().iter().find(|n| n["id"] == 10).cloned();
    cluster
        .wait_until("the tenth node to be up, with a copy of the metadata", 120, async || {
            let status = cluster.status().await;
            let copies = status["metadata"]["voters"].as_u64().unwrap() + status["metadata"]["learners"].as_u64().unwrap();
            copies == 10 && tenth(&status).is_some_and(|n| n["up"] == true && n["site"] == "dc2")
        })
        .await;
    // Nine voters are enough: the tenth keeps a copy.
    assert_eq!(cluster.status().await["metadata"]["voters"], 9);

    let dir = cluster.path().display().to_string();
    let plan = |extra: &[&str]| -> Value {
        let args = [["--output", "json", "cluster", "apply-topology", "--dir", &dir].as_slice(), extra].concat();
        let output = cluster.kluis(&args);
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let version = async || cluster.status().await["cluster"]["topology_version"].as_u64().unwrap();
    let before_plan = version().await;
    let ours = |plan: &Value| plan["added"].as_array().unwrap().iter().filter(|disk| disk["node"] == 10).count();
    cluster.wait_until("both new disks to be announced", 120, async || ours(&plan(&[])) == 2).await;
    assert_eq!(version().await, before_plan, "a plan that is only shown changes nothing");
    let applied = plan(&["--apply"]);
    assert_eq!(ours(&applied), 2, "{applied}");
    assert_eq!(version().await, before_plan + 1);

    // New documents come to lie there too: each takes nine of now twenty disks.
    let mut stored = vec![(old.id, before)];
    cluster
        .wait_until("a shard on the tenth node", 120, async || {
            let seed = stored.len() as u64 + 1;
            let body = content(seed, 300_000);
            let document = api.put(&format!("after {seed}"), body.clone()).await.unwrap();
            stored.push((document.id, body));
            let status = cluster.status().await;
            let disks = tenth(&status).unwrap()["disks"].clone();
            disks.as_array().unwrap().iter().filter_map(|disk| disk["shards"].as_u64()).sum::<u64>() > 0
        })
        .await;
    for (id, body) in &stored {
        assert!(api.get(id).await.unwrap() == *body, "{id} changed");
    }
    assert!(node.is_running());
    assert!(node.stop().success(), "a node that is told to stop ends with 0");
    for (id, body) in &stored {
        assert!(api.get(id).await.unwrap() == *body, "{id} cannot be read without the tenth node");
    }
}

/// All files under a folder with their content.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn init_and_join_write_nothing_over() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name).display().to_string();
    let (quic, admin) = (free_address().to_string(), free_address().to_string());
    let init = |dir: &str, operator: &str, disks: &str| {
        let (dir, operator, disks) = (path(dir), path(operator), path(disks));
        run([
            "cluster",
            "init",
            "--name",
            "test",
            "--site",
            "dc1",
            "--dir",
            &dir,
            "--operator-dir",
            &operator,
            "--quic",
            &quic,
            "--admin",
            &admin,
            "--disks",
            &disks,
        ])
    };
    assert_ended(&init("node", "operator", "disk"), 0, &[]);
    let made = files(root.path());

    // The same directory, with everything else new.
    let refused = init("node", "operator-2", "disk-2");
    assert_ended(&refused, 4, &["is a member of a cluster already"]);
    assert!(!root.path().join("operator-2").exists() && !root.path().join("disk-2").exists());
    // A new directory, with a disk that is somebody's.
    let refused = init("node-2", "operator-3", "disk");
    assert_ne!(refused.status.code(), Some(0));
    assert!(said(&refused).contains("holds a disk already"), "{}", said(&refused));
    assert!(!root.path().join("node-2/identity/member.json").exists(), "half a member");
    let now = files(root.path());
    for (path, content) in &made {
        assert!(now.get(path) == Some(content), "{} was changed", path.display());
    }
    // Nor can the directory of a member join again, whatever the token.
    let token = root.path().join("token");
    let content = serde_json::json!({ "admin": admin, "ca": "", "site": "dc1", "secret": "" });
    fs::write(&token, format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(content.to_string()))).unwrap();
    let (dir, token) = (path("node"), token.display().to_string());
    let refused = run(["node", "join", "--dir", &dir, "--token-file", &token, "--quic", &quic, "--admin", &admin]);
    assert_ended(&refused, 4, &["is a member of a cluster already"]);
    assert!(files(&identity_dir(Path::new(&dir))).keys().all(|path| made.contains_key(path)));
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_does_not_take_a_copy_of_a_member_for_it() {
    let cluster = Cluster::start();
    let api = Api::new(&cluster, cluster.sign_in(0));
    let body = content(5, 700_000);
    let document = api.put("before", body.clone()).await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let machine = Machine::new(elsewhere.path(), "copy");
    let copy = identity_dir(&machine.node());
    fs::create_dir_all(&copy).unwrap();
    for (path, content) in files(&identity_dir(&cluster.node(2).dir)) {
        fs::write(copy.join(path.file_name().unwrap()), content).unwrap();
    }

    // The identity alone: it has no storage, and says so.
    let mut bare = machine.start();
    assert_eq!(bare.ended().code(), Some(4), "{}", bare.log());
    assert!(bare.log().contains("storage_lost"), "{}", bare.log());
    drop(bare);

    // With a storage of its own, and knowing all members: every one of them refuses it.
    let read = |dir: &Path| -> Card { serde_json::from_slice(&fs::read(dir.join("member.json")).unwrap()).unwrap() };
    let latest = read(&identity_dir(&cluster.node(9).dir));
    let card = Card { storage: StorageId(0xc0ffee), first_peers: latest.first_peers, ..read(&copy) };
    fs::write(copy.join("member.json"), serde_json::to_vec(&card).unwrap()).unwrap();
    let meta = metadata_dir(&machine.node());
    Consensus::create(&RocksDatabases, &ConsensusOptions::new(card.node, card.storage, card.cluster, meta)).unwrap();
    let mut impostor = machine.start();
    impostor.wait_for_line("a refusal by a peer", |line| line.contains("storage_id_mismatch"));

    // The real one is what it was, and so is the cluster.
    let status = cluster.status().await;
    let nodes = status["nodes"].as_array().unwrap();
    assert!(nodes.len() == 9 && nodes.iter().all(|n| n["up"] == true), "{status}");
    cluster.wait_ready(2).await;
    assert!(api.get(&document.id).await.unwrap() == body);
    let after = api.put("after", body.clone()).await.unwrap();
    assert!(api.get(&after.id).await.unwrap() == body);
    let real = nodes.iter().find(|n| n["id"] == 2).unwrap();
    assert_ne!(real["quic"].as_str().unwrap(), machine.quic, "the copy did not move the real one");
    assert!(impostor.is_running(), "a node that is refused goes on asking");
}
