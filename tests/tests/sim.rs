//! The whole cluster in one process from one seed, a hundred seeds (see `kluis_tests::sim` and `kluis-sim`).
//!
//! Owns: which seeds every change must pass. Not: the simulation.
//! Holds: (1) a failing seed is printed with the command that repeats it; (2) a set of seeds that never reached a
//! state that it must reach has failed, whatever else it found.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Command, Output};

use kluis_tests::sim::run::Report;

fn sim(arguments: &[&str]) -> Output {
    // Nothing in it waits for real time, so it may wait for the tests of real clusters, in which much does.
    let mut command = Command::new("nice");
    command.args(["-n", "15", env!("CARGO_BIN_EXE_kluis-sim")]).args(arguments);
    command.output().expect("the program starts")
}

#[test]
fn a_hundred_seeds_keep_their_promises() {
    // One at a time: beside it the tests of real clusters wait for elections more than they compute.
    let output = sim(&["--seeds", "100", "--jobs", "1"]);
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "a seed broke a promise, or no seed came to a state: see above");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let report = |seed: &str| -> Report { serde_json::from_slice(&sim(&["--json", "--seed", seed]).stdout).expect("a report") };
    let (first, second, other) = (report("4711"), report("4711"), report("4712"));
    assert_eq!(first, second);
    assert_ne!(first.trace, other.trace);
    assert!(first.datagrams.0 > 10_000 && first.faults > 0, "nothing happened: {first}");
}
