//! Who votes.
//!
//! Owns: the decision ([`plan_membership`], pure), one step at a time. Not: its execution (the driver)
//! and the safety of each step (joint consensus, openraft's).
//! Holds: (1) every member becomes a learner, members that left leave; (2) at most [`SITE_VOTERS_MAX`] voters
//! a site and [`VOTERS_MAX`] in all; (3) once three sites have members that can vote, no site holds a
//! majority; (4) only a node that is reachable and has caught up becomes a voter; (5) with nothing
//! changing the plan comes to an end.
//! Why three a site or one: only nine voters outlive a site and one more node, and while a site is down
//! five or seven voters are not better than three.

use std::collections::{BTreeMap, BTreeSet};

use kluis_chunkstore::ids::{NodeId, SiteName};

use crate::model::{NodeRecord, NodeRole};

/// Most voters of a site.
pub const SITE_VOTERS_MAX: usize = 3;
/// Most voters in all.
pub const VOTERS_MAX: usize = 9;

/// The present membership.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MembershipView {
    /// Who votes; while membership changes, who will.
    pub voters: BTreeSet<NodeId>,
    /// Who keeps a copy without a vote.
    pub learners: BTreeSet<NodeId>,
    /// Whether a change is half done.
    pub joint: bool,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipStep {
    /// A node gets a copy.
    AddLearner(NodeId),
    /// Exactly these vote; voters that are left out become learners.
    SetVoters(BTreeSet<NodeId>),
    /// A learner that is no member of the cluster leaves.
    RemoveLearner(NodeId),
}

/// The next change, if one is due. `ready` are the nodes that are reachable and have caught up.
pub fn plan_membership(nodes: &[NodeRecord], current: &MembershipView, ready: &BTreeSet<NodeId>) -> Option<MembershipStep> {
    if current.joint {
        return Some(MembershipStep::SetVoters(current.voters.clone()));
    }
    let members: BTreeSet<NodeId> = nodes.iter().map(|node| node.id).collect();
    if members.is_empty() {
        // The cluster's record is not there yet: the first node is on its way in.
        return None;
    }
    let known = |id: &NodeId| current.voters.contains(id) || current.learners.contains(id);
    if let Some(new) = members.iter().find(|id| !known(id)) {
        return Some(MembershipStep::AddLearner(*new));
    }
    let wanted = wanted_voters(nodes, current, ready);
    if !wanted.is_empty() && wanted != current.voters {
        return Some(MembershipStep::SetVoters(wanted));
    }
    current.learners.iter().find(|id| !members.contains(*id)).map(|gone| MembershipStep::RemoveLearner(*gone))
}

/// Whether no site holds a majority of `voters`.
fn outlives_any_site(voters: &BTreeSet<NodeId>, sites: &BTreeMap<&SiteName, Vec<NodeId>>) -> bool {
    sites.values().all(|site| site.iter().filter(|id| voters.contains(*id)).count() * 2 < voters.len())
}

fn wanted_voters(nodes: &[NodeRecord], current: &MembershipView, ready: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    // Who may vote, by site; those who vote now come first, so that a choice once made stays.
    let mut sites: BTreeMap<&SiteName, Vec<NodeId>> = BTreeMap::new();
    for node in nodes {
        let votes = current.voters.contains(&node.id);
        let can = votes || (current.learners.contains(&node.id) && ready.contains(&node.id));
        if can && node.roles.contains(&NodeRole::Metadata) {
            sites.entry(&node.site).or_default().push(node.id);
        }
    }
    for site in sites.values_mut() {
        site.sort_by_key(|id| (!current.voters.contains(id), *id));
    }
    let chosen = choose(&sites, &current.voters);
    // Who votes now and may go on: kept where the choice would only make the group smaller.
    let stay: BTreeSet<NodeId> = sites.values().flatten().filter(|id| current.voters.contains(*id)).copied().collect();
    let keep = sites.len() >= 3 && stay.len() > chosen.len() && stay.len() <= VOTERS_MAX;
    let capped = sites.values().all(|site| site.iter().filter(|id| stay.contains(*id)).count() <= SITE_VOTERS_MAX);
    if keep && capped && outlives_any_site(&stay, &sites) { stay } else { chosen }
}

