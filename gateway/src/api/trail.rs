//! What acts bring for the log: who, from where, and randomness; details sealed for the owner of the history.
//!
//! Owns: the layout of details. Not: entries and their commitments ([`kluis_raft::log::leaf`]).
//! Holds: (1) an address or a name enters metadata only sealed, and bound to the salt of its own event, so that equal
//! details look different and moved ones do not open; (2) what is sealed is what is committed to.

use std::net::IpAddr;

use kluis_chunkstore::env::Entropy;
use kluis_raft::{
    log::leaf::{Field, Salt, commitment},
    model::{Actor, DocumentId, Event, EventKind, HistoryEntry, Sealed, Trail, Upload, VaultId},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Caller, Gateway, name::Label, vault::OpenVault};
use crate::{
    keys::{
        VaultKey,
        vault_key::{open_text, seal_text},
    },
    problem::Problem,
};

/// Purpose of sealed details; their id is the beginning of the event's salt.
const DETAILS: &str = "event details";
/// Most characters of a name in details: an upload shall not cost the log more than a few hundred bytes.
const NAME_CHARS: usize = 60;
/// Most contacts in details: as many as one command shares with.
const WITH_MAX: usize = 20;

/// What is said of an event beside its kind, time, actor and document: JSON, so that members can be added.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The address that the request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// The beginning of the document's name at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whom it concerned: contacts of the owner of the history, the first twenty of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<String>,
}

impl Details {
    /// Of an act from an address, on a document of this name.
    pub fn new(from: Option<IpAddr>, label: Option<&Label>) -> Self {
        let name = label.map(|label| label.name.as_str().chars().take(NAME_CHARS).collect());
        Self { from, name, with: Vec::new() }
    }

    /// The same, with whom it concerned.
    #[must_use]
    pub fn with(self, with: impl IntoIterator<Item = VaultId>) -> Self {
        Self { with: with.into_iter().take(WITH_MAX).map(|vault| vault.to_string()).collect(), ..self }
    }
}

fn place(salt: &Salt) -> [u8; 16] {
    let mut place = [0; 16];
    place.iter_mut().zip(salt).for_each(|(to, from)| *to = *from);
    place
}

/// What an act brings for the log, sealed under `key`.
///
/// # Errors
/// 500 when the cipher fails.
pub fn trail(entropy: &dyn Entropy, key: &VaultKey, actor: Actor, details: &Details) -> Result<Trail, Problem> {
    let mut salt = [0; 32];
    entropy.fill(&mut salt);
    let plain = Zeroizing::new(serde_json::to_vec(details).map_err(Problem::internal)?);
    let sealed = seal_text(key, DETAILS, &place(&salt), &plain)?;
    Ok(Trail { actor, salt, details: sealed, committed: commitment(Field::Details, &salt, &plain) })
}

/// What an act of the caller in a vault brings for the log.
///
/// # Errors
/// 500 when the cipher fails.
pub fn of_caller(gateway: &Gateway, caller: &Caller, vault: &OpenVault, label: Option<&Label>) -> Result<Trail, Problem> {
    let details = Details::new(caller.address, label);
    trail(&*gateway.entropy, vault.key(), caller.actor(), &details)
}

/// What an act of the caller brings for the log when the vault's key is out of reach: nothing of where from.
pub fn bare(gateway: &Gateway, caller: &Caller) -> Trail {
    let mut salt = [0; 32];
    gateway.entropy.fill(&mut salt);
    Trail::bare(caller.actor(), salt)
}

/// What the commit of an upload brings for the log.
///
/// # Errors
/// 503 when the upload's label does not open.
pub fn of_upload(gateway: &Gateway, caller: &Caller, vault: &OpenVault, document: DocumentId, upload: &Upload) -> Result<Trail, Problem> {
    let label = vault.open_label(document, &upload.name)?;
    let details = Details::new(caller.address, Some(&label)).with(upload.shares.iter().map(|share| share.recipient));
    trail(&*gateway.entropy, vault.key(), caller.actor(), &details)
}

/// What commands bring that gateways give by themselves.
pub fn system(gateway: &Gateway) -> Trail {
    let mut salt = [0; 32];
    gateway.entropy.fill(&mut salt);
    Trail::bare(Actor::System, salt)
}

/// The event that content leaves, in the history of the vault that it lies in.
///
/// # Errors
/// 500 when the cipher fails.
pub fn reading(
    gateway: &Gateway,
    kind: EventKind,
    actor: Actor,
    vault: &OpenVault,
    document: DocumentId,
    details: &Details,
) -> Result<Event, Problem> {
    let trail = trail(&*gateway.entropy, vault.key(), actor, details)?;
    Ok(Event { kind, vault: Some(vault.id()), document: Some(document), trail })
}

/// The details of an event as they were sealed; empty where nothing was said.
///
/// # Errors
/// 503 when they do not open.
pub fn open(vault: &OpenVault, entry: &HistoryEntry) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let Trail { salt, details: Sealed(bytes), .. } = &entry.event.trail;
    if bytes.is_empty() {
        return Ok(Zeroizing::default());
    }
    Ok(open_text(vault.key(), DETAILS, &place(salt), &entry.event.trail.details)?)
}

/// Details as they are shown; what cannot be read says nothing.
pub fn read(plain: &[u8]) -> Details {
    serde_json::from_slice(plain).unwrap_or_default()
}
