//! A process by its id and start time.
//!
//! Owns: recognising, signalling and awaiting a process that somebody else may have started. Not: which
//! processes belong to a demo ([`super::record`]).
//! Holds: a signal reaches the process that was meant or none: it is sent through a descriptor of the
//! process, and the start time is compared after that descriptor was opened.

use std::{fs, time::Duration};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// How often a process is looked at while it is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A process, for good: the pair is never given to another one while the machine is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// When it was started, in clock ticks since the machine was.
    pub start_time: u64,
}

impl Process {
    /// The process that has an id now.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (alive, start_time) = parse_stat(&stat)?;
        alive.then_some(Self { pid, start_time })
    }

    /// Whether it lives; one that ended and was not yet waited for does not.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends it a signal; whether it was there to receive it.
    pub fn signal(self, signal: Signal) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return false };
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        self.is_alive() && pidfd_send_signal(&descriptor, signal).is_ok()
    }

    /// Waits until it has ended, at most `limit`; whether it has.
    pub async fn ended_within(self, limit: Duration) -> bool {
        let ended = async {
            while self.is_alive() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(limit, ended).await.is_ok()
    }
}

/// Whether a process lives, and its start time, from `/proc/PID/stat` (proc(5): fields 3 and 22). The name
/// in field 2 may hold spaces and brackets, so fields are counted from the last bracket.
fn parse_stat(stat: &str) -> Option<(bool, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((!matches!(state, "Z" | "X" | "x"), start_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_after_an_ugly_name() {
        let stat = "4711 (a) b (c) S 1 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 200 18446744073709551615";
        assert_eq!(parse_stat(stat), Some((true, 987_654)));
        assert_eq!(parse_stat(&stat.replace(") S ", ") Z ")), Some((false, 987_654)));
        for bad in ["", "1 (x) S", "1 x S 1 1"] {
            assert_eq!(parse_stat(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_process_is_itself_and_not_another_with_its_number() {
        let mut child = tokio::process::Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
        let process = Process::of(child.id().unwrap()).unwrap();
        let other = Process { start_time: process.start_time + 1, ..process };
        assert!(process.is_alive() && !other.is_alive());
        assert!(!other.signal(Signal::TERM));
        assert!(child.try_wait().unwrap().is_none(), "the wrong one was not signalled");
        assert!(process.signal(Signal::TERM));
        child.wait().await.unwrap();
        assert!(process.ended_within(Duration::from_secs(1)).await);
        assert!(!process.signal(Signal::KILL));
    }
}
