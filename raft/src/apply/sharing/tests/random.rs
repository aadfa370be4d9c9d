//! Random commands over four vaults, against an oracle of "may read" that knows nothing of records and indexes.
//! Invariants (quota, references, indexes) are checked after each command by the machine itself.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const PEOPLE: u8 = 4;
const DOCUMENTS: u8 = 3;

#[derive(Debug, Clone)]
enum Step {
    Share { owner: u8, document: u8, recipient: u8, after_death: bool, lives_ms: Option<u64>, copy: bool },
    Accept(usize),
    Refuse(usize),
    Revoke(usize),
    Copy(usize, u8),
    Trash(u8, u8),
    Restore(u8, u8),
    Shareable(u8, u8, bool),
    Delete(u8, u8),
    Part(u8, u8),
    Meet(u8, u8),
    Death(u8, bool),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (who, what) = (0..PEOPLE, 0..DOCUMENTS);
    let nth = 0usize..30;
    prop_oneof![
        8 => (who.clone(), what.clone(), who.clone(), any::<bool>(), prop::option::of(1u64..60), any::<bool>()).prop_map(
            |(owner, document, recipient, after_death, lives_ms, copy)| Step::Share { owner, document, recipient, after_death, lives_ms, copy }),
        8 => nth.clone().prop_map(Step::Accept),
        1 => nth.clone().prop_map(Step::Refuse),
        2 => nth.clone().prop_map(Step::Revoke),
        3 => (nth, 100u8..120).prop_map(|(share, id)| Step::Copy(share, id)),
        1 => (who.clone(), what.clone()).prop_map(|(o, d)| Step::Trash(o, d)),
        2 => (who.clone(), what.clone()).prop_map(|(o, d)| Step::Restore(o, d)),
        1 => (who.clone(), what.clone(), any::<bool>()).prop_map(|(o, d, on)| Step::Shareable(o, d, on)),
        1 => (who.clone(), what).prop_map(|(o, d)| Step::Delete(o, d)),
        1 => (who.clone(), who.clone()).prop_map(|(a, b)| Step::Part(a, b)),
        2 => (who.clone(), who.clone()).prop_map(|(a, b)| Step::Meet(a, b)),
        3 => (who, any::<bool>()).prop_map(|(a, dead)| Step::Death(a, dead)),
        2 => (0u64..40).prop_map(Step::Wait),
    ]
}

/// A share as a person would remember it.
struct Memory {
    owner: u8,
    document: DocumentId,
    recipient: u8,
    after_death: bool,
    until: Option<u64>,
    accepted: bool,
    over: bool,
}

#[derive(Default)]
struct Oracle {
    shares: BTreeMap<u128, Memory>,
    trashed: BTreeSet<(u8, DocumentId)>,
    dead: BTreeSet<u8>,
}

impl Oracle {
    /// Whether the recipient can act on it at all.
    fn is_open(&self, share: &Memory, now: u64) -> bool {
        !share.over
            && share.until.is_none_or(|until| until > now)
            && !self.trashed.contains(&(share.owner, share.document))
            && !self.dead.contains(&share.recipient)
            && share.after_death == self.dead.contains(&share.owner)
    }

    fn may_read(&self, id: u128, now: u64) -> bool {
        self.shares.get(&id).is_some_and(|share| share.accepted && self.is_open(share, now))
    }

    fn end(&mut self, which: impl Fn(&Memory) -> bool) {
        self.shares.values_mut().filter(|share| which(share)).for_each(|share| share.over = true);
    }
}

/// Document ids are of one owner: tests tell them apart.
fn document_of(owner: u8, number: u8) -> DocumentId {
    DocumentId(u128::from(owner * DOCUMENTS + number))
}

fn nth(oracle: &Oracle, n: usize) -> Option<(u128, u8, u8, DocumentId)> {
    let (id, share) = oracle.shares.iter().nth(n)?;
    Some((*id, share.owner, share.recipient, share.document))
}

