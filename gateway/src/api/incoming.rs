//! `/v1/incoming`: what contacts share with the caller.
//!
//! Owns: shares as their recipient sees them, and what the recipient does with them. Not: the owner's side
//! ([`super::shares`]).
//! Holds: (1) every answer begins in the recipient's own part of the state: what waits for a death, a draft, another's
//! share and nothing are one 404; (2) nothing of other recipients is ever shown; (3) a share that is over is 410
//! `share_revoked` for whom it was; (4) whatever is read, the owner's history says so.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode, header};
use kluis_raft::{
    command::{Command, CopyShared, Rewrap, SharingCommand},
    model::{Attributes, DocumentId, EventKind, Moment, ShareId, Trail},
    outcome::SharingOutcome,
    policy::{Action, Case, Denial, Phase, decide},
    view::{
        self,
        sharing::{IncomingShare, SharedContent, SharedDocument, Standing},
    },
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    content::{Content, send},
    documents::{DocumentView, answer as document_answer, header_value, id, page_limit, paged, rfc3339},
    params::Params,
    rights::{self, Right},
    shares::{self, propose, unexpected},
    trail,
    vault::OpenVault,
};
use crate::problem::{Code, Problem, ProblemBody};

/// Tries to see a share whose key is renewed meanwhile by others, too.
const TRIES: u32 = 3;

/// A share, as its recipient sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct IncomingView {
    /// Opaque id.
    pub id: String,
    /// The contact that shares; absent when the two are contacts no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `waiting_incapacity`, `offered` or `accepted`.
    #[schema(value_type = String)]
    pub state: &'static str,
    /// `now`, `after_death` or `on_incapacity`.
    #[schema(value_type = String)]
    pub when: &'static str,
    /// Whether it may be copied into the own vault.
    pub allow_copy: bool,
    /// How many days the owner can object to a request for access.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_days: Option<u64>,
    /// When it lapses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// When it opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offered_at: Option<String>,
    /// When the caller asked for access.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<String>,
    /// When it opens unless the owner objects, or when to ask again after an objection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<String>,
    /// When the owner objected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vetoed_at: Option<String>,
    /// The document's name; absent before the share opens, as all that follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The owner's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The version that is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Whether it shows this version for ever; else always the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<bool>,
    /// Bytes of that version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its SHA-256 in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Since when that version exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_at: Option<String>,
    /// Its strong ETag.
    pub etag: String,
}

/// A page of shares, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct IncomingPage {
    /// The shares.
    pub shares: Vec<IncomingView>,
    /// What to send as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

fn denied(denial: Denial) -> Problem {
    Problem::denied(denial, Code::ShareRevoked)
}

fn shown(vault: &OpenVault, share: &IncomingShare) -> Result<IncomingView, Problem> {
    let about = share.about.as_ref();
    let label = about.map(|about| vault.open_shared_label(share.id, &about.name)).transpose()?;
    let message = about.map(|about| vault.open_message(share.id, &about.message)).transpose()?;
    Ok(IncomingView {
        id: share.id.to_string(),
        from: vault.contact_id(share.owner)?,
        state: share.state.key(),
        when: share.moment.key(),
        allow_copy: share.allow_copy,
        wait_days: if let Moment::OnIncapacity { wait_ms } = share.moment { Some(wait_ms / Moment::WAIT_MIN_MS) } else { None },
        until: share.until_ms.map(rfc3339),
        offered_at: share.offered_ms.map(rfc3339),
        requested_at: share.request.map(|request| rfc3339(request.at_ms)),
        opens_at: share.request.map(|request| rfc3339(request.opens_ms)),
        vetoed_at: share.request.and_then(|request| request.vetoed_ms).map(rfc3339),
        name: label.as_ref().map(|label| label.name.as_str().to_owned()),
        media_type: label.as_ref().map(|label| label.media_type.as_str().to_owned()),
        message: message.filter(|text| !text.is_empty()),
        version: about.map(|about| about.version),
        pinned: about.map(|about| about.is_pinned),
        size: about.map(|about| about.size),
        sha256: about.map(|about| hex::encode(about.sha256)),
        version_at: about.map(|about| rfc3339(about.version_ms)),
        etag: etag(share),
    })
}

fn etag(share: &IncomingShare) -> String {
    let version = share.about.as_ref().map_or(0, |about| about.version);
    format!("\"i{}-{version}\"", share.revision)
}

fn answer(vault: &OpenVault, share: &IncomingShare) -> Result<Response, Problem> {
    Ok(([(header::ETAG, header_value(&etag(share))?)], Json(shown(vault, share)?)).into_response())
}

