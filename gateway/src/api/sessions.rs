//! `/v1/sessions`: the signed-in devices of a person.
//!
//! Owns: their list and their end. Holds: an ended session is refused on every gateway from the moment that
//! this answers, for each request looks sessions up through the majority.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use kluis_raft::{
    command::{Command, IdentityCommand},
    model::Session,
    view,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    auth::{SealedDevice, cleared_cookie},
    documents::{header_value, rfc3339},
    trail,
    vault::OpenVault,
};
use crate::problem::{Code, Problem, ProblemBody};

/// A signed-in device.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionView {
    /// Opaque id; says nothing about the token.
    pub id: String,
    /// Whether it is the one that asks.
    pub current: bool,
    /// When it began.
    pub created_at: String,
    /// When it ends at the latest.
    pub expires_at: String,
    /// Assurance level that the identity provider stated.
    pub acr: String,
    /// How the person signed in: the name of the way, as `/v1/auth` lists them.
    pub way: String,
    /// The device, as it calls itself.
    pub device: String,
    /// Network address at the sign-in; `null` when it is not known.
    pub address: Option<String>,
    /// When it was used last, to within an hour.
    pub last_seen_at: String,
    /// Until when it may do what cannot be undone; `null` when it may not.
    pub stepped_up_until: Option<String>,
}

/// The signed-in devices.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionList {
    /// The sessions.
    pub sessions: Vec<SessionView>,
}

/// A session as JSON shows it.
///
/// # Errors
/// 503 when its device does not open.
pub fn shown(session: &Session, current: &Session, vault: &OpenVault) -> Result<SessionView, Problem> {
    let device = match session.device.0.is_empty() {
        true => SealedDevice::default(),
        false => SealedDevice::open(&vault.open_device(session.public_id, &session.device)?)?,
    };
    let until = session.stepped_up_ms.saturating_add(Session::STEP_UP_MS);
    Ok(SessionView {
        id: format!("{:032x}", session.public_id),
        current: session.public_id == current.public_id,
        created_at: rfc3339(session.created_ms),
        expires_at: rfc3339(session.expires_ms),
        acr: session.acr.clone(),
        way: session.way.clone(),
        device: device.label,
        address: device.address,
        last_seen_at: rfc3339(session.last_seen_ms),
        stepped_up_until: (session.stepped_up_ms > 0).then(|| rfc3339(until)),
    })
}

/// The caller's sessions.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "sign-in", security(("bearer" = [])),
    responses(
        (status = 200, body = SessionList),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Json<SessionList>, Problem> {
    let (current, now_ms, read) = (caller.session()?, gateway.clock.now_ms(), gateway.metadata.view());
    let found = view::sessions(&*read, caller.account)?;
    let vault = OpenVault::open(&gateway, read, caller.vault).await?;
    let alive = found.iter().filter(|s| s.expires_ms > now_ms);
    Ok(Json(SessionList { sessions: alive.map(|s| shown(s, current, &vault)).collect::<Result<_, _>>()? }))
}

/// Ends all sessions of the caller but the one that asks.
#[utoipa::path(
    delete, path = "/v1/sessions", tag = "sign-in", security(("bearer" = [])),
    responses(
        (status = 204, description = "Ended, everywhere."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn end_others(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<StatusCode, Problem> {
    let command = IdentityCommand::EndOtherSessions { account: caller.account, keep: caller.session()?.public_id };
    gateway.propose(Command::Identity(Box::new(command))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a session; `current` is the one that asks.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "sign-in", security(("bearer" = [])),
    params(("id" = String, Path, description = "The session's id, or `current`.")),
    responses(
        (status = 204, description = "Ended, everywhere."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn end(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let public_id = if id == "current" {
        caller.session()?.public_id
    } else if id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        u128::from_str_radix(&id, 16).map_err(|_| Problem::plain(Code::NotFound))?
    } else {
        return Err(Problem::plain(Code::NotFound));
    };
    let trail = match OpenVault::open(&gateway, gateway.metadata.view(), caller.vault).await {
        Ok(vault) => Box::new(trail::of_caller(&gateway, &caller, &vault, None)?),
        // A session can be ended also while the keys are out of reach.
        Err(_) => Box::new(trail::bare(&gateway, &caller)),
    };
    gateway.propose(Command::EndSession { account: caller.account, public_id, trail }).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if public_id == caller.session()?.public_id {
        response.headers_mut().insert(header::SET_COOKIE, header_value(&cleared_cookie())?);
    }
    Ok(response)
}
