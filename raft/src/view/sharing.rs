//! Reads of shares and links: what the owner sees, what a recipient may see now, what a link shows.
//!
//! Holds: (1) a recipient's reads begin in the recipient's own part of the state, so a share that is not listed there
//! cannot change an answer (not even its length or its cursor); (2) what a recipient gets has nothing of other
//! recipients; (3) ends are in force by the clock that the caller brings, not only when due work has run.
//!
//! These functions read several records. Where the view is one instant the answer is of that instant; the gateway's
//! `Metadata::view` may be of two, so what must not race is decided by a command.

use crate::{
    codec, keys,
    model::{
        AccessRequest, Death, Document, DocumentId, Former, IncomingRef, Link, LinkHash, LinkRef, Moment, Sealed, Share, ShareId,
        ShareState, SharedKey, TimeMs, VaultId, Version,
    },
    policy::{Action, Case, Denial, Phase, decide},
    store::{Read, StoreError},
};

/// The death flag of a vault's owner, if anything was ever told.
pub fn death(read: &dyn Read, vault: VaultId) -> Result<Option<Death>, StoreError> {
    codec::load(read, &keys::death(vault))
}

/// Whether the death of a vault's owner is confirmed.
pub fn is_dead(read: &dyn Read, vault: VaultId) -> Result<bool, StoreError> {
    Ok(death(read, vault)?.is_some_and(|death| death.confirmed))
}

/// Whether a vault's owner closed it: what it shared is over from that moment, before it is erased.
pub fn is_closing(read: &dyn Read, vault: VaultId) -> Result<bool, StoreError> {
    Ok(read.get(&keys::closing(vault))?.is_some())
}

/// A share of the owner's, by document and id.
pub fn share(read: &dyn Read, owner: VaultId, document: DocumentId, id: ShareId) -> Result<Option<Share>, StoreError> {
    codec::load(read, &keys::share(owner, document, id))
}

/// All shares of a document, oldest first, for its owner; those that ended lately are among them.
pub fn shares_of_document(read: &dyn Read, owner: VaultId, document: DocumentId) -> Result<Vec<Share>, StoreError> {
    let shares = codec::load_range(read, &keys::shares_of(owner, document), Share::PER_DOCUMENT_MAX)?;
    Ok(shares.into_iter().map(|(_, share)| share).collect())
}

/// Up to `limit` live shares of one vault with another, for the owner, in order of document from after `after` on.
pub fn shares_with(
    read: &dyn Read,
    owner: VaultId,
    recipient: VaultId,
    after: Option<DocumentId>,
    limit: usize,
) -> Result<Vec<Share>, StoreError> {
    let (start, end) = keys::given_between(owner, recipient);
    let start = after.map_or(start, |document| keys::next(keys::given(owner, recipient, document)));
    let mut shares = Vec::new();
    for (key, crate::model::GivenRef(id)) in codec::load_range(read, &(start, end), limit)? {
        let Some(document) = keys::id_at_end(&key).map(DocumentId) else { continue };
        shares.extend(share(read, owner, document, id)?);
    }
    Ok(shares)
}

/// All links to a document, oldest first, for its owner; those that ended lately are among them.
pub fn links_of_document(read: &dyn Read, vault: VaultId, document: DocumentId) -> Result<Vec<Link>, StoreError> {
    let links = codec::load_range(read, &keys::links_of(vault, document), Link::PER_DOCUMENT_MAX)?;
    Ok(links.into_iter().map(|(_, link)| link).collect())
}

/// A share as it stands for its recipient, with the document and the version that it shows.
pub struct Standing {
    /// The share.
    pub share: Share,
    /// Its state for the recipient now: time and death may have ended it before its record says so.
    pub state: ShareState,
    /// The document.
    pub document: Document,
    /// The version that it shows.
    pub version: Version,
}

/// The state that a share has now, in a world where these are dead.
pub fn state_now(share: &Share, owner_is_dead: bool, recipient_is_dead: bool, now: TimeMs) -> ShareState {
    if share.state.is_ended() {
        return share.state;
    }
    match share.moment {
        _ if recipient_is_dead || share.is_past(now) => ShareState::Lapsed,
        // Due work has opened it, and the death was reversed since.
        Moment::AfterDeath if !owner_is_dead && share.state.is_listed() => ShareState::Revoked,
        Moment::AfterDeath => share.state,
        // What was given for the owner's lifetime is over with it.
        Moment::Now | Moment::OnIncapacity { .. } if owner_is_dead => ShareState::Lapsed,
        Moment::Now | Moment::OnIncapacity { .. } => share.state,
    }
}

