//! `/v1/documents`: list, upload in one request, look, delete, versions.
//!
//! Owns: the shape of a document in JSON and its ETag. Not: its bytes ([`super::content`]).
//! Holds: (1) the ETag of a document is its revision, which every change raises; (2) nothing is deleted
//! without the ETag that the client saw; (3) a POST with a repeated `Idempotency-Key` makes nothing twice.

use std::sync::Arc;

use aws_lc_rs::digest;
use axum::{
    Json,
    body::Body,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use kluis_raft::{
    command::Command,
    model::{Document, DocumentId, UploadTarget, VaultId, Version},
    policy::Action,
    store::Read,
    view,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    attributes::{self, CopiedFrom, Filter, Said, ScanView},
    ingest::{self, Idempotency, Plan},
    name::{DocumentName, Label, MediaType},
    params::Params,
    rights, shares, trail,
    vault::OpenVault,
};
use crate::{
    limits::IDEMPOTENCY_KEY_BYTES_MAX,
    problem::{Code, Problem, ProblemBody},
    range::Etags,
    upload::{decimal, sha256_field},
};

/// Set to `reduced` on an answer to an upload that fewer disks than usual hold so far.
pub static REDUNDANCY: HeaderName = HeaderName::from_static("vault-redundancy");
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// RFC 9530.
pub static REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// A document.
#[derive(Debug, Serialize, ToSchema)]
pub struct DocumentView {
    /// Opaque id.
    pub id: String,
    /// Number of the newest version, from 1.
    pub version: u32,
    /// Its name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Bytes of the newest version.
    pub size: u64,
    /// SHA-256 of the newest version, in hexadecimal.
    pub sha256: String,
    /// When the first version was stored.
    pub created_at: String,
    /// When the newest change was made.
    pub updated_at: String,
    /// What to send in If-Match.
    pub etag: String,
    /// Where it is filed: a key of `GET /v1/categories`.
    #[schema(value_type = String)]
    pub category: &'static str,
    /// What it is: a key of `GET /v1/categories`.
    #[schema(value_type = String)]
    pub doc_type: &'static str,
    /// The owner's own words on it.
    pub labels: Vec<String>,
    /// Whether it may be shared at all.
    pub shareable: bool,
    /// When what it says runs out, YYYY-MM-DD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_on: Option<String>,
    /// How it came here: `upload`, `copy`, `inherited` or `office`.
    #[schema(value_type = String)]
    pub origin: &'static str,
    /// What it is a copy of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_from: Option<CopiedFrom>,
    /// `pending_scan`, `available`, `trashed` or `quarantined`.
    #[schema(value_type = String)]
    pub state: &'static str,
    /// When it is erased by itself, in the trash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erased_at: Option<String>,
    /// What is known of malware in the newest version.
    pub scan: ScanView,
}

/// A page of documents, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct DocumentPage {
    /// The documents.
    pub documents: Vec<DocumentView>,
    /// What to send as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A version of a document.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionView {
    /// Its number, from 1.
    pub version: u32,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// When it was stored.
    pub created_at: String,
}

/// A page of versions, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionPage {
    /// The versions.
    pub versions: Vec<VersionView>,
    /// What to send as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Milliseconds since 1970 as RFC 3339 in UTC.
