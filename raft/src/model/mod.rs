//! The records that the metadata group keeps.
//!
//! Owns: the shape of every record. Not: how they change ([`crate::apply`]) or their bytes ([`crate::codec`]).
//! Holds: (1) a record is of constant size whatever the length of a document; (2) personal text is only
//! ever [`Sealed`], so that destroying a vault's key destroys it in logs, snapshots and backups too.

pub mod account;
pub mod attributes;
pub mod cluster;
pub mod document;
pub mod event;
pub mod log;
pub mod notice;
pub mod office;
pub mod people;
pub mod runs;
pub mod service;
pub mod share;

pub use account::{
    Account, AccountId, Assurance, Closing, IdempotencyRecord, IdempotencyState, Role, Session, SessionId, Vault, VaultId, WrappedKey,
};
pub use attributes::{
    Attributes, BadDate, Category, Date, DocType, DocumentLabel, DocumentState, LabelId, Origin, Provenance, Scan, ScanNote, UnknownKey,
};
pub use cluster::{ClusterRecord, DiskRecord, DiskState, JoinToken, NodeRecord, NodeRole, TokenHash};
pub use document::{Blob, BlobLayout, Contents, Document, DocumentId, Tail, Upload, UploadId, UploadTarget, Version};
pub use event::{Actor, Event, EventKind, HistoryEntry, Trail};
pub use log::{LogKeyRecord, LogRecord, StoredCheckpoint};
pub use notice::{
    Attempt, Channel, Channels, Content, Delivery, DeliveryId, DeliveryState, Failure, Lang, NewNotice, Notice, NoticeBox, NoticeDetails,
    NoticeId, NoticeKind, PendingAddress, Target, Webhook, WebhookId,
};
pub use office::{Office, OfficeId, OfficeRef, Reference, Staff, StaffId, StaffRef};
pub use people::{
    Addressee, Blocked, CodeHash, Contact, ContactId, ContactKind, ContactRef, Invitation, InvitationId, InvitationRef, InvitationState,
    MessageId, RequestItem, RequestList, RequestListId, Thread, ThreadId, ThreadMessage, ThreadRef, VerifiedName,
};
pub use runs::{Run, Runs, TooManyAttempts};
pub use service::{Scope, SecretHash, Service, ServiceId, ServiceSecret};
pub use share::{
    AccessRequest, Death, EndReason, Ended, Former, GivenRef, IncomingRef, Link, LinkHash, LinkId, LinkRef, Message, Moment, NewLink,
    NewShare, PairCount, PasswordHash, Share, ShareId, ShareState, SharedKey,
};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z, as the leader stamped them on a command: monotonic.
pub type TimeMs = u64;

/// Bytes that only a holder of the right key can read: personal text never enters the log otherwise.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sealed(pub Vec<u8>);

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

macro_rules! ulid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub struct $name(pub u128);

        impl $name {
            /// A ULID of the time and the given randomness: sorts by time of making.
            pub fn new(time_ms: u64, random: u128) -> Self {
                Self(ulid::Ulid::from_parts(time_ms, random).0)
            }

            /// Big-endian bytes: their order is the order of the identifiers.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                ulid::Ulid(self.0).fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), ulid::Ulid(self.0))
            }
        }

        impl std::str::FromStr for $name {
            type Err = kluis_chunkstore::ids::BadId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let bad = || kluis_chunkstore::ids::BadId {
                    text: text.chars().take(64).collect(),
                    wanted: "an identifier (26 characters, ULID)",
                };
                // Crockford's alphabet has several spellings of one id; only the canonical one is taken.
                let id = ulid::Ulid::from_string(text).map_err(|_| bad())?;
                if id.to_string() == text { Ok(Self(id.0)) } else { Err(bad()) }
            }
        }
    };
}
pub(crate) use ulid_id;
