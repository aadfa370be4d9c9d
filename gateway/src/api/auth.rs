//! `/v1/auth`: the two ends of a sign-in with an identity provider.
//!
//! Owns: the redirect out, the return, and the session that comes of it. Not: OpenID Connect itself
//! ([`crate::auth::oidc`]).
//! Holds: (1) a sign-in is completed once, in the browser that began it; (2) the token is in the answer or in
//! the cookie, never in an address; (3) profile and keys of a new person are made here and sealed before they
//! go into metadata.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use kluis_raft::{
    command::{AccountSeed, Command},
    model::{AccountId, Actor, VaultId},
    outcome::Outcome,
    view,
};
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{
    Gateway,
    caller::{COOKIE, Peer, cookie},
    documents::{header_value, rfc3339},
    me::Profile,
    params::Params,
    trail::{Details, trail},
    vault::{OpenVault, PROFILE},
};
use crate::{
    auth::{
        oidc::{CLEAR_LOGIN_COOKIE, CallbackQuery, Identity, LOGIN_COOKIE},
        token::BearerToken,
    },
    keys::vault_key::seal_text,
    problem::{Code, Problem, ProblemBody},
};

/// A session that began.
#[derive(Serialize, ToSchema)]
pub struct SignedIn {
    /// What to send as `Authorization: Bearer`.
    pub token: String,
    /// Always `Bearer`.
    #[schema(value_type = String)]
    pub token_type: &'static str,
    /// When the session ends at the latest.
    pub expires_at: String,
    /// Opaque id of the account.
    pub account: String,
}

/// Goes to an identity provider. With `Accept: application/json`, the return gives the token as JSON.
#[utoipa::path(
    get, path = "/v1/auth/{provider}/start", tag = "sign-in",
    params(("provider" = String, Path, description = "The identity provider's name.")),
    responses(
        (status = 303, description = "To the identity provider, with a cookie that binds the sign-in to this browser."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn start(State(gateway): State<Arc<Gateway>>, Path(provider): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let party = gateway.sign_in.provider(&provider).ok_or_else(|| Problem::plain(Code::NotFound))?;
    let start = party.start(gateway.clock.now_ms(), &*gateway.entropy, wants_json(&headers)).await?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    let out = response.headers_mut();
    out.insert(header::LOCATION, header_value(start.location.as_str())?);
    out.insert(header::SET_COOKIE, header_value(&start.set_cookie)?);
    Ok(response)
}

/// Our public keys, for an identity provider.
#[utoipa::path(
    get, path = "/v1/auth/{provider}/jwks", tag = "sign-in",
    params(("provider" = String, Path, description = "The identity provider's name.")),
    responses(
        (status = 200, description = "A JWK set.", content_type = "application/json"),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn jwks(State(gateway): State<Arc<Gateway>>, Path(provider): Path<String>) -> Result<Json<serde_json::Value>, Problem> {
    let party = gateway.sign_in.provider(&provider).ok_or_else(|| Problem::plain(Code::NotFound))?;
    Ok(Json(party.public_jwks()))
}

fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|v| v.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case("application/json")))
}

