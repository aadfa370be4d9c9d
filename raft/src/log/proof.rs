//! A proof in one file (C2SP `tlog-proof@v1`): the place of an entry, the hashes from it to the root, and the signed
//! checkpoint that has this root.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra BASE64            what opens the entry (super::leaf), where its owner added it
//! index 17
//! BASE64 of a hash        one a line
//!
//! signed checkpoint
//! ```
//!
//! Owns: the file and what it proves. Not: what the entry means.
//! Holds: (1) a file that is read is printed as the same bytes; (2) [`Proof::verify`] succeeds only for this very leaf,
//! under a checkpoint that the given key signed.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Malformed,
    checkpoint::Checkpoint,
    decimal, hash,
    merkle::{Hash, PROOF_MAX, leaf_hash, verify_inclusion},
    note::{NOTE_BYTES_MAX, Note, Verifier},
};

/// Most bytes of a proof file.
pub const PROOF_BYTES_MAX: usize = 2 * NOTE_BYTES_MAX;
const HEAD: &str = "c2sp.org/tlog-proof@v1";

/// A proof file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// What whoever made the file added.
    pub extra: Option<Vec<u8>>,
    /// The entry's place.
    pub index: u64,
    /// Hashes from the entry's sibling upwards.
    pub path: Vec<Hash>,
    /// The signed checkpoint.
    pub note: Note,
}

impl Proof {
    /// Reads a proof file.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.len() > PROOF_BYTES_MAX {
            return Err(Malformed("a proof has at most 64 KiB"));
        }
        let short = Malformed("a proof is a head, an index, hashes, a blank line and a checkpoint");
        let (head, note) = text.split_once("\n\n").ok_or(short)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEAD) {
            return Err(Malformed("the file does not begin as a proof does"));
        }
        let extra = match lines.peek().copied().and_then(|line| line.strip_prefix("extra ")) {
            Some(extra) => {
                lines.next();
                Some(STANDARD.decode(extra).map_err(|_| Malformed("the extra line is not in base64"))?)
            }
            None => None,
        };
        let index = decimal(lines.next().and_then(|line| line.strip_prefix("index ")).ok_or(short)?)?;
        let mut path = Vec::new();
        for line in lines {
            if path.len() >= PROOF_MAX {
                return Err(Malformed("a proof has at most 65 hashes"));
            }
            path.push(hash(line)?);
        }
        Ok(Self { extra, index, path, note: Note::parse(note)? })
    }

    /// Checks it for the bytes of an entry.
    ///
    /// # Errors
    /// What is wrong: the checkpoint is not signed by `key`, or does not cover this entry at this place.
    pub fn verify(&self, leaf: &[u8], key: &Verifier) -> Result<Checkpoint, Malformed> {
        let checkpoint = Checkpoint::of(&self.note, key)?;
        self.covers(leaf, &checkpoint)?;
        Ok(checkpoint)
    }

    /// Checks it for the bytes of an entry, without asking who signed the checkpoint.
    ///
    /// # Errors
    /// The checkpoint does not cover this entry at this place.
    pub fn verify_unsigned(&self, leaf: &[u8]) -> Result<Checkpoint, Malformed> {
        let checkpoint = Checkpoint::parse(self.note.text())?;
        self.covers(leaf, &checkpoint)?;
        Ok(checkpoint)
    }

    fn covers(&self, leaf: &[u8], checkpoint: &Checkpoint) -> Result<(), Malformed> {
        if verify_inclusion(&leaf_hash(leaf), self.index, checkpoint.size, &self.path, &checkpoint.root) {
            Ok(())
        } else {
            Err(Malformed("the entry is not at this place of this log"))
        }
    }
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{HEAD}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", STANDARD.encode(hash))?;
        }
        write!(f, "\n{}", self.note)
    }
}

#[cfg(test)]
mod tests;
