//! Looking into containers: every member of an archive and every file in a PDF goes to the scanner by itself.
//!
//! Owns: `Walk`. Not: the formats ([`super::archive`], [`super::pdf`]) and what a verdict is good for ([`super`]).
//! Holds: (1) memory is bounded: a member is unpacked in pieces, and only one that is a container itself is held, all
//! of them together within [`super::ScanLimits::held_bytes`]; (2) what is unpacked, how many members there are and how deep
//! they lie is bounded over the whole walk; (3) what cannot be looked into is noted, and the walk goes on: there may
//! be malware beside it.
//! Why at all: clamd cuts large members off and calls the rest clean, and misses PDF attachments whose dictionary is
//! written in an unusual order.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use zeroize::Zeroizing;

use super::{
    Scanner, Verdict,
    archive::{self, END_WITHIN, LOCAL_LEN, Member, Method, Trouble},
    clamd::Session,
    content::{Judge, Judged, Kind},
    inflate::Inflater,
    pdf,
    reason::Reason,
    source::{ByteSource, Held},
};

/// Bytes of an archive that are read at a time.
const READ: u64 = 256 << 10;
/// Bytes of `mimetype` that matter.
const MIMETYPE_MAX: u64 = 256;

/// What a container turned out to be, or the verdict that ends the walk.
type Walked = Result<Kind, Verdict>;

