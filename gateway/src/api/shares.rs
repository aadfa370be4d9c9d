//! `/v1/documents/{id}/shares`: the owner shares a document with contacts, changes that, stops it.
//!
//! Owns: shares as requests wish them and as the owner sees them, and what a recipient opens them with. Not: what the
//! recipient sees ([`super::incoming`]), nor the rules ([`kluis_raft::apply::sharing`]).
//! Holds: (1) all shares of one request begin, or none, those of an upload included; (2) what a recipient opens a share
//! with is wrapped under the recipient's own key; (3) only contacts are named.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use kluis_chunkstore::ids::BlobId;
use kluis_raft::{
    command::{ChangeShare, Command, CreateShares, SharingCommand, Which},
    model::{ContactId, Document, Message, Moment, NewShare, Share, ShareId, SharedKey, TimeMs, Trail, VaultId, Version},
    outcome::{Outcome, Refusal, SharingOutcome, SharingRefusal},
    policy::Action,
    store::Read,
    view,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    attributes::{Bad, bad_member},
    documents::{find, header_value, id, require_match, rfc3339},
    json,
    name::Label,
    rights, trail,
    vault::OpenVault,
};
use crate::{
    keys::DocumentKey,
    problem::{Code, Problem, ProblemBody},
};

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Days that an owner can object, where a share on incapacity does not say.
const WAIT_DAYS: u64 = 14;
/// Most characters of a message: several shares fit into one command.
const MESSAGE_CHARS_MAX: usize = 250;

/// A share to be made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareWish {
    /// The contact's id.
    contact: String,
    /// `now`, `after_death` or `on_incapacity`.
    when: String,
    /// For `on_incapacity`: how many days the owner can object, 1 to 90; 14 if absent.
    wait_days: Option<u64>,
    /// Whether the contact may copy it into the own vault; true if absent.
    allow_copy: Option<bool>,
    /// When it lapses.
    until: Option<String>,
    /// A word to the contact, at most 250 characters.
    message: Option<String>,
    /// Whether it shows this version for ever; false (always the newest) if absent.
    pinned: Option<bool>,
    /// Whether it is only prepared: nobody sees it before it is given; false if absent.
    draft: Option<bool>,
}

/// A share to be made, checked.
pub struct Wish {
    contact: String,
    moment: Moment,
    allow_copy: bool,
    until_ms: Option<TimeMs>,
    message: String,
    pinned: bool,
    draft: bool,
}

/// The shares to be made of a document.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewShares {
    /// 1 to 20 of them: all begin, or none.
    shares: Vec<ShareWish>,
}

/// A change of a share: what is not there stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SharePatch {
    /// Whether the contact may copy it.
    allow_copy: Option<bool>,
    /// When it lapses; null: never.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<String>)]
    until: Option<Option<String>>,
    /// The only version that it shows; null: always the newest.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<u32>)]
    version: Option<Option<u32>>,
    /// A word to the contact; null: none.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<String>)]
    message: Option<Option<String>>,
    /// False gives a share that was only prepared; alone in its request.
    draft: Option<bool>,
}

/// Which shares are stopped.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// True stops all that live.
    all: Option<bool>,
    /// Ids of those that are stopped.
    shares: Option<Vec<String>>,
}

/// A share, as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShareView {
    /// Opaque id.
    pub id: String,
    /// The document's id.
    pub document: String,
    /// The contact's id; absent when the two are contacts no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// `now`, `after_death` or `on_incapacity`.
    #[schema(value_type = String)]
    pub when: &'static str,
    /// `draft`, `waiting_death`, `waiting_incapacity`, `offered`, `accepted`, `refused`, `lapsed` or `revoked`.
    #[schema(value_type = String)]
    pub state: &'static str,
    /// Whether the contact may copy it.
    pub allow_copy: bool,
    /// How many days the owner can object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_days: Option<u64>,
    /// When it lapses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The only version that it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The word to the contact.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When the contact asked for access.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<String>,
    /// When it opens unless the owner objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<String>,
    /// When the owner objected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vetoed_at: Option<String>,
    /// When the contact last copied it. A copy is the contact's own: it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_at: Option<String>,
    /// How often the contact copied it.
    pub copies: u32,
    /// When it was made.
    pub created_at: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// Why it ended.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
    /// What to send in If-Match.
    pub etag: String,
}

/// The shares of a document, oldest first; those that ended lately are among them.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShareList {
    /// The shares.
    pub shares: Vec<ShareView>,
}

/// The shares that were stopped.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevokedList {
    /// Their ids.
    pub revoked: Vec<String>,
}

