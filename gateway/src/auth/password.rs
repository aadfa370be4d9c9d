//! Passwords of links: stretched, so that who steals the metadata cannot try many.
//!
//! Owns: the text form `pbkdf2-sha256$ROUNDS$SALT$HASH` (base64). Not: how often somebody may try.
//! Holds: (1) the password itself is nowhere stored; (2) comparison takes the same time for any wrong one. People never
//! sign in with passwords: this is for links alone.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use kluis_chunkstore::env::Entropy;
use kluis_raft::model::PasswordHash;

/// What OWASP asks of PBKDF2-HMAC-SHA256 (2023).
const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(599_999);
/// Most rounds that a stored text may ask for.
const ROUNDS_MAX: u32 = 10_000_000;
const NAME: &str = "pbkdf2-sha256";

/// What is stored of a password. Takes a few hundred milliseconds of a core.
pub fn hashed(entropy: &dyn Entropy, password: &str) -> PasswordHash {
    let mut salt = [0; 16];
    entropy.fill(&mut salt);
    let mut hash = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, &salt, password.as_bytes(), &mut hash);
    PasswordHash(format!("{NAME}${ROUNDS}${}${}", STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash)))
}

/// Whether this is the password. Takes as long.
pub fn is_right(PasswordHash(stored): &PasswordHash, password: &str) -> bool {
    let mut parts = stored.split('$');
    let (Some(NAME), Some(rounds), Some(salt), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let rounds = rounds.parse::<NonZeroU32>().ok().filter(|rounds| rounds.get() <= ROUNDS_MAX);
    let (Some(rounds), Ok(salt), Ok(hash)) = (rounds, STANDARD_NO_PAD.decode(salt), STANDARD_NO_PAD.decode(hash)) else { return false };
    pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::tests::TestEntropy;

    #[test]
    fn the_password_opens_and_nothing_else_does() {
        let stored = hashed(&TestEntropy, "correct horse");
        assert!(is_right(&stored, "correct horse") && !is_right(&stored, "correct horsf"));
        assert!(stored.0.len() <= kluis_raft::model::Link::PASSWORD_BYTES_MAX);
        for bad in ["", "pbkdf2-sha256$0$AA$AA", "pbkdf2-sha256$1$AA", "x$1$AA$AA", "pbkdf2-sha256$1$AA$", "pbkdf2-sha256$4000000000$AA$AA"]
        {
            assert!(!is_right(&PasswordHash(bad.into()), ""), "{bad}");
        }
    }
}
