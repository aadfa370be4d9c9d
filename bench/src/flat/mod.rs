//! Whether an operation costs the same with a thousand documents in a vault and with a million.
//!
//! A cluster of three processes; one vault grows step by step. At each size: uploads and downloads of 4 KiB and the
//! first page of the list, one at a time; how long a node takes from its start until it is ready; memory of the
//! largest node; bytes of its metadata on the disk. Up to [`UPLOADED_MAX`] documents are uploaded; above that,
//! metadata of empty documents is proposed directly to the group ([`direct`]), and the figures say how many.
//!
//! Owns: the course and what is looked at. Not: how metadata is written. Holds: (1) what is downloaded was uploaded;
//! (2) the list is of the vault that grows.

mod direct;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use kluis_node::{
    demo::{layout::Layout, record},
    member,
};
use serde::Serialize;

use crate::{
    cluster::{Cluster, Shape},
    load::{self, Client, Direction, Document, Done},
    plan::{Plan, SHAPES},
    refusals::Trouble,
    stats::Latency,
};

/// Documents up to this many are uploaded.
pub const UPLOADED_MAX: usize = 1_000;
const DOCUMENT_BYTES: usize = 4 << 10;
const UPLOADS_AT_ONCE: usize = 16;
/// Requests of each kind at each size.
const SAMPLES: usize = 100;
/// Entries of a page.
const PAGE: usize = 50;
/// The node that is started again, and that writes metadata while it runs in this process.
const NODE: &str = "n3";
/// Attempts at starting it: the database of the replica before may still be closing.
const STARTS_MAX: usize = 20;
const START_PAUSE: Duration = Duration::from_millis(500);

/// What one size of the vault costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Documents in the vault.
    pub documents: usize,
    /// Of which metadata was written directly.
    pub written_directly: usize,
    /// Times of an upload of 4 KiB.
    pub upload: Latency,
    /// Times of a download of 4 KiB.
    pub download: Latency,
    /// Times of the first page of the list.
    pub list: Latency,
    /// From the start of a node until it is ready, in seconds.
    pub start_seconds: f64,
    /// Memory of the largest node, in bytes.
    pub memory_bytes: u64,
    /// Bytes of metadata on a node's disk, log and all.
    pub metadata_bytes: u64,
    /// What was refused and given up.
    pub trouble: Trouble,
}

/// Runs it; each row goes to `rows` as soon as it is there.
///
/// # Errors
/// The cluster fails.
pub async fn measure(binary: &Path, dir: &Path, plan: &Plan, rows: &mut Vec<Row>) -> Result<()> {
    let [_, shape] = SHAPES;
    eprintln!("starting {} nodes with a vault that grows", shape.nodes());
    let mut cluster = Cluster::start(binary, dir, shape)?;
    let metadata_dir = metadata_dir(dir, shape)?;
    let mut uploaded: Vec<Document> = Vec::new();
    let mut written_directly = 0;
    for &documents in &plan.documents {
        eprintln!("  {documents} documents");
        let mut trouble = Trouble::default();
        let client = Client::new(&cluster, 0)?;
        let missing = documents.min(UPLOADED_MAX).saturating_sub(uploaded.len());
        if missing > 0 {
            let done = upload(&client, missing).await?;
            uploaded.extend(done.documents);
            trouble.add(done.trouble);
        }
        let vault = client.vault_id().await?;
        cluster.stop_node(NODE).await?;
        let missing = documents.saturating_sub(uploaded.len() + written_directly);
        if missing > 0 {
            direct::write(cluster.dir(), NODE, &vault, missing).await?;
            written_directly += missing;
        }
        let start = start_patiently(&mut cluster).await?;

        // Connections to the process before are gone.
        let client = Client::new(&cluster, 0)?;
        let (upload, new) = uploads(&client, &mut trouble).await?;
        uploaded.extend(new);
        rows.push(Row {
            documents: uploaded.len() + written_directly,
            written_directly,
            upload,
            download: downloads(&client, &uploaded, &mut trouble).await,
            list: lists(&client).await?,
            start_seconds: start.as_secs_f64(),
            memory_bytes: cluster.resident_memory_bytes()?,
            metadata_bytes: bytes_in(&metadata_dir)?,
            trouble,
        });
    }
    cluster.stop()
}

/// Uploads `count` documents, or as many more as are under way when that many are there.
async fn upload(client: &Client, count: usize) -> Result<Done> {
    let bytes = (count * DOCUMENT_BYTES) as u64;
    let time = Duration::from_secs(3_600);
    load::run(client, Direction::Put, DOCUMENT_BYTES, UPLOADS_AT_ONCE, &[], time, bytes).await
}

