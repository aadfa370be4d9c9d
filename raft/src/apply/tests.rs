//! The state machine under random commands: invariants after each, exactly-once, refusals change nothing.

use std::net::SocketAddr;

use kluis_chunkstore::{
    code::Code,
    ids::{BlobId, ChunkId, ClusterId, DiskId, NodeId, StorageId},
    placement::Avoid,
    topology::{Topology, TopologyDisk, TopologyNode},
};
use proptest::prelude::*;

use super::*;
use crate::{
    command::{AccountSeed, AdvanceUpload, BeginUpload, CommitUpload, IdentityCommand, NewDisk, NewNode, NewService},
    invariants::violations,
    model::{
        AccountId, Actor, Assurance, Attributes, BlobLayout, DocumentId, IdempotencyState, NodeRole, Role, Runs, Scan, Scope, Sealed,
        SecretHash, ServiceId, SessionId, Tail, TokenHash, Trail, Upload, UploadId, UploadTarget, VaultId, WrappedKey,
    },
    outcome::{IdentityOutcome, IdentityRefusal},
    store::{Store, Writes, memory::MemoryStore},
    view,
};

pub(super) struct Machine {
    pub(super) store: MemoryStore,
    pub(super) next: u128,
    pub(super) now: u64,
}

impl Machine {
    pub(super) fn new() -> Self {
        let mut machine = Self { store: MemoryStore::default(), next: 1, now: 1_000 };
        let outcome = machine.run(Command::InitCluster {
            id: ClusterId(1),
            name: "test".into(),
            code: Code::STANDARD,
            small_max_bytes: 16 * 1024,
            chunk_bytes: 1 << 20,
            quota_bytes: 1000,
            node: node("dc1"),
        });
        assert_eq!(outcome, Outcome::NodeAdded { node: NodeId(1) });
        machine
    }

    pub(super) fn run(&mut self, command: Command) -> Outcome {
        self.next += 1;
        self.now += 1;
        let request = Request { id: self.next, now_ms: self.now, command };
        self.repeat(&request)
    }

    pub(super) fn repeat(&self, request: &Request) -> Outcome {
        let mut tx = Transaction::new(&self.store);
        let outcome = apply(&mut tx, request).unwrap();
        self.store.write(&tx.into_writes()).unwrap();
        assert_eq!(violations(&self.store).unwrap(), Vec::<String>::new(), "after {request:?}");
        outcome
    }

