//! The pure core: what dirpost decides.
//!
//! Nothing in here reads a clock, a file or the environment, opens a connection, starts a
//! thread or writes a log: observations and the time come in as arguments, and what is to
//! be done goes out as values. `tests/purity.rs` holds the imports to that, and
//! `.clippy.toml` the calls.
//!
//! In the order of the data:

#![deny(clippy::disallowed_methods)]

// SCAN
pub mod filter;
pub mod listing;
// TRACK
pub mod still;
pub mod tree;
// DELIVER
pub mod backoff;
pub mod brake;
pub mod classify;
pub mod gate;
pub mod key;
pub mod reply;
// FILE AWAY
pub mod record;
// All of it
pub mod engine;
pub mod job;
pub mod memory;
pub mod note;
// What they share
pub mod escape;
pub mod file;
pub mod rng;
pub mod time;
pub mod trouble;
