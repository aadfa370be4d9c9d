//! The state machine as openraft drives it: apply, take a snapshot, become a snapshot.
//!
//! Owns: which snapshot is the current one, and the files beside the database. Not: what a command does
//! ([`crate::apply`]), the format of a snapshot ([`super::snapshot`]).
//! Holds: (1) the entries of one apply call, the applied position and the membership are one write batch;
//! (2) a snapshot shows the instant of its beginning, while commands go on being applied; (3) a snapshot is
//! installed only after the whole file was verified, and a reader or a crash sees the old state or the new
//! one; (4) one file is kept, others are removed at start.
//! Why a note in `meta` before openraft hears of a received snapshot: openraft purges the log that the
//! snapshot covers, and may append what follows it, while the state is still being replaced. A crash there
//! would leave neither. The note makes the next start finish the replacement first.

use std::{
    collections::BTreeSet,
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use kluis_chunkstore::{
    database::Batch,
    env::{File, FileSystem},
    ids::ClusterId,
};
use openraft::{
    EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, Snapshot, StorageError, storage::RaftStateMachine,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::{
    file_io::{FileReader, FileWriter},
    log_store::{self, decode_meta, encode_meta},
    snapshot::{SnapshotError, SnapshotReader, SnapshotWriter, Summary},
    status::ConsensusCounters,
    types::{Applied, LogEntry, Members, Position, SnapshotFile, SnapshotMeta, TypeConfig, storage_error},
    world::World,
};
use crate::{
    apply::apply,
    outcome::Outcome,
    store::{
        StoreError, Transaction,
        replica::{Frozen, ReplicaStore},
    },
};

/// Keys in `meta`.
const APPLIED: &[u8] = b"applied";
const SNAPSHOT: &[u8] = b"snapshot";
/// A verified snapshot that is to become the state; see the module.
const INSTALLING: &[u8] = b"installing";

/// A snapshot and its file.
type Built = (SnapshotMeta, SnapshotFile);

/// The current snapshot, as stored in `meta`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SnapshotRecord {
    name: String,
    meta: SnapshotMeta,
    len: u64,
    checksum: u64,
}

/// What the state machine, its snapshot builders and the receiver of snapshots share.
pub(crate) struct State {
    store: Arc<ReplicaStore>,
    world: World,
    /// Where snapshots lie.
    dir: PathBuf,
    cluster: ClusterId,
    bytes_max: u64,
    applied: watch::Sender<u64>,
    current: Mutex<Option<Built>>,
    counters: Arc<ConsensusCounters>,
}

fn io_error(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io(format!("{what} {}: {error}", path.display()))
}

impl State {
    /// The state in `store`, with its snapshots in `dir`. Blocking.
    pub(crate) fn open(
        store: Arc<ReplicaStore>,
        world: World,
        dir: PathBuf,
        cluster: ClusterId,
        bytes_max: u64,
        counters: Arc<ConsensusCounters>,
    ) -> Result<Self, StoreError> {
        world.files.create_dir_all(&dir).map_err(|e| io_error("making", &dir, &e))?;
        let state = Self { store, world, dir, cluster, bytes_max, applied: watch::Sender::new(0), current: Mutex::new(None), counters };
        state.announce(state.applied()?.last);
        let current = state.stored(SNAPSHOT)?;
        *state.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
        state.resume()?;
        state.remove_other_files()?;
        Ok(state)
    }

    /// A snapshot named in `meta`. A file that is gone or short is as good as none.
    fn stored(&self, key: &[u8]) -> Result<Option<Built>, StoreError> {
        let Some(bytes) = self.store.meta(key)? else { return Ok(None) };
        let record: SnapshotRecord = decode_meta(key, &bytes)?;
        let path = self.dir.join(&record.name);
        let Ok(file) = self.world.files.open(&path) else { return Ok(None) };
        let whole = file.len().is_ok_and(|len| len == record.len);
        let file = SnapshotFile { path, file, len: record.len, checksum: record.checksum };
        Ok(whole.then_some((record.meta, file)))
    }

    /// Finishes a replacement of the state that a crash interrupted.
    fn resume(&self) -> Result<(), StoreError> {
        if self.store.meta(INSTALLING)?.is_none() {
            return Ok(());
        }
        if let Some((meta, file)) = self.stored(INSTALLING)?
            && meta.last_log_id > self.applied()?.last
        {
            tracing::info!(snapshot = %meta.snapshot_id, "finishing the installation of a snapshot");
            let last = meta.last_log_id;
            self.install(&meta, file)?;
            if let Some(last) = last {
                log_store::align(&self.store, last)?;
            }
        }
        self.forget_installing()
    }

    fn forget_installing(&self) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        self.store.batch_meta(&mut batch, INSTALLING, None);
        self.store.commit(&batch, false)
    }

    /// Notes durably that a verified snapshot is to become the state; before openraft hears of it.
    pub(crate) async fn announce_install(self: &Arc<Self>, meta: &SnapshotMeta, file: &SnapshotFile) -> Result<(), StoreError> {
        let (state, meta, file) = (Arc::clone(self), meta.clone(), file.clone());
        let note = move || {
            state.sync_dir()?;
            state.store.put_meta(INSTALLING, &state.record(&meta, &file)?, true)
        };
        self.world.run(note).await
    }

    /// The index of the last applied entry, as it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// How far the state has come. Blocking.
    pub(crate) fn applied(&self) -> Result<Applied, StoreError> {
        match self.store.meta(APPLIED)? {
            Some(bytes) => decode_meta(APPLIED, &bytes),
            None => Ok(Applied::default()),
        }
    }

    fn remove_other_files(&self) -> Result<(), StoreError> {
        let keep: BTreeSet<PathBuf> =
            self.current.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(_, file)| file.path.clone()).collect();
        for name in self.world.files.list(&self.dir).map_err(|e| io_error("listing", &self.dir, &e))? {
            let path = self.dir.join(name);
            if !keep.contains(&path) {
                self.world.files.remove(&path).map_err(|e| io_error("removing", &path, &e))?;
            }
        }
        Ok(())
    }

    fn apply_entries(&self, entries: Vec<LogEntry>) -> Result<Vec<Vec<Outcome>>, StoreError> {
        let mut applied = self.applied()?;
        let mut transaction = Transaction::new(&*self.store);
        let mut answers = Vec::with_capacity(entries.len());
        for entry in entries {
            applied.last = Some(entry.log_id);
            answers.push(match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Normal(batch) => {
                    batch.requests.iter().map(|request| apply(&mut transaction, request)).collect::<Result<Vec<_>, _>>()?
                }
                EntryPayload::Membership(membership) => {
                    applied.membership = Members::new(Some(entry.log_id), membership);
                    Vec::new()
                }
            });
        }
        self.store.write_with_meta(transaction.into_writes(), (APPLIED, &encode_meta(&applied)?))?;
        self.announce(applied.last);
        Ok(answers)
    }

    fn announce(&self, last: Option<Position>) {
        if let Some(last) = last {
            self.applied.send_replace(last.index);
        }
    }

    /// A new file for a snapshot, under a name that nothing else has.
    fn new_file(&self, kind: &str) -> Result<(PathBuf, Arc<dyn File>), StoreError> {
        let path = self.dir.join(format!("{kind}-{:032x}", self.world.random_u128()));
        let file = self.world.files.create(&path);
        file.map(|file| (path.clone(), file)).map_err(|e| io_error("creating", &path, &e))
    }

    /// Writes a snapshot of this instant; calls `begun` when later writes no longer show in it.
    fn build(&self, begun: impl FnOnce()) -> Result<Built, StoreError> {
        let frozen = self.store.frozen();
        begun();
        let applied: Applied = match frozen.meta(APPLIED)? {
            Some(bytes) => decode_meta(APPLIED, &bytes)?,
            None => Applied::default(),
        };
        let meta = SnapshotMeta {
            last_log_id: applied.last,
            last_membership: applied.membership,
            snapshot_id: format!("{}-{:016x}", applied.last.map_or(0, |last| last.index), self.world.jitter(u64::MAX - 1)),
        };
        let (path, file) = self.new_file("built")?;
        let written = self.write_file(&frozen, &file, &meta);
        match written {
            Ok(summary) => {
                self.world.probe.reached("snapshot.built");
                let file = SnapshotFile { path, file, len: summary.len, checksum: summary.checksum };
                self.publish(meta.clone(), file.clone())?;
                Ok((meta, file))
            }
            Err(e) => {
                let _ = self.world.files.remove(&path);
                Err(e.into())
            }
        }
    }

    fn write_file(&self, frozen: &Frozen<'_>, file: &Arc<dyn File>, meta: &SnapshotMeta) -> Result<Summary, SnapshotError> {
        let out = BufWriter::with_capacity(1 << 20, FileWriter::new(Arc::clone(file)));
        let mut writer = SnapshotWriter::new(out, self.cluster, meta)?;
        frozen.each_entry(|key, value| writer.push(key, value))?;
        let (_, summary) = writer.finish()?;
        file.sync()?;
        Ok(summary)
    }

    fn record(&self, meta: &SnapshotMeta, file: &SnapshotFile) -> Result<Vec<u8>, StoreError> {
        let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        encode_meta(&SnapshotRecord { name, meta: meta.clone(), len: file.len, checksum: file.checksum })
    }

    fn sync_dir(&self) -> Result<(), StoreError> {
        self.world.files.sync_dir(&self.dir).map_err(|e| io_error("syncing", &self.dir, &e))
    }

    /// Makes a durable file the current snapshot, unless a newer one has become it meanwhile.
    fn publish(&self, meta: SnapshotMeta, file: SnapshotFile) -> Result<(), StoreError> {
        self.sync_dir()?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|(newer, _)| newer.last_log_id > meta.last_log_id) {
            let _ = self.world.files.remove(&file.path);
            return Ok(());
        }
        self.store.put_meta(SNAPSHOT, &self.record(&meta, &file)?, true)?;
        self.retire(current.replace((meta, file)));
        Ok(())
    }

    fn retire(&self, old: Option<Built>) {
        if let Some((_, old)) = old {
            // If this fails the file is removed at the next start.
            let _ = self.world.files.remove(&old.path);
        }
    }

    /// A file to receive a snapshot into.
    pub(crate) async fn receiving(self: &Arc<Self>) -> Result<Receiving, StoreError> {
        let state = Arc::clone(self);
        let (path, file) = self.world.run(move || state.new_file("received")).await?;
        Ok(Receiving { files: Arc::clone(&self.world.files), path, file: Some(file), kept: false })
    }

    /// Largest snapshot that is taken, in bytes.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    fn reader(&self, file: &Arc<dyn File>) -> Result<SnapshotReader<BufReader<FileReader>>, SnapshotError> {
        let file = FileReader::new(Arc::clone(file))?;
        SnapshotReader::new(BufReader::with_capacity(1 << 20, file), self.cluster, self.bytes_max)
    }

    /// Verifies a received file from beginning to end.
    pub(crate) async fn verify(self: &Arc<Self>, mut received: Receiving) -> Result<Built, String> {
        let state = Arc::clone(self);
        let job = move || {
            let Some(file) = received.file.take() else { return Ok(Err("the file is gone".to_owned())) };
            let checked = file.sync().map_err(SnapshotError::from).and_then(|()| state.reader(&file)?.verify());
            Ok(match checked {
                Ok((meta, summary)) => {
                    received.kept = true;
                    let path = received.path.clone();
                    Ok((meta, SnapshotFile { path, file, len: summary.len, checksum: summary.checksum }))
                }
                Err(e) => Err(e.to_string()),
            })
        };
        self.world.run(job).await.map_err(|e| e.to_string())?
    }

    /// Removes a received file, and the note on it, that openraft did not install: it had come further meanwhile.
    pub(crate) async fn discard_unless_current(self: &Arc<Self>, path: PathBuf) -> Result<(), StoreError> {
        let state = Arc::clone(self);
        let discard = move || {
            let current = state.current.lock().unwrap_or_else(PoisonError::into_inner);
            if current.as_ref().is_some_and(|(_, file)| file.path == path) {
                return Ok(());
            }
            state.forget_installing()?;
            state.world.files.remove(&path).map_err(|e| io_error("removing", &path, &e))
        };
        self.world.run(discard).await
    }

    /// Replaces the state by a verified snapshot. A crash before the end leaves the old state.
    fn install(&self, meta: &SnapshotMeta, file: SnapshotFile) -> Result<(), StoreError> {
        let mut reader = self.reader(&file.file)?;
        if reader.meta().last_log_id != meta.last_log_id || reader.meta().last_membership != meta.last_membership {
            return Err(SnapshotError::Malformed("the header differs from the announcement".into()).into());
        }
        let slot = self.store.begin_replace()?;
        while let Some(entries) = reader.next_block()? {
            self.store.fill(slot, entries)?;
        }
        self.sync_dir()?;
        let applied = Applied { last: meta.last_log_id, membership: meta.last_membership.clone() };
        let record = self.record(meta, &file)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let mut meta_writes = vec![(APPLIED, Some(encode_meta(&applied)?)), (SNAPSHOT, Some(record.clone()))];
        if self.store.meta(INSTALLING)?.as_ref() == Some(&record) {
            meta_writes.push((INSTALLING, None));
        }
        self.store.finish_replace(slot, &meta_writes)?;
        self.retire(current.replace((meta.clone(), file)));
        drop(current);
        self.world.probe.reached("snapshot.installed");
        self.counters.snapshots_installed.fetch_add(1, Ordering::Relaxed);
        self.announce(meta.last_log_id);
        Ok(())
    }
}

