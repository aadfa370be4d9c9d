//! Commands about people, their vaults' limits and their sessions.

use super::{cluster, due, log, notice, refused};
use crate::{
    codec::{self, AccountRef, SessionRef},
    command::{AccountSeed, SessionFacts},
    keys,
    model::{
        Account, AccountId, Actor, Event, EventKind, NewNotice, NoticeDetails, NoticeKind, Sealed, Session, SessionId, TimeMs, Trail,
        Vault, VaultId,
    },
    outcome::{Outcome, Refusal},
    store::{StoreError, Transaction},
    view,
};

/// Longest life of a session.
pub const SESSION_LIFETIME_MAX_MS: u64 = 24 * 3600 * 1000;
/// Most sessions of one account: signing in once more ends the oldest.
pub const SESSIONS_MAX: usize = 50;
/// How long a login attempt is remembered as used; attempts themselves live ten minutes.
const ATTEMPT_MEMORY_MS: u64 = 3600 * 1000;

/// The session that a sign-in begins.
pub(super) struct NewSession<'a> {
    pub(super) id: SessionId,
    pub(super) public_id: u128,
    pub(super) lifetime_ms: u64,
    pub(super) acr: &'a str,
    pub(super) facts: &'a SessionFacts,
    pub(super) trail: &'a Trail,
    pub(super) sealed_for: VaultId,
}

pub(super) fn sign_in(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    lookup: &[u8; 32],
    attempt: &[u8; 32],
    seed: &AccountSeed,
    new: &NewSession<'_>,
) -> Result<Outcome, StoreError> {
    if !take_attempt(tx, now, attempt)? {
        return refused(Refusal::AttemptUsed);
    }

    let known = match codec::load::<AccountRef>(tx, &keys::lookup(lookup))? {
        Some(AccountRef(id)) => codec::load::<Account>(tx, &keys::account(id))?,
        None => None,
    };
    let created = known.is_none();
    let mut account = match known {
        Some(account) => account,
        None => create(tx, now, lookup, seed)?,
    };
    account.signed_in_ms = now;
    account.roles.clone_from(&seed.roles);
    account.way.clone_from(&new.facts.way);
    let new_device = note_device(&mut account, new.facts.device_hash) && !created;
    tx.store(keys::account(account.id), &account)?;

    let sessions = view::sessions(tx, account.id)?;
    if sessions.len() >= SESSIONS_MAX
        && let Some(oldest) = sessions.iter().min_by_key(|s| (s.created_ms, s.public_id))
    {
        remove(tx, oldest);
    }
    let expires_ms = now.saturating_add(new.lifetime_ms.min(SESSION_LIFETIME_MAX_MS));
    let session = Session {
        id: new.id,
        public_id: new.public_id,
        account: account.id,
        vault: account.vault,
        created_ms: now,
        expires_ms,
        acr: new.acr.to_owned(),
        assurance: new.facts.assurance,
        way: new.facts.way.clone(),
        device: sealed_for(account.vault, new.facts),
        last_seen_ms: now,
        stepped_up_ms: 0,
    };
    let key = keys::session(&session.id);
    tx.store(key.clone(), &session)?;
    tx.store(keys::session_of(account.id, session.public_id), &SessionRef(session.id))?;
    due::schedule(tx, expires_ms, &key);
    let mut trail = new.trail.clone();
    // Another sign-in of the same new person was first: nobody has the key that these details are sealed under.
    if new.sealed_for != account.vault {
        trail.details = Sealed::default();
    }
    trail.actor = Actor::Account(account.id);
    log::record(tx, now, Event { kind: EventKind::SignedIn, vault: Some(account.vault), document: None, trail })?;
    if new_device {
        // The device is sealed for the session, and bound to its public name.
        let details = Some(NoticeDetails { place: session.public_id, text: session.device }).filter(|details| !details.text.0.is_empty());
        notice::put(tx, now, NewNotice { vault: account.vault, kind: NoticeKind::NewDevice, document: None, details })?;
    }
    Ok(Outcome::SignedIn { account: Box::new(account), created, expires_ms, new_device })
}

