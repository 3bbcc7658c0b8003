//! Files that are filed side by side, over a file system in memory, in whatever order their operations are
//! done.

mod memory;

use std::collections::{BTreeMap, BTreeSet};

use self::memory::{Memory, place};
use super::*;
use crate::config::Action;
use crate::flow::file::{Entry, FileNo, Look, Rel, Stamp};
use crate::flow::filing::disk::{Copied, Disk, Line};
use crate::flow::filing::{
    Acceptance, Area, Fate, FaultKind, Filed, Kept, Outcome, Progress, Reason,
};
use crate::flow::marker::MarkerRule;
use crate::flow::rng::Rng;

/// Files that are to be filed, and where.
struct Case {
    disk: Memory,
    jobs: Vec<Filing>,
    rules: Rules,
}

/// What was accepted is moved, without markers.
const MOVES: Rules = Rules {
    action: Action::Move,
    marker: None,
    read_only: false,
    notes_kept: false,
};

/// Names of which some get the same name where they are filed, when numbers are put in, and some share a stem.
const NAMES: [&str; 10] = [
    "x.csv",
    "x.1.csv",
    "x.2.csv",
    "x.1.1.csv",
    "x.xml",
    "x",
    "d/x.csv",
    "d/y",
    "y",
    "x.csv.done",
];

impl Case {
    fn draw(rng: &mut Rng) -> Case {
        let marker = match rng.below(3) {
            0 => None,
            1 => Some(MarkerRule::of_name(".done")),
            _ => Some(MarkerRule::of_stem(".done")),
        };
        let rules = Rules {
            action: [Action::Move, Action::Delete][rng.below(2) as usize],
            marker,
            ..MOVES
        };
        let mut disk = Memory {
            renames: rng.below(2) == 0,
            ..Memory::default()
        };
        for area in [Area::Done, Area::DeadLetter] {
            for name in NAMES {
                if rng.below(4) == 0 {
                    let at = place(area, name);
                    if !disk.names.contains_key(&at) {
                        disk.put(at, 7);
                    }
                }
            }
        }
        let mut names: BTreeSet<&str> = NAMES.into();
        names.retain(|_| rng.below(4) > 0);
        let all_accepted = rng.below(2) == 0;
        let jobs = (1..).zip(names).map(|(number, name)| {
            let at = place(Area::Watched, name);
            let look = match disk.names.get(&at) {
                // It is the marker of another one.
                Some(look) => *look,
                None => disk.put(at.clone(), 100 + number),
            };
            let marker = rules.marker.as_ref().map(|rule| at.marker(rule));
            let marker = marker.map(|at| match disk.names.get(&at) {
                Some(look) => *look,
                None => disk.put(at, 3),
            });
            let accepted = all_accepted || rng.below(2) == 0;
            Filing {
                file: FileNo(number),
                path: at.path,
                look,
                sha256: None,
                marker,
                fate: if accepted {
                    accepted_fate()
                } else {
                    condemned_fate()
                },
                receipt: None,
                progress: Progress::Unwritten,
            }
        });
        let jobs = jobs.collect();
        Case { disk, jobs, rules }
    }

    /// Files them all, `width` operations at a time, of which `pick` says which is done next.
    fn file(&self, width: usize, mut pick: impl FnMut(usize) -> usize) -> (Memory, Outcome) {
        let mut disk = self.disk.clone();
        let carried = Carried::default();
        let mut batch = Batch::side_by_side(self.jobs.clone(), &self.rules, carried, Wall(5));
        let mut out: Vec<Order> = Vec::new();
        loop {
            while out.len() < width
                && let Some(order) = batch.hand_out()
            {
                out.push(order);
            }
            if out.is_empty() {
                if !batch.step(&mut disk) {
                    return (disk, batch.outcome());
                }
                continue;
            }
            let order = out.remove(pick(out.len()));
            let answer = order.operation.carry_out(&mut disk);
            batch.hand_back(order.number, answer);
        }
    }
}

fn accepted_fate() -> Fate {
    Fate::Accepted(Acceptance {
        key: "k".into(),
        status: 200,
    })
}

fn condemned_fate() -> Fate {
    Fate::Condemned(Box::new(Reason::any()))
}

