//! The way of a chunk to the disks and back. READ THIS FIRST.
//!
//! Up: topology and what to avoid -> placement -> the rows that it names -> QUIC (or the own disk) ->
//! acknowledgements, counted by [`WritePlan`] until the write rule holds; the rest is given a short moment and then goes on in the
//! background. When the rule cannot hold any more (a site went silent), what failed is avoided and the
//! chunk is placed anew; shards that lie right already are acknowledged without a second write.
//! Down: every place where the shards may lie, nearest first -> [`ReadPlan`] asks for k, one more when they
//! are slow or missing -> checksum -> decode.
//!
//! Owns: this driver. Not: the decisions ([`kluis_chunkstore::plan`], [`kluis_chunkstore::placement`]), keys
//! (bytes are sealed before they come here), the record of what was stored (the gateway commits it).
//! Holds: (1) a receipt is given only for a chunk for which the write rule holds; (2) no wait is longer than
//! the deadlines of [`DataPathOptions`]; (3) bytes that were fetched were checked against the disk's
//! checksum and against the peer's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use kluis_chunkstore::{
    code::Code,
    codec::erasure::Erasure,
    env::Env,
    ids::{ChunkId, DiskId, NodeId, ShardKey},
    net::{Hub, NetError, Pulse},
    placement::{Avoid, Placement, Placer},
    plan::{
        read::{Candidate, ReadPlan, Step},
        write::{Verdict, WritePlan},
    },
    topology::Topology,
    wire::{FaultCode, PeerAnswer, PeerRequest},
};
use kluis_gateway::ports::{BytesError, ChunkReceipt, DocumentBytes, PutChunk};
use kluis_raft::{
    client::Metadata,
    model::{Blob, BlobLayout},
    view,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    liveness::{Liveness, Owing, is_gone},
    peers::Peers,
};

/// Waiting times of the data path.
#[derive(Debug, Clone)]
pub struct DataPathOptions {
    /// Wait after which a node is suspected from which not one datagram came, not even to acknowledge what it was sent.
    pub quiet: Duration,
    /// Silence of a node, with requests waiting, after which it is suspected and avoided.
    pub silence: Duration,
    /// Longest time for one shard's request.
    pub shard_deadline: Duration,
    /// Longest time for one chunk, over all its attempts.
    pub chunk_deadline: Duration,
    /// Wait before one more shard is asked for.
    pub hedge_after: Duration,
    /// Wait for the last shards once the write rule holds.
    pub linger: Duration,
}

type PlacerKey = (u64, Code, Avoid);

/// Chunks above this many bytes are coded and decoded on a thread for blocking work: it takes long enough to hold
/// up other tasks of this thread.
const CODE_HERE_BYTES: usize = 64 * 1024;

/// The data path of one node.
pub struct DataPath {
    own: NodeId,
    peers: Arc<Peers>,
    hub: Arc<Hub>,
    metadata: Arc<dyn Metadata>,
    liveness: Liveness,
    options: DataPathOptions,
    topologies: Mutex<BTreeMap<u64, Arc<Topology>>>,
    placers: Mutex<BTreeMap<PlacerKey, Arc<Placer>>>,
}

/// What became of one shard's write.
enum Sent {
    Synced(u8),
    Failed { shard: u8, disk: DiskId, node: NodeId, why: WriteFault },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteFault {
    Full,
    Disk,
    Node,
}

impl DataPath {
    /// A data path of node `own`.
    pub fn new(own: NodeId, peers: Arc<Peers>, hub: Arc<Hub>, metadata: Arc<dyn Metadata>, options: DataPathOptions) -> Self {
        Self { own, peers, hub, metadata, liveness: Liveness::default(), options, topologies: Mutex::default(), placers: Mutex::default() }
    }

    /// The topology in force, as this node knows.
    ///
    /// # Errors
    /// None was applied yet, or the metadata store fails.
    pub fn topology(&self) -> Result<Arc<Topology>, BytesError> {
        let unavailable = |why: String| BytesError::Unavailable(why);
        let topology = view::topology(&*self.metadata.view()).map_err(|e| unavailable(e.to_string()))?;
        let topology = topology.ok_or_else(|| unavailable("the cluster has no topology yet".into()))?;
        let mut cache = lock(&self.topologies);
        Ok(cache.entry(topology.version()).or_insert_with(|| Arc::new(topology)).clone())
    }

