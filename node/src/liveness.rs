//! Which nodes and disks are worth asking at the moment.
//!
//! Owns: suspicions with their end, and what a write should avoid because of them. Not: connections.
//! Holds: (1) a suspicion ends by itself after [`SUSPICION`], or as soon as the node answers anything; (2) a
//! wrong suspicion costs only a detour, never an answer; (3) pure but for the moments that it is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kluis_chunkstore::{
    ids::{DiskId, NodeId},
    placement::Avoid,
    topology::Topology,
};
use tokio::time::Instant;

/// How long a node or disk stays suspected without new evidence.
pub const SUSPICION: Duration = Duration::from_secs(5);
/// How long a node that kept a read waiting is asked after the others.
pub const SLOWNESS: Duration = Duration::from_secs(2);

/// What is known of a node that owes an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owing {
    /// Since it was asked.
    pub waited: Duration,
    /// Whether any datagram came from it since it was asked. Not since the last look: once it has acknowledged, a node
    /// whose disks are slow has nothing to say.
    pub any_packet: bool,
    /// Whether datagrams came from any node in that time: without, it is this node that is deaf.
    pub hearing: bool,
    /// Whether it answered anything within the time of `silence`.
    pub any_answer: bool,
}

/// Whether such a node is taken for gone. A process that runs acknowledges what it receives, however slow its disks
/// are: one that does not even do that is gone after `quiet`. One that does has until `silence`.
pub fn is_gone(owing: Owing, quiet: Duration, silence: Duration) -> bool {
    let mute = owing.hearing && !owing.any_packet && owing.waited >= quiet;
    mute || (!owing.any_answer && owing.waited >= silence)
}

#[derive(Debug, Default)]
struct Known {
    nodes: BTreeMap<NodeId, Instant>,
    disks: BTreeMap<DiskId, Instant>,
    full: BTreeMap<DiskId, Instant>,
    answered: BTreeMap<NodeId, Instant>,
    slow: BTreeMap<NodeId, Instant>,
}

/// Suspicions of one node about the others.
#[derive(Debug, Default)]
pub struct Liveness(Mutex<Known>);

impl Liveness {
    /// A node answered a request.
    pub fn answered(&self, node: NodeId, now: Instant) {
        let mut known = self.lock();
        known.nodes.remove(&node);
        known.slow.remove(&node);
        known.answered.insert(node, now);
    }

    /// Whether a node answered anything since `since`.
    pub fn answered_since(&self, node: NodeId, since: Instant) -> bool {
        self.lock().answered.get(&node).is_some_and(|at| *at >= since)
    }

    /// A node did not answer in time.
    pub fn suspect_node(&self, node: NodeId, now: Instant) {
        self.lock().nodes.insert(node, now + SUSPICION);
    }

    /// A node kept a read waiting: others are asked before it for a moment. Writes do not mind.
    pub fn slow_node(&self, node: NodeId, now: Instant) {
        self.lock().slow.insert(node, now + SLOWNESS);
    }

    /// Whether a node kept a read waiting lately.
    pub fn is_slow(&self, node: NodeId, now: Instant) -> bool {
        self.lock().slow.get(&node).is_some_and(|until| *until > now)
    }

    /// A disk refused or failed.
    pub fn suspect_disk(&self, disk: DiskId, now: Instant) {
        self.lock().disks.insert(disk, now + SUSPICION);
    }

    /// A disk said that it is full: avoided like a suspected one, and the reason is remembered.
    pub fn full_disk(&self, disk: DiskId, now: Instant) {
        let mut known = self.lock();
        known.disks.insert(disk, now + SUSPICION);
        known.full.insert(disk, now + SUSPICION);
    }

    /// Whether any disk said so lately.
    pub fn any_full(&self, now: Instant) -> bool {
        self.lock().full.values().any(|until| *until > now)
    }

    /// Whether a node is suspected.
    pub fn is_suspected(&self, node: NodeId, now: Instant) -> bool {
        self.lock().nodes.get(&node).is_some_and(|until| *until > now)
    }

