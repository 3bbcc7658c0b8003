//! What is filed.

use std::os::unix::fs::chown;

use super::world::*;
use crate::util::fuse::{Faults, Hang, Modes, Operation, Share, Traits};
use crate::util::mount::Mount;
use crate::util::{
    BOUND, Daemon, Dir, NOBODY, Server, User, config, dirpost, once, once_as, skip, wait_until,
};

#[test]
fn a_file_that_is_moved_on_its_file_system_keeps_all_that_it_has() {
    for status in [200, 422] {
        let Some(world) = World::new(status) else {
            return;
        };
        let mut before = Vec::new();
        for sample in SAMPLES {
            let path = world.dir.join("in").join(sample.name);
            if !make(&path, sample) {
                return;
            }
            before.push(shown(&path));
        }
        is_over(&once_without_umask(&world.text(Target::Same, "")));
        for (sample, before) in SAMPLES.into_iter().zip(before) {
            let filed = world.area(Target::Same, status).join(sample.name);
            assert_eq!(shown(&filed), before, "{sample:?}");
        }
    }
}

#[test]
fn a_copy_on_another_file_system_keeps_owner_mode_acl_and_attributes_and_gets_no_rights_to_run() {
    for status in [200, 422] {
        let Some(world) = World::new(status) else {
            return;
        };
        let mut before = Vec::new();
        for sample in SAMPLES {
            let path = world.dir.join("in").join(sample.name);
            if !make(&path, sample) {
                return;
            }
            before.push((shown(&path), readers(&path)));
        }
        is_over(&once_without_umask(&world.text(Target::Other, "")));
        for (sample, (before, could_read)) in SAMPLES.into_iter().zip(before) {
            let filed = world.area(Target::Other, status).join(sample.name);
            let (uid, gid, mode) = before.owner_and_mode;
            // Neither setuid, setgid and sticky nor a capability: nobody looked at what is in it.
            let wanted = Shown {
                owner_and_mode: (uid, gid, mode & 0o777),
                capability: None,
                ..before
            };
            assert_eq!(shown(&filed), wanted, "{sample:?}");
            assert_eq!(readers(&filed), could_read, "{sample:?}");
        }
    }
}

#[test]
fn a_copy_is_private_for_as_long_as_it_is_not_whole() {
    for operation in [
        Operation::Write,
        Operation::Setattr,
        Operation::Fsync,
        Operation::Rename,
    ] {
        let (dir, server) = (Dir::new(), Server::accepting());
        let Some(share) = Share::mount_as(Traits::default()) else {
            return;
        };
        let watched = dir.mkdir("in");
        let extra = format!("delivered.dir = '{}/done'", share.path().display());
        let daemon = Daemon::start(&config(&watched, &server.url(), &extra));
        daemon.wait_log("first look");
        share.set(Faults {
            hang: Some(Hang::Before(operation, 0)),
            ..Faults::default()
        });
        std::fs::write(dir.join(".a.csv"), "a secret").unwrap();
        set_owner_and_mode(&dir.join(".a.csv"), OWNER, GROUP, 0o644);
        std::fs::rename(dir.join(".a.csv"), watched.join("a.csv")).unwrap();
        let filed = || share.back().list("done") == ["a.csv"];
        wait_until("the copy to be on its way", BOUND, || {
            share.waiting() > 0 || filed()
        });
        let done = share.back().path().join("done");
        for name in share.back().list("done") {
            let (_, _, mode) = owner_and_mode(&done.join(&name));
            let is_set = matches!(operation, Operation::Fsync | Operation::Rename);
            // Owner and mode may be set by then; nobody has it under its name yet.
            let most = if is_set { 0o644 } else { 0o600 };
            assert_eq!(
                mode & !most,
                0,
                "{name} has the mode {mode:o} before a {operation:?}"
            );
        }
        share.heal();
        wait_until("it to be filed", BOUND, filed);
        assert_eq!(owner_and_mode(&done.join("a.csv")), (OWNER, GROUP, 0o644));
    }
}

/// Everybody named in it gets all rights to what is made in the folder.
fn generous_default() -> Vec<u8> {
    acl(&[
        (USER_OBJ, 7, NO_ID),
        (USER, 7, STRANGER),
        (GROUP_OBJ, 7, NO_ID),
        (MASK, 7, NO_ID),
        (OTHER, 7, NO_ID),
    ])
}

#[test]
fn a_default_acl_where_files_are_filed_lets_nobody_in_who_was_not() {
    for (target, status) in BOTH
        .into_iter()
        .flat_map(|target| [(target, 200), (target, 422)])
    {
        let Some(world) = World::new(status) else {
            return;
        };
        let area = world.area(target, status);
        std::fs::create_dir_all(&area).unwrap();
        if !set(&area, DEFAULT, &generous_default()) {
            skip("there are no ACLs here");
            return;
        }
        let folder = world.dir.mkdir("in/patients");
        set_owner_and_mode(&folder, 0, GROUP, 0o750);
        let mut before = Vec::new();
        for sample in SAMPLES {
            let path = world.dir.join("in").join(sample.name);
            if !make(&path, sample) {
                return;
            }
            before.push(readers(&path));
        }
        std::fs::write(folder.join("a.csv"), "a").unwrap();
        let could_list = READERS.map(|reader| can("ls", &folder, reader));
        is_over(&once_without_umask(&world.text(target, "")));
        let no_wider =
            |now: [bool; 4], then: [bool; 4]| now.iter().zip(then).all(|(now, then)| then || !now);
        for (sample, could_read) in SAMPLES.into_iter().zip(before) {
            let path = area.join(sample.name);
            assert!(
                no_wider(readers(&path), could_read),
                "{target:?} {status} {sample:?}"
            );
            if status == 422 {
                let reason = area.join(format!("{}.reason.json", sample.name));
                assert!(
                    no_wider(readers(&reason), could_read),
                    "the reason, {target:?} {sample:?}"
                );
            }
        }
        let lists = READERS.map(|reader| can("ls", &area.join("patients"), reader));
        assert!(
            no_wider(lists, could_list),
            "the folder, {target:?} {status}: {lists:?}"
        );
    }
}

