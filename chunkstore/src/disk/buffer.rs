//! A growing buffer whose bytes begin at a multiple of 4,096 in memory.
//!
//! Owns: alignment of what is written. Not: what it holds.
//! Holds: [`AlignedBuffer::as_slice`] begins at a multiple of [`BLOCK`], whatever was pushed.
//! Why by hand: writes that bypass the page cache need it, and no unsafe code is needed to have it.

use crate::format::BLOCK;

/// Bytes for one large write; its memory is kept from one batch to the next.
#[derive(Default)]
pub struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// An empty buffer, no memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A buffer that holds `bytes`, filled up with zeros to a multiple of [`BLOCK`].
    pub fn block_of(bytes: &[u8]) -> Self {
        let mut buffer = Self::new();
        buffer.reset(bytes.len().next_multiple_of(BLOCK));
        buffer.push(bytes);
        buffer.pad_to(bytes.len().next_multiple_of(BLOCK));
        buffer
    }

    /// Empties the buffer and makes room for `capacity` bytes.
    pub fn reset(&mut self, capacity: usize) {
        self.len = 0;
        if self.memory.len() < self.start + capacity || self.memory.is_empty() {
            self.memory = vec![0; capacity + BLOCK];
            let address = self.memory.as_ptr().addr();
            self.start = address.next_multiple_of(BLOCK) - address;
        }
    }

    /// Appends `bytes`.
    pub fn push(&mut self, bytes: &[u8]) {
        let at = self.start + self.len;
        match self.memory.get_mut(at..at + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => {
                let mut larger = Self::new();
                larger.reset((self.len + bytes.len()).next_power_of_two());
                larger.push(self.as_slice());
                larger.push(bytes);
                *self = larger;
            }
        }
    }

    /// Appends zeros until the buffer holds `len` bytes.
    pub fn pad_to(&mut self, len: usize) {
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        while self.len < len {
            let step = (len - self.len).min(BLOCK);
            self.push(ZEROS.get(..step).unwrap_or(&ZEROS));
        }
    }

    /// Bytes pushed so far.
    pub fn filled(&self) -> usize {
        self.len
    }

    /// What was pushed.
    pub fn as_slice(&self) -> &[u8] {
        self.memory.get(self.start..self.start + self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_aligned_and_whole_while_it_grows() {
        let mut buffer = AlignedBuffer::new();
        let mut model = Vec::new();
        for round in 0..3_u8 {
            buffer.reset(10);
            model.clear();
            for step in 0..40_u8 {
                let piece = vec![step ^ round; 300 + usize::from(step) * 7];
                buffer.push(&piece);
                model.extend_from_slice(&piece);
            }
            buffer.pad_to(20_000);
            model.resize(model.len().max(20_000), 0);
            assert_eq!(buffer.as_slice(), model);
            assert!(buffer.as_slice().as_ptr().addr().is_multiple_of(BLOCK));
        }
        assert_eq!(AlignedBuffer::block_of(b"x").filled(), BLOCK);
    }
}
