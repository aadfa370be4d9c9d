//! Targets: keys and sealed bytes as they are stored. The master key's file, wrapped keys, sealed texts, sealed chunks.
//!
//! Owns: what lies under a key. Not: private keys in PEM ([`super::tokens`], [`super::peers`]).
//! Holds: what is read is written as the same; nothing opens but what was sealed, in its place.

use std::sync::LazyLock;

use bytes::Bytes;
use kluis_chunkstore::ids::BlobId;
use kluis_gateway::{
    keys::{
        DocumentKey, SecretKey, VaultKey,
        fuzzing::{key_file_again, vault_key, wrapped_again, wraps_again},
        vault_key::{open_text, seal_text},
    },
    seal::ChunkSealer,
};
use kluis_raft::model::{Sealed, VaultId};

use super::{Fixed, Target, settles, text, texts};

const WORDS: &str = include_str!("../../fuzz/dictionaries/keys.dict");
const FILE: &str = "kluis master key v1\nid file:3f0c9a5be1d27746\ngeneration 1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\ngeneration 3 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\n";
const BLOB: BlobId = BlobId(5);
const VAULT: VaultId = VaultId(1);
const PLAIN: &[u8] = b"content";

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    Target::new("key_file", key_file, || texts(&[FILE]), WORDS),
    Target::new("wrapped_key", wrapped_key, || vec![[&[1][..], &[0, 0, 0, 3], &[7; 60]].concat()], WORDS),
    Target::new("lookup_key_wraps", lookup_key_wraps, || vec![[&[2][..], b"m1", &[0, 3], b"abc", &[0, 0, 0]].concat(), Vec::new()], WORDS),
    Target::new("document_key", document_key, document_key_seeds, WORDS),
    Target::new("sealed_text", sealed_text, sealed_text_seeds, WORDS),
    Target::new("sealed_chunk", sealed_chunk, chunk_seeds, WORDS),
];

static VAULT_KEY: LazyLock<VaultKey> = LazyLock::new(|| vault_key(&SecretKey::from_bytes([3; 32])).expect("the cipher works"));
static SEALER: LazyLock<ChunkSealer> = LazyLock::new(|| {
    let key = DocumentKey::from_secret(SecretKey::from_bytes([6; 32]));
    ChunkSealer::new(&key, BLOB).expect("the cipher works")
});

fn key_file(data: &[u8]) -> bool {
    settles(data, |bytes| key_file_again(&text(bytes)).map(String::into_bytes))
}

fn wrapped_key(data: &[u8]) -> bool {
    wrapped_again(data).is_ok_and(|again| {
        assert_eq!(again, data, "a wrapped key has one form");
        true
    })
}

fn lookup_key_wraps(data: &[u8]) -> bool {
    wraps_again(data).is_ok_and(|again| {
        assert_eq!(again, data, "the wraps have one form");
        true
    })
}

fn document_key_seeds() -> Vec<Vec<u8>> {
    vec![DocumentKey::generate(&Fixed).wrap(&Fixed, &VAULT_KEY, VAULT, BLOB).expect("the cipher works")]
}

fn document_key(data: &[u8]) -> bool {
    assert!(DocumentKey::unwrap(&VAULT_KEY, VAULT, BlobId(6), data).is_err(), "a key unwraps for another blob");
    let unwraps = DocumentKey::unwrap(&VAULT_KEY, VAULT, BLOB, data).is_ok();
    assert!(!unwraps || data == document_key_seeds()[0], "a key that was never wrapped unwraps");
    unwraps
}

fn sealed_text_seeds() -> Vec<Vec<u8>> {
    vec![seal_text(&VAULT_KEY, "name", &[8; 16], PLAIN).expect("the cipher works").0]
}

fn sealed_text(data: &[u8]) -> bool {
    let sealed = Sealed(data.to_vec());
    assert!(open_text(&VAULT_KEY, "profile", &[8; 16], &sealed).is_err(), "a text opens in another place");
    open_text(&VAULT_KEY, "name", &[8; 16], &sealed).is_ok_and(|plain| {
        assert_eq!(plain.as_slice(), PLAIN, "a text that was never sealed opens");
        true
    })
}

fn chunk_seeds() -> Vec<Vec<u8>> {
    [(2, 4), (2, 0)].iter().map(|(index, count)| SEALER.seal(*index, *count, PLAIN).expect("the cipher works").to_vec()).collect()
}

fn sealed_chunk(data: &[u8]) -> bool {
    let open = |index, count| SEALER.open(index, count, Bytes::copy_from_slice(data));
    assert!(open(3, 4).is_err(), "a chunk opens in the place of another");
    let mut opened = false;
    for count in [4, 9] {
        if let Ok(plain) = open(2, count) {
            assert_eq!(&plain[..], PLAIN, "a chunk that was never sealed opens");
            opened = true;
        }
    }
    opened
}
