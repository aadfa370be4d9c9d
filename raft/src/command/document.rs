//! Commands about a document that exists. Its permanent end is [`super::Command::DeleteDocument`].

use serde::{Deserialize, Serialize};

use crate::model::{Category, Date, DocType, DocumentId, DocumentLabel, Scan, Sealed, VaultId};

/// Every change of a document but a new content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DocumentCommand {
    /// Name or attributes change. Where `shareable` goes off, all shares and links end in the same transaction.
    Change(ChangeDocument),
    /// It goes to the trash. Its shares stay, but show nothing meanwhile.
    Trash {
        /// Whose vault.
        vault: VaultId,
        /// Which.
        document: DocumentId,
        /// The revision that the client saw.
        revision: u64,
    },
    /// It comes back from the trash.
    Restore {
        /// Whose vault.
        vault: VaultId,
        /// Which.
        document: DocumentId,
        /// The revision that the client saw.
        revision: u64,
    },
    /// An older version becomes the content again: a new version over the same blob. It counts in the quota as any.
    RestoreVersion {
        /// Whose vault.
        vault: VaultId,
        /// Which.
        document: DocumentId,
        /// The revision that the client saw.
        revision: u64,
        /// The older version.
        version: u32,
    },
    /// A scanner has looked at a version.
    NoteScan {
        /// Whose vault.
        vault: VaultId,
        /// Which.
        document: DocumentId,
        /// The version.
        version: u32,
        /// What it said; not [`Scan::NotAsked`].
        scan: Scan,
    },
}

/// See [`DocumentCommand::Change`]: what is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeDocument {
    /// Whose vault.
    pub vault: VaultId,
    /// Which.
    pub document: DocumentId,
    /// The revision that the client saw.
    pub revision: u64,
    /// New name and media type, sealed.
    pub name: Option<Sealed>,
    /// New category.
    pub category: Option<Category>,
    /// New type.
    pub doc_type: Option<DocType>,
    /// All labels from now on.
    pub labels: Option<Vec<DocumentLabel>>,
    /// Whether it may be shared.
    pub shareable: Option<bool>,
    /// New day on which it runs out; `Some(None)` takes it away.
    pub expires_on: Option<Option<Date>>,
}
