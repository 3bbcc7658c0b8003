//! Another file system, and a crash at each point of the way there; a full disk.

use std::path::Path;

use super::super::across::draft_of;
use super::*;
use crate::flow::journal::Replay;

/// What lies in a folder, with the content of each file.
fn content(folder: &Path) -> Vec<(String, String)> {
    let mut content: Vec<(String, String)> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), text)
        })
        .collect();
    content.sort();
    content
}

fn names(folder: &Path) -> Vec<String> {
    content(folder).into_iter().map(|(name, _)| name).collect()
}

/// A folder on another file system than the temporary folder.
struct Elsewhere(std::path::PathBuf);

impl Elsewhere {
    fn new() -> Option<Elsewhere> {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path =
            Path::new("/dev/shm").join(format!("dirpost-unit-{}-{count}", std::process::id()));
        let is_other = std::fs::create_dir(&path).is_ok()
            && !Dir::at(&path)
                .unwrap()
                .same_fs(&Dir::at(&std::env::temp_dir()).unwrap());
        let elsewhere = Elsewhere(path);
        if !is_other {
            eprintln!("SKIPPED: /dev/shm is no file system of its own");
        }
        is_other.then_some(elsewhere)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A file system in memory, mounted on a folder; unmounted at the end.
struct Mount(std::path::PathBuf);

impl Mount {
    fn on(path: &Path) -> Option<Mount> {
        std::fs::create_dir_all(path).unwrap();
        let mut mount = std::process::Command::new("mount");
        let mounted = mount
            .args(["-t", "tmpfs", "-o", "size=1m,mode=0755", "none"])
            .arg(path)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Mount(path.into()));
        }
        eprintln!("SKIPPED: mounting a tmpfs needs root on Linux");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .output();
    }
}

/// As after a restart: only the stamp is known.
fn after_a_crash(look: Look) -> Look {
    Look {
        stamp: look.stamp,
        ..Look::default()
    }
}

fn copy_with_mtime(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::write(to, std::fs::read(from).unwrap()).unwrap();
    let mtime = std::fs::metadata(from).unwrap().modified().unwrap();
    std::fs::File::options()
        .write(true)
        .open(to)
        .unwrap()
        .set_modified(mtime)
        .unwrap();
}

const PARTS: [&str; 2] = ["the whole content", "the whole co"];

/// Where the power went in the middle of a copy to another file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// `moving` with `from` was written, and nothing more.
    BeforeTheCopy,
    InTheDraft,
    DraftIsWhole,
    /// By link and unlink: both names are there.
    DraftIsLinked,
    CopyHasItsName,
    OriginIsRemoved,
}

const CUTS: [Cut; 6] = [
    Cut::BeforeTheCopy,
    Cut::InTheDraft,
    Cut::DraftIsWhole,
    Cut::DraftIsLinked,
    Cut::CopyHasItsName,
    Cut::OriginIsRemoved,
];

/// Makes what a crash leaves of the copy of `origin` to `target`.
fn leave(cut: Cut, origin: &Path, from: &str, target: &Path) {
    let draft = target
        .parent()
        .unwrap()
        .join(String::from_utf8(draft_of(from)).unwrap());
    match cut {
        Cut::BeforeTheCopy => {}
        Cut::InTheDraft => {
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::write(draft, PARTS[1]).unwrap();
        }
        Cut::DraftIsWhole => copy_with_mtime(origin, &draft),
        Cut::DraftIsLinked => {
            copy_with_mtime(origin, &draft);
            std::fs::hard_link(&draft, target).unwrap();
        }
        Cut::CopyHasItsName => copy_with_mtime(origin, target),
        Cut::OriginIsRemoved => {
            copy_with_mtime(origin, target);
            std::fs::remove_file(origin).unwrap();
        }
    }
}

