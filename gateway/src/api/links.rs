//! `/v1/links`: links to one version of one document, for people without an account; as their owner sees them.
//!
//! Owns: making, listing and stopping links. Not: their opening ([`super::open_links`]).
//! Holds: (1) there is no link unless an owner makes one, and none lives longer than 30 days; (2) a token is in one
//! answer, once, and nowhere else: what a link shows is wrapped under a key that follows from it.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use kluis_raft::{
    command::SharingCommand,
    model::{Document, DocumentId, Link, LinkId, NewLink as NewRecord, Sealed},
    outcome::SharingOutcome,
    policy::Action,
    view,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    attributes::bad_member,
    documents::{find, id, rfc3339},
    json,
    name::Label,
    params::Params,
    rights,
    shares::{propose, time, unexpected},
    trail,
    vault::OpenVault,
};
use crate::{
    auth::{password, token::LinkToken},
    keys::{
        KeyError, VaultKey,
        vault_key::{open_text, seal_text},
    },
    problem::{Code, Problem, ProblemBody},
};

/// Purpose of the sealed name of what a link shows; its id is the link's.
const LABEL: &str = "link label";
const OPENS: u32 = 10;

/// A link to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLink {
    /// The document's id. The link shows the version that is the newest now, for ever.
    document: String,
    /// When it ends: at most 30 days from now.
    until: String,
    /// How often it can be opened, 1 to 100; 10 if absent.
    max_opens: Option<u32>,
    /// 8 to 100 characters, to be told by another way than the link; none if absent.
    password: Option<String>,
    /// Whether who opens it must sign in; false if absent.
    identity_check: Option<bool>,
}

/// A link, as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinkView {
    /// Opaque id.
    pub id: String,
    /// The document's id.
    pub document: String,
    /// The version that it shows.
    pub version: u32,
    /// When it was made.
    pub created_at: String,
    /// When it ends.
    pub until: String,
    /// How often it can be opened.
    pub max_opens: u32,
    /// When it was opened, oldest first.
    pub opens: Vec<String>,
    /// Whether it needs a password.
    pub has_password: bool,
    /// Whether who opens it must sign in.
    pub identity_check: bool,
    /// When it was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<String>,
    /// Whether it can still be opened.
    pub live: bool,
}

/// A link with its address.
#[derive(Serialize, ToSchema)]
pub struct LinkWithUrl {
    /// The link.
    pub link: LinkView,
    /// Its address. Shown this once.
    pub url: String,
    /// The token in it.
    pub token: String,
}

/// The links to a document, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinkList {
    /// The links, with those that ended lately.
    pub links: Vec<LinkView>,
}

/// Seals what a link shows of the document's name.
fn sealed_label(key: &VaultKey, link: LinkId, label: &Label) -> Result<Sealed, Problem> {
    let plain = zeroize::Zeroizing::new(label.encode().map_err(Problem::internal)?);
    Ok(seal_text(key, LABEL, &link.to_bytes(), &plain)?)
}

/// Opens it.
///
/// # Errors
/// 503 when it does not open.
pub fn open_label(key: &VaultKey, link: LinkId, sealed: &Sealed) -> Result<Label, Problem> {
    let plain = open_text(key, LABEL, &link.to_bytes(), sealed)?;
    Label::decode(&plain).ok_or_else(|| Problem::internal("a link's label is damaged"))
}

fn shown(link: &Link, now: u64) -> LinkView {
    LinkView {
        id: format!("{}-{}", link.document, link.asked.id),
        document: link.document.to_string(),
        version: link.asked.version,
        created_at: rfc3339(link.created_ms),
        until: rfc3339(link.asked.until_ms),
        max_opens: link.asked.max_opens,
        opens: link.opens.iter().map(|ms| rfc3339(*ms)).collect(),
        has_password: link.asked.password.is_some(),
        identity_check: link.asked.identity_check,
        revoked_at: link.revoked_ms.map(rfc3339),
        live: link.is_live(now),
    }
}

/// The document and the link that an id names.
fn parts(text: &str) -> Result<(&str, LinkId), Problem> {
    let (document, link) = text.split_once('-').ok_or_else(|| Problem::plain(Code::NotFound))?;
    Ok((document, id(link)?))
}

/// Stretches a password where it holds nobody up.
async fn stretched(gateway: &Gateway, text: Option<String>) -> Result<Option<kluis_raft::model::PasswordHash>, Problem> {
    let Some(text) = text else { return Ok(None) };
    if !(8..=100).contains(&text.chars().count()) {
        return Err(bad_member("password", "8 to 100 characters are wanted"));
    }
    let (entropy, text) = (Arc::clone(&gateway.entropy), zeroize::Zeroizing::new(text));
    let hashed = tokio::task::spawn_blocking(move || password::hashed(&*entropy, &text)).await;
    hashed.map(Some).map_err(Problem::internal)
}

