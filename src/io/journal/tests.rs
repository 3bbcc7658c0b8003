use super::files::numbers;
use super::*;
use crate::flow::file::Stamp;
use crate::flow::filing::Acceptance;
use crate::flow::journal::{Event, Record};
use crate::flow::time::Mono;
use crate::io::testing::TempDir;
use std::time::Duration;

mod removed;
mod rewriting;

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
