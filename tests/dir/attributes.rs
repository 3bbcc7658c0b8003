//! `copy_attributes`: a copy is no wider open than its file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use dirpost::flow::rng::Rng;
use dirpost::io::dir::{Dir, Lost, copy_attributes, copy_mode};
use fuser::Errno;
use rustix::fs::XattrFlags;

use crate::flat::{Call, Flat, Outcome, Shown};
use crate::users::{
    NOBODY, OWNER, User, getfacl, give, is_root, open_to_all, people, run_as, run_as_member,
    setfacl,
};
use crate::util;
use crate::util::mount::Mount;

/// A folder that files are copied from, and another file system that they are copied to.
struct Two {
    dir: util::Dir,
    _mount: Mount,
}

impl Two {
    fn new(test: &str) -> Option<Two> {
        if !is_root(test) {
            return None;
        }
        let dir = util::Dir::new();
        open_to_all(dir.path());
        open_to_all(&dir.mkdir("in"));
        let mount = Mount::tmpfs(&dir.mkdir("done"), "4m")?;
        give(&dir.join("done"), User { uid: 0, gid: 0 }, 0o777, "");
        Some(Two { dir, _mount: mount })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join("in").join(name)
    }

    fn copied(&self, name: &str) -> PathBuf {
        self.dir.join("done").join(name)
    }

    fn make(&self, name: &str, owner: User, mode: u32) -> PathBuf {
        let path = self.dir.write(self.file(name), "text");
        give(&path, owner, mode, "");
        path
    }

    fn copy(&self, name: &str) -> io::Result<Vec<Lost>> {
        copy(&self.dir.join("in"), &self.dir.join("done"), name)
    }
}

/// As the filing copies: made for nobody else, filled, and then given its attributes.
fn copy(from: &Path, to: &Path, name: &str) -> io::Result<Vec<Lost>> {
    let mut source = Dir::at(from)?.file(name.as_bytes())?;
    let mut target = Dir::at(to)?.create_new(name.as_bytes(), 0o600)?;
    io::copy(&mut source, &mut target)?;
    copy_attributes(&source, &target)
}

fn owner_and_mode(path: &Path) -> (u32, u32, String) {
    let meta = path.metadata().unwrap();
    (
        meta.uid(),
        meta.gid(),
        format!("{:o}", meta.mode() & 0o7777),
    )
}

fn shows(uid: u32, gid: u32, mode: &str) -> (u32, u32, String) {
    (uid, gid, mode.into())
}

fn set_attribute(path: &Path, name: &str, value: &[u8]) -> bool {
    let set = rustix::fs::setxattr(path, name, value, XattrFlags::empty());
    if let Err(err) = set {
        eprintln!("SKIPPED: the attribute {name} cannot be set: {err}");
    }
    set.is_ok()
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1 << 16];
    let size = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(size);
    Some(value)
}

#[test]
fn a_private_file_of_another_user_stays_private_and_his() {
    let Some(two) = Two::new("a_private_file_of_another_user_stays_private_and_his") else {
        return;
    };
    for mode in [0o600, 0o640, 0o664, 0o444, 0o400, 0o000] {
        let name = format!("{mode:o}");
        two.make(&name, OWNER, mode);
        assert_eq!(two.copy(&name).unwrap(), []);
        let shown = owner_and_mode(&two.copied(&name));
        assert_eq!(shown, shows(OWNER.uid, OWNER.gid, &name));
        assert_eq!(std::fs::read(two.copied(&name)).unwrap(), b"text");
    }
}

#[test]
fn setuid_setgid_and_sticky_are_not_taken_over() {
    let Some(two) = Two::new("setuid_setgid_and_sticky_are_not_taken_over") else {
        return;
    };
    two.make("x", OWNER, 0o7755);
    assert_eq!(two.copy("x").unwrap(), []);
    let shown = owner_and_mode(&two.copied("x"));
    assert_eq!(shown, shows(OWNER.uid, OWNER.gid, "755"));
}

