//! The machine that the figures come from.
//!
//! Owns: its description. Not: measuring it ([`crate::primitives`]).
//! Holds: what the system does not tell is left empty, never guessed.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Where the figures come from.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// File system and device that the disks of the clusters lie on.
    pub disk: String,
    /// When the run began, UTC.
    pub date: String,
}

impl Machine {
    /// This machine, now, with its disks in `dir`.
    ///
    /// # Errors
    /// The system does not tell how many cores there are.
    pub fn of_this(dir: &Path) -> Result<Self> {
        let line = |file: &str, key: &str| -> Option<String> {
            let text = fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory_kib = line("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok(Self {
            cpu: line("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().context("the number of cores is not known")?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            memory_bytes: memory_kib.unwrap_or(0).saturating_mul(1024),
            disk: mount_of(dir, &fs::read_to_string("/proc/self/mounts").unwrap_or_default()),
            date: utc(seconds),
        })
    }
}

/// Type and device of the mount that holds `dir`: the longest mount point that it begins with.
fn mount_of(dir: &Path, mounts: &str) -> String {
    let of = |line: &str| {
        let mut fields = line.split(' ');
        let (device, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
        dir.starts_with(point).then(|| (point.len(), format!("{kind} on {device}")))
    };
    mounts.lines().filter_map(of).max_by_key(|(len, _)| *len).map_or_else(String::new, |(_, text)| text)
}

/// Seconds since 1970 as RFC 3339.
fn utc(seconds: u64) -> String {
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for len in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < len {
            break;
        }
        days -= len;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}Z", days + 1, rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn the_nearest_mount_is_the_disk() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/x xfs rw 0 0\n";
        assert_eq!(mount_of(Path::new("/tmp/x/y"), mounts), "xfs on /dev/b");
        assert_eq!(mount_of(Path::new("/tmp/xy"), mounts), "tmpfs on tmpfs");
        assert_eq!(mount_of(Path::new("/srv"), mounts), "ext4 on /dev/a");
        assert_eq!(mount_of(Path::new("/srv"), ""), "");
    }
}
