//! `status`, `explain` and the metrics: what a person on call asks.

mod metrics;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

use crate::util::{BOUND, Daemon, Dir, Reaction, Server, config, dirpost, once, wait_until};

/// What a command prints, and its exit code.
fn run(config: &Dir, args: &[&str]) -> (String, i32) {
    let file = config.join("c.toml").display().to_string();
    let out = dirpost(&[args, &["--config", &file]].concat());
    let text = [out.stdout, out.stderr].concat();
    let code = out.status.code().expect("it was not killed");
    (String::from_utf8(text).unwrap(), code)
}

/// A folder that holds the configuration for the commands.
fn named(text: &str) -> Dir {
    let dir = Dir::new();
    dir.write("c.toml", text);
    dir
}

/// Stops it as a supervisor does.
fn stop(mut daemon: Daemon) {
    #[cfg(unix)]
    daemon.signal(rustix::process::Signal::TERM);
    #[cfg(unix)]
    assert_eq!(daemon.wait_exit(BOUND), 0);
    #[cfg(not(unix))]
    daemon.kill();
}

fn status(config: &Dir) -> Value {
    let (text, _) = run(config, &["status", "--json"]);
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

#[test]
fn status_says_what_waits_since_when_and_why_and_that_all_is_well_again() {
    let dir = Dir::new();
    let answer = Arc::new(AtomicU16::new(503));
    let server = {
        let answer = Arc::clone(&answer);
        Server::start(move |_| Reaction::Answer(answer.load(Ordering::SeqCst)))
    };
    let text = config(
        dir.path(),
        &server.url(),
        "ready.settle = \"0s\"\nretry.max = \"1s\"",
    );
    let commands = named(&text);
    let (said, code) = run(&commands, &["status"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("dirpost has not worked on"), "{said}");
    dir.write("a.csv", "a");
    let daemon = Daemon::start(&text);
    wait_until("the gate to be closed", BOUND, || {
        status(&commands)["endpoint"]["closed"]["why"]
            .as_str()
            .is_some_and(|why| why.contains("503"))
    });
    let (said, code) = run(&commands, &["status", "--max-age", "1m"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("in trouble: the endpoint has not accepted for"),
        "{said}"
    );
    assert!(said.contains("1 file waiting, nothing is lost"), "{said}");
    assert!(said.contains("a.csv for the longest"), "{said}");
    let (said, _) = run(&commands, &["explain", "a.csv"]);
    assert!(said.contains("a.csv: "), "{said}");
    assert!(said.contains("the endpoint has not accepted"), "{said}");
    answer.store(201, Ordering::SeqCst);
    wait_until("it to be delivered", BOUND, || {
        status(&commands)["delivered"]["since_start"]["files"] == 1
    });
    let (said, _) = run(&commands, &["status"]);
    assert!(said.contains("all is well: nothing waits"), "{said}");
    assert!(said.contains("1 file (1 B) in the last hour"), "{said}");
    assert!(said.contains("last a.csv"), "{said}");
    stop(daemon);
    assert_eq!(status(&commands)["life"], "ended");
    let (said, code) = run(&commands, &["status", "--max-age", "1h"]);
    assert!(said.contains("not running: pid"), "{said}");
    assert_eq!(code, 3, "{said}");
    // What was delivered is known over restarts.
    let daemon = Daemon::start(&text);
    wait_until("it to work", BOUND, || {
        status(&commands)["life"] == "working"
    });
    let (said, _) = run(&commands, &["status"]);
    assert!(said.contains("1 file (1 B) in the last hour"), "{said}");
    stop(daemon);
}

#[test]
#[cfg(unix)]
fn status_says_of_a_process_that_was_killed_that_it_does_not_run() {
    let dir = Dir::new();
    let server = Server::accepting();
    let text = config(dir.path(), &server.url(), "");
    let commands = named(&text);
    let mut daemon = Daemon::start(&text);
    wait_until("a status", BOUND, || status(&commands)["life"] == "working");
    daemon.kill();
    let (said, _) = run(&commands, &["status"]);
    assert!(said.contains("not running: pid"), "{said}");
    assert!(said.contains("was killed"), "{said}");
}

#[test]
fn explain_names_the_rule_the_marker_and_the_time_that_a_file_waits_for() {
    let dir = Dir::new();
    let server = Server::accepting();
    let more = "ready.settle = \"1h\"\nready.marker = \".done\"\nwatch.include = [\"*.csv\"]\n\
                watch.exclude = [\"old\"]\nwatch.max_depth = 2";
    let text = config(dir.path(), &server.url(), more);
    let commands = named(&text);
    for path in ["a.csv", "b.txt", ".c.csv", "old/d.csv", "x/y/e.csv"] {
        dir.write(path, "x");
    }
    dir.write("a.csv.done", "");
    let explain = |path: &str| run(&commands, &["explain", path]).0;
    assert!(
        explain("a.csv").contains("no dirpost is known to work"),
        "{}",
        explain("a.csv")
    );
    let daemon = Daemon::start(&text);
    wait_until("a status", BOUND, || status(&commands)["life"] == "working");
    for (path, wanted) in [
        ("b.txt", "no glob of watch.include matches it (\"*.csv\")"),
        (".c.csv", "hidden or temporary file"),
        (
            "old/d.csv",
            "for of its folder old: watch.exclude matches it",
        ),
        (
            "x/y/e.csv",
            "for of its folder x/y: it lies deeper than watch.max_depth",
        ),
        ("a.csv.done", "it is a marker"),
        ("a.csv", "of the 1h of ready.settle"),
        ("nothing.csv", "it is not there"),
        ("../elsewhere", "does not lie in"),
        ("/etc/passwd", "does not lie in"),
    ] {
        let said = explain(path);
        assert!(said.contains(wanted), "{path}: {said}");
    }
    // A folder is all in it, a line each.
    let all = run(&commands, &["explain", "."]).0;
    assert_eq!(all.lines().count(), 7, "{all}");
    stop(daemon);
}

#[test]
fn explain_tells_what_has_become_of_a_file() {
    let dir = Dir::new();
    let server = Server::start(|request| {
        Reaction::Answer(if request.path.contains("bad") {
            422
        } else {
            201
        })
    });
    let more = "ready.settle = \"0s\"\ndelivered.action = \"keep\"";
    let text = config(dir.path(), &server.url(), more);
    let commands = named(&text);
    dir.write("good.csv", "g");
    dir.write("bad.csv", "b");
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    let explain = |path: &str| run(&commands, &["explain", path]).0;
    let said = explain("good.csv");
    assert!(said.contains("it was accepted at 2"), "{said}");
    assert!(said.contains("with status 201"), "{said}");
    let said = explain("bad.csv");
    assert!(said.contains("it is in dead-letter: since 2"), "{said}");
    assert!(said.contains("dirpost dead-letter retry bad.csv"), "{said}");
    let (said, code) = run(&commands, &["status"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("the last run has ended"), "{said}");
    assert!(said.contains("1 in dead-letter: 1 by status 422"), "{said}");
}

#[test]
fn explain_says_what_failed_for_a_file_and_when_it_is_tried_again() {
    let dir = Dir::new();
    let server = Server::start(|request| {
        Reaction::Answer(if request.path.contains("slow") {
            500
        } else {
            201
        })
    });
    let more =
        "check.format = \"json\"\ncheck.grace = \"1h\"\nretry.first = \"1h\"\nretry.max = \"1h\"";
    let text = config(dir.path(), &server.url(), more);
    let commands = named(&text);
    dir.write("half.json", "{\"a\": ");
    dir.write("slow.json", "{}");
    let daemon = Daemon::start(&text);
    wait_until("one to fail", BOUND, || {
        status(&commands)["attempts"]["later"] == 1
    });
    dir.write("good.json", "{}");
    wait_until("one to go", BOUND, || {
        status(&commands)["attempts"]["accepted"] == 1
    });
    let explain = |path: &str| run(&commands, &["explain", path]).0;
    let said = explain("half.json");
    assert!(
        said.contains("it may be unfinished: it is not whole as JSON"),
        "{said}"
    );
    assert!(said.contains("if that is still so in 59 min"), "{said}");
    let said = explain("slow.json");
    assert!(said.contains("500"), "{said}");
    assert!(
        explain("good.json").contains("it is not there"),
        "{}",
        explain("good.json")
    );
    stop(daemon);
}

#[test]
fn a_status_that_cannot_be_written_stops_nothing() {
    let dir = Dir::new();
    let server = Server::accepting();
    // Nothing can be renamed over a folder.
    std::fs::create_dir_all(dir.path().join(".dirpost/status.json/x")).unwrap();
    let text = config(dir.path(), &server.url(), "ready.settle = \"0s\"");
    dir.write("a.csv", "a");
    let out = once(&text, &["--deadline", "30s"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(0), "{said}");
    assert_eq!(server.accepted_count(), 1);
    assert!(
        said.contains("status: status.json cannot be written"),
        "{said}"
    );
}

#[test]
fn check_counts_what_goes_waits_and_is_left_alone_and_lists_each_file() {
    let dir = Dir::new();
    let server = Server::accepting();
    let more = "ready.settle = \"0s\"\nready.marker = \".done\"\nwatch.include = [\"*.csv\"]\n\
                watch.exclude = [\"old\"]\nwatch.max_depth = 2";
    let commands = named(&config(dir.path(), &server.url(), more));
    for path in [
        "a.csv",
        "a.csv.done",
        "waits.csv",
        "b.txt",
        ".c.csv",
        "old/d.csv",
        "x/y/e.csv",
        "f.csv.done",
    ] {
        dir.write(path, "x");
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink("a.csv", dir.join("link.csv")).unwrap();
    let (said, code) = run(&commands, &["check", "--list"]);
    assert_eq!(code, 0, "{said}");
    let mut wanted = vec![
        "ok       1 file would go now",
        "ok       1 file waiting for its marker (ready.marker)",
        "ok       1 left alone: named as hidden, temporary or a system's (watch.ignore_temporary)",
        "ok       1 left alone: matched by watch.exclude",
        "ok       1 left alone: not matched by watch.include",
        "ok       1 left alone: deeper than watch.max_depth",
        "ok       1 left alone: a marker without its file",
        "  goes       a.csv",
        "  waits      waits.csv: for its marker (ready.marker)",
        "  left       old: matched by watch.exclude",
        "  left       f.csv.done: a marker without its file",
    ];
    if cfg!(unix) {
        wanted.push("ok       1 left alone: no regular file (a link, a FIFO, a socket, a device)");
    }
    for line in wanted {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    assert_eq!(
        server
            .requests()
            .iter()
            .filter(|request| request.method == "POST")
            .count(),
        0
    );
}

#[test]
fn check_does_not_say_of_a_file_that_its_check_would_hold_back_that_it_goes() {
    let dir = Dir::new();
    let server = Server::accepting();
    let more = "ready.settle = \"0s\"\ncheck.format = \"json\"\ncheck.max_size = 20";
    let commands = named(&config(dir.path(), &server.url(), more));
    for (name, content) in [
        ("good.json", "{\"a\": 1}"),
        ("half.json", "{\"a\":"),
        ("bad.json", "no json"),
        ("long.json", "{\"a\": \"0123456789abcdef\"}"),
    ] {
        dir.write(name, content);
    }
    let (said, code) = run(&commands, &["check", "--list"]);
    assert_eq!(code, 0, "{said}");
    for line in [
        "ok       1 file would go now",
        "  goes       good.json",
        "  waits      half.json: it is not whole as JSON",
        "  rejected   bad.json: it is not JSON",
        "  rejected   long.json: 25 bytes are more than check.max_size (20)",
        "warning  half.json: it waits as unfinished: it is not whole as JSON",
        "warning  bad.json: it would go to dead-letter: it is not JSON",
    ] {
        assert!(
            said.lines().any(|said| said.starts_with(line)),
            "{line}: {said}"
        );
    }
}

#[test]
fn quiet_says_nothing_where_all_is_well_else_one_line() {
    let dir = Dir::new();
    let server = Server::accepting();
    let text = config(dir.path(), &server.url(), "ready.settle = \"0s\"");
    let commands = named(&text);
    dir.write("a.csv", "a");
    let daemon = Daemon::start(&text);
    daemon.wait_log("delivered a.csv");
    wait_until("a status that all is well", BOUND, || {
        run(&commands, &["status", "-q", "--max-age", "1m"]) == (String::new(), 0)
    });
    assert_eq!(run(&commands, &["-q", "status"]), (String::new(), 0));
    stop(daemon);
    let (said, code) = run(&commands, &["status", "-q"]);
    assert!(said.starts_with("not running: "), "{said}");
    assert_eq!((said.lines().count(), code), (1, 0), "{said}");
    let (said, code) = run(&commands, &["explain", "-q", "a.csv"]);
    assert!(said.starts_with("a.csv: it is not there: "), "{said}");
    assert_eq!((said.lines().count(), code), (1, 0), "{said}");
}

#[test]
fn check_says_that_globs_match_nothing() {
    let dir = Dir::new();
    let server = Server::accepting();
    let commands = named(&config(
        dir.path(),
        &server.url(),
        "watch.include = [\"csv\"]",
    ));
    dir.write("a.csv", "x");
    let (said, _) = run(&commands, &["check"]);
    assert!(
        said.contains("warning  no file here is matched by watch.include (\"csv\")"),
        "{said}"
    );
}

#[test]
#[cfg(unix)]
fn check_finds_what_cannot_be_read_listed_or_moved_away() {
    use crate::util::User;
    use std::os::unix::fs::PermissionsExt as _;

    let Some(nobody) = User::nobody() else { return };
    let dir = Dir::new();
    let server = Server::accepting();
    let set = |name: &str, mode: u32| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(dir.join(name), mode).unwrap();
    };
    for path in ["closed/a.csv", "fixed/b.csv", "sticky/c.csv", "secret.csv"] {
        dir.write(path, "x");
    }
    set("", 0o777);
    set("closed", 0o700);
    set("fixed", 0o755);
    set("sticky", 0o1777);
    set("secret.csv", 0o600);
    let commands = named(&config(dir.path(), &server.url(), "ready.settle = \"0s\""));
    std::fs::set_permissions(commands.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = commands.join("c.toml");
    let out = nobody
        .command()
        .arg("check")
        .arg("--config")
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    for wanted in [
        "WRONG    secret.csv: it cannot be read, and is not sent: ",
        "WRONG    closed: it cannot be listed, and what is in it is not sent: ",
        "WRONG    fixed: what is delivered from it cannot be moved away, and is not sent again: ",
        "WRONG    sticky: what is delivered from it cannot be moved away, and is not sent again: ",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}
