//! When to speak of something that is wrong: once when it starts, again at growing
//! intervals, and once when it is over.

use std::time::Duration;

use crate::flow::time::Mono;

/// What takes longer on a share may have outlived the lock: an NFS server forgets the locks of
/// a client that it has not heard of for as long as its lease, so the lock is looked at again.
pub const LOCK_RECHECK_AFTER: Duration = Duration::from_secs(5);

/// What takes longer on a share hangs.
pub const HANG: Duration = Duration::from_secs(30);

/// Something that is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Alarm {
    pub since: Mono,
    step: usize,
}

/// After so long it is mentioned again; the last one repeats.
const REMINDERS: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(3600),
    Duration::from_secs(6 * 3600),
];

impl Alarm {
    pub fn new(now: Mono) -> Alarm {
        Alarm {
            since: now,
            step: 0,
        }
    }

    /// When it is to be mentioned again.
    pub fn next(&self) -> Mono {
        let last = REMINDERS.len() - 1;
        let repeats = u32::try_from(self.step.saturating_sub(last)).unwrap_or(u32::MAX);
        self.since + REMINDERS[self.step.min(last)] + REMINDERS[last] * repeats
    }

    /// Whether it is time to mention it again.
    pub fn remind(&mut self, now: Mono) -> bool {
        let due = now >= self.next();
        while now >= self.next() {
            self.step += 1;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reminders_come_at_growing_intervals_and_never_twice_at_once() {
        let mut trouble = Alarm::new(Mono(0));
        let minutes: Vec<i64> = (1..60 * 24)
            .filter(|minute| trouble.remind(Mono(minute * 60_000)))
            .collect();
        assert_eq!(minutes, [1, 5, 15, 60, 360, 720, 1080]);
        let mut late = Alarm::new(Mono(0));
        assert!(late.remind(Mono(3 * 3600 * 1000)) && !late.remind(Mono(3 * 3600 * 1000)));
    }
}
