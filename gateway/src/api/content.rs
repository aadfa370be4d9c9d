//! `/v1/documents/{id}/content`: the bytes of a document, out and in.
//!
//! Owns: the header fields of a download, ranges and conditions; a new version by PUT. Not: the streams
//! ([`super::deliver`], [`super::ingest`]).
//! Holds: (1) no browser runs or shows a document in our origin: it is an attachment, not sniffed, in a
//! sandbox; (2) `Repr-Digest` is that of the whole document, also on a part of it.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use kluis_raft::{
    model::{Document, Event, EventKind, UploadTarget, Version},
    policy::Action,
    view,
};

use super::{
    Caller, Gateway,
    attributes::Said,
    deliver::{self, Source},
    documents::{DocumentView, REPR_DIGEST, announced, answer, etag, field, find, header_value, is_unchanged, not_modified, require_match},
    ingest::{self, Plan},
    name::{Label, MediaType},
    params::Params,
    rights::{self, Right},
    trail,
};
use crate::{
    problem::{Code, Problem, ProblemBody},
    range::{ByteRange, RangeError, Selection, if_range_matches, select},
    seal::ChunkSealer,
    upload::sha256_field_value,
};

/// What a document may do when somebody opens it in a browser after all: nothing.
static SANDBOX: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox; frame-ancestors 'none'");

