//! What is known of the endpoint: one gate before it, one brake on condemnations, one alarm.
//!
//! Each method takes what came of one attempt, and gives what is to be said of it. Who calls it
//! need not know in which order gate, brake and alarm are asked.
//!
//! Invariants ([`Endpoint::check`]):
//! - The alarm is raised exactly while the gate is closed.
//! - While the brake holds the gate is closed, and nothing is condemned.
//! - What was learned of an endpoint that is configured otherwise is not believed, but for a brake
//!   that holds.

use std::collections::BTreeSet;

use crate::flow::alarm::{Alarm, Said};
use crate::flow::endpoint::backoff::Backoff;
use crate::flow::endpoint::brake::{Brake, Rejection};
use crate::flow::endpoint::gate::{Change, Failure, Gate};
use crate::flow::endpoint::reply::Answer;
use crate::flow::endpoint::words::{Account, status_and_quote};
use crate::flow::events::Note;
use crate::flow::file::FileNo;
use crate::flow::memory;
use crate::flow::rng::Rng;
use crate::flow::time::Mono;

/// Who rejects, in the log.
const ENDPOINT: &str = "the endpoint";
/// Why a gate is closed that was open when the brake that holds was last seen.
const REJECTED_EVERYTHING: &str =
    "files were rejected one after the other before [send] was changed";

/// See the module.
#[derive(Debug)]
pub(super) struct Endpoint {
    gate: Gate,
    brake: Brake,
    down: Alarm,
    /// Why the gate is closed, in full; empty while it is open.
    why: String,
    /// That it is closed was not said: the one file that has failed may be the cause, and another one is
    /// about to show that.
    unsaid: bool,
    /// This process has said that it is closed.
    said: bool,
    /// Stands for `[send]` and the credentials: what is learned is of this.
    send: String,
}

/// What a report on the endpoint is judged by, beside the report.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub now: Mono,
    pub rng: &'a mut Rng,
    /// How many files wait for the endpoint, for the log.
    pub waiting: usize,
}

/// An acceptance.
#[derive(Debug)]
pub(super) struct Accepted {
    /// These failed before it, and have a fault of their own.
    pub own_faults: BTreeSet<FileNo>,
    /// More is known of the endpoint than that it goes on as before.
    pub is_news: bool,
    pub notes: Vec<Note>,
}

/// A rejection.
#[derive(Debug)]
pub(super) struct Rejected {
    /// The file is condemned; else the endpoint is the suspect, and the file waits for it.
    pub condemns: bool,
    pub notes: Vec<Note>,
}

/// Where a file waits that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// For the endpoint, as all files do.
    AtGate,
    /// By its own clock.
    Alone,
}

impl Endpoint {
    /// One that nothing is known of. `brake`: see [`Brake::new`].
    pub fn new(backoff: Backoff, brake: u32, now: Mono) -> Endpoint {
        Endpoint {
            gate: Gate::new(backoff, now),
            brake: Brake::new(brake),
            down: Alarm::default(),
            why: String::new(),
            unsaid: false,
            said: false,
            send: String::new(),
        }
    }

    /// The gate, to ask who may go.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The brake, to see how it stands.
    pub fn brake(&self) -> &Brake {
        &self.brake
    }

    /// `file` is on its way.
    pub fn sent(&mut self, file: FileNo) {
        self.gate.sent(file);
    }

    /// `file` came back without having asked the endpoint, or is no longer there.
    pub fn untried(&mut self, file: FileNo) {
        self.gate.untried(file);
    }

    /// `file` is another version now: what was known of it does not count.
    pub fn forget(&mut self, file: FileNo) {
        self.gate.forget(file);
    }

