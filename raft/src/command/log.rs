//! Commands of the log: its key, its checkpoints, and events that no other command records.

use serde::{Deserialize, Serialize};

use crate::model::{Event, LogKeyRecord, Sealed};

/// Most events of one command; see [`crate::command::REQUEST_BYTES_MAX`].
pub const APPEND_MAX: usize = 64;

/// See [`crate::apply::log`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogCommand {
    /// Reads and refusals, gathered by a gateway.
    Append {
        /// The events, in their order.
        events: Vec<Event>,
    },
    /// The first gateway stores the wrapped key that signs checkpoints; later ones get the first.
    SetKey {
        /// Wrapped under the master key.
        key: Sealed,
        /// The public half, `NAME+KEYID+BASE64`.
        verifier: String,
    },
    /// A signed checkpoint: every replica compares it with its own tree.
    PutCheckpoint {
        /// The signed note.
        note: String,
    },
}

/// What a command of the log came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogOutcome {
    /// The log's size after the events.
    Appended {
        /// Number of entries.
        size: u64,
    },
    /// The log's key, this one or the one that was there first.
    Key(LogKeyRecord),
    /// The checkpoint is the newest one.
    CheckpointTaken {
        /// Number of entries that it covers.
        size: u64,
    },
}

/// Why a command of the log was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum LogRefusal {
    /// Too many events in one command, or a key or note that cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// No key was set yet.
    #[error("the log has no key yet")]
    NoKey,
    /// A checkpoint of this size or a larger one is there.
    #[error("a checkpoint of {have} entries is there already")]
    Stale {
        /// Its size.
        have: u64,
    },
    /// The checkpoint covers entries that are not there.
    #[error("the log has {have} entries only")]
    Ahead {
        /// The log's size.
        have: u64,
    },
    /// The checkpoint has another root than this replica's tree: one of the two is damaged.
    #[error("the root over {size} entries is another one: a replica of the log is damaged")]
    OtherRoot {
        /// The checkpoint's size.
        size: u64,
    },
}

impl LogRefusal {
    /// The stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "log_invalid",
            Self::NoKey => "log_no_key",
            Self::Stale { .. } => "log_checkpoint_stale",
            Self::Ahead { .. } => "log_checkpoint_ahead",
            Self::OtherRoot { .. } => "log_other_root",
        }
    }
}
