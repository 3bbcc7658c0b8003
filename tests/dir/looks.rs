//! `entry` and `fresh_entry`.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;

use dirpost::flow::file::{FsKind, Rel};
use dirpost::io::dir::{Dir, Entry};

use crate::flat::Flat;
use crate::users::{NOBODY, OWNER, is_root, run_as};
use crate::util;
use crate::util::mount::Mount;

fn both(folder: &Dir, name: &[u8]) -> [Entry; 2] {
    [
        folder.entry(name).expect("a plain look"),
        folder.fresh_entry(name).expect("a fresh look"),
    ]
}

#[test]
fn a_look_tells_a_file_from_nothing_and_from_what_is_no_file() {
    let dir = util::Dir::new();
    dir.write("file", "12345");
    dir.mkdir("folder");
    symlink(dir.join("file"), dir.join("link")).unwrap();
    symlink("nowhere", dir.join("broken")).unwrap();
    symlink("loop", dir.join("loop")).unwrap();
    let _socket = UnixListener::bind(dir.join("socket")).unwrap();
    let fifo = dir.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let folder = Dir::at(dir.path()).unwrap();

    for look in both(&folder, b"file") {
        assert_eq!(look.file().expect("a file").stamp.size, 5);
    }
    assert_eq!(both(&folder, b"nothing"), [Entry::Absent; 2]);
    for name in ["folder", "link", "broken", "loop", "socket", "fifo"] {
        assert_eq!(
            both(&folder, name.as_bytes()),
            [Entry::NotAFile; 2],
            "{name}"
        );
    }
}

#[test]
fn a_device_without_a_driver_is_no_file() {
    if !is_root("a_device_without_a_driver_is_no_file") {
        return;
    }
    let dir = util::Dir::new();
    let device = dir.join("device");
    let made = std::process::Command::new("mknod")
        .arg(&device)
        .args(["c", "60", "99"])
        .status();
    assert!(made.unwrap().success());
    let folder = Dir::at(dir.path()).unwrap();
    assert_eq!(both(&folder, b"device"), [Entry::NotAFile; 2]);
}

#[test]
fn a_file_that_may_not_be_read_is_looked_at_all_the_same() {
    if !is_root("a_file_that_may_not_be_read_is_looked_at_all_the_same") {
        return;
    }
    let dir = util::Dir::new();
    let path = dir.write("secret", "123");
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    chown(&path, Some(OWNER.uid), Some(OWNER.gid)).unwrap();
    let looks = run_as(NOBODY, || {
        let folder = Dir::at(dir.path()).unwrap();
        assert!(folder.file(b"secret").is_err(), "it can be read");
        both(&folder, b"secret")
    });
    for look in looks {
        assert_eq!(look.file().expect("a file").stamp.size, 3);
    }
}

#[test]
fn a_folder_that_may_not_be_searched_is_an_error_and_not_an_absent_file() {
    if !is_root("a_folder_that_may_not_be_searched_is_an_error_and_not_an_absent_file") {
        return;
    }
    let dir = util::Dir::new();
    dir.write("in/file", "123");
    std::fs::set_permissions(dir.join("in"), Permissions::from_mode(0o744)).unwrap();
    run_as(NOBODY, || {
        let folder = Dir::at(&dir.join("in")).unwrap();
        for look in [folder.entry(b"file"), folder.fresh_entry(b"file")] {
            assert_eq!(
                look.unwrap_err().kind(),
                std::io::ErrorKind::PermissionDenied
            );
        }
    });
}

#[test]
fn a_folder_is_the_same_only_over_the_same_mount() {
    let dir = util::Dir::new();
    dir.mkdir("real/sub");
    let real = Dir::at(&dir.join("real")).unwrap();
    assert!(real.is(&Dir::at(&dir.join("real/../real")).unwrap()));
    assert!(!real.is(&Dir::at(&dir.join("real/sub")).unwrap()));
    let Some(mount) = Mount::bind(&dir.join("real"), &dir.mkdir("bound")) else {
        return;
    };
    let bound = Dir::at(&dir.join("bound")).unwrap();
    assert_eq!(real.id(), bound.id());
    assert!(!real.is(&bound), "mount ids tell them apart");

    // Unmounted and mounted again, while the handle is held.
    drop(mount);
    let Some(_again) = Mount::bind(&dir.join("real"), &dir.join("bound")) else {
        return;
    };
    let again = Dir::at(&dir.join("bound")).unwrap();
    assert!(!bound.is(&again) && bound.id() == again.id());
    // What is opened below a handle is on its mount.
    let sub = bound.folder(&Rel::new(b"sub")).unwrap();
    assert_eq!(sub.mount_id(), bound.mount_id());
    assert!(bound.mount_id().is_some());
}

#[test]
fn a_look_at_what_was_moved_makes_nothing_whether_it_is_there_or_not() {
    let test = "a_look_at_what_was_moved_makes_nothing_whether_it_is_there_or_not";
    let Some(flat) = Flat::mount(test) else {
        return;
    };
    let folder = Dir::at(&flat.path()).unwrap();
    assert_eq!(folder.kind(), FsKind::Share, "FUSE may be one");
    folder.write_new(b"x", b"123").unwrap();
    folder.rename_over(b"x", &folder, b"y").unwrap();
    let look = folder.moved_entry(b"y").unwrap();
    assert_eq!(look.file().expect("a file").stamp.size, 3);
    assert_eq!(folder.moved_entry(b"x").unwrap(), Entry::Absent);
    assert_eq!(flat.files(), [("y".into(), "123".into())]);
}

#[test]
fn a_folder_whose_server_cannot_be_asked_is_an_error_and_not_an_absent_file() {
    let test = "a_folder_whose_server_cannot_be_asked_is_an_error_and_not_an_absent_file";
    let Some(share) = util::fuse::Share::mount() else {
        eprintln!("SKIPPED: {test} needs FUSE");
        return;
    };
    let folder = Dir::at(&share.path()).unwrap();
    assert_eq!(folder.fresh_entry(b"x").unwrap(), Entry::Absent);
    share.set(util::fuse::Faults {
        all: Some(fuser::Errno::ESTALE),
        ..Default::default()
    });
    folder.fresh_entry(b"x").unwrap_err();
    folder.moved_entry(b"x").unwrap_err();
    folder.open(&Rel::new(b"x")).unwrap_err();
}
