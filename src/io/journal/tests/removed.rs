//! What becomes of a journal that somebody removes under the process that writes it.

use super::*;

#[test]
fn every_file_names_the_share_in_its_first_line() {
    let dir = TempDir::new();
    let state = home(&dir);
    let named = || {
        let folder = Dir::at(&dir.path().join("journal")).unwrap();
        for number in numbers(&folder).unwrap() {
            let text = std::fs::read(dir.path().join(format!("journal/{number:08}.jsonl")));
            let text = text.unwrap();
            let first = text.split(|&byte| byte == b'\n').next().unwrap();
            assert_eq!(
                Head::read(first).map(|head| head.share).as_deref(),
                Some("0a1b"),
                "{number}"
            );
        }
    };
    assert_eq!(share_of(&state.folder).unwrap(), None);
    let (journal, _) = Journal::open(state.clone(), NOW).unwrap();
    named();
    // In a file that is begun because an fsync of the one before has failed ...
    journal.append_lines(&accepted("a")).unwrap();
    journal.fail_next_sync();
    journal.sync(NOW).unwrap();
    assert_eq!(files(&dir), 2);
    named();
    // ... and in one that is rewritten.
    journal.append_lines(&accepted("b")).unwrap();
    journal.rewrite(NOW).unwrap();
    assert_eq!(files(&dir), 1);
    named();
    assert_eq!(share_of(&state.folder).unwrap().as_deref(), Some("0a1b"));
    // A journal of an old version does not name it.
    std::fs::write(dir.path().join("journal/00000009.jsonl"), accepted("c")).unwrap();
    assert_eq!(share_of(&state.folder).unwrap().as_deref(), Some("0a1b"));
}

#[test]
fn what_is_live_in_a_journal_that_somebody_removes_is_written_again() {
    type Removal = fn(&std::path::Path);
    let removals: [(&str, Removal); 5] = [
        ("its file", |journal| {
            std::fs::remove_file(journal.join("00000001.jsonl")).unwrap();
        }),
        ("all of it", |journal| {
            std::fs::remove_dir_all(journal).unwrap()
        }),
        ("its file, renamed", |journal| {
            std::fs::rename(journal.join("00000001.jsonl"), journal.join("x")).unwrap();
        }),
        ("its file, replaced", |journal| {
            std::fs::write(journal.join("new"), "").unwrap();
            std::fs::rename(journal.join("new"), journal.join("00000001.jsonl")).unwrap();
        }),
        ("its folder, replaced", |journal| {
            std::fs::rename(journal, journal.with_file_name("old")).unwrap();
            std::fs::create_dir(journal).unwrap();
        }),
    ];
    for (what, remove) in removals {
        let dir = TempDir::new();
        let state = home(&dir);
        let (journal, _) = Journal::open(state.clone(), NOW).unwrap();
        for line in [accepted("a"), accepted("gone"), filed("gone")] {
            journal.append_lines(&line).unwrap();
        }
        let before = text(&dir);
        journal.look_after(&state.folder, NOW).unwrap();
        assert_eq!(text(&dir), before, "{what}: nothing was removed");

        remove(&dir.path().join("journal"));
        journal.look_after(&state.folder, NOW).unwrap();
        let head = Head::new("0a1b", NOW).replacing(1, 1).line();
        let wanted = [head, accepted("a")].concat();
        assert_eq!(text(&dir).as_bytes(), wanted, "{what}");
        assert!(dir.path().join("journal/reserve").exists(), "{what}");
        journal.append_lines(&accepted("b")).unwrap();
        journal.sync(NOW).unwrap();
        let (_, replay) = Journal::open(state, NOW).unwrap();
        assert_eq!(replay.live.len(), 2, "{what}");
    }
}

#[test]
fn lines_of_a_file_whose_fsync_failed_are_not_lost_when_any_of_the_files_is_removed() {
    for removed in [&[1][..], &[2], &[1, 2]] {
        let dir = TempDir::new();
        let state = home(&dir);
        let (journal, _) = Journal::open(state.clone(), NOW).unwrap();
        journal.append_lines(&accepted("synced")).unwrap();
        journal.sync(NOW).unwrap();
        journal.append_lines(&accepted("unsynced")).unwrap();
        journal.fail_next_sync();
        journal.sync(NOW).unwrap();
        for number in removed {
            std::fs::remove_file(dir.path().join(format!("journal/{number:08}.jsonl"))).unwrap();
        }
        journal.look_after(&state.folder, NOW).unwrap();
        let (_, replay) = Journal::open(state, NOW).unwrap();
        assert_eq!(replay.live.len(), 2, "{removed:?}");
    }
}

#[cfg(unix)]
#[test]
fn nothing_is_written_to_a_file_that_was_removed_before_the_lock_is_seen_to_be_ours() {
    let dir = TempDir::new();
    let state = home(&dir);
    let (former, _) = Journal::open(state.clone(), NOW).unwrap();
    former.append_lines(&accepted("a")).unwrap();
    // As the next holder does it.
    let (next, _) = Journal::open(state.clone(), NOW).unwrap();
    next.append_lines(&filed("a")).unwrap();
    former.append_lines(&accepted("late")).unwrap_err();
    former.guard_by(|| Err(io::Error::other("the lock is another's")));
    former.append_lines(&accepted("late")).unwrap_err();
    former.append_lines_or_owe(&accepted("late")).unwrap_err();
    former.sync(NOW).unwrap_err();
    assert_eq!(files(&dir), 1, "it was begun again");
    let (_, replay) = Journal::open(state, NOW).unwrap();
    assert!(
        replay.live.is_empty(),
        "what was filed would be taken for accepted"
    );
}

#[cfg(unix)]
#[test]
fn an_acceptance_is_written_into_a_file_that_is_there_however_soon_after_it_was_removed() {
    let dir = TempDir::new();
    let state = home(&dir);
    let (journal, _) = Journal::open(state.clone(), NOW).unwrap();
    let journal = Arc::new(journal);
    let (looked_after, folder) = (Arc::downgrade(&journal), Arc::clone(&state.folder));
    journal.guard_by(move || {
        let journal = looked_after.upgrade().expect("it is in use");
        journal.look_after(&folder, NOW)
    });
    journal.append_lines(&accepted("a")).unwrap();
    std::fs::remove_dir_all(dir.path().join("journal")).unwrap();
    assert_eq!(
        journal.append_lines(&accepted("b")).unwrap(),
        Appended::SyncDue
    );
    let head = Head::new("0a1b", NOW).replacing(1, 1).line();
    let wanted = [head, accepted("a"), accepted("b")].concat();
    assert_eq!(
        without_times(&text(&dir)),
        without_times(std::str::from_utf8(&wanted).unwrap())
    );
}

#[test]
fn a_reserve_that_somebody_removes_is_set_aside_again() {
    let dir = TempDir::new();
    let state = home(&dir);
    let (journal, _) = Journal::open(state.clone(), NOW).unwrap();
    let before = text(&dir);
    std::fs::remove_file(dir.path().join("journal/reserve")).unwrap();
    journal.look_after(&state.folder, NOW).unwrap();
    assert!(!journal.is_low() && dir.path().join("journal/reserve").exists());
    assert_eq!(text(&dir), before);
    // What was given up to a full disk is no removal.
    let full = io::Error::from(io::ErrorKind::StorageFull);
    journal.reserve.give_up(&journal.lock().folder, &full);
    journal.look_after(&state.folder, NOW).unwrap();
    assert!(journal.is_low());
}
