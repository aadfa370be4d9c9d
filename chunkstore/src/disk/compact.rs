//! Compaction: what is still wanted of a segment goes to the newest one, then the file goes.
//!
//! Owns: one step, of one segment. Not: when and how fast ([`super::Disk::compact_once`] is called by
//! whoever has a budget).
//! Holds: (1) a segment is removed only after every wanted record of it is durable elsewhere; (2) a
//! tombstone goes only with the oldest segment: nothing that it buries can lie in an older one, and
//! nothing dead is ever copied; (3) a record that turns out rotten is forgotten and reported, so that
//! it does not keep its segment for ever.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    Disk, DiskError,
    index::Location,
    reader::{self, ReadError},
    scan,
    writer::{CopyRecord, Op, Queued},
};
use crate::{
    env::File,
    format::{
        record::{self, Kind},
        segment,
    },
    ids::ShardKey,
};

/// What one step of compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// The segment that was removed, or `None` when none was worth it.
    pub segment: Option<u32>,
    /// Shards copied.
    pub shards: u64,
    /// Bytes copied.
    pub copied_bytes: u64,
    /// Bytes of the file that was removed.
    pub freed_bytes: u64,
}

/// Removes the segment most worth it.
pub(crate) async fn step(disk: &Disk) -> Result<CompactReport, DiskError> {
    let shared = &disk.shared;
    disk.check_writable()?;
    let picked = {
        let index = shared.index();
        let options = &shared.options;
        index.compaction_candidate(options.compact_dead_ratio, options.segment_bytes / 4).and_then(|number| {
            let segment = index.segments.get(&number)?;
            Some((number, segment.file.clone(), segment.file_bytes, index.in_segment(number), index.is_oldest(number)))
        })
    };
    let Some((number, file, file_bytes, live, oldest)) = picked else {
        return Ok(CompactReport::default());
    };
    let mut report = CompactReport { segment: Some(number), freed_bytes: file_bytes, ..CompactReport::default() };
    let seed = record::segment_seed(shared.label.disk, number);
    // Small pieces fill a segment's end better: a copy must not be as sparse as its source.
    let limit = shared.batch_limit_bytes().min(shared.options.segment_bytes / 4);
    let mut records = Vec::new();
    let mut bytes = 0;
    for (key, location) in live {
        let Some(payload) = read(disk, file.clone(), seed, key, location).await? else { continue };
        let record = CopyRecord::Shard { key, from: location, payload };
        if !records.is_empty() && bytes + record.stored_bytes() > limit {
            copy(disk, std::mem::take(&mut records)).await?;
            bytes = 0;
        }
        bytes += record.stored_bytes();
        report.shards += 1;
        report.copied_bytes += location.stored_bytes();
        records.push(record);
    }
    if !oldest {
        for tombstone in tombstones(disk, file, file_bytes, seed).await? {
            if bytes + tombstone.stored_bytes() > limit {
                copy(disk, std::mem::take(&mut records)).await?;
                bytes = 0;
            }
            bytes += tombstone.stored_bytes();
            report.copied_bytes += tombstone.stored_bytes();
            records.push(tombstone);
        }
    }
    copy(disk, records).await?;
    let (done, result) = oneshot::channel();
    disk.send(Queued { op: Op::Remove { segment: number, done }, permit: None })?;
    result.await.map_err(|_| DiskError::Closed)??;
    if shared.index().segments.contains_key(&number) {
        // Something live is left in it (a record that could not be read now): another time.
        return Ok(CompactReport { segment: None, freed_bytes: 0, ..report });
    }
    Ok(report)
}

async fn read(disk: &Disk, file: Arc<dyn File>, seed: u64, key: ShardKey, location: Location) -> Result<Option<Bytes>, DiskError> {
    let work = move || reader::read_record(&*file, seed, key, &location);
    match disk.shared.env.run_blocking(work).await.map_err(|_| DiskError::Closed)? {
        Ok(payload) => Ok(Some(payload)),
        Err(ReadError::Corrupt) => {
            disk.shared.note_corrupt(key, &location);
            disk.forget_at(key, &location);
            Ok(None)
        }
        Err(ReadError::Io(error)) => {
            disk.shared.note_unreadable(key, &location);
            Err(DiskError::Io { during: "reading a shard to copy it", error: Arc::new(error) })
        }
    }
}

/// What must be kept of a segment besides its shards: the tombstones that may still bury something.
async fn tombstones(disk: &Disk, file: Arc<dyn File>, file_bytes: u64, seed: u64) -> Result<Vec<CopyRecord>, DiskError> {
    let work = move || {
        let (mut buried, mut rotten) = (Vec::new(), Vec::new());
        let mut visit = |record: scan::Found| {
            let header = record.header;
            let what = (header.key, header.sequence, header.written_ms);
            if header.kind == Kind::Tombstone {
                buried.push(what);
            } else if !record.intact {
                rotten.push(what);
            }
        };
        scan::scan(&*file, file_bytes, seed, segment::HEADER_BYTES, &mut visit).map(|_| (buried, rotten))
    };
    let found = disk.shared.env.run_blocking(work).await.map_err(|_| DiskError::Closed)?;
    let (buried, rotten) = found.map_err(|e| DiskError::Io { during: "reading a segment to compact it", error: Arc::new(e) })?;
    let index = disk.shared.index();
    let still_buries = |(key, sequence, _): &(ShardKey, u64, u64)| {
        // A newer record of the key outranks whatever the tombstone buries, and has its own one day.
        index.find(*key).is_none_or(|location| location.sequence <= *sequence)
    };
    let copy = |(key, sequence, written_ms)| CopyRecord::Tombstone { key, sequence, written_ms };
    // A rotten record hides older ones of its key like a tombstone: when it goes, one takes its place.
    // Where the index has the key, either a newer record does that or the rotten one never counted.
    let still_hides = |(key, ..): &(ShardKey, u64, u64)| index.find(*key).is_none();
    let buried = buried.into_iter().filter(still_buries);
    Ok(buried.chain(rotten.into_iter().filter(still_hides)).map(copy).collect())
}

async fn copy(disk: &Disk, records: Vec<CopyRecord>) -> Result<(), DiskError> {
    if records.is_empty() {
        return Ok(());
    }
    let (done, result) = oneshot::channel();
    disk.send(Queued { op: Op::Copy { records, done }, permit: None })?;
    result.await.map_err(|_| DiskError::Closed)?
}
