//! What `once` makes of names that have changed while it worked.

use super::*;
use crate::flow::messages::Effect;

/// A run that has until its 100th second; what settles does so for 5 s.
fn once(no_wait: bool) -> Policy {
    Policy {
        settle: Settle::For(Duration::from_secs(5)),
        ending: Ending::Once {
            deadline: Mono(100_000),
            no_wait,
        },
        ..policy()
    }
}

fn file(mtime: i64) -> Look {
    Look {
        stamp: Stamp {
            size: 1,
            mtime: Wall(EPOCH + mtime),
        },
        fs: FsKind::Share,
        ..Look::default()
    }
}

/// A run that has delivered `a` (mtime 1) by its 5th second, and finds that `b` (mtime 2) is not there
/// any more; what it asked for last.
fn worked() -> (Engine, Vec<Effect>) {
    let (mut engine, _) = started(once(false), &["a", "b"]);
    let mut sent = deliveries(pass(&mut engine, 0, 5_000));
    sent.sort_by(|a, b| a.path.cmp(&b.path));
    let (a, b) = (sent[0].file, sent[1].file);
    let mut effects = turn(&mut engine, 5_001, Input::Delivered(a, accepted_as(1)));
    effects.extend(turn(
        &mut engine,
        5_002,
        Input::Filed(a, Filed::Away { to: None }),
    ));
    let gone = Delivered::Missing(Miss::Gone);
    effects.extend(turn(&mut engine, 5_003, Input::Delivered(b, gone)));
    (engine, effects)
}

fn accepted_as(mtime: i64) -> Delivered {
    match accepted() {
        Delivered::Replied {
            verdict,
            reply,
            took,
            journaled,
            sha256,
            ..
        } => Delivered::Replied {
            verdict,
            reply,
            took,
            journaled,
            sha256,
            look: file(mtime),
        },
        other => other,
    }
}

fn scans(effects: &[Effect]) -> bool {
    effects.iter().any(|it| matches!(it, Effect::Scan(_)))
}

fn finish(effects: &[Effect]) -> Option<Finish> {
    effects.iter().find_map(|effect| match effect {
        Effect::Finish(how) => Some(*how),
        _ => None,
    })
}

/// What the last line says is left: settling, to be tried again, new.
fn left(effects: &[Effect]) -> Option<(usize, usize, usize)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Note(Note::LeftForNext {
            settling,
            left,
            new,
            ..
        }) => Some((*settling, *left, *new)),
        _ => None,
    })
}

/// The last listing shows this, and is over.
fn shown(engine: &mut Engine, now: i64, files: &[(&str, Look)]) -> Vec<Effect> {
    let mut effects = turn(engine, now, listed(files));
    effects.extend(turn(engine, now, Input::Scanned(Ok(()))));
    effects
}

#[test]
fn a_renamed_file_has_one_settle_time_and_is_delivered_and_a_new_one_is_only_counted() {
    let (mut engine, effects) = worked();
    assert!(scans(&effects) && finish(&effects).is_none(), "{effects:?}");
    let effects = shown(&mut engine, 5_010, &[("c", file(2)), ("new", file(9))]);
    assert_eq!(finish(&effects), None);
    let sent = deliveries(pass(&mut engine, 5_010, 10_010));
    let [sent] = &sent[..] else {
        panic!("the renamed one alone: {sent:?}")
    };
    assert_eq!(sent.path, Rel::new(b"c"));
    turn(
        &mut engine,
        10_020,
        Input::Delivered(sent.file, accepted_as(2)),
    );
    let filed = Input::Filed(sent.file, Filed::Away { to: None });
    let effects = turn(&mut engine, 10_030, filed);
    assert_eq!(finish(&effects), Some(Finish::Done));
    assert_eq!(left(&effects), Some((0, 0, 1)), "the last line counts it");
    engine.check();
}

#[test]
fn a_replaced_file_that_does_not_come_to_rest_within_one_settle_time_is_left_to_the_next_run() {
    let (mut engine, _) = worked();
    shown(&mut engine, 5_010, &[("a", file(8))]);
    // A look at it shows that it goes on changing.
    let sent = deliveries(pass(&mut engine, 5_010, 10_010));
    let changed = Delivered::Unsettled(Some(file(9)));
    let effects = turn(&mut engine, 10_020, Input::Delivered(sent[0].file, changed));
    assert_eq!(finish(&effects), Some(Finish::Left));
    assert_eq!(left(&effects), Some((1, 0, 0)));
}

