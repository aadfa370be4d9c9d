//! What clients were told, and what they may therefore be told from now on.
//!
//! Owns: the record of every document, of every content that it may have, of uploads by name, and of sessions that
//! ended. Not: the requests ([`super::workload`]), nor what disks must have had when an answer came
//! ([`super::durability`]).
//! Holds: (1) a content may be read from the moment its upload began until another one was acknowledged in its
//! place; (2) a document that was acknowledged must be there until its deletion began; (3) an upload whose outcome
//! nobody knows has become one document with its content, or none; (4) what is wrong is noted with the time and what
//! was expected, and the run goes on to find more.

use std::collections::{BTreeMap, BTreeSet};

/// What was uploaded: content is made from it again to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Content {
    /// Seed of the bytes.
    pub seed: u64,
    /// How many.
    pub len: usize,
}

#[derive(Debug, Clone)]
struct Possible {
    content: Content,
    from_us: u64,
    /// When another one was acknowledged in its place.
    until_us: Option<u64>,
}

/// A document as clients know it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Whose.
    pub person: usize,
    possible: Vec<Possible>,
    /// Revision that was acknowledged last.
    pub revision: u64,
    /// When the first content was acknowledged.
    acknowledged_us: u64,
    deletion_began_us: Option<u64>,
    deleted_us: Option<u64>,
    /// Whether a change had an unknown outcome: nobody changes it any more.
    pub uncertain: bool,
}

impl Known {
    /// Whether it may be changed: its state is known and no deletion began.
    pub fn is_settled(&self) -> bool {
        !self.uncertain && self.deletion_began_us.is_none()
    }
}

/// An answer that said that a version is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// The document's id.
    pub document: String,
    /// The version's number.
    pub version: u32,
    /// When the answer came.
    pub at_us: u64,
}

/// A document in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// The record.
#[derive(Debug, Default)]
pub struct Oracle {
    documents: BTreeMap<String, Known>,
    /// Uploads of new documents that may have been completed, by the name that only they have: whose, what, since when.
    uploads: BTreeMap<String, (usize, Content, u64)>,
    /// Documents that somebody else judges.
    forgotten: BTreeSet<String>,
    /// What was acknowledged.
    pub acknowledged: Vec<Acknowledged>,
    /// What went wrong.
    pub violations: Vec<String>,
    /// Operations by kind and outcome.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Oracle {
    /// Counts an operation.
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Notes that something is wrong.
    pub fn violated(&mut self, now_us: u64, what: impl std::fmt::Display) {
        self.violations.push(format!("{}.{:03} s: {what}", now_us / 1_000_000, now_us / 1_000 % 1_000));
    }

    /// A new document was acknowledged.
    pub fn created(&mut self, id: &str, person: usize, content: Content, revision: u64, (began_us, now_us): (u64, u64)) {
        let possible = vec![Possible { content, from_us: began_us, until_us: None }];
        let known =
            Known { person, possible, revision, acknowledged_us: now_us, deletion_began_us: None, deleted_us: None, uncertain: false };
        self.documents.insert(id.to_owned(), known);
    }

    /// A document is judged by somebody else.
    pub fn forget(&mut self, id: &str) {
        self.documents.remove(id);
        self.forgotten.insert(id.to_owned());
    }

    /// From now on there may be a document of this name.
    pub fn uploading(&mut self, name: &str, person: usize, content: Content, began_us: u64) {
        self.uploads.entry(name.to_owned()).or_insert((person, content, began_us));
    }

    /// An answer said that a version is stored.
    pub fn acknowledge(&mut self, document: &str, version: u32, at_us: u64) {
        self.acknowledged.push(Acknowledged { document: document.to_owned(), version, at_us });
    }

