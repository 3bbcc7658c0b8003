//! Files that wait in their folders, without a record.

use super::*;

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
fn a_listing_shows_as_many_new_files_as_there_is_room_for_and_the_others_wait() {
    let mut tree = tree();
    let how = Merging {
        settle: Settle::For(SETTLE),
        scan: 1,
        now: Now::default(),
        horizon: LONG_AGO,
        room: 2,
        takes_new: true,
        tells_late: false,
        since: &|_| Mono(0),
        is_ready: &|_, _, _| true,
    };
    let files = content(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)], &[]);
    assert_eq!(
        tree.merge(&Rel::root(), files, &how),
        [new("a", 1), new("b", 1)]
    );
    assert_eq!(tree.count().waiting, 2);
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
