//! `kluis demo`: a whole cluster on this machine, of production parts only.
//!
//! Reading order: [`layout`] (its shape), [`record`] (what it writes down), [`process`] (knowing a process
//! again), [`setup`] (making nodes with the commands that everybody uses), [`identity`] and [`clock`] (the
//! two things that production has elsewhere), [`supervisor`] (starting, serving, stopping), [`stop`].
//!
//! Owns: a directory with everything of a demo in it:
//!
//! | path | what |
//! |------|------|
//! | `demo.json` | what programs need, while the demo serves |
//! | `demo-settings.json`, `processes.json` | what it was made with, what runs |
//! | `ca.pem`, `operator/` | the cluster's CA, the operator's certificate and key |
//! | `keys/` | master key and the gateways' keys at the identity provider, mode 0600 |
//! | `clock` | milliseconds that the clock is ahead |
//! | `nodes/n1/{kluis.toml,identity,meta,log}` | a node |
//! | `disks/n1-d1` | a disk |
//!
//! Not: anything that a node does differently in a demo; what differs is its configuration.
//! Holds: (1) everything listens on loopback; (2) a node that was killed stays dead until somebody starts
//! it; (3) stopping ends the processes that were started, and no others; (4) data outlives a stop.

pub mod clock;
pub mod identity;
pub mod layout;
pub mod process;
pub mod record;
pub mod setup;
pub mod stop;
pub mod supervisor;
