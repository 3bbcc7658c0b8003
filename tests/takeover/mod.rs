//! State folders of an earlier version (tests/data/state-0.1, where a text says how they were made):
//! nothing is lost, nothing sent twice, everything is filed.
#![cfg(target_os = "linux")]

mod state;

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use self::state::{another_disk, copy_all, data, mtimes, set_mtimes};
use crate::util::mount::Mount;
use crate::util::{BOUND, Daemon, Dir, Reaction, Server, as_texts, config, once, wait_until};

/// A state folder, and what must come of it.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    /// Lines of the configuration beside the places.
    extra: &'static str,
    /// What is still to be sent, and what it holds.
    sent: &'static [(&'static str, &'static str)],
    /// What the files hold that lie in `done` at the end.
    done: &'static [&'static str],
    /// The same for dead-letter, each with a reason beside it.
    dead: &'static [&'static str],
    /// The same for what stays at its place.
    stays: &'static [&'static str],
}

const A: &str = "this is a.csv";
const BAD: &str = "this is bad.csv";
const SECOND: &str = "version 2 of it";
const DELETE: &str = "delivered.action = \"delete\"";
const KEEP: &str = "delivered.action = \"keep\"";

const fn case(name: &'static str) -> Case {
    Case {
        name,
        extra: "",
        sent: &[],
        done: &[],
        dead: &[],
        stays: &[],
    }
}

/// It was accepted, and is to be in `done`.
const fn accepted(name: &'static str) -> Case {
    Case {
        done: &[A],
        ..case(name)
    }
}

/// It was condemned, and is to be in dead-letter.
const fn condemned(name: &'static str) -> Case {
    Case {
        dead: &[BAD],
        ..case(name)
    }
}

/// It was accepted, and is to be deleted.
const fn deleted(name: &'static str) -> Case {
    Case {
        extra: DELETE,
        ..case(name)
    }
}

/// Its second version was never sent, and lies over the first.
const fn superseded(name: &'static str, sent: &'static [(&'static str, &'static str)]) -> Case {
    Case {
        sent,
        done: &[SECOND],
        ..case(name)
    }
}

/// Those whose `done` and `dead-letter` are in the state folder, which is on the share.
const BESIDE: [Case; 18] = [
    accepted("accepted"),
    accepted("moving"),
    accepted("moved"),
    accepted("linked"),
    accepted("reserved"),
    deleted("delete-moving"),
    deleted("delete-staged"),
    deleted("delete-removed"),
    condemned("condemned"),
    condemned("condemned-reason"),
    condemned("condemned-moved"),
    superseded("stuck", &[("erp/x.csv", SECOND)]),
    superseded("condemned-stuck", &[("erp/x.csv", SECOND)]),
    Case {
        extra: "ready.marker = \".done\"",
        done: &["done!", A],
        ..case("marker")
    },
    Case {
        done: &[
            "this is file 0",
            "this is file 10!!!!!!!!!!",
            "this is file 1!",
            "this is file 2!!",
            "this is file 4!!!!",
            "this is file 5!!!!!",
            "this is file 6!!!!!!",
            "this is file 8!!!!!!!!",
            "this is file 9!!!!!!!!!",
        ],
        dead: &[
            "this is file 11!!!!!!!!!!!",
            "this is file 3!!!",
            "this is file 7!!!!!!!",
        ],
        ..case("mixed")
    },
    Case {
        extra: KEEP,
        sent: &[("new.csv", "a second version")],
        stays: &["a second version", "this is here", "this one is back"],
        ..case("keep")
    },
    Case {
        sent: &[("sub/a.csv", A)],
        ..accepted("torn-accepted")
    },
    accepted("torn-moving"),
];

/// Those whose `done` and `dead-letter` are on another file system.
const ELSEWHERE: [Case; 10] = [
    accepted("copy-moving"),
    accepted("copy-staged"),
    accepted("copy-draft"),
    accepted("copy-named"),
    accepted("copy-removed"),
    condemned("condemned-copy-staged"),
    condemned("condemned-copy-draft"),
    condemned("condemned-copy-named"),
    superseded("condemned-superseded", &[("x.csv", SECOND)]),
    Case {
        // Version 1 is written by the test: it is long, so that a full disk had no room for it.
        done: &["version 1", SECOND],
        ..superseded("staged-superseded", &[("x.csv", SECOND)])
    },
];

