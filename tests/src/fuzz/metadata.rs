//! Targets: the metadata group. Its messages, its log, its records and keys, its snapshots, and the commands that
//! every replica applies.
//!
//! Owns: what replicas send and store. Not: frames around it ([`super::peers`]).
//! Holds: what decodes is encoded to bytes that decode to the same; any requests, applied in any order, have an
//! outcome, leave a state that can be read, and change nothing when they are repeated.
//! Not checked here: the invariants. Commands are trusted to bring fresh ids; those that do are tried at random
//! beside the state machine.

use kluis_chunkstore::{
    code::Code,
    ids::{BlobId, ClusterId, DiskId, NodeId, StorageId},
    placement::Avoid,
    topology::{Topology, TopologyDisk, TopologyNode},
};
use kluis_raft::{
    apply::apply,
    codec::{self, AccountRef, Marker, Record, ServiceRef, SessionRef},
    command::{
        AccountSeed, AdvanceUpload, BeginUpload, ClosingCommand, Command, CommitUpload, DocumentCommand, LogCommand, NewNode, Request,
        SharingCommand,
    },
    consensus::{
        fuzzing as consensus,
        snapshot::{SnapshotReader, SnapshotWriter},
    },
    keys,
    model::{
        Account, AccountId, Actor, Attributes, Blob, BlobLayout, ClusterRecord, Death, DiskRecord, DiskState, Document, DocumentId, Event,
        EventKind, Former, GivenRef, HistoryEntry, IdempotencyRecord, IncomingRef, JoinToken, Link, LinkHash, LinkId, LinkRef, LogRecord,
        NewLink, NodeRecord, NodeRole, PairCount, Role, Scan, Sealed, Service, Session, SessionId, Share, TokenHash, Trail, Upload,
        UploadId, UploadTarget, Vault, VaultId, Version, WrappedKey,
    },
    outcome::{Outcome, Refusal},
    store::{Entry, Read, Store, StoreError, Transaction, memory::MemoryStore},
};
use xxhash_rust::xxh3::xxh3_64;

use super::{Target, kind, of_kind, settles};

const WORDS: &str = include_str!("../../fuzz/dictionaries/metadata.dict");
const CLUSTER: ClusterId = ClusterId(77);
/// Largest snapshot that is taken.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 20;
/// Requests that one input applies.
const REQUESTS_MAX: usize = 24;

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    Target::new("raft_message", message, message_seeds, WORDS),
    Target::new("raft_log_entry", log_entry, || consensus::sample_entries(&request(3, sign_in(1))), WORDS),
    Target::new("raft_meta", meta, || consensus::sample_meta().iter().map(|(number, bytes)| of_kind(*number, bytes)).collect(), WORDS),
    Target::new("record", record, record_seeds, WORDS),
    Target::new("state_key", state_key, key_seeds, WORDS),
    Target::new("snapshot", snapshot, || vec![snapshot_bytes(0), snapshot_bytes(20)], WORDS).slow(2),
    Target::new("commands", commands, command_seeds, WORDS).slow(8),
];

fn request(id: u128, command: Command) -> Request {
    Request { id, now_ms: 1_000 + u64::try_from(id).unwrap_or(0), command }
}

fn message_seeds() -> Vec<Vec<u8>> {
    let samples = consensus::sample_messages(&request(3, sign_in(1)));
    samples.iter().map(|(number, bytes)| of_kind(*number, bytes)).collect()
}

fn message(data: &[u8]) -> bool {
    let (number, rest) = kind(data, consensus::MESSAGE_KINDS);
    settles(rest, |bytes| consensus::message_again(number, bytes).map(|bytes| bytes.to_vec()))
}

/// The entry as it is, and with its checksum mended.
fn log_entry(data: &[u8]) -> bool {
    let check = |bytes: &[u8]| settles(bytes, |bytes| consensus::log_entry_again(consensus::SAMPLE_INDEX, bytes));
    let mut mended = data.to_vec();
    if let Some((head, body)) = mended.split_first_chunk_mut::<9>() {
        head[1..].copy_from_slice(&xxh3_64(body).to_le_bytes());
    }
    check(data) | check(&mended)
}

fn meta(data: &[u8]) -> bool {
    let (number, rest) = kind(data, consensus::META_KINDS);
    settles(rest, |bytes| consensus::meta_again(number, bytes))
}

fn again<R: Record>(bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
    codec::encode(&codec::decode::<R>(b"sample", bytes)?)
}

type Again = fn(&[u8]) -> Result<Vec<u8>, StoreError>;