/// The vault of a contact; the way back is [`OpenVault::contact_id`].
///
/// # Errors
/// 409 `not_a_contact`.
pub fn contact_vault(read: &dyn Read, vault: VaultId, contact: &str) -> Result<VaultId, Problem> {
    let not_a_contact = || Problem::plain(Code::NotAContact);
    let id: ContactId = contact.parse().map_err(|_| not_a_contact())?;
    view::people::contact_vault(read, vault, id)?.ok_or_else(not_a_contact)
}

/// A time, RFC 3339.
///
/// # Errors
/// What `bad` makes of a text that is none.
pub fn time(text: &str, name: &str, bad: Bad<'_>) -> Result<TimeMs, Problem> {
    let read = text.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
    read.ok_or_else(|| bad(name, "a time as 2030-01-31T12:00:00Z is wanted"))
}

fn message(text: &str, name: &str, bad: Bad<'_>) -> Result<String, Problem> {
    let sound = text.chars().count() <= MESSAGE_CHARS_MAX && !text.chars().any(|c| c.is_control() && c != '\n');
    if sound { Ok(text.to_owned()) } else { Err(bad(name, "at most 250 characters, no control characters")) }
}

/// Checks the shares that a request wishes.
///
/// # Errors
/// 400 `bad_json`, with the member.
pub fn wishes(wishes: &[ShareWish]) -> Result<Vec<Wish>, Problem> {
    if wishes.len() > Share::PER_COMMAND_MAX {
        return Err(bad_member("shares", "at most 20 shares"));
    }
    wishes.iter().enumerate().map(|(at, wish)| wish_of(wish, &format!("shares/{at}"))).collect()
}

/// The same of a JSON text in a parameter.
///
/// # Errors
/// What `bad` makes of it.
pub fn wishes_of_text(text: Option<&str>, bad: Bad<'_>) -> Result<Vec<Wish>, Problem> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let read = json::read::<Vec<ShareWish>>(text.as_bytes(), 4).and_then(|read| wishes(&read));
    read.map_err(|problem| {
        let why: Vec<String> = problem.errors.iter().map(|error| format!("{} {}", error.pointer, error.detail)).collect();
        bad("shares", &why.join(", "))
    })
}

fn wish_of(wish: &ShareWish, at: &str) -> Result<Wish, Problem> {
    let bad = |member: &str, why: &str| bad_member(&format!("{at}/{member}"), why);
    let moment = match (wish.when.as_str(), wish.wait_days) {
        ("now", None) => Moment::Now,
        ("after_death", None) => Moment::AfterDeath,
        ("on_incapacity", days) => {
            let days = days.unwrap_or(WAIT_DAYS);
            if !(1..=90).contains(&days) {
                return Err(bad("wait_days", "1 to 90 is wanted"));
            }
            Moment::OnIncapacity { wait_ms: days * DAY_MS }
        }
        ("now" | "after_death", Some(_)) => return Err(bad("wait_days", "only for on_incapacity")),
        _ => return Err(bad("when", "known: now, after_death, on_incapacity")),
    };
    Ok(Wish {
        contact: wish.contact.clone(),
        moment,
        allow_copy: wish.allow_copy.unwrap_or(true),
        until_ms: wish.until.as_deref().map(|text| time(text, "until", &bad)).transpose()?,
        message: message(wish.message.as_deref().unwrap_or_default(), "message", &bad)?,
        pinned: wish.pinned.unwrap_or(false),
        draft: wish.draft.unwrap_or(false),
    })
}

/// What is shared: one version of a document, with the key of its bytes.
pub struct Subject<'a> {
    /// The key of the version's bytes.
    pub key: &'a DocumentKey,
    /// Where those are.
    pub blob: BlobId,
    /// Name and media type.
    pub label: &'a Label,
    /// The version's number.
    pub version: u32,
    /// The document's revision that the name is of.
    pub revision: u64,
}

impl Subject<'_> {
    /// What a recipient opens it with.
    fn key_for(&self, gateway: &Gateway, recipient: &OpenVault, share: ShareId) -> Result<SharedKey, Problem> {
        Ok(SharedKey {
            version: self.version,
            wrapped_key: recipient.wrap_document_key(gateway, self.key, self.blob)?,
            name: recipient.seal_shared_label(share, self.label)?,
            revision: self.revision,
        })
    }
}

