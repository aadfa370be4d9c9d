//! What the owner says of a document: category, type, labels, shareable, expiry; as it is read, shown and filtered.
//!
//! Owns: the texts of attributes in parameters, metadata and JSON. Not: their storage ([`kluis_raft::model::attributes`]).
//! Holds: (1) a word that is not known is refused and never becomes a default; (2) a label is checked as names are, and
//! leaves the gateway only sealed.

use kluis_raft::model::{Attributes, Category, Date, DocType, Document, DocumentLabel, DocumentState, LabelId, Origin, Scan};
use serde::Serialize;
use utoipa::ToSchema;

use super::{documents::rfc3339, name::DocumentName, params::Params, vault::OpenVault};
use crate::problem::{Code, Problem};

/// The parameters that say something of a new document.
pub const NAMES: [&str; 5] = ["category", "doc_type", "labels", "shareable", "expires_on"];
/// Most characters of a label.
const WORD_CHARS_MAX: usize = 40;

/// How a part of a request is refused: by its name, and why.
pub type Bad<'a> = &'a dyn Fn(&str, &str) -> Problem;

/// A member of a JSON body that cannot be used.
pub fn bad_member(name: &str, why: &str) -> Problem {
    Problem::new(Code::BadJson, "the body is not the JSON that is wanted").with_error(format!("/{name}"), why)
}

/// A parameter that cannot be used.
pub fn bad_parameter(name: &str, why: &str) -> Problem {
    Problem::new(Code::BadParameter, format!("{name}: {why}"))
}

/// What a request says of a document; what is `None` was not said.
#[derive(Clone, Default)]
pub struct Said {
    /// Where it is filed.
    pub category: Option<Category>,
    /// What it is.
    pub doc_type: Option<DocType>,
    /// All of its labels.
    pub labels: Option<Vec<String>>,
    /// Whether it may be shared at all.
    pub shareable: Option<bool>,
    /// When what it says runs out.
    pub expires_on: Option<Date>,
}

impl Said {
    /// Reads texts, labels with commas between them.
    ///
    /// # Errors
    /// What `bad` makes of the first that cannot be used.
    pub fn of_texts<'a>(text: impl Fn(&str) -> Option<&'a str>, bad: Bad<'_>) -> Result<Self, Problem> {
        let labels = text("labels").map(|all| all.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect());
        let shareable = match text("shareable") {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) => return Err(bad("shareable", "true or false is wanted")),
        };
        Self::checked(text("category"), text("doc_type"), labels, shareable, text("expires_on"), bad)
    }

    /// Checks what is known as texts so far.
    ///
    /// # Errors
    /// What `bad` makes of the first that cannot be used.
    pub fn checked(
        category: Option<&str>,
        doc_type: Option<&str>,
        labels: Option<Vec<String>>,
        shareable: Option<bool>,
        expires_on: Option<&str>,
        bad: Bad<'_>,
    ) -> Result<Self, Problem> {
        if let Some(labels) = &labels {
            check_words(labels, bad)?;
        }
        Ok(Self {
            category: category
                .map(str::parse::<Category>)
                .transpose()
                .map_err(|_| bad("category", &known(Category::ALL.iter().map(|c| c.key()))))?,
            doc_type: doc_type
                .map(str::parse::<DocType>)
                .transpose()
                .map_err(|_| bad("doc_type", &known(DocType::ALL.iter().map(|t| t.key()))))?,
            labels,
            shareable,
            expires_on: expires_on.map(|text| date(text, bad)).transpose()?,
        })
    }

    /// The attributes of a new document: what was not said is the default.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn attributes(&self, vault: &OpenVault) -> Result<Attributes, Problem> {
        let default = Attributes::default();
        Ok(Attributes {
            category: self.category.unwrap_or(default.category),
            doc_type: self.doc_type.unwrap_or(default.doc_type),
            labels: self.labels.as_deref().map(|words| sealed(vault, words)).transpose()?.unwrap_or_default(),
            shareable: self.shareable.unwrap_or(default.shareable),
            expires_on: self.expires_on,
        })
    }
}

/// A day.
///
/// # Errors
/// What `bad` makes of a text that is none.
pub fn date(text: &str, bad: Bad<'_>) -> Result<Date, Problem> {
    text.parse::<Date>().map_err(|error| bad("expires_on", &error.to_string()))
}

/// Labels, sealed for their vault.
///
/// # Errors
/// 500 when the cipher fails.
pub fn sealed(vault: &OpenVault, words: &[String]) -> Result<Vec<DocumentLabel>, Problem> {
    words.iter().map(|word| vault.seal_word(word)).collect()
}

fn known<'a>(keys: impl Iterator<Item = &'a str>) -> String {
    format!("known: {}", keys.collect::<Vec<_>>().join(", "))
}

fn is_word(text: &str) -> bool {
    text.chars().count() <= WORD_CHARS_MAX && !text.contains(',') && text.trim() == text && DocumentName::new(text).is_ok()
}

