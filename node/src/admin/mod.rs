//! The operators' listener of a node: health, metrics, joining, and operations.
//!
//! | path | who | what |
//! |---|---|---|
//! | `GET /livez` | anybody | 200 while the process turns; asks no other node |
//! | `GET /readyz`, `/readyz/{check}` | anybody | 200 when the named checks hold |
//! | `GET /metrics` | anybody | Prometheus' text form |
//! | `POST /join` | whoever holds a token | a new member ([`crate::join`]) |
//! | `GET /ops/status` | operators | [`ClusterStatus`](crate::status::ClusterStatus) |
//! | `POST /ops/tokens` | operators | a join token |
//! | `GET /ops/topology/plan`, `POST /ops/topology` | operators | [`topology`] |
//! | `POST /ops/vaults/{id}/limits` | operators | quota and strictness of a vault |
//! | `POST /ops/offices` | operators | a piece of the register of offices ([`offices`]) |
//!
//! Owns: these paths, and who may use them. Not: what they do (the modules beside).
//! Holds: an operator is who shows a certificate of the cluster's authority that names an operator;
//! a node's or nobody's certificate gets 403 under `/ops`.

pub mod observe;
pub mod offices;
pub mod serve;
pub mod topology;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Extension, Path, Request, State, rejection::JsonRejection},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use kluis_chunkstore::{
    env::Env,
    net::{Hub, identity::NodeName},
};
use kluis_gateway::{
    api::{Check, Gateway, Health},
    telemetry::Telemetry,
};
use kluis_raft::{
    client::{Metadata, MetadataError},
    command::{Command, NewNode},
    consensus::Consensus,
    outcome::{Outcome, Refusal},
    view,
};
use serde::Serialize;

use crate::{
    admin_client::ApplyTopology,
    ca::Authority,
    join::{self, JoinAnswer, JoinRequest},
    member::Card,
    options::{IssuedToken, TokenOptions},
    peers::Peers,
};

/// What the listener serves from.
pub struct Admin {
    /// The environment.
    pub env: Env,
    /// Who this node is.
    pub card: Card,
    /// Where this listener is.
    pub address: SocketAddr,
    /// Peers and disks.
    pub peers: Arc<Peers>,
    /// Connections.
    pub hub: Arc<Hub>,
    /// The metadata replica.
    pub consensus: Arc<Consensus>,
    /// The authority, on nodes that let others join.
    pub authority: Option<Authority>,
    /// Metrics.
    pub telemetry: Arc<Telemetry>,
    /// Checks.
    pub health: Arc<dyn Health>,
    /// The gateway of this node, once there is one.
    pub gateway: Arc<OnceLock<Arc<Gateway>>>,
}

/// The operator who asks, if it is one.
#[derive(Debug, Clone)]
pub struct Operator(pub Option<String>);

/// A refusal in the form of RFC 9457.
pub struct AdminProblem {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

impl AdminProblem {
    /// A refusal with a stable code.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into() }
    }
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
}

impl IntoResponse for AdminProblem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            r#type: format!("urn:kluis:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("refused"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
        };
        let mut response = (self.status, Json(&body)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

impl From<MetadataError> for AdminProblem {
    fn from(error: MetadataError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "metadata_unavailable", error.to_string())
    }
}

impl From<Refusal> for AdminProblem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Topology(_) => StatusCode::PRECONDITION_FAILED,
            Refusal::TokenUnknown | Refusal::TokenExpired | Refusal::TokenSite { .. } => StatusCode::FORBIDDEN,
            _ => StatusCode::CONFLICT,
        };
        Self::new(status, "refused", refusal.to_string())
    }
}

impl From<kluis_raft::store::StoreError> for AdminProblem {
    fn from(error: kluis_raft::store::StoreError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "metadata_store", error.to_string())
    }
}

impl From<JsonRejection> for AdminProblem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", rejection.body_text())
    }
}

