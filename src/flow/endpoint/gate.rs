//! One gate before the endpoint, for all files.
//!
//! Invariants:
//! - While the gate is closed, at most one file is on its way, the probe, and the next
//!   one goes only when the step of the backoff is over. One exception: where all that
//!   has failed since the gate closed is one single file, and the endpoint was reached,
//!   the file may be the cause, and the first other file may probe at once. Not so where the
//!   endpoint has asked for a pause (`Retry-After`): that is meant for all files.
//! - Any acceptance opens the gate.
//! - What a file with a fault of its own does (it failed before another was accepted)
//!   says nothing of the endpoint, unless the endpoint was not even reached.
//!
//! The gate knows files by their numbers only. It takes the time and the jitter as
//! arguments.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::flow::endpoint::backoff::Backoff;
use crate::flow::endpoint::verdict::Verdict;
use crate::flow::file::FileNo;
use crate::flow::rng::Rng;
use crate::flow::time::Mono;

/// The number of different files that, failing in a row, close the gate, whatever they fail with.
pub const ROW: usize = 5;

/// See the module.
#[derive(Clone, Debug)]
pub struct Gate {
    backoff: Backoff,
    state: State,
    /// Files that failed one after the other, none accepted in between.
    row: BTreeSet<FileNo>,
    /// Files whose last failure may have been their own doing. The next acceptance of
    /// another file decides it.
    suspects: BTreeSet<FileNo>,
    /// How long the gate had been open in all when it last closed or opened.
    opened_total: OpenTime,
    changed: Mono,
}

#[derive(Clone, Debug)]
enum State {
    Open,
    Closed(Closed),
}

#[derive(Clone, Debug)]
struct Closed {
    since: Mono,
    /// The step of the backoff that is next.
    step: u32,
    /// When the next probe may go.
    next: Mono,
    probing: Option<FileNo>,
    /// Another one is to go at once when the one that is out is back.
    hurried: bool,
    suspect: Suspect,
    /// The endpoint has asked for a pause.
    asked: bool,
}

/// Who may be the cause of all that has failed since the gate closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspect {
    /// Nothing has failed that is known of.
    Nobody,
    /// This file alone has failed, and the endpoint was reached.
    File(FileNo),
    /// Several files have failed, or the endpoint was not reached.
    Endpoint,
}

/// Milliseconds on the clock that runs only while the gate is open, over all processes: the
/// clock of `retry.give_up_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpenTime(pub u64);

impl OpenTime {
    /// How much later this is than `earlier`; zero if it is not.
    pub fn since(self, earlier: OpenTime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// What a gate has learned, but for the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateMemory {
    /// The open clock.
    pub open_ms: OpenTime,
    /// How it is closed, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<GateMemoryClosed>,
}

/// How it is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateMemoryClosed {
    /// When it closed.
    pub since: Mono,
    /// The step of the backoff that is next.
    pub step: u32,
    /// When the next probe may go.
    pub next: Mono,
    /// More than one file has failed.
    pub several: bool,
    /// The endpoint was reached each time.
    pub reached: bool,
    /// The endpoint has asked for a pause.
    pub asked: bool,
}

/// The part that one file has in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateShare {
    /// It is one of those that failed in a row.
    pub row: bool,
    /// Its last failure may have been its own doing.
    pub suspect: bool,
    /// It alone has failed since the gate closed.
    pub only: bool,
}

/// A file that was neither accepted nor rejected.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// Which one.
    pub file: FileNo,
    /// What the answer, or its absence, means.
    pub verdict: Verdict,
    /// It is known for a fault of its own.
    pub own_fault: bool,
    /// What the endpoint asked for (`Retry-After`).
    pub wait: Option<Duration>,
}

/// What a failure did to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is as it was.
    None,
    /// It was open, and is closed now.
    Closed,
}

/// What an acceptance shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// The files whose failures were their own fault.
    pub own_faults: BTreeSet<FileNo>,
    /// How long the gate had been closed, if it was.
    pub closed_for: Option<Duration>,
}

impl Gate {
    /// An open one.
    pub fn new(backoff: Backoff, now: Mono) -> Gate {
        Gate {
            backoff,
            state: State::Open,
            row: BTreeSet::new(),
            suspects: BTreeSet::new(),
            opened_total: OpenTime::default(),
            changed: now,
        }
    }

    /// Pauses are drawn between other bounds from the next one on.
    pub fn set_backoff(&mut self, backoff: Backoff) {
        self.backoff = backoff;
    }

