//! PDF as bytes: the files that it carries, and what it does when it is opened.
//!
//! Owns: finding attachments, passwords and actions. Not: pages, and not the scan of what was found ([`super::deep`]).
//! Holds: (1) total and bounded: every look is linear in the file, object streams are unpacked up to
//! [`PdfLimits::unpacked_bytes`] in all; (2) no table of the file is believed: objects are found by the
//! word that begins them, wherever it stands, so what no table names is found too, and nothing is skipped because a
//! length says so; (3) what cannot
//! be read is said to be unseen, never taken for clean.
//! Why no library: those follow the tables, hold a multiple of the file in memory, and mend what is broken, each in
//! its own way. A scanner must see what any reader might. Names may be written with `#xx` for any byte, so they are
//! compared decoded.

use std::collections::HashSet;

use memchr::memmem;

use super::{
    archive::Trouble,
    inflate::{Damaged, zlib_whole},
    reason::Reason,
};

/// Longest dictionary.
const DICTIONARY_MAX: usize = 64 << 10;
/// Most streams of a file: what is looked at of each is bounded, so this bounds the time.
const STREAMS_MAX: usize = 50_000;
/// Longest name that means something to us, written with `#xx` throughout.
const NAME_MAX: usize = 3 * 32;

/// Bounds of what is read of a PDF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PdfLimits {
    /// Bytes of all object streams unpacked.
    pub unpacked_bytes: usize,
    /// Streams that count as attachments.
    pub attachments: usize,
}

impl Default for PdfLimits {
    fn default() -> Self {
        Self { unpacked_bytes: 64 << 20, attachments: 1000 }
    }
}

/// How a stream is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// zlib.
    Flate,
    /// Hexadecimal digits.
    Hex,
    /// Base 85.
    Base85,
}

/// A file in a PDF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its first byte.
    pub start: usize,
    /// Where the stream ends if it is not packed; a packed one ends by itself.
    pub end: usize,
    /// How it is packed, in order of unpacking.
    pub filters: Vec<Filter>,
}

/// What a PDF has in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Files.
    pub attachments: Vec<Attachment>,
    /// Something that cannot be looked into.
    pub unseen: Option<Reason>,
    /// Scripts, also such as run only when a person does something.
    pub has_scripts: bool,
}

/// What names tell, wherever they stand.
#[derive(Debug, Default)]
struct Names {
    encrypt: bool,
    script: bool,
    launch: bool,
    automatic: bool,
    /// Numbers of objects that are files.
    files: HashSet<u32>,
    /// Files are named in a way that is not followed: any stream may be one.
    any_file: bool,
}

/// Looks through a PDF.
///
/// # Errors
/// It starts something when it is opened.
pub fn look(pdf: &[u8], limits: &PdfLimits) -> Result<Found, Trouble> {
    let mut found = Found::default();
    let mut names = Names::default();
    note_names(pdf, &mut names);
    let (streams, unseen) = streams(pdf);
    found.unseen = unseen;
    let mut left = limits.unpacked_bytes;
    for stream in streams.iter().filter(|stream| stream.is_object_stream) {
        match objects(pdf, stream, left) {
            Ok(objects) => {
                left = left.saturating_sub(objects.len());
                note_names(&objects, &mut names);
            }
            Err(Damaged) => {
                // No further: each try may cost as much as a sound one.
                found.unseen = Some(Reason::PdfDamaged);
                break;
            }
        }
    }
    if names.launch || (names.script && names.automatic) {
        return Err(Trouble::Refused(Reason::PdfActive));
    }
    found.has_scripts = names.script;
    for stream in &streams {
        let named = names.files.contains(&stream.number);
        let is_file = stream.says_file || named || (names.any_file && !stream.is_object_stream);
        if !is_file {
            continue;
        }
        if found.attachments.len() >= limits.attachments {
            found.unseen = Some(Reason::PartTooLarge);
            break;
        }
        match filters(stream.dictionary) {
            Some(filters) => found.attachments.push(Attachment { start: stream.start, end: stream.end, filters }),
            None => found.unseen = Some(Reason::Method),
        }
    }
    // Last: a password outweighs what it makes unreadable.
    if names.encrypt {
        found.unseen = Some(Reason::Encrypted);
    }
    Ok(found)
}