    /// What a write should avoid: suspected nodes and those that `connected` denies, whole sites where none is
    /// left, and suspected disks of the others.
    pub fn avoid(&self, topology: &Topology, now: Instant, connected: impl Fn(NodeId) -> bool) -> Avoid {
        let known = self.lock();
        let down = |node: NodeId| !connected(node) || known.nodes.get(&node).is_some_and(|until| *until > now);
        let mut avoid = Avoid::nothing();
        for site in topology.sites() {
            let nodes: BTreeSet<NodeId> = site.nodes.iter().map(|(id, _)| *id).filter(|id| down(*id)).collect();
            if nodes.len() == site.nodes.len() {
                avoid.sites.insert(site.name.clone());
                continue;
            }
            for (node, disks) in &site.nodes {
                if nodes.contains(node) {
                    avoid.nodes.insert(*node);
                } else {
                    avoid.disks.extend(disks.iter().map(|d| d.id).filter(|d| known.disks.get(d).is_some_and(|until| *until > now)));
                }
            }
        }
        avoid
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use kluis_chunkstore::{
        code::Code,
        topology::{TopologyDisk, TopologyNode},
    };

    use super::*;

    fn topology() -> Topology {
        let nodes = (1..=9).map(|id| TopologyNode { id: NodeId(id), site: format!("dc{}", (id - 1) / 3).parse().unwrap() }).collect();
        let disks = (1..=18u64).map(|id| TopologyDisk { id: DiskId(id.into()), node: NodeId(id.div_ceil(2)), weight: 1 }).collect();
        Topology::build(1, Code::STANDARD, nodes, disks).unwrap()
    }

    #[test]
    fn a_site_without_nodes_is_avoided_whole_and_suspicions_end() {
        let (liveness, topology, now) = (Liveness::default(), topology(), Instant::now());
        liveness.suspect_node(NodeId(4), now);
        liveness.suspect_disk(DiskId(1), now);
        liveness.suspect_disk(DiskId(7), now);
        let avoid = liveness.avoid(&topology, now, |node| node.0 < 7);
        assert_eq!(avoid.sites.iter().map(|s| s.as_str()).collect::<Vec<_>>(), ["dc2"]);
        assert_eq!(avoid.nodes.iter().map(|n| n.0).collect::<Vec<_>>(), [4]);
        assert_eq!(avoid.disks.iter().map(|d| d.0).collect::<Vec<_>>(), [1], "disk 7 is on node 4");
        liveness.answered(NodeId(4), now);
        assert!(!liveness.is_suspected(NodeId(4), now) && liveness.answered_since(NodeId(4), now));
        assert!(liveness.avoid(&topology, now + SUSPICION, |_| true).is_empty());
    }

    #[test]
    fn a_slow_node_is_asked_later_for_a_moment_and_is_not_avoided() {
        let (liveness, now) = (Liveness::default(), Instant::now());
        liveness.slow_node(NodeId(4), now);
        assert!(liveness.is_slow(NodeId(4), now) && !liveness.is_slow(NodeId(4), now + SLOWNESS));
        assert!(liveness.avoid(&topology(), now, |_| true).is_empty());
        liveness.answered(NodeId(4), now);
        assert!(!liveness.is_slow(NodeId(4), now));
    }

    #[test]
    fn who_acknowledges_nothing_is_gone_soon_and_who_only_works_slowly_is_not() {
        let ms = Duration::from_millis;
        let gone = |owing| is_gone(owing, ms(400), ms(1000));
        let mute = Owing { waited: ms(400), any_packet: false, hearing: true, any_answer: false };
        assert!(gone(mute));
        assert!(!gone(Owing { waited: ms(399), ..mute }));
        assert!(!gone(Owing { any_packet: true, ..mute }), "its disks are slow");
        assert!(!gone(Owing { hearing: false, ..mute }), "this node is deaf");
        assert!(gone(Owing { hearing: false, waited: ms(1000), ..mute }));
        assert!(gone(Owing { any_packet: true, waited: ms(1000), ..mute }));
        assert!(!gone(Owing { any_packet: true, any_answer: true, waited: ms(9000), ..mute }));
    }
}