#[test]
fn whichever_is_done_first_all_are_filed_the_same_way_and_nothing_is_replaced_or_lost() {
    for seed in 0..600 {
        let mut rng = Rng::new(seed);
        let case = Case::draw(&mut rng);
        let width = 1 + rng.below(8) as usize;
        let (first, filed) = case.file(width, |_| 0);
        let (last, other) = case.file(width, |out| out - 1);
        let (any, another) = case.file(width, |out| rng.below(out as u64) as usize);
        assert_eq!(filed.filed, other.filed, "seed {seed}");
        assert_eq!(filed.filed, another.filed, "seed {seed}");
        assert_eq!(first.lines, last.lines, "seed {seed}");
        assert_eq!(first.lines, any.lines, "seed {seed}");
        let at_end: BTreeSet<u64> = any.names.values().map(|look| look.ino).collect();
        for (job, (_, filed)) in case.jobs.iter().zip(&filed.filed) {
            let Filed::Away { to } = filed else {
                // Only a name that is a marker as well is taken away with another file.
                let is_marker = job.path.as_bytes().ends_with(b".done");
                assert!(is_marker, "seed {seed}: {} {filed:?}", job.path);
                continue;
            };
            match to {
                Some(to) => assert_eq!(any.names[to].ino, job.look.ino, "seed {seed}: {to}"),
                None => assert!(!at_end.contains(&job.look.ino), "seed {seed}"),
            }
            let place = Place::new(Area::Watched, job.path.clone());
            assert!(
                !any.names.contains_key(&place),
                "seed {seed}: {place} stays"
            );
        }
        for look in case.disk.names.values().filter(|look| look.stamp.size == 7) {
            assert!(at_end.contains(&look.ino), "seed {seed}: one is lost");
        }
        let staging = any.names.keys().find(|at| at.area == Area::Staging);
        assert_eq!(staging, None, "seed {seed}");
    }
}

/// Files that were accepted and lie in the watched folder.
fn accepted(disk: &mut Memory, names: &[&str]) -> Vec<Filing> {
    let jobs = (1..).zip(names).map(|(number, name)| Filing {
        file: FileNo(number),
        path: Rel::new(name.as_bytes()),
        look: disk.put(place(Area::Watched, name), number),
        sha256: None,
        marker: None,
        fate: accepted_fate(),
        receipt: None,
        progress: Progress::Unwritten,
    });
    jobs.collect()
}

/// The operations that are handed out at the beginning for accepted files of these names.
fn begin(names: &[&str], marker: Option<MarkerRule>) -> usize {
    let mut disk = Memory::default();
    let mut jobs = accepted(&mut disk, names);
    for job in &mut jobs {
        job.marker = marker.is_some().then(Look::default);
        job.progress = Progress::Written;
    }
    let rules = Rules { marker, ..MOVES };
    let mut batch = Batch::side_by_side(jobs, &rules, Carried::default(), Wall(5));
    std::iter::from_fn(|| batch.hand_out()).count()
}

#[test]
fn files_without_a_common_name_go_side_by_side_and_those_of_one_marker_one_after_the_other() {
    let of_stem = MarkerRule::of_stem(".done");
    let of_name = MarkerRule::of_name(".done");
    assert_eq!(begin(&["a.csv", "a.xml", "b.csv"], None), 3);
    assert_eq!(begin(&["a.csv", "a.xml", "b.csv"], Some(of_name)), 3);
    assert_eq!(begin(&["a.csv", "a.xml", "b.csv"], Some(of_stem)), 2);
}

#[test]
fn folders_of_one_side_are_brought_onto_the_disk_side_by_side_and_once_each_and_targets_come_first()
{
    let mut disk = Memory {
        renames: true,
        ..Memory::default()
    };
    let jobs = accepted(&mut disk, &["a/1", "a/2", "b/1", "b/2", "c/1"]);
    let mut batch = Batch::side_by_side(jobs, &MOVES, Carried::default(), Wall(5));
    let (mut sides, mut together) = (Vec::new(), Vec::new());
    loop {
        let out: Vec<Order> = std::iter::from_fn(|| batch.hand_out()).collect();
        let side = |order: &Order| match order.operation {
            Operation::SyncFolder(side, _) => Some(side),
            _ => None,
        };
        if out.is_empty() && !batch.step(&mut disk) {
            break;
        }
        if let Some(side) = out.first().and_then(side) {
            sides.push(side);
            together.push(out.len());
        }
        for order in out {
            let answer = order.operation.carry_out(&mut disk);
            batch.hand_back(order.number, answer);
        }
    }
    assert_eq!(sides, [Side::Target, Side::Source]);
    assert_eq!(together, [3, 3]);
    assert_eq!(disk.synced.len(), 6);
    assert!(
        disk.synced.values().all(|&times| times == 1),
        "{:?}",
        disk.synced
    );
}

