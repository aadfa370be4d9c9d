//! A replica falls behind and is sent a snapshot, while the n-th call fails: to the files or the database of the leader,
//! which builds and sends it, or of the replica that receives and installs it.
//!
//! Owns: the course, what must hold after it. Not: the group ([`super::group`]).
//! Holds: every n of the calls to files; of those to databases, of which a leader makes hundreds meanwhile, every n or
//! one in so many as [`AIMS`] says.

use std::time::Duration;

use kluis_raft::{client::Metadata, command::Command, outcome::Outcome, view};
use tokio::time::sleep;

use super::{
    Covered,
    group::{Group, LOOK_EVERY, REPLICAS, ids, sign_in},
};
use crate::sim::rng::Rng;

/// Log entries from one snapshot to the next.
const SNAPSHOT_EVERY: u64 = 15;
/// Commands that a replica misses: its part of the log is gone then.
const MISSED: u64 = 40;
/// Looks at whether the snapshot has arrived.
const LOOKS: usize = 400;
/// In which a failure has its consequences.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// The least quota that is set: room for nothing, but never below what is used.
const QUOTA_BYTES: u64 = 1 << 20;

/// Whose calls fail, and how n goes on.
struct Aim {
    name: &'static str,
    leader: bool,
    files: bool,
    step: usize,
}

const AIMS: [Aim; 4] = [
    Aim { name: "files of the receiver", leader: false, files: true, step: 1 },
    Aim { name: "files of the leader", leader: true, files: true, step: 1 },
    Aim { name: "database of the receiver", leader: false, files: false, step: 1 },
    Aim { name: "database of the leader", leader: true, files: false, step: 17 },
];

/// What was said of one value that is set again and again.
#[derive(Debug, Clone, Copy)]
struct Told {
    acknowledged: u64,
    tried: u64,
}

pub(super) async fn run(rng: &mut Rng) -> Covered {
    let mut covered = Covered::default();
    let mut group = Group::found(rng, SNAPSHOT_EVERY).await;
    group.node(1).propose(sign_in(0)).await.expect("somebody signs in");
    let mut told = Told { acknowledged: QUOTA_BYTES, tried: QUOTA_BYTES };
    // People who signed in, one a turn.
    let mut people: Vec<u64> = vec![0];
    let mut turn = 0;
    for aim in AIMS {
        for n in (1..).step_by(aim.step) {
            turn += 1;
            let Some(leader) = group.leader().await else {
                covered.violated(aim.name, n, "nobody leads");
                return covered;
            };
            let behind = leader % REPLICAS + 1;
            let victim = if aim.leader { leader } else { behind };
            let target = if aim.files { group.files(victim) } else { group.databases(victim) };

            group.cut(behind, true);
            let early = aim.leader.then(|| target.fail_nth(n));
            if matches!(group.node(leader).propose(sign_in(turn)).await, Ok(Outcome::SignedIn { .. })) {
                people.push(turn);
            }
            let whole = set_again(&group, leader, &mut told).await;
            let goal = group.applied(leader);
            let armed = early.unwrap_or_else(|| target.fail_nth(n));
            group.cut(behind, false);
            let mut arrived = false;
            for _ in 0..LOOKS {
                arrived = group.applied(behind) >= goal;
                if arrived || armed.has_struck() {
                    break;
                }
                sleep(LOOK_EVERY).await;
            }
            sleep(AFTERWARDS).await;
            let struck = armed.heal();
            covered.acknowledged += u64::from(whole);
            if !(struck || whole && arrived) {
                covered.violated(aim.name, n, "the replica did not catch up although no call failed");
            }

            group.power_cut(victim).await;
            if let Err(why) = group.start(victim).await {
                covered.violated(aim.name, n, format!("the replica does not start again: {why}"));
                return covered;
            }
            if !group.agree().await {
                covered.violated(aim.name, n, "the replicas never agree");
                return covered;
            }
            judge(&group, told, &people, aim.name, n, &mut covered);
            if !covered.ran(aim.name, n, struck) {
                break;
            }
        }
    }
    let states = group.probe.states();
    if !states.contains_key("snapshot.built") || !states.contains_key("snapshot.installed") {
        covered.violated("the end", 0, format!("no snapshot was built and installed: {states:?}"));
    }
    covered
}

/// Sets a value again and again; stops at the first time that is not acknowledged. Whether all were.
async fn set_again(group: &Group, leader: u64, told: &mut Told) -> bool {
    let (_, vault) = ids(0);
    let node = group.node(leader);
    for _ in 0..MISSED {
        told.tried += 1;
        let set = Command::SetVaultLimits { vault, quota_bytes: Some(told.tried), strict: None };
        if !matches!(node.propose(set).await, Ok(Outcome::Vault(_) | Outcome::Done)) {
            return false;
        }
        told.acknowledged = told.tried;
    }
    true
}

fn quota(group: &Group, id: u64) -> Option<u64> {
    let (_, vault) = ids(0);
    Some(view::vault(&*group.node(id).view(), vault).ok()??.quota_bytes)
}

/// Every replica has what was acknowledged, and no file but that of its present snapshot.
fn judge(group: &Group, told: Told, people: &[u64], aim: &str, n: u64, covered: &mut Covered) {
    for id in 1..=REPLICAS {
        match quota(group, id) {
            Some(found) if (told.acknowledged..=told.tried).contains(&found) => {}
            other => covered.violated(aim, n, format!("replica {id} has {other:?}, told was {told:?}")),
        }
        let view = group.node(id).view();
        for person in people {
            if !matches!(view::account(&*view, ids(*person).0), Ok(Some(_))) {
                covered.violated(aim, n, format!("replica {id} lost person {person}"));
            }
        }
        let files = group.snapshot_files(id);
        if files.len() > 1 {
            covered.violated(aim, n, format!("replica {id} keeps {files:?}"));
        }
    }
}
