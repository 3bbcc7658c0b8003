//! What is known over runs: looks, failures, what stayed in place.

#[cfg(unix)]
use std::sync::Arc;
#[cfg(unix)]
use std::sync::atomic::{AtomicU16, Ordering};
#[cfg(target_os = "linux")]
use std::time::{Duration, SystemTime};

#[cfg(target_os = "linux")]
use crate::util::fuse::{Back, Share};
use crate::util::{BOUND, Daemon, Dir, Reaction, Server, config, dirpost, once, wait_until};

#[cfg(target_os = "linux")]
#[test]
fn without_waiting_a_file_goes_when_an_earlier_run_has_seen_it_unchanged_for_long_enough() {
    // Not a local file system: no ctime is believed there.
    let Some(share) = Share::mount() else { return };
    let dir = share.back();
    let server = Server::accepting();
    let text = config(&share.path(), &server.url(), "ready.settle = \"2s\"");
    let no_wait = || once(&text, &["--no-wait"]);
    dir.write("a.csv", "a");
    let began = SystemTime::now();
    let first = no_wait();
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert_eq!(first.status.code(), Some(0), "{said}");
    assert!(said.contains("1 file still settling"), "{said}");
    assert!(began.elapsed().unwrap() < Duration::from_secs(2) || server.accepted_count() == 0);
    // The clock of a run goes on while nothing runs.
    wait_until("it to go", BOUND, || {
        assert_eq!(no_wait().status.code(), Some(0));
        server.accepted_count() == 1
    });
    assert!(began.elapsed().unwrap() >= Duration::from_secs(2));
    assert!(dir.exists(".dirpost/done/a.csv"));
    // A change starts anew.
    dir.write("b.csv", "b");
    no_wait();
    dir.write("b.csv", "b, and more");
    let changed = SystemTime::now();
    wait_until("it to go", BOUND, || {
        no_wait();
        server.accepted_count() == 2
    });
    assert!(changed.elapsed().unwrap() >= Duration::from_secs(2));
    assert_eq!(server.accepted_bodies("b.csv"), [b"b, and more"]);
}