    fn topology_at(&self, version: u64) -> Option<Arc<Topology>> {
        if let Some(found) = lock(&self.topologies).get(&version) {
            return Some(found.clone());
        }
        let topology = Arc::new(view::topology_at(&*self.metadata.view(), version).ok()??);
        lock(&self.topologies).insert(version, topology.clone());
        Some(topology)
    }

    /// The placer of a layout.
    pub fn placer(&self, layout: &BlobLayout, code: Code) -> Option<Arc<Placer>> {
        let key = (layout.topology, code, layout.avoid.clone());
        if let Some(found) = lock(&self.placers).get(&key) {
            return Some(found.clone());
        }
        let topology = self.topology_at(layout.topology)?;
        let placer = Arc::new(Placer::new(&topology, code, &layout.avoid));
        let mut cache = lock(&self.placers);
        if cache.len() >= 1000 {
            cache.clear();
        }
        cache.insert(key, placer.clone());
        Some(placer)
    }

    /// Whether a node can be talked to.
    pub fn is_connected(&self, node: NodeId) -> bool {
        node == self.own || self.hub.is_connected(node)
    }

    fn env(&self) -> &Env {
        self.peers.env()
    }

    /// What was received from each of these nodes so far.
    fn pulses(&self, nodes: &BTreeSet<NodeId>) -> BTreeMap<NodeId, Option<Pulse>> {
        nodes.iter().filter(|node| **node != self.own).map(|node| (*node, self.hub.pulse(*node))).collect()
    }

    /// What a write should avoid now.
    pub fn avoid(&self, topology: &Topology) -> Avoid {
        self.liveness.avoid(topology, Instant::now(), |node| self.is_connected(node))
    }

    async fn send_shard(&self, disk: DiskId, node: NodeId, key: ShardKey, body: Bytes) -> Sent {
        let shard = key.shard;
        let failed = |why| Sent::Failed { shard, disk, node, why };
        let fault = |code: FaultCode| match code {
            FaultCode::DiskFull => WriteFault::Full,
            FaultCode::DiskFault | FaultCode::UnknownDisk => WriteFault::Disk,
            _ => WriteFault::Node,
        };
        if node == self.own {
            // The own disk may hang as well as another's.
            return match timeout(self.options.shard_deadline, self.peers.put_shard(disk, key, body)).await {
                Ok(Ok(())) => Sent::Synced(shard),
                Ok(Err(refused)) => failed(fault(refused.code)),
                Err(_) => failed(WriteFault::Disk),
            };
        }
        let request = PeerRequest::PutShard { disk, key, checksum: xxh3_64(&body) };
        match self.hub.call(node, &request, body, self.options.shard_deadline).await {
            Ok(_) => {
                self.liveness.answered(node, Instant::now());
                Sent::Synced(shard)
            }
            Err(NetError::Fault { fault: refused, .. }) => {
                self.liveness.answered(node, Instant::now());
                tracing::debug!(peer = %node, %disk, fault = %refused, "shard refused");
                failed(fault(refused.code))
            }
            Err(error) => {
                tracing::debug!(peer = %node, %error, "shard not stored");
                failed(WriteFault::Node)
            }
        }
    }

    /// Makes the shards of a placement that were not made for an earlier one.
    async fn make_shards(
        &self,
        codec: &Erasure,
        sealed: &Bytes,
        placement: &Placement,
        shards: &mut BTreeMap<u8, Bytes>,
    ) -> Result<(), BytesError> {
        let rows: Vec<u8> = placement.iter().map(|(row, _)| row).filter(|row| !shards.contains_key(row)).collect();
        let made = if sealed.len() > CODE_HERE_BYTES {
            let (codec, sealed, rows) = (codec.clone(), sealed.clone(), rows.clone());
            let made = self.env().run_blocking(move || codec.encode(&sealed, &rows)).await;
            made.map_err(|e| BytesError::Unavailable(e.to_string()))?
        } else {
            codec.encode(sealed, &rows)
        };
        shards.extend(rows.into_iter().zip(made));
        Ok(())
    }

