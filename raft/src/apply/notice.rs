//! Notices in the state: made in the transaction of what they tell of, read, kept for a while; and their settings.
//!
//! Owns: [`put`], which every family calls where something happens that a vault's owner is told of; [`quota`]; the
//! commands of the owner. Not: deliveries ([`super::outbox`]), nor events of the log ([`super::log`]), which are another
//! thing: a notice is for the person and goes after [`Notice::KEPT_MS`], an event is for ever.
//! Holds: (1) an act and its notice are one transaction: neither is without the other; (2) a vault has at most
//! [`Notice::PER_VAULT_MAX`] notices and [`crate::model::Delivery::WAITING_MAX`] deliveries that wait; (3) ids follow from the vault and
//! a count, so that whoever causes a notice brings no randomness for it.
//!
//! For a family, one call at the place of the act:
//!
//! ```text
//! notice::put(tx, now, NewNotice { vault: share.recipient, kind: NoticeKind::ShareOffered, document: None, details: None })?;
//! ```
//!
//! `vault` is the vault of whoever is told. `document` is only ever a document of that same vault, for its id is shown.

use xxhash_rust::xxh3::xxh3_64;

use super::{
    due, outbox,
    stop::{Stop, settle},
};
use crate::{
    codec,
    command::NoticeCommand,
    keys,
    model::{
        Channels, Content, NewNotice, Notice, NoticeBox, NoticeDetails, NoticeId, NoticeKind, PendingAddress, Sealed, Target, TimeMs,
        Vault, VaultId, Webhook, WebhookId,
    },
    outcome::{NoticeOutcome, NoticeRefusal, Outcome, Refusal},
    store::{Read, StoreError, Transaction},
    view,
};

/// Most bytes of a sealed mail address or code.
const ADDRESS_BYTES_MAX: usize = 512;
const DAY_MS: u64 = 24 * 3600 * 1000;
/// The steps of fullness, in percent, with what is told at each.
const QUOTA_STEPS: [(u8, NoticeKind); 3] = [(80, NoticeKind::Quota80), (95, NoticeKind::Quota95), (100, NoticeKind::Quota100)];
/// Percent that a vault must fall below a step before it is told of again.
const QUOTA_SLACK: u8 = 5;

pub(super) fn apply(tx: &mut Transaction<'_>, now: TimeMs, command: &NoticeCommand) -> Result<Outcome, StoreError> {
    settle(match command {
        NoticeCommand::Post(new) => post(tx, now, new),
        NoticeCommand::MarkRead { vault, notice } => mark_read(tx, now, *vault, *notice),
        NoticeCommand::MarkAllRead { vault, until } => mark_all_read(tx, now, *vault, *until),
        NoticeCommand::SetChannels { vault, revision, channels } => set_channels(tx, *vault, *revision, channels),
        NoticeCommand::SetLang { vault, lang } => change(tx, *vault, |own| own.lang = *lang),
        NoticeCommand::SetAddress { vault, address, code, code_hash } => set_address(tx, now, *vault, (address, code), *code_hash),
        NoticeCommand::RemoveAddress { vault } => change(tx, *vault, |own| (own.address, own.pending) = (None, None)),
        NoticeCommand::VerifyAddress { vault, code_hash } => verify(tx, now, *vault, code_hash),
        NoticeCommand::CreateWebhook { vault, id, url, secret } => create_webhook(tx, now, *vault, *id, (url, secret)),
        NoticeCommand::ChangeWebhook { vault, id, revision, url, enabled } => {
            change_webhook(tx, (*vault, *id, *revision), url.as_ref(), *enabled)
        }
        NoticeCommand::DeleteWebhook { vault, id } => delete_webhook(tx, *vault, *id),
        NoticeCommand::TestWebhook { vault, id } => test_webhook(tx, now, *vault, *id),
        NoticeCommand::Claim { deliveries, lease_ms } => outbox::claim(tx, now, deliveries, *lease_ms),
        NoticeCommand::Report { vault, delivery, attempt, result, random } => {
            outbox::report(tx, now, (*vault, *delivery), (*attempt, *result), *random)
        }
    })
}

