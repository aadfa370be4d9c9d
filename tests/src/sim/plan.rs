//! Which faults come when: decided from the seed alone, before the cluster runs.
//!
//! Most come by chance; situations that chance makes too rarely every run has.
//!
//! Owns: the choice. Not: how a fault is made ([`super::run`] carries it out).
//! Holds: (1) everything that begins ends before the faults end, and an ambush that nobody came to ends with them;
//! (2) what is lost for good lies on at most [`BAD_DISKS`] disks, each of another node: less than the promise allows, so
//! every acknowledged byte must be there afterwards; crashes, cuts and delays have no such bound, for they must never
//! lose anything.

use super::{
    disk::DiskFault,
    elections,
    rng::Rng,
    world::{DISKS, NODES, NODES_PER_SITE, SITES},
};

/// Disks of a run that may lose what they acknowledged.
pub const BAD_DISKS: usize = 2;

/// What happens to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A process dies; with `power`, the machine too.
    Crash {
        /// Which node, from 0.
        node: usize,
        /// Whether what was not synced may be gone.
        power: bool,
    },
    /// A machine's process is started, if it does not run.
    Start {
        /// Which.
        node: usize,
    },
    /// Nothing passes from one node to another, or again.
    Cut {
        /// From here.
        from: usize,
        /// To there.
        to: usize,
        /// Whether it is cut.
        cut: bool,
    },
    /// Links lose, repeat and hold up datagrams, or no more.
    Weather {
        /// Lost, of a million.
        loss: u64,
        /// Twice, of a million.
        duplicate: u64,
        /// Held up, of a million.
        straggle: u64,
    },
    /// A clock is set.
    Clock {
        /// Whose.
        node: usize,
        /// Off by this.
        skew_ms: i64,
    },
    /// Blocking work of a node takes up to this long.
    Slow {
        /// Whose.
        node: usize,
        /// Longest wait.
        most_us: u64,
    },
    /// A disk is bad, or well again (what it lost stays lost).
    Disk {
        /// Whose.
        node: usize,
        /// Which of its disks.
        disk: usize,
        /// What is wrong.
        fault: DiskFault,
    },
    /// A bit of a segment on a disk changes.
    Rot {
        /// Whose.
        node: usize,
        /// Which of its disks.
        disk: usize,
    },
    /// The next node that comes to a state is crashed in that moment.
    Ambush {
        /// The state.
        state: &'static str,
        /// As of a crash.
        power: bool,
        /// When it is started again.
        back_ms: u64,
    },
    /// The leader is cut off from all others.
    CutOffLeader {
        /// For so long.
        for_ms: u64,
    },
    /// Writes of a node's metadata fail, or no more.
    Database {
        /// Whose.
        node: usize,
        /// Of a million.
        failing_writes: u64,
    },
}

/// A fault and its time, in milliseconds from the beginning of the faults.
pub type Step = (u64, Fault);

/// The usual wait of blocking work, in microseconds.
pub const USUAL_SLOW_US: u64 = 1_500;

/// The faults of a run of `length_ms`, in order, and the disks that lost something (node, disk).
pub fn faults(rng: &mut Rng, length_ms: u64) -> (Vec<Step>, Vec<(usize, usize)>) {
    let mut steps: Vec<Step> = Vec::new();
    let mut bad: Vec<(usize, usize)> = Vec::new();
    while bad.len() < BAD_DISKS {
        let candidate = (rng.below(NODES as u64) as usize, rng.below(DISKS as u64) as usize);
        if bad.iter().all(|(node, _)| *node != candidate.0) {
            bad.push(candidate);
        }
    }
    let mut damaged = Vec::new();
    let mut at = rng.between(500, 3_000);
    while at < length_ms {
        let until = (at + rng.between(1_000, 9_000)).min(length_ms);
        let node = rng.below(NODES as u64) as usize;
        let site = rng.below(SITES as u64) as usize;
        let of_site: Vec<usize> = (site * NODES_PER_SITE..(site + 1) * NODES_PER_SITE).collect();
        match rng.below(14) {
            0..=2 => crash(&mut steps, &[node], at, until, rng.chance(600_000)),
            3 => crash(&mut steps, &of_site, at, until, rng.chance(500_000)),
            4 => {
                // A few at once, wherever they are.
                let some: Vec<usize> = (0..NODES).filter(|_| rng.chance(400_000)).collect();
                crash(&mut steps, &some, at, until, true);
            }
            5 => isolate(&mut steps, &[node], at, until, true, true),
            6 => isolate(&mut steps, &of_site, at, until, true, true),
            7 => {
                let outward = rng.chance(500_000);
                let who = if rng.chance(500_000) { of_site } else { vec![node] };
                isolate(&mut steps, &who, at, until, outward, !outward);
            }
            8 => {
                let weather =
                    Fault::Weather { loss: rng.between(5_000, 80_000), duplicate: rng.below(50_000), straggle: rng.below(20_000) };
                steps.push((at, weather));
                steps.push((until, Fault::Weather { loss: 0, duplicate: 0, straggle: 0 }));
            }
            9 => {
                let skew_ms = i64::try_from(rng.below(120_000)).unwrap_or(0) - 60_000;
                steps.push((at, Fault::Clock { node, skew_ms }));
                steps.push((until, Fault::Clock { node, skew_ms: 0 }));
            }
            10 => {
                steps.push((at, Fault::Slow { node, most_us: rng.between(20_000, 400_000) }));
                steps.push((until, Fault::Slow { node, most_us: USUAL_SLOW_US }));
            }
            11 => {
                steps.push((at, Fault::Database { node, failing_writes: rng.between(50_000, 1_000_000) }));
                steps.push((until, Fault::Database { node, failing_writes: 0 }));
                crash(&mut steps, &[node], until, until, rng.chance(500_000));
            }
            _ => {
                let (node, disk) = *rng.pick(&bad);
                if !damaged.contains(&(node, disk)) {
                    damaged.push((node, disk));
                }
                let fault = match rng.below(6) {
                    0 => DiskFault { failing_syncs: rng.between(100_000, 1_000_000), ..DiskFault::default() },
                    1 => DiskFault { failing_reads: rng.between(50_000, 1_000_000), ..DiskFault::default() },
                    2 => DiskFault { misdirected_writes: rng.between(50_000, 500_000), ..DiskFault::default() },
                    3 => DiskFault { read_only: true, ..DiskFault::default() },
                    4 => DiskFault { full: true, ..DiskFault::default() },
                    _ => {
                        for _ in 0..rng.between(1, 6) {
                            steps.push((rng.between(at, until), Fault::Rot { node, disk }));
                        }
                        DiskFault::default()
                    }
                };
                steps.push((at, Fault::Disk { node, disk, fault }));
                steps.push((until, Fault::Disk { node, disk, fault: DiskFault::default() }));
            }
        }
        // Often while the last one is still going on.
        at += rng.between(300, 5_000);
    }
    stories(rng, &mut steps, length_ms);
    steps.sort_by_key(|(at, _)| *at);
    (steps, damaged)
}

