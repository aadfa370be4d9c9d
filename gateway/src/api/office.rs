//! `/v1/office`: what an office's staff does for it (`Kluis-Office`): its staff, and the documents that it asks for;
//! `/v1/requests`: the same lists, to whom they are for.
//!
//! Owns: these shapes in JSON. Not: roles (decided in the commands), documents and shares of an office.
//! Holds: a member is known by the keyed hash of the national number, which is never shown or kept.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use kluis_raft::{
    command::{Command, OfficeCommand, PeopleCommand},
    model::{ContactId, DocumentId, RequestList, RequestListId, Staff, StaffId},
    outcome::{OfficeOutcome, Outcome, PeopleOutcome},
    policy::OfficeRole,
    view,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    acting::{Acting, bad_member, role, role_name, text},
    documents::{id, page_limit, paged, rfc3339},
    json,
    params::Params,
    vault::OpenVault,
};
use crate::{
    auth::national_number::NationalNumber,
    problem::{Code, Problem, ProblemBody},
};

/// Purpose of a member's sealed name; its id is the member's.
pub const STAFF_NAME: &str = "staff name";
const TITLE: &str = "request title";
const NAME_BYTES_MAX: usize = 200;
const ITEM_BYTES_MAX: usize = 200;

/// A member to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStaff {
    /// National number: who signs in with it is the member.
    pub national_number: String,
    /// What the office calls the member: 1 to 200 bytes.
    pub name: String,
    /// `reader`, `clerk`, `notary`.
    pub role: String,
}

/// What a member may do from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    /// `reader`, `clerk`, `notary`.
    pub role: String,
}

/// A member of an office's staff.
#[derive(Debug, Serialize, ToSchema)]
pub struct StaffView {
    /// Opaque id.
    pub id: String,
    /// What the office calls the member.
    pub name: String,
    /// `reader`, `clerk`, `notary`.
    #[schema(value_type = String)]
    pub role: &'static str,
    /// Whether the register has the member suspended: then the member does nothing.
    pub suspended: bool,
    /// Since when.
    pub added_at: String,
}

/// The staff of an office.
#[derive(Debug, Serialize, ToSchema)]
pub struct StaffList {
    /// The members.
    pub staff: Vec<StaffView>,
}

fn member(vault: &OpenVault, staff: &Staff) -> Result<StaffView, Problem> {
    Ok(StaffView {
        id: staff.id.to_string(),
        name: vault.open_words(STAFF_NAME, staff.id.0, &staff.name)?,
        role: role_name(staff.role),
        suspended: staff.suspended_ms.is_some(),
        added_at: rfc3339(staff.added_ms),
    })
}

async fn staff_changed(gateway: &Gateway, command: OfficeCommand) -> Result<Staff, Problem> {
    match gateway.propose(Command::Office(Box::new(command))).await? {
        Outcome::Office(OfficeOutcome::Staff(staff)) => Ok(*staff),
        other => Err(Problem::internal(format!("unexpected answer about staff: {other:?}"))),
    }
}

