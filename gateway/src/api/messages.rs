//! `/v1/messages/threads`: the line between a person and an office. For the office with `Kluis-Office`.
//!
//! Owns: these shapes in JSON. Not: who may write (decided in the command).
//! Holds: a text is sealed twice, once for each side; neither side's copy opens the other's.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use kluis_raft::{
    command::{Command, PeopleCommand},
    model::{ContactId, MessageId, Thread, ThreadId, ThreadMessage},
    outcome::{Outcome, PeopleOutcome},
    policy::OfficeRole,
    view,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    acting::text,
    documents::{id, page_limit, paged, rfc3339},
    json,
    params::Params,
    vault::OpenVault,
};
use crate::problem::{Code, Problem, ProblemBody};

/// Purpose of a sealed text; its id is the message's.
const TEXT: &str = "message text";
const TEXT_BYTES_MAX: usize = 4096;

/// A message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// To whom: a contact. One of the two sides is an office.
    pub contact: String,
    /// 1 to 4,096 bytes.
    pub text: String,
}

/// How far a side has read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadMark {
    /// Number of the last message that was read.
    pub number: u32,
}

/// A thread.
#[derive(Debug, Serialize, ToSchema)]
pub struct ThreadView {
    /// Opaque id, the same on both sides.
    pub id: String,
    /// The other side, where it is a contact still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Messages in it.
    pub messages: u32,
    /// Number of the last message that this side has read.
    pub read: u32,
    /// Messages that this side has not read.
    pub unread: u32,
    /// When the last message came.
    pub updated_at: String,
}

/// A page of threads, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ThreadPage {
    /// The threads.
    pub threads: Vec<ThreadView>,
    /// What to send as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A message of a thread.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageView {
    /// Its number, from 1.
    pub number: u32,
    /// Whether this side wrote it.
    pub own: bool,
    /// The text.
    pub text: String,
    /// When.
    pub at: String,
}

/// A thread with its messages, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ThreadWithMessages {
    /// The thread.
    pub thread: ThreadView,
    /// The messages.
    pub messages: Vec<MessageView>,
    /// What to send as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

fn shown(gateway: &Gateway, vault: &OpenVault, thread: &Thread) -> Result<ThreadView, Problem> {
    let contact = view::people::contact_with(&*gateway.metadata.view(), vault.id(), thread.other)?;
    Ok(ThreadView {
        id: thread.id.to_string(),
        contact: contact.map(|contact| contact.id.to_string()),
        messages: thread.last,
        read: thread.read,
        unread: thread.last.saturating_sub(thread.read),
        updated_at: rfc3339(thread.updated_ms),
    })
}

async fn changed(gateway: &Gateway, command: PeopleCommand) -> Result<Thread, Problem> {
    match gateway.propose(Command::People(Box::new(command))).await? {
        Outcome::People(PeopleOutcome::Thread(thread)) => Ok(*thread),
        other => Err(Problem::internal(format!("unexpected answer about a thread: {other:?}"))),
    }
}

