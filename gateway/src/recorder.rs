//! Events that no other command records (reads, refusals), gathered and appended to the log together.
//!
//! Owns: the queue and its batches. Not: what is in an event ([`crate::api::trail`]), nor the log itself.
//! Holds: (1) an event is appended within [`FLUSH_AFTER`] of the first of its batch, or when the batch is full;
//! (2) nothing is dropped: while the queue is full, who has something to record waits; (3) batches fit one command.
//! What can be lost are the events of one batch when the gateway's process dies; what can stand twice is a batch whose
//! answer was lost with the majority.

use std::{sync::Arc, time::Duration};

use kluis_raft::{
    client::{Metadata, MetadataError},
    command::{
        Command,
        log::{APPEND_MAX, LogCommand},
    },
    model::Event,
    outcome::Outcome,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout_at},
};

use crate::problem::{Code, Problem};

/// Longest that an event waits for others.
pub const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// Events that wait at most.
const QUEUE: usize = 1024;
/// Bytes of a batch from which on it is full: with one event more it still fits a command of 16 KiB.
const BATCH_BYTES: usize = 10 * 1024;
/// Bytes of an event besides its details, at most.
const EVENT_BYTES: usize = 256;
/// Pause before a batch is tried again.
const PAUSE: Duration = Duration::from_secs(1);

enum Item {
    Event(Box<Event>),
    Flush(oneshot::Sender<()>),
}

/// Where events are given to.
pub struct Recorder {
    queue: mpsc::Sender<Item>,
}

impl Recorder {
    /// Starts the task that appends. It ends when the recorder is dropped, after what was in the queue.
    pub fn start(metadata: Arc<dyn Metadata>) -> Self {
        let (queue, items) = mpsc::channel(QUEUE);
        tokio::spawn(work(metadata, items));
        Self { queue }
    }

    /// Records an event; waits while the queue is full.
    ///
    /// # Errors
    /// 503 when the gateway stops.
    pub async fn record(&self, event: Event) -> Result<(), Problem> {
        let sent = self.queue.send(Item::Event(Box::new(event))).await;
        sent.map_err(|_| Problem::plain(Code::Unavailable))
    }

    /// Waits until everything that was recorded before is in the log.
    pub async fn flush(&self) {
        let (done, appended) = oneshot::channel();
        if self.queue.send(Item::Flush(done)).await.is_ok() {
            // The task answers, or ended: there is nothing to wait for then.
            let _ = appended.await;
        }
    }
}

#[derive(Default)]
struct Batch {
    events: Vec<Event>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, event: Event) {
        self.bytes = self.bytes.saturating_add(EVENT_BYTES + event.trail.details.0.len());
        self.events.push(event);
    }

    fn is_full(&self) -> bool {
        self.events.len() >= APPEND_MAX || self.bytes >= BATCH_BYTES
    }
}

async fn work(metadata: Arc<dyn Metadata>, mut items: mpsc::Receiver<Item>) {
    while let Some(first) = items.recv().await {
        let until = Instant::now() + FLUSH_AFTER;
        let mut batch = Batch::default();
        let mut waiting = None;
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                Item::Event(event) => batch.push(*event),
                Item::Flush(done) => {
                    waiting = Some(done);
                    break;
                }
            }
            if batch.is_full() {
                break;
            }
            next = timeout_at(until, items.recv()).await.unwrap_or(None);
        }
        if !batch.events.is_empty() {
            append(&*metadata, batch.events).await;
        }
        if let Some(done) = waiting {
            // Who waited may have given up.
            let _ = done.send(());
        }
    }
}

async fn append(metadata: &dyn Metadata, events: Vec<Event>) {
    loop {
        match metadata.propose(Command::Log(LogCommand::Append { events: events.clone() })).await {
            Ok(Outcome::Refused(refusal)) => {
                tracing::error!(code = "EVENTS_REFUSED", %refusal, "events were not logged; this is a defect of the program");
                return;
            }
            Ok(_) | Err(MetadataError::Stopping) => return,
            Err(error) => tracing::warn!(%error, "events wait for the log"),
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use kluis_raft::{
        client::memory::MemoryMetadata,
        model::{Actor, EventKind, Sealed, Trail, VaultId},
        view,
    };

    use super::*;
    use crate::keys::tests::TestEntropy;

    struct NoClock;

    impl kluis_chunkstore::env::Clock for NoClock {
        fn now_ms(&self) -> u64 {
            1
        }
    }

    fn event(salt: u8, details: usize) -> Event {
        let trail = Trail { details: Sealed(vec![0; details]), ..Trail::bare(Actor::System, [salt; 32]) };
        Event { kind: EventKind::ReadByOwner, vault: Some(VaultId(1)), document: None, trail }
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_appended_in_order_and_none_is_lost_without_a_majority() {
        let metadata = MemoryMetadata::initialised(Arc::new(NoClock), Arc::new(TestEntropy)).unwrap();
        let recorder = Recorder::start(metadata.clone());
        let size = || view::log(&*metadata.view()).unwrap().edge.size();
        recorder.flush().await;
        assert_eq!(size(), 0);
        metadata.set_quorum(false);
        for salt in 0..200 {
            recorder.record(event(salt, 2000)).await.unwrap();
        }
        tokio::time::sleep(FLUSH_AFTER * 3).await;
        assert_eq!(size(), 0);
        metadata.set_quorum(true);
        recorder.flush().await;
        let salts: Vec<u8> =
            view::history(&*metadata.view(), VaultId(1), u64::MAX, 1000).unwrap().iter().rev().map(|e| e.event.trail.salt[0]).collect();
        assert_eq!(salts, (0..200).collect::<Vec<u8>>());
    }

    #[test]
    fn the_largest_batch_fits_a_command() {
        let mut batch = Batch::default();
        while !batch.is_full() {
            batch.push(event(1, if batch.bytes + EVENT_BYTES + 1 < BATCH_BYTES { 1 } else { 2048 }));
        }
        let mut large = Batch::default();
        while !large.is_full() {
            large.push(event(1, 2048));
        }
        for batch in [batch, large] {
            assert!(batch.bytes + 64 <= kluis_raft::command::REQUEST_BYTES_MAX, "{}", batch.bytes);
        }
    }
}
