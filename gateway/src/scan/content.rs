//! What content is, by its bytes: never by its name or by what the client says.
//!
//! Owns: the list of types that are taken, their marks and structure, and what is refused in any of them. Not:
//! what lies inside a container ([`super::archive`], [`super::pdf`]).
//! Holds: (1) [`Judge`] looks at every byte once, in pieces of any size, and its answer does not depend on how they
//! were cut; (2) it keeps `HEAD` bytes of the beginning and `TAIL` of the end; (3) what is not on the list is
//! refused.
//! Why no library of marks: those tell what a file may be taken for; here it matters that it can be taken for
//! nothing else.

use memchr::memmem;

use super::reason::Reason;

/// Bytes of the beginning that are looked at as a whole.
const HEAD: usize = 4096;
/// Bytes of the end: a ZIP's last record with the longest comment.
const TAIL: usize = 22 + 65_535;
/// A PDF reader looks so far for the header.
const PDF_HEADER_WITHIN: usize = 1024;
/// Pixels of an image: ten times what the largest scanners make.
const PIXELS_MAX: u64 = 400_000_000;

/// A type of content that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing at all.
    Empty,
    /// PDF.
    Pdf,
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// GIF.
    Gif,
    /// WebP.
    Webp,
    /// TIFF.
    Tiff,
    /// HEIC or AVIF.
    Heif,
    /// Text in UTF-8: plain, CSV, Markdown.
    Text,
    /// A page without scripts.
    Html,
    /// XML, SVG without scripts included.
    Xml,
    /// JSON, by its first sign.
    Json,
    /// RTF.
    Rtf,
    /// A message (RFC 5322).
    Eml,
    /// CMS: signed data (`.p7m`, `.p7s`).
    Signed,
    /// ZIP.
    Zip,
    /// An OpenDocument file.
    Odf,
    /// An Office Open XML file.
    Ooxml,
    /// An associated signature container (ETSI EN 319 162).
    Asic,
}

impl Kind {
    /// Whether a declared media type says the same. What says nothing (`application/octet-stream`) says the same.
    pub fn agrees(self, declared: &str) -> bool {
        let declared = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is = |types: &[&str]| types.contains(&declared.as_str());
        if is(&["", "application/octet-stream"]) {
            return true;
        }
        match self {
            Self::Empty => true,
            Self::Pdf => is(&["application/pdf"]),
            Self::Png => is(&["image/png"]),
            Self::Jpeg => is(&["image/jpeg"]),
            Self::Gif => is(&["image/gif"]),
            Self::Webp => is(&["image/webp"]),
            Self::Tiff => is(&["image/tiff"]),
            Self::Heif => is(&["image/heic", "image/heif", "image/avif"]),
            Self::Text => declared.starts_with("text/") && !is(&["text/html", "text/rtf"]),
            Self::Html => is(&["text/html", "application/xhtml+xml"]),
            Self::Xml => is(&["application/xml", "text/xml"]) || declared.ends_with("+xml"),
            Self::Json => is(&["application/json", "text/plain"]) || declared.ends_with("+json"),
            Self::Rtf => is(&["application/rtf", "text/rtf"]),
            Self::Eml => is(&["message/rfc822"]),
            Self::Signed => declared.starts_with("application/pkcs7") || declared.starts_with("application/x-pkcs7"),
            Self::Zip => is(&["application/zip", "application/x-zip-compressed"]),
            Self::Odf => declared.starts_with("application/vnd.oasis.opendocument."),
            Self::Ooxml => declared.starts_with("application/vnd.openxmlformats-officedocument."),
            Self::Asic => declared.starts_with("application/vnd.etsi.asic-"),
        }
    }

    /// Whether something lies inside that the scanner may miss.
    pub fn is_container(self) -> bool {
        matches!(self, Self::Pdf | Self::Zip | Self::Odf | Self::Ooxml | Self::Asic)
    }

    fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Html | Self::Xml | Self::Json | Self::Rtf | Self::Eml)
    }
}

/// What content turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// Of this type.
    Is(Kind),
    /// Taken by nobody.
    Refused(Reason),
    /// Locked: what is in it cannot be told.
    Locked(Reason),
}

