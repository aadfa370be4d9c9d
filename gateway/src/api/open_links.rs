//! `/v1/l/{token}`: a link as whoever has its token sees it.
//!
//! Owns: what is told before, the opening, and the reading after it. Not: making and stopping ([`super::links`]).
//! Holds: (1) one opening is one command, counted once; it may be read for an hour, with as many requests as a browser
//! needs; (2) what `opened` says is authenticated under a key that only gateways have: the token alone does not skip
//! the password; (3) tries of a password are few; (4) a link that was stopped, or whose time ran out, stops a running
//! download at its next chunk.

use std::{net::IpAddr, sync::Arc};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::{
    Json,
    body::Body,
    extract::{FromRequestParts, Path, RawQuery, Request, State},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, Method};
use kluis_raft::{
    command::SharingCommand,
    model::{Actor, EventKind, Link, LinkHash, TimeMs},
    outcome::SharingOutcome,
    view,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{
    Caller, Gateway,
    caller::Peer,
    content::{Content, send},
    documents::{field, rfc3339},
    json, links,
    params::Params,
    rights::{self, Right},
    shares::{propose, unexpected},
    trail,
    vault::OpenVault,
};
use crate::{
    auth::{password, token::LinkToken},
    keys::{DocumentKey, LookupKey},
    problem::{Code, Problem, ProblemBody},
    seal::ChunkSealer,
};

/// How long an opening may be read.
const OPENING_MS: u64 = 3600 * 1000;
/// Carries `opened` of the answer to an opening.
static OPENED: HeaderName = HeaderName::from_static("vault-opened");

/// What a link shows before it is opened.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinkInfo {
    /// Whether opening it needs a password.
    pub needs_password: bool,
    /// Whether who opens it must sign in.
    pub needs_identity: bool,
    /// When it ends.
    pub until: String,
}

/// How a link is opened.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The password, where it needs one.
    password: Option<String>,
}

