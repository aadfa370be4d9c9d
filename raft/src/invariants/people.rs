//! What must hold of contacts, invitations, threads, lists and offices (14 of the list).

use super::LIMIT;
use crate::{
    codec,
    keys::{self, Table},
    model::{
        Account, Contact, ContactRef, Invitation, InvitationRef, InvitationState, Office, OfficeRef, RequestList, Staff, StaffRef, Thread,
        ThreadRef, VaultId,
    },
    store::{Read, StoreError},
    view,
};

/// Everything of these people and offices.
pub(super) fn check(read: &dyn Read, accounts: &[Account], offices: &[Office], found: &mut Vec<String>) -> Result<(), StoreError> {
    let vaults = accounts.iter().map(|account| account.vault).chain(offices.iter().map(|office| office.vault));
    let (mut codes, mut members) = (0, 0);
    for vault in vaults {
        contacts(read, vault, found)?;
        codes += invitations(read, vault, found)?;
        pairs(read, vault, found)?;
    }
    for office in offices {
        members += staff(read, office, found)?;
    }
    for (table, wanted) in [(Table::InvitationByCode, codes), (Table::StaffOf, members), (Table::OfficeByRegister, offices.len())] {
        let (start, end) = keys::table_range(table);
        let kept = read.scan(&start, &end, LIMIT)?.len();
        if kept != wanted {
            found.push(format!("{table:?} has {kept} entries for {wanted} records"));
        }
    }
    Ok(())
}

fn contacts(read: &dyn Read, vault: VaultId, found: &mut Vec<String>) -> Result<(), StoreError> {
    let contacts = codec::load_range::<Contact>(read, &keys::contacts(vault), LIMIT)?;
    for (key, contact) in &contacts {
        let back = view::people::contact_with(read, contact.other, vault)?;
        if *key != keys::contact(vault, contact.other) || !back.is_some_and(|back| back.id == contact.id && back.other == vault) {
            found.push(format!("{:?} of {vault:?} is not a contact of the other side", contact.id));
        }
        if view::people::contact_vault(read, vault, contact.id)? != Some(contact.other) {
            found.push(format!("{:?} of {vault:?} is not found by its id", contact.id));
        }
        if view::people::is_blocked(read, vault, contact.other)? {
            found.push(format!("{vault:?} and {:?} are contacts, and blocked", contact.other));
        }
    }
    let ids = codec::load_range::<ContactRef>(read, &keys::contacts_by_id(vault), LIMIT)?.len();
    if ids != contacts.len() {
        found.push(format!("{vault:?} has {} contacts and {ids} ids of them", contacts.len()));
    }
    Ok(())
}

fn invitations(read: &dyn Read, vault: VaultId, found: &mut Vec<String>) -> Result<usize, StoreError> {
    let invitations = codec::load_range::<Invitation>(read, &keys::invitations(vault), LIMIT)?;
    let mut addressed = 0;
    for (_, invitation) in &invitations {
        if view::people::invitation_of(read, &invitation.code)?.as_ref() != Some(invitation) {
            found.push(format!("{:?} is not found by its code", invitation.id));
        }
        let is_open = invitation.state == InvitationState::Open;
        if is_open == invitation.ended_ms.is_some() {
            found.push(format!("{:?}: {:?}, ended {:?}", invitation.id, invitation.state, invitation.ended_ms));
        }
        if let Some(to) = invitation.to.as_ref().filter(|_| is_open) {
            addressed += 1;
            let at = codec::load::<InvitationRef>(read, &keys::invitation_to(vault, &to.hash))?;
            if at.map(|at| at.invitation) != Some(invitation.id) {
                found.push(format!("{:?} is not the one open invitation to its address", invitation.id));
            }
        }
    }
    let (start, end) = keys::invitations_to(vault);
    let kept = read.scan(&start, &end, LIMIT)?.len();
    if kept != addressed {
        found.push(format!("{vault:?} has {addressed} open invitations to addresses, and {kept} marks of them"));
    }
    Ok(invitations.len())
}

/// What lies in two vaults.
fn pairs(read: &dyn Read, vault: VaultId, found: &mut Vec<String>) -> Result<(), StoreError> {
    for (_, thread) in codec::load_range::<Thread>(read, &keys::threads(vault), LIMIT)? {
        let other = view::people::thread(read, thread.other, thread.id)?;
        let by_vault = codec::load::<ThreadRef>(read, &keys::thread_with(vault, thread.other))?;
        let last = usize::try_from(thread.last).unwrap_or(usize::MAX);
        let kept = view::people::messages(read, vault, thread.id, u32::MAX, LIMIT)?.len();
        let sound = thread.read <= thread.last && kept == last && by_vault == Some(ThreadRef(thread.id));
        if !sound || !other.is_some_and(|other| other.other == vault && other.last == thread.last) {
            found.push(format!("{:?} of {vault:?} is not what the other side has", thread.id));
        }
    }
    for (_, list) in codec::load_range::<RequestList>(read, &keys::request_lists(vault), LIMIT)? {
        let shares = |list: &RequestList| list.items.iter().map(|item| item.share).collect::<Vec<_>>();
        let other = view::people::request_list(read, list.other, list.id)?;
        let agrees = other.is_some_and(|other| {
            other.other == vault && other.asks != list.asks && shares(&other) == shares(&list) && other.closed_ms == list.closed_ms
        });
        if !agrees {
            found.push(format!("{:?} of {vault:?} is not what the other side has", list.id));
        }
    }
    Ok(())
}

fn staff(read: &dyn Read, office: &Office, found: &mut Vec<String>) -> Result<usize, StoreError> {
    if codec::load::<OfficeRef>(read, &keys::office_by_register(&office.register))? != Some(OfficeRef(office.id)) {
        found.push(format!("{:?} is not found by its number", office.id));
    }
    let end = view::office::resolve(read, office.id)?;
    if end.is_some_and(|end| !end.is_active() && end.successor.is_some()) {
        found.push(format!("{:?} has no last successor", office.id));
    }
    let staff = codec::load_range::<Staff>(read, &keys::staff_all(office.vault), LIMIT)?;
    for (_, member) in &staff {
        let wanted = StaffRef { office: office.id, vault: office.vault, staff: member.id };
        if codec::load::<StaffRef>(read, &keys::staff_of(&member.lookup, office.id))? != Some(wanted) {
            found.push(format!("{:?} is not found by its hash", member.id));
        }
    }
    Ok(staff.len())
}
