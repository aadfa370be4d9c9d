//! Bytes in: a request's body becomes sealed chunks on disks, in one pass and bounded memory.
//!
//! Owns: the drivers of both kinds of upload, [`receive`] (one request, one version) and [`append`] (a piece
//! of a resumable upload). Not: the rules ([`crate::upload`]) and the URLs.
//! Holds: (1) at most `upload_window_chunks + 1` chunks of plaintext are in memory, and they are wiped;
//! (2) a version becomes visible by one command, after the write rule held for every chunk and the digest
//! was right; (3) whatever goes wrong before leaves nothing visible and gives its quota back.

use std::{error::Error as _, sync::Arc};

use aws_lc_rs::digest;
use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use kluis_chunkstore::{
    code::Code as Shards,
    ids::{BlobId, ChunkId},
};
use kluis_raft::{
    command::{AdvanceUpload, BeginUpload, Command, CommitUpload},
    model::{BlobLayout, Document, IdempotencyState, Tail, Upload, UploadId, UploadTarget, VaultId},
    outcome::{Outcome, Refusal},
    view,
};
use tokio::{task::JoinSet, time::Instant};
use zeroize::Zeroizing;

use crate::{
    api::{Caller, Gateway, name::Label, vault::OpenVault},
    ports::{ChunkReceipt, DocumentBytes},
    problem::{Code, Problem},
    seal::{ChunkSealer, sealed_len},
    server::BodyTooSlow,
    telemetry::Direction,
    upload::{Sha256, chunk_count, standing, tail_index},
};

/// Hash of account and `Idempotency-Key`, and fingerprint of the request.
pub type Idempotency = ([u8; 32], [u8; 32]);

/// What a single-request upload is to become.
pub struct Plan {
    /// The document or version.
    pub target: UploadTarget,
    /// Name and media type.
    pub label: Label,
    /// Announced length.
    pub length: Option<u64>,
    /// Announced digest.
    pub sha256: Option<[u8; 32]>,
    /// For POST.
    pub idempotency: Option<Idempotency>,
}

/// The document that a target speaks of.
pub fn target_document(target: &UploadTarget) -> kluis_raft::model::DocumentId {
    match target {
        UploadTarget::NewDocument(document) | UploadTarget::NewVersion { document, .. } => *document,
    }
}

/// The body of a request, counted and bounded.
struct BodyReader {
    body: Body,
    taken: u64,
    max: u64,
}

impl BodyReader {
    fn new(body: Body, max: u64) -> Self {
        Self { body, taken: 0, max }
    }

    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            // Trailers carry nothing that we read.
            let Ok(data) = frame.map_err(body_problem)?.into_data() else { continue };
            self.taken = self.taken.saturating_add(len_u64(data.len()));
            if self.taken > self.max {
                return Err(Problem::new(Code::TooLarge, format!("at most {} bytes are taken", self.max)));
            }
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
    }
}

/// Why a body ended early.
fn body_problem(error: axum::Error) -> Problem {
    let inner = error.into_inner();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*inner);
    while let Some(error) = cause {
        if error.is::<BodyTooSlow>() {
            return Problem::plain(Code::BodyTimeout);
        }
        cause = error.source();
    }
    Problem::new(Code::LengthMismatch, "the body ended before its announced end")
}

fn len_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// The chunks of one upload on their way to disks, a bounded number at once.
struct ChunkSink {
    bytes: Arc<dyn DocumentBytes>,
    sealer: Arc<ChunkSealer>,
    blob: BlobId,
    code: Shards,
    strict: bool,
    window: usize,
    running: JoinSet<Result<ChunkReceipt, Problem>>,
    layouts: Vec<BlobLayout>,
    reduced: bool,
    settled: bool,
}

impl ChunkSink {
    fn new(gateway: &Gateway, sealer: Arc<ChunkSealer>, upload: &Upload, strict: bool) -> Self {
        Self {
            bytes: Arc::clone(&gateway.bytes),
            sealer,
            blob: upload.blob,
            code: upload.code,
            strict,
            window: gateway.limits().upload_window_chunks.max(1),
            running: JoinSet::new(),
            layouts: upload.layouts.clone(),
            reduced: upload.reduced,
            settled: true,
        }
    }

