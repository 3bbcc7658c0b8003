//! The pure core: what dirpost decides.
//!
//! Nothing in here reads a clock, a file or the environment, opens a connection, starts a
//! thread or writes a log: observations and the time come in as arguments, and what is to
//! be done goes out as values. `tests/purity.rs` holds the imports to that, and
//! `.clippy.toml` the calls.
//!
//! In the order of the data:

#![deny(clippy::disallowed_methods)]

// SCAN and TRACK
pub mod partial;
pub mod scan;
pub mod settle;
// DELIVER
pub mod endpoint;
// FILE AWAY
pub mod filing;
pub mod journal;
// All of it
pub mod engine;
pub mod events;
pub mod marker;
pub mod memory;
pub mod messages;
pub mod policy;
pub mod status;
// What they share
pub mod alarm;
pub mod clock;
pub mod escape;
pub mod file;
pub mod hash;
pub mod rng;
pub mod shard;
pub mod shell_words;
pub mod time;
pub mod troubles;
