//! Ranges and preconditions of HTTP (RFC 9110 sections 13 and 14), as pure functions.
//!
//! Owns: reading `Range`, `If-Match`, `If-None-Match` and `If-Range` and deciding what they mean for a
//! thing of a known length and ETag. Not: sending the bytes.
//! Holds: every range that is given back lies inside the document, is not empty, and they are sorted and
//! apart, so that sixteen overlapping ranges cannot make us send a document sixteen times.

/// A non-empty run of bytes: `start` up to, not with, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
}

impl ByteRange {
    /// Bytes in it.
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Never: kept for the convention.
    pub fn is_empty(self) -> bool {
        self.end == self.start
    }

    /// The value of `Content-Range` in a document of `size` bytes.
    pub fn content_range(self, size: u64) -> String {
        format!("bytes {}-{}/{size}", self.start, self.end.saturating_sub(1))
    }
}

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Everything (200).
    Whole,
    /// These parts (206); at least one.
    Parts(Vec<ByteRange>),
}

/// Why a `Range` is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// More ranges than are served at once.
    #[error("{given} ranges were asked for, at most {max} are served at once")]
    TooMany {
        /// Ranges asked for.
        given: usize,
        /// Most that are served.
        max: usize,
    },
    /// Empty, inverted, not numbers, or all outside the document.
    #[error("the range does not lie in the document")]
    Unsatisfiable,
}

/// What the `Range` header asks for of a document of `size` bytes. Another unit than bytes is ignored,
/// as RFC 9110 section 14.2 allows; a malformed range of bytes is refused, so that a client learns of it.
///
/// # Errors
/// [`RangeError`].
pub fn select(header: Option<&str>, size: u64, max: usize) -> Result<Selection, RangeError> {
    let Some(header) = header else { return Ok(Selection::Whole) };
    let Some((unit, set)) = header.split_once('=') else { return Err(RangeError::Unsatisfiable) };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Ok(Selection::Whole);
    }
    // Counted before anything is kept: a header of thousands costs nothing.
    let given = set.split(',').filter(|s| !s.trim().is_empty()).count();
    if given > max {
        return Err(RangeError::TooMany { given, max });
    }
    let mut parts = Vec::with_capacity(given);
    for spec in set.split(',').map(str::trim).filter(|s| !s.is_empty()) {
        if let Some(range) = one(spec, size)? {
            parts.push(range);
        }
    }
    if parts.is_empty() {
        return Err(RangeError::Unsatisfiable);
    }
    Ok(Selection::Parts(merge(parts)))
}

/// One range; `None` when it is well-formed but outside the document.
fn one(spec: &str, size: u64) -> Result<Option<ByteRange>, RangeError> {
    let (first, last) = spec.split_once('-').ok_or(RangeError::Unsatisfiable)?;
    if first.is_empty() {
        let suffix = number(last)?;
        let start = size.saturating_sub(suffix);
        return Ok((start < size).then_some(ByteRange { start, end: size }));
    }
    let start = number(first)?;
    let end = if last.is_empty() { size } else { number(last)?.saturating_add(1) };
    if start >= end && !last.is_empty() {
        return Err(RangeError::Unsatisfiable);
    }
    Ok((start < size).then_some(ByteRange { start, end: end.min(size) }))
}

/// Digits as a number; one that does not fit is as good as the largest.
fn number(digits: &str) -> Result<u64, RangeError> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RangeError::Unsatisfiable);
    }
    Ok(digits.parse().unwrap_or(u64::MAX))
}

/// Sorted, with overlapping and touching ones made one (RFC 9110 section 15.3.7.2).
fn merge(mut parts: Vec<ByteRange>) -> Vec<ByteRange> {
    parts.sort_by_key(|r| r.start);
    let mut merged: Vec<ByteRange> = Vec::with_capacity(parts.len());
    for part in parts {
        match merged.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => merged.push(part),
        }
    }
    merged
}

/// A list of ETags that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entity tags are written \"...\" and separated by commas")]
pub struct BadEtag;

/// What `If-Match` or `If-None-Match` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Etags {
    /// `*`: any.
    Any,
    /// These, quotes included; `true` when weak.
    Listed(Vec<(bool, String)>),
}

impl Etags {
    /// Reads a field value.
    ///
    /// # Errors
    /// [`BadEtag`].
    pub fn parse(value: &str) -> Result<Self, BadEtag> {
        if value.trim() == "*" {
            return Ok(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = value.trim();
        loop {
            let (weak, quoted) = match rest.strip_prefix("W/") {
                Some(after) => (true, after),
                None => (false, rest),
            };
            let inner = quoted.strip_prefix('"').ok_or(BadEtag)?;
            let (tag, after) = inner.split_once('"').ok_or(BadEtag)?;
            if tag.bytes().any(|b| b <= b' ' || b == 0x7f) {
                return Err(BadEtag);
            }
            tags.push((weak, format!("\"{tag}\"")));
            rest = after.trim_start();
            if rest.is_empty() {
                return Ok(Self::Listed(tags));
            }
            rest = rest.strip_prefix(',').ok_or(BadEtag)?.trim_start();
        }
    }

    /// Strong comparison (If-Match): `current` is a strong tag with its quotes.
    pub fn matches_strongly(&self, current: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(|(weak, tag)| !weak && tag == current),
        }
    }

    /// Weak comparison (If-None-Match).
    pub fn matches_weakly(&self, current: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(|(_, tag)| tag == current),
        }
    }
}

