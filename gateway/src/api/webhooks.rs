//! `/v1/webhooks`: addresses of a person's own programs, which every notice is posted to.
//!
//! Owns: webhooks and their deliveries as JSON. Not: which addresses are taken ([`crate::notify::target`]), nor posting
//! ([`crate::notify::webhook`]).
//! Holds: (1) an address that leads inside is refused here by its form, and again by its numbers whenever it is posted
//! to; (2) a secret is in one answer, once; (3) a webhook that fails says so, and since when.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use kluis_raft::{
    command::NoticeCommand,
    model::{Content, Delivery, DeliveryId, DeliveryState, Failure, Target, Webhook, WebhookId},
    outcome::{NoticeOutcome, Outcome},
    store::Read,
    view,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    documents::{header_value, id, page_limit, paged, require_match, rfc3339},
    json,
    notifications::propose,
    params::Params,
    vault::OpenVault,
};
use crate::{
    notify::{target::WebhookUrl, webhook::HookSecret},
    problem::{Code, Problem, ProblemBody},
};

/// Deliveries that are looked through at a time for those of one webhook.
const LOOK: usize = 200;

/// A webhook to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Where notices are posted: https, of the public network.
    pub url: String,
}

/// A change of a webhook; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeWebhook {
    /// Another address.
    #[serde(default)]
    pub url: Option<String>,
    /// Whether notices are posted there.
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// A webhook.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookView {
    /// Opaque id.
    pub id: String,
    /// Where notices are posted.
    pub url: String,
    /// Whether they are. One where nothing arrives for five days is switched off.
    pub enabled: bool,
    /// Since when nothing arrives; `null` while all is well.
    pub failing_since: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// What `If-Match` takes.
    pub etag: String,
}

/// The webhooks of a vault.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookList {
    /// The webhooks, oldest first.
    pub webhooks: Vec<WebhookView>,
}

/// A webhook with its secret.
#[derive(Serialize, ToSchema)]
pub struct WebhookWithSecret {
    /// The webhook.
    pub webhook: WebhookView,
    /// What posts are signed with (Standard Webhooks: HMAC-SHA-256). Shown this once.
    pub secret: String,
}

/// A test that is on its way.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookTest {
    /// The delivery's id, which the receiver gets as `webhook-id`.
    pub delivery: String,
}

/// A delivery.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryView {
    /// The id, which the receiver gets as `webhook-id` at every try.
    pub id: String,
    /// What it tells of, or `webhook.test`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// `waiting`, `delivered` or `dead`.
    #[schema(value_type = String)]
    pub state: &'static str,
    /// Tries that were begun.
    pub attempts: u32,
    /// When it was made.
    pub created_at: String,
    /// When it is tried again, or what state it has since.
    pub at: String,
    /// Why the last try failed: `refused`, `unreachable`, `timed_out`, `forbidden_target`, `no_target` or `no_key`.
    #[schema(value_type = Option<String>)]
    pub failure: Option<&'static str>,
    /// The status that the receiver refused with.
    pub status: Option<u16>,
}

/// A page of deliveries, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryPage {
    /// The deliveries.
    pub deliveries: Vec<DeliveryView>,
    /// What to send as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

fn etag(webhook: &Webhook) -> String {
    format!("\"w{}\"", webhook.revision)
}

fn shown(vault: &OpenVault, webhook: &Webhook) -> Result<WebhookView, Problem> {
    Ok(WebhookView {
        id: webhook.id.to_string(),
        url: vault.open_hook_url(webhook.id, &webhook.url)?.as_str().to_owned(),
        enabled: webhook.enabled,
        failing_since: webhook.failing_since_ms.map(rfc3339),
        created_at: rfc3339(webhook.created_ms),
        etag: etag(webhook),
    })
}

fn answer(vault: &OpenVault, webhook: &Webhook) -> Result<Response, Problem> {
    let mut response = Json(shown(vault, webhook)?).into_response();
    response.headers_mut().insert(header::ETAG, header_value(&etag(webhook))?);
    Ok(response)
}

