//! Shares and links, one promise a test; documents' states are in
//! [`documents`], the end of a vault in [`closing`], deaths and incapacity in [`moments`], random sequences in [`random`].

use crate::{
    apply::{
        document::TRASH_KEPT_MS,
        tests::{Machine, begin, commit, sign_in, trail},
    },
    command::{
        BeginUpload, ChangeDocument, ChangeShare, Command, CommitUpload, CopyShared, CreateShares, DocumentCommand, Request, Rewrap,
        SharingCommand, Which,
    },
    keys,
    model::{
        AccountId, Attributes, Contact, ContactId, ContactKind, ContactRef, Document, DocumentId, DocumentState, EndReason, LinkHash,
        LinkId, Message, Moment, NewLink, NewShare, Origin, Scan, ScanNote, Sealed, Share, ShareId, ShareState, SharedKey, UploadTarget,
        VaultId, VerifiedName,
    },
    outcome::{BadTime, DocumentOutcome, DocumentRefusal, Outcome, Refusal, SharingOutcome, SharingRefusal},
    policy::{Denial, Reason},
    store::{Read, Store, Transaction},
    view::{self, sharing as shown},
};

mod closing;
mod documents;
mod moments;
mod random;

const DAY: u64 = 24 * 3600 * 1000;

fn vault(person: u8) -> VaultId {
    VaultId(u128::from(person) + 1)
}

fn account(person: u8) -> AccountId {
    AccountId(u128::from(person) + 1)
}

fn key(version: u32) -> SharedKey {
    SharedKey { version, wrapped_key: vec![7], name: Sealed(vec![8]), revision: 1 }
}

fn new_share(id: u128, recipient: u8, moment: Moment) -> NewShare {
    NewShare {
        id: ShareId(id),
        recipient: vault(recipient),
        moment,
        allow_copy: true,
        until_ms: None,
        pinned: false,
        message: Message::default(),
        key: key(1),
        draft: false,
    }
}

fn new_link(id: u8, until_ms: u64) -> NewLink {
    NewLink {
        id: LinkId(u128::from(id)),
        hash: LinkHash([id; 32]),
        version: 1,
        wrapped_key: vec![1],
        name: Sealed(vec![2]),
        password: None,
        until_ms,
        max_opens: 2,
        identity_check: false,
        watermark: true,
    }
}

fn denied(denial: Denial) -> Outcome {
    refused(SharingRefusal::Denied(denial))
}

fn refused(refusal: SharingRefusal) -> Outcome {
    Outcome::Refused(Refusal::Sharing(refusal))
}

fn forbidden(reason: Reason) -> Outcome {
    denied(Denial::Forbidden(reason))
}

/// People 0 to `people`, all of them contacts of each other.
struct World(Machine);

impl World {
    fn new(people: u8) -> Self {
        let mut world = Self(Machine::new());
        for person in 0..people {
            world.0.run(sign_in(person, person));
        }
        for a in 0..people {
            for b in 0..a {
                world.befriend(a, b);
            }
        }
        world
    }

    fn befriend(&mut self, a: u8, b: u8) {
        let mut tx = Transaction::new(&self.0.store);
        let id = ContactId((u128::from(a.min(b)) << 8) | u128::from(a.max(b)));
        for (own, other) in [(vault(a), vault(b)), (vault(b), vault(a))] {
            let identity = VerifiedName { name: Sealed(vec![1]), source: "itsme".into(), verified_ms: 1 };
            let contact = Contact { id, other, kind: ContactKind::Family, since_ms: 1, identity, own_name: None, revision: 1 };
            tx.store(keys::contact(own, other), &contact).unwrap();
            tx.store(keys::contact_by_id(own, id), &ContactRef(other)).unwrap();
        }
        let writes = tx.into_writes();
        self.0.store.write(&writes).unwrap();
    }

    /// Ends a contact, if there is one.
    fn part(&mut self, a: u8, b: u8) {
        let mut tx = Transaction::new(&self.0.store);
        if let Some(contact) = view::people::contact_with(&tx, vault(a), vault(b)).unwrap() {
            crate::apply::people::contacts::end(&mut tx, self.0.now, vault(a), &contact).unwrap();
        }
        let writes = tx.into_writes();
        self.0.store.write(&writes).unwrap();
    }

    fn begin(id: u8, person: u8, size: u64) -> BeginUpload {
        let target = UploadTarget::NewDocument(DocumentId(id.into()));
        BeginUpload { resumable: false, lifetime_ms: DAY, ..begin(id, person, size, target, None) }
    }

