//! ZIP as bytes: the directory at its end, and what contradicts it. OOXML, ODF and ASiC are ZIPs with known names.
//!
//! ```text
//! local header    "PK\3\4"  version 2  flags 2  method 2  time 4  crc 4  packed 4  unpacked 4  name length 2  extra length 2
//! directory entry "PK\1\2"  made by 2  version 2  flags 2  method 2  time 4  crc 4  packed 4  unpacked 4  name length 2
//!                           extra length 2  comment length 2  disk 2  inner 2  outer 4  offset 4  name  extra  comment
//! end             "PK\5\6"  disk 2  disk 2  entries 2  entries 2  directory length 4  directory offset 4  comment length 2
//! ```
//!
//! Owns: parsing, and our own limits: entries, ratio, names, overlaps. Not: unpacking ([`super::deep`]).
//! Holds: (1) total: any bytes give a value or a reason; (2) what two unpackers could read in two ways (a second
//! directory, members that overlap, a local header that says something else) is refused; (3) memory is bounded by
//! the directory's length, which is bounded by [`DIRECTORY_MAX`].
//! Why not a library: those read what they can; here each tolerance is a place to hide something in.

use std::collections::HashSet;

use super::{content::Kind, reason::Reason};

/// Bytes of the end record without its comment.
pub const END_LEN: usize = 22;
/// Bytes from the end within which the end record lies.
pub const END_WITHIN: u64 = 22 + 65_535;
/// Most bytes of a directory: 10,000 entries with long names.
pub const DIRECTORY_MAX: u32 = 8 << 20;
/// Bytes of a local header without name and extra field.
pub const LOCAL_LEN: usize = 30;
/// Longest name of a member.
const NAME_MAX: usize = 1024;
/// Members up to this size may be packed as tightly as they like.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// Bounds of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Entries of one archive and of all that are nested in it.
    pub entries: u32,
    /// Archives within archives: 1 is one that holds none.
    pub depth: u8,
    /// How many times larger than packed a member may be.
    pub ratio: u64,
    /// Bytes of all members, nested ones included.
    pub unpacked_bytes: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self { entries: 10_000, depth: 3, ratio: 200, unpacked_bytes: 1 << 30 }
    }
}

/// Why an archive, or one of its members, is not gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is not taken.
    Refused(Reason),
    /// It is sound as far as can be told, but cannot be looked into.
    Unseen(Reason),
}

const DAMAGED: Trouble = Trouble::Refused(Reason::ArchiveDamaged);

/// Where the directory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directory {
    /// Its first byte.
    pub offset: u64,
    /// Its length, at most [`DIRECTORY_MAX`].
    pub len: u32,
    /// Its entries.
    pub entries: u16,
}

/// How a member is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    Stored,
    /// DEFLATE.
    Deflate,
    /// Some other way.
    Other(u16),
}

/// A member, as the directory says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path.
    pub name: Vec<u8>,
    /// General purpose flags.
    pub flags: u16,
    /// How it is packed.
    pub method: Method,
    /// CRC-32 of its content.
    pub crc: u32,
    /// Bytes as they lie in the archive.
    pub packed: u64,
    /// Bytes of its content.
    pub unpacked: u64,
    /// Where its local header is.
    pub offset: u64,
}

