//! The end of a vault: at once nobody gets in and the key is gone; what lies in it goes piece by piece.
//!
//! Owns: the closing, and the due work after it. Not: how a document or a share ends ([`super::document`],
//! [`super::sharing`]).
//! Holds: (1) with the command that closes a vault its key, its account, its sessions and its services are gone, and a
//! new sign-in of the same person makes a new account; (2) nothing new comes into a vault that is closing; (3) every
//! piece of the erasure is bounded work; (4) in the end no key that begins with the vault is left, whatever family put
//! it there: one range holds all of them.
//!
//! A family that keeps something of a vault under another owner's keys ends it in `piece`, before the range goes.

use super::{
    account, document, due, log, service, sharing,
    stop::{Stop, settle},
};
use crate::{
    codec,
    command::ClosingCommand,
    keys::{self, Table},
    model::{
        Account, AccountId, Closing, Contact, Delivery, DeliveryState, Event, EventKind, Invitation, Link, SessionId, TimeMs, Trail, Vault,
        VaultId,
    },
    outcome::{ClosingOutcome, ClosingRefusal, Outcome, Refusal},
    store::{Read, StoreError, Transaction},
    view,
};

/// Documents that one piece erases.
const DOCUMENTS_PIECE: usize = 10;
/// Contacts that one piece ends.
const CONTACTS_PIECE: usize = 1;
/// Keys that one piece takes away.
const KEYS_PIECE: usize = 1_000;
/// Running uploads that one piece looks at; only where the vault has some.
const UPLOADS_PIECE: usize = 10_000;
/// How long the vault is swept again: what was on its way when it was closed has arrived by then.
pub const SWEEP_MS: u64 = 10 * 60 * 1000;

pub(super) fn apply(tx: &mut Transaction<'_>, now: TimeMs, command: &ClosingCommand) -> Result<Outcome, StoreError> {
    let ClosingCommand::Close { account, vault, session, trail } = command;
    settle(close(tx, now, (*account, *vault), session, trail))
}

fn close(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    (account, vault): (AccountId, VaultId),
    session: &SessionId,
    trail: &Trail,
) -> Result<Outcome, Stop> {
    let session = view::session(tx, session)?.filter(|s| s.account == account && s.vault == vault && s.expires_ms > now);
    let session = session.ok_or(Refusal::SessionUnknown)?;
    if !session.is_stepped_up(now) {
        return Err(Refusal::from(ClosingRefusal::StepUp).into());
    }
    if view::sharing::is_dead(tx, vault)? {
        return Err(Refusal::from(ClosingRefusal::Deceased).into());
    }
    let owner = codec::load::<Account>(tx, &keys::account(account))?.ok_or(Refusal::SessionUnknown)?;
    let mut record = codec::load::<Vault>(tx, &keys::vault(vault))?.ok_or(Refusal::VaultUnknown)?;
    let event = Event { kind: EventKind::Closed, vault: Some(vault), document: None, trail: trail.clone() };
    let log_index = log::record(tx, now, event)?;
    let (sessions, services) = (view::sessions(tx, account)?, view::services(tx, vault)?);
    for session in &sessions {
        account::remove(tx, session);
    }
    for service in &services {
        service::remove(tx, service);
    }
    tx.delete(keys::lookup(&owner.lookup));
    tx.delete(keys::account(account));
    record.keys.clear();
    tx.store(keys::vault(vault), &record)?;
    let key = keys::closing(vault);
    tx.store(key.clone(), &Closing { since_ms: now })?;
    due::schedule(tx, now, &key);
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Ok(Outcome::Closing(ClosingOutcome::Closed {
        log_index,
        at_ms: now,
        documents: record.documents,
        bytes: record.used_bytes,
        sessions: count(sessions.len()),
        services: count(services.len()),
    }))
}

/// Erases one piece more, and comes back until all is gone and the sweep is over.
pub(super) fn due(tx: &mut Transaction<'_>, now: TimeMs, key: &[u8]) -> Result<(), StoreError> {
    let Some(closing) = codec::load::<Closing>(tx, key)? else { return Ok(()) };
    let Some(vault) = keys::id_at_end(key).map(VaultId) else { return Ok(()) };
    let swept = closing.since_ms.saturating_add(SWEEP_MS);
    if piece(tx, now, vault)? {
        due::schedule(tx, now.saturating_add(1), key);
    } else if now < swept {
        due::schedule(tx, swept, key);
    } else {
        tx.delete(key.to_vec());
    }
    Ok(())
}

/// One piece of the erasure; whether there is more.
fn piece(tx: &mut Transaction<'_>, now: TimeMs, vault: VaultId) -> Result<bool, StoreError> {
    let documents = view::documents(tx, vault, None, DOCUMENTS_PIECE)?;
    if !documents.is_empty() {
        for document in &documents {
            // One with more versions than a piece comes again.
            document::erase_piece(tx, now, document, document::ERASE_PIECE)?;
        }
        return Ok(true);
    }
    let uploads = view::vault(tx, vault)?.is_some_and(|record| record.reserved_bytes > 0);
    if uploads {
        let found = view::uploads(tx, UPLOADS_PIECE)?;
        for upload in found.iter().filter(|upload| upload.vault == vault) {
            super::upload::drop_upload(tx, upload)?;
        }
    }
    // A share needs a contact: with the contacts all shares end, both ways, those that wait included.
    let (start, end) = (keys::contact(vault, VaultId(0)), keys::next(keys::contact(vault, VaultId(u128::MAX))));
    let contacts = tx.scan(&start, &end, CONTACTS_PIECE)?;
    if !contacts.is_empty() {
        for (key, value) in contacts {
            if let Some(other) = keys::id_at_end(&key).map(VaultId) {
                sharing::end_shares_between(tx, now, vault, other)?;
                let id = codec::decode::<Contact>(&key, &value)?.id;
                tx.delete(keys::contact(other, vault));
                tx.delete(keys::contact_by_id(other, id));
                tx.delete(keys::contact_by_id(vault, id));
            }
            tx.delete(key);
        }
        return Ok(true);
    }
    let (start, end) = keys::all_of(vault);
    let left = tx.scan(&start, &end, KEYS_PIECE)?;
    let more = left.len() == KEYS_PIECE;
    for (key, _) in left {
        if keys::table_of(&key) == Some(Table::Link as u8)
            && let Some(link) = codec::load::<Link>(tx, &key)?
        {
            tx.delete(keys::link_by_hash(&link.asked.hash));
        }
        if keys::table_of(&key) == Some(Table::Delivery as u8)
            && let Some(delivery) = codec::load::<Delivery>(tx, &key)?
            && let DeliveryState::Waiting { next_ms } = delivery.state
        {
            tx.delete(keys::delivery_due(delivery.target.channel(), next_ms, vault, delivery.id));
        }
        if keys::table_of(&key) == Some(Table::Invitation as u8)
            && let Some(invitation) = codec::load::<Invitation>(tx, &key)?
        {
            tx.delete(keys::invitation_by_code(&invitation.code));
        }
        tx.delete(key);
    }
    Ok(more)
}
