//! Every answer of the state machine: what a command came to, refusals included.
//!
//! Holds: a refusal changes nothing but the record of the request itself.

use kluis_chunkstore::ids::NodeId;
use serde::{Deserialize, Serialize};

use crate::{
    command::log::{LogOutcome, LogRefusal},
    model::{Account, Document, IdempotencyState, JoinToken, Sealed, Service, TimeMs, Upload, Vault},
};

pub mod closing;
pub mod document;
pub mod people;
pub mod sharing;

pub use closing::{ClosingOutcome, ClosingRefusal};
pub use document::{DocumentOutcome, DocumentRefusal};
pub use people::{OfficeOutcome, PeopleOutcome, PeopleRefusal};
pub use sharing::{BadTime, EndedShare, SharingOutcome, SharingRefusal};

pub use crate::command::notice::{NoticeOutcome, NoticeRefusal};

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done, and there is nothing to tell.
    Done,
    /// A node has its id.
    NodeAdded {
        /// The id.
        node: NodeId,
    },
    /// A token exists.
    TokenCreated(JoinToken),
    /// The topology has this version.
    TopologyApplied {
        /// The version.
        version: u64,
    },
    /// The cluster's look-up key, this one or the one that was there first.
    LookupKey(Sealed),
    /// A session began.
    SignedIn {
        /// The account, new or known.
        account: Box<Account>,
        /// Whether it is new.
        created: bool,
        /// When the session ends.
        expires_ms: u64,
        /// Whether the person signed in before, but never with this device: they are told.
        new_device: bool,
    },
    /// The vault after a change.
    Vault(Box<Vault>),
    /// The upload after a change.
    Upload(Box<Upload>),
    /// A version was committed (or had been, under the same `Idempotency-Key`).
    Committed(Box<Document>),
    /// The `Idempotency-Key` was used before for the same request.
    Repeated(IdempotencyState),
    /// Nothing was changed, because:
    Refused(Refusal),
    /// See [`DocumentOutcome`].
    Document(DocumentOutcome),
    /// See [`SharingOutcome`].
    Sharing(SharingOutcome),
    /// What a command about sessions or services came to.
    Identity(IdentityOutcome),
    /// See [`LogOutcome`].
    Log(LogOutcome),
    /// See [`NoticeOutcome`].
    Notice(NoticeOutcome),
    /// See [`ClosingOutcome`].
    Closing(ClosingOutcome),
    /// See [`PeopleOutcome`].
    People(PeopleOutcome),
    /// See [`OfficeOutcome`].
    Office(OfficeOutcome),
}

/// What a command about sessions or services came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityOutcome {
    /// The session is raised.
    SteppedUp {
        /// Until when.
        until_ms: TimeMs,
    },
    /// The service after a change.
    Service(Box<Service>),
}

/// Why a command about sessions or services was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum IdentityRefusal {
    /// Somebody else proved who they are.
    #[error("another person signed in than the one whose session it is")]
    OtherPerson,
    /// The proof is not of the highest level.
    #[error("the step-up was not of the highest level of assurance")]
    TooWeak,
    /// The service is unknown, or another vault's.
    #[error("no such service")]
    ServiceUnknown,
    /// The vault has as many services as it may have.
    #[error("the vault has {limit} services already")]
    TooManyServices {
        /// Most services.
        limit: usize,
    },
}

