//! What outlives an engine: in the journal, in the memory, over the opening of everything again.

mod markers;

use super::*;

#[test]
fn what_is_accepted_while_the_share_is_away_is_filed_when_it_is_back() {
    let (mut engine, sent) = started(
        Policy {
            interval: Duration::from_secs(5),
            ..policy()
        },
        &["a"],
    );
    let now = next_scan(&mut engine, 1);
    engine.on(at(now), Input::Scanned(Err("it is away".into())));
    assert!(!files(
        &engine.on(at(now + 1), Input::Delivered(sent[0].file, accepted()))
    ));
    assert!(!files(&engine.on(at(now + 2_000), Input::Tick)));
    // All is opened anew, by an engine that knows what this one knew.
    let past = engine.past(at(now + 3_000));
    let mut engine = Engine::new(policy(), 1, at(now + 3_000));
    assert!(files(&engine.resume(past, at(now + 3_000))));
}

#[test]
fn what_is_filed_by_the_next_engine_is_known_by_its_stamp_for_a_remount_changes_inodes() {
    let mut engine = Engine::new(policy(), 1, at(0));
    engine.on(at(0), Input::Tick);
    let look = Look {
        stamp: Stamp {
            size: 1,
            mtime: Wall(EPOCH + 1),
        },
        ino: 7,
        dev: 8,
        ..Look::default()
    };
    let mut content = Content::default();
    content.files.push(b"a", look);
    let sent = deliveries(engine.on(
        at(0),
        Input::Listed(ListedFolder {
            path: Rel::root(),
            content: Ok(content),
        }),
    ));
    // The share goes, and the journal with it.
    engine.on(at(1), Input::Scanned(Err("it is away".into())));
    let Delivered::Replied {
        verdict,
        reply,
        took,
        ..
    } = accepted()
    else {
        panic!()
    };
    let unwritten = Delivered::Replied {
        verdict,
        reply,
        took,
        journaled: Err("EIO".into()),
        sha256: None,
        look: look_of_sent(),
    };
    engine.on(at(2), Input::Delivered(sent[0].file, unwritten));
    let past = engine.past(at(3));
    let effects = Engine::new(policy(), 1, at(3)).resume(past, at(3));
    let filed = effects.iter().find_map(|effect| {
        if let Effect::File(filing) = effect {
            Some(filing)
        } else {
            None
        }
    });
    let filed = filed.expect("it was accepted");
    assert_eq!(filed.progress, Progress::Unwritten);
    assert_eq!(
        filed.look,
        Look {
            stamp: look.stamp,
            ..Look::default()
        }
    );
}

#[test]
fn a_step_of_the_wall_clock_while_all_is_opened_anew_is_seen() {
    let (engine, _) = started(policy(), &[]);
    let past = engine.past(at(10));
    // An hour ahead; what was written just before seems an hour old.
    let ahead = |mono: i64| Now {
        wall: Wall(at(mono).wall.0 + 3_600_000_000_000),
        ..at(mono)
    };
    let mut engine = Engine::new(
        Policy {
            settle: Settle::For(Duration::from_secs(5)),
            ..policy()
        },
        1,
        ahead(20),
    );
    engine.resume(past, ahead(20));
    engine.on(ahead(21), Input::Tick);
    let stamp = Stamp {
        size: 1,
        mtime: Wall(EPOCH + 1),
    };
    let look = Look {
        stamp,
        ctime: at(9).wall,
        fs: FsKind::Local,
        ..Look::default()
    };
    let mut content = Content::default();
    content.files.push(b"a", look);
    let folder = ListedFolder {
        path: Rel::root(),
        content: Ok(content),
    };
    assert!(deliveries(engine.on(ahead(22), Input::Listed(folder))).is_empty());
}

#[test]
fn a_retry_of_a_version_that_was_copied_does_not_send_the_next_one_again() {
    let (mut engine, sent) = started(
        Policy {
            action: Action::Keep,
            ..policy()
        },
        &["a"],
    );
    let answer = crate::flow::endpoint::reply::Answer {
        status: 400,
        body_matches: true,
        ..Default::default()
    };
    let rejected = Delivered::Replied {
        verdict: Verdict::Rejected,
        reply: Reply::Answer(answer),
        took: Duration::ZERO,
        journaled: Ok(()),
        sha256: None,
        look: look_of_sent(),
    };
    engine.on(at(1), Input::Delivered(sent[0].file, rejected));
    engine.on(
        at(2),
        Input::Filed(
            sent[0].file,
            Filed::Copied {
                to: "dead-letter/a".parse().unwrap(),
            },
        ),
    );
    let listed = |engine: &mut Engine, from: i64| {
        let now = next_scan(engine, from);
        let look = Look {
            stamp: Stamp {
                size: 2,
                mtime: Wall(EPOCH + 9),
            },
            ..Look::default()
        };
        let mut content = Content::default();
        content.files.push(b"a", look);
        (
            now,
            deliveries(engine.on(
                at(now),
                Input::Listed(ListedFolder {
                    path: Rel::root(),
                    content: Ok(content),
                }),
            )),
        )
    };
    let (now, new) = listed(&mut engine, 3);
    assert_eq!(new.len(), 1);
    engine.on(at(now + 1), Input::Delivered(new[0].file, accepted()));
    // `dead-letter retry` fails for the old one, for its place is taken; its line is there all the same.
    engine.on(
        at(now + 2),
        Input::Retries(vec![(sent[0].path.clone(), sent[0].look.stamp, 1)]),
    );
    assert!(
        listed(&mut engine, now + 3).1.is_empty(),
        "it was delivered"
    );
}

