//! The judge of an export: whether the file is whole and is what its manifest says, without the service.
//!
//! Owns: reading an archive of the form that [`super::zip`] writes, and no other. Not: where the bytes lie.
//! Holds: (1) any bytes give a report or an error, in memory bounded by the directory and the manifest; (2) a file that
//! passes has each named document once, with the length and SHA-256 that the manifest names, and nothing else in it;
//! (3) entries follow each other without a gap, so no byte of the file is unaccounted for.

use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom},
};

use aws_lc_rs::digest;
use flate2::Crc;
use serde::Serialize;

use super::{
    manifest::{FORMAT, MANIFEST, Manifest},
    zip::{CENTRAL, DESCRIPTOR, END, END64, FLAGS, LOCAL, LOCATOR64, NAME_BYTES_MAX, SEE_EXTRA},
};

/// Most bytes of a directory: some million documents.
const DIRECTORY_BYTES_MAX: u64 = 256 << 20;
/// Most bytes of a manifest.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;
/// Bytes that are read at a time.
const BLOCK: usize = 64 * 1024;

/// Why an export is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is no archive of the form that exports have.
    #[error("it is no export: {0}")]
    Form(&'static str),
    /// It is not what it says.
    #[error("{name:?}: {why}")]
    Differs {
        /// The file in it, or the document.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// What was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The vault.
    pub vault: String,
    /// When it was exported.
    pub exported_at: String,
    /// Documents whose content is there and right.
    pub documents: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Documents that the manifest names without content, each with a reason.
    pub left_out: usize,
}

struct Entry {
    name: String,
    crc: u32,
    len: u64,
    offset: u64,
}

/// A cursor over bytes that gives numbers or an error.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ExportError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(ExportError::Form("a record is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ExportError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(ExportError::Form("a record is cut off"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, ExportError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, ExportError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, ExportError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn signature(&mut self, wanted: u32, why: &'static str) -> Result<(), ExportError> {
        if self.u32()? == wanted { Ok(()) } else { Err(ExportError::Form(why)) }
    }
}

fn read_at(file: &mut (impl Read + Seek), at: u64, len: u64) -> Result<Vec<u8>, ExportError> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    Read::take(&mut *file, len).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|read| read == len) { Ok(bytes) } else { Err(ExportError::Form("it is cut off")) }
}

/// Where the directory lies, and how many entries it has.
struct Directory {
    start: u64,
    len: u64,
    entries: u64,
}

fn directory(file: &mut (impl Read + Seek)) -> Result<Directory, ExportError> {
    let size = file.seek(SeekFrom::End(0))?;
    let end_at = size.checked_sub(22).ok_or(ExportError::Form("it is too short"))?;
    let end = read_at(file, end_at, 22)?;
    let mut end = Fields(&end);
    end.signature(END, "it does not end as an archive")?;
    let (disk, start_disk, here, entries) = (end.u16()?, end.u16()?, end.u16()?, end.u16()?);
    let (len, start, comment) = (end.u32()?, end.u32()?, end.u16()?);
    if (disk, start_disk, comment) != (0, 0, 0) || here != entries {
        return Err(ExportError::Form("it is in parts, or has a comment"));
    }
    if (len, start, entries) != (SEE_EXTRA, SEE_EXTRA, u16::MAX) {
        let found = Directory { start: start.into(), len: len.into(), entries: entries.into() };
        return if found.start.checked_add(found.len) == Some(end_at) { Ok(found) } else { Err(ExportError::Form("a gap")) };
    }
    let end64_at = end_at.checked_sub(76).ok_or(ExportError::Form("it is too short"))?;
    let end = read_at(file, end64_at, 76)?;
    let mut end = Fields(&end);
    end.signature(END64, "its large end is missing")?;
    let (record, _made, _needs, disks) = (end.u64()?, end.u16()?, end.u16()?, end.u64()?);
    let (here, entries, len, start) = (end.u64()?, end.u64()?, end.u64()?, end.u64()?);
    end.signature(LOCATOR64, "its locator is missing")?;
    let (disk, at, all) = (end.u32()?, end.u64()?, end.u32()?);
    let sound = record == 44 && disks == 0 && here == entries && (disk, at, all) == (0, end64_at, 1);
    if sound && start.checked_add(len) == Some(end64_at) {
        Ok(Directory { start, len, entries })
    } else {
        Err(ExportError::Form("its large end does not fit"))
    }
}

