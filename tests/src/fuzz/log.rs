//! Targets: the files of the tamper-evident log. Notes, checkpoints, proofs, openings, entries, keys, paths of tiles.
//!
//! Owns: what auditors and owners bring or take away. Not: the log in the state ([`super::metadata`]).
//! Holds: what is read is written as the same bytes; nothing verifies but what was signed.

use kluis_raft::log::{
    Malformed,
    checkpoint::Checkpoint,
    leaf::{Opening, parse},
    note::{KeyType, Note, Signer, Verifier},
    proof::Proof,
    tile::Tile,
};

use super::{Target, text, texts};

const WORDS: &str = include_str!("../../fuzz/dictionaries/log.dict");
const ORIGIN: &str = "kluis.example/log";

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    Target::new("log_note", note, || texts(&[signed().to_string()]), WORDS),
    Target::new("log_checkpoint", checkpoint, || texts(&[signed().text()]), WORDS),
    Target::new("log_proof", proof, || texts(&[a_proof().to_string()]), WORDS),
    Target::new("log_opening", opening, || texts(&[an_opening().to_string()]), WORDS),
    Target::new("log_entry_bytes", entry, || vec![an_opening().leaf()], WORDS),
    Target::new("log_key_text", key, || texts(&[signer().verifier().to_string()]), WORDS),
    Target::new("log_tile", tile, || texts(&["0/x001/x234/067", "entries/000.p/5"]), WORDS),
];

fn signer() -> Signer {
    Signer::from_seed(ORIGIN, KeyType::Ed25519, &[1; 32]).expect("a key")
}

/// A log of one entry, whose hash is the root.
fn signed() -> Note {
    let root = kluis_raft::log::merkle::leaf_hash(&an_opening().leaf());
    let text = Checkpoint { origin: ORIGIN.to_owned(), size: 1, root, extensions: Vec::new() }.text();
    let mut note = Note::new(text).expect("a text");
    signer().sign(&mut note, 0).expect("room for a signature");
    note
}

fn an_opening() -> Opening {
    let text = |text: &str| text.to_owned();
    Opening {
        kind: text("document.read"),
        at_ms: 1_764_000_000_000,
        actor: text("account:01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        vault: text("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        document: String::new(),
        salt: [7; 32],
        details: b"{}".to_vec(),
    }
}

fn a_proof() -> Proof {
    Proof { extra: Some(an_opening().to_string().into_bytes()), index: 0, path: Vec::new(), note: signed() }
}

/// Whether the input is taken; what is taken has one form.
fn one_form<T: ToString>(data: &[u8], parse: impl Fn(&str) -> Result<T, Malformed>) -> Option<T> {
    let text = text(data);
    let found = parse(&text).ok()?;
    assert_eq!(found.to_string(), text, "what is read is written as the same");
    Some(found)
}

fn note(data: &[u8]) -> bool {
    one_form(data, Note::parse).is_some_and(|note| {
        let own = note.signed_by(signer().verifier()).is_some();
        assert!(!own || note.text() == signed().text(), "a text that was never signed is");
        true
    })
}

fn checkpoint(data: &[u8]) -> bool {
    let text = text(data);
    Checkpoint::parse(&text).is_ok_and(|found| {
        assert_eq!(found.text(), text, "what is read is written as the same");
        true
    })
}

fn proof(data: &[u8]) -> bool {
    one_form(data, Proof::parse).is_some_and(|proof| {
        let leaf = an_opening().leaf();
        let verified = proof.verify(&leaf, signer().verifier()).is_ok();
        assert!(!verified || (proof.index, proof.path.len()) == (0, 0), "an entry is proved in another place");
        assert!(proof.verify(b"another", signer().verifier()).is_err(), "another entry is proved");
        true
    })
}

fn opening(data: &[u8]) -> bool {
    one_form(data, Opening::parse).is_some_and(|opening| {
        assert!(parse(&opening.leaf()).is_ok(), "an opening opens an entry");
        true
    })
}

fn entry(data: &[u8]) -> bool {
    parse(data).is_ok()
}

fn key(data: &[u8]) -> bool {
    one_form(data, Verifier::parse).is_some()
}

fn tile(data: &[u8]) -> bool {
    let text = text(data);
    let Some((level, index)) = text.split_once('/') else { return false };
    Tile::parse(level, index).is_ok_and(|tile| {
        assert_eq!(tile.path(), format!("tile/{text}"), "a path has one form");
        tile.positions(u64::MAX).into_iter().flatten().count() <= 256
    })
}
