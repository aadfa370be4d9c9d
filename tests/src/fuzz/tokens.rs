//! Targets: what an identity provider, or somebody in its name, sends. Signed and encrypted tokens, keys, claims,
//! discovery, and the `state` that comes back through the browser.
//!
//! Owns: sign-in. Not: our own bearer tokens ([`super::http`]).
//! Holds: nothing but the signed bytes verify; published keys are written and read as the same keys; behind
//! a right seal or signature any content ends in an answer.

use std::sync::LazyLock;

use kluis_gateway::{
    auth::{
        jose::{
            self, ContentEncryption, KeyManagement, SignatureAlgorithm,
            json::parse_object,
            jwk::{DecryptionKey, JwkSet, SigningKey},
        },
        oidc::fuzzing::{check_tokens, is_discovery, new_state, open_state, read_tokens, seal_as_state},
        webeid::{
            certificate::{COMMON_NAME, Certificate, OCSP_SIGNING, SERIAL_NUMBER},
            der, ocsp,
            token::Token,
        },
    },
    keys::SecretKey,
};
use serde_json::{Value, json};

use super::{Fixed, Target, text, texts};

const WORDS: &str = include_str!("../../fuzz/dictionaries/tokens.dict");
const KEY: &[u8] = include_bytes!("fixtures/rsa.key");
const P256_KEY: &[u8] = include_bytes!("fixtures/node.key");
const GCM: &str = include_str!("fixtures/gcm.jwe");
const CBC: &str = include_str!("fixtures/cbc.jwe");
const DISCOVERY: &str = r#"{"issuer":"https://idp.example","authorization_endpoint":"https://idp.example/a","token_endpoint":"https://idp.example/t","jwks_uri":"https://idp.example/k"}"#;
/// The time of the tests, in seconds.
const NOW_S: u64 = 1_800_000_000;

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    Target::new("jws", jws, || vec![SIGNED.clone().into_bytes()], WORDS).slow(8),
    Target::new("jwe", jwe, || texts(&[GCM.trim(), CBC.trim()]), WORDS).slow(40),
    Target::new("jwk_set", jwk_set, || vec![KEYS.to_json().to_string().into_bytes()], WORDS).slow(4),
    Target::new("private_key", private_key, || vec![KEY.to_vec(), P256_KEY.to_vec()], WORDS).slow(20),
    Target::new("token_object", token_object, || vec![claims().to_string().into_bytes()], WORDS),
    Target::new("id_token", id_token, claim_seeds, WORDS),
    Target::new("login_state", login_state, state_seeds, WORDS),
    Target::new("login_state_content", login_state_content, || vec![vec![1; 80]], WORDS),
    Target::new("discovery", discovery, || texts(&[DISCOVERY]), WORDS),
    Target::new(
        "token_answer",
        token_answer,
        || texts(&["\x00{\"id_token\":\"a.b.c\",\"access_token\":\"x\"}", "\x01{\"error\":\"invalid_grant\"}"]),
        WORDS,
    ),
    Target::new("card_token", card_token, || vec![specimen()["token"].to_string().into_bytes()], WORDS).slow(8),
    Target::new("card_certificate", card_certificate, || vec![CERTIFICATE.clone()], WORDS),
    Target::new("ocsp_answer", ocsp_answer, || vec![OCSP_ANSWER.to_vec()], WORDS),
];

static SIGNING: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_pem(KEY).expect("the fixture is a key"));
static KEYS: LazyLock<JwkSet> = LazyLock::new(|| {
    let p256 = SigningKey::from_pem(P256_KEY).expect("the fixture is a key");
    JwkSet(vec![SIGNING.public_jwk(), p256.public_jwk()])
});
static DECRYPTION: LazyLock<[DecryptionKey; 1]> = LazyLock::new(|| [DecryptionKey::from_pem(KEY).expect("the fixture is a key")]);
static STATE_KEY: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::from_bytes([4; 32]));

fn claims() -> Value {
    json!({
        "iss": "https://idp.example", "aud": "kluis", "sub": "s", "nonce": "nonce", "acr": "loa3",
        "exp": NOW_S + 60, "iat": NOW_S, "nbf": NOW_S, "auth_time": NOW_S,
        "eid": "11030495678", "name": "N", "roles": ["notary"],
    })
}

/// RS256 takes no randomness: the same each time.
static SIGNED: LazyLock<String> = LazyLock::new(|| jose::sign(&claims(), &SIGNING).expect("the key signs"));

fn jws(data: &[u8]) -> bool {
    let token = text(data);
    let mut verified = false;
    for alg in [SignatureAlgorithm::Rs256, SignatureAlgorithm::Ps256, SignatureAlgorithm::Es256] {
        if let Ok(payload) = jose::verify(&token, alg, &KEYS) {
            // The only token that was ever signed with these keys.
            assert_eq!(String::from_utf8_lossy(&payload), claims().to_string(), "{token} verifies");
            verified = true;
        }
    }
    verified
}

fn jwe(data: &[u8]) -> bool {
    let token = text(data);
    let mut opened = false;
    for enc in [ContentEncryption::A256Gcm, ContentEncryption::A128CbcHs256] {
        if let Ok(content) = jose::decrypt(&token, KeyManagement::RsaOaep256, enc, DECRYPTION.as_slice()) {
            assert_eq!(content.as_slice(), b"kluis", "{token} opens");
            opened = true;
        }
    }
    opened
}

fn jwk_set(data: &[u8]) -> bool {
    let Ok(set) = JwkSet::parse(data) else { return false };
    let shown = set.to_json().to_string();
    assert_eq!(JwkSet::parse(shown.as_bytes()).as_ref(), Ok(&set));
    for key in &set.0 {
        let _ = key.key.thumbprint();
    }
    // Keys of a stranger are only ever used so.
    let _ = jose::verify(&SIGNED, SignatureAlgorithm::Rs256, &set);
    !set.0.is_empty()
}

