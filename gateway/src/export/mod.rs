//! A whole vault as one file: a ZIP that streams, with a manifest by which anybody checks it without the service.
//!
//! Parts: [`zip`] (the format, written piece by piece), [`manifest`] (what the file says of itself), [`check`] (the
//! judge, for `kluis verify export`). All pure but for the reader that the judge is given.
//! Not: which documents, and how their bytes come ([`crate::api::export`]).
//! Holds: what is written here passes the judge, and what was changed by a byte does not.

pub mod check;
pub mod manifest;
pub mod zip;
