use super::*;
use crate::flow::file::Stamp;
use crate::flow::filing::Acceptance;
use crate::flow::journal::{Event, Record};
use crate::io::testing::TempDir;

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
    let state = Dir::at(dir.path()).unwrap();
    for round in 0..4 {
        let (journal, replay) = Journal::open(&state, NOW).unwrap();
        assert_eq!(replay.live.len(), round);
        journal.append(&accepted(&format!("f{round}"))).unwrap();
        journal.append(&accepted("gone")).unwrap();
        journal.append(&filed("gone")).unwrap();
        journal.sync(NOW).unwrap();
    }
    assert_eq!(files(&dir), 1);
}

#[test]
fn a_former_holder_that_writes_late_spoils_nothing() {
    let dir = TempDir::new();
    let state = Dir::at(dir.path()).unwrap();
    let (former, _) = Journal::open(&state, NOW).unwrap();
    let (journal, _) = Journal::open(&state, NOW).unwrap();
    journal.append(&accepted("a")).unwrap();
    former.append(&accepted("late")).unwrap();
    let (_, replay) = Journal::open(&state, NOW).unwrap();
    assert!(is_live(&replay, b"a"));
}

#[test]
fn a_journal_that_grows_is_rewritten_to_what_is_live() {
    let dir = TempDir::new();
    let state = Dir::at(dir.path()).unwrap();
    let (journal, _) = Journal::open(&state, NOW).unwrap();
    journal.append(&accepted("live")).unwrap();
    let mut size = 0;
    while size < COMPACT_MIN as usize {
        let lines = [accepted("x"), filed("x")].concat();
        size += lines.len();
        journal.append(&lines).unwrap();
    }
    journal.sync(NOW).unwrap();
    assert!(journal.lock().size < 1_000);
    assert_eq!(files(&dir), 1);
    journal.append(&accepted("after")).unwrap();
    let (_, replay) = Journal::open(&state, NOW).unwrap();
    assert_eq!(replay.live.len(), 2);
}

fn grow(journal: &Journal, size: u64) {
    let lines = [accepted("x"), filed("x")].concat().repeat(100);
    while journal.lock().size < size {
        journal.append(&lines).unwrap();
    }
}

#[test]
fn a_rewriting_that_fails_is_no_error_of_the_lines_leaves_no_draft_and_is_tried_again_later() {
    let dir = TempDir::new();
    let state = Dir::at(dir.path()).unwrap();
    let (journal, _) = Journal::open(&state, NOW).unwrap();
    journal.append(&accepted("live")).unwrap();
    grow(&journal, COMPACT_MIN);
    // The name of the next one is taken.
    let next = dir.path().join("journal/00000002.jsonl");
    std::fs::write(&next, "").unwrap();
    journal.sync(NOW).unwrap();
    assert!(!journal.is_pending());
    assert_eq!(files(&dir), 2);
    std::fs::remove_file(&next).unwrap();
    journal.append(&accepted("more")).unwrap();
    journal.sync(NOW).unwrap();
    assert!(
        journal.lock().size > COMPACT_MIN,
        "it is tried at every sync"
    );
    journal.rewriting.lock().unwrap().1 = Mono(0);
    journal.append(&accepted("last")).unwrap();
    journal.sync(NOW).unwrap();
    assert!(journal.lock().size < 1_000);
    assert!(!journal.rewriting.lock().unwrap().0.is_raised());
    let (_, replay) = Journal::open(&state, NOW).unwrap();
    assert_eq!(replay.live.len(), 3);
}

#[test]
fn what_is_appended_while_the_journal_is_rewritten_is_in_the_new_file() {
    let dir = TempDir::new();
    let state = Dir::at(dir.path()).unwrap();
    let (journal, _) = Journal::open(&state, NOW).unwrap();
    grow(&journal, COMPACT_MIN);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..2_000 {
                journal.append(&accepted(&format!("f{number}"))).unwrap();
            }
        });
        for _ in 0..20 {
            journal.lock().compact_at = 0;
            journal.append(&accepted("one more")).unwrap();
            journal.sync(NOW).unwrap();
        }
    });
    assert!(journal.lock().number > 10);
    let (_, replay) = Journal::open(&state, NOW).unwrap();
    assert_eq!((replay.live.len(), replay.unreadable), (2_001, 0));
}

#[test]
fn what_is_owed_is_written_before_anything_else() {
    let dir = TempDir::new();
    let state = Dir::at(dir.path()).unwrap();
    let (journal, _) = Journal::open(&state, NOW).unwrap();
    journal.append(&accepted("x")).unwrap();
    journal.sync(NOW).unwrap();
    // Nothing can be written to this one.
    let whole = std::mem::replace(
        &mut journal.lock().file,
        state.file(b"journal/00000001.jsonl").unwrap(),
    );
    journal.append_or_owe(&filed("x")).unwrap_err();
    journal.append(&accepted("x")).unwrap_err();
    assert!(journal.is_pending());
    journal.sync(NOW).unwrap_err();
    journal.lock().file = whole;
    journal.append(&accepted("x")).unwrap();
    journal.sync(NOW).unwrap();
    let (_, replay) = Journal::open(&state, NOW).unwrap();
    assert!(is_live(&replay, b"x"), "a new drop was taken for filed");
}

/// For the figures in `docs/journal.md`.
#[test]
#[ignore = "a measurement"]
fn what_a_rewriting_costs() {
    for size in [4_u64 << 20, 100 << 20] {
        let dir = TempDir::new();
        let state = Dir::at(dir.path()).unwrap();
        let (journal, _) = Journal::open(&state, NOW).unwrap();
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
            journal.append(&lines).unwrap();
            number += 100;
        }
        journal.sync(NOW).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        let longest = std::thread::scope(|scope| {
            let appends = scope.spawn(|| {
                let mut longest = Duration::ZERO;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let started = std::time::Instant::now();
                    journal.append(&accepted("meanwhile")).unwrap();
                    longest = longest.max(started.elapsed());
                    std::thread::sleep(Duration::from_millis(1));
                }
                longest
            });
            let started = std::time::Instant::now();
            journal.compact(NOW).unwrap();
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
    let state = Dir::at(dir.path()).unwrap();
    let (journal, _) = Journal::open(&state, NOW).unwrap();
    let full = io::Error::from(io::ErrorKind::StorageFull);
    assert!(!journal.is_low() && dir.path().join("journal/reserve").exists());
    assert!(
        !journal
            .reserve
            .give_up(&journal.folder, &io::ErrorKind::PermissionDenied.into())
    );
    assert!(journal.reserve.give_up(&journal.folder, &full));
    assert!(journal.is_low() && !dir.path().join("journal/reserve").exists());
    assert!(!journal.reserve.give_up(&journal.folder, &full));
    journal.restore_reserve().unwrap();
    assert!(
        !journal.is_low()
            && dir.path().join("journal/reserve").metadata().unwrap().len() == 64 * 1024
    );
}
