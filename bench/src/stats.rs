//! Times as one looks at them: median, the slow end, rates.
//!
//! Owns: this arithmetic. Not: taking times. Holds: pure; no figure is invented where nothing was measured.

use std::time::Duration;

use serde::Serialize;

/// Bytes of a MiB.
pub const MIB: f64 = 1_048_576.0;
/// Bytes of a GiB.
pub const GIB: f64 = 1_073_741_824.0;

/// Times of many requests, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// The median.
    pub p50_ms: f64,
    /// Within this 99 of 100 were done.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// How many medians the slow end takes; 0 where nothing was measured.
    pub p99_over_p50: f64,
}

impl Latency {
    /// Of times in any order.
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self::new(percentile_ms(&times, 50), percentile_ms(&times, 99), percentile_ms(&times, 100))
    }

    /// From the three times, in milliseconds.
    pub fn new(p50_ms: f64, p99_ms: f64, max_ms: f64) -> Self {
        Self { p50_ms, p99_ms, max_ms, p99_over_p50: if p50_ms > 0.0 { p99_ms / p50_ms } else { 0.0 } }
    }
}

/// The least of the sorted times within which `percent` of them lie; 0 where there are none.
fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// `amount` a second over `time`; 0 where no time passed.
pub fn per_second(amount: f64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { amount / time.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_among_the_times() {
        let times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(Latency::of(times), Latency { p50_ms: 100.0, p99_ms: 198.0, max_ms: 200.0, p99_over_p50: 1.98 });
        assert_eq!(Latency::of(vec![Duration::from_millis(3)]), Latency { p50_ms: 3.0, p99_ms: 3.0, max_ms: 3.0, p99_over_p50: 1.0 });
        assert_eq!(Latency::of(Vec::new()), Latency { p50_ms: 0.0, p99_ms: 0.0, max_ms: 0.0, p99_over_p50: 0.0 });
    }

    #[test]
    fn a_rate_over_no_time_is_none() {
        assert_eq!(per_second(10.0, Duration::from_secs(4)), 2.5);
        assert_eq!(per_second(10.0, Duration::ZERO), 0.0);
    }
}
