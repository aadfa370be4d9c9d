//! ZIP archives that are written as a stream: stored entries, each followed by its length and checksum.
//!
//! | record | bytes | what |
//! |---|---|---|
//! | local header | 30 + name | signature `PK 03 04`, flags 0x0808 (UTF-8 name, descriptor follows), method 0, no lengths yet |
//! | data | | as it is |
//! | descriptor | 16 or 24 | signature `PK 07 08`, CRC-32, two lengths of 4 bytes, or of 8 from 4 GiB on |
//! | directory entry | 46 + name + 0 to 28 | signature `PK 01 02`; what does not fit 4 bytes stands in extra field 1 (ZIP64) |
//! | ZIP64 end, locator | 56 + 20 | where a number does not fit the end record |
//! | end | 22 | signature `PK 05 06`, no comment |
//!
//! Owns: the bytes around the data. Not: the data, nor where they go.
//! Holds: (1) nothing needs to be read or written twice; (2) memory grows by the directory only; (3) a name is in the
//! archive once. Why stored: documents are mostly packed already, and the reader of a stream can go on from any byte.
//! Format: APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3.

use std::collections::BTreeSet;

use flate2::Crc;

/// Signatures, as they are read in little-endian.
pub(super) const LOCAL: u32 = 0x0403_4b50;
pub(super) const DESCRIPTOR: u32 = 0x0807_4b50;
pub(super) const CENTRAL: u32 = 0x0201_4b50;
pub(super) const END64: u32 = 0x0606_4b50;
pub(super) const LOCATOR64: u32 = 0x0706_4b50;
pub(super) const END: u32 = 0x0605_4b50;
/// UTF-8 names, and a descriptor after the data.
pub(super) const FLAGS: u16 = 0x0808;
/// In place of a number that does not fit.
pub(super) const SEE_EXTRA: u32 = u32::MAX;
/// Most bytes of a name.
pub const NAME_BYTES_MAX: usize = 1_000;

const VERSION: u16 = 45;
/// 1980-01-01, the first day that the format knows: times stand in the manifest.
const DATE: u16 = 0x0021;

/// What cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ZipError {
    /// Too long, empty, or there already.
    #[error("the name is too long, empty, or in the archive already")]
    Name,
    /// An entry is begun before the last one was ended, or ended before it was begun.
    #[error("entries are written one after the other")]
    Order,
}

struct Written {
    name: String,
    offset: u64,
    len: u64,
    crc: u32,
}

struct Open {
    name: String,
    offset: u64,
    len: u64,
    crc: Crc,
}

/// Writes one archive.
#[derive(Default)]
pub struct ZipWriter {
    at: u64,
    written: Vec<Written>,
    names: BTreeSet<String>,
    open: Option<Open>,
}

fn len_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn text(mut self, text: &[u8]) -> Self {
        self.0.extend_from_slice(text);
        self
    }
}

/// A number that fits, or what stands in its place.
fn short(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(SEE_EXTRA)
}

fn fits(value: u64) -> bool {
    value < u64::from(SEE_EXTRA)
}

fn name_len(name: &str) -> u16 {
    u16::try_from(name.len()).unwrap_or(u16::MAX)
}

impl ZipWriter {
    /// The bytes that begin an entry.
    ///
    /// # Errors
    /// [`ZipError`].
    pub fn begin(&mut self, name: &str) -> Result<Vec<u8>, ZipError> {
        if self.open.is_some() {
            return Err(ZipError::Order);
        }
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !self.names.insert(name.to_owned()) {
            return Err(ZipError::Name);
        }
        let head = Bytes(Vec::new()).u32(LOCAL).u16(VERSION).u16(FLAGS).u16(0).u16(0).u16(DATE);
        let head = head.u32(0).u32(0).u32(0).u16(name_len(name)).u16(0).text(name.as_bytes());
        self.open = Some(Open { name: name.to_owned(), offset: self.at, len: 0, crc: Crc::new() });
        Ok(self.out(head))
    }

    /// Counts data of the entry, which the caller sends on.
    ///
    /// # Errors
    /// [`ZipError::Order`].
    pub fn data(&mut self, data: &[u8]) -> Result<(), ZipError> {
        let open = self.open.as_mut().ok_or(ZipError::Order)?;
        open.crc.update(data);
        open.len = open.len.saturating_add(len_of(data));
        self.at = self.at.saturating_add(len_of(data));
        Ok(())
    }

    /// The bytes that end the entry.
    ///
    /// # Errors
    /// [`ZipError::Order`].
    pub fn end(&mut self) -> Result<Vec<u8>, ZipError> {
        let Open { name, offset, len, crc } = self.open.take().ok_or(ZipError::Order)?;
        let crc = crc.sum();
        let tail = Bytes(Vec::new()).u32(DESCRIPTOR).u32(crc);
        let tail = if fits(len) { tail.u32(short(len)).u32(short(len)) } else { tail.u64(len).u64(len) };
        self.written.push(Written { name, offset, len, crc });
        Ok(self.out(tail))
    }

