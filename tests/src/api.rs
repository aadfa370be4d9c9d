//! The documents of one person, over several gateways.
//!
//! Owns: repetition: another gateway after a lost connection, the same `Idempotency-Key` again. Not: what a
//! failure means for a test.
//! Holds: (1) a put that returns a document was answered 201 for exactly these bytes; (2) a get returns the
//! whole body or fails; (3) what a retry cannot mend (4xx, a full vault) is returned at once.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;

/// Limit of one attempt: a frozen gateway must not hold a caller for ever.
const ATTEMPT: Duration = Duration::from_secs(15);
/// Pause after every gateway was asked once.
const PAUSE: Duration = Duration::from_millis(200);

/// A document as the gateway shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Doc {
    /// Its id.
    pub id: String,
    /// Number of its newest version.
    pub version: u32,
    /// Its name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Bytes of the newest version.
    pub size: u64,
    /// SHA-256 of the newest version, hexadecimal.
    pub sha256: String,
    /// What `If-Match` takes.
    pub etag: String,
}

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The answer's status; `None` when there was no answer.
    pub status: Option<u16>,
    /// The problem's code, or `transport`.
    pub code: String,
    /// In words.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "{status} {}: {}", self.code, self.detail),
            None => write!(f, "{}: {}", self.code, self.detail),
        }
    }
}

impl Failure {
    fn transport(error: &reqwest::Error) -> Self {
        let mut detail = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            detail.push_str(&format!(": {error}"));
            cause = error.source();
        }
        Self { status: None, code: "transport".to_owned(), detail }
    }

    /// Whether the same request may succeed later, or elsewhere.
    fn is_passing(&self) -> bool {
        match self.status {
            None => true,
            Some(409) => matches!(self.code.as_str(), "request_in_flight" | "upload_busy"),
            Some(429) => true,
            Some(status) => status >= 500 && status != 507,
        }
    }
}

/// A person's documents.
#[derive(Debug, Clone)]
pub struct Api {
    client: Client,
    gateways: Vec<String>,
    token: String,
    patience: Duration,
    retries: bool,
    turn: Arc<AtomicUsize>,
}

impl Api {
    /// Over all gateways of a cluster.
    pub fn new(cluster: &Cluster, token: impl Into<String>) -> Self {
        let gateways = (0..cluster.gateway_count()).map(|site| cluster.gateway(site)).collect();
        Self::over(cluster.client(), gateways, token)
    }

    /// Over some gateways, by their addresses.
    pub fn over(client: Client, gateways: Vec<String>, token: impl Into<String>) -> Self {
        Self {
            client,
            gateways,
            token: token.into(),
            patience: Duration::from_secs(90),
            retries: true,
            turn: Arc::new(AtomicUsize::new(0)),
        }
    }

    /// The same person at one gateway only.
    #[must_use]
    pub fn at(&self, gateway: usize) -> Self {
        Self { gateways: vec![self.gateways[gateway].clone()], ..self.clone() }
    }

    /// Every call is one request: what comes back is the gateway's first answer.
    #[must_use]
    pub fn once(&self) -> Self {
        Self { retries: false, ..self.clone() }
    }

