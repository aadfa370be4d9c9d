//! What this machine can do at most, one primitive at a time.
//!
//! Reading order: this file (ciphers, code, checksums, in memory), [`connection`] (TLS and QUIC over loopback),
//! [`storage`] (durable writes and commits).
//!
//! Owns: the loops. Not: what follows from them ([`crate::limit`]).
//! Holds: (1) each primitive is the one that the product uses, from the product's own code and with its settings
//! where that can be called; (2) processor time is that of this whole process, so that both ends of a connection
//! count; (3) every loop is run once before its time is taken, so that memory is mapped and tables are built.

mod connection;
mod storage;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest,
};
use bytes::Bytes;
use kluis_chunkstore::{code::Code, codec::erasure::Erasure, format::record::payload_checksum};
use serde::Serialize;

use crate::{
    load::random,
    proc::own_cpu_seconds,
    stats::{GIB, MIB},
};

/// Bytes worked on at a time where a chunk is meant.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of a shard of such a chunk.
pub const SHARD_BYTES: usize = CHUNK_BYTES / 4;
/// Bytes of the smallest document, and of the smallest write that is made durable.
pub const BLOCK_BYTES: usize = 4096;
/// Writers where several files or threads share a disk.
pub const WRITERS: usize = 16;

/// One primitive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Bytes a second, in MiB.
    pub mib_per_second: f64,
    /// Operations a second.
    pub operations_per_second: f64,
    /// Processor time for a GiB, in seconds.
    pub cpu_seconds_per_gib: f64,
    /// Processor time for an operation, in seconds.
    pub cpu_seconds_per_operation: f64,
}

impl Rate {
    /// From what was done.
    pub fn new(operations: u64, bytes_each: usize, elapsed: Duration, cpu_seconds: f64) -> Self {
        let (count, seconds) = (operations as f64, elapsed.as_secs_f64());
        let bytes = count * bytes_each as f64;
        Self {
            mib_per_second: bytes / MIB / seconds,
            operations_per_second: count / seconds,
            cpu_seconds_per_gib: cpu_seconds / bytes * GIB,
            cpu_seconds_per_operation: cpu_seconds / count,
        }
    }
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Primitives {
    /// TLS 1.3 with a gateway's settings over TCP on loopback, one connection, both ends, a chunk at a time.
    pub tls_stream: Rate,
    /// A short request and 4 KiB back on such a connection, one after the other.
    pub tls_exchange: Rate,
    /// AES-256-GCM, sealing a chunk, one thread.
    pub aead_seal: Rate,
    /// AES-256-GCM, opening a chunk, one thread.
    pub aead_open: Rate,
    /// Reed-Solomon 4+5, the nine rows of a chunk (bytes of the chunk), all of them combined, one thread.
    pub rs_encode: Rate,
    /// Reed-Solomon 4+5, a chunk from four such rows: the dearest way back and the usual one, one thread.
    pub rs_decode_worst: Rate,
    /// XXH3-64 over a shard, one thread.
    pub xxh3: Rate,
    /// SHA-256 over a chunk, one thread. An upload pays it too; it is measured apart and not part of the limit.
    pub sha_256: Rate,
    /// QUIC between two endpoints of this process with a node's settings and mutual TLS: shards, eight streams
    /// at a time, both ends.
    pub quic_stream: Rate,
    /// 4 KiB on a stream of its own and a byte back, one after the other.
    pub quic_exchange: Rate,
    /// A shard into a preallocated segment past the page cache, each made durable, one writer.
    pub append_shard: Rate,
    /// The same, [`WRITERS`] writers with a file each.
    pub append_shard_shared: Rate,
    /// The same with 4 KiB, one writer.
    pub append_block: Rate,
    /// A durable commit of one record of 200 bytes in RocksDB, one writer.
    pub rocksdb_commit: Rate,
    /// The same, [`WRITERS`] writers.
    pub rocksdb_commit_shared: Rate,
}

impl Primitives {
    /// Each with its name for people, in the order of measuring.
    pub fn named(&self) -> [(&'static str, Rate); 15] {
        [
            ("TLS 1.3 stream, both ends", self.tls_stream),
            ("TLS 1.3 exchange of 4 KiB", self.tls_exchange),
            ("AES-256-GCM seal", self.aead_seal),
            ("AES-256-GCM open", self.aead_open),
            ("Reed-Solomon 4+5 encode", self.rs_encode),
            ("Reed-Solomon 4+5 worst decode", self.rs_decode_worst),
            ("XXH3-64", self.xxh3),
            ("SHA-256 (not in the limit)", self.sha_256),
            ("QUIC stream, both ends", self.quic_stream),
            ("QUIC exchange of 4 KiB", self.quic_exchange),
            ("append 256 KiB, sync", self.append_shard),
            ("append 256 KiB, sync, 16 files", self.append_shard_shared),
            ("append 4 KiB, sync", self.append_block),
            ("RocksDB commit, sync", self.rocksdb_commit),
            ("RocksDB commit, sync, 16 writers", self.rocksdb_commit_shared),
        ]
    }
}

/// Measures all of them, `time` for each.
///
/// # Errors
/// A primitive fails.
pub async fn measure(dir: &Path, time: Duration) -> Result<Primitives> {
    let chunk = random(CHUNK_BYTES)?;
    let shard = chunk.slice(..SHARD_BYTES);
    let (aead_seal, aead_open) = aead(&chunk, time)?;
    let (rs_encode, rs_decode_worst) = reed_solomon(&chunk, time)?;
    let identities = connection::Identities::make()?;
    Ok(Primitives {
        tls_stream: connection::tls_stream(&identities, time).await?,
        tls_exchange: connection::tls_exchange(&identities, time).await?,
        aead_seal,
        aead_open,
        rs_encode,
        rs_decode_worst,
        xxh3: repeat(SHARD_BYTES, time, || {
            std::hint::black_box(payload_checksum(&shard));
            Ok(())
        })?,
        sha_256: repeat(CHUNK_BYTES, time, || {
            std::hint::black_box(digest::digest(&digest::SHA256, &chunk));
            Ok(())
        })?,
        quic_stream: connection::quic(&identities, SHARD_BYTES, connection::STREAMS, time).await?,
        quic_exchange: connection::quic(&identities, BLOCK_BYTES, 1, time).await?,
        append_shard: storage::append(dir, SHARD_BYTES, 1, time)?,
        append_shard_shared: storage::append(dir, SHARD_BYTES, WRITERS, time)?,
        append_block: storage::append(dir, BLOCK_BYTES, 1, time)?,
        rocksdb_commit: storage::rocksdb_commit(dir, 1, time)?,
        rocksdb_commit_shared: storage::rocksdb_commit(dir, WRITERS, time)?,
    })
}

/// Repeats `round` for `time`, after one round that does not count.
fn repeat(bytes_each: usize, time: Duration, mut round: impl FnMut() -> Result<()>) -> Result<Rate> {
    round()?;
    let (begun, cpu) = (Instant::now(), own_cpu_seconds());
    let mut operations = 0;
    while operations == 0 || begun.elapsed() < time {
        round()?;
        operations += 1;
    }
    Ok(Rate::new(operations, bytes_each, begun.elapsed(), own_cpu_seconds() - cpu))
}

fn aead(chunk: &Bytes, time: Duration) -> Result<(Rate, Rate)> {
    let failed = |_| anyhow!("AES-256-GCM failed");
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &random(32)?).map_err(failed)?);
    let mut buffer = chunk.to_vec();
    let mut number = 0_u64;
    let seal = repeat(buffer.len(), time, || {
        number += 1;
        let mut nonce = [0; 12];
        if let Some(front) = nonce.first_chunk_mut::<8>() {
            *front = number.to_le_bytes();
        }
        let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut buffer);
        let _ = std::hint::black_box(tag.map_err(failed)?);
        Ok(())
    })?;
    let nonce = || Nonce::assume_unique_for_key([0xff; 12]);
    let mut sealed = chunk.to_vec();
    key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed).map_err(failed)?;
    // Opening is in place too, so each round opens a copy, as the product does with what the network gave it.
    let mut work = sealed.clone();
    let open = repeat(chunk.len(), time, || {
        work.copy_from_slice(&sealed);
        std::hint::black_box(key.open_in_place(nonce(), Aad::empty(), &mut work).map_err(failed)?);
        Ok(())
    })?;
    Ok((seal, open))
}

