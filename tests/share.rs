//! Whose share it is, and who may work on it: marks, locks, read-only shares.
#![cfg(target_os = "linux")]

use std::fs::{File, OpenOptions};

use crate::util::mount::Mount;
use crate::util::{BOUND, Daemon, Dir, Reaction, Server, config, dirpost, once, wait_until};

/// `keep`, with the state elsewhere.
fn keep(dir: &Dir, server: &Server) -> String {
    let state = dir.join("state");
    let extra = format!(
        "delivered.action = \"keep\"\nstate.dir = '{}'",
        state.display()
    );
    config(&dir.join("in"), &server.url(), &extra)
}

#[test]
fn a_read_only_share_is_delivered_once_each_version_and_nothing_is_written_to_it() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    let Some(mount) = Mount::tmpfs(&watched, "1m") else {
        return;
    };
    for name in ["a.csv", "sub/b.csv"] {
        dir.write(format!("in/{name}"), name);
    }
    mount.remount("ro");
    let text = keep(&dir, &server);
    for _ in 0..3 {
        let run = once(&text, &[]);
        assert_eq!(
            run.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
    }
    assert_eq!(server.accepted_count(), 2);
    mount.remount("rw");
    dir.write("in/a.csv", "a new version");
    mount.remount("ro");
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    assert_eq!(
        server.accepted_bodies("a.csv"),
        [b"a.csv".to_vec(), b"a new version".to_vec()]
    );
    assert_eq!(dir.list("in"), ["a.csv", "sub/b.csv"]);
    // Without its mount it is not the share, and what is there is not sent.
    drop(mount);
    dir.write("in/under.csv", "below the mount point");
    let run = once(&text, &[]);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(3), "{said}");
    assert!(
        said.contains("nothing is mounted on it") && said.contains("--adopt"),
        "{said}"
    );
    assert_eq!(dir.list("in"), ["under.csv"]);
}

#[test]
fn a_read_only_share_that_is_unmounted_and_mounted_again_repeats_nothing() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let (watched, share) = (dir.mkdir("in"), dir.mkdir("share"));
    let Some(_share) = Mount::tmpfs(&share, "1m") else {
        return;
    };
    dir.write("share/a.csv", "a");
    let bind = || {
        let bound = Mount::bind(&share, &watched).expect("what was mounted once can be bound");
        bound.remount("bind,ro");
        bound
    };
    let bound = bind();
    let daemon = Daemon::start(&keep(&dir, &server));
    wait_until("the first one", BOUND, || server.accepted_count() == 1);
    drop(bound);
    daemon.wait_log("nothing is mounted on it any more");
    dir.write("in/under.csv", "below the mount point");
    dir.write("share/b.csv", "b");
    let _bound = bind();
    daemon.wait_log("folder: back after");
    wait_until("the second one", BOUND, || server.accepted_count() == 2);
    let paths: Vec<String> = server
        .requests()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(paths, ["a.csv", "b.csv"]);
}

#[test]
fn on_a_read_only_share_dead_letter_gets_a_copy_once_and_a_retry_sends_it_from_its_place() {
    let dir = Dir::new();
    let server = Server::start(|head| Reaction::Answer(if head.attempt == 1 { 422 } else { 200 }));
    let watched = dir.mkdir("in");
    let Some(mount) = Mount::tmpfs(&watched, "1m") else {
        return;
    };
    dir.write("in/sub/bad.csv", "bad");
    mount.remount("ro");
    let text = keep(&dir, &server);
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    for _ in 0..2 {
        assert_eq!(once(&text, &[]).status.code(), Some(0));
    }
    assert_eq!(server.requests().len(), 1);
    assert_eq!(
        dir.list("state/dead-letter"),
        ["sub/bad.csv", "sub/bad.csv.reason.json"]
    );
    assert_eq!(dir.text("state/dead-letter/sub/bad.csv"), "bad");
    let file = dir.write("dirpost.toml", &text);
    let retried = dirpost(&[
        "dead-letter",
        "retry",
        "--config",
        file.to_str().unwrap(),
        "sub/bad.csv",
    ]);
    assert_eq!(
        retried.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&retried.stderr)
    );
    for _ in 0..3 {
        assert_eq!(once(&text, &[]).status.code(), Some(0));
    }
    let keys: Vec<String> = server
        .requests()
        .into_iter()
        .map(|request| request.key)
        .collect();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
    assert!(dir.list("state/dead-letter").is_empty() && dir.exists("in/sub/bad.csv"));
}

