//! The outbox in the state: deliveries that wait, are tried, arrive or are given up.
//!
//! Owns: queueing, leases, what a try's result does. Not: sending (the gateway's `notify`), which no state machine can.
//! Holds: (1) a delivery that waits is in exactly one queue, at the time of its next try; (2) a gateway that took one has
//! it until its lease ends, so that when it dies between sending and telling, the delivery is sent again, with the same
//! id; (3) a result that comes after the lease was lost does nothing but say that the receiver took it; (4) after
//! [`Delivery::GIVEN_UP_MS`] a delivery is over, also where no gateway can send it.

use super::{due, notice::fresh_id, stop::Stop};
use crate::{
    codec,
    command::notice::CLAIM_MAX,
    keys,
    model::{
        Attempt, Channel, Content, Delivery, DeliveryId, DeliveryState, Failure, NoticeBox, Target, TimeMs, VaultId, Webhook, WebhookId,
    },
    outcome::{NoticeOutcome, Outcome},
    store::{StoreError, Transaction},
    view,
};

/// Makes a delivery that is due at once; none, when too many wait. The caller stores `own`.
pub(super) fn queue(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    own: &mut NoticeBox,
    vault: VaultId,
    target: Target,
    content: Content,
) -> Result<Option<DeliveryId>, StoreError> {
    if own.waiting >= Delivery::WAITING_MAX {
        return Ok(None);
    }
    let id = DeliveryId(fresh_id(own, now, vault));
    let state = DeliveryState::Waiting { next_ms: now };
    let delivery = Delivery { id, vault, target, content, created_ms: now, attempts: 0, state, failure: None };
    let key = keys::delivery(vault, id);
    tx.store(key.clone(), &delivery)?;
    tx.put(keys::delivery_due(target.channel(), now, vault, id), Vec::new());
    due::schedule(tx, now.saturating_add(Delivery::GIVEN_UP_MS), &key);
    own.waiting = own.waiting.saturating_add(1);
    Ok(Some(id))
}

/// Moves a delivery that waits to another time of its next try.
fn postpone(tx: &mut Transaction<'_>, delivery: &mut Delivery, from_ms: TimeMs, next_ms: TimeMs) -> Result<(), StoreError> {
    let (channel, vault, id) = (delivery.target.channel(), delivery.vault, delivery.id);
    tx.delete(keys::delivery_due(channel, from_ms, vault, id));
    tx.put(keys::delivery_due(channel, next_ms, vault, id), Vec::new());
    delivery.state = DeliveryState::Waiting { next_ms };
    tx.store(keys::delivery(vault, id), delivery)
}

/// Ends a delivery that waits.
fn end(tx: &mut Transaction<'_>, now: TimeMs, delivery: &mut Delivery, from_ms: TimeMs, state: DeliveryState) -> Result<(), StoreError> {
    let (vault, key) = (delivery.vault, keys::delivery(delivery.vault, delivery.id));
    tx.delete(keys::delivery_due(delivery.target.channel(), from_ms, vault, delivery.id));
    delivery.state = state;
    tx.store(key.clone(), delivery)?;
    due::schedule(tx, now.saturating_add(Delivery::KEPT_MS), &key);
    let mut own = view::notice::notice_box(tx, vault)?;
    own.waiting = own.waiting.saturating_sub(1);
    tx.store(keys::notice_box(vault), &own)
}

pub(super) fn claim(tx: &mut Transaction<'_>, now: TimeMs, wanted: &[(VaultId, DeliveryId)], lease_ms: u64) -> Result<Outcome, Stop> {
    let mut claimed = Vec::new();
    for (vault, id) in wanted.iter().take(CLAIM_MAX) {
        let Some(mut delivery) = view::notice::delivery(tx, *vault, *id)? else { continue };
        if let DeliveryState::Waiting { next_ms } = delivery.state
            && next_ms <= now
        {
            delivery.attempts = delivery.attempts.saturating_add(1);
            postpone(tx, &mut delivery, next_ms, now.saturating_add(lease_ms.clamp(1, Delivery::LEASE_MAX_MS)))?;
            claimed.push(delivery);
        }
    }
    Ok(Outcome::Notice(NoticeOutcome::Claimed(claimed)))
}

pub(super) fn report(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    (vault, id): (VaultId, DeliveryId),
    (attempt, result): (u32, Attempt),
    random: u64,
) -> Result<Outcome, Stop> {
    let Some(mut delivery) = view::notice::delivery(tx, vault, id)? else { return Ok(Outcome::Done) };
    let DeliveryState::Waiting { next_ms } = delivery.state else { return Ok(Outcome::Done) };
    match result {
        Attempt::Delivered => {
            delivery.failure = None;
            end(tx, now, &mut delivery, next_ms, DeliveryState::Delivered { at_ms: now })?;
        }
        // Another gateway has it by now.
        Attempt::Failed(_) if delivery.attempts != attempt => return Ok(Outcome::Done),
        Attempt::Failed(failure) => {
            delivery.failure = Some(failure);
            let again_ms = now.saturating_add(Delivery::pause_ms(attempt, random));
            let is_late = again_ms >= delivery.created_ms.saturating_add(Delivery::GIVEN_UP_MS);
            if is_late || failure.is_final(delivery.target.channel()) {
                end(tx, now, &mut delivery, next_ms, DeliveryState::Dead { at_ms: now })?;
            } else {
                postpone(tx, &mut delivery, next_ms, again_ms)?;
            }
        }
    }
    if let Target::Webhook(webhook) = delivery.target {
        note(tx, now, vault, webhook, result)?;
    }
    Ok(Outcome::Done)
}

/// What a try says of the webhook itself.
fn note(tx: &mut Transaction<'_>, now: TimeMs, vault: VaultId, id: WebhookId, result: Attempt) -> Result<(), StoreError> {
    let Some(mut webhook) = view::notice::webhook(tx, vault, id)? else { return Ok(()) };
    let before = webhook.clone();
    match result {
        Attempt::Delivered => webhook.failing_since_ms = None,
        // That it is switched off, or that we have no key, is not its failure.
        Attempt::Failed(Failure::NoTarget | Failure::NoKey) => {}
        Attempt::Failed(failure) => {
            let since_ms = *webhook.failing_since_ms.get_or_insert(now);
            let is_over = failure.is_final(Channel::Webhook) || since_ms.saturating_add(Webhook::FAILING_MAX_MS) <= now;
            webhook.enabled &= !is_over;
        }
    }
    if webhook == before { Ok(()) } else { tx.store(keys::webhook(vault, id), &webhook) }
}

/// A delivery that did not arrive in time is given up; one that is over goes when it was shown long enough.
pub(super) fn due(tx: &mut Transaction<'_>, now: TimeMs, key: &[u8]) -> Result<(), StoreError> {
    let Some(mut delivery) = codec::load::<Delivery>(tx, key)? else { return Ok(()) };
    match delivery.state {
        DeliveryState::Waiting { next_ms } => {
            let end_ms = delivery.created_ms.saturating_add(Delivery::GIVEN_UP_MS);
            if end_ms <= now {
                end(tx, now, &mut delivery, next_ms, DeliveryState::Dead { at_ms: now })?;
            } else {
                due::schedule(tx, end_ms, key);
            }
        }
        DeliveryState::Delivered { at_ms } | DeliveryState::Dead { at_ms } => {
            let end_ms = at_ms.saturating_add(Delivery::KEPT_MS);
            if end_ms <= now {
                tx.delete(key.to_vec());
            } else {
                due::schedule(tx, end_ms, key);
            }
        }
    }
    Ok(())
}
