//! The rules of uploads, as pure functions: cutting bytes into chunks, a hash that can be interrupted,
//! the header fields of tus 1.0 and of RFC 9530.
//!
//! Owns: the arithmetic of chunks and tails, [`Sha256`] with an exportable state, header parsing. Not: the
//! driver ([`crate::api::ingest`]).
//! Holds: (1) the chunk at position `i` of a blob holds the bytes from `i * chunk_bytes` on, every chunk but the
//! last is full, an empty blob has no chunk; (2) a hash continued from an exported state equals the hash of the whole.
//!
//! Why an own SHA-256: aws-lc-rs cannot export a running state, and a resumable upload must carry its hash
//! from one request (and one gateway) to the next without reading the bytes again. Uploads of one request
//! use aws-lc-rs. A test compares both on random input.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kluis_chunkstore::ids::ChunkId;
use zeroize::Zeroize;

/// Number of chunks of `size` bytes, or `None` when there are more than a blob can have.
pub fn chunk_count(size: u64, chunk_bytes: u32) -> Option<u32> {
    if chunk_bytes == 0 {
        return None;
    }
    let count = u32::try_from(size.div_ceil(u64::from(chunk_bytes))).ok()?;
    (count < ChunkId::POSITIONS).then_some(count)
}

/// Plaintext bytes of the chunk at `position` of a blob of `size` bytes; 0 when there is no such chunk.
pub fn chunk_len(size: u64, chunk_bytes: u32, position: u32) -> usize {
    let start = u64::from(position).saturating_mul(u64::from(chunk_bytes));
    let len = size.saturating_sub(start).min(u64::from(chunk_bytes));
    // At most a u32, which fits.
    usize::try_from(len).unwrap_or(0)
}

/// Where a resumable upload stands: full chunks behind, and how much of the next one is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Position of the chunk that is being filled.
    pub position: u32,
    /// Bytes of it that are there.
    pub filled: u32,
}

/// Where an upload of chunks of `chunk_bytes` stands at `offset`; `None` when a blob cannot be so long.
pub fn standing(offset: u64, chunk_bytes: u32) -> Option<Standing> {
    if chunk_bytes == 0 {
        return None;
    }
    let position = u32::try_from(offset / u64::from(chunk_bytes)).ok()?;
    let filled = u32::try_from(offset % u64::from(chunk_bytes)).ok()?;
    (position < ChunkId::POSITIONS).then_some(Standing { position, filled })
}

/// A running SHA-256 (FIPS 180-4) whose state can be taken out and put back.
#[derive(Clone)]
pub struct Sha256 {
    state: [u32; 8],
    pending: [u8; 64],
    len: u64,
}

impl Drop for Sha256 {
    fn drop(&mut self) {
        // The pending block is plaintext.
        self.pending.zeroize();
    }
}

const INITIAL: [u32; 8] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

const ROUND: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

impl Default for Sha256 {
    fn default() -> Self {
        Self { state: INITIAL, pending: [0; 64], len: 0 }
    }
}

impl Sha256 {
    /// Bytes of an exported state: 32 of state, 8 of length, 64 of the pending block.
    pub const EXPORTED_BYTES: usize = 104;

    /// Takes in more bytes.
    pub fn update(&mut self, mut data: &[u8]) {
        let at = self.pending_len();
        self.len = self.len.wrapping_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        if at > 0 {
            let take = data.len().min(64 - at);
            let (head, rest) = data.split_at(take);
            self.pending[at..at + take].copy_from_slice(head);
            data = rest;
            if at + take < 64 {
                return;
            }
            compress(&mut self.state, &self.pending);
        }
        let (blocks, rest) = data.as_chunks::<64>();
        for block in blocks {
            compress(&mut self.state, block);
        }
        self.pending[..rest.len()].copy_from_slice(rest);
    }