    /// The directory and the end.
    ///
    /// # Errors
    /// [`ZipError::Order`] when an entry is open.
    pub fn finish(mut self) -> Result<Vec<u8>, ZipError> {
        if self.open.is_some() {
            return Err(ZipError::Order);
        }
        let start = self.at;
        let written = std::mem::take(&mut self.written);
        let count = u64::try_from(written.len()).unwrap_or(u64::MAX);
        let mut out = Vec::new();
        for entry in written {
            out.extend_from_slice(&directory_entry(&entry));
        }
        let len = len_of(&out);
        let end = Bytes(out);
        let small = fits(start) && fits(len) && count < u64::from(u16::MAX);
        let end = if small {
            end
        } else {
            let end64 = start.saturating_add(len);
            let end = end.u32(END64).u64(44).u16(VERSION).u16(VERSION).u32(0).u32(0).u64(count).u64(count).u64(len).u64(start);
            end.u32(LOCATOR64).u32(0).u64(end64).u32(1)
        };
        let few = if small { u16::try_from(count).unwrap_or(u16::MAX) } else { u16::MAX };
        let (len, start) = if small { (short(len), short(start)) } else { (SEE_EXTRA, SEE_EXTRA) };
        Ok(end.u32(END).u16(0).u16(0).u16(few).u16(few).u32(len).u32(start).u16(0).0)
    }

    fn out(&mut self, bytes: Bytes) -> Vec<u8> {
        self.at = self.at.saturating_add(len_of(&bytes.0));
        bytes.0
    }
}

fn directory_entry(entry: &Written) -> Vec<u8> {
    let mut extra = Bytes(Vec::new());
    if !fits(entry.len) {
        extra = extra.u64(entry.len).u64(entry.len);
    }
    if !fits(entry.offset) {
        extra = extra.u64(entry.offset);
    }
    let extra_len = u16::try_from(extra.0.len()).unwrap_or(0);
    let len = if fits(entry.len) { short(entry.len) } else { SEE_EXTRA };
    let offset = if fits(entry.offset) { short(entry.offset) } else { SEE_EXTRA };
    let with_head = if extra_len == 0 { 0 } else { extra_len + 4 };
    // Made as on Unix, a plain file that its owner reads and writes.
    let out = Bytes(Vec::new()).u32(CENTRAL).u16(0x0300 | VERSION).u16(VERSION).u16(FLAGS).u16(0).u16(0).u16(DATE);
    let out = out.u32(entry.crc).u32(len).u32(len).u16(name_len(&entry.name)).u16(with_head).u16(0).u16(0).u16(0);
    let out = out.u32(0o100_600 << 16).u32(offset).text(entry.name.as_bytes());
    if extra_len == 0 { out.0 } else { out.u16(1).u16(extra_len).text(&extra.0).0 }
}

/// A name as the last part of a path in an archive: nothing in it leads out of its folder, on any system.
pub fn safe_name(name: &str) -> String {
    let safe = |c: char| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c };
    let mut out = String::new();
    for c in name.trim_matches(|c: char| c == '.' || c.is_whitespace()).chars().map(safe) {
        if out.len() + c.len_utf8() > 200 {
            break;
        }
        out.push(c);
    }
    if out.is_empty() { "document".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_one_after_the_other_and_each_name_once() {
        let mut zip = ZipWriter::default();
        assert_eq!(zip.data(b"x"), Err(ZipError::Order));
        assert_eq!(zip.end().err(), Some(ZipError::Order));
        assert!(zip.begin("a").is_ok());
        assert_eq!(zip.begin("b").err(), Some(ZipError::Order));
        assert!(zip.end().is_ok());
        assert_eq!(zip.begin("a").err(), Some(ZipError::Name));
        assert_eq!(zip.begin("").err(), Some(ZipError::Name));
        assert!(zip.begin("c").is_ok());
        assert_eq!(zip.finish().err(), Some(ZipError::Order));
    }

    #[test]
    fn an_archive_of_one_short_entry_is_these_bytes() {
        let mut zip = ZipWriter::default();
        let mut bytes = zip.begin("a").unwrap();
        bytes.extend_from_slice(b"123456789");
        zip.data(b"123456789").unwrap();
        bytes.extend(zip.end().unwrap());
        bytes.extend(zip.finish().unwrap());
        let text = hex::encode(bytes);
        // CRC-32 of the check string: cbf43926.
        assert!(text.starts_with("504b03042d000808000000002100000000000000000000000000010000006131323334"), "{text}");
        assert!(text.contains("504b07082639f4cb0900000009000000504b0102"), "{text}");
        assert!(text.ends_with("504b050600000000010001002f000000380000000000"), "{text}");
    }

    #[test]
    fn what_does_not_fit_four_bytes_stands_in_the_extra_field() {
        let entry = Written { name: "n".into(), offset: 5 << 32, len: 1 << 33, crc: 1 };
        let bytes = directory_entry(&entry);
        assert_eq!(bytes.len(), 46 + 1 + 4 + 24);
        assert!(hex::encode(&bytes).ends_with("01001800000000000200000000000000020000000000000005000000"));
    }

    #[test]
    fn no_name_leads_out_of_its_folder() {
        for (name, safe) in
            [("../../etc/passwd", "_.._etc_passwd"), ("..", "document"), ("a/b\\c:d.pdf", "a_b_c_d.pdf"), (" x. ", "x"), ("é", "é")]
        {
            assert_eq!(safe_name(name), safe, "{name}");
        }
        assert!(safe_name(&"é".repeat(255)).len() <= 200);
    }
}
