//! An OpenID provider inside the binary, for demos and tests: itsme's profile with made-up people.
//!
//! Discovery, JWKS, pushed authorization requests (required), a page with one button a person, code flow with
//! PKCE S256 and `private_key_jwt`, ID token and userinfo signed (RS256) and encrypted (RSA-OAEP-256, A256GCM).
//! Reading order: [`serve`], the endpoints in the order of the flow, `pages`.
//!
//! Owns: that provider. Not: the relying party, which is the production one and knows no difference.
//! Holds: (1) it listens on loopback only, for it signs in anybody who asks; (2) codes, references, access
//! tokens and assertion ids are used once or until they expire, and never more than [`ENTRIES_MAX`] are kept; (3)
//! its keys live as long as the process.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result, bail, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kluis_chunkstore::env::{Clock, Entropy, Env};
use kluis_gateway::auth::jose::{
    self, ContentEncryption, KeyManagement, SignatureAlgorithm,
    json::parse_object,
    jwk::{Jwk, JwkSet, KeyUse, RsaBits, SigningKey},
};
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use url::Url;

mod pages;

/// Most codes, references, tokens and ids of each kind that are remembered.
pub const ENTRIES_MAX: usize = 1_000;
/// itsme's claim for the national number.
pub const NATIONAL_NUMBER_CLAIM: &str = "http://itsme.services/v2/claim/BENationalNumber";
/// itsme's lower level of assurance.
pub const ACR_BASIC: &str = "http://itsme.services/v2/claim/acr_basic";
/// itsme's higher level of assurance.
pub const ACR_ADVANCED: &str = "http://itsme.services/v2/claim/acr_advanced";
/// The claim that lists a person's roles.
pub const ROLES_CLAIM: &str = "roles";

const CODE_LIFETIME_MS: u64 = 60_000;
const PAGE_LIFETIME_MS: u64 = 600_000;
const TOKEN_LIFETIME_MS: u64 = 300_000;
const SKEW_S: u64 = 60;
const BODY_BYTES_MAX: usize = 64 * 1024;
const ENCRYPTION: (KeyManagement, ContentEncryption) = (KeyManagement::RsaOaep256, ContentEncryption::A256Gcm);

/// A made-up person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Full name.
    pub name: String,
    /// Given name.
    pub given_name: String,
    /// Family name.
    pub family_name: String,
    /// `YYYY-MM-DD`.
    pub birthdate: String,
    /// Eleven digits, well formed and nobody's.
    pub national_number: String,
    /// What the provider says of them: `notary` or nothing.
    pub roles: Vec<String>,
    /// How strongly they prove who they are: [`ACR_ADVANCED`] or [`ACR_BASIC`].
    pub acr: String,
}

/// What the provider is set up with.
#[derive(Debug, Clone)]
pub struct IdpConfig {
    /// Its own address, `http://127.0.0.1:PORT`, without a slash at the end.
    pub issuer: String,
    /// The one client.
    pub client_id: String,
    /// The client's public keys: for its assertions, and to encrypt to it.
    pub client_jwks: JwkSet,
    /// The client's callbacks, compared exactly.
    pub redirect_uris: Vec<String>,
    /// Who can sign in, in the order of the page.
    pub people: Vec<Person>,
}