    /// Gives up after this time.
    #[must_use]
    pub fn patience(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// Stores a new document.
    ///
    /// # Errors
    /// A refusal, or what still failed when patience ended.
    pub async fn put(&self, name: &str, body: impl Into<Bytes>) -> Result<Doc, Failure> {
        let (body, key) = (body.into(), fresh_key());
        let send = |request: RequestBuilder| {
            request
                .query(&[("name", name)])
                .header("Idempotency-Key", &key)
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .body(body.clone())
        };
        decoded(&self.call(Method::POST, "/v1/documents", StatusCode::CREATED, &send).await?)
    }

    /// The content of a document's newest version.
    ///
    /// # Errors
    /// A refusal, or what still failed when patience ended.
    pub async fn get(&self, id: &str) -> Result<Vec<u8>, Failure> {
        let path = format!("/v1/documents/{id}/content");
        self.call(Method::GET, &path, StatusCode::OK, &|request| request).await.map(Vec::from)
    }

    /// A document.
    ///
    /// # Errors
    /// A refusal, or what still failed when patience ended.
    pub async fn read(&self, id: &str) -> Result<Doc, Failure> {
        let path = format!("/v1/documents/{id}");
        decoded(&self.call(Method::GET, &path, StatusCode::OK, &|request| request).await?)
    }

    /// Deletes a document, whatever its state. One whose deletion was answered and the answer lost counts as deleted.
    ///
    /// # Errors
    /// A refusal, or what still failed when patience ended.
    pub async fn delete(&self, id: &str) -> Result<(), Failure> {
        let path = format!("/v1/documents/{id}");
        let send = |request: RequestBuilder| request.header(header::IF_MATCH, "*");
        match self.call(Method::DELETE, &path, StatusCode::NO_CONTENT, &send).await {
            Err(failure) if failure.status == Some(404) && self.retries => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// All documents, newest first.
    ///
    /// # Errors
    /// A refusal, or what still failed when patience ended.
    pub async fn list(&self) -> Result<Vec<Doc>, Failure> {
        #[derive(Deserialize)]
        struct Page {
            documents: Vec<Doc>,
            next: Option<String>,
        }
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let query: Vec<(&str, &str)> = [("limit", "200")].into_iter().chain(cursor.as_deref().map(|c| ("cursor", c))).collect();
            let send = |request: RequestBuilder| request.query(&query);
            let page: Page = decoded(&self.call(Method::GET, "/v1/documents", StatusCode::OK, &send).await?)?;
            all.extend(page.documents);
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// The person, with the quota.
    ///
    /// # Errors
    /// A refusal, or what still failed when patience ended.
    pub async fn me(&self) -> Result<serde_json::Value, Failure> {
        decoded(&self.call(Method::GET, "/v1/me", StatusCode::OK, &|request| request).await?)
    }

    /// One request of this person to a gateway: for what the calls above do not do.
    pub fn request(&self, method: Method, gateway: usize, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.gateways[gateway % self.gateways.len()])).bearer_auth(&self.token)
    }

    /// The whole body of the wanted answer.
    async fn call(
        &self,
        method: Method,
        path: &str,
        wanted: StatusCode,
        send: &(dyn Fn(RequestBuilder) -> RequestBuilder + Sync),
    ) -> Result<Bytes, Failure> {
        let until = Instant::now() + self.patience;
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut attempt = 0_usize;
        loop {
            let request = self.request(method.clone(), start.wrapping_add(attempt), path).timeout(ATTEMPT);
            let failure = match send(request).send().await {
                Err(error) => Failure::transport(&error),
                Ok(answer) if answer.status() == wanted => match answer.bytes().await {
                    Ok(body) => return Ok(body),
                    Err(error) => Failure::transport(&error),
                },
                Ok(answer) => refusal(answer).await,
            };
            attempt += 1;
            if !self.retries || !failure.is_passing() || Instant::now() >= until {
                return Err(failure);
            }
            if attempt.is_multiple_of(self.gateways.len()) {
                sleep(PAUSE).await;
            }
        }
    }
}

fn decoded<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|e| Failure {
        status: None,
        code: "not_json".to_owned(),
        detail: format!("{e}: {}", body.escape_ascii()),
    })
}

/// What a gateway said instead.
async fn refusal(answer: Response) -> Failure {
    let status = answer.status().as_u16();
    let body = answer.bytes().await.unwrap_or_default();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    Failure { status: Some(status), code: text("code"), detail: text("detail") }
}

/// An `Idempotency-Key` that nobody used before.
pub fn fresh_key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    format!("test-{}-{since}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `len` bytes that follow from `seed` alone and do not compress (splitmix64).
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut out = Vec::with_capacity(len.next_multiple_of(8));
    while out.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate(len);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_follows_from_the_seed() {
        assert_eq!(content(7, 1000), content(7, 1000));
        assert_ne!(content(7, 1000), content(8, 1000));
        assert_eq!(content(7, 1000)[..13], content(7, 13));
        assert!(content(1, 0).is_empty());
    }

    #[test]
    fn what_a_retry_cannot_mend_is_known() {
        let failure = |status, code: &str| Failure { status, code: code.to_owned(), detail: String::new() };
        assert!(failure(None, "transport").is_passing());
        assert!(failure(Some(503), "no_quorum").is_passing());
        assert!(failure(Some(409), "request_in_flight").is_passing());
        for (status, code) in [(404, "not_found"), (507, "quota_exceeded"), (409, "conflict"), (422, "digest_mismatch")] {
            assert!(!failure(Some(status), code).is_passing(), "{code}");
        }
    }
}
