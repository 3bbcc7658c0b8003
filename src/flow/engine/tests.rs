//! What the simulation does not look at: that the engine asks to be woken for a reason.

use std::time::Duration;

use super::*;
use crate::config::{Config, Settle, Statuses};
use crate::flow::endpoint::backoff::Backoff;
use crate::flow::endpoint::classify::{self, Verdict};
use crate::flow::endpoint::reply::{Failure, FailureKind, Reply};
use crate::flow::file::FsKind;
use crate::flow::messages::{Content, Delivered, Filed, Finish, ListedFolder};
use crate::flow::time::Wall;

fn engine(tune: impl Fn(&mut Config)) -> Engine {
    let mut config =
        crate::config::from_dir_and_url(std::path::Path::new("/in"), "http://h/").unwrap();
    config.ready.settle = Settle::For(Duration::ZERO);
    tune(&mut config);
    Engine::new(Policy::new(&config, "id", Ending::Never), 1, at(0))
}

fn at(mono: i64) -> Now {
    Now {
        mono: Mono(mono),
        wall: Wall((1_000_000 + mono) * 1_000_000),
    }
}

/// A scan that finds these files; what is to be delivered.
fn scan(engine: &mut Engine, now: Now, names: &[&str]) -> Vec<Delivery> {
    let mut content = Content::default();
    for name in names {
        let look = Look {
            stamp: Stamp {
                size: 1,
                mtime: Wall(1),
            },
            fs: FsKind::Share,
            ..Look::default()
        };
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
        look: Look::default(),
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
    engine.on(at(5_000), Input::Tick);
    engine.on(at(30_000), Input::Scanned(Ok(())));
    let next = engine.wake_at().unwrap();
    assert!(next <= Mono(30_000 + 4_000), "{next:?}");
    // A folder that always takes 10 s is looked at a quarter of the time.
    let mut now = next.0;
    for _ in 0..6 {
        engine.on(at(now), Input::Tick);
        engine.on(at(now + 10_000), Input::Scanned(Ok(())));
        now = engine.wake_at().unwrap().0.max(now + 10_000);
    }
    engine.on(at(now), Input::Tick);
    engine.on(at(now + 10_000), Input::Scanned(Ok(())));
    assert_eq!(engine.wake_at(), Some(Mono(now + 40_000)));
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
        grace: Duration::from_secs(5),
        workers: 2,
        in_order: false,
        brake: 10,
        answers: classify::Policy {
            accept: Statuses(vec![(200, 299)]),
            reject: Statuses(vec![(400, 400)]),
            accept_content_type: None,
        },
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
                mtime: Wall(number as i64),
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
    engine.motions.get_mut(head).unwrap().own = true;
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
    let moving = crate::flow::journal::Moving {
        to: "done/a".into(),
        from: Some("staging/d".into()),
    };
    let failed = Filed::Failed {
        why: "full".into(),
        moved: Some(moving.clone()),
    };
    engine.on(at(2), Input::Filed(sent[0].file, failed));
    let effects = engine.on(at(engine.wake_at().map_or(3, |wake| wake.0)), Input::Tick);
    let again = effects.iter().any(
        |effect| matches!(effect, Effect::File(filing) if filing.resumed.as_ref() == Some(&moving)),
    );
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
        assert_eq!(engine.folder_troubles.len(), 1);
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
        look: Look::default(),
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
    let effects = engine.on(at(10), Input::Suspended(Duration::from_secs(3_600)));
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Scan)),
        "it does not wait for the interval"
    );
    assert!(deliveries(engine.on(at(11), Input::Delivered(sent[0].file, accepted()))).is_empty());
    assert_eq!(deliveries(engine.on(at(12), Input::Confirmed)).len(), 1);
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
        look: Look::default(),
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
    assert!(filed.unwritten.is_some());
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
        mono: Mono(mono),
        wall: Wall(at(mono).wall.0 + 3_600_000_000_000),
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
        look: Look::default(),
    };
    engine.on(at(1), Input::Delivered(sent[0].file, rejected));
    engine.on(
        at(2),
        Input::Filed(
            sent[0].file,
            Filed::Copied {
                to: "dead-letter/a".into(),
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
    let effects = engine.on(at(29_999), Input::Scanned(Ok(())));
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, Effect::Remember(_)))
    );
    let effects = engine.on(at(30_000), Input::Tick);
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Remember(_)))
    );
}

#[test]
fn what_was_learned_is_not_written_while_the_lock_may_be_anothers() {
    let (mut engine, sent) = started(policy(), &["a"]);
    engine.on(at(1), Input::Delivered(sent[0].file, unreachable()));
    engine.on(at(2), Input::Suspended(Duration::from_secs(3_600)));
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
        look: Look::default(),
    };
    engine.on(at(1), Input::Delivered(sent[0].file, rejected));
    engine.on(
        at(2),
        Input::Filed(
            sent[0].file,
            Filed::Copied {
                to: "dead-letter/a".into(),
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

#[test]
fn what_a_worker_has_learned_of_a_version_goes_with_its_next_attempt() {
    let mut engine = engine(|config| config.send.workers = 1);
    engine.on(at(0), Input::Tick);
    let sent = scan(&mut engine, at(1), &["a"]);
    assert_eq!((sent[0].sha256, sent[0].suspicions_spent), (None, false));
    // The ctime moved while it was sent, and the worker has read it again.
    let seen = Look {
        ctime: Wall(7),
        ..sent[0].look
    };
    let mut replied = unreachable();
    if let Delivered::Replied { sha256, look, .. } = &mut replied {
        (*sha256, *look) = (Some([9; 32]), seen);
    }
    engine.on(at(2), Input::Delivered(sent[0].file, replied));
    let probe = engine.wake_at().unwrap();
    let again = deliveries(engine.on(at(probe.0), Input::Tick));
    assert_eq!((again[0].sha256, again[0].look), (Some([9; 32]), seen));
}