fn choose(sites: &BTreeMap<&SiteName, Vec<NodeId>>, voters: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    // Sites with more of the present voters first, then by name.
    let mut order: Vec<&Vec<NodeId>> = sites.values().collect();
    order.sort_by_key(|site| std::cmp::Reverse(site.iter().filter(|id| voters.contains(*id)).count()));
    let of = |sites: &[&Vec<NodeId>], each: usize| -> BTreeSet<NodeId> {
        sites.iter().flat_map(|site| site.iter().take(each)).copied().collect()
    };
    if sites.len() < 3 {
        // No layout of one or two sites outlives a site: three voters outlive a node.
        let all: Vec<NodeId> = round_robin(&order).into_iter().take(SITE_VOTERS_MAX).collect();
        let odd = if all.len().is_multiple_of(2) { all.len().saturating_sub(1) } else { all.len() };
        return all.into_iter().take(odd).collect();
    }
    let full: Vec<&Vec<NodeId>> = order.iter().copied().filter(|site| site.len() >= SITE_VOTERS_MAX).collect();
    if full.len() >= 3 {
        let three = full.get(..3).unwrap_or_default();
        return of(three, SITE_VOTERS_MAX);
    }
    let most = order.len().min(VOTERS_MAX);
    let odd = if most.is_multiple_of(2) { most - 1 } else { most };
    of(order.get(..odd).unwrap_or_default(), 1)
}

/// The first of every site, then the second of every site, and so on.
fn round_robin(sites: &[&Vec<NodeId>]) -> Vec<NodeId> {
    let longest = sites.iter().map(|site| site.len()).max().unwrap_or(0);
    (0..longest).flat_map(|nth| sites.iter().filter_map(move |site| site.get(nth).copied())).collect()
}

#[cfg(test)]
mod tests {
    use kluis_chunkstore::ids::StorageId;
    use proptest::prelude::*;

    use super::*;

    fn node(id: u64, site: usize) -> NodeRecord {
        let address = "127.0.0.1:1".parse().unwrap();
        NodeRecord {
            id: NodeId(id),
            site: format!("s{site}").parse().unwrap(),
            roles: vec![NodeRole::Metadata, NodeRole::Chunk],
            storage: StorageId(u128::from(id)),
            quic: address,
            admin: address,
            gateway: None,
            joined_ms: 0,
        }
    }

    fn alone() -> MembershipView {
        MembershipView { voters: BTreeSet::from([NodeId(1)]), ..MembershipView::default() }
    }

    fn act(view: &mut MembershipView, step: MembershipStep) {
        match step {
            MembershipStep::AddLearner(id) => assert!(view.learners.insert(id) && !view.voters.contains(&id)),
            MembershipStep::SetVoters(voters) => {
                let all: BTreeSet<NodeId> = view.voters.union(&view.learners).copied().collect();
                assert!(!voters.is_empty() && voters.is_subset(&all));
                view.learners = all.difference(&voters).copied().collect();
                view.voters = voters;
            }
            MembershipStep::RemoveLearner(id) => assert!(view.learners.remove(&id)),
        }
    }

    /// Carries out the plan until nothing is left to do; every layout on the way keeps the rules.
    fn settle(nodes: &[NodeRecord], view: &mut MembershipView, ready: &BTreeSet<NodeId>) {
        for _ in 0..100 {
            let Some(step) = plan_membership(nodes, view, ready) else { return };
            let promoted: Vec<NodeId> = match &step {
                MembershipStep::SetVoters(to) => to.difference(&view.voters).copied().collect(),
                _ => Vec::new(),
            };
            assert!(promoted.iter().all(|id| ready.contains(id)));
            act(view, step);
            assert!(view.voters.len() <= VOTERS_MAX);
            for site in nodes.iter().map(|n| &n.site).collect::<BTreeSet<_>>() {
                assert!(votes_of(nodes, view, site) <= SITE_VOTERS_MAX);
            }
        }
        panic!("the plan does not come to an end: {view:?}");
    }

