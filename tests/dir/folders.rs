//! Folders that are made like others: no wider than these, and in `done` with their group.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use dirpost::flow::file::Rel;
use dirpost::flow::rng::Rng;
use dirpost::io::dir::{Dir, GroupRights, Made, Why, Wider};
use rustix::fs::{CWD, Mode};
use rustix::thread::UnshareFlags;

use crate::flat::{Flat, Shown};
use crate::users::{
    NOBODY, OWNER, User, getfacl, give, is_root, open_to_all, people, run_as, run_as_member,
    setfacl,
};
use crate::util;
use crate::util::mount::Disk;

const ROOT: User = User { uid: 0, gid: 0 };

/// A watched folder, and a folder for what is filed, which is dirpost's own.
struct Pair {
    dir: util::Dir,
}

impl Pair {
    fn new(test: &str, dirpost: User) -> Option<Pair> {
        if !is_root(test) {
            return None;
        }
        let dir = util::Dir::new();
        open_to_all(dir.path());
        open_to_all(&dir.mkdir("in"));
        give(&dir.mkdir("done"), dirpost, 0o755, "");
        Some(Pair { dir })
    }

    /// A folder in the watched one.
    fn model(&self, path: &str, owner: User, mode: u32) -> PathBuf {
        let path = self.dir.mkdir(Path::new("in").join(path));
        give(&path, owner, mode, "");
        path
    }

    fn made(&self, path: &str) -> PathBuf {
        self.dir.join("done").join(path)
    }

    fn make(&self, path: &str, group_rights: GroupRights) -> Vec<Wider> {
        let done = Dir::at(&self.dir.join("done")).unwrap();
        let watched = Dir::at(&self.dir.join("in")).unwrap();
        let made = done
            .make_like(&Rel::new(path.as_bytes()), &watched, group_rights)
            .unwrap();
        let opened = Dir::at(&self.made(path)).unwrap();
        assert!(made.folder.is(&opened));
        made.wider
    }

    fn shows(&self, path: &str) -> (u32, u32, String) {
        owner_and_mode(&self.made(path))
    }
}

fn owner_and_mode(path: &Path) -> (u32, u32, String) {
    let meta = path.metadata().unwrap();
    (
        meta.uid(),
        meta.gid(),
        format!("{:o}", meta.mode() & 0o7777),
    )
}

fn shows(user: User, mode: &str) -> (u32, u32, String) {
    (user.uid, user.gid, mode.into())
}

#[test]
fn a_folder_in_done_has_owner_group_and_rights_of_its_model_and_nobody_else_may_write() {
    let test = "a_folder_in_done_has_owner_group_and_rights_of_its_model_and_nobody_else_may_write";
    let Some(pair) = Pair::new(test, ROOT) else {
        return;
    };
    for (mode, left) in [
        (0o700, "700"),
        (0o750, "750"),
        (0o770, "770"),
        (0o755, "755"),
        // Its members clean `done`, whatever the umask; others do not.
        (0o777, "775"),
        // setgid is for what people make, and a sticky bit protects the files of others.
        (0o2770, "770"),
        (0o1777, "1775"),
        (0o1770, "1770"),
    ] {
        let name = format!("{mode:o}");
        pair.model(&name, OWNER, mode);
        assert_eq!(pair.make(&name, GroupRights::Kept), []);
        assert_eq!(pair.shows(&name), shows(OWNER, left), "{name}");
        // What is there is left as it is.
        assert_eq!(pair.make(&name, GroupRights::Kept), []);
        assert_eq!(pair.shows(&name), shows(OWNER, left), "{name}");
    }
}

#[test]
fn a_folder_in_dead_letter_is_dirposts_own_and_gives_its_group_what_everybody_has() {
    let test = "a_folder_in_dead_letter_is_dirposts_own_and_gives_its_group_what_everybody_has";
    let Some(pair) = Pair::new(test, ROOT) else {
        return;
    };
    for (mode, left) in [
        (0o700, "700"),
        (0o770, "700"),
        (0o755, "755"),
        (0o777, "755"),
        (0o775, "755"),
        (0o711, "711"),
        // The members of its group are others now.
        (0o705, "700"),
    ] {
        let name = format!("{mode:o}");
        pair.model(&name, OWNER, mode);
        assert_eq!(pair.make(&name, GroupRights::Dropped), []);
        assert_eq!(pair.shows(&name), shows(ROOT, left), "{name}");
    }
}

