//! Links for third parties: made, stopped, opened.
//!
//! Holds: a link is opened at most as often as its owner said, whatever retries and gateways there are.

use super::own_document;
use crate::{
    apply::{
        due,
        stop::{Stop, denied},
    },
    codec, keys,
    model::{DocumentId, Link, LinkHash, LinkId, LinkRef, NewLink, PasswordHash, Share, SharedKey, TimeMs, VaultId},
    outcome::{BadTime, Outcome, SharingOutcome, SharingRefusal},
    policy::{Action, Denial},
    store::{Read, StoreError, Transaction},
    view::sharing::link_for_opening,
};

pub(super) fn create(tx: &mut Transaction<'_>, now: TimeMs, vault: VaultId, id: DocumentId, new: &NewLink) -> Result<Outcome, Stop> {
    let document = own_document(tx, vault, id, Action::Link)?;
    super::must_live(tx, vault)?;
    if !document.attributes.shareable {
        return Err(SharingRefusal::NotShareable.into());
    }
    if new.until_ms <= now {
        return Err(SharingRefusal::BadTime(BadTime::Past).into());
    }
    if new.until_ms > now.saturating_add(Link::LIFETIME_MAX_MS) {
        return Err(SharingRefusal::BadTime(BadTime::LinkTooLong).into());
    }
    let password_len = new.password.as_ref().map_or(0, |PasswordHash(text)| text.len());
    if !(1..=Link::OPENS_MAX).contains(&new.max_opens)
        || password_len > Link::PASSWORD_BYTES_MAX
        || new.wrapped_key.len() > SharedKey::WRAP_BYTES_MAX
        || new.name.0.len() > SharedKey::NAME_BYTES_MAX
    {
        return Err(SharingRefusal::Limit.into());
    }
    if new.version != document.current.number {
        return Err(SharingRefusal::VersionMismatch { actual: document.current.number }.into());
    }
    let (key, by_hash) = (keys::link(vault, id, new.id), keys::link_by_hash(&new.hash));
    if tx.get(&key)?.is_some() || tx.get(&by_hash)?.is_some() {
        return Err(SharingRefusal::IdTaken.into());
    }
    make_room(tx, now, vault, id)?;
    let link = Link { asked: new.clone(), vault, document: id, created_ms: now, opens: Vec::new(), revoked_ms: None };
    tx.store(by_hash, &LinkRef { vault, document: id, link: new.id })?;
    tx.store(key.clone(), &link)?;
    due::schedule(tx, forget_ms(&link), &key);
    Ok(Outcome::Sharing(SharingOutcome::Link(Box::new(link))))
}

fn forget_ms(link: &Link) -> TimeMs {
    link.asked.until_ms.saturating_add(Share::ENDED_KEPT_MS)
}

/// Forgets the oldest link that is over where the document has all that it may have.
fn make_room(tx: &mut Transaction<'_>, now: TimeMs, vault: VaultId, document: DocumentId) -> Result<(), Stop> {
    let links = codec::load_range::<Link>(tx, &keys::links_of(vault, document), Link::PER_DOCUMENT_MAX)?;
    if links.len() < Link::PER_DOCUMENT_MAX {
        return Ok(());
    }
    let over = links.into_iter().filter(|(_, link)| !link.is_live(now)).min_by_key(|(_, link)| link.created_ms);
    let (key, link) = over.ok_or(SharingRefusal::TooManyLinks)?;
    forget(tx, key, &link);
    Ok(())
}

fn forget(tx: &mut Transaction<'_>, key: Vec<u8>, link: &Link) {
    tx.delete(keys::link_by_hash(&link.asked.hash));
    tx.delete(key);
}

pub(super) fn revoke(tx: &mut Transaction<'_>, now: TimeMs, vault: VaultId, document: DocumentId, id: LinkId) -> Result<Outcome, Stop> {
    own_document(tx, vault, document, Action::Revoke)?;
    let key = keys::link(vault, document, id);
    let mut link = codec::load::<Link>(tx, &key)?.ok_or_else(|| denied(Denial::NotFound))?;
    if link.revoked_ms.is_none() {
        link.revoked_ms = Some(now);
        tx.store(key, &link)?;
    }
    Ok(Outcome::Sharing(SharingOutcome::Link(Box::new(link))))
}

pub(super) fn open(tx: &mut Transaction<'_>, now: TimeMs, hash: &LinkHash) -> Result<Outcome, Stop> {
    let (mut link, _) = link_for_opening(tx, hash, now)?.map_err(denied)?;
    link.opens.push(now);
    tx.store(keys::link(link.vault, link.document, link.asked.id), &link)?;
    Ok(Outcome::Sharing(SharingOutcome::Opened(Box::new(link))))
}

pub(in crate::apply) fn due(tx: &mut Transaction<'_>, now: TimeMs, key: &[u8]) -> Result<(), StoreError> {
    if let Some(link) = codec::load::<Link>(tx, key)?
        && forget_ms(&link) <= now
    {
        forget(tx, key.to_vec(), &link);
    }
    Ok(())
}
