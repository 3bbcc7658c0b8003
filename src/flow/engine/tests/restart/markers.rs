//! Markers that were used, over a restart.

use super::*;

#[test]
fn the_marker_of_a_delivered_file_that_is_missing_vouches_for_no_version_after_a_restart() {
    let stamp = |size, mtime| Stamp {
        size,
        mtime: Wall(mtime),
    };
    let journal = kept(&Rel::new(b"a"), stamp(1, 1), Some((0, 5)), Some(1));
    let mut engine = resumed_with_markers(journal);
    let listed = |marker| listed_with_marker(stamp(2, 2), marker);
    let mut effects = turn(&mut engine, 0, Input::Tick);
    effects.extend(turn(&mut engine, 0, Input::Confirmed));
    effects.extend(turn(&mut engine, 0, listed(stamp(0, 5))));
    assert_eq!(deliveries(effects).len(), 0, "that marker was used");
    let effects = turn(&mut engine, 10, listed(stamp(0, 6)));
    assert_eq!(deliveries(effects).len(), 1);
}

#[test]
fn the_marker_of_what_rests_vouches_for_no_version_while_one_before_it_is_still_on_its_way() {
    use crate::flow::filing::{Area, Move, Place};
    let stamp = |size, mtime| Stamp {
        size,
        mtime: Wall(mtime),
    };
    let path = Rel::new(b"a");
    let moving = Move {
        to: Place::new(Area::DeadLetter, path.clone()),
        copy_of: None,
    };
    let events = [
        journal::Event::condemned(&Reason::any(), Some(stamp(0, 4))),
        journal::Event::moving(&moving),
    ];
    let mut journal = journal_of(&path, stamp(1, 1), events);
    add_kept(&mut journal, &path, stamp(2, 2), Some((0, 5)), None);
    let mut engine = resumed_with_markers(journal);
    let listed = |marker| listed_with_marker(stamp(3, 3), marker);
    let mut effects = turn(&mut engine, 0, Input::Tick);
    effects.extend(turn(&mut engine, 0, Input::Confirmed));
    effects.extend(turn(&mut engine, 0, listed(stamp(0, 5))));
    effects.extend(turn(&mut engine, 10, listed(stamp(0, 5))));
    assert_eq!(deliveries(effects).len(), 0, "that marker was used");
    let effects = turn(&mut engine, 20, listed(stamp(0, 6)));
    assert_eq!(deliveries(effects).len(), 1);
}

#[test]
fn a_marker_that_comes_back_with_its_dead_letter_vouches_though_one_beside_it_was_seen_on_the_way()
{
    use crate::flow::filing::{Area, Move, Place};
    let (version, marker) = (
        Stamp {
            size: 1,
            mtime: Wall(1),
        },
        Stamp {
            size: 0,
            mtime: Wall(4),
        },
    );
    let path = Rel::new(b"a");
    let at = |area| Place::new(area, path.clone());
    let moving = Move {
        to: at(Area::DeadLetter),
        copy_of: Some(at(Area::Staging)),
    };
    let events = [
        journal::Event::condemned(&Reason::any(), Some(marker)),
        journal::Event::moving(&moving),
    ];
    let journal = journal_of(&path, version, events);
    let mut engine = resumed_with_markers(journal);
    let mut effects = turn(&mut engine, 0, Input::Tick);
    effects.extend(turn(&mut engine, 0, Input::Confirmed));
    // It was put back before, and is filed once more from its place.
    effects.extend(turn(&mut engine, 0, listed_with_marker(version, marker)));
    assert_eq!(deliveries(effects).len(), 0, "it is filed first");
    let to = Some(at(Area::DeadLetter));
    let mut effects = turn(&mut engine, 10, Input::Filed(FileNo(1), Filed::Away { to }));
    // And it is put back again, before any other listing.
    effects.extend(turn(&mut engine, 20, listed_with_marker(version, marker)));
    effects.extend(turn(&mut engine, 30, listed_with_marker(version, marker)));
    assert_eq!(deliveries(effects).len(), 1);
}

/// An engine with `keep` and markers that goes on from this journal.
fn resumed_with_markers(journal: journal::Replay) -> Engine {
    let mut engine = engine(|config| {
        config.delivered.action = Action::Keep;
        config.ready.marker = Some(MarkerRule::of_name(".done"));
    });
    let past = Handover {
        journal,
        ..Handover::default()
    };
    engine.resume(past, at(0));
    engine
}

/// A listing of the root with this version of `a` and this marker of it.
fn listed_with_marker(version: Stamp, marker: Stamp) -> Input {
    let look = |stamp| Look {
        stamp,
        fs: FsKind::Share,
        ..Look::default()
    };
    let mut content = Content::default();
    content.files.push(b"a", look(version));
    content.markers.push(b"a", look(marker));
    Input::Listed(ListedFolder {
        path: Rel::root(),
        content: Ok(content),
    })
}
