//! Sizes and durations with their units, and the nearest name to a mistyped one.
//!
//! Owns: the text forms `64 MiB` and `30s`. Not: which key takes which.
//! Holds: a number without a unit is refused, an overflow is refused, `show(parse(text))` keeps the value.

use std::time::Duration;

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

const DURATIONS_MS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Number of bytes that a text such as `64 MiB` says.
///
/// # Errors
/// A sentence for people.
pub fn parse_size(text: &str) -> Result<u64, String> {
    parse(text, &SIZES)
        .ok_or_else(|| format!("{text:?} is not a size with its unit, as in \"64 MiB\" (B, KiB, MiB, GiB, TiB, KB, MB, GB, TB)"))
}

/// The time that a text such as `30s` says, in whole milliseconds.
///
/// # Errors
/// A sentence for people.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    parse(text, &DURATIONS_MS)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not a duration with its unit, as in \"30s\" (ms, s, m, h, d)"))
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at_checked(split)?;
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    digits.parse::<u64>().ok()?.checked_mul(*scale)
}

/// A number of bytes with the largest binary unit that says it exactly.
pub fn show_size(bytes: u64) -> String {
    show(bytes, SIZES.iter().filter(|(name, _)| name.ends_with("iB") || *name == "B"), " ")
}

/// A duration with the largest unit that says it exactly.
pub fn show_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), DURATIONS_MS.iter(), "")
}

fn show<'a>(value: u64, units: impl Iterator<Item = &'a (&'a str, u64)>, gap: &str) -> String {
    let mut smallest = "";
    for (name, scale) in units {
        if value != 0 && value.is_multiple_of(*scale) {
            return format!("{}{gap}{name}", value / scale);
        }
        smallest = name;
    }
    format!("{value}{gap}{smallest}")
}

/// The candidate nearest to `name`, if any is near enough to be what was meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(2);
    candidates.into_iter().map(|c| (distance(name, c), c)).filter(|(d, _)| *d <= limit).min().map(|(_, c)| c)
}

/// Edit distance: insertions, deletions and replacements of characters that make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for (to, pair) in b.iter().zip(row.windows(2)) {
            let [diagonal, above] = pair else { continue };
            let left = next.last().copied().unwrap_or(usize::MAX - 1);
            next.push((diagonal + usize::from(from != *to)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_needed_and_understood() {
        assert_eq!(parse_size("64 MiB"), Ok(64 << 20));
        assert_eq!(parse_size("5GB"), Ok(5_000_000_000));
        assert_eq!(parse_duration("10d"), Ok(Duration::from_secs(864_000)));
        assert_eq!(parse_duration("50 ms"), Ok(Duration::from_millis(50)));
        for bad in ["", "64", "MiB", "-1 MiB", "1.5 GiB", "1 mib", "99999999999 TiB", "1 MiB x", "é"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        for bad in ["", "30", "s", "1 min", "1h30m", "99999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        assert_eq!(nearest("segmnt_bytes", ["queue_bytes", "segment_bytes"]), Some("segment_bytes"));
        assert_eq!(nearest("pathes", ["paths", "weight"]), Some("paths"));
        assert_eq!(nearest("colour", ["paths", "weight"]), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    proptest! {
        #[test]
        fn shown_values_parse_back(bytes: u64, ms in 0..u64::MAX / 2) {
            prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
            prop_assert_eq!(parse_duration(&show_duration(Duration::from_millis(ms))), Ok(Duration::from_millis(ms)));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC{0,24}") {
            let _ = parse_size(&text);
            let _ = parse_duration(&text);
        }

        #[test]
        fn distance_is_symmetric_and_zero_only_for_equals(a in "[a-d]{0,8}", b in "[a-d]{0,8}") {
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
        }
    }
}
