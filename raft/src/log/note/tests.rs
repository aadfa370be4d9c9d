//! Notes: one form, no trust in strangers, known answers.
//!
//! The fixtures were made by Python's `cryptography` from the seeds 01..01 (log) and 02..02 (witness), with the formats
//! written anew from the specifications; `tests/tests/history/verify.py` holds the same reading of them.

use proptest::prelude::*;

use super::*;

fn signer(name: &str, kind: KeyType, seed: u8) -> Signer {
    Signer::from_seed(name, kind, &[seed; 32]).unwrap()
}

fn signed(text: &str) -> Note {
    let mut note = Note::new(text.to_owned()).unwrap();
    signer("a.example", KeyType::Ed25519, 1).sign(&mut note, 0).unwrap();
    signer("w.example", KeyType::Cosignature, 2).sign(&mut note, 1_764_000_000).unwrap();
    note
}

#[test]
fn keys_are_those_of_another_program() {
    let log = signer("kluis.example/log", KeyType::Ed25519, 1);
    assert_eq!(log.verifier().to_string(), include_str!("../fixtures/log.vkey").trim_end());
    let witness = signer("witness.example/w1", KeyType::Cosignature, 2);
    assert_eq!(witness.verifier().to_string(), include_str!("../fixtures/witness.vkey").trim_end());
    for signer in [log, witness] {
        assert_eq!(Verifier::parse(&signer.verifier().to_string()).as_ref(), Ok(signer.verifier()));
    }
}

#[test]
fn a_key_is_not_taken_under_another_name_or_id() {
    let text = signer("a.example", KeyType::Ed25519, 1).verifier().to_string();
    assert!(Verifier::parse(&text.replace("a.example", "b.example")).is_err());
    for bad in ["", "a", "a+b", "a+00000000+AAAA", "+00000000+AAAA", "a b+00000000+AQ=="] {
        assert!(Verifier::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn only_known_keys_count() {
    let note = signed("one\ntwo\n");
    assert_eq!(note.signed_by(signer("a.example", KeyType::Ed25519, 1).verifier()), Some(None));
    assert_eq!(note.signed_by(signer("w.example", KeyType::Cosignature, 2).verifier()), Some(Some(1_764_000_000)));
    for (name, kind, seed) in
        [("a.example", KeyType::Ed25519, 2), ("b.example", KeyType::Ed25519, 1), ("a.example", KeyType::Cosignature, 1)]
    {
        assert_eq!(note.signed_by(signer(name, kind, seed).verifier()), None);
    }
}

#[test]
fn what_is_no_note_is_refused() {
    for bad in [
        "",
        "\n\n",
        "a\n",
        "a\n\n",
        "a\n\n\u{2014} n AAAAAAA=",
        "a\n\n- n AAAAAAA=\n",
        "a\n\n\u{2014} n AAAA\n",
        "a\n\n\u{2014} n+ AAAAAAA=\n",
        "a\n\n\n\u{2014} n AAAAAAA=\n",
        "a\r\n\n\u{2014} n AAAAAAA=\n",
        "a\n\n\u{2014} n AAAAAAA=\n\n",
    ] {
        assert!(Note::parse(bad).is_err(), "{bad:?}");
    }
    assert!(Note::parse("a\n\n\u{2014} n AAAAAAA=\n").is_ok());
    let line = "\u{2014} n AAAAAAA=\n";
    assert!(Note::parse(&format!("a\n\n{}", line.repeat(SIGNATURES_MAX))).is_ok());
    assert!(Note::parse(&format!("a\n\n{}", line.repeat(SIGNATURES_MAX + 1))).is_err());
    assert!(Note::new("a".repeat(NOTE_BYTES_MAX) + "\n").is_err());
}

proptest! {
    #[test]
    fn a_note_has_one_form_and_no_changed_text_is_signed(lines in prop::collection::vec("[a-z ]{1,20}", 1..5), bit: prop::sample::Index) {
        let text = lines.join("\n") + "\n";
        let note = signed(&text);
        let shown = note.to_string();
        prop_assert_eq!(Note::parse(&shown), Ok(note.clone()));
        let mut bytes = shown.clone().into_bytes();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(changed) = String::from_utf8(bytes)
            && let Ok(changed) = Note::parse(&changed)
        {
            let log = signer("a.example", KeyType::Ed25519, 1);
            let witness = signer("w.example", KeyType::Cosignature, 2);
            let both = changed.signed_by(log.verifier()).is_some() && changed.signed_by(witness.verifier()).is_some();
            prop_assert!(!both, "a changed bit leaves both signatures whole");
            prop_assert_ne!(changed.to_string(), shown);
        }
    }
}
