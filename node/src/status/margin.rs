//! The margin: which further failures the data survives, right now.
//!
//! Owns: the arithmetic of the worst case. Not: what is up (the status says), whether the service goes on
//! (voters decide that).
//! Holds: not too optimistic for documents that lie as placement wants them: no site holds more than its
//! cap of a chunk's shards, and inside a site nodes are spread before disks. What reconcile has rebuilt
//! meanwhile only makes the truth better. Documents written while a site was away lie on two sites until
//! reconcile has moved their shards; that backlog is shown as work and not counted here.
//!
//! Worst case of a set of lost disks: in each site, a chunk has at most
//! `min(site cap, sum over nodes of min(lost disks of the node, node cap))` shards on them, where the node
//! cap is `ceil(site cap / nodes of the site)`. The data survives while the sum over sites is at most m.

use std::collections::BTreeMap;

use kluis_chunkstore::{
    code::Code,
    ids::{NodeId, SiteName},
};
use serde::{Deserialize, Serialize};

use super::{DiskCondition, NodeStatus};

/// Which further failures every document survives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Margin {
    /// In words.
    pub survives: String,
    /// Whether some documents may be out of reach already.
    pub lost: bool,
    /// Whole sites (of those that are up) that may fail, any of them.
    pub sites_may_fail: usize,
    /// Nodes, any of them, that may fail after that.
    pub more_nodes: usize,
    /// Disks, any of them, that may fail instead of those nodes.
    pub more_disks: usize,
}

/// Disks of a node: in all, and lost.
#[derive(Debug, Clone, Copy, Default)]
struct NodeDisks {
    all: usize,
    lost: usize,
}

type Sites = BTreeMap<SiteName, BTreeMap<NodeId, NodeDisks>>;

/// The margin of a cluster whose documents are coded with `code` and, where small, [`Code::SMALL`].
pub fn margin(code: Code, nodes: &[NodeStatus]) -> Margin {
    let mut sites = Sites::new();
    for node in nodes {
        let disks = node.disks.iter().filter(|d| d.state != DiskCondition::Candidate);
        let mut count = NodeDisks::default();
        for disk in disks {
            count.all += 1;
            count.lost += usize::from(!node.up || !disk.state.readable());
        }
        if count.all > 0 {
            sites.entry(node.site.clone()).or_default().insert(node.id, count);
        }
    }
    if sites.is_empty() {
        return nothing("nothing is stored yet", false);
    }
    // Both classes are in use: what holds for every document is the lesser of the two.
    let codes = [code, Code::SMALL];
    if codes.iter().any(|code| worst_loss(*code, &sites) > code.m()) {
        return nothing("nothing more: some documents cannot be read now", true);
    }
    let least = |count: &dyn Fn(Code) -> usize| codes.iter().map(|code| count(*code)).min().unwrap_or(0);
    let sites_may_fail = least(&|code| steps(code, &sites, fail_each_site, usize::MAX).0);
    let after = |code| steps(code, &sites, fail_each_site, sites_may_fail).1;
    let more_nodes = least(&|code| steps(code, &after(code), fail_each_node, usize::MAX).0);
    let more_disks = least(&|code| steps(code, &after(code), fail_each_disk, usize::MAX).0);
    Margin { survives: words(sites_may_fail, more_nodes, more_disks), lost: false, sites_may_fail, more_nodes, more_disks }
}

fn nothing(survives: &str, lost: bool) -> Margin {
    Margin { survives: survives.to_owned(), lost, sites_may_fail: 0, more_nodes: 0, more_disks: 0 }
}

/// Most shards of one chunk that may be on lost disks.
fn worst_loss(code: Code, sites: &Sites) -> usize {
    let site_cap = code.site_cap();
    let loss = |nodes: &BTreeMap<NodeId, NodeDisks>| {
        let node_cap = site_cap.div_ceil(nodes.len().max(1));
        // A node takes more than its even part where its neighbours have too few disks for theirs.
        let short: usize = nodes.values().map(|n| node_cap.saturating_sub(n.all)).sum();
        nodes.values().map(|n| n.lost.min(node_cap + short)).sum::<usize>().min(site_cap)
    };
    sites.values().map(loss).sum()
}

/// The state after the failure that costs most, if the data survives it; `None` too when nothing is left to fail.
fn worst_step(code: Code, after: Vec<Sites>) -> Option<Sites> {
    let worst = after.into_iter().max_by_key(|state| worst_loss(code, state))?;
    (worst_loss(code, &worst) <= code.m()).then_some(worst)
}

/// How many of the worst failures of a kind the data survives, at most `limit`, and the state after them.
fn steps(code: Code, from: &Sites, fail_each: fn(&Sites) -> Vec<Sites>, limit: usize) -> (usize, Sites) {
    let mut left = from.clone();
    let mut count = 0;
    while count < limit {
        let Some(next) = worst_step(code, fail_each(&left)) else { break };
        count += 1;
        left = next;
    }
    (count, left)
}

