//! The metadata disk as the environment gives it: an ordered database with column families.
//!
//! Owns: the traits [`Databases`], [`Database`], [`Instant`] and the values that cross them. Not: what the bytes mean
//! (crate `kluis-raft`), nor any implementation: RocksDB is one (`kluis_raft::store::rocks`), a simulation
//! brings another that can lose, tear or refuse what was not synced.
//! Holds, of every implementation: (1) the edits of a batch take effect all at once or not at all; (2) what
//! survives a crash is a prefix of the batches that were written, over all families, and it contains every
//! batch up to the last synced one; (3) after an error of a write nothing more is written until the database
//! is opened again: what lies on the medium is not known.

use std::{io, path::Path, sync::Arc};

/// A key with its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// A column family and how it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Bytes gathered in memory before they are sorted into a file. A hint.
    pub write_buffer_bytes: usize,
    /// Whether blocks are worth compressing. A hint.
    pub compress: bool,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Sets a key.
    Put {
        /// The family.
        family: &'static str,
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Removes a key; a missing one is fine.
    Delete {
        /// The family.
        family: &'static str,
        /// The key.
        key: Vec<u8>,
    },
    /// Removes every key with `start <= key < end`.
    DeleteRange {
        /// The family.
        family: &'static str,
        /// The first key.
        start: Vec<u8>,
        /// After the last key.
        end: Vec<u8>,
    },
}

/// Changes that belong together, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch(pub Vec<Edit>);

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, family: &'static str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push(Edit::Put { family, key: key.into(), value: value.into() });
    }

    /// Removes a key.
    pub fn delete(&mut self, family: &'static str, key: impl Into<Vec<u8>>) {
        self.0.push(Edit::Delete { family, key: key.into() });
    }

    /// Removes every key with `start <= key < end`.
    pub fn delete_range(&mut self, family: &'static str, start: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) {
        self.0.push(Edit::DeleteRange { family, start: start.into(), end: end.into() });
    }
}

/// Which entries a scan gives.
#[derive(Debug, Clone, Copy)]
pub struct Scan<'a> {
    /// The first key.
    pub start: &'a [u8],
    /// After the last key; `None` is the end of the family.
    pub end: Option<&'a [u8]>,
    /// Most entries.
    pub limit: usize,
    /// Bytes of values after which it ends, though never before the first entry.
    pub bytes_max: usize,
    /// From the last key backwards.
    pub back: bool,
}

/// An open database. All calls block.
pub trait Database: Send + Sync {
    /// The value at `key`.
    ///
    /// # Errors
    /// The medium fails, or what it gives is damaged.
    fn get(&self, family: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>>;
    /// Entries in order.
    ///
    /// # Errors
    /// As [`Database::get`].
    fn scan(&self, family: &str, scan: Scan<'_>) -> io::Result<Vec<Pair>>;
    /// Carries out a batch; with `sync` it and all before it is durable when this returns.
    ///
    /// # Errors
    /// The medium fails; see the module for what holds then.
    fn write(&self, batch: &Batch, sync: bool) -> io::Result<()>;
    /// This instant, whatever is written meanwhile.
    fn freeze(&self) -> Box<dyn Instant + '_>;
}

/// One instant of a database.
pub trait Instant {
    /// The value at `key`.
    ///
    /// # Errors
    /// As [`Database::get`].
    fn get(&self, family: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>>;
    /// Calls `visit` with every entry of a family in order, until it says `false`.
    ///
    /// # Errors
    /// As [`Database::get`].
    fn each(&self, family: &str, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> io::Result<()>;
}

/// Where databases are opened.
pub trait Databases: Send + Sync {
    /// Whether `dir` holds a database.
    fn exists(&self, dir: &Path) -> bool;
    /// Opens the database in `dir`, with exactly these families; makes it only if `create` is set.
    ///
    /// # Errors
    /// It is missing and not to be made, held by another process, or damaged.
    fn open(&self, dir: &Path, families: &[Family], create: bool) -> io::Result<Arc<dyn Database>>;
}

/// No database anywhere: for what runs without metadata.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDatabases;

impl Databases for NoDatabases {
    fn exists(&self, _: &Path) -> bool {
        false
    }

    fn open(&self, dir: &Path, _: &[Family], _: bool) -> io::Result<Arc<dyn Database>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("no database can be opened here: {}", dir.display())))
    }
}