    /// Judges a list of a vault by the names in it. What became of an upload whose outcome nobody knew is known then,
    /// and judged like the others from now on. Returns how many there were of these.
    pub fn judge_names(&mut self, person: usize, now_us: u64, listed: &[Listed]) -> usize {
        let mut found = 0;
        let mut names = BTreeSet::new();
        for Listed { id, name } in listed.iter().filter(|listed| !self.forgotten.contains(&listed.id)).cloned().collect::<Vec<_>>() {
            if !names.insert(name.clone()) {
                self.violated(now_us, format!("document {id}: there are two of the name {name}, which was uploaded once"));
            }
            if self.documents.contains_key(&id) {
                continue;
            }
            match self.uploads.get(&name).copied() {
                Some((owner, content, began_us)) if owner == person => {
                    self.created(&id, person, content, 1, (began_us, now_us));
                    found += 1;
                }
                _ => self.violated(now_us, format!("document {id}: nobody completed an upload of the name {name}")),
            }
        }
        found
    }

    /// A new version is on its way.
    pub fn replacing(&mut self, id: &str, content: Content, now_us: u64) {
        if let Some(known) = self.documents.get_mut(id) {
            known.possible.push(Possible { content, from_us: now_us, until_us: None });
            known.uncertain = true;
        }
    }

    /// The new version was acknowledged.
    pub fn replaced(&mut self, id: &str, content: Content, revision: u64, now_us: u64) {
        if let Some(known) = self.documents.get_mut(id) {
            for possible in known.possible.iter_mut().filter(|p| p.content != content) {
                possible.until_us.get_or_insert(now_us);
            }
            known.revision = revision;
            known.uncertain = false;
        }
    }

    /// The new version was refused: it never was.
    pub fn not_replaced(&mut self, id: &str, content: Content) {
        if let Some(known) = self.documents.get_mut(id) {
            known.possible.retain(|p| p.content != content);
            known.uncertain = false;
        }
    }

    /// A deletion is on its way.
    pub fn deleting(&mut self, id: &str, now_us: u64) {
        if let Some(known) = self.documents.get_mut(id) {
            known.deletion_began_us = Some(now_us);
        }
    }

    /// The deletion was acknowledged.
    pub fn deleted(&mut self, id: &str, now_us: u64) {
        if let Some(known) = self.documents.get_mut(id) {
            known.deleted_us = Some(now_us);
        }
    }

    /// A document.
    pub fn document(&self, id: &str) -> Option<&Known> {
        self.documents.get(id)
    }

    /// Every document, in order of id.
    pub fn documents(&self) -> impl Iterator<Item = (&String, &Known)> {
        self.documents.iter()
    }

    /// Judges the answer to a read that ran from `began_us` to `now_us`: the content's bytes, or `None` for 404.
    pub fn judge_read(&mut self, id: &str, (began_us, now_us): (u64, u64), got: Option<&[u8]>) {
        let Some(known) = self.documents.get(id) else { return };
        let wrong = match got {
            None if known.deletion_began_us.is_none_or(|at| at > now_us) => Some("it is gone, and nobody deleted it".to_owned()),
            None => None,
            Some(_) if known.deleted_us.is_some_and(|at| at < began_us) => Some("it was deleted and came back".to_owned()),
            Some(bytes) => {
                let may_be = |p: &Possible| p.from_us <= now_us && p.until_us.is_none_or(|until| until >= began_us);
                let same = |p: &Possible| p.content.len == bytes.len() && crate::content(p.content.seed, p.content.len) == bytes;
                if known.possible.iter().any(|p| may_be(p) && same(p)) {
                    None
                } else if known.possible.iter().any(same) {
                    Some("it is an old version, after a newer one was acknowledged".to_owned())
                } else {
                    Some(format!("other bytes came out ({} of them, expected one of {:?})", bytes.len(), known.possible))
                }
            }
        };
        if let Some(wrong) = wrong {
            self.violated(now_us, format!("document {id}: {wrong}"));
        }
    }

