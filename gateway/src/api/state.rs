//! What every request sees: the ports, the keys, the limits, and the counters that guard them.
//!
//! Owns: [`Gateway`]. Not: how its parts are made (the node assembles them).
//! Holds: no request can hold more than its share: counters by address and by account are bounded in size
//! themselves, so that counting attackers does not cost memory.
//!
//! The gateway takes clock and randomness, not the whole environment: it opens no file, and no socket but
//! those to an identity provider, to the scanner, to the mail server and to webhooks.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use kluis_chunkstore::env::{Clock, Entropy};
use kluis_raft::{
    client::Metadata,
    command::Command,
    model::{AccountId, ClusterRecord, LinkHash, SessionId},
    outcome::Outcome,
    store::Read,
    view,
};

use crate::{
    auth::oidc::SignIn,
    keys::{KeyRing, LookupKey},
    limits::Limits,
    notify::Notifier,
    ports::DocumentBytes,
    problem::{Code, Problem},
    rate::Buckets,
    recorder::Recorder,
    scan::Scanner,
    search::kept::Indexes,
    telemetry::Telemetry,
};

/// One named check of readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name: part of a URL.
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// Why not, for the log; never sent to strangers.
    pub detail: String,
}

/// What the node knows of its own health.
#[async_trait]
pub trait Health: Send + Sync {
    /// All checks of readiness, each within a second.
    async fn checks(&self) -> Vec<Check>;
    /// Whether the process turns. Never asks another node, so that nothing restarts during a partition.
    fn live(&self) -> bool;
}

/// Settings of a gateway.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Where people reach the service, `https://host[:port]` without a slash at the end.
    pub public_url: String,
    /// Sizes, rates and deadlines.
    pub limits: Limits,
}

/// One gateway: shared by all its requests.
pub struct Gateway {
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness fit for keys.
    pub entropy: Arc<dyn Entropy>,
    /// The metadata group.
    pub metadata: Arc<dyn Metadata>,
    /// The disks.
    pub bytes: Arc<dyn DocumentBytes>,
    /// Keys of vaults.
    pub keys: Arc<KeyRing>,
    /// Key of the keyed hash of national numbers.
    pub lookup: Arc<LookupKey>,
    /// Identity providers.
    pub sign_in: SignIn,
    /// Settings.
    pub config: GatewayConfig,
    /// Metrics.
    pub telemetry: Arc<Telemetry>,
    /// Readiness.
    pub health: Arc<dyn Health>,
    /// Counters by address and account.
    pub guards: Guards,
    /// Events of reads, on their way to the log.
    pub recorder: Recorder,
    /// What looks at content before it is stored; `None` where the operators want none.
    pub scan: Option<Arc<Scanner>>,
    /// What sends notices.
    pub notify: Arc<Notifier>,
    /// Indexes of vaults that were searched lately.
    pub search: Indexes,
}

impl Gateway {
    /// Sizes, rates and deadlines.
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// A view that shows everything that was acknowledged before this call.
    ///
    /// # Errors
    /// 503 when no majority answers.
    pub async fn current(&self) -> Result<Arc<dyn Read>, Problem> {
        self.metadata.linearize().await?;
        Ok(self.metadata.view())
    }

    /// The cluster's settings.
    ///
    /// # Errors
    /// 503 before the cluster was initialised.
    pub fn cluster(&self, read: &dyn Read) -> Result<ClusterRecord, Problem> {
        view::cluster(read)?.ok_or_else(|| Problem::plain(Code::Unavailable))
    }

    /// Proposes a command; a refusal is a problem.
    ///
    /// # Errors
    /// The refusal, or that no majority answers.
    pub async fn propose(&self, command: Command) -> Result<Outcome, Problem> {
        match self.metadata.propose(command).await? {
            Outcome::Refused(refusal) => Err(refusal.into()),
            outcome => Ok(outcome),
        }
    }

    /// 128 random bits.
    pub fn random(&self) -> u128 {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        u128::from_be_bytes(bytes)
    }
}

/// Addresses counted at once; above it the count starts afresh, which favours nobody for long.
const ADDRESSES_MAX: usize = 16 * 1024;

#[derive(Debug, Default)]
struct BadTokens {
    minute: u64,
    count: u32,
}

