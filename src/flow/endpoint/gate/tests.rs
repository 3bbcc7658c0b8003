use super::*;

const UNREACHED: Verdict = Verdict::Down { reached: false };

fn gate() -> (Gate, Rng) {
    let backoff = Backoff {
        first: Duration::from_secs(1),
        max: Duration::from_secs(60),
    };
    (Gate::new(backoff, Mono(0)), Rng::new(3))
}

fn failure(file: u64, verdict: Verdict) -> Failure {
    Failure {
        file: FileNo(file),
        verdict,
        own_fault: false,
        wait: None,
    }
}

fn fail(gate: &mut Gate, rng: &mut Rng, file: u64, verdict: Verdict, at: i64) -> Change {
    gate.sent(FileNo(file));
    gate.failed(failure(file, verdict), Mono(at), rng)
}

#[test]
fn a_refusal_closes_the_gate_and_an_acceptance_opens_it() {
    for verdict in [
        Verdict::Refused,
        Verdict::Busy,
        Verdict::Down { reached: true },
        UNREACHED,
    ] {
        let (mut gate, mut rng) = gate();
        assert_eq!(fail(&mut gate, &mut rng, 1, verdict, 10), Change::Closed);
        assert!(!gate.is_open() && !gate.admits(FileNo(1), Mono(10)));
        let cleared = gate.accepted(FileNo(2), Mono(60));
        assert_eq!(cleared.closed_for, Some(Duration::from_millis(50)));
        assert!(gate.is_open());
    }
}

#[test]
fn four_files_that_are_to_come_later_leave_it_open_and_the_fifth_closes_it() {
    let (mut gate, mut rng) = gate();
    for file in 1..ROW as u64 {
        for _ in 0..2 {
            let change = fail(&mut gate, &mut rng, file, Verdict::Later, 0);
            assert_eq!(change, Change::None);
        }
    }
    let change = fail(&mut gate, &mut rng, 99, Verdict::Later, 0);
    assert_eq!(change, Change::Closed);
    assert_eq!(gate.lone_suspect(), None, "five have failed");
}

#[test]
fn only_one_probe_goes_in_each_step() {
    let (mut gate, mut rng) = gate();
    fail(&mut gate, &mut rng, 1, UNREACHED, 0);
    let mut at = 0;
    for file in 2..50 {
        let file = FileNo(file);
        let next = gate.next_probe().unwrap();
        assert!(next > Mono(at) && !gate.admits(file, next - Duration::from_millis(1)));
        assert!(gate.admits(file, next));
        gate.sent(file);
        assert!(!gate.admits(file.next(), next + Duration::from_secs(3600)));
        assert_eq!((gate.next_probe(), gate.probing()), (None, Some(file)));
        at = next.0 + 5;
        gate.failed(failure(file.0, UNREACHED), Mono(at), &mut rng);
    }
}

#[test]
fn when_only_one_file_has_failed_another_may_probe_at_once_but_not_that_one() {
    let (mut gate, mut rng) = gate();
    fail(&mut gate, &mut rng, 1, Verdict::Refused, 0);
    assert!(!gate.admits(FileNo(1), Mono(0)) && gate.admits(FileNo(2), Mono(0)));
    gate.sent(FileNo(2));
    let cleared = gate.accepted(FileNo(2), Mono(1));
    assert_eq!(cleared.own_faults, BTreeSet::from([FileNo(1)]));
}

#[test]
fn when_the_second_has_failed_as_well_it_is_the_endpoint() {
    let (mut gate, mut rng) = gate();
    fail(&mut gate, &mut rng, 1, Verdict::Refused, 0);
    fail(&mut gate, &mut rng, 2, Verdict::Refused, 0);
    assert_eq!(gate.lone_suspect(), None);
    assert!(!gate.admits(FileNo(3), Mono(0)));
}

#[test]
fn a_pause_that_the_endpoint_asks_for_is_kept_by_all_files() {
    let (mut gate, mut rng) = gate();
    gate.sent(FileNo(1));
    let busy = Failure {
        wait: Some(Duration::from_secs(9)),
        ..failure(1, Verdict::Busy)
    };
    gate.failed(busy, Mono(0), &mut rng);
    assert!(!gate.admits(FileNo(2), Mono(8_999)) && gate.admits(FileNo(2), Mono(9_000)));
    assert_eq!(gate.lone_suspect(), None);
}

