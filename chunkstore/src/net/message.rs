//! One message on one stream.
//!
//! Owns: writing and reading a frame with its head and body. Not: what to do with it.
//! Holds: nothing is stored before its announced length was checked; bodies are handed to quinn as they
//! are, without a copy.

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream};
use serde::{Serialize, de::DeserializeOwned};

use crate::wire::{BODY_BYTES_MAX, FRAME_BYTES, Frame, FrameKind, PeerAnswer, PeerFault, WireError, decode_head, encode_head};

/// Why a message could not be sent or received.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MessageError {
    /// The connection or stream ended.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The peer sent something that is no message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The peer refused the request.
    #[error(transparent)]
    Fault(#[from] PeerFault),
}

fn lost(e: impl std::fmt::Display) -> MessageError {
    MessageError::Lost(e.to_string())
}

/// Puts what is sent on this stream before what waits on others of its connection. For metadata: a heartbeat that
/// queues behind megabytes of shards looks like a dead leader.
pub(super) fn urgent(send: &SendStream) {
    // An error means that the stream has ended, which the next use of it finds.
    let _ = send.set_priority(1);
}

/// Sends frame and head for a body of `body_len` bytes that follows.
pub(super) async fn send_head<T: Serialize>(send: &mut SendStream, kind: FrameKind, head: &T, body_len: u64) -> Result<(), MessageError> {
    let head = encode_head(head)?;
    let frame = Frame { kind, head_len: u32::try_from(head.len()).unwrap_or(u32::MAX), body_len };
    let mut bytes = BytesMut::with_capacity(FRAME_BYTES + head.len());
    bytes.extend_from_slice(&frame.encode());
    bytes.extend_from_slice(&head);
    send.write_chunk(bytes.freeze()).await.map_err(lost)
}

/// Sends a whole message and ends the stream's sending side.
pub(super) async fn send<T: Serialize>(send: &mut SendStream, kind: FrameKind, head: &T, body: Bytes) -> Result<(), MessageError> {
    send_head(send, kind, head, body.len() as u64).await?;
    if !body.is_empty() {
        send.write_chunk(body).await.map_err(lost)?;
    }
    send.finish().map_err(lost)
}

/// Receives frame and head.
pub(super) async fn receive_head(recv: &mut RecvStream) -> Result<(Frame, BytesMut), MessageError> {
    let mut frame = [0; FRAME_BYTES];
    read_exact(recv, &mut frame).await?;
    let frame = Frame::decode(&frame)?;
    let mut head = BytesMut::zeroed(frame.head_len as usize);
    read_exact(recv, &mut head).await?;
    Ok((frame, head))
}

/// Receives a body of an announced length.
pub(super) async fn receive_body(recv: &mut RecvStream, len: u64) -> Result<Bytes, MessageError> {
    if len > BODY_BYTES_MAX {
        return Err(WireError::TooLarge { actual: len, limit: BODY_BYTES_MAX }.into());
    }
    let len = usize::try_from(len).map_err(|_| WireError::TooLarge { actual: len, limit: BODY_BYTES_MAX })?;
    let mut body = BytesMut::with_capacity(len);
    while body.len() < len {
        match recv.read_chunk(len - body.len(), true).await.map_err(lost)? {
            Some(chunk) if body.is_empty() && chunk.bytes.len() == len => return Ok(chunk.bytes),
            Some(chunk) => body.extend_from_slice(&chunk.bytes),
            None => return Err(WireError::Truncated.into()),
        }
    }
    Ok(body.freeze())
}

/// Receives the answer to a request.
pub(super) async fn receive_answer(recv: &mut RecvStream) -> Result<(PeerAnswer, Bytes), MessageError> {
    let (frame, head) = receive_head(recv).await?;
    match frame.kind {
        FrameKind::Answer => {
            let answer = decode::<PeerAnswer>(&head)?;
            Ok((answer, receive_body(recv, frame.body_len).await?))
        }
        FrameKind::Fault => Err(decode::<PeerFault>(&head)?.into()),
        FrameKind::Request => Err(WireError::UnknownType(1).into()),
    }
}

pub(super) fn decode<T: DeserializeOwned>(head: &[u8]) -> Result<T, MessageError> {
    Ok(decode_head(head)?)
}

async fn read_exact(recv: &mut RecvStream, buffer: &mut [u8]) -> Result<(), MessageError> {
    recv.read_exact(buffer).await.map_err(|e| match e {
        quinn::ReadExactError::FinishedEarly(_) => WireError::Truncated.into(),
        quinn::ReadExactError::ReadError(e) => lost(e),
    })
}
