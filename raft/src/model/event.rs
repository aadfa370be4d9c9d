//! What is logged: events, who caused them, and what a vault keeps of them.
//!
//! Owns: the closed list of kinds, and the texts that entries of the log commit to. Not: hashing ([`crate::log`]), nor
//! what details say (the gateway knows their layout).
//! Holds: (1) names of kinds are part of entries and never change; (2) what an owner is shown is exactly what the entry
//! commits to: [`HistoryEntry::opening`] makes both; (3) without the vault's records nothing of an event can be read.

use serde::{Deserialize, Serialize};

use super::{AccountId, DocumentId, Sealed, TimeMs, VaultId};
use crate::log::{
    leaf::{Field, Opening, Salt, commitment, leaf},
    merkle::Hash,
};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// Everything that is logged.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum EventKind {
            $($(#[$doc])* $name,)+
        }

        impl EventKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name in entries and answers.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

kinds! {
    /// A session began.
    SignedIn = "session.began",
    /// A session was ended.
    SignedOut = "session.ended",
    /// A session proved the person once more.
    SteppedUp = "session.stepped_up",
    /// A document was stored.
    Uploaded = "document.uploaded",
    /// A version was added.
    NewVersion = "document.new_version",
    /// Content left for a device of its owner.
    ReadByOwner = "document.read",
    /// Content left for somebody it is shared with.
    ReadByRecipient = "document.read_by_recipient",
    /// Content left through a link.
    ReadByLink = "document.read_by_link",
    /// A document went into the trash.
    Trashed = "document.trashed",
    /// A document came back out of the trash.
    Restored = "document.restored",
    /// A document was erased.
    Erased = "document.erased",
    /// A scanner found nothing.
    ScanClean = "document.scan_clean",
    /// A scanner found something.
    ScanInfected = "document.scan_infected",
    /// A share was offered.
    ShareOffered = "share.offered",
    /// A share was accepted.
    ShareAccepted = "share.accepted",
    /// A share was refused by whom it was offered to.
    ShareRefused = "share.refused",
    /// A share was taken back.
    ShareRevoked = "share.revoked",
    /// A share came to its end.
    ShareLapsed = "share.lapsed",
    /// A recipient copied a shared document.
    ShareCopied = "share.copied",
    /// A contact was added.
    ContactAdded = "contact.added",
    /// A contact was changed.
    ContactChanged = "contact.changed",
    /// A contact was removed.
    ContactRemoved = "contact.removed",
    /// The vault's content was exported.
    Exported = "vault.exported",
    /// Somebody was denied what they asked for.
    Denied = "access.denied",
    /// A service acted for the person.
    ServiceActed = "service.acted",
    /// An office acted.
    OfficeActed = "office.acted",
    /// Keys were changed.
    KeysRotated = "keys.rotated",
    /// An operator acted.
    OperatorActed = "operator.acted",
    /// A document's name or attributes changed.
    Changed = "document.changed",
    /// The terms of a share changed.
    ShareChanged = "share.changed",
    /// A recipient asked for a share that waits for incapacity.
    AccessRequested = "share.access_requested",
    /// The owner objected to that.
    AccessVetoed = "share.access_vetoed",
    /// A link was made.
    LinkCreated = "link.created",
    /// A link was opened.
    LinkOpened = "link.opened",
    /// A link was stopped.
    LinkRevoked = "link.revoked",
    /// A death was confirmed.
    DeathConfirmed = "death.confirmed",
    /// That turned out to be wrong.
    DeathReversed = "death.reversed",
    /// The owner closed the vault, and everything in it was erased.
    Closed = "vault.closed",
}

/// Who caused an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// A person.
    Account(AccountId),
    /// A person for an office, which is known by its vault.
    Office {
        /// The office.
        office: VaultId,
        /// Which of its staff.
        staff: AccountId,
    },
    /// A service.
    Service(u128),
    /// Whoever had a link.
    Link(u128),
    /// An operator, by the SHA-256 of the certificate.
    Operator([u8; 32]),
    /// The cluster itself.
    System,
}

