//! A snapshot as a file: the whole state at one position of the log.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `KLUISSNP` |
//! | 8 | 2 | version, little-endian like all numbers but the id: 1 |
//! | 10 | 16 | cluster id, big-endian |
//! | 26 | 4 | length `m` of the next field, at most 1 MiB |
//! | 30 | m | last position, membership and id of the snapshot (postcard) |
//! | 30 + m | 8 | xxh3 of everything before |
//! | .. | .. | blocks: length `b` (4, from 1 to 4 MiB), xxh3 of the payload (8), payload (b) |
//! | | | payload: records of key length (4), value length (4), key, value; keys ascend over the file |
//! | .. | 4 | zero: no more blocks |
//! | .. | 8 | number of records |
//! | .. | 8 | xxh3 of everything before |
//!
//! Owns: the format. Not: where the file lies, how it is moved (the state machine and the network glue).
//! Holds: a file that is cut, flipped anywhere, longer than it should be, too large, or of another cluster
//! is refused; memory for reading is one block.

use std::io::{self, Read, Write};

use kluis_chunkstore::ids::ClusterId;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::types::SnapshotMeta;
use crate::store::{Entry, StoreError, replica::KEY_BYTES_MAX};

const MAGIC: &[u8; 8] = b"KLUISSNP";
const VERSION: u16 = 1;
const META_BYTES_MAX: usize = 1 << 20;
/// A block is closed when it has this many bytes.
const BLOCK_BYTES: usize = 256 << 10;
const BLOCK_BYTES_MAX: usize = 4 << 20;

/// Why a snapshot is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Reading or writing failed.
    #[error("snapshot: {0}")]
    Io(String),
    /// It ends too early.
    #[error("the snapshot is cut off")]
    Cut,
    /// It is none.
    #[error("this is no snapshot")]
    Magic,
    /// It was written by another version.
    #[error("snapshot version {0} is unknown")]
    Version(u16),
    /// It is of another cluster.
    #[error("the snapshot is of cluster {0}")]
    OtherCluster(ClusterId),
    /// Bytes changed.
    #[error("checksum_mismatch: the snapshot's {0} is damaged")]
    Checksum(&'static str),
    /// It is larger than allowed.
    #[error("the snapshot is larger than {max} bytes")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// It breaks the format.
    #[error("malformed snapshot: {0}")]
    Malformed(String),
}

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Cut } else { Self::Io(error.to_string()) }
    }
}

impl From<StoreError> for SnapshotError {
    fn from(error: StoreError) -> Self {
        Self::Io(error.to_string())
    }
}

impl From<SnapshotError> for StoreError {
    fn from(error: SnapshotError) -> Self {
        Self::Io(error.to_string())
    }
}

/// What a finished file comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Records.
    pub entries: u64,
    /// Bytes of the file.
    pub len: u64,
    /// The checksum in its footer.
    pub checksum: u64,
}

fn length(bytes: usize) -> Result<u32, SnapshotError> {
    u32::try_from(bytes).map_err(|_| SnapshotError::Malformed("a field of more than 4 GiB".into()))
}

/// Writes a snapshot.
pub struct SnapshotWriter<W> {
    out: W,
    hash: Xxh3,
    block: Vec<u8>,
    entries: u64,
    len: u64,
}

impl<W: Write> SnapshotWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when writing fails.
    pub fn new(out: W, cluster: ClusterId, meta: &SnapshotMeta) -> Result<Self, SnapshotError> {
        let meta = postcard::to_stdvec(meta).map_err(|e| SnapshotError::Malformed(e.to_string()))?;
        let mut header = Vec::with_capacity(38 + meta.len());
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&cluster.to_bytes());
        header.extend_from_slice(&length(meta.len())?.to_le_bytes());
        header.extend_from_slice(&meta);
        header.extend_from_slice(&xxh3_64(&header).to_le_bytes());
        let mut writer = Self { out, hash: Xxh3::new(), block: Vec::with_capacity(BLOCK_BYTES + 4096), entries: 0, len: 0 };
        writer.put(&header)?;
        Ok(writer)
    }

    /// Adds a record; keys must ascend.
    ///
    /// # Errors
    /// [`SnapshotError`] when writing fails or the record is larger than a block may be.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        let record = key.len().saturating_add(value.len()).saturating_add(8);
        if key.len() > KEY_BYTES_MAX || record > BLOCK_BYTES_MAX {
            return Err(SnapshotError::Malformed(format!("a record of {record} bytes")));
        }
        if !self.block.is_empty() && self.block.len() + record > BLOCK_BYTES {
            self.close_block()?;
        }
        self.block.extend_from_slice(&length(key.len())?.to_le_bytes());
        self.block.extend_from_slice(&length(value.len())?.to_le_bytes());
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(value);
        self.entries += 1;
        Ok(())
    }

    /// Ends the file. Making it durable is the caller's matter.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when writing fails.
    pub fn finish(mut self) -> Result<(W, Summary), SnapshotError> {
        if !self.block.is_empty() {
            self.close_block()?;
        }
        self.put(&0u32.to_le_bytes())?;
        self.put(&self.entries.to_le_bytes())?;
        let checksum = self.hash.digest();
        self.put(&checksum.to_le_bytes())?;
        self.out.flush()?;
        Ok((self.out, Summary { entries: self.entries, len: self.len, checksum }))
    }

    fn close_block(&mut self) -> Result<(), SnapshotError> {
        let block = std::mem::take(&mut self.block);
        self.put(&length(block.len())?.to_le_bytes())?;
        self.put(&xxh3_64(&block).to_le_bytes())?;
        self.put(&block)?;
        self.block = block;
        self.block.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.hash.update(bytes);
        self.out.write_all(bytes)?;
        self.len = self.len.saturating_add(u64::from(length(bytes.len())?));
        Ok(())
    }
}

