//! The thin shell: the input and output that the core asks for.
//!
//! Each module does one thing with plain values of [`crate::flow`]; none of them decides
//! what becomes of a file, and none knows the engine. In the order of the data:

// SCAN
pub mod scan;
// CHECK
pub mod check;
// DELIVER
pub mod http;
pub mod send_fingerprint;
pub mod upload;
// FILE AWAY
pub mod filing;
pub mod journal;
pub mod memory_file;
pub mod retries_file;
// What they share
pub mod dir;
pub mod share;
// Towards people and the system
pub mod listen;
pub mod logging;
pub mod os;
pub mod status;

#[cfg(test)]
pub(crate) mod testing;

/// Nobody listens any more to what a thread has to say: its session is over, and so is its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;