    fn upload(&mut self, id: u8, person: u8, size: u64) -> DocumentId {
        assert!(matches!(self.0.run(Command::BeginUpload(Box::new(Self::begin(id, person, size)))), Outcome::Upload(_)));
        assert!(matches!(self.0.run(Command::CommitUpload(Box::new(commit(id, size)))), Outcome::Committed(_)));
        DocumentId(id.into())
    }

    fn new_version(&mut self, id: u8, document: DocumentId, size: u64, scan: Scan) -> Outcome {
        let revision = self.document(0, document).revision;
        let target = UploadTarget::NewVersion { document, revision };
        let begin = BeginUpload { target, ..Self::begin(id, 0, size) };
        match self.0.run(Command::BeginUpload(Box::new(begin))) {
            Outcome::Upload(_) => self.0.run(Command::CommitUpload(Box::new(CommitUpload { scan, ..commit(id, size) }))),
            other => other,
        }
    }

    fn document(&self, person: u8, id: DocumentId) -> Document {
        view::document(&self.0.store, vault(person), id).unwrap().unwrap()
    }

    fn used(&self, person: u8) -> u64 {
        view::vault(&self.0.store, vault(person)).unwrap().unwrap().used_bytes
    }

    fn sharing(&mut self, command: SharingCommand) -> Outcome {
        self.0.run(Command::Sharing { act: Box::new(command), trail: Box::new(trail(1)) })
    }

    fn share(&mut self, owner: u8, document: DocumentId, shares: Vec<NewShare>) -> Outcome {
        self.sharing(SharingCommand::Create(CreateShares { vault: vault(owner), document, shares }))
    }

    /// Shares and has it accepted.
    fn given(&mut self, owner: u8, document: DocumentId, id: u128, recipient: u8) {
        assert!(matches!(self.share(owner, document, vec![new_share(id, recipient, Moment::Now)]), Outcome::Sharing(_)));
        assert!(matches!(self.accept(recipient, id), Outcome::Sharing(_)));
    }

    fn accept(&mut self, recipient: u8, id: u128) -> Outcome {
        self.sharing(SharingCommand::Accept { recipient: vault(recipient), share: ShareId(id) })
    }

    fn copy(&mut self, recipient: u8, id: u128, document: u8) -> Outcome {
        self.sharing(SharingCommand::Copy(Box::new(CopyShared {
            recipient: vault(recipient),
            share: ShareId(id),
            version: 1,
            document: DocumentId(document.into()),
            name: Sealed(vec![1]),
            wrapped_key: vec![2],
            attributes: Attributes::default(),
        })))
    }

    fn document_command(&mut self, command: DocumentCommand) -> Outcome {
        self.0.run(Command::Document { act: Box::new(command), trail: Box::new(trail(1)) })
    }

    fn change(&mut self, owner: u8, document: DocumentId, shareable: Option<bool>) -> Outcome {
        let revision = self.document(owner, document).revision;
        let vault = vault(owner);
        self.document_command(DocumentCommand::Change(ChangeDocument {
            vault,
            document,
            revision,
            name: None,
            category: None,
            doc_type: None,
            labels: None,
            shareable,
            expires_on: None,
        }))
    }

    fn trash(&mut self, owner: u8, document: DocumentId) -> Outcome {
        let revision = self.document(owner, document).revision;
        self.document_command(DocumentCommand::Trash { vault: vault(owner), document, revision })
    }

    fn restore(&mut self, owner: u8, document: DocumentId) -> Outcome {
        let revision = self.document(owner, document).revision;
        self.document_command(DocumentCommand::Restore { vault: vault(owner), document, revision })
    }

    fn reads(&self, person: u8, id: u128) -> Result<u32, Denial> {
        let found = shown::share_for_reading(&self.0.store, vault(person), ShareId(id), self.0.now).unwrap()?;
        found.content.map(|content| content.version.number)
    }

    fn state(&self, owner: u8, document: DocumentId, id: u128) -> ShareState {
        shown::share(&self.0.store, vault(owner), document, ShareId(id)).unwrap().unwrap().state
    }

    fn list(&self, person: u8) -> Vec<u128> {
        let page = shown::incoming(&self.0.store, vault(person), None, 100, self.0.now).unwrap();
        page.shares.into_iter().map(|share| share.id.0).collect()
    }

    fn pass(&mut self, ms: u64) {
        self.0.now += ms;
        for _ in 0..20 {
            self.0.run(Command::Tick);
        }
    }
}

