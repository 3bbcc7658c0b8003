//! The command line: exit codes and messages.

use std::time::{Duration, Instant};

use crate::util::{
    BOUND, Daemon, Dir, Reaction, Server, User, check, config, dirpost, once, wait_until,
};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn once_delivers_what_is_there_and_ends_with_0() {
    let (dir, server) = (Dir::new(), Server::accepting());
    assert_eq!(
        once(&config(dir.path(), &server.url(), ""), &[])
            .status
            .code(),
        Some(0)
    );
    dir.write("a.csv", "a");
    let output = once(&config(dir.path(), &server.url(), ""), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("delivered a.csv (1 B, "));
    assert_eq!(dir.done(), ["a.csv"]);
}

/// `once` as cron runs it, with these variables; its exit code and all that it says.
fn cron(config: &str, args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    let place = Dir::new();
    let file = place.write("dirpost.toml", config);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dirpost"))
        .args(["once", "--config", file.to_str().unwrap()])
        .args(args)
        .env_remove("RUST_LOG")
        .envs(env.iter().copied())
        .output()
        .expect("it starts");
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.code(), said)
}

#[test]
fn away_from_a_terminal_once_says_nothing_when_nothing_is_wrong() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let config = config(dir.path(), &server.url(), "");
    let silent = (Some(0), String::new());
    assert_eq!(cron(&config, &[], &[]), silent);
    assert_eq!(cron(&config, &["--no-wait"], &[]), silent);
    dir.write("a.csv", "a");
    // It settles: nothing is wrong with that.
    assert_eq!(cron(&config, &["--no-wait"], &[]), silent);
    assert_eq!(cron(&config, &[], &[]), silent);
    assert_eq!(dir.done(), ["a.csv"]);
    // What another run is at is no fault either.
    let _daemon = {
        let daemon = Daemon::start(&config);
        daemon.wait_log("first look");
        daemon
    };
    assert_eq!(cron(&config, &[], &[]), (Some(5), String::new()));
    let (code, said) = cron(&config, &["-v"], &[]);
    assert!(
        code == Some(5) && said.contains("another dirpost works on this folder (pid "),
        "{said}"
    );
}

#[test]
fn what_is_wrong_is_said_and_all_where_it_is_asked_for() {
    let dir = Dir::new();
    let server =
        Server::start(|head| Reaction::Answer(if head.path == "bad.csv" { 422 } else { 200 }));
    let plain = config(dir.path(), &server.url(), "");
    let chatty = config(dir.path(), &server.url(), "log.level = \"info\"");
    dir.write("bad.csv", "b");
    let (code, said) = cron(&plain, &[], &[]);
    assert_eq!((code, said.lines().count()), (Some(4), 1), "{said}");
    assert!(
        said.contains("WARN  [dirpost] dead letter: bad.csv: "),
        "{said}"
    );
    for (number, (config, args, env, says)) in [
        (&plain, &["-v"][..], &[][..], true),
        (&chatty, &[], &[], true),
        (&plain, &[], &[("RUST_LOG", "info")], true),
        (&plain, &["-q"], &[("RUST_LOG", "debug")], false),
        (&chatty, &["-q"], &[], false),
    ]
    .into_iter()
    .enumerate()
    {
        dir.write(format!("{number}.csv"), "x");
        let (code, said) = cron(config, args, env);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(said.contains("delivered"), says, "{args:?} {env:?}: {said}");
        assert!(says || said.is_empty(), "{said}");
    }
    let missing = self::config(&dir.join("missing"), &server.url(), "");
    let (code, said) = cron(&missing, &[], &[]);
    assert!(code == Some(3) && said.contains("missing"), "{said}");
}

