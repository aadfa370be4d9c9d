//! Contacts, invitations and blocks; messages and request lists between a person and an office.
//!
//! Owns: the records and their limits. Not: how they change ([`crate::apply::people`]).
//! Holds: (1) a contact lies in both vaults, or in none; (2) who blocked whom stands in the blocker's vault only;
//! (3) every text is sealed under the key of the vault that its record lies in, so a text of two has two copies.

use serde::{Deserialize, Serialize};

use super::{Sealed, ShareId, TimeMs, VaultId, attributes::keyed, ulid_id};

ulid_id!(
    /// A contact of two vaults; the same in both.
    ContactId
);
ulid_id!(
    /// An invitation to become contacts.
    InvitationId
);
ulid_id!(
    /// A thread of messages between a person and an office.
    ThreadId
);
ulid_id!(
    /// One message; what its two sealed texts are bound to.
    MessageId
);
ulid_id!(
    /// A list of documents that an office asks for.
    RequestListId
);

keyed!(
    /// What the other one is.
    ContactKind, "the kind of contact", {
        /// A parent.
        Parent => "parent",
        /// A child.
        Child => "child",
        /// Another relative.
        Family => "family",
        /// Who does business for the person.
        BusinessAgent => "business_agent",
        /// Somebody whom the person trusts.
        TrustedPerson => "trusted_person",
        /// A notary's office, and what a person is to it. Only from the directory of offices.
        NotaryOffice => "notary_office",
    }
);

impl ContactKind {
    /// What the one who invites is to the one who is invited so.
    #[must_use]
    pub fn mirrored(self) -> Self {
        match self {
            Self::Parent => Self::Child,
            Self::Child => Self::Parent,
            other => other,
        }
    }
}

/// A name that somebody proved, as the vault of the other one has it. Nobody edits it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedName {
    /// The legal name, sealed.
    pub name: Sealed,
    /// Where it is from: the way of the latest sign-in, or [`VerifiedName::REGISTER`].
    pub source: String,
    /// When it was proved.
    pub verified_ms: TimeMs,
}

impl VerifiedName {
    /// The source of an office's name.
    pub const REGISTER: &'static str = "office_register";
    /// Most bytes of a sealed name.
    pub const SEALED_MAX: usize = 1024;
}

/// One vault's contact with another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Its id, the same on both sides.
    pub id: ContactId,
    /// The other vault.
    pub other: VaultId,
    /// What the other one is.
    pub kind: ContactKind,
    /// Since when.
    pub since_ms: TimeMs,
    /// Who the other one is.
    pub identity: VerifiedName,
    /// What the vault's owner calls the other one, sealed.
    pub own_name: Option<Sealed>,
    /// The strong ETag.
    pub revision: u64,
}

impl Contact {
    /// Most contacts of a person; an office has as many as there are people.
    pub const PER_PERSON_MAX: usize = 500;
    /// Contacts that one command ends at most when all of a vault's end.
    pub const ENDED_AT_ONCE: usize = 10;
}

/// The other vault of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactRef(pub VaultId);

/// Somebody who was blocked, as the contact was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// The contact that ended.
    pub contact: Contact,
    /// Since when.
    pub blocked_ms: TimeMs,
}

impl Blocked {
    /// Most that one person blocks.
    pub const PER_VAULT_MAX: usize = 500;
}

/// SHA-256 of an invitation's code: the code itself is nowhere stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CodeHash(pub [u8; 32]);

