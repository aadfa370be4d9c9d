//! Notaries' offices, their staff, and the office that a person names.
//!
//! What the public register says of an office (name, address, names of its notaries) is public and lies open; what an
//! office or a person adds is sealed.
//!
//! Owns: the records and their limits. Not: how they change ([`crate::apply::office`]).
//! Holds: (1) an office keeps its id and its vault for ever; one that ends points at its successor, and no chain of
//! successors leads back; (2) an office that ended lets none of its own staff act.

use serde::{Deserialize, Serialize};

use super::{Sealed, TimeMs, VaultId, ulid_id};
use crate::policy::OfficeRole;

ulid_id!(
    /// A notary's office.
    OfficeId
);
ulid_id!(
    /// A member of an office's staff.
    StaffId
);

/// A notary's office.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Office {
    /// Its id, for ever.
    pub id: OfficeId,
    /// Its vault.
    pub vault: VaultId,
    /// Its number in the register.
    pub register: String,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Names of its notaries.
    pub notaries: Vec<String>,
    /// When it ended; `None` while it works.
    pub closed_ms: Option<TimeMs>,
    /// Which office took over.
    pub successor: Option<OfficeId>,
    /// When it came.
    pub created_ms: TimeMs,
    /// When the register last told of it.
    pub updated_ms: TimeMs,
}

impl Office {
    /// Most bytes of a register number.
    pub const REGISTER_MAX: usize = 32;
    /// Most bytes of a name.
    pub const NAME_MAX: usize = 200;
    /// Most bytes of an address.
    pub const ADDRESS_MAX: usize = 300;
    /// Most notaries.
    pub const NOTARIES_MAX: usize = 10;
    /// Most offices that one takes over at a time.
    pub const PREDECESSORS_MAX: usize = 10;
    /// Longest chain of successors that is followed.
    pub const CHAIN_MAX: usize = 16;
    /// Most offices in the directory.
    pub const ALL_MAX: usize = 10_000;

    /// Whether it works.
    pub fn is_active(&self) -> bool {
        self.closed_ms.is_none()
    }
}

/// The office of a register number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfficeRef(pub OfficeId);

/// A member of an office's staff, in the office's vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staff {
    /// Its id.
    pub id: StaffId,
    /// Keyed hash of the national number: known before the person ever signs in.
    pub lookup: [u8; 32],
    /// What the member may do.
    pub role: OfficeRole,
    /// The member's name as the office wrote it, sealed.
    pub name: Sealed,
    /// Since when.
    pub added_ms: TimeMs,
    /// Since when the register has the member suspended.
    pub suspended_ms: Option<TimeMs>,
}

impl Staff {
    /// Most staff of an office.
    pub const PER_OFFICE_MAX: usize = 200;
    /// Most offices of a person.
    pub const PER_PERSON_MAX: usize = 20;
    /// Most bytes of a sealed name.
    pub const NAME_SEALED_MAX: usize = 512;
}

/// A member's record, by keyed hash and office.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaffRef {
    /// The office.
    pub office: OfficeId,
    /// The office's vault.
    pub vault: VaultId,
    /// The member.
    pub staff: StaffId,
}

/// The office that a person named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The office, as it was named: who asks follows its successors.
    pub office: OfficeId,
    /// Since when.
    pub since_ms: TimeMs,
}
