//! The disks of this node: opened by label, watched, found by id.
//!
//! Owns: which configured directory holds which disk, and what is wrong with the others. Not: the disk
//! itself ([`kluis_chunkstore::disk`]), the decision to take a new one into use (an operator's).
//! Holds: (1) a wrong disk is named and left alone, and the node runs with the rest; (2) an empty
//! directory becomes a new disk with a new id, never an old one under its old name; (3) a disk whose
//! directory vanishes under it is out of use from then on.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use kluis_chunkstore::{
    disk::{Disk, DiskOptions, DiskState},
    env::Env,
    format::label::DiskLabel,
    ids::DiskId,
};

use crate::{
    join::format_disk,
    member::Card,
    status::{DiskCondition, DiskStatus},
};

/// Longest wait for a label: a disk that hangs must not hold up the care for the others.
const LABEL_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// A configured directory.
struct Slot {
    path: PathBuf,
    state: SlotState,
}

enum SlotState {
    /// In use.
    Open(Arc<Disk>),
    /// Not in use, with the reason.
    Refused { disk: Option<DiskId> },
}

/// All disks of a node.
pub struct DiskSet {
    slots: RwLock<Vec<Slot>>,
}

impl DiskSet {
    /// Opens every configured disk that can be opened.
    pub async fn open(env: &Env, card: &Card, paths: &[PathBuf], options: &DiskOptions) -> Self {
        let mut slots = Vec::new();
        for path in paths {
            let state = match open_one(env, card, path, options).await {
                Ok(disk) => SlotState::Open(disk),
                Err((disk, why)) => {
                    tracing::error!(code = "DISK_REFUSED", path = %path.display(), why, "a disk is not in use");
                    SlotState::Refused { disk }
                }
            };
            slots.push(Slot { path: path.clone(), state });
        }
        Self { slots: RwLock::new(slots) }
    }

    /// The open disk of an id.
    pub fn disk(&self, id: DiskId) -> Option<Arc<Disk>> {
        self.all().into_iter().find(|d| d.label().disk == id)
    }

    /// All open disks.
    pub fn all(&self) -> Vec<Arc<Disk>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots
            .iter()
            .filter_map(|s| match &s.state {
                SlotState::Open(disk) => Some(disk.clone()),
                SlotState::Refused { .. } => None,
            })
            .collect()
    }

    /// What each configured directory is seen to be.
    pub fn observe(&self) -> Vec<DiskStatus> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.iter().filter_map(observe_slot).collect()
    }

    /// Takes disks out of use whose directory lost its label. Returns their ids.
    pub async fn watch_once(&self, env: &Env) -> Vec<DiskId> {
        let mut gone = Vec::new();
        for disk in self.all() {
            let lost = match tokio::time::timeout(LABEL_PATIENCE, Disk::read_label(env, disk.dir())).await {
                Ok(Ok(Some(label))) => label.disk != disk.label().disk,
                Ok(Ok(None)) => true,
                // A label that cannot be read at the moment says nothing; reads and writes will.
                Ok(Err(_)) | Err(_) => false,
            };
            if lost {
                gone.push(disk);
            }
        }
        for disk in &gone {
            tracing::error!(code = "DISK_MISSING", path = %disk.dir().display(), disk = %disk.label().disk, "the disk's directory vanished");
            disk.abandon().await;
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            for slot in slots.iter_mut() {
                if matches!(&slot.state, SlotState::Open(d) if d.label().disk == disk.label().disk) {
                    slot.state = SlotState::Refused { disk: Some(disk.label().disk) };
                }
            }
        }
        gone.into_iter().map(|d| d.label().disk).collect()
    }

    /// Closes all disks in order.
    pub async fn close(&self) {
        for disk in self.all() {
            disk.close().await;
        }
    }
}

async fn open_one(env: &Env, card: &Card, path: &Path, options: &DiskOptions) -> Result<Arc<Disk>, (Option<DiskId>, String)> {
    let text = |e: kluis_chunkstore::disk::DiskError| e.to_string();
    let label = match Disk::read_label(env, path).await {
        Ok(Some(label)) => label,
        Ok(None) => {
            match env.files.list(path) {
                Ok(entries) if entries.is_empty() => {}
                Ok(_) => return Err((None, "the directory has no label and is not empty; empty it to make it a new disk".into())),
                // Most likely a file system that is not mounted: a disk made here would fill the one above.
                Err(error) => return Err((None, format!("the directory cannot be read: {error}"))),
            }
            let label = format_disk(env, path, card).await.map_err(|e| (None, e.to_string()))?;
            tracing::warn!(path = %path.display(), disk = %label.disk, "an empty directory became a new disk; `kluis cluster apply-topology` takes it into use");
            label
        }
        Err(error) => return Err((None, text(error))),
    };
    // The label says which disk it is; whose it must be, this node says.
    let expect = DiskLabel { cluster: card.cluster, node: card.node, disk: label.disk };
    Disk::open(env, path, &expect, options.clone()).await.map_err(|e| (Some(label.disk), text(e)))
}

fn observe_slot(slot: &Slot) -> Option<DiskStatus> {
    let path = Some(slot.path.display().to_string());
    match &slot.state {
        SlotState::Open(disk) => {
            let usage = disk.usage();
            let state = match disk.state() {
                DiskState::Active => DiskCondition::Ok,
                DiskState::Full => DiskCondition::Full,
                DiskState::ReadOnly => DiskCondition::ReadOnly,
                DiskState::Failed { .. } => DiskCondition::Failed,
            };
            Some(DiskStatus {
                id: disk.label().disk,
                path,
                state,
                used_bytes: usage.segment_bytes,
                capacity_bytes: usage.segment_bytes.saturating_add(usage.fs_free_bytes),
                shards: usage.shards,
            })
        }
        SlotState::Refused { disk } => {
            let id = (*disk)?;
            Some(DiskStatus { id, path, state: DiskCondition::Missing, used_bytes: 0, capacity_bytes: 0, shards: 0 })
        }
    }
}