    /// Starts sealing and storing a chunk; waits for an earlier one when the window is full.
    async fn put(&mut self, index: u32, count: u64, plain: Zeroizing<Vec<u8>>) -> Result<(), Problem> {
        while self.running.len() >= self.window {
            self.take_one().await?;
        }
        let (bytes, sealer) = (Arc::clone(&self.bytes), Arc::clone(&self.sealer));
        let (chunk, code, strict) = (ChunkId { blob: self.blob, index }, self.code, self.strict);
        self.running.spawn(async move {
            let sealed = sealer.seal(index, count, &plain)?;
            drop(plain);
            Ok(bytes.put_chunk(chunk, code, sealed, strict).await?)
        });
        Ok(())
    }

    /// Waits until every chunk is on disks.
    async fn settle(&mut self) -> Result<(), Problem> {
        while !self.running.is_empty() {
            self.take_one().await?;
        }
        Ok(())
    }

    async fn take_one(&mut self) -> Result<(), Problem> {
        let Some(done) = self.running.join_next().await else { return Ok(()) };
        let receipt = done.map_err(Problem::internal)??;
        if !self.layouts.contains(&receipt.layout) {
            self.layouts.insert(0, receipt.layout);
        }
        self.reduced |= receipt.reduced;
        self.settled &= receipt.complete;
        Ok(())
    }
}

/// Gives an upload up when it is dropped armed: a refusal, a failure, or a client that went away.
struct AbortOnDrop {
    gateway: Arc<Gateway>,
    upload: UploadId,
    vault: VaultId,
    armed: bool,
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        self.gateway.telemetry.upload_aborted();
        let (gateway, upload, vault) = (Arc::clone(&self.gateway), self.upload, self.vault);
        // Outside a runtime the process is ending; the upload then expires by itself.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = gateway.metadata.propose(Command::AbortUpload { upload, vault }).await {
                    tracing::warn!(%upload, %error, "an upload could not be given up now; it will expire");
                }
            });
        }
    }
}

/// Receives a whole version in one request and commits it. For a repeated `Idempotency-Key` the body is
/// read, compared with what was committed then, and the document as it was then is given.
///
/// # Errors
/// Every refusal of an upload; nothing is visible then.
pub async fn receive(gateway: &Arc<Gateway>, caller: &Caller, vault: &OpenVault, plan: Plan, body: Body) -> Result<Document, Problem> {
    let limits = gateway.limits();
    let _place = gateway
        .guards
        .upload_place(caller.session.account, limits.uploads_per_account)
        .ok_or_else(|| Problem::new(Code::TooManyRequests, "too many uploads of this account are running"))?;
    let cluster = gateway.cluster(&*gateway.metadata.view())?;
    let mut reader = BodyReader::new(body, limits.body_max_bytes);
    let mut hash = digest::Context::new(&digest::SHA256);

    // A body of unknown length may turn out to be small: the first bytes tell, before a code is chosen.
    let mut held: Vec<Bytes> = Vec::new();
    let mut ended = false;
    if plan.length.is_none() {
        while reader.taken <= u64::from(cluster.small_max_bytes) {
            match reader.next().await? {
                Some(data) => held.push(data),
                None => {
                    ended = true;
                    break;
                }
            }
        }
    }
    let length = plan.length.or(ended.then_some(reader.taken));
    let is_small = length.is_some_and(|l| l <= u64::from(cluster.small_max_bytes));
    let code = if is_small { Shards::SMALL } else { cluster.code };
    let too_long = || Problem::new(Code::TooLarge, "the document has too many chunks");
    let count = match length {
        Some(length) => u64::from(chunk_count(length, cluster.chunk_bytes).ok_or_else(too_long)?),
        None => 0,
    };

    let blob = BlobId(gateway.random());
    let (key, wrapped_key) = vault.new_document_key(gateway, blob)?;
    let sealer = Arc::new(ChunkSealer::new(&key, blob)?);
    let begin = BeginUpload {
        upload: UploadId::new(gateway.clock.now_ms(), gateway.random()),
        vault: vault.id(),
        account: caller.session.account,
        blob,
        name: vault.seal_label(target_document(&plan.target), &plan.label)?,
        target: plan.target.clone(),
        wrapped_key,
        code,
        chunk_bytes: cluster.chunk_bytes,
        length: plan.length,
        expected_sha256: plan.sha256,
        reserve_bytes: length.unwrap_or(limits.reserve_step_bytes.min(limits.body_max_bytes)),
        lifetime_ms: limits.upload_lifetime_ms,
        idempotency: plan.idempotency,
        resumable: false,
    };
    let upload = match begin_upload(gateway, begin, length.is_some(), reader.taken).await? {
        Outcome::Upload(upload) => *upload,
        Outcome::Repeated(state) => return repeated(gateway, vault.id(), state, reader, held, hash).await,
        other => return Err(Problem::internal(format!("unexpected answer to BeginUpload: {other:?}"))),
    };
    let mut abort = AbortOnDrop { gateway: Arc::clone(gateway), upload: upload.id, vault: vault.id(), armed: true };
    let mut sink = ChunkSink::new(gateway, sealer, &upload, vault.record.strict);
    let chunk_bytes = usize::try_from(cluster.chunk_bytes).map_err(Problem::internal)?;
    let mut buffer = new_buffer(chunk_bytes, length);
    let mut reserved = upload.reserved_bytes;
    let (mut total, mut index) = (0u64, 0u32);
    let mut held = held.into_iter();
    loop {
        let mut data = match held.next() {
            Some(data) => data,
            None if ended => break,
            None => match reader.next().await? {
                Some(data) => data,
                None => break,
            },
        };
        hash.update(&data);
        total = total.saturating_add(len_u64(data.len()));
        if plan.length.is_some_and(|length| total > length) {
            return Err(Problem::new(Code::LengthMismatch, "more bytes came than were announced"));
        }
        if total > reserved {
            reserved = extend(gateway, &upload, reserved, total).await?;
        }
        while !data.is_empty() {
            let take = (chunk_bytes - buffer.len()).min(data.len());
            buffer.extend_from_slice(data.get(..take).unwrap_or_default());
            data.advance(take);
            if buffer.len() == chunk_bytes {
                let left = length.map(|l| l.saturating_sub((u64::from(index) + 1) * u64::from(cluster.chunk_bytes)));
                let full = std::mem::replace(&mut buffer, new_buffer(chunk_bytes, left));
                sink.put(index, count, full).await?;
                index = index.checked_add(1).filter(|i| *i < ChunkId::TAIL_BASE).ok_or_else(too_long)?;
            }
        }
    }
    if let Some(length) = plan.length.filter(|length| *length != total) {
        return Err(Problem::new(Code::LengthMismatch, format!("{total} bytes came where {length} were announced")));
    }
    if !buffer.is_empty() {
        sink.put(index, count, buffer).await?;
    }
    let sha256: [u8; 32] = hash.finish().as_ref().try_into().map_err(Problem::internal)?;
    if plan.sha256.is_some_and(|announced| announced != sha256) {
        return Err(Problem::plain(Code::DigestMismatch));
    }
    sink.settle().await?;
    gateway.telemetry.document_bytes(Direction::In, usize::try_from(total).unwrap_or(usize::MAX));
    let document = commit(gateway, &upload, &sink, total, sha256, true).await?;
    abort.armed = false;
    Ok(document)
}

