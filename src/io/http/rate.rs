//! `send.max_rate`: one budget of bytes per second for all workers.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The budget of all clients.
#[derive(Debug)]
pub(super) struct Rate {
    /// Bytes.
    per_second: u64,
    /// When the bytes that were given out so far are paid for.
    paid: Mutex<Option<Instant>>,
}

impl Rate {
    /// `per_second` is in bytes.
    pub fn new(per_second: u64) -> Rate {
        Rate {
            per_second: per_second.max(1),
            paid: Mutex::new(None),
        }
    }

    /// Bytes to take at once: those of a twentieth of a second, so that nobody waits for long.
    pub fn piece(&self) -> usize {
        usize::try_from(self.per_second / 20)
            .unwrap_or(usize::MAX)
            .clamp(256, 128 * 1024)
    }

    /// Waits until `amount` bytes may go. What was not used before is not saved up.
    pub fn pace(&self, amount: usize) {
        let cost = Duration::from_secs_f64(amount as f64 / self.per_second as f64);
        let now = Instant::now();
        let until = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let until = paid.map_or(now, |paid| paid.max(now)) + cost;
            *paid = Some(until);
            until
        };
        thread::sleep(until.saturating_duration_since(now));
    }
}