/// A share, with name and key of the version that it shows: renewed where the owner changed something since.
async fn seen(gateway: &Gateway, recipient: &OpenVault, id: ShareId) -> Result<SharedDocument, Problem> {
    let mut tries = 0;
    loop {
        let read = gateway.metadata.view();
        let now = rights::now(gateway, &*read)?;
        let shared = view::sharing::share_for_reading(&*read, recipient.id(), id, now)?.map_err(denied)?;
        let is_old = shared.seen.about.as_ref().is_some_and(|about| about.name_is_old)
            || matches!(&shared.content, Ok(SharedContent { wrapped_key: None, .. }));
        tries += 1;
        if !is_old || tries == TRIES {
            return Ok(shared);
        }
        renew(gateway, recipient, id).await?;
    }
}

/// Renews what the recipient opens a share with. Whoever else does it at the same time does the same.
async fn renew(gateway: &Gateway, recipient: &OpenVault, id: ShareId) -> Result<(), Problem> {
    let read = gateway.metadata.view();
    let now = rights::now(gateway, &*read)?;
    let Standing { share, document, version, .. } = view::sharing::standing(&*read, recipient.id(), id, now)?.map_err(denied)?;
    let owner = OpenVault::open(gateway, read, share.owner).await?;
    let key = shares::shared_key(gateway, &owner, recipient, id, &document, &version)?;
    let act = SharingCommand::Rewrap(Rewrap { vault: share.owner, document: document.id, share: id, key });
    // Refused when there is a newer version still: the next look sees that.
    gateway.metadata.propose(Command::Sharing { act: Box::new(act), trail: Box::new(trail::system(gateway)) }).await?;
    Ok(())
}

/// What the owner's history says of a recipient's act, under the policy.
async fn trail_of(gateway: &Gateway, caller: &Caller, id: ShareId, action: Action) -> Result<Trail, Problem> {
    let read = gateway.metadata.view();
    let now = rights::now(gateway, &*read)?;
    let found = view::sharing::standing(&*read, caller.vault, id, now)?.map_err(denied)?;
    let phase = Phase::of(found.document.state, &found.version.scan);
    let case = Case { agent: rights::agent(caller), ..Case::recipient(found.state, found.share.allow_copy, phase) };
    decide(case, action).map_err(denied)?;
    let owner = OpenVault::open(gateway, read, found.share.owner).await?;
    let label = owner.open_label(found.document.id, &found.document.name)?;
    let details = trail::Details::new(caller.address, Some(&label)).with([caller.vault]);
    trail::trail(&*gateway.entropy, owner.key(), caller.actor(), &details)
}

/// Does `act`, and shows the share as it is then.
async fn do_and_show(gateway: &Gateway, caller: &Caller, id: ShareId, action: Action, act: SharingCommand) -> Result<Response, Problem> {
    let trail = trail_of(gateway, caller, id, action).await?;
    propose(gateway, act, trail, Code::ShareRevoked).await?;
    let vault = OpenVault::open(gateway, gateway.metadata.view(), caller.vault).await?;
    answer(&vault, &seen(gateway, &vault, id).await?.seen)
}

