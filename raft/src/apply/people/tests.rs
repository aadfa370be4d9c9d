//! Contacts, invitations, blocks, offices, messages and lists, one promise a test; random sequences in [`random`].
//! Invariants are checked after each command by the machine itself.

use crate::{
    apply::tests::{Machine, begin, commit, sign_in, trail},
    command::{
        BeginUpload, Behalf, Command, CreateShares, NewContact, NewInvitation, OfficeCommand, PeopleCommand, RegisterEntry, RegisterNotary,
        SharingCommand, Shown,
    },
    model::{
        AccountId, Addressee, CodeHash, ContactId, ContactKind, DocumentId, Invitation, InvitationId, InvitationState, MessageId, Moment,
        NewShare, OfficeId, RequestListId, Sealed, Share, ShareId, ShareState, SharedKey, StaffId, Thread, ThreadId, UploadTarget, VaultId,
        WrappedKey,
    },
    outcome::{OfficeOutcome, Outcome, PeopleOutcome, PeopleRefusal, Refusal, SharingRefusal},
    policy::OfficeRole,
    view,
};

mod random;

const ANNA: u8 = 0;
const BRAM: u8 = 1;
const NORA: u8 = 2;

fn vault(person: u8) -> VaultId {
    VaultId(u128::from(person) + 1)
}

fn on(person: u8) -> Behalf {
    Behalf { vault: vault(person), office: None, by: AccountId(u128::from(person) + 1) }
}

fn refused(refusal: PeopleRefusal) -> Outcome {
    Outcome::Refused(Refusal::People(refusal))
}

fn contact(id: u128) -> Box<NewContact> {
    let (trail, their_trail) = (trail(1), trail(2));
    Box::new(NewContact { id: ContactId(id), their_name: Sealed(vec![1]), own_name: Sealed(vec![2]), trail, their_trail })
}

struct World(Machine);

impl World {
    fn new(people: u8) -> Self {
        let mut machine = Machine::new();
        for person in 0..people {
            machine.run(sign_in(person, person));
        }
        Self(machine)
    }

    fn people(&mut self, command: PeopleCommand) -> Outcome {
        self.0.run(Command::People(Box::new(command)))
    }

    fn office(&mut self, command: OfficeCommand) -> Outcome {
        self.0.run(Command::Office(Box::new(command)))
    }

    fn invite(&mut self, person: u8, code: u8, to: Option<u8>) -> Outcome {
        let to = to.map(|to| Addressee { hash: [to; 32], address: Sealed(vec![to]) });
        let new = NewInvitation { id: InvitationId(code.into()), kind: ContactKind::Parent, code: CodeHash([code; 32]), to };
        self.people(PeopleCommand::Invite { on: on(person), new })
    }

    fn accept(&mut self, person: u8, code: u8) -> Outcome {
        let shown = Shown { code: CodeHash([code; 32]), id: None };
        self.people(PeopleCommand::Accept { on: on(person), shown, contact: contact(code.into()) })
    }

    fn befriend(&mut self, a: u8, b: u8, code: u8) {
        assert!(matches!(self.invite(a, code, None), Outcome::People(PeopleOutcome::Invitation(_))));
        assert!(matches!(self.accept(b, code), Outcome::People(PeopleOutcome::Contact(_))));
    }

    fn remove(&mut self, person: u8, id: u128) -> Outcome {
        self.people(PeopleCommand::Remove { on: on(person), contact: ContactId(id), trail: Box::new(trail(3)) })
    }

    fn block(&mut self, person: u8, id: u128) -> Outcome {
        self.people(PeopleCommand::Block { on: on(person), contact: ContactId(id), trail: Box::new(trail(3)) })
    }

    fn unblock(&mut self, person: u8, id: u128) -> Outcome {
        self.people(PeopleCommand::Unblock { on: on(person), contact: ContactId(id), trail: Box::new(trail(3)) })
    }

    fn contacts(&self, person: u8) -> Vec<VaultId> {
        view::people::contacts(&self.0.store, vault(person), None, 100).unwrap().iter().map(|contact| contact.other).collect()
    }

    fn invitation(&self, person: u8, id: u8) -> Invitation {
        view::people::invitation(&self.0.store, vault(person), InvitationId(id.into())).unwrap().unwrap()
    }

