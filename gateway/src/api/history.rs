//! `/v1/me/history`, `/v1/documents/{id}/history`, `/v1/documents/{id}/proofs`: what happened, to its owner.
//!
//! Owns: events as JSON, and proofs with their openings. Not: the log as everybody sees it ([`super::log`]).
//! Holds: (1) a history is read in the caller's own vault only; (2) a document that was erased keeps its history for
//! its owner; what was never there is a 404; (3) a proof's opening opens the entry that the log has.

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, State},
    response::Response,
};
use kluis_raft::{
    model::{Actor, DocumentId, HistoryEntry},
    view,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    documents::{id, page_limit, paged, rfc3339},
    log,
    params::Params,
    trail,
    vault::OpenVault,
};
use crate::problem::{Code, Problem, ProblemBody};

/// An event.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    /// Its place in the log.
    pub log_index: u64,
    /// What happened.
    #[schema(value_type = String)]
    pub event: &'static str,
    /// When.
    pub at: String,
    /// Who: `account:ID`, `office:VAULT/ACCOUNT`, `service:ID`, `link:ID`, `operator:ID` or `system`.
    pub actor: String,
    /// Whether that is the caller.
    pub own: bool,
    /// The address that the request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The document's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// The beginning of the document's name at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whom it concerned, of the caller's contacts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<String>,
    /// Whether a signed checkpoint covers it, so that it can be proved.
    pub proven: bool,
}

/// A page of events, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryPage {
    /// The events.
    pub events: Vec<EventView>,
    /// What to send as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The proof of an event.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProofView {
    /// Its place in the log.
    pub log_index: u64,
    /// What happened.
    #[schema(value_type = String)]
    pub event: &'static str,
    /// When.
    pub at: String,
    /// The proof file (c2sp.org/tlog-proof@v1), with what opens the entry in its `extra` line: whoever has it can read
    /// this event. Absent while no checkpoint covers the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// A page of proofs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProofPage {
    /// The proofs.
    pub proofs: Vec<ProofView>,
    /// What to send as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One page of entries, and the cursor of the next.
struct Page {
    vault: OpenVault,
    entries: Vec<HistoryEntry>,
    limit: usize,
    next: Option<String>,
}

async fn page(gateway: &Gateway, caller: &Caller, query: Option<&str>, document: Option<DocumentId>) -> Result<Page, Problem> {
    let params = Params::parse(query, &["limit", "cursor"])?;
    let limit = page_limit(gateway, &params)?;
    let read = gateway.metadata.view();
    let vault = OpenVault::open(gateway, Arc::clone(&read), caller.vault).await?;
    let before = match params.value("cursor").map(|cursor| vault.open_cursor(cursor)).transpose()? {
        Some(at) => u64::try_from(at).map_err(|_| Problem::plain(Code::BadCursor))?,
        None => u64::MAX,
    };
    // One more than is shown tells whether there is a next page.
    let mut entries = match document {
        Some(document) => view::document_history(&*read, vault.id(), document, before, limit + 1)?,
        None => view::history(&*read, vault.id(), before, limit + 1)?,
    };
    if let Some(document) = document
        && entries.is_empty()
        && view::document(&*read, vault.id(), document)?.is_none()
    {
        return Err(Problem::plain(Code::NotFound));
    }
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = match entries.last() {
        Some(last) if more => Some(vault.seal_cursor(u128::from(last.index))?),
        _ => None,
    };
    Ok(Page { vault, entries, limit, next })
}

fn shown(caller: &Caller, vault: &OpenVault, entry: &HistoryEntry, proven: u64) -> Result<EventView, Problem> {
    let details = trail::read(&trail::open(vault, entry)?);
    let actor = entry.event.trail.actor;
    Ok(EventView {
        log_index: entry.index,
        event: entry.event.kind.name(),
        at: rfc3339(entry.at_ms),
        actor: actor.text(),
        own: actor == Actor::Account(caller.account),
        from: details.from.map(|address| address.to_string()),
        document: entry.event.document.map(|document| document.to_string()),
        name: details.name,
        with: details.with,
        proven: entry.index < proven,
    })
}

fn answer(gateway: &Gateway, caller: &Caller, page: Page, path: &str) -> Result<Response, Problem> {
    let proven = view::log(&*gateway.metadata.view())?.checkpoint.map_or(0, |checkpoint| checkpoint.size);
    let Page { vault, entries, limit, next } = page;
    let events = entries.iter().map(|entry| shown(caller, &vault, entry, proven)).collect::<Result<Vec<_>, _>>()?;
    paged(path, limit, next, |next| HistoryPage { events, next })
}

/// What happened in the caller's vault, newest first.
#[utoipa::path(
    get, path = "/v1/me/history", tag = "history", security(("bearer" = [])),
    params(
        ("limit" = Option<u64>, Query, description = "Entries of a page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "From `next` or the Link header of the page before."),
    ),
    responses(
        (status = 200, body = HistoryPage, headers(("Link" = String, description = "rel=next, while there is more."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn of_vault(State(gateway): State<Arc<Gateway>>, caller: Caller, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let page = page(&gateway, &caller, query.as_deref(), None).await?;
    answer(&gateway, &caller, page, "/v1/me/history")
}

/// What happened to a document, newest first; also after it was erased.
#[utoipa::path(
    get, path = "/v1/documents/{id}/history", tag = "history", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The document's id."),
        ("limit" = Option<u64>, Query, description = "Entries of a page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "From `next` or the Link header of the page before."),
    ),
    responses(
        (status = 200, body = HistoryPage, headers(("Link" = String, description = "rel=next, while there is more."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn of_document(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(document): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let document: DocumentId = id(&document)?;
    let page = page(&gateway, &caller, query.as_deref(), Some(document)).await?;
    answer(&gateway, &caller, page, &format!("/v1/documents/{document}/history"))
}

/// Proofs of what happened to a document, newest first: files that anybody can verify without this service.
#[utoipa::path(
    get, path = "/v1/documents/{id}/proofs", tag = "history", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The document's id."),
        ("limit" = Option<u64>, Query, description = "Entries of a page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "From `next` or the Link header of the page before."),
    ),
    responses(
        (status = 200, body = ProofPage, headers(("Link" = String, description = "rel=next, while there is more."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn proofs(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(document): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let document: DocumentId = id(&document)?;
    let Page { vault, entries, limit, next } = page(&gateway, &caller, query.as_deref(), Some(document)).await?;
    let read = gateway.metadata.view();
    let record = view::log(&*read)?;
    let mut proofs = Vec::with_capacity(entries.len());
    for entry in &entries {
        let opening = entry.opening(&trail::open(&vault, entry)?);
        let proof = log::proof(&*read, &record, entry.index, Some(opening.to_string().into_bytes()))?;
        proofs.push(ProofView {
            log_index: entry.index,
            event: entry.event.kind.name(),
            at: rfc3339(entry.at_ms),
            proof: proof.map(|proof| proof.to_string()),
        });
    }
    paged(&format!("/v1/documents/{document}/proofs"), limit, next, |next| ProofPage { proofs, next })
}
