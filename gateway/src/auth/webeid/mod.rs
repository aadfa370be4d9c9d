//! Signing in with a Belgian identity card, by Web eID.
//!
//! The page asks for a challenge, the card signs our origin and that challenge, and the page brings the token back.
//! Reading order: this file (the flow), [`token`] (what the card made), `chain` (whether its certificate counts),
//! [`ocsp`] and `responder` (whether it was revoked), [`certificate`] and [`der`] (what they are read with).
//!
//! Owns: the way from a challenge to a checked [`Identity`]. Not: accounts and sessions.
//! Holds: (1) an identity was signed by an authentication certificate of a configured authority, over the configured
//! origin and a challenge of ours that is at most [`CHALLENGE_LIFETIME_MS`] old and belongs to this browser; (2) the
//! metadata group takes each challenge once; (3) where revocation cannot be found out, nobody is let in; (4) the
//! national number is read from the verified certificate and never logged.

use std::sync::{Arc, PoisonError, RwLock};

use kluis_chunkstore::env::Entropy;
use kluis_raft::model::{Assurance, Role, SessionId};
use serde_json::{Map, Value};
use url::Url;

use super::{
    attempt::Attempt,
    national_number::NationalNumber,
    oidc::{AuthError, BadProvider, Identity},
};
use crate::keys::{LookupKey, SecretKey};

pub mod certificate;
mod chain;
pub mod der;
pub mod ocsp;
mod responder;
pub mod token;

use certificate::{COMMON_NAME, Certificate, GIVEN_NAME, SERIAL_NUMBER, SURNAME};
use chain::{Authorities, Lists};
use ocsp::Status;
use responder::Responder;
use token::Token;

/// Name of this way in, in addresses and in sessions.
pub const WAY: &str = "eid";
/// How long a challenge is good.
pub const CHALLENGE_LIFETIME_MS: u64 = 5 * 60 * 1000;
/// What a session says of its level: a card and its PIN are the highest level there is.
const ACR: &str = "eid";
/// What the Belgian profile puts behind the name in an authentication certificate.
const NAME_SUFFIX: &str = " (Authentication)";
const TEXT_CHARS_MAX: usize = 255;

/// The card as an operator configures it.
#[derive(Debug, Clone)]
pub struct WebEidConfig {
    /// Where people reach the service: its origin is what cards sign.
    pub public_url: Url,
    /// PEM of the root authorities.
    pub anchors_pem: Vec<u8>,
    /// PEM of the authorities between them and the cards.
    pub intermediates_pem: Vec<u8>,
    /// PEM of revocation lists.
    pub lists_pem: Vec<u8>,
    /// Accepted policies, as dotted object identifiers.
    pub policies: Vec<String>,
    /// Responders that may be asked: hosts, with a port where it is not 80. Empty: revocation lists must cover the cards.
    pub ocsp_hosts: Vec<String>,
}

/// What a page needs to have a card sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// What the card signs: base64 of 32 random bytes.
    pub nonce: String,
    /// What comes back with the token.
    pub state: String,
    /// When it is too late.
    pub expires_ms: u64,
    /// `Set-Cookie` header that binds it to the browser.
    pub set_cookie: String,
}

/// The card as a way in.
pub struct WebEid {
    origin: String,
    authorities: Authorities,
    lists: RwLock<Arc<Lists>>,
    responder: Responder,
    state_key: SecretKey,
}

impl std::fmt::Debug for WebEid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WebEid({})", self.origin)
    }
}

impl WebEid {
    /// Makes ready for `config`; asks nobody anything yet.
    ///
    /// # Errors
    /// [`BadProvider`], with what to change.
    pub fn new(config: WebEidConfig, lookup: &LookupKey) -> Result<Self, BadProvider> {
        let origin = config.public_url.origin();
        if !origin.is_tuple() || config.public_url.scheme() != "https" {
            return Err(BadProvider("cards sign an https origin".to_owned()));
        }
        Ok(Self {
            origin: origin.ascii_serialization(),
            authorities: Authorities::new(&config.anchors_pem, &config.intermediates_pem, &config.policies)?,
            lists: RwLock::new(Arc::new(chain::lists(&config.lists_pem)?)),
            responder: Responder::new(config.ocsp_hosts)?,
            state_key: lookup.derive(b"kluis login-state v1").map_err(|error| BadProvider(error.to_string()))?,
        })
    }

