//! What the system gives a process: clocks, signals, locks between threads, the files of the
//! configuration, and what its stderr is.

pub mod clock;
pub mod files;
pub mod signal;
pub mod stderr;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex. The released program ends at a panic, so nobody there ever finds a lock that a
/// panic has left behind; where panics unwind (tests), what is behind it is taken as it is.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
