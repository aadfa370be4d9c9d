//! The simulation answers the C library's `getrandom` from its seed (`src/bin/kluis-sim.rs`); the standard library looks
//! for it among the program's exported symbols.

fn main() {
    println!("cargo::rustc-link-arg-bin=kluis-sim=-Wl,--export-dynamic-symbol=getrandom");
    println!("cargo::rerun-if-changed=build.rs");
}
