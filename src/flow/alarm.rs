//! When to speak of something that is wrong: once when it starts, again at growing
//! intervals, and once when it is over.
//!
//! Invariants:
//! - [`Alarm::raise`] says `Some` the first time, then not before the next reminder is due,
//!   unless with a cause that was not named since the last one.
//! - However many causes take turns, no more than four lines are written between two
//!   reminders.
//! - [`Alarm::clear`] says `Some` exactly once for each time that the alarm was raised.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::flow::time::Mono;

/// Something that may be wrong. A new one is silent; it costs a pointer until it is raised.
///
/// Written down, it goes on at its growing intervals in the next process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Alarm {
    fault: Option<Box<Fault>>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fault {
    since: Mono,
    /// How many of [`REMINDERS`] are over.
    step: usize,
    /// The causes that were named since the last reminder, the latest last; never empty.
    causes: Vec<String>,
}

/// What [`Alarm::raise`] wants to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It has begun.
    Began,
    /// It has lasted for so long, or has another cause now.
    Still {
        /// How long it has lasted.
        since: Duration,
    },
}

/// How long after the start it is mentioned again; the last one repeats.
const REMINDERS: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(3600),
    Duration::from_secs(6 * 3600),
];
/// Upper bound on the causes that are named between two reminders. Some causes have a port or a
/// time in them and are never the same twice.
const CAUSES: usize = 4;

impl Alarm {
    /// It is wrong, because of `why`. `Some` if that is to be said now.
    pub fn raise(&mut self, why: &str, now: Mono) -> Option<Said> {
        self.raise_since(why, now, now)
    }

    /// As [`Alarm::raise`], for what has been wrong since `since` if it is not known yet: a hang is
    /// noticed only after a while.
    pub fn raise_since(&mut self, why: &str, since: Mono, now: Mono) -> Option<Said> {
        let Some(fault) = &mut self.fault else {
            let causes = vec![why.into()];
            let mut fault = Fault {
                since,
                step: 0,
                causes,
            };
            fault.pass(now);
            self.fault = Some(Box::new(fault));
            return Some(Said::Began);
        };
        let is_due = fault.pass(now);
        if is_due {
            fault.causes.clear();
        }
        let is_new = !fault.causes.iter().any(|cause| cause == why);
        if is_new && fault.causes.len() >= CAUSES {
            return None;
        }
        if is_new {
            fault.causes.push(why.into());
        }
        let since = now.since(fault.since);
        is_new.then_some(Said::Still { since })
    }

    /// It is over. `Some` with how long it lasted, if it was wrong at all.
    pub fn clear(&mut self, now: Mono) -> Option<Duration> {
        self.fault.take().map(|fault| now.since(fault.since))
    }

    /// Whether something is wrong.
    pub fn is_raised(&self) -> bool {
        self.fault.is_some()
    }

    /// Since when it has been wrong.
    pub fn since(&self) -> Option<Mono> {
        self.fault.as_ref().map(|fault| fault.since)
    }

    /// The cause that was named last.
    pub fn why(&self) -> Option<&str> {
        let fault = self.fault.as_ref()?;
        fault.causes.last().map(String::as_str)
    }

    /// When it is to be mentioned again.
    pub fn next(&self) -> Option<Mono> {
        self.fault.as_ref().map(|fault| fault.next())
    }

    /// Moves all moments to another process's clock, which shows `by` ms more.
    pub fn shift(&mut self, by: i64) {
        if let Some(fault) = &mut self.fault {
            fault.since.0 = fault.since.0.saturating_add(by);
        }
    }
}

impl Fault {
    fn next(&self) -> Mono {
        let last = REMINDERS.len() - 1;
        let repeats = u32::try_from(self.step.saturating_sub(last)).unwrap_or(u32::MAX);
        self.since + REMINDERS[self.step.min(last)] + REMINDERS[last] * repeats
    }

    /// Passes over the reminders that are due by now: after a long silence one line will do. Gives
    /// whether one was.
    fn pass(&mut self, now: Mono) -> bool {
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

    const MINUTE: i64 = 60_000;

    #[test]
    fn reminders_come_at_growing_intervals_and_never_twice_at_once() {
        let mut alarm = Alarm::default();
        assert_eq!(alarm.raise("full", Mono(0)), Some(Said::Began));
        let minutes: Vec<i64> = (0..60 * 24)
            .filter(|minute| alarm.raise("full", Mono(minute * MINUTE)).is_some())
            .collect();
        assert_eq!(minutes, [1, 5, 15, 60, 360, 720, 1080]);
    }

    #[test]
    fn after_a_long_silence_it_is_said_once() {
        let mut alarm = Alarm::default();
        alarm.raise("full", Mono(0));
        let late = Mono(180 * MINUTE);
        let since = Duration::from_secs(3 * 3600);
        assert_eq!(alarm.raise("full", late), Some(Said::Still { since }));
        assert_eq!(alarm.raise("full", late), None);
    }

    #[test]
    fn another_cause_is_said_at_once_but_two_that_take_turns_are_not_said_each_time() {
        let mut alarm = Alarm::default();
        alarm.raise("refused", Mono(0));
        let since = Duration::from_secs(1);
        assert_eq!(alarm.raise("503", Mono(1_000)), Some(Said::Still { since }));
        let more = (2..59).filter(|second| {
            let why = if second % 2 == 0 { "refused" } else { "503" };
            alarm.raise(why, Mono(second * 1_000)).is_some()
        });
        assert_eq!(more.count(), 0);
        let again = ["503", "refused"].map(|why| alarm.raise(why, Mono(MINUTE)).is_some());
        assert_eq!(again, [true, true]);
    }

    #[test]
    fn causes_that_are_never_the_same_twice_do_not_flood_the_log() {
        let mut alarm = Alarm::default();
        let lines = (0..59_000)
            .filter(|ms| alarm.raise(&format!("port {ms}"), Mono(*ms)).is_some())
            .count();
        assert_eq!(lines, CAUSES);
    }

    #[test]
    fn it_ends_once_and_may_begin_again() {
        let mut alarm = Alarm::default();
        assert_eq!(alarm.clear(Mono(5)), None);
        for start in [10, 20] {
            assert_eq!(alarm.raise("full", Mono(start)), Some(Said::Began));
            assert!(alarm.is_raised() && alarm.why() == Some("full"));
            assert_eq!(alarm.clear(Mono(start + 7)), Some(Duration::from_millis(7)));
            assert_eq!(alarm.clear(Mono(start + 8)), None);
        }
    }

    #[test]
    fn what_is_noticed_late_has_lasted_since_it_began() {
        let mut alarm = Alarm::default();
        assert_eq!(
            alarm.raise_since("hangs", Mono(0), Mono(30_000)),
            Some(Said::Began)
        );
        assert_eq!(alarm.next(), Some(Mono(MINUTE)));
        assert_eq!(alarm.clear(Mono(40_000)), Some(Duration::from_secs(40)));
    }

    #[test]
    fn it_goes_on_in_another_process() {
        let mut alarm = Alarm::default();
        alarm.raise("full", Mono(0));
        alarm.raise("full", Mono(MINUTE));
        let text = serde_json::to_string(&alarm).unwrap();
        let mut alarm: Alarm = serde_json::from_str(&text).unwrap();
        alarm.shift(-MINUTE);
        assert_eq!(alarm.raise("full", Mono(3 * MINUTE)), None);
        assert!(alarm.raise("full", Mono(4 * MINUTE)).is_some());
    }
}
