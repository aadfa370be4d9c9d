//! `/v1/notifications` and `/v1/notification-settings`: what a person is told, and by which ways.
//!
//! Owns: notices and choices as JSON; the notice of refused malware, which no command makes. Not: how notices are made
//! (`kluis_raft::apply::notice`) and sent ([`crate::notify`]).
//! Holds: (1) a notice always stands in this list: only the other ways can be chosen; (2) what a notice says beside its
//! kind is opened for its owner here, and goes nowhere else.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use kluis_raft::{
    command::{Command, NoticeCommand},
    model::{Channels, Lang, NewNotice, Notice, NoticeBox, NoticeDetails, NoticeId, NoticeKind},
    outcome::{NoticeOutcome, Outcome},
    view,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    auth::SealedDevice,
    documents::{header_value, id, page_limit, paged, require_match, rfc3339},
    json,
    name::Label,
    params::Params,
    vault::OpenVault,
};
use crate::{
    notify::texts::title,
    problem::{Code, Problem, ProblemBody},
};

/// What else a notice says.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotificationDetails {
    /// The beginning of a document's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Its network address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A notice.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotificationView {
    /// Opaque id.
    pub id: String,
    /// What happened, as `session.new_device`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// The same for people, in the language of the settings.
    #[schema(value_type = String)]
    pub title: &'static str,
    /// When.
    pub created_at: String,
    /// When it was read; `null` before.
    pub read_at: Option<String>,
    /// The document's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// What else there is to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<NotificationDetails>,
}

/// A page of notices, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotificationPage {
    /// The notices.
    pub notifications: Vec<NotificationView>,
    /// How many were not read, over all pages.
    pub unread: u32,
    /// What to send as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Up to which notice all were read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadUntil {
    /// The id of the newest notice that was seen.
    pub until: String,
}

/// The ways of a kind of notice besides the list.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelChoice {
    /// By mail, once an address is verified.
    pub mail: bool,
    /// To the webhooks.
    pub webhook: bool,
}

/// The ways of all kinds of notices.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotificationSettings {
    /// The ways by kind.
    #[schema(value_type = BTreeMap<String, ChannelChoice>)]
    pub channels: BTreeMap<&'static str, ChannelChoice>,
    /// Language of titles and mails; `PATCH /v1/me` changes it.
    #[schema(value_type = String)]
    pub lang: &'static str,
    /// Deliveries that wait to be sent, or to be tried again.
    pub waiting: u32,
}

/// Choices for kinds of notices: those that are not named take the default.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelChoices {
    /// The ways by kind.
    pub channels: BTreeMap<String, ChannelChoice>,
}

fn details(vault: &OpenVault, kind: NoticeKind, sealed: &NoticeDetails) -> Result<NotificationDetails, Problem> {
    if kind == NoticeKind::NewDevice {
        let SealedDevice { label, address } = SealedDevice::open(&vault.open_device(sealed.place, &sealed.text)?)?;
        return Ok(NotificationDetails { name: None, device: Some(label), address });
    }
    let name = vault.open_notice_name(sealed.place, &sealed.text)?;
    Ok(NotificationDetails { name: Some(name), device: None, address: None })
}

fn shown(vault: &OpenVault, notice: &Notice, lang: Lang) -> Result<NotificationView, Problem> {
    Ok(NotificationView {
        id: notice.id.to_string(),
        kind: notice.kind.name(),
        title: title(notice.kind, lang),
        created_at: rfc3339(notice.created_ms),
        read_at: notice.read_ms.map(rfc3339),
        document: notice.document.map(|document| document.to_string()),
        details: notice.details.as_ref().map(|sealed| details(vault, notice.kind, sealed)).transpose()?,
    })
}

