//! Reads of offices, their staff, and the office that a person named.
//!
//! Holds: who may act for an office is answered from its state and its staff at this moment: an office that ended lets
//! only the staff of the one that took over act, and a suspended member nobody.

use crate::{
    codec,
    keys::{self, Table},
    model::{Office, OfficeId, OfficeRef, Reference, Staff, StaffRef, VaultId},
    policy::OfficeRole,
    store::{Read, StoreError},
};

/// An office.
pub fn office(read: &dyn Read, id: OfficeId) -> Result<Option<Office>, StoreError> {
    codec::load(read, &keys::office(id))
}

/// The office of a register number.
pub fn by_register(read: &dyn Read, number: &str) -> Result<Option<Office>, StoreError> {
    match codec::load::<OfficeRef>(read, &keys::office_by_register(number))? {
        Some(OfficeRef(id)) => office(read, id),
        None => Ok(None),
    }
}

/// The whole directory, oldest first.
pub fn offices(read: &dyn Read) -> Result<Vec<Office>, StoreError> {
    super::values(codec::load_range(read, &keys::table_range(Table::Office), Office::ALL_MAX)?)
}

/// The office that an office became: itself, or the last of its successors.
pub fn resolve(read: &dyn Read, id: OfficeId) -> Result<Option<Office>, StoreError> {
    let mut at = office(read, id)?;
    for _ in 0..Office::CHAIN_MAX {
        match at.as_ref().filter(|office| !office.is_active()).and_then(|office| office.successor) {
            Some(next) => at = office(read, next)?,
            None => break,
        }
    }
    Ok(at)
}

/// All staff of an office.
pub fn staff_all(read: &dyn Read, vault: VaultId) -> Result<Vec<Staff>, StoreError> {
    super::values(codec::load_range(read, &keys::staff_all(vault), Staff::PER_OFFICE_MAX)?)
}

/// A person as a member of an office's staff.
pub fn member(read: &dyn Read, office: OfficeId, lookup: &[u8; 32]) -> Result<Option<Staff>, StoreError> {
    match codec::load::<StaffRef>(read, &keys::staff_of(lookup, office))? {
        Some(at) => codec::load(read, &keys::staff(at.vault, at.staff)),
        None => Ok(None),
    }
}

/// What a person may do in the vault of an office now; `None` when nothing.
pub fn role(read: &dyn Read, office: &Office, lookup: &[u8; 32]) -> Result<Option<OfficeRole>, StoreError> {
    let acts = if office.is_active() { Some(office.id) } else { resolve(read, office.id)?.filter(Office::is_active).map(|o| o.id) };
    let Some(acts) = acts else { return Ok(None) };
    Ok(member(read, acts, lookup)?.filter(|member| member.suspended_ms.is_none()).map(|member| member.role))
}

/// The offices that a person is staff of, with the role there.
pub fn offices_of(read: &dyn Read, lookup: &[u8; 32]) -> Result<Vec<(Office, OfficeRole)>, StoreError> {
    let mut found = Vec::new();
    for (_, at) in codec::load_range::<StaffRef>(read, &keys::staff_of_any(lookup), Staff::PER_PERSON_MAX)? {
        if let Some(office) = office(read, at.office)?
            && let Some(role) = role(read, &office, lookup)?
        {
            found.push((office, role));
        }
    }
    Ok(found)
}

/// The office that a vault's owner named, as it was named and as it is now.
pub fn reference(read: &dyn Read, vault: VaultId) -> Result<Option<(Reference, Office)>, StoreError> {
    let Some(reference) = codec::load::<Reference>(read, &keys::reference(vault))? else { return Ok(None) };
    Ok(resolve(read, reference.office)?.map(|office| (reference, office)))
}