#[test]
fn a_copy_to_another_file_system_that_a_crash_broke_off_ends_as_one_file_and_nothing_beside_it() {
    for cut in CUTS {
        for to in [Destination::Done, dead()] {
            let Some(elsewhere) = Elsewhere::new() else {
                return;
            };
            let bench = bench(|config| {
                config.delivered.dir = elsewhere.0.join("done");
                config.dead_letter.dir = elsewhere.0.join("dead-letter");
            });
            let area = if matches!(to, Destination::Done) {
                "done"
            } else {
                "dead-letter"
            };
            let look = after_a_crash(bench.write("x.csv", PARTS[0]));
            let staged = bench.dir.path().join(".dirpost/staging/d");
            std::fs::create_dir_all(staged.parent().unwrap()).unwrap();
            std::fs::rename(bench.dir.path().join("x.csv"), &staged).unwrap();
            let target = elsewhere.0.join(area).join("x.csv");
            leave(cut, &staged, "staging/d", &target);
            if area == "dead-letter" {
                std::fs::create_dir_all(target.parent().unwrap()).unwrap();
                std::fs::write(target.with_extension("csv.reason.json"), "{").unwrap();
            }
            let moving = moving(&format!("{area}/x.csv"), Some("staging/d"));
            let job = Filing {
                resumed: moving,
                ..filing(1, "x.csv", look, to)
            };
            let filed = bench.placer.place(&[job]).filed;
            assert!(
                matches!(&filed[0].1, Filed::Away { to: Some(to) } if *to == format!("{area}/x.csv")),
                "{cut:?}: {filed:?}"
            );
            let mut expected = vec!["x.csv"];
            if area == "dead-letter" {
                expected.push("x.csv.reason.json");
                let reason =
                    std::fs::read_to_string(target.with_extension("csv.reason.json")).unwrap();
                assert!(reason.contains("\"path\": \"x.csv\""), "{cut:?}: {reason}");
            }
            assert_eq!(names(&elsewhere.0.join(area)), expected, "{cut:?}");
            assert_eq!(
                std::fs::read_to_string(&target).unwrap(),
                PARTS[0],
                "{cut:?}"
            );
            let there = Dir::at(target.parent().unwrap())
                .unwrap()
                .look(b"x.csv")
                .unwrap()
                .unwrap();
            assert_eq!(there.stamp, look.stamp, "{cut:?}");
            assert!(
                names(staged.parent().unwrap()).is_empty() && !bench.has("x.csv"),
                "{cut:?}"
            );
        }
    }
}

#[test]
fn a_copy_from_a_mount_in_the_share_that_a_crash_broke_off_ends_as_one_file_and_nothing_is_sent_again()
 {
    for cut in CUTS {
        for to in [Destination::Done, dead()] {
            let bench = bench(|_| {});
            let Some(_mount) = Mount::on(&bench.dir.path().join("m")) else {
                return;
            };
            let area = if matches!(to, Destination::Done) {
                "done"
            } else {
                "dead-letter"
            };
            let look = after_a_crash(bench.write("m/x.csv", PARTS[0]));
            let target = bench.dir.path().join(".dirpost").join(area).join("m/x.csv");
            leave(
                cut,
                &bench.dir.path().join("m/x.csv"),
                "watched/m/x.csv",
                &target,
            );
            let moving = moving(&format!("{area}/m/x.csv"), Some("watched/m/x.csv"));
            let job = Filing {
                resumed: moving,
                ..filing(1, "m/x.csv", look, to)
            };
            let filed = bench.placer.place(&[job]).filed;
            assert!(
                matches!(&filed[0].1, Filed::Away { to: Some(_) }),
                "{cut:?}: {filed:?}"
            );
            let expected = if area == "done" {
                vec!["x.csv"]
            } else {
                vec!["x.csv", "x.csv.reason.json"]
            };
            assert_eq!(names(target.parent().unwrap()), expected, "{cut:?}");
            assert_eq!(
                std::fs::read_to_string(&target).unwrap(),
                PARTS[0],
                "{cut:?}"
            );
            assert!(!bench.has("m/x.csv"), "{cut:?}");
        }
    }
}

