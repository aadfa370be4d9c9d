//! Reads of notices, settings, webhooks and deliveries.

use crate::{
    codec, keys,
    model::{Channel, Delivery, DeliveryId, Notice, NoticeBox, NoticeId, TimeMs, VaultId, Webhook, WebhookId},
    store::{Read, StoreError},
};

/// How a vault's owner is told things; the defaults before the first notice or choice.
pub fn notice_box(read: &dyn Read, vault: VaultId) -> Result<NoticeBox, StoreError> {
    Ok(codec::load(read, &keys::notice_box(vault))?.unwrap_or_default())
}

/// A notice of a vault.
pub fn notice(read: &dyn Read, vault: VaultId, id: NoticeId) -> Result<Option<Notice>, StoreError> {
    codec::load(read, &keys::notice(vault, id))
}

/// Up to `limit` notices of a vault, newest first, those before (older than) `before`.
pub fn notices(read: &dyn Read, vault: VaultId, before: Option<NoticeId>, limit: usize) -> Result<Vec<Notice>, StoreError> {
    let (start, end) = keys::notices(vault);
    let end = before.map_or(end, |id| keys::notice(vault, id));
    read.scan_back(&start, &end, limit)?.into_iter().map(|(k, v)| codec::decode(&k, &v)).collect()
}

/// A webhook of a vault.
pub fn webhook(read: &dyn Read, vault: VaultId, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
    codec::load(read, &keys::webhook(vault, id))
}

/// All webhooks of a vault, oldest first.
pub fn webhooks(read: &dyn Read, vault: VaultId) -> Result<Vec<Webhook>, StoreError> {
    let found = codec::load_range::<Webhook>(read, &keys::webhooks(vault), Webhook::PER_VAULT_MAX)?;
    Ok(found.into_iter().map(|(_, webhook)| webhook).collect())
}

/// A delivery of a vault.
pub fn delivery(read: &dyn Read, vault: VaultId, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
    codec::load(read, &keys::delivery(vault, id))
}

/// Up to `limit` deliveries of a vault, newest first, those before (older than) `before`.
pub fn deliveries(read: &dyn Read, vault: VaultId, before: Option<DeliveryId>, limit: usize) -> Result<Vec<Delivery>, StoreError> {
    let (start, end) = keys::deliveries(vault);
    let end = before.map_or(end, |id| keys::delivery(vault, id));
    read.scan_back(&start, &end, limit)?.into_iter().map(|(k, v)| codec::decode(&k, &v)).collect()
}

/// Up to `limit` deliveries of a queue that are due, longest waiting first, each with the time it waited for.
pub fn due(read: &dyn Read, channel: Channel, now_ms: TimeMs, limit: usize) -> Result<Vec<(TimeMs, VaultId, DeliveryId)>, StoreError> {
    let (start, end) = keys::deliveries_due(channel, now_ms);
    Ok(read.scan(&start, &end, limit)?.into_iter().filter_map(|(key, _)| keys::delivery_due_parts(&key)).collect())
}
