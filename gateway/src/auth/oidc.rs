//! Signing in with an OpenID Connect provider: itsme's profile, and whatever else speaks the same.
//!
//! Code flow with PKCE, pushed authorization request where the provider offers it, `private_key_jwt`, an ID token and
//! userinfo that are signed and (where configured) encrypted to us. Reading order: this file (the flow),
//! `auth::attempt` (what travels in `state` and cookie), `claims` (what tokens must say), `provider` (requests).
//!
//! Owns: the way from a redirect to a checked [`Identity`]. Not: accounts and sessions; `SignIn`, the command, makes
//! them, once for each attempt.
//! Holds: (1) an identity was signed by the configured issuer for this client, this attempt and this browser, at
//! an accepted level of assurance; (2) issuer, algorithms and claim names are configuration, never the token's
//! word; (3) any gateway finishes what another started.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kluis_chunkstore::env::Entropy;
use kluis_raft::model::{Assurance, Role, SessionId};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;
use zeroize::Zeroizing;

use super::{
    attempt::Attempt,
    jose::{
        self, ContentEncryption, JoseError, KeyManagement, SignatureAlgorithm,
        jwk::{DecryptionKey, JwkSet, SigningKey},
    },
    national_number::NationalNumber,
    webeid::WebEid,
};
use crate::keys::{LookupKey, SecretKey};

mod claims;
#[doc(hidden)]
pub mod fuzzing;
mod provider;

pub use super::attempt::{ATTEMPT_LIFETIME_MS, CLEAR_LOGIN_COOKIE, LOGIN_COOKIE};
pub use claims::CLOCK_SKEW_S;
pub use provider::{ANSWER_BYTES_MAX, DEADLINE};

use claims::{CheckedClaims, Expected, check_id_token, check_userinfo, person};
use provider::{Answer, Discovery, Provider};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long a client assertion is good for, in seconds.
const ASSERTION_LIFETIME_S: u64 = 60;
const CODE_TEXT_MAX: usize = 2048;
/// How long ago a person may have proved who they are when it is done for a step-up, in seconds.
const STEP_UP_AGE_MAX_S: u32 = 60;
/// A name that no provider may have: it is that of the card's addresses.
const RESERVED_NAME: &str = crate::auth::webeid::WAY;

/// Why nobody is signed in. Each has a stable code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The provider knows the person, but at a level of assurance that is not enough here.
    #[error("this way of signing in is not strong enough")]
    WeakIdentity,
    /// More than ten minutes went by.
    #[error("signing in took too long; start again")]
    LoginExpired,
    /// The attempt was used before.
    #[error("this sign-in was used before; start again")]
    LoginReplayed,
    /// The answer belongs to no attempt of this browser, or to another provider.
    #[error("this sign-in was not started in this browser")]
    LoginMismatch,
    /// The provider does not answer, or not with anything usable.
    #[error("the identity provider is not available at present")]
    ProviderUnreachable,
    /// The provider answered no.
    #[error("the identity provider refused: {error}")]
    ProviderRefused {
        /// The provider's error code, such as `access_denied`.
        error: String,
    },
    /// A token of the provider is not what it should be.
    #[error("the identity provider's token is not acceptable: {which}")]
    TokenInvalid {
        /// The claim or part that is wrong.
        which: &'static str,
    },
    /// A card's certificate is not one that signs people in here.
    #[error("the card's certificate is not acceptable: {why}")]
    CertificateRefused {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody says at present whether a card's certificate is still good.
    #[error("whether the card was revoked cannot be found out at present")]
    RevocationUnknown,
    /// Our own cipher failed: never because of the input.
    #[error("signing in failed")]
    Internal,
}

impl AuthError {
    /// The stable code, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::WeakIdentity => "weak_identity",
            Self::LoginExpired => "login_expired",
            Self::LoginReplayed => "login_replayed",
            Self::LoginMismatch => "login_mismatch",
            Self::ProviderUnreachable => "provider_unreachable",
            Self::ProviderRefused { .. } => "provider_refused",
            Self::TokenInvalid { .. } => "token_invalid",
            Self::CertificateRefused { .. } => "certificate_refused",
            Self::RevocationUnknown => "revocation_unknown",
            Self::Internal => "internal",
        }
    }
}

