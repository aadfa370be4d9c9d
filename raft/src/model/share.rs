//! Shares of documents, links for third parties, and the death flag that some shares wait for.
//!
//! A share lets one vault (a person's or an office's) read one document of another. Its record lies with the owner;
//! the recipient has a reference to it only while there is something to see (see [`crate::keys::incoming`]).
//!
//! Owns: the records and their states. Not: who may do what ([`crate::policy`]), how they change
//! ([`crate::apply::sharing`]).
//! Holds: (1) a share that waits for a death, or is a draft, leaves nothing in the recipient's part of the state;
//! (2) a share that ended never lives again: sharing once more makes a new one; (3) no link lives longer than
//! [`Link::LIFETIME_MAX_MS`].

use serde::{Deserialize, Serialize};

use super::{DocumentId, Sealed, TimeMs, VaultId, attributes::keyed, ulid_id};

ulid_id!(
    /// A share of one document with one vault.
    ShareId
);
ulid_id!(
    /// A link to one document for whoever holds its token.
    LinkId
);

/// When a share opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Moment {
    /// At once. It is over with the owner's death.
    Now,
    /// When the owner's death was confirmed. Nobody but the owner can tell before that it exists.
    AfterDeath,
    /// When the recipient asked, and the owner did not object within this time. The recipient knows beforehand that
    /// there is something to ask for, not what.
    OnIncapacity {
        /// How long the owner can object.
        wait_ms: u64,
    },
}

impl Moment {
    /// Shortest time to object.
    pub const WAIT_MIN_MS: u64 = 24 * 3600 * 1000;
    /// Longest time to object.
    pub const WAIT_MAX_MS: u64 = 90 * Self::WAIT_MIN_MS;

    /// Its stable key.
    pub fn key(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::AfterDeath => "after_death",
            Self::OnIncapacity { .. } => "on_incapacity",
        }
    }

    /// The state of a share that begins to wait for this.
    pub fn first_state(self) -> ShareState {
        match self {
            Self::Now => ShareState::Offered,
            Self::AfterDeath => ShareState::WaitingDeath,
            Self::OnIncapacity { .. } => ShareState::WaitingIncapacity,
        }
    }
}

keyed!(
    /// Where a share stands.
    ShareState, "the state of the share", {
        /// Prepared by the owner, not given yet.
        Draft => "draft",
        /// Waits for the owner's death.
        WaitingDeath => "waiting_death",
        /// Waits until the recipient asks and the owner does not object.
        WaitingIncapacity => "waiting_incapacity",
        /// The recipient may accept or refuse it.
        Offered => "offered",
        /// The recipient reads it.
        Accepted => "accepted",
        /// The recipient did not want it.
        Refused => "refused",
        /// Its time ran out, or what it was for is no more.
        Lapsed => "lapsed",
        /// The owner, or the end of a contact, stopped it.
        Revoked => "revoked",
    }
);

impl ShareState {
    /// Whether it is over.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Refused | Self::Lapsed | Self::Revoked)
    }

    /// Whether the recipient's part of the state has a reference to it.
    pub fn is_listed(self) -> bool {
        matches!(self, Self::WaitingIncapacity | Self::Offered | Self::Accepted)
    }
}

keyed!(
    /// Why a share ended.
    EndReason, "the reason", {
        /// The owner revoked it.
        Owner => "owner",
        /// The recipient refused it.
        Recipient => "recipient",
        /// Its time ran out.
        Expired => "expired",
        /// The document is not shareable any more.
        NotShareable => "not_shareable",
        /// The document was erased.
        Erased => "erased",
        /// The two are no contacts any more.
        ContactEnded => "contact_ended",
        /// When it should have opened its recipient was not there any more.
        RecipientGone => "recipient_gone",
    }
);

impl EndReason {
    /// The state of a share that ended so.
    pub fn state(self) -> ShareState {
        match self {
            Self::Recipient => ShareState::Refused,
            Self::Expired | Self::Erased | Self::RecipientGone => ShareState::Lapsed,
            Self::Owner | Self::NotShareable | Self::ContactEnded => ShareState::Revoked,
        }
    }
}

