//! Signs checkpoints of the tamper-evident log: outside `apply`, because who signs must have the key.
//!
//! Owns: when, and by whom. Not: whether a checkpoint is right, which every replica checks for itself
//! (`kluis_raft::apply::log`).
//! Holds: (1) only what is committed is signed: the replica's own state is; (2) the private key is in memory of gateways
//! only, for they alone have the master key; (3) a signature that is not needed costs a refused command, nothing else.
//! Usually the leader signs. A leader that is no gateway has no key; so other gateways wait three times as long, and
//! sign when nobody did.

use std::{sync::Arc, time::Duration};

use kluis_chunkstore::ids::NodeId;
use kluis_gateway::api::Gateway;
use kluis_raft::{
    command::{
        Command,
        log::{LogCommand, LogOutcome, LogRefusal},
    },
    consensus::Consensus,
    log::{
        checkpoint::Checkpoint,
        leaf,
        note::{KeyType, Note, Signer, Verifier},
    },
    model::LogRecord,
    outcome::{Outcome, Refusal},
    view,
};
use tokio::time::sleep;

/// When a checkpoint is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointOptions {
    /// Entries after which the leader signs at once.
    pub entries: u64,
    /// Longest that the leader leaves an entry without a checkpoint.
    pub interval: Duration,
    /// Pause between two looks.
    pub look: Duration,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self { entries: 256, interval: Duration::from_secs(5), look: Duration::from_millis(500) }
    }
}

impl CheckpointOptions {
    /// Whether this gateway signs now. `fresh` entries have no checkpoint, the first of them for `waited_ms`.
    fn is_due(&self, fresh: u64, waited_ms: u64, leads: bool) -> bool {
        let patience = if leads { self.interval } else { self.interval * 3 };
        let is_late = Duration::from_millis(waited_ms) >= patience;
        fresh > 0 && (is_late || (leads && fresh >= self.entries))
    }
}

/// Looks, signs, waits; for as long as the gateway runs.
pub async fn run(gateway: Arc<Gateway>, consensus: Arc<Consensus>, own: NodeId, options: CheckpointOptions) {
    let mut signer: Option<Signer> = None;
    let mut said = String::new();
    loop {
        let worked = match &signer {
            Some(signer) => sign_if_due(&gateway, &consensus, own, &options, signer).await,
            None => match open_signer(&gateway).await {
                Ok(found) => {
                    signer = Some(found);
                    continue;
                }
                Err(why) => Err(why),
            },
        };
        match worked {
            Ok(()) => said.clear(),
            Err(why) if why != said => {
                tracing::warn!(why, "no checkpoint of the log was signed");
                said = why;
            }
            Err(_) => {}
        }
        sleep(options.look).await;
    }
}

/// The log's key: the one in the metadata, or a new one if this gateway is the first.
async fn open_signer(gateway: &Gateway) -> Result<Signer, String> {
    let read = gateway.metadata.view();
    let record = match view::log(&*read).map_err(|e| e.to_string())?.key {
        Some(record) => record,
        None => {
            let cluster = view::cluster(&*read).map_err(|e| e.to_string())?.ok_or("the metadata has not arrived yet")?;
            let name = format!("kluis/{}/{}", cluster.name, cluster.id);
            let (key, sealed) = gateway.keys.create_log_key().await.map_err(|e| e.to_string())?;
            let signer = Signer::from_seed(&name, KeyType::Ed25519, key.expose()).map_err(|e| e.to_string())?;
            let command = LogCommand::SetKey { key: sealed, verifier: signer.verifier().to_string() };
            match gateway.metadata.propose(Command::Log(command)).await.map_err(|e| e.to_string())? {
                Outcome::Log(LogOutcome::Key(first)) => first,
                other => return Err(format!("unexpected answer: {other:?}")),
            }
        }
    };
    let known = Verifier::parse(&record.verifier).map_err(|e| e.to_string())?;
    let key = gateway.keys.log_key(&record.sealed).await.map_err(|e| format!("the master key does not open the log's key: {e}"))?;
    let signer = Signer::from_seed(known.name(), KeyType::Ed25519, key.expose()).map_err(|e| e.to_string())?;
    if *signer.verifier() == known { Ok(signer) } else { Err("the log's private key is not that of its public key".to_owned()) }
}

/// How many entries have no checkpoint, and when the first of them came.
fn fresh(gateway: &Gateway, log: &LogRecord) -> Result<(u64, u64), String> {
    let covered = log.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
    let fresh = log.edge.size().saturating_sub(covered);
    if fresh == 0 {
        return Ok((0, 0));
    }
    let first = view::log_leaf(&*gateway.metadata.view(), covered).map_err(|e| e.to_string())?.ok_or("an entry of the log is missing")?;
    let since = leaf::parse(&first).map_err(|e| e.to_string())?.at_ms;
    Ok((fresh, gateway.clock.now_ms().saturating_sub(since)))
}

async fn sign_if_due(
    gateway: &Gateway,
    consensus: &Consensus,
    own: NodeId,
    options: &CheckpointOptions,
    signer: &Signer,
) -> Result<(), String> {
    let log = view::log(&*gateway.metadata.view()).map_err(|e| e.to_string())?;
    let (fresh, waited_ms) = fresh(gateway, &log)?;
    // Asked only where the answer matters.
    let may_be_due = options.is_due(fresh, waited_ms, true);
    if !may_be_due || !options.is_due(fresh, waited_ms, consensus.status().await.leader == Some(own)) {
        return Ok(());
    }
    let (origin, size, root) = (signer.verifier().name().to_owned(), log.edge.size(), log.edge.root());
    let mut note = Note::new(Checkpoint { origin, size, root, extensions: Vec::new() }.text()).map_err(|e| e.to_string())?;
    signer.sign(&mut note, 0).map_err(|e| e.to_string())?;
    match gateway.metadata.propose(Command::Log(LogCommand::PutCheckpoint { note: note.to_string() })).await {
        Ok(Outcome::Refused(Refusal::Log(LogRefusal::OtherRoot { size }))) => {
            tracing::error!(code = "LOG_DIVERGED", size, "the log of this node is not that of the others: join it as a new node");
            Err("the others have another log".to_owned())
        }
        // Somebody else was faster.
        Ok(Outcome::Log(_) | Outcome::Refused(Refusal::Log(LogRefusal::Stale { .. }))) => Ok(()),
        Ok(other) => Err(format!("unexpected answer: {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_is_first_and_others_stand_in() {
        let options = CheckpointOptions { entries: 10, interval: Duration::from_secs(5), look: Duration::from_secs(1) };
        for (fresh, waited_ms, leads, due) in [
            (0, 1_000_000, true, false),
            (1, 4_999, true, false),
            (1, 5_000, true, true),
            (9, 0, true, false),
            (10, 0, true, true),
            (10, 0, false, false),
            (1, 14_999, false, false),
            (1, 15_000, false, true),
        ] {
            assert_eq!(options.is_due(fresh, waited_ms, leads), due, "{fresh} {waited_ms} {leads}");
        }
    }
}
