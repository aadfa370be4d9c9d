//! `/v1/uploads`: resumable uploads by tus 1.0 (core, creation, creation-with-upload, expiration,
//! termination), or created by a JSON body.
//!
//! Owns: the header fields of tus. Not: the rules ([`crate::upload`]) and the bytes ([`super::resume`]).
//! Holds: (1) an offset that was answered is durable; (2) one request writes at a time; (3) the piece that
//! completes the length commits the version, and its answer names the document.
//!
//! A length that is announced later (`Upload-Defer-Length`) is not taken: quota is reserved when an upload begins.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use kluis_chunkstore::{code::Code as Shards, ids::BlobId};
use kluis_raft::{
    command::{BeginUpload, Command},
    model::{Document, DocumentId, IdempotencyState, Upload, UploadId, UploadTarget},
    outcome::Outcome,
    view,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    attributes::{self, Said},
    documents::{REDUNDANCY, announced, field, header_value, id, idempotency, rfc3339},
    ingest::Idempotency,
    json,
    name::{BadName, DocumentName, Label, MediaType},
    params::Params,
    resume::{self, Appended},
    shares::{self, ShareWish, Wish},
    vault::OpenVault,
};
use crate::{
    problem::{Code, Problem, ProblemBody},
    upload::{chunk_count, decimal, sha256_field, upload_metadata},
};

static TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
static TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
static TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
static TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
static UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
static UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
static UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
static UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
static UPLOAD_CONCAT: HeaderName = HeaderName::from_static("upload-concat");
static UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
static REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// The document that a completed upload became.
static DOCUMENT: HeaderName = HeaderName::from_static("vault-document");
/// Its version.
static VERSION: HeaderName = HeaderName::from_static("vault-version");
const TUS: &str = "1.0.0";
const PIECE: &str = "application/offset+octet-stream";

/// What creates an upload, as JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUpload {
    /// The document's name.
    name: String,
    /// Bytes in all.
    length: u64,
    /// Its media type; `application/octet-stream` if absent.
    media_type: Option<String>,
    /// SHA-256 of the whole in hexadecimal, checked before the document becomes visible.
    sha256: Option<String>,
    /// A key of `GET /v1/categories`; `other` if absent.
    category: Option<String>,
    /// A key of `GET /v1/categories`; `other` if absent.
    doc_type: Option<String>,
    /// The owner's own words on it, at most 20.
    labels: Option<Vec<String>>,
    /// Whether it may be shared at all; true if absent.
    shareable: Option<bool>,
    /// When what it says runs out, YYYY-MM-DD.
    expires_on: Option<String>,
    /// Whom it is shared with as soon as it is there: with all of them, or it is not stored.
    #[serde(default)]
    shares: Vec<ShareWish>,
}

/// An upload under way.
#[derive(Debug, Serialize, ToSchema)]
pub struct UploadView {
    /// Opaque id.
    pub id: String,
    /// Bytes in all.
    pub length: Option<u64>,
    /// Bytes that are durable.
    pub offset: u64,
    /// When it is given up.
    pub expires_at: String,
}

fn shown(upload: &Upload) -> UploadView {
    UploadView { id: upload.id.to_string(), length: upload.length, offset: upload.offset, expires_at: rfc3339(upload.expires_ms) }
}

/// What an upload is to become, wherever it was said.
struct Wanted {
    label: Label,
    length: u64,
    sha256: Option<[u8; 32]>,
    said: Said,
    shares: Vec<Wish>,
    /// What was said beside name, type, length and digest, for the fingerprint of the request.
    text: Vec<u8>,
}

/// What the tus server can do.
#[utoipa::path(
    options, path = "/v1/uploads", tag = "uploads",
    responses((status = 204, description = "Tus-Version, Tus-Extension and Tus-Max-Size."))
)]
pub async fn abilities(State(gateway): State<Arc<Gateway>>) -> Result<Response, Problem> {
    let mut response = with_tus(StatusCode::NO_CONTENT.into_response());
    let headers = response.headers_mut();
    headers.insert(&TUS_VERSION, HeaderValue::from_static(TUS));
    headers.insert(&TUS_EXTENSION, HeaderValue::from_static("creation,creation-with-upload,expiration,termination"));
    headers.insert(&TUS_MAX_SIZE, HeaderValue::from(gateway.limits().body_max_bytes));
    headers.insert(header::ALLOW, HeaderValue::from_static("OPTIONS,POST"));
    Ok(response)
}

