//! The disk against a map, through random lives with power cuts.

use std::{collections::BTreeMap, ops::Bound};

use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use rustix::io::Errno;

use super::{Bench, key, payload};
use crate::disk::{Disk, fault::Call};

#[derive(Debug, Clone)]
enum Step {
    Put {
        n: u8,
        version: u8,
        len: u16,
    },
    Delete {
        n: u8,
    },
    Get {
        n: u8,
    },
    List,
    Compact,
    Close,
    Abandon,
    /// The power goes in the next batch, after `writes` calls that change something; pages that were
    /// not synced are lost by the bits of `loses`.
    PowerCut {
        n: u8,
        version: u8,
        len: u16,
        at_sync: bool,
        loses: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let put = (0..24_u8, any::<u8>(), 0..12_000_u16);
    prop_oneof![
        12 => put.clone().prop_map(|(n, version, len)| Step::Put { n, version, len }),
        4 => (0..24_u8).prop_map(|n| Step::Delete { n }),
        4 => (0..24_u8).prop_map(|n| Step::Get { n }),
        1 => proptest::strategy::Just(Step::List),
        3 => proptest::strategy::Just(Step::Compact),
        1 => proptest::strategy::Just(Step::Close),
        1 => proptest::strategy::Just(Step::Abandon),
        2 => (put, any::<bool>(), any::<u64>()).prop_map(|((n, version, len), at_sync, loses)| {
            Step::PowerCut { n, version, len, at_sync, loses }
        }),
    ]
}

/// What a key may hold: one thing, or two after an operation that was not acknowledged.
type Possible = Vec<Option<(u8, u16)>>;

fn bytes(n: u8, (version, len): (u8, u16)) -> bytes::Bytes {
    payload(n.into(), version, len.into())
}

async fn check(disk: &Disk, model: &mut BTreeMap<u8, Possible>, n: u8) {
    let found = disk.get(key(n.into())).await.unwrap();
    let possible = model.entry(n).or_insert_with(|| vec![None]);
    possible.retain(|what| what.map(|what| bytes(n, what)) == found);
    assert!(!possible.is_empty(), "key {n} holds what it cannot");
}

async fn live(steps: Vec<Step>) {
    let bench = Bench::new().await;
    bench.files.track_unsynced(true);
    let mut disk = bench.open().await;
    let mut model: BTreeMap<u8, Possible> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Put { n, version, len } => {
                disk.put(key(n.into()), bytes(n, (version, len))).await.unwrap();
                model.insert(n, vec![Some((version, len))]);
            }
            Step::Delete { n } => {
                disk.delete(vec![key(n.into())]).await.unwrap();
                model.insert(n, vec![None]);
            }
            Step::Get { n } => check(&disk, &mut model, n).await,
            Step::List => {
                for n in 0..24 {
                    check(&disk, &mut model, n).await;
                }
                let listed: Vec<_> = disk.list(Bound::Unbounded, usize::MAX).into_iter().map(|(k, _)| k).collect();
                let wanted = model.iter().filter(|(_, what)| what.iter().any(Option::is_some));
                assert_eq!(listed, wanted.map(|(n, _)| key((*n).into())).collect::<Vec<_>>());
            }
            Step::Compact => {
                disk.compact_once().await.unwrap();
            }
            Step::Close => {
                disk.close().await;
                disk = bench.open().await;
            }
            Step::Abandon => {
                disk.abandon().await;
                disk = bench.open().await;
            }
            Step::PowerCut { n, version, len, at_sync, loses } => {
                let call = if at_sync { Call::Sync } else { Call::Write };
                bench.files.fail_from(Some(call), 1, Errno::IO.raw_os_error());
                // Not even the note of the failure reaches a medium without power.
                bench.files.fail_from(Some(Call::Create), 1, Errno::IO.raw_os_error());
                let put = disk.put(key(n.into()), bytes(n, (version, len))).await;
                if put.is_err() {
                    model.entry(n).or_insert_with(|| vec![None]).push(Some((version, len)));
                }
                disk.abandon().await;
                bench.files.heal();
                let mut bits = loses;
                let mut lose = || {
                    bits = bits.rotate_left(1);
                    bits & 1 == 1
                };
                bench.files.drop_unsynced_pages(&mut lose).unwrap();
                disk = bench.open().await;
                check(&disk, &mut model, n).await;
            }
        }
    }
    disk.abandon().await;
    let disk = bench.open().await;
    for n in 0..24 {
        check(&disk, &mut model, n).await;
    }
    disk.abandon().await;
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    #[test]
    fn a_disk_is_a_map_that_outlives_power_cuts(steps in proptest::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(steps));
    }
}
