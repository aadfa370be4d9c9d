//! What is known of a document beside its bytes: category, type, labels, origin, state, scan.
//!
//! Owns: the checked types and their stable keys. Not: how they change ([`crate::apply::document`]).
//! Holds: (1) a key stands for ever: what was stored or published under it keeps its meaning; (2) a label's text is
//! sealed, its id is a keyed hash of that text, so equal labels are found without opening any.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{DocumentId, Sealed, ShareId, TimeMs, VaultId};

/// A word that names nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} is not one of the known ones")]
pub struct UnknownKey {
    /// What it should have been.
    pub wanted: &'static str,
}

macro_rules! keyed {
    ($(#[$doc:meta])* $name:ident, $wanted:literal, { $($(#[$vdoc:meta])* $variant:ident => $key:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl $name {
            /// All of them, in the order that they are shown in.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its stable key.
            pub fn key(self) -> &'static str {
                match self {
                    $(Self::$variant => $key,)+
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::model::UnknownKey;

            fn from_str(text: &str) -> Result<Self, $crate::model::UnknownKey> {
                let unknown = $crate::model::UnknownKey { wanted: $wanted };
                Self::ALL.iter().copied().find(|known| known.key() == text).ok_or(unknown)
            }
        }
    };
}
pub(crate) use keyed;

keyed!(
    /// The part of the vault that a document is filed under.
    Category, "the category", {
        /// Identity, civil status, diplomas.
        Personal => "personal",
        /// Banks, taxes, insurance.
        Finance => "finance",
        /// What one owns, but for the home.
        Possessions => "possessions",
        /// The home and other real estate.
        Home => "home",
        /// Partner, children, relatives.
        Family => "family",
        /// Work and income.
        Work => "work",
        /// Health and care.
        Health => "health",
        /// Will, estate, last wishes.
        Succession => "succession",
        /// Everything else.
        Other => "other",
    }
);

keyed!(
    /// What kind of document it is.
    DocType, "the document type", {
        /// A notarial deed.
        Deed => "deed",
        /// A contract.
        Contract => "contract",
        /// A diploma.
        Diploma => "diploma",
        /// A will, or where it lies.
        Will => "will",
        /// A tax return or assessment.
        Tax => "tax",
        /// A bank statement.
        BankStatement => "bank_statement",
        /// A payslip.
        Payslip => "payslip",
        /// A proof of identity.
        Identity => "identity",
        /// A certificate or attestation.
        Certificate => "certificate",
        /// An energy performance certificate.
        Epc => "epc",
        /// A report on the electrical installation.
        ElectricalCertificate => "electrical_certificate",
        /// A list of passwords.
        PasswordList => "password_list",
        /// Everything else.
        Other => "other",
    }
);

/// A day of the calendar, as `YYYYMMDD`; it has no time zone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Date(u32);

/// What is no day of the calendar, or is not written as `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a day of the years 1900 to 9999 is wanted, as YYYY-MM-DD")]
pub struct BadDate;

impl Date {
    /// A day of the Gregorian calendar.
    ///
    /// # Errors
    /// [`BadDate`] when there is no such day, or the year is before 1900 or after 9999.
    pub fn new(year: u32, month: u32, day: u32) -> Result<Self, BadDate> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            _ => return Err(BadDate),
        };
        if (1900..=9999).contains(&year) && (1..=days).contains(&day) { Ok(Self(year * 10_000 + month * 100 + day)) } else { Err(BadDate) }
    }
}

impl TryFrom<u32> for Date {
    type Error = BadDate;

    fn try_from(packed: u32) -> Result<Self, BadDate> {
        Self::new(packed / 10_000, packed / 100 % 100, packed % 100)
    }
}

impl From<Date> for u32 {
    fn from(date: Date) -> Self {
        date.0
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0 / 10_000, self.0 / 100 % 100, self.0 % 100)
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Date({self})")
    }
}

impl FromStr for Date {
    type Err = BadDate;

    fn from_str(text: &str) -> Result<Self, BadDate> {
        let well_formed = text.len() == 10
            && text.bytes().enumerate().all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
        if !well_formed {
            return Err(BadDate);
        }
        let packed: String = text.chars().filter(|c| *c != '-').collect();
        packed.parse::<u32>().map_err(|_| BadDate)?.try_into()
    }
}

/// Names a label: a keyed hash of its text under the vault's key, so one text has one id in one vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LabelId(pub u128);

/// A word of the owner's own on a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentLabel {
    /// Its id.
    pub id: LabelId,
    /// Its text, sealed under the vault's key.
    pub text: Sealed,
}

/// What the owner says of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Where it is filed.
    pub category: Category,
    /// What it is.
    pub doc_type: DocType,
    /// The owner's own words, each id once; at most [`Attributes::LABELS_MAX`].
    pub labels: Vec<DocumentLabel>,
    /// Whether it may be shared at all. Off ends all its shares and links.
    pub shareable: bool,
    /// When what it says runs out (an identity card, a certificate).
    pub expires_on: Option<Date>,
}

impl Attributes {
    /// Most labels of one document.
    pub const LABELS_MAX: usize = 20;
    /// Most bytes of one sealed label.
    pub const LABEL_BYTES_MAX: usize = 400;

    /// Whether the labels keep the limits, each id once.
    pub fn labels_are_sound(labels: &[DocumentLabel]) -> bool {
        let ids: std::collections::BTreeSet<LabelId> = labels.iter().map(|label| label.id).collect();
        ids.len() == labels.len()
            && labels.len() <= Self::LABELS_MAX
            && labels.iter().all(|label| label.text.0.len() <= Self::LABEL_BYTES_MAX)
    }
}

