//! Plan and apply of the next topology: every announced disk comes in, every disk that its own node no longer
//! has goes out.
//!
//! Holds: (1) a disk whose node does not answer stays: silence is no proof of loss; (2) what is applied is
//! what was planned: the version is checked by the state machine.

use http::StatusCode;
use kluis_chunkstore::topology::{Topology, TopologyDisk, TopologyNode};
use kluis_raft::{
    client::Metadata,
    command::Command,
    model::{DiskRecord, DiskState},
    outcome::Outcome,
    view,
};

use super::{Admin, AdminProblem, observe::observe_node, unexpected};
use crate::{
    admin_client::{PlannedDisk, TopologyPlan},
    status::DiskCondition,
};

/// The plan, and the topology that it would apply.
///
/// # Errors
/// No majority, or the store fails.
pub async fn plan(admin: &Admin) -> Result<(TopologyPlan, Option<Topology>), AdminProblem> {
    admin.consensus.linearize().await?;
    let read = admin.consensus.view();
    let cluster = view::cluster(&*read)?
        .ok_or_else(|| AdminProblem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "the cluster has not begun"))?;
    let current = view::topology(&*read)?;
    let (members, disks) = (view::nodes(&*read)?, view::disks(&*read)?);
    let current_version = current.as_ref().map_or(0, Topology::version);
    let planned = |disk: &DiskRecord| {
        let site = members.iter().find(|m| m.id == disk.node).map(|m| m.site.clone())?;
        Some(PlannedDisk { disk: disk.id, node: disk.node, site, weight: disk.weight })
    };

    let mut gone = Vec::new();
    for member in &members {
        let Some(observation) = observe_node(admin, member.id).await else { continue };
        for disk in disks.iter().filter(|d| d.node == member.id && d.state != DiskState::Removed) {
            let seen = observation.disks.iter().find(|d| d.id == disk.id).map_or(DiskCondition::Missing, |d| d.state);
            if matches!(seen, DiskCondition::Missing | DiskCondition::Failed) {
                gone.push(disk.id);
            }
        }
    }
    let keep: Vec<&DiskRecord> = disks.iter().filter(|d| d.state != DiskState::Removed && !gone.contains(&d.id)).collect();
    let in_force = |disk: &DiskRecord| current.as_ref().is_some_and(|t| t.disk(disk.id).is_some());
    let added: Vec<PlannedDisk> = keep.iter().filter(|d| !in_force(d)).filter_map(|d| planned(d)).collect();
    let removed: Vec<PlannedDisk> = disks.iter().filter(|d| in_force(d) && gone.contains(&d.id)).filter_map(planned).collect();
    if added.is_empty() && removed.is_empty() {
        let plan = TopologyPlan { current_version, next_version: current_version, added, removed, refused: None };
        return Ok((plan, None));
    }
    let nodes = members.iter().map(|m| TopologyNode { id: m.id, site: m.site.clone() }).collect();
    let next = keep.iter().map(|d| TopologyDisk { id: d.id, node: d.node, weight: d.weight }).collect();
    let built = Topology::build(current_version + 1, cluster.code, nodes, next);
    let refused = built.as_ref().err().map(ToString::to_string);
    Ok((TopologyPlan { current_version, next_version: current_version + 1, added, removed, refused }, built.ok()))
}

/// Applies the plan of a version.
///
/// # Errors
/// The plan is stale or cannot be applied.
pub async fn apply(admin: &Admin, version: u64) -> Result<TopologyPlan, AdminProblem> {
    let (plan, topology) = plan(admin).await?;
    if plan.next_version != version {
        let why = format!("the plan for version {version} is stale: in force is {}; plan again", plan.current_version);
        return Err(AdminProblem::new(StatusCode::PRECONDITION_FAILED, "stale_plan", why));
    }
    let Some(topology) = topology else {
        return match plan.refused {
            Some(why) => Err(AdminProblem::new(StatusCode::UNPROCESSABLE_ENTITY, "topology_refused", why)),
            None => Ok(plan),
        };
    };
    let command = Command::ApplyTopology { expected_version: plan.current_version, topology };
    match admin.consensus.propose(command).await? {
        Outcome::TopologyApplied { .. } => Ok(plan),
        Outcome::Refused(refusal) => Err(refusal.into()),
        other => Err(unexpected(&other)),
    }
}
