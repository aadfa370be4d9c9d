//! One direction between two ports of the switch: what happens to a frame at a moment.
//!
//! Owns: that decision, and the counters of it. Not: time, devices, addresses ([`super`]).
//! Holds: (1) it is a function of the seed, the settings and the frames so far; (2) frames keep their order
//! unless `reorder_ppm` lets one overtake; jitter alone never does; (3) what is offered is counted once, as
//! passed or under what became of it.

/// Longest queue before the rate limit, as time to send it, in microseconds: what comes beyond is dropped, as in a router.
const QUEUE_US: u64 = 200_000;
/// Bytes of an Ethernet head and the smallest IPv4 head: bits beyond are covered by checksums that receivers check.
const HEADS_BYTES: usize = 34;
/// Where a frame says what it carries.
const TYPE_AT: usize = 12;
/// IPv4, in that place.
const IPV4: [u8; 2] = [0x08, 0x00];

/// What a direction does to frames. The default is a perfect wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Time on the way, in microseconds.
    pub delay_us: u64,
    /// Most that is added to it at random, in microseconds.
    pub jitter_us: u64,
    /// Frames of a million that are lost.
    pub loss_ppm: u32,
    /// Frames of a million that overtake everything on the way.
    pub reorder_ppm: u32,
    /// Frames of a million that arrive twice.
    pub duplicate_ppm: u32,
    /// Frames of a million that arrive with a bit flipped.
    pub corrupt_ppm: u32,
    /// Kilobits a second; 0 is no limit.
    pub rate_kbit: u64,
    /// Nothing passes.
    pub cut: bool,
}

/// What became of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Frames that came.
    pub offered: u64,
    /// Frames that were sent on, a duplicate not counted.
    pub passed: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost by a cut.
    pub cut: u64,
    /// Dropped before the rate limit.
    pub overflowed: u64,
    /// Of the passed: those that overtook.
    pub reordered: u64,
    /// Of the passed: those sent twice.
    pub duplicated: u64,
    /// Of the passed: those with a flipped bit.
    pub corrupted: u64,
}

/// A frame on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// When it arrives, on the clock of `now_us`.
    pub due_us: u64,
    /// The byte and the bit mask that arrive wrong.
    pub flip: Option<(usize, u8)>,
}

/// Numbers that follow from a seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0 .. bound`; 0 when there is nothing to choose from.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound < 2 { 0 } else { self.number() % bound }
    }

    /// Whether the event of this probability happens.
    fn hits(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < u64::from(ppm)
    }
}

/// A direction.
#[derive(Debug)]
pub struct Link {
    faults: Faults,
    random: Random,
    counters: Counters,
    /// When the sender of the rate limit is done with what it has.
    free_us: u64,
    /// When the last frame in order arrives.
    last_due_us: u64,
}

impl Link {
    /// A perfect wire.
    pub fn new(seed: u64) -> Self {
        Self { faults: Faults::default(), random: Random::new(seed), counters: Counters::default(), free_us: 0, last_due_us: 0 }
    }