#[test]
fn each_part_of_a_path_is_made_like_its_own_model() {
    let Some(pair) = Pair::new("each_part_of_a_path_is_made_like_its_own_model", ROOT) else {
        return;
    };
    pair.model("a", OWNER, 0o755);
    pair.model("a/b", OWNER, 0o750);
    pair.model("a/b/c", ROOT, 0o700);
    assert_eq!(pair.make("a/b/c", GroupRights::Kept), []);
    assert_eq!(pair.shows("a"), shows(OWNER, "755"));
    assert_eq!(pair.shows("a/b"), shows(OWNER, "750"));
    assert_eq!(pair.shows("a/b/c"), shows(ROOT, "700"));
}

#[test]
fn a_folder_whose_model_is_gone_is_for_dirpost_alone() {
    let Some(pair) = Pair::new("a_folder_whose_model_is_gone_is_for_dirpost_alone", ROOT) else {
        return;
    };
    pair.model("a", OWNER, 0o755);
    symlink("/etc", pair.dir.join("in/link")).unwrap();
    pair.dir.write("in/file", "");
    for group_rights in [GroupRights::Kept, GroupRights::Dropped] {
        for (path, private) in [("a/b/c", "a/b"), ("link/x", "link"), ("file/x", "file")] {
            pair.make(path, group_rights);
            assert_eq!(pair.shows(path), shows(ROOT, "700"), "{path}");
            assert_eq!(pair.shows(private), shows(ROOT, "700"), "{path}");
            std::fs::remove_dir_all(pair.made(private)).unwrap();
        }
    }
}

#[test]
fn who_cannot_give_a_folder_away_gives_its_group_no_more_than_everybody() {
    let test = "who_cannot_give_a_folder_away_gives_its_group_no_more_than_everybody";
    let Some(pair) = Pair::new(test, NOBODY) else {
        return;
    };
    for (mode, left) in [
        (0o755, "755"),
        (0o775, "755"),
        (0o777, "755"),
        // dirpost has to write to it, whatever the owner of the model wanted to do himself.
        (0o555, "755"),
        // It can be entered, but not looked at any more.
        (0o771, "700"),
    ] {
        let name = format!("{mode:o}");
        pair.model(&name, OWNER, mode);
        let wider = run_as(NOBODY, || pair.make(&name, GroupRights::Kept));
        assert_eq!(wider, []);
        assert_eq!(pair.shows(&name), shows(NOBODY, left), "{name}");
    }
    // A member of the group keeps it.
    pair.model("group", OWNER, 0o570);
    let wider = run_as_member(NOBODY, &[OWNER.gid], || {
        pair.make("group", GroupRights::Kept)
    });
    assert_eq!(wider, []);
    let shared = User {
        uid: NOBODY.uid,
        gid: OWNER.gid,
    };
    assert_eq!(pair.shows("group"), shows(shared, "770"));
}

#[test]
fn a_folder_that_dirpost_could_not_use_any_more_is_not_given_away() {
    let test = "a_folder_that_dirpost_could_not_use_any_more_is_not_given_away";
    let Some(pair) = Pair::new(test, NOBODY) else {
        return;
    };
    // Whoever may give folders away, and has no other power over them.
    pair.model("x", OWNER, 0o755);
    let wider = run_as(NOBODY, || pair.make("x", GroupRights::Kept));
    assert_eq!((wider, pair.shows("x")), (vec![], shows(NOBODY, "755")));
    pair.model("y", OWNER, 0o755);
    let done = pair.made("y");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
            let mut sets = capabilities(None).unwrap();
            sets.effective = CapabilitySet::CHOWN | CapabilitySet::DAC_READ_SEARCH;
            give(&pair.dir.join("done"), ROOT, 0o755, "");
            sets.permitted = sets.effective;
            set_capabilities(None, sets).unwrap();
            pair.make("y", GroupRights::Kept)
        });
        assert_eq!(thread.join().unwrap(), []);
    });
    assert_eq!(owner_and_mode(&done), shows(ROOT, "755"));
}

