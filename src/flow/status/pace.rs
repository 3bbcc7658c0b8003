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
}

impl Pace {
    /// When the next one is to be written, if nothing more changes than what `pulse` says.
    pub fn next(&self, pulse: Pulse, now: Mono) -> Mono {
        match self.last {
            None => now,
            Some((at, last)) if last == pulse => at + SIGN_OF_LIFE,
            Some((at, _)) => at + APART,
        }
    }

    /// Whether one is to be written now; then it is taken for written.
    pub fn is_due(&mut self, pulse: Pulse, now: Mono) -> bool {
        let is_due = now >= self.next(pulse, now);
        if is_due {
            self.last = Some((now, pulse));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_written_within_a_second_and_a_sign_of_life_every_twenty() {
        let mut pace = Pace::default();
        assert!(pace.is_due(Pulse(1), Mono(0)), "the first at once");
        assert!(!pace.is_due(Pulse(1), Mono(19_999)));
        assert!(pace.is_due(Pulse(1), Mono(20_000)));
        assert!(!pace.is_due(Pulse(2), Mono(20_999)));
        assert_eq!(pace.next(Pulse(2), Mono(20_999)), Mono(21_000));
        assert!(pace.is_due(Pulse(2), Mono(21_000)));
        assert!(!pace.is_due(Pulse(3), Mono(21_500)));
        assert!(!pace.is_due(Pulse(2), Mono(21_500)), "it is as it was");
    }
}