/// Those of the version after 0.1.0, whose lines of kept files were longer than those of today.
const OF_0_2: [Case; 3] = [
    Case {
        extra: KEEP,
        sent: &[("new.csv", "a second version")],
        stays: &[
            "a second version",
            "this is here",
            "this one is back",
            "this was created, 201",
        ],
        ..case("../state-0.2/keep")
    },
    Case {
        extra: "ready.marker = \".done\"\ndelivered.action = \"keep\"",
        stays: &["vouched for", "x"],
        ..case("../state-0.2/marker-keep")
    },
    Case {
        done: &[A],
        dead: &[BAD],
        ..case("../state-0.2/unfiled")
    },
];

/// A copy of a state folder, and an endpoint.
struct World {
    case: Case,
    dir: Dir,
    /// What `done` and `dead` are on, where that is another file system.
    other: Option<Dir>,
    server: Server,
    text: String,
}

impl World {
    /// `None`, and a line that says so, where there is no other file system.
    fn new(case: Case) -> Option<World> {
        let (dir, from) = (Dir::new(), data().join(case.name));
        let watched = dir.mkdir("in");
        copy_all(&from.join("share"), &watched);
        let times = mtimes(&watched.join(".dirpost"));
        set_mtimes(&watched, &times);
        if case.name == "linked" {
            let place = watched.join("sub/a.csv");
            std::fs::remove_file(&place).unwrap();
            std::fs::hard_link(watched.join(".dirpost/done/sub/a.csv"), place).unwrap();
        }
        let mut extra = String::from(case.extra);
        let mut other = None;
        if ELSEWHERE
            .iter()
            .any(|elsewhere| elsewhere.name == case.name)
        {
            let disk = another_disk(dir.path())?;
            if from.join("other").exists() {
                copy_all(&from.join("other"), disk.path());
                set_mtimes(disk.path(), &times);
            }
            let path = disk.path().display();
            extra += &format!("\ndelivered.dir = '{path}/done'\ndead_letter.dir = '{path}/dead'");
            other = Some(disk);
        }
        let server = answering();
        let text = config(&watched, &server.url(), &extra);
        Some(World {
            case,
            dir,
            other,
            server,
            text,
        })
    }

    /// What the files below a folder hold: the first line of each, sorted. Reasons are counted.
    fn contents(&self, folder: &Path) -> (Vec<String>, usize) {
        let mut files = self.dir.contents(folder);
        files.retain(|name, _| !name.starts_with(".dirpost"));
        let all = files.len();
        files.retain(|name, _| !name.ends_with(".reason.json"));
        let reasons = all - files.len();
        // The place that a crash has left reserved may stay.
        files.retain(|_, bytes| !bytes.is_empty());
        let texts = as_texts(files);
        let texts = texts.iter().map(|text| text.trim_end().to_string());
        (texts.collect(), reasons)
    }

    fn area(&self, area: &str) -> PathBuf {
        match &self.other {
            Some(other) => other.join(area),
            None if area == "dead" => self.dir.join("in/.dirpost/dead-letter"),
            None => self.dir.join("in/.dirpost").join(area),
        }
    }

    /// Whether everything is where it belongs; `Err` says what is not.
    fn is_over(&self) -> Result<(), String> {
        let found = [
            self.contents(&self.dir.join("in")),
            self.contents(&self.dir.join("in/.dirpost/staging")),
            self.contents(&self.area("done")),
            self.contents(&self.area("dead")),
        ];
        let texts = |texts: &[&str]| {
            let mut texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            texts.sort();
            texts
        };
        let wanted = [
            (texts(self.case.stays), 0),
            (Vec::new(), 0),
            (texts(self.case.done), 0),
            (texts(self.case.dead), self.case.dead.len()),
        ];
        if found == wanted {
            Ok(())
        } else {
            Err(format!(
                "at its place, in staging, in done, in dead-letter (and reasons): {found:?}"
            ))
        }
    }

