//! The simulation as a program: many seeds, or one (see `kluis_tests::sim`).
//!
//!   kluis-sim --seeds N [--from N] [--jobs N]   N seeds, each in a process of its own, so many at once
//!   kluis-sim --seed N [--log F]     one seed, here; F is a filter for what the nodes log
//!   kluis-sim --json --seed N        the same, as JSON
//!   kluis-sim --every-call NAME [--seed N]   every call of an operation fails in its turn (see `sim::every_call`)
//!
//! Owns: the process's randomness: `getrandom` of the C library is answered from the seed, so that hash maps and the
//! choices of tokio's `select!` repeat themselves; and the reports of a set of seeds.
//! Holds: (1) a process runs one seed, for tokio counts the runtimes that a process makes; (2) the exit code is 0 when
//! every promise was kept, 1 otherwise, 2 for wrong arguments; (3) with a failing seed comes the command that
//! repeats it.

use std::{
    collections::BTreeMap,
    env,
    ffi::{c_long, c_uint, c_void},
    io,
    process::{Command, ExitCode, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use kluis_tests::sim::{
    every_call,
    run::{self, Options, Report},
};

/// Whether a seed is being run here.
static SEEDED: AtomicBool = AtomicBool::new(false);
/// The seed's stream.
static STREAM: AtomicU64 = AtomicU64::new(0);

/// What the C library calls `getrandom`: from the seed while one runs, from the kernel otherwise.
///
/// # Safety
/// `buffer` must point to `len` writable bytes, as the C library's must.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, len: usize, flags: c_uint) -> isize {
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }
    const SYS_GETRANDOM: c_long = if cfg!(target_arch = "aarch64") { 278 } else { 318 };
    if !SEEDED.load(Ordering::Relaxed) {
        // SAFETY: the arguments are those of the system call, handed on as they came.
        return unsafe { syscall(SYS_GETRANDOM, buffer, len, flags) } as isize;
    }
    // SAFETY: the caller vouches for the buffer.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), len) };
    let mut state = STREAM.load(Ordering::Relaxed);
    for byte in bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = (state >> 24) as u8;
    }
    STREAM.store(state, Ordering::Relaxed);
    len as isize
}

#[derive(Default)]
struct Arguments {
    seed: Option<u64>,
    seeds: u64,
    from: u64,
    /// Processes at once; 0: as many as there are processors.
    jobs: usize,
    json: bool,
    log: Option<String>,
    every_call: Option<String>,
}

fn arguments() -> Option<Arguments> {
    let mut found = Arguments { seeds: 100, from: 1, ..Arguments::default() };
    let mut given = env::args().skip(1);
    while let Some(name) = given.next() {
        match name.as_str() {
            "--json" => found.json = true,
            "--log" => found.log = Some(given.next()?),
            "--every-call" => found.every_call = Some(given.next()?),
            "--seed" => found.seed = Some(given.next()?.parse().ok()?),
            "--seeds" => found.seeds = given.next()?.parse().ok()?,
            "--jobs" => found.jobs = given.next()?.parse().ok()?,
            "--from" => found.from = given.next()?.parse().ok()?,
            _ => return None,
        }
    }
    Some(found)
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!(
            "usage: kluis-sim [--seeds N] [--from N] [--jobs N] | --seed N [--json] [--log FILTER] | --every-call {} [--seed N]",
            every_call::LOOPS.join("|")
        );
        return ExitCode::from(2);
    };
    let kept = match (&arguments.every_call, arguments.seed) {
        (Some(name), seed) => each_call(name, seed.unwrap_or(1), &arguments),
        (None, Some(seed)) => one(seed, &arguments),
        (None, None) => many(&arguments),
    };
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs something in this process with everything random from the seed.
fn seeded<T>(seed: u64, arguments: &Arguments, work: impl FnOnce() -> T) -> T {
    if let Some(filter) = &arguments.log {
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_ansi(false).with_writer(io::stderr).init();
    }
    STREAM.store(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, Ordering::Relaxed);
    SEEDED.store(true, Ordering::Relaxed);
    let found = work();
    SEEDED.store(false, Ordering::Relaxed);
    found
}

/// Runs a loop over the calls of an operation.
fn each_call(name: &str, seed: u64, arguments: &Arguments) -> bool {
    match seeded(seed, arguments, || every_call::run(name, seed)) {
        Some(covered) => {
            println!("{name} {covered}");
            covered.violations.is_empty()
        }
        None => {
            eprintln!("there is no loop {name}: there are {:?}", every_call::LOOPS);
            false
        }
    }
}

/// Runs one seed in this process.
fn one(seed: u64, arguments: &Arguments) -> bool {
    let report = seeded(seed, arguments, || run::run(seed, &Options::default()));
    if arguments.json {
        println!("{}", serde_json::to_string(&report).unwrap_or_default());
    } else {
        println!("{report}\n    states: {:?}", report.states);
    }
    report.violations.is_empty()
}

/// Runs one seed in a process of its own.
fn elsewhere(seed: u64) -> Result<Report, String> {
    let program = env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command.args(["--json", "--seed", &seed.to_string()]).stdin(Stdio::null());
    let output = command.output().map_err(|e| e.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().rev().take(12).collect();
        format!("seed {seed} ended with {}: {}", output.status, last.into_iter().rev().collect::<Vec<_>>().join("\n    "))
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn many(arguments: &Arguments) -> bool {
    let (from, until) = (arguments.from, arguments.from.saturating_add(arguments.seeds));
    let next = AtomicU64::new(from);
    let (failed, states) = (Mutex::new(Vec::new()), Mutex::new(BTreeMap::<String, u64>::new()));
    let jobs = if arguments.jobs > 0 { arguments.jobs } else { thread::available_parallelism().map_or(1, usize::from) };
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= until {
                        return;
                    }
                    let kept = match elsewhere(seed) {
                        Ok(report) => {
                            println!("{report}");
                            for (state, count) in report.states {
                                *lock(&states).entry(state).or_default() += count;
                            }
                            report.violations.is_empty()
                        }
                        Err(why) => {
                            println!("{why}");
                            false
                        }
                    };
                    if !kept {
                        println!("    again: make sim SEED={seed}");
                        lock(&failed).push(seed);
                    }
                }
            });
        }
    });
    let (failed, states) = (failed.into_inner().unwrap_or_default(), states.into_inner().unwrap_or_default());
    println!("states reached over {} seeds:", arguments.seeds);
    for (state, count) in &states {
        println!("    {state:40} {count}");
    }
    let never: Vec<&&str> = run::MUST_BE_REACHED.iter().filter(|state| !states.contains_key(**state)).collect();
    // Few seeds need not come everywhere.
    let came_everywhere = never.is_empty() || arguments.seeds < run::SEEDS_FOR_ALL_STATES;
    if !came_everywhere {
        println!("no seed came to: {never:?}");
    }
    println!("{} of {} seeds broke a promise: {failed:?}", failed.len(), arguments.seeds);
    failed.is_empty() && came_everywhere
}
