//! `replace` and `write_new`: dirpost's own files are whole, and none is lost to an answer.

use std::io::ErrorKind;

use dirpost::io::dir::{Dir, Durability};
use fuser::Errno;

use crate::flat::{Call, Flat, Outcome};
use crate::util;
use crate::util::mount::Disk;

fn files(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|&(name, text)| (name.into(), text.into()))
        .collect()
}

/// What NFS and SMB were seen to answer to what they had done.
const ANSWERS: [Errno; 3] = [Errno::EIO, Errno::ENOENT, Errno::ETIMEDOUT];

#[test]
fn a_file_is_replaced_as_a_whole_and_no_draft_is_left() {
    let dir = util::Dir::new();
    let folder = Dir::at(dir.path()).unwrap();
    for (text, durability) in [("one", Durability::Durable), ("2", Durability::Cached)] {
        folder.replace(b"x", text.as_bytes(), durability).unwrap();
        assert_eq!(
            (dir.list(""), dir.text("x")),
            (vec!["x".into()], text.into())
        );
    }
}

#[test]
fn a_new_file_replaces_nothing_whatever_the_file_system_has() {
    let Some(flat) = Flat::mount("a_new_file_replaces_nothing_whatever_the_file_system_has") else {
        return;
    };
    let folder = Dir::at(&flat.path()).unwrap();
    // First with a rename that replaces nothing, then with links, then with neither.
    let lacks = [None, Some(Call::RenameNoReplace), Some(Call::Link)];
    for (at, lack) in lacks.into_iter().enumerate() {
        if let Some(call) = lack {
            flat.always(call, Outcome::Refused(Errno::ENOSYS));
        }
        let name = format!("x{at}");
        folder.write_new(name.as_bytes(), b"one").unwrap();
        let err = folder.write_new(name.as_bytes(), b"two").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::AlreadyExists);
    }
    assert_eq!(
        flat.files(),
        files(&[("x0", "one"), ("x1", "one"), ("x2", "one")])
    );
}

#[test]
fn a_rename_over_that_was_done_and_answers_with_an_error_is_done() {
    let Some(flat) = Flat::mount("a_rename_over_that_was_done_and_answers_with_an_error_is_done")
    else {
        return;
    };
    let folder = Dir::at(&flat.path()).unwrap();
    for (at, errno) in ANSWERS.into_iter().enumerate() {
        let text = at.to_string();
        flat.once(Call::RenameOver, Outcome::DoneYet(errno));
        folder
            .replace(b"x", text.as_bytes(), Durability::Durable)
            .unwrap();
        assert!(flat.has_happened());
        assert_eq!(flat.files(), files(&[("x", &text)]));
    }
}

#[test]
fn a_rename_over_that_was_not_done_is_an_error_and_leaves_the_former_file_alone() {
    let Some(flat) =
        Flat::mount("a_rename_over_that_was_not_done_is_an_error_and_leaves_the_former_file_alone")
    else {
        return;
    };
    let folder = Dir::at(&flat.path()).unwrap();
    folder.replace(b"x", b"one", Durability::Cached).unwrap();
    // Also where what was to be written is what is there already.
    for text in ["two", "one"] {
        for errno in ANSWERS {
            flat.once(Call::RenameOver, Outcome::Refused(errno));
            folder
                .replace(b"x", text.as_bytes(), Durability::Durable)
                .unwrap_err();
            assert!(flat.has_happened());
            assert_eq!(flat.files(), files(&[("x", "one")]));
        }
    }
}

#[test]
fn a_new_file_whose_placing_was_done_and_answers_with_an_error_is_written() {
    let Some(flat) =
        Flat::mount("a_new_file_whose_placing_was_done_and_answers_with_an_error_is_written")
    else {
        return;
    };
    let folder = Dir::at(&flat.path()).unwrap();
    let mut expected = Vec::new();
    for (lack, placing) in [
        (None, Call::RenameNoReplace),
        (Some(Call::RenameNoReplace), Call::Link),
        (None, Call::Unlink),
        (Some(Call::Link), Call::RenameOver),
    ] {
        if let Some(call) = lack {
            flat.always(call, Outcome::Refused(Errno::ENOSYS));
        }
        // A retransmitted call may also meet what it has done itself.
        for errno in ANSWERS.into_iter().chain([Errno::EEXIST]) {
            let name = format!("{placing:?}-{errno:?}");
            flat.once(placing, Outcome::DoneYet(errno));
            folder.write_new(name.as_bytes(), name.as_bytes()).unwrap();
            assert!(flat.has_happened(), "{name}");
            expected.push((name.clone(), name));
        }
    }
    expected.sort();
    assert_eq!(flat.files(), expected);
}

