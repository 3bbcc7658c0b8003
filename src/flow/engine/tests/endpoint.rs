//! What was learned of the endpoint, and when it is believed.

use super::*;

fn refused(status: u16) -> Delivered {
    let answer = crate::flow::endpoint::reply::Answer {
        status,
        retry_after: Some("3600".into()),
        ..Default::default()
    };
    Delivered::Replied {
        verdict: Verdict::Refused,
        reply: Reply::Answer(answer),
        took: Duration::ZERO,
        journaled: Ok(()),
        sha256: None,
        look: look_of_sent(),
    }
}

/// An engine whose endpoint has refused three files and asked for an hour's pause; when that was.
fn refused_three() -> (Engine, i64) {
    let one = Policy {
        workers: 1,
        ..policy()
    };
    let (mut engine, mut sent) = started(one, &["a", "b", "c"]);
    let mut now = 1;
    for _ in 0..3 {
        let job = sent.pop().expect("a probe");
        turn(&mut engine, now, Input::Delivered(job.file, refused(401)));
        sent = deliveries(idle(&mut engine, now, now + 3_599_999));
        assert!(sent.is_empty(), "an hour's pause");
        now += 3_600_000;
        sent = deliveries(idle(&mut engine, now, now));
    }
    let job = sent.pop().expect("a probe");
    turn(&mut engine, now, Input::Delivered(job.file, refused(401)));
    (engine, now)
}

#[test]
fn a_person_who_asks_and_a_credential_that_changed_each_let_one_probe_go_at_once() {
    let hints = [
        Input::Command(Command::Scan),
        Input::Credentials("another".into()),
    ];
    for hint in hints {
        let (mut engine, now) = refused_three();
        assert!(deliveries(pass(&mut engine, now, now)).is_empty());
        let probes = deliveries(turn(&mut engine, now, hint.clone()));
        assert_eq!(probes.len(), 1, "{hint:?}");
        let failed = Input::Delivered(probes[0].file, refused(401));
        assert!(deliveries(turn(&mut engine, now + 1, failed)).is_empty());
        let quiet = deliveries(idle(&mut engine, now + 1, now + 600_000));
        assert!(quiet.is_empty(), "the backoff goes on");
    }
}

/// What the next process sends at once, with all three files there.
fn sent_by_the_next(ending: Ending, send: &str, by_hand: bool) -> (Vec<Delivery>, Vec<Effect>) {
    let (engine, now) = refused_three();
    let past = Handover {
        memory: engine.past(at(now)).memory,
        send: send.into(),
        by_hand,
        ..Handover::default()
    };
    let mut next = Engine::new(Policy { ending, ..policy() }, 1, at(now));
    let mut effects = next.resume(past, at(now));
    effects.extend(turn(&mut next, now, Input::Tick));
    let files = ["a", "b", "c"].into_iter().zip(1..).map(|(name, mtime)| {
        let stamp = Stamp {
            size: 1,
            mtime: Wall(EPOCH + mtime),
        };
        let look = Look {
            stamp,
            ..Look::default()
        };
        (name, look)
    });
    let files: Vec<(&str, Look)> = files.collect();
    effects.extend(turn(&mut next, now, listed(&files)));
    effects.extend(turn(&mut next, now, Input::Scanned(Ok(()))));
    (deliveries(effects.clone()), effects)
}

#[test]
fn what_was_learned_of_the_endpoint_is_believed_until_something_in_send_changes() {
    let timer = Ending::Once {
        deadline: Mono(i64::MAX),
        no_wait: true,
    };
    assert_eq!(sent_by_the_next(timer, "", false).0.len(), 0);
    let (sent, effects) = sent_by_the_next(timer, "another", false);
    assert_eq!(sent.len(), 2, "as many as there are workers");
    let is_remembered =
        |effect: &Effect| matches!(effect, Effect::Note(Note::GateRemembered { .. }));
    assert!(!effects.iter().any(is_remembered), "it names the old one");
}

#[test]
fn a_start_by_hand_lets_one_probe_go_at_once() {
    let (sent, effects) = sent_by_the_next(Ending::Never, "", true);
    assert_eq!(sent.len(), 1);
    let is_now = |effect: &Effect| matches!(effect, Effect::Note(Note::GateRemembered { again_in, .. }) if again_in.is_zero());
    assert!(effects.iter().any(is_now), "{effects:?}");
}

#[test]
fn with_the_gate_open_one_file_that_waits_after_a_failure_of_its_own_goes_at_once() {
    let (mut engine, sent) = started(policy(), &["a", "b"]);
    for job in &sent {
        engine.files.get_mut(job.file).unwrap().learned.own_fault = true;
        turn(&mut engine, 1, Input::Delivered(job.file, refused(404)));
    }
    assert!(engine.endpoint.gate().is_open());
    assert!(deliveries(pass(&mut engine, 1, 60_000)).is_empty());
    let tried = deliveries(turn(&mut engine, 60_001, Input::Command(Command::Scan)));
    assert_eq!(tried.len(), 1);
    turn(
        &mut engine,
        60_001,
        Input::Delivered(tried[0].file, refused(404)),
    );
    // And so it is after a restart.
    let past = Handover {
        memory: engine.past(at(60_002)).memory,
        by_hand: true,
        ..Handover::default()
    };
    let mut next = Engine::new(policy(), 1, at(60_002));
    next.resume(past, at(60_002));
    turn(&mut next, 60_002, Input::Tick);
    let files = [("a", sent[0].look), ("b", sent[1].look)];
    let tried = deliveries(turn(&mut next, 60_002, listed(&files)));
    assert_eq!(tried.len(), 1);
}

