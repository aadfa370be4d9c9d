//! Whether two vaults are contacts: the one question that sharing asks about people.
//!
//! Owns: the question. Not: how contacts come and go; whoever ends one also calls
//! [`super::sharing::end_shares_between`] in the same transaction.
//! Holds: the record of a contact lies in both vaults ([`keys::contact`]); one side alone is no contact.

use crate::{
    keys,
    model::VaultId,
    store::{Read, StoreError},
};

/// Whether each of two vaults has the other among its contacts.
pub fn are_contacts(read: &dyn Read, a: VaultId, b: VaultId) -> Result<bool, StoreError> {
    Ok(read.get(&keys::contact(a, b))?.is_some() && read.get(&keys::contact(b, a))?.is_some())
}