impl Actor {
    /// The text that an entry commits to.
    pub fn text(&self) -> String {
        match self {
            Self::Account(id) => format!("account:{id}"),
            Self::Office { office, staff } => format!("office:{office}/{staff}"),
            Self::Service(id) => format!("service:{id:032x}"),
            Self::Link(id) => format!("link:{id:032x}"),
            Self::Operator(hash) => format!("operator:{}", hex::encode(hash)),
            Self::System => "system".to_owned(),
        }
    }
}

/// What a command brings for the log beside what it does: who, from where, and the randomness of the entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    /// Who.
    pub actor: Actor,
    /// Random: hides what the entry commits to.
    pub salt: Salt,
    /// From where, and what else there is to say, sealed under the key of the vault whose history it is; empty where
    /// there is nothing to say.
    pub details: Sealed,
    /// The commitment to the details as they were before sealing.
    pub committed: Hash,
}

impl Trail {
    /// A trail without details.
    pub fn bare(actor: Actor, salt: Salt) -> Self {
        Self { actor, salt, details: Sealed::default(), committed: commitment(Field::Details, &salt, b"") }
    }
}

/// An event as it is given to the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// In whose history it belongs: the owner's, also where another one acted.
    pub vault: Option<VaultId>,
    /// Which document.
    pub document: Option<DocumentId>,
    /// Who, from where.
    pub trail: Trail,
}

/// An event with its time and place in the log, as a vault's history keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Position in the log.
    pub index: u64,
    /// When.
    pub at_ms: TimeMs,
    /// What.
    pub event: Event,
}

impl HistoryEntry {
    /// The bytes of the log's entry.
    pub fn leaf(&self) -> Vec<u8> {
        let Trail { actor, salt, committed, .. } = &self.event.trail;
        let of = |field, text: &str| commitment(field, salt, text.as_bytes());
        let (vault, document) = self.places();
        let commitments = [of(Field::Actor, &actor.text()), of(Field::Vault, &vault), of(Field::Document, &document), *committed];
        leaf(self.event.kind.name(), self.at_ms, &commitments)
    }

    /// What opens the log's entry, with the opened details.
    pub fn opening(&self, details: &[u8]) -> Opening {
        let (vault, document) = self.places();
        Opening {
            kind: self.event.kind.name().to_owned(),
            at_ms: self.at_ms,
            actor: self.event.trail.actor.text(),
            vault,
            document,
            salt: self.event.trail.salt,
            details: details.to_vec(),
        }
    }

    fn places(&self) -> (String, String) {
        let text = |id: Option<String>| id.unwrap_or_default();
        (text(self.event.vault.map(|id| id.to_string())), text(self.event.document.map(|id| id.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_of_their_own_that_entries_take() {
        let mut names: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.name()).collect();
        for name in &names {
            let bytes = leaf(name, 5, &[[0; 32]; 4]);
            assert_eq!(crate::log::leaf::parse(&bytes).unwrap().kind, *name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), EventKind::ALL.len());
    }

    #[test]
    fn what_is_shown_is_what_is_committed_to() {
        let salt = [3; 32];
        let actors = [
            Actor::Account(AccountId(1)),
            Actor::Office { office: VaultId(2), staff: AccountId(1) },
            Actor::Service(3),
            Actor::Link(4),
            Actor::Operator([5; 32]),
            Actor::System,
        ];
        for actor in actors {
            let trail = Trail { committed: commitment(Field::Details, &salt, b"{}"), ..Trail::bare(actor, salt) };
            let event = Event { kind: EventKind::Uploaded, vault: Some(VaultId(7)), document: None, trail };
            let entry = HistoryEntry { index: 1, at_ms: 2, event };
            assert_eq!(entry.opening(b"{}").leaf(), entry.leaf());
            assert_ne!(entry.opening(b"{ }").leaf(), entry.leaf());
            assert_eq!(Opening::parse(&entry.opening(b"{}").to_string()), Ok(entry.opening(b"{}")));
        }
    }
}
