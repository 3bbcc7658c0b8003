//! The primitives that change names: each does one thing, and says what the system said.

use std::fs::{Permissions, read};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use dirpost::io::dir::{Dir, link_is_unsupported, rename_is_unsupported};
use fuser::Errno;

use crate::flat::{Call, Flat, Outcome};
use crate::users::{NOBODY, OWNER, is_root, run_as};
use crate::util;
use crate::util::mount::Mount;

fn two_files() -> (util::Dir, Dir) {
    let dir = util::Dir::new();
    dir.write("a", "a");
    dir.write("b", "b");
    let folder = Dir::at(dir.path()).unwrap();
    (dir, folder)
}

#[test]
fn a_rename_without_replacing_replaces_nothing_and_leaves_both_names() {
    let (dir, folder) = two_files();
    let err = folder.rename_no_replace(b"a", &folder, b"b").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AlreadyExists);
    assert!(!rename_is_unsupported(&err));
    assert_eq!((dir.text("a"), dir.text("b")), ("a".into(), "b".into()));
    folder.rename_no_replace(b"a", &folder, b"c").unwrap();
    assert_eq!(dir.list(""), ["b", "c"]);
}

#[test]
fn a_link_replaces_nothing_and_leaves_both_names() {
    let (dir, folder) = two_files();
    let err = folder.link(b"a", &folder, b"b").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AlreadyExists);
    assert!(!link_is_unsupported(&err));
    folder.link(b"a", &folder, b"c").unwrap();
    assert_eq!(dir.list(""), ["a", "b", "c"]);
    assert_eq!(dir.join("a").metadata().unwrap().nlink(), 2);
}

#[test]
fn a_rename_over_replaces_and_leaves_two_names_of_one_file_as_they_are() {
    let (dir, folder) = two_files();
    folder.rename_over(b"a", &folder, b"b").unwrap();
    assert_eq!(
        (dir.list(""), dir.text("b")),
        (vec!["b".into()], "a".into())
    );
    folder.link(b"b", &folder, b"c").unwrap();
    folder.rename_over(b"b", &folder, b"c").unwrap();
    assert_eq!(dir.list(""), ["b", "c"]);
}

#[test]
fn what_is_made_has_the_mode_that_was_asked_for_and_replaces_nothing() {
    let dir = util::Dir::new();
    let folder = Dir::at(dir.path()).unwrap();
    folder.create_new(b"x", 0o600).unwrap();
    assert_eq!(dir.join("x").metadata().unwrap().mode() & 0o7777, 0o600);
    let err = folder.create_new(b"x", 0o600).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AlreadyExists);
}

#[test]
fn another_mount_is_another_file_system_and_not_one_without_renames() {
    let dir = util::Dir::new();
    dir.write("a", "a");
    let Some(_mount) = Mount::tmpfs(&dir.mkdir("other"), "1m") else {
        return;
    };
    let folder = Dir::at(dir.path()).unwrap();
    let other = Dir::at(&dir.join("other")).unwrap();
    for err in [
        folder.rename_no_replace(b"a", &other, b"a").unwrap_err(),
        folder.link(b"a", &other, b"a").unwrap_err(),
        folder.rename_over(b"a", &other, b"a").unwrap_err(),
    ] {
        assert_eq!(err.kind(), ErrorKind::CrossesDevices);
        assert!(!rename_is_unsupported(&err) && !link_is_unsupported(&err));
    }
    assert_eq!(dir.text("a"), "a");
}

#[test]
fn a_bind_mount_of_the_same_file_system_is_crossed_by_no_rename_either() {
    let dir = util::Dir::new();
    dir.write("a", "a");
    let Some(_mount) = Mount::bind(&dir.mkdir("real"), &dir.mkdir("bound")) else {
        return;
    };
    let folder = Dir::at(dir.path()).unwrap();
    let bound = Dir::at(&dir.join("bound")).unwrap();
    assert!(folder.same_fs(&bound), "the device is the same");
    let err = folder.rename_no_replace(b"a", &bound, b"a").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::CrossesDevices);
}

