mod crashes;

use super::*;
use crate::config::Config;
use crate::flow::journal::Reason;
use crate::flow::time::Wall;
use crate::io::testing::TempDir;

struct Bench {
    dir: TempDir,
    placer: Filer,
    _state: crate::io::share::state::StateDir,
}

fn bench(tune: impl Fn(&mut Config)) -> Bench {
    let dir = TempDir::new();
    let mut config = crate::config::from_dir_and_url(dir.path(), "http://127.0.0.1:9/").unwrap();
    tune(&mut config);
    let (share, state) = Share::open(&config, false).unwrap_or_else(|_| panic!("it opens"));
    let (journal, _) = Journal::open(state.journal(), wall()).unwrap();
    let placer = Filer::new(&config, Arc::new(share), Arc::new(journal));
    Bench {
        dir,
        placer,
        _state: state,
    }
}

impl Bench {
    fn write(&self, name: &str, content: &str) -> Look {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self.placer
            .share
            .folder()
            .look(name.as_bytes())
            .unwrap()
            .unwrap()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name))
            .unwrap_or_else(|err| panic!("{name}: {err}"))
    }

    fn has(&self, name: &str) -> bool {
        self.dir.path().join(name).exists()
    }
}

fn filing(file: FileNo, name: &str, look: Look, to: Destination) -> Filing {
    Filing {
        file,
        path: Rel::new(name.as_bytes()),
        look,
        to,
        marker: None,
        unwritten: None,
        resumed: None,
    }
}

fn moving(to: &str, from: Option<&str>) -> Option<Moving> {
    Some(Moving {
        to: to.into(),
        from: from.map(Into::into),
    })
}

fn dead() -> Destination {
    let reason = Reason {
        reason: "bad".into(),
        status: None,
        body: Vec::new(),
        attempts: 0,
        first_seen: Wall(1),
        dead_at: Wall(1),
        key: "k".into(),
    };
    Destination::DeadLetter(Box::new(reason))
}

#[test]
fn files_of_one_group_do_not_get_in_each_others_way() {
    let bench = bench(|_| {});
    std::fs::create_dir_all(bench.dir.path().join(".dirpost/dead-letter")).unwrap();
    std::fs::write(bench.dir.path().join(".dirpost/dead-letter/x.csv"), "old").unwrap();
    let names = ["y.csv.reason.json", "y.csv", "x.csv", "x.1.csv"];
    let jobs: Vec<Filing> = (0..)
        .zip(names)
        .map(|(file, name)| filing(file, name, bench.write(name, name), dead()))
        .collect();
    let filed = bench.placer.place(&jobs).filed;
    let mut places = std::collections::BTreeSet::new();
    for ((_, filed), name) in filed.iter().zip(names) {
        let Filed::Away { to: Some(to) } = filed else {
            panic!("{name}: {filed:?}")
        };
        assert!(places.insert(to.clone()), "{to}");
        assert_eq!(bench.read(&format!(".dirpost/{to}")), name);
        assert!(
            bench
                .read(&format!(".dirpost/{to}.reason.json"))
                .contains(&format!("\"path\": \"{name}\"")),
            "{name}"
        );
    }
}

#[test]
fn while_the_journal_cannot_be_brought_onto_the_disk_it_does_not_grow() {
    let bench = bench(|_| {});
    let look = bench.write("x.csv", "x");
    bench.placer.journal.append_lines(b"{}\n").unwrap();
    bench.placer.journal.fail_next_sync();
    // The next file of the journal cannot be made.
    let next = bench.dir.path().join(".dirpost/journal/00000002.jsonl");
    std::fs::create_dir(&next).unwrap();
    let size = || {
        std::fs::metadata(bench.dir.path().join(".dirpost/journal/00000001.jsonl"))
            .unwrap()
            .len()
    };
    let before = size();
    for _ in 0..3 {
        let filed = bench
            .placer
            .place(&[filing(1, "x.csv", look, dead())])
            .filed;
        assert!(matches!(&filed[0].1, Filed::Unwritten(_)), "{filed:?}");
    }
    assert_eq!(size(), before);
    std::fs::remove_dir(next).unwrap();
    let filed = bench
        .placer
        .place(&[filing(1, "x.csv", look, dead())])
        .filed;
    assert!(matches!(&filed[0].1, Filed::Away { .. }), "{filed:?}");
}