    /// What it does now.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// What it does from now on. Frames on their way arrive as decided.
    pub fn set(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// What became of frames so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What happens to a frame that comes now: no delivery, one, or two.
    pub fn pass(&mut self, now_us: u64, frame: &[u8]) -> Vec<Delivery> {
        let faults = self.faults;
        self.counters.offered += 1;
        if faults.cut {
            self.counters.cut += 1;
            return Vec::new();
        }
        if self.random.hits(faults.loss_ppm) {
            self.counters.lost += 1;
            return Vec::new();
        }
        let mut sent_us = now_us;
        if let Some(sending_us) = (frame.len() as u64 * 8_000).checked_div(faults.rate_kbit) {
            sent_us = self.free_us.max(now_us) + sending_us;
            if sent_us - now_us > QUEUE_US {
                self.counters.overflowed += 1;
                return Vec::new();
            }
            self.free_us = sent_us;
        }
        self.counters.passed += 1;
        let due_us = if self.random.hits(faults.reorder_ppm) {
            self.counters.reordered += 1;
            sent_us
        } else {
            let due_us = sent_us + faults.delay_us + self.random.below(faults.jitter_us + 1);
            self.last_due_us = self.last_due_us.max(due_us);
            self.last_due_us
        };
        let flip = self.flip(frame);
        let copies = if self.random.hits(faults.duplicate_ppm) { 2 } else { 1 };
        self.counters.duplicated += copies - 1;
        (0..copies).map(|_| Delivery { due_us, flip }).collect()
    }

    /// Only IPv4, beyond its head: an address learned from a damaged ARP answer would cut two hosts off for minutes,
    /// which no wire does, for Ethernet has a checksum of its own.
    fn flip(&mut self, frame: &[u8]) -> Option<(usize, u8)> {
        let is_ip = frame.get(TYPE_AT..TYPE_AT + 2) == Some(&IPV4) && frame.len() > HEADS_BYTES;
        if !is_ip || !self.random.hits(self.faults.corrupt_ppm) {
            return None;
        }
        self.counters.corrupted += 1;
        let room = (frame.len() - HEADS_BYTES) as u64;
        let byte = HEADS_BYTES + usize::try_from(self.random.below(room)).unwrap_or(0);
        Some((byte, 1 << self.random.below(8)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> Vec<u8> {
        let mut frame = vec![0; len];
        frame[TYPE_AT..TYPE_AT + 2].copy_from_slice(&IPV4);
        frame
    }

    /// Sends `count` frames of 1000 bytes, one every `gap_us`.
    fn sent(faults: Faults, seed: u64, count: u64, gap_us: u64) -> (Vec<Vec<Delivery>>, Counters) {
        let mut link = Link::new(seed);
        link.set(faults);
        let all = (0..count).map(|i| link.pass(i * gap_us, &frame(1000))).collect();
        (all, link.counters())
    }

    #[test]
    fn a_perfect_wire_delivers_at_once_and_in_order() {
        let (all, counters) = sent(Faults::default(), 1, 100, 10);
        for (i, frame) in all.iter().enumerate() {
            assert_eq!(frame, &[Delivery { due_us: i as u64 * 10, flip: None }]);
        }
        assert_eq!(counters, Counters { offered: 100, passed: 100, ..Counters::default() });
    }

    #[test]
    fn the_same_seed_decides_the_same_and_another_one_otherwise() {
        let faults =
            Faults { delay_us: 5_000, jitter_us: 900, loss_ppm: 100_000, reorder_ppm: 50_000, corrupt_ppm: 50_000, ..Faults::default() };
        assert_eq!(sent(faults, 7, 500, 100), sent(faults, 7, 500, 100));
        assert_ne!(sent(faults, 7, 500, 100).0, sent(faults, 8, 500, 100).0);
    }

    #[test]
    fn jitter_stays_in_its_bounds_and_does_not_reorder() {
        let (all, _) = sent(Faults { delay_us: 20_000, jitter_us: 5_000, ..Faults::default() }, 3, 1_000, 100);
        let dues: Vec<u64> = all.iter().map(|frame| frame[0].due_us).collect();
        assert!(dues.is_sorted());
        for (i, due) in dues.iter().enumerate() {
            let way = due - i as u64 * 100;
            assert!((20_000..=25_000).contains(&way), "frame {i} was {way} us on the way");
        }
        assert!(dues.windows(2).any(|pair| pair[1] - pair[0] != 100), "there was no jitter");
    }

    #[test]
    fn chance_is_as_asked() {
        let faults = Faults { loss_ppm: 200_000, duplicate_ppm: 100_000, corrupt_ppm: 50_000, ..Faults::default() };
        let (all, counters) = sent(faults, 11, 20_000, 10);
        assert_eq!(counters.lost + counters.passed, counters.offered);
        assert!((3_600..4_400).contains(&counters.lost), "{counters:?}");
        assert!((1_400..1_800).contains(&counters.duplicated), "{counters:?}");
        assert!((680..920).contains(&counters.corrupted), "{counters:?}");
        assert_eq!(all.iter().map(|frame| frame.len() as u64).sum::<u64>(), counters.passed + counters.duplicated);
        for (byte, mask) in all.iter().flatten().filter_map(|delivery| delivery.flip) {
            assert!((HEADS_BYTES..1000).contains(&byte) && mask.count_ones() == 1);
        }
    }

    #[test]
    fn who_overtakes_arrives_before_an_earlier_one() {
        let (all, counters) = sent(Faults { delay_us: 10_000, reorder_ppm: 100_000, ..Faults::default() }, 5, 1_000, 100);
        assert!(counters.reordered > 50, "{counters:?}");
        let dues: Vec<u64> = all.iter().map(|frame| frame[0].due_us).collect();
        assert!(!dues.is_sorted());
        // The others are not held up by it.
        assert_eq!(dues.iter().enumerate().filter(|(i, due)| **due == *i as u64 * 100 + 10_000).count() as u64, 1_000 - counters.reordered);
    }

    #[test]
    fn a_rate_spaces_frames_and_drops_what_its_queue_cannot_hold() {
        // 1000 bytes at 8 Mbit/s take a millisecond; they come twice as fast.
        let (all, counters) = sent(Faults { rate_kbit: 8_000, ..Faults::default() }, 9, 1_000, 500);
        let dues: Vec<u64> = all.iter().flatten().map(|delivery| delivery.due_us).collect();
        assert!(dues.windows(2).all(|pair| pair[1] - pair[0] >= 1_000));
        assert!(counters.overflowed > 250, "{counters:?}");
        assert_eq!(counters.passed + counters.overflowed, 1_000);
    }

    #[test]
    fn a_cut_passes_nothing_and_heals() {
        let mut link = Link::new(1);
        link.set(Faults { cut: true, ..Faults::default() });
        assert!(link.pass(0, &frame(100)).is_empty());
        link.set(Faults { cut: false, ..link.faults() });
        assert_eq!(link.pass(1, &frame(100)).len(), 1);
        assert_eq!(link.counters(), Counters { offered: 2, passed: 1, cut: 1, ..Counters::default() });
    }

    #[test]
    fn address_resolution_is_never_damaged() {
        let mut link = Link::new(1);
        link.set(Faults { corrupt_ppm: 1_000_000, ..Faults::default() });
        let mut arp = frame(60);
        arp[TYPE_AT + 1] = 0x06;
        assert_eq!(link.pass(0, &arp)[0].flip, None);
        assert!(link.pass(0, &frame(60))[0].flip.is_some());
    }
}