    /// Puts newer revocation lists in force.
    ///
    /// # Errors
    /// [`BadProvider`]; the old ones stay.
    pub fn renew_lists(&self, pem: &[u8]) -> Result<(), BadProvider> {
        let lists = Arc::new(chain::lists(pem)?);
        *self.lists.write().unwrap_or_else(PoisonError::into_inner) = lists;
        Ok(())
    }

    /// Begins an attempt; `step_up` is the session that it raises in the end.
    ///
    /// # Errors
    /// [`AuthError::Internal`].
    pub fn start(
        &self,
        now_ms: u64,
        entropy: &dyn Entropy,
        return_json: bool,
        step_up: Option<&SessionId>,
    ) -> Result<Challenge, AuthError> {
        let attempt = Attempt::new(now_ms, entropy, WAY, return_json);
        let attempt = attempt.raising(step_up.map(|session| session.0)).within(now_ms, CHALLENGE_LIFETIME_MS);
        Ok(Challenge {
            nonce: attempt.card_nonce(),
            state: attempt.seal(&self.state_key, entropy)?,
            expires_ms: attempt.expires_ms(),
            set_cookie: attempt.set_cookie(),
        })
    }

    /// Ends an attempt: the person, if everything holds. `cookie` is the value of the login cookie.
    ///
    /// # Errors
    /// [`AuthError`]. The caller must still have the attempt taken by the metadata group.
    pub async fn finish(&self, now_ms: u64, state: &str, token: &Map<String, Value>, cookie: Option<&str>) -> Result<Identity, AuthError> {
        let attempt = Attempt::open(&self.state_key, state).filter(|attempt| attempt.provider == WAY).ok_or(AuthError::LoginMismatch)?;
        if !cookie.is_some_and(|cookie| attempt.matches_cookie(cookie)) {
            return Err(AuthError::LoginMismatch);
        }
        if attempt.expired(now_ms) {
            return Err(AuthError::LoginExpired);
        }
        let token = Token::parse(token)?;
        let person = self.person(&token, &attempt.card_nonce(), now_ms / 1000).await?;
        Ok(Identity {
            attempt: attempt.hash(),
            number: person.number,
            name: person.name,
            given_name: person.given_name,
            family_name: person.family_name,
            // The card's certificate has none; that in the number is the register's own.
            birthdate: String::new(),
            acr: ACR.to_owned(),
            assurance: Assurance::High,
            way: WAY.to_owned(),
            step_up: attempt.step_up.map(SessionId),
            roles: vec![Role::Citizen],
            return_json: attempt.return_json,
        })
    }

    async fn person(&self, token: &Token, nonce: &str, now_s: u64) -> Result<Person, AuthError> {
        let certificate = Certificate::parse(&token.certificate).ok_or(AuthError::CertificateRefused { why: "form" })?;
        token.verify(&certificate.key, &self.origin, nonce)?;
        let lists = Arc::clone(&self.lists.read().unwrap_or_else(PoisonError::into_inner));
        let issuer = self.authorities.check(&token.certificate, &lists, now_s, self.responder.is_used())?;
        if self.responder.is_used() {
            let issuer = Certificate::parse(&issuer).ok_or(AuthError::CertificateRefused { why: "issuer" })?;
            let url = self.responder.choose(certificate.ocsp_addresses()).ok_or(AuthError::RevocationUnknown)?;
            let answer = self.responder.ask(url, ocsp::question(&certificate, &issuer)).await?;
            match ocsp::status(&answer, &certificate, &issuer, now_s) {
                Status::Good => {}
                Status::Revoked => return Err(AuthError::CertificateRefused { why: "revoked" }),
                Status::Unknown => return Err(AuthError::RevocationUnknown),
            }
        }
        Person::read(&certificate)
    }
}

/// A person, as a certificate states them.
struct Person {
    number: NationalNumber,
    name: String,
    given_name: String,
    family_name: String,
}

impl Person {
    fn read(certificate: &Certificate<'_>) -> Result<Self, AuthError> {
        let bad_number = AuthError::TokenInvalid { which: "national_number" };
        let number = certificate.attribute(SERIAL_NUMBER).and_then(|number| number.parse().ok()).ok_or(bad_number)?;
        let text = |oid| certificate.attribute(oid).map(clean).unwrap_or_default();
        let name = text(COMMON_NAME);
        let name = name.strip_suffix(NAME_SUFFIX).unwrap_or(&name).to_owned();
        Ok(Self { number, name, given_name: text(GIVEN_NAME), family_name: text(SURNAME) })
    }
}

/// Without control characters and of bounded length.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