/// Begins a resumable upload of a new document: by the header fields of tus, or by a JSON body.
#[utoipa::path(
    post, path = "/v1/uploads", tag = "uploads", security(("bearer" = [])),
    params(
        ("Tus-Resumable" = Option<String>, Header, description = "1.0.0, for tus."),
        ("Upload-Length" = Option<u64>, Header, description = "Bytes in all, for tus."),
        ("Upload-Metadata" = Option<String>, Header, description = "For tus: `filename` (or `name`), `filetype` (or `media_type`), and what POST /v1/documents takes as parameters, in base64."),
        ("Idempotency-Key" = Option<String>, Header, description = "Needed with a JSON body; taken with tus."),
        ("Repr-Digest" = Option<String>, Header, description = "sha-256=:BASE64: of the whole, checked before the document becomes visible."),
    ),
    request_body(content = NewUpload, content_type = "application/json"),
    responses(
        (status = 201, body = UploadView, headers(("Location" = String, description = "Where to send the bytes by PATCH."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &[])?;
    let is_tus = headers.contains_key(&TUS_RESUMABLE);
    let content_type = field(&headers, &header::CONTENT_TYPE)?.map(|t| t.split(';').next().unwrap_or_default().trim());
    let (wanted, piece) = if is_tus {
        check_version(&headers)?;
        let wanted = from_tus(&headers, gateway.limits().body_max_bytes)?;
        match content_type {
            Some(t) if t.eq_ignore_ascii_case(PIECE) => (wanted, Some(body)),
            _ => (wanted, None),
        }
    } else {
        if !content_type.is_some_and(|t| t.eq_ignore_ascii_case("application/json")) {
            return Err(Problem::new(Code::MediaTypeRefused, "send Tus-Resumable: 1.0.0, or an application/json body"));
        }
        (from_json(&gateway, &headers, body).await?, None)
    };
    let max = gateway.limits().body_max_bytes;
    if wanted.length > max {
        return Err(Problem::new(Code::TooLarge, format!("at most {max} bytes are taken")));
    }
    // tus clients know no Idempotency-Key; one that sends it gets its promise.
    let key = if is_tus && !headers.contains_key("idempotency-key") {
        None
    } else {
        let parts: [&[u8]; 6] = [
            b"POST /v1/uploads",
            wanted.label.name.as_str().as_bytes(),
            wanted.label.media_type.as_str().as_bytes(),
            &wanted.length.to_be_bytes(),
            wanted.sha256.as_ref().map_or(&[][..], |d| d.as_slice()),
            &wanted.text,
        ];
        Some(idempotency(&headers, &caller, &parts)?)
    };
    let vault = OpenVault::open(&gateway, gateway.metadata.view(), caller.vault).await?;
    let upload = begin(&gateway, &caller, &vault, &wanted, key).await?;
    let is_whole = wanted.length == 0;
    let appended = match piece {
        Some(body) => Some(append(&gateway, &caller, vault, upload.id, 0, body).await?),
        // Nothing is to come: an empty document is stored at once.
        None if is_whole => Some(append(&gateway, &caller, vault, upload.id, 0, Body::empty()).await?),
        None => None,
    };
    let mut view = shown(&upload);
    let mut response = match &appended {
        Some(Appended::At(offset)) => {
            view.offset = *offset;
            (StatusCode::CREATED, Json(view)).into_response()
        }
        Some(Appended::Committed(document)) => {
            view.offset = document.current.size;
            let mut response = (StatusCode::CREATED, Json(view)).into_response();
            name_document(&mut response, document)?;
            response
        }
        None => (StatusCode::CREATED, Json(view)).into_response(),
    };
    let offset = match &appended {
        Some(Appended::At(offset)) => *offset,
        Some(Appended::Committed(document)) => document.current.size,
        None => upload.offset,
    };
    let out = response.headers_mut();
    out.insert(header::LOCATION, header_value(&format!("/v1/uploads/{}", upload.id))?);
    out.insert(&UPLOAD_OFFSET, HeaderValue::from(offset));
    out.insert(&UPLOAD_EXPIRES, header_value(&http_date(upload.expires_ms))?);
    Ok(with_tus(response))
}

async fn begin(
    gateway: &Gateway,
    caller: &Caller,
    vault: &OpenVault,
    wanted: &Wanted,
    idempotency: Option<Idempotency>,
) -> Result<Upload, Problem> {
    let cluster = gateway.cluster(&*gateway.metadata.view())?;
    chunk_count(wanted.length, cluster.chunk_bytes).ok_or_else(|| Problem::plain(Code::TooLarge))?;
    let blob = BlobId(gateway.random());
    let (key, wrapped_key) = vault.new_document_key(gateway, blob)?;
    let new = shares::Subject { key: &key, blob, label: &wanted.label, version: 1, revision: 1 };
    let document = DocumentId::new(gateway.clock.now_ms(), gateway.random());
    let command = BeginUpload {
        upload: UploadId::new(gateway.clock.now_ms(), gateway.random()),
        vault: vault.id(),
        account: caller.account,
        blob,
        target: UploadTarget::NewDocument(document),
        name: vault.seal_label(document, &wanted.label)?,
        wrapped_key,
        code: if wanted.length <= u64::from(cluster.small_max_bytes) { Shards::SMALL } else { cluster.code },
        chunk_bytes: cluster.chunk_bytes,
        length: Some(wanted.length),
        expected_sha256: wanted.sha256,
        reserve_bytes: wanted.length,
        lifetime_ms: gateway.limits().upload_lifetime_ms,
        idempotency,
        resumable: true,
        attributes: wanted.said.attributes(vault)?,
        shares: shares::new_shares(gateway, vault, &wanted.shares, &new).await?,
    };
    match gateway.propose(Command::BeginUpload(Box::new(command))).await? {
        Outcome::Upload(upload) => Ok(*upload),
        Outcome::Repeated(IdempotencyState::Created { upload } | IdempotencyState::Running { upload }) => {
            let read = gateway.current().await?;
            view::upload(&*read, upload)?.ok_or_else(|| Problem::new(Code::DocumentGone, "the upload has ended"))
        }
        Outcome::Repeated(IdempotencyState::Committed { document, .. }) => {
            let problem = Problem::new(Code::Conflict, "this upload was completed before");
            Err(problem.with_error("document", document.to_string()))
        }
        other => Err(Problem::internal(format!("unexpected answer to BeginUpload: {other:?}"))),
    }
}

/// Runs [`resume::append`] in a task of its own: what came is noted even if the client goes away.
async fn append(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    vault: OpenVault,
    upload: UploadId,
    offset: u64,
    body: Body,
) -> Result<Appended, Problem> {
    let (gateway, caller) = (Arc::clone(gateway), caller.clone());
    let task = tokio::spawn(async move { resume::append(&gateway, &caller, &vault, upload, offset, body).await });
    task.await.map_err(Problem::internal)?
}

/// The length that the head of a creation by tus announces, once all of that head is right. The part of
/// [`create`] that needs no gateway.
///
/// # Errors
/// 400, 412, 413, 415: as [`create`].
pub fn tus_length(headers: &HeaderMap, body_max_bytes: u64) -> Result<u64, Problem> {
    check_version(headers)?;
    from_tus(headers, body_max_bytes).map(|wanted| wanted.length)
}

fn from_tus(headers: &HeaderMap, body_max_bytes: u64) -> Result<Wanted, Problem> {
    if headers.contains_key(&UPLOAD_DEFER_LENGTH) || headers.contains_key(&UPLOAD_CONCAT) {
        return Err(Problem::new(Code::BadHeader, "Upload-Defer-Length and Upload-Concat are not taken: send Upload-Length"));
    }
    let length = field(headers, &UPLOAD_LENGTH)?.ok_or_else(|| Problem::new(Code::BadHeader, "upload-length: missing"))?;
    let length = decimal(length).map_err(|e| Problem::new(Code::BadHeader, format!("upload-length: {e}")))?;
    let metadata = upload_metadata(field(headers, &UPLOAD_METADATA)?.unwrap_or_default())
        .map_err(|e| Problem::new(Code::BadHeader, format!("upload-metadata: {e}")))?;
    let value = |names: [&str; 2]| metadata.iter().find(|(key, _)| names.contains(&key.as_str())).map(|(_, value)| value.as_slice());
    let name = value(["filename", "name"]).ok_or_else(|| Problem::new(Code::BadName, "upload-metadata: filename is missing"))?;
    let media_type = match value(["filetype", "media_type"]).filter(|v| !v.is_empty()) {
        Some(bytes) => std::str::from_utf8(bytes).map_err(|_| BadName::MediaType).and_then(MediaType::new).map_err(bad_media_type)?,
        None => MediaType::unknown(),
    };
    let announced = announced(headers, body_max_bytes)?;
    // A Content-Digest speaks of this request's body, which is only a piece: the Repr-Digest speaks of the whole.
    let sha256 = if headers.contains_key(&REPR_DIGEST) { announced.sha256 } else { None };
    let mut said = Vec::new();
    for (key, value) in metadata.iter().filter(|(key, _)| attributes::NAMES.contains(&key.as_str()) || key == "shares") {
        let text = std::str::from_utf8(value).map_err(|_| bad_metadata(key, "not UTF-8"))?;
        said.push((key.as_str(), text));
    }
    let text = |name: &str| said.iter().find(|(key, _)| *key == name).map(|(_, text)| *text);
    Ok(Wanted {
        label: Label { name: DocumentName::from_bytes(name).map_err(bad_name)?, media_type },
        length,
        sha256,
        said: Said::of_texts(text, &bad_metadata)?,
        shares: shares::wishes_of_text(text("shares"), &bad_metadata)?,
        text: said.iter().flat_map(|(key, value)| [key.as_bytes(), b"=", value.as_bytes(), b"\0"].concat()).collect(),
    })
}

fn bad_metadata(name: &str, why: &str) -> Problem {
    Problem::new(Code::BadHeader, format!("upload-metadata: {name}: {why}"))
}

async fn from_json(gateway: &Gateway, headers: &HeaderMap, body: Body) -> Result<Wanted, Problem> {
    let limits = gateway.limits();
    announced(headers, limits.body_max_bytes)?;
    let new: NewUpload = json::body(gateway, headers, body).await?;
    let sha256 = match &new.sha256 {
        None => None,
        Some(text) => Some(digest_from_hex(text).ok_or_else(|| {
            Problem::new(Code::BadJson, "the body is not the JSON that is wanted").with_error("/sha256", "64 hexadecimal digits are wanted")
        })?),
    };
    let media_type = new.media_type.as_deref().map(MediaType::new).transpose().map_err(bad_media_type)?.unwrap_or_else(MediaType::unknown);
    let header_digest =
        field(headers, &REPR_DIGEST)?.map(sha256_field).transpose().map_err(|e| Problem::new(Code::BadDigest, e.to_string()))?;
    if header_digest.is_some() {
        return Err(Problem::new(Code::BadDigest, "with a JSON body, the digest is its member sha256"));
    }
    let said = Said::checked(
        new.category.as_deref(),
        new.doc_type.as_deref(),
        new.labels.clone(),
        new.shareable,
        new.expires_on.as_deref(),
        &attributes::bad_member,
    )?;
    let text = serde_json::to_vec(&(&new.category, &new.doc_type, &new.labels, new.shareable, &new.expires_on, &new.shares));
    Ok(Wanted {
        label: Label { name: DocumentName::new(&new.name).map_err(bad_name)?, media_type },
        length: new.length,
        sha256,
        said,
        shares: shares::wishes(&new.shares)?,
        text: text.map_err(Problem::internal)?,
    })
}

fn digest_from_hex(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}

fn bad_name(error: BadName) -> Problem {
    Problem::new(Code::BadName, error.to_string())
}

fn bad_media_type(error: BadName) -> Problem {
    Problem::new(Code::BadMediaType, error.to_string())
}

fn check_version(headers: &HeaderMap) -> Result<(), Problem> {
    if field(headers, &TUS_RESUMABLE)? == Some(TUS) {
        return Ok(());
    }
    Err(Problem::plain(Code::TusVersion).with_header(TUS_VERSION.clone(), HeaderValue::from_static(TUS)))
}

fn with_tus(mut response: Response) -> Response {
    response.headers_mut().insert(&TUS_RESUMABLE, HeaderValue::from_static(TUS));
    response
}

/// The date format of HTTP (RFC 9110 section 5.6.7), which tus asks for in `Upload-Expires`.
fn http_date(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn name_document(response: &mut Response, document: &Document) -> Result<(), Problem> {
    let headers = response.headers_mut();
    headers.insert(&DOCUMENT, header_value(&document.id.to_string())?);
    headers.insert(&VERSION, HeaderValue::from(document.current.number));
    if document.current.reduced {
        headers.insert(&REDUNDANCY, HeaderValue::from_static("reduced"));
    }
    Ok(())
}

/// The caller's upload.
fn find(gateway: &Gateway, caller: &Caller, upload: &str) -> Result<Upload, Problem> {
    let id: UploadId = id(upload)?;
    view::upload(&*gateway.metadata.view(), id)?
        .filter(|u| u.vault == caller.vault && u.resumable && u.expires_ms > gateway.clock.now_ms())
        .ok_or_else(|| Problem::plain(Code::NotFound))
}

/// How far an upload is: as header fields for HEAD, as JSON for GET.
#[utoipa::path(
    method(get, head), path = "/v1/uploads/{id}", tag = "uploads", security(("bearer" = [])),
    params(("id" = String, Path, description = "The upload's id.")),
    responses(
        (status = 200, body = UploadView, headers(("Upload-Offset" = u64, description = "Bytes that are durable."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn read(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(upload): Path<String>) -> Result<Response, Problem> {
    let upload = find(&gateway, &caller, &upload)?;
    let mut response = Json(shown(&upload)).into_response();
    let headers = response.headers_mut();
    headers.insert(&UPLOAD_OFFSET, HeaderValue::from(upload.offset));
    if let Some(length) = upload.length {
        headers.insert(&UPLOAD_LENGTH, HeaderValue::from(length));
    }
    headers.insert(&UPLOAD_EXPIRES, header_value(&http_date(upload.expires_ms))?);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(with_tus(response))
}

/// Sends bytes from an offset on. The piece that completes the length stores the document.
#[utoipa::path(
    patch, path = "/v1/uploads/{id}", tag = "uploads", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The upload's id."),
        ("Tus-Resumable" = String, Header, description = "1.0.0"),
        ("Upload-Offset" = u64, Header, description = "Where the piece begins."),
    ),
    request_body(content_type = "application/offset+octet-stream", description = "The bytes from there on."),
    responses(
        (status = 204, description = "Durable. When complete, Vault-Document and Vault-Version name what it became.", headers(
            ("Upload-Offset" = u64, description = "Bytes that are durable."),
            ("Vault-Document" = String, description = "The document, when complete."),
            ("Vault-Version" = u32, description = "Its version, when complete."),
        )),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn write(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(upload): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    let content_type = field(&headers, &header::CONTENT_TYPE)?.unwrap_or_default();
    if !content_type.eq_ignore_ascii_case(PIECE) {
        return Err(Problem::new(Code::MediaTypeRefused, format!("a piece has the media type {PIECE}")));
    }
    let offset = field(&headers, &UPLOAD_OFFSET)?.ok_or_else(|| Problem::new(Code::BadHeader, "upload-offset: missing"))?;
    let offset = decimal(offset).map_err(|e| Problem::new(Code::BadHeader, format!("upload-offset: {e}")))?;
    let announced = announced(&headers, gateway.limits().body_max_bytes)?;
    let upload = find(&gateway, &caller, &upload)?;
    if offset != upload.offset {
        return Err(Problem::new(Code::OffsetMismatch, format!("the upload stands at offset {}", upload.offset))
            .with_header(UPLOAD_OFFSET.clone(), HeaderValue::from(upload.offset)));
    }
    let left = upload.length.unwrap_or(0).saturating_sub(offset);
    if announced.length.is_some_and(|l| l > left) {
        return Err(Problem::new(Code::TooLarge, format!("the upload takes {left} bytes more")));
    }
    let vault = OpenVault::open(&gateway, gateway.metadata.view(), caller.vault).await?;
    let appended = append(&gateway, &caller, vault, upload.id, offset, body).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    let offset = match &appended {
        Appended::At(offset) => *offset,
        Appended::Committed(document) => {
            name_document(&mut response, document)?;
            document.current.size
        }
    };
    response.headers_mut().insert(&UPLOAD_OFFSET, HeaderValue::from(offset));
    Ok(with_tus(response))
}

/// Gives an upload up.
#[utoipa::path(
    delete, path = "/v1/uploads/{id}", tag = "uploads", security(("bearer" = [])),
    params(("id" = String, Path, description = "The upload's id.")),
    responses(
        (status = 204, description = "Gone."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(upload): Path<String>) -> Result<Response, Problem> {
    let upload = find(&gateway, &caller, &upload)?;
    gateway.telemetry.upload_aborted();
    gateway.propose(Command::AbortUpload { upload: upload.id, vault: upload.vault }).await?;
    Ok(with_tus(StatusCode::NO_CONTENT.into_response()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert!(!http_date(u64::MAX).is_empty());
    }

    #[test]
    fn digests_are_64_digits() {
        assert_eq!(digest_from_hex(&"00".repeat(32)), Some([0; 32]));
        assert!(digest_from_hex("00").is_none() && digest_from_hex("zz").is_none());
    }
}
