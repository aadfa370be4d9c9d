//! The log in the state: histories, checkpoints taken and refused, invariants after each step.

use kluis_chunkstore::ids::{ClusterId, StorageId};

use super::*;
use crate::{
    apply::apply as apply_request,
    command::{Command, NewNode, Request},
    invariants::violations,
    log::note::{KeyType, Signer},
    model::{AccountId, Actor, DocumentId, EventKind, NodeRole, Trail, VaultId},
    store::{Store as _, memory::MemoryStore},
};

const VAULT: VaultId = VaultId(5);
const ORIGIN: &str = "test/log";

struct Machine {
    store: MemoryStore,
    next: u128,
}

impl Machine {
    fn new() -> Self {
        let mut machine = Self { store: MemoryStore::default(), next: 0 };
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let node = NewNode {
            site: "dc1".parse().unwrap(),
            roles: vec![NodeRole::Metadata, NodeRole::Chunk],
            storage: StorageId(1),
            quic: address,
            admin: address,
            gateway: None,
        };
        let outcome = machine.run(Command::InitCluster {
            id: ClusterId(1),
            name: "test".into(),
            code: kluis_chunkstore::code::Code::STANDARD,
            small_max_bytes: 16 * 1024,
            chunk_bytes: 1 << 20,
            quota_bytes: 1,
            node,
        });
        assert!(matches!(outcome, Outcome::NodeAdded { .. }), "{outcome:?}");
        machine
    }

    fn run(&mut self, command: Command) -> Outcome {
        self.next += 1;
        let request = Request { id: self.next, now_ms: 1_000, command };
        let mut tx = Transaction::new(&self.store);
        let outcome = apply_request(&mut tx, &request).unwrap();
        self.store.write(&tx.into_writes()).unwrap();
        assert_eq!(violations(&self.store).unwrap(), Vec::<String>::new());
        outcome
    }

    fn log(&mut self, command: LogCommand) -> Result<LogOutcome, LogRefusal> {
        match self.run(Command::Log(command)) {
            Outcome::Log(outcome) => Ok(outcome),
            Outcome::Refused(Refusal::Log(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn append(&mut self, n: u8, document: Option<DocumentId>) -> u64 {
        let event = |i| Event {
            kind: EventKind::ReadByOwner,
            vault: Some(VAULT),
            document,
            trail: Trail::bare(Actor::Account(AccountId(1)), [i; 32]),
        };
        match self.log(LogCommand::Append { events: (0..n).map(event).collect() }).unwrap() {
            LogOutcome::Appended { size } => size,
            other => panic!("{other:?}"),
        }
    }
}

fn signer(seed: u8) -> Signer {
    Signer::from_seed(ORIGIN, KeyType::Ed25519, &[seed; 32]).unwrap()
}

fn note(seed: u8, size: u64, root: merkle::Hash) -> String {
    let mut note = Note::new(Checkpoint { origin: ORIGIN.into(), size, root, extensions: vec![] }.text()).unwrap();
    signer(seed).sign(&mut note, 0).unwrap();
    note.to_string()
}

#[test]
fn histories_are_ranges_of_the_log_newest_first() {
    let mut machine = Machine::new();
    assert_eq!(machine.append(3, Some(DocumentId(1))), 3);
    assert_eq!(machine.append(2, None), 5);
    assert_eq!(machine.append(1, Some(DocumentId(1))), 6);
    let indices = |entries: Vec<HistoryEntry>| entries.iter().map(|e| e.index).collect::<Vec<_>>();
    let read = &machine.store;
    assert_eq!(indices(view::history(read, VAULT, u64::MAX, 10).unwrap()), [5, 4, 3, 2, 1, 0]);
    assert_eq!(indices(view::history(read, VAULT, 4, 2).unwrap()), [3, 2]);
    assert_eq!(indices(view::document_history(read, VAULT, DocumentId(1), u64::MAX, 10).unwrap()), [5, 2, 1, 0]);
    assert_eq!(indices(view::document_history(read, VAULT, DocumentId(1), 2, 1).unwrap()), [1]);
    assert!(view::history(read, VaultId(6), u64::MAX, 10).unwrap().is_empty());
    assert_eq!(view::log(read).unwrap().edge.root(), root_at(read, 6).unwrap());
}

#[test]
fn a_checkpoint_must_be_ours_newer_and_of_the_same_tree() {
    let mut machine = Machine::new();
    machine.append(5, None);
    let root = root_at(&machine.store, 5).unwrap();
    let put = |note| LogCommand::PutCheckpoint { note };
    assert_eq!(machine.log(put(note(1, 5, root))), Err(LogRefusal::NoKey));
    let key = |seed| LogCommand::SetKey { key: Sealed(vec![seed]), verifier: signer(seed).verifier().to_string() };
    let first = machine.log(key(1)).unwrap();
    assert_eq!(machine.log(key(2)).unwrap(), first, "the first key stays");
    assert!(matches!(machine.log(put(note(2, 5, root))), Err(LogRefusal::Invalid(_))), "another key");
    assert!(matches!(machine.log(put("x".into())), Err(LogRefusal::Invalid(_))));
    assert_eq!(machine.log(put(note(1, 6, root))), Err(LogRefusal::Ahead { have: 5 }));
    assert_eq!(machine.log(put(note(1, 4, root))), Err(LogRefusal::OtherRoot { size: 4 }));
    // Entries come while it is signed.
    machine.append(4, None);
    assert_eq!(machine.log(put(note(1, 5, root))), Ok(LogOutcome::CheckpointTaken { size: 5 }));
    assert_eq!(machine.log(put(note(1, 5, root))), Err(LogRefusal::Stale { have: 5 }));
    let root = root_at(&machine.store, 9).unwrap();
    assert_eq!(machine.log(put(note(1, 9, root))), Ok(LogOutcome::CheckpointTaken { size: 9 }));
    assert_eq!(view::log(&machine.store).unwrap().checkpoint.unwrap().size, 9);
}

#[test]
fn one_command_is_bounded() {
    let mut machine = Machine::new();
    let trail = Trail { details: Sealed(vec![0; DETAILS_SEALED_MAX + 1]), ..Trail::bare(Actor::System, [0; 32]) };
    let event = |trail: Trail| Event { kind: EventKind::Denied, vault: None, document: None, trail };
    let one = event(Trail::bare(Actor::System, [1; 32]));
    assert!(machine.log(LogCommand::Append { events: vec![event(trail)] }).is_err());
    assert!(machine.log(LogCommand::Append { events: vec![one.clone(); APPEND_MAX + 1] }).is_err());
    assert!(machine.log(LogCommand::Append { events: vec![one; APPEND_MAX] }).is_ok());
}