#[test]
fn without_waiting_a_replaced_file_is_left_at_once() {
    let (mut engine, _) = worked();
    engine.policy.ending = once(true).ending;
    let effects = shown(&mut engine, 5_010, &[("a", file(8))]);
    assert_eq!(finish(&effects), Some(Finish::Left));
    assert_eq!(left(&effects), Some((1, 0, 0)));
    assert!(deliveries(effects).is_empty());
}

#[test]
fn new_files_alone_are_no_fault_and_a_run_with_nothing_to_do_lists_once() {
    let (mut engine, _) = worked();
    let effects = shown(&mut engine, 5_010, &[("new", file(9))]);
    assert_eq!(finish(&effects), Some(Finish::Done));
    assert_eq!(left(&effects), Some((0, 0, 1)));

    let mut idle = Engine::new(once(false), 1, at(0));
    idle.on(at(0), Input::Tick);
    let effects = shown(&mut idle, 1, &[]);
    assert_eq!(finish(&effects), Some(Finish::Done));
    assert!(!scans(&effects) && left(&effects).is_none());
}

#[test]
fn a_last_listing_that_shows_a_part_only_or_fails_is_no_success() {
    let (mut engine, _) = worked();
    let broken = ListedFolder {
        path: Rel::new(b"sub"),
        content: Err("Permission denied".into()),
    };
    turn(&mut engine, 5_010, Input::Listed(broken));
    let effects = shown(&mut engine, 5_011, &[]);
    assert_eq!(finish(&effects), Some(Finish::Left));

    let (mut engine, _) = worked();
    let away = Input::Scanned(Err("it is away".into()));
    assert_eq!(finish(&turn(&mut engine, 5_010, away)), Some(Finish::Left));

    let (mut engine, _) = worked();
    let mut effects = pass(&mut engine, 5_010, 100_000);
    effects.extend(turn(&mut engine, 100_001, Input::Tick));
    assert_eq!(finish(&effects), Some(Finish::Left), "it hangs");
}

#[test]
fn a_scan_that_was_under_way_when_the_last_file_was_dealt_with_is_not_the_last_listing() {
    let (mut engine, _) = started(once(false), &["a"]);
    let sent = deliveries(pass(&mut engine, 0, 5_000));
    let file_no = sent[0].file;
    turn(
        &mut engine,
        5_001,
        Input::Delivered(file_no, accepted_as(1)),
    );
    let begun = turn(&mut engine, 5_002, Input::Command(Command::Scan));
    assert!(scans(&begun), "{begun:?}");
    turn(
        &mut engine,
        5_003,
        Input::Filed(file_no, Filed::Away { to: None }),
    );
    // It may have read the name before.
    let effects = shown(&mut engine, 5_010, &[]);
    assert_eq!(finish(&effects), None);
    assert!(scans(&effects), "it lists once more");
    let effects = shown(&mut engine, 5_020, &[]);
    assert_eq!(finish(&effects), Some(Finish::Done));
}

#[test]
fn without_waiting_a_replaced_file_that_waits_for_its_writer_is_not_left_over() {
    let (mut engine, _) = worked();
    engine.policy.ending = once(true).ending;
    engine.policy.empty = crate::config::Empty::Wait;
    let mut empty = file(8);
    empty.stamp.size = 0;
    let effects = shown(&mut engine, 5_010, &[("a", empty)]);
    assert_eq!(finish(&effects), Some(Finish::Done));
}

#[test]
fn what_the_journal_tells_of_is_no_reason_to_list_once_more() {
    let events = [
        journal::Event::condemned(&Reason::any(), None),
        journal::Event::Copied,
    ];
    let journal = journal_of(&Rel::new(b"a"), file(1).stamp, events);
    let mut engine = Engine::new(once(false), 1, at(0));
    let past = Handover {
        journal,
        ..Handover::default()
    };
    engine.resume(past, at(0));
    engine.on(at(0), Input::Tick);
    let effects = shown(&mut engine, 1, &[("a", file(1))]);
    assert_eq!(finish(&effects), Some(Finish::Done));
    assert!(!scans(&effects));
}