/// The running provider; ends when it is dropped.
#[derive(Debug)]
pub struct Idp {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Idp {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, after the requests that run.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let _ = (&mut self.task).await;
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Five made-up people: a notary, and one whose sign-in is too weak, among them.
pub fn demo_people() -> Vec<Person> {
    let person = |given: &str, family: &str, birthdate: &str, number: &str, roles: &[&str], acr: &str| Person {
        name: format!("{given} {family}"),
        given_name: given.to_owned(),
        family_name: family.to_owned(),
        birthdate: birthdate.to_owned(),
        national_number: number.to_owned(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        acr: acr.to_owned(),
    };
    vec![
        person("Anna", "Proefpersoon", "1971-12-04", "71120496208", &[], ACR_ADVANCED),
        person("Bram", "Voorbeeld", "1963-05-29", "63052995716", &[], ACR_ADVANCED),
        person("Nora", "Akte", "1965-08-13", "65081394289", &["notary"], ACR_ADVANCED),
        person("Chloé", "Exemple", "2001-04-23", "01042390832", &[], ACR_ADVANCED),
        person("Wim", "Zwak", "1998-11-09", "98110995141", &[], ACR_BASIC),
    ]
}

/// Starts the provider on `listener`.
///
/// # Errors
/// When the listener is not on loopback, the configuration is unusable, or keys cannot be made.
pub async fn serve(env: Env, listener: TcpListener, config: IdpConfig) -> Result<Idp> {
    serve_with(env.clock, env.entropy, listener, config).await
}

/// [`serve`], with the two parts of the environment that it uses.
///
/// # Errors
/// As [`serve`].
pub async fn serve_with(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, listener: TcpListener, config: IdpConfig) -> Result<Idp> {
    let address = listener.local_addr()?;
    ensure!(address.ip().is_loopback(), "the embedded identity provider signs in anybody: it listens on loopback only, not on {address}");
    let issuer = Url::parse(&config.issuer).context("the issuer of the embedded identity provider is no address")?;
    ensure!(!config.issuer.ends_with('/') && issuer.query().is_none(), "the issuer has no slash at its end and no query");
    ensure!(!config.people.is_empty(), "the embedded identity provider needs people");
    let encryption_key = config.client_jwks.0.iter().find(|key| key.key_use == Some(KeyUse::Encryption)).cloned();
    let encryption_key = encryption_key.context("the client's keys contain none for encryption")?;
    let key = tokio::task::spawn_blocking(|| SigningKey::generate_rsa(RsaBits::Rsa2048)).await??;
    let shared = Arc::new(Shared { config, clock, entropy, key, encryption_key, state: Mutex::default() });
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, router(shared)).with_graceful_shutdown(async move {
        let _ = stopped.await;
    });
    let task = tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the embedded identity provider ended");
        }
    });
    Ok(Idp { address, stop: Some(stop), task })
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks", get(jwks))
        .route("/par", post(push))
        .route("/authorize", get(authorize))
        .route("/interaction/{id}", post(choose))
        .route("/token", post(token))
        .route("/userinfo", get(userinfo))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

struct Shared {
    config: IdpConfig,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    key: SigningKey,
    encryption_key: Jwk,
    state: Mutex<Remembered>,
}

/// What was pushed, as far as it matters later.
#[derive(Clone)]
struct Request {
    redirect_uri: String,
    state: String,
    nonce: String,
    challenge: String,
}

struct Grant {
    request: Request,
    person: usize,
    at_ms: u64,
}

#[derive(Default)]
struct Remembered {
    pushed: Expiring<Request>,
    pages: Expiring<Request>,
    codes: Expiring<Grant>,
    access: Expiring<usize>,
    assertions: Expiring<()>,
}

struct Expiring<T>(HashMap<String, (u64, T)>);

impl<T> Default for Expiring<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Expiring<T> {
    /// Remembers; `false` when there is no room, or the name is taken.
    fn put(&mut self, now_ms: u64, name: String, expires_ms: u64, value: T) -> bool {
        self.0.retain(|_, (expires_ms, _)| *expires_ms > now_ms);
        let free = self.0.len() < ENTRIES_MAX && !self.0.contains_key(&name);
        if free {
            self.0.insert(name, (expires_ms, value));
        }
        free
    }

    fn take(&mut self, now_ms: u64, name: &str) -> Option<T> {
        self.0.remove(name).filter(|(expires_ms, _)| *expires_ms > now_ms).map(|(_, value)| value)
    }

    fn find(&self, now_ms: u64, name: &str) -> Option<&T> {
        self.0.get(name).filter(|(expires_ms, _)| *expires_ms > now_ms).map(|(_, value)| value)
    }
}

impl Shared {
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn random_text(&self) -> String {
        let mut bytes = [0; 24];
        self.entropy.fill(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.config.issuer)
    }