/// The content of an attachment.
///
/// # Errors
/// [`Damaged`], also when it has more than `max` bytes.
pub fn unpack(pdf: &[u8], attachment: &Attachment, max: usize) -> Result<Vec<u8>, Damaged> {
    let packed = pdf.get(attachment.start..).ok_or(Damaged)?;
    let Some((first, rest)) = attachment.filters.split_first() else {
        let plain = pdf.get(attachment.start..attachment.end).ok_or(Damaged)?;
        return if plain.len() <= max { Ok(plain.to_vec()) } else { Err(Damaged) };
    };
    let mut content = unfiltered(packed, *first, max)?;
    for filter in rest {
        content = unfiltered(&content, *filter, max)?;
    }
    Ok(content)
}

fn unfiltered(data: &[u8], filter: Filter, max: usize) -> Result<Vec<u8>, Damaged> {
    match filter {
        Filter::Flate => zlib_whole(data, max),
        Filter::Hex => hexadecimal(data, max),
        Filter::Base85 => base85(data, max),
    }
}

/// Digits up to `>`; a last odd one counts as the upper half.
fn hexadecimal(data: &[u8], max: usize) -> Result<Vec<u8>, Damaged> {
    let mut out = Vec::new();
    let mut upper: Option<u8> = None;
    for byte in data {
        let Some(digit) = char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()) else {
            match byte {
                b'>' => {
                    out.extend(upper.map(|digit| digit << 4));
                    return Ok(out);
                }
                byte if is_space(*byte) => continue,
                _ => return Err(Damaged),
            }
        };
        match upper.take() {
            None => upper = Some(digit),
            Some(first) => out.push((first << 4) | digit),
        }
        if out.len() > max {
            return Err(Damaged);
        }
    }
    Err(Damaged)
}

/// Groups of five signs up to `~>`; `z` is four zeros.
fn base85(data: &[u8], max: usize) -> Result<Vec<u8>, Damaged> {
    let mut out = Vec::new();
    let mut group = Vec::with_capacity(5);
    let bytes = |group: &[u8]| {
        let value = group.iter().fold(0u64, |value, sign| value * 85 + u64::from(*sign));
        u32::try_from(value).map(u32::to_be_bytes).map_err(|_| Damaged)
    };
    for byte in data {
        match byte {
            b'~' => {
                let kept = group.len();
                if kept == 0 {
                    return Ok(out);
                }
                group.resize(5, 84);
                out.extend_from_slice(bytes(&group)?.get(..kept.saturating_sub(1)).unwrap_or_default());
                return Ok(out);
            }
            b'z' if group.is_empty() => out.extend_from_slice(&[0; 4]),
            b'!'..=b'u' => group.push(byte - b'!'),
            byte if is_space(*byte) => {}
            _ => return Err(Damaged),
        }
        if group.len() == 5 {
            out.extend_from_slice(&bytes(&group)?);
            group.clear();
        }
        if out.len() > max {
            return Err(Damaged);
        }
    }
    Err(Damaged)
}

/// A stream of an object.
struct Stream<'a> {
    dictionary: &'a [u8],
    number: u32,
    start: usize,
    end: usize,
    is_object_stream: bool,
    says_file: bool,
}

