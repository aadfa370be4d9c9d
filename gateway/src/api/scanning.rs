//! What may stay: the scanner's verdict as the answer to an upload, and stored content read again for it.
//!
//! Owns: `admit`, the one place that turns a verdict into an answer, and `Stored`. Not: the verdict
//! ([`crate::scan`]).
//! Holds: (1) without a scanner nothing is scanned, with one nothing is committed unscanned; (2) what goes to the log
//! of a verdict is the name of a signature or a reason, never a name of a document.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use kluis_chunkstore::{code::Code as Shards, ids::BlobId};
use kluis_raft::model::{BlobLayout, Runs, Upload};
use tokio::sync::Mutex;

use super::Gateway;
use crate::{
    ports::DocumentBytes,
    problem::{Code, Problem},
    scan::{
        Disposition, Scan, Scanner, Verdict,
        source::{ByteSource, Held},
    },
    seal::{ChunkSealer, sealed_len},
    upload::{chunk_count, chunk_len},
};

/// Begins the scan of a document, where there is a scanner.
pub(super) async fn begin(gateway: &Gateway) -> Result<Option<Scan>, Problem> {
    let Some(scanner) = &gateway.scan else { return Ok(None) };
    match scanner.begin().await {
        Ok(scan) => Ok(Some(scan)),
        Err(verdict) => Err(refused(scanner, &verdict)),
    }
}

/// The answer to an upload whose scan took no more bytes.
pub(super) async fn ended_early(gateway: &Gateway, scan: Scan) -> Problem {
    let verdict = scan.finish(&Held::default()).await;
    match admit(gateway, &verdict) {
        Err(problem) => problem,
        Ok(()) => Problem::plain(Code::ScanUnavailable),
    }
}

/// Whether what has this verdict may be stored.
pub(super) fn admit(gateway: &Gateway, verdict: &Verdict) -> Result<(), Problem> {
    let Some(scanner) = &gateway.scan else { return Ok(()) };
    match (scanner.dispose(verdict), verdict) {
        (Disposition::Available, Verdict::Clean { kind, by }) => {
            tracing::debug!(?kind, engine = by.engine, database = by.database, "scanned");
            Ok(())
        }
        _ => Err(refused(scanner, verdict)),
    }
}

/// Why it may not. What could be stored with a mark, or later, is refused as well: a document has no such states.
fn refused(scanner: &Scanner, verdict: &Verdict) -> Problem {
    match verdict {
        Verdict::Malware { name } => {
            tracing::warn!(code = Code::MalwareDetected.as_str(), signature = name, "an upload is refused");
            Problem::plain(Code::MalwareDetected)
        }
        Verdict::Refused { code } | Verdict::NotScannable { code } => {
            tracing::info!(code = Code::TypeRefused.as_str(), reason = code.as_str(), "an upload is refused");
            Problem::new(Code::TypeRefused, code.why()).with_error("reason", code.as_str())
        }
        Verdict::Unavailable { why } => {
            tracing::error!(code = Code::ScanUnavailable.as_str(), why, "an upload is refused: the operators must see to the scanner");
            Problem::plain(Code::ScanUnavailable)
        }
        Verdict::Clean { .. } => Problem::internal(format!("a clean verdict became {:?}", scanner.dispose(verdict))),
    }
}

/// Scans all of what is stored.
pub(super) async fn whole(gateway: &Gateway, stored: &Stored) -> Result<Verdict, Problem> {
    let Some(mut scan) = begin(gateway).await? else { return Err(Problem::internal("there is no scanner")) };
    let mut at = 0;
    while at < stored.size {
        let piece = stored.chunk(at / u64::from(stored.chunk_bytes.max(1))).await?;
        at = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if piece.is_empty() || !scan.write(&piece).await {
            break;
        }
    }
    Ok(scan.finish(stored).await)
}

/// The chunks of an upload, before it is committed.
pub(super) struct Stored {
    bytes: Arc<dyn DocumentBytes>,
    sealer: Arc<ChunkSealer>,
    blob: BlobId,
    runs: Runs,
    code: Shards,
    layouts: Vec<BlobLayout>,
    size: u64,
    chunk_bytes: u32,
    /// The chunk that was read last: archives are read in small steps.
    last: Mutex<Option<(u32, Bytes)>>,
}

impl Stored {
    pub(super) fn new(gateway: &Gateway, sealer: Arc<ChunkSealer>, upload: &Upload, layouts: Vec<BlobLayout>, size: u64) -> Self {
        Self {
            bytes: Arc::clone(&gateway.bytes),
            sealer,
            blob: upload.blob,
            runs: upload.runs.clone(),
            code: upload.code,
            layouts,
            size,
            chunk_bytes: upload.chunk_bytes,
            last: Mutex::new(None),
        }
    }

    /// The plaintext of the chunk at a position.
    async fn chunk(&self, position: u64) -> Result<Bytes, Problem> {
        let outside = || Problem::internal("a chunk past the end of an upload");
        let position = u32::try_from(position).map_err(|_| outside())?;
        let mut last = self.last.lock().await;
        if let Some((known, plain)) = &*last
            && *known == position
        {
            return Ok(plain.clone());
        }
        let chunk = self.runs.chunk(self.blob, position).ok_or_else(outside)?;
        let len = sealed_len(chunk_len(self.size, self.chunk_bytes, position));
        let sealed = self.bytes.fetch_chunk(chunk, self.code, &self.layouts, len).await?;
        let count = u64::from(chunk_count(self.size, self.chunk_bytes).unwrap_or(0));
        let plain = self.sealer.open(chunk.index, count, sealed)?;
        *last = Some((position, plain.clone()));
        Ok(plain)
    }
}

#[async_trait]
impl ByteSource for Stored {
    fn len(&self) -> u64 {
        self.size
    }

    async fn read_at(&self, at: u64, max: u64) -> Result<Bytes, String> {
        let chunk_bytes = u64::from(self.chunk_bytes.max(1));
        let plain = self.chunk(at / chunk_bytes).await.map_err(|problem| problem.code.as_str().to_owned())?;
        let from = usize::try_from(at % chunk_bytes).unwrap_or(usize::MAX).min(plain.len());
        let len = usize::try_from(max).unwrap_or(usize::MAX).min(plain.len() - from);
        Ok(plain.slice(from..from + len))
    }
}
