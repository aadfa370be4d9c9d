//! The bearer token of a session, the secret of a service, and the token of a link.
//!
//! ```text
//! klv_ <43 characters of base64url: 32 random bytes> <6 characters of base64url: start of SHA-256("klv_" body)>
//! kls_ the same, of a service
//! kll_ the same, of a link
//! ```
//! Owns: their text form and their hash. Not: how long a session or a service lives.
//! Holds: (1) a token is nowhere stored, only its SHA-256 ([`SessionId`], [`SecretHash`], [`LinkHash`]); (2) every token has one text form;
//! (3) all malformed texts are refused alike.
//!
//! Why a prefix and a checksum: scanners for leaked secrets find it, and a token that was cut while copying is
//! told from a wrong one without asking the metadata. Neither adds to its secrecy, nor needs to.

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kluis_chunkstore::env::Entropy;
use kluis_raft::model::{LinkHash, SecretHash, SessionId};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::keys::{KeyError, VaultKey};

const PREFIX: &str = "klv_";
const SERVICE_PREFIX: &str = "kls_";
const LINK_PREFIX: &str = "kll_";
const BODY_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;

/// Length of a token's text.
pub const TOKEN_TEXT_LEN: usize = PREFIX.len() + BODY_LEN + CHECKSUM_LEN;

/// A text that is no bearer token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a bearer token")]
pub struct BadToken;

/// 32 random bytes that stand for a session.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct BearerToken([u8; 32]);

impl std::fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BearerToken(..)")
    }
}

impl BearerToken {
    /// A new random token.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut token = Self([0; 32]);
        entropy.fill(&mut token.0);
        token
    }

    /// The token of this text, which must be exactly one token: no blanks, no other spelling.
    ///
    /// # Errors
    /// [`BadToken`], whatever is wrong.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        read(PREFIX, text).map(Self)
    }

    /// The text, to be shown once.
    pub fn to_text(&self) -> Zeroizing<String> {
        written(PREFIX, &self.0)
    }

    /// What the session is found by.
    pub fn session_id(&self) -> SessionId {
        SessionId(hash(&self.0))
    }
}

/// Constant-time comparison.
impl PartialEq for BearerToken {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for BearerToken {}

/// 32 random bytes that stand for a service.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ServiceToken([u8; 32]);

impl std::fmt::Debug for ServiceToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServiceToken(..)")
    }
}

impl ServiceToken {
    /// A new random secret.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut token = Self([0; 32]);
        entropy.fill(&mut token.0);
        token
    }

    /// The secret of this text, as strictly as [`BearerToken::parse`].
    ///
    /// # Errors
    /// [`BadToken`], whatever is wrong.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        read(SERVICE_PREFIX, text).map(Self)
    }

    /// The text, to be shown once.
    pub fn to_text(&self) -> Zeroizing<String> {
        written(SERVICE_PREFIX, &self.0)
    }

    /// What the service is found by.
    pub fn secret_hash(&self) -> SecretHash {
        SecretHash(hash(&self.0))
    }
}

/// 32 random bytes that stand for a link to one document.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct LinkToken([u8; 32]);

impl std::fmt::Debug for LinkToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkToken(..)")
    }
}

impl LinkToken {
    /// A new random token.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut token = Self([0; 32]);
        entropy.fill(&mut token.0);
        token
    }

    /// The token of this text, as strictly as [`BearerToken::parse`].
    ///
    /// # Errors
    /// [`BadToken`], whatever is wrong.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        read(LINK_PREFIX, text).map(Self)
    }

    /// The text, to be shown once.
    pub fn to_text(&self) -> Zeroizing<String> {
        written(LINK_PREFIX, &self.0)
    }

    /// What the link is found by.
    pub fn link_hash(&self) -> LinkHash {
        LinkHash(hash(&self.0))
    }

    /// What opens the document that the link shows.
    ///
    /// # Errors
    /// [`KeyError::Cipher`].
    pub fn key(&self) -> Result<VaultKey, KeyError> {
        VaultKey::of_link(&self.0)
    }
}

fn read(prefix: &str, text: &str) -> Result<[u8; 32], BadToken> {
    let rest = text.strip_prefix(prefix).filter(|rest| rest.len() == BODY_LEN + CHECKSUM_LEN).ok_or(BadToken)?;
    let (body, sum) = rest.split_at_checked(BODY_LEN).ok_or(BadToken)?;
    verify_slices_are_equal(checksum(prefix, body).as_bytes(), sum.as_bytes()).map_err(|_| BadToken)?;
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(body).map_err(|_| BadToken)?);
    bytes.as_slice().try_into().map_err(|_| BadToken)
}

fn written(prefix: &str, bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(TOKEN_TEXT_LEN));
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
    let sum = checksum(prefix, text.strip_prefix(prefix).unwrap_or_default());
    text.push_str(&sum);
    text
}

fn hash(bytes: &[u8; 32]) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    out
}

fn checksum(prefix: &str, body: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(prefix.as_bytes());
    context.update(body.as_bytes());
    let mut sum = URL_SAFE_NO_PAD.encode(context.finish().as_ref());
    sum.truncate(CHECKSUM_LEN);
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_never_printed_and_its_id_is_its_hash() {
        let token = BearerToken([0xab; 32]);
        assert_eq!(format!("{token:?}"), "BearerToken(..)");
        assert_eq!(&token.session_id().0[..], digest::digest(&digest::SHA256, &[0xab; 32]).as_ref());
    }

    #[test]
    fn malformed_texts_are_refused() {
        let good = BearerToken([7; 32]).to_text();
        assert_eq!(good.len(), TOKEN_TEXT_LEN);
        assert!(BearerToken::parse(&good).is_ok());
        let multibyte = format!("klv_{}é{}", "A".repeat(42), "A".repeat(5));
        assert_eq!(multibyte.len(), TOKEN_TEXT_LEN);
        for bad in ["", "klv_", &good[4..], &good[..good.len() - 1], &format!("{} ", *good), &format!("KLV_{}", &good[4..]), &multibyte] {
            assert_eq!(BearerToken::parse(bad).err(), Some(BadToken), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn texts_round_trip(bytes: [u8; 32]) {
            let token = BearerToken(bytes);
            prop_assert_eq!(BearerToken::parse(&token.to_text()).unwrap(), token);
            // Neither passes for the other.
            let secret = ServiceToken(bytes);
            prop_assert_eq!(ServiceToken::parse(&secret.to_text()).unwrap().secret_hash(), secret.secret_hash());
            prop_assert!(ServiceToken::parse(&BearerToken(bytes).to_text()).is_err());
            prop_assert!(BearerToken::parse(&secret.to_text()).is_err());
        }

        #[test]
        fn a_changed_character_is_refused(bytes: [u8; 32], at in 0..TOKEN_TEXT_LEN, by in 1u8..64) {
            let mut text = BearerToken(bytes).to_text().as_bytes().to_vec();
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let now = alphabet.iter().position(|c| *c == text[at]).unwrap();
            text[at] = alphabet[(now + usize::from(by)) % 64];
            prop_assert!(BearerToken::parse(std::str::from_utf8(&text).unwrap()).is_err());
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = BearerToken::parse(&text);
        }
    }
}
