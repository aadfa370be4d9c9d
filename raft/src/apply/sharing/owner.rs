//! The owner changes the terms of a share, stops shares, objects to a request; keys are renewed.

use super::{create::check_version, ending::end, live_share, own_document, put, touch};
use crate::{
    apply::{
        due,
        stop::{Stop, denied},
    },
    codec,
    command::{ChangeShare, Rewrap, Which},
    keys,
    model::{Document, DocumentId, EndReason, Share, ShareId, ShareState, SharedKey, TimeMs, VaultId},
    outcome::{BadTime, Outcome, Refusal, SharingOutcome, SharingRefusal},
    policy::{Action, Denial},
    store::Transaction,
};

fn changed(share: Share) -> Outcome {
    Outcome::Sharing(SharingOutcome::Changed(Box::new(share)))
}

pub(super) fn change(tx: &mut Transaction<'_>, now: TimeMs, change: &ChangeShare) -> Result<Outcome, Stop> {
    let document = own_document(tx, change.vault, change.document, Action::Share)?;
    super::must_live(tx, change.vault)?;
    let mut share = live_share(tx, change.vault, change.document, change.share)?;
    if share.revision != change.revision {
        return Err(SharingRefusal::RevisionMismatch { actual: share.revision }.into());
    }
    if let Some(until_ms) = change.until_ms {
        if until_ms.is_some_and(|until| until <= now) {
            return Err(SharingRefusal::BadTime(BadTime::Past).into());
        }
        share.until_ms = until_ms;
        if let Some(until) = until_ms {
            due::schedule(tx, until, &keys::share(share.owner, share.document, share.id));
        }
    }
    if let Some(pinned) = change.pinned {
        // The key may be of another version now: it is renewed when the recipient next reads.
        let shown = pinned.unwrap_or(document.current.number);
        check_version(tx, &document, pinned, &SharedKey { version: shown, ..share.key.clone() })?;
        share.pinned = pinned;
    }
    if let Some(message) = &change.message {
        if !message.is_sound() {
            return Err(SharingRefusal::Limit.into());
        }
        share.message.clone_from(message);
    }
    share.allow_copy = change.allow_copy.unwrap_or(share.allow_copy);
    touch(&mut share, now);
    put(tx, now, Some(share.state), &share)?;
    Ok(changed(share))
}

pub(super) fn revoke(tx: &mut Transaction<'_>, now: TimeMs, vault: VaultId, document: DocumentId, which: &Which) -> Result<Outcome, Stop> {
    own_document(tx, vault, document, Action::Revoke)?;
    let shares: Vec<Share> = match which {
        Which::All => {
            let all = codec::load_range::<Share>(tx, &keys::shares_of(vault, document), Share::PER_DOCUMENT_MAX)?;
            all.into_iter().map(|(_, share)| share).collect()
        }
        Which::These(ids) if ids.is_empty() || ids.len() > Share::PER_DOCUMENT_MAX => return Err(SharingRefusal::Limit.into()),
        Which::These(ids) => {
            let ids: std::collections::BTreeSet<ShareId> = ids.iter().copied().collect();
            let mut shares = Vec::with_capacity(ids.len());
            for id in ids {
                let share = codec::load::<Share>(tx, &keys::share(vault, document, id))?;
                shares.push(share.ok_or_else(|| denied(Denial::NotFound))?);
            }
            shares
        }
    };
    let mut ended = Vec::new();
    for share in shares {
        if !share.state.is_ended() {
            ended.push(end(tx, now, share, EndReason::Owner)?);
        }
    }
    Ok(Outcome::Sharing(SharingOutcome::Ended(ended)))
}

pub(super) fn veto(tx: &mut Transaction<'_>, now: TimeMs, vault: VaultId, document: DocumentId, id: ShareId) -> Result<Outcome, Stop> {
    own_document(tx, vault, document, Action::Share)?;
    let mut share = live_share(tx, vault, document, id)?;
    // Once it is open, revoking is what helps.
    let waits = share.state == ShareState::WaitingIncapacity;
    match share.request.as_mut().filter(|request| waits && request.vetoed_ms.is_none() && request.opens_ms > now) {
        Some(request) => request.vetoed_ms = Some(now),
        None => return Err(SharingRefusal::NothingRequested.into()),
    }
    touch(&mut share, now);
    put(tx, now, Some(share.state), &share)?;
    Ok(changed(share))
}

/// Gateways do this by themselves, so it changes neither revision nor time.
pub(super) fn rewrap(tx: &mut Transaction<'_>, rewrap: &Rewrap) -> Result<Outcome, Stop> {
    let document = codec::load::<Document>(tx, &keys::document(rewrap.vault, rewrap.document))?.ok_or(Refusal::DocumentUnknown)?;
    let mut share = live_share(tx, rewrap.vault, rewrap.document, rewrap.share)?;
    if !rewrap.key.is_sound() || rewrap.key.revision > document.revision {
        return Err(SharingRefusal::Limit.into());
    }
    check_version(tx, &document, share.pinned, &rewrap.key)?;
    share.key = rewrap.key.clone();
    tx.store(keys::share(share.owner, share.document, share.id), &share)?;
    Ok(changed(share))
}