#[test]
fn what_an_earlier_process_had_learned_does_not_lie_there_for_as_long_as_this_one_runs() {
    let memory = memory::Memory {
        endpoint: memory::Endpoint {
            brake: 3,
            ..memory::Endpoint::default()
        },
        ..memory::Memory::default()
    };
    let mut engine = Engine::new(policy(), 1, at(0));
    engine.resume(
        Handover {
            memory,
            ..Handover::default()
        },
        at(0),
    );
    engine.on(at(0), Input::Tick);
    engine.on(at(1), Input::Scanned(Ok(())));
    let remembers = |effects: Vec<Effect>| {
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Remember(_)))
    };
    assert!(!remembers(pass(&mut engine, 1, 29_999)));
    assert!(remembers(pass(&mut engine, 29_999, 30_000)));
}

fn once(deadline: i64) -> Policy {
    Policy {
        settle: Settle::For(Duration::from_secs(60)),
        ending: Ending::Once {
            deadline: Mono(deadline),
            no_wait: true,
        },
        ..policy()
    }
}

/// A run of `once --no-wait` that sees one file, with what it leaves, and how it ends.
fn run_once(past: Handover, now: i64) -> (usize, Option<(Finish, memory::Memory)>) {
    let mut engine = Engine::new(once(now + 600_000), 1, at(now));
    engine.resume(past, at(now));
    engine.on(at(now), Input::Tick);
    let mut content = Content::default();
    let look = Look {
        stamp: Stamp {
            size: 1,
            mtime: Wall(EPOCH + 1),
        },
        fs: FsKind::Share,
        ..Look::default()
    };
    content.files.push(b"a", look);
    let mut effects = engine.on(
        at(now),
        Input::Listed(ListedFolder {
            path: Rel::root(),
            content: Ok(content),
        }),
    );
    effects.extend(engine.on(at(now), Input::Scanned(Ok(()))));
    let mut left = None;
    let mut end = None;
    for effect in &effects {
        match effect {
            Effect::Remember(memory) => left = Some(memory.clone()),
            Effect::Finish(how) => end = Some(*how),
            _ => {}
        }
    }
    (deliveries(effects).len(), end.zip(left))
}

#[test]
fn without_waiting_a_file_goes_once_the_looks_of_all_runs_add_up_to_the_settle_time() {
    let clocks = |mono: i64, up: i64| memory::Clocks {
        mono: Mono(mono),
        wall: at(up).wall,
        boot: Some("b".into()),
        up: Some(up),
    };
    let (sent, end) = run_once(Handover::default(), 5);
    let (how, memory) = end.expect("it waits for nothing");
    assert_eq!((sent, how), (0, Finish::Done));
    let text = memory.lines(&clocks(5, 1_000));
    // Each run has a monotonic clock of its own.
    let again = |up: i64| Handover {
        memory: memory::Memory::read(&text, &clocks(7, up)),
        ..Handover::default()
    };
    let (sent, end) = run_once(again(60_999), 7);
    assert_eq!((sent, end.unwrap().0), (0, Finish::Done));
    assert_eq!(run_once(again(61_000), 7).0, 1);
}

#[test]
fn a_run_that_ends_before_its_first_look_is_over_does_not_say_that_all_is_done() {
    for stop in [false, true] {
        let mut engine = Engine::new(once(60_000), 1, at(0));
        engine.on(at(0), Input::Tick);
        let (now, input) = if stop {
            (5, Input::Command(Command::Stop))
        } else {
            (60_000, Input::Tick)
        };
        let end = engine
            .on(at(now), input)
            .into_iter()
            .find_map(|effect| match effect {
                Effect::Finish(how) => Some(how),
                _ => None,
            });
        assert_eq!(end, Some(Finish::Left));
    }
}

