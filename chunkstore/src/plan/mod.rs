//! Plans: when a write may be acknowledged ([`mod@write`]) and which shards a read asks for ([`read`]).
//!
//! Holds: no I/O and no clock; events come in, decisions come out, and a driver acts on them.

pub mod read;
pub mod write;
