//! Who owns what: the middle crate of Kluis.
//!
//! Reading order: [`model`] (the records), [`command`] and [`outcome`] (every write and every answer),
//! [`policy`] (who may do what), [`apply`] (the pure state machine), [`log`] (the tamper-evident log), [`keys`] and
//! [`codec`] (records as bytes), [`store`] (the ordered transactional map below), [`view`] (reads), [`client`] (how others ask), and, behind the feature
//! `consensus`, the openraft glue that makes all voters apply the same commands in the same order.
//!
//! Owns: metadata. Not: bytes of documents, sockets, clear names (they arrive sealed).
//! Holds: `apply` is a function of (state, command) alone; two replicas never differ.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod apply;
pub mod client;
pub mod codec;
pub mod command;
#[cfg(feature = "consensus")]
pub mod consensus;
pub mod invariants;
pub mod keys;
pub mod log;
pub mod model;
pub mod outcome;
pub mod policy;
pub mod store;
pub mod view;
