//! Commands about uploads: reservation, progress, commit, giving up.
//!
//! Holds: `used + reserved <= quota` for every vault after every command; a blob id is reserved before
//! any shard of it is stored, and stays so until it is committed or given up, so that reconcile can tell
//! an orphan from a shard on its way; a chunk's id is of one content: a writer that breaks off leaves itself in
//! the record, the next one gets a new attempt, and who lost an upload never has it back.

use kluis_chunkstore::ids::ChunkId;

use super::{
    document::{allowed, check_room, has_all_versions, note_change, state_in_use},
    due, log, notice, refused, sharing,
    stop::{Stop, settle},
};
use crate::{
    codec,
    command::{AdvanceUpload, BeginUpload, CommitUpload},
    keys,
    model::{
        Attributes, Blob, BlobLayout, Document, DocumentId, Event, EventKind, IdempotencyRecord, IdempotencyState, Origin, Runs, Scan,
        Sealed, TimeMs, TooManyAttempts, Upload, UploadId, UploadTarget, Vault, VaultId, Version,
    },
    outcome::{DocumentRefusal, Outcome, Refusal},
    policy::Action,
    store::{Read, StoreError, Transaction},
    view::sharing::is_closing,
};

/// How long an `Idempotency-Key` is remembered.
pub const IDEMPOTENCY_LIFETIME_MS: u64 = 24 * 3600 * 1000;
/// Longest that an upload lives without progress.
pub const UPLOAD_LIFETIME_MAX_MS: u64 = 7 * 24 * 3600 * 1000;

pub(super) fn begin(tx: &mut Transaction<'_>, now: TimeMs, begin: &BeginUpload) -> Result<Outcome, StoreError> {
    let Some(mut vault) = codec::load::<Vault>(tx, &keys::vault(begin.vault))? else { return refused(Refusal::VaultUnknown) };
    if is_closing(tx, begin.vault)? {
        return refused(Refusal::VaultUnknown);
    }
    if let Some((hash, fingerprint)) = &begin.idempotency
        && let Some(record) = codec::load::<IdempotencyRecord>(tx, &keys::idempotency(hash))?
        && record.expires_ms > now
    {
        return if record.fingerprint == *fingerprint {
            Ok(Outcome::Repeated(record.state))
        } else {
            refused(Refusal::IdempotencyMismatch)
        };
    }
    if let UploadTarget::NewVersion { document, revision } = &begin.target {
        match codec::load::<Document>(tx, &keys::document(begin.vault, *document))? {
            None => return refused(Refusal::DocumentUnknown),
            Some(found) if found.revision != *revision => return refused(Refusal::RevisionMismatch { actual: found.revision }),
            Some(found) if has_all_versions(&found) => return refused(too_many_versions()),
            Some(found) => {
                if let Err(refusal) = allowed(&found, Action::AddVersion) {
                    return refused(refusal.into());
                }
            }
        }
    }
    if let Err(stop) = check_wishes(tx, now, begin) {
        return settle(Err(stop));
    }
    let taken = tx.get(&keys::upload(begin.upload))?.is_some()
        || tx.get(&keys::reserved(begin.blob))?.is_some()
        || tx.get(&keys::blob(begin.blob))?.is_some();
    if taken || begin.chunk_bytes == 0 {
        return refused(Refusal::Invalid("the upload's ids are taken".into()));
    }
    if let Err(refusal) = reserve(&mut vault, begin.reserve_bytes) {
        return refused(refusal);
    }
    tx.store(keys::vault(vault.id), &vault)?;
    let expires_ms = now.saturating_add(begin.lifetime_ms.min(UPLOAD_LIFETIME_MAX_MS));
    let upload = Upload {
        id: begin.upload,
        vault: begin.vault,
        account: begin.account,
        blob: begin.blob,
        target: begin.target.clone(),
        name: begin.name.clone(),
        wrapped_key: begin.wrapped_key.clone(),
        code: begin.code,
        chunk_bytes: begin.chunk_bytes,
        length: begin.length,
        expected_sha256: begin.expected_sha256,
        reserved_bytes: begin.reserve_bytes,
        offset: 0,
        hash_state: Sealed::default(),
        tail: None,
        layouts: Vec::new(),
        reduced: false,
        writer: None,
        expires_ms,
        idempotency: begin.idempotency.map(|(hash, _)| hash),
        resumable: begin.resumable,
        runs: Runs::default(),
        attributes: begin.attributes.clone(),
        shares: begin.shares.clone(),
    };
    let key = keys::upload(upload.id);
    tx.store(key.clone(), &upload)?;
    due::mark(tx, keys::reserved(upload.blob))?;
    due::schedule(tx, expires_ms, &key);
    if let Some((hash, fingerprint)) = begin.idempotency {
        let state =
            if begin.resumable { IdempotencyState::Created { upload: upload.id } } else { IdempotencyState::Running { upload: upload.id } };
        let expires_ms = now.saturating_add(IDEMPOTENCY_LIFETIME_MS);
        let key = keys::idempotency(&hash);
        tx.store(key.clone(), &IdempotencyRecord { fingerprint, state, expires_ms })?;
        due::schedule(tx, expires_ms, &key);
    }
    Ok(Outcome::Upload(Box::new(upload)))
}

