//! Filing away: what was accepted, and nothing else, and nothing over anything.

use std::path::Path;

use crate::util::{BOUND, Daemon, Dir, Gate, Reaction, Server, config, once, skip, wait_until};

/// What a writer does to a file whose answer is still awaited.
#[derive(Clone, Copy, Debug)]
enum Change {
    Append,
    Rewrite,
    Replace,
    Truncate,
}

fn change(dir: &Dir, how: Change) -> Vec<u8> {
    match how {
        Change::Append => dir.append("a.csv", " and more"),
        Change::Rewrite => drop(dir.write("a.csv", "another content")),
        Change::Replace => {
            let draft = dir.write(".draft", "a new file");
            std::fs::rename(draft, dir.join("a.csv")).unwrap();
        }
        Change::Truncate => std::fs::File::options()
            .write(true)
            .open(dir.join("a.csv"))
            .unwrap()
            .set_len(3)
            .unwrap(),
    }
    dir.read("a.csv")
}

fn a_change_before_the_answer(how: Change, action: &str) {
    let (dir, gate) = (Dir::new(), Gate::new());
    let held = gate.clone();
    let server = Server::start(move |head| {
        if head.attempt == 1 {
            Reaction::Hold(held.clone(), 200)
        } else {
            Reaction::Answer(200)
        }
    });
    dir.write("a.csv", "the first content");
    let _daemon = Daemon::start(&config(
        dir.path(),
        &server.url(),
        &format!("delivered.action = \"{action}\""),
    ));
    wait_until("the whole body at the endpoint", BOUND, || {
        server.whole_bodies() == 1
    });
    let new = change(&dir, how);
    gate.open();
    wait_until("the new version accepted", BOUND, || {
        server.accepted_count() == 2
    });
    let bodies = server.accepted_bodies("a.csv");
    assert_eq!(
        bodies,
        [b"the first content".to_vec(), new.clone()],
        "{how:?}"
    );
    let keys: Vec<String> = server
        .accepted()
        .into_iter()
        .map(|request| request.key)
        .collect();
    assert_ne!(keys[0], keys[1], "two versions under one key");
    wait_until("the folder to be empty", BOUND, || dir.waiting().is_empty());
    if action == "move" {
        wait_until("it to be in done", BOUND, || !dir.done().is_empty());
        assert!(
            dir.done()
                .iter()
                .any(|name| dir.read(format!(".dirpost/done/{name}")) == new),
            "{how:?}"
        );
    } else {
        wait_until("nothing to be left", BOUND, || {
            dir.list(".dirpost/staging").is_empty()
        });
        assert!(dir.done().is_empty());
    }
}

#[test]
fn what_is_appended_while_the_answer_is_awaited_is_sent_as_well() {
    a_change_before_the_answer(Change::Append, "move");
    a_change_before_the_answer(Change::Append, "delete");
}

#[test]
fn what_is_rewritten_while_the_answer_is_awaited_is_sent_as_well() {
    a_change_before_the_answer(Change::Rewrite, "move");
    a_change_before_the_answer(Change::Rewrite, "delete");
}

#[test]
fn what_is_replaced_while_the_answer_is_awaited_is_sent_as_well() {
    a_change_before_the_answer(Change::Replace, "move");
    a_change_before_the_answer(Change::Replace, "delete");
}

#[test]
fn what_is_truncated_while_the_answer_is_awaited_is_sent_as_well() {
    a_change_before_the_answer(Change::Truncate, "move");
    a_change_before_the_answer(Change::Truncate, "delete");
}

#[test]
fn nothing_in_done_is_ever_overwritten() {
    let (dir, server) = (Dir::new(), Server::accepting());
    for content in ["one", "two", "three"] {
        dir.write("sub/x.csv", content);
        assert_eq!(
            once(&config(dir.path(), &server.url(), ""), &[])
                .status
                .code(),
            Some(0)
        );
    }
    assert_eq!(dir.done(), ["sub/x.1.csv", "sub/x.2.csv", "sub/x.csv"]);
    let contents =
        ["x.csv", "x.1.csv", "x.2.csv"].map(|name| dir.text(format!(".dirpost/done/sub/{name}")));
    assert_eq!(contents, ["one", "two", "three"]);
}

#[test]
fn delete_leaves_nothing_behind() {
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("sub/x.csv", "x");
    let text = config(dir.path(), &server.url(), "delivered.action = \"delete\"");
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    assert!(
        dir.waiting().is_empty()
            && dir.done().is_empty()
            && dir.list(".dirpost/staging").is_empty()
    );
    assert_eq!(server.accepted_bodies("sub/x.csv"), [b"x"]);
}

#[test]
fn keep_sends_each_version_once_over_restarts() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let text = config(dir.path(), &server.url(), "delivered.action = \"keep\"");
    dir.write("a.csv", "one");
    dir.write("b.csv", "b");
    for _ in 0..3 {
        assert_eq!(once(&text, &[]).status.code(), Some(0));
    }
    assert_eq!(server.accepted_count(), 2);
    dir.write("a.csv", "two!");
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    assert_eq!(
        server.accepted_bodies("a.csv"),
        [b"one".to_vec(), b"two!".to_vec()]
    );
    assert_eq!(dir.waiting(), ["a.csv", "b.csv"]);
}

