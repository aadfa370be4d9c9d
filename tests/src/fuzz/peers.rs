//! Targets: what other nodes send, and the certificates and shards that come from them.
//!
//! Owns: frames, heads, names, certificates, shards. Not: what the metadata group says over them
//! ([`super::metadata`]).
//! Holds: a head is decoded, encoded and decoded to the same; any k shards of equal length give a chunk or an
//! error, and what was coded comes back.

use bytes::Bytes;
use kluis_chunkstore::{
    code::Code,
    codec::erasure::Erasure,
    ids::{BlobId, ChunkId, ClusterId, DiskId, NodeId, ShardKey, SiteName, StorageId},
    net::identity::{NodeIdentity, NodeName},
    wire::{FRAME_BYTES, FaultCode, Frame, FrameKind, HEAD_BYTES_MAX, Hello, PeerAnswer, PeerFault, PeerRequest, decode_head, encode_head},
};
use kluis_node::ca::{check_requests, operator_of};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::{Serialize, de::DeserializeOwned};

use super::{Target, settles, text, texts};

const WORDS: &str = include_str!("../../fuzz/dictionaries/peers.dict");
const CERTIFICATE: &[u8] = include_bytes!("fixtures/node.pem");
const KEY: &[u8] = include_bytes!("fixtures/node.key");
const AUTHORITY: &[u8] = include_bytes!("fixtures/ca.pem");
const OPERATOR: &[u8] = include_bytes!("fixtures/operator.pem");
const REQUEST: &[u8] = include_bytes!("fixtures/node.csr");

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    Target::new("frame", frame, frame_seeds, WORDS),
    Target::new("peer_request", peer_request, request_seeds, WORDS),
    Target::new("peer_answer", peer_answer, answer_seeds, WORDS),
    Target::new("peer_fault", peer_fault, || heads(&[PeerFault::new(FaultCode::DiskFull, "full")]), WORDS),
    Target::new("hello", hello, || heads(&[hello_of(2)]), WORDS),
    Target::new("names", names, || texts(&["n7.dc1.prod.example", "n12", "dc-1", "4+5", "00000000000000000000000000000007"]), WORDS),
    Target::new("certificate", certificate, certificate_seeds, WORDS).slow(4),
    Target::new("identity_files", identity_files, identity_seeds, WORDS).slow(8),
    Target::new("erasure", erasure, erasure_seeds, WORDS),
];

fn hello_of(to: u64) -> Hello {
    Hello { cluster: ClusterId(1), node: NodeId(1), storage: StorageId(9), to: NodeId(to), program: "0.1.0".to_owned() }
}

fn heads<T: Serialize>(heads: &[T]) -> Vec<Vec<u8>> {
    heads.iter().map(|head| encode_head(head).expect("seeds are short")).collect()
}

fn head_again<T: Serialize + DeserializeOwned>(data: &[u8]) -> bool {
    settles(data, |bytes| decode_head::<T>(bytes).and_then(|head| encode_head(&head)))
}

fn frame_seeds() -> Vec<Vec<u8>> {
    let kinds = [FrameKind::Request, FrameKind::Answer, FrameKind::Fault];
    kinds.map(|kind| Frame { kind, head_len: 100, body_len: 1 << 20 }.encode().to_vec()).into()
}

fn frame(data: &[u8]) -> bool {
    let Some(bytes) = data.first_chunk::<FRAME_BYTES>() else { return false };
    match Frame::decode(bytes) {
        Ok(frame) => {
            assert!(frame.head_len <= HEAD_BYTES_MAX);
            assert_eq!(frame.encode(), *bytes);
            true
        }
        Err(_) => false,
    }
}

fn request_seeds() -> Vec<Vec<u8>> {
    let key = |shard| ShardKey { chunk: ChunkId { blob: BlobId(1), index: 2 }, shard };
    heads(&[
        PeerRequest::Hello(hello_of(2)),
        PeerRequest::PutShard { disk: DiskId(4), key: key(3), checksum: 5 },
        PeerRequest::FetchShard { disk: DiskId(4), key: key(3) },
        PeerRequest::HasShards { disk: DiskId(4), keys: (0..9).map(key).collect() },
        PeerRequest::Suspect { blob: BlobId(1), index: 2 },
        PeerRequest::Raft { call: 1 },
        PeerRequest::RaftStream { header_len: 300 },
        PeerRequest::Observe,
    ])
}

fn peer_request(data: &[u8]) -> bool {
    head_again::<PeerRequest>(data)
}

fn answer_seeds() -> Vec<Vec<u8>> {
    heads(&[
        PeerAnswer::Welcome(hello_of(1)),
        PeerAnswer::Done,
        PeerAnswer::Shard { checksum: 7 },
        PeerAnswer::Absent,
        PeerAnswer::Present(vec![true, false, true]),
        PeerAnswer::Body,
    ])
}

