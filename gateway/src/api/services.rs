//! `/v1/services`: programs that act in the caller's vault with a credential of their own.
//!
//! Owns: their list, making, rotation and end. Not: what a scope opens ([`super::access`]).
//! Holds: (1) a secret is in one answer, once, and nowhere else; (2) a service is made and rotated only by a person who
//! just proved who they are, for it outlives the session; (3) a deleted service, or a secret that was rotated out, is
//! refused on every gateway from the moment that this answers.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use kluis_raft::{
    command::{Command, IdentityCommand, NewService as NewRecord},
    model::{Scope, Service, ServiceId},
    outcome::{IdentityOutcome, Outcome},
    view,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    caller::require_step_up,
    documents::{id, rfc3339},
    json,
    vault::OpenVault,
};
use crate::{
    auth::token::ServiceToken,
    problem::{Code, Problem, ProblemBody},
};

const DAY_MS: u64 = 24 * 3600 * 1000;
const DAYS_MAX: u64 = 366;
const OVERLAP_MAX_S: u64 = 7 * 24 * 3600;
const NAME_CHARS_MAX: usize = 100;

/// A service to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewService {
    /// What its owner calls it: 1 to 100 characters.
    pub name: String,
    /// What it may do: `documents:read`, `documents:write`, `shares:read`, `shares:write`.
    pub scopes: Vec<String>,
    /// Days until it ends, 1 to 366.
    pub days: u64,
}

/// How a secret is exchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Seconds that the old secret is good beside the new one, 0 to 604800.
    pub overlap_seconds: u64,
}

/// A service.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServiceView {
    /// Opaque id.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// What it may do.
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<&'static str>,
    /// When it was made.
    pub created_at: String,
    /// When it ends.
    pub expires_at: String,
    /// Secrets that are good now: two while one takes the other's place.
    pub secrets: usize,
}

/// The services of a vault.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServiceList {
    /// The services, oldest first.
    pub services: Vec<ServiceView>,
}

/// A service with its new secret.
#[derive(Serialize, ToSchema)]
pub struct ServiceWithSecret {
    /// The service.
    pub service: ServiceView,
    /// What it sends as `Authorization: Bearer`. Shown this once.
    pub secret: String,
}

fn shown(service: &Service, vault: &OpenVault, now_ms: u64) -> Result<ServiceView, Problem> {
    Ok(ServiceView {
        id: service.id.to_string(),
        name: vault.open_service_name(service.id, &service.name)?,
        scopes: service.scopes.iter().map(|scope| scope.as_str()).collect(),
        created_at: rfc3339(service.created_ms),
        expires_at: rfc3339(service.expires_ms),
        secrets: service.secrets.iter().filter(|secret| secret.expires_ms > now_ms).count(),
    })
}

/// What people may let a program do for them. To report deaths is no part of anybody's own rights.
const OWN: [Scope; 4] = [Scope::DocumentsRead, Scope::DocumentsWrite, Scope::SharesRead, Scope::SharesWrite];

/// The scopes of these names: sorted, each once, not none.
///
/// # Errors
/// 400.
pub fn scopes(names: &[String]) -> Result<Vec<Scope>, Problem> {
    let known = || OWN.map(Scope::as_str).join(", ");
    let bad = |why: String| Problem::new(Code::BadJson, "the body is not the JSON that is wanted").with_error("/scopes", why);
    let mut scopes = Vec::new();
    for name in names {
        let scope = Scope::parse(name).filter(|scope| OWN.contains(scope)).ok_or_else(|| bad(format!("known scopes: {}", known())))?;
        if scopes.contains(&scope) {
            return Err(bad("a scope is given twice".to_owned()));
        }
        scopes.push(scope);
    }
    scopes.sort_unstable();
    if scopes.is_empty() { Err(bad(format!("at least one of: {}", known()))) } else { Ok(scopes) }
}

fn in_range(pointer: &str, value: u64, range: std::ops::RangeInclusive<u64>) -> Result<u64, Problem> {
    if range.contains(&value) {
        return Ok(value);
    }
    let why = format!("a number from {} to {} is wanted", range.start(), range.end());
    Err(Problem::new(Code::BadJson, "the body is not the JSON that is wanted").with_error(pointer, why))
}

