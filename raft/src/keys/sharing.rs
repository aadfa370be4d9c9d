//! Keys of shares, links and the death flag.
//!
//! Holds: what lies under the recipient's vault ([`incoming`], [`former`]) exists only for shares that the recipient
//! may know of; everything about a share that waits for a death lies under the owner's vault.

use super::{CLUSTER, Table, key, next};
use crate::model::{DocumentId, LinkHash, LinkId, ShareId, VaultId};

const FIRST: [u8; 16] = [0; 16];
const LAST: [u8; 16] = [0xff; 16];

fn pair_of_ids(vault: VaultId, table: Table, a: &[u8; 16], b: &[u8; 16]) -> Vec<u8> {
    key(&vault.to_bytes(), table, &[a, b])
}

/// All keys of `table` of `vault` that begin with `first`, and have one more id.
fn under(vault: VaultId, table: Table, first: &[u8; 16]) -> (Vec<u8>, Vec<u8>) {
    (pair_of_ids(vault, table, first, &FIRST), next(pair_of_ids(vault, table, first, &LAST)))
}

/// A share of a document.
pub fn share(owner: VaultId, document: DocumentId, id: ShareId) -> Vec<u8> {
    pair_of_ids(owner, Table::Share, &document.to_bytes(), &id.to_bytes())
}

/// All shares of a document, oldest first.
pub fn shares_of(owner: VaultId, document: DocumentId) -> (Vec<u8>, Vec<u8>) {
    under(owner, Table::Share, &document.to_bytes())
}

/// All shares of a vault's documents.
pub fn shares_of_vault(owner: VaultId) -> (Vec<u8>, Vec<u8>) {
    (pair_of_ids(owner, Table::Share, &FIRST, &FIRST), next(pair_of_ids(owner, Table::Share, &LAST, &LAST)))
}

/// A share, for its recipient.
pub fn incoming(recipient: VaultId, id: ShareId) -> Vec<u8> {
    key(&recipient.to_bytes(), Table::Incoming, &[&id.to_bytes()])
}

/// All shares that a recipient may know of, oldest first.
pub fn incoming_of(recipient: VaultId) -> (Vec<u8>, Vec<u8>) {
    (incoming(recipient, ShareId(0)), next(incoming(recipient, ShareId(u128::MAX))))
}

/// A share that ended, for its former recipient.
pub fn former(recipient: VaultId, id: ShareId) -> Vec<u8> {
    key(&recipient.to_bytes(), Table::Former, &[&id.to_bytes()])
}

/// The live share of a document with a recipient.
pub fn given(owner: VaultId, recipient: VaultId, document: DocumentId) -> Vec<u8> {
    pair_of_ids(owner, Table::Given, &recipient.to_bytes(), &document.to_bytes())
}

/// All live shares of one vault with another.
pub fn given_between(owner: VaultId, recipient: VaultId) -> (Vec<u8>, Vec<u8>) {
    under(owner, Table::Given, &recipient.to_bytes())
}

/// All live shares of a vault.
pub fn given_by(owner: VaultId) -> (Vec<u8>, Vec<u8>) {
    (pair_of_ids(owner, Table::Given, &FIRST, &FIRST), next(pair_of_ids(owner, Table::Given, &LAST, &LAST)))
}

/// How many live shares one vault has with another.
pub fn pair(owner: VaultId, recipient: VaultId) -> Vec<u8> {
    key(&owner.to_bytes(), Table::Pair, &[&recipient.to_bytes()])
}

/// A share that waits for its owner's death.
pub fn waiting(owner: VaultId, document: DocumentId, id: ShareId) -> Vec<u8> {
    pair_of_ids(owner, Table::Waiting, &document.to_bytes(), &id.to_bytes())
}

/// All such shares of a vault.
pub fn waiting_of(owner: VaultId) -> (Vec<u8>, Vec<u8>) {
    (pair_of_ids(owner, Table::Waiting, &FIRST, &FIRST), next(pair_of_ids(owner, Table::Waiting, &LAST, &LAST)))
}

/// A share that its owner's death opened.
pub fn opened(owner: VaultId, document: DocumentId, id: ShareId) -> Vec<u8> {
    pair_of_ids(owner, Table::Opened, &document.to_bytes(), &id.to_bytes())
}

/// All such shares of a vault.
pub fn opened_of(owner: VaultId) -> (Vec<u8>, Vec<u8>) {
    (pair_of_ids(owner, Table::Opened, &FIRST, &FIRST), next(pair_of_ids(owner, Table::Opened, &LAST, &LAST)))
}

/// The death flag of a vault's owner.
pub fn death(vault: VaultId) -> Vec<u8> {
    key(&vault.to_bytes(), Table::Death, &[])
}

/// A link to a document.
pub fn link(vault: VaultId, document: DocumentId, id: LinkId) -> Vec<u8> {
    pair_of_ids(vault, Table::Link, &document.to_bytes(), &id.to_bytes())
}

/// All links to a document, oldest first.
pub fn links_of(vault: VaultId, document: DocumentId) -> (Vec<u8>, Vec<u8>) {
    under(vault, Table::Link, &document.to_bytes())
}

/// A link, by the hash of its token.
pub fn link_by_hash(hash: &LinkHash) -> Vec<u8> {
    key(&CLUSTER, Table::LinkByHash, &[&hash.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_their_own_and_nothing_else() {
        let (v, d) = (VaultId(7), DocumentId(9));
        let inside = |range: (Vec<u8>, Vec<u8>), key: Vec<u8>| (range.0..range.1).contains(&key);
        for id in [0, 1, u128::MAX] {
            assert!(inside(shares_of(v, d), share(v, d, ShareId(id))));
            assert!(inside(shares_of_vault(v), share(v, DocumentId(id), ShareId(id))));
            assert!(inside(incoming_of(v), incoming(v, ShareId(id))));
            assert!(inside(given_between(v, VaultId(3)), given(v, VaultId(3), DocumentId(id))));
            assert!(inside(given_by(v), given(v, VaultId(id), DocumentId(id))));
            assert!(inside(waiting_of(v), waiting(v, DocumentId(id), ShareId(id))));
            assert!(inside(opened_of(v), opened(v, DocumentId(id), ShareId(id))));
            assert!(inside(links_of(v, d), link(v, d, LinkId(id))));
            assert!(!inside(shares_of(v, d), share(v, DocumentId(8), ShareId(id))));
            assert!(!inside(shares_of(v, d), share(v, DocumentId(10), ShareId(id))));
            assert!(!inside(given_between(v, VaultId(3)), given(v, VaultId(4), DocumentId(id))));
            assert!(!inside(incoming_of(v), incoming(VaultId(8), ShareId(id))));
        }
        assert!(!inside(incoming_of(v), former(v, ShareId(0))));
        assert!(!inside(waiting_of(v), opened(v, d, ShareId(0))));
    }
}