/// Every record that the state holds.
const RECORDS: [Again; 29] = [
    again::<Account>,
    again::<Blob>,
    again::<ClusterRecord>,
    again::<DiskRecord>,
    again::<Document>,
    again::<IdempotencyRecord>,
    again::<JoinToken>,
    again::<NodeRecord>,
    again::<Session>,
    again::<Upload>,
    again::<Vault>,
    again::<Version>,
    again::<Outcome>,
    again::<Topology>,
    again::<AccountRef>,
    again::<SessionRef>,
    again::<Marker>,
    again::<Share>,
    again::<IncomingRef>,
    again::<Former>,
    again::<PairCount>,
    again::<Death>,
    again::<Link>,
    again::<LinkRef>,
    again::<GivenRef>,
    again::<Service>,
    again::<ServiceRef>,
    again::<HistoryEntry>,
    again::<LogRecord>,
];

fn record(data: &[u8]) -> bool {
    let (number, rest) = kind(data, 29);
    RECORDS.get(usize::from(number)).is_some_and(|again| settles(rest, again))
}

/// The records that some real commands left behind, and three that they do not.
fn record_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for (_, value) in state_after(&sample_commands()) {
        // Which record a value is, only its key says; here the first that takes it is near enough.
        let taking = (0u8..).zip(RECORDS).filter(|(_, again)| again(&value).is_ok_and(|same| same == value));
        seeds.extend(taking.map(|(number, _)| of_kind(number, &value)));
    }
    let records = [
        (3, codec::encode(&DiskRecord { id: DiskId(4), node: NodeId(1), weight: 100, state: DiskState::Active })),
        (12, codec::encode(&Outcome::Refused(Refusal::OffsetMismatch { actual: 7 }))),
        (13, codec::encode(&topology())),
    ];
    seeds.extend(records.into_iter().map(|(number, bytes)| of_kind(number, &bytes.expect("seeds are encoded"))));
    seeds
}

fn key_seeds() -> Vec<Vec<u8>> {
    let request = keys::request(7);
    vec![keys::due(1_000, &request), keys::version(VaultId(1), DocumentId(2), 3), keys::cluster(), request]
}

/// The parts that are read out of keys.
fn state_key(data: &[u8]) -> bool {
    let due = keys::due_parts(data);
    if let Some((at_ms, what)) = due {
        assert_eq!(keys::due_parts(&keys::due(at_ms, what)), Some((at_ms, what)));
    }
    let id = keys::id_at_end(data);
    if let Some(id) = id {
        assert_eq!(keys::id_at_end(&keys::request(id)), Some(id));
    }
    assert!(keys::next(data.to_vec()).as_slice() > data, "the next key comes after this one");
    due.is_some() | id.is_some()
}

fn snapshot_bytes(records: u8) -> Vec<u8> {
    let mut writer = SnapshotWriter::new(Vec::<u8>::new(), CLUSTER, &Default::default()).expect("memory takes it");
    for number in 0..records {
        writer.push(&[number, 1], &vec![number; usize::from(number) * 3]).expect("seeds are short");
    }
    writer.finish().expect("memory takes it").0
}

/// Puts the right checksums into header, first block and footer of a file of one block.
fn mended_snapshot(data: &[u8]) -> Option<Vec<u8>> {
    let length = |bytes: &[u8], at: usize| {
        let field = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(field)).ok().filter(|len| *len < data.len())
    };
    let mut bytes = data.to_vec();
    let put = |bytes: &mut Vec<u8>, from: usize, to: usize, at: usize| {
        let sum = xxh3_64(bytes.get(from..to)?).to_le_bytes();
        bytes.get_mut(at..at + 8)?.copy_from_slice(&sum);
        Some(())
    };
    let header = 30 + length(&bytes, 26)?;
    put(&mut bytes, 0, header, header)?;
    let block = header + 8;
    let len = length(&bytes, block)?;
    if len > 0 {
        put(&mut bytes, block + 12, block + 12 + len, block + 4)?;
    }
    let footer = bytes.len().checked_sub(8)?;
    put(&mut bytes, 0, footer, footer)?;
    Some(bytes)
}

/// Reads the file as it is and with its checksums mended; records that are read make a file that is read.
fn snapshot(data: &[u8]) -> bool {
    fn read(bytes: &[u8]) -> Option<Vec<Entry>> {
        let mut reader = SnapshotReader::new(bytes, CLUSTER, SNAPSHOT_BYTES_MAX).ok()?;
        let mut entries = Vec::new();
        while let Some(block) = reader.next_block().ok()? {
            entries.extend(block);
        }
        let summary = reader.summary().expect("a file that ended has its summary");
        assert_eq!((summary.len, summary.entries), (bytes.len() as u64, entries.len() as u64));
        let mut writer = SnapshotWriter::new(Vec::<u8>::new(), CLUSTER, reader.meta()).expect("memory takes it");
        for (key, value) in &entries {
            writer.push(key, value).expect("what was read is not too long");
        }
        let (again, _) = writer.finish().expect("memory takes it");
        SnapshotReader::new(&again[..], CLUSTER, 2 * SNAPSHOT_BYTES_MAX)
            .and_then(SnapshotReader::verify)
            .expect("what was written is read");
        Some(entries)
    }
    let mended = mended_snapshot(data).and_then(|bytes| read(&bytes));
    read(data).is_some() | mended.is_some()
}

