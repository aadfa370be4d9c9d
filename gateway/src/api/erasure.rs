//! `POST /v1/me/erasure`: the vault and the account end, and the person gets a receipt.
//!
//! Owns: what is asked and the receipt. Not: the erasure itself (`kluis_raft::apply`).
//! Holds: (1) nobody erases by mistake: it takes a step-up and typed words; (2) from this answer on nobody gets in, and
//! the vault's key is gone; (3) the receipt says what remains and why, and opens the log's entry of the erasure, so that
//! the person can prove it when no account is left to ask.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State};
use http::HeaderMap;
use kluis_raft::{
    command::{ClosingCommand, Command},
    model::{Event, EventKind, HistoryEntry},
    outcome::{ClosingOutcome, Outcome},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    caller::require_step_up,
    documents::rfc3339,
    json,
    trail::{self, Details},
    vault::OpenVault,
};
use crate::problem::{Code, Problem, ProblemBody};

/// What is typed to confirm.
const CONFIRMATION: &str = "ERASE EVERYTHING";

/// The wish to erase everything.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    /// The words `ERASE EVERYTHING`, typed by the person.
    pub confirm: String,
}

/// What is left, and why.
#[derive(Debug, Serialize, ToSchema)]
pub struct Remaining {
    /// `copies_of_others`, `log_entries`, `old_snapshots`.
    #[schema(value_type = String)]
    pub what: &'static str,
    /// Why.
    #[schema(value_type = String)]
    pub why: &'static str,
}

/// The receipt of an erasure.
#[derive(Debug, Serialize, ToSchema)]
pub struct Receipt {
    /// When the vault was closed and its key destroyed.
    pub closed_at: String,
    /// Id of the vault that was.
    pub vault_id: String,
    /// Documents that are erased.
    pub documents: u64,
    /// Bytes of their versions.
    pub bytes: u64,
    /// Sessions that ended, this one among them.
    pub sessions_ended: u64,
    /// Services that ended.
    pub services_ended: u64,
    /// What is left, and why.
    pub remains: Vec<Remaining>,
    /// Place of the event in the public log.
    pub log_index: u64,
    /// What opens that entry: whoever has it can show that this vault was closed, with a proof from /v1/log/proof.
    pub opening: String,
}

const REMAINS: [Remaining; 3] = [
    Remaining { what: "copies_of_others", why: "Copies that others made of documents that you shared are their documents." },
    Remaining {
        what: "log_entries",
        why: "The log keeps kind and time of events, so that nobody can hide one. What opens them is erased: they lead to nobody.",
    },
    Remaining {
        what: "old_snapshots",
        why: "Snapshots and logs of the metadata hold the wrapped key and sealed names until newer ones take their place.",
    },
];

/// Erases the account and everything in the vault. Cannot be undone. Needs a step-up.
#[utoipa::path(
    post, path = "/v1/me/erasure", tag = "me", security(("bearer" = [])),
    request_body(content = Erasure, content_type = "application/json"),
    responses(
        (status = 200, body = Receipt),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn erase(State(gateway): State<Arc<Gateway>>, caller: Caller, headers: HeaderMap, body: Body) -> Result<Json<Receipt>, Problem> {
    let erasure: Erasure = json::body(&gateway, &headers, body).await?;
    if erasure.confirm != CONFIRMATION {
        let problem = Problem::new(Code::BadJson, "the body is not the JSON that is wanted");
        return Err(problem.with_error("/confirm", format!("the words {CONFIRMATION} are wanted")));
    }
    require_step_up(&caller)?;
    let session = caller.session()?.id;
    let vault = OpenVault::open(&gateway, gateway.metadata.view(), caller.vault).await?;
    let details = serde_json::to_vec(&Details::new(caller.address, None)).map_err(Problem::internal)?;
    let trail = trail::of_caller(&gateway, &caller, &vault, None)?;
    let command = ClosingCommand::Close { account: caller.account, vault: caller.vault, session, trail: Box::new(trail.clone()) };
    let outcome = gateway.propose(Command::Closing(Box::new(command))).await?;
    let Outcome::Closing(ClosingOutcome::Closed { log_index, at_ms, documents, bytes, sessions, services }) = outcome else {
        return Err(Problem::internal("unexpected answer about the end of a vault"));
    };
    gateway.keys.forget(caller.vault);
    gateway.search.forget(caller.vault);
    let event = Event { kind: EventKind::Closed, vault: Some(caller.vault), document: None, trail };
    let opening = HistoryEntry { index: log_index, at_ms, event }.opening(&details);
    Ok(Json(Receipt {
        closed_at: rfc3339(at_ms),
        vault_id: caller.vault.to_string(),
        documents,
        bytes,
        sessions_ended: sessions,
        services_ended: services,
        remains: REMAINS.into(),
        log_index,
        opening: opening.to_string(),
    }))
}