/// Marks a login attempt as used; `false` when it was used before.
pub(super) fn take_attempt(tx: &mut Transaction<'_>, now: TimeMs, attempt: &[u8; 32]) -> Result<bool, StoreError> {
    let used = keys::attempt(attempt);
    if crate::store::Read::get(tx, &used)?.is_some() {
        return Ok(false);
    }
    due::mark(tx, used.clone())?;
    due::schedule(tx, now.saturating_add(ATTEMPT_MEMORY_MS), &used);
    Ok(true)
}

/// Remembers a device as the one seen last; whether it was never seen before.
fn note_device(account: &mut Account, hash: [u8; 16]) -> bool {
    let known = account.devices.iter().position(|known| *known == hash);
    if let Some(at) = known {
        account.devices.remove(at);
    } else if account.devices.len() >= Account::DEVICES_MAX {
        account.devices.remove(0);
    }
    account.devices.push(hash);
    known.is_none()
}

/// The sealed device, if it was sealed for the vault that the session turned out to be of.
fn sealed_for(vault: VaultId, facts: &SessionFacts) -> Sealed {
    match &facts.device {
        Some((sealed_for, sealed)) if *sealed_for == vault => sealed.clone(),
        _ => Sealed::default(),
    }
}

fn create(tx: &mut Transaction<'_>, now: TimeMs, lookup: &[u8; 32], seed: &AccountSeed) -> Result<Account, StoreError> {
    let quota_bytes = cluster(tx)?.map_or(0, |c| c.quota_bytes);
    let vault = Vault {
        id: seed.vault,
        owner: seed.account,
        keys: seed.keys.clone(),
        quota_bytes,
        used_bytes: 0,
        reserved_bytes: 0,
        documents: 0,
        strict: false,
    };
    tx.store(keys::vault(vault.id), &vault)?;
    tx.store(keys::lookup(lookup), &AccountRef(seed.account))?;
    Ok(Account {
        id: seed.account,
        vault: seed.vault,
        lookup: *lookup,
        profile: seed.profile.clone(),
        roles: seed.roles.clone(),
        created_ms: now,
        signed_in_ms: now,
        way: String::new(),
        devices: Vec::new(),
    })
}

pub(super) fn remove(tx: &mut Transaction<'_>, session: &Session) {
    tx.delete(keys::session(&session.id));
    tx.delete(keys::session_of(session.account, session.public_id));
}

pub(super) fn end_session(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    account: AccountId,
    public_id: u128,
    trail: &Trail,
) -> Result<Outcome, StoreError> {
    let Some(SessionRef(id)) = codec::load::<SessionRef>(tx, &keys::session_of(account, public_id))? else {
        return refused(Refusal::SessionUnknown);
    };
    if let Some(session) = codec::load::<Session>(tx, &keys::session(&id))? {
        remove(tx, &session);
        let event = Event { kind: EventKind::SignedOut, vault: Some(session.vault), document: None, trail: trail.clone() };
        log::record(tx, now, event)?;
    }
    Ok(Outcome::Done)
}

pub(super) fn set_limits(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    id: VaultId,
    quota_bytes: Option<u64>,
    strict: Option<bool>,
) -> Result<Outcome, StoreError> {
    let key = keys::vault(id);
    let Some(mut vault) = codec::load::<Vault>(tx, &key)? else { return refused(Refusal::VaultUnknown) };
    if let Some(quota_bytes) = quota_bytes {
        let (used_bytes, reserved_bytes) = (vault.used_bytes, vault.reserved_bytes);
        if quota_bytes < used_bytes.saturating_add(reserved_bytes) {
            return refused(Refusal::QuotaExceeded { used_bytes, reserved_bytes, limit_bytes: quota_bytes });
        }
        vault.quota_bytes = quota_bytes;
    }
    vault.strict = strict.unwrap_or(vault.strict);
    tx.store(key, &vault)?;
    notice::quota(tx, now, &vault)?;
    Ok(Outcome::Vault(Box::new(vault)))
}
