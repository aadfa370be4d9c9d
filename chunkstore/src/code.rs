//! The erasure code of a blob: how many shards make a chunk and how many may be lost.
//!
//! Owns: the code classes and the arithmetic of the write rule. Not: the coding itself ([`crate::codec`]).
//! Holds: (1) 1 <= k, 1 <= m, k + m <= 32; (2) the loss of any one of three sites leaves k shards,
//! for a site holds at most [`Code::site_cap`]; both are checked when a [`Code`] is made.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Sites that every cluster spans; the caps are computed for it.
pub const SITES: usize = 3;

/// `k + m` shards of a chunk, any `k` of which give it back; `m` may be lost. Each has `1 / k` of the chunk's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code {
    k: u8,
    m: u8,
}

/// A pair of numbers that is no usable code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCode {
    /// The text is not of the form `K+M`.
    #[error("a code is written K+M, as in 4+5")]
    Form,
    /// No shard that is needed or none that may be lost, or more than 32 in all.
    #[error("a code K+M needs K and M of at least 1, and at most 32 in all")]
    Size,
    /// The loss of a site would lose documents.
    #[error("code {k}+{m} does not outlive the loss of one of three sites: it needs m >= (k + m) / 3, rounded up")]
    SiteLoss {
        /// Shards that are needed.
        k: u8,
        /// Shards that may be lost.
        m: u8,
    },
}

impl Code {
    /// Shards that can be told apart: the rows of a Reed-Solomon code over GF(2^8). A chunk has `n` of them, any
    /// `n`; the number of a shard is its row, so every `u8` is one (DECISIONS 0021).
    pub const ROWS: usize = 256;
    /// Documents up to 16 KiB: five whole copies, 2 + 2 + 1 over the sites.
    pub const SMALL: Self = Self { k: 1, m: 4 };
    /// The default: nine shards, three a site, 2.25 bytes stored per byte.
    pub const STANDARD: Self = Self { k: 4, m: 5 };
    /// Sites with four or more nodes and eight or more disks: 2.0 bytes stored per byte.
    pub const DENSE: Self = Self { k: 6, m: 6 };
    /// Outlives two whole sites: 3.0 bytes stored per byte.
    pub const VAST: Self = Self { k: 4, m: 8 };

    /// A code of `k + m` shards, `k` of which are needed.
    ///
    /// # Errors
    /// [`BadCode`] when a shard count is out of range or one site's loss could lose a chunk.
    pub fn new(k: u8, m: u8) -> Result<Self, BadCode> {
        if k == 0 || m == 0 || usize::from(k) + usize::from(m) > 32 {
            return Err(BadCode::Size);
        }
        let code = Self { k, m };
        if usize::from(m) < code.site_cap() {
            return Err(BadCode::SiteLoss { k, m });
        }
        Ok(code)
    }

    /// Shards that are needed to read, whichever they are.
    pub fn k(self) -> usize {
        usize::from(self.k)
    }

    /// Shards that may be lost.
    pub fn m(self) -> usize {
        usize::from(self.m)
    }

    /// All shards of a chunk.
    pub fn n(self) -> usize {
        self.k() + self.m()
    }

    /// Most shards of a chunk that one site holds while all sites are up: ceil(n / 3).
    pub fn site_cap(self) -> usize {
        self.n().div_ceil(SITES)
    }

    /// Acknowledged shards (at most [`Self::site_cap`] counted a site) that let an upload be
    /// acknowledged: k + s, so that any one site may burn at that moment.
    pub fn write_quorum(self) -> usize {
        self.k() + self.site_cap()
    }

    /// Fewest shards with which a write is acknowledged as `reduced`: k + 2.
    pub fn reduced_quorum(self) -> usize {
        (self.k() + 2).min(self.n())
    }

    /// Bytes of each shard for a chunk of `chunk_len` sealed bytes (the last part is padded).
    pub fn shard_len(self, chunk_len: usize) -> usize {
        chunk_len.div_ceil(self.k())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.k, self.m)
    }
}

impl FromStr for Code {
    type Err = BadCode;

    fn from_str(text: &str) -> Result<Self, BadCode> {
        let (k, m) = text.split_once('+').ok_or(BadCode::Form)?;
        let number = |t: &str| -> Result<u8, BadCode> {
            if t.is_empty() || !t.bytes().all(|b| b.is_ascii_digit()) {
                return Err(BadCode::Form);
            }
            t.parse().map_err(|_| BadCode::Size)
        };
        Self::new(number(k)?, number(m)?)
    }
}

// `4+5` where people read it, two numbers in our own formats; checked either way.
impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { (self.k, self.m).serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse()
        } else {
            <(u8, u8)>::deserialize(deserializer).map(|(k, m)| Self::new(k, m))?
        };
        code.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classes_are_codes_and_hold_the_promised_figures() {
        for (code, cap, quorum) in [(Code::SMALL, 2, 3), (Code::STANDARD, 3, 7), (Code::DENSE, 4, 10), (Code::VAST, 4, 8)] {
            assert_eq!(Code::new(code.k, code.m), Ok(code));
            assert_eq!((code.site_cap(), code.write_quorum()), (cap, quorum), "{code}");
            assert_eq!(code.to_string().parse(), Ok(code));
        }
    }

    #[test]
    fn every_code_that_can_be_made_outlives_one_site() {
        for k in 0..=40 {
            for m in 0..=40 {
                if let Ok(code) = Code::new(k, m) {
                    assert!(code.n() - code.site_cap() >= code.k(), "{code}");
                }
            }
        }
        assert_eq!(Code::new(6, 2), Err(BadCode::SiteLoss { k: 6, m: 2 }));
        assert_eq!("4".parse::<Code>(), Err(BadCode::Form));
        assert_eq!("4+-5".parse::<Code>(), Err(BadCode::Form));
        assert_eq!("4+999".parse::<Code>(), Err(BadCode::Size));
    }
}