/// Words that tell something wherever they stand; in lower case.
const SCRIPT: &[u8] = b"<script";
const PHP: &[u8] = b"<?php";
const ENTITY: &[u8] = b"<!entity";
const OBJECT: &[u8] = b"\\objdata";
/// Words that do so in a page.
const ACTIVE: [&[u8]; 9] =
    [b"javascript:", b"vbscript:", b"<iframe", b"<object", b"<embed", b"<applet", b"onload=", b"onerror=", b"onclick="];
/// One less than the longest word: so much of one piece is looked at again with the next.
const OVERLAP: usize = 11;

/// What stands in the content, wherever.
#[derive(Debug, Clone, Copy, Default)]
struct Words {
    script: bool,
    php: bool,
    entity: bool,
    object: bool,
    active: bool,
}

/// Looks at content as it passes.
#[derive(Debug, Clone, Default)]
pub struct Judge {
    head: Vec<u8>,
    tail: Vec<u8>,
    total: u64,
    text: Utf8,
    carried: Vec<u8>,
    words: Words,
}

impl Judge {
    /// Before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.total = self.total.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        let room = HEAD.saturating_sub(self.head.len()).min(data.len());
        self.head.extend_from_slice(data.get(..room).unwrap_or_default());
        let last = data.len().saturating_sub(TAIL);
        self.tail.extend_from_slice(data.get(last..).unwrap_or_default());
        // Moved only now and then: the cost a byte stays constant.
        if self.tail.len() > 4 * TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
        self.text.update(data);
        self.look_for_words(data);
    }

    fn look_for_words(&mut self, data: &[u8]) {
        let mut lower = std::mem::take(&mut self.carried);
        lower.extend(data.iter().map(u8::to_ascii_lowercase));
        let has = |word: &[u8]| memmem::find(&lower, word).is_some();
        self.words.script |= has(SCRIPT);
        self.words.php |= has(PHP);
        self.words.entity |= has(ENTITY);
        self.words.object |= has(OBJECT);
        // Only a page is asked for these, and a page is text.
        if !self.text.broken {
            self.words.active |= ACTIVE.iter().any(|word| has(word));
        }
        let keep = lower.len().saturating_sub(OVERLAP);
        self.carried = lower.split_off(keep);
    }

    /// How many bytes there were.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The first bytes, a few KiB at most.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// What it is, once all bytes passed.
    pub fn finish(&self) -> Judged {
        let head = self.head.as_slice();
        if self.total == 0 {
            return Judged::Is(Kind::Empty);
        }
        if let Some(reason) = program(head, self.text.is_text()) {
            return Judged::Refused(reason);
        }
        if head.starts_with(&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1]) {
            return Judged::Refused(Reason::LegacyOffice);
        }
        if cms(head) == Some(CMS_ENVELOPED) {
            return Judged::Locked(Reason::Encrypted);
        }
        let Some(kind) = self.kind() else { return Judged::Refused(Reason::UnknownType) };
        match self.objection(kind) {
            Some(reason) => Judged::Refused(reason),
            None => Judged::Is(kind),
        }
    }

    /// The type, by marks and structure.
    fn kind(&self) -> Option<Kind> {
        let head = self.head.as_slice();
        let at = |from: usize, mark: &[u8]| head.get(from..).is_some_and(|rest| rest.starts_with(mark));
        let binary = if at(0, b"%PDF-") {
            Some(Kind::Pdf)
        } else if at(0, b"\x89PNG\r\n\x1a\n") && at(8, b"\0\0\0\x0dIHDR") {
            Some(Kind::Png)
        } else if at(0, b"\xff\xd8\xff") {
            Some(Kind::Jpeg)
        } else if at(0, b"GIF87a") || at(0, b"GIF89a") {
            Some(Kind::Gif)
        } else if at(0, b"RIFF") && at(8, b"WEBPVP8") {
            Some(Kind::Webp)
        } else if at(0, b"II*\0") || at(0, b"MM\0*") {
            Some(Kind::Tiff)
        } else if at(4, b"ftyp") && HEIF.iter().any(|brand| at(8, *brand)) {
            Some(Kind::Heif)
        } else if at(0, b"PK\x03\x04") || (at(0, b"PK\x05\x06") && self.total == 22) {
            Some(Kind::Zip)
        } else if cms(head) == Some(CMS_SIGNED) {
            Some(Kind::Signed)
        } else if at(0, b"{\\rtf") {
            Some(Kind::Rtf)
        } else if is_message(head) && !self.text.has_nul {
            Some(Kind::Eml)
        } else {
            None
        };
        if binary.is_some() {
            return binary;
        }
        if !self.text.is_text() {
            return None;
        }
        let start = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
        let lower = start.get(..start.len().min(64)).unwrap_or_default().to_ascii_lowercase();
        Some(match lower.first() {
            Some(b'<') if lower.starts_with(b"<?xml") || lower.starts_with(b"<svg") => Kind::Xml,
            Some(b'<') => Kind::Html,
            Some(b'{' | b'[') => Kind::Json,
            _ => Kind::Text,
        })
    }

    /// Why content of this type is not taken all the same.
    fn objection(&self, kind: Kind) -> Option<Reason> {
        let head = self.head.as_slice();
        if self.words.script && !kind.is_container() && kind != Kind::Eml {
            return Some(if kind.is_text() { Reason::ActiveMarkup } else { Reason::Polyglot });
        }
        if self.words.php && !kind.is_container() && kind != Kind::Eml {
            return Some(if kind.is_text() { Reason::Script } else { Reason::Polyglot });
        }
        // A reader of PDF takes a header that stands later, too.
        let window = head.get(..head.len().min(PDF_HEADER_WITHIN + 5)).unwrap_or_default();
        if kind != Kind::Pdf && memmem::find(window, b"%PDF-").is_some() {
            return Some(Reason::Polyglot);
        }
        let archive = self.ends_as_zip();
        if kind != Kind::Zip && archive {
            return Some(Reason::Polyglot);
        }
        match kind {
            Kind::Html | Kind::Xml if self.words.active => Some(Reason::ActiveMarkup),
            Kind::Xml | Kind::Html if self.words.entity => Some(Reason::XmlEntities),
            Kind::Rtf if self.words.object => Some(Reason::EmbeddedObject),
            Kind::Gif if !gif_begins_well(head) => Some(Reason::Polyglot),
            Kind::Png => pixels(head.get(16..24)).filter(|pixels| *pixels > PIXELS_MAX).map(|_| Reason::ImageTooLarge),
            _ => None,
        }
    }

    /// Whether an unpacker would find a ZIP's directory at the end.
    fn ends_as_zip(&self) -> bool {
        let tail = self.tail.get(self.tail.len().saturating_sub(TAIL)..).unwrap_or_default();
        memmem::rfind_iter(tail, b"PK\x05\x06").any(|at| {
            let Some(comment) = tail.get(at + 20..at + 22).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes) else {
                return false;
            };
            let end = at + 22 + usize::from(comment);
            // A PDF may hold an archive as an attachment, unpacked: then the PDF's own end follows.
            end == tail.len() || tail.get(at + 22..).is_some_and(|rest| memmem::find(rest, b"startxref").is_none())
        })
    }
}

