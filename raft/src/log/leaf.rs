//! An entry of the log: what it commits to without saying it, and the opening that says it.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | 1, the version of this layout |
//! | 1 | 1 | length of the kind's name, L |
//! | 2 | L | the kind's name, ASCII |
//! | 2+L | 8 | milliseconds since 1970, big-endian |
//! | 10+L | 4 x 32 | commitments to actor, vault, document, details |
//!
//! A commitment is SHA-256(`kluis log commitment v1` || tag || field salt || text), where the field salt is
//! SHA-256(`kluis log salt v1` || tag || salt of the entry) and the tags are 1 to 4. So one field can be opened for
//! somebody without giving away the others. What is absent is the empty text, which looks like any other.
//!
//! Owns: both layouts. Not: what the texts mean ([`crate::model::event`]).
//! Holds: (1) an entry tells its kind and time and nothing else, once its salt is gone; (2) an opening opens exactly
//! the entry that it was made for; (3) both have one form.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Malformed, decimal, hash,
    merkle::{Hash, sha256},
};

/// Random bytes of one entry.
pub type Salt = [u8; 32];

/// Most bytes of a kind's name.
const KIND_BYTES_MAX: usize = 64;
/// Most bytes of actor, vault and document.
const FIELD_BYTES_MAX: usize = 256;
/// Most bytes of details.
pub const DETAILS_BYTES_MAX: usize = 2048;
/// Most bytes of an opening.
pub const OPENING_BYTES_MAX: usize = 8 * 1024;
const HEAD: &str = "kluis-log-opening/v1";

/// The fields that an entry commits to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Who.
    Actor = 1,
    /// In whose vault.
    Vault = 2,
    /// Which document.
    Document = 3,
    /// From where, and what else there is to say.
    Details = 4,
}

/// The commitment to one field of the entry with this salt.
pub fn commitment(field: Field, salt: &Salt, value: &[u8]) -> Hash {
    let tag = [field as u8];
    let own = sha256(&[b"kluis log salt v1", &tag, salt]);
    sha256(&[b"kluis log commitment v1", &tag, &own, value])
}

/// The bytes of an entry.
pub fn leaf(kind: &str, at_ms: u64, commitments: &[Hash; 4]) -> Vec<u8> {
    let mut out = vec![1, u8::try_from(kind.len()).unwrap_or(u8::MAX)];
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(&at_ms.to_be_bytes());
    for commitment in commitments {
        out.extend_from_slice(commitment);
    }
    out
}

/// What an entry says in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// What happened.
    pub kind: String,
    /// When.
    pub at_ms: u64,
}

/// Reads what an entry says in the clear.
///
/// # Errors
/// The bytes are no entry.
pub fn parse(bytes: &[u8]) -> Result<Plain, Malformed> {
    let bad = Malformed("not an entry of this log");
    let (&[1, len], rest) = bytes.split_first_chunk::<2>().ok_or(bad)? else { return Err(bad) };
    let (kind, rest) = rest.split_at_checked(usize::from(len)).ok_or(bad)?;
    let (at_ms, rest) = rest.split_first_chunk::<8>().ok_or(bad)?;
    let kind = std::str::from_utf8(kind).map_err(|_| bad)?;
    check_kind(kind)?;
    if rest.len() == 4 * 32 { Ok(Plain { kind: kind.to_owned(), at_ms: u64::from_be_bytes(*at_ms) }) } else { Err(bad) }
}

fn check_kind(kind: &str) -> Result<(), Malformed> {
    let plain = kind.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'.' | b'_'));
    if !kind.is_empty() && kind.len() <= KIND_BYTES_MAX && plain { Ok(()) } else { Err(Malformed("not the name of a kind")) }
}

/// Everything that an entry commits to: whoever has it knows what the entry says.
#[derive(Clone, PartialEq, Eq)]
pub struct Opening {
    /// What happened.
    pub kind: String,
    /// When.
    pub at_ms: u64,
    /// Who.
    pub actor: String,
    /// In whose vault; empty where there is none.
    pub vault: String,
    /// Which document; empty where there is none.
    pub document: String,
    /// The entry's salt.
    pub salt: Salt,
    /// From where, and what else there is to say.
    pub details: Vec<u8>,
}

