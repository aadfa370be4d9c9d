//! Notices by promise, and the outbox under random commands: nothing is lost, sent by two at once, or tried for ever.

use proptest::prelude::*;

use super::*;
use crate::{
    apply::tests::{Machine, begin, commit, sign_in, trail},
    command::Command,
    model::{Attempt, Delivery, DeliveryId, DeliveryState, DocumentId, Failure, Lang, UploadTarget},
};

const ALICE: VaultId = VaultId(1);

fn machine() -> Machine {
    let mut machine = Machine::new();
    machine.run(sign_in(0, 0));
    machine
}

fn run(machine: &mut Machine, command: NoticeCommand) -> Outcome {
    machine.run(Command::Notice(Box::new(command)))
}

fn told(kind: NoticeKind) -> NoticeCommand {
    NoticeCommand::Post(NewNotice { vault: ALICE, kind, document: None, details: None })
}

fn webhook(machine: &mut Machine, id: u128) {
    let command = NoticeCommand::CreateWebhook { vault: ALICE, id: WebhookId(id), url: Sealed(vec![1]), secret: Sealed(vec![2]) };
    assert!(matches!(run(machine, command), Outcome::Notice(NoticeOutcome::Webhook(_))));
}

fn kinds(machine: &Machine) -> Vec<NoticeKind> {
    view::notice::notices(&machine.store, ALICE, None, 1000).unwrap().into_iter().map(|notice| notice.kind).collect()
}

fn deliveries(machine: &Machine) -> Vec<Delivery> {
    view::notice::deliveries(&machine.store, ALICE, None, 1000).unwrap()
}

fn claim(machine: &mut Machine, lease_ms: u64) -> Vec<Delivery> {
    let deliveries = deliveries(machine).into_iter().map(|delivery| (ALICE, delivery.id)).take(32).collect();
    match run(machine, NoticeCommand::Claim { deliveries, lease_ms }) {
        Outcome::Notice(NoticeOutcome::Claimed(claimed)) => claimed,
        other => panic!("{other:?}"),
    }
}

fn report(machine: &mut Machine, delivery: &Delivery, result: Attempt) {
    let command = NoticeCommand::Report { vault: ALICE, delivery: delivery.id, attempt: delivery.attempts, result, random: 0 };
    assert_eq!(run(machine, command), Outcome::Done);
}

fn upload(machine: &mut Machine, id: u8, bytes: u64) {
    let target = UploadTarget::NewDocument(DocumentId(id.into()));
    machine.run(Command::BeginUpload(Box::new(begin(id, 0, bytes, target, None))));
    assert!(matches!(machine.run(Command::CommitUpload(Box::new(commit(id, bytes)))), Outcome::Committed(_)));
}

#[test]
fn fullness_is_told_once_a_step_and_again_after_it_fell() {
    let mut machine = machine();
    // The quota is 1000 bytes.
    upload(&mut machine, 2, 790);
    assert!(kinds(&machine).is_empty());
    upload(&mut machine, 4, 20);
    upload(&mut machine, 6, 20);
    assert_eq!(kinds(&machine), [NoticeKind::Quota80]);
    upload(&mut machine, 8, 170);
    assert_eq!(kinds(&machine), [NoticeKind::Quota100, NoticeKind::Quota80], "a step that was skipped is not told");
    let erase = |d: u128| Command::DeleteDocument { vault: ALICE, document: DocumentId(d), revision: 1, trail: Box::new(trail(1)) };
    assert_eq!(machine.run(erase(4)), Outcome::Done);
    assert_eq!(kinds(&machine)[0], NoticeKind::ErasureDone);
    upload(&mut machine, 10, 20);
    assert_eq!(kinds(&machine)[0], NoticeKind::ErasureDone, "98 % and back is no news");
    assert_eq!(machine.run(erase(2)), Outcome::Done);
    upload(&mut machine, 0, 790);
    assert_eq!(kinds(&machine)[0], NoticeKind::Quota100);
}

