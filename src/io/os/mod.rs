//! What the system gives a process: clocks, signals, locks between threads, the files of the
//! configuration, and what its stderr is.

pub mod clock;
pub mod files;
pub mod signal;
pub mod stderr;

use std::sync::{Mutex, MutexGuard};

/// Locks `mutex`.
///
/// # Panics
/// If a thread has panicked while it held it. The release binary never comes to that: there a
/// panic ends the process (`panic = "abort"`), and what stands half changed with it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("a thread that panics ends the process, or its test")
}
