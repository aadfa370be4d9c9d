//! One seed from beginning to verdict.
//!
//! Found the cluster; let clients work while faults come and go; end all faults, replace the disks that lost
//! something; then everything must hold: the cluster serves again, every acknowledged document is read back, lists
//! are right, every shard is where it belongs and none is where nothing wants it, all replicas are equal.
//!
//! Owns: the order of these, and what is asked at the end. Not: the faults themselves ([`super::plan`]).
//! Holds: a run that cannot finish is a failed run, with what it waited for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Bound,
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use kluis_chunkstore::{
    ids::{BlobId, DiskId, ShardKey},
    placement::{Avoid, Placer},
};
use kluis_raft::{client::Metadata, invariants, view};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{
    durability,
    elections::{self, Elections},
    fabric::Links,
    linear,
    plan::{self, Fault, Step, USUAL_SLOW_US},
    rng::Rng,
    workload::{Clients, PEOPLE, gateways},
    world::{NODES, World, calm_links},
};

/// How a seed is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long faults come, of the world's time.
    pub faults: Duration,
    /// How long the cluster has, once faults ended, to serve again.
    pub recovery: Duration,
    /// How long it has then to be whole and clean.
    pub settling: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { faults: Duration::from_secs(30), recovery: Duration::from_secs(90), settling: Duration::from_secs(180) }
    }
}

/// Seeds from which on a set must have come to every state of [`MUST_BE_REACHED`].
pub const SEEDS_FOR_ALL_STATES: u64 = 50;

/// States that some seed of a set must reach: a set that never got there proves nothing about them.
pub const MUST_BE_REACHED: &[&str] = &[
    "acknowledged.before_every_shard",
    "ambush.snapshot.installed",
    "ambush.vote.granted",
    "buggify.answer_lost",
    "buggify.batch_of_one",
    "buggify.segment_sealed_early",
    "buggify.write_without_linger",
    "collect.deleted",
    "disk.failed",
    "disk.full",
    "disk.read_only",
    "election.judged",
    "fault.clock",
    "fault.cut",
    "fault.cut_off_leader",
    "fault.database",
    "fault.disk",
    "fault.disk_replaced",
    "fault.kill",
    "fault.power_cut",
    "fault.rot",
    "fault.slow",
    "fault.weather",
    "read.hedged",
    "register.history",
    "repair.rebuilt",
    "session.refused_after_its_end",
    "settled",
    "snapshot.built",
    "snapshot.installed",
    "upload.abandoned",
    "upload.completed_after_rest",
    "upload.found_by_name",
    "write.placed_around",
    "write.reduced",
];

/// What a seed came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub violations: Vec<String>,
    /// Operations by kind.
    pub counts: BTreeMap<String, u64>,
    /// States reached, with how often.
    pub states: BTreeMap<String, u64>,
    /// A number that differs when anything about the run differs.
    pub trace: u64,
    /// The world's time at the end.
    pub virtual_s: u64,
    /// Datagrams that arrived, and that were lost.
    pub datagrams: (u64, u64),
    /// Faults that were carried out.
    pub faults: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.violations.is_empty() { "ok" } else { "FAILED" };
        write!(
            f,
            "seed {:5} {verdict} trace {:016x} {} s virtual, {} datagrams ({} lost), {} faults, {:?}",
            self.seed, self.trace, self.virtual_s, self.datagrams.0, self.datagrams.1, self.faults, self.counts
        )?;
        for violation in self.violations.iter().take(12) {
            write!(f, "\n    {violation}")?;
        }
        Ok(())
    }
}

/// Runs a seed.
pub fn run(seed: u64, options: &Options) -> Report {
    let mut rng = Rng::new(seed);
    let mut world = World::new(&mut rng);
    world.found_cluster();
    let clients = Clients::new(world.switchboard.clone(), world.probe.clone(), world.clock());
    let begun = world.finish(Duration::from_secs(60), clients.clone().begin_owned(rng.fork("begin")));
    let elections = Elections::begin(&world.machines);
    let (ambushes, due) = (Vec::new(), Vec::new());
    let mut run = Run { world, clients, options: options.clone(), carried_out: 0, elections, ambushes, due };
    if begun == Some(true) {
        run.whole(&mut rng);
    } else {
        run.violated("nobody could sign in to a cluster without faults");
    }
    run.report(seed)
}