/// A buffer for the next chunk: no larger than what is still to come.
fn new_buffer(chunk_bytes: usize, left: Option<u64>) -> Zeroizing<Vec<u8>> {
    let left = left.and_then(|l| usize::try_from(l).ok()).unwrap_or(chunk_bytes);
    Zeroizing::new(Vec::with_capacity(left.min(chunk_bytes)))
}

/// Begins an upload. Where the length is not known and a whole step of quota is not to be had, what is left
/// is taken, if it holds the `seen` bytes at least.
async fn begin_upload(gateway: &Gateway, begin: BeginUpload, length_known: bool, seen: u64) -> Result<Outcome, Problem> {
    match gateway.metadata.propose(Command::BeginUpload(Box::new(begin.clone()))).await? {
        Outcome::Refused(Refusal::QuotaExceeded { used_bytes, reserved_bytes, limit_bytes }) if !length_known => {
            let left = limit_bytes.saturating_sub(used_bytes).saturating_sub(reserved_bytes);
            if left < seen {
                return Err(Refusal::QuotaExceeded { used_bytes, reserved_bytes, limit_bytes }.into());
            }
            gateway.propose(Command::BeginUpload(Box::new(BeginUpload { reserve_bytes: left, ..begin }))).await
        }
        Outcome::Refused(refusal) => Err(refusal.into()),
        outcome => Ok(outcome),
    }
}

