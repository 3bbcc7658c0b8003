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
use crate::flow::endpoint::classify::Verdict;
use crate::flow::file::FileNo;
use crate::flow::rng::Rng;
use crate::flow::time::Mono;

/// So many different files that fail in a row close the gate, whatever they fail with.
pub const ROW: usize = 5;

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
    opened_total: Duration,
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
    step: u32,
    /// When the next probe may go.
    next: Mono,
    probing: Option<FileNo>,
    /// The files that failed since it closed, until a second one has.
    only: Option<FileNo>,
    several: bool,
    reached: bool,
    /// The endpoint has asked for a pause.
    asked: bool,
}

/// What a gate has learned, but for the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateMemory {
    /// The open clock (ms).
    pub open_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<GateMemoryClosed>,
}

/// How it is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateMemoryClosed {
    pub since: Mono,
    pub step: u32,
    pub next: Mono,
    pub several: bool,
    pub reached: bool,
    pub asked: bool,
}

/// The part that one file has in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateShare {
    pub row: bool,
    pub suspect: bool,
    /// It alone has failed since the gate closed.
    pub only: bool,
}

/// What a failure did to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    None,
    Closed,
}

impl Gate {
    pub fn new(backoff: Backoff, now: Mono) -> Gate {
        Gate {
            backoff,
            state: State::Open,
            row: BTreeSet::new(),
            suspects: BTreeSet::new(),
            opened_total: Duration::ZERO,
            changed: now,
        }
    }

    /// What is worth knowing in the next process; with [`Gate::part`] of the files.
    pub fn learned(&self, now: Mono) -> GateMemory {
        let open_ms = u64::try_from(self.open_clock(now).as_millis()).unwrap_or(u64::MAX);
        let closed = match &self.state {
            State::Open => None,
            State::Closed(Closed {
                since,
                step,
                next,
                several,
                reached,
                asked,
                ..
            }) => Some(GateMemoryClosed {
                since: *since,
                step: *step,
                next: *next,
                several: *several,
                reached: *reached,
                asked: *asked,
            }),
        };
        GateMemory { open_ms, closed }
    }

    /// Goes on where an earlier gate was.
    pub fn recall(&mut self, learned: &GateMemory, now: Mono) {
        self.opened_total = Duration::from_millis(learned.open_ms);
        self.changed = now;
        if let Some(GateMemoryClosed {
            since,
            step,
            next,
            several,
            reached,
            asked,
        }) = learned.closed.clone()
        {
            let (probing, only) = (None, None);
            self.state = State::Closed(Closed {
                since,
                step,
                next,
                probing,
                only,
                several,
                reached,
                asked,
            });
        }
    }

    /// The part that `file` has in it.
    pub fn part(&self, file: FileNo) -> GateShare {
        let only = matches!(&self.state, State::Closed(closed) if closed.only == Some(file));
        GateShare {
            row: self.row.contains(&file),
            suspect: self.suspects.contains(&file),
            only,
        }
    }

