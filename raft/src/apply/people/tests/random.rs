//! Random invitations, answers, removals and blocks, against an oracle that knows nothing of records.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const PEOPLE: u8 = 4;

#[derive(Debug, Clone)]
enum Step {
    Invite(u8, Option<u8>),
    Accept(u8, u8),
    Decline(u8, u8),
    Withdraw(u8, u8),
    Remove(u8, u8),
    Block(u8, u8),
    Unblock(u8, u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (who, code) = (0..PEOPLE, 0u8..12);
    prop_oneof![
        6 => (who.clone(), prop::option::of(0u8..2)).prop_map(|(a, to)| Step::Invite(a, to)),
        8 => (who.clone(), code.clone()).prop_map(|(a, c)| Step::Accept(a, c)),
        1 => (who.clone(), code.clone()).prop_map(|(a, c)| Step::Decline(a, c)),
        1 => (who.clone(), code.clone()).prop_map(|(a, c)| Step::Withdraw(a, c)),
        2 => (who.clone(), code.clone()).prop_map(|(a, c)| Step::Remove(a, c)),
        2 => (who.clone(), code.clone()).prop_map(|(a, c)| Step::Block(a, c)),
        2 => (who, code).prop_map(|(a, c)| Step::Unblock(a, c)),
        1 => (0u64..20).prop_map(|days| Step::Wait(days * 24 * 3600 * 1000)),
    ]
}

/// What people would remember.
#[derive(Default)]
struct Oracle {
    /// Who made an invitation, to which address, until when; those that are open.
    open: BTreeMap<u8, (u8, Option<u8>, u64)>,
    made: u8,
    /// Pairs of contacts, each once, with the id that they have.
    pairs: BTreeMap<u8, (u8, u8)>,
    /// Who blocked whom, and the contact that it was.
    blocks: BTreeSet<(u8, u8, u8)>,
}

impl Oracle {
    fn are_contacts(&self, a: u8, b: u8) -> bool {
        self.pairs.values().any(|pair| *pair == (a, b) || *pair == (b, a))
    }

    fn blocked(&self, a: u8, b: u8) -> bool {
        self.blocks.iter().any(|(by, whom, _)| (*by, *whom) == (a, b) || (*by, *whom) == (b, a))
    }

    fn other(&self, person: u8, id: u8) -> Option<u8> {
        let (a, b) = *self.pairs.get(&id)?;
        if a == person { Some(b) } else { (b == person).then_some(a) }
    }

    fn inviter(&self, code: u8, now: u64) -> Option<u8> {
        self.open.get(&code).filter(|(_, _, until)| *until > now).map(|(from, _, _)| *from)
    }
}

fn take(world: &mut World, oracle: &mut Oracle, step: &Step) {
    let succeeded = |outcome: Outcome| !matches!(outcome, Outcome::Refused(_));
    // The time that the next command will be given.
    let now = world.0.now + 1;
    match *step {
        Step::Invite(person, to) => {
            let id = oracle.made;
            let is_open = |(from, address, until): &(u8, Option<u8>, u64)| *from == person && *address == to && *until > now;
            let wanted = to.is_none() || !oracle.open.values().any(is_open);
            assert_eq!(succeeded(world.invite(person, id, to)), wanted);
            if wanted {
                oracle.made += 1;
                oracle.open.insert(id, (person, to, now + Invitation::LIFETIME_MS));
            }
        }
        Step::Accept(person, code) => {
            let from = oracle.inviter(code, now);
            let wanted = from.filter(|from| *from != person && !oracle.blocked(*from, person) && !oracle.are_contacts(*from, person));
            assert_eq!(succeeded(world.accept(person, code)), wanted.is_some());
            if let Some(from) = wanted {
                oracle.open.remove(&code);
                oracle.pairs.insert(code, (from, person));
            }
        }
        Step::Decline(person, code) => {
            let wanted = oracle.inviter(code, now).is_some_and(|from| from != person && !oracle.blocked(from, person));
            let shown = Shown { code: CodeHash([code; 32]), id: None };
            assert_eq!(succeeded(world.people(PeopleCommand::Decline { on: on(person), shown })), wanted);
            if wanted {
                oracle.open.remove(&code);
            }
        }
        Step::Withdraw(person, code) => {
            let wanted = oracle.inviter(code, now) == Some(person);
            let withdraw = PeopleCommand::Withdraw { on: on(person), invitation: InvitationId(code.into()) };
            assert_eq!(succeeded(world.people(withdraw)), wanted);
            if wanted {
                oracle.open.remove(&code);
            }
        }
        Step::Remove(person, id) => {
            assert_eq!(succeeded(world.remove(person, id.into())), oracle.other(person, id).is_some());
            if oracle.other(person, id).is_some() {
                oracle.pairs.remove(&id);
            }
        }
        Step::Block(person, id) => {
            let other = oracle.other(person, id);
            assert_eq!(succeeded(world.block(person, id.into())), other.is_some());
            if let Some(other) = other {
                oracle.pairs.remove(&id);
                oracle.blocks.insert((person, other, id));
            }
        }
        Step::Unblock(person, id) => {
            let block = oracle.blocks.iter().find(|(by, _, contact)| *by == person && *contact == id).copied();
            assert_eq!(succeeded(world.unblock(person, id.into())), block.is_some());
            if let Some(block) = block {
                oracle.blocks.remove(&block);
            }
        }
        Step::Wait(ms) => {
            world.0.now += ms;
            world.0.run(Command::Tick);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn contacts_are_what_people_agreed_on(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new(PEOPLE);
        let mut oracle = Oracle::default();
        for step in &steps {
            take(&mut world, &mut oracle, step);
            for person in 0..PEOPLE {
                let found: BTreeSet<VaultId> = world.contacts(person).into_iter().collect();
                let wanted: BTreeSet<VaultId> =
                    (0..PEOPLE).filter(|other| oracle.are_contacts(person, *other)).map(vault).collect();
                prop_assert_eq!(found, wanted, "person {} after {:?}", person, step);
            }
        }
    }
}
