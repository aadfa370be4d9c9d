//! What must hold in every state: run after each command in tests, and by the offline checker.
//!
//! 1. `used + reserved <= quota` for every vault.
//! 2. `used` is the sum of the sizes of its versions; `reserved` the sum of its uploads' reservations;
//!    `documents` their number.
//! 3. Every version has its blob, with the same size; a blob counts the versions that name it, and there is one.
//! 4. A blob is marked unsettled if and only if its record says so.
//! 5. A blob id is marked reserved if and only if a running upload holds it.
//! 6. A document's newest version is stored among its versions too.
//! 7. Every session's account exists and finds it by its public id.
//! 8. Runs of uploads and blobs rise and are few; no run of an upload begins past the chunk that is written next.
//! 9. A live share is of a document that exists and is shareable, the only one of it with its recipient, counted with
//!    the pair; its marks (waiting, opened) and the recipient's entry are those of its state, and no others exist.
//! 10. Nobody's part of the state mentions a share of another's that is not listed, but as a former one.
//! 11. A link is found by its hash, and what a hash finds is a link; it was opened at most as often as it may be.
//! 12. Every service is found by each of its one or two secrets, and every secret leads to a service that has it.
//! 13. A vault that is closing has neither key nor account; until it is gone all of this holds for it too.
//! 14. The log's edge has the root of its entries, each hash by position is that of the entries below it, and every
//!     event of a history is the entry at its place.
//! 15. A vault's notices and waiting deliveries are as many as are counted; a delivery that waits is in its queue at its
//!     time, and nothing else is.
//! 16. A contact lies in both vaults with one id that finds it, and nobody blocked the other; an invitation is found by
//!     its code, and one to an address is open; a thread and a list lie in both vaults. An office is found by its
//!     number and has a vault of its own; its staff are found by their hash; no chain of successors leads back.

use std::collections::BTreeMap;

use crate::{
    codec::{self},
    keys::{self, Table},
    log::merkle::{Edge, leaf_hash},
    model::{Account, Blob, Closing, Document, HistoryEntry, Session, Upload, Vault, VaultId, Version},
    store::{Read, StoreError},
    view,
};

mod notice;
mod people;
mod sharing;

/// Most entries that the check reads of one table.
const LIMIT: usize = 10_000_000;

/// Everything that does not hold, for people; empty when all is well.
///
/// # Errors
/// The store failed or a record is damaged.
pub fn violations(read: &dyn Read) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    let accounts: Vec<Account> = codec::load_range(read, &keys::table_range(Table::Account), LIMIT)?.into_iter().map(|(_, a)| a).collect();
    let uploads: Vec<Upload> = codec::load_range(read, &keys::table_range(Table::Upload), LIMIT)?.into_iter().map(|(_, u)| u).collect();
    let blobs: BTreeMap<_, Blob> =
        codec::load_range::<Blob>(read, &keys::table_range(Table::Blob), LIMIT)?.into_iter().map(|(_, b)| (b.id, b)).collect();
    let mut versions_of_blobs = BTreeMap::new();

    for account in &accounts {
        match view::vault(read, account.vault)? {
            None => found.push(format!("{account:?} has no vault")),
            Some(vault) => {
                check_vault(read, &vault, &uploads, &blobs, &mut versions_of_blobs, &mut found)?;
                sharing::check(read, vault.id, &mut found)?;
                notice::check(read, vault.id, &mut found)?;
            }
        }
    }
    for (key, _) in codec::load_range::<Closing>(read, &keys::table_range(Table::Closing), LIMIT)? {
        let vault = keys::id_at_end(&key).map(VaultId);
        if let Some(vault) = vault.map(|id| view::vault(read, id)).transpose()?.flatten() {
            check_vault(read, &vault, &uploads, &blobs, &mut versions_of_blobs, &mut found)?;
            sharing::check(read, vault.id, &mut found)?;
            if !vault.keys.is_empty() || accounts.iter().any(|account| account.vault == vault.id) {
                found.push(format!("{:?} is closing and still has its key or its account", vault.id));
            }
        }
    }
    let offices = view::office::offices(read)?;
    for office in &offices {
        match view::vault(read, office.vault)? {
            Some(vault) if vault.owner.0 == office.id.0 => {
                check_vault(read, &vault, &uploads, &blobs, &mut versions_of_blobs, &mut found)?;
                sharing::check(read, vault.id, &mut found)?;
            }
            other => found.push(format!("{:?} has the vault {other:?}", office.id)),
        }
    }
    people::check(read, &accounts, &offices, &mut found)?;
    for upload in &uploads {
        let next = upload.next_position();
        if !upload.runs.is_sound() || upload.runs.attempt(next) != upload.runs.current() {
            found.push(format!("{:?}: its next chunk is {next}, its attempts {:?}", upload.id, upload.runs));
        }
    }
    for blob in blobs.values() {
        if !blob.runs.is_sound() {
            found.push(format!("blob {}: its attempts are {:?}", blob.id, blob.runs));
        }
        let named = versions_of_blobs.get(&blob.id).copied().unwrap_or(0);
        if named == 0 || named != blob.references {
            found.push(format!("blob {} is named by {named} versions, and counts {}", blob.id, blob.references));
        }
        if read.get(&keys::unsettled(blob.id))?.is_some() == blob.settled {
            found.push(format!("blob {}: settled is {} but the mark says otherwise", blob.id, blob.settled));
        }
    }
    let (start, end) = keys::table_range(Table::Unsettled);
    for (key, _) in read.scan(&start, &end, LIMIT)? {
        if !keys::id_at_end(&key).is_some_and(|id| blobs.contains_key(&kluis_chunkstore::ids::BlobId(id))) {
            found.push("a mark of an unsettled blob that does not exist".into());
        }
    }
    let (start, end) = keys::table_range(Table::Reserved);
    let reserved = read.scan(&start, &end, LIMIT)?;
    if reserved.len() != uploads.len() {
        found.push(format!("{} reserved blob ids for {} uploads", reserved.len(), uploads.len()));
    }
    for upload in &uploads {
        if !view::is_reserved(read, upload.blob)? {
            found.push(format!("{:?} has no reserved blob id", upload.id));
        }
    }
    sharing::check_hashes(read, &mut found)?;
    notice::check_queues(read, &mut found)?;
    for (_, session) in codec::load_range::<Session>(read, &keys::table_range(Table::Session), LIMIT)? {
        if view::account(read, session.account)?.is_none() || read.get(&keys::session_of(session.account, session.public_id))?.is_none() {
            found.push(format!("{:?} is not found from its account", session.id));
        }
    }
    let mut secrets = 0;
    for account in &accounts {
        for service in view::services(read, account.vault)? {
            secrets += service.secrets.len();
            for secret in &service.secrets {
                if view::service_of(read, &secret.hash)?.as_ref() != Some(&service) {
                    found.push(format!("{:?} is not found by one of its secrets", service.id));
                }
            }
            if !(1..=2).contains(&service.secrets.len()) {
                found.push(format!("{:?} has {} secrets", service.id, service.secrets.len()));
            }
        }
    }
    let (start, end) = keys::table_range(Table::ServiceSecret);
    let kept = read.scan(&start, &end, LIMIT)?.len();
    if kept != secrets {
        found.push(format!("{kept} secrets are kept for services that have {secrets}"));
    }
    let vaults: Vec<VaultId> = accounts.iter().map(|a| a.vault).chain(offices.iter().map(|o| o.vault)).collect();
    check_log(read, &vaults, &mut found)?;
    Ok(found)
}

