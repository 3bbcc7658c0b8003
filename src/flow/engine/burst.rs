//! When memory goes back to the system.
//!
//! An allocator keeps what has been freed for what comes next, and glibc's keeps all of it that does not
//! lie at the end of its heap, for as long as the process lives (malloc_trim(3)). So after a burst, when
//! nothing is on its way, it is told to give it back. That costs a millisecond or so, and faults when
//! memory is needed again: it is done for a great many names that were looked at or dealt with, and not
//! often. Nobody is woken for it: scans come round.

use std::time::Duration;

use super::Engine;
use super::files::At;
use crate::flow::messages::Effect;
use crate::flow::time::Mono;

/// So many names make a burst: what fewer of them leave behind is a megabyte or two.
const NAMES: usize = 5_000;
/// Not more often: a folder of so many files may be looked at as a whole every second.
const PAUSE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Burst {
    /// How many names were looked at or dealt with since memory went back.
    names: usize,
    /// When it may go back again.
    next: Mono,
}

impl Burst {
    /// So many names were looked at or dealt with.
    pub fn add(&mut self, names: usize) {
        self.names = self.names.saturating_add(names);
    }

    /// Whether memory is to go back, when nothing is on its way. Says so once for each burst.
    pub fn take_over(&mut self, now: Mono) -> bool {
        let is_over = self.names >= NAMES && now >= self.next;
        if is_over {
            self.names = 0;
            self.next = now + PAUSE;
        }
        is_over
    }
}

impl Engine {
    /// Has memory given back, if a burst is over.
    pub(super) fn end_burst(&mut self, now: Mono) {
        let on_their_way = [At::Inspecting, At::Sending, At::Filing];
        let is_quiet = self.scans.under_way().is_none()
            && on_their_way.iter().all(|&at| self.files.count(at) == 0);
        if is_quiet && self.burst.take_over(now) {
            self.out.effects.push(Effect::GiveMemoryBack);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_back_once_for_each_burst_and_not_again_at_once() {
        let mut burst = Burst::default();
        burst.add(NAMES - 1);
        assert!(!burst.take_over(Mono(0)));
        burst.add(1);
        assert!(burst.take_over(Mono(0)));
        assert!(!burst.take_over(Mono(60_000)), "nothing has happened since");
        burst.add(NAMES);
        assert!(burst.take_over(Mono(60_000)));
        burst.add(NAMES);
        assert!(!burst.take_over(Mono(69_999)));
        assert!(burst.take_over(Mono(70_000)));
    }
}