    /// `file` was accepted: the gate opens, the brake is released.
    pub fn accepted(&mut self, file: FileNo, scene: &Scene<'_>) -> Accepted {
        let mut notes = Vec::new();
        let was_counting = self.brake.count() > 0;
        let cleared = self.gate.accepted(file, scene.now);
        if let Some(condemned) = self.brake.accepted() {
            notes.push(Note::BrakeReleased {
                by: ENDPOINT,
                condemned,
            });
        }
        self.down.clear(scene.now);
        self.why.clear();
        let was_said = !std::mem::take(&mut self.unsaid);
        if let Some(since) = cleared.closed_for.filter(|_| was_said) {
            // It is one of them itself.
            let waiting = scene.waiting.saturating_sub(1);
            notes.push(Note::GateOpened { since, waiting });
        }
        Accepted {
            own_faults: cleared.own_faults,
            is_news: was_counting || cleared.closed_for.is_some(),
            notes,
        }
    }

    /// `file` was rejected.
    pub fn rejected(&mut self, file: FileNo, answer: &Answer, scene: Scene<'_>) -> Rejected {
        self.gate.probe_failed(file, scene.now, scene.rng);
        let rejection = self.brake.rejected(file);
        let mut notes = Vec::new();
        if rejection == Rejection::CondemnAndBrake {
            notes.push(Note::BrakeHolds {
                files: self.brake.count(),
                by: ENDPOINT,
                why: status_and_quote(answer),
            });
        }
        if self.brake.holds() {
            self.gate.suspect_endpoint(scene.now, scene.rng);
            let rejects = "it rejects everything, the last with";
            let why = Account {
                cause: format!("{rejects} {}", answer.status),
                text: format!("{rejects} {}", status_and_quote(answer)),
            };
            notes.extend(self.alarm(&why, &scene));
        }
        Rejected {
            condemns: rejection != Rejection::Spare,
            notes,
        }
    }

    /// A file was neither accepted nor rejected, because of `why`.
    pub fn failed(
        &mut self,
        failure: Failure,
        why: &Account,
        scene: Scene<'_>,
    ) -> (Waits, Vec<Note>) {
        let change = self.gate.failed(failure, scene.now, scene.rng);
        let waits = if failure.own_fault || self.gate.is_open() {
            Waits::Alone
        } else {
            Waits::AtGate
        };
        // Nobody is woken for the fault of a file of its own. It is said with the next failure, whatever
        // that is of.
        let may_be_its_own = self.gate.lone_suspect().is_some() && scene.waiting > 1;
        let is_unsaid = self.unsaid;
        let mut note = (change == Change::Closed || waits == Waits::AtGate)
            .then(|| self.alarm(why, &scene))
            .flatten();
        if may_be_its_own && !is_unsaid && matches!(note, Some(Note::GateClosed { .. })) {
            (self.unsaid, self.said) = (true, false);
            note = None;
        }
        (waits, note.into_iter().collect())
    }

    /// Nothing could be sent, because of `why`, which lies here and not in `file`.
    pub fn not_sent(&mut self, file: FileNo, why: String, scene: Scene<'_>) -> Option<Note> {
        self.gate.probe_failed(file, scene.now, scene.rng);
        self.gate.suspect_endpoint(scene.now, scene.rng);
        self.alarm(&Account::from(why), &scene)
    }

    /// The gate is closed. Said once, again at growing intervals, and with each new cause.
    fn alarm(&mut self, why: &Account, scene: &Scene<'_>) -> Option<Note> {
        let waiting = scene.waiting;
        self.why.clone_from(&why.text);
        let said = self.down.raise(&why.cause, scene.now);
        let said = match std::mem::take(&mut self.unsaid) {
            true => Said::Began,
            false => said?,
        };
        self.said = true;
        let why = why.text.clone();
        let next = self.gate.next_probe().unwrap_or(scene.now);
        let again_in = next.since(scene.now);
        Some(match said {
            Said::Began => Note::GateClosed {
                why,
                waiting,
                again_in,
            },
            Said::Still { since } => Note::GateStillClosed {
                why,
                waiting,
                since,
                again_in,
            },
        })
    }

    /// Whether nothing but probes goes, and an earlier run has said so while this one had no reason to.
    pub fn is_known_to_be_closed(&self) -> bool {
        !self.gate.is_open() && !self.said && !self.unsaid
    }

