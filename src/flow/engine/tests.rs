//! What the simulation does not look at: that the engine asks to be woken for a reason.

use std::time::Duration;

use super::*;
use crate::config::{Action, Config, Empty, Settle};
use crate::flow::endpoint::backoff::Backoff;
use crate::flow::endpoint::classify::Verdict;
use crate::flow::endpoint::reply::{Failure, FailureKind, Reply};
use crate::flow::file::{FsKind, Look};
use crate::flow::filing::{Filed, Move, Progress};
use crate::flow::memory;
use crate::flow::messages::{Closing, Content, Delivered, Finish, ListedFolder};
use crate::flow::time::Wall;

fn engine(tune: impl Fn(&mut Config)) -> Engine {
    let mut config =
        crate::config::from_dir_and_url(std::path::Path::new("/in"), "http://h/").unwrap();
    config.ready.settle = Settle::For(Duration::ZERO);
    tune(&mut config);
    Engine::new(Policy::new(&config, "id", Ending::Never), 1, at(0))
}

fn at(mono: i64) -> Now {
    after_sleep(mono, 0)
}

/// As [`at`], for a machine that has slept for so long (ms) before.
fn after_sleep(mono: i64, slept: i64) -> Now {
    Now {
        mono: Mono(mono),
        wall: Wall((1_000_000 + mono + slept) * 1_000_000),
        up: Some(500_000 + mono + slept),
    }
}

/// One turn. The lock is always ours.
fn turn(engine: &mut Engine, now: i64, input: Input) -> Vec<Effect> {
    let mut effects = engine.on(at(now), input);
    if effects
        .iter()
        .any(|effect| matches!(effect, Effect::Confirm))
    {
        effects.extend(engine.on(at(now), Input::Confirmed));
        effects.extend(engine.on(at(now), Input::Scanned(Ok(()))));
    }
    engine.check();
    effects
}

/// Lets time pass as the loop does: with a turn whenever the engine wants one.
fn pass(engine: &mut Engine, from: i64, until: i64) -> Vec<Effect> {
    let (mut now, mut all) = (from, Vec::new());
    loop {
        all.extend(turn(engine, now, Input::Tick));
        if now >= until {
            return all;
        }
        let wake = engine.wake_at().map_or(until, |wake| wake.0.min(until));
        now = wake.max(now + 1);
    }
}

/// What the files look like that [`scan`] finds.
fn look_of_sent() -> Look {
    let stamp = Stamp {
        size: 1,
        mtime: Wall(1),
    };
    Look {
        stamp,
        fs: FsKind::Share,
        ..Look::default()
    }
}

/// As [`pass`], with scans that show nothing new.
fn idle(engine: &mut Engine, from: i64, until: i64) -> Vec<Effect> {
    let (mut now, mut all) = (from, Vec::new());
    loop {
        let effects = pass(engine, now, now);
        if effects.iter().any(|effect| matches!(effect, Effect::Scan)) {
            all.extend(turn(engine, now, Input::Confirmed));
            all.extend(turn(engine, now, Input::Scanned(Ok(()))));
        }
        all.extend(effects);
        if now >= until {
            return all;
        }
        let wake = engine.wake_at().map_or(until, |wake| wake.0.min(until));
        now = wake.max(now + 1);
    }
}

/// A scan that finds these files; what is to be delivered.
fn scan(engine: &mut Engine, now: Now, names: &[&str]) -> Vec<Delivery> {
    let mut content = Content::default();
    for name in names {
        let look = look_of_sent();
        content.files.push(name.as_bytes(), look.stamp);
        content.looks.push(look);
    }
    let mut effects = engine.on(
        now,
        Input::Listed(ListedFolder {
            path: Rel::root(),
            content: Ok(content),
        }),
    );
    effects.extend(engine.on(now, Input::Scanned(Ok(()))));
    deliveries(effects)
}

fn deliveries(effects: Vec<Effect>) -> Vec<Delivery> {
    effects
        .into_iter()
        .filter_map(|effect| {
            if let Effect::Deliver(job) = effect {
                Some(job)
            } else {
                None
            }
        })
        .collect()
}

fn unreachable() -> Delivered {
    let failure = Failure {
        kind: FailureKind::Connect,
        detail: "refused".into(),
    };
    Delivered::Replied {
        verdict: Verdict::Down { reached: false },
        reply: Reply::Failed(failure),
        took: Duration::ZERO,
        journaled: Ok(()),
        sha256: None,
        look: look_of_sent(),
    }
}

#[test]
fn with_all_workers_busy_a_probe_that_is_due_does_not_wake_it_again_and_again() {
    let mut engine = engine(|config| config.send.workers = 2);
    engine.on(at(0), Input::Tick);
    let jobs = scan(&mut engine, at(1), &["a", "b", "c", "d"]);
    assert_eq!(jobs.len(), 2);
    // One fails: the gate closes. The other hangs, and the probe takes the free worker.
    engine.on(at(2), Input::Delivered(jobs[0].file, unreachable()));
    let probe = engine.wake_at().unwrap();
    let jobs = deliveries(engine.on(at(probe.0), Input::Tick));
    assert_eq!(jobs.len(), 1);
    let wake = engine.wake_at().unwrap();
    assert!(wake > Mono(probe.0), "{wake:?}");
}

