//! Commands about shares, links and the death flag.
//!
//! Owns: dispatch, and `put`, the only place that writes a share: it keeps every index in step with the state.
//! Parts: [`create`] (the owner shares), [`owner`] (the owner changes and stops), [`ending`] (how shares end),
//! [`receive`] (the recipient), [`links`], [`death`].
//! Holds: (1) the recipient's part of the state mentions a share only while it is listed, and a while after it was;
//! (2) a live share is between contacts, of a document that exists and is shareable, the only one of that document
//! with that recipient; (3) every command is bounded work.

pub mod create;
pub mod death;
pub mod ending;
pub mod links;
pub mod owner;
pub mod receive;

pub use ending::end_shares_between;

use super::{
    due, log,
    stop::{Stop, denied, settle},
};
use crate::{
    codec::{self, Marker},
    command::SharingCommand,
    keys,
    model::{
        Document, DocumentId, Event, EventKind, Former, GivenRef, IncomingRef, Moment, PairCount, Share, ShareId, ShareState, TimeMs,
        Trail, VaultId,
    },
    outcome::{Outcome, Refusal, SharingOutcome},
    policy::{Action, Case, Denial, Phase, Reason, decide},
    store::{Read, StoreError, Transaction},
    view,
};

pub(super) fn apply(tx: &mut Transaction<'_>, now: TimeMs, command: &SharingCommand, trail: &Trail) -> Result<Outcome, StoreError> {
    settle(logged(tx, now, command, trail))
}

/// Does it, and records it in the owner's history in the same transaction.
fn logged(tx: &mut Transaction<'_>, now: TimeMs, command: &SharingCommand, trail: &Trail) -> Result<Outcome, Stop> {
    let outcome = act(tx, now, command)?;
    if let Some((kind, vault, document)) = told(command, &outcome) {
        log::record(tx, now, Event { kind, vault: Some(vault), document, trail: trail.clone() })?;
    }
    Ok(outcome)
}

/// What the owner's history says of a command that was done.
fn told(command: &SharingCommand, outcome: &Outcome) -> Option<(EventKind, VaultId, Option<DocumentId>)> {
    let kind = match command {
        SharingCommand::Create(_) | SharingCommand::Publish { .. } => EventKind::ShareOffered,
        SharingCommand::Change(_) => EventKind::ShareChanged,
        SharingCommand::Revoke { .. } => EventKind::ShareRevoked,
        SharingCommand::Accept { .. } => EventKind::ShareAccepted,
        SharingCommand::Refuse { .. } => EventKind::ShareRefused,
        SharingCommand::RequestAccess { .. } => EventKind::AccessRequested,
        SharingCommand::Veto { .. } => EventKind::AccessVetoed,
        SharingCommand::Copy(_) => EventKind::ShareCopied,
        SharingCommand::CreateLink { .. } => EventKind::LinkCreated,
        SharingCommand::RevokeLink { .. } => EventKind::LinkRevoked,
        SharingCommand::OpenLink { .. } => EventKind::LinkOpened,
        SharingCommand::ConfirmDeath { .. } => EventKind::DeathConfirmed,
        SharingCommand::ReverseDeath { .. } => EventKind::DeathReversed,
        // Gateways do this by themselves.
        SharingCommand::Rewrap(_) => return None,
    };
    let Outcome::Sharing(outcome) = outcome else { return None };
    let (vault, document) = match outcome {
        SharingOutcome::Created(shares) => shares.first().map(|share| (share.owner, Some(share.document)))?,
        SharingOutcome::Changed(share) | SharingOutcome::Copied { share, .. } => (share.owner, Some(share.document)),
        SharingOutcome::Ended(ended) => ended.first().map(|share| (share.owner, Some(share.document)))?,
        SharingOutcome::Link(link) | SharingOutcome::Opened(link) => (link.vault, Some(link.document)),
        SharingOutcome::Death { vault, .. } => (*vault, None),
    };
    Some((kind, vault, document))
}

fn act(tx: &mut Transaction<'_>, now: TimeMs, command: &SharingCommand) -> Result<Outcome, Stop> {
    match command {
        SharingCommand::Create(create) => create::create(tx, now, create),
        SharingCommand::Publish { vault, document, share, revision } => create::publish(tx, now, *vault, *document, *share, *revision),
        SharingCommand::Change(change) => owner::change(tx, now, change),
        SharingCommand::Revoke { vault, document, which } => owner::revoke(tx, now, *vault, *document, which),
        SharingCommand::Accept { recipient, share } => receive::accept(tx, now, *recipient, *share),
        SharingCommand::Refuse { recipient, share } => receive::refuse(tx, now, *recipient, *share),
        SharingCommand::RequestAccess { recipient, share } => receive::request_access(tx, now, *recipient, *share),
        SharingCommand::Veto { vault, document, share } => owner::veto(tx, now, *vault, *document, *share),
        SharingCommand::Rewrap(rewrap) => owner::rewrap(tx, rewrap),
        SharingCommand::Copy(copy) => receive::copy(tx, now, copy),
        SharingCommand::CreateLink { vault, document, link } => links::create(tx, now, *vault, *document, link),
        SharingCommand::RevokeLink { vault, document, link } => links::revoke(tx, now, *vault, *document, *link),
        SharingCommand::OpenLink { hash } => links::open(tx, now, hash),
        SharingCommand::ConfirmDeath { account } => death::tell(tx, now, *account, true),
        SharingCommand::ReverseDeath { account } => death::tell(tx, now, *account, false),
    }
}

