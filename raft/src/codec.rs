//! Records as bytes, each with the version of its shape.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | version of the record's shape |
//! | 1 | .. | postcard encoding of that shape |
//!
//! Owns: the version byte and the chain of steps from older shapes. A record type that changes shape
//! gets a new version here, the old shape is kept in a module `v<n>`, and a step leads from it to the next.
//! Holds: a record of a newer version than this program knows is refused, never guessed at.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    model::{
        Account, Blob, Blocked, Closing, ClusterRecord, Contact, ContactRef, Contents, Death, Delivery, DiskRecord, Document, Former,
        GivenRef, HistoryEntry, IdempotencyRecord, IncomingRef, Invitation, InvitationRef, JoinToken, Link, LinkRef, LogRecord, NodeRecord,
        Notice, NoticeBox, Office, OfficeRef, PairCount, Reference, RequestList, Service, Session, Share, Staff, StaffRef, Thread,
        ThreadMessage, ThreadRef, Upload, Vault, Version, Webhook,
    },
    outcome::Outcome,
    store::{Read, StoreError, Transaction},
};

/// A type that is stored in the state.
pub trait Record: Serialize + DeserializeOwned {
    /// Version of the present shape.
    const VERSION: u8;

    /// The present shape from the bytes of version `version < VERSION`.
    ///
    /// # Errors
    /// What is wrong, for people.
    fn migrate(version: u8, _bytes: &[u8]) -> Result<Self, String> {
        Err(format!("version {version} is unknown"))
    }
}

macro_rules! records {
    ($($name:ty),+ $(,)?) => { $(impl Record for $name { const VERSION: u8 = 1; })+ };
}

records!(
    Account,
    Blob,
    ClusterRecord,
    DiskRecord,
    Document,
    IdempotencyRecord,
    JoinToken,
    NodeRecord,
    Session,
    Upload,
    Vault,
    Version,
    Outcome,
    kluis_chunkstore::topology::Topology,
    AccountRef,
    SessionRef,
    Marker,
    Share,
    IncomingRef,
    Former,
    PairCount,
    Death,
    Link,
    LinkRef,
    GivenRef,
    Service,
    ServiceRef,
    HistoryEntry,
    LogRecord,
    Notice,
    NoticeBox,
    Webhook,
    Delivery,
    Contents,
    Closing,
    Contact,
    ContactRef,
    Blocked,
    Invitation,
    InvitationRef,
    Office,
    OfficeRef,
    Staff,
    StaffRef,
    Reference,
    Thread,
    ThreadRef,
    ThreadMessage,
    RequestList,
);

/// The account behind a keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct AccountRef(pub crate::model::AccountId);

/// The session behind a public id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct SessionRef(pub crate::model::SessionId);

/// The service behind the hash of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct ServiceRef {
    /// The vault that it acts in.
    pub vault: crate::model::VaultId,
    /// Its id.
    pub service: crate::model::ServiceId,
}

/// A key whose presence is all there is to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Marker;

/// The bytes of a record.
pub fn encode<R: Record>(record: &R) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(record, vec![R::VERSION]).map_err(|e| StoreError::Io(format!("encoding a record: {e}")))
}

/// A record from its bytes; `key` is for the error.
pub fn decode<R: Record>(key: &[u8], bytes: &[u8]) -> Result<R, StoreError> {
    let damaged = |why: String| StoreError::Damaged { key: hex::encode(key), why };
    let (&version, rest) = bytes.split_first().ok_or_else(|| damaged("empty".into()))?;
    match version.cmp(&R::VERSION) {
        std::cmp::Ordering::Equal => postcard::from_bytes(rest).map_err(|e| damaged(e.to_string())),
        std::cmp::Ordering::Less => R::migrate(version, rest).map_err(damaged),
        std::cmp::Ordering::Greater => Err(damaged(format!("written by a newer program (version {version})"))),
    }
}

/// The record at `key`.
pub fn load<R: Record>(read: &dyn Read, key: &[u8]) -> Result<Option<R>, StoreError> {
    read.get(key)?.map(|bytes| decode(key, &bytes)).transpose()
}

/// Up to `limit` records with `start <= key < end`.
pub fn load_range<R: Record>(read: &dyn Read, range: &(Vec<u8>, Vec<u8>), limit: usize) -> Result<Vec<(Vec<u8>, R)>, StoreError> {
    read.scan(&range.0, &range.1, limit)?.into_iter().map(|(k, v)| decode(&k, &v).map(|r| (k, r))).collect()
}

impl Transaction<'_> {
    /// Puts a record at `key`.
    pub fn store<R: Record>(&mut self, key: Vec<u8>, record: &R) -> Result<(), StoreError> {
        let bytes = encode(record)?;
        self.put(key, bytes);
        Ok(())
    }
}
