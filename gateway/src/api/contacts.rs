//! `/v1/contacts`: with whom a vault exchanges documents. For an office with `Kluis-Office`.
//!
//! Owns: the shape of a contact in JSON. Not: invitations ([`super::invitations`]).
//! Holds: (1) a contact's identity is what they proved, and nobody edits it: an own name stands beside it; (2) removal
//! and block end all shares both ways with the contact; (3) a block shows nowhere but in the blocker's own list.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use kluis_raft::{
    command::{Command, NewContact as NewRecord, PeopleCommand},
    model::{Contact, ContactId, OfficeId},
    outcome::{Outcome, PeopleOutcome},
    policy::OfficeRole,
    view,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    acting::{Acting, named, text},
    documents::{header_value, id, page_limit, paged, require_match, rfc3339},
    json,
    params::Params,
    vault::OpenVault,
};
use crate::problem::{Code, Problem, ProblemBody};

/// Purpose of a contact's sealed legal name; its id is the contact's.
pub const NAME: &str = "contact name";
const OWN_NAME: &str = "contact own name";
const OWN_NAME_BYTES_MAX: usize = 200;

/// Who a contact is.
#[derive(Debug, Serialize, ToSchema)]
pub struct IdentityView {
    /// Legal name.
    pub name: String,
    /// How it was proved: a way of signing in, or `office_register`.
    pub source: String,
    /// When.
    pub verified_at: String,
}

/// A contact.
#[derive(Debug, Serialize, ToSchema)]
pub struct ContactView {
    /// Opaque id, the same for both: what shares name.
    pub id: String,
    /// The own name where there is one, else the legal name.
    pub name: String,
    /// What the other one is.
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// `active`, or `blocked`.
    #[schema(value_type = String)]
    pub state: &'static str,
    /// Since when.
    pub since: String,
    /// Who the other one is, as they proved it.
    pub identity: IdentityView,
    /// What to send in If-Match.
    pub etag: String,
}

/// A page of contacts, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ContactPage {
    /// The contacts.
    pub contacts: Vec<ContactView>,
    /// Those that the caller blocked; on the first page.
    pub blocked: Vec<ContactView>,
    /// What to send as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An office to be taken among the contacts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewContact {
    /// The office, from `GET /v1/offices`.
    pub office_id: String,
}

/// An own name for a contact.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnName {
    /// 1 to 200 bytes; `null` takes it away.
    pub name: Option<String>,
}

fn etag(contact: &Contact) -> String {
    format!("\"r{}\"", contact.revision)
}

fn shown(vault: &OpenVault, contact: &Contact, state: &'static str) -> Result<ContactView, Problem> {
    let legal = vault.open_words(NAME, contact.id.0, &contact.identity.name)?;
    let own = contact.own_name.as_ref().map(|name| vault.open_words(OWN_NAME, contact.id.0, name)).transpose()?;
    Ok(ContactView {
        id: contact.id.to_string(),
        name: own.unwrap_or_else(|| legal.clone()),
        kind: contact.kind.key(),
        state,
        since: rfc3339(contact.since_ms),
        identity: IdentityView { name: legal, source: contact.identity.source.clone(), verified_at: rfc3339(contact.identity.verified_ms) },
        etag: etag(contact),
    })
}

fn answer(vault: &OpenVault, contact: &Contact, status: StatusCode) -> Result<Response, Problem> {
    let mut response = (status, Json(shown(vault, contact, "active")?)).into_response();
    response.headers_mut().insert(header::ETAG, header_value(&etag(contact))?);
    if status == StatusCode::CREATED {
        response.headers_mut().insert(header::LOCATION, header_value(&format!("/v1/contacts/{}", contact.id))?);
    }
    Ok(response)
}