#[test]
fn where_the_owner_cannot_be_kept_a_copy_is_no_wider_than_it_was_for_others() {
    let Some(user) = User::nobody() else { return };
    for status in [200, 422] {
        let Some(world) = World::new(status) else {
            return;
        };
        chown(world.dir.join("in"), Some(NOBODY), Some(NOBODY)).unwrap();
        chown(world.dir.join("other"), Some(NOBODY), Some(NOBODY)).unwrap();
        // nobody can read both: as one of the others, and by an entry of its own.
        let files = [("open.csv", 0o664), ("named.csv", 0o660)];
        let mut before = Vec::new();
        for (name, mode) in files {
            let path = world.dir.join("in").join(name);
            std::fs::write(&path, name).unwrap();
            set_owner_and_mode(&path, OWNER, GROUP, mode);
            if name == "named.csv" {
                let entries = [
                    (USER_OBJ, 6, NO_ID),
                    (USER, 4, NOBODY),
                    (GROUP_OBJ, 6, NO_ID),
                    (MASK, 6, NO_ID),
                    (OTHER, 0, NO_ID),
                ];
                if !set(&path, ACCESS, &acl(&entries)) {
                    skip("there are no ACLs here");
                    return;
                }
            }
            before.push(readers(&path));
        }
        is_over(&once_as(user, &world.text(Target::Other, ""), &[]));
        for ((name, mode), could_read) in files.into_iter().zip(before) {
            let path = world.area(Target::Other, status).join(name);
            let (uid, gid, now) = owner_and_mode(&path);
            assert_eq!(
                (uid, gid),
                (NOBODY, NOBODY),
                "{name}: root alone gives files away"
            );
            assert_eq!(
                now & !mode & 0o7,
                0,
                "{name}: {now:o} of {mode:o}, for others"
            );
            // The group is another one than it was: it gets what the others had. (With an ACL these
            // bits are its mask, and who can read it is all that counts.)
            let for_group = now >> 3 & 0o7 & !(mode & 0o7);
            let is_plain = get(&path, ACCESS).is_none();
            assert!(for_group == 0 || !is_plain, "{name}: {now:o} of {mode:o}");
            let reads = readers(&path);
            for (reader, (now, then)) in READERS.iter().zip(reads.into_iter().zip(could_read)) {
                assert!(then || !now, "{name}: {reader:?} can read it now");
            }
        }
    }
}

#[test]
fn where_modes_cannot_be_kept_everything_is_filed_all_the_same_and_the_first_start_says_so() {
    for modes in [Modes::Ignored, Modes::Refused] {
        let (dir, server) = (Dir::new(), Server::accepting());
        let Some(share) = Share::mount_as(Traits {
            modes,
            ..Traits::default()
        }) else {
            return;
        };
        let watched = dir.mkdir("in");
        let done = share.path().join("done");
        let extra = format!("delivered.dir = '{}'", done.display());
        let text = config(&watched, &server.url(), &extra);
        let path = dir.write("in/patients/a.csv", "a secret");
        set_owner_and_mode(&path, OWNER, GROUP, 0o600);
        let run = once(&text, &[]);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(0), "{modes:?}: {said}");
        assert_eq!(share.back().list("done"), ["patients/a.csv"], "{modes:?}");
        assert_eq!(share.back().text("done/patients/a.csv"), "a secret");
        assert!(tells_of(&said, &done), "{modes:?}: {said}");
        let file = dir.write("dirpost.toml", &text);
        let check = dirpost(&["check", "--config", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&check.stdout).into_owned();
        assert!(tells_of(&said, &done), "{modes:?}: {said}");
    }
}

#[test]
fn a_copy_of_what_was_rejected_on_a_read_only_share_is_as_private_as_its_file() {
    let Some(world) = World::new(422) else { return };
    let watched = world.dir.join("in");
    let Some(share) = Mount::tmpfs(&watched, "1m") else {
        return;
    };
    let (private, group) = (watched.join("private.csv"), watched.join("group.csv"));
    for (path, mode) in [(&private, 0o600), (&group, 0o640)] {
        std::fs::write(path, "a").unwrap();
        set_owner_and_mode(path, OWNER, GROUP, mode);
    }
    share.remount("ro");
    let state = world.dir.join("same/state");
    let extra = format!(
        "delivered.action = \"keep\"\nstate.dir = '{}'",
        state.display()
    );
    let run = once(&config(&watched, &world.server.url(), &extra), &[]);
    assert_eq!(
        run.status.code(),
        Some(4),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let dead = state.join("dead-letter");
    assert_eq!(
        owner_and_mode(&dead.join("private.csv")),
        (OWNER, GROUP, 0o600)
    );
    assert_eq!(
        owner_and_mode(&dead.join("group.csv")),
        (OWNER, GROUP, 0o640)
    );
}