/// Reserves more quota, so that `needed` bytes fit; returns what is reserved then.
async fn extend(gateway: &Gateway, upload: &Upload, reserved: u64, needed: u64) -> Result<u64, Problem> {
    let limits = gateway.limits();
    let command = |reserved_bytes| Command::ExtendUpload { upload: upload.id, reserved_bytes, lifetime_ms: limits.upload_lifetime_ms };
    let wanted = needed.max(reserved.saturating_add(limits.reserve_step_bytes)).min(limits.body_max_bytes.max(needed));
    match gateway.metadata.propose(command(wanted)).await? {
        Outcome::Refused(Refusal::QuotaExceeded { used_bytes, reserved_bytes, limit_bytes }) => {
            let left = limit_bytes.saturating_sub(used_bytes).saturating_sub(reserved_bytes.saturating_sub(reserved));
            if left < needed {
                return Err(Refusal::QuotaExceeded { used_bytes, reserved_bytes, limit_bytes }.into());
            }
            gateway.propose(command(left)).await?;
            Ok(left)
        }
        Outcome::Refused(refusal) => Err(refusal.into()),
        _ => Ok(wanted),
    }
}

async fn commit(gateway: &Gateway, upload: &Upload, sink: &ChunkSink, size: u64, sha256: [u8; 32], whole: bool) -> Result<Document, Problem> {
    let chunks = chunk_count(size, upload.chunk_bytes).ok_or_else(|| Problem::internal("more chunks than a blob has"))?;
    let command = CommitUpload {
        upload: upload.id,
        size,
        sha256,
        chunks,
        layouts: sink.layouts.clone(),
        reduced: sink.reduced,
        // Of the chunks of earlier requests it is not known here whether they are complete.
        settled: whole && sink.settled,
    };
    match gateway.propose(Command::CommitUpload(Box::new(command))).await? {
        Outcome::Committed(document) => {
            if document.current.reduced {
                gateway.telemetry.upload_reduced();
            }
            Ok(*document)
        }
        other => Err(Problem::internal(format!("unexpected answer to CommitUpload: {other:?}"))),
    }
}

/// The answer to a request whose `Idempotency-Key` was used before.
async fn repeated(
    gateway: &Gateway,
    vault: VaultId,
    state: IdempotencyState,
    mut reader: BodyReader,
    held: Vec<Bytes>,
    mut hash: digest::Context,
) -> Result<Document, Problem> {
    let IdempotencyState::Committed { document, version, revision } = state else {
        return Err(match state {
            IdempotencyState::Running { .. } => Problem::plain(Code::RequestInFlight),
            _ => Problem::plain(Code::IdempotencyKeyReused),
        });
    };
    let read = gateway.current().await?;
    let gone = || Problem::plain(Code::DocumentGone);
    let mut document = view::document(&*read, vault, document)?.ok_or_else(gone)?;
    let version = view::version(&*read, vault, document.id, version)?.ok_or_else(gone)?;
    for data in held {
        hash.update(&data);
    }
    while let Some(data) = reader.next().await? {
        hash.update(&data);
    }
    if reader.taken != version.size || hash.finish().as_ref() != version.sha256 {
        return Err(Problem::new(Code::IdempotencyKeyReused, "the content differs from that of the first request"));
    }
    document.revision = revision;
    document.updated_ms = version.created_ms;
    document.current = version;
    Ok(document)
}

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
    vault: &'a OpenVault,
    upload: Upload,
    writer: u128,
    /// Offset that metadata knows.
    durable: u64,
    leased: Instant,
}

