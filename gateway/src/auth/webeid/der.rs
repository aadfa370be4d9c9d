//! Distinguished encoding (X.690, DER), as much of it as certificates and OCSP answers need.
//!
//! Owns: elements, their lengths, times and object identifiers. Not: what an element means.
//! Holds: (1) any bytes give an element or nothing; (2) an element has one encoding: long or indefinite lengths and
//! tags of several bytes are refused; (3) nothing is copied, so that no length in the input costs memory.

/// Tag of an INTEGER.
pub const INTEGER: u8 = 0x02;
/// Tag of a BIT STRING.
pub const BIT_STRING: u8 = 0x03;
/// Tag of an OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// Tag of NULL.
pub const NULL: u8 = 0x05;
/// Tag of an OBJECT IDENTIFIER.
pub const OID: u8 = 0x06;
/// Tag of an ENUMERATED.
pub const ENUMERATED: u8 = 0x0a;
/// Tag of a GeneralizedTime.
pub const GENERALIZED_TIME: u8 = 0x18;
/// Tag of a SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// Tag of a SET.
pub const SET: u8 = 0x31;
const UTC_TIME: u8 = 0x17;

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// Its tag.
    pub tag: u8,
    /// Its content.
    pub body: &'a [u8],
    /// All of it, with tag and length.
    pub whole: &'a [u8],
}

/// What is still to be read.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Over `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element, whatever it is.
    pub fn any(&mut self) -> Option<Element<'a>> {
        let all = self.0;
        let (&tag, rest) = all.split_first()?;
        let (&first, rest) = rest.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (len, rest) = if first < 0x80 { (usize::from(first), rest) } else { long_length(first, rest)? };
        let (body, after) = rest.split_at_checked(len)?;
        let whole = all.get(..all.len() - after.len())?;
        self.0 = after;
        Some(Element { tag, body, whole })
    }

    /// The next element, which must have this tag.
    pub fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        self.any().filter(|element| element.tag == tag)
    }

    /// The next element if it has this tag; the outer `None` when it is malformed.
    pub fn optional(&mut self, tag: u8) -> Option<Option<Element<'a>>> {
        if self.0.first() == Some(&tag) { self.any().map(Some) } else { Some(None) }
    }

    /// Succeeds when nothing is left.
    pub fn end(&self) -> Option<()> {
        self.is_empty().then_some(())
    }
}

/// A length of one to four bytes, written as shortly as can be.
fn long_length(first: u8, rest: &[u8]) -> Option<(usize, &[u8])> {
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) {
        return None;
    }
    let (bytes, rest) = rest.split_at_checked(count)?;
    let len = bytes.iter().fold(0_usize, |len, byte| (len << 8) | usize::from(*byte));
    (len >= 0x80 && bytes.first() != Some(&0)).then_some((len, rest))
}

/// The content of `bytes`, which must be one element of this tag and nothing more.
pub fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    let element = reader.take(tag)?;
    reader.end()?;
    Some(element.body)
}

/// The bytes of a BIT STRING's content that is whole bytes.
pub fn whole_bits(body: &[u8]) -> Option<&[u8]> {
    match body.split_first()? {
        (0, bits) => Some(bits),
        _ => None,
    }
}

/// An element of `parts`, one after the other.
pub fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(len) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes: Vec<u8> = len.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            // At most eight bytes: the count fits.
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(8));
            out.extend_from_slice(&bytes);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// The content of the OBJECT IDENTIFIER in dotted text.
pub fn oid(text: &str) -> Option<Vec<u8>> {
    let mut arcs = text.split('.').map(|arc| crate::upload::decimal(arc).ok());
    let (first, second) = (arcs.next()??, arcs.next()??);
    if first > 2 || (first < 2 && second > 39) {
        return None;
    }
    let mut out = base128(first.checked_mul(40)?.checked_add(second)?);
    for arc in arcs {
        out.extend(base128(arc?));
    }
    (out.len() <= 64).then_some(out)
}

fn base128(mut value: u64) -> Vec<u8> {
    let low = |value: u64| u8::try_from(value & 0x7f).unwrap_or(0);
    let mut out = vec![low(value)];
    while value >= 0x80 {
        value >>= 7;
        out.push(0x80 | low(value));
    }
    out.reverse();
    out
}

/// Seconds since 1970 of a UTCTime or GeneralizedTime in the form of RFC 5280: UTC, with seconds and no fraction.
pub fn time(element: Element<'_>) -> Option<u64> {
    let text = element.body;
    let digits = |range: std::ops::Range<usize>| -> Option<u64> {
        text.get(range)?.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
    };
    let (year, rest) = match (element.tag, text.len()) {
        (UTC_TIME, 13) => (digits(0..2).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        (GENERALIZED_TIME, 15) => (digits(0..4)?, 4),
        _ => return None,
    };
    let part = |at: usize| digits(rest + at..rest + at + 2);
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    let sound = year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if !sound || text.last() != Some(&b'Z') {
        return None;
    }
    // Years that begin in March, so that the leap day is the last one.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    // 719468 days from 0000-03-01 to 1970-01-01.
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_have_one_encoding() {
        assert_eq!(only(&[4, 1, 7], OCTET_STRING), Some(&[7][..]));
        for bad in [&[4][..], &[4, 2, 7], &[4, 1, 7, 0], &[4, 0x81, 1, 7], &[4, 0x80, 7, 0, 0], &[4, 0x82, 0, 1, 7], &[0x1f, 1, 7]] {
            assert_eq!(only(bad, OCTET_STRING), None, "{bad:?}");
        }
        assert_eq!(only(&[0x1f, 1, 7], 0x1f), None, "tags of several bytes are not read");
        let mut bomb = vec![4, 0x84, 0xff, 0xff, 0xff, 0xff];
        bomb.push(0);
        assert_eq!(only(&bomb, OCTET_STRING), None);
    }

    #[test]
    fn identifiers_and_times_are_those_of_the_standards() {
        assert_eq!(oid("2.16.56.12.1.1.2.2").unwrap(), [0x60, 0x38, 0x0c, 1, 1, 2, 2]);
        assert_eq!(oid("1.2.840.113549").unwrap(), [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]);
        for bad in ["", "1", "3.1", "1.40", "1.2.", "1..2", "1.2.x", "1.-2", "1.2.99999999999999999999"] {
            assert_eq!(oid(bad), None, "{bad}");
        }
        let at = |tag, body: &'static [u8]| time(Element { tag, body, whole: body });
        assert_eq!(at(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(at(GENERALIZED_TIME, b"20240229235959Z"), Some(1_709_251_199));
        assert_eq!(at(UTC_TIME, b"491231235959Z"), at(GENERALIZED_TIME, b"20491231235959Z"));
        for bad in [&b"20240229235959"[..], b"20241329235959Z", b"2024022923595xZ", b"20240229235959.5Z", b"19691231235959Z", b""] {
            assert_eq!(at(GENERALIZED_TIME, bad), None, "{}", bad.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(tag in 0u8..0x1f, body in prop::collection::vec(any::<u8>(), 0..700)) {
            let (left, right) = body.split_at(body.len() / 3);
            let whole = element(tag, &[left, right]);
            prop_assert_eq!(only(&whole, tag), Some(body.as_slice()));
        }

        #[test]
        fn any_bytes_end_in_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&bytes);
            while let Some(element) = reader.any() {
                prop_assert!(element.whole.len() > element.body.len());
                let _ = time(element);
            }
        }
    }
}