/// What the caller was told, newest first.
#[utoipa::path(
    get, path = "/v1/notifications", tag = "notifications", security(("bearer" = [])),
    params(
        ("limit" = Option<u64>, Query, description = "Entries of a page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "From `next` or the Link header of the page before."),
    ),
    responses(
        (status = 200, body = NotificationPage, headers(("Link" = String, description = "rel=next, while there is more."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(gateway): State<Arc<Gateway>>, caller: Caller, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["limit", "cursor"])?;
    let limit = page_limit(&gateway, &params)?;
    let read = gateway.metadata.view();
    let vault = OpenVault::open(&gateway, Arc::clone(&read), caller.vault).await?;
    let own = view::notice::notice_box(&*read, vault.id())?;
    let before = params.value("cursor").map(|cursor| vault.open_cursor(cursor)).transpose()?.map(NoticeId);
    // One more than is shown tells whether there is a next page.
    let mut found = view::notice::notices(&*read, vault.id(), before, limit + 1)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = match found.last() {
        Some(last) if more => Some(vault.seal_cursor(last.id.0)?),
        _ => None,
    };
    let notifications = found.iter().map(|notice| shown(&vault, notice, own.lang)).collect::<Result<Vec<_>, _>>()?;
    paged("/v1/notifications", limit, next, |next| NotificationPage { notifications, unread: own.unread, next })
}

/// Marks a notice as read.
#[utoipa::path(
    post, path = "/v1/notifications/{id}/read", tag = "notifications", security(("bearer" = [])),
    params(("id" = String, Path, description = "The notice's id.")),
    responses(
        (status = 204, description = "It is read."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn read(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(notice): Path<String>) -> Result<StatusCode, Problem> {
    propose(&gateway, NoticeCommand::MarkRead { vault: caller.vault, notice: id(&notice)? }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Marks all notices as read, up to the newest one that was seen.
#[utoipa::path(
    post, path = "/v1/notifications/read-all", tag = "notifications", security(("bearer" = [])),
    request_body(content = ReadUntil, content_type = "application/json"),
    responses(
        (status = 204, description = "They are read."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn read_all(State(gateway): State<Arc<Gateway>>, caller: Caller, headers: HeaderMap, body: Body) -> Result<StatusCode, Problem> {
    let ReadUntil { until } = json::body(&gateway, &headers, body).await?;
    propose(&gateway, NoticeCommand::MarkAllRead { vault: caller.vault, until: id(&until)? }).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn etag(own: &NoticeBox) -> String {
    format!("\"s{}\"", own.revision)
}

fn settings(own: &NoticeBox) -> Result<Response, Problem> {
    let choice = |kind: NoticeKind| {
        let Channels { mail, webhook } = own.channels_of(kind);
        ChannelChoice { mail, webhook }
    };
    let channels = NoticeKind::ALL.iter().map(|kind| (kind.name(), choice(*kind))).collect();
    let shown = NotificationSettings { channels, lang: own.lang.as_str(), waiting: own.waiting };
    let mut response = Json(shown).into_response();
    response.headers_mut().insert(header::ETAG, header_value(&etag(own))?);
    Ok(response)
}

/// By which ways the caller is told what.
#[utoipa::path(
    get, path = "/v1/notification-settings", tag = "notifications", security(("bearer" = [])),
    responses(
        (status = 200, body = NotificationSettings, headers(("ETag" = String, description = "The settings' revision."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn read_settings(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Response, Problem> {
    settings(&view::notice::notice_box(&*gateway.metadata.view(), caller.vault)?)
}

/// Chooses by which ways the caller is told what.
#[utoipa::path(
    put, path = "/v1/notification-settings", tag = "notifications", security(("bearer" = [])),
    params(("If-Match" = String, Header, description = "The ETag of the settings that were seen.")),
    request_body(content = ChannelChoices, content_type = "application/json"),
    responses(
        (status = 200, body = NotificationSettings, headers(("ETag" = String, description = "The settings' revision."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn write_settings(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let choices: ChannelChoices = json::body(&gateway, &headers, body).await?;
    let mut channels = Vec::with_capacity(choices.channels.len());
    for (name, ChannelChoice { mail, webhook }) in choices.channels {
        let Some(kind) = NoticeKind::parse(&name) else {
            let problem = Problem::new(Code::BadJson, "the body is not the JSON that is wanted");
            return Err(problem.with_error("/channels", "there is a kind of notice that is not known: GET shows all of them"));
        };
        channels.push((kind, Channels { mail, webhook }));
    }
    let own = view::notice::notice_box(&*gateway.metadata.view(), caller.vault)?;
    require_match(&headers, &etag(&own))?;
    let command = NoticeCommand::SetChannels { vault: caller.vault, revision: own.revision, channels };
    let own = changed(&gateway, command).await?;
    settings(&own)
}

/// Proposes a command of this family.
///
/// # Errors
/// The refusal, or that no majority answers.
pub(super) async fn propose(gateway: &Gateway, command: NoticeCommand) -> Result<Outcome, Problem> {
    gateway.propose(Command::Notice(Box::new(command))).await
}

/// The settings after a command that changes them.
///
/// # Errors
/// The refusal; 422 `code_wrong`.
pub(super) async fn changed(gateway: &Gateway, command: NoticeCommand) -> Result<Box<NoticeBox>, Problem> {
    match propose(gateway, command).await? {
        Outcome::Notice(NoticeOutcome::Settings(own)) => Ok(own),
        Outcome::Notice(NoticeOutcome::CodeWrong { left }) => {
            Err(Problem::new(Code::CodeWrong, format!("the code is wrong; {left} tries are left")))
        }
        other => Err(Problem::internal(format!("unexpected answer about settings: {other:?}"))),
    }
}

/// Tells the owner that an upload was refused because of malware. Best effort: the upload was answered for itself.
pub(super) async fn tell_of_malware(gateway: &Gateway, vault: &OpenVault, label: &Label) {
    let place = gateway.random();
    let told = async {
        let details = Some(NoticeDetails { place, text: vault.seal_notice_name(place, label.name.as_str())? });
        let new = NewNotice { vault: vault.id(), kind: NoticeKind::MalwareRefused, document: None, details };
        propose(gateway, NoticeCommand::Post(new)).await
    };
    if let Err(problem) = told.await {
        tracing::warn!(code = problem.code.as_str(), "nobody is told of refused malware this time");
    }
}
