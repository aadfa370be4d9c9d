//! The names of things: cluster > site > node > disk, and blob > chunk > shard.
//!
//! Owns: identifier types, their text forms and their limits. Not: who hands them out.
//! Holds: (1) an identifier that exists is well-formed; (2) text forms round-trip.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// A text that is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct BadId {
    /// What was given (cut to 64 characters).
    pub text: String,
    /// What was wanted, for people.
    pub wanted: &'static str,
}

impl BadId {
    fn new(text: &str, wanted: &'static str) -> Self {
        Self { text: text.chars().take(64).collect(), wanted }
    }
}

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        // As text where people read it (JSON has no 128-bit numbers), as a number in our own formats.
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    u128::deserialize(deserializer).map(Self)
                }
            }
        }

        impl $name {
            /// The identifier made of 16 random bytes.
            pub fn from_random(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }

            /// Big-endian bytes: their order is the order of the identifiers.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:032x})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(BadId::new(text, $wanted));
                }
                u128::from_str_radix(text, 16).map(Self).map_err(|_| BadId::new(text, $wanted))
            }
        }
    };
}

id128!(
    /// A cluster: random, made once by `kluis cluster init`.
    ClusterId, "a cluster id (32 hexadecimal digits)"
);
id128!(
    /// A disk: random, written into the disk's label when it is formatted.
    DiskId, "a disk id (32 hexadecimal digits)"
);
id128!(
    /// The storage of a node: random, made when the node joins. A node whose storage was emptied has
    /// another one and is refused under its old [`NodeId`].
    StorageId, "a storage id (32 hexadecimal digits)"
);
id128!(
    /// The bytes of one version of a document: random, so that blobs spread evenly over id ranges.
    BlobId, "a blob id (32 hexadecimal digits)"
);

/// A member of the cluster: small, never reused, handed out by the metadata group. Starts at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl FromStr for NodeId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let wanted = "a node id (n1, n2, ...)";
        let digits = text.strip_prefix('n').unwrap_or(text);
        match digits.parse() {
            Ok(id) if id > 0 => Ok(Self(id)),
            _ => Err(BadId::new(text, wanted)),
        }
    }
}

/// A site (data centre) by its name: 1 to 32 of `a-z`, `0-9` and `-`, a DNS label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SiteName(Arc<str>);

impl SiteName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SiteName {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let ok = (1..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if ok { Ok(Self(text.into())) } else { Err(BadId::new(text, "a site name (1 to 32 of a-z, 0-9, -)")) }
    }
}

impl TryFrom<String> for SiteName {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl From<SiteName> for String {
    fn from(name: SiteName) -> Self {
        name.0.to_string()
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A chunk: one sealed piece of a blob, of one content for ever. Ordered by blob, then index.
///
/// | bits of the index | field |
/// |---|---|
/// | 31 | 1 = the unfinished tail of a resumable upload; the other bits are its random number |
/// | 20 to 30 | attempt of the upload that wrote it, from 0 |
/// | 0 to 19 | position in the blob, from 0 |
///
/// What keeps a chunk apart from others (the keys of its shards, its places, its own key, nonce and associated
/// data) is made of the index, so what two attempts wrote at one position never meets (DECISIONS 0017).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId {
    /// The blob that the chunk is a piece of.
    pub blob: BlobId,
    /// See the table above. Made by [`ChunkId::of`] and [`ChunkId::tail`] only; written out where bytes are decoded.
    pub index: u32,
}

impl ChunkId {
    /// First index of the space for unfinished tails, which are never part of a committed version.
    pub const TAIL_BASE: u32 = 0x8000_0000;
    /// Positions of a blob: every position is below this.
    pub const POSITIONS: u32 = 1 << 20;
    /// Attempts of an upload: every attempt is below this.
    pub const ATTEMPTS: u32 = Self::TAIL_BASE / Self::POSITIONS;

    /// The chunk that attempt `attempt` of an upload writes at `position`; `None` when there is no such position
    /// or attempt.
    pub fn of(blob: BlobId, attempt: u32, position: u32) -> Option<Self> {
        let exists = attempt < Self::ATTEMPTS && position < Self::POSITIONS;
        exists.then(|| Self { blob, index: attempt * Self::POSITIONS + position })
    }

    /// An unfinished tail of which the low 31 bits of `number` are the number. Each tail gets a random one, so that
    /// the tail that metadata names is never overwritten by one that a crash keeps from being named.
    pub fn tail(blob: BlobId, number: u32) -> Self {
        Self { blob, index: Self::TAIL_BASE | number }
    }

    /// Position in the blob; `None` for a tail.
    pub fn position(self) -> Option<u32> {
        Self::position_of(self.index)
    }

    /// The position that is in an index; `None` for that of a tail.
    pub fn position_of(index: u32) -> Option<u32> {
        (index < Self::TAIL_BASE).then_some(index % Self::POSITIONS)
    }

    /// The attempt that wrote it; `None` for a tail.
    pub fn attempt(self) -> Option<u32> {
        (self.index < Self::TAIL_BASE).then_some(self.index / Self::POSITIONS)
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.blob, self.index)
    }
}

/// What a disk stores: shard number `shard` of a chunk. Ordered by chunk, then shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardKey {
    /// The chunk that the shard belongs to.
    pub chunk: ChunkId,
    /// Number of the shard: its row of the blob's code ([`crate::code::Code::ROWS`]).
    pub shard: u8,
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.chunk, self.shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_round_trip_and_refuse() {
        let id = DiskId(7);
        assert_eq!(id.to_string().parse::<DiskId>().unwrap(), id);
        assert!("7".parse::<DiskId>().is_err());
        assert!("+0000000000000000000000000000007".parse::<DiskId>().is_err());
        assert_eq!("n12".parse::<NodeId>().unwrap(), NodeId(12));
        assert!("n0".parse::<NodeId>().is_err());
        for bad in ["", "A", "a b", "-a", "a-", "../x", &"a".repeat(33)] {
            assert!(bad.parse::<SiteName>().is_err(), "{bad}");
        }
        assert_eq!("dc-1".parse::<SiteName>().unwrap().as_str(), "dc-1");
    }

    #[test]
    fn each_attempt_and_position_has_a_chunk_of_its_own() {
        let blob = BlobId(1);
        let ends = |end: u32| [0, 1, end / 2, end - 1];
        let mut seen = std::collections::BTreeSet::new();
        for attempt in ends(ChunkId::ATTEMPTS) {
            for position in ends(ChunkId::POSITIONS) {
                let chunk = ChunkId::of(blob, attempt, position).unwrap();
                assert_eq!((chunk.attempt(), chunk.position()), (Some(attempt), Some(position)));
                assert!(seen.insert(chunk));
            }
        }
        // What was written before there were attempts is what the first one writes.
        assert_eq!(ChunkId::of(blob, 0, 7), Some(ChunkId { blob, index: 7 }));
        assert_eq!(ChunkId::of(blob, ChunkId::ATTEMPTS, 0), None);
        assert_eq!(ChunkId::of(blob, 0, ChunkId::POSITIONS), None);
        for number in [0, 7, ChunkId::TAIL_BASE, u32::MAX] {
            let tail = ChunkId::tail(blob, number);
            assert_eq!((tail.position(), tail.attempt()), (None, None));
            assert_eq!(ChunkId::tail(blob, tail.index), tail);
            assert!(!seen.contains(&tail));
        }
    }
}
