//! Disks on real file systems fail as file systems do: they fill up, lose power, turn read-only, return I/O errors and
//! become slow. Documents go in and out all the time, and every acknowledged one is there to the last byte.
//!
//! Owns: one failing file system under a real cluster. Not: damage to files (`disk_damage.rs`).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use kluis_tests::{Api, Cluster, ClusterOptions, Load, LoopDisk, Report, content};

/// The node with the failing disk: no gateway, so that what it holds crosses the network.
const VICTIM: u64 = 5;
/// Two classes of code, and documents of one and of several chunks.
const SIZES: [usize; 3] = [300, 40 << 10, 3 << 20];
/// Without these, five shards of a chunk are left: the victim's are needed.
const OTHERS: [u64; 4] = [1, 2, 3, 4];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_disk_fills_up_and_documents_go_to_others() {
    // A disk leaves 64 MiB of its file system alone and takes 4 MiB at a time: a few such steps are left.
    let mut disk = LoopDisk::new(96);
    let (cluster, api) = small_segments();
    disk.mount();
    move_disk(&cluster, &disk).await;

    let load = Load::start(&api, 3, 1, &[3 << 20]);
    wait_for_finding(&cluster, "DISK_FULL", "the small disk is full").await;
    more_of_both(&cluster, &load, "beside a full disk").await;
    let report = load.stop().await;
    report.verify_all(&api).await;
    // A full disk still takes deletions.
    let gone = &report.acknowledged[0].id;
    api.once().delete(gone).await.expect("a document is deleted");
    assert_eq!(api.get(gone).await.unwrap_err().status, Some(404));
    assert!(cluster.live_nodes().contains(&VICTIM), "a process died of a full disk");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_disks_are_full_uploads_are_refused_and_deletions_work() {
    let mut disk = LoopDisk::new(200);
    let (cluster, api) = small_segments();
    disk.mount();
    for id in cluster.node_ids() {
        cluster.stop_node(id);
    }
    // All of them on one: what it has no room for, nobody has.
    disk.take_over(&cluster.path().join("disks"));
    for id in cluster.node_ids() {
        cluster.start_node(id);
    }
    for id in cluster.node_ids() {
        cluster.wait_ready(id).await;
    }

    let mut stored = Vec::new();
    cluster
        .wait_until("the cluster is full", 400, async || {
            let seed = stored.len() as u64;
            match api.once().put(&format!("document {seed}"), content(seed, 3 << 20)).await {
                Ok(doc) => stored.push((seed, doc.id)),
                Err(failure) if failure.code == "cluster_full" => {
                    assert_eq!(failure.status, Some(507), "{failure}");
                    return true;
                }
                // Disks fill up one after the other: meanwhile too few may be left for a rule.
                Err(failure) => assert_ne!(failure.status, Some(507), "{failure}"),
            }
            false
        })
        .await;
    println!("{} documents were stored before the cluster was full", stored.len());
    assert!(!stored.is_empty(), "nothing was stored");
    let (_, gone) = stored.swap_remove(0);
    api.once().delete(&gone).await.expect("a full cluster deletes");
    assert_eq!(api.get(&gone).await.unwrap_err().status, Some(404));
    for (seed, id) in &stored {
        assert!(api.get(id).await.unwrap() == content(*seed, 3 << 20), "document {seed} has other bytes");
    }
    assert_eq!(cluster.live_nodes(), cluster.node_ids(), "a process died of a full disk");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_loses_its_power_during_uploads_and_keeps_what_it_acknowledged() {
    let mut disk = LoopDisk::new(1024);
    let cluster = Cluster::start_with(ClusterOptions::eager());
    let api = Api::new(&cluster, cluster.sign_in(0));
    disk.mount();
    move_disk(&cluster, &disk).await;

    let load = Load::start(&api, 3, 1, &SIZES);
    more_of_both(&cluster, &load, "before anything happens").await;
    disk.cut_power();
    more_of_both(&cluster, &load, "without the disk").await;
    let report = load.stop().await;
    report.verify_all(&api).await;
    assert!(cluster.live_nodes().contains(&VICTIM), "a process died of a disk without power");

    cluster.kill(VICTIM);
    disk.unmount();
    disk.mount();
    cluster.start_node(VICTIM);
    cluster.wait_ready(VICTIM).await;
    report.verify_all(&api).await;
    needed(&cluster, &api, &report).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_turns_read_only_and_is_still_read() {
    let mut disk = LoopDisk::new(1024);
    let cluster = Cluster::start_with(ClusterOptions::eager());
    let api = Api::new(&cluster, cluster.sign_in(0));
    disk.mount();
    move_disk(&cluster, &disk).await;

    let load = Load::start(&api, 3, 1, &SIZES);
    more_of_both(&cluster, &load, "before anything happens").await;
    disk.make_read_only();
    wait_for_finding(&cluster, "DISK_READ_ONLY", "the read-only disk is named").await;
    more_of_both(&cluster, &load, "beside a read-only disk").await;
    let report = load.stop().await;
    report.verify_all(&api).await;

    cluster.stop_node(VICTIM);
    disk.unmount();
    disk.mount();
    cluster.start_node(VICTIM);
    cluster.wait_ready(VICTIM).await;
    needed(&cluster, &api, &report).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_failed_is_not_used_again_when_it_heals() {
    let mut disk = LoopDisk::new(1024);
    let cluster = Cluster::start_with(ClusterOptions::eager());
    let api = Api::new(&cluster, cluster.sign_in(0));
    disk.mount_filtered(0);
    move_disk(&cluster, &disk).await;

    let load = Load::start(&api, 3, 1, &SIZES);
    more_of_both(&cluster, &load, "before anything happens").await;
    disk.set_broken(true);
    wait_for_finding(&cluster, "DISK_FAILED", "the failed disk is named").await;
    more_of_both(&cluster, &load, "beside a failed disk").await;
    // From here on it would say that everything went well, also of what it dropped.
    disk.set_broken(false);
    more_of_both(&cluster, &load, "beside a disk that healed").await;
    let status = cluster.status().await;
    assert!(has_finding(&status, "DISK_FAILED"), "a disk that failed counts as sound again: {status}");
    let report = load.stop().await;
    assert!(cluster.live_nodes().contains(&VICTIM), "a process died of a failed disk");
    report.verify_all(&api).await;
    // An operator takes it out: its shards are made anew elsewhere; then its whole node and a site are not missed.
    let dir = cluster.path().display().to_string();
    let applied = cluster.kluis(&["cluster", "apply-topology", "--apply", "--dir", &dir]);
    assert!(applied.status.success(), "{}", kluis_tests::program::said(&applied));
    cluster.wait_settled().await;
    cluster.kill_all(&[1, 2, 3, VICTIM]);
    report.verify_all(&api).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_holds_nobody_up_for_good() {
    let mut disk = LoopDisk::new(1024);
    let cluster = Cluster::start_with(ClusterOptions::eager());
    let api = Api::new(&cluster, cluster.sign_in(0));
    // Without delay for the move, which is not what is tried here.
    disk.mount();
    move_disk(&cluster, &disk).await;
    cluster.stop_node(VICTIM);
    disk.unmount();
    disk.mount_filtered(100);
    cluster.start_node(VICTIM);
    cluster.wait_check(VICTIM, "quorum_read").await;

    let load = Load::start(&api, 3, 3, &SIZES);
    more_of_both(&cluster, &load, "beside a slow disk").await;
    more_of_both(&cluster, &load, "and go on").await;
    let report = load.stop().await;
    report.verify_all(&api).await;
    assert_eq!(cluster.live_nodes(), cluster.node_ids());
}

/// A cluster whose disks grow in small steps.
fn small_segments() -> (Cluster, Api) {
    let mut options = ClusterOptions::eager();
    options.env.push(("KLUIS_STORAGE_SEGMENT_BYTES".to_owned(), "4 MiB".to_owned()));
    let cluster = Cluster::start_with(options);
    let api = Api::new(&cluster, cluster.sign_in(0));
    (cluster, api)
}

/// Moves the victim's first disk to another file system, as an operator would.
async fn move_disk(cluster: &Cluster, disk: &LoopDisk) {
    cluster.stop_node(VICTIM);
    disk.take_over(&cluster.node(VICTIM).disks[0]);
    cluster.start_node(VICTIM);
    cluster.wait_ready(VICTIM).await;
    assert!(!has_finding(&cluster.status().await, "DISK_MISSING"), "the moved disk is not taken");
}

/// Everything is read with the victim's shards needed for it.
async fn needed(cluster: &Cluster, api: &Api, report: &Report) {
    cluster.wait_settled().await;
    cluster.kill_all(&OTHERS);
    report.verify_all(api).await;
}

async fn wait_for_finding(cluster: &Cluster, code: &str, what: &str) {
    cluster.wait_until(what, 180, async || has_finding(&cluster.status().await, code)).await;
}

/// Waits until the load stored and read a good many documents more.
async fn more_of_both(cluster: &Cluster, load: &Load, when: &str) {
    let (puts, gets) = (load.puts(), load.gets());
    cluster.wait_until(&format!("documents are stored {when}"), 180, async || load.puts() >= puts + 20).await;
    cluster.wait_until(&format!("documents are read {when}"), 180, async || load.gets() >= gets + 20).await;
}

fn has_finding(status: &serde_json::Value, code: &str) -> bool {
    status["findings"].as_array().unwrap().iter().any(|finding| finding["code"] == code)
}
