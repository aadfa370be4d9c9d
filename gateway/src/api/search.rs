//! `GET /v1/search`: documents of the own vault, and accepted shares, by words, category, type, label and day.
//!
//! Owns: what is asked and shown, and how an index is made of a vault. Not: the question to an index
//! ([`crate::search`]).
//! Holds: (1) every hit is read again before it is shown, so that what was trashed, erased or revoked is found no more
//! from the moment that this was answered; (2) shares are never in an index: they are looked up at each search; (3) a
//! share that was not accepted, or waits, is not found.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use kluis_raft::{
    model::{Date, Document, DocumentId, DocumentState, Scope, ShareState, TimeMs},
    view,
};
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{
    Caller, Gateway,
    documents::{DocumentView, page_limit, paged, rfc3339, shown},
    params::Params,
    vault::OpenVault,
};
use crate::{
    problem::{Code, Problem, ProblemBody},
    search::{Entry, Index, QUERY_CHARS_MAX, QUERY_WORDS_MAX, Query, words},
};

/// Documents that are read at a time; other tasks have their turn between.
const PAGE: usize = 500;
/// Most documents of an index: of a larger vault the newest are found.
const ENTRIES_MAX: usize = 200_000;
/// Shares that are looked at a time.
const SHARES_PAGE: usize = 200;
/// Most shares that one search looks at.
const SHARES_MAX: usize = 2_000;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// An accepted share that was found.
#[derive(Debug, Serialize, ToSchema)]
pub struct SharedHit {
    /// The share's id.
    pub share: String,
    /// The document's name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Bytes of the version that is shown.
    pub size: u64,
    /// When it was offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offered_at: Option<String>,
}

/// What was found, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchPage {
    /// Documents of the own vault.
    pub documents: Vec<DocumentView>,
    /// What others share, on the first page; not where category, type or label are asked for, which are the owner's.
    pub shared: Vec<SharedHit>,
    /// Documents that were found in all.
    pub total: usize,
    /// What to send as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

fn bad(name: &str, why: impl std::fmt::Display) -> Problem {
    Problem::new(Code::BadParameter, format!("{name}: {why}"))
}

