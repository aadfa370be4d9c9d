//! Signing in, end to end in one process: the production relying party against the embedded identity provider, and
//! against one that forges.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
    time::SystemTime,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kluis_chunkstore::env::{Clock, Entropy};
use kluis_gateway::{
    auth::{
        jose::{
            self, ContentEncryption, KeyManagement, SignatureAlgorithm,
            jwk::{DecryptionKey, JwkSet, RsaBits, SigningKey},
        },
        oidc::{ATTEMPT_LIFETIME_MS, AuthError, CallbackQuery, ClientKeys, Identity, ProviderConfig, RelyingParty, SignIn, Start},
    },
    keys::{LookupKey, SecretKey},
};
use kluis_node::idp::{ACR_ADVANCED, Idp, IdpConfig, NATIONAL_NUMBER_CLAIM, ROLES_CLAIM, demo_people, serve_with};
use kluis_raft::model::Role;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const CALLBACK: &str = "https://127.0.0.1:8443/v1/auth/callback";
const ENCRYPTION: (KeyManagement, ContentEncryption) = (KeyManagement::RsaOaep256, ContentEncryption::A256Gcm);

struct Random;

impl Entropy for Random {
    fn fill(&self, buffer: &mut [u8]) {
        aws_lc_rs::rand::fill(buffer).unwrap();
    }
}

struct Wall;

impl Clock for Wall {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::try_from(since.as_millis()).unwrap()
    }
}

fn now_ms() -> u64 {
    Wall.now_ms()
}

static CLIENT_KEYS: LazyLock<Arc<ClientKeys>> = LazyLock::new(|| {
    let signing = SigningKey::generate_rsa(RsaBits::Rsa2048).unwrap();
    let decryption = vec![DecryptionKey::generate(RsaBits::Rsa2048).unwrap()];
    Arc::new(ClientKeys { signing, decryption })
});

fn relying_party(name: &str, issuer: &str) -> RelyingParty {
    let config = ProviderConfig {
        require_par: true,
        name: name.to_owned(),
        issuer: issuer.parse().unwrap(),
        client_id: "vault".to_owned(),
        scope: "openid service:VAULT_LOGIN profile eid".to_owned(),
        national_number_claim: NATIONAL_NUMBER_CLAIM.to_owned(),
        acr_values: vec![ACR_ADVANCED.to_owned()],
        substantial_acr_values: Vec::new(),
        id_token_alg: SignatureAlgorithm::Rs256,
        id_token_encryption: Some(ENCRYPTION),
        userinfo: true,
        roles_claim: Some(ROLES_CLAIM.to_owned()),
        max_age_s: Some(300),
        ca_pem: None,
    };
    let lookup = LookupKey::from_secret(SecretKey::from_bytes([9; 32]));
    RelyingParty::new(config, CLIENT_KEYS.clone(), CALLBACK.parse().unwrap(), &lookup, Arc::new(Random)).unwrap()
}

async fn embedded() -> (Idp, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let config = IdpConfig {
        issuer: issuer.clone(),
        client_id: "vault".to_owned(),
        client_jwks: CLIENT_KEYS.public_jwks(ENCRYPTION.0),
        redirect_uris: vec![CALLBACK.to_owned()],
        people: demo_people(),
    };
    (serve_with(Arc::new(Wall), Arc::new(Random), listener, config).await.unwrap(), issuer)
}

/// What a browser does between the two redirects.
async fn browse(start: &Start, person: usize) -> CallbackQuery {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).tls_certs_only([]).no_proxy().build().unwrap();
    let page = client.get(start.location.clone()).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    let page = page.text().await.unwrap();
    let action = page.split_once("action=\"").unwrap().1.split_once('"').unwrap().0;
    let chosen = client.post(start.location.join(action).unwrap()).form(&[("person", person.to_string())]).send().await.unwrap();
    assert_eq!(chosen.status(), StatusCode::SEE_OTHER);
    let location: url::Url = chosen.headers()["location"].to_str().unwrap().parse().unwrap();
    assert!(location.as_str().starts_with(CALLBACK));
    let mut query: HashMap<_, _> = location.query_pairs().into_owned().collect();
    let mut take = |name: &str| query.remove(name);
    CallbackQuery { code: take("code"), state: take("state"), iss: take("iss"), error: take("error") }
}

fn cookie(start: &Start) -> String {
    start.set_cookie.split(';').next().unwrap().to_owned()
}

fn code_of(result: Result<Identity, AuthError>) -> &'static str {
    result.expect_err("must be refused").code()
}

