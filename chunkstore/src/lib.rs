//! Where bytes live: the bottom crate of Kluis.
//!
//! Reading order: [`ids`] (the names of things), [`code`] (how many shards, how many may be lost),
//! [`topology`] (sites, nodes and disks that can hold them), [`placement`] (which disk holds which
//! shard), [`codec`] (bytes into shards and back), [`plan`] (when a write may be acknowledged, which
//! shards a read asks for), [`mod@format`] (bytes on a disk), [`wire`] (bytes between nodes), and, behind
//! features, [`disk`] and [`net`], which do the input and output that the others decide.
//!
//! Owns: the life of a shard. Not: who may read it, what it means (crate `kluis-raft`).
//! Holds: everything without a feature is pure; it takes time, randomness and ids as arguments.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod code;
pub mod codec;
pub mod database;
#[cfg(feature = "disk")]
pub mod disk;
pub mod env;
#[cfg(feature = "disk")]
pub mod env_real;
pub mod format;
pub mod ids;
#[cfg(feature = "net")]
pub mod net;
pub mod placement;
pub mod plan;
pub mod topology;
pub mod wire;