impl From<JoseError> for AuthError {
    fn from(error: JoseError) -> Self {
        let which = match error {
            JoseError::Algorithm => "alg",
            JoseError::Signature => "signature",
            JoseError::UnknownKey => "key",
            JoseError::Decrypt => "encryption",
            JoseError::TooLong | JoseError::Form | JoseError::Json | JoseError::Extension => "form",
            JoseError::Key | JoseError::Cipher => return Self::Internal,
        };
        Self::TokenInvalid { which }
    }
}

/// A provider that cannot be configured so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadProvider(pub String);

/// One identity provider, as an operator configures it.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// Segment of our own addresses, such as `itsme`: 1 to 32 of `a-z`, `0-9`, `-`.
    pub name: String,
    /// The issuer, exactly as its discovery document says it. Plain http only on this machine.
    pub issuer: Url,
    /// Our id there.
    pub client_id: String,
    /// Scopes, such as `openid service:CODE profile eid`.
    pub scope: String,
    /// The claim that holds the national number.
    pub national_number_claim: String,
    /// Levels of assurance that count as high; also asked for. Never empty.
    pub acr_values: Vec<String>,
    /// Levels that are enough to sign in, but not for what cannot be undone; also asked for.
    pub substantial_acr_values: Vec<String>,
    /// How ID token and userinfo are signed.
    pub id_token_alg: SignatureAlgorithm,
    /// How they are encrypted to us; `None` = not at all.
    pub id_token_encryption: Option<(KeyManagement, ContentEncryption)>,
    /// Whether a provider without pushed authorization requests is refused.
    pub require_par: bool,
    /// Whether userinfo is fetched too.
    pub userinfo: bool,
    /// The claim that lists roles (`notary`), if the provider has one.
    pub roles_claim: Option<String>,
    /// Longest time since the person proved who they are, in seconds, if that is asked for.
    pub max_age_s: Option<u32>,
    /// PEM of the only certification authorities that are trusted for this provider; `None` = the system's.
    pub ca_pem: Option<Vec<u8>>,
}

impl ProviderConfig {
    /// What a stated level of assurance is worth; `None` when it is not accepted.
    pub fn assurance(&self, acr: &str) -> Option<Assurance> {
        let is_one_of = |values: &[String]| values.iter().any(|value| value == acr);
        let lower = || is_one_of(&self.substantial_acr_values).then_some(Assurance::Substantial);
        if is_one_of(&self.acr_values) { Some(Assurance::High) } else { lower() }
    }

    /// The levels that an attempt asks for: a step-up only the high ones.
    fn wanted(&self, step_up: bool) -> Vec<String> {
        let lower = self.substantial_acr_values.iter().filter(|_| !step_up);
        self.acr_values.iter().chain(lower).cloned().collect()
    }

    /// How long ago the person may have proved who they are.
    fn age_max_s(&self, step_up: bool) -> Option<u32> {
        if step_up { Some(self.max_age_s.map_or(STEP_UP_AGE_MAX_S, |age| age.min(STEP_UP_AGE_MAX_S))) } else { self.max_age_s }
    }
}

/// Our private keys towards providers. Gateways of one cluster share them.
#[derive(Debug)]
pub struct ClientKeys {
    /// Signs client assertions.
    pub signing: SigningKey,
    /// Decrypt tokens; more than one while they are exchanged.
    pub decryption: Vec<DecryptionKey>,
}

impl ClientKeys {
    /// The keys as providers want to see them.
    pub fn public_jwks(&self, alg: KeyManagement) -> JwkSet {
        let decryption = self.decryption.iter().map(|key| key.public_jwk(alg));
        JwkSet([self.signing.public_jwk()].into_iter().chain(decryption).collect())
    }
}

/// Where a browser goes to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The provider's page.
    pub location: Url,
    /// `Set-Cookie` header that binds the attempt to the browser.
    pub set_cookie: String,
}

/// What a browser brings back from the provider.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct CallbackQuery {
    /// Authorization code.
    pub code: Option<String>,
    /// The `state` that we sent along.
    pub state: Option<String>,
    /// Issuer (RFC 9207).
    pub iss: Option<String>,
    /// Error code, instead of a code.
    pub error: Option<String>,
}