#[test]
fn a_new_device_is_told_with_what_was_sealed_of_it() {
    let mut machine = machine();
    assert!(kinds(&machine).is_empty(), "the first device of a new person is no news");
    let mut again = sign_in(0, 7);
    if let Command::SignIn { facts, .. } = &mut again {
        facts.device_hash = [9; 16];
        facts.device = Some((ALICE, Sealed(vec![5])));
    }
    assert!(matches!(machine.run(again), Outcome::SignedIn { new_device: true, .. }));
    let told = view::notice::notices(&machine.store, ALICE, None, 10).unwrap();
    assert_eq!((told.len(), told[0].kind), (1, NoticeKind::NewDevice));
    assert_eq!(told[0].details, Some(NoticeDetails { place: 7, text: Sealed(vec![5]) }));
    machine.run(sign_in(0, 8));
    assert_eq!(kinds(&machine).len(), 1, "a device that was seen is no news");
}

#[test]
fn a_vault_keeps_a_bounded_number_for_a_bounded_time() {
    let mut machine = machine();
    for _ in 0..Notice::PER_VAULT_MAX + 5 {
        run(&mut machine, told(NoticeKind::PolicyChanged));
    }
    let all = view::notice::notices(&machine.store, ALICE, None, 1000).unwrap();
    assert_eq!(all.len(), usize::try_from(Notice::PER_VAULT_MAX).unwrap());
    assert!(all.is_sorted_by(|a, b| a.id > b.id), "newest first");
    let until = all[10].id;
    run(&mut machine, NoticeCommand::MarkAllRead { vault: ALICE, until });
    assert_eq!(view::notice::notice_box(&machine.store, ALICE).unwrap().unread, 10, "what was not seen stays unread");
    assert_eq!(run(&mut machine, NoticeCommand::MarkRead { vault: ALICE, notice: all[0].id }), Outcome::Done);
    let foreign = NoticeCommand::MarkRead { vault: VaultId(2), notice: all[1].id };
    assert_eq!(run(&mut machine, foreign), Outcome::Refused(NoticeRefusal::NoticeUnknown.into()));
    machine.now += Notice::KEPT_MS;
    for _ in 0..10 {
        machine.run(Command::Tick);
    }
    assert!(kinds(&machine).is_empty());
}

#[test]
fn a_gateway_that_dies_after_sending_has_the_same_delivery_sent_again() {
    let mut machine = machine();
    webhook(&mut machine, 1);
    run(&mut machine, told(NoticeKind::ShareOffered));
    let first = claim(&mut machine, 100);
    assert_eq!((first.len(), first[0].attempts), (1, 1));
    assert!(claim(&mut machine, 100).is_empty(), "one gateway at a time");
    // It dies here.
    machine.now += 100;
    let second = claim(&mut machine, 100);
    assert_eq!((second[0].id, second[0].attempts), (first[0].id, 2));
    // The first one was only slow: its failure says nothing of the second try.
    report(&mut machine, &first[0], Attempt::Failed(Failure::TimedOut));
    assert_eq!(deliveries(&machine)[0].failure, None);
    report(&mut machine, &first[0], Attempt::Delivered);
    assert!(matches!(deliveries(&machine)[0].state, DeliveryState::Delivered { .. }));
    report(&mut machine, &second[0], Attempt::Failed(Failure::TimedOut));
    assert!(matches!(deliveries(&machine)[0].state, DeliveryState::Delivered { .. }), "what arrived has arrived");
}

