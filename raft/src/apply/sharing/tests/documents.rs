//! What becomes of shares when their document changes: not shareable, trashed, erased, copied, restored, infected.

use super::*;

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
fn what_was_done_and_what_fell_due_is_in_the_owners_history() {
    let mut world = World::new(2);
    let document = world.upload(2, 0, 10);
    let until_ms = Some(world.0.now + DAY);
    world.share(0, document, vec![NewShare { until_ms, ..new_share(1, 1, Moment::Now) }]);
    assert_eq!(world.share(0, document, vec![new_share(2, 1, Moment::Now)]), refused(SharingRefusal::AlreadyShared), "not in it");
    world.accept(1, 1);
    world.pass(DAY);
    world.trash(0, document);
    world.pass(TRASH_KEPT_MS);
    let told = view::document_history(&world.0.store, vault(0), document, u64::MAX, 20).unwrap();
    let names: Vec<&str> = told.iter().map(|entry| entry.event.kind.name()).collect();
    let wanted = ["document.erased", "document.trashed", "share.lapsed", "share.accepted", "share.offered", "document.uploaded"];
    assert_eq!(names, wanted);
    assert_ne!(told[0].event.trail.salt, told[2].event.trail.salt, "each event of due work has a salt of its own");
    let of_recipient = view::history(&world.0.store, vault(1), u64::MAX, 20).unwrap();
    assert!(of_recipient.iter().all(|entry| entry.event.document.is_none()), "nothing of it is in the recipient's");
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
    world.0.run(Command::DeleteDocument { vault: vault(0), document, revision: 3, trail: Box::new(trail(1)) });
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
    world.0.run(Command::DeleteDocument { vault: vault(0), document, revision: 1, trail: Box::new(trail(1)) });
    assert_eq!((world.reads(1, 1), world.reads(2, 2)), (Err(Denial::Gone), Ok(1)));
    assert_eq!(view::blob(&world.0.store, blob).unwrap().unwrap().references, 1);
    world.0.run(Command::DeleteDocument { vault: vault(1), document: DocumentId(50), revision: 1, trail: Box::new(trail(1)) });
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
