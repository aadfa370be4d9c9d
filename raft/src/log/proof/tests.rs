//! Proof files: one made by another program, and every bit of it changed. Where the fixtures come from:
//! the tests of [`super::super::note`].

use super::*;

const FILE: &str = include_str!("../fixtures/entry-2-of-5.tlog-proof");
const LEAF: &[u8] = b"entry 2";

fn key(text: &str) -> Verifier {
    Verifier::parse(text.trim_end()).unwrap()
}

fn log_key() -> Verifier {
    key(include_str!("../fixtures/log.vkey"))
}

#[test]
fn a_proof_of_another_program_verifies_and_reads_back() {
    let proof = Proof::parse(FILE).unwrap();
    let checkpoint = proof.verify(LEAF, &log_key()).unwrap();
    assert_eq!((proof.index, checkpoint.size, checkpoint.origin.as_str()), (2, 5, "kluis.example/log"));
    assert_eq!(proof.note.signed_by(&key(include_str!("../fixtures/witness.vkey"))), Some(Some(1_764_000_000)));
    assert_eq!(proof.to_string(), FILE);
    let opened = Proof { extra: Some(b"more".to_vec()), ..proof };
    assert_eq!(Proof::parse(&opened.to_string()), Ok(opened));
}

#[test]
fn nothing_else_is_proved() {
    let proof = Proof::parse(FILE).unwrap();
    assert!(proof.verify(b"entry 3", &log_key()).is_err());
    let elsewhere = Proof { index: 3, ..proof.clone() };
    assert!(elsewhere.verify(LEAF, &log_key()).is_err());
    assert!(proof.verify(LEAF, &key(include_str!("../fixtures/witness.vkey"))).is_err(), "a witness does not speak for the log");
    assert!(proof.verify_unsigned(LEAF).is_ok() && proof.verify_unsigned(b"entry 3").is_err());
}

/// Every bit of the file, but those of the witness's signature, which is not asked for here.
#[test]
fn no_changed_file_verifies() {
    let own = FILE.rfind("\u{2014} witness").unwrap();
    for bit in 0..own * 8 {
        let mut bytes = FILE.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let verified = Proof::parse(&text).and_then(|proof| proof.verify(LEAF, &log_key()));
        assert!(verified.is_err(), "bit {bit}: {text}");
    }
}