/// An opened link.
#[derive(Serialize, ToSchema)]
pub struct Opened {
    /// What to send as Vault-Opened, or as the parameter `opened`, to read the content.
    pub opened: String,
    /// Until when that is good.
    pub opened_until: String,
    /// The document's name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub size: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

fn token_of(text: &str) -> Result<LinkToken, Problem> {
    LinkToken::parse(text).map_err(|_| Problem::plain(Code::NotFound))
}

/// The link, if it can be opened now.
async fn openable(gateway: &Gateway, hash: &LinkHash) -> Result<(Link, kluis_raft::model::Version), Problem> {
    let read = gateway.current().await?;
    let now = rights::now(gateway, &*read)?;
    view::sharing::link_for_opening(&*read, hash, now)?.map_err(|denial| Problem::denied(denial, Code::Expired))
}

fn mac(gateway: &Gateway, hash: &LinkHash, opened_ms: TimeMs) -> Result<[u8; 32], Problem> {
    let key = LookupKey::from_secret(gateway.lookup.derive(b"kluis link opening v1")?);
    Ok(key.hash(&[&hash.0[..], &opened_ms.to_be_bytes()].concat()))
}

fn opened_text(gateway: &Gateway, hash: &LinkHash, opened_ms: TimeMs) -> Result<String, Problem> {
    Ok(URL_SAFE_NO_PAD.encode([&opened_ms.to_be_bytes()[..], &mac(gateway, hash, opened_ms)?].concat()))
}

/// When the opening was that `text` speaks of, if a gateway of this cluster said so of this link.
fn opened_at(gateway: &Gateway, hash: &LinkHash, text: &str) -> Result<TimeMs, Problem> {
    let wrong = || Problem::plain(Code::OpenFirst);
    let bytes = URL_SAFE_NO_PAD.decode(text.get(..text.len().min(64)).unwrap_or_default()).map_err(|_| wrong())?;
    let (time, tag) = bytes.split_first_chunk::<8>().ok_or_else(wrong)?;
    let opened_ms = u64::from_be_bytes(*time);
    verify_slices_are_equal(&mac(gateway, hash, opened_ms)?, tag).map_err(|_| wrong())?;
    Ok(opened_ms)
}

/// What a link needs to be opened.
#[utoipa::path(
    get, path = "/v1/l/{token}", tag = "links",
    params(("token" = String, Path, description = "The link's token.")),
    responses(
        (status = 200, body = LinkInfo),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn info(State(gateway): State<Arc<Gateway>>, Path(token): Path<String>) -> Result<Json<LinkInfo>, Problem> {
    let (link, _) = openable(&gateway, &token_of(&token)?.link_hash()).await?;
    Ok(Json(LinkInfo {
        needs_password: link.asked.password.is_some(),
        needs_identity: link.asked.identity_check,
        until: rfc3339(link.asked.until_ms),
    }))
}

/// Opens a link: counts as one of its openings.
#[utoipa::path(
    post, path = "/v1/l/{token}/open", tag = "links",
    params(("token" = String, Path, description = "The link's token.")),
    request_body(content = Opening, content_type = "application/json"),
    responses(
        (status = 200, body = Opened),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn open(State(gateway): State<Arc<Gateway>>, Path(token): Path<String>, request: Request) -> Result<Json<Opened>, Problem> {
    let token = token_of(&token)?;
    let hash = token.link_hash();
    let (mut head, body) = request.into_parts();
    let opening = opening(&gateway, &head.headers, body).await?;
    let (link, version) = openable(&gateway, &hash).await?;
    let actor = if link.asked.identity_check {
        Caller::from_request_parts(&mut head, &gateway).await?.actor()
    } else {
        Actor::Link(link.asked.id.0)
    };
    check_password(&gateway, &hash, &link, opening.password).await?;
    let key = token.key()?;
    let label = links::open_label(&key, link.asked.id, &link.asked.name)?;
    let owner = OpenVault::open(&gateway, gateway.metadata.view(), link.vault).await?;
    let from: Option<IpAddr> = head.extensions.get::<Peer>().map(|peer| peer.0);
    let trail = trail::trail(&*gateway.entropy, owner.key(), actor, &trail::Details::new(from, Some(&label)))?;
    let opened_ms = match propose(&gateway, SharingCommand::OpenLink { hash }, trail, Code::Expired).await? {
        SharingOutcome::Opened(link) => link.opens.last().copied().ok_or_else(|| Problem::internal("an opening was not counted"))?,
        other => return Err(unexpected(&other)),
    };
    Ok(Json(Opened {
        opened: opened_text(&gateway, &hash, opened_ms)?,
        opened_until: rfc3339(opened_ms.saturating_add(OPENING_MS).min(link.asked.until_ms)),
        name: label.name.as_str().to_owned(),
        media_type: label.media_type.as_str().to_owned(),
        size: version.size,
        sha256: hex::encode(version.sha256),
    }))
}

/// The body of an opening; none is needed where there is no password.
async fn opening(gateway: &Gateway, headers: &HeaderMap, body: Body) -> Result<Opening, Problem> {
    if headers.contains_key(http::header::CONTENT_TYPE) { json::body(gateway, headers, body).await } else { Ok(Opening { password: None }) }
}

async fn check_password(gateway: &Gateway, hash: &LinkHash, link: &Link, given: Option<String>) -> Result<(), Problem> {
    let Some(stored) = link.asked.password.clone() else { return Ok(()) };
    let given = Zeroizing::new(given.ok_or_else(|| Problem::plain(Code::WrongPassword))?);
    if !gateway.guards.password_try(*hash, gateway.clock.now_ms(), gateway.limits().link_passwords_per_minute) {
        return Err(Problem::new(Code::TooManyRequests, "too many passwords were tried on this link"));
    }
    let right = tokio::task::spawn_blocking(move || password::is_right(&stored, &given)).await.map_err(Problem::internal)?;
    if right { Ok(()) } else { Err(Problem::plain(Code::WrongPassword)) }
}

/// The bytes of what an opened link shows.
#[utoipa::path(
    method(get, head), path = "/v1/l/{token}/content", tag = "links",
    params(
        ("token" = String, Path, description = "The link's token."),
        ("opened" = Option<String>, Query, description = "`opened` of the answer to the opening, where it is not in Vault-Opened."),
        ("Vault-Opened" = Option<String>, Header, description = "`opened` of the answer to the opening."),
        ("Range" = Option<String>, Header, description = "At most 16 ranges of bytes."),
    ),
    responses(
        (status = 200, description = "The whole content.", content_type = "application/octet-stream"),
        (status = 206, description = "The ranges.", content_type = "application/octet-stream"),
        (status = 304, description = "Unchanged since the ETag in If-None-Match."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn content(
    State(gateway): State<Arc<Gateway>>,
    Path(token): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    request: Request,
) -> Result<Response, Problem> {
    let token = token_of(&token)?;
    let hash = token.link_hash();
    let (head, _) = request.into_parts();
    let params = Params::parse(query.as_deref(), &["opened"])?;
    let opened = field(&head.headers, &OPENED)?.or(params.value("opened")).map(str::to_owned);
    let read = gateway.current().await?;
    let now = rights::now(&gateway, &*read)?;
    let Some(opened) = opened else {
        // Whoever did not open it is told whether that can be done.
        openable(&gateway, &hash).await?;
        return Err(Problem::plain(Code::OpenFirst));
    };
    let opened_ms = opened_at(&gateway, &hash, &opened)?;
    let found = view::sharing::link_for_reading(&*read, &hash, opened_ms, now)?;
    let (link, version) = found.map_err(|denial| Problem::denied(denial, Code::Expired))?;
    if opened_ms.saturating_add(OPENING_MS) <= now {
        return Err(Problem::plain(Code::OpenFirst));
    }
    let key = token.key()?;
    let label = links::open_label(&key, link.asked.id, &link.asked.name)?;
    let document_key = DocumentKey::unwrap(&key, link.vault, version.blob, &link.asked.wrapped_key)?;
    let sealer = Arc::new(ChunkSealer::new(&document_key, version.blob)?);
    let owner = OpenVault::open(&gateway, read, link.vault).await?;
    let details = trail::Details::new(head.extensions.get::<Peer>().map(|peer| peer.0), Some(&label));
    let actor = Actor::Link(link.asked.id.0);
    let event = trail::reading(&gateway, EventKind::ReadByLink, actor, &owner, link.document, &details)?;
    let tag = format!("\"v{}\"", version.number);
    let right = Right::Link { hash, opened_ms };
    send(&gateway, &method, &head.headers, Content { version, tag, label, sealer, right, event }).await
}
