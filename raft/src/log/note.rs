//! Signed notes (C2SP `signed-note`): a text, a blank line, and lines of signatures by named keys.
//!
//! ```text
//! text, one or more lines
//!
//! — NAME BASE64(key id (4) || signature)
//! ```
//!
//! A key is published as `NAME+KEYID+BASE64(type || public key)`; its id is the beginning of
//! SHA-256(NAME || LF || type || public key), so a key cannot be passed off under another name.
//!
//! Owns: parsing, printing, Ed25519 (type 1, and the cosignatures of witnesses, type 4). Not: what the text says
//! ([`super::checkpoint`]).
//! Holds: (1) a note that is read is printed as the same bytes; (2) signatures by unknown keys are kept and not
//! trusted; (3) sizes are bounded.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Malformed, merkle::sha256};

/// Most bytes of a note.
pub const NOTE_BYTES_MAX: usize = 32 * 1024;
/// Most signatures of a note.
pub const SIGNATURES_MAX: usize = 32;
/// Most bytes of a key's name.
pub const NAME_BYTES_MAX: usize = 256;
const DASH: &str = "\u{2014} ";

/// What a key signs, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// Ed25519 over the text.
    Ed25519,
    /// Ed25519 over `cosignature/v1`, a time and the text: a witness.
    Cosignature,
}

impl KeyType {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::Cosignature => 4,
        }
    }
}

/// A public key with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    kind: KeyType,
    key: [u8; 32],
}

fn check_name(name: &str) -> Result<(), Malformed> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(bad) {
        return Err(Malformed("a key's name has 1 to 256 bytes, no space and no plus sign"));
    }
    Ok(())
}

impl Verifier {
    /// The key of these bytes under this name.
    ///
    /// # Errors
    /// The name is none.
    pub fn new(name: &str, kind: KeyType, key: [u8; 32]) -> Result<Self, Malformed> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), kind, key })
    }

    /// Reads `NAME+KEYID+BASE64`.
    ///
    /// # Errors
    /// It is no such text, or its id is not that of name and key.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let bad = Malformed("a verifier key is NAME+KEYID+BASE64");
        let (name, rest) = text.split_once('+').ok_or(bad)?;
        let (id, key) = rest.split_once('+').ok_or(bad)?;
        if key.len() > 64 {
            return Err(bad);
        }
        let bytes = STANDARD.decode(key).map_err(|_| bad)?;
        let (kind, key) = bytes.split_first().ok_or(bad)?;
        let kind = match kind {
            1 => KeyType::Ed25519,
            4 => KeyType::Cosignature,
            _ => return Err(Malformed("a verifier key of an unknown type")),
        };
        let found = Self::new(name, kind, key.try_into().map_err(|_| bad)?)?;
        if hex::encode(found.id()) == id { Ok(found) } else { Err(Malformed("the id of a verifier key is not that of its key")) }
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub fn kind(&self) -> KeyType {
        self.kind
    }

    /// Its id.
    pub fn id(&self) -> [u8; 4] {
        let hash = sha256(&[self.name.as_bytes(), b"\n", &[self.kind.byte()], &self.key]);
        let mut id = [0; 4];
        id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        id
    }

    /// Whether `signature` is one of `text` by this key; of a witness, the seconds since 1970 that it says.
    fn verify(&self, text: &str, signature: &[u8]) -> Option<Option<u64>> {
        let key = UnparsedPublicKey::new(&ED25519, &self.key);
        match self.kind {
            KeyType::Ed25519 => key.verify(text.as_bytes(), signature).ok().map(|()| None),
            KeyType::Cosignature => {
                let (time, signature) = signature.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                key.verify(cosigned(text, time).as_bytes(), signature).ok().map(|()| Some(time))
            }
        }
    }
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = STANDARD.encode([&[self.kind.byte()][..], &self.key].concat());
        write!(f, "{}+{}+{key}", self.name, hex::encode(self.id()))
    }
}

/// What a witness signs.
fn cosigned(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// A private key with its name. The pair wipes itself.
pub struct Signer {
    verifier: Verifier,
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.verifier.name)
    }
}

