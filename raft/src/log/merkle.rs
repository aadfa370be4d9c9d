//! The Merkle tree of RFC 6962 and RFC 9162: leaves only ever come at its right end.
//!
//! A *position* names the root of a complete subtree: level 0 are leaves, the subtree at `(level, index)` covers the
//! leaves from `index << level` on, `1 << level` of them. A complete subtree never changes, so its hash is stored once.
//! The *edge* is what is needed to go on: the roots of the complete subtrees that the leaves so far fall into, one for
//! each bit of their number.
//!
//! Owns: the hashes and the two kinds of proof. Not: where hashes are stored, which the caller's function knows.
//! Holds: (1) leaves and nodes are hashed apart (bytes 0 and 1), so that none can pass for the other; (2) a proof that
//! verifies is of this leaf, index, size and root; (3) proofs have at most [`PROOF_MAX`] hashes.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

/// SHA-256.
pub type Hash = [u8; 32];

/// Most hashes of a proof: one a level, and one more for consistency.
pub const PROOF_MAX: usize = 65;

/// SHA-256 of parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    out
}

/// Hash of a leaf's bytes.
pub fn leaf_hash(data: &[u8]) -> Hash {
    sha256(&[&[0], data])
}

/// Hash of a node with these children.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// Hash of the tree without leaves.
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// The root of a complete subtree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Height above the leaves.
    pub level: u8,
    /// Number among the subtrees of that height.
    pub index: u64,
}

/// The right edge of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    size: u64,
    /// Roots of complete subtrees, the largest first: one for each bit of `size` that is set.
    hashes: Vec<Hash>,
}

impl Edge {
    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf. Gives the positions that have a hash from now on: the leaf's own, and the subtrees that it completes.
    pub fn push(&mut self, leaf: Hash) -> Vec<(Position, Hash)> {
        let mut position = Position { level: 0, index: self.size };
        let mut hash = leaf;
        let mut new = vec![(position, hash)];
        while position.index & 1 == 1 {
            // The sound edge has a hash for each bit that is set; see `is_sound`.
            let Some(left) = self.hashes.pop() else { break };
            hash = node_hash(&left, &hash);
            position = Position { level: position.level.saturating_add(1), index: position.index >> 1 };
            new.push((position, hash));
        }
        self.hashes.push(hash);
        self.size = self.size.saturating_add(1);
        new
    }

    /// The root of the tree so far.
    pub fn root(&self) -> Hash {
        let mut from_right = self.hashes.iter().rev();
        let Some(first) = from_right.next() else { return empty_root() };
        from_right.fold(*first, |right, left| node_hash(left, &right))
    }

    /// Whether it has a hash for each bit of its size.
    pub fn is_sound(&self) -> bool {
        u32::try_from(self.hashes.len()) == Ok(self.size.count_ones())
    }
}

/// The largest power of two below `n`; `n` is at least 2.
fn split(n: u64) -> u64 {
    1 << (n.saturating_sub(1).max(1).ilog2())
}

/// Why a proof could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError<E> {
    /// The numbers do not fit: index below size, old size not above the new one, no proof of or in an empty tree.
    #[error("there is no such proof")]
    NoSuchProof,
    /// A hash that the tree must have is not stored.
    #[error("the hash at {0:?} is missing")]
    Missing(Position),
    /// The store failed.
    #[error("{0}")]
    Store(E),
}

/// Hash of the leaves `start..end`, from stored hashes. `start` is a multiple of the next power of two above the width,
/// as all ranges of the recursion in RFC 9162 are.
fn range<E>(get: &mut impl FnMut(Position) -> Result<Option<Hash>, E>, start: u64, end: u64) -> Result<Hash, ProofError<E>> {
    let width = end.saturating_sub(start);
    if width.is_power_of_two() {
        let level = width.trailing_zeros();
        let position = Position { level: u8::try_from(level).unwrap_or(u8::MAX), index: start >> level };
        return get(position).map_err(ProofError::Store)?.ok_or(ProofError::Missing(position));
    }
    if width == 0 {
        return Err(ProofError::NoSuchProof);
    }
    let middle = start + split(width);
    let left = range(get, start, middle)?;
    Ok(node_hash(&left, &range(get, middle, end)?))
}

/// The root that the tree had with its first `size` leaves.
///
/// # Errors
/// A hash is missing, or the store failed.
pub fn root<E>(get: &mut impl FnMut(Position) -> Result<Option<Hash>, E>, size: u64) -> Result<Hash, ProofError<E>> {
    if size == 0 { Ok(empty_root()) } else { range(get, 0, size) }
}

/// That the leaf `index` is in the tree of `size` leaves: hashes from the leaf's sibling upwards.
///
/// # Errors
/// The index is not below the size; a hash is missing, or the store failed.
pub fn inclusion<E>(get: &mut impl FnMut(Position) -> Result<Option<Hash>, E>, index: u64, size: u64) -> Result<Vec<Hash>, ProofError<E>> {
    if index >= size {
        return Err(ProofError::NoSuchProof);
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range(get, middle, end)?);
            end = middle;
        } else {
            path.push(range(get, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// That the tree of `old` leaves is the beginning of the tree of `new` leaves.
///
/// # Errors
/// The old size is 0 or above the new one; a hash is missing, or the store failed.
pub fn consistency<E>(get: &mut impl FnMut(Position) -> Result<Option<Hash>, E>, old: u64, new: u64) -> Result<Vec<Hash>, ProofError<E>> {
    if old == 0 || old > new {
        return Err(ProofError::NoSuchProof);
    }
    // As SUBPROOF of RFC 9162, with its recursion unrolled: `old` always lies in `start..end`.
    let (mut start, mut end) = (0, new);
    let mut path = Vec::new();
    let mut whole = true;
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            path.push(range(get, middle, end)?);
            end = middle;
        } else {
            path.push(range(get, start, middle)?);
            start = middle;
            whole = false;
        }
    }
    if !whole {
        path.push(range(get, start, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Whether `path` shows that the leaf with this hash is at `index` of the tree with `size` leaves and this root
/// (RFC 9162, 2.1.3.2).
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size || path.len() > PROOF_MAX {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for step in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(step, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `path` shows that the tree of `old` leaves is the beginning of the tree of `new` leaves (RFC 9162, 2.1.4.2).
/// Of an empty tree every tree is a continuation.
pub fn verify_consistency(old: u64, old_root: &Hash, new: u64, new_root: &Hash, path: &[Hash]) -> bool {
    if old > new || path.len() > PROOF_MAX {
        return false;
    }
    if old == 0 {
        return path.is_empty() && *old_root == empty_root();
    }
    if old == new {
        return path.is_empty() && old_root == new_root;
    }
    let whole = [*old_root];
    let seed: &[Hash] = if old.is_power_of_two() { &whole } else { &[] };
    let mut steps = seed.iter().chain(path);
    let Some(first) = steps.next() else { return false };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for step in steps {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old_hash = node_hash(step, &old_hash);
            new_hash = node_hash(step, &new_hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, step);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

#[cfg(test)]
mod tests;