impl std::fmt::Debug for CodeHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CodeHash({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// Whom an invitation was sent to, where that is an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addressee {
    /// Keyed hash of the address: one live invitation a pair.
    pub hash: [u8; 32],
    /// The address, sealed under the inviter's key.
    pub address: Sealed,
}

keyed!(
    /// Where an invitation stands.
    InvitationState, "the state of the invitation", {
        /// It can be accepted.
        Open => "open",
        /// It was.
        Accepted => "accepted",
        /// It was declined.
        Declined => "declined",
        /// The inviter took it back.
        Withdrawn => "withdrawn",
        /// Nobody answered in time.
        Expired => "expired",
    }
);

/// An invitation, in the inviter's vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// Who invites.
    pub from: VaultId,
    /// What the invited one is to the inviter.
    pub kind: ContactKind,
    /// Hash of the code.
    pub code: CodeHash,
    /// Where it was sent; `None` when the code is passed on by hand.
    pub to: Option<Addressee>,
    /// Where it stands, by its record; see [`Invitation::state_at`].
    pub state: InvitationState,
    /// When it was made.
    pub created_ms: TimeMs,
    /// When it lapses.
    pub expires_ms: TimeMs,
    /// When it was answered, withdrawn or lapsed.
    pub ended_ms: Option<TimeMs>,
}

impl Invitation {
    /// How long it can be accepted.
    pub const LIFETIME_MS: u64 = 14 * 24 * 3600 * 1000;
    /// How long the inviter still sees one that ended.
    pub const KEPT_MS: u64 = 30 * 24 * 3600 * 1000;
    /// Most open ones of a vault.
    pub const OPEN_MAX: usize = 50;
    /// Most of a vault, with those that ended lately: bounds how many anybody can send in a month.
    pub const KEPT_MAX: usize = 300;

    /// Where it stands now: time may have ended it before its record says so.
    pub fn state_at(&self, now: TimeMs) -> InvitationState {
        if self.state == InvitationState::Open && self.expires_ms <= now { InvitationState::Expired } else { self.state }
    }
}

/// Where an invitation lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationRef {
    /// The inviter.
    pub vault: VaultId,
    /// Which.
    pub invitation: InvitationId,
}

/// One side's view of a thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Its id, the same on both sides.
    pub id: ThreadId,
    /// The other vault.
    pub other: VaultId,
    /// When it began.
    pub created_ms: TimeMs,
    /// When the last message came.
    pub updated_ms: TimeMs,
    /// Number of the last message; they count from 1.
    pub last: u32,
    /// This side has read up to this message.
    pub read: u32,
    /// Messages of this side since the last of the other side.
    pub unanswered: u32,
}

/// A thread's id, by the other vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadRef(pub ThreadId);

/// One side's copy of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadMessage {
    /// Its id.
    pub id: MessageId,
    /// Its number in the thread.
    pub number: u32,
    /// Whether the owner of this copy wrote it.
    pub own: bool,
    /// The text, sealed.
    pub text: Sealed,
    /// When.
    pub at_ms: TimeMs,
}

impl Thread {
    /// Most messages of a thread.
    pub const MESSAGES_MAX: u32 = 10_000;
    /// Most messages that one side sends without an answer.
    pub const UNANSWERED_MAX: u32 = 100;
    /// Most bytes of a sealed text: two copies fit a command.
    pub const SEALED_MAX: usize = 4 * 1024 + 64;
}

/// A document that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestItem {
    /// What is asked for, sealed.
    pub text: Sealed,
    /// The share that brought it.
    pub share: Option<ShareId>,
    /// When it arrived.
    pub arrived_ms: Option<TimeMs>,
}

/// One side's copy of a list of documents that an office asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestList {
    /// Its id, the same on both sides.
    pub id: RequestListId,
    /// The other vault.
    pub other: VaultId,
    /// Whether the owner of this copy is the office.
    pub asks: bool,
    /// What it is for, sealed.
    pub title: Sealed,
    /// The items, in the office's order.
    pub items: Vec<RequestItem>,
    /// When it was made.
    pub created_ms: TimeMs,
    /// When the office closed it.
    pub closed_ms: Option<TimeMs>,
}

impl RequestList {
    /// Most items of a list.
    pub const ITEMS_MAX: usize = 20;
    /// Most bytes of a sealed title or item: two copies of all of them fit a command.
    pub const SEALED_MAX: usize = 256;
    /// Most lists of a person.
    pub const PER_PERSON_MAX: usize = 100;
}
