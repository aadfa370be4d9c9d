//! The whole cluster in one process, from one seed.
//!
//! Reading order: [`world`] (nodes, how time passes), [`mod@env`] (their clocks and dice), [`fabric`] (the network), [`disk`] and
//! [`database`] (what a disk may do to what it was given), [`plan`] (which faults come when), [`workload`]
//! and [`resumable`] (what clients do), [`oracle`] (what must hold of what they are told), [`ledger`] and [`durability`]
//! (what must lie on media when they are told), [`elections`] (what must when somebody leads), [`linear`] (a checker that
//! distrusts the server), [`run`] (one seed from beginning to verdict). Apart: [`every_call`] (no chance: each call fails
//! in its turn).
//!
//! Every node is the production node: `Node::start_member` with real openraft, real quinn and rustls, the real disk
//! code and the real gateway. What is simulated comes in through `Env`: clock, randomness, files, database,
//! blocking work, UDP sockets. Requests enter at the gateway's router, below TLS and HTTP framing.
//!
//! Owns: the simulation. Not: the seeds that are run and the taking over of the process's randomness, which only
//! a program of its own may do (`tests/tests/sim.rs`).
//! Holds: (1) one thread; nothing waits for real time; (2) everything random follows from the seed, so that a seed
//! repeats itself event by event; (3) a node that crashed changes nothing any more, whatever its destructors do.
//! Why windows and not one event queue: every node needs a tokio runtime of its own, for that is the only thing
//! whose end ends every task of a node at once. Within a window no node can influence another, because
//! no packet travels faster than a window is long.

mod authority;
pub mod database;
pub mod disk;
pub mod durability;
pub mod elections;
pub mod env;
pub mod every_call;
pub mod fabric;
pub mod ledger;
pub mod linear;
pub mod oracle;
pub mod plan;
pub mod resumable;
pub mod rng;
pub mod run;
pub mod workload;
pub mod world;
