//! A piece of a resumable upload: goes on where metadata says that the upload stands.
//!
//! Owns: [`append`], the lock of an upload while one request writes to it, and the unfinished chunk (tail) between
//! two requests. Not: what it shares with uploads of one request ([`super::ingest`]).
//! Holds: (1) an offset is made known only after every chunk before it is on disks; (2) what came before an
//! interruption is kept; (3) the tail that metadata names is never overwritten; (4) whoever leaves chunks behind
//! that no offset counts, in whatever way, leaves the upload in its own hands, so that the next writer gets a new
//! attempt and may bring other bytes (DECISIONS 0017).

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::{Buf, Bytes};
use kluis_chunkstore::ids::ChunkId;
use kluis_raft::{
    command::{AdvanceUpload, Command},
    model::{Document, Sealed, Tail, Upload, UploadId},
    outcome::{Outcome, Refusal},
};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{
    Caller, Gateway,
    ingest::{BodyReader, ChunkSink, Finished, commit, len_u64, new_buffer, target_document},
    notifications,
    scanning::{self, Stored},
    trail,
    vault::OpenVault,
};
use crate::{
    problem::{Code, Problem},
    seal::{ChunkSealer, sealed_len},
    telemetry::Direction,
    upload::{Sha256, chunk_count, standing},
};

/// How far a piece of a resumable upload brought it.
pub enum Appended {
    /// It stands at this offset.
    At(u64),
    /// It was the last piece: the version exists.
    Committed(Box<Document>),
}

/// How a resumable upload is held while one request writes to it.
struct Writer<'a> {
    gateway: &'a Arc<Gateway>,
    caller: &'a Caller,
    vault: &'a OpenVault,
    upload: Upload,
    writer: u128,
    /// Offset that metadata knows, with the hash and the tail there.
    durable: u64,
    hash_state: Sealed,
    tail: Option<Tail>,
    leased: Instant,
    locked: bool,
    /// Chunks were sent that `durable` does not count.
    unsure: bool,
}

impl Writer<'_> {
    /// Keeps the lock when a third of the lease has passed: a slow client may need longer for one chunk.
    async fn keep(&mut self) -> Result<(), Problem> {
        let lease_ms = self.gateway.limits().upload_lease_ms;
        if self.leased.elapsed() >= Duration::from_millis(lease_ms / 3) {
            self.gateway.propose(self.renewal(lease_ms)).await?;
            self.leased = Instant::now();
        }
        Ok(())
    }

    fn renewal(&self, lease_ms: u64) -> Command {
        Command::LockUpload { upload: self.upload.id, vault: self.vault.id(), writer: self.writer, lease_ms, renew: true }
    }

    /// Starts storing the chunk at `position` of `count`.
    async fn put(&mut self, sink: &mut ChunkSink, position: u32, count: u64, plain: Zeroizing<Vec<u8>>) -> Result<(), Problem> {
        self.unsure = true;
        sink.put(position, count, plain).await
    }

    /// Makes the progress up to `to` known, once all its chunks are on disks and no other is on its way.
    async fn advance(&mut self, sink: &ChunkSink, hash: &Sha256, to: u64, tail: Option<Tail>, unlock: bool) -> Result<(), Problem> {
        let hash_state = self.vault.seal_hash(self.upload.id, hash)?;
        let command = AdvanceUpload {
            layouts: sink.layouts.clone(),
            reduced: sink.reduced,
            ..self.step(to, hash_state.clone(), tail.clone(), unlock)
        };
        self.gateway.propose(Command::AdvanceUpload(Box::new(command))).await?;
        self.durable = to;
        self.hash_state = hash_state;
        self.tail = tail;
        self.locked = !unlock;
        self.unsure = false;
        Ok(())
    }

    fn step(&self, to: u64, hash_state: Sealed, tail: Option<Tail>, unlock: bool) -> AdvanceUpload {
        AdvanceUpload {
            upload: self.upload.id,
            writer: self.writer,
            from: self.durable,
            to,
            hash_state,
            tail,
            layouts: Vec::new(),
            reduced: false,
            unlock,
            lifetime_ms: self.gateway.limits().upload_lifetime_ms,
        }
    }

    /// Lets go where it stands, after a failure of ours. Best effort: the lease ends by itself, and then as one that
    /// broke off.
    async fn release(&mut self) {
        if !self.locked {
            return;
        }
        let command = if self.unsure {
            self.renewal(0)
        } else {
            Command::AdvanceUpload(Box::new(self.step(self.durable, self.hash_state.clone(), self.tail.clone(), true)))
        };
        if let Err(error) = self.gateway.metadata.propose(command).await {
            tracing::debug!(upload = %self.upload.id, %error, "the lock of an upload is left to its lease");
        }
    }
}

