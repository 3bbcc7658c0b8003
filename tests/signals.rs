//! Signals.
#![cfg(unix)]

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::util::{BOUND, Daemon, Dir, Gate, Reaction, Server, config, wait_until};

#[test]
fn a_stop_lets_what_is_in_flight_end_well() {
    let (dir, gate) = (Dir::new(), Gate::new());
    let held = gate.clone();
    let server = Server::start(move |_| Reaction::Hold(held.clone(), 200));
    dir.write("a.csv", "a");
    let mut daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
    wait_until("the body at the endpoint", BOUND, || {
        server.whole_bodies() == 1
    });
    dir.write("b.csv", "b");
    daemon.signal(Signal::TERM);
    daemon.wait_log("stopping: finishing 1 file first");
    gate.open();
    assert_eq!(daemon.wait_exit(BOUND), 0);
    assert_eq!(
        (dir.done(), dir.waiting()),
        (vec!["a.csv".to_string()], vec!["b.csv".to_string()])
    );
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_second_signal_leaves_at_once() {
    let (dir, gate) = (Dir::new(), Gate::new());
    let held = gate.clone();
    let server = Server::start(move |_| Reaction::Hold(held.clone(), 200));
    dir.write("a.csv", "a");
    let mut daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
    wait_until("the body at the endpoint", BOUND, || {
        server.whole_bodies() == 1
    });
    daemon.signal(Signal::INT);
    daemon.wait_log("stopping");
    let asked = Instant::now();
    daemon.signal(Signal::INT);
    assert_ne!(daemon.wait_exit(BOUND), 0);
    assert!(
        asked.elapsed() < Duration::from_secs(8),
        "it took {:?}",
        asked.elapsed()
    );
    gate.open();
    assert_eq!(dir.waiting(), ["a.csv"]);
}

#[test]
fn what_does_not_end_is_left_after_ten_seconds() {
    let (dir, server) = (Dir::new(), Server::start(|_| Reaction::Never));
    dir.write("a.csv", "a");
    let mut daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
    wait_until("the body at the endpoint", BOUND, || {
        server.whole_bodies() == 1
    });
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit(Duration::from_secs(30)), 0);
    assert!(daemon.has_logged("stopped with 1 file in flight"));
    assert_eq!(dir.waiting(), ["a.csv"]);
}

#[test]
fn sigusr1_looks_at_once() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let daemon = Daemon::start(&config(
        dir.path(),
        &server.url(),
        "watch.interval = \"1h\"",
    ));
    daemon.wait_log("first look");
    dir.write("a.csv", "a");
    daemon.signal(Signal::USR1);
    wait_until("it to be delivered", BOUND, || dir.done() == ["a.csv"]);
}

#[test]
fn a_stop_is_heard_while_the_folder_is_missing() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let mut daemon = Daemon::start(&config(&dir.join("missing"), &server.url(), ""));
    daemon.wait_log("waiting for it");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit(BOUND), 0);
}

#[test]
fn run_waits_for_a_folder_that_is_missing() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let daemon = Daemon::start(&config(&dir.join("in"), &server.url(), ""));
    daemon.wait_log("waiting for it");
    dir.write("in/a.csv", "a");
    wait_until("it to be delivered", BOUND, || server.accepted_count() == 1);
    daemon.wait_log("folder: there after");
}

#[test]
fn a_folder_that_is_swapped_for_an_empty_one_is_a_fault_and_nothing_is_forgotten() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    let text = config(&watched, &server.url(), "delivered.action = \"keep\"");
    dir.write("in/a.csv", "a");
    let daemon = Daemon::start(&text);
    wait_until("it to be delivered", BOUND, || server.accepted_count() == 1);
    std::fs::rename(&watched, dir.join("away")).unwrap();
    daemon.wait_log("folder: ");
    // As when the share is not mounted: an empty folder, then one with other files.
    dir.mkdir("in");
    daemon.wait_log("it has lost its mark");
    dir.write("in/b.csv", "b");
    std::fs::remove_dir_all(&watched).unwrap();
    std::fs::rename(dir.join("away"), &watched).unwrap();
    daemon.wait_log("folder: back after");
    dir.write("in/c.csv", "c");
    wait_until("the new file", BOUND, || server.accepted_count() == 2);
    let paths: Vec<String> = server
        .accepted()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(paths, ["a.csv", "c.csv"]);
}