fn private_key(data: &[u8]) -> bool {
    let signing = SigningKey::from_pem(data);
    if let Ok(key) = &signing {
        assert_eq!(key.kid(), key.public_jwk().key.thumbprint());
    }
    signing.is_ok() | DecryptionKey::from_pem(data).is_ok()
}

fn token_object(data: &[u8]) -> bool {
    let Some(object) = parse_object(data) else { return false };
    let shown = Value::Object(object).to_string();
    assert!(parse_object(shown.as_bytes()).is_some(), "{shown}");
    true
}

/// Claims and a userinfo answer, separated by a line.
fn claim_seeds() -> Vec<Vec<u8>> {
    let userinfo = json!({ "sub": "s", "given_name": "G", "family_name": "F", "birthdate": "2011-03-04" });
    let list = json!({ "iss": "https://idp.example", "aud": ["kluis"], "sub": "s", "exp": 1.8e9, "iat": NOW_S, "acr": "loa1" });
    texts(&[format!("{}\n{userinfo}", claims()), format!("{list}\n{userinfo}")])
}

fn id_token(data: &[u8]) -> bool {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (id_token, userinfo) = data.split_at(at);
    let name = check_tokens(id_token, userinfo.trim_ascii_start(), NOW_S);
    // Any time must do: a provider's clock is not ours.
    let _ = check_tokens(id_token, userinfo.trim_ascii_start(), u64::MAX);
    assert!(!name.as_ref().is_ok_and(|name| name.chars().count() > 511), "a name without end");
    name.is_ok()
}

fn state_seeds() -> Vec<Vec<u8>> {
    vec![new_state(&STATE_KEY, &Fixed, "itsme").expect("the cipher works").into_bytes()]
}

fn login_state(data: &[u8]) -> bool {
    let state = text(data);
    let Some((said, own_cookie, _)) = open_state(&STATE_KEY, &state, &state, 1_000) else { return false };
    assert!(own_cookie, "an attempt knows its own cookie");
    assert_eq!(state.as_bytes(), state_seeds()[0], "the only state that was ever sealed with this key: {said}");
    true
}

/// What lies behind the seal: of a gateway of another version, or of a key that was stolen.
fn login_state_content(data: &[u8]) -> bool {
    let state = seal_as_state(&STATE_KEY, &Fixed, data).expect("the cipher works");
    match open_state(&STATE_KEY, &state, &text(data), u64::MAX) {
        Some((_, own_cookie, _)) => {
            assert!(own_cookie, "an attempt knows its own cookie");
            true
        }
        None => false,
    }
}

fn discovery(data: &[u8]) -> bool {
    is_discovery(data)
}

/// The status in the first byte, the body after it.
fn token_answer(data: &[u8]) -> bool {
    let (status, body) = data.split_first().unwrap_or((&0, data));
    let status = [200, 400, 401, 500][usize::from(status % 4)];
    match read_tokens(status, body) {
        Ok(_) => status == 200,
        Err(error) => {
            // Shown to people and logged: never the provider's own words.
            assert!(error.to_string().len() < 200, "{error}");
            false
        }
    }
}

const SPECIMEN: &str = include_str!("../../../gateway/testdata/webeid-be-specimen.json");

fn specimen() -> Value {
    serde_json::from_str(SPECIMEN).expect("the fixture is JSON")
}

static CERTIFICATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let token = specimen()["token"].as_object().map(Token::parse);
    token.expect("the fixture has a token").expect("it is one").certificate
});

/// What a card made, or somebody in its name.
fn card_token(data: &[u8]) -> bool {
    let Some(members) = parse_object(data) else { return false };
    let Ok(token) = Token::parse(&members) else { return false };
    let Some(certificate) = Certificate::parse(&token.certificate) else { return false };
    let specimen = specimen();
    let (origin, nonce) = (specimen["origin"].as_str().unwrap_or_default(), specimen["nonce"].as_str().unwrap_or_default());
    assert!(token.verify(&certificate.key, "https://other.example", nonce).is_err(), "it was signed for another place");
    let verifies = token.verify(&certificate.key, origin, nonce).is_ok();
    // The issuer's key is not here: a certificate may differ where its key does not.
    assert!(!verifies || certificate.key == Certificate::parse(&CERTIFICATE).expect("the fixture parses").key);
    verifies
}

fn card_certificate(data: &[u8]) -> bool {
    let Some(certificate) = Certificate::parse(data) else { return false };
    let _ = (certificate.attribute(SERIAL_NUMBER), certificate.attribute(COMMON_NAME), certificate.key_usage());
    let _ = (certificate.has_purpose(OCSP_SIGNING), certificate.has_policy(&[0x60]), certificate.ocsp_addresses().count());
    let question = ocsp::question(&certificate, &certificate);
    assert!(der::only(&question, der::SEQUENCE).is_some(), "a question is one element");
    true
}

/// `unauthorized`: an answer without a word on any certificate.
const OCSP_ANSWER: &[u8] = &[0x30, 0x03, 0x0a, 0x01, 0x06];

/// An answer of a responder, or of somebody on the way: without the authority's key none says "good".
fn ocsp_answer(data: &[u8]) -> bool {
    let certificate = Certificate::parse(&CERTIFICATE).expect("the fixture parses");
    assert_eq!(ocsp::status(data, &certificate, &certificate, NOW_S), ocsp::Status::Unknown);
    der::only(data, der::SEQUENCE).is_some()
}
