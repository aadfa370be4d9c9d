//! The cluster as this node sees it: metadata, its own disks, and what every connected peer tells.
//!
//! Holds: an answer comes within a second or so whatever the state of the cluster: a peer that does not
//! answer is shown as not reached.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use jiff::Timestamp;
use kluis_chunkstore::{ids::NodeId, wire::PeerRequest};
use kluis_raft::{
    client::Metadata,
    model::{DiskState, NodeRecord},
    view,
};

use super::{Admin, AdminProblem};
use crate::{
    peers::Observation,
    status::{ClusterFacts, ClusterStatus, DiskCondition, DiskStatus, MetadataStatus, NodeStatus, WorkStatus},
};

const PATIENCE: Duration = Duration::from_millis(1500);

/// What a node tells, if it can be reached.
pub async fn observe_node(admin: &Admin, node: NodeId) -> Option<Observation> {
    if node == admin.card.node {
        return Some(admin.peers.observation());
    }
    let (_, body) = admin.hub.call(node, &PeerRequest::Observe, Bytes::new(), PATIENCE).await.ok()?;
    serde_json::from_slice(&body).ok()
}

/// The whole cluster at this moment.
///
/// # Errors
/// The metadata store of this node fails, or the cluster has not begun.
pub async fn cluster_status(admin: &Admin) -> Result<ClusterStatus, AdminProblem> {
    let read = admin.consensus.view();
    let cluster = view::cluster(&*read)?
        .ok_or_else(|| AdminProblem::new(http::StatusCode::SERVICE_UNAVAILABLE, "not_ready", "this node has no metadata yet"))?;
    let topology = view::topology(&*read)?;
    let members = view::nodes(&*read)?;
    let known_disks = view::disks(&*read)?;
    let connected = admin.hub.connected();
    let observations = join_all(members.iter().map(|m| observe_node(admin, m.id))).await;

    let mut nodes = Vec::new();
    let mut work: Vec<WorkStatus> = Vec::new();
    for (member, observation) in members.iter().zip(observations) {
        let mut disks = Vec::new();
        for record in known_disks.iter().filter(|d| d.node == member.id && d.state != DiskState::Removed) {
            let unknown =
                DiskStatus { id: record.id, path: None, state: DiskCondition::Unknown, used_bytes: 0, capacity_bytes: 0, shards: 0 };
            let seen = observation.as_ref().map(|o| o.disks.iter().find(|d| d.id == record.id).cloned());
            let mut disk = match seen {
                None => unknown,
                Some(None) => DiskStatus { state: DiskCondition::Missing, ..unknown },
                Some(Some(disk)) => disk,
            };
            if record.state == DiskState::Candidate && disk.state == DiskCondition::Ok {
                disk.state = DiskCondition::Candidate;
            }
            disks.push(disk);
        }
        let rtt_ms = connected.get(&member.id).and_then(|p| u32::try_from(p.rtt.as_millis()).ok());
        merge_work(&mut work, observation.as_ref().map(|o| o.work.as_slice()).unwrap_or_default());
        nodes.push(node_status(member, observation.as_ref(), rtt_ms, disks));
    }

    let consensus = admin.consensus.status().await;
    let up = |id: &NodeId| nodes.iter().any(|n| n.id == *id && n.up);
    let leader = consensus.leader.filter(|_| consensus.quorum_ok);
    let metadata = MetadataStatus {
        leader,
        leader_site: leader.and_then(|l| members.iter().find(|m| m.id == l)).map(|m| m.site.clone()),
        term: consensus.term,
        voters: consensus.voters.len(),
        voters_up: consensus.voters.iter().filter(|v| up(v)).count(),
        learners: consensus.learners.len(),
        applied: consensus.applied,
        lag: consensus.committed.saturating_sub(consensus.applied),
        snapshot_index: consensus.snapshot.unwrap_or(0),
    };
    let now = i64::try_from(admin.env.clock.now_ms()).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let facts = ClusterFacts {
        name: cluster.name,
        id: cluster.id,
        version: env!("CARGO_PKG_VERSION").into(),
        time: now.unwrap_or(Timestamp::UNIX_EPOCH),
        code: cluster.code,
        topology_version: topology.map_or(0, |t| t.version()),
    };
    Ok(ClusterStatus::assemble(facts, metadata, nodes, work))
}

fn node_status(member: &NodeRecord, observation: Option<&Observation>, rtt_ms: Option<u32>, disks: Vec<DiskStatus>) -> NodeStatus {
    NodeStatus {
        id: member.id,
        site: member.site.clone(),
        up: observation.is_some(),
        roles: member.roles.clone(),
        version: observation.map(|o| o.version.clone()),
        quic: member.quic,
        rtt_ms,
        disks,
    }
}

/// Work of one kind on several nodes is shown as one.
fn merge_work(all: &mut Vec<WorkStatus>, more: &[WorkStatus]) {
    for work in more {
        match all.iter_mut().find(|w| w.kind == work.kind) {
            None => all.push(work.clone()),
            Some(sum) => {
                sum.done = sum.done.saturating_add(work.done);
                sum.total = sum.total.saturating_add(work.total);
                sum.rate_bytes_per_second = sum.rate_bytes_per_second.saturating_add(work.rate_bytes_per_second);
                sum.budget_bytes_per_second = sum.budget_bytes_per_second.saturating_add(work.budget_bytes_per_second);
                sum.eta_s = None;
                sum.held = sum.held.take().or_else(|| work.held.clone());
            }
        }
    }
}
