//! What the system gives a process: clocks, signals, randomness, locks between threads, the files of
//! the configuration, names of users, the service manager, what its errors mean, and what its stderr is.

pub mod clock;
pub mod error;
pub mod files;
pub mod service;
pub mod signal;
pub mod stderr;
pub mod users;

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

/// 16 bytes from the system's source of randomness.
///
/// # Errors
/// If the system has none.
pub fn random() -> std::io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::getrandom(&mut bytes).map_err(|err| std::io::Error::other(err.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_random_ids_differ() {
        assert_ne!(random().unwrap(), random().unwrap());
    }
}
