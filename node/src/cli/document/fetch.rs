//! Fetching a document: into a file, or onto standard output.
//!
//! Owns: receiving, going on elsewhere after a lost connection, the check of the digest. Not: which
//! gateway is asked ([`super::gateways`]).
//! Holds: (1) a file appears under its name only when it is whole and its SHA-256 is right; (2) bytes that
//! were received are not fetched again; (3) bytes of two versions are never mixed (`If-Range`).

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::digest::{Context, SHA256};
use reqwest::{Method, Response, StatusCode, header};
use tokio::{
    fs::File,
    io::{AsyncSeekExt as _, AsyncWriteExt as _},
};

use super::{
    Document, bar, finish,
    gateways::{ATTEMPTS_MAX, Attempt, Gateways, judge},
};
use crate::{admin_client::cause, exit::ExitError};

/// Time without a byte after which another gateway is asked.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Where the bytes go.
enum Sink {
    /// Into a file that is renamed at the end.
    File { file: File, part: PathBuf, to: PathBuf },
    /// Onto standard output: what is written is written.
    Output,
}

/// Fetches the newest version of `document` to `to` (`-` is standard output).
///
/// # Errors
/// Unreachable, a refusal, an output that cannot be written, or a digest that differs.
pub async fn fetch(gateways: &Gateways, document: &Document, to: &Path) -> Result<(), ExitError> {
    let mut sink = Sink::open(to).await?;
    let result = receive(gateways, document, &mut sink).await;
    sink.finish(result).await
}

async fn receive(gateways: &Gateways, document: &Document, sink: &mut Sink) -> Result<(), ExitError> {
    let path = format!("v1/documents/{}/content?version={}", document.id, document.version);
    let bar = bar(document.size, "fetching");
    let mut digest = Context::new(&SHA256);
    let mut received = 0_u64;
    let mut etag: Option<String> = None;
    let mut last = ExitError::unreachable("no gateway answered", "");
    let mut failures = 0;
    while failures < ATTEMPTS_MAX {
        let mut request = gateways.request(failures, Method::GET, &path)?;
        if received > 0 {
            request = request.header(header::RANGE, format!("bytes={received}-"));
            if let Some(etag) = &etag {
                request = request.header(header::IF_RANGE, etag);
            }
        }
        let answer = match tokio::time::timeout(SILENCE_MAX, request.send()).await {
            Ok(answer) => judge(answer).await,
            Err(_) => Attempt::Again(ExitError::unreachable("a gateway does not answer", ""), Duration::ZERO),
        };
        let mut answer = match answer {
            Attempt::Done(answer) => answer,
            Attempt::Stop(error) => return Err(error),
            Attempt::Again(error, wait) => {
                last = error;
                gateways.pause(failures, wait).await;
                failures += 1;
                continue;
            }
        };
        match place_of(&answer, received) {
            Some(0) if received > 0 => {
                sink.restart().await?;
                digest = Context::new(&SHA256);
                received = 0;
            }
            Some(at) if at == received => {}
            _ => return Err(ExitError::failed("the gateway sent another part than was asked for")),
        }
        etag = answer.headers().get(header::ETAG).and_then(|v| v.to_str().ok()).map(str::to_owned);
        bar.set_position(received);
        let before = received;
        let broken = loop {
            match tokio::time::timeout(SILENCE_MAX, answer.chunk()).await {
                Ok(Ok(Some(part))) => {
                    received = received.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
                    if received > document.size {
                        return Err(ExitError::failed("the gateway sent more bytes than the document has"));
                    }
                    digest.update(&part);
                    sink.write(&part).await?;
                    bar.set_position(received);
                }
                Ok(Ok(None)) if received == document.size => {
                    finish(&bar);
                    return compare(document, digest);
                }
                Ok(Ok(None)) => break "the connection was closed".to_owned(),
                Ok(Err(error)) => break cause(&error),
                Err(_) => break format!("no byte came for {} seconds", SILENCE_MAX.as_secs()),
            }
        };
        last = ExitError::unreachable(format!("the transfer broke off: {broken}"), "");
        // A transfer that gets on may break as often as it likes; one that does not is given up in the end.
        failures = if received > before { failures % 3 + 1 } else { failures + 1 };
        gateways.pause(failures, Duration::ZERO).await;
    }
    Err(last.or_advice("are the gateways running? KLUIS_GATEWAY takes several, separated by commas"))
}

