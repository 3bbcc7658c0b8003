//! Clean-ups that remove what is dirpost's own, under a running process or between two:
//! `find -mtime +30 -delete` and its kin.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::util::{BOUND, Daemon, Dir, Gate, Reaction, Server, config, once, wait_until};

/// As `find … -type f -delete` does it.
fn remove_files(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            remove_files(&path);
        } else {
            // What is written and renamed meanwhile is gone by itself.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn remove_file(path: impl AsRef<Path>) {
    std::fs::remove_file(path).unwrap();
}

type Removal = fn(&Path);

/// What the log says of a removal, and the removal from the folder `.dirpost`. Where all files are removed
/// it says nothing that it has not said before.
const REMOVALS: [(&str, Removal); 6] = [
    ("its mark", |own| remove_file(own.join("id"))),
    (".dirpost/lock", |own| remove_file(own.join("lock"))),
    (".dirpost/holder", |own| remove_file(own.join("holder"))),
    ("journal/reserve", |own| {
        remove_file(own.join("journal/reserve"));
    }),
    ("has removed files from", |own| {
        std::fs::remove_dir_all(own.join("journal")).unwrap();
    }),
    ("", remove_files),
];

/// The paths that were accepted, in their order.
fn accepted(server: &Server) -> Vec<String> {
    let accepted = server.accepted().into_iter();
    accepted.map(|request| request.path).collect()
}

fn kept(dir: &Dir, server: &Server, extra: &str) -> String {
    let extra = format!("delivered.action = \"keep\"\n{extra}");
    config(dir.path(), &server.url(), &extra)
}

/// The journal's lines that tell of a file, of all its files.
fn lines_about(dir: &Dir, name: &str) -> usize {
    let path = format!("\"path\":\"{name}\"");
    dir.journal(".dirpost").matches(&path).count()
}

/// Whether all that belongs to dirpost is there.
fn is_whole(dir: &Dir) -> bool {
    ["id", "lock", "holder", "journal/reserve"]
        .iter()
        .all(|name| dir.exists(format!(".dirpost/{name}")))
        && lines_about(dir, "a.csv") == 1
}

#[test]
fn what_is_removed_under_a_running_dirpost_is_written_again_and_nothing_is_sent_twice() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let text = kept(&dir, &server, "");
    dir.write("a.csv", "a");
    let mut first = Daemon::start(&text);
    wait_until("the first one", BOUND, || server.accepted_count() == 1);
    let standby = Daemon::start(&text);
    standby.wait_log("standby: another dirpost works on this folder");
    let id = dir.text(".dirpost/id");
    let holder = dir.text(".dirpost/holder");

    for (number, (what, remove)) in REMOVALS.into_iter().enumerate() {
        remove(&dir.join(".dirpost"));
        wait_until(&format!("{what} to be there again"), BOUND, || {
            is_whole(&dir)
        });
        if !what.is_empty() {
            let said =
                |line: &&String| line.contains("somebody has removed") && line.contains(what);
            wait_until(&format!("{what} in the log"), BOUND, || {
                first.log().iter().filter(said).count() == 1
            });
        }
        assert_eq!(dir.text(".dirpost/id"), id, "{what}");
        assert_eq!(dir.text(".dirpost/holder"), holder, "{what}");
        // It goes on.
        dir.write(format!("new{number}.csv"), "new");
        wait_until("the next one", BOUND, || {
            server.accepted_count() == number + 2
        });
        // What was accepted and is not written down yet may be sent again after a kill, and a line
        // that is written while its folder is being removed leaves a file in it.
        wait_until("its acceptance in the journal", BOUND, || {
            lines_about(&dir, &format!("new{number}.csv")) >= 1
        });
    }
    assert!(!standby.has_logged("the lock is free"), "two were at work");

    // Nobody has forgotten anything, the next holder included.
    first.kill();
    standby.wait_log("the lock is free");
    dir.write("last.csv", "last");
    wait_until("the last one", BOUND, || {
        accepted(&server).contains(&"last.csv".into())
    });
    let mut all = accepted(&server);
    all.sort();
    let new = (0..6).map(|number| format!("new{number}.csv"));
    let wanted: Vec<String> = ["a.csv", "last.csv"]
        .map(String::from)
        .into_iter()
        .chain(new)
        .collect();
    assert_eq!(all, wanted);
    assert_eq!(
        server.requests().len(),
        wanted.len(),
        "not even one that was broken off"
    );
}

