//! Keys of notices, settings, webhooks and deliveries.

use super::{CLUSTER, Table, key, next};
use crate::model::{Channel, DeliveryId, NoticeId, TimeMs, VaultId, WebhookId};

/// A notice of a vault.
pub fn notice(vault: VaultId, id: NoticeId) -> Vec<u8> {
    key(&vault.to_bytes(), Table::Notice, &[&id.to_bytes()])
}

/// All notices of a vault, oldest first.
pub fn notices(vault: VaultId) -> (Vec<u8>, Vec<u8>) {
    (notice(vault, NoticeId(0)), next(notice(vault, NoticeId(u128::MAX))))
}

/// How a vault's owner is told things.
pub fn notice_box(vault: VaultId) -> Vec<u8> {
    key(&vault.to_bytes(), Table::NoticeBox, &[])
}

/// A webhook of a vault.
pub fn webhook(vault: VaultId, id: WebhookId) -> Vec<u8> {
    key(&vault.to_bytes(), Table::Webhook, &[&id.to_bytes()])
}

/// All webhooks of a vault, oldest first.
pub fn webhooks(vault: VaultId) -> (Vec<u8>, Vec<u8>) {
    (webhook(vault, WebhookId(0)), next(webhook(vault, WebhookId(u128::MAX))))
}

/// A delivery of a vault.
pub fn delivery(vault: VaultId, id: DeliveryId) -> Vec<u8> {
    key(&vault.to_bytes(), Table::Delivery, &[&id.to_bytes()])
}

/// All deliveries of a vault, oldest first.
pub fn deliveries(vault: VaultId) -> (Vec<u8>, Vec<u8>) {
    (delivery(vault, DeliveryId(0)), next(delivery(vault, DeliveryId(u128::MAX))))
}

/// That a delivery waits until a time.
pub fn delivery_due(channel: Channel, at_ms: TimeMs, vault: VaultId, id: DeliveryId) -> Vec<u8> {
    key(&CLUSTER, Table::DeliveryDue, &[&[channel as u8], &at_ms.to_be_bytes(), &vault.to_bytes(), &id.to_bytes()])
}

/// All deliveries of a queue that are due up to and with a time, longest waiting first.
pub fn deliveries_due(channel: Channel, now_ms: TimeMs) -> (Vec<u8>, Vec<u8>) {
    let first = |at_ms| delivery_due(channel, at_ms, VaultId(0), DeliveryId(0));
    (first(0), first(now_ms.saturating_add(1)))
}

/// Time, vault and delivery that a due key speaks of.
pub fn delivery_due_parts(key: &[u8]) -> Option<(TimeMs, VaultId, DeliveryId)> {
    let at_ms = TimeMs::from_be_bytes(key.get(18..26)?.try_into().ok()?);
    let vault = u128::from_be_bytes(key.get(26..42)?.try_into().ok()?);
    let id = u128::from_be_bytes(key.get(42..58)?.try_into().ok()?);
    Some((at_ms, VaultId(vault), DeliveryId(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_apart_and_ordered_by_time() {
        let key = delivery_due(Channel::Mail, 7, VaultId(1), DeliveryId(2));
        assert_eq!(delivery_due_parts(&key), Some((7, VaultId(1), DeliveryId(2))));
        assert!(key < delivery_due(Channel::Mail, 8, VaultId(0), DeliveryId(0)));
        let due = |channel, now| {
            let (start, end) = deliveries_due(channel, now);
            (start..end).contains(&key)
        };
        assert!(due(Channel::Mail, 7) && !due(Channel::Mail, 6) && !due(Channel::Webhook, 7));
        assert!(key < deliveries_due(Channel::Webhook, 0).0);
    }

    #[test]
    fn ranges_hold_their_own_and_nothing_else() {
        let vault = VaultId(7);
        for id in [0, 1, u128::MAX] {
            let (start, end) = notices(vault);
            assert!((start..end).contains(&notice(vault, NoticeId(id))));
            let (start, end) = deliveries(vault);
            assert!((start.clone()..end.clone()).contains(&delivery(vault, DeliveryId(id))));
            assert!(!(start.clone()..end.clone()).contains(&delivery(VaultId(8), DeliveryId(id))));
            assert!(!(start..end).contains(&webhook(vault, WebhookId(id))));
        }
    }
}