#[test]
fn capabilities_and_what_else_the_system_believes_are_not_taken_over() {
    let Some(two) = Two::new("capabilities_and_what_else_the_system_believes_are_not_taken_over")
    else {
        return;
    };
    let path = two.make("x", OWNER, 0o755);
    let set = Command::new("setcap")
        .arg("cap_net_raw+ep")
        .arg(&path)
        .status();
    if !set.is_ok_and(|status| status.success()) {
        eprintln!(
            "SKIPPED: capabilities_and_what_else_the_system_believes_are_not_taken_over needs \
             setcap (package libcap2-bin)"
        );
        return;
    }
    assert!(attribute(&path, "security.capability").is_some());
    assert!(set_attribute(&path, "trusted.note", b"1"));
    assert_eq!(two.copy("x").unwrap(), []);
    assert_eq!(attribute(&two.copied("x"), "security.capability"), None);
    assert_eq!(attribute(&two.copied("x"), "trusted.note"), None);
    let shown = owner_and_mode(&two.copied("x"));
    assert_eq!(shown, shows(OWNER.uid, OWNER.gid, "755"));
}

#[test]
fn user_attributes_are_taken_over_also_by_who_may_not_write_to_the_copy() {
    let Some(two) =
        Two::new("user_attributes_are_taken_over_also_by_who_may_not_write_to_the_copy")
    else {
        return;
    };
    let attributes: [(&str, &[u8]); 3] = [
        ("user.empty", b""),
        ("user.bytes", b"\0\xff\n"),
        ("user.long", &[b'x'; 2_000]),
    ];
    let path = two.make("x", OWNER, 0o444);
    for (name, value) in attributes {
        if !set_attribute(&path, name, value) {
            return;
        }
    }
    let lost = run_as(NOBODY, || two.copy("x").unwrap());
    assert_eq!(lost, [Lost::Owner, Lost::Group]);
    for (name, value) in attributes {
        assert_eq!(attribute(&two.copied("x"), name).as_deref(), Some(value));
    }
    let shown = owner_and_mode(&two.copied("x"));
    assert_eq!(shown, shows(NOBODY.uid, NOBODY.gid, "444"));
}

#[test]
fn an_access_list_is_taken_over() {
    let Some(two) = Two::new("an_access_list_is_taken_over") else {
        return;
    };
    let path = two.make("x", OWNER, 0o640);
    if !setfacl(&["-m", "u:3000:rw,g:4000:r,g::-,m::r"], &path) {
        return;
    }
    assert_eq!(two.copy("x").unwrap(), []);
    assert_eq!(getfacl(&two.copied("x")), getfacl(&path));
}

#[test]
fn a_default_access_list_of_the_target_gives_nobody_anything() {
    let Some(two) = Two::new("a_default_access_list_of_the_target_gives_nobody_anything") else {
        return;
    };
    let list = "u:3000:rwx,g:4000:rwx,g::rwx,o::rwx,m::rwx";
    if !setfacl(&["-d", "-m", list], &two.dir.join("done")) {
        return;
    }
    for mode in [0o600, 0o640, 0o664, 0o666] {
        let name = format!("{mode:o}");
        two.make(&name, OWNER, mode);
        assert_eq!(two.copy(&name).unwrap(), []);
        let shown = owner_and_mode(&two.copied(&name));
        assert_eq!(shown, shows(OWNER.uid, OWNER.gid, &name));
        assert!(!getfacl(&two.copied(&name)).contains("3000"));
    }
}

#[test]
fn who_cannot_give_a_file_away_gives_its_group_no_more_than_others() {
    let Some(two) = Two::new("who_cannot_give_a_file_away_gives_its_group_no_more_than_others")
    else {
        return;
    };
    // The group is kept where dirpost is a member of it.
    let of_the_group = User {
        uid: OWNER.uid,
        gid: NOBODY.gid,
    };
    for (owner, mode, lost, left) in [
        (OWNER, 0o644, vec![Lost::Owner, Lost::Group], "644"),
        (OWNER, 0o664, vec![Lost::Owner, Lost::Group], "644"),
        (OWNER, 0o606, vec![Lost::Owner, Lost::Group], "600"),
        (of_the_group, 0o640, vec![Lost::Owner], "640"),
        (of_the_group, 0o660, vec![Lost::Owner], "660"),
    ] {
        let name = format!("{}-{mode:o}", owner.gid);
        two.make(&name, owner, mode);
        assert_eq!(run_as(NOBODY, || two.copy(&name).unwrap()), lost, "{name}");
        let gid = if owner.gid == NOBODY.gid {
            owner.gid
        } else {
            NOBODY.gid
        };
        let shown = owner_and_mode(&two.copied(&name));
        assert_eq!(shown, shows(NOBODY.uid, gid, left), "{name}");
    }
}

