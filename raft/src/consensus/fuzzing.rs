//! What this group reads from peers and from its log, for tests that feed the readers with bytes of their own
//! (`tests/src/fuzz`).
//!
//! Owns: the way in, and one sample of each kind. Not: any behaviour (`super::wire`, `super::log_store`).
//! Holds: (1) nothing of the program calls this; (2) each reader is followed by its writer, so that a test
//! can compare.

use std::collections::BTreeMap;

use bytes::Bytes;
use openraft::{
    CommittedLeaderId, EntryPayload, LogId, Membership, StoredMembership, Vote,
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    election::Sight,
    log_store::{decode_entry, decode_meta, encode_entry, encode_meta},
    state_machine::SnapshotRecord,
    types::{Applied, Batch, LogEntry, Position, SnapshotMeta, TypeConfig},
    wire::{
        self, ANSWER_BYTES_MAX, APPEND_BYTES_MAX, Answer, PROPOSE_BYTES_MAX, SMALL_BYTES_MAX, SNAPSHOT_HEADER_BYTES_MAX, SnapshotHeader,
    },
};
use crate::{command::Request, outcome::Outcome, store::StoreError};

/// Kinds of [`message_again`].
pub const MESSAGE_KINDS: u8 = 10;
/// Kinds of [`meta_again`].
pub const META_KINDS: u8 = 4;

/// Decodes a message between replicas and encodes it again.
///
/// # Errors
/// It is refused.
pub fn message_again(kind: u8, bytes: &[u8]) -> Result<Bytes, String> {
    fn again<T: Serialize + DeserializeOwned>(bytes: &[u8], max: usize) -> Result<Bytes, String> {
        wire::encode(&wire::decode::<T>(bytes, max)?)
    }
    match kind % MESSAGE_KINDS {
        0 => again::<AppendEntriesRequest<TypeConfig>>(bytes, APPEND_BYTES_MAX),
        1 => again::<VoteRequest<u64>>(bytes, SMALL_BYTES_MAX),
        2 => again::<Request>(bytes, PROPOSE_BYTES_MAX),
        3 => again::<SnapshotHeader>(bytes, SNAPSHOT_HEADER_BYTES_MAX),
        4 => again::<AppendEntriesResponse<u64>>(bytes, ANSWER_BYTES_MAX),
        5 => again::<VoteResponse<u64>>(bytes, ANSWER_BYTES_MAX),
        6 => again::<SnapshotResponse<u64>>(bytes, ANSWER_BYTES_MAX),
        7 => again::<Answer<Outcome>>(bytes, ANSWER_BYTES_MAX),
        8 => again::<Sight>(bytes, SMALL_BYTES_MAX),
        _ => again::<Answer<u64>>(bytes, ANSWER_BYTES_MAX),
    }
}

/// Decodes a proposal as the leader does.
///
/// # Errors
/// It is refused.
pub fn read_request(bytes: &[u8]) -> Result<Request, String> {
    wire::decode(bytes, PROPOSE_BYTES_MAX)
}

/// Decodes a log entry that lies at `index` and encodes it again.
///
/// # Errors
/// It is damaged.
pub fn log_entry_again(index: u64, bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
    encode_entry(&decode_entry(&index.to_be_bytes(), bytes)?)
}

/// Decodes a small record (vote, position, state of the state machine, snapshot) and encodes it again.
///
/// # Errors
/// It is damaged.
pub fn meta_again(kind: u8, bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
    fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
        encode_meta(&decode_meta::<T>(b"sample", bytes)?)
    }
    match kind % META_KINDS {
        0 => again::<Vote<u64>>(bytes),
        1 => again::<Applied>(bytes),
        2 => again::<Position>(bytes),
        _ => again::<SnapshotRecord>(bytes),
    }
}

/// The index of [`sample_entries`].
pub const SAMPLE_INDEX: u64 = 42;

fn position() -> Position {
    LogId::new(CommittedLeaderId::new(3, 1), SAMPLE_INDEX)
}

fn members() -> Membership<u64, ()> {
    Membership::from(BTreeMap::from([(1, ()), (2, ()), (3, ())]))
}

fn snapshot_meta() -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(position()),
        last_membership: StoredMembership::new(Some(position()), members()),
        snapshot_id: "s".to_owned(),
    }
}

fn entries(request: &Request) -> Vec<LogEntry> {
    let payloads =
        [EntryPayload::Blank, EntryPayload::Normal(Batch { requests: vec![request.clone()] }), EntryPayload::Membership(members())];
    payloads.into_iter().map(|payload| LogEntry { log_id: position(), payload }).collect()
}

/// A message of each kind, with `request` where one holds a request.
pub fn sample_messages(request: &Request) -> Vec<(u8, Bytes)> {
    let vote = Vote::new_committed(3, 1);
    let append: AppendEntriesRequest<TypeConfig> =
        AppendEntriesRequest { vote, prev_log_id: Some(position()), entries: entries(request), leader_commit: None };
    let header = SnapshotHeader { vote, meta: snapshot_meta(), checksum: 7 };
    let voted: VoteResponse<u64> = VoteResponse { vote, vote_granted: true, last_log_id: Some(position()) };
    let messages = [
        wire::encode(&append),
        wire::encode(&VoteRequest::new(vote, Some(position()))),
        wire::encode(request),
        wire::encode(&header),
        wire::encode(&AppendEntriesResponse::HigherVote(vote)),
        wire::encode(&voted),
        wire::encode(&SnapshotResponse::new(vote)),
        wire::encode(&Answer::Done(Outcome::Done)),
        wire::encode(&Sight { term: 3, leads: true, silent_ms: 500, last_log: Some(position()) }),
        wire::encode(&Answer::<u64>::NotLeader(Some(2))),
    ];
    (0..).zip(messages).filter_map(|(kind, message)| Some((kind, message.ok()?))).collect()
}

/// A log entry of each kind, at [`SAMPLE_INDEX`].
pub fn sample_entries(request: &Request) -> Vec<Vec<u8>> {
    entries(request).iter().filter_map(|entry| encode_entry(entry).ok()).collect()
}

/// A small record of each kind but that of snapshots, which none but the state machine can make.
pub fn sample_meta() -> Vec<(u8, Vec<u8>)> {
    let applied = Applied { last: Some(position()), membership: StoredMembership::new(Some(position()), members()) };
    let records = [encode_meta(&Vote::<u64>::new_committed(3, 1)), encode_meta(&applied), encode_meta(&position())];
    (0..).zip(records).filter_map(|(kind, record)| Some((kind, record.ok()?))).collect()
}
