//! The erasure codec: a chunk into shards, each a row of the code, and any `k` of them back into the chunk.
//!
//! Owns: splitting, padding, coding, decoding. Not: checksums (each shard's record carries one), nor
//! which rows a chunk has and where they are ([`crate::placement`]).
//! Holds: (1) rows 0 to `k - 1` are the chunk itself, cut evenly, the last one padded with zeros; every other row is
//! a combination of them; (2) the coefficients are those of the crate `reed-solomon-erasure` (a Vandermonde matrix
//! made systematic), read from it once a code; a row depends on `k` and its number alone, not on how many a
//! chunk has; (3) coding goes strip by strip, all rows of one before the next, so that a strip of every input is
//! read from memory once and then from the processor's cache.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use reed_solomon_erasure::galois_8::ReedSolomon;

use super::{
    field::{invert_matrix, multiply},
    kernel::Kernel,
};
use crate::code::Code;

/// Bytes of each shard that are coded before the next: the strips of a chunk's shards fit the second-level cache.
const STRIP_BYTES: usize = 16 * 1024;

/// Why shards do not give a chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer than k distinct shards.
    #[error("{have} of the {need} shards that are needed")]
    TooFew {
        /// Distinct shards given.
        have: usize,
        /// Shards needed.
        need: usize,
    },
    /// A shard has a length that the chunk's length does not give.
    #[error("shard {shard} has {actual} bytes instead of {wanted}")]
    Length {
        /// Which.
        shard: u8,
        /// Its length.
        actual: usize,
        /// The right one.
        wanted: usize,
    },
    /// The code itself could not be set up; a defect of the program.
    #[error("code {0} has no matrix")]
    Matrix(Code),
}

/// A codec for one code. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Erasure {
    code: Code,
    kernel: Kernel,
    /// Coefficients of each row: a column for each of the first `k` rows.
    matrix: Arc<[Vec<u8>; Code::ROWS]>,
}

impl Erasure {
    /// The codec of `code`, from a cache.
    ///
    /// # Errors
    /// [`DecodeError::Matrix`] if the Reed-Solomon crate refuses the code, which no checked [`Code`] meets.
    pub fn of(code: Code) -> Result<Self, DecodeError> {
        static CACHE: Mutex<BTreeMap<Code, Erasure>> = Mutex::new(BTreeMap::new());
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = cache.get(&code) {
            return Ok(found.clone());
        }
        let made = Self { code, kernel: Kernel::best(), matrix: Arc::new(coefficients(code).ok_or(DecodeError::Matrix(code))?) };
        cache.insert(code, made.clone());
        Ok(made)
    }

    /// The inner loop in use.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// These rows of a chunk, in the order of `rows`. A row below `k` shares the chunk's memory.
    pub fn encode(&self, chunk: &Bytes, rows: &[u8]) -> Vec<Bytes> {
        let k = self.code.k();
        if k == 1 {
            return vec![chunk.clone(); rows.len()];
        }
        let len = self.code.shard_len(chunk.len());
        let data = cut(chunk, k, len);
        let combined: Vec<&[u8]> = rows.iter().filter(|row| usize::from(**row) >= k).map(|row| self.row(*row)).collect();
        let mut memory = BytesMut::zeroed(len * combined.len());
        let mut outputs: Vec<Output<'_>> = combined.into_iter().zip(memory.chunks_mut(len.max(1))).collect();
        self.combine(&data, &mut outputs);
        let mut memory = memory.freeze();
        rows.iter().map(|row| data.get(usize::from(*row)).cloned().unwrap_or_else(|| memory.split_to(len))).collect()
    }

    /// The chunk of `chunk_len` bytes from any `k` distinct shards.
    ///
    /// # Errors
    /// [`DecodeError::TooFew`], or [`DecodeError::Length`] for a shard of the wrong size.
    pub fn decode(&self, shards: &[(u8, Bytes)], chunk_len: usize) -> Result<Bytes, DecodeError> {
        let len = self.code.shard_len(chunk_len);
        let (rows, sources) = self.usable(shards, len)?;
        if let Some(only) = sources.first()
            && self.code.k() == 1
        {
            return Ok(only.clone());
        }
        let inverse = self.inverse(&rows)?;
        let mut chunk = BytesMut::zeroed(len * self.code.k());
        let mut outputs: Vec<Output<'_>> = Vec::with_capacity(self.code.k());
        for ((i, coefficients), output) in inverse.iter().enumerate().zip(chunk.chunks_mut(len.max(1))) {
            match rows.iter().zip(&sources).find(|(row, _)| usize::from(**row) == i) {
                Some((_, data)) => output.copy_from_slice(data),
                None => outputs.push((coefficients.as_slice(), output)),
            }
        }
        self.combine(&sources, &mut outputs);
        chunk.truncate(chunk_len);
        Ok(chunk.freeze())
    }