fn take(world: &mut World, oracle: &mut Oracle, id: u128, step: &Step) {
    let succeeded = |outcome: &Outcome| !matches!(outcome, Outcome::Refused(_));
    let exists =
        |world: &World, owner: u8, number: u8| view::document(&world.0.store, vault(owner), document_of(owner, number)).unwrap().is_some();
    match step {
        Step::Share { owner, document, recipient, after_death, lives_ms, copy } => {
            let document = document_of(*owner, *document);
            let moment = if *after_death { Moment::AfterDeath } else { Moment::Now };
            let until_ms = lives_ms.map(|ms| world.0.now + 1 + ms);
            let share = NewShare { until_ms, allow_copy: *copy, ..new_share(id, *recipient, moment) };
            if succeeded(&world.share(*owner, document, vec![share])) {
                let (owner, recipient, after_death) = (*owner, *recipient, *after_death);
                let memory = Memory { owner, document, recipient, after_death, until: until_ms, accepted: false, over: false };
                oracle.shares.insert(id, memory);
            }
        }
        Step::Accept(n) => {
            let Some((id, _, recipient, _)) = nth(oracle, *n) else { return };
            let outcome = world.accept(recipient, id);
            let open = oracle.shares.get(&id).is_some_and(|share| oracle.is_open(share, world.0.now));
            assert_eq!(succeeded(&outcome), open, "{outcome:?}");
            if open {
                oracle.shares.get_mut(&id).unwrap().accepted = true;
            }
        }
        Step::Refuse(n) => {
            let Some((id, _, recipient, _)) = nth(oracle, *n) else { return };
            let outcome = world.sharing(SharingCommand::Refuse { recipient: vault(recipient), share: ShareId(id) });
            if succeeded(&outcome) {
                oracle.shares.get_mut(&id).unwrap().over = true;
            }
        }
        Step::Revoke(n) => {
            let Some((id, owner, _, document)) = nth(oracle, *n) else { return };
            let which = Which::These(vec![ShareId(id)]);
            if succeeded(&world.sharing(SharingCommand::Revoke { vault: vault(owner), document, which })) {
                oracle.shares.get_mut(&id).unwrap().over = true;
            }
        }
        Step::Copy(n, to) => {
            let Some((id, _, recipient, _)) = nth(oracle, *n) else { return };
            let outcome = world.copy(recipient, id, *to);
            let may = oracle.may_read(id, world.0.now);
            assert!(may || !succeeded(&outcome), "copied what could not be read: {outcome:?}");
        }
        Step::Trash(owner, number) => {
            let document = document_of(*owner, *number);
            if exists(world, *owner, *number) && succeeded(&world.trash(*owner, document)) {
                oracle.trashed.insert((*owner, document));
            }
        }
        Step::Restore(owner, number) => {
            let document = document_of(*owner, *number);
            if exists(world, *owner, *number) && succeeded(&world.restore(*owner, document)) {
                oracle.trashed.remove(&(*owner, document));
            }
        }
        Step::Shareable(owner, number, on) => {
            let document = document_of(*owner, *number);
            if exists(world, *owner, *number) && succeeded(&world.change(*owner, document, Some(*on))) && !on {
                oracle.end(|share| share.document == document);
            }
        }
        Step::Delete(owner, number) => {
            let document = document_of(*owner, *number);
            if exists(world, *owner, *number) {
                let revision = world.document(*owner, document).revision;
                world.0.run(Command::DeleteDocument { vault: vault(*owner), document, revision, trail: Box::new(trail(1)) });
                oracle.end(|share| share.document == document);
            }
        }
        Step::Part(a, b) => {
            world.part(*a, *b);
            oracle.end(|share| (share.owner, share.recipient) == (*a, *b) || (share.owner, share.recipient) == (*b, *a));
        }
        Step::Meet(a, b) => world.befriend(*a, *b),
        Step::Death(person, dead) => {
            let account = account(*person);
            let command = if *dead { SharingCommand::ConfirmDeath { account } } else { SharingCommand::ReverseDeath { account } };
            if succeeded(&world.sharing(command)) {
                let now = world.0.now;
                if *dead {
                    oracle.dead.insert(*person);
                    let gone = oracle.dead.clone();
                    oracle
                        .end(|s| s.owner == *person && s.after_death && (gone.contains(&s.recipient) || s.until.is_some_and(|u| u <= now)));
                } else {
                    oracle.dead.remove(person);
                    let hidden = oracle.shares.values_mut().filter(|s| s.owner == *person && s.after_death);
                    hidden.for_each(|share| share.accepted = false);
                }
            }
        }
        Step::Wait(ms) => world.pass(*ms),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_recipient_reads_exactly_what_the_oracle_says(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new(PEOPLE);
        for owner in 0..PEOPLE {
            for number in 0..DOCUMENTS {
                let id = u8::try_from(document_of(owner, number).0).unwrap();
                world.upload(id, owner, 60);
            }
        }
        let mut oracle = Oracle::default();
        for (id, step) in (1_000u128..).zip(&steps) {
            take(&mut world, &mut oracle, id, step);
            for (share, memory) in &oracle.shares {
                let may = oracle.may_read(*share, world.0.now);
                prop_assert_eq!(world.reads(memory.recipient, *share).is_ok(), may, "share {} after {:?}", share, step);
                for other in (0..PEOPLE).filter(|person| *person != memory.recipient) {
                    prop_assert_eq!(world.reads(other, *share), Err(Denial::NotFound));
                }
            }
        }
    }
}
