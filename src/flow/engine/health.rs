//! Whether the journal can be written.
//!
//! Invariant: a journal without room for what is in flight is also one that cannot be written, as far
//! as deliveries are concerned ([`Health::check`]).

use crate::flow::alarm::{Alarm, Said};
use crate::flow::events::Note;
use crate::flow::time::Mono;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Health {
    down: Alarm,
    /// There is no room for the lines of more than what is in flight.
    is_full: bool,
    /// How often a line could not be written.
    failures: u64,
}

impl Health {
    /// Whether files may be sent: their acceptances could be written down.
    pub fn is_good(&self) -> bool {
        !self.down.is_raised()
    }

    /// Whether files may be filed away. A line that could not be written is tried again by filing;
    /// a full disk is not to be made fuller.
    pub fn has_room(&self) -> bool {
        !self.is_full
    }

    /// What is wrong with the journal.
    pub fn down(&self) -> &Alarm {
        &self.down
    }

    /// How often a line could not be written until now: what is begun now and succeeds says nothing
    /// of a later failure.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// A line could not be written.
    pub fn failed(&mut self, why: String, now: Mono) -> Option<Note> {
        self.failures += 1;
        Some(match self.down.raise(&why, now)? {
            Said::Began => Note::JournalDown { why },
            Said::Still { since } => Note::JournalStillDown { why, since },
        })
    }

    /// A line was written for something that was begun when so many had failed. With no room that
    /// says nothing: it went into the reserve.
    pub fn written(&mut self, failures: u64, now: Mono) -> Option<Note> {
        if self.is_full || failures != self.failures {
            return None;
        }
        let since = self.down.clear(now)?;
        Some(Note::JournalBack { since })
    }

    /// Whether there is room has changed.
    pub fn room(&mut self, room: Result<(), String>, now: Mono) -> Option<Note> {
        self.is_full = room.is_err();
        match room {
            Ok(()) => self.written(self.failures, now),
            Err(why) => self.failed(why, now),
        }
    }

    /// Sees that the invariant holds.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self) {
        assert!(
            !self.is_full || self.down.is_raised(),
            "a full journal is known to be down"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_line_that_goes_into_the_reserve_does_not_make_a_full_journal_good() {
        let mut health = Health::default();
        assert!(health.room(Err("full".into()), Mono(0)).is_some());
        health.check();
        assert!(!health.is_good() && !health.has_room());
        assert_eq!(health.written(health.failures(), Mono(5)), None);
        assert!(!health.is_good());
        let since = Duration::from_millis(9);
        let back = health.room(Ok(()), Mono(9));
        assert_eq!(back, Some(Note::JournalBack { since }));
        assert!(health.is_good() && health.has_room());
    }

    #[test]
    fn a_line_that_failed_stops_deliveries_until_one_is_written() {
        let mut health = Health::default();
        let why = || String::from("EIO");
        let began = health.failed(why(), Mono(0));
        assert_eq!(began, Some(Note::JournalDown { why: why() }));
        assert_eq!(health.failed(why(), Mono(1_000)), None, "it is said once");
        assert!(!health.is_good() && health.has_room());
        let late = health.written(0, Mono(1_500));
        assert!(
            late.is_none() && !health.is_good(),
            "it was begun before that"
        );
        let failures = health.failures();
        assert!(health.written(failures, Mono(2_000)).is_some());
        assert!(health.is_good() && health.written(failures, Mono(3_000)).is_none());
    }
}
