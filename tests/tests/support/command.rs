//! The built binary as a command, and nodes of it that end with the test.
//!
//! Owns: a clean environment, addresses that are free, waiting for a line in a log.
//! Holds: only processes that were started here are ended.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

/// Longest wait for anything: a guard against a hang.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The binary with nothing of ours in its environment.
pub fn kluis() -> Command {
    let mut command = Command::new(kluis_tests::program::program());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("KLUIS_")) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end.
pub fn run<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    kluis().args(args).stdin(Stdio::null()).output().unwrap()
}

/// What a command said on standard error.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Fails unless a command ended with `code` and said all of `texts`.
#[track_caller]
pub fn assert_ended(output: &Output, code: i32, texts: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for text in texts {
        assert!(said.contains(text), "{text:?} is missing in: {said}");
    }
}

/// An address on loopback that is free for TCP and UDP at this moment.
pub fn free_address() -> SocketAddr {
    for _ in 0..100 {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port on loopback");
}

/// A running node that is ended with the value.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts the node of a configuration; what it says goes to `log`.
    pub fn start(config: &Path, log: &Path) -> Self {
        let file = fs::File::create(log).unwrap();
        let mut command = kluis();
        command.args(["node", "run", "--config"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Self { child: command.spawn().unwrap(), log: log.to_owned() }
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until its log has a line for which `wanted` holds, and returns that line.
    pub fn wait_for_line(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|line| wanted(line)) {
                return line.to_owned();
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "waiting for {what}: {ended:?}\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it ends by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the node does not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.ended()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
