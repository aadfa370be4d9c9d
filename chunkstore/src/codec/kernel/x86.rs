//! Inner loops for x86-64. Each public function checks the processor before it enters the unsafe loop,
//! so that they are safe to call whatever the machine.

use std::arch::x86_64::{
    __m256i, __m512i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_loadu_si256, _mm256_set1_epi8,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi64, _mm256_storeu_si256, _mm256_xor_si256, _mm512_gf2p8affine_epi64_epi8,
    _mm512_loadu_si512, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_storeu_si512, _mm512_xor_si512,
};

use crate::codec::field::multiply;

/// Bytes done at the front of `output` (a multiple of 32, at most `common`).
pub(super) fn avx2(coefficients: &[u8], sources: &[&[u8]], output: &mut [u8], common: usize) -> usize {
    if !std::arch::is_x86_feature_detected!("avx2") || !fits(sources, output, common) {
        return 0;
    }
    let tables: Vec<([u8; 16], [u8; 16])> = coefficients.iter().map(|&c| nibble_tables(c)).collect();
    // SAFETY: AVX2 was detected, and `fits` checked that every slice has `common` bytes.
    unsafe { avx2_loop(&tables, sources, output, common / 32 * 32) };
    common / 32 * 32
}

/// Bytes done at the front of `output` (a multiple of 64, at most `common`).
pub(super) fn gfni(coefficients: &[u8], sources: &[&[u8]], output: &mut [u8], common: usize) -> usize {
    let detected = std::arch::is_x86_feature_detected!("gfni")
        && std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw");
    if !detected || !fits(sources, output, common) {
        return 0;
    }
    let matrices: Vec<i64> = coefficients.iter().map(|&c| bit_matrix(c)).collect();
    // SAFETY: GFNI and AVX-512 were detected, and `fits` checked that every slice has `common` bytes.
    unsafe { gfni_loop(&matrices, sources, output, common / 64 * 64) };
    common / 64 * 64
}

fn fits(sources: &[&[u8]], output: &[u8], common: usize) -> bool {
    output.len() >= common && sources.iter().all(|s| s.len() >= common)
}

/// Products of `coefficient` with every low and every high nibble.
fn nibble_tables(coefficient: u8) -> ([u8; 16], [u8; 16]) {
    let (mut low, mut high) = ([0; 16], [0; 16]);
    for (nibble, (low, high)) in (0u8..16).zip(low.iter_mut().zip(&mut high)) {
        *low = multiply(coefficient, nibble);
        *high = multiply(coefficient, nibble << 4);
    }
    (low, high)
}

/// Multiplication by `coefficient` as an 8x8 bit matrix in the order that `vgf2p8affineqb` wants: byte
/// `7 - i` of the quadword is the row that gives bit `i` of the product.
fn bit_matrix(coefficient: u8) -> i64 {
    let mut rows = [0u8; 8];
    for bit_in in 0..8 {
        let product = multiply(coefficient, 1 << bit_in);
        for (bit_out, row) in rows.iter_mut().rev().enumerate() {
            if product >> bit_out & 1 == 1 {
                *row |= 1 << bit_in;
            }
        }
    }
    i64::from_le_bytes(rows)
}

/// # Safety
/// The processor has AVX2; every source and `output` has at least `len` bytes; `len` is a multiple of 32.
#[target_feature(enable = "avx2")]
unsafe fn avx2_loop(tables: &[([u8; 16], [u8; 16])], sources: &[&[u8]], output: &mut [u8], len: usize) {
    let mask = _mm256_set1_epi8(0x0f);
    let mut at = 0;
    while at < len {
        let mut sum = _mm256_setzero_si256();
        for ((low, high), source) in tables.iter().zip(sources) {
            // SAFETY: the tables are 16 bytes each; `at + 32 <= len <= source.len()`.
            let (low, high, bytes) = unsafe {
                (
                    _mm256_broadcastsi128_si256(_mm_loadu_si128(low.as_ptr().cast())),
                    _mm256_broadcastsi128_si256(_mm_loadu_si128(high.as_ptr().cast())),
                    _mm256_loadu_si256(source.as_ptr().add(at).cast::<__m256i>()),
                )
            };
            let low = _mm256_shuffle_epi8(low, _mm256_and_si256(bytes, mask));
            let high = _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi64::<4>(bytes), mask));
            sum = _mm256_xor_si256(sum, _mm256_xor_si256(low, high));
        }
        // SAFETY: `at + 32 <= len <= output.len()`.
        unsafe { _mm256_storeu_si256(output.as_mut_ptr().add(at).cast::<__m256i>(), sum) };
        at += 32;
    }
}

/// # Safety
/// The processor has GFNI and AVX-512 F and BW; every source and `output` has at least `len` bytes; `len`
/// is a multiple of 64.
#[target_feature(enable = "gfni,avx512f,avx512bw")]
unsafe fn gfni_loop(matrices: &[i64], sources: &[&[u8]], output: &mut [u8], len: usize) {
    let mut at = 0;
    while at < len {
        let mut sum = _mm512_setzero_si512();
        for (&matrix, source) in matrices.iter().zip(sources) {
            // SAFETY: `at + 64 <= len <= source.len()`.
            let bytes = unsafe { _mm512_loadu_si512(source.as_ptr().add(at).cast::<__m512i>()) };
            sum = _mm512_xor_si512(sum, _mm512_gf2p8affine_epi64_epi8::<0>(bytes, _mm512_set1_epi64(matrix)));
        }
        // SAFETY: `at + 64 <= len <= output.len()`.
        unsafe { _mm512_storeu_si512(output.as_mut_ptr().add(at).cast::<__m512i>(), sum) };
        at += 64;
    }
}
