//! The Belgian national number (rijksregisternummer, numéro national) and its BIS form.
//!
//! ```text
//! YY MM DD SSS CC     CC = 97 - (YYMMDDSSS mod 97), with a 2 put before the nine digits for births from 2000 on
//! ```
//! SSS is 001 to 998, odd for men. BIS numbers add 20 (sex unknown) or 40 to the month. Unknown parts of a
//! birth date are zeros.
//!
//! Owns: the check and the keyed hash. Not: who says that the number is somebody's; the two check digits are
//! weak, so a typed number never identifies anybody.
//! Holds: (1) a value that exists passed the check; (2) it is never printed, and wiped on drop.

use std::str::FromStr;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::keys::LookupKey;

/// A checked national number.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct NationalNumber([u8; 11]);

impl std::fmt::Debug for NationalNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NationalNumber(..)")
    }
}

/// Why a text is no national number. Does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadNationalNumber {
    /// Not eleven digits (with `.`, `-` and blanks between them at most).
    #[error("a national number has eleven digits")]
    Digits,
    /// No month, day or serial number that occurs.
    #[error("a national number starts with a birth date and a serial number from 001 to 998")]
    Date,
    /// The check digits fit neither century.
    #[error("the check digits of the national number are wrong")]
    CheckDigits,
}

/// A birth date as the number states it; 0 where the number does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    /// 1900 to 2099.
    pub year: u16,
    /// 0 to 12.
    pub month: u8,
    /// 0 to 31.
    pub day: u8,
}

impl NationalNumber {
    /// The eleven digits. Not for logs, addresses or messages.
    pub fn expose(&self) -> &str {
        // Always ASCII digits; an empty text instead of a panic where that could ever fail.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// What an account is found by: HMAC-SHA-256 of the eleven digits.
    pub fn lookup_hash(&self, key: &LookupKey) -> [u8; 32] {
        key.hash(&self.0)
    }

    /// The birth date in the number.
    pub fn birth(&self) -> Birth {
        let century = if from_2000(&self.0) { 2000 } else { 1900 };
        let [y1, y2, m1, m2, d1, d2, ..] = self.0.map(|digit| digit - b'0');
        Birth { year: century + u16::from(y1 * 10 + y2), month: (m1 * 10 + m2) % 20, day: d1 * 10 + d2 }
    }

    /// Whether it is a BIS number: of somebody who is not in the national register.
    pub fn is_bis(&self) -> bool {
        self.0[2] >= b'2'
    }
}

impl FromStr for NationalNumber {
    type Err = BadNationalNumber;

    fn from_str(text: &str) -> Result<Self, BadNationalNumber> {
        let mut number = Self([0; 11]);
        let mut len = 0;
        for byte in text.bytes().filter(|byte| !matches!(byte, b'.' | b'-' | b' ')) {
            let place = number.0.get_mut(len).filter(|_| byte.is_ascii_digit()).ok_or(BadNationalNumber::Digits)?;
            *place = byte;
            len += 1;
        }
        if len != number.0.len() {
            return Err(BadNationalNumber::Digits);
        }
        let (month, day, serial) = (value(&number.0[2..4]), value(&number.0[4..6]), value(&number.0[6..9]));
        if !matches!(month, 0..=12 | 20..=32 | 40..=52) || day > 31 || !(1..=998).contains(&serial) {
            return Err(BadNationalNumber::Date);
        }
        let check = value(&number.0[9..]);
        if check == check_digits(&number.0, false) || check == check_digits(&number.0, true) {
            Ok(number)
        } else {
            Err(BadNationalNumber::CheckDigits)
        }
    }
}

/// Value of at most eleven ASCII digits.
fn value(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit.wrapping_sub(b'0')))
}

fn check_digits(digits: &[u8; 11], from_2000: bool) -> u64 {
    let nine = value(&digits[..9]);
    97 - (if from_2000 { 2_000_000_000 + nine } else { nine }) % 97
}

