//! Sealing: how a chunk of plaintext becomes the bytes that disks may hold, and back.
//!
//! ```text
//! offset  bytes  field
//!      0      4  "KC", format 1, algorithm 1 (AES-256-GCM)      \
//!      4     16  blob id                                        |
//!     20      8  index of the chunk's id, big-endian            | header: the associated data,
//!     28      8  chunks of the blob, big-endian; 0 = not known  | 60 bytes
//!     36      8  plaintext bytes of this chunk, big-endian      |
//!     44     16  commitment to the document key                 /
//!     60     12  nonce
//!     72      n  ciphertext, as long as the plaintext
//!   72+n     16  tag
//! ```
//! `chunk key = HKDF-Expand(document key, "chunk" || index)`, `commitment = HKDF-Expand(document key, "commit")`.
//!
//! Owns: that layout. Not: where document keys come from ([`crate::keys::vault_key`]), nor the erasure code.
//! Holds: (1) a chunk that was moved, swapped, cut, extended or edited does not open; (2) no plaintext leaves
//! before its tag was checked; (3) the same chunk sealed twice gives the same bytes.
//!
//! Why a commitment: AES-GCM alone lets somebody who knows two keys build one ciphertext that opens under
//! both. Why a synthetic nonce: an upload that is retried after a lost answer writes the same chunk again, and
//! shards of two tries may mix on the disks; with equal bytes any k of them still decode. It is a keyed
//! hash (HMAC-SHA-256) of the whole header and of a fingerprint of the plaintext: XXH3-128 under a secret seed. That
//! one chunk key meets one plaintext only is seen to before (an id of a chunk belongs to one content, DECISIONS
//! 0017); should it ever fail, another plaintext has another nonce but by a collision of 96 bits, which nobody
//! can look for who does not know the document's key. A cryptographic digest here costs more than the cipher itself.

use aws_lc_rs::{aead, hkdf, hmac};
use bytes::{Buf, Bytes, BytesMut};
use kluis_chunkstore::ids::BlobId;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::keys::{expand, vault_key::DocumentKey};

/// Bytes that sealing adds to a chunk.
pub const OVERHEAD: usize = HEADER + NONCE + TAG;

const HEADER: usize = 60;
const NONCE: usize = 12;
const TAG: usize = 16;
const COMMITMENT: usize = 16;
const MAGIC: [u8; 4] = [b'K', b'C', 1, 1];

const _: () = assert!(OVERHEAD == 88);

/// Why a chunk does not open. None of them says anything about the plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Fewer bytes than the overhead, or not as many as the header says.
    #[error("a sealed chunk has the wrong length")]
    Length,
    /// Not a sealed chunk, or one of another format or algorithm.
    #[error("a sealed chunk has an unknown format or algorithm")]
    Format,
    /// A chunk of another blob.
    #[error("a sealed chunk belongs to another blob")]
    OtherBlob,
    /// Another chunk of this blob.
    #[error("a sealed chunk lies in the place of another")]
    OtherIndex,
    /// A chunk of a longer or shorter version of this blob.
    #[error("a sealed chunk belongs to a blob of another length")]
    OtherCount,
    /// Sealed under another document key.
    #[error("a sealed chunk was sealed under another key")]
    OtherKey,
    /// The bytes were edited.
    #[error("a sealed chunk was edited")]
    Edited,
    /// The cipher refused to work: never because of the input.
    #[error("the cipher failed")]
    Cipher,
}

/// Length of `plain_len` bytes once they are sealed.
pub const fn sealed_len(plain_len: usize) -> usize {
    plain_len + OVERHEAD
}

/// Seals and opens the chunks of one blob. Cheap to make; keys derive once.
pub struct ChunkSealer {
    blob: BlobId,
    prk: hkdf::Prk,
    nonces: hmac::Key,
    fingerprint_seed: u64,
    commitment: [u8; COMMITMENT],
}

impl std::fmt::Debug for ChunkSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChunkSealer({})", self.blob)
    }
}