    /// What is worth knowing in the next process; with [`Gate::share_of`] of the files.
    pub fn learned(&self, now: Mono) -> GateMemory {
        let closed = match &self.state {
            State::Open => None,
            State::Closed(closed) => Some(GateMemoryClosed {
                since: closed.since,
                step: closed.step,
                next: closed.next,
                several: closed.suspect == Suspect::Endpoint,
                reached: true,
                asked: closed.asked,
            }),
        };
        GateMemory {
            open_ms: self.open_clock(now),
            closed,
        }
    }

    /// Goes on where an earlier gate was.
    pub fn recall(&mut self, learned: &GateMemory, now: Mono) {
        self.opened_total = learned.open_ms;
        self.changed = now;
        if let Some(closed) = &learned.closed {
            let suspect = if closed.several || !closed.reached {
                Suspect::Endpoint
            } else {
                Suspect::Nobody
            };
            self.state = State::Closed(Closed {
                since: closed.since,
                step: closed.step,
                next: closed.next,
                probing: None,
                hurried: false,
                suspect,
                asked: closed.asked,
            });
        }
    }

    /// The part that `file` has in it.
    pub fn share_of(&self, file: FileNo) -> GateShare {
        GateShare {
            row: self.row.contains(&file),
            suspect: self.suspects.contains(&file),
            only: self
                .closed()
                .is_some_and(|closed| closed.suspect == Suspect::File(file)),
        }
    }

    /// `file` had this part in the earlier gate.
    pub fn recall_share(&mut self, file: FileNo, share: GateShare) {
        if share.row {
            self.row.insert(file);
        }
        if share.suspect {
            self.suspects.insert(file);
        }
        if let (true, State::Closed(closed)) = (share.only, &mut self.state)
            && closed.suspect == Suspect::Nobody
        {
            closed.suspect = Suspect::File(file);
        }
    }

    /// Whether all files may go.
    pub fn is_open(&self) -> bool {
        self.closed().is_none()
    }

    /// How long the gate has been open in all.
    pub fn open_clock(&self, now: Mono) -> OpenTime {
        match self.state {
            State::Open => {
                let span = now.since(self.changed).as_millis();
                let span = u64::try_from(span).unwrap_or(u64::MAX);
                OpenTime(self.opened_total.0.saturating_add(span))
            }
            State::Closed(_) => self.opened_total,
        }
    }

    /// Since when it has been closed, if it is.
    pub fn closed_since(&self) -> Option<Mono> {
        self.closed().map(|closed| closed.since)
    }

    /// When a probe may go. `None` while the gate is open, or a probe is out.
    pub fn next_probe(&self) -> Option<Mono> {
        self.closed()
            .filter(|closed| closed.probing.is_none())
            .map(|closed| closed.next)
    }

    /// The file that is out as the probe.
    pub fn probing(&self) -> Option<FileNo> {
        self.closed().and_then(|closed| closed.probing)
    }

    /// Whether `file` may go now.
    pub fn admits(&self, file: FileNo, now: Mono) -> bool {
        let Some(closed) = self.closed() else {
            return true;
        };
        let is_step_over = closed.probing.is_none() && now >= closed.next;
        is_step_over || self.lone_suspect().is_some_and(|suspect| suspect != file)
    }

    /// The file, if there is one, that alone failed since the gate closed, so that any
    /// other may probe at once.
    pub fn lone_suspect(&self) -> Option<FileNo> {
        match self.closed() {
            Some(&Closed {
                suspect: Suspect::File(file),
                asked: false,
                probing: None,
                ..
            }) => Some(file),
            _ => None,
        }
    }

    /// `file` is on its way.
    pub fn sent(&mut self, file: FileNo) {
        if let State::Closed(closed) = &mut self.state {
            closed.probing.get_or_insert(file);
        }
    }

    /// `file` came back without having asked the endpoint (it changed, or is gone).
    pub fn untried(&mut self, file: FileNo) {
        self.end_probe(file);
        self.forget(file);
    }

    /// `file` is no longer there, or is another version.
    pub fn forget(&mut self, file: FileNo) {
        self.row.remove(&file);
        self.suspects.remove(&file);
    }

    /// `file` was accepted: the gate opens.
    pub fn accepted(&mut self, file: FileNo, now: Mono) -> Cleared {
        self.row.clear();
        let mut own_faults = std::mem::take(&mut self.suspects);
        own_faults.remove(&file);
        let closed_for = self.closed().map(|closed| now.since(closed.since));
        if closed_for.is_some() {
            self.state = State::Open;
            self.changed = now;
        }
        Cleared {
            own_faults,
            closed_for,
        }
    }

