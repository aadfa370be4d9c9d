//! What a healthy disk does, and whom it serves.

use std::ops::Bound;

use super::{Bench, brief, key, payload};
use crate::{
    disk::{Disk, DiskError, DiskLabel, DiskOptions, OpenError, ShardInfo, fault::Call},
    format::BLOCK,
    ids::{ClusterId, DiskId, NodeId, ShardKey},
};

#[tokio::test]
async fn shards_come_back_after_close_and_after_a_crash() {
    for direct in [false, true] {
        let bench = Bench::with(direct).await;
        let disk = bench.open().await;
        for n in 0..40 {
            disk.put(key(n), payload(n, 1, 3000 + usize::try_from(n).unwrap())).await.unwrap();
        }
        disk.delete(vec![key(3), key(4), key(999)]).await.unwrap();
        disk.put(key(5), payload(5, 2, 10)).await.unwrap();
        disk.abandon().await;
        for orderly in [false, true, true] {
            let disk = bench.open().await;
            for n in 0..40 {
                let expected = match n {
                    3 | 4 => None,
                    5 => Some(payload(5, 2, 10)),
                    _ => Some(payload(n, 1, 3000 + usize::try_from(n).unwrap())),
                };
                assert_eq!(brief(&disk.get(key(n)).await.unwrap()), brief(&expected), "{n}");
            }
            assert_eq!(disk.usage().shards, 38);
            assert!(disk.take_suspects().is_empty());
            if orderly { disk.close().await } else { disk.abandon().await }
        }
    }
}

#[tokio::test]
async fn lists_in_order_and_describes() {
    let bench = Bench::new().await;
    let disk = bench.open().await;
    for n in [5, 1, 3] {
        disk.put(key(n), payload(n, 1, 7)).await.unwrap();
    }
    let names = |found: Vec<(ShardKey, ShardInfo)>| found.into_iter().map(|(k, _)| k).collect::<Vec<_>>();
    assert_eq!(names(disk.list(Bound::Unbounded, 2)), [key(1), key(3)]);
    assert_eq!(names(disk.list(Bound::Excluded(key(3)), 9)), [key(5)]);
    assert_eq!(disk.info(key(1)).unwrap().len, 7);
    assert!(disk.contains(key(5)) && !disk.contains(key(2)));
    let too_long = disk.put(key(9), vec![0; 65_536].into()).await;
    assert!(matches!(too_long, Err(DiskError::TooLarge { .. })));
    disk.put(key(8), vec![].into()).await.unwrap();
    assert_eq!(disk.get(key(8)).await.unwrap().unwrap().len(), 0);
}

#[tokio::test]
async fn many_puts_share_a_sync_and_an_equal_one_needs_none() {
    let bench = Bench::new().await;
    let disk = bench.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64 {
        let disk = disk.clone();
        tasks.spawn(async move { disk.put(key(n), payload(n, 1, 100)).await });
    }
    for done in tasks.join_all().await {
        done.unwrap();
    }
    let usage = disk.usage();
    assert!(usage.syncs < 64, "{} syncs", usage.syncs);
    assert_eq!(usage.appends, 64);
    disk.put(key(1), payload(1, 1, 100)).await.unwrap();
    assert_eq!(disk.usage().appends, 64);
}

#[tokio::test]
async fn a_put_that_nobody_waits_for_does_no_harm() {
    let bench = Bench::new().await;
    let disk = bench.open().await;
    {
        let put = disk.put(key(1), payload(1, 1, 100));
        tokio::pin!(put);
        assert!(futures_poll_once(put.as_mut()).await);
    }
    disk.put(key(2), payload(2, 1, 100)).await.unwrap();
    let first = disk.get(key(1)).await.unwrap();
    assert!(first.is_none() || first == Some(payload(1, 1, 100)));
    assert_eq!(brief(&disk.get(key(2)).await.unwrap()), brief(&Some(payload(2, 1, 100))));
}

#[tokio::test]
async fn operations_that_nobody_waits_for_keep_their_place() {
    let bench = Bench::new().await;
    let disk = bench.open().await;
    disk.put(key(1), payload(1, 1, 100)).await.unwrap();
    {
        let delete = disk.delete(vec![key(1)]);
        tokio::pin!(delete);
        assert!(futures_poll_once(delete.as_mut()).await);
        let put = disk.put(key(2), payload(2, 1, 100));
        tokio::pin!(put);
        assert!(futures_poll_once(put.as_mut()).await);
    }
    // The deletion before it is not done yet: what is stored now is not what counts.
    let (put, deleted) = tokio::join!(disk.put(key(1), payload(1, 1, 100)), disk.delete(vec![key(2)]));
    put.and(deleted).unwrap();
    for reopened in [false, true] {
        let again = if reopened { Some(bench.open().await) } else { None };
        let disk = again.as_ref().unwrap_or(&disk);
        assert!(disk.contains(key(1)) && !disk.contains(key(2)), "reopened: {reopened}");
        disk.abandon().await;
    }
}