/// A text that both sides can open, each under the own vault's key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// For the owner.
    pub owner: Sealed,
    /// For the recipient.
    pub recipient: Sealed,
}

impl Message {
    /// Most sealed bytes for each side: several shares must fit into one request.
    pub const BYTES_MAX: usize = 2_000;

    /// Whether it keeps the limit.
    pub fn is_sound(&self) -> bool {
        self.owner.0.len() <= Self::BYTES_MAX && self.recipient.0.len() <= Self::BYTES_MAX
    }
}

/// What a recipient opens a version with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedKey {
    /// The version that it is for.
    pub version: u32,
    /// The document key, wrapped under the recipient vault's key.
    pub wrapped_key: Vec<u8>,
    /// The document's name and media type, sealed under the recipient vault's key.
    pub name: Sealed,
    /// The document's revision that the name was taken from.
    pub revision: u64,
}

impl SharedKey {
    /// Most bytes of the wrap.
    pub const WRAP_BYTES_MAX: usize = 256;
    /// Most bytes of the sealed name.
    pub const NAME_BYTES_MAX: usize = 2_000;

    /// Whether it keeps the limits.
    pub fn is_sound(&self) -> bool {
        self.wrapped_key.len() <= Self::WRAP_BYTES_MAX && self.name.0.len() <= Self::NAME_BYTES_MAX
    }
}

/// A recipient of a share on incapacity asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRequest {
    /// When.
    pub at_ms: TimeMs,
    /// When the share opens unless the owner objects.
    pub opens_ms: TimeMs,
    /// When the owner objected; the recipient may ask again after `opens_ms`.
    pub vetoed_ms: Option<TimeMs>,
}

/// How a share ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at_ms: TimeMs,
    /// Why.
    pub why: EndReason,
    /// Whether the recipient had seen that it existed.
    pub was_listed: bool,
}

/// One document, shared with one vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Opaque id.
    pub id: ShareId,
    /// The vault that shares.
    pub owner: VaultId,
    /// What it shares.
    pub document: DocumentId,
    /// The vault that reads.
    pub recipient: VaultId,
    /// When it opens.
    pub moment: Moment,
    /// Whether the recipient may copy it.
    pub allow_copy: bool,
    /// When it lapses.
    pub until_ms: Option<TimeMs>,
    /// The only version that it shows; else always the newest.
    pub pinned: Option<u32>,
    /// A word to the recipient.
    pub message: Message,
    /// What the recipient opens it with. Of another version than the one shown, until somebody with both keys renewed it.
    pub key: SharedKey,
    /// Where it stands.
    pub state: ShareState,
    /// How it ended.
    pub ended: Option<Ended>,
    /// The latest request for access, where it waits for incapacity.
    pub request: Option<AccessRequest>,
    /// When the recipient last copied it, and how often; what was copied stays the recipient's.
    pub copied: Option<(TimeMs, u32)>,
    /// Counts the owner's and the recipient's changes; the strong ETag.
    pub revision: u64,
    /// When it was made.
    pub created_ms: TimeMs,
    /// When it opened for the recipient.
    pub offered_ms: Option<TimeMs>,
    /// The newest change.
    pub updated_ms: TimeMs,
}

impl Share {
    /// Most shares of one document, live and ended ones that are still kept.
    pub const PER_DOCUMENT_MAX: usize = 100;
    /// Most live shares of one vault with one other: the end of a contact ends them all in one transaction.
    pub const PER_PAIR_MAX: u32 = 1_000;
    /// Most shares made by one command, or with one upload.
    pub const PER_COMMAND_MAX: usize = 20;
    /// How long an ended share is kept for both sides to see.
    pub const ENDED_KEPT_MS: u64 = 90 * 24 * 3600 * 1000;

    /// Whether its time ran out.
    pub fn is_past(&self, now: TimeMs) -> bool {
        self.until_ms.is_some_and(|until| until <= now)
    }

