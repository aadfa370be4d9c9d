//! The recipient accepts, refuses, asks for access, copies.
//!
//! Holds: what a recipient is told follows from the recipient's own part of the state first: without an entry there,
//! nothing else is looked at.

use super::{ending::end, put, touch};
use crate::{
    apply::{
        document::{note_change, retain_blob, take_quota},
        due, notice,
        stop::{Stop, denied},
        upload,
    },
    codec,
    command::CopyShared,
    keys,
    model::{
        AccessRequest, Attributes, Document, DocumentState, EndReason, Moment, Origin, Provenance, Share, ShareId, ShareState, SharedKey,
        TimeMs, Vault, VaultId, Version,
    },
    outcome::{DocumentRefusal, Outcome, Refusal, SharingOutcome, SharingRefusal},
    policy::{Action, Case, Denial, Phase, decide},
    store::Transaction,
    view::sharing::{Standing, is_closing, standing},
};

/// What a recipient may act on, with the state that it has for the recipient now.
fn find(tx: &Transaction<'_>, now: TimeMs, recipient: VaultId, id: ShareId, action: Action) -> Result<Standing, Stop> {
    let found = standing(tx, recipient, id, now)?.map_err(denied)?;
    let phase = Phase::of(found.document.state, &found.version.scan);
    decide(Case::recipient(found.state, found.share.allow_copy, phase), action).map_err(denied)?;
    Ok(found)
}

fn changed(share: Share) -> Outcome {
    Outcome::Sharing(SharingOutcome::Changed(Box::new(share)))
}

pub(super) fn accept(tx: &mut Transaction<'_>, now: TimeMs, recipient: VaultId, id: ShareId) -> Result<Outcome, Stop> {
    let mut share = find(tx, now, recipient, id, Action::Accept)?.share;
    if share.state == ShareState::Offered {
        share.state = ShareState::Accepted;
        touch(&mut share, now);
        put(tx, now, Some(ShareState::Offered), &share)?;
    }
    Ok(changed(share))
}

pub(super) fn refuse(tx: &mut Transaction<'_>, now: TimeMs, recipient: VaultId, id: ShareId) -> Result<Outcome, Stop> {
    let share = find(tx, now, recipient, id, Action::Refuse)?.share;
    let ended = end(tx, now, share, EndReason::Recipient)?;
    Ok(Outcome::Sharing(SharingOutcome::Ended(vec![ended])))
}

pub(super) fn request_access(tx: &mut Transaction<'_>, now: TimeMs, recipient: VaultId, id: ShareId) -> Result<Outcome, Stop> {
    let mut share = find(tx, now, recipient, id, Action::RequestAccess)?.share;
    let Moment::OnIncapacity { wait_ms } = share.moment else { return Err(denied(Denial::NotFound)) };
    if let Some(request) = share.request
        && (request.vetoed_ms.is_none() || request.opens_ms > now)
    {
        return Err(SharingRefusal::AlreadyRequested { opens_ms: request.opens_ms }.into());
    }
    let opens_ms = now.saturating_add(wait_ms);
    share.request = Some(AccessRequest { at_ms: now, opens_ms, vetoed_ms: None });
    touch(&mut share, now);
    put(tx, now, Some(share.state), &share)?;
    due::schedule(tx, opens_ms, &keys::share(share.owner, share.document, share.id));
    Ok(changed(share))
}

pub(super) fn copy(tx: &mut Transaction<'_>, now: TimeMs, copy: &CopyShared) -> Result<Outcome, Stop> {
    let Standing { mut share, document: source, version, .. } = find(tx, now, copy.recipient, copy.share, Action::Copy)?;
    if version.number != copy.version {
        return Err(SharingRefusal::VersionMismatch { actual: version.number }.into());
    }
    if !Attributes::labels_are_sound(&copy.attributes.labels) {
        return Err(DocumentRefusal::Labels.into());
    }
    if copy.name.0.len() > SharedKey::NAME_BYTES_MAX || copy.wrapped_key.len() > SharedKey::WRAP_BYTES_MAX {
        return Err(SharingRefusal::Limit.into());
    }
    if upload::taken(tx, copy.recipient, copy.document)? {
        return Err(SharingRefusal::IdTaken.into());
    }
    let mut vault = codec::load::<Vault>(tx, &keys::vault(copy.recipient))?.ok_or(Refusal::VaultUnknown)?;
    if is_closing(tx, copy.recipient)? {
        return Err(Refusal::VaultUnknown.into());
    }
    take_quota(&mut vault, version.size)?;
    vault.documents += 1;
    tx.store(keys::vault(vault.id), &vault)?;
    notice::quota(tx, now, &vault)?;
    retain_blob(tx, version.blob)?;
    let provenance = Provenance { owner: share.owner, document: source.id, version: version.number, share: share.id, copied_ms: now };
    let document = Document {
        id: copy.document,
        vault: copy.recipient,
        name: copy.name.clone(),
        revision: 1,
        created_ms: now,
        updated_ms: now,
        current: Version { number: 1, wrapped_key: copy.wrapped_key.clone(), created_ms: now, ..version },
        attributes: copy.attributes.clone(),
        origin: Origin::Copy(Box::new(provenance)),
        state: DocumentState::Available,
    };
    tx.store(keys::version(document.vault, document.id, 1), &document.current)?;
    tx.store(keys::document(document.vault, document.id), &document)?;
    note_change(tx, document.vault)?;
    let times = share.copied.map_or(0, |(_, times)| times);
    share.copied = Some((now, times.saturating_add(1)));
    touch(&mut share, now);
    put(tx, now, Some(share.state), &share)?;
    Ok(Outcome::Sharing(SharingOutcome::Copied { document: Box::new(document), share: Box::new(share) }))
}