#[test]
fn a_member_of_the_group_gives_a_file_to_it() {
    let Some(two) = Two::new("a_member_of_the_group_gives_a_file_to_it") else {
        return;
    };
    two.make("x", OWNER, 0o660);
    let lost = run_as_member(NOBODY, &[OWNER.gid], || two.copy("x").unwrap());
    assert_eq!(lost, [Lost::Owner]);
    let shown = owner_and_mode(&two.copied("x"));
    assert_eq!(shown, shows(NOBODY.uid, OWNER.gid, "660"));
}

/// What somebody may do with a file; the kernel says.
fn may(person: User, path: &Path) -> [bool; 2] {
    run_as(person, || {
        let read = File::open(path).is_ok();
        [read, OpenOptions::new().append(true).open(path).is_ok()]
    })
}

#[test]
fn nobody_may_do_with_a_copy_what_he_could_not_do_with_its_file() {
    let Some(two) = Two::new("nobody_may_do_with_a_copy_what_he_could_not_do_with_its_file") else {
        return;
    };
    if !setfacl(
        &["-d", "-m", "u:3000:rwx,g:5000:rwx"],
        &two.dir.join("done"),
    ) {
        return;
    }
    let mut rng = Rng::new(7);
    for at in 0..60 {
        let name = at.to_string();
        let gid = [1234, 65534][rng.below(2) as usize];
        let path = two.make(
            &name,
            User { uid: 1234, gid },
            rng.below(0o1000) as u32 | 0o400,
        );
        if rng.below(2) == 0 {
            let rights = ["-", "r", "w", "rw"];
            let mut right = || rights[rng.below(4) as usize];
            let list = format!(
                "u:3000:{},u:65534:r,g:4000:{},g:5000:{},m::{}",
                right(),
                right(),
                right(),
                right()
            );
            assert!(setfacl(&["-m", &list], &path));
        }
        let dirpost = if rng.below(2) == 0 {
            two.copy(&name).unwrap();
            User { uid: 0, gid: 0 }
        } else if let Err(err) = run_as(NOBODY, || two.copy(&name)) {
            assert_eq!(
                err.kind(),
                io::ErrorKind::PermissionDenied,
                "{}",
                getfacl(&path)
            );
            continue;
        } else {
            NOBODY
        };
        let others = people();
        let others = others.iter().filter(|person| person.uid != dirpost.uid);
        // The owner could give himself any right.
        for person in others.filter(|person| person.uid != OWNER.uid) {
            let (before, after) = (may(*person, &path), may(*person, &two.copied(&name)));
            assert!(
                after
                    .iter()
                    .zip(before)
                    .all(|(after, before)| !after || before),
                "{person:?}: {before:?} became {after:?} as {dirpost:?} copied\n{}\n{}",
                getfacl(&path),
                getfacl(&two.copied(&name)),
            );
        }
    }
}

#[test]
fn where_there_are_no_access_lists_who_was_named_has_no_more_than_before() {
    let test = "where_there_are_no_access_lists_who_was_named_has_no_more_than_before";
    let Some(two) = Two::new(test) else {
        return;
    };
    let Some(flat) = Flat::mount(test) else {
        return;
    };
    for (name, list, left) in [
        // The mode shows the mask as the group's; the group itself has nothing.
        ("mask", "g::-,u:3000:rw", "600"),
        ("kept", "g::r,u:3000:rw", "640"),
        // Somebody is kept out by name.
        ("out", "g::r,o::r,u:3000:-", "600"),
    ] {
        let path = two.make(name, OWNER, 0o660);
        if !setfacl(&["-m", list], &path) {
            return;
        }
        let lost = copy(&two.dir.join("in"), &flat.path(), name).unwrap();
        assert_eq!(lost, [Lost::AccessList], "{name}");
        let shown = owner_and_mode(&flat.path().join(name));
        assert_eq!(shown, shows(OWNER.uid, OWNER.gid, left), "{name}");
    }
}

