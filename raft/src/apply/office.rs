//! Commands about offices, their staff, and the office that a person names.
//!
//! Holds: (1) an office has one vault, made with it; (2) only a notary of an office changes its staff, and one notary
//! who may act stays; what the register says of a notary it says alone; (3) no chain of successors leads back;
//! (4) an office that was named as reference sees nothing of it: what is written lies in the person's vault.

use super::{
    cluster,
    people::{authorise, record},
    stop::{Stop, settle},
};
use crate::{
    codec,
    command::{Behalf, OfficeCommand, RegisterEntry, RegisterNotary, office::ENTRIES_MAX},
    keys,
    model::{AccountId, EventKind, Office, OfficeId, OfficeRef, Reference, Staff, StaffId, StaffRef, TimeMs, Trail, Vault, VaultId},
    outcome::{OfficeOutcome, Outcome, PeopleRefusal},
    policy::OfficeRole,
    store::{Read, StoreError, Transaction},
    view,
};

pub(super) fn apply(tx: &mut Transaction<'_>, now: TimeMs, command: &OfficeCommand) -> Result<Outcome, StoreError> {
    settle(match command {
        OfficeCommand::ImportRegister { entries } => import(tx, now, entries),
        OfficeCommand::AddStaff { on, id, lookup, role, name, trail } => {
            let new = Staff { id: *id, lookup: *lookup, role: *role, name: name.clone(), added_ms: now, suspended_ms: None };
            add_staff(tx, now, on, new, trail)
        }
        OfficeCommand::ChangeRole { on, staff, role, trail } => change_role(tx, now, on, *staff, *role, trail),
        OfficeCommand::RemoveStaff { on, staff, trail } => remove_staff(tx, now, on, *staff, trail),
        OfficeCommand::SetReference { on, office } => set_reference(tx, now, on, *office),
        OfficeCommand::ClearReference { on } => clear_reference(tx, on),
    })
}

fn import(tx: &mut Transaction<'_>, now: TimeMs, entries: &[RegisterEntry]) -> Result<Outcome, Stop> {
    if entries.len() > ENTRIES_MAX {
        return Err(PeopleRefusal::Limit.into());
    }
    let (mut created, mut updated) = (0, 0);
    for entry in entries {
        if import_one(tx, now, entry)? {
            created += 1;
        } else {
            updated += 1;
        }
    }
    Ok(Outcome::Office(OfficeOutcome::Imported { created, updated }))
}

fn is_sound(entry: &RegisterEntry) -> bool {
    let text = |text: &str, max: usize| !text.is_empty() && text.len() <= max && !text.chars().any(char::is_control);
    text(&entry.register, Office::REGISTER_MAX)
        && entry.register.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'/'))
        && text(&entry.name, Office::NAME_MAX)
        && text(&entry.address, Office::ADDRESS_MAX)
        && entry.notaries.len() <= Office::NOTARIES_MAX
        && entry.notaries.iter().all(|name| text(name, Office::NAME_MAX))
        && entry.members.len() <= Office::NOTARIES_MAX
        && entry.members.iter().all(|member| member.name.0.len() <= Staff::NAME_SEALED_MAX)
        && entry.successor_of.len() <= Office::PREDECESSORS_MAX
}

/// Takes one entry in; whether the office is new.
fn import_one(tx: &mut Transaction<'_>, now: TimeMs, entry: &RegisterEntry) -> Result<bool, Stop> {
    if !is_sound(entry) {
        return Err(PeopleRefusal::Limit.into());
    }
    let changed = || PeopleRefusal::RegisterChanged(entry.register.clone());
    let known = view::office::by_register(tx, &entry.register)?;
    let is_new = known.is_none();
    let mut office = match known {
        // Names were sealed for this vault, or nobody could open them.
        Some(known) if (known.id, known.vault) == (entry.office, entry.vault) => known,
        Some(_) => return Err(changed().into()),
        None => create(tx, now, entry)?,
    };
    office.name.clone_from(&entry.name);
    office.address.clone_from(&entry.address);
    office.notaries.clone_from(&entry.notaries);
    office.updated_ms = now;
    // What was taken over does not come back by an old line of the register.
    let is_over = entry.closed || office.successor.is_some();
    office.closed_ms = if is_over { office.closed_ms.or(Some(now)) } else { None };
    tx.store(keys::office(office.id), &office)?;
    for member in &entry.members {
        import_member(tx, now, &office, member)?;
    }
    for old in &entry.successor_of {
        succeed(tx, now, old, &office)?;
    }
    Ok(is_new)
}