#[test]
fn whatever_it_waits_for_it_never_asks_to_be_woken_in_the_past() {
    let mut engine = engine(|config| config.send.workers = 1);
    engine.on(at(0), Input::Tick);
    let mut job = scan(&mut engine, at(1), &["a", "b"]).pop();
    let mut now = 1;
    for _ in 0..500 {
        if let Some(job) = job.take() {
            engine.on(at(now), Input::Delivered(job.file, unreachable()));
        }
        let wake = engine.wake_at().unwrap();
        assert!(wake.0 > now, "at {now} it wants to be woken at {wake:?}");
        now = wake.0;
        for effect in engine.on(at(now), Input::Tick) {
            match effect {
                Effect::Deliver(delivery) => job = Some(delivery),
                Effect::Scan => drop(engine.on(at(now), Input::Scanned(Err("away".into())))),
                _ => {}
            }
        }
        if now % 3 == 0 {
            engine.on(at(now), Input::Scanned(Ok(())));
        }
    }
}

#[test]
fn one_scan_that_hung_for_a_while_does_not_put_off_the_next_for_minutes_but_slow_ones_do() {
    let mut engine = engine(|config| config.watch.interval = Duration::from_secs(5));
    engine.on(at(0), Input::Tick);
    engine.on(at(10), Input::Scanned(Ok(())));
    pass(&mut engine, 5_000, 30_000);
    turn(&mut engine, 30_000, Input::Scanned(Ok(())));
    let next = engine.wake_at().unwrap();
    assert!(next <= Mono(30_000 + 4_000), "{next:?}");
    // A folder that always takes 10 s is looked at a quarter of the time.
    let (mut now, mut rest) = (next.0, 0);
    for _ in 0..7 {
        pass(&mut engine, now, now + 10_000);
        turn(&mut engine, now + 10_000, Input::Scanned(Ok(())));
        let next = engine.wake_at().unwrap().0;
        rest = next - (now + 10_000);
        now = next;
    }
    assert_eq!(rest, 30_000);
}

fn policy() -> Policy {
    Policy {
        interval: Duration::from_secs(1000),
        max_share: 0.25,
        settle: Settle::For(Duration::ZERO),
        marker: false,
        empty: Empty::Send,
        min_size: None,
        max_size: None,
        inspects: false,
        sees_end: false,
        grace: Duration::from_secs(5),
        workers: 2,
        in_order: false,
        brake: 10,
        backoff: Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
        },
        give_up_after: None,
        action: Action::Move,
        remember: Duration::from_secs(86_400),
        key_scope: "test".into(),
        ending: Ending::Never,
    }
}

/// An engine that has seen `names`, and what it handed out.
fn started(policy: Policy, names: &[&str]) -> (Engine, Vec<Delivery>) {
    let mut engine = Engine::new(policy, 1, at(0));
    engine.on(at(0), Input::Tick);
    let mut content = Content::default();
    for (number, name) in names.iter().enumerate() {
        let look = Look {
            stamp: Stamp {
                size: 1,
                mtime: Wall(1 + number as i64),
            },
            ..Look::default()
        };
        content.files.push(name.as_bytes(), look.stamp);
        content.looks.push(look);
    }
    let mut effects = engine.on(
        at(0),
        Input::Listed(ListedFolder {
            path: Rel::root(),
            content: Ok(content),
        }),
    );
    effects.extend(engine.on(at(0), Input::Scanned(Ok(()))));
    let sent = effects.into_iter().filter_map(|effect| match effect {
        Effect::Deliver(job) => Some(job),
        _ => None,
    });
    (engine, sent.collect())
}

#[test]
fn while_the_head_of_the_line_waits_a_probe_that_is_due_wakes_nobody() {
    let policy = Policy {
        in_order: true,
        workers: 1,
        ..policy()
    };
    let (mut engine, sent) = started(policy, &["a", "b"]);
    let (head, mut now) = (sent[0].file, 0);
    // It has a fault of its own, and waits by its own clock; then the endpoint goes.
    engine.files.get_mut(head).unwrap().learned.own_fault = true;
    for _ in 0..8 {
        let effects = engine.on(at(now), Input::Delivered(head, unreachable()));
        assert!(
            !effects
                .iter()
                .any(|effect| matches!(effect, Effect::Deliver(_)))
        );
        for _ in 0..100 {
            let next = engine.wake_at().unwrap().0;
            assert!(next > now, "it would spin at {now}");
            now = next;
            if engine
                .on(at(now), Input::Tick)
                .iter()
                .any(|effect| matches!(effect, Effect::Deliver(_)))
            {
                break;
            }
        }
    }
}

#[test]
fn filing_that_failed_after_the_rename_goes_on_from_there() {
    let (mut engine, sent) = started(policy(), &["a"]);
    engine.on(at(1), Input::Delivered(sent[0].file, accepted()));
    let moving = Progress::Moving(Move {
        to: "done/a".parse().unwrap(),
        copy_of: Some("staging/d".parse().unwrap()),
    });
    let failed = Filed::Failed {
        why: "full".into(),
        journal: false,
        progress: moving.clone(),
        left: true,
    };
    engine.on(at(2), Input::Filed(sent[0].file, failed));
    let effects = engine.on(at(engine.wake_at().map_or(3, |wake| wake.0)), Input::Tick);
    let again = effects
        .iter()
        .any(|effect| matches!(effect, Effect::File(filing) if filing.progress == moving));
    assert!(again, "{effects:?}");
}

#[test]
fn the_trouble_with_a_folder_that_is_gone_is_forgotten() {
    let (mut engine, _) = started(policy(), &[]);
    for number in 0..3 {
        let now = at(10_000_000 * (number + 1));
        engine.on(now, Input::Tick);
        let path = Rel::new(format!("d{number}").as_bytes());
        engine.on(
            now,
            Input::Listed(ListedFolder {
                path,
                content: Err("EACCES".into()),
            }),
        );
        engine.on(now, Input::Scanned(Ok(())));
        engine.check();
    }
}