fn url(gateway: &Gateway, text: &str) -> Result<WebhookUrl, Problem> {
    WebhookUrl::parse(text, gateway.notify.allows_loopback())
        .map_err(|why| Problem::new(Code::UrlRefused, why.to_string()).with_error("/url", why.to_string()))
}

fn find(read: &dyn Read, caller: &Caller, webhook: &str) -> Result<Webhook, Problem> {
    view::notice::webhook(read, caller.vault, id(webhook)?)?.ok_or_else(|| Problem::plain(Code::NotFound))
}

async fn changed(gateway: &Gateway, command: NoticeCommand) -> Result<Box<Webhook>, Problem> {
    match propose(gateway, command).await? {
        Outcome::Notice(NoticeOutcome::Webhook(webhook)) => Ok(webhook),
        other => Err(Problem::internal(format!("unexpected answer about a webhook: {other:?}"))),
    }
}

/// The caller's webhooks.
#[utoipa::path(
    get, path = "/v1/webhooks", tag = "webhooks", security(("bearer" = [])),
    responses(
        (status = 200, body = WebhookList),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Json<WebhookList>, Problem> {
    let read = gateway.metadata.view();
    let found = view::notice::webhooks(&*read, caller.vault)?;
    let vault = OpenVault::open(&gateway, read, caller.vault).await?;
    Ok(Json(WebhookList { webhooks: found.iter().map(|webhook| shown(&vault, webhook)).collect::<Result<_, _>>()? }))
}

/// Makes a webhook. Its secret is in this answer only.
#[utoipa::path(
    post, path = "/v1/webhooks", tag = "webhooks", security(("bearer" = [])),
    request_body(content = NewWebhook, content_type = "application/json"),
    responses(
        (status = 201, body = WebhookWithSecret),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(State(gateway): State<Arc<Gateway>>, caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let new: NewWebhook = json::body(&gateway, &headers, body).await?;
    let url = url(&gateway, &new.url)?;
    let vault = OpenVault::open(&gateway, gateway.metadata.view(), caller.vault).await?;
    let id = WebhookId::new(gateway.clock.now_ms(), gateway.random());
    let secret = HookSecret::generate(&*gateway.entropy);
    let command = NoticeCommand::CreateWebhook {
        vault: caller.vault,
        id,
        url: vault.seal_hook_url(id, &url)?,
        secret: vault.seal_hook_secret(id, &secret)?,
    };
    let webhook = changed(&gateway, command).await?;
    let body = WebhookWithSecret { webhook: shown(&vault, &webhook)?, secret: secret.to_text().to_string() };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// A webhook of the caller's.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}", tag = "webhooks", security(("bearer" = [])),
    params(("id" = String, Path, description = "The webhook's id.")),
    responses(
        (status = 200, body = WebhookView, headers(("ETag" = String, description = "Its revision."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn read(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(webhook): Path<String>) -> Result<Response, Problem> {
    let read = gateway.metadata.view();
    let webhook = find(&*read, &caller, &webhook)?;
    answer(&OpenVault::open(&gateway, read, caller.vault).await?, &webhook)
}

/// Changes a webhook.
#[utoipa::path(
    patch, path = "/v1/webhooks/{id}", tag = "webhooks", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The webhook's id."),
        ("If-Match" = String, Header, description = "Its ETag."),
    ),
    request_body(content = ChangeWebhook, content_type = "application/json"),
    responses(
        (status = 200, body = WebhookView, headers(("ETag" = String, description = "Its revision."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(webhook): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let change: ChangeWebhook = json::body(&gateway, &headers, body).await?;
    let url = change.url.map(|text| url(&gateway, &text)).transpose()?;
    let read = gateway.metadata.view();
    let found = find(&*read, &caller, &webhook)?;
    require_match(&headers, &etag(&found))?;
    let vault = OpenVault::open(&gateway, read, caller.vault).await?;
    let url = url.map(|url| vault.seal_hook_url(found.id, &url)).transpose()?;
    let command =
        NoticeCommand::ChangeWebhook { vault: caller.vault, id: found.id, revision: found.revision, url, enabled: change.enabled };
    let webhook = changed(&gateway, command).await?;
    answer(&vault, &webhook)
}

/// Takes a webhook away.
#[utoipa::path(
    delete, path = "/v1/webhooks/{id}", tag = "webhooks", security(("bearer" = [])),
    params(("id" = String, Path, description = "The webhook's id.")),
    responses(
        (status = 204, description = "Gone; what waited for it is not sent."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(webhook): Path<String>) -> Result<StatusCode, Problem> {
    propose(&gateway, NoticeCommand::DeleteWebhook { vault: caller.vault, id: id(&webhook)? }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Posts a test to a webhook, also to one that is switched off.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/test", tag = "webhooks", security(("bearer" = [])),
    params(("id" = String, Path, description = "The webhook's id.")),
    responses(
        (status = 202, body = WebhookTest, description = "It is on its way; the webhook's deliveries show how it goes."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn test(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(webhook): Path<String>) -> Result<Response, Problem> {
    match propose(&gateway, NoticeCommand::TestWebhook { vault: caller.vault, id: id(&webhook)? }).await? {
        Outcome::Notice(NoticeOutcome::Queued(delivery)) => {
            Ok((StatusCode::ACCEPTED, Json(WebhookTest { delivery: delivery.to_string() })).into_response())
        }
        other => Err(Problem::internal(format!("unexpected answer to a test: {other:?}"))),
    }
}

fn delivery_shown(delivery: &Delivery) -> DeliveryView {
    let kind = match delivery.content {
        Content::Notice { kind, .. } => kind.name(),
        Content::Code | Content::Test => "webhook.test",
    };
    let (state, at_ms) = match delivery.state {
        DeliveryState::Waiting { next_ms } => ("waiting", next_ms),
        DeliveryState::Delivered { at_ms } => ("delivered", at_ms),
        DeliveryState::Dead { at_ms } => ("dead", at_ms),
    };
    let status = match delivery.failure {
        Some(Failure::Status(status)) => Some(status),
        _ => None,
    };
    DeliveryView {
        id: delivery.id.to_string(),
        kind,
        state,
        attempts: delivery.attempts,
        created_at: rfc3339(delivery.created_ms),
        at: rfc3339(at_ms),
        failure: delivery.failure.map(Failure::name),
        status,
    }
}

/// What was posted to a webhook or waits for it, newest first; of three days.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}/deliveries", tag = "webhooks", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The webhook's id."),
        ("limit" = Option<u64>, Query, description = "Entries of a page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "From `next` or the Link header of the page before."),
    ),
    responses(
        (status = 200, body = DeliveryPage, headers(("Link" = String, description = "rel=next, while there is more."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn deliveries(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(webhook): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["limit", "cursor"])?;
    let limit = page_limit(&gateway, &params)?;
    let read = gateway.metadata.view();
    let webhook = find(&*read, &caller, &webhook)?.id;
    let vault = OpenVault::open(&gateway, Arc::clone(&read), caller.vault).await?;
    let mut before = params.value("cursor").map(|cursor| vault.open_cursor(cursor)).transpose()?.map(DeliveryId);
    let mut found: Vec<Delivery> = Vec::new();
    // One more than is shown tells whether there is a next page.
    while found.len() <= limit {
        let piece = view::notice::deliveries(&*read, caller.vault, before, LOOK)?;
        let Some(last) = piece.last() else { break };
        before = Some(last.id);
        found.extend(piece.into_iter().filter(|delivery| delivery.target == Target::Webhook(webhook)));
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let next = match found.last() {
        Some(last) if more => Some(vault.seal_cursor(last.id.0)?),
        _ => None,
    };
    let deliveries = found.iter().map(delivery_shown).collect();
    paged(&format!("/v1/webhooks/{webhook}/deliveries"), limit, next, |next| DeliveryPage { deliveries, next })
}
