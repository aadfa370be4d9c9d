//! The database of the real world: RocksDB.
//!
//! Owns: its options, and the translation of [`kluis_chunkstore::database`] into its calls. Not: what lies in it
//! ([`super::replica`]).
//! Holds: all families share one write-ahead log, so what survives a crash is a prefix of what was written,
//! and a synced write makes every earlier one durable.
//! Why the strict recovery mode: a damaged record in the middle must stop this node by name. Only an
//! unfinished record at the very end, which was never acknowledged, is cut.

use std::{io, path::Path, sync::Arc};

use kluis_chunkstore::database::{Batch, Database, Databases, Edit, Family, Instant, Pair, Scan};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, IteratorMode, Options,
    ReadOptions, SnapshotWithThreadMode, WriteBatch, WriteOptions,
};

const BLOCK_CACHE_BYTES: usize = 64 << 20;

/// RocksDB, in directories of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RocksDatabases;

fn failed(error: rocksdb::Error) -> io::Error {
    io::Error::other(error.into_string())
}

fn database_options(create: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(128 << 20);
    options.set_max_open_files(512);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 << 20);
    options
}

fn family_options(cache: &Cache, family: &Family) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(family.write_buffer_bytes);
    options.set_compression_type(if family.compress { DBCompressionType::Lz4 } else { DBCompressionType::None });
    options
}

impl Databases for RocksDatabases {
    fn exists(&self, dir: &Path) -> bool {
        // RocksDB writes this file first to last.
        dir.join("CURRENT").exists()
    }

    fn open(&self, dir: &Path, families: &[Family], create: bool) -> io::Result<Arc<dyn Database>> {
        if create && let Some(parent) = dir.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let described = families.iter().map(|family| ColumnFamilyDescriptor::new(family.name, family_options(&cache, family)));
        let db = DB::open_cf_descriptors(&database_options(create), dir, described).map_err(failed)?;
        Ok(Arc::new(RocksDatabase { db }))
    }
}

struct RocksDatabase {
    db: DB,
}

impl RocksDatabase {
    fn family(&self, name: &str) -> io::Result<&ColumnFamily> {
        self.db.cf_handle(name).ok_or_else(|| io::Error::other(format!("column family {name} is missing")))
    }
}

impl Database for RocksDatabase {
    fn get(&self, family: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.db.get_cf(self.family(family)?, key).map_err(failed)
    }

    fn scan(&self, family: &str, scan: Scan<'_>) -> io::Result<Vec<Pair>> {
        if scan.limit == 0 || scan.end.is_some_and(|end| end <= scan.start) {
            return Ok(Vec::new());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(scan.start);
        if let Some(end) = scan.end {
            options.set_iterate_upper_bound(end);
        }
        let mode = if scan.back { IteratorMode::End } else { IteratorMode::Start };
        let mut pairs: Vec<Pair> = Vec::new();
        let mut bytes = 0usize;
        for pair in self.db.iterator_cf_opt(self.family(family)?, options, mode).take(scan.limit) {
            let (key, value) = pair.map_err(failed)?;
            bytes = bytes.saturating_add(value.len());
            if bytes > scan.bytes_max && !pairs.is_empty() {
                break;
            }
            pairs.push((key.into_vec(), value.into_vec()));
        }
        Ok(pairs)
    }

    fn write(&self, batch: &Batch, sync: bool) -> io::Result<()> {
        let mut writes = WriteBatch::default();
        for edit in &batch.0 {
            match edit {
                Edit::Put { family, key, value } => writes.put_cf(self.family(family)?, key, value),
                Edit::Delete { family, key } => writes.delete_cf(self.family(family)?, key),
                Edit::DeleteRange { family, start, end } => {
                    writes.delete_range_cf(self.family(family)?, start.as_slice(), end.as_slice());
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(writes, &options).map_err(failed)
    }

    fn freeze(&self) -> Box<dyn Instant + '_> {
        Box::new(Frozen { database: self, view: self.db.snapshot() })
    }
}

struct Frozen<'a> {
    database: &'a RocksDatabase,
    view: SnapshotWithThreadMode<'a, DB>,
}

impl Instant for Frozen<'_> {
    fn get(&self, family: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.view.get_cf(self.database.family(family)?, key).map_err(failed)
    }

    fn each(&self, family: &str, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> io::Result<()> {
        let mut options = ReadOptions::default();
        // A pass over everything must not push the working set out of the cache.
        options.fill_cache(false);
        for pair in self.view.iterator_cf_opt(self.database.family(family)?, options, IteratorMode::Start) {
            let (key, value) = pair.map_err(failed)?;
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILIES: [Family; 1] = [Family { name: "log", write_buffer_bytes: 16 << 20, compress: false }];

    /// The write-ahead log of a closed database with a hundred records of 200 bytes in it.
    fn write_ahead_log(dir: &Path) -> std::path::PathBuf {
        {
            let database = RocksDatabases.open(dir, &FAMILIES, true).unwrap();
            for number in 0..100_u8 {
                let mut batch = Batch::default();
                batch.put("log", [number], [number; 200]);
                database.write(&batch, true).unwrap();
            }
        }
        let logs = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let logs = logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.max_by_key(|path| std::fs::metadata(path).unwrap().len()).expect("a database has a write-ahead log")
    }

    #[test]
    fn a_record_cut_at_the_tail_is_dropped_and_all_before_it_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = write_ahead_log(dir.path());
        let file = std::fs::File::options().write(true).open(&log).unwrap();
        file.set_len(file.metadata().unwrap().len() - 50).unwrap();
        let database = RocksDatabases.open(dir.path(), &FAMILIES, false).unwrap();
        for number in 0..99_u8 {
            assert_eq!(database.get("log", &[number]).unwrap().as_deref(), Some(&[number; 200][..]));
        }
        assert_eq!(database.get("log", &[99]).unwrap(), None, "half a record is none");
    }

    #[test]
    fn a_record_damaged_in_the_middle_stops_the_database() {
        use std::os::unix::fs::FileExt;
        let dir = tempfile::tempdir().unwrap();
        let log = write_ahead_log(dir.path());
        let file = std::fs::File::options().read(true).write(true).open(&log).unwrap();
        let middle = file.metadata().unwrap().len() / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, middle).unwrap();
        file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
        let refused = RocksDatabases.open(dir.path(), &FAMILIES, false).err().expect("a damaged record in the middle is no tail");
        assert!(refused.to_string().to_lowercase().contains("corrupt"), "{refused}");
    }
}
