//! Commands about offices, their staff, and the office that a person names.

use serde::{Deserialize, Serialize};

use super::people::Behalf;
use crate::{
    model::{OfficeId, Sealed, StaffId, Trail, VaultId, WrappedKey},
    policy::OfficeRole,
};

/// Most entries of the register in one command.
pub const ENTRIES_MAX: usize = 4;

/// A notary of the register who may act for the office.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterNotary {
    /// Id of the member, if it is new.
    pub id: StaffId,
    /// Keyed hash of the national number.
    pub lookup: [u8; 32],
    /// The name, sealed under the key of the office's vault.
    pub name: Sealed,
    /// Whether the register has the notary suspended.
    pub suspended: bool,
}

/// What the register says of one office.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterEntry {
    /// Id of the office: its own, or a new one.
    pub office: OfficeId,
    /// Its vault: its own, or a new one. Names are sealed for it.
    pub vault: VaultId,
    /// The key of a new vault, wrapped.
    pub keys: Vec<WrappedKey>,
    /// Register number.
    pub register: String,
    /// Name.
    pub name: String,
    /// Address.
    pub address: String,
    /// Names of its notaries.
    pub notaries: Vec<String>,
    /// Those of them that may act.
    pub members: Vec<RegisterNotary>,
    /// Whether the office ended.
    pub closed: bool,
    /// Register numbers of the offices that it took over.
    pub successor_of: Vec<String>,
}

/// Every change of this family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OfficeCommand {
    /// A piece of the register: all of it, or none.
    ImportRegister {
        /// The entries.
        entries: Vec<RegisterEntry>,
    },
    /// A notary adds a member.
    AddStaff {
        /// The office, and the notary.
        on: Behalf,
        /// Id of the member.
        id: StaffId,
        /// Keyed hash of the national number.
        lookup: [u8; 32],
        /// What the member may do.
        role: OfficeRole,
        /// The name, sealed under the office's key.
        name: Sealed,
        /// For the office's history.
        trail: Box<Trail>,
    },
    /// A notary changes what a member may do.
    ChangeRole {
        /// The office, and the notary.
        on: Behalf,
        /// The member.
        staff: StaffId,
        /// What the member may do from now on.
        role: OfficeRole,
        /// For the office's history.
        trail: Box<Trail>,
    },
    /// A notary takes a member out.
    RemoveStaff {
        /// The office, and the notary.
        on: Behalf,
        /// The member.
        staff: StaffId,
        /// For the office's history.
        trail: Box<Trail>,
    },
    /// A person names an office.
    SetReference {
        /// The person.
        on: Behalf,
        /// The office.
        office: OfficeId,
    },
    /// A person names none any more.
    ClearReference {
        /// The person.
        on: Behalf,
    },
}
