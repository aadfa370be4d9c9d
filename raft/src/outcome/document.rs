//! Answers of the family of documents.

use serde::{Deserialize, Serialize};

use super::sharing::EndedShare;
use crate::{
    model::{Document, VaultId},
    policy::Denial,
};

/// What a command of the family came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DocumentOutcome {
    /// The document after a change.
    Changed {
        /// The document.
        document: Box<Document>,
        /// The shares that ended with it.
        ended: Vec<EndedShare>,
    },
    /// A scan was noted.
    Scanned {
        /// The document.
        document: Box<Document>,
        /// Who may have read it and must be told when malware was found: recipients of accepted shares.
        readers: Vec<VaultId>,
    },
}

/// Why a command of the family was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum DocumentRefusal {
    /// The policy says no.
    #[error("{0}")]
    Denied(Denial),
    /// The version is not among those of the document.
    #[error("the document has no such version")]
    VersionUnknown,
    /// The document has as many versions as it may have.
    #[error("the document has as many versions as it may have")]
    TooManyVersions,
    /// A label or another part breaks a limit.
    #[error("at most 20 labels, each once and not too long")]
    Labels,
    /// What a scan said is too long, or says nothing.
    #[error("this is not the result of a scan")]
    NoScan,
    /// Malware was found in what should be stored.
    #[error("malware was found")]
    Malware,
}

impl DocumentRefusal {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.code(),
            Self::VersionUnknown => "version_unknown",
            Self::TooManyVersions | Self::Labels | Self::NoScan => "unprocessable",
            Self::Malware => "malware_detected",
        }
    }
}

impl From<Denial> for DocumentRefusal {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}