/// The threads of the caller, or of the office in `Kluis-Office`.
#[utoipa::path(
    get, path = "/v1/messages/threads", tag = "messages", security(("bearer" = [])),
    params(
        ("limit" = Option<u64>, Query, description = "Entries of a page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "From `next` or the Link header of the page before."),
        ("Kluis-Office" = Option<String>, Header, description = "The office that the caller acts for."),
    ),
    responses(
        (status = 200, body = ThreadPage),
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
    let before = params.value("cursor").map(|c| vault.open_cursor(c)).transpose()?.map(ThreadId);
    let mut found = view::people::threads(&*gateway.metadata.view(), acting.vault, before, limit + 1)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = match found.last() {
        Some(last) if more => Some(vault.seal_cursor(last.id.0)?),
        _ => None,
    };
    let threads = found.iter().map(|thread| shown(&gateway, &vault, thread)).collect::<Result<Vec<_>, _>>()?;
    paged("/v1/messages/threads", limit, next, |next| ThreadPage { threads, next })
}

/// Writes to a contact: in the thread that there is, or in a new one.
#[utoipa::path(
    post, path = "/v1/messages/threads", tag = "messages", security(("bearer" = [])),
    params(("Kluis-Office" = Option<String>, Header, description = "The office that the caller acts for.")),
    request_body(content = NewMessage, content_type = "application/json"),
    responses(
        (status = 201, body = ThreadView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn say(State(gateway): State<Arc<Gateway>>, caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let new: NewMessage = json::body(&gateway, &headers, body).await?;
    text("/text", &new.text, TEXT_BYTES_MAX, true)?;
    let acting = caller.acting_by(&gateway, &headers)?;
    acting.require(OfficeRole::Clerk)?;
    let contact: ContactId = id(&new.contact)?;
    let to = view::people::contact_vault(&*gateway.metadata.view(), acting.vault, contact)?;
    let to = to.ok_or_else(|| Problem::plain(Code::NotFound))?;
    let own = acting.open(&gateway).await?;
    let other = OpenVault::open(&gateway, gateway.metadata.view(), to).await?;
    let now_ms = gateway.clock.now_ms();
    let message = MessageId::new(now_ms, gateway.random());
    let command = PeopleCommand::Say {
        on: acting.behalf(),
        to,
        thread: ThreadId::new(now_ms, gateway.random()),
        message,
        own: own.seal_words(TEXT, message.0, &new.text)?,
        theirs: other.seal_words(TEXT, message.0, &new.text)?,
    };
    let thread = changed(&gateway, command).await?;
    Ok((StatusCode::CREATED, Json(shown(&gateway, &own, &thread)?)).into_response())
}

/// A thread with its messages.
#[utoipa::path(
    get, path = "/v1/messages/threads/{id}", tag = "messages", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The thread's id."),
        ("limit" = Option<u64>, Query, description = "Messages of a page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "From `next` or the Link header of the page before."),
        ("Kluis-Office" = Option<String>, Header, description = "The office that the caller acts for."),
    ),
    responses(
        (status = 200, body = ThreadWithMessages),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn read(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(thread): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["limit", "cursor"])?;
    let limit = page_limit(&gateway, &params)?;
    let acting = caller.acting_by(&gateway, &headers)?;
    let thread: ThreadId = id(&thread)?;
    let read = gateway.metadata.view();
    let thread = view::people::thread(&*read, acting.vault, thread)?.ok_or_else(|| Problem::plain(Code::NotFound))?;
    let vault = acting.open(&gateway).await?;
    let before = params.value("cursor").map(|c| vault.open_cursor(c)).transpose()?;
    let before = before.map_or(u32::MAX, |at| u32::try_from(at).unwrap_or(u32::MAX));
    let mut found = view::people::messages(&*read, acting.vault, thread.id, before, limit + 1)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = match found.last() {
        Some(last) if more => Some(vault.seal_cursor(last.number.into())?),
        _ => None,
    };
    let message = |message: &ThreadMessage| {
        let text = vault.open_words(TEXT, message.id.0, &message.text)?;
        Ok::<_, Problem>(MessageView { number: message.number, own: message.own, text, at: rfc3339(message.at_ms) })
    };
    let messages = found.iter().map(message).collect::<Result<Vec<_>, _>>()?;
    let thread = shown(&gateway, &vault, &thread)?;
    let path = format!("/v1/messages/threads/{}", thread.id);
    paged(&path, limit, next, |next| ThreadWithMessages { thread, messages, next })
}

/// Marks a thread as read up to a message.
#[utoipa::path(
    post, path = "/v1/messages/threads/{id}/read", tag = "messages", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The thread's id."),
        ("Kluis-Office" = Option<String>, Header, description = "The office that the caller acts for."),
    ),
    request_body(content = ReadMark, content_type = "application/json"),
    responses(
        (status = 200, body = ThreadView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn mark(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(thread): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ThreadView>, Problem> {
    let ReadMark { number } = json::body(&gateway, &headers, body).await?;
    let acting = caller.acting_by(&gateway, &headers)?;
    let vault = acting.open(&gateway).await?;
    let thread = changed(&gateway, PeopleCommand::MarkRead { on: acting.behalf(), thread: id(&thread)?, number }).await?;
    Ok(Json(shown(&gateway, &vault, &thread)?))
}
