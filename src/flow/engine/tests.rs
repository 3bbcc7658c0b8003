//! What the simulation does not look at: that the engine asks to be woken for a reason.

use std::time::Duration;

use super::*;
use crate::config::{Config, Settle, Statuses};
use crate::flow::backoff::Backoff;
use crate::flow::classify::{self, Verdict};
use crate::flow::file::FsKind;
use crate::flow::job::{Content, Delivered};
use crate::flow::reply::{Failure, FailureKind, Reply};
use crate::flow::time::Wall;

fn engine(tune: impl Fn(&mut Config)) -> Engine {
    let mut config = crate::config::from_dir_and_url(std::path::Path::new("/in"), "http://h/").unwrap();
    config.ready.settle = Settle::For(Duration::ZERO);
    tune(&mut config);
    Engine::new(Policy::new(&config, "id", Ending::Never), 1, at(0))
}

fn at(mono: i64) -> Now {
    Now { mono: Mono(mono), wall: Wall((1_000_000 + mono) * 1_000_000) }
}

/// A scan that finds these files; what is to be delivered.
fn scan(engine: &mut Engine, now: Now, names: &[&str]) -> Vec<Delivery> {
    let mut content = Content::default();
    for name in names {
        let look = Look { stamp: Stamp { size: 1, mtime: Wall(1) }, fs: FsKind::Share, ..Look::default() };
        content.files.push(name.as_bytes(), look.stamp);
        content.looks.push(look);
    }
    let mut effects = engine.on(now, Input::Listed(Folder { path: Rel::root(), content: Ok(content) }));
    effects.extend(engine.on(now, Input::Scanned(Ok(()))));
    deliveries(effects)
}

fn deliveries(effects: Vec<Effect>) -> Vec<Delivery> {
    effects.into_iter().filter_map(|effect| if let Effect::Deliver(job) = effect { Some(job) } else { None }).collect()
}

fn unreachable() -> Delivered {
    let failure = Failure { kind: FailureKind::Connect, detail: "refused".into() };
    Delivered::Replied {
        verdict: Verdict::Down { reached: false },
        reply: Reply::Failed(failure),
        took: Duration::ZERO,
        journaled: Ok(()),
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
        backoff: Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) },
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
        let look = Look { stamp: Stamp { size: 1, mtime: Wall(number as i64) }, ..Look::default() };
        content.files.push(name.as_bytes(), look.stamp);
        content.looks.push(look);
    }
    let mut effects = engine.on(at(0), Input::Listed(Folder { path: Rel::root(), content: Ok(content) }));
    effects.extend(engine.on(at(0), Input::Scanned(Ok(()))));
    let sent = effects.into_iter().filter_map(|effect| match effect {
        Effect::Deliver(job) => Some(job),
        _ => None,
    });
    (engine, sent.collect())
}

#[test]
fn while_the_head_of_the_line_waits_a_probe_that_is_due_wakes_nobody() {
    let policy = Policy { in_order: true, workers: 1, ..policy() };
    let (mut engine, sent) = started(policy, &["a", "b"]);
    let (head, mut now) = (sent[0].file, 0);
    // It has a fault of its own, and waits by its own clock; then the endpoint goes.
    engine.motions.get_mut(head).unwrap().own = true;
    for _ in 0..8 {
        let effects = engine.on(at(now), Input::Delivered(head, unreachable()));
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Deliver(_))));
        for _ in 0..100 {
            let next = engine.wake_at().unwrap().0;
            assert!(next > now, "it would spin at {now}");
            now = next;
            if engine.on(at(now), Input::Tick).iter().any(|effect| matches!(effect, Effect::Deliver(_))) {
                break;
            }
        }
    }
}

#[test]
fn filing_that_failed_after_the_rename_goes_on_from_there() {
    let (mut engine, sent) = started(policy(), &["a"]);
    let answer = Reply::Answer(super::super::reply::Answer { status: 200, body_matches: true, ..Default::default() });
    let took = Duration::ZERO;
    let delivered = Delivered::Replied { verdict: Verdict::Accepted, reply: answer, took, journaled: Ok(()) };
    engine.on(at(1), Input::Delivered(sent[0].file, delivered));
    let moving = crate::flow::job::Moving { to: "done/a".into(), from: Some("staging/d".into()) };
    let failed = crate::flow::job::Filed::Failed { why: "full".into(), moved: Some(moving.clone()) };
    engine.on(at(2), Input::Filed(sent[0].file, failed));
    let effects = engine.on(at(engine.wake_at().map_or(3, |wake| wake.0)), Input::Tick);
    let again =
        effects.iter().any(|effect| matches!(effect, Effect::File(filing) if filing.resumed.as_ref() == Some(&moving)));
    assert!(again, "{effects:?}");
}

#[test]
fn the_trouble_with_a_folder_that_is_gone_is_forgotten() {
    let (mut engine, _) = started(policy(), &[]);
    for number in 0..3 {
        let now = at(10_000_000 * (number + 1));
        engine.on(now, Input::Tick);
        let path = Rel::new(format!("d{number}").as_bytes());
        engine.on(now, Input::Listed(Folder { path, content: Err("EACCES".into()) }));
        engine.on(now, Input::Scanned(Ok(())));
        assert_eq!(engine.folder_troubles.len(), 1);
    }
}
