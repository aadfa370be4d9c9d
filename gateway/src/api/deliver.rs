//! Bytes out: chunks become the body of an answer, fetched a little ahead of the reader.
//!
//! Owns: the plan of a body (whole, one range, several as multipart) and its stream. Not: which ranges
//! ([`crate::range`]).
//! Holds: (1) at most `download_window_chunks + 1` chunks are in memory, however slow the reader; (2) no byte
//! leaves that did not open under its own index; (3) before each chunk leaves, the right to it is
//! looked up again, so that an ended session, share or link stops a running download at its next chunk; (4) the first
//! chunk is had before the answer begins, so that what cannot be read is a clear 503 and no broken body.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use kluis_raft::{client::MetadataError, model::Blob};
use tokio::time::Instant;

use crate::{
    api::{Gateway, rights::Right},
    problem::{Code, Problem},
    range::ByteRange,
    seal::{ChunkSealer, sealed_len},
    telemetry::Direction,
    upload::chunk_len,
};

/// What is delivered, to whom.
pub struct Source {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// By what right: its end stops a running download.
    pub right: Right,
    /// The bytes.
    pub blob: Blob,
    /// What opens them.
    pub sealer: Arc<ChunkSealer>,
}

/// A piece of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// Text between parts.
    Text(Bytes),
    /// Bytes `from..to` of the plaintext of the chunk at a position.
    Chunk { position: u32, from: usize, to: usize },
}

/// The pieces of a range. `chunk_bytes` is not 0 and the range lies in the blob.
fn pieces(range: ByteRange, chunk_bytes: u32) -> impl Iterator<Item = Piece> + Send {
    let chunk = u64::from(chunk_bytes.max(1));
    let small = |n: u64| usize::try_from(n).unwrap_or(0);
    (range.start / chunk..range.end.div_ceil(chunk)).filter_map(move |number| {
        let start = number * chunk;
        let from = small(range.start.saturating_sub(start));
        let to = small((range.end - start).min(chunk));
        Some(Piece::Chunk { position: u32::try_from(number).ok()?, from, to })
    })
}

/// Several ranges as `multipart/byteranges`: the pieces and their length in all.
fn multipart(parts: &[ByteRange], size: u64, media_type: &str, boundary: &str, chunk_bytes: u32) -> (Vec<Piece>, u64) {
    let mut all = Vec::new();
    let mut total = 0u64;
    let text = |all: &mut Vec<Piece>, text: String| {
        let len = u64::try_from(text.len()).unwrap_or(0);
        all.push(Piece::Text(Bytes::from(text)));
        len
    };
    for part in parts {
        let head = format!("\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {}\r\n\r\n", part.content_range(size));
        total += text(&mut all, head) + part.len();
        all.extend(pieces(*part, chunk_bytes));
    }
    total += text(&mut all, format!("\r\n--{boundary}--\r\n"));
    (all, total)
}

/// A body and its length.
pub struct Delivery {
    /// The body.
    pub body: Body,
    /// Bytes of it.
    pub len: u64,
    /// The boundary, when it is `multipart/byteranges`.
    pub boundary: Option<String>,
}

/// The length (and boundary) of what [`deliver`] would give, for HEAD.
pub fn measure(blob: &Blob, parts: &[ByteRange], media_type: &str, boundary: &str) -> (u64, bool) {
    match parts {
        [] => (0, false),
        [one] => (one.len(), false),
        many => (multipart(many, blob.size, media_type, boundary, blob.chunk_bytes).1, true),
    }
}

/// The body of `parts` of a blob; an empty list is an empty body.
///
/// # Errors
/// 503 when the first chunk cannot be had or opened.
pub async fn deliver(source: Source, parts: &[ByteRange], media_type: &str, boundary: String) -> Result<Delivery, Problem> {
    let (len, is_multipart) = measure(&source.blob, parts, media_type, &boundary);
    let chunk_bytes = source.blob.chunk_bytes;
    let all: Box<dyn Iterator<Item = Piece> + Send> = match parts {
        [] => return Ok(Delivery { body: Body::empty(), len: 0, boundary: None }),
        // Of one range, however long, no list is made.
        [one] => Box::new(pieces(*one, chunk_bytes)),
        many => Box::new(multipart(many, source.blob.size, media_type, &boundary, chunk_bytes).0.into_iter()),
    };
    let mut stream = Box::pin(opened(Arc::new(source), all));
    let mut first = Vec::new();
    loop {
        match stream.next().await {
            Some(Ok((bytes, is_chunk))) => {
                first.push(Ok(bytes));
                if is_chunk {
                    break;
                }
            }
            Some(Err(problem)) => return Err(problem),
            None => break,
        }
    }
    let rest = stream.map(|item| item.map(|(bytes, _)| bytes).map_err(|problem| std::io::Error::other(problem.code.as_str())));
    let body = Body::from_stream(stream::iter(first).chain(rest));
    Ok(Delivery { body, len, boundary: is_multipart.then_some(boundary) })
}

