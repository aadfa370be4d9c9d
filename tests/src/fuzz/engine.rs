//! Random changes of known inputs, from a seed: the same runs on every machine, in stable Rust.
//!
//! Owns: the generator, the changes, the loop, and what is left of an input that breaks something. Not: which
//! properties hold ([`super::Target`]).
//! Holds: (1) the runs are a function of target, seed and number; (2) an input that breaks a property is in a
//! file before the test fails; (3) inputs that were accepted are changed further, so that changes add up.
//!
//! Why beside libFuzzer: it needs a nightly compiler and an hour; this needs neither, and runs in every `make test`.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::Instant,
};

use super::{Target, dictionary, memory};

/// Longest input.
const LENGTH_MAX: usize = 64 * 1024;
/// Accepted inputs that are kept beside the seeds.
const KEPT_MAX: usize = 256;

/// How long to go on.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// So many runs.
    Runs(u64),
    /// This instant.
    Instant(Instant),
}

/// What a session came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Inputs that were tried.
    pub runs: u64,
    /// Those that were accepted.
    pub accepted: u64,
    /// Most bytes held in one run.
    pub peak_bytes: usize,
}

/// An input that breaks something.
#[derive(Debug)]
pub struct Finding {
    /// The input.
    pub input: Vec<u8>,
    /// What it broke.
    pub why: String,
}

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator for a target: each has its own runs under one seed.
    pub fn new(seed: u64, name: &str) -> Self {
        Self(name.bytes().fold(seed, |state, byte| state.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 when there is none.
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % (n as u64).max(1)).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }

    /// A range within `len` bytes, seldom a long one.
    fn range(&mut self, len: usize) -> (usize, usize) {
        let start = self.below(len + 1);
        let most = if self.below(8) == 0 { len } else { 32 };
        (start, (start + self.below(most + 1)).min(len))
    }
}