#[test]
fn a_mark_that_is_removed_between_two_runs_is_made_again_and_the_keys_stay() {
    let dir = Dir::new();
    let server = Server::start(|head| Reaction::Answer(if head.attempt == 1 { 500 } else { 200 }));
    dir.write("a.csv", "a");
    let text = kept(&dir, &server, "");
    once(&text, &["--deadline", "0s"]);
    once(&text, &["--no-wait"]);
    let id = dir.text(".dirpost/id");
    remove_file(dir.join(".dirpost/id"));
    let run = once(&text, &[]);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(0), "{said}");
    assert!(said.contains("it is made again from the journal"), "{said}");
    assert_eq!(dir.text(".dirpost/id"), id);
    let keys: Vec<String> = server.requests().into_iter().map(|sent| sent.key).collect();
    assert!(
        keys.len() >= 2 && keys.iter().all(|key| *key == keys[0]),
        "{keys:?}"
    );
    // Delivered, it is known as before.
    remove_file(dir.join(".dirpost/id"));
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    assert_eq!(server.accepted_count(), 1);
}

#[test]
fn an_acceptance_that_comes_after_the_journal_was_removed_outlives_a_kill() {
    let (dir, gate) = (Dir::new(), Gate::new());
    let held = gate.clone();
    let server = Server::start(move |head| {
        if head.path == "b.csv" {
            Reaction::Hold(held.clone(), 200)
        } else {
            Reaction::Answer(200)
        }
    });
    // No look comes by itself.
    let text = kept(&dir, &server, "watch.interval = \"1h\"");
    dir.write("a.csv", "a");
    dir.write("b.csv", "b");
    let mut daemon = Daemon::start(&text);
    wait_until("both at the endpoint", BOUND, || server.whole_bodies() == 2);
    daemon.wait_log("delivered a.csv");
    std::fs::remove_dir_all(dir.join(".dirpost/journal")).unwrap();
    gate.open();
    daemon.wait_log("delivered b.csv");
    daemon.kill();
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_holder_that_waits_for_an_answer_keeps_its_lock_though_the_file_is_removed() {
    let (dir, gate) = (Dir::new(), Gate::new());
    let held = gate.clone();
    let server = Server::start(move |_| Reaction::Hold(held.clone(), 200));
    let text = kept(&dir, &server, "watch.interval = \"1h\"");
    dir.write("a.csv", "a");
    let holder = Daemon::start(&text);
    wait_until("it to be at the endpoint", BOUND, || {
        server.whole_bodies() == 1
    });
    let standby = Daemon::start(&text);
    standby.wait_log("standby: another dirpost works on this folder");
    remove_file(dir.join(".dirpost/lock"));
    standby.wait_log("waiting 15 s");
    holder.wait_log("it is made and locked again");
    gate.open();
    holder.wait_log("delivered a.csv");
    assert!(!standby.has_logged("working from now on"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_lock_file_that_is_removed_is_taken_over_in_the_end_and_its_holder_becomes_the_standby() {
    let (dir, server) = (Dir::new(), Server::accepting());
    // It looks at nothing for an hour, and sends nothing.
    let text = kept(&dir, &server, "watch.interval = \"1h\"");
    let idle = Daemon::start(&text);
    idle.wait_log("first look");
    let standby = Daemon::start(&text);
    standby.wait_log("standby: another dirpost works on this folder");
    remove_file(dir.join(".dirpost/lock"));
    let removed = Instant::now();
    dir.write("a.csv", "a");
    standby.wait_log("first look");
    assert!(
        removed.elapsed() >= Duration::from_secs(15),
        "{:?}",
        removed.elapsed()
    );
    wait_until("it to be delivered", BOUND, || server.accepted_count() == 1);
    #[cfg(unix)]
    {
        idle.signal(rustix::process::Signal::USR1);
        idle.wait_log("another dirpost has taken it");
        idle.wait_log("standby: another dirpost works on this folder");
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_run_that_has_to_make_the_lock_file_again_waits_for_its_holder_first() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let text = kept(&dir, &server, "");
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    remove_file(dir.join(".dirpost/lock"));
    dir.write("a.csv", "a");
    // Who has no time for that leaves it to the next run.
    let run = once(&text, &["--deadline", "1s"]);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(3), "{said}");
    assert!(said.contains("the deadline is over"), "{said}");
    // A stop is obeyed meanwhile.
    #[cfg(unix)]
    {
        let mut daemon = Daemon::start(&text);
        daemon.wait_log("waiting 15 s");
        daemon.signal(rustix::process::Signal::TERM);
        let stopped = Instant::now();
        assert_eq!(daemon.wait_exit(BOUND), 0);
        assert!(stopped.elapsed() < Duration::from_secs(10));
    }
    assert!(!dir.exists(".dirpost/lock") && server.requests().is_empty());
    let began = Instant::now();
    let run = once(&text, &[]);
    assert_eq!(run.status.code(), Some(0));
    assert!(
        began.elapsed() >= Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(server.accepted_count(), 1);
    let began = Instant::now();
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "it was made by now"
    );
}

#[test]
fn with_its_state_elsewhere_what_is_removed_is_written_again_as_well() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    let state = dir.join("state");
    let extra = format!(
        "state.dir = '{}'\ndelivered.action = \"keep\"",
        state.display()
    );
    let text = config(&watched, &server.url(), &extra);
    dir.write("in/a.csv", "a");
    let mut daemon = Daemon::start(&text);
    wait_until("the first one", BOUND, || server.accepted_count() == 1);
    let (mark, known) = (dir.text("in/.dirpost/id"), dir.text("state/id"));
    remove_files(&dir.join("in/.dirpost"));
    remove_files(&state);
    wait_until("all to be there again", BOUND, || {
        [
            "in/.dirpost/id",
            "in/.dirpost/lock",
            "in/.dirpost/holder",
            "state/id",
            "state/journal/reserve",
        ]
        .iter()
        .all(|name| dir.exists(name))
    });
    assert_eq!(
        (dir.text("in/.dirpost/id"), dir.text("state/id")),
        (mark, known)
    );
    daemon.wait_log("has removed files from");
    daemon.kill();
    dir.write("in/b.csv", "b");
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    assert_eq!(accepted(&server), ["a.csv", "b.csv"]);
}

#[test]
fn a_state_folder_that_is_gone_under_a_running_dirpost_is_a_fault_until_it_is_back() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    let (state, aside) = (dir.join("state"), dir.join("aside"));
    let extra = format!(
        "state.dir = '{}'\ndelivered.action = \"keep\"",
        state.display()
    );
    dir.write("in/a.csv", "a");
    let daemon = Daemon::start(&config(&watched, &server.url(), &extra));
    wait_until("the first one", BOUND, || server.accepted_count() == 1);
    // As a disk that is unmounted.
    std::fs::rename(&state, &aside).unwrap();
    daemon.wait_log("(the state folder)");
    dir.write("in/b.csv", "b");
    assert!(!state.exists(), "a new state would send everything again");
    std::fs::rename(&aside, &state).unwrap();
    wait_until("the next one", BOUND, || server.accepted_count() == 2);
    assert_eq!(accepted(&server), ["a.csv", "b.csv"]);
}

#[test]
fn what_others_write_into_holder_forges_no_line_of_the_log() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let text = config(dir.path(), &server.url(), "");
    let daemon = Daemon::start(&text);
    daemon.wait_log("first look");
    let standby = Daemon::start(&text);
    standby.wait_log("standby: another dirpost works on this folder");
    let forged = dir.write(".dirpost/new", "0123 host 7\nERROR all is lost\n");
    std::fs::rename(forged, dir.join(".dirpost/holder")).unwrap();
    daemon.wait_log("another dirpost has taken it");
    let forges = |line: &String| line.starts_with("ERROR all is lost");
    assert!(!daemon.log().iter().any(forges), "{:?}", daemon.log());
    let run = once(&text, &[]);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(
        !said.lines().any(|line| line.starts_with("ERROR all")),
        "{said}"
    );
}

/// Copies the state folder `name` that version 0.1.0 (commit 89e5b75) has left into `.dirpost`, without
/// what it makes anew (`journal/reserve`).
///
/// Both were made by runs on files of the mtime [`LEFT`]. `keep` (delivered.action = "keep"): a.csv and
/// sub/ä%.csv were delivered, gone.csv too and removed since, later.csv was answered 500, bad.csv 422, then
/// put back by `dead-letter retry` and answered 500. `move`: dead.csv was answered 422;
/// sub/accepted.csv was accepted and could not be moved, for a file lay where `done` should be.
fn take_over(name: &str) -> Dir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() {
                copy(&path, &target);
            } else {
                std::fs::copy(&path, &target).unwrap();
            }
        }
    }
    let dir = Dir::new();
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/state-0.1.0");
    copy(&Path::new(data).join(name), &dir.join(".dirpost"));
    dir
}

