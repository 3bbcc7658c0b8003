use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::flow::clock::LOCK_RECHECK_AFTER;
use crate::flow::time::Wall;
use crate::io::testing::TempDir;

fn config(dir: &Path) -> Config {
    crate::config::from_dir_and_url(dir, "http://127.0.0.1:9/").expect("a valid config")
}

fn away(share: &Share) -> String {
    match share.reopen() {
        Err(Unusable::Away(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn lock_lost(share: &Share) -> String {
    match share.reopen() {
        Err(Unusable::Anew(Closing::LockLost(why))) => why,
        other => panic!("{other:?}"),
    }
}

fn lock_gone(config: &Config, opening: &Opening) -> String {
    match Share::open_as(config, opening) {
        Err(OpenError::LockGone(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// A start at which the lock file may be made.
fn waited() -> Opening {
    Opening {
        make_lock: true,
        ..Opening::default()
    }
}

#[test]
fn a_folder_with_another_mark_is_not_the_share_and_one_that_is_back_is_opened_again() {
    let dir = TempDir::new();
    let (share, state) = Share::open(&config(dir.path()), false).unwrap();
    assert_eq!(state.id.len(), 32);
    share.reopen().unwrap();
    let mark = dir.path().join(".dirpost/id");
    std::fs::write(&mark, "0123").unwrap();
    assert!(away(&share).contains("another folder"));
    std::fs::write(&mark, &state.id).unwrap();
    assert_eq!(
        share.reopen().unwrap_err(),
        Unusable::Anew(Closing::ShareBack)
    );
}

#[test]
fn a_lock_that_another_has_taken_meanwhile_is_noticed_through_a_fresh_open() {
    let dir = TempDir::new();
    let (share, _state) = Share::open(&config(dir.path()), false).unwrap();
    share.reopen().unwrap();
    // As an NFS server lets another client do that has forgotten this one's lock.
    std::fs::write(dir.path().join(".dirpost/holder"), "0123 other 7\n").unwrap();
    let why = lock_lost(&share);
    assert!(why.contains("other 7"), "{why}");
}

#[test]
fn before_anything_is_sent_after_a_hang_the_lock_is_looked_at() {
    let dir = TempDir::new();
    let (share, _state) = Share::open(&config(dir.path()), false).unwrap();
    std::fs::write(dir.path().join(".dirpost/holder"), "0123 other 7\n").unwrap();
    share.confirm_after(Instant::now()).unwrap();
    let Some(long_ago) = Instant::now().checked_sub(LOCK_RECHECK_AFTER) else {
        return;
    };
    share.confirm_after(long_ago).unwrap_err();
    // What is known once is known to all.
    share.confirm_after(Instant::now()).unwrap_err();
}

#[test]
fn one_works_and_the_other_hears_who_it_is() {
    let dir = TempDir::new();
    let first = Share::open(&config(dir.path()), false).unwrap();
    let OpenError::Locked(holder) = Share::open(&config(dir.path()), false).unwrap_err() else {
        panic!("not locked")
    };
    assert!(
        holder.ends_with(&std::process::id().to_string()),
        "{holder}"
    );
    // A thread that hangs on the share may keep the rest.
    let (hung, state) = first;
    drop(state);
    Share::open(&config(dir.path()), false).unwrap();
    assert!(lock_lost(&hung).contains("another dirpost has taken it"));
}

#[test]
fn a_state_elsewhere_makes_no_mark_on_a_folder_that_has_none_until_it_is_adopted() {
    let (dir, state) = (TempDir::new(), TempDir::new());
    let mut config = config(dir.path());
    config.state.dir = state.path().join("s");
    let (_, first) = Share::open(&config, false).unwrap();
    let id = first.id.clone();
    drop(first);
    // As where the share is not mounted.
    std::fs::remove_dir_all(dir.path().join(".dirpost")).unwrap();
    let OpenError::Away(why) = Share::open(&config, false).unwrap_err() else {
        panic!("it was taken")
    };
    assert!(why.contains("--adopt") && why.contains("no mark"), "{why}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let (_, adopted) = Share::open(&config, true).unwrap();
    assert_eq!(adopted.id, id, "its keys would change");
    drop(adopted);
    Share::open(&config, false).unwrap();
    // Another share.
    std::fs::write(dir.path().join(".dirpost/id"), "0123\n").unwrap();
    assert!(matches!(
        Share::open(&config, false).unwrap_err(),
        OpenError::Away(_)
    ));
    let (_, other) = Share::open(&config, true).unwrap();
    assert_eq!(other.id, "0123");
}

#[cfg(unix)]
#[test]
fn all_own_folders_but_done_are_taken_from_others_at_a_start() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, state_dir) = (TempDir::new(), TempDir::new());
    let mut config = config(dir.path());
    config.state.dir = state_dir.path().join("s");
    config.delivered.dir = config.state.dir.join("done");
    config.dead_letter.dir = config.state.dir.join("dead/letters");
    let own = dir.path().join(".dirpost");
    let below = ["journal", "dead/letters", "done"].map(|name| config.state.dir.join(name));
    let folders = [own.clone(), own.join("staging"), config.state.dir.clone()];
    let folders: Vec<_> = folders.into_iter().chain(below).collect();
    // What a process left that was killed while it looked at a folder, and while it wrote a file.
    std::fs::create_dir_all(config.state.dir.join(".draft-0123")).unwrap();
    std::fs::write(config.state.dir.join(".draft-4567"), "").unwrap();
    for folder in &folders {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    Share::open_as(&config, &waited()).unwrap();
    let modes: Vec<u32> = folders
        .iter()
        .map(|folder| std::fs::metadata(folder).unwrap().permissions().mode() & 0o777)
        .collect();
    assert_eq!(modes, [0o755, 0o755, 0o755, 0o755, 0o755, 0o777]);
    assert!(
        !config.state.dir.join(".draft-0123").exists()
            && !config.state.dir.join(".draft-4567").exists()
    );
}

#[cfg(unix)]
#[test]
fn a_state_folder_that_is_a_link_is_refused() {
    let dir = TempDir::new();
    let other = TempDir::new();
    std::os::unix::fs::symlink(other.path(), dir.path().join(".dirpost")).unwrap();
    assert!(matches!(
        Share::open(&config(dir.path()), false),
        Err(OpenError::Fault(_))
    ));
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
}

#[test]
fn what_somebody_removes_under_the_holder_is_there_again_after_the_next_look() {
    let dir = TempDir::new();
    let config = config(dir.path());
    let (share, _state) = Share::open(&config, false).unwrap();
    let own = dir.path().join(".dirpost");
    let read = |name: &str| std::fs::read_to_string(own.join(name)).unwrap();
    let before = ["id", "holder"].map(read);
    for removed in [
        &["id"][..],
        &["holder"],
        &["lock"],
        &["id", "holder", "lock"],
    ] {
        for name in removed {
            std::fs::remove_file(own.join(name)).unwrap();
        }
        share
            .reopen()
            .unwrap_or_else(|err| panic!("{removed:?}: {err:?}"));
        assert_eq!(["id", "holder"].map(read), before, "{removed:?}");
        let second = Share::open_as(&config, &waited()).unwrap_err();
        assert!(
            matches!(second, OpenError::Locked(_)),
            "{removed:?}: {second:?}"
        );
    }
    std::fs::write(own.join("holder"), "").unwrap();
    share.reopen().unwrap();
    assert_eq!(read("holder"), before[1]);
}

#[test]
fn a_lock_file_that_somebody_replaces_is_locked_again() {
    let dir = TempDir::new();
    let config = config(dir.path());
    let (share, _state) = Share::open(&config, false).unwrap();
    let lock = dir.path().join(".dirpost/lock");
    std::fs::copy(&lock, dir.path().join("copy")).unwrap();
    std::fs::rename(dir.path().join("copy"), &lock).unwrap();
    share.reopen().unwrap();
    let second = Share::open_as(&config, &waited()).unwrap_err();
    assert!(matches!(second, OpenError::Locked(_)), "{second:?}");
}

#[test]
fn who_does_not_get_the_lock_file_that_was_made_again_has_lost_the_lock() {
    let dir = TempDir::new();
    let config = config(dir.path());
    let (share, _state) = Share::open(&config, false).unwrap();
    let lock = dir.path().join(".dirpost/lock");
    std::fs::remove_file(&lock).unwrap();
    // Before it has written down who it is.
    let other = std::fs::File::create(&lock).unwrap();
    other.lock().unwrap();
    let why = lock_lost(&share);
    assert!(why.contains("removed the lock file"), "{why}");
    assert!(share.is_over());
}

#[test]
fn a_holder_file_that_another_writes_at_the_same_moment_is_not_replaced() {
    let dir = TempDir::new();
    let (share, _state) = Share::open(&config(dir.path()), false).unwrap();
    let place = Dir::at(&dir.path().join(".dirpost")).unwrap();
    let theirs = "0123 other 7\n";
    std::fs::write(dir.path().join(".dirpost/holder"), theirs).unwrap();
    // It was seen to be missing just before.
    share.lock.name_again(&place).unwrap_err();
    assert_eq!(
        std::fs::read_to_string(dir.path().join(".dirpost/holder")).unwrap(),
        theirs
    );
}

#[cfg(unix)]
#[test]
fn nothing_is_written_again_in_a_folder_that_is_not_the_one_that_is_held() {
    let dir = TempDir::new();
    let (share, _state) = Share::open(&config(dir.path()), false).unwrap();
    let (own, aside) = (dir.path().join(".dirpost"), dir.path().join("aside"));
    std::fs::rename(&own, &aside).unwrap();
    assert!(away(&share).contains("lost its mark"));
    assert!(!own.exists());
    std::fs::create_dir(&own).unwrap();
    assert!(away(&share).contains("lost its mark"));
    assert_eq!(std::fs::read_dir(&own).unwrap().count(), 0);
    std::fs::remove_dir(&own).unwrap();
    std::fs::rename(&aside, &own).unwrap();
    assert_eq!(
        share.reopen().unwrap_err(),
        Unusable::Anew(Closing::ShareBack)
    );
}

#[cfg(unix)]
#[test]
fn a_share_that_was_mounted_again_between_two_looks_is_opened_again() {
    let dir = TempDir::new();
    let (share, _state) = Share::open(&config(dir.path()), false).unwrap();
    let own = dir.path().join(".dirpost");
    // The same content in another folder.
    std::fs::create_dir(dir.path().join("copy")).unwrap();
    for name in ["id", "lock", "holder"] {
        std::fs::copy(own.join(name), dir.path().join("copy").join(name)).unwrap();
    }
    std::fs::rename(&own, dir.path().join("aside")).unwrap();
    std::fs::rename(dir.path().join("copy"), &own).unwrap();
    assert_eq!(
        share.reopen().unwrap_err(),
        Unusable::Anew(Closing::ShareBack)
    );
}

#[test]
fn a_start_that_finds_the_lock_file_removed_leaves_its_holder_time_first() {
    let dir = TempDir::new();
    let config = config(dir.path());
    drop(Share::open(&config, false).unwrap());
    // As always between two runs.
    drop(Share::open(&config, false).unwrap());
    let lock = dir.path().join(".dirpost/lock");
    std::fs::remove_file(&lock).unwrap();
    let why = lock_gone(&config, &Opening::default());
    assert!(why.contains(&lock.display().to_string()), "{why}");
    assert!(!lock.exists(), "its holder would find it locked");
    // One that somebody has made is not the one that its holder has locked ...
    std::fs::write(&lock, "").unwrap();
    lock_gone(&config, &Opening::default());
    std::fs::write(&lock, "0123 other 7\n").unwrap();
    lock_gone(&config, &Opening::default());
    drop(Share::open_as(&config, &waited()).unwrap());
    drop(Share::open(&config, false).unwrap());
    // ... and a name that was removed says nothing of the lock.
    std::fs::remove_file(dir.path().join(".dirpost/holder")).unwrap();
    drop(Share::open(&config, false).unwrap());
}

#[test]
fn a_standby_that_sees_nothing_any_more_leaves_the_holder_time_as_well() {
    let dir = TempDir::new();
    let config = config(dir.path());
    let opening = Opening {
        before: Before::StoodBy,
        ..Opening::default()
    };
    lock_gone(&config, &opening);
    Share::open(&config, false).unwrap();
}

#[test]
fn a_mark_that_is_missing_beside_a_journal_is_made_again_from_it() {
    let dir = TempDir::new();
    let config = config(dir.path());
    let (share, state) = Share::open(&config, false).unwrap();
    drop(Journal::open(state.journal(), Wall(1)).unwrap());
    let id = state.id.clone();
    drop((share, state));
    let mark = dir.path().join(".dirpost/id");
    std::fs::remove_file(&mark).unwrap();
    let (_share, state) = Share::open(&config, false).unwrap();
    assert_eq!(state.id, id, "the keys of all files would change");
    assert!(!state.is_new);
    assert_eq!(std::fs::read_to_string(&mark).unwrap().trim(), id);
}

#[test]
fn a_state_elsewhere_knows_its_share_from_its_journal_as_well() {
    let (dir, state_dir) = (TempDir::new(), TempDir::new());
    let mut config = config(dir.path());
    config.state.dir = state_dir.path().join("s");
    let (share, state) = Share::open(&config, false).unwrap();
    let remembered = state_dir.path().join("s/id");
    drop(Journal::open(state.journal(), Wall(1)).unwrap());
    // Under the running process ...
    std::fs::remove_file(&remembered).unwrap();
    share.reopen().unwrap();
    assert_eq!(
        std::fs::read_to_string(&remembered).unwrap().trim(),
        state.id
    );
    drop((share, state));
    // ... and between two: it still belongs to that share alone.
    std::fs::remove_file(&remembered).unwrap();
    std::fs::write(dir.path().join(".dirpost/id"), "0123\n").unwrap();
    let refused = Share::open(&config, false).unwrap_err();
    assert!(
        matches!(&refused, OpenError::Away(why) if why.contains("--adopt")),
        "{refused:?}"
    );
    std::fs::remove_file(dir.path().join(".dirpost/id")).unwrap();
    let refused = Share::open(&config, false).unwrap_err();
    assert!(
        matches!(&refused, OpenError::Away(why) if why.contains("--adopt")),
        "{refused:?}"
    );
    Share::open(&config, true).unwrap();
}

#[test]
fn a_process_that_opens_again_makes_nothing_anew() {
    let (dir, state_dir) = (TempDir::new(), TempDir::new());
    let elsewhere = Config {
        state: crate::config::State {
            dir: state_dir.path().join("s"),
        },
        ..config(dir.path())
    };
    for config in [config(dir.path()), elsewhere] {
        let (_, state) = Share::open(&config, false).unwrap();
        let again = Opening {
            before: Before::Had(state.id.clone()),
            make_lock: true,
            ..Opening::default()
        };
        drop(state);
        drop(Share::open_as(&config, &again).unwrap());
        std::fs::remove_dir_all(&config.state.dir).unwrap();
        let refused = Share::open_as(&config, &again).unwrap_err();
        assert!(matches!(refused, OpenError::Away(_)), "{refused:?}");
        assert!(!config.state.dir.exists());
        // The folder is there, and nothing in it.
        std::fs::create_dir(&config.state.dir).unwrap();
        let _ = std::fs::remove_file(dir.path().join(".dirpost/id"));
        let refused = Share::open_as(&config, &again).unwrap_err();
        assert!(matches!(refused, OpenError::Away(_)), "{refused:?}");
        assert_eq!(std::fs::read_dir(&config.state.dir).unwrap().count(), 0);
        let _ = std::fs::remove_dir_all(dir.path().join(".dirpost"));
    }
}

#[test]
fn a_state_folder_elsewhere_that_is_gone_or_replaced_is_a_fault_until_it_is_back() {
    let (dir, state_dir) = (TempDir::new(), TempDir::new());
    let mut config = config(dir.path());
    config.state.dir = state_dir.path().join("s");
    let (share, _state) = Share::open(&config, false).unwrap();
    std::fs::rename(&config.state.dir, state_dir.path().join("aside")).unwrap();
    assert!(away(&share).contains("state folder"));
    assert!(!config.state.dir.exists());
    #[cfg(unix)]
    {
        std::fs::create_dir(&config.state.dir).unwrap();
        assert!(away(&share).contains("another folder"));
        std::fs::remove_dir(&config.state.dir).unwrap();
    }
    std::fs::rename(state_dir.path().join("aside"), &config.state.dir).unwrap();
    assert_eq!(
        share.reopen().unwrap_err(),
        Unusable::Anew(Closing::ShareBack)
    );
}

#[test]
fn what_a_clean_up_by_age_must_leave_is_touched_at_each_start_and_once_a_day() {
    let (dir, state_dir) = (TempDir::new(), TempDir::new());
    let mut config = config(dir.path());
    config.state.dir = state_dir.path().join("s");
    let own = dir.path().join(".dirpost");
    let files = [
        own.join("id"),
        own.join("lock"),
        own.join("holder"),
        config.state.dir.join("id"),
        config.state.dir.join("journal/reserve"),
        config.state.dir.join("journal/00000002.jsonl"),
    ];
    let open = || {
        let (share, state) = Share::open(&config, false).unwrap();
        let (journal, _) = Journal::open(state.journal(), Wall(1)).unwrap();
        let (share, journal) = (Arc::new(share), Arc::new(journal));
        share.watch_over(&journal, || {}).unwrap();
        (share, state, journal)
    };
    let age = || {
        for file in &files {
            let opened = std::fs::File::options().write(true).open(file);
            let old = SystemTime::now() - Duration::from_secs(40 * 24 * 3600);
            opened.and_then(|opened| opened.set_modified(old)).unwrap();
        }
    };
    let old = || -> Vec<String> {
        let is_old = |file: &&std::path::PathBuf| {
            let modified = std::fs::metadata(file).unwrap().modified().unwrap();
            modified.elapsed().unwrap_or_default() > Duration::from_secs(3600)
        };
        let names = files.iter().filter(is_old);
        names.map(|file| file.display().to_string()).collect()
    };
    drop(open());
    let (share, state, journal) = open();
    assert_eq!(old(), [""; 0], "at the start");

    age();
    share.reopen().unwrap();
    assert_eq!(old().len(), files.len(), "more often than once a day");
    *locked(&share.touched) = Mono(clock::with_sleep().0 - 24 * 3600 * 1000);
    share.reopen().unwrap();
    assert_eq!(old(), [""; 0], "once a day");
    drop((share, state, journal));
}

#[test]
fn after_a_time_without_a_look_the_lock_is_looked_at_however_short_the_work_was() {
    let dir = TempDir::new();
    let (share, _state) = Share::open(&config(dir.path()), false).unwrap();
    std::fs::write(dir.path().join(".dirpost/holder"), "0123 other 7\n").unwrap();
    share.confirm_after(Instant::now()).unwrap();
    // As after a suspension of the machine, or in a long upload.
    let long = i64::try_from(LOCK_RECHECK_AFTER.as_millis()).unwrap();
    *locked(&share.looked) = Mono(clock::with_sleep().0 - long);
    share.confirm_after(Instant::now()).unwrap_err();
}

#[test]
fn a_journal_that_somebody_removes_is_there_again_after_the_next_look() {
    let dir = TempDir::new();
    let (share, state) = Share::open(&config(dir.path()), false).unwrap();
    let (journal, _) = Journal::open(state.journal(), Wall(1)).unwrap();
    let (share, journal) = (Arc::new(share), Arc::new(journal));
    share.watch_over(&journal, || {}).unwrap();
    let folder = dir.path().join(".dirpost/journal");
    std::fs::remove_dir_all(&folder).unwrap();
    share.reopen().unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["00000002.jsonl", "reserve"]);
}

#[test]
fn a_journal_that_was_removed_is_not_begun_again_by_who_has_lost_the_lock() {
    let dir = TempDir::new();
    let (share, state) = Share::open(&config(dir.path()), false).unwrap();
    let (journal, _) = Journal::open(state.journal(), Wall(1)).unwrap();
    let (share, journal) = (Arc::new(share), Arc::new(journal));
    share.watch_over(&journal, || {}).unwrap();
    let own = dir.path().join(".dirpost");
    std::fs::write(own.join("holder"), "0123 other 7\n").unwrap();
    std::fs::remove_dir_all(own.join("journal")).unwrap();
    lock_lost(&share);
    #[cfg(unix)]
    journal.append_lines(b"{}\n").unwrap_err();
    assert!(!own.join("journal").exists());
}
