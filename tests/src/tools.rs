//! Programs of the operating system that make faults: `ip`, `mount`, `losetup` and their likes.
//!
//! Owns: running one of them, and what is said when it is missing or refuses. Not: what they are used for
//! ([`crate::netns`], [`crate::loop_disk`]).
//! Holds: a fault that cannot be made fails the test, with what to do: a test of faults that passes without
//! them would show nothing.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Fails unless this process may make namespaces, mounts and devices.
///
/// # Panics
/// When it is not root.
pub fn need_root() {
    let is_root = rustix::process::geteuid().is_root();
    assert!(is_root, "this test makes network namespaces, loop devices and mounts: run it as root");
}

/// Runs a program to its end and returns what it printed.
///
/// # Panics
/// When it is missing or fails.
#[track_caller]
pub fn must(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("`{program}` cannot be run ({e}): deploy/setup.sh installs it"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{program} {}`: {}: {}", args.join(" "), output.status, errors.trim());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program that tidies up; whether it succeeded. For use while a test ends, also when it failed.
pub fn attempt(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A path as an argument.
///
/// # Panics
/// When it is not UTF-8.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

/// Whether a process of this id exists, whoever it is by now.
pub fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "deploy/setup.sh installs it")]
    fn a_missing_program_is_a_failure_that_says_what_to_do() {
        must("kluis-no-such-program", &[]);
    }

    #[test]
    fn what_a_program_printed_comes_back_and_its_failure_does_not_pass() {
        assert_eq!(must("echo", &["a", "b"]), "a b\n");
        assert!(attempt("true", &[]) && !attempt("false", &[]) && !attempt("kluis-no-such-program", &[]));
    }
}
