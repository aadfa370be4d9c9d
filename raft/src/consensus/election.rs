//! When a voter stands for election: the decision, pure.
//!
//! Owns: what a node says of the leader ([`Sight`]), and what follows from what all say ([`decide`]). Not: asking
//! and acting ([`super::watch_leader`]), and the vote itself (openraft).
//! Holds: (1) nobody stands without a majority of voters, itself counted, that has not heard a leader for
//! [`Rules::agree_ms`] and whose logs are not ahead: a node or a minority that is cut off never raises the term,
//! and an election that must fail is not held; (2) nobody stands while a leader of its own or a later term
//! answers; (3) of nodes that know the same, one goes first, and the others wait for it.
//! Why the majority is asked and not only the own clock: a long timeout alone is safe but slow, a short one is
//! quick but every slow moment of one node costs an election.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Serialize};

use super::{status::majority, types::Position};

/// What one node says of the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sight {
    /// Its term.
    pub(crate) term: u64,
    /// Whether it leads in that term itself, and its replica works.
    pub(crate) leads: bool,
    /// Since it last heard a leader or gave a vote, in milliseconds.
    pub(crate) silent_ms: u64,
    /// The end of its log.
    pub(crate) last_log: Option<Position>,
}

/// Waiting times, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Silence after which a node agrees to an election. Above the lease for which openraft refuses votes, so that
    /// who agreed also votes.
    pub(crate) agree_ms: u64,
    /// Silence after which a node asks the leader whether it is there.
    pub(crate) ask_ms: u64,
    /// How long each node that is better placed is let go first.
    pub(crate) stagger_ms: u64,
}

/// What a node does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// A leader is there.
    Heard,
    /// No majority agrees. It may in this time, where one can be named.
    Disagreed {
        /// Milliseconds.
        within_ms: Option<u64>,
    },
    /// A majority agrees, and others go first for this time.
    After {
        /// Milliseconds.
        ms: u64,
    },
    /// This node stands.
    Elect,
}

/// What follows for node `me` from its own sight and the answers of others. `groups` are the voters (two groups
/// while membership changes); a majority has agreed for `agreed_ms` so far.
pub(crate) fn decide(
    me: u64,
    own: &Sight,
    groups: &[BTreeSet<u64>],
    answers: &BTreeMap<u64, Sight>,
    agreed_ms: u64,
    rules: &Rules,
) -> Decision {
    if answers.iter().any(|(id, sight)| *id != me && sight.leads && sight.term >= own.term) {
        return Decision::Heard;
    }
    let votes = |id: u64| groups.iter().any(|group| group.contains(&id));
    if !votes(me) {
        return Decision::Disagreed { within_ms: None };
    }
    // A leader of an earlier term has not heard that it was replaced: it is no witness of silence.
    let mut others: Vec<(u64, &Sight)> = answers.iter().map(|(id, sight)| (*id, sight)).collect();
    others.retain(|(id, sight)| *id != me && votes(*id) && !sight.leads);
    let silent = |sight: &Sight| sight.silent_ms >= rules.agree_ms;
    // Who would vote for this node.
    let follows = |sight: &Sight| sight.last_log <= own.last_log;
    let with_me = |agreeing: BTreeSet<u64>| majority(groups, &agreeing);
    if !silent(own) || !with_me(others.iter().filter(|(_, sight)| silent(sight)).map(|(id, _)| *id).chain([me]).collect()) {
        return Decision::Disagreed { within_ms: agreement_in(me, own, groups, &others, rules) };
    }
    others.retain(|(_, sight)| silent(sight));
    if !with_me(others.iter().filter(|(_, sight)| follows(sight)).map(|(id, _)| *id).chain([me]).collect()) {
        return Decision::After { ms: rules.stagger_ms.max(1) };
    }
    let better = others.iter().filter(|(id, sight)| (sight.last_log, Reverse(*id)) > (own.last_log, Reverse(me))).count();
    let turn_ms = rules.stagger_ms.saturating_mul(u64::try_from(better).unwrap_or(u64::MAX));
    match turn_ms.saturating_sub(agreed_ms) {
        0 => Decision::Elect,
        ms => Decision::After { ms },
    }
}