/// All streams, in order, and why some may be missing.
fn streams(pdf: &[u8]) -> (Vec<Stream<'_>>, Option<Reason>) {
    let mut streams: Vec<Stream<'_>> = Vec::new();
    let mut words = HashSet::new();
    // Sound objects do not overlap: together they are no longer than the file.
    let mut work = pdf.len().saturating_mul(2).saturating_add(DICTIONARY_MAX);
    for at in memmem::find_iter(pdf, b"obj") {
        let Some(number) = object_number(pdf.get(at.saturating_sub(40)..at).unwrap_or_default()) else { continue };
        let rest = pdf.get(at + 3..).unwrap_or_default();
        let (dictionary, used) = dictionary(rest.get(..rest.len().min(DICTIONARY_MAX)).unwrap_or_default());
        let Some(left) = work.checked_sub(used) else { return (streams, Some(Reason::PartTooLarge)) };
        work = left;
        let Some(dictionary) = dictionary else { continue };
        let word = at + 3 + used;
        let Some(start) = stream_start(pdf, word) else { continue };
        if streams.len() >= STREAMS_MAX {
            return (streams, Some(Reason::PartTooLarge));
        }
        words.insert(word);
        let mut stream = Stream { dictionary, number, start, end: start, is_object_stream: false, says_file: false };
        for (name, _) in names_in(dictionary) {
            stream.is_object_stream |= name == b"ObjStm";
            stream.says_file |= name == b"EmbeddedFile" || name == b"Params";
        }
        streams.push(stream);
    }
    streams.sort_by_key(|stream| stream.start);
    // Both run forward, so each byte is looked at once.
    let mut ends = memmem::find_iter(pdf, b"endstream").peekable();
    for stream in &mut streams {
        while ends.next_if(|end| *end < stream.start).is_some() {}
        stream.end = ends.peek().copied().unwrap_or(pdf.len());
    }
    // A stream that belongs to no object that we can read may belong to one that a reader mends.
    let mut all = memmem::find_iter(pdf, b"stream");
    let astray = all.any(|word| stream_start(pdf, word).is_some() && !words.contains(&word));
    (streams, astray.then_some(Reason::PdfDamaged))
}

/// Where the bytes of a stream begin whose word `stream` stands at `word`.
fn stream_start(pdf: &[u8], word: usize) -> Option<usize> {
    if pdf.get(..word)?.ends_with(b"end") {
        return None;
    }
    match pdf.get(word..)?.strip_prefix(b"stream")? {
        [b'\r', b'\n', ..] => Some(word + 8),
        [b'\r' | b'\n', ..] => Some(word + 7),
        _ => None,
    }
}

/// The dictionary that some text begins with, if it does, and how much of the text was read: up to the word behind it.
fn dictionary(text: &[u8]) -> (Option<&[u8]>, usize) {
    let begin = skip_space(text, 0);
    let mut at = begin;
    let mut depth = 0usize;
    loop {
        let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) else { return (None, text.len()) };
        let step = match rest {
            [b'<', b'<', ..] => {
                depth += 1;
                2
            }
            [b'>', b'>', ..] => {
                depth = depth.saturating_sub(1);
                2
            }
            // In a hexadecimal string, a literal one or a comment nothing else counts.
            [b'<', ..] => memchr::memchr(b'>', rest).map_or(rest.len(), |end| end + 1),
            [b'(', ..] => literal_len(rest),
            [b'%', ..] => rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len()),
            _ => 1,
        };
        at += step;
        if depth == 0 {
            // Only what begins with a dictionary gets past its first sign.
            let whole = text.get(begin..at).filter(|whole| whole.starts_with(b"<<"));
            return (whole, if whole.is_some() { skip_space(text, at) } else { at });
        }
    }
}