#[tokio::test]
async fn a_person_signs_in_with_name_number_and_roles() {
    let (_idp, issuer) = embedded().await;
    let (first, second) = (relying_party("itsme", &issuer), relying_party("itsme", &issuer));
    let people = demo_people();
    for (index, roles) in [(0, vec![Role::Citizen]), (2, vec![Role::Citizen, Role::Notary])] {
        let start = first.start(now_ms(), &Random, index == 0).await.unwrap();
        assert!(!start.location.as_str().contains(&people[index].national_number));
        let query = browse(&start, index).await;
        // Another gateway finishes it: nothing but the key is shared.
        let identity = second.finish(now_ms(), &query, Some(&cookie(&start))).await.unwrap();
        assert_eq!(identity.number.expose(), people[index].national_number);
        assert_eq!((&identity.name, &identity.birthdate), (&people[index].name, &people[index].birthdate));
        assert_eq!((identity.acr.as_str(), identity.roles), (ACR_ADVANCED, roles));
        assert_eq!(identity.return_json, index == 0);
        // The code is spent; the metadata group would refuse the attempt too.
        let again = first.finish(now_ms(), &query, Some(&cookie(&start))).await;
        assert_eq!(again.err(), Some(AuthError::ProviderRefused { error: "invalid_grant".to_owned() }));
    }
}

#[tokio::test]
async fn too_weak_a_sign_in_is_refused() {
    let (_idp, issuer) = embedded().await;
    let party = relying_party("itsme", &issuer);
    let start = party.start(now_ms(), &Random, true).await.unwrap();
    let query = browse(&start, 4).await;
    assert_eq!(code_of(party.finish(now_ms(), &query, Some(&cookie(&start))).await), "weak_identity");
}

#[tokio::test]
async fn an_answer_finishes_only_its_own_attempt_in_its_own_browser() {
    let (_idp, issuer) = embedded().await;
    let party = relying_party("itsme", &issuer);
    let (start, other) = (party.start(now_ms(), &Random, true).await.unwrap(), party.start(now_ms(), &Random, true).await.unwrap());
    let (query, other_query) = (browse(&start, 0).await, browse(&other, 1).await);
    let own = cookie(&start);

    assert_eq!(code_of(party.finish(now_ms(), &query, None).await), "login_mismatch");
    assert_eq!(code_of(party.finish(now_ms(), &query, Some(&cookie(&other))).await), "login_mismatch");
    let mut state = query.state.clone().unwrap();
    let last = state.pop().unwrap();
    state.insert(0, last);
    for state in [None, Some(String::new()), Some(state)] {
        let tampered = CallbackQuery { state, ..query.clone() };
        assert_eq!(code_of(party.finish(now_ms(), &tampered, Some(&own)).await), "login_mismatch");
    }
    for iss in [None, Some("https://other.example".to_owned())] {
        let tampered = CallbackQuery { iss, ..query.clone() };
        assert_eq!(code_of(party.finish(now_ms(), &tampered, Some(&own)).await), "login_mismatch");
    }
    let late = now_ms() + ATTEMPT_LIFETIME_MS + 1;
    assert_eq!(code_of(party.finish(late, &query, Some(&own)).await), "login_expired");
    let denied = CallbackQuery { code: None, error: Some("access_denied".to_owned()), ..query.clone() };
    assert_eq!(code_of(party.finish(now_ms(), &denied, Some(&own)).await), "provider_refused");
    // Somebody else's code under this attempt: PKCE.
    let injected = CallbackQuery { code: other_query.code, ..query.clone() };
    assert_eq!(code_of(party.finish(now_ms(), &injected, Some(&own)).await), "provider_refused");
    // None of that spent the attempt itself.
    assert!(party.finish(now_ms(), &query, Some(&own)).await.is_ok());
}

#[tokio::test]
async fn the_right_provider_of_several_finishes() {
    let (_idp, issuer) = embedded().await;
    let (_other_idp, other_issuer) = embedded().await;
    let both = SignIn::new(vec![relying_party("other", &other_issuer), relying_party("itsme", &issuer)]).unwrap();
    let start = both.provider("itsme").unwrap().start(now_ms(), &Random, true).await.unwrap();
    let query = browse(&start, 0).await;
    let wrong = both.provider("other").unwrap().finish(now_ms(), &query, Some(&cookie(&start))).await;
    assert_eq!(code_of(wrong), "login_mismatch");
    assert!(both.finish(now_ms(), &query, Some(&cookie(&start))).await.is_ok());
    assert!(SignIn::new(vec![relying_party("a", &issuer), relying_party("a", &issuer)]).is_err());
}

