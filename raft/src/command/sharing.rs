//! Commands about shares, links and the death flag.
//!
//! Those that an owner gives name vault, document and share; those of a recipient name the own vault and the share
//! only, and are answered as if there were none where the recipient may not know of it.

use serde::{Deserialize, Serialize};

use crate::model::{
    AccountId, Attributes, DocumentId, LinkHash, LinkId, Message, NewLink, NewShare, Sealed, ShareId, SharedKey, TimeMs, VaultId,
};

/// Every change of shares and links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SharingCommand {
    /// The owner shares a document with contacts: with all that are named, or none.
    Create(CreateShares),
    /// The owner gives a share that was only prepared.
    Publish {
        /// The owner's vault.
        vault: VaultId,
        /// The document.
        document: DocumentId,
        /// The share.
        share: ShareId,
        /// The revision that the client saw.
        revision: u64,
    },
    /// The owner changes the terms of a share.
    Change(ChangeShare),
    /// The owner stops shares of a document, in force at once.
    Revoke {
        /// The owner's vault.
        vault: VaultId,
        /// The document.
        document: DocumentId,
        /// Which of its shares.
        which: Which,
    },
    /// The recipient takes a share.
    Accept {
        /// The recipient's vault.
        recipient: VaultId,
        /// The share.
        share: ShareId,
    },
    /// The recipient does not want a share, or wants it no more.
    Refuse {
        /// The recipient's vault.
        recipient: VaultId,
        /// The share.
        share: ShareId,
    },
    /// The recipient asks for a share that waits for incapacity.
    RequestAccess {
        /// The recipient's vault.
        recipient: VaultId,
        /// The share.
        share: ShareId,
    },
    /// The owner objects to such a request.
    Veto {
        /// The owner's vault.
        vault: VaultId,
        /// The document.
        document: DocumentId,
        /// The share.
        share: ShareId,
    },
    /// A gateway that can open both vaults renews what the recipient opens the share with, after a new version or name.
    Rewrap(Rewrap),
    /// The recipient copies the document into the own vault. No byte moves.
    Copy(Box<CopyShared>),
    /// The owner makes a link.
    CreateLink {
        /// The owner's vault.
        vault: VaultId,
        /// The document.
        document: DocumentId,
        /// The link.
        link: Box<NewLink>,
    },
    /// The owner stops a link.
    RevokeLink {
        /// The owner's vault.
        vault: VaultId,
        /// The document.
        document: DocumentId,
        /// The link.
        link: LinkId,
    },
    /// Somebody opens a link. It counts once for each request id; the gateway has checked the password before.
    OpenLink {
        /// Hash of the token.
        hash: LinkHash,
    },
    /// A death was confirmed: what waited for it opens, a bounded piece at a time.
    ConfirmDeath {
        /// The account of who died.
        account: AccountId,
    },
    /// The confirmation was wrong: what it opened is hidden again, in force at once.
    ReverseDeath {
        /// The account.
        account: AccountId,
    },
}

/// See [`SharingCommand::Create`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateShares {
    /// The owner's vault.
    pub vault: VaultId,
    /// The document.
    pub document: DocumentId,
    /// At least one, at most [`crate::model::Share::PER_COMMAND_MAX`].
    pub shares: Vec<NewShare>,
}

/// See [`SharingCommand::Change`]: what is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeShare {
    /// The owner's vault.
    pub vault: VaultId,
    /// The document.
    pub document: DocumentId,
    /// The share.
    pub share: ShareId,
    /// The revision that the client saw.
    pub revision: u64,
    /// Whether it may be copied.
    pub allow_copy: Option<bool>,
    /// When it lapses; `Some(None)`: never.
    pub until_ms: Option<Option<TimeMs>>,
    /// The only version that it shows; `Some(None)`: the newest.
    pub pinned: Option<Option<u32>>,
    /// The word to the recipient.
    pub message: Option<Message>,
}

/// Which shares of a document are stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    /// All that live.
    All,
    /// These; one that ended already is passed over, one that never was is refused.
    These(Vec<ShareId>),
}

/// See [`SharingCommand::Rewrap`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrap {
    /// The owner's vault.
    pub vault: VaultId,
    /// The document.
    pub document: DocumentId,
    /// The share.
    pub share: ShareId,
    /// The new one, of the version that the share shows.
    pub key: SharedKey,
}

/// See [`SharingCommand::Copy`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyShared {
    /// The recipient's vault, where the copy comes.
    pub recipient: VaultId,
    /// The share.
    pub share: ShareId,
    /// The version that the gateway wrapped the key of; another one shown by now = refused.
    pub version: u32,
    /// Id of the copy, made by the gateway.
    pub document: DocumentId,
    /// Its name and media type, sealed under the recipient vault's key.
    pub name: Sealed,
    /// The document key, wrapped under the recipient vault's key.
    pub wrapped_key: Vec<u8>,
    /// What the recipient says of the copy.
    pub attributes: Attributes,
}
