//! Health and figures of a disk.
//!
//! Owns: the states, the way from one to another, the counters. Not: who calls for a change.
//! Holds: (1) `Failed` is never left while the disk is open; (2) counters only grow.

use std::{
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What a disk can do at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskState {
    /// Everything.
    Active,
    /// Reads and deletions; puts are refused until space returns.
    Full,
    /// Reads only: the file system refuses writes.
    ReadOnly,
    /// Reads only, until an operator clears it: a write or a sync failed, and what the disk says of
    /// later ones is worth nothing.
    Failed {
        /// What failed, for people.
        reason: String,
    },
}

/// What an error of the file system means for a disk.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// No space: a state.
    Full,
    /// Not writable: a state.
    ReadOnly,
    /// Lasting: the disk is failed.
    Broken(&'static str, io::Error),
    /// Of the moment or of the process (too many open files): the operation failed, the disk did not.
    Passing(&'static str, io::Error),
}

impl Trouble {
    /// What it means that `during` failed in writing.
    pub(crate) fn of(during: &'static str, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Broken(during, error),
        }
    }

    /// The same for calls that need resources of the process and write no data: opening, listing.
    pub(crate) fn of_open(during: &'static str, error: io::Error) -> Self {
        use rustix::io::Errno;
        let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(|e| Some(e.raw_os_error()));
        if passing.contains(&error.raw_os_error()) { Self::Passing(during, error) } else { Self::of(during, error) }
    }
}

/// The lock of a mutex, whether or not a holder panicked: all our critical sections leave data whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state, shared between the writer and everyone who asks.
pub(crate) struct Health(Mutex<DiskState>);

impl Health {
    pub(crate) fn new(state: DiskState) -> Self {
        Self(Mutex::new(state))
    }

    pub(crate) fn state(&self) -> DiskState {
        lock(&self.0).clone()
    }

    pub(crate) fn is_failed(&self) -> bool {
        matches!(*lock(&self.0), DiskState::Failed { .. })
    }

    pub(crate) fn is(&self, state: &DiskState) -> bool {
        *lock(&self.0) == *state
    }

    /// Changes the state unless the disk is failed. Says whether anything changed.
    pub(crate) fn set(&self, next: DiskState) -> bool {
        let mut state = lock(&self.0);
        if *state == next || matches!(*state, DiskState::Failed { .. }) {
            return false;
        }
        *state = next;
        true
    }
}

/// Upper bounds of the histogram of sync times, in microseconds; a last bucket has no bound.
pub const SYNC_BUCKETS_US: [u64; 12] = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000];

/// Counters since the disk was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) appends: AtomicU64,
    pub(crate) appended_bytes: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) read_errors: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    pub(crate) damaged_places: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    sync_us_sum: AtomicU64,
    sync_buckets: [AtomicU64; SYNC_BUCKETS_US.len() + 1],
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn synced(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        Self::add(&self.syncs, 1);
        Self::add(&self.sync_us_sum, us);
        let at = SYNC_BUCKETS_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.sync_buckets.get(at) {
            Self::add(bucket, 1);
        }
    }

    pub(crate) fn fill(&self, usage: &mut DiskUsage) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        usage.appends = read(&self.appends);
        usage.appended_bytes = read(&self.appended_bytes);
        usage.batches = read(&self.batches);
        usage.syncs = read(&self.syncs);
        usage.reads = read(&self.reads);
        usage.read_errors = read(&self.read_errors);
        usage.corrupt = read(&self.corrupt);
        usage.damaged_places = read(&self.damaged_places);
        usage.checkpoints = read(&self.checkpoints);
        usage.sync_seconds_sum = Duration::from_micros(read(&self.sync_us_sum)).as_secs_f64();
        usage.sync_buckets = self.sync_buckets.each_ref().map(read);
    }
}

/// Figures of a disk. Bytes unless said otherwise; counters run since the disk was opened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DiskUsage {
    /// Shards in the index.
    pub shards: u64,
    /// Bytes of their records.
    pub live_bytes: u64,
    /// Bytes of segments that compaction could free.
    pub dead_bytes: u64,
    /// Lengths of all segment files.
    pub segment_bytes: u64,
    /// Number of segment files.
    pub segments: u64,
    /// Size of the file system (as of a few seconds ago).
    pub fs_total_bytes: u64,
    /// Free space of the file system (as of a few seconds ago).
    pub fs_free_bytes: u64,
    /// Records appended.
    pub appends: u64,
    /// Bytes written in batches.
    pub appended_bytes: u64,
    /// Batches written.
    pub batches: u64,
    /// Syncs of segments that succeeded.
    pub syncs: u64,
    /// Shards asked for and found in the index.
    pub reads: u64,
    /// Reads that the file system refused.
    pub read_errors: u64,
    /// Records found changed.
    pub corrupt: u64,
    /// Places found damaged when the disk was opened.
    pub damaged_places: u64,
    /// Index checkpoints written.
    pub checkpoints: u64,
    /// Time spent in syncs, in seconds.
    pub sync_seconds_sum: f64,
    /// Syncs by time, bounds in [`SYNC_BUCKETS_US`]; not cumulative.
    pub sync_buckets: [u64; SYNC_BUCKETS_US.len() + 1],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_is_for_good() {
        let health = Health::new(DiskState::Active);
        assert!(health.set(DiskState::Full) && health.set(DiskState::Active));
        assert!(health.set(DiskState::Failed { reason: "sync".into() }));
        assert!(!health.set(DiskState::Active) && health.is_failed());
    }

    #[test]
    fn errors_mean_what_they_should() {
        let of = |errno: rustix::io::Errno| Trouble::of("x", errno.into());
        assert!(matches!(of(rustix::io::Errno::NOSPC), Trouble::Full));
        assert!(matches!(of(rustix::io::Errno::DQUOT), Trouble::Full));
        assert!(matches!(of(rustix::io::Errno::ROFS), Trouble::ReadOnly));
        assert!(matches!(of(rustix::io::Errno::IO), Trouble::Broken(..)));
        assert!(matches!(Trouble::of_open("x", rustix::io::Errno::MFILE.into()), Trouble::Passing(..)));
    }

    #[test]
    fn sync_times_land_in_their_bucket() {
        let counters = Counters::default();
        counters.synced(Duration::from_micros(100));
        counters.synced(Duration::from_micros(101));
        counters.synced(Duration::from_secs(60));
        let mut usage = DiskUsage::default();
        counters.fill(&mut usage);
        assert_eq!((usage.sync_buckets[0], usage.sync_buckets[1], usage.sync_buckets[12], usage.syncs), (1, 1, 1, 3));
    }
}
