//! Bytes into shards and back.
//!
//! Owns: the erasure codec ([`erasure`]), its field ([`field`]) and the inner loops ([`kernel`]).
//! Holds: the same bytes on every machine, whichever inner loop it has.

pub mod erasure;
pub mod field;
pub mod kernel;