fn peer_answer(data: &[u8]) -> bool {
    head_again::<PeerAnswer>(data)
}

fn peer_fault(data: &[u8]) -> bool {
    head_again::<PeerFault>(data)
}

fn hello(data: &[u8]) -> bool {
    head_again::<Hello>(data)
}

/// Every name that is read from a text: what is taken is written as a text that is taken for the same.
fn names(data: &[u8]) -> bool {
    fn again<T: std::str::FromStr + std::fmt::Display + PartialEq + std::fmt::Debug>(text: &str) -> bool {
        let Ok(name) = text.parse::<T>() else { return false };
        let shown = name.to_string();
        assert_eq!(shown.parse::<T>().ok(), Some(name), "{text:?} is shown as {shown:?}");
        true
    }
    let text = text(data);
    if let Some(name) = NodeName::parse(&text) {
        assert_eq!(NodeName::parse(&name.to_dns()), Some(name));
        return true;
    }
    let ids = again::<NodeId>(&text) | again::<DiskId>(&text) | again::<SiteName>(&text) | again::<Code>(&text);
    ids | again::<kluis_raft::model::DocumentId>(&text) | again::<kluis_raft::model::UploadId>(&text)
}

fn der(pem: &[u8]) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem).expect("the fixture is a certificate").to_vec()
}

fn certificate_seeds() -> Vec<Vec<u8>> {
    vec![der(CERTIFICATE), der(OPERATOR), der(AUTHORITY)]
}

/// What the name of a peer and of an operator are read from.
fn certificate(data: &[u8]) -> bool {
    let node = NodeName::of_certificate(data);
    if let Ok(name) = &node {
        assert_eq!(NodeName::parse(&name.to_dns()).as_ref(), Some(name));
    }
    node.is_ok() | operator_of(data).is_some()
}

fn identity_seeds() -> Vec<Vec<u8>> {
    let whole = |certificate: &[u8]| [certificate, KEY, AUTHORITY].join(&b'|');
    vec![whole(CERTIFICATE), whole(OPERATOR), REQUEST.to_vec()]
}

/// The PEM files of a node, separated by a bar; and a request for a certificate.
fn identity_files(data: &[u8]) -> bool {
    let mut parts = data.splitn(3, |byte| *byte == b'|');
    let mut part = || parts.next().unwrap_or_default();
    let (certificate, key, authority) = (part(), part(), part());
    let identity = NodeIdentity::from_pem(certificate, key, authority).is_ok();
    let request = text(data).into_owned();
    identity | check_requests(&[request.as_str()]).is_ok()
}

/// Code, shape and lengths from the first bytes, content from the rest.
fn erasure_seeds() -> Vec<Vec<u8>> {
    let content: Vec<u8> = (0..=255).collect();
    let heads: [[u8; 6]; 3] = [[4, 5, 3, 1, 0, 1], [1, 4, 2, 1, 0, 1], [6, 6, 11, 0, 255, 3]];
    heads.iter().map(|head| [&head[..], &content[..]].concat()).collect()
}

fn erasure(data: &[u8]) -> bool {
    let Some((&[k, m, kept, high, low, twist], content)) = data.split_first_chunk::<6>() else { return false };
    let Ok(code) = Code::new(k % 12, m % 12) else { return false };
    let codec = Erasure::of(code).expect("every code has its matrix");
    // What was coded comes back from any k rows. An odd step visits every row once.
    let chunk = Bytes::copy_from_slice(content);
    let rows: Vec<u8> = (0u8..).map(|i| kept.wrapping_add(i.wrapping_mul(twist | 1))).take(code.n()).collect();
    let numbered: Vec<(u8, Bytes)> = rows.iter().copied().zip(codec.encode(&chunk, &rows)).collect();
    assert_eq!(numbered.len(), code.n());
    let (some, others) = numbered.split_at(code.k());
    assert_eq!(codec.decode(some, chunk.len()).as_deref(), Ok(&chunk[..]), "{code} from rows {rows:?}");
    for (row, shard) in others {
        assert_eq!(codec.rebuild(some, *row, chunk.len()).as_ref(), Ok(shard), "{code} row {row} from rows {rows:?}");
    }
    // Shards under other numbers and a length that they do not have end in a chunk of that length or an error.
    let claimed = usize::from(u16::from_be_bytes([high, low])).wrapping_mul(usize::from(twist).pow(4));
    let strange: Vec<(u8, Bytes)> = some.iter().map(|(number, shard)| (number.wrapping_mul(twist), shard.clone())).collect();
    for shards in [some, &strange[..]] {
        if let Ok(chunk) = codec.decode(shards, claimed) {
            assert_eq!(chunk.len(), claimed);
        }
        let _ = codec.rebuild(shards, kept, claimed);
    }
    true
}