/// Length of a literal string with its brackets.
fn literal_len(text: &[u8]) -> usize {
    let mut depth = 0usize;
    let mut bytes = text.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'(' => depth += 1,
            b')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// The first place from `at` on that is neither space nor comment.
fn skip_space(text: &[u8], mut at: usize) -> usize {
    while let Some(byte) = text.get(at) {
        if *byte == b'%' {
            at += text.iter().skip(at).take_while(|byte| !matches!(byte, b'\r' | b'\n')).count();
        } else if is_space(*byte) {
            at += 1;
        } else {
            break;
        }
    }
    at
}

/// The number in `12 0 ` before `obj`.
fn object_number(before: &[u8]) -> Option<u32> {
    let (rest, _generation) = last_number(before.trim_ascii_end())?;
    let (_, number) = last_number(rest.trim_ascii_end())?;
    Some(number)
}

fn last_number(bytes: &[u8]) -> Option<(&[u8], u32)> {
    let digits = bytes.iter().rev().take(10).take_while(|byte| byte.is_ascii_digit()).count();
    let (rest, number) = bytes.split_at_checked(bytes.len() - digits)?;
    Some((rest, std::str::from_utf8(number).ok()?.parse().ok()?))
}

/// The objects of an object stream, as text.
fn objects(pdf: &[u8], stream: &Stream<'_>, max: usize) -> Result<Vec<u8>, Damaged> {
    let filters = filters(stream.dictionary).ok_or(Damaged)?;
    unpack(pdf, &Attachment { start: stream.start, end: stream.end, filters }, max)
}

/// The filters of a dictionary; `None` where there is one that is not known, a predictor, or no telling which hold.
fn filters(dictionary: &[u8]) -> Option<Vec<Filter>> {
    let mut value = None;
    for (name, rest) in names_in(dictionary) {
        match name.as_slice() {
            b"Filter" if value.is_some() => return None,
            b"Filter" => value = Some(rest),
            // A stream that lies in another file, or whose lines were reckoned from the ones above.
            b"FFilter" | b"Predictor" => return None,
            _ => {}
        }
    }
    let Some(value) = value else { return Some(Vec::new()) };
    let value = value.trim_ascii_start();
    let listed = match value.split_first()? {
        (b'[', inner) => inner.get(..memchr::memchr(b']', inner)?)?,
        (b'/', inner) => {
            let len = inner.iter().position(|byte| ends_name(*byte)).unwrap_or(inner.len());
            value.get(..=len)?
        }
        // An object of its own.
        _ => return None,
    };
    // Nothing but names and space.
    let count = listed.iter().filter(|byte| **byte == b'/').count();
    let filters: Option<Vec<Filter>> = names_in(listed)
        .map(|(name, _)| match name.as_slice() {
            b"FlateDecode" | b"Fl" => Some(Filter::Flate),
            b"ASCIIHexDecode" | b"AHx" => Some(Filter::Hex),
            b"ASCII85Decode" | b"A85" => Some(Filter::Base85),
            _ => None,
        })
        .collect();
    let filters = filters.filter(|filters| filters.len() == count && !listed.contains(&b'%') && filters.len() <= 4)?;
    let is_reference = value.starts_with(b"[") && listed.iter().any(u8::is_ascii_digit) && filters.is_empty();
    if is_reference { None } else { Some(filters) }
}

/// Notes what the names in some text tell.
fn note_names(text: &[u8], names: &mut Names) {
    for (name, rest) in names_in(text) {
        match name.as_slice() {
            b"Encrypt" => names.encrypt = true,
            b"JavaScript" => names.script = true,
            b"Launch" => names.launch = true,
            b"OpenAction" | b"AA" => names.automatic = true,
            b"EF" => note_files(rest, names),
            _ => {}
        }
    }
}

/// Notes the objects that `/EF << /F 4 0 R /UF 4 0 R >>` names.
fn note_files(rest: &[u8], names: &mut Names) {
    let rest = rest.trim_ascii_start();
    let inner = rest.strip_prefix(b"<<").and_then(|inner| inner.get(..memmem::find(inner, b">>")?));
    let Some(inner) = inner.filter(|inner| inner.len() <= 1024) else {
        // By reference, or not in the usual form. In the noise of packed bytes the two letters stand by chance, but then
        // no number follows.
        let mut words = rest.split(|byte| is_space(*byte)).filter(|word| !word.is_empty());
        let mut number = || words.next().is_some_and(|word| word.len() <= 10 && word.iter().all(u8::is_ascii_digit));
        let is_reference = number() && number();
        names.any_file |= is_reference || rest.starts_with(b"<<") || rest.starts_with(b"%");
        return;
    };
    let words: Vec<&[u8]> = inner.split(|byte| is_space(*byte)).filter(|word| !word.is_empty()).collect();
    let mut any = false;
    for triple in words.windows(3) {
        let [number, _, sign] = triple else { continue };
        // The key may stand right before the number only with a space between them.
        let parsed = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
        if let (Some(number), true) = (parsed, sign.starts_with(b"R")) {
            any = true;
            names.files.insert(number);
        }
    }
    names.any_file |= !any;
}

/// The names in some text, decoded, each with what follows it.
fn names_in(text: &[u8]) -> impl Iterator<Item = (Vec<u8>, &[u8])> {
    memchr::memchr_iter(b'/', text).filter_map(move |at| {
        let rest = text.get(at + 1..)?;
        let len = rest.iter().take(NAME_MAX + 1).position(|byte| ends_name(*byte)).unwrap_or(rest.len());
        // Longer ones mean nothing to us.
        let raw = rest.get(..len).filter(|raw| (1..=NAME_MAX).contains(&raw.len()))?;
        Some((decoded(raw), rest.get(len..)?))
    })
}

fn is_space(byte: u8) -> bool {
    matches!(byte, 0 | b'\t' | b'\n' | 0x0c | b'\r' | b' ')
}

fn ends_name(byte: u8) -> bool {
    is_space(byte) || matches!(byte, b'/' | b'<' | b'>' | b'[' | b']' | b'(' | b')' | b'{' | b'}' | b'%')
}

/// A name with its `#xx` replaced.
fn decoded(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((first, more)) = rest.split_first() {
        let escaped = match (first, more) {
            (b'#', [high, low, ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(*high).zip(digit(*low)).map(|(high, low)| (high << 4) | low)
            }
            _ => None,
        };
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { more.get(2..).unwrap_or_default() } else { more };
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::ZlibEncoder};

    use super::*;

    fn packed(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn stream(number: u32, dictionary: &str, data: &[u8]) -> Vec<u8> {
        let head = format!("{number} 0 obj\n<<{dictionary}/Length {}>>\nstream\n", data.len());
        [head.as_bytes(), data, b"\nendstream\nendobj\n"].concat()
    }

    fn pdf(parts: &[&[u8]]) -> Vec<u8> {
        [b"%PDF-1.7\n".as_slice(), &parts.concat(), b"trailer <</Root 1 0 R>>\nstartxref\n9\n%%EOF\n"].concat()
    }

    fn contents(pdf: &[u8]) -> Vec<Vec<u8>> {
        let found = look(pdf, &PdfLimits::default()).unwrap();
        assert_eq!(found.unseen, None);
        found.attachments.iter().map(|attachment| unpack(pdf, attachment, 1000).unwrap()).collect()
    }

    #[test]
    fn attachments_are_found_however_their_dictionary_is_written() {
        let data = packed(b"inside");
        let dictionaries = [
            "/Type/EmbeddedFile/Filter/FlateDecode",
            " /Params << /CheckSum <00ff> /Size 6 >> /Type /EmbeddedFile /Filter /FlateDecode ",
            "/Type/Embedded#46ile/Filter[/Fl]",
            "/T#79pe/#45mbeddedFile/F#69lter [ /FlateDecode ]",
        ];
        for dictionary in dictionaries {
            assert_eq!(contents(&pdf(&[&stream(4, dictionary, &data)])), [b"inside"], "{dictionary}");
        }
        let reference = b"5 0 obj <</Type/Filespec/EF<</F 4 0 R /UF 4 0 R>>>> endobj\n";
        assert_eq!(contents(&pdf(&[&stream(4, "/Filter/FlateDecode", &data), reference])), [b"inside"]);
        assert!(contents(&pdf(&[&stream(4, "/Filter/FlateDecode", &data)])).is_empty());
        let indirect = b"5 0 obj <</EF 6 0 R>> endobj 6 0 obj <</F 4 0 R>> endobj\n";
        assert_eq!(contents(&pdf(&[&stream(4, "/Filter/FlateDecode", &data), indirect])), [b"inside"]);
    }

    #[test]
    fn words_in_strings_and_comments_hide_nothing() {
        let data = packed(b"inside");
        let reference = b"5 0 obj <</EF<</F 4 0 R>>>> endobj\n";
        for decoy in ["(9 0 obj <<)", "(\\) endobj 9 0 obj <<>>)", "%endobj 9 0 obj <<\n", "<3e3e>/X(>>)"] {
            let dictionary = format!("/Filter/FlateDecode/Y {decoy} ");
            assert_eq!(contents(&pdf(&[&stream(4, &dictionary, &data), reference])), [b"inside"], "{decoy}");
        }
        let astray = pdf(&[b"<</Type/EmbeddedFile>>\nstream\nx\nendstream\n"]);
        assert_eq!(look(&astray, &PdfLimits::default()).unwrap().unseen, Some(Reason::PdfDamaged));
    }

    #[test]
    fn references_in_object_streams_count() {
        let object_stream = stream(7, "/Type/ObjStm/N 1/First 4/Filter/FlateDecode", &packed(b"5 0 <</EF<</F 4 0 R>>>>"));
        let file = stream(4, "/Filter/ASCIIHexDecode", b"696e 7369 6465>");
        assert_eq!(contents(&pdf(&[&file, &object_stream])), [b"inside"]);
        let broken = stream(7, "/Type/ObjStm/Filter/FlateDecode", b"nonsense");
        assert_eq!(look(&pdf(&[&broken]), &PdfLimits::default()).unwrap().unseen, Some(Reason::PdfDamaged));
    }

    #[test]
    fn what_cannot_be_unpacked_is_unseen() {
        for filter in [
            "/Filter/LZWDecode",
            "/Filter 9 0 R",
            "/Filter[9 0 R]",
            "/Filter/FlateDecode/DecodeParms<</Predictor 12>>",
            "/Filter/Fl/Filter/Fl",
        ] {
            let file = pdf(&[&stream(4, &format!("/Type/EmbeddedFile{filter}"), b"x")]);
            assert_eq!(look(&file, &PdfLimits::default()).unwrap().unseen, Some(Reason::Method), "{filter}");
        }
        let locked = pdf(&[b"trailer <</Encrypt 3 0 R>>"]);
        assert_eq!(look(&locked, &PdfLimits::default()).unwrap().unseen, Some(Reason::Encrypted));
        let limits = PdfLimits { attachments: 0, ..PdfLimits::default() };
        let one = pdf(&[&stream(4, "/Type/EmbeddedFile", b"x")]);
        assert_eq!(look(&one, &limits).unwrap().unseen, Some(Reason::PartTooLarge));
    }

    #[test]
    fn what_acts_by_itself_is_refused() {
        for active in ["<</S/Launch/F(x)>>", "<</OpenAction<</S/J#61vaScript/JS(x)>>>>", "<</AA<</O 3 0 R>>>> <</S/JavaScript>>"] {
            assert_eq!(look(&pdf(&[active.as_bytes()]), &PdfLimits::default()), Err(Trouble::Refused(Reason::PdfActive)), "{active}");
        }
        let found = look(&pdf(&[b"<</S/JavaScript/JS(x)>>"]), &PdfLimits::default()).unwrap();
        assert!(found.has_scripts && found.attachments.is_empty());
        assert!(!look(&pdf(&[b"<</OpenAction[3 0 R/Fit]>>"]), &PdfLimits::default()).unwrap().has_scripts);
    }

    #[test]
    fn text_filters_are_undone() {
        assert_eq!(hexadecimal(b"61 6 2\n7>", 9), Ok(b"abp".to_vec()));
        assert_eq!(hexadecimal(b"61", 9), Err(Damaged));
        assert_eq!(base85(b"87cURD]i,\"Ebo80~>", 99), Ok(b"Hello World!".to_vec()));
        assert_eq!(base85(b"z~>", 99), Ok(vec![0; 4]));
        assert_eq!(base85(b"z~>", 3), Err(Damaged));
    }
}