/// Reads and verifies a snapshot, a block at a time. Only a file that was read to its end is verified.
pub struct SnapshotReader<R> {
    input: R,
    hash: Xxh3,
    meta: SnapshotMeta,
    max: u64,
    entries: u64,
    len: u64,
    last_key: Option<Vec<u8>>,
    summary: Option<Summary>,
}

impl<R: Read> SnapshotReader<R> {
    /// Reads the header of a file of `cluster` and at most `max` bytes.
    ///
    /// # Errors
    /// [`SnapshotError`] when it is none of that.
    pub fn new(mut input: R, cluster: ClusterId, max: u64) -> Result<Self, SnapshotError> {
        let mut header = vec![0; 30];
        input.read_exact(&mut header)?;
        if header.get(..8) != Some(&MAGIC[..]) {
            return Err(SnapshotError::Magic);
        }
        let mut fields = header.get(8..).unwrap_or_default();
        let version = u16::from_le_bytes(take(&mut fields)?);
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let found = ClusterId(u128::from_be_bytes(take(&mut fields)?));
        let meta_len = number(take(&mut fields)?, META_BYTES_MAX, "header")?;
        header.resize(30 + meta_len, 0);
        input.read_exact(header.get_mut(30..).unwrap_or_default())?;
        let mut sum = [0; 8];
        input.read_exact(&mut sum)?;
        if xxh3_64(&header) != u64::from_le_bytes(sum) {
            return Err(SnapshotError::Checksum("header"));
        }
        if found != cluster {
            return Err(SnapshotError::OtherCluster(found));
        }
        let meta = postcard::from_bytes(header.get(30..).unwrap_or_default()).map_err(|e| SnapshotError::Malformed(e.to_string()))?;
        let mut reader = Self { input, hash: Xxh3::new(), meta, max, entries: 0, len: 0, last_key: None, summary: None };
        reader.count(&header)?;
        reader.count(&sum)?;
        Ok(reader)
    }

    /// The header.
    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// The records of the next block; `None` after the last one, when everything was verified.
    ///
    /// # Errors
    /// [`SnapshotError`] when the file is not what was written.
    pub fn next_block(&mut self) -> Result<Option<Vec<Entry>>, SnapshotError> {
        if self.summary.is_some() {
            return Ok(None);
        }
        let len = number(self.read()?, BLOCK_BYTES_MAX, "block")?;
        if len == 0 {
            self.end()?;
            return Ok(None);
        }
        let sum = u64::from_le_bytes(self.read()?);
        let mut block = vec![0; len];
        self.input.read_exact(&mut block)?;
        self.count(&block)?;
        if xxh3_64(&block) != sum {
            return Err(SnapshotError::Checksum("block"));
        }
        self.records(&block).map(Some)
    }

    /// Reads the rest and returns what the whole file comes to.
    ///
    /// # Errors
    /// As [`SnapshotReader::next_block`].
    pub fn verify(mut self) -> Result<(SnapshotMeta, Summary), SnapshotError> {
        while self.next_block()?.is_some() {}
        let summary = self.summary.ok_or(SnapshotError::Cut)?;
        Ok((self.meta, summary))
    }

    /// What the file came to, once its end was read.
    pub fn summary(&self) -> Option<Summary> {
        self.summary
    }

    fn records(&mut self, mut block: &[u8]) -> Result<Vec<Entry>, SnapshotError> {
        let mut records = Vec::new();
        while !block.is_empty() {
            let key_len = number(take(&mut block)?, KEY_BYTES_MAX, "key")?;
            let value_len = number(take(&mut block)?, BLOCK_BYTES_MAX, "value")?;
            let (key, rest) = block.split_at_checked(key_len).ok_or(SnapshotError::Cut)?;
            let (value, rest) = rest.split_at_checked(value_len).ok_or(SnapshotError::Cut)?;
            block = rest;
            if self.last_key.as_deref().is_some_and(|last| last >= key) {
                return Err(SnapshotError::Malformed("keys do not ascend".into()));
            }
            self.last_key = Some(key.to_vec());
            self.entries += 1;
            records.push((key.to_vec(), value.to_vec()));
        }
        Ok(records)
    }

