//! Mount points: needs root on Linux, and says so where it is not.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use crate::util::{BOUND, Daemon, Dir, Server, config, wait_until};

/// A file system in memory, mounted on a folder; unmounted at the end.
struct Mount<'a>(&'a Path);

impl Mount<'_> {
    fn on(path: &Path) -> Option<Mount<'_>> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(path).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Mount(path));
        }
        eprintln!("SKIPPED: mounting a tmpfs needs root");
        None
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

#[test]
fn a_start_before_the_mount_does_no_harm_and_the_share_is_adopted() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    let daemon = Daemon::start(&config(&watched, &server.url(), ""));
    daemon.wait_log("first look");
    let Some(_mount) = Mount::on(&watched) else { return };
    daemon.wait_log("the share has been mounted on the folder");
    dir.write("in/a.csv", "a");
    wait_until("a file of the share to be filed on the share", BOUND, || dir.exists("in/.dirpost/done/a.csv"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_share_that_is_unmounted_is_a_fault_and_nothing_is_made_in_its_place() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    let Some(mount) = Mount::on(&watched) else { return };
    let daemon = Daemon::start(&config(&watched, &server.url(), "watch.interval = \"5ms\""));
    dir.write("in/a.csv", "a");
    wait_until("it to be filed", BOUND, || dir.exists("in/.dirpost/done/a.csv"));
    drop(mount);
    daemon.wait_log("it has lost its mark");
    dir.write("in/b.csv", "this is not on the share");
    let scans = daemon.log().len();
    wait_until("some time with more looks", BOUND, || daemon.cpu_time().as_millis() > 30 || daemon.log().len() > scans);
    assert_eq!(server.requests().len(), 1);
    assert!(!dir.exists("in/.dirpost"));
}

#[test]
fn with_require_mount_nothing_is_written_before_the_mount() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    dir.write("in/under.csv", "this lies under the mount point");
    let daemon = Daemon::start(&config(&watched, &server.url(), "watch.require_mount = true"));
    daemon.wait_log("it is not a mount point");
    assert_eq!(dir.list("in"), ["under.csv"]);
    let Some(_mount) = Mount::on(&watched) else { return };
    dir.write("in/a.csv", "a");
    wait_until("it to be delivered", BOUND, || server.accepted_count() == 1);
    assert_eq!(server.requests()[0].path, "a.csv");
}

#[test]
fn a_full_disk_repeats_nothing_and_loses_nothing() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    let Some(_mount) = Mount::on(&watched) else { return };
    dir.write("in/a.csv", "a");
    let daemon = Daemon::start(&config(&watched, &server.url(), ""));
    wait_until("the first one to be filed", BOUND, || dir.exists("in/.dirpost/done/a.csv"));
    // All the room there is.
    let mut size = 1 << 20;
    while size > 0 {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("in/.filler"));
        if file.is_err() || std::io::Write::write_all(&mut file.unwrap(), &vec![0; size]).is_err() {
            size /= 2;
        }
    }
    // An empty file needs no room, but its line in the journal does; so does its folder in done.
    for number in 0..40 {
        let _ = std::fs::write(dir.join(format!("in/e{number}.csv")), "");
    }
    let _ = &daemon;
    std::fs::remove_file(dir.join("in/.filler")).unwrap();
    for number in 0..5 {
        dir.write(format!("in/b{number}.csv"), format!("b{number}"));
    }
    wait_until("the rest to be filed", BOUND, || {
        (0..5).all(|number| dir.exists(format!("in/.dirpost/done/b{number}.csv")))
    });
    let mut paths: Vec<String> = server.accepted().into_iter().map(|request| request.path).collect();
    let count = paths.len();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), count, "something was sent twice");
}