    /// One attempt to store a chunk under one layout.
    async fn attempt(
        self: &Arc<Self>,
        chunk: ChunkId,
        code: Code,
        shards: &BTreeMap<u8, Bytes>,
        topology: &Topology,
        placement: &Placement,
    ) -> Attempt {
        let (report, mut reports) = mpsc::unbounded_channel();
        let mut placed = Vec::with_capacity(code.n());
        let mut waiting: BTreeMap<u8, NodeId> = BTreeMap::new();
        let asked: BTreeSet<NodeId> = placement.iter().filter_map(|(_, disk)| topology.node_of(disk)).collect();
        let pulses = self.pulses(&asked);
        for (shard, disk) in placement.iter() {
            let (Some(node), Some(body)) = (topology.node_of(disk), shards.get(&shard).cloned()) else { continue };
            let Some(site) = topology.site_of(node) else { continue };
            placed.push((shard, site.clone()));
            waiting.insert(shard, node);
            let (this, report) = (self.clone(), report.clone());
            // Detached: a shard that comes late still lands on its disk.
            tokio::spawn(async move {
                let sent = this.send_shard(disk, node, ShardKey { chunk, shard }, body).await;
                let _ = report.send(sent);
            });
        }
        drop(report);
        let mut plan = WritePlan::new(code, placed);
        let started = Instant::now();
        let mut full = 0;
        let mut look = started + self.options.quiet;
        loop {
            match plan.verdict() {
                Verdict::Waiting => {}
                Verdict::Durable { complete: true } => return Attempt { plan, full },
                Verdict::Durable { complete: false } if self.env().probe.buggify("buggify.write_without_linger") => {
                    return Attempt { plan, full };
                }
                Verdict::Durable { complete: false } => {
                    self.linger(&mut plan, &mut reports).await;
                    return Attempt { plan, full };
                }
                Verdict::Reduced | Verdict::Impossible => return Attempt { plan, full },
            }
            let next = tokio::select! {
                next = reports.recv() => next,
                () = sleep_until(look) => {
                    // Nodes that answer nothing at all, not even to others' requests, are taken for gone.
                    let now = Instant::now();
                    let heard = self.pulses(&asked);
                    // A timer that comes late means that this process did not listen either.
                    let hearing = heard != pulses && now < look + self.options.quiet / 2;
                    let since = now.checked_sub(self.options.silence).unwrap_or(started);
                    for (shard, node) in waiting.iter().filter(|(_, node)| **node != self.own) {
                        let any_packet = heard.get(node) != pulses.get(node);
                        let any_answer = self.liveness.answered_since(*node, since);
                        let owing = Owing { waited: now.duration_since(started), any_packet, hearing, any_answer };
                        if is_gone(owing, self.options.quiet, self.options.silence) {
                            self.liveness.suspect_node(*node, now);
                            plan.failed(*shard);
                        }
                    }
                    look = now + self.options.quiet;
                    continue;
                }
            };
            match next {
                Some(Sent::Synced(shard)) => {
                    waiting.remove(&shard);
                    plan.synced(shard);
                }
                Some(Sent::Failed { shard, disk, node, why }) => {
                    waiting.remove(&shard);
                    plan.failed(shard);
                    full += usize::from(why == WriteFault::Full);
                    match why {
                        WriteFault::Node => self.liveness.suspect_node(node, Instant::now()),
                        WriteFault::Disk => self.liveness.suspect_disk(disk, Instant::now()),
                        WriteFault::Full => self.liveness.full_disk(disk, Instant::now()),
                    }
                }
                None => return Attempt { plan, full },
            }
        }
    }

