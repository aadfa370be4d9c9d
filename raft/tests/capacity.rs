//! What a document costs the metadata, in bytes: the figure that `bench/CAPACITY.md` reckons with.
//!
//! Owns: this figure. Not: what the database makes of it (compression, compaction), nor what goes again by itself
//! (sessions, uploads, answers of the last minutes, the log).
//! Holds: it is taken from the production encoding; if a record grows, this fails and the reckoning is looked at again.
#![allow(clippy::unwrap_used)]

use kluis_chunkstore::{code::Code, ids::BlobId, placement::Avoid};
use kluis_raft::{
    codec, keys,
    model::{Attributes, Blob, BlobLayout, Document, DocumentId, DocumentState, Origin, Runs, Scan, Sealed, VaultId, Version},
};

/// What `bench/CAPACITY.md` says.
const BYTES_A_DOCUMENT_MAX: usize = 700;

#[test]
fn a_document_of_one_version_costs_what_the_reckoning_says() {
    // Random ids are long in the encoding: the longest there are.
    let (vault, document, blob) = (VaultId(u128::MAX), DocumentId(u128::MAX), BlobId(u128::MAX));
    let now_ms = 1_800_000_000_000;
    let version = Version {
        number: 1,
        blob,
        size: 16 << 20,
        sha256: [0xff; 32],
        wrapped_key: vec![0xff; 60],
        created_ms: now_ms,
        reduced: false,
        scan: Scan::NotAsked,
    };
    let record = Document {
        id: document,
        vault,
        // A name of some 50 bytes with its media type, sealed.
        name: Sealed(vec![0xff; 96]),
        revision: 1,
        created_ms: now_ms,
        updated_ms: now_ms,
        current: version.clone(),
        attributes: Attributes::default(),
        origin: Origin::Upload,
        state: DocumentState::Available,
    };
    let bytes = Blob {
        id: blob,
        vault,
        code: Code::STANDARD,
        chunks: 16,
        chunk_bytes: 1 << 20,
        size: 16 << 20,
        layouts: vec![BlobLayout { topology: 1, avoid: Avoid::nothing() }],
        settled: true,
        runs: Runs::default(),
        references: 1,
    };
    let whole = [
        (keys::document(vault, document), codec::encode(&record).unwrap()),
        (keys::version(vault, document, 1), codec::encode(&version).unwrap()),
        (keys::blob(blob), codec::encode(&bytes).unwrap()),
    ];
    let sum: usize = whole.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!((BYTES_A_DOCUMENT_MAX / 2..=BYTES_A_DOCUMENT_MAX).contains(&sum), "a document costs {sum} bytes of metadata");
}
