//! Sends what waits in the outbox: outside `apply`, because a state machine sends nothing.
//!
//! Owns: the loop. Not: which deliveries are taken (`kluis_gateway::notify::plan`, pure), how one is sent
//! (`kluis_gateway::notify`), nor what its result does (`kluis_raft::apply::outbox`).
//! Holds: (1) a delivery is sent by who has its lease, so that it goes out at least once, and twice only when a gateway
//! died or was slower than its lease; (2) at most `AT_ONCE` are on their way, and a receiver that does not answer holds
//! up nothing but its own; (3) without a majority nothing is sent: nobody could tell what was.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kluis_chunkstore::ids::NodeId;
use kluis_gateway::{
    api::Gateway,
    notify::plan::{Due, plan},
};
use kluis_raft::{
    command::{
        Command,
        notice::{CLAIM_MAX, NoticeCommand},
    },
    consensus::Consensus,
    model::{Channel, Delivery, VaultId},
    outcome::{NoticeOutcome, Outcome},
    view,
};
use tokio::{
    task::{JoinError, JoinSet},
    time::sleep,
};

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Deliveries on their way at once.
const AT_ONCE: usize = 16;
/// Deliveries that are due of which a look knows: more than one vault can have waiting.
const DUE_MAX: usize = 2_000;
/// How long a gateway has a delivery for itself: above every deadline of sending.
const LEASE: Duration = Duration::from_secs(90);

/// What is on its way.
#[derive(Default)]
struct Running {
    tasks: JoinSet<VaultId>,
    by_vault: HashMap<VaultId, usize>,
}

impl Running {
    fn room(&self) -> usize {
        AT_ONCE.saturating_sub(self.tasks.len())
    }

    fn start(&mut self, gateway: &Arc<Gateway>, delivery: Delivery) {
        *self.by_vault.entry(delivery.vault).or_default() += 1;
        self.tasks.spawn(send(Arc::clone(gateway), delivery));
    }

    fn ended(&mut self, ended: Result<VaultId, JoinError>) {
        if let Ok(vault) = ended
            && let Some(count) = self.by_vault.get_mut(&vault)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_vault.remove(&vault);
            }
        }
        if self.tasks.is_empty() {
            self.by_vault.clear();
        }
    }
}

/// Looks, takes, sends, waits; for as long as the gateway runs.
pub async fn run(gateway: Arc<Gateway>, consensus: Arc<Consensus>, own: NodeId) {
    let mut running = Running::default();
    let mut said = String::new();
    loop {
        match take(&gateway, &consensus, own, &mut running).await {
            Ok(()) => said.clear(),
            Err(why) if why != said => {
                tracing::warn!(why, "notices wait");
                said = why;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            Some(ended) = running.tasks.join_next() => running.ended(ended),
        }
    }
}

/// Takes what is due and starts sending it.
async fn take(gateway: &Arc<Gateway>, consensus: &Consensus, own: NodeId, running: &mut Running) -> Result<(), String> {
    let channels: Vec<Channel> = gateway.notify.channels().collect();
    for channel in channels {
        let now_ms = gateway.clock.now_ms();
        let room = running.room().min(CLAIM_MAX);
        let due: Vec<Due> = view::notice::due(&*gateway.metadata.view(), channel, now_ms, DUE_MAX).map_err(|e| e.to_string())?;
        // Who leads is asked only where the answer matters.
        if plan(&due, now_ms, true, room, &running.by_vault).is_empty() {
            continue;
        }
        let leads = consensus.status().await.leader == Some(own);
        let deliveries = plan(&due, now_ms, leads, room, &running.by_vault);
        if deliveries.is_empty() {
            continue;
        }
        let lease_ms = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
        match propose(gateway, NoticeCommand::Claim { deliveries, lease_ms }).await? {
            Outcome::Notice(NoticeOutcome::Claimed(claimed)) => claimed.into_iter().for_each(|delivery| running.start(gateway, delivery)),
            other => return Err(format!("unexpected answer: {other:?}")),
        }
    }
    Ok(())
}

async fn propose(gateway: &Gateway, command: NoticeCommand) -> Result<Outcome, String> {
    gateway.metadata.propose(Command::Notice(Box::new(command))).await.map_err(|e| e.to_string())
}

/// Sends a delivery and tells what came of it. When that cannot be told, the lease ends and it is sent again.
async fn send(gateway: Arc<Gateway>, delivery: Delivery) -> VaultId {
    let result = gateway.notify.send(&gateway, &delivery).await;
    tracing::debug!(delivery = %delivery.id, attempt = delivery.attempts, ?result, "sent");
    let random = u64::try_from(gateway.random() & u128::from(u64::MAX)).unwrap_or_default();
    let (vault, attempt) = (delivery.vault, delivery.attempts);
    let report = NoticeCommand::Report { vault, delivery: delivery.id, attempt, result, random };
    if let Err(why) = propose(&gateway, report).await {
        tracing::warn!(why, "what came of a notice is not told now: it is sent again");
    }
    vault
}