#[test]
fn the_umask_takes_rights_from_everybody_and_not_from_the_group_in_done() {
    let test = "the_umask_takes_rights_from_everybody_and_not_from_the_group_in_done";
    let Some(pair) = Pair::new(test, ROOT) else {
        return;
    };
    for name in ["x", "y"] {
        pair.model(name, OWNER, 0o775);
    }
    with_umask(0o077, || {
        pair.make("x", GroupRights::Kept);
        pair.make("y", GroupRights::Dropped);
    });
    assert_eq!(pair.shows("x"), shows(OWNER, "770"));
    assert_eq!(pair.shows("y"), shows(ROOT, "700"));
}

#[test]
fn others_may_never_write_whatever_the_umask() {
    let Some(pair) = Pair::new("others_may_never_write_whatever_the_umask", ROOT) else {
        return;
    };
    for name in ["x", "y"] {
        pair.model(name, OWNER, 0o777);
    }
    with_umask(0, || {
        pair.make("x", GroupRights::Kept);
        pair.make("y", GroupRights::Dropped);
    });
    assert_eq!(pair.shows("x"), shows(OWNER, "775"));
    assert_eq!(pair.shows("y"), shows(ROOT, "755"));
}

/// Runs `act` in a thread with an umask of its own.
fn with_umask(umask: u32, act: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: files stay shared; only the umask and the working folder become this thread's
            // own, and nothing relies on them being those of the others.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }.unwrap();
            rustix::process::umask(Mode::from_raw_mode(umask));
            act();
        });
        thread.join().unwrap();
    });
}

#[test]
fn a_default_access_list_gives_nobody_anything_in_a_folder_that_is_made() {
    let test = "a_default_access_list_gives_nobody_anything_in_a_folder_that_is_made";
    let Some(pair) = Pair::new(test, ROOT) else {
        return;
    };
    let list = "u:3000:rwx,g:4000:rwx,g::rwx,o::rwx,m::rwx";
    if !setfacl(&["-d", "-m", list], &pair.dir.join("done")) {
        return;
    }
    for (name, group_rights, owner) in [
        ("x", GroupRights::Kept, OWNER),
        ("y", GroupRights::Dropped, ROOT),
    ] {
        pair.model(name, OWNER, 0o750);
        assert_eq!(pair.make(name, group_rights), []);
        let mode = if owner.uid == 0 { "700" } else { "750" };
        assert_eq!(pair.shows(name), shows(owner, mode));
        let effective = getfacl(&pair.made(name));
        assert!(!effective.starts_with("user::rwx user:3000"), "{effective}");
    }
}

#[test]
fn named_entries_are_group_rights_too() {
    let Some(pair) = Pair::new("named_entries_are_group_rights_too", ROOT) else {
        return;
    };
    let model = pair.model("x", OWNER, 0o750);
    if !setfacl(&["-m", "g:4000:rwx,u:3000:rx"], &model) {
        return;
    }
    assert_eq!(pair.make("x", GroupRights::Kept), []);
    assert_eq!(getfacl(&pair.made("x")), getfacl(&model));
    std::fs::remove_dir(pair.made("x")).unwrap();
    assert_eq!(pair.make("x", GroupRights::Dropped), []);
    assert_eq!(pair.shows("x"), shows(ROOT, "700"));
    assert!(!getfacl(&pair.made("x")).contains("4000"));
}

#[test]
fn a_folder_that_was_there_and_is_wider_is_said_and_left_as_it_is() {
    let test = "a_folder_that_was_there_and_is_wider_is_said_and_left_as_it_is";
    let Some(pair) = Pair::new(test, ROOT) else {
        return;
    };
    pair.model("a", OWNER, 0o750);
    pair.model("a/b", OWNER, 0o755);
    give(&pair.dir.mkdir("done/a"), ROOT, 0o755, "");
    let expected = [Wider {
        path: Rel::new(b"a"),
        why: Why::WasThere,
    }];
    for group_rights in [GroupRights::Kept, GroupRights::Dropped] {
        assert_eq!(pair.make("a/b", group_rights), expected);
        assert_eq!(pair.shows("a"), shows(ROOT, "755"));
    }
    // By its access list, its group, and a missing sticky bit.
    give(&pair.made("a"), OWNER, 0o750, "");
    assert_eq!(pair.make("a", GroupRights::Kept), []);
    if setfacl(&["-m", "u:3000:rx"], &pair.made("a")) {
        assert_eq!(pair.make("a", GroupRights::Kept), expected);
        setfacl(&["-b"], &pair.made("a"));
    }
    give(&pair.made("a"), ROOT, 0o750, "");
    assert_eq!(pair.make("a", GroupRights::Kept), expected);
    pair.model("a", OWNER, 0o1775);
    give(&pair.made("a"), OWNER, 0o775, "");
    assert_eq!(pair.make("a", GroupRights::Kept), expected);
}