/// A share for its recipient, whatever it allows; for [`crate::apply`], which decides with it.
pub fn standing(read: &dyn Read, recipient: VaultId, id: ShareId, now: TimeMs) -> Result<Result<Standing, Denial>, StoreError> {
    let Some(IncomingRef { owner, document }) = codec::load(read, &keys::incoming(recipient, id))? else {
        let gone = codec::load::<Former>(read, &keys::former(recipient, id))?.is_some_and(|former| former.forget_ms > now);
        return Ok(Err(if gone { Denial::Gone } else { Denial::NotFound }));
    };
    if is_closing(read, owner)? {
        return Ok(Err(Denial::Gone));
    }
    let Some(share) = share(read, owner, document, id)? else { return Ok(Err(Denial::Gone)) };
    let Some(document) = codec::load::<Document>(read, &keys::document(owner, document))? else { return Ok(Err(Denial::Gone)) };
    let number = share.version(document.current.number);
    let Some(version) = codec::load::<Version>(read, &keys::version(owner, document.id, number))? else { return Ok(Err(Denial::Gone)) };
    let state = state_now(&share, is_dead(read, owner)?, is_dead(read, recipient)?, now);
    Ok(Ok(Standing { share, state, document, version }))
}

/// What a recipient sees of a share: nothing of other recipients, no name before there is a right to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingShare {
    /// Its id.
    pub id: ShareId,
    /// The vault that shares.
    pub owner: VaultId,
    /// Where it stands.
    pub state: ShareState,
    /// When it opens, or opened.
    pub moment: Moment,
    /// Whether it may be copied.
    pub allow_copy: bool,
    /// When it lapses.
    pub until_ms: Option<TimeMs>,
    /// When it opened.
    pub offered_ms: Option<TimeMs>,
    /// The recipient's own request for access.
    pub request: Option<AccessRequest>,
    /// The strong ETag.
    pub revision: u64,
    /// What may be seen once it is offered.
    pub about: Option<AboutShared>,
}

/// What a recipient sees of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AboutShared {
    /// The owner's word, sealed under the recipient vault's key.
    pub message: Sealed,
    /// Name and media type, sealed under the recipient vault's key.
    pub name: Sealed,
    /// Whether the name changed since it was sealed: whoever can open both vaults seals it anew
    /// ([`crate::command::Rewrap`]).
    pub name_is_old: bool,
    /// The version that is shown.
    pub version: u32,
    /// Whether it shows this version for ever.
    pub is_pinned: bool,
    /// Its plaintext bytes.
    pub size: u64,
    /// SHA-256 of its plaintext.
    pub sha256: [u8; 32],
    /// Since when that version exists.
    pub version_ms: TimeMs,
}

/// A share for its recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedDocument {
    /// What is seen.
    pub seen: IncomingShare,
    /// What is read, or why it is not.
    pub content: Result<SharedContent, Denial>,
    /// Whether it can be copied, or why not.
    pub copy: Result<(), Denial>,
}

/// The bytes of a share, for its recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedContent {
    /// The document, in the owner's vault.
    pub document: DocumentId,
    /// The version: blob, length, digest. Its `wrapped_key` is the owner's.
    pub version: Version,
    /// The document key, wrapped under the recipient vault's key. `None` while the one that is kept is of another version:
    /// whoever can open both vaults wraps it anew ([`crate::command::Rewrap`]).
    pub wrapped_key: Option<Vec<u8>>,
}

fn shown(found: Standing) -> Result<SharedDocument, Denial> {
    let Standing { share, state, document, version } = found;
    let case = Case::recipient(state, share.allow_copy, Phase::of(document.state, &version.scan));
    decide(case, Action::SeeExistence)?;
    let key_fits = share.key.version == version.number;
    let about = decide(case, Action::SeeName).is_ok().then(|| AboutShared {
        message: share.message.recipient.clone(),
        name: share.key.name.clone(),
        name_is_old: share.key.revision != document.revision,
        version: version.number,
        is_pinned: share.pinned.is_some(),
        size: version.size,
        sha256: version.sha256,
        version_ms: version.created_ms,
    });
    let seen = IncomingShare {
        id: share.id,
        owner: share.owner,
        state,
        moment: share.moment,
        allow_copy: share.allow_copy,
        until_ms: share.until_ms,
        offered_ms: share.offered_ms,
        request: share.request,
        revision: share.revision,
        about,
    };
    let SharedKey { wrapped_key, .. } = share.key;
    let content =
        decide(case, Action::Read).map(|()| SharedContent { document: document.id, version, wrapped_key: key_fits.then_some(wrapped_key) });
    Ok(SharedDocument { seen, content, copy: decide(case, Action::Copy) })
}

