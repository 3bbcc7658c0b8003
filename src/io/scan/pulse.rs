//! The sign that a scan goes on, which tells one that takes long from one that hangs.

use std::time::{Duration, Instant};

/// How often a scan that takes long says that it goes on.
const GOES_ON: Duration = Duration::from_secs(1);
/// So many calls at most go by without a look at the clock, which costs a few percent of a call on a
/// local disk. On a share that was fast and is slow from one call to the next, it takes so many
/// until the next sign.
const BEATS: u32 = 16;
/// Where calls take longer than that together, the clock is looked at after each.
const SLOW: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Pulse<'a> {
    say: &'a dyn Fn(),
    said: Instant,
    looked: Instant,
    every: u32,
    left: u32,
}

impl<'a> Pulse<'a> {
    pub(super) fn new(say: &'a dyn Fn()) -> Pulse<'a> {
        let now = Instant::now();
        Pulse {
            say,
            said: now,
            looked: now,
            every: 1,
            left: 1,
        }
    }

    /// A call has come back.
    pub(super) fn beat(&mut self) {
        self.left -= 1;
        if self.left == 0 {
            self.look();
        }
    }

    fn look(&mut self) {
        let now = Instant::now();
        let is_slow = now.duration_since(self.looked) >= SLOW;
        self.every = if is_slow {
            1
        } else {
            BEATS.min(self.every * 2)
        };
        self.left = self.every;
        self.looked = now;
        if now.duration_since(self.said) >= GOES_ON {
            self.said = now;
            (self.say)();
        }
    }
}