/// Runs a target on one input: whether it was accepted, and the most bytes that were held.
///
/// # Errors
/// The input breaks a property.
pub fn try_one(target: &Target, input: &[u8]) -> Result<(bool, usize), Finding> {
    let found = |why: String| Finding { input: input.to_vec(), why };
    let (outcome, peak_bytes) = memory::measured(|| catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    let accepted = outcome.map_err(|panic| {
        let said = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        found(format!("panic: {}", said.unwrap_or_default()))
    })?;
    if peak_bytes > Target::MEMORY_MAX_BYTES {
        return Err(found(format!("{peak_bytes} bytes of memory, where {} are allowed", Target::MEMORY_MAX_BYTES)));
    }
    Ok((accepted, peak_bytes))
}

/// Runs a target on its seeds and on changes of them. With `trace`, every input is written there before it is
/// tried, for those that end the process instead of panicking.
///
/// # Errors
/// The first input that breaks a property.
pub fn run(target: &Target, seed: u64, until: Until, trace: Option<&Path>) -> Result<Report, Finding> {
    let words = dictionary::words(target.dictionary).map_err(|why| Finding { input: Vec::new(), why })?;
    let mut pool = (target.seeds)();
    let seeds = pool.len();
    // What is made once (keys, tables) is made before anything is measured.
    for input in &pool {
        let _ = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    }
    let mut report = Report { runs: 0, accepted: 0, peak_bytes: 0 };
    let mut random = Random::new(seed, target.name);
    let mut next = 0;
    loop {
        // All seeds first, as they are.
        let is_seed = next < seeds;
        let done = match until {
            Until::Runs(runs) => report.runs >= runs.max(seeds as u64),
            // Looking at the clock costs as much as a fast run.
            Until::Instant(end) => report.runs.is_multiple_of(64) && Instant::now() >= end,
        };
        if done && !is_seed {
            return Ok(report);
        }
        let mut input = if is_seed { pool[next].clone() } else { random.one_of(&pool).cloned().unwrap_or_default() };
        if !is_seed {
            for _ in 0..=random.below(4) {
                change(&mut input, &mut random, &words, &pool);
            }
            input.truncate(LENGTH_MAX);
        }
        next = next.saturating_add(1);
        if let Some(path) = trace {
            fs::write(path, &input).map_err(|e| Finding { input: input.clone(), why: format!("{}: {e}", path.display()) })?;
        }
        let (accepted, peak_bytes) = try_one(target, &input)?;
        report.runs += 1;
        report.accepted += u64::from(accepted);
        report.peak_bytes = report.peak_bytes.max(peak_bytes);
        if accepted && !is_seed {
            if pool.len() < seeds + KEPT_MAX {
                pool.push(input);
            } else if let Some(place) = pool.get_mut(seeds + random.below(KEPT_MAX)) {
                *place = input;
            }
        }
    }
}

/// One random change.
fn change(data: &mut Vec<u8>, random: &mut Random, words: &[Vec<u8>], pool: &[Vec<u8>]) {
    let at = random.below(data.len());
    match random.below(11) {
        0 => set(data, at, |byte, random| byte ^ (1u8 << random.below(8)), random),
        1 => set(data, at, |_, random| random.one_of(&[0, 1, 0x20, 0x7f, 0x80, 0xff]).copied().unwrap_or(0), random),
        2 => set(data, at, |_, random| random.byte(), random),
        3 => data.truncate(random.below(data.len() + 1)),
        4 => {
            let (start, end) = random.range(data.len());
            data.drain(start..end);
        }
        5 => {
            let (start, end) = random.range(data.len());
            let copy = data[start..end].to_vec();
            let place = random.below(data.len() + 1);
            insert(data, place, &copy);
        }
        6 => {
            let word = random.one_of(words).cloned().unwrap_or_default();
            let place = random.below(data.len() + 1);
            insert(data, place, &word);
        }
        7 => {
            let word = random.one_of(words).cloned().unwrap_or_default();
            let end = (at + word.len()).min(data.len());
            drop(data.splice(at.min(end)..end, word));
        }
        8 => {
            let other = random.one_of(pool).cloned().unwrap_or_default();
            data.truncate(random.below(data.len() + 1));
            data.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
        9 => tamper_with_length(data, at, random),
        _ => {
            let fresh: Vec<u8> = (0..=random.below(12)).map(|_| random.byte()).collect();
            let place = random.below(data.len() + 1);
            insert(data, place, &fresh);
        }
    }
}

fn set(data: &mut [u8], at: usize, to: impl Fn(u8, &mut Random) -> u8, random: &mut Random) {
    if let Some(byte) = data.get_mut(at) {
        *byte = to(*byte, random);
    }
}

fn insert(data: &mut Vec<u8>, at: usize, what: &[u8]) {
    drop(data.splice(at..at, what.iter().copied()));
}

/// Takes what lies at `at` for a number (in digits, or 1 to 8 bytes of either order) and makes it another one.
fn tamper_with_length(data: &mut Vec<u8>, at: usize, random: &mut Random) {
    let digits = data.iter().skip(at).take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 0 {
        let number = ["0", "1", "255", "65536", "4294967296", "9223372036854775808", "18446744073709551615", "18446744073709551616", "-1"];
        let number = random.one_of(&number).copied().unwrap_or_default();
        drop(data.splice(at..at + digits, number.bytes()));
        return;
    }
    let width = 1 << random.below(4);
    let Some(field) = data.get_mut(at..at + width) else { return };
    let big_endian = random.below(2) == 0;
    let mut wide = [0; 8];
    wide[..width].copy_from_slice(field);
    if big_endian {
        wide[..width].reverse();
    }
    let value = u64::from_le_bytes(wide);
    let others = [value.wrapping_add(1), value.wrapping_sub(1), value.wrapping_mul(2), value >> 1, !0, !0 >> 1, 1 << 31, 1 << 20, 0];
    let mut wide = random.one_of(&others).copied().unwrap_or(0).to_le_bytes();
    if big_endian {
        wide[..width].reverse();
    }
    field.copy_from_slice(&wide[..width]);
}

impl Finding {
    /// Writes the input to a file of `dir`, for a replay.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&self, dir: &Path, name: &str) -> std::io::Result<PathBuf> {
        let mut hasher = DefaultHasher::new();
        self.input.hash(&mut hasher);
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{name}-{:016x}", hasher.finish()));
        fs::write(&path, &self.input)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(run: fn(&[u8]) -> bool) -> Target {
        Target { name: "sample", run, seeds: || vec![b"ab 12".to_vec(), Vec::new()], dictionary: "\"xyz\"", one_of: 1 }
    }

    #[test]
    fn the_same_seed_does_the_same_and_another_does_not() {
        let accepts_long = target(|data| data.len() > 20);
        let report = |seed| run(&accepts_long, seed, Until::Runs(3_000), None).unwrap();
        assert_eq!(report(1), report(1));
        assert_ne!(Random::new(1, "sample").next(), Random::new(2, "sample").next());
        assert_ne!(Random::new(1, "sample").next(), Random::new(1, "other").next());
        assert_eq!(report(1).runs, 3_000);
    }

    #[test]
    fn what_is_broken_is_found_with_its_input() {
        let breaks = target(|data| {
            assert!(!data.windows(6).any(|w| w == b"xyzxyz"), "broken");
            data.windows(3).any(|w| w == b"xyz")
        });
        let finding = run(&breaks, 7, Until::Runs(50_000), None).unwrap_err();
        assert!(finding.why.contains("broken"), "{}", finding.why);
        assert!(try_one(&breaks, &finding.input).is_err());
        assert_eq!(try_one(&breaks, b"xyz").unwrap(), (true, 0));
    }
}
