//! Bytes in: a request's body becomes sealed chunks on disks, in one pass and bounded memory.
//!
//! Owns: [`receive`] (one request, one version), and what it shares with resumable uploads ([`super::resume`]):
//! a bounded body, chunks on their way, the commit. Not: the rules ([`crate::upload`]) and the URLs.
//! Holds: (1) at most `upload_window_chunks + 1` chunks of plaintext are in memory, and they are wiped;
//! (2) a version becomes visible by one command, after the write rule held for every chunk and the digest
//! was right and the scanner found nothing; (3) whatever goes wrong before leaves nothing visible and gives its quota back.

use std::sync::Arc;

use aws_lc_rs::digest;
use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use kluis_chunkstore::{
    code::Code as Shards,
    ids::{BlobId, ChunkId},
};
use kluis_raft::{
    command::{BeginUpload, Command, CommitUpload},
    model::{BlobLayout, Document, IdempotencyState, Scan, Trail, Upload, UploadId, UploadTarget, VaultId},
    outcome::{Outcome, Refusal},
    view,
};
use tokio::{task::JoinSet, time::Instant};
use zeroize::Zeroizing;

use crate::{
    api::{
        Caller, Gateway,
        attributes::Said,
        name::Label,
        notifications,
        scanning::{self, Stored},
        shares::{self, Wish},
        trail,
        vault::OpenVault,
    },
    ports::{ChunkReceipt, DocumentBytes, PutChunk},
    problem::{Code, Problem},
    seal::ChunkSealer,
    server::BodyTooSlow,
    telemetry::Direction,
    upload::chunk_count,
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
    /// What the owner says of a new document.
    pub said: Said,
    /// Whom it shall be shared with when it is there.
    pub shares: Vec<Wish>,
}

/// The document that a target speaks of.
pub fn target_document(target: &UploadTarget) -> kluis_raft::model::DocumentId {
    match target {
        UploadTarget::NewDocument(document) | UploadTarget::NewVersion { document, .. } => *document,
    }
}

/// The body of a request, counted and bounded.
pub(super) struct BodyReader {
    body: Body,
    taken: u64,
    max: u64,
}

impl BodyReader {
    pub(super) fn new(body: Body, max: u64) -> Self {
        Self { body, taken: 0, max }
    }

    /// The next bytes; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
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

fn too_many_chunks() -> Problem {
    Problem::new(Code::TooLarge, "the document has too many chunks")
}

pub(super) fn len_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// The chunks of one upload on their way to disks, a bounded number at once.
pub(super) struct ChunkSink {
    bytes: Arc<dyn DocumentBytes>,
    sealer: Arc<ChunkSealer>,
    blob: BlobId,
    /// What it writes is of this attempt of the upload.
    attempt: u32,
    code: Shards,
    strict: bool,
    window: usize,
    running: JoinSet<Result<ChunkReceipt, Problem>>,
    pub(super) layouts: Vec<BlobLayout>,
    pub(super) reduced: bool,
    settled: bool,
}

impl ChunkSink {
    pub(super) fn new(gateway: &Gateway, sealer: Arc<ChunkSealer>, upload: &Upload, strict: bool) -> Self {
        Self {
            bytes: Arc::clone(&gateway.bytes),
            sealer,
            blob: upload.blob,
            attempt: upload.runs.current(),
            code: upload.code,
            strict,
            window: gateway.limits().upload_window_chunks.max(1),
            running: JoinSet::new(),
            layouts: upload.layouts.clone(),
            reduced: upload.reduced,
            settled: true,
        }
    }

    /// Starts sealing and storing the chunk at `position` of `count`; waits for an earlier one when the window is full.
    pub(super) async fn put(&mut self, position: u32, count: u64, plain: Zeroizing<Vec<u8>>) -> Result<(), Problem> {
        let chunk = ChunkId::of(self.blob, self.attempt, position);
        self.start(chunk.ok_or_else(too_many_chunks)?, count, plain).await
    }

    /// Starts sealing and storing an unfinished chunk, under a random number of its own.
    pub(super) async fn put_tail(&mut self, number: u32, plain: Zeroizing<Vec<u8>>) -> Result<ChunkId, Problem> {
        let chunk = ChunkId::tail(self.blob, number);
        self.start(chunk, 0, plain).await?;
        Ok(chunk)
    }

