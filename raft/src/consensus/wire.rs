//! Messages between replicas as bytes.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | version of the messages, [`VERSION`] |
//! | 1 | .. | postcard encoding of the message |
//!
//! Holds: a message is refused before it is decoded when it is longer than its kind allows or of another
//! version.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::types::SnapshotMeta;
use crate::command::REQUEST_BYTES_MAX;

/// Version of the messages.
pub(crate) const VERSION: u8 = 1;
/// Most bytes of entries that one message is filled with (one entry more than fits is never sent).
pub(crate) const APPEND_FILL_BYTES: usize = 512 << 10;
/// Most bytes of an append message.
pub(crate) const APPEND_BYTES_MAX: usize = 4 << 20;
/// Most bytes of a message without a payload.
pub(crate) const SMALL_BYTES_MAX: usize = 4 << 10;
/// Most bytes of a forwarded command.
pub(crate) const PROPOSE_BYTES_MAX: usize = REQUEST_BYTES_MAX + 64;
/// Most bytes of an answer.
pub(crate) const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Most bytes of the header of a snapshot.
pub(crate) const SNAPSHOT_HEADER_BYTES_MAX: usize = 1 << 20;

/// What the leader, or the node that was taken for it, answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer<T> {
    /// Done.
    Done(T),
    /// Not the leader; this node may be.
    NotLeader(Option<u64>),
    /// The leader found no majority in time. A command may or may not have happened.
    NoQuorum,
    /// The command is larger than the log takes.
    TooLarge,
    /// The node is stopping or its replica has stopped.
    Stopped(String),
}

/// What goes before a snapshot's bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SnapshotHeader {
    /// The sender's vote, by which it leads.
    pub(crate) vote: openraft::Vote<u64>,
    pub(crate) meta: SnapshotMeta,
    /// Of the file, as in its footer.
    pub(crate) checksum: u64,
}

/// A message as bytes.
///
/// # Errors
/// What is wrong, for people.
pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Bytes, String> {
    postcard::to_extend(message, vec![VERSION]).map(Bytes::from).map_err(|e| format!("encoding a message: {e}"))
}

/// A message from at most `max` bytes.
///
/// # Errors
/// What is wrong, for people.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, String> {
    if bytes.len() > max {
        return Err(format!("frame_too_large: {} bytes where at most {max} are allowed", bytes.len()));
    }
    match bytes.split_first() {
        None => Err("truncated: empty message".into()),
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|e| format!("malformed message: {e}")),
        Some((other, _)) => Err(format!("version: message version {other}, this node speaks {VERSION}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::{Command, Request};

    #[test]
    fn messages_round_trip_and_refuse() {
        let call = Request { id: 7, now_ms: 0, command: Command::Tick };
        let bytes = encode(&call).unwrap();
        assert_eq!(decode::<Request>(&bytes, PROPOSE_BYTES_MAX).unwrap(), call);
        assert!(decode::<Request>(&bytes, bytes.len() - 1).unwrap_err().starts_with("frame_too_large"));
        let mut newer = bytes.to_vec();
        newer[0] = VERSION + 1;
        assert!(decode::<Request>(&newer, PROPOSE_BYTES_MAX).unwrap_err().starts_with("version"));
        assert!(decode::<Request>(&bytes[..bytes.len() - 1], PROPOSE_BYTES_MAX).is_err());
        assert!(decode::<Request>(&[], PROPOSE_BYTES_MAX).is_err());
    }

    proptest! {
        #[test]
        fn garbage_is_refused_or_decoded_but_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Request>(&bytes, 200);
            let _ = decode::<SnapshotHeader>(&bytes, 200);
            let _ = decode::<openraft::raft::AppendEntriesRequest<crate::consensus::types::TypeConfig>>(&bytes, 200);
        }
    }
}
