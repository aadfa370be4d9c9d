//! The disk as a whole, on real files with faults. One subject a file.

mod damage;
mod faults;
mod life;
mod model;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;

use super::{Disk, DiskError, DiskLabel, DiskOptions, fault::FaultyFiles};
use crate::{
    database::NoDatabases,
    env::{Blocking, Env, NoProbe},
    env_real::{SystemClock, SystemEntropy, SystemFiles},
    format::record::payload_checksum,
    ids::{BlobId, ChunkId, ClusterId, DiskId, NodeId, ShardKey},
};

/// Runs blocking work at once: every test is one thread and repeats itself exactly.
struct Inline;

impl Blocking for Inline {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

#[cfg(feature = "net")]
struct NoSockets;

#[cfg(feature = "net")]
#[async_trait::async_trait]
impl crate::env::Sockets for NoSockets {
    fn udp(&self, _: std::net::SocketAddr) -> std::io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn quinn_runtime(&self) -> Arc<dyn quinn::Runtime> {
        Arc::new(quinn::TokioRuntime)
    }

    async fn tcp_listen(&self, _: std::net::SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// A formatted disk in a folder of its own.
struct Bench {
    folder: tempfile::TempDir,
    files: FaultyFiles,
    env: Env,
    label: DiskLabel,
    options: DiskOptions,
}

impl Bench {
    async fn new() -> Self {
        Self::with(false).await
    }

    async fn with(direct: bool) -> Self {
        let files = FaultyFiles::new(Arc::new(SystemFiles { direct }));
        let env = Env {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            files: Arc::new(files.clone()),
            blocking: Arc::new(Inline),
            databases: Arc::new(NoDatabases),
            probe: Arc::new(NoProbe),
            #[cfg(feature = "net")]
            sockets: Arc::new(NoSockets),
        };
        let label = DiskLabel { cluster: ClusterId(1), node: NodeId(2), disk: DiskId::from_random(env.random_id()) };
        let options = DiskOptions { segment_bytes: 64 << 10, reserve_bytes: 0, ..DiskOptions::default() };
        let bench = Self { folder: tempfile::tempdir().unwrap(), files, env, label, options };
        Disk::format(&bench.env, &bench.dir(), &bench.label).await.unwrap();
        bench
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    async fn try_open(&self) -> Result<Arc<Disk>, DiskError> {
        Disk::open(&self.env, &self.dir(), &self.label, self.options.clone()).await
    }

    async fn open(&self) -> Arc<Disk> {
        self.try_open().await.unwrap()
    }

    /// Paths of the segments, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().path());
        let is_segment = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().starts_with("segment-");
        let mut paths: Vec<_> = entries.filter(is_segment).collect();
        paths.sort();
        paths
    }
}

fn key(n: u128) -> ShardKey {
    ShardKey { chunk: ChunkId { blob: BlobId(n), index: 0 }, shard: 0 }
}

/// What an assertion may print of a shard: its length and checksum.
fn brief(found: &Option<Bytes>) -> Option<(usize, u64)> {
    found.as_ref().map(|bytes| (bytes.len(), payload_checksum(bytes)))
}

/// Bytes that no other `(key, version)` has.
fn payload(n: u128, version: u8, len: usize) -> Bytes {
    let mut bytes = vec![version; len];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte ^= u8::try_from((n * 31 + at as u128 * 7) % 251).unwrap();
    }
    bytes.into()
}