/// A snapshot that is arriving. Its file is removed unless it turns out whole.
pub(crate) struct Receiving {
    files: Arc<dyn FileSystem>,
    path: PathBuf,
    file: Option<Arc<dyn File>>,
    kept: bool,
}

impl Receiving {
    /// The file, for writing from its beginning.
    pub(crate) fn file(&self) -> Option<Arc<dyn File>> {
        self.file.clone()
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.files.remove(&self.path);
        }
    }
}

/// The state machine that openraft owns.
pub struct StateMachine(Arc<State>);

impl StateMachine {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self(state)
    }
}

fn snapshot_of((meta, file): Built) -> Snapshot<TypeConfig> {
    Snapshot { meta, snapshot: Box::new(file) }
}

/// A snapshot that is being written by blocking work.
pub struct SnapshotBuilder(Option<oneshot::Receiver<Result<Built, StoreError>>>);

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError<u64>> {
        let stopped = || StoreError::Io("the process is stopping".into());
        let built = match self.0.take() {
            Some(built) => built.await.unwrap_or_else(|_| Err(stopped())),
            None => Err(stopped()),
        };
        built.map(snapshot_of).map_err(|e| storage_error(ErrorSubject::Snapshot(None), ErrorVerb::Write, e))
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<Position>, Members), StorageError<u64>> {
        let state = Arc::clone(&self.0);
        let applied = self.0.world.run(move || state.applied()).await;
        applied.map(|applied| (applied.last, applied.membership)).map_err(|e| storage_error(ErrorSubject::StateMachine, ErrorVerb::Read, e))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<Outcome>>, StorageError<u64>>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        let state = Arc::clone(&self.0);
        let answers = self.0.world.run(move || state.apply_entries(entries)).await;
        answers.map_err(|e| storage_error(ErrorSubject::StateMachine, ErrorVerb::Write, e))
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let (begun, has_begun) = oneshot::channel();
        let (done, result) = oneshot::channel();
        let state = Arc::clone(&self.0);
        self.0.world.blocking.run(Box::new(move || {
            let built = state.build(|| {
                let _ = begun.send(());
            });
            let _ = done.send(built);
        }));
        // Nothing may be applied until the instant of the snapshot is fixed.
        let _ = has_begun.await;
        SnapshotBuilder(Some(result))
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotFile>, StorageError<u64>> {
        // Snapshots arrive whole (`Consensus::handle_stream`); nothing calls this.
        Err(storage_error(ErrorSubject::Snapshot(None), ErrorVerb::Write, "snapshots are not received in pieces"))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Box<SnapshotFile>) -> Result<(), StorageError<u64>> {
        let state = Arc::clone(&self.0);
        let meta = meta.clone();
        let signature = meta.signature();
        let installed = self.0.world.run(move || state.install(&meta, *snapshot)).await;
        installed.map_err(|e| storage_error(ErrorSubject::Snapshot(Some(signature)), ErrorVerb::Write, e))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError<u64>> {
        let current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(current.map(snapshot_of))
    }
}