#[test]
fn an_fsync_that_fails_for_one_file_is_none_for_the_others_whose_names_it_was_to_bring_onto_the_disk()
 {
    let mut disk = Memory {
        renames: true,
        grows: Some(place(Area::Watched, "b")),
        fails: Some(place(Area::Done, "")),
        ..Memory::default()
    };
    let jobs = accepted(&mut disk, &["a", "b"]);
    let case = Case {
        jobs,
        rules: MOVES,
        disk,
    };
    for width in [1, 2] {
        let (disk, outcome) = case.file(width, |_| 0);
        // It is asked for before `b`, which is another version, is put back.
        let [(_, a), (_, b)] = &outcome.filed[..] else {
            panic!("{outcome:?}");
        };
        assert!(matches!(a, Filed::Away { .. }), "{a:?}");
        assert!(matches!(b, Filed::Failed { .. }), "{b:?}");
        assert!(outcome.synced.is_err());
        let filed = |line: &Line| line.event == crate::flow::journal::Event::Filed;
        assert!(
            !disk.lines.iter().any(filed),
            "a power cut may take `a` from done: {:?}",
            disk.lines
        );
    }
}

/// A file `a` that was accepted, and is moved to a `done` that files are removed from some day.
fn kept_for_a_while(disk: Memory) -> Case {
    let mut disk = Memory {
        renames: true,
        ..disk
    };
    let job = Filing {
        file: FileNo(1),
        path: Rel::new(b"a"),
        look: disk.put(place(Area::Watched, "a"), 1),
        sha256: None,
        marker: None,
        fate: accepted_fate(),
        receipt: None,
        progress: Progress::Unwritten,
    };
    Case {
        disk,
        jobs: vec![job],
        rules: Rules {
            action: Action::Move,
            marker: None,
            read_only: false,
            notes_kept: true,
        },
    }
}

#[test]
fn what_comes_into_done_is_written_down_when_it_is_on_the_disk_and_before_the_journal_says_filed() {
    let is_filed = |line: &Line| line.event == crate::flow::journal::Event::Filed;
    let done = place(Area::Done, "a");
    let (disk, _) = kept_for_a_while(Memory::default()).file(1, |_| 0);
    let [(kept, lines)] = &disk.kept[..] else {
        panic!("once: {:?}", disk.kept)
    };
    assert_eq!((&kept.place, kept.stamp.size), (&done, 1));
    assert!(
        !lines.iter().any(is_filed),
        "a crash would leave it for ever"
    );
    assert!(disk.lines.iter().any(is_filed));

    let fails = Memory {
        fails: Some(done.folder()),
        ..Memory::default()
    };
    let (disk, _) = kept_for_a_while(fails).file(1, |_| 0);
    assert!(disk.kept.is_empty(), "a power cut may take it from there");

    let changes = Memory {
        changes: Some(done),
        ..Memory::default()
    };
    let (disk, _) = kept_for_a_while(changes).file(1, |_| 0);
    assert!(disk.kept.is_empty(), "it is somebody else's by now");
}