/// Chunks after which progress is made known in the middle of a request: 64 MiB of 4 MiB chunks.
const CHUNKS_PER_ADVANCE: u32 = 16;

/// Takes a piece of a resumable upload from `offset` on. What came before an interruption is kept. Must run
/// in a task of its own, so that a client that goes away does not keep it from noting the progress.
///
/// # Errors
/// 409 when the offset is another or somebody else writes; 422 when the whole has another digest than was
/// announced (the upload is gone then); what a body can fail with.
pub async fn append(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    vault: &OpenVault,
    upload: UploadId,
    offset: u64,
    body: Body,
) -> Result<Appended, Problem> {
    let limits = gateway.limits();
    let _place = gateway
        .guards
        .upload_place(caller.account, limits.uploads_per_account)
        .ok_or_else(|| Problem::new(Code::TooManyRequests, "too many uploads of this account are running"))?;
    let writer = gateway.random();
    let lock = Command::LockUpload { upload, vault: vault.id(), writer, lease_ms: limits.upload_lease_ms, renew: false };
    let locked = gateway.propose(lock).await?;
    let Outcome::Upload(upload) = locked else { return Err(Problem::internal("unexpected answer to LockUpload")) };
    let upload = *upload;
    let length = upload.length.ok_or_else(|| Problem::internal("a resumable upload without a length"))?;
    let mut held = Writer {
        gateway,
        caller,
        vault,
        writer,
        durable: upload.offset,
        hash_state: upload.hash_state.clone(),
        tail: upload.tail.clone(),
        leased: Instant::now(),
        locked: true,
        unsure: false,
        upload,
    };
    let appended = append_locked(&mut held, offset, length, body).await;
    if appended.is_err() {
        held.release().await;
    }
    appended
}

async fn append_locked(held: &mut Writer<'_>, offset: u64, length: u64, body: Body) -> Result<Appended, Problem> {
    let (gateway, vault) = (held.gateway, held.vault);
    if offset != held.durable {
        return Err(Refusal::OffsetMismatch { actual: held.durable }.into());
    }
    let sealer = vault.sealer(held.upload.blob, &held.upload.wrapped_key)?;
    let mut hash = vault.open_hash(held.upload.id, &held.hash_state)?;
    let mut sink = ChunkSink::new(gateway, Arc::clone(&sealer), &held.upload, vault.record.strict);
    let mut reader = BodyReader::new(body, length.saturating_sub(held.durable));
    let piece = match take_piece(held, &mut sink, &mut hash, &mut reader, &sealer, length).await {
        Ok(piece) => piece,
        Err((piece, problem)) => {
            // Keep what came, then say what went wrong.
            if let Some(piece) = piece {
                store_tail(held, &mut sink, &hash, *piece).await?;
            }
            return Err(problem);
        }
    };
    if piece.total < length {
        let total = piece.total;
        store_tail(held, &mut sink, &hash, piece).await?;
        return Ok(Appended::At(total));
    }
    let Piece { total, buffer, position } = piece;
    let count = u64::from(chunk_count(length, held.upload.chunk_bytes).unwrap_or(0));
    if !buffer.is_empty() {
        held.put(&mut sink, position, count, buffer).await?;
    }
    sink.settle().await?;
    let sha256 = hash.clone().finish();
    if held.upload.expected_sha256.is_some_and(|announced| announced != sha256) {
        gateway.telemetry.upload_aborted();
        gateway.propose(Command::AbortUpload { upload: held.upload.id, vault: vault.id() }).await?;
        held.locked = false;
        return Err(Problem::plain(Code::DigestMismatch));
    }
    // The offset goes first: should the commit fail for want of a majority, the next PATCH, of no bytes, commits.
    let whole = held.upload.offset == 0;
    held.advance(&sink, &hash, total, None, false).await?;
    if gateway.scan.is_some() {
        let stored = Stored::new(gateway, sealer, &held.upload, sink.layouts.clone(), total);
        scan_stored(held, &stored).await?;
    }
    let trail = trail::of_upload(gateway, held.caller, vault, target_document(&held.upload.target), &held.upload)?;
    let finished = Finished { upload: &held.upload, size: total, sha256, whole, trail };
    commit(gateway, &sink, finished).await.map(|document| Appended::Committed(Box::new(document)))
}

