//! Keys: master key, vault keys, document keys, and what each of them wraps.
//!
//! Reading order: this file (the [`MasterKey`] port and [`SecretKey`]), [`mod@file`] (a master key in a file),
//! [`pkcs11`] (a master key in an HSM), [`vault_key`] (everything below the master key).
//!
//! ```text
//! master key (HSM or file, generations) -> vault key -> document key -> chunk keys (crate::seal)
//!                                       -> look-up key (keyed hash of national numbers)
//!                                       -> log key (signs checkpoints of the tamper-evident log)
//! ```
//! Owns: wrapping and unwrapping of keys. Not: where wrapped keys are stored (the metadata group).
//! Holds: (1) a key in memory is wiped when it is dropped and never printed; (2) every wrap is bound to
//! its context, so that a wrapped key that was moved to another place does not unwrap.
//!
//! Why random keys and no convergent encryption: with it, whoever guesses a form's content could prove
//! that a vault holds it.

use std::path::PathBuf;

use async_trait::async_trait;
use aws_lc_rs::{aead, hkdf};
use kluis_chunkstore::env::Entropy;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub mod file;
#[doc(hidden)]
pub mod fuzzing;
pub mod pkcs11;
pub mod vault_key;

pub use vault_key::{DocumentKey, KeyRing, LookupKey, VaultKey};

/// 32 secret bytes. Wiped on drop, never printed, not comparable.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// The key of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A new random key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut key = Self([0; 32]);
        entropy.fill(&mut key.0);
        key
    }

    /// The bytes, for a cipher. Do not copy them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for SecretKey {
    type Error = KeyError;

    fn try_from(bytes: &[u8]) -> Result<Self, KeyError> {
        bytes.try_into().map(Self).map_err(|_| KeyError::Malformed("a key has 32 bytes"))
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// Why a key could not be made, read, wrapped or unwrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The wrapped key was edited, belongs to another context or was wrapped under another master key.
    #[error("a wrapped key does not unwrap here")]
    Refused,
    /// The generation that wrapped it has been destroyed.
    #[error("generation {0} of the master key does not exist")]
    NoGeneration(u32),
    /// None of the wraps is of a master key that this gateway has.
    #[error("no wrap of this key is of a master key that this gateway has")]
    NoMaster,
    /// The bytes are no wrapped key or no key file.
    #[error("{0}")]
    Malformed(&'static str),
    /// A key file that others can read, or that belongs to somebody else.
    #[error("{path}: {why}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// What to change.
        why: &'static str,
    },
    /// A key that is to be created exists already.
    #[error("{0} exists already; it is never overwritten")]
    Exists(String),
    /// The file could not be read or written.
    #[error("{path}: {why}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The HSM does not answer, or not as it should. Retry later.
    #[error("the HSM is not available: {0}")]
    Unavailable(String),
    /// The cipher refused to work: never because of the input.
    #[error("the cipher failed")]
    Cipher,
}

/// A key that wraps keys and never leaves its place. Has generations: the newest wraps, all that still
/// exist unwrap, and destroying one makes whatever only it wrapped unreadable for ever.
#[async_trait]
pub trait MasterKey: Send + Sync {
    /// Name of the master key, the same on every gateway that shares it and over generations. Stands next to
    /// everything that it wrapped.
    fn id(&self) -> &str;

    /// `key` under the newest generation, bound to `context`.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`] while an HSM does not answer.
    async fn wrap(&self, context: &[u8], key: &[u8; 32]) -> Result<Vec<u8>, KeyError>;

    /// The key that `wrapped` holds, if it was wrapped by this master key with the same `context`.
    ///
    /// # Errors
    /// [`KeyError::Refused`], [`KeyError::NoGeneration`], [`KeyError::Malformed`]; [`KeyError::Unavailable`]
    /// while an HSM does not answer.
    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretKey, KeyError>;

    /// The generations that exist, oldest first; the last one wraps. Never empty.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`] while an HSM does not answer.
    async fn generations(&self) -> Result<Vec<u32>, KeyError>;
}

/// What both kinds of master key put around a wrapped key.
///
/// ```text
/// offset  bytes  field
///      0      1  format, 1 (AES-256-GCM)
///      1      4  generation, big-endian
///      5     12  nonce, random
///     17     32  the key, encrypted
///     49     16  tag
/// ```
pub(crate) struct WrapFormat;

impl WrapFormat {
    const VERSION: u8 = 1;
    const LEN: usize = 65;

