//! What must hold of notices and deliveries; see [`super`].

use super::LIMIT;
use crate::{
    keys::{self, Table},
    model::{DeliveryState, VaultId},
    store::{Read, StoreError},
    view,
};

/// Checks one vault.
pub(super) fn check(read: &dyn Read, vault: VaultId, found: &mut Vec<String>) -> Result<(), StoreError> {
    let own = view::notice::notice_box(read, vault)?;
    let notices = view::notice::notices(read, vault, None, LIMIT)?;
    let unread = notices.iter().filter(|notice| notice.read_ms.is_none()).count();
    if notices.len() as u64 != u64::from(own.count) || unread as u64 != u64::from(own.unread) {
        found.push(format!("{vault:?}: {} notices, {unread} not read, counted {} and {}", notices.len(), own.count, own.unread));
    }
    let mut waiting = 0u64;
    for delivery in view::notice::deliveries(read, vault, None, LIMIT)? {
        if let DeliveryState::Waiting { next_ms } = delivery.state {
            waiting += 1;
            if read.get(&keys::delivery_due(delivery.target.channel(), next_ms, vault, delivery.id))?.is_none() {
                found.push(format!("{:?} waits in no queue", delivery.id));
            }
        }
    }
    if waiting != u64::from(own.waiting) {
        found.push(format!("{vault:?}: {waiting} deliveries wait, {} are counted", own.waiting));
    }
    Ok(())
}

/// Checks the queues.
pub(super) fn check_queues(read: &dyn Read, found: &mut Vec<String>) -> Result<(), StoreError> {
    let (start, end) = keys::table_range(Table::DeliveryDue);
    for (key, _) in read.scan(&start, &end, LIMIT)? {
        let Some((at_ms, vault, id)) = keys::delivery_due_parts(&key) else {
            found.push("a queue has a key that is none".into());
            continue;
        };
        let state = view::notice::delivery(read, vault, id)?.map(|delivery| delivery.state);
        if state != Some(DeliveryState::Waiting { next_ms: at_ms }) {
            found.push(format!("{id:?} is in a queue for {at_ms}, and is {state:?}"));
        }
    }
    Ok(())
}