/// A person who proved who they are.
pub struct Identity {
    /// SHA-256 of the attempt: the metadata group takes each once.
    pub attempt: [u8; 32],
    /// What the account is matched on.
    pub number: NationalNumber,
    /// Full name.
    pub name: String,
    /// Given names; empty when not stated.
    pub given_name: String,
    /// Family name; empty when not stated.
    pub family_name: String,
    /// Birth date as stated (`YYYY-MM-DD`); empty when not stated.
    pub birthdate: String,
    /// Level of assurance, one of the accepted ones.
    pub acr: String,
    /// What that level is worth.
    pub assurance: Assurance,
    /// Name of the way in: the provider's, or `eid`.
    pub way: String,
    /// The session that is to be raised; `None` when one begins.
    pub step_up: Option<SessionId>,
    /// What the provider says the person is; always a citizen.
    pub roles: Vec<Role>,
    /// Whether the sign-in was started by a program that wants JSON.
    pub return_json: bool,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity(acr {}, roles {:?}, ..)", self.acr, self.roles)
    }
}

/// We, towards one provider.
pub struct RelyingParty {
    config: ProviderConfig,
    keys: Arc<ClientKeys>,
    redirect_uri: Url,
    state_key: SecretKey,
    entropy: Arc<dyn Entropy>,
    provider: Provider,
}

impl std::fmt::Debug for RelyingParty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RelyingParty({} at {})", self.config.name, self.config.issuer)
    }
}

impl RelyingParty {
    /// Makes ready for `config`; asks nothing of the provider yet. `redirect_uri` is our callback as the provider knows
    /// it, `lookup` the cluster's key, from which all gateways derive the key of `state`.
    ///
    /// # Errors
    /// [`BadProvider`], with what to change.
    pub fn new(
        config: ProviderConfig,
        keys: Arc<ClientKeys>,
        redirect_uri: Url,
        lookup: &LookupKey,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, BadProvider> {
        let bad = |why: &str| Err(BadProvider(why.to_owned()));
        let in_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=32).contains(&config.name.len()) || !config.name.bytes().all(in_name) {
            return bad("the name of a provider is 1 to 32 of a-z, 0-9 and -");
        }
        if config.name == RESERVED_NAME {
            return bad("the name of a provider is not `eid`: that is the card's");
        }
        if config.substantial_acr_values.iter().any(|lower| config.acr_values.contains(lower)) {
            return bad("a level of assurance is either high or substantial");
        }
        if config.acr_values.is_empty() {
            return bad("a provider needs at least one accepted level of assurance (acr_values)");
        }
        if config.client_id.is_empty() || config.national_number_claim.is_empty() {
            return bad("a provider needs a client_id and the name of its national number claim");
        }
        if !config.scope.split(' ').any(|scope| scope == "openid") {
            return bad("the scope of a provider contains openid");
        }
        if config.id_token_encryption.is_some() && keys.decryption.is_empty() {
            return bad("encrypted tokens need a decryption key");
        }
        let provider = Provider::new(config.issuer.clone(), config.ca_pem.as_deref())?;
        let state_key = lookup.derive(b"kluis login-state v1").map_err(|error| BadProvider(error.to_string()))?;
        Ok(Self { config, keys, redirect_uri, state_key, entropy, provider })
    }

    /// The provider's name in our addresses.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Our public keys, for the address that the provider fetches them from.
    pub fn public_jwks(&self) -> Value {
        let alg = self.config.id_token_encryption.map_or(KeyManagement::RsaOaep256, |(alg, _)| alg);
        self.keys.public_jwks(alg).to_json()
    }

    /// Whether `state` belongs to an attempt with this provider, however old.
    pub fn owns(&self, state: &str) -> bool {
        Attempt::open(&self.state_key, state).is_some_and(|attempt| attempt.provider == self.config.name)
    }

    /// Begins an attempt: where the browser goes, and the cookie it takes along.
    ///
    /// # Errors
    /// [`AuthError::ProviderUnreachable`], [`AuthError::ProviderRefused`].
    pub async fn start(&self, now_ms: u64, entropy: &dyn Entropy, return_json: bool) -> Result<Start, AuthError> {
        self.begin(now_ms, entropy, Attempt::new(now_ms, entropy, &self.config.name, return_json)).await
    }

    /// Begins an attempt that raises `session` in the end: the person must prove anew who they are, at a high level.
    ///
    /// # Errors
    /// As [`RelyingParty::start`].
    pub async fn start_step_up(
        &self,
        now_ms: u64,
        entropy: &dyn Entropy,
        return_json: bool,
        session: &SessionId,
    ) -> Result<Start, AuthError> {
        let attempt = Attempt::new(now_ms, entropy, &self.config.name, return_json).raising(Some(session.0));
        self.begin(now_ms, entropy, attempt).await
    }