impl Default for Attributes {
    /// Shareable, because sharing needs an act of the owner's anyway.
    fn default() -> Self {
        Self { category: Category::Other, doc_type: DocType::Other, labels: Vec::new(), shareable: true, expires_on: None }
    }
}

/// What a copy was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The vault that shared it.
    pub owner: VaultId,
    /// The document there.
    pub document: DocumentId,
    /// The version there.
    pub version: u32,
    /// The share that allowed it.
    pub share: ShareId,
    /// When it was copied.
    pub copied_ms: TimeMs,
}

/// How a document came into its vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The owner uploaded it.
    Upload,
    /// It was copied from a share.
    Copy(Box<Provenance>),
    /// An office placed it.
    Office,
    /// It was inherited.
    Inherited,
}

impl Origin {
    /// Its stable key.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Copy(_) => "copy",
            Self::Office => "office",
            Self::Inherited => "inherited",
        }
    }
}

/// Where a document stands. What was erased has no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DocumentState {
    /// Its newest version was not scanned yet: nobody reads it.
    PendingScan,
    /// In use.
    Available,
    /// In the trash until it is restored or erased.
    Trashed {
        /// Since when.
        since_ms: TimeMs,
        /// When it is erased by itself.
        erase_ms: TimeMs,
    },
    /// Malware was found in its newest version: nobody reads it.
    Quarantined {
        /// Since when.
        since_ms: TimeMs,
    },
}

impl DocumentState {
    /// Its stable key.
    pub fn key(self) -> &'static str {
        match self {
            Self::PendingScan => "pending_scan",
            Self::Available => "available",
            Self::Trashed { .. } => "trashed",
            Self::Quarantined { .. } => "quarantined",
        }
    }
}

/// Who scanned a version, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanNote {
    /// Engine and its version, e.g. `ClamAV 1.0.7`.
    pub engine: String,
    /// Version of the signature database.
    pub database: u64,
    /// When it was scanned.
    pub at_ms: TimeMs,
}

impl ScanNote {
    /// Most bytes of the engine's name.
    pub const ENGINE_BYTES_MAX: usize = 100;
}

/// What is known of malware in a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scan {
    /// This cluster has no scanner.
    NotAsked,
    /// It is to be scanned; nobody reads it before.
    Pending,
    /// Nothing was found.
    Clean(ScanNote),
    /// Something was found; nobody reads it.
    Infected {
        /// By whom.
        note: ScanNote,
        /// What the engine calls it.
        signature: String,
    },
}

impl Scan {
    /// Most bytes of a signature's name.
    pub const SIGNATURE_BYTES_MAX: usize = 200;

    /// Whether the bytes may be read.
    pub fn is_readable(&self) -> bool {
        matches!(self, Self::NotAsked | Self::Clean(_))
    }

    /// Whether its texts keep the limits.
    pub fn is_sound(&self) -> bool {
        match self {
            Self::NotAsked | Self::Pending => true,
            Self::Clean(note) => note.engine.len() <= ScanNote::ENGINE_BYTES_MAX,
            Self::Infected { note, signature } => {
                note.engine.len() <= ScanNote::ENGINE_BYTES_MAX && signature.len() <= Self::SIGNATURE_BYTES_MAX
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_lead_back() {
        let categories: std::collections::BTreeSet<_> = Category::ALL.iter().map(|c| c.key()).collect();
        let types: std::collections::BTreeSet<_> = DocType::ALL.iter().map(|t| t.key()).collect();
        assert_eq!((categories.len(), types.len()), (Category::ALL.len(), DocType::ALL.len()));
        assert!(Category::ALL.iter().all(|c| c.key().parse::<Category>() == Ok(*c)));
        assert!(DocType::ALL.iter().all(|t| t.key().parse::<DocType>() == Ok(*t)));
        assert!("Finance".parse::<Category>().is_err() && "".parse::<DocType>().is_err());
        for published in ["personal", "finance", "possessions", "home"] {
            assert!(published.parse::<Category>().is_ok(), "{published}");
        }
    }

    #[test]
    fn only_days_of_the_calendar_are_dates() {
        for good in ["2024-02-29", "2000-02-29", "1999-12-31", "9999-01-01", "1900-02-28"] {
            let date: Date = good.parse().unwrap();
            assert_eq!((date.to_string(), Date::try_from(u32::from(date))), (good.to_owned(), Ok(date)));
        }
        for bad in [
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-10",
            "2024-04-31",
            "1899-12-31",
            "24-01-01",
            "2024-1-01",
            "2024/01/01",
            "+024-01-01",
            "",
        ] {
            assert_eq!(bad.parse::<Date>(), Err(BadDate), "{bad}");
        }
        assert!(Date::new(2024, 2, 29).unwrap() < Date::new(2024, 3, 1).unwrap());
    }

    #[test]
    fn labels_are_few_short_and_different() {
        let label = |id: u128, len: usize| DocumentLabel { id: LabelId(id), text: Sealed(vec![0; len]) };
        let twenty: Vec<_> = (0..20).map(|id| label(id, Attributes::LABEL_BYTES_MAX)).collect();
        assert!(Attributes::labels_are_sound(&twenty) && Attributes::labels_are_sound(&[]));
        assert!(!Attributes::labels_are_sound(&[&twenty[..], &[label(99, 1)]].concat()));
        assert!(!Attributes::labels_are_sound(&[label(1, 1), label(1, 2)]));
        assert!(!Attributes::labels_are_sound(&[label(1, Attributes::LABEL_BYTES_MAX + 1)]));
    }
}