    /// Generation, nonce, and ciphertext with tag.
    pub(crate) fn parse(wrapped: &[u8]) -> Result<(u32, [u8; 12], &[u8]), KeyError> {
        let bad = || KeyError::Malformed("not a wrapped key");
        if wrapped.len() != Self::LEN || wrapped.first() != Some(&Self::VERSION) {
            return Err(bad());
        }
        let generation = wrapped.get(1..5).and_then(|b| b.try_into().ok()).ok_or_else(bad)?;
        let nonce = wrapped.get(5..17).and_then(|b| b.try_into().ok()).ok_or_else(bad)?;
        Ok((u32::from_be_bytes(generation), nonce, wrapped.get(17..).ok_or_else(bad)?))
    }

    pub(crate) fn render(generation: u32, nonce: [u8; 12], ciphertext: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut out = Vec::with_capacity(Self::LEN);
        out.push(Self::VERSION);
        out.extend_from_slice(&generation.to_be_bytes());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(ciphertext);
        if out.len() == Self::LEN { Ok(out) } else { Err(KeyError::Cipher) }
    }

    /// Associated data: which master key, which generation, what for. Every field but the last has a fixed
    /// or written length, so that two different triples never give the same bytes.
    pub(crate) fn aad(master: &str, generation: u32, context: &[u8]) -> Vec<u8> {
        let mut aad = b"kluis wrap v1".to_vec();
        aad.extend_from_slice(&u64::try_from(master.len()).unwrap_or(u64::MAX).to_be_bytes());
        aad.extend_from_slice(master.as_bytes());
        aad.extend_from_slice(&generation.to_be_bytes());
        aad.extend_from_slice(context);
        aad
    }
}

struct OutputLen(usize);

impl hkdf::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand (RFC 5869) into `out`.
pub(crate) fn expand(prk: &hkdf::Prk, info: &[&[u8]], out: &mut [u8]) -> Result<(), KeyError> {
    prk.expand(info, OutputLen(out.len())).and_then(|okm| okm.fill(out)).map_err(|_| KeyError::Cipher)
}

/// A key for one purpose, derived from `key`.
pub(crate) fn derive(key: &SecretKey, label: &[u8]) -> Result<SecretKey, KeyError> {
    let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, key.expose());
    let mut derived = SecretKey([0; 32]);
    expand(&prk, &[label], &mut derived.0)?;
    Ok(derived)
}

/// AES-256-GCM: ciphertext and tag. `nonce` must never come twice with the same key.
pub(crate) fn seal_gcm(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, key).map_err(|_| KeyError::Cipher)?;
    // Room for the tag from the start: growing would leave a copy of the plaintext behind.
    let mut out = Vec::with_capacity(plain.len() + aead::MAX_TAG_LEN);
    out.extend_from_slice(plain);
    aead::LessSafeKey::new(key)
        .seal_in_place_append_tag(aead::Nonce::assume_unique_for_key(nonce), aead::Aad::from(aad), &mut out)
        .map_err(|_| KeyError::Cipher)?;
    Ok(out)
}

/// The plaintext of what [`seal_gcm`] made.
pub(crate) fn open_gcm(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, key).map_err(|_| KeyError::Cipher)?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let plain_len = aead::LessSafeKey::new(key)
        .open_in_place(aead::Nonce::assume_unique_for_key(nonce), aead::Aad::from(aad), buffer.as_mut_slice())
        .map_err(|_| KeyError::Refused)?
        .len();
    buffer.truncate(plain_len);
    Ok(buffer)
}

/// 12 random bytes.
pub(crate) fn random_nonce(entropy: &dyn Entropy) -> [u8; 12] {
    let mut nonce = [0; 12];
    entropy.fill(&mut nonce);
    nonce
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Real randomness, for tests.
    pub(crate) struct TestEntropy;

    impl Entropy for TestEntropy {
        fn fill(&self, buffer: &mut [u8]) {
            aws_lc_rs::rand::fill(buffer).unwrap();
        }
    }

    #[test]
    fn hkdf_expand_is_rfc_5869_test_case_1() {
        let prk = hex::decode("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5").unwrap();
        let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &prk);
        let mut out = [0; 42];
        expand(&prk, &[&hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap()], &mut out).unwrap();
        assert_eq!(hex::encode(out), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    }

    #[test]
    fn a_key_is_never_printed() {
        let key = SecretKey::from_bytes([0xab; 32]);
        assert_eq!(format!("{key:?}"), "SecretKey(..)");
    }

    #[test]
    fn contexts_do_not_run_into_each_other() {
        assert_ne!(WrapFormat::aad("ab", 1, b"c"), WrapFormat::aad("a", 1, b"bc"));
        assert_ne!(WrapFormat::aad("a", 1, b""), WrapFormat::aad("a", 2, b""));
    }
}
