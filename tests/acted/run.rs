//! What dirpost does on a share with faults: in one process, in several, killed on the way.

use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Instant;

use rustix::process::Signal;

use super::world::{Case, Process, World};
use crate::util::fuse::{Faults, Hang};
use crate::util::{BOUND, Daemon, once, wait_until};

/// Runs one case; `None` where nothing can be mounted.
fn run(case: Case) -> Option<()> {
    let world = World::new(case)?;
    match case.process {
        Process::Once => run_once(&world),
        Process::Daemon => run_daemon(&world, 0),
        Process::Killed(kills) => run_daemon(&world, kills),
        Process::KilledAt(hang) => run_killed_at(&world, hang),
    }
    world.faulty().heal();
    world.wait_filed();
    // What the next process finds is what this one has left.
    let listings = world.share.listings();
    let mut last = Daemon::start(&world.text);
    last.wait_log("first look");
    wait_until("more looks", BOUND, || {
        world.share.listings() > listings + 20
    });
    last.signal(Signal::TERM);
    assert_eq!(last.wait_exit(BOUND), 0);
    world.nothing_is_lost_or_sent_twice();
    assert_eq!(world.is_filed(), Ok(()), "after another start");
    Some(())
}

/// The faults begin when the daemon has had its first look, and end when they were met often enough.
fn run_daemon(world: &World, kills: usize) {
    let mut daemon = Daemon::start(&world.text);
    daemon.wait_log("first look");
    world.begin_faults();
    world.drop_files();
    if kills > 0 {
        world.wait_known();
    }
    for _ in 0..kills {
        world.wait_failed(1);
        daemon.kill();
        daemon = Daemon::start(&world.text);
    }
    world.wait_failed(4.min(world.case.times));
    world.faulty().heal();
    world.wait_filed();
    // It hears a signal from then on.
    daemon.wait_log("first look");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit(BOUND), 0);
}

/// The daemon is killed in the middle of filing, at this operation.
fn run_killed_at(world: &World, hang: Hang) {
    let mut daemon = Daemon::start(&world.text);
    daemon.wait_log("first look");
    world.faulty().set(Faults {
        hang: Some(hang),
        ..Faults::default()
    });
    world.drop_files();
    world.wait_hung();
    daemon.kill();
    world.forgive_what_is_in_flight();
    world.faulty().heal();
    let mut daemon = Daemon::start(&world.text);
    daemon.wait_log("first look");
    world.wait_filed();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit(BOUND), 0);
}

/// The faults are there from the start.
fn run_once(world: &World) {
    world.drop_files();
    world.begin_faults();
    for _ in 0..4 {
        let run = once(&world.text, &["--deadline", "2s"]);
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(
            matches!(run.status.code(), Some(0 | 1 | 3 | 4)),
            "{:?}: {said}",
            run.status
        );
        world.nothing_is_lost_or_sent_twice();
    }
    world.faulty().heal();
    let started = Instant::now();
    while world.is_filed().is_err() {
        let run = once(&world.text, &["--deadline", "10s"]);
        let said = String::from_utf8_lossy(&run.stderr);
        world.nothing_is_lost_or_sent_twice();
        assert!(started.elapsed() < BOUND, "{:?}: {said}", world.is_filed());
    }
    assert_eq!(
        once(&world.text, &[]).status.code(),
        Some(0),
        "nothing is left"
    );
}

/// Runs them side by side, and says which have failed.
pub(super) fn run_all(cases: Vec<Case>) {
    side_by_side(cases, run);
}

/// Runs `run` for each case, several at once, for they mostly wait, and says which have failed. It
/// says `None` where nothing can be mounted.
pub(super) fn side_by_side<C>(cases: Vec<C>, run: impl Fn(C) -> Option<()> + Sync)
where
    C: Copy + Debug + Send,
{
    assert!(!cases.is_empty());
    let name = std::thread::current().name().unwrap_or("main").to_owned();
    let (count, queue) = (cases.len(), Mutex::new(cases.into_iter()));
    let failures = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = queue.lock().unwrap().next();
            let Some(case) = next else { return };
            match std::panic::catch_unwind(AssertUnwindSafe(|| run(case))) {
                Ok(Some(())) => {}
                Ok(None) => return,
                Err(why) => {
                    let why = why.downcast_ref::<String>().cloned();
                    let why = why.unwrap_or_else(|| "a panic without words".into());
                    failures.lock().unwrap().push(format!("{case:?}: {why}"));
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..6 {
            let thread = std::thread::Builder::new().name(name.clone());
            thread.spawn_scoped(scope, work).expect("a thread");
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {count} cases:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