    /// Any row anew from any `k` others.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn rebuild(&self, shards: &[(u8, Bytes)], wanted: u8, chunk_len: usize) -> Result<Bytes, DecodeError> {
        let len = self.code.shard_len(chunk_len);
        let (rows, sources) = self.usable(shards, len)?;
        if let Some((_, found)) = rows.iter().zip(&sources).find(|(row, _)| **row == wanted || self.code.k() == 1) {
            return Ok(found.clone());
        }
        // The wanted row of the first k rows, and these of what is there.
        let mut coefficients = vec![0; self.code.k()];
        for (&factor, row) in self.row(wanted).iter().zip(&self.inverse(&rows)?) {
            for (sum, &x) in coefficients.iter_mut().zip(row) {
                *sum ^= multiply(factor, x);
            }
        }
        let mut output = BytesMut::zeroed(len);
        self.combine(&sources, &mut [(coefficients.as_slice(), &mut output[..])]);
        Ok(output.freeze())
    }

    /// The first k distinct shards: their rows, and their bytes. All must have the right length.
    fn usable(&self, shards: &[(u8, Bytes)], len: usize) -> Result<(Vec<u8>, Vec<Bytes>), DecodeError> {
        let need = self.code.k();
        let (mut rows, mut sources) = (Vec::with_capacity(need), Vec::with_capacity(need));
        for (row, data) in shards {
            if data.len() != len {
                return Err(DecodeError::Length { shard: *row, actual: data.len(), wanted: len });
            }
            if rows.len() < need && !rows.contains(row) {
                rows.push(*row);
                sources.push(data.clone());
            }
        }
        if rows.len() < need {
            return Err(DecodeError::TooFew { have: rows.len(), need });
        }
        Ok((rows, sources))
    }

    /// The first k rows as combinations of `rows`.
    fn inverse(&self, rows: &[u8]) -> Result<Vec<Vec<u8>>, DecodeError> {
        let matrix: Vec<Vec<u8>> = rows.iter().map(|row| self.row(*row).to_vec()).collect();
        invert_matrix(&matrix).ok_or(DecodeError::Matrix(self.code))
    }

    /// Each output as its combination of `sources`.
    fn combine(&self, sources: &[Bytes], outputs: &mut [Output<'_>]) {
        let len = sources.first().map_or(0, Bytes::len);
        let mut at = 0;
        while at < len {
            let end = (at + STRIP_BYTES).min(len);
            let strips: Vec<&[u8]> = sources.iter().filter_map(|s| s.get(at..end)).collect();
            for (coefficients, output) in outputs.iter_mut() {
                if let Some(strip) = output.get_mut(at..end) {
                    self.kernel.combine(coefficients, &strips, strip);
                }
            }
            at = end;
        }
    }

    /// A row as a combination of the first k.
    fn row(&self, row: u8) -> &[u8] {
        &self.matrix[usize::from(row)]
    }
}

/// What is to be made: coefficients, and where it goes.
type Output<'a> = (&'a [u8], &'a mut [u8]);

/// A chunk in `k` parts of `len` bytes, the last ones padded with zeros.
fn cut(chunk: &Bytes, k: usize, len: usize) -> Vec<Bytes> {
    let part = |i: usize| chunk.slice((i * len).min(chunk.len())..((i + 1) * len).min(chunk.len()));
    let padded = |part: Bytes| {
        let mut padded = BytesMut::with_capacity(len);
        padded.extend_from_slice(&part);
        padded.resize(len, 0);
        padded.freeze()
    };
    (0..k).map(part).map(|part| if part.len() == len { part } else { padded(part) }).collect()
}

