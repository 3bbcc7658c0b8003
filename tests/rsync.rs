//! rsync marks what it has not finished with an mtime of 0: such a file waits, unless something else
//! vouches for it. 0 are its seconds; rsync (3.5.0 was seen to do it) leaves the nanoseconds of the
//! file that it was copying.

use std::time::{Duration, SystemTime};

use crate::util::{BOUND, Daemon, Dir, Server, config, dirpost, once, wait_until};

/// What rsync leaves: of a source without fractions of a second, and of one with them.
const MARKS: [Duration; 2] = [Duration::ZERO, Duration::from_nanos(951_764_476)];

/// Writes a file as rsync leaves it when it is broken off.
fn write_unfinished(dir: &Dir, name: &str, bytes: &str, mark: Duration) {
    dir.write(name, bytes);
    dir.set_mtime(name, SystemTime::UNIX_EPOCH + mark);
}

/// Whether a line tells of this file, and of what is the matter with it.
fn tells_of(said: &str, name: &str) -> bool {
    let mut lines = said.lines().filter(|line| line.contains(name));
    lines.any(|line| line.contains("rsync") || line.contains("mtime"))
}

/// Files that come one after the other, each after the one before has been delivered: whatever was
/// there before them has had its time to settle as well.
fn time_passes(dir: &Dir, server: &Server) {
    for number in 0..3 {
        let before = server.accepted_count();
        dir.write(format!("later{number}.csv"), "later");
        wait_until("a later file", BOUND, || server.accepted_count() > before);
    }
}

fn was_sent(server: &Server, name: &str) -> bool {
    server.requests().iter().any(|request| request.path == name)
}

#[test]
fn a_file_whose_mtime_is_zero_waits_until_it_has_another() {
    for (action, mark) in [("move", MARKS[0]), ("keep", MARKS[1])] {
        let (dir, server) = (Dir::new(), Server::accepting());
        write_unfinished(&dir, "part.csv", "the first half", mark);
        let extra = format!("delivered.action = \"{action}\"");
        let text = config(dir.path(), &server.url(), &extra);
        let daemon = Daemon::start(&text);
        time_passes(&dir, &server);
        assert!(
            !was_sent(&server, "part.csv") && dir.exists("part.csv"),
            "{action}"
        );
        let said = daemon.log().join("\n");
        assert!(tells_of(&said, "part.csv"), "{said}");
        // As rsync does it at the end of the transfer.
        dir.write("part.csv", "the first half, and the second");
        wait_until("it to be sent", BOUND, || was_sent(&server, "part.csv"));
        assert_eq!(
            server.accepted_bodies("part.csv"),
            [b"the first half, and the second"],
            "{action}"
        );
    }
}

#[test]
fn a_file_whose_mtime_alone_is_set_at_last_is_sent_then() {
    let (dir, server) = (Dir::new(), Server::accepting());
    write_unfinished(&dir, "whole.csv", "all of it", MARKS[1]);
    let _daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
    time_passes(&dir, &server);
    assert!(!was_sent(&server, "whole.csv"));
    dir.set_mtime("whole.csv", SystemTime::now() - Duration::from_secs(86_400));
    wait_until("it to be sent", BOUND, || was_sent(&server, "whole.csv"));
}

