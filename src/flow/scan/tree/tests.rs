mod waiting;

use std::time::Duration;

use super::*;
use crate::config::SendOrder;
use crate::flow::marker::MarkerRule;
use crate::flow::time::Now;

fn look(size: u64) -> Look {
    Look {
        stamp: Stamp {
            size,
            mtime: Wall(1),
        },
        ..Look::default()
    }
}

fn content(files: &[(&str, u64)], folders: &[&str]) -> Content {
    let mut content = Content::default();
    for &(name, size) in files {
        content.files.push(name.as_bytes(), look(size));
    }
    content.folders = folders
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    content
}

fn new(name: &str, size: u64) -> Event {
    Event::New {
        name: name.as_bytes().into(),
        look: look(size),
        marker: None,
    }
}

fn tree() -> Tree {
    Tree::new(Settle::For(SETTLE))
}

/// A merge with room for all that is new.
fn merge(
    tree: &mut Tree,
    path: &Rel,
    content: Content,
    scan: u64,
    now: Wall,
    horizon: Wall,
) -> Vec<Event> {
    let now = Now {
        wall: now,
        ..Now::default()
    };
    let how = Merging {
        settle: Settle::For(SETTLE),
        scan,
        now,
        horizon,
        room: usize::MAX,
        takes_new: true,
        tells_late: false,
        since: &|_| now.mono,
        is_ready: &|_, _, _| true,
    };
    let events = tree.merge(path, content, &how);
    tree.check();
    events
}

const SETTLE: Duration = Duration::from_secs(5);
const NOW: Wall = Wall(1_000);
const LONG_AGO: Wall = Wall(0);

#[test]
fn nothing_is_left_of_a_folder_that_went_with_files_in_motion() {
    let mut tree = tree();
    let (root, path) = (Rel::root(), Rel::new(b"a/b/f"));
    merge(&mut tree, &root, content(&[], &["a"]), 1, NOW, LONG_AGO);
    merge(
        &mut tree,
        &Rel::new(b"a"),
        content(&[], &["b"]),
        1,
        NOW,
        LONG_AGO,
    );
    merge(
        &mut tree,
        &Rel::new(b"a/b"),
        content(&[("f", 1)], &[]),
        1,
        NOW,
        LONG_AGO,
    );
    tree.set_moving(&path, FileNo(7));
    assert_eq!(
        merge(&mut tree, &root, content(&[], &[]), 2, NOW, LONG_AGO),
        [Event::Missing { file: FileNo(7) }]
    );
    tree.forget(&path);
    merge(&mut tree, &root, content(&[], &[]), 3, NOW, LONG_AGO);
    assert_eq!(tree.folders.keys().collect::<Vec<_>>(), [&root]);
}

#[test]
fn a_file_is_new_once_then_seen_then_missing() {
    let mut tree = tree();
    let root = Rel::root();
    assert_eq!(
        merge(
            &mut tree,
            &root,
            content(&[("a", 1)], &[]),
            1,
            NOW,
            LONG_AGO
        ),
        [new("a", 1)]
    );
    tree.set_moving(&Rel::new(b"a"), FileNo(7));
    let seen = Event::Seen {
        file: FileNo(7),
        look: look(2),
        marker: None,
    };
    assert_eq!(
        merge(
            &mut tree,
            &root,
            content(&[("a", 2)], &[]),
            2,
            NOW,
            LONG_AGO
        ),
        [seen]
    );
    assert_eq!(
        merge(&mut tree, &root, content(&[], &[]), 3, NOW, LONG_AGO),
        [Event::Missing { file: FileNo(7) }]
    );
}