/// What a recipient opens a version of a document with.
///
/// # Errors
/// 503 when a key is out of reach.
pub fn shared_key(
    gateway: &Gateway,
    owner: &OpenVault,
    recipient: &OpenVault,
    share: ShareId,
    document: &Document,
    version: &Version,
) -> Result<SharedKey, Problem> {
    let label = owner.open_label(document.id, &document.name)?;
    let key = owner.document_key(version.blob, &version.wrapped_key)?;
    let subject = Subject { key: &key, blob: version.blob, label: &label, version: version.number, revision: document.revision };
    subject.key_for(gateway, recipient, share)
}

/// The shares that are wished, ready for a command.
///
/// # Errors
/// 409 `not_a_contact`; 503 when a key is out of reach.
pub async fn new_shares(gateway: &Gateway, owner: &OpenVault, wishes: &[Wish], subject: &Subject<'_>) -> Result<Vec<NewShare>, Problem> {
    let read = gateway.metadata.view();
    let mut new = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let recipient = contact_vault(&*read, owner.id(), &wish.contact)?;
        let recipient = OpenVault::open(gateway, Arc::clone(&read), recipient).await?;
        let id = ShareId::new(gateway.clock.now_ms(), gateway.random());
        new.push(NewShare {
            id,
            recipient: recipient.id(),
            moment: wish.moment,
            allow_copy: wish.allow_copy,
            until_ms: wish.until_ms,
            pinned: wish.pinned,
            message: Message { owner: owner.seal_message(id, &wish.message)?, recipient: recipient.seal_message(id, &wish.message)? },
            key: subject.key_for(gateway, &recipient, id)?,
            draft: wish.draft,
        });
    }
    Ok(new)
}

/// Has a command about shares or links applied; `gone` is the code of what is over.
///
/// # Errors
/// The refusal, or that no majority answers.
pub async fn propose(gateway: &Gateway, act: SharingCommand, trail: Trail, gone: Code) -> Result<SharingOutcome, Problem> {
    match gateway.metadata.propose(Command::Sharing { act: Box::new(act), trail: Box::new(trail) }).await? {
        Outcome::Sharing(outcome) => Ok(outcome),
        Outcome::Refused(Refusal::Sharing(SharingRefusal::Denied(denial))) => Err(Problem::denied(denial, gone)),
        Outcome::Refused(refusal) => Err(refusal.into()),
        other => Err(Problem::internal(format!("unexpected answer about shares: {other:?}"))),
    }
}

/// An answer that a command about shares or links never gives.
pub fn unexpected(outcome: &SharingOutcome) -> Problem {
    Problem::internal(format!("unexpected answer about shares: {outcome:?}"))
}

fn etag(share: &Share) -> String {
    format!("\"s{}\"", share.revision)
}

fn shown(vault: &OpenVault, share: &Share) -> Result<ShareView, Problem> {
    let at = |ms: Option<TimeMs>| ms.map(rfc3339);
    Ok(ShareView {
        id: share.id.to_string(),
        document: share.document.to_string(),
        contact: vault.contact_id(share.recipient)?,
        when: share.moment.key(),
        state: share.state.key(),
        allow_copy: share.allow_copy,
        wait_days: if let Moment::OnIncapacity { wait_ms } = share.moment { Some(wait_ms / DAY_MS) } else { None },
        until: at(share.until_ms),
        version: share.pinned,
        message: vault.open_message(share.id, &share.message.owner)?,
        requested_at: at(share.request.map(|request| request.at_ms)),
        opens_at: at(share.request.map(|request| request.opens_ms)),
        vetoed_at: at(share.request.and_then(|request| request.vetoed_ms)),
        copied_at: at(share.copied.map(|(ms, _)| ms)),
        copies: share.copied.map_or(0, |(_, times)| times),
        created_at: rfc3339(share.created_ms),
        ended_at: at(share.ended.map(|ended| ended.at_ms)),
        why: share.ended.map(|ended| ended.why.key()),
        etag: etag(share),
    })
}

fn answer(vault: &OpenVault, share: &Share) -> Result<Response, Problem> {
    Ok(([(header::ETAG, header_value(&etag(share))?)], Json(shown(vault, share)?)).into_response())
}

/// What an owner's act on shares needs.
struct Owned {
    vault: OpenVault,
    document: Document,
    label: Label,
}

impl Owned {
    async fn find(gateway: &Gateway, caller: &Caller, document: &str, action: Action) -> Result<Self, Problem> {
        let (vault, document) = find(gateway, caller, document).await?;
        rights::own(caller, &document, &document.current.scan, action)?;
        let label = vault.open_label(document.id, &document.name)?;
        Ok(Self { vault, document, label })
    }

