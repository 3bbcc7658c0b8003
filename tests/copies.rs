//! Copies to another file system that a kill or a crash breaks off.
#![cfg(target_os = "linux")]

use crate::util::mount::Mount;
use crate::util::{BOUND, Daemon, Dir, Reaction, Server, config, once, wait_until};

fn a_kill_during_a_copy(status: u16, key: &str, beside: &[&str]) {
    let (dir, server) = (Dir::new(), Server::start(move |_| Reaction::Answer(status)));
    let (watched, target) = (dir.mkdir("in"), dir.mkdir("target"));
    // The folder is fast, so that the copy is all there is to wait for.
    let Some(_share) = Mount::tmpfs(&watched, "200m") else {
        return;
    };
    let Some(_mount) = Mount::tmpfs(&target, "400m") else {
        return;
    };
    let text = config(
        &watched,
        &server.url(),
        &format!("{key} = '{}'", target.display()),
    );
    let content = vec![7; 96 << 20];
    dir.write("in/big.bin", &content);
    let mut daemon = Daemon::start(&text);
    wait_until("the copy to have begun", BOUND, || {
        dir.list("target")
            .iter()
            .any(|name| name.starts_with(".draft-"))
    });
    daemon.kill();
    assert!(
        !dir.exists("target/big.bin"),
        "the copy was over: it shows nothing"
    );
    let _daemon = Daemon::start(&text);
    wait_until("it to be filed", BOUND, || {
        dir.list("in/.dirpost/staging").is_empty() && !dir.exists("in/big.bin")
    });
    assert_eq!(dir.list("target"), beside);
    assert!(dir.read("target/big.bin") == content);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_kill_in_the_middle_of_a_copy_to_done_leaves_no_draft() {
    a_kill_during_a_copy(200, "delivered.dir", &["big.bin"]);
}

#[test]
fn a_kill_in_the_middle_of_a_copy_to_dead_letter_leaves_no_draft_and_no_lone_reason() {
    a_kill_during_a_copy(422, "dead_letter.dir", &["big.bin", "big.bin.reason.json"]);
}

/// A file was accepted and copied to another file system; then the daemon was killed before it could
/// write down that it is filed, and, if `left_behind`, before it could remove what it had copied.
/// It is not sent again, and lies there once.
fn a_crash_after_a_copy(left_behind: bool) {
    let (dir, server) = (Dir::new(), Server::accepting());
    let (watched, done) = (dir.mkdir("in"), dir.mkdir("done"));
    let Some(_mount) = Mount::tmpfs(&done, "1m") else {
        return;
    };
    let text = config(
        &watched,
        &server.url(),
        &format!("delivered.dir = '{}'", done.display()),
    );
    dir.write("in/a.csv", "a");
    let mtime = dir
        .join("in/a.csv")
        .metadata()
        .and_then(|file| file.modified())
        .unwrap();
    assert_eq!(once(&text, &[]).status.code(), Some(0));

    let journal = format!("in/.dirpost/journal/{}", dir.list("in/.dirpost/journal")[0]);
    let lines = dir.text(&journal);
    let before: String = lines
        .lines()
        .filter(|line| !line.contains("\"filed\""))
        .map(|line| format!("{line}\n"))
        .collect();
    let (_, staged) = before
        .rsplit_once("\"to\":\"staging/")
        .expect("it went by way of the staging folder");
    let staged = format!("in/.dirpost/staging/{}", staged.split('"').next().unwrap());
    dir.write(&journal, &before);
    if left_behind {
        dir.write(&staged, "a");
        dir.set_mtime(&staged, mtime);
    }

    let output = once(&text, &["--deadline", "5s"]);
    assert_eq!(
        (server.requests().len(), dir.list("done")),
        (1, vec!["a.csv".to_string()])
    );
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!dir.exists(staged));
}

#[test]
fn a_crash_before_a_copied_file_is_written_down_as_filed_leaves_nothing_to_do() {
    a_crash_after_a_copy(false);
}

#[test]
fn a_crash_before_a_copied_file_is_removed_leaves_one_copy() {
    a_crash_after_a_copy(true);
}
