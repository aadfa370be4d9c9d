//! Which shards a read asks for, and in what order.
//!
//! Owns: the order of preference, what to ask next after a failure or when the hedge timer fires. Not:
//! the timer, the requests, the checking of bytes.
//! Holds: (1) at most one request a candidate; (2) done as soon as k distinct shards are there; (3) lost
//! only when every candidate was tried.

use std::collections::BTreeSet;

use crate::{
    code::Code,
    ids::{DiskId, NodeId},
};

/// A place where a shard may lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The shard: a row of the code.
    pub shard: u8,
    /// The disk.
    pub disk: DiskId,
    /// The disk's node.
    pub node: NodeId,
    /// How far it is: lower is asked earlier. The driver decides (own node, own site, round trip, known
    /// to be down).
    pub distance: u32,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask this candidate too.
    Ask(usize),
    /// Nothing more to ask; answers are on their way.
    Wait,
    /// k distinct shards are there.
    Done,
    /// Every candidate was tried and fewer than k shards were found.
    Lost {
        /// Distinct shards found.
        have: usize,
    },
}

/// One chunk being read.
#[derive(Debug, Clone)]
pub struct ReadPlan {
    k: usize,
    candidates: Vec<Candidate>,
    asked: usize,
    running: BTreeSet<usize>,
    have: BTreeSet<u8>,
}

impl ReadPlan {
    /// A plan over `candidates`, nearest first; among equals in the order of their rows, which differs from chunk to
    /// chunk and so spreads the requests. Several places may be given for one shard (older layouts): all but the nearest come last.
    pub fn new(code: Code, mut candidates: Vec<Candidate>) -> Self {
        candidates.sort_by_key(|c| (c.distance, c.shard, c.disk));
        let mut seen = BTreeSet::new();
        let (mut first, mut again) = (Vec::new(), Vec::new());
        for candidate in candidates {
            if seen.insert(candidate.shard) { first.push(candidate) } else { again.push(candidate) }
        }
        first.extend(again);
        first.dedup_by(|a, b| a.shard == b.shard && a.disk == b.disk);
        Self { k: code.k(), candidates: first, asked: 0, running: BTreeSet::new(), have: BTreeSet::new() }
    }

    /// The candidate of an index that a [`Step::Ask`] named.
    pub fn candidate(&self, index: usize) -> Option<&Candidate> {
        self.candidates.get(index)
    }

    /// The first requests: as many as shards are needed.
    pub fn start(&mut self) -> Vec<usize> {
        let mut ask = Vec::with_capacity(self.k);
        while ask.len() < self.k {
            match self.next_candidate() {
                Some(index) => ask.push(index),
                None => break,
            }
        }
        ask
    }

    /// A shard arrived, whole.
    pub fn arrived(&mut self, index: usize) -> Step {
        self.running.remove(&index);
        if let Some(candidate) = self.candidates.get(index) {
            self.have.insert(candidate.shard);
        }
        self.step()
    }

    /// A request failed, or the shard is not there.
    pub fn failed(&mut self, index: usize) -> Step {
        self.running.remove(&index);
        self.step()
    }

    /// The running requests take longer than they should: one more is asked, if there is one.
    pub fn slow(&mut self) -> Step {
        if self.have.len() >= self.k {
            return Step::Done;
        }
        self.next_candidate().map_or(Step::Wait, Step::Ask)
    }

    /// Distinct shards that arrived.
    pub fn have(&self) -> usize {
        self.have.len()
    }

    fn step(&mut self) -> Step {
        if self.have.len() >= self.k {
            return Step::Done;
        }
        // Running requests for shards that are there already do not help.
        let promising = self.running.iter().filter_map(|&i| self.candidates.get(i)).map(|c| c.shard).filter(|s| !self.have.contains(s));
        if self.have.len() + promising.collect::<BTreeSet<_>>().len() >= self.k {
            return Step::Wait;
        }
        match self.next_candidate() {
            Some(index) => Step::Ask(index),
            None if self.running.is_empty() => Step::Lost { have: self.have.len() },
            None => Step::Wait,
        }
    }

    fn next_candidate(&mut self) -> Option<usize> {
        while self.asked < self.candidates.len() {
            let index = self.asked;
            self.asked += 1;
            if self.candidates.get(index).is_some_and(|c| !self.have.contains(&c.shard)) {
                self.running.insert(index);
                return Some(index);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates(places: &[(u8, u32)]) -> Vec<Candidate> {
        (1u128..).zip(places).map(|(i, &(shard, distance))| Candidate { shard, disk: DiskId(i), node: NodeId(1), distance }).collect()
    }

    #[test]
    fn the_nearest_come_first_and_a_failure_asks_the_next() {
        let mut plan = ReadPlan::new(Code::STANDARD, candidates(&[(0, 2), (1, 2), (90, 1), (255, 0), (4, 1), (30, 1)]));
        let ask: Vec<u8> = plan.start().iter().map(|&i| plan.candidate(i).unwrap().shard).collect();
        assert_eq!(ask, [255, 4, 30, 90]);
        assert_eq!(plan.failed(0), Step::Ask(4));
        assert_eq!(plan.slow(), Step::Ask(5));
        assert_eq!(plan.arrived(1), Step::Wait);
        assert_eq!(plan.arrived(5), Step::Wait);
        assert_eq!(plan.arrived(2), Step::Wait);
        assert_eq!(plan.arrived(3), Step::Done);
    }

    proptest! {
        /// Whatever fails and in whatever order answers come: the plan is done exactly when k distinct
        /// shards are whole somewhere, and never asks a candidate twice.
        #[test]
        fn done_if_and_only_if_k_distinct_shards_can_be_had(
            places in prop::collection::vec((0u8..9, 0u32..4, any::<bool>()), 0..24),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 64),
            slow in prop::collection::vec(any::<bool>(), 64),
        ) {
            let all = candidates(&places.iter().map(|p| (p.0, p.1)).collect::<Vec<_>>());
            let good: Vec<bool> = places.iter().map(|p| p.2).collect();
            let possible = all.iter().zip(&good).filter(|(_, g)| **g).map(|(c, _)| c.shard).collect::<BTreeSet<_>>().len() >= 4;
            let mut plan = ReadPlan::new(Code::STANDARD, all.clone());
            let mut running = plan.start();
            let mut asked: BTreeSet<usize> = running.iter().copied().collect();
            let mut end = if running.is_empty() { Step::Lost { have: 0 } } else { Step::Wait };
            for (pick, slow) in picks.iter().zip(slow) {
                if running.is_empty() { break }
                if slow && let Step::Ask(i) = plan.slow() {
                    prop_assert!(asked.insert(i));
                    running.push(i);
                }
                let index = running.swap_remove(pick.index(running.len()));
                let place = all.iter().position(|c| Some(c) == plan.candidate(index)).unwrap();
                end = if good[place] { plan.arrived(index) } else { plan.failed(index) };
                match end {
                    Step::Ask(i) => { prop_assert!(asked.insert(i)); running.push(i) }
                    Step::Wait => prop_assert!(!running.is_empty()),
                    Step::Done | Step::Lost { .. } => break,
                }
            }
            prop_assert_eq!(end == Step::Done, possible, "{:?}", end);
        }
    }
}
