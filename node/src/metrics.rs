//! Metrics of disks, consensus, connections and reconcile, in the registry that the gateway's are in.
//!
//! Owns: names and meaning of these metrics. Not: the figures, which their owners count.
//! Holds: (1) names are an interface: a test pins them; (2) labels come from closed sets: disks, nodes and
//! sites of this cluster.

use std::sync::atomic::Ordering;

use kluis_chunkstore::{disk::DiskState, ids::SiteName};
use kluis_raft::consensus::ConsensusStatus;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::{peers::Peers, reconcile::ReconcileCounters};

/// Metrics of one node.
pub struct NodeMetrics {
    disk_used: IntGaugeVec,
    disk_capacity: IntGaugeVec,
    disk_state: IntGaugeVec,
    disk_shards: IntGaugeVec,
    disk_errors: IntCounterVec,
    disk_syncs: IntCounterVec,
    disk_sync_seconds: GaugeVec,
    has_leader: IntGauge,
    leader_changes: IntCounter,
    apply_lag: IntGauge,
    proposals: IntCounter,
    log_syncs: IntCounter,
    read_rounds: IntCounter,
    peer_rtt: GaugeVec,
    peer_bytes: IntGaugeVec,
    peer_bytes_total: IntCounterVec,
    peer_datagram: IntGaugeVec,
    repair_bytes: IntCounter,
    repair_shards: IntCounter,
    collected: IntCounter,
    settled: IntCounter,
    missing: IntGauge,
    certificate_expiry: IntGauge,
}