#[test]
fn a_new_version_that_came_before_the_removal_stays_and_the_copy_of_the_former_one_as_well() {
    let Some(elsewhere) = Elsewhere::new() else {
        return;
    };
    let bench = bench(|config| config.delivered.dir = elsewhere.0.clone());
    for (name, from) in [("x.csv", "staging/d"), ("m/x.csv", "watched/m/x.csv")] {
        let _mount = if name.starts_with("m/") {
            let Some(mount) = Mount::on(&bench.dir.path().join("m")) else {
                return;
            };
            Some(mount)
        } else {
            None
        };
        let look = after_a_crash(bench.write(name, PARTS[0]));
        copy_with_mtime(&bench.dir.path().join(name), &elsewhere.0.join(name));
        let look_of_new = bench.write(name, "a new version");
        if from.starts_with("staging") {
            std::fs::create_dir_all(bench.dir.path().join(".dirpost/staging")).unwrap();
            std::fs::rename(
                bench.dir.path().join(name),
                bench.dir.path().join(".dirpost/staging/d"),
            )
            .unwrap();
        }
        let resumed = moving(&format!("done/{name}"), Some(from));
        let job = Filing {
            resumed,
            ..filing(1, name, look, Destination::Done)
        };
        let filed = bench.placer.place(&[job]).filed;
        assert!(
            matches!(&filed[0].1, Filed::PutBack(look) if look.stamp == look_of_new.stamp),
            "{filed:?}"
        );
        assert_eq!(bench.read(name), "a new version");
        assert_eq!(
            std::fs::read_to_string(elsewhere.0.join(name)).unwrap(),
            PARTS[0]
        );
    }
}

#[test]
fn an_equal_stamp_with_other_bytes_at_the_place_is_a_new_drop_and_is_not_removed() {
    let bench = bench(|_| {});
    let Some(_mount) = Mount::on(&bench.dir.path().join("m")) else {
        return;
    };
    let look = after_a_crash(bench.write("m/x.csv", "old"));
    let target = bench.dir.path().join(".dirpost/done/m/x.csv");
    copy_with_mtime(&bench.dir.path().join("m/x.csv"), &target);
    bench.write("m/x.csv", "new");
    copy_stamp(&target, &bench.dir.path().join("m/x.csv"));
    let resumed = moving("done/m/x.csv", Some("watched/m/x.csv"));
    let job = Filing {
        resumed,
        ..filing(1, "m/x.csv", look, Destination::Done)
    };
    let filed = bench.placer.place(&[job]).filed;
    assert!(matches!(&filed[0].1, Filed::PutBack(_)), "{filed:?}");
    assert_eq!(
        (bench.read("m/x.csv"), bench.read(".dirpost/done/m/x.csv")),
        ("new".into(), "old".into())
    );
}

fn copy_stamp(from: &Path, to: &Path) {
    let mtime = std::fs::metadata(from).unwrap().modified().unwrap();
    std::fs::File::options()
        .write(true)
        .open(to)
        .unwrap()
        .set_modified(mtime)
        .unwrap();
}

#[test]
fn a_name_that_went_to_another_file_while_the_copy_was_made_is_left_to_it() {
    let Some(elsewhere) = Elsewhere::new() else {
        return;
    };
    let bench = bench(|config| config.delivered.dir = elsewhere.0.clone());
    let look = after_a_crash(bench.write(".dirpost/staging/d", PARTS[0]));
    std::fs::write(elsewhere.0.join("x.csv"), "another").unwrap();
    std::fs::write(
        elsewhere
            .0
            .join(String::from_utf8(draft_of("staging/d")).unwrap()),
        PARTS[1],
    )
    .unwrap();
    let job = Filing {
        resumed: moving("done/x.csv", Some("staging/d")),
        ..filing(1, "x.csv", look, Destination::Done)
    };
    let filed = bench.placer.place(&[job]).filed;
    assert!(
        matches!(&filed[0].1, Filed::Away { to: Some(to) } if to == "done/x.1.csv"),
        "{filed:?}"
    );
    let content = content(&elsewhere.0);
    assert_eq!(
        content,
        [
            ("x.1.csv".into(), PARTS[0].into()),
            ("x.csv".into(), "another".into())
        ]
    );
}

