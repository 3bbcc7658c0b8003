//! How a run ends, and what is said at growing intervals.

use super::files::State;
use super::{Ending, Engine, GRACE_OF_STOP, HANG};
use crate::flow::events::Note;
use crate::flow::messages::{Effect, Finish};
use crate::flow::time::{Mono, Now};

impl Engine {
    /// `once` deals with what is there at its first look.
    pub(super) fn takes_new(&self) -> bool {
        self.policy.ending == Ending::Never || self.scan.completed == 0
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        match self.policy.ending {
            Ending::Once { deadline, .. } if self.stop.is_none() => Some(deadline),
            _ => None,
        }
    }

    pub(super) fn on_stop(&mut self, now: Now) {
        if self.stop.is_none() {
            self.stop = Some(now.mono + GRACE_OF_STOP);
            let in_flight = self.in_flight();
            self.note(Note::Stopping { in_flight });
        }
    }

    /// Ends the run if it is time.
    pub(super) fn end(&mut self, now: Now) {
        if self.finished {
            return;
        }
        if let Some(until) = self.stop {
            let in_flight = self.in_flight();
            if in_flight == 0 {
                self.finish(Finish::Stopped, now);
            } else if now.mono >= until {
                self.note(Note::StoppedEarly { in_flight });
                self.finish(Finish::Stopped, now);
            }
            return;
        }
        let Ending::Once { deadline, no_wait } = self.policy.ending else {
            return;
        };
        let looked = self.scan.completed > 0;
        if self.share_trouble.is_raised() && !looked {
            self.finish(Finish::Left, now);
        } else if looked && self.left() == 0 {
            self.finish(Finish::Done, now);
        } else if looked && no_wait && self.jobs_out() == 0 {
            // All that is left waits for a time or for somebody else.
            self.finish(Finish::Stopped, now);
        } else if now.mono >= deadline {
            // What is on its way may end well; nothing new is started.
            self.on_stop(now);
            self.end(now);
        }
    }

    /// How many files are neither delivered nor waiting for their writer; with `--no-wait`
    /// those that settle are such as well.
    fn left(&self) -> usize {
        let settling = match self.policy.ending {
            Ending::Once { no_wait: true, .. } => self.motions.count(State::Settling),
            _ => 0,
        };
        self.motions.len() - self.motions.count(State::Waiting) - settling
    }

    fn jobs_out(&self) -> usize {
        self.motions.count(State::Inspecting)
            + self.motions.count(State::Sending)
            + self.motions.being_filed()
    }

    fn finish(&mut self, how: Finish, now: Now) {
        let how = match (self.policy.ending, how) {
            (Ending::Never, how) => how,
            (Ending::Once { .. }, _) if self.tally.condemned > 0 => Finish::Dead,
            // Before the first look is over nobody knows what is there.
            (Ending::Once { .. }, Finish::Stopped)
                if self.left() > 0 || self.scan.completed == 0 =>
            {
                Finish::Left
            }
            (Ending::Once { .. }, Finish::Stopped) => Finish::Done,
            (Ending::Once { .. }, how) => how,
        };
        let settling = self.motions.count(State::Settling);
        let left = self.motions.len() - self.motions.count(State::Waiting) - settling;
        if self.policy.ending != Ending::Never && settling + left > 0 {
            self.note(Note::LeftForNext { settling, left });
        }
        self.save(true, now);
        self.finished = true;
        self.effects.push(Effect::Finish(how));
    }

    /// Says again what is still wrong.
    pub(super) fn remind(&mut self, now: Now) {
        if self.scan.running.is_some() {
            let since = now.mono.since(self.scan.heard);
            if since >= HANG && self.doubt.is_none() {
                self.doubt = Some(self.scan.number);
            }
            let heard = self.scan.heard;
            let mut is_said = || self.scan.hangs.raise_since("", heard, now.mono).is_some();
            if since >= HANG && is_said() {
                self.note(Note::ScanHangs { since });
            }
        }
    }
}
