//! Commands about sessions after their beginning; those about services go on to [`super::service`].

use super::{account, refused, service};
use crate::{
    codec,
    command::IdentityCommand,
    keys,
    model::{AccountId, Assurance, Session, SessionId, TimeMs},
    outcome::{IdentityOutcome, IdentityRefusal, Outcome, Refusal},
    store::{StoreError, Transaction},
    view,
};

pub(super) fn apply(tx: &mut Transaction<'_>, now: TimeMs, command: &IdentityCommand) -> Result<Outcome, StoreError> {
    match command {
        IdentityCommand::StepUp { session, lookup, attempt, assurance } => step_up(tx, now, session, lookup, attempt, *assurance),
        IdentityCommand::EndOtherSessions { account, keep } => end_others(tx, *account, *keep),
        IdentityCommand::NoteSeen { sessions } => note_seen(tx, now, sessions),
        IdentityCommand::CreateService(new) => service::create(tx, now, new),
        IdentityCommand::RotateService { vault, service, secret, overlap_ms } => {
            service::rotate(tx, now, *vault, *service, *secret, *overlap_ms)
        }
        IdentityCommand::DeleteService { vault, service } => service::delete(tx, *vault, *service),
    }
}

/// Person, level and attempt are checked here, in one transaction with the raise: a gateway could be raced.
fn step_up(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    id: &SessionId,
    lookup: &[u8; 32],
    attempt: &[u8; 32],
    assurance: Assurance,
) -> Result<Outcome, StoreError> {
    if !account::take_attempt(tx, now, attempt)? {
        return refused(Refusal::AttemptUsed);
    }
    let Some(mut session) = view::session(tx, id)?.filter(|session| session.expires_ms > now) else {
        return refused(Refusal::SessionUnknown);
    };
    if view::account(tx, session.account)?.is_none_or(|account| account.lookup != *lookup) {
        return refused(IdentityRefusal::OtherPerson.into());
    }
    if assurance < Assurance::High {
        return refused(IdentityRefusal::TooWeak.into());
    }
    session.stepped_up_ms = now;
    session.last_seen_ms = now;
    tx.store(keys::session(id), &session)?;
    let until_ms = now.saturating_add(Session::STEP_UP_MS);
    Ok(Outcome::Identity(IdentityOutcome::SteppedUp { until_ms }))
}

fn end_others(tx: &mut Transaction<'_>, account: AccountId, keep: u128) -> Result<Outcome, StoreError> {
    for session in view::sessions(tx, account)? {
        if session.public_id != keep {
            account::remove(tx, &session);
        }
    }
    Ok(Outcome::Done)
}

fn note_seen(tx: &mut Transaction<'_>, now: TimeMs, sessions: &[SessionId]) -> Result<Outcome, StoreError> {
    for id in sessions {
        let key = keys::session(id);
        if let Some(mut session) = codec::load::<Session>(tx, &key)? {
            session.last_seen_ms = now;
            tx.store(key, &session)?;
        }
    }
    Ok(Outcome::Done)
}
