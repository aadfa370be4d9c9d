//! Answers of the families of people and offices.

use serde::{Deserialize, Serialize};

use super::EndedShare;
use crate::model::{Contact, Invitation, RequestList, Staff, Thread};

/// What a command about people came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeopleOutcome {
    /// An invitation after a change, for its inviter.
    Invitation(Box<Invitation>),
    /// A contact after a change, as the vault that acted has it.
    Contact(Box<Contact>),
    /// Contacts ended, with these shares.
    Ended {
        /// The shares.
        shares: Vec<EndedShare>,
        /// Whether there are more contacts to end: the command is to be given again.
        more: bool,
    },
    /// A thread after a change, as the side that acted has it.
    Thread(Box<Thread>),
    /// A list after a change, as the side that acted has it.
    List(Box<RequestList>),
}

/// What a command about offices came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OfficeOutcome {
    /// A piece of the register is in.
    Imported {
        /// Offices that are new.
        created: usize,
        /// Offices that were known.
        updated: usize,
    },
    /// A member after a change.
    Staff(Box<Staff>),
}

/// Why a command about people or offices was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum PeopleRefusal {
    /// There is no such contact, invitation, office, thread or list, or it is another's.
    #[error("there is no such thing here")]
    NotFound,
    /// The person may not act there.
    #[error("you do not act for this office, or your role in it does not reach so far")]
    Role,
    /// The own invitation was shown.
    #[error("this is your own invitation")]
    SelfInvite,
    /// The invitation is over; the same words whyever.
    #[error("the invitation can no longer be answered")]
    InvitationExpired,
    /// An invitation to the same address is open.
    #[error("an invitation to this address is open already")]
    AlreadyInvited,
    /// They are contacts.
    #[error("you are contacts already")]
    AlreadyContacts,
    /// Offices are taken from the directory.
    #[error("offices are not invited: take them from the directory")]
    OfficeInvited,
    /// There is a limit to open invitations.
    #[error("there are as many invitations as there may be: withdraw some, or wait")]
    TooManyInvitations,
    /// There is a limit to contacts.
    #[error("one of the two has as many contacts as there may be")]
    TooManyContacts,
    /// There is a limit to blocks.
    #[error("there are as many blocks as there may be")]
    TooManyBlocks,
    /// The other one is blocked by who acts.
    #[error("you have blocked this one: end that first")]
    Blocked,
    /// The other vault is no contact.
    #[error("this is no contact of yours")]
    NotAContact,
    /// Messages and lists are between a person and an office.
    #[error("messages and lists are between a person and an office")]
    NoOffice,
    /// The office ended.
    #[error("the office is not active")]
    OfficeInactive,
    /// The contact changed since the client saw it.
    #[error("the contact is at revision {actual}")]
    RevisionMismatch {
        /// Its revision.
        actual: u64,
    },
    /// Only the living begin this.
    #[error("the person has died")]
    Deceased,
    /// An id or a code is taken.
    #[error("the id is taken")]
    IdTaken,
    /// A text is too long, or a number of things is out of bounds.
    #[error("a part of the request is longer than allowed, or there are none or too many entries")]
    Limit,
    /// The thread is full, or nobody answers.
    #[error("there are as many messages as there may be before an answer")]
    TooManyMessages,
    /// There is a limit to lists.
    #[error("there are as many lists as there may be")]
    TooManyLists,
    /// The list is closed.
    #[error("the list is closed")]
    ListClosed,
    /// The document is not shared with the office.
    #[error("the document is not shared with this office")]
    NotShared,
    /// The member is there.
    #[error("this person is a member already")]
    AlreadyStaff,
    /// There is a limit to staff.
    #[error("there are as many members as there may be")]
    TooManyStaff,
    /// An office is never without a notary.
    #[error("an office keeps at least one notary who may act")]
    LastNotary,
    /// The register changed while it was imported.
    #[error("the office {0} changed meanwhile: import again")]
    RegisterChanged(String),
    /// A successor of an office that is not known.
    #[error("the register names an office {0} that is not known")]
    RegisterUnknown(String),
    /// A successor that leads back.
    #[error("the office {0} would be its own successor")]
    RegisterCycle(String),
}

impl PeopleRefusal {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Role => "role",
            Self::SelfInvite => "self_invite",
            Self::InvitationExpired => "expired",
            Self::AlreadyInvited => "already_invited",
            Self::AlreadyContacts => "already_contacts",
            Self::TooManyInvitations => "too_many_invitations",
            Self::TooManyContacts => "too_many_contacts",
            Self::TooManyBlocks => "too_many_blocks",
            Self::Blocked => "blocked",
            Self::NotAContact => "not_a_contact",
            Self::OfficeInactive => "office_inactive",
            Self::RevisionMismatch { .. } => "precondition_failed",
            Self::Deceased => "deceased",
            Self::TooManyMessages => "too_many_messages",
            Self::TooManyLists => "too_many_lists",
            Self::NotShared => "not_shared",
            Self::AlreadyStaff => "already_staff",
            Self::TooManyStaff => "too_many_staff",
            Self::LastNotary => "last_notary",
            Self::IdTaken | Self::ListClosed | Self::RegisterChanged(_) => "conflict",
            Self::OfficeInvited | Self::NoOffice | Self::Limit | Self::RegisterUnknown(_) | Self::RegisterCycle(_) => "unprocessable",
        }
    }
}
