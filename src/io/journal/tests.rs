use super::files::numbers;
use super::*;
use crate::flow::file::Stamp;
use crate::flow::filing::Acceptance;
use crate::flow::journal::{Event, Record};
use crate::flow::time::Mono;
use crate::io::testing::TempDir;
use std::time::Duration;

const NOW: Wall = Wall(1_700_000_000_000_000_000);

fn accepted(name: &str) -> Vec<u8> {
    let acceptance = Acceptance {
        key: "k".into(),
        status: 200,
    };
    Record::line(
        &Rel::new(name.as_bytes()),
        Stamp {
            size: 1,
            mtime: NOW,
        },
        NOW,
        Event::accepted(&acceptance, None, false),
    )
}

fn is_live(replay: &Replay, name: &[u8]) -> bool {
    replay.live.keys().any(|(path, _)| path.as_bytes() == name)
}

/// Called between any two operations of a rewriting.
pub(super) struct Step(pub Box<dyn FnMut(&str) + Send>);

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Step")
    }
}

fn filed(name: &str) -> Vec<u8> {
    Record::line(
        &Rel::new(name.as_bytes()),
        Stamp {
            size: 1,
            mtime: NOW,
        },
        NOW,
        Event::Filed,
    )
}

fn home(dir: &TempDir) -> Home {
    Home {
        folder: Arc::new(Dir::at(dir.path()).unwrap()),
        path: dir.path().to_path_buf(),
        share: "0a1b".into(),
    }
}

/// How many files of lines there are, and drafts.
fn files(dir: &TempDir) -> usize {
    let names = std::fs::read_dir(dir.path().join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names.filter(|name| name != "reserve").count()
}

#[test]
fn what_was_appended_is_there_after_a_restart_and_old_files_are_gone() {
    let dir = TempDir::new();
    let state = home(&dir);
    for round in 0..4 {
        let (journal, replay) = Journal::open(state.clone(), NOW).unwrap();
        assert_eq!(replay.live.len(), round);
        journal
            .append_lines(&accepted(&format!("f{round}")))
            .unwrap();
        journal.append_lines(&accepted("gone")).unwrap();
        journal.append_lines(&filed("gone")).unwrap();
        journal.sync(NOW).unwrap();
    }
    assert_eq!(files(&dir), 1);
}

#[test]
fn a_former_holder_that_writes_late_spoils_nothing() {
    let dir = TempDir::new();
    let state = home(&dir);
    let (former, _) = Journal::open(state.clone(), NOW).unwrap();
    let (journal, _) = Journal::open(state.clone(), NOW).unwrap();
    journal.append_lines(&accepted("a")).unwrap();
    let _ = former.append_lines(&accepted("late"));
    let (_, replay) = Journal::open(state.clone(), NOW).unwrap();
    assert!(is_live(&replay, b"a"));
}

#[test]
fn a_journal_that_grows_is_rewritten_to_what_is_live() {
    let dir = TempDir::new();
    let state = home(&dir);
    let (journal, _) = Journal::open(state.clone(), NOW).unwrap();
    journal.append_lines(&accepted("live")).unwrap();
    let mut size = 0;
    while size < COMPACT_MIN as usize {
        let lines = [accepted("x"), filed("x")].concat();
        size += lines.len();
        journal.append_lines(&lines).unwrap();
    }
    journal.rewrite_if_due(NOW);
    assert!(journal.lock().size < 1_000);
    assert_eq!(files(&dir), 1);
    journal.append_lines(&accepted("after")).unwrap();
    let (_, replay) = Journal::open(state.clone(), NOW).unwrap();
    assert_eq!(replay.live.len(), 2);
}

fn grow(journal: &Journal, size: u64) {
    let lines = [accepted("x"), filed("x")].concat().repeat(100);
    while journal.lock().size < size {
        journal.append_lines(&lines).unwrap();
    }
}

#[test]
fn a_rewriting_that_fails_is_no_error_of_the_lines_leaves_no_draft_and_is_tried_again_later() {
    let dir = TempDir::new();
    let state = home(&dir);
    let (journal, _) = Journal::open(state.clone(), NOW).unwrap();
    journal.append_lines(&accepted("live")).unwrap();
    grow(&journal, COMPACT_MIN);
    // The name of the next one is taken.
    let next = dir.path().join("journal/00000002.jsonl");
    std::fs::write(&next, "").unwrap();
    journal.sync(NOW).unwrap();
    assert!(!journal.is_pending());
    journal.rewrite_if_due(NOW);
    assert_eq!(files(&dir), 2);
    std::fs::remove_file(&next).unwrap();
    journal.append_lines(&accepted("more")).unwrap();
    journal.rewrite_if_due(NOW);
    assert!(
        journal.lock().size > COMPACT_MIN,
        "it is tried again at once"
    );
    journal.rewriting.trouble.lock().unwrap().1 = Mono(0);
    journal.append_lines(&accepted("last")).unwrap();
    journal.rewrite_if_due(NOW);
    assert!(journal.lock().size < 1_000);
    assert!(!journal.rewriting.trouble.lock().unwrap().0.is_raised());
    let (_, replay) = Journal::open(state.clone(), NOW).unwrap();
    assert_eq!(replay.live.len(), 3);
}

#[test]
fn what_is_appended_while_the_journal_is_rewritten_is_in_the_new_file() {
    let dir = TempDir::new();
    let state = home(&dir);
    let (journal, _) = Journal::open(state.clone(), NOW).unwrap();
    grow(&journal, COMPACT_MIN);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..2_000 {
                journal
                    .append_lines(&accepted(&format!("f{number}")))
                    .unwrap();
            }
        });
        for _ in 0..20 {
            journal.lock().compact_at = 0;
            journal.append_lines(&accepted("one more")).unwrap();
            journal.rewrite_if_due(NOW);
            journal.sync(NOW).unwrap();
        }
    });
    assert!(journal.lock().number > 10);
    let (_, replay) = Journal::open(state.clone(), NOW).unwrap();
    assert_eq!((replay.live.len(), replay.unreadable), (2_001, 0));
}

