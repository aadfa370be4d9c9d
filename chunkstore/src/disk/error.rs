//! What a disk says when it cannot do what it was asked.
//!
//! Owns: the two error types and their words. Not: what an error of the file system means for the
//! state of a disk ([`super::state`]).
//! Holds: every error is cheap to clone, since one failed batch answers many callers.

use std::{io, sync::Arc};

use crate::{
    format::FormatError,
    ids::{ClusterId, DiskId, NodeId, ShardKey},
};

/// Why a disk cannot be opened or formatted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// The directory has no label: it was never formatted, or another file system should be mounted there.
    #[error("the directory has no disk label")]
    NoLabel,
    /// The directory has a label or segments already.
    #[error("the directory holds a disk already")]
    InUse,
    /// The disk is another cluster's.
    #[error("the disk belongs to cluster {found}, not to {expected}")]
    ForeignCluster {
        /// Wanted.
        expected: ClusterId,
        /// Found on the disk.
        found: ClusterId,
    },
    /// The disk is another node's.
    #[error("the disk belongs to node {found}, not to {expected}")]
    ForeignNode {
        /// Wanted.
        expected: NodeId,
        /// Found on the disk.
        found: NodeId,
    },
    /// It is another disk of this node.
    #[error("this is disk {found}, not {expected}")]
    ForeignDisk {
        /// Wanted.
        expected: DiskId,
        /// Found on the disk.
        found: DiskId,
    },
    /// Written by a program that is too old.
    #[error("the disk has format {found}, this program reads {supported}: upgrade step by step")]
    OldFormat {
        /// On the disk.
        found: u16,
        /// Of this program.
        supported: u16,
    },
    /// Written by a newer program.
    #[error("the disk has format {found}, this program reads {supported}: use a newer program")]
    NewFormat {
        /// On the disk.
        found: u16,
        /// Of this program.
        supported: u16,
    },
    /// The label is damaged.
    #[error("the disk label is damaged: {0}")]
    BadLabel(FormatError),
    /// This process or another one has the disk open.
    #[error("the disk is open already")]
    AlreadyOpen,
    /// An option out of range.
    #[error("option {0} is out of range")]
    BadOption(&'static str),
    /// The file system refused.
    #[error("{during}: {error}")]
    Io {
        /// What was being done.
        during: &'static str,
        /// What the file system said.
        error: Arc<io::Error>,
    },
}

/// Why a disk did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DiskError {
    /// It was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No space; deletions still work.
    #[error("the disk is full")]
    Full,
    /// The file system takes no writes.
    #[error("the disk is read-only")]
    ReadOnly,
    /// A write or sync failed, now or earlier.
    #[error("the disk has failed: {reason}")]
    Failed {
        /// What failed.
        reason: String,
    },
    /// The stored record is not what was put.
    #[error("shard {key} is corrupt")]
    Corrupt {
        /// The shard.
        key: ShardKey,
    },
    /// Longer than a shard may be.
    #[error("a shard of {len} bytes is longer than {max} bytes")]
    TooLarge {
        /// Length given.
        len: usize,
        /// Most allowed.
        max: usize,
    },
    /// The disk was closed, or the process is stopping.
    #[error("the disk is closed")]
    Closed,
    /// The file system refused something that may work another time.
    #[error("{during}: {error}")]
    Io {
        /// What was being done.
        during: &'static str,
        /// What the file system said.
        error: Arc<io::Error>,
    },
}