/// Edits the head of the memory, as if its writer's clocks had been others.
#[cfg(target_os = "linux")]
fn tamper(dir: &Back<'_>, change: impl Fn(&mut serde_json::Map<String, serde_json::Value>)) {
    let text = dir.text(".dirpost/memory.jsonl");
    let (head, rest) = text.split_once('\n').expect("a head");
    let mut head: serde_json::Value = serde_json::from_str(head).expect("JSON");
    change(head.as_object_mut().expect("an object"));
    dir.write(".dirpost/memory.jsonl", format!("{head}\n{rest}"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_wall_clock_that_jumps_settles_nothing_early() {
    let Some(share) = Share::mount() else { return };
    let dir = share.back();
    let server = Server::accepting();
    let text = config(&share.path(), &server.url(), "ready.settle = \"1h\"");
    let day = 86_400_000_000_000i64;
    dir.write("a.csv", "a");
    for days in [-400, 400] {
        once(&text, &["--no-wait"]);
        tamper(&dir, |head| {
            let wall = head["wall"].as_i64().unwrap();
            head["wall"] = (wall + days * day).into();
        });
        assert_eq!(once(&text, &["--no-wait"]).status.code(), Some(0));
    }
    // Written in an earlier boot, by a clock that was years behind: no more time has passed than
    // the machine is up.
    let up = std::fs::read_to_string("/proc/uptime").unwrap();
    let up: f64 = up.split(' ').next().unwrap().parse().unwrap();
    if up < 3_000.0 {
        tamper(&dir, |head| {
            head["boot"] = "another".into();
            head["wall"] = 0.into();
        });
        once(&text, &["--no-wait"]);
    }
    assert_eq!(server.requests().len(), 0);
    // The same, an hour ago by the boot clock.
    tamper(&dir, |head| {
        let up = head["up"].as_i64().unwrap();
        head["up"] = (up - 3_600_000).into();
    });
    assert_eq!(once(&text, &["--no-wait"]).status.code(), Some(0));
    assert_eq!(server.accepted_count(), 1);
}

#[test]
fn without_waiting_an_endpoint_that_is_down_gets_one_probe_a_step_over_all_runs() {
    let dir = Dir::new();
    let server = Server::start(|_| Reaction::Answer(503));
    for number in 0..20 {
        dir.write(format!("f{number}"), "x");
    }
    let extra =
        "ready.settle = \"10ms\"\nretry.first = \"1h\"\nretry.max = \"2h\"\nsend.workers = 1";
    let text = config(dir.path(), &server.url(), extra);
    wait_until("the first attempt", BOUND, || {
        once(&text, &["--no-wait"]);
        !server.requests().is_empty()
    });
    let mut told = 0;
    for _ in 0..5 {
        let run = once(&text, &["--no-wait"]);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(3), "{said}");
        assert!(said.contains("20 files to be tried again"), "{said}");
        told += usize::from(said.contains(" WARN ") || said.contains(" ERROR "));
    }
    // A minute later it would be due again: cron mails what is warned of.
    assert!(told <= 1, "what is known was said {told} times more");
    // The jitter may draw a step of no time at all, but hardly five.
    assert!(
        server.requests().len() <= 3,
        "{} requests",
        server.requests().len()
    );
}

#[cfg(unix)]
#[test]
fn the_attempts_of_a_file_are_counted_over_restarts() {
    let dir = Dir::new();
    let status = Arc::new(AtomicU16::new(500));
    let says = Arc::clone(&status);
    let server = Server::start(move |_| Reaction::Answer(says.load(Ordering::SeqCst)));
    dir.write("a.csv", "a");
    let text = config(
        dir.path(),
        &server.url(),
        "retry.first = \"20ms\"\nretry.max = \"20ms\"",
    );
    for _ in 1..=3 {
        let before = server.requests().len();
        let mut daemon = Daemon::start(&text);
        wait_until("an attempt", BOUND, || server.requests().len() > before);
        daemon.signal(rustix::process::Signal::TERM);
        assert_eq!(daemon.wait_exit(BOUND), 0);
    }
    status.store(422, Ordering::SeqCst);
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    // However many each of them has made before it heard the signal.
    let reason = dir.reason("a.csv");
    assert_eq!(reason["attempts"], server.requests().len());
}

#[test]
fn a_kept_file_that_is_missing_is_known_for_as_long_as_remember_says_over_restarts() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let away = Dir::new();
    let text = |remember: &str| {
        config(
            dir.path(),
            &server.url(),
            &format!("delivered.action = \"keep\"\ndelivered.remember = \"{remember}\""),
        )
    };
    let move_out =
        |name: &str| std::fs::rename(dir.join(name), away.join(name.replace('/', "-"))).unwrap();
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
    let journal = || dir.journal(".dirpost");
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
        journal().lines().count() == 1 && journal().contains("\"event\":\"journal\"")
    });
    ["a.csv", "sub/b.csv"].iter().copied().for_each(bring_back);
    assert_eq!(once(&text("30d"), &[]).status.code(), Some(0));
    assert_eq!(server.accepted_count(), 4, "a new drop");
}

#[test]
fn what_was_there_before_can_be_skipped_and_what_comes_after_is_sent() {
    let (dir, server, place) = (Dir::new(), Server::accepting(), Dir::new());
    for name in ["old.csv", "sub/old.csv", "sub/.hidden"] {
        dir.write(name, "old");
    }
    let run = |extra: &str| {
        let text = config(dir.path(), &server.url(), extra);
        let file = place.write("dirpost.toml", text);
        let output = dirpost(&[
            "once",
            "--skip-existing",
            "--config",
            file.to_str().expect("text"),
        ]);
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let (code, said) = run("");
    assert!(
        code == Some(2) && said.contains("delivered.action"),
        "{said}"
    );
    assert!(!dir.exists(".dirpost"), "nothing was touched");
    let keep = "delivered.action = \"keep\"";
    let (code, said) = run(keep);
    assert!(
        code == Some(0) && said.contains("2 files count as delivered"),
        "{said}"
    );
    let (code, said) = run(keep);
    assert!(
        code == Some(1) && said.contains("there is a journal in"),
        "{said}"
    );
    dir.write("new.csv", "new");
    dir.write("sub/old.csv", "a new version");
    let text = config(dir.path(), &server.url(), keep);
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    assert_eq!(once(&text, &[]).status.code(), Some(0));
    let mut sent: Vec<String> = server.requests().into_iter().map(|it| it.path).collect();
    sent.sort();
    assert_eq!(sent, ["new.csv", "sub/old.csv"]);
}