fn check_words(words: &[String], bad: Bad<'_>) -> Result<(), Problem> {
    if words.len() > Attributes::LABELS_MAX {
        return Err(bad("labels", "at most 20 labels"));
    }
    for (at, word) in words.iter().enumerate() {
        if !is_word(word) {
            return Err(bad("labels", "a label has 1 to 40 characters, no comma and no control character"));
        }
        if words.iter().take(at).any(|earlier| earlier == word) {
            return Err(bad("labels", "a label is given twice"));
        }
    }
    Ok(())
}

/// What is known of malware in the newest version.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScanView {
    /// `not_asked`, `pending`, `clean` or `infected`.
    #[schema(value_type = String)]
    pub result: &'static str,
    /// Engine and its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// When it was scanned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What the engine calls what it found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

impl ScanView {
    /// Of what is known.
    pub fn of(scan: &Scan) -> Self {
        let (result, note, signature) = match scan {
            Scan::NotAsked => ("not_asked", None, None),
            Scan::Pending => ("pending", None, None),
            Scan::Clean(note) => ("clean", Some(note), None),
            Scan::Infected { note, signature } => ("infected", Some(note), Some(signature.clone())),
        };
        Self { result, engine: note.map(|note| note.engine.clone()), at: note.map(|note| rfc3339(note.at_ms)), signature }
    }
}

/// What a copy was made of.
#[derive(Debug, Serialize, ToSchema)]
pub struct CopiedFrom {
    /// The contact that shared it; absent when the two are contacts no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// The version that was copied.
    pub version: u32,
    /// When.
    pub at: String,
}

impl CopiedFrom {
    /// Of a document that is a copy.
    ///
    /// # Errors
    /// 500 when the store fails.
    pub fn of(vault: &OpenVault, origin: &Origin) -> Result<Option<Self>, Problem> {
        let Origin::Copy(from) = origin else { return Ok(None) };
        let contact = vault.contact_id(from.owner)?;
        Ok(Some(Self { contact, version: from.version, at: rfc3339(from.copied_ms) }))
    }
}

/// When a document in the trash is erased by itself.
pub fn erased_at(state: DocumentState) -> Option<String> {
    match state {
        DocumentState::Trashed { erase_ms, .. } => Some(rfc3339(erase_ms)),
        DocumentState::PendingScan | DocumentState::Available | DocumentState::Quarantined { .. } => None,
    }
}

/// Which documents a list shows.
pub struct Filter {
    state: Option<String>,
    category: Option<Category>,
    doc_type: Option<DocType>,
    label: Option<LabelId>,
    /// The same as a query, for the Link header.
    pub query: String,
}

impl Filter {
    /// The parameters that it takes.
    pub const NAMES: [&str; 4] = ["state", "category", "doc_type", "label"];

    /// Reads the parameters of a list.
    ///
    /// # Errors
    /// 400 `bad_parameter`.
    pub fn read(params: &Params, vault: &OpenVault) -> Result<Self, Problem> {
        const STATES: [&str; 4] = ["pending_scan", "available", "trashed", "quarantined"];
        let state = params.value("state").map(str::to_owned);
        if state.as_deref().is_some_and(|state| !STATES.contains(&state)) {
            return Err(bad_parameter("state", &known(STATES.into_iter())));
        }
        let said = Said::checked(params.value("category"), params.value("doc_type"), None, None, None, &bad_parameter)?;
        let given = Self::NAMES.into_iter().filter_map(|name| params.value(name).map(|value| (name, value)));
        let encoded = |value: &str| percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string();
        Ok(Self {
            state,
            category: said.category,
            doc_type: said.doc_type,
            label: params.value("label").map(|word| vault.word_id(word)),
            query: given.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&"),
        })
    }

    /// Whether a document is shown. What is in the trash is shown only to who asks for it.
    pub fn shows(&self, document: &Document) -> bool {
        let state = document.state.key();
        let about = &document.attributes;
        self.state.as_deref().map_or(state != "trashed", |wanted| wanted == state)
            && self.category.is_none_or(|wanted| wanted == about.category)
            && self.doc_type.is_none_or(|wanted| wanted == about.doc_type)
            && self.label.is_none_or(|wanted| about.labels.iter().any(|label| label.id == wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &'static str)]) -> Result<Said, Problem> {
        let text = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        Said::of_texts(text, &bad_parameter)
    }

    #[test]
    fn texts_are_read_strictly() {
        let said = read(&[("category", "home"), ("labels", " a ,b c,"), ("shareable", "false"), ("expires_on", "2030-02-28")]).unwrap();
        assert!(said.category == Some(Category::Home) && said.shareable == Some(false) && said.expires_on.is_some());
        assert_eq!(said.labels.unwrap(), ["a", "b c"]);
        assert!(read(&[]).unwrap().labels.is_none());
        let long: &'static str = Box::leak("x".repeat(41).into_boxed_str());
        let many: &'static str = Box::leak((0..21).map(|n| n.to_string()).collect::<Vec<_>>().join(",").into_boxed_str());
        for bad in [
            ("category", "Home"),
            ("doc_type", ""),
            ("shareable", "yes"),
            ("expires_on", "2030-02-30"),
            ("labels", "a,a"),
            ("labels", "a\u{202e}b"),
            ("labels", long),
            ("labels", many),
        ] {
            assert_eq!(read(&[bad]).err().map(|problem| problem.code), Some(Code::BadParameter), "{bad:?}");
        }
    }
}
