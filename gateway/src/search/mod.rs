//! Search in one vault: words of names and labels, found by their beginning; categories, types, labels, days.
//!
//! Owns: folding of text ([`words`]), the index of one vault and the question to it. Not: where indexes are kept
//! ([`kept`]), nor what a person may see ([`crate::api::search`] reads every hit again before it shows it).
//! Holds: (1) the answer is a function of index and query; (2) a query with a word looks at the entries that have its
//! rarest word, and at no others; (3) all text of an index is wiped when it is dropped.
//! Why in memory: names are sealed under the vault's key, so no table of the cluster could find them, and a table of
//! keyed hashes would find whole words only and tell operators which words come again.

use std::collections::BTreeSet;

use icu_normalizer::DecomposingNormalizerBorrowed;
use kluis_raft::model::{Category, DocType, DocumentId, TimeMs};
use zeroize::Zeroizing;

pub mod kept;

/// Most words of a query.
pub const QUERY_WORDS_MAX: usize = 8;
/// Most characters of a query, or of a label that is asked for.
pub const QUERY_CHARS_MAX: usize = 200;

/// Text as it is compared: compatibility forms and accents gone, small letters, words with one space between.
pub fn words(text: &str) -> Zeroizing<String> {
    let decomposed = DecomposingNormalizerBorrowed::new_nfkd().normalize(text);
    // Room for all of it from the start: growing would leave copies of the text behind.
    let mut folded = Zeroizing::new(String::with_capacity(decomposed.len() * 2 + 8));
    let mut apart = false;
    for c in decomposed.chars().filter(|c| !is_mark(*c)).flat_map(char::to_lowercase) {
        if !c.is_alphanumeric() {
            apart = true;
            continue;
        }
        if apart && !folded.is_empty() {
            folded.push(' ');
        }
        apart = false;
        match c {
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'ø' => folded.push('o'),
            'ł' => folded.push('l'),
            'đ' => folded.push('d'),
            c => folded.push(c),
        }
    }
    folded
}

/// Marks that stand above or below another character.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// One document, as it is searched.
#[derive(Clone)]
pub struct Entry {
    /// Which.
    pub id: DocumentId,
    /// Its revision: the entry is good for this one alone.
    pub revision: u64,
    /// When it was stored.
    pub created_ms: TimeMs,
    /// Where it is filed.
    pub category: Category,
    /// What it is.
    pub doc_type: DocType,
    /// Its labels, each folded by [`words`].
    pub labels: Vec<Zeroizing<String>>,
    /// Words of its name and of its labels, folded by [`words`].
    pub text: Zeroizing<String>,
}

/// Personal: never in logs.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry({})", self.id)
    }
}

impl Entry {
    fn text_bytes(&self) -> usize {
        self.text.capacity() + self.labels.iter().map(|label| label.capacity() + size_of::<Zeroizing<String>>()).sum::<usize>()
    }
}

/// What is searched for: everything that is given must hold.
#[derive(Default)]
pub struct Query {
    /// Words, folded; a name or a label has a word that begins with each of them.
    pub words: Vec<Zeroizing<String>>,
    /// The category.
    pub category: Option<Category>,
    /// The type.
    pub doc_type: Option<DocType>,
    /// The whole label, folded.
    pub label: Option<Zeroizing<String>>,
    /// The first moment that counts.
    pub from_ms: Option<TimeMs>,
    /// The first moment that does not count any more.
    pub before_ms: Option<TimeMs>,
}

impl Query {
    /// The words of a text, or `None` when there are more than a query takes.
    pub fn split(text: &str) -> Option<Vec<Zeroizing<String>>> {
        let folded = words(text);
        let split: Vec<_> = folded.split(' ').filter(|word| !word.is_empty()).map(|word| Zeroizing::new(word.to_owned())).collect();
        (split.len() <= QUERY_WORDS_MAX).then_some(split)
    }

    /// Whether folded text has a word for each of the query's words.
    pub fn has_words(&self, text: &str) -> bool {
        self.words.iter().all(|wanted| text.split(' ').any(|word| word.starts_with(wanted.as_str())))
    }

    /// Whether a moment lies between the days that are asked for.
    pub fn has_time(&self, at_ms: TimeMs) -> bool {
        self.from_ms.is_none_or(|from| at_ms >= from) && self.before_ms.is_none_or(|before| at_ms < before)
    }

