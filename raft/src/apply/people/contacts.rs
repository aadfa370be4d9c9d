//! How contacts begin, change and end.

use super::{authorise, identity, in_person, must_live, record};
use crate::{
    apply::{sharing::end_shares_between, stop::Stop},
    codec,
    command::{Behalf, NewContact},
    keys,
    model::{
        Blocked, Contact, ContactId, ContactKind, ContactRef, EventKind, InvitationState, OfficeId, Sealed, TimeMs, Trail, VaultId,
        VerifiedName,
    },
    outcome::{EndedShare, Outcome, PeopleOutcome, PeopleRefusal},
    policy::OfficeRole,
    store::{Read, StoreError, Transaction},
    view::{self, people::Subject},
};

/// Begins a contact: in both vaults, with a name that each side can read. `kind` is what the other one is to `own`.
pub(super) fn begin(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    (own, other): (VaultId, VaultId),
    kind: ContactKind,
    new: &NewContact,
) -> Result<Contact, Stop> {
    if tx.get(&keys::contact(own, other))?.is_some() {
        return Err(PeopleRefusal::AlreadyContacts.into());
    }
    let theirs = identity(tx, other, &new.their_name)?;
    let ours = identity(tx, own, &new.own_name)?;
    for vault in [own, other] {
        if tx.get(&keys::contact_by_id(vault, new.id))?.is_some() {
            return Err(PeopleRefusal::IdTaken.into());
        }
        if matches!(view::people::subject(tx, vault)?, Some(Subject::Person(_)))
            && is_full(tx, &keys::contacts(vault), Contact::PER_PERSON_MAX)?
        {
            return Err(PeopleRefusal::TooManyContacts.into());
        }
    }
    let contact = |other, kind, identity| Contact { id: new.id, other, kind, since_ms: now, identity, own_name: None, revision: 1 };
    let (mine, yours) = (contact(other, kind, theirs), contact(own, kind.mirrored(), ours));
    for (vault, contact) in [(own, &mine), (other, &yours)] {
        tx.store(keys::contact(vault, contact.other), contact)?;
        tx.store(keys::contact_by_id(vault, contact.id), &ContactRef(contact.other))?;
    }
    record(tx, now, EventKind::ContactAdded, own, &new.trail)?;
    record(tx, now, EventKind::ContactAdded, other, &new.their_trail)?;
    Ok(mine)
}

/// Whether a range has as many entries as it may have.
pub(super) fn is_full(read: &dyn Read, range: &(Vec<u8>, Vec<u8>), max: usize) -> Result<bool, StoreError> {
    Ok(read.scan(&range.0, &range.1, max)?.len() >= max)
}

/// Ends a contact in both vaults, with all shares both ways.
pub(in crate::apply) fn end(tx: &mut Transaction<'_>, now: TimeMs, own: VaultId, contact: &Contact) -> Result<Vec<EndedShare>, StoreError> {
    let other = contact.other;
    for (vault, with) in [(own, other), (other, own)] {
        tx.delete(keys::contact(vault, with));
        tx.delete(keys::contact_by_id(vault, contact.id));
    }
    end_shares_between(tx, now, own, other)
}

/// A person takes an office of the directory among the contacts: no answer is waited for, offices are there for all.
pub(super) fn add_office(tx: &mut Transaction<'_>, now: TimeMs, on: &Behalf, office: OfficeId, new: &NewContact) -> Result<Outcome, Stop> {
    in_person(tx, on)?;
    must_live(tx, on.vault)?;
    let office = view::office::office(tx, office)?.ok_or(PeopleRefusal::NotFound)?;
    if !office.is_active() {
        return Err(PeopleRefusal::OfficeInactive.into());
    }
    if tx.get(&keys::block(on.vault, office.vault))?.is_some() {
        return Err(PeopleRefusal::Blocked.into());
    }
    let contact = begin(tx, now, (on.vault, office.vault), ContactKind::NotaryOffice, new)?;
    Ok(Outcome::People(PeopleOutcome::Contact(Box::new(contact))))
}

