use super::*;
use crate::flow::endpoint::verdict::Verdict;
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
        let why = why.to_owned().into();
        let failed = endpoint.failed(failure, &why, scene);
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
    assert_eq!(
        (waits, notes),
        (Waits::AtGate, vec![]),
        "it may be the file"
    );
    bench.now = Mono(500);
    let (waits, notes) = bench.fail(2, false, "404");
    assert_eq!(waits, Waits::AtGate);
    assert!(matches!(notes[..], [Note::GateClosed { waiting: 7, .. }]));
    assert_eq!(bench.fail(4, false, "404"), (Waits::AtGate, vec![]));
    bench.now = Mono(600);
    let accepted = bench.accept(3);
    assert!(accepted.is_news);
    assert_eq!(accepted.own_faults, BTreeSet::from([1, 2, 4].map(FileNo)));
    let since = Duration::from_millis(600);
    let opened = Note::GateOpened { since, waiting: 6 };
    assert_eq!(accepted.notes, [opened]);
    assert!(!bench.accept(5).is_news);
}

#[test]
fn nobody_is_told_of_an_endpoint_that_refuses_one_file_and_takes_the_next() {
    let mut bench = Bench::new(10);
    assert_eq!(bench.fail(1, false, "404"), (Waits::AtGate, vec![]));
    assert!(bench.accept(2).notes.is_empty());
    assert!(bench.endpoint.gate().is_open());
}

#[test]
fn that_the_gate_is_closed_is_said_though_the_same_file_fails_again_and_no_other_comes() {
    let mut bench = Bench::new(10);
    assert_eq!(bench.fail(1, false, "404").1, vec![]);
    bench.now = bench.endpoint.gate().next_probe().unwrap();
    let (_, notes) = bench.fail(1, false, "404");
    assert!(matches!(notes[..], [Note::GateClosed { .. }]));
    assert!(matches!(
        bench.accept(1).notes[..],
        [Note::GateOpened { .. }]
    ));
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
    let unsaid = bench.endpoint.learned(Mono(50));
    bench.fail(3, false, "404");
    bench.reject(2);
    let learned = bench.endpoint.learned(Mono(100));
    // Started by a timer it has nothing to add to what was said a moment ago.
    let mut next = Bench::new(3);
    assert_eq!(next.endpoint.recall(&learned, false, Mono(100)), None);
    assert!(next.endpoint.is_known_to_be_closed());
    next.endpoint.check();
    assert_eq!(next.endpoint.learned(Mono(100)), learned);
    for (learned, at) in [(&unsaid, 50), (&learned, 3_600_000)] {
        let mut next = Bench::new(3);
        let note = next.endpoint.recall(learned, false, Mono(at));
        assert!(matches!(note, Some(Note::GateRemembered { why, .. }) if why == "404"));
        assert!(!next.endpoint.is_known_to_be_closed());
        next.endpoint.check();
    }
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
