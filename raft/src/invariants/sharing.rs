//! What must hold of shares and links (9 to 11 of the list).

use std::collections::{BTreeMap, BTreeSet};

use super::LIMIT;
use crate::{
    codec,
    keys::{self, Table},
    model::{Document, GivenRef, IncomingRef, Link, LinkRef, Moment, PairCount, Share, ShareState, VaultId},
    store::{Read, StoreError},
    view,
};

fn present(read: &dyn Read, range: (Vec<u8>, Vec<u8>)) -> Result<BTreeSet<Vec<u8>>, StoreError> {
    Ok(read.scan(&range.0, &range.1, LIMIT)?.into_iter().map(|(key, _)| key).collect())
}

/// Everything of one vault.
pub(super) fn check(read: &dyn Read, vault: VaultId, found: &mut Vec<String>) -> Result<(), StoreError> {
    let shares = codec::load_range::<Share>(read, &keys::shares_of_vault(vault), LIMIT)?;
    let (mut given, mut waiting, mut opened) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut pairs: BTreeMap<VaultId, u32> = BTreeMap::new();
    for (_, share) in &shares {
        let (document, recipient, id) = (share.document, share.recipient, share.id);
        if share.ended.is_some() != share.state.is_ended() {
            found.push(format!("{id:?}: {:?} but ended {:?}", share.state, share.ended));
        }
        let listed = read.get(&keys::incoming(recipient, id))?.is_some();
        let former = read.get(&keys::former(recipient, id))?.is_some();
        if listed != share.state.is_listed() || (listed && former) {
            found.push(format!("{id:?}: {:?}, in the recipient's list: {listed}, among the former: {former}", share.state));
        }
        if share.state.is_ended() {
            continue;
        }
        match codec::load::<Document>(read, &keys::document(vault, document))? {
            Some(document) if document.attributes.shareable => {}
            other => found.push(format!("{id:?} lives, of {:?}", other.map(|d| (d.id, d.attributes.shareable)))),
        }
        let key = keys::given(vault, recipient, document);
        if codec::load::<GivenRef>(read, &key)? != Some(GivenRef(id)) || !given.insert(key) {
            found.push(format!("{id:?} is not the one live share of its document with its recipient"));
        }
        *pairs.entry(recipient).or_insert(0) += 1;
        if share.state == ShareState::WaitingDeath {
            waiting.insert(keys::waiting(vault, document, id));
        }
        if share.moment == Moment::AfterDeath && matches!(share.state, ShareState::Offered | ShareState::Accepted) {
            opened.insert(keys::opened(vault, document, id));
        }
    }
    for (name, wanted, range) in
        [("given", given, keys::given_by(vault)), ("waiting", waiting, keys::waiting_of(vault)), ("opened", opened, keys::opened_of(vault))]
    {
        if present(read, range)? != wanted {
            found.push(format!("{vault:?}: the table '{name}' is not that of its shares"));
        }
    }
    let all = (VaultId(0), VaultId(u128::MAX));
    let counted = codec::load_range::<PairCount>(read, &(keys::pair(vault, all.0), keys::next(keys::pair(vault, all.1))), LIMIT)?;
    let counted: BTreeMap<VaultId, u32> =
        counted.into_iter().filter_map(|(key, PairCount(n))| Some((VaultId(keys::id_at_end(&key)?), n))).collect();
    if counted != pairs {
        found.push(format!("{vault:?}: pairs are {pairs:?}, counted {counted:?}"));
    }
    for (key, IncomingRef { owner, document }) in codec::load_range::<IncomingRef>(read, &keys::incoming_of(vault), LIMIT)? {
        let share = match keys::id_at_end(&key) {
            Some(id) => view::sharing::share(read, owner, document, crate::model::ShareId(id))?,
            None => None,
        };
        if !share.is_some_and(|share| share.recipient == vault && share.state.is_listed()) {
            found.push(format!("{vault:?}: its list has a share of {owner:?} that is not to be there"));
        }
    }
    Ok(())
}

/// Every hash finds its link, and every link has its hash.
pub(super) fn check_hashes(read: &dyn Read, found: &mut Vec<String>) -> Result<(), StoreError> {
    for (key, at) in codec::load_range::<LinkRef>(read, &keys::table_range(Table::LinkByHash), LIMIT)? {
        match codec::load::<Link>(read, &keys::link(at.vault, at.document, at.link))? {
            Some(link) if keys::link_by_hash(&link.asked.hash) == key => {
                if link.opens.len() > usize::try_from(link.asked.max_opens).unwrap_or(usize::MAX) {
                    found.push(format!("{:?} was opened {} times of {}", at.link, link.opens.len(), link.asked.max_opens));
                }
                let links = codec::load_range::<Link>(read, &keys::links_of(at.vault, at.document), LIMIT)?;
                for (_, link) in links {
                    if read.get(&keys::link_by_hash(&link.asked.hash))?.is_none() {
                        found.push(format!("{:?} is not found by its hash", link.asked.id));
                    }
                }
            }
            _ => found.push(format!("a hash finds no link: {at:?}")),
        }
    }
    Ok(())
}
