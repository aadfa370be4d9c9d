//! Commands about the cluster itself: beginning, joining, disks, topology.

use std::net::SocketAddr;

use kluis_chunkstore::{
    code::Code,
    ids::{ClusterId, NodeId, SiteName, StorageId},
    topology::Topology,
};

use super::{cluster, due, refused};
use crate::{
    codec,
    command::{NewDisk, NewNode},
    keys,
    model::{ClusterRecord, DiskRecord, DiskState, JoinToken, NodeRecord, NodeRole, Sealed, TimeMs, TokenHash},
    outcome::{Outcome, Refusal},
    store::{StoreError, Transaction},
    view,
};

/// Longest life of a join token.
pub const TOKEN_LIFETIME_MAX_MS: u64 = 24 * 3600 * 1000;
/// Most disks of one node.
pub const DISKS_A_NODE_MAX: usize = 256;

/// What a new cluster is told about itself.
pub(super) struct Settings {
    pub(super) id: ClusterId,
    pub(super) name: String,
    pub(super) code: Code,
    pub(super) small_max_bytes: u32,
    pub(super) chunk_bytes: u32,
    pub(super) quota_bytes: u64,
}

pub(super) fn init(tx: &mut Transaction<'_>, now: TimeMs, settings: Settings, node: &NewNode) -> Result<Outcome, StoreError> {
    if cluster(tx)?.is_some() {
        return refused(Refusal::AlreadyInitialised);
    }
    if !(4096..=4 << 20).contains(&settings.chunk_bytes) || settings.small_max_bytes > settings.chunk_bytes {
        return refused(Refusal::Invalid("a chunk has 4 KiB to 4 MiB, and a small document fits one".into()));
    }
    let record = ClusterRecord {
        id: settings.id,
        name: settings.name,
        code: settings.code,
        small_max_bytes: settings.small_max_bytes,
        chunk_bytes: settings.chunk_bytes,
        quota_bytes: settings.quota_bytes,
        lookup_key: None,
        next_node: 1,
        clock_ms: now,
    };
    add_node(tx, now, record, node, &node.roles)
}

fn add_node(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    mut record: ClusterRecord,
    new: &NewNode,
    roles: &[NodeRole],
) -> Result<Outcome, StoreError> {
    let node = NodeId(record.next_node);
    record.next_node += 1;
    tx.store(keys::cluster(), &record)?;
    let stored = NodeRecord {
        id: node,
        site: new.site.clone(),
        roles: roles.to_vec(),
        storage: new.storage,
        quic: new.quic,
        admin: new.admin,
        gateway: new.gateway.filter(|_| roles.contains(&NodeRole::Gateway)),
        joined_ms: now,
    };
    tx.store(keys::node(node), &stored)?;
    Ok(Outcome::NodeAdded { node })
}

pub(super) fn create_token(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    hash: TokenHash,
    site: &SiteName,
    roles: &[NodeRole],
    lifetime_ms: u64,
) -> Result<Outcome, StoreError> {
    if roles.is_empty() {
        return refused(Refusal::Invalid("a node needs at least one role".into()));
    }
    let mut roles = roles.to_vec();
    roles.sort_unstable();
    roles.dedup();
    let expires_ms = now.saturating_add(lifetime_ms.min(TOKEN_LIFETIME_MAX_MS));
    let token = JoinToken { hash, site: site.clone(), roles, expires_ms, used_by: None };
    let key = keys::token(&hash);
    tx.store(key.clone(), &token)?;
    due::schedule(tx, expires_ms, &key);
    Ok(Outcome::TokenCreated(token))
}

pub(super) fn redeem_token(tx: &mut Transaction<'_>, now: TimeMs, hash: TokenHash, node: &NewNode) -> Result<Outcome, StoreError> {
    let key = keys::token(&hash);
    let Some(mut token) = codec::load::<JoinToken>(tx, &key)? else { return refused(Refusal::TokenUnknown) };
    if token.used_by.is_some() {
        return refused(Refusal::TokenUnknown);
    }
    if token.expires_ms <= now {
        return refused(Refusal::TokenExpired);
    }
    if token.site != node.site {
        return refused(Refusal::TokenSite { wanted: token.site.to_string() });
    }
    let Some(record) = cluster(tx)? else { return refused(Refusal::NotInitialised) };
    token.used_by = Some(NodeId(record.next_node));
    tx.store(key, &token)?;
    add_node(tx, now, record, node, &token.roles)
}

