//! The state machine: `apply(state, request) -> outcome`, pure.
//!
//! Owns: exactly-once execution, the clock, dispatch to the families ([`mod@cluster`], [`account`], [`closing`], [`upload`],
//! [`document`], [`sharing`], [`identity`], [`service`], [`mod@log`], [`notice`], [`outbox`], [`people`], [`office`],
//! [`due`]). Not: agreement,
//! storage.
//! Holds: (1) the outcome and the new state are a function of the old state and the request; (2) a request
//! id that was answered before gets the first answer and changes nothing; (3) a refusal changes nothing
//! else; (4) the state's clock never runs backwards.

pub mod account;
pub mod closing;
pub mod cluster;
pub mod contact_check;
pub mod document;
pub mod due;
pub mod identity;
pub mod log;
pub mod notice;
pub mod office;
pub mod outbox;
pub mod people;
pub mod service;
pub mod sharing;
mod stop;
pub mod upload;

use crate::{
    codec::{self},
    command::{Command, Request},
    keys,
    model::{ClusterRecord, TimeMs},
    outcome::{Outcome, Refusal},
    store::{Read, StoreError, Transaction},
};

/// How long an answer is kept for retries: far above any proposer's deadline.
pub const ANSWER_LIFETIME_MS: u64 = 10 * 60 * 1000;

/// Applies one request to the state under `tx`.
///
/// # Errors
/// Only for a failing or damaged store: the replica must stop, for it could not follow the others.
pub fn apply(tx: &mut Transaction<'_>, request: &Request) -> Result<Outcome, StoreError> {
    let key = keys::request(request.id);
    if let Some(first) = codec::load::<Outcome>(tx, &key)? {
        return Ok(first);
    }
    let clock = advance_clock(tx, request.now_ms)?;
    let mut scratch = Transaction::new(&*tx);
    let outcome = dispatch(&mut scratch, clock, request)?;
    let writes = scratch.into_writes();
    if !matches!(outcome, Outcome::Refused(_)) {
        for (key, value) in writes {
            match value {
                Some(value) => tx.put(key, value),
                None => tx.delete(key),
            }
        }
    }
    if !matches!(request.command, Command::Tick) {
        tx.store(key.clone(), &outcome)?;
        due::schedule(tx, clock.saturating_add(ANSWER_LIFETIME_MS), &key);
    }
    Ok(outcome)
}

fn dispatch(tx: &mut Transaction<'_>, now: TimeMs, request: &Request) -> Result<Outcome, StoreError> {
    let command = &request.command;
    if !matches!(command, Command::InitCluster { .. }) && cluster(tx)?.is_none() {
        return Ok(Outcome::Refused(Refusal::NotInitialised));
    }
    match command {
        Command::Tick => due::tick(tx, now, request.id),
        Command::InitCluster { id, name, code, small_max_bytes, chunk_bytes, quota_bytes, node } => {
            let settings = cluster::Settings {
                id: *id,
                name: name.clone(),
                code: *code,
                small_max_bytes: *small_max_bytes,
                chunk_bytes: *chunk_bytes,
                quota_bytes: *quota_bytes,
            };
            cluster::init(tx, now, settings, node)
        }
        Command::CreateJoinToken { hash, site, roles, lifetime_ms } => cluster::create_token(tx, now, *hash, site, roles, *lifetime_ms),
        Command::RedeemJoinToken { hash, node } => cluster::redeem_token(tx, now, *hash, node),
        Command::UpdateNode { node, storage, quic, admin, gateway } => cluster::update_node(tx, *node, *storage, *quic, *admin, *gateway),
        Command::AddDisks { node, disks } => cluster::add_disks(tx, *node, disks),
        Command::ApplyTopology { expected_version, topology } => cluster::apply_topology(tx, *expected_version, topology),
        Command::SetLookupKey { key } => cluster::set_lookup_key(tx, key),
        Command::SignIn { lookup, attempt, seed, session, session_public_id, lifetime_ms, acr, facts, trail, sealed_for } => {
            let new = account::NewSession {
                id: *session,
                public_id: *session_public_id,
                lifetime_ms: *lifetime_ms,
                acr,
                facts,
                trail,
                sealed_for: *sealed_for,
            };
            account::sign_in(tx, now, lookup, attempt, seed, &new)
        }
        Command::EndSession { account, public_id, trail } => account::end_session(tx, now, *account, *public_id, trail),
        Command::SetVaultLimits { vault, quota_bytes, strict } => account::set_limits(tx, now, *vault, *quota_bytes, *strict),
        Command::BeginUpload(begin) => upload::begin(tx, now, begin),
        Command::LockUpload { upload, vault, writer, lease_ms, renew } => {
            upload::lock(tx, now, *upload, *vault, &upload::Lock { writer: *writer, lease_ms: *lease_ms, renew: *renew })
        }
        Command::ExtendUpload { upload, reserved_bytes, lifetime_ms } => upload::extend(tx, now, *upload, *reserved_bytes, *lifetime_ms),
        Command::AdvanceUpload(advance) => upload::advance(tx, now, advance),
        Command::CommitUpload(commit) => upload::commit(tx, now, commit),
        Command::AbortUpload { upload, vault } => upload::abort(tx, *upload, *vault),
        Command::Document { act, trail } => document::apply(tx, now, act, trail),
        Command::Sharing { act, trail } => sharing::apply(tx, now, act, trail),
        Command::Identity(command) => identity::apply(tx, now, command),
        Command::DeleteDocument { vault, document, revision, trail } => document::delete(tx, now, *vault, *document, *revision, trail),
        Command::SettleBlob { blob, seen, layout } => document::settle(tx, *blob, seen, layout),
        Command::UnsettleBlob { blob } => document::unsettle(tx, *blob),
        Command::Log(command) => log::apply(tx, now, command),
        Command::Notice(command) => notice::apply(tx, now, command),
        Command::Closing(command) => closing::apply(tx, now, command),
        Command::People(command) => people::apply(tx, now, command),
        Command::Office(command) => office::apply(tx, now, command),
    }
}

/// The cluster's record.
pub(crate) fn cluster(read: &dyn Read) -> Result<Option<ClusterRecord>, StoreError> {
    codec::load(read, &keys::cluster())
}

fn advance_clock(tx: &mut Transaction<'_>, now: TimeMs) -> Result<TimeMs, StoreError> {
    let Some(mut record) = cluster(tx)? else { return Ok(now) };
    if now > record.clock_ms {
        record.clock_ms = now;
        tx.store(keys::cluster(), &record)?;
    }
    Ok(record.clock_ms)
}

pub(crate) fn refused(refusal: Refusal) -> Result<Outcome, StoreError> {
    Ok(Outcome::Refused(refusal))
}

#[cfg(test)]
mod tests;