fn accepted() -> Delivered {
    let answer = Reply::Answer(crate::flow::endpoint::reply::Answer {
        status: 200,
        body_matches: true,
        ..Default::default()
    });
    Delivered::Replied {
        verdict: Verdict::Accepted,
        reply: answer,
        took: Duration::ZERO,
        journaled: Ok(()),
        sha256: None,
        look: look_of_sent(),
    }
}

fn files(effects: &[Effect]) -> bool {
    effects
        .iter()
        .any(|effect| matches!(effect, Effect::File(_)))
}

/// The scan under way ends, and the next one begins; when.
fn next_scan(engine: &mut Engine, from: i64) -> i64 {
    let (mut now, mut effects) = (from, engine.on(at(from), Input::Scanned(Ok(()))));
    for _ in 0..1_000 {
        if effects.iter().any(|effect| matches!(effect, Effect::Scan)) {
            return now;
        }
        now = engine
            .wake_at()
            .expect("it waits for the next scan")
            .0
            .max(now + 1);
        effects = engine.on(at(now), Input::Tick);
    }
    panic!("no scan begins");
}

#[test]
fn after_a_hang_nothing_is_sent_or_filed_before_a_new_scan_has_seen_the_lock() {
    let mut engine = engine(|config| config.send.workers = 2);
    engine.on(at(0), Input::Tick);
    engine.on(at(1), Input::Confirmed);
    let mut content = Content::default();
    for name in ["a", "b", "c"] {
        let look = Look {
            stamp: Stamp {
                size: 1,
                mtime: Wall(1),
            },
            ..Look::default()
        };
        content.files.push(name.as_bytes(), look.stamp);
        content.looks.push(look);
    }
    let sent = deliveries(engine.on(
        at(2),
        Input::Listed(ListedFolder {
            path: Rel::root(),
            content: Ok(content),
        }),
    ));
    assert_eq!(sent.len(), 2);
    // The scan hangs. What was under way ends; it is not filed, and nothing takes its place.
    engine.on(at(30_002), Input::Tick);
    let effects = engine.on(at(30_003), Input::Delivered(sent[0].file, accepted()));
    assert!(!files(&effects) && deliveries(effects).is_empty());
    // What the scan that hung saw of the lock is too old.
    let effects = engine.on(at(30_004), Input::Confirmed);
    assert!(!files(&effects) && deliveries(effects).is_empty());
    let now = next_scan(&mut engine, 40_000);
    assert!(deliveries(engine.on(at(now), Input::Tick)).is_empty());
    assert_eq!(
        deliveries(engine.on(at(now + 1), Input::Confirmed)).len(),
        1
    );
    assert!(
        files(&engine.on(at(now + 1_001), Input::Tick)),
        "what was accepted is filed now"
    );
}

#[test]
fn a_scan_that_takes_long_and_goes_on_does_not_hang_and_is_not_repeated_at_once() {
    let (mut engine, sent) = started(
        Policy {
            interval: Duration::from_secs(5),
            ..policy()
        },
        &["a", "b", "c", "d"],
    );
    let start = next_scan(&mut engine, 1);
    let mut now = start;
    for _ in 0..100 {
        now += 1_000;
        let effects = engine.on(at(now), Input::Looking);
        let hangs = |effect: &Effect| matches!(effect, Effect::Note(Note::ScanHangs { .. }));
        assert!(
            !effects.iter().any(hangs),
            "after {} s",
            (now - start) / 1_000
        );
    }
    let effects = engine.on(at(now), Input::Delivered(sent[0].file, accepted()));
    assert!(files(&effects), "nothing is in doubt");
    // It takes no more than a quarter of the time from now on.
    for _ in 0..4 {
        let end = now + 100_000;
        while now < end {
            now += 1_000;
            engine.on(at(now), Input::Looking);
        }
        now = next_scan(&mut engine, now);
    }
    let end = now + 100_000;
    while now < end {
        now += 1_000;
        engine.on(at(now), Input::Looking);
    }
    assert!(next_scan(&mut engine, now) >= now + 299_000);
}

#[test]
fn after_a_sleep_the_lock_is_looked_at_at_once_and_nothing_is_sent_before() {
    let (mut engine, sent) = started(policy(), &["a", "b", "c"]);
    assert_eq!(sent.len(), 2);
    let woken = |mono| after_sleep(mono, 3_600_000);
    let effects = engine.on(woken(10), Input::Tick);
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Confirm)),
        "it does not wait for the interval"
    );
    let effects = engine.on(woken(11), Input::Delivered(sent[0].file, accepted()));
    assert!(deliveries(effects).is_empty());
    assert_eq!(deliveries(engine.on(woken(12), Input::Confirmed)).len(), 1);
}

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
            mtime: Wall(1),
        },
        ino: 7,
        dev: 8,
        ..Look::default()
    };
    let mut content = Content::default();
    content.files.push(b"a", look.stamp);
    content.looks.push(look);
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
        mtime: Wall(1),
    };
    let look = Look {
        stamp,
        ctime: at(9).wall,
        fs: FsKind::Local,
        ..Look::default()
    };
    let mut content = Content::default();
    content.files.push(b"a", stamp);
    content.looks.push(look);
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
                mtime: Wall(9),
            },
            ..Look::default()
        };
        let mut content = Content::default();
        content.files.push(b"a", look.stamp);
        content.looks.push(look);
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

