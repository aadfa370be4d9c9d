//! Commands about documents that exist, and about their blobs.
//!
//! Holds: (1) a document that goes, or is not shareable any more, ends its shares and links in the same transaction;
//! (2) a blob goes with the last version that names it.

use kluis_chunkstore::ids::BlobId;

use super::{
    due, log, notice, refused, sharing,
    stop::{Stop, settle as answer},
};
use crate::{
    codec,
    command::{ChangeDocument, DocumentCommand},
    keys,
    model::{
        Attributes, Blob, BlobLayout, Contents, Document, DocumentId, DocumentState, EndReason, Event, EventKind, NewNotice, NoticeKind,
        Scan, Share, ShareState, SharedKey, TimeMs, Trail, Vault, VaultId, Version,
    },
    outcome::{DocumentOutcome, DocumentRefusal, Outcome, Refusal},
    policy::{Action, Case, Denial, Phase, Reason, decide},
    store::{StoreError, Transaction},
};

/// Most versions of one document: one command removes them all.
pub(super) const VERSIONS_MAX: usize = 10_000;
/// Versions that one piece of due work erases.
pub const ERASE_PIECE: usize = 500;
/// How long a document stays in the trash before it is erased by itself.
pub const TRASH_KEPT_MS: u64 = 30 * 24 * 3600 * 1000;

pub(super) fn apply(tx: &mut Transaction<'_>, now: TimeMs, command: &DocumentCommand, trail: &Trail) -> Result<Outcome, StoreError> {
    answer(logged(tx, now, command, trail))
}

/// Does it, and records it in the same transaction.
fn logged(tx: &mut Transaction<'_>, now: TimeMs, command: &DocumentCommand, trail: &Trail) -> Result<Outcome, Stop> {
    let outcome = act(tx, now, command)?;
    let (kind, vault, document) = match command {
        DocumentCommand::Change(change) => (EventKind::Changed, change.vault, change.document),
        DocumentCommand::Trash { vault, document, .. } => (EventKind::Trashed, *vault, *document),
        DocumentCommand::Restore { vault, document, .. } => (EventKind::Restored, *vault, *document),
        DocumentCommand::RestoreVersion { vault, document, .. } => (EventKind::NewVersion, *vault, *document),
        DocumentCommand::NoteScan { vault, document, scan: Scan::Infected { .. }, .. } => (EventKind::ScanInfected, *vault, *document),
        // New signatures confirm every document again and again: nothing happened.
        DocumentCommand::NoteScan { .. } => return Ok(outcome),
    };
    let event = |kind, trail| Event { kind, vault: Some(vault), document: Some(document), trail };
    log::record(tx, now, event(kind, trail.clone()))?;
    if let Outcome::Document(DocumentOutcome::Changed { ended, .. }) = &outcome
        && !ended.is_empty()
    {
        log::record(tx, now, event(EventKind::ShareRevoked, log::further(trail)))?;
    }
    Ok(outcome)
}

fn act(tx: &mut Transaction<'_>, now: TimeMs, command: &DocumentCommand) -> Result<Outcome, Stop> {
    match command {
        DocumentCommand::Change(change) => self::change(tx, now, change),
        DocumentCommand::Trash { vault, document, revision } => trash(tx, now, *vault, *document, *revision),
        DocumentCommand::Restore { vault, document, revision } => restore(tx, now, *vault, *document, *revision),
        DocumentCommand::RestoreVersion { vault, document, revision, version } => {
            restore_version(tx, now, (*vault, *document, *revision), *version)
        }
        DocumentCommand::NoteScan { vault, document, version, scan } => note_scan(tx, now, *vault, *document, *version, scan),
    }
}

/// Whether the owner may do this with the document.
pub(super) fn allowed(document: &Document, action: Action) -> Result<(), DocumentRefusal> {
    decide(Case::owner(Phase::of(document.state, &document.current.scan)), action).map_err(DocumentRefusal::Denied)
}