impl ChunkSealer {
    /// The sealer of `blob`, whose document key is `key`.
    ///
    /// # Errors
    /// [`SealError::Cipher`] when keys cannot be derived.
    pub fn new(key: &DocumentKey, blob: BlobId) -> Result<Self, SealError> {
        let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, key.secret().expose());
        let mut commitment = [0; COMMITMENT];
        expand(&prk, &[b"commit"], &mut commitment).map_err(|_| SealError::Cipher)?;
        let mut nonce_key = zeroize::Zeroizing::new([0u8; 32]);
        expand(&prk, &[b"nonce"], nonce_key.as_mut_slice()).map_err(|_| SealError::Cipher)?;
        let nonces = hmac::Key::new(hmac::HMAC_SHA256, nonce_key.as_slice());
        let mut seed = [0; 8];
        expand(&prk, &[b"fingerprint"], &mut seed).map_err(|_| SealError::Cipher)?;
        Ok(Self { blob, prk, nonces, fingerprint_seed: u64::from_be_bytes(seed), commitment })
    }

    /// Seals chunk `index` of `count` chunks (0 while the count is not known). One copy of `plain` is made,
    /// which is then encrypted in its place; the caller wipes `plain` itself.
    ///
    /// # Errors
    /// [`SealError::Cipher`], never because of what `plain` holds.
    pub fn seal(&self, index: u32, count: u64, plain: &[u8]) -> Result<Bytes, SealError> {
        let plain_len = u64::try_from(plain.len()).map_err(|_| SealError::Length)?;
        let header = self.header(index, count, plain_len);
        let nonce = self.nonce(&header, plain);
        let mut out = BytesMut::with_capacity(sealed_len(plain.len()));
        out.extend_from_slice(&header);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plain);
        let (_, body) = out.split_at_mut(HEADER + NONCE);
        let tag = self
            .key(index)?
            .seal_in_place_separate_tag(aead::Nonce::assume_unique_for_key(nonce), aead::Aad::from(&header), body)
            .map_err(|_| SealError::Cipher)?;
        out.extend_from_slice(tag.as_ref());
        Ok(out.freeze())
    }

    /// Opens chunk `index` of a blob of `count` chunks, in place when nobody else holds `sealed`. A chunk that
    /// was sealed before its count was known (header count 0) opens under any `count`: the number of chunks
    /// then rests on the version's record alone.
    ///
    /// # Errors
    /// [`SealError`], at the header where the header tells, else at the tag.
    pub fn open(&self, index: u32, count: u64, sealed: Bytes) -> Result<Bytes, SealError> {
        let plain_len = sealed.len().checked_sub(OVERHEAD).ok_or(SealError::Length)?;
        let header = self.check_header(index, count, plain_len, &sealed)?;
        let mut buffer = sealed.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let (head, body) = buffer.split_at_mut(HEADER + NONCE);
        let nonce = aead::Nonce::try_assume_unique_for_key(&head[HEADER..]).map_err(|_| SealError::Length)?;
        self.key(index)?.open_in_place(nonce, aead::Aad::from(&header), body).map_err(|_| SealError::Edited)?;
        buffer.advance(HEADER + NONCE);
        buffer.truncate(plain_len);
        Ok(buffer.freeze())
    }

    fn header(&self, index: u32, count: u64, plain_len: u64) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&MAGIC);
        header[4..20].copy_from_slice(&self.blob.to_bytes());
        header[20..28].copy_from_slice(&u64::from(index).to_be_bytes());
        header[28..36].copy_from_slice(&count.to_be_bytes());
        header[36..44].copy_from_slice(&plain_len.to_be_bytes());
        header[44..].copy_from_slice(&self.commitment);
        header
    }

    /// The header of `sealed`, which has at least [`OVERHEAD`] bytes, once every field of it is as wanted.
    fn check_header(&self, index: u32, count: u64, plain_len: usize, sealed: &[u8]) -> Result<[u8; HEADER], SealError> {
        let header: [u8; HEADER] = sealed.get(..HEADER).and_then(|h| h.try_into().ok()).ok_or(SealError::Length)?;
        let plain_len = u64::try_from(plain_len).map_err(|_| SealError::Length)?;
        let wanted = self.header(index, count, plain_len);
        let unknown_count = header[28..36] == [0; 8];
        let differs = |range: std::ops::Range<usize>| header[range.clone()] != wanted[range];
        if differs(0..4) {
            Err(SealError::Format)
        } else if differs(4..20) {
            Err(SealError::OtherBlob)
        } else if differs(20..28) {
            Err(SealError::OtherIndex)
        } else if differs(28..36) && !unknown_count {
            Err(SealError::OtherCount)
        } else if differs(36..44) {
            Err(SealError::Length)
        } else if differs(44..60) {
            Err(SealError::OtherKey)
        } else {
            Ok(header)
        }
    }

    fn nonce(&self, header: &[u8; HEADER], plain: &[u8]) -> [u8; NONCE] {
        let mut context = hmac::Context::with_key(&self.nonces);
        context.update(header);
        context.update(&xxh3_128_with_seed(plain, self.fingerprint_seed).to_be_bytes());
        let mut nonce = [0; NONCE];
        nonce.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        nonce
    }

    fn key(&self, index: u32) -> Result<aead::LessSafeKey, SealError> {
        let mut key = zeroize::Zeroizing::new([0u8; 32]);
        expand(&self.prk, &[b"chunk", &u64::from(index).to_be_bytes()], key.as_mut_slice()).map_err(|_| SealError::Cipher)?;
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, key.as_slice()).map_err(|_| SealError::Cipher)?;
        Ok(aead::LessSafeKey::new(key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::SecretKey;

    fn sealer(first_byte: u8, blob: u128) -> ChunkSealer {
        let mut key = [0; 32];
        for (i, byte) in key.iter_mut().enumerate() {
            *byte = first_byte.wrapping_add(u8::try_from(i).unwrap());
        }
        ChunkSealer::new(&DocumentKey::from_secret(SecretKey::from_bytes(key)), BlobId(blob)).unwrap()
    }

    /// Computed from the byte table above with other implementations of HKDF, HMAC, XXH3 and AES-GCM.
    #[test]
    fn the_bytes_are_the_written_ones() {
        let blob = u128::from_be_bytes(*b"\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f");
        let sealed = sealer(0, blob).seal(7, 9, b"kluis").unwrap();
        assert_eq!(hex::encode(&sealed), KNOWN);
        assert_eq!(sealer(0, blob).open(7, 9, sealed).unwrap(), &b"kluis"[..]);
    }

    const KNOWN: &str = "4b430101101112131415161718191a1b1c1d1e1f0000000000000007000000000000000900000000000000\
        0557a7f03e7641e72ef142725dbd9de2f505906dac00ba4315db8fc3cbab1187a7c994a11606a322c32a2cca2f8e85643524";

    #[test]
    fn each_wrong_place_has_its_answer() {
        let right = sealer(1, 5);
        let sealed = right.seal(2, 4, b"content").unwrap();
        assert_eq!(right.open(3, 4, sealed.clone()), Err(SealError::OtherIndex));
        assert_eq!(right.open(2, 5, sealed.clone()), Err(SealError::OtherCount));
        assert_eq!(sealer(1, 6).open(2, 4, sealed.clone()), Err(SealError::OtherBlob));
        assert_eq!(sealer(2, 5).open(2, 4, sealed.clone()), Err(SealError::OtherKey));
        assert_eq!(right.open(2, 4, sealed.slice(..sealed.len() - 1)), Err(SealError::Length));
        assert_eq!(right.open(2, 4, Bytes::new()), Err(SealError::Length));
        assert_eq!(right.open(2, 4, Bytes::from(vec![0; OVERHEAD])), Err(SealError::Format));
        assert!(right.open(2, 4, sealed).is_ok());
    }

    #[test]
    fn an_unknown_count_opens_later_but_cannot_be_forged() {
        let sealer = sealer(1, 5);
        let early = sealer.seal(2, 0, b"content").unwrap();
        assert_eq!(sealer.open(2, 4, early.clone()).unwrap(), &b"content"[..]);
        assert_eq!(sealer.open(2, 0, early).unwrap(), &b"content"[..]);
        let mut forged = sealer.seal(2, 4, b"content").unwrap().to_vec();
        forged[28..36].fill(0);
        assert_eq!(sealer.open(2, 9, forged.into()), Err(SealError::Edited));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_seals_again_to_the_same_bytes(
            plain in proptest::collection::vec(any::<u8>(), 0..3000), index: u32, count: u64, first: u8, blob: u128,
        ) {
            let sealer = sealer(first, blob);
            let sealed = sealer.seal(index, count, &plain).unwrap();
            prop_assert_eq!(sealed.len(), sealed_len(plain.len()));
            prop_assert_eq!(&sealed, &sealer.seal(index, count, &plain).unwrap());
            let shared = sealed.clone();
            prop_assert_eq!(&sealer.open(index, count, sealed).unwrap()[..], &plain[..]);
            prop_assert_eq!(&sealer.open(index, count, shared).unwrap()[..], &plain[..]);
        }

        #[test]
        fn a_flipped_bit_never_opens(
            plain in proptest::collection::vec(any::<u8>(), 0..300), bit: proptest::sample::Index, index: u32,
        ) {
            let sealer = sealer(3, 77);
            let mut sealed = sealer.seal(index, 8, &plain).unwrap().to_vec();
            let bit = bit.index(sealed.len() * 8);
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(sealer.open(index, 8, sealed.into()).is_err());
        }

        #[test]
        fn a_cut_or_extended_chunk_never_opens(
            plain in proptest::collection::vec(any::<u8>(), 1..300), cut: proptest::sample::Index, more in proptest::collection::vec(any::<u8>(), 1..40),
        ) {
            let sealer = sealer(3, 77);
            let sealed = sealer.seal(0, 8, &plain).unwrap();
            prop_assert!(sealer.open(0, 8, sealed.slice(..cut.index(sealed.len()))).is_err());
            let mut longer = sealed.to_vec();
            longer.extend(more);
            prop_assert!(sealer.open(0, 8, longer.into()).is_err());
        }

        #[test]
        fn other_plaintext_has_another_nonce(a in proptest::collection::vec(any::<u8>(), 0..50), b in proptest::collection::vec(any::<u8>(), 0..50)) {
            prop_assume!(a != b);
            let sealer = sealer(3, 77);
            let (a, b) = (sealer.seal(1, 0, &a).unwrap(), sealer.seal(1, 0, &b).unwrap());
            prop_assert_ne!(&a[60..72], &b[60..72]);
        }
    }
}