/// The plaintext of pieces, in order; `true` beside the bytes of chunks.
fn opened(source: Arc<Source>, all: impl Iterator<Item = Piece> + Send) -> impl Stream<Item = Result<(Bytes, bool), Problem>> + Send {
    let window = source.gateway.limits().download_window_chunks.max(1);
    let checked = Arc::new(Mutex::new(None));
    let ahead = {
        let source = Arc::clone(&source);
        stream::iter(all)
            .map(move |piece| {
                let source = Arc::clone(&source);
                async move {
                    match piece {
                        Piece::Text(text) => Ok::<_, Problem>((text, false)),
                        Piece::Chunk { position, from, to } => {
                            // A task, so that fetching goes on while the reader is slow to ask.
                            let fetched = tokio::spawn(async move { fetch(&source, position).await }).await;
                            let plain = fetched.map_err(Problem::internal)??;
                            if to > plain.len() || from > to {
                                return Err(Problem::internal("a chunk is shorter than its blob says"));
                            }
                            Ok((plain.slice(from..to), true))
                        }
                    }
                }
            })
            .buffered(window)
    };
    ahead.then(move |item| {
        let (source, checked) = (Arc::clone(&source), Arc::clone(&checked));
        async move {
            let (bytes, is_chunk) = item?;
            if is_chunk {
                still_allowed(&source, &checked).await?;
                source.gateway.telemetry.document_bytes(Direction::Out, bytes.len());
            }
            Ok::<_, Problem>((bytes, is_chunk))
        }
    })
}

async fn fetch(source: &Source, position: u32) -> Result<Bytes, Problem> {
    let blob = &source.blob;
    let bytes = &source.gateway.bytes;
    let chunk = blob.chunk(position).ok_or_else(|| Problem::internal("a range lies past the end of its blob"))?;
    let sealed = bytes.fetch_chunk(chunk, blob.code, &blob.layouts, sealed_len(chunk_len(blob.size, blob.chunk_bytes, position))).await;
    let sealed = match sealed {
        Ok(sealed) => sealed,
        Err(error) => {
            bytes.report_suspect(blob, chunk.index).await;
            return Err(error.into());
        }
    };
    match source.sealer.open(chunk.index, u64::from(blob.chunks), sealed) {
        Ok(plain) => Ok(plain),
        Err(error) => {
            tracing::error!(code = Code::ContentDamaged.as_str(), %chunk, %error, "a chunk does not open");
            bytes.report_suspect(blob, chunk.index).await;
            Err(Problem::plain(Code::ContentDamaged))
        }
    }
}

/// Tries of the look-up while a leader is being elected; each waits for the deadline of the metadata client.
const TRIES: u32 = 5;

/// Looks the right up again, unless that was done a moment ago.
async fn still_allowed(source: &Source, checked: &Mutex<Option<Instant>>) -> Result<(), Problem> {
    let gateway = &source.gateway;
    let last = *checked.lock().unwrap_or_else(PoisonError::into_inner);
    let recheck = gateway.limits().recheck();
    // The handler itself looked before the first chunk, but it may have waited for disks since.
    if last.is_some_and(|at| at.elapsed() < recheck) {
        return Ok(());
    }
    let mut tries = 1;
    while let Err(error) = gateway.metadata.linearize().await {
        if error != MetadataError::NoQuorum || tries == TRIES {
            return Err(error.into());
        }
        tries += 1;
    }
    let read = gateway.metadata.view();
    source.right.holds(&*read, super::rights::now(gateway, &*read)?)?;
    *checked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_the_range(size in 1u64..5_000, a in 0u64..5_000, b in 0u64..5_000, chunk in 1u32..700) {
            let (start, end) = (a.min(b).min(size - 1), (a.max(b) + 1).min(size));
            if start < end {
                let mut at = start;
                for piece in pieces(ByteRange { start, end }, chunk) {
                    let Piece::Chunk { position, from, to } = piece else { panic!("text in a single range") };
                    assert_eq!(u64::from(position) * u64::from(chunk) + from as u64, at);
                    assert!(from < to && to <= chunk_len(size, chunk, position));
                    at += (to - from) as u64;
                }
                assert_eq!(at, end);
            }
        }
    }

    #[test]
    fn multipart_length_is_that_of_its_pieces() {
        let parts = [ByteRange { start: 0, end: 5 }, ByteRange { start: 10, end: 31 }];
        let (all, total) = multipart(&parts, 100, "text/plain", "b", 8);
        let sum: usize = all
            .iter()
            .map(|p| match p {
                Piece::Text(t) => t.len(),
                Piece::Chunk { from, to, .. } => to - from,
            })
            .sum();
        assert_eq!(sum as u64, total);
    }
}
