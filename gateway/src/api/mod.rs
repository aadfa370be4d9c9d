//! The API, one resource a file, over one shared state.
//!
//! Reading order: [`state`] (what a request sees), [`caller`] (who asks), [`access`] (what each route asks of them),
//! [`documents`] and [`content`] (the heart), [`ingest`] and [`deliver`] (bytes in, bytes out), [`scanning`] (what may
//! stay), [`uploads`] and [`resume`] (tus), [`auth`], [`sessions`], [`services`], [`me`],
//! [`history`] (what happened, to its owner), [`log`] (the same, to auditors), [`trail`] (what acts bring for it),
//! [`acting`] (in whose vault), [`invitations`], [`contacts`], [`offices`], [`office`], [`messages`],
//! [`health`], [`openapi`]; [`name`], [`params`] and [`json`] (what is read from requests), [`vault`] (what
//! is sealed and opened for one vault).
//!
//! Owns: what each URL does. Not: the table of URLs ([`crate::router`]).
//! Holds: (1) nothing of a vault is read before a linearizable look at the session; (2) what is another's
//! and what does not exist give the same answer; (3) a refused request changes nothing.

pub mod access;
pub mod acting;
pub mod auth;
pub mod caller;
pub mod contacts;
pub mod content;
pub mod deliver;
pub mod documents;
pub mod health;
pub mod history;
pub mod ingest;
pub mod invitations;
pub mod json;
pub mod log;
pub mod me;
pub mod messages;
pub mod name;
pub mod office;
pub mod offices;
pub mod openapi;
pub mod params;
pub mod resume;
pub mod scanning;
pub mod services;
pub mod sessions;
pub mod state;
pub mod trail;
pub mod uploads;
pub mod vault;

#[cfg(test)]
#[path = "../ports_memory.rs"]
mod ports_memory;
#[cfg(test)]
mod tests;

pub use caller::Caller;
pub use state::{Check, Gateway, GatewayConfig, Guards, Health};