/// Personal: never in logs.
impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opening({} at {})", self.kind, self.at_ms)
    }
}

impl Opening {
    /// The entry that it opens.
    pub fn leaf(&self) -> Vec<u8> {
        let of = |field, value: &[u8]| commitment(field, &self.salt, value);
        let commitments = [
            of(Field::Actor, self.actor.as_bytes()),
            of(Field::Vault, self.vault.as_bytes()),
            of(Field::Document, self.document.as_bytes()),
            of(Field::Details, &self.details),
        ];
        leaf(&self.kind, self.at_ms, &commitments)
    }

    /// Reads an opening.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let bad = Malformed("not the opening of an entry");
        if text.len() > OPENING_BYTES_MAX {
            return Err(Malformed("an opening has at most 8 KiB"));
        }
        let mut lines = text.strip_suffix('\n').ok_or(bad)?.split('\n');
        if lines.next() != Some(HEAD) {
            return Err(bad);
        }
        let mut field = |name: &str| {
            let value = lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' ')).ok_or(bad)?;
            let plain = value.bytes().all(|b| b.is_ascii_graphic());
            if plain { Ok(value.to_owned()) } else { Err(bad) }
        };
        let (kind, at_ms) = (field("kind")?, decimal(&field("time")?)?);
        let (actor, vault, document) = (field("actor")?, field("vault")?, field("document")?);
        let (salt, details) = (hash(&field("salt")?)?, STANDARD.decode(field("details")?).map_err(|_| bad)?);
        check_kind(&kind)?;
        let long = [&actor, &vault, &document].iter().any(|value| value.len() > FIELD_BYTES_MAX);
        if lines.next().is_some() || long || details.len() > DETAILS_BYTES_MAX {
            return Err(bad);
        }
        Ok(Self { kind, at_ms, actor, vault, document, salt, details })
    }
}

impl std::fmt::Display for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{HEAD}\nkind {}\ntime {}", self.kind, self.at_ms)?;
        writeln!(f, "actor {}\nvault {}\ndocument {}", self.actor, self.vault, self.document)?;
        writeln!(f, "salt {}\ndetails {}", STANDARD.encode(self.salt), STANDARD.encode(&self.details))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening() -> Opening {
        Opening {
            kind: "document.read".into(),
            at_ms: 1_764_000_000_000,
            actor: "account:01ARZ3NDEKTSV4RRFFQ69G5FAV".into(),
            vault: "01ARZ3NDEKTSV4RRFFQ69G5FAV".into(),
            document: String::new(),
            salt: [9; 32],
            details: b"{}".to_vec(),
        }
    }

    #[test]
    fn an_opening_has_one_form_and_opens_one_entry() {
        let whole = opening();
        assert_eq!(Opening::parse(&whole.to_string()), Ok(whole.clone()));
        let leaf = whole.leaf();
        assert_eq!(parse(&leaf), Ok(Plain { kind: "document.read".into(), at_ms: 1_764_000_000_000 }));
        let others = [
            Opening { kind: "document.uploaded".into(), ..whole.clone() },
            Opening { at_ms: 1, ..whole.clone() },
            Opening { actor: "system".into(), ..whole.clone() },
            Opening { vault: String::new(), ..whole.clone() },
            Opening { document: "x".into(), ..whole.clone() },
            Opening { salt: [8; 32], ..whole.clone() },
            Opening { details: b"{ }".to_vec(), ..whole.clone() },
            // The same text in another field.
            Opening { vault: String::new(), document: whole.vault.clone(), ..whole.clone() },
        ];
        for other in others {
            assert_ne!(other.leaf(), leaf, "{other}");
        }
        for text in [String::new(), whole.to_string() + "\n", whole.to_string().replace("kind ", "kind  "), "x\n".into()] {
            assert!(Opening::parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_entry_that_is_cut_or_longer_is_none() {
        let leaf = opening().leaf();
        for len in 0..leaf.len() {
            assert!(parse(&leaf[..len]).is_err(), "{len}");
        }
        assert!(parse(&[&leaf[..], &[0]].concat()).is_err());
    }
}