/// The coefficients of the Reed-Solomon crate: what it makes of the unit vectors.
fn coefficients(code: Code) -> Option<[Vec<u8>; Code::ROWS]> {
    let codec = ReedSolomon::new(code.k(), Code::ROWS - code.k()).ok()?;
    let mut rows: Vec<Vec<u8>> = (0..Code::ROWS).map(|i| (0..code.k()).map(|j| u8::from(i == j)).collect()).collect();
    codec.encode(&mut rows).ok()?;
    rows.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(len: usize, seed: u64) -> Bytes {
        (0..len).map(|i| xxhash_rust::xxh3::xxh3_64_with_seed(&i.to_le_bytes(), seed) as u8).collect::<Vec<u8>>().into()
    }

    const CODES: [Code; 4] = [Code::SMALL, Code::STANDARD, Code::DENSE, Code::VAST];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_k_rows_give_the_chunk_and_every_row_back(
            code in prop::sample::select(&CODES[..]),
            len in 0usize..60_000,
            seed in any::<u64>(),
            rows in Just((0..=u8::MAX).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let codec = Erasure::of(code).unwrap();
            let chunk = bytes(len, seed);
            let rows = &rows[..code.n()];
            let shards: Vec<(u8, Bytes)> = rows.iter().copied().zip(codec.encode(&chunk, rows)).collect();
            let keep = &shards[..code.k()];
            prop_assert_eq!(&codec.decode(keep, len).unwrap(), &chunk);
            for (row, shard) in &shards {
                prop_assert_eq!(&codec.rebuild(keep, *row, len).unwrap(), shard, "row {}", row);
            }
            prop_assert_eq!(codec.decode(&keep[1..], len), Err(DecodeError::TooFew { have: code.k() - 1, need: code.k() }));
        }

        /// Some of the rows are the chunk's own parts, as on most disks none is: both ways back in one.
        #[test]
        fn parts_of_the_chunk_and_other_rows_may_mix(own in prop::sample::subsequence(vec![0u8, 1, 2, 3], 0..=4), len in 1usize..60_000, seed in any::<u64>()) {
            let codec = Erasure::of(Code::STANDARD).unwrap();
            let chunk = bytes(len, seed);
            let rows: Vec<u8> = [200, 17, 255, 4].into_iter().take(4 - own.len()).chain(own).collect();
            let shards: Vec<(u8, Bytes)> = rows.iter().copied().zip(codec.encode(&chunk, &rows)).collect();
            prop_assert_eq!(&codec.decode(&shards, len).unwrap(), &chunk);
        }

        /// A row's bytes do not depend on how many rows a chunk has: those of the crate for n = k + m are its first
        /// for n = 256.
        #[test]
        fn the_rows_are_those_of_the_reed_solomon_crate(code in prop::sample::select(&CODES[..]), len in 1usize..20_000, seed in any::<u64>()) {
            let all: Vec<u8> = (0..=u8::MAX).collect();
            let ours = Erasure::of(code).unwrap().encode(&bytes(len, seed), &all);
            for n in [code.n(), Code::ROWS] {
                let mut theirs: Vec<Vec<u8>> = ours.iter().take(code.k()).map(|s| s.to_vec()).collect();
                theirs.resize(n, vec![0; code.shard_len(len)]);
                ReedSolomon::new(code.k(), n - code.k()).unwrap().encode(&mut theirs).unwrap();
                for (row, (a, b)) in ours.iter().zip(&theirs).enumerate() {
                    prop_assert_eq!(&a[..], &b[..], "row {} of {}", row, n);
                }
            }
        }
    }

    #[test]
    fn a_row_below_k_shares_the_memory_of_the_chunk_and_the_order_is_the_callers() {
        let codec = Erasure::of(Code::STANDARD).unwrap();
        let chunk = bytes(4000, 1);
        let shards = codec.encode(&chunk, &[9, 2, 255, 0]);
        assert_eq!(shards[1].as_ptr(), chunk[2000..].as_ptr());
        assert_eq!(shards[3].as_ptr(), chunk.as_ptr());
        for (row, shard) in [9, 255].into_iter().zip([&shards[0], &shards[2]]) {
            assert_eq!(codec.encode(&chunk, &[row]), std::slice::from_ref(shard));
        }
    }

    #[test]
    fn wrong_lengths_and_repeated_shards_are_refused() {
        let codec = Erasure::of(Code::STANDARD).unwrap();
        let one = (7, codec.encode(&bytes(1000, 1), &[7]).remove(0));
        assert_eq!(codec.decode(&vec![one.clone(); 4], 1000), Err(DecodeError::TooFew { have: 1, need: 4 }));
        assert!(matches!(codec.decode(&[one], 999_999), Err(DecodeError::Length { .. })));
    }
}
