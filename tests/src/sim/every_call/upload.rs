//! A document of three chunks is uploaded while the n-th call of a node fails: to the files of one that stores a shard of
//! each chunk, to those of the gateway itself, or to the gateway's database.
//!
//! Owns: the course. Not: nodes and documents ([`super::nodes`]).
//! Holds: every n of the calls to files, one n in so many as [`AIMS`] says of those to the database.

use std::time::Duration;

use super::{
    Covered,
    nodes::{Aim, Nodes},
};
use crate::sim::rng::Rng;

const AIMS: [Aim; 3] = [
    Aim { name: "files of a node with a shard", victim: 4, files: true, step: 1 },
    Aim { name: "files of the gateway", victim: 0, files: true, step: 1 },
    Aim { name: "database of the gateway", victim: 0, files: false, step: 6 },
];
/// In which the shards come to their disks that the answer did not wait for.
const AFTERWARDS: Duration = Duration::from_millis(100);

pub(super) fn run(rng: &mut Rng) -> Covered {
    let mut covered = Covered::default();
    let mut nodes = Nodes::found(rng);
    let mut number = 0;
    for aim in AIMS {
        for n in (1..).step_by(aim.step) {
            let armed = aim.target(&nodes.world).fail_nth(n);
            let id = nodes.put();
            nodes.world.run_for(AFTERWARDS);
            let struck = armed.heal();
            if id.is_none() && !struck {
                covered.violated(aim.name, n, "an upload was refused although no call failed");
            }
            if let Err(why) = nodes.restart(aim.victim) {
                covered.violated(aim.name, n, why);
                return covered;
            }
            if let Some(id) = id {
                covered.acknowledged += 1;
                if let Err(why) = nodes.reads_back(number, &id) {
                    covered.violated(aim.name, n, why);
                }
            }
            number += 1;
            if !covered.ran(aim.name, n, struck) {
                break;
            }
        }
    }
    nodes.judge(&mut covered);
    covered
}