#[test]
fn a_rejected_file_lies_in_dead_letter_with_its_reason() {
    let dir = Dir::new();
    let server =
        Server::start(|_| Reaction::AnswerWith(422, Vec::new(), "column 3 is no date".into()));
    for _ in 0..2 {
        dir.write("sub/bad.csv", "x");
        assert_eq!(
            once(&config(dir.path(), &server.url(), ""), &[])
                .status
                .code(),
            Some(4)
        );
    }
    assert_eq!(dir.dead(), ["sub/bad.1.csv", "sub/bad.csv"]);
    let reason = dir.reason("sub/bad.1.csv");
    assert_eq!(reason["path"], "sub/bad.csv");
    assert_eq!(reason["status"], 422);
    assert_eq!(reason["body"], "column 3 is no date");
    assert_eq!(reason["attempts"], 1);
    assert_eq!(reason["size"], 1);
    assert_eq!(
        format!("\"{}\"", reason["key"].as_str().unwrap()),
        server.requests()[1].key
    );
    for field in ["reason", "first_seen", "dead_at", "mtime"] {
        assert!(
            reason[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field}"
        );
    }
}

#[test]
fn a_marker_is_waited_for_filed_right_after_its_file_and_never_sent() {
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("a.csv", "a");
    dir.write("b.csv", "b");
    dir.write("b.csv.done", "");
    let _daemon = Daemon::start(&config(
        dir.path(),
        &server.url(),
        "ready.marker = \".done\"",
    ));
    wait_until("the file with its marker to be filed", BOUND, || {
        dir.done() == ["b.csv", "b.csv.done"]
    });
    assert_eq!(dir.waiting(), ["a.csv"]);
    dir.write("a.csv.done", "");
    wait_until("the other as well", BOUND, || dir.done().len() == 4);
    assert_eq!(server.requests().len(), 2);
    assert!(dir.waiting().is_empty());
}

#[test]
fn across_file_systems_a_file_is_copied_whole_and_keeps_its_time() {
    let shm = Path::new("/dev/shm");
    let dir = Dir::new();
    if !shm.is_dir() || !other_device(shm, dir.path()) {
        skip("there is no second file system here (/dev/shm)");
        return;
    }
    let (target, server) = (Dir::within(shm), Server::accepting());
    let content = vec![7; 300_000];
    dir.write("sub/big.bin", &content);
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_500_000_000);
    dir.set_mtime("sub/big.bin", time);
    let extra = format!("delivered.dir = \"{}\"", target.join("done").display());
    assert_eq!(
        once(&config(dir.path(), &server.url(), &extra), &[])
            .status
            .code(),
        Some(0)
    );
    assert_eq!(target.read("done/sub/big.bin"), content);
    assert_eq!(
        target
            .join("done/sub/big.bin")
            .metadata()
            .unwrap()
            .modified()
            .unwrap(),
        time
    );
    assert!(dir.waiting().is_empty() && dir.list(".dirpost/staging").is_empty());
    assert_eq!(target.list("done"), ["sub/big.bin"]);
}

#[cfg(unix)]
fn other_device(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    a.metadata().unwrap().dev() != b.metadata().unwrap().dev()
}

#[cfg(not(unix))]
fn other_device(_: &Path, _: &Path) -> bool {
    false
}

#[test]
fn a_file_that_cannot_be_filed_is_not_sent_again_and_filed_when_it_can_be() {
    let (dir, server) = (Dir::new(), Server::accepting());
    // A plain file where the folder should be.
    dir.write("blocked", "");
    let target = dir.join("blocked").join("done");
    let watched = dir.mkdir("in");
    std::fs::write(watched.join("a.csv"), "a").unwrap();
    let extra = format!("delivered.dir = \"{}\"", target.display());
    let daemon = Daemon::start(&config(&watched, &server.url(), &extra));
    daemon.wait_log("done: a.csv is delivered, but cannot be filed away");
    std::fs::remove_file(dir.join("blocked")).unwrap();
    wait_until("it to be filed", BOUND, || target.join("a.csv").exists());
    daemon.wait_log("done: nothing waits to be filed away any more");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_marker_vouches_for_one_version_only() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let text = config(
        dir.path(),
        &server.url(),
        "ready.marker = \".done\"\ndelivered.action = \"keep\"",
    );
    dir.write("a.csv", "one");
    dir.write("a.csv.done", "1");
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    dir.write("a.csv", "two, not finished");
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    assert_eq!(
        server.accepted_count(),
        1,
        "the old marker counted for the new version"
    );
    dir.write("a.csv.done", "22");
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    assert_eq!(
        server.accepted_bodies("a.csv"),
        [b"one".to_vec(), b"two, not finished".to_vec()]
    );
}

#[test]
fn a_done_folder_that_somebody_removes_is_made_again_and_nothing_is_sent_twice() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let _daemon = Daemon::start(&config(
        dir.path(),
        &server.url(),
        "watch.interval = \"1s\"",
    ));
    for number in 0..5 {
        dir.write(format!("f{number}"), "x");
        wait_until("it to be filed", BOUND, || {
            dir.exists(format!(".dirpost/done/f{number}"))
        });
        std::fs::remove_dir_all(dir.join(".dirpost/done")).unwrap();
    }
    assert_eq!(server.requests().len(), 5);
}