    async fn begin(&self, now_ms: u64, entropy: &dyn Entropy, attempt: Attempt) -> Result<Start, AuthError> {
        let discovery = self.provider.discovery().await?;
        let state = attempt.seal(&self.state_key, entropy)?;
        let request = self.authorization_request(&attempt, state);
        let mut location = discovery.authorization_endpoint.clone();
        let pushed = match &discovery.pushed_authorization_request_endpoint {
            Some(endpoint) => Some(self.push(now_ms, &discovery, endpoint, request.clone()).await?),
            None if self.config.require_par || discovery.require_pushed_authorization_requests => {
                return Err(AuthError::ProviderUnreachable);
            }
            None => None,
        };
        let query = match pushed {
            Some(request_uri) => vec![("client_id", self.config.client_id.clone()), ("request_uri", request_uri)],
            None => request,
        };
        location.query_pairs_mut().extend_pairs(query);
        Ok(Start { location, set_cookie: attempt.set_cookie() })
    }

    /// Ends an attempt: the person, if everything holds. `cookie` is the request's `Cookie` header.
    ///
    /// # Errors
    /// [`AuthError`]. The caller must still have the attempt taken by the metadata group.
    pub async fn finish(&self, now_ms: u64, query: &CallbackQuery, cookie: Option<&str>) -> Result<Identity, AuthError> {
        let attempt = query.state.as_deref().and_then(|state| Attempt::open(&self.state_key, state));
        let attempt = attempt.filter(|attempt| attempt.provider == self.config.name).ok_or(AuthError::LoginMismatch)?;
        if !cookie.is_some_and(|cookie| attempt.matches_cookie(cookie)) {
            return Err(AuthError::LoginMismatch);
        }
        if attempt.expired(now_ms) {
            return Err(AuthError::LoginExpired);
        }
        let discovery = self.provider.discovery().await?;
        let iss_missing = query.iss.is_none() && discovery.authorization_response_iss_parameter_supported;
        if iss_missing || query.iss.as_ref().is_some_and(|iss| *iss != discovery.issuer) {
            return Err(AuthError::LoginMismatch);
        }
        if let Some(error) = &query.error {
            return Err(refused(error));
        }
        let code = query.code.as_deref().filter(|code| (1..=CODE_TEXT_MAX).contains(&code.len()));
        let code = code.ok_or_else(|| refused("no_code"))?;
        let tokens = self.exchange(now_ms, &discovery, code, &attempt).await?;

        let nonce = attempt.nonce_text();
        let acr_values = self.config.wanted(attempt.step_up.is_some());
        let expected = Expected {
            issuer: &discovery.issuer,
            client_id: &self.config.client_id,
            nonce: &nonce,
            acr_values: &acr_values,
            max_age_s: self.config.age_max_s(attempt.step_up.is_some()),
            now_s: now_ms / 1000,
        };
        let claims = check_id_token(&self.open(&tokens.id_token).await?, &expected)?;
        let userinfo = match self.config.userinfo {
            true => self.userinfo(&discovery, &tokens.access_token, &claims, &expected).await?,
            false => Map::new(),
        };
        let person = person(&claims, &userinfo, &self.config.national_number_claim, self.config.roles_claim.as_deref())?;
        Ok(Identity {
            attempt: attempt.hash(),
            number: person.number,
            name: person.name,
            given_name: person.given_name,
            family_name: person.family_name,
            birthdate: person.birthdate,
            assurance: self.config.assurance(&claims.acr).ok_or(AuthError::WeakIdentity)?,
            acr: claims.acr,
            way: self.config.name.clone(),
            step_up: attempt.step_up.map(SessionId),
            roles: person.roles,
            return_json: attempt.return_json,
        })
    }