fn create(tx: &mut Transaction<'_>, now: TimeMs, entry: &RegisterEntry) -> Result<Office, Stop> {
    let owner = AccountId(entry.office.0);
    let taken =
        view::office::office(tx, entry.office)?.is_some() || view::vault(tx, entry.vault)?.is_some() || view::account(tx, owner)?.is_some();
    if taken || entry.keys.is_empty() {
        return Err(PeopleRefusal::RegisterChanged(entry.register.clone()).into());
    }
    let vault = Vault {
        id: entry.vault,
        owner,
        keys: entry.keys.clone(),
        quota_bytes: cluster(tx)?.map_or(0, |cluster| cluster.quota_bytes),
        used_bytes: 0,
        reserved_bytes: 0,
        documents: 0,
        strict: false,
    };
    tx.store(keys::vault(vault.id), &vault)?;
    tx.store(keys::office_by_register(&entry.register), &OfficeRef(entry.office))?;
    Ok(Office {
        id: entry.office,
        vault: entry.vault,
        register: entry.register.clone(),
        name: entry.name.clone(),
        address: entry.address.clone(),
        notaries: entry.notaries.clone(),
        closed_ms: None,
        successor: None,
        created_ms: now,
        updated_ms: now,
    })
}

fn import_member(tx: &mut Transaction<'_>, now: TimeMs, office: &Office, member: &RegisterNotary) -> Result<(), Stop> {
    let suspended = |before: Option<TimeMs>| if member.suspended { before.or(Some(now)) } else { None };
    let staff = match view::office::member(tx, office.id, &member.lookup)? {
        Some(known) => Staff { role: OfficeRole::Notary, suspended_ms: suspended(known.suspended_ms), name: member.name.clone(), ..known },
        None => Staff {
            id: member.id,
            lookup: member.lookup,
            role: OfficeRole::Notary,
            name: member.name.clone(),
            added_ms: now,
            suspended_ms: suspended(None),
        },
    };
    if view::office::member(tx, office.id, &member.lookup)?.is_none() {
        make_room(tx, office.vault, &staff)?;
    }
    put_staff(tx, office.id, office.vault, &staff)?;
    Ok(())
}

/// The office `old` ends, and `new` takes over: vault and references of `old` are reached through it from now on.
fn succeed(tx: &mut Transaction<'_>, now: TimeMs, old: &str, new: &Office) -> Result<(), Stop> {
    let mut ended = view::office::by_register(tx, old)?.ok_or_else(|| PeopleRefusal::RegisterUnknown(old.to_owned()))?;
    // From `new` on, no chain may lead to `ended`.
    let mut at = Some(new.id);
    for _ in 0..Office::CHAIN_MAX {
        let Some(id) = at else { break };
        if id == ended.id {
            return Err(PeopleRefusal::RegisterCycle(old.to_owned()).into());
        }
        at = view::office::office(tx, id)?.and_then(|office| office.successor);
    }
    if at.is_some() {
        return Err(PeopleRefusal::Limit.into());
    }
    ended.closed_ms = ended.closed_ms.or(Some(now));
    ended.successor = Some(new.id);
    ended.updated_ms = now;
    tx.store(keys::office(ended.id), &ended)?;
    Ok(())
}

/// Refuses a member too many.
fn make_room(read: &dyn Read, vault: VaultId, staff: &Staff) -> Result<(), Stop> {
    let range = keys::staff_of_any(&staff.lookup);
    let of_person = read.scan(&range.0, &range.1, Staff::PER_PERSON_MAX)?.len();
    if view::office::staff_all(read, vault)?.len() >= Staff::PER_OFFICE_MAX || of_person >= Staff::PER_PERSON_MAX {
        return Err(PeopleRefusal::TooManyStaff.into());
    }
    if read.get(&keys::staff(vault, staff.id))?.is_some() { Err(PeopleRefusal::IdTaken.into()) } else { Ok(()) }
}

fn put_staff(tx: &mut Transaction<'_>, office: OfficeId, vault: VaultId, staff: &Staff) -> Result<(), StoreError> {
    tx.store(keys::staff(vault, staff.id), staff)?;
    tx.store(keys::staff_of(&staff.lookup, office), &StaffRef { office, vault, staff: staff.id })
}

