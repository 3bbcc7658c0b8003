//! When the status is written: when something has changed, at most once a second, and every 20 s as
//! a sign that the loop turns.

use std::time::Duration;

use crate::flow::time::Mono;

/// The least time between two.
const APART: Duration = Duration::from_secs(1);
/// The longest time between two.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// What a status says, in so far as a change of it is worth a new one. Two that are equal need not be of
/// the same state: a scan alone, or a file that settles, is no reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse(pub u64);

/// When the last one was written, and of what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    last: Option<(Mono, Pulse)>,
    /// Something was seen to have changed since: nothing more needs to be looked at before that is
    /// written.
    has_changed: bool,
}

/// What a [`Pace`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// A status is to be written now.
    pub is_due: bool,
    /// When to ask again, if nothing happens before.
    pub next: Mono,
}

impl Pace {
    /// Whether a status is to be written now; then it is taken for written. `pulse` is asked for only
    /// where it matters: a busy loop turns thousands of times in a second, and one change is enough.
    pub fn turn(&mut self, now: Mono, pulse: impl FnOnce() -> Pulse) -> Turn {
        if let Some((at, _)) = self.last
            && self.has_changed
            && now < at + APART
        {
            return Turn {
                is_due: false,
                next: at + APART,
            };
        }
        let pulse = pulse();
        let next = match self.last {
            None => now,
            Some((at, last)) => {
                self.has_changed |= last != pulse;
                at + if self.has_changed {
                    APART
                } else {
                    SIGN_OF_LIFE
                }
            }
        };
        let is_due = now >= next;
        if is_due {
            self.last = Some((now, pulse));
            self.has_changed = false;
        }
        Turn {
            is_due,
            next: if is_due { now + SIGN_OF_LIFE } else { next },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_written_within_a_second_and_a_sign_of_life_every_twenty() {
        let mut pace = Pace::default();
        let mut turn = |now, pulse| {
            let turn = pace.turn(Mono(now), || Pulse(pulse));
            (turn.is_due, turn.next.0)
        };
        assert_eq!(turn(0, 1), (true, 20_000), "the first at once");
        assert_eq!(turn(19_999, 1), (false, 20_000));
        assert_eq!(turn(20_000, 1), (true, 40_000));
        assert_eq!(turn(20_999, 2), (false, 21_000));
        assert_eq!(turn(21_000, 2), (true, 41_000));
        assert_eq!(turn(23_000, 2), (false, 41_000));
        assert_eq!(turn(23_500, 3), (true, 43_500), "the last is long ago");
    }

    #[test]
    fn within_a_second_one_change_is_looked_for_and_no_more() {
        let mut pace = Pace::default();
        let mut asked = 0;
        for now in 0..1_000 {
            let turn = pace.turn(Mono(now), || {
                asked += 1;
                Pulse(asked)
            });
            assert_eq!(turn.is_due, now == 0);
        }
        assert_eq!(asked, 2);
        assert!(pace.turn(Mono(1_000), || Pulse(2)).is_due);
    }
}
