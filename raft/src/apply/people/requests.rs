//! Lists of documents that an office asks for.
//!
//! Holds: (1) a list lies in both vaults, with the same items; (2) an item has arrived when the person has shared a
//! document with the office and named it, and the office sees the share, never the document's place in the vault.

use super::{authorise, contacts::is_full, in_person, messages::person_and_office, must_live, record};
use crate::{
    apply::stop::Stop,
    codec,
    command::Behalf,
    keys,
    model::{DocumentId, EventKind, GivenRef, RequestItem, RequestList, RequestListId, Sealed, Share, TimeMs, Trail, VaultId},
    outcome::{Outcome, PeopleOutcome, PeopleRefusal},
    policy::OfficeRole,
    store::{Read, Transaction},
    view,
};

/// A list as it is made.
pub(super) struct New<'a> {
    pub(super) id: RequestListId,
    pub(super) title: &'a (Sealed, Sealed),
    pub(super) items: &'a [(Sealed, Sealed)],
}

fn told(list: RequestList) -> Outcome {
    Outcome::People(PeopleOutcome::List(Box::new(list)))
}

pub(super) fn ask(tx: &mut Transaction<'_>, now: TimeMs, on: &Behalf, of: VaultId, new: &New<'_>, trail: &Trail) -> Result<Outcome, Stop> {
    if on.office.is_none() {
        return Err(PeopleRefusal::Role.into());
    }
    authorise(tx, on, OfficeRole::Clerk)?;
    person_and_office(tx, on.vault, of)?;
    must_live(tx, of)?;
    let sound = |(a, b): &(Sealed, Sealed)| a.0.len().max(b.0.len()) <= RequestList::SEALED_MAX;
    if !(1..=RequestList::ITEMS_MAX).contains(&new.items.len()) || !sound(new.title) || !new.items.iter().all(sound) {
        return Err(PeopleRefusal::Limit.into());
    }
    if is_full(tx, &keys::request_lists(of), RequestList::PER_PERSON_MAX)? {
        return Err(PeopleRefusal::TooManyLists.into());
    }
    let list = |other, asks, title: &Sealed, texts: Vec<&Sealed>| RequestList {
        id: new.id,
        other,
        asks,
        title: title.clone(),
        items: texts.into_iter().map(|text| RequestItem { text: text.clone(), share: None, arrived_ms: None }).collect(),
        created_ms: now,
        closed_ms: None,
    };
    let ours = list(of, true, &new.title.0, new.items.iter().map(|item| &item.0).collect());
    let theirs = list(on.vault, false, &new.title.1, new.items.iter().map(|item| &item.1).collect());
    for (vault, list) in [(on.vault, &ours), (of, &theirs)] {
        let key = keys::request_list(vault, list.id);
        if tx.get(&key)?.is_some() {
            return Err(PeopleRefusal::IdTaken.into());
        }
        tx.store(key, list)?;
    }
    record(tx, now, EventKind::OfficeActed, on.vault, trail)?;
    Ok(told(ours))
}

/// Both copies of a list: the one of the side that acts first.
fn both(read: &dyn Read, vault: VaultId, id: RequestListId) -> Result<(RequestList, RequestList), Stop> {
    let own = view::people::request_list(read, vault, id)?.ok_or(PeopleRefusal::NotFound)?;
    let other = view::people::request_list(read, own.other, id)?.ok_or(PeopleRefusal::NotFound)?;
    Ok((own, other))
}

fn put(tx: &mut Transaction<'_>, own: RequestList, other: &RequestList) -> Result<Outcome, Stop> {
    tx.store(keys::request_list(other.other, own.id), &own)?;
    tx.store(keys::request_list(own.other, own.id), other)?;
    Ok(told(own))
}

pub(super) fn tick(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    on: &Behalf,
    id: RequestListId,
    item: u32,
    document: DocumentId,
) -> Result<Outcome, Stop> {
    in_person(tx, on)?;
    let (mut own, mut office) = both(tx, on.vault, id)?;
    if own.asks {
        return Err(PeopleRefusal::NotFound.into());
    }
    if own.closed_ms.is_some() {
        return Err(PeopleRefusal::ListClosed.into());
    }
    let given = codec::load::<GivenRef>(tx, &keys::given(on.vault, own.other, document))?;
    let GivenRef(share) = given.ok_or(PeopleRefusal::NotShared)?;
    // A share that waits, or is a draft, brings the office nothing, and the office must not learn of it.
    let shared = codec::load::<Share>(tx, &keys::share(on.vault, document, share))?;
    if !shared.is_some_and(|share| share.state.is_listed()) {
        return Err(PeopleRefusal::NotShared.into());
    }
    let at = usize::try_from(item).unwrap_or(usize::MAX);
    for list in [&mut own, &mut office] {
        let item = list.items.get_mut(at).ok_or(PeopleRefusal::NotFound)?;
        item.share = Some(share);
        item.arrived_ms = Some(now);
    }
    put(tx, own, &office)
}

pub(super) fn close(tx: &mut Transaction<'_>, now: TimeMs, on: &Behalf, id: RequestListId) -> Result<Outcome, Stop> {
    authorise(tx, on, OfficeRole::Clerk)?;
    let (mut own, mut other) = both(tx, on.vault, id)?;
    if !own.asks {
        return Err(PeopleRefusal::NotFound.into());
    }
    for list in [&mut own, &mut other] {
        list.closed_ms = list.closed_ms.or(Some(now));
    }
    put(tx, own, &other)
}