#[test]
fn an_mtime_of_one_second_is_an_mtime() {
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("a.csv", "a");
    dir.set_mtime("a.csv", SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    let _daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
    wait_until("it to be filed", BOUND, || dir.done() == ["a.csv"]);
}

#[test]
fn its_own_marker_vouches_for_a_file_whose_mtime_is_zero() {
    let (dir, server) = (Dir::new(), Server::accepting());
    write_unfinished(&dir, "a.csv", "a", MARKS[0]);
    dir.write("a.csv.done", "");
    write_unfinished(&dir, "b.csv", "b", MARKS[1]);
    let extra = "ready.marker = \".done\"";
    let _daemon = Daemon::start(&config(dir.path(), &server.url(), extra));
    wait_until("it to be filed", BOUND, || {
        dir.done() == ["a.csv", "a.csv.done"]
    });
    assert!(!was_sent(&server, "b.csv"));
}

#[test]
fn a_check_of_its_end_vouches_for_a_file_whose_mtime_is_zero() {
    let (dir, server) = (Dir::new(), Server::accepting());
    write_unfinished(&dir, "whole.json", "{\"a\": 1}", MARKS[1]);
    // A check that sees no end says nothing of it: text may end anywhere.
    let text = config(dir.path(), &server.url(), "check.format = \"json\"");
    let _daemon = Daemon::start(&text);
    wait_until("it to be filed", BOUND, || dir.done() == ["whole.json"]);
    let (dir, server) = (Dir::new(), Server::accepting());
    write_unfinished(&dir, "part.txt", "the first half", MARKS[1]);
    let _daemon = Daemon::start(&config(
        dir.path(),
        &server.url(),
        "check.format = \"utf8\"",
    ));
    dir.write("whole.txt", "all of it");
    wait_until("the other one to be filed", BOUND, || {
        dir.done() == ["whole.txt"]
    });
    time_passes(&dir, &server);
    assert!(!was_sent(&server, "part.txt"));
}

#[test]
fn once_leaves_a_file_whose_mtime_is_zero_and_says_that_it_is_left() {
    let (dir, server) = (Dir::new(), Server::accepting());
    write_unfinished(&dir, "part.csv", "the first half", MARKS[0]);
    let text = config(dir.path(), &server.url(), "");
    for args in [&["--deadline", "3s"][..], &["--no-wait"]] {
        let run = once(&text, args);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(matches!(run.status.code(), Some(0 | 3)), "{said}");
        assert!(
            server.requests().is_empty() && dir.exists("part.csv"),
            "{said}"
        );
    }
    // The mtime is not lost in what one run has learned for the next.
    dir.write("part.csv", "the first half, and the second");
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    assert_eq!(dir.done(), ["part.csv"]);
}

#[test]
fn check_tells_of_a_file_that_rsync_has_not_finished() {
    for (mark, name) in [(MARKS[0], "in/part.csv"), (MARKS[1], "in/sub/part.csv")] {
        let (dir, server) = (Dir::new(), Server::accepting());
        let watched = dir.mkdir("in");
        write_unfinished(&dir, name, "the first half", mark);
        dir.write("in/whole.csv", "all of it");
        let check = |extra: &str| {
            let file = dir.write("dirpost.toml", config(&watched, &server.url(), extra));
            let check = dirpost(&["check", "--config", file.to_str().unwrap()]);
            String::from_utf8_lossy(&check.stdout).into_owned()
        };
        let said = check("");
        assert!(
            said.contains("part.csv: rsync has not finished it"),
            "{said}"
        );
        assert!(!tells_of(&said, "whole.csv"), "{said}");
        // Nothing waits for rsync where something else vouches for it, or where it is not sent at all.
        for extra in [
            "ready.marker = \".done\"",
            "check.format = \"json\"",
            "watch.exclude = [\"part.*\"]",
        ] {
            let said = check(extra);
            assert!(!tells_of(&said, "part.csv"), "{extra}: {said}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn where_every_file_shows_an_mtime_of_zero_it_means_nothing() {
    use crate::util::fuse::{Share, Traits};
    // As some FUSE file systems do that keep no times: everything is a multiple of so long.
    let Some(share) = Share::mount_as(Traits {
        times: Duration::from_secs(1 << 40),
        ..Traits::default()
    }) else {
        return;
    };
    let server = Server::accepting();
    for name in ["a.csv", "b.csv", "sub/c.csv"] {
        share.back().write(name, name);
    }
    let daemon = Daemon::start(&config(&share.path(), &server.url(), ""));
    wait_until("all to be filed", BOUND, || {
        share.back().list(".dirpost/done") == ["a.csv", "b.csv", "sub/c.csv"]
    });
    // One that comes alone, later.
    share.back().write("d.csv", "d");
    wait_until("the last one to be filed", BOUND, || {
        share.back().exists(".dirpost/done/d.csv")
    });
    assert_eq!(server.requests().len(), 4);
    let lines = daemon.log().into_iter();
    let said = lines
        .filter(|line| line.contains("rsync") || line.contains("mtime"))
        .count();
    assert!(said <= 1, "said once: {:?}", daemon.log());
}

/// What a broken `rsync -aP` leaves is not sent; what the next one finishes is.
#[cfg(unix)]
#[test]
fn what_a_broken_rsync_has_left_is_not_sent_and_what_the_next_one_finishes_is() {
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process_group};

    if Command::new("rsync").arg("--version").output().is_err() {
        crate::util::skip("rsync is not installed");
        return;
    }
    let (dir, server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    let content = vec![b'r'; 4 << 20];
    dir.write("from/a.bin", &content);
    let rsync = |limit: &str| {
        let mut command = Command::new("rsync");
        // With a limit it goes through sockets, as between two machines, and can be broken off.
        command
            .args(["-a", "-P", "--whole-file", limit])
            .arg(dir.join("from/a.bin"))
            .arg(format!("{}/", watched.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn().expect("rsync starts")
    };
    let daemon = Daemon::start(&config(&watched, &server.url(), ""));
    daemon.wait_log("first look");
    let mut broken = rsync("--bwlimit=1000");
    let is_on_its_way = || {
        dir.list("in").iter().any(|name| {
            let size = dir
                .join("in")
                .join(name)
                .metadata()
                .map_or(0, |meta| meta.len());
            name.contains("a.bin") && size > 1 << 20
        })
    };
    wait_until("a part of it to have come", BOUND, is_on_its_way);
    let group = Pid::from_raw(broken.id() as i32).expect("a pid");
    kill_process_group(group, Signal::INT).expect("a signal");
    let _ = broken.wait();
    wait_until("rsync to keep what it has", BOUND, || {
        dir.exists("in/a.bin")
    });
    let mtime = dir.join("in/a.bin").metadata().unwrap().modified().unwrap();
    if mtime >= SystemTime::UNIX_EPOCH + Duration::from_secs(1) {
        crate::util::skip(format!(
            "this rsync marks what it has not finished with {mtime:?}"
        ));
        return;
    }
    for number in 0..3 {
        let before = server.accepted_count();
        dir.write(format!("in/later{number}.csv"), "later");
        wait_until("a later file", BOUND, || server.accepted_count() > before);
    }
    assert!(!was_sent(&server, "a.bin"), "a part was sent");
    assert!(rsync("--bwlimit=0").wait().expect("rsync").success());
    wait_until("it to be sent", BOUND, || was_sent(&server, "a.bin"));
    wait_until("it to be accepted", BOUND, || server.accepted_count() == 4);
    assert!(server.accepted_bodies("a.bin") == [content]);
}