    pub(super) fn all(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.store.scan(&[0], &[0xff; 64], usize::MAX).unwrap()
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn node(site: &str) -> NewNode {
    NewNode {
        site: site.parse().unwrap(),
        roles: vec![NodeRole::Metadata, NodeRole::Chunk],
        storage: StorageId(9),
        quic: address(1),
        admin: address(2),
        gateway: None,
    }
}

pub(super) fn sign_in(person: u8, attempt: u8) -> Command {
    Command::SignIn {
        lookup: [person; 32],
        attempt: [attempt; 32],
        seed: Box::new(AccountSeed {
            account: AccountId(u128::from(person) + 1),
            vault: VaultId(u128::from(person) + 1),
            keys: vec![WrappedKey { master: "m1".into(), bytes: vec![1] }],
            profile: Sealed(vec![2]),
            roles: vec![Role::Citizen],
        }),
        session: SessionId([attempt; 32]),
        session_public_id: u128::from(attempt),
        lifetime_ms: 500,
        acr: "advanced".into(),
        facts: Box::default(),
        trail: Box::new(trail(attempt)),
        sealed_for: VaultId(u128::from(person) + 1),
    }
}

pub(super) fn trail(salt: u8) -> Trail {
    Trail { details: Sealed(vec![salt]), ..Trail::bare(Actor::System, [salt; 32]) }
}

fn layout(version: u64) -> BlobLayout {
    BlobLayout { topology: version, avoid: Avoid::nothing() }
}

pub(super) fn begin(id: u8, person: u8, bytes: u64, target: UploadTarget, idempotency: Option<u8>) -> BeginUpload {
    BeginUpload {
        upload: UploadId(u128::from(id)),
        vault: VaultId(u128::from(person) + 1),
        account: AccountId(u128::from(person) + 1),
        blob: BlobId(u128::from(id)),
        target,
        name: Sealed(vec![3]),
        wrapped_key: vec![4],
        code: Code::STANDARD,
        chunk_bytes: 64,
        length: None,
        expected_sha256: None,
        reserve_bytes: bytes,
        lifetime_ms: 300,
        idempotency: idempotency.map(|k| ([k; 32], [k / 2; 32])),
        resumable: id % 2 == 1,
        attributes: Attributes::default(),
        shares: vec![],
    }
}

pub(super) fn commit(id: u8, size: u64) -> CommitUpload {
    CommitUpload {
        upload: UploadId(u128::from(id)),
        size,
        sha256: [id; 32],
        chunks: u32::try_from(size.div_ceil(64)).unwrap(),
        layouts: vec![layout(1)],
        reduced: false,
        settled: id.is_multiple_of(3),
        scan: Scan::NotAsked,
        trail: trail(id),
    }
}

fn new_service(id: u8, person: u8, lifetime_ms: u64) -> NewService {
    NewService {
        id: ServiceId(id.into()),
        vault: VaultId(u128::from(person) + 1),
        account: AccountId(u128::from(person) + 1),
        name: Sealed(vec![3]),
        scopes: vec![Scope::DocumentsRead],
        secret: SecretHash([id; 32]),
        lifetime_ms,
    }
}

fn identity_command() -> impl Strategy<Value = IdentityCommand> {
    let vault = (1u128..4).prop_map(VaultId);
    let service = (0u8..6).prop_map(|id| ServiceId(id.into()));
    prop_oneof![
        (any::<u8>(), 0u8..3, any::<u8>()).prop_map(|(s, p, a)| step_up(s, p, a, Assurance::High)),
        (1u128..4, any::<u8>()).prop_map(|(a, s)| IdentityCommand::EndOtherSessions { account: AccountId(a), keep: s.into() }),
        any::<u8>().prop_map(|s| IdentityCommand::NoteSeen { sessions: vec![SessionId([s; 32])] }),
        (0u8..6, 0u8..3, 0u64..400).prop_map(|(i, p, lifetime_ms)| IdentityCommand::CreateService(new_service(i, p, lifetime_ms))),
        (vault.clone(), service.clone(), any::<u8>(), 0u64..200).prop_map(|(vault, service, secret, overlap_ms)| {
            IdentityCommand::RotateService { vault, service, secret: SecretHash([secret; 32]), overlap_ms }
        }),
        (vault, service).prop_map(|(vault, service)| IdentityCommand::DeleteService { vault, service }),
    ]
}

fn step_up(session: u8, person: u8, attempt: u8, assurance: Assurance) -> IdentityCommand {
    IdentityCommand::StepUp { session: SessionId([session; 32]), lookup: [person; 32], attempt: [attempt; 32], assurance }
}

fn command() -> impl Strategy<Value = Command> {
    let id = 0u8..12;
    let target = prop_oneof![
        (0u8..6).prop_map(|d| UploadTarget::NewDocument(DocumentId(u128::from(d)))),
        (0u8..6, 1u64..4).prop_map(|(d, revision)| UploadTarget::NewVersion { document: DocumentId(u128::from(d)), revision }),
    ];
    prop_oneof![
        2 => (0u8..3, any::<u8>()).prop_map(|(p, a)| sign_in(p, a)),
        4 => (id.clone(), 0u8..3, 0u64..700, target, prop::option::of(0u8..6)).prop_map(|(i, p, b, t, k)| Command::BeginUpload(Box::new(begin(i, p, b, t, k)))),
        4 => (id.clone(), 0u64..700).prop_map(|(i, size)| Command::CommitUpload(Box::new(commit(i, size)))),
        2 => (id.clone(), 0u64..700).prop_map(|(i, bytes)| Command::ExtendUpload { upload: UploadId(i.into()), reserved_bytes: bytes, lifetime_ms: 100 }),
        4 => (id.clone(), 0u128..3, 0u64..40, any::<bool>()).prop_map(|(i, w, lease_ms, renew)| Command::LockUpload { upload: UploadId(i.into()), vault: VaultId(1), writer: w, lease_ms, renew }),
        2 => (id.clone(), 0u128..3, 0u64..300, 0u64..300).prop_map(|(i, w, from, to)| Command::AdvanceUpload(Box::new(AdvanceUpload {
            upload: UploadId(i.into()), writer: w, from, to, hash_state: Sealed(vec![]), tail: None, layouts: vec![layout(from % 5)], reduced: false, unlock: w == 0, lifetime_ms: 50,
        }))),
        1 => (id.clone(), 1u128..4).prop_map(|(i, v)| Command::AbortUpload { upload: UploadId(i.into()), vault: VaultId(v) }),
        2 => (1u128..4, 0u128..6, 1u64..4).prop_map(|(v, d, revision)| Command::DeleteDocument { vault: VaultId(v), document: DocumentId(d), revision, trail: Box::new(trail(1)) }),
        1 => (id.clone(), 0u64..3).prop_map(|(i, t)| Command::SettleBlob { blob: BlobId(i.into()), seen: vec![layout(1)], layout: layout(t) }),
        1 => id.prop_map(|i| Command::UnsettleBlob { blob: BlobId(i.into()) }),
        1 => (1u128..4, prop::option::of(0u64..2000), prop::option::of(any::<bool>())).prop_map(|(v, quota_bytes, strict)| Command::SetVaultLimits { vault: VaultId(v), quota_bytes, strict }),
        2 => identity_command().prop_map(|command| Command::Identity(Box::new(command))),
        1 => (1u128..4, any::<u8>()).prop_map(|(a, s)| Command::EndSession { account: AccountId(a), public_id: s.into(), trail: Box::new(trail(s)) }),
        2 => Just(Command::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn invariants_hold_and_requests_happen_once(commands in prop::collection::vec((command(), 0u64..200), 1..80)) {
        let mut machine = Machine::new();
        for person in 0..3 {
            machine.run(sign_in(person, person));
        }
        for (command, wait) in commands {
            machine.now += wait;
            machine.next += 1;
            let request = Request { id: machine.next, now_ms: machine.now, command };
            let before = machine.all();
            let first = machine.repeat(&request);
            let after = machine.all();
            if let Outcome::Refused(_) = first {
                // Only the clock, the answer and its due entry may differ.
                let changed: Vec<_> = after.iter().filter(|entry| !before.contains(entry)).map(|(k, _)| k[16]).collect();
                let allowed = [crate::keys::Table::Cluster, crate::keys::Table::Request, crate::keys::Table::Due].map(|t| t as u8);
                prop_assert!(changed.iter().all(|t| allowed.contains(t)), "{:?}", changed);
            }
            if !matches!(request.command, Command::Tick) {
                prop_assert_eq!(machine.repeat(&request), first);
                prop_assert_eq!(machine.all(), after, "a repeated request changed something");
            }
        }
        // When time has passed over everything, nothing is left of sessions, uploads, answers and keys.
        machine.now += 100 * 24 * 3600 * 1000;
        for _ in 0..200 {
            machine.run(Command::Tick);
        }
        for table in [crate::keys::Table::Session, crate::keys::Table::Upload, crate::keys::Table::Request, crate::keys::Table::Idempotency, crate::keys::Table::Reserved, crate::keys::Table::Due, crate::keys::Table::Attempt] {
            let (start, end) = crate::keys::table_range(table);
            prop_assert_eq!(machine.store.scan(&start, &end, 10).unwrap(), vec![], "{:?}", table);
        }
    }
}

#[test]
fn a_join_token_serves_once_for_its_site_and_in_time() {
    let mut machine = Machine::new();
    let hash = TokenHash([1; 32]);
    let create = |lifetime_ms| Command::CreateJoinToken { hash, site: "dc2".parse().unwrap(), roles: vec![NodeRole::Chunk], lifetime_ms };
    assert!(matches!(machine.run(create(1000)), Outcome::TokenCreated(_)));
    let redeem = |site: &str| Command::RedeemJoinToken { hash, node: node(site) };
    assert_eq!(machine.run(redeem("dc1")), Outcome::Refused(Refusal::TokenSite { wanted: "dc2".into() }));
    assert_eq!(machine.run(redeem("dc2")), Outcome::NodeAdded { node: NodeId(2) });
    assert_eq!(machine.run(redeem("dc2")), Outcome::Refused(Refusal::TokenUnknown));
    machine.run(create(1000));
    machine.now += 2000;
    assert_eq!(machine.run(redeem("dc2")), Outcome::Refused(Refusal::TokenExpired));
    assert_eq!(view::nodes(&machine.store).unwrap().len(), 2);
    assert_eq!(
        machine.run(Command::UpdateNode { node: NodeId(2), storage: StorageId(1), quic: address(5), admin: address(6), gateway: None }),
        Outcome::Refused(Refusal::StorageMismatch(NodeId(2)))
    );
}

#[test]
fn a_topology_is_taken_only_against_the_version_in_force_and_for_disks_that_exist() {
    let mut machine = Machine::new();
    for (i, site) in ["dc2", "dc3"].iter().enumerate() {
        let hash = TokenHash([i as u8; 32]);
        machine.run(Command::CreateJoinToken { hash, site: site.parse().unwrap(), roles: vec![NodeRole::Chunk], lifetime_ms: 9999 });
        machine.run(Command::RedeemJoinToken { hash, node: node(site) });
    }
    let nodes: Vec<TopologyNode> =
        view::nodes(&machine.store).unwrap().into_iter().map(|n| TopologyNode { id: n.id, site: n.site }).collect();
    let disks: Vec<TopologyDisk> =
        (0..9).map(|i| TopologyDisk { id: DiskId(i), node: NodeId(u64::try_from(i % 3).unwrap() + 1), weight: 1 }).collect();
    let topology = |version| Topology::build(version, Code::STANDARD, nodes.clone(), disks.clone()).unwrap();
    let apply = |version: u64| Command::ApplyTopology { expected_version: version - 1, topology: topology(version) };
    assert!(matches!(machine.run(apply(1)), Outcome::Refused(Refusal::Topology(_))), "unannounced disks");
    for disk in &disks {
        machine.run(Command::AddDisks { node: disk.node, disks: vec![NewDisk { id: disk.id, weight: 1 }] });
    }
    assert_eq!(
        machine.run(Command::AddDisks { node: NodeId(3), disks: vec![NewDisk { id: DiskId(0), weight: 1 }] }),
        Outcome::Refused(Refusal::DiskTaken(DiskId(0).to_string()))
    );
    assert_eq!(machine.run(apply(1)), Outcome::TopologyApplied { version: 1 });
    assert!(matches!(machine.run(apply(1)), Outcome::Refused(Refusal::Topology(_))), "stale");
    assert!(matches!(machine.run(apply(3)), Outcome::Refused(Refusal::Topology(_))), "skipped");
    assert_eq!(machine.run(apply(2)), Outcome::TopologyApplied { version: 2 });
    assert_eq!(view::topology_at(&machine.store, 1).unwrap(), Some(topology(1)));
}

#[test]
fn an_idempotency_key_gives_the_first_answer_or_a_refusal() {
    let mut machine = Machine::new();
    machine.run(sign_in(0, 0));
    let first = begin(2, 0, 100, UploadTarget::NewDocument(DocumentId(1)), Some(4));
    machine.run(Command::BeginUpload(Box::new(first.clone())));
    let again = BeginUpload { upload: UploadId(20), blob: BlobId(20), ..first.clone() };
    assert_eq!(
        machine.run(Command::BeginUpload(Box::new(again.clone()))),
        Outcome::Repeated(IdempotencyState::Running { upload: UploadId(2) })
    );
    let other = BeginUpload { idempotency: Some(([4; 32], [9; 32])), ..again.clone() };
    assert_eq!(machine.run(Command::BeginUpload(Box::new(other))), Outcome::Refused(Refusal::IdempotencyMismatch));
    assert!(matches!(machine.run(Command::CommitUpload(Box::new(commit(2, 50)))), Outcome::Committed(_)));
    assert_eq!(
        machine.run(Command::BeginUpload(Box::new(again))),
        Outcome::Repeated(IdempotencyState::Committed { document: DocumentId(1), version: 1, revision: 1 })
    );
    let vault = view::vault(&machine.store, VaultId(1)).unwrap().unwrap();
    assert_eq!((vault.used_bytes, vault.reserved_bytes, vault.documents), (50, 0, 1));
}

/// A resumable upload of 300 bytes in chunks of 64, as its writers see it.
struct Resumable {
    machine: Machine,
}

impl Resumable {
    fn new() -> Self {
        let mut machine = Machine::new();
        machine.run(sign_in(0, 0));
        let begin = begin(1, 0, 300, UploadTarget::NewDocument(DocumentId(1)), None);
        let begin = BeginUpload { length: Some(300), lifetime_ms: u64::MAX, ..begin };
        assert!(matches!(machine.run(Command::BeginUpload(Box::new(begin))), Outcome::Upload(_)));
        Self { machine }
    }

    fn lock(&mut self, writer: u128, lease_ms: u64, renew: bool) -> Outcome {
        self.machine.run(Command::LockUpload { upload: UploadId(1), vault: VaultId(1), writer, lease_ms, renew })
    }

    fn advance(&mut self, writer: u128, from: u64, to: u64, unlock: bool) -> Outcome {
        let len = u32::try_from(to % 64).unwrap();
        let step = AdvanceUpload {
            upload: UploadId(1),
            writer,
            from,
            to,
            hash_state: Sealed(vec![]),
            tail: (to < 300 && len > 0).then_some(Tail { index: ChunkId::TAIL_BASE, len }),
            layouts: vec![layout(1)],
            reduced: false,
            unlock,
            lifetime_ms: u64::MAX,
        };
        self.machine.run(Command::AdvanceUpload(Box::new(step)))
    }

    fn upload(&self) -> Upload {
        view::upload(&self.machine.store, UploadId(1)).unwrap().unwrap()
    }

    fn attempts(&self) -> Vec<u32> {
        (0..5).map(|position| self.upload().runs.attempt(position)).collect()
    }
}

#[test]
fn who_follows_a_writer_that_broke_off_writes_under_a_new_attempt() {
    let mut upload = Resumable::new();
    for (writer, from, to) in [(1, 0, 10), (2, 10, 64), (3, 64, 100)] {
        assert!(matches!(upload.lock(writer, 50, false), Outcome::Upload(_)));
        assert!(matches!(upload.advance(writer, from, to, true), Outcome::Upload(_)));
    }
    assert_eq!(upload.upload().runs, Runs::default(), "requests that end well cost nothing");
    // It says itself that it breaks off: nobody has to wait.
    upload.lock(4, 50, false);
    assert_eq!(upload.lock(5, 50, false), Outcome::Refused(Refusal::UploadBusy));
    assert!(matches!(upload.lock(4, 0, true), Outcome::Upload(_)));
    assert_eq!(upload.attempts(), [0, 0, 0, 0, 0], "until somebody goes on there is one content only");
    upload.lock(5, 50, false);
    assert_eq!(upload.attempts(), [0, 1, 1, 1, 1], "the chunk of the tail is written anew");
    upload.advance(5, 100, 192, false);
    // It dies without a word.
    upload.machine.now += 100;
    upload.lock(6, 50, false);
    assert_eq!(upload.attempts(), [0, 1, 1, 2, 2]);
    upload.advance(6, 192, 300, false);
    // All bytes are there: the last request only commits.
    upload.machine.now += 100;
    upload.lock(7, 50, false);
    assert!(matches!(upload.machine.run(Command::CommitUpload(Box::new(commit(1, 300)))), Outcome::Committed(_)));
    let blob = view::blob(&upload.machine.store, BlobId(1)).unwrap().unwrap();
    let chunks: Vec<_> = blob.all_chunks().map(|chunk| (chunk.attempt().unwrap(), chunk.position().unwrap())).collect();
    assert_eq!(chunks, [(0, 0), (1, 1), (1, 2), (2, 3), (2, 4)]);
    assert!(blob.all_chunks().all(|chunk| blob.wanted(chunk.index) == Some(chunk)));
    let left = [(0, 1), (0, 3), (1, 3), (2, 2), (2, 5)].map(|(attempt, position)| ChunkId::of(blob.id, attempt, position).unwrap());
    assert!(left.iter().all(|chunk| blob.wanted(chunk.index).is_none()) && blob.wanted(ChunkId::TAIL_BASE).is_none());
}

#[test]
fn who_lost_an_upload_neither_advances_it_nor_has_it_back() {
    let mut upload = Resumable::new();
    upload.lock(1, 50, false);
    upload.machine.now += 100;
    // Slow, but nobody came: it goes on.
    assert!(matches!(upload.lock(1, 50, true), Outcome::Upload(_)));
    upload.machine.now += 100;
    upload.lock(2, 50, false);
    let after = upload.upload();
    assert_eq!((after.writer.map(|(writer, _)| writer), after.runs.current()), (Some(2), 1));
    let lost = |upload: &mut Resumable| {
        assert_eq!(upload.lock(1, 50, true), Outcome::Refused(Refusal::UploadBusy));
        assert_eq!(upload.advance(1, 0, 64, true), Outcome::Refused(Refusal::UploadBusy));
    };
    lost(&mut upload);
    // The other one lets go without a byte: what the slow one wrote is of the old attempt all the same.
    assert!(matches!(upload.advance(2, 0, 0, true), Outcome::Upload(_)));
    lost(&mut upload);
    upload.machine.now += 100;
    lost(&mut upload);
    assert_eq!((upload.upload().writer, upload.upload().runs), (None, after.runs));
}

#[test]
fn an_upload_that_breaks_off_without_end_is_refused_and_unchanged() {
    let mut upload = Resumable::new();
    for writer in 0..u128::from(ChunkId::ATTEMPTS) {
        assert!(matches!(upload.lock(writer, 0, false), Outcome::Upload(_)), "writer {writer}");
    }
    let before = upload.upload();
    assert_eq!(before.runs.current(), ChunkId::ATTEMPTS - 1);
    assert_eq!(upload.lock(u128::MAX, 50, false), Outcome::Refused(Refusal::TooManyAttempts));
    assert_eq!(upload.upload(), before);
}

#[test]
fn only_the_own_person_raises_a_session_once_for_a_while() {
    let mut machine = Machine::new();
    machine.run(sign_in(0, 1));
    machine.run(sign_in(1, 2));
    let mut raise = |command| machine.run(Command::Identity(Box::new(command)));
    assert_eq!(raise(step_up(1, 1, 3, Assurance::High)), Outcome::Refused(IdentityRefusal::OtherPerson.into()));
    assert_eq!(raise(step_up(1, 0, 3, Assurance::Substantial)), Outcome::Refused(IdentityRefusal::TooWeak.into()));
    assert_eq!(raise(step_up(9, 0, 3, Assurance::High)), Outcome::Refused(Refusal::SessionUnknown));
    assert_eq!(raise(step_up(1, 0, 1, Assurance::High)), Outcome::Refused(Refusal::AttemptUsed), "the sign-in's own attempt");
    let Outcome::Identity(IdentityOutcome::SteppedUp { until_ms }) = raise(step_up(1, 0, 3, Assurance::High)) else {
        panic!("not raised");
    };
    assert_eq!(raise(step_up(1, 0, 3, Assurance::High)), Outcome::Refused(Refusal::AttemptUsed));
    let session = view::session(&machine.store, &SessionId([1; 32])).unwrap().unwrap();
    assert!(session.is_stepped_up(until_ms - 1) && !session.is_stepped_up(until_ms));
    let other = view::session(&machine.store, &SessionId([2; 32])).unwrap().unwrap();
    assert!(!other.is_stepped_up(until_ms - 1));
}

#[test]
fn a_device_is_new_once_and_the_other_sessions_end_together() {
    let mut machine = Machine::new();
    let with = |attempt: u8, device: u8| {
        let mut command = sign_in(0, attempt);
        if let Command::SignIn { facts, .. } = &mut command {
            facts.device_hash = [device; 16];
            facts.device = Some((VaultId(u128::from(device)), Sealed(vec![device])));
        }
        command
    };
    let mut is_new = |command| match machine.run(command) {
        Outcome::SignedIn { new_device, .. } => new_device,
        other => panic!("{other:?}"),
    };
    assert!(!is_new(with(1, 1)), "a first sign-in is no news to anybody");
    assert!(is_new(with(2, 2)) && !is_new(with(3, 1)) && !is_new(with(4, 2)));
    let sealed = |machine: &Machine, id: u8| view::session(&machine.store, &SessionId([id; 32])).unwrap().unwrap().device;
    assert_eq!((sealed(&machine, 1), sealed(&machine, 2)), (Sealed(vec![1]), Sealed::default()), "sealed for vault 1, and for another");
    machine.run(Command::Identity(Box::new(IdentityCommand::EndOtherSessions { account: AccountId(1), keep: 3 })));
    let left: Vec<u128> = view::sessions(&machine.store, AccountId(1)).unwrap().iter().map(|s| s.public_id).collect();
    assert_eq!(left, [3]);
}

#[test]
fn of_a_services_secrets_two_are_good_while_one_takes_the_others_place() {
    let mut machine = Machine::new();
    machine.run(sign_in(0, 0));
    machine.run(Command::Identity(Box::new(IdentityCommand::CreateService(new_service(1, 0, 10_000)))));
    let good = |machine: &Machine, secret: u8| {
        let hash = SecretHash([secret; 32]);
        view::service_of(&machine.store, &hash).unwrap().is_some_and(|s| s.accepts(&hash, machine.now))
    };
    let rotate = |machine: &mut Machine, vault: u128, secret: u8, overlap_ms: u64| {
        let secret = SecretHash([secret; 32]);
        let command = IdentityCommand::RotateService { vault: VaultId(vault), service: ServiceId(1), secret, overlap_ms };
        machine.run(Command::Identity(Box::new(command)))
    };
    assert!(good(&machine, 1));
    assert_eq!(rotate(&mut machine, 2, 2, 100), Outcome::Refused(IdentityRefusal::ServiceUnknown.into()), "another vault's");
    rotate(&mut machine, 1, 2, 100);
    assert!(good(&machine, 1) && good(&machine, 2));
    machine.now += 100;
    assert!(!good(&machine, 1) && good(&machine, 2));
    rotate(&mut machine, 1, 3, 100);
    rotate(&mut machine, 1, 4, 0);
    assert_eq!([1, 2, 3, 4].map(|secret| good(&machine, secret)), [false, false, false, true]);
    machine.now += 10_000;
    assert!(!good(&machine, 4), "the service has expired");
    machine.run(Command::Tick);
    assert_eq!(view::services(&machine.store, VaultId(1)).unwrap(), vec![]);
}

#[test]
fn twenty_uploads_at_once_never_exceed_the_quota() {
    let mut machine = Machine::new();
    machine.run(sign_in(0, 0));
    let mut taken = 0;
    for id in 0..20 {
        let outcome = machine.run(Command::BeginUpload(Box::new(begin(id, 0, 99, UploadTarget::NewDocument(DocumentId(id.into())), None))));
        taken += u64::from(matches!(outcome, Outcome::Upload(_)));
    }
    assert_eq!(taken, 10);
}

#[test]
fn a_scan_of_a_transaction_sees_its_own_writes() {
    let store = MemoryStore::default();
    let writes: Writes = (0u8..10).map(|i| (vec![i], Some(vec![i]))).collect();
    store.write(&writes).unwrap();
    let mut tx = Transaction::new(&store);
    tx.delete(vec![0]);
    tx.delete(vec![9]);
    tx.put(vec![4], vec![44]);
    tx.put(vec![1, 5], vec![15]);
    let keys = |entries: Vec<(Vec<u8>, Vec<u8>)>| entries.into_iter().map(|(k, _)| k).collect::<Vec<_>>();
    assert_eq!(keys(tx.scan(&[0], &[99], 3).unwrap()), [vec![1], vec![1, 5], vec![2]]);
    assert_eq!(keys(tx.scan_back(&[0], &[99], 2).unwrap()), [vec![8], vec![7]]);
    assert_eq!(tx.get(&[4]).unwrap(), Some(vec![44]));
}