fn check_log(read: &dyn Read, vaults: &[VaultId], found: &mut Vec<String>) -> Result<(), StoreError> {
    let log = view::log(read)?;
    let leaves = view::log_leaves(read, 0, u64::MAX)?;
    let mut edge = Edge::default();
    for leaf in &leaves {
        for (position, hash) in edge.push(leaf_hash(leaf)) {
            if view::log_hash(read, position)? != Some(hash) {
                found.push(format!("the log's hash at {position:?} is not that of its entries"));
            }
        }
    }
    if edge != log.edge {
        found.push(format!("the log's edge, of {} entries, is not that of the {} that there are", log.edge.size(), edge.size()));
    }
    let mut told = 0;
    for vault in vaults.iter().copied().map(Some).chain([None]) {
        for (_, entry) in codec::load_range::<HistoryEntry>(read, &keys::histories(vault, u64::MAX), LIMIT)? {
            told += 1;
            let leaf = usize::try_from(entry.index).ok().and_then(|index| leaves.get(index));
            if leaf != Some(&entry.leaf()) || entry.event.vault != vault {
                found.push(format!("event {} of {vault:?} is not the log's entry", entry.index));
            }
        }
    }
    // An event of a vault that nobody has is in no history that was walked.
    if told > leaves.len() {
        found.push(format!("{told} events in histories, {} entries", leaves.len()));
    }
    Ok(())
}

fn check_vault(
    read: &dyn Read,
    vault: &Vault,
    uploads: &[Upload],
    blobs: &BTreeMap<kluis_chunkstore::ids::BlobId, Blob>,
    versions_of_blobs: &mut BTreeMap<kluis_chunkstore::ids::BlobId, u64>,
    found: &mut Vec<String>,
) -> Result<(), StoreError> {
    if vault.used_bytes.checked_add(vault.reserved_bytes).is_none_or(|sum| sum > vault.quota_bytes) {
        found.push(format!("{:?}: {} used and {} reserved of {}", vault.id, vault.used_bytes, vault.reserved_bytes, vault.quota_bytes));
    }
    let mut used = 0u64;
    let documents = documents(read, vault.id)?;
    for document in &documents {
        let versions = view::versions(read, vault.id, document.id, LIMIT)?;
        if versions.last() != Some(&document.current) {
            found.push(format!("{:?}: the newest version is not stored", document.id));
        }
        for Version { blob, size, .. } in &versions {
            used = used.saturating_add(*size);
            *versions_of_blobs.entry(*blob).or_insert(0) += 1;
            if blobs.get(blob).map(|b| b.size) != Some(*size) {
                found.push(format!("{:?}: blob {blob} is missing or of another size", document.id));
            }
        }
    }
    if used != vault.used_bytes {
        found.push(format!("{:?}: {used} bytes of versions, {} used", vault.id, vault.used_bytes));
    }
    let reserved: u64 = uploads.iter().filter(|u| u.vault == vault.id).map(|u| u.reserved_bytes).sum();
    if reserved != vault.reserved_bytes {
        found.push(format!("{:?}: {reserved} bytes of uploads, {} reserved", vault.id, vault.reserved_bytes));
    }
    if documents.len() as u64 != vault.documents {
        found.push(format!("{:?}: {} documents, {} counted", vault.id, documents.len(), vault.documents));
    }
    Ok(())
}

fn documents(read: &dyn Read, vault: VaultId) -> Result<Vec<Document>, StoreError> {
    view::documents(read, vault, None, LIMIT)
}
