//! Any one of the fuzz targets under libFuzzer: the one that `KLUIS_FUZZ_TARGET` names.
//!
//! Owns: nothing but the way in. Not: the targets (`tests/src/fuzz/`), when and how long (`make fuzz`).
//! Holds: one program for all targets, for what takes long is linking everything that they call.

#![no_main]

use std::sync::LazyLock;

use kluis_tests::fuzz::{Target, find};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("KLUIS_FUZZ_TARGET").unwrap_or_default();
    find(&name).unwrap_or_else(|| panic!("KLUIS_FUZZ_TARGET={name:?} is no target: tests/tests/fuzz.rs lists them"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // libFuzzer limits memory by itself (`-rss_limit_mb`, `-malloc_limit_mb`).
    let _ = (TARGET.run)(data);
});
