//! Reads of the state, by id and by list.
//!
//! Holds: each function reads one record or one range, so its answer is of one instant.

use kluis_chunkstore::{
    ids::{BlobId, DiskId, NodeId},
    topology::Topology,
};

use crate::{
    codec::{self, AccountRef, ServiceRef, SessionRef},
    keys::{self, Table},
    log::merkle::{Hash, Position},
    model::{
        Account, AccountId, Blob, ClusterRecord, Contents, DiskRecord, Document, DocumentId, HistoryEntry, IdempotencyRecord, LogRecord,
        NodeRecord, SecretHash, Service, ServiceId, Session, SessionId, Upload, UploadId, Vault, VaultId, Version,
    },
    store::{Read, StoreError},
};

pub mod notice;
pub mod office;
pub mod people;
pub mod sharing;

/// The cluster's facts and settings.
pub fn cluster(read: &dyn Read) -> Result<Option<ClusterRecord>, StoreError> {
    codec::load(read, &keys::cluster())
}

/// The node of an id.
pub fn node(read: &dyn Read, id: NodeId) -> Result<Option<NodeRecord>, StoreError> {
    codec::load(read, &keys::node(id))
}

/// All nodes, by id.
pub fn nodes(read: &dyn Read) -> Result<Vec<NodeRecord>, StoreError> {
    values(codec::load_range(read, &keys::table_range(Table::Node), 10_000)?)
}

/// The disk of an id.
pub fn disk(read: &dyn Read, id: DiskId) -> Result<Option<DiskRecord>, StoreError> {
    codec::load(read, &keys::disk(id))
}

/// All disks, by id.
pub fn disks(read: &dyn Read) -> Result<Vec<DiskRecord>, StoreError> {
    values(codec::load_range(read, &keys::table_range(Table::Disk), 100_000)?)
}

/// The topology in force.
pub fn topology(read: &dyn Read) -> Result<Option<Topology>, StoreError> {
    let (start, end) = keys::table_range(Table::Topology);
    match read.scan_back(&start, &end, 1)?.pop() {
        Some((key, bytes)) => codec::decode(&key, &bytes).map(Some),
        None => Ok(None),
    }
}

/// A topology of the past or present.
pub fn topology_at(read: &dyn Read, version: u64) -> Result<Option<Topology>, StoreError> {
    codec::load(read, &keys::topology(version))
}

/// The session behind a token's hash; it may have expired: compare with [`ClusterRecord::clock_ms`] and the
/// own clock.
pub fn session(read: &dyn Read, id: &SessionId) -> Result<Option<Session>, StoreError> {
    codec::load(read, &keys::session(id))
}

/// All sessions of an account.
pub fn sessions(read: &dyn Read, account: AccountId) -> Result<Vec<Session>, StoreError> {
    let mut sessions = Vec::new();
    for (_, SessionRef(id)) in codec::load_range(read, &keys::sessions_of(account), 1000)? {
        sessions.extend(session(read, &id)?);
    }
    Ok(sessions)
}

/// An account.
pub fn account(read: &dyn Read, id: AccountId) -> Result<Option<Account>, StoreError> {
    codec::load(read, &keys::account(id))
}

/// The account of a keyed hash of a national number.
pub fn account_of(read: &dyn Read, lookup: &[u8; 32]) -> Result<Option<Account>, StoreError> {
    match codec::load::<AccountRef>(read, &keys::lookup(lookup))? {
        Some(AccountRef(id)) => account(read, id),
        None => Ok(None),
    }
}

/// A service of a vault.
pub fn service(read: &dyn Read, vault: VaultId, id: ServiceId) -> Result<Option<Service>, StoreError> {
    codec::load(read, &keys::service(vault, id))
}

/// All services of a vault, oldest first.
pub fn services(read: &dyn Read, vault: VaultId) -> Result<Vec<Service>, StoreError> {
    values(codec::load_range(read, &keys::services(vault), 1000)?)
}

/// The service behind a secret's hash; it, or the secret, may have expired: ask [`Service::accepts`].
pub fn service_of(read: &dyn Read, hash: &SecretHash) -> Result<Option<Service>, StoreError> {
    match codec::load::<ServiceRef>(read, &keys::service_secret(hash))? {
        Some(found) => service(read, found.vault, found.service),
        None => Ok(None),
    }
}

/// A vault.
pub fn vault(read: &dyn Read, id: VaultId) -> Result<Option<Vault>, StoreError> {
    codec::load(read, &keys::vault(id))
}

/// A document of a vault.
pub fn document(read: &dyn Read, vault: VaultId, id: DocumentId) -> Result<Option<Document>, StoreError> {
    codec::load(read, &keys::document(vault, id))
}

/// Up to `limit` documents of a vault, newest first, those before (older than) `before`.
pub fn documents(read: &dyn Read, vault: VaultId, before: Option<DocumentId>, limit: usize) -> Result<Vec<Document>, StoreError> {
    let (start, end) = keys::documents(vault);
    let end = before.map_or(end, |id| keys::document(vault, id));
    read.scan_back(&start, &end, limit)?.into_iter().map(|(k, v)| codec::decode(&k, &v)).collect()
}