/// What every run has: nodes that are away until the leader's log begins later than theirs ends, and die in the moment
/// in which they have become what a snapshot says; an election, after which a voter loses what it had not synced.
fn stories(rng: &mut Rng, steps: &mut Vec<Step>, length_ms: u64) {
    let first = rng.below(NODES as u64) as usize;
    let second = (first + rng.between(1, NODES as u64 - 1) as usize) % NODES;
    for node in [first, second] {
        let at = rng.between(500, length_ms / 4);
        let until = (at + rng.between(9_000, 13_000)).min(length_ms);
        crash(steps, &[node], at, until, rng.chance(500_000));
        let (power, back_ms) = (rng.chance(500_000), rng.between(20, 1_500));
        steps.push((at, Fault::Ambush { state: "snapshot.installed", power, back_ms }));
    }
    let at = rng.between(length_ms / 3, length_ms / 2);
    // As long as elections take, and no longer than the faults.
    steps.push((at, Fault::CutOffLeader { for_ms: rng.between(4_500, 8_000).min(length_ms - at) }));
    steps.push((at, Fault::Ambush { state: elections::GRANTED, power: true, back_ms: rng.between(2, 60) }));
}

fn crash(steps: &mut Vec<Step>, nodes: &[usize], at: u64, until: u64, power: bool) {
    for &node in nodes {
        steps.push((at, Fault::Crash { node, power }));
        steps.push((until, Fault::Start { node }));
    }
}

/// Cuts nodes off from all others, in one direction or both.
fn isolate(steps: &mut Vec<Step>, nodes: &[usize], at: u64, until: u64, outward: bool, inward: bool) {
    for &node in nodes {
        for other in (0..NODES).filter(|other| !nodes.contains(other)) {
            for (wanted, from, to) in [(outward, node, other), (inward, other, node)] {
                if wanted {
                    steps.push((at, Fault::Cut { from, to, cut: true }));
                    steps.push((until, Fault::Cut { from, to, cut: false }));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn plans_repeat_differ_by_seed_and_end_what_they_begin() {
        let mut kinds = BTreeSet::new();
        for seed in 0..100 {
            let (steps, damaged) = faults(&mut Rng::new(seed), 40_000);
            assert_eq!(faults(&mut Rng::new(seed), 40_000).0, steps);
            assert!(steps.iter().all(|(at, _)| *at <= 40_000));
            assert!(damaged.len() <= BAD_DISKS);
            let mut cuts = BTreeSet::new();
            for (_, step) in &steps {
                match step {
                    Fault::Cut { from, to, cut: true } => {
                        cuts.insert((*from, *to));
                    }
                    Fault::Cut { from, to, cut: false } => {
                        cuts.remove(&(*from, *to));
                    }
                    Fault::Disk { node, disk, .. } | Fault::Rot { node, disk } => assert!(damaged.contains(&(*node, *disk))),
                    _ => {}
                }
                kinds.insert(format!("{step:?}").split([' ', '{']).next().unwrap_or_default().to_owned());
            }
            assert!(cuts.is_empty());
        }
        assert_eq!(kinds.len(), 11, "{kinds:?}");
    }
}