/// Tells the owner of a vault of something: in the vault, and by the ways that the owner chose. See the module.
///
/// # Errors
/// The store failed.
pub fn put(tx: &mut Transaction<'_>, now: TimeMs, new: NewNotice) -> Result<(), StoreError> {
    let NewNotice { vault, kind, document, details } = new;
    if view::vault(tx, vault)?.is_none() {
        return Ok(());
    }
    let mut own = view::notice::notice_box(tx, vault)?;
    while own.count >= Notice::PER_VAULT_MAX {
        let oldest = codec::load_range::<Notice>(tx, &keys::notices(vault), 1)?;
        let Some((_, oldest)) = oldest.into_iter().next() else { break };
        remove(tx, &mut own, &oldest);
    }
    let id = NoticeId(fresh_id(&mut own, now, vault));
    let notice = Notice { id, vault, kind, document, details, created_ms: now, read_ms: None };
    let key = keys::notice(vault, id);
    tx.store(key.clone(), &notice)?;
    due::schedule(tx, now.saturating_add(Notice::KEPT_MS), &key);
    own.count = own.count.saturating_add(1);
    own.unread = own.unread.saturating_add(1);
    let (ways, content) = (own.channels_of(kind), Content::Notice { notice: id, kind, document });
    if ways.mail && own.address.is_some() {
        outbox::queue(tx, now, &mut own, vault, Target::Mail, content)?;
    }
    if ways.webhook {
        for webhook in view::notice::webhooks(tx, vault)?.into_iter().filter(|webhook| webhook.enabled) {
            outbox::queue(tx, now, &mut own, vault, Target::Webhook(webhook.id), content)?;
        }
    }
    tx.store(keys::notice_box(vault), &own)
}

/// An id of a notice or delivery: rises with time and number, and differs from those of other vaults.
pub(super) fn fresh_id(own: &mut NoticeBox, now: TimeMs, vault: VaultId) -> u128 {
    own.made = own.made.wrapping_add(1);
    let spread = xxh3_64(&[&vault.to_bytes()[..], &own.made.to_be_bytes()].concat()) & 0xffff_ffff_ffff;
    NoticeId::new(now, (u128::from(own.made & 0xffff_ffff) << 48) | u128::from(spread)).0
}

fn remove(tx: &mut Transaction<'_>, own: &mut NoticeBox, notice: &Notice) {
    tx.delete(keys::notice(notice.vault, notice.id));
    own.count = own.count.saturating_sub(1);
    if notice.read_ms.is_none() {
        own.unread = own.unread.saturating_sub(1);
    }
}

/// A notice goes when its time is over.
pub(super) fn due(tx: &mut Transaction<'_>, now: TimeMs, key: &[u8]) -> Result<(), StoreError> {
    if let Some(notice) = codec::load::<Notice>(tx, key)?
        && notice.created_ms.saturating_add(Notice::KEPT_MS) <= now
    {
        let mut own = view::notice::notice_box(tx, notice.vault)?;
        remove(tx, &mut own, &notice);
        tx.store(keys::notice_box(notice.vault), &own)?;
    }
    Ok(())
}

/// Tells of the fullness of a vault where it reached a step. Called with the vault as it was just stored, wherever bytes
/// in use or the limit change.
///
/// # Errors
/// The store failed.
pub fn quota(tx: &mut Transaction<'_>, now: TimeMs, vault: &Vault) -> Result<(), StoreError> {
    let is_at =
        |percent: u8| vault.used_bytes > 0 && u128::from(vault.used_bytes) * 100 >= u128::from(vault.quota_bytes) * u128::from(percent);
    let reached = QUOTA_STEPS.into_iter().rev().find(|(percent, _)| is_at(*percent));
    let mut own = view::notice::notice_box(tx, vault.id)?;
    let (level, told) = (reached.map_or(0, |(percent, _)| percent), own.quota_told);
    if level == told || (level < told && is_at(told.saturating_sub(QUOTA_SLACK))) {
        return Ok(());
    }
    own.quota_told = level;
    tx.store(keys::notice_box(vault.id), &own)?;
    match reached {
        Some((percent, kind)) if percent > told => put(tx, now, NewNotice { vault: vault.id, kind, document: None, details: None }),
        _ => Ok(()),
    }
}

fn must_exist(read: &dyn Read, vault: VaultId) -> Result<(), Stop> {
    if view::vault(read, vault)?.is_some() { Ok(()) } else { Err(Refusal::VaultUnknown.into()) }
}

