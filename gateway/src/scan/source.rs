//! Where the bytes of a container are read again from: any place, any order.
//!
//! Owns: [`ByteSource`], and the one in memory. Not: the one over the data path ([`crate::api`]).
//! Holds: what is held in memory is wiped.

use async_trait::async_trait;
use bytes::Bytes;
use zeroize::Zeroizing;

/// Bytes that can be read anywhere.
#[async_trait]
pub trait ByteSource: Send + Sync {
    /// How many there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some bytes from `at` on: at least one and at most `max`, where `at` lies inside and `max` is not 0.
    ///
    /// # Errors
    /// In words, for the log: they cannot be had at present.
    async fn read_at(&self, at: u64, max: u64) -> Result<Bytes, String>;
}

/// Bytes in memory.
#[derive(Default)]
pub struct Held(pub Zeroizing<Vec<u8>>);

#[async_trait]
impl ByteSource for Held {
    fn len(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    async fn read_at(&self, at: u64, max: u64) -> Result<Bytes, String> {
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        let rest = self.0.get(from..).unwrap_or_default();
        let len = usize::try_from(max).unwrap_or(usize::MAX).min(rest.len());
        Ok(Bytes::copy_from_slice(rest.get(..len).unwrap_or_default()))
    }
}
