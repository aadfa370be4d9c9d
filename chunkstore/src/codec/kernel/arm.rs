//! Inner loop for arm64, whose NEON every processor of the kind has.

use std::arch::aarch64::{vandq_u8, vdupq_n_u8, veorq_u8, vld1q_u8, vqtbl1q_u8, vshrq_n_u8, vst1q_u8};

use crate::codec::field::multiply;

/// Bytes done at the front of `output` (a multiple of 16, at most `common`).
pub(super) fn neon(coefficients: &[u8], sources: &[&[u8]], output: &mut [u8], common: usize) -> usize {
    if output.len() < common || sources.iter().any(|s| s.len() < common) {
        return 0;
    }
    let len = common / 16 * 16;
    let mut tables = Vec::with_capacity(coefficients.len());
    for &coefficient in coefficients {
        let (mut low, mut high) = ([0u8; 16], [0u8; 16]);
        for (nibble, (low, high)) in (0u8..16).zip(low.iter_mut().zip(&mut high)) {
            *low = multiply(coefficient, nibble);
            *high = multiply(coefficient, nibble << 4);
        }
        tables.push((low, high));
    }
    let mut at = 0;
    while at < len {
        // SAFETY: NEON is part of arm64; the tables are 16 bytes each; `at + 16 <= len`, and every slice has
        // `common >= len` bytes.
        unsafe {
            let mut sum = vdupq_n_u8(0);
            for ((low, high), source) in tables.iter().zip(sources) {
                let bytes = vld1q_u8(source.as_ptr().add(at));
                let low = vqtbl1q_u8(vld1q_u8(low.as_ptr()), vandq_u8(bytes, vdupq_n_u8(0x0f)));
                let high = vqtbl1q_u8(vld1q_u8(high.as_ptr()), vshrq_n_u8::<4>(bytes));
                sum = veorq_u8(sum, veorq_u8(low, high));
            }
            vst1q_u8(output.as_mut_ptr().add(at), sum);
        }
        at += 16;
    }
    len
}
