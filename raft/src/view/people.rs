//! Reads of contacts, invitations, blocks, messages and request lists.

use crate::{
    codec, keys,
    model::{
        Account, Blocked, CodeHash, Contact, ContactId, ContactRef, Invitation, InvitationId, InvitationRef, Office, OfficeId, RequestList,
        RequestListId, Thread, ThreadId, ThreadMessage, ThreadRef, VaultId,
    },
    store::{Read, StoreError},
};

/// Whose a vault is.
pub enum Subject {
    /// A person's.
    Person(Box<Account>),
    /// An office's.
    Office(Box<Office>),
}

/// Whose a vault is; `None` when there is no such vault.
pub fn subject(read: &dyn Read, vault: VaultId) -> Result<Option<Subject>, StoreError> {
    let Some(record) = super::vault(read, vault)? else { return Ok(None) };
    if let Some(account) = super::account(read, record.owner)? {
        return Ok(Some(Subject::Person(Box::new(account))));
    }
    Ok(super::office::office(read, OfficeId(record.owner.0))?.map(|office| Subject::Office(Box::new(office))))
}

/// The vault behind a contact of a vault: what shares name as their recipient.
pub fn contact_vault(read: &dyn Read, own: VaultId, contact: ContactId) -> Result<Option<VaultId>, StoreError> {
    Ok(codec::load::<ContactRef>(read, &keys::contact_by_id(own, contact))?.map(|ContactRef(other)| other))
}

/// A contact of a vault.
pub fn contact(read: &dyn Read, own: VaultId, id: ContactId) -> Result<Option<Contact>, StoreError> {
    match contact_vault(read, own, id)? {
        Some(other) => contact_with(read, own, other),
        None => Ok(None),
    }
}

/// A vault's contact with another vault.
pub fn contact_with(read: &dyn Read, own: VaultId, other: VaultId) -> Result<Option<Contact>, StoreError> {
    codec::load(read, &keys::contact(own, other))
}

/// Up to `limit` contacts of a vault, newest first, those before (older than) `before`.
pub fn contacts(read: &dyn Read, own: VaultId, before: Option<ContactId>, limit: usize) -> Result<Vec<Contact>, StoreError> {
    let (start, end) = keys::contacts_by_id(own);
    let end = before.map_or(end, |id| keys::contact_by_id(own, id));
    let mut found = Vec::new();
    for (key, bytes) in read.scan_back(&start, &end, limit)? {
        let ContactRef(other) = codec::decode(&key, &bytes)?;
        found.extend(contact_with(read, own, other)?);
    }
    Ok(found)
}

/// All that a vault blocked.
pub fn blocked(read: &dyn Read, own: VaultId) -> Result<Vec<Blocked>, StoreError> {
    super::values(codec::load_range(read, &keys::blocks(own), Blocked::PER_VAULT_MAX)?)
}

/// All invitations of a vault, oldest first; those that ended lately are among them.
pub fn invitations(read: &dyn Read, own: VaultId) -> Result<Vec<Invitation>, StoreError> {
    super::values(codec::load_range(read, &keys::invitations(own), Invitation::KEPT_MAX)?)
}

/// An invitation of a vault.
pub fn invitation(read: &dyn Read, own: VaultId, id: InvitationId) -> Result<Option<Invitation>, StoreError> {
    codec::load(read, &keys::invitation(own, id))
}

/// The invitation of a code, whatever its state.
pub fn invitation_of(read: &dyn Read, code: &CodeHash) -> Result<Option<Invitation>, StoreError> {
    match codec::load::<InvitationRef>(read, &keys::invitation_by_code(code))? {
        Some(at) => invitation(read, at.vault, at.invitation),
        None => Ok(None),
    }
}

/// Whether one of two vaults blocked the other.
pub fn is_blocked(read: &dyn Read, a: VaultId, b: VaultId) -> Result<bool, StoreError> {
    Ok(read.get(&keys::block(a, b))?.is_some() || read.get(&keys::block(b, a))?.is_some())
}

/// One side of a thread.
pub fn thread(read: &dyn Read, own: VaultId, id: ThreadId) -> Result<Option<Thread>, StoreError> {
    codec::load(read, &keys::thread(own, id))
}

/// The thread of two vaults, as the first has it.
pub fn thread_with(read: &dyn Read, own: VaultId, other: VaultId) -> Result<Option<Thread>, StoreError> {
    match codec::load::<ThreadRef>(read, &keys::thread_with(own, other))? {
        Some(ThreadRef(id)) => thread(read, own, id),
        None => Ok(None),
    }
}

/// Up to `limit` threads of a vault, newest first, those before (older than) `before`.
pub fn threads(read: &dyn Read, own: VaultId, before: Option<ThreadId>, limit: usize) -> Result<Vec<Thread>, StoreError> {
    let (start, end) = keys::threads(own);
    let end = before.map_or(end, |id| keys::thread(own, id));
    read.scan_back(&start, &end, limit)?.into_iter().map(|(k, v)| codec::decode(&k, &v)).collect()
}

/// Up to `limit` messages of a thread, newest first, those before a number.
pub fn messages(read: &dyn Read, own: VaultId, id: ThreadId, before: u32, limit: usize) -> Result<Vec<ThreadMessage>, StoreError> {
    let (start, end) = keys::thread_messages(own, id, before);
    read.scan_back(&start, &end, limit)?.into_iter().map(|(k, v)| codec::decode(&k, &v)).collect()
}

/// A request list.
pub fn request_list(read: &dyn Read, own: VaultId, id: RequestListId) -> Result<Option<RequestList>, StoreError> {
    codec::load(read, &keys::request_list(own, id))
}

/// Up to `limit` request lists of a vault, newest first, those before (older than) `before`.
pub fn request_lists(read: &dyn Read, own: VaultId, before: Option<RequestListId>, limit: usize) -> Result<Vec<RequestList>, StoreError> {
    let (start, end) = keys::request_lists(own);
    let end = before.map_or(end, |id| keys::request_list(own, id));
    read.scan_back(&start, &end, limit)?.into_iter().map(|(k, v)| codec::decode(&k, &v)).collect()
}
