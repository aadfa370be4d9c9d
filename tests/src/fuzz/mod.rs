//! Every parser that sees the network, a disk or a file, as a function of bytes that must never panic.
//!
//! Reading order: this file (what a target is, and all of them), [`engine`] (random changes of known inputs),
//! [`memory`] (what a target allocates), [`dictionary`]; then the targets: [`disk`], [`peers`],
//! [`metadata`], [`http`], [`tokens`], [`keys`], [`files`], [`log`], [`scans`], [`notices`].
//!
//! Owns: the targets, their properties, seeds and words. Not: how they are run (`tests/tests/fuzz.rs` in
//! `make test`, `tests/fuzz/` with libFuzzer in `make fuzz`).
//! Holds: (1) a target is a function of its input alone, so that an input repeats what it did; (2) it panics when
//! a property is broken, and tells otherwise whether the input was accepted; (3) seeds are made by the real
//! encoders, or are fixed files where an encoder is random (`fixtures/`; their keys guard nothing).
//!
//! The properties: a value or an error, never a panic; what was accepted is encoded to bytes that are accepted
//! and encoded to the same bytes; memory stays below [`Target::MEMORY_MAX_BYTES`] whatever lengths the input names.
//! Behind a checksum a random change gets nowhere: such targets try the input as it is and with its checksum mended.

pub mod dictionary;
pub mod disk;
pub mod engine;
pub mod files;
pub mod http;
pub mod keys;
pub mod log;
pub mod memory;
pub mod metadata;
pub mod notices;
pub mod peers;
pub mod scans;
pub mod tokens;

use kluis_chunkstore::env::Entropy;

/// One parser under test.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: also that of its test and of its corpus.
    pub name: &'static str,
    /// Feeds it with an input: whether that was accepted. Panics when a property is broken.
    pub run: fn(&[u8]) -> bool,
    /// Inputs to begin with; at least one is accepted.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that its inputs are made of, in the form of libFuzzer's dictionaries.
    pub dictionary: &'static str,
    /// Only one of so many runs is done: above 1 where a run is slow.
    pub one_of: u32,
}

impl Target {
    /// Most bytes that a run may hold at a time: a few of the largest pieces that any parser may read at once.
    pub const MEMORY_MAX_BYTES: usize = 16 << 20;

    const fn new(name: &'static str, run: fn(&[u8]) -> bool, seeds: fn() -> Vec<Vec<u8>>, dictionary: &'static str) -> Self {
        Self { name, run, seeds, dictionary, one_of: 1 }
    }

    const fn slow(self, one_of: u32) -> Self {
        Self { one_of, ..self }
    }
}

/// All targets.
pub fn all() -> impl Iterator<Item = &'static Target> {
    [
        disk::TARGETS,
        peers::TARGETS,
        metadata::TARGETS,
        http::TARGETS,
        tokens::TARGETS,
        keys::TARGETS,
        files::TARGETS,
        log::TARGETS,
        scans::TARGETS,
        notices::TARGETS,
    ]
    .into_iter()
    .flatten()
}

/// The target of a name.
pub fn find(name: &str) -> Option<&'static Target> {
    all().find(|target| target.name == name)
}

/// Randomness that is none: a target must do the same for the same input.
#[derive(Debug, Clone, Copy)]
pub struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0x5a);
    }
}

/// The input as text, its invalid parts replaced: parsers of texts are never given anything else.
fn text(data: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// Whether `again`, a decoder followed by its encoder, accepts an input; what it then gives must be taken
/// again, and to the same bytes.
fn settles<E: std::fmt::Debug>(data: &[u8], again: impl Fn(&[u8]) -> Result<Vec<u8>, E>) -> bool {
    let Ok(once) = again(data) else { return false };
    let twice = again(&once).expect("what was encoded is decoded");
    assert_eq!(hex::encode(&once), hex::encode(&twice), "encoded, decoded and encoded again");
    true
}

/// An input that begins with a byte that chooses among `kinds`.
fn kind(data: &[u8], kinds: u8) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (first % kinds, rest))
}

/// The input with `kind` before it.
fn of_kind(kind: u8, data: &[u8]) -> Vec<u8> {
    [&[kind], data].concat()
}

/// Texts as inputs.
fn texts<T: AsRef<[u8]>>(texts: &[T]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_ref().to_vec()).collect()
}