#[test]
fn a_file_that_a_rewriting_replaces_during_a_look_is_no_removed_one() {
    let dir = TempDir::new();
    let state = home(&dir);
    let (journal, _) = Journal::open(state.clone(), NOW).unwrap();
    journal.append_lines(&accepted("a")).unwrap();
    let held = journal.lock().held().unwrap();
    journal.rewrite(NOW).unwrap();
    let before = text(&dir);
    assert!(!held.are_in(&state.folder).unwrap());
    journal.begin_again_after(&held, NOW).unwrap();
    assert_eq!((text(&dir), journal.lock().number), (before, 2));
}

#[test]
fn what_is_owed_is_written_before_anything_else() {
    let dir = TempDir::new();
    let state = home(&dir);
    let (journal, _) = Journal::open(state.clone(), NOW).unwrap();
    journal.append_lines(&accepted("x")).unwrap();
    journal.sync(NOW).unwrap();
    // Nothing can be written to this one.
    let whole = std::mem::replace(
        &mut journal.lock().file,
        state.folder.file(b"journal/00000001.jsonl").unwrap(),
    );
    journal.append_lines_or_owe(&filed("x")).unwrap_err();
    journal.append_lines(&accepted("x")).unwrap_err();
    assert!(journal.is_pending());
    journal.sync(NOW).unwrap_err();
    journal.lock().file = whole;
    journal.append_lines(&accepted("x")).unwrap();
    journal.sync(NOW).unwrap();
    let (_, replay) = Journal::open(state.clone(), NOW).unwrap();
    assert!(is_live(&replay, b"x"), "a new drop was taken for filed");
}

/// Resident memory in bytes, where `/proc` tells, now and at its peak.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |field: &str| {
        let line = status.lines().find(|line| line.starts_with(field));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// For the figures in `docs/journal.md`.
#[test]
#[ignore = "a measurement"]
fn what_a_million_kept_files_cost_at_a_start() {
    let dir = TempDir::new();
    let (journal, _) = Journal::open(home(&dir), NOW).unwrap();
    for folder in 0..2_000 {
        let lines = (0..500).flat_map(|file| kept(&format!("d{folder:04}/file-{file:05}.csv")));
        journal.append_lines(&lines.collect::<Vec<u8>>()).unwrap();
    }
    drop(journal);
    let (before, _) = memory();
    let started = std::time::Instant::now();
    let (journal, replay) = Journal::open(home(&dir), NOW).unwrap();
    let (read, (after, _)) = (started.elapsed(), memory());
    let files: usize = replay
        .at_rest
        .into_iter()
        .map(|folder| folder.files().count())
        .sum();
    let sorted = started.elapsed();
    eprintln!(
        "{files} files: read in {read:?}, handed over after {sorted:?}, {} bytes a file, peak {} MB",
        after.saturating_sub(before) / files as u64,
        memory().1 >> 20
    );
    let (before, started) = (memory().1, std::time::Instant::now());
    journal.rewrite(NOW).unwrap();
    eprintln!(
        "rewritten in {:?}, peak {} MB before, {} MB after",
        started.elapsed(),
        before >> 20,
        memory().1 >> 20
    );
}

