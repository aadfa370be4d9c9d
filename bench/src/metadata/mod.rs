//! Commits a second: of the metadata group and, in the same run on the same disk, of etcd.
//!
//! Ours are groups of three and of nine replicas in this process: the product's own consensus, RocksDB with a sync
//! for each batch, QUIC with mutual TLS between them. Clients propose a small command (a join token of some 100
//! bytes: a record, its expiry and the answer that a retry would have), spread over all replicas. etcd is three
//! processes of the Debian package, plain HTTP between them and to their clients, which put 100 bytes under a new
//! key, spread over all members. So ours pays for encryption and not for a client's connection, etcd the other way
//! round; both sync before they answer.
//!
//! Reading order: this file (clients and figures), [`group`] (ours), [`etcd`].
//!
//! Owns: the clients. Not: what a commit is. Holds: (1) a commit that fails ends this part, and the rows before it
//! stay; (2) where etcd is not installed the row says so.

pub mod etcd;
pub mod group;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;
use tokio::{sync::Barrier, task::JoinSet};

use crate::{
    plan::{METADATA_CLIENTS, Plan},
    proc::own_cpu_seconds,
    stats::{Latency, per_second},
};
use etcd::Etcd;
use group::Group;

/// Sizes of our group: a voter a site, and three a site.
const GROUPS: [u64; 2] = [3, 9];

/// What a number of clients reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// Commits.
    pub commits: u64,
    /// Commits a second.
    pub commits_per_second: f64,
    /// Times of a commit.
    pub latency: Latency,
    /// Processor time of members and clients for a commit, in milliseconds.
    pub cpu_ms_per_commit: f64,
}

/// One system with a number of clients.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Which system.
    pub system: String,
    /// Clients, each with one commit at a time.
    pub clients: usize,
    /// What they reached; `None` when the system is not there.
    pub figures: Option<Figures>,
    /// What to know about it.
    pub note: String,
}

/// Measures all of them, one after the other; each row goes to `rows` as soon as it is there.
///
/// # Errors
/// A group does not come up, or a commit fails.
pub async fn measure(dir: &Path, plan: &Plan, rows: &mut Vec<Row>) -> Result<()> {
    for count in GROUPS {
        eprintln!("starting a metadata group of {count}");
        let group = Group::start(&dir.join(format!("group-{count}")), count).await?;
        for clients in METADATA_CLIENTS {
            let replicas = group.replicas();
            let commit = move |client: usize| {
                let replicas = replicas.clone();
                async move { group::commit(&replicas, client).await }
            };
            let (latencies, elapsed, cpu) = run(clients, plan.step, commit, || anyhow::Ok(own_cpu_seconds())).await?;
            let note = "replicas and clients in one process".to_owned();
            rows.push(Row { system: format!("kluis, {count} voters"), clients, figures: Some(figures(latencies, elapsed, cpu)), note });
        }
        group.stop().await;
    }
    let Some(program) = etcd::find() else {
        let note = "not installed: Debian package etcd-server".to_owned();
        rows.extend(METADATA_CLIENTS.map(|clients| Row { system: "etcd".to_owned(), clients, figures: None, note: note.clone() }));
        return Ok(());
    };
    eprintln!("starting three members of etcd");
    let etcd = Arc::new(Etcd::start(&program, &dir.join("etcd")).await?);
    for clients in METADATA_CLIENTS {
        let asked = etcd.clone();
        let commit = move |client: usize| {
            let etcd = asked.clone();
            async move { etcd.put(client).await }
        };
        let cpu = || anyhow::Ok(etcd.cpu_seconds()? + own_cpu_seconds());
        let (latencies, elapsed, cpu) = run(clients, plan.step, commit, cpu).await?;
        let system = format!("{}, 3 members", etcd.version());
        rows.push(Row { system, clients, figures: Some(figures(latencies, elapsed, cpu)), note: "members are processes".to_owned() });
    }
    Ok(())
}

fn figures(latencies: Vec<Duration>, elapsed: Duration, cpu_seconds: f64) -> Figures {
    let commits = latencies.len() as u64;
    Figures {
        commits,
        commits_per_second: per_second(commits as f64, elapsed),
        latency: Latency::of(latencies),
        cpu_ms_per_commit: if commits == 0 { 0.0 } else { cpu_seconds * 1e3 / commits as f64 },
    }
}

/// `clients` at a time commit for `time`, after one commit each that does not count. Gives each commit's time, the
/// time of all, and the processor time in it.
async fn run<C, F>(
    clients: usize,
    time: Duration,
    commit: C,
    cpu_seconds: impl Fn() -> Result<f64>,
) -> Result<(Vec<Duration>, Duration, f64)>
where
    C: Fn(usize) -> F + Clone + Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let warm = Arc::new(Barrier::new(clients + 1));
    let mut workers = JoinSet::new();
    for client in 0..clients {
        let (commit, warm) = (commit.clone(), warm.clone());
        workers.spawn(async move {
            let first = commit(client).await;
            // Also after a failure: the others wait for all.
            warm.wait().await;
            first?;
            let all = Instant::now();
            let mut latencies = Vec::new();
            while latencies.is_empty() || all.elapsed() < time {
                let begun = Instant::now();
                commit(client).await?;
                latencies.push(begun.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    warm.wait().await;
    let (begun, cpu) = (Instant::now(), cpu_seconds()?);
    let mut latencies = Vec::new();
    while let Some(finished) = workers.join_next().await {
        latencies.extend(finished??);
    }
    Ok((latencies, begun.elapsed(), cpu_seconds()? - cpu))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use anyhow::bail;

    use super::*;

    #[tokio::test]
    async fn every_client_commits_and_the_first_of_each_does_not_count() {
        let seen = Arc::new(AtomicUsize::new(0));
        let counted = seen.clone();
        let commit = move |_client: usize| {
            let seen = counted.clone();
            async move {
                seen.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        };
        let (latencies, _, cpu) = run(3, Duration::ZERO, commit, || Ok(1.0)).await.unwrap();
        assert_eq!((latencies.len(), seen.load(Ordering::SeqCst), cpu), (3, 6, 0.0));
        let told = figures(latencies, Duration::from_secs(2), 0.006);
        assert_eq!((told.commits, told.commits_per_second, told.cpu_ms_per_commit), (3, 1.5, 2.0));
    }

    #[tokio::test]
    async fn a_commit_that_fails_fails_the_run() {
        let commit = |client: usize| async move { if client == 1 { bail!("no quorum") } else { Ok(()) } };
        assert!(run(3, Duration::ZERO, commit, || Ok(0.0)).await.is_err());
    }
}
