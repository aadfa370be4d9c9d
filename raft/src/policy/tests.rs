//! The whole table: every relation, agent, grant, phase and action; and what must hold of the answers.

use super::*;

const RELATIONS: [Relation; 6] =
    [Relation::Owner, Relation::Recipient, Relation::ReferenceOffice, Relation::LinkHolder, Relation::Operator, Relation::Stranger];
const PHASES: [Phase; 5] = [Phase::PendingScan, Phase::Available, Phase::Trashed, Phase::Quarantined, Phase::Erased];

fn agents() -> Vec<Agent> {
    let staff = [OfficeRole::Reader, OfficeRole::Clerk, OfficeRole::Notary].map(Agent::Staff);
    let mut all = vec![Agent::Person];
    all.extend(staff);
    for bits in 0u8..8 {
        all.push(Agent::Service(Scopes { read: bits & 1 != 0, write: bits & 2 != 0, share: bits & 4 != 0 }));
    }
    all
}

fn grants() -> Vec<Grant> {
    let shares = ShareState::ALL.iter().flat_map(|state| [true, false].map(|copy| Grant::Share { state: *state, copy }));
    std::iter::once(Grant::None).chain(shares).chain([true, false].map(|live| Grant::Link { live })).collect()
}

fn everything() -> Vec<(Case, Action)> {
    let mut all = Vec::new();
    for relation in RELATIONS {
        for agent in agents() {
            for grant in grants() {
                for phase in PHASES {
                    all.extend(Action::ALL.map(|action| (Case { relation, agent, grant, phase }, action)));
                }
            }
        }
    }
    all
}

fn state(case: Case) -> Option<ShareState> {
    match case.grant {
        Grant::Share { state, .. } => Some(state),
        Grant::None | Grant::Link { .. } => None,
    }
}

fn is_content(action: Action) -> bool {
    matches!(action, Action::Read | Action::Preview | Action::Copy)
}

#[test]
fn properties_hold_over_the_whole_table() {
    let all = everything();
    assert_eq!(all.len(), 6 * 12 * 19 * 5 * 17);
    for (case, action) in all {
        let answer = decide(case, action);
        let context = format!("{case:?} {action:?}: {answer:?}");
        let owner = case.relation == Relation::Owner;
        let reads_share = matches!(case.relation, Relation::Recipient | Relation::ReferenceOffice);
        let by_link = case.relation == Relation::LinkHolder && matches!(case.grant, Grant::Link { .. });
        let hidden = match case.relation {
            Relation::Owner => false,
            Relation::Recipient | Relation::ReferenceOffice => {
                state(case).is_none_or(|s| matches!(s, ShareState::Draft | ShareState::WaitingDeath))
            }
            Relation::LinkHolder => !by_link,
            Relation::Operator | Relation::Stranger => true,
        };
        // Strangers, operators, an office with nothing shared, and those whose share waits learn nothing at all.
        if hidden {
            assert_eq!(answer, Err(Denial::NotFound), "{context}");
            continue;
        }
        // Only the owner changes, shares, trashes, restores, erases, or looks into the history.
        if !owner {
            let owners = [
                Action::Change,
                Action::AddVersion,
                Action::Share,
                Action::Revoke,
                Action::Link,
                Action::Trash,
                Action::Restore,
                Action::Erase,
                Action::History,
            ];
            assert!(!owners.contains(&action) || answer.is_err(), "{context}");
        }
        // Bytes come from scanned documents in use only, and to a recipient only once the share was accepted.
        if is_content(action) && answer.is_ok() {
            assert_eq!(case.phase, Phase::Available, "{context}");
            assert!(!reads_share || state(case) == Some(ShareState::Accepted), "{context}");
        }
        if reads_share {
            let ended = state(case).is_some_and(ShareState::is_ended);
            let unreadable = matches!(case.phase, Phase::Trashed | Phase::Quarantined | Phase::Erased);
            assert_eq!(answer == Err(Denial::Gone), ended || unreadable, "{context}");
        }
        // A copy needs the owner's leave.
        if action == Action::Copy && answer.is_ok() {
            assert!(matches!(case.grant, Grant::Share { copy: true, .. }), "{context}");
        }
        // A link only ever shows.
        if by_link && answer.is_ok() {
            assert!(matches!(action, Action::SeeExistence | Action::SeeName | Action::Read | Action::Preview), "{context}");
        }
        // The owner is never told that a document of the own vault is not there.
        assert!(!owner || answer != Err(Denial::NotFound), "{context}");
        // An agent never may what its owner in person may not.
        if case.agent != Agent::Person {
            let person = decide(Case { agent: Agent::Person, ..case }, action);
            match person {
                Err(denial) => assert_eq!(answer, Err(denial), "{context}"),
                Ok(()) => assert!(matches!(answer, Ok(()) | Err(Denial::Forbidden(Reason::OfficeRole | Reason::Scope))), "{context}"),
            }
        }
    }
}

