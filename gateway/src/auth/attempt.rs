//! A login attempt: what a gateway must know when the person comes back, sealed into the `state` parameter.
//!
//! ```text
//! state  = base64url( nonce 12 || AES-256-GCM( format 1, attempt id 16, nonce 16, secret 32, mode 1, expiry 8,
//!                                              session to raise 32 (mode 2 and 3 only), name of the way in ) )
//! mode   = 1 when JSON is wanted back, plus 2 when a session is raised instead of begun
//! cookie = base64url( SHA-256( "kluis login cookie v1" || attempt id ) )
//! ```
//! The secret is the PKCE verifier of OpenID Connect, or the nonce that a card signs (Web eID).
//!
//! Owns: that form. Not: that an attempt is used once; the metadata group sees to that by [`Attempt::hash`].
//! Holds: (1) any gateway of the cluster can finish what another one started, and none remembers anything;
//! (2) an attempt finishes only in the browser that started it: without the cookie somebody could have
//! a victim finish the attacker's login (and upload into the attacker's vault).

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use kluis_chunkstore::env::Entropy;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::oidc::AuthError;
use crate::keys::{SecretKey, open_gcm, random_nonce, seal_gcm};

/// Name of the cookie that binds an attempt to a browser.
pub const LOGIN_COOKIE: &str = "__Host-kluis-login";
/// How long a person has for the identity provider's pages.
pub const ATTEMPT_LIFETIME_MS: u64 = 10 * 60 * 1000;
/// Header value that removes the cookie.
pub const CLEAR_LOGIN_COOKIE: &str = "__Host-kluis-login=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0";

pub(in crate::auth) const STATE_AAD: &[u8] = b"kluis login state v1";
const COOKIE_LABEL: &[u8] = b"kluis login cookie v1";
const FORMAT: u8 = 1;
const STATE_TEXT_MAX: usize = 1024;

/// One attempt to sign in.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Attempt {
    id: [u8; 16],
    nonce: [u8; 16],
    secret: [u8; 32],
    pub(super) return_json: bool,
    /// Hash of the token of the session that is raised; `None` = one begins.
    pub(super) step_up: Option<[u8; 32]>,
    expires_ms: u64,
    pub(super) provider: String,
}

impl Attempt {
    pub(super) fn new(now_ms: u64, entropy: &dyn Entropy, provider: &str, return_json: bool) -> Self {
        let (mut id, mut nonce, mut secret) = ([0; 16], [0; 16], [0; 32]);
        entropy.fill(&mut id);
        entropy.fill(&mut nonce);
        entropy.fill(&mut secret);
        let expires_ms = now_ms.saturating_add(ATTEMPT_LIFETIME_MS);
        Self { id, nonce, secret, return_json, step_up: None, expires_ms, provider: provider.to_owned() }
    }

    /// The attempt, to raise a session instead of beginning one.
    pub(super) fn raising(mut self, session: Option<[u8; 32]>) -> Self {
        self.step_up = session;
        self
    }

    /// The attempt, with a shorter life.
    pub(super) fn within(mut self, now_ms: u64, lifetime_ms: u64) -> Self {
        self.expires_ms = self.expires_ms.min(now_ms.saturating_add(lifetime_ms));
        self
    }

    /// When it is too late.
    pub(super) fn expires_ms(&self) -> u64 {
        self.expires_ms
    }

    /// The `state` parameter.
    pub(super) fn seal(&self, key: &SecretKey, entropy: &dyn Entropy) -> Result<String, AuthError> {
        let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(128 + self.provider.len()));
        plain.push(FORMAT);
        plain.extend_from_slice(&self.id);
        plain.extend_from_slice(&self.nonce);
        plain.extend_from_slice(&self.secret);
        plain.push(u8::from(self.return_json) | (u8::from(self.step_up.is_some()) << 1));
        plain.extend_from_slice(&self.expires_ms.to_be_bytes());
        plain.extend_from_slice(self.step_up.as_ref().map_or(&[][..], <[u8; 32]>::as_slice));
        plain.extend_from_slice(self.provider.as_bytes());
        let nonce = random_nonce(entropy);
        let sealed = seal_gcm(key.expose(), nonce, STATE_AAD, &plain).map_err(|_| AuthError::Internal)?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// The attempt in `state`, however old; `None` when no gateway of this cluster made it.
    pub(super) fn open(key: &SecretKey, state: &str) -> Option<Self> {
        if state.len() > STATE_TEXT_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(state).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<12>()?;
        let plain = open_gcm(key.expose(), *nonce, STATE_AAD, sealed).ok()?;
        let (&[FORMAT], rest) = plain.split_first_chunk::<1>()? else { return None };
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (nonce, rest) = rest.split_first_chunk::<16>()?;
        let (secret, rest) = rest.split_first_chunk::<32>()?;
        let (&[mode @ 0..=3], rest) = rest.split_first_chunk::<1>()? else { return None };
        let (expires_ms, rest) = rest.split_first_chunk::<8>()?;
        let (step_up, provider) = match mode & 2 {
            0 => (None, rest),
            _ => rest.split_first_chunk::<32>().map(|(session, rest)| (Some(*session), rest))?,
        };
        Some(Self {
            id: *id,
            nonce: *nonce,
            secret: *secret,
            return_json: mode & 1 == 1,
            step_up,
            expires_ms: u64::from_be_bytes(*expires_ms),
            provider: std::str::from_utf8(provider).ok()?.to_owned(),
        })
    }

