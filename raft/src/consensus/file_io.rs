//! A file of the environment as a stream: snapshots are written and read from front to back.
//!
//! Owns: the position. Not: buffering (put a `BufWriter` or `BufReader` around it), syncing.
//! Holds: a read never goes past the length that the file had when the reader was made.

use std::{
    io::{self, Read, Write},
    sync::Arc,
};

use kluis_chunkstore::env::File;

/// Writes at a position that moves on.
pub(crate) struct FileWriter {
    file: Arc<dyn File>,
    offset: u64,
}

impl FileWriter {
    /// From the beginning of `file`.
    pub(crate) fn new(file: Arc<dyn File>) -> Self {
        Self { file, offset: 0 }
    }
}

impl Write for FileWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.offset, data)?;
        self.offset = self.offset.saturating_add(data.len() as u64);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads at a position that moves on.
pub(crate) struct FileReader {
    file: Arc<dyn File>,
    offset: u64,
    len: u64,
}

impl FileReader {
    /// From the beginning of `file`.
    pub(crate) fn new(file: Arc<dyn File>) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Self { file, offset: 0, len })
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        if let Some(part) = buffer.get_mut(..count) {
            self.file.read_at(self.offset, part)?;
        }
        self.offset = self.offset.saturating_add(count as u64);
        Ok(count)
    }
}