#[test]
fn a_new_file_whose_placing_failed_leaves_neither_a_name_nor_a_draft() {
    let Some(flat) =
        Flat::mount("a_new_file_whose_placing_failed_leaves_neither_a_name_nor_a_draft")
    else {
        return;
    };
    let folder = Dir::at(&flat.path()).unwrap();
    for (lack, fails) in [
        (None, Call::Create),
        (None, Call::Write),
        (None, Call::Fsync),
        (None, Call::RenameNoReplace),
        (Some(Call::RenameNoReplace), Call::Link),
        (Some(Call::Link), Call::RenameOver),
    ] {
        if let Some(call) = lack {
            flat.always(call, Outcome::Refused(Errno::ENOSYS));
        }
        for errno in ANSWERS {
            flat.once(fails, Outcome::Refused(errno));
            folder.write_new(b"x", b"one").unwrap_err();
            assert!(flat.has_happened(), "{fails:?} {errno:?}");
            assert_eq!(flat.files(), [], "{fails:?} {errno:?}");
        }
    }
    folder.write_new(b"x", b"one").unwrap();
}

#[test]
fn a_draft_whose_making_was_done_and_answers_with_an_error_is_removed() {
    let Some(flat) =
        Flat::mount("a_draft_whose_making_was_done_and_answers_with_an_error_is_removed")
    else {
        return;
    };
    let folder = Dir::at(&flat.path()).unwrap();
    flat.once(Call::Create, Outcome::DoneYet(Errno::EIO));
    folder.write_new(b"x", b"one").unwrap_err();
    flat.once(Call::Create, Outcome::DoneYet(Errno::EIO));
    folder
        .replace(b"x", b"one", Durability::Cached)
        .unwrap_err();
    assert_eq!(flat.files(), []);
}

#[test]
fn a_link_that_stays_because_its_unlink_was_refused_takes_nothing_from_the_file() {
    let Some(flat) =
        Flat::mount("a_link_that_stays_because_its_unlink_was_refused_takes_nothing_from_the_file")
    else {
        return;
    };
    let folder = Dir::at(&flat.path()).unwrap();
    flat.always(Call::RenameNoReplace, Outcome::Refused(Errno::EINVAL));
    flat.once(Call::Unlink, Outcome::Refused(Errno::EACCES));
    folder.write_new(b"x", b"one").unwrap();
    let left = flat.files();
    assert_eq!(left.len(), 2);
    assert!(left.contains(&("x".into(), "one".into())));
}

#[test]
fn the_name_of_another_process_is_not_taken_for_ones_own_though_the_bytes_are_equal() {
    let Some(flat) = Flat::mount(
        "the_name_of_another_process_is_not_taken_for_ones_own_though_the_bytes_are_equal",
    ) else {
        return;
    };
    let folder = Dir::at(&flat.path()).unwrap();
    folder.write_new(b"x", b"one").unwrap();
    let err = folder.write_new(b"x", b"one").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AlreadyExists);
    // Taken between two calls: Linux itself answers to a name that was taken before.
    flat.always(Call::RenameNoReplace, Outcome::Refused(Errno::EINVAL));
    flat.once(Call::Link, Outcome::Overtaken);
    let err = folder.write_new(b"y", b"one").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AlreadyExists);
    assert!(flat.has_happened());
    assert_eq!(flat.files(), files(&[("x", "one"), ("y", "one")]));
}

#[test]
fn a_folder_whose_fsync_fails_is_an_error_and_the_new_file_stays() {
    let Some(flat) = Flat::mount("a_folder_whose_fsync_fails_is_an_error_and_the_new_file_stays")
    else {
        return;
    };
    let folder = Dir::at(&flat.path()).unwrap();
    flat.once(Call::FsyncFolder, Outcome::Refused(Errno::EIO));
    folder
        .replace(b"x", b"one", Durability::Durable)
        .unwrap_err();
    assert_eq!(flat.files(), files(&[("x", "one")]));
    // A file system that has none is no error.
    flat.always(Call::FsyncFolder, Outcome::Refused(Errno::ENOSYS));
    folder.replace(b"x", b"two", Durability::Durable).unwrap();
    assert_eq!(flat.files(), files(&[("x", "two")]));
}

#[test]
fn what_is_durable_is_there_after_a_power_cut() {
    let dir = util::Dir::new();
    let Some(mut disk) = Disk::new(&dir.mkdir("disk")) else {
        return;
    };
    let folder = Dir::at(&dir.join("disk")).unwrap();
    folder.write_new(b"new", b"one").unwrap();
    folder.replace(b"old", b"one", Durability::Durable).unwrap();
    folder.replace(b"old", b"two", Durability::Durable).unwrap();
    drop(folder);
    disk.cut_power();
    disk.switch_off();
    assert!(disk.switch_on());
    assert_eq!(dir.text("disk/old"), "two");
    assert_eq!(dir.text("disk/new"), "one");
}