    fn authorization_request(&self, attempt: &Attempt, state: String) -> Vec<(&'static str, String)> {
        let config = &self.config;
        let (step_up, acr_values) = (attempt.step_up.is_some(), config.wanted(attempt.step_up.is_some()));
        let essential = json!({ "essential": true });
        let mut id_token = Map::new();
        id_token.insert("acr".to_owned(), json!({ "essential": true, "values": acr_values }));
        // Asking for `max_age` makes this claim a must; some providers want to be asked for it too.
        if config.age_max_s(step_up).is_some() {
            id_token.insert("auth_time".to_owned(), essential.clone());
        }
        id_token.insert(config.national_number_claim.clone(), essential.clone());
        let mut claims = json!({ "id_token": id_token });
        if config.userinfo {
            let mut userinfo = Map::new();
            for name in ["name", "given_name", "family_name", "birthdate"] {
                userinfo.insert(name.to_owned(), Value::Null);
            }
            userinfo.insert(config.national_number_claim.clone(), essential);
            userinfo.extend(config.roles_claim.clone().map(|name| (name, Value::Null)));
            claims["userinfo"] = Value::Object(userinfo);
        }
        let mut request = vec![
            ("response_type", "code".to_owned()),
            ("client_id", config.client_id.clone()),
            ("redirect_uri", self.redirect_uri.to_string()),
            ("scope", config.scope.clone()),
            ("state", state),
            ("nonce", attempt.nonce_text()),
            ("code_challenge", attempt.challenge_text()),
            ("code_challenge_method", "S256".to_owned()),
            ("acr_values", acr_values.join(" ")),
            ("claims", claims.to_string()),
        ];
        if step_up {
            request.push(("prompt", "login".to_owned()));
        }
        request.extend(config.age_max_s(step_up).map(|max_age_s| ("max_age", max_age_s.to_string())));
        request
    }

    /// RFC 9126: the request goes to the provider directly, the browser carries a reference only.
    async fn push(
        &self,
        now_ms: u64,
        discovery: &Discovery,
        endpoint: &Url,
        mut request: Vec<(&'static str, String)>,
    ) -> Result<String, AuthError> {
        #[derive(Deserialize)]
        struct Pushed {
            request_uri: String,
        }
        request.extend(self.authentication(now_ms, discovery)?);
        let answer = self.provider.fetch(self.provider.client().post(endpoint.clone()).form(&request)).await?;
        let pushed: Pushed = parse_answer(&answer, &[StatusCode::CREATED, StatusCode::OK])?;
        Ok(pushed.request_uri)
    }

    async fn exchange(&self, now_ms: u64, discovery: &Discovery, code: &str, attempt: &Attempt) -> Result<Tokens, AuthError> {
        let mut request = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.to_owned()),
            ("redirect_uri", self.redirect_uri.to_string()),
            ("code_verifier", attempt.verifier_text()),
            ("client_id", self.config.client_id.clone()),
        ];
        request.extend(self.authentication(now_ms, discovery)?);
        let request = self.provider.client().post(discovery.token_endpoint.clone()).form(&request);
        parse_answer(&self.provider.fetch(request).await?, &[StatusCode::OK])
    }

    /// `private_key_jwt` (OpenID Connect Core 1.0, section 9).
    fn authentication(&self, now_ms: u64, discovery: &Discovery) -> Result<[(&'static str, String); 2], AuthError> {
        let mut jti = [0; 16];
        self.entropy.fill(&mut jti);
        let now_s = now_ms / 1000;
        let claims = json!({
            "iss": self.config.client_id,
            "sub": self.config.client_id,
            "aud": discovery.token_endpoint.as_str(),
            "jti": URL_SAFE_NO_PAD.encode(jti),
            "iat": now_s,
            "exp": now_s + ASSERTION_LIFETIME_S,
        });
        let assertion = jose::sign(&claims, &self.keys.signing).map_err(|_| AuthError::Internal)?;
        Ok([("client_assertion_type", ASSERTION_TYPE.to_owned()), ("client_assertion", assertion)])
    }

    /// The payload of a token of the provider: decrypted where that was agreed, and verified.
    async fn open(&self, token: &str) -> Result<Zeroizing<Vec<u8>>, AuthError> {
        let Some((alg, enc)) = self.config.id_token_encryption else {
            return self.provider.verify(token, self.config.id_token_alg).await.map(Zeroizing::new);
        };
        let signed = jose::decrypt(token, alg, enc, &self.keys.decryption)?;
        let signed = std::str::from_utf8(&signed).map_err(|_| JoseError::Form)?;
        self.provider.verify(signed, self.config.id_token_alg).await.map(Zeroizing::new)
    }

    async fn userinfo(
        &self,
        discovery: &Discovery,
        access_token: &str,
        claims: &CheckedClaims,
        expected: &Expected<'_>,
    ) -> Result<Map<String, Value>, AuthError> {
        let endpoint = discovery.userinfo_endpoint.clone().ok_or(AuthError::ProviderUnreachable)?;
        let answer = self.provider.fetch(self.provider.client().get(endpoint).bearer_auth(access_token)).await?;
        if answer.status != StatusCode::OK {
            return Err(parse_error(&answer));
        }
        if answer.content_type == "application/jwt" {
            let token = std::str::from_utf8(&answer.body).map_err(|_| JoseError::Form)?;
            check_userinfo(&self.open(token.trim()).await?, claims, expected)
        } else if self.config.id_token_encryption.is_none() {
            // Fetched by us over TLS from the provider: as genuine as a signed one.
            check_userinfo(&answer.body, claims, expected)
        } else {
            Err(AuthError::TokenInvalid { which: "userinfo" })
        }
    }
}

