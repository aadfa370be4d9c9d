//! Every call fails in its turn: what an operation asks of files and databases, one call after the other.
//!
//! For n = 1, 2, .. the n-th call of one machine fails once with `EIO`, while an operation runs; then the machine loses
//! power and starts again on what its disks hold. A loop ends when so many operations in a row as [`MISSES`] came to
//! their end without the call: what else a machine does meanwhile calls too, a little more or less often.
//!
//! | loop | operation | on |
//! |---|---|---|
//! | `upload` | a document of three chunks through a gateway to all its shards | nine nodes |
//! | `reconcile` | a lost shard is made anew | nine nodes |
//! | `commit` | an upload is begun and committed | three replicas of the metadata |
//! | `snapshot` | a snapshot is built, sent, installed | three replicas |
//!
//! After each: what was acknowledged reads back equal, what was not is absent or whole; at the end nothing is left
//! over: no reserved quota, no orphaned shard, no snapshot file but the current one. A write to a database that fails
//! is on the medium all the same for every second n: both are allowed.
//!
//! Owns: the course of a loop, and what is counted. Not: the faults ([`kluis_chunkstore::disk::fault`],
//! [`super::database`]), nor power cuts ([`super::disk`]).
//! Holds: (1) a loop in which no call failed has failed; (2) where an operation makes too many calls, a step is taken
//! over n, which the loop's table of aims says.

mod commit;
mod group;
mod nodes;
mod reconcile;
mod snapshot;
mod upload;

use std::fmt;

use kluis_chunkstore::disk::fault::FaultyFiles;

use crate::sim::{database::SimDatabases, rng::Rng};

/// The loops.
pub const LOOPS: [&str; 4] = ["commit", "reconcile", "snapshot", "upload"];

/// Most calls of an operation: a loop that comes so far does not end by itself.
const CALLS_MAX: u64 = 5_000;
/// Operations in a row in which no call failed, after which a loop ends.
pub const MISSES: u64 = 3;
/// What a call fails with: `EIO`.
const ERRNO: i32 = 5;

/// What a loop found.
#[derive(Debug, Default)]
pub struct Covered {
    /// Operations that ran.
    pub runs: u64,
    /// Of which a call failed.
    pub struck: u64,
    /// Of which the whole was acknowledged.
    pub acknowledged: u64,
    /// For each aim, the last n that was tried.
    pub ends: Vec<(&'static str, u64)>,
    /// What was wrong.
    pub violations: Vec<String>,
    /// Operations in a row in which no call failed.
    misses: u64,
}

impl Covered {
    fn violated(&mut self, aim: &str, n: u64, what: impl fmt::Display) {
        self.violations.push(format!("{aim}, call {n}: {what}"));
    }

    /// Notes how one operation went. Whether its aim's loop goes on.
    fn ran(&mut self, aim: &'static str, n: u64, struck: bool) -> bool {
        self.runs += 1;
        self.struck += u64::from(struck);
        self.misses = if struck { 0 } else { self.misses + 1 };
        if n >= CALLS_MAX {
            self.violated(aim, n, "the loop does not end");
        }
        let goes_on = self.misses < MISSES && n < CALLS_MAX;
        if !goes_on {
            self.misses = 0;
            self.ends.push((aim, n));
        }
        goes_on
    }
}

impl fmt::Display for Covered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.violations.is_empty() { "ok" } else { "FAILED" };
        let Self { runs, struck, acknowledged, ends, .. } = self;
        write!(f, "{verdict}: {runs} operations, a call failed in {struck}, {acknowledged} were acknowledged; ended at {ends:?}")?;
        for violation in self.violations.iter().take(20) {
            write!(f, "\n    {violation}")?;
        }
        Ok(())
    }
}

/// Runs a loop. `None`: there is none of this name.
pub fn run(name: &str, seed: u64) -> Option<Covered> {
    let mut rng = Rng::new(seed);
    let mut covered = match name {
        "commit" => alone(commit::run(&mut rng)),
        "reconcile" => reconcile::run(&mut rng),
        "snapshot" => alone(snapshot::run(&mut rng)),
        "upload" => upload::run(&mut rng),
        _ => return None,
    };
    if covered.struck == 0 || covered.acknowledged == 0 {
        covered.violations.push("no call failed, or nothing was acknowledged: this proves nothing".to_owned());
    }
    Some(covered)
}

/// Runs a future on one thread whose time passes when there is nothing else to do.
fn alone<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime").block_on(work)
}

/// Whose calls are counted.
#[derive(Clone)]
enum Target {
    /// Of file systems.
    Files(FaultyFiles),
    /// Of databases.
    Databases(SimDatabases),
}

impl Target {
    /// Makes the `n`-th call from now on fail.
    fn fail_nth(&self, n: u64) -> Armed {
        let strikes_at = match self {
            Self::Files(files) => {
                files.fail_nth(None, n, ERRNO);
                files.calls() + n
            }
            Self::Databases(databases) => {
                databases.fail_nth(n, n.is_multiple_of(2));
                n
            }
        };
        Armed { target: self.clone(), strikes_at }
    }
}

/// A call that is to fail.
struct Armed {
    target: Target,
    /// Of files: the count of calls at which it fails.
    strikes_at: u64,
}

impl Armed {
    /// Whether it failed.
    fn has_struck(&self) -> bool {
        match &self.target {
            Target::Files(files) => files.calls() >= self.strikes_at,
            Target::Databases(databases) => databases.nth_struck(),
        }
    }

    /// No call fails any more. Whether it did.
    fn heal(self) -> bool {
        let struck = self.has_struck();
        match self.target {
            Target::Files(files) => files.heal(),
            Target::Databases(databases) => databases.heal_nth(),
        }
        struck
    }
}