    /// The digest of all that was taken in.
    pub fn finish(mut self) -> [u8; 32] {
        let bits = self.len.wrapping_mul(8);
        let at = self.pending_len();
        self.pending[at] = 0x80;
        self.pending[at + 1..].fill(0);
        if at >= 56 {
            compress(&mut self.state, &self.pending);
            self.pending.fill(0);
        }
        self.pending[56..].copy_from_slice(&bits.to_be_bytes());
        compress(&mut self.state, &self.pending);
        let mut digest = [0; 32];
        for (out, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *out = word.to_be_bytes();
        }
        digest
    }

    /// Bytes taken in so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was taken in yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The running state. It holds up to 63 bytes of plaintext: seal it before it leaves.
    pub fn export(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::EXPORTED_BYTES);
        for word in self.state {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&self.len.to_be_bytes());
        let at = self.pending_len();
        out.extend_from_slice(&self.pending[..at]);
        out.resize(Self::EXPORTED_BYTES, 0);
        out
    }

    /// A hash that goes on from an exported state; `None` when it is none.
    pub fn import(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::EXPORTED_BYTES {
            return None;
        }
        let (words, rest) = bytes.split_first_chunk::<32>()?;
        let (len, pending) = rest.split_first_chunk::<8>()?;
        let mut state = [0; 8];
        for (word, bytes) in state.iter_mut().zip(words.as_chunks::<4>().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        Some(Self { state, pending: pending.try_into().ok()?, len: u64::from_be_bytes(*len) })
    }

    fn pending_len(&self) -> usize {
        usize::try_from(self.len % 64).unwrap_or(0)
    }
}

fn compress(state: &mut [u32; 8], block: &[u8; 64]) {
    let mut w = [0u32; 64];
    for (word, bytes) in w.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for i in 16..64 {
        let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
        let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (k, w) in ROUND.iter().zip(w) {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = (e & f) ^ (!e & g);
        let t1 = h.wrapping_add(s1).wrapping_add(choice).wrapping_add(*k).wrapping_add(w);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        let t2 = s0.wrapping_add(majority);
        h = g;
        g = f;
        f = e;
        e = d.wrapping_add(t1);
        d = c;
        c = b;
        b = a;
        a = t1.wrapping_add(t2);
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(add);
    }
}

/// Header fields that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldProblem {
    /// Not a plain decimal number that fits.
    #[error("a length or offset is a plain decimal number")]
    Number,
    /// Not pairs of a key and base64.
    #[error("metadata is a list of keys, each followed by a space and base64, separated by commas, each key once")]
    Metadata,
    /// Not a digest field of RFC 9530.
    #[error("a digest field is written sha-256=:BASE64:, with 32 bytes of digest")]
    Digest,
}

/// A length or offset: digits only, for `+4`, `-1` and `4, 4` are how requests are smuggled.
///
/// # Errors
/// [`FieldProblem::Number`].
pub fn decimal(text: &str) -> Result<u64, FieldProblem> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(FieldProblem::Number);
    }
    text.parse().map_err(|_| FieldProblem::Number)
}

/// The pairs of `Upload-Metadata` (tus 1.0); a key without a value has an empty one.
///
/// # Errors
/// [`FieldProblem::Metadata`].
pub fn upload_metadata(text: &str) -> Result<Vec<(String, Vec<u8>)>, FieldProblem> {
    let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
    if text.trim().is_empty() {
        return Ok(pairs);
    }
    for pair in text.split(',') {
        let pair = pair.trim();
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) || pairs.iter().any(|(k, _)| k == key) {
            return Err(FieldProblem::Metadata);
        }
        let value = STANDARD.decode(value).map_err(|_| FieldProblem::Metadata)?;
        pairs.push((key.to_owned(), value));
    }
    Ok(pairs)
}

/// The SHA-256 in a `Content-Digest` or `Repr-Digest` field; `None` when it names other algorithms only.
///
/// # Errors
/// [`FieldProblem::Digest`].
pub fn sha256_field(text: &str) -> Result<Option<[u8; 32]>, FieldProblem> {
    let mut found = None;
    for member in text.split(',') {
        let (key, value) = member.trim().split_once('=').ok_or(FieldProblem::Digest)?;
        let key_ok = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(&b));
        let inner = value.strip_prefix(':').and_then(|v| v.strip_suffix(':')).ok_or(FieldProblem::Digest)?;
        let bytes = STANDARD.decode(inner).map_err(|_| FieldProblem::Digest)?;
        if !key_ok {
            return Err(FieldProblem::Digest);
        }
        if key == "sha-256" {
            found = Some(bytes.try_into().map_err(|_| FieldProblem::Digest)?);
        }
    }
    Ok(found)
}