fn reed_solomon(chunk: &Bytes, time: Duration) -> Result<(Rate, Rate)> {
    let code = Code::STANDARD;
    let erasure = Erasure::of(code)?;
    // Rows from k on, as nearly all rows are that placement gives: of 256 only k are parts of the chunk.
    let rows: Vec<u8> = (0..=u8::MAX).skip(code.k()).step_by(25).take(code.n()).collect();
    let encode = repeat(chunk.len(), time, || {
        std::hint::black_box(erasure.encode(chunk, &rows));
        Ok(())
    })?;
    let mut shards: Vec<(u8, Bytes)> = rows.iter().copied().zip(erasure.encode(chunk, &rows)).collect();
    shards.truncate(code.k());
    ensure!(erasure.decode(&shards, chunk.len())? == *chunk, "the code does not give back what was coded");
    let decode = repeat(chunk.len(), time, || {
        std::hint::black_box(erasure.decode(&shards, chunk.len())?);
        Ok(())
    })?;
    Ok((encode, decode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_same_in_bytes_and_in_operations() {
        let rate = Rate::new(8, 256 << 10, Duration::from_secs(2), 0.5);
        assert_eq!((rate.mib_per_second, rate.operations_per_second), (1.0, 4.0));
        assert_eq!((rate.cpu_seconds_per_gib, rate.cpu_seconds_per_operation), (256.0, 0.0625));
    }

    #[test]
    fn a_loop_without_time_still_runs_once() {
        let mut rounds = 0;
        let rate = repeat(1, Duration::ZERO, || {
            rounds += 1;
            Ok(())
        });
        assert_eq!(rounds, 2, "one to warm up, one that counts");
        assert!(rate.unwrap().operations_per_second > 0.0);
    }
}
