//! Uploads and downloads, a fixed number at a time, for a bounded time.
//!
//! Owns: requests as a program would make them, their times. Not: what they cost the nodes.
//! Holds: (1) a step ends after its time or its bytes, and no request is cut off by that; (2) a refused
//! request is sent again as its answer asks, with the same key ([`crate::refusals`]); its time runs from the first
//! attempt to the success, waits included; what was refused and what was given up is counted, and only what
//! succeeded is in a rate; (3) content is random, so nothing compresses, and every download is read to its last
//! byte and its length is checked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::{
    cluster::{self, Cluster},
    refusals::{Patience, Refusal, Trouble},
};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Upload.
    Put,
    /// Download.
    Get,
}

impl Direction {
    /// As it stands in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
        }
    }
}

/// A document that was stored.
#[derive(Debug, Clone, Deserialize)]
pub struct Document {
    /// Its id.
    pub id: String,
    /// Its length in bytes.
    pub size: u64,
}

/// What a step did.
#[derive(Debug, Default)]
pub struct Done {
    /// Time of each request that succeeded, in no order.
    pub latencies: Vec<Duration>,
    /// Time of the whole step.
    pub elapsed: Duration,
    /// What was stored.
    pub documents: Vec<Document>,
    /// What was refused and given up.
    pub trouble: Trouble,
}

/// A person's program, over all gateways.
#[derive(Clone)]
pub struct Client {
    client: reqwest::Client,
    gateways: Arc<Vec<String>>,
    token: Arc<str>,
}

impl Client {
    /// Signs in.
    ///
    /// # Errors
    /// The sign-in fails.
    pub fn new(cluster: &Cluster, person: usize) -> Result<Self> {
        let client = cluster::client(cluster.ca_file())?;
        ensure!(!cluster.gateways().is_empty(), "the cluster has no gateway");
        Ok(Self { client, gateways: Arc::new(cluster.gateways().to_vec()), token: cluster.sign_in(person)?.into() })
    }

    fn gateway(&self, worker: usize) -> &str {
        // There is one at least: [`Client::new`].
        self.gateways.get(worker % self.gateways.len().max(1)).map_or("", String::as_str)
    }

    /// Uploads a document through the gateway of a worker, patiently; `None` when it was given up.
    pub async fn put(&self, worker: usize, key: &str, body: Bytes, trouble: &mut Trouble) -> Option<Document> {
        let mut patience = Patience::begin();
        loop {
            let refusal = match self.put_once(worker, key, body.clone()).await {
                Ok(document) => return Some(document),
                Err(refusal) => refusal,
            };
            if !patience.again(&refusal, trouble).await {
                return None;
            }
        }
    }

    async fn put_once(&self, worker: usize, key: &str, body: Bytes) -> Result<Document, Refusal> {
        let request = self.client.post(format!("{}/v1/documents", self.gateway(worker))).query(&[("name", key)]);
        let request = request.bearer_auth(&self.token).header("Idempotency-Key", key).header("Content-Type", "application/octet-stream");
        let answer = accepted(request.body(body).send().await).await?;
        let text = answer.bytes().await.map_err(|_| Refusal::no_answer())?;
        serde_json::from_slice(&text).map_err(|_| Refusal::wrong("the answer to an upload has another form"))
    }

    /// Downloads a document through the gateway of a worker, patiently; `false` when it was given up.
    pub async fn get(&self, worker: usize, document: &Document, trouble: &mut Trouble) -> bool {
        let mut patience = Patience::begin();
        loop {
            let refusal = match self.get_once(worker, document).await {
                Ok(()) => return true,
                Err(refusal) => refusal,
            };
            if !patience.again(&refusal, trouble).await {
                return false;
            }
        }
    }

    async fn get_once(&self, worker: usize, document: &Document) -> Result<(), Refusal> {
        let url = format!("{}/v1/documents/{}/content", self.gateway(worker), document.id);
        let mut answer = accepted(self.client.get(url).bearer_auth(&self.token).send().await).await?;
        let mut len = 0_u64;
        while let Some(part) = answer.chunk().await.map_err(|_| Refusal::no_answer())? {
            len += part.len() as u64;
        }
        if len == document.size { Ok(()) } else { Err(Refusal::wrong("a download had another length")) }
    }

    /// The first page of the vault's list, read whole; how many entries it has.
    ///
    /// # Errors
    /// It is refused.
    pub async fn list(&self, worker: usize, limit: usize) -> Result<usize> {
        let url = format!("{}/v1/documents", self.gateway(worker));
        let answer = self.client.get(url).query(&[("limit", limit)]).bearer_auth(&self.token).send().await?;
        ensure!(answer.status().is_success(), "a list was refused: {}", answer.status());
        let page: serde_json::Value = serde_json::from_slice(&answer.bytes().await?)?;
        page.get("documents").and_then(|documents| documents.as_array()).map(Vec::len).context("the list has another form")
    }