/// For the figures in `docs/journal.md`.
#[test]
#[ignore = "a measurement"]
fn what_a_rewriting_costs() {
    for size in [4_u64 << 20, 100 << 20] {
        let dir = TempDir::new();
        let state = home(&dir);
        let (journal, _) = Journal::open(state.clone(), NOW).unwrap();
        journal.lock().compact_at = u64::MAX;
        // A quarter of it is live, as when it has just grown to what is rewritten.
        let mut number = 0;
        while journal.lock().size < size {
            let lines: Vec<u8> = (number..number + 100)
                .flat_map(|number| {
                    let name = format!("folder/file-{number}.csv");
                    if number % 4 == 0 {
                        accepted(&name)
                    } else {
                        [accepted(&name), filed(&name)].concat()
                    }
                })
                .collect();
            journal.append_lines(&lines).unwrap();
            number += 100;
        }
        journal.sync(NOW).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        let longest = std::thread::scope(|scope| {
            let appends = scope.spawn(|| {
                let mut longest = Duration::ZERO;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let started = std::time::Instant::now();
                    journal.append_lines(&accepted("meanwhile")).unwrap();
                    longest = longest.max(started.elapsed());
                    std::thread::sleep(Duration::from_millis(1));
                }
                longest
            });
            let started = std::time::Instant::now();
            journal.rewrite(NOW).unwrap();
            let took = started.elapsed();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            eprintln!(
                "{} MiB: {took:?}, {} bytes left",
                size >> 20,
                journal.lock().size
            );
            appends.join().unwrap()
        });
        eprintln!("the longest append meanwhile: {longest:?}");
    }
}

#[test]
fn room_is_set_aside_and_given_up_once_when_the_disk_is_full() {
    let dir = TempDir::new();
    let state = home(&dir);
    let (journal, _) = Journal::open(state.clone(), NOW).unwrap();
    let full = io::Error::from(io::ErrorKind::StorageFull);
    assert!(!journal.is_low() && dir.path().join("journal/reserve").exists());
    assert!(!journal.reserve.give_up(
        &state.folder.folder(&Rel::new(b"journal")).unwrap(),
        &io::ErrorKind::PermissionDenied.into()
    ));
    assert!(
        journal
            .reserve
            .give_up(&state.folder.folder(&Rel::new(b"journal")).unwrap(), &full)
    );
    assert!(journal.is_low() && !dir.path().join("journal/reserve").exists());
    assert!(
        !journal
            .reserve
            .give_up(&state.folder.folder(&Rel::new(b"journal")).unwrap(), &full)
    );
    journal.restore_reserve().unwrap();
    assert!(
        !journal.is_low()
            && dir.path().join("journal/reserve").metadata().unwrap().len() == 64 * 1024
    );
}

/// What a file of the journal says, without the times at which its lines were written.
fn without_times(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let (before, rest) = line.split_once("\"at\":\"").unwrap();
        let (_, after) = rest.split_once('"').unwrap();
        format!("{before}{after}\n")
    });
    lines.collect()
}

/// All files of lines that are there, the oldest first.
fn text(dir: &TempDir) -> String {
    let folder = Dir::at(&dir.path().join("journal")).unwrap();
    numbers(&folder)
        .unwrap()
        .into_iter()
        .map(|number| {
            let name = String::from_utf8(name(number)).unwrap();
            std::fs::read_to_string(dir.path().join("journal").join(name)).unwrap()
        })
        .collect()
}

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

#[test]
fn entries_are_written_as_lines_of_now() {
    let dir = TempDir::new();
    let state = home(&dir);
    let (journal, _) = Journal::open(state.clone(), NOW).unwrap();
    let entry = |event| Entry {
        path: Rel::new(b"a"),
        stamp: Stamp {
            size: 1,
            mtime: NOW,
        },
        event,
    };
    let acceptance = Acceptance {
        key: "k".into(),
        status: 200,
    };
    let appended = journal.append(&[entry(Event::accepted(&acceptance, None, false))]);
    assert_eq!(appended.unwrap(), Appended::SyncDue);
    journal.append_or_owe(&[entry(Event::Filed)]).unwrap();
    let wanted = [Head::new("0a1b", NOW).line(), accepted("a"), filed("a")].concat();
    assert_eq!(
        without_times(&text(&dir)),
        without_times(std::str::from_utf8(&wanted).unwrap())
    );
}