    /// The version that it shows of a document whose newest one is `current`.
    pub fn version(&self, current: u32) -> u32 {
        self.pinned.unwrap_or(current)
    }
}

/// A share as the owner asks for it; what is missing, the document and the clock say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewShare {
    /// Id, made by the gateway.
    pub id: ShareId,
    /// The vault that shall read.
    pub recipient: VaultId,
    /// When it opens.
    pub moment: Moment,
    /// Whether the recipient may copy it.
    pub allow_copy: bool,
    /// When it lapses.
    pub until_ms: Option<TimeMs>,
    /// Whether it shows the version of [`NewShare::key`] for ever.
    pub pinned: bool,
    /// A word to the recipient.
    pub message: Message,
    /// What the recipient opens it with.
    pub key: SharedKey,
    /// Whether it is only prepared.
    pub draft: bool,
}

/// Where the recipient finds a share: lies in the recipient's part of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncomingRef {
    /// The vault that shares.
    pub owner: VaultId,
    /// What it shares.
    pub document: DocumentId,
}

/// A share that the recipient had seen and that ended: a former recipient hears that it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// When it is forgotten.
    pub forget_ms: TimeMs,
}

/// Which live share a vault gave another one of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenRef(pub ShareId);

/// How many live shares one vault has with one other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairCount(pub u32);

/// Whether a vault's owner is dead, as far as this system was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Confirmed, or reversed.
    pub confirmed: bool,
    /// When that was said.
    pub at_ms: TimeMs,
    /// Whether all shares follow it by now; they do so in pieces.
    pub settled: bool,
}

/// SHA-256 of a link's token: the token itself is nowhere stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkHash(pub [u8; 32]);

impl std::fmt::Debug for LinkHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LinkHash({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// What the gateway's password function made of a link's password, in that function's own format.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash(pub String);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// A link as the owner asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewLink {
    /// Id, made by the gateway.
    pub id: LinkId,
    /// Hash of its token.
    pub hash: LinkHash,
    /// The version that it shows, for ever: the newest one when it was made.
    pub version: u32,
    /// The document key, wrapped under a key that follows from the token.
    pub wrapped_key: Vec<u8>,
    /// Name and media type, sealed under a key that follows from the token.
    pub name: Sealed,
    /// The password, hashed; `None` where it needs none.
    pub password: Option<PasswordHash>,
    /// When it ends.
    pub until_ms: TimeMs,
    /// How often it can be opened.
    pub max_opens: u32,
    /// Whether who opens it must sign in.
    pub identity_check: bool,
    /// Whether what is shown bears a watermark.
    pub watermark: bool,
}

/// A link to one version of one document, for whoever has the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What the owner asked for.
    pub asked: NewLink,
    /// The vault.
    pub vault: VaultId,
    /// The document.
    pub document: DocumentId,
    /// When it was made.
    pub created_ms: TimeMs,
    /// When it was opened, oldest first.
    pub opens: Vec<TimeMs>,
    /// When it was stopped.
    pub revoked_ms: Option<TimeMs>,
}

impl Link {
    /// Longest life.
    pub const LIFETIME_MAX_MS: u64 = 30 * 24 * 3600 * 1000;
    /// Most times that a link can be opened.
    pub const OPENS_MAX: u32 = 100;
    /// Most links of one document, with those that ended and are still kept.
    pub const PER_DOCUMENT_MAX: usize = 20;
    /// Most bytes of what the password function made.
    pub const PASSWORD_BYTES_MAX: usize = 256;

    /// Whether it can still be opened, as far as it knows itself.
    pub fn is_live(&self, now: TimeMs) -> bool {
        self.revoked_ms.is_none() && self.asked.until_ms > now && u32::try_from(self.opens.len()).is_ok_and(|n| n < self.asked.max_opens)
    }
}

/// Where a link is found by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRef {
    /// The vault.
    pub vault: VaultId,
    /// The document.
    pub document: DocumentId,
    /// The link.
    pub link: LinkId,
}