pub(super) fn update_node(
    tx: &mut Transaction<'_>,
    node: NodeId,
    storage: StorageId,
    quic: SocketAddr,
    admin: SocketAddr,
    gateway: Option<SocketAddr>,
) -> Result<Outcome, StoreError> {
    let key = keys::node(node);
    let Some(mut record) = codec::load::<NodeRecord>(tx, &key)? else { return refused(Refusal::NodeUnknown(node)) };
    if record.storage != storage {
        return refused(Refusal::StorageMismatch(node));
    }
    record.quic = quic;
    record.admin = admin;
    record.gateway = gateway.filter(|_| record.roles.contains(&NodeRole::Gateway));
    tx.store(key, &record)?;
    Ok(Outcome::Done)
}

pub(super) fn add_disks(tx: &mut Transaction<'_>, node: NodeId, disks: &[NewDisk]) -> Result<Outcome, StoreError> {
    if disks.len() > DISKS_A_NODE_MAX {
        return refused(Refusal::Invalid(format!("a node has at most {DISKS_A_NODE_MAX} disks")));
    }
    if codec::load::<NodeRecord>(tx, &keys::node(node))?.is_none() {
        return refused(Refusal::NodeUnknown(node));
    }
    for disk in disks {
        let key = keys::disk(disk.id);
        match codec::load::<DiskRecord>(tx, &key)? {
            Some(known) if known.node != node => return refused(Refusal::DiskTaken(disk.id.to_string())),
            Some(_) => {}
            None => {
                let record = DiskRecord { id: disk.id, node, weight: disk.weight.max(1), state: DiskState::Candidate };
                tx.store(key, &record)?;
            }
        }
    }
    Ok(Outcome::Done)
}

pub(super) fn apply_topology(tx: &mut Transaction<'_>, expected_version: u64, topology: &Topology) -> Result<Outcome, StoreError> {
    let current = view::topology(tx)?.map_or(0, |t| t.version());
    if current != expected_version || topology.version() != expected_version + 1 {
        return refused(Refusal::Topology(format!(
            "the plan was made against version {expected_version}, in force is {current}; plan again"
        )));
    }
    let Some(record) = cluster(tx)? else { return refused(Refusal::NotInitialised) };
    if topology.code() != record.code {
        return refused(Refusal::Topology(format!("it was checked for code {}, the cluster uses {}", topology.code(), record.code)));
    }
    for node in topology.nodes() {
        match codec::load::<NodeRecord>(tx, &keys::node(node.id))? {
            Some(known) if known.site == node.site => {}
            Some(known) => return refused(Refusal::Topology(format!("{} is at {}, not {}", node.id, known.site, node.site))),
            None => return refused(Refusal::NodeUnknown(node.id)),
        }
    }
    for disk in topology.disks() {
        match codec::load::<DiskRecord>(tx, &keys::disk(disk.id))? {
            Some(known) if known.node == disk.node => {}
            _ => return refused(Refusal::Topology(format!("disk {} was not announced by {}", disk.id, disk.node))),
        }
    }
    for mut disk in view::disks(tx)? {
        let state = match (topology.disk(disk.id), disk.state) {
            (Some(_), _) => DiskState::Active,
            (None, DiskState::Candidate) => DiskState::Candidate,
            (None, _) => DiskState::Removed,
        };
        if disk.state != state {
            disk.state = state;
            tx.store(keys::disk(disk.id), &disk)?;
        }
    }
    tx.store(keys::topology(topology.version()), topology)?;
    Ok(Outcome::TopologyApplied { version: topology.version() })
}

pub(super) fn set_lookup_key(tx: &mut Transaction<'_>, key: &Sealed) -> Result<Outcome, StoreError> {
    let Some(mut record) = cluster(tx)? else { return refused(Refusal::NotInitialised) };
    let key = match record.lookup_key {
        Some(first) => first,
        None => {
            record.lookup_key = Some(key.clone());
            tx.store(keys::cluster(), &record)?;
            key.clone()
        }
    };
    Ok(Outcome::LookupKey(key))
}
