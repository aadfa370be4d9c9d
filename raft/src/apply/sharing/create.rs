//! The owner shares a document: by a command of its own, or together with an upload.
//!
//! Holds: all shares of one command begin, or none.

use super::{must_live, own_document, put, touch};
use crate::{
    apply::{
        contact_check::are_contacts,
        due,
        stop::{Stop, denied},
    },
    codec,
    command::CreateShares,
    keys,
    model::{Document, DocumentId, Moment, NewShare, PairCount, Share, ShareId, ShareState, SharedKey, TimeMs, VaultId, Version},
    outcome::{BadTime, Outcome, SharingOutcome, SharingRefusal},
    policy::{Action, Denial},
    store::{Read, Transaction},
};

pub(super) fn create(tx: &mut Transaction<'_>, now: TimeMs, create: &CreateShares) -> Result<Outcome, Stop> {
    let document = own_document(tx, create.vault, create.document, Action::Share)?;
    if create.shares.is_empty() {
        return Err(SharingRefusal::Limit.into());
    }
    let shares = begin(tx, now, &document, &create.shares)?;
    Ok(Outcome::Sharing(SharingOutcome::Created(shares)))
}

/// Checks what can be checked before the document is there, so that an upload is refused before its bytes come.
pub(in crate::apply) fn check(read: &dyn Read, now: TimeMs, owner: VaultId, shareable: bool, new: &[NewShare]) -> Result<(), Stop> {
    if new.is_empty() {
        return Ok(());
    }
    must_live(read, owner)?;
    if !shareable {
        return Err(SharingRefusal::NotShareable.into());
    }
    if new.len() > Share::PER_COMMAND_MAX {
        return Err(SharingRefusal::Limit.into());
    }
    for share in new {
        if share.recipient == owner {
            return Err(SharingRefusal::OwnVault.into());
        }
        if !share.message.is_sound() || !share.key.is_sound() {
            return Err(SharingRefusal::Limit.into());
        }
        if share.until_ms.is_some_and(|until| until <= now) {
            return Err(SharingRefusal::BadTime(BadTime::Past).into());
        }
        if let Moment::OnIncapacity { wait_ms } = share.moment
            && !(Moment::WAIT_MIN_MS..=Moment::WAIT_MAX_MS).contains(&wait_ms)
        {
            return Err(SharingRefusal::BadTime(BadTime::Wait).into());
        }
        if !are_contacts(read, owner, share.recipient)? {
            return Err(SharingRefusal::NotAContact.into());
        }
    }
    Ok(())
}

/// Begins all of `new`, or stops.
pub(in crate::apply) fn begin(tx: &mut Transaction<'_>, now: TimeMs, document: &Document, new: &[NewShare]) -> Result<Vec<Share>, Stop> {
    check(tx, now, document.vault, document.attributes.shareable, new)?;
    let mut shares = Vec::with_capacity(new.len());
    for share in new {
        shares.push(begin_one(tx, now, document, share)?);
    }
    Ok(shares)
}

fn begin_one(tx: &mut Transaction<'_>, now: TimeMs, document: &Document, new: &NewShare) -> Result<Share, Stop> {
    let (owner, recipient) = (document.vault, new.recipient);
    if tx.get(&keys::given(owner, recipient, document.id))?.is_some() {
        return Err(SharingRefusal::AlreadyShared.into());
    }
    // The recipient's keys are of this id alone, whoever shares.
    for key in [keys::share(owner, document.id, new.id), keys::incoming(recipient, new.id), keys::former(recipient, new.id)] {
        if tx.get(&key)?.is_some() {
            return Err(SharingRefusal::IdTaken.into());
        }
    }
    check_version(tx, document, new.pinned.then_some(new.key.version), &new.key)?;
    make_room(tx, owner, document.id)?;
    let PairCount(pairs) = codec::load(tx, &keys::pair(owner, recipient))?.unwrap_or_default();
    if pairs >= Share::PER_PAIR_MAX {
        return Err(SharingRefusal::TooManyShares.into());
    }
    let state = if new.draft { ShareState::Draft } else { new.moment.first_state() };
    let share = Share {
        id: new.id,
        owner,
        document: document.id,
        recipient,
        moment: new.moment,
        allow_copy: new.allow_copy,
        until_ms: new.until_ms,
        pinned: new.pinned.then_some(new.key.version),
        message: new.message.clone(),
        key: new.key.clone(),
        state,
        ended: None,
        request: None,
        copied: None,
        revision: 1,
        created_ms: now,
        offered_ms: (state == ShareState::Offered).then_some(now),
        updated_ms: now,
    };
    put(tx, now, None, &share)?;
    if let Some(until) = share.until_ms {
        due::schedule(tx, until, &keys::share(owner, share.document, share.id));
    }
    Ok(share)
}

/// Refuses a key of another version than the one that a share pinned so would show, and a pin of no version.
pub(super) fn check_version(read: &dyn Read, document: &Document, pinned: Option<u32>, key: &SharedKey) -> Result<(), Stop> {
    let shown = pinned.unwrap_or(document.current.number);
    if codec::load::<Version>(read, &keys::version(document.vault, document.id, shown))?.is_none() {
        return Err(SharingRefusal::VersionUnknown.into());
    }
    if key.version == shown { Ok(()) } else { Err(SharingRefusal::VersionMismatch { actual: shown }.into()) }
}

/// Forgets the oldest share that ended where the document has all that it may have.
fn make_room(tx: &mut Transaction<'_>, owner: VaultId, document: DocumentId) -> Result<(), Stop> {
    let shares = codec::load_range::<Share>(tx, &keys::shares_of(owner, document), Share::PER_DOCUMENT_MAX)?;
    if shares.len() < Share::PER_DOCUMENT_MAX {
        return Ok(());
    }
    let oldest = shares.into_iter().filter_map(|(key, share)| share.ended.map(|ended| (ended.at_ms, key))).min();
    let (_, key) = oldest.ok_or(SharingRefusal::TooManyShares)?;
    tx.delete(key);
    Ok(())
}

pub(super) fn publish(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    vault: VaultId,
    document: DocumentId,
    id: ShareId,
    revision: u64,
) -> Result<Outcome, Stop> {
    own_document(tx, vault, document, Action::Share)?;
    must_live(tx, vault)?;
    let mut share = super::live_share(tx, vault, document, id)?;
    if share.state != ShareState::Draft {
        return Err(SharingRefusal::NotADraft.into());
    }
    if share.revision != revision {
        return Err(SharingRefusal::RevisionMismatch { actual: share.revision }.into());
    }
    if share.is_past(now) {
        return Err(denied(Denial::Gone));
    }
    share.state = share.moment.first_state();
    share.offered_ms = (share.state == ShareState::Offered).then_some(now);
    touch(&mut share, now);
    put(tx, now, Some(ShareState::Draft), &share)?;
    Ok(Outcome::Sharing(SharingOutcome::Changed(Box::new(share))))
}
