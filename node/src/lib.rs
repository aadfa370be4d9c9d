//! The roof of Kluis: the binary and everything that only it does.
//!
//! Reading order: [`data_path`] (a chunk to the disks and back: READ THIS FIRST), [`assemble`] (every part
//! built once, in order), [`peers`] (what nodes do for each other), [`disks`], [`reconcile`] (disks made to
//! agree with the metadata), [`join`], [`member`] and [`ca`] (who is a member), [`admin`] (the operators'
//! listener), [`config`], [`cli`], [`demo`] with its [`idp`].
//!
//! Owns: configuration, command line, assembling, the data path, workers, health. Not: rules of the vault,
//! formats, consensus: the crates below.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod admin;
pub mod admin_client;
pub mod assemble;
pub mod ca;
pub mod certificates;
pub mod checkpoints;
pub mod cli;
pub mod clock;
pub mod config;
pub mod data_path;
pub mod demo;
pub mod disks;
pub mod dispatcher;
pub mod exit;
pub mod health;
pub mod idp;
pub mod join;
pub mod liveness;
pub mod logging;
pub mod member;
pub mod metrics;
pub mod options;
pub mod peers;
pub mod reconcile;
pub mod status;
pub mod ways;