impl Member {
    /// Whether a password protects it.
    pub fn is_encrypted(&self) -> bool {
        // Bit 0: encrypted; 6: strongly; 13: the directory is.
        self.flags & 0x2041 != 0
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.name.ends_with(b"/")
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Finds the directory by the last bytes of an archive of `len` bytes.
///
/// # Errors
/// There is none, there are two, or it is of the large form (ZIP64).
pub fn find_directory(tail: &[u8], len: u64) -> Result<Directory, Trouble> {
    let ends: Vec<usize> = memchr::memmem::find_iter(tail, b"PK\x05\x06")
        .filter(|at| u16_at(tail, at + 20).is_some_and(|comment| at + END_LEN + usize::from(comment) == tail.len()))
        .take(2)
        .collect();
    let [at] = ends.as_slice() else { return Err(DAMAGED) };
    let field = |offset: usize| u16_at(tail, at + offset).ok_or(DAMAGED);
    let (disk, directory_disk, here, entries) = (field(4)?, field(6)?, field(8)?, field(10)?);
    let size = u32_at(tail, at + 12).ok_or(DAMAGED)?;
    let offset = u32_at(tail, at + 16).ok_or(DAMAGED)?;
    if entries == u16::MAX || size == u32::MAX || offset == u32::MAX {
        return Err(Trouble::Unseen(Reason::Method));
    }
    let at = u64::try_from(*at).map_err(|_| DAMAGED)?;
    let end = len.saturating_sub(u64::try_from(tail.len()).map_err(|_| DAMAGED)?).saturating_add(at);
    // Nothing between the directory and its end, and no other file before: offsets count from our first byte.
    if disk != 0 || directory_disk != 0 || here != entries || u64::from(offset) + u64::from(size) != end {
        return Err(DAMAGED);
    }
    if size > DIRECTORY_MAX {
        return Err(Trouble::Refused(Reason::ArchiveEntries));
    }
    Ok(Directory { offset: u64::from(offset), len: size, entries })
}

/// Reads the directory. The members come in the order in which they lie.
///
/// # Errors
/// It contradicts itself or breaks a limit.
pub fn parse_directory(bytes: &[u8], directory: Directory, limits: &ArchiveLimits) -> Result<Vec<Member>, Trouble> {
    if u32::from(directory.entries) > limits.entries {
        return Err(Trouble::Refused(Reason::ArchiveEntries));
    }
    let mut members = Vec::new();
    let mut names = HashSet::new();
    let mut rest = bytes;
    let mut total = 0u64;
    for _ in 0..directory.entries {
        let (member, link, more) = parse_entry(rest).ok_or(DAMAGED)?;
        rest = more;
        if link || !is_safe(&member.name) || !names.insert(member.name.clone()) {
            return Err(Trouble::Refused(Reason::ArchiveNames));
        }
        total = total.saturating_add(member.unpacked);
        let is_bomb = member.unpacked > RATIO_FREE_BYTES && member.unpacked / member.packed.max(1) > limits.ratio;
        if is_bomb || total > limits.unpacked_bytes {
            return Err(Trouble::Refused(Reason::ArchiveBomb));
        }
        members.push(member);
    }
    if !rest.is_empty() {
        return Err(DAMAGED);
    }
    members.sort_by_key(|member| member.offset);
    let mut free = 0u64;
    for (number, member) in members.iter().enumerate() {
        if (number == 0 && member.offset != 0) || member.offset < free {
            return Err(if number == 0 { Trouble::Refused(Reason::Polyglot) } else { DAMAGED });
        }
        let name = u64::try_from(member.name.len()).unwrap_or(u64::MAX);
        let local = u64::try_from(LOCAL_LEN).unwrap_or(u64::MAX);
        free = member.offset.saturating_add(local).saturating_add(name).saturating_add(member.packed);
    }
    if free > directory.offset { Err(DAMAGED) } else { Ok(members) }
}

/// One entry, whether it is a symbolic link, and what follows.
fn parse_entry(bytes: &[u8]) -> Option<(Member, bool, &[u8])> {
    if !bytes.starts_with(b"PK\x01\x02") {
        return None;
    }
    let (name_len, extra_len, comment_len) = (u16_at(bytes, 28)?, u16_at(bytes, 30)?, u16_at(bytes, 32)?);
    let name_end = 46 + usize::from(name_len);
    let end = name_end + usize::from(extra_len) + usize::from(comment_len);
    let (packed, unpacked, offset) = (u32_at(bytes, 20)?, u32_at(bytes, 24)?, u32_at(bytes, 42)?);
    if [packed, unpacked, offset].contains(&u32::MAX) || u16_at(bytes, 34)? != 0 {
        return None;
    }
    // The upper half of the outer attributes is the mode of Unix; 0o12 there is a link.
    let is_link = u32_at(bytes, 38)? >> 28 == 0o12;
    let method = match u16_at(bytes, 10)? {
        0 => Method::Stored,
        8 => Method::Deflate,
        other => Method::Other(other),
    };
    let member = Member {
        name: bytes.get(46..name_end)?.to_vec(),
        flags: u16_at(bytes, 8)?,
        method,
        crc: u32_at(bytes, 16)?,
        packed: u64::from(packed),
        unpacked: u64::from(unpacked),
        offset: u64::from(offset),
    };
    if method == Method::Stored && packed != unpacked && !member.is_encrypted() {
        return None;
    }
    Some((member, is_link, bytes.get(end..)?))
}

/// Whether a name stays below the folder that an archive is unpacked to.
fn is_safe(name: &[u8]) -> bool {
    let inner = name.strip_suffix(b"/").unwrap_or(name);
    !inner.is_empty()
        && name.len() <= NAME_MAX
        && name.iter().all(|byte| *byte >= 0x20 && !matches!(byte, b'\\' | b':' | 0x7f))
        && inner.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}

/// Whether a local header says what the directory says of its member, and how many bytes lie between it and the
/// content: name and extra field.
///
/// # Errors
/// It says something else.
pub fn check_local(header: &[u8], member: &Member) -> Result<(usize, usize), Trouble> {
    let compare = || -> Option<(usize, usize)> {
        if !header.starts_with(b"PK\x03\x04") {
            return None;
        }
        let (flags, method) = (u16_at(header, 6)?, u16_at(header, 8)?);
        let same_method = match member.method {
            Method::Stored => method == 0,
            Method::Deflate => method == 8,
            Method::Other(other) => method == other,
        };
        // Bit 3: what was not known yet stands behind the content.
        let later = flags & 8 != 0;
        let (crc, packed, unpacked) = (u32_at(header, 14)?, u32_at(header, 18)?, u32_at(header, 22)?);
        let same_sizes = crc == member.crc && u64::from(packed) == member.packed && u64::from(unpacked) == member.unpacked;
        let name = usize::from(u16_at(header, 26)?);
        let sound = same_method && (later || same_sizes) && (flags ^ member.flags) & 1 == 0 && name == member.name.len();
        sound.then_some((name, usize::from(u16_at(header, 28)?)))
    };
    compare().ok_or(DAMAGED)
}

/// What kind of ZIP it is by the names of its members, and by `mimetype`, the content of a member of that name.
///
/// # Errors
/// It has macros or controls in it.
pub fn classify(members: &[Member], mimetype: &[u8]) -> Result<Kind, Trouble> {
    let names: Vec<Vec<u8>> = members.iter().map(|member| member.name.to_ascii_lowercase()).collect();
    let any = |test: &dyn Fn(&[u8]) -> bool| names.iter().any(|name| test(name.as_slice()));
    if any(&|name| name == b"[content_types].xml") {
        const PARTS: [&[u8]; 5] = [b"vbaproject.bin", b"vbadata.xml", b"/macrosheets/", b"/activex/", b"/dialogsheets/"];
        if any(&|name| PARTS.iter().any(|part| memchr::memmem::find(name, part).is_some())) {
            return Err(Trouble::Refused(Reason::Macros));
        }
        return Ok(Kind::Ooxml);
    }
    if mimetype.starts_with(b"application/vnd.oasis.opendocument.") {
        if any(&|name| (name.starts_with(b"basic/") || name.starts_with(b"scripts/")) && !name.ends_with(b"/")) {
            return Err(Trouble::Refused(Reason::Macros));
        }
        return Ok(Kind::Odf);
    }
    if mimetype.starts_with(b"application/vnd.etsi.asic-") {
        return Ok(Kind::Asic);
    }
    Ok(Kind::Zip)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ZIP of stored members, by hand: so that each field can be made wrong.
    fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (name, content) in members {
            let offset = u32::try_from(out.len()).unwrap().to_le_bytes();
            let size = u32::try_from(content.len()).unwrap().to_le_bytes();
            let name_len = u16::try_from(name.len()).unwrap().to_le_bytes();
            let crc = {
                let mut crc = flate2::Crc::new();
                crc.update(content);
                crc.sum().to_le_bytes()
            };
            let common = [[0u8; 8].as_slice(), &crc, &size, &size, &name_len, &[0; 2]].concat();
            out.extend([b"PK\x03\x04\x14\0".as_slice(), common.as_slice(), name.as_bytes(), *content].concat());
            directory.extend([b"PK\x01\x02\x14\0\x14\0".as_slice(), common.as_slice(), &[0; 10], &offset, name.as_bytes()].concat());
        }
        let entries = u16::try_from(members.len()).unwrap().to_le_bytes();
        let len = u32::try_from(directory.len()).unwrap().to_le_bytes();
        let at = u32::try_from(out.len()).unwrap().to_le_bytes();
        out.extend(directory);
        out.extend([b"PK\x05\x06\0\0\0\0".as_slice(), &entries, &entries, &len, &at, &[0; 2]].concat());
        out
    }

    fn read(zip: &[u8], limits: &ArchiveLimits) -> Result<Vec<Member>, Trouble> {
        let directory = find_directory(zip, zip.len() as u64)?;
        let from = usize::try_from(directory.offset).unwrap();
        parse_directory(&zip[from..from + directory.len as usize], directory, limits)
    }

    fn plain(zip: &[u8]) -> Result<Vec<Member>, Trouble> {
        read(zip, &ArchiveLimits::default())
    }

    #[test]
    fn members_are_read_and_their_headers_agree() {
        let archive = zip(&[("a.txt", b"hello"), ("b/", b""), ("b/c", b"x")]);
        let members = plain(&archive).unwrap();
        let names: Vec<&[u8]> = members.iter().map(|m| m.name.as_slice()).collect();
        assert_eq!(names, [&b"a.txt"[..], b"b/", b"b/c"]);
        assert!(members[1].is_folder() && !members[0].is_encrypted());
        for member in &members {
            let at = usize::try_from(member.offset).unwrap();
            assert_eq!(check_local(&archive[at..at + LOCAL_LEN], member), Ok((member.name.len(), 0)));
            let mut other = archive[at..at + LOCAL_LEN].to_vec();
            other[8] = 8;
            assert_eq!(check_local(&other, member), Err(DAMAGED));
        }
        assert_eq!(plain(&zip(&[])), Ok(Vec::new()));
    }

    #[test]
    fn names_that_lead_outside_or_come_twice_are_refused() {
        for name in ["../x", "a/../../x", "/etc/x", "a\\x", "c:x", "a//b", ".", "a\u{1}", ""] {
            assert_eq!(plain(&zip(&[(name, b"")])), Err(Trouble::Refused(Reason::ArchiveNames)), "{name}");
        }
        assert_eq!(plain(&zip(&[("a", b"1"), ("a", b"2")])), Err(Trouble::Refused(Reason::ArchiveNames)));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let good = zip(&[("a", b"1"), ("b", b"2")]);
        assert!(plain(&good).is_ok());
        // Something before, something behind, cut off, two ends.
        for bad in [[b"MZ".as_slice(), &good].concat(), [good.as_slice(), b"x"].concat(), good[..good.len() - 1].to_vec(), Vec::new()] {
            assert_eq!(plain(&bad), Err(DAMAGED));
        }
        // Both entries point at the same content.
        let mut overlapping = good.clone();
        let second = memchr::memmem::rfind(&overlapping, b"PK\x01\x02").unwrap();
        overlapping[second + 42..second + 46].copy_from_slice(&0u32.to_le_bytes());
        assert_eq!(plain(&overlapping), Err(DAMAGED));
        let link = memchr::memmem::rfind(&good, b"PK\x01\x02").unwrap() + 41;
        let mut linked = good;
        linked[link] = 0xa1;
        assert_eq!(plain(&linked), Err(Trouble::Refused(Reason::ArchiveNames)));
    }

    #[test]
    fn limits_hold() {
        let good = zip(&[("a", b"12"), ("b", b"2")]);
        let limits = ArchiveLimits::default();
        assert!(read(&good, &ArchiveLimits { entries: 2, unpacked_bytes: 3, ..limits }).is_ok());
        assert_eq!(read(&good, &ArchiveLimits { entries: 1, ..limits }), Err(Trouble::Refused(Reason::ArchiveEntries)));
        assert_eq!(read(&good, &ArchiveLimits { unpacked_bytes: 2, ..limits }), Err(Trouble::Refused(Reason::ArchiveBomb)));
        let mut bomb = zip(&[("a", b"12")]);
        let entry = memchr::memmem::rfind(&bomb, b"PK\x01\x02").unwrap();
        bomb[entry + 10] = 8;
        bomb[entry + 24..entry + 28].copy_from_slice(&(300u32 << 20).to_le_bytes());
        assert_eq!(plain(&bomb), Err(Trouble::Refused(Reason::ArchiveBomb)));
    }

    #[test]
    fn office_files_are_told_by_their_names() {
        let kind = |names: &[&str], mimetype: &[u8]| {
            let members: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &b""[..])).collect();
            classify(&plain(&zip(&members)).unwrap(), mimetype)
        };
        assert_eq!(kind(&["[Content_Types].xml", "word/document.xml"], b""), Ok(Kind::Ooxml));
        assert_eq!(kind(&["[Content_Types].xml", "word/vbaProject.bin"], b""), Err(Trouble::Refused(Reason::Macros)));
        assert_eq!(kind(&["mimetype", "content.xml"], b"application/vnd.oasis.opendocument.text"), Ok(Kind::Odf));
        assert_eq!(kind(&["Basic/Standard/M.xml"], b"application/vnd.oasis.opendocument.text"), Err(Trouble::Refused(Reason::Macros)));
        assert_eq!(kind(&["mimetype"], b"application/vnd.etsi.asic-e+zip"), Ok(Kind::Asic));
        assert_eq!(kind(&["a"], b""), Ok(Kind::Zip));
    }
}