fn node(site: &str) -> NewNode {
    let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let roles = vec![NodeRole::Metadata, NodeRole::Chunk];
    NewNode { site: site.parse().expect("a site"), roles, storage: StorageId(9), quic: address(1), admin: address(2), gateway: None }
}

fn sign_in(person: u8) -> Command {
    let id = u128::from(person);
    let keys = vec![WrappedKey { master: "m1".to_owned(), bytes: vec![1] }];
    let (account, vault) = (AccountId(id), VaultId(id));
    Command::SignIn {
        lookup: [person; 32],
        attempt: [person; 32],
        seed: Box::new(AccountSeed { account, vault, keys, profile: Sealed(vec![2]), roles: vec![Role::Citizen] }),
        session: SessionId([person; 32]),
        session_public_id: id,
        lifetime_ms: 500,
        acr: "advanced".to_owned(),
        facts: Box::default(),
        trail: Box::new(trail()),
        sealed_for: vault,
    }
}

fn trail() -> Trail {
    Trail { details: Sealed(vec![9]), ..Trail::bare(Actor::Account(AccountId(1)), [4; 32]) }
}

fn begin(id: u128) -> BeginUpload {
    BeginUpload {
        upload: UploadId(id),
        vault: VaultId(1),
        account: AccountId(1),
        blob: BlobId(id),
        target: UploadTarget::NewDocument(DocumentId(id)),
        name: Sealed(vec![3]),
        wrapped_key: vec![4],
        code: Code::STANDARD,
        chunk_bytes: 64,
        length: None,
        expected_sha256: None,
        reserve_bytes: 200,
        lifetime_ms: 300,
        idempotency: Some(([5; 32], [6; 32])),
        resumable: true,
        attributes: Attributes::default(),
        shares: Vec::new(),
    }
}

fn link() -> NewLink {
    NewLink {
        id: LinkId(1),
        hash: LinkHash([9; 32]),
        version: 1,
        wrapped_key: vec![5],
        name: Sealed(vec![6]),
        password: None,
        until_ms: 100_000,
        max_opens: 2,
        identity_check: false,
        watermark: true,
    }
}

fn layout(version: u64) -> BlobLayout {
    BlobLayout { topology: version, avoid: Avoid::nothing() }
}

fn topology() -> Topology {
    let sites = ["dc1", "dc2", "dc3"];
    let nodes = (1u64..).zip(sites).map(|(id, site)| TopologyNode { id: NodeId(id), site: site.parse().expect("a site") }).collect();
    let disks = (0..9u64).map(|n| TopologyDisk { id: DiskId(u128::from(n) + 1), node: NodeId(n % 3 + 1), weight: 100 }).collect();
    Topology::build(1, Code::STANDARD, nodes, disks).expect("three sites of three disks")
}