#[test]
fn a_condemned_file_that_had_to_stay_is_known_until_it_is_retried() {
    let (mut engine, sent) = started(policy(), &["a"]);
    let answer = crate::flow::endpoint::reply::Answer {
        status: 400,
        body_matches: true,
        ..Default::default()
    };
    let rejected = Delivered::Replied {
        verdict: Verdict::Rejected,
        reply: Reply::Answer(answer),
        took: Duration::ZERO,
        journaled: Ok(()),
        sha256: None,
        look: look_of_sent(),
    };
    engine.on(at(1), Input::Delivered(sent[0].file, rejected));
    engine.on(
        at(2),
        Input::Filed(
            sent[0].file,
            Filed::Copied {
                to: "dead-letter/a".parse().unwrap(),
            },
        ),
    );
    let (path, stamp) = (sent[0].path.clone(), sent[0].look.stamp);
    let look = |engine: &mut Engine, from: i64| {
        let now = next_scan(engine, from);
        let mut content = Content::default();
        content.files.push(b"a", sent[0].look);
        (
            now,
            deliveries(engine.on(
                at(now),
                Input::Listed(ListedFolder {
                    path: Rel::root(),
                    content: Ok(content),
                }),
            )),
        )
    };
    let (now, again) = look(&mut engine, 3);
    assert!(again.is_empty());
    engine.on(at(now), Input::Retries(vec![(path, stamp, 1)]));
    let (_, again) = look(&mut engine, now);
    assert_eq!(again.len(), 1);
    assert_ne!(again[0].key, sent[0].key);
}

#[test]
fn a_version_whose_acceptance_could_not_be_written_has_its_name_though_the_one_before_it_rests() {
    let keep = |config: &mut Config| config.delivered.action = Action::Keep;
    let stamp = |size| Stamp {
        size,
        mtime: Wall(1),
    };
    let acceptance = crate::flow::filing::Acceptance {
        key: "k".into(),
        status: 200,
    };
    let fate = crate::flow::filing::Fate::Accepted(acceptance);
    let path = Rel::new(b"a");
    let journal = kept(&path, stamp(1), None, None);
    let later = crate::flow::filing::Filing {
        file: FileNo::default(),
        path: path.clone(),
        look: Look {
            stamp: stamp(2),
            ..Look::default()
        },
        sha256: None,
        marker: None,
        fate,
        receipt: None,
        progress: Progress::Unwritten,
    };
    let mut engine = engine(keep);
    let past = Handover {
        journal,
        filings: vec![later],
        ..Handover::default()
    };
    engine.resume(past, at(0));
    engine.check();
}

#[test]
fn an_acceptance_that_could_not_be_written_outlives_the_condemnation_of_an_earlier_round() {
    use crate::flow::filing::{Acceptance, Fate, Filing, Reason};
    let (path, stamp) = (
        Rel::new(b"a"),
        Stamp {
            size: 1,
            mtime: Wall(1),
        },
    );
    let reason = Reason {
        reason: "the endpoint answered 422".into(),
        status: Some(422),
        body: Vec::new(),
        attempts: 1,
        first_seen: Wall(1),
        dead_at: Wall(2),
        key: "the first round".into(),
    };
    let condemned = journal::Entry {
        path: path.clone(),
        stamp,
        event: journal::Event::condemned(&reason, None),
    };
    let resumed = |key: &str| {
        let mut journal = journal::Replay::default();
        journal.add(&condemned.line(Wall(3)));
        let accepted = Filing {
            file: FileNo::default(),
            path: path.clone(),
            look: Look {
                stamp,
                ..Look::default()
            },
            sha256: None,
            marker: None,
            fate: Fate::Accepted(Acceptance {
                key: key.into(),
                status: 200,
            }),
            receipt: None,
            progress: Progress::Unwritten,
        };
        let past = Handover {
            journal,
            filings: vec![accepted],
            ..Handover::default()
        };
        let mut engine = Engine::new(policy(), 1, at(0));
        let effects = engine.resume(past, at(0));
        engine.check();
        let filings = effects.into_iter().filter_map(|effect| match effect {
            Effect::File(filing) => Some(filing),
            _ => None,
        });
        filings.collect::<Vec<_>>()
    };
    let filings = resumed("the second round");
    assert_eq!(filings.len(), 1);
    assert!(matches!(filings[0].fate, Fate::Accepted(_)));
    assert_eq!(filings[0].progress, Progress::Unwritten);
}

/// A journal that says of one version that it was delivered and stays.
fn kept(
    path: &Rel,
    stamp: Stamp,
    marker: Option<(u64, i64)>,
    missing: Option<i64>,
) -> journal::Replay {
    let mut replay = journal::Replay::default();
    add_kept(&mut replay, path, stamp, marker, missing);
    replay
}

/// Adds to a journal that one version was delivered and stays.
fn add_kept(
    replay: &mut journal::Replay,
    path: &Rel,
    stamp: Stamp,
    marker: Option<(u64, i64)>,
    missing: Option<i64>,
) {
    let accepted = journal::Event::Accepted {
        key: "k".into(),
        status: 200,
        marker,
        keep: true,
    };
    let missing = missing.map(|since| journal::Event::Missing { since });
    add_events(replay, path, stamp, [accepted].into_iter().chain(missing));
}
