//! A wall clock that a file can move: for the demo, where a person wants to see what ten days do.
//!
//! Owns: [`OffsetClock`] and the form of its file (decimal milliseconds, may be negative).
//! Not: who writes the file (the demo's supervisor), nor whether it may be used (the configuration
//! refuses it unless every listener is on loopback).
//! Holds: a missing or unreadable file never stops the clock: the last good offset stays in force.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use kluis_chunkstore::env::Clock;

/// How long an offset is used before the file is looked at again, in milliseconds.
const LOOK_EVERY_MS: u64 = 100;

/// Longest text that is taken for an offset.
const FILE_MAX_BYTES: u64 = 32;

/// Another clock plus the offset that a file holds.
pub struct OffsetClock {
    inner: Arc<dyn Clock>,
    file: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    offset_ms: i64,
    looked_ms: Option<u64>,
    modified: Option<SystemTime>,
}

impl OffsetClock {
    /// A clock that adds the offset in `file` to `inner`.
    pub fn new(inner: Arc<dyn Clock>, file: PathBuf) -> Self {
        Self { inner, file, state: Mutex::new(State::default()) }
    }
}

impl Clock for OffsetClock {
    fn now_ms(&self) -> u64 {
        let real_ms = self.inner.now_ms();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The inner clock may jump back too: then it is time to look as well.
        let due = state.looked_ms.is_none_or(|at| real_ms < at || real_ms - at >= LOOK_EVERY_MS);
        if due {
            state.looked_ms = Some(real_ms);
            let modified = fs::metadata(&self.file).and_then(|m| m.modified()).ok();
            if modified.is_some()
                && modified != state.modified
                && let Some(offset_ms) = read_offset(&self.file)
            {
                state.offset_ms = offset_ms;
                state.modified = modified;
            }
        }
        real_ms.saturating_add_signed(state.offset_ms)
    }
}

/// The offset that a file holds, in milliseconds; `None` when there is none to be had.
pub fn read_offset(file: &Path) -> Option<i64> {
    let metadata = fs::metadata(file).ok()?;
    if metadata.len() > FILE_MAX_BYTES {
        return None;
    }
    parse_offset(&fs::read_to_string(file).ok()?)
}

/// The offset that a text says, in milliseconds.
pub fn parse_offset(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Fixed(AtomicU64);

    impl Clock for Fixed {
        fn now_ms(&self) -> u64 {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn touch(path: &Path, text: &str, seconds: u64) {
        fs::write(path, text).unwrap();
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn the_file_moves_the_clock_and_garbage_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clock");
        let inner = Arc::new(Fixed(AtomicU64::new(1_000_000)));
        let clock = OffsetClock::new(inner.clone(), path.clone());
        assert_eq!(clock.now_ms(), 1_000_000, "no file: no offset");

        touch(&path, "864000000\n", 1);
        assert_eq!(clock.now_ms(), 1_000_000, "not looked at again within 100 ms");
        inner.0.store(1_000_100, Ordering::SeqCst);
        assert_eq!(clock.now_ms(), 865_000_100);

        touch(&path, "ten days", 2);
        inner.0.store(1_000_200, Ordering::SeqCst);
        assert_eq!(clock.now_ms(), 865_000_200, "garbage: the last offset stays");

        touch(&path, "-2000000", 3);
        inner.0.store(1_000_300, Ordering::SeqCst);
        assert_eq!(clock.now_ms(), 0, "never before 1970");

        inner.0.store(5, Ordering::SeqCst);
        fs::remove_file(&path).unwrap();
        assert_eq!(clock.now_ms(), 0, "file gone: the last offset stays");
    }

    #[test]
    fn only_whole_decimal_numbers_are_offsets() {
        assert_eq!(parse_offset(" -5\n"), Some(-5));
        for bad in ["", "1.5", "1s", "0x10", "99999999999999999999"] {
            assert_eq!(parse_offset(bad), None, "{bad}");
        }
    }
}
