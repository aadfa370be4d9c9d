//! Who may do what with a document: one pure table, decided from relation, grant, state and action.
//!
//! Owns: the yes and the kind of no. Not: who somebody is, nor the facts of a [`Case`]; [`crate::apply`] and
//! [`crate::view`] bring those, and decide through [`decide`].
//! Holds: (1) who has nothing to see is told [`Denial::NotFound`] whatever the document's state, so that a hidden
//! thing, a missing one and another's are one answer; (2) a share that waits for a death, or is a draft, is as none;
//! (3) nobody but the owner shares; (4) operators never read; (5) a former recipient is told [`Denial::Gone`];
//! (6) what was not scanned, or is infected or in the trash, shows its bytes to nobody.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{DocumentState, Scan, ShareState};

/// What somebody is to a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The document lies in the own vault.
    Owner,
    /// The own vault may have a share of it.
    Recipient,
    /// The office that the owner named: nothing by itself, a recipient of what was shared.
    ReferenceOffice,
    /// Who holds the token of a link.
    LinkHolder,
    /// Who runs the cluster.
    Operator,
    /// Anybody else.
    Stranger,
}

/// What a person may do in an office's vault; each may do what those before may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OfficeRole {
    /// Reads.
    Reader,
    /// Works with documents and shares.
    Clerk,
    /// Also does what cannot be undone.
    Notary,
}

/// What a service was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Scopes {
    /// See and read documents.
    pub read: bool,
    /// Add and change documents.
    pub write: bool,
    /// Share them, and answer shares.
    pub share: bool,
}

/// Through whom a vault acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// Its owner.
    Person,
    /// Staff, in an office's vault.
    Staff(OfficeRole),
    /// A service. It never erases.
    Service(Scopes),
}

/// What was given to somebody who is not the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Nothing.
    None,
    /// A share.
    Share {
        /// Where it stands.
        state: ShareState,
        /// Whether it may be copied.
        copy: bool,
    },
    /// A link.
    Link {
        /// Whether it can be opened.
        live: bool,
    },
}

/// Where the document stands, with the version that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not scanned yet.
    PendingScan,
    /// In use.
    Available,
    /// In the trash.
    Trashed,
    /// Malware was found.
    Quarantined,
    /// There was one.
    Erased,
}

impl Phase {
    /// Of a document's state and what is known of the version.
    pub fn of(state: DocumentState, scan: &Scan) -> Self {
        match (state, scan) {
            (DocumentState::Trashed { .. }, _) => Self::Trashed,
            (DocumentState::Quarantined { .. }, _) | (_, Scan::Infected { .. }) => Self::Quarantined,
            (DocumentState::PendingScan, _) | (_, Scan::Pending) => Self::PendingScan,
            (DocumentState::Available, Scan::NotAsked | Scan::Clean(_)) => Self::Available,
        }
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Learn that it exists.
    SeeExistence,
    /// See its name and other attributes.
    SeeName,
    /// Read its bytes.
    Read,
    /// See a picture of it.
    Preview,
    /// See who did what with it.
    History,
    /// Change its name or attributes.
    Change,
    /// Store a new version, or restore an old one.
    AddVersion,
    /// Make or change a share, object to a request.
    Share,
    /// Stop shares and links.
    Revoke,
    /// Make a link.
    Link,
    /// Accept a share.
    Accept,
    /// Refuse a share.
    Refuse,
    /// Ask for a share that waits for incapacity.
    RequestAccess,
    /// Copy it into the own vault.
    Copy,
    /// Put it into the trash.
    Trash,
    /// Take it out of the trash.
    Restore,
    /// Erase it for ever.
    Erase,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::SeeExistence,
        Self::SeeName,
        Self::Read,
        Self::Preview,
        Self::History,
        Self::Change,
        Self::AddVersion,
        Self::Share,
        Self::Revoke,
        Self::Link,
        Self::Accept,
        Self::Refuse,
        Self::RequestAccess,
        Self::Copy,
        Self::Trash,
        Self::Restore,
        Self::Erase,
    ];
}

