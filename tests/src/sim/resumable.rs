//! Uploads in pieces: a part, then the rest, through any gateway; or nothing more.
//!
//! The answer to the piece that completes the length names the document. Where that answer is lost nobody can ask for
//! it: the upload is gone then, whatever became of it. What it became is in the list, under a name that only it has.
//!
//! Owns: this operation of [`super::workload`]. Not: what its answers must be ([`super::oracle`]).
//! Holds: (1) before anything that may complete an upload is sent, the oracle knows its name; (2) one that rests does
//! so where a piece was acknowledged.

use std::time::Duration;

use axum::body::Body;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use tokio::time::sleep;

use super::{
    oracle::Content,
    rng::Rng,
    workload::{Answer, Clients, TRIES, gateway, lock},
    world::CHUNK_BYTES,
};

/// Answers that there is no such upload, after which it is over: a gateway may not have heard of a new one yet.
const ABSENT_MAX: usize = 3;

impl Clients {
    /// An upload in pieces. With `rest` it stops for that long after its first piece, as often as not at the end of a
    /// chunk, and is never abandoned.
    pub(super) async fn resumable(&self, rng: &mut Rng, person: usize, content: Content, rest: Option<Duration>) {
        let began = self.now();
        let token = self.token(person);
        let bytes = Bytes::from(crate::content(content.seed, content.len));
        let name = format!("resumable-{}", content.seed);
        if content.len == 0 {
            // It is whole when it is begun.
            lock(&self.oracle).uploading(&name, person, content, began);
        }
        let create = self
            .request(Method::POST, "/v1/uploads", &token)
            .header("tus-resumable", "1.0.0")
            .header("idempotency-key", format!("{:016x}", rng.next()))
            .header("upload-length", content.len)
            .header("upload-metadata", format!("filename {}", BASE64_STANDARD.encode(&name)))
            .body(Body::empty())
            .expect("a request");
        let Ok(created) = self.send(gateway(rng), create).await else { return };
        if self.completed(&created, person, content, began) {
            return;
        }
        let Some(target) = created.field("location").and_then(|l| l.find("/v1/uploads/").map(|at| l[at..].to_owned())) else { return };
        let (mut absent, mut rest_due) = (0, rest);
        for _ in 0..2 * TRIES {
            let head = self.request(Method::HEAD, &target, &token).header("tus-resumable", "1.0.0").body(Body::empty()).expect("a request");
            let Ok(answer) = self.send(gateway(rng), head).await else { continue };
            let Some(offset) = answer.number("upload-offset").map(|offset| offset.min(content.len)) else {
                absent += usize::from(answer.status == StatusCode::NOT_FOUND);
                if absent >= ABSENT_MAX || answer.status == StatusCode::UNAUTHORIZED {
                    return;
                }
                sleep(Duration::from_millis(rng.between(50, 800))).await;
                continue;
            };
            let end = match rest_due {
                Some(_) if offset == 0 => first_stop(rng, content.len),
                _ if rng.chance(500_000) => content.len,
                _ => rng.between(offset as u64, content.len as u64) as usize,
            };
            if end == content.len {
                lock(&self.oracle).uploading(&name, person, content, began);
            }
            // Where all bytes are there and only the end is missing, a piece of none brings it.
            let patch = self
                .request(Method::PATCH, &target, &token)
                .header("tus-resumable", "1.0.0")
                .header("upload-offset", offset)
                .header(header::CONTENT_TYPE, "application/offset+octet-stream")
                .header(header::CONTENT_LENGTH, end - offset)
                .body(Body::from(bytes.slice(offset..end)))
                .expect("a request");
            let taken = self.send(gateway(rng), patch).await.ok().filter(|answer| answer.status == StatusCode::NO_CONTENT);
            match taken {
                Some(answer) if self.completed(&answer, person, content, began) => {
                    if rest.is_some() && rest_due.is_none() {
                        self.probe.note("upload.completed_after_rest");
                    }
                    return;
                }
                Some(_) => {
                    if let Some(time) = rest_due.take() {
                        self.rest(time).await;
                    }
                }
                None => sleep(Duration::from_millis(rng.between(50, 800))).await,
            }
            if rest.is_none() && rng.chance(150_000) {
                self.probe.note("upload.abandoned");
                return;
            }
        }
    }

    /// Notes the document that an upload became, if the answer names one.
    fn completed(&self, answer: &Answer, person: usize, content: Content, began: u64) -> bool {
        let Some(id) = answer.field("vault-document") else { return false };
        let version = answer.number("vault-version").and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
        let mut oracle = lock(&self.oracle);
        oracle.count("resumable");
        oracle.created(id, person, content, 1, (began, self.now()));
        oracle.acknowledge(id, version, self.now());
        lock(&self.ids).push_back((person, id.to_owned()));
        true
    }

    /// Does nothing for a while, or until all are told to stop.
    async fn rest(&self, time: Duration) {
        let end = self.now() + u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        while self.now() < end && !self.stopping() {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Where the first piece of an upload of `len` bytes, which are more than one, ends.
fn first_stop(rng: &mut Rng, len: usize) -> usize {
    let chunk = CHUNK_BYTES as usize;
    let whole = len.saturating_sub(1) / chunk;
    if whole > 0 && rng.chance(700_000) {
        chunk * rng.between(1, whole as u64) as usize
    } else {
        rng.between(1, (len as u64).saturating_sub(1).max(1)) as usize
    }
}