#[test]
fn a_share_is_offered_accepted_read_and_revoked_for_one_and_not_for_others() {
    let mut world = World::new(4);
    let document = world.upload(2, 0, 10);
    let shares = (1..4).map(|person| new_share(person.into(), person, Moment::Now)).collect();
    assert!(matches!(world.share(0, document, shares), Outcome::Sharing(SharingOutcome::Created(made)) if made.len() == 3));
    assert_eq!(world.reads(1, 1), Err(Denial::Forbidden(Reason::AcceptFirst)));
    for person in 1..4 {
        world.accept(person, person.into());
        assert_eq!((world.reads(person, person.into()), world.list(person)), (Ok(1), vec![person.into()]));
    }
    assert_eq!(world.reads(1, 2), Err(Denial::NotFound), "another's share");
    let which = Which::These(vec![ShareId(2)]);
    assert!(matches!(
        world.sharing(SharingCommand::Revoke { vault: vault(0), document, which }),
        Outcome::Sharing(SharingOutcome::Ended(ended)) if ended.len() == 1 && ended[0].why == EndReason::Owner
    ));
    assert_eq!((world.reads(1, 1), world.reads(2, 2), world.reads(3, 3)), (Ok(1), Err(Denial::Gone), Ok(1)));
    assert!(world.list(2).is_empty());
    assert_eq!(world.accept(2, 2), denied(Denial::Gone));
    // Sharing again is a new share; the old one stays over.
    world.given(0, document, 20, 2);
    assert_eq!((world.reads(2, 20), world.reads(2, 2)), (Ok(1), Err(Denial::Gone)));
    world.sharing(SharingCommand::Revoke { vault: vault(0), document, which: Which::All });
    assert_eq!([world.reads(1, 1), world.reads(2, 20), world.reads(3, 3)], [Err(Denial::Gone); 3]);
    world.pass(Share::ENDED_KEPT_MS + 1);
    assert_eq!(world.reads(1, 1), Err(Denial::NotFound), "forgotten");
    assert!(shown::shares_of_document(&world.0.store, vault(0), document).unwrap().is_empty());
}

#[test]
fn every_refusal_of_a_new_share() {
    let mut world = World::new(4);
    let document = world.upload(2, 0, 10);
    let mut refuses =
        |share: NewShare, why: SharingRefusal| assert_eq!(world.share(0, document, vec![share]), refused(why.clone()), "{why:?}");
    let now = |id| new_share(id, 1, Moment::Now);
    refuses(new_share(1, 0, Moment::Now), SharingRefusal::OwnVault);
    refuses(new_share(1, 9, Moment::Now), SharingRefusal::NotAContact);
    refuses(NewShare { until_ms: Some(1), ..now(1) }, SharingRefusal::BadTime(BadTime::Past));
    for wait_ms in [Moment::WAIT_MIN_MS - 1, Moment::WAIT_MAX_MS + 1] {
        refuses(new_share(1, 1, Moment::OnIncapacity { wait_ms }), SharingRefusal::BadTime(BadTime::Wait));
    }
    let long = Message { owner: Sealed(vec![0; Message::BYTES_MAX + 1]), recipient: Sealed::default() };
    refuses(NewShare { message: long, ..now(1) }, SharingRefusal::Limit);
    refuses(NewShare { key: key(2), ..now(1) }, SharingRefusal::VersionMismatch { actual: 1 });
    refuses(NewShare { key: key(2), pinned: true, ..now(1) }, SharingRefusal::VersionUnknown);
    assert_eq!(world.share(0, document, vec![]), refused(SharingRefusal::Limit));
    assert_eq!(world.share(1, document, vec![now(1)]), Outcome::Refused(Refusal::DocumentUnknown), "another's document");
    // One that is refused takes the others with it.
    assert_eq!(world.share(0, document, vec![now(1), new_share(2, 9, Moment::Now)]), refused(SharingRefusal::NotAContact));
    assert!(world.list(1).is_empty());
    world.given(0, document, 1, 1);
    assert_eq!(world.share(0, document, vec![now(5)]), refused(SharingRefusal::AlreadyShared));
    assert_eq!(world.share(0, document, vec![new_share(1, 2, Moment::Now)]), refused(SharingRefusal::IdTaken));
    world.change(0, document, Some(false));
    assert_eq!(world.share(0, document, vec![now(6)]), refused(SharingRefusal::NotShareable));
    // What was shared is no document of the recipient's: it cannot be shared on.
    assert_eq!(world.share(1, document, vec![new_share(7, 2, Moment::Now)]), Outcome::Refused(Refusal::DocumentUnknown));
}

