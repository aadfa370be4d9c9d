//! A metadata group in this process: the product's consensus over the product's QUIC.
//!
//! Owns: making its members and waiting until all vote. Not: consensus itself, nor disks and gateways, which these
//! members do not have. Holds: timings are a node's defaults.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use kluis_chunkstore::{
    code::Code,
    disk::DiskOptions,
    env::Env,
    ids::{BlobId, ClusterId, NodeId, SiteName, StorageId},
    net::{Hub, HubOptions, NodeIdentity, PeerAddress, identity::NodeName},
};
use kluis_node::{
    assemble::real_env,
    ca::{Authority, new_key},
    disks::DiskSet,
    member::Card,
    peers::{Peers, QuicTransport},
};
use kluis_raft::{
    client::Metadata as _,
    command::{Command, NewNode},
    consensus::{Consensus, ConsensusOptions},
    model::{NodeRecord, NodeRole, TokenHash},
    outcome::Outcome,
    store::rocks::RocksDatabases,
};
use tokio::sync::mpsc;

use crate::load::random;

const CLUSTER: &str = "bench";
const CLUSTER_ID: ClusterId = ClusterId(1);
const SITES: u64 = 3;
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Longest time until all vote.
const START_DEADLINE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const TOKEN_LIFETIME_MS: u64 = 3_600_000;

/// A group that serves.
pub struct Group {
    members: Vec<Member>,
}

/// A node, as far as metadata needs it.
struct Member {
    id: u64,
    site: SiteName,
    peers: Arc<Peers>,
    hub: Arc<Hub>,
    consensus: Option<Arc<Consensus>>,
    /// Kept, so that the handler's queue stays open.
    _suspects: mpsc::Receiver<(BlobId, u32)>,
}

fn site_of(id: u64) -> Result<SiteName> {
    format!("dc{}", (id - 1) % SITES + 1).parse().map_err(|_| anyhow!("no name of a site"))
}

fn storage_of(id: u64) -> StorageId {
    StorageId(u128::from(id))
}

impl Member {
    async fn make(env: &Env, authority: &Authority, id: u64, records: &[NodeRecord]) -> Result<Self> {
        let site = site_of(id)?;
        let name = NodeName { node: NodeId(id), site: site.clone(), cluster: CLUSTER.to_owned() };
        let key = new_key()?;
        let certificate = authority.sign_node(env, &key.request_pem, &name)?;
        let identity = NodeIdentity::from_pem(certificate.as_bytes(), key.key_pem.as_bytes(), authority.certificate_pem.as_bytes())?;
        let card = Card {
            cluster: CLUSTER_ID,
            cluster_name: CLUSTER.to_owned(),
            node: NodeId(id),
            site: site.clone(),
            roles: vec![NodeRole::Metadata],
            storage: storage_of(id),
            first_peers: records.to_vec(),
        };
        let disks = Arc::new(DiskSet::open(env, &card, &[], &DiskOptions::default()).await);
        let (suspect, suspects) = mpsc::channel(1);
        let peers = Arc::new(Peers::new(env.clone(), card, disks, suspect));
        let hub = Hub::start(env, &identity, ANYWHERE, peers.clone(), HubOptions::default())?;
        Ok(Self { id, site, peers, hub, consensus: None, _suspects: suspects })
    }

    fn new_node(&self) -> Result<NewNode> {
        let address = self.hub.local_address()?;
        let site = self.site.clone();
        Ok(NewNode { site, roles: vec![NodeRole::Metadata], storage: storage_of(self.id), quic: address, admin: address, gateway: None })
    }

    /// Makes its database and starts its replica.
    async fn open(&mut self, env: &Env, dir: &Path) -> Result<Arc<Consensus>> {
        let options = ConsensusOptions::new(NodeId(self.id), storage_of(self.id), CLUSTER_ID, dir.join(format!("n{}", self.id)));
        Consensus::create(&RocksDatabases, &options)?;
        let consensus = Consensus::open(env, options, Arc::new(QuicTransport { hub: self.hub.clone() })).await?;
        let _ = self.peers.consensus.set(consensus.clone());
        self.consensus = Some(consensus.clone());
        Ok(consensus)
    }
}