#[test]
fn a_share_that_waits_for_a_death_is_as_none() {
    for phase in PHASES {
        for action in Action::ALL {
            for relation in [Relation::Recipient, Relation::ReferenceOffice] {
                for agent in agents() {
                    let with = Grant::Share { state: ShareState::WaitingDeath, copy: true };
                    let ask = |grant| decide(Case { relation, agent, grant, phase }, action);
                    assert_eq!(ask(with), ask(Grant::None));
                }
            }
        }
    }
}

#[test]
fn rights_grow_with_role_and_scope() {
    for (case, action) in everything() {
        if let Agent::Staff(role) = case.agent
            && decide(case, action).is_ok()
        {
            for higher in [OfficeRole::Clerk, OfficeRole::Notary].into_iter().filter(|r| *r > role) {
                assert_eq!(decide(Case { agent: Agent::Staff(higher), ..case }, action), Ok(()));
            }
        }
        if let Agent::Service(scopes) = case.agent {
            let answer = decide(case, action);
            assert!(scopes != Scopes::default() || answer.is_err(), "a service without scope may something: {case:?} {action:?}");
            assert!(action != Action::Erase || answer.is_err(), "a service erases: {case:?}");
        }
    }
}

/// The rows that people would look for, as they are published.
#[test]
fn the_published_rows_stand() {
    use Action as A;
    use Phase as P;
    use ShareState as S;
    let forbidden = |reason| Err(Denial::Forbidden(reason));
    let owner = |phase, action| decide(Case::owner(phase), action);
    let recipient = |state, phase, action| decide(Case::recipient(state, false, phase), action);
    for action in [A::SeeName, A::Read, A::Preview, A::History, A::Change, A::AddVersion, A::Share, A::Revoke, A::Link, A::Trash, A::Erase]
    {
        assert_eq!(owner(P::Available, action), Ok(()), "{action:?}");
    }
    assert_eq!(owner(P::Available, A::Restore), forbidden(Reason::NotTrashed));
    assert_eq!(owner(P::Trashed, A::Restore), Ok(()));
    assert_eq!(owner(P::Trashed, A::Read), forbidden(Reason::Trashed));
    assert_eq!(owner(P::Trashed, A::Erase), Ok(()));
    assert_eq!(owner(P::PendingScan, A::Read), forbidden(Reason::PendingScan));
    assert_eq!(owner(P::PendingScan, A::Share), Ok(()));
    assert_eq!(owner(P::Quarantined, A::Share), forbidden(Reason::Quarantined));
    assert_eq!(owner(P::Erased, A::Read), Err(Denial::Gone));
    assert_eq!(owner(P::Erased, A::History), Ok(()));
    assert_eq!(recipient(S::Offered, P::Available, A::Accept), Ok(()));
    assert_eq!(recipient(S::Offered, P::Available, A::Read), forbidden(Reason::AcceptFirst));
    assert_eq!(recipient(S::Accepted, P::Available, A::Read), Ok(()));
    assert_eq!(recipient(S::Accepted, P::Available, A::Copy), forbidden(Reason::CopyNotAllowed));
    assert_eq!(recipient(S::Accepted, P::Available, A::Share), forbidden(Reason::NotOwner));
    assert_eq!(recipient(S::Accepted, P::PendingScan, A::Read), forbidden(Reason::PendingScan));
    assert_eq!(recipient(S::Accepted, P::Trashed, A::Read), Err(Denial::Gone));
    assert_eq!(recipient(S::WaitingIncapacity, P::Available, A::SeeName), forbidden(Reason::NotOpen));
    assert_eq!(recipient(S::WaitingIncapacity, P::Available, A::RequestAccess), Ok(()));
    assert_eq!(recipient(S::Accepted, P::Available, A::RequestAccess), forbidden(Reason::OpenAlready));
    assert_eq!(recipient(S::Revoked, P::Available, A::Read), Err(Denial::Gone));
    assert_eq!(recipient(S::WaitingDeath, P::Available, A::SeeExistence), Err(Denial::NotFound));
    assert_eq!(decide(Case::link(true, P::Available), A::Read), Ok(()));
    assert_eq!(decide(Case::link(false, P::Available), A::Read), Err(Denial::Gone));
    assert_eq!(decide(Case::link(true, P::Available), A::Copy), Err(Denial::NotFound));
}