/// The staff of the office.
#[utoipa::path(
    get, path = "/v1/office/staff", tag = "offices", security(("bearer" = [])),
    params(("Kluis-Office" = String, Header, description = "The office that the caller acts for.")),
    responses(
        (status = 200, body = StaffList),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn staff(State(gateway): State<Arc<Gateway>>, caller: Caller, headers: HeaderMap) -> Result<Json<StaffList>, Problem> {
    let acting = caller.acting_for_office(&gateway, &headers)?;
    let found = view::office::staff_all(&*gateway.metadata.view(), acting.vault)?;
    let vault = acting.open(&gateway).await?;
    Ok(Json(StaffList { staff: found.iter().map(|staff| member(&vault, staff)).collect::<Result<_, _>>()? }))
}

/// Adds a member. Notaries only.
#[utoipa::path(
    post, path = "/v1/office/staff", tag = "offices", security(("bearer" = [])),
    params(("Kluis-Office" = String, Header, description = "The office that the caller acts for.")),
    request_body(content = NewStaff, content_type = "application/json"),
    responses(
        (status = 201, body = StaffView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn add_staff(State(gateway): State<Arc<Gateway>>, caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let acting = caller.acting_for_office(&gateway, &headers)?;
    acting.require(OfficeRole::Notary)?;
    let new: NewStaff = json::body(&gateway, &headers, body).await?;
    text("/name", &new.name, NAME_BYTES_MAX, false)?;
    let role = role(&new.role)?;
    let number: NationalNumber = new.national_number.parse().map_err(|_| bad_member("/national_number", "not a national number"))?;
    let vault = acting.open(&gateway).await?;
    let id = StaffId::new(gateway.clock.now_ms(), gateway.random());
    let command = OfficeCommand::AddStaff {
        on: acting.behalf(),
        id,
        lookup: number.lookup_hash(&gateway.lookup),
        role,
        name: vault.seal_words(STAFF_NAME, id.0, &new.name)?,
        trail: Box::new(acting.trail(&gateway, &caller, &vault)?),
    };
    let staff = staff_changed(&gateway, command).await?;
    Ok((StatusCode::CREATED, Json(member(&vault, &staff)?)).into_response())
}

/// Changes what a member may do. Notaries only.
#[utoipa::path(
    patch, path = "/v1/office/staff/{id}", tag = "offices", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The member's id."),
        ("Kluis-Office" = String, Header, description = "The office that the caller acts for."),
    ),
    request_body(content = NewRole, content_type = "application/json"),
    responses(
        (status = 200, body = StaffView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn change_role(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(staff): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<StaffView>, Problem> {
    let acting = caller.acting_for_office(&gateway, &headers)?;
    let new: NewRole = json::body(&gateway, &headers, body).await?;
    let vault = acting.open(&gateway).await?;
    let trail = Box::new(acting.trail(&gateway, &caller, &vault)?);
    let command = OfficeCommand::ChangeRole { on: acting.behalf(), staff: id(&staff)?, role: role(&new.role)?, trail };
    Ok(Json(member(&vault, &staff_changed(&gateway, command).await?)?))
}

/// Takes a member out, at once. Notaries only.
#[utoipa::path(
    delete, path = "/v1/office/staff/{id}", tag = "offices", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The member's id."),
        ("Kluis-Office" = String, Header, description = "The office that the caller acts for."),
    ),
    responses(
        (status = 204, description = "No member any more."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn remove_staff(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(staff): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let acting = caller.acting_for_office(&gateway, &headers)?;
    let vault = acting.open(&gateway).await?;
    let trail = Box::new(acting.trail(&gateway, &caller, &vault)?);
    staff_changed(&gateway, OfficeCommand::RemoveStaff { on: acting.behalf(), staff: id(&staff)?, trail }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Documents to be asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRequests {
    /// Whom: a contact of the office.
    pub contact: String,
    /// What it is for: 1 to 200 bytes.
    pub title: String,
    /// 1 to 20 documents, each told in 1 to 200 bytes.
    pub items: Vec<String>,
}

/// A document that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct RequestItemView {
    /// What is asked for.
    pub text: String,
    /// When it arrived; absent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrived_at: Option<String>,
    /// The share that brought it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
}

/// A list of documents that an office asks for.
#[derive(Debug, Serialize, ToSchema)]
pub struct RequestListView {
    /// Opaque id, the same on both sides.
    pub id: String,
    /// The other side, where it is a contact still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// What it is for.
    pub title: String,
    /// The items, numbered from 0.
    pub items: Vec<RequestItemView>,
    /// How many of them arrived.
    pub arrived: usize,
    /// When it was made.
    pub created_at: String,
    /// When the office closed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<String>,
}

/// A page of lists, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct RequestPage {
    /// The lists.
    pub requests: Vec<RequestListView>,
    /// What to send as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The document that answers an item.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Arrival {
    /// Number of the item, from 0.
    pub item: u32,
    /// The document, which is shared with the office.
    pub document: String,
}

fn item_purpose(number: usize) -> String {
    format!("request item {number}")
}

fn list_view(gateway: &Gateway, vault: &OpenVault, list: &RequestList) -> Result<RequestListView, Problem> {
    let contact = view::people::contact_with(&*gateway.metadata.view(), vault.id(), list.other)?;
    let mut items = Vec::with_capacity(list.items.len());
    for (number, item) in list.items.iter().enumerate() {
        items.push(RequestItemView {
            text: vault.open_words(&item_purpose(number), list.id.0, &item.text)?,
            arrived_at: item.arrived_ms.map(rfc3339),
            share: item.share.map(|share| share.to_string()),
        });
    }
    Ok(RequestListView {
        id: list.id.to_string(),
        contact: contact.map(|contact| contact.id.to_string()),
        title: vault.open_words(TITLE, list.id.0, &list.title)?,
        arrived: items.iter().filter(|item| item.arrived_at.is_some()).count(),
        items,
        created_at: rfc3339(list.created_ms),
        closed_at: list.closed_ms.map(rfc3339),
    })
}

async fn list_changed(gateway: &Gateway, command: PeopleCommand) -> Result<RequestList, Problem> {
    match gateway.propose(Command::People(Box::new(command))).await? {
        Outcome::People(PeopleOutcome::List(list)) => Ok(*list),
        other => Err(Problem::internal(format!("unexpected answer about a request list: {other:?}"))),
    }
}

/// Asks a contact for documents. Clerks and notaries.
#[utoipa::path(
    post, path = "/v1/office/requests", tag = "offices", security(("bearer" = [])),
    params(("Kluis-Office" = String, Header, description = "The office that the caller acts for.")),
    request_body(content = NewRequests, content_type = "application/json"),
    responses(
        (status = 201, body = RequestListView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn ask(State(gateway): State<Arc<Gateway>>, caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let acting = caller.acting_for_office(&gateway, &headers)?;
    acting.require(OfficeRole::Clerk)?;
    let new: NewRequests = json::body(&gateway, &headers, body).await?;
    text("/title", &new.title, ITEM_BYTES_MAX, false)?;
    if !(1..=RequestList::ITEMS_MAX).contains(&new.items.len()) {
        return Err(bad_member("/items", &format!("1 to {} items", RequestList::ITEMS_MAX)));
    }
    for (number, item) in new.items.iter().enumerate() {
        text(&format!("/items/{number}"), item, ITEM_BYTES_MAX, false)?;
    }
    let contact: ContactId = id(&new.contact)?;
    let of = view::people::contact_vault(&*gateway.metadata.view(), acting.vault, contact)?;
    let of = of.ok_or_else(|| Problem::plain(Code::NotFound))?;
    let own = acting.open(&gateway).await?;
    let other = OpenVault::open(&gateway, gateway.metadata.view(), of).await?;
    let list = RequestListId::new(gateway.clock.now_ms(), gateway.random());
    let both =
        |purpose: &str, text: &str| Ok::<_, Problem>((own.seal_words(purpose, list.0, text)?, other.seal_words(purpose, list.0, text)?));
    let title = both(TITLE, &new.title)?;
    let items = new.items.iter().enumerate().map(|(number, item)| both(&item_purpose(number), item)).collect::<Result<_, _>>()?;
    let trail = Box::new(acting.trail(&gateway, &caller, &own)?);
    let made = list_changed(&gateway, PeopleCommand::Ask { on: acting.behalf(), of, list, title, items, trail }).await?;
    Ok((StatusCode::CREATED, Json(list_view(&gateway, &own, &made)?)).into_response())
}

async fn lists(gateway: &Gateway, acting: &Acting, path: &str, query: Option<&str>) -> Result<Response, Problem> {
    let params = Params::parse(query, &["limit", "cursor"])?;
    let limit = page_limit(gateway, &params)?;
    let vault = acting.open(gateway).await?;
    let before = params.value("cursor").map(|c| vault.open_cursor(c)).transpose()?.map(RequestListId);
    let mut found = view::people::request_lists(&*gateway.metadata.view(), acting.vault, before, limit + 1)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = match found.last() {
        Some(last) if more => Some(vault.seal_cursor(last.id.0)?),
        _ => None,
    };
    let requests = found.iter().map(|list| list_view(gateway, &vault, list)).collect::<Result<Vec<_>, _>>()?;
    paged(path, limit, next, |next| RequestPage { requests, next })
}

/// What the office asks for.
#[utoipa::path(
    get, path = "/v1/office/requests", tag = "offices", security(("bearer" = [])),
    params(
        ("limit" = Option<u64>, Query, description = "Entries of a page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "From `next` or the Link header of the page before."),
        ("Kluis-Office" = String, Header, description = "The office that the caller acts for."),
    ),
    responses(
        (status = 200, body = RequestPage),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn asked(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let acting = caller.acting_for_office(&gateway, &headers)?;
    lists(&gateway, &acting, "/v1/office/requests", query.as_deref()).await
}

/// Closes a list: the office asks no more.
#[utoipa::path(
    post, path = "/v1/office/requests/{id}/close", tag = "offices", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The list's id."),
        ("Kluis-Office" = String, Header, description = "The office that the caller acts for."),
    ),
    responses(
        (status = 200, body = RequestListView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn close(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(list): Path<String>,
    headers: HeaderMap,
) -> Result<Json<RequestListView>, Problem> {
    let acting = caller.acting_for_office(&gateway, &headers)?;
    let vault = acting.open(&gateway).await?;
    let closed = list_changed(&gateway, PeopleCommand::CloseList { on: acting.behalf(), list: id(&list)? }).await?;
    Ok(Json(list_view(&gateway, &vault, &closed)?))
}

/// What offices ask the caller for.
#[utoipa::path(
    get, path = "/v1/requests", tag = "offices", security(("bearer" = [])),
    params(
        ("limit" = Option<u64>, Query, description = "Entries of a page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "From `next` or the Link header of the page before."),
    ),
    responses(
        (status = 200, body = RequestPage),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn requests(State(gateway): State<Arc<Gateway>>, caller: Caller, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    lists(&gateway, &caller.in_person(), "/v1/requests", query.as_deref()).await
}

/// Says which document answers an item. It is shared with the office before.
#[utoipa::path(
    post, path = "/v1/requests/{id}/arrivals", tag = "offices", security(("bearer" = [])),
    params(("id" = String, Path, description = "The list's id.")),
    request_body(content = Arrival, content_type = "application/json"),
    responses(
        (status = 200, body = RequestListView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn arrive(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(list): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RequestListView>, Problem> {
    let Arrival { item, document } = json::body(&gateway, &headers, body).await?;
    let document: DocumentId = id(&document)?;
    let acting = caller.in_person();
    let vault = acting.open(&gateway).await?;
    let list = list_changed(&gateway, PeopleCommand::Tick { on: acting.behalf(), list: id(&list)?, item, document }).await?;
    Ok(Json(list_view(&gateway, &vault, &list)?))
}
