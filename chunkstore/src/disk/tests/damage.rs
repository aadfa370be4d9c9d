//! What a disk makes of bytes that changed and files that went.

use std::{fs, path::Path};

use super::{Bench, brief, key, payload};
use crate::{
    disk::{Disk, DiskError, DiskOptions},
    format::record::MAGIC,
};

/// Nine shards in three batches, closed, with an index.
async fn filled() -> Bench {
    let mut bench = Bench::new().await;
    bench.options = DiskOptions { segment_bytes: 32 << 10, ..bench.options };
    let disk = bench.open().await;
    for round in 0..3 {
        let put = |n: u128| disk.put(key(round * 3 + n), payload(round * 3 + n, 1, 40));
        let (a, b, c) = tokio::join!(put(0), put(1), put(2));
        a.and(b).and(c).unwrap();
    }
    disk.close().await;
    bench
}

async fn never_wrong(bench: &Bench, what: &str) -> usize {
    let disk = match bench.try_open().await {
        Ok(disk) => disk,
        Err(error) => {
            assert!(matches!(error, DiskError::Open(_)), "{what}: {error}");
            return 0;
        }
    };
    let mut right = 0;
    for n in 0..9 {
        match disk.get(key(n)).await {
            Ok(Some(bytes)) => {
                assert!(bytes == payload(n, 1, 40), "{what}: wrong bytes for {n}");
                right += 1;
            }
            Ok(None) => {}
            Err(DiskError::Corrupt { key: bad }) => {
                assert_eq!(bad, key(n));
                assert!(disk.take_suspects().contains(&bad), "{what}");
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
    disk.abandon().await;
    right
}

/// Every byte that was written, and some of the zeros.
fn worth_flipping(path: &Path) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    let chosen = bytes.iter().enumerate().filter(|(at, byte)| **byte != 0 || at % 509 == 0);
    chosen.map(|(at, _)| at as u64).collect()
}

#[tokio::test]
async fn a_flipped_bit_anywhere_gives_no_wrong_bytes() {
    for with_index in [true, false] {
        let bench = filled().await;
        if !with_index {
            fs::remove_file(bench.dir().join("index")).unwrap();
        }
        let names: Vec<_> = fs::read_dir(bench.dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
        for path in names {
            let is_label = path.ends_with("label");
            for offset in worth_flipping(&path) {
                let bit = u8::try_from(offset % 8).unwrap();
                bench.files.flip_bit(&path, offset, bit).unwrap();
                let right = never_wrong(&bench, &format!("{} at {offset}", path.display())).await;
                bench.files.flip_bit(&path, offset, bit).unwrap();
                assert!(is_label || right >= 8, "{} at {offset}: only {right} left", path.display());
            }
        }
        assert_eq!(never_wrong(&bench, "healed").await, 9);
    }
}

#[tokio::test]
async fn rot_in_the_middle_is_reported_and_the_rest_kept() {
    let bench = filled().await;
    fs::remove_file(bench.dir().join("index")).unwrap();
    let segment = bench.segments().remove(0);
    let bytes = fs::read(&segment).unwrap();
    let first_record = bytes.windows(4).position(|w| w == MAGIC).unwrap();
    bench.files.flip_bit(&segment, first_record as u64 + 70, 3).unwrap();
    let disk = bench.open().await;
    let suspects = disk.take_suspects();
    assert_eq!(suspects.len(), 1);
    assert!(!disk.contains(suspects[0]));
    assert_eq!(disk.usage().shards, 8);
    assert!(disk.take_suspects().is_empty());
}

#[tokio::test]
async fn a_corrupt_shard_is_forgotten_and_put_again() {
    let bench = filled().await;
    let segment = bench.segments().remove(0);
    let bytes = fs::read(&segment).unwrap();
    let wanted = payload(4, 1, 40);
    let at = bytes.windows(40).position(|w| w == wanted).unwrap();
    bench.files.flip_bit(&segment, at as u64, 0).unwrap();
    let disk = bench.open().await;
    assert!(matches!(disk.get(key(4)).await, Err(DiskError::Corrupt { .. })));
    assert_eq!(disk.take_suspects(), [key(4)]);
    // The same bytes are not taken for stored while the record is known to be bad.
    disk.put(key(4), wanted.clone()).await.unwrap();
    assert_eq!(brief(&disk.get(key(4)).await.unwrap()), brief(&Some(wanted.clone())));
    disk.forget(key(5));
    assert!(!disk.contains(key(5)));
    disk.put(key(6), payload(6, 2, 40)).await.unwrap();
    disk.abandon().await;
    let disk = bench.open().await;
    assert_eq!(brief(&disk.get(key(4)).await.unwrap()), brief(&Some(wanted)));
    assert!(disk.get(key(5)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_bad_index_is_gone_before_anything_is_appended() {
    let bench = filled().await;
    let index = bench.dir().join("index");
    let whole = fs::read(&index).unwrap();
    fs::write(&index, &whole[..5000]).unwrap();
    let disk = bench.open().await;
    assert_eq!(disk.usage().shards, 9);
    assert!(index.exists());
    disk.put(key(50), payload(50, 1, 10)).await.unwrap();
    assert!(!index.exists());
    disk.abandon().await;
    assert_eq!(bench.open().await.usage().shards, 10);
}

#[tokio::test]
async fn what_rot_hides_stays_hidden_when_the_rotten_record_is_compacted_away() {
    let bench = Bench::new().await;
    let disk = bench.open().await;
    // The old record of 0 in a segment that stays; the new one in the next, which has little else and
    // is not the newest.
    for (n, len) in [(0, 1_000), (1, 24_000), (2, 24_000)] {
        disk.put(key(n), payload(n, 1, len)).await.unwrap();
    }
    disk.put(key(0), payload(0, 2, 9_000)).await.unwrap();
    for (n, len) in [(9, 20_000), (10, 30_000)] {
        disk.put(key(n), payload(n, 1, len)).await.unwrap();
    }
    disk.abandon().await;
    let _ = fs::remove_file(bench.dir().join("index"));
    assert_eq!(bench.segments().len(), 3);
    let segment = bench.segments().remove(1);
    let wanted = payload(0, 2, 9_000);
    let at = fs::read(&segment).unwrap().windows(9_000).position(|w| w == wanted).unwrap();
    bench.files.flip_bit(&segment, at as u64, 0).unwrap();
    for without_index in [false, true] {
        if without_index {
            let _ = fs::remove_file(bench.dir().join("index"));
        }
        let disk = bench.open().await;
        assert_eq!(disk.usage().shards, 4);
        assert!(!disk.contains(key(0)));
        if !without_index {
            assert_eq!(disk.compact_once().await.unwrap().segment, Some(1));
        }
        disk.close().await;
    }
}

#[tokio::test]
async fn lost_cut_and_strange_files_are_survived() {
    let bench = Bench::new().await;
    let disk = bench.open().await;
    for n in 0..60 {
        disk.put(key(n), payload(n, 1, 5000)).await.unwrap();
    }
    disk.close().await;
    let segments = bench.segments();
    assert!(segments.len() >= 4);
    fs::remove_file(&segments[0]).unwrap();
    let second = fs::OpenOptions::new().write(true).open(&segments[1]).unwrap();
    second.set_len(20_001).unwrap();
    fs::write(&segments[2], []).unwrap();
    fs::write(bench.dir().join("notes.txt"), b"hello").unwrap();
    fs::write(bench.dir().join("segment-zz"), b"hello").unwrap();
    fs::write(bench.dir().join("index.tmp"), b"half").unwrap();
    fs::create_dir(bench.dir().join("lost+found")).unwrap();
    for index in [true, false] {
        if !index {
            fs::remove_file(bench.dir().join("index")).unwrap();
        }
        let disk = bench.open().await;
        let mut right = 0;
        for n in 0..60 {
            if let Some(bytes) = disk.get(key(n)).await.unwrap() {
                assert!(bytes == payload(n, 1, 5000), "wrong bytes for {n}");
                right += 1;
            }
        }
        assert!((10..60).contains(&right), "{right}");
        if index {
            let suspects = disk.take_suspects();
            assert_eq!(suspects.len(), 60 - right, "what the index knew is reported");
        }
        disk.put(key(100), payload(100, 1, 5000)).await.unwrap();
        disk.delete(vec![key(100)]).await.unwrap();
        disk.close().await;
    }
}

#[tokio::test]
async fn another_disks_segment_is_left_alone() {
    let (bench, other) = (filled().await, filled().await);
    // One that is far away and one whose name comes next.
    let strays = ["segment-00000077", "segment-00000001"].map(|name| bench.dir().join(name));
    let theirs = fs::read(other.segments().remove(0)).unwrap();
    for stray in &strays {
        fs::write(stray, &theirs).unwrap();
    }
    let disk = bench.open().await;
    assert_eq!(disk.usage().shards, 9);
    for n in 50..60 {
        disk.put(key(n), payload(n, 1, 5000)).await.unwrap();
    }
    disk.close().await;
    for stray in &strays {
        assert!(fs::read(stray).unwrap() == theirs, "{} was written to", stray.display());
    }
    let disk = bench.open().await;
    assert_eq!(disk.usage().shards, 19);
    disk.close().await;
    let label = Disk::read_label(&bench.env, &bench.dir()).await.unwrap();
    assert_eq!(label, Some(bench.label));
}