#[test]
fn a_file_system_with_coarser_times_makes_no_second_copy() {
    let Some(elsewhere) = Elsewhere::new() else {
        return;
    };
    let bench = bench(|config| config.delivered.dir = elsewhere.0.clone());
    let look = after_a_crash(bench.write(".dirpost/staging/d", PARTS[0]));
    // Its mtime is another one.
    std::fs::write(elsewhere.0.join("x.csv"), PARTS[0]).unwrap();
    let job = Filing {
        resumed: moving("done/x.csv", Some("staging/d")),
        ..filing(1, "x.csv", look, Destination::Done)
    };
    let filed = bench.placer.place(&[job]).filed;
    assert!(
        matches!(&filed[0].1, Filed::Away { to: Some(to) } if to == "done/x.csv"),
        "{filed:?}"
    );
    assert_eq!(names(&elsewhere.0), ["x.csv"]);
    assert!(!bench.has(".dirpost/staging/d"));
}

#[test]
fn what_the_journal_says_before_a_copy_is_what_a_restart_goes_on_from() {
    let Some(elsewhere) = Elsewhere::new() else {
        return;
    };
    let bench = bench(|config| config.delivered.dir = elsewhere.0.join("done"));
    let look = bench.write("d/x.csv", PARTS[0]);
    let acceptance = crate::flow::journal::Acceptance {
        key: "k".into(),
        status: 200,
        marker: None,
    };
    let job = Filing {
        unwritten: Some(acceptance),
        ..filing(1, "d/x.csv", look, Destination::Done)
    };
    let filed = bench.placer.place(std::slice::from_ref(&job)).filed;
    assert!(
        matches!(&filed[0].1, Filed::Away { to: Some(to) } if to == "done/d/x.csv"),
        "{filed:?}"
    );
    assert_eq!(names(&elsewhere.0.join("done/d")), ["x.csv"]);
    let journal = std::fs::read(bench.dir.path().join(".dirpost/journal/00000001.jsonl")).unwrap();
    let text = String::from_utf8(journal).unwrap();
    let upto_copy: String = text
        .split_inclusive('\n')
        .filter(|line| !line.contains("\"filed\""))
        .collect();
    let mut replay = Replay::default();
    replay.add(upto_copy.as_bytes());
    let moving = replay.live[&job.path].moving.clone().unwrap();
    assert_eq!(moving.to, "done/d/x.csv");
    assert!(
        moving
            .from
            .as_ref()
            .is_some_and(|from| from.starts_with("staging/")),
        "{moving:?}"
    );
    // As a crash after the removal, before `filed`; meanwhile an equal file was dropped.
    bench.write("d/x.csv", PARTS[0]);
    copy_stamp(
        &elsewhere.0.join("done/d/x.csv"),
        &bench.dir.path().join("d/x.csv"),
    );
    let job = Filing {
        look: after_a_crash(look),
        unwritten: None,
        resumed: Some(moving),
        ..job
    };
    let filed = bench.placer.place(&[job]).filed;
    assert!(
        matches!(&filed[0].1, Filed::Away { to: Some(to) } if to == "done/d/x.csv"),
        "{filed:?}"
    );
    assert_eq!(bench.read("d/x.csv"), PARTS[0]);
    assert_eq!(names(&elsewhere.0.join("done/d")), ["x.csv"]);
}