#[test]
fn nobody_may_do_with_a_made_folder_what_he_could_not_do_with_its_model() {
    let test = "nobody_may_do_with_a_made_folder_what_he_could_not_do_with_its_model";
    for (seed, dirpost) in [(1, ROOT), (2, NOBODY)] {
        let Some(pair) = Pair::new(test, dirpost) else {
            return;
        };
        if !setfacl(&["-d", "-m", "u:3000:rwx,g:5000:rwx"], &pair.made("")) {
            return;
        }
        let mut rng = Rng::new(seed);
        for at in 0..40 {
            let name = at.to_string();
            let gid = [1234, 65534][rng.below(2) as usize];
            // dirpost itself has to be able to look at it.
            let mode = rng.below(0o1000) as u32 | 0o505;
            let model = pair.model(&name, User { uid: 1234, gid }, mode | 0o050);
            if rng.below(2) == 0 {
                let rights = ["-", "rx", "wx", "rwx"];
                let mut right = || rights[rng.below(4) as usize];
                let list = format!(
                    "u:3000:{},u:65534:rx,g:4000:{},g:5000:{}",
                    right(),
                    right(),
                    right()
                );
                assert!(setfacl(&["-m", &list], &model));
            }
            let group_rights = [GroupRights::Kept, GroupRights::Dropped][rng.below(2) as usize];
            let wider = if dirpost.uid == 0 {
                pair.make(&name, group_rights)
            } else {
                run_as(dirpost, || pair.make(&name, group_rights))
            };
            assert_eq!(wider, []);
            let others = people();
            let others = others
                .iter()
                .filter(|person| person.uid != dirpost.uid && person.uid != OWNER.uid);
            for person in others {
                let (before, after) = (may(*person, &model), may(*person, &pair.made(&name)));
                assert!(
                    after
                        .iter()
                        .zip(before)
                        .all(|(after, before)| !after || before),
                    "{person:?}: {before:?} became {after:?} as {dirpost:?} made it, \
                     {group_rights:?}\n{}\n{}",
                    getfacl(&model),
                    getfacl(&pair.made(&name)),
                );
            }
        }
    }
}

/// What somebody may do with a folder; the kernel says.
fn may(person: User, path: &Path) -> [bool; 3] {
    use rustix::fs::{Access, AtFlags, accessat};
    run_as(person, || {
        [Access::READ_OK, Access::WRITE_OK, Access::EXEC_OK]
            .map(|right| accessat(CWD, path, right, AtFlags::empty()).is_ok())
    })
}

#[test]
fn a_folder_on_a_file_system_without_modes_is_made_and_said_to_be_wider() {
    let test = "a_folder_on_a_file_system_without_modes_is_made_and_said_to_be_wider";
    let Some(pair) = Pair::new(test, ROOT) else {
        return;
    };
    let Some(flat) = Flat::mount(test) else {
        return;
    };
    flat.show(Shown {
        mode: Some(0o777),
        uid: None,
    });
    pair.model("x", OWNER, 0o750);
    let target = Dir::at(&flat.path()).unwrap();
    let watched = Dir::at(&pair.dir.join("in")).unwrap();
    for why in [Why::CannotBeKept, Why::WasThere] {
        let made = target
            .make_like(&Rel::new(b"x"), &watched, GroupRights::Kept)
            .unwrap();
        let path = Rel::new(b"x");
        assert_eq!(made.wider, [Wider { path, why }]);
    }
}

