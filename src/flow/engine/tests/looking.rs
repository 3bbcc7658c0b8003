//! What scans are asked to look at.

use super::*;
use crate::flow::scan::rounds::Wanted;

/// What the scan is asked for that begins with these effects.
fn wanted(effects: Vec<Effect>) -> Option<Wanted> {
    effects.into_iter().find_map(|effect| match effect {
        Effect::Scan(order) => Some(order.wanted),
        _ => None,
    })
}

/// The scan under way ends, with its rounds given back, and the next one begins: what it is asked
/// for.
fn next_wanted(engine: &mut Engine, from: i64) -> Wanted {
    let rounds = Box::new(Rounds::new(Rewrites::Auto));
    engine.on(at(from), Input::Rounds(rounds));
    let mut effects = engine.on(at(from), Input::Scanned(Ok(())));
    let mut now = from;
    loop {
        if let Some(wanted) = wanted(effects) {
            return wanted;
        }
        now = engine.wake_at().expect("the next scan").0.max(now + 1);
        effects = engine.on(at(now), Input::Tick);
    }
}

fn must(wanted: &Wanted) -> Vec<String> {
    wanted.must.iter().map(ToString::to_string).collect()
}

fn listed_in(folder: &str, name: &str) -> Input {
    let Input::Listed(mut listed) = listed(&[(name, look_of_sent())]) else {
        unreachable!("it is a listing")
    };
    listed.path = Rel::new(folder.as_bytes());
    Input::Listed(listed)
}

#[test]
fn the_first_scan_one_that_is_asked_for_and_those_of_once_look_at_everything() {
    let mut engine = engine(|config| config.watch.interval = Duration::from_secs(5));
    let first = wanted(engine.on(at(0), Input::Tick)).unwrap();
    assert!(first.everything);
    assert!(!next_wanted(&mut engine, 1_000).everything);
    engine.on(at(6_000), Input::Command(Command::Scan));
    assert!(next_wanted(&mut engine, 7_000).everything);
    assert!(!next_wanted(&mut engine, 8_000).everything);

    let deadline = Mono(600_000);
    let ending = Ending::Once {
        deadline,
        no_wait: false,
    };
    let interval = Duration::from_secs(5);
    let policy = Policy {
        ending,
        interval,
        ..policy()
    };
    let mut once = Engine::new(policy, 1, at(0));
    assert!(wanted(once.on(at(0), Input::Tick)).unwrap().everything);
    once.on(at(1), listed_in("", "a"));
    assert!(next_wanted(&mut once, 1_000).everything);
}

#[test]
fn rounds_that_do_not_come_back_are_no_reason_to_pass_anything_over() {
    let mut engine = engine(|config| config.watch.interval = Duration::from_secs(5));
    engine.on(at(0), Input::Tick);
    engine.on(at(1), Input::Scanned(Ok(())));
    let effects = engine.on(at(6_000), Input::Tick);
    assert!(wanted(effects).unwrap().everything);
}

#[test]
fn folders_are_looked_at_in_which_a_file_settles_and_not_those_in_which_one_waits_for_the_endpoint()
{
    let mut engine = engine(|config| {
        config.watch.interval = Duration::from_secs(5);
        config.ready.settle = Settle::For(Duration::from_secs(8));
        config.send.workers = 1;
    });
    engine.on(at(0), Input::Tick);
    engine.on(at(1), listed_in("one", "a"));
    engine.on(at(2), listed_in("two", "b"));
    assert_eq!(must(&next_wanted(&mut engine, 3)), ["one", "two"]);
    assert_eq!(must(&next_wanted(&mut engine, 5_500)), [""; 0]);
    let counts = [At::Sending, At::Ready].map(|at| engine.files.count(at));
    assert_eq!(counts, [1, 1]);
}

#[test]
fn a_folder_in_which_a_name_was_let_go_of_is_looked_at_by_the_next_scan_and_that_once() {
    let mut engine = engine(|config| {
        config.watch.interval = Duration::from_secs(5);
    });
    engine.on(at(0), Input::Tick);
    let effects = engine.on(at(1), listed_in("sub", "a"));
    let job = deliveries(effects).pop().unwrap();
    // It goes while a scan is under way that may have listed its folder before.
    engine.on(
        at(2),
        Input::Delivered(job.file, Delivered::Missing(Miss::Gone)),
    );
    assert_eq!(must(&next_wanted(&mut engine, 3)), ["sub"]);
    engine.on(at(5_100), emptied("sub"));
    assert_eq!(must(&next_wanted(&mut engine, 5_500)), [""; 0]);
}

/// The listing of a folder in which nothing is.
fn emptied(folder: &str) -> Input {
    Input::Listed(ListedFolder {
        path: Rel::new(folder.as_bytes()),
        content: Ok(Content::default()),
    })
}
