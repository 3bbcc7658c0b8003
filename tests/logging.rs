//! The log and what the commands print: to a full disk, to a reader that has gone or stands
//! still, and with text from outside in it.
#![cfg(unix)]

use std::fs::File;
use std::io::{Read as _, pipe};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::Signal;

use crate::util::{BOUND, Daemon, Dir, Reaction, Server, config, dirpost, once, wait_until};

/// `run` with a stderr of its own, until it is dropped.
struct Run {
    child: Child,
    _place: Dir,
}

impl Run {
    fn start(config: &str, stderr: impl Into<Stdio>) -> Run {
        let place = Dir::new();
        let file = place.write("dirpost.toml", config);
        let child = Command::new(env!("CARGO_BIN_EXE_dirpost"))
            .arg("--config")
            .arg(file)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("it starts");
        Run {
            child,
            _place: place,
        }
    }

    /// Asks it to stop; its exit code, -1 for a signal that killed it.
    fn stop(&mut self) -> i32 {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).expect("a pid");
        rustix::process::kill_process(pid, Signal::TERM).expect("a signal");
        let mut status = None;
        wait_until("its end", BOUND, || {
            status = self.child.try_wait().expect("a status");
            status.is_some()
        });
        status.and_then(|status| status.code()).unwrap_or(-1)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The write end of a pipe whose reader has gone.
fn readerless() -> Stdio {
    let (_, write) = pipe().expect("a pipe");
    write.into()
}

/// A file that answers each write with ENOSPC (full(4)).
#[cfg(target_os = "linux")]
fn full() -> File {
    File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full")
}

/// Delivers three files, one after the other, and stops.
fn delivers_and_stops(stderr: impl Into<Stdio>) {
    let (dir, server) = (Dir::new(), Server::accepting());
    let mut run = Run::start(&config(dir.path(), &server.url(), ""), stderr);
    for name in ["a.csv", "b.csv", "c.csv"] {
        dir.write(name, "x");
        wait_until("it to be filed", BOUND, || {
            dir.done().contains(&name.to_string())
        });
    }
    assert_eq!(run.stop(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_on_a_full_disk_stops_nothing() {
    delivers_and_stops(full());
    let (dir, server) = (Dir::new(), Server::accepting());
    let place = Dir::new();
    let file = place.write("dirpost.toml", config(dir.path(), &server.url(), ""));
    dir.write("a.csv", "a");
    let status = Command::new(env!("CARGO_BIN_EXE_dirpost"))
        .args(["once", "--config", file.to_str().unwrap()])
        .stderr(full())
        .status()
        .expect("it starts");
    assert_eq!(status.code(), Some(0));
    assert_eq!(dir.done(), ["a.csv"]);
}

#[test]
fn a_log_whose_reader_has_gone_stops_nothing() {
    delivers_and_stops(readerless());
}

#[test]
fn a_log_whose_reader_stands_still_stops_nothing_and_goes_on_when_it_reads_again() {
    /// With lines of 250 bytes and more three times what a pipe holds (pipe(7)).
    const FILES: usize = 800;
    let (dir, server) = (Dir::new(), Server::accepting());
    let (mut read, write) = pipe().expect("a pipe");
    let name = |number: usize| format!("{}-{number}.csv", "x".repeat(200));
    for number in 0..FILES {
        dir.write(name(number), "x");
    }
    let mut run = Run::start(&config(dir.path(), &server.url(), ""), write);
    wait_until("all to be filed", BOUND, || dir.done().len() == FILES);
    // Later ones as well, and signals are heard.
    dir.write("late.csv", "x");
    wait_until("the late one", BOUND, || dir.done().len() == FILES + 1);
    let reader = std::thread::spawn(move || {
        let mut said = String::new();
        read.read_to_string(&mut said).map(|_| said)
    });
    assert_eq!(run.stop(), 0);
    let said = reader.join().unwrap().expect("the log");
    assert_eq!(said.matches("delivered ").count(), FILES + 1);
    assert!(said.contains("stopping"), "{said}");
}

#[test]
fn it_ends_when_it_is_told_to_though_nobody_reads_its_log() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let (_read, write) = pipe().expect("a pipe");
    // Nothing more goes into it.
    let mut filler = write.try_clone().expect("the other end");
    let flags = rustix::fs::fcntl_getfl(&filler).expect("its flags");
    rustix::fs::fcntl_setfl(&filler, flags | rustix::fs::OFlags::NONBLOCK).expect("set");
    while std::io::Write::write(&mut filler, &[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&filler, flags).expect("set");
    let mut run = Run::start(&config(dir.path(), &server.url(), ""), write);
    dir.write("a.csv", "a");
    wait_until("it to be filed", BOUND, || dir.done() == ["a.csv"]);
    assert_eq!(run.stop(), 0);
}

#[test]
fn what_could_not_be_written_is_counted_and_said_when_a_reader_is_back() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let place = Dir::new();
    let fifo = place.join("log");
    let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(made.success());
    let open = || {
        let mut options = File::options();
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        options.read(true).custom_flags(nonblocking);
        options.open(&fifo).expect("the reading end")
    };
    let wait_for = |log: &mut File, wanted: &[&str]| {
        let mut said = Vec::new();
        wait_until(&format!("{wanted:?}"), BOUND, || {
            let mut part = [0; 4096];
            if let Ok(count) = log.read(&mut part) {
                said.extend(&part[..count]);
            }
            let said = String::from_utf8_lossy(&said);
            wanted.iter().all(|text| said.contains(text))
        });
    };
    let mut log = open();
    let write = File::options().write(true).open(&fifo).expect("the other");
    let _run = Run::start(&config(dir.path(), &server.url(), ""), write);
    wait_for(&mut log, &["first look"]);
    drop(log);
    dir.write("unsaid.csv", "x");
    wait_until("it to be filed", BOUND, || dir.done() == ["unsaid.csv"]);
    let mut log = open();
    dir.write("said.csv", "x");
    let notice = "1 line of the log could not be written";
    wait_for(&mut log, &[notice, "delivered said.csv"]);
}

#[test]
fn what_others_write_into_the_holder_file_forges_no_line() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let text = config(dir.path(), &server.url(), "");
    let first = Daemon::start(&text);
    first.wait_log("first look");
    let second = Daemon::start(&text);
    second.wait_log("standby");
    drop(second);
    dir.write(".dirpost/holder", "x vm 1\nFORGED all is well\n");
    let second = Daemon::start(&text);
    second.wait_log("standby");
    drop(first);
    assert!(
        second.log().iter().all(|line| !line.starts_with("FORGED")),
        "{:#?}",
        second.log()
    );
}

#[test]
fn journald_is_believed_only_where_stderr_is_its_stream() {
    let (dir, place) = (Dir::new(), Dir::new());
    let text = config(&dir.join("missing"), "http://127.0.0.1:9/", "");
    let file = place.write("dirpost.toml", text);
    let said = |stream: &dyn Fn(&std::fs::Metadata) -> String| {
        let log = File::create(place.join("log")).expect("a log");
        let stream = stream(&log.metadata().expect("its inode"));
        Command::new(env!("CARGO_BIN_EXE_dirpost"))
            .args(["once", "--config", file.to_str().unwrap()])
            .env_remove("RUST_LOG")
            .env("JOURNAL_STREAM", stream)
            .stderr(log)
            .status()
            .expect("it starts");
        place.text("log")
    };
    let ours = said(&|log| format!("{}:{}", log.dev(), log.ino()));
    assert!(ours.starts_with("<3>folder: "), "{ours}");
    // As a service's child has it whose stderr goes elsewhere.
    let other = said(&|log| format!("{}:{}", log.dev(), log.ino() + 1));
    assert!(other.contains(" ERROR [dirpost] folder: "), "{other}");
}

/// Runs a command with this stdout.
fn print_to(args: &[&str], stdout: impl Into<Stdio>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dirpost"))
        .args(args)
        .env_remove("RUST_LOG")
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(Child::wait_with_output)
        .expect("it starts")
}

/// All that print, with the exit code where the reader has gone; with a dead letter.
fn commands(file: &str) -> Vec<(Vec<&str>, i32)> {
    let config = ["--config", file];
    vec![
        (vec!["--help"], 0),
        (vec!["--version"], 0),
        (vec!["once", "--help"], 0),
        (vec!["completions", "bash"], 0),
        (vec!["completions", "zsh"], 0),
        ([&["dead-letter", "list"], &config[..]].concat(), 0),
        ([&["dead-letter", "show", "--all"], &config[..]].concat(), 0),
        // The verdict, and what would have come next, is missing.
        ([&["check"], &config[..]].concat(), 1),
        (
            [&["dead-letter", "discard", "--all"], &config[..]].concat(),
            1,
        ),
    ]
}

fn with_a_dead_letter() -> (Dir, Dir, Server, String) {
    let (dir, place) = (Dir::new(), Dir::new());
    let server = Server::start(|_| Reaction::Answer(422));
    let text = config(dir.path(), &server.url(), "");
    dir.write("a.csv", "a");
    dir.write("b.csv", "b");
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    let file = place.write("dirpost.toml", text);
    let file = file.to_str().unwrap().to_string();
    (dir, place, server, file)
}

#[test]
fn a_pipe_that_closes_ends_every_command_quietly() {
    let (_dir, _place, _server, file) = with_a_dead_letter();
    for (args, code) in commands(&file) {
        let output = print_to(&args, readerless());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(code), ""), "{args:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_stdout_that_cannot_be_written_to_is_said_and_is_a_failure() {
    let (_dir, _place, _server, file) = with_a_dead_letter();
    for (args, _) in commands(&file) {
        let output = print_to(&args, full());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(
            said.starts_with("dirpost: standard output: No space left on device")
                && said.lines().count() == 1,
            "{args:?}: {said}"
        );
    }
}

#[test]
fn errors_can_be_said_to_nobody() {
    for args in [
        &["--frobnicate"][..],
        &["check", "--config", "/nowhere.toml"],
    ] {
        let status = Command::new(env!("CARGO_BIN_EXE_dirpost"))
            .args(args)
            .stderr(readerless())
            .status()
            .expect("it starts");
        assert_eq!(status.code(), Some(2), "{args:?}");
    }
    let output = dirpost(&["once", "--config", "no\u{1b}[2J\nFORGED.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains('\u{1b}'), "{said:?}");
}