fn post(tx: &mut Transaction<'_>, now: TimeMs, new: &NewNotice) -> Result<Outcome, Stop> {
    must_exist(tx, new.vault)?;
    if new.details.as_ref().is_some_and(|details| details.text.0.len() > NoticeDetails::BYTES_MAX) {
        return Err(too_long());
    }
    put(tx, now, new.clone())?;
    Ok(Outcome::Done)
}

fn too_long() -> Stop {
    Refusal::Invalid("a sealed text is too long".into()).into()
}

fn mark_read(tx: &mut Transaction<'_>, now: TimeMs, vault: VaultId, id: NoticeId) -> Result<Outcome, Stop> {
    let mut notice = view::notice::notice(tx, vault, id)?.ok_or(NoticeRefusal::NoticeUnknown)?;
    if notice.read_ms.is_none() {
        notice.read_ms = Some(now);
        tx.store(keys::notice(vault, id), &notice)?;
        let mut own = view::notice::notice_box(tx, vault)?;
        own.unread = own.unread.saturating_sub(1);
        tx.store(keys::notice_box(vault), &own)?;
    }
    Ok(Outcome::Done)
}

fn mark_all_read(tx: &mut Transaction<'_>, now: TimeMs, vault: VaultId, until: NoticeId) -> Result<Outcome, Stop> {
    let most = usize::try_from(Notice::PER_VAULT_MAX).unwrap_or(usize::MAX);
    let mut own = view::notice::notice_box(tx, vault)?;
    for (key, mut notice) in codec::load_range::<Notice>(tx, &keys::notices(vault), most)? {
        if notice.id <= until && notice.read_ms.is_none() {
            notice.read_ms = Some(now);
            own.unread = own.unread.saturating_sub(1);
            tx.store(key, &notice)?;
        }
    }
    tx.store(keys::notice_box(vault), &own)?;
    Ok(Outcome::Done)
}

fn settings(own: NoticeBox) -> Outcome {
    Outcome::Notice(NoticeOutcome::Settings(Box::new(own)))
}

fn change(tx: &mut Transaction<'_>, vault: VaultId, change: impl FnOnce(&mut NoticeBox)) -> Result<Outcome, Stop> {
    must_exist(tx, vault)?;
    let mut own = view::notice::notice_box(tx, vault)?;
    change(&mut own);
    own.revision = own.revision.saturating_add(1);
    tx.store(keys::notice_box(vault), &own)?;
    Ok(settings(own))
}

fn set_channels(tx: &mut Transaction<'_>, vault: VaultId, revision: u64, channels: &[(NoticeKind, Channels)]) -> Result<Outcome, Stop> {
    let actual = view::notice::notice_box(tx, vault)?.revision;
    if actual != revision {
        return Err(NoticeRefusal::RevisionMismatch { actual }.into());
    }
    // What is as it would be anyway is not kept, so that a better default reaches who did not choose.
    let chosen = channels.iter().copied().filter(|(kind, ways)| kind.default_channels() != *ways);
    change(tx, vault, |own| own.channels = chosen.collect())
}

fn set_address(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    vault: VaultId,
    (address, code): (&Sealed, &Sealed),
    code_hash: [u8; 32],
) -> Result<Outcome, Stop> {
    must_exist(tx, vault)?;
    if address.0.len() > ADDRESS_BYTES_MAX || code.0.len() > ADDRESS_BYTES_MAX {
        return Err(too_long());
    }
    let mut own = view::notice::notice_box(tx, vault)?;
    let (today, today_before) = (now / DAY_MS, own.codes.0);
    let codes = if today == today_before { own.codes.1 } else { 0 };
    let is_soon = own.pending.as_ref().is_some_and(|pending| now < pending.since_ms.saturating_add(PendingAddress::PAUSE_MS));
    if is_soon || codes >= PendingAddress::PER_DAY_MAX {
        return Err(NoticeRefusal::TooSoon.into());
    }
    own.codes = (today, codes.saturating_add(1));
    own.pending = Some(PendingAddress { address: address.clone(), code: code.clone(), code_hash, since_ms: now, tries: 0 });
    own.revision = own.revision.saturating_add(1);
    outbox::queue(tx, now, &mut own, vault, Target::Mail, Content::Code)?.ok_or(NoticeRefusal::TooSoon)?;
    tx.store(keys::notice_box(vault), &own)?;
    Ok(settings(own))
}

