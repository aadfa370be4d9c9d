//! The tamper-evident log in the state: entries, hashes by position, histories of vaults and documents.
//!
//! Owns: [`record`], which other families call in the transaction of what they record, and the log's own commands.
//! Not: the tree ([`crate::log`]).
//! Holds: (1) an event and its entry are one transaction: neither is without the other; (2) an entry's place is its
//! number in the log, and never changes; (3) a checkpoint is taken only when its root is that of this replica's tree
//! and the log's key signed it.

use super::refused;
use crate::{
    command::log::{APPEND_MAX, LogCommand, LogOutcome, LogRefusal},
    keys,
    log::{
        checkpoint::Checkpoint,
        merkle::{self, ProofError, leaf_hash, sha256},
        note::{Note, Verifier},
    },
    model::{Actor, Event, HistoryEntry, LogKeyRecord, LogRecord, Sealed, StoredCheckpoint, TimeMs, Trail},
    outcome::{Outcome, Refusal},
    store::{Read, StoreError, Transaction},
    view,
};

/// Most bytes of the sealed details of one event.
pub const DETAILS_SEALED_MAX: usize = 2048;

/// Records an event: its entry in the log, and in the history that it belongs to. Gives its place in the log.
///
/// # Errors
/// The store failed.
pub fn record(tx: &mut Transaction<'_>, now: TimeMs, event: Event) -> Result<u64, StoreError> {
    let mut log = view::log(tx)?;
    let index = append(tx, &mut log, now, event)?;
    tx.store(keys::log(), &log)?;
    Ok(index)
}

/// What a second event of the same command has: the same actor, a salt of its own, and nothing else to say.
pub(super) fn further(trail: &Trail) -> Trail {
    Trail::bare(trail.actor, sha256(&[b"kluis further event v1", &trail.salt]))
}

/// What the cluster's own acts have: the salt follows from the request's id, which is random, and from the record that
/// fell due, so that no two events of one tick share it.
pub(super) fn of_due_work(request: u128, key: &[u8]) -> Trail {
    Trail::bare(Actor::System, sha256(&[b"kluis due work v1", &request.to_be_bytes(), key]))
}

fn append(tx: &mut Transaction<'_>, log: &mut LogRecord, now: TimeMs, event: Event) -> Result<u64, StoreError> {
    let index = log.edge.size();
    let (vault, document) = (event.vault, event.document);
    let entry = HistoryEntry { index, at_ms: now, event };
    let leaf = entry.leaf();
    for (position, hash) in log.edge.push(leaf_hash(&leaf)) {
        tx.put(keys::log_hash(position), hash.to_vec());
    }
    tx.put(keys::log_leaf(index), leaf);
    tx.store(keys::history(vault, index), &entry)?;
    if let (Some(vault), Some(document)) = (vault, document) {
        tx.put(keys::document_history(vault, document, index), Vec::new());
    }
    Ok(index)
}

pub(super) fn apply(tx: &mut Transaction<'_>, now: TimeMs, command: &LogCommand) -> Result<Outcome, StoreError> {
    match command {
        LogCommand::Append { events } => append_all(tx, now, events),
        LogCommand::SetKey { key, verifier } => set_key(tx, key, verifier),
        LogCommand::PutCheckpoint { note } => put_checkpoint(tx, note),
    }
}

fn refuse(refusal: LogRefusal) -> Result<Outcome, StoreError> {
    refused(Refusal::Log(refusal))
}

fn append_all(tx: &mut Transaction<'_>, now: TimeMs, events: &[Event]) -> Result<Outcome, StoreError> {
    if events.len() > APPEND_MAX || events.iter().any(|event| event.trail.details.0.len() > DETAILS_SEALED_MAX) {
        return refuse(LogRefusal::Invalid("too many events, or too many details, in one command".into()));
    }
    let mut log = view::log(tx)?;
    for event in events {
        append(tx, &mut log, now, event.clone())?;
    }
    tx.store(keys::log(), &log)?;
    Ok(Outcome::Log(LogOutcome::Appended { size: log.edge.size() }))
}

fn set_key(tx: &mut Transaction<'_>, key: &Sealed, verifier: &str) -> Result<Outcome, StoreError> {
    let mut log = view::log(tx)?;
    let key = match log.key.clone() {
        Some(first) => first,
        None => {
            if let Err(why) = Verifier::parse(verifier) {
                return refuse(LogRefusal::Invalid(why.to_string()));
            }
            let new = LogKeyRecord { sealed: key.clone(), verifier: verifier.to_owned() };
            log.key = Some(new.clone());
            tx.store(keys::log(), &log)?;
            new
        }
    };
    Ok(Outcome::Log(LogOutcome::Key(key)))
}

fn put_checkpoint(tx: &mut Transaction<'_>, text: &str) -> Result<Outcome, StoreError> {
    let mut log = view::log(tx)?;
    let Some(key) = &log.key else { return refuse(LogRefusal::NoKey) };
    let read = Verifier::parse(&key.verifier).and_then(|key| Checkpoint::of(&Note::parse(text)?, &key));
    let checkpoint = match read {
        Ok(checkpoint) => checkpoint,
        Err(why) => return refuse(LogRefusal::Invalid(why.to_string())),
    };
    if let Some(newest) = log.checkpoint.as_ref().filter(|newest| newest.size >= checkpoint.size) {
        return refuse(LogRefusal::Stale { have: newest.size });
    }
    if checkpoint.size > log.edge.size() {
        return refuse(LogRefusal::Ahead { have: log.edge.size() });
    }
    // Entries may have come since it was signed: the root is that of its own size.
    if root_at(tx, checkpoint.size)? != checkpoint.root {
        return refuse(LogRefusal::OtherRoot { size: checkpoint.size });
    }
    log.checkpoint = Some(StoredCheckpoint { size: checkpoint.size, note: text.to_owned() });
    tx.store(keys::log(), &log)?;
    Ok(Outcome::Log(LogOutcome::CheckpointTaken { size: checkpoint.size }))
}

/// The root over the first `size` entries, which are there.
fn root_at(read: &dyn Read, size: u64) -> Result<merkle::Hash, StoreError> {
    merkle::root(&mut |position| view::log_hash(read, position), size).map_err(|error| match error {
        ProofError::Store(error) => error,
        missing => StoreError::Damaged { key: hex::encode(keys::log()), why: missing.to_string() },
    })
}

#[cfg(test)]
mod tests;
