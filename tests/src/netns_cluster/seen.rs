//! What is seen of a cluster in namespaces, from the client's place.
//!
//! Owns: status, figures, and waiting for them. Not: the nodes ([`super`]).
//! Holds: a wait ends because a condition holds; its limit only ends a test that hangs.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use reqwest::Client;
use serde_json::Value;

use super::{LOOK_EVERY, NetnsCluster, json};
use crate::cluster::{Figures, PASS_DONE, client};

/// Completed passes of every node between two looks of [`NetnsCluster::wait_settled`].
const SETTLE_PASSES: usize = 3;
/// Limit of [`NetnsCluster::wait_settled`].
const SETTLE_LIMIT_SECS: u64 = 400;
/// What reconcile does, as metrics: all that changes while it has something to do.
const WORK: [&str; 4] = ["kluis_repair_shards_total", "kluis_collected_shards_total", "kluis_settled_blobs_total", "kluis_disk_shards"];

impl NetnsCluster {
    /// The whole cluster, as the client's operator sees it; null when nobody answers.
    pub fn status(&self) -> Value {
        json(&self.admin_at(&self.client, &["--output", "json", "status"]))
    }

    /// The nodes whose process lives, of those that were started.
    pub fn live_nodes(&self) -> Vec<u64> {
        let mut all = self.children.lock().unwrap();
        all.iter_mut().filter_map(|(id, child)| matches!(child.try_wait(), Ok(None)).then_some(*id)).collect()
    }

    /// Waits until a condition holds.
    ///
    /// # Panics
    /// With what was waited for when it does not within `secs` seconds.
    pub async fn wait_until(&self, what: &str, secs: u64, mut holds: impl AsyncFnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(secs);
        while !holds().await {
            assert!(Instant::now() < until, "still not so after {secs} s: {what}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until reconcile has nothing left to do on the live nodes: each completed passes that changed nothing and
    /// missed nothing, twice, for metrics are taken every other second. To be used within [`NetnsCluster::as_client`].
    pub async fn wait_settled(&self) {
        let client = client(&self.ca);
        let mut before = self.work_seen(&client).await;
        let mut quiet = 0;
        let until = Instant::now() + Duration::from_secs(SETTLE_LIMIT_SECS);
        while quiet < 2 {
            let passes: BTreeMap<u64, usize> = self.live_nodes().into_iter().map(|id| (id, self.passes(id))).collect();
            let done = async || passes.iter().all(|(id, passes)| self.passes(*id) >= passes + SETTLE_PASSES);
            self.wait_until("reconcile completes its passes", SETTLE_LIMIT_SECS, done).await;
            let now = self.work_seen(&client).await;
            quiet = if now.is_some() && now == before { quiet + 1 } else { 0 };
            assert!(Instant::now() < until, "reconcile does not come to rest: {before:?}, {now:?}");
            before = now;
        }
    }

    /// What reconcile did so far; `None` while shards are missing or a live node does not tell.
    async fn work_seen(&self, client: &Client) -> Option<Vec<f64>> {
        let live = self.live_nodes();
        let mut seen = vec![0.0; WORK.len()];
        for node in self.layout.nodes.iter().filter(|node| live.contains(&node.id.0)) {
            let asked = client.get(format!("https://{}/metrics", node.admin)).timeout(Duration::from_secs(5)).send().await;
            let text = asked.ok()?.error_for_status().ok()?.text().await.ok()?;
            let figures = Figures::parse(&text);
            if figures.sum("kluis_repair_backlog_shards") != 0.0 {
                return None;
            }
            for (sum, name) in seen.iter_mut().zip(WORK) {
                *sum += figures.sum(name);
            }
        }
        Some(seen)
    }

    /// Passes of reconcile that a node completed, over all its processes.
    fn passes(&self, id: u64) -> usize {
        let node = self.layout.nodes.iter().find(|node| node.id.0 == id);
        let log = node.map(|node| fs::read(node.log()).unwrap_or_default()).unwrap_or_default();
        String::from_utf8_lossy(&log).matches(PASS_DONE).count()
    }
}