struct Run {
    world: World,
    clients: Clients,
    options: Options,
    carried_out: usize,
    elections: Elections,
    ambushes: Vec<Ambush>,
    /// What follows from faults that were carried out, by the world's time in microseconds.
    due: Vec<Step>,
}

/// See [`Fault::Ambush`].
struct Ambush {
    state: &'static str,
    power: bool,
    back_ms: u64,
}

/// How an ambush is counted, by its state.
const AMBUSHED: [(&str, &str); 2] = [("snapshot.installed", "ambush.snapshot.installed"), (elections::GRANTED, "ambush.vote.granted")];

impl Run {
    fn violated(&self, what: impl fmt::Display) {
        self.clients.oracle.lock().unwrap_or_else(PoisonError::into_inner).violated(self.world.now_us(), what);
    }

    fn whole(&mut self, rng: &mut Rng) {
        for task in self.clients.tasks(&mut rng.fork("clients")) {
            self.world.spawn(task);
        }
        let length_ms = u64::try_from(self.options.faults.as_millis()).unwrap_or(u64::MAX);
        let (steps, damaged) = plan::faults(&mut rng.fork("faults"), length_ms);
        let begun_us = self.world.now_us();
        for (at_ms, fault) in steps {
            let at_us = begun_us + at_ms * 1000;
            while self.world.now_us() < at_us {
                self.step();
            }
            self.carry_out(fault);
        }
        while self.world.now_us() < begun_us + length_ms * 1000 {
            self.step();
        }
        self.heal(&damaged);
        self.verify(&mut rng.fork("verify"));
    }

    /// A window of time while faults come: what machines came to in it is judged, and may be the end of one.
    fn step(&mut self) {
        self.world.step();
        for (at, state) in std::mem::take(&mut self.world.fresh) {
            if state == elections::WON {
                match self.elections.won(&self.world.machines, at) {
                    Ok(true) => self.world.probe.note("election.judged"),
                    Ok(false) => {}
                    Err(why) => self.violated(why),
                }
            }
            let waiting = self.ambushes.iter().position(|ambush| ambush.state == state);
            if let Some(number) = waiting
                && self.world.machines[at].is_up()
            {
                let Ambush { power, back_ms, .. } = self.ambushes.swap_remove(number);
                self.world.crash(at, power);
                self.due.push((self.world.now_us() + back_ms * 1000, Fault::Start { node: at }));
                for &(_, counted) in AMBUSHED.iter().filter(|(of, _)| *of == state) {
                    self.world.probe.note(counted);
                }
            }
        }
        let now_us = self.world.now_us();
        let (now, later): (Vec<Step>, Vec<Step>) = std::mem::take(&mut self.due).into_iter().partition(|(at_us, _)| *at_us <= now_us);
        self.due = later;
        for (_, fault) in now {
            self.carry_out(fault);
        }
    }