/// A wrong code is no refusal: it must be counted.
fn verify(tx: &mut Transaction<'_>, now: TimeMs, vault: VaultId, code_hash: &[u8; 32]) -> Result<Outcome, Stop> {
    let mut own = view::notice::notice_box(tx, vault)?;
    let is_good = |pending: &PendingAddress| {
        pending.tries < PendingAddress::TRIES_MAX && now < pending.since_ms.saturating_add(PendingAddress::LIFETIME_MS)
    };
    let mut pending = own.pending.take().filter(is_good).ok_or(NoticeRefusal::NoCode)?;
    if pending.code_hash != *code_hash {
        pending.tries = pending.tries.saturating_add(1);
        let left = PendingAddress::TRIES_MAX.saturating_sub(pending.tries);
        own.pending = Some(pending);
        tx.store(keys::notice_box(vault), &own)?;
        return Ok(Outcome::Notice(NoticeOutcome::CodeWrong { left }));
    }
    own.address = Some(pending.address);
    own.revision = own.revision.saturating_add(1);
    tx.store(keys::notice_box(vault), &own)?;
    Ok(settings(own))
}

fn create_webhook(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    vault: VaultId,
    id: WebhookId,
    (url, secret): (&Sealed, &Sealed),
) -> Result<Outcome, Stop> {
    must_exist(tx, vault)?;
    if url.0.len() > Webhook::SEALED_BYTES_MAX || secret.0.len() > Webhook::SEALED_BYTES_MAX {
        return Err(too_long());
    }
    let there = view::notice::webhooks(tx, vault)?;
    if there.iter().any(|webhook| webhook.id == id) {
        return Err(Refusal::Invalid("the webhook exists".into()).into());
    }
    if there.len() >= Webhook::PER_VAULT_MAX {
        return Err(NoticeRefusal::TooManyWebhooks { limit: Webhook::PER_VAULT_MAX }.into());
    }
    let (url, secret) = (url.clone(), secret.clone());
    keep(tx, Webhook { id, vault, revision: 1, url, secret, enabled: true, failing_since_ms: None, created_ms: now })
}

fn keep(tx: &mut Transaction<'_>, webhook: Webhook) -> Result<Outcome, Stop> {
    tx.store(keys::webhook(webhook.vault, webhook.id), &webhook)?;
    Ok(Outcome::Notice(NoticeOutcome::Webhook(Box::new(webhook))))
}

fn change_webhook(
    tx: &mut Transaction<'_>,
    (vault, id, revision): (VaultId, WebhookId, u64),
    url: Option<&Sealed>,
    enabled: Option<bool>,
) -> Result<Outcome, Stop> {
    let mut webhook = view::notice::webhook(tx, vault, id)?.ok_or(NoticeRefusal::WebhookUnknown)?;
    if webhook.revision != revision {
        return Err(NoticeRefusal::RevisionMismatch { actual: webhook.revision }.into());
    }
    if let Some(url) = url {
        if url.0.len() > Webhook::SEALED_BYTES_MAX {
            return Err(too_long());
        }
        webhook.url.clone_from(url);
    }
    webhook.enabled = enabled.unwrap_or(webhook.enabled);
    // Who changes it says that it works now: the time to switch it off begins anew.
    webhook.failing_since_ms = None;
    webhook.revision = webhook.revision.saturating_add(1);
    keep(tx, webhook)
}

fn delete_webhook(tx: &mut Transaction<'_>, vault: VaultId, id: WebhookId) -> Result<Outcome, Stop> {
    view::notice::webhook(tx, vault, id)?.ok_or(NoticeRefusal::WebhookUnknown)?;
    // What waits for it finds it gone, and ends.
    tx.delete(keys::webhook(vault, id));
    Ok(Outcome::Done)
}

fn test_webhook(tx: &mut Transaction<'_>, now: TimeMs, vault: VaultId, id: WebhookId) -> Result<Outcome, Stop> {
    view::notice::webhook(tx, vault, id)?.ok_or(NoticeRefusal::WebhookUnknown)?;
    let mut own = view::notice::notice_box(tx, vault)?;
    let queued = outbox::queue(tx, now, &mut own, vault, Target::Webhook(id), Content::Test)?.ok_or(NoticeRefusal::TooSoon)?;
    tx.store(keys::notice_box(vault), &own)?;
    Ok(Outcome::Notice(NoticeOutcome::Queued(queued)))
}

#[cfg(test)]
mod tests;
