//! Every write to the metadata, as one enum.
//!
//! Owns: what can be asked. Not: what comes of it ([`crate::outcome`], [`crate::apply`]).
//! Holds: (1) a command carries all its randomness and ids, so that every replica does the same;
//! (2) an encoded [`Request`] is at most [`REQUEST_BYTES_MAX`], so that a log message stays short
//! enough for its deadline on a slow link.

pub mod log;

use std::net::SocketAddr;

use kluis_chunkstore::{
    code::Code,
    ids::{BlobId, ClusterId, DiskId, NodeId, SiteName, StorageId},
    topology::Topology,
};
use serde::{Deserialize, Serialize};

pub use self::log::LogCommand;
use crate::model::{
    AccountId, Attributes, BlobLayout, DocumentId, NewShare, NodeRole, Role, Scan, Sealed, SessionId, Tail, TimeMs, TokenHash, Trail,
    UploadId, UploadTarget, VaultId, WrappedKey,
};

pub mod closing;
pub mod document;
pub mod identity;
pub mod notice;
pub mod office;
pub mod people;
pub mod sharing;

pub use closing::ClosingCommand;
pub use document::{ChangeDocument, DocumentCommand};
pub use identity::{IdentityCommand, NewService, SessionFacts};
pub use notice::NoticeCommand;
pub use office::{OfficeCommand, RegisterEntry, RegisterNotary};
pub use people::{Behalf, NewContact, NewInvitation, PeopleCommand, Shown};
pub use sharing::{ChangeShare, CopyShared, CreateShares, Rewrap, SharingCommand, Which};

/// Most bytes of an encoded request.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// A command with what makes it happen once and in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Random: a retried request with the same id gets the first answer again.
    pub id: u128,
    /// The leader's wall clock when it proposed; the state's clock never runs backwards over it.
    pub now_ms: TimeMs,
    /// What to do.
    pub command: Command,
}