/// The owner's document at the revision that the client saw, if the owner may do this with it.
fn find(tx: &Transaction<'_>, vault: VaultId, id: DocumentId, revision: u64, action: Action) -> Result<Document, Stop> {
    let document = codec::load::<Document>(tx, &keys::document(vault, id))?.ok_or(Refusal::DocumentUnknown)?;
    if document.revision != revision {
        return Err(Refusal::RevisionMismatch { actual: document.revision }.into());
    }
    allowed(&document, action)?;
    Ok(document)
}

/// Counts a change of a vault's documents.
pub(super) fn note_change(tx: &mut Transaction<'_>, vault: VaultId) -> Result<(), StoreError> {
    let key = keys::contents(vault);
    let Contents(count) = codec::load(tx, &key)?.unwrap_or_default();
    tx.store(key, &Contents(count.saturating_add(1)))
}

/// Stores a document under its next revision.
fn save(tx: &mut Transaction<'_>, now: TimeMs, document: &mut Document) -> Result<(), StoreError> {
    document.revision += 1;
    document.updated_ms = now;
    note_change(tx, document.vault)?;
    tx.store(keys::document(document.vault, document.id), document)
}

fn changed(document: Document) -> Outcome {
    Outcome::Document(DocumentOutcome::Changed { document: Box::new(document), ended: Vec::new() })
}

fn change(tx: &mut Transaction<'_>, now: TimeMs, change: &ChangeDocument) -> Result<Outcome, Stop> {
    let mut document = find(tx, change.vault, change.document, change.revision, Action::Change)?;
    let mut ended = Vec::new();
    if let Some(name) = &change.name {
        if name.0.len() > SharedKey::NAME_BYTES_MAX {
            return Err(Refusal::Invalid("the sealed name is too long".into()).into());
        }
        document.name.clone_from(name);
    }
    let attributes = &mut document.attributes;
    attributes.category = change.category.unwrap_or(attributes.category);
    attributes.doc_type = change.doc_type.unwrap_or(attributes.doc_type);
    attributes.expires_on = change.expires_on.unwrap_or(attributes.expires_on);
    if let Some(labels) = &change.labels {
        if !Attributes::labels_are_sound(labels) {
            return Err(DocumentRefusal::Labels.into());
        }
        attributes.labels.clone_from(labels);
    }
    if let Some(shareable) = change.shareable {
        attributes.shareable = shareable;
        if !shareable {
            ended = sharing::ending::end_of_document(tx, now, change.vault, change.document, EndReason::NotShareable)?;
        }
    }
    save(tx, now, &mut document)?;
    Ok(Outcome::Document(DocumentOutcome::Changed { document: Box::new(document), ended }))
}

fn trash(tx: &mut Transaction<'_>, now: TimeMs, vault: VaultId, id: DocumentId, revision: u64) -> Result<Outcome, Stop> {
    let mut document = find(tx, vault, id, revision, Action::Trash)?;
    let erase_ms = now.saturating_add(TRASH_KEPT_MS);
    document.state = DocumentState::Trashed { since_ms: now, erase_ms };
    save(tx, now, &mut document)?;
    due::schedule(tx, erase_ms, &keys::document(vault, id));
    Ok(changed(document))
}

/// The state of a document in use, by what is known of its newest version.
pub(super) fn state_in_use(now: TimeMs, scan: &Scan) -> DocumentState {
    match scan {
        Scan::Pending => DocumentState::PendingScan,
        Scan::NotAsked | Scan::Clean(_) => DocumentState::Available,
        Scan::Infected { .. } => DocumentState::Quarantined { since_ms: now },
    }
}

fn restore(tx: &mut Transaction<'_>, now: TimeMs, vault: VaultId, id: DocumentId, revision: u64) -> Result<Outcome, Stop> {
    let mut document = find(tx, vault, id, revision, Action::Restore)?;
    if let DocumentState::Trashed { erase_ms, .. } = document.state
        && erase_ms <= now
    {
        // Its erasure may have begun.
        return Err(DocumentRefusal::Denied(Denial::Gone).into());
    }
    document.state = state_in_use(now, &document.current.scan);
    save(tx, now, &mut document)?;
    Ok(changed(document))
}

