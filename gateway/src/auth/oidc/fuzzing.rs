//! What a sign-in reads from strangers, for tests that feed it with bytes of their own (`tests/src/fuzz`).
//!
//! Owns: the way in. Not: any behaviour (`attempt`, `claims`, `provider`).
//! Holds: nothing of the program calls this; the checks are those of a real sign-in.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kluis_chunkstore::env::Entropy;
use reqwest::StatusCode;

use super::{
    Answer, AuthError, Tokens,
    claims::{Expected, check_id_token, check_userinfo, person},
    parse_answer,
    provider::Discovery,
};
use crate::{
    auth::attempt::{Attempt, STATE_AAD},
    keys::{SecretKey, random_nonce, seal_gcm},
};

/// A `state` parameter as a gateway makes it.
///
/// # Errors
/// The cipher failed.
pub fn new_state(key: &SecretKey, entropy: &dyn Entropy, provider: &str) -> Result<String, AuthError> {
    Attempt::new(0, entropy, provider, true).seal(key, entropy)
}

/// Any bytes, sealed as a `state` parameter: so that a test gets behind the seal.
///
/// # Errors
/// The cipher failed.
pub fn seal_as_state(key: &SecretKey, entropy: &dyn Entropy, plain: &[u8]) -> Result<String, AuthError> {
    let nonce = random_nonce(entropy);
    let sealed = seal_gcm(key.expose(), nonce, STATE_AAD, plain).map_err(|_| AuthError::Internal)?;
    Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
}

/// Opens a `state` and asks everything of the attempt in it: what it says, and whether it knows its own cookie
/// and the given one. `None` when it is none of this key's.
pub fn open_state(key: &SecretKey, state: &str, cookie: &str, now_ms: u64) -> Option<(String, bool, bool)> {
    let attempt = Attempt::open(key, state)?;
    let own = attempt.set_cookie();
    let own_pair = own.split(';').next().unwrap_or_default();
    let texts = [attempt.nonce_text(), attempt.verifier_text(), attempt.challenge_text()].join(" ");
    let said = format!("{} {} {texts}", attempt.provider, attempt.expired(now_ms));
    Some((said, attempt.matches_cookie(own_pair), attempt.matches_cookie(cookie)))
}

/// Checks a verified ID token's claims and a userinfo answer as of `now_s`, with a configuration of tests.
///
/// # Errors
/// As a sign-in.
pub fn check_tokens(id_token: &[u8], userinfo: &[u8], now_s: u64) -> Result<String, AuthError> {
    let acr_values = ["loa3".to_owned()];
    let expected = Expected {
        issuer: "https://idp.example",
        client_id: "kluis",
        nonce: "nonce",
        acr_values: &acr_values,
        max_age_s: Some(300),
        now_s,
    };
    let claims = check_id_token(id_token, &expected)?;
    let userinfo = check_userinfo(userinfo, &claims, &expected)?;
    person(&claims, &userinfo, "eid", Some("roles")).map(|person| person.name)
}

/// Whether a body is a usable discovery document.
pub fn is_discovery(body: &[u8]) -> bool {
    Discovery::parse(body).is_some()
}

/// Reads an answer of the token endpoint.
///
/// # Errors
/// A refusal, or an answer of another form.
pub fn read_tokens(status: u16, body: &[u8]) -> Result<usize, AuthError> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let answer = Answer { status, content_type: "application/json".to_owned(), body: body.to_vec() };
    let tokens: Tokens = parse_answer(&answer, &[StatusCode::OK])?;
    Ok(tokens.id_token.len() + tokens.access_token.len())
}
