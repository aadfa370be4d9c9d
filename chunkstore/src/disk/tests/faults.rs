//! What a disk does when the file system fails it.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::{Bench, brief, key, payload};
use crate::disk::{Disk, DiskError, DiskState, fault::Call};

#[tokio::test]
async fn a_failed_sync_is_for_good_until_an_operator_clears_it() {
    let bench = Bench::new().await;
    let disk = bench.open().await;
    disk.put(key(1), payload(1, 1, 500)).await.unwrap();
    bench.files.fail_nth(Some(Call::Sync), 1, Errno::IO.raw_os_error());
    assert!(matches!(disk.put(key(2), payload(2, 1, 500)).await, Err(DiskError::Failed { .. })));
    for _ in 0..2 {
        assert!(matches!(disk.put(key(3), payload(3, 1, 500)).await, Err(DiskError::Failed { .. })));
        assert!(matches!(disk.delete(vec![key(1)]).await, Err(DiskError::Failed { .. })));
    }
    assert_eq!(brief(&disk.get(key(1)).await.unwrap()), brief(&Some(payload(1, 1, 500))));
    disk.close().await;
    let disk = bench.open().await;
    assert!(matches!(disk.state(), DiskState::Failed { reason } if reason.contains("sync")));
    assert_eq!(brief(&disk.get(key(1)).await.unwrap()), brief(&Some(payload(1, 1, 500))));
    disk.close().await;
    Disk::clear_failure(&bench.env, &bench.dir()).await.unwrap();
    let disk = bench.open().await;
    assert_eq!(disk.state(), DiskState::Active);
    disk.put(key(3), payload(3, 1, 500)).await.unwrap();
}

#[tokio::test]
async fn a_torn_write_fails_the_disk_and_loses_nothing_acknowledged() {
    let bench = Bench::new().await;
    let disk = bench.open().await;
    disk.put(key(1), payload(1, 1, 500)).await.unwrap();
    bench.files.short_write_then_error(8192);
    assert!(matches!(disk.put(key(1), payload(1, 2, 20_000)).await, Err(DiskError::Failed { .. })));
    disk.close().await;
    Disk::clear_failure(&bench.env, &bench.dir()).await.unwrap();
    let disk = bench.open().await;
    assert_eq!(brief(&disk.get(key(1)).await.unwrap()), brief(&Some(payload(1, 1, 500))));
    disk.put(key(2), payload(2, 1, 20_000)).await.unwrap();
    disk.abandon().await;
    let disk = bench.open().await;
    assert_eq!(brief(&disk.get(key(1)).await.unwrap()), brief(&Some(payload(1, 1, 500))));
    assert_eq!(brief(&disk.get(key(2)).await.unwrap()), brief(&Some(payload(2, 1, 20_000))));
}

#[tokio::test]
async fn a_full_disk_deletes_and_takes_puts_again_when_space_returns() {
    let bench = Bench::new().await;
    let disk = bench.open().await;
    disk.put(key(1), payload(1, 1, 1000)).await.unwrap();
    bench.files.full(true);
    let mut stored = vec![1];
    let refused = loop {
        let n = stored.len() as u128 + 1;
        match disk.put(key(n), payload(n, 1, 10_000)).await {
            Ok(()) => stored.push(n),
            Err(error) => break error,
        }
        assert!(stored.len() < 100);
    };
    assert!(matches!(refused, DiskError::Full));
    assert_eq!(disk.state(), DiskState::Full);
    assert_eq!(brief(&disk.get(key(1)).await.unwrap()), brief(&Some(payload(1, 1, 1000))));
    disk.delete(vec![key(1)]).await.unwrap();
    assert!(disk.get(key(1)).await.unwrap().is_none());
    bench.files.full(false);
    disk.put(key(200), payload(200, 1, 10_000)).await.unwrap();
    assert_eq!(disk.state(), DiskState::Active);
    disk.abandon().await;
    let disk = bench.open().await;
    assert!(!disk.contains(key(1)) && disk.contains(key(200)));
    for n in stored.into_iter().skip(1) {
        assert_eq!(brief(&disk.get(key(n)).await.unwrap()), brief(&Some(payload(n, 1, 10_000))));
    }
}

#[tokio::test]
async fn a_write_without_space_is_no_failure() {
    let bench = Bench::new().await;
    let disk = bench.open().await;
    disk.put(key(1), payload(1, 1, 1000)).await.unwrap();
    bench.files.fail_nth(Some(Call::Write), 1, Errno::NOSPC.raw_os_error());
    assert!(matches!(disk.put(key(2), payload(2, 1, 1000)).await, Err(DiskError::Full)));
    disk.put(key(2), payload(2, 1, 1000)).await.unwrap();
    assert_eq!(disk.state(), DiskState::Active);
    disk.abandon().await;
    let disk = bench.open().await;
    for n in [1, 2] {
        assert_eq!(brief(&disk.get(key(n)).await.unwrap()), brief(&Some(payload(n, 1, 1000))));
    }
}

