//! `/livez`, `/readyz`, `/metrics`: for supervisors, load balancers and Prometheus.
//!
//! Owns: their text. Not: the checks themselves ([`super::Health`]).
//! Holds: (1) `livez` never asks another node; (2) strangers learn the names of checks and whether they
//! hold, and nothing else.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Check, Gateway, params::Params};
use crate::problem::{Code, Problem};

/// One check.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
}

/// All checks.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// Whether all hold.
    pub ready: bool,
    /// Each by its name; only with `verbose`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckView>,
}

/// Whether the process turns.
#[utoipa::path(get, path = "/livez", tag = "operations", responses((status = 200, description = "It does."), (status = 503, description = "It does not.")))]
pub async fn live(State(gateway): State<Arc<Gateway>>) -> Response {
    if gateway.health.live() { "ok\n".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, "stalled\n").into_response() }
}

/// Whether this gateway can serve.
#[utoipa::path(
    get, path = "/readyz", tag = "operations",
    params(
        ("verbose" = Option<String>, Query, description = "Lists the checks."),
        ("exclude" = Option<String>, Query, description = "Names of checks to leave out, separated by commas."),
    ),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
pub async fn ready(State(gateway): State<Arc<Gateway>>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["verbose", "exclude"])?;
    let excluded: Vec<&str> = params.value("exclude").unwrap_or_default().split(',').collect();
    let checks: Vec<Check> = gateway.health.checks().await.into_iter().filter(|c| !excluded.contains(&c.name)).collect();
    Ok(readiness(&checks, params.value("verbose").is_some()))
}

/// One check of readiness.
#[utoipa::path(
    get, path = "/readyz/{check}", tag = "operations",
    params(("check" = String, Path, description = "Its name.")),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness), (status = 404, description = "There is no such check."))
)]
pub async fn ready_one(State(gateway): State<Arc<Gateway>>, Path(name): Path<String>) -> Result<Response, Problem> {
    let checks: Vec<Check> = gateway.health.checks().await.into_iter().filter(|c| c.name == name).collect();
    if checks.is_empty() {
        return Err(Problem::plain(Code::NotFound));
    }
    Ok(readiness(&checks, true))
}

fn readiness(checks: &[Check], verbose: bool) -> Response {
    for check in checks.iter().filter(|c| !c.ok) {
        tracing::warn!(check = check.name, detail = %check.detail, "not ready");
    }
    let ready = checks.iter().all(|c| c.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let checks = if verbose { checks.iter().map(|c| CheckView { name: c.name, ok: c.ok }).collect() } else { Vec::new() };
    (status, Json(Readiness { ready, checks })).into_response()
}

/// Metrics in Prometheus' text form.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, description = "Metrics.", content_type = "text/plain")))]
pub async fn metrics(State(gateway): State<Arc<Gateway>>) -> Result<Response, Problem> {
    let text = gateway.telemetry.render().map_err(Problem::internal)?;
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}
