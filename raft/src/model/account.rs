//! People, their vaults and their sessions.

use serde::{Deserialize, Serialize};

use super::{Sealed, TimeMs, ulid_id};
use crate::model::{DocumentId, UploadId};

ulid_id!(
    /// A natural person who signed in at least once.
    AccountId
);
ulid_id!(
    /// The vault of one account, or of one office.
    VaultId
);

/// What an account may do beyond its own vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// A person with a vault.
    Citizen,
    /// A notary (rights come with later command families).
    Notary,
}

/// How surely a person proved who they are: the levels of eIDAS that are let in, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Assurance {
    /// Enough to sign in, where the operator says so; not for what cannot be undone.
    #[default]
    Substantial,
    /// The highest level.
    High,
}

/// One person: matched on the verified national number, never on anything typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Opaque id, shown to programs.
    pub id: AccountId,
    /// The person's vault.
    pub vault: VaultId,
    /// HMAC-SHA-256 of the national number under the cluster's look-up key.
    pub lookup: [u8; 32],
    /// Name, birth date and national number, sealed under the vault's key.
    pub profile: Sealed,
    /// What the account may do.
    pub roles: Vec<Role>,
    /// First sign-in.
    pub created_ms: TimeMs,
    /// Latest sign-in.
    pub signed_in_ms: TimeMs,
    /// How the latest sign-in proved who the person is: the name of that way, such as `itsme` or `eid`.
    pub way: String,
    /// Keyed hashes of the devices that were seen, newest last; at most [`Account::DEVICES_MAX`].
    pub devices: Vec<[u8; 16]>,
}

impl Account {
    /// Most devices that are remembered: signing in with one more forgets the one seen longest ago.
    pub const DEVICES_MAX: usize = 16;
}

/// A vault key under one master key. A vault carries one for each master that can open it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// Which master key (and generation) wrapped it.
    pub master: String,
    /// The wrapped bytes, opaque here.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WrappedKey({}, {} bytes)", self.master, self.bytes.len())
    }
}

/// The documents of one person or office, with their quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vault {
    /// Opaque id.
    pub id: VaultId,
    /// Whose it is. For the vault of an office the office's id stands here, which no account has.
    pub owner: AccountId,
    /// The vault's key, wrapped.
    pub keys: Vec<WrappedKey>,
    /// Most bytes of plaintext content, over all versions.
    pub quota_bytes: u64,
    /// Bytes of committed versions.
    pub used_bytes: u64,
    /// Bytes reserved by running uploads. `used + reserved <= quota` after every command.
    pub reserved_bytes: u64,
    /// Documents that exist.
    pub documents: u64,
    /// Whether uploads are refused (503) rather than acknowledged with reduced redundancy.
    pub strict: bool,
}

/// A vault whose owner closed it: its key is destroyed, and what lies in it is being erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// Since when.
    pub since_ms: TimeMs,
}

/// SHA-256 of a session's bearer token: the token itself is nowhere stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub [u8; 32]);

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionId({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// A signed-in device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Hash of the bearer token.
    pub id: SessionId,
    /// Name for people and for `DELETE /v1/sessions/{id}`; says nothing about the token.
    pub public_id: u128,
    /// Who is signed in.
    pub account: AccountId,
    /// Their vault, so that one look-up serves a request.
    pub vault: VaultId,
    /// When it began.
    pub created_ms: TimeMs,
    /// When it ends at the latest.
    pub expires_ms: TimeMs,
    /// Assurance level that the identity provider stated.
    pub acr: String,
    /// What that level is worth.
    pub assurance: Assurance,
    /// Name of the way in: an identity provider's, or `eid`.
    pub way: String,
    /// Device and address at the sign-in, sealed under the vault's key; empty when they could not be sealed.
    pub device: Sealed,
    /// When it was used last, to within [`Session::SEEN_STEP_MS`].
    pub last_seen_ms: TimeMs,
    /// When the person last proved who they are once more, for what cannot be undone; 0 = never.
    pub stepped_up_ms: TimeMs,
}

impl Session {
    /// How coarse [`Session::last_seen_ms`] is: finer would tell when somebody reads, and cost a command a request.
    pub const SEEN_STEP_MS: u64 = 3600 * 1000;
    /// How long a step-up counts.
    pub const STEP_UP_MS: u64 = 10 * 60 * 1000;

    /// Whether the person proved who they are a short while ago.
    pub fn is_stepped_up(&self, now_ms: TimeMs) -> bool {
        self.stepped_up_ms > 0 && now_ms < self.stepped_up_ms.saturating_add(Self::STEP_UP_MS)
    }
}

/// What an `Idempotency-Key` was used for (draft-ietf-httpapi-idempotency-key-header-07).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRecord {
    /// SHA-256 of what identifies the request (method, path, parameters, announced length and digest).
    pub fingerprint: [u8; 32],
    /// How far it came.
    pub state: IdempotencyState,
    /// When the record is forgotten.
    pub expires_ms: TimeMs,
}

/// How far a request with an `Idempotency-Key` came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdempotencyState {
    /// The first request runs: another one is answered 409.
    Running {
        /// The upload that it made.
        upload: UploadId,
    },
    /// An upload was created (tus): the same answer again.
    Created {
        /// The upload that it made.
        upload: UploadId,
    },
    /// A version was committed: the same answer again when the content is the same.
    Committed {
        /// The document.
        document: DocumentId,
        /// The version that was committed.
        version: u32,
        /// The document's revision at that moment.
        revision: u64,
    },
}
