//! How people and programs ask: the top crate of Kluis below the binary.
//!
//! Reading order: [`ports`] (what it needs from outside), [`router`] (every URL on one screen), [`api`]
//! (one resource a file), [`auth`] (who asks), [`scan`] (what content is and whether it is malicious), [`seal`] and
//! [`keys`] (what makes bytes unreadable to a disk), [`upload`] and [`range`] (pure rules), [`recorder`] (events of
//! reads, gathered), [`notify`] (mail and webhooks), [`problem`] (every error with its code), [`limits`]
//! (sizes and deadlines in one place), [`rate`] (how often who may ask), [`search`] (an index of words), [`export`] (a
//! whole vault as one file), [`server`] (the listener), [`strict`] (what the parsers would tolerate).
//!
//! Owns: HTTP, sign-in, sealing. Not: disks, QUIC, consensus; it sees them through two ports.
//! Holds: plaintext leaves this crate only towards the person whose it is.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod api;
pub mod auth;
pub mod export;
pub mod keys;
pub mod limits;
pub mod notify;
pub mod ports;
pub mod problem;
pub mod range;
pub mod rate;
pub mod recorder;
pub mod router;
pub mod scan;
pub mod seal;
pub mod search;
pub mod server;
pub mod strict;
pub mod telemetry;
pub mod upload;