    /// A document of a person, shared with a vault.
    fn shared(&mut self, person: u8, id: u8, recipient: VaultId, moment: Moment) -> Outcome {
        let target = UploadTarget::NewDocument(DocumentId(id.into()));
        let begin = BeginUpload { resumable: false, lifetime_ms: 1_000_000, ..begin(id, person, 1, target, None) };
        assert!(matches!(self.0.run(Command::BeginUpload(Box::new(begin))), Outcome::Upload(_)));
        assert!(matches!(self.0.run(Command::CommitUpload(Box::new(commit(id, 1)))), Outcome::Committed(_)));
        let share = NewShare {
            id: ShareId(id.into()),
            recipient,
            moment,
            allow_copy: false,
            until_ms: None,
            pinned: false,
            message: crate::model::Message::default(),
            key: SharedKey { version: 1, wrapped_key: vec![7], name: Sealed(vec![8]), revision: 1 },
            draft: false,
        };
        let create = CreateShares { vault: vault(person), document: DocumentId(id.into()), shares: vec![share] };
        self.0.run(Command::Sharing { act: Box::new(SharingCommand::Create(create)), trail: Box::new(trail(1)) })
    }

    fn share(&self, person: u8, id: u8) -> Share {
        view::sharing::share(&self.0.store, vault(person), DocumentId(id.into()), ShareId(id.into())).unwrap().unwrap()
    }

    /// Everything that lies in a vault.
    fn part_of(&self, person: u8) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0.all().into_iter().filter(|(key, _)| key.starts_with(&vault(person).to_bytes())).collect()
    }
}

fn entry(number: u8, notary: Option<u8>) -> RegisterEntry {
    let member = |person: u8| RegisterNotary {
        id: StaffId(u128::from(number) * 1000 + u128::from(person)),
        lookup: [person; 32],
        name: Sealed(vec![person]),
        suspended: false,
    };
    RegisterEntry {
        office: OfficeId(u128::from(number) + 5000),
        vault: VaultId(u128::from(number) + 6000),
        keys: vec![WrappedKey { master: "m1".into(), bytes: vec![1] }],
        register: format!("BE-{number}"),
        name: format!("Office {number}"),
        address: "Street 1".into(),
        notaries: vec!["N. Otary".into()],
        members: notary.map(member).into_iter().collect(),
        closed: false,
        successor_of: vec![],
    }
}

fn for_office(number: u8, person: u8) -> Behalf {
    let RegisterEntry { office, vault, .. } = entry(number, None);
    Behalf { vault, office: Some(office), by: on(person).by }
}

fn import(world: &mut World, entries: Vec<RegisterEntry>) -> Outcome {
    world.office(OfficeCommand::ImportRegister { entries })
}

fn imported(created: usize, updated: usize) -> Outcome {
    Outcome::Office(OfficeOutcome::Imported { created, updated })
}

/// Anna has office 1, of which Nora is the notary, among her contacts.
fn with_office() -> World {
    let mut world = World::new(3);
    assert_eq!(import(&mut world, vec![entry(1, Some(NORA)), entry(2, Some(BRAM))]), imported(2, 0));
    let add = PeopleCommand::AddOffice { on: on(ANNA), office: entry(1, None).office, contact: contact(90) };
    assert!(matches!(world.people(add), Outcome::People(PeopleOutcome::Contact(_))));
    world
}

#[test]
fn both_sides_become_contacts_by_one_acceptance() {
    let mut world = World::new(3);
    world.invite(ANNA, 1, None);
    assert_eq!(world.accept(ANNA, 1), refused(PeopleRefusal::SelfInvite));
    assert_eq!(world.accept(BRAM, 9), refused(PeopleRefusal::NotFound));
    assert!(world.contacts(ANNA).is_empty() && world.contacts(BRAM).is_empty());
    let Outcome::People(PeopleOutcome::Contact(mine)) = world.accept(BRAM, 1) else { panic!("not accepted") };
    // Anna said that Bram is her parent.
    assert_eq!((mine.other, mine.kind, mine.identity.verified_ms > 0), (vault(ANNA), ContactKind::Child, true));
    assert_eq!((world.contacts(ANNA), world.contacts(BRAM)), (vec![vault(BRAM)], vec![vault(ANNA)]));
    let id = ContactId(1);
    assert_eq!(view::people::contact_vault(&world.0.store, vault(ANNA), id).unwrap(), Some(vault(BRAM)));
    assert_eq!(view::people::contact_vault(&world.0.store, vault(NORA), id).unwrap(), None);
    assert_eq!(world.invitation(ANNA, 1).state, InvitationState::Accepted);
    assert_eq!(world.accept(NORA, 1), refused(PeopleRefusal::InvitationExpired));
    world.invite(BRAM, 2, None);
    assert_eq!(world.accept(ANNA, 2), refused(PeopleRefusal::AlreadyContacts));
}

