//! A checkpoint (C2SP `tlog-checkpoint`): which log, how many entries, and the root over them, as a signed note.
//!
//! Owns: the text. Not: signatures ([`super::note`]).
//! Holds: (1) a checkpoint that is read is printed as the same bytes; (2) nothing of it is believed before a signature
//! by a known key was verified: [`Checkpoint::of`] takes only such notes.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Malformed, decimal, hash,
    merkle::Hash,
    note::{Note, Verifier},
};

/// Most lines that others may add below ours.
const EXTENSIONS_MAX: usize = 16;

/// What a log says of itself at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: a name without a scheme, the same for ever.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// The tree's root.
    pub root: Hash,
    /// Lines that we do not know: none of ours.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// The text to sign.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root));
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Reads the text of a note.
    ///
    /// # Errors
    /// It is no checkpoint.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let body = text.strip_suffix('\n').ok_or(Malformed("the last line of a checkpoint does not end"))?;
        let mut lines = body.split('\n');
        let short = Malformed("a checkpoint has three lines: origin, size, root");
        let origin = lines.next().filter(|l| !l.is_empty()).ok_or(short)?.to_owned();
        let size = decimal(lines.next().ok_or(short)?)?;
        let root = hash(lines.next().ok_or(short)?)?;
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if extensions.len() > EXTENSIONS_MAX || extensions.iter().any(String::is_empty) {
            return Err(Malformed("a checkpoint has at most 16 lines more, none of them empty"));
        }
        Ok(Self { origin, size, root, extensions })
    }

    /// The checkpoint in a note that `key` signed.
    ///
    /// # Errors
    /// It is no checkpoint, or `key` did not sign it, or it speaks for another log than the key.
    pub fn of(note: &Note, key: &Verifier) -> Result<Self, Malformed> {
        if note.signed_by(key).is_none() {
            return Err(Malformed("the checkpoint is not signed by this key"));
        }
        let found = Self::parse(note.text())?;
        if found.origin == key.name() { Ok(found) } else { Err(Malformed("the checkpoint is of another log than the key")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::note::{KeyType, Signer};

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "example.org/log".into(), size: 15, root: [7; 32], extensions: vec![] }
    }

    #[test]
    fn a_checkpoint_has_one_form() {
        let text = checkpoint().text();
        assert_eq!(Checkpoint::parse(&text), Ok(checkpoint()));
        let root = STANDARD.encode([7; 32]);
        for bad in [
            String::new(),
            "\n".into(),
            "example.org/log\n15\n".into(),
            format!("example.org/log\n015\n{root}\n"),
            format!("example.org/log\n+15\n{root}\n"),
            format!("example.org/log\n15\n{root}"),
            format!("example.org/log\n15\n{root}\n\n"),
            format!("\n15\n{root}\n"),
            "example.org/log\n15\nAAAA\n".into(),
            format!("example.org/log\n18446744073709551616\n{root}\n"),
        ] {
            assert!(Checkpoint::parse(&bad).is_err(), "{bad:?}");
        }
        let more = Checkpoint { extensions: vec!["more".into()], ..checkpoint() };
        assert_eq!(Checkpoint::parse(&more.text()), Ok(more));
    }

    #[test]
    fn only_the_logs_own_key_speaks_for_it() {
        let signer = Signer::from_seed("example.org/log", KeyType::Ed25519, &[1; 32]).unwrap();
        let mut note = Note::new(checkpoint().text()).unwrap();
        assert!(Checkpoint::of(&note, signer.verifier()).is_err(), "unsigned");
        signer.sign(&mut note, 0).unwrap();
        assert_eq!(Checkpoint::of(&note, signer.verifier()), Ok(checkpoint()));
        let stranger = Signer::from_seed("example.org/log", KeyType::Ed25519, &[2; 32]).unwrap();
        assert!(Checkpoint::of(&note, stranger.verifier()).is_err(), "another key");
        let other = Signer::from_seed("example.org/other", KeyType::Ed25519, &[1; 32]).unwrap();
        other.sign(&mut note, 0).unwrap();
        assert!(Checkpoint::of(&note, other.verifier()).is_err(), "another name");
    }
}