/// One document on its way down.
pub(super) struct Walk<'a> {
    scanner: &'a Scanner,
    unpacked_left: u64,
    entries_left: u32,
    held_left: usize,
    /// Something that could not be looked into.
    pub(super) unseen: Option<Reason>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(scanner: &'a Scanner) -> Self {
        let limits = scanner.limits();
        Self {
            scanner,
            unpacked_left: limits.archive.unpacked_bytes,
            entries_left: limits.archive.entries,
            held_left: limits.held_bytes,
            unseen: None,
        }
    }

    /// Looks into a container; `depth` is 1 for the document itself.
    pub(super) fn container<'b>(
        &'b mut self,
        kind: Kind,
        source: &'b dyn ByteSource,
        depth: u8,
    ) -> Pin<Box<dyn Future<Output = Walked> + Send + 'b>> {
        Box::pin(async move {
            if depth > self.scanner.limits().archive.depth {
                return Err(Verdict::Refused { code: Reason::ArchiveDepth });
            }
            match kind {
                Kind::Pdf => self.pdf(source, depth).await,
                Kind::Zip => self.archive(source, depth).await,
                other => Ok(other),
            }
        })
    }

    /// Takes a trouble: the end of the walk, or a note.
    fn take(&mut self, trouble: Trouble) -> Result<(), Verdict> {
        match trouble {
            Trouble::Refused(code) => Err(Verdict::Refused { code }),
            Trouble::Unseen(reason) => {
                self.unseen = Some(reason);
                Ok(())
            }
        }
    }

    /// Takes `bytes` off what may be unpacked.
    fn spend(&mut self, bytes: usize) -> Result<(), Verdict> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.unpacked_left = self.unpacked_left.checked_sub(bytes).ok_or(Verdict::Refused { code: Reason::ArchiveBomb })?;
        Ok(())
    }

    async fn archive(&mut self, source: &dyn ByteSource, depth: u8) -> Walked {
        let len = source.len();
        let tail_at = len.saturating_sub(END_WITHIN);
        let tail = read(source, tail_at, len - tail_at).await?;
        let directory = match archive::find_directory(&tail, len) {
            Ok(directory) => directory,
            Err(trouble) => return self.take(trouble).map(|()| Kind::Zip),
        };
        let listed = read(source, directory.offset, u64::from(directory.len)).await?;
        let members = match archive::parse_directory(&listed, directory, &self.scanner.limits().archive) {
            Ok(members) => members,
            Err(trouble) => return self.take(trouble).map(|()| Kind::Zip),
        };
        let count = u32::try_from(members.len()).unwrap_or(u32::MAX);
        self.entries_left = self.entries_left.checked_sub(count).ok_or(Verdict::Refused { code: Reason::ArchiveEntries })?;
        let mut mimetype = Bytes::new();
        for member in &members {
            let header = read(source, member.offset, u64::try_from(LOCAL_LEN).unwrap_or(0)).await?;
            let (name, extra) = match archive::check_local(&header, member) {
                Ok(lengths) => lengths,
                Err(trouble) => {
                    self.take(trouble)?;
                    continue;
                }
            };
            let skipped = u64::try_from(LOCAL_LEN + name + extra).unwrap_or(u64::MAX);
            let start = member.offset.saturating_add(skipped);
            let written = read(source, member.offset + u64::try_from(LOCAL_LEN).unwrap_or(0), u64::try_from(name).unwrap_or(0)).await?;
            if written != member.name || start.saturating_add(member.packed) > directory.offset {
                return Err(Verdict::Refused { code: Reason::ArchiveDamaged });
            }
            if member.name == b"mimetype" && member.method == Method::Stored {
                mimetype = read(source, start, member.packed.min(MIMETYPE_MAX)).await?;
            }
            if member.is_encrypted() {
                self.unseen = Some(Reason::Encrypted);
            } else if matches!(member.method, Method::Other(_)) {
                self.unseen = Some(Reason::Method);
            } else {
                self.member(source, member, start, depth).await?;
            }
        }
        match archive::classify(&members, &mimetype) {
            Ok(kind) => Ok(kind),
            Err(trouble) => self.take(trouble).map(|()| Kind::Zip),
        }
    }

    /// Unpacks a member into the scanner.
    async fn member(&mut self, source: &dyn ByteSource, member: &Member, start: u64, depth: u8) -> Result<(), Verdict> {
        let mut part = Part::begin(self.scanner).await?;
        let mut inflater = (member.method == Method::Deflate).then(Inflater::raw);
        let mut crc = flate2::Crc::new();
        let end = start.saturating_add(member.packed);
        let (mut at, mut ended) = (start, false);
        while at < end {
            let piece = read(source, at, READ.min(end - at)).await?;
            at = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            let Some(inflater) = &mut inflater else {
                crc.update(&piece);
                self.feed(&mut part, piece, member.unpacked).await?;
                continue;
            };
            let mut rest: &[u8] = &piece;
            loop {
                if ended {
                    break;
                }
                let step = inflater.step(rest).map_err(|_| Verdict::Refused { code: Reason::ArchiveDamaged })?;
                rest = rest.get(step.used..).unwrap_or_default();
                ended = step.ended;
                let stuck = step.used == 0 && step.out.is_empty();
                crc.update(&step.out);
                self.feed(&mut part, Bytes::from(step.out), member.unpacked).await?;
                if stuck {
                    break;
                }
            }
        }
        let is_whole = part.judge.total() == member.unpacked && crc.sum() == member.crc && (inflater.is_none() || ended);
        if !is_whole {
            return Err(Verdict::Refused { code: Reason::ArchiveDamaged });
        }
        self.end(part, depth).await
    }

    /// Gives a piece to the scanner, and holds it if the part is a container.
    async fn feed(&mut self, part: &mut Part, piece: Bytes, announced: u64) -> Result<(), Verdict> {
        if piece.is_empty() {
            return Ok(());
        }
        self.spend(piece.len())?;
        part.judge.update(&piece);
        if part.judge.total() > announced {
            return Err(Verdict::Refused { code: Reason::ArchiveDamaged });
        }
        // What goes on when clamd takes no more is its answer.
        part.session.write(&piece).await;
        if part.holds.is_none() {
            let head = part.judge.head();
            part.holds = Some(head.starts_with(b"PK") || head.starts_with(b"%PDF-"));
        }
        if part.holds == Some(true) {
            match self.held_left.checked_sub(piece.len()) {
                Some(left) => {
                    self.held_left = left;
                    part.held.extend_from_slice(&piece);
                }
                None => {
                    self.held_left += part.held.len();
                    part.held = Zeroizing::default();
                    part.holds = Some(false);
                }
            }
        }
        Ok(())
    }

    /// Takes the answer about a part, and looks into it.
    async fn end(&mut self, part: Part, depth: u8) -> Result<(), Verdict> {
        let Part { session, judge, held, holds } = part;
        let taken = held.len();
        if judge.total() > 0 {
            self.scanner.answer(session).await?;
        }
        match judge.finish() {
            // Inside a container an unknown type is no reason: fonts, thumbnails, settings.
            Judged::Refused(Reason::UnknownType) => {
                if is_other_archive(judge.head()) {
                    self.unseen = Some(Reason::Method);
                }
            }
            Judged::Refused(code) => return Err(Verdict::Refused { code }),
            Judged::Locked(reason) => self.unseen = Some(reason),
            Judged::Is(kind) if kind.is_container() => {
                if holds == Some(true) {
                    let inner = Held(held);
                    self.container(kind, &inner, depth.saturating_add(1)).await?;
                } else {
                    self.unseen = Some(Reason::PartTooLarge);
                }
            }
            Judged::Is(_) => {}
        }
        self.held_left += taken;
        Ok(())
    }

    async fn pdf(&mut self, source: &dyn ByteSource, depth: u8) -> Walked {
        let limits = *self.scanner.limits();
        let max = u64::try_from(limits.held_bytes).unwrap_or(u64::MAX);
        if source.len() > max {
            self.unseen = Some(Reason::PartTooLarge);
            return Ok(Kind::Pdf);
        }
        let mut whole = Zeroizing::new(Vec::new());
        let mut at = 0;
        while at < source.len() {
            let piece = read(source, at, READ.min(source.len() - at)).await?;
            at += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            whole.extend_from_slice(&piece);
        }
        // Up to a few hundred milliseconds of one core: not on a thread that serves others.
        let looked = tokio::task::spawn_blocking(move || (pdf::look(&whole, &limits.pdf), whole)).await;
        let (found, whole) = looked.map_err(|error| Verdict::Unavailable { why: error.to_string() })?;
        let found = match found {
            Ok(found) => found,
            Err(trouble) => return self.take(trouble).map(|()| Kind::Pdf),
        };
        if found.has_scripts {
            tracing::debug!("a PDF has scripts that a person may start");
        }
        self.unseen = found.unseen.or(self.unseen);
        for attachment in &found.attachments {
            let left = usize::try_from(self.unpacked_left).unwrap_or(usize::MAX).min(self.held_left);
            let Ok(content) = pdf::unpack(&whole, attachment, left) else {
                // No further: each try may cost as much as a sound one.
                self.unseen = Some(Reason::PdfDamaged);
                break;
            };
            let announced = u64::try_from(content.len()).unwrap_or(u64::MAX);
            let mut part = Part::begin(self.scanner).await?;
            self.feed(&mut part, Bytes::from(content), announced).await?;
            self.end(part, depth).await?;
        }
        Ok(Kind::Pdf)
    }
}

