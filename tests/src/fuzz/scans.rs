//! Targets: documents and archives. Answers of clamd, types of content, directories of archives, PDF, exports.
//!
//! Owns: documents as bytes. Not: what a request says about them ([`super::http`]).
//! Holds: how content was cut does not change what it is taken for; members of an accepted archive do not overlap and
//! stay below the folder they are unpacked to; what is unpacked stays within its bound.

use kluis_gateway::export::check;
use kluis_gateway::scan::{
    archive::{ArchiveLimits, DIRECTORY_MAX, check_local, classify, find_directory, parse_directory},
    clamd::{Answer, parse_answer, parse_version},
    content::{Judge, Judged},
    pdf::{PdfLimits, look, unpack},
};

use super::{Target, texts};
use crate::carriers::{page, pdf_with_file, png, zip};

const WORDS: &str = include_str!("../../fuzz/dictionaries/scans.dict");
/// Bytes that one attachment may unpack to here.
const UNPACKED_MAX: usize = 1 << 20;

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    Target::new(
        "clamd_answer",
        clamd_answer,
        || texts(&["stream: OK\0", "stream: A.B FOUND\0", "INSTREAM size limit exceeded. ERROR\0"]),
        WORDS,
    ),
    Target::new("clamd_version", clamd_version, || texts(&["ClamAV 1.4.6/27500/Tue Nov  3 09:39:42 2026\0", "ClamAV 1.4.6\0"]), WORDS),
    Target::new("content_type", content_type, content_seeds, WORDS),
    Target::new("zip_directory", zip_directory, || vec![zip(&[("a", b"x"), ("b/", b""), ("b/c", b"yy")]), zip(&[])], WORDS),
    Target::new("export_file", export_file, || vec![check::sample(&[("a", b"x"), ("b", b"")]), check::sample(&[])], WORDS),
    Target::new("pdf_files", pdf_files, || vec![pdf_with_file("/Type/EmbeddedFile/Filter/FlateDecode", b"x"), page("")], WORDS),
];

fn clamd_answer(data: &[u8]) -> bool {
    match parse_answer(data) {
        Answer::Clean => {
            assert!(data.starts_with(b"stream: OK\0"), "taken for clean: {}", data.escape_ascii());
            true
        }
        Answer::Found(name) => {
            assert!(!name.is_empty() && name.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            true
        }
        Answer::TooLong => true,
        Answer::Other(_) => false,
    }
}

fn clamd_version(data: &[u8]) -> bool {
    let Some(version) = parse_version(data) else { return false };
    let text = match version.database {
        None => format!("ClamAV {}\0", version.engine),
        Some(number) => format!("ClamAV {}/{number}/{}\0", version.engine, version.date),
    };
    assert_eq!(parse_version(text.as_bytes()), Some(version));
    true
}

fn content_seeds() -> Vec<Vec<u8>> {
    vec![page(""), png(3, 4), zip(&[("a", b"x")]), b"From: a@b\r\nTo: c@d\r\n\r\n".to_vec(), b"GIF89a\x01\0\x01\0\0\0\0;".to_vec()]
}

fn content_type(data: &[u8]) -> bool {
    let mut whole = Judge::new();
    whole.update(data);
    let mut cut = Judge::new();
    for piece in data.chunks(7) {
        cut.update(piece);
    }
    assert_eq!(whole.finish(), cut.finish(), "it matters how the content was cut");
    matches!(whole.finish(), Judged::Is(_))
}

fn zip_directory(data: &[u8]) -> bool {
    let len = u64::try_from(data.len()).unwrap();
    let Ok(directory) = find_directory(data, len) else { return false };
    assert!(directory.len <= DIRECTORY_MAX && directory.offset + u64::from(directory.len) <= len);
    let from = usize::try_from(directory.offset).unwrap();
    let bytes = &data[from..from + usize::try_from(directory.len).unwrap()];
    let Ok(members) = parse_directory(bytes, directory, &ArchiveLimits::default()) else { return false };
    let mut free = 0;
    for member in &members {
        assert!(member.offset >= free && member.offset + 30 + member.packed <= directory.offset, "{members:?}");
        free = member.offset + 30 + member.packed;
        assert!(!member.name.starts_with(b"/") && !member.name.split(|byte| *byte == b'/').any(|part| part == b".."));
        let at = usize::try_from(member.offset).unwrap();
        let _ = check_local(data.get(at..).unwrap_or_default(), member);
    }
    let _ = classify(&members, data);
    true
}

fn export_file(data: &[u8]) -> bool {
    match check::check(&mut std::io::Cursor::new(data)) {
        Ok(report) => {
            assert!(report.bytes <= u64::try_from(data.len()).unwrap(), "more content than file: {report:?}");
            true
        }
        Err(_) => false,
    }
}

fn pdf_files(data: &[u8]) -> bool {
    let limits = PdfLimits { unpacked_bytes: UNPACKED_MAX, attachments: 16 };
    let Ok(found) = look(data, &limits) else { return false };
    assert!(found.attachments.len() <= limits.attachments);
    for attachment in &found.attachments {
        if let Ok(content) = unpack(data, attachment, UNPACKED_MAX) {
            assert!(content.len() <= UNPACKED_MAX);
        }
    }
    found.unseen.is_none()
}