#[test]
fn what_was_learned_is_not_written_while_the_lock_may_be_anothers() {
    let (mut engine, sent) = started(policy(), &["a"]);
    engine.on(at(1), Input::Delivered(sent[0].file, unreachable()));
    let at = |mono| after_sleep(mono, 3_600_000);
    engine.on(at(2), Input::Tick);
    let remembers = |effects: &[Effect]| {
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Remember(_)))
    };
    assert!(!remembers(&engine.on(at(40_000), Input::Tick)));
    assert!(
        engine.wake_at().is_some_and(|wake| wake > Mono(40_000)),
        "it would spin"
    );
    let mut stopped = Vec::new();
    stopped.extend(engine.on(at(40_001), Input::Command(Command::Stop)));
    stopped.extend(engine.on(at(60_000), Input::Tick));
    assert!(
        stopped
            .iter()
            .any(|effect| matches!(effect, Effect::Finish(_)))
            && !remembers(&stopped)
    );
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
            mtime: Wall(1),
        },
        fs: FsKind::Share,
        ..Look::default()
    };
    content.files.push(b"a", look.stamp);
    content.looks.push(look);
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
        content.files.push(b"a", stamp);
        content.looks.push(sent[0].look);
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

fn hangs(effects: &[Effect]) -> bool {
    let is_hang = |effect: &Effect| matches!(effect, Effect::Note(Note::ScanHangs { .. }));
    effects.iter().any(is_hang)
}

#[test]
fn a_scan_that_ended_because_all_is_opened_again_is_not_said_to_hang() {
    let (mut engine, _) = started(policy(), &["a"]);
    let now = next_scan(&mut engine, 1);
    engine.on(
        at(now + 1),
        Input::Closing(Closing::LockLost("another".into())),
    );
    for later in 1..10 {
        let effects = engine.on(at(now + 5_000 * later), Input::Tick);
        assert!(!hangs(&effects), "{effects:?}");
    }
    engine.check();
}

#[test]
fn a_lock_is_doubted_after_five_seconds_of_silence_and_a_hang_is_said_after_thirty() {
    let (mut engine, sent) = started(policy(), &["a", "b", "c", "d"]);
    let now = next_scan(&mut engine, 1);
    engine.on(at(now + 4_999), Input::Tick);
    let next = |engine: &mut Engine, at_ms, job: &Delivery| {
        let effects = engine.on(
            at(at_ms),
            Input::Delivered(job.file, unreachable_by_itself()),
        );
        (hangs(&effects), deliveries(effects).len())
    };
    assert_eq!(next(&mut engine, now + 4_999, &sent[0]), (false, 1));
    engine.on(at(now + 5_000), Input::Tick);
    assert_eq!(next(&mut engine, now + 5_001, &sent[1]), (false, 0));
    assert!(!hangs(&engine.on(at(now + 10_000), Input::Tick)));
    let mut said = 0;
    for ms in (now + 10_000..now + 30_001).step_by(1_000) {
        said += usize::from(hangs(&engine.on(at(ms), Input::Tick)));
    }
    assert_eq!(said, 1);
}

/// The file changed: the endpoint was not asked, and the worker is free again.
fn unreachable_by_itself() -> Delivered {
    Delivered::Missing(crate::flow::messages::Miss::Unreadable("EIO".into()))
}

#[test]
fn what_a_listing_shows_is_not_written_down_while_the_lock_may_be_anothers() {
    let keep = Policy {
        action: Action::Keep,
        ..policy()
    };
    let (mut engine, sent) = started(keep, &["a"]);
    engine.on(at(1), Input::Delivered(sent[0].file, accepted()));
    let now = next_scan(&mut engine, 2);
    engine.on(at(now), Input::Confirmed);
    // It wakes with the listing of a scan that had seen the lock before it slept.
    let woken = |mono| after_sleep(mono, 3_600_000);
    let listed = |engine: &mut Engine, mono| {
        let folder = ListedFolder {
            path: Rel::root(),
            content: Ok(Content::default()),
        };
        engine.on(woken(mono), Input::Listed(folder))
    };
    let writes = |effects: &[Effect]| {
        let mut effects = effects.iter();
        effects.any(|effect| matches!(effect, Effect::Write(_)))
    };
    assert!(!writes(&listed(&mut engine, now + 1)));
    assert!(!writes(&engine.on(woken(now + 1), Input::Scanned(Ok(())))));
    assert!(writes(&engine.on(woken(now + 2), Input::Confirmed)));
    assert!(
        !writes(&engine.on(woken(now + 3), Input::Scanned(Ok(())))),
        "once"
    );
}

#[test]
fn a_turn_that_comes_five_seconds_late_makes_the_lock_doubtful_whatever_it_waited_for() {
    let (mut engine, sent) = started(policy(), &["a", "b", "c", "d"]);
    // The next scan is far away: with files in hand it wants a turn all the same.
    let wake = engine.wake_at().expect("a turn").0;
    assert!(wake <= 5_000, "{wake}");
    let effects = engine.on(at(wake + 4_999), Input::Tick);
    assert!(effects.is_empty(), "{effects:?}");
    let late = engine.wake_at().expect("a turn").0 + 5_000;
    let effects = engine.on(at(late), Input::Delivered(sent[0].file, accepted()));
    let is_said = |effect: &Effect| matches!(effect, Effect::Note(Note::Starved { .. }));
    assert!(effects.iter().any(is_said));
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Confirm))
    );
    assert!(!files(&effects) && deliveries(effects).is_empty());
    let effects = engine.on(at(late + 1), Input::Confirmed);
    assert_eq!(deliveries(effects).len(), 1);
}