impl IdentityRefusal {
    /// The stable code, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OtherPerson => "login_mismatch",
            Self::TooWeak => "weak_identity",
            Self::ServiceUnknown => "not_found",
            Self::TooManyServices { .. } => "too_many_services",
        }
    }
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The cluster exists already.
    #[error("this cluster is initialised already")]
    AlreadyInitialised,
    /// No cluster exists yet.
    #[error("this cluster is not initialised")]
    NotInitialised,
    /// A join token is unknown or was used.
    #[error("join_refused: the token is unknown, used or withdrawn")]
    TokenUnknown,
    /// A join token is too old.
    #[error("join_refused: the token has expired")]
    TokenExpired,
    /// A join token is for another site.
    #[error("join_refused: the token is for site {wanted}")]
    TokenSite {
        /// The site it is good for.
        wanted: String,
    },
    /// A node id is unknown.
    #[error("node {0} is not a member")]
    NodeUnknown(NodeId),
    /// A node came back with another storage.
    #[error("storage_id_mismatch: node {0} lost its storage; join it as a new node")]
    StorageMismatch(NodeId),
    /// A disk belongs to another node already.
    #[error("disk {0} belongs to another node")]
    DiskTaken(String),
    /// A topology plan is stale or unsound.
    #[error("the topology was refused: {0}")]
    Topology(String),
    /// A login attempt was used before.
    #[error("this sign-in was completed before")]
    AttemptUsed,
    /// The session is unknown or not the caller's.
    #[error("no such session")]
    SessionUnknown,
    /// The vault is unknown.
    #[error("no such vault")]
    VaultUnknown,
    /// Quota would be exceeded.
    #[error("the vault holds {used_bytes} of {limit_bytes} bytes, with {reserved_bytes} reserved by running uploads")]
    QuotaExceeded {
        /// Bytes in use.
        used_bytes: u64,
        /// Bytes reserved.
        reserved_bytes: u64,
        /// Limit.
        limit_bytes: u64,
    },
    /// The upload is unknown, ended or expired.
    #[error("no such upload")]
    UploadUnknown,
    /// Another writer holds the upload.
    #[error("another request is writing to this upload")]
    UploadBusy,
    /// The offset is not where the upload stands.
    #[error("the upload stands at offset {actual}")]
    OffsetMismatch {
        /// Where it stands.
        actual: u64,
    },
    /// The size differs from what was announced or reserved.
    #[error("the upload has {actual} bytes where {expected} were announced")]
    LengthMismatch {
        /// Bytes announced.
        expected: u64,
        /// Bytes seen.
        actual: u64,
    },
    /// The content's digest differs from the announced one.
    #[error("the content has another SHA-256 than was announced")]
    DigestMismatch,
    /// Shards were lost too often during one upload.
    #[error("too many failures during one upload: start it again")]
    TooManyLayouts,
    /// The vault takes no upload with reduced redundancy.
    #[error("this vault accepts no upload with reduced redundancy")]
    ReducedRefused,
    /// The document is unknown.
    #[error("no such document")]
    DocumentUnknown,
    /// The document changed since the client saw it.
    #[error("the document is at revision {actual}")]
    RevisionMismatch {
        /// Its revision.
        actual: u64,
    },
    /// The `Idempotency-Key` was used for another request.
    #[error("this Idempotency-Key was used for another request")]
    IdempotencyMismatch,
    /// The blob is unknown or changed.
    #[error("the blob changed meanwhile")]
    BlobChanged,
    /// A value breaks a limit.
    #[error("{0}")]
    Invalid(String),
    /// The upload broke off more often than its record can say.
    #[error("the upload broke off too often: begin a new one")]
    TooManyAttempts,
    /// See [`DocumentRefusal`].
    #[error(transparent)]
    Document(#[from] DocumentRefusal),
    /// See [`SharingRefusal`].
    #[error(transparent)]
    Sharing(#[from] SharingRefusal),
    /// A command about sessions or services.
    #[error(transparent)]
    Identity(#[from] IdentityRefusal),
    /// See [`LogRefusal`].
    #[error(transparent)]
    Log(#[from] LogRefusal),
    /// See [`NoticeRefusal`].
    #[error(transparent)]
    Notice(#[from] NoticeRefusal),
    /// See [`ClosingRefusal`].
    #[error(transparent)]
    Closing(#[from] ClosingRefusal),
    /// A command about people or offices.
    #[error(transparent)]
    People(#[from] PeopleRefusal),
}
