//! What a piece of work allocates, counted below the standard library.
//!
//! Owns: the counting allocator. Not: limits ([`super::Target::MEMORY_MAX_BYTES`]).
//! Holds: (1) counting is by thread, so that tests that run beside each other do not disturb each other;
//! (2) where [`Counting`] is not the program's allocator, everything measures 0.
//!
//! What C code allocates (the crypto library, RocksDB) is not seen.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    // Without a destructor and without initialisation at run time: safe to use inside an allocator.
    static LIVE_BYTES: Cell<usize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator with a count.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counting;

fn took(bytes: usize) {
    let _ = LIVE_BYTES.try_with(|live| {
        live.set(live.get().saturating_add(bytes));
        let _ = PEAK_BYTES.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn gave(bytes: usize) {
    // Saturating: what another thread took may be given back here.
    let _ = LIVE_BYTES.try_with(|live| live.set(live.get().saturating_sub(bytes)));
}

// SAFETY: every call goes to the system's allocator with the arguments that the caller vouches for, and its
// answer goes back unchanged; the counting touches plain cells of this thread, allocates nothing and cannot unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller keeps the contract of `alloc` for this layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed` for this layout.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        gave(layout.size());
        // SAFETY: the caller got `pointer` from this allocator, that is from the system's, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        took(new_size);
        gave(layout.size());
        // SAFETY: the caller got `pointer` from the system's allocator with this layout, and vouches for the size.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// The result of some work, and the most bytes that this thread held in it beyond those it held before.
pub fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE_BYTES.get();
    PEAK_BYTES.set(before);
    let result = work();
    (result, PEAK_BYTES.get().saturating_sub(before))
}