async fn uploads(client: &Client, trouble: &mut Trouble) -> Result<(Latency, Vec<Document>)> {
    let content = load::random(DOCUMENT_BYTES)?;
    let (mut times, mut documents) = (Vec::new(), Vec::new());
    for number in 0..SAMPLES {
        let key = format!("flat-{:016x}", load::rand_u64()?);
        let begun = Instant::now();
        if let Some(document) = client.put(number, &key, content.clone(), trouble).await {
            documents.push(document);
            times.push(begun.elapsed());
        }
    }
    Ok((Latency::of(times), documents))
}

async fn downloads(client: &Client, documents: &[Document], trouble: &mut Trouble) -> Latency {
    let mut times = Vec::new();
    // Spread over all that was uploaded, old and new.
    let step = (documents.len() / SAMPLES).max(1);
    for (number, document) in documents.iter().step_by(step).take(SAMPLES).enumerate() {
        let begun = Instant::now();
        if client.get(number, document, trouble).await {
            times.push(begun.elapsed());
        }
    }
    Latency::of(times)
}

async fn lists(client: &Client) -> Result<Latency> {
    let mut times = Vec::new();
    for number in 0..SAMPLES {
        let begun = Instant::now();
        let entries = client.list(number, PAGE).await?;
        times.push(begun.elapsed());
        ensure!(entries == PAGE, "the first page has {entries} entries of {PAGE}");
    }
    Ok(Latency::of(times))
}

/// Starts the node; returns the time that the successful start took until the node was ready.
async fn start_patiently(cluster: &mut Cluster) -> Result<Duration> {
    for _ in 1..STARTS_MAX {
        if let Ok(time) = cluster.start_node(NODE).await {
            return Ok(time);
        }
        tokio::time::sleep(START_PAUSE).await;
    }
    cluster.start_node(NODE).await
}

/// Where the metadata of the first node lies.
fn metadata_dir(dir: &Path, shape: Shape) -> Result<std::path::PathBuf> {
    let settings = record::settings(dir)?.context("the demo has no settings")?;
    let layout = Layout::new(dir, settings)?;
    ensure!(layout.nodes.len() == usize::from(shape.nodes()), "the demo has another shape");
    Ok(member::metadata_dir(&layout.nodes.first().context("the demo has no node")?.dir))
}

/// Bytes that the files below a directory take on the disk. Files that go meanwhile count nothing.
fn bytes_in(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                // stat(2): blocks are of 512 bytes, whatever the file system's are.
                Ok(metadata) => sum += metadata.blocks() * 512,
                Err(_) => {}
            }
        }
    }
    Ok(sum)
}

/// What grows from the first row to the last, and why.
pub fn explained(rows: &[Row]) -> Vec<String> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Vec::new() };
    let more = last.documents.saturating_sub(first.documents).max(1) as f64;
    let per_document = |from: u64, to: u64| (to as f64 - from as f64) / more;
    vec![
        format!(
            "metadata on the disk: {:.0} bytes for each more document (its record, its version and its blob, log and answers of lately \
             included; RocksDB compacts later)",
            per_document(first.metadata_bytes, last.metadata_bytes)
        ),
        format!(
            "memory of a node: {:.1} bytes for each more document (write buffers and block cache of RocksDB fill up to their bounds; the \
             index of shards grows only by what was uploaded)",
            per_document(first.memory_bytes, last.memory_bytes)
        ),
        format!(
            "start of a node: {:.1} s and {:.1} s (opening RocksDB, replaying its log, connecting, hearing a leader; the index of shards is \
             read from its checkpoint)",
            first.start_seconds, last.start_seconds
        ),
        "upload, download and list read and write a bounded number of keys: by id, or a page from a cursor".to_owned(),
    ]
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A row of a vault with so many documents.
    pub fn row(documents: usize) -> Row {
        let latency = Latency::new(5.0, 9.0, 12.0);
        Row {
            documents,
            written_directly: documents.saturating_sub(UPLOADED_MAX),
            upload: latency,
            download: latency,
            list: latency,
            start_seconds: 1.5,
            memory_bytes: 100 << 20,
            metadata_bytes: 700 * documents as u64,
            trouble: Trouble::default(),
        }
    }

    #[test]
    fn growth_is_told_for_each_document() {
        let told = explained(&[row(1_000), row(10_000), row(1_000_000)]);
        assert!(told.iter().any(|line| line.contains(": 700 bytes for each")), "{told:?}");
        assert!(told.iter().any(|line| line.contains(": 0.0 bytes for each")), "{told:?}");
        assert!(explained(&[]).is_empty());
        assert!(explained(&[row(5)])[0].contains(": 0 bytes"));
    }
}
