//! What the tests of the real binary need: folders, an endpoint, the daemon.
#![allow(dead_code)]

mod ask;
mod daemon;
mod dir;
#[cfg(target_os = "linux")]
pub mod fuse;
#[cfg(target_os = "linux")]
pub mod mount;
mod server;
mod skip;

use std::time::{Duration, Instant};

pub use ask::{Reply, get, listens_at, send};
pub use daemon::{Daemon, NOBODY, User, check, config, dirpost, once, once_as};
pub use dir::{Dir, as_texts, draw_bytes};
pub use dirpost::flow::rng::Rng;
pub use server::{Gate, Reaction, Received, Server};
pub use skip::skip;

/// How long a condition may take before a test fails: generous, for a busy machine.
pub const BOUND: Duration = Duration::from_secs(60);

/// Waits for a condition.
pub fn wait_until(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < bound,
            "waited {bound:?} in vain for: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
