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
//!
//! Invariants:
//! - Another size or mtime starts the settling again, and so does another file in its place; the
//!   latter no more than five times, for there are file systems whose inodes have no lasting
//!   numbers.
//! - Whatever else moves is a suspicion ([`Difference::Suspicion`]): it puts the settling off, by
//!   five settle times in all for one version.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::flow::clock::ClockWatch;
use crate::flow::file::{Difference, FsKind, Look};
use crate::flow::time::{Mono, Now};

/// Kernels stamp a change with the time of their last tick: up to 4 ms early at 250 Hz
/// (`CONFIG_HZ`; from Linux 6.13 on no longer so where it matters).
const TICK: Duration = Duration::from_millis(4);

/// The settle times by which suspicions may put the settling of one version off, in all. It is also
/// the least number of suspicions after which no more are heeded.
const PUT_OFF: u32 = 5;
/// How often another file with the same size and mtime counts as another version.
const REPLACED: u32 = 5;

/// A run of equal looks.
#[derive(Clone, Copy, Debug)]
pub struct Stability {
    /// The last look.
    pub look: Look,
    /// Since when the file has been still, or counts as if it had been.
    pub since: Mono,
    /// What suspicions have done to this version.
    pub suspicions: Suspicions,
    /// How often another file with this size and mtime took its place.
    replaced: u32,
}

/// What suspicions have done to the settling of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicions {
    /// How many there were.
    pub count: u32,
    /// By how much they have put it off in all (ms).
    pub put_off_ms: i64,
}

/// What outlives the process: inodes and ctimes do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StabilityMemory {
    /// Since when the version has been still.
    pub since: Mono,
    /// What suspicions have done to it.
    #[serde(default, skip_serializing_if = "Suspicions::is_none")]
    pub suspicions: Suspicions,
}

/// What another look shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The file is still.
    Still,
    /// It may have been written to: what was read of it does not count. Its settling was put off, if
    /// that is still allowed.
    Suspicious,
    /// It is another version: its settling begins.
    Changed,
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
        Stability {
            look,
            since,
            suspicions: Suspicions::default(),
            replaced: 0,
        }
    }

    /// What a listing has kept of it: the last look, and since when it has been still.
    pub fn kept(look: Look, since: Mono) -> Stability {
        Stability {
            look,
            since,
            suspicions: Suspicions::default(),
            replaced: 0,
        }
    }

    /// Whether a listing can keep all that is known of it.
    pub fn can_be_kept(&self) -> bool {
        self.suspicions.is_none() && self.replaced == 0
    }

    /// Another look at a file that is to be still for `settle`.
    pub fn observe(&mut self, look: Look, settle: Duration, clock: &ClockWatch) -> Seen {
        let now = clock.now();
        let difference = look.difference(&self.look);
        let fresh = Stability::new(look, now, clock);
        match difference {
            Difference::None => {
                self.look = look;
                Seen::Still
            }
            Difference::Version => {
                *self = fresh;
                Seen::Changed
            }
            Difference::Replaced if self.replaced < REPLACED => {
                *self = Stability {
                    suspicions: self.suspicions,
                    replaced: self.replaced + 1,
                    ..fresh
                };
                Seen::Changed
            }
            Difference::Replaced | Difference::Suspicion => {
                self.look = look;
                self.put_off(fresh.since, settle, now.mono);
                Seen::Suspicious
            }
        }
    }

    /// A suspicion whose look shows nothing that differs: it may have been written to just now.
    pub fn suspect(&mut self, settle: Duration, now: Mono) {
        self.put_off(now, settle, now);
    }

    /// It changed, and how is not to be seen: its stillness begins.
    pub fn restart(&mut self, now: Mono) {
        self.since = now;
        self.suspicions = Suspicions::default();
        self.replaced = 0;
    }

    /// It may have been written to at `moved`: it is due a settle time after that, but not later than
    /// what is left of the time that suspicions may take.
    fn put_off(&mut self, moved: Mono, settle: Duration, now: Mono) {
        self.suspicions.count = self.suspicions.count.saturating_add(1);
        let was_due = self.due(settle).max(now);
        let wanted = (moved + settle).since(was_due);
        // A settle time that is shorter by now may be used up already.
        let left = (PUT_OFF * settle).saturating_sub(self.suspicions.put_off());
        let granted = wanted.min(left);
        if granted > Duration::ZERO {
            let millis = i64::try_from(granted.as_millis()).unwrap_or(i64::MAX);
            self.suspicions.put_off_ms = self.suspicions.put_off_ms.saturating_add(millis);
            self.since = was_due + granted - settle;
        }
    }

    /// Whether suspicions have had their time: from now on only another version is heeded.
    pub fn is_beyond_suspicion(&self, settle: Duration) -> bool {
        self.suspicions.count >= PUT_OFF && self.suspicions.put_off() >= PUT_OFF * settle
    }

    /// What the next process has to know.
    pub fn memory(&self) -> StabilityMemory {
        StabilityMemory {
            since: self.since,
            suspicions: self.suspicions,
        }
    }

    /// An earlier process saw the same stamp, still since then. A ctime that can be believed says
    /// more: it shows changes that a stamp does not.
    pub fn recall(&mut self, known: StabilityMemory, settle: Duration, now: Mono) {
        let moved = std::mem::replace(&mut self.since, known.since.min(now));
        self.suspicions = known.suspicions;
        if moved >= now {
            // It says nothing of the time before this look.
            return;
        }
        if moved > self.since {
            self.put_off(moved, settle, now);
        } else {
            self.since = moved;
        }
    }

    /// When the file will have been still for `settle`.
    pub fn due(&self, settle: Duration) -> Mono {
        self.since + settle
    }
}