#[test]
fn a_kept_file_is_silent_until_it_changes_and_stays_known_while_it_is_away() {
    let mut tree = tree();
    let (root, path) = (Rel::root(), Rel::new(b"a"));
    let away = |size| Event::Away {
        path: Rel::new(b"a"),
        stamp: look(size).stamp,
    };
    let back = |size| Event::Back {
        path: Rel::new(b"a"),
        stamp: look(size).stamp,
    };
    let list = |tree: &mut Tree, files: &[(&str, u64)], scan| {
        merge(tree, &root, content(files, &[]), scan, NOW, LONG_AGO)
    };
    tree.set_resting(&path, look(1).stamp);
    for scan in 1..4 {
        assert_eq!(list(&mut tree, &[("a", 1)], scan), []);
    }
    assert_eq!(list(&mut tree, &[], 4), [away(1)]);
    assert_eq!(list(&mut tree, &[], 4), []);
    assert_eq!(list(&mut tree, &[("a", 1)], 5), [back(1)]);
    assert_eq!(list(&mut tree, &[("a", 2)], 6), [new("a", 2), away(1)]);
    tree.set_moving(&path, FileNo(1));
    tree.set_resting(&path, look(2).stamp);
    assert_eq!(list(&mut tree, &[("a", 2)], 7), []);
    assert_eq!(list(&mut tree, &[], 8), [away(2)]);
    let forgotten = Event::Forgotten {
        path,
        stamp: look(2).stamp,
    };
    assert_eq!(
        merge(&mut tree, &root, content(&[], &[]), 9, Wall(2_000), NOW),
        [forgotten]
    );
    assert_eq!(list(&mut tree, &[("a", 2)], 10), [new("a", 2)]);
}

#[test]
fn kept_files_of_a_folder_that_is_gone_are_known_until_their_time_is_over_also_after_a_restart() {
    let mut tree = tree();
    let (root, path) = (Rel::root(), Rel::new(b"a/b/f"));
    tree.set_resting(&path, look(1).stamp);
    tree.set_away(&Rel::new(b"a/g"), look(1).stamp, Wall(10));
    let away = Event::Away {
        path: path.clone(),
        stamp: look(1).stamp,
    };
    let forgotten = |path: &[u8]| Event::Forgotten {
        path: Rel::new(path),
        stamp: look(1).stamp,
    };
    assert_eq!(
        merge(&mut tree, &root, content(&[], &[]), 1, NOW, Wall(10)),
        [away, forgotten(b"a/g")]
    );
    assert_eq!(
        merge(&mut tree, &root, content(&[], &["a"]), 2, NOW, Wall(10)),
        []
    );
    assert_eq!(
        merge(
            &mut tree,
            &Rel::new(b"a"),
            content(&[], &["b"]),
            2,
            NOW,
            Wall(10)
        ),
        []
    );
    let back = Event::Back {
        path: path.clone(),
        stamp: look(1).stamp,
    };
    assert_eq!(
        merge(
            &mut tree,
            &Rel::new(b"a/b"),
            content(&[("f", 1)], &[]),
            2,
            NOW,
            Wall(10)
        ),
        [back]
    );
    merge(&mut tree, &root, content(&[], &[]), 3, NOW, Wall(10));
    assert_eq!(
        merge(&mut tree, &root, content(&[], &[]), 4, Wall(2_000), NOW),
        [forgotten(b"a/b/f")]
    );
    assert_eq!(tree.folders.len(), 1);
}

#[test]
fn a_name_that_cannot_be_looked_at_stays_what_it_was_and_the_others_go_on() {
    let mut tree = tree();
    let root = Rel::root();
    tree.set_resting(&Rel::new(b"kept"), look(1).stamp);
    merge(
        &mut tree,
        &root,
        content(&[("kept", 1), ("moving", 1)], &[]),
        1,
        NOW,
        LONG_AGO,
    );
    tree.set_moving(&Rel::new(b"moving"), FileNo(7));
    tree.set_resting(&Rel::new(b"rested"), look(1).stamp);
    for scan in 2..5 {
        let mut listed = content(&[("new", 1)], &[]);
        listed.unseen = [&b"kept"[..], b"moving", b"rested"]
            .map(<[u8]>::to_vec)
            .to_vec();
        assert_eq!(
            merge(&mut tree, &root, listed, scan, NOW, LONG_AGO),
            [new("new", 1)]
        );
    }
    let events = merge(
        &mut tree,
        &root,
        content(&[("kept", 1), ("moving", 1), ("rested", 1)], &[]),
        5,
        NOW,
        LONG_AGO,
    );
    assert_eq!(
        events,
        [Event::Seen {
            file: FileNo(7),
            look: look(1),
            marker: None
        }]
    );
}