/// Every write. One family a file in [`crate::apply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Time passes: due work (expired uploads, sessions, tokens) is done, a bounded piece of it.
    Tick,

    // --- cluster
    /// The first command of a cluster.
    InitCluster {
        /// Random id.
        id: ClusterId,
        /// Name, a DNS label.
        name: String,
        /// Code of documents.
        code: Code,
        /// Documents up to this many bytes are copied whole.
        small_max_bytes: u32,
        /// Plaintext bytes of a chunk.
        chunk_bytes: u32,
        /// Quota of a new vault.
        quota_bytes: u64,
        /// The first node.
        node: NewNode,
    },
    /// Leave for one node to join.
    CreateJoinToken {
        /// Hash of the token.
        hash: TokenHash,
        /// The only site it is good for.
        site: SiteName,
        /// Roles of the node.
        roles: Vec<NodeRole>,
        /// How long it lives.
        lifetime_ms: u64,
    },
    /// A node joins with a token.
    RedeemJoinToken {
        /// Hash of the token.
        hash: TokenHash,
        /// The node.
        node: NewNode,
    },
    /// A node announces its addresses (they may change over restarts).
    UpdateNode {
        /// Which.
        node: NodeId,
        /// Its storage, which must be the one it joined with.
        storage: StorageId,
        /// QUIC address.
        quic: SocketAddr,
        /// Operators' address.
        admin: SocketAddr,
        /// Public address.
        gateway: Option<SocketAddr>,
    },
    /// A node announces disks that it has formatted.
    AddDisks {
        /// Which node.
        node: NodeId,
        /// The disks.
        disks: Vec<NewDisk>,
    },
    /// Operators put a new topology in force.
    ApplyTopology {
        /// The version that the plan was made against; another one in force = refused.
        expected_version: u64,
        /// The new one, with version `expected_version + 1`.
        topology: Topology,
    },
    /// The first gateway stores the wrapped key of the keyed hash; later ones get the first.
    SetLookupKey {
        /// Wrapped under the master key.
        key: Sealed,
    },

    // --- accounts
    /// A person proved who they are: account and vault are made if they are new, a session begins.
    SignIn {
        /// Keyed hash of the national number.
        lookup: [u8; 32],
        /// Hash of the login attempt: each can be used once.
        attempt: [u8; 32],
        /// What becomes the account and the vault if the person is new; else ignored, but for `roles`.
        seed: Box<AccountSeed>,
        /// Hash of the new bearer token.
        session: SessionId,
        /// Public name of the session.
        session_public_id: u128,
        /// How long it lives.
        lifetime_ms: u64,
        /// Assurance level.
        acr: String,
        /// What else is known of the sign-in.
        facts: Box<SessionFacts>,
        /// For the log.
        trail: Box<Trail>,
        /// The vault under whose key the trail's details are sealed; they are dropped if the person has another one.
        sealed_for: VaultId,
    },
    /// A session ends.
    EndSession {
        /// Whose session it must be.
        account: AccountId,
        /// Public name of the session.
        public_id: u128,
        /// For the log.
        trail: Box<Trail>,
    },

    // --- vaults
    /// An operator changes a vault's limits.
    SetVaultLimits {
        /// Which vault.
        vault: VaultId,
        /// New quota, if it changes.
        quota_bytes: Option<u64>,
        /// New strictness, if it changes.
        strict: Option<bool>,
    },

    // --- uploads
    /// Quota and a blob id are reserved.
    BeginUpload(Box<BeginUpload>),
    /// A writer takes the (resumable) upload for itself.
    LockUpload {
        /// Which.
        upload: UploadId,
        /// Whose vault it must be in.
        vault: VaultId,
        /// Random id of the writer.
        writer: u128,
        /// How long nobody else may write. 0 when the writer breaks off: the next one writes under a new attempt.
        lease_ms: u64,
        /// Whether the writer has the lock already; it is refused if it lost it meanwhile.
        renew: bool,
    },
    /// More quota is reserved, for a length that was not announced.
    ExtendUpload {
        /// Which.
        upload: UploadId,
        /// New reservation in all.
        reserved_bytes: u64,
        /// New time of giving up, from now.
        lifetime_ms: u64,
    },
    /// Bytes of a resumable upload became durable.
    AdvanceUpload(Box<AdvanceUpload>),
    /// All bytes are durable: the version becomes visible.
    CommitUpload(Box<CommitUpload>),
    /// The upload is given up; its shards are collected later.
    AbortUpload {
        /// Which.
        upload: UploadId,
        /// Whose vault it must be in.
        vault: VaultId,
    },

    // --- documents
    /// A document goes, with all its versions.
    DeleteDocument {
        /// Whose vault.
        vault: VaultId,
        /// Which.
        document: DocumentId,
        /// The revision that the client saw.
        revision: u64,
        /// For the log.
        trail: Box<Trail>,
    },

    // --- blobs
    /// Reconcile confirmed where a blob's shards lie.
    SettleBlob {
        /// Which.
        blob: BlobId,
        /// The layouts it saw, as a guard against a newer change.
        seen: Vec<BlobLayout>,
        /// The only layout from now on.
        layout: BlobLayout,
    },
    /// A read found a blob wanting: reconcile must look at it.
    UnsettleBlob {
        /// Which.
        blob: BlobId,
    },

    // --- families with a file of their own
    /// A document that exists is changed.
    Document {
        /// What is done.
        act: Box<DocumentCommand>,
        /// For the log.
        trail: Box<Trail>,
    },
    /// Shares, links, and the death flag.
    Sharing {
        /// What is done.
        act: Box<SharingCommand>,
        /// For the log of the vault that the document lies in, whoever acts.
        trail: Box<Trail>,
    },
    /// Sessions after their beginning, and services.
    Identity(Box<IdentityCommand>),
    // --- log
    /// The log's own commands.
    Log(LogCommand),
    /// Notices, their settings and their deliveries.
    Notice(Box<NoticeCommand>),
    /// The end of a vault.
    Closing(Box<ClosingCommand>),
    /// Contacts, invitations, messages and request lists.
    People(Box<PeopleCommand>),
    /// Offices, their staff, and the office that a person names.
    Office(Box<OfficeCommand>),
}