/// The table of paths.
pub fn router(admin: Arc<Admin>) -> Router {
    let ops = Router::new()
        .route("/ops/status", get(status))
        .route("/ops/tokens", post(create_token))
        .route("/ops/topology/plan", get(plan_topology))
        .route("/ops/topology", post(apply_topology))
        .route("/ops/vaults/{id}/limits", post(set_vault_limits))
        .route("/ops/offices", post(offices::import))
        .layer(middleware::from_fn(only_operators));
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/readyz/{check}", get(ready_one))
        .route("/metrics", get(metrics))
        .route("/join", post(join_cluster))
        .merge(ops)
        .fallback(|| async { AdminProblem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing under this path") })
        .layer(DefaultBodyLimit::max(64 * 1024))
        .with_state(admin)
}

async fn only_operators(Extension(Operator(name)): Extension<Operator>, request: Request, next: Next) -> Response {
    match name {
        Some(name) => {
            if request.method() != http::Method::GET {
                tracing::info!(operator = %name.escape_default(), method = %request.method(), path = request.uri().path(), "operation");
            }
            next.run(request).await
        }
        None => AdminProblem::new(StatusCode::FORBIDDEN, "operator_required", "this needs an operator's certificate").into_response(),
    }
}

async fn live(State(admin): State<Arc<Admin>>) -> Response {
    if admin.health.live() { "ok\n".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, "stalled\n").into_response() }
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    checks: Vec<CheckView>,
}

#[derive(Serialize)]
struct CheckView {
    name: &'static str,
    ok: bool,
}

fn readiness(checks: &[Check]) -> Response {
    let ready = checks.iter().all(|c| c.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let checks = checks.iter().map(|c| CheckView { name: c.name, ok: c.ok }).collect();
    (status, Json(Readiness { ready, checks })).into_response()
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    readiness(&admin.health.checks().await)
}

async fn ready_one(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Response {
    let checks: Vec<Check> = admin.health.checks().await.into_iter().filter(|c| c.name == name).collect();
    if checks.is_empty() {
        return AdminProblem::new(StatusCode::NOT_FOUND, "not_found", "there is no such check").into_response();
    }
    readiness(&checks)
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Result<Response, AdminProblem> {
    let text = admin.telemetry.render().map_err(|e| AdminProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics", e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"))], text).into_response())
}

async fn status(State(admin): State<Arc<Admin>>) -> Result<Response, AdminProblem> {
    Ok(Json(observe::cluster_status(&admin).await?).into_response())
}

async fn create_token(
    State(admin): State<Arc<Admin>>,
    body: Result<Json<TokenOptions>, JsonRejection>,
) -> Result<Json<IssuedToken>, AdminProblem> {
    let Json(options) = body?;
    let authority = authority(&admin)?;
    let token = join::new_token(&admin.env, admin.address, &authority.certificate_pem, &options.site)
        .map_err(|e| AdminProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", e.to_string()))?;
    let command = Command::CreateJoinToken {
        hash: token.hash,
        site: options.site,
        roles: options.roles,
        lifetime_ms: options.lifetime_s.saturating_mul(1000),
    };
    match admin.consensus.propose(command).await? {
        Outcome::TokenCreated(made) => {
            let at = i64::try_from(made.expires_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX);
            Ok(Json(IssuedToken { token: token.text.to_string(), site: made.site, roles: made.roles, expires_at: at }))
        }
        Outcome::Refused(refusal) => Err(refusal.into()),
        other => Err(unexpected(&other)),
    }
}

fn authority(admin: &Admin) -> Result<&Authority, AdminProblem> {
    // 503, so that a client with several addresses goes on to the next node.
    admin.authority.as_ref().ok_or_else(|| {
        AdminProblem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_authority",
            "this node does not hold the authority's key; ask the node that began the cluster",
        )
    })
}

fn unexpected(outcome: &Outcome) -> AdminProblem {
    AdminProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", format!("unexpected answer of the metadata group: {outcome:?}"))
}

