//! The end of a vault: nothing of it is left, and others keep what is theirs.

use super::*;
use crate::{
    apply::closing::SWEEP_MS,
    command::{ClosingCommand, IdentityCommand},
    model::{Assurance, SessionId},
    outcome::{ClosingOutcome, ClosingRefusal},
};

impl World {
    fn close(&mut self, person: u8) -> Outcome {
        let (account, vault, session) = (account(person), vault(person), SessionId([person; 32]));
        self.0.run(Command::Closing(Box::new(ClosingCommand::Close { account, vault, session, trail: Box::new(trail(9)) })))
    }

    fn step_up(&mut self, person: u8) {
        let (session, lookup, attempt) = (SessionId([person; 32]), [person; 32], [200 + person; 32]);
        let command = IdentityCommand::StepUp { session, lookup, attempt, assurance: Assurance::High };
        assert!(matches!(self.0.run(Command::Identity(Box::new(command))), Outcome::Identity(_)));
    }

    /// Keys that begin with a person's vault.
    fn keys_of(&self, person: u8) -> usize {
        let (start, end) = keys::all_of(vault(person));
        self.0.store.scan(&start, &end, usize::MAX).unwrap().len()
    }
}

#[test]
fn a_closed_vault_is_gone_to_its_last_key_and_others_keep_what_is_theirs() {
    let mut world = World::new(3);
    let (document, theirs) = (world.upload(2, 0, 10), world.upload(4, 1, 10));
    world.given(0, document, 1, 1);
    world.share(1, theirs, vec![new_share(9, 0, Moment::AfterDeath)]);
    let link = Box::new(new_link(5, world.0.now + DAY));
    world.sharing(SharingCommand::CreateLink { vault: vault(0), document, link });
    world.0.run(Command::BeginUpload(Box::new(World::begin(6, 0, 10))));

    assert_eq!(world.close(0), Outcome::Refused(ClosingRefusal::StepUp.into()));
    world.step_up(0);
    let closed = world.close(0);
    assert!(matches!(closed, Outcome::Closing(ClosingOutcome::Closed { documents: 1, bytes: 10, sessions: 1, .. })), "{closed:?}");

    // At once: no session, no key, no share, no link, and nothing new comes in.
    assert!(view::session(&world.0.store, &SessionId([0; 32])).unwrap().is_none());
    assert!(view::vault(&world.0.store, vault(0)).unwrap().unwrap().keys.is_empty());
    assert_eq!((world.reads(1, 1), world.list(1)), (Err(Denial::Gone), vec![]));
    assert!(matches!(shown::link_for_opening(&world.0.store, &LinkHash([5; 32]), world.0.now).unwrap(), Err(Denial::Gone)));
    assert_eq!(world.0.run(Command::CommitUpload(Box::new(commit(6, 10)))), Outcome::Refused(Refusal::VaultUnknown));
    assert_eq!(world.close(0), Outcome::Refused(Refusal::SessionUnknown), "only once");

    // The person may come back, as somebody new.
    let mut again = sign_in(0, 77);
    if let Command::SignIn { seed, .. } = &mut again {
        (seed.account, seed.vault) = (AccountId(50), VaultId(50));
    }
    assert!(matches!(world.0.run(again), Outcome::SignedIn { created: true, .. }));

    world.pass(1);
    assert_eq!(world.keys_of(0), 0);
    assert_eq!(world.state(1, theirs, 9), ShareState::Revoked, "what waited for the closed vault waits no more");
    assert!(view::document(&world.0.store, vault(1), theirs).unwrap().is_some());
    assert!(shown::link_by_hash(&world.0.store, &LinkHash([5; 32])).unwrap().is_none());
    assert!(view::uploads(&world.0.store, 10).unwrap().is_empty());
    assert!(world.0.store.get(&keys::contact(vault(1), vault(0))).unwrap().is_none());
    assert!(shown::is_closing(&world.0.store, vault(0)).unwrap(), "until the sweep is over");
    world.pass(SWEEP_MS);
    assert!(!shown::is_closing(&world.0.store, vault(0)).unwrap());
}

#[test]
fn many_documents_go_in_pieces() {
    let mut world = World::new(2);
    for id in 10..45 {
        world.upload(id, 0, 1);
    }
    world.step_up(0);
    world.close(0);
    world.0.run(Command::Tick);
    let left = view::documents(&world.0.store, vault(0), None, 100).unwrap().len();
    assert!(left > 0 && left < 35, "one tick is bounded work: {left} are left");
    world.pass(1);
    assert_eq!(world.keys_of(0), 0);
}

#[test]
fn an_estate_is_not_closed_by_who_still_has_a_session() {
    let mut world = World::new(2);
    world.step_up(0);
    world.sharing(SharingCommand::ConfirmDeath { account: account(0) });
    assert_eq!(world.close(0), Outcome::Refused(ClosingRefusal::Deceased.into()));
}
