//! Network namespaces: a machine's network of its own, without a machine.
//!
//! Owns: making and removing them, running threads and programs inside. Not: what connects them
//! ([`crate::switch`]).
//! Holds: (1) names cannot clash with another test's: they carry the process id and a counter; (2) a namespace and
//! what still runs in it end with the value, also when the test fails; (3) what a test that was killed left behind is
//! removed by the next one.

use std::{
    fs::File,
    os::fd::AsFd as _,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::{
    process::Signal,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use kluis_node::demo::process::Process;

use crate::tools;

/// What all names begin with.
const PREFIX: &str = "kluis-";

/// A namespace with a loopback of its own, and nothing else yet.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    number: u32,
}

impl Namespace {
    /// A new one.
    ///
    /// # Panics
    /// When this process may not make one, or `ip` is missing.
    #[allow(clippy::new_without_default, reason = "a namespace is no plain value")]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        tools::need_root();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            remove_leftovers();
        }
        let made = Self { name: format!("{PREFIX}{}-{number}", std::process::id()), number };
        tools::must("ip", &["netns", "add", &made.name]);
        tools::must("ip", &["-n", &made.name, "link", "set", "lo", "up"]);
        made
    }

    /// Its name, as `ip` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of its network card: short enough for the kernel, and unique on the machine, for a card is made outside
    /// and moved in.
    pub fn card(&self) -> String {
        format!("k{}n{}", std::process::id(), self.number)
    }

    /// Runs work on a thread of the namespace; threads that it starts are there, too.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            self.enter();
            work()
        };
        let result = thread::scope(|scope| scope.spawn(inside).join());
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// A command that runs a program inside. (`ip netns exec`, for it also gives the program the namespace's `/sys`;
    /// it becomes the program, so the process id is the program's.)
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Moves this thread inside.
    fn enter(&self) {
        let path = format!("/run/netns/{}", self.name);
        let file = File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let moved = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
        moved.unwrap_or_else(|e| panic!("{}: this thread cannot enter: {e}", self.name));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Ends what runs inside and removes the name: the namespace goes with the last of both.
fn remove(name: &str) {
    let pids = Command::new("ip").args(["netns", "pids", name]).output().map(|output| output.stdout).unwrap_or_default();
    for pid in String::from_utf8_lossy(&pids).split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()) {
        // Threads of ours that are inside do not count as processes there: the list is of main threads.
        if pid != std::process::id()
            && let Some(process) = Process::of(pid)
        {
            process.signal(Signal::KILL);
        }
    }
    tools::attempt("ip", &["netns", "delete", name]);
}

/// The process that made a namespace, if it is one of ours.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

fn remove_leftovers() {
    for line in tools::must("ip", &["netns", "list"]).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if maker(name).is_some_and(|pid| !tools::is_alive(pid)) {
            remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_name_tells_its_maker_and_no_stranger_is_taken_for_ours() {
        assert_eq!(maker("kluis-4711-3"), Some(4711));
        for other in ["kluis", "kluis-", "kluis-x-1", "blue-4711-3", ""] {
            assert_eq!(maker(other), None, "{other}");
        }
    }

    #[test]
    fn what_runs_inside_sees_another_loopback_and_ends_with_it() {
        let outside = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = outside.local_addr().unwrap();
        let namespace = Namespace::new();
        namespace.run(|| {
            // The same port is free inside, for a thread's threads, too.
            thread::spawn(move || TcpListener::bind(address).unwrap()).join().unwrap();
        });
        assert!(TcpListener::bind(address).is_err(), "this thread stayed outside");

        let mut child = namespace.command("sleep").arg("600").spawn().unwrap();
        let name = namespace.name().to_owned();
        assert!(tools::must("ip", &["netns", "list"]).contains(&name));
        // The program has to be inside before it can be found there.
        while !tools::must("ip", &["netns", "pids", &name]).split_whitespace().any(|pid| pid == child.id().to_string()) {
            thread::yield_now();
        }
        drop(namespace);
        assert!(!child.wait().unwrap().success());
        assert!(!tools::must("ip", &["netns", "list"]).contains(&name));
    }
}
