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
    /// What of [`SIZES`], [`CONCURRENCIES`] and [`SHAPES`] is measured.
    pub grid: Grid,
}

/// The cells of the part "objects": all of them, unless a part was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// Sizes of documents, in bytes.
    pub sizes: Vec<usize>,
    /// Requests at a time.
    pub concurrencies: Vec<usize>,
    /// Clusters.
    pub shapes: Vec<Shape>,
}

impl Grid {
    /// The cells whose size, concurrency and number of nodes were asked for; an empty list asks for all.
    pub fn new(sizes: &[usize], concurrencies: &[usize], nodes: &[usize]) -> Self {
        fn those<T: Copy>(all: &[T], asked: &[usize], of: impl Fn(&T) -> usize) -> Vec<T> {
            all.iter().filter(|x| asked.is_empty() || asked.contains(&of(x))).copied().collect()
        }
        Self {
            sizes: those(&SIZES, sizes, |s| *s),
            concurrencies: those(&CONCURRENCIES, concurrencies, |c| *c),
            shapes: those(&SHAPES, nodes, |s| usize::from(s.nodes())),
        }
    }
}

impl Plan {
    /// A quick one or a whole one; `seconds` is the time of a step in the place of the usual.
    pub fn new(quick: bool, seconds: Option<u64>, grid: Grid) -> Self {
        let usual = if quick {
            Self {
                quick,
                primitive: Duration::from_millis(300),
                step: Duration::from_secs(2),
                step_bytes: 64 << 20,
                repair_bytes: 64 << 20,
                documents: vec![1_000, 10_000],
                grid,
            }
        } else {
            Self {
                quick,
                primitive: Duration::from_secs(2),
                step: Duration::from_secs(10),
                step_bytes: 512 << 20,
                repair_bytes: 1 << 30,
                documents: vec![1_000, 10_000, 100_000, 1_000_000],
                grid,
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

    fn all() -> Grid {
        Grid::new(&[], &[], &[])
    }

    #[test]
    fn a_grid_is_all_or_what_was_asked_for() {
        assert_eq!((all().sizes.len(), all().concurrencies.len(), all().shapes.len()), (SIZES.len(), CONCURRENCIES.len(), SHAPES.len()));
        let some = Grid::new(&[1 << 20, 7], &[16], &[9]);
        assert_eq!((some.sizes, some.concurrencies, some.shapes), (vec![1 << 20], vec![16], vec![SHAPES[0]]));
    }

    #[test]
    fn a_quick_run_is_shorter_in_everything_and_documents_grow() {
        let (quick, whole) = (Plan::new(true, None, all()), Plan::new(false, None, all()));
        assert!(quick.primitive < whole.primitive && quick.step < whole.step);
        assert!(quick.step_bytes < whole.step_bytes && quick.repair_bytes < whole.repair_bytes);
        for plan in [quick, whole] {
            assert!(plan.documents.is_sorted() && !plan.documents.is_empty());
        }
        assert_eq!(Plan::new(false, Some(3), all()).step, Duration::from_secs(3));
    }
}