#[test]
fn a_brake_that_holds_outlives_another_configuration() {
    let braked = Policy {
        brake: 2,
        workers: 1,
        ..policy()
    };
    let (mut engine, mut sent) = started(braked.clone(), &["a", "b", "c", "d"]);
    let mut condemned = 0;
    for at in 1..3 {
        let job = sent.pop().expect("one is sent");
        let effects = turn(&mut engine, at, Input::Delivered(job.file, rejected()));
        condemned += usize::from(files(&effects));
        sent = deliveries(effects);
    }
    assert_eq!(condemned, 2);
    let past = Handover {
        memory: engine.past(at(3)).memory,
        send: "another".into(),
        by_hand: true,
        ..Handover::default()
    };
    let mut next = Engine::new(braked, 1, at(3));
    next.resume(past, at(3));
    turn(&mut next, 3, Input::Tick);
    let probes = deliveries(turn(
        &mut next,
        3,
        listed(&[("c", look(1)), ("d", look(2))]),
    ));
    assert_eq!(probes.len(), 1);
    let effects = turn(&mut next, 4, Input::Delivered(probes[0].file, rejected()));
    assert!(!files(&effects), "its rejection condemns nothing");
}

#[test]
fn what_files_did_at_another_endpoint_keeps_none_of_them_waiting_at_this_one() {
    let (mut engine, sent) = started(policy(), &["a", "b"]);
    for job in &sent {
        engine.files.get_mut(job.file).unwrap().learned.own_fault = true;
        turn(&mut engine, 1, Input::Delivered(job.file, refused(404)));
    }
    let tried_by_the_next = |send: &str| {
        let past = Handover {
            memory: engine.past(at(2)).memory,
            send: send.into(),
            ..Handover::default()
        };
        let mut next = Engine::new(policy(), 1, at(2));
        next.resume(past, at(2));
        turn(&mut next, 2, Input::Tick);
        let files = [("a", sent[0].look), ("b", sent[1].look)];
        let tried = deliveries(turn(&mut next, 2, listed(&files)));
        let attempts = next.files.iter().map(|(_, active)| active.learned.attempts);
        assert_eq!(attempts.collect::<Vec<_>>(), [1, 1], "these are counted on");
        tried.len()
    };
    assert_eq!(tried_by_the_next(""), 0);
    assert_eq!(tried_by_the_next("another"), 2);
}

#[test]
fn a_refusal_of_the_credentials_before_the_last_change_keeps_nothing_waiting() {
    let two = Policy {
        workers: 2,
        ..policy()
    };
    let (mut engine, sent) = started(two, &["a", "b"]);
    let [first, late] = &sent[..] else {
        panic!("both are out");
    };
    turn(&mut engine, 1, Input::Delivered(first.file, refused(401)));
    let probe = deliveries(turn(&mut engine, 2, Input::Credentials("another".into())));
    assert_eq!(probe.len(), 1);
    let effects = turn(&mut engine, 3, Input::Delivered(probe[0].file, accepted()));
    assert!(deliveries(effects).is_empty(), "the other one is still out");
    let again = deliveries(turn(
        &mut engine,
        4,
        Input::Delivered(late.file, refused(401)),
    ));
    assert_eq!(again.len(), 1, "it is sent again at once");
    // What the credentials that there are now are told is another matter.
    turn(&mut engine, 5, Input::Delivered(late.file, refused(401)));
    assert!(deliveries(idle(&mut engine, 5, 1_000)).is_empty());
}

#[test]
fn the_number_of_files_that_wait_is_that_of_all_that_are_not_accepted_yet() {
    for inspects in [false, true] {
        let names: Vec<String> = (0..700).map(|at| format!("f{at:03}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let policy = Policy {
            inspects,
            ..policy()
        };
        let mut engine = Engine::new(policy, 1, at(0));
        let mut effects = pass(&mut engine, 0, 0);
        let files: Vec<(&str, Look)> = names.iter().map(|name| (*name, look(0))).collect();
        effects.extend(turn(&mut engine, 0, listed(&files)));
        effects.extend(turn(&mut engine, 0, Input::Scanned(Ok(()))));
        effects.extend(pass(&mut engine, 1, 60_000));
        if inspects {
            let jobs: Vec<FileNo> = effects
                .iter()
                .filter_map(|effect| match effect {
                    Effect::Inspect(job) => Some(job.file),
                    _ => None,
                })
                .collect();
            let good = crate::flow::messages::Inspected::Good { sha256: None };
            effects = turn(&mut engine, 60_001, Input::Inspected(jobs[0], good));
        }
        let job = deliveries(effects).remove(0);
        let effects = turn(
            &mut engine,
            60_002,
            Input::Delivered(job.file, unreachable()),
        );
        let waiting = effects.iter().find_map(|effect| match effect {
            Effect::Note(Note::GateClosed { waiting, .. }) => Some(*waiting),
            _ => None,
        });
        assert_eq!(waiting, Some(700), "inspects: {inspects}");
    }
}