#[test]
fn a_wall_clock_that_jumps_makes_the_lock_doubtful() {
    let (mut engine, sent) = started(policy(), &["a", "b", "c"]);
    let ahead = Now {
        wall: Wall(at(10).wall.0 + 60_000_000_000),
        ..at(10)
    };
    let effects = engine.on(ahead, Input::Delivered(sent[0].file, accepted()));
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Confirm))
    );
    assert!(!files(&effects) && deliveries(effects).is_empty());
}

#[test]
fn a_run_whose_deadline_passes_while_the_machine_sleeps_ends_with_the_first_turn() {
    let once = Policy {
        ending: Ending::Once {
            deadline: Mono(60_000),
            no_wait: false,
        },
        settle: Settle::For(Duration::from_secs(3_600)),
        ..policy()
    };
    let (mut engine, _) = started(once, &["a"]);
    let effects = engine.on(after_sleep(60_000, 3_600_000), Input::Tick);
    let finish = effects.iter().find_map(|effect| match effect {
        Effect::Finish(how) => Some(*how),
        _ => None,
    });
    assert_eq!(finish, Some(Finish::Left));
    assert_eq!(engine.wake_at(), None);
}

#[test]
fn with_nothing_in_hand_it_sleeps_until_the_next_scan() {
    let (engine, _) = started(policy(), &[]);
    assert_eq!(engine.wake_at(), Some(Mono(1_000_000)));
}

/// A listing of the root with these files.
fn listed(files: &[(&str, Look)]) -> Input {
    let mut content = Content::default();
    for (name, look) in files {
        content.files.push(name.as_bytes(), look.stamp);
        content.looks.push(*look);
    }
    Input::Listed(ListedFolder {
        path: Rel::root(),
        content: Ok(content),
    })
}

/// A look at a file of a byte.
fn look(ctime_ms: i64) -> Look {
    Look {
        stamp: Stamp {
            size: 1,
            mtime: Wall(7),
        },
        ctime: Wall((1_000_000 + ctime_ms) * 1_000_000),
        dev: 1,
        ino: 1,
        blocks: 8,
        fs: FsKind::Share,
    }
}

const FIVE: Policy = Policy {
    interval: Duration::from_secs(1),
    max_share: 1.0,
    settle: Settle::For(Duration::from_secs(5)),
    marker: false,
    empty: Empty::Send,
    min_size: None,
    max_size: None,
    inspects: false,
    sees_end: false,
    grace: Duration::from_secs(5),
    workers: 2,
    in_order: false,
    brake: 10,
    backoff: Backoff {
        first: Duration::from_secs(1),
        max: Duration::from_secs(60),
    },
    give_up_after: None,
    action: Action::Move,
    remember: Duration::from_secs(86_400),
    key_scope: String::new(),
    ending: Ending::Never,
};

/// Scans every second from `from` on, with what `at_second` shows of the file; what the engine hands
/// out, with the second. Ends with the first of them, or after 100 seconds.
fn scan_until_handed_out(
    engine: &mut Engine,
    from: i64,
    mut at_second: impl FnMut(i64) -> Look,
) -> Option<(i64, Effect)> {
    for second in from..from + 100 {
        let now = second * 1_000;
        let mut effects = pass(engine, now, now);
        effects.extend(turn(engine, now, Input::Confirmed));
        effects.extend(turn(engine, now, listed(&[("a", at_second(second))])));
        effects.extend(turn(engine, now, Input::Scanned(Ok(()))));
        effects.extend(pass(engine, now, now + 999));
        let job = effects
            .into_iter()
            .find(|effect| matches!(effect, Effect::Deliver(_) | Effect::Inspect(_)));
        if let Some(job) = job {
            return Some((second, job));
        }
    }
    None
}

#[test]
fn a_chmod_every_second_delays_a_file_by_five_settle_times_and_no_more() {
    for (fs, most) in [(FsKind::Share, 30), (FsKind::Local, 30)] {
        let mut engine = Engine::new(FIVE, 1, at(0));
        let sent = scan_until_handed_out(&mut engine, 0, |second| Look {
            fs,
            ..look(second * 1_000)
        });
        let (second, _) = sent.expect("it is delivered");
        assert!(
            (most - 2..=most).contains(&second),
            "after {second} s on {fs:?}"
        );
    }
}

fn inspected(effects: &[Effect]) -> Vec<crate::flow::messages::Inspection> {
    let inspections = effects.iter().filter_map(|effect| match effect {
        Effect::Inspect(job) => Some(job.clone()),
        _ => None,
    });
    inspections.collect()
}

const GOOD: crate::flow::messages::Inspected = crate::flow::messages::Inspected::Good {
    sha256: Some([7; 32]),
};

#[test]
fn a_suspicion_takes_back_what_a_check_has_found_and_the_digest() {
    let checks = Policy {
        inspects: true,
        workers: 1,
        settle: Settle::For(Duration::ZERO),
        ..policy()
    };
    let mut engine = Engine::new(checks, 1, at(0));
    turn(&mut engine, 0, Input::Tick);
    let both = |ctime| listed(&[("a", look(ctime)), ("b", look(ctime))]);
    let jobs = inspected(&turn(&mut engine, 1, both(1)));
    turn(&mut engine, 2, Input::Inspected(jobs[0].file, GOOD));
    turn(&mut engine, 3, Input::Inspected(jobs[1].file, GOOD));
    // One is on its way; the other was checked, and waits for the worker. Its ctime moves.
    let again = inspected(&turn(&mut engine, 4, both(4)));
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!(again[0].file, jobs[1].file);
    assert_eq!(again[0].look, look(4));
    let sent = deliveries(turn(
        &mut engine,
        5,
        Input::Delivered(jobs[0].file, accepted()),
    ));
    assert!(sent.is_empty(), "it is being checked again");
    let digest = crate::flow::messages::Inspected::Good { sha256: None };
    let sent = deliveries(turn(&mut engine, 6, Input::Inspected(jobs[1].file, digest)));
    assert_eq!(sent[0].sha256, None, "the old digest is gone");
}

