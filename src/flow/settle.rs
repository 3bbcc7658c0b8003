//! The settle rule: when a file counts as complete.
//!
//! A file is complete when its looks have been equal for the settle time, over at least
//! two looks, the last one through an open handle. The time is dirpost's own monotonic
//! clock, from its own looks; never the difference between two machines' clocks.
//!
//! On a local file system the ctime of a look says for how long the file has been still,
//! for no program can set it and it runs on this machine's clock: files that were there
//! before the start need not wait. That holds only while nobody sets the clock: what
//! lies before a step of the wall clock does not count.
//!
//! The last look is the one that the worker makes when it opens the file to send it, so
//! here one look is enough to make a file due; [`crate::flow::messages::Delivered::Changed`] sends
//! it back.

use std::time::Duration;

use crate::flow::clock::ClockWatch;
use crate::flow::file::{FsKind, Look};
use crate::flow::time::{Mono, Now};

/// Kernels stamp a change with the time of their last tick: up to 4 ms early at 250 Hz
/// (`CONFIG_HZ`; from Linux 6.13 on no longer so where it matters).
const TICK: Duration = Duration::from_millis(4);

/// A run of equal looks.
#[derive(Clone, Copy, Debug)]
pub struct Stability {
    pub look: Look,
    /// Since when the file has been still.
    pub since: Mono,
}

impl Stability {
    /// A first look.
    pub fn new(look: Look, now: Now, clock: &ClockWatch) -> Stability {
        let since = match look.fs {
            FsKind::Local if look.ctime.0 > 0 => {
                let changed = now.mono_of(look.ctime) + TICK;
                clock
                    .last_step()
                    .map_or(changed, |step| changed.max(step))
                    .min(now.mono)
            }
            _ => now.mono,
        };
        Stability { look, since }
    }

    /// Another look. True if the file has changed: the run begins anew.
    pub fn observe(&mut self, look: Look, now: Now, clock: &ClockWatch) -> bool {
        if look == self.look {
            return false;
        }
        *self = Stability::new(look, now, clock);
        true
    }

    /// An earlier process saw the same stamp, still since then. A ctime that can be believed says
    /// more: it shows changes that a stamp does not.
    pub fn recall(&mut self, since: Mono, now: Mono) {
        if self.since >= now {
            self.since = since.min(now);
        }
    }

    /// When the file will have been still for `settle`.
    pub fn due(&self, settle: Duration) -> Mono {
        self.since + settle
    }
}

/// `ready.settle = "auto"`.
pub fn settle_time(setting: crate::config::Settle, fs: FsKind) -> Duration {
    match (setting, fs) {
        (crate::config::Settle::For(time), _) => time,
        (_, FsKind::Local | FsKind::LocalNoCtime) => Duration::from_secs(5),
        (_, FsKind::Share) => Duration::from_secs(60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::file::Stamp;
    use crate::flow::time::Wall;

    fn at(mono: i64) -> Now {
        Now {
            mono: Mono(mono),
            wall: Wall((1_000_000 + mono) * 1_000_000),
            up: None,
        }
    }

    fn look(size: u64, ctime_ms: i64, fs: FsKind) -> Look {
        Look {
            stamp: Stamp {
                size,
                mtime: Wall(5),
            },
            ctime: Wall(ctime_ms * 1_000_000),
            fs,
            ..Look::default()
        }
    }

    #[test]
    fn on_a_share_stillness_counts_from_the_first_equal_look_whatever_the_ctime_says() {
        let steps = ClockWatch::new(at(0));
        let mut still = Stability::new(look(1, 1, FsKind::Share), at(100), &steps);
        assert!(!still.observe(look(1, 1, FsKind::Share), at(5_000), &steps));
        assert_eq!(still.due(Duration::from_secs(60)), Mono(60_100));
        assert!(still.observe(look(2, 1, FsKind::Share), at(6_000), &steps));
        assert_eq!(still.due(Duration::from_secs(60)), Mono(66_000));
    }

    #[test]
    fn on_a_local_disk_an_old_file_is_due_at_once_and_a_ctime_in_the_future_is_not_believed() {
        let steps = ClockWatch::new(at(0));
        let old = Stability::new(look(1, 1_000, FsKind::Local), at(100), &steps);
        assert!(old.due(Duration::from_secs(5)) < Mono(0));
        let future = Stability::new(look(1, 9_000_000, FsKind::Local), at(100), &steps);
        assert_eq!(future.due(Duration::from_secs(5)), Mono(5_100));
        let none = Stability::new(look(1, 0, FsKind::Local), at(100), &steps);
        assert_eq!(none.due(Duration::from_secs(5)), Mono(5_100));
    }

    #[test]
    fn stillness_does_not_count_across_a_step_of_the_wall_clock() {
        let mut steps = ClockWatch::new(at(0));
        steps.observe(at(50));
        let ahead = Now {
            mono: Mono(1_000),
            wall: Wall(at(1_000).wall.0 + 3_600_000_000_000),
            up: None,
        };
        steps.observe(ahead);
        // Written just now, before the step; by the new clock it looks an hour old.
        let still = Stability::new(look(1, 1_000_990, FsKind::Local), ahead, &steps);
        assert_eq!(still.due(Duration::from_secs(5)), Mono(6_000));
    }

    #[test]
    fn any_difference_starts_anew_older_and_smaller_as_well() {
        let steps = ClockWatch::new(at(0));
        let base = look(10, 0, FsKind::Share);
        let others = [
            look(9, 0, FsKind::Share),
            Look {
                stamp: Stamp {
                    size: 10,
                    mtime: Wall(4),
                },
                ..base
            },
            Look { ino: 7, ..base },
            Look { blocks: 8, ..base },
            Look {
                ctime: Wall(1),
                ..base
            },
        ];
        for other in others {
            assert!(
                Stability::new(base, at(0), &steps).observe(other, at(10), &steps),
                "{other:?}"
            );
        }
    }
}