#[test]
fn shares_set_at_upload_begin_with_the_document_or_neither_does() {
    let mut world = World::new(3);
    let with = |recipients: &[u8]| {
        let shares = recipients.iter().map(|person| new_share((*person).into(), *person, Moment::Now)).collect();
        BeginUpload { shares, ..World::begin(2, 0, 10) }
    };
    assert_eq!(world.0.run(Command::BeginUpload(Box::new(with(&[1, 9])))), refused(SharingRefusal::NotAContact));
    let private = Attributes { shareable: false, ..Attributes::default() };
    let begin = BeginUpload { attributes: private, ..with(&[1]) };
    assert_eq!(world.0.run(Command::BeginUpload(Box::new(begin))), refused(SharingRefusal::NotShareable));
    assert!(matches!(world.0.run(Command::BeginUpload(Box::new(with(&[1, 2])))), Outcome::Upload(_)));
    assert!(world.list(1).is_empty(), "not before the bytes are there");
    // A contact ends while the bytes come: no document without the shares that were wished.
    world.part(0, 2);
    assert_eq!(world.0.run(Command::CommitUpload(Box::new(commit(2, 10)))), refused(SharingRefusal::NotAContact));
    assert_eq!((view::document(&world.0.store, vault(0), DocumentId(2)).unwrap(), world.list(1)), (None, vec![]));
    world.befriend(0, 2);
    assert!(matches!(world.0.run(Command::CommitUpload(Box::new(commit(2, 10)))), Outcome::Committed(_)));
    assert_eq!((world.list(1), world.list(2)), (vec![1], vec![2]));
}

#[test]
fn a_share_shows_the_newest_version_or_the_pinned_one_and_its_key_is_renewed() {
    let mut world = World::new(3);
    let document = world.upload(2, 0, 10);
    world.given(0, document, 1, 1);
    world.share(0, document, vec![NewShare { pinned: true, ..new_share(2, 2, Moment::Now) }]);
    world.accept(2, 2);
    world.new_version(3, document, 20, Scan::NotAsked);
    assert_eq!((world.reads(1, 1), world.reads(2, 2)), (Ok(2), Ok(1)));
    let key_of = |world: &World, person: u8, id: u128| {
        let found = shown::share_for_reading(&world.0.store, vault(person), ShareId(id), world.0.now).unwrap().unwrap();
        (found.content.unwrap().wrapped_key, found.seen.about.unwrap().name_is_old)
    };
    assert_eq!((key_of(&world, 1, 1), key_of(&world, 2, 2)), ((None, true), (Some(vec![7]), true)));
    let rewrap = |version, revision| Rewrap {
        vault: vault(0),
        document,
        share: ShareId(1),
        key: SharedKey { version, wrapped_key: vec![9], name: Sealed(vec![9]), revision },
    };
    assert_eq!(world.sharing(SharingCommand::Rewrap(rewrap(1, 2))), refused(SharingRefusal::VersionMismatch { actual: 2 }));
    assert_eq!(world.sharing(SharingCommand::Rewrap(rewrap(2, 3))), refused(SharingRefusal::Limit));
    assert!(matches!(world.sharing(SharingCommand::Rewrap(rewrap(2, 2))), Outcome::Sharing(_)));
    assert_eq!(key_of(&world, 1, 1), (Some(vec![9]), false));
}

#[test]
fn a_share_lapses_with_its_time_before_and_after_due_work() {
    let mut world = World::new(2);
    let document = world.upload(2, 0, 10);
    let until_ms = Some(world.0.now + DAY);
    world.share(0, document, vec![NewShare { until_ms, ..new_share(1, 1, Moment::Now) }]);
    world.accept(1, 1);
    assert_eq!(world.reads(1, 1), Ok(1));
    world.0.now += DAY;
    assert_eq!((world.reads(1, 1), world.list(1)), (Err(Denial::Gone), vec![]));
    assert_eq!(world.copy(1, 1, 9), denied(Denial::Gone));
    world.pass(0);
    assert_eq!((world.state(0, document, 1), world.reads(1, 1)), (ShareState::Lapsed, Err(Denial::Gone)));
}

#[test]
fn a_draft_shows_nothing_until_it_is_given() {
    let mut world = World::new(2);
    let document = world.upload(2, 0, 10);
    world.share(0, document, vec![NewShare { draft: true, ..new_share(1, 1, Moment::Now) }]);
    assert_eq!((world.reads(1, 1), world.list(1)), (Err(Denial::NotFound), vec![]));
    let publish = |revision| SharingCommand::Publish { vault: vault(0), document, share: ShareId(1), revision };
    assert_eq!(world.sharing(publish(2)), refused(SharingRefusal::RevisionMismatch { actual: 1 }));
    world.sharing(publish(1));
    assert_eq!(world.list(1), [1]);
    assert_eq!(world.sharing(publish(2)), refused(SharingRefusal::NotADraft));
}

