//! A cluster whose master key is in an HSM: documents go round through all gateways and outlive a restart of every
//! node; while the HSM is away a gateway says so with its code, and goes on by itself when it is back.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use kluis_tests::{
    Api, Cluster, ClusterOptions, content,
    program::{run, said},
};

const LIBRARIES: [&str; 2] = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"];
const PIN: &str = "4711-0815";

/// SoftHSM with one token, that all gateways share.
struct Hsm {
    dir: tempfile::TempDir,
}

impl Hsm {
    /// A token with a key in it, made as an operator does.
    fn new() -> Self {
        let hsm = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(hsm.tokens()).unwrap();
        let config = format!("directories.tokendir = {}\nobjectstore.backend = file\n", hsm.tokens().display());
        fs::write(hsm.path("softhsm2.conf"), config).unwrap();
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", "kluis", "--so-pin", "12345678", "--pin", PIN])
            .envs(hsm.variables())
            .output()
            .expect("softhsm2-util cannot be run; deploy/setup.sh installs it");
        assert!(made.status.success(), "{}", said(&made));
        fs::write(hsm.path("pin"), format!("{PIN}\n")).unwrap();
        fs::set_permissions(hsm.path("pin"), fs::Permissions::from_mode(0o600)).unwrap();
        let made = hsm.create_key();
        assert!(made.status.success(), "{}", said(&made));
        let again = hsm.create_key();
        assert_eq!(again.status.code(), Some(4), "a key is never made twice: {}", said(&again));
        hsm
    }

    fn create_key(&self) -> Output {
        let (module, pin) = (module().display().to_string(), self.path("pin").display().to_string());
        let variables = self.variables();
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let place = ["--pkcs11-module", module.as_str(), "--token-label", "kluis", "--pin-file", pin.as_str(), "--key-label", "master"];
        run(&[&["key", "create"][..], &place[..]].concat(), &variables, Duration::from_secs(60))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn tokens(&self) -> PathBuf {
        self.path("tokens")
    }

    /// What SoftHSM reads.
    fn variables(&self) -> Vec<(String, String)> {
        vec![("SOFTHSM2_CONF".to_owned(), self.path("softhsm2.conf").display().to_string())]
    }

    /// What a gateway's configuration says.
    fn settings(&self) -> Vec<(String, String)> {
        let settings = [
            ("KLUIS_KEYS_MASTER", "pkcs11".to_owned()),
            ("KLUIS_KEYS_MODULE", module().display().to_string()),
            ("KLUIS_KEYS_TOKEN_LABEL", "kluis".to_owned()),
            ("KLUIS_KEYS_PIN_FILE", self.path("pin").display().to_string()),
            ("KLUIS_KEYS_KEY_LABEL", "master".to_owned()),
        ];
        settings.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    fn take_away(&self) {
        fs::rename(self.tokens(), self.path("away")).unwrap();
    }

    fn bring_back(&self) {
        fs::rename(self.path("away"), self.tokens()).unwrap();
    }
}

fn module() -> PathBuf {
    let found = LIBRARIES.iter().map(PathBuf::from).find(|path| path.exists());
    found.expect("SoftHSM's library is missing; deploy/setup.sh installs it")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_its_master_key_in_an_hsm_keeps_documents_and_outlives_the_hsms_absence() {
    let hsm = Hsm::new();
    let cluster = Cluster::start_with(ClusterOptions {
        nodes_per_site: 1,
        disks_per_node: 3,
        env: hsm.settings(),
        variables: hsm.variables(),
        ..ClusterOptions::default()
    });
    for id in cluster.node_ids() {
        assert!(!cluster.log(id).contains("the master key is a file"), "n{id} has another master key");
    }
    let api = Api::new(&cluster, cluster.sign_in(0));
    let body = content(1, (2 << 20) + 1);
    let doc = api.at(0).put("in the HSM's care", body.clone()).await.unwrap();
    for gateway in [1, 2] {
        assert!(api.at(gateway).get(&doc.id).await.unwrap() == body, "other bytes at gateway {gateway}");
    }

    println!("every node is started again: no key is in memory any more");
    for id in cluster.node_ids() {
        cluster.stop_node(id);
    }
    for id in cluster.node_ids() {
        cluster.start_node(id);
    }
    let client = cluster.client();
    for site in 0..cluster.gateway_count() {
        let address = format!("{}/readyz", cluster.gateway(site));
        cluster
            .wait_until("the gateway serves", 120, async || client.get(&address).send().await.is_ok_and(|a| a.status().is_success()))
            .await;
    }
    let pids: Vec<u32> = cluster.node_ids().into_iter().map(|id| cluster.node(id).pid).collect();
    assert!(api.at(0).get(&doc.id).await.unwrap() == body, "other bytes after a restart");

    println!("the HSM is away");
    hsm.take_away();
    for _ in 0..2 {
        let failure = api.at(1).once().get(&doc.id).await.expect_err("nobody can open a vault without the master key");
        assert_eq!((failure.status, failure.code.as_str()), (Some(503), "kek_unavailable"), "{failure}");
        let failure = api.at(2).once().put("refused", content(2, 100)).await.expect_err("nothing can be sealed");
        assert_eq!((failure.status, failure.code.as_str()), (Some(503), "kek_unavailable"), "{failure}");
    }
    let refused = sign_in(&cluster, 1);
    assert!(!refused.status.success() && said(&refused).contains("kek_unavailable"), "{}", said(&refused));
    assert!(api.at(0).get(&doc.id).await.unwrap() == body, "a vault that is open here stays open for a while");

    println!("the HSM is back");
    hsm.bring_back();
    for gateway in [1, 2] {
        assert!(api.at(gateway).get(&doc.id).await.unwrap() == body, "other bytes at gateway {gateway}");
    }
    let mut signed_in = None;
    cluster
        .wait_until("people can sign in again", 60, async || {
            let output = sign_in(&cluster, 1);
            signed_in = output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned());
            signed_in.is_some()
        })
        .await;
    let other = Api::new(&cluster, signed_in.unwrap());
    let theirs = other.at(2).put("theirs", content(3, 40_000)).await.unwrap();
    assert!(other.at(1).get(&theirs.id).await.unwrap() == content(3, 40_000));
    let listed: Vec<String> = api.at(2).list().await.unwrap().into_iter().map(|doc| doc.name).collect();
    assert_eq!(listed, ["in the HSM's care"], "what was refused left nothing");
    let now: Vec<u32> = cluster.node_ids().into_iter().map(|id| cluster.node(id).pid).collect();
    assert_eq!(now, pids, "no node was started again");
    assert_eq!(cluster.live_nodes(), cluster.node_ids());
}

/// The real flow; it may be refused.
fn sign_in(cluster: &Cluster, person: usize) -> Output {
    let dir = cluster.path().display().to_string();
    cluster.kluis(&["demo", "sign-in", "--dir", &dir, &cluster.national_number(person)])
}
