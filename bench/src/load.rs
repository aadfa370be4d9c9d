//! Uploads and downloads, a fixed number at a time, for a bounded time.
//!
//! Owns: requests as a program would make them, their times. Not: what they cost the nodes.
//! Holds: (1) a step ends after its time or its bytes, and no request is cut off by that; (2) a failed
//! request fails the run: a rate that hides failures is none; (3) content is random, so nothing compresses,
//! and every download is read to its last byte and its length is checked.

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

use crate::cluster::{self, Cluster};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Upload.
    Put,
    /// Download.
    Get,
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
    /// Time of each request, in no order.
    pub latencies: Vec<Duration>,
    /// Time of the whole step.
    pub elapsed: Duration,
    /// What was stored.
    pub documents: Vec<Document>,
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

    fn gateway(&self, worker: usize) -> Result<&str> {
        self.gateways.get(worker % self.gateways.len().max(1)).map(String::as_str).context("no gateway")
    }

    /// Uploads a document through the gateway of a worker.
    ///
    /// # Errors
    /// It is refused.
    pub async fn put(&self, worker: usize, key: &str, body: Bytes) -> Result<Document> {
        let request = self.client.post(format!("{}/v1/documents", self.gateway(worker)?)).query(&[("name", key)]);
        let request = request.bearer_auth(&self.token).header("Idempotency-Key", key).header("Content-Type", "application/octet-stream");
        let answer = request.body(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "an upload was refused: {status} {text}");
        serde_json::from_str(&text).context("the answer to an upload has another form")
    }

    /// Downloads a document through the gateway of a worker.
    ///
    /// # Errors
    /// It is refused or cut short.
    pub async fn get(&self, worker: usize, document: &Document) -> Result<()> {
        let url = format!("{}/v1/documents/{}/content", self.gateway(worker)?, document.id);
        let mut answer = self.client.get(url).bearer_auth(&self.token).send().await?;
        ensure!(answer.status().is_success(), "a download was refused: {}", answer.status());
        let mut len = 0_u64;
        while let Some(part) = answer.chunk().await? {
            len += part.len() as u64;
        }
        ensure!(len == document.size, "a download had {len} of {} bytes", document.size);
        Ok(())
    }

    /// The first page of the vault's list, read whole; how many entries it has.
    ///
    /// # Errors
    /// It is refused.
    pub async fn list(&self, worker: usize, limit: usize) -> Result<usize> {
        let url = format!("{}/v1/documents", self.gateway(worker)?);
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
        let answer = self.client.get(format!("{}/v1/me", self.gateway(0)?)).bearer_auth(&self.token).send().await?;
        ensure!(answer.status().is_success(), "who asks was refused: {}", answer.status());
        let me: serde_json::Value = serde_json::from_slice(&answer.bytes().await?)?;
        me.get("vault_id").and_then(|id| id.as_str()).map(str::to_owned).context("the answer about who asks has another form")
    }

    /// How many gateways there are.
    pub fn gateways(&self) -> usize {
        self.gateways.len()
    }
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
/// A request failed.
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
            while let Some(number) = step.take(done.latencies.is_empty(), size) {
                let begun = Instant::now();
                match direction {
                    Direction::Put => {
                        done.documents.push(client.put(worker, &format!("bench-{run_key:016x}-{number}"), content.clone()).await?)
                    }
                    Direction::Get => {
                        let document = documents.get(number % documents.len().max(1)).context("no document")?;
                        client.get(worker, document).await?;
                    }
                }
                done.latencies.push(begun.elapsed());
            }
            anyhow::Ok(done)
        });
    }
    let mut all = Done::default();
    while let Some(finished) = workers.join_next().await {
        let done = finished??;
        all.latencies.extend(done.latencies);
        all.documents.extend(done.documents);
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