    /// Checks `private_key_jwt`; each assertion is good once.
    fn authenticate(&self, form: &Form) -> Result<()> {
        ensure!(
            form.text("client_assertion_type") == Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            "no client assertion"
        );
        let assertion = form.text("client_assertion").context("no client assertion")?;
        let payload = jose::verify(assertion, SignatureAlgorithm::Rs256, &self.config.client_jwks)?;
        let claims = parse_object(&payload).context("no claims")?;
        let is = |name: &str, wanted: &str| claims.get(name).and_then(Value::as_str) == Some(wanted);
        ensure!(is("iss", &self.config.client_id) && is("sub", &self.config.client_id), "another client");
        ensure!(is("aud", &self.address("/token")) || is("aud", &self.config.issuer), "another audience");
        let now_ms = self.clock.now_ms();
        let exp = claims.get("exp").and_then(Value::as_u64).context("no exp")?;
        let now_s = now_ms / 1000;
        let end = exp.saturating_add(SKEW_S);
        ensure!(end > now_s && exp < now_s + 600 + SKEW_S, "expired");
        let jti = claims.get("jti").and_then(Value::as_str).filter(|jti| (1..=128).contains(&jti.len())).context("no jti")?;
        let fresh = self.remembered().assertions.put(now_ms, jti.to_owned(), end.saturating_mul(1000), ());
        ensure!(fresh, "the assertion was used before");
        Ok(())
    }

    /// A token to the client: signed, then encrypted.
    fn seal(&self, claims: &Value) -> Result<String> {
        let signed = jose::sign(claims, &self.key)?;
        Ok(jose::encrypt(signed.as_bytes(), ENCRYPTION.0, ENCRYPTION.1, &self.encryption_key, &*self.entropy)?)
    }

    fn person_claims(&self, person: &Person) -> Map<String, Value> {
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("iss", self.config.issuer.as_str().into());
        put("aud", self.config.client_id.as_str().into());
        put("sub", subject(person).into());
        put("name", person.name.as_str().into());
        put("given_name", person.given_name.as_str().into());
        put("family_name", person.family_name.as_str().into());
        put("birthdate", person.birthdate.as_str().into());
        put(NATIONAL_NUMBER_CLAIM, person.national_number.as_str().into());
        put(ROLES_CLAIM, json!(person.roles));
        claims
    }
}

/// A name for the person that says nothing: a hash, as pairwise subjects of real providers are.
fn subject(person: &Person) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("subject {}", person.national_number).as_bytes());
    URL_SAFE_NO_PAD.encode(hash.as_ref())
}

/// Parameters of a form or query; a name that comes twice makes it unusable (RFC 6749, section 3.1).
struct Form(HashMap<String, String>);

impl Form {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut form = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(bytes) {
            if form.insert(name.into_owned(), value.into_owned()).is_some() {
                return None;
            }
        }
        Some(Self(form))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn json_answer(status: StatusCode, value: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, value.to_string()).into_response()
}

fn refuse(status: StatusCode, error: &str, why: &str) -> Response {
    json_answer(status, &json!({ "error": error, "error_description": why }))
}

fn broken(error: &anyhow::Error) -> Response {
    tracing::error!(%error, "the embedded identity provider failed");
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "see the log")
}