/// The office that a notary changes the staff of: one that works, for the staff of one that ended is history.
fn own_office(read: &dyn Read, on: &Behalf) -> Result<OfficeId, Stop> {
    let id = on.office.ok_or(PeopleRefusal::Role)?;
    authorise(read, on, OfficeRole::Notary)?;
    let active = view::office::office(read, id)?.is_some_and(|office| office.is_active());
    if active { Ok(id) } else { Err(PeopleRefusal::OfficeInactive.into()) }
}

fn told(staff: Staff) -> Outcome {
    Outcome::Office(OfficeOutcome::Staff(Box::new(staff)))
}

fn add_staff(tx: &mut Transaction<'_>, now: TimeMs, on: &Behalf, new: Staff, trail: &Trail) -> Result<Outcome, Stop> {
    let office = own_office(tx, on)?;
    if new.name.0.len() > Staff::NAME_SEALED_MAX {
        return Err(PeopleRefusal::Limit.into());
    }
    if view::office::member(tx, office, &new.lookup)?.is_some() {
        return Err(PeopleRefusal::AlreadyStaff.into());
    }
    make_room(tx, on.vault, &new)?;
    put_staff(tx, office, on.vault, &new)?;
    record(tx, now, EventKind::OfficeActed, on.vault, trail)?;
    Ok(told(new))
}

/// A member whom a notary may change: not one whom the register suspended.
fn changeable(read: &dyn Read, vault: VaultId, id: StaffId) -> Result<Staff, Stop> {
    let member = codec::load::<Staff>(read, &keys::staff(vault, id))?.ok_or(PeopleRefusal::NotFound)?;
    if member.suspended_ms.is_some() { Err(PeopleRefusal::Role.into()) } else { Ok(member) }
}

/// Refuses to leave an office without a notary who may act.
fn keep_a_notary(read: &dyn Read, vault: VaultId, without: StaffId) -> Result<(), Stop> {
    let mut others = view::office::staff_all(read, vault)?.into_iter().filter(|member| member.id != without);
    let acts = |member: Staff| member.role == OfficeRole::Notary && member.suspended_ms.is_none();
    if others.any(acts) { Ok(()) } else { Err(PeopleRefusal::LastNotary.into()) }
}

fn change_role(tx: &mut Transaction<'_>, now: TimeMs, on: &Behalf, id: StaffId, role: OfficeRole, trail: &Trail) -> Result<Outcome, Stop> {
    let office = own_office(tx, on)?;
    let mut member = changeable(tx, on.vault, id)?;
    if role != OfficeRole::Notary {
        keep_a_notary(tx, on.vault, id)?;
    }
    member.role = role;
    put_staff(tx, office, on.vault, &member)?;
    record(tx, now, EventKind::OfficeActed, on.vault, trail)?;
    Ok(told(member))
}

fn remove_staff(tx: &mut Transaction<'_>, now: TimeMs, on: &Behalf, id: StaffId, trail: &Trail) -> Result<Outcome, Stop> {
    let office = own_office(tx, on)?;
    let member = changeable(tx, on.vault, id)?;
    keep_a_notary(tx, on.vault, id)?;
    tx.delete(keys::staff(on.vault, id));
    tx.delete(keys::staff_of(&member.lookup, office));
    record(tx, now, EventKind::OfficeActed, on.vault, trail)?;
    Ok(told(member))
}

fn set_reference(tx: &mut Transaction<'_>, now: TimeMs, on: &Behalf, office: OfficeId) -> Result<Outcome, Stop> {
    if on.office.is_some() {
        return Err(PeopleRefusal::Role.into());
    }
    authorise(tx, on, OfficeRole::Notary)?;
    if view::sharing::is_dead(tx, on.vault)? {
        return Err(PeopleRefusal::Deceased.into());
    }
    let office = view::office::office(tx, office)?.ok_or(PeopleRefusal::NotFound)?;
    if !office.is_active() {
        return Err(PeopleRefusal::OfficeInactive.into());
    }
    tx.store(keys::reference(on.vault), &Reference { office: office.id, since_ms: now })?;
    Ok(Outcome::Done)
}

fn clear_reference(tx: &mut Transaction<'_>, on: &Behalf) -> Result<Outcome, Stop> {
    if on.office.is_some() {
        return Err(PeopleRefusal::Role.into());
    }
    authorise(tx, on, OfficeRole::Notary)?;
    if view::sharing::is_dead(tx, on.vault)? {
        return Err(PeopleRefusal::Deceased.into());
    }
    tx.delete(keys::reference(on.vault));
    Ok(Outcome::Done)
}
