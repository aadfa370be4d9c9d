//! Which attempt of an upload wrote the chunk of each position.
//!
//! A writer that breaks off (a gateway that dies, disks or metadata that fail it) may have sent chunks of which
//! nobody knows whether they lie on disks, or will. The next writer may bring other bytes for the same positions,
//! so it writes them under a new attempt, which is part of their ids: shards of two contents never share a key.
//!
//! Owns: [`Runs`]. Not: when an attempt begins ([`crate::apply::upload`]), how it is part of an id ([`ChunkId`]).
//! Holds: (1) runs are in order of position, and of attempt; (2) every position below the first run is of attempt
//! 0, so an upload that never broke off costs one byte; (3) there are at most [`Runs::MAX`]: the record is bounded.
//! Why this way: a tag of the content in every shard record would keep contents apart without a record here, but a
//! reader would have to know which one is right (DECISIONS 0017).

use kluis_chunkstore::ids::{BlobId, ChunkId};
use serde::{Deserialize, Serialize};

/// Positions from `from` on, up to the next run, are of this attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The first position.
    pub from: u32,
    /// The attempt, at least 1.
    pub attempt: u32,
}

/// The attempt of every position of a blob.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs(Vec<Run>);

/// An upload broke off more often than its record can say: it must begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyAttempts;

impl Runs {
    /// Most places of one blob at which a new attempt went on.
    pub const MAX: usize = 32;

    /// The attempt that writes now.
    pub fn current(&self) -> u32 {
        self.0.last().map_or(0, |run| run.attempt)
    }

    /// The attempt of a position.
    pub fn attempt(&self, position: u32) -> u32 {
        self.0.iter().rfind(|run| run.from <= position).map_or(0, |run| run.attempt)
    }

    /// The chunk of `blob` at a position; `None` when a blob has no such position.
    pub fn chunk(&self, blob: BlobId, position: u32) -> Option<ChunkId> {
        ChunkId::of(blob, self.attempt(position), position)
    }

    /// A new attempt writes from a position on. What others wrote there is superseded.
    ///
    /// # Errors
    /// [`TooManyAttempts`]; nothing is changed then.
    pub fn raise(&mut self, from: u32) -> Result<(), TooManyAttempts> {
        let attempt = self.current().saturating_add(1);
        let kept = self.0.iter().take_while(|run| run.from < from).count();
        if attempt >= ChunkId::ATTEMPTS || kept >= Self::MAX {
            return Err(TooManyAttempts);
        }
        self.0.truncate(kept);
        self.0.push(Run { from, attempt });
        Ok(())
    }

    /// Whether (1) and (3) hold, as they do for what [`Runs::raise`] made.
    pub fn is_sound(&self) -> bool {
        let rising = self.0.is_sorted_by(|a, b| a.from < b.from && a.attempt < b.attempt);
        rising && self.0.len() <= Self::MAX && self.0.iter().all(|run| (1..ChunkId::ATTEMPTS).contains(&run.attempt))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a list of the attempt of each position.
        #[test]
        fn each_position_is_of_the_last_attempt_that_reached_it(raises in prop::collection::vec(0u32..40, 0..60)) {
            let mut runs = Runs::default();
            let mut model = [0u32; 50];
            let mut at = 0;
            for step in raises {
                // Uploads only ever go on.
                at += step / 20;
                let before = runs.clone();
                let next = runs.current() + 1;
                match runs.raise(at.min(49)) {
                    Ok(()) => model[usize::try_from(at.min(49)).unwrap()..].fill(next),
                    Err(TooManyAttempts) => prop_assert_eq!(&runs, &before),
                }
                prop_assert!(runs.is_sound());
                for (position, attempt) in (0u32..).zip(model) {
                    prop_assert_eq!(runs.attempt(position), attempt);
                    let chunk = runs.chunk(BlobId(1), position).unwrap();
                    prop_assert_eq!((chunk.attempt(), chunk.position()), (Some(attempt), Some(position)));
                }
            }
        }
    }

    #[test]
    fn there_are_bounds() {
        let mut stuck = Runs::default();
        for _ in 1..ChunkId::ATTEMPTS {
            stuck.raise(3).unwrap();
        }
        assert_eq!((stuck.raise(3), stuck.current()), (Err(TooManyAttempts), ChunkId::ATTEMPTS - 1));
        let mut moving = Runs::default();
        for position in (0u32..).take(Runs::MAX) {
            moving.raise(position).unwrap();
        }
        assert_eq!(moving.raise(99), Err(TooManyAttempts));
        // Where nothing was stored since the last one, it takes that one's place.
        assert_eq!(moving.raise(31), Ok(()));
        assert!(moving.is_sound() && stuck.is_sound());
        assert!(!Runs(vec![Run { from: 0, attempt: 0 }]).is_sound() && !Runs(vec![Run { from: 0, attempt: 1 }; 2]).is_sound());
    }
}