    /// Whether it is too late, or the attempt comes from a future that no clock difference explains.
    pub(super) fn expired(&self, now_ms: u64) -> bool {
        now_ms >= self.expires_ms || self.expires_ms > now_ms.saturating_add(ATTEMPT_LIFETIME_MS + 60_000)
    }

    /// What the metadata group remembers so that the attempt is used once.
    pub(super) fn hash(&self) -> [u8; 32] {
        sha256(&[&self.id])
    }

    /// The `nonce` that the ID token must carry.
    pub(super) fn nonce_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.nonce.as_slice())
    }

    /// The PKCE `code_verifier` (RFC 7636).
    pub(super) fn verifier_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.secret.as_slice())
    }

    /// The nonce that a card signs (Web eID): standard base64, of which the text itself is signed.
    pub(super) fn card_nonce(&self) -> String {
        STANDARD.encode(self.secret.as_slice())
    }

    /// The PKCE `code_challenge`, S256.
    pub(super) fn challenge_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha256(&[self.verifier_text().as_bytes()]))
    }

    fn cookie_value(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha256(&[COOKIE_LABEL, &self.id]))
    }

    /// The `Set-Cookie` header.
    pub(super) fn set_cookie(&self) -> String {
        let value = self.cookie_value();
        format!("{LOGIN_COOKIE}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={}", ATTEMPT_LIFETIME_MS / 1000)
    }

    /// Whether `cookie` (a `Cookie` header, or the value of [`LOGIN_COOKIE`] alone) is this attempt's.
    pub(super) fn matches_cookie(&self, cookie: &str) -> bool {
        let wanted = self.cookie_value();
        let equal = |value: &str| verify_slices_are_equal(value.as_bytes(), wanted.as_bytes()).is_ok();
        equal(cookie)
            || cookie.split(';').filter_map(|pair| pair.trim().split_once('=')).any(|(name, value)| name == LOGIN_COOKIE && equal(value))
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::tests::TestEntropy;

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_bytes([byte; 32])
    }

    #[test]
    fn states_round_trip_and_tampering_is_refused() {
        let attempt = Attempt::new(1_000, &TestEntropy, "itsme", true);
        let state = attempt.seal(&key(1), &TestEntropy).unwrap();
        let opened = Attempt::open(&key(1), &state).unwrap();
        assert_eq!(
            (opened.hash(), opened.nonce_text(), opened.verifier_text()),
            (attempt.hash(), attempt.nonce_text(), attempt.verifier_text())
        );
        assert!(opened.return_json && opened.provider == "itsme");
        let raising = Attempt::new(1_000, &TestEntropy, "eid", false).raising(Some([9; 32])).within(1_000, 60);
        let opened = Attempt::open(&key(1), &raising.seal(&key(1), &TestEntropy).unwrap()).unwrap();
        assert_eq!((opened.step_up, opened.return_json, opened.provider.as_str()), (Some([9; 32]), false, "eid"));
        assert_eq!((opened.expires_ms(), opened.card_nonce()), (1_060, raising.card_nonce()));
        assert!(Attempt::open(&key(2), &state).is_none());
        for at in 0..state.len() {
            let mut edited = state.clone().into_bytes();
            edited[at] = if edited[at] == b'A' { b'B' } else { b'A' };
            assert!(Attempt::open(&key(1), std::str::from_utf8(&edited).unwrap()).is_none(), "{at}");
        }
        for bad in ["", "AAAA", &"A".repeat(2000), "é"] {
            assert!(Attempt::open(&key(1), bad).is_none());
        }
    }

    #[test]
    fn only_the_same_browser_within_ten_minutes() {
        let attempt = Attempt::new(1_000, &TestEntropy, "itsme", false);
        let header = attempt.set_cookie();
        assert!(header.starts_with("__Host-kluis-login=") && header.contains("; Secure; HttpOnly; SameSite=Lax"));
        let pair = header.split(';').next().unwrap();
        assert!(attempt.matches_cookie(&format!("a=b; {pair}; c=d")));
        assert!(attempt.matches_cookie(pair.split_once('=').unwrap().1));
        assert!(!attempt.matches_cookie(&format!("other{pair}")));
        assert!(!attempt.matches_cookie(""));
        let other = Attempt::new(1_000, &TestEntropy, "itsme", false);
        assert!(!other.matches_cookie(pair));
        assert!(!attempt.expired(1_000 + ATTEMPT_LIFETIME_MS - 1));
        assert!(attempt.expired(1_000 + ATTEMPT_LIFETIME_MS));
        assert!(Attempt::new(10_000_000, &TestEntropy, "itsme", false).expired(1_000));
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636_appendix_b() {
        let mut attempt = Attempt::new(0, &TestEntropy, "itsme", false);
        attempt.secret = URL_SAFE_NO_PAD.decode("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap().try_into().unwrap();
        assert_eq!(attempt.challenge_text(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
