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
    tree.set_resting(&path, look(1).stamp);
    for scan in 1..4 {
        assert_eq!(
            merge(
                &mut tree,
                &root,
                content(&[("a", 1)], &[]),
                scan,
                NOW,
                LONG_AGO
            ),
            []
        );
    }
    assert_eq!(
        merge(&mut tree, &root, content(&[], &[]), 4, NOW, LONG_AGO),
        [away(1)]
    );
    assert_eq!(
        merge(&mut tree, &root, content(&[], &[]), 4, NOW, LONG_AGO),
        []
    );
    assert_eq!(
        merge(
            &mut tree,
            &root,
            content(&[("a", 1)], &[]),
            5,
            NOW,
            LONG_AGO
        ),
        [back(1)]
    );
    assert_eq!(
        merge(
            &mut tree,
            &root,
            content(&[("a", 2)], &[]),
            6,
            NOW,
            LONG_AGO
        ),
        [new("a", 2), away(1)]
    );
    tree.set_moving(&path, FileNo(1));
    tree.set_resting(&path, look(2).stamp);
    assert_eq!(
        merge(
            &mut tree,
            &root,
            content(&[("a", 2)], &[]),
            7,
            NOW,
            LONG_AGO
        ),
        []
    );
    assert_eq!(
        merge(&mut tree, &root, content(&[], &[]), 8, NOW, LONG_AGO),
        [away(2)]
    );
    let forgotten = Event::Forgotten {
        path,
        stamp: look(2).stamp,
    };
    assert_eq!(
        merge(&mut tree, &root, content(&[], &[]), 9, Wall(2_000), NOW),
        [forgotten]
    );
    assert_eq!(
        merge(
            &mut tree,
            &root,
            content(&[("a", 2)], &[]),
            10,
            NOW,
            LONG_AGO
        ),
        [new("a", 2)]
    );
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
fn what_there_is_no_room_for_waits_in_its_folder_and_comes_out_in_the_order_of_its_stillness() {
    let mut world = World::new(5);
    world.list("a", &[("late", 1)], 100);
    world.list("a", &[("late", 1), ("later", 1)], 200);
    world.list("b", &[("x", 1)], 150);
    assert_eq!(world.tree.count().waiting, 3);
    // In steps of 16 ms, rounded up.
    assert_eq!(world.tree.next_due(), Some(Mono(112 + 5_000)));
    assert!(world.take(9, 5_111).is_empty(), "nothing is due yet");
    assert_eq!(world.take(9, 9_000), ["a/late", "a/later", "b/x"]);
    assert_eq!(world.tree.count().waiting, 0);
    assert_eq!(world.tree.next_due(), None);
}

#[test]
fn what_changes_while_it_waits_begins_to_be_still_again_and_what_does_not_keeps_its_time() {
    let mut world = World::new(5);
    world.list("a", &[("same", 1), ("changed", 1)], 0);
    world.list("a", &[("same", 1), ("changed", 2)], 4_000);
    assert_eq!(world.take(9, 5_000), ["a/same"]);
    assert_eq!(world.take(9, 9_500), ["a/changed"]);
    // A chmod shows in the ctime alone.
    world.list("b", &[("f", 1)], 10_000);
    world.ctime = 7;
    world.list("b", &[("f", 1)], 14_000);
    assert!(world.take(9, 15_500).is_empty());
    assert_eq!(world.take(9, 19_500), ["b/f"]);
}

#[test]
fn no_folder_keeps_another_one_waiting() {
    let mut world = World::new(0);
    let names: Vec<String> = (0..5_000).map(|n| format!("f{n:05}")).collect();
    let many: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    world.list("many", &many, 0);
    world.list("few", &[("x", 1), ("y", 1)], 60_000);
    let taken = world.take(200, 100_000);
    assert_eq!(taken.len(), 200);
    assert!(taken.contains(&"few/x".to_string()) && taken.contains(&"few/y".to_string()));
    let mut rest = Vec::new();
    while rest.len() < 4_802 {
        let taken = world.take(1_000, 100_000);
        assert!(!taken.is_empty());
        rest.extend(taken);
    }
    assert!(rest.is_sorted(), "in order, through more than one run");
}

#[test]
fn the_first_by_mtime_and_path_or_by_path_come_out_first_from_all_folders() {
    let mut world = World::new(5);
    for (folder, mtimes) in [("a", [5, 1]), ("b", [3, 2])] {
        let files = [("x", mtimes[0] as u64), ("y", mtimes[1] as u64)];
        world.list_with(folder, &files, 0, |n| Stamp {
            size: 1,
            mtime: Wall(n as i64),
        });
    }
    for (order, expected) in [
        (SendOrder::Mtime, ["a/y", "b/y", "b/x"]),
        (SendOrder::Name, ["a/x", "a/y", "b/x"]),
    ] {
        let (taken, next) = world.tree.clone().take_first(order, 3, Mono(5_000));
        let paths: Vec<String> = taken.iter().map(|taken| taken.path.to_string()).collect();
        assert_eq!((&paths[..], next), (&expected.map(String::from)[..], None));
    }
    world.tree.take_first(SendOrder::Mtime, 3, Mono(5_000));
    world.list("c", &[("z", 1)], 9_000);
    let (taken, next) = world.tree.take_first(SendOrder::Mtime, 1, Mono(9_001));
    assert_eq!((taken.len(), next), (1, Some(Mono(9_008 + 5_000))));
}

