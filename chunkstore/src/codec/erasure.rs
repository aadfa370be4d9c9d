//! The erasure codec: a chunk into `k + m` shards, and any `k` of them back into the chunk.
//!
//! Owns: splitting, padding, coding, decoding. Not: checksums (each shard's record carries one), nor
//! which shards are where.
//! Holds: (1) the first `k` shards are the chunk itself, cut evenly, the last one padded with zeros;
//! (2) the coefficients are those of the crate `reed-solomon-erasure` (a Vandermonde matrix made
//! systematic), read from it at start-up; (3) coding goes strip by strip, so that a strip of every shard
//! stays in the processor's cache.

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

/// Bytes of each shard that are coded before the next: (k + m) strips fit the second-level cache.
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
    /// Row per parity shard, column per data shard.
    parity: Arc<Vec<Vec<u8>>>,
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
        let made = Self { code, kernel: Kernel::best(), parity: Arc::new(coefficients(code).ok_or(DecodeError::Matrix(code))?) };
        cache.insert(code, made.clone());
        Ok(made)
    }

    /// The inner loop in use.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// All shards of a chunk. Data shards share the chunk's memory.
    pub fn encode(&self, chunk: &Bytes) -> Vec<Bytes> {
        let (k, n) = (self.code.k(), self.code.n());
        if k == 1 {
            return vec![chunk.clone(); n];
        }
        let len = self.code.shard_len(chunk.len());
        let mut shards = Vec::with_capacity(n);
        for i in 0..k {
            let (start, end) = ((i * len).min(chunk.len()), ((i + 1) * len).min(chunk.len()));
            let part = chunk.slice(start..end);
            if part.len() == len {
                shards.push(part);
            } else {
                let mut padded = BytesMut::zeroed(len);
                if let Some(front) = padded.get_mut(..part.len()) {
                    front.copy_from_slice(&part);
                }
                shards.push(padded.freeze());
            }
        }
        let mut parity = BytesMut::zeroed(len * self.code.m());
        {
            let mut rows: Vec<&mut [u8]> = parity.chunks_mut(len.max(1)).collect();
            let mut at = 0;
            while at < len {
                let end = (at + STRIP_BYTES).min(len);
                let strips: Vec<&[u8]> = shards.iter().filter_map(|s| s.get(at..end)).collect();
                for (coefficients, row) in self.parity.iter().zip(&mut rows) {
                    if let Some(output) = row.get_mut(at..end) {
                        self.kernel.combine(coefficients, &strips, output);
                    }
                }
                at = end;
            }
        }
        let mut parity = parity.freeze();
        for _ in 0..self.code.m() {
            shards.push(parity.split_to(len));
        }
        shards
    }

    /// The chunk of `chunk_len` bytes from any `k` distinct shards.
    ///
    /// # Errors
    /// [`DecodeError::TooFew`], or [`DecodeError::Length`] for a shard of the wrong size.
    pub fn decode(&self, shards: &[(u8, Bytes)], chunk_len: usize) -> Result<Bytes, DecodeError> {
        let len = self.code.shard_len(chunk_len);
        let have = self.usable(shards, len)?;
        if let Some((_, only)) = have.first()
            && self.code.k() == 1
        {
            return Ok(only.clone());
        }
        let mut chunk = BytesMut::zeroed(len * self.code.k());
        for (i, output) in (0u8..).zip(chunk.chunks_mut(len.max(1))) {
            match have.iter().find(|(shard, _)| *shard == i) {
                Some((_, data)) => output.copy_from_slice(data),
                None => self.combine_into(&have, i, output)?,
            }
        }
        chunk.truncate(chunk_len);
        Ok(chunk.freeze())
    }

    /// One shard anew from any `k` others.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn rebuild(&self, shards: &[(u8, Bytes)], wanted: u8, chunk_len: usize) -> Result<Bytes, DecodeError> {
        let len = self.code.shard_len(chunk_len);
        let have = self.usable(shards, len)?;
        if let Some((_, found)) = have.iter().find(|(shard, _)| *shard == wanted || self.code.k() == 1) {
            return Ok(found.clone());
        }
        let mut output = BytesMut::zeroed(len);
        self.combine_into(&have, wanted, &mut output)?;
        Ok(output.freeze())
    }

    /// The first k distinct shards of the right length.
    fn usable(&self, shards: &[(u8, Bytes)], len: usize) -> Result<Vec<(u8, Bytes)>, DecodeError> {
        let mut have: Vec<(u8, Bytes)> = Vec::with_capacity(self.code.k());
        for (shard, data) in shards {
            if data.len() != len {
                return Err(DecodeError::Length { shard: *shard, actual: data.len(), wanted: len });
            }
            let known = usize::from(*shard) < self.code.n() && !have.iter().any(|(s, _)| s == shard);
            if known && have.len() < self.code.k() {
                have.push((*shard, data.clone()));
            }
        }
        if have.len() < self.code.k() {
            return Err(DecodeError::TooFew { have: have.len(), need: self.code.k() });
        }
        Ok(have)
    }

    /// Shard `wanted` as a combination of `have`, strip by strip.
    fn combine_into(&self, have: &[(u8, Bytes)], wanted: u8, output: &mut [u8]) -> Result<(), DecodeError> {
        let rows: Vec<Vec<u8>> = have.iter().map(|(shard, _)| self.row(*shard)).collect();
        let inverse = invert_matrix(&rows).ok_or(DecodeError::Matrix(self.code))?;
        let target = self.row(wanted);
        let coefficients: Vec<u8> = (0..self.code.k())
            .map(|column| target.iter().zip(&inverse).fold(0, |sum, (&t, row)| sum ^ multiply(t, row.get(column).copied().unwrap_or(0))))
            .collect();
        let len = output.len();
        let mut at = 0;
        while at < len {
            let end = (at + STRIP_BYTES).min(len);
            let strips: Vec<&[u8]> = have.iter().filter_map(|(_, s)| s.get(at..end)).collect();
            if let Some(strip) = output.get_mut(at..end) {
                self.kernel.combine(&coefficients, &strips, strip);
            }
            at = end;
        }
        Ok(())
    }

    /// A shard as a combination of the data shards.
    fn row(&self, shard: u8) -> Vec<u8> {
        let (k, shard) = (self.code.k(), usize::from(shard));
        match shard.checked_sub(k).and_then(|parity| self.parity.get(parity)) {
            Some(row) => row.clone(),
            None => (0..k).map(|i| u8::from(i == shard)).collect(),
        }
    }
}

