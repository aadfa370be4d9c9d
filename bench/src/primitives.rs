//! What this machine can do at most, one primitive at a time.
//!
//! Owns: the loops. Not: what follows from them ([`crate::report`]).
//! Holds: each primitive is the one that the product uses, from the product's own code where it is there;
//! processor time is that of this whole process, so that both ends of a connection count.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use kluis_chunkstore::{
    code::Code,
    codec::erasure::Erasure,
    format::record::payload_checksum,
    net::{NodeIdentity, endpoint, identity::NodeName},
};
use kluis_node::{
    assemble::real_env,
    ca::{Authority, new_key},
};
use serde::Serialize;

use crate::{cluster::own_cpu_seconds, load::random};

const MIB: f64 = 1_048_576.0;
/// Bytes worked on at a time where a chunk is meant.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of a shard of such a chunk.
const SHARD_BYTES: usize = CHUNK_BYTES / 4;
/// Bytes of the smallest write that is made durable.
const BLOCK_BYTES: usize = 4096;
/// Streams that are under way at a time on the QUIC connection.
const STREAMS: usize = 8;

/// One primitive.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Rate {
    /// Bytes a second, in MiB.
    pub mib_per_second: f64,
    /// Operations a second.
    pub operations_per_second: f64,
    /// Processor time for a GiB, in seconds.
    pub cpu_seconds_per_gib: f64,
}

/// All of them.
#[derive(Debug, Clone, Serialize)]
pub struct Primitives {
    /// AES-256-GCM over a chunk, one thread.
    pub aes_256_gcm: Rate,
    /// Reed-Solomon 4+5 over a chunk (bytes of the chunk), one thread.
    pub rs_encode_4_5: Rate,
    /// XXH3-64 over a shard, one thread.
    pub xxh3: Rate,
    /// Appends of a shard's size, each made durable.
    pub append_shard_synced: Rate,
    /// Appends of 4 KiB, each made durable.
    pub append_block_synced: Rate,
    /// QUIC between two endpoints of this process, with the product's settings and mutual TLS; both ends.
    pub quic_loopback: Rate,
}

/// Measures all of them, `time` for each.
///
/// # Errors
/// A primitive fails.
pub async fn measure(dir: &Path, time: Duration) -> Result<Primitives> {
    let erasure = Erasure::of(Code::STANDARD)?;
    let chunk = random(CHUNK_BYTES)?;
    let shard = chunk.slice(..SHARD_BYTES);
    Ok(Primitives {
        aes_256_gcm: aes(time)?,
        rs_encode_4_5: repeat(CHUNK_BYTES, time, || {
            std::hint::black_box(erasure.encode(&chunk));
            Ok(())
        })?,
        xxh3: repeat(SHARD_BYTES, time, || {
            std::hint::black_box(payload_checksum(&shard));
            Ok(())
        })?,
        append_shard_synced: append(dir, SHARD_BYTES, time)?,
        append_block_synced: append(dir, BLOCK_BYTES, time)?,
        quic_loopback: quic(time).await?,
    })
}

fn rate(operations: u64, bytes_each: usize, elapsed: Duration, cpu_seconds: f64) -> Rate {
    let mib = operations as f64 * bytes_each as f64 / MIB;
    Rate {
        mib_per_second: mib / elapsed.as_secs_f64(),
        operations_per_second: operations as f64 / elapsed.as_secs_f64(),
        cpu_seconds_per_gib: cpu_seconds / mib * 1024.0,
    }
}

fn repeat(bytes_each: usize, time: Duration, mut round: impl FnMut() -> Result<()>) -> Result<Rate> {
    // Once for nothing: memory is mapped, tables are built.
    round()?;
    let (begun, cpu) = (Instant::now(), own_cpu_seconds()?);
    let mut operations = 0;
    while begun.elapsed() < time {
        round()?;
        operations += 1;
    }
    Ok(rate(operations, bytes_each, begun.elapsed(), own_cpu_seconds()? - cpu))
}

fn aes(time: Duration) -> Result<Rate> {
    let failed = |_| anyhow!("AES-256-GCM failed");
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &random(32)?).map_err(failed)?);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut number = 0_u64;
    repeat(CHUNK_BYTES, time, || {
        number += 1;
        let mut nonce = [0; 12];
        if let Some(front) = nonce.first_chunk_mut::<8>() {
            *front = number.to_le_bytes();
        }
        let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut buffer);
        let _ = std::hint::black_box(tag.map_err(failed)?);
        Ok(())
    })
}

fn append(dir: &Path, bytes_each: usize, time: Duration) -> Result<Rate> {
    let path = dir.join("append");
    let mut file = fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let content = random(bytes_each)?;
    let measured = repeat(bytes_each, time, || {
        file.write_all(&content)?;
        file.sync_data()?;
        Ok(())
    });
    fs::remove_file(&path)?;
    measured
}

/// Two identities of one authority.
fn identities() -> Result<[NodeIdentity; 2]> {
    let env = real_env();
    let (authority, _) = Authority::create(&env, "bench")?;
    let make = |dns: &str| -> Result<NodeIdentity> {
        let name = NodeName::parse(dns).context("no node's name")?;
        let key = new_key()?;
        let certificate = authority.sign_node(&env, &key.request_pem, &name)?;
        Ok(NodeIdentity::from_pem(certificate.as_bytes(), key.key_pem.as_bytes(), authority.certificate_pem.as_bytes())?)
    };
    Ok([make("n1.dc1.bench")?, make("n2.dc1.bench")?])
}

/// Shards over one connection, each on a stream of its own, answered when it was read.
async fn quic(time: Duration) -> Result<Rate> {
    let env = real_env();
    let [server, client] = identities()?;
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (server, client) = (endpoint::open(&env, &server, anywhere)?, endpoint::open(&env, &client, anywhere)?);
    let address = server.local_addr()?;
    let sink = tokio::spawn(async move {
        let incoming = server.accept().await.context("the endpoint was closed")?;
        let connection = incoming.await?;
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            tokio::spawn(async move {
                while recv.read_chunk(usize::MAX, true).await?.is_some() {}
                send.write_all(&[1]).await?;
                send.finish()?;
                anyhow::Ok(())
            });
        }
        anyhow::Ok(())
    });
    let connection = client.connect(address, "n1.dc1.bench")?.await?;
    let shard = random(SHARD_BYTES)?;
    let (begun, cpu) = (Instant::now(), own_cpu_seconds()?);
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..STREAMS {
        let (connection, shard): (_, Bytes) = (connection.clone(), shard.clone());
        workers.spawn(async move {
            let mut operations = 0_u64;
            while begun.elapsed() < time {
                let (mut send, mut recv) = connection.open_bi().await?;
                send.write_chunk(shard.clone()).await?;
                send.finish()?;
                let mut answer = [0; 1];
                recv.read_exact(&mut answer).await?;
                operations += 1;
            }
            anyhow::Ok(operations)
        });
    }
    let mut operations = 0;
    while let Some(finished) = workers.join_next().await {
        operations += finished??;
    }
    let measured = rate(operations, SHARD_BYTES, begun.elapsed(), own_cpu_seconds()? - cpu);
    connection.close(0_u8.into(), b"done");
    client.wait_idle().await;
    sink.await??;
    Ok(measured)
}
