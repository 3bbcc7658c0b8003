//! How a run goes and ends.
//!
//! Invariants:
//! - What was begun to be opened again is never written to by this engine any more, even if a stop
//!   is asked for meanwhile: another process may have the lock.
//! - A run that is finished does nothing more.

use std::time::Duration;

use super::Engine;
use super::files::{ActiveFile, At};
use crate::flow::events::Note;
use crate::flow::filing::Fate;
use crate::flow::messages::{Effect, Finish};
use crate::flow::policy::Ending;
use crate::flow::time::{Mono, Now};

/// How long what is on its way may take after a stop was asked for.
const GRACE_OF_STOP: Duration = Duration::from_secs(10);

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Working,
    /// Everything is about to be opened again: nothing more is handed out.
    Closing,
    /// A stop was asked for: what is on its way may end until then.
    Stopping {
        until: Mono,
        /// It was closing before.
        closing: bool,
    },
    Finished,
}

impl Phase {
    /// Everything is about to be opened again.
    pub fn close(&mut self) {
        *self = match *self {
            Phase::Working | Phase::Closing => Phase::Closing,
            Phase::Stopping { until, .. } => Phase::Stopping {
                until,
                closing: true,
            },
            Phase::Finished => Phase::Finished,
        };
    }

    /// Whether everything is about to be opened again.
    pub fn is_closing(self) -> bool {
        matches!(self, Phase::Closing | Phase::Stopping { closing: true, .. })
    }

    /// Whether anything may be written.
    pub fn may_write(self) -> bool {
        !self.is_closing() && self != Phase::Finished
    }

    /// Until when what is on its way may end, if a stop was asked for.
    pub fn until(self) -> Option<Mono> {
        match self {
            Phase::Stopping { until, .. } => Some(until),
            _ => None,
        }
    }

    /// A stop is asked for. Whether that is news.
    fn stop(&mut self, until: Mono) -> bool {
        let closing = self.is_closing();
        let is_news = matches!(self, Phase::Working | Phase::Closing);
        if is_news {
            *self = Phase::Stopping { until, closing };
        }
        is_news
    }
}

impl Engine {
    /// `once` deals with what is there at its first look.
    pub(super) fn takes_new(&self) -> bool {
        self.policy.ending == Ending::Never || self.scans.completed() == 0
    }

    /// When `once` gives up, unless it is stopping already.
    pub(super) fn deadline(&self) -> Option<Mono> {
        match self.policy.ending {
            Ending::Once { deadline, .. } if self.phase.until().is_none() => Some(deadline),
            _ => None,
        }
    }

    pub(super) fn on_stop(&mut self, now: Now) {
        if self.phase.stop(now.mono + GRACE_OF_STOP) {
            let in_flight = self.in_flight();
            self.note(Note::Stopping { in_flight });
        }
    }

    /// `once` has worked for as long as it may.
    fn on_deadline(&mut self, now: Now) {
        if self.phase.stop(now.mono + GRACE_OF_STOP) {
            let in_flight = self.in_flight();
            self.note(Note::DeadlineOver { in_flight });
        }
    }

    /// Ends the run if it is time.
    pub(super) fn end(&mut self, now: Now) {
        if self.phase == Phase::Finished {
            return;
        }
        if let Ending::Once { deadline, no_wait } = self.policy.ending
            && self.phase.until().is_none()
        {
            self.end_once(deadline, no_wait, now);
        }
        let Some(until) = self.phase.until() else {
            return;
        };
        let in_flight = self.in_flight();
        if in_flight > 0 && now.mono >= until {
            self.note(Note::StoppedEarly { in_flight });
        }
        if in_flight == 0 || now.mono >= until {
            self.finish(Finish::Stopped, now);
        }
    }