/// Where the identity provider sends the browser back to.
#[utoipa::path(
    get, path = "/v1/auth/callback", tag = "sign-in",
    params(
        ("code" = Option<String>, Query, description = "From the identity provider."),
        ("state" = Option<String>, Query, description = "From the start of the sign-in."),
        ("iss" = Option<String>, Query, description = "The identity provider (RFC 9207)."),
        ("error" = Option<String>, Query, description = "Why the identity provider refused."),
    ),
    responses(
        (status = 200, body = SignedIn, description = "When the start asked for JSON."),
        (status = 303, description = "To the first page, with the session's cookie."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn callback(
    State(gateway): State<Arc<Gateway>>,
    peer: Option<Extension<Peer>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // Providers may add parameters of their own; only these are read.
    let known = ["code", "state", "iss", "error", "error_description", "error_uri", "session_state"];
    let params = Params::parse(query.as_deref(), &known)?;
    let value = |name: &str| params.value(name).map(str::to_owned);
    let query = CallbackQuery { code: value("code"), state: value("state"), iss: value("iss"), error: value("error") };
    let identity = gateway.sign_in.finish(gateway.clock.now_ms(), &query, cookie(&headers, LOGIN_COOKIE)).await?;
    let (token, account, expires_ms) = sign_in(&gateway, &identity, peer.map(|Extension(Peer(address))| address)).await?;
    let text = token.to_text();
    let mut response = if identity.return_json {
        let body =
            SignedIn { token: text.to_string(), token_type: "Bearer", expires_at: rfc3339(expires_ms), account: account.to_string() };
        Json(body).into_response()
    } else {
        let mut response = StatusCode::SEE_OTHER.into_response();
        response.headers_mut().insert(header::LOCATION, header_value("/")?);
        let max_age_s = expires_ms.saturating_sub(gateway.clock.now_ms()) / 1000;
        let cookie = format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={max_age_s}", *text);
        response.headers_mut().append(header::SET_COOKIE, header_value(&cookie)?);
        response
    };
    response.headers_mut().append(header::SET_COOKIE, header_value(CLEAR_LOGIN_COOKIE)?);
    Ok(response)
}

/// The cookie that makes a browser forget the session.
pub fn cleared_cookie() -> String {
    format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0")
}

/// Begins a session for a proved identity; a new person gets account, vault and keys.
///
/// # Errors
/// 401 `login_replayed` when the sign-in was completed before; 503.
pub async fn sign_in(gateway: &Gateway, identity: &Identity, from: Option<IpAddr>) -> Result<(BearerToken, AccountId, u64), Problem> {
    let now_ms = gateway.clock.now_ms();
    let account = AccountId::new(now_ms, gateway.random());
    let vault = VaultId::new(now_ms, gateway.random());
    let (key, keys) = gateway.keys.create_vault_key(vault).await?;
    let profile = Profile {
        name: identity.name.clone(),
        given_name: identity.given_name.clone(),
        family_name: identity.family_name.clone(),
        birthdate: identity.birthdate.clone(),
        national_number: identity.number.expose().to_owned(),
    };
    let plain = Zeroizing::new(serde_json::to_vec(&profile).map_err(Problem::internal)?);
    let seed = AccountSeed {
        account,
        vault,
        keys,
        profile: seal_text(&key, PROFILE, &account.to_bytes(), &plain)?,
        roles: identity.roles.clone(),
    };
    // A person who is known has a vault with a key of its own. Should somebody become known meanwhile, the details are
    // dropped, because nobody could open them.
    let lookup = identity.number.lookup_hash(&gateway.lookup);
    let read = gateway.current().await?;
    let details = Details::new(from, None);
    let (trail, sealed_for) = match view::account_of(&*read, &lookup)? {
        Some(known) => {
            let open = OpenVault::open(gateway, read, known.vault).await?;
            (trail(&*gateway.entropy, open.key(), Actor::Account(known.id), &details)?, known.vault)
        }
        None => (trail(&*gateway.entropy, &key, Actor::Account(account), &details)?, vault),
    };
    let token = BearerToken::generate(&*gateway.entropy);
    let outcome = gateway
        .propose(Command::SignIn {
            lookup,
            attempt: identity.attempt,
            seed: Box::new(seed),
            session: token.session_id(),
            session_public_id: gateway.random(),
            lifetime_ms: gateway.limits().session_lifetime_ms,
            acr: identity.acr.clone(),
            trail: Box::new(trail),
            sealed_for,
        })
        .await?;
    match outcome {
        Outcome::SignedIn { account, expires_ms, .. } => Ok((token, account.id, expires_ms)),
        other => Err(Problem::internal(format!("unexpected answer to SignIn: {other:?}"))),
    }
}