/// The value of a `Repr-Digest` field.
pub fn sha256_field_value(digest: &[u8; 32]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest;
    use proptest::prelude::{any, proptest};

    use super::*;

    fn reference(data: &[u8]) -> [u8; 32] {
        digest::digest(&digest::SHA256, data).as_ref().try_into().unwrap()
    }

    #[test]
    fn known_answers() {
        // FIPS 180-4 examples.
        let mut hash = Sha256::default();
        hash.update(b"abc");
        assert_eq!(hex::encode(hash.finish()), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hex::encode(Sha256::default().finish()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    proptest! {
        #[test]
        fn interrupted_hash_equals_whole(data in proptest::collection::vec(any::<u8>(), 0..600), cuts in proptest::collection::vec(0usize..600, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(data.len())).collect();
            cuts.sort_unstable();
            let mut hash = Sha256::default();
            let mut from = 0;
            for cut in cuts {
                hash.update(&data[from..cut]);
                hash = Sha256::import(&hash.export()).unwrap();
                from = cut;
            }
            hash.update(&data[from..]);
            assert_eq!(hash.len(), data.len() as u64);
            assert_eq!(hash.finish(), reference(&data));
        }

        #[test]
        fn chunks_cover_the_blob(size in 0u64..100_000, chunk in 1u32..5_000) {
            let count = chunk_count(size, chunk).unwrap();
            let total: u64 = (0..count).map(|i| chunk_len(size, chunk, i) as u64).sum();
            assert_eq!(total, size);
            assert_eq!(chunk_len(size, chunk, count), 0);
            let at = standing(size, chunk).unwrap();
            assert_eq!(u64::from(at.position) * u64::from(chunk) + u64::from(at.filled), size);
            assert!(at.filled < chunk);
        }

        #[test]
        fn fields_never_panic(text in ".{0,80}") {
            let _ = (decimal(&text), upload_metadata(&text), sha256_field(&text));
        }

        #[test]
        fn digest_field_round_trips(digest in any::<[u8; 32]>()) {
            assert_eq!(sha256_field(&sha256_field_value(&digest)), Ok(Some(digest)));
        }
    }

    #[test]
    fn numbers_metadata_and_digests() {
        assert_eq!(decimal("18446744073709551615"), Ok(u64::MAX));
        for bad in ["", "+4", "-1", "4, 4", " 4", "18446744073709551616", "0x1"] {
            assert_eq!(decimal(bad), Err(FieldProblem::Number), "{bad}");
        }
        let pairs = upload_metadata("filename d29ybGQ=, empty").unwrap();
        assert_eq!(pairs, [("filename".to_owned(), b"world".to_vec()), ("empty".to_owned(), Vec::new())]);
        assert!(upload_metadata("a YQ==,a YQ==").is_err() && upload_metadata("a %%%").is_err() && upload_metadata(",").is_err());
        assert_eq!(sha256_field("sha-512=:AAAA:"), Ok(None));
        for bad in ["sha-256", "sha-256=abc", "sha-256=:AAAA:", "sha-256=::", "=:AAAA:", ""] {
            assert_eq!(sha256_field(bad), Err(FieldProblem::Digest), "{bad}");
        }
    }

    #[test]
    fn what_is_too_long_or_no_state_is_refused() {
        assert_eq!(chunk_count(u64::MAX, 1), None);
        assert_eq!(chunk_count(1, 0), None);
        let most = u64::from(ChunkId::POSITIONS - 1) * 4096;
        assert_eq!((chunk_count(most, 4096), chunk_count(most + 1, 4096)), (Some(ChunkId::POSITIONS - 1), None));
        assert!(standing(most, 4096).is_some() && standing(most + 4096, 4096).is_none());
        assert!(Sha256::import(&[0; 103]).is_none());
    }
}