async fn discovery(State(shared): State<Arc<Shared>>) -> Response {
    let (alg, enc) = ENCRYPTION;
    let document = json!({
        "issuer": shared.config.issuer,
        "authorization_endpoint": shared.address("/authorize"),
        "token_endpoint": shared.address("/token"),
        "userinfo_endpoint": shared.address("/userinfo"),
        "jwks_uri": shared.address("/jwks"),
        "pushed_authorization_request_endpoint": shared.address("/par"),
        "require_pushed_authorization_requests": true,
        "authorization_response_iss_parameter_supported": true,
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code"],
        "subject_types_supported": ["pairwise"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "id_token_encryption_alg_values_supported": [alg.as_str()],
        "id_token_encryption_enc_values_supported": [enc.as_str()],
        "acr_values_supported": [ACR_BASIC, ACR_ADVANCED],
        "scopes_supported": ["openid", "profile", "eid"],
        "claims_parameter_supported": true,
    });
    json_answer(StatusCode::OK, &document)
}

async fn jwks(State(shared): State<Arc<Shared>>) -> Response {
    json_answer(StatusCode::OK, &JwkSet(vec![shared.key.public_jwk()]).to_json())
}

/// RFC 9126.
async fn push(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let bad = |why: &str| refuse(StatusCode::BAD_REQUEST, "invalid_request", why);
    let Some(form) = Form::parse(&body) else { return bad("a parameter comes twice") };
    if let Err(error) = shared.authenticate(&form) {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client", &error.to_string());
    }
    let text = |name: &str| form.text(name).filter(|text| (1..=2048).contains(&text.len())).map(str::to_owned);
    let is = |name: &str, wanted: &str| form.text(name) == Some(wanted);
    if !is("client_id", &shared.config.client_id) || !is("response_type", "code") || !is("code_challenge_method", "S256") {
        return bad("client_id, response_type=code and code_challenge_method=S256 are required");
    }
    if !form.text("scope").is_some_and(|scope| scope.split(' ').any(|one| one == "openid")) {
        return refuse(StatusCode::BAD_REQUEST, "invalid_scope", "openid is missing");
    }
    let (Some(redirect_uri), Some(state), Some(nonce), Some(challenge)) =
        (text("redirect_uri"), text("state"), text("nonce"), text("code_challenge"))
    else {
        return bad("redirect_uri, state, nonce and code_challenge are required");
    };
    if !shared.config.redirect_uris.contains(&redirect_uri) {
        return bad("redirect_uri is not registered");
    }
    let now_ms = shared.clock.now_ms();
    let name = format!("urn:ietf:params:oauth:request_uri:{}", shared.random_text());
    let request = Request { redirect_uri, state, nonce, challenge };
    if !shared.remembered().pushed.put(now_ms, name.clone(), now_ms + CODE_LIFETIME_MS, request) {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", "too many sign-ins at once");
    }
    json_answer(StatusCode::CREATED, &json!({ "request_uri": name, "expires_in": CODE_LIFETIME_MS / 1000 }))
}

/// Shows the page. Errors are shown too: without a known request there is nowhere to send anybody.
async fn authorize(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let bad = || (StatusCode::BAD_REQUEST, "This sign-in is unknown or too old. Start again where you came from.\n").into_response();
    let Some(query) = Form::parse(query.unwrap_or_default().as_bytes()) else { return bad() };
    if query.text("client_id") != Some(shared.config.client_id.as_str()) {
        return bad();
    }
    let now_ms = shared.clock.now_ms();
    let id = shared.random_text();
    {
        let mut remembered = shared.remembered();
        let pushed = query.text("request_uri").and_then(|name| remembered.pushed.take(now_ms, name));
        let Some(request) = pushed else { return bad() };
        if !remembered.pages.put(now_ms, id.clone(), now_ms + PAGE_LIFETIME_MS, request) {
            return bad();
        }
    }
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    (headers, pages::choose(&format!("/interaction/{id}"), &shared.config.people)).into_response()
}

/// A button was pressed: back to the client with a code.
async fn choose(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> Response {
    let bad = |why: &'static str| (StatusCode::BAD_REQUEST, why).into_response();
    let chosen = Form::parse(&body).and_then(|form| form.text("person").and_then(|text| text.parse::<usize>().ok()));
    let Some(person) = chosen.filter(|index| *index < shared.config.people.len()) else { return bad("nobody was chosen\n") };
    let now_ms = shared.clock.now_ms();
    let code = shared.random_text();
    let request = {
        let mut remembered = shared.remembered();
        let Some(request) = remembered.pages.take(now_ms, &id) else { return bad("this sign-in is unknown or too old\n") };
        let grant = Grant { request: request.clone(), person, at_ms: now_ms };
        if !remembered.codes.put(now_ms, code.clone(), now_ms + CODE_LIFETIME_MS, grant) {
            return bad("too many sign-ins at once\n");
        }
        request
    };
    // Registered addresses parse: they were compared with the configured ones.
    let Ok(mut location) = Url::parse(&request.redirect_uri) else { return bad("the callback is no address\n") };
    location.query_pairs_mut().extend_pairs([("code", &code), ("state", &request.state), ("iss", &shared.config.issuer)]);
    (StatusCode::SEE_OTHER, [(header::LOCATION, location.as_str()), (header::CACHE_CONTROL, "no-store")]).into_response()
}

async fn token(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let Some(form) = Form::parse(&body) else { return refuse(StatusCode::BAD_REQUEST, "invalid_request", "a parameter comes twice") };
    if let Err(error) = shared.authenticate(&form) {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client", &error.to_string());
    }
    if form.text("grant_type") != Some("authorization_code") {
        return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type", "only authorization_code");
    }
    match redeem(&shared, &form) {
        Ok(Some(answer)) => json_answer(StatusCode::OK, &answer),
        Ok(None) => refuse(StatusCode::BAD_REQUEST, "invalid_grant", "the code is unknown, used, too old or of another request"),
        Err(error) => broken(&error),
    }
}

/// The token answer for a code; `None` when it is no good. The code is gone either way.
fn redeem(shared: &Shared, form: &Form) -> Result<Option<Value>> {
    let now_ms = shared.clock.now_ms();
    let Some(grant) = form.text("code").and_then(|code| shared.remembered().codes.take(now_ms, code)) else { return Ok(None) };
    let challenge = form.text("code_verifier").map(|verifier| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
        URL_SAFE_NO_PAD.encode(hash.as_ref())
    });
    if challenge.as_deref() != Some(grant.request.challenge.as_str())
        || form.text("redirect_uri") != Some(grant.request.redirect_uri.as_str())
    {
        return Ok(None);
    }
    let Some(person) = shared.config.people.get(grant.person) else { bail!("the person is gone") };
    let now_s = now_ms / 1000;
    let mut claims = shared.person_claims(person);
    claims.extend([
        ("nonce".to_owned(), grant.request.nonce.into()),
        ("acr".to_owned(), person.acr.as_str().into()),
        ("auth_time".to_owned(), (grant.at_ms / 1000).into()),
        ("iat".to_owned(), now_s.into()),
        ("exp".to_owned(), (now_s + TOKEN_LIFETIME_MS / 1000).into()),
    ]);
    let id_token = shared.seal(&Value::Object(claims))?;
    let access_token = shared.random_text();
    let kept = shared.remembered().access.put(now_ms, access_token.clone(), now_ms + TOKEN_LIFETIME_MS, grant.person);
    ensure!(kept, "too many sign-ins at once");
    Ok(Some(json!({
        "access_token": access_token, "token_type": "Bearer", "expires_in": TOKEN_LIFETIME_MS / 1000, "id_token": id_token,
    })))
}

async fn userinfo(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|text| text.strip_prefix("Bearer "));
    let now_ms = shared.clock.now_ms();
    let index = bearer.and_then(|token| shared.remembered().access.find(now_ms, token).copied());
    let Some(person) = index.and_then(|index| shared.config.people.get(index)) else {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_token", "the access token is unknown or too old");
    };
    match shared.seal(&Value::Object(shared.person_claims(person))) {
        Ok(token) => ([(header::CONTENT_TYPE, "application/jwt"), (header::CACHE_CONTROL, "no-store")], token).into_response(),
        Err(error) => broken(&error),
    }
}

