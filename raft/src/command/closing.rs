//! The end of a vault: its owner wants everything erased.

use serde::{Deserialize, Serialize};

use crate::model::{AccountId, SessionId, Trail, VaultId};

/// Every write of this family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClosingCommand {
    /// The vault's key is destroyed, the account forgotten, all sessions and services end; what lies in the vault is
    /// erased piece by piece after that.
    Close {
        /// Whose.
        account: AccountId,
        /// Which vault.
        vault: VaultId,
        /// The session that asks: it must be stepped up when this is applied.
        session: SessionId,
        /// For the log.
        trail: Box<Trail>,
    },
}
