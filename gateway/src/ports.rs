//! What the gateway needs from outside: bytes on disks. (Metadata is `kluis_raft::client::Metadata`;
//! clock and randomness are `kluis_chunkstore::env`.)
//!
//! Owns: the traits. Implemented by the node's data path over QUIC and disks, and by one in memory for tests
//! of what lies above.
//! Holds: only sealed bytes cross this border.

use async_trait::async_trait;
use bytes::Bytes;
use kluis_chunkstore::{code::Code, ids::ChunkId};
use kluis_raft::model::{Blob, BlobLayout};

/// Why bytes could not be stored or fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BytesError {
    /// Too few disks took their shard for the write rule, even in its reduced form. Retry later.
    #[error("too few disks can take the bytes at present: {stored} of {wanted} shards")]
    WriteUnavailable {
        /// Shards that were synced.
        stored: usize,
        /// Shards that the rule wants.
        wanted: usize,
    },
    /// Every disk that could take it is full.
    #[error("the cluster is full")]
    Full,
    /// Fewer than k shards answered.
    #[error("not_enough_shards have={have} need={need}")]
    NotEnoughShards {
        /// Shards that answered.
        have: usize,
        /// Shards that are needed.
        need: usize,
    },
    /// The node is stopping, or has no topology yet.
    #[error("{0}")]
    Unavailable(String),
}

/// What is known of a chunk once the write rule holds for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkReceipt {
    /// The layout that it was written under.
    pub layout: BlobLayout,
    /// Fewer than k + s shards (at most s counted a site) were synced.
    pub reduced: bool,
    /// Every shard was synced in its place, and nothing was avoided.
    pub complete: bool,
}

/// A chunk to store.
#[derive(Debug, Clone)]
pub struct PutChunk {
    /// Which.
    pub chunk: ChunkId,
    /// Its code.
    pub code: Code,
    /// Its sealed bytes.
    pub sealed: Bytes,
    /// Whether fewer than k + s shards are a failure.
    pub strict: bool,
    /// Layouts that the upload uses already: one of them is used again where that serves, for a blob's
    /// record takes only a few.
    pub known: Vec<BlobLayout>,
}

/// The cluster's disks.
#[async_trait]
pub trait DocumentBytes: Send + Sync {
    /// Codes the sealed bytes of a chunk into shards, stores them and returns when the write rule holds
    /// (design: k + s synced shards, at most s counted a site; else `reduced` from k + 2 on, unless `strict`).
    async fn put_chunk(&self, put: PutChunk) -> Result<ChunkReceipt, BytesError>;

    /// The sealed bytes of a chunk of exactly `sealed_len` bytes, from the nearest shards, verified by
    /// checksum, decoded. `layouts` says where they may lie.
    async fn fetch_chunk(&self, chunk: ChunkId, code: Code, layouts: &[BlobLayout], sealed_len: usize) -> Result<Bytes, BytesError>;

    /// Says that the chunk of this index (of its id) of `blob` failed to open though its shards were whole, or that
    /// shards were missing: reconcile looks at it. Best effort.
    async fn report_suspect(&self, blob: &Blob, index: u32);
}
