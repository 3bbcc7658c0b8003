//! What the clocks show from one turn of the loop to the next: a wall clock that was set, a machine
//! that was suspended, a process that did not get to run.
//!
//! Invariants:
//! - Each gap is reported once, by the first turn after it.
//! - A machine that slept is not also reported for its wall clock, which went on meanwhile.
//! - After either of these nothing that lies before that turn is timed by the wall clock.

use std::time::Duration;

use crate::flow::time::{Mono, Now};

/// A lock on a share may be lost after twice this length of silence: an NFS server forgets the locks
/// of a client that it has not heard of for the length of its lease, which on a Linux server may be as
/// short as 10 s (`nfsv4leasetime`, fs/nfsd/nfsctl.c). Whoever was silent, or had to wait, for this
/// long looks at the lock again before anything is sent or written.
pub const LOCK_RECHECK_AFTER: Duration = Duration::from_secs(5);

/// A difference between the clocks that grows slower than this from one reading to the next is drift.
pub const STEP_MS: i64 = 500;
/// A difference between the boot clock and the monotonic one that grows by less than this is the time
/// between their readings.
const SLEEP_MS: i64 = 1_000;

/// Watches the clocks.
#[derive(Clone, Copy, Debug)]
pub struct ClockWatch {
    /// The wall clock's lead over the monotonic one (ms).
    lead: i64,
    /// The boot clock's lead over the monotonic one (ms), where there is one.
    up_lead: Option<i64>,
    /// The latest moment at which the wall clock may have stepped.
    last_step: Option<Mono>,
    /// The last reading.
    now: Now,
    /// When the next turn was to come at the latest.
    awaited: Option<Mono>,
}

/// What a turn shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The machine was suspended for so long.
    Suspended(Duration),
    /// The wall clock was set by so many milliseconds, forwards or (negative) backwards.
    Stepped(i64),
    /// The turn came so much later than it was to come: the process was stopped, or starved.
    Late(Duration),
}

impl ClockWatch {
    /// One that begins with this reading.
    pub fn new(now: Now) -> ClockWatch {
        ClockWatch {
            lead: now.lead(),
            up_lead: now.up_lead(),
            last_step: None,
            now,
            awaited: None,
        }
    }

    /// The last reading.
    pub fn now(&self) -> Now {
        self.now
    }

    /// The wall clock may have stepped at any moment up to now.
    pub fn stepped(&mut self, now: Mono) {
        self.last_step = Some(now);
    }

    /// The latest moment at which the wall clock may have stepped.
    pub fn last_step(&self) -> Option<Mono> {
        self.last_step
    }

    /// The latest moment for the next turn while there is anything that the lock guards: one that comes
    /// late then shows that the process did not get to run, whatever it waited for.
    pub fn heartbeat(&self) -> Mono {
        self.now.mono + LOCK_RECHECK_AFTER
    }

    /// The next turn is to come by then.
    pub fn await_turn(&mut self, by: Option<Mono>) {
        self.awaited = by;
    }

    /// To be called with each reading of the clocks.
    pub fn observe(&mut self, now: Now) -> Option<Gap> {
        let stepped = now.lead().saturating_sub(self.lead);
        let slept = match (now.up_lead(), self.up_lead) {
            (Some(lead), Some(before)) => lead.saturating_sub(before),
            _ => 0,
        };
        let late = self.awaited.map_or(Duration::ZERO, |by| now.mono.since(by));
        (self.lead, self.up_lead) = (now.lead(), now.up_lead());
        self.now = now;
        if stepped.abs() > STEP_MS {
            self.last_step = Some(now.mono);
        }
        if slept >= SLEEP_MS {
            let millis = u64::try_from(slept).unwrap_or(0);
            Some(Gap::Suspended(Duration::from_millis(millis)))
        } else if stepped.abs() > STEP_MS {
            Some(Gap::Stepped(stepped))
        } else if late >= LOCK_RECHECK_AFTER {
            Some(Gap::Late(late))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::time::Wall;

    /// A reading at `mono` of a wall clock and a boot clock that are ahead by so much (ms).
    fn at(mono: i64, wall: i64, up: Option<i64>) -> Now {
        Now {
            mono: Mono(mono),
            wall: Wall((mono + wall) * 1_000_000),
            up: up.map(|up| mono + up),
        }
    }

    #[test]
    fn drift_is_no_step_and_a_step_is_seen_once_in_either_direction() {
        let mut watch = ClockWatch::new(at(0, 0, None));
        assert_eq!(watch.observe(at(10, STEP_MS, None)), None);
        assert_eq!(watch.last_step(), None);
        let ahead = watch.observe(at(20, 3_600_000, None));
        assert_eq!(ahead, Some(Gap::Stepped(3_600_000 - STEP_MS)));
        assert_eq!(watch.observe(at(30, 3_600_000, None)), None);
        assert_eq!(watch.last_step(), Some(Mono(20)));
        let back = watch.observe(at(40, 0, None));
        assert_eq!(back, Some(Gap::Stepped(-3_600_000)));
    }

    #[test]
    fn a_sleep_is_seen_once_and_settles_nothing_early_by_the_wall_clock() {
        let mut watch = ClockWatch::new(at(0, 0, Some(50)));
        assert_eq!(watch.observe(at(10, 0, Some(50 + SLEEP_MS - 1))), None);
        let slept = Duration::from_secs(3_600);
        let woken = at(20, 3_600_000, Some(50 + SLEEP_MS - 1 + 3_600_000));
        assert_eq!(watch.observe(woken), Some(Gap::Suspended(slept)));
        assert_eq!(watch.last_step(), Some(Mono(20)));
        assert_eq!(watch.observe(woken), None);
    }

    #[test]
    fn a_turn_is_late_only_after_it_was_due() {
        let mut watch = ClockWatch::new(at(0, 0, None));
        assert_eq!(watch.observe(at(60_000, 0, None)), None, "none was awaited");
        watch.await_turn(Some(Mono(70_000)));
        assert_eq!(watch.observe(at(74_999, 0, None)), None);
        let late = watch.observe(at(75_000, 0, None));
        assert_eq!(late, Some(Gap::Late(LOCK_RECHECK_AFTER)));
    }
}
