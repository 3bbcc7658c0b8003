//! A configuration that changes while the run goes on.

use std::path::Path;

use super::*;
use crate::flow::messages::Settings;
use crate::flow::scan::filter::Filter;

/// What a changed configuration says, with `[send]` as it was.
fn settings(policy: Policy, exclude: &[&str]) -> Settings {
    let config = crate::config::from_dir_and_url(Path::new("/in"), "http://h/").unwrap();
    let mut watch = config.watch;
    watch.exclude = exclude.iter().map(ToString::to_string).collect();
    Settings {
        policy,
        filter: Filter::new(&watch, None, Vec::new()).unwrap(),
        send: String::new(),
        rechecks: false,
    }
}

fn told(engine: &mut Engine, now: i64, settings: Settings) -> Vec<Effect> {
    turn(engine, now, Input::Settings(Box::new(settings)))
}

#[test]
fn what_is_out_ends_and_what_is_no_longer_wanted_is_not_begun_though_a_scan_still_shows_it() {
    let (mut engine, out) = started(policy(), &["a", "b", "c.bak", "d"]);
    let names: Vec<_> = out.iter().map(|job| job.path.to_string()).collect();
    assert_eq!(names, ["a", "b"], "two workers");
    told(&mut engine, 10, settings(policy(), &["*.bak", "a"]));
    let effects = turn(&mut engine, 20, Input::Delivered(out[0].file, accepted()));
    assert!(files(&effects), "what was out is filed as ever");
    let next = deliveries(effects);
    assert_eq!(next[0].path.to_string(), "d");
    // A scan that began before goes by the names that were wanted then.
    let old_scan = listed(&[("c.bak", look(1)), ("d", look(1)), ("e.bak", look(1))]);
    let mut effects = turn(&mut engine, 30, old_scan);
    effects.extend(turn(
        &mut engine,
        40,
        Input::Delivered(out[1].file, accepted()),
    ));
    effects.extend(idle(&mut engine, 50, 5_000));
    assert!(deliveries(effects).is_empty(), "no *.bak");
}

#[test]
fn a_file_that_comes_back_from_the_endpoint_and_is_no_longer_wanted_is_left_alone() {
    let (mut engine, out) = started(policy(), &["a"]);
    told(&mut engine, 10, settings(policy(), &["a"]));
    let mut effects = turn(
        &mut engine,
        20,
        Input::Delivered(out[0].file, unreachable()),
    );
    effects.extend(idle(&mut engine, 30, 100_000));
    assert!(deliveries(effects).is_empty());
    assert_eq!(engine.tally().left, 0);
}

#[test]
fn a_folder_is_looked_at_at_once_and_whole() {
    let (mut engine, _) = started(policy(), &["a"]);
    let effects = told(&mut engine, 10, settings(policy(), &[]));
    let everything = effects
        .iter()
        .any(|effect| matches!(effect, Effect::Scan(order) if order.wanted.everything));
    assert!(everything, "{effects:?}");
}

#[test]
fn what_was_known_of_folders_goes_for_other_names_are_no_sign_that_their_times_do_not_move() {
    let known = || {
        let folders = ["", "sub"].map(|path| (Rel::new(path.as_bytes()), None));
        Box::new(Rounds::expecting(Rewrites::Auto, folders.into_iter()))
    };
    for under_way in [false, true] {
        let mut engine = Engine::new(policy(), 1, at(0));
        turn(&mut engine, 0, Input::Tick);
        if !under_way {
            turn(&mut engine, 1, Input::Rounds(known()));
            turn(&mut engine, 1, Input::Scanned(Ok(())));
        }
        let mut effects = told(&mut engine, 2, settings(policy(), &["*.bak"]));
        if under_way {
            turn(&mut engine, 3, Input::Rounds(known()));
            effects = turn(&mut engine, 3, Input::Scanned(Ok(())));
        }
        let next = scan_order(effects).expect("a scan begins at once");
        assert_eq!(next.rounds.len(), 1, "only the watched folder is known");
        // What that one learns is kept.
        turn(&mut engine, 4, Input::Rounds(known()));
        turn(&mut engine, 4, Input::Command(Command::Scan));
        let effects = turn(&mut engine, 4, Input::Scanned(Ok(())));
        let after = scan_order(effects).expect("it was asked for");
        assert_eq!(after.rounds.len(), 2);
    }
}

#[test]
fn another_settle_time_holds_for_files_in_hand_and_for_those_that_wait_in_their_folders() {
    let seconds = |settle| Policy {
        settle: Settle::For(Duration::from_secs(settle)),
        in_hand: 1,
        workers: 4,
        ..policy()
    };
    for (first, then, due) in [(60, 5, 5_000), (5, 60, 60_000)] {
        let (mut engine, out) = started(seconds(first), &["a", "b"]);
        assert!(out.is_empty(), "they settle");
        let mut sent = deliveries(told(&mut engine, 100, settings(seconds(then), &[])));
        turn(&mut engine, 100, Input::Confirmed);
        turn(&mut engine, 100, Input::Scanned(Ok(())));
        sent.extend(deliveries(idle(&mut engine, 101, due - 1)));
        assert!(sent.is_empty(), "{first} s, then {then} s: not yet");
        // What waits in a folder is timed in steps of 16 ms.
        let sent = deliveries(idle(&mut engine, due, due + 20));
        assert_eq!(sent.len(), 2, "{first} s, then {then} s");
    }
}