/// The parity coefficients of the Reed-Solomon crate: what it makes of the unit vectors.
fn coefficients(code: Code) -> Option<Vec<Vec<u8>>> {
    let codec = ReedSolomon::new(code.k(), code.m()).ok()?;
    let mut shards: Vec<Vec<u8>> = (0..code.n()).map(|i| (0..code.k()).map(|j| u8::from(i == j)).collect()).collect();
    codec.encode(&mut shards).ok()?;
    Some(shards.split_off(code.k()))
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
        fn any_k_shards_give_the_chunk_and_every_shard_back(
            code in prop::sample::select(&CODES[..]),
            len in 1usize..60_000,
            seed in any::<u64>(),
            order in Just((0u8..12).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let codec = Erasure::of(code).unwrap();
            let chunk = bytes(len, seed);
            let shards = codec.encode(&chunk);
            let keep: Vec<(u8, Bytes)> =
                order.into_iter().filter(|&i| usize::from(i) < code.n()).take(code.k()).map(|i| (i, shards[usize::from(i)].clone())).collect();
            prop_assert_eq!(&codec.decode(&keep, len).unwrap(), &chunk);
            for (i, shard) in (0u8..).zip(&shards) {
                prop_assert_eq!(&codec.rebuild(&keep, i, len).unwrap(), shard, "shard {}", i);
            }
            let few: Vec<_> = keep.iter().skip(1).cloned().collect();
            prop_assert_eq!(codec.decode(&few, len), Err(DecodeError::TooFew { have: code.k() - 1, need: code.k() }));
        }

        #[test]
        fn the_shards_are_those_of_the_reed_solomon_crate(code in prop::sample::select(&CODES[..]), len in 1usize..40_000, seed in any::<u64>()) {
            let ours = Erasure::of(code).unwrap().encode(&bytes(len, seed));
            let mut theirs: Vec<Vec<u8>> = ours.iter().take(code.k()).map(|s| s.to_vec()).collect();
            theirs.resize(code.n(), vec![0; code.shard_len(len)]);
            ReedSolomon::new(code.k(), code.m()).unwrap().encode(&mut theirs).unwrap();
            for (a, b) in ours.iter().zip(&theirs) {
                prop_assert_eq!(&a[..], &b[..]);
            }
        }
    }

    #[test]
    fn wrong_lengths_and_repeated_shards_are_refused() {
        let codec = Erasure::of(Code::STANDARD).unwrap();
        let shards = codec.encode(&bytes(1000, 1));
        let one = (0, shards[0].clone());
        assert_eq!(codec.decode(&vec![one.clone(); 4], 1000), Err(DecodeError::TooFew { have: 1, need: 4 }));
        assert!(matches!(codec.decode(&[one], 999_999), Err(DecodeError::Length { .. })));
    }
}