fn restore_version(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    (vault, id, revision): (VaultId, DocumentId, u64),
    number: u32,
) -> Result<Outcome, Stop> {
    let mut document = find(tx, vault, id, revision, Action::AddVersion)?;
    let old = codec::load::<Version>(tx, &keys::version(vault, id, number))?.ok_or(DocumentRefusal::VersionUnknown)?;
    if !old.scan.is_readable() {
        return Err(DocumentRefusal::Denied(Denial::Forbidden(Reason::Quarantined)).into());
    }
    if has_all_versions(&document) {
        return Err(DocumentRefusal::TooManyVersions.into());
    }
    let mut owner = codec::load::<Vault>(tx, &keys::vault(vault))?.ok_or(Refusal::VaultUnknown)?;
    take_quota(&mut owner, old.size)?;
    tx.store(keys::vault(vault), &owner)?;
    notice::quota(tx, now, &owner)?;
    retain_blob(tx, old.blob)?;
    document.current = Version { number: document.current.number.saturating_add(1), created_ms: now, ..old };
    document.state = state_in_use(now, &document.current.scan);
    tx.store(keys::version(vault, id, document.current.number), &document.current)?;
    save(tx, now, &mut document)?;
    Ok(changed(document))
}

fn note_scan(tx: &mut Transaction<'_>, now: TimeMs, vault: VaultId, id: DocumentId, number: u32, scan: &Scan) -> Result<Outcome, Stop> {
    if !scan.is_sound() || matches!(scan, Scan::NotAsked | Scan::Pending) {
        return Err(DocumentRefusal::NoScan.into());
    }
    let mut document = codec::load::<Document>(tx, &keys::document(vault, id))?.ok_or(Refusal::DocumentUnknown)?;
    let key = keys::version(vault, id, number);
    let mut version = codec::load::<Version>(tx, &key)?.ok_or(DocumentRefusal::VersionUnknown)?;
    if matches!(scan, Scan::Infected { .. }) && !matches!(version.scan, Scan::Infected { .. }) {
        notice::put(tx, now, NewNotice { vault, kind: NoticeKind::MalwareRefused, document: Some(id), details: None })?;
    }
    version.scan = scan.clone();
    tx.store(key, &version)?;
    if number == document.current.number {
        document.current = version;
        let state = match (document.state, state_in_use(now, scan)) {
            // What is in the trash stays there: restoring it looks at the scan.
            (kept @ DocumentState::Trashed { .. }, _) | (kept @ DocumentState::Quarantined { .. }, DocumentState::Quarantined { .. }) => {
                kept
            }
            (_, state) => state,
        };
        if state == document.state {
            // Nobody's ETag changes because of a scan that only confirms.
            tx.store(keys::document(vault, id), &document)?;
        } else {
            document.state = state;
            save(tx, now, &mut document)?;
        }
    }
    let shares = codec::load_range::<Share>(tx, &keys::shares_of(vault, id), Share::PER_DOCUMENT_MAX)?;
    let readers = shares.into_iter().map(|(_, share)| share).filter(|share| share.state == ShareState::Accepted);
    let readers = readers.map(|share| share.recipient).collect();
    Ok(Outcome::Document(DocumentOutcome::Scanned { document: Box::new(document), readers }))
}

/// The newest version's number is how many there were: versions are not removed one by one from a document in use.
pub(super) fn has_all_versions(document: &Document) -> bool {
    usize::try_from(document.current.number).unwrap_or(usize::MAX) >= VERSIONS_MAX
}

/// Whether there is room for so many bytes more.
pub(super) fn check_room(vault: &Vault, bytes: u64) -> Result<(), Refusal> {
    let wanted = vault.used_bytes.checked_add(vault.reserved_bytes).and_then(|sum| sum.checked_add(bytes));
    if wanted.is_none_or(|wanted| wanted > vault.quota_bytes) {
        return Err(Refusal::QuotaExceeded {
            used_bytes: vault.used_bytes,
            reserved_bytes: vault.reserved_bytes,
            limit_bytes: vault.quota_bytes,
        });
    }
    Ok(())
}

