//! `/v1/auth`: the ways to sign in, and the two ends of each: an identity provider's, and the identity card's.
//!
//! Owns: the way out, the return, and the session that comes of it or is raised by it. Not: OpenID Connect and Web eID
//! themselves ([`crate::auth::oidc`], [`crate::auth::webeid`]).
//! Holds: (1) a sign-in is completed once, in the browser that began it; (2) the token is in the answer or in
//! the cookie, never in an address; (3) profile and keys of a new person are made here and sealed before they
//! go into metadata.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{FromRequestParts, Path, RawQuery, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use kluis_raft::{
    command::{AccountSeed, Command, IdentityCommand, SessionFacts},
    model::{AccountId, Actor, Sealed, SessionId, VaultId},
    outcome::{IdentityOutcome, Outcome},
    view,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{
    Caller, Gateway,
    caller::{COOKIE, Peer, cookie},
    documents::{header_value, rfc3339},
    json,
    me::Profile,
    params::Params,
    trail::{Details, trail},
    vault::{DEVICE, OpenVault, PROFILE},
};
use crate::{
    auth::{
        device::Device,
        national_number::Birth,
        oidc::{CLEAR_LOGIN_COOKIE, CallbackQuery, Identity, LOGIN_COOKIE},
        token::BearerToken,
        webeid::WAY,
    },
    keys::{VaultKey, vault_key::seal_text},
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
    /// Whether the person signed in before, but never with such a device.
    pub new_device: bool,
}

/// A session that was raised.
#[derive(Serialize, ToSchema)]
pub struct SteppedUp {
    /// Until when it may do what cannot be undone.
    pub stepped_up_until: String,
}

/// A way to sign in.
#[derive(Serialize, ToSchema)]
pub struct Way {
    /// Its name in addresses.
    pub name: String,
    /// `oidc`: the browser goes to `start` (GET). `web-eid`: the page has a card sign what `start` (POST) gives.
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// Where it begins.
    pub start: String,
}

/// The ways to sign in. There are no others.
#[derive(Serialize, ToSchema)]
pub struct Ways {
    /// The ways.
    pub ways: Vec<Way>,
}

/// Where a step-up goes on.
#[derive(Serialize, ToSchema)]
pub struct StepUpStart {
    /// The identity provider's page, to which the browser goes.
    pub location: String,
}

/// What a card is to sign.
#[derive(Serialize, ToSchema)]
pub struct EidChallenge {
    /// The challenge, for the Web eID library.
    pub nonce: String,
    /// To be sent back with the card's token.
    pub state: String,
    /// When it is too late.
    pub expires_at: String,
}

/// What a card signed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EidAnswer {
    /// The `state` of the challenge.
    pub state: String,
    /// The token, as the Web eID library gives it.
    #[schema(value_type = Object)]
    pub token: serde_json::Map<String, serde_json::Value>,
}

/// Device and address of a session, as they are sealed.
#[derive(Debug, Serialize, Deserialize)]
pub struct SealedDevice {
    /// In a few words.
    pub label: String,
    /// Network address.
    pub address: Option<String>,
}

impl Default for SealedDevice {
    fn default() -> Self {
        Self { label: Device::default().label(), address: None }
    }
}

impl SealedDevice {
    fn new(device: &Device) -> Self {
        Self { label: device.label(), address: device.address.map(|address| address.to_string()) }
    }

    /// From what was sealed.
    ///
    /// # Errors
    /// 500 when it is damaged.
    pub fn open(plain: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(plain).map_err(|_| Problem::internal("a session's device is damaged"))
    }
}

fn device(headers: &HeaderMap, peer: Option<Peer>) -> Device {
    Device::new(headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()), peer.map(|peer| peer.0))
}

