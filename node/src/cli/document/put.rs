//! Storing a file: in one request, or in pieces.
//!
//! Owns: the two ways of sending and their repetition. Not: which gateway is asked ([`super::gateways`]).
//! Holds: (1) the file is read once an attempt, in bounded memory; (2) every attempt carries the same
//! idempotency key, so a document is never stored twice; (3) success is said only when the gateway's
//! SHA-256 is that of the file.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use indicatif::ProgressBar;
use reqwest::{Body, Method, Response, header};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};
use tokio_util::io::ReaderStream;

use super::{
    Document, PutArgs, bar, finish,
    gateways::{Attempt, Gateways, decode, judge},
    newest,
};
use crate::exit::ExitError;

/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;
/// Files up to this size are hashed before they are sent, so that the gateway can refuse a damaged
/// transfer itself; larger ones would be read twice for it.
const HASH_FIRST_MAX_BYTES: u64 = 64 << 20;
/// A transfer that moves no byte for so long is given up.
const STALL: Duration = Duration::from_secs(30);

/// A file about to be stored.
struct Upload<'a> {
    path: &'a Path,
    name: String,
    media_type: &'a str,
    size: u64,
    key: String,
    sha256: Option<[u8; 32]>,
    bar: ProgressBar,
}

/// Stores the file of `args`.
///
/// # Errors
/// An unreadable file, unreachable gateways, a refusal, or a digest that differs.
pub async fn put(gateways: &Gateways, args: &PutArgs) -> Result<Document, ExitError> {
    let path = args.file.as_path();
    let metadata = tokio::fs::metadata(path).await.map_err(|e| ExitError::file("read", path, &e))?;
    if !metadata.is_file() {
        return Err(ExitError::usage(format!("{} is not a file", path.display()), ""));
    }
    let name = match &args.name {
        Some(name) => name.clone(),
        None => path
            .file_name()
            .and_then(|n| n.to_str())
            .map(str::to_owned)
            .ok_or_else(|| ExitError::usage(format!("the name of {} is not valid text", path.display()), "give --name"))?,
    };
    let size = metadata.len();
    let sha256 = if size <= HASH_FIRST_MAX_BYTES { Some(hash_file(path, size).await?) } else { None };
    let key = hex::encode(crate::assemble::real_env().random_id());
    let upload = Upload { path, name, media_type: &args.media_type, size, key, sha256, bar: bar(size, "storing") };
    let (document, sent) = if args.resumable { in_pieces(gateways, &upload).await? } else { at_once(gateways, &upload).await? };
    finish(&upload.bar);
    let own = match sent.or(upload.sha256) {
        Some(own) => own,
        None => hash_file(path, size).await?,
    };
    if !document.sha256.eq_ignore_ascii_case(&hex::encode(own)) {
        return Err(ExitError::failed(format!(
            "document {} has sha256 {}, the file has {}",
            document.id,
            document.sha256,
            hex::encode(own)
        ))
        .or_advice("did the file change while it was sent? Delete the document and put it again"));
    }
    Ok(document)
}

/// One request; the answer, and the digest of what was sent if all was.
async fn at_once(gateways: &Gateways, upload: &Upload<'_>) -> Result<(Document, Option<[u8; 32]>), ExitError> {
    gateways
        .attempts(|attempt| async move {
            upload.bar.set_position(0);
            let (body, sent) = match body_from(upload, 0).await {
                Ok(body) => body,
                Err(error) => return Attempt::Stop(error),
            };
            let mut request = match gateways.request(attempt, Method::POST, "v1/documents") {
                Ok(request) => request,
                Err(error) => return Attempt::Stop(error),
            };
            request = request
                .query(&[("name", &upload.name)])
                .header("Idempotency-Key", &upload.key)
                .header(header::CONTENT_TYPE, upload.media_type)
                .header(header::CONTENT_LENGTH, upload.size)
                .body(body);
            if let Some(sha256) = &upload.sha256 {
                request = request.header("Repr-Digest", digest_field(sha256));
            }
            match judge_moving(request, &sent).await {
                Attempt::Done(answer) => match decode(answer).await {
                    Ok(document) => Attempt::Done((document, sent.digest(upload.size))),
                    // The answer was lost after the cluster took the document: the key brings it back.
                    Err(error) => Attempt::Again(error, Duration::ZERO),
                },
                Attempt::Again(error, wait) => Attempt::Again(error, wait),
                Attempt::Stop(error) => Attempt::Stop(error),
            }
        })
        .await
}