    fn carry_out(&mut self, fault: Fault) {
        self.carried_out += 1;
        let world = &mut self.world;
        match fault {
            Fault::Crash { node, power } => {
                if world.machines[node].is_up() {
                    world.crash(node, power);
                    world.probe.note(if power { "fault.power_cut" } else { "fault.kill" });
                }
            }
            Fault::Start { node } => {
                if !world.machines[node].is_up() {
                    world.start(node);
                }
            }
            Fault::Cut { from, to, cut } => {
                let (from, to) = (world.machines[from].address, world.machines[to].address);
                world.fabric.cut(from, to, cut);
                world.probe.note("fault.cut");
            }
            Fault::Weather { loss, duplicate, straggle } => {
                world.fabric.set_links(Links { loss, duplicate, straggle, ..calm_links() });
                world.probe.note("fault.weather");
            }
            Fault::Clock { node, skew_ms } => {
                world.machines[node].skew_ms.store(skew_ms, Ordering::Relaxed);
                world.probe.note("fault.clock");
            }
            Fault::Slow { node, most_us } => {
                world.machines[node].slow_us.store(most_us, Ordering::Relaxed);
                world.probe.note("fault.slow");
            }
            Fault::Disk { node, disk, fault } => {
                let machine = &world.machines[node];
                machine.files.set_fault(&machine.disks[disk], fault);
                world.probe.note("fault.disk");
            }
            Fault::Rot { node, disk } => {
                let machine = &world.machines[node];
                if machine.files.rot(&machine.disks[disk]) {
                    world.probe.note("fault.rot");
                }
            }
            Fault::Ambush { state, power, back_ms } => self.ambushes.push(Ambush { state, power, back_ms }),
            Fault::CutOffLeader { for_ms } => {
                let Some(leader) = self.elections.leader() else { return };
                let until_us = world.now_us() + for_ms * 1000;
                for other in (0..NODES).filter(|other| *other != leader) {
                    for (from, to) in [(leader, other), (other, leader)] {
                        world.fabric.cut(world.machines[from].address, world.machines[to].address, true);
                        self.due.push((until_us, Fault::Cut { from, to, cut: false }));
                    }
                }
                world.probe.note("fault.cut_off_leader");
            }
            Fault::Database { node, failing_writes } => {
                world.machines[node].databases.set_failing_writes(failing_writes);
                world.probe.note("fault.database");
            }
        }
    }

    /// Ends every fault, and puts empty disks in the place of those that lost something, one after another.
    fn heal(&mut self, damaged: &[(usize, usize)]) {
        self.clients.stop.store(true, Ordering::Relaxed);
        self.ambushes.clear();
        self.due.clear();
        self.world.probe.calm();
        self.world.fabric.mend();
        self.world.fabric.set_links(calm_links());
        for at in 0..NODES {
            let machine = &self.world.machines[at];
            machine.files.heal();
            machine.databases.set_failing_writes(0);
            machine.skew_ms.store(0, Ordering::Relaxed);
            machine.slow_us.store(USUAL_SLOW_US, Ordering::Relaxed);
        }
        for &(node, disk) in damaged {
            if self.world.machines[node].is_up() {
                self.world.crash(node, false);
            }
            let machine = &self.world.machines[node];
            machine.files.empty(&machine.disks[disk]);
            self.world.probe.note("fault.disk_replaced");
        }
        for at in 0..NODES {
            if !self.world.machines[at].is_up() {
                self.world.start(at);
            }
        }
    }

    fn verify(&mut self, rng: &mut Rng) {
        let clients = self.clients.clone();
        let quiet = self.world.await_some(self.options.recovery, |_| (clients.running.load(Ordering::Relaxed) == 0).then_some(()));
        if quiet.is_none() {
            self.violated("a client's request never ended");
        }
        if self.world.await_some(self.options.recovery, |world| world.all_ready().then_some(())).is_none() {
            for at in 0..NODES {
                let why = self.world.machines[at].refused.get().cloned().unwrap_or_default();
                self.violated(format!("node n{} is not back: {why}", at + 1));
            }
            return;
        }
        self.world.take_disks_into_use();
        for number in 0..PEOPLE {
            let (clients, mut own) = (self.clients.clone(), rng.fork("renew"));
            let signed_in = self.world.finish(self.options.recovery, async move {
                clients.renew(&mut own, number).await && clients.can_put(&mut own, number).await
            });
            if signed_in != Some(true) {
                self.violated("after the faults a sign-in and an upload must work");
                return;
            }
        }
        self.find_unknown();
        self.read_everything();
        self.judge_register();
        self.judge_acknowledgements();
        self.settle();
        // Once more, after everything was moved and collected.
        self.read_everything();
        self.compare_replicas();
    }

