//! The cluster on one screen, as data: what `GET /ops/status` answers and `kluis status` shows.
//!
//! Reading order: the struct, [`ClusterStatus::assemble`] (what follows from what was observed),
//! [`findings`] (what a person should know, worst first), [`margin`] (which further failures the data
//! survives).
//!
//! Owns: the form of a status, findings and their codes. Not: observing (`admin`), showing (`cli::status`).
//! Holds: (1) pure: what is shown follows from the fields alone; (2) field names and codes are an
//! interface of programs: they are added to, not changed.

pub mod margin;

use std::{collections::BTreeSet, net::SocketAddr};

use jiff::Timestamp;
use kluis_chunkstore::{
    code::Code,
    ids::{ClusterId, DiskId, NodeId, SiteName},
};
use kluis_raft::model::cluster::NodeRole;
use serde::{Deserialize, Serialize};

pub use margin::Margin;

/// Part of a disk in use from which it is nearly full.
const NEAR_FULL_PERCENT: u128 = 85;
/// Part of a disk in use from which it counts as full.
const FULL_PERCENT: u128 = 95;

/// The whole cluster at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The cluster itself.
    pub cluster: ClusterFacts,
    /// What a person should know, worst first.
    pub findings: Vec<Finding>,
    /// Which further failures the data survives.
    pub margin: Margin,
    /// The metadata group.
    pub metadata: MetadataStatus,
    /// The sites, by name.
    pub sites: Vec<SiteStatus>,
    /// The nodes, by id.
    pub nodes: Vec<NodeStatus>,
    /// Background work under way.
    pub work: Vec<WorkStatus>,
}

/// The cluster itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: ClusterId,
    /// Version of the program that answers.
    pub version: String,
    /// The moment of the status.
    pub time: Timestamp,
    /// Code of documents above the small class.
    pub code: Code,
    /// Version of the topology in force; 0 before there is one.
    pub topology_version: u64,
}

/// How bad a finding is. Ordered: the worse, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing to do.
    Info,
    /// The cluster works; something is less safe than it should be.
    Warning,
    /// Something does not work, or the next failure may cost it.
    Critical,
}

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable code.
    pub code: String,
    /// What it is about, and since when if that is known.
    pub text: String,
    /// How bad it is.
    pub severity: Severity,
}

/// The metadata group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataStatus {
    /// The leader, if the answering node knows one.
    pub leader: Option<NodeId>,
    /// The leader's site.
    pub leader_site: Option<SiteName>,
    /// Term.
    pub term: u64,
    /// Voters.
    pub voters: usize,
    /// Voters that are reached.
    pub voters_up: usize,
    /// Learners.
    pub learners: usize,
    /// Index of the last applied entry on the answering node.
    pub applied: u64,
    /// Entries committed but not yet applied there.
    pub lag: u64,
    /// Index of the last entry in its newest snapshot; 0 before there is one.
    pub snapshot_index: u64,
}

/// A site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteStatus {
    /// Its name.
    pub name: SiteName,
    /// Nodes that are reached.
    pub nodes_up: usize,
    /// Nodes.
    pub nodes: usize,
    /// Disks that work.
    pub disks_up: usize,
    /// Disks.
    pub disks: usize,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes there are.
    pub capacity_bytes: u64,
    /// Least round trip from the answering node, in milliseconds; `None` when it was not measured.
    pub rtt_ms: Option<u32>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its id.
    pub id: NodeId,
    /// Its site.
    pub site: SiteName,
    /// Whether it is reached.
    pub up: bool,
    /// What it does.
    pub roles: Vec<NodeRole>,
    /// Version of its program, when it is reached.
    pub version: Option<String>,
    /// Where it speaks QUIC.
    pub quic: SocketAddr,
    /// Round trip from the answering node, in milliseconds.
    pub rtt_ms: Option<u32>,
    /// Its disks.
    pub disks: Vec<DiskStatus>,
}

/// What a disk is seen to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskCondition {
    /// Works, in the topology.
    Ok,
    /// Works, not yet in the topology.
    Candidate,
    /// Takes no more shards for want of space.
    Full,
    /// Cannot be written.
    ReadOnly,
    /// Failed: out of use until an operator says otherwise.
    Failed,
    /// Its node does not find it, or finds another disk in its place.
    Missing,
    /// Its node is not reached.
    Unknown,
}