/// Makes a service. Needs a step-up.
#[utoipa::path(
    post, path = "/v1/services", tag = "services", security(("bearer" = [])),
    request_body(content = NewService, content_type = "application/json"),
    responses(
        (status = 201, body = ServiceWithSecret),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(State(gateway): State<Arc<Gateway>>, caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let new: NewService = json::body(&gateway, &headers, body).await?;
    let scopes = scopes(&new.scopes)?;
    let days = in_range("/days", new.days, 1..=DAYS_MAX)?;
    let chars = new.name.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&chars) || new.name.chars().any(char::is_control) {
        let problem = Problem::new(Code::BadJson, "the body is not the JSON that is wanted");
        return Err(problem.with_error("/name", "1 to 100 characters, none of them a control character"));
    }
    require_step_up(&caller)?;
    let vault = OpenVault::open(&gateway, gateway.metadata.view(), caller.vault).await?;
    let id = ServiceId::new(gateway.clock.now_ms(), gateway.random());
    let token = ServiceToken::generate(&*gateway.entropy);
    let record = NewRecord {
        id,
        vault: caller.vault,
        account: caller.account,
        name: vault.seal_service_name(id, &new.name)?,
        scopes,
        secret: token.secret_hash(),
        lifetime_ms: days * DAY_MS,
    };
    let service = changed(&gateway, IdentityCommand::CreateService(record)).await?;
    let service = shown(&service, &vault, gateway.clock.now_ms())?;
    Ok((StatusCode::CREATED, Json(ServiceWithSecret { service, secret: token.to_text().to_string() })).into_response())
}

/// The services that act in the caller's vault.
#[utoipa::path(
    get, path = "/v1/services", tag = "services", security(("bearer" = [])),
    responses(
        (status = 200, body = ServiceList),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Json<ServiceList>, Problem> {
    let (read, now_ms) = (gateway.metadata.view(), gateway.clock.now_ms());
    let found = view::services(&*read, caller.vault)?;
    let vault = OpenVault::open(&gateway, read, caller.vault).await?;
    let alive = found.iter().filter(|service| service.expires_ms > now_ms);
    Ok(Json(ServiceList { services: alive.map(|service| shown(service, &vault, now_ms)).collect::<Result<_, _>>()? }))
}

/// Gives a service a new secret. Needs a step-up.
#[utoipa::path(
    post, path = "/v1/services/{id}/rotate", tag = "services", security(("bearer" = [])),
    params(("id" = String, Path, description = "The service's id.")),
    request_body(content = Rotation, content_type = "application/json"),
    responses(
        (status = 200, body = ServiceWithSecret),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn rotate(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(service): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ServiceWithSecret>, Problem> {
    let service: ServiceId = id(&service)?;
    let rotation: Rotation = json::body(&gateway, &headers, body).await?;
    let overlap_s = in_range("/overlap_seconds", rotation.overlap_seconds, 0..=OVERLAP_MAX_S)?;
    require_step_up(&caller)?;
    let token = ServiceToken::generate(&*gateway.entropy);
    let command =
        IdentityCommand::RotateService { vault: caller.vault, service, secret: token.secret_hash(), overlap_ms: overlap_s * 1000 };
    let service = changed(&gateway, command).await?;
    let vault = OpenVault::open(&gateway, gateway.metadata.view(), caller.vault).await?;
    let service = shown(&service, &vault, gateway.clock.now_ms())?;
    Ok(Json(ServiceWithSecret { service, secret: token.to_text().to_string() }))
}

/// Ends a service.
#[utoipa::path(
    delete, path = "/v1/services/{id}", tag = "services", security(("bearer" = [])),
    params(("id" = String, Path, description = "The service's id.")),
    responses(
        (status = 204, description = "Ended, everywhere."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(service): Path<String>) -> Result<StatusCode, Problem> {
    let command = IdentityCommand::DeleteService { vault: caller.vault, service: id(&service)? };
    gateway.propose(Command::Identity(Box::new(command))).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn changed(gateway: &Gateway, command: IdentityCommand) -> Result<Service, Problem> {
    match gateway.propose(Command::Identity(Box::new(command))).await? {
        Outcome::Identity(IdentityOutcome::Service(service)) => Ok(*service),
        other => Err(Problem::internal(format!("unexpected answer about a service: {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_a_closed_list() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(scopes(&names(&["documents:write", "documents:read"])).unwrap(), [Scope::DocumentsRead, Scope::DocumentsWrite]);
        for bad in [&[][..], &["documents:*"], &["documents:read", "documents:read"], &["sessions:write"], &["deaths:report"], &[""]] {
            assert_eq!(scopes(&names(bad)).unwrap_err().errors[0].pointer, "/scopes", "{bad:?}");
        }
    }
}