#[test]
fn what_was_refused_is_over_for_both() {
    let mut world = World::new(2);
    let document = world.upload(2, 0, 10);
    world.share(0, document, vec![new_share(1, 1, Moment::Now)]);
    assert!(matches!(world.sharing(SharingCommand::Refuse { recipient: vault(1), share: ShareId(1) }), Outcome::Sharing(_)));
    assert_eq!((world.state(0, document, 1), world.accept(1, 1)), (ShareState::Refused, denied(Denial::Gone)));
}

#[test]
fn the_end_of_a_contact_ends_shares_both_ways_and_no_others() {
    let mut world = World::new(3);
    let (mine, theirs) = (world.upload(2, 0, 10), world.upload(4, 1, 10));
    world.given(0, mine, 1, 1);
    world.given(1, theirs, 2, 0);
    world.given(0, mine, 3, 2);
    let other = world.upload(6, 0, 10);
    world.share(0, other, vec![new_share(4, 1, Moment::AfterDeath)]);
    world.part(0, 1);
    assert_eq!((world.reads(1, 1), world.reads(0, 2), world.reads(2, 3)), (Err(Denial::Gone), Err(Denial::Gone), Ok(1)));
    assert_eq!((world.state(0, other, 4), world.reads(1, 4)), (ShareState::Revoked, Err(Denial::NotFound)));
    assert_eq!(world.share(0, mine, vec![new_share(5, 1, Moment::Now)]), refused(SharingRefusal::NotAContact));
}

#[test]
fn a_link_is_opened_as_often_as_allowed_whatever_retries_there_are() {
    let mut world = World::new(2);
    let document = world.upload(2, 0, 10);
    let create = |link: NewLink| SharingCommand::CreateLink { vault: vault(0), document, link: Box::new(link) };
    let now = world.0.now;
    for (link, why) in [
        (new_link(1, 1), SharingRefusal::BadTime(BadTime::Past)),
        (new_link(1, now + 31 * DAY), SharingRefusal::BadTime(BadTime::LinkTooLong)),
        (NewLink { max_opens: 0, ..new_link(1, now + DAY) }, SharingRefusal::Limit),
        (NewLink { max_opens: 101, ..new_link(1, now + DAY) }, SharingRefusal::Limit),
        (NewLink { version: 2, ..new_link(1, now + DAY) }, SharingRefusal::VersionMismatch { actual: 1 }),
    ] {
        assert_eq!(world.sharing(create(link)), refused(why));
    }
    assert!(matches!(world.sharing(create(new_link(1, now + DAY))), Outcome::Sharing(SharingOutcome::Link(_))));
    assert_eq!(world.sharing(create(new_link(1, now + DAY))), refused(SharingRefusal::IdTaken));
    let open = || SharingCommand::OpenLink { hash: LinkHash([1; 32]) };
    world.0.next += 1;
    let command = Command::Sharing { act: Box::new(open()), trail: Box::new(trail(1)) };
    let request = Request { id: world.0.next, now_ms: world.0.now, command };
    let first = world.0.repeat(&request);
    assert!(matches!(&first, Outcome::Sharing(SharingOutcome::Opened(link)) if link.opens.len() == 1));
    assert_eq!(world.0.repeat(&request), first, "a retry counts once");
    assert!(matches!(world.sharing(open()), Outcome::Sharing(SharingOutcome::Opened(link)) if link.opens.len() == 2));
    assert_eq!(world.sharing(open()), denied(Denial::Gone), "used up");
    assert_eq!(world.sharing(SharingCommand::OpenLink { hash: LinkHash([9; 32]) }), denied(Denial::NotFound));
    // The second one is revoked, the third one is late.
    world.sharing(create(new_link(2, now + DAY)));
    world.sharing(SharingCommand::RevokeLink { vault: vault(0), document, link: LinkId(2) });
    assert_eq!(world.sharing(SharingCommand::OpenLink { hash: LinkHash([2; 32]) }), denied(Denial::Gone));
    world.sharing(create(new_link(3, now + DAY)));
    world.pass(DAY);
    assert_eq!(world.sharing(SharingCommand::OpenLink { hash: LinkHash([3; 32]) }), denied(Denial::Gone));
    world.pass(Share::ENDED_KEPT_MS);
    assert_eq!(world.sharing(SharingCommand::OpenLink { hash: LinkHash([3; 32]) }), denied(Denial::NotFound), "forgotten");
    assert!(shown::links_of_document(&world.0.store, vault(0), document).unwrap().is_empty());
}
