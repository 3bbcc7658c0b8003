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
            send: String::new(),
        }
    }

    /// The gate, to ask who may go.
    pub fn gate(&self) -> &Gate {
        &self.gate
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
        if let Some(since) = cleared.closed_for {
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
                why: format!("the endpoint answered {}", answer.status),
            });
        }
        if self.brake.holds() {
            self.gate.suspect_endpoint(scene.now, scene.rng);
            let why = format!("it rejects everything, the last with {}", answer.status);
            notes.extend(self.alarm(why, &scene));
        }
        Rejected {
            condemns: rejection != Rejection::Spare,
            notes,
        }
    }

    /// A file was neither accepted nor rejected, because of `why`.
    pub fn failed(&mut self, failure: Failure, why: &str, scene: Scene<'_>) -> (Waits, Vec<Note>) {
        let change = self.gate.failed(failure, scene.now, scene.rng);
        let waits = if failure.own_fault || self.gate.is_open() {
            Waits::Alone
        } else {
            Waits::AtGate
        };
        let note = (change == Change::Closed || waits == Waits::AtGate)
            .then(|| self.alarm(why.into(), &scene))
            .flatten();
        (waits, note.into_iter().collect())
    }

    /// Nothing could be sent, because of `why`, which lies here and not in `file`.
    pub fn not_sent(&mut self, file: FileNo, why: String, scene: Scene<'_>) -> Option<Note> {
        self.gate.probe_failed(file, scene.now, scene.rng);
        self.gate.suspect_endpoint(scene.now, scene.rng);
        self.alarm(why, &scene)
    }

    /// The gate is closed. Said once, again at growing intervals, and with each new cause.
    fn alarm(&mut self, why: String, scene: &Scene<'_>) -> Option<Note> {
        let waiting = scene.waiting;
        Some(match self.down.raise(&why, scene.now)? {
            Said::Began => {
                let next = self.gate.next_probe().unwrap_or(scene.now);
                Note::GateClosed {
                    why,
                    waiting,
                    again_in: next.since(scene.now),
                }
            }
            Said::Still { since } => Note::GateStillClosed {
                why,
                waiting,
                since,
            },
        })
    }

    /// Somebody has reason to believe that a fault is mended: one probe goes at once.
    pub fn probe_now(&mut self, now: Mono) {
        self.gate.hurry(now);
    }

    /// `[send]`, or a credential, is another one now: what is learned from now on is of that.
    pub fn set_send(&mut self, send: String) {
        self.send = send;
    }

    /// What is worth knowing in the next process; with [`Gate::share_of`] of the files.
    pub fn learned(&self, now: Mono) -> memory::Endpoint {
        memory::Endpoint {
            gate: self.gate.learned(now),
            why: self.down.why().unwrap_or_default().into(),
            down: self.down.clone(),
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
        // In the log of this process it is the beginning.
        let _ = self.down.raise_since(&why, closed.since, now);
        Some(Note::GateRemembered {
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
mod tests {
    use super::*;
    use crate::flow::endpoint::classify::Verdict;
    use std::time::Duration;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(1),
        max: Duration::from_secs(60),
    };

    /// An endpoint with what is needed to report on it.
    struct Bench {
        endpoint: Endpoint,
        rng: Rng,
        now: Mono,
    }

    impl Bench {
        fn new(brake: u32) -> Bench {
            Bench {
                endpoint: Endpoint::new(BACKOFF, brake, Mono(0)),
                rng: Rng::new(1),
                now: Mono(0),
            }
        }

        fn report(&mut self) -> (&mut Endpoint, Scene<'_>) {
            let scene = Scene {
                now: self.now,
                rng: &mut self.rng,
                waiting: 7,
            };
            (&mut self.endpoint, scene)
        }

        fn fail(&mut self, file: u64, own_fault: bool, why: &str) -> (Waits, Vec<Note>) {
            let failure = Failure {
                file: FileNo(file),
                verdict: Verdict::Refused,
                own_fault,
                wait: None,
            };
            let (endpoint, scene) = self.report();
            endpoint.sent(failure.file);
            let failed = endpoint.failed(failure, why, scene);
            self.endpoint.check();
            failed
        }

        fn reject(&mut self, file: u64) -> Rejected {
            let answer = Answer {
                status: 422,
                ..Answer::default()
            };
            let (endpoint, scene) = self.report();
            endpoint.sent(FileNo(file));
            let rejected = endpoint.rejected(FileNo(file), &answer, scene);
            self.endpoint.check();
            rejected
        }

        fn accept(&mut self, file: u64) -> Accepted {
            let (endpoint, scene) = self.report();
            endpoint.sent(FileNo(file));
            let accepted = endpoint.accepted(FileNo(file), &scene);
            self.endpoint.check();
            accepted
        }
    }

    #[test]
    fn a_failure_closes_the_gate_and_says_so_once_and_an_acceptance_opens_it_and_says_that() {
        let mut bench = Bench::new(10);
        let (waits, notes) = bench.fail(1, false, "404");
        assert_eq!(waits, Waits::AtGate);
        assert!(matches!(notes[..], [Note::GateClosed { waiting: 7, .. }]));
        bench.now = Mono(500);
        assert_eq!(bench.fail(2, false, "404"), (Waits::AtGate, vec![]));
        bench.now = Mono(600);
        let accepted = bench.accept(3);
        assert!(accepted.is_news);
        assert_eq!(accepted.own_faults, BTreeSet::from([FileNo(1), FileNo(2)]));
        let since = Duration::from_millis(600);
        let opened = Note::GateOpened { since, waiting: 6 };
        assert_eq!(accepted.notes, [opened]);
        assert!(!bench.accept(4).is_news);
    }

    #[test]
    fn a_file_with_a_fault_of_its_own_waits_alone_and_nothing_is_said_of_the_endpoint() {
        let mut bench = Bench::new(10);
        assert_eq!(bench.fail(1, true, "404"), (Waits::Alone, vec![]));
        assert!(bench.endpoint.gate().is_open());
    }

    #[test]
    fn when_it_rejects_everything_it_is_the_suspect_and_one_sentence_says_so() {
        let mut bench = Bench::new(3);
        for file in 0..2 {
            let Rejected { condemns, notes } = bench.reject(file);
            assert!(condemns && notes.is_empty());
        }
        let Rejected { condemns, notes } = bench.reject(2);
        assert!(condemns);
        assert!(matches!(
            notes[..],
            [Note::BrakeHolds { files: 3, .. }, Note::GateClosed { .. }]
        ));
        // What was on its way then, and the probes.
        for file in 3..6 {
            let Rejected { condemns, notes } = bench.reject(file);
            assert!(!condemns && notes.is_empty(), "{notes:?}");
        }
        let accepted = bench.accept(9);
        assert!(matches!(
            accepted.notes[..],
            [
                Note::BrakeReleased { condemned: 3, .. },
                Note::GateOpened { .. }
            ]
        ));
        assert!(bench.reject(10).condemns);
    }

    #[test]
    fn what_cannot_be_sent_for_a_reason_that_lies_here_closes_the_gate_for_all() {
        let mut bench = Bench::new(10);
        let (endpoint, scene) = bench.report();
        let note = endpoint.not_sent(FileNo(1), "no token".into(), scene);
        assert!(matches!(note, Some(Note::GateClosed { .. })));
        bench.endpoint.check();
        let gate = bench.endpoint.gate();
        assert!(
            !gate.admits(FileNo(2), Mono(0)),
            "it is not that file's fault"
        );
    }

    #[test]
    fn what_is_learned_goes_on_in_the_next_process() {
        let mut bench = Bench::new(3);
        bench.fail(1, false, "404");
        bench.reject(2);
        let learned = bench.endpoint.learned(Mono(100));
        let mut next = Bench::new(3);
        let note = next.endpoint.recall(&learned, false, Mono(100));
        assert!(matches!(note, Some(Note::GateRemembered { why, .. }) if why == "404"));
        next.endpoint.check();
        assert_eq!(next.endpoint.learned(Mono(100)), learned);
        // Somebody has started it, and may have mended something.
        let mut next = Bench::new(3);
        let Some(Note::GateRemembered { why, again_in, .. }) =
            next.endpoint.recall(&learned, true, Mono(100))
        else {
            panic!("it is said");
        };
        assert_eq!((why.as_str(), again_in), ("404", Duration::ZERO));
        next.endpoint.check();
    }

    #[test]
    fn what_is_learned_says_nothing_of_another_endpoint_and_its_name_is_not_said_again() {
        let mut bench = Bench::new(3);
        bench.fail(1, false, "old:1 refuses");
        bench.reject(2);
        let mut learned = bench.endpoint.learned(Mono(100));
        for send in [Some("other".into()), None] {
            learned.send = send;
            let mut next = Bench::new(3);
            assert_eq!(next.endpoint.recall(&learned, true, Mono(100)), None);
            next.endpoint.check();
            assert!(next.endpoint.gate().is_open());
            assert_eq!(next.endpoint.learned(Mono(100)).brake, 0);
        }
    }

    #[test]
    fn a_brake_that_holds_outlives_another_endpoint_and_lets_one_probe_go_that_condemns_nothing() {
        let mut bench = Bench::new(2);
        bench.reject(1);
        bench.reject(2);
        let mut learned = bench.endpoint.learned(Mono(100));
        assert!(learned.brake_holds);
        learned.send = Some("other".into());
        learned.why = "old:1 answered 400".into();
        let mut next = Bench::new(2);
        next.now = Mono(200);
        let note = next.endpoint.recall(&learned, true, Mono(200));
        let Some(Note::GateRemembered { why, again_in, .. }) = note else {
            panic!("{note:?}");
        };
        assert!(!why.contains("old:1") && again_in == Duration::ZERO);
        next.endpoint.check();
        assert!(next.endpoint.gate().admits(FileNo(1), Mono(200)));
        next.endpoint.sent(FileNo(1));
        assert!(!next.endpoint.gate().admits(FileNo(2), Mono(200)), "one");
        assert!(!next.reject(1).condemns);
    }

    #[test]
    fn a_brake_that_holds_by_a_limit_that_was_lowered_lets_one_probe_go() {
        let mut bench = Bench::new(10);
        bench.reject(1);
        bench.reject(2);
        let learned = bench.endpoint.learned(Mono(0));
        let mut next = Bench::new(2);
        assert!(next.endpoint.recall(&learned, true, Mono(5)).is_some());
        next.endpoint.check();
        assert!(next.endpoint.gate().admits(FileNo(1), Mono(5)));
        assert!(!next.reject(1).condemns);
    }
}
