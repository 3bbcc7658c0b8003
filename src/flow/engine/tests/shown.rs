//! What is counted and kept for those who look: delays, failures, what waited.

use super::*;
use crate::flow::status::{Delays, Then};

const SETTLE: Duration = Duration::from_secs(5);

fn settling(marker: bool) -> Engine {
    let policy = Policy {
        settle: Settle::For(SETTLE),
        marker: marker.then(|| MarkerRule::of_name(".done")),
        ..policy()
    };
    Engine::new(policy, 1, at(0))
}

/// Shows the engine the file `a`, and its marker if that has come then.
fn scan(engine: &mut Engine, now: i64, marker: Option<i64>) -> Vec<Effect> {
    let mut content = Content::default();
    content.files.push(b"a", look(0));
    if let Some(came) = marker {
        let mut look = look(came);
        look.stamp.mtime = at(came).wall;
        content.markers.push(b"a", look);
    }
    let folder = ListedFolder {
        path: Rel::root(),
        content: Ok(content),
    };
    let mut all = turn(engine, now, Input::Command(Command::Scan));
    all.extend(turn(engine, now, Input::Confirmed));
    all.extend(turn(engine, now, Input::Listed(folder)));
    all.extend(turn(engine, now, Input::Scanned(Ok(()))));
    all
}

fn delays(engine: &Engine, now: i64) -> (u64, u64) {
    let delays: Delays = engine.work(at(now)).delivered.delays;
    (delays.count(), delays.sum_ms())
}

#[test]
fn the_delay_of_a_file_begins_when_it_has_been_still_for_long_enough() {
    let mut engine = settling(false);
    let mut sent = deliveries(scan(&mut engine, 1_000, None));
    sent.extend(deliveries(idle(&mut engine, 1_000, 8_000)));
    let job = sent.pop().expect("it is sent");
    turn(&mut engine, 9_000, Input::Delivered(job.file, accepted()));
    assert_eq!(delays(&engine, 9_000), (1, 3_000));
}

#[test]
fn the_delay_of_a_file_with_a_marker_begins_when_the_marker_comes() {
    let mut engine = settling(true);
    scan(&mut engine, 0, None);
    idle(&mut engine, 0, 60_000);
    let mut sent = deliveries(scan(&mut engine, 62_000, Some(61_000)));
    let job = sent.pop().expect("it is sent");
    turn(&mut engine, 63_500, Input::Delivered(job.file, accepted()));
    assert_eq!(delays(&engine, 63_500), (1, 2_500));
}

#[test]
fn an_outage_is_in_the_delay_is_one_failure_and_shows_what_waited() {
    let (mut engine, jobs) = started(policy(), &["a"]);
    let mut file = jobs[0].file;
    let mut now = 0;
    for _ in 0..3 {
        turn(&mut engine, now, Input::Delivered(file, unreachable()));
        let sent = deliveries(idle(&mut engine, now, now + 120_000));
        now += 120_000;
        file = sent.last().expect("it is tried again").file;
    }
    turn(&mut engine, now, Input::Delivered(file, accepted()));
    assert_eq!(delays(&engine, now), (1, u64::try_from(now).unwrap()));
    let work = engine.work(at(now));
    let failures: Vec<_> = work.failures.iter().collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!((failures[0].count, failures[0].then), (3, Then::Again));
    assert_eq!(failures[0].path, Rel::new(b"a"));
    let points = work.delivered.history.points(at(now).wall);
    assert!(points.iter().all(|point| point.waiting <= 1));
    assert!(points.iter().any(|point| point.waiting == 1));
    assert_eq!(points.last().map(|point| point.delivered.files), Some(1));
}

#[test]
fn what_goes_to_dead_letter_is_among_the_failures_and_no_delay() {
    let (mut engine, jobs) = started(policy(), &["a"]);
    turn(&mut engine, 5, Input::Delivered(jobs[0].file, rejected()));
    let work = engine.work(at(5));
    let failures: Vec<_> = work.failures.iter().map(|it| it.then).collect();
    assert_eq!(failures, [Then::DeadLetter]);
    assert_eq!(delays(&engine, 5), (0, 0));
}

#[test]
fn the_first_look_counts_the_version_that_lies_where_a_delivered_one_is_still_to_be_filed() {
    let stamp = |mtime| Stamp {
        size: 1,
        mtime: Wall(EPOCH + mtime),
    };
    let accepted = journal::Event::Accepted {
        key: "k".into(),
        status: 200,
        marker: None,
        keep: false,
    };
    let journal = journal_of(&Rel::new(b"a"), stamp(1), [accepted]);
    let past = Handover {
        journal,
        ..Handover::default()
    };
    let counted = |lies: Stamp| {
        let mut engine = Engine::new(policy(), 1, at(0));
        engine.resume(past.clone(), at(0));
        engine.on(at(0), Input::Tick);
        let look = Look {
            stamp: lies,
            ..Look::default()
        };
        engine.on(at(0), listed(&[("a", look)]));
        let effects = engine.on(at(0), Input::Scanned(Ok(())));
        effects.into_iter().find_map(|effect| match effect {
            Effect::Note(Note::Looked { files, unfiled, .. }) => Some((files, unfiled)),
            _ => None,
        })
    };
    assert_eq!(counted(stamp(1)), Some((0, 1)));
    assert_eq!(counted(stamp(2)), Some((1, 1)));
}
