//! Messages between nodes, as bytes.
//!
//! One request a QUIC stream. A frame, in both directions:
//!
//! | offset | size | field | why |
//! |---|---|---|---|
//! | 0 | 1 | version of the protocol, now 1 | a node of another version is refused by name |
//! | 1 | 1 | kind: 1 request, 2 answer, 3 fault | a frame says what it is |
//! | 2 | 2 | zero | room; must be zero |
//! | 4 | 4 | length of the head, little-endian, at most [`HEAD_BYTES_MAX`] | checked before a byte of it is stored |
//! | 8 | 8 | length of the body, little-endian | bulk bytes follow the head unencoded and are never copied into it |
//! | 16 | .. | head: postcard of [`PeerRequest`], [`PeerAnswer`] or [`PeerFault`] | |
//! | .. | .. | body | |
//!
//! Owns: the messages and their limits. Not: streams, connections ([`crate::net`]).
//! Holds: decoding any bytes ends in a message or a [`WireError`], with memory bounded by the limits.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::ids::{BlobId, ClusterId, DiskId, NodeId, ShardKey, StorageId};

/// Version of the protocol.
pub const VERSION: u8 = 1;
/// Bytes of a frame before its head.
pub const FRAME_BYTES: usize = 16;
/// Most bytes of a head.
pub const HEAD_BYTES_MAX: u32 = 256 * 1024;
/// Most bytes of the body of an ordinary message; streams (snapshots) are not held in memory.
pub const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most entries in the answer to a list.
pub const LIST_MAX: usize = 4096;

/// Bytes that are no message. The text begins with a stable code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Another version of the protocol.
    #[error("version: the peer speaks version {0}, this node speaks {VERSION}")]
    Version(u8),
    /// A kind of frame or message that this node does not know.
    #[error("unknown_type: {0}")]
    UnknownType(u8),
    /// A length above its limit.
    #[error("frame_too_large: {actual} bytes where at most {limit} are taken")]
    TooLarge {
        /// What was announced.
        actual: u64,
        /// The limit.
        limit: u64,
    },
    /// The stream ended in the middle.
    #[error("truncated: the stream ended inside a message")]
    Truncated,
    /// The head does not decode.
    #[error("malformed: {0}")]
    Malformed(String),
}

/// Which kind of message a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A request.
    Request,
    /// The answer to it.
    Answer,
    /// The refusal of it.
    Fault,
}

/// The fixed part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// What follows.
    pub kind: FrameKind,
    /// Bytes of the head.
    pub head_len: u32,
    /// Bytes of the body.
    pub body_len: u64,
}

impl Frame {
    /// The frame as bytes.
    pub fn encode(&self) -> [u8; FRAME_BYTES] {
        let kind = match self.kind {
            FrameKind::Request => 1,
            FrameKind::Answer => 2,
            FrameKind::Fault => 3,
        };
        let mut bytes = [0; FRAME_BYTES];
        bytes[0] = VERSION;
        bytes[1] = kind;
        bytes[4..8].copy_from_slice(&self.head_len.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.body_len.to_le_bytes());
        bytes
    }

    /// A frame from bytes, with its lengths checked; `stream` lifts the limit of the body, for a body that
    /// is passed on piece by piece.
    ///
    /// # Errors
    /// [`WireError`] says what is wrong.
    pub fn decode(bytes: &[u8; FRAME_BYTES]) -> Result<Self, WireError> {
        let [version, kind, zero, zero2, h0, h1, h2, h3, body @ ..] = *bytes;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let kind = match kind {
            1 => FrameKind::Request,
            2 => FrameKind::Answer,
            3 => FrameKind::Fault,
            other => return Err(WireError::UnknownType(other)),
        };
        if (zero, zero2) != (0, 0) {
            return Err(WireError::Malformed("reserved bytes are not zero".into()));
        }
        let head_len = u32::from_le_bytes([h0, h1, h2, h3]);
        if head_len > HEAD_BYTES_MAX {
            return Err(WireError::TooLarge { actual: head_len.into(), limit: HEAD_BYTES_MAX.into() });
        }
        Ok(Self { kind, head_len, body_len: u64::from_le_bytes(body) })
    }
}

/// What one node asks another. The order of variants is part of the protocol: new ones go at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerRequest {
    /// First on every connection: who calls. Nothing else is answered before it.
    Hello(Hello),
    /// Store a shard (the body) on a disk; answered when it is synced.
    PutShard {
        /// The disk.
        disk: DiskId,
        /// The shard.
        key: ShardKey,
        /// XXH3-64 of the body.
        checksum: u64,
    },
    /// Fetch a shard.
    FetchShard {
        /// The disk.
        disk: DiskId,
        /// The shard.
        key: ShardKey,
    },
    /// Which of these shards does a disk have? Answered by [`PeerAnswer::Present`].
    HasShards {
        /// The disk.
        disk: DiskId,
        /// The shards, at most [`LIST_MAX`].
        keys: Vec<ShardKey>,
    },
    /// A blob's chunk is wanting: look at it soon.
    Suspect {
        /// The blob.
        blob: BlobId,
        /// The index of the chunk's id.
        index: u32,
    },
    /// A call of the metadata group; the body is its message.
    Raft {
        /// The call, by the numbering of crate `kluis-raft`.
        call: u8,
    },
    /// A stream of the metadata group (a snapshot); the body is `header_len` bytes of header, then data.
    RaftStream {
        /// Bytes of header at the front of the body, at most 64 KiB.
        header_len: u32,
    },
    /// What does this node observe of itself? Answered by a body.
    Observe,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The caller's cluster.
    pub cluster: ClusterId,
    /// The caller; must be the name in its certificate.
    pub node: NodeId,
    /// The storage that it runs on.
    pub storage: StorageId,
    /// Whom it means to call.
    pub to: NodeId,
    /// Version of its program, for people.
    pub program: String,
}

/// Answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerAnswer {
    /// The caller is admitted; who answers.
    Welcome(Hello),
    /// Done.
    Done,
    /// The shard is in the body, with its XXH3-64.
    Shard {
        /// Checksum of the body.
        checksum: u64,
    },
    /// The disk has no such shard.
    Absent,
    /// One bit a key of [`PeerRequest::HasShards`], in order.
    Present(Vec<bool>),
    /// The answer is the body.
    Body,
}

/// Why a request was refused. The text is for people; the code for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct PeerFault {
    /// Kind of refusal.
    pub code: FaultCode,
    /// What happened, for people.
    pub detail: String,
}

/// Kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultCode {
    /// The hello was refused: other cluster, unknown node, wrong storage, name unlike the certificate's.
    NotAdmitted,
    /// The message was wrong.
    BadRequest,
    /// The body has another checksum than its head says.
    ChecksumMismatch,
    /// This node does not own the disk.
    UnknownDisk,
    /// The disk is full.
    DiskFull,
    /// The disk failed, is read-only or the shard on it is damaged.
    DiskFault,
    /// The node is too busy: its queues are full.
    Busy,
    /// The node is stopping or not ready.
    Unavailable,
    /// The metadata group refused.
    Raft,
}

impl std::fmt::Display for FaultCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotAdmitted => "not_admitted",
            Self::BadRequest => "bad_request",
            Self::ChecksumMismatch => "checksum_mismatch",
            Self::UnknownDisk => "unknown_disk",
            Self::DiskFull => "disk_full",
            Self::DiskFault => "disk_fault",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Raft => "raft",
        })
    }
}

impl PeerFault {
    /// A refusal.
    pub fn new(code: FaultCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// The head of a message as bytes.
///
/// # Errors
/// [`WireError::TooLarge`] when it is above the limit.
pub fn encode_head<T: Serialize>(head: &T) -> Result<Vec<u8>, WireError> {
    let bytes = postcard::to_stdvec(head).map_err(|e| WireError::Malformed(e.to_string()))?;
    match u32::try_from(bytes.len()) {
        Ok(len) if len <= HEAD_BYTES_MAX => Ok(bytes),
        _ => Err(WireError::TooLarge { actual: bytes.len() as u64, limit: HEAD_BYTES_MAX.into() }),
    }
}

/// A head from bytes; bytes left over are an error.
///
/// # Errors
/// [`WireError::Malformed`].
pub fn decode_head<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(bytes) {
        Ok((head, [])) => Ok(head),
        Ok(_) => Err(WireError::Malformed("bytes after the head".into())),
        Err(e) => Err(WireError::Malformed(e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_round_trip(kind in 1u8..=3, head_len in 0..=HEAD_BYTES_MAX, body_len in any::<u64>()) {
            let kind = [FrameKind::Request, FrameKind::Answer, FrameKind::Fault][usize::from(kind) - 1];
            let frame = Frame { kind, head_len, body_len };
            prop_assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
        }

        #[test]
        fn any_bytes_end_in_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400), frame in any::<[u8; 16]>()) {
            let _ = Frame::decode(&frame);
            let _ = decode_head::<PeerRequest>(&bytes);
            let _ = decode_head::<PeerAnswer>(&bytes);
            let _ = decode_head::<PeerFault>(&bytes);
        }
    }

    #[test]
    fn wrong_frames_have_their_codes() {
        let good = Frame { kind: FrameKind::Request, head_len: 1, body_len: 2 }.encode();
        let with = |at: usize, byte: u8| {
            let mut b = good;
            b[at] = byte;
            Frame::decode(&b).unwrap_err().to_string()
        };
        assert!(with(0, 2).starts_with("version"));
        assert!(with(1, 9).starts_with("unknown_type"));
        assert!(with(2, 1).starts_with("malformed"));
        assert!(with(7, 255).starts_with("frame_too_large"));
    }

    /// Messages of version 1 as bytes: a change here is a change of protocol.
    #[test]
    fn the_encoding_is_pinned() {
        let key = ShardKey { chunk: crate::ids::ChunkId { blob: BlobId(1), index: 2 }, shard: 3 };
        let bytes = encode_head(&PeerRequest::FetchShard { disk: DiskId(4), key }).unwrap();
        assert_eq!(hex::encode(bytes), "0204010203");
    }
}