/// Pieces (tus 1.0): after a lost connection the upload goes on where the cluster says it stands.
async fn in_pieces(gateways: &Gateways, upload: &Upload<'_>) -> Result<(Document, Option<[u8; 32]>), ExitError> {
    let metadata = format!("filename {},filetype {}", BASE64.encode(&upload.name), BASE64.encode(upload.media_type));
    let created = gateways
        .send(Method::POST, "v1/uploads", &|request| {
            request
                .header("Tus-Resumable", "1.0.0")
                .header("Upload-Length", upload.size)
                .header("Upload-Metadata", &metadata)
                .header("Idempotency-Key", &upload.key)
        })
        .await?;
    let id = if let Some(document) = named_document(&created) {
        document
    } else {
        let place = created.headers().get(header::LOCATION).and_then(|v| v.to_str().ok());
        let place = place.and_then(|p| p.rsplit('/').next()).filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()));
        let place = place.ok_or_else(|| ExitError::failed("the gateway did not say where the upload is"))?.to_owned();
        gateways.attempts(|attempt| piece(gateways, upload, attempt, format!("v1/uploads/{place}"))).await?
    };
    let document = gateways.json(Method::GET, &format!("v1/documents/{id}"), &|request| request).await?;
    Ok((document, None))
}

/// Asks where the upload stands and sends the rest. Done with the document's id.
async fn piece(gateways: &Gateways, upload: &Upload<'_>, attempt: usize, path: String) -> Attempt<String> {
    let small = Duration::from_secs(20);
    let head = match gateways.request(attempt, Method::HEAD, &path) {
        Ok(request) => request.header("Tus-Resumable", "1.0.0").timeout(small),
        Err(error) => return Attempt::Stop(error),
    };
    let offset = match judge(head.send().await).await {
        Attempt::Done(answer) => {
            let offset = answer.headers().get("Upload-Offset").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
            match offset {
                Some(offset) if offset <= upload.size => offset,
                _ => return Attempt::Stop(ExitError::failed("the gateway did not say where the upload stands")),
            }
        }
        Attempt::Again(error, wait) => return Attempt::Again(error, wait),
        // An upload that is gone may be one that is complete, and whose last answer was lost.
        Attempt::Stop(error) => return if attempt == 0 { Attempt::Stop(error) } else { stored_already(gateways, upload, error).await },
    };
    upload.bar.set_position(offset);
    let (body, sent) = match body_from(upload, offset).await {
        Ok(body) => body,
        Err(error) => return Attempt::Stop(error),
    };
    let request = match gateways.request(attempt, Method::PATCH, &path) {
        Ok(request) => request,
        Err(error) => return Attempt::Stop(error),
    };
    let request = request
        .header("Tus-Resumable", "1.0.0")
        .header("Upload-Offset", offset)
        .header(header::CONTENT_TYPE, "application/offset+octet-stream")
        .header(header::CONTENT_LENGTH, upload.size - offset)
        .body(body);
    match judge_moving(request, &sent).await {
        Attempt::Done(answer) => match named_document(&answer) {
            Some(id) => Attempt::Done(id),
            None => Attempt::Again(ExitError::failed("the upload is not complete"), Duration::ZERO),
        },
        Attempt::Again(error, wait) => Attempt::Again(error, wait),
        // Another attempt's bytes arrived after we asked where it stands: ask again.
        Attempt::Stop(error) if error.what.contains("offset_mismatch") => Attempt::Again(error, Duration::ZERO),
        Attempt::Stop(error) => Attempt::Stop(error),
    }
}

async fn stored_already(gateways: &Gateways, upload: &Upload<'_>, error: ExitError) -> Attempt<String> {
    let own = match upload.sha256 {
        Some(own) => own,
        None => match hash_file(upload.path, upload.size).await {
            Ok(own) => own,
            Err(error) => return Attempt::Stop(error),
        },
    };
    let own = hex::encode(own);
    match newest(gateways, None).await {
        Ok(page) => match page.documents.into_iter().find(|d| d.name == upload.name && d.sha256.eq_ignore_ascii_case(&own)) {
            Some(document) => Attempt::Done(document.id),
            None => Attempt::Stop(error),
        },
        Err(error) => Attempt::Stop(error),
    }
}