fn fail_each_site(sites: &Sites) -> Vec<Sites> {
    let up = sites.iter().filter(|(_, nodes)| nodes.values().any(|n| n.lost < n.all));
    up.map(|(name, _)| {
        let mut after = sites.clone();
        for node in after.get_mut(name).into_iter().flat_map(BTreeMap::values_mut) {
            node.lost = node.all;
        }
        after
    })
    .collect()
}

fn fail_each_node(sites: &Sites) -> Vec<Sites> {
    fail_each(sites, |node| node.lost = node.all)
}

fn fail_each_disk(sites: &Sites) -> Vec<Sites> {
    fail_each(sites, |node| node.lost += 1)
}

/// The states after something fails on a node, one for each node that is not wholly lost. Nodes of a site
/// that look the same are taken once: a large cluster has few kinds.
fn fail_each(sites: &Sites, fail: impl Fn(&mut NodeDisks)) -> Vec<Sites> {
    let mut states = Vec::new();
    for (name, nodes) in sites {
        let mut seen = Vec::new();
        for (id, node) in nodes.iter().filter(|(_, n)| n.lost < n.all) {
            if seen.contains(&(node.all, node.lost)) {
                continue;
            }
            seen.push((node.all, node.lost));
            let mut after = sites.clone();
            if let Some(node) = after.get_mut(name).and_then(|nodes| nodes.get_mut(id)) {
                fail(node);
            }
            states.push(after);
        }
    }
    states
}

fn words(sites: usize, nodes: usize, disks: usize) -> String {
    let count = |n: usize, what: &str| format!("any {n} {what}{}", if n == 1 { "" } else { "s" });
    let more = match (nodes, disks) {
        (0, 0) => None,
        (0, d) => Some(count(d, if sites > 0 { "more disk" } else { "disk" })),
        (n, _) => Some(count(n, if sites > 0 { "more node" } else { "node" })),
    };
    match (sites, more) {
        (0, None) => "no further loss".to_owned(),
        (0, Some(more)) => more,
        (s, None) => count(s, "site"),
        (s, Some(more)) => format!("{}, then {more}", count(s, "site")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::status::tests::{down, fleet};

    fn rank(margin: &Margin) -> (bool, usize, usize, usize) {
        (!margin.lost, margin.sites_may_fail, margin.more_nodes, margin.more_disks)
    }

    fn figures(margin: &Margin) -> (usize, usize, usize) {
        (margin.sites_may_fail, margin.more_nodes, margin.more_disks)
    }

    #[test]
    fn nine_nodes_survive_a_site_and_two_more_nodes() {
        let margin = margin(Code::STANDARD, &fleet(3, 2));
        assert_eq!(figures(&margin), (1, 2, 2));
        assert_eq!(margin.survives, "any 1 site, then any 2 more nodes");
    }

    #[test]
    fn with_a_site_down_two_nodes_are_left_and_with_those_nothing() {
        let mut nodes = fleet(3, 2);
        down(&mut nodes, |n| n.site.as_str() == "dc1");
        let one = margin(Code::STANDARD, &nodes);
        assert_eq!((figures(&one), one.survives.as_str()), ((0, 2, 2), "any 2 nodes"));
        down(&mut nodes, |n| n.id.0 == 4 || n.id.0 == 7);
        let two = margin(Code::STANDARD, &nodes);
        assert_eq!((figures(&two), two.lost), ((0, 0, 0), false));
        assert_eq!(two.survives, "no further loss");
        down(&mut nodes, |n| n.id.0 == 5);
        assert!(margin(Code::STANDARD, &nodes).lost);
    }

    #[test]
    fn the_vast_class_and_five_copies_outlive_two_sites() {
        let margin = margin(Code::VAST, &fleet(4, 2));
        assert_eq!(figures(&margin), (2, 0, 0));
        assert_eq!(margin.survives, "any 2 sites");
    }

    #[test]
    fn one_node_a_site_makes_a_node_as_bad_as_a_site() {
        let margin = margin(Code::STANDARD, &fleet(1, 3));
        assert_eq!(figures(&margin), (1, 0, 2));
        assert_eq!(margin.survives, "any 1 site, then any 2 more disks");
    }

    #[test]
    fn nothing_stored_is_said_and_a_candidate_holds_nothing() {
        assert!(!margin(Code::STANDARD, &[]).lost);
        let mut nodes = fleet(3, 2);
        for node in &mut nodes {
            node.disks.iter_mut().for_each(|d| d.state = DiskCondition::Candidate);
        }
        assert_eq!(margin(Code::STANDARD, &nodes).survives, "nothing is stored yet");
    }

    proptest! {
        #[test]
        fn a_further_failure_never_makes_the_margin_better(lost in prop::collection::vec(0_usize..9, 0..6), more in 0_usize..9) {
            let mut nodes = fleet(3, 2);
            for i in lost {
                let id = nodes[i].id;
                down(&mut nodes, |n| n.id == id);
            }
            let before = margin(Code::STANDARD, &nodes);
            let id = nodes[more].id;
            down(&mut nodes, |n| n.id == id);
            let after = margin(Code::STANDARD, &nodes);
            prop_assert!(rank(&after) <= rank(&before), "{:?} {:?}", before, after);
        }
    }
}