pub fn rfc3339(ms: u64) -> String {
    i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// The strong ETag of a document, and of its newest content.
pub fn etag(document: &Document) -> String {
    format!("\"r{}\"", document.revision)
}

/// A document as JSON shows it.
///
/// # Errors
/// 503 when its label does not open.
pub fn shown(vault: &OpenVault, document: &Document) -> Result<DocumentView, Problem> {
    let label = vault.open_label(document.id, &document.name)?;
    Ok(DocumentView {
        id: document.id.to_string(),
        version: document.current.number,
        name: label.name.as_str().to_owned(),
        media_type: label.media_type.as_str().to_owned(),
        size: document.current.size,
        sha256: hex::encode(document.current.sha256),
        created_at: rfc3339(document.created_ms),
        updated_at: rfc3339(document.updated_ms),
        etag: etag(document),
        category: document.attributes.category.key(),
        doc_type: document.attributes.doc_type.key(),
        labels: document.attributes.labels.iter().map(|word| vault.open_word(word)).collect::<Result<_, _>>()?,
        shareable: document.attributes.shareable,
        expires_on: document.attributes.expires_on.map(|date| date.to_string()),
        origin: document.origin.key(),
        copied_from: CopiedFrom::of(vault, &document.origin)?,
        state: document.state.key(),
        erased_at: attributes::erased_at(document.state),
        scan: ScanView::of(&document.current.scan),
    })
}

/// The answer that shows `document`, with its ETag.
///
/// # Errors
/// 503 when its label does not open.
pub fn answer(vault: &OpenVault, document: &Document, status: StatusCode) -> Result<Response, Problem> {
    let mut response = (status, Json(shown(vault, document)?)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::ETAG, header_value(&etag(document))?);
    if status == StatusCode::CREATED {
        headers.insert(header::LOCATION, header_value(&format!("/v1/documents/{}", document.id))?);
    }
    if document.current.reduced {
        headers.insert(&REDUNDANCY, HeaderValue::from_static("reduced"));
    }
    Ok(response)
}

/// Text as a field value; ours is ASCII.
///
/// # Errors
/// 500 otherwise.
pub fn header_value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(Problem::internal)
}

/// A field that may come once, as text.
///
/// # Errors
/// 400 when it comes twice or is not ASCII.
pub fn field<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bad = |why: &str| Problem::new(Code::BadHeader, format!("{name}: {why}"));
    if values.next().is_some() {
        return Err(bad("given twice"));
    }
    value.to_str().map(Some).map_err(|_| bad("not visible ASCII"))
}

/// An identifier in a path; what is none names nothing.
///
/// # Errors
/// 404.
pub fn id<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::plain(Code::NotFound))
}

/// The caller's document.
///
/// # Errors
/// 404 when there is none, or it is another's.
pub async fn find(gateway: &Gateway, caller: &Caller, document: &str) -> Result<(OpenVault, Document), Problem> {
    let id: DocumentId = id(document)?;
    let read = gateway.metadata.view();
    let document = view::document(&*read, caller.vault, id)?.ok_or_else(|| Problem::plain(Code::NotFound))?;
    Ok((OpenVault::open(gateway, read, caller.vault).await?, document))
}

/// Checks the `If-Match` that a change needs.
///
/// # Errors
/// 428 when it is missing, 412 when it names another state.
pub fn require_match(headers: &HeaderMap, current: &str) -> Result<(), Problem> {
    let tags = field(headers, &header::IF_MATCH)?.ok_or_else(|| Problem::plain(Code::PreconditionRequired))?;
    let tags = Etags::parse(tags).map_err(|e| Problem::new(Code::BadHeader, format!("if-match: {e}")))?;
    if tags.matches_strongly(current) { Ok(()) } else { Err(Problem::plain(Code::PreconditionFailed)) }
}

/// What the head of an upload announces of its content.
pub struct Announced {
    /// Length, of `Content-Length`.
    pub length: Option<u64>,
    /// SHA-256, of `Repr-Digest` or `Content-Digest`.
    pub sha256: Option<[u8; 32]>,
}

/// Reads what is announced, and refuses what can be refused before a byte of the body is read.
///
/// # Errors
/// 400, 413, 415.
pub fn announced(headers: &HeaderMap, max: u64) -> Result<Announced, Problem> {
    if field(headers, &header::CONTENT_ENCODING)?.is_some_and(|e| !e.eq_ignore_ascii_case("identity")) {
        return Err(Problem::plain(Code::ContentEncoding));
    }
    let length = field(headers, &header::CONTENT_LENGTH)?
        .map(decimal)
        .transpose()
        .map_err(|e| Problem::new(Code::BadHeader, format!("content-length: {e}")))?;
    if length.is_some_and(|l| l > max) {
        return Err(Problem::new(Code::TooLarge, format!("at most {max} bytes are taken")));
    }
    let mut sha256 = None;
    for name in [&REPR_DIGEST, &CONTENT_DIGEST] {
        let Some(text) = field(headers, name)? else { continue };
        let found = sha256_field(text).map_err(|e| Problem::new(Code::BadDigest, e.to_string()))?;
        if sha256.is_some() && found.is_some() && found != sha256 {
            return Err(Problem::new(Code::BadDigest, "the two digest fields differ"));
        }
        sha256 = found.or(sha256);
    }
    Ok(Announced { length, sha256 })
}

