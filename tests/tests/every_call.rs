//! Every call to files and databases fails in its turn, in an upload, a commit, a repair and a snapshot (see
//! `kluis_tests::sim::every_call`).
//!
//! Owns: which loops every change must pass. Not: the loops.
//! Holds: after each failure, a power cut and a restart, nothing acknowledged is lost and nothing is left over; a loop that
//! fails is printed with the command that repeats it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

fn every_call(name: &str) {
    // Nothing in it waits for real time, so it may wait for the tests of real clusters, in which much does.
    let mut command = Command::new("nice");
    command.args(["-n", "15", env!("CARGO_BIN_EXE_kluis-sim"), "--every-call", name]);
    let output = command.output().expect("the program starts");
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "a promise was broken, see above; again: kluis-sim --every-call {name} --log info");
}

#[test]
fn an_upload() {
    every_call("upload");
}

#[test]
fn a_commit() {
    every_call("commit");
}

#[test]
fn a_repair() {
    every_call("reconcile");
}

#[test]
fn a_snapshot() {
    every_call("snapshot");
}