/// The bytes of a document: of its newest version, or of the one that `version` names.
#[utoipa::path(
    method(get, head), path = "/v1/documents/{id}/content", tag = "documents", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The document's id."),
        ("version" = Option<u32>, Query, description = "A version's number; the newest if absent."),
        ("Range" = Option<String>, Header, description = "At most 16 ranges of bytes."),
    ),
    responses(
        (status = 200, description = "The whole content.", content_type = "application/octet-stream"),
        (status = 206, description = "The ranges.", content_type = "application/octet-stream"),
        (status = 304, description = "Unchanged since the ETag in If-None-Match."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn read(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(document): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["version"])?;
    let (vault, document) = find(&gateway, &caller, &document).await?;
    let (version, tag) = chosen(&gateway, &document, params.number("version", 1..=u64::from(u32::MAX))?)?;
    rights::own(&caller, &document, &version.scan, Action::Read)?;
    let label = vault.open_label(document.id, &document.name)?;
    let details = trail::Details::new(caller.address, Some(&label));
    let event = trail::reading(&gateway, EventKind::ReadByOwner, caller.actor(), &vault, document.id, &details)?;
    let sealer = vault.sealer(version.blob, &version.wrapped_key)?;
    let right = Right::Owner { caller, document: document.id };
    send(&gateway, &method, &headers, Content { version, tag, label, sealer, right, event }).await
}

/// Content that somebody may read.
pub(super) struct Content {
    /// Which bytes.
    pub(super) version: Version,
    /// Their strong ETag.
    pub(super) tag: String,
    /// Name and media type.
    pub(super) label: Label,
    /// What opens them.
    pub(super) sealer: Arc<ChunkSealer>,
    /// By what right.
    pub(super) right: Right,
    /// What the owner's history says when bytes leave.
    pub(super) event: Event,
}

/// The answer to a GET or HEAD of content: conditions, ranges, header fields, bytes.
pub(super) async fn send(gateway: &Arc<Gateway>, method: &Method, headers: &HeaderMap, content: Content) -> Result<Response, Problem> {
    let Content { version, tag, label, sealer, right, event } = content;
    if let Some(tags) = field(headers, &header::IF_MATCH)? {
        let tags = crate::range::Etags::parse(tags).map_err(|e| Problem::new(Code::BadHeader, format!("if-match: {e}")))?;
        if !tags.matches_strongly(&tag) {
            return Err(Problem::plain(Code::PreconditionFailed));
        }
    }
    if is_unchanged(headers, &tag)? {
        return not_modified(&tag);
    }
    let range = field(headers, &header::RANGE)?.filter(|_| matches!(field(headers, &header::IF_RANGE), Ok(r) if if_range_matches(r, &tag)));
    let size = version.size;
    let selection = select(range, size, gateway.limits().ranges_max).map_err(|e| range_problem(e, size))?;
    let (parts, is_partial) = match selection {
        Selection::Whole if size == 0 => (Vec::new(), false),
        Selection::Whole => (vec![ByteRange { start: 0, end: size }], false),
        Selection::Parts(parts) => (parts, true),
    };

    let read = gateway.metadata.view();
    let blob = view::blob(&*read, version.blob)?.ok_or_else(|| Problem::internal(format!("blob {} is missing", version.blob)))?;
    let media_type = label.media_type.as_str();
    let boundary = format!("kluis-{:032x}", gateway.random());
    let (len, is_multipart, body) = if *method == Method::HEAD {
        let (len, is_multipart) = deliver::measure(&blob, &parts, media_type, &boundary);
        (len, is_multipart, Body::empty())
    } else {
        let source = Source { gateway: Arc::clone(gateway), right, blob, sealer };
        let delivery = deliver::deliver(source, &parts, media_type, boundary.clone()).await?;
        // Once a request, and before a byte of it leaves: no read goes unrecorded.
        gateway.recorder.record(event).await?;
        (delivery.len, delivery.boundary.is_some(), delivery.body)
    };

    let mut response = Response::new(body);
    *response.status_mut() = if is_partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let out = response.headers_mut();
    out.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    out.insert(header::ETAG, header_value(&tag)?);
    out.insert(&REPR_DIGEST, header_value(&sha256_field_value(&version.sha256))?);
    out.insert(header::CONTENT_DISPOSITION, header_value(&label.name.content_disposition())?);
    out.insert(header::CONTENT_SECURITY_POLICY, SANDBOX.clone());
    // The owner's own browser may keep it if it asks each time; nobody else.
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if is_multipart {
        out.insert(header::CONTENT_TYPE, header_value(&format!("multipart/byteranges; boundary={boundary}"))?);
    } else {
        out.insert(header::CONTENT_TYPE, header_value(media_type)?);
        if let ([one], true) = (parts.as_slice(), is_partial) {
            out.insert(header::CONTENT_RANGE, header_value(&one.content_range(size))?);
        }
    }
    Ok(response)
}

/// The wanted version with its ETag: a version by number never changes, the newest changes with the document.
fn chosen(gateway: &Gateway, document: &Document, number: Option<u64>) -> Result<(Version, String), Problem> {
    let Some(number) = number.and_then(|n| u32::try_from(n).ok()) else {
        return Ok((document.current.clone(), etag(document)));
    };
    let read = gateway.metadata.view();
    let version = view::version(&*read, document.vault, document.id, number)?.ok_or_else(|| Problem::plain(Code::NotFound))?;
    Ok((version, format!("\"v{number}\"")))
}

fn range_problem(error: RangeError, size: u64) -> Problem {
    match error {
        RangeError::TooMany { .. } => Problem::new(Code::TooManyRanges, error.to_string()),
        RangeError::Unsatisfiable => {
            let problem = Problem::new(Code::RangeNotSatisfiable, error.to_string());
            match HeaderValue::from_str(&format!("bytes */{size}")) {
                Ok(value) => problem.with_header(header::CONTENT_RANGE, value),
                Err(_) => problem,
            }
        }
    }
}

/// Stores a new version of a document.
#[utoipa::path(
    put, path = "/v1/documents/{id}/content", tag = "documents", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The document's id."),
        ("If-Match" = String, Header, description = "The ETag that you saw, or *."),
        ("Repr-Digest" = Option<String>, Header, description = "sha-256=:BASE64:, checked before the version becomes visible."),
    ),
    request_body(content_type = "application/octet-stream", description = "The content; its Content-Type is kept."),
    responses(
        (status = 200, body = DocumentView, headers(("ETag" = String, description = "The new revision."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn write(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(document): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &[])?;
    let announced = announced(&headers, gateway.limits().body_max_bytes)?;
    let (vault, document) = find(&gateway, &caller, &document).await?;
    require_match(&headers, &etag(&document))?;
    let known = vault.open_label(document.id, &document.name)?;
    let media_type = match field(&headers, &header::CONTENT_TYPE)? {
        Some(text) => MediaType::new(text).map_err(|e| Problem::new(Code::BadMediaType, e.to_string()))?,
        None => known.media_type,
    };
    let plan = Plan {
        target: UploadTarget::NewVersion { document: document.id, revision: document.revision },
        label: Label { name: known.name, media_type },
        length: announced.length,
        sha256: announced.sha256,
        idempotency: None,
        said: Said::default(),
        shares: Vec::new(),
    };
    let document = ingest::receive(&gateway, &caller, &vault, plan, body).await?;
    answer(&vault, &document, StatusCode::OK)
}