/// The media type of an upload.
///
/// # Errors
/// 400 `bad_media_type`.
pub fn media_type(headers: &HeaderMap) -> Result<MediaType, Problem> {
    match field(headers, &header::CONTENT_TYPE)? {
        None => Ok(MediaType::unknown()),
        Some(text) => MediaType::new(text).map_err(|e| Problem::new(Code::BadMediaType, e.to_string())),
    }
}

/// The `Idempotency-Key` of a request with the fingerprint of what else it says.
///
/// # Errors
/// 400 when it is missing or no key.
pub fn idempotency(headers: &HeaderMap, caller: &Caller, parts: &[&[u8]]) -> Result<Idempotency, Problem> {
    let key = field(headers, &IDEMPOTENCY_KEY)?.ok_or_else(|| Problem::plain(Code::IdempotencyKeyMissing))?;
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(Problem::new(Code::BadHeader, format!("idempotency-key: 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes")));
    }
    let account = caller.account.to_bytes();
    Ok((hash(&[b"idempotency key", &account, key.as_bytes()]), hash(parts)))
}

/// SHA-256 of parts, each with its length before it so that none runs into the next.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    let mut out = [0; 32];
    out.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    out
}

/// Documents that one request looks at: a page of what is rare may be short, and still have a next one.
const LOOKED_AT_MAX: usize = 2_000;