/// When a majority would agree if nobody heard anything more.
fn agreement_in(me: u64, own: &Sight, groups: &[BTreeSet<u64>], others: &[(u64, &Sight)], rules: &Rules) -> Option<u64> {
    let lacks = |sight: &Sight| rules.agree_ms.saturating_sub(sight.silent_ms);
    let mut order: Vec<(u64, u64)> = others.iter().map(|(id, sight)| (lacks(sight), *id)).collect();
    order.sort_unstable();
    let mut agreeing = BTreeSet::from([me]);
    let mut latest = lacks(own);
    if majority(groups, &agreeing) {
        return Some(latest);
    }
    for (lack, id) in order {
        agreeing.insert(id);
        latest = latest.max(lack);
        if majority(groups, &agreeing) {
            return Some(latest);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, LogId};
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules { agree_ms: 500, ask_ms: 200, stagger_ms: 250 };

    fn at(index: u64) -> Option<Position> {
        Some(LogId::new(CommittedLeaderId::new(1, 1), index))
    }

    fn silent(silent_ms: u64, index: u64) -> Sight {
        Sight { term: 1, leads: false, silent_ms, last_log: at(index) }
    }

    fn three() -> Vec<BTreeSet<u64>> {
        vec![BTreeSet::from([1, 2, 3])]
    }

    fn asked(answers: &[(u64, Sight)]) -> BTreeMap<u64, Sight> {
        answers.iter().copied().collect()
    }

    #[test]
    fn a_silent_leader_is_replaced_by_one_node_after_another() {
        let (two, three_) = (silent(600, 7), silent(600, 7));
        assert_eq!(decide(2, &two, &three(), &asked(&[(3, three_)]), 0, &RULES), Decision::Elect);
        assert_eq!(decide(3, &three_, &three(), &asked(&[(2, two)]), 0, &RULES), Decision::After { ms: 250 });
        assert_eq!(decide(3, &three_, &three(), &asked(&[(2, two)]), 100, &RULES), Decision::After { ms: 150 });
        assert_eq!(decide(3, &three_, &three(), &asked(&[(2, two)]), 250, &RULES), Decision::Elect);
    }

    #[test]
    fn the_longest_log_goes_first_and_a_shorter_one_only_with_a_majority_that_can_vote_for_it() {
        let (long, short) = (silent(600, 9), silent(600, 7));
        assert_eq!(decide(3, &long, &three(), &asked(&[(2, short)]), 0, &RULES), Decision::Elect);
        // However long it waits: node 3 would refuse.
        assert_eq!(decide(2, &short, &three(), &asked(&[(3, long)]), 10_000, &RULES), Decision::After { ms: 250 });
        let five = vec![BTreeSet::from([1, 2, 3, 4, 5])];
        let answers = asked(&[(3, long), (4, short), (5, short)]);
        assert_eq!(decide(2, &short, &five, &answers, 0, &RULES), Decision::After { ms: 250 });
        assert_eq!(decide(2, &short, &five, &answers, 250, &RULES), Decision::Elect);
    }

    #[test]
    fn a_leader_that_answers_is_heard_and_one_of_an_earlier_term_is_not() {
        let leads = |term| Sight { term, leads: true, silent_ms: 0, last_log: at(7) };
        let own = silent(9000, 7);
        assert_eq!(decide(2, &own, &three(), &asked(&[(1, leads(1)), (3, own)]), 0, &RULES), Decision::Heard);
        assert_eq!(decide(2, &own, &three(), &asked(&[(1, leads(2)), (3, own)]), 0, &RULES), Decision::Heard);
        assert_eq!(decide(2, &own, &three(), &asked(&[(1, leads(0)), (3, own)]), 0, &RULES), Decision::Elect);
        assert_eq!(decide(2, &own, &three(), &asked(&[(1, leads(0))]), 0, &RULES), Decision::Disagreed { within_ms: None });
    }

    #[test]
    fn the_wait_is_for_the_last_one_that_is_needed() {
        let five = vec![BTreeSet::from([1, 2, 3, 4, 5])];
        let answers = asked(&[(3, silent(480, 7)), (4, silent(450, 7)), (5, silent(10, 7))]);
        assert_eq!(decide(2, &silent(600, 7), &five, &answers, 0, &RULES), Decision::Disagreed { within_ms: Some(50) });
        assert_eq!(decide(2, &silent(430, 7), &five, &answers, 0, &RULES), Decision::Disagreed { within_ms: Some(70) });
        assert_eq!(decide(9, &silent(600, 7), &five, &answers, 0, &RULES), Decision::Disagreed { within_ms: None });
    }

    #[test]
    fn a_group_of_one_and_a_group_in_change() {
        let alone = vec![BTreeSet::from([1])];
        assert_eq!(decide(1, &silent(500, 0), &alone, &BTreeMap::new(), 0, &RULES), Decision::Elect);
        let joint = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([4, 5, 6])];
        let answers = asked(&[(2, silent(600, 1)), (4, silent(600, 1))]);
        assert_eq!(decide(1, &silent(600, 1), &joint, &answers, 0, &RULES), Decision::Disagreed { within_ms: None });
        let answers = asked(&[(2, silent(600, 1)), (4, silent(600, 1)), (5, silent(600, 1))]);
        assert_eq!(decide(1, &silent(600, 1), &joint, &answers, 0, &RULES), Decision::Elect);
    }

    fn sights(count: usize) -> impl Strategy<Value = Vec<Sight>> {
        let sight = (0u64..3, 0u64..1000, prop::option::of(0u64..4));
        let of = |(term, silent_ms, index): (u64, u64, Option<u64>)| Sight { term, leads: false, silent_ms, last_log: index.and_then(at) };
        prop::collection::vec(sight.prop_map(of), count)
    }

    proptest! {
        #[test]
        fn who_stands_has_a_majority_that_agrees_and_can_vote_for_it(
            all in sights(9),
            reached in prop::collection::btree_set(1u64..=9, 0..9),
            leader in prop::option::of((1u64..=9, 0u64..3)),
            voters in 1u64..=9,
            agreed_ms in 0u64..5000,
        ) {
            let groups = vec![(1..=voters).collect::<BTreeSet<u64>>()];
            let mut seen: BTreeMap<u64, Sight> = (1..).zip(all).collect();
            if let Some((id, term)) = leader {
                seen.insert(id, Sight { term, leads: true, ..seen[&id] });
            }
            for me in 1..=9 {
                let own = Sight { leads: false, ..seen[&me] };
                let answers: BTreeMap<u64, Sight> = reached.iter().filter(|id| **id != me).map(|id| (*id, seen[id])).collect();
                if decide(me, &own, &groups, &answers, agreed_ms, &RULES) == Decision::Elect {
                    let willing = |s: &Sight| !s.leads && s.silent_ms >= RULES.agree_ms && s.last_log <= own.last_log;
                    let votes = answers.iter().filter(|(id, s)| **id <= voters && willing(s)).count() + 1;
                    prop_assert!(me <= voters && votes * 2 > groups[0].len());
                    prop_assert!(own.silent_ms >= RULES.agree_ms);
                    prop_assert!(answers.values().all(|s| !s.leads || s.term < own.term));
                }
            }
        }

        /// Whatever they wait for and whatever their clocks say.
        #[test]
        fn a_minority_that_is_cut_off_never_stands(all in sights(9), reached in prop::collection::btree_set(1u64..=9, 1..5), ms in any::<u64>()) {
            let groups = vec![(1..=9).collect::<BTreeSet<u64>>()];
            let seen: BTreeMap<u64, Sight> = (1..).zip(all).collect();
            for me in &reached {
                let answers = reached.iter().filter(|id| *id != me).map(|id| (*id, seen[id])).collect();
                prop_assert_ne!(decide(*me, &seen[me], &groups, &answers, ms, &RULES), Decision::Elect);
            }
        }

        #[test]
        fn while_a_majority_hears_the_leader_nobody_stands(
            all in sights(9), hearing in Just((1u64..=9).collect::<Vec<_>>()).prop_shuffle(), ms in any::<u64>()
        ) {
            let groups = vec![(1..=9).collect::<BTreeSet<u64>>()];
            let mut seen: BTreeMap<u64, Sight> = (1..).zip(all).collect();
            for id in &hearing[..5] {
                seen.get_mut(id).unwrap().silent_ms = RULES.agree_ms - 1;
            }
            for me in 1..=9 {
                prop_assert_ne!(decide(me, &seen[&me], &groups, &seen, ms, &RULES), Decision::Elect);
            }
        }

        /// And one does go, so that a group whose leader is gone is not left without one.
        #[test]
        fn of_all_who_see_the_same_one_goes_first(all in sights(9), gone in 1u64..=9) {
            let groups = vec![(1..=9).collect::<BTreeSet<u64>>()];
            let mut seen: BTreeMap<u64, Sight> = (1..).zip(all).collect();
            seen.remove(&gone);
            for sight in seen.values_mut() {
                sight.silent_ms = RULES.agree_ms;
            }
            let first = seen.iter().filter(|(me, own)| decide(**me, own, &groups, &seen, 0, &RULES) == Decision::Elect);
            prop_assert_eq!(first.count(), 1);
        }
    }
}
