//! Why content is not taken, or cannot be looked into: each reason with its stable name.
//!
//! Owns: the list. Not: what finds them ([`super::content`], [`super::archive`], [`super::pdf`]).
//! Holds: a name, once published, keeps its meaning.

macro_rules! reasons {
    ($($name:ident = $text:literal, $why:literal;)+) => {
        /// A reason.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $why] $name,)+
        }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// In words, for the owner.
            pub fn why(self) -> &'static str {
                match self { $(Self::$name => $why,)+ }
            }
        }
    };
}

reasons! {
    UnknownType = "unknown_type", "the content is of no type that is taken";
    Executable = "executable", "the content is a program";
    Script = "script", "the content is a script";
    ActiveMarkup = "active_markup", "the content is a page with a script in it";
    XmlEntities = "xml_entities", "the XML defines entities of its own";
    EmbeddedObject = "embedded_object", "the text has embedded objects";
    LegacyOffice = "legacy_office", "the content is of the old Office form, or an Office document with a password; save it as a new one without";
    Macros = "macros", "the document has macros or controls in it";
    Polyglot = "polyglot", "the content can be read as two types at once";
    ImageTooLarge = "image_too_large", "the image has too many pixels";
    PdfActive = "pdf_active", "the PDF starts a program or a script when it is opened";
    TooLarge = "too_large_to_scan", "the content is larger than the scanner takes";
    ArchiveBomb = "archive_bomb", "the archive unpacks to too much";
    ArchiveEntries = "archive_entries", "the archive has too many entries";
    ArchiveDepth = "archive_depth", "archives are nested too deeply";
    ArchiveNames = "archive_names", "the archive has names that lead outside, or twice the same";
    ArchiveDamaged = "archive_damaged", "the archive contradicts itself";
    Encrypted = "encrypted", "a password protects it";
    Method = "method", "it is packed in a way that cannot be looked into";
    PartTooLarge = "part_too_large", "a part is too large to be looked into";
    PdfDamaged = "pdf_damaged", "a part of the PDF cannot be read";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_fit_for_programs() {
        let names: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }
}
