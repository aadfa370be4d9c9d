//! The inner loop of coding: `output = sum of coefficient[i] * source[i]` over GF(2^8).
//!
//! Owns: the choice of the fastest loop at run time, and the plain one that every machine has. The
//! Reed-Solomon crate's own fast path is C compiled for one kind of processor and chosen by a build flag:
//! a program built with it dies on an older machine. So the crate, without that path, stays the
//! definition ([`super::erasure`] takes its coefficients from it), and the loops are here.
//! Holds: all kernels give the same bytes (a property test says so).

#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
mod arm;

use super::field::multiply;

/// Products of every pair of elements; row = coefficient.
static PRODUCTS: [[u8; 256]; 256] = {
    let mut table = [[0u8; 256]; 256];
    let mut a = 0;
    while a < 256 {
        let mut b = 0;
        while b < 256 {
            table[a][b] = multiply(a as u8, b as u8);
            b += 1;
        }
        a += 1;
    }
    table
};

/// An inner loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Table look-ups: every machine.
    Plain,
    /// x86-64 with AVX2: 32 bytes at a time by nibble shuffles.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-512 and GFNI: 64 bytes at a time by 8x8 bit matrices.
    #[cfg(target_arch = "x86_64")]
    Gfni,
    /// arm64: 16 bytes at a time by nibble look-ups.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Kernel {
    /// All that this machine can run, the fastest last.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut all = vec![Self::Plain];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") {
                all.push(Self::Avx2);
            }
            if std::arch::is_x86_feature_detected!("gfni")
                && std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512bw")
            {
                all.push(Self::Gfni);
            }
        }
        #[cfg(target_arch = "aarch64")]
        all.push(Self::Neon);
        all
    }

    /// The fastest that this machine can run.
    pub fn best() -> Self {
        static BEST: std::sync::OnceLock<Kernel> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Self::available().pop().unwrap_or(Self::Plain))
    }

    /// Writes `sum of coefficients[i] * sources[i]` to `output`. Sources shorter than `output` count as
    /// padded with zeros.
    pub fn combine(self, coefficients: &[u8], sources: &[&[u8]], output: &mut [u8]) {
        // Whole vectors where every source has them; the plain loop for the rest.
        let common = sources.iter().map(|s| s.len()).min().unwrap_or(0).min(output.len());
        let done = match self {
            Self::Plain => 0,
            // SAFETY (all): a value of the variant exists only if `available` saw the processor's features
            // (`Kernel` is public, but its variants are only offered by `available` and `best`; the check
            // is repeated in debug builds inside); the loops touch `common` bytes at most, which every
            // slice has.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86::avx2(coefficients, sources, output, common),
            #[cfg(target_arch = "x86_64")]
            Self::Gfni => x86::gfni(coefficients, sources, output, common),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => arm::neon(coefficients, sources, output, common),
        };
        plain(coefficients, sources, output, done);
    }
}

fn plain(coefficients: &[u8], sources: &[&[u8]], output: &mut [u8], from: usize) {
    let Some(rest) = output.get_mut(from..) else { return };
    rest.fill(0);
    for (&coefficient, source) in coefficients.iter().zip(sources) {
        let row = &PRODUCTS[usize::from(coefficient)];
        for (out, byte) in rest.iter_mut().zip(source.iter().skip(from)) {
            *out ^= row[usize::from(*byte)];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_kernels_agree(
            coefficients in prop::collection::vec(any::<u8>(), 1..9),
            seed in any::<u64>(),
            len in 0usize..700,
            short in 0usize..100,
        ) {
            let byte = |i: usize, j: usize| xxhash_rust::xxh3::xxh3_64_with_seed(&[i as u8, j as u8, (j >> 8) as u8], seed) as u8;
            let sources: Vec<Vec<u8>> = (0..coefficients.len())
                .map(|i| (0..if i == 0 { len.saturating_sub(short) } else { len }).map(|j| byte(i, j)).collect())
                .collect();
            let sources: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
            let mut wanted = vec![1; len];
            Kernel::Plain.combine(&coefficients, &sources, &mut wanted);
            for kernel in Kernel::available() {
                let mut output = vec![2; len];
                kernel.combine(&coefficients, &sources, &mut output);
                prop_assert_eq!(&output, &wanted, "{:?}", kernel);
            }
            if let (Some(first), Some(at)) = (sources.first(), len.checked_sub(short + 1)) {
                let sum = coefficients.iter().zip(&sources).fold(0, |s, (&c, src)| s ^ multiply(c, src[at]));
                prop_assert_eq!(wanted[at], sum);
                prop_assert!(first.len() > at);
            }
        }
    }
}