#[tokio::test]
async fn a_provider_that_is_down_is_said_to_be() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let refused = relying_party("itsme", &issuer).start(now_ms(), &Random, true).await;
    assert_eq!(refused, Err(AuthError::ProviderUnreachable));

    // Down between the two halves.
    let (idp, issuer) = embedded().await;
    let party = relying_party("itsme", &issuer);
    let start = party.start(now_ms(), &Random, true).await.unwrap();
    let query = browse(&start, 0).await;
    drop(idp);
    // The task that served is aborted at its next step; a connection that it accepted may outlive it.
    let fresh = relying_party("itsme", &issuer);
    let mut result = fresh.finish(now_ms(), &query, Some(&cookie(&start))).await;
    while result.is_ok() || matches!(result, Err(AuthError::ProviderRefused { .. })) {
        tokio::task::yield_now().await;
        result = relying_party("itsme", &issuer).finish(now_ms(), &query, Some(&cookie(&start))).await;
    }
    assert_eq!(code_of(result), "provider_unreachable");
}

#[tokio::test]
async fn the_embedded_provider_serves_this_machine_only() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let config = IdpConfig {
        issuer: "http://127.0.0.1:1".to_owned(),
        client_id: "vault".to_owned(),
        client_jwks: CLIENT_KEYS.public_jwks(ENCRYPTION.0),
        redirect_uris: vec![],
        people: demo_people(),
    };
    let refused = serve_with(Arc::new(Wall), Arc::new(Random), listener, config).await.unwrap_err();
    assert!(refused.to_string().contains("loopback"), "{refused}");
}

/// How a forging provider departs from a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forgery {
    None,
    WrongNonce,
    WrongAudience,
    Expired,
    OtherIssuer,
    OldLogin,
    WeakAcr,
    NoNumber,
    BadNumber,
    AlgNone,
    Unsigned,
    OtherKeySameKid,
    UnknownKid,
    NotEncrypted,
    TooLong,
    NotJson,
    ServerError,
    UserinfoOfAnother,
}

struct Forger {
    issuer: String,
    key: SigningKey,
    other_key: SigningKey,
    forgery: Mutex<Forgery>,
    /// `state` and `nonce` of the latest pushed request.
    pushed: Mutex<(String, String)>,
}

impl Forger {
    fn claims(&self) -> Value {
        json!({
            "iss": self.issuer, "aud": "vault", "sub": "s", "iat": now_ms() / 1000, "exp": now_ms() / 1000 + 300,
            "auth_time": now_ms() / 1000, "nonce": self.pushed.lock().unwrap().1, "acr": ACR_ADVANCED,
            NATIONAL_NUMBER_CLAIM: "71120496208", "name": "Anna Proefpersoon",
        })
    }

    fn encrypt(&self, token: &str) -> String {
        let key = CLIENT_KEYS.decryption[0].public_jwk(ENCRYPTION.0);
        jose::encrypt(token.as_bytes(), ENCRYPTION.0, ENCRYPTION.1, &key, &Random).unwrap()
    }