/// Counters by address and account.
#[derive(Debug, Default)]
pub struct Guards {
    bad_tokens: Mutex<HashMap<IpAddr, BadTokens>>,
    uploads: Arc<Mutex<HashMap<AccountId, usize>>>,
    seen: Mutex<HashSet<SessionId>>,
    passwords: Mutex<HashMap<LinkHash, BadTokens>>,
    /// How often who asked lately.
    pub rates: Buckets,
}

/// Sessions noted as used at once; more of them are noted the next time: one command holds as many.
const SEEN_MAX: usize = 256;

impl Guards {
    /// Notes that a session is used; whether it is the first since [`Guards::take_seen`].
    pub fn note_seen(&self, session: SessionId) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.len() < SEEN_MAX && seen.insert(session) && seen.len() == 1
    }

    /// The sessions that were used, which are forgotten here.
    pub fn take_seen(&self) -> Vec<SessionId> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }

    /// Whether `address` showed more bad tokens this minute than `max`.
    pub fn is_throttled(&self, address: IpAddr, now_ms: u64, max: u32) -> bool {
        let counts = self.bad_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&address).is_some_and(|c| c.minute == now_ms / 60_000 && c.count >= max)
    }

    /// Notes that `address` showed a bad token.
    pub fn note_bad_token(&self, address: IpAddr, now_ms: u64) {
        let mut counts = self.bad_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= ADDRESSES_MAX && !counts.contains_key(&address) {
            counts.clear();
        }
        let entry = counts.entry(address).or_default();
        let minute = now_ms / 60_000;
        if entry.minute != minute {
            *entry = BadTokens { minute, count: 0 };
        }
        entry.count = entry.count.saturating_add(1);
    }

    /// Counts a try of a link's password; whether it is one of the first `max` of this minute. Counted before the
    /// password is looked at, so that tries at once are not more.
    pub fn password_try(&self, link: LinkHash, now_ms: u64, max: u32) -> bool {
        let mut counts = self.passwords.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= ADDRESSES_MAX && !counts.contains_key(&link) {
            counts.clear();
        }
        let entry = counts.entry(link).or_default();
        let minute = now_ms / 60_000;
        if entry.minute != minute {
            *entry = BadTokens { minute, count: 0 };
        }
        entry.count = entry.count.saturating_add(1);
        entry.count <= max
    }

    /// A place for one more upload of `account`, or `None` when it has `max` running here.
    pub fn upload_place(&self, account: AccountId, max: usize) -> Option<UploadPlace> {
        let mut counts = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(account).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(UploadPlace { counts: Arc::clone(&self.uploads), account })
    }
}

/// Held while an upload runs.
#[derive(Debug)]
pub struct UploadPlace {
    counts: Arc<Mutex<HashMap<AccountId, usize>>>,
    account: AccountId,
}

impl Drop for UploadPlace {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.account) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let guards = Guards::default();
        let account = AccountId(1);
        let first = guards.upload_place(account, 1);
        assert!(first.is_some() && guards.upload_place(account, 1).is_none());
        assert!(guards.upload_place(AccountId(2), 1).is_some());
        drop(first);
        assert!(guards.upload_place(account, 1).is_some());
    }

    #[test]
    fn tries_of_a_password_are_counted_by_minute_and_link() {
        let guards = Guards::default();
        let tries: Vec<bool> = (0..4).map(|_| guards.password_try(LinkHash([1; 32]), 0, 3)).collect();
        assert_eq!(tries, [true, true, true, false]);
        assert!(guards.password_try(LinkHash([2; 32]), 0, 3) && guards.password_try(LinkHash([1; 32]), 60_000, 3));
    }

    #[test]
    fn bad_tokens_are_counted_by_minute_and_address() {
        let guards = Guards::default();
        let address: IpAddr = [192, 0, 2, 1].into();
        for _ in 0..10 {
            assert!(!guards.is_throttled(address, 0, 10));
            guards.note_bad_token(address, 0);
        }
        assert!(guards.is_throttled(address, 59_999, 10));
        assert!(!guards.is_throttled(address, 60_000, 10));
        assert!(!guards.is_throttled([192, 0, 2, 2].into(), 0, 10));
    }
}
