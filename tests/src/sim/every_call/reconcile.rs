//! A shard is lost and made anew while the n-th call fails: to the files of the node that it belongs to, to those of a node
//! that it is made from, or to the database of the first.
//!
//! Owns: the course. Not: nodes and documents ([`super::nodes`]).
//! Holds: (1) the shard is lost as far as its disk knows: a tombstone is written, and reconcile is told to look;
//! (2) every n of the calls to files, one n in so many as [`AIMS`] says of those to the database.

use std::{ops::Bound, time::Duration};

use kluis_chunkstore::ids::{DiskId, ShardKey};

use super::{
    Armed, Covered, Target,
    nodes::{Aim, Nodes, PATIENCE},
};
use crate::sim::{rng::Rng, world::World};

/// The node that loses a shard.
const HOME: usize = 4;
/// A node of the same site: what is nearest is asked first.
const SOURCE: usize = 3;
const AIMS: [Aim; 3] = [
    Aim { name: "files of the node that repairs", victim: HOME, files: true, step: 1 },
    Aim { name: "files of a node that is read from", victim: SOURCE, files: true, step: 1 },
    Aim { name: "database of the node that repairs", victim: HOME, files: false, step: 3 },
];
/// Looks at whether the shard is back; some passes of reconcile.
const LOOKS: usize = 100;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// In which a failure has its consequences.
const AFTERWARDS: Duration = Duration::from_millis(300);

pub(super) fn run(rng: &mut Rng) -> Covered {
    let mut covered = Covered::default();
    let mut nodes = Nodes::found(rng);
    let Some(id) = nodes.put() else {
        covered.violated("the beginning", 0, "an upload was refused");
        return covered;
    };
    if let Err(why) = nodes.nothing_left() {
        covered.violated("the beginning", 0, why);
        return covered;
    }
    for aim in AIMS {
        for n in (1..).step_by(aim.step) {
            let target = aim.target(&nodes.world);
            let Some((disk, key, armed)) = lose(&mut nodes.world, target, n) else {
                covered.violated(aim.name, n, "no shard could be lost");
                return covered;
            };
            let mut back = false;
            for _ in 0..LOOKS {
                back = holds(&mut nodes.world, disk, key);
                if back || armed.has_struck() {
                    break;
                }
                nodes.world.run_for(LOOK_EVERY);
            }
            nodes.world.run_for(AFTERWARDS);
            let struck = armed.heal();
            if !back && !struck {
                covered.violated(aim.name, n, "the shard was not made anew although no call failed");
            }
            if let Err(why) = nodes.restart(aim.victim) {
                covered.violated(aim.name, n, why);
                return covered;
            }
            match nodes.world.await_some(PATIENCE, |world| holds(world, disk, key).then_some(())) {
                Some(()) => covered.acknowledged += 1,
                None => covered.violated(aim.name, n, format!("shard {key} was never made anew")),
            }
            if let Err(why) = nodes.reads_back(0, &id) {
                covered.violated(aim.name, n, why);
            }
            if !covered.ran(aim.name, n, struck) {
                break;
            }
        }
    }
    nodes.judge(&mut covered);
    covered
}

/// Takes a shard from a disk of [`HOME`] and lets the `n`-th call from then on fail.
fn lose(world: &mut World, target: Target, n: u64) -> Option<(DiskId, ShardKey, Armed)> {
    let lost = world.ask(HOME, Duration::from_secs(5), move |live| async move {
        for disk in live.node.peers.disks.all() {
            let Some((key, _)) = disk.list(Bound::Unbounded, 1).first().copied() else { continue };
            if disk.delete(vec![key]).await.is_ok() {
                let armed = target.fail_nth(n);
                live.node.peers.suspect(key.chunk.blob, key.chunk.index);
                return Some((disk.label().disk, key, armed));
            }
        }
        None
    });
    lost.ok().flatten()
}

fn holds(world: &mut World, disk: DiskId, key: ShardKey) -> bool {
    world.disks(HOME).is_ok_and(|disks| disks.iter().any(|found| found.label().disk == disk && found.contains(key)))
}