/// Polls once; says whether it is still pending.
async fn futures_poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

#[tokio::test]
async fn compaction_frees_segments_and_keeps_the_dead_dead() {
    let bench = Bench::new().await;
    let disk = bench.open().await;
    for n in 0..200 {
        disk.put(key(n), payload(n, 1, 2000)).await.unwrap();
    }
    let gone: Vec<_> = (0..200).filter(|n| n % 4 != 0).map(key).collect();
    disk.delete(gone).await.unwrap();
    let before = disk.usage();
    let mut steps = 0;
    while disk.compact_once().await.unwrap().segment.is_some() {
        steps += 1;
        assert!(steps < 1000, "compaction does not end");
    }
    let after = disk.usage();
    assert!(steps > 0 && after.segment_bytes < before.segment_bytes / 2, "{before:?} {after:?}");
    for reopened in [false, true] {
        let again = if reopened { Some(bench.open().await) } else { None };
        let disk = again.as_ref().unwrap_or(&disk);
        for n in 0..200 {
            let expected = (n % 4 == 0).then(|| payload(n, 1, 2000));
            assert_eq!(brief(&disk.get(key(n)).await.unwrap()), brief(&expected), "{n}");
        }
        disk.abandon().await;
    }
}

#[tokio::test]
async fn only_the_right_disk_is_opened_and_only_once() {
    let bench = Bench::new().await;
    let expect = |change: fn(&mut DiskLabel)| {
        let mut label = bench.label;
        change(&mut label);
        label
    };
    let open = async |label: DiskLabel| match Disk::open(&bench.env, &bench.dir(), &label, DiskOptions::default()).await {
        Err(DiskError::Open(error)) => error,
        other => panic!("{:?}", other.map(|_| ())),
    };
    assert!(matches!(open(expect(|l| l.cluster = ClusterId(9))).await, OpenError::ForeignCluster { .. }));
    assert!(matches!(open(expect(|l| l.node = NodeId(9))).await, OpenError::ForeignNode { .. }));
    assert!(matches!(open(expect(|l| l.disk = DiskId(9))).await, OpenError::ForeignDisk { .. }));
    let disk = bench.open().await;
    assert!(matches!(open(bench.label).await, OpenError::AlreadyOpen));
    disk.close().await;
    assert!(matches!(disk.put(key(1), payload(1, 1, 1)).await, Err(DiskError::Closed)));
    // As another process would.
    let elsewhere = bench.env.files.lock(&bench.dir().join("lock")).unwrap();
    assert!(elsewhere.is_some());
    assert!(matches!(open(bench.label).await, OpenError::AlreadyOpen));
    drop(elsewhere);
    bench.open().await.close().await;
    let again = Disk::format(&bench.env, &bench.dir(), &bench.label).await;
    assert!(matches!(again, Err(DiskError::Open(OpenError::InUse))));
    let path = bench.dir().join("label");
    for (version, newer) in [(0, false), (2, true)] {
        std::fs::write(&path, bench.label.encode_as(version)).unwrap();
        match open(bench.label).await {
            OpenError::OldFormat { found, .. } => assert!(!newer && found == version),
            OpenError::NewFormat { found, .. } => assert!(newer && found == version),
            other => panic!("{other}"),
        }
    }
    std::fs::write(&path, [0; BLOCK]).unwrap();
    assert!(matches!(open(bench.label).await, OpenError::BadLabel(_)));
    std::fs::write(&path, b"short").unwrap();
    assert!(matches!(open(bench.label).await, OpenError::BadLabel(_)));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(open(bench.label).await, OpenError::NoLabel));
    assert_eq!(Disk::read_label(&bench.env, &bench.dir()).await.unwrap(), None);
}

#[tokio::test]
async fn an_index_checkpoint_spares_reading_the_segments() {
    let bench = Bench::new().await;
    let disk = bench.open().await;
    for n in 0..300 {
        disk.put(key(n), payload(n, 1, 2000)).await.unwrap();
    }
    disk.close().await;
    let reads = |from: u64| bench.files.calls_of(Call::Read) - from;
    let start = reads(0);
    bench.open().await.abandon().await;
    let with_index = reads(start);
    std::fs::remove_file(bench.dir().join("index")).unwrap();
    let start = reads(0);
    let disk = bench.open().await;
    assert!(reads(start) > with_index);
    assert_eq!(disk.usage().shards, 300);
}
