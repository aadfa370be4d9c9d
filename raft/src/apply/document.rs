//! Commands about documents that exist, and about their blobs.

use kluis_chunkstore::ids::BlobId;

use super::{due, log, refused};
use crate::{
    codec, keys,
    model::{Blob, BlobLayout, Document, DocumentId, Event, EventKind, TimeMs, Trail, Vault, VaultId, Version},
    outcome::{Outcome, Refusal},
    store::{StoreError, Transaction},
};

/// Most versions of one document: one command removes them all.
pub(super) const VERSIONS_MAX: usize = 10_000;

pub(super) fn delete(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    vault: VaultId,
    id: DocumentId,
    revision: u64,
    trail: &Trail,
) -> Result<Outcome, StoreError> {
    let key = keys::document(vault, id);
    let Some(document) = codec::load::<Document>(tx, &key)? else { return refused(Refusal::DocumentUnknown) };
    if document.revision != revision {
        return refused(Refusal::RevisionMismatch { actual: document.revision });
    }
    let Some(mut owner) = codec::load::<Vault>(tx, &keys::vault(vault))? else { return refused(Refusal::VaultUnknown) };
    for (version_key, version) in codec::load_range::<Version>(tx, &keys::versions(vault, id), VERSIONS_MAX)? {
        owner.used_bytes = owner.used_bytes.saturating_sub(version.size);
        tx.delete(version_key);
        tx.delete(keys::blob(version.blob));
        tx.delete(keys::unsettled(version.blob));
    }
    owner.documents = owner.documents.saturating_sub(1);
    tx.store(keys::vault(vault), &owner)?;
    tx.delete(key);
    log::record(tx, now, Event { kind: EventKind::Erased, vault: Some(vault), document: Some(id), trail: trail.clone() })?;
    Ok(Outcome::Done)
}

pub(super) fn settle(tx: &mut Transaction<'_>, id: BlobId, seen: &[BlobLayout], layout: &BlobLayout) -> Result<Outcome, StoreError> {
    let key = keys::blob(id);
    let Some(mut blob) = codec::load::<Blob>(tx, &key)? else { return refused(Refusal::BlobChanged) };
    if blob.layouts != seen {
        return refused(Refusal::BlobChanged);
    }
    blob.layouts = vec![layout.clone()];
    blob.settled = true;
    tx.store(key, &blob)?;
    tx.delete(keys::unsettled(id));
    Ok(Outcome::Done)
}

pub(super) fn unsettle(tx: &mut Transaction<'_>, id: BlobId) -> Result<Outcome, StoreError> {
    let key = keys::blob(id);
    let Some(mut blob) = codec::load::<Blob>(tx, &key)? else { return refused(Refusal::BlobChanged) };
    if blob.settled {
        blob.settled = false;
        tx.store(key, &blob)?;
        due::mark(tx, keys::unsettled(id))?;
    }
    Ok(Outcome::Done)
}
