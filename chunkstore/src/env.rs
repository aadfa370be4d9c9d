//! The world, as the rest of the code sees it: clock, randomness, files, database, blocking work, sockets.
//!
//! Owns: the traits. Not: their real implementations (`env_real`, `net::sockets`), nor timers, which are
//! tokio's everywhere (a simulation pauses that clock).
//! Holds: disks, the metadata's database and snapshots, sockets between nodes, clock, randomness of ids and keys, and
//! blocking work come in through here, so that a test can make any call fail, lie or stop half-way, and a
//! simulation can run a whole cluster from one seed. Not: configuration, certificates and key files, which are
//! read once at start.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::database::Databases;

/// Wall-clock time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01T00:00:00Z. May jump; order never rests on it.
    fn now_ms(&self) -> u64;
}

/// A source of randomness fit for keys.
pub trait Entropy: Send + Sync {
    /// Fills `buffer` with random bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// Where blocking calls run: a pool of threads, or inline in a simulation.
pub trait Blocking: Send + Sync {
    /// Runs `job` somewhere that may block. Never blocks the caller for long in production.
    fn run(&self, job: Box<dyn FnOnce() + Send>);
}

/// The file system under a disk of the cluster.
pub trait FileSystem: Send + Sync {
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Creates a file that must not exist.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Names (not paths) of the entries of a directory, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes a directory and its parents; an existing one is fine.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Atomically puts `from` in the place of `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive, advisory lock of the file `path` (made if missing) and holds it while the
    /// value lives. `None` when someone else holds it, be it this process or another one.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
    /// Takes this process's claim on what has the identity `id`, whatever path it is reached by (the same directory
    /// may be mounted twice), and holds it while the value lives. `None` when it is taken.
    fn claim(&self, id: u128) -> Option<Box<dyn Send + Sync>>;
    /// Bytes of the file system that holds `dir`.
    fn space(&self, dir: &Path) -> io::Result<Space>;
}

/// Size of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All bytes.
    pub total: u64,
    /// Bytes that may still be written.
    pub free: u64,
}

/// An open file. Offsets are absolute: a file has no cursor.
pub trait File: Send + Sync {
    /// Reads exactly `buffer.len()` bytes at `offset`; an early end is `UnexpectedEof`.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`. Where [`File::alignment`] is above 1 and `offset`, the length
    /// and the address of `data` are multiples of it, the write bypasses the cache, which is much cheaper
    /// for large ones.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// What writes must be aligned to, in bytes: 1 when buffered, 4096 when they bypass the cache.
    fn alignment(&self) -> usize;
    /// Makes written data durable. After an error nothing is known of any earlier write.
    fn sync(&self) -> io::Result<()>;
    /// Reserves `bytes` on the medium, so that later writes below it cannot run out of space.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Sets the length, cutting or extending with zeros.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Present length.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// What a simulation adds to the code that it runs: improbable turns taken on purpose (as FoundationDB's "buggify"
/// does), and notes that a state was reached, so that a set of runs that never reached it can be told from one
/// that passed. In production both do nothing.
pub trait Probe: Send + Sync {
    /// Whether to take the improbable, but allowed, turn at this point of the code.
    fn buggify(&self, _point: &'static str) -> bool {
        false
    }
    /// The code came to a state worth knowing of.
    fn reached(&self, _state: &'static str) {}
}

/// The probe of production.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProbe;

impl Probe for NoProbe {}

/// Everything that touches the world, handed down from `main` or from a test.
#[derive(Clone)]
pub struct Env {
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Files of the disks and of metadata snapshots.
    pub files: Arc<dyn FileSystem>,
    /// The database of the metadata.
    pub databases: Arc<dyn Databases>,
    /// Blocking work.
    pub blocking: Arc<dyn Blocking>,
    /// What a simulation asks of the code; nothing in production.
    pub probe: Arc<dyn Probe>,
    /// Sockets.
    #[cfg(feature = "net")]
    pub sockets: Arc<dyn Sockets>,
}

impl Env {
    /// 16 random bytes, for an identifier.
    pub fn random_id(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        bytes
    }
}

/// The sockets of a node.
#[cfg(feature = "net")]
#[async_trait::async_trait]
pub trait Sockets: Send + Sync {
    /// A bound UDP socket for QUIC.
    fn udp(&self, address: std::net::SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>>;
    /// The runtime that quinn uses with it.
    fn quinn_runtime(&self) -> Arc<dyn quinn::Runtime>;
    /// A listening TCP socket.
    async fn tcp_listen(&self, address: std::net::SocketAddr) -> io::Result<tokio::net::TcpListener>;
}

/// Blocking work as a future: the result of `job`, run where [`Blocking`] says.
#[cfg(any(feature = "disk", feature = "net"))]
impl Env {
    /// Runs `job` on [`Env::blocking`] and waits for its result.
    ///
    /// # Errors
    /// `Interrupted` when the job was dropped without running (the process is stopping).
    pub async fn run_blocking<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (done, result) = tokio::sync::oneshot::channel();
        self.blocking.run(Box::new(move || {
            let _ = done.send(job());
        }));
        result.await.map_err(|_| io::Error::new(io::ErrorKind::Interrupted, "the process is stopping"))
    }
}