    fn votes_of(nodes: &[NodeRecord], view: &MembershipView, site: &SiteName) -> usize {
        nodes.iter().filter(|n| &n.site == site && view.voters.contains(&n.id)).count()
    }

    fn ids(nodes: &[NodeRecord]) -> BTreeSet<NodeId> {
        nodes.iter().map(|n| n.id).collect()
    }

    fn grown(sites: &[usize]) -> (Vec<NodeRecord>, MembershipView) {
        let mut nodes = Vec::new();
        let mut view = alone();
        for (at, site) in sites.iter().enumerate() {
            nodes.push(node(u64::try_from(at).unwrap() + 1, *site));
            settle(&nodes, &mut view, &ids(&nodes));
        }
        (nodes, view)
    }

    #[test]
    fn three_and_nine_and_twelve_nodes_get_their_voters() {
        assert_eq!(grown(&[0]).1.voters.len(), 1);
        assert_eq!(grown(&[0, 1, 2]).1.voters.len(), 3);
        assert_eq!(grown(&[0, 0, 0]).1.voters.len(), 3);
        let (nodes, view) = grown(&[0, 0, 0, 1, 1, 1, 2, 2, 2]);
        assert_eq!(view.voters, ids(&nodes));
        assert_eq!(grown(&[0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]).1.voters.len(), 9);
        assert_eq!(grown(&[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]).1.voters.len(), 9);
    }

    #[test]
    fn a_node_that_lags_or_is_no_metadata_node_does_not_vote() {
        let mut nodes = vec![node(1, 0), node(2, 1), node(3, 2)];
        let mut view = alone();
        settle(&nodes, &mut view, &BTreeSet::from([NodeId(1)]));
        assert_eq!(view.voters, BTreeSet::from([NodeId(1)]));
        assert_eq!(view.learners.len(), 2);
        nodes[1].roles = vec![NodeRole::Chunk];
        settle(&nodes, &mut view, &ids(&nodes));
        assert!(!view.voters.contains(&NodeId(2)));
    }

    #[test]
    fn the_loss_of_one_record_does_not_shrink_nine_voters_to_three() {
        let (mut nodes, mut view) = grown(&[0, 0, 0, 1, 1, 1, 2, 2, 2]);
        nodes.remove(4);
        settle(&nodes, &mut view, &ids(&nodes));
        assert_eq!(view.voters.len(), 8);
        assert!(view.learners.is_empty());
        nodes.push(node(10, 1));
        settle(&nodes, &mut view, &ids(&nodes));
        assert_eq!(view.voters.len(), 9);
    }

    #[test]
    fn a_half_done_change_is_finished_first() {
        let view = MembershipView { joint: true, voters: BTreeSet::from([NodeId(7)]), learners: BTreeSet::new() };
        assert_eq!(plan_membership(&[node(1, 0)], &view, &BTreeSet::new()), Some(MembershipStep::SetVoters(view.voters.clone())));
    }

    proptest! {
        #[test]
        fn any_order_of_joining_converges_to_the_same_strength(
            order in Just([0usize, 0, 0, 1, 1, 1, 2, 2, 2]).prop_shuffle(),
            removed in 0usize..9,
        ) {
            let (mut nodes, mut view) = grown(&order);
            prop_assert_eq!(view.voters.len(), 9);
            nodes.remove(removed);
            settle(&nodes, &mut view, &ids(&nodes));
            prop_assert!(view.voters.is_subset(&ids(&nodes)));
            for site in nodes.iter().map(|n| &n.site).collect::<BTreeSet<_>>() {
                prop_assert!(votes_of(&nodes, &view, site) * 2 < view.voters.len());
            }
        }

        #[test]
        fn any_cluster_settles_without_a_majority_in_one_site(sites in prop::collection::vec(0usize..5, 1..14)) {
            let (nodes, view) = grown(&sites);
            let different: BTreeSet<_> = nodes.iter().map(|n| n.site.clone()).collect();
            prop_assert!(!view.voters.is_empty());
            if different.len() >= 3 {
                for site in &different {
                    prop_assert!(votes_of(&nodes, &view, site) * 2 < view.voters.len());
                }
            }
        }
    }
}
