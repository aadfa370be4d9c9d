//! Promise: any disk may fail, fill up or turn read-only: nothing acknowledged is lost and uploads go on.
//!
//! Owns: what the cluster makes of a faulty disk. Not: what a single disk does (`chunkstore::disk`), disks that
//! are damaged behind the back of a process (`disk_damage`).
//! Holds: all nodes run in this process from their production parts; only the file system lies, and only
//! where it is told to. Reading order: [`local`], then the tests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod local;

use std::{fs, ops::Bound, path::PathBuf};

use kluis_chunkstore::{
    disk::{Disk, DiskError, DiskState, fault::Call},
    ids::ShardKey,
};
use kluis_gateway::ports::BytesError;
use kluis_node::status::DiskCondition;
use rustix::io::Errno;
use tokio::time::sleep;

use local::{DISKS, LOOK_EVERY, LOOKS, Local, SITES, disk_options, patiently};

/// Bytes of a chunk: a quarter of it is a shard, and a few of those fill a segment.
const CHUNK: usize = 300_000;

/// All shards that a disk holds.
fn shards(disk: &Disk) -> Vec<ShardKey> {
    disk.list(Bound::Unbounded, 100_000).into_iter().map(|(key, _)| key).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cluster_a_disk_that_fails_its_sync_is_out_of_use_until_it_is_cleared() {
    let mut local = Local::start().await;
    for _ in 0..10 {
        local.put_well(0, CHUNK).await;
    }
    // A disk of the node that writes, and one of another site: both ways to a disk.
    let failed = [(0, 0), (1, 0)];
    for (node, disk) in failed {
        let (open, faults) = (local.nodes[node].disk(disk), local.nodes[node].faults(disk).clone());
        faults.fail_nth(Some(Call::Sync), 1, Errno::IO.raw_os_error());
        local.put_until(0, CHUNK, &open, |state| matches!(state, DiskState::Failed { .. })).await;
        let note = local.nodes[node].dir(disk).join("failed");
        patiently("the failure is noted on the disk", async || fs::read(&note).ok().filter(|n| !n.is_empty())).await;
        faults.heal();
    }

    // Never used again, though its file system works again.
    let calls = |local: &Local| {
        failed.map(|(node, disk)| {
            let faults = local.nodes[node].faults(disk);
            [Call::Write, Call::Create, Call::Allocate].map(|call| faults.calls_of(call))
        })
    };
    let before = calls(&local);
    for by in [0, 1, 2] {
        for _ in 0..10 {
            local.put_well(by, CHUNK).await;
        }
    }
    assert_eq!(calls(&local), before, "a failed disk is written to");
    for (node, disk) in failed {
        let open = local.nodes[node].disk(disk);
        assert!(matches!(open.state(), DiskState::Failed { reason } if reason.contains("sync")), "{:?}", open.state());
        for key in shards(&open) {
            assert!(open.get(key).await.unwrap().is_some(), "what was synced before is read on");
        }
    }
    for by in 0..SITES.len() {
        local.read_all(by).await;
    }

    // Operators see which disks it is, and the next topology does without them.
    let paths: Vec<PathBuf> = failed.iter().map(|(node, disk)| local.nodes[*node].dir(*disk).to_owned()).collect();
    let status = patiently("the status names both", async || {
        let status = local.admin.status().await.ok()?;
        let named =
            |path: &PathBuf| status.findings.iter().any(|f| f.code == "DISK_FAILED" && f.text.contains(&path.display().to_string()));
        paths.iter().all(named).then_some(status)
    })
    .await;
    let seen = status.nodes.iter().flat_map(|n| &n.disks).filter(|d| d.state == DiskCondition::Failed).count();
    assert_eq!(seen, failed.len(), "{status:?}");
    let plan = patiently("a plan", async || local.admin.plan_topology().await.ok()).await;
    let mut removed: Vec<_> = plan.removed.iter().map(|d| d.disk).collect();
    let mut wanted: Vec<_> = failed.iter().map(|(node, disk)| local.nodes[*node].disk(*disk).label().disk).collect();
    removed.sort();
    wanted.sort();
    assert_eq!((removed, plan.refused), (wanted, None));

    // The failure outlives the process; an operator's word ends it.
    let (env, dir, label) = (local.nodes[0].env.clone(), local.nodes[0].dir(0).to_owned(), *local.nodes[0].disk(0).label());
    let _files = local.stop().await;
    let disk = Disk::open(&env, &dir, &label, disk_options()).await.unwrap();
    assert!(matches!(disk.state(), DiskState::Failed { .. }), "{:?}", disk.state());
    let key = shards(&disk)[0];
    let shard = disk.get(key).await.unwrap().unwrap();
    let other = ShardKey { shard: key.shard ^ 1, ..key };
    assert!(matches!(disk.put(other, shard.clone()).await, Err(DiskError::Failed { .. })));
    disk.close().await;
    Disk::clear_failure(&env, &dir).await.unwrap();
    let disk = Disk::open(&env, &dir, &label, disk_options()).await.unwrap();
    assert_eq!(disk.state(), DiskState::Active);
    disk.put(other, shard.clone()).await.unwrap();
    assert_eq!(disk.get(key).await.unwrap(), Some(shard));
    disk.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cluster_full_disks_refuse_and_delete_and_come_back() {
    let mut local = Local::start().await;
    for _ in 0..10 {
        local.put_well(0, CHUNK).await;
    }
    let (disk, faults) = (local.nodes[1].disk(2), local.nodes[1].faults(2).clone());
    faults.full(true);
    local.put_until(0, CHUNK, &disk, |state| *state == DiskState::Full).await;
    for _ in 0..20 {
        local.put_well(2, CHUNK).await;
    }
    local.read_all(0).await;
    let found = patiently("the status names it", async || {
        let status = local.admin.status().await.ok()?;
        let path = local.nodes[1].dir(2).display().to_string();
        status.findings.into_iter().find(|f| f.code == "DISK_FULL" && f.text.contains(&path))
    });
    found.await;

    for (_, faults) in local.all_disks() {
        faults.full(true);
    }
    let mut refused = None;
    for _ in 0..LOOKS {
        match local.put(0, CHUNK).await {
            Ok(()) => {}
            Err(BytesError::Full) => {
                refused = Some(BytesError::Full);
                break;
            }
            // Disks that refused a moment ago are not asked again at once: then it is only known that too few take it.
            Err(BytesError::WriteUnavailable { .. }) => sleep(LOOK_EVERY).await,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(refused, Some(BytesError::Full), "a full cluster says that it is full");
    for by in 0..SITES.len() {
        local.read_all(by).await;
    }

    // Deleting is the way out of a full cluster.
    let doomed = local.stored.remove(0);
    let mut deleted = 0;
    for (disk, _) in local.all_disks() {
        let keys: Vec<ShardKey> = shards(&disk).into_iter().filter(|key| key.chunk == doomed.chunk).collect();
        deleted += keys.len();
        disk.delete(keys.clone()).await.unwrap();
        assert!(keys.iter().all(|key| !disk.contains(*key)));
    }
    assert!(deleted >= 7, "only {deleted} shards were there");
    assert!(matches!(local.read(0, &doomed).await, Err(BytesError::NotEnoughShards { have: 0, .. })));
    local.read_all(1).await;

    local.heal();
    for round in 0..LOOKS {
        let _ = local.put(0, CHUNK).await;
        if local.all_disks().iter().all(|(disk, _)| disk.state() == DiskState::Active) {
            break;
        }
        assert!(round + 1 < LOOKS, "not every disk works again");
        sleep(LOOK_EVERY).await;
    }
    patiently("chunks are stored in full again", async || {
        local.put(0, CHUNK).await.ok()?;
        local.stored.last().is_some_and(|stored| !stored.reduced).then_some(())
    })
    .await;
    local.read_all(2).await;
    local.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cluster_a_read_only_disk_reads_on_and_others_take_the_writes() {
    let mut local = Local::start().await;
    for _ in 0..10 {
        local.put_well(0, CHUNK).await;
    }
    let (disk, faults) = (local.nodes[2].disk(1), local.nodes[2].faults(1).clone());
    let held = shards(&disk);
    assert!(!held.is_empty());
    faults.read_only(true);
    local.put_until(0, CHUNK, &disk, |state| *state == DiskState::ReadOnly).await;
    let writes = shards(&disk).len();
    for _ in 0..20 {
        local.put_well(1, CHUNK).await;
    }
    assert_eq!(shards(&disk).len(), writes, "a read-only disk took a shard");
    for key in &held {
        assert!(disk.get(*key).await.unwrap().is_some());
    }
    for by in 0..SITES.len() {
        local.read_all(by).await;
    }
    let found = patiently("the status names it", async || {
        let status = local.admin.status().await.ok()?;
        let path = local.nodes[2].dir(1).display().to_string();
        status.findings.into_iter().find(|f| f.code == "DISK_READ_ONLY" && f.text.contains(&path))
    });
    found.await;
    faults.read_only(false);
    local.put_until(0, CHUNK, &disk, |state| *state == DiskState::Active).await;
    local.read_all(0).await;
    local.stop().await;
}

/// The n-th call to the files of a disk fails, for each n from a new write on to well behind the begin of a new
/// segment: what is acknowledged meanwhile survives that, and the loss of a site on top.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cluster_any_call_may_fail_and_what_is_acknowledged_is_read() {
    let mut local = Local::start().await;
    // These pass: no space and read-only are states.
    for (turn, n) in (1..=16).enumerate() {
        for errno in [Errno::NOSPC, Errno::ROFS] {
            strike(&mut local, turn % SITES.len(), turn / SITES.len() % DISKS, n, errno).await;
            local.heal();
        }
    }
    // These last: of each node one disk is lost, which leaves a site as many as the code needs.
    for (node, n) in [1, 2, 5].into_iter().enumerate() {
        strike(&mut local, node, 3, n, Errno::IO).await;
        local.heal();
    }
    for by in 0..SITES.len() {
        local.read_all(by).await;
    }
    assert!(local.stored.iter().filter(|s| !s.reduced).count() * 2 > local.stored.len(), "few chunks were stored in full");

    // Whatever was acknowledged in full outlives a site.
    let gone = local.nodes.pop().unwrap();
    gone.node.stop().await;
    for by in 0..local.nodes.len() {
        for stored in local.stored.iter().filter(|s| !s.reduced) {
            local.same(by, stored).await;
        }
    }
    local.stop().await;
}

/// Has the `n`-th call to a disk fail, stores chunks until it did, and then until one is stored in full.
async fn strike(local: &mut Local, node: usize, disk: usize, n: u64, errno: Errno) {
    let (by, faults) = ((node + 1) % SITES.len(), local.nodes[node].faults(disk).clone());
    let before = faults.calls();
    faults.fail_nth(None, n, errno.raw_os_error());
    patiently("the call comes", async || {
        offer(local, by).await;
        (faults.calls() - before >= n).then_some(())
    })
    .await;
    patiently("a chunk is stored in full again", async || offer(local, by).await.then_some(())).await;
}

/// Offers a chunk; whether it was stored in full. Disks that refused a moment ago are left alone for a
/// while, so several strikes in a row may leave too few: that is an honest refusal.
async fn offer(local: &mut Local, by: usize) -> bool {
    match local.put(by, CHUNK).await {
        Ok(()) => local.stored.last().is_some_and(|stored| !stored.reduced),
        Err(BytesError::WriteUnavailable { .. } | BytesError::Full) => false,
        Err(other) => panic!("{other}"),
    }
}
