//! Whether what was acknowledged lay on enough media at the moment of the answer.
//!
//! The metadata tells which chunks a version has; where their shards were at that moment the disks themselves have
//! written down ([`super::ledger`]). The nodes are not asked.
//!
//! Owns: the write rule, written once more from its description (ARCHITECTURE, section 2). Not: the one that the nodes
//! follow (`kluis_chunkstore::plan::write`), which is what is judged here.
//! Holds: what the nodes may rightly acknowledge passes; what any one site's loss would have taken does not.

use std::collections::{BTreeMap, BTreeSet};

use kluis_chunkstore::{code::Code, ids::BlobId};
use kluis_raft::{
    model::{Blob, VaultId},
    store::Read,
    view,
};

use super::{
    oracle::Acknowledged,
    world::{Machine, SITES},
};

/// The blob of each version, by document and number, with whether it was stored as `reduced`.
pub type Versions = BTreeMap<(String, u32), (Blob, bool)>;

/// Most entries of one list.
const LIMIT: usize = 100_000;

/// Every version that there is; `None` when the metadata does not read.
pub fn versions(read: &dyn Read) -> Option<Versions> {
    let blobs: BTreeMap<BlobId, Blob> = view::blobs(read, BlobId(0), LIMIT).ok()?.into_iter().map(|blob| (blob.id, blob)).collect();
    let vaults: BTreeSet<VaultId> = blobs.values().map(|blob| blob.vault).collect();
    let mut all = Versions::new();
    for vault in vaults {
        for document in view::documents(read, vault, None, LIMIT).ok()? {
            for version in view::versions(read, vault, document.id, LIMIT).ok()? {
                let blob = blobs.get(&version.blob)?.clone();
                all.insert((document.id.to_string(), version.number), (blob, version.reduced));
            }
        }
    }
    Some(all)
}

/// The shards that each site has.
type Sites = [BTreeSet<u8>; SITES];

fn union<'a>(sites: impl Iterator<Item = &'a BTreeSet<u8>>) -> usize {
    sites.flatten().collect::<BTreeSet<_>>().len()
}

/// Whether a chunk with these shards may be acknowledged.
fn is_enough(code: Code, reduced: bool, sites: &Sites) -> bool {
    let capped: usize = sites.iter().map(|shards| shards.len().min(code.site_cap())).sum();
    let over_two = sites.iter().filter(|shards| shards.len() >= code.k()).count() >= 2;
    let rule = capped >= code.write_quorum() || over_two;
    let outlives = (0..SITES).all(|burnt| union(sites.iter().enumerate().filter(|(at, _)| *at != burnt).map(|(_, s)| s)) >= code.k());
    (rule && outlives) || (reduced && union(sites.iter()) >= code.reduced_quorum())
}

/// What the judgement of acknowledgements came to.
#[derive(Debug, Default)]
pub struct Judged {
    /// Versions that were judged; others were deleted meanwhile.
    pub versions: usize,
    /// Chunks of which not every shard was on a medium yet, as is right.
    pub incomplete: usize,
    /// What is wrong: when, and what.
    pub wrong: Vec<(u64, String)>,
}

/// Judges every acknowledgement of a version that is still there.
pub fn judge(acknowledged: &[Acknowledged], versions: &Versions, machines: &[Machine]) -> Judged {
    let mut judged = Judged::default();
    for Acknowledged { document, version, at_us } in acknowledged {
        let Some((blob, reduced)) = versions.get(&(document.clone(), *version)) else { continue };
        judged.versions += 1;
        for chunk in blob.all_chunks() {
            let mut sites = Sites::default();
            for machine in machines {
                sites[machine.site].extend(machine.files.held(chunk, *at_us));
            }
            judged.incomplete += usize::from(union(sites.iter()) < blob.code.n());
            if !is_enough(blob.code, *reduced, &sites) {
                let what = if *reduced { "acknowledged as reduced" } else { "acknowledged" };
                let why = format!(
                    "document {document}, version {version}: {what} while of chunk {chunk} ({}) the sites had {sites:?}",
                    blob.code
                );
                judged.wrong.push((*at_us, why));
            }
        }
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(of: [&[u8]; SITES]) -> Sites {
        of.map(|shards| shards.iter().copied().collect())
    }

    #[test]
    fn the_rule_is_that_of_the_description() {
        let enough = |code: Code, of: [&[u8]; SITES]| is_enough(code, false, &sites(of));
        assert!(enough(Code::STANDARD, [&[0, 1, 2], &[3, 4, 5], &[6]]), "7, any site may burn");
        assert!(!enough(Code::STANDARD, [&[0, 1, 2], &[3, 4, 5], &[]]), "a site's loss leaves three");
        assert!(!enough(Code::STANDARD, [&[0, 1], &[2, 3], &[4, 5]]), "six");
        assert!(!enough(Code::STANDARD, [&[0, 1, 2, 3, 4], &[5, 6], &[]]), "seven, but five of one site");
        assert!(enough(Code::STANDARD, [&[0, 1, 2, 3], &[4, 5, 6, 7], &[]]), "two sites, each with four");
        assert!(!enough(Code::STANDARD, [&[0, 1, 2], &[0, 1, 2], &[0]]), "three shards, however often");
        assert!(!enough(Code::SMALL, [&[0], &[], &[]]));
        assert!(enough(Code::SMALL, [&[0], &[1], &[]]), "two sites, each with a copy");
        assert!(is_enough(Code::STANDARD, true, &sites([&[0, 1, 2], &[3, 4, 5], &[]])), "reduced: six anywhere");
        assert!(!is_enough(Code::STANDARD, true, &sites([&[0, 1, 2], &[3, 4], &[]])));
    }
}