    /// Judges the revision in an answer to a read before which `floor` had been acknowledged.
    pub fn judge_revision(&mut self, id: &str, now_us: u64, seen: u64, floor: u64) {
        if seen < floor {
            self.violated(now_us, format!("document {id}: revision {seen} was read after {floor} was acknowledged"));
        }
    }

    /// Judges a list of a vault that ran from `began_us` to `now_us`.
    pub fn judge_list(&mut self, person: usize, began_us: u64, now_us: u64, listed: &[String]) {
        let mut wrong = Vec::new();
        for (id, known) in self.documents.iter().filter(|(_, known)| known.person == person) {
            let there = listed.contains(id);
            let expected = known.acknowledged_us <= began_us && known.deletion_began_us.is_none_or(|at| at > now_us);
            if expected && !there {
                wrong.push(format!("document {id} is missing in the list"));
            }
            if there && known.deleted_us.is_some_and(|at| at < began_us) {
                wrong.push(format!("document {id} is in the list after its deletion"));
            }
        }
        for wrong in wrong {
            self.violated(now_us, wrong);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_read_follows_from_what_was_acknowledged() {
        let (one, two) = (Content { seed: 1, len: 10 }, Content { seed: 2, len: 10 });
        let bytes = |c: Content| crate::content(c.seed, c.len);
        let mut oracle = Oracle::default();
        oracle.created("a", 0, one, 1, (100, 150));
        oracle.judge_read("a", (200, 210), Some(&bytes(one)));
        oracle.replacing("a", two, 300);
        oracle.judge_read("a", (310, 320), Some(&bytes(one)));
        oracle.judge_read("a", (310, 320), Some(&bytes(two)));
        oracle.replaced("a", two, 2, 400);
        oracle.judge_read("a", (390, 420), Some(&bytes(one)));
        assert!(oracle.violations.is_empty(), "{:?}", oracle.violations);
        oracle.judge_read("a", (410, 420), Some(&bytes(one)));
        oracle.judge_read("a", (410, 420), Some(b"else"));
        oracle.judge_read("a", (410, 420), None);
        oracle.judge_list(0, 500, 510, &[]);
        oracle.judge_list(0, 120, 510, &[]);
        assert_eq!(oracle.violations.len(), 4, "{:?}", oracle.violations);
        oracle.deleting("a", 600);
        oracle.judge_read("a", (610, 620), None);
        oracle.deleted("a", 700);
        assert_eq!(oracle.violations.len(), 4);
        oracle.judge_read("a", (710, 720), Some(&bytes(two)));
        oracle.judge_list(0, 710, 720, &["a".to_owned()]);
        assert_eq!(oracle.violations.len(), 6);
    }

    #[test]
    fn what_became_of_an_unknown_upload_is_judged_by_its_name() {
        let content = Content { seed: 1, len: 10 };
        let listed = |id: &str, name: &str| Listed { id: id.to_owned(), name: name.to_owned() };
        let mut oracle = Oracle::default();
        oracle.uploading("one", 0, content, 5);
        assert_eq!(oracle.judge_names(0, 50, &[]), 0, "it never was");
        assert_eq!(oracle.judge_names(0, 50, &[listed("a", "one")]), 1);
        assert_eq!(oracle.judge_names(0, 60, &[listed("a", "one")]), 0, "it is known by now");
        assert!(oracle.violations.is_empty(), "{:?}", oracle.violations);
        oracle.judge_read("a", (70, 80), Some(&crate::content(1, 10)));
        assert!(oracle.violations.is_empty(), "{:?}", oracle.violations);
        oracle.judge_read("a", (70, 80), Some(b"else"));
        oracle.judge_names(0, 90, &[listed("a", "one"), listed("b", "one")]);
        oracle.judge_names(1, 90, &[listed("c", "one")]);
        oracle.judge_names(0, 90, &[listed("d", "other")]);
        assert_eq!(oracle.violations.len(), 4, "{:?}", oracle.violations);
    }
}