#[test]
fn failures_are_shown_tried_again_ever_later_and_given_up() {
    let mut machine = machine();
    webhook(&mut machine, 1);
    run(&mut machine, told(NoticeKind::ShareOffered));
    let mut tries = 0;
    while let DeliveryState::Waiting { next_ms } = deliveries(&machine)[0].state {
        machine.now = machine.now.max(next_ms);
        let claimed = claim(&mut machine, 10);
        if let Some(delivery) = claimed.first() {
            tries += 1;
            report(&mut machine, delivery, Attempt::Failed(Failure::Status(500)));
            assert_eq!(deliveries(&machine)[0].failure, Some(Failure::Status(500)));
        }
    }
    assert!((20..80).contains(&tries), "{tries} tries in a day");
    let hook = view::notice::webhook(&machine.store, ALICE, WebhookId(1)).unwrap().unwrap();
    assert!(hook.enabled && hook.failing_since_ms.is_some());
    machine.now += Webhook::FAILING_MAX_MS;
    run(&mut machine, told(NoticeKind::ShareOffered));
    let claimed = claim(&mut machine, 10);
    report(&mut machine, &claimed[0], Attempt::Failed(Failure::Unreachable));
    let hook = view::notice::webhook(&machine.store, ALICE, WebhookId(1)).unwrap().unwrap();
    assert!(!hook.enabled, "nothing arrived for five days");
    let before = deliveries(&machine).len();
    run(&mut machine, told(NoticeKind::ShareOffered));
    assert_eq!(deliveries(&machine).len(), before);
    let on = NoticeCommand::ChangeWebhook { vault: ALICE, id: hook.id, revision: hook.revision, url: None, enabled: Some(true) };
    assert!(
        matches!(run(&mut machine, on.clone()), Outcome::Notice(NoticeOutcome::Webhook(w)) if w.enabled && w.failing_since_ms.is_none())
    );
    assert!(matches!(run(&mut machine, on), Outcome::Refused(Refusal::Notice(NoticeRefusal::RevisionMismatch { actual: 2 }))));
}

#[test]
fn mail_goes_to_an_address_only_after_its_code_came_back() {
    let mut machine = machine();
    let give = |n: u8| NoticeCommand::SetAddress { vault: ALICE, address: Sealed(vec![n]), code: Sealed(vec![n]), code_hash: [n; 32] };
    let verify = |n: u8| NoticeCommand::VerifyAddress { vault: ALICE, code_hash: [n; 32] };
    let refused = |refusal: NoticeRefusal| Outcome::Refused(refusal.into());
    assert_eq!(run(&mut machine, verify(1)), refused(NoticeRefusal::NoCode));
    run(&mut machine, give(1));
    run(&mut machine, told(NoticeKind::NewDevice));
    assert!(deliveries(&machine).iter().all(|delivery| delivery.content == Content::Code));
    assert_eq!(run(&mut machine, give(2)), refused(NoticeRefusal::TooSoon));
    for left in (0..PendingAddress::TRIES_MAX).rev() {
        assert_eq!(run(&mut machine, verify(9)), Outcome::Notice(NoticeOutcome::CodeWrong { left }));
    }
    assert_eq!(run(&mut machine, verify(1)), refused(NoticeRefusal::NoCode), "guessed too often");
    machine.now += PendingAddress::PAUSE_MS;
    run(&mut machine, give(2));
    machine.now += PendingAddress::LIFETIME_MS;
    assert_eq!(run(&mut machine, verify(2)), refused(NoticeRefusal::NoCode), "too late");
    run(&mut machine, give(3));
    assert!(matches!(run(&mut machine, verify(3)), Outcome::Notice(NoticeOutcome::Settings(own)) if own.address == Some(Sealed(vec![3]))));
    run(&mut machine, told(NoticeKind::NewDevice));
    assert!(matches!(deliveries(&machine)[0].content, Content::Notice { kind: NoticeKind::NewDevice, .. }));
    let count = deliveries(&machine).len();
    run(&mut machine, told(NoticeKind::ShareOpened));
    assert_eq!(deliveries(&machine).len(), count, "not every kind goes by mail");
    for day in 0..PendingAddress::PER_DAY_MAX + 1 {
        machine.now += PendingAddress::PAUSE_MS;
        let outcome = run(&mut machine, give(u8::try_from(day).unwrap()));
        assert!(day + 3 < PendingAddress::PER_DAY_MAX || outcome == refused(NoticeRefusal::TooSoon), "{day}: {outcome:?}");
    }
}

