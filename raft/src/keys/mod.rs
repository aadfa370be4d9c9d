//! Keys of the state: where each record lies in the ordered map.
//!
//! Layout of every key:
//!
//! | offset | size | field | why here |
//! |---|---|---|---|
//! | 0 | 16 | owner: a vault's id, or zeros for the cluster | one vault is one contiguous range, so that the group can be split by vault |
//! | 16 | 1 | table | one table of one owner is one contiguous range |
//! | 17 | 0..32 | the record's own key, big-endian | order of keys = order of ids |
//!
//! Holds: (1) no two tables share a tag; (2) byte order is the order that lists are given in;
//! (3) every key is made here and nowhere else.

use kluis_chunkstore::ids::{BlobId, DiskId, NodeId};

use crate::{
    log::merkle::Position,
    model::{AccountId, DocumentId, SecretHash, ServiceId, SessionId, TimeMs, TokenHash, UploadId, VaultId},
};

mod notice;
mod people;
mod sharing;

pub use notice::{deliveries, deliveries_due, delivery, delivery_due, delivery_due_parts, notice, notice_box, notices, webhook, webhooks};
pub use people::{
    block, blocks, contact, contact_by_id, contacts, contacts_by_id, invitation, invitation_by_code, invitation_to, invitations,
    invitations_to, office, office_by_register, reference, request_list, request_lists, staff, staff_all, staff_of, staff_of_any, thread,
    thread_message, thread_messages, thread_with, threads,
};

pub use sharing::{
    death, former, given, given_between, given_by, incoming, incoming_of, link, link_by_hash, links_of, opened, opened_of, pair, share,
    shares_of, shares_of_vault, waiting, waiting_of,
};

/// The owner of records that belong to no vault.
const CLUSTER: [u8; 16] = [0; 16];

/// Tables, by tag. Tags are for ever: a dropped table's tag is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// The one record of the cluster.
    Cluster = 1,
    /// Nodes by id.
    Node = 2,
    /// Disks by id.
    Disk = 3,
    /// Join tokens by hash.
    Token = 4,
    /// Topologies by version.
    Topology = 5,
    /// Accounts by id.
    Account = 6,
    /// Account ids by keyed hash of the national number.
    Lookup = 7,
    /// Sessions by hash.
    Session = 8,
    /// Session hashes by account and public id.
    SessionOf = 9,
    /// Used login attempts.
    Attempt = 10,
    /// Answers given, by request id.
    Request = 11,
    /// Due work by time.
    Due = 12,
    /// Uploads by id.
    Upload = 13,
    /// Blobs by id.
    Blob = 14,
    /// Idempotency records by hash.
    Idempotency = 15,
    /// Blobs that reconcile has not confirmed.
    Unsettled = 16,
    /// Blob ids reserved by uploads.
    Reserved = 17,
    /// Vaults that are being erased.
    Closing = 18,
    /// The vault record itself.
    Vault = 32,
    /// Documents of a vault.
    Document = 33,
    /// Versions of a vault's documents.
    Version = 34,
    /// How often a vault's documents changed.
    Contents = 35,
    /// Shares of a vault's documents, by document; those that ended are kept a while.
    Share = 40,
    /// In the recipient's vault: shares that there is something to see of.
    Incoming = 41,
    /// In the recipient's vault: shares that were seen and ended.
    Former = 42,
    /// Live shares of a vault by recipient.
    Given = 43,
    /// How many those are, by recipient.
    Pair = 44,
    /// Live shares of a vault that wait for the owner's death.
    Waiting = 45,
    /// Live shares of a vault that the owner's death opened.
    Opened = 46,
    /// Whether a vault's owner is dead.
    Death = 47,
    /// Links to a vault's documents, by document.
    Link = 48,
    /// Links by the hash of their token.
    LinkByHash = 49,
    /// Contacts of a vault, by the other vault.
    Contact = 50,
    /// The other vaults of a vault's contacts, by the contact's id.
    ContactById = 51,
    /// Invitations of a vault.
    Invitation = 52,
    /// Invitations by the hash of their code.
    InvitationByCode = 53,
    /// Open invitations of a vault, by the hash of the address.
    InvitationTo = 54,
    /// Whom a vault blocked, by the other vault.
    Block = 55,
    /// Offices by id.
    Office = 56,
    /// Offices by register number.
    OfficeByRegister = 57,
    /// Staff of an office, in its vault.
    Staff = 58,
    /// Staff by keyed hash of the national number and office.
    StaffOf = 59,
    /// The office that a vault's owner named.
    Reference = 60,
    /// Threads of a vault.
    Thread = 61,
    /// Threads of a vault, by the other vault.
    ThreadWith = 62,
    /// Messages of a vault's threads.
    ThreadMessage = 63,
    /// Request lists of a vault.
    RequestList = 64,
    /// Services of a vault.
    Service = 90,
    /// Services by hash of a secret.
    ServiceSecret = 91,
    /// The one record of the log.
    Log = 70,
    /// Hashes of the log's tree, by position.
    LogHash = 71,
    /// Entries of the log, by their place.
    LogLeaf = 72,
    /// What a vault keeps of the log's entries that are its own, by their place; the cluster's for those of no vault.
    History = 73,
    /// Places in the log by document.
    DocumentHistory = 74,
    /// Notices of a vault.
    Notice = 80,
    /// How a vault's owner is told things.
    NoticeBox = 81,
    /// Webhooks of a vault.
    Webhook = 82,
    /// Deliveries of a vault.
    Delivery = 83,
    /// Deliveries that wait, by queue and time.
    DeliveryDue = 84,
    /// After all others; nothing lies in it.
    Last = 255,
}