#[test]
fn a_sticky_folder_refuses_a_rename_which_is_not_the_lack_of_one() {
    if !is_root("a_sticky_folder_refuses_a_rename_which_is_not_the_lack_of_one") {
        return;
    }
    let dir = util::Dir::new();
    let path = dir.write("a", "a");
    chown(&path, Some(OWNER.uid), Some(OWNER.gid)).unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
    run_as(NOBODY, || {
        let folder = Dir::at(dir.path()).unwrap();
        let err = folder.rename_no_replace(b"a", &folder, b"b").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::PermissionDenied);
        assert!(!rename_is_unsupported(&err));
    });
    assert_eq!(read(path).unwrap(), b"a");
}

#[test]
fn a_file_that_may_not_be_linked_but_renamed_counts_as_one_without_links() {
    let protected = std::fs::read_to_string("/proc/sys/fs/protected_hardlinks");
    if protected.is_ok_and(|text| text.trim() != "1") {
        eprintln!(
            "SKIPPED: a_file_that_may_not_be_linked_but_renamed_counts_as_one_without_links \
             needs fs.protected_hardlinks=1"
        );
        return;
    }
    if !is_root("a_file_that_may_not_be_linked_but_renamed_counts_as_one_without_links") {
        return;
    }
    let dir = util::Dir::new();
    let path = dir.write("a", "a");
    chown(&path, Some(OWNER.uid), Some(OWNER.gid)).unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    run_as(NOBODY, || {
        let folder = Dir::at(dir.path()).unwrap();
        let err = folder.link(b"a", &folder, b"b").unwrap_err();
        assert!(link_is_unsupported(&err), "{err}");
        folder.rename_no_replace(b"a", &folder, b"b").unwrap();
    });
    assert_eq!(dir.list(""), ["b"]);
}

#[test]
fn a_file_system_without_such_a_rename_or_without_links_is_told_from_one_that_refuses() {
    let Some(flat) = Flat::mount(
        "a_file_system_without_such_a_rename_or_without_links_is_told_from_one_that_refuses",
    ) else {
        return;
    };
    let folder = Dir::at(&flat.path()).unwrap();
    folder.create_new(b"a", 0o600).unwrap();
    let rename = |errno| {
        flat.once(Call::RenameNoReplace, Outcome::Refused(errno));
        folder.rename_no_replace(b"a", &folder, b"b").unwrap_err()
    };
    let link = |errno| {
        flat.once(Call::Link, Outcome::Refused(errno));
        folder.link(b"a", &folder, b"b").unwrap_err()
    };
    for errno in [Errno::EINVAL, Errno::EOPNOTSUPP] {
        assert!(rename_is_unsupported(&rename(errno)), "{errno:?}");
        assert!(link_is_unsupported(&link(errno)), "{errno:?}");
    }
    for errno in [Errno::EPERM, Errno::EMLINK] {
        assert!(!rename_is_unsupported(&rename(errno)), "{errno:?}");
        assert!(link_is_unsupported(&link(errno)), "{errno:?}");
    }
    for errno in [Errno::EACCES, Errno::EIO, Errno::EROFS, Errno::EBUSY] {
        assert!(!rename_is_unsupported(&rename(errno)), "{errno:?}");
        assert!(!link_is_unsupported(&link(errno)), "{errno:?}");
    }
    // The kernel remembers that a server does not know the calls; so this comes last.
    assert!(rename_is_unsupported(&rename(Errno::ENOSYS)));
    assert!(link_is_unsupported(&link(Errno::ENOSYS)));
    folder.rename_over(b"a", &folder, b"b").unwrap();
    assert_eq!(flat.files(), [("b".into(), String::new())]);
}

#[test]
fn what_has_no_name_outside_of_the_kernel_says_that_there_are_no_links() {
    // NFS 3: NFS3ERR_NOTSUPP becomes 524.
    let err = std::io::Error::from_raw_os_error(524);
    assert!(link_is_unsupported(&err) && rename_is_unsupported(&err));
}
