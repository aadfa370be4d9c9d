//! Commands about services: programs with a credential of their own.

use super::{due, refused};
use crate::{
    codec::ServiceRef,
    command::NewService,
    keys,
    model::{SecretHash, Service, ServiceId, ServiceSecret, TimeMs, VaultId},
    outcome::{IdentityOutcome, IdentityRefusal, Outcome, Refusal},
    store::{Read, StoreError, Transaction},
    view,
};

/// Most services of one vault.
pub const SERVICES_MAX: usize = 20;
/// Longest life of a service.
pub const LIFETIME_MAX_MS: u64 = 366 * 24 * 3600 * 1000;
/// Longest time that an old secret is good beside the new one.
pub const OVERLAP_MAX_MS: u64 = 7 * 24 * 3600 * 1000;

pub(super) fn create(tx: &mut Transaction<'_>, now: TimeMs, new: &NewService) -> Result<Outcome, StoreError> {
    if view::vault(tx, new.vault)?.is_none() {
        return refused(Refusal::VaultUnknown);
    }
    if new.scopes.is_empty() || !new.scopes.is_sorted_by(|a, b| a < b) {
        return refused(Refusal::Invalid("the scopes of a service are sorted, each once, and not none".to_owned()));
    }
    if view::service(tx, new.vault, new.id)?.is_some() || is_taken(tx, &new.secret)? {
        return refused(Refusal::Invalid("the service exists".to_owned()));
    }
    if view::services(tx, new.vault)?.len() >= SERVICES_MAX {
        return refused(IdentityRefusal::TooManyServices { limit: SERVICES_MAX }.into());
    }
    let expires_ms = now.saturating_add(new.lifetime_ms.min(LIFETIME_MAX_MS));
    let service = Service {
        id: new.id,
        vault: new.vault,
        account: new.account,
        name: new.name.clone(),
        scopes: new.scopes.clone(),
        secrets: vec![ServiceSecret { hash: new.secret, created_ms: now, expires_ms }],
        created_ms: now,
        expires_ms,
    };
    due::schedule(tx, expires_ms, &keys::service(service.vault, service.id));
    put(tx, service)
}

/// Of two secrets that are good, a third one puts the older out of force at once.
pub(super) fn rotate(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    vault: VaultId,
    id: ServiceId,
    secret: SecretHash,
    overlap_ms: u64,
) -> Result<Outcome, StoreError> {
    let Some(mut service) = view::service(tx, vault, id)?.filter(|service| service.expires_ms > now) else {
        return refused(IdentityRefusal::ServiceUnknown.into());
    };
    if is_taken(tx, &secret)? {
        return refused(Refusal::Invalid("the secret exists".to_owned()));
    }
    let newest = service.secrets.pop();
    for old in service.secrets.drain(..) {
        tx.delete(keys::service_secret(&old.hash));
    }
    if let Some(mut newest) = newest {
        newest.expires_ms = newest.expires_ms.min(now.saturating_add(overlap_ms.min(OVERLAP_MAX_MS)));
        if newest.expires_ms > now {
            service.secrets.push(newest);
        } else {
            tx.delete(keys::service_secret(&newest.hash));
        }
    }
    service.secrets.push(ServiceSecret { hash: secret, created_ms: now, expires_ms: service.expires_ms });
    put(tx, service)
}

pub(super) fn delete(tx: &mut Transaction<'_>, vault: VaultId, id: ServiceId) -> Result<Outcome, StoreError> {
    match view::service(tx, vault, id)? {
        Some(service) => {
            remove(tx, &service);
            Ok(Outcome::Done)
        }
        None => refused(IdentityRefusal::ServiceUnknown.into()),
    }
}

/// Takes a service and its secrets away.
pub(super) fn remove(tx: &mut Transaction<'_>, service: &Service) {
    for secret in &service.secrets {
        tx.delete(keys::service_secret(&secret.hash));
    }
    tx.delete(keys::service(service.vault, service.id));
}

fn is_taken(tx: &Transaction<'_>, secret: &SecretHash) -> Result<bool, StoreError> {
    Ok(tx.get(&keys::service_secret(secret))?.is_some())
}

fn put(tx: &mut Transaction<'_>, service: Service) -> Result<Outcome, StoreError> {
    let found = ServiceRef { vault: service.vault, service: service.id };
    for secret in &service.secrets {
        tx.store(keys::service_secret(&secret.hash), &found)?;
    }
    tx.store(keys::service(service.vault, service.id), &service)?;
    Ok(Outcome::Identity(IdentityOutcome::Service(Box::new(service))))
}
