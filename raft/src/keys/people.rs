//! Keys of contacts, invitations, blocks, offices, staff, messages and request lists.
//!
//! Holds: who blocked whom lies in the blocker's vault only, so nothing of it is ever read for the blocked one's lists.

use super::{CLUSTER, Table, key, next};
use crate::model::{CodeHash, ContactId, InvitationId, OfficeId, RequestListId, StaffId, ThreadId, VaultId};

fn of_vault(vault: VaultId, table: Table, id: u128) -> Vec<u8> {
    key(&vault.to_bytes(), table, &[&id.to_be_bytes()])
}

fn all_of_vault(vault: VaultId, table: Table) -> (Vec<u8>, Vec<u8>) {
    (of_vault(vault, table, 0), next(of_vault(vault, table, u128::MAX)))
}

/// One vault's contact with another; present in both vaults while they are contacts.
pub fn contact(vault: VaultId, other: VaultId) -> Vec<u8> {
    of_vault(vault, Table::Contact, other.0)
}

/// All contacts of a vault, by the other vault.
pub fn contacts(vault: VaultId) -> (Vec<u8>, Vec<u8>) {
    all_of_vault(vault, Table::Contact)
}

/// The other vault of a contact.
pub fn contact_by_id(vault: VaultId, id: ContactId) -> Vec<u8> {
    of_vault(vault, Table::ContactById, id.0)
}

/// All contacts of a vault, oldest first.
pub fn contacts_by_id(vault: VaultId) -> (Vec<u8>, Vec<u8>) {
    all_of_vault(vault, Table::ContactById)
}

/// An invitation, in the inviter's vault.
pub fn invitation(vault: VaultId, id: InvitationId) -> Vec<u8> {
    of_vault(vault, Table::Invitation, id.0)
}

/// All invitations of a vault, oldest first.
pub fn invitations(vault: VaultId) -> (Vec<u8>, Vec<u8>) {
    all_of_vault(vault, Table::Invitation)
}

/// An invitation, by the hash of its code.
pub fn invitation_by_code(hash: &CodeHash) -> Vec<u8> {
    key(&CLUSTER, Table::InvitationByCode, &[&hash.0])
}

/// The open invitation of a vault to an address.
pub fn invitation_to(vault: VaultId, address: &[u8; 32]) -> Vec<u8> {
    key(&vault.to_bytes(), Table::InvitationTo, &[address])
}

/// All open invitations of a vault to addresses.
pub fn invitations_to(vault: VaultId) -> (Vec<u8>, Vec<u8>) {
    (invitation_to(vault, &[0; 32]), next(invitation_to(vault, &[0xff; 32])))
}

/// Another vault that a vault blocked.
pub fn block(vault: VaultId, other: VaultId) -> Vec<u8> {
    of_vault(vault, Table::Block, other.0)
}

/// All that a vault blocked.
pub fn blocks(vault: VaultId) -> (Vec<u8>, Vec<u8>) {
    all_of_vault(vault, Table::Block)
}

/// An office.
pub fn office(id: OfficeId) -> Vec<u8> {
    key(&CLUSTER, Table::Office, &[&id.to_bytes()])
}

/// The office of a register number.
pub fn office_by_register(number: &str) -> Vec<u8> {
    key(&CLUSTER, Table::OfficeByRegister, &[number.as_bytes()])
}

/// A member of an office's staff.
pub fn staff(vault: VaultId, id: StaffId) -> Vec<u8> {
    of_vault(vault, Table::Staff, id.0)
}

/// All staff of an office.
pub fn staff_all(vault: VaultId) -> (Vec<u8>, Vec<u8>) {
    all_of_vault(vault, Table::Staff)
}

/// A person as a member of an office's staff.
pub fn staff_of(lookup: &[u8; 32], office: OfficeId) -> Vec<u8> {
    key(&CLUSTER, Table::StaffOf, &[lookup, &office.to_bytes()])
}

/// A person as a member of any office's staff.
pub fn staff_of_any(lookup: &[u8; 32]) -> (Vec<u8>, Vec<u8>) {
    (staff_of(lookup, OfficeId(0)), next(staff_of(lookup, OfficeId(u128::MAX))))
}

/// The office that a vault's owner named.
pub fn reference(vault: VaultId) -> Vec<u8> {
    key(&vault.to_bytes(), Table::Reference, &[])
}

/// One side of a thread.
pub fn thread(vault: VaultId, id: ThreadId) -> Vec<u8> {
    of_vault(vault, Table::Thread, id.0)
}

/// All threads of a vault, oldest first.
pub fn threads(vault: VaultId) -> (Vec<u8>, Vec<u8>) {
    all_of_vault(vault, Table::Thread)
}

/// The thread of two vaults.
pub fn thread_with(vault: VaultId, other: VaultId) -> Vec<u8> {
    of_vault(vault, Table::ThreadWith, other.0)
}

/// One side's copy of a message.
pub fn thread_message(vault: VaultId, id: ThreadId, number: u32) -> Vec<u8> {
    key(&vault.to_bytes(), Table::ThreadMessage, &[&id.to_bytes(), &number.to_be_bytes()])
}

/// The messages of a thread before a number.
pub fn thread_messages(vault: VaultId, id: ThreadId, before: u32) -> (Vec<u8>, Vec<u8>) {
    (thread_message(vault, id, 0), thread_message(vault, id, before))
}

/// One side's copy of a request list.
pub fn request_list(vault: VaultId, id: RequestListId) -> Vec<u8> {
    of_vault(vault, Table::RequestList, id.0)
}

/// All request lists of a vault, oldest first.
pub fn request_lists(vault: VaultId) -> (Vec<u8>, Vec<u8>) {
    all_of_vault(vault, Table::RequestList)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_their_own_and_nothing_else() {
        let v = VaultId(7);
        let inside = |range: (Vec<u8>, Vec<u8>), key: Vec<u8>| (range.0..range.1).contains(&key);
        for id in [0, 1, u128::MAX] {
            assert!(inside(contacts(v), contact(v, VaultId(id))));
            assert!(inside(contacts_by_id(v), contact_by_id(v, ContactId(id))));
            assert!(inside(invitations(v), invitation(v, InvitationId(id))));
            assert!(inside(blocks(v), block(v, VaultId(id))));
            assert!(inside(staff_all(v), staff(v, StaffId(id))));
            assert!(inside(staff_of_any(&[3; 32]), staff_of(&[3; 32], OfficeId(id))));
            assert!(!inside(staff_of_any(&[3; 32]), staff_of(&[4; 32], OfficeId(id))));
            assert!(inside(threads(v), thread(v, ThreadId(id))));
            assert!(inside(request_lists(v), request_list(v, RequestListId(id))));
            assert!(!inside(contacts(v), contact(VaultId(8), VaultId(id))));
            assert!(!inside(contacts(v), block(v, VaultId(id))));
        }
        assert!(inside(thread_messages(v, ThreadId(1), 5), thread_message(v, ThreadId(1), 4)));
        assert!(!inside(thread_messages(v, ThreadId(1), 5), thread_message(v, ThreadId(1), 5)));
    }
}
