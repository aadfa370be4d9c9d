//! How often a person or an address may ask, by kind of route: every number in one place, decided by a pure rule.
//!
//! Owns: the classes of routes, the numbers ([`RateLimits`]), the bucket, and its bounded table. Not: who asks
//! ([`crate::router`] looks at addresses, [`crate::api::caller`] at people).
//! Holds: (1) a decision is a function of bucket, rate and time; (2) the table holds at most [`BUCKETS_MAX`] entries,
//! whatever addresses ask; (3) an address counts by its network (IPv6: /64), for whoever has one has all of it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::Method;
use kluis_raft::model::AccountId;

use crate::problem::{Code, Problem};

/// Most buckets at once. Above it the full ones go, which are as none, and if that is not enough all of them.
pub const BUCKETS_MAX: usize = 64 * 1024;

/// Kinds of routes, by what a request costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Beginning or finishing a sign-in.
    SignIn,
    /// Reading.
    Read,
    /// Changing something: a log entry and a sync.
    Write,
    /// What keeps a core or many disks busy: search, previews.
    Heavy,
    /// The whole vault at once.
    Whole,
}

/// The class of a route; `None` where nothing is counted (probes, the contract).
pub fn class(method: &Method, path: &str) -> Option<Class> {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match path {
        "/livez" | "/readyz" | "/readyz/{check}" | "/metrics" => None,
        "/v1/me/export" | "/v1/me/erasure" => Some(Class::Whole),
        "/v1/search" => Some(Class::Heavy),
        path if path.ends_with("/preview") => Some(Class::Heavy),
        path if path.starts_with("/v1/auth/") && !path.ends_with("/jwks") => Some(Class::SignIn),
        _ if reads => Some(Class::Read),
        _ => Some(Class::Write),
    }
}

/// So many a minute in the long run, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_minute: u32,
    /// At once.
    pub burst: u32,
}

/// The numbers of one kind of asker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rates {
    /// See [`Class::SignIn`].
    pub sign_in: Rate,
    /// See [`Class::Read`].
    pub read: Rate,
    /// See [`Class::Write`].
    pub write: Rate,
    /// See [`Class::Heavy`].
    pub heavy: Rate,
    /// See [`Class::Whole`].
    pub whole: Rate,
}

impl Rates {
    fn of(&self, class: Class) -> Rate {
        match class {
            Class::SignIn => self.sign_in,
            Class::Read => self.read,
            Class::Write => self.write,
            Class::Heavy => self.heavy,
            Class::Whole => self.whole,
        }
    }
}

/// All numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimits {
    /// For one person, with the services that act for them, at each gateway.
    pub person: Rates,
    /// For one address at each gateway: an office or a family is many people behind one.
    pub address: Rates,
}

impl Default for RateLimits {
    fn default() -> Self {
        let rate = |per_minute, burst| Rate { per_minute, burst };
        Self {
            person: Rates {
                sign_in: rate(30, 30),
                // A client that keeps a folder in step with the vault reads a few documents a second.
                read: rate(1_200, 600),
                // Resumable uploads send a request a piece.
                write: rate(600, 300),
                heavy: rate(240, 120),
                whole: rate(2, 4),
            },
            address: Rates {
                sign_in: rate(60, 60),
                read: rate(6_000, 3_000),
                write: rate(3_000, 1_500),
                heavy: rate(600, 300),
                whole: rate(20, 20),
            },
        }
    }
}

/// Thousandths of a request.
const WHOLE: u64 = 1_000;
const MINUTE_MS: u64 = 60_000;

/// What is left, and when that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    left: u64,
    at_ms: u64,
}

impl Bucket {
    /// A full one.
    pub fn full(rate: Rate, now_ms: u64) -> Self {
        Self { left: u64::from(rate.burst) * WHOLE, at_ms: now_ms }
    }

    /// What it holds by now. A clock that runs back gives nothing and takes nothing.
    fn filled(self, rate: Rate, now_ms: u64) -> Self {
        let passed = now_ms.saturating_sub(self.at_ms);
        let gained = passed.saturating_mul(u64::from(rate.per_minute)).saturating_mul(WHOLE) / MINUTE_MS;
        if gained == 0 {
            // Too short to count: it counts with what follows.
            return Self { at_ms: self.at_ms.min(now_ms), ..self };
        }
        Self { left: self.left.saturating_add(gained).min(u64::from(rate.burst) * WHOLE), at_ms: now_ms }
    }

    /// One request: the bucket after it, and how long to wait if it is one too many.
    pub fn take(self, rate: Rate, now_ms: u64) -> (Self, Result<(), Duration>) {
        let filled = self.filled(rate, now_ms);
        if let Some(left) = filled.left.checked_sub(WHOLE) {
            return (Self { left, ..filled }, Ok(()));
        }
        let lacking = WHOLE.saturating_sub(filled.left);
        let wait_ms = (lacking.saturating_mul(MINUTE_MS)).div_ceil(u64::from(rate.per_minute.max(1)) * WHOLE);
        (filled, Err(Duration::from_millis(wait_ms)))
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker {
    /// A person.
    Person(AccountId),
    /// An address, or its network.
    Address(IpAddr),
}

impl Asker {
    /// The asker behind an address.
    pub fn at(address: IpAddr) -> Self {
        Self::Address(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => v4.into(),
                None => Ipv6Addr::from(u128::from(v6) >> 64 << 64).into(),
            },
        })
    }
}

