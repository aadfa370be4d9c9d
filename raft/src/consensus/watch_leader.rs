//! Looking after the leader: a follower that hears nothing asks it, then the others, then stands for election.
//!
//! Owns: when somebody is asked, and what this node answers. Not: the decision ([`super::election`]) and the
//! election (openraft, whose own timer is off: this is the only place from which a voter stands).
//! Holds: (1) only signs of a leader in force count: its messages, its answer to the question whether it leads, or
//! a vote that moved, since an election is then under way; (2) a leader whose replica does not work (its disk
//! hangs) stops saying that it leads; (3) a process whose timers come late begins to listen anew before it takes its
//! own deafness for silence; (4) a question wakes its receiver at most once a silence, so that questions do not make
//! ever more of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use kluis_chunkstore::ids::NodeId;
use openraft::{ServerState, Vote, metrics::RaftServerMetrics};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    Core,
    election::{Decision, Rules, Sight, decide},
    status::majority,
    transport::{PeerCall, PeerError},
    wire::{self, SMALL_BYTES_MAX},
};

/// Once a majority answered, the others get this long: one of them may be better placed.
const STRAGGLERS: Duration = Duration::from_millis(50);
/// Between two questions, at least.
const PAUSE_MS: u64 = 50;
/// Between two rounds of questions that no majority answers, at most.
const PAUSE_MAX_MS: u64 = 1000;
/// Between the looks of a node without a vote.
const IDLE_MS: u64 = 500;

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// When the last sign of a leader or an election came. On a leader: when its replica last answered.
#[derive(Debug)]
pub(crate) struct Signs {
    last: Mutex<Instant>,
    /// A peer asks because it hears no leader, and neither does this node.
    asked: Notify,
    /// In this silence this node asks the others already.
    asking: AtomicBool,
}

impl Signs {
    /// A node that has just begun has heard nothing, and is not taken for deaf at once.
    pub(crate) fn new() -> Self {
        Self { last: Mutex::new(Instant::now()), asked: Notify::new(), asking: AtomicBool::new(false) }
    }

    /// There was one just now.
    pub(crate) fn note(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silent_ms(&self) -> u64 {
        millis(self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed())
    }
}

/// The group as this node knows it.
struct Seen {
    vote: Vote<u64>,
    state: ServerState,
    leader: Option<u64>,
    groups: Vec<BTreeSet<u64>>,
}

impl Seen {
    fn of(metrics: &RaftServerMetrics<u64, ()>) -> Self {
        let groups = metrics.membership_config.membership().get_joint_config().clone();
        Self { vote: metrics.vote, state: metrics.state, leader: metrics.current_leader, groups }
    }

