//! Commands about contacts, invitations, messages and request lists.
//!
//! Each says in whose vault it acts and who does it ([`Behalf`]); whether they may is decided where it takes effect.

use serde::{Deserialize, Serialize};

use crate::model::{
    AccountId, Addressee, CodeHash, ContactId, ContactKind, DocumentId, InvitationId, MessageId, OfficeId, RequestListId, Sealed, ThreadId,
    Trail, VaultId,
};

/// Who acts in which vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behalf {
    /// The vault.
    pub vault: VaultId,
    /// The office that the vault is of; `None` when it is the person's own.
    pub office: Option<OfficeId>,
    /// The person.
    pub by: AccountId,
}

/// The two names and ids of a contact that begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewContact {
    /// Its id.
    pub id: ContactId,
    /// The other one's name, sealed under the key of the vault that acts.
    pub their_name: Sealed,
    /// The acting one's name, sealed under the other vault's key.
    pub own_name: Sealed,
    /// For the history of the vault that acts.
    pub trail: Trail,
    /// For the history of the other vault.
    pub their_trail: Trail,
}

/// An invitation as it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewInvitation {
    /// Its id.
    pub id: InvitationId,
    /// What the invited one is to the inviter.
    pub kind: ContactKind,
    /// Hash of its code.
    pub code: CodeHash,
    /// Where it is sent.
    pub to: Option<Addressee>,
}

/// How an invitation is named by who answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Hash of the code that was shown.
    pub code: CodeHash,
    /// Its id, where that was named too.
    pub id: Option<InvitationId>,
}

/// Every change of this family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeopleCommand {
    /// A person invites somebody.
    Invite {
        /// The inviter.
        on: Behalf,
        /// The invitation.
        new: NewInvitation,
    },
    /// The inviter takes an invitation back.
    Withdraw {
        /// The inviter.
        on: Behalf,
        /// Which.
        invitation: InvitationId,
    },
    /// Somebody accepts: both have a contact.
    Accept {
        /// Who accepts.
        on: Behalf,
        /// Which.
        shown: Shown,
        /// The contact.
        contact: Box<NewContact>,
    },
    /// Somebody declines.
    Decline {
        /// Who declines.
        on: Behalf,
        /// Which.
        shown: Shown,
    },
    /// A person takes an office of the directory among the contacts.
    AddOffice {
        /// The person.
        on: Behalf,
        /// The office.
        office: OfficeId,
        /// The contact.
        contact: Box<NewContact>,
    },
    /// The own name for a contact changes.
    Rename {
        /// Whose.
        on: Behalf,
        /// Which.
        contact: ContactId,
        /// The name, sealed; `None` takes it away.
        name: Option<Sealed>,
        /// The revision that the client saw.
        revision: u64,
        /// For the history.
        trail: Box<Trail>,
    },
    /// A contact ends, with all shares both ways.
    Remove {
        /// Whose.
        on: Behalf,
        /// Which.
        contact: ContactId,
        /// For the history.
        trail: Box<Trail>,
    },
    /// A contact ends so, and can invite no more.
    Block {
        /// Whose.
        on: Behalf,
        /// Which.
        contact: ContactId,
        /// For the history.
        trail: Box<Trail>,
    },
    /// Somebody who was blocked may invite again.
    Unblock {
        /// Whose.
        on: Behalf,
        /// The contact that was blocked.
        contact: ContactId,
        /// For the history.
        trail: Box<Trail>,
    },
    /// The account is closed: all contacts and invitations end, a bounded piece at a time.
    EndAll {
        /// Whose.
        on: Behalf,
    },
    /// A message, from either side.
    Say {
        /// Who writes.
        on: Behalf,
        /// To whom.
        to: VaultId,
        /// Id of the thread, if it begins with this.
        thread: ThreadId,
        /// Id of the message.
        message: MessageId,
        /// The text, sealed under the writer's key.
        own: Sealed,
        /// The text, sealed under the other's key.
        theirs: Sealed,
    },
    /// One side has read up to a message.
    MarkRead {
        /// Which side.
        on: Behalf,
        /// The thread.
        thread: ThreadId,
        /// The message's number.
        number: u32,
    },
    /// An office asks for documents.
    Ask {
        /// The office.
        on: Behalf,
        /// Whom.
        of: VaultId,
        /// Id of the list.
        list: RequestListId,
        /// What it is for, sealed under the office's and under the other's key.
        title: (Sealed, Sealed),
        /// What is asked for, sealed so.
        items: Vec<(Sealed, Sealed)>,
        /// For the office's history.
        trail: Box<Trail>,
    },
    /// A document that was asked for is there: the person has shared it with the office.
    Tick {
        /// The person.
        on: Behalf,
        /// The list.
        list: RequestListId,
        /// Which of its items, from 0.
        item: u32,
        /// The document.
        document: DocumentId,
    },
    /// The office asks no more.
    CloseList {
        /// The office.
        on: Behalf,
        /// The list.
        list: RequestListId,
    },
}
