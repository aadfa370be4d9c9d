//! Messages between a person and an office.
//!
//! Holds: a message lies in both vaults, under the same number, each copy sealed for its own.

use super::authorise;
use crate::{
    apply::{contact_check::are_contacts, stop::Stop},
    codec,
    command::Behalf,
    keys,
    model::{MessageId, Sealed, Thread, ThreadId, ThreadMessage, ThreadRef, TimeMs, VaultId},
    outcome::{Outcome, PeopleOutcome, PeopleRefusal},
    policy::OfficeRole,
    store::{Read, Transaction},
    view::{self, people::Subject},
};

/// The two copies of a text.
pub(super) struct Texts<'a> {
    pub(super) message: MessageId,
    pub(super) own: &'a Sealed,
    pub(super) theirs: &'a Sealed,
}

/// Refuses what is not between a person and an office that are contacts.
pub(super) fn person_and_office(read: &dyn Read, a: VaultId, b: VaultId) -> Result<(), Stop> {
    if !are_contacts(read, a, b)? {
        return Err(PeopleRefusal::NotAContact.into());
    }
    let is_office = |vault| Ok::<_, Stop>(matches!(view::people::subject(read, vault)?, Some(Subject::Office(_))));
    if is_office(a)? == is_office(b)? { Err(PeopleRefusal::NoOffice.into()) } else { Ok(()) }
}

pub(super) fn say(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    on: &Behalf,
    to: VaultId,
    new: ThreadId,
    texts: &Texts<'_>,
) -> Result<Outcome, Stop> {
    authorise(tx, on, OfficeRole::Clerk)?;
    person_and_office(tx, on.vault, to)?;
    if [texts.own, texts.theirs].iter().any(|text| text.0.is_empty() || text.0.len() > Thread::SEALED_MAX) {
        return Err(PeopleRefusal::Limit.into());
    }
    let fresh = |other| Thread { id: new, other, created_ms: now, updated_ms: now, last: 0, read: 0, unanswered: 0 };
    let known = view::people::thread_with(tx, on.vault, to)?;
    let begins = known.is_none();
    if begins && (view::people::thread(tx, on.vault, new)?.is_some() || view::people::thread(tx, to, new)?.is_some()) {
        return Err(PeopleRefusal::IdTaken.into());
    }
    let mut ours = known.unwrap_or_else(|| fresh(to));
    let mut theirs = view::people::thread(tx, to, ours.id)?.unwrap_or_else(|| fresh(on.vault));
    if ours.last >= Thread::MESSAGES_MAX || ours.unanswered >= Thread::UNANSWERED_MAX {
        return Err(PeopleRefusal::TooManyMessages.into());
    }
    let number = ours.last.saturating_add(1);
    (ours.last, ours.updated_ms, ours.read) = (number, now, number);
    (theirs.last, theirs.updated_ms) = (number, now);
    ours.unanswered = ours.unanswered.saturating_add(1);
    theirs.unanswered = 0;
    for (vault, thread, text, own) in [(on.vault, &ours, texts.own, true), (to, &theirs, texts.theirs, false)] {
        let message = ThreadMessage { id: texts.message, number, own, text: text.clone(), at_ms: now };
        tx.store(keys::thread_message(vault, thread.id, number), &message)?;
        tx.store(keys::thread(vault, thread.id), thread)?;
        if begins {
            tx.store(keys::thread_with(vault, thread.other), &ThreadRef(thread.id))?;
        }
    }
    Ok(Outcome::People(PeopleOutcome::Thread(Box::new(ours))))
}

pub(super) fn mark_read(tx: &mut Transaction<'_>, on: &Behalf, id: ThreadId, number: u32) -> Result<Outcome, Stop> {
    authorise(tx, on, OfficeRole::Reader)?;
    let key = keys::thread(on.vault, id);
    let mut thread = codec::load::<Thread>(tx, &key)?.ok_or(PeopleRefusal::NotFound)?;
    if number > thread.last {
        return Err(PeopleRefusal::Limit.into());
    }
    // Two readers of an office may tell in any order.
    thread.read = thread.read.max(number);
    tx.store(key, &thread)?;
    Ok(Outcome::People(PeopleOutcome::Thread(Box::new(thread))))
}