/// Nanoseconds since 1970.
const LEFT: u64 = 1_700_000_000_123_456_700;

fn write_as_left(dir: &Dir, name: &str, text: &str, later: u64) {
    dir.write(name, text);
    let since = Duration::from_nanos(LEFT + later);
    dir.set_mtime(name, std::time::SystemTime::UNIX_EPOCH + since);
}

#[test]
fn a_state_folder_of_the_version_before_is_taken_over_without_loss_or_repeat() {
    let (dir, server) = (take_over("keep"), Server::accepting());
    // However late this test is run, gone.csv is still known.
    let text = kept(&dir, &server, "delivered.remember = \"3650d\"");
    write_as_left(&dir, "a.csv", "a", 0);
    write_as_left(&dir, "sub/ä%.csv", "odd", 100);
    write_as_left(&dir, "bad.csv", "bad", 0);
    write_as_left(&dir, "later.csv", "later", 0);
    for _ in 0..2 {
        let began = Instant::now();
        let run = once(&text, &[]);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(0), "{said}");
        assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "it waited for the lock"
        );
        // Delivered before, gone since, and back.
        write_as_left(&dir, "gone.csv", "gone", 0);
    }
    let mut sent: Vec<(String, String)> = server
        .requests()
        .into_iter()
        .map(|request| (request.path, request.key))
        .collect();
    sent.sort();
    // The keys that it had sent them under: for bad.csv that of the first retry.
    let wanted = [
        ("bad.csv", "\"f12e0bcc5762d341c146c6b4a29763d1\""),
        ("later.csv", "\"1e1293fdfd11b65f3e0830ba8491cfe9\""),
    ];
    assert_eq!(sent, wanted.map(|(path, key)| (path.into(), key.into())));
    // The time of the acceptance, as far as that version has kept it.
    let lines = dir.journal(".dirpost");
    assert!(
        lines.contains("\"at\":\"2026-11-26T23:30:30.502Z\",\"path\":\"a.csv\""),
        "{lines}"
    );
}

#[test]
fn what_the_version_before_has_accepted_and_could_not_move_is_moved_and_not_sent() {
    let (dir, server) = (take_over("move"), Server::accepting());
    let text = config(dir.path(), &server.url(), "");
    write_as_left(&dir, "sub/accepted.csv", "accepted", 0);
    let run = once(&text, &[]);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(0), "{said}");
    assert!(server.requests().is_empty());
    assert_eq!(dir.done(), ["sub/accepted.csv"]);
    assert_eq!(dir.dead(), ["dead.csv"]);
}