#[test]
fn a_suspicion_is_no_new_version_what_was_learned_of_it_stays() {
    let (mut engine, sent) = started(policy(), &["a"]);
    // Its own fault: it waits by its own clock.
    engine
        .files
        .get_mut(sent[0].file)
        .unwrap()
        .learned
        .own_fault = true;
    let refused = Delivered::Replied {
        verdict: Verdict::Refused,
        reply: Reply::Answer(crate::flow::endpoint::reply::Answer {
            status: 404,
            ..Default::default()
        }),
        took: Duration::ZERO,
        journaled: Ok(()),
        sha256: None,
        look: look_of_sent(),
    };
    turn(&mut engine, 1, Input::Delivered(sent[0].file, refused));
    let pause = engine.files.get(sent[0].file).unwrap().learned.not_before;
    let moved = Look {
        ctime: at(5).wall,
        ..sent[0].look
    };
    let now = next_scan(&mut engine, 2);
    turn(&mut engine, now, listed(&[("a", moved)]));
    let active = engine.files.get(sent[0].file).unwrap();
    assert_eq!(active.learned.attempts, 1);
    assert!(active.learned.own_fault && active.learned.not_before == pause);
}

#[test]
fn a_file_whose_ctime_moves_keeps_its_turn_once_that_has_put_it_off_for_long_enough() {
    let one = Policy { workers: 1, ..FIVE };
    let mut engine = Engine::new(one, 1, at(0));
    let mut order = Vec::new();
    for second in 0..200 {
        let now = second * 1_000;
        let all = ["a", "b", "c"].map(|name| (name, look(now)));
        let mut effects = pass(&mut engine, now, now);
        effects.extend(turn(&mut engine, now, Input::Confirmed));
        effects.extend(turn(&mut engine, now, listed(&all)));
        effects.extend(turn(&mut engine, now, Input::Scanned(Ok(()))));
        // The endpoint takes three seconds for each: the others wait, and their ctimes move on.
        for job in deliveries(effects) {
            order.push(job.path.to_string());
            let done = pass(&mut engine, now, now + 500);
            assert!(deliveries(done).is_empty());
        }
        if second % 3 == 0 {
            let out = engine
                .files
                .iter()
                .find(|(_, active)| active.at() == At::Sending);
            if let Some(file) = out.map(|(file, _)| file) {
                let effects = turn(&mut engine, now + 900, Input::Delivered(file, accepted()));
                order.extend(deliveries(effects).iter().map(|job| job.path.to_string()));
            }
        }
    }
    assert_eq!(order, ["a", "b", "c"]);
}

#[test]
fn an_upload_that_is_broken_off_by_suspicions_again_and_again_waits_longer_and_longer_and_says_why()
{
    let (mut engine, sent) = started(policy(), &["a"]);
    let (mut now, mut tries, mut said) = (0, 1, 0);
    let mut effects = Vec::new();
    for second in 0..600 {
        now = second * 1_000;
        if engine.files.get(sent[0].file).unwrap().at() == At::Sending {
            let moved = Look {
                ctime: at(now).wall,
                ..sent[0].look
            };
            let changed = Delivered::Changed(Some(moved));
            effects.extend(turn(
                &mut engine,
                now,
                Input::Delivered(sent[0].file, changed),
            ));
        }
        effects.extend(pass(&mut engine, now, now + 999));
        tries += deliveries(
            std::mem::take(&mut effects)
                .into_iter()
                .inspect(|effect| {
                    said += usize::from(matches!(effect, Effect::Note(Note::FileTrouble { .. })));
                })
                .collect(),
        )
        .len();
    }
    assert!((10..60).contains(&tries), "{tries} tries until {now}");
    assert!((2..5).contains(&said), "{said}");
}

#[test]
fn a_check_of_a_file_whose_ctime_moves_all_the_time_counts_in_the_end() {
    let checks = Policy {
        inspects: true,
        ..FIVE
    };
    let mut engine = Engine::new(checks, 1, at(0));
    let mut from = 0;
    let inspection = loop {
        let job = scan_until_handed_out(&mut engine, from, |second| look(second * 1_000));
        let Some((second, Effect::Inspect(job))) = job else {
            panic!("it is checked");
        };
        if job.beyond_suspicion {
            break job;
        }
        // The ctime moved while it was read.
        from = second + 1;
        let moved = look(second * 1_000 + 500);
        let changed = crate::flow::messages::Inspected::Changed(Some(moved));
        turn(
            &mut engine,
            second * 1_000 + 999,
            Input::Inspected(job.file, changed),
        );
    };
    assert!(from <= 31, "{from}");
    assert!(!inspection.is_changed(&Look {
        ctime: Wall(9),
        ..inspection.look
    }));
    assert!(inspection.is_changed(&Look {
        stamp: Stamp {
            size: 2,
            ..inspection.look.stamp
        },
        ..inspection.look
    }));
}

