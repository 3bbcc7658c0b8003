//! A journal of several files: starts, and rewritings that are cut off at any moment.

use super::*;

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
