//! How shares end: one by one, with their document, with the contact.

use super::{put, touch};
use crate::{
    apply::due,
    codec, keys,
    model::{DocumentId, EndReason, Ended, GivenRef, Link, Share, TimeMs, VaultId},
    outcome::EndedShare,
    store::{StoreError, Transaction},
};

/// Ends a share that lives.
pub(super) fn end(tx: &mut Transaction<'_>, now: TimeMs, mut share: Share, why: EndReason) -> Result<EndedShare, StoreError> {
    let before = share.state;
    let was_listed = before.is_listed();
    share.state = why.state();
    share.ended = Some(Ended { at_ms: now, why, was_listed });
    share.request = None;
    touch(&mut share, now);
    put(tx, now, Some(before), &share)?;
    due::schedule(tx, now.saturating_add(Share::ENDED_KEPT_MS), &keys::share(share.owner, share.document, share.id));
    Ok(EndedShare { share: share.id, owner: share.owner, document: share.document, recipient: share.recipient, why, was_listed })
}

/// Ends all live shares and links of a document, those that wait included.
pub(in crate::apply) fn end_of_document(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    vault: VaultId,
    document: DocumentId,
    why: EndReason,
) -> Result<Vec<EndedShare>, StoreError> {
    for (key, mut link) in codec::load_range::<Link>(tx, &keys::links_of(vault, document), Link::PER_DOCUMENT_MAX)? {
        if link.revoked_ms.is_none() {
            link.revoked_ms = Some(now);
            tx.store(key, &link)?;
        }
    }
    let mut ended = Vec::new();
    for (_, share) in codec::load_range::<Share>(tx, &keys::shares_of(vault, document), Share::PER_DOCUMENT_MAX)? {
        if !share.state.is_ended() {
            ended.push(end(tx, now, share, why)?);
        }
    }
    Ok(ended)
}

/// Ends all live shares of two vaults with each other, both ways: for whoever ends a contact, by removal, by a block
/// or by the closing of an account (a share needs a contact, so the shares of all contacts are all shares). Bounded
/// by [`Share::PER_PAIR_MAX`] each way.
///
/// The answer has the shares that their recipient never knew of too: neither side may be told of the other's
/// ([`EndedShare::was_listed`]).
///
/// # Errors
/// The store failed.
pub fn end_shares_between(tx: &mut Transaction<'_>, now: TimeMs, a: VaultId, b: VaultId) -> Result<Vec<EndedShare>, StoreError> {
    let max = usize::try_from(Share::PER_PAIR_MAX).unwrap_or(usize::MAX);
    let mut ended = Vec::new();
    for (owner, recipient) in [(a, b), (b, a)] {
        for (key, GivenRef(id)) in codec::load_range::<GivenRef>(tx, &keys::given_between(owner, recipient), max)? {
            let Some(document) = keys::id_at_end(&key).map(DocumentId) else { continue };
            if let Some(share) = codec::load::<Share>(tx, &keys::share(owner, document, id))? {
                ended.push(end(tx, now, share, EndReason::ContactEnded)?);
            }
        }
    }
    Ok(ended)
}