#[test]
fn an_invitation_lapses_and_is_forgotten() {
    let mut world = World::new(2);
    world.invite(ANNA, 1, Some(7));
    assert_eq!(world.invite(ANNA, 2, Some(7)), refused(PeopleRefusal::AlreadyInvited));
    world.0.now += Invitation::LIFETIME_MS;
    assert_eq!(world.accept(BRAM, 1), refused(PeopleRefusal::InvitationExpired));
    assert!(matches!(world.invite(ANNA, 3, Some(7)), Outcome::People(PeopleOutcome::Invitation(_))));
    assert_eq!(world.invitation(ANNA, 1).state, InvitationState::Expired);
    world.0.now += Invitation::LIFETIME_MS;
    world.0.run(Command::Tick);
    assert_eq!(world.invitation(ANNA, 3).state, InvitationState::Expired);
    world.0.now += Invitation::KEPT_MS;
    world.0.run(Command::Tick);
    assert!(view::people::invitations(&world.0.store, vault(ANNA)).unwrap().is_empty());
    assert_eq!(world.accept(BRAM, 1), refused(PeopleRefusal::NotFound));
}

#[test]
fn open_invitations_are_few() {
    let mut world = World::new(1);
    for code in 0..u8::try_from(Invitation::OPEN_MAX).unwrap() {
        assert!(matches!(world.invite(ANNA, code, None), Outcome::People(PeopleOutcome::Invitation(_))));
    }
    assert_eq!(world.invite(ANNA, 200, None), refused(PeopleRefusal::TooManyInvitations));
    let withdrawn = world.people(PeopleCommand::Withdraw { on: on(ANNA), invitation: InvitationId(0) });
    assert!(matches!(withdrawn, Outcome::People(PeopleOutcome::Invitation(_))));
    assert!(matches!(world.invite(ANNA, 200, None), Outcome::People(PeopleOutcome::Invitation(_))));
}

#[test]
fn who_is_blocked_cannot_tell() {
    let (mut removed, mut blocked) = (World::new(2), World::new(2));
    for world in [&mut removed, &mut blocked] {
        world.befriend(ANNA, BRAM, 1);
        assert!(matches!(world.shared(ANNA, 10, vault(BRAM), Moment::Now), Outcome::Sharing(_)));
        assert!(matches!(world.shared(BRAM, 11, vault(ANNA), Moment::Now), Outcome::Sharing(_)));
    }
    removed.remove(ANNA, 1);
    blocked.block(ANNA, 1);
    // Nothing in the vault of who is blocked differs.
    assert_eq!(removed.part_of(BRAM), blocked.part_of(BRAM));
    assert_eq!(view::people::blocked(&blocked.0.store, vault(ANNA)).unwrap().len(), 1);
    // Making an invitation goes as before, and Anna, who has its code, finds it over: as Bram does with hers.
    for world in [&mut removed, &mut blocked] {
        world.invite(BRAM, 2, None);
        world.invite(ANNA, 3, None);
    }
    assert_eq!(removed.part_of(BRAM), blocked.part_of(BRAM));
    let over = refused(PeopleRefusal::InvitationExpired);
    assert_eq!((blocked.accept(ANNA, 2), blocked.accept(BRAM, 3)), (over.clone(), over.clone()));
    blocked.people(PeopleCommand::Withdraw { on: on(ANNA), invitation: InvitationId(3) });
    assert_eq!(blocked.accept(BRAM, 3), over, "withdrawn and blocked read the same");
    assert_eq!(blocked.unblock(ANNA, 1), Outcome::Done);
    assert!(matches!(blocked.accept(ANNA, 2), Outcome::People(PeopleOutcome::Contact(_))));
}

