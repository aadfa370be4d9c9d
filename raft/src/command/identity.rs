//! Commands about sessions after their beginning, and about services.

use serde::{Deserialize, Serialize};

use crate::model::{AccountId, Assurance, Scope, Sealed, SecretHash, ServiceId, SessionId, VaultId};

/// What is known of a sign-in besides who it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SessionFacts {
    /// What the stated level of assurance is worth.
    pub assurance: Assurance,
    /// Name of the way in.
    pub way: String,
    /// Device and address, sealed, and for which vault: the gateway guessed it before the command. A wrong guess (two
    /// first sign-ins of one person at once) is dropped, for it would never open.
    pub device: Option<(VaultId, Sealed)>,
    /// Keyed hash of the device: tells whether it is a new one.
    pub device_hash: [u8; 16],
}

/// A service as it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewService {
    /// Random id.
    pub id: ServiceId,
    /// The vault that it acts in.
    pub vault: VaultId,
    /// Who makes it.
    pub account: AccountId,
    /// Its name, sealed.
    pub name: Sealed,
    /// What it may do: sorted, each once, not empty.
    pub scopes: Vec<Scope>,
    /// Hash of its first secret.
    pub secret: SecretHash,
    /// How long it lives.
    pub lifetime_ms: u64,
}

/// Every write of this family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityCommand {
    /// A signed-in person proved once more who they are: the session that asked for it is raised.
    StepUp {
        /// The session.
        session: SessionId,
        /// Keyed hash of the national number that was proved: it must be the session's own person.
        lookup: [u8; 32],
        /// Hash of the login attempt: each can be used once.
        attempt: [u8; 32],
        /// What the stated level of assurance is worth: it must be the highest.
        assurance: Assurance,
    },
    /// All sessions of an account end but one.
    EndOtherSessions {
        /// Whose.
        account: AccountId,
        /// Public name of the one that stays.
        keep: u128,
    },
    /// Sessions were used; told in batches.
    NoteSeen {
        /// Which.
        sessions: Vec<SessionId>,
    },
    /// A service is made.
    CreateService(NewService),
    /// A service gets a new secret; the one that it has is good for a while longer.
    RotateService {
        /// Whose vault it must be in.
        vault: VaultId,
        /// Which.
        service: ServiceId,
        /// Hash of the new secret.
        secret: SecretHash,
        /// How long the old secret is good from now on.
        overlap_ms: u64,
    },
    /// A service ends, at once.
    DeleteService {
        /// Whose vault it must be in.
        vault: VaultId,
        /// Which.
        service: ServiceId,
    },
}
