//! Shares, links, deaths and documents' states, one promise a test; random sequences are in [`random`].

use crate::{
    apply::{
        document::TRASH_KEPT_MS,
        tests::{Machine, begin, commit, sign_in},
    },
    command::{
        BeginUpload, ChangeDocument, ChangeShare, Command, CommitUpload, CopyShared, CreateShares, DocumentCommand, Request, Rewrap,
        SharingCommand, Which,
    },
    keys,
    model::{
        AccountId, Attributes, Document, DocumentId, DocumentState, EndReason, LinkHash, LinkId, Message, Moment, NewLink, NewShare,
        Origin, Scan, ScanNote, Sealed, Share, ShareId, ShareState, SharedKey, UploadTarget, VaultId,
    },
    outcome::{BadTime, DocumentOutcome, DocumentRefusal, Outcome, Refusal, SharingOutcome, SharingRefusal},
    policy::{Denial, Reason},
    store::{Read, Store, Transaction, Writes},
    view::{self, sharing as shown},
};

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
        let keys = [keys::contact(vault(a), vault(b)), keys::contact(vault(b), vault(a))];
        let writes: Writes = keys.into_iter().map(|key| (key, Some(Vec::new()))).collect();
        self.0.store.write(&writes).unwrap();
    }

    /// What ends a contact, as the family of people will do it.
    fn part(&mut self, a: u8, b: u8) {
        let mut tx = Transaction::new(&self.0.store);
        super::end_shares_between(&mut tx, self.0.now, vault(a), vault(b)).unwrap();
        tx.delete(keys::contact(vault(a), vault(b)));
        tx.delete(keys::contact(vault(b), vault(a)));
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
        self.0.run(Command::Sharing(Box::new(command)))
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
        self.0.run(Command::Document(Box::new(command)))
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
fn switching_shareable_off_ends_all_shares_and_links_at_once() {
    let mut world = World::new(4);
    let document = world.upload(2, 0, 10);
    world.given(0, document, 1, 1);
    world.share(0, document, vec![new_share(2, 2, Moment::AfterDeath), NewShare { draft: true, ..new_share(3, 3, Moment::Now) }]);
    let link = Box::new(new_link(1, world.0.now + DAY));
    world.sharing(SharingCommand::CreateLink { vault: vault(0), document, link });
    assert!(matches!(
        world.change(0, document, Some(false)),
        Outcome::Document(DocumentOutcome::Changed { ended, .. }) if ended.iter().map(|e| e.was_listed).collect::<Vec<_>>() == [true, false, false]
    ));
    assert_eq!(world.reads(1, 1), Err(Denial::Gone));
    assert_eq!(world.sharing(SharingCommand::OpenLink { hash: LinkHash([1; 32]) }), denied(Denial::Gone));
    world.change(0, document, Some(true));
    assert_eq!(world.reads(1, 1), Err(Denial::Gone), "what ended stays over");
    world.sharing(SharingCommand::ConfirmDeath { account: account(0) });
    assert_eq!((world.list(2), world.reads(2, 2)), (vec![], Err(Denial::NotFound)), "never seen, never gone");
}

#[test]
fn the_trash_hides_counts_restores_and_erases_after_its_time() {
    let mut world = World::new(2);
    let document = world.upload(2, 0, 10);
    world.given(0, document, 1, 1);
    let revision = world.document(0, document).revision;
    assert_eq!(
        world.document_command(DocumentCommand::Trash { vault: vault(0), document, revision: revision + 1 }),
        Outcome::Refused(Refusal::RevisionMismatch { actual: revision })
    );
    let no = |reason| Outcome::Refused(Refusal::Document(DocumentRefusal::Denied(Denial::Forbidden(reason))));
    assert_eq!(world.restore(0, document), no(Reason::NotTrashed));
    world.trash(0, document);
    assert_eq!((world.reads(1, 1), world.list(1), world.used(0)), (Err(Denial::Gone), vec![], 10));
    assert_eq!(world.trash(0, document), no(Reason::Trashed));
    assert_eq!(world.change(0, document, None), no(Reason::Trashed));
    assert_eq!(world.new_version(3, document, 1, Scan::NotAsked), no(Reason::Trashed));
    world.restore(0, document);
    assert_eq!((world.reads(1, 1), world.document(0, document).state), (Ok(1), DocumentState::Available));
    // The entry of the first time in the trash does not end the second one early.
    world.pass(TRASH_KEPT_MS / 2);
    world.trash(0, document);
    world.pass(TRASH_KEPT_MS / 2 + 100);
    assert!(view::document(&world.0.store, vault(0), document).unwrap().is_some());
    world.pass(TRASH_KEPT_MS / 2);
    assert_eq!(view::document(&world.0.store, vault(0), document).unwrap(), None);
    assert_eq!((world.used(0), world.state(0, document, 1)), (0, ShareState::Lapsed));
    assert_eq!(world.reads(1, 1), Err(Denial::Gone));
}

#[test]
fn an_old_version_comes_back_over_the_same_blob() {
    let mut world = World::new(2);
    let document = world.upload(2, 0, 10);
    world.new_version(3, document, 20, Scan::NotAsked);
    let back = |revision, version| DocumentCommand::RestoreVersion { vault: vault(0), document, revision, version };
    assert_eq!(world.document_command(back(2, 9)), Outcome::Refused(Refusal::Document(DocumentRefusal::VersionUnknown)));
    assert!(matches!(world.document_command(back(2, 1)), Outcome::Document(_)));
    let current = world.document(0, document).current;
    let first = view::version(&world.0.store, vault(0), document, 1).unwrap().unwrap();
    assert_eq!((current.number, current.blob, current.sha256, world.used(0)), (3, first.blob, first.sha256, 40));
    assert_eq!(view::blob(&world.0.store, first.blob).unwrap().unwrap().references, 2);
    world.0.run(Command::DeleteDocument { vault: vault(0), document, revision: 3 });
    assert_eq!((view::blob(&world.0.store, first.blob).unwrap(), world.used(0)), (None, 0));
}

#[test]
fn a_copy_moves_no_byte_counts_for_the_recipient_and_outlives_the_share() {
    let mut world = World::new(3);
    let document = world.upload(2, 0, 600);
    world.given(0, document, 1, 1);
    let blob = world.document(0, document).current.blob;
    assert!(matches!(world.copy(1, 1, 50), Outcome::Sharing(SharingOutcome::Copied { share, .. }) if share.copied.is_some()));
    let copy = world.document(1, DocumentId(50));
    assert_eq!((copy.current.blob, world.used(0), world.used(1)), (blob, 600, 600));
    assert!(matches!(&copy.origin, Origin::Copy(from) if from.owner == vault(0) && from.document == document));
    assert_eq!(view::blob(&world.0.store, blob).unwrap().unwrap().references, 2);
    assert_eq!(world.copy(1, 1, 50), refused(SharingRefusal::IdTaken));
    assert!(matches!(world.copy(1, 1, 51), Outcome::Refused(Refusal::QuotaExceeded { used_bytes: 600, .. })));
    // The copy is the recipient's own: shared on, and there after the owner's is gone.
    world.given(1, DocumentId(50), 2, 2);
    world.0.run(Command::DeleteDocument { vault: vault(0), document, revision: 1 });
    assert_eq!((world.reads(1, 1), world.reads(2, 2)), (Err(Denial::Gone), Ok(1)));
    assert_eq!(view::blob(&world.0.store, blob).unwrap().unwrap().references, 1);
    world.0.run(Command::DeleteDocument { vault: vault(1), document: DocumentId(50), revision: 1 });
    assert_eq!(view::blob(&world.0.store, blob).unwrap(), None);
}

#[test]
fn a_copy_needs_leave_acceptance_and_the_version_that_is_shown() {
    let mut world = World::new(2);
    let document = world.upload(2, 0, 10);
    world.share(0, document, vec![NewShare { allow_copy: false, ..new_share(1, 1, Moment::Now) }]);
    assert_eq!(world.copy(1, 1, 50), forbidden(Reason::AcceptFirst));
    world.accept(1, 1);
    assert_eq!(world.copy(1, 1, 50), forbidden(Reason::CopyNotAllowed));
    let change = |revision| ChangeShare {
        vault: vault(0),
        document,
        share: ShareId(1),
        revision,
        allow_copy: Some(true),
        until_ms: None,
        pinned: None,
        message: None,
    };
    assert_eq!(world.sharing(SharingCommand::Change(change(1))), refused(SharingRefusal::RevisionMismatch { actual: 2 }));
    assert!(matches!(world.sharing(SharingCommand::Change(change(2))), Outcome::Sharing(_)));
    world.new_version(3, document, 10, Scan::NotAsked);
    assert_eq!(world.copy(1, 1, 50), refused(SharingRefusal::VersionMismatch { actual: 2 }));
    assert_eq!(world.copy(0, 1, 50), denied(Denial::NotFound), "not even the owner is its recipient");
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
fn on_incapacity_the_recipient_asks_the_owner_may_object_and_silence_opens() {
    let mut world = World::new(2);
    let document = world.upload(2, 0, 10);
    let wait_ms = 2 * DAY;
    world.share(0, document, vec![new_share(1, 1, Moment::OnIncapacity { wait_ms })]);
    let page = shown::incoming(&world.0.store, vault(1), None, 10, world.0.now).unwrap();
    assert!(page.shares.len() == 1 && page.shares[0].about.is_none(), "that there is something, not what");
    assert_eq!(world.accept(1, 1), forbidden(Reason::NotOpen));
    let ask = || SharingCommand::RequestAccess { recipient: vault(1), share: ShareId(1) };
    let veto = || SharingCommand::Veto { vault: vault(0), document, share: ShareId(1) };
    assert_eq!(world.sharing(veto()), refused(SharingRefusal::NothingRequested));
    assert!(matches!(world.sharing(ask()), Outcome::Sharing(_)));
    assert!(matches!(world.sharing(ask()), Outcome::Refused(Refusal::Sharing(SharingRefusal::AlreadyRequested { .. }))));
    assert!(matches!(world.sharing(veto()), Outcome::Sharing(_)));
    assert!(
        matches!(world.sharing(ask()), Outcome::Refused(Refusal::Sharing(SharingRefusal::AlreadyRequested { .. }))),
        "not at once again"
    );
    world.pass(wait_ms);
    assert_eq!(world.state(0, document, 1), ShareState::WaitingIncapacity, "an objection holds");
    assert!(matches!(world.sharing(ask()), Outcome::Sharing(_)));
    world.pass(wait_ms - 100);
    assert_eq!(world.state(0, document, 1), ShareState::WaitingIncapacity);
    world.pass(100);
    assert_eq!(world.sharing(veto()), refused(SharingRefusal::NothingRequested));
    world.accept(1, 1);
    assert_eq!(world.reads(1, 1), Ok(1));
    assert_eq!(world.sharing(ask()), forbidden(Reason::OpenAlready));
}

#[test]
fn a_death_opens_in_pieces_and_its_reversal_hides_at_once() {
    let mut world = World::new(7);
    let documents: Vec<DocumentId> = (0..30).map(|id| world.upload(id, 0, 1)).collect();
    let mut id = 1000;
    for document in &documents {
        let shares = (1..7).map(|person| new_share(id + u128::from(person), person, Moment::AfterDeath)).collect();
        id += 10;
        assert!(matches!(world.share(0, *document, shares), Outcome::Sharing(_)));
    }
    let lists = |world: &World| (1..7).map(|person| world.list(person).len()).sum::<usize>();
    assert_eq!(lists(&world), 0);
    let confirm = || SharingCommand::ConfirmDeath { account: account(0) };
    let reverse = || SharingCommand::ReverseDeath { account: account(0) };
    assert_eq!(world.sharing(reverse()), refused(SharingRefusal::NotConfirmed));
    assert!(matches!(world.sharing(confirm()), Outcome::Sharing(SharingOutcome::Death { death, .. }) if !death.settled));
    assert_eq!(world.sharing(confirm()), refused(SharingRefusal::AlreadyConfirmed));
    assert_eq!(lists(&world), super::death::PIECE);
    world.accept(1, 1001);
    assert_eq!(world.reads(1, 1001), Ok(1));
    // Reversed before the last piece: hidden at once, whether its turn came or not.
    assert!(matches!(world.sharing(reverse()), Outcome::Sharing(_)));
    assert_eq!((lists(&world), world.reads(1, 1001)), (0, Err(Denial::Gone)));
    world.pass(10);
    assert_eq!((lists(&world), world.state(0, documents[0], 1001)), (0, ShareState::WaitingDeath));
    world.sharing(confirm());
    world.pass(10);
    assert_eq!(lists(&world), 180);
    assert_eq!(world.reads(1, 1001), Err(Denial::Forbidden(Reason::AcceptFirst)), "offered anew");
}

#[test]
fn a_death_ends_what_was_for_the_lifetime_and_what_the_dead_would_have_had() {
    let mut world = World::new(3);
    let document = world.upload(2, 0, 10);
    world.given(0, document, 1, 1);
    world.share(0, document, vec![new_share(2, 2, Moment::AfterDeath)]);
    let link = |id, now| SharingCommand::CreateLink { vault: vault(0), document, link: Box::new(new_link(id, now + DAY)) };
    world.sharing(link(1, world.0.now));
    world.sharing(SharingCommand::ConfirmDeath { account: account(2) });
    world.sharing(SharingCommand::ConfirmDeath { account: account(0) });
    assert_eq!((world.reads(1, 1), world.list(1)), (Err(Denial::Gone), vec![]));
    assert_eq!(world.state(0, document, 2), ShareState::Lapsed, "its recipient is dead");
    assert_eq!(world.sharing(SharingCommand::OpenLink { hash: LinkHash([1; 32]) }), denied(Denial::Gone));
    assert_eq!(world.sharing(link(2, world.0.now)), forbidden(Reason::Deceased));
    world.sharing(SharingCommand::ReverseDeath { account: account(0) });
    assert_eq!(world.reads(1, 1), Ok(1), "alive after all");
    assert_eq!(world.sharing(SharingCommand::ConfirmDeath { account: AccountId(99) }), refused(SharingRefusal::AccountUnknown));
}

/// K7: everything that the recipient can be shown, and every byte of the recipient's part of the state.
#[test]
fn a_share_that_waits_for_a_death_changes_nothing_for_its_recipient() {
    let life = |secret_to: u8| {
        let mut world = World::new(4);
        let (shared, secret) = (world.upload(2, 0, 10), world.upload(4, 0, 10));
        world.given(0, shared, 1, 1);
        // To person 1 in one world, to person 3 in the other: as many commands, the same ids and times.
        let share = NewShare { until_ms: Some(world.0.now + 10 * DAY), ..new_share(2, secret_to, Moment::AfterDeath) };
        assert!(matches!(world.share(0, secret, vec![share]), Outcome::Sharing(SharingOutcome::Created(_))));
        world.pass(DAY);
        world
    };
    let mut worlds = [life(1), life(3)];
    let seen = |world: &mut World| {
        let start = vault(1).to_bytes().to_vec();
        let end = vault(2).to_bytes().to_vec();
        let mut answers = vec![
            format!("{:?}", world.0.store.scan(&start, &end, usize::MAX).unwrap()),
            format!("{:?}", shown::incoming(&world.0.store, vault(1), None, 10, world.0.now).unwrap()),
            format!("{:?}", shown::incoming(&world.0.store, vault(1), None, 1, world.0.now).unwrap()),
        ];
        for id in [1, 2, 3] {
            answers.push(format!("{:?}", shown::share_for_reading(&world.0.store, vault(1), ShareId(id), world.0.now).unwrap()));
        }
        for command in [
            SharingCommand::Accept { recipient: vault(1), share: ShareId(2) },
            SharingCommand::Refuse { recipient: vault(1), share: ShareId(2) },
            SharingCommand::RequestAccess { recipient: vault(1), share: ShareId(2) },
        ] {
            answers.push(format!("{:?}", world.sharing(command)));
        }
        answers.push(format!("{:?}", world.copy(1, 2, 60)));
        answers
    };
    let [with, without] = &mut worlds;
    assert_eq!(seen(with), seen(without));
    assert!(seen(with).iter().any(|answer| answer.contains("SharedDocument")), "the comparison sees something");
    // It ends before the death: still nothing.
    for world in &mut worlds {
        world.pass(10 * DAY);
    }
    let [with, without] = &mut worlds;
    assert_eq!(with.state(0, DocumentId(4), 2), ShareState::Lapsed);
    assert_eq!(seen(with), seen(without));
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
    let request = Request { id: world.0.next, now_ms: world.0.now, command: Command::Sharing(Box::new(open())) };
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

#[test]
fn what_was_not_scanned_or_is_infected_is_read_by_nobody() {
    let mut world = World::new(2);
    let note = |at_ms| ScanNote { engine: "engine 1".into(), database: 7, at_ms };
    let infected = |at_ms| Scan::Infected { note: note(at_ms), signature: "Eicar".into() };
    let document = world.upload(2, 0, 10);
    world.given(0, document, 1, 1);
    assert_eq!(world.new_version(3, document, 5, infected(1)), Outcome::Refused(Refusal::Document(DocumentRefusal::Malware)));
    world.0.run(Command::AbortUpload { upload: crate::model::UploadId(3), vault: vault(0) });
    world.new_version(4, document, 5, Scan::Pending);
    assert_eq!(world.document(0, document).state, DocumentState::PendingScan);
    assert_eq!(world.reads(1, 1), Err(Denial::Forbidden(Reason::PendingScan)));
    let noted = |version, scan| DocumentCommand::NoteScan { vault: vault(0), document, version, scan };
    assert_eq!(world.document_command(noted(2, Scan::Pending)), Outcome::Refused(Refusal::Document(DocumentRefusal::NoScan)));
    world.document_command(noted(2, Scan::Clean(note(2))));
    assert_eq!((world.reads(1, 1), world.document(0, document).state), (Ok(2), DocumentState::Available));
    let revision = world.document(0, document).revision;
    world.document_command(noted(2, Scan::Clean(note(3))));
    assert_eq!(world.document(0, document).revision, revision, "a scan that confirms changes no ETag");
    // Signatures improve: what was thought clean is taken away, and who may have read it is known.
    assert!(matches!(
        world.document_command(noted(2, infected(4))),
        Outcome::Document(DocumentOutcome::Scanned { readers, .. }) if readers == [vault(1)]
    ));
    assert_eq!((world.reads(1, 1), world.list(1)), (Err(Denial::Gone), vec![]));
    let no = Outcome::Refused(Refusal::Document(DocumentRefusal::Denied(Denial::Forbidden(Reason::Quarantined))));
    assert_eq!(world.change(0, document, Some(false)), no);
    world.trash(0, document);
    world.restore(0, document);
    assert!(matches!(world.document(0, document).state, DocumentState::Quarantined { .. }), "the trash does not wash");
}