    fn end(&mut self) -> Result<(), SnapshotError> {
        let entries = u64::from_le_bytes(self.read()?);
        let checksum = self.hash.digest();
        if u64::from_le_bytes(self.read()?) != checksum || entries != self.entries {
            return Err(SnapshotError::Checksum("footer"));
        }
        let mut more = [0; 1];
        if self.input.read(&mut more)? != 0 {
            return Err(SnapshotError::Malformed("bytes after the end".into()));
        }
        self.summary = Some(Summary { entries, len: self.len, checksum });
        Ok(())
    }

    fn read<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.count(&bytes)?;
        Ok(bytes)
    }

    fn count(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.hash.update(bytes);
        self.len = self.len.saturating_add(u64::from(length(bytes.len())?));
        if self.len > self.max { Err(SnapshotError::TooLarge { max: self.max }) } else { Ok(()) }
    }
}

/// The next `N` bytes of a slice.
fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], SnapshotError> {
    let (bytes, rest) = from.split_first_chunk::<N>().ok_or(SnapshotError::Cut)?;
    *from = rest;
    Ok(*bytes)
}

/// A length of at most `max`.
fn number(bytes: [u8; 4], max: usize, what: &str) -> Result<usize, SnapshotError> {
    match usize::try_from(u32::from_le_bytes(bytes)) {
        Ok(n) if n <= max => Ok(n),
        _ => Err(SnapshotError::Malformed(format!("a {what} longer than {max} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLUSTER: ClusterId = ClusterId(77);

    fn meta() -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: Some(openraft::LogId::new(openraft::CommittedLeaderId::new(3, 1), 42)),
            snapshot_id: "s".into(),
            ..SnapshotMeta::default()
        }
    }

    fn file(entries: &[Entry]) -> (Vec<u8>, Summary) {
        let mut writer = SnapshotWriter::new(Vec::new(), CLUSTER, &meta()).unwrap();
        for (key, value) in entries {
            writer.push(key, value).unwrap();
        }
        writer.finish().unwrap()
    }

    fn verify(bytes: &[u8], max: u64) -> Result<(SnapshotMeta, Summary), SnapshotError> {
        SnapshotReader::new(bytes, CLUSTER, max)?.verify()
    }

    fn sample() -> Vec<Entry> {
        (0..20u8).map(|n| (vec![n, 1], vec![n; usize::from(n) * 7])).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let many: Vec<Entry> = (0..3000u32).map(|n| (n.to_be_bytes().to_vec(), vec![7; 300])).collect();
        for entries in [Vec::new(), sample(), many] {
            let (bytes, summary) = file(&entries);
            assert_eq!(summary.len, bytes.len() as u64);
            let mut reader = SnapshotReader::new(&bytes[..], CLUSTER, u64::MAX).unwrap();
            assert_eq!(reader.meta(), &meta());
            let mut all = Vec::new();
            while let Some(block) = reader.next_block().unwrap() {
                all.extend(block);
            }
            assert_eq!(all, entries);
            assert_eq!(reader.summary(), Some(summary));
        }
    }

    #[test]
    fn every_cut_is_refused() {
        let (bytes, _) = file(&sample());
        for at in 0..bytes.len() {
            assert!(verify(&bytes[..at], u64::MAX).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let (bytes, _) = file(&sample());
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x20;
            assert!(verify(&bad, u64::MAX).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn another_cluster_a_tail_and_too_many_bytes_are_refused() {
        let (mut bytes, summary) = file(&sample());
        assert_eq!(SnapshotReader::new(&bytes[..], ClusterId(78), u64::MAX).err(), Some(SnapshotError::OtherCluster(CLUSTER)));
        assert!(verify(&bytes, summary.len).is_ok());
        assert_eq!(verify(&bytes, summary.len - 1), Err(SnapshotError::TooLarge { max: summary.len - 1 }));
        bytes.push(0);
        assert!(matches!(verify(&bytes, u64::MAX), Err(SnapshotError::Malformed(_))));
    }

    #[test]
    fn keys_out_of_order_are_refused() {
        let (bytes, _) = file(&[(vec![2], vec![]), (vec![1], vec![])]);
        assert!(matches!(verify(&bytes, u64::MAX), Err(SnapshotError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn garbage_is_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..300), with_magic in any::<bool>()) {
            if with_magic && bytes.len() > 10 {
                bytes[..8].copy_from_slice(MAGIC);
                bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
            }
            prop_assert!(verify(&bytes, u64::MAX).is_err());
        }
    }
}