    fn token(&self, forgery: Forgery) -> String {
        let mut claims = self.claims();
        match forgery {
            Forgery::WrongNonce => claims["nonce"] = json!("another"),
            Forgery::WrongAudience => claims["aud"] = json!("another"),
            Forgery::Expired => claims["exp"] = json!(now_ms() / 1000 - 61),
            Forgery::OtherIssuer => claims["iss"] = json!("https://other.example"),
            Forgery::OldLogin => claims["auth_time"] = json!(now_ms() / 1000 - 1000),
            Forgery::WeakAcr => claims["acr"] = json!("low"),
            Forgery::NoNumber => claims[NATIONAL_NUMBER_CLAIM] = json!(null),
            Forgery::BadNumber => claims[NATIONAL_NUMBER_CLAIM] = json!("71120496209"),
            _ => {}
        }
        let signed = jose::sign(&claims, &self.key).unwrap();
        let (header, rest) = signed.split_once('.').unwrap();
        let (payload, _) = rest.split_once('.').unwrap();
        match forgery {
            Forgery::AlgNone => self.encrypt(&format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#))),
            Forgery::Unsigned => self.encrypt(&format!("{header}.{payload}.")),
            Forgery::OtherKeySameKid => {
                let other = jose::sign(&claims, &self.other_key).unwrap();
                let signature = other.rsplit_once('.').unwrap().1;
                self.encrypt(&format!("{header}.{payload}.{signature}"))
            }
            Forgery::UnknownKid => self.encrypt(&jose::sign(&claims, &self.other_key).unwrap()),
            Forgery::NotEncrypted => signed,
            _ => self.encrypt(&signed),
        }
    }
}

async fn forger() -> Arc<Forger> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let key = || SigningKey::generate_rsa(RsaBits::Rsa2048).unwrap();
    let forger = Arc::new(Forger { issuer, key: key(), other_key: key(), forgery: Mutex::new(Forgery::None), pushed: Mutex::default() });
    let router = Router::new()
        .route(
            "/.well-known/openid-configuration",
            get(|State(forger): State<Arc<Forger>>| async move {
                let at = |path: &str| format!("{}{path}", forger.issuer);
                json!({
                    "issuer": forger.issuer, "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"),
                    "jwks_uri": at("/jwks"), "userinfo_endpoint": at("/userinfo"), "pushed_authorization_request_endpoint": at("/par"),
                })
                .to_string()
            }),
        )
        .route("/jwks", get(|State(forger): State<Arc<Forger>>| async move { JwkSet(vec![forger.key.public_jwk()]).to_json().to_string() }))
        .route(
            "/par",
            post(|State(forger): State<Arc<Forger>>, body: Bytes| async move {
                let form: HashMap<_, _> = url::form_urlencoded::parse(&body).into_owned().collect();
                *forger.pushed.lock().unwrap() = (form["state"].clone(), form["nonce"].clone());
                (StatusCode::CREATED, json!({ "request_uri": "urn:x", "expires_in": 60 }).to_string())
            }),
        )
        .route(
            "/token",
            post(|State(forger): State<Arc<Forger>>| async move {
                let forgery = *forger.forgery.lock().unwrap();
                match forgery {
                    Forgery::TooLong => (StatusCode::OK, "x".repeat(300 * 1024)),
                    Forgery::NotJson => (StatusCode::OK, "<html>".to_owned()),
                    Forgery::ServerError => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
                    _ => (
                        StatusCode::OK,
                        json!({ "id_token": forger.token(forgery), "access_token": "a", "token_type": "Bearer" }).to_string(),
                    ),
                }
            }),
        )
        .route(
            "/userinfo",
            get(|State(forger): State<Arc<Forger>>| async move {
                let sub = if *forger.forgery.lock().unwrap() == Forgery::UserinfoOfAnother { "t" } else { "s" };
                let token = jose::sign(&json!({ "iss": forger.issuer, "aud": "vault", "sub": sub }), &forger.key).unwrap();
                ([("content-type", "application/jwt")], forger.encrypt(&token))
            }),
        )
        .with_state(forger.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    forger
}

#[tokio::test]
async fn every_forgery_is_refused_with_its_code() {
    let forger = forger().await;
    let invalid = |which| AuthError::TokenInvalid { which };
    for (forgery, refusal) in [
        (Forgery::None, None),
        (Forgery::WrongNonce, Some(invalid("nonce"))),
        (Forgery::WrongAudience, Some(invalid("aud"))),
        (Forgery::Expired, Some(invalid("exp"))),
        (Forgery::OtherIssuer, Some(invalid("iss"))),
        (Forgery::OldLogin, Some(invalid("auth_time"))),
        (Forgery::WeakAcr, Some(AuthError::WeakIdentity)),
        (Forgery::NoNumber, Some(invalid("national_number"))),
        (Forgery::BadNumber, Some(invalid("national_number"))),
        (Forgery::AlgNone, Some(invalid("alg"))),
        (Forgery::Unsigned, Some(invalid("signature"))),
        (Forgery::OtherKeySameKid, Some(invalid("signature"))),
        (Forgery::UnknownKid, Some(invalid("key"))),
        (Forgery::NotEncrypted, Some(invalid("form"))),
        (Forgery::TooLong, Some(AuthError::ProviderUnreachable)),
        (Forgery::NotJson, Some(AuthError::ProviderUnreachable)),
        (Forgery::ServerError, Some(AuthError::ProviderUnreachable)),
        (Forgery::UserinfoOfAnother, Some(invalid("userinfo"))),
    ] {
        *forger.forgery.lock().unwrap() = forgery;
        let party = relying_party("itsme", &forger.issuer);
        let start = party.start(now_ms(), &Random, true).await.unwrap();
        let state = forger.pushed.lock().unwrap().0.clone();
        let query = CallbackQuery { code: Some("c".to_owned()), state: Some(state), iss: None, error: None };
        let result = party.finish(now_ms(), &query, Some(&cookie(&start))).await;
        assert_eq!(result.err(), refusal, "{forgery:?}");
    }
}