/// What is shared with the caller, newest first.
#[utoipa::path(
    get, path = "/v1/incoming", tag = "incoming", security(("bearer" = [])),
    params(
        ("limit" = Option<u64>, Query, description = "Entries of a page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "From `next` or the Link header of the page before."),
    ),
    responses(
        (status = 200, body = IncomingPage, headers(("Link" = String, description = "rel=next, while there is more."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(gateway): State<Arc<Gateway>>, caller: Caller, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["limit", "cursor"])?;
    let limit = page_limit(&gateway, &params)?;
    let read = gateway.metadata.view();
    let now = rights::now(&gateway, &*read)?;
    let vault = OpenVault::open(&gateway, Arc::clone(&read), caller.vault).await?;
    let before = params.value("cursor").map(|cursor| vault.open_cursor(cursor)).transpose()?.map(ShareId);
    let page = view::sharing::incoming(&*read, vault.id(), before, limit, now)?;
    let mut shares = Vec::with_capacity(page.shares.len());
    for share in page.shares {
        if share.about.as_ref().is_some_and(|about| about.name_is_old) {
            match seen(&gateway, &vault, share.id).await {
                Ok(renewed) => shares.push(shown(&vault, &renewed.seen)?),
                // It ended just now.
                Err(problem) if matches!(problem.code, Code::ShareRevoked | Code::NotFound) => {}
                Err(problem) => return Err(problem),
            }
        } else {
            shares.push(shown(&vault, &share)?);
        }
    }
    let next = page.next.map(|last| vault.seal_cursor(last.0)).transpose()?;
    paged("/v1/incoming", limit, next, |next| IncomingPage { shares, next })
}

/// A share with the caller.
#[utoipa::path(
    get, path = "/v1/incoming/{id}", tag = "incoming", security(("bearer" = [])),
    params(("id" = String, Path, description = "The share's id.")),
    responses(
        (status = 200, body = IncomingView, headers(("ETag" = String, description = "Its revision."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn read(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(share): Path<String>) -> Result<Response, Problem> {
    let id: ShareId = id(&share)?;
    let vault = OpenVault::open(&gateway, gateway.metadata.view(), caller.vault).await?;
    answer(&vault, &seen(&gateway, &vault, id).await?.seen)
}

/// Takes a share. Its content can be read from then on.
#[utoipa::path(
    post, path = "/v1/incoming/{id}/accept", tag = "incoming", security(("bearer" = [])),
    params(("id" = String, Path, description = "The share's id.")),
    responses(
        (status = 200, body = IncomingView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn accept(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(share): Path<String>) -> Result<Response, Problem> {
    let share: ShareId = id(&share)?;
    do_and_show(&gateway, &caller, share, Action::Accept, SharingCommand::Accept { recipient: caller.vault, share }).await
}

/// Refuses a share, or gives one up.
#[utoipa::path(
    post, path = "/v1/incoming/{id}/refuse", tag = "incoming", security(("bearer" = [])),
    params(("id" = String, Path, description = "The share's id.")),
    responses(
        (status = 204, description = "It is over."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn refuse(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(share): Path<String>) -> Result<StatusCode, Problem> {
    let share: ShareId = id(&share)?;
    let trail = trail_of(&gateway, &caller, share, Action::Refuse).await?;
    propose(&gateway, SharingCommand::Refuse { recipient: caller.vault, share }, trail, Code::ShareRevoked).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks for a share that waits for the owner's incapacity: it opens unless the owner objects in time.
#[utoipa::path(
    post, path = "/v1/incoming/{id}/request-access", tag = "incoming", security(("bearer" = [])),
    params(("id" = String, Path, description = "The share's id.")),
    responses(
        (status = 200, body = IncomingView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn request_access(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(share): Path<String>) -> Result<Response, Problem> {
    let share: ShareId = id(&share)?;
    let act = SharingCommand::RequestAccess { recipient: caller.vault, share };
    do_and_show(&gateway, &caller, share, Action::RequestAccess, act).await
}

/// Copies what is shared into the own vault: no byte moves, and it counts in the own quota.
#[utoipa::path(
    post, path = "/v1/incoming/{id}/copy", tag = "incoming", security(("bearer" = [])),
    params(("id" = String, Path, description = "The share's id.")),
    responses(
        (status = 201, body = DocumentView, headers(
            ("Location" = String, description = "The copy."),
            ("ETag" = String, description = "Its revision."),
        )),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn copy(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(share): Path<String>) -> Result<Response, Problem> {
    let share: ShareId = id(&share)?;
    let trail = trail_of(&gateway, &caller, share, Action::Copy).await?;
    let vault = OpenVault::open(&gateway, gateway.metadata.view(), caller.vault).await?;
    let shared = seen(&gateway, &vault, share).await?;
    shared.copy.map_err(denied)?;
    let SharedContent { version, wrapped_key, .. } = shared.content.map_err(denied)?;
    let about = shared.seen.about.ok_or_else(|| Problem::plain(Code::VersionChanged))?;
    let label = vault.open_shared_label(share, &about.name)?;
    let wrapped_key = wrapped_key.ok_or_else(|| Problem::plain(Code::VersionChanged))?;
    let key = vault.document_key(version.blob, &wrapped_key)?;
    let document = DocumentId::new(gateway.clock.now_ms(), gateway.random());
    let act = SharingCommand::Copy(Box::new(CopyShared {
        recipient: caller.vault,
        share,
        version: version.number,
        document,
        name: vault.seal_label(document, &label)?,
        wrapped_key: vault.wrap_document_key(&gateway, &key, version.blob)?,
        attributes: Attributes::default(),
    }));
    match propose(&gateway, act, trail, Code::ShareRevoked).await? {
        SharingOutcome::Copied { document, .. } => document_answer(&vault, &document, StatusCode::CREATED),
        other => Err(unexpected(&other)),
    }
}

/// The bytes of what is shared with the caller.
#[utoipa::path(
    method(get, head), path = "/v1/incoming/{id}/content", tag = "incoming", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The share's id."),
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
    caller: Caller,
    Path(share): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let share: ShareId = id(&share)?;
    let vault = OpenVault::open(&gateway, gateway.metadata.view(), caller.vault).await?;
    let shared = seen(&gateway, &vault, share).await?;
    let SharedContent { document, version, wrapped_key } = shared.content.map_err(denied)?;
    let changed = || Problem::plain(Code::VersionChanged);
    let label = vault.open_shared_label(share, &shared.seen.about.ok_or_else(changed)?.name)?;
    let sealer = vault.sealer(version.blob, &wrapped_key.ok_or_else(changed)?)?;
    let owner = OpenVault::open(&gateway, gateway.metadata.view(), shared.seen.owner).await?;
    let details = trail::Details::new(caller.address, Some(&label)).with([caller.vault]);
    let event = trail::reading(&gateway, EventKind::ReadByRecipient, caller.actor(), &owner, document, &details)?;
    let tag = format!("\"v{}\"", version.number);
    let right = Right::Recipient { caller, share };
    send(&gateway, &method, &headers, Content { version, tag, label, sealer, right, event }).await
}