impl Writer<'_> {
    /// Keeps the lock when a third of the lease has passed: a slow client may need longer for one chunk.
    async fn keep(&mut self) -> Result<(), Problem> {
        let lease_ms = self.gateway.limits().upload_lease_ms;
        if self.leased.elapsed() >= std::time::Duration::from_millis(lease_ms / 3) {
            self.gateway
                .propose(Command::LockUpload { upload: self.upload.id, vault: self.vault.id(), writer: self.writer, lease_ms })
                .await?;
            self.leased = Instant::now();
        }
        Ok(())
    }

    /// Makes the progress up to `to` known, once all its chunks are on disks.
    async fn advance(&mut self, sink: &ChunkSink, hash: &Sha256, to: u64, tail: Option<Tail>, unlock: bool) -> Result<(), Problem> {
        let command = AdvanceUpload {
            upload: self.upload.id,
            writer: self.writer,
            from: self.durable,
            to,
            hash_state: self.vault.seal_hash(self.upload.id, hash)?,
            tail,
            layouts: sink.layouts.clone(),
            reduced: sink.reduced,
            unlock,
            lifetime_ms: self.gateway.limits().upload_lifetime_ms,
        };
        self.gateway.propose(Command::AdvanceUpload(Box::new(command))).await?;
        self.durable = to;
        Ok(())
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
pub async fn append(gateway: &Arc<Gateway>, caller: &Caller, vault: &OpenVault, upload: UploadId, offset: u64, body: Body) -> Result<Appended, Problem> {
    let limits = gateway.limits();
    let _place = gateway
        .guards
        .upload_place(caller.session.account, limits.uploads_per_account)
        .ok_or_else(|| Problem::new(Code::TooManyRequests, "too many uploads of this account are running"))?;
    let writer = gateway.random();
    let locked = gateway.propose(Command::LockUpload { upload, vault: vault.id(), writer, lease_ms: limits.upload_lease_ms }).await?;
    let Outcome::Upload(upload) = locked else { return Err(Problem::internal("unexpected answer to LockUpload")) };
    let upload = *upload;
    let length = upload.length.ok_or_else(|| Problem::internal("a resumable upload without a length"))?;
    let sealer = vault.sealer(upload.blob, &upload.wrapped_key)?;
    let mut hash = vault.open_hash(upload.id, &upload.hash_state)?;
    let mut sink = ChunkSink::new(gateway, Arc::clone(&sealer), &upload, vault.record.strict);
    let durable = upload.offset;
    let mut held = Writer { gateway, vault, upload, writer, durable, leased: Instant::now() };
    if offset != durable {
        held.advance(&sink, &hash, durable, held.upload.tail.clone(), true).await?;
        return Err(Refusal::OffsetMismatch { actual: durable }.into());
    }

    let mut reader = BodyReader::new(body, length - durable.min(length));
    let piece = take_piece(&mut held, &mut sink, &mut hash, &mut reader, &sealer, length).await;
    let (total, buffer, index) = match piece {
        Ok(piece) => (piece.total, piece.buffer, piece.index),
        Err((piece, problem)) => {
            // Keep what came, then say what went wrong.
            if let Some(piece) = piece {
                store_tail(&mut held, &mut sink, &hash, *piece).await?;
            }
            return Err(problem);
        }
    };
    if total < length {
        store_tail(&mut held, &mut sink, &hash, Piece { total, buffer, index }).await?;
        return Ok(Appended::At(total));
    }
    let count = u64::from(chunk_count(length, held.upload.chunk_bytes).unwrap_or(0));
    if !buffer.is_empty() {
        sink.put(index, count, buffer).await?;
    }
    sink.settle().await?;
    let sha256 = hash.clone().finish();
    if held.upload.expected_sha256.is_some_and(|announced| announced != sha256) {
        gateway.telemetry.upload_aborted();
        gateway.propose(Command::AbortUpload { upload: held.upload.id, vault: vault.id() }).await?;
        return Err(Problem::plain(Code::DigestMismatch));
    }
    // The offset goes first: should the commit fail for want of a majority, the next PATCH, of no bytes, commits.
    let first = held.upload.offset == 0;
    held.advance(&sink, &hash, total, None, false).await?;
    commit(gateway, &held.upload, &sink, total, sha256, first).await.map(|document| Appended::Committed(Box::new(document)))
}

/// What one request brought that is not in a full chunk yet.
struct Piece {
    total: u64,
    buffer: Zeroizing<Vec<u8>>,
    index: u32,
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
    let mut piece = Piece { total: held.durable, buffer: new_buffer(chunk_len, None), index: at.index };
    if let Some(tail) = held.upload.tail.clone() {
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
                sink.put(piece.index, count, full).await.map_err(ours)?;
                piece.index += 1;
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
    let chunk = ChunkId { blob: held.upload.blob, index: tail.index };
    let sealed = held.gateway.bytes.fetch_chunk(chunk, held.upload.code, &held.upload.layouts, sealed_len(plain_len)).await?;
    Ok(sealer.open(tail.index, 0, sealed)?)
}

/// Stores the unfinished chunk under an index of its own, makes the progress known and lets go.
async fn store_tail(held: &mut Writer<'_>, sink: &mut ChunkSink, hash: &Sha256, piece: Piece) -> Result<(), Problem> {
    let tail = if piece.total == held.durable {
        held.upload.tail.clone()
    } else if piece.buffer.is_empty() {
        None
    } else {
        let len = u32::try_from(piece.buffer.len()).map_err(Problem::internal)?;
        let low = u64::try_from(held.gateway.random() & u128::from(u64::MAX)).unwrap_or(0);
        let index = tail_index(low);
        sink.put(index, 0, piece.buffer).await?;
        Some(Tail { index, len })
    };
    sink.settle().await?;
    held.advance(sink, hash, piece.total, tail, true).await
}
