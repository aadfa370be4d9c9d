//! Names and media types of documents: text that people chose, checked once.
//!
//! Owns: [`DocumentName`], [`MediaType`], the sealed layout of both, and how a name is written into
//! `Content-Disposition`. Not: sealing itself.
//! Holds: (1) a name has no control character, a bounded length and one spelling (Unicode NFC: two names that
//! look alike because one has its accents apart are no trap for a reader or a program); (2) a name is only ever text: no path
//! is made from it anywhere, so `../x` is a plain name; (3) no name can end or split a header field.

use icu_normalizer::ComposingNormalizerBorrowed;
use serde::{Deserialize, Serialize};

use crate::limits::{MEDIA_TYPE_BYTES_MAX, NAME_BYTES_MAX, NAME_CHARS_MAX};

/// Why a name or a media type cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// No characters at all.
    #[error("the name is empty")]
    Empty,
    /// Above 255 characters or 1,024 bytes.
    #[error("the name is longer than {NAME_CHARS_MAX} characters or {NAME_BYTES_MAX} bytes")]
    Long,
    /// Control characters, NUL, line or paragraph separators, or marks that turn the direction of text.
    #[error("the name has a control character in it")]
    Control,
    /// Characters and their marks apart, where Unicode has them in one (not NFC).
    #[error("the name is not in composed form (Unicode NFC)")]
    Decomposed,
    /// Bytes that are no UTF-8, or a broken percent escape.
    #[error("the name is not valid UTF-8 in percent encoding")]
    Encoding,
    /// Not of the form `type/subtype`.
    #[error("a media type is written type/subtype, in at most {MEDIA_TYPE_BYTES_MAX} bytes of ASCII")]
    MediaType,
}

/// The name of a document, as its owner wrote it.
#[derive(Clone, PartialEq, Eq)]
pub struct DocumentName(String);

/// Names are personal: never in logs.
impl std::fmt::Debug for DocumentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DocumentName({} bytes)", self.0.len())
    }
}

impl DocumentName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`BadName`].
    pub fn new(text: &str) -> Result<Self, BadName> {
        if text.is_empty() {
            return Err(BadName::Empty);
        }
        if text.len() > NAME_BYTES_MAX || text.chars().count() > NAME_CHARS_MAX {
            return Err(BadName::Long);
        }
        if text.chars().any(refused) {
            return Err(BadName::Control);
        }
        if !ComposingNormalizerBorrowed::new_nfc().is_normalized(text) {
            return Err(BadName::Decomposed);
        }
        Ok(Self(text.to_owned()))
    }

    /// Checks bytes that should be a name.
    ///
    /// # Errors
    /// [`BadName`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadName> {
        Self::new(std::str::from_utf8(bytes).map_err(|_| BadName::Encoding)?)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value of `Content-Disposition` that has a browser save and never show the document
    /// (RFC 6266, RFC 8187): ASCII only whatever the name.
    pub fn content_disposition(&self) -> String {
        let plain: String = self.0.chars().map(|c| if c.is_ascii_alphanumeric() || " ._-()+,=@".contains(c) { c } else { '_' }).collect();
        let mut value = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''");
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                value.push(char::from(byte));
            } else {
                value.push_str(&format!("%{byte:02X}"));
            }
        }
        value
    }
}

/// Characters that no name has: controls, and those that make a list or a terminal show another name
/// than the one that is there.
fn refused(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A media type, kept as given and never acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType(String);

impl MediaType {
    /// What a document is when nobody said.
    pub fn unknown() -> Self {
        Self("application/octet-stream".to_owned())
    }

    /// Checks a media type.
    ///
    /// # Errors
    /// [`BadName::MediaType`].
    pub fn new(text: &str) -> Result<Self, BadName> {
        let token = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
        let essence = text.split(';').next().unwrap_or_default().trim();
        let sound = essence.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub));
        if !sound || text.len() > MEDIA_TYPE_BYTES_MAX || !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(BadName::MediaType);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text: visible ASCII and spaces.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is sealed as the `name` of a document or an upload: JSON, so that members can be added.
#[derive(Clone, PartialEq, Eq)]
pub struct Label {
    /// The name.
    pub name: DocumentName,
    /// The media type.
    pub media_type: MediaType,
}

#[derive(Serialize, Deserialize)]
struct StoredLabel {
    name: String,
    media_type: String,
}

impl Label {
    /// The bytes to seal.
    ///
    /// # Errors
    /// What the encoder said.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&StoredLabel { name: self.name.0.clone(), media_type: self.media_type.0.clone() })
    }

    /// The label in opened bytes; `None` when they are damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let stored: StoredLabel = serde_json::from_slice(bytes).ok()?;
        Some(Self { name: DocumentName::new(&stored.name).ok()?, media_type: MediaType::new(&stored.media_type).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn path_tricks_are_plain_names() {
        for name in ["../x", "/etc/passwd", "C:\\", "%2e%2e%2f", "a/b", ".", "..", "~", "testament 2026.pdf", "Käte's 🗝"] {
            assert_eq!(DocumentName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn refusals() {
        assert_eq!(DocumentName::new(""), Err(BadName::Empty));
        assert_eq!(DocumentName::new(&"a".repeat(256)), Err(BadName::Long));
        assert_eq!(DocumentName::new(&"🗝".repeat(255)).unwrap().as_str().len(), 1020);
        for bad in ["a\0b", "a\r\nb", "\u{7f}", "\u{85}", "x\u{202e}fdp.exe", "\u{2028}"] {
            assert_eq!(DocumentName::new(bad), Err(BadName::Control), "{bad:?}");
        }
        assert_eq!(DocumentName::new("Ka\u{308}te"), Err(BadName::Decomposed));
        assert_eq!(DocumentName::new("K\u{e4}te").unwrap().as_str().chars().count(), 4, "the same in composed form");
        assert_eq!(DocumentName::from_bytes(&[0xff, 0xfe]), Err(BadName::Encoding));
        assert_eq!(format!("{:?}", DocumentName::new("secret").unwrap()), "DocumentName(6 bytes)");
    }

    #[test]
    fn media_types() {
        for good in ["text/plain", "text/plain; charset=utf-8", "application/vnd.x+json"] {
            assert_eq!(MediaType::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "text", "/", "text/", "text/pl ain", "text/plain\r\nX: 1", "té/x", &format!("a/{}", "b".repeat(255))] {
            assert_eq!(MediaType::new(bad), Err(BadName::MediaType), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn disposition_is_one_line_of_ascii(name in ".{1,255}") {
            if let Ok(name) = DocumentName::new(&name) {
                let value = name.content_disposition();
                assert!(value.bytes().all(|b| (0x20..0x7f).contains(&b)));
                assert_eq!(value.matches('"').count(), 2);
                let (_, encoded) = value.split_once("UTF-8''").unwrap();
                let back = percent_encoding::percent_decode_str(encoded).decode_utf8().unwrap();
                assert_eq!(back, name.as_str());
            }
        }

        #[test]
        fn labels_round_trip(name in "[^\\p{C}]{1,50}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(name) = DocumentName::new(&name) {
                let label = Label { name, media_type: MediaType::unknown() };
                assert!(Label::decode(&label.encode().unwrap()).unwrap() == label);
            }
            let _ = Label::decode(&bytes);
        }
    }
}
