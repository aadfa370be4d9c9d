//! The simulated database against RocksDB: the same operations, the same answers.
//!
//! Owns: that the model which simulations run on behaves as the database of production does, where nothing fails.
//! Not: faults (those of RocksDB are tested on real file systems, those of the model in `kluis_tests::sim`).
//! Holds: random batches over two families, with range deletions, reopenings, scans in both directions and
//! frozen instants, give equal answers.

#![allow(clippy::unwrap_used)]

use kluis_chunkstore::database::{Batch, Database, Databases, Family, Pair, Scan};
use kluis_raft::store::rocks::RocksDatabases;
use kluis_tests::sim::{database::SimDatabases, rng::Rng};

const FAMILIES: [Family; 2] = [
    Family { name: "one", write_buffer_bytes: 64 << 10, compress: true },
    Family { name: "two", write_buffer_bytes: 64 << 10, compress: false },
];

fn key(rng: &mut Rng) -> Vec<u8> {
    // Few and short keys, so that operations meet.
    (0..rng.below(4)).map(|_| *rng.pick(&[0, 1, 2, 0xff])).collect()
}

fn frozen(database: &dyn Database, family: &str) -> Vec<Pair> {
    let mut all = Vec::new();
    let instant = database.freeze();
    instant
        .each(family, &mut |key, value| {
            all.push((key.to_vec(), value.to_vec()));
            all.len() < 20
        })
        .unwrap();
    all
}

#[test]
fn the_model_answers_as_rocksdb_does() {
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("db");
        let model = SimDatabases::new(rng.fork("model"));
        assert!(!RocksDatabases.exists(&at) && !model.exists(&at));
        assert!(RocksDatabases.open(&at, &FAMILIES, false).is_err() && model.open(&at, &FAMILIES, false).is_err());
        let (mut real, mut simulated) = (RocksDatabases.open(&at, &FAMILIES, true).unwrap(), model.open(&at, &FAMILIES, true).unwrap());
        for _ in 0..250 {
            let family = *rng.pick(&["one", "two"]);
            match rng.below(10) {
                0..=4 => {
                    let mut batch = Batch::default();
                    for _ in 0..rng.below(5) {
                        match rng.below(4) {
                            0 => batch.delete(family, key(&mut rng)),
                            1 => {
                                let (one, two) = (key(&mut rng), key(&mut rng));
                                batch.delete_range(family, one.clone().min(two.clone()), one.max(two));
                            }
                            _ => {
                                let value = vec![rng.below(256) as u8; rng.below(9) as usize];
                                batch.put(family, key(&mut rng), value);
                            }
                        }
                    }
                    let sync = rng.chance(300_000);
                    real.write(&batch, sync).unwrap();
                    simulated.write(&batch, sync).unwrap();
                }
                5 => {
                    let key = key(&mut rng);
                    assert_eq!(real.get(family, &key).unwrap(), simulated.get(family, &key).unwrap());
                }
                6..=7 => {
                    let (start, end) = (key(&mut rng), rng.chance(700_000).then(|| key(&mut rng)));
                    let scan = Scan {
                        start: &start,
                        end: end.as_deref(),
                        limit: rng.below(6) as usize,
                        bytes_max: rng.below(30) as usize,
                        back: rng.chance(500_000),
                    };
                    assert_eq!(real.scan(family, scan).unwrap(), simulated.scan(family, scan).unwrap(), "seed {seed} {scan:?}");
                }
                8 => assert_eq!(frozen(&*real, family), frozen(&*simulated, family)),
                _ => {
                    drop((real, simulated));
                    (real, simulated) = (RocksDatabases.open(&at, &FAMILIES, false).unwrap(), model.open(&at, &FAMILIES, false).unwrap());
                }
            }
        }
        for family in ["one", "two"] {
            assert_eq!(frozen(&*real, family), frozen(&*simulated, family));
        }
    }
}