fn key(owner: &[u8; 16], table: Table, own: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(17 + own.iter().map(|p| p.len()).sum::<usize>());
    key.extend_from_slice(owner);
    key.push(table as u8);
    for part in own {
        key.extend_from_slice(part);
    }
    key
}

/// First key and first key after the whole of a cluster-wide table.
pub fn table_range(table: Table) -> (Vec<u8>, Vec<u8>) {
    let start = key(&CLUSTER, table, &[]);
    let mut end = start.clone();
    end[16] += 1;
    (start, end)
}

/// The cluster's record.
pub fn cluster() -> Vec<u8> {
    key(&CLUSTER, Table::Cluster, &[])
}

/// A node.
pub fn node(id: NodeId) -> Vec<u8> {
    key(&CLUSTER, Table::Node, &[&id.0.to_be_bytes()])
}

/// A disk.
pub fn disk(id: DiskId) -> Vec<u8> {
    key(&CLUSTER, Table::Disk, &[&id.to_bytes()])
}

/// A join token.
pub fn token(hash: &TokenHash) -> Vec<u8> {
    key(&CLUSTER, Table::Token, &[&hash.0])
}

/// A version of the topology.
pub fn topology(version: u64) -> Vec<u8> {
    key(&CLUSTER, Table::Topology, &[&version.to_be_bytes()])
}

/// An account.
pub fn account(id: AccountId) -> Vec<u8> {
    key(&CLUSTER, Table::Account, &[&id.to_bytes()])
}

/// The account of a keyed hash.
pub fn lookup(hash: &[u8; 32]) -> Vec<u8> {
    key(&CLUSTER, Table::Lookup, &[hash])
}

/// A session.
pub fn session(id: &SessionId) -> Vec<u8> {
    key(&CLUSTER, Table::Session, &[&id.0])
}

/// A session of an account, by its public id.
pub fn session_of(account: AccountId, public_id: u128) -> Vec<u8> {
    key(&CLUSTER, Table::SessionOf, &[&account.to_bytes(), &public_id.to_be_bytes()])
}

/// All sessions of an account.
pub fn sessions_of(account: AccountId) -> (Vec<u8>, Vec<u8>) {
    (session_of(account, 0), next(session_of(account, u128::MAX)))
}

/// A used login attempt.
pub fn attempt(hash: &[u8; 32]) -> Vec<u8> {
    key(&CLUSTER, Table::Attempt, &[hash])
}