#[cfg(test)]
mod tests {
    use kluis_gateway::auth::national_number::{Birth, NationalNumber};

    use super::*;

    #[test]
    fn demo_people_have_well_formed_numbers_of_their_own() {
        let people = demo_people();
        for person in &people {
            let number: NationalNumber = person.national_number.parse().unwrap();
            let Birth { year, month, day } = number.birth();
            assert_eq!(person.birthdate, format!("{year:04}-{month:02}-{day:02}"));
            assert_eq!(people.iter().filter(|other| other.national_number == person.national_number).count(), 1);
        }
        assert_eq!(people.iter().filter(|person| person.roles == ["notary"]).count(), 1);
        assert_eq!(people.iter().filter(|person| person.acr == ACR_BASIC).count(), 1);
    }

    #[test]
    fn what_expires_is_bounded_and_used_once() {
        let mut expiring = Expiring::default();
        for index in 0..ENTRIES_MAX {
            assert!(expiring.put(0, index.to_string(), 10, index));
        }
        assert!(!expiring.put(9, "more".to_owned(), 20, 0) && !expiring.put(9, "1".to_owned(), 20, 0));
        assert_eq!((expiring.take(9, "1"), expiring.take(9, "1"), expiring.take(10, "2")), (Some(1), None, None));
        assert!(expiring.put(10, "more".to_owned(), 20, 0) && expiring.0.len() == 1);
    }

    #[test]
    fn a_parameter_that_comes_twice_is_refused() {
        assert!(Form::parse(b"a=1&a=2").is_none());
        assert_eq!(Form::parse(b"a=%20b+c").unwrap().text("a"), Some(" b c"));
    }
}
