//! The write rule: how many synced shards make a chunk durable.
//!
//! Owns: counting acknowledgements. Not: sending, hedging delays (they are arguments of the driver).
//! Holds: (1) `Durable` is said only when the loss of any one site at that moment leaves k synced shards;
//! (2) over three sites or more, at least k + s shards count, at most s a site; over two (a site is down),
//! each holds at least k; (3) an acknowledgement is counted once a shard.

use std::collections::BTreeMap;

use crate::{code::Code, ids::SiteName};

/// What is known of one shard's write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Synced,
    Failed,
}

/// What the write amounts to at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough yet, and more may come.
    Waiting,
    /// The rule holds: any one site may burn now.
    Durable {
        /// Every shard of the code is synced.
        complete: bool,
    },
    /// The rule cannot hold any more, but k + 2 shards are synced: to be marked `reduced`.
    Reduced,
    /// Not even k + 2 shards can be had.
    Impossible,
}

/// One chunk on its way to the disks.
#[derive(Debug, Clone)]
pub struct WritePlan {
    code: Code,
    /// Site and state of each placed shard.
    shards: BTreeMap<u8, (SiteName, State)>,
    sites: usize,
}

impl WritePlan {
    /// A plan for the shards that have a disk, with the site of each.
    pub fn new(code: Code, placed: impl IntoIterator<Item = (u8, SiteName)>) -> Self {
        let shards: BTreeMap<u8, (SiteName, State)> = placed.into_iter().map(|(shard, site)| (shard, (site, State::Waiting))).collect();
        let mut sites: Vec<&SiteName> = shards.values().map(|(site, _)| site).collect();
        sites.sort_unstable();
        sites.dedup();
        let sites = sites.len();
        Self { code, shards, sites }
    }

    /// A disk said that the shard is synced.
    pub fn synced(&mut self, shard: u8) {
        if let Some((_, state)) = self.shards.get_mut(&shard) {
            *state = State::Synced;
        }
    }

    /// A shard could not be stored. A late acknowledgement may still follow.
    pub fn failed(&mut self, shard: u8) {
        if let Some((_, state)) = self.shards.get_mut(&shard)
            && *state == State::Waiting
        {
            *state = State::Failed;
        }
    }

    /// Synced shards.
    pub fn synced_count(&self) -> usize {
        self.count(|s| s == State::Synced)
    }

    /// Shards whose outcome is not known.
    pub fn waiting_count(&self) -> usize {
        self.count(|s| s == State::Waiting)
    }

    /// Where the write stands.
    pub fn verdict(&self) -> Verdict {
        if self.rule_holds(|s| s == State::Synced) {
            return Verdict::Durable { complete: self.synced_count() == self.code.n() };
        }
        if self.rule_holds(|s| s != State::Failed) {
            return Verdict::Waiting;
        }
        let reachable = self.count(|s| s != State::Failed);
        match (self.synced_count() >= self.code.reduced_quorum(), self.waiting_count()) {
            (true, 0) => Verdict::Reduced,
            (_, waiting) if waiting > 0 && reachable >= self.code.reduced_quorum() => Verdict::Waiting,
            _ => Verdict::Impossible,
        }
    }

    fn count(&self, wanted: impl Fn(State) -> bool) -> usize {
        self.shards.values().filter(|(_, s)| wanted(*s)).count()
    }

    /// Whether the rule holds if the shards in the `counted` states are synced.
    fn rule_holds(&self, counted: impl Fn(State) -> bool) -> bool {
        let mut per_site: BTreeMap<&SiteName, usize> = BTreeMap::new();
        for (site, state) in self.shards.values() {
            if counted(*state) {
                *per_site.entry(site).or_default() += 1;
            }
        }
        match self.sites {
            0 | 1 => false,
            2 => per_site.len() == 2 && per_site.values().all(|&n| n >= self.code.k()),
            _ => per_site.values().map(|&n| n.min(self.code.site_cap())).sum::<usize>() >= self.code.write_quorum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(i: usize) -> SiteName {
        format!("dc{i}").parse().unwrap()
    }

    /// Every subset of synced shards of a nine-shard chunk over three sites: the rule against its meaning.
    #[test]
    fn durable_means_that_any_site_may_burn_for_all_subsets() {
        for (code, spread) in [
            (Code::STANDARD, vec![3, 3, 3]),
            (Code::STANDARD, vec![5, 4]),
            (Code::SMALL, vec![2, 2, 1]),
            (Code::SMALL, vec![3, 2]),
            (Code::DENSE, vec![4, 4, 4]),
        ] {
            let sites: Vec<usize> = spread.iter().enumerate().flat_map(|(s, &n)| vec![s; n]).collect();
            for synced in 0u32..1 << code.n() {
                // Rows come in no order and from all over the code: 37 is odd, so none comes twice.
                let rows: Vec<u8> = (0..code.n()).map(|i| (i * 37 + 200) as u8).collect();
                let mut plan = WritePlan::new(code, rows.iter().copied().zip(sites.iter().map(|&s| site(s))));
                for (i, &row) in rows.iter().enumerate() {
                    if synced >> i & 1 == 1 { plan.synced(row) } else { plan.failed(row) }
                }
                let count = synced.count_ones() as usize;
                let per_site: Vec<usize> =
                    (0..spread.len()).map(|s| (0..code.n()).filter(|&i| synced >> i & 1 == 1 && sites[i] == s).count()).collect();
                match plan.verdict() {
                    Verdict::Durable { complete } => {
                        assert!(per_site.iter().all(|n| count - n >= code.k()), "{code} {per_site:?}");
                        assert_eq!(complete, count == code.n());
                    }
                    Verdict::Reduced => assert!(count >= code.k() + 2),
                    Verdict::Impossible => assert!(count < code.k() + 2, "{code} {per_site:?}"),
                    Verdict::Waiting => panic!("nothing is waiting"),
                }
                if spread.len() == 3 && count >= code.n() - 1 {
                    assert!(matches!(plan.verdict(), Verdict::Durable { .. }));
                }
            }
        }
    }

    #[test]
    fn it_waits_while_the_rule_can_still_hold_and_counts_a_shard_once() {
        let mut plan = WritePlan::new(Code::STANDARD, (0u8..9).map(|i| (i, site(usize::from(i) % 3))));
        for shard in 0..6 {
            plan.synced(shard);
            plan.synced(0);
        }
        assert_eq!((plan.verdict(), plan.synced_count()), (Verdict::Waiting, 6));
        plan.failed(7);
        plan.failed(8);
        assert_eq!(plan.verdict(), Verdict::Waiting);
        plan.failed(6);
        assert_eq!(plan.verdict(), Verdict::Reduced);
        plan.synced(6);
        assert_eq!(plan.verdict(), Verdict::Durable { complete: false });
    }
}
