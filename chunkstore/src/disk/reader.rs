//! Reading one shard back, checked.
//!
//! Owns: the proof that bytes read are the bytes written. Not: where they lie ([`super::index`]).
//! Holds: payload bytes leave here only when the header is the one of this place and key, and the
//! payload has the checksum that both the header and the index remember.

use std::io;

use bytes::Bytes;

use super::index::Location;
use crate::{
    env::File,
    format::record::{self, HEADER_BYTES, Kind, RecordHeader},
    ids::ShardKey,
};

/// Why a shard could not be read.
pub(crate) enum ReadError {
    /// The bytes changed, or are gone with the end of the file.
    Corrupt,
    /// The file system refused.
    Io(io::Error),
}

/// The payload at `location`; `seed` is that of its segment.
pub(crate) fn read_record(file: &dyn File, seed: u64, key: ShardKey, location: &Location) -> Result<Bytes, ReadError> {
    let len = usize::try_from(location.len).map_err(|_| ReadError::Corrupt)?;
    let mut bytes = vec![0; HEADER_BYTES + len];
    file.read_at(u64::from(location.offset), &mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadError::Corrupt,
        _ => ReadError::Io(error),
    })?;
    let header = RecordHeader::decode(&bytes, seed, location.offset).map_err(|_| ReadError::Corrupt)?;
    let payload = Bytes::from(bytes).slice(HEADER_BYTES..);
    let matches = header.kind == Kind::Shard
        && header.key == key
        && header.len == location.len
        && header.sequence == location.sequence
        && header.checksum == location.checksum
        && record::payload_checksum(&payload) == location.checksum;
    if matches { Ok(payload) } else { Err(ReadError::Corrupt) }
}