#[test]
fn choices_are_kept_where_they_are_not_the_default() {
    let mut machine = machine();
    let (on, off) = (Channels { mail: true, webhook: true }, Channels { mail: false, webhook: false });
    let channels = vec![(NoticeKind::ShareOffered, on), (NoticeKind::NewDevice, off)];
    let set = |revision| NoticeCommand::SetChannels { vault: ALICE, revision, channels: channels.clone() };
    let Outcome::Notice(NoticeOutcome::Settings(own)) = run(&mut machine, set(0)) else { panic!("refused") };
    assert_eq!(own.channels.into_iter().collect::<Vec<_>>(), [(NoticeKind::NewDevice, off)]);
    assert_eq!(run(&mut machine, set(0)), Outcome::Refused(NoticeRefusal::RevisionMismatch { actual: 1 }.into()));
    webhook(&mut machine, 1);
    run(&mut machine, told(NoticeKind::NewDevice));
    assert_eq!((kinds(&machine), deliveries(&machine)), (vec![NoticeKind::NewDevice], vec![]), "the list in the vault has it all the same");
}

fn command() -> impl Strategy<Value = NoticeCommand> {
    let kind = prop::sample::select(NoticeKind::ALL);
    let hook = (0u128..4).prop_map(WebhookId);
    let result = prop_oneof![
        Just(Attempt::Delivered),
        Just(Attempt::Failed(Failure::Status(410))),
        Just(Attempt::Failed(Failure::Unreachable)),
        Just(Attempt::Failed(Failure::NoTarget)),
    ];
    prop_oneof![
        4 => kind.prop_map(told),
        2 => hook.clone().prop_map(|id| NoticeCommand::CreateWebhook { vault: ALICE, id, url: Sealed(vec![1]), secret: Sealed(vec![2]) }),
        1 => hook.clone().prop_map(|id| NoticeCommand::DeleteWebhook { vault: ALICE, id }),
        1 => hook.prop_map(|id| NoticeCommand::TestWebhook { vault: ALICE, id }),
        1 => (0u8..3).prop_map(|n| NoticeCommand::SetAddress { vault: ALICE, address: Sealed(vec![n]), code: Sealed(vec![n]), code_hash: [n; 32] }),
        1 => (0u8..3).prop_map(|n| NoticeCommand::VerifyAddress { vault: ALICE, code_hash: [n; 32] }),
        1 => Just(NoticeCommand::SetLang { vault: ALICE, lang: Lang::Fr }),
        // Which deliveries a claim or a report means is filled in when it runs.
        4 => (0u64..50).prop_map(|lease_ms| NoticeCommand::Claim { deliveries: Vec::new(), lease_ms }),
        4 => (result, 0u32..4, any::<u64>()).prop_map(|(result, attempt, random)| {
            NoticeCommand::Report { vault: ALICE, delivery: DeliveryId(0), attempt, result, random }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The invariants are checked after every command by the machine.
    #[test]
    fn the_outbox_holds_together_and_empties(commands in prop::collection::vec((command(), 0u64..40_000, any::<prop::sample::Index>()), 1..60)) {
        let mut machine = machine();
        for (mut command, wait, which) in commands {
            machine.now += wait;
            let there: Vec<(VaultId, DeliveryId)> = deliveries(&machine).into_iter().map(|delivery| (ALICE, delivery.id)).collect();
            match &mut command {
                NoticeCommand::Claim { deliveries, .. } => deliveries.extend(there.into_iter().take(32)),
                NoticeCommand::Report { delivery, .. } if !there.is_empty() => *delivery = which.get(&there).1,
                _ => {}
            }
            let outcome = run(&mut machine, command);
            if let Outcome::Notice(NoticeOutcome::Claimed(claimed)) = &outcome {
                let waits = |delivery: &Delivery| matches!(delivery.state, DeliveryState::Waiting { next_ms } if next_ms > machine.now);
                prop_assert!(claimed.iter().all(waits), "{:?}", claimed);
            }
        }
        machine.now += Notice::KEPT_MS;
        for _ in 0..20 {
            machine.run(Command::Tick);
        }
        machine.now += Delivery::KEPT_MS;
        for _ in 0..20 {
            machine.run(Command::Tick);
        }
        prop_assert!(deliveries(&machine).is_empty() && kinds(&machine).is_empty());
    }
}