    async fn start(&mut self, chunk: ChunkId, count: u64, plain: Zeroizing<Vec<u8>>) -> Result<(), Problem> {
        while self.running.len() >= self.window {
            self.take_one().await?;
        }
        let (bytes, sealer) = (Arc::clone(&self.bytes), Arc::clone(&self.sealer));
        let (code, strict, known) = (self.code, self.strict, self.layouts.clone());
        self.running.spawn(async move {
            let sealed = sealer.seal(chunk.index, count, &plain)?;
            drop(plain);
            Ok(bytes.put_chunk(PutChunk { chunk, code, sealed, strict, known }).await?)
        });
        Ok(())
    }

    /// Waits until every chunk is on disks.
    pub(super) async fn settle(&mut self) -> Result<(), Problem> {
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
        .upload_place(caller.account, limits.uploads_per_account)
        .ok_or_else(|| Problem::new(Code::TooManyRequests, "too many uploads of this account are running"))?;
    let cluster = gateway.cluster(&*gateway.metadata.view())?;
    let mut reader = BodyReader::new(body, limits.body_max_bytes);
    let hash = digest::Context::new(&digest::SHA256);

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
    let count = match length {
        Some(length) => u64::from(chunk_count(length, cluster.chunk_bytes).ok_or_else(too_many_chunks)?),
        None => 0,
    };

    let blob = BlobId(gateway.random());
    let (key, wrapped_key) = vault.new_document_key(gateway, blob)?;
    let sealer = Arc::new(ChunkSealer::new(&key, blob)?);
    let new = shares::Subject { key: &key, blob, label: &plan.label, version: 1, revision: 1 };
    let begin = BeginUpload {
        upload: UploadId::new(gateway.clock.now_ms(), gateway.random()),
        vault: vault.id(),
        account: caller.account,
        blob,
        name: vault.seal_label(target_document(&plan.target), &plan.label)?,
        target: plan.target.clone(),
        wrapped_key,
        code,
        chunk_bytes: cluster.chunk_bytes,
        length: plan.length,
        expected_sha256: plan.sha256,
        reserve_bytes: length.unwrap_or(limits.reserve_step_bytes.min(limits.body_max_bytes)),
        lifetime_ms: limits.request_lease_ms,
        idempotency: plan.idempotency,
        resumable: false,
        attributes: plan.said.attributes(vault)?,
        shares: shares::new_shares(gateway, vault, &plan.shares, &new).await?,
    };
    // Armed before the question: a command whose answer is lost may have been applied all the same.
    let mut abort = AbortOnDrop { gateway: Arc::clone(gateway), upload: begin.upload, vault: vault.id(), armed: true };
    let upload = match begin_upload(gateway, begin, length.is_some(), reader.taken).await {
        Ok(Outcome::Upload(upload)) => *upload,
        Ok(Outcome::Repeated(state)) => {
            abort.armed = false;
            return repeated(gateway, vault.id(), state, reader, held, hash).await;
        }
        Ok(other) => return Err(Problem::internal(format!("unexpected answer to BeginUpload: {other:?}"))),
        Err(problem) => {
            abort.armed = matches!(problem.code, Code::NoQuorum | Code::Unavailable | Code::Internal);
            return Err(problem);
        }
    };
    let incoming = Incoming { reader, held, ended, hash, length, count };
    let result = store_all(gateway, caller, vault, &plan, &upload, sealer, incoming).await;
    match &result {
        Ok(_) => abort.armed = false,
        // Without a majority giving up would only wait once more; it is left to the guard.
        Err(problem) if problem.code == Code::NoQuorum => {}
        // Given up before the answer, so that a retry with the same key does not meet its own ghost.
        Err(_) => {
            abort.armed = gateway.metadata.propose(Command::AbortUpload { upload: upload.id, vault: vault.id() }).await.is_err();
            if !abort.armed {
                gateway.telemetry.upload_aborted();
            }
        }
    }
    if result.as_ref().is_err_and(|problem| problem.code == Code::MalwareDetected) {
        notifications::tell_of_malware(gateway, vault, &plan.label).await;
    }
    result
}

/// What is known of a body when its upload begins.
struct Incoming {
    reader: BodyReader,
    /// Read already.
    held: Vec<Bytes>,
    /// Whether that was all.
    ended: bool,
    hash: digest::Context,
    length: Option<u64>,
    /// Number of chunks, 0 when it is not known.
    count: u64,
}

/// Stores the whole body and commits it.
async fn store_all(
    gateway: &Gateway,
    caller: &Caller,
    vault: &OpenVault,
    plan: &Plan,
    upload: &Upload,
    sealer: Arc<ChunkSealer>,
    incoming: Incoming,
) -> Result<Document, Problem> {
    let Incoming { mut reader, held, ended, mut hash, length, count } = incoming;
    let mut scan = scanning::begin(gateway).await?;
    let mut sink = ChunkSink::new(gateway, Arc::clone(&sealer), upload, vault.record.strict);
    let chunk_bytes = usize::try_from(upload.chunk_bytes).map_err(Problem::internal)?;
    let mut buffer = new_buffer(chunk_bytes, length);
    let mut reserved = upload.reserved_bytes;
    let lease = std::time::Duration::from_millis(gateway.limits().request_lease_ms);
    let mut renewed = Instant::now();
    let (mut total, mut position) = (0u64, 0u32);
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
            reserved = extend(gateway, upload, reserved, total).await?;
            renewed = Instant::now();
        } else if renewed.elapsed() >= lease / 4 {
            // Should this gateway die, the upload and its Idempotency-Key are free again within the lease.
            let lifetime_ms = gateway.limits().request_lease_ms;
            gateway.propose(Command::ExtendUpload { upload: upload.id, reserved_bytes: reserved, lifetime_ms }).await?;
            renewed = Instant::now();
        }
        if let Some(running) = &mut scan
            && !running.write(&data).await
            && let Some(ended) = scan.take()
        {
            return Err(scanning::ended_early(gateway, ended).await);
        }
        while !data.is_empty() {
            let take = (chunk_bytes - buffer.len()).min(data.len());
            buffer.extend_from_slice(data.get(..take).unwrap_or_default());
            data.advance(take);
            if buffer.len() == chunk_bytes {
                let done = (u64::from(position) + 1) * u64::from(upload.chunk_bytes);
                let left = length.map(|length| length.saturating_sub(done));
                let full = std::mem::replace(&mut buffer, new_buffer(chunk_bytes, left));
                sink.put(position, count, full).await?;
                position += 1;
            }
        }
    }
    if let Some(length) = plan.length.filter(|length| *length != total) {
        return Err(Problem::new(Code::LengthMismatch, format!("{total} bytes came where {length} were announced")));
    }
    if !buffer.is_empty() {
        sink.put(position, count, buffer).await?;
    }
    let sha256: [u8; 32] = hash.finish().as_ref().try_into().map_err(Problem::internal)?;
    if plan.sha256.is_some_and(|announced| announced != sha256) {
        return Err(Problem::plain(Code::DigestMismatch));
    }
    sink.settle().await?;
    if let Some(scan) = scan {
        let stored = Stored::new(gateway, sealer, upload, sink.layouts.clone(), total);
        let mut verdict = std::pin::pin!(scan.finish(&stored));
        let verdict = loop {
            // A large archive may take longer than the lease.
            tokio::select! {
                verdict = &mut verdict => break verdict,
                () = tokio::time::sleep(lease / 4) => {
                    let lifetime_ms = gateway.limits().request_lease_ms;
                    gateway.propose(Command::ExtendUpload { upload: upload.id, reserved_bytes: reserved, lifetime_ms }).await?;
                }
            }
        };
        scanning::admit(gateway, &verdict)?;
    }
    gateway.telemetry.document_bytes(Direction::In, usize::try_from(total).unwrap_or(usize::MAX));
    let trail = trail::of_upload(gateway, caller, vault, target_document(&upload.target), upload)?;
    commit(gateway, &sink, Finished { upload, size: total, sha256, whole: true, trail }).await
}