/// The ways to sign in: all that there are.
#[utoipa::path(
    get, path = "/v1/auth", tag = "sign-in",
    responses(
        (status = 200, body = Ways),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn ways(State(gateway): State<Arc<Gateway>>) -> Json<Ways> {
    let way = |name: &str, kind| Way { name: name.to_owned(), kind, start: format!("/v1/auth/{name}/start") };
    let providers = gateway.sign_in.providers().iter().map(|provider| way(provider.name(), "oidc"));
    Json(Ways { ways: providers.chain(gateway.sign_in.card().map(|_| way(WAY, "web-eid"))).collect() })
}

/// Begins a step-up of the session that asks: a fresh sign-in of the same person at an identity provider raises it, and
/// it keeps its token. With `Accept: application/json`, the return answers in JSON.
#[utoipa::path(
    post, path = "/v1/auth/{provider}/start", tag = "sign-in", security(("bearer" = [])),
    params(("provider" = String, Path, description = "The identity provider's name.")),
    responses(
        (status = 200, body = StepUpStart, description = "Where the browser goes, with a cookie that binds the step-up to it."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn step_up(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(provider): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let party = gateway.sign_in.provider(&provider).ok_or_else(|| Problem::plain(Code::NotFound))?;
    let session = &caller.session()?.id;
    let start = party.start_step_up(gateway.clock.now_ms(), &*gateway.entropy, wants_json(&headers), session).await?;
    let mut response = Json(StepUpStart { location: start.location.to_string() }).into_response();
    response.headers_mut().insert(header::SET_COOKIE, header_value(&start.set_cookie)?);
    Ok(response)
}

/// Begins a sign-in with an identity card, or a step-up of the session that asks.
#[utoipa::path(
    post, path = "/v1/auth/eid/start", tag = "sign-in", security((), ("bearer" = [])),
    params(("step_up" = Option<bool>, Query, description = "Whether the session that asks is raised. No other one begins then.")),
    responses(
        (status = 200, body = EidChallenge, description = "What the card is to sign, with a cookie that binds it to this browser."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn start_eid(State(gateway): State<Arc<Gateway>>, request: Request) -> Result<Response, Problem> {
    let card = gateway.sign_in.card().ok_or_else(|| Problem::plain(Code::NotFound))?;
    let (mut parts, _) = request.into_parts();
    let params = Params::parse(parts.uri.query(), &["step_up"])?;
    let caller = match params.value("step_up") {
        None | Some("false") => None,
        Some("true") => Some(Caller::from_request_parts(&mut parts, &gateway).await?),
        Some(_) => return Err(Problem::new(Code::BadParameter, "step_up: true or false is wanted")),
    };
    let session = caller.as_ref().map(Caller::session).transpose()?.map(|session| &session.id);
    let challenge = card.start(gateway.clock.now_ms(), &*gateway.entropy, wants_json(&parts.headers), session)?;
    let body = EidChallenge { nonce: challenge.nonce, state: challenge.state, expires_at: rfc3339(challenge.expires_ms) };
    let mut response = Json(body).into_response();
    response.headers_mut().insert(header::SET_COOKIE, header_value(&challenge.set_cookie)?);
    Ok(response)
}

/// Ends a sign-in or step-up with an identity card.
#[utoipa::path(
    post, path = "/v1/auth/eid/callback", tag = "sign-in",
    request_body(content = EidAnswer, content_type = "application/json"),
    responses(
        (status = 200, body = SignedIn, description = "When the start asked for JSON; after a step-up, when the session is raised until."),
        (status = 303, description = "To the first page, with the session's cookie."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn finish_eid(
    State(gateway): State<Arc<Gateway>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let card = gateway.sign_in.card().ok_or_else(|| Problem::plain(Code::NotFound))?;
    let answer: EidAnswer = json::body(&gateway, &headers, body).await?;
    let identity = card.finish(gateway.clock.now_ms(), &answer.state, &answer.token, cookie(&headers, LOGIN_COOKIE)).await?;
    finished(&gateway, &identity, &device(&headers, peer.map(|peer| peer.0))).await
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
    finished(&gateway, &identity, &device(&headers, peer.map(|peer| peer.0))).await
}

/// The end that all ways share: a session begins, or is raised.
async fn finished(gateway: &Gateway, identity: &Identity, device: &Device) -> Result<Response, Problem> {
    let mut response = match &identity.step_up {
        Some(session) => raised(gateway, identity, session).await?,
        None => begun(gateway, identity, device).await?,
    };
    response.headers_mut().append(header::SET_COOKIE, header_value(CLEAR_LOGIN_COOKIE)?);
    Ok(response)
}

async fn raised(gateway: &Gateway, identity: &Identity, session: &SessionId) -> Result<Response, Problem> {
    let command = IdentityCommand::StepUp {
        session: *session,
        lookup: identity.number.lookup_hash(&gateway.lookup),
        attempt: identity.attempt,
        assurance: identity.assurance,
    };
    let until_ms = match gateway.propose(Command::Identity(Box::new(command))).await? {
        Outcome::Identity(IdentityOutcome::SteppedUp { until_ms }) => until_ms,
        other => return Err(Problem::internal(format!("unexpected answer to StepUp: {other:?}"))),
    };
    if identity.return_json {
        return Ok(Json(SteppedUp { stepped_up_until: rfc3339(until_ms) }).into_response());
    }
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, header_value("/")?);
    Ok(response)
}

async fn begun(gateway: &Gateway, identity: &Identity, device: &Device) -> Result<Response, Problem> {
    let Begun { token, account, expires_ms, new_device } = sign_in(gateway, identity, device).await?;
    let text = token.to_text();
    if identity.return_json {
        let (token, account, expires_at) = (text.to_string(), account.to_string(), rfc3339(expires_ms));
        Ok(Json(SignedIn { token, token_type: "Bearer", expires_at, account, new_device }).into_response())
    } else {
        let mut response = StatusCode::SEE_OTHER.into_response();
        response.headers_mut().insert(header::LOCATION, header_value("/")?);
        let max_age_s = expires_ms.saturating_sub(gateway.clock.now_ms()) / 1000;
        let cookie = format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={max_age_s}", *text);
        response.headers_mut().append(header::SET_COOKIE, header_value(&cookie)?);
        Ok(response)
    }
}

/// The cookie that makes a browser forget the session.
pub fn cleared_cookie() -> String {
    format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0")
}

/// A session that began, and whether the person is to be told of it.
#[derive(Debug)]
pub struct Begun {
    /// Its token.
    pub token: BearerToken,
    /// Whose it is.
    pub account: AccountId,
    /// When it ends.
    pub expires_ms: u64,
    /// Whether the person signed in before, but never with such a device: whoever sends notices asks this.
    pub new_device: bool,
}

/// Whether somebody reached an age; parts of a birth date that nobody knows count as the latest that they can be.
fn is_of_age(birth: Birth, now_ms: u64, years: u8) -> bool {
    let today = i64::try_from(now_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let today = today.to_zoned(jiff::tz::TimeZone::UTC).date();
    let (month, day) = (if birth.month == 0 { 12 } else { birth.month }, if birth.day == 0 { 31 } else { birth.day });
    let now = (i32::from(today.year()), i32::from(today.month()), i32::from(today.day()));
    now >= (i32::from(birth.year) + i32::from(years), i32::from(month), i32::from(day))
}

/// Seals device and address for the vault that the session will be of: the known person's, or the new one.
async fn sealed_device(
    gateway: &Gateway,
    lookup: &[u8; 32],
    new: (VaultId, &VaultKey),
    public_id: u128,
    device: &Device,
) -> Result<(VaultId, Sealed), Problem> {
    let plain = serde_json::to_vec(&SealedDevice::new(device)).map_err(Problem::internal)?;
    let read = gateway.current().await?;
    match view::account_of(&*read, lookup)? {
        Some(account) => {
            let vault = OpenVault::open(gateway, read, account.vault).await?;
            Ok((account.vault, vault.seal_device(public_id, &plain)?))
        }
        None => Ok((new.0, seal_text(new.1, DEVICE, &public_id.to_be_bytes(), &plain)?)),
    }
}

/// What a device is recognised by: keyed, and another for each person.
fn device_hash(gateway: &Gateway, lookup: &[u8; 32], device: &Device) -> [u8; 16] {
    let hash = gateway.lookup.hash(&[&b"kluis device v1"[..], lookup.as_slice(), device.label().as_bytes()].concat());
    let mut out = [0; 16];
    out.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    out
}

/// Begins a session for a proved identity; a new person gets account, vault and keys.
///
/// # Errors
/// 401 `login_replayed` when the sign-in was completed before; 403 `underage`; 503.
pub async fn sign_in(gateway: &Gateway, identity: &Identity, device: &Device) -> Result<Begun, Problem> {
    let now_ms = gateway.clock.now_ms();
    if !is_of_age(identity.number.birth(), now_ms, gateway.sign_in.minimum_age_years()) {
        return Err(Problem::plain(Code::Underage));
    }
    let lookup = identity.number.lookup_hash(&gateway.lookup);
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
    let read = gateway.current().await?;
    let details = Details::new(device.address, None);
    let (trail, sealed_for) = match view::account_of(&*read, &lookup)? {
        Some(known) => {
            let open = OpenVault::open(gateway, read, known.vault).await?;
            (trail(&*gateway.entropy, open.key(), Actor::Account(known.id), &details)?, known.vault)
        }
        None => (trail(&*gateway.entropy, &key, Actor::Account(account), &details)?, vault),
    };
    let token = BearerToken::generate(&*gateway.entropy);
    let session_public_id = gateway.random();
    let facts = SessionFacts {
        assurance: identity.assurance,
        way: identity.way.clone(),
        device: Some(sealed_device(gateway, &lookup, (vault, &*key), session_public_id, device).await?),
        device_hash: device_hash(gateway, &lookup, device),
    };
    let outcome = gateway
        .propose(Command::SignIn {
            lookup,
            attempt: identity.attempt,
            seed: Box::new(seed),
            session: token.session_id(),
            session_public_id,
            lifetime_ms: gateway.limits().session_lifetime_ms,
            acr: identity.acr.clone(),
            facts: Box::new(facts),
            trail: Box::new(trail),
            sealed_for,
        })
        .await?;
    match outcome {
        Outcome::SignedIn { account, expires_ms, new_device, .. } => Ok(Begun { token, account: account.id, expires_ms, new_device }),
        other => Err(Problem::internal(format!("unexpected answer to SignIn: {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_of_age_from_their_birthday_on() {
        let ms = |text: &str| u64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap();
        let birth = Birth { year: 2008, month: 5, day: 17 };
        assert!(!is_of_age(birth, ms("2026-05-16T23:59:59Z"), 18) && is_of_age(birth, ms("2026-05-17T00:00:00Z"), 18));
        let year_only = Birth { year: 2008, month: 0, day: 0 };
        assert!(!is_of_age(year_only, ms("2026-12-30T00:00:00Z"), 18) && is_of_age(year_only, ms("2026-12-31T00:00:00Z"), 18));
        assert!(is_of_age(Birth { year: 2025, month: 1, day: 1 }, ms("2026-01-01T00:00:00Z"), 0));
    }
}