fn compare(document: &Document, digest: Context) -> Result<(), ExitError> {
    let own = hex::encode(digest.finish().as_ref());
    if own.eq_ignore_ascii_case(&document.sha256) {
        return Ok(());
    }
    Err(ExitError::failed(format!("what came has sha256 {own}, document {} has {}", document.id, document.sha256)))
}

/// Where the bytes of an answer begin.
fn place_of(answer: &Response, asked: u64) -> Option<u64> {
    match answer.status() {
        StatusCode::OK => Some(0),
        StatusCode::PARTIAL_CONTENT => {
            let range = answer.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
            range_start(range).filter(|start| *start == asked)
        }
        _ => None,
    }
}

/// The first byte of a `Content-Range`.
fn range_start(text: &str) -> Option<u64> {
    text.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

impl Sink {
    async fn open(to: &Path) -> Result<Self, ExitError> {
        if to.as_os_str() == "-" {
            return Ok(Self::Output);
        }
        let name = to.file_name().ok_or_else(|| ExitError::usage(format!("{} is not the name of a file", to.display()), ""))?;
        let mut part = std::ffi::OsString::from(".");
        part.push(name);
        part.push(format!(".{}.part", std::process::id()));
        let part = to.with_file_name(part);
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&part).await.map_err(|e| ExitError::file("write", &part, &e))?;
        Ok(Self::File { file, part, to: to.to_owned() })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ExitError> {
        match self {
            Self::File { file, part, .. } => file.write_all(bytes).await.map_err(|e| ExitError::file("write", part, &e)),
            Self::Output => std::io::stdout().write_all(bytes).map_err(|e| ExitError::failed(format!("cannot write the output: {e}"))),
        }
    }

    /// Back to the beginning.
    async fn restart(&mut self) -> Result<(), ExitError> {
        match self {
            Self::File { file, part, .. } => {
                let failed = |e: std::io::Error| ExitError::file("write", part, &e);
                file.flush().await.map_err(failed)?;
                file.set_len(0).await.map_err(failed)?;
                file.seek(std::io::SeekFrom::Start(0)).await.map_err(failed)?;
                Ok(())
            }
            Self::Output => Err(ExitError::failed("the transfer broke off and cannot go on: a part is on standard output already")),
        }
    }

    async fn finish(self, result: Result<(), ExitError>) -> Result<(), ExitError> {
        match self {
            Self::Output => {
                result?;
                std::io::stdout().flush().map_err(|e| ExitError::failed(format!("cannot write the output: {e}")))
            }
            Self::File { mut file, part, to } => {
                let whole = async {
                    result?;
                    file.flush().await.map_err(|e| ExitError::file("write", &part, &e))?;
                    file.sync_all().await.map_err(|e| ExitError::file("write", &part, &e))?;
                    tokio::fs::rename(&part, &to).await.map_err(|e| ExitError::file("write", &to, &e))
                };
                let whole = whole.await;
                if whole.is_err() {
                    // The error that is reported is the first one.
                    let _ = tokio::fs::remove_file(&part).await;
                }
                whole
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_range_is_read_and_garbage_is_not() {
        assert_eq!(range_start("bytes 100-199/200"), Some(100));
        for bad in ["", "bytes */200", "bytes -5/9", "items 1-2/3", "bytes x-1/2"] {
            assert_eq!(range_start(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_file_appears_only_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("out");
        let mut sink = Sink::open(&to).await.unwrap();
        sink.write(b"half").await.unwrap();
        assert!(sink.finish(Err(ExitError::failed("lost"))).await.is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");

        let mut sink = Sink::open(&to).await.unwrap();
        sink.write(b"other").await.unwrap();
        sink.restart().await.unwrap();
        sink.write(b"whole").await.unwrap();
        sink.finish(Ok(())).await.unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