fn kept(name: &str) -> Vec<u8> {
    let acceptance = Acceptance {
        key: "k".into(),
        status: 200,
    };
    let event = Event::accepted(&acceptance, None, true);
    let stamp = Stamp {
        size: 1,
        mtime: NOW,
    };
    Record::line(&Rel::new(name.as_bytes()), stamp, NOW, event)
}

fn forgotten(name: &str) -> Vec<u8> {
    let stamp = Stamp {
        size: 1,
        mtime: NOW,
    };
    Record::line(&Rel::new(name.as_bytes()), stamp, NOW, Event::Forgotten)
}

/// A journal of several files, in which lines of the newer ones outdate some of the older ones; with
/// a torn line.
fn several_files(dir: &TempDir) -> Journal {
    let state = home(dir);
    let (journal, _) = Journal::open(state, NOW).unwrap();
    for lines in [
        [
            accepted("a"),
            accepted("b"),
            kept("d/k"),
            kept("d/l"),
            kept("gone"),
        ]
        .concat(),
        [filed("a"), accepted("c"), kept("d/m"), forgotten("gone")].concat(),
        [filed("b"), forgotten("d/k"), accepted("a2")].concat(),
    ] {
        journal.append_lines(&lines).unwrap();
        journal.fail_next_sync();
        journal.sync(NOW).unwrap();
    }
    journal.append_lines(&accepted("e")).unwrap();
    let mut inner = journal.lock();
    inner.file.write_all(b"{\"v\":1,\"at").unwrap();
    inner.torn = true;
    drop(inner);
    journal
}

const SEVERAL: [&str; 6] = ["a2", "c", "d/l", "d/m", "e", "late"];

/// All paths that a journal knows, sorted, and how many lines of it cannot be read.
fn all_known(replay: &Replay) -> (Vec<String>, usize) {
    let live = replay.live.keys().map(|(path, _)| path.to_string());
    let at_rest = replay.at_rest.clone().into_iter().flat_map(|folder| {
        let paths = folder
            .files()
            .map(|file| folder.path.join(file.name).to_string());
        paths.collect::<Vec<_>>()
    });
    let mut all: Vec<String> = live.chain(at_rest).collect();
    all.sort();
    (all, replay.unreadable)
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_kill_between_any_two_operations_of_a_rewriting_loses_nothing_and_brings_nothing_back() {
    let dir = TempDir::new();
    let journal = Arc::new(several_files(&dir));
    let (at, writer) = (dir.path().join("journal"), Arc::downgrade(&journal));
    let snapshots = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&snapshots);
    let step = move |done: &str| {
        if done == "the draft is written" {
            // While all was read, more was accepted.
            let journal = writer.upgrade().unwrap();
            journal.append_lines(&accepted("late")).unwrap();
        }
        let snapshot = TempDir::new();
        copy_folder(&at, &snapshot.path().join("journal"));
        taken.lock().unwrap().push((done.to_string(), snapshot));
    };
    *journal.rewriting.at_step.lock().unwrap() = Some(Step(Box::new(step)));
    journal.rewrite(NOW).unwrap();
    *journal.rewriting.at_step.lock().unwrap() = None;
    assert_eq!(files(&dir), 1);

    let snapshots = std::mem::take(&mut *snapshots.lock().unwrap());
    let steps: Vec<_> = snapshots.iter().map(|(done, _)| done.as_str()).collect();
    assert!(steps.contains(&"it has its name"), "{steps:?}");
    assert!(steps.len() >= 9, "{steps:?}");
    for (done, snapshot) in &snapshots {
        let late = usize::from(done != "the draft is made");
        for start in ["first", "second"] {
            let (again, replay) = Journal::open(home(snapshot), NOW).unwrap();
            let (known, _) = all_known(&replay);
            assert_eq!(
                known,
                SEVERAL[..5 + late],
                "after {done}, at the {start} start"
            );
            again.rewrite(NOW).unwrap();
            assert_eq!(files(snapshot), 1, "after {done}");
        }
    }
}