#[test]
fn a_shorter_settle_time_does_not_stumble_over_suspicions_that_have_used_up_more() {
    let seconds = |settle| Policy {
        settle: Settle::For(Duration::from_secs(settle)),
        ..policy()
    };
    let mut engine = Engine::new(seconds(60), 1, at(0));
    engine.on(at(0), Input::Tick);
    for time in 0..4 {
        let now = 1_000 + time * 50_000;
        engine.on(at(now), listed(&[("a", look(now))]));
    }
    told(&mut engine, 160_000, settings(seconds(1), &[]));
    engine.on(at(161_000), listed(&[("a", look(161_000))]));
    engine.check();
}

#[test]
fn fewer_workers_are_given_no_more_than_they_can_take() {
    let two = |workers| Policy {
        workers,
        ..policy()
    };
    let (mut engine, out) = started(two(3), &["a", "b", "c", "d", "e"]);
    assert_eq!(out.len(), 3);
    told(&mut engine, 10, settings(two(1), &[]));
    for job in &out[..2] {
        let effects = turn(&mut engine, 20, Input::Delivered(job.file, accepted()));
        assert!(deliveries(effects).is_empty(), "one is still out");
    }
    let effects = turn(&mut engine, 30, Input::Delivered(out[2].file, accepted()));
    assert_eq!(deliveries(effects).len(), 1);
}

#[test]
fn another_endpoint_is_tried_at_once_and_the_same_one_is_not() {
    for (send, tries) in [("", 0), ("another", 1)] {
        let (mut engine, out) = started(policy(), &["a", "b"]);
        for job in &out {
            turn(&mut engine, 10, Input::Delivered(job.file, unreachable()));
        }
        let next = engine.endpoint.gate().next_probe().expect("it is closed");
        assert!(next > Mono(20));
        let settings = Settings {
            send: send.into(),
            ..settings(policy(), &[])
        };
        let sent = deliveries(told(&mut engine, 20, settings));
        assert_eq!(sent.len(), tries, "{send:?}");
    }
}

#[test]
fn what_has_passed_another_check_is_checked_again_and_no_check_is_waited_for_any_more() {
    let checks = |inspects| Policy {
        inspects,
        workers: 1,
        ..policy()
    };
    let inspections = |effects: &[Effect]| {
        let jobs = effects.iter().filter_map(|effect| match effect {
            Effect::Inspect(job) => Some(job.file),
            _ => None,
        });
        jobs.collect::<Vec<_>>()
    };
    let (mut engine, out) = started(checks(false), &["a", "b"]);
    assert_eq!(out.len(), 1);
    let effects = told(&mut engine, 10, settings(checks(true), &[]));
    let first = inspections(&effects);
    assert_eq!(first.len(), 1, "b, which waits for the worker");
    let good = crate::flow::messages::Inspected::Good { sha256: None };
    turn(&mut engine, 20, Input::Inspected(first[0], good));
    let rechecks = Settings {
        rechecks: true,
        ..settings(checks(true), &[])
    };
    assert_eq!(inspections(&told(&mut engine, 30, rechecks)), first);
}

#[test]
fn keys_order_markers_and_what_becomes_of_files_are_those_of_the_start() {
    let (mut engine, _) = started(policy(), &[]);
    let other = Policy {
        key_scope: "another".into(),
        order: SendOrder::Name,
        in_order: true,
        marker: Some(MarkerRule::of_name(".done")),
        action: Action::Delete,
        workers: 7,
        ..policy()
    };
    told(&mut engine, 10, settings(other, &[]));
    let Policy {
        key_scope,
        order,
        in_order,
        marker,
        action,
        workers,
        ..
    } = engine.policy.clone();
    assert_eq!(key_scope, "test");
    assert_eq!((order, in_order, workers), (SendOrder::Arrival, false, 7));
    assert_eq!(marker, None);
    assert_eq!(action, Action::Move);
}

#[test]
fn with_in_order_the_loop_does_not_spin_where_the_file_that_was_due_has_changed() {
    let in_order = Policy {
        order: SendOrder::Mtime,
        in_order: true,
        in_hand: 1,
        workers: 1,
        settle: Settle::For(Duration::from_secs(6)),
        ..policy()
    };
    let file = |mtime: i64| Look {
        stamp: Stamp {
            size: 1,
            mtime: Wall(EPOCH + mtime),
        },
        ..look(mtime)
    };
    let mut engine = Engine::new(in_order, 1, at(0));
    engine.on(at(0), Input::Tick);
    engine.on(
        at(0),
        listed(&[("a", file(1)), ("b", file(2)), ("c", file(3))]),
    );
    engine.on(
        at(2_000),
        listed(&[("a", file(1)), ("b", file(2)), ("c", file(2_000))]),
    );
    engine.on(at(2_000), Input::Scanned(Ok(())));
    engine.on(at(6_000), Input::Tick);
    // `c` was to be due at 8 s.
    engine.on(
        at(7_000),
        listed(&[("a", file(1)), ("b", file(2)), ("c", file(7_000))]),
    );
    for now in [8_000, 8_001, 9_000] {
        engine.on(at(now), Input::Tick);
        let wake = engine.wake_at().expect("c is to be sent");
        assert!(wake > Mono(now), "it would spin at {now}");
    }
}
