//! A death is confirmed, or that turns out to be wrong.
//!
//! The flag is in force at once: what a recipient may read is decided with it ([`crate::view::sharing::standing`]).
//! Shares follow it in bounded pieces, the first with the command, the others as due work.
//!
//! Holds: a piece that was done is not done again; a flag that turns while pieces are left turns the pieces too.

use super::{ending::end, put, touch};
use crate::{
    apply::{due, stop::Stop},
    codec, keys,
    model::{Account, AccountId, Death, DocumentId, EndReason, Share, ShareId, ShareState, TimeMs, VaultId},
    outcome::{Outcome, SharingOutcome, SharingRefusal},
    store::{Read, StoreError, Transaction},
    view,
};

/// Shares that one piece opens or hides.
pub const PIECE: usize = 100;

pub(super) fn tell(tx: &mut Transaction<'_>, now: TimeMs, account: AccountId, confirmed: bool) -> Result<Outcome, Stop> {
    let account = codec::load::<Account>(tx, &keys::account(account))?.ok_or(SharingRefusal::AccountUnknown)?;
    let key = keys::death(account.vault);
    match (codec::load::<Death>(tx, &key)?.is_some_and(|death| death.confirmed), confirmed) {
        (true, true) => return Err(SharingRefusal::AlreadyConfirmed.into()),
        (false, false) => return Err(SharingRefusal::NotConfirmed.into()),
        (true, false) | (false, true) => {}
    }
    let death = piece(tx, now, account.vault, Death { confirmed, at_ms: now, settled: false })?;
    Ok(Outcome::Sharing(SharingOutcome::Death { vault: account.vault, death }))
}

/// Does a piece of what the flag asks for, and stores it.
fn piece(tx: &mut Transaction<'_>, now: TimeMs, vault: VaultId, mut death: Death) -> Result<Death, StoreError> {
    let (start, end_key) = if death.confirmed { keys::waiting_of(vault) } else { keys::opened_of(vault) };
    let entries = tx.scan(&start, &end_key, PIECE)?;
    death.settled = entries.len() < PIECE;
    for (key, _) in entries {
        let share = match keys::ids_at_end(&key) {
            Some((document, id)) => codec::load::<Share>(tx, &keys::share(vault, DocumentId(document), ShareId(id)))?,
            None => None,
        };
        match share {
            Some(share) if death.confirmed => open(tx, now, share)?,
            Some(share) => hide(tx, now, share)?,
            None => tx.delete(key),
        }
    }
    let key = keys::death(vault);
    tx.store(key.clone(), &death)?;
    if !death.settled {
        due::schedule(tx, now.saturating_add(1), &key);
    }
    Ok(death)
}

fn open(tx: &mut Transaction<'_>, now: TimeMs, mut share: Share) -> Result<(), StoreError> {
    if view::vault(tx, share.recipient)?.is_none() || view::sharing::is_dead(tx, share.recipient)? {
        end(tx, now, share, EndReason::RecipientGone)?;
    } else if share.is_past(now) {
        end(tx, now, share, EndReason::Expired)?;
    } else {
        let before = share.state;
        share.state = ShareState::Offered;
        share.offered_ms = Some(now);
        touch(&mut share, now);
        put(tx, now, Some(before), &share)?;
    }
    Ok(())
}

fn hide(tx: &mut Transaction<'_>, now: TimeMs, mut share: Share) -> Result<(), StoreError> {
    let before = share.state;
    share.state = ShareState::WaitingDeath;
    share.offered_ms = None;
    touch(&mut share, now);
    put(tx, now, Some(before), &share)
}

/// The next piece.
pub(in crate::apply) fn due(tx: &mut Transaction<'_>, now: TimeMs, key: &[u8]) -> Result<(), StoreError> {
    let vault = key.first_chunk::<16>().map(|bytes| VaultId(u128::from_be_bytes(*bytes)));
    if let Some(vault) = vault
        && let Some(death) = codec::load::<Death>(tx, key)?
        && !death.settled
    {
        piece(tx, now, vault, death)?;
    }
    Ok(())
}
