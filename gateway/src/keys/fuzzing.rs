//! Stored and wrapped keys as bytes, for tests that feed their readers with others (`tests/src/fuzz`).
//!
//! Owns: the way in. Not: any behaviour (`super::file`, `super::vault_key`).
//! Holds: (1) nothing of the program calls this; (2) each reader is followed by its writer, so that a test
//! can compare.

use kluis_raft::model::Sealed;

use super::{
    KeyError, SecretKey, VaultKey, WrapFormat,
    file::Content,
    vault_key::{parse_wraps, render_wraps},
};

/// Reads a master key file and writes it again.
///
/// # Errors
/// It is none.
pub fn key_file_again(text: &str) -> Result<String, KeyError> {
    Content::parse(text).map(|content| content.render().as_str().to_owned())
}

/// Takes a wrapped key apart and puts it together again.
///
/// # Errors
/// It is none.
pub fn wrapped_again(bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
    let (generation, nonce, ciphertext) = WrapFormat::parse(bytes)?;
    WrapFormat::render(generation, nonce, ciphertext)
}

/// Reads the wraps of a look-up key and writes them again.
///
/// # Errors
/// They are none.
pub fn wraps_again(bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
    render_wraps(&parse_wraps(&Sealed(bytes.to_vec()))?).map(|sealed| sealed.0)
}

/// The vault key of these bytes, without a master key.
///
/// # Errors
/// The cipher failed.
pub fn vault_key(key: &SecretKey) -> Result<VaultKey, KeyError> {
    VaultKey::new(key)
}