/// Why something that somebody may know of is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// Only the owner does this.
    NotOwner,
    /// It is one's own document.
    OwnDocument,
    /// It was not scanned yet.
    PendingScan,
    /// Malware was found in it.
    Quarantined,
    /// It is in the trash.
    Trashed,
    /// It is not in the trash.
    NotTrashed,
    /// The share is to be accepted first.
    AcceptFirst,
    /// The share waits for incapacity: access must be asked for.
    NotOpen,
    /// The share is open: there is nothing to ask for.
    OpenAlready,
    /// The owner does not let it be copied.
    CopyNotAllowed,
    /// The role in the office does not reach so far.
    OfficeRole,
    /// The service's scopes do not reach so far.
    Scope,
    /// The owner's death was confirmed.
    Deceased,
}

impl Reason {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotOwner => "not_owner",
            Self::OwnDocument => "own_document",
            Self::PendingScan => "pending_scan",
            Self::Quarantined => "quarantined",
            Self::Trashed => "trashed",
            Self::NotTrashed => "not_trashed",
            Self::AcceptFirst => "accept_first",
            Self::NotOpen => "not_open",
            Self::OpenAlready => "open_already",
            Self::CopyNotAllowed => "copy_not_allowed",
            Self::OfficeRole => "role",
            Self::Scope => "scope_exceeded",
            Self::Deceased => "deceased",
        }
    }
}

/// The kinds of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Denial {
    /// As if there were nothing.
    NotFound,
    /// There was something, and it is over.
    Gone,
    /// There is something, but this is not allowed.
    Forbidden(Reason),
}

impl Denial {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Gone => "gone",
            Self::Forbidden(reason) => reason.code(),
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "no such document or share",
            Self::Gone => "this is over",
            Self::Forbidden(reason) => match reason {
                Reason::NotOwner => "only the owner of the document does this",
                Reason::OwnDocument => "this is for documents of others",
                Reason::PendingScan => "the document was not scanned for malware yet",
                Reason::Quarantined => "malware was found in the document",
                Reason::Trashed => "the document is in the trash: restore it first",
                Reason::NotTrashed => "the document is not in the trash",
                Reason::AcceptFirst => "accept the share first",
                Reason::NotOpen => "ask for access first",
                Reason::OpenAlready => "the share is open already",
                Reason::CopyNotAllowed => "the owner does not let this be copied",
                Reason::OfficeRole => "your role in the office does not allow this",
                Reason::Scope => "the service's scopes do not allow this",
                Reason::Deceased => "the owner's death was confirmed",
            },
        })
    }
}

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// What the asking vault, or person, is to the document.
    pub relation: Relation,
    /// Through whom.
    pub agent: Agent,
    /// What was given.
    pub grant: Grant,
    /// Where the document stands.
    pub phase: Phase,
}

impl Case {
    /// The owner in person.
    pub fn owner(phase: Phase) -> Self {
        Self { relation: Relation::Owner, agent: Agent::Person, grant: Grant::None, phase }
    }

    /// The recipient of a share in person.
    pub fn recipient(state: ShareState, copy: bool, phase: Phase) -> Self {
        Self { relation: Relation::Recipient, agent: Agent::Person, grant: Grant::Share { state, copy }, phase }
    }

    /// The holder of a link.
    pub fn link(live: bool, phase: Phase) -> Self {
        Self { relation: Relation::LinkHolder, agent: Agent::Person, grant: Grant::Link { live }, phase }
    }
}

/// Whether `action` is allowed.
///
/// # Errors
/// The kind of no.
pub fn decide(case: Case, action: Action) -> Result<(), Denial> {
    let base = match (case.relation, case.grant) {
        (Relation::Owner, _) => owner(case.phase, action),
        (Relation::Recipient | Relation::ReferenceOffice, Grant::Share { state, copy }) => recipient(state, copy, case.phase, action),
        (Relation::LinkHolder, Grant::Link { live }) => link_holder(live, case.phase, action),
        (Relation::Recipient | Relation::ReferenceOffice | Relation::LinkHolder | Relation::Operator | Relation::Stranger, _) => {
            Err(Denial::NotFound)
        }
    };
    base?;
    agent(case.agent, action)
}

fn forbidden(reason: Reason) -> Result<(), Denial> {
    Err(Denial::Forbidden(reason))
}