#[test]
fn what_is_written_about_a_file_is_for_those_who_may_read_the_file() {
    let test = "what_is_written_about_a_file_is_for_those_who_may_read_the_file";
    let Some(two) = Two::new(test) else {
        return;
    };
    let of_root = User {
        uid: 0,
        gid: OWNER.gid,
    };
    for (mode, as_root, as_nobody) in [
        (0o600, "600", None),
        (0o640, "640", None),
        (0o755, "644", Some("644")),
        (0o664, "664", Some("644")),
        (0o444, "644", Some("644")),
    ] {
        let name = format!("{mode:o}");
        let path = two.make(&name, OWNER, mode);
        let write = |name: &str| {
            let like = Dir::at(&two.dir.join("in"))
                .unwrap()
                .file(path.file_name().unwrap().as_encoded_bytes());
            let target = Dir::at(&two.dir.join("done"))
                .unwrap()
                .create_new(name.as_bytes(), 0o600)
                .unwrap();
            copy_mode(&like.unwrap(), &target).unwrap();
        };
        write(&name);
        let shown = owner_and_mode(&two.copied(&name));
        assert_eq!(shown, shows(of_root.uid, of_root.gid, as_root), "{name}");
        if let Some(left) = as_nobody {
            let other = format!("{name} of nobody");
            run_as(NOBODY, || write(&other));
            let shown = owner_and_mode(&two.copied(&other));
            assert_eq!(shown, shows(NOBODY.uid, NOBODY.gid, left), "{name}");
        }
    }
    let path = two.make("list", OWNER, 0o750);
    if setfacl(&["-m", "u:3000:rwx"], &path) {
        let like = File::open(&path).unwrap();
        let target = Dir::at(&two.dir.join("done"))
            .unwrap()
            .create_new(b"list", 0o600)
            .unwrap();
        copy_mode(&like, &target).unwrap();
        let list = getfacl(&two.copied("list"));
        assert_eq!(
            list,
            "user::rw- user:3000:rw- group::r-- mask::rw- other::---"
        );
    }
}

#[test]
fn a_target_that_keeps_no_modes_and_owners_is_no_error_and_is_said() {
    let test = "a_target_that_keeps_no_modes_and_owners_is_no_error_and_is_said";
    let Some(two) = Two::new(test) else {
        return;
    };
    let path = two.make("x", OWNER, 0o640);
    let has_attribute = set_attribute(&path, "user.note", b"1");
    for outcome in [
        Outcome::Forgotten,
        Outcome::Refused(Errno::EPERM),
        Outcome::Refused(Errno::EOPNOTSUPP),
    ] {
        let Some(flat) = Flat::mount(test) else {
            return;
        };
        flat.always(Call::Chmod, outcome);
        flat.always(Call::Chown, outcome);
        flat.show(Shown {
            mode: Some(0o755),
            uid: Some(0),
        });
        let mut expected = vec![Lost::Owner, Lost::Group, Lost::Mode];
        if has_attribute {
            expected.insert(0, Lost::Attributes);
        }
        let lost = copy(&two.dir.join("in"), &flat.path(), "x").unwrap();
        assert_eq!(lost, expected, "{outcome:?}");
        assert_eq!(flat.files(), [("x".into(), "text".into())]);
    }
}

#[test]
fn a_chown_that_answers_with_an_error_is_looked_at_and_not_believed() {
    let test = "a_chown_that_answers_with_an_error_is_looked_at_and_not_believed";
    let Some(two) = Two::new(test) else {
        return;
    };
    let Some(flat) = Flat::mount(test) else {
        return;
    };
    two.make("x", OWNER, 0o640);
    // Three calls: both, the group, the owner.
    flat.always(Call::Chown, Outcome::DoneYet(Errno::EIO));
    let lost = copy(&two.dir.join("in"), &flat.path(), "x").unwrap();
    assert_eq!(lost, []);
    let shown = owner_and_mode(&flat.path().join("x"));
    assert_eq!(shown, shows(OWNER.uid, OWNER.gid, "640"));
}

#[test]
fn a_copy_to_fat_is_no_error() {
    let test = "a_copy_to_fat_is_no_error";
    let Some(two) = Two::new(test) else {
        return;
    };
    let image = two.dir.join("image");
    File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let made = Command::new("mkfs.vfat").arg(&image).output();
    if !made.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: {test} needs mkfs.vfat (package dosfstools)");
        return;
    }
    let Some(_mount) = Mount::image(&image, "vfat", &two.dir.mkdir("fat")) else {
        eprintln!("SKIPPED: {test} needs a kernel with FAT and loop devices");
        return;
    };
    two.make("x", OWNER, 0o640);
    let lost = copy(&two.dir.join("in"), &two.dir.join("fat"), "x").unwrap();
    assert_eq!(lost, [Lost::Owner, Lost::Group, Lost::Mode]);
}
