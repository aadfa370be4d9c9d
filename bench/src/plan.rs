//! How much is measured: sizes, steps, times, of a whole run and of a quick one.
//!
//! Order of a run, always the same: primitives; objects on nine processes, then on three; metadata, ours and then
//! etcd's; repair; flat cost. Before the first step of a size on a cluster, each gateway takes one upload and one
//! download of that size which do not count; each primitive runs once before its time is taken; metadata clients
//! have one command each before theirs. A step is never repeated to choose a better one.
//!
//! Owns: these numbers. Not: what is measured with them. Holds: a step ends by time or by bytes, so that no disk of
//! a usual machine is filled.

use std::time::Duration;

use clap::ValueEnum;

use crate::cluster::Shape;

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// What the machine can do. Measured in every run, because limits need it.
    Primitives,
    /// Uploads and downloads.
    Objects,
    /// Commits a second, beside etcd.
    Metadata,
    /// Making the shards of a lost disk anew.
    Repair,
    /// The cost of an operation while the number of documents grows.
    Flat,
}

/// Sizes of documents, in bytes.
pub const SIZES: [usize; 5] = [4 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20];
/// Requests at a time.
pub const CONCURRENCIES: [usize; 3] = [1, 16, 64];
/// Clients that commit.
pub const METADATA_CLIENTS: [usize; 3] = [1, 16, 256];
/// Nine processes, and three of one node a site: what each is worth.
pub const SHAPES: [Shape; 2] = [Shape { nodes_per_site: 3, disks_per_node: 2 }, Shape { nodes_per_site: 1, disks_per_node: 3 }];

/// How long and how much.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Short steps: the figures show that it works, not how fast.
    pub quick: bool,
    /// Time of a primitive.
    pub primitive: Duration,
    /// Time of a step of load.
    pub step: Duration,
    /// Bytes of documents after which a step ends early.
    pub step_bytes: u64,
    /// Bytes of documents that are stored before a disk is lost.
    pub repair_bytes: u64,
    /// Documents at which the flat cost is looked at, growing.
    pub documents: Vec<usize>,
}

impl Plan {
    /// A quick one or a whole one; `seconds` is the time of a step in the place of the usual.
    pub fn new(quick: bool, seconds: Option<u64>) -> Self {
        let usual = if quick {
            Self {
                quick,
                primitive: Duration::from_millis(300),
                step: Duration::from_secs(2),
                step_bytes: 64 << 20,
                repair_bytes: 64 << 20,
                documents: vec![1_000, 10_000],
            }
        } else {
            Self {
                quick,
                primitive: Duration::from_secs(2),
                step: Duration::from_secs(10),
                step_bytes: 512 << 20,
                repair_bytes: 1 << 30,
                documents: vec![1_000, 10_000, 100_000, 1_000_000],
            }
        };
        Self { step: seconds.map_or(usual.step, Duration::from_secs), ..usual }
    }
}

/// Whether a part is measured: those that were asked for, or all.
pub fn wanted(only: &[Part], part: Part) -> bool {
    only.is_empty() || only.contains(&part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_asked_for_is_everything() {
        assert!(wanted(&[], Part::Flat));
        assert!(wanted(&[Part::Flat], Part::Flat));
        assert!(!wanted(&[Part::Flat], Part::Repair));
    }

    #[test]
    fn a_quick_run_is_shorter_in_everything_and_documents_grow() {
        let (quick, whole) = (Plan::new(true, None), Plan::new(false, None));
        assert!(quick.primitive < whole.primitive && quick.step < whole.step);
        assert!(quick.step_bytes < whole.step_bytes && quick.repair_bytes < whole.repair_bytes);
        for plan in [quick, whole] {
            assert!(plan.documents.is_sorted() && !plan.documents.is_empty());
        }
        assert_eq!(Plan::new(false, Some(3)).step, Duration::from_secs(3));
    }
}
