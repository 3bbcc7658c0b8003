//! Starting a thread.

use std::thread;

/// The stack of a thread, in bytes. The deepest call is a TLS handshake; this leaves it ample room.
const STACK: usize = 512 * 1024;

/// Starts a thread. It is not waited for: at the end of the process the system ends it.
///
/// # Errors
/// A sentence, if the system gives the process no more threads (`TasksMax`, `RLIMIT_NPROC`); then
/// `body` is dropped here.
pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), String> {
    thread::Builder::new()
        .name(name.into())
        .stack_size(STACK)
        .spawn(body)
        .map(drop)
        .map_err(|err| {
            format!("a thread ({name}) cannot be started: {err}: is the number of tasks limited?")
        })
}
