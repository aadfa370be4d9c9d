//! What the leader does by itself: membership and ticks.
//!
//! Owns: when. Not: what ([`super::membership`], [`crate::apply`]).
//! Holds: only a leader acts; a step that fails is planned afresh at the next look, from what is then true.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use kluis_chunkstore::ids::NodeId;
use openraft::{ChangeMembers, RaftMetrics};
use tokio::time::{Instant, timeout};

use super::{
    Core,
    membership::{MembershipStep, MembershipView, plan_membership},
    wire::Answer,
};
use crate::{
    codec::{load, load_range},
    command::{Command, Request},
    keys::{self, Table},
    model::{ClusterRecord, NodeRecord},
    store::{Read, StoreError},
};

/// A learner this close to the end of the log has caught up.
const CAUGHT_UP_ENTRIES: u64 = 256;
/// Members that a cluster may have.
const MEMBERS_MAX: usize = 1000;
const STEP_DEADLINE: Duration = Duration::from_secs(10);

/// Whether a tick is worth a log entry.
fn tick_due(read: &dyn Read, now_ms: u64, tick_ms: u64) -> Result<bool, StoreError> {
    let Some(cluster) = load::<ClusterRecord>(read, &keys::cluster())? else { return Ok(false) };
    if now_ms >= cluster.clock_ms.saturating_add(tick_ms) {
        return Ok(true);
    }
    let (start, end) = keys::due_until(now_ms);
    Ok(!read.scan(&start, &end, 1)?.is_empty())
}

/// Looks, acts, waits; for as long as the replica runs. The pauses are counted from the end of a look.
pub(crate) async fn drive(core: Arc<Core>) {
    let mut leaders = core.raft.server_metrics();
    let mut seen = leaders.borrow_and_update().current_leader;
    loop {
        let next = Instant::now() + Duration::from_millis(core.options.drive_ms);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => break,
                changed = leaders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = leaders.borrow_and_update().current_leader;
                    if now.is_some() && now != seen {
                        seen = now;
                        core.counters.leader_changes.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        let metrics = core.raft.metrics().borrow().clone();
        if metrics.running_state.is_err() {
            return;
        }
        if !metrics.state.is_leader() {
            continue;
        }
        if let Err(e) = core.look(&metrics).await {
            tracing::warn!(error = %e, "the leader could not look after the group; it will again");
        }
    }
}

/// The present membership as the plan sees it.
pub(crate) fn view_of(metrics: &RaftMetrics<u64, ()>) -> MembershipView {
    let membership = metrics.membership_config.membership();
    let groups = membership.get_joint_config();
    let voters: BTreeSet<NodeId> = groups.last().into_iter().flatten().map(|id| NodeId(*id)).collect();
    let learners = membership.nodes().map(|(id, ())| NodeId(*id)).filter(|id| !voters.contains(id)).collect();
    MembershipView { voters, learners, joint: groups.len() > 1 }
}

impl Core {
    async fn look(&self, metrics: &RaftMetrics<u64, ()>) -> Result<(), String> {
        let store = Arc::clone(&self.store);
        let now_ms = self.world.clock.now_ms();
        let tick_ms = self.options.tick_ms;
        let looked = self.world.run(move || {
            let nodes = load_range::<NodeRecord>(&*store, &keys::table_range(Table::Node), MEMBERS_MAX)?;
            Ok((nodes, tick_due(&*store, now_ms, tick_ms)?))
        });
        let (nodes, tick) = looked.await.map_err(|e| e.to_string())?;
        if tick {
            let request = Request { id: self.world.random_u128(), now_ms, command: Command::Tick };
            match self.propose_here(request, STEP_DEADLINE).await {
                Answer::Done(_) | Answer::NotLeader(_) => {}
                other => return Err(format!("a tick was not committed: {other:?}")),
            }
        }
        let nodes: Vec<NodeRecord> = nodes.into_iter().map(|(_, node)| node).collect();
        match plan_membership(&nodes, &view_of(metrics), &self.ready(metrics)) {
            Some(step) => self.act(step).await,
            None => Ok(()),
        }
    }

    /// Nodes that answered lately and lack only the end of the log; this node too.
    fn ready(&self, metrics: &RaftMetrics<u64, ()>) -> BTreeSet<NodeId> {
        let heard = self.heard.within(self.patience());
        let last = metrics.last_log_index.unwrap_or(0);
        let matched = metrics.replication.iter().flatten();
        let close = matched.filter(|(id, position)| {
            heard.contains(*id) && position.as_ref().is_some_and(|at| last.saturating_sub(at.index) <= CAUGHT_UP_ENTRIES)
        });
        close.map(|(id, _)| NodeId(*id)).chain([self.options.node]).collect()
    }

    async fn act(&self, step: MembershipStep) -> Result<(), String> {
        tracing::info!(?step, "membership changes");
        let done = match step {
            MembershipStep::AddLearner(id) => timeout(STEP_DEADLINE, self.raft.add_learner(id.0, (), false)).await,
            MembershipStep::SetVoters(voters) => {
                let voters: BTreeSet<u64> = voters.into_iter().map(|id| id.0).collect();
                timeout(STEP_DEADLINE, self.raft.change_membership(voters, true)).await
            }
            MembershipStep::RemoveLearner(id) => {
                let gone: ChangeMembers<u64, ()> = ChangeMembers::RemoveNodes(BTreeSet::from([id.0]));
                timeout(STEP_DEADLINE, self.raft.change_membership(gone, true)).await
            }
        };
        match done {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err("a change of membership found no majority in time".into()),
        }
    }
}