    /// `file` had this part in the earlier gate.
    pub fn recall_part(&mut self, file: FileNo, part: GateShare) {
        if part.row {
            self.row.insert(file);
        }
        if part.suspect {
            self.suspects.insert(file);
        }
        if let (true, State::Closed(closed)) = (part.only, &mut self.state) {
            closed.only.get_or_insert(file);
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// For how long it has been closed.
    pub fn closed_for(&self, now: Mono) -> Option<Duration> {
        match &self.state {
            State::Open => None,
            State::Closed(closed) => Some(now.since(closed.since)),
        }
    }

    /// How long the gate has been open in all: the clock of `retry.give_up_after`.
    pub fn open_clock(&self, now: Mono) -> Duration {
        match self.state {
            State::Open => self.opened_total + now.since(self.changed),
            State::Closed(_) => self.opened_total,
        }
    }

    /// When a probe may go: at once, at a moment, or only after the one that is out is back.
    pub fn next_probe(&self) -> Option<Mono> {
        match &self.state {
            State::Closed(Closed {
                probing: None,
                next,
                ..
            }) => Some(*next),
            _ => None,
        }
    }

    /// Whether `file` may go now.
    pub fn admits(&self, file: FileNo, now: Mono) -> bool {
        match &self.state {
            State::Open => true,
            State::Closed(closed) => {
                closed.probing.is_none()
                    && (now >= closed.next || closed.other_may_probe_at_once(file))
            }
        }
    }

    /// The file, if there is one, that alone failed since the gate closed, so that any
    /// other may probe at once.
    pub fn lone_suspect(&self) -> Option<FileNo> {
        match &self.state {
            State::Closed(closed)
                if !closed.several
                    && closed.reached
                    && !closed.asked
                    && closed.probing.is_none() =>
            {
                closed.only
            }
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
        if let State::Closed(closed) = &mut self.state
            && closed.probing == Some(file)
        {
            closed.probing = None;
        }
        self.forget(file);
    }

    /// `file` is no longer there.
    pub fn forget(&mut self, file: FileNo) {
        self.row.remove(&file);
        self.suspects.remove(&file);
    }

    /// `file` was accepted: the gate opens. Gives the files whose failures were their
    /// own fault, and how long the gate had been closed if it was.
    pub fn accepted(&mut self, file: FileNo, now: Mono) -> (BTreeSet<FileNo>, Option<Duration>) {
        self.row.clear();
        let mut own = std::mem::take(&mut self.suspects);
        own.remove(&file);
        let closed_for = self.closed_for(now);
        if closed_for.is_some() {
            self.state = State::Open;
            self.changed = now;
        }
        (own, closed_for)
    }

    /// `file` failed. `own` says that it is known for a fault of its own; `wait` is what
    /// the endpoint asked for (`Retry-After`).
    pub fn failed(
        &mut self,
        file: FileNo,
        verdict: Verdict,
        own: bool,
        wait: Option<Duration>,
        now: Mono,
        rng: &mut Rng,
    ) -> Change {
        let unreached = verdict == Verdict::Down { reached: false };
        let was_probe = self.end_probe(file);
        if own && !unreached {
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
        match &mut self.state {
            State::Closed(closed) => {
                closed.saw(file, unreached);
                if was_probe {
                    self.step(wait, now, rng);
                } else {
                    self.postpone(wait, now);
                }
                Change::None
            }
            State::Open if closes(verdict) || self.row.len() >= ROW => {
                self.close(now);
                if let State::Closed(closed) = &mut self.state {
                    closed.saw(file, unreached);
                    closed.several |= self.row.len() > 1;
                }
                self.step(wait, now, rng);
                Change::Closed
            }
            State::Open => Change::None,
        }
    }

    /// Closes the gate for a reason that lies in no single file (the brake, credentials
    /// that cannot be read).
    pub fn suspect_endpoint(&mut self, now: Mono, rng: &mut Rng) -> Change {
        if let State::Closed(closed) = &mut self.state {
            closed.several = true;
            return Change::None;
        }
        self.close(now);
        if let State::Closed(closed) = &mut self.state {
            closed.several = true;
        }
        self.step(None, now, rng);
        Change::Closed
    }

    /// Ends the turn of the probe, if `file` is it, and waits for the next step.
    pub fn probe_failed(&mut self, file: FileNo, now: Mono, rng: &mut Rng) {
        if self.end_probe(file) {
            self.step(None, now, rng);
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
            only: None,
            several: false,
            reached: true,
            asked: false,
        });
    }

    fn step(&mut self, wait: Option<Duration>, now: Mono, rng: &mut Rng) {
        if let State::Closed(closed) = &mut self.state {
            let drawn = self.backoff.draw(closed.step, rng);
            closed.next = now + drawn.max(wait.unwrap_or_default());
            closed.asked = wait.is_some();
            closed.step = closed.step.saturating_add(1);
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
    fn saw(&mut self, file: FileNo, unreached: bool) {
        self.reached &= !unreached;
        match self.only {
            None => self.only = Some(file),
            Some(only) if only != file => self.several = true,
            Some(_) => {}
        }
    }

    fn other_may_probe_at_once(&self, file: FileNo) -> bool {
        !self.several && self.reached && !self.asked && self.only.is_some_and(|only| only != file)
    }
}

fn closes(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Refused | Verdict::Busy | Verdict::Down { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> (Gate, Rng) {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
        };
        (Gate::new(backoff, Mono(0)), Rng::new(3))
    }

    fn fail(gate: &mut Gate, rng: &mut Rng, file: FileNo, verdict: Verdict, at: i64) -> Change {
        gate.sent(file);
        gate.failed(file, verdict, false, None, Mono(at), rng)
    }

    #[test]
    fn a_refusal_closes_the_gate_and_an_acceptance_opens_it() {
        for verdict in [
            Verdict::Refused,
            Verdict::Busy,
            Verdict::Down { reached: true },
            Verdict::Down { reached: false },
        ] {
            let (mut gate, mut rng) = gate();
            assert_eq!(fail(&mut gate, &mut rng, 1, verdict, 10), Change::Closed);
            assert!(!gate.is_open() && !gate.admits(1, Mono(10)));
            let (_, closed) = gate.accepted(2, Mono(60));
            assert_eq!(closed, Some(Duration::from_millis(50)));
            assert!(gate.is_open());
        }
    }

    #[test]
    fn four_files_that_are_to_come_later_leave_it_open_and_the_fifth_closes_it() {
        let (mut gate, mut rng) = gate();
        for file in 1..ROW as u64 {
            assert_eq!(
                fail(&mut gate, &mut rng, file, Verdict::Later, 0),
                Change::None
            );
            assert_eq!(
                fail(&mut gate, &mut rng, file, Verdict::Later, 0),
                Change::None
            );
        }
        assert_eq!(
            fail(&mut gate, &mut rng, 99, Verdict::Later, 0),
            Change::Closed
        );
    }

    #[test]
    fn only_one_probe_goes_in_each_step() {
        let (mut gate, mut rng) = gate();
        fail(&mut gate, &mut rng, 1, Verdict::Down { reached: false }, 0);
        let mut at = 0;
        for file in 2..50 {
            let next = gate.next_probe().unwrap();
            assert!(next > Mono(at) && !gate.admits(file, next - Duration::from_millis(1)));
            assert!(gate.admits(file, next));
            gate.sent(file);
            assert!(!gate.admits(file + 1, next + Duration::from_secs(3600)));
            assert_eq!(gate.next_probe(), None);
            at = next.0 + 5;
            gate.failed(
                file,
                Verdict::Down { reached: false },
                false,
                None,
                Mono(at),
                &mut rng,
            );
        }
    }

    #[test]
    fn when_only_one_file_has_failed_another_may_probe_at_once_but_not_that_one() {
        let (mut gate, mut rng) = gate();
        fail(&mut gate, &mut rng, 1, Verdict::Refused, 0);
        assert!(!gate.admits(1, Mono(0)) && gate.admits(2, Mono(0)));
        gate.sent(2);
        let (own, _) = gate.accepted(2, Mono(1));
        assert_eq!(own, BTreeSet::from([1]));
    }

    #[test]
    fn a_pause_that_the_endpoint_asks_for_is_kept_by_all_files() {
        let (mut gate, mut rng) = gate();
        gate.sent(1);
        gate.failed(
            1,
            Verdict::Busy,
            false,
            Some(Duration::from_secs(9)),
            Mono(0),
            &mut rng,
        );
        assert!(!gate.admits(2, Mono(8_999)) && gate.admits(2, Mono(9_000)));
        assert_eq!(gate.lone_suspect(), None);
    }

    #[test]
    fn an_endpoint_that_was_not_reached_is_no_files_fault() {
        let (mut gate, mut rng) = gate();
        fail(&mut gate, &mut rng, 1, Verdict::Down { reached: false }, 0);
        assert!(!gate.admits(2, Mono(0)));
        let (own, _) = gate.accepted(2, Mono(1));
        assert!(own.is_empty());
    }

    #[test]
    fn a_file_with_a_fault_of_its_own_does_not_close_the_gate() {
        let (mut gate, mut rng) = gate();
        assert_eq!(
            gate.failed(1, Verdict::Refused, true, None, Mono(0), &mut rng),
            Change::None
        );
        assert_eq!(
            gate.failed(
                1,
                Verdict::Down { reached: true },
                true,
                None,
                Mono(0),
                &mut rng
            ),
            Change::None
        );
        assert!(gate.is_open());
        assert_eq!(
            gate.failed(
                1,
                Verdict::Down { reached: false },
                true,
                None,
                Mono(0),
                &mut rng
            ),
            Change::Closed
        );
    }

    #[test]
    fn retry_after_is_the_least_wait() {
        let (mut gate, mut rng) = gate();
        gate.failed(
            1,
            Verdict::Busy,
            false,
            Some(Duration::from_secs(100)),
            Mono(0),
            &mut rng,
        );
        gate.failed(2, Verdict::Busy, false, None, Mono(0), &mut rng);
        assert!(gate.next_probe().unwrap() >= Mono(100_000));
    }

    #[test]
    fn the_open_clock_stands_while_the_gate_is_closed() {
        let (mut gate, mut rng) = gate();
        fail(&mut gate, &mut rng, 1, Verdict::Refused, 1_000);
        assert_eq!(gate.open_clock(Mono(9_000)), Duration::from_secs(1));
        gate.accepted(2, Mono(10_000));
        assert_eq!(gate.open_clock(Mono(10_500)), Duration::from_millis(1_500));
    }
}
