//! What is known over runs: looks, failures, what stayed in place.

use crate::util::{BOUND, Daemon, Dir, Reaction, Server, config, once, wait_until};

#[test]
fn without_waiting_an_endpoint_that_is_down_gets_one_probe_a_step_over_all_runs() {
    let dir = Dir::new();
    let server = Server::start(|_| Reaction::Answer(503));
    for number in 0..20 {
        dir.write(format!("f{number}"), "x");
    }
    let extra = "ready.settle = \"10ms\"\nretry.first = \"1h\"\nretry.max = \"2h\"\nsend.workers = 1";
    let text = config(dir.path(), &server.url(), extra);
    wait_until("the first attempt", BOUND, || {
        once(&text, &["--no-wait"]);
        !server.requests().is_empty()
    });
    for _ in 0..5 {
        let run = once(&text, &["--no-wait"]);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(3), "{said}");
        assert!(said.contains("as an earlier run found") && said.contains("20 files to be tried again"), "{said}");
    }
    // The jitter may draw a step of no time at all, but hardly five.
    assert!(server.requests().len() <= 3, "{} requests", server.requests().len());
}

#[test]
fn the_attempts_of_a_file_are_counted_over_restarts() {
    let dir = Dir::new();
    let server = Server::start(|head| if head.attempt <= 3 { Reaction::Answer(500) } else { Reaction::Answer(422) });
    dir.write("a.csv", "a");
    let text = config(dir.path(), &server.url(), "retry.first = \"20ms\"\nretry.max = \"20ms\"");
    for attempts in 1..=3 {
        let mut daemon = Daemon::start(&text);
        wait_until("an attempt", BOUND, || server.requests().len() >= attempts);
        #[cfg(unix)]
        daemon.signal(rustix::process::Signal::TERM);
        #[cfg(not(unix))]
        daemon.kill();
        daemon.wait_exit(BOUND);
    }
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    let reason = dir.reason("a.csv");
    assert_eq!(reason["attempts"], server.requests().len());
}

#[test]
fn a_kept_file_that_is_missing_is_known_for_as_long_as_remember_says_over_restarts() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let away = Dir::new();
    let text = |remember: &str| {
        config(dir.path(), &server.url(), &format!("delivered.action = \"keep\"\ndelivered.remember = \"{remember}\""))
    };
    let move_out = |name: &str| std::fs::rename(dir.join(name), away.join(name.replace('/', "-"))).unwrap();
    let bring_back = |name: &str| {
        dir.mkdir("sub");
        std::fs::rename(away.join(name.replace('/', "-")), dir.join(name)).unwrap();
    };
    for name in ["a.csv", "sub/b.csv"] {
        dir.write(name, name);
    }
    assert_eq!(once(&text("30d"), &[]).status.code(), Some(0));
    ["a.csv", "sub/b.csv"].iter().copied().for_each(move_out);
    std::fs::remove_dir(dir.join("sub")).unwrap();
    for _ in 0..3 {
        assert_eq!(once(&text("30d"), &[]).status.code(), Some(0));
    }
    let journal = || {
        let name = dir.list(".dirpost/journal").pop().expect("a journal");
        dir.text(format!(".dirpost/journal/{name}"))
    };
    assert_eq!(journal().matches("\"missing\"").count(), 2, "{}", journal());
    ["a.csv", "sub/b.csv"].iter().copied().for_each(bring_back);
    assert_eq!(once(&text("30d"), &[]).status.code(), Some(0));
    assert_eq!(server.accepted_count(), 2, "what came back was sent again");
    // Once its time is over nothing is left of it, and the journal does not grow for ever.
    ["a.csv", "sub/b.csv"].iter().copied().for_each(move_out);
    assert_eq!(once(&text("30d"), &[]).status.code(), Some(0));
    wait_until("both to be forgotten", BOUND, || {
        assert_eq!(once(&text("1ms"), &[]).status.code(), Some(0));
        assert_eq!(once(&text("30d"), &[]).status.code(), Some(0));
        journal().is_empty()
    });
    ["a.csv", "sub/b.csv"].iter().copied().for_each(bring_back);
    assert_eq!(once(&text("30d"), &[]).status.code(), Some(0));
    assert_eq!(server.accepted_count(), 4, "a new drop");
}
