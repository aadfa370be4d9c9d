//! What a cluster refused during a step, and how a client goes on after a refusal.
//!
//! Owns: what counts as a refusal, when the same request is sent again, the counts. Not: requests ([`crate::load`]).
//! Holds: (1) every attempt that did not succeed is counted under its status and code, so a rate never hides one;
//! (2) a request is sent again at most [`ATTEMPTS_MAX`] times and not after [`PATIENCE`], after as long as the answer
//! asks for; (3) what is refused for good (a bad request, a full vault) is not asked again.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use serde::Serialize;

/// Attempts of one operation, the first included.
pub const ATTEMPTS_MAX: u32 = 8;
/// Time since its first attempt after which an operation is not tried again.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Wait where the answer names none.
const USUAL_WAIT: Duration = Duration::from_secs(1);
/// Longest wait, whatever the answer asks for.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// One attempt that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Status and code, or what happened in their place.
    pub kind: String,
    /// How long to wait before the next attempt; `None` when there is to be none.
    pub again_after: Option<Duration>,
}

impl Refusal {
    /// An answer with an error: its status, its `Retry-After`, its body.
    pub fn of(status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let code = problem.get("code").and_then(|code| code.as_str()).unwrap_or("without a code");
        let asked = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let passing = asked.is_some() || matches!(status, 429 | 502..=504);
        Self { kind: format!("{status} {code}"), again_after: passing.then(|| asked.unwrap_or(USUAL_WAIT).min(WAIT_MAX)) }
    }

    /// A connection that broke, or an answer that did not come or stopped coming.
    pub fn no_answer() -> Self {
        Self { kind: "no answer".to_owned(), again_after: Some(USUAL_WAIT) }
    }

    /// An answer that is wrong. Asking again would hide it.
    pub fn wrong(what: &str) -> Self {
        Self { kind: format!("wrong: {what}"), again_after: None }
    }
}

/// How far one operation has come.
#[derive(Debug)]
pub struct Patience {
    begun: Instant,
    attempts: u32,
}

impl Patience {
    /// Before the first attempt.
    pub fn begin() -> Self {
        Self { begun: Instant::now(), attempts: 0 }
    }

    /// Counts a refusal; waits if there is to be another attempt. `false`: the operation is given up.
    pub async fn again(&mut self, refusal: &Refusal, trouble: &mut Trouble) -> bool {
        self.attempts += 1;
        trouble.note(refusal);
        match next_wait(refusal, self.attempts, self.begun.elapsed()) {
            Some(wait) => {
                tokio::time::sleep(wait).await;
                true
            }
            None => {
                trouble.give_up(refusal);
                false
            }
        }
    }
}

/// Whether and after how long an operation of so many attempts and so much time is tried again.
fn next_wait(refusal: &Refusal, attempts: u32, since: Duration) -> Option<Duration> {
    refusal.again_after.filter(|_| attempts < ATTEMPTS_MAX && since < PATIENCE)
}

/// What went wrong in a step, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// Attempts that did not succeed, by status and code.
    pub refused: BTreeMap<String, u64>,
    /// Operations that were given up, by what their last attempt met.
    pub given_up: BTreeMap<String, u64>,
}

impl Trouble {
    fn note(&mut self, refusal: &Refusal) {
        *self.refused.entry(refusal.kind.clone()).or_default() += 1;
    }

    fn give_up(&mut self, refusal: &Refusal) {
        *self.given_up.entry(refusal.kind.clone()).or_default() += 1;
    }

    /// Takes over the counts of another.
    pub fn add(&mut self, other: Self) {
        for (kind, count) in other.refused {
            *self.refused.entry(kind).or_default() += count;
        }
        for (kind, count) in other.given_up {
            *self.given_up.entry(kind).or_default() += count;
        }
    }

    /// Whether every attempt succeeded.
    pub fn is_none(&self) -> bool {
        self.refused.is_empty() && self.given_up.is_empty()
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("-");
        }
        let shown = |counts: &BTreeMap<String, u64>| -> String {
            let all: Vec<String> = counts.iter().map(|(kind, count)| format!("{count}x {kind}")).collect();
            all.join(", ")
        };
        f.write_str(&shown(&self.refused))?;
        if self.given_up.is_empty() { Ok(()) } else { write!(f, "; given up: {}", shown(&self.given_up)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_quorum() -> Refusal {
        Refusal::of(503, Some("2"), br#"{"code":"no_quorum"}"#)
    }

    #[test]
    fn a_passing_refusal_is_tried_again_as_it_asks_and_a_final_one_is_not() {
        assert_eq!(no_quorum(), Refusal { kind: "503 no_quorum".to_owned(), again_after: Some(Duration::from_secs(2)) });
        assert_eq!(Refusal::of(503, None, b"?").again_after, Some(USUAL_WAIT));
        assert_eq!(Refusal::of(429, Some("9999"), b"").again_after, Some(WAIT_MAX));
        let busy = Refusal::of(409, Some("2"), br#"{"code":"request_in_flight"}"#);
        assert!(busy.again_after.is_some(), "whoever says when to come back is asked again");
        for final_one in [Refusal::of(507, None, br#"{"code":"quota_exceeded"}"#), Refusal::of(400, None, b""), Refusal::wrong("length")] {
            assert_eq!(next_wait(&final_one, 1, Duration::ZERO), None, "{}", final_one.kind);
        }
    }

    #[test]
    fn patience_has_an_end() {
        let refusal = no_quorum();
        assert!(next_wait(&refusal, ATTEMPTS_MAX - 1, Duration::ZERO).is_some());
        assert_eq!(next_wait(&refusal, ATTEMPTS_MAX, Duration::ZERO), None);
        assert_eq!(next_wait(&refusal, 1, PATIENCE), None);
    }

    #[tokio::test]
    async fn everything_is_counted_by_kind() {
        let mut trouble = Trouble::default();
        assert_eq!((trouble.is_none(), trouble.to_string().as_str()), (true, "-"));
        let now = Refusal { again_after: Some(Duration::ZERO), ..no_quorum() };
        let mut patience = Patience::begin();
        for _ in 1..ATTEMPTS_MAX {
            assert!(patience.again(&now, &mut trouble).await);
        }
        assert!(!patience.again(&now, &mut trouble).await);
        assert!(!Patience::begin().again(&Refusal::wrong("length"), &mut trouble).await);
        let mut all = Trouble::default();
        all.add(trouble.clone());
        all.add(trouble);
        assert_eq!(all.refused.get("503 no_quorum"), Some(&(2 * u64::from(ATTEMPTS_MAX))));
        assert_eq!(all.to_string(), "16x 503 no_quorum, 2x wrong: length; given up: 2x 503 no_quorum, 2x wrong: length");
    }
}