#[tokio::test]
async fn a_refused_batch_does_not_come_back() {
    for cut_at_once in [true, false] {
        let bench = Bench::new().await;
        let disk = bench.open().await;
        disk.put(key(1), payload(1, 1, 1000)).await.unwrap();
        // The write arrives, its sync does not.
        bench.files.fail_nth(Some(Call::Sync), 1, Errno::NOSPC.raw_os_error());
        if !cut_at_once {
            bench.files.fail_nth(Some(Call::SetLen), 1, Errno::NOSPC.raw_os_error());
        }
        let (one, two) = tokio::join!(disk.put(key(1), payload(1, 2, 1000)), disk.put(key(2), payload(2, 1, 1000)));
        assert!(matches!((one, two), (Err(DiskError::Full), Err(DiskError::Full))));
        // Both are acknowledged without a record: the disk is as asked.
        disk.put(key(1), payload(1, 1, 1000)).await.unwrap();
        disk.delete(vec![key(2)]).await.unwrap();
        disk.abandon().await;
        let disk = bench.open().await;
        assert_eq!(brief(&disk.get(key(1)).await.unwrap()), brief(&Some(payload(1, 1, 1000))));
        assert!(!disk.contains(key(2)));
        disk.put(key(2), payload(2, 1, 1000)).await.unwrap();
        assert_eq!(disk.state(), DiskState::Active);
    }
}

#[tokio::test]
async fn a_read_only_disk_reads_on() {
    let bench = Bench::new().await;
    let disk = bench.open().await;
    disk.put(key(1), payload(1, 1, 1000)).await.unwrap();
    bench.files.read_only(true);
    assert!(matches!(disk.put(key(2), payload(2, 1, 1000)).await, Err(DiskError::ReadOnly)));
    assert_eq!(disk.state(), DiskState::ReadOnly);
    assert!(matches!(disk.delete(vec![key(1)]).await, Err(DiskError::ReadOnly)));
    assert_eq!(brief(&disk.get(key(1)).await.unwrap()), brief(&Some(payload(1, 1, 1000))));
    disk.close().await;
    let disk = bench.open().await;
    assert_eq!(brief(&disk.get(key(1)).await.unwrap()), brief(&Some(payload(1, 1, 1000))));
}

#[tokio::test]
async fn a_disk_that_lied_about_its_syncs_gives_no_wrong_bytes() {
    let bench = Bench::new().await;
    bench.files.track_unsynced(true);
    let disk = bench.open().await;
    for n in 0..10 {
        bench.files.lie_on_sync(n >= 5);
        disk.put(key(n), payload(n, 1, 3000)).await.unwrap();
    }
    disk.abandon().await;
    bench.files.drop_unsynced().unwrap();
    bench.files.heal();
    let disk = bench.open().await;
    for n in 0..10 {
        let found = disk.get(key(n)).await.unwrap();
        assert!(found == Some(payload(n, 1, 3000)) || (n >= 5 && found.is_none()), "{n}");
    }
}

/// What was acknowledged: `None` for a deletion. A key whose last operation failed is not in here.
type Known = BTreeMap<u128, Option<u8>>;

/// Puts, deletes, compacts, closes and opens again; notes what is certain.
async fn script(bench: &Bench) -> Known {
    let mut known = Known::new();
    for round in 0..2_u8 {
        let Ok(disk) = bench.try_open().await else { continue };
        // What a failed disk refuses changes nothing, so it takes nothing from what is certain.
        let failed = || matches!(disk.state(), DiskState::Failed { .. });
        for n in 0..24_u128 {
            if failed() {
                break;
            }
            match disk.put(key(n), payload(n, round, 4000)).await {
                Ok(()) => known.insert(n, Some(round)),
                Err(_) => known.remove(&n),
            };
        }
        let gone = [1, 2, 3, 5, 6, 7, 9, 10, 11];
        if !failed() {
            let deleted = disk.delete(gone.map(key).to_vec()).await.is_ok();
            for n in gone {
                if deleted {
                    known.insert(n, None)
                } else {
                    known.remove(&n)
                };
            }
        }
        for _ in 0..3 {
            let _ = disk.compact_once().await;
        }
        for (n, state) in &known {
            let Some(version) = state else { continue };
            match disk.get(key(*n)).await {
                Ok(found) => assert_eq!(brief(&found), brief(&Some(payload(*n, *version, 4000))), "{n}"),
                Err(error) => assert!(matches!(error, DiskError::Io { .. }), "{error}"),
            }
        }
        disk.close().await;
    }
    known
}

#[tokio::test]
async fn every_call_may_fail_and_nothing_acknowledged_is_lost() {
    let total = {
        let bench = Bench::new().await;
        let before = bench.files.calls();
        script(&bench).await;
        bench.files.calls() - before
    };
    assert!(total > 100);
    for lasting in [false, true] {
        for n in (1..=total).step_by(if lasting { 7 } else { 1 }) {
            let bench = Bench::new().await;
            let errno = Errno::IO.raw_os_error();
            if lasting {
                bench.files.fail_from(None, n, errno)
            } else {
                bench.files.fail_nth(None, n, errno)
            }
            let known = script(&bench).await;
            bench.files.heal();
            Disk::clear_failure(&bench.env, &bench.dir()).await.unwrap();
            let disk = bench.open().await;
            for (k, state) in known {
                let found = disk.get(key(k)).await.unwrap();
                let expected = state.map(|v| payload(k, v, 4000));
                assert_eq!(brief(&found), brief(&expected), "call {n}, lasting {lasting}, key {k}");
            }
            disk.abandon().await;
        }
    }
}