#[test]
fn another_file_with_the_same_stamp_is_another_version_and_a_share_whose_inodes_do_not_last_goes_on()
 {
    let mut engine = Engine::new(FIVE, 1, at(0));
    let sent = scan_until_handed_out(&mut engine, 0, |second| Look {
        ino: if second < 3 { 1 } else { 2 },
        ..look(i64::from(second >= 3))
    });
    assert_eq!(sent.expect("it is delivered").0, 8);
    // Each look shows another number; the ctime says nothing, or moves as well.
    for ctime in [0, 1] {
        let mut engine = Engine::new(FIVE, 1, at(0));
        let sent = scan_until_handed_out(&mut engine, 0, |second| Look {
            ino: 1 + second as u64,
            ctime: Wall(ctime * second),
            ..look(0)
        });
        assert!(sent.expect("it is delivered").0 <= 60);
    }
}

/// Unfinished by rsync's mark.
fn partial(size: u64) -> Look {
    Look {
        stamp: Stamp {
            size,
            mtime: Wall(0),
        },
        ..look(1)
    }
}

#[test]
fn a_file_with_an_mtime_of_0_waits_until_rsync_has_finished_it() {
    let mut engine = Engine::new(FIVE, 1, at(0));
    let sent = scan_until_handed_out(&mut engine, 0, |second| {
        if second < 40 { partial(1) } else { look(1) }
    });
    assert_eq!(sent.expect("it is finished").0, 45);
}

#[test]
fn why_it_waits_is_said_once() {
    let (mut engine, mut said) = (Engine::new(FIVE, 1, at(0)), 0);
    for second in 0..100 {
        let now = second * 1_000;
        let mut effects = pass(&mut engine, now, now);
        effects.extend(turn(&mut engine, now, listed(&[("a", partial(1))])));
        effects.extend(turn(&mut engine, now, Input::Scanned(Ok(()))));
        let is_partial = |effect: &&Effect| matches!(effect, Effect::Note(Note::Partial { .. }));
        said += effects.iter().filter(is_partial).count();
    }
    assert_eq!(said, 1);
}

#[test]
fn its_marker_or_a_check_of_its_end_vouches_for_a_file_with_an_mtime_of_0() {
    let marker = Policy {
        marker: true,
        ..FIVE
    };
    let mut engine = Engine::new(marker, 1, at(0));
    let mut content = Content::default();
    content.files.push(b"a", partial(1).stamp);
    content.looks.push(partial(1));
    content.markers.push((b"a".to_vec(), look(1)));
    let folder = ListedFolder {
        path: Rel::root(),
        content: Ok(content),
    };
    turn(&mut engine, 0, Input::Tick);
    turn(&mut engine, 0, Input::Listed(folder));
    turn(&mut engine, 0, Input::Scanned(Ok(())));
    let due = |effects: Vec<Effect>| deliveries(effects).len();
    assert_eq!(due(pass(&mut engine, 0, 5_000)), 1);

    let checks = Policy {
        interval: Duration::from_secs(1_000),
        inspects: true,
        sees_end: true,
        ..FIVE
    };
    let mut engine = Engine::new(checks, 1, at(0));
    let job = scan_until_handed_out(&mut engine, 0, |_| partial(1));
    let Some((5, Effect::Inspect(job))) = job else {
        panic!("{job:?}");
    };
    // The check finds no end: it waits for rsync, and is not condemned when the grace is over.
    let why = crate::flow::messages::Inspected::Unfinished("no end".into());
    turn(&mut engine, 5_500, Input::Inspected(job.file, why));
    let effects = pass(&mut engine, 5_500, 60_000);
    assert!(!files(&effects));
    // It grows, and has its end now.
    turn(&mut engine, 60_000, listed(&[("a", partial(2))]));
    turn(&mut engine, 60_000, Input::Scanned(Ok(())));
    let again = inspected(&pass(&mut engine, 60_001, 66_000));
    assert_eq!(again.len(), 1);
    let effects = turn(&mut engine, 66_001, Input::Inspected(again[0].file, GOOD));
    assert_eq!(due(effects), 1);
}

#[test]
fn where_everything_shows_an_mtime_of_0_it_means_nothing_and_that_is_said_once() {
    let mut engine = Engine::new(FIVE, 1, at(0));
    let (mut sent, mut said) = (0, 0);
    for second in 0..20 {
        let now = second * 1_000;
        let mut effects = pass(&mut engine, now, now);
        for folder in ["", "d"] {
            let mut content = Content::default();
            content.files.push(b"a", partial(1).stamp);
            content.looks.push(partial(1));
            // Not known to be such a folder before its second listing.
            content.timeless = second > 5;
            if folder.is_empty() {
                content.folders.push(b"d".to_vec());
            }
            let path = Rel::new(folder.as_bytes());
            let content = Ok(content);
            effects.extend(turn(
                &mut engine,
                now,
                Input::Listed(ListedFolder { path, content }),
            ));
        }
        effects.extend(turn(&mut engine, now, Input::Scanned(Ok(()))));
        let is_said = |effect: &&Effect| matches!(effect, Effect::Note(Note::Timeless { .. }));
        said += effects.iter().filter(is_said).count();
        sent += deliveries(effects).len();
    }
    assert_eq!((sent, said), (2, 1));
}

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
            mtime: Wall(mtime),
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

fn rejected() -> Delivered {
    let answer = crate::flow::endpoint::reply::Answer {
        status: 400,
        body_matches: true,
        ..Default::default()
    };
    Delivered::Replied {
        verdict: Verdict::Rejected,
        reply: Reply::Answer(answer),
        took: Duration::ZERO,
        journaled: Ok(()),
        sha256: None,
        look: look_of_sent(),
    }
}