#[test]
fn a_new_version_whose_place_is_taken_goes_to_dead_letter_on_another_file_system_with_its_time() {
    let Some(elsewhere) = Elsewhere::new() else {
        return;
    };
    let bench = bench(|config| config.dead_letter.dir = elsewhere.0.clone());
    let sent = after_a_crash(bench.write("x.csv", "sent"));
    let new = bench.write(".dirpost/staging/d", "a new version");
    bench.write("x.csv", "yet another");
    let job = Filing {
        resumed: moving("staging/d", None),
        ..filing(1, "x.csv", sent, Destination::Done)
    };
    let filed = bench.placer.place(&[job]).filed;
    assert!(
        matches!(&filed[0].1, Filed::Displaced { to } if to == "dead-letter/x.csv"),
        "{filed:?}"
    );
    assert_eq!(names(&elsewhere.0), ["x.csv", "x.csv.reason.json"]);
    let there = Dir::at(&elsewhere.0)
        .unwrap()
        .look(b"x.csv")
        .unwrap()
        .unwrap();
    assert_eq!(there.stamp, new.stamp);
    assert_eq!(bench.read("x.csv"), "yet another");
}

/// Takes the room away in a file system of 1 MiB.
fn fill_up(folder: &Path) {
    let mut filler = std::fs::File::create(folder.join("filler")).unwrap();
    let mut size = 1 << 20;
    while size > 0 {
        if std::io::Write::write_all(&mut filler, &vec![0; size]).is_err() {
            size /= 2;
        }
    }
}

#[test]
fn a_copy_for_which_there_is_no_room_leaves_nothing_behind_and_goes_on_from_the_staging_folder() {
    let other = TempDir::new();
    let Some(_mount) = Mount::on(other.path()) else {
        return;
    };
    let bench = bench(|config| {
        config.delivered.dir = other.path().join("done");
        config.dead_letter.dir = other.path().join("dead-letter");
    });
    let big = "x".repeat(100_000);
    for (to, area) in [(Destination::Done, "done"), (dead(), "dead-letter")] {
        let look = bench.write("x.csv", &big);
        std::fs::create_dir_all(other.path().join(area)).unwrap();
        fill_up(other.path());
        // Room for a part of it, and for a reason.
        let size = std::fs::metadata(other.path().join("filler"))
            .unwrap()
            .len();
        std::fs::File::options()
            .write(true)
            .open(other.path().join("filler"))
            .and_then(|filler| filler.set_len(size - 65_536))
            .unwrap();
        let job = filing(1, "x.csv", look, to);
        let filed = bench.placer.place(std::slice::from_ref(&job)).filed;
        let Filed::Failed {
            moved: Some(moved), ..
        } = &filed[0].1
        else {
            panic!("{filed:?}")
        };
        assert!(
            names(&other.path().join(area)).is_empty(),
            "{:?}",
            names(&other.path().join(area))
        );
        std::fs::remove_file(other.path().join("filler")).unwrap();
        let job = Filing {
            resumed: Some(moved.clone()),
            ..job
        };
        let filed = bench.placer.place(&[job]).filed;
        assert!(
            matches!(&filed[0].1, Filed::Away { to: Some(to) } if *to == format!("{area}/x.csv")),
            "{filed:?}"
        );
        assert_eq!(
            std::fs::read_to_string(other.path().join(area).join("x.csv")).unwrap(),
            big
        );
        assert!(names(&bench.dir.path().join(".dirpost/staging")).is_empty());
    }
}

#[test]
fn a_rename_that_fails_leaves_no_reason_behind() {
    let bench = bench(|_| {});
    let look = bench.write("d/x.csv", "x");
    // What is to be renamed turns out to be in no folder.
    std::fs::rename(bench.dir.path().join("d"), bench.dir.path().join("e")).unwrap();
    std::fs::write(bench.dir.path().join("d"), "").unwrap();
    let filed = bench
        .placer
        .place(&[filing(1, "d/x.csv", look, dead())])
        .filed;
    assert!(
        matches!(&filed[0].1, Filed::Failed { moved: None, .. }),
        "{filed:?}"
    );
    assert!(names(&bench.dir.path().join(".dirpost/dead-letter/d")).is_empty());
}

