//! What the simulation does not look at, by subject; here is what the tests share.

mod admission;
mod ahead;
mod endpoint;
mod filing;
mod last_listing;
mod lock;
mod looking;
mod markers;
mod reload;
mod restart;
mod settle;
mod shown;
mod wake;

use std::time::Duration;

use super::*;
use crate::config::{Action, Config, Empty, Rewrites, SendOrder, Settle};
use crate::flow::endpoint::backoff::Backoff;
use crate::flow::endpoint::reply::{Failure, FailureKind, Reply};
use crate::flow::endpoint::verdict::Verdict;
use crate::flow::file::{FsKind, Look};
use crate::flow::filing::{Filed, Move, Progress, Reason};
use crate::flow::marker::MarkerRule;
use crate::flow::memory;
use crate::flow::messages::{Closing, Content, Delivered, Finish, ListedFolder, Miss, ScanOrder};
use crate::flow::policy::Ending;
use crate::flow::scan::rounds::Rounds;
use crate::flow::time::Wall;

fn engine(tune: impl Fn(&mut Config)) -> Engine {
    let mut config =
        crate::config::from_dir_and_url(std::path::Path::new("/in"), "http://h/").unwrap();
    config.ready.settle = Settle::For(Duration::ZERO);
    tune(&mut config);
    Engine::new(Policy::new(&config, "id", Ending::Never), 1, at(0))
}

/// The first moment of 2024, which the mtimes of the tests are counted from: second 0 of 1970 means
/// something of its own.
const EPOCH: i64 = 1_704_067_200_000_000_000;

fn at(mono: i64) -> Now {
    after_sleep(mono, 0)
}

/// As [`at`], for a machine that has slept for so long (ms) before.
fn after_sleep(mono: i64, slept: i64) -> Now {
    Now {
        mono: Mono(mono),
        wall: Wall(EPOCH + (mono + slept) * 1_000_000),
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
        mtime: Wall(EPOCH + 1),
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
        if effects
            .iter()
            .any(|effect| matches!(effect, Effect::Scan(_)))
        {
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

/// What the scan is asked for that begins with these effects.
fn scan_order(effects: Vec<Effect>) -> Option<ScanOrder> {
    effects.into_iter().find_map(|effect| match effect {
        Effect::Scan(order) => Some(order),
        _ => None,
    })
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

fn policy() -> Policy {
    Policy {
        interval: Duration::from_secs(1000),
        max_share: 0.25,
        rewrites: Rewrites::Auto,
        settle: Settle::For(Duration::ZERO),
        marker: None,
        empty: Empty::Send,
        min_size: None,
        max_size: None,
        request_limit: None,
        inspects: false,
        sees_end: false,
        grace: Duration::from_secs(5),
        workers: 2,
        in_hand: 1024,
        order: SendOrder::Arrival,
        in_order: false,
        brake: 10,
        backoff: Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
        },
        give_up_after: None,
        action: Action::Move,
        remove_emptied: false,
        keep_for: None,
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
                mtime: Wall(EPOCH + 1 + number as i64),
            },
            ..Look::default()
        };
        content.files.push(name.as_bytes(), look);
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
        if effects
            .iter()
            .any(|effect| matches!(effect, Effect::Scan(_)))
        {
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

/// A listing of the root with these files.
fn listed(files: &[(&str, Look)]) -> Input {
    let mut content = Content::default();
    for (name, look) in files {
        content.files.push(name.as_bytes(), *look);
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
            mtime: Wall(EPOCH + 7),
        },
        ctime: Wall(EPOCH + ctime_ms * 1_000_000),
        dev: 1,
        ino: 1,
        blocks: 8,
        fs: FsKind::Share,
        faded: None,
    }
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

/// A journal that says this of one version.
fn journal_of(
    path: &Rel,
    version: Stamp,
    events: impl IntoIterator<Item = journal::Event>,
) -> journal::Replay {
    let mut journal = journal::Replay::default();
    add_events(&mut journal, path, version, events);
    journal
}

/// Adds what a journal says of one version.
fn add_events(
    journal: &mut journal::Replay,
    path: &Rel,
    version: Stamp,
    events: impl IntoIterator<Item = journal::Event>,
) {
    for event in events {
        let entry = journal::Entry::from((path.clone(), version, event));
        journal.add(&entry.line(Wall(1)));
    }
}