/// What the owner says of the document, and whom it shall be shared with.
fn check_wishes(tx: &Transaction<'_>, now: TimeMs, begin: &BeginUpload) -> Result<(), Stop> {
    if !Attributes::labels_are_sound(&begin.attributes.labels) {
        return Err(DocumentRefusal::Labels.into());
    }
    if matches!(begin.target, UploadTarget::NewVersion { .. }) && !begin.shares.is_empty() {
        return Err(Refusal::Invalid("a new version keeps the document's shares and brings none".into()).into());
    }
    sharing::create::check(tx, now, begin.vault, begin.attributes.shareable, &begin.shares)
}

fn reserve(vault: &mut Vault, bytes: u64) -> Result<(), Refusal> {
    check_room(vault, bytes)?;
    vault.reserved_bytes += bytes;
    Ok(())
}

fn find(tx: &Transaction<'_>, id: UploadId) -> Result<Option<Upload>, StoreError> {
    codec::load(tx, &keys::upload(id))
}

/// See [`crate::command::Command::LockUpload`].
pub(super) struct Lock {
    pub(super) writer: u128,
    pub(super) lease_ms: u64,
    pub(super) renew: bool,
}

pub(super) fn lock(tx: &mut Transaction<'_>, now: TimeMs, id: UploadId, vault: VaultId, lock: &Lock) -> Result<Outcome, StoreError> {
    let Some(mut upload) = find(tx, id)?.filter(|u| u.vault == vault) else { return refused(Refusal::UploadUnknown) };
    match upload.writer {
        Some((holder, _)) if holder == lock.writer => {}
        // Others may have written meanwhile, and its chunks are of an attempt that is over.
        _ if lock.renew => return refused(Refusal::UploadBusy),
        Some((_, until)) if until > now => return refused(Refusal::UploadBusy),
        // It broke off, or is only slow: what it sent, or will send, must not meet what the new writer sends. Where all
        // bytes are there nothing more is sent.
        Some(_) if upload.length != Some(upload.offset) => {
            let from = upload.next_position();
            if let Err(TooManyAttempts) = upload.runs.raise(from) {
                return refused(Refusal::TooManyAttempts);
            }
        }
        Some(_) | None => {}
    }
    upload.writer = Some((lock.writer, now.saturating_add(lock.lease_ms.min(10 * 60 * 1000))));
    tx.store(keys::upload(id), &upload)?;
    Ok(Outcome::Upload(Box::new(upload)))
}

pub(super) fn extend(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    id: UploadId,
    reserved_bytes: u64,
    lifetime_ms: u64,
) -> Result<Outcome, StoreError> {
    let Some(mut upload) = find(tx, id)? else { return refused(Refusal::UploadUnknown) };
    let Some(mut vault) = codec::load::<Vault>(tx, &keys::vault(upload.vault))? else { return refused(Refusal::VaultUnknown) };
    if let Some(more) = reserved_bytes.checked_sub(upload.reserved_bytes) {
        if let Err(refusal) = reserve(&mut vault, more) {
            return refused(refusal);
        }
        tx.store(keys::vault(vault.id), &vault)?;
        upload.reserved_bytes = reserved_bytes;
    }
    upload.expires_ms = upload.expires_ms.max(now.saturating_add(lifetime_ms.min(UPLOAD_LIFETIME_MAX_MS)));
    tx.store(keys::upload(id), &upload)?;
    Ok(Outcome::Upload(Box::new(upload)))
}

/// Layouts of both lists, newest first, without repetition.
fn merge_layouts(newer: &[BlobLayout], older: &[BlobLayout]) -> Result<Vec<BlobLayout>, Refusal> {
    let mut all: Vec<BlobLayout> = Vec::new();
    for layout in newer.iter().chain(older) {
        if !all.contains(layout) {
            all.push(layout.clone());
        }
    }
    if all.len() > Blob::LAYOUTS_MAX { Err(Refusal::TooManyLayouts) } else { Ok(all) }
}

