//! The thin shell: the input and output that the core asks for.
//!
//! Each module does one thing with plain values of [`crate::flow`]; none of them decides
//! what becomes of a file, and none knows the engine. In the order of the data:

// SCAN
pub mod scan;
// CHECK
pub mod format;
pub mod inspect;
// DELIVER
pub mod body;
pub mod deliver;
pub mod send;
// FILE AWAY
pub mod journal;
pub mod memory;
pub mod place;
pub mod retries;
// What they share
pub mod clock;
pub mod fault;
pub mod folder;
pub mod share;
pub mod state;
// Towards people and the system
pub mod log;
pub mod report;
pub mod signal;

#[cfg(test)]
pub(crate) mod testing;
