//! A range of free ports for one cluster.
//!
//! Owns: the choice. Not: binding for good (the cluster does that).
//! Holds: a range is used by one test process at a time (a lock in the temporary directory), and every port
//! of it was free, for TCP and UDP, when it was chosen.
//! Why below 32768: from there on the kernel gives ports to outgoing connections, and one of those could
//! sit on the port of a node that is about to start again.

use std::{
    fs::{self, File, TryLockError},
    net::{Ipv4Addr, TcpListener, UdpSocket},
};

/// Ports of a range.
pub const RANGE: u16 = 130;
/// First port of the first range.
const FIRST: u16 = 20_000;
/// Ranges there are.
const RANGES: u16 = 97;

/// Ports `base .. base + RANGE`, ours until this is dropped.
#[derive(Debug)]
pub struct Ports {
    /// The first port.
    pub base: u16,
    _lock: File,
}

impl Ports {
    /// A free range.
    ///
    /// # Panics
    /// When there is none.
    pub fn reserve() -> Self {
        let dir = std::env::temp_dir().join("kluis-test-ports");
        fs::create_dir_all(&dir).expect("the temporary directory is writable");
        let start = u16::try_from(std::process::id() % u32::from(RANGES)).expect("a remainder below 97");
        for step in 0..RANGES {
            let base = FIRST + (start + step) % RANGES * RANGE;
            let path = dir.join(format!("{base}.lock"));
            let lock = File::options().create(true).truncate(false).write(true).open(&path).expect("the lock file can be made");
            match lock.try_lock() {
                Ok(()) if all_free(base) => return Self { base, _lock: lock },
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => panic!("{}: {error}", path.display()),
            }
        }
        panic!("no {RANGE} free ports in a row from {FIRST} on");
    }
}

fn all_free(base: u16) -> bool {
    (base..base + RANGE)
        .all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ranges_do_not_meet() {
        let (one, two) = (Ports::reserve(), Ports::reserve());
        assert!(one.base.abs_diff(two.base) >= RANGE, "{one:?} {two:?}");
    }
}