/// The documents of the vault, newest first.
#[utoipa::path(
    get, path = "/v1/documents", tag = "documents", security(("bearer" = [])),
    params(
        ("limit" = Option<u64>, Query, description = "Entries of a page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "From `next` or the Link header of the page before."),
        ("state" = Option<String>, Query, description = "`trashed`, `available`, `pending_scan` or `quarantined`; all but `trashed` if absent."),
        ("category" = Option<String>, Query, description = "A key of GET /v1/categories."),
        ("doc_type" = Option<String>, Query, description = "A key of GET /v1/categories."),
        ("label" = Option<String>, Query, description = "One of the owner's own words."),
    ),
    responses(
        (status = 200, body = DocumentPage, headers(("Link" = String, description = "rel=next, while there is more."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(gateway): State<Arc<Gateway>>, caller: Caller, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &[&["limit", "cursor"][..], &Filter::NAMES].concat())?;
    let limit = page_limit(&gateway, &params)?;
    let read = gateway.metadata.view();
    let vault = OpenVault::open(&gateway, Arc::clone(&read), caller.vault).await?;
    let before = params.value("cursor").map(|c| vault.open_cursor(c)).transpose()?.map(DocumentId);
    let filter = Filter::read(&params, &vault)?;
    let (found, next) = matching(&*read, vault.id(), before, limit, &filter)?;
    let next = next.map(|last| vault.seal_cursor(last.0)).transpose()?;
    let documents = found.iter().map(|d| shown(&vault, d)).collect::<Result<Vec<_>, _>>()?;
    let path = if filter.query.is_empty() { "/v1/documents".to_owned() } else { format!("/v1/documents?{}", filter.query) };
    paged(&path, limit, next, |next| DocumentPage { documents, next })
}

/// Up to `limit` documents that a filter shows, and after which one the next page goes on.
fn matching(
    read: &dyn Read,
    vault: VaultId,
    mut before: Option<DocumentId>,
    limit: usize,
    filter: &Filter,
) -> Result<(Vec<Document>, Option<DocumentId>), Problem> {
    let mut found: Vec<Document> = Vec::new();
    let mut looked_at = 0;
    loop {
        // One more than is shown tells whether there is a next page.
        let batch = view::documents(read, vault, before, limit + 1)?;
        let is_last = batch.len() <= limit;
        looked_at += batch.len();
        for document in batch {
            before = Some(document.id);
            if !filter.shows(&document) {
                continue;
            }
            if found.len() == limit {
                let next = found.last().map(|last| last.id);
                return Ok((found, next));
            }
            found.push(document);
        }
        if is_last {
            return Ok((found, None));
        }
        if looked_at >= LOOKED_AT_MAX {
            return Ok((found, before));
        }
    }
}

/// Entries of a page.
pub(super) fn page_limit(gateway: &Gateway, params: &Params) -> Result<usize, Problem> {
    let limits = gateway.limits();
    let max = u64::try_from(limits.page_max).unwrap_or(200);
    let given = params.number("limit", 1..=max)?;
    Ok(given.and_then(|n| usize::try_from(n).ok()).unwrap_or(limits.page_default))
}

/// A page with its Link header.
pub(super) fn paged<T: Serialize>(
    path: &str,
    limit: usize,
    next: Option<String>,
    page: impl FnOnce(Option<String>) -> T,
) -> Result<Response, Problem> {
    let sep = if path.contains('?') { '&' } else { '?' };
    let link = next.as_ref().map(|cursor| format!("<{path}{sep}limit={limit}&cursor={cursor}>; rel=\"next\""));
    let mut response = Json(page(next)).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, header_value(&link)?);
    }
    Ok(response)
}

/// Stores a new document: the body is its content, as it is.
#[utoipa::path(
    post, path = "/v1/documents", tag = "documents", security(("bearer" = [])),
    params(
        ("name" = String, Query, description = "The document's name."),
        ("category" = Option<String>, Query, description = "A key of GET /v1/categories; `other` if absent."),
        ("doc_type" = Option<String>, Query, description = "A key of GET /v1/categories; `other` if absent."),
        ("labels" = Option<String>, Query, description = "The owner's own words on it, at most 20, with commas between them."),
        ("shareable" = Option<bool>, Query, description = "Whether it may be shared at all; true if absent."),
        ("expires_on" = Option<String>, Query, description = "When what it says runs out, YYYY-MM-DD."),
        ("shares" = Option<String>, Query, description = "Whom it is shared with as soon as it is there, as the JSON array `shares` of POST /v1/documents/{id}/shares: with all of them, or it is not stored."),
        ("Idempotency-Key" = String, Header, description = "A fresh random text for each new request, the same for each retry."),
        ("Repr-Digest" = Option<String>, Header, description = "sha-256=:BASE64:, checked before the document becomes visible."),
    ),
    request_body(content_type = "application/octet-stream", description = "The content; its Content-Type is kept."),
    responses(
        (status = 201, body = DocumentView, headers(
            ("Location" = String, description = "The document."),
            ("ETag" = String, description = "Its revision."),
            ("Vault-Redundancy" = String, description = "`reduced` when fewer disks than usual hold it so far."),
        )),
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
    let params = Params::parse(query.as_deref(), &[&["name", "shares"][..], &attributes::NAMES].concat())?;
    let name = params.value("name").ok_or_else(|| Problem::new(Code::BadName, "the parameter name is missing"))?;
    let name = DocumentName::new(name).map_err(|e| Problem::new(Code::BadName, e.to_string()))?;
    let label = Label { name, media_type: media_type(&headers)? };
    let said = Said::of_texts(|name| params.value(name), &attributes::bad_parameter)?;
    let shares = shares::wishes_of_text(params.value("shares"), &attributes::bad_parameter)?;
    let announced = announced(&headers, gateway.limits().body_max_bytes)?;
    let idempotency = {
        let (length, sha256) = (announced.length.map(u64::to_be_bytes).unwrap_or_default(), announced.sha256.unwrap_or_default());
        let (name, media_type) = (label.name.as_str().as_bytes(), label.media_type.as_str().as_bytes());
        let mut parts: Vec<&[u8]> = vec![&b"POST /v1/documents"[..], name, media_type, &length[..], &sha256[..]];
        parts.extend(["shares"].into_iter().chain(attributes::NAMES).map(|name| params.value(name).unwrap_or_default().as_bytes()));
        idempotency(&headers, &caller, &parts)?
    };
    let vault = OpenVault::open(&gateway, gateway.metadata.view(), caller.vault).await?;
    let target = UploadTarget::NewDocument(DocumentId::new(gateway.clock.now_ms(), gateway.random()));
    let plan = Plan { target, label, length: announced.length, sha256: announced.sha256, idempotency: Some(idempotency), said, shares };
    let document = ingest::receive(&gateway, &caller, &vault, plan, body).await?;
    answer(&vault, &document, StatusCode::CREATED)
}

/// A document.
#[utoipa::path(
    get, path = "/v1/documents/{id}", tag = "documents", security(("bearer" = [])),
    params(("id" = String, Path, description = "The document's id.")),
    responses(
        (status = 200, body = DocumentView, headers(("ETag" = String, description = "Its revision."))),
        (status = 304, description = "Unchanged since the ETag in If-None-Match."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn read(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(document): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (vault, document) = find(&gateway, &caller, &document).await?;
    if is_unchanged(&headers, &etag(&document))? {
        return not_modified(&etag(&document));
    }
    answer(&vault, &document, StatusCode::OK)
}

/// Whether `If-None-Match` names the present state.
///
/// # Errors
/// 400 when it cannot be read.
pub fn is_unchanged(headers: &HeaderMap, current: &str) -> Result<bool, Problem> {
    let Some(text) = field(headers, &header::IF_NONE_MATCH)? else { return Ok(false) };
    let tags = Etags::parse(text).map_err(|e| Problem::new(Code::BadHeader, format!("if-none-match: {e}")))?;
    Ok(tags.matches_weakly(current))
}

/// 304 with the ETag.
///
/// # Errors
/// Never in practice.
pub fn not_modified(etag: &str) -> Result<Response, Problem> {
    Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, header_value(etag)?)]).into_response())
}

