//! The tamper-evident log as pure code: a Merkle tree (RFC 6962, RFC 9162) in the formats of C2SP, so that other
//! people's tools can read and verify it.
//!
//! Reading order: [`merkle`] (the tree and its proofs), [`note`] (signed text), [`checkpoint`] (size and root, signed,
//! and countersigned by witnesses), [`tile`] (the tree as files), [`proof`] (one entry in the log, in one file),
//! [`leaf`] (what an entry commits to, and how that is opened).
//!
//! Owns: hashing, proofs, formats. Not: what is logged ([`crate::model::event`]), where it is stored
//! ([`crate::apply::log`]), who holds the key (the gateways).
//! Holds: (1) every parser is total and bounded, and takes only the one form that its printer writes; (2) a proof
//! that verifies was made for these very bytes at this very position; (3) nothing here reads a clock or a key store.

pub mod checkpoint;
pub mod leaf;
pub mod merkle;
pub mod note;
pub mod proof;
pub mod tile;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use self::merkle::Hash;

/// Why a text of the log's formats was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// A decimal number in its one form.
pub(crate) fn decimal(text: &str) -> Result<u64, Malformed> {
    let bad = Malformed("a number is not in plain decimal");
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().map_err(|_| bad) } else { Err(bad) }
}

/// A hash in base64.
pub(crate) fn hash(text: &str) -> Result<Hash, Malformed> {
    let bytes = STANDARD.decode(text).map_err(|_| Malformed("a hash is not in base64"))?;
    bytes.try_into().map_err(|_| Malformed("a hash has 32 bytes"))
}
