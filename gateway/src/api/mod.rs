//! The API, one resource a file, over one shared state.
//!
//! Reading order: [`state`] (what a request sees), [`caller`] (who asks), [`access`] (what each route asks of them),
//! [`documents`] and [`content`] (the heart), [`ingest`] and [`deliver`] (bytes in, bytes out), [`scanning`] (what may
//! stay), [`uploads`] and [`resume`] (tus), [`attributes`] and [`manage`] (a document afterwards), [`rights`] (by what
//! right), [`shares`] and [`incoming`] (both sides of a share), [`links`] and [`open_links`], [`deaths`], [`auth`],
//! [`sessions`], [`services`], [`me`], [`address`], [`notifications`], [`webhooks`],
//! [`history`] (what happened, to its owner), [`log`] (the same, to auditors), [`trail`] (what acts bring for it),
//! [`search`], [`export`] and [`erasure`] (the whole vault), [`placement`] and [`facts`] (what is told of the service),
//! [`acting`] (in whose vault), [`invitations`], [`contacts`], [`offices`], [`office`], [`messages`],
//! [`health`], [`openapi`]; [`name`], [`params`] and [`json`] (what is read from requests), [`vault`] (what
//! is sealed and opened for one vault).
//!
//! Owns: what each URL does. Not: the table of URLs ([`crate::router`]).
//! Holds: (1) nothing of a vault is read before a linearizable look at the session; (2) what is another's
//! and what does not exist give the same answer; (3) a refused request changes nothing.

pub mod access;
pub mod acting;
pub mod address;
pub mod attributes;
pub mod auth;
pub mod caller;
pub mod contacts;
pub mod content;
pub mod deaths;
pub mod deliver;
pub mod documents;
pub mod erasure;
pub mod export;
pub mod facts;
pub mod health;
pub mod history;
pub mod incoming;
pub mod ingest;
pub mod invitations;
pub mod json;
pub mod links;
pub mod log;
pub mod manage;
pub mod me;
pub mod messages;
pub mod name;
pub mod notifications;
pub mod office;
pub mod offices;
pub mod open_links;
pub mod openapi;
pub mod params;
pub mod placement;
pub mod resume;
pub mod rights;
pub mod scanning;
pub mod search;
pub mod services;
pub mod sessions;
pub mod shares;
pub mod state;
pub mod trail;
pub mod uploads;
pub mod vault;
pub mod webhooks;

#[cfg(test)]
#[path = "../ports_memory.rs"]
mod ports_memory;
#[cfg(test)]
mod tests;

pub use caller::Caller;
pub use state::{Check, Gateway, GatewayConfig, Guards, Health};