#[test]
fn the_end_of_a_contact_ends_all_shares_both_ways() {
    for end in [World::remove, World::block] {
        let mut world = World::new(2);
        world.befriend(ANNA, BRAM, 1);
        world.shared(ANNA, 10, vault(BRAM), Moment::Now);
        world.shared(ANNA, 11, vault(BRAM), Moment::AfterDeath);
        world.shared(BRAM, 12, vault(ANNA), Moment::Now);
        let Outcome::People(PeopleOutcome::Ended { shares, more: false }) = end(&mut world, BRAM, 1) else { panic!("not ended") };
        assert_eq!(shares.len(), 3);
        for (person, id) in [(ANNA, 10), (ANNA, 11), (BRAM, 12)] {
            assert!(world.share(person, id).state.is_ended());
        }
        assert!(world.contacts(ANNA).is_empty() && world.contacts(BRAM).is_empty());
        let again = world.shared(ANNA, 13, vault(BRAM), Moment::Now);
        assert_eq!(again, Outcome::Refused(Refusal::Sharing(SharingRefusal::NotAContact)));
    }
}

#[test]
fn a_closed_account_has_no_contacts() {
    let mut world = World::new(14);
    for person in 1..14 {
        world.befriend(ANNA, person, person);
    }
    world.invite(ANNA, 100, None);
    world.shared(5, 50, vault(ANNA), Moment::Now);
    let mut rounds = 0;
    loop {
        rounds += 1;
        match world.people(PeopleCommand::EndAll { on: on(ANNA) }) {
            Outcome::People(PeopleOutcome::Ended { more, .. }) if !more => break,
            Outcome::People(PeopleOutcome::Ended { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((rounds, world.contacts(ANNA).len(), world.contacts(5).len()), (2, 0, 0));
    assert_eq!(world.share(5, 50).state, ShareState::Revoked);
    assert_eq!(world.invitation(ANNA, 100).state, InvitationState::Withdrawn);
}

#[test]
fn an_own_name_changes_nothing_of_the_identity() {
    let mut world = World::new(2);
    world.befriend(ANNA, BRAM, 1);
    let rename = |revision| {
        let (on, contact, name) = (on(ANNA), ContactId(1), Some(Sealed(vec![9])));
        PeopleCommand::Rename { on, contact, name, revision, trail: Box::new(trail(4)) }
    };
    let before = view::people::contact(&world.0.store, vault(ANNA), ContactId(1)).unwrap().unwrap();
    assert_eq!(world.people(rename(2)), refused(PeopleRefusal::RevisionMismatch { actual: 1 }));
    let Outcome::People(PeopleOutcome::Contact(after)) = world.people(rename(1)) else { panic!("not renamed") };
    assert_eq!((after.revision, &after.identity), (2, &before.identity));
    assert_eq!(view::people::contact(&world.0.store, vault(BRAM), ContactId(1)).unwrap().unwrap().own_name, None);
}

#[test]
fn offices_keep_id_and_vault_and_staff_what_the_register_says() {
    let mut world = World::new(3);
    assert_eq!(import(&mut world, vec![entry(1, Some(NORA)), entry(2, None)]), imported(2, 0));
    assert_eq!(import(&mut world, vec![entry(1, Some(NORA))]), imported(0, 1));
    let other = RegisterEntry { vault: VaultId(1), ..entry(1, None) };
    assert_eq!(import(&mut world, vec![other]), refused(PeopleRefusal::RegisterChanged("BE-1".into())));
    let half = vec![entry(3, None), RegisterEntry { name: String::new(), ..entry(4, None) }];
    assert_eq!(import(&mut world, half), refused(PeopleRefusal::Limit));
    assert_eq!(view::office::offices(&world.0.store).unwrap().len(), 2, "a piece comes in whole or not at all");

    let add = |number, by, id, person: u8, role| OfficeCommand::AddStaff {
        on: for_office(number, by),
        id: StaffId(id),
        lookup: [person; 32],
        role,
        name: Sealed(vec![1]),
        trail: Box::new(trail(5)),
    };
    assert_eq!(world.office(add(1, ANNA, 1, ANNA, OfficeRole::Notary)), refused(PeopleRefusal::Role));
    assert_eq!(world.office(add(2, NORA, 1, ANNA, OfficeRole::Clerk)), refused(PeopleRefusal::Role));
    assert!(matches!(world.office(add(1, NORA, 1, ANNA, OfficeRole::Clerk)), Outcome::Office(OfficeOutcome::Staff(_))));
    assert_eq!(world.office(add(1, NORA, 2, ANNA, OfficeRole::Reader)), refused(PeopleRefusal::AlreadyStaff));
    assert_eq!(world.office(add(1, ANNA, 2, BRAM, OfficeRole::Reader)), refused(PeopleRefusal::Role), "a clerk adds nobody");
    let notary = entry(1, Some(NORA)).members.remove(0);
    let remove = |staff| OfficeCommand::RemoveStaff { on: for_office(1, NORA), staff, trail: Box::new(trail(6)) };
    assert_eq!(world.office(remove(notary.id)), refused(PeopleRefusal::LastNotary));
    assert!(matches!(world.office(remove(StaffId(1))), Outcome::Office(OfficeOutcome::Staff(_))));

    let mut suspended = entry(1, Some(NORA));
    suspended.members.iter_mut().for_each(|member| member.suspended = true);
    import(&mut world, vec![suspended]);
    assert_eq!(world.office(add(1, NORA, 7, BRAM, OfficeRole::Reader)), refused(PeopleRefusal::Role), "suspended");
}

#[test]
fn a_successor_takes_over_vault_and_references_at_once() {
    let mut world = with_office();
    let office = |number: u8| entry(number, None).office;
    let name = |number| OfficeCommand::SetReference { on: on(ANNA), office: office(number) };
    assert_eq!(world.office(name(1)), Outcome::Done);
    let roles = |world: &World, number, person: u8| {
        let record = view::office::office(&world.0.store, office(number)).unwrap().unwrap();
        view::office::role(&world.0.store, &record, &[person; 32]).unwrap()
    };
    assert_eq!((roles(&world, 1, NORA), roles(&world, 1, BRAM)), (Some(OfficeRole::Notary), None));
    let takes = |number, old: &str| RegisterEntry { successor_of: vec![old.into()], ..entry(number, None) };
    assert_eq!(import(&mut world, vec![takes(2, "BE-9")]), refused(PeopleRefusal::RegisterUnknown("BE-9".into())));
    assert_eq!(import(&mut world, vec![takes(2, "BE-2")]), refused(PeopleRefusal::RegisterCycle("BE-2".into())));
    assert_eq!(import(&mut world, vec![takes(2, "BE-1")]), imported(0, 1));
    assert_eq!((roles(&world, 1, NORA), roles(&world, 1, BRAM)), (None, Some(OfficeRole::Notary)));
    assert_eq!(import(&mut world, vec![takes(1, "BE-2")]), refused(PeopleRefusal::RegisterCycle("BE-2".into())));
    // An old line does not bring it back.
    import(&mut world, vec![entry(1, None)]);
    assert_eq!(roles(&world, 1, NORA), None);
    let (_, now) = view::office::reference(&world.0.store, vault(ANNA)).unwrap().unwrap();
    assert_eq!(now.id, office(2));
    assert_eq!(world.office(name(1)), refused(PeopleRefusal::OfficeInactive));
    assert_eq!(world.office(OfficeCommand::ClearReference { on: on(ANNA) }), Outcome::Done);
    assert!(view::office::reference(&world.0.store, vault(ANNA)).unwrap().is_none());
}

#[test]
fn naming_an_office_leaves_nothing_in_its_vault() {
    let mut world = with_office();
    let part = |world: &World| {
        let of = entry(2, None).vault.to_bytes();
        world.0.all().into_iter().filter(|(key, _)| key.starts_with(&of)).collect::<Vec<_>>()
    };
    let before = part(&world);
    assert_eq!(world.office(OfficeCommand::SetReference { on: on(ANNA), office: entry(2, None).office }), Outcome::Done);
    assert_eq!(part(&world), before);
}

fn say(from: Behalf, to: VaultId, id: u128) -> PeopleCommand {
    let (own, theirs) = (Sealed(vec![1]), Sealed(vec![2]));
    PeopleCommand::Say { on: from, to, thread: ThreadId(id), message: MessageId(id), own, theirs }
}

#[test]
fn messages_go_between_a_person_and_an_office_that_are_contacts() {
    let mut world = with_office();
    world.befriend(ANNA, BRAM, 1);
    let office = for_office(1, NORA);
    assert_eq!(world.people(say(on(ANNA), vault(BRAM), 1)), refused(PeopleRefusal::NoOffice));
    assert_eq!(world.people(say(on(BRAM), office.vault, 1)), refused(PeopleRefusal::NotAContact));
    assert_eq!(world.people(say(for_office(1, BRAM), vault(ANNA), 1)), refused(PeopleRefusal::Role));
    for (number, from, to) in [(1, on(ANNA), office.vault), (2, office, vault(ANNA)), (3, office, vault(ANNA))] {
        let Outcome::People(PeopleOutcome::Thread(thread)) = world.people(say(from, to, number)) else { panic!("not said") };
        assert_eq!((thread.id, u128::from(thread.last)), (ThreadId(1), number));
    }
    let texts = |vault, own: bool| {
        let messages = view::people::messages(&world.0.store, vault, ThreadId(1), u32::MAX, 10).unwrap();
        messages.iter().filter(|message| message.own == own).count()
    };
    assert_eq!((texts(vault(ANNA), true), texts(office.vault, false), texts(office.vault, true)), (1, 1, 2));
    let read = |on, number| PeopleCommand::MarkRead { on, thread: ThreadId(1), number };
    assert_eq!(world.people(read(on(ANNA), 4)), refused(PeopleRefusal::Limit));
    let Outcome::People(PeopleOutcome::Thread(thread)) = world.people(read(on(ANNA), 3)) else { panic!("not marked") };
    assert_eq!((thread.read, thread.last), (3, 3));
    for number in 4..=u128::from(Thread::UNANSWERED_MAX) + 1 {
        assert!(matches!(world.people(say(office, vault(ANNA), number)), Outcome::People(_)));
    }
    assert_eq!(world.people(say(office, vault(ANNA), 900)), refused(PeopleRefusal::TooManyMessages));
    world.remove(ANNA, 90);
    assert_eq!(world.people(say(office, vault(ANNA), 901)), refused(PeopleRefusal::NotAContact));
}

#[test]
fn what_an_office_asks_for_arrives_by_a_share_that_it_may_see() {
    let mut world = with_office();
    let office = for_office(1, NORA);
    let text = || (Sealed(vec![1]), Sealed(vec![2]));
    let ask = |on, items: usize| PeopleCommand::Ask {
        on,
        of: vault(ANNA),
        list: RequestListId(1),
        title: text(),
        items: vec![text(); items],
        trail: Box::new(trail(7)),
    };
    assert_eq!(world.people(ask(on(ANNA), 2)), refused(PeopleRefusal::Role));
    assert_eq!(world.people(ask(office, 0)), refused(PeopleRefusal::Limit));
    assert!(matches!(world.people(ask(office, 2)), Outcome::People(PeopleOutcome::List(_))));
    let tick = |item, document| PeopleCommand::Tick { on: on(ANNA), list: RequestListId(1), item, document: DocumentId(document) };
    assert_eq!(world.people(tick(0, 10)), refused(PeopleRefusal::NotShared));
    world.shared(ANNA, 10, office.vault, Moment::AfterDeath);
    assert_eq!(world.people(tick(0, 10)), refused(PeopleRefusal::NotShared), "what waits for a death is no arrival");
    world.shared(ANNA, 11, office.vault, Moment::Now);
    assert_eq!(world.people(tick(2, 11)), refused(PeopleRefusal::NotFound));
    assert!(matches!(world.people(tick(1, 11)), Outcome::People(PeopleOutcome::List(_))));
    let seen = view::people::request_list(&world.0.store, office.vault, RequestListId(1)).unwrap().unwrap();
    assert_eq!(seen.items.iter().map(|item| item.share).collect::<Vec<_>>(), [None, Some(ShareId(11))]);
    world.people(PeopleCommand::CloseList { on: office, list: RequestListId(1) });
    assert_eq!(world.people(tick(0, 11)), refused(PeopleRefusal::ListClosed));
}