#[test]
fn what_is_disturbed_is_new_again() {
    let mut tree = tree();
    let root = Rel::root();
    tree.set_resting(&Rel::new(b"a"), look(1).stamp);
    tree.set_resting(&Rel::new(b"b"), look(1).stamp);
    merge(
        &mut tree,
        &root,
        content(&[("a", 1), ("b", 1)], &[]),
        1,
        NOW,
        LONG_AGO,
    );
    tree.forget_delivered(&Rel::new(b"a"));
    assert_eq!(
        merge(
            &mut tree,
            &root,
            content(&[("a", 1), ("b", 1)], &[]),
            2,
            NOW,
            LONG_AGO
        ),
        [new("a", 1)]
    );
}

#[test]
fn a_listing_from_before_a_file_was_filed_does_not_bring_it_back_but_the_next_one_does() {
    let mut tree = tree();
    let root = Rel::root();
    merge(
        &mut tree,
        &root,
        content(&[("a", 1)], &[]),
        1,
        NOW,
        LONG_AGO,
    );
    tree.set_moving(&Rel::new(b"a"), FileNo(7));
    tree.set_left(&Rel::new(b"a"), Some(2));
    assert_eq!(
        merge(
            &mut tree,
            &root,
            content(&[("a", 1)], &[]),
            2,
            NOW,
            LONG_AGO
        ),
        []
    );
    assert_eq!(
        merge(
            &mut tree,
            &root,
            content(&[("a", 1)], &[]),
            3,
            NOW,
            LONG_AGO
        ),
        [new("a", 1)]
    );
}

#[test]
fn a_folder_that_is_gone_takes_what_is_below_it_along_and_no_neighbour() {
    let mut tree = tree();
    merge(
        &mut tree,
        &Rel::root(),
        content(&[], &["d", "d-e"]),
        1,
        NOW,
        LONG_AGO,
    );
    merge(
        &mut tree,
        &Rel::new(b"d"),
        content(&[], &["x"]),
        1,
        NOW,
        LONG_AGO,
    );
    for (file, path) in [(1, "d/x/f"), (2, "d/f"), (3, "d-e/f")] {
        tree.set_moving(&Rel::new(path.as_bytes()), FileNo(file));
    }
    let events = merge(
        &mut tree,
        &Rel::root(),
        content(&[], &["d-e"]),
        2,
        NOW,
        LONG_AGO,
    );
    assert_eq!(
        events,
        [
            Event::Missing { file: FileNo(1) },
            Event::Missing { file: FileNo(2) }
        ]
    );
}

#[test]
fn a_marker_comes_with_its_file() {
    let mut tree = tree();
    let mut listed = content(&[("a", 1), ("b", 1)], &[]);
    listed.markers.push(b"b", look(0));
    let events = merge(&mut tree, &Rel::root(), listed, 1, NOW, LONG_AGO);
    assert_eq!(
        events[1],
        Event::New {
            name: (*b"b").into(),
            look: look(1),
            marker: Some(look(0))
        }
    );
    assert_eq!(events[0], new("a", 1));
}
#[test]
fn what_is_to_be_delivered_again_where_it_lies_needs_its_marker() {
    let mut tree = tree();
    let (one, other) = (Rel::new(b"a.csv"), Rel::new(b"a.xml"));
    tree.set_resting(&other, look(1).stamp);
    let listed = content(&[("a.csv", 1), ("a.xml", 1)], &[]);
    merge(&mut tree, &Rel::root(), listed, 1, NOW, LONG_AGO);
    let rule = MarkerRule::of_stem(".done");
    assert!(!tree.shares_marker(&one, &rule, |_| false));
    tree.forget_delivered(&other);
    assert!(tree.shares_marker(&one, &rule, |_| false));
}
