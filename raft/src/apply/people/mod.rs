//! Commands about contacts, invitations, messages and request lists.
//!
//! Owns: dispatch, and who may act in which vault (`authorise`). Parts: [`invitations`], [`contacts`],
//! [`messages`], [`requests`].
//! Holds: (1) a contact begins and ends in both vaults at once, and its shares end with it; (2) what somebody who is
//! blocked is told is what everybody is told whose invitation is over; (3) what an office's staff may do is looked up
//! in the transaction that does it.

pub mod contacts;
pub mod invitations;
pub mod messages;
pub mod requests;

use super::{
    log,
    stop::{Stop, settle},
};
use crate::{
    command::{Behalf, PeopleCommand},
    model::{Account, Event, EventKind, Sealed, TimeMs, Trail, VaultId, VerifiedName},
    outcome::{Outcome, PeopleRefusal},
    policy::OfficeRole,
    store::{Read, StoreError, Transaction},
    view::{self, people::Subject},
};

pub(super) fn apply(tx: &mut Transaction<'_>, now: TimeMs, command: &PeopleCommand) -> Result<Outcome, StoreError> {
    settle(match command {
        PeopleCommand::Invite { on, new } => invitations::invite(tx, now, on, new),
        PeopleCommand::Withdraw { on, invitation } => invitations::withdraw(tx, now, on, *invitation),
        PeopleCommand::Accept { on, shown, contact } => invitations::accept(tx, now, on, shown, contact),
        PeopleCommand::Decline { on, shown } => invitations::decline(tx, now, on, shown),
        PeopleCommand::AddOffice { on, office, contact } => contacts::add_office(tx, now, on, *office, contact),
        PeopleCommand::Rename { on, contact, name, revision, trail } => {
            contacts::rename(tx, now, on, *contact, name.as_ref(), *revision, trail)
        }
        PeopleCommand::Remove { on, contact, trail } => contacts::remove(tx, now, on, *contact, trail),
        PeopleCommand::Block { on, contact, trail } => contacts::block(tx, now, on, *contact, trail),
        PeopleCommand::Unblock { on, contact, trail } => contacts::unblock(tx, now, on, *contact, trail),
        PeopleCommand::EndAll { on } => contacts::end_all(tx, now, on),
        PeopleCommand::Say { on, to, thread, message, own, theirs } => {
            let texts = messages::Texts { message: *message, own, theirs };
            messages::say(tx, now, on, *to, *thread, &texts)
        }
        PeopleCommand::MarkRead { on, thread, number } => messages::mark_read(tx, on, *thread, *number),
        PeopleCommand::Ask { on, of, list, title, items, trail } => {
            requests::ask(tx, now, on, *of, &requests::New { id: *list, title, items }, trail)
        }
        PeopleCommand::Tick { on, list, item, document } => requests::tick(tx, now, on, *list, *item, *document),
        PeopleCommand::CloseList { on, list } => requests::close(tx, now, on, *list),
    })
}

/// Whether somebody may act in a vault, for an office with this role at least. An own vault is one's own.
pub(super) fn authorise(read: &dyn Read, on: &Behalf, least: OfficeRole) -> Result<Account, Stop> {
    let account = view::account(read, on.by)?.ok_or(PeopleRefusal::NotFound)?;
    match on.office {
        None if account.vault == on.vault => Ok(account),
        None => Err(PeopleRefusal::NotFound.into()),
        Some(id) => {
            let office = view::office::office(read, id)?.filter(|office| office.vault == on.vault).ok_or(PeopleRefusal::NotFound)?;
            let role = view::office::role(read, &office, &account.lookup)?;
            if role.is_some_and(|role| role >= least) { Ok(account) } else { Err(PeopleRefusal::Role.into()) }
        }
    }
}

/// The person who acts in the own vault; an office's staff does not do this for the office.
fn in_person(read: &dyn Read, on: &Behalf) -> Result<Account, Stop> {
    if on.office.is_some() {
        return Err(PeopleRefusal::Role.into());
    }
    authorise(read, on, OfficeRole::Notary)
}

fn must_live(read: &dyn Read, vault: VaultId) -> Result<(), Stop> {
    if view::sharing::is_dead(read, vault)? { Err(PeopleRefusal::Deceased.into()) } else { Ok(()) }
}

/// The name of a vault's owner as another vault keeps it: the text is the gateway's, where it is from is the state's.
fn identity(read: &dyn Read, of: VaultId, name: &Sealed) -> Result<VerifiedName, Stop> {
    if name.0.len() > VerifiedName::SEALED_MAX {
        return Err(PeopleRefusal::Limit.into());
    }
    let (source, verified_ms) = match view::people::subject(read, of)?.ok_or(PeopleRefusal::NotFound)? {
        Subject::Person(account) => (account.way, account.signed_in_ms),
        Subject::Office(office) => (VerifiedName::REGISTER.to_owned(), office.updated_ms),
    };
    Ok(VerifiedName { name: name.clone(), source, verified_ms })
}

/// Puts an event into the history of a vault.
pub(super) fn record(tx: &mut Transaction<'_>, now: TimeMs, kind: EventKind, vault: VaultId, trail: &Trail) -> Result<(), StoreError> {
    log::record(tx, now, Event { kind, vault: Some(vault), document: None, trail: trail.clone() }).map(|_| ())
}

#[cfg(test)]
mod tests;