#[test]
fn once_with_a_folder_and_a_url_needs_no_configuration() {
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("a.csv", "a");
    let output = dirpost(&["once", dir.path().to_str().unwrap(), &server.url()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(server.accepted_count(), 1);
}

#[test]
fn once_ends_with_3_when_something_is_left() {
    let (dir, mut server) = (Dir::new(), Server::accepting());
    server.down();
    dir.write("a.csv", "a");
    let output = once(
        &config(dir.path(), &server.url(), ""),
        &["--deadline", "2s"],
    );
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(dir.waiting(), ["a.csv"]);
}

#[test]
fn once_ends_with_3_when_the_folder_is_missing() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let output = once(&config(&dir.join("missing"), &server.url(), ""), &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        text(&output.stderr).contains("missing"),
        "{}",
        text(&output.stderr)
    );
    assert!(!dir.exists("missing"));
}

#[test]
fn once_ends_with_4_when_a_file_went_to_dead_letter() {
    let dir = Dir::new();
    let server =
        Server::start(|head| Reaction::Answer(if head.path == "bad.csv" { 422 } else { 200 }));
    dir.write("bad.csv", "b");
    dir.write("good.csv", "g");
    let output = once(&config(dir.path(), &server.url(), ""), &[]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("dead letter: bad.csv: http://"));
}

#[test]
fn once_ends_with_5_while_another_works() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let daemon = Daemon::start(&config(dir.path(), &server.url(), ""));
    daemon.wait_log("first look");
    let output = once(&config(dir.path(), &server.url(), ""), &[]);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
}

#[test]
fn a_second_run_waits_takes_over_at_a_kill_and_repeats_only_what_was_in_flight() {
    const FILES: usize = 300;
    const WORKERS: usize = 4;
    let dir = Dir::new();
    let server = Server::start(|_| {
        std::thread::sleep(Duration::from_millis(10));
        Reaction::Answer(200)
    });
    let text = config(
        dir.path(),
        &server.url(),
        &format!("send.workers = {WORKERS}"),
    );
    let mut first = Daemon::start(&text);
    first.wait_log("first look");
    let second = Daemon::start(&text);
    second.wait_log("standby");
    for number in 0..FILES {
        dir.write(format!("f{number}.csv"), "x");
    }
    wait_until("some to be delivered", BOUND, || {
        server.accepted_count() > FILES / 3
    });
    first.kill();
    let killed = Instant::now();
    second.wait_log("the lock is free");
    println!(
        "the standby took over {:?} after the kill",
        killed.elapsed()
    );
    wait_until("all to be filed", BOUND, || dir.done().len() == FILES);
    let repeats = server.accepted_count() - FILES;
    assert!(repeats <= WORKERS, "{repeats} repeats");
}