/// A buffer for the next chunk: no larger than what is still to come.
pub(super) fn new_buffer(chunk_bytes: usize, left: Option<u64>) -> Zeroizing<Vec<u8>> {
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
    let command = |reserved_bytes| Command::ExtendUpload { upload: upload.id, reserved_bytes, lifetime_ms: limits.request_lease_ms };
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

/// An upload whose bytes are all durable.
pub(super) struct Finished<'a> {
    pub(super) upload: &'a Upload,
    pub(super) size: u64,
    pub(super) sha256: [u8; 32],
    /// Whether one request brought all of it.
    pub(super) whole: bool,
    pub(super) trail: Trail,
}

pub(super) async fn commit(gateway: &Gateway, sink: &ChunkSink, finished: Finished<'_>) -> Result<Document, Problem> {
    let Finished { upload, size, sha256, whole, trail } = finished;
    let chunks = chunk_count(size, upload.chunk_bytes).ok_or_else(too_many_chunks)?;
    let command = CommitUpload {
        upload: upload.id,
        size,
        sha256,
        chunks,
        layouts: sink.layouts.clone(),
        reduced: sink.reduced,
        // Of the chunks of earlier requests it is not known here whether they are complete.
        settled: whole && sink.settled,
        scan: Scan::NotAsked,
        trail,
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