    /// The id of the person's vault.
    ///
    /// # Errors
    /// It is refused.
    pub async fn vault_id(&self) -> Result<String> {
        let answer = self.client.get(format!("{}/v1/me", self.gateway(0))).bearer_auth(&self.token).send().await?;
        ensure!(answer.status().is_success(), "who asks was refused: {}", answer.status());
        let me: serde_json::Value = serde_json::from_slice(&answer.bytes().await?)?;
        me.get("vault_id").and_then(|id| id.as_str()).map(str::to_owned).context("the answer about who asks has another form")
    }

    /// How many gateways there are.
    pub fn gateways(&self) -> usize {
        self.gateways.len()
    }
}

/// An answer, if it is not an error.
async fn accepted(answer: reqwest::Result<reqwest::Response>) -> Result<reqwest::Response, Refusal> {
    let Ok(answer) = answer else { return Err(Refusal::no_answer()) };
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let retry_after = answer.headers().get("Retry-After").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = answer.bytes().await.unwrap_or_default();
    Err(Refusal::of(status.as_u16(), retry_after.as_deref(), &body))
}

/// What the workers of a step share.
struct Step {
    begun: Instant,
    time: Duration,
    bytes_max: u64,
    bytes: AtomicU64,
    next: AtomicUsize,
}

impl Step {
    /// Whether one more request is begun, and its number if so. The first of each worker always is.
    fn take(&self, first: bool, size: usize) -> Option<usize> {
        let within = self.begun.elapsed() < self.time && self.bytes.load(Ordering::Relaxed) < self.bytes_max;
        if !first && !within {
            return None;
        }
        self.bytes.fetch_add(size as u64, Ordering::Relaxed);
        Some(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Runs a step: `concurrency` workers, each with one request at a time.
///
/// # Errors
/// There is nothing to download, or no randomness. Refusals are no error: they are in what is returned.
pub async fn run(
    client: &Client,
    direction: Direction,
    size: usize,
    concurrency: usize,
    documents: &[Document],
    time: Duration,
    bytes_max: u64,
) -> Result<Done> {
    let content = match direction {
        Direction::Put => random(size)?,
        Direction::Get => Bytes::new(),
    };
    let run_key: u64 = rand_u64()?;
    let documents: Arc<[Document]> = documents.into();
    ensure!(direction == Direction::Put || !documents.is_empty(), "there is nothing to download");
    let begun = Instant::now();
    let step = Arc::new(Step { begun, time, bytes_max, bytes: AtomicU64::new(0), next: AtomicUsize::new(0) });
    let mut workers = JoinSet::new();
    for worker in 0..concurrency {
        let (client, content, documents, step) = (client.clone(), content.clone(), documents.clone(), step.clone());
        workers.spawn(async move {
            let mut done = Done::default();
            let mut first = true;
            while let Some(number) = step.take(first, size) {
                first = false;
                let begun = Instant::now();
                let succeeded = match direction {
                    Direction::Put => {
                        let key = format!("bench-{run_key:016x}-{number}");
                        let document = client.put(worker, &key, content.clone(), &mut done.trouble).await;
                        let stored = document.is_some();
                        done.documents.extend(document);
                        stored
                    }
                    Direction::Get => {
                        let document = documents.get(number % documents.len().max(1)).context("no document")?;
                        client.get(worker, document, &mut done.trouble).await
                    }
                };
                if succeeded {
                    done.latencies.push(begun.elapsed());
                }
            }
            anyhow::Ok(done)
        });
    }
    let mut all = Done::default();
    while let Some(finished) = workers.join_next().await {
        let done = finished??;
        all.latencies.extend(done.latencies);
        all.documents.extend(done.documents);
        all.trouble.add(done.trouble);
    }
    all.elapsed = begun.elapsed();
    Ok(all)
}

/// Bytes that do not compress.
///
/// # Errors
/// The system gives no randomness.
pub fn random(len: usize) -> Result<Bytes> {
    let mut bytes = vec![0; len];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow!("no randomness"))?;
    Ok(bytes.into())
}

/// A random number.
///
/// # Errors
/// The system gives no randomness.
pub fn rand_u64() -> Result<u64> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow!("no randomness"))?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_ends_by_its_bytes_but_every_worker_has_one_request() {
        let step = Step {
            begun: Instant::now(),
            time: Duration::from_secs(3_600),
            bytes_max: 100,
            bytes: AtomicU64::new(0),
            next: AtomicUsize::new(0),
        };
        assert_eq!(step.take(true, 60), Some(0));
        assert_eq!(step.take(false, 60), Some(1));
        assert_eq!(step.take(false, 60), None);
        assert_eq!(step.take(true, 60), Some(2));
    }
}