/// Counts bytes as used, if there is room.
pub(super) fn take_quota(vault: &mut Vault, bytes: u64) -> Result<(), Refusal> {
    check_room(vault, bytes)?;
    vault.used_bytes += bytes;
    Ok(())
}

/// One version more names a blob.
pub(super) fn retain_blob(tx: &mut Transaction<'_>, id: BlobId) -> Result<(), Stop> {
    let key = keys::blob(id);
    let mut blob = codec::load::<Blob>(tx, &key)?.ok_or(Refusal::BlobChanged)?;
    blob.references += 1;
    tx.store(key, &blob)?;
    Ok(())
}

/// One version fewer names a blob; with the last the blob goes, and reconcile collects its shards.
fn release_blob(tx: &mut Transaction<'_>, id: BlobId) -> Result<(), StoreError> {
    let key = keys::blob(id);
    let Some(mut blob) = codec::load::<Blob>(tx, &key)? else { return Ok(()) };
    blob.references = blob.references.saturating_sub(1);
    if blob.references == 0 {
        tx.delete(key);
        tx.delete(keys::unsettled(id));
        Ok(())
    } else {
        tx.store(key, &blob)
    }
}

pub(super) fn delete(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    vault: VaultId,
    id: DocumentId,
    revision: u64,
    trail: &Trail,
) -> Result<Outcome, StoreError> {
    answer(erase(tx, now, (vault, id, revision), trail))
}

fn erase(tx: &mut Transaction<'_>, now: TimeMs, (vault, id, revision): (VaultId, DocumentId, u64), trail: &Trail) -> Result<Outcome, Stop> {
    let document = find(tx, vault, id, revision, Action::Erase)?;
    if codec::load::<Vault>(tx, &keys::vault(vault))?.is_none() {
        return Err(Refusal::VaultUnknown.into());
    }
    erase_piece(tx, now, &document, VERSIONS_MAX)?;
    log::record(tx, now, Event { kind: EventKind::Erased, vault: Some(vault), document: Some(id), trail: trail.clone() })?;
    Ok(Outcome::Done)
}

/// Erases up to `limit` versions, oldest first, and with the last the document. Says whether it is gone.
pub(super) fn erase_piece(tx: &mut Transaction<'_>, now: TimeMs, document: &Document, limit: usize) -> Result<bool, StoreError> {
    let (vault, id) = (document.vault, document.id);
    let Some(mut owner) = codec::load::<Vault>(tx, &keys::vault(vault))? else { return Ok(true) };
    sharing::ending::end_of_document(tx, now, vault, id, EndReason::Erased)?;
    let versions = codec::load_range::<Version>(tx, &keys::versions(vault, id), limit.saturating_add(1))?;
    let gone = versions.len() <= limit;
    for (key, version) in versions.into_iter().take(limit) {
        owner.used_bytes = owner.used_bytes.saturating_sub(version.size);
        tx.delete(key);
        release_blob(tx, version.blob)?;
    }
    if gone {
        owner.documents = owner.documents.saturating_sub(1);
        tx.delete(keys::document(vault, id));
        notice::put(tx, now, NewNotice { vault, kind: NoticeKind::ErasureDone, document: Some(id), details: None })?;
    }
    note_change(tx, vault)?;
    tx.store(keys::vault(vault), &owner)?;
    notice::quota(tx, now, &owner)?;
    Ok(gone)
}

/// What stayed in the trash for its time is erased, a bounded piece at a time.
pub(super) fn due(tx: &mut Transaction<'_>, now: TimeMs, request: u128, key: &[u8]) -> Result<(), StoreError> {
    if let Some(document) = codec::load::<Document>(tx, key)?
        && let DocumentState::Trashed { erase_ms, .. } = document.state
        && erase_ms <= now
    {
        if erase_piece(tx, now, &document, ERASE_PIECE)? {
            let (vault, document, trail) = (Some(document.vault), Some(document.id), log::of_due_work(request, key));
            log::record(tx, now, Event { kind: EventKind::Erased, vault, document, trail })?;
        } else {
            due::schedule(tx, now.saturating_add(1), key);
        }
    }
    Ok(())
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
