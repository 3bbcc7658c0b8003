//! What the system gives a process: clocks, memory, signals, randomness, locks between threads, mounts, the
//! files of the configuration, names of users, the service manager, what its errors mean, and what its stderr is.

pub mod clock;
pub mod error;
pub mod files;
pub mod memory;
pub mod mounts;
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

/// The name of this machine, as a word of its own.
pub fn host() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    // A word of its own.
    let name: String = name.split_ascii_whitespace().collect();
    if name.is_empty() {
        "unknown".into()
    } else {
        name
    }
}

/// Whether there is a process with this id on this machine; true where that cannot be told.
pub fn is_alive(pid: u32) -> bool {
    #[cfg(unix)]
    {
        let pid = i32::try_from(pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        // EPERM: there is one, of another user's.
        pid.is_none_or(|pid| {
            rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
        })
    }
    #[cfg(not(unix))]
    {
        let _ = pid;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_random_ids_differ() {
        assert_ne!(random().unwrap(), random().unwrap());
    }
}
