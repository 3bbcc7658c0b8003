//! What the system gives a process: clocks and signals.

pub mod clock;
pub mod signal;
