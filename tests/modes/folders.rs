//! What lies beside files, and the folders that they are in.

use std::path::Path;

use super::world::*;
use crate::util::{config, dirpost, once};

// ---- what lies beside files ---------------------------------------------------------

#[test]
fn a_reason_is_no_wider_than_its_file() {
    for target in BOTH {
        let Some(world) = World::new(422) else { return };
        let modes = [
            ("private.csv", 0o600),
            ("group.csv", 0o640),
            ("open.csv", 0o644),
        ];
        for (name, mode) in modes {
            let path = world.dir.write(format!("in/{name}"), name);
            set_owner_and_mode(&path, OWNER, GROUP, mode);
        }
        is_over(&once_without_umask(&world.text(target, "")));
        for (name, mode) in modes {
            let reason = world.area(target, 422).join(format!("{name}.reason.json"));
            is_no_wider_beside(&reason, mode);
        }
    }
}

/// `path` lies beside a file of [`OWNER`] and [`GROUP`] that has this mode.
fn is_no_wider_beside(path: &Path, mode: u32) {
    let (uid, gid, now) = owner_and_mode(path);
    let path = path.display();
    assert_eq!(
        now & !mode & 0o7077,
        0,
        "{path} has {now:o}, its file {mode:o}"
    );
    assert!(uid == OWNER || uid == 0, "{path} belongs to {uid}");
    // Rights of another group are rights of others.
    assert!(
        gid == GROUP || now >> 3 & 0o7 & !(mode & 0o7) == 0,
        "{path} has {now:o} for group {gid}"
    );
}

#[test]
fn the_answer_that_is_kept_beside_a_file_is_no_wider_than_it() {
    for target in BOTH {
        let Some(world) = World::new(200) else { return };
        let modes = [
            ("private.csv", 0o600),
            ("group.csv", 0o640),
            ("open.csv", 0o644),
        ];
        for (name, mode) in modes {
            let path = world.dir.write(format!("in/{name}"), name);
            set_owner_and_mode(&path, OWNER, GROUP, mode);
        }
        let run = once_without_umask(&world.text(target, "delivered.keep_answer = true"));
        is_over(&run);
        for (name, mode) in modes {
            let answer = world.area(target, 200).join(format!("{name}.answer.json"));
            is_no_wider_beside(&answer, mode);
        }
    }
}

// ---- folders ------------------------------------------------------------------------

/// Of the folder and of all above it that dirpost has made, none is wider than what it mirrors.
fn is_no_wider(folder: &Path, of: (u32, u32, u32), keeps_group: bool) {
    let (_, gid, now) = owner_and_mode(folder);
    let (_, its_gid, mode) = of;
    let path = folder.display();
    assert_eq!(
        now & 0o777 & !mode,
        0,
        "{path} has {now:o}, and mirrors {mode:o}"
    );
    if keeps_group {
        let is_same = gid == its_gid && now & 0o070 == mode & 0o070;
        assert!(
            is_same,
            "{path} has {now:o} for group {gid}, and mirrors {mode:o} of {its_gid}"
        );
    } else {
        // The group of what it mirrors has no business there, nor has any other.
        assert_eq!(
            now & 0o070 & !(mode << 3),
            0,
            "{path} has {now:o}, and mirrors {mode:o}"
        );
    }
}

#[test]
fn a_folder_in_done_or_dead_letter_is_no_wider_than_the_one_that_it_mirrors() {
    for (target, status) in BOTH
        .into_iter()
        .flat_map(|target| [(target, 200), (target, 422)])
    {
        let Some(world) = World::new(status) else {
            return;
        };
        let folders = [
            ("patients", 0o700),
            ("patients/2026", 0o755),
            ("group", 0o750),
            ("group/deep", 0o2770),
            ("open", 0o755),
            ("drop", 0o1777),
            ("others", 0o705),
        ];
        let watched = world.dir.join("in");
        for (name, mode) in folders {
            let folder = world.dir.mkdir(format!("in/{name}"));
            std::fs::write(folder.join("a.csv"), name).unwrap();
            set_owner_and_mode(&folder, OWNER, GROUP, mode);
        }
        let mirrored = folders.map(|(name, _)| owner_and_mode(&watched.join(name)));
        is_over(&once_without_umask(&world.text(target, "")));
        let area = world.area(target, status);
        for ((name, _), mirrored) in folders.into_iter().zip(mirrored) {
            assert!(
                area.join(name).join("a.csv").exists(),
                "{target:?} {status} {name}"
            );
            is_no_wider(&area.join(name), mirrored, status == 200);
        }
    }
}

#[test]
fn a_state_folder_that_dirpost_makes_itself_is_one_that_it_takes_whatever_the_umask() {
    let Some(world) = World::new(200) else { return };
    let watched = world.dir.join("in");
    world.dir.write("in/a.csv", "a");
    let state = world.dir.join("same/var/lib/state");
    let extra = format!("state.dir = '{}'", state.display());
    is_over(&once_without_umask(&config(
        &watched,
        &world.server.url(),
        &extra,
    )));
    let (_, _, mode) = owner_and_mode(&state);
    assert_eq!(mode & 0o022, 0, "{mode:o}: others may write to it");
    assert!(state.join("done/a.csv").exists());
}

#[test]
fn done_itself_is_no_wider_than_the_watched_folder() {
    for mode in [0o700, 0o750, 0o755] {
        for target in [None, Some(Target::Same), Some(Target::Other)] {
            let Some(world) = World::new(200) else { return };
            let watched = world.dir.join("in");
            world.dir.write("in/a.csv", "a");
            set_owner_and_mode(&watched, 0, GROUP, mode);
            let (text, done) = match target {
                None => (
                    config(&watched, &world.server.url(), ""),
                    watched.join(".dirpost/done"),
                ),
                Some(target) => (world.text(target, ""), world.area(target, 200)),
            };
            is_over(&once_without_umask(&text));
            assert!(done.join("a.csv").exists());
            let (_, gid, now) = owner_and_mode(&done);
            assert_eq!(
                now & 0o777 & !mode,
                0,
                "{target:?}: done has {now:o}, the folder {mode:o}"
            );
            let for_group = now >> 3 & 0o7;
            assert!(
                gid == GROUP || for_group & !(mode & 0o7) == 0,
                "{target:?}: {now:o} for {gid}"
            );
        }
    }
}

#[test]
fn a_done_folder_that_is_there_already_and_wider_is_told_of() {
    let Some(world) = World::new(200) else { return };
    let watched = world.dir.join("in");
    set_owner_and_mode(&watched, 0, 0, 0o700);
    let done = world.area(Target::Same, 200);
    std::fs::create_dir_all(&done).unwrap();
    set_owner_and_mode(&done, 0, 0, 0o755);
    world.dir.write("in/a.csv", "a");
    let text = world.text(Target::Same, "");
    let file = world.dir.write("dirpost.toml", &text);
    let check = dirpost(&["check", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(tells_of(&said, &done), "{said}");
    let run = once(&text, &[]);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(tells_of(&said, &done), "{said}");
    // It is another's folder: nobody changes it without being asked.
    assert_eq!(owner_and_mode(&done), (0, 0, 0o755));
    assert!(done.join("a.csv").exists());
}