impl Group {
    /// Starts `count` members and waits until all of them vote.
    ///
    /// # Errors
    /// They do not come up.
    pub async fn start(dir: &Path, count: u64) -> Result<Self> {
        let env = real_env();
        let (authority, _) = Authority::create(&env, CLUSTER)?;
        let records: Vec<NodeRecord> = (1..=count)
            .map(|id| {
                Ok(NodeRecord {
                    id: NodeId(id),
                    site: site_of(id)?,
                    roles: vec![NodeRole::Metadata],
                    storage: storage_of(id),
                    quic: ANYWHERE,
                    admin: ANYWHERE,
                    gateway: None,
                    joined_ms: 0,
                })
            })
            .collect::<Result<_>>()?;
        let mut members = Vec::new();
        for id in 1..=count {
            members.push(Member::make(&env, &authority, id, &records).await?);
        }
        let mut addresses = Vec::new();
        for member in &members {
            addresses.push(PeerAddress { node: NodeId(member.id), site: member.site.clone(), address: member.hub.local_address()? });
        }
        for member in &members {
            member.hub.set_peers(addresses.clone());
        }
        let (first, others) = members.split_first_mut().context("a group has a member")?;
        let leader = first.open(&env, dir).await?;
        let init = Command::InitCluster {
            id: CLUSTER_ID,
            name: CLUSTER.to_owned(),
            code: Code::STANDARD,
            small_max_bytes: 16 << 10,
            chunk_bytes: 1 << 20,
            quota_bytes: 1 << 40,
            node: first.new_node()?,
        };
        leader.initialise(init).await?;
        for member in others {
            let hash = TokenHash(random_hash()?);
            create_token(&leader, hash, &member.site).await?;
            match leader.propose(Command::RedeemJoinToken { hash, node: member.new_node()? }).await? {
                Outcome::NodeAdded { node } if node == NodeId(member.id) => {}
                other => bail!("n{} did not join: {other:?}", member.id),
            }
            member.open(&env, dir).await?;
        }
        let group = Self { members };
        group.all_vote().await?;
        Ok(group)
    }

    async fn all_vote(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let mut ready = true;
            for consensus in self.replicas().iter() {
                let status = consensus.status().await;
                ready &= status.voters.len() == self.members.len() && status.leader.is_some() && status.quorum_ok;
            }
            if ready {
                return Ok(());
            }
            ensure!(begun.elapsed() < START_DEADLINE, "the group of {} does not come to vote", self.members.len());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The replicas, for clients.
    pub fn replicas(&self) -> Arc<[Arc<Consensus>]> {
        self.members.iter().filter_map(|member| member.consensus.clone()).collect()
    }

    /// Stops all of them.
    pub async fn stop(self) {
        for consensus in self.replicas().iter() {
            consensus.shutdown().await;
        }
        for member in &self.members {
            member.hub.close(Duration::from_millis(500)).await;
        }
    }
}

/// One commit of a client, on the replica that it asks.
///
/// # Errors
/// It is not committed.
pub async fn commit(replicas: &[Arc<Consensus>], client: usize) -> Result<()> {
    let replica = replicas.get(client % replicas.len().max(1)).context("no replica")?;
    create_token(replica, TokenHash(random_hash()?), &site_of(1)?).await
}

async fn create_token(consensus: &Consensus, hash: TokenHash, site: &SiteName) -> Result<()> {
    let command = Command::CreateJoinToken { hash, site: site.clone(), roles: vec![NodeRole::Metadata], lifetime_ms: TOKEN_LIFETIME_MS };
    match consensus.propose(command).await? {
        Outcome::TokenCreated(_) => Ok(()),
        other => bail!("unexpected answer to CreateJoinToken: {other:?}"),
    }
}

fn random_hash() -> Result<[u8; 32]> {
    let mut hash = [0; 32];
    hash.copy_from_slice(&random(32)?);
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_spread_over_the_sites() {
        let sites: Vec<String> = (1..=4).map(|id| site_of(id).unwrap().to_string()).collect();
        assert_eq!(sites, ["dc1", "dc2", "dc3", "dc1"]);
        assert_ne!(storage_of(1), storage_of(2));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_group_commits_on_every_replica_and_traffic_outlives_its_connection() {
        let dir = tempfile::tempdir().unwrap();
        let group = Group::start(dir.path(), 3).await.unwrap();
        for client in 0..3 {
            commit(&group.replicas(), client).await.unwrap();
        }
        let (hub, other) = (&group.members[0].hub, NodeId(2));
        let before = hub.traffic()[&other];
        assert!(before.sent_bytes > 0 && before.received_bytes > 0, "{before:?}");
        // Of a pair the lower id dials, so nobody makes this connection anew.
        hub.set_peers([]);
        let begun = Instant::now();
        let counted = || hub.traffic().get(&other).is_some_and(|now| now.sent_bytes >= before.sent_bytes);
        while hub.is_connected(other) || !counted() {
            assert!(begun.elapsed() < START_DEADLINE, "{:?} after {before:?}", hub.traffic());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        group.stop().await;
    }
}
