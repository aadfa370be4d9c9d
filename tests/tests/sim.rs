//! The whole cluster in one process from one seed, many seeds (see `kluis_tests::sim`).
//!
//!   KLUIS_SIM_SEEDS=n    how many seeds (100)
//!   KLUIS_SIM_SEED=n     this one alone, twice, with everything that went wrong
//!   KLUIS_SIM_FROM=n     the first seed (1)
//!
//! Owns: which seeds are run, which states a set of runs must reach, and the process's randomness: `getrandom` of the
//! C library is answered from the seed, so that hash maps and the choices of tokio's `select!` repeat themselves.
//! Holds: (1) a failing seed is printed with the command that repeats it; (2) a set of seeds that never reached a
//! state that it must reach has failed, whatever else it found.

use std::{
    cell::Cell,
    collections::BTreeMap,
    env,
    ffi::{c_long, c_uint, c_void},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use kluis_tests::sim::run::{self, Options, Report};

thread_local! {
    /// The seed's stream on a thread that runs a seed; 0 elsewhere.
    static STREAM: Cell<u64> = const { Cell::new(0) };
}

/// What the C library calls `getrandom`: from the seed on a thread that runs one, from the kernel elsewhere.
///
/// # Safety
/// `buffer` must point to `len` writable bytes, as the C library's must.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, len: usize, flags: c_uint) -> isize {
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }
    const SYS_GETRANDOM: c_long = if cfg!(target_arch = "aarch64") { 278 } else { 318 };
    let mut state = STREAM.try_with(Cell::get).unwrap_or(0);
    if state == 0 {
        // SAFETY: the arguments are those of the system call, handed on as they came.
        return unsafe { syscall(SYS_GETRANDOM, buffer, len, flags) } as isize;
    }
    // SAFETY: the caller vouches for the buffer.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), len) };
    for byte in bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = (state >> 24) as u8;
    }
    let _ = STREAM.try_with(|stream| stream.set(state));
    len as isize
}

/// Runs a seed on a thread of its own: hash keys are drawn once a thread.
fn one(seed: u64) -> Report {
    let work = move || {
        STREAM.with(|stream| stream.set(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
        run::run(seed, &Options::default())
    };
    thread::Builder::new().stack_size(16 << 20).spawn(work).expect("a thread").join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        panic!("seed {seed} panicked: {}\n{}", text.unwrap_or_default(), again(seed))
    })
}

fn again(seed: u64) -> String {
    format!("    again: make sim SEED={seed}")
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// States that some seed of a set must reach: a set that never got there proves nothing about them.
const MUST_BE_REACHED: &[&str] = &[
    "buggify.answer_lost",
    "buggify.batch_of_one",
    "buggify.segment_sealed_early",
    "buggify.write_without_linger",
    "collect.deleted",
    "disk.failed",
    "disk.full",
    "disk.read_only",
    "fault.clock",
    "fault.cut",
    "fault.database",
    "fault.disk",
    "fault.disk_replaced",
    "fault.kill",
    "fault.power_cut",
    "fault.rot",
    "fault.slow",
    "fault.weather",
    "read.decoded_from_parity",
    "read.hedged",
    "register.history",
    "repair.rebuilt",
    "session.refused_after_its_end",
    "settled",
    "snapshot.built",
    "snapshot.installed",
    "upload.abandoned",
    "write.placed_around",
    "write.reduced",
];

#[test]
fn every_seed_keeps_its_promises() {
    let (from, seeds) = (number("KLUIS_SIM_FROM", 1), number("KLUIS_SIM_SEEDS", 100));
    if let Ok(seed) = env::var("KLUIS_SIM_SEED") {
        let seed = seed.parse().expect("KLUIS_SIM_SEED is a number");
        let (first, second) = (one(seed), one(seed));
        println!("{first}\n    states: {:?}", first.states);
        assert_eq!(first.trace, second.trace, "seed {seed} does not repeat itself");
        assert!(first.violations.is_empty(), "seed {seed} breaks a promise");
        return;
    }
    let next = AtomicU64::new(from);
    let (failed, states) = (Mutex::new(Vec::new()), Mutex::new(BTreeMap::<&str, u64>::new()));
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let report = one(seed);
                    println!("{report}");
                    for (state, count) in &report.states {
                        *states.lock().unwrap().entry(state).or_default() += count;
                    }
                    if !report.violations.is_empty() {
                        println!("{}", again(seed));
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let (failed, states) = (failed.into_inner().unwrap(), states.into_inner().unwrap());
    println!("states reached over {seeds} seeds:");
    for (state, count) in &states {
        println!("    {state:40} {count}");
    }
    assert!(failed.is_empty(), "seeds that break a promise: {failed:?}");
    if seeds >= 50 {
        let never: Vec<&&str> = MUST_BE_REACHED.iter().filter(|state| !states.contains_key(**state)).collect();
        assert!(never.is_empty(), "no seed came to: {never:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let (first, second, other) = (one(4711), one(4711), one(4712));
    assert_eq!((first.trace, &first.counts, &first.states), (second.trace, &second.counts, &second.states));
    assert_ne!(first.trace, other.trace);
}
