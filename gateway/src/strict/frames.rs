//! Frames of HTTP/2 that carry nothing, counted: a client that sends only those keeps a core busy for free.
//!
//! Owns: the count of PING, SETTINGS and PRIORITY frames in a window. Not: resets, CONTINUATION and empty DATA
//! frames, which the `h2` crate counts itself; not what is inside a frame.
//! Holds: (1) nothing here depends on how the bytes were cut into reads; (2) memory is a few words; (3) an
//! answer names the end of a frame, where another may follow.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes that a client sends before its first frame.
const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;

/// Frames that carry nothing in one window: proper clients send a few a minute, and one that measures its line
/// by PING some dozen a second.
pub const FRAMES_PER_WINDOW: u32 = 1_000;
/// The window.
pub const WINDOW: Duration = Duration::from_secs(10);

/// What the parser refuses with GOAWAY and ENHANCE_YOUR_CALM, in our place: a head without fields that never
/// ends. More CONTINUATION frames than it takes at any size of heads that it is set to.
pub fn refusal() -> Vec<u8> {
    const CONTINUATIONS: usize = 64;
    // Length 0, type HEADERS or CONTINUATION, no flags, the highest stream that a client can open.
    let frame = |kind: u8| [0, 0, 0, kind, 0, 0x7f, 0xff, 0xff, 0xff];
    let mut bytes = frame(1).to_vec();
    bytes.extend(std::iter::repeat_n(frame(9), CONTINUATIONS).flatten());
    bytes
}

/// What a client sent, as far as it was seen.
#[derive(Debug)]
pub struct Frames {
    /// Bytes to skip: the preface, or the rest of a payload.
    skip: usize,
    header: [u8; HEADER_BYTES],
    /// Bytes of `header` that are there.
    filled: usize,
    since: Instant,
    count: u32,
}

impl Frames {
    /// Before the preface.
    pub fn new(now: Instant) -> Self {
        Self { skip: PREFACE_BYTES, header: [0; HEADER_BYTES], filled: 0, since: now, count: 0 }
    }

    /// Looks at the next bytes; the offset behind the frame that is one too many, if it ends in them.
    pub fn look(&mut self, bytes: &[u8], now: Instant) -> Option<usize> {
        let mut at = 0;
        loop {
            let skipped = self.skip.min(bytes.len() - at);
            self.skip -= skipped;
            at += skipped;
            if self.skip == 0 && self.count > FRAMES_PER_WINDOW {
                return Some(at);
            }
            let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
            let taken = rest.len().min(HEADER_BYTES - self.filled);
            self.header[self.filled..self.filled + taken].copy_from_slice(&rest[..taken]);
            self.filled += taken;
            at += taken;
            if self.filled == HEADER_BYTES {
                self.filled = 0;
                let [a, b, c, kind, ..] = self.header;
                self.skip = (usize::from(a) << 16) | (usize::from(b) << 8) | usize::from(c);
                if matches!(kind, PRIORITY | SETTINGS | PING) {
                    self.count_one(now);
                }
            }
        }
    }

    fn count_one(&mut self, now: Instant) {
        if now.duration_since(self.since) >= WINDOW {
            (self.since, self.count) = (now, 0);
        }
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, len: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, len, kind, 0, 0, 0, 0, 0];
        bytes.extend(vec![0xaa; usize::from(len)]);
        bytes
    }

    fn begun(now: Instant) -> Frames {
        let mut frames = Frames::new(now);
        assert_eq!(frames.look(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", now), None);
        frames
    }

    #[test]
    fn only_frames_that_carry_nothing_are_counted() {
        let now = Instant::now();
        let mut frames = begun(now);
        for _ in 0..10 * FRAMES_PER_WINDOW {
            assert_eq!(frames.look(&frame(0, 100), now), None);
        }
        assert_eq!(frames.look(&frame(PING, 8).repeat(1_000), now), None);
        assert_eq!(frames.look(&[frame(0, 5), frame(PING, 8), frame(0, 5)].concat(), now), Some(14 + 17));
    }

    #[test]
    fn cuts_change_nothing_and_an_answer_names_the_end_of_a_frame() {
        let now = Instant::now();
        let flood = frame(SETTINGS, 6).repeat(1_001);
        for step in [1, 3, 9, 14, 15, 4_096] {
            let (mut frames, mut sent) = (begun(now), 0);
            let found = flood.chunks(step).find_map(|bytes| {
                let found = frames.look(bytes, now).map(|at| sent + at);
                sent += bytes.len();
                found
            });
            assert_eq!(found, Some(flood.len()), "in steps of {step}");
        }
    }

    #[test]
    fn a_new_window_forgets() {
        let now = Instant::now();
        let mut frames = begun(now);
        assert_eq!(frames.look(&frame(PING, 8).repeat(1_000), now), None);
        assert_eq!(frames.look(&frame(PING, 8).repeat(1_000), now + WINDOW), None);
        assert!(frames.look(&frame(PING, 8), now + WINDOW).is_some());
    }
}
