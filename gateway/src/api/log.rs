//! `/v1/log`: the tamper-evident log as everybody sees it, in the formats of C2SP.
//!
//! Owns: checkpoint, key, tiles and bare proofs as files. Not: what entries open to ([`super::history`]).
//! Holds: (1) nothing here says more than entries do, which is kind and time; so nobody need sign in to audit;
//! (2) what is served is committed: a checkpoint was compared by this replica with its own tree.

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use kluis_raft::{
    log::{
        merkle::inclusion,
        note::Note,
        proof::Proof,
        tile::{Level, Tile, WIDTH},
    },
    model::LogRecord,
    store::Read,
    view,
};

use super::{Gateway, params::Params};
use crate::problem::{Code, Problem, ProblemBody};

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], body).into_response()
}

/// The proof that the entry `index` is in the log; `None` while no checkpoint covers it.
///
/// # Errors
/// 500 when the log is damaged.
pub fn proof(read: &dyn Read, log: &LogRecord, index: u64, extra: Option<Vec<u8>>) -> Result<Option<Proof>, Problem> {
    let Some(checkpoint) = log.checkpoint.as_ref().filter(|checkpoint| index < checkpoint.size) else { return Ok(None) };
    let path = inclusion(&mut |position| view::log_hash(read, position), index, checkpoint.size).map_err(Problem::internal)?;
    let note = Note::parse(&checkpoint.note).map_err(Problem::internal)?;
    Ok(Some(Proof { extra, index, path, note }))
}

/// The newest checkpoint: size and root of the log, signed.
#[utoipa::path(
    get, path = "/v1/log/checkpoint", tag = "log",
    responses(
        (status = 200, description = "A signed note (c2sp.org/tlog-checkpoint).", content_type = "text/plain"),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn checkpoint(State(gateway): State<Arc<Gateway>>) -> Result<Response, Problem> {
    let log = view::log(&*gateway.metadata.view())?;
    log.checkpoint.map(|checkpoint| text(checkpoint.note)).ok_or_else(|| Problem::plain(Code::NotFound))
}

/// The public key that checkpoints are signed with, as others' tools take it (NAME+KEYID+BASE64).
#[utoipa::path(
    get, path = "/v1/log/key", tag = "log",
    responses(
        (status = 200, description = "A verifier key (c2sp.org/signed-note).", content_type = "text/plain"),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn key(State(gateway): State<Arc<Gateway>>) -> Result<Response, Problem> {
    let log = view::log(&*gateway.metadata.view())?;
    log.key.map(|key| text(format!("{}\n", key.verifier))).ok_or_else(|| Problem::plain(Code::NotFound))
}

/// The proof that an entry is in the log, without what opens it.
#[utoipa::path(
    get, path = "/v1/log/proof", tag = "log",
    params(("index" = u64, Query, description = "The entry's place.")),
    responses(
        (status = 200, description = "A proof (c2sp.org/tlog-proof@v1).", content_type = "text/plain"),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn proof_file(State(gateway): State<Arc<Gateway>>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["index"])?;
    let index = params.number("index", 0..=u64::MAX)?.ok_or_else(|| Problem::new(Code::BadParameter, "index: missing"))?;
    let read = gateway.metadata.view();
    let log = view::log(&*read)?;
    let found = proof(&*read, &log, index, None)?.ok_or_else(|| Problem::plain(Code::NotFound))?;
    Ok(text(found.to_string()))
}

/// A tile of the tree, or the entries below one.
#[utoipa::path(
    get, path = "/v1/log/tile/{level}/{*index}", tag = "log",
    params(
        ("level" = String, Path, description = "0 to 5, or `entries`."),
        ("index" = String, Path, description = "The tile's number in groups of three digits, and `.p/W` for the first W of it."),
    ),
    responses(
        (status = 200, description = "Hashes, or entries with their lengths (c2sp.org/tlog-tiles).", content_type = "application/octet-stream"),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn tile(State(gateway): State<Arc<Gateway>>, Path((level, index)): Path<(String, String)>) -> Result<Response, Problem> {
    let missing = || Problem::plain(Code::NotFound);
    let tile = Tile::parse(&level, &index).map_err(|_| missing())?;
    let read = gateway.metadata.view();
    let size = view::log(&*read)?.edge.size();
    let positions = tile.positions(size).ok_or_else(missing)?;
    let mut body = Vec::new();
    match tile.level {
        Level::Hashes(_) => {
            for position in positions {
                let hash = view::log_hash(&*read, position)?.ok_or_else(|| Problem::internal("a hash of the log is missing"))?;
                body.extend_from_slice(&hash);
            }
        }
        Level::Entries => {
            let first = tile.index.saturating_mul(WIDTH);
            for leaf in view::log_leaves(&*read, first, first.saturating_add(tile.width))? {
                body.extend_from_slice(&u16::try_from(leaf.len()).map_err(Problem::internal)?.to_be_bytes());
                body.extend_from_slice(&leaf);
            }
        }
    }
    let octets = HeaderValue::from_static("application/octet-stream");
    // What is in the log stays as it is.
    let keep = HeaderValue::from_static("public, max-age=31536000, immutable");
    Ok(([(header::CONTENT_TYPE, octets), (header::CACHE_CONTROL, keep)], body).into_response())
}