async fn changed(gateway: &Gateway, command: PeopleCommand) -> Result<Contact, Problem> {
    match gateway.propose(Command::People(Box::new(command))).await? {
        Outcome::People(PeopleOutcome::Contact(contact)) => Ok(*contact),
        other => Err(Problem::internal(format!("unexpected answer about a contact: {other:?}"))),
    }
}

/// Gives the command that begins a contact, and answers 201 with it.
///
/// # Errors
/// The refusal.
pub(super) async fn begun(gateway: &Gateway, vault: &OpenVault, command: PeopleCommand) -> Result<Response, Problem> {
    let contact = changed(gateway, command).await?;
    answer(vault, &contact, StatusCode::CREATED)
}

/// The contacts of the caller, or of the office in `Kluis-Office`.
#[utoipa::path(
    get, path = "/v1/contacts", tag = "contacts", security(("bearer" = [])),
    params(
        ("limit" = Option<u64>, Query, description = "Entries of a page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "From `next` or the Link header of the page before."),
        ("Kluis-Office" = Option<String>, Header, description = "The office that the caller acts for."),
    ),
    responses(
        (status = 200, body = ContactPage, headers(("Link" = String, description = "rel=next, while there is more."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["limit", "cursor"])?;
    let limit = page_limit(&gateway, &params)?;
    let acting = caller.acting_by(&gateway, &headers)?;
    let vault = acting.open(&gateway).await?;
    let before = params.value("cursor").map(|c| vault.open_cursor(c)).transpose()?.map(ContactId);
    let read = gateway.metadata.view();
    let mut found = view::people::contacts(&*read, acting.vault, before, limit + 1)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = match found.last() {
        Some(last) if more => Some(vault.seal_cursor(last.id.0)?),
        _ => None,
    };
    let blocked = if before.is_none() { view::people::blocked(&*read, acting.vault)? } else { Vec::new() };
    let blocked = blocked.iter().map(|blocked| shown(&vault, &blocked.contact, "blocked")).collect::<Result<Vec<_>, _>>()?;
    let contacts = found.iter().map(|contact| shown(&vault, contact, "active")).collect::<Result<Vec<_>, _>>()?;
    paged("/v1/contacts", limit, next, |next| ContactPage { contacts, blocked, next })
}

/// Takes an office of the directory among the contacts.
#[utoipa::path(
    post, path = "/v1/contacts", tag = "contacts", security(("bearer" = [])),
    request_body(content = NewContact, content_type = "application/json"),
    responses(
        (status = 201, body = ContactView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(State(gateway): State<Arc<Gateway>>, caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let new: NewContact = json::body(&gateway, &headers, body).await?;
    let office: OfficeId = id(&new.office_id)?;
    let record = view::office::office(&*gateway.metadata.view(), office)?.ok_or_else(|| Problem::plain(Code::NotFound))?;
    let acting = caller.in_person();
    let (own, own_name) = named(&gateway, gateway.metadata.view(), caller.vault).await?;
    let other = OpenVault::open(&gateway, gateway.metadata.view(), record.vault).await?;
    let id = ContactId::new(gateway.clock.now_ms(), gateway.random());
    let contact = NewRecord {
        id,
        their_name: own.seal_words(NAME, id.0, &record.name)?,
        own_name: other.seal_words(NAME, id.0, &own_name)?,
        trail: acting.trail(&gateway, &caller, &own)?,
        their_trail: acting.trail_elsewhere(&gateway, &caller, &other)?,
    };
    begun(&gateway, &own, PeopleCommand::AddOffice { on: acting.behalf(), office, contact: Box::new(contact) }).await
}

/// The vault that the request is about, and a contact of it.
async fn find(gateway: &Gateway, caller: &Caller, headers: &HeaderMap, contact: &str) -> Result<(Acting, OpenVault, Contact), Problem> {
    let contact: ContactId = id(contact)?;
    let acting = caller.acting_by(gateway, headers)?;
    let found = view::people::contact(&*gateway.metadata.view(), acting.vault, contact)?.ok_or_else(|| Problem::plain(Code::NotFound))?;
    let vault = acting.open(gateway).await?;
    Ok((acting, vault, found))
}

/// A contact, with the identity that they proved.
#[utoipa::path(
    get, path = "/v1/contacts/{id}", tag = "contacts", security(("bearer" = [])),
    params(("id" = String, Path, description = "The contact's id.")),
    responses(
        (status = 200, body = ContactView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn read(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(contact): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (_, vault, contact) = find(&gateway, &caller, &headers, &contact).await?;
    answer(&vault, &contact, StatusCode::OK)
}

/// Gives a contact a name of one's own.
#[utoipa::path(
    patch, path = "/v1/contacts/{id}", tag = "contacts", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The contact's id."),
        ("If-Match" = String, Header, description = "The contact's ETag."),
    ),
    request_body(content = OwnName, content_type = "application/json"),
    responses(
        (status = 200, body = ContactView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn rename(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(contact): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let OwnName { name } = json::body(&gateway, &headers, body).await?;
    if let Some(name) = &name {
        text("/name", name, OWN_NAME_BYTES_MAX, false)?;
    }
    let (acting, vault, contact) = find(&gateway, &caller, &headers, &contact).await?;
    acting.require(OfficeRole::Clerk)?;
    require_match(&headers, &etag(&contact))?;
    let name = name.map(|name| vault.seal_words(OWN_NAME, contact.id.0, &name)).transpose()?;
    let trail = Box::new(acting.trail(&gateway, &caller, &vault)?);
    let command = PeopleCommand::Rename { on: acting.behalf(), contact: contact.id, name, revision: contact.revision, trail };
    answer(&vault, &changed(&gateway, command).await?, StatusCode::OK)
}

/// Removes a contact; all shares both ways end with it.
#[utoipa::path(
    delete, path = "/v1/contacts/{id}", tag = "contacts", security(("bearer" = [])),
    params(("id" = String, Path, description = "The contact's id.")),
    responses(
        (status = 204, description = "Removed, for both."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(contact): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let (acting, vault, contact) = find(&gateway, &caller, &headers, &contact).await?;
    acting.require(OfficeRole::Clerk)?;
    let trail = Box::new(acting.trail(&gateway, &caller, &vault)?);
    let command = PeopleCommand::Remove { on: acting.behalf(), contact: contact.id, trail };
    gateway.propose(Command::People(Box::new(command))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Blocks a contact: it ends, and no invitation between the two can be answered.
#[utoipa::path(
    post, path = "/v1/contacts/{id}/block", tag = "contacts", security(("bearer" = [])),
    params(("id" = String, Path, description = "The contact's id.")),
    responses(
        (status = 204, description = "Blocked. The other one sees that the contact ended."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn block(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(contact): Path<String>) -> Result<StatusCode, Problem> {
    let (acting, vault, contact) = find(&gateway, &caller, &HeaderMap::new(), &contact).await?;
    let trail = Box::new(acting.trail(&gateway, &caller, &vault)?);
    let command = PeopleCommand::Block { on: acting.behalf(), contact: contact.id, trail };
    gateway.propose(Command::People(Box::new(command))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a block. The contact does not come back by it: one of the two invites.
#[utoipa::path(
    post, path = "/v1/contacts/{id}/unblock", tag = "contacts", security(("bearer" = [])),
    params(("id" = String, Path, description = "The id of the contact that was blocked.")),
    responses(
        (status = 204, description = "Not blocked any more."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn unblock(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(contact): Path<String>) -> Result<StatusCode, Problem> {
    let acting = caller.in_person();
    let vault = acting.open(&gateway).await?;
    let trail = Box::new(acting.trail(&gateway, &caller, &vault)?);
    let command = PeopleCommand::Unblock { on: acting.behalf(), contact: id(&contact)?, trail };
    gateway.propose(Command::People(Box::new(command))).await?;
    Ok(StatusCode::NO_CONTENT)
}