/// The first moment of a day, in UTC.
fn day_ms(name: &str, text: &str) -> Result<TimeMs, Problem> {
    let date = text.parse::<Date>().map_err(|e| bad(name, e))?;
    let at = format!("{date}T00:00:00Z").parse::<jiff::Timestamp>().ok();
    // Days before 1970 are before everything, days past the last one that a clock shows after everything.
    Ok(at.map_or(u64::MAX, |at| u64::try_from(at.as_millisecond()).unwrap_or(0)))
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(params: &Params, name: &str) -> Result<Option<T>, Problem> {
    params.value(name).map(|text| text.parse::<T>().map_err(|e| bad(name, e))).transpose()
}

fn query(params: &Params) -> Result<Query, Problem> {
    let short = |name: &str| match params.value(name) {
        Some(text) if text.chars().count() > QUERY_CHARS_MAX => Err(bad(name, format!("at most {QUERY_CHARS_MAX} characters"))),
        text => Ok(text),
    };
    let words_of = Query::split(short("q")?.unwrap_or_default());
    let from_ms = params.value("from").map(|text| day_ms("from", text)).transpose()?;
    let to_ms = params.value("to").map(|text| day_ms("to", text)).transpose()?;
    Ok(Query {
        words: words_of.ok_or_else(|| bad("q", format!("at most {QUERY_WORDS_MAX} words")))?,
        category: parsed(params, "category")?,
        doc_type: parsed(params, "doc_type")?,
        label: short("label")?.map(words),
        from_ms,
        before_ms: to_ms.map(|day| day.saturating_add(DAY_MS)),
    })
}

fn is_found(document: &Document) -> bool {
    !matches!(document.state, DocumentState::Trashed { .. })
}

fn entry(vault: &OpenVault, document: &Document) -> Result<Entry, Problem> {
    let label = vault.open_label(document.id, &document.name)?;
    let mut labels = Vec::with_capacity(document.attributes.labels.len());
    let mut text = words(label.name.as_str());
    for own in &document.attributes.labels {
        let own = words(&Zeroizing::new(vault.open_word(own)?));
        text = Zeroizing::new(format!("{} {}", *text, *own));
        labels.push(own);
    }
    Ok(Entry {
        id: document.id,
        revision: document.revision,
        created_ms: document.created_ms,
        category: document.attributes.category,
        doc_type: document.attributes.doc_type,
        labels,
        text,
    })
}

/// The index of a vault as its documents are now. Entries of documents that did not change are taken over.
async fn index(gateway: &Gateway, vault: &OpenVault) -> Result<Arc<Index>, Problem> {
    let count = || view::contents(&*gateway.metadata.view(), vault.id());
    if let Some(found) = gateway.search.at(vault.id(), count()?) {
        return Ok(found);
    }
    let _turn = gateway.search.turn().await;
    // The count of before: what changes while we read makes the index too new for it, never too old.
    let contents = count()?;
    if let Some(found) = gateway.search.at(vault.id(), contents) {
        return Ok(found);
    }
    let old = gateway.search.of_before(vault.id()).unwrap_or_default();
    let mut entries = Vec::new();
    let mut before: Option<DocumentId> = None;
    while entries.len() < ENTRIES_MAX {
        let page = view::documents(&*gateway.metadata.view(), vault.id(), before, PAGE)?;
        before = page.last().map(|document| document.id);
        for document in page.iter().filter(|document| is_found(document)) {
            entries.push(match old.entry(document.id, document.revision) {
                Some(known) => known.clone(),
                None => entry(vault, document)?,
            });
        }
        if page.len() < PAGE {
            break;
        }
        tokio::task::yield_now().await;
    }
    let index = Arc::new(Index::new(entries));
    gateway.search.keep(vault.id(), contents, &index);
    Ok(index)
}

/// Accepted shares that a query finds, newest first.
fn shared(gateway: &Gateway, vault: &OpenVault, query: &Query, limit: usize) -> Result<Vec<SharedHit>, Problem> {
    let (read, now_ms) = (gateway.metadata.view(), gateway.clock.now_ms());
    let (mut hits, mut before, mut seen) = (Vec::new(), None, 0);
    loop {
        let page = view::sharing::incoming(&*read, vault.id(), before, SHARES_PAGE, now_ms)?;
        for share in page.shares.into_iter().filter(|share| share.state == ShareState::Accepted) {
            let Some(about) = share.about else { continue };
            let label = vault.open_shared_label(share.id, &about.name)?;
            if query.has_words(&words(label.name.as_str())) && query.has_time(share.offered_ms.unwrap_or(0)) {
                hits.push(SharedHit {
                    share: share.id.to_string(),
                    name: label.name.as_str().to_owned(),
                    media_type: label.media_type.as_str().to_owned(),
                    size: about.size,
                    offered_at: share.offered_ms.map(rfc3339),
                });
            }
        }
        seen += SHARES_PAGE;
        before = page.next;
        if before.is_none() || seen >= SHARES_MAX || hits.len() >= limit {
            hits.truncate(limit);
            return Ok(hits);
        }
    }
}

/// Searches names, labels, categories, types and days.
#[utoipa::path(
    get, path = "/v1/search", tag = "documents", security(("bearer" = [])),
    params(
        ("q" = Option<String>, Query, description = "Beginnings of words of the name or of labels, at most 8; case and accents do not matter."),
        ("category" = Option<String>, Query, description = "The category's key."),
        ("doc_type" = Option<String>, Query, description = "The type's key."),
        ("label" = Option<String>, Query, description = "A whole label; case and accents do not matter."),
        ("from" = Option<String>, Query, description = "Stored on this day or later, YYYY-MM-DD in UTC."),
        ("to" = Option<String>, Query, description = "Stored on this day or earlier."),
        ("limit" = Option<u64>, Query, description = "Entries of a page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "From `next` of the page before, with the same question."),
    ),
    responses(
        (status = 200, body = SearchPage),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn search(State(gateway): State<Arc<Gateway>>, caller: Caller, RawQuery(text): RawQuery) -> Result<Response, Problem> {
    let params = Params::parse(text.as_deref(), &["q", "category", "doc_type", "label", "from", "to", "limit", "cursor"])?;
    let limit = page_limit(&gateway, &params)?;
    let query = query(&params)?;
    let vault = OpenVault::open(&gateway, gateway.metadata.view(), caller.vault).await?;
    let before = params.value("cursor").map(|cursor| vault.open_cursor(cursor)).transpose()?;
    let hits = index(&gateway, &vault).await?.search(&query).hits;
    let total = hits.len();
    let read = gateway.metadata.view();
    let (mut documents, mut last, mut more) = (Vec::new(), None, false);
    for id in hits.into_iter().filter(|id| before.is_none_or(|before| id.0 < before)) {
        if documents.len() == limit {
            more = true;
            break;
        }
        if let Some(document) = view::document(&*read, vault.id(), id)?.filter(is_found) {
            documents.push(shown(&vault, &document)?);
            last = Some(id);
        }
    }
    let is_plain = query.category.is_none() && query.doc_type.is_none() && query.label.is_none();
    let shared = if is_plain && before.is_none() && caller.require_scope(Scope::SharesRead).is_ok() {
        shared(&gateway, &vault, &query, limit)?
    } else {
        Vec::new()
    };
    let next = match last {
        Some(DocumentId(at)) if more => Some(vault.seal_cursor(at)?),
        _ => None,
    };
    // No Link header: it would carry what was searched for.
    paged("/v1/search", limit, None, |_| SearchPage { documents, shared, total, next })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed_query(text: &str) -> Result<Query, Problem> {
        query(&Params::parse(Some(text), &["q", "category", "doc_type", "label", "from", "to"]).unwrap())
    }

    #[test]
    fn questions_are_read_strictly() {
        let query = parsed_query("q=Caf%C3%A9+2024&category=finance&doc_type=tax&from=1970-01-02&to=1970-01-03&label=Oud+Huis").unwrap();
        assert_eq!(query.words.iter().map(|w| w.as_str()).collect::<Vec<_>>(), ["cafe", "2024"]);
        assert_eq!((query.from_ms, query.before_ms), (Some(DAY_MS), Some(3 * DAY_MS)));
        assert_eq!(query.label.as_ref().map(|l| l.as_str()), Some("oud huis"));
        assert_eq!(parsed_query("to=9999-12-31").unwrap().before_ms, Some(u64::MAX));
        assert_eq!(parsed_query("from=1950-01-01").unwrap().from_ms, Some(0));
        for bad in ["category=Finance", "doc_type=x", "from=2024-02-30", "to=today", "q=a+b+c+d+e+f+g+h+i"] {
            assert_eq!(parsed_query(bad).err().map(|p| p.code), Some(Code::BadParameter), "{bad}");
        }
        assert!(parsed_query(&format!("q={}", "a".repeat(QUERY_CHARS_MAX + 1))).is_err());
    }
}