    fn admits(&self, entry: &Entry) -> bool {
        self.category.is_none_or(|category| entry.category == category)
            && self.doc_type.is_none_or(|doc_type| entry.doc_type == doc_type)
            && self.label.as_ref().is_none_or(|label| entry.labels.iter().any(|own| own.as_str() == label.as_str()))
            && self.has_time(entry.created_ms)
            && self.has_words(&entry.text)
    }
}

/// Where a word stands: entry, and its place in the entry's text.
#[derive(Debug, Clone, Copy)]
struct WordAt {
    entry: usize,
    start: usize,
    end: usize,
}

/// The documents of one vault, ready to be searched.
#[derive(Debug, Default)]
pub struct Index {
    /// Newest first.
    entries: Vec<Entry>,
    /// Sorted by word.
    words: Vec<WordAt>,
}

/// What a query found, and what it cost.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The documents, newest first.
    pub hits: Vec<DocumentId>,
    /// Entries that were looked at.
    pub touched: usize,
}

fn text_at(entries: &[Entry], word: WordAt) -> &str {
    entries.get(word.entry).and_then(|entry| entry.text.get(word.start..word.end)).unwrap_or_default()
}

impl Index {
    /// An index of entries, in whatever order.
    pub fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.id));
        let mut words = Vec::new();
        for (entry, found) in entries.iter().enumerate() {
            let mut start = 0;
            for word in found.text.split(' ') {
                let end = start + word.len();
                if !word.is_empty() {
                    words.push(WordAt { entry, start, end });
                }
                start = end + 1;
            }
        }
        words.sort_unstable_by(|a, b| text_at(&entries, *a).cmp(text_at(&entries, *b)));
        Self { entries, words }
    }

    /// The entry of a document at this revision, if the index has that.
    pub fn entry(&self, id: DocumentId, revision: u64) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(&std::cmp::Reverse(id), |entry| std::cmp::Reverse(entry.id)).ok()?;
        self.entries.get(at).filter(|entry| entry.revision == revision)
    }

    /// Bytes of memory that it holds.
    pub fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<WordAt>()
            + self.entries.capacity() * size_of::<Entry>()
            + self.entries.iter().map(Entry::text_bytes).sum::<usize>()
    }

    /// The places of words that begin with `wanted`.
    fn beginning_with(&self, wanted: &str) -> &[WordAt] {
        let from = self.words.partition_point(|word| text_at(&self.entries, *word) < wanted);
        let rest = self.words.get(from..).unwrap_or_default();
        let len = rest.partition_point(|word| text_at(&self.entries, *word).starts_with(wanted));
        rest.get(..len).unwrap_or_default()
    }

    /// What a query finds.
    pub fn search(&self, query: &Query) -> Found {
        let places = query.words.iter().map(|word| self.beginning_with(word)).min_by_key(|places| places.len());
        // An entry may have a word twice.
        let candidates: BTreeSet<usize> = match places {
            Some(places) => places.iter().map(|word| word.entry).collect(),
            None => (0..self.entries.len()).collect(),
        };
        let touched = candidates.len();
        let hits = candidates.into_iter().filter_map(|at| self.entries.get(at)).filter(|entry| query.admits(entry));
        Found { hits: hits.map(|entry| entry.id).collect(), touched }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(id: u128, name: &str, labels: &[&str]) -> Entry {
        let labels: Vec<_> = labels.iter().map(|label| words(label)).collect();
        let text = words(&[name, &labels.iter().map(|l| l.as_str()).collect::<Vec<_>>().join(" ")].join(" "));
        let (category, doc_type) = if id.is_multiple_of(2) { (Category::Home, DocType::Deed) } else { (Category::Finance, DocType::Tax) };
        Entry { id: DocumentId(id), revision: 1, created_ms: u64::try_from(id).unwrap() * 1000, category, doc_type, labels, text }
    }

    fn query(text: &str) -> Query {
        Query { words: Query::split(text).unwrap(), ..Query::default() }
    }

    fn hits(index: &Index, query: &Query) -> Vec<u128> {
        index.search(query).hits.into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn case_accents_and_signs_do_not_matter_and_beginnings_are_enough() {
        assert_eq!(words("  Ünïcode-Straße_2024.PDF ").as_str(), "unicode strasse 2024 pdf");
        assert_eq!(words("ﬁnancé № 5").as_str(), "finance no 5");
        assert_eq!(words("--- ").as_str(), "");
        let index =
            Index::new(vec![entry(1, "Déclaration d'impôts 2023.pdf", &["Impôts"]), entry(2, "Huurcontract Café.pdf", &["Woning, oud"])]);
        for (text, wanted) in [
            ("declar", vec![1]),
            ("IMPÔT", vec![1]),
            ("cafe huur", vec![2]),
            ("pdf", vec![2, 1]),
            ("contract", vec![]),
            ("2023 cafe", vec![]),
            ("", vec![2, 1]),
            ("woning", vec![2]),
        ] {
            assert_eq!(hits(&index, &query(text)), wanted, "{text}");
        }
        assert!(Query::split("a b c d e f g h i").is_none());
    }

    #[test]
    fn filters_hold_together() {
        let index = Index::new((1..=6).map(|id| entry(id, "report", if id > 3 { &["Oud huis"] } else { &[] })).collect());
        let with = |set: fn(&mut Query)| {
            let mut query = query("rep");
            set(&mut query);
            hits(&index, &query)
        };
        assert_eq!(with(|q| q.category = Some(Category::Home)), [6, 4, 2]);
        assert_eq!(with(|q| q.doc_type = Some(DocType::Tax)), [5, 3, 1]);
        assert_eq!(with(|q| q.label = Some(words("OUD  huis"))), [6, 5, 4]);
        assert_eq!(with(|q| q.label = Some(words("oud"))), [0u128; 0], "a label is asked for as a whole");
        assert_eq!(with(|q| (q.from_ms, q.before_ms) = (Some(2000), Some(4000))), [3, 2]);
        assert_eq!(with(|q| (q.category, q.label) = (Some(Category::Home), Some(words("oud huis")))), [6, 4]);
    }

    #[test]
    fn among_ten_thousand_a_word_costs_only_the_entries_that_have_it() {
        let index = Index::new(
            (0..10_000)
                .map(|id| entry(id, &format!("invoice {} number{id}.pdf", if id % 1000 == 7 { "rare" } else { "common" }), &[]))
                .collect(),
        );
        let found = index.search(&query("rare"));
        assert_eq!((found.hits.len(), found.touched), (10, 10));
        let found = index.search(&query("invoice rare pdf"));
        assert_eq!((found.hits.len(), found.touched), (10, 10), "the rarest word decides");
        assert_eq!(index.search(&query("number4242")).touched, 1);
        assert_eq!(index.search(&query("nothing")).touched, 0);
        assert!(index.bytes() < 10_000 * 1_000, "{} bytes", index.bytes());
    }

    #[test]
    fn an_entry_is_used_again_only_at_its_revision() {
        let index = Index::new(vec![entry(3, "a", &[]), entry(9, "b", &[]), entry(5, "c", &[])]);
        assert_eq!(index.entry(DocumentId(5), 1).map(|e| e.id), Some(DocumentId(5)));
        assert!(index.entry(DocumentId(5), 2).is_none() && index.entry(DocumentId(4), 1).is_none());
    }

    proptest! {
        /// The index against the plain rule, over few letters so that words meet.
        #[test]
        fn the_index_finds_what_a_look_at_every_entry_finds(names in prop::collection::vec("[ab é]{0,12}", 0..30), asked in "[ab é]{0,5}") {
            let index = Index::new((0u128..).zip(&names).map(|(id, name)| entry(id, name, &[])).collect());
            let Some(split) = Query::split(&asked) else { return Ok(()) };
            let query = Query { words: split, ..Query::default() };
            let mut wanted: Vec<u128> = (0u128..).zip(&names).filter(|(_, name)| query.has_words(&words(name))).map(|(id, _)| id).collect();
            wanted.reverse();
            prop_assert_eq!(hits(&index, &query), wanted);
        }

        #[test]
        fn folding_twice_is_folding_once(text in "\\PC{0,40}") {
            let once = words(&text);
            let twice = words(&once);
            prop_assert_eq!(twice.as_str(), once.as_str());
        }
    }
}
