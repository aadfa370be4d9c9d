//! Topology: the sites, nodes and disks that data may lie on, numbered by version.
//!
//! Owns: the checked map and its queries. Not: which disk a shard goes to ([`crate::placement`]), nor
//! what is up at the moment ([`crate::placement::Avoid`]).
//! Holds, for every value that exists: (1) ids are unique, each disk's node and each node's site exist;
//! (2) at least three sites have disks; (3) for its code, the site caps leave room for all shards, so
//! placement never fails; (4) weights are 1 to 2^32 - 1. Built only by [`Topology::build`], which decoding
//! goes through too: a topology that breaks the caps cannot be built, stored or received.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    code::{Code, SITES},
    ids::{DiskId, NodeId, SiteName},
};

/// A disk in the topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyDisk {
    /// Its id.
    pub id: DiskId,
    /// The node that owns it.
    pub node: NodeId,
    /// Share of the data, relative to other disks; usually GiB.
    pub weight: u32,
}

/// A node in the topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyNode {
    /// Its id.
    pub id: NodeId,
    /// Its site.
    pub site: SiteName,
}

/// Why a topology cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTopology {
    /// Too many things for one topology.
    #[error("a topology has at most 10000 nodes and 100000 disks")]
    TooLarge,
    /// A node is listed twice.
    #[error("node {0} is listed twice")]
    NodeTwice(NodeId),
    /// A disk is listed twice.
    #[error("disk {0} is listed twice")]
    DiskTwice(DiskId),
    /// A disk's node is not listed.
    #[error("disk {disk} is on node {node}, which is not listed")]
    NodeUnknown {
        /// The disk.
        disk: DiskId,
        /// Its node.
        node: NodeId,
    },
    /// A weight is zero.
    #[error("disk {0} has weight 0")]
    WeightZero(DiskId),
    /// Fewer than three sites have disks.
    #[error("{found} of the {SITES} sites that are needed have disks")]
    TooFewSites {
        /// Sites with disks.
        found: usize,
    },
    /// The caps leave too few places.
    #[error("code {code} needs {needed} disks with at most {cap} a site; this topology offers {offered}: {per_site}")]
    TooFewDisks {
        /// The code.
        code: Code,
        /// Shards of a chunk.
        needed: usize,
        /// Most shards a site.
        cap: usize,
        /// Places within the caps.
        offered: usize,
        /// Disks of each site, for people.
        per_site: String,
    },
}

/// A site with its nodes and their disks, in order of id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub name: SiteName,
    /// Its nodes that have disks.
    pub nodes: Vec<(NodeId, Vec<TopologyDisk>)>,
}

impl Site {
    /// Number of disks.
    pub fn disks(&self) -> usize {
        self.nodes.iter().map(|(_, d)| d.len()).sum()
    }
}

/// A checked topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Topology {
    version: u64,
    code: Code,
    nodes: Vec<TopologyNode>,
    disks: Vec<TopologyDisk>,
    sites: Vec<Site>,
}

#[derive(Serialize, Deserialize)]
struct Raw {
    version: u64,
    code: Code,
    nodes: Vec<TopologyNode>,
    disks: Vec<TopologyDisk>,
}

impl TryFrom<Raw> for Topology {
    type Error = BadTopology;

    fn try_from(raw: Raw) -> Result<Self, BadTopology> {
        Self::build(raw.version, raw.code, raw.nodes, raw.disks)
    }
}

impl From<Topology> for Raw {
    fn from(t: Topology) -> Self {
        Self { version: t.version, code: t.code, nodes: t.nodes, disks: t.disks }
    }
}

impl Topology {
    /// A topology of these nodes and disks, in which `code` and [`Code::SMALL`] can be placed.
    ///
    /// # Errors
    /// [`BadTopology`] says which rule would be broken.
    pub fn build(version: u64, code: Code, mut nodes: Vec<TopologyNode>, mut disks: Vec<TopologyDisk>) -> Result<Self, BadTopology> {
        if nodes.len() > 10_000 || disks.len() > 100_000 {
            return Err(BadTopology::TooLarge);
        }
        nodes.sort_by_key(|n| n.id);
        disks.sort_by_key(|d| d.id);
        let mut site_of = BTreeMap::new();
        for node in &nodes {
            if site_of.insert(node.id, node.site.clone()).is_some() {
                return Err(BadTopology::NodeTwice(node.id));
            }
        }
        let mut seen = BTreeSet::new();
        let mut tree: BTreeMap<SiteName, BTreeMap<NodeId, Vec<TopologyDisk>>> = BTreeMap::new();
        for disk in &disks {
            if !seen.insert(disk.id) {
                return Err(BadTopology::DiskTwice(disk.id));
            }
            if disk.weight == 0 {
                return Err(BadTopology::WeightZero(disk.id));
            }
            let site = site_of.get(&disk.node).ok_or(BadTopology::NodeUnknown { disk: disk.id, node: disk.node })?;
            tree.entry(site.clone()).or_default().entry(disk.node).or_default().push(disk.clone());
        }
        let sites: Vec<Site> = tree.into_iter().map(|(name, nodes)| Site { name, nodes: nodes.into_iter().collect() }).collect();
        if sites.len() < SITES {
            return Err(BadTopology::TooFewSites { found: sites.len() });
        }
        for code in [code, Code::SMALL] {
            let cap = code.site_cap();
            let offered: usize = sites.iter().map(|s| s.disks().min(cap)).sum();
            if offered < code.n() {
                let per_site = sites.iter().map(|s| format!("{} {}", s.name, s.disks())).collect::<Vec<_>>().join(", ");
                return Err(BadTopology::TooFewDisks { code, needed: code.n(), cap, offered, per_site });
            }
        }
        Ok(Self { version, code, nodes, disks, sites })
    }

    /// Number of this topology; each change counts one up.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The code that it was checked for.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Sites that have disks, by name.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// All disks, by id.
    pub fn disks(&self) -> &[TopologyDisk] {
        &self.disks
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> &[TopologyNode] {
        &self.nodes
    }

    /// The disk of an id.
    pub fn disk(&self, id: DiskId) -> Option<&TopologyDisk> {
        self.disks.binary_search_by_key(&id, |d| d.id).ok().and_then(|i| self.disks.get(i))
    }

    /// The node that owns a disk.
    pub fn node_of(&self, disk: DiskId) -> Option<NodeId> {
        self.disk(disk).map(|d| d.node)
    }

    /// The site of a node.
    pub fn site_of(&self, node: NodeId) -> Option<&SiteName> {
        self.nodes.binary_search_by_key(&node, |n| n.id).ok().and_then(|i| self.nodes.get(i)).map(|n| &n.site)
    }
}
