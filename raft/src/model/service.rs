//! Services: programs that act in one vault with a credential of their own, within a scope and until a date.
//!
//! Owns: their records. Not: what a scope opens (the gateway's table of routes).
//! Holds: (1) a secret is nowhere stored, only its SHA-256; (2) a service has at most two secrets, and two only
//! while one takes the other's place.

use serde::{Deserialize, Serialize};

use super::{AccountId, Sealed, TimeMs, VaultId, ulid_id};

ulid_id!(
    /// A program with a credential of its own.
    ServiceId
);

/// What a service may do. Closed: what is not named here no service may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// List and read documents.
    DocumentsRead,
    /// Store, change and delete documents.
    DocumentsWrite,
    /// See what is shared.
    SharesRead,
    /// Share, and stop sharing.
    SharesWrite,
    /// Report deaths.
    DeathsReport,
}

impl Scope {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [Self::DocumentsRead, Self::DocumentsWrite, Self::SharesRead, Self::SharesWrite, Self::DeathsReport];

    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DocumentsRead => "documents:read",
            Self::DocumentsWrite => "documents:write",
            Self::SharesRead => "shares:read",
            Self::SharesWrite => "shares:write",
            Self::DeathsReport => "deaths:report",
        }
    }

    /// The scope of a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// SHA-256 of a service's secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretHash(pub [u8; 32]);

impl std::fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretHash({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// A secret of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSecret {
    /// What it is found by.
    pub hash: SecretHash,
    /// When it was made.
    pub created_ms: TimeMs,
    /// From when on it is refused.
    pub expires_ms: TimeMs,
}

/// A program with a credential of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Opaque id.
    pub id: ServiceId,
    /// The vault that it acts in: a person's or an office's.
    pub vault: VaultId,
    /// Who made it, and answers for what it does.
    pub account: AccountId,
    /// What its owner calls it, sealed under the vault's key.
    pub name: Sealed,
    /// What it may do: sorted, each once, never empty.
    pub scopes: Vec<Scope>,
    /// Its secrets, newest last.
    pub secrets: Vec<ServiceSecret>,
    /// When it was made.
    pub created_ms: TimeMs,
    /// When it ends.
    pub expires_ms: TimeMs,
}

impl Service {
    /// Whether a secret is one of its own and not expired.
    pub fn accepts(&self, hash: &SecretHash, now_ms: TimeMs) -> bool {
        self.expires_ms > now_ms && self.secrets.iter().any(|s| s.hash == *hash && s.expires_ms > now_ms)
    }
}