    /// Why nothing but probes goes, if that is so.
    pub fn why_closed(&self) -> Option<&str> {
        (!self.gate.is_open()).then_some(self.why.as_str())
    }

    /// Somebody has reason to believe that a fault is mended: one probe goes at once.
    pub fn probe_now(&mut self, now: Mono) {
        self.gate.hurry(now);
    }

    /// `[send]`, or a credential, is another one now: what is learned from now on is of that.
    pub fn set_send(&mut self, send: String) {
        self.send = send;
    }

    /// Goes on with other bounds of the backoff and another limit of the brake.
    pub fn set_bounds(&mut self, backoff: Backoff, brake: u32) {
        self.gate.set_backoff(backoff);
        self.brake.set_limit(brake);
    }

    /// Goes on with another `[send]`: what was learned of the one before counts for nothing, but for a
    /// brake that holds. Gives whether it is another one.
    pub fn change_send(&mut self, send: String) -> bool {
        let is_another = self.send != send;
        if is_another {
            self.set_send(send);
            self.brake.forget();
        }
        is_another
    }

    /// What is worth knowing in the next process; with [`Gate::share_of`] of the files.
    pub fn learned(&self, now: Mono) -> memory::Endpoint {
        memory::Endpoint {
            gate: self.gate.learned(now),
            why: self.why.clone(),
            // What was not said is for the next process to say.
            down: if self.unsaid {
                Alarm::default()
            } else {
                self.down.clone()
            },
            brake: self.brake.count(),
            brake_holds: self.brake.holds(),
            send: Some(self.send.clone()),
            ..memory::Endpoint::default()
        }
    }

    /// Whether what was learned is of the endpoint as it is configured now.
    pub fn is_of_this(&self, learned: &memory::Endpoint) -> bool {
        learned.send.as_ref() == Some(&self.send)
    }

    /// Goes on with what an earlier process has learned. Of another endpoint only a brake that holds
    /// is believed: that files were rejected by whatever it was may lie in the files. `by_hand`: a
    /// person has started this, and may have mended something: one probe goes at once.
    pub fn recall(&mut self, learned: &memory::Endpoint, by_hand: bool, now: Mono) -> Option<Note> {
        let is_of_this = self.is_of_this(learned);
        self.brake.recall(learned.brake, learned.brake_holds);
        if !is_of_this && !self.brake.holds() {
            self.brake.recall(0, false);
        }
        if is_of_this {
            self.gate.recall(&learned.gate, now);
            self.down = learned.down.clone();
        }
        if by_hand {
            self.gate.hurry(now);
        }
        let mut why = learned.why.clone();
        if self.brake.holds() && self.gate.is_open() {
            why = REJECTED_EVERYTHING.into();
            self.gate.close_for_probe(now);
        }
        let Some(closed) = self.gate.learned(now).closed else {
            self.down = Alarm::default();
            return None;
        };
        // Runs that a timer starts say it as one that goes on would: at growing intervals over all of them.
        let cause = self.down.why().unwrap_or(&why).to_owned();
        let said = self.down.raise_since(&cause, closed.since, now);
        self.why.clone_from(&why);
        self.said = said.is_some() || by_hand;
        self.said.then(|| Note::GateRemembered {
            why,
            since: now.since(closed.since),
            again_in: closed.next.since(now),
        })
    }

    /// `file` had this part in the earlier gate.
    pub fn recall_share(&mut self, file: FileNo, share: crate::flow::endpoint::gate::GateShare) {
        self.gate.recall_share(file, share);
    }

    /// Sees that the invariants hold.
    ///
    /// # Panics
    /// If one does not.
    pub fn check(&self) {
        assert_eq!(
            self.down.is_raised(),
            !self.gate.is_open(),
            "the alarm is raised while the gate is closed"
        );
        assert!(
            !self.brake.holds() || !self.gate.is_open(),
            "while the brake holds only probes go"
        );
    }
}

#[cfg(test)]
mod tests;