/// Whether a `Range` counts under this `If-Range`: only for the same strong ETag. A date never matches,
/// for we give no Last-Modified that could be compared.
pub fn if_range_matches(header: Option<&str>, current: &str) -> bool {
    header.is_none_or(|value| value.trim() == current)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn parts(header: &str, size: u64) -> Vec<(u64, u64)> {
        match select(Some(header), size, 16).unwrap() {
            Selection::Parts(parts) => parts.into_iter().map(|r| (r.start, r.end)).collect(),
            Selection::Whole => panic!("whole"),
        }
    }

    #[test]
    fn usual_ranges() {
        assert_eq!(parts("bytes=0-0", 10), [(0, 1)]);
        assert_eq!(parts("bytes=2-", 10), [(2, 10)]);
        assert_eq!(parts("bytes=-3", 10), [(7, 10)]);
        assert_eq!(parts("bytes=-30", 10), [(0, 10)]);
        assert_eq!(parts("bytes=8-99999999999999999999999", 10), [(8, 10)]);
        assert_eq!(parts("bytes=6-7, 0-1", 10), [(0, 2), (6, 8)]);
        assert_eq!(parts("bytes=0-4,2-6,20-30", 10), [(0, 7)]);
        assert_eq!(select(None, 10, 16), Ok(Selection::Whole));
        assert_eq!(select(Some("items=0-1"), 10, 16), Ok(Selection::Whole));
    }

    #[test]
    fn refused_ranges() {
        for bad in [
            "bytes=",
            "bytes=5-2",
            "bytes=10-",
            "bytes=-0",
            "bytes=a-b",
            "bytes=18446744073709551616-",
            "bytes",
            "bytes=-",
            "bytes=+1-2",
            "bytes= , ,",
        ] {
            assert_eq!(select(Some(bad), 10, 16), Err(RangeError::Unsatisfiable), "{bad}");
        }
        assert_eq!(select(Some("bytes=0-"), 0, 16), Err(RangeError::Unsatisfiable));
        let many = format!("bytes={}", vec!["0-1"; 1000].join(","));
        assert_eq!(select(Some(&many), 10, 16), Err(RangeError::TooMany { given: 1000, max: 16 }));
    }

    #[test]
    fn etags() {
        let listed = Etags::parse(r#""a", W/"b" , "c""#).unwrap();
        assert!(listed.matches_strongly(r#""a""#) && listed.matches_strongly(r#""c""#));
        assert!(!listed.matches_strongly(r#""b""#) && listed.matches_weakly(r#""b""#));
        assert_eq!(Etags::parse(" * "), Ok(Etags::Any));
        for bad in ["", "a", "\"a", "\"a\" \"b\"", "\"a\",", "\"a b\"", "w/\"a\""] {
            assert_eq!(Etags::parse(bad), Err(BadEtag), "{bad}");
        }
        assert!(if_range_matches(None, "\"a\"") && if_range_matches(Some("\"a\""), "\"a\""));
        assert!(!if_range_matches(Some("W/\"a\""), "\"a\"") && !if_range_matches(Some("Wed, 21 Oct 2015 07:28:00 GMT"), "\"a\""));
    }

    proptest! {
        #[test]
        fn any_text_gives_sound_ranges(text in ".{0,80}", size in any::<u64>()) {
            if let Ok(Selection::Parts(parts)) = select(Some(&format!("bytes={text}")), size, 16) {
                check(&parts, size);
            }
            let _ = Etags::parse(&text);
        }

        #[test]
        fn any_numbers_give_the_bytes_asked_for(specs in proptest::collection::vec((0u64..40, 0u64..40), 1..6), size in 1u64..40) {
            let header = format!("bytes={}", specs.iter().map(|(a, b)| format!("{a}-{b}")).collect::<Vec<_>>().join(","));
            let inverted = specs.iter().any(|(a, b)| a > b);
            match select(Some(&header), size, 16) {
                Ok(Selection::Parts(parts)) => {
                    check(&parts, size);
                    for byte in 0..size {
                        let wanted = specs.iter().any(|(a, b)| (*a..=*b).contains(&byte));
                        let given = parts.iter().any(|r| (r.start..r.end).contains(&byte));
                        assert_eq!(wanted, given, "{header} of {size}: byte {byte}");
                    }
                }
                Ok(Selection::Whole) => panic!("a range was ignored"),
                Err(_) => assert!(inverted || specs.iter().all(|(a, _)| *a >= size)),
            }
        }
    }

    fn check(parts: &[ByteRange], size: u64) {
        assert!(!parts.is_empty());
        for part in parts {
            assert!(part.start < part.end && part.end <= size);
        }
        for pair in parts.windows(2) {
            assert!(pair[0].end < pair[1].start);
        }
    }
}
