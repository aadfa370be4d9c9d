//! What came of the end of a vault.

use serde::{Deserialize, Serialize};

use crate::model::TimeMs;

/// See [`crate::command::ClosingCommand`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClosingOutcome {
    /// The vault is closed; what it held is being erased.
    Closed {
        /// The event's place in the log.
        log_index: u64,
        /// When.
        at_ms: TimeMs,
        /// Documents that are erased.
        documents: u64,
        /// Bytes of their versions.
        bytes: u64,
        /// Sessions that ended.
        sessions: u64,
        /// Services that ended.
        services: u64,
    },
}

/// Why a vault is not closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ClosingRefusal {
    /// The person did not prove who they are a short while ago.
    #[error("this cannot be undone: prove who you are once more first")]
    StepUp,
    /// The owner's death was confirmed: the vault is part of an estate.
    #[error("the owner's death was confirmed: the vault belongs to the estate")]
    Deceased,
}

impl ClosingRefusal {
    /// The stable code, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::StepUp => "step_up_required",
            Self::Deceased => "deceased",
        }
    }
}