impl DiskCondition {
    /// Whether shards on it can be read.
    pub fn readable(self) -> bool {
        matches!(self, Self::Ok | Self::Full | Self::ReadOnly)
    }

    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Candidate => "candidate",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Failed => "failed",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// Its id.
    pub id: DiskId,
    /// Its directory, when its node is reached.
    pub path: Option<String>,
    /// What it is seen to be.
    pub state: DiskCondition,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes there are.
    pub capacity_bytes: u64,
    /// Shards on it.
    pub shards: u64,
}

/// Background work under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkStatus {
    /// What it does: `repair`, `rebalance`, `collect`, `scrub`, ...
    pub kind: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all, as far as they are known; may grow.
    pub total: u64,
    /// Bytes a second over the last half minute; 0 when it stands.
    pub rate_bytes_per_second: u64,
    /// Bytes a second that it may take.
    pub budget_bytes_per_second: u64,
    /// Seconds left at that rate; `None` when that is unknown.
    pub eta_s: Option<u64>,
    /// What it waits for, when it stands.
    pub held: Option<String>,
}

impl ClusterStatus {
    /// A status from what was observed: sites, margin and findings follow.
    pub fn assemble(cluster: ClusterFacts, metadata: MetadataStatus, mut nodes: Vec<NodeStatus>, work: Vec<WorkStatus>) -> Self {
        nodes.sort_by_key(|n| n.id);
        let sites = sites_of(&nodes);
        let mut margin = margin::margin(cluster.code, &nodes);
        // Nodes and disks may all be there while shards are still being made on them.
        if work.iter().any(|w| w.kind == "repair" && w.done < w.total) && !margin.lost {
            margin.survives = format!("{} (once the shards that are missing now are made)", margin.survives);
        }
        let mut status = Self { cluster, findings: Vec::new(), margin, metadata, sites, nodes, work };
        status.findings = findings(&status);
        status
    }

    /// The worst finding's severity.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|f| f.severity).max()
    }

    /// Whether a person should look: what `--exit-status` reports.
    pub fn healthy(&self) -> bool {
        self.worst().is_none_or(|worst| worst == Severity::Info)
    }
}

fn sites_of(nodes: &[NodeStatus]) -> Vec<SiteStatus> {
    let names: BTreeSet<&SiteName> = nodes.iter().map(|n| &n.site).collect();
    let site = |name: &SiteName| {
        let nodes: Vec<&NodeStatus> = nodes.iter().filter(|n| n.site == *name).collect();
        let disks: Vec<&DiskStatus> = nodes.iter().flat_map(|n| &n.disks).collect();
        SiteStatus {
            name: name.clone(),
            nodes_up: nodes.iter().filter(|n| n.up).count(),
            nodes: nodes.len(),
            disks_up: disks.iter().filter(|d| d.state.readable()).count(),
            disks: disks.len(),
            used_bytes: disks.iter().fold(0, |sum, d| sum.saturating_add(d.used_bytes)),
            capacity_bytes: disks.iter().fold(0, |sum, d| sum.saturating_add(d.capacity_bytes)),
            rtt_ms: nodes.iter().filter_map(|n| n.rtt_ms).min(),
        }
    };
    names.into_iter().map(site).collect()
}

