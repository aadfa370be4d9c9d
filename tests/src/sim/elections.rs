//! Elections, seen from outside: what voters have on their media at the moment at which somebody leads.
//!
//! A vote that a power cut can take back is none: the voter would vote again, and two groups that each take
//! themselves for a majority would each have a leader. So whoever leads must have been elected by a majority whose
//! votes are durable at that moment.
//!
//! A replica's vote is one record of its database: version (1 byte), term, node (each a number in groups of seven
//! bits, the lowest first), and whether that node leads (1 byte). In a term several nodes may lead one after another, a
//! higher number after a lower one: votes are ordered by term and node.
//!
//! Owns: reading votes, judging elections. Not: who is crashed when ([`super::plan`]).
//! Holds: nothing is asked of a node.

use std::collections::BTreeSet;

use super::world::{Machine, NODES};

/// A replica voted for another one, which does not lead yet.
pub const GRANTED: &str = "vote.granted";
/// A replica noted that it leads.
pub const WON: &str = "vote.won";
/// Any other vote: for itself, or for one that leads.
const OTHER: &str = "vote.other";

/// A vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Vote {
    term: u64,
    node: u64,
    /// Whether that node leads.
    leads: bool,
}

impl Vote {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let Some((&1, mut rest)) = bytes.split_first() else { return None };
        let (term, node) = (number(&mut rest)?, number(&mut rest)?);
        Some(Self { term, node, leads: *rest.first()? == 1 })
    }
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0, 0u32);
    while shift < 64 {
        let (&byte, more) = rest.split_first()?;
        *rest = more;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
        shift += 7;
    }
    None
}

fn vote_of(machine: &Machine) -> Option<Vote> {
    Vote::parse(&machine.databases.vote()?)
}

/// What it means that a machine wrote its vote.
pub fn sighting(machine: &Machine) -> &'static str {
    match vote_of(machine) {
        Some(vote) if vote.leads && vote.node == machine.number => WON,
        Some(vote) if !vote.leads && vote.node != machine.number => GRANTED,
        _ => OTHER,
    }
}

/// The elections of a run.
#[derive(Debug, Default)]
pub struct Elections {
    seen: BTreeSet<(u64, u64)>,
}

impl Elections {
    /// Whoever leads now is taken as it is: the group grew while it led.
    pub fn begin(machines: &[Machine]) -> Self {
        let seen = machines.iter().filter_map(vote_of).filter(|vote| vote.leads).map(|vote| (vote.term, vote.node)).collect();
        Self { seen }
    }

    /// Who was elected last, from 0.
    pub fn leader(&self) -> Option<usize> {
        self.seen.last().and_then(|(_, node)| usize::try_from(node.checked_sub(1)?).ok())
    }

    /// Judges the election that a machine won just now, if it is a new one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn won(&mut self, machines: &[Machine], at: usize) -> Result<bool, String> {
        let Some(vote) = vote_of(&machines[at]) else { return Ok(false) };
        if !self.seen.insert((vote.term, vote.node)) {
            return Ok(false);
        }
        // Who voted for a later one meanwhile will not vote for an earlier one again.
        let durable = machines.iter().filter_map(|m| Vote::parse(&m.databases.durable_vote()?));
        let voters = durable.filter(|v| (v.term, v.node) >= (vote.term, vote.node)).count();
        if voters * 2 > NODES {
            return Ok(true);
        }
        Err(format!("node n{} leads in term {} by {voters} votes that outlive a power cut, of {NODES} voters", vote.node, vote.term))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_are_read_and_ordered() {
        let vote = |term, node, leads| Some(Vote { term, node, leads });
        assert_eq!(Vote::parse(&[1, 3, 9, 1]), vote(3, 9, true));
        assert_eq!(Vote::parse(&[1, 0xac, 0x02, 1, 0]), vote(300, 1, false));
        let none: [&[u8]; 5] = [&[], &[2, 3, 9, 1], &[1, 3, 9], &[1, 0x80], &[1]];
        for bad in none {
            assert_eq!(Vote::parse(bad), None);
        }
        assert!(vote(2, 9, true) < vote(3, 1, false) && vote(3, 1, false) < vote(3, 1, true));
    }
}