/// Scans what was stored. What must not stay is given up; where there is no verdict, the next PATCH, of no bytes, tries
/// again.
async fn scan_stored(held: &mut Writer<'_>, stored: &Stored) -> Result<(), Problem> {
    let gateway = held.gateway;
    let mut verdict = std::pin::pin!(scanning::whole(gateway, stored));
    let pause = Duration::from_millis(gateway.limits().upload_lease_ms / 4);
    let verdict = loop {
        tokio::select! {
            verdict = &mut verdict => break verdict?,
            () = tokio::time::sleep(pause) => held.keep().await?,
        }
    };
    let admitted = scanning::admit(gateway, &verdict);
    if admitted.as_ref().is_err_and(|problem| problem.code != Code::ScanUnavailable) {
        gateway.telemetry.upload_aborted();
        gateway.propose(Command::AbortUpload { upload: held.upload.id, vault: held.vault.id() }).await?;
        held.locked = false;
    }
    if admitted.as_ref().is_err_and(|problem| problem.code == Code::MalwareDetected) {
        let label = held.vault.open_label(target_document(&held.upload.target), &held.upload.name)?;
        notifications::tell_of_malware(gateway, held.vault, &label).await;
    }
    admitted
}

/// What one request brought that is not in a full chunk yet.
struct Piece {
    total: u64,
    buffer: Zeroizing<Vec<u8>>,
    position: u32,
}

/// Reads the body into chunks. On a failure of the client's side the piece so far comes with the problem;
/// on a failure of ours it does not, for nothing more can be stored.
async fn take_piece(
    held: &mut Writer<'_>,
    sink: &mut ChunkSink,
    hash: &mut Sha256,
    reader: &mut BodyReader,
    sealer: &Arc<ChunkSealer>,
    length: u64,
) -> Result<Piece, (Option<Box<Piece>>, Problem)> {
    let ours = |problem: Problem| (None, problem);
    let chunk_bytes = held.upload.chunk_bytes;
    let chunk_len = usize::try_from(chunk_bytes).map_err(|e| ours(Problem::internal(e)))?;
    let at = standing(held.durable, chunk_bytes).ok_or_else(|| ours(Problem::plain(Code::TooLarge)))?;
    let count = u64::from(chunk_count(length, chunk_bytes).unwrap_or(0));
    let mut piece = Piece { total: held.durable, buffer: new_buffer(chunk_len, None), position: at.position };
    if let Some(tail) = held.tail.clone() {
        let plain = fetch_tail(held, sealer, &tail).await.map_err(ours)?;
        piece.buffer.extend_from_slice(&plain);
    }
    if piece.buffer.len() != usize::try_from(at.filled).unwrap_or(usize::MAX) && held.durable < length {
        return Err(ours(Problem::internal("the tail of an upload does not fit its offset")));
    }
    let mut since_advance = 0;
    loop {
        let mut data = match reader.next().await {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(piece),
            Err(problem) => return Err((Some(Box::new(piece)), problem)),
        };
        held.keep().await.map_err(ours)?;
        held.gateway.telemetry.document_bytes(Direction::In, data.len());
        while !data.is_empty() {
            let take = (chunk_len - piece.buffer.len()).min(data.len());
            let part = data.get(..take).unwrap_or_default();
            hash.update(part);
            piece.buffer.extend_from_slice(part);
            data.advance(take);
            piece.total += len_u64(take);
            if piece.buffer.len() == chunk_len {
                let full = std::mem::replace(&mut piece.buffer, new_buffer(chunk_len, None));
                held.put(sink, piece.position, count, full).await.map_err(ours)?;
                piece.position += 1;
                since_advance += 1;
                if since_advance == CHUNKS_PER_ADVANCE {
                    sink.settle().await.map_err(ours)?;
                    held.advance(sink, hash, piece.total, None, false).await.map_err(ours)?;
                    since_advance = 0;
                }
            }
        }
    }
}

/// The unfinished chunk that an earlier request left.
async fn fetch_tail(held: &Writer<'_>, sealer: &ChunkSealer, tail: &Tail) -> Result<Bytes, Problem> {
    let plain_len = usize::try_from(tail.len).map_err(Problem::internal)?;
    let chunk = ChunkId::tail(held.upload.blob, tail.index);
    let sealed = held.gateway.bytes.fetch_chunk(chunk, held.upload.code, &held.upload.layouts, sealed_len(plain_len)).await?;
    Ok(sealer.open(chunk.index, 0, sealed)?)
}

/// Stores the unfinished chunk under a number of its own, makes the progress known and lets go.
async fn store_tail(held: &mut Writer<'_>, sink: &mut ChunkSink, hash: &Sha256, piece: Piece) -> Result<(), Problem> {
    let tail = if piece.total == held.durable {
        held.tail.clone()
    } else if piece.buffer.is_empty() {
        None
    } else {
        let len = u32::try_from(piece.buffer.len()).map_err(Problem::internal)?;
        let number = u32::try_from(held.gateway.random() & u128::from(u32::MAX)).map_err(Problem::internal)?;
        let chunk = sink.put_tail(number, piece.buffer).await?;
        Some(Tail { index: chunk.index, len })
    };
    sink.settle().await?;
    held.advance(sink, hash, piece.total, tail, true).await
}