/// Whether the check digits are those of a birth from 2000 on. Never both: 2,000,000,000 mod 97 is not 0.
fn from_2000(digits: &[u8; 11]) -> bool {
    value(&digits[9..]) == check_digits(digits, true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::SecretKey;

    const SAMPLES: &str = include_str!("../../testdata/nn-samples.tsv");
    const INVALID: &str = include_str!("../../testdata/nn-invalid.txt");

    #[test]
    fn samples_give_their_birth_date_and_kind() {
        let mut seen = 0;
        for line in SAMPLES.lines().filter(|line| !line.is_empty()) {
            let columns: Vec<_> = line.split('\t').collect();
            let number: NationalNumber = columns[0].parse().unwrap();
            let Birth { year, month, day } = number.birth();
            assert_eq!(format!("{year:04}-{month:02}-{day:02}"), columns[1], "{line}");
            assert_eq!(number.is_bis(), columns[3] != "rn", "{line}");
            assert_eq!(number.expose(), columns[0]);
            seen += 1;
        }
        assert_eq!(seen, 60);
    }

    #[test]
    fn invalid_samples_are_refused() {
        for line in INVALID.lines().filter(|line| !line.is_empty()) {
            assert!(line.parse::<NationalNumber>().is_err(), "{line}");
        }
    }

    #[test]
    fn forms_and_printing() {
        let number: NationalNumber = "11.03.04-956.78".parse().unwrap();
        assert_eq!(number, "11030495678".parse().unwrap());
        assert_eq!(format!("{number:?}"), "NationalNumber(..)");
        for bad in ["", "1103049567", "110304956780", "1103049567a", "１1030495678", "11030495678\n", "+1030495678"] {
            assert_eq!(bad.parse::<NationalNumber>(), Err(BadNationalNumber::Digits), "{bad:?}");
        }
        for bad in ["11130495678", "11033295678", "11030400078", "11030499978", "11600495678"] {
            assert_eq!(bad.parse::<NationalNumber>(), Err(BadNationalNumber::Date), "{bad:?}");
        }
    }

    #[test]
    fn the_lookup_hash_depends_on_key_and_number() {
        let key = |byte| LookupKey::from_secret(SecretKey::from_bytes([byte; 32]));
        let (a, b): (NationalNumber, NationalNumber) = ("11030495678".parse().unwrap(), "21021392344".parse().unwrap());
        assert_eq!(a.lookup_hash(&key(1)), a.lookup_hash(&key(1)));
        assert_ne!(a.lookup_hash(&key(1)), a.lookup_hash(&key(2)));
        assert_ne!(a.lookup_hash(&key(1)), b.lookup_hash(&key(1)));
    }

    /// Written from the rule, not from the code above.
    fn made(year: u32, month: u32, bis: u32, day: u32, serial: u32) -> String {
        let nine = u64::from(((year % 100) * 10_000 + (month + bis) * 100 + day) * 1000 + serial);
        let check = 97 - (if year >= 2000 { format!("2{nine:09}").parse::<u64>().unwrap() } else { nine }) % 97;
        format!("{nine:09}{check:02}")
    }

    proptest! {
        #[test]
        fn well_made_numbers_parse(
            year in 1900u32..2100, month in 0u32..=12, bis in prop::sample::select(vec![0u32, 20, 40]), day in 0u32..=31, serial in 1u32..=998,
        ) {
            let text = made(year, month, bis, day, serial);
            let number: NationalNumber = text.parse().unwrap();
            let birth = number.birth();
            prop_assert_eq!((u32::from(birth.year), u32::from(birth.month), u32::from(birth.day)), (year, month, day));
            prop_assert_eq!(number.is_bis(), bis > 0);
            prop_assert_eq!(number.expose(), text);
        }

        #[test]
        fn other_check_digits_are_refused(year in 1900u32..2100, serial in 1u32..=998, check in 0u32..=99) {
            let (old, new) = (made(1900 + year % 100, 5, 0, 6, serial), made(2000 + year % 100, 5, 0, 6, serial));
            let text = format!("{}{check:02}", &old[..9]);
            let valid = text == old || text == new;
            prop_assert_eq!(text.parse::<NationalNumber>().is_ok(), valid);
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<NationalNumber>();
        }
    }
}