#[test]
fn a_file_waits_for_all_before_it_that_have_its_place_marker_target_or_original() {
    let moving = |to: Place, copy_of: Option<Place>| {
        Progress::Moving(crate::flow::filing::Move { to, copy_of })
    };
    let (done, staged) = (place(Area::Done, "x"), place(Area::Staging, "1"));
    let job = |name: &str, marker: bool, progress| Filing {
        file: FileNo::default(),
        path: Rel::new(name.as_bytes()),
        look: Look::default(),
        sha256: None,
        marker: marker.then(Look::default),
        fate: accepted_fate(),
        receipt: None,
        progress,
    };
    let jobs = [
        job("a.csv", true, Progress::Written),
        job("a.xml", true, moving(done.clone(), None)),
        job("a.txt", true, Progress::Written),
        job("b", false, moving(done, Some(staged.clone()))),
        job("c", false, moving(place(Area::Done, "c"), Some(staged))),
        job("c", false, Progress::Written),
        job("d", false, Progress::Written),
    ];
    let rules = Rules {
        action: Action::Move,
        marker: Some(MarkerRule::of_stem(".done")),
        read_only: false,
        notes_kept: false,
    };
    let rivals = Rivals::of(&jobs, &rules);
    let before: Vec<&[usize]> = (0..jobs.len()).map(|at| rivals.before(at)).collect();
    let all: [&[usize]; 7] = [&[], &[0], &[0, 1], &[1], &[3], &[4], &[]];
    assert_eq!(before, all);
}

#[test]
fn what_was_put_back_lets_no_old_name_of_another_file_go_from_the_disk_before_the_new_one_is_there()
{
    let mut disk = Memory {
        renames: true,
        grows: Some(place(Area::Watched, "a")),
        ..Memory::default()
    };
    let jobs = accepted(&mut disk, &["a", "b"]);
    let rules = Rules {
        action: Action::Move,
        marker: None,
        read_only: false,
        notes_kept: false,
    };
    let case = Case { disk, jobs, rules };
    for width in [1, 2] {
        let (disk, outcome) = case.file(width, |_| 0);
        let (_, a) = &outcome.filed[0];
        assert!(matches!(a, Filed::NewVersion(_)), "{a:?}");
        let moved = disk
            .order
            .iter()
            .position(|at| *at == place(Area::Done, "b"));
        let (done, watched) = (place(Area::Done, ""), place(Area::Watched, ""));
        let mut since = disk.order[moved.expect("b is filed")..].iter();
        let first = since.find(|at| **at == done || **at == watched);
        assert_eq!(first, Some(&done), "{:?}", disk.order);
    }
}

/// Files two accepted files, of which `a` is another version once it is renamed and so goes back, one
/// operation at a time and two; gives what came of `a`, and the names and folders from where it lies at
/// its place again.
fn put_back(disk: Memory) -> [(Filed, Vec<Place>); 2] {
    let back = place(Area::Watched, "a");
    let mut disk = Memory {
        grows: Some(back.clone()),
        ..disk
    };
    let case = Case {
        jobs: accepted(&mut disk, &["a", "b"]),
        disk,
        rules: MOVES,
    };
    [1, 2].map(|width| {
        let (disk, outcome) = case.file(width, |_| 0);
        let (_, a) = outcome.filed[0].clone();
        let moved = disk.order.iter().position(|at| *at == back);
        let since = disk.order[moved.expect("a is put back")..].to_vec();
        (a, since)
    })
}

#[test]
fn what_moved_on_with_an_error_is_on_the_disk_before_a_folder_that_it_left_is_brought_there() {
    let (done, watched) = (place(Area::Done, ""), place(Area::Watched, ""));
    let disk = Memory {
        renames: true,
        unclear: Some(place(Area::Watched, "a")),
        ..Memory::default()
    };
    for (a, since) in put_back(disk) {
        assert!(matches!(a, Filed::Failed { .. }), "{a:?}");
        let first = since.iter().find(|at| **at == done || **at == watched);
        assert_eq!(first, Some(&watched), "{since:?}");
    }
}

#[test]
fn what_comes_back_by_a_second_name_has_it_on_the_disk_before_the_first_one_goes() {
    let (first, watched) = (place(Area::Done, "a"), place(Area::Watched, ""));
    let disk = Memory {
        links: true,
        ..Memory::default()
    };
    for (a, order) in put_back(disk) {
        assert!(matches!(a, Filed::NewVersion(_)), "{a:?}");
        let mut since = order.iter();
        let next = since.find(|at| **at == first || **at == watched);
        // A kill between the two is followed by no fsync of the watched folder.
        assert_eq!(next, Some(&watched), "{order:?}");
        assert!(since.any(|at| *at == first), "{order:?}");
    }
}