/// The answer to a request.
pub fn request(id: u128) -> Vec<u8> {
    key(&CLUSTER, Table::Request, &[&id.to_be_bytes()])
}

/// Work due at a time: `what` is the key of the record to look at.
pub fn due(at_ms: TimeMs, what: &[u8]) -> Vec<u8> {
    key(&CLUSTER, Table::Due, &[&at_ms.to_be_bytes(), what])
}

/// All work due up to and with a time.
pub fn due_until(now_ms: TimeMs) -> (Vec<u8>, Vec<u8>) {
    (due(0, &[]), due(now_ms.saturating_add(1), &[]))
}

/// The key of the record that a due key speaks of, and its time.
pub fn due_parts(key: &[u8]) -> Option<(TimeMs, &[u8])> {
    let time = key.get(17..25)?;
    Some((TimeMs::from_be_bytes(time.try_into().ok()?), key.get(25..)?))
}

/// An upload.
pub fn upload(id: UploadId) -> Vec<u8> {
    key(&CLUSTER, Table::Upload, &[&id.to_bytes()])
}

/// A blob.
pub fn blob(id: BlobId) -> Vec<u8> {
    key(&CLUSTER, Table::Blob, &[&id.to_bytes()])
}

/// Blobs from one id on.
pub fn blobs_from(id: BlobId) -> (Vec<u8>, Vec<u8>) {
    (blob(id), next(blob(BlobId(u128::MAX))))
}

/// A blob id reserved by an upload.
pub fn reserved(id: BlobId) -> Vec<u8> {
    key(&CLUSTER, Table::Reserved, &[&id.to_bytes()])
}

/// A blob that reconcile has not confirmed.
pub fn unsettled(id: BlobId) -> Vec<u8> {
    key(&CLUSTER, Table::Unsettled, &[&id.to_bytes()])
}

/// The id at the end of a key that ends in 16 bytes of id.
pub fn id_at_end(key: &[u8]) -> Option<u128> {
    let at = key.len().checked_sub(16)?;
    Some(u128::from_be_bytes(key.get(at..)?.try_into().ok()?))
}

/// The two ids at the end of a key that ends in two.
pub fn ids_at_end(key: &[u8]) -> Option<(u128, u128)> {
    let (rest, last) = key.split_last_chunk::<16>()?;
    Some((id_at_end(rest)?, u128::from_be_bytes(*last)))
}

/// An idempotency record.
pub fn idempotency(hash: &[u8; 32]) -> Vec<u8> {
    key(&CLUSTER, Table::Idempotency, &[hash])
}

/// A vault.
pub fn vault(id: VaultId) -> Vec<u8> {
    key(&id.to_bytes(), Table::Vault, &[])
}

/// A document of a vault.
pub fn document(vault: VaultId, id: DocumentId) -> Vec<u8> {
    key(&vault.to_bytes(), Table::Document, &[&id.to_bytes()])
}

/// All documents of a vault.
pub fn documents(vault: VaultId) -> (Vec<u8>, Vec<u8>) {
    (document(vault, DocumentId(0)), next(document(vault, DocumentId(u128::MAX))))
}

/// A version of a document.
pub fn version(vault: VaultId, document: DocumentId, number: u32) -> Vec<u8> {
    key(&vault.to_bytes(), Table::Version, &[&document.to_bytes(), &number.to_be_bytes()])
}

/// All versions of a document.
pub fn versions(vault: VaultId, document: DocumentId) -> (Vec<u8>, Vec<u8>) {
    (version(vault, document, 0), next(version(vault, document, u32::MAX)))
}

/// How often a vault's documents changed.
pub fn contents(vault: VaultId) -> Vec<u8> {
    key(&vault.to_bytes(), Table::Contents, &[])
}

/// That a vault is being erased.
pub fn closing(vault: VaultId) -> Vec<u8> {
    key(&CLUSTER, Table::Closing, &[&vault.to_bytes()])
}

