//! Indexes that are kept in memory: few, for a while, and only while they are right.
//!
//! Owns: the bound over all vaults, and the forgetting. Not: how an index is made ([`crate::api::search`]).
//! Holds: (1) all indexes together hold at most the given bytes, and one that is larger is used once and not kept;
//! (2) one that nobody used for [`IDLE`] is dropped, also when nobody searches any more; (3) an index is given out for
//! the count of changes that it was made at, and for no other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kluis_raft::model::VaultId;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep},
};

use super::Index;

/// Most bytes of all indexes together: some hundred vaults of a thousand documents.
pub const BYTES_MAX: usize = 128 << 20;
/// How long an index waits for the next search.
pub const IDLE: Duration = Duration::from_secs(600);
/// Indexes that are made at once: each keeps a core busy.
const BUILDS_MAX: usize = 2;

struct Slot {
    index: Arc<Index>,
    contents: u64,
    bytes: usize,
    used: Instant,
}

#[derive(Default)]
struct Slots {
    by_vault: HashMap<VaultId, Slot>,
    bytes: usize,
    /// Whether a task looks after idle ones.
    watched: bool,
}

impl Slots {
    fn remove(&mut self, vault: VaultId) {
        if let Some(slot) = self.by_vault.remove(&vault) {
            self.bytes = self.bytes.saturating_sub(slot.bytes);
        }
    }

    fn drop_idle(&mut self, now: Instant) {
        let idle: Vec<VaultId> =
            self.by_vault.iter().filter(|(_, slot)| now.saturating_duration_since(slot.used) >= IDLE).map(|(vault, _)| *vault).collect();
        for vault in idle {
            self.remove(vault);
        }
    }

    fn oldest(&self) -> Option<VaultId> {
        self.by_vault.iter().min_by_key(|(_, slot)| slot.used).map(|(vault, _)| *vault)
    }
}

/// The indexes of a gateway.
pub struct Indexes {
    slots: Arc<Mutex<Slots>>,
    bytes_max: usize,
    builds: Semaphore,
}

impl Default for Indexes {
    fn default() -> Self {
        Self::new(BYTES_MAX)
    }
}

fn lock(slots: &Mutex<Slots>) -> MutexGuard<'_, Slots> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Indexes {
    /// None yet, and never more than `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { slots: Arc::default(), bytes_max, builds: Semaphore::new(BUILDS_MAX) }
    }

    /// The index of a vault whose documents changed so often.
    pub fn at(&self, vault: VaultId, contents: u64) -> Option<Arc<Index>> {
        let mut slots = lock(&self.slots);
        let slot = slots.by_vault.get_mut(&vault).filter(|slot| slot.contents == contents)?;
        slot.used = Instant::now();
        Some(Arc::clone(&slot.index))
    }

    /// The index of a vault as it was at some time: its entries may be good still.
    pub fn of_before(&self, vault: VaultId) -> Option<Arc<Index>> {
        lock(&self.slots).by_vault.get(&vault).map(|slot| Arc::clone(&slot.index))
    }

    /// Waits for the turn to make an index.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.builds.acquire().await.ok()
    }

    /// Keeps an index; those that nobody used for the longest time make room.
    pub fn keep(&self, vault: VaultId, contents: u64, index: &Arc<Index>) {
        let (bytes, used) = (index.bytes(), Instant::now());
        let mut slots = lock(&self.slots);
        slots.remove(vault);
        slots.drop_idle(used);
        if bytes > self.bytes_max {
            return;
        }
        while slots.bytes.saturating_add(bytes) > self.bytes_max {
            match slots.oldest() {
                Some(oldest) => slots.remove(oldest),
                None => break,
            }
        }
        slots.bytes = slots.bytes.saturating_add(bytes);
        slots.by_vault.insert(vault, Slot { index: Arc::clone(index), contents, bytes, used });
        if !slots.watched {
            slots.watched = true;
            tokio::spawn(watch(Arc::clone(&self.slots)));
        }
    }

    /// Drops the index of a vault.
    pub fn forget(&self, vault: VaultId) {
        lock(&self.slots).remove(vault);
    }

    /// Bytes that are held.
    pub fn bytes(&self) -> usize {
        lock(&self.slots).bytes
    }
}

/// Drops what is idle, until nothing is left.
async fn watch(slots: Arc<Mutex<Slots>>) {
    loop {
        sleep(IDLE / 2).await;
        let mut slots = lock(&slots);
        slots.drop_idle(Instant::now());
        if slots.by_vault.is_empty() {
            slots.watched = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use kluis_raft::model::{Category, DocType, DocumentId};
    use zeroize::Zeroizing;

    use super::*;
    use crate::search::Entry;

    fn index(entries: u128) -> Arc<Index> {
        let entry = |id: u128| Entry {
            id: DocumentId(id),
            revision: 1,
            created_ms: 0,
            category: Category::Other,
            doc_type: DocType::Other,
            labels: Vec::new(),
            text: Zeroizing::new("some words".to_owned()),
        };
        Arc::new(Index::new((0..entries).map(entry).collect()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_index_is_good_for_its_count_and_dropped_when_idle() {
        let indexes = Indexes::default();
        indexes.keep(VaultId(1), 5, &index(3));
        assert!(indexes.at(VaultId(1), 5).is_some());
        assert!(indexes.at(VaultId(1), 6).is_none() && indexes.at(VaultId(2), 5).is_none());
        assert!(indexes.of_before(VaultId(1)).is_some());
        sleep(IDLE * 2).await;
        assert_eq!((indexes.bytes(), indexes.of_before(VaultId(1)).is_none()), (0, true), "nobody searched meanwhile");
        indexes.keep(VaultId(1), 6, &index(3));
        assert!(indexes.at(VaultId(1), 6).is_some(), "and it begins again");
        indexes.forget(VaultId(1));
        assert_eq!(indexes.bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_stay_below_the_bound_and_the_oldest_goes_first() {
        let one = index(100);
        let indexes = Indexes::new(one.bytes() * 3);
        for vault in 0..10 {
            indexes.keep(VaultId(vault), 1, &index(100));
            assert!(indexes.bytes() <= one.bytes() * 3);
            sleep(Duration::from_secs(1)).await;
        }
        let left: Vec<u128> = (0..10).filter(|vault| indexes.of_before(VaultId(*vault)).is_some()).collect();
        assert_eq!(left, [7, 8, 9]);
        indexes.keep(VaultId(9), 2, &index(1_000));
        assert!(indexes.of_before(VaultId(9)).is_none(), "what is larger than all room is not kept");
    }
}