/// A part on its way to the scanner.
struct Part {
    session: Session,
    judge: Judge,
    held: Zeroizing<Vec<u8>>,
    /// Whether it is a container that is held; not known before its first bytes.
    holds: Option<bool>,
}

impl Part {
    async fn begin(scanner: &Scanner) -> Result<Self, Verdict> {
        Ok(Self { session: scanner.open().await?, judge: Judge::new(), held: Zeroizing::default(), holds: None })
    }
}

/// Archives of forms that are not looked into.
fn is_other_archive(head: &[u8]) -> bool {
    const MARKS: [&[u8]; 6] = [b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    MARKS.iter().any(|mark| head.starts_with(mark)) || head.get(257..262) == Some(b"ustar".as_slice())
}

/// Exactly these bytes.
async fn read(source: &dyn ByteSource, at: u64, len: u64) -> Result<Bytes, Verdict> {
    if at.checked_add(len).is_none_or(|end| end > source.len()) {
        return Err(Verdict::Refused { code: Reason::ArchiveDamaged });
    }
    let mut out = Vec::new();
    let (mut at, mut left) = (at, len);
    while left > 0 {
        let piece = source.read_at(at, left).await.map_err(|why| Verdict::Unavailable { why })?;
        let got = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if got == 0 || got > left {
            return Err(Verdict::Unavailable { why: "the content cannot be read again".to_owned() });
        }
        if got == len {
            return Ok(piece);
        }
        out.extend_from_slice(&piece);
        at += got;
        left -= got;
    }
    Ok(Bytes::from(out))
}