fn counter_to(counter: &IntCounter, value: u64) {
    counter.inc_by(value.saturating_sub(counter.get()));
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl NodeMetrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// A name is taken, which a test rules out.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = |name: &str, help: &str| Opts::new(name, help);
        macro_rules! made {
            ($metric:expr) => {{
                let metric = $metric?;
                registry.register(Box::new(metric.clone()))?;
                metric
            }};
        }
        Ok(Self {
            disk_used: made!(IntGaugeVec::new(opts("kluis_disk_used_bytes", "Bytes of segment files."), &["disk"])),
            disk_capacity: made!(IntGaugeVec::new(opts("kluis_disk_capacity_bytes", "Bytes of segment files and free space."), &["disk"])),
            disk_state: made!(IntGaugeVec::new(opts("kluis_disk_state", "1 for the state that the disk is in."), &["disk", "state"])),
            disk_shards: made!(IntGaugeVec::new(opts("kluis_disk_shards", "Shards on the disk."), &["disk"])),
            disk_errors: made!(IntCounterVec::new(
                opts("kluis_disk_io_errors_total", "Reads that failed or were found damaged."),
                &["disk"]
            )),
            disk_syncs: made!(IntCounterVec::new(opts("kluis_disk_fsync_total", "Syncs, each for a batch of shards."), &["disk"])),
            disk_sync_seconds: made!(GaugeVec::new(opts("kluis_disk_fsync_seconds_sum", "Seconds spent in syncs."), &["disk"])),
            has_leader: made!(IntGauge::new("kluis_raft_has_leader", "Whether this node knows a leader that is heard.")),
            leader_changes: made!(IntCounter::new("kluis_raft_leader_changes_total", "Changes of leader that this node saw.")),
            apply_lag: made!(IntGauge::new("kluis_raft_apply_lag_entries", "Entries committed and not yet applied here.")),
            proposals: made!(IntCounter::new("kluis_raft_proposals_total", "Commands proposed on this node.")),
            log_syncs: made!(IntCounter::new("kluis_raft_log_fsync_total", "Syncs of the metadata log.")),
            read_rounds: made!(IntCounter::new("kluis_raft_read_rounds_total", "Rounds that confirmed linearizable reads.")),
            peer_rtt: made!(GaugeVec::new(opts("kluis_peer_rtt_seconds", "Round trip to a connected node."), &["node", "site"])),
            peer_bytes: made!(IntGaugeVec::new(
                opts("kluis_peer_connection_bytes", "Bytes over UDP on the present connection."),
                &["node", "direction"]
            )),
            peer_bytes_total: made!(IntCounterVec::new(
                opts("kluis_peer_bytes_total", "Bytes over UDP on all connections with a node."),
                &["node", "site", "direction"]
            )),
            peer_datagram: made!(IntGaugeVec::new(opts("kluis_peer_datagram_bytes", "Datagram size in use."), &["node"])),
            repair_bytes: made!(IntCounter::new("kluis_repair_bytes_total", "Bytes of shards made anew.")),
            repair_shards: made!(IntCounter::new("kluis_repair_shards_total", "Shards made anew.")),
            collected: made!(IntCounter::new("kluis_collected_shards_total", "Unwanted shards deleted.")),
            settled: made!(IntCounter::new("kluis_settled_blobs_total", "Blobs confirmed to be whole at home.")),
            missing: made!(IntGauge::new("kluis_repair_backlog_shards", "Shards that belong on this node's disks and are not there yet.")),
            certificate_expiry: made!(IntGauge::new(
                "kluis_tls_certificate_expiry_timestamp_seconds",
                "When this node's certificate ends."
            )),
        })
    }

    /// Takes over the figures of the moment.
    pub fn update(
        &self,
        peers: &Peers,
        hub: &kluis_chunkstore::net::Hub,
        status: &ConsensusStatus,
        reconcile: &ReconcileCounters,
        certificate_expiry: i64,
    ) {
        for disk in peers.disks.all() {
            let (id, usage) = (disk.label().disk.to_string(), disk.usage());
            let labels = &[id.as_str()];
            self.disk_used.with_label_values(labels).set(gauge(usage.segment_bytes));
            self.disk_capacity.with_label_values(labels).set(gauge(usage.segment_bytes.saturating_add(usage.fs_free_bytes)));
            self.disk_shards.with_label_values(labels).set(gauge(usage.shards));
            counter_to(&self.disk_errors.with_label_values(labels), usage.read_errors.saturating_add(usage.corrupt));
            counter_to(&self.disk_syncs.with_label_values(labels), usage.syncs);
            self.disk_sync_seconds.with_label_values(labels).set(usage.sync_seconds_sum);
            let state = match disk.state() {
                DiskState::Active => "active",
                DiskState::Full => "full",
                DiskState::ReadOnly => "read_only",
                DiskState::Failed { .. } => "failed",
            };
            for name in ["active", "full", "read_only", "failed"] {
                self.disk_state.with_label_values(&[id.as_str(), name]).set(i64::from(name == state));
            }
        }
        if let Some(consensus) = peers.consensus.get() {
            let counters = consensus.counters();
            counter_to(&self.leader_changes, counters.leader_changes.load(Ordering::Relaxed));
            counter_to(&self.proposals, counters.proposals.load(Ordering::Relaxed));
            counter_to(&self.log_syncs, counters.log_syncs.load(Ordering::Relaxed));
            counter_to(&self.read_rounds, counters.read_rounds.load(Ordering::Relaxed));
        }
        self.has_leader.set(i64::from(status.quorum_ok));
        self.apply_lag.set(gauge(status.committed.saturating_sub(status.applied)));
        let members = peers.directory.members();
        for (node, peer) in hub.connected() {
            let id = node.to_string();
            let site = members.iter().find(|m| m.id == node).map_or("", |m| SiteName::as_str(&m.site));
            self.peer_rtt.with_label_values(&[id.as_str(), site]).set(peer.rtt.as_secs_f64());
            self.peer_bytes.with_label_values(&[id.as_str(), "sent"]).set(gauge(peer.sent_bytes));
            self.peer_bytes.with_label_values(&[id.as_str(), "received"]).set(gauge(peer.received_bytes));
            self.peer_datagram.with_label_values(&[id.as_str()]).set(i64::from(peer.datagram_bytes));
        }
        for (node, traffic) in hub.traffic() {
            // A counter's labels never change: it begins once the node's site is known.
            let Some(member) = members.iter().find(|m| m.id == node) else { continue };
            let (id, site) = (node.to_string(), SiteName::as_str(&member.site));
            counter_to(&self.peer_bytes_total.with_label_values(&[id.as_str(), site, "sent"]), traffic.sent_bytes);
            counter_to(&self.peer_bytes_total.with_label_values(&[id.as_str(), site, "received"]), traffic.received_bytes);
        }
        counter_to(&self.repair_bytes, reconcile.rebuilt_bytes.load(Ordering::Relaxed));
        counter_to(&self.repair_shards, reconcile.rebuilt.load(Ordering::Relaxed));
        counter_to(&self.collected, reconcile.collected.load(Ordering::Relaxed));
        counter_to(&self.settled, reconcile.settled.load(Ordering::Relaxed));
        self.missing.set(gauge(reconcile.missing.load(Ordering::Relaxed)));
        self.certificate_expiry.set(certificate_expiry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A renamed metric breaks alerts and boards of others: change this list only by adding.
    #[test]
    fn names_are_pinned_and_fit_beside_the_gateways() {
        let telemetry = kluis_gateway::telemetry::Telemetry::new("0", "0").unwrap();
        let metrics = NodeMetrics::register(&telemetry.registry).unwrap();
        metrics.disk_used.with_label_values(&["d"]).set(1);
        metrics.peer_rtt.with_label_values(&["n1", "dc1"]).set(0.5);
        metrics.peer_bytes_total.with_label_values(&["n1", "dc1", "sent"]).inc_by(1);
        let text = String::from_utf8(telemetry.render().unwrap()).unwrap();
        for name in [
            "kluis_disk_used_bytes",
            "kluis_raft_has_leader",
            "kluis_peer_rtt_seconds",
            "kluis_peer_bytes_total",
            "kluis_repair_bytes_total",
            "kluis_raft_apply_lag_entries",
            "kluis_tls_certificate_expiry_timestamp_seconds",
        ] {
            assert!(text.contains(&format!("\n{name}")), "{name} is missing");
        }
    }
}