fn entry(fields: &mut Fields<'_>) -> Result<Entry, ExportError> {
    fields.signature(CENTRAL, "a directory entry is missing")?;
    let (_made, _needs, flags, method) = (fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?);
    let (_time, crc, packed, len) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
    let (name_len, extra_len, comment_len) = (fields.u16()?, fields.u16()?, fields.u16()?);
    let (disk, _internal, _external, offset) = (fields.u16()?, fields.u16()?, fields.u32()?, fields.u32()?);
    let name = fields.take(name_len.into())?;
    let mut extra = Fields(fields.take(extra_len.into())?);
    if flags != FLAGS || method != 0 || packed != len || comment_len != 0 || disk != 0 || name.len() > NAME_BYTES_MAX {
        return Err(ExportError::Form("an entry is not as exports have them"));
    }
    let name = std::str::from_utf8(name).map_err(|_| ExportError::Form("a name is not UTF-8"))?.to_owned();
    let (mut len, mut offset) = (u64::from(len), u64::from(offset));
    if extra_len > 0 {
        let (id, _bytes) = (extra.u16()?, extra.u16()?);
        if id != 1 {
            return Err(ExportError::Form("an unknown extra field"));
        }
        if len == u64::from(SEE_EXTRA) {
            len = extra.u64()?;
            if extra.u64()? != len {
                return Err(ExportError::Form("an entry is packed"));
            }
        }
        if offset == u64::from(SEE_EXTRA) {
            offset = extra.u64()?;
        }
        if !extra.0.is_empty() {
            return Err(ExportError::Form("an extra field is too long"));
        }
    }
    Ok(Entry { name, crc, len, offset })
}

/// Reads the data of an entry, block by block; gives where the next entry begins.
fn walk(file: &mut (impl Read + Seek), entry: &Entry, mut each: impl FnMut(&[u8])) -> Result<u64, ExportError> {
    let differs = |why| ExportError::Differs { name: entry.name.clone(), why };
    let name_len = u64::try_from(entry.name.len()).map_err(|_| differs("its name is too long"))?;
    let head_len = 30 + name_len;
    let head = read_at(file, entry.offset, head_len)?;
    let mut head = Fields(&head);
    head.signature(LOCAL, "a local header is missing")?;
    let (_needs, flags, method) = (head.u16()?, head.u16()?, head.u16()?);
    let (_time, crc, packed, len) = (head.u32()?, head.u32()?, head.u32()?, head.u32()?);
    let (local_name_len, extra_len) = (head.u16()?, head.u16()?);
    if (flags, method, crc, packed, len, extra_len) != (FLAGS, 0, 0, 0, 0, 0)
        || u64::from(local_name_len) != name_len
        || head.0 != entry.name.as_bytes()
    {
        return Err(differs("its two headers differ"));
    }
    let mut found = Crc::new();
    let mut left = entry.len;
    let mut block = vec![0; BLOCK];
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        let part = block.get_mut(..want).unwrap_or_default();
        let read = file.read(part)?;
        let part = part.get(..read).unwrap_or_default();
        if part.is_empty() {
            return Err(differs("it is cut off"));
        }
        found.update(part);
        each(part);
        left = left.saturating_sub(u64::try_from(read).unwrap_or(left));
    }
    let is_long = entry.len >= u64::from(SEE_EXTRA);
    let tail_len = if is_long { 24 } else { 16 };
    let data_end = entry.offset.checked_add(head_len).and_then(|at| at.checked_add(entry.len)).ok_or_else(|| differs("it is too long"))?;
    let tail = read_at(file, data_end, tail_len)?;
    let mut tail = Fields(&tail);
    tail.signature(DESCRIPTOR, "a descriptor is missing")?;
    let crc = tail.u32()?;
    let (packed, len) = if is_long { (tail.u64()?, tail.u64()?) } else { (tail.u32()?.into(), tail.u32()?.into()) };
    if crc != entry.crc || found.sum() != crc {
        return Err(differs("its checksum is not that of its bytes"));
    }
    if (packed, len) != (entry.len, entry.len) {
        return Err(differs("its length is not that of its bytes"));
    }
    data_end.checked_add(tail_len).ok_or_else(|| differs("it is too long"))
}