    /// Panics unless exactly what had not been sent was sent, once.
    fn is_sent(&self) {
        let requests = self.server.requests().into_iter();
        let sent: Vec<(String, String)> = requests
            .map(|request| {
                (
                    request.path,
                    String::from_utf8_lossy(&request.body).into_owned(),
                )
            })
            .collect();
        let wanted: Vec<(String, String)> = self
            .case
            .sent
            .iter()
            .map(|(path, text)| (path.to_string(), text.to_string()))
            .collect();
        assert_eq!(sent, wanted, "{}", self.case.name);
    }
}

/// As it was when the states were made.
fn answering() -> Server {
    Server::start(|head| {
        if head.path.contains("bad") {
            Reaction::AnswerWith(422, Vec::new(), "column 3 is no date".into())
        } else {
            Reaction::Answer(200)
        }
    })
}

/// The daemon takes it over, then runs of `once` find nothing to do.
fn by_run(case: Case) {
    let Some(world) = World::new(case) else {
        return;
    };
    let mut daemon = Daemon::start(&world.text);
    daemon.wait_log("first look");
    wait_until(case.name, BOUND, || world.is_over().is_ok());
    // What is in done must have been sent before.
    wait_until("all to be sent", BOUND, || {
        world.server.requests().len() >= case.sent.len()
    });
    world.is_sent();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit(BOUND), 0, "{}", case.name);
    let run = once(&world.text, &[]);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(0), "{}: {said}", case.name);
    assert_eq!(world.is_over(), Ok(()), "{}", case.name);
    world.is_sent();
}

/// `once` takes it over; another one finds nothing to do.
fn by_once(case: Case) {
    let Some(world) = World::new(case) else {
        return;
    };
    for codes in [[0, 4], [0, 0]] {
        let run = once(&world.text, &[]);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        let code = run.status.code().unwrap_or(-1);
        assert!(codes.contains(&code), "{}: {code}: {said}", case.name);
        assert_eq!(world.is_over(), Ok(()), "{}: {said}", case.name);
        world.is_sent();
    }
}

#[test]
fn a_state_folder_of_0_1_is_taken_over_by_the_daemon() {
    BESIDE.into_iter().for_each(by_run);
}

#[test]
fn a_state_folder_of_0_1_is_taken_over_by_once() {
    BESIDE.into_iter().for_each(by_once);
}

#[test]
fn a_state_folder_of_the_version_after_0_1_is_taken_over_by_the_daemon() {
    OF_0_2.into_iter().for_each(by_run);
}

#[test]
fn a_state_folder_of_the_version_after_0_1_is_taken_over_by_once() {
    OF_0_2.into_iter().for_each(by_once);
}

#[test]
fn what_0_1_was_moving_to_another_file_system_is_filed_by_the_daemon() {
    ELSEWHERE.into_iter().for_each(by_run);
}

#[test]
fn what_0_1_was_moving_to_another_file_system_is_filed_by_once() {
    ELSEWHERE.into_iter().for_each(by_once);
}

#[test]
fn every_state_folder_that_is_there_is_taken_over_by_a_test() {
    let of_their_own = ["read-only", "retried", "learned"];
    let mut known: Vec<&str> = BESIDE
        .iter()
        .chain(&ELSEWHERE)
        .map(|case| case.name)
        .collect();
    known.extend(of_their_own);
    known.sort_unstable();
    let folders = std::fs::read_dir(data())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut there: Vec<String> = folders
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    there.sort();
    assert_eq!(there, known);
}

#[test]
fn a_journal_of_0_1_in_several_files_is_read_in_their_order() {
    let case = BESIDE
        .into_iter()
        .find(|case| case.name == "mixed")
        .unwrap();
    let world = World::new(case).unwrap();
    let journal = world.dir.join("in/.dirpost/journal");
    let text = std::fs::read_to_string(journal.join("00000001.jsonl")).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for (number, lines) in lines.chunks(lines.len().div_ceil(3)).enumerate() {
        let name = format!("{:08}.jsonl", 7 + number);
        std::fs::write(journal.join(name), lines.concat()).unwrap();
    }
    std::fs::remove_file(journal.join("00000001.jsonl")).unwrap();
    // What a process that was killed had begun.
    std::fs::write(journal.join(".draft-0123456789abcdef-0"), lines[0]).unwrap();
    let run = once(&world.text, &[]);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(matches!(run.status.code(), Some(0 | 4)), "{said}");
    assert_eq!(world.is_over(), Ok(()), "{said}");
    world.is_sent();
}

