//! The token that a card makes (Web eID authentication token, version 1).
//!
//! ```text
//! { "format": "web-eid:1.0", "algorithm": "ES384", "unverifiedCertificate": base64 of DER, "signature": base64, .. }
//! signed bytes = H(origin) || H(nonce), H the hash of the algorithm, the nonce hashed as its base64 text
//! ```
//! Owns: that form and the check of its signature. Not: whose certificate it is (`super::chain`).
//! Holds: (1) the algorithm must be the one of the certificate's key: the token's word alone chooses none; (2) origin
//! and nonce are ours, never the token's.

use aws_lc_rs::{
    digest::{SHA256, SHA384, digest},
    signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::certificate::PublicKey;
use crate::auth::oidc::AuthError;

/// Most bytes of a certificate's text: real ones have two to three thousand.
const CERTIFICATE_TEXT_MAX: usize = 8 * 1024;
/// Most bytes of a signature's text: that of an RSA key of 4096 bits has 684.
const SIGNATURE_TEXT_MAX: usize = 1400;

/// How a card signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Es256,
    Es384,
    Rs256,
}

/// A token that was read, and of which nothing is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    algorithm: Algorithm,
    /// The certificate.
    pub certificate: Vec<u8>,
    signature: Vec<u8>,
}

fn invalid(which: &'static str) -> AuthError {
    AuthError::TokenInvalid { which }
}

impl Token {
    /// Reads a token's members. Members that later versions add are passed over.
    ///
    /// # Errors
    /// [`AuthError::TokenInvalid`], with the member that is wrong.
    pub fn parse(members: &Map<String, Value>) -> Result<Self, AuthError> {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        if !text("format").is_some_and(is_known_format) {
            return Err(invalid("format"));
        }
        let algorithm = match text("algorithm") {
            Some("ES256") => Algorithm::Es256,
            Some("ES384") => Algorithm::Es384,
            Some("RS256") => Algorithm::Rs256,
            _ => return Err(invalid("alg")),
        };
        let bytes = |name: &str, max: usize| text(name).filter(|t| t.len() <= max).and_then(|t| STANDARD.decode(t).ok());
        let certificate = bytes("unverifiedCertificate", CERTIFICATE_TEXT_MAX).ok_or_else(|| invalid("certificate"))?;
        let signature = bytes("signature", SIGNATURE_TEXT_MAX).ok_or_else(|| invalid("signature"))?;
        Ok(Self { algorithm, certificate, signature })
    }

    /// Checks that `key` signed our origin and our nonce.
    ///
    /// # Errors
    /// [`AuthError::TokenInvalid`]: another algorithm than the key's, or another signature.
    pub fn verify(&self, key: &PublicKey<'_>, origin: &str, nonce: &str) -> Result<(), AuthError> {
        let signed = |hash| [digest(hash, origin.as_bytes()).as_ref(), digest(hash, nonce.as_bytes()).as_ref()].concat();
        let signature = self.signature.as_slice();
        let verified = match (self.algorithm, key) {
            (Algorithm::Es256, PublicKey::P256(point)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(&signed(&SHA256), signature)
            }
            (Algorithm::Es384, PublicKey::P384(point)) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(&signed(&SHA384), signature)
            }
            (Algorithm::Rs256, PublicKey::Rsa(bits)) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, bits).verify(&signed(&SHA256), signature)
            }
            _ => return Err(invalid("alg")),
        };
        verified.map_err(|_| invalid("signature"))
    }
}

/// `web-eid:1`, with a minor version or without.
fn is_known_format(format: &str) -> bool {
    let is_minor = |minor: &str| (1..=3).contains(&minor.len()) && minor.bytes().all(|b| b.is_ascii_digit());
    match format.strip_prefix("web-eid:1") {
        Some("") => true,
        Some(rest) => rest.strip_prefix('.').is_some_and(is_minor),
        None => false,
    }
}