/// What the token endpoint gives.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: String,
}

fn parse_answer<T: for<'de> Deserialize<'de>>(answer: &Answer, good: &[StatusCode]) -> Result<T, AuthError> {
    if !good.contains(&answer.status) {
        return Err(parse_error(answer));
    }
    serde_json::from_slice(&answer.body).map_err(|_| AuthError::ProviderUnreachable)
}

/// A refusal where the provider gives a reason (RFC 6749, section 5.2), else an outage.
fn parse_error(answer: &Answer) -> AuthError {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    match serde_json::from_slice::<Refusal>(&answer.body) {
        Ok(refusal) if answer.status.is_client_error() => refused(&refusal.error),
        _ if answer.status == StatusCode::UNAUTHORIZED => refused("unauthorized"),
        _ => AuthError::ProviderUnreachable,
    }
}

/// Error codes are shown to people and logged: anything but a plain word is not.
fn refused(error: &str) -> AuthError {
    let plain = (1..=64).contains(&error.len()) && error.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    AuthError::ProviderRefused { error: if plain { error } else { "unknown_error" }.to_owned() }
}

/// All providers of a gateway.
#[derive(Debug, Default)]
pub struct SignIn {
    providers: Vec<RelyingParty>,
    card: Option<Arc<WebEid>>,
    minimum_age_years: u8,
}

impl SignIn {
    /// The ways to sign in, in the order of showing them.
    ///
    /// # Errors
    /// [`BadProvider`] when two have one name.
    pub fn new(providers: Vec<RelyingParty>) -> Result<Self, BadProvider> {
        for (at, one) in providers.iter().enumerate() {
            if providers.iter().skip(at + 1).any(|other| other.name() == one.name()) {
                return Err(BadProvider(format!("two identity providers are called {}", one.name())));
            }
        }
        Ok(Self { providers, card: None, minimum_age_years: 0 })
    }

    /// The same, with the identity card as a way in.
    #[must_use]
    pub fn with_card(self, card: Option<Arc<WebEid>>) -> Self {
        Self { card, ..self }
    }

    /// The same, for people from an age on; 0 = all.
    #[must_use]
    pub fn with_minimum_age(self, years: u8) -> Self {
        Self { minimum_age_years: years, ..self }
    }

    /// The identity card, if it is a way in.
    pub fn card(&self) -> Option<&Arc<WebEid>> {
        self.card.as_ref()
    }

    /// The age from which on people are let in; 0 = any.
    pub fn minimum_age_years(&self) -> u8 {
        self.minimum_age_years
    }

    /// The providers.
    pub fn providers(&self) -> &[RelyingParty] {
        &self.providers
    }

    /// The provider of this name.
    pub fn provider(&self, name: &str) -> Option<&RelyingParty> {
        self.providers.iter().find(|provider| provider.name() == name)
    }

    /// [`RelyingParty::finish`] of the provider with which the attempt was started.
    ///
    /// # Errors
    /// As [`RelyingParty::finish`]; [`AuthError::LoginMismatch`] when it was started with none of them.
    pub async fn finish(&self, now_ms: u64, query: &CallbackQuery, cookie: Option<&str>) -> Result<Identity, AuthError> {
        let state = query.state.as_deref().unwrap_or_default();
        let provider = self.providers.iter().find(|provider| provider.owns(state)).ok_or(AuthError::LoginMismatch)?;
        provider.finish(now_ms, query, cookie).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_error_codes_are_not_repeated() {
        assert_eq!(refused("access_denied"), AuthError::ProviderRefused { error: "access_denied".to_owned() });
        for strange in ["", "<b>", "A", &"a".repeat(65)] {
            assert_eq!(refused(strange), AuthError::ProviderRefused { error: "unknown_error".to_owned() });
        }
    }

    #[test]
    fn codes_are_stable() {
        let token = AuthError::from(JoseError::Signature);
        assert_eq!((token.code(), token), ("token_invalid", AuthError::TokenInvalid { which: "signature" }));
        assert_eq!(AuthError::WeakIdentity.code(), "weak_identity");
        assert_eq!(AuthError::LoginReplayed.code(), "login_replayed");
    }
}