const HEIF: [&[u8; 4]; 8] = [b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"hevc", b"avif"];
const CMS_SIGNED: u8 = 2;
const CMS_ENVELOPED: u8 = 3;

/// The kind of a CMS message (RFC 5652, PKCS#7 arc) in DER or BER: a sequence that begins with its object identifier.
fn cms(head: &[u8]) -> Option<u8> {
    if head.first() != Some(&0x30) {
        return None;
    }
    // The length has one byte, or says how many follow it.
    let length = usize::from(*head.get(1)?);
    let at = if length < 0x80 { 2 } else { 2 + (length & 0x7f) };
    let rest = head.get(at..)?.strip_prefix(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07")?;
    rest.first().copied()
}

/// Programs, and scripts that say so.
fn program(head: &[u8], is_text: bool) -> Option<Reason> {
    const MARKS: [&[u8]; 12] = [
        b"\x7fELF",
        b"\xfe\xed\xfa\xce",
        b"\xfe\xed\xfa\xcf",
        b"\xce\xfa\xed\xfe",
        b"\xcf\xfa\xed\xfe",
        b"\xca\xfe\xba\xbe",
        b"dex\n",
        b"\0asm",
        b"L\0\0\0\x01\x14\x02\0",
        b"!<arch>\n",
        b"ITSF",
        b"MSCF",
    ];
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    if text.starts_with(b"#!") {
        return Some(Reason::Script);
    }
    let lower = text.trim_ascii_start().get(..9).unwrap_or_default().to_ascii_lowercase();
    if is_text && (lower.starts_with(b"@echo off") || lower.starts_with(b"<?php")) {
        return Some(Reason::Script);
    }
    // "MZ" may also begin a text.
    let is_program = MARKS.iter().any(|mark| head.starts_with(mark)) || (head.starts_with(b"MZ") && !is_text);
    is_program.then_some(Reason::Executable)
}

/// Whether a head is that of a message: header fields that messages begin with.
fn is_message(head: &[u8]) -> bool {
    const FIELDS: [&[u8]; 10] = [
        b"received:",
        b"return-path:",
        b"delivered-to:",
        b"from:",
        b"to:",
        b"subject:",
        b"date:",
        b"message-id:",
        b"mime-version:",
        b"dkim-signature:",
    ];
    let lower = head.to_ascii_lowercase();
    let fields = lower.split(|byte| *byte == b'\n').take_while(|line| !line.trim_ascii().is_empty());
    let known = |line: &[u8]| FIELDS.iter().any(|field| line.starts_with(field));
    FIELDS.iter().any(|field| lower.starts_with(field)) && fields.filter(|line| known(line)).count() >= 2
}

/// Whether the blocks of a GIF begin where its header says, and its size is no comment of a script.
fn gif_begins_well(head: &[u8]) -> bool {
    let Some(&flags) = head.get(10) else { return false };
    let table = if flags & 0x80 == 0 { 0 } else { 3usize << ((flags & 7) + 1) };
    let block = head.get(13 + table);
    head.get(6..8).is_none_or(|size| size != b"/*") && matches!(block, Some(0x21 | 0x2c | 0x3b))
}

/// Width times height, both big-endian.
fn pixels(size: Option<&[u8]>) -> Option<u64> {
    let (width, height) = size?.split_at_checked(4)?;
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_be_bytes).map(u64::from);
    Some(number(width)?.saturating_mul(number(height)?))
}