impl Suspicions {
    fn is_none(&self) -> bool {
        self.count == 0
    }

    fn put_off(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.put_off_ms).unwrap_or(0))
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

/// A file that has been changing for so long is said to.
pub const RESTLESS_AFTER: Duration = Duration::from_secs(10 * 60);

/// A file that has not changed for so long, where `settle` is its settle time, has come to rest in
/// between.
pub fn calm(settle: Duration) -> Duration {
    (4 * settle).max(Duration::from_secs(60))
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

    /// A look by a clock that was never set.
    fn see_at(still: &mut Stability, look: Look, settle: Duration, now: Now) -> Seen {
        still.observe(look, settle, &ClockWatch::new(now))
    }

    const SETTLE: Duration = Duration::from_secs(60);

    #[test]
    fn on_a_share_stillness_counts_from_the_first_equal_look_whatever_the_ctime_says() {
        let clock = ClockWatch::new(at(0));
        let mut still = Stability::new(look(1, 1, FsKind::Share), at(100), &clock);
        let mut see = |size, now| see_at(&mut still, look(size, 1, FsKind::Share), SETTLE, at(now));
        assert_eq!(see(1, 5_000), Seen::Still);
        assert_eq!(see(2, 6_000), Seen::Changed);
        assert_eq!(see(2, 60_100), Seen::Still);
        assert_eq!(still.due(SETTLE), Mono(66_000));
    }

    #[test]
    fn on_a_local_disk_an_old_file_is_due_at_once_and_a_ctime_in_the_future_is_not_believed() {
        let clock = ClockWatch::new(at(0));
        let due = |ctime| {
            let still = Stability::new(look(1, ctime, FsKind::Local), at(100), &clock);
            still.due(Duration::from_secs(5))
        };
        assert!(due(1_000) < Mono(0));
        assert_eq!(due(9_000_000), Mono(5_100));
        assert_eq!(due(0), Mono(5_100));
    }

    #[test]
    fn stillness_does_not_count_across_a_step_of_the_wall_clock() {
        let mut clock = ClockWatch::new(at(0));
        clock.observe(at(50));
        let ahead = Now {
            wall: Wall(at(1_000).wall.0 + 3_600_000_000_000),
            ..at(1_000)
        };
        clock.observe(ahead);
        // Written just now, before the step; by the new clock it looks an hour old.
        let still = Stability::new(look(1, 1_000_990, FsKind::Local), ahead, &clock);
        assert_eq!(still.due(Duration::from_secs(5)), Mono(6_000));
    }

    #[test]
    fn a_suspicion_puts_the_settling_off_by_a_settle_time_from_when_it_is_seen() {
        let clock = ClockWatch::new(at(0));
        let mut still = Stability::new(look(1, 1, FsKind::Share), at(0), &clock);
        let mut see = |ctime, now| {
            let seen = see_at(&mut still, look(1, ctime, FsKind::Share), SETTLE, at(now));
            (seen, still.due(SETTLE))
        };
        assert_eq!(see(2, 40_000), (Seen::Suspicious, Mono(100_000)));
        // Long after it was due, too: it may be in the middle of being written.
        assert_eq!(see(3, 500_000), (Seen::Suspicious, Mono(560_000)));
        assert_eq!(see(3, 600_000), (Seen::Still, Mono(560_000)));
    }

    #[test]
    fn suspicions_put_one_version_off_by_five_settle_times_in_all() {
        let clock = ClockWatch::new(at(0));
        let mut still = Stability::new(look(1, 1, FsKind::Share), at(0), &clock);
        let mut spent = 0;
        for second in 1..1_000 {
            let look = look(1, 1 + second, FsKind::Share);
            let seen = see_at(&mut still, look, SETTLE, at(second * 1_000));
            assert_eq!(seen, Seen::Suspicious);
            spent += usize::from(!still.is_beyond_suspicion(SETTLE));
        }
        assert_eq!(still.due(SETTLE), Mono(6 * 60_000));
        assert_eq!(spent, 300 - 1, "seconds until they had had their time");
        // The next version has its own.
        see_at(&mut still, look(2, 1, FsKind::Share), SETTLE, at(1_000_000));
        assert!(!still.is_beyond_suspicion(SETTLE));
        assert_eq!(still.due(SETTLE), Mono(1_060_000));
    }

    #[test]
    fn on_a_local_disk_the_time_of_a_suspicion_is_known() {
        let clock = ClockWatch::new(at(0));
        let settle = Duration::from_secs(5);
        let mut still = Stability::new(look(1, 900_000, FsKind::Local), at(0), &clock);
        assert!(still.due(settle) < Mono(0));
        let mut see = |ctime: i64, now| {
            let look = look(1, 1_000_000 + ctime, FsKind::Local);
            see_at(&mut still, look, settle, at(now));
            still.due(settle)
        };
        // At 30 s it shows that its ctime moved at 28 s.
        assert_eq!(see(28_000, 30_000), Mono(33_004));
        assert_eq!(see(28_000, 40_000), Mono(33_004));
        assert_eq!(see(41_000, 90_000), Mono(33_004), "that was long ago");
    }

    #[test]
    fn another_file_with_the_same_stamp_settles_again_but_not_for_ever() {
        let clock = ClockWatch::new(at(0));
        let mut still = Stability::new(look(1, 1, FsKind::Share), at(0), &clock);
        let mut changes = 0;
        for second in 1..10_000 {
            let another = Look {
                ino: second as u64,
                ..look(1, second, FsKind::Share)
            };
            let seen = see_at(&mut still, another, SETTLE, at(second * 1_000));
            changes += usize::from(seen == Seen::Changed);
        }
        // The first look had no number.
        assert_eq!(changes, 5);
        assert!(
            still.due(SETTLE) <= Mono(12 * 60_000),
            "{:?}",
            still.due(SETTLE)
        );
    }

    #[test]
    fn with_no_settle_time_a_suspicion_delays_nothing_and_is_not_heeded_for_ever() {
        let clock = ClockWatch::new(at(0));
        let mut still = Stability::new(look(1, 1, FsKind::Share), at(0), &clock);
        let heeded = (2..100).filter(|&now| {
            see_at(
                &mut still,
                look(1, now, FsKind::Share),
                Duration::ZERO,
                at(now),
            );
            assert!(still.due(Duration::ZERO) <= Mono(now));
            !still.is_beyond_suspicion(Duration::ZERO)
        });
        assert_eq!(heeded.count(), 4);
    }

    #[test]
    fn what_suspicions_did_counts_in_the_next_process_as_well() {
        let clock = ClockWatch::new(at(0));
        let settle = Duration::from_secs(5);
        // Each run lasts for a moment, and the ctime moves shortly before each.
        let mut known = StabilityMemory {
            since: Mono(0),
            suspicions: Suspicions::default(),
        };
        let sent = (1..20).find(|run| {
            let now = run * 7_000;
            let look = look(1, 1_000_000 + now - 1_000, FsKind::Local);
            let mut still = Stability::new(look, at(now), &clock);
            still.recall(known, settle, Mono(now));
            known = still.memory();
            still.due(settle) <= Mono(now)
        });
        assert_eq!(known.suspicions.put_off_ms, 25_000);
        assert_eq!(sent, Some(8));
        // Nothing moved: the ctime may even say more.
        let mut still = Stability::new(look(1, 900_000, FsKind::Local), at(1_000), &clock);
        let known = StabilityMemory {
            since: Mono(500),
            suspicions: Suspicions::default(),
        };
        still.recall(known, settle, Mono(1_000));
        assert!(still.since < Mono(0));
        assert_eq!(still.suspicions.count, 0);
    }
}
