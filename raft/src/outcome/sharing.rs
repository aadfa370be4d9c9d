//! Answers of the family of shares and links.
//!
//! Outcomes say whom a change concerned, for history and notices. They are for the one who gave the command: what
//! `ended` tells of shares that waited for a death must never reach their recipient ([`EndedShare::was_listed`]).

use serde::{Deserialize, Serialize};

use crate::{
    model::{Death, Document, DocumentId, EndReason, Link, Share, ShareId, VaultId},
    policy::Denial,
};

/// What a command of the family came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SharingOutcome {
    /// The shares that were made.
    Created(Vec<Share>),
    /// A share after a change.
    Changed(Box<Share>),
    /// Shares ended.
    Ended(Vec<EndedShare>),
    /// A copy lies in the recipient's vault.
    Copied {
        /// The copy.
        document: Box<Document>,
        /// The share that allowed it.
        share: Box<Share>,
    },
    /// A link after a change.
    Link(Box<Link>),
    /// A link was opened; this opening is counted.
    Opened(Box<Link>),
    /// The death flag after a change.
    Death {
        /// The vault of who is, or is not, dead.
        vault: VaultId,
        /// The flag.
        death: Death,
    },
}

/// A share that ended by a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedShare {
    /// Which.
    pub share: ShareId,
    /// The vault that shared.
    pub owner: VaultId,
    /// The document.
    pub document: DocumentId,
    /// The vault that read, or would have.
    pub recipient: VaultId,
    /// Why.
    pub why: EndReason,
    /// Whether the recipient knew of it; else nothing of this is for the recipient.
    pub was_listed: bool,
}

/// Why a command of the family was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SharingRefusal {
    /// The policy says no.
    #[error("{0}")]
    Denied(Denial),
    /// The account whose death is told is unknown.
    #[error("no such account")]
    AccountUnknown,
    /// The other vault is no contact.
    #[error("documents are shared with contacts only")]
    NotAContact,
    /// Somebody would share with the own vault.
    #[error("a document is not shared with its own vault")]
    OwnVault,
    /// The owner said that the document is not to be shared.
    #[error("the document is not shareable")]
    NotShareable,
    /// The recipient has a live share of the document.
    #[error("the document is shared with this contact already")]
    AlreadyShared,
    /// The share's or the link's id is taken.
    #[error("the id is taken")]
    IdTaken,
    /// The document, or the pair of vaults, has as many shares as it may have.
    #[error("there are as many shares as there may be")]
    TooManyShares,
    /// The document has as many links as it may have.
    #[error("there are as many links as there may be")]
    TooManyLinks,
    /// The share changed since the client saw it.
    #[error("the share is at revision {actual}")]
    RevisionMismatch {
        /// Its revision.
        actual: u64,
    },
    /// The version is not the one that is shown.
    #[error("version {actual} is shown")]
    VersionMismatch {
        /// The one that is shown.
        actual: u32,
    },
    /// The version is not among those of the document.
    #[error("the document has no such version")]
    VersionUnknown,
    /// A time is past, or too far away.
    #[error("{0}")]
    BadTime(BadTime),
    /// A text, a wrap or a number of entries breaks a limit.
    #[error("a part of the request is longer than allowed, or there are none or too many entries")]
    Limit,
    /// The recipient asked, and the answer is not due or was no.
    #[error("access was asked for already: it is decided at {opens_ms}")]
    AlreadyRequested {
        /// When it opens, or when the recipient may ask again after an objection.
        opens_ms: u64,
    },
    /// There is no request that one could object to.
    #[error("nobody asks for access at present")]
    NothingRequested,
    /// The share was given already.
    #[error("the share is no draft")]
    NotADraft,
    /// The death was told already.
    #[error("this death was confirmed already")]
    AlreadyConfirmed,
    /// There is no confirmed death to reverse.
    #[error("no death was confirmed")]
    NotConfirmed,
}

/// What is wrong with a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum BadTime {
    /// It is past.
    #[error("the end lies in the past")]
    Past,
    /// It is further away than a link may live.
    #[error("a link lives 30 days at most")]
    LinkTooLong,
    /// The time to object is out of bounds.
    #[error("the time to object is 1 to 90 days")]
    Wait,
}

impl SharingRefusal {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.code(),
            Self::AccountUnknown => "not_found",
            Self::NotAContact => "not_a_contact",
            Self::OwnVault => "own_vault",
            Self::NotShareable => "not_shareable",
            Self::AlreadyShared => "already_shared",
            Self::IdTaken => "conflict",
            Self::TooManyShares => "too_many_shares",
            Self::TooManyLinks => "too_many_links",
            Self::RevisionMismatch { .. } => "precondition_failed",
            Self::VersionMismatch { .. } => "version_changed",
            Self::VersionUnknown => "version_unknown",
            Self::BadTime(_) => "bad_time",
            Self::Limit => "unprocessable",
            Self::AlreadyRequested { .. } => "already_requested",
            Self::NothingRequested => "nothing_requested",
            Self::NotADraft => "not_a_draft",
            Self::AlreadyConfirmed => "already_confirmed",
            Self::NotConfirmed => "not_confirmed",
        }
    }
}

impl From<Denial> for SharingRefusal {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}