/// Erases a document with all its versions, for ever; to put it into the trash, POST to .../trash.
#[utoipa::path(
    delete, path = "/v1/documents/{id}", tag = "documents", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The document's id."),
        ("If-Match" = String, Header, description = "The ETag that you saw, or *."),
    ),
    responses(
        (status = 204, description = "Gone."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(document): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let (vault, document) = find(&gateway, &caller, &document).await?;
    rights::own(&caller, &document, &document.current.scan, Action::Erase)?;
    require_match(&headers, &etag(&document))?;
    let label = vault.open_label(document.id, &document.name)?;
    let trail = Box::new(trail::of_caller(&gateway, &caller, &vault, Some(&label))?);
    gateway.propose(Command::DeleteDocument { vault: vault.id(), document: document.id, revision: document.revision, trail }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The versions of a document, newest first.
#[utoipa::path(
    get, path = "/v1/documents/{id}/versions", tag = "documents", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The document's id."),
        ("limit" = Option<u64>, Query, description = "Entries of a page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "From `next` or the Link header of the page before."),
    ),
    responses(
        (status = 200, body = VersionPage),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn versions(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(document): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["limit", "cursor"])?;
    let limit = page_limit(&gateway, &params)?;
    let (vault, document) = find(&gateway, &caller, &document).await?;
    let from = match params.value("cursor").map(|c| vault.open_cursor(c)).transpose()? {
        Some(at) => u32::try_from(at).map_err(|_| Problem::plain(Code::BadCursor))?.saturating_sub(1),
        None => document.current.number,
    };
    let read = gateway.metadata.view();
    let mut found: Vec<VersionView> = Vec::new();
    let mut number = from.min(document.current.number);
    while number >= 1 && found.len() < limit {
        if let Some(version) = view::version(&*read, vault.id(), document.id, number)? {
            found.push(shown_version(&version));
        }
        number -= 1;
    }
    let next = match found.last() {
        Some(last) if number >= 1 => Some(vault.seal_cursor(u128::from(last.version))?),
        _ => None,
    };
    paged(&format!("/v1/documents/{}/versions", document.id), limit, next, |next| VersionPage { versions: found, next })
}

fn shown_version(version: &Version) -> VersionView {
    VersionView {
        version: version.number,
        size: version.size,
        sha256: hex::encode(version.sha256),
        created_at: rfc3339(version.created_ms),
    }
}