    fn share(&self, gateway: &Gateway, share: &str) -> Result<Share, Problem> {
        let found = view::sharing::share(&*gateway.metadata.view(), self.vault.id(), self.document.id, id(share)?)?;
        found.ok_or_else(|| Problem::plain(Code::NotFound))
    }

    fn trail(&self, gateway: &Gateway, caller: &Caller, with: impl IntoIterator<Item = VaultId>) -> Result<Trail, Problem> {
        let details = trail::Details::new(caller.address, Some(&self.label)).with(with);
        trail::trail(&*gateway.entropy, self.vault.key(), caller.actor(), &details)
    }
}

/// Shares a document with contacts.
#[utoipa::path(
    post, path = "/v1/documents/{id}/shares", tag = "shares", security(("bearer" = [])),
    params(("id" = String, Path, description = "The document's id.")),
    request_body(content = NewShares, content_type = "application/json"),
    responses(
        (status = 201, body = ShareList),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(document): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body: NewShares = json::body(&gateway, &headers, body).await?;
    let wishes = wishes(&body.shares)?;
    let owned = Owned::find(&gateway, &caller, &document, Action::Share).await?;
    let current = &owned.document.current;
    let key = owned.vault.document_key(current.blob, &current.wrapped_key)?;
    let revision = owned.document.revision;
    let subject = Subject { key: &key, blob: current.blob, label: &owned.label, version: current.number, revision };
    let shares = new_shares(&gateway, &owned.vault, &wishes, &subject).await?;
    let trail = owned.trail(&gateway, &caller, shares.iter().map(|share| share.recipient))?;
    let act = SharingCommand::Create(CreateShares { vault: owned.vault.id(), document: owned.document.id, shares });
    match propose(&gateway, act, trail, Code::DocumentGone).await? {
        SharingOutcome::Created(shares) => {
            let shares = shares.iter().map(|share| shown(&owned.vault, share)).collect::<Result<_, _>>()?;
            Ok((StatusCode::CREATED, Json(ShareList { shares })).into_response())
        }
        other => Err(unexpected(&other)),
    }
}

/// The shares of a document.
#[utoipa::path(
    get, path = "/v1/documents/{id}/shares", tag = "shares", security(("bearer" = [])),
    params(("id" = String, Path, description = "The document's id.")),
    responses(
        (status = 200, body = ShareList),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(document): Path<String>) -> Result<Json<ShareList>, Problem> {
    let (vault, document) = find(&gateway, &caller, &document).await?;
    let found = view::sharing::shares_of_document(&*gateway.metadata.view(), vault.id(), document.id)?;
    Ok(Json(ShareList { shares: found.iter().map(|share| shown(&vault, share)).collect::<Result<_, _>>()? }))
}

