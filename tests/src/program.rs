//! The program under test, run as a command.
//!
//! Owns: where it is, what of the environment it sees, a limit for commands that hang. Not: what a command
//! is expected to say.
//! Holds: (1) nothing that a person set for the program reaches it; (2) what a command left running in the
//! background does not hold its output open.

use std::{
    fs::File,
    io::{Read as _, Seek as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Once,
    time::{Duration, Instant},
};

/// What nodes log. Passes of reconcile are what [`crate::Cluster::wait_settled`] counts.
const LOG: &str = "info,kluis_node::reconcile=debug";

/// The program under test: beside the directory of the test's own executable.
pub fn program() -> PathBuf {
    find().unwrap_or_else(|path| panic!("{} is missing: run `cargo build --bin kluis` first (make test does)", path.display()))
}

pub(crate) fn find() -> Result<PathBuf, PathBuf> {
    let own = std::env::current_exe().expect("a process knows its executable");
    let path = own.parent().and_then(Path::parent).map(|dir| dir.join("kluis")).unwrap_or_default();
    if path.is_file() { Ok(path) } else { Err(path) }
}

/// Takes away every variable that the program reads, and sets what nodes log.
pub(crate) fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("KLUIS_")) {
            command.env_remove(name);
        }
    }
    command.env("KLUIS_LOG", LOG)
}

/// Runs the program without a cluster.
///
/// # Panics
/// When the program is missing or does not end within `limit`.
pub fn run(args: &[&str], env: &[(&str, &str)], limit: Duration) -> Output {
    static SAID: Once = Once::new();
    let program = program();
    SAID.call_once(|| eprintln!("program under test: {}", program.display()));
    // Files, not pipes: a pipe would be held open by whatever the command left running.
    let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let mut command = Command::new(program);
    clean(&mut command).args(args).envs(env.iter().copied()).stdin(Stdio::null());
    let mut child = command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap()).spawn().expect("the program can be run");
    let until = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= until {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("`kluis {}` does not end: {}", args.join(" "), String::from_utf8_lossy(&whole(&mut err)));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    Output { status, stdout: whole(&mut out), stderr: whole(&mut err) }
}

fn whole(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// What a command said, for a message.
pub fn said(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_variables_reach_the_program() {
        let mut command = Command::new("x");
        let seen: Vec<String> = clean(&mut command)
            .get_envs()
            .filter(|(_, value)| value.is_some())
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .collect();
        assert_eq!(seen, ["KLUIS_LOG"]);
    }
}