/// Makes a link to a document.
#[utoipa::path(
    post, path = "/v1/links", tag = "links", security(("bearer" = [])),
    request_body(content = NewLink, content_type = "application/json"),
    responses(
        (status = 201, body = LinkWithUrl),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(State(gateway): State<Arc<Gateway>>, caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let new: NewLink = json::body(&gateway, &headers, body).await?;
    let until_ms = time(&new.until, "until", &bad_member)?;
    let (vault, document) = find(&gateway, &caller, &new.document).await?;
    rights::own(&caller, &document, &document.current.scan, Action::Link)?;
    let label = vault.open_label(document.id, &document.name)?;
    let token = LinkToken::generate(&*gateway.entropy);
    let link = NewRecord {
        max_opens: new.max_opens.unwrap_or(OPENS),
        identity_check: new.identity_check.unwrap_or(false),
        password: stretched(&gateway, new.password).await?,
        ..record(&gateway, &vault, &document, &label, &token, until_ms)?
    };
    let trail = trail::of_caller(&gateway, &caller, &vault, Some(&label))?;
    let act = SharingCommand::CreateLink { vault: vault.id(), document: document.id, link: Box::new(link) };
    match propose(&gateway, act, trail, Code::DocumentGone).await? {
        SharingOutcome::Link(link) => {
            let token = token.to_text().to_string();
            let url = format!("{}/v1/l/{token}", gateway.config.public_url);
            let link = shown(&link, gateway.clock.now_ms());
            Ok((StatusCode::CREATED, Json(LinkWithUrl { link, url, token })).into_response())
        }
        other => Err(unexpected(&other)),
    }
}

fn record(
    gateway: &Gateway,
    vault: &OpenVault,
    document: &Document,
    label: &Label,
    token: &LinkToken,
    until_ms: u64,
) -> Result<NewRecord, Problem> {
    let id = LinkId::new(gateway.clock.now_ms(), gateway.random());
    let link_key = token.key()?;
    let version = &document.current;
    let key = vault.document_key(version.blob, &version.wrapped_key)?;
    let wrapped: Result<Vec<u8>, KeyError> = key.wrap(&*gateway.entropy, &link_key, vault.id(), version.blob);
    Ok(NewRecord {
        id,
        hash: token.link_hash(),
        version: version.number,
        wrapped_key: wrapped?,
        name: sealed_label(&link_key, id, label)?,
        password: None,
        until_ms,
        max_opens: OPENS,
        identity_check: false,
        watermark: false,
    })
}

/// The links to a document, with their openings.
#[utoipa::path(
    get, path = "/v1/links", tag = "links", security(("bearer" = [])),
    params(("document" = String, Query, description = "The document's id.")),
    responses(
        (status = 200, body = LinkList),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(gateway): State<Arc<Gateway>>, caller: Caller, RawQuery(query): RawQuery) -> Result<Json<LinkList>, Problem> {
    let params = Params::parse(query.as_deref(), &["document"])?;
    let document = params.value("document").ok_or_else(|| Problem::new(Code::BadParameter, "document: missing"))?;
    let document: DocumentId = id(document)?;
    let read = gateway.metadata.view();
    view::document(&*read, caller.vault, document)?.ok_or_else(|| Problem::plain(Code::NotFound))?;
    let now = rights::now(&gateway, &*read)?;
    let links = view::sharing::links_of_document(&*read, caller.vault, document)?;
    Ok(Json(LinkList { links: links.iter().map(|link| shown(link, now)).collect() }))
}

/// Stops a link, in force at once everywhere.
#[utoipa::path(
    delete, path = "/v1/links/{id}", tag = "links", security(("bearer" = [])),
    params(("id" = String, Path, description = "The link's id.")),
    responses(
        (status = 204, description = "Stopped."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(link): Path<String>) -> Result<StatusCode, Problem> {
    let (document, link) = parts(&link)?;
    let (vault, document) = find(&gateway, &caller, document).await?;
    rights::own(&caller, &document, &document.current.scan, Action::Revoke)?;
    let label = vault.open_label(document.id, &document.name)?;
    let trail = trail::of_caller(&gateway, &caller, &vault, Some(&label))?;
    let act = SharingCommand::RevokeLink { vault: vault.id(), document: document.id, link };
    propose(&gateway, act, trail, Code::Expired).await?;
    Ok(StatusCode::NO_CONTENT)
}