#[test]
fn a_read_only_share_without_keep_is_refused_with_what_to_do() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    let Some(mount) = Mount::tmpfs(&watched, "1m") else {
        return;
    };
    mount.remount("ro");
    let run = once(&config(&watched, &server.url(), ""), &[]);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(
        said.contains("delivered.action = \"keep\" and a state.dir elsewhere"),
        "{said}"
    );
}

#[test]
fn with_its_state_elsewhere_a_start_before_the_mount_waits_for_the_share() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let (watched, share) = (dir.mkdir("in"), dir.mkdir("share"));
    let Some(_share) = Mount::tmpfs(&share, "1m") else {
        return;
    };
    let extra = format!("state.dir = '{}'", dir.join("state").display());
    let text = config(&watched, &server.url(), &extra);
    let bind = || Mount::bind(&share, &watched).expect("what was mounted once can be bound");
    dir.write("share/a.csv", "a");
    let bound = bind();
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    drop(bound);
    let daemon = Daemon::start(&text);
    daemon.wait_log("it has no mark");
    assert!(
        dir.list("in").is_empty(),
        "something was made below the mount point"
    );
    dir.write("share/b.csv", "b");
    let _bound = bind();
    wait_until("the next file", BOUND, || dir.exists("state/done/b.csv"));
    assert_eq!(server.accepted_count(), 2);
}

/// The lock as another client takes it after the server has forgotten the first one's: a lock
/// file that is not the one that was locked.
fn take_over(dir: &Dir) -> File {
    let lock = dir.write(".dirpost/new", "0123 elsewhere 7\n");
    let file = OpenOptions::new().write(true).open(&lock).unwrap();
    file.lock().unwrap();
    std::fs::rename(&lock, dir.join(".dirpost/lock")).unwrap();
    let holder = dir.write(".dirpost/new", "0123 elsewhere 7\n");
    std::fs::rename(holder, dir.join(".dirpost/holder")).unwrap();
    file
}

#[test]
fn one_that_finds_anothers_token_in_its_lock_becomes_the_standby() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
    daemon.wait_log("first look");
    let other = take_over(&dir);
    daemon.wait_log("another dirpost has taken it (token, host, pid: 0123 elsewhere 7)");
    daemon.wait_log("standby: another dirpost works on this folder");
    dir.write("a.csv", "a");
    assert!(server.requests().is_empty());
    drop(other);
    daemon.wait_log("the lock is free");
    wait_until("it to be delivered", BOUND, || dir.done() == ["a.csv"]);
    assert_eq!(server.accepted_count(), 1);
}

#[test]
fn an_upload_under_way_is_broken_off_before_its_end_when_the_lock_is_anothers() {
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("a.csv", "x".repeat(400 << 10));
    let daemon = Daemon::start(&config(
        dir.path(),
        &server.url(),
        "send.max_rate = \"100 KiB\"",
    ));
    wait_until("the upload to begin", BOUND, || server.connections() > 0);
    let other = take_over(&dir);
    daemon.wait_log("another dirpost has taken it");
    daemon.wait_log("standby: another dirpost works on this folder");
    assert_eq!(
        server.whole_bodies(),
        0,
        "the other one may be sending it as well"
    );
    drop(other);
    wait_until("it to be delivered", BOUND, || dir.done() == ["a.csv"]);
    assert_eq!((server.accepted_count(), server.whole_bodies()), (1, 1));
}

#[test]
fn what_cannot_be_opened_anew_is_waited_for_and_does_not_end_it() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let mut daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
    daemon.wait_log("first look");
    std::fs::rename(dir.join(".dirpost"), dir.join(".away")).unwrap();
    daemon.wait_log("it has lost its mark");
    // Back, but not as it should be: as a share that answers with errors until it is whole again.
    std::fs::rename(dir.join(".away/journal"), dir.join(".away/aside")).unwrap();
    dir.write(".away/journal", "");
    std::fs::rename(dir.join(".away"), dir.join(".dirpost")).unwrap();
    daemon.wait_log("it is not a real folder");
    std::thread::sleep(std::time::Duration::from_millis(300));
    std::fs::remove_file(dir.join(".dirpost/journal")).unwrap();
    std::fs::rename(dir.join(".dirpost/aside"), dir.join(".dirpost/journal")).unwrap();
    dir.write("a.csv", "a");
    wait_until("it to be delivered", BOUND, || dir.done() == ["a.csv"]);
    daemon.kill();
}