#[test]
fn a_folder_that_turns_out_to_be_anothers_is_given_nothing() {
    let test = "a_folder_that_turns_out_to_be_anothers_is_given_nothing";
    let Some(pair) = Pair::new(test, ROOT) else {
        return;
    };
    // An NFS server that squashes root; or somebody has put another one in its place.
    let Some(flat) = Flat::mount(test) else {
        return;
    };
    flat.show(Shown {
        mode: None,
        uid: Some(3000),
    });
    pair.model("x", OWNER, 0o770);
    let target = Dir::at(&flat.path()).unwrap();
    let watched = Dir::at(&pair.dir.join("in")).unwrap();
    target
        .make_like(&Rel::new(b"x"), &watched, GroupRights::Kept)
        .unwrap();
    let shown = owner_and_mode(&flat.path().join("x"));
    assert_eq!(shown, (3000, 0, "700".into()));
}

#[test]
fn done_itself_is_no_wider_than_the_watched_folder_wherever_it_is() {
    let test = "done_itself_is_no_wider_than_the_watched_folder_wherever_it_is";
    let Some(pair) = Pair::new(test, ROOT) else {
        return;
    };
    give(&pair.dir.join("in"), OWNER, 0o770, "");
    let watched = Dir::at(&pair.dir.join("in")).unwrap();
    let state = Dir::at(pair.dir.path()).unwrap();
    let path = pair.dir.join("far/away/done");
    let make_all = || -> [Made; 3] {
        [
            Dir::make_at_like(&path, &watched, GroupRights::Kept).unwrap(),
            state
                .make_as(b"done2", &watched, GroupRights::Kept)
                .unwrap(),
            state
                .make_as(b"dead", &watched, GroupRights::Dropped)
                .unwrap(),
        ]
    };
    for made in make_all() {
        assert_eq!(made.wider, []);
    }
    assert_eq!(owner_and_mode(&path), shows(OWNER, "770"));
    assert_eq!(
        owner_and_mode(&pair.dir.join("far/away")),
        shows(ROOT, "755")
    );
    assert_eq!(owner_and_mode(&pair.dir.join("done2")), shows(OWNER, "770"));
    assert_eq!(owner_and_mode(&pair.dir.join("dead")), shows(ROOT, "700"));

    give(&pair.dir.join("in"), OWNER, 0o700, "");
    let [far, near, dead] = make_all().map(|made| made.wider);
    let wider = |path: &[u8]| {
        let path = Rel::new(path);
        vec![Wider {
            path,
            why: Why::WasThere,
        }]
    };
    assert_eq!((far, near, dead), (wider(b""), wider(b"done2"), vec![]));
    assert!(Dir::at(&path).unwrap().is_wider_than(&watched).unwrap());
}

#[test]
fn root_looking_at_the_folder_of_dirposts_user_does_not_take_that_user_for_a_stranger() {
    let test = "root_looking_at_the_folder_of_dirposts_user_does_not_take_that_user_for_a_stranger";
    let Some(pair) = Pair::new(test, NOBODY) else {
        return;
    };
    let done = Dir::at(&pair.dir.join("done")).unwrap();
    let watched = Dir::at(&pair.dir.join("in")).unwrap();
    assert!(!done.is_wider_than(&watched).unwrap());
    assert!(!run_as(NOBODY, || done.is_wider_than(&watched).unwrap()));
    assert!(run_as(OWNER, || done.is_wider_than(&watched).unwrap()));
}

#[test]
fn folders_that_were_made_are_there_after_a_power_cut() {
    let test = "folders_that_were_made_are_there_after_a_power_cut";
    let Some(pair) = Pair::new(test, ROOT) else {
        return;
    };
    let Some(mut disk) = Disk::new(&pair.dir.mkdir("disk")) else {
        return;
    };
    pair.model("a/b", OWNER, 0o750);
    let watched = Dir::at(&pair.dir.join("in")).unwrap();
    let far = pair.dir.join("disk/far/away/done");
    let made = Dir::make_at_like(&far, &watched, GroupRights::Kept).unwrap();
    let below = made
        .folder
        .make_like(&Rel::new(b"a/b"), &watched, GroupRights::Kept);
    drop((made, below.unwrap()));
    disk.cut_power();
    disk.switch_off();
    assert!(disk.switch_on());
    assert_eq!(owner_and_mode(&far.join("a/b")), shows(OWNER, "750"));
}