/// Whether bytes are text, piece by piece.
#[derive(Debug, Clone, Default)]
struct Utf8 {
    /// The beginning of a character that the next piece ends.
    partial: Vec<u8>,
    broken: bool,
    has_nul: bool,
}

impl Utf8 {
    fn update(&mut self, data: &[u8]) {
        self.has_nul |= memchr::memchr(0, data).is_some();
        if self.broken {
            return;
        }
        self.broken |= data.iter().any(|byte| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b));
        let mut rest = data;
        while !self.partial.is_empty() && !self.broken {
            let Some((first, more)) = rest.split_first() else { return };
            self.partial.push(*first);
            rest = more;
            match std::str::from_utf8(&self.partial) {
                Ok(_) => self.partial.clear(),
                Err(error) => self.broken |= error.error_len().is_some() || self.partial.len() > 4,
            }
        }
        if let Err(error) = std::str::from_utf8(rest) {
            self.broken |= error.error_len().is_some();
            if !self.broken {
                // Three bytes at most: the beginning of one character.
                self.partial.extend_from_slice(rest.get(error.valid_up_to()..).unwrap_or_default());
            }
        }
    }

    fn is_text(&self) -> bool {
        !self.broken && self.partial.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(data: &[u8]) -> Judged {
        let mut judge = Judge::new();
        judge.update(data);
        judge.finish()
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        [b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".as_slice(), &width.to_be_bytes(), &height.to_be_bytes(), &[8, 2, 0, 0, 0, 1, 2, 3, 4]].concat()
    }

    #[test]
    fn types_are_known_by_their_bytes() {
        let gif = b"GIF89a\x01\0\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
        let cases: [(&[u8], Kind); 17] = [
            (b"", Kind::Empty),
            (b"%PDF-1.7\n", Kind::Pdf),
            (&png(3, 4), Kind::Png),
            (b"\xff\xd8\xff\xe0\0\x10JFIF\0", Kind::Jpeg),
            (gif, Kind::Gif),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Kind::Webp),
            (b"II*\0\x08\0\0\0", Kind::Tiff),
            (b"\0\0\0\x18ftypheic\0\0\0\0", Kind::Heif),
            ("k\u{e4}se;1\r\n".as_bytes(), Kind::Text),
            (b"<!DOCTYPE html><p>hello", Kind::Html),
            (b"\xef\xbb\xbf<?xml version=\"1.0\"?><a/>", Kind::Xml),
            (b"{\"a\":1}", Kind::Json),
            (b"{\\rtf1 x}", Kind::Rtf),
            (b"From: a@b.c\r\nSubject: x\r\n\r\n\xe9", Kind::Eml),
            (b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0", Kind::Signed),
            (b"PK\x03\x04\x14\0", Kind::Zip),
            (b"MZ is the region of Mainz\n", Kind::Text),
        ];
        for (data, kind) in cases {
            assert_eq!(judged(data), Judged::Is(kind), "{}", data.escape_ascii());
        }
    }

    #[test]
    fn what_is_not_taken_is_told_apart() {
        let zip_end = [b"PK\x05\x06".as_slice(), &[0; 18]].concat();
        let cases: [(Vec<u8>, Reason); 19] = [
            (b"\x7fELF\x02\x01".to_vec(), Reason::Executable),
            (b"MZ\x90\0\x03".to_vec(), Reason::Executable),
            (b"\xca\xfe\xba\xbe\0\0".to_vec(), Reason::Executable),
            (b"#!/bin/sh\n".to_vec(), Reason::Script),
            (b"@ECHO OFF\r\n".to_vec(), Reason::Script),
            (b"<?php echo 1;".to_vec(), Reason::Script),
            (b"<html><SCRIPT>x</SCRIPT>".to_vec(), Reason::ActiveMarkup),
            (b"text, then <script>x</script>".to_vec(), Reason::ActiveMarkup),
            (b"<svg onload=alert(1)>".to_vec(), Reason::ActiveMarkup),
            (b"<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"c\">]><a/>".to_vec(), Reason::XmlEntities),
            (b"{\\rtf1 {\\object{\\*\\objdata 00}}}".to_vec(), Reason::EmbeddedObject),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0".to_vec(), Reason::LegacyOffice),
            (b"junk\n%PDF-1.7\n".to_vec(), Reason::Polyglot),
            ([b"%PDF-1.7\n".as_slice(), &zip_end].concat(), Reason::Polyglot),
            ([b"\xff\xd8\xff\xe0\0".as_slice(), &zip_end, b"more"].concat(), Reason::Polyglot),
            (b"GIF89a/*\0\0\0\0,".to_vec(), Reason::Polyglot),
            (b"GIF89a=1;\0\0\0\0alert(1)".to_vec(), Reason::Polyglot),
            (png(70_000, 70_000), Reason::ImageTooLarge),
            (b"7z\xbc\xaf\x27\x1c\0".to_vec(), Reason::UnknownType),
        ];
        for (data, reason) in cases {
            assert_eq!(judged(&data), Judged::Refused(reason), "{}", data.escape_ascii());
        }
        assert_eq!(judged(b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"), Judged::Locked(Reason::Encrypted));
        assert_eq!(judged(&[b"%PDF-1.7\n".as_slice(), &zip_end, b"\nendstream\nstartxref\n1\n%%EOF"].concat()), Judged::Is(Kind::Pdf));
        assert_eq!(judged("k\u{e4}".as_bytes().get(..2).unwrap()), Judged::Refused(Reason::UnknownType));
    }

    #[test]
    fn declared_types_are_compared_by_meaning() {
        assert!(Kind::Pdf.agrees("Application/PDF; x=y") && Kind::Pdf.agrees("application/octet-stream"));
        assert!(!Kind::Pdf.agrees("image/png") && !Kind::Text.agrees("text/html") && Kind::Xml.agrees("image/svg+xml"));
    }

    proptest! {
        #[test]
        fn how_it_was_cut_does_not_matter(
            data in prop::collection::vec(prop_oneof![Just(b"<script".to_vec()), Just("\u{20ac}\u{e9}".as_bytes().to_vec()),
                Just(b"PK\x05\x06\0\0".to_vec()), Just(b"%PDF-".to_vec()), prop::collection::vec(any::<u8>(), 0..4)], 0..12)
                .prop_map(|parts| parts.concat()),
            cuts in prop::collection::vec(1usize..9, 1..8),
            front in prop_oneof![Just(&b""[..]), Just(&b"%PDF-"[..]), Just(&b"<a"[..]), Just(&b"GIF89a"[..])],
        ) {
            let data = [front, data.as_slice()].concat();
            let whole = judged(&data);
            let mut judge = Judge::new();
            let mut rest = data.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, more) = rest.split_at((*cut).min(rest.len()));
                judge.update(piece);
                rest = more;
            }
            prop_assert_eq!(judge.finish(), whole);
            prop_assert_eq!(judge.total(), u64::try_from(data.len()).unwrap());
        }
    }
}
