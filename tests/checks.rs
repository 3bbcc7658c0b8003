//! `[check]`, `ready.empty`, and which names are wanted.

use std::io::Write as _;

use crate::util::{BOUND, Daemon, Dir, Server, config, once, wait_until};

fn verdicts(extra: &str, files: &[(&str, &[u8])]) -> (Dir, Server) {
    let (dir, server) = (Dir::new(), Server::accepting());
    for (name, content) in files {
        dir.write(name, content);
    }
    let output = once(&config(dir.path(), &server.url(), extra), &[]);
    assert!(
        output
            .status
            .code()
            .is_some_and(|code| code == 0 || code == 4),
        "{output:?}"
    );
    (dir, server)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn what_is_not_of_the_format_goes_to_dead_letter_with_the_place_of_the_fault() {
    let packed = gzip(b"hello");
    let mut damaged = packed.clone();
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    let cases: [(&str, &[u8], &[u8]); 5] = [
        ("json", b"{\"a\": [1, 2]}", b"{\"a\": [1, 2}"),
        ("jsonl", b"{}\n[]\n", b"{}\n]\n"),
        ("xml", b"<a><b/></a>", b"<a><b></a></b>"),
        ("csv", b"a,b\n1,2\n", b"a,b\n1,2,3\n4,5\n"),
        ("gzip", &packed, &damaged),
    ];
    for (format, good, bad) in cases {
        let extra = format!("check.format = \"{format}\"\ncheck.grace = \"0s\"");
        let (dir, server) = verdicts(&extra, &[("good", good), ("bad", bad)]);
        assert_eq!(
            (dir.done(), dir.dead()),
            (vec!["good".to_string()], vec!["bad".to_string()]),
            "{format}"
        );
        assert_eq!(server.requests().len(), 1, "{format}");
        let reason = dir.reason("bad");
        assert!(
            reason["status"].is_null() && reason["reason"].as_str().unwrap().len() > 20,
            "{format}: {reason}"
        );
    }
}

#[test]
fn what_may_only_be_unfinished_is_given_its_grace() {
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("slow.json", "{\"a\": [1,");
    dir.write("never.json", "{\"a\": [1,");
    let daemon = Daemon::start(&config(
        dir.path(),
        &server.url(),
        "check.format = \"json\"\ncheck.grace = \"3s\"",
    ));
    daemon.wait_log("perhaps unfinished: slow.json");
    dir.append("slow.json", " 2]}");
    wait_until("the finished one accepted", BOUND, || {
        server.accepted_count() == 1
    });
    wait_until("the other condemned", BOUND, || {
        dir.dead() == ["never.json"]
    });
    assert_eq!(server.accepted_bodies("slow.json"), [b"{\"a\": [1, 2]}"]);
}

#[test]
fn sizes_outside_the_limits_go_to_dead_letter() {
    let extra = "check.min_size = 2\ncheck.max_size = \"1 KiB\"\ncheck.grace = \"0s\"";
    let (dir, _server) = verdicts(
        extra,
        &[("small", b"x"), ("right", b"xx"), ("large", &[b'x'; 1025])],
    );
    assert_eq!(
        (dir.done(), dir.dead()),
        (vec!["right".into()], vec!["large".into(), "small".into()])
    );
    assert!(
        dir.reason("large")["reason"]
            .as_str()
            .unwrap()
            .contains("check.max_size")
    );
}

#[cfg(unix)]
#[test]
fn a_command_accepts_rejects_with_its_words_or_asks_for_time() {
    let script = "case $(cat \"$0\") in good) exit 0;; bad) echo no such customer >&2; exit 1;; *) exit 75;; esac";
    let (dir, server) = (Dir::new(), Server::accepting());
    for name in ["good", "bad", "later"] {
        dir.write(name, name);
    }
    let extra = format!("check.command = ['sh', '-c', '{script}', '{{file}}']");
    let daemon = Daemon::start(&config(dir.path(), &server.url(), &extra));
    wait_until("the verdicts", BOUND, || {
        dir.done() == ["good"] && dir.dead() == ["bad"]
    });
    assert_eq!(dir.reason("bad")["reason"], "no such customer");
    daemon.wait_log("cannot check later");
    assert_eq!(dir.waiting(), ["later"]);
    dir.write("later", "good");
    wait_until("the last one as well", BOUND, || {
        dir.done() == ["good", "later"]
    });
}

#[cfg(unix)]
#[test]
fn a_good_file_is_not_condemned_for_a_name_that_is_no_text() {
    use std::os::unix::ffi::OsStrExt as _;
    let (dir, server) = (Dir::new(), Server::accepting());
    let names: [&[u8]; 3] = [b"latin1-\xe4.csv", b"a\nb", b"plain.csv"];
    for name in names {
        dir.write(std::ffi::OsStr::from_bytes(name), "x");
    }
    // A tool that says 1 of a file that it cannot find.
    let script = "test -f \"$${1#--in=}\" || exit 1";
    let extra = format!("check.command = ['sh', '-c', '{script}', 'sh', '--in={{file}}']");
    let output = once(&config(dir.path(), &server.url(), &extra), &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!((dir.done().len(), dir.dead()), (3, Vec::new()), "{said}");
}

#[cfg(unix)]
#[test]
fn a_command_that_hangs_is_ended_with_all_it_started() {
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("a", "a");
    let extra = "check.command = ['sh', '-c', 'sleep 600 & wait', '{file}']\ncheck.command_timeout = \"200ms\"";
    let daemon = Daemon::start(&config(dir.path(), &server.url(), extra));
    daemon.wait_log("was not done within check.command_timeout (200ms)");
    assert_eq!(dir.waiting(), ["a"]);
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_command_leaves_running_is_ended_with_it_and_costs_no_thread() {
    let runs = |argument: &str| {
        let is_it = |entry: &std::fs::DirEntry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.split(|&byte| byte == 0)
                .any(|arg| arg == argument.as_bytes())
        };
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .any(|entry| is_it(&entry))
    };
    // No other process sleeps for as long.
    let time = format!("1000.{}", std::process::id());
    let (dir, server) = (Dir::new(), Server::accepting());
    let script = format!("sleep {time} & echo so it is >&2; exit $(cat \"$0\")");
    let extra = format!("check.command = ['sh', '-c', '{script}', '{{file}}']");
    let daemon = Daemon::start(&config(dir.path(), &server.url(), &extra));
    dir.write("first", "0");
    wait_until("all threads to be there", BOUND, || dir.done() == ["first"]);
    wait_until("nothing to be left of the first", BOUND, || !runs(&time));
    let threads = daemon.threads();
    for number in 0..10 {
        dir.write(format!("good{number}"), "0");
        dir.write(format!("bad{number}"), "1");
    }
    wait_until("the verdicts", BOUND, || {
        dir.done().len() == 11 && dir.dead().len() == 10
    });
    assert_eq!(dir.reason("bad0")["reason"], "so it is");
    wait_until("nothing to be left of them", BOUND, || !runs(&time));
    wait_until("the threads that read from them to be gone", BOUND, || {
        daemon.threads() <= threads
    });
}

#[cfg(unix)]
#[test]
fn a_command_that_rejects_everything_is_the_suspect() {
    let (dir, server) = (Dir::new(), Server::accepting());
    for number in 0..20 {
        dir.write(format!("f{number:02}"), "x");
    }
    let extra = "check.command = ['sh', '-c', 'exit 1']\nsend.brake = 5";
    let daemon = Daemon::start(&config(dir.path(), &server.url(), extra));
    daemon.wait_log("5 files in a row were rejected by check.command");
    daemon.wait_log("cannot check");
    wait_until("the condemned ones to be filed", BOUND, || {
        dir.dead().len() == 5
    });
    assert_eq!(dir.waiting().len(), 15);
}

#[test]
fn empty_files_wait_are_sent_or_are_rejected() {
    for (policy, done, dead, waiting) in [("wait", 1, 0, 1), ("send", 2, 0, 0), ("reject", 1, 1, 0)]
    {
        let (dir, _server) = verdicts(
            &format!("ready.empty = \"{policy}\""),
            &[("empty", b""), ("full", b"x")],
        );
        assert_eq!(
            (dir.done().len(), dir.dead().len(), dir.waiting().len()),
            (done, dead, waiting),
            "{policy}"
        );
    }
}

#[test]
fn only_wanted_names_are_sent() {
    let files: [(&str, &[u8]); 8] = [
        ("a.csv", b"a"),
        ("b.txt", b"b"),
        ("c.csv.part", b"c"),
        (".d.csv", b"d"),
        ("old/e.csv", b"e"),
        ("in/f.csv", b"f"),
        ("in/deep/g.csv", b"g"),
        ("~$h.csv", b"h"),
    ];
    let done = |extra: &str| verdicts(extra, &files).0.done();
    assert_eq!(
        done(""),
        ["a.csv", "b.txt", "in/deep/g.csv", "in/f.csv", "old/e.csv"]
    );
    assert_eq!(
        done("watch.include = [\"*.csv\"]\nwatch.exclude = [\"old\"]"),
        ["a.csv", "in/deep/g.csv", "in/f.csv"]
    );
    assert_eq!(done("watch.max_depth = 1"), ["a.csv", "b.txt"]);
    assert_eq!(
        done("watch.max_depth = 2\nwatch.include = [\"in/*\"]"),
        ["in/f.csv"]
    );
    assert_eq!(done("watch.ignore_temporary = false").len(), 8);
}