fn named_document(answer: &Response) -> Option<String> {
    let id = answer.headers().get("Vault-Document")?.to_str().ok()?;
    (!id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric())).then(|| id.to_owned())
}

/// How much of a body was handed out, and its digest so far.
#[derive(Clone)]
struct Sent {
    bytes: Arc<AtomicU64>,
    digest: Arc<Mutex<Context>>,
}

impl Sent {
    fn digest(&self, size: u64) -> Option<[u8; 32]> {
        if self.bytes.load(Ordering::SeqCst) != size {
            return None;
        }
        let context = self.digest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        context.finish().as_ref().try_into().ok()
    }
}

async fn body_from(upload: &Upload<'_>, offset: u64) -> Result<(Body, Sent), ExitError> {
    let (parts, sent) = parts_from(upload, offset).await?;
    Ok((Body::wrap_stream(parts), sent))
}

async fn parts_from(upload: &Upload<'_>, offset: u64) -> Result<(BoxStream<'static, io::Result<Bytes>>, Sent), ExitError> {
    let failed = |e: io::Error| ExitError::file("read", upload.path, &e);
    let mut file = File::open(upload.path).await.map_err(failed)?;
    file.seek(io::SeekFrom::Start(offset)).await.map_err(failed)?;
    let sent = Sent { bytes: Arc::new(AtomicU64::new(0)), digest: Arc::new(Mutex::new(Context::new(&SHA256))) };
    let (seen, bar) = (sent.clone(), upload.bar.clone());
    let stream = ReaderStream::with_capacity(file.take(upload.size - offset), READ_BYTES).inspect_ok(move |part| {
        let count = u64::try_from(part.len()).unwrap_or(u64::MAX);
        seen.digest.lock().unwrap_or_else(PoisonError::into_inner).update(part);
        seen.bytes.fetch_add(count, Ordering::SeqCst);
        bar.inc(count);
    });
    Ok((stream.boxed(), sent))
}

/// Sends a request with a body for as long as it moves.
async fn judge_moving(request: reqwest::RequestBuilder, sent: &Sent) -> Attempt<Response> {
    tokio::select! {
        answer = request.send() => judge(answer).await,
        () = stalled(&sent.bytes, STALL) => {
            let what = format!("nothing moved for {} seconds", STALL.as_secs());
            Attempt::Again(ExitError::unreachable(what, ""), Duration::ZERO)
        }
    }
}

/// Returns when `count` has not changed for `limit`.
async fn stalled(count: &AtomicU64, limit: Duration) {
    loop {
        let before = count.load(Ordering::SeqCst);
        tokio::time::sleep(limit).await;
        if count.load(Ordering::SeqCst) == before {
            return;
        }
    }
}

async fn hash_file(path: &Path, size: u64) -> Result<[u8; 32], ExitError> {
    let failed = |e: io::Error| ExitError::file("read", path, &e);
    let mut file = File::open(path).await.map_err(failed)?.take(size);
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = file.read(&mut buffer).await.map_err(failed)?;
        if count == 0 {
            break;
        }
        context.update(buffer.get(..count).unwrap_or_default());
    }
    context.finish().as_ref().try_into().map_err(|_| ExitError::failed("SHA-256 has another length"))
}

/// A digest as RFC 9530 writes it.
fn digest_field(sha256: &[u8; 32]) -> String {
    format!("sha-256=:{}:", BASE64.encode(sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_field_is_that_of_the_standard() {
        let empty = aws_lc_rs::digest::digest(&SHA256, b"");
        let field = digest_field(empty.as_ref().try_into().unwrap());
        assert_eq!(field, "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
    }

    #[tokio::test]
    async fn what_is_handed_out_is_counted_and_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let content: Vec<u8> = (0..600_000_u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let size = content.len() as u64;
        let upload =
            Upload { path: &path, name: "f".into(), media_type: "a/b", size, key: "k".into(), sha256: None, bar: ProgressBar::hidden() };
        let (mut parts, sent) = parts_from(&upload, 0).await.unwrap();
        assert_eq!(sent.digest(size), None, "nothing was handed out yet");
        let mut got = Vec::new();
        while let Some(part) = parts.try_next().await.unwrap() {
            got.extend_from_slice(&part);
        }
        assert_eq!(got, content);
        assert_eq!(sent.digest(size), Some(hash_file(&path, size).await.unwrap()));
    }
}
