//! The bearer token of a session.
//!
//! ```text
//! klv_ <43 characters of base64url: 32 random bytes> <6 characters of base64url: start of SHA-256("klv_" body)>
//! ```
//! Owns: its text form and its hash. Not: how long a session lives.
//! Holds: (1) a token is nowhere stored, only its SHA-256 ([`SessionId`]); (2) every token has one text form;
//! (3) all malformed texts are refused alike.
//!
//! Why a prefix and a checksum: scanners for leaked secrets find it, and a token that was cut while copying is
//! told from a wrong one without asking the metadata. Neither adds to its secrecy, nor needs to.

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kluis_chunkstore::env::Entropy;
use kluis_raft::model::SessionId;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const PREFIX: &str = "klv_";
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
        let rest = text.strip_prefix(PREFIX).filter(|rest| rest.len() == BODY_LEN + CHECKSUM_LEN).ok_or(BadToken)?;
        let (body, sum) = rest.split_at_checked(BODY_LEN).ok_or(BadToken)?;
        verify_slices_are_equal(checksum(body).as_bytes(), sum.as_bytes()).map_err(|_| BadToken)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(body).map_err(|_| BadToken)?);
        bytes.as_slice().try_into().map(Self).map_err(|_| BadToken)
    }

    /// The text, to be shown once.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(TOKEN_TEXT_LEN));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(self.0.as_slice(), &mut text);
        let sum = checksum(text.strip_prefix(PREFIX).unwrap_or_default());
        text.push_str(&sum);
        text
    }

    /// What the session is found by.
    pub fn session_id(&self) -> SessionId {
        let mut id = [0; 32];
        id.iter_mut().zip(digest::digest(&digest::SHA256, &self.0).as_ref()).for_each(|(to, from)| *to = *from);
        SessionId(id)
    }
}

/// Constant-time comparison.
impl PartialEq for BearerToken {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for BearerToken {}

fn checksum(body: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(PREFIX.as_bytes());
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