impl Signer {
    /// The key of a seed (32 secret bytes).
    ///
    /// # Errors
    /// The name is none, or the library refuses the seed.
    pub fn from_seed(name: &str, kind: KeyType, seed: &[u8; 32]) -> Result<Self, Malformed> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| Malformed("the seed makes no key"))?;
        let public: &[u8] = pair.public_key().as_ref();
        let key: [u8; 32] = public.try_into().map_err(|_| Malformed("a public key has 32 bytes"))?;
        Ok(Self { verifier: Verifier::new(name, kind, key)?, pair })
    }

    /// The public half.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Adds a signature to a note; `time` (seconds since 1970) is what a witness says, and ignored otherwise.
    ///
    /// # Errors
    /// The note has as many signatures as it may have.
    pub fn sign(&self, note: &mut Note, time: u64) -> Result<(), Malformed> {
        if note.signatures.len() >= SIGNATURES_MAX {
            return Err(Malformed("a note has at most 32 signatures"));
        }
        let bytes = match self.verifier.kind {
            KeyType::Ed25519 => self.pair.sign(note.text.as_bytes()).as_ref().to_vec(),
            KeyType::Cosignature => [&time.to_be_bytes()[..], self.pair.sign(cosigned(&note.text, time).as_bytes()).as_ref()].concat(),
        };
        note.signatures.push(Signature { name: self.verifier.name.clone(), id: self.verifier.id(), bytes });
        Ok(())
    }
}

/// A signature, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

/// A text with its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// A text that nobody signed yet.
    ///
    /// # Errors
    /// It is empty, too long, does not end with a line's end, has a blank line at its end, or control characters.
    pub fn new(text: String) -> Result<Self, Malformed> {
        if text.len() > NOTE_BYTES_MAX || !text.ends_with('\n') || text == "\n" || text.ends_with("\n\n") {
            return Err(Malformed("the text of a note is at least a line, ends with a line's end, and is at most 32 KiB"));
        }
        if text.chars().any(|c| c.is_control() && c != '\n') {
            return Err(Malformed("a note has no control characters"));
        }
        Ok(Self { text, signatures: Vec::new() })
    }

    /// Reads a signed note.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(whole: &str) -> Result<Self, Malformed> {
        if whole.len() > NOTE_BYTES_MAX {
            return Err(Malformed("a note has at most 32 KiB"));
        }
        let (text, lines) = whole.rsplit_once("\n\n").ok_or(Malformed("a note has a blank line before its signatures"))?;
        let lines = lines.strip_suffix('\n').ok_or(Malformed("the last line of a note does not end"))?;
        let mut note = Self::new(format!("{text}\n"))?;
        for line in lines.split('\n') {
            if note.signatures.len() >= SIGNATURES_MAX {
                return Err(Malformed("a note has at most 32 signatures"));
            }
            note.signatures.push(Signature::parse(line)?);
        }
        Ok(note)
    }

    /// The text that is signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether `key` signed the text, and, where it is a witness, when.
    pub fn signed_by(&self, key: &Verifier) -> Option<Option<u64>> {
        let own = self.signatures.iter().filter(|s| s.name == key.name && s.id == key.id());
        own.filter_map(|s| key.verify(&self.text, &s.bytes)).next()
    }
}

impl Signature {
    fn parse(line: &str) -> Result<Self, Malformed> {
        let bad = Malformed("a signature is a line of a dash, a name and base64");
        let (name, bytes) = line.strip_prefix(DASH).and_then(|rest| rest.split_once(' ')).ok_or(bad)?;
        check_name(name)?;
        let bytes = STANDARD.decode(bytes).map_err(|_| bad)?;
        let (id, bytes) = bytes.split_first_chunk::<4>().ok_or(bad)?;
        if bytes.is_empty() {
            return Err(bad);
        }
        Ok(Self { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text)?;
        for signature in &self.signatures {
            let bytes = STANDARD.encode([&signature.id[..], &signature.bytes].concat());
            writeln!(f, "{DASH}{} {bytes}", signature.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