/// A share of a document.
#[utoipa::path(
    get, path = "/v1/documents/{id}/shares/{sid}", tag = "shares", security(("bearer" = [])),
    params(("id" = String, Path, description = "The document's id."), ("sid" = String, Path, description = "The share's id.")),
    responses(
        (status = 200, body = ShareView, headers(("ETag" = String, description = "Its revision."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn read(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((document, share)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let owned = Owned::find(&gateway, &caller, &document, Action::SeeName).await?;
    let share = owned.share(&gateway, &share)?;
    answer(&owned.vault, &share)
}

/// Changes the terms of a share, or gives one that was only prepared: a JSON merge patch.
#[utoipa::path(
    patch, path = "/v1/documents/{id}/shares/{sid}", tag = "shares", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The document's id."),
        ("sid" = String, Path, description = "The share's id."),
        ("If-Match" = String, Header, description = "The ETag that you saw, or *."),
    ),
    request_body(content = SharePatch, content_type = "application/merge-patch+json"),
    responses(
        (status = 200, body = ShareView, headers(("ETag" = String, description = "Its new revision."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((document, share)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let patch: SharePatch = json::patch(&gateway, &headers, body).await?;
    let owned = Owned::find(&gateway, &caller, &document, Action::Share).await?;
    let share = owned.share(&gateway, &share)?;
    require_match(&headers, &etag(&share))?;
    let trail = owned.trail(&gateway, &caller, [share.recipient])?;
    let act = match patch {
        SharePatch { draft: Some(false), allow_copy: None, until: None, version: None, message: None } => {
            SharingCommand::Publish { vault: share.owner, document: share.document, share: share.id, revision: share.revision }
        }
        SharePatch { draft: Some(_), .. } => return Err(bad_member("draft", "only false, and alone")),
        SharePatch { draft: None, allow_copy, until, version, message: text } => {
            let until_ms = match until {
                None => None,
                Some(None) => Some(None),
                Some(Some(text)) => Some(Some(time(&text, "until", &bad_member)?)),
            };
            let message = match text {
                None => None,
                Some(text) => {
                    let text = message(&text.unwrap_or_default(), "message", &bad_member)?;
                    let recipient = OpenVault::open(&gateway, gateway.metadata.view(), share.recipient).await?;
                    let owner = owned.vault.seal_message(share.id, &text)?;
                    Some(Message { owner, recipient: recipient.seal_message(share.id, &text)? })
                }
            };
            SharingCommand::Change(ChangeShare {
                vault: share.owner,
                document: share.document,
                share: share.id,
                revision: share.revision,
                allow_copy,
                until_ms,
                pinned: version,
                message,
            })
        }
    };
    match propose(&gateway, act, trail, Code::ShareRevoked).await? {
        SharingOutcome::Changed(share) => answer(&owned.vault, &share),
        other => Err(unexpected(&other)),
    }
}

async fn stop(gateway: &Gateway, caller: &Caller, owned: &Owned, which: Which, with: Vec<VaultId>) -> Result<Vec<String>, Problem> {
    let trail = owned.trail(gateway, caller, with)?;
    let act = SharingCommand::Revoke { vault: owned.vault.id(), document: owned.document.id, which };
    match propose(gateway, act, trail, Code::ShareRevoked).await? {
        SharingOutcome::Ended(ended) => Ok(ended.iter().map(|share| share.share.to_string()).collect()),
        other => Err(unexpected(&other)),
    }
}

/// Stops a share, in force at once everywhere. One that ended before is no error.
#[utoipa::path(
    delete, path = "/v1/documents/{id}/shares/{sid}", tag = "shares", security(("bearer" = [])),
    params(("id" = String, Path, description = "The document's id."), ("sid" = String, Path, description = "The share's id.")),
    responses(
        (status = 204, description = "Stopped."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn revoke(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((document, share)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let owned = Owned::find(&gateway, &caller, &document, Action::Revoke).await?;
    let share = owned.share(&gateway, &share)?;
    stop(&gateway, &caller, &owned, Which::These(vec![share.id]), vec![share.recipient]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stops some or all shares of a document, in force at once everywhere.
#[utoipa::path(
    post, path = "/v1/documents/{id}/shares/batch-revoke", tag = "shares", security(("bearer" = [])),
    params(("id" = String, Path, description = "The document's id.")),
    request_body(content = Revocation, content_type = "application/json"),
    responses(
        (status = 200, body = RevokedList),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn batch_revoke(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(document): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RevokedList>, Problem> {
    let wanted: Revocation = json::body(&gateway, &headers, body).await?;
    let owned = Owned::find(&gateway, &caller, &document, Action::Revoke).await?;
    let live = view::sharing::shares_of_document(&*gateway.metadata.view(), owned.vault.id(), owned.document.id)?;
    let live: Vec<Share> = live.into_iter().filter(|share| !share.state.is_ended()).collect();
    let (which, with) = match (wanted.all, wanted.shares) {
        (Some(true), None) => (Which::All, live.iter().map(|share| share.recipient).collect()),
        (None | Some(false), Some(ids)) => {
            let ids = ids.iter().map(|text| id(text)).collect::<Result<Vec<ShareId>, Problem>>()?;
            let with = live.iter().filter(|share| ids.contains(&share.id)).map(|share| share.recipient).collect();
            (Which::These(ids), with)
        }
        _ => return Err(bad_member("shares", "give either `all` as true, or `shares`")),
    };
    Ok(Json(RevokedList { revoked: stop(&gateway, &caller, &owned, which, with).await? }))
}

/// Objects to a contact's request for access: the share stays closed.
#[utoipa::path(
    post, path = "/v1/documents/{id}/shares/{sid}/veto", tag = "shares", security(("bearer" = [])),
    params(("id" = String, Path, description = "The document's id."), ("sid" = String, Path, description = "The share's id.")),
    responses(
        (status = 200, body = ShareView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn veto(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((document, share)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let owned = Owned::find(&gateway, &caller, &document, Action::Share).await?;
    let share = owned.share(&gateway, &share)?;
    let trail = owned.trail(&gateway, &caller, [share.recipient])?;
    let act = SharingCommand::Veto { vault: share.owner, document: share.document, share: share.id };
    match propose(&gateway, act, trail, Code::ShareRevoked).await? {
        SharingOutcome::Changed(share) => answer(&owned.vault, &share),
        other => Err(unexpected(&other)),
    }
}
