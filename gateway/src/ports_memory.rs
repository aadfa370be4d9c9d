//! Disks in memory, for tests of what lies above the port.
//!
//! Holds: what a test asks it to fail, fails; everything else is kept as given.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use kluis_chunkstore::{code::Code, ids::ChunkId};
use kluis_raft::model::{Blob, BlobLayout};

use crate::ports::{BytesError, ChunkReceipt, DocumentBytes, PutChunk};

/// Sealed chunks by id.
#[derive(Default)]
pub(crate) struct MemoryBytes {
    chunks: Mutex<HashMap<ChunkId, (Code, Bytes)>>,
    /// No disk takes anything.
    pub(crate) refuse_writes: AtomicBool,
    /// Too few shards are in reach.
    pub(crate) refuse_reads: AtomicBool,
    /// Chunks are acknowledged with reduced redundancy.
    pub(crate) reduced: AtomicBool,
    /// How often reconcile was told.
    pub(crate) suspects: AtomicUsize,
}

impl MemoryBytes {
    /// Every chunk with its code, in any order.
    pub(crate) fn all(&self) -> Vec<(ChunkId, Code, Bytes)> {
        let chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        chunks.iter().map(|(id, (code, bytes))| (*id, *code, bytes.clone())).collect()
    }

    /// Flips one bit of every chunk.
    pub(crate) fn damage(&self) {
        for (_, sealed) in self.chunks.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            let mut bytes = sealed.to_vec();
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            *sealed = bytes.into();
        }
    }
}

#[async_trait]
impl DocumentBytes for MemoryBytes {
    async fn put_chunk(&self, put: PutChunk) -> Result<ChunkReceipt, BytesError> {
        let PutChunk { chunk, code, sealed, strict, known: _ } = put;
        let reduced = self.reduced.load(Ordering::Relaxed);
        if self.refuse_writes.load(Ordering::Relaxed) || (reduced && strict) {
            return Err(BytesError::WriteUnavailable { stored: 0, wanted: code.write_quorum() });
        }
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner).insert(chunk, (code, sealed));
        Ok(ChunkReceipt { layout: BlobLayout { topology: 1, avoid: Default::default() }, reduced, complete: !reduced })
    }

    async fn fetch_chunk(&self, chunk: ChunkId, code: Code, layouts: &[BlobLayout], sealed_len: usize) -> Result<Bytes, BytesError> {
        let missing = BytesError::NotEnoughShards { have: 0, need: code.k() };
        if self.refuse_reads.load(Ordering::Relaxed) || layouts.is_empty() {
            return Err(missing);
        }
        let chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        chunks.get(&chunk).filter(|(c, b)| *c == code && b.len() == sealed_len).map(|(_, b)| b.clone()).ok_or(missing)
    }

    async fn report_suspect(&self, _blob: &Blob, _index: u32) {
        self.suspects.fetch_add(1, Ordering::Relaxed);
    }
}