fn owner(phase: Phase, action: Action) -> Result<(), Denial> {
    match (phase, action) {
        (Phase::Erased, Action::History) => Ok(()),
        (Phase::Erased, _) => Err(Denial::Gone),
        (_, Action::Accept | Action::Refuse | Action::RequestAccess | Action::Copy) => forbidden(Reason::OwnDocument),
        (_, Action::SeeExistence | Action::SeeName | Action::History | Action::Revoke | Action::Erase)
        | (Phase::Trashed, Action::Restore) => Ok(()),
        (_, Action::Restore) => forbidden(Reason::NotTrashed),
        (Phase::Trashed, _) => forbidden(Reason::Trashed),
        (_, Action::Trash) => Ok(()),
        (Phase::Quarantined, _) => forbidden(Reason::Quarantined),
        (Phase::PendingScan, Action::Read | Action::Preview) => forbidden(Reason::PendingScan),
        (
            Phase::PendingScan | Phase::Available,
            Action::Read | Action::Preview | Action::Change | Action::AddVersion | Action::Share | Action::Link,
        ) => Ok(()),
    }
}

fn recipient(state: ShareState, copy: bool, phase: Phase, action: Action) -> Result<(), Denial> {
    match (state, phase, action) {
        (ShareState::Draft | ShareState::WaitingDeath, _, _) => Err(Denial::NotFound),
        (ShareState::Refused | ShareState::Lapsed | ShareState::Revoked, _, _)
        | (_, Phase::Trashed | Phase::Quarantined | Phase::Erased, _) => Err(Denial::Gone),
        (
            _,
            _,
            Action::History
            | Action::Change
            | Action::AddVersion
            | Action::Share
            | Action::Revoke
            | Action::Link
            | Action::Trash
            | Action::Restore
            | Action::Erase,
        ) => forbidden(Reason::NotOwner),
        (_, _, Action::SeeExistence | Action::Refuse) | (ShareState::WaitingIncapacity, _, Action::RequestAccess) => Ok(()),
        (ShareState::WaitingIncapacity, _, _) => forbidden(Reason::NotOpen),
        (_, _, Action::RequestAccess) => forbidden(Reason::OpenAlready),
        (_, _, Action::SeeName | Action::Accept) => Ok(()),
        (ShareState::Offered, _, _) => forbidden(Reason::AcceptFirst),
        (ShareState::Accepted, _, Action::Copy) if !copy => forbidden(Reason::CopyNotAllowed),
        (ShareState::Accepted, Phase::PendingScan, _) => forbidden(Reason::PendingScan),
        (ShareState::Accepted, Phase::Available, Action::Read | Action::Preview | Action::Copy) => Ok(()),
    }
}

fn link_holder(live: bool, phase: Phase, action: Action) -> Result<(), Denial> {
    match (live, phase, action) {
        (false, _, _) | (_, Phase::Trashed | Phase::Quarantined | Phase::Erased, _) => Err(Denial::Gone),
        (_, _, Action::SeeExistence | Action::SeeName) | (_, Phase::Available, Action::Read | Action::Preview) => Ok(()),
        (_, Phase::PendingScan, Action::Read | Action::Preview) => forbidden(Reason::PendingScan),
        _ => Err(Denial::NotFound),
    }
}

/// What an agent may do at most of what its vault may.
fn agent(agent: Agent, action: Action) -> Result<(), Denial> {
    let scopes = match agent {
        Agent::Service(scopes) => scopes,
        Agent::Person | Agent::Staff(_) => Scopes::default(),
    };
    let (role, in_scope) = match action {
        Action::SeeExistence | Action::SeeName | Action::Read | Action::Preview | Action::History => (OfficeRole::Reader, scopes.read),
        Action::Change | Action::AddVersion | Action::Trash | Action::Restore | Action::Copy => (OfficeRole::Clerk, scopes.write),
        Action::Share | Action::Revoke | Action::Link | Action::Accept | Action::Refuse | Action::RequestAccess => {
            (OfficeRole::Clerk, scopes.share)
        }
        Action::Erase => (OfficeRole::Notary, false),
    };
    match agent {
        Agent::Person => Ok(()),
        Agent::Staff(has) if has >= role => Ok(()),
        Agent::Staff(_) => forbidden(Reason::OfficeRole),
        Agent::Service(_) if in_scope => Ok(()),
        Agent::Service(_) => forbidden(Reason::Scope),
    }
}

#[cfg(test)]
mod tests;