#[test]
fn a_file_whose_writer_is_not_done_is_not_taken_before_he_is_and_keeps_its_time() {
    let mut world = World::new(5);
    world.is_ready = false;
    world.list("a", &[("f", 1)], 0);
    assert_eq!(world.tree.count().idle, 1);
    assert_eq!(world.tree.next_due(), None);
    assert!(world.take(9, 60_000).is_empty());
    assert_eq!(world.tree.need_look(Mono(60_000)).count(), 1);
    world.is_ready = true;
    world.list("a", &[("f", 1)], 61_000);
    assert_eq!(world.take(9, 61_000), ["a/f"]);
}

#[test]
fn a_look_is_needed_where_something_settles_and_nowhere_else() {
    let mut world = World::new(5);
    world.list("a", &[("f", 1)], 0);
    world.list("b", &[], 0);
    world.tree.set_resting(&Rel::new(b"b/kept"), look(1).stamp);
    let need = |world: &World, now| {
        let paths = world.tree.need_look(Mono(now)).map(Rel::to_string);
        paths.collect::<Vec<_>>()
    };
    assert_eq!(need(&world, 1_000), ["a"]);
    assert_eq!(need(&world, 5_016), Vec::<String>::new());
    // What was filed away may have a successor that the listing did not show.
    world.take(1, 6_000);
    world.tree.set_left(&Rel::new(b"a/f"), None);
    assert_eq!(need(&world, 6_000), ["a"]);
    world.list("a", &[], 7_000);
    assert_eq!(need(&world, 7_000), Vec::<String>::new());
}

/// A tree into which everything is listed without room for records.
struct World {
    tree: Tree,
    scan: u64,
    ctime: i64,
    is_ready: bool,
}

impl World {
    fn new(settle: u64) -> World {
        World {
            tree: Tree::new(Settle::For(Duration::from_secs(settle))),
            scan: 0,
            ctime: 1,
            is_ready: true,
        }
    }

    fn list(&mut self, folder: &str, files: &[(&str, u64)], now: i64) {
        self.list_with(folder, files, now, |size| look(size).stamp);
    }

    fn list_with(
        &mut self,
        folder: &str,
        files: &[(&str, u64)],
        now: i64,
        stamp: impl Fn(u64) -> Stamp,
    ) {
        let mut content = Content::default();
        let mut files = files.to_vec();
        files.sort_unstable();
        for (name, value) in files {
            let look = Look {
                stamp: stamp(value),
                ctime: Wall(self.ctime),
                ..Look::default()
            };
            content.files.push(name.as_bytes(), look);
        }
        self.scan += 1;
        let is_ready = self.is_ready;
        let how = Merging {
            settle: Settle::For(SETTLE),
            scan: self.scan,
            now: Now {
                mono: Mono(now),
                ..Now::default()
            },
            horizon: LONG_AGO,
            room: 0,
            takes_new: true,
            tells_late: false,
            since: &|_| Mono(now),
            is_ready: &|_, _, _| is_ready,
        };
        let events = self.tree.merge(&Rel::new(folder.as_bytes()), content, &how);
        assert_eq!(events, []);
        self.tree.check();
    }

    /// What is taken by `now`, set in motion.
    fn take(&mut self, room: usize, now: i64) -> Vec<String> {
        let taken = self.tree.take_waiting(room, Mono(now));
        for (number, waiting) in (1..).zip(&taken) {
            self.tree.set_moving(&waiting.path, FileNo(number));
        }
        self.tree.check();
        taken.iter().map(|taken| taken.path.to_string()).collect()
    }
}

#[test]
fn what_waits_without_a_record_and_never_comes_to_rest_is_counted() {
    let mut tree = tree();
    let list = |tree: &mut Tree, minute: i64, size: u64| {
        let now = Now {
            mono: Mono(minute * 60_000),
            ..Now::default()
        };
        let how = Merging {
            settle: Settle::For(Duration::from_secs(30)),
            scan: 1,
            now,
            horizon: LONG_AGO,
            room: 0,
            takes_new: true,
            tells_late: false,
            since: &|_| now.mono,
            is_ready: &|_, _, _| true,
        };
        let files = [("calm.csv", 1), ("grows.log", size)];
        tree.merge(&Rel::new(b"d"), content(&files, &[]), &how);
        tree.restless(now.mono)
    };
    tree.set_settle(Settle::For(Duration::from_secs(30)));
    for minute in 0..=10 {
        assert_eq!(list(&mut tree, minute, minute as u64), None, "{minute}");
    }
    let restless = list(&mut tree, 11, 11).expect("it has changed for ten minutes");
    assert_eq!(
        (restless.files, restless.first),
        (1, Rel::new(b"d/grows.log"))
    );
    assert_eq!(restless.since, Mono(60_000), "it was seen to change then");
    // Four settle times without a change: it has come to rest, and begins again.
    assert_eq!(list(&mut tree, 13, 11), None);
    assert_eq!(list(&mut tree, 14, 12), None);
    for minute in 15..24 {
        assert_eq!(list(&mut tree, minute, minute as u64), None, "{minute}");
    }
    assert!(list(&mut tree, 24, 24).is_some());
    // It is in hand now, where the engine counts it.
    tree.set_moving(&Rel::new(b"d/grows.log"), FileNo(1));
    assert_eq!(list(&mut tree, 25, 25), None);
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