    /// Gives the last shards a short moment, so that most chunks are complete when they are acknowledged.
    async fn linger(&self, plan: &mut WritePlan, reports: &mut mpsc::UnboundedReceiver<Sent>) {
        let end = Instant::now() + self.options.linger;
        while plan.waiting_count() > 0 {
            match timeout_at(end, reports.recv()).await {
                Ok(Some(Sent::Synced(shard))) => plan.synced(shard),
                Ok(Some(Sent::Failed { shard, .. })) => plan.failed(shard),
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Stores a chunk; see [`DocumentBytes::put_chunk`].
    ///
    /// # Errors
    /// As there.
    pub async fn put(self: &Arc<Self>, put: PutChunk) -> Result<ChunkReceipt, BytesError> {
        let PutChunk { chunk, code, sealed, strict, known } = put;
        let codec = Erasure::of(code).map_err(|e| BytesError::Unavailable(e.to_string()))?;
        let mut shards = BTreeMap::new();
        let deadline = Instant::now() + self.options.chunk_deadline;
        let mut tried: BTreeSet<Avoid> = BTreeSet::new();
        let mut best: Option<(BlobLayout, usize)> = None;
        let mut full = 0;
        loop {
            let topology = self.topology()?;
            let now = self.avoid(&topology);
            let layout = BlobLayout { topology: topology.version(), avoid: settle_on(&topology, now, &known, &tried) };
            let fresh = tried.insert(layout.avoid.clone());
            if fresh {
                let attempt = match self.placer(&layout, code) {
                    Some(placer) => {
                        let placement = placer.place(chunk);
                        self.make_shards(&codec, &sealed, &placement, &mut shards).await?;
                        self.attempt(chunk, code, &shards, &topology, &placement).await
                    }
                    None => Attempt::nothing(code),
                };
                full = full.max(attempt.full);
                let synced = attempt.plan.synced_count();
                match attempt.plan.verdict() {
                    Verdict::Durable { complete } => {
                        if !layout.avoid.is_empty() {
                            self.env().probe.reached("write.placed_around");
                        }
                        let complete = complete && layout.avoid.is_empty();
                        return Ok(ChunkReceipt { layout, reduced: false, complete });
                    }
                    Verdict::Reduced if best.as_ref().is_none_or(|(_, n)| *n < synced) => best = Some((layout.clone(), synced)),
                    _ => {}
                }
            }
            // The same things out of reach as before: another try would only do the same.
            if !fresh || tried.len() >= 6 || Instant::now() >= deadline {
                let wanted = code.write_quorum();
                return match best {
                    Some((layout, _)) if !strict => {
                        self.env().probe.reached("write.reduced");
                        Ok(ChunkReceipt { layout, reduced: true, complete: false })
                    }
                    Some((_, stored)) => Err(BytesError::WriteUnavailable { stored, wanted }),
                    None if full > 0
                        || (layout.avoid.sites.is_empty() && layout.avoid.nodes.is_empty() && self.liveness.any_full(Instant::now())) =>
                    {
                        Err(BytesError::Full)
                    }
                    None => Err(BytesError::WriteUnavailable { stored: 0, wanted }),
                };
            }
        }
    }

    /// How far a node is, for the order of asking.
    fn distance(&self, topology: &Topology, node: NodeId, age: u32) -> u32 {
        let now = Instant::now();
        let out_of_reach = !self.is_connected(node) || self.liveness.is_suspected(node, now);
        let near = if node == self.own {
            0
        } else if topology.site_of(node) == topology.site_of(self.own) {
            1
        } else {
            2
        };
        near + age * 4 + u32::from(self.liveness.is_slow(node, now)) * 100 + u32::from(out_of_reach) * 1000
    }

    /// Every place where shards of a chunk may lie.
    fn candidates(&self, chunk: ChunkId, code: Code, layouts: &[BlobLayout]) -> Vec<Candidate> {
        let mut all = Vec::new();
        let current = self.topology().ok();
        let home = current.as_ref().map(|t| BlobLayout { topology: t.version(), avoid: Avoid::nothing() });
        for (age, layout) in (0u32..).zip(layouts.iter().chain(home.as_ref())) {
            let (Some(topology), Some(placer)) = (self.topology_at(layout.topology), self.placer(layout, code)) else { continue };
            for (shard, disk) in placer.place(chunk).iter() {
                let Some(node) = topology.node_of(disk) else { continue };
                if !all.iter().any(|c: &Candidate| c.shard == shard && c.disk == disk) {
                    all.push(Candidate { shard, disk, node, distance: self.distance(&topology, node, age) });
                }
            }
        }
        all
    }

    /// One shard from where it may lie.
    async fn fetch_shard(&self, candidate: &Candidate, chunk: ChunkId, len: usize) -> Option<Bytes> {
        let key = ShardKey { chunk, shard: candidate.shard };
        let found = if candidate.node == self.own {
            let fetched = timeout(self.options.shard_deadline, self.peers.fetch_shard(candidate.disk, key)).await;
            fetched.ok().and_then(Result::ok).flatten()
        } else {
            let request = PeerRequest::FetchShard { disk: candidate.disk, key };
            match self.hub.call(candidate.node, &request, Bytes::new(), self.options.shard_deadline).await {
                Ok((PeerAnswer::Shard { checksum }, body)) => {
                    self.liveness.answered(candidate.node, Instant::now());
                    (xxh3_64(&body) == checksum).then_some(body)
                }
                Ok(_) | Err(NetError::Fault { .. }) => {
                    self.liveness.answered(candidate.node, Instant::now());
                    None
                }
                Err(error) => {
                    if matches!(error, NetError::Timeout(_)) {
                        self.liveness.suspect_node(candidate.node, Instant::now());
                    }
                    None
                }
            }
        };
        found.filter(|body| body.len() == len)
    }

    /// Any k shards of a chunk.
    ///
    /// # Errors
    /// [`BytesError::NotEnoughShards`] when every place was asked.
    pub async fn fetch_shards(
        &self,
        chunk: ChunkId,
        code: Code,
        layouts: &[BlobLayout],
        sealed_len: usize,
    ) -> Result<Vec<(u8, Bytes)>, BytesError> {
        let len = code.shard_len(sealed_len);
        let mut plan = ReadPlan::new(code, self.candidates(chunk, code, layouts));
        let mut running = FuturesUnordered::new();
        let ask = |plan: &ReadPlan, index: usize| {
            let candidate = plan.candidate(index).cloned();
            async move {
                match candidate {
                    Some(candidate) => (index, candidate.shard, self.fetch_shard(&candidate, chunk, len).await),
                    None => (index, u8::MAX, None),
                }
            }
        };
        let mut waiting: BTreeSet<usize> = BTreeSet::new();
        for index in plan.start() {
            waiting.insert(index);
            running.push(ask(&plan, index));
        }
        let mut shards: Vec<(u8, Bytes)> = Vec::with_capacity(code.k());
        let mut hedge = Instant::now() + self.options.hedge_after;
        loop {
            if running.is_empty() {
                return Err(BytesError::NotEnoughShards { have: plan.have(), need: code.k() });
            }
            let step = tokio::select! {
                Some((index, shard, found)) = running.next() => {
                    waiting.remove(&index);
                    match found {
                        Some(body) => {
                            shards.push((shard, body));
                            plan.arrived(index)
                        }
                        None => plan.failed(index),
                    }
                }
                () = sleep_until(hedge) => {
                    hedge = Instant::now() + self.options.hedge_after;
                    for node in waiting.iter().filter_map(|index| plan.candidate(*index)).map(|c| c.node).filter(|node| *node != self.own) {
                        self.liveness.slow_node(node, Instant::now());
                    }
                    self.env().probe.reached("read.hedged");
                    plan.slow()
                }
            };
            match step {
                Step::Ask(index) => {
                    waiting.insert(index);
                    running.push(ask(&plan, index));
                }
                Step::Wait => {}
                Step::Done => return Ok(shards),
                Step::Lost { have } => return Err(BytesError::NotEnoughShards { have, need: code.k() }),
            }
        }
    }

    /// Tells the nodes that should have a shard of a chunk to look.
    async fn tell_suspect(&self, blob: &Blob, index: u32) {
        let Some(chunk) = blob.wanted(index) else { return };
        let nodes: BTreeSet<NodeId> = self.candidates(chunk, blob.code, &blob.layouts).into_iter().map(|c| c.node).collect();
        self.peers.suspect(blob.id, index);
        for node in nodes.into_iter().filter(|n| *n != self.own) {
            let request = PeerRequest::Suspect { blob: blob.id, index };
            let _ = self.hub.call(node, &request, Bytes::new(), Duration::from_secs(1)).await;
        }
    }
}

/// Layouts of one upload from which on a new one is avoided if an old one serves.
const LAYOUTS_FEW: usize = 3;

/// What to avoid for a chunk of an upload that used `known` layouts before, when `now` is out of reach. A
/// long upload may see many failures, and its record takes few layouts: after the first ones, an earlier
/// layout that avoids at least as much serves, else a whole site is avoided rather than a part of it.
fn settle_on(topology: &Topology, now: Avoid, known: &[BlobLayout], tried: &BTreeSet<Avoid>) -> Avoid {
    let usable = || known.iter().filter(|l| l.topology == topology.version() && !tried.contains(&l.avoid)).map(|l| &l.avoid);
    if known.len() < LAYOUTS_FEW || usable().any(|avoid| *avoid == now) {
        return now;
    }
    let widened = now.widened(topology);
    match usable().find(|avoid| avoid.covers(&now, topology)) {
        Some(avoid) => avoid.clone(),
        None if tried.contains(&widened) => now,
        None => widened,
    }
}

/// What one attempt came to.
struct Attempt {
    plan: WritePlan,
    full: usize,
}

impl Attempt {
    fn nothing(code: Code) -> Self {
        Self { plan: WritePlan::new(code, []), full: 0 }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The data path as the gateway sees it.
pub struct ClusterBytes(pub Arc<DataPath>);

#[async_trait]
impl DocumentBytes for ClusterBytes {
    async fn put_chunk(&self, put: PutChunk) -> Result<ChunkReceipt, BytesError> {
        self.0.put(put).await
    }

    async fn fetch_chunk(&self, chunk: ChunkId, code: Code, layouts: &[BlobLayout], sealed_len: usize) -> Result<Bytes, BytesError> {
        let shards = self.0.fetch_shards(chunk, code, layouts, sealed_len).await?;
        let codec = Erasure::of(code).map_err(|e| BytesError::Unavailable(e.to_string()))?;
        let decoded = if sealed_len > CODE_HERE_BYTES {
            let decoded = self.0.env().run_blocking(move || codec.decode(&shards, sealed_len)).await;
            decoded.map_err(|e| BytesError::Unavailable(e.to_string()))?
        } else {
            codec.decode(&shards, sealed_len)
        };
        decoded.map_err(|e| BytesError::Unavailable(e.to_string()))
    }

    async fn report_suspect(&self, blob: &Blob, index: u32) {
        let (path, blob) = (self.0.clone(), blob.clone());
        tokio::spawn(async move { path.tell_suspect(&blob, index).await });
    }
}

#[cfg(test)]
mod tests {
    use kluis_chunkstore::topology::{TopologyDisk, TopologyNode};

    use super::*;

    /// Sites going down and coming back, node by node, in turn: an upload that lives through all of it stays
    /// within what a blob's record takes.
    #[test]
    fn an_upload_through_many_failures_needs_few_layouts() {
        let nodes = (1..=9).map(|id| TopologyNode { id: NodeId(id), site: format!("dc{}", (id - 1) / 3).parse().unwrap() }).collect();
        let disks = (1..=18u64).map(|id| TopologyDisk { id: DiskId(id.into()), node: NodeId(id.div_ceil(2)), weight: 1 }).collect();
        let topology = Topology::build(1, Code::STANDARD, nodes, disks).unwrap();
        let liveness = Liveness::default();
        let mut known: Vec<BlobLayout> = Vec::new();
        for round in 0..6u64 {
            let site = round % 3;
            let steps: [&[u64]; 7] = [&[], &[1], &[1, 2], &[1, 2, 3], &[2, 3], &[3], &[]];
            for down in steps {
                let now = liveness.avoid(&topology, Instant::now(), |node| !down.contains(&(node.0.wrapping_sub(site * 3))));
                let avoid = settle_on(&topology, now.clone(), &known, &BTreeSet::new());
                assert!(avoid.covers(&now, &topology));
                let layout = BlobLayout { topology: 1, avoid };
                if !known.contains(&layout) {
                    known.insert(0, layout);
                }
            }
        }
        assert!(known.len() <= Blob::LAYOUTS_MAX, "{known:?}");
    }
}
