//! Shares that wait: for incapacity, for a death; and that those leave no trace before.

use super::*;

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
    assert_eq!(lists(&world), crate::apply::sharing::death::PIECE);
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