#[test]
fn whichever_old_files_a_power_cut_brings_back_behind_a_rewriting_they_do_not_count() {
    let dir = TempDir::new();
    let journal = several_files(&dir);
    journal.append_lines(&accepted("late")).unwrap();
    let before = TempDir::new();
    copy_folder(&dir.path().join("journal"), before.path());
    let old = numbers(&Dir::at(before.path()).unwrap()).unwrap();
    assert_eq!(old, [1, 2, 3, 4]);
    journal.rewrite(NOW).unwrap();
    drop(journal);
    for brought_back in 0..1_u32 << old.len() {
        let cut = TempDir::new();
        copy_folder(&dir.path().join("journal"), &cut.path().join("journal"));
        for (_, number) in (old.iter().enumerate()).filter(|(at, _)| brought_back >> at & 1 == 1) {
            let name = format!("{number:08}.jsonl");
            let to = cut.path().join("journal").join(&name);
            std::fs::copy(before.path().join(&name), to).unwrap();
        }
        for start in 0..2 {
            let (_, replay) = Journal::open(home(&cut), NOW).unwrap();
            let (known, _) = all_known(&replay);
            assert_eq!(known, SEVERAL, "{brought_back:b}, start {start}");
        }
        assert_eq!(files(&cut), 1, "{brought_back:b}");
    }
}

#[test]
fn a_start_leaves_the_old_files_as_they_are_but_for_small_ones_whose_lines_it_takes_over() {
    let dir = TempDir::new();
    let (journal, _) = Journal::open(home(&dir), NOW).unwrap();
    let large: Vec<u8> = (0..20_000).flat_map(|n| kept(&format!("d/{n}"))).collect();
    journal.append_lines(&large).unwrap();
    drop(journal);
    let file = |number: u64| dir.path().join(format!("journal/{number:08}.jsonl"));
    let first = std::fs::read(file(1)).unwrap();
    for start in 0..5_u64 {
        let (journal, replay) = Journal::open(home(&dir), NOW).unwrap();
        assert_eq!(replay.at_rest.count(), 20_000);
        assert_eq!(replay.live.len() as u64, start);
        journal
            .append_lines(&accepted(&format!("{start}")))
            .unwrap();
        assert_eq!(files(&dir), 2);
    }
    assert_eq!(std::fs::read(file(1)).unwrap(), first);
    // Of those that it takes over it names the first, whichever has taken over others before.
    let newest = std::fs::read(file(6)).unwrap();
    let head = newest.split(|&byte| byte == b'\n').next().unwrap();
    assert_eq!(Head::read(head).unwrap().replaces, Some((2, 5)));
}

#[test]
fn a_journal_is_rewritten_when_what_is_outdated_outweighs_the_rest_also_what_earlier_ones_left() {
    let dir = TempDir::new();
    let (journal, _) = Journal::open(home(&dir), NOW).unwrap();
    let lasting: Vec<u8> = (0..60_000).flat_map(|n| kept(&format!("d/{n}"))).collect();
    journal.append_lines(&lasting).unwrap();
    drop(journal);
    let (journal, _) = Journal::open(home(&dir), NOW).unwrap();
    assert!(!journal.is_rewriting_due(), "nothing is outdated");
    grow(&journal, 3 << 20);
    assert!(!journal.is_rewriting_due(), "3 MiB beside 6 MiB");
    grow(&journal, 7 << 20);
    assert!(journal.is_rewriting_due());
    drop(journal);
    let (journal, replay) = Journal::open(home(&dir), NOW).unwrap();
    assert!(journal.is_rewriting_due());
    journal.rewrite_if_due(NOW);
    assert!(!journal.is_rewriting_due());
    assert_eq!(files(&dir), 1);
    let (_, again) = Journal::open(home(&dir), NOW).unwrap();
    assert_eq!(again, replay);
}

#[test]
fn a_rewriting_that_is_stopped_leaves_the_old_files_and_no_draft() {
    let dir = TempDir::new();
    let journal = several_files(&dir);
    let before = text(&dir);
    journal.stop_rewriting();
    let err = journal.rewrite(NOW).unwrap_err();
    assert_eq!(err.kind(), io::ErrorKind::Interrupted);
    assert_eq!((text(&dir), files(&dir)), (before, 4));
}

#[test]
fn a_file_without_an_end_of_a_line_is_read_in_bounded_memory_and_spoils_no_other() {
    let dir = TempDir::new();
    let (journal, _) = Journal::open(home(&dir), NOW).unwrap();
    journal.append_lines(&accepted("a")).unwrap();
    journal.append_lines(&[0; 5 << 20]).unwrap();
    journal
        .append_lines(&[b"\n".to_vec(), accepted("b")].concat())
        .unwrap();
    let (again, replay) = Journal::open(home(&dir), NOW).unwrap();
    assert_eq!(all_known(&replay).0, ["a", "b"]);
    again.rewrite(NOW).unwrap();
    let (_, replay) = Journal::open(home(&dir), NOW).unwrap();
    assert_eq!(all_known(&replay), (vec!["a".into(), "b".into()], 0));
}