#[test]
fn a_wrong_configuration_ends_with_2_and_names_file_line_key_and_the_right_one() {
    let dir = Dir::new();
    let file = dir.write(
        "wrong.toml",
        "watch.dir = \"/in\"\nsend.url = \"http://h/\"\nsend.wokers = 3\n",
    );
    for command in ["run", "once", "check"] {
        let output = dirpost(&[command, "--config", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        let said = text(&output.stderr);
        for part in ["wrong.toml:3", "send.wokers", "send.workers"] {
            assert!(said.contains(part), "{command}: {said}");
        }
    }
    let missing = dirpost(&["--config", dir.join("nothing.toml").to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("nothing.toml"));
}

#[test]
fn wrong_usage_ends_with_2() {
    let wrong: [&[&str]; 5] = [
        &[],
        &["--frobnicate"],
        &["frobnicate"],
        &["once", "only-a-folder"],
        &["once", "--deadline", "soon"],
    ];
    for args in wrong {
        let output = dirpost(args);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{args:?}: {}",
            text(&output.stderr)
        );
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn help_version_and_completions_go_to_stdout_and_end_with_0() {
    for args in [
        &["--help"][..],
        &["once", "--help"],
        &["--version"],
        &["completions", "bash"],
        &["completions", "zsh"],
    ] {
        let output = dirpost(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{args:?}"
        );
    }
    assert!(text(&dirpost(&["--help"]).stdout).contains("Exit codes"));
}

#[test]
fn check_says_what_is_right_and_what_is_wrong_and_sends_no_file() {
    let (dir, mut server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    dir.write("in/a.csv", "a");
    let file = dir.write("dirpost.toml", config(&watched, &server.url(), ""));
    let good = dirpost(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stdout));
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.method == "OPTIONS" && request.body.is_empty())
    );
    server.down();
    let down = dirpost(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(down.status.code(), Some(1));
    assert!(
        text(&down.stdout).contains("WRONG"),
        "{}",
        text(&down.stdout)
    );
    std::fs::remove_dir_all(&watched).unwrap();
    let gone = text(&dirpost(&["check", "--config", file.to_str().unwrap()]).stdout);
    assert!(gone.contains("2 things are wrong"), "{gone}");
    assert!(!dir.exists("in"), "check makes nothing");
}

#[test]
fn check_speaks_of_no_file_where_the_endpoint_gives_no_answer() {
    let (dir, server) = (Dir::new(), Server::start(|_| Reaction::Never));
    let watched = dir.mkdir("in");
    let text_of = config(&watched, &server.url(), "send.response_timeout = \"300ms\"");
    let file = dir.write("dirpost.toml", text_of);
    let asked = dirpost(&["check", "--config", file.to_str().unwrap()]);
    let said = text(&asked.stdout);
    assert_eq!(asked.status.code(), Some(1), "{said}");
    let wanted = "gave no answer to a question (not a file) within 300ms";
    assert!(said.contains(wanted), "{said}");
}

#[cfg(unix)]
#[test]
fn check_does_not_wait_for_a_writer_of_the_credentials() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let watched = dir.mkdir("in");
    let fifo = dir.join("token");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo").success());
    let extra = format!("send.auth = {{ bearer_file = '{}' }}", fifo.display());
    let file = dir.write("dirpost.toml", config(&watched, &server.url(), &extra));
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_dirpost"))
        .args(["check", "--config", file.to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let started = Instant::now();
    while check.try_wait().expect("a status").is_none() && started.elapsed() < BOUND {
        std::thread::sleep(Duration::from_millis(5));
    }
    // Whatever it waits for: no test leaves it behind.
    let _ = check.kill();
    let said = text(&check.wait_with_output().expect("its words").stdout);
    assert!(
        said.contains("WRONG    send.auth: ") && said.contains("a regular file"),
        "{said}"
    );
}

#[test]
fn the_configuration_of_a_service_with_credentials_can_be_used_by_hand() {
    let (dir, place) = (Dir::new(), Dir::new());
    let auth = "send.auth = { bearer_file = '${CREDENTIALS_DIRECTORY}/dirpost-x.token' }";
    let file = place.write("x.toml", config(dir.path(), "http://127.0.0.1:1/", auth));
    let mut command = User::Same.command();
    command.env_remove("CREDENTIALS_DIRECTORY");
    command.arg("check").arg("--config").arg(&file);
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(said.contains("/etc/credstore/dirpost-x.token"), "{said}");
    place.write("dirpost-x.token", "t0ken");
    command.env("CREDENTIALS_DIRECTORY", place.path());
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(!said.contains("dirpost-x.token"), "{said}");
}

#[test]
fn what_goes_well_is_not_said_where_less_is_asked_for() {
    let (dir, place, server) = (
        Dir::new(),
        Dir::new(),
        Server::start(|_| Reaction::Answer(422)),
    );
    let text = config(dir.path(), &server.url(), "");
    let file = place.write("dirpost.toml", &text);
    let file = file.to_str().unwrap();
    dir.write("a.csv", "a");
    assert_eq!(once(&text, &[]).status.code(), Some(4));
    for args in [
        &["dead-letter", "retry", "--all", "-q", "--config", file][..],
        &["check", "-q", "--config", file],
        &["-q", "check", "--config", file],
    ] {
        let output = dirpost(args);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            said.lines().all(|line| !line.starts_with("ok ")),
            "{args:?}: {said}"
        );
        assert!(!said.contains("a.csv"), "{args:?}: {said}");
    }
    assert_eq!(dir.waiting(), ["a.csv"]);
}

#[test]
fn check_names_a_file_where_a_folder_is_meant_and_empty_credentials_once() {
    let place = Dir::new();
    let file = place.write("secret", "");
    let auth = format!("send.auth = {{ bearer_file = '{}' }}", file.display());
    let wrong = check(&config(&file, "http://127.0.0.1:1/", &auth), &[]);
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].contains("is a file: name the folder"), "{wrong:?}");
    assert!(wrong[1].contains("is empty"), "{wrong:?}");
}
