//! Mount points: needs root on Linux, and says so where it is not.
#![cfg(target_os = "linux")]

use crate::util::mount::Mount;
use crate::util::{BOUND, Daemon, Dir, Server, config, wait_until};

#[test]
fn a_start_before_the_mount_does_no_harm_and_the_share_is_adopted() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    let daemon = Daemon::start(&config(&watched, &server.url(), ""));
    daemon.wait_log("first look");
    let Some(_mount) = Mount::tmpfs(&watched, "1m") else {
        return;
    };
    daemon.wait_log("a file system has been mounted on the folder");
    dir.write("in/a.csv", "a");
    wait_until(
        "a file of the share to be filed on the share",
        BOUND,
        || dir.exists("in/.dirpost/done/a.csv"),
    );
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_share_that_is_unmounted_is_a_fault_and_nothing_is_made_in_its_place() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    let Some(mount) = Mount::tmpfs(&watched, "1m") else {
        return;
    };
    let daemon = Daemon::start(&config(&watched, &server.url(), "watch.interval = \"5ms\""));
    dir.write("in/a.csv", "a");
    wait_until("it to be filed", BOUND, || {
        dir.exists("in/.dirpost/done/a.csv")
    });
    drop(mount);
    daemon.wait_log("it has lost its mark");
    dir.write("in/b.csv", "this is not on the share");
    let scans = daemon.log().len();
    wait_until("some time with more looks", BOUND, || {
        daemon.cpu_time().as_millis() > 30 || daemon.log().len() > scans
    });
    assert_eq!(server.requests().len(), 1);
    assert!(!dir.exists("in/.dirpost"));
}

#[test]
fn with_require_mount_nothing_is_written_before_the_mount() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    dir.write("in/under.csv", "this lies under the mount point");
    let daemon = Daemon::start(&config(
        &watched,
        &server.url(),
        "watch.require_mount = true",
    ));
    daemon.wait_log("it is not a mount point");
    assert_eq!(dir.list("in"), ["under.csv"]);
    let Some(_mount) = Mount::tmpfs(&watched, "1m") else {
        return;
    };
    dir.write("in/a.csv", "a");
    wait_until("it to be delivered", BOUND, || server.accepted_count() == 1);
    assert_eq!(server.requests()[0].path, "a.csv");
}