/// The owner's document, if the owner may do this with it.
fn own_document(tx: &Transaction<'_>, vault: VaultId, id: DocumentId, action: Action) -> Result<Document, Stop> {
    let document = codec::load::<Document>(tx, &keys::document(vault, id))?.ok_or(Refusal::DocumentUnknown)?;
    decide(Case::owner(Phase::of(document.state, &document.current.scan)), action).map_err(denied)?;
    Ok(document)
}

/// Refuses what only the living begin.
fn must_live(read: &dyn Read, vault: VaultId) -> Result<(), Stop> {
    if view::sharing::is_dead(read, vault)? { Err(denied(Denial::Forbidden(Reason::Deceased))) } else { Ok(()) }
}

/// A share of the owner's that lives.
fn live_share(tx: &Transaction<'_>, vault: VaultId, document: DocumentId, id: ShareId) -> Result<Share, Stop> {
    let share = codec::load::<Share>(tx, &keys::share(vault, document, id))?.ok_or_else(|| denied(Denial::NotFound))?;
    if share.state.is_ended() { Err(denied(Denial::Gone)) } else { Ok(share) }
}

/// Stores a share and brings all that points at it in step; `before` is the state that is stored at present.
fn put(tx: &mut Transaction<'_>, now: TimeMs, before: Option<ShareState>, share: &Share) -> Result<(), StoreError> {
    let (owner, document, recipient, id) = (share.owner, share.document, share.recipient, share.id);
    let was = |test: fn(ShareState) -> bool| before.is_some_and(test);
    let opened_by_death = |state: ShareState| matches!(state, ShareState::Offered | ShareState::Accepted);

    let (lived, lives) = (was(|s| !s.is_ended()), !share.state.is_ended());
    if lives != lived {
        let key = keys::pair(owner, recipient);
        let PairCount(count) = codec::load(tx, &key)?.unwrap_or_default();
        let count = if lives { count.saturating_add(1) } else { count.saturating_sub(1) };
        if count == 0 {
            tx.delete(key);
        } else {
            tx.store(key, &PairCount(count))?;
        }
        let given = keys::given(owner, recipient, document);
        if lives {
            tx.store(given, &GivenRef(id))?;
        } else {
            tx.delete(given);
        }
    }
    mark_if(tx, keys::waiting(owner, document, id), share.state == ShareState::WaitingDeath)?;
    mark_if(tx, keys::opened(owner, document, id), share.moment == Moment::AfterDeath && opened_by_death(share.state))?;
    let (was_listed, listed) = (was(ShareState::is_listed), share.state.is_listed());
    if listed && !was_listed {
        tx.store(keys::incoming(recipient, id), &IncomingRef { owner, document })?;
        tx.delete(keys::former(recipient, id));
    } else if was_listed && !listed {
        tx.delete(keys::incoming(recipient, id));
        let key = keys::former(recipient, id);
        let forget_ms = now.saturating_add(Share::ENDED_KEPT_MS);
        tx.store(key.clone(), &Former { forget_ms })?;
        due::schedule(tx, forget_ms, &key);
    }
    tx.store(keys::share(owner, document, id), share)
}

fn mark_if(tx: &mut Transaction<'_>, key: Vec<u8>, wanted: bool) -> Result<(), StoreError> {
    if wanted {
        tx.store(key, &Marker)
    } else {
        tx.delete(key);
        Ok(())
    }
}

/// A change of a share that both sides see.
fn touch(share: &mut Share, now: TimeMs) {
    share.revision += 1;
    share.updated_ms = now;
}

/// A share's own time has come: it lapses, it opens, or its record is forgotten.
pub(super) fn due(tx: &mut Transaction<'_>, now: TimeMs, request: u128, key: &[u8]) -> Result<(), StoreError> {
    let Some(mut share) = codec::load::<Share>(tx, key)? else { return Ok(()) };
    if let Some(ended) = share.ended {
        if ended.at_ms.saturating_add(Share::ENDED_KEPT_MS) <= now {
            tx.delete(key.to_vec());
        }
        return Ok(());
    }
    let (vault, document, trail) = (Some(share.owner), Some(share.document), log::of_due_work(request, key));
    if share.is_past(now) {
        ending::end(tx, now, share, crate::model::EndReason::Expired)?;
        log::record(tx, now, Event { kind: EventKind::ShareLapsed, vault, document, trail })?;
    } else if share.state == ShareState::WaitingIncapacity
        && share.request.is_some_and(|request| request.vetoed_ms.is_none() && request.opens_ms <= now)
    {
        let before = share.state;
        share.state = ShareState::Offered;
        share.offered_ms = Some(now);
        touch(&mut share, now);
        put(tx, now, Some(before), &share)?;
        log::record(tx, now, Event { kind: EventKind::ShareOffered, vault, document, trail })?;
    }
    Ok(())
}

/// A share that ended is forgotten by its former recipient too.
pub(super) fn due_former(tx: &mut Transaction<'_>, now: TimeMs, key: &[u8]) -> Result<(), StoreError> {
    if codec::load::<Former>(tx, key)?.is_some_and(|former| former.forget_ms <= now) {
        tx.delete(key.to_vec());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