pub(super) fn advance(tx: &mut Transaction<'_>, now: TimeMs, step: &AdvanceUpload) -> Result<Outcome, StoreError> {
    let Some(mut upload) = find(tx, step.upload)? else { return refused(Refusal::UploadUnknown) };
    if upload.writer.map(|(holder, _)| holder) != Some(step.writer) {
        return refused(Refusal::UploadBusy);
    }
    if upload.offset != step.from || step.to < step.from {
        return refused(Refusal::OffsetMismatch { actual: upload.offset });
    }
    if let Some(length) = upload.length
        && step.to > length
    {
        return refused(Refusal::LengthMismatch { expected: length, actual: step.to });
    }
    if step.to > upload.reserved_bytes {
        return refused(Refusal::LengthMismatch { expected: upload.reserved_bytes, actual: step.to });
    }
    upload.layouts = match merge_layouts(&step.layouts, &upload.layouts) {
        Ok(layouts) => layouts,
        Err(refusal) => return refused(refusal),
    };
    upload.offset = step.to;
    upload.hash_state = step.hash_state.clone();
    upload.tail.clone_from(&step.tail);
    upload.reduced |= step.reduced;
    upload.expires_ms = upload.expires_ms.max(now.saturating_add(step.lifetime_ms.min(UPLOAD_LIFETIME_MAX_MS)));
    if step.unlock {
        upload.writer = None;
    }
    tx.store(keys::upload(upload.id), &upload)?;
    Ok(Outcome::Upload(Box::new(upload)))
}

pub(super) fn commit(tx: &mut Transaction<'_>, now: TimeMs, commit: &CommitUpload) -> Result<Outcome, StoreError> {
    let Some(upload) = find(tx, commit.upload)? else { return refused(Refusal::UploadUnknown) };
    let Some(mut vault) = codec::load::<Vault>(tx, &keys::vault(upload.vault))? else { return refused(Refusal::VaultUnknown) };
    if is_closing(tx, upload.vault)? {
        return refused(Refusal::VaultUnknown);
    }
    if let Some(expected) = upload.length
        && commit.size != expected
    {
        return refused(Refusal::LengthMismatch { expected, actual: commit.size });
    }
    if commit.size > upload.reserved_bytes {
        return refused(Refusal::LengthMismatch { expected: upload.reserved_bytes, actual: commit.size });
    }
    if upload.resumable && upload.offset != commit.size {
        return refused(Refusal::OffsetMismatch { actual: upload.offset });
    }
    if upload.expected_sha256.is_some_and(|expected| expected != commit.sha256) {
        return refused(Refusal::DigestMismatch);
    }
    if u64::from(commit.chunks) != commit.size.div_ceil(u64::from(upload.chunk_bytes.max(1))) {
        return refused(Refusal::Invalid("the number of chunks does not fit the size".into()));
    }
    if commit.chunks > ChunkId::POSITIONS {
        return refused(Refusal::Invalid("a blob has not so many chunks".into()));
    }
    if matches!(commit.scan, Scan::Infected { .. }) {
        return refused(DocumentRefusal::Malware.into());
    }
    if !commit.scan.is_sound() {
        return refused(DocumentRefusal::NoScan.into());
    }
    let reduced = commit.reduced || upload.reduced;
    if reduced && vault.strict {
        return refused(Refusal::ReducedRefused);
    }
    let layouts = match merge_layouts(&commit.layouts, &upload.layouts) {
        Ok(layouts) => layouts,
        Err(refusal) => return refused(refusal),
    };
    let document = match make_version(tx, now, &upload, commit, reduced)? {
        Ok(document) => document,
        Err(refusal) => return refused(refusal),
    };
    vault.reserved_bytes = vault.reserved_bytes.saturating_sub(upload.reserved_bytes);
    vault.used_bytes = vault.used_bytes.saturating_add(commit.size);
    vault.documents += u64::from(matches!(upload.target, UploadTarget::NewDocument(_)));
    tx.store(keys::vault(vault.id), &vault)?;
    notice::quota(tx, now, &vault)?;

    let settled = commit.settled && layouts.len() <= 1;
    let blob = Blob {
        id: upload.blob,
        vault: upload.vault,
        code: upload.code,
        chunks: commit.chunks,
        chunk_bytes: upload.chunk_bytes,
        size: commit.size,
        layouts,
        settled,
        runs: upload.runs.clone(),
        references: 1,
    };
    tx.store(keys::blob(blob.id), &blob)?;
    if !settled {
        due::mark(tx, keys::unsettled(blob.id))?;
    }
    tx.delete(keys::reserved(upload.blob));
    tx.delete(keys::upload(upload.id));
    if let Err(stop) = sharing::create::begin(tx, now, &document, &upload.shares) {
        return settle(Err(stop));
    }
    if let Some((hash, mut record)) = own_idempotency(tx, &upload)? {
        record.state = IdempotencyState::Committed { document: document.id, version: document.current.number, revision: document.revision };
        tx.store(keys::idempotency(&hash), &record)?;
    }
    let kind = match upload.target {
        UploadTarget::NewDocument(_) => EventKind::Uploaded,
        UploadTarget::NewVersion { .. } => EventKind::NewVersion,
    };
    let event = |kind, trail| Event { kind, vault: Some(upload.vault), document: Some(document.id), trail };
    log::record(tx, now, event(kind, commit.trail.clone()))?;
    if !upload.shares.is_empty() {
        log::record(tx, now, event(EventKind::ShareOffered, log::further(&commit.trail)))?;
    }
    Ok(Outcome::Committed(Box::new(document)))
}