/// The life of a cluster and of some documents, in commands.
fn sample_commands() -> Vec<Command> {
    let (document, upload, blob, vault) = (DocumentId(1), UploadId(1), BlobId(1), VaultId(1));
    let advance = AdvanceUpload {
        upload,
        writer: 1,
        from: 0,
        to: 64,
        hash_state: Sealed(vec![7]),
        tail: None,
        layouts: vec![layout(1)],
        reduced: false,
        unlock: true,
        lifetime_ms: 50,
    };
    let commit = CommitUpload {
        upload,
        size: 64,
        sha256: [1; 32],
        chunks: 1,
        layouts: vec![layout(1)],
        reduced: false,
        settled: false,
        scan: Scan::NotAsked,
        trail: trail(),
    };
    let event = Event { kind: EventKind::ReadByOwner, vault: Some(vault), document: Some(document), trail: trail() };
    vec![
        Command::CreateJoinToken {
            hash: TokenHash([2; 32]),
            site: "dc2".parse().expect("a site"),
            roles: vec![NodeRole::Chunk],
            lifetime_ms: 1_000,
        },
        Command::RedeemJoinToken { hash: TokenHash([2; 32]), node: node("dc2") },
        Command::SetLookupKey { key: Sealed(vec![8]) },
        sign_in(1),
        Command::BeginUpload(Box::new(begin(1))),
        Command::LockUpload { upload, vault, writer: 1, lease_ms: 20, renew: false },
        Command::AdvanceUpload(Box::new(advance)),
        Command::CommitUpload(Box::new(commit)),
        Command::SettleBlob { blob, seen: vec![layout(1)], layout: layout(2) },
        Command::UnsettleBlob { blob },
        Command::BeginUpload(Box::new(begin(2))),
        Command::ExtendUpload { upload: UploadId(2), reserved_bytes: 300, lifetime_ms: 100 },
        Command::AbortUpload { upload: UploadId(2), vault },
        Command::SetVaultLimits { vault, quota_bytes: Some(2_000), strict: Some(true) },
        Command::ApplyTopology { expected_version: 0, topology: topology() },
        Command::Sharing {
            act: Box::new(SharingCommand::CreateLink { vault, document, link: Box::new(link()) }),
            trail: Box::new(trail()),
        },
        Command::Sharing { act: Box::new(SharingCommand::OpenLink { hash: LinkHash([9; 32]) }), trail: Box::new(trail()) },
        Command::Document { act: Box::new(DocumentCommand::Trash { vault, document, revision: 1 }), trail: Box::new(trail()) },
        Command::Document { act: Box::new(DocumentCommand::Restore { vault, document, revision: 2 }), trail: Box::new(trail()) },
        Command::Sharing { act: Box::new(SharingCommand::ConfirmDeath { account: AccountId(1) }), trail: Box::new(trail()) },
        Command::DeleteDocument { vault, document, revision: 3, trail: Box::new(trail()) },
        Command::Closing(Box::new(ClosingCommand::Close {
            account: AccountId(1),
            vault,
            session: SessionId([1; 32]),
            trail: Box::new(trail()),
        })),
        Command::EndSession { account: AccountId(1), public_id: 1, trail: Box::new(trail()) },
        Command::Log(LogCommand::Append { events: vec![event] }),
        Command::Log(LogCommand::PutCheckpoint { note: "log\n1\n\n".to_owned() }),
        Command::Tick,
    ]
}

fn beginning() -> Request {
    let (name, code, node) = ("test".to_owned(), Code::STANDARD, node("dc1"));
    let command =
        Command::InitCluster { id: CLUSTER, name, code, small_max_bytes: 16 * 1024, chunk_bytes: 1 << 20, quota_bytes: 1_000, node };
    request(1, command)
}

fn apply_to(store: &MemoryStore, request: &Request) -> Outcome {
    let mut tx = Transaction::new(store);
    let outcome = apply(&mut tx, request).expect("a store in memory is whole");
    store.write(&tx.into_writes()).expect("memory takes it");
    outcome
}

fn everything(store: &MemoryStore) -> Vec<Entry> {
    store.scan(&[], &[0xff; 64], usize::MAX).expect("a store in memory is whole")
}

fn state_after(commands: &[Command]) -> Vec<Entry> {
    let store = MemoryStore::default();
    apply_to(&store, &beginning());
    for (id, command) in (2u128..).zip(commands) {
        apply_to(&store, &request(id, command.clone()));
    }
    everything(&store)
}

/// Requests, each with two bytes of length before it.
fn command_seeds() -> Vec<Vec<u8>> {
    let encoded = |(id, command): (u128, &Command)| {
        let messages = consensus::sample_messages(&request(id, command.clone()));
        let bytes = messages.into_iter().find(|(number, _)| *number == 2).expect("a sample of each kind").1;
        [&u16::try_from(bytes.len()).expect("seeds are short").to_be_bytes()[..], &bytes[..]].concat()
    };
    let all = sample_commands();
    let single: Vec<Vec<u8>> = (2u128..).zip(&all).map(encoded).collect();
    vec![single.concat(), single[3..8].concat(), single[..3].concat()]
}

/// Applies the requests of the input to a new cluster. Those that do not decode, or are longer than the log takes,
/// are passed over, as a leader does.
fn commands(data: &[u8]) -> bool {
    let store = MemoryStore::default();
    apply_to(&store, &beginning());
    let mut rest = data;
    let mut applied = false;
    for _ in 0..REQUESTS_MAX {
        let Some((len, after)) = rest.split_first_chunk::<2>() else { break };
        let (bytes, after) = after.split_at(usize::from(u16::from_be_bytes(*len)).min(after.len()));
        rest = after;
        let Ok(request) = consensus::read_request(bytes) else { continue };
        let first = apply_to(&store, &request);
        if !matches!(request.command, Command::Tick) {
            let before = everything(&store);
            assert_eq!(apply_to(&store, &request), first, "a repeated request has another answer");
            assert_eq!(everything(&store), before, "a repeated request changed something");
        }
        applied |= !matches!(first, Outcome::Refused(_));
    }
    applied
}