    fn read_everything(&mut self) {
        let all: Vec<String> = {
            let oracle = self.clients.oracle.lock().unwrap_or_else(PoisonError::into_inner);
            oracle.documents().map(|(id, _)| id.clone()).collect()
        };
        let clients = self.clients.clone();
        let patience = self.options.recovery + Duration::from_millis(200) * u32::try_from(all.len()).unwrap_or(u32::MAX);
        let unanswered = self.world.finish(patience, async move {
            let all_gateways: Vec<usize> = gateways().collect();
            let mut unanswered = Vec::new();
            for (number, id) in all.into_iter().enumerate() {
                let mut answered = false;
                for turn in 0..5 {
                    if clients.read(all_gateways[(number + turn) % all_gateways.len()], &id).await {
                        answered = true;
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                if !answered {
                    unanswered.push(id);
                }
            }
            for person in 0..PEOPLE {
                for at in all_gateways.iter().copied() {
                    if !clients.list(at, person).await {
                        unanswered.push(format!("the list of person {person} at node n{}", at + 1));
                    }
                }
            }
            unanswered
        });
        match unanswered {
            Some(unanswered) => {
                for what in unanswered {
                    self.violated(format!("no answer to a read in a cluster without faults: {what}"));
                }
            }
            None => self.violated("reading everything back did not end"),
        }
    }

    /// Learns what became of uploads whose outcome nobody knows; they are read like the others then.
    fn find_unknown(&mut self) {
        for person in 0..PEOPLE {
            let clients = self.clients.clone();
            let found = self.world.finish(self.options.recovery, async move {
                let all: Vec<usize> = gateways().collect();
                for at in all.into_iter().cycle().take(15) {
                    if clients.find_unknown(at, person).await {
                        return true;
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                false
            });
            if found != Some(true) {
                self.violated(format!("no answer in a cluster without faults: the list of person {person}"));
            }
        }
    }

    fn judge_acknowledgements(&mut self) {
        let versions = self.world.ask(0, Duration::from_secs(10), |live| async move {
            let consensus = &live.node.consensus;
            consensus.linearize().await.ok()?;
            durability::versions(&*consensus.view())
        });
        let Ok(Some(versions)) = versions else {
            self.violated("the metadata does not tell which versions there are");
            return;
        };
        let acknowledged = self.clients.oracle.lock().unwrap_or_else(PoisonError::into_inner).acknowledged.clone();
        let judged = durability::judge(&acknowledged, &versions, &self.world.machines);
        if judged.versions > 0 && judged.incomplete > 0 {
            self.world.probe.note("acknowledged.before_every_shard");
        }
        let mut oracle = self.clients.oracle.lock().unwrap_or_else(PoisonError::into_inner);
        for (at_us, why) in judged.wrong {
            oracle.violated(at_us, why);
        }
    }

    fn judge_register(&self) {
        let history = self.clients.register.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if history.len() > 10 {
            self.world.probe.note("register.history");
        }
        if !linear::is_linearizable(&history, 0) {
            self.violated(format!("the register's history is not linearizable: {history:?}"));
        }
    }

    /// Waits until every shard lies where it belongs and none where nothing wants it.
    fn settle(&mut self) {
        let mut last = String::new();
        let clean = self.world.await_some(self.options.settling, |world| match shards_astray(world) {
            Ok(astray) if astray.is_empty() => Some(()),
            Ok(astray) => {
                last = astray;
                world.run_for(Duration::from_secs(2));
                None
            }
            Err(why) => {
                last = why;
                None
            }
        });
        match clean {
            Some(()) => self.world.probe.note("settled"),
            None => self.violated(format!("the disks never agreed with the metadata: {last}")),
        }
    }

    /// All replicas hold the same, once they have applied the same.
    fn compare_replicas(&mut self) {
        let mut seen = Vec::new();
        let equal = self.world.await_some(Duration::from_secs(30), |world| {
            seen.clear();
            for at in 0..NODES {
                let state = world.ask(at, Duration::from_secs(5), |live| async move {
                    let consensus = &live.node.consensus;
                    let applied = *consensus.watch_applied().borrow();
                    let read = consensus.view();
                    let mut hash = Xxh3::new();
                    let mut from = Vec::new();
                    loop {
                        let page = read.scan(&from, &[0xff; 64], 512).ok()?;
                        let Some((last, _)) = page.last() else { break };
                        from = last.clone();
                        from.push(0);
                        for (key, value) in &page {
                            hash.update(&xxh3_64(key).to_le_bytes());
                            hash.update(&xxh3_64(value).to_le_bytes());
                        }
                    }
                    let sound = match invariants::violations(&*read) {
                        Ok(found) if found.is_empty() => Ok(()),
                        Ok(found) => Err(found.join("; ")),
                        Err(e) => Err(e.to_string()),
                    };
                    (*consensus.watch_applied().borrow() == applied).then_some((applied, hash.digest(), sound))
                });
                seen.push(state.ok()??);
            }
            let first = seen.first()?.0;
            seen.iter().all(|(applied, _, _)| *applied == first).then_some(())
        });
        if equal.is_none() {
            self.violated("the replicas never came to the same position");
            return;
        }
        let states: BTreeSet<u64> = seen.iter().map(|(_, hash, _)| *hash).collect();
        if states.len() != 1 {
            self.violated(format!("the replicas differ: {seen:?}"));
        }
        for (_, _, sound) in &seen {
            if let Err(why) = sound {
                self.violated(format!("an invariant of the metadata is broken: {why}"));
            }
        }
    }

    fn report(self, seed: u64) -> Report {
        let oracle = self.clients.oracle.lock().unwrap_or_else(PoisonError::into_inner);
        let injected: u64 = self.world.machines.iter().map(|m| m.files.injected() + m.databases.injected()).sum();
        let mut trace = Xxh3::new();
        trace.update(&self.world.fabric.trace().to_le_bytes());
        trace.update(&self.world.now_us().to_le_bytes());
        trace.update(format!("{:?} {:?} {injected}", oracle.counts, oracle.violations).as_bytes());
        Report {
            seed,
            violations: oracle.violations.clone(),
            counts: owned(&oracle.counts),
            states: owned(&self.world.probe.states()),
            trace: trace.digest(),
            virtual_s: self.world.now_us() / 1_000_000,
            datagrams: self.world.fabric.counts(),
            faults: self.carried_out,
        }
    }
}

fn owned(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// What the disks have.
type Held = BTreeMap<DiskId, BTreeSet<ShardKey>>;

/// Shards that are missing at home or lie where nothing wants them; empty when all is well.
pub(super) fn shards_astray(world: &mut World) -> Result<String, String> {
    let mut held: Held = BTreeMap::new();
    for at in 0..NODES {
        for disk in world.disks(at).map_err(|_| format!("node n{} does not answer", at + 1))? {
            let keys = disk.list(Bound::Unbounded, usize::MAX).into_iter().map(|(key, _)| key).collect();
            held.insert(disk.label().disk, keys);
        }
    }
    let wanted = world.ask(0, Duration::from_secs(10), |live| async move {
        let consensus = &live.node.consensus;
        consensus.linearize().await.ok()?;
        let read = consensus.view();
        let topology = view::topology(&*read).ok()??;
        let mut wanted: Held = BTreeMap::new();
        let mut from = BlobId(0);
        loop {
            let page = view::blobs(&*read, from, 256).ok()?;
            for blob in &page {
                let placer = Placer::new(&topology, blob.code, &Avoid::nothing());
                for chunk in blob.all_chunks() {
                    for (shard, disk) in placer.place(chunk).iter() {
                        wanted.entry(disk).or_default().insert(ShardKey { chunk, shard });
                    }
                }
            }
            match page.last().and_then(|b| b.id.0.checked_add(1)) {
                Some(next) => from = BlobId(next),
                None => break,
            }
        }
        Some(wanted)
    });
    let wanted = wanted.ok().flatten().ok_or("the metadata does not answer")?;
    let nothing = BTreeSet::new();
    let count =
        |a: &Held, b: &Held| -> usize { a.iter().map(|(disk, keys)| keys.difference(b.get(disk).unwrap_or(&nothing)).count()).sum() };
    let (missing, unwanted) = (count(&wanted, &held), count(&held, &wanted));
    Ok(if missing + unwanted == 0 { String::new() } else { format!("{missing} shards are missing, {unwanted} are unwanted") })
}
