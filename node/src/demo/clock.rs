//! The movable clock of a demo: `GET` and `PUT` on `/clock`.
//!
//! Owns: the form of requests, the file that nodes read. Not: the clock that nodes use ([`crate::clock`]).
//! Holds: (1) the file is replaced atomically; (2) a request that is refused moves nothing; (3) pages of
//! other origins cannot move the clock: a request that a browser made for one is refused.
//!
//! `GET` answers `{"offset_ms", "now"}`. `PUT` takes `{"offset_ms": 5}` or `{"advance": "10d"}` and answers
//! the same.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Json, Response},
    routing::get,
};
use jiff::Timestamp;
use kluis_chunkstore::env::Clock;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::Mutex};

use super::record::replace;
use crate::{clock::read_offset, config::units::parse_duration, exit::ExitError};

/// Furthest that the clock moves either way: a hundred years.
const OFFSET_MAX_MS: i64 = 100 * 366 * 86_400_000;

struct Movable {
    real: Arc<dyn Clock>,
    file: PathBuf,
    // One change at a time: `advance` reads before it writes.
    change: Mutex<()>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Shown {
    offset_ms: i64,
    now: Timestamp,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    offset_ms: Option<i64>,
    advance: Option<String>,
}

/// Serves the clock until the process ends. The file is made when it is not there.
///
/// # Errors
/// The address is taken, or the file cannot be written.
pub async fn serve(real: Arc<dyn Clock>, address: SocketAddr, file: PathBuf) -> Result<(), ExitError> {
    if read_offset(&file).is_none() {
        replace(&file, b"0\n")?;
    }
    let listener = TcpListener::bind(address).await.map_err(|e| ExitError::failed(format!("{address} is not to be had: {e}")))?;
    let app = router(real, file);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "the movable clock ended");
        }
    });
    Ok(())
}

fn router(real: Arc<dyn Clock>, file: PathBuf) -> Router {
    let movable = Arc::new(Movable { real, file, change: Mutex::new(()) });
    Router::new().route("/clock", get(show).put(change)).layer(DefaultBodyLimit::max(1024)).with_state(movable)
}

async fn show(State(clock): State<Arc<Movable>>) -> Response {
    answer(&clock, read_offset(&clock.file).unwrap_or(0))
}

async fn change(State(clock): State<Arc<Movable>>, headers: HeaderMap, body: Bytes) -> Response {
    if headers.contains_key(header::ORIGIN) {
        return refuse(StatusCode::FORBIDDEN, "requests of web pages are not taken");
    }
    let _one_at_a_time = clock.change.lock().await;
    let current = read_offset(&clock.file).unwrap_or(0);
    let offset_ms = match wanted(&body, current) {
        Ok(offset_ms) => offset_ms,
        Err(text) => return refuse(StatusCode::BAD_REQUEST, &text),
    };
    if let Err(error) = replace(&clock.file, format!("{offset_ms}\n").as_bytes()) {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.what);
    }
    // Nodes look at the file at most every 100 ms: who gets the answer may rely on all of them having seen it.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    answer(&clock, offset_ms)
}

/// The offset that a request asks for.
fn wanted(body: &[u8], current_ms: i64) -> Result<i64, String> {
    let change: Change = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let offset_ms = match (change.offset_ms, change.advance) {
        (Some(offset_ms), None) => Some(offset_ms),
        (None, Some(advance)) => {
            let (back, text) = advance.strip_prefix('-').map_or((false, advance.as_str()), |text| (true, text));
            let step = i64::try_from(parse_duration(text)?.as_millis()).ok();
            step.and_then(|step| if back { current_ms.checked_sub(step) } else { current_ms.checked_add(step) })
        }
        _ => return Err("give either offset_ms or advance".to_owned()),
    };
    offset_ms.filter(|ms| (-OFFSET_MAX_MS..=OFFSET_MAX_MS).contains(ms)).ok_or_else(|| "the clock moves a hundred years at most".to_owned())
}

fn answer(clock: &Movable, offset_ms: i64) -> Response {
    let now_ms = clock.real.now_ms().saturating_add_signed(offset_ms);
    let now = i64::try_from(now_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX);
    Json(Shown { offset_ms, now }).into_response()
}

fn refuse(status: StatusCode, text: &str) -> Response {
    (status, Json(serde_json::json!({ "error": text }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_set_and_advanced_and_bad_ones_refused() {
        assert_eq!(wanted(br#"{"offset_ms": -5}"#, 7), Ok(-5));
        assert_eq!(wanted(br#"{"advance": "10d"}"#, 1000), Ok(864_001_000));
        assert_eq!(wanted(br#"{"advance": "-1s"}"#, 1000), Ok(0));
        for bad in [
            "{}",
            "",
            "[]",
            r#"{"offset_ms": 1, "advance": "1s"}"#,
            r#"{"offset": 1}"#,
            r#"{"advance": "soon"}"#,
            r#"{"offset_ms": 9223372036854775807}"#,
            r#"{"advance": "99999999d"}"#,
        ] {
            assert!(wanted(bad.as_bytes(), 0).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn the_file_follows_and_the_answer_tells_the_moved_time() {
        struct Fixed;
        impl Clock for Fixed {
            fn now_ms(&self) -> u64 {
                1_000
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("clock");
        let clock = Arc::new(Movable { real: Arc::new(Fixed), file: file.clone(), change: Mutex::new(()) });
        let moved = change(State(clock.clone()), HeaderMap::new(), Bytes::from_static(br#"{"advance": "1d"}"#)).await;
        assert_eq!(moved.status(), StatusCode::OK);
        assert_eq!(read_offset(&file), Some(86_400_000));
        let mut foreign = HeaderMap::new();
        foreign.insert(header::ORIGIN, header::HeaderValue::from_static("https://evil.example"));
        let refused = change(State(clock.clone()), foreign, Bytes::from_static(br#"{"offset_ms": 0}"#)).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        assert_eq!(read_offset(&file), Some(86_400_000));
        let body = axum::body::to_bytes(show(State(clock)).await.into_body(), 1024).await.unwrap();
        let shown: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((shown["offset_ms"].as_i64(), shown["now"].as_str()), (Some(86_400_000), Some("1970-01-02T00:00:01Z")));
    }
}
