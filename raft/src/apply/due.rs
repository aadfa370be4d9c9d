//! Work that falls due: a table ordered by time, worked off by ticks, a bounded piece at a time.
//!
//! Holds: an entry says only "look at this record at this time"; the record itself decides whether it is
//! really due, so that a renewed record needs no search for its old entry.

use crate::{
    codec::{self, Marker},
    keys::{self, Table},
    model::{IdempotencyRecord, JoinToken, Service, Session, TimeMs, Upload},
    outcome::Outcome,
    store::{Read, StoreError, Transaction},
};

/// Entries that one tick works off.
pub const TICK_MAX: usize = 200;

/// Has the record at `key` looked at when the clock reaches `at_ms`.
pub fn schedule(tx: &mut Transaction<'_>, at_ms: TimeMs, key: &[u8]) {
    tx.put(keys::due(at_ms, key), Vec::new());
}

/// Whether any work is due: a leader need not propose a tick otherwise.
///
/// # Errors
/// The store failed.
pub fn any_due(read: &dyn Read, now_ms: TimeMs) -> Result<bool, StoreError> {
    let (start, end) = keys::due_until(now_ms);
    Ok(!read.scan(&start, &end, 1)?.is_empty())
}

/// Works off what is due; `request` is the id of the tick's request, which events of due work take their salt from.
pub(super) fn tick(tx: &mut Transaction<'_>, now: TimeMs, request: u128) -> Result<Outcome, StoreError> {
    let (start, end) = keys::due_until(now);
    for (entry, _) in tx.scan(&start, &end, TICK_MAX)? {
        if let Some((_, key)) = keys::due_parts(&entry) {
            let key = key.to_vec();
            expire(tx, now, request, &key)?;
        }
        tx.delete(entry);
    }
    Ok(Outcome::Done)
}

fn expire(tx: &mut Transaction<'_>, now: TimeMs, request: u128, key: &[u8]) -> Result<(), StoreError> {
    let Some(&table) = key.get(16) else { return Ok(()) };
    let is = |t: Table| table == t as u8;
    if is(Table::Request) || is(Table::Attempt) {
        tx.delete(key.to_vec());
    } else if is(Table::Session) {
        if let Some(session) = codec::load::<Session>(tx, key)?
            && session.expires_ms <= now
        {
            tx.delete(key.to_vec());
            tx.delete(keys::session_of(session.account, session.public_id));
        }
    } else if is(Table::Token) {
        if let Some(token) = codec::load::<JoinToken>(tx, key)?
            && token.expires_ms <= now
        {
            tx.delete(key.to_vec());
        }
    } else if is(Table::Upload) {
        if let Some(upload) = codec::load::<Upload>(tx, key)? {
            if upload.expires_ms <= now {
                super::upload::drop_upload(tx, &upload)?;
            } else {
                schedule(tx, upload.expires_ms, key);
            }
        }
    } else if is(Table::Service) {
        if let Some(service) = codec::load::<Service>(tx, key)?
            && service.expires_ms <= now
        {
            super::service::remove(tx, &service);
        }
    } else if is(Table::Idempotency)
        && let Some(record) = codec::load::<IdempotencyRecord>(tx, key)?
        && record.expires_ms <= now
    {
        tx.delete(key.to_vec());
    }
    if is(Table::Document) {
        super::document::due(tx, now, request, key)?;
    } else if is(Table::Share) {
        super::sharing::due(tx, now, request, key)?;
    } else if is(Table::Former) {
        super::sharing::due_former(tx, now, key)?;
    } else if is(Table::Link) {
        super::sharing::links::due(tx, now, key)?;
    } else if is(Table::Death) {
        super::sharing::death::due(tx, now, key)?;
    } else if is(Table::Notice) {
        super::notice::due(tx, now, key)?;
    } else if is(Table::Delivery) {
        super::outbox::due(tx, now, key)?;
    } else if is(Table::Closing) {
        super::closing::due(tx, now, key)?;
    } else if is(Table::Invitation) {
        super::people::invitations::due(tx, now, key)?;
    }
    Ok(())
}

/// A marker at `key`.
pub(super) fn mark(tx: &mut Transaction<'_>, key: Vec<u8>) -> Result<(), StoreError> {
    tx.store(key, &Marker)
}
