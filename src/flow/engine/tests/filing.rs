//! Versions that are on their way to where they are filed, and what lies at their places.

use super::*;

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
            mtime: Wall(EPOCH + 9),
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
            mtime: Wall(EPOCH + 9),
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
            mtime: Wall(EPOCH + 9),
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
