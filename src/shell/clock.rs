//! The clocks: read here, and nowhere in the core.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::flow::time::{Mono, Now, Wall};

/// Both clocks.
pub fn now() -> Now {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    Now { mono: Mono(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)), wall: wall() }
}

/// The wall clock.
pub fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
