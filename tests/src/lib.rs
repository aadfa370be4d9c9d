//! What the tests of promises share: a real cluster of processes, a client of it, and load on it; and the fuzz
//! targets.
//!
//! Reading order: [`cluster`] (processes), [`api`] (one person's documents), [`load`] (many of them at
//! once), [`mixed`] (with deletions), [`paced`] (what a client notices), [`program`] (single commands), [`card`] (identity cards), [`ports`]
//! (where clusters listen). Faults: [`switch`] between namespaces ([`netns`]) with a cluster in them
//! ([`netns_cluster`]), [`loop_disk`] (file systems), [`rot`] (bytes), by programs of the system ([`tools`]).
//! Scanning: [`clamd`] (a real one), [`carriers`] (what it must not let pass). Mail: [`smtp`] (a real server). Apart
//! from these, [`fuzz`] (every parser as a function of bytes) and [`sim`] (the whole cluster in one process from one
//! seed).
//!
//! Owns: starting, breaking and observing clusters from outside, as an operator would. Not: any promise
//! (`tests/tests/`, one a file).
//! Holds: (1) but for [`fuzz`] and [`sim`], nothing here knows the inside of a process: what is seen is what commands,
//! files and metrics tell; (2) a wait ends because a condition holds; its limit only ends a test that hangs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod api;
pub mod card;
pub mod carriers;
pub mod clamd;
pub mod cluster;
pub mod fuzz;
pub mod load;
pub mod loop_disk;
pub mod mixed;
pub mod netns;
pub mod netns_cluster;
pub mod paced;
pub mod ports;
pub mod program;
pub mod rot;
pub mod sim;
pub mod smtp;
pub mod switch;
pub mod tools;

pub use api::{Api, Doc, Failure, content, fresh_key};
pub use cluster::{Cluster, ClusterOptions, Figures, NodeInfo};
pub use load::{Acknowledged, Load, Report};
pub use loop_disk::LoopDisk;
pub use mixed::Mixed;
pub use netns_cluster::NetnsCluster;
