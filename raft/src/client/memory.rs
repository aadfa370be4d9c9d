//! The metadata group as one replica in memory: for tests of what lies above.
//!
//! Holds: it runs the production `apply` over the BTreeMap store; only agreement is missing.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use kluis_chunkstore::{
    code::Code,
    env::{Clock, Entropy},
    ids::{ClusterId, StorageId},
};

use super::{Metadata, MetadataError};
use crate::{
    apply::apply,
    command::{Command, NewNode, Request},
    model::NodeRole,
    outcome::Outcome,
    store::{Read, Store, StoreError, Transaction, memory::MemoryStore},
};

/// One replica in memory.
pub struct MemoryMetadata {
    store: Arc<MemoryStore>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    turn: Mutex<bool>,
}

impl MemoryMetadata {
    /// A cluster of one node with code 4+5, 1 MiB chunks, copies up to 16 KiB and a quota of 10^9 bytes.
    ///
    /// # Errors
    /// The first command failed, which a correct `apply` never does.
    pub fn initialised(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Arc<Self>, MetadataError> {
        let this = Arc::new(Self { store: Arc::default(), clock, entropy, turn: Mutex::new(true) });
        let local = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let site = "dc1".parse().map_err(|e: kluis_chunkstore::ids::BadId| MetadataError::Store(e.to_string()))?;
        let node = NewNode {
            site,
            roles: vec![NodeRole::Metadata, NodeRole::Chunk, NodeRole::Gateway],
            storage: StorageId(1),
            quic: local,
            admin: local,
            gateway: Some(local),
        };
        this.propose_now(Command::InitCluster {
            id: ClusterId(1),
            name: "memory".into(),
            code: Code::STANDARD,
            small_max_bytes: 16 * 1024,
            chunk_bytes: 1 << 20,
            quota_bytes: 1_000_000_000,
            node,
        })?;
        Ok(this)
    }

    /// Lets proposals and linearizable reads fail (`false`) as without a majority, or work again.
    pub fn set_quorum(&self, quorum: bool) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = quorum;
    }

    fn propose_now(&self, command: Command) -> Result<Outcome, MetadataError> {
        let quorum = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if !*quorum {
            return Err(MetadataError::NoQuorum);
        }
        let mut id = [0; 16];
        self.entropy.fill(&mut id);
        let request = Request { id: u128::from_be_bytes(id), now_ms: self.clock.now_ms(), command };
        let store = |e: StoreError| MetadataError::Store(e.to_string());
        let mut tx = Transaction::new(&*self.store);
        let outcome = apply(&mut tx, &request).map_err(store)?;
        self.store.write(&tx.into_writes()).map_err(store)?;
        Ok(outcome)
    }
}

#[async_trait]
impl Metadata for MemoryMetadata {
    async fn propose(&self, command: Command) -> Result<Outcome, MetadataError> {
        self.propose_now(command)
    }

    async fn linearize(&self) -> Result<(), MetadataError> {
        if *self.turn.lock().unwrap_or_else(PoisonError::into_inner) { Ok(()) } else { Err(MetadataError::NoQuorum) }
    }

    fn view(&self) -> Arc<dyn Read> {
        self.store.clone()
    }
}