fn own(read: &dyn Read, vault: VaultId, id: ContactId) -> Result<Contact, Stop> {
    Ok(view::people::contact(read, vault, id)?.ok_or(PeopleRefusal::NotFound)?)
}

pub(super) fn rename(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    on: &Behalf,
    id: ContactId,
    name: Option<&Sealed>,
    revision: u64,
    trail: &Trail,
) -> Result<Outcome, Stop> {
    authorise(tx, on, OfficeRole::Clerk)?;
    let mut contact = own(tx, on.vault, id)?;
    if contact.revision != revision {
        return Err(PeopleRefusal::RevisionMismatch { actual: contact.revision }.into());
    }
    if name.is_some_and(|name| name.0.len() > VerifiedName::SEALED_MAX) {
        return Err(PeopleRefusal::Limit.into());
    }
    contact.own_name = name.cloned();
    contact.revision += 1;
    tx.store(keys::contact(on.vault, contact.other), &contact)?;
    record(tx, now, EventKind::ContactChanged, on.vault, trail)?;
    Ok(Outcome::People(PeopleOutcome::Contact(Box::new(contact))))
}

pub(super) fn remove(tx: &mut Transaction<'_>, now: TimeMs, on: &Behalf, id: ContactId, trail: &Trail) -> Result<Outcome, Stop> {
    authorise(tx, on, OfficeRole::Clerk)?;
    let contact = own(tx, on.vault, id)?;
    let shares = end(tx, now, on.vault, &contact)?;
    record(tx, now, EventKind::ContactRemoved, on.vault, trail)?;
    Ok(Outcome::People(PeopleOutcome::Ended { shares, more: false }))
}

/// The other side sees what it sees when a contact is removed, and no more.
pub(super) fn block(tx: &mut Transaction<'_>, now: TimeMs, on: &Behalf, id: ContactId, trail: &Trail) -> Result<Outcome, Stop> {
    // An office is there for everybody who names it.
    in_person(tx, on)?;
    let contact = own(tx, on.vault, id)?;
    if is_full(tx, &keys::blocks(on.vault), Blocked::PER_VAULT_MAX)? {
        return Err(PeopleRefusal::TooManyBlocks.into());
    }
    let shares = end(tx, now, on.vault, &contact)?;
    tx.store(keys::block(on.vault, contact.other), &Blocked { contact, blocked_ms: now })?;
    record(tx, now, EventKind::ContactRemoved, on.vault, trail)?;
    Ok(Outcome::People(PeopleOutcome::Ended { shares, more: false }))
}

/// The contact does not come back by this: one of the two invites.
pub(super) fn unblock(tx: &mut Transaction<'_>, now: TimeMs, on: &Behalf, id: ContactId, trail: &Trail) -> Result<Outcome, Stop> {
    in_person(tx, on)?;
    let blocked = view::people::blocked(tx, on.vault)?.into_iter().find(|blocked| blocked.contact.id == id);
    let blocked = blocked.ok_or(PeopleRefusal::NotFound)?;
    tx.delete(keys::block(on.vault, blocked.contact.other));
    record(tx, now, EventKind::ContactChanged, on.vault, trail)?;
    Ok(Outcome::Done)
}

/// Ends contacts and invitations of a person whose account is closed: a bounded piece, and whether there is more.
///
/// Blocks stay until the account itself goes: somebody who was blocked must not learn of the closing either.
pub(super) fn end_all(tx: &mut Transaction<'_>, now: TimeMs, on: &Behalf) -> Result<Outcome, Stop> {
    in_person(tx, on)?;
    for invitation in view::people::invitations(tx, on.vault)? {
        if invitation.state == InvitationState::Open {
            super::invitations::finish(tx, now, invitation, InvitationState::Withdrawn)?;
        }
    }
    let found = codec::load_range::<Contact>(tx, &keys::contacts(on.vault), Contact::ENDED_AT_ONCE)?;
    let mut shares = Vec::new();
    for (_, contact) in &found {
        shares.extend(end(tx, now, on.vault, contact)?);
    }
    let more = is_full(tx, &keys::contacts(on.vault), 1)?;
    Ok(Outcome::People(PeopleOutcome::Ended { shares, more }))
}
