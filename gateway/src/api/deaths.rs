//! `/v1/deaths`: a death is reported, or turns out to be wrong.
//!
//! Owns: who may report, and by what the person is named. Not: what opens then ([`kluis_raft::apply::sharing`]).
//! Holds: only a notary, or a service with `deaths:report`, which nobody can make for themselves, reports; a national number is in request bodies alone.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use kluis_raft::{
    command::SharingCommand,
    model::{AccountId, Role},
    outcome::SharingOutcome,
    view,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    attributes::bad_member,
    caller::Credential,
    documents::{id, rfc3339},
    json,
    shares::{propose, unexpected},
    trail,
};
use crate::{
    auth::national_number::NationalNumber,
    problem::{Code, Problem, ProblemBody},
};

/// Whose death is reported: by one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDeath {
    /// The account's id.
    account: Option<String>,
    /// The national number.
    national_number: Option<String>,
}

/// A death, as far as this service was told.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeathView {
    /// Its id: the account's.
    pub id: String,
    /// Whether it stands, or was reversed.
    pub confirmed: bool,
    /// When that was said.
    pub at: String,
}

/// Services got here by their scope; people only as notaries.
fn may_report(gateway: &Gateway, caller: &Caller) -> Result<(), Problem> {
    match &caller.credential {
        Credential::Service { .. } => Ok(()),
        Credential::Session(_) => {
            let account = view::account(&*gateway.metadata.view(), caller.account)?;
            let is_notary = account.is_some_and(|account| account.roles.contains(&Role::Notary));
            if is_notary { Ok(()) } else { Err(Problem::plain(Code::Role)) }
        }
    }
}

async fn tell(gateway: &Gateway, caller: &Caller, account: AccountId, act: SharingCommand) -> Result<DeathView, Problem> {
    match propose(gateway, act, trail::bare(gateway, caller), Code::DocumentGone).await? {
        SharingOutcome::Death { death, .. } => {
            Ok(DeathView { id: account.to_string(), confirmed: death.confirmed, at: rfc3339(death.at_ms) })
        }
        other => Err(unexpected(&other)),
    }
}

/// Reports a death: what was shared for it opens.
#[utoipa::path(
    post, path = "/v1/deaths", tag = "deaths", security(("bearer" = [])),
    request_body(content = NewDeath, content_type = "application/json"),
    responses(
        (status = 201, body = DeathView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(State(gateway): State<Arc<Gateway>>, caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    may_report(&gateway, &caller)?;
    let new: NewDeath = json::body(&gateway, &headers, body).await?;
    let account = match (&new.account, &new.national_number) {
        (Some(account), None) => id(account)?,
        (None, Some(number)) => {
            let number: NationalNumber = number.parse().map_err(|_| bad_member("national_number", "a national number is wanted"))?;
            let lookup = number.lookup_hash(&gateway.lookup);
            let found = view::account_of(&*gateway.metadata.view(), &lookup)?;
            found.ok_or_else(|| Problem::plain(Code::NotFound))?.id
        }
        _ => return Err(bad_member("account", "give either `account` or `national_number`")),
    };
    let death = tell(&gateway, &caller, account, SharingCommand::ConfirmDeath { account }).await?;
    Ok((StatusCode::CREATED, Json(death)).into_response())
}

/// Takes back a report that was wrong: what it opened is hidden again, in force at once.
#[utoipa::path(
    post, path = "/v1/deaths/{id}/reverse", tag = "deaths", security(("bearer" = [])),
    params(("id" = String, Path, description = "The death's id.")),
    responses(
        (status = 200, body = DeathView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn reverse(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(death): Path<String>) -> Result<Json<DeathView>, Problem> {
    may_report(&gateway, &caller)?;
    let account: AccountId = id(&death)?;
    Ok(Json(tell(&gateway, &caller, account, SharingCommand::ReverseDeath { account }).await?))
}
