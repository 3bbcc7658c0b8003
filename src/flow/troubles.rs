//! When to speak of a trouble that many files have: it is one fault with a beginning, reminders at
//! growing intervals and an end, whatever the number of files.
//!
//! Invariants:
//! - A kind of trouble is said when the first file gets it, and when none has it any more.
//! - In between it is said with the number of files: as an [`Alarm`] is, and when twice as many files
//!   have it as when it was said last, at most every 10 s.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::flow::alarm::{Alarm, Said};
use crate::flow::time::Mono;

/// What is tried in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// To check a file.
    Check,
    /// To open or read a file.
    Read,
    /// To send a file, for a reason that lies here.
    Send,
    /// To get a file accepted, which fails for a reason of its own.
    Deliver,
    /// To move a delivered file away, or delete it.
    Done,
    /// To put a rejected file into dead-letter.
    DeadLetter,
    /// To find it at rest: it changes all the time.
    Settle,
    /// To list a folder.
    List,
    /// To look at what is in a folder.
    Look,
}

/// The interval at which it is said, at most, that more and more files have a trouble.
const GROWN_EVERY: Duration = Duration::from_secs(10);

/// The troubles that files have.
#[derive(Debug, Default)]
pub struct Troubles(BTreeMap<Kind, Having>);

/// The files that have one kind of trouble.
#[derive(Debug)]
struct Having {
    alarm: Alarm,
    /// How many have it now.
    files: usize,
    /// How many had it at a time.
    most: usize,
    /// How many had it when that was said last, and when that was.
    said: (usize, Mono),
}

/// A kind of trouble that files have now.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// What is tried in vain.
    pub kind: Kind,
    /// How many have it.
    pub files: usize,
    /// Since when there has been one.
    pub since: Mono,
    /// The cause that was named last.
    pub cause: &'a str,
}

/// A file has a trouble.
#[derive(Clone, Copy, Debug)]
pub struct Trouble<'a> {
    /// What is tried in vain.
    pub kind: Kind,
    /// What tells one cause from another.
    pub cause: &'a str,
    /// The file did not have it before.
    pub is_new: bool,
    /// It was said of this file before, by another process as it may be.
    pub is_known: bool,
}

/// What is to be said of a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// How many files have it; when it is over, how many had it at a time.
    pub files: usize,
    /// How long there has been such a file.
    pub since: Duration,
}

impl Troubles {
    /// A file has a trouble, still or since now. `Some` if that is to be said.
    pub fn raise(&mut self, trouble: Trouble<'_>, now: Mono) -> Option<Extent> {
        let group = self.0.entry(trouble.kind).or_insert_with(|| Having {
            alarm: Alarm::default(),
            files: 0,
            most: 0,
            said: (0, now),
        });
        if trouble.is_new {
            group.files += 1;
            group.most = group.most.max(group.files);
        }
        let (files, at) = group.said;
        let is_first = !group.alarm.is_raised();
        let has_grown = files > 0 && group.files >= 2 * files && now.since(at) >= GROWN_EVERY;
        let said = if trouble.is_known && !is_first {
            None
        } else {
            group.alarm.raise(trouble.cause, now)
        };
        let is_said = has_grown || said.is_some_and(|_| !trouble.is_known);
        if is_first || is_said {
            group.said = (group.files, now);
        }
        let since = match said {
            Some(Said::Still { since }) => since,
            _ => group
                .alarm
                .since()
                .map_or(Duration::ZERO, |at| now.since(at)),
        };
        is_said.then_some(Extent {
            files: group.files,
            since,
        })
    }

    /// A file that had a trouble has it no more. `Some` if it was the last one.
    pub fn leave(&mut self, kind: Kind, now: Mono) -> Option<Extent> {
        let group = self.0.get_mut(&kind)?;
        group.files = group.files.saturating_sub(1);
        if group.files > 0 {
            return None;
        }
        let mut group = self.0.remove(&kind)?;
        Some(Extent {
            files: group.most,
            since: group.alarm.clear(now)?,
        })
    }

    /// The troubles that there are.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.0.iter().map(|(kind, group)| Group {
            kind: *kind,
            files: group.files,
            since: group.alarm.since().unwrap_or_default(),
            cause: group.alarm.why().unwrap_or_default(),
        })
    }

    /// How many files have a trouble.
    pub fn files(&self, kind: Kind) -> usize {
        self.0.get(&kind).map_or(0, |group| group.files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: Trouble<'_> = Trouble {
        kind: Kind::Read,
        cause: "denied",
        is_new: true,
        is_known: false,
    };
    const STILL: Trouble<'_> = Trouble {
        is_new: false,
        ..DENIED
    };

    #[test]
    fn a_trouble_of_300_files_is_a_few_lines_an_hour_with_their_number_and_one_when_it_is_over() {
        let mut troubles = Troubles::default();
        let mut said = Vec::new();
        for at in 0..300 {
            said.extend(troubles.raise(DENIED, Mono(at)).map(|it| (0, it.files)));
        }
        for minute in 0..60 {
            for second in (1..60).step_by(10) {
                for _ in 0..300 {
                    let now = Mono((minute * 60 + second) * 1_000 + 1_000);
                    said.extend(troubles.raise(STILL, now).map(|it| (minute, it.files)));
                }
            }
        }
        assert_eq!(said, [(0, 1), (0, 300), (1, 300), (5, 300), (15, 300)]);
        let mut over = Vec::new();
        for _ in 0..300 {
            over.extend(troubles.leave(Kind::Read, Mono(3_600_000)));
        }
        let since = Duration::from_secs(3_600);
        assert_eq!(over, [Extent { files: 300, since }]);
        assert_eq!(troubles.files(Kind::Read), 0);
        assert!(
            troubles.raise(DENIED, Mono(4_000_000)).is_some(),
            "it begins again"
        );
    }

    #[test]
    fn more_and_more_files_are_said_when_they_have_doubled_and_not_each_time() {
        let mut troubles = Troubles::default();
        let said = (0..1_000).filter(|at| troubles.raise(DENIED, Mono(at * 50)).is_some());
        assert!((4..=6).contains(&said.count()), "in 50 s");
    }

    #[test]
    fn another_cause_is_said_at_once_but_no_more_than_a_few() {
        let mut troubles = Troubles::default();
        let causes: Vec<String> = (0..50).map(|at| format!("cause {at}")).collect();
        let said = causes.iter().filter(|cause| {
            let trouble = Trouble { cause, ..DENIED };
            troubles.raise(trouble, Mono(0)).is_some()
        });
        assert_eq!(said.count(), 4);
    }

    #[test]
    fn what_another_process_has_said_is_not_said_again_before_its_time() {
        let mut troubles = Troubles::default();
        let known = Trouble {
            is_known: true,
            ..DENIED
        };
        assert_eq!(troubles.raise(known, Mono(0)), None);
        assert_eq!(troubles.raise(known, Mono(100)), None);
        assert!(
            troubles.raise(STILL, Mono(60_000)).is_some(),
            "its time has come"
        );
    }
}