/// A node as it joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewNode {
    /// Its site.
    pub site: SiteName,
    /// What it does.
    pub roles: Vec<NodeRole>,
    /// Its storage.
    pub storage: StorageId,
    /// QUIC address.
    pub quic: SocketAddr,
    /// Operators' address.
    pub admin: SocketAddr,
    /// Public address.
    pub gateway: Option<SocketAddr>,
}

/// A disk as it is announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewDisk {
    /// Its id, from the label.
    pub id: DiskId,
    /// Share of the data, at least 1.
    pub weight: u32,
}

/// What becomes an account and a vault at a person's first sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSeed {
    /// Id of the account.
    pub account: AccountId,
    /// Id of the vault.
    pub vault: VaultId,
    /// The vault's key, wrapped.
    pub keys: Vec<WrappedKey>,
    /// Profile, sealed under that key.
    pub profile: Sealed,
    /// What the identity provider says the person may do.
    pub roles: Vec<Role>,
}

/// See [`Command::BeginUpload`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginUpload {
    /// Random id.
    pub upload: UploadId,
    /// Whose vault.
    pub vault: VaultId,
    /// Who uploads.
    pub account: AccountId,
    /// Random id of the blob.
    pub blob: BlobId,
    /// What it becomes.
    pub target: UploadTarget,
    /// Sealed name and media type.
    pub name: Sealed,
    /// The document key, wrapped.
    pub wrapped_key: Vec<u8>,
    /// Code of the chunks.
    pub code: Code,
    /// Plaintext bytes of a chunk.
    pub chunk_bytes: u32,
    /// Announced length.
    pub length: Option<u64>,
    /// Announced SHA-256.
    pub expected_sha256: Option<[u8; 32]>,
    /// Quota to reserve now.
    pub reserve_bytes: u64,
    /// When it is given up, from now.
    pub lifetime_ms: u64,
    /// Hash of account and `Idempotency-Key`, with the fingerprint of the request.
    pub idempotency: Option<([u8; 32], [u8; 32])>,
    /// Whether it is resumable.
    pub resumable: bool,
    /// What the owner says of the document; of no effect for a new version.
    pub attributes: Attributes,
    /// The shares that begin when the upload is committed: all of them, or the commit is refused. Only for a new document.
    pub shares: Vec<NewShare>,
}

/// See [`Command::AdvanceUpload`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvanceUpload {
    /// Which.
    pub upload: UploadId,
    /// The writer that holds the lock.
    pub writer: u128,
    /// Offset that it started from.
    pub from: u64,
    /// Offset that is durable now.
    pub to: u64,
    /// State of the running hash at `to`.
    pub hash_state: Sealed,
    /// The unfinished chunk at `to`.
    pub tail: Option<Tail>,
    /// Layouts used by the new chunks.
    pub layouts: Vec<BlobLayout>,
    /// Whether any new chunk was acknowledged with fewer than k + s shards.
    pub reduced: bool,
    /// Whether the writer lets go.
    pub unlock: bool,
    /// New time of giving up, from now.
    pub lifetime_ms: u64,
}

/// See [`Command::CommitUpload`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitUpload {
    /// Which.
    pub upload: UploadId,
    /// Plaintext bytes.
    pub size: u64,
    /// SHA-256 of the plaintext.
    pub sha256: [u8; 32],
    /// Number of chunks.
    pub chunks: u32,
    /// Layouts used, newest first, over the whole upload.
    pub layouts: Vec<BlobLayout>,
    /// Whether any chunk was acknowledged with fewer than k + s shards.
    pub reduced: bool,
    /// Whether every shard of every chunk was synced in its place.
    pub settled: bool,
    /// What the scan said; with [`Scan::Pending`] nobody reads the version yet.
    pub scan: Scan,
    /// For the log.
    pub trail: Trail,
}
