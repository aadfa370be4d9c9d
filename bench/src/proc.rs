//! What Linux tells of a process: processor time and the most memory that it ever had.
//!
//! Owns: reading `/proc` (proc(5)). Not: which processes are looked at.
//! Holds: a process that is gone is an error, never a zero.

use std::fs;

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};

/// Clock ticks a second in `/proc/PID/stat`: fixed for programs, whatever the kernel's own rate.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of a process since it began, user and system, in seconds.
///
/// # Errors
/// It has ended.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} has ended"))?;
    cpu_ticks(&stat).map(|ticks| ticks as f64 / TICKS_PER_SECOND).context("/proc/PID/stat has another form")
}

/// Processor time of this process, all its threads, in seconds. Finer than clock ticks: primitives are short.
pub fn own_cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Most memory that a process ever had resident, in bytes.
///
/// # Errors
/// It has ended.
pub fn peak_memory_bytes(pid: u32) -> Result<u64> {
    memory_bytes(pid, "VmHWM:")
}

/// Makes the most memory of a process begin anew at what it has now. `false` where the system does not allow it: the
/// most then goes on from the process's beginning.
pub fn reset_peak_memory(pid: u32) -> bool {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok()
}

/// Memory that a process has resident now, in bytes.
///
/// # Errors
/// It has ended.
pub fn resident_memory_bytes(pid: u32) -> Result<u64> {
    memory_bytes(pid, "VmRSS:")
}

fn memory_bytes(pid: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} has ended"))?;
    kib_of(&status, field).map(|kib| kib.saturating_mul(1024)).with_context(|| format!("process {pid} has no {field} any more"))
}

/// User and system time: fields 14 and 15. The name in field 2 may hold spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn kib_of(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_an_ugly_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 150 7 8 20 0 1 0 987654 1000 200";
        assert_eq!(cpu_ticks(stat), Some(400));
        assert_eq!(cpu_ticks("7 x S"), None);
    }

    #[test]
    fn memory_is_found_by_its_name_and_in_its_unit() {
        let status = "Name:\tkluis\nVmPeak:\t 9000 kB\nVmHWM:\t  1234 kB\nVmRSS:\t  1000 kB\n";
        assert_eq!((kib_of(status, "VmHWM:"), kib_of(status, "VmRSS:")), (Some(1234), Some(1000)));
        assert_eq!(kib_of(status, "VmSwap:"), None);
        assert_eq!(kib_of("VmHWM: 12 MB", "VmHWM:"), None);
    }

    #[test]
    fn this_process_has_both() {
        assert!(own_cpu_seconds() > 0.0);
        let own = std::process::id();
        assert!(peak_memory_bytes(own).unwrap() >= resident_memory_bytes(own).unwrap() / 2);
        assert!(cpu_seconds(0).is_err());
    }
}