fn make_version(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    upload: &Upload,
    commit: &CommitUpload,
    reduced: bool,
) -> Result<Result<Document, Refusal>, StoreError> {
    let version = |number: u32| Version {
        number,
        blob: upload.blob,
        size: commit.size,
        sha256: commit.sha256,
        wrapped_key: upload.wrapped_key.clone(),
        created_ms: now,
        reduced,
        scan: commit.scan.clone(),
    };
    let document = match &upload.target {
        UploadTarget::NewDocument(id) => {
            if taken(tx, upload.vault, *id)? {
                return Ok(Err(Refusal::Invalid("the document's id is taken".into())));
            }
            Document {
                id: *id,
                vault: upload.vault,
                name: upload.name.clone(),
                revision: 1,
                created_ms: now,
                updated_ms: now,
                current: version(1),
                attributes: upload.attributes.clone(),
                origin: Origin::Upload,
                state: state_in_use(now, &commit.scan),
            }
        }
        UploadTarget::NewVersion { document, revision } => match codec::load::<Document>(tx, &keys::document(upload.vault, *document))? {
            None => return Ok(Err(Refusal::DocumentUnknown)),
            Some(found) if found.revision != *revision => {
                return Ok(Err(Refusal::RevisionMismatch { actual: found.revision }));
            }
            Some(found) if has_all_versions(&found) => return Ok(Err(too_many_versions())),
            Some(mut found) => {
                if let Err(refusal) = allowed(&found, Action::AddVersion) {
                    return Ok(Err(refusal.into()));
                }
                found.state = state_in_use(now, &commit.scan);
                found.current = version(found.current.number.saturating_add(1));
                found.name = upload.name.clone();
                found.revision += 1;
                found.updated_ms = now;
                found
            }
        },
    };
    note_change(tx, upload.vault)?;
    tx.store(keys::document(upload.vault, document.id), &document)?;
    tx.store(keys::version(upload.vault, document.id, document.current.number), &document.current)?;
    Ok(Ok(document))
}

fn too_many_versions() -> Refusal {
    Refusal::Invalid("the document has as many versions as it may have; store the content as a new document".into())
}

/// The record of an upload's `Idempotency-Key`, unless that was forgotten and is another's by now.
fn own_idempotency(tx: &Transaction<'_>, upload: &Upload) -> Result<Option<([u8; 32], IdempotencyRecord)>, StoreError> {
    let Some(hash) = upload.idempotency else { return Ok(None) };
    let record = codec::load::<IdempotencyRecord>(tx, &keys::idempotency(&hash))?;
    let own = |state: &IdempotencyState| matches!(state, IdempotencyState::Running { upload: id } | IdempotencyState::Created { upload: id } if *id == upload.id);
    Ok(record.filter(|r| own(&r.state)).map(|r| (hash, r)))
}

pub(super) fn taken(tx: &Transaction<'_>, vault: VaultId, id: DocumentId) -> Result<bool, StoreError> {
    Ok(tx.get(&keys::document(vault, id))?.is_some())
}

pub(super) fn abort(tx: &mut Transaction<'_>, id: UploadId, vault: VaultId) -> Result<Outcome, StoreError> {
    match find(tx, id)?.filter(|u| u.vault == vault) {
        None => refused(Refusal::UploadUnknown),
        Some(upload) => {
            drop_upload(tx, &upload)?;
            Ok(Outcome::Done)
        }
    }
}

/// Ends an upload without a version: quota comes back, the blob's shards become orphans.
pub(super) fn drop_upload(tx: &mut Transaction<'_>, upload: &Upload) -> Result<(), StoreError> {
    if let Some(mut vault) = codec::load::<Vault>(tx, &keys::vault(upload.vault))? {
        vault.reserved_bytes = vault.reserved_bytes.saturating_sub(upload.reserved_bytes);
        tx.store(keys::vault(vault.id), &vault)?;
    }
    if let Some((hash, _)) = own_idempotency(tx, upload)? {
        tx.delete(keys::idempotency(&hash));
    }
    tx.delete(keys::reserved(upload.blob));
    tx.delete(keys::upload(upload.id));
    Ok(())
}
