//! Streams that peers open: receive, hand over, answer.
//!
//! Owns: deadlines and memory of requests that come in. Not: their meaning ([`PeerHandler`]).
//! Holds: (1) a request that is not whole within [`RECEIVE_DEADLINE`] is dropped; (2) a peer that does not
//! read its answer within [`SEND_DEADLINE`] is dropped; (3) bodies in memory over all peers are at most
//! [`BODIES_BYTES_MAX`]: a request waits for room before its body is read, and flow control holds the
//! sender; metadata messages have room of their own, [`METADATA_BYTES_MAX`] a peer; (4) at most
//! [`BULK_ANSWERS_MAX`] shards a connection wait to be taken; (5) no request is worked on for longer than [`HANDLE_DEADLINE`].

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use tokio::{
    sync::Semaphore,
    time::{error::Elapsed, timeout},
};

use super::{
    PeerHandler,
    message::{self, MessageError},
};
use crate::{
    ids::NodeId,
    wire::{BODY_BYTES_MAX, FaultCode, FrameKind, PeerAnswer, PeerFault, PeerRequest, WireError},
};

/// Longest time from the first byte of an ordinary request to its last.
pub const RECEIVE_DEADLINE: Duration = Duration::from_secs(10);
/// Longest time that an answer may take to be taken.
pub const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// Longest time that a stream (a snapshot) may take.
pub const STREAM_DEADLINE: Duration = Duration::from_secs(600);
/// Shards that one connection may have asked for and not yet taken.
pub const BULK_ANSWERS_MAX: usize = 64;
/// Longest time that answering an ordinary request may take: what a disk that hangs was given is let go then.
pub const HANDLE_DEADLINE: Duration = Duration::from_secs(30);
/// Most bytes of one peer's metadata messages in memory. Room of their own: shards that wait for a slow disk
/// must not keep a leader's messages out.
pub const METADATA_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most bytes of other request bodies in memory.
pub const BODIES_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Serves every stream that the peer opens on `connection`, until it ends.
pub(super) async fn serve(connection: Connection, from: NodeId, handler: Arc<dyn PeerHandler>, room: Arc<Semaphore>) {
    let answers = Arc::new(Semaphore::new(BULK_ANSWERS_MAX));
    let metadata = Arc::new(Semaphore::new(METADATA_BYTES_MAX));
    while let Ok((send, recv)) = connection.accept_bi().await {
        let (handler, room, metadata, answers) = (handler.clone(), room.clone(), metadata.clone(), answers.clone());
        tokio::spawn(async move {
            if let Err(error) = serve_one(send, recv, from, &*handler, &room, &metadata, &answers).await {
                tracing::debug!(peer = %from, %error, "request dropped");
            }
        });
    }
}

async fn serve_one(
    mut send: SendStream,
    mut recv: RecvStream,
    from: NodeId,
    handler: &dyn PeerHandler,
    room: &Semaphore,
    metadata: &Semaphore,
    answers: &Semaphore,
) -> Result<(), MessageError> {
    let late = |_: Elapsed| MessageError::Lost("the request was not whole in time".into());
    let received = timeout(RECEIVE_DEADLINE, receive(&mut recv, room, metadata)).await.map_err(late)?;
    // Held until the answer is taken: a peer that asks for shards and never reads them is bounded.
    let _answer = match &received {
        Ok(Received::Whole { request: PeerRequest::FetchShard { .. }, .. }) => answers.acquire().await.ok(),
        _ => None,
    };
    if matches!(&received, Ok(Received::Whole { request: PeerRequest::Raft { .. }, .. })) {
        message::urgent(&send);
    }
    let result = match received {
        Ok(Received::Whole { request, body, permit }) => {
            let result = timeout(HANDLE_DEADLINE, handler.handle(from, request, body)).await;
            drop(permit);
            result.unwrap_or_else(|_| Err(PeerFault::new(FaultCode::Busy, "the request took too long")))
        }
        Ok(Received::Stream { header_len, len }) => {
            match timeout(STREAM_DEADLINE, handler.handle_stream(from, header_len, len, &mut recv)).await {
                Ok(answer) => answer.map(|body| (PeerAnswer::Body, body)),
                Err(_) => Err(PeerFault::new(FaultCode::Busy, "the stream took too long")),
            }
        }
        Err(MessageError::Wire(error)) => {
            // Nothing more of this stream is read: what follows would be meant for another frame.
            let _ = recv.stop(0u8.into());
            Err(PeerFault::new(FaultCode::BadRequest, error.to_string()))
        }
        Err(error) => return Err(error),
    };
    let answer = async {
        match result {
            Ok((answer, body)) => message::send(&mut send, FrameKind::Answer, &answer, body).await,
            Err(fault) => message::send(&mut send, FrameKind::Fault, &fault, Bytes::new()).await,
        }?;
        // Wait until the peer has it (or gave up), so that a peer that never reads is bounded by the deadline.
        let _ = send.stopped().await;
        Ok::<(), MessageError>(())
    };
    match timeout(SEND_DEADLINE, answer).await {
        Ok(sent) => sent,
        Err(_) => {
            let _ = send.reset(0u8.into());
            Err(MessageError::Lost("the peer did not take its answer".into()))
        }
    }
}

enum Received<'a> {
    Whole { request: PeerRequest, body: Bytes, permit: Option<tokio::sync::SemaphorePermit<'a>> },
    Stream { header_len: u32, len: u64 },
}

async fn receive<'a>(recv: &mut RecvStream, room: &'a Semaphore, metadata: &'a Semaphore) -> Result<Received<'a>, MessageError> {
    let (frame, head) = message::receive_head(recv).await?;
    if frame.kind != FrameKind::Request {
        return Err(WireError::UnknownType(2).into());
    }
    let request: PeerRequest = message::decode(&head)?;
    if let PeerRequest::RaftStream { header_len } = request {
        return Ok(Received::Stream { header_len, len: frame.body_len });
    }
    if frame.body_len > BODY_BYTES_MAX {
        return Err(WireError::TooLarge { actual: frame.body_len, limit: BODY_BYTES_MAX }.into());
    }
    let room = if matches!(request, PeerRequest::Raft { .. }) { metadata } else { room };
    let permit = match u32::try_from(frame.body_len) {
        Ok(0) | Err(_) => None,
        Ok(len) => Some(room.acquire_many(len).await.map_err(|e| MessageError::Lost(e.to_string()))?),
    };
    let body = message::receive_body(recv, frame.body_len).await?;
    Ok(Received::Whole { request, body, permit })
}
