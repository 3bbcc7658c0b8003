//! `delivered.keep_for`: when it is looked whether anything in `done` is to be removed. Which files
//! these are is decided in [`crate::flow::filing::keeping`].
//!
//! Invariant: no more than one look is under way, and none begins before the first scan is over, by
//! which what an earlier process was moving is known.

use std::time::Duration;

use super::Engine;
use crate::flow::alarm::Alarm;
use crate::flow::events::Note;
use crate::flow::filing::keeping::interval;
use crate::flow::messages::{Effect, Expired};
use crate::flow::time::{Mono, Now};

/// See the module.
#[derive(Debug)]
pub(super) struct Keeping {
    keep_for: Option<Duration>,
    state: State,
    /// How many files this round has removed.
    removed: u64,
    alarm: Alarm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody has looked yet.
    Before,
    /// A look is due then.
    Due(Mono),
    /// One is under way.
    Looking,
}

impl Keeping {
    pub fn new(keep_for: Option<Duration>) -> Keeping {
        Keeping {
            keep_for,
            state: State::Before,
            removed: 0,
            alarm: Alarm::default(),
        }
    }

    /// A scan is over.
    pub fn scanned(&mut self, now: Mono) {
        if self.state == State::Before {
            self.state = State::Due(now);
        }
    }

    /// Whether a round has to be waited for: `once` looks at all that is over.
    pub fn is_busy(&self, now: Mono) -> bool {
        self.keep_for.is_some()
            && match self.state {
                State::Before | State::Looking => true,
                State::Due(at) => at <= now,
            }
    }

    /// When the next look is due.
    pub fn next_due(&self) -> Option<Mono> {
        match self.state {
            State::Due(at) => self.keep_for.and(Some(at)),
            State::Before | State::Looking => None,
        }
    }

    /// Whether a look is to begin now; then it has.
    fn begin_if_due(&mut self, now: Mono) -> bool {
        let is_due = self.next_due().is_some_and(|at| at <= now);
        if is_due {
            self.state = State::Looking;
        }
        is_due
    }

    fn ended(&mut self, expired: Expired, now: Mono) -> Vec<Note> {
        let Some(keep_for) = self.keep_for else {
            return Vec::new();
        };
        let mut notes = Vec::new();
        self.removed += expired.removed;
        if let Some(why) = expired.failed
            && self.alarm.raise(&why, now).is_some()
        {
            notes.push(Note::ExpiryFails { why });
        }
        if expired.more {
            self.state = State::Due(now);
            return notes;
        }
        self.state = State::Due(now + interval(keep_for));
        let files = std::mem::take(&mut self.removed);
        if files > 0 {
            notes.push(Note::Expired { files, keep_for });
        }
        notes
    }
}

impl Engine {
    /// Begins a look at what is in `done` if it is time.
    pub(super) fn begin_expiry(&mut self) {
        if self.keeping.begin_if_due(self.clock.now().mono) {
            self.out.effects.push(Effect::Expire);
        }
    }

    pub(super) fn on_expired(&mut self, expired: Expired, now: Now) {
        let notes = self.keeping.ended(expired, now.mono);
        self.say(notes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_goes_on_until_nothing_more_is_over_and_the_next_one_comes_after_a_while() {
        let hour = Duration::from_secs(3600);
        let mut keeping = Keeping::new(Some(16 * hour));
        assert!(!keeping.begin_if_due(Mono(5)), "not before the first scan");
        assert!(keeping.is_busy(Mono(5)), "once waits for it");
        keeping.scanned(Mono(5));
        assert!(keeping.begin_if_due(Mono(5)) && !keeping.begin_if_due(Mono(6)));
        let some = Expired {
            removed: 2,
            more: true,
            failed: None,
        };
        assert_eq!(keeping.ended(some.clone(), Mono(7)), []);
        assert!(keeping.is_busy(Mono(7)) && keeping.begin_if_due(Mono(7)));
        let last = Expired {
            more: false,
            failed: Some("EACCES".into()),
            ..some
        };
        let said = keeping.ended(last.clone(), Mono(8));
        let why = "EACCES".to_string();
        let (files, keep_for) = (4, 16 * hour);
        assert_eq!(
            said,
            [Note::ExpiryFails { why }, Note::Expired { files, keep_for }]
        );
        assert!(!keeping.is_busy(Mono(8)));
        assert_eq!(keeping.next_due(), Some(Mono(3_600_008)));
        keeping.scanned(Mono(9));
        assert!(!keeping.begin_if_due(Mono(9)));
        assert!(keeping.begin_if_due(Mono(3_600_008)));
        let none = Expired { removed: 0, ..last };
        assert_eq!(
            keeping.ended(none, Mono(3_600_009)).len(),
            1,
            "the same fault, an hour later"
        );
    }

    #[test]
    fn without_a_time_nothing_is_looked_at_and_nothing_waited_for() {
        let mut keeping = Keeping::new(None);
        keeping.scanned(Mono(0));
        assert!(!keeping.is_busy(Mono(0)) && !keeping.begin_if_due(Mono(9)));
    }
}