/// What a person should know, worst first, then by code.
pub fn findings(status: &ClusterStatus) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |code: &str, severity, text: String| found.push(Finding { code: code.to_owned(), text, severity });
    let metadata = &status.metadata;
    let majority = metadata.voters / 2 + 1;
    if metadata.leader.is_none() || metadata.voters_up < majority {
        let text = format!(
            "{} of {} voters are reached, {majority} are needed: documents cannot be read or written",
            metadata.voters_up, metadata.voters
        );
        add("METADATA_NO_LEADER", Severity::Critical, text);
    } else if metadata.voters_up == majority && metadata.voters > 1 {
        let text = format!("{} of {} voters are reached: one more loss stops the service", metadata.voters_up, metadata.voters);
        add("QUORUM_AT_RISK", Severity::Critical, text);
    }
    if status.cluster.topology_version == 0 {
        add("TOPOLOGY_MISSING", Severity::Critical, "no disk is in use yet: run kluis cluster apply-topology".to_owned());
    } else if status.margin.lost {
        add(
            "DATA_UNREADABLE",
            Severity::Critical,
            "more shards are out of reach than the code allows: some documents cannot be read".to_owned(),
        );
    } else if status.margin.sites_may_fail == 0 {
        let severity = if status.margin.more_disks == 0 { Severity::Critical } else { Severity::Warning };
        let code = if status.margin.more_disks == 0 { "MARGIN_ZERO" } else { "MARGIN_REDUCED" };
        add(code, severity, format!("survives now: {}", status.margin.survives));
    }
    for site in &status.sites {
        if site.nodes_up == 0 {
            add("SITE_DOWN", Severity::Critical, format!("{}  none of its {} nodes is reached", site.name, site.nodes));
            continue;
        }
        for node in status.nodes.iter().filter(|n| n.site == site.name && !n.up) {
            add("NODE_DOWN", Severity::Warning, format!("{}/{}  is not reached", node.site, node.id));
        }
    }
    for node in status.nodes.iter().filter(|n| n.up) {
        for disk in &node.disks {
            let place = disk.path.clone().unwrap_or_else(|| disk.id.to_string());
            let at = format!("{}/{}  {place}", node.site, node.id);
            match disk.state {
                DiskCondition::Failed => add(
                    "DISK_FAILED",
                    Severity::Warning,
                    format!("{at}  failed; take it out, then its shards are made anew elsewhere: kluis cluster apply-topology"),
                ),
                DiskCondition::Missing => add("DISK_MISSING", Severity::Warning, format!("{at}  is not there, or is another disk")),
                DiskCondition::ReadOnly => add("DISK_READ_ONLY", Severity::Warning, format!("{at}  cannot be written")),
                DiskCondition::Full => add("DISK_FULL", Severity::Warning, format!("{at}  takes no more shards")),
                DiskCondition::Candidate => {
                    add("DISK_UNUSED", Severity::Info, format!("{at}  is not in the topology: run kluis cluster apply-topology"))
                }
                DiskCondition::Unknown | DiskCondition::Ok => {
                    let used = u128::from(disk.used_bytes) * 100;
                    let of = |percent: u128| disk.capacity_bytes > 0 && used >= u128::from(disk.capacity_bytes) * percent;
                    if of(FULL_PERCENT) {
                        add("DISK_FULL", Severity::Warning, format!("{at}  is more than {FULL_PERCENT} % full"));
                    } else if of(NEAR_FULL_PERCENT) {
                        add("DISK_NEAR_FULL", Severity::Warning, format!("{at}  is more than {NEAR_FULL_PERCENT} % full"));
                    }
                }
            }
        }
    }
    let versions: BTreeSet<&str> = status.nodes.iter().filter_map(|n| n.version.as_deref()).collect();
    if versions.len() > 1 {
        let versions: Vec<&str> = versions.into_iter().collect();
        add("VERSION_MIXED", Severity::Info, format!("nodes run {}", versions.join(" and ")));
    }
    for work in status.work.iter().filter(|w| w.kind == "repair" && w.done < w.total) {
        let what = if work.held.is_some() { "held" } else { "repairing" };
        add("SHARDS_MISSING", Severity::Warning, format!("{} bytes of shards to rebuild  {what}", work.total - work.done));
    }
    found.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.code.cmp(&b.code)));
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A healthy cluster of three sites with `nodes` nodes of `disks` disks each.
    pub(crate) fn healthy(nodes: u64, disks: u64) -> ClusterStatus {
        let facts = ClusterFacts {
            name: "demo".into(),
            id: ClusterId(0x7f3a_12bc << 96),
            version: "0.1.0".into(),
            time: "2026-08-24T10:14:03Z".parse().unwrap(),
            code: Code::STANDARD,
            topology_version: 1,
        };
        let metadata = MetadataStatus {
            leader: Some(NodeId(1)),
            leader_site: Some("dc1".parse().unwrap()),
            term: 3,
            voters: 9,
            voters_up: 9,
            learners: 0,
            applied: 8_120_441,
            lag: 3,
            snapshot_index: 8_000_000,
        };
        ClusterStatus::assemble(facts, metadata, fleet(nodes, disks), Vec::new())
    }

    /// Three sites with `nodes` nodes of `disks` disks each, all up.
    pub(crate) fn fleet(nodes: u64, disks: u64) -> Vec<NodeStatus> {
        (0..3 * nodes)
            .map(|i| NodeStatus {
                id: NodeId(i + 1),
                site: format!("dc{}", i / nodes + 1).parse().unwrap(),
                up: true,
                roles: vec![NodeRole::Metadata, NodeRole::Chunk],
                version: Some("0.1.0".into()),
                quic: SocketAddr::from(([127, 0, 0, 1], 7000)),
                rtt_ms: Some(1),
                disks: (0..disks)
                    .map(|d| DiskStatus {
                        id: DiskId(u128::from(i * 100 + d + 1)),
                        path: Some(format!("/srv/n{}-d{}", i + 1, d + 1)),
                        state: DiskCondition::Ok,
                        used_bytes: 61 << 30,
                        capacity_bytes: 100 << 30,
                        shards: 1000,
                    })
                    .collect(),
            })
            .collect()
    }

    /// Takes nodes down, as the status would show them.
    pub(crate) fn down(nodes: &mut [NodeStatus], which: impl Fn(&NodeStatus) -> bool) {
        for node in nodes.iter_mut().filter(|n| which(n)) {
            node.up = false;
            node.version = None;
            for disk in &mut node.disks {
                disk.state = DiskCondition::Unknown;
            }
        }
    }

    fn again(status: ClusterStatus) -> ClusterStatus {
        ClusterStatus::assemble(status.cluster, status.metadata, status.nodes, status.work)
    }

    fn codes(status: &ClusterStatus) -> Vec<&str> {
        status.findings.iter().map(|f| f.code.as_str()).collect()
    }

    #[test]
    fn a_healthy_cluster_has_no_findings_and_a_full_margin() {
        let status = healthy(3, 2);
        assert_eq!(status.findings, []);
        assert!(status.healthy());
        assert_eq!((status.sites.len(), status.sites[0].disks), (3, 6));
    }

    #[test]
    fn a_lost_site_is_one_finding_and_not_three() {
        let mut status = healthy(3, 2);
        down(&mut status.nodes, |n| n.site.as_str() == "dc2");
        status.metadata.voters_up = 6;
        let status = again(status);
        assert_eq!(codes(&status), ["SITE_DOWN", "MARGIN_REDUCED"]);
        assert!(!status.healthy());
    }

    #[test]
    fn quorum_disks_and_versions_are_noticed_worst_first() {
        let mut status = healthy(3, 2);
        status.metadata.voters_up = 5;
        status.nodes[0].disks[0].state = DiskCondition::Failed;
        status.nodes[1].disks[0].used_bytes = 90 << 30;
        status.nodes[2].disks[0].used_bytes = 99 << 30;
        status.nodes[3].version = Some("0.2.0".into());
        let status = again(status);
        assert_eq!(codes(&status), ["QUORUM_AT_RISK", "DISK_FAILED", "DISK_FULL", "DISK_NEAR_FULL", "VERSION_MIXED"]);
        let mut gone = healthy(3, 2);
        gone.metadata.voters_up = 4;
        assert_eq!(codes(&again(gone)), ["METADATA_NO_LEADER"]);
    }

    #[test]
    fn json_has_the_promised_members() {
        let json = serde_json::to_value(healthy(3, 2)).unwrap();
        assert_eq!(json["sites"][0]["disks_up"], 6);
        assert_eq!(json["nodes"][8]["disks"][1]["state"], "ok");
        assert_eq!(json["cluster"]["time"], "2026-08-24T10:14:03Z");
        let back: ClusterStatus = serde_json::from_value(json).unwrap();
        assert_eq!(back, healthy(3, 2));
    }
}