/// Filing failed, when the file had left its place.
fn left_its_place(sent: &Delivery) -> Filed {
    let staging = "staging/d".parse().expect("a place");
    let done = crate::flow::filing::Place::new(crate::flow::filing::Area::Done, sent.path.clone());
    Filed::Failed {
        why: "full".into(),
        journal: false,
        progress: Progress::Moving(crate::flow::filing::Move {
            to: done,
            copy_of: Some(staging),
        }),
        left: true,
    }
}

/// An engine with a file that was accepted, has left its place and could not be filed.
fn on_its_way() -> (Engine, Delivery) {
    let (mut engine, mut sent) = started(policy(), &["a"]);
    let sent = sent.pop().expect("it is sent");
    turn(&mut engine, 1, Input::Delivered(sent.file, accepted()));
    turn(
        &mut engine,
        2,
        Input::Filed(sent.file, left_its_place(&sent)),
    );
    (engine, sent)
}

#[test]
fn what_lies_where_a_file_has_left_is_another_one_and_does_not_end_the_filing() {
    let (mut engine, sent) = on_its_way();
    let next = Look {
        stamp: Stamp {
            size: 2,
            mtime: Wall(9),
        },
        ..sent.look
    };
    let new = deliveries(turn(&mut engine, 3, listed(&[("a", next)])));
    assert_eq!(new.len(), 1);
    assert_ne!(new[0].file, sent.file);
    turn(&mut engine, 4, Input::Delivered(new[0].file, accepted()));
    // Both are filed; the folder is empty meanwhile.
    turn(&mut engine, 5, listed(&[]));
    let filed = pass(&mut engine, 5, 60_000);
    let filed = filed.iter().filter_map(|effect| match effect {
        Effect::File(filing) => Some(filing.file),
        _ => None,
    });
    assert!(filed.collect::<Vec<_>>().contains(&sent.file));
}

#[test]
fn an_equal_file_at_the_place_of_one_that_is_on_its_way_waits_until_that_is_filed() {
    let (mut engine, sent) = on_its_way();
    let again = deliveries(turn(&mut engine, 3, listed(&[("a", sent.look)])));
    assert!(again.is_empty(), "it has the same line in the journal");
    assert!(deliveries(pass(&mut engine, 3, 60_000)).is_empty());
    let away = Filed::Away {
        to: Some("done/a".parse().expect("a place")),
    };
    let again = deliveries(turn(&mut engine, 60_001, Input::Filed(sent.file, away)));
    assert_eq!(again.len(), 1, "it is a new drop");
    assert_eq!(again[0].key, sent.key);
    engine.check();
}

#[test]
fn an_equal_file_that_is_changed_while_it_waits_need_not_wait() {
    let (mut engine, sent) = on_its_way();
    turn(&mut engine, 3, listed(&[("a", sent.look)]));
    let next = Look {
        stamp: Stamp {
            size: 2,
            mtime: Wall(9),
        },
        ..sent.look
    };
    let new = deliveries(turn(&mut engine, 4, listed(&[("a", next)])));
    assert_eq!(new.len(), 1);
    turn(&mut engine, 5, Input::Delivered(new[0].file, accepted()));
    let filed = Filed::Gone;
    turn(&mut engine, 6, Input::Filed(sent.file, filed));
    engine.check();
}

#[test]
fn a_version_that_lies_where_one_could_not_be_moved_from_does_not_wait_for_the_next_try() {
    let (mut engine, mut sent) = started(policy(), &["a"]);
    let sent = sent.pop().expect("it is sent");
    turn(&mut engine, 1, Input::Delivered(sent.file, accepted()));
    let refused = || Filed::Failed {
        why: "EACCES".into(),
        journal: false,
        progress: Progress::Written,
        left: false,
    };
    // The pauses have become long.
    let mut now = 1;
    for _ in 0..12 {
        turn(&mut engine, now, Input::Filed(sent.file, refused()));
        while !files(&idle(&mut engine, now + 1, now + 1)) {
            now += 1;
        }
    }
    turn(&mut engine, now, Input::Filed(sent.file, refused()));
    let next = Look {
        stamp: Stamp {
            size: 2,
            mtime: Wall(9),
        },
        ..sent.look
    };
    assert!(!files(&turn(&mut engine, now, listed(&[("a", sent.look)]))));
    let effects = turn(&mut engine, now, listed(&[("a", next)]));
    assert!(files(&effects), "its filing is asked for at once");
    // It fails for another reason: the same look does not ask for it again.
    turn(&mut engine, now, Input::Filed(sent.file, refused()));
    assert!(!files(&turn(&mut engine, now, listed(&[("a", next)]))));
    // Nothing is left to be filed of the old one.
    now += 600_000;
    idle(&mut engine, now - 600_000, now);
    let superseded = Filed::NewVersion(Some(next));
    let new = turn(&mut engine, now, Input::Filed(sent.file, superseded));
    assert_eq!(deliveries(new).len(), 1);
}

#[test]
fn what_a_worker_has_seen_of_a_file_goes_with_its_next_attempt() {
    let one = Policy {
        workers: 1,
        ..policy()
    };
    let (mut engine, sent) = started(one, &["a"]);
    // The ctime moved while it was sent.
    let seen = Look {
        ctime: Wall(7),
        ..sent[0].look
    };
    let mut replied = unreachable();
    if let Delivered::Replied { look, .. } = &mut replied {
        *look = seen;
    }
    turn(&mut engine, 2, Input::Delivered(sent[0].file, replied));
    let again = deliveries(pass(&mut engine, 2, 60_000));
    assert_eq!(again[0].look, seen);
}