/// What a recipient may see and read of a share now. Asked again before each chunk of a download, it stops one that
/// was revoked.
pub fn share_for_reading(
    read: &dyn Read,
    recipient: VaultId,
    id: ShareId,
    now: TimeMs,
) -> Result<Result<SharedDocument, Denial>, StoreError> {
    Ok(standing(read, recipient, id, now)?.and_then(shown))
}

/// A page of what is shared with a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingPage {
    /// The shares, newest first.
    pub shares: Vec<IncomingShare>,
    /// What to ask for as `before` next; `None` on the last page.
    pub next: Option<ShareId>,
}

/// Up to `limit` shares with a vault that there is something to see of, newest first, those before `before`. A page may
/// have fewer than `limit` and still a next one: what is over in the meantime is passed over.
pub fn incoming(
    read: &dyn Read,
    recipient: VaultId,
    before: Option<ShareId>,
    limit: usize,
    now: TimeMs,
) -> Result<IncomingPage, StoreError> {
    let (start, end) = keys::incoming_of(recipient);
    let end = before.map_or(end, |id| keys::incoming(recipient, id));
    let entries = read.scan_back(&start, &end, limit)?;
    let ids: Vec<ShareId> = entries.iter().filter_map(|(key, _)| keys::id_at_end(key)).map(ShareId).collect();
    let next = ids.last().copied().filter(|_| ids.len() == limit);
    let mut shares = Vec::new();
    for id in ids {
        if let Ok(found) = share_for_reading(read, recipient, id, now)? {
            shares.push(found.seen);
        }
    }
    Ok(IncomingPage { shares, next })
}

/// A link by the hash of its token, for the gateway's check of the password; whether it can be opened,
/// [`link_for_opening`] says.
pub fn link_by_hash(read: &dyn Read, hash: &LinkHash) -> Result<Option<Link>, StoreError> {
    match codec::load::<LinkRef>(read, &keys::link_by_hash(hash))? {
        Some(LinkRef { vault, document, link }) => codec::load(read, &keys::link(vault, document, link)),
        None => Ok(None),
    }
}

/// A link that can be opened now, with the version that it shows; else whether there ever was one.
pub fn link_for_opening(read: &dyn Read, hash: &LinkHash, now: TimeMs) -> Result<Result<(Link, Version), Denial>, StoreError> {
    link_with(read, hash, |link| link.is_live(now))
}

/// A link whose opening was counted at `opened_ms`: it may be read to the end although that was the last opening.
pub fn link_for_reading(
    read: &dyn Read,
    hash: &LinkHash,
    opened_ms: TimeMs,
    now: TimeMs,
) -> Result<Result<(Link, Version), Denial>, StoreError> {
    link_with(read, hash, |link| link.revoked_ms.is_none() && link.asked.until_ms > now && link.opens.contains(&opened_ms))
}

fn link_with(read: &dyn Read, hash: &LinkHash, is_live: impl Fn(&Link) -> bool) -> Result<Result<(Link, Version), Denial>, StoreError> {
    let Some(link) = link_by_hash(read, hash)? else { return Ok(Err(Denial::NotFound)) };
    let document = codec::load::<Document>(read, &keys::document(link.vault, link.document))?;
    let version = codec::load::<Version>(read, &keys::version(link.vault, link.document, link.asked.version))?;
    let (Some(document), Some(version)) = (document, version) else { return Ok(Err(Denial::Gone)) };
    if is_closing(read, link.vault)? {
        return Ok(Err(Denial::Gone));
    }
    let live = is_live(&link) && document.attributes.shareable && !is_dead(read, link.vault)?;
    let case = Case::link(live, Phase::of(document.state, &version.scan));
    Ok(decide(case, Action::Read).map(|()| (link, version)))
}