#[test]
fn what_was_filed_while_the_journal_had_no_room_is_written_down_later() {
    let state = TempDir::new();
    let Some(_mount) = Mount::on(state.path()) else {
        return;
    };
    let bench = bench(|config| config.state.dir = state.path().into());
    let acceptance = crate::flow::journal::Acceptance {
        key: "k".into(),
        status: 200,
        marker: None,
    };
    let look = bench.write("x.csv", "x");
    let job = filing(1, "x.csv", look, Destination::Done);
    bench
        .placer
        .append(&line(&job, Record::accepted(&acceptance, false)))
        .unwrap();
    let plan = [Some(Filed::Away { to: None })].into();
    fill_up(state.path());
    // Of a file system of pages the last one may have room for a line yet.
    while bench
        .placer
        .append(&line(&job, Record::accepted(&acceptance, false)))
        .is_ok()
    {}
    let placed = bench.placer.settle(&[job], &Opened::default(), plan);
    assert!(placed.synced.is_err());
    std::fs::remove_file(state.path().join("filler")).unwrap();
    assert!(bench.placer.journal.is_pending());
    while bench.placer.journal.is_pending() {
        bench.placer.journal.sync(wall()).unwrap();
    }
    let (_, replay) = Journal::open(bench._state.journal(), wall()).unwrap();
    assert!(replay.live.is_empty(), "{:?}", replay.live);
}

#[test]
fn a_file_in_a_mount_of_the_share_is_copied_from_its_place_and_the_journal_says_so_first() {
    let bench = bench(|_| {});
    let Some(_mount) = Mount::on(&bench.dir.path().join("m")) else {
        return;
    };
    for to in [Destination::Done, dead(), Destination::Delete] {
        let look = bench.write("m/x.csv", PARTS[0]);
        let filed = bench.placer.place(&[filing(1, "m/x.csv", look, to)]).filed;
        assert!(matches!(&filed[0].1, Filed::Away { .. }), "{filed:?}");
        assert!(!bench.has("m/x.csv"));
    }
    assert_eq!(names(&bench.dir.path().join(".dirpost/done/m")), ["x.csv"]);
    assert_eq!(
        names(&bench.dir.path().join(".dirpost/dead-letter/m")),
        ["x.csv", "x.csv.reason.json"]
    );
    let journal = bench.read(".dirpost/journal/00000001.jsonl");
    assert!(
        journal.contains("\"to\":\"done/m/x.csv\",\"from\":\"watched/m/x.csv\""),
        "{journal}"
    );
}

#[test]
fn a_new_version_that_finds_no_room_in_dead_letter_leaves_no_reason_there() {
    let other = TempDir::new();
    let Some(_mount) = Mount::on(other.path()) else {
        return;
    };
    let bench = bench(|config| config.dead_letter.dir = other.path().join("dead-letter"));
    std::fs::create_dir(other.path().join("dead-letter")).unwrap();
    let sent = after_a_crash(bench.write("x.csv", "sent"));
    bench.write(".dirpost/staging/d", &"x".repeat(2 << 20));
    bench.write("x.csv", "yet another");
    let job = Filing {
        resumed: moving("staging/d", None),
        ..filing(1, "x.csv", sent, Destination::Done)
    };
    let filed = bench.placer.place(&[job]).filed;
    assert!(
        matches!(&filed[0].1, Filed::Failed { moved: Some(moved), .. } if moved.to == "staging/d"),
        "{filed:?}"
    );
    assert!(names(&other.path().join("dead-letter")).is_empty());
    assert!(bench.has(".dirpost/staging/d"));
}