/// Everything that lies under a vault, in whatever table.
pub fn all_of(vault: VaultId) -> (Vec<u8>, Vec<u8>) {
    (vault.to_bytes().to_vec(), key(&vault.to_bytes(), Table::Last, &[]))
}

/// The table of a key.
pub fn table_of(key: &[u8]) -> Option<u8> {
    key.get(16).copied()
}

/// A service of a vault.
pub fn service(vault: VaultId, id: ServiceId) -> Vec<u8> {
    key(&vault.to_bytes(), Table::Service, &[&id.to_bytes()])
}

/// All services of a vault.
pub fn services(vault: VaultId) -> (Vec<u8>, Vec<u8>) {
    (service(vault, ServiceId(0)), next(service(vault, ServiceId(u128::MAX))))
}

/// The service of a secret.
pub fn service_secret(hash: &SecretHash) -> Vec<u8> {
    key(&CLUSTER, Table::ServiceSecret, &[&hash.0])
}

/// The log's record.
pub fn log() -> Vec<u8> {
    key(&CLUSTER, Table::Log, &[])
}

/// A hash of the log's tree.
pub fn log_hash(position: Position) -> Vec<u8> {
    key(&CLUSTER, Table::LogHash, &[&[position.level], &position.index.to_be_bytes()])
}

/// An entry of the log.
pub fn log_leaf(index: u64) -> Vec<u8> {
    key(&CLUSTER, Table::LogLeaf, &[&index.to_be_bytes()])
}

/// Entries of the log from one place to before another.
pub fn log_leaves(from: u64, to: u64) -> (Vec<u8>, Vec<u8>) {
    (log_leaf(from), log_leaf(to))
}

/// An event in the history of a vault, or of none.
pub fn history(vault: Option<VaultId>, index: u64) -> Vec<u8> {
    key(&vault.map_or(CLUSTER, VaultId::to_bytes), Table::History, &[&index.to_be_bytes()])
}

/// The events of a vault, or of none, before a place in the log.
pub fn histories(vault: Option<VaultId>, before: u64) -> (Vec<u8>, Vec<u8>) {
    (history(vault, 0), history(vault, before))
}

/// That an event in a vault's history is of a document.
pub fn document_history(vault: VaultId, document: DocumentId, index: u64) -> Vec<u8> {
    key(&vault.to_bytes(), Table::DocumentHistory, &[&document.to_bytes(), &index.to_be_bytes()])
}

/// The events of a document before a place in the log.
pub fn document_histories(vault: VaultId, document: DocumentId, before: u64) -> (Vec<u8>, Vec<u8>) {
    (document_history(vault, document, 0), document_history(vault, document, before))
}

/// The place in the log at the end of a key that ends in one.
pub fn index_at_end(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The first key after `key`.
pub fn next(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_ids_and_tables_do_not_mix() {
        assert!(blob(BlobId(1)) < blob(BlobId(2)));
        assert!(due(1, b"z") < due(2, b"a"));
        let (start, end) = table_range(Table::Blob);
        assert!(start <= blob(BlobId(0)) && blob(BlobId(u128::MAX)) < end);
        assert!(!(start..end).contains(&idempotency(&[0; 32])));
        assert_eq!(due_parts(&due(7, b"what")), Some((7, &b"what"[..])));
        assert_eq!(id_at_end(&blob(BlobId(9))), Some(9));
        let (start, end) = documents(VaultId(5));
        assert!(start <= document(VaultId(5), DocumentId(u128::MAX)) && document(VaultId(5), DocumentId(u128::MAX)) < end);
        assert!(end < document(VaultId(6), DocumentId(0)));
        let (start, end) = all_of(VaultId(5));
        for inside in [vault(VaultId(5)), document(VaultId(5), DocumentId(u128::MAX)), history(Some(VaultId(5)), u64::MAX)] {
            assert!(start <= inside && inside < end);
        }
        assert!(end < vault(VaultId(6)) && vault(VaultId(4)) < start);
        assert_eq!(table_of(&contents(VaultId(5))), Some(Table::Contents as u8));
    }
}