    fn term(&self) -> u64 {
        self.vote.leader_id().term
    }
}

/// One silence, from the last sign on.
struct Silence {
    /// When this node asks the others, if nothing brings that forward: different on each, so that few ask at once.
    start_ms: u64,
    /// A peer asks already, or the leader is out of reach or says that it does not lead.
    doubt: bool,
    /// Since when a majority agrees.
    agreed: Option<Instant>,
    /// Rounds of questions so far.
    rounds: u64,
}

impl Silence {
    fn begin(core: &Core) -> Self {
        core.signs.asking.store(false, Ordering::Relaxed);
        let (min, max) = core.options.election_ms;
        Self { start_ms: min.saturating_add(core.world.jitter(max.saturating_sub(min))), doubt: false, agreed: None, rounds: 0 }
    }
}

/// Looks after the leader for as long as the replica runs.
pub(crate) async fn watch_leader(core: Arc<Core>) {
    let mut metrics = core.raft.server_metrics();
    let mut silence = Silence::begin(&core);
    let mut vote = None;
    loop {
        let seen = Seen::of(&metrics.borrow_and_update());
        if core.running().is_err() {
            return;
        }
        if vote != Some(seen.vote) {
            vote = Some(seen.vote);
            core.signs.note();
            silence = Silence::begin(&core);
        }
        let pause_ms = if seen.state.is_leader() {
            core.prove_replica().await;
            core.options.rules().ask_ms
        } else if seen.groups.iter().any(|group| group.contains(&core.options.node.0)) {
            core.listen(&seen, &mut silence).await
        } else {
            IDLE_MS
        };
        let due = Instant::now() + Duration::from_millis(pause_ms);
        tokio::select! {
            () = sleep_until(due) => {}
            () = core.signs.asked.notified() => silence.doubt = true,
            changed = metrics.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
        if millis(Instant::now().saturating_duration_since(due)) > core.options.rules().agree_ms {
            tracing::debug!("timers come late: this process listens for the leader anew");
            core.signs.note();
        }
    }
}

/// Who leads now, once this node does not; for as long as it does, waits.
pub(crate) async fn deposed(mut metrics: watch::Receiver<RaftServerMetrics<u64, ()>>) -> Option<u64> {
    metrics.wait_for(|metrics| !metrics.state.is_leader()).await.ok().and_then(|metrics| metrics.current_leader)
}

impl Core {
    /// What this node says of the leader.
    fn sight(&self) -> Sight {
        let rules: Rules = self.options.rules();
        let silent_ms = self.signs.silent_ms();
        let metrics = self.raft.server_metrics();
        let (term, leader) = {
            let metrics = metrics.borrow();
            (metrics.vote.leader_id().term, metrics.state.is_leader())
        };
        let data = self.raft.data_metrics();
        let last_log = data.borrow().last_log;
        Sight { term, leads: leader && silent_ms < rules.agree_ms.saturating_mul(4), silent_ms, last_log }
    }

    /// What a peer's question is answered. A node that hears nothing either begins to ask, too: the best placed
    /// one need not wait for its own time.
    pub(crate) fn serve_sight(&self) -> Result<Bytes, String> {
        let sight = self.sight();
        let deaf = !sight.leads && sight.silent_ms >= self.options.rules().agree_ms;
        if deaf && !self.signs.asking.load(Ordering::Relaxed) {
            self.signs.asked.notify_one();
        }
        wire::encode(&sight)
    }

    async fn ask_sight(&self, peer: u64, deadline: Duration) -> Result<Sight, PeerError> {
        let body = wire::encode(&()).map_err(PeerError::Refused)?;
        let answer = self.transport.call(NodeId(peer), PeerCall::Sight, body, deadline).await?;
        wire::decode(&answer, SMALL_BYTES_MAX).map_err(PeerError::Refused)
    }

    /// Notes a sign when the replica of this leader answers.
    async fn prove_replica(&self) {
        let patience = Duration::from_millis(self.options.rules().agree_ms);
        if let Ok(Ok(())) = timeout(patience, self.raft.with_raft_state(|_| ())).await {
            self.signs.note();
        }
    }

    /// One step of a voter that does not lead; returns how long to wait before the next.
    async fn listen(self: &Arc<Self>, seen: &Seen, silence: &mut Silence) -> u64 {
        let rules = self.options.rules();
        let silent_ms = self.signs.silent_ms();
        if silent_ms < rules.ask_ms {
            *silence = Silence::begin(self);
            return rules.ask_ms - silent_ms;
        }
        let threshold = if silence.doubt { rules.agree_ms } else { silence.start_ms };
        match (threshold.saturating_sub(silent_ms), seen.leader.filter(|leader| *leader != self.options.node.0)) {
            (0, _) => self.ask_all(seen, silence).await,
            // Nobody leads: nothing to ask before the time has come.
            (left, None) => left,
            (left, Some(leader)) => self.ask_whether_it_leads(leader, seen.term(), left, silence).await,
        }
    }

    async fn ask_whether_it_leads(&self, leader: u64, term: u64, left_ms: u64, silence: &mut Silence) -> u64 {
        tokio::select! {
            answer = self.ask_sight(leader, Duration::from_millis(left_ms)) => match answer {
                Ok(sight) if sight.leads && sight.term >= term => {
                    self.heard.note(leader);
                    self.signs.note();
                    self.options.rules().ask_ms
                }
                Ok(_) | Err(PeerError::Unreachable(_)) => {
                    silence.doubt = true;
                    PAUSE_MS.min(left_ms)
                }
                Err(PeerError::Timeout | PeerError::Refused(_)) => PAUSE_MS.min(left_ms),
            },
            () = self.signs.asked.notified() => {
                silence.doubt = true;
                0
            }
        }
    }

    async fn ask_all(self: &Arc<Self>, seen: &Seen, silence: &mut Silence) -> u64 {
        let rules = self.options.rules();
        self.signs.asking.store(true, Ordering::Relaxed);
        self.counters.leader_polls.fetch_add(1, Ordering::Relaxed);
        let answers = self.gather_sights(seen).await;
        if self.raft.server_metrics().borrow().vote != seen.vote {
            return 0;
        }
        let agreed_ms = silence.agreed.map_or(0, |since| millis(since.elapsed()));
        match decide(self.options.node.0, &self.sight(), &seen.groups, &answers, agreed_ms, &rules) {
            Decision::Heard => {
                self.signs.note();
                rules.ask_ms
            }
            Decision::Disagreed { within_ms } => {
                silence.agreed = None;
                silence.rounds = silence.rounds.saturating_add(1);
                let longest = PAUSE_MAX_MS.min(PAUSE_MS.saturating_mul(silence.rounds.saturating_add(1)));
                within_ms.unwrap_or(longest).clamp(PAUSE_MS / 2, longest).saturating_add(self.world.jitter(PAUSE_MS / 2))
            }
            Decision::After { ms } => {
                silence.agreed.get_or_insert_with(Instant::now);
                ms
            }
            Decision::Elect => {
                tracing::info!(term = seen.term(), leader = ?seen.leader, "a majority hears no leader: this node stands for election");
                self.counters.elections.fetch_add(1, Ordering::Relaxed);
                if let Err(e) = self.raft.trigger().elect().await {
                    tracing::warn!(error = %e, "the election could not begin");
                }
                self.signs.note();
                rules.ask_ms
            }
        }
    }

    /// Asks every other voter, and returns soon after a majority, or the leader, has answered.
    async fn gather_sights(self: &Arc<Self>, seen: &Seen) -> BTreeMap<u64, Sight> {
        let me = self.options.node.0;
        let deadline = Duration::from_millis(self.options.rules().stagger_ms);
        let mut end = Instant::now() + deadline;
        let peers: BTreeSet<u64> = seen.groups.iter().flatten().copied().filter(|id| *id != me).collect();
        let mut asked = JoinSet::new();
        for peer in peers {
            let core = Arc::clone(self);
            asked.spawn(async move { (peer, core.ask_sight(peer, deadline).await) });
        }
        let mut answered = BTreeSet::from([me]);
        let mut answers = BTreeMap::new();
        while let Ok(Some(joined)) = timeout_at(end, asked.join_next()).await {
            let Ok((peer, Ok(sight))) = joined else { continue };
            answers.insert(peer, sight);
            answered.insert(peer);
            if sight.leads && sight.term >= seen.term() {
                break;
            }
            if majority(&seen.groups, &answered) {
                end = end.min(Instant::now() + STRAGGLERS);
            }
        }
        answers
    }
}