/// The answer to one request too many.
pub fn refused(wait: Duration) -> Problem {
    let mut problem = Problem::new(Code::TooManyRequests, "too many requests came from this person or this address lately");
    problem.retry_after = Some(Duration::from_secs(wait.as_secs().saturating_add(1)));
    problem
}

/// The buckets of a gateway.
#[derive(Debug, Default)]
pub struct Buckets {
    table: Mutex<HashMap<(Asker, Class), Bucket>>,
}

impl Buckets {
    /// Counts a request; how long to wait if it is one too many.
    ///
    /// # Errors
    /// The time to wait.
    pub fn take(&self, limits: &RateLimits, asker: Asker, class: Class, now_ms: u64) -> Result<(), Duration> {
        let rate = |asker: &Asker, class: Class| match asker {
            Asker::Person(_) => limits.person.of(class),
            Asker::Address(_) => limits.address.of(class),
        };
        let (key, own) = ((asker, class), rate(&asker, class));
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= BUCKETS_MAX && !table.contains_key(&key) {
            table.retain(|(asker, class), bucket| {
                let rate = rate(asker, *class);
                bucket.filled(rate, now_ms).left < u64::from(rate.burst) * WHOLE
            });
            if table.len() >= BUCKETS_MAX {
                table.clear();
            }
        }
        let bucket = table.entry(key).or_insert_with(|| Bucket::full(own, now_ms));
        let (after, answer) = bucket.take(own, now_ms);
        *bucket = after;
        answer
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_then_the_rate_then_a_wait_that_suffices() {
        let rate = Rate { per_minute: 60, burst: 3 };
        let mut bucket = Bucket::full(rate, 0);
        for _ in 0..3 {
            let (after, answer) = bucket.take(rate, 0);
            assert_eq!(answer, Ok(()));
            bucket = after;
        }
        let (after, answer) = bucket.take(rate, 0);
        assert_eq!(answer, Err(Duration::from_secs(1)));
        assert_eq!(after.take(rate, 999).1, Err(Duration::from_millis(1)));
        assert_eq!(after.take(rate, 1_000).1, Ok(()));
        // A clock that ran back is no gift.
        assert!(after.take(rate, 0).1.is_err());
    }

    #[test]
    fn askers_and_classes_are_counted_apart() {
        let mut limits = RateLimits::default();
        limits.person.write = Rate { per_minute: 1, burst: 1 };
        let buckets = Buckets::default();
        let (a, b) = (Asker::Person(AccountId(1)), Asker::Person(AccountId(2)));
        assert_eq!(buckets.take(&limits, a, Class::Write, 0), Ok(()));
        assert!(buckets.take(&limits, a, Class::Write, 0).is_err());
        assert_eq!(buckets.take(&limits, a, Class::Read, 0), Ok(()));
        assert_eq!(buckets.take(&limits, b, Class::Write, 0), Ok(()));
        let networks = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"].map(|text| Asker::at(text.parse().unwrap()));
        assert!(networks[0] == networks[1] && networks[0] != networks[2]);
        assert_eq!(Asker::at("::ffff:192.0.2.1".parse().unwrap()), Asker::at("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn the_table_is_bounded_and_keeps_who_asked_too_much() {
        let mut limits = RateLimits::default();
        limits.address.read = Rate { per_minute: 1, burst: 2 };
        let buckets = Buckets::default();
        let asker = |n: usize| Asker::at(IpAddr::V4(u32::try_from(n).unwrap().into()));
        // Almost all of them are full again when the table is.
        for n in 0..BUCKETS_MAX {
            let _ = buckets.take(&limits, asker(n), Class::Read, 0);
        }
        let later = 60_000;
        for _ in 0..3 {
            let _ = buckets.take(&limits, asker(0), Class::Read, later);
        }
        let _ = buckets.take(&limits, asker(BUCKETS_MAX), Class::Read, later);
        assert!(buckets.table.lock().unwrap().len() < 10);
        assert!(buckets.take(&limits, asker(0), Class::Read, later).is_err());
    }

    #[test]
    fn probes_are_not_counted_and_costly_routes_have_their_own_class() {
        assert_eq!(class(&Method::GET, "/livez"), None);
        assert_eq!(class(&Method::GET, "/v1/documents"), Some(Class::Read));
        assert_eq!(class(&Method::POST, "/v1/documents"), Some(Class::Write));
        assert_eq!(class(&Method::GET, "/v1/search"), Some(Class::Heavy));
        assert_eq!(class(&Method::GET, "/v1/auth/{provider}/start"), Some(Class::SignIn));
        assert_eq!(class(&Method::GET, "/v1/auth/{provider}/jwks"), Some(Class::Read));
        assert_eq!(class(&Method::POST, "/v1/me/export"), Some(Class::Whole));
    }

    proptest! {
        /// Over any time, no more pass than a full bucket and what flowed in.
        #[test]
        fn never_more_than_burst_and_rate(per_minute in 1u32..1000, burst in 1u32..50, steps in prop::collection::vec(0u64..5_000, 1..200)) {
            let rate = Rate { per_minute, burst };
            let (mut now, mut bucket, mut passed) = (0u64, Bucket::full(rate, 0), 0u64);
            for step in steps {
                now += step;
                let (after, answer) = bucket.take(rate, now);
                bucket = after;
                passed += u64::from(answer.is_ok());
            }
            prop_assert!(passed <= u64::from(burst) + now * u64::from(per_minute) / MINUTE_MS + 1);
        }
    }
}