    /// A file failed.
    pub fn failed(&mut self, failure: Failure, now: Mono, rng: &mut Rng) -> Change {
        let Failure {
            file,
            verdict,
            own_fault,
            wait,
        } = failure;
        let unreached = verdict == Verdict::Down { reached: false };
        let was_probe = self.end_probe(file);
        if own_fault && !unreached {
            // It says nothing of the endpoint, so the step is not used up either; but
            // it had its turn as the probe, and the next waits for the next step.
            if was_probe {
                self.step(wait, now, rng);
            }
            return Change::None;
        }
        if !unreached {
            self.suspects.insert(file);
            self.row.insert(file);
        }
        let was_open = self.is_open();
        if was_open && !closes(verdict) && self.row.len() < ROW {
            return Change::None;
        }
        if was_open {
            self.close(now);
        }
        let is_row = was_open && self.row.len() > 1;
        if let State::Closed(closed) = &mut self.state {
            closed.saw(file);
            if unreached || is_row {
                closed.suspect = Suspect::Endpoint;
            }
        }
        if was_open || was_probe {
            self.step(wait, now, rng);
        } else {
            self.postpone(wait, now);
        }
        if was_open {
            Change::Closed
        } else {
            Change::None
        }
    }

    /// The fault lies in no single file (the brake, credentials that cannot be read): closes the
    /// gate if it is open.
    pub fn suspect_endpoint(&mut self, now: Mono, rng: &mut Rng) {
        let was_open = self.is_open();
        if was_open {
            self.close(now);
        }
        if let State::Closed(closed) = &mut self.state {
            closed.suspect = Suspect::Endpoint;
        }
        if was_open {
            self.step(None, now, rng);
        }
    }

    /// Somebody has reason to believe that the fault is mended: one probe may go at once, whatever the
    /// backoff or the endpoint says. One that is out may have gone before that: then another one.
    pub fn hurry(&mut self, now: Mono) {
        if let State::Closed(closed) = &mut self.state {
            closed.next = closed.next.min(now);
            closed.hurried = closed.probing.is_some();
        }
    }

    /// Closes the gate, if it is open, for all but one probe, which may go at once.
    pub fn close_for_probe(&mut self, now: Mono) {
        if self.is_open() {
            self.close(now);
        }
        if let State::Closed(closed) = &mut self.state {
            closed.suspect = Suspect::Endpoint;
        }
    }

    /// Ends the turn of the probe, if `file` is it, and waits for the next step.
    pub fn probe_failed(&mut self, file: FileNo, now: Mono, rng: &mut Rng) {
        if self.end_probe(file) {
            self.step(None, now, rng);
        }
    }

    fn closed(&self) -> Option<&Closed> {
        match &self.state {
            State::Open => None,
            State::Closed(closed) => Some(closed),
        }
    }

    fn end_probe(&mut self, file: FileNo) -> bool {
        match &mut self.state {
            State::Closed(closed) if closed.probing == Some(file) => {
                closed.probing = None;
                true
            }
            _ => false,
        }
    }

    fn close(&mut self, now: Mono) {
        self.opened_total = self.open_clock(now);
        self.changed = now;
        self.state = State::Closed(Closed {
            since: now,
            step: 0,
            next: now,
            probing: None,
            hurried: false,
            suspect: Suspect::Nobody,
            asked: false,
        });
    }

    fn step(&mut self, wait: Option<Duration>, now: Mono, rng: &mut Rng) {
        if let State::Closed(closed) = &mut self.state {
            let drawn = self.backoff.draw(closed.step, rng);
            closed.next = now + drawn.max(wait.unwrap_or_default());
            closed.asked = wait.is_some();
            closed.step = closed.step.saturating_add(1);
            if std::mem::take(&mut closed.hurried) {
                closed.next = now;
            }
        }
    }

    /// What was on its way when the gate closed can only make the wait longer.
    fn postpone(&mut self, wait: Option<Duration>, now: Mono) {
        if let (State::Closed(closed), Some(wait)) = (&mut self.state, wait) {
            closed.next = closed.next.max(now + wait);
        }
    }
}

impl Closed {
    fn saw(&mut self, file: FileNo) {
        self.suspect = match self.suspect {
            Suspect::Nobody => Suspect::File(file),
            Suspect::File(only) if only == file => Suspect::File(file),
            Suspect::File(_) | Suspect::Endpoint => Suspect::Endpoint,
        };
    }
}

fn closes(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Refused | Verdict::Busy | Verdict::Down { .. }
    )
}

#[cfg(test)]
mod tests;