#[test]
fn a_reason_that_was_written_before_a_crash_does_not_stay_without_its_file() {
    let bench = bench(|_| {});
    let look = bench.write("x.csv", "x");
    std::fs::create_dir_all(bench.dir.path().join(".dirpost/dead-letter")).unwrap();
    std::fs::write(
        bench
            .dir
            .path()
            .join(".dirpost/dead-letter/x.csv.reason.json"),
        "{}",
    )
    .unwrap();
    let job = Filing {
        resumed: moving("dead-letter/x.csv", None),
        ..filing(1, "x.csv", look, dead())
    };
    let filed = bench.placer.place(&[job]).filed;
    assert!(
        matches!(&filed[0].1, Filed::Away { to: Some(to) } if to == "dead-letter/x.csv"),
        "{filed:?}"
    );
    assert_eq!(bench.read(".dirpost/dead-letter/x.csv"), "x");
}

#[test]
fn a_draft_of_a_reason_that_a_kill_has_left_does_not_stay() {
    let bench = bench(|_| {});
    let look = bench.write("x.csv", "x");
    let dead_letter = bench.dir.path().join(".dirpost/dead-letter");
    std::fs::create_dir_all(&dead_letter).unwrap();
    let draft = String::from_utf8(dead::draft_of_reason(b"x.csv")).unwrap();
    std::fs::write(dead_letter.join(draft), "{\"pa").unwrap();
    let job = Filing {
        resumed: Some(Moving::default()),
        ..filing(1, "x.csv", look, dead())
    };
    bench.placer.place(&[job]);
    assert!(bench.has(".dirpost/dead-letter/x.csv.reason.json"));
    assert_eq!(std::fs::read_dir(dead_letter).unwrap().count(), 2);
}

#[test]
fn after_a_crash_a_name_that_went_to_another_file_is_left_to_it() {
    let bench = bench(|_| {});
    let look = bench.write("x.csv", "mine");
    std::fs::create_dir_all(bench.dir.path().join(".dirpost/done")).unwrap();
    std::fs::write(bench.dir.path().join(".dirpost/done/x.csv"), "another").unwrap();
    let look = Look {
        ino: 0,
        dev: 0,
        ctime: Wall(0),
        ..look
    };
    let job = Filing {
        resumed: moving("done/x.csv", None),
        ..filing(1, "x.csv", look, Destination::Done)
    };
    let filed = bench.placer.place(&[job]).filed;
    assert!(
        matches!(&filed[0].1, Filed::Away { to: Some(to) } if to == "done/x.1.csv"),
        "{filed:?}"
    );
    assert_eq!(bench.read(".dirpost/done/x.csv"), "another");
    assert!(!bench.has("x.csv"));
}

#[test]
fn what_lies_in_the_staging_folder_goes_on_from_there_with_its_reason() {
    let bench = bench(|_| {});
    let look = bench.write("x.csv", "x");
    let staged = bench.dir.path().join(".dirpost/staging/draft");
    // As the placer makes it for the first file that goes there.
    std::fs::create_dir(staged.parent().unwrap()).unwrap();
    std::fs::rename(bench.dir.path().join("x.csv"), &staged).unwrap();
    let job = Filing {
        resumed: moving("staging/draft", None),
        ..filing(1, "x.csv", look, dead())
    };
    let filed = bench.placer.place(&[job]).filed;
    assert!(
        matches!(&filed[0].1, Filed::Away { to: Some(_) }),
        "{filed:?}"
    );
    assert_eq!(bench.read(".dirpost/dead-letter/x.csv"), "x");
    assert!(bench.has(".dirpost/dead-letter/x.csv.reason.json"));
    assert_eq!(
        std::fs::read_dir(bench.dir.path().join(".dirpost/staging"))
            .unwrap()
            .count(),
        0
    );
}
