//! Whether a history of one register could have happened one operation after another.
//!
//! The search of Wing and Gong (1993) with the memory of Lowe (2017): operations are linearized one by one,
//! each at a moment between its call and its return; what was linearized together with the value that stands
//! then is visited once. An operation without a known end may take effect at any later moment, or never.
//!
//! Owns: the search. Not: what the operations are made of ([`super::workload`] records them).
//! Holds: it knows nothing of the server but the answers that clients had.
//! Limits: exponential in the number of unknown outcomes; keep histories short (tens of operations).

use std::collections::HashSet;

/// What a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Wrote a value.
    Write(u64),
    /// Read a value.
    Read(u64),
}

/// An operation of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When it was called.
    pub call: u64,
    /// When it returned; `None` when it is not known whether it took effect.
    pub end: Option<u64>,
    /// What it was.
    pub op: Op,
}

/// Whether the history is linearizable for a register that begins with `initial`.
pub fn is_linearizable(history: &[Event], initial: u64) -> bool {
    // A read whose outcome nobody knows says nothing.
    let events: Vec<Event> = history.iter().copied().filter(|e| e.end.is_some() || matches!(e.op, Op::Write(_))).collect();
    let mut seen = HashSet::new();
    let mut done = vec![false; events.len()];
    search(&events, &mut done, initial, &mut seen)
}

fn search(events: &[Event], done: &mut Vec<bool>, value: u64, seen: &mut HashSet<(Vec<bool>, u64)>) -> bool {
    if events.iter().zip(done.iter()).all(|(event, done)| *done || event.end.is_none()) {
        return true;
    }
    if !seen.insert((done.clone(), value)) {
        return false;
    }
    // Nothing can come after the first return of what is still open.
    let horizon = events.iter().zip(done.iter()).filter(|(_, done)| !**done).filter_map(|(event, _)| event.end).min().unwrap_or(u64::MAX);
    for index in 0..events.len() {
        if done[index] || events[index].call > horizon {
            continue;
        }
        let next = match events[index].op {
            Op::Read(read) if read != value => continue,
            Op::Read(_) => value,
            Op::Write(written) => written,
        };
        done[index] = true;
        if search(events, done, next, seen) {
            return true;
        }
        done[index] = false;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::rng::Rng;

    fn event(call: u64, end: u64, op: Op) -> Event {
        Event { call, end: Some(end), op }
    }

    #[test]
    fn stale_and_vanished_values_are_found() {
        let write = |call, end, v| event(call, end, Op::Write(v));
        let read = |call, end, v| event(call, end, Op::Read(v));
        assert!(is_linearizable(&[write(0, 5, 1), read(1, 2, 0), read(3, 9, 1)], 0));
        assert!(!is_linearizable(&[write(0, 5, 1), read(6, 9, 0)], 0), "a stale read");
        assert!(!is_linearizable(&[write(0, 9, 1), read(1, 2, 1), read(3, 4, 0)], 0), "it was seen and gone again");
        let unknown = Event { call: 0, end: None, op: Op::Write(7) };
        assert!(is_linearizable(&[unknown, read(3, 4, 0), read(5, 6, 7)], 0), "it took effect late");
        assert!(is_linearizable(&[unknown, read(3, 4, 0), read(5, 6, 0)], 0), "it never did");
        assert!(!is_linearizable(&[unknown, read(3, 4, 7), read(5, 6, 0)], 0));
    }

    #[test]
    fn histories_that_happened_pass_and_their_forgeries_do_not() {
        let mut found = 0;
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let (mut value, mut time) = (0, 0);
            let mut history = Vec::new();
            for number in 1..40 {
                // The moment of effect lies within; intervals overlap.
                time += rng.between(1, 10);
                let (call, end) = (time.saturating_sub(rng.below(25)), time + rng.below(25));
                let op = if rng.chance(500_000) {
                    value = number;
                    Op::Write(number)
                } else {
                    Op::Read(value)
                };
                history.push(event(call, end, op));
            }
            assert!(is_linearizable(&history, 0), "seed {seed}");
            if let Some(last) = history.iter_mut().rev().find(|e| matches!(e.op, Op::Read(_))) {
                last.op = Op::Read(value + 1_000);
                assert!(!is_linearizable(&history, 0), "seed {seed}: a value that nobody wrote");
            }
            // An old value at the end, long after everything else.
            history.retain(|e| !matches!(e.op, Op::Read(v) if v > 1_000));
            history.push(event(time + 100, time + 101, Op::Read(0)));
            if value != 0 {
                assert!(!is_linearizable(&history, 0));
                found += 1;
            }
        }
        assert!(found > 100);
    }
}