/// Checks an export.
///
/// # Errors
/// [`ExportError`]: the first thing that is wrong.
pub fn check(file: &mut (impl Read + Seek)) -> Result<Report, ExportError> {
    let directory = directory(file)?;
    if directory.len > DIRECTORY_BYTES_MAX {
        return Err(ExportError::Form("its directory is too long"));
    }
    let bytes = read_at(file, directory.start, directory.len)?;
    let mut fields = Fields(&bytes);
    let mut entries = Vec::new();
    while !fields.0.is_empty() {
        entries.push(entry(&mut fields)?);
    }
    if u64::try_from(entries.len()).ok() != Some(directory.entries) {
        return Err(ExportError::Form("its directory has another number of entries"));
    }
    let last = entries.pop().filter(|entry| entry.name == MANIFEST && entry.len <= MANIFEST_BYTES_MAX);
    let manifest_at = last.ok_or(ExportError::Form("its last file is not a manifest"))?;
    let mut text = Vec::new();
    let end = walk(file, &manifest_at, |part| text.extend_from_slice(part))?;
    if end != directory.start {
        return Err(ExportError::Form("a gap"));
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|_| ExportError::Form("its manifest cannot be read"))?;
    drop(text);
    if manifest.format != FORMAT {
        return Err(ExportError::Form("its manifest is of another form"));
    }
    let mut wanted = BTreeMap::new();
    for document in &manifest.documents {
        match (&document.file, &document.left_out) {
            (Some(file), None) => {
                if wanted.insert(file.as_str(), document).is_some() {
                    return Err(ExportError::Differs { name: file.clone(), why: "two documents name it" });
                }
            }
            (None, Some(_)) => {}
            _ => return Err(ExportError::Differs { name: document.id.clone(), why: "it has neither content nor a reason" }),
        }
    }
    let left_out = manifest.documents.len().saturating_sub(wanted.len());
    let (documents, mut sum, mut at) = (wanted.len(), 0u64, 0u64);
    for entry in &entries {
        let differs = |why| ExportError::Differs { name: entry.name.clone(), why };
        let document = wanted.remove(entry.name.as_str()).ok_or_else(|| differs("the manifest does not name it"))?;
        if entry.offset != at {
            return Err(differs("it does not follow the one before"));
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        at = walk(file, entry, |part| hash.update(part))?;
        if entry.len != document.newest.size {
            return Err(differs("its length is not that of the manifest"));
        }
        if hex::encode(hash.finish()) != document.newest.sha256 {
            return Err(differs("its SHA-256 is not that of the manifest"));
        }
        sum = sum.saturating_add(entry.len);
    }
    if at != manifest_at.offset {
        return Err(ExportError::Form("a gap"));
    }
    if let Some((name, _)) = wanted.pop_first() {
        return Err(ExportError::Differs { name: name.to_owned(), why: "it is not there" });
    }
    Ok(Report { vault: manifest.vault.clone(), exported_at: manifest.exported_at.clone(), documents, bytes: sum, left_out })
}

/// An export as it is written, for tests and as a seed: documents by name and content.
pub fn sample(documents: &[(&str, &[u8])]) -> Vec<u8> {
    use super::{
        manifest::{ExportedDocument, ExportedVersion},
        zip::{ZipError, ZipWriter},
    };
    let write = || -> Result<Vec<u8>, ZipError> {
        let (mut zip, mut out, mut listed) = (ZipWriter::default(), Vec::new(), Vec::new());
        for (name, content) in documents {
            let file = format!("documents/{name}");
            out.extend(zip.begin(&file)?);
            zip.data(content)?;
            out.extend_from_slice(content);
            out.extend(zip.end()?);
            let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
            let sha256 = hex::encode(digest::digest(&digest::SHA256, content));
            let text = String::new;
            listed.push(ExportedDocument {
                id: (*name).to_owned(),
                name: (*name).to_owned(),
                media_type: text(),
                category: text(),
                doc_type: text(),
                labels: Vec::new(),
                state: text(),
                origin: text(),
                expires_on: None,
                created_at: text(),
                file: Some(file),
                left_out: None,
                newest: ExportedVersion { version: 1, size, sha256, created_at: text() },
                earlier: Vec::new(),
                log_index: None,
            });
        }
        let manifest =
            Manifest { format: FORMAT.to_owned(), vault: "v".to_owned(), exported_at: String::new(), checkpoint: None, documents: listed };
        let text = serde_json::to_vec(&manifest).unwrap_or_default();
        out.extend(zip.begin(MANIFEST)?);
        zip.data(&text)?;
        out.extend_from_slice(&text);
        out.extend(zip.end()?);
        out.extend(zip.finish()?);
        Ok(out)
    };
    write().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn judged(bytes: &[u8]) -> Result<Report, ExportError> {
        check(&mut Cursor::new(bytes))
    }

    #[test]
    fn what_is_written_is_accepted() {
        let report = judged(&sample(&[("a", b"hello"), ("b", b""), ("c", &[7; 200_000])])).unwrap();
        assert_eq!((report.documents, report.bytes, report.left_out), (3, 200_005, 0));
        assert_eq!(judged(&sample(&[])).unwrap().documents, 0);
    }

    #[test]
    fn no_byte_may_be_another() {
        let good = sample(&[("a", b"hello"), ("b", b"world")]);
        // Version and time are words about the archive, not of it; they are all zero or fixed and nobody reads them.
        let accepted: Vec<usize> = (0..good.len())
            .filter(|at| {
                let mut bad = good.clone();
                bad[*at] ^= 1;
                judged(&bad).is_ok()
            })
            .collect();
        let data: Vec<usize> = [b"hello".as_slice(), b"world"]
            .iter()
            .flat_map(|word| {
                let at = good.windows(5).position(|w| w == *word).unwrap();
                at..at + 5
            })
            .collect();
        assert!(data.iter().all(|at| !accepted.contains(at)), "content may not be another");
        assert!(accepted.len() < 64, "{accepted:?}");
        for cut in 0..good.len() {
            assert!(judged(&good[..cut]).is_err(), "{cut}");
        }
        let longer = [&good[..], &[0]].concat();
        assert!(judged(&longer).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), value in any::<u8>()) {
            let _ = judged(&bytes);
            let mut near = sample(&[("a", b"x")]);
            let at = at.index(near.len());
            near[at] = value;
            let _ = judged(&near);
        }
    }
}