    fn end_once(&mut self, deadline: Mono, no_wait: bool, now: Now) {
        let looked = self.scans.completed() > 0;
        // All is done, or all that is left waits for a time or for somebody else.
        let tidies = self.emptied.is_busy() || self.keeping.is_busy(now.mono);
        let is_done = looked && !self.is_left(now) && !tidies;
        let is_idle = looked && self.jobs_out() == 0 && !self.keeping.is_busy(now.mono);
        let is_listing = self.last_listing.is_wanted();
        if self.scans.is_share_away() && (!looked || is_listing) {
            self.finish(Finish::Left, now);
        } else if is_listing && now.mono < deadline {
            // What it shows may still be delivered.
        } else if (is_done || no_wait && is_idle) && self.wants_last_listing() {
            self.begin_last_listing(now);
        } else if is_done {
            self.finish(Finish::Done, now);
        } else if is_idle && (no_wait || self.last_listing.is_over(now.mono)) {
            self.finish(Finish::Stopped, now);
        } else if now.mono >= deadline {
            // What is on its way may end well; nothing new is started.
            self.on_deadline(now);
        }
    }

    /// Whether there are files that are neither delivered nor waiting for their writer; with
    /// `--no-wait` those that settle do not count either.
    fn is_left(&self, now: Now) -> bool {
        let known = self.files.len() - self.files.count(At::Waiting);
        match self.policy.ending {
            Ending::Once { no_wait: true, .. } => {
                let is_due = self.tree.next_due().is_some_and(|due| due <= now.mono);
                let is_late = || self.last_listing.is_left(&self.files);
                is_due || known > self.files.count(At::Settling) || is_late()
            }
            _ => known + self.tree.count().waiting > 0,
        }
    }

    /// How many files are delivered, and not filed away yet.
    pub(super) fn unfiled(&self) -> usize {
        let filings = self.files.iter().filter_map(|(_, it)| it.filing.as_ref());
        let delivered = filings.filter(|filing| matches!(filing.fate, Fate::Accepted(_)));
        delivered.count()
    }

    /// How many versions are known only by the look at the place of one that is being filed: they
    /// have no entry of their own until it is.
    pub(super) fn behind_filings(&self) -> usize {
        let is_hidden = |it: &ActiveFile| it.filing.is_some() && it.has_next && !it.detached;
        self.files.iter().filter(|(_, it)| is_hidden(it)).count()
    }

    fn jobs_out(&self) -> usize {
        self.files.count(At::Inspecting) + self.in_flight()
    }

    fn finish(&mut self, how: Finish, now: Now) {
        let how = match (self.policy.ending, how) {
            (Ending::Never, how) => how,
            (Ending::Once { .. }, _) if self.out.tally.condemned > 0 => Finish::Dead,
            // Before the first look is over nobody knows what is there.
            (Ending::Once { .. }, Finish::Stopped)
                if self.is_left(now) || self.scans.completed() == 0 =>
            {
                Finish::Left
            }
            // What could not be looked at may have been to be delivered.
            (Ending::Once { .. }, _) if !self.scans.is_whole() || self.last_listing.is_wanted() => {
                Finish::Left
            }
            (Ending::Once { .. }, Finish::Stopped) => Finish::Done,
            (Ending::Once { .. }, how) => how,
        };
        let (waiting, (unsettled, _)) = (self.tree.count().waiting, self.tree.tally(now.mono));
        let settling = self.files.count(At::Settling) + unsettled;
        let delivered = self.unfiled();
        let known = self.files.len() + self.behind_filings();
        let all = known + waiting - self.files.count(At::Waiting);
        let left = all - settling - delivered;
        let new = self.last_listing.new_files();
        if self.policy.ending != Ending::Never && all + new > 0 {
            self.note(Note::LeftForNext {
                settling,
                left,
                delivered,
                new,
                is_known: self.endpoint.is_known_to_be_closed() && delivered == 0,
            });
        }
        self.save(true, now);
        self.phase = Phase::Finished;
        self.out.effects.push(Effect::Finish(how));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_does_not_let_a_closing_engine_write_again() {
        let mut phase = Phase::Working;
        assert!(phase.may_write() && !phase.is_closing());
        phase.close();
        assert!(phase.stop(Mono(5)));
        assert!(phase.is_closing() && !phase.may_write());
        assert!(!phase.stop(Mono(9)) && phase.until() == Some(Mono(5)));
        let mut phase = Phase::Working;
        phase.stop(Mono(5));
        assert!(phase.may_write(), "what was accepted is still filed");
        phase.close();
        assert!(!phase.may_write() && phase.until() == Some(Mono(5)));
    }
}
