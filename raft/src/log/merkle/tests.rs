//! The tree against known answers, and against the definition of RFC 9162 written down as it stands there.

use std::{collections::BTreeMap, convert::Infallible};

use proptest::prelude::*;

use super::*;

/// A tree with every hash that it stored.
#[derive(Default)]
struct Stored {
    edge: Edge,
    hashes: BTreeMap<Position, Hash>,
}

impl Stored {
    fn push(&mut self, data: &[u8]) {
        for (position, hash) in self.edge.push(leaf_hash(data)) {
            assert_eq!(self.hashes.insert(position, hash), None, "a hash is stored once");
        }
        assert!(self.edge.is_sound());
    }

    fn get(&self) -> impl FnMut(Position) -> Result<Option<Hash>, Infallible> + '_ {
        |position| Ok(self.hashes.get(&position).copied())
    }
}

/// MTH of RFC 9162, 2.1.1.
fn naive_root(leaves: &[Vec<u8>]) -> Hash {
    match leaves {
        [] => empty_root(),
        [one] => leaf_hash(one),
        many => {
            let (left, right) = many.split_at(naive_split(many.len()));
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

fn naive_split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// PATH of RFC 9162, 2.1.3.1.
fn naive_path(index: usize, leaves: &[Vec<u8>]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(naive_split(leaves.len()));
    let (mut path, other) = if index < left.len() {
        (naive_path(index, left), naive_root(right))
    } else {
        (naive_path(index - left.len(), right), naive_root(left))
    };
    path.push(other);
    path
}

/// SUBPROOF of RFC 9162, 2.1.4.1.
fn naive_subproof(old: usize, leaves: &[Vec<u8>], whole: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if whole { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let (left, right) = leaves.split_at(naive_split(leaves.len()));
    let (mut path, other) = if old <= left.len() {
        (naive_subproof(old, left, whole), naive_root(right))
    } else {
        (naive_subproof(old - left.len(), right, false), naive_root(left))
    };
    path.push(other);
    path
}

fn leaves(n: usize) -> Vec<Vec<u8>> {
    (0..n).map(|i| format!("leaf {i}").into_bytes()).collect()
}

fn n64(n: usize) -> u64 {
    u64::try_from(n).unwrap()
}

/// The eight leaves and roots that implementations of RFC 6962 test themselves with (certificate-transparency-go and
/// transparency-dev/merkle, `testonly/constants.go`).
#[test]
fn known_answers() {
    let leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = Stored::default();
    assert_eq!(hex::encode(tree.edge.root()), roots[0]);
    for (leaf, root) in leaves.iter().zip(&roots[1..]) {
        tree.push(&hex::decode(leaf).unwrap());
        assert_eq!(hex::encode(tree.edge.root()), *root);
    }
}

#[test]
fn every_size_to_300_has_the_roots_and_proofs_of_the_definition() {
    let all = leaves(300);
    let mut tree = Stored::default();
    for (size, leaf) in (1..).zip(&all) {
        tree.push(leaf);
        let so_far = &all[..size];
        let root_now = naive_root(so_far);
        assert_eq!(tree.edge.root(), root_now, "{size}");
        // All indices of small trees, some of larger ones.
        for index in (0..size).filter(|i| size <= 40 || i % 17 == 0 || i + 1 == size) {
            let path = inclusion(&mut tree.get(), n64(index), n64(size)).unwrap();
            assert_eq!(path, naive_path(index, so_far), "{index} of {size}");
            assert!(verify_inclusion(&leaf_hash(&all[index]), n64(index), n64(size), &path, &root_now));
        }
        for old in (1..=size).filter(|i| size <= 40 || i % 17 == 0 || *i == size) {
            let old_root = root(&mut tree.get(), n64(old)).unwrap();
            assert_eq!(old_root, naive_root(&all[..old]));
            let path = consistency(&mut tree.get(), n64(old), n64(size)).unwrap();
            assert_eq!(path, naive_subproof(old, so_far, true), "{old} to {size}");
            assert!(verify_consistency(n64(old), &old_root, n64(size), &root_now, &path));
        }
    }
    assert!(inclusion(&mut tree.get(), 300, 300).is_err() && consistency(&mut tree.get(), 301, 300).is_err());
    assert!(consistency(&mut tree.get(), 0, 300).is_err());
    assert!(verify_consistency(0, &empty_root(), 300, &tree.edge.root(), &[]));
    assert_eq!(inclusion(&mut tree.get(), 0, 301), Err(ProofError::Missing(Position { level: 0, index: 300 })));
}

proptest! {
    #[test]
    fn no_changed_proof_of_an_entry_verifies(size in 1usize..300, at: prop::sample::Index, bit: prop::sample::Index, other in 1u64..400) {
        let all = leaves(size);
        let mut tree = Stored::default();
        all.iter().for_each(|leaf| tree.push(leaf));
        let (index, size) = (at.index(size), n64(size));
        let (leaf, root) = (leaf_hash(&all[index]), tree.edge.root());
        let index = n64(index);
        let path = inclusion(&mut tree.get(), index, size).unwrap();
        prop_assert!(verify_inclusion(&leaf, index, size, &path, &root));
        // One bit of leaf, root or any hash of the path.
        let mut parts: Vec<Hash> = [leaf, root].into_iter().chain(path.iter().copied()).collect();
        let bit = bit.index(parts.len() * 256);
        parts[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
        prop_assert!(!verify_inclusion(&parts[0], index, size, &parts[2..], &parts[1]));
        // Another place, a hash less, a hash more.
        let elsewhere = (index + other) % size;
        prop_assert!(elsewhere == index || !verify_inclusion(&leaf, elsewhere, size, &path, &root));
        if let Some((_, short)) = path.split_last() {
            prop_assert!(!verify_inclusion(&leaf, index, size, short, &root));
        }
        let long: Vec<Hash> = path.iter().copied().chain([root]).collect();
        prop_assert!(!verify_inclusion(&leaf, index, size, &long, &root));
    }

    #[test]
    fn no_changed_proof_of_growth_verifies(new in 2usize..300, at: prop::sample::Index, bit: prop::sample::Index) {
        let old = n64(at.index(new - 1) + 1);
        let mut tree = Stored::default();
        leaves(new).iter().for_each(|leaf| tree.push(leaf));
        let new = n64(new);
        let old_root = root(&mut tree.get(), old).unwrap();
        let path = consistency(&mut tree.get(), old, new).unwrap();
        let mut parts: Vec<Hash> = [old_root, tree.edge.root()].into_iter().chain(path.iter().copied()).collect();
        prop_assert!(verify_consistency(old, &parts[0], new, &parts[1], &parts[2..]));
        let bit = bit.index(parts.len() * 256);
        parts[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
        prop_assert!(!verify_consistency(old, &parts[0], new, &parts[1], &parts[2..]));
    }
}