async fn join_cluster(
    State(admin): State<Arc<Admin>>,
    body: Result<Json<JoinRequest>, JsonRejection>,
) -> Result<Json<JoinAnswer>, AdminProblem> {
    let Json(request) = body?;
    let authority = authority(&admin)?;
    // Before the token is used up: a request that cannot be signed must not cost it.
    crate::ca::check_requests(&[&request.node_request, &request.http_request])
        .map_err(|e| AdminProblem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_request", e.to_string()))?;
    let hash = join::request_hash(&request.secret).ok_or_else(|| AdminProblem::from(Refusal::TokenUnknown))?;
    let node = NewNode {
        site: request.site.clone(),
        roles: Vec::new(),
        storage: request.storage,
        quic: request.quic,
        admin: request.admin,
        gateway: request.gateway,
    };
    let node = match admin.consensus.propose(Command::RedeemJoinToken { hash, node }).await? {
        Outcome::NodeAdded { node } => node,
        Outcome::Refused(refusal) => return Err(refusal.into()),
        other => return Err(unexpected(&other)),
    };
    admin.consensus.linearize().await?;
    let members = view::nodes(&*admin.consensus.view())?;
    let missing = || AdminProblem::new(StatusCode::SERVICE_UNAVAILABLE, "metadata_unavailable", "the new member is not seen yet");
    let record = members.iter().find(|m| m.id == node).ok_or_else(missing)?;
    let name = NodeName { node, site: record.site.clone(), cluster: admin.card.cluster_name.clone() };
    let refused = |e: crate::ca::AuthorityError| AdminProblem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_request", e.to_string());
    let node_certificate = authority.sign_node(&admin.env, &request.node_request, &name).map_err(refused)?;
    let addresses = join::listeners(record.admin, record.gateway);
    let http_certificate = authority.sign_listener(&admin.env, &request.http_request, &name, &addresses).map_err(refused)?;
    tracing::info!(%node, site = %record.site, "a node joined");
    Ok(Json(JoinAnswer {
        node,
        roles: record.roles.clone(),
        cluster: admin.card.cluster,
        cluster_name: admin.card.cluster_name.clone(),
        node_certificate,
        http_certificate,
        members,
    }))
}

async fn plan_topology(State(admin): State<Arc<Admin>>) -> Result<Response, AdminProblem> {
    Ok(Json(topology::plan(&admin).await?.0).into_response())
}

async fn apply_topology(
    State(admin): State<Arc<Admin>>,
    body: Result<Json<ApplyTopology>, JsonRejection>,
) -> Result<Response, AdminProblem> {
    let Json(wanted) = body?;
    Ok(Json(topology::apply(&admin, wanted.version).await?).into_response())
}

/// New limits of a vault; what is absent stays as it is.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultLimits {
    /// Most bytes of content; never below what is in use.
    pub quota_bytes: Option<u64>,
    /// Whether an upload is refused (503) rather than acknowledged with reduced redundancy.
    pub strict: Option<bool>,
}

/// A vault's limits as they are now.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub struct VaultLimitsNow {
    /// Most bytes of content.
    pub quota_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// See [`VaultLimits::strict`].
    pub strict: bool,
}

async fn set_vault_limits(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    body: Result<Json<VaultLimits>, JsonRejection>,
) -> Result<Json<VaultLimitsNow>, AdminProblem> {
    let Json(limits) = body?;
    let vault =
        id.parse().map_err(|e: kluis_chunkstore::ids::BadId| AdminProblem::new(StatusCode::BAD_REQUEST, "bad_request", e.to_string()))?;
    let command = Command::SetVaultLimits { vault, quota_bytes: limits.quota_bytes, strict: limits.strict };
    match admin.consensus.propose(command).await? {
        Outcome::Vault(vault) => {
            Ok(Json(VaultLimitsNow { quota_bytes: vault.quota_bytes, used_bytes: vault.used_bytes, strict: vault.strict }))
        }
        Outcome::Refused(Refusal::VaultUnknown) => Err(AdminProblem::new(StatusCode::NOT_FOUND, "not_found", "there is no such vault")),
        Outcome::Refused(refusal) => Err(refusal.into()),
        other => Err(unexpected(&other)),
    }
}