#[test]
fn what_0_1_knew_to_be_missing_is_not_sent_again_when_it_comes_back() {
    let cases = BESIDE.into_iter().chain(OF_0_2);
    for case in cases.filter(|case| case.name.ends_with("/keep") || case.name == "keep") {
        let world = World::new(case).unwrap();
        assert_eq!(once(&world.text, &[]).status.code(), Some(0));
        let from = data().join(case.name);
        let place = world.dir.join("in/missing.csv");
        std::fs::copy(from.join("away/missing.csv"), place).unwrap();
        // With the mtime that it had.
        let times = mtimes(&from.join("share/.dirpost"));
        set_mtimes(&world.dir.join("in"), &times);
        for _ in 0..2 {
            assert_eq!(once(&world.text, &[]).status.code(), Some(0));
        }
        world.is_sent();
        assert!(world.dir.exists("in/missing.csv"));
    }
}

#[test]
fn a_read_only_share_that_0_1_has_delivered_is_known() {
    let (dir, server) = (Dir::new(), answering());
    let (watched, state) = (dir.mkdir("in"), dir.join("state"));
    let Some(mount) = Mount::tmpfs(&watched, "1m") else {
        return;
    };
    let from = data().join("read-only");
    copy_all(&from.join("share"), &watched);
    copy_all(&from.join("state"), &state);
    let times = mtimes(&state);
    // a.csv and bad.csv were written in the same breath: both have the mtime that each has.
    set_mtimes(&watched, &times);
    set_mtimes(&state.join("dead-letter"), &times);
    mount.remount("ro");
    let extra = format!("{KEEP}\nstate.dir = '{}'", state.display());
    let text = config(&watched, &server.url(), &extra);
    for _ in 0..2 {
        let run = once(&text, &[]);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(0), "{said}");
    }
    assert!(server.requests().is_empty(), "{:?}", server.requests());
    assert_eq!(
        dir.list("state/dead-letter"),
        ["sub/bad.csv", "sub/bad.csv.reason.json"]
    );
}

/// `PATH "KEY"` of each request that 0.1 made.
fn keys(name: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(data().join(name).join("keys")).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(path, key)| (path.to_string(), key.to_string()))
        .collect()
}

#[test]
fn what_was_taken_out_of_dead_letter_under_0_1_is_sent_under_the_key_of_its_round() {
    let (dir, server) = (Dir::new(), answering());
    let watched = dir.mkdir("in");
    copy_all(&data().join("retried/share"), &watched);
    set_mtimes(&watched, &mtimes(&watched.join(".dirpost")));
    let text = config(&watched, &server.url(), "");
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    let sent: Vec<(String, String)> = server
        .requests()
        .into_iter()
        .map(|request| (request.path, request.key))
        .collect();
    assert_eq!(sent.as_slice(), &keys("retried")[3 + 1..]);
    let dead = dir.list("in/.dirpost/dead-letter");
    let files = ["bad2.csv", "bad3.csv", "sub/bad.csv"];
    assert!(
        files.iter().all(|file| dead.contains(&file.to_string())),
        "{dead:?}"
    );
    assert_eq!(dead.len(), 6, "each with its reason: {dead:?}");
}

#[test]
fn what_0_1_has_learned_is_known_attempts_keys_and_looks() {
    let dir = Dir::new();
    let server =
        Server::start(|head| Reaction::Answer(if head.path == "a.csv" { 422 } else { 200 }));
    let watched = dir.mkdir("in");
    copy_all(&data().join("learned/share"), &watched);
    set_mtimes(&watched, &mtimes(&watched.join(".dirpost")));
    let run = once(&config(&watched, &server.url(), ""), &[]);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(4), "{said}");
    assert_eq!(dir.list("in/.dirpost/done"), ["later.csv"], "{said}");
    let requests = server.requests();
    let a = requests
        .iter()
        .find(|request| request.path == "a.csv")
        .expect("it was sent");
    let known = keys("learned");
    assert_eq!(a.key, known[0].1);
    assert_eq!(requests.len(), 2);
    let reason = dir.read("in/.dirpost/dead-letter/a.csv.reason.json");
    let reason: serde_json::Value = serde_json::from_slice(&reason).unwrap();
    assert_eq!(reason["attempts"], known.len() + 1, "{reason}");
}