/// How often the documents of a vault changed: equal counts, equal documents.
pub fn contents(read: &dyn Read, vault: VaultId) -> Result<u64, StoreError> {
    Ok(codec::load::<Contents>(read, &keys::contents(vault))?.unwrap_or_default().0)
}

/// A version of a document.
pub fn version(read: &dyn Read, vault: VaultId, id: DocumentId, number: u32) -> Result<Option<Version>, StoreError> {
    codec::load(read, &keys::version(vault, id, number))
}

/// Up to `limit` versions of a document, oldest first.
pub fn versions(read: &dyn Read, vault: VaultId, id: DocumentId, limit: usize) -> Result<Vec<Version>, StoreError> {
    values(codec::load_range(read, &keys::versions(vault, id), limit)?)
}

/// A blob.
pub fn blob(read: &dyn Read, id: BlobId) -> Result<Option<Blob>, StoreError> {
    codec::load(read, &keys::blob(id))
}

/// Up to `limit` blobs from an id on.
pub fn blobs(read: &dyn Read, from: BlobId, limit: usize) -> Result<Vec<Blob>, StoreError> {
    values(codec::load_range(read, &keys::blobs_from(from), limit)?)
}

/// Whether a blob's id is reserved by a running upload.
pub fn is_reserved(read: &dyn Read, id: BlobId) -> Result<bool, StoreError> {
    Ok(read.get(&keys::reserved(id))?.is_some())
}

/// Up to `limit` blobs that reconcile has not confirmed, from an id on.
pub fn unsettled(read: &dyn Read, from: BlobId, limit: usize) -> Result<Vec<BlobId>, StoreError> {
    let (_, end) = keys::table_range(Table::Unsettled);
    Ok(read.scan(&keys::unsettled(from), &end, limit)?.into_iter().filter_map(|(k, _)| keys::id_at_end(&k)).map(BlobId).collect())
}

/// A running upload.
pub fn upload(read: &dyn Read, id: UploadId) -> Result<Option<Upload>, StoreError> {
    codec::load(read, &keys::upload(id))
}

/// All running uploads, up to `limit`.
pub fn uploads(read: &dyn Read, limit: usize) -> Result<Vec<Upload>, StoreError> {
    values(codec::load_range(read, &keys::table_range(Table::Upload), limit)?)
}

/// What an `Idempotency-Key` was used for.
pub fn idempotency(read: &dyn Read, hash: &[u8; 32]) -> Result<Option<IdempotencyRecord>, StoreError> {
    codec::load(read, &keys::idempotency(hash))
}

/// The log's record; an empty log before the first event.
pub fn log(read: &dyn Read) -> Result<LogRecord, StoreError> {
    Ok(codec::load(read, &keys::log())?.unwrap_or_default())
}

/// A hash of the log's tree.
pub fn log_hash(read: &dyn Read, position: Position) -> Result<Option<Hash>, StoreError> {
    let key = keys::log_hash(position);
    let Some(bytes) = read.get(&key)? else { return Ok(None) };
    let damaged = |_| StoreError::Damaged { key: hex::encode(&key), why: "a hash has 32 bytes".into() };
    Hash::try_from(bytes.as_slice()).map(Some).map_err(damaged)
}

/// An entry of the log.
pub fn log_leaf(read: &dyn Read, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
    read.get(&keys::log_leaf(index))
}

/// Entries of the log from one place to before another.
pub fn log_leaves(read: &dyn Read, from: u64, to: u64) -> Result<Vec<Vec<u8>>, StoreError> {
    let (start, end) = keys::log_leaves(from, to);
    let limit = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
    Ok(read.scan(&start, &end, limit)?.into_iter().map(|(_, leaf)| leaf).collect())
}

/// Up to `limit` events of a vault's history, newest first, those before a place in the log.
pub fn history(read: &dyn Read, vault: VaultId, before: u64, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
    let (start, end) = keys::histories(Some(vault), before);
    read.scan_back(&start, &end, limit)?.into_iter().map(|(k, v)| codec::decode(&k, &v)).collect()
}

/// Up to `limit` events of a document, newest first, those before a place in the log. A document that was erased
/// still has them.
pub fn document_history(
    read: &dyn Read,
    vault: VaultId,
    document: DocumentId,
    before: u64,
    limit: usize,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let (start, end) = keys::document_histories(vault, document, before);
    let mut found = Vec::new();
    for (key, _) in read.scan_back(&start, &end, limit)? {
        if let Some(index) = keys::index_at_end(&key) {
            found.extend(codec::load::<HistoryEntry>(read, &keys::history(Some(vault), index))?);
        }
    }
    Ok(found)
}

#[allow(clippy::unnecessary_wraps)]
fn values<T>(entries: Vec<(Vec<u8>, T)>) -> Result<Vec<T>, StoreError> {
    Ok(entries.into_iter().map(|(_, value)| value).collect())
}