#[test]
fn an_endpoint_that_was_not_reached_is_no_files_fault() {
    let (mut gate, mut rng) = gate();
    fail(&mut gate, &mut rng, 1, UNREACHED, 0);
    assert!(!gate.admits(FileNo(2), Mono(0)));
    let cleared = gate.accepted(FileNo(2), Mono(1));
    assert!(cleared.own_faults.is_empty());
}

#[test]
fn a_file_with_a_fault_of_its_own_does_not_close_the_gate() {
    let (mut gate, mut rng) = gate();
    for (verdict, change) in [
        (Verdict::Refused, Change::None),
        (Verdict::Down { reached: true }, Change::None),
        (UNREACHED, Change::Closed),
    ] {
        let failure = Failure {
            own_fault: true,
            ..failure(1, verdict)
        };
        assert_eq!(gate.failed(failure, Mono(0), &mut rng), change);
    }
}

#[test]
fn retry_after_is_the_least_wait() {
    let (mut gate, mut rng) = gate();
    let busy = Failure {
        wait: Some(Duration::from_secs(100)),
        ..failure(1, Verdict::Busy)
    };
    gate.failed(busy, Mono(0), &mut rng);
    gate.failed(failure(2, Verdict::Busy), Mono(0), &mut rng);
    assert!(gate.next_probe().unwrap() >= Mono(100_000));
}

#[test]
fn the_open_clock_stands_while_the_gate_is_closed() {
    let (mut gate, mut rng) = gate();
    fail(&mut gate, &mut rng, 1, Verdict::Refused, 1_000);
    assert_eq!(gate.open_clock(Mono(9_000)), OpenTime(1_000));
    gate.accepted(FileNo(2), Mono(10_000));
    assert_eq!(gate.open_clock(Mono(10_500)), OpenTime(1_500));
}

#[test]
fn somebody_who_has_mended_something_is_believed_for_one_probe() {
    let (mut gate, mut rng) = gate();
    let busy = Failure {
        wait: Some(Duration::from_secs(3_600)),
        ..failure(1, Verdict::Busy)
    };
    gate.failed(busy, Mono(0), &mut rng);
    assert!(!gate.admits(FileNo(2), Mono(100)));
    gate.hurry(Mono(100));
    assert!(gate.admits(FileNo(2), Mono(100)));
    gate.sent(FileNo(2));
    assert!(!gate.admits(FileNo(3), Mono(100)), "one");
    // It is said again while that one is out: it may have gone before.
    gate.hurry(Mono(150));
    gate.failed(failure(2, Verdict::Busy), Mono(200), &mut rng);
    assert!(gate.admits(FileNo(3), Mono(200)));
    gate.sent(FileNo(3));
    gate.failed(failure(3, Verdict::Busy), Mono(300), &mut rng);
    assert!(!gate.admits(FileNo(4), Mono(300)), "the backoff goes on");
}

#[test]
fn an_earlier_gate_goes_on_with_its_suspect() {
    let (mut gate, mut rng) = gate();
    fail(&mut gate, &mut rng, 1, Verdict::Refused, 1_000);
    let (learned, share) = (gate.learned(Mono(1_500)), gate.share_of(FileNo(1)));
    assert!(share.only && share.row && share.suspect);
    let mut later = self::gate().0;
    later.recall(&learned, Mono(1_500));
    assert_eq!(
        later.lone_suspect(),
        None,
        "nobody knows yet which file it was"
    );
    later.recall_share(FileNo(8), share);
    assert_eq!(later.lone_suspect(), Some(FileNo(8)));
    assert_eq!(later.learned(Mono(1_500)), learned);
    fail(&mut later, &mut rng, 9, UNREACHED, 2_000);
    assert!(later.learned(Mono(2_000)).closed.unwrap().several);
}

#[test]
fn the_memory_of_an_endpoint_that_was_not_reached_is_read() {
    let text = r#"{"open_ms":7,"closed":{"since":1,"step":2,"next":3,"several":false,"reached":false,"asked":false}}"#;
    let learned: GateMemory = serde_json::from_str(text).unwrap();
    let mut gate = gate().0;
    gate.recall(&learned, Mono(0));
    let only = GateShare {
        only: true,
        ..GateShare::default()
    };
    gate.recall_share(FileNo(1), only);
    assert_eq!(gate.lone_suspect(), None);
    assert_eq!(gate.open_clock(Mono(50)), OpenTime(7));
}
