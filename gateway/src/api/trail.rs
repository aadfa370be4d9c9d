//! What acts bring for the log: who, from where, and randomness; details sealed for the owner of the history.
//!
//! Owns: the layout of details. Not: entries and their commitments ([`kluis_raft::log::leaf`]).
//! Holds: (1) an address or a name enters metadata only sealed, and bound to the salt of its own event, so that equal
//! details look different and moved ones do not open; (2) what is sealed is what is committed to.

use std::net::IpAddr;

use kluis_chunkstore::env::Entropy;
use kluis_raft::{
    log::leaf::{Field, Salt, commitment},
    model::{Actor, DocumentId, Event, EventKind, HistoryEntry, Sealed, Trail, Upload},
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

/// What is said of an event beside its kind, time, actor and document: JSON, so that members can be added.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The address that the request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// The beginning of the document's name at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Details {
    /// Of an act from an address, on a document of this name.
    pub fn new(from: Option<IpAddr>, label: Option<&Label>) -> Self {
        Self { from, name: label.map(|label| label.name.as_str().chars().take(NAME_CHARS).collect()) }
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
    of_caller(gateway, caller, vault, Some(&label))
}

/// Records that the caller reads content of an own document.
///
/// # Errors
/// 503 when the gateway stops.
pub async fn record_read(
    gateway: &Gateway,
    caller: &Caller,
    vault: &OpenVault,
    document: DocumentId,
    label: &Label,
) -> Result<(), Problem> {
    let trail = of_caller(gateway, caller, vault, Some(label))?;
    gateway.recorder.record(Event { kind: EventKind::ReadByOwner, vault: Some(vault.id()), document: Some(document), trail }).await
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
