//! What the log says to whoever is called at night.

use crate::util::{BOUND, Daemon, Dir, Reaction, Server, User, config, once, wait_until};

fn field(name: &str, value: &str) -> (String, String) {
    (name.into(), value.into())
}

#[test]
fn a_refusal_is_quoted_with_who_said_it_what_it_wants_and_what_to_look_at() {
    for (status, fields, wants) in [
        (
            401,
            vec![field(
                "WWW-Authenticate",
                "Digest realm=\"in\", nonce=\"n0\"",
            )],
            vec![
                "it wants Digest (realm \"in\")",
                "cannot answer Digest",
                "check send.auth",
            ],
        ),
        (403, vec![], vec!["check send.auth"]),
        (404, vec![], vec!["check the path of send.url"]),
        (405, vec![], vec!["check send.method"]),
        (
            407,
            vec![field("Proxy-Authenticate", "Basic realm=\"p\"")],
            vec!["it wants Basic (realm \"p\")", "send.proxy"],
        ),
        (409, vec![], vec![]),
        (429, vec![], vec![]),
        (503, vec![field("Location", "/elsewhere")], vec![]),
        (
            302,
            vec![field("Location", "/else?sig=1")],
            vec!["it redirects to /else?***"],
        ),
    ] {
        let dir = Dir::new();
        let said = "quota of\ntenant 7 exceeded";
        let server =
            Server::start(move |_| Reaction::AnswerWith(status, fields.clone(), said.into()));
        dir.write("a.csv", "a");
        let url = format!("{}?v=1", server.url());
        let daemon = Daemon::start(&config(dir.path(), &url, ""));
        let begin = format!(
            "{} answered {status}: \"quota of tenant 7 exceeded\"",
            server.url()
        );
        daemon.wait_log(&begin);
        let log = daemon.log();
        let line = log.iter().find(|line| line.contains(&begin)).unwrap();
        for want in wants {
            assert!(line.contains(want), "{line}: {want}");
        }
        assert_eq!(line.contains("redirect"), status == 302, "{line}");
        assert!(!line.contains("v=1") && !line.contains("nonce"), "{line}");
    }
}

#[test]
fn no_secret_that_an_endpoint_repeats_is_in_the_log_or_in_a_reason() {
    let (dir, place) = (Dir::new(), Dir::new());
    let token = place.write("token", "t0ken-of-mine\n");
    let said =
        "bad request: POST /in?sig=s3cr3t&v=1 Authorization: Bearer t0ken-of-mine X-Key: k3y0";
    let server = Server::start(move |head| {
        let status = if head.path == "bad.csv" { 422 } else { 503 };
        Reaction::AnswerWith(status, Vec::new(), said.into())
    });
    dir.write("bad.csv", "b");
    dir.write("later.csv", "l");
    let url = format!("{}?sig=s3cr3t&v=1", server.url());
    let extra = format!(
        "send.auth = {{ bearer_file = '{}' }}\nsend.headers = {{ X-Key = 'k3y0' }}\nlog.level = 'debug'",
        token.display()
    );
    let text_of = config(dir.path(), &url, &extra);
    let output = once(&text_of, &["--deadline", "2s"]);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(
        log.contains("dead letter: bad.csv") && log.contains("answered 503"),
        "{log}"
    );
    assert!(log.contains("X-Key: ***"), "{log}");
    let reason = dir.reason("bad.csv").to_string();
    for secret in ["s3cr3t", "t0ken", "k3y0"] {
        assert!(!log.contains(secret), "{log}");
        assert!(!reason.contains(secret), "{reason}");
    }
}

#[test]
fn the_proxy_on_the_way_is_named() {
    let dir = Dir::new();
    let proxy = Server::start(|_| Reaction::AnswerWith(404, Vec::new(), "no such host".into()));
    dir.write("a.csv", "a");
    let extra = format!("send.proxy = 'http://{}'", proxy.address());
    let daemon = Daemon::start(&config(dir.path(), "http://files.example/in", &extra));
    daemon.wait_log(&format!(
        "http://files.example/in answered 404 through the proxy {}: \"no such host\"",
        proxy.address()
    ));
}

/// The lines of the log with all of these words.
fn lines_with(daemon: &Daemon, words: &[&str]) -> Vec<String> {
    let mut log = daemon.log();
    log.retain(|line| words.iter().all(|word| line.contains(word)));
    log
}

#[cfg(unix)]
#[test]
fn files_that_cannot_be_read_are_one_line_with_their_number_and_one_when_it_is_over() {
    use std::os::unix::fs::PermissionsExt;
    const FILES: usize = 300;
    let Some(nobody) = User::nobody() else {
        return;
    };
    let (dir, server) = (Dir::new(), Server::accepting());
    let set_mode = |name: &str, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(dir.join(name), mode).unwrap();
    };
    set_mode("", 0o777);
    for at in 0..FILES {
        let name = format!("f{at:03}.csv");
        dir.write(&name, "x");
        set_mode(&name, 0o000);
    }
    let daemon = Daemon::start_as(nobody, &config(dir.path(), &server.url(), ""));
    daemon.wait_log(&format!("cannot read {FILES} files, for "));
    let lines = lines_with(&daemon, &["cannot read"]);
    assert!(lines.len() <= 3, "{lines:?}");
    assert!(lines[0].contains("cannot read f"), "{lines:?}");
    for at in 0..FILES {
        set_mode(&format!("f{at:03}.csv"), 0o666);
    }
    wait_until("all to be delivered", BOUND, || dir.done().len() == FILES);
    daemon.wait_log("no file is left that dirpost could not read");
    assert_eq!(lines_with(&daemon, &["could not read"]).len(), 1);
}

#[test]
fn a_folder_for_delivered_files_that_cannot_be_written_to_is_one_fault() {
    const FILES: usize = 100;
    let (dir, server) = (Dir::new(), Server::accepting());
    // A plain file where the folder should be.
    dir.write("blocked", "");
    let watched = dir.mkdir("in");
    for at in 0..FILES {
        dir.write(format!("in/f{at:03}.csv"), "x");
    }
    let extra = format!("delivered.dir = '{}'", dir.join("blocked/done").display());
    let text = config(&watched, &server.url(), &extra);
    let output = once(&text, &["--deadline", "3s"]);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{log}");
    let left = format!("left for the next run: {FILES} files delivered, to be moved away");
    assert!(log.contains(&left), "{log}");
    assert!(
        log.contains("--deadline is over before all was delivered: "),
        "{log}"
    );
    assert!(
        !log.contains("stays where it is") && !log.contains("stay where they are"),
        "{log}"
    );
    assert!(log.matches(" done: ").count() <= 2, "{log}");

    let daemon = Daemon::start(&text);
    daemon.wait_log(&format!("{FILES} files delivered before, to be moved away"));
    daemon.wait_log("first look: 0 files to deliver");
    daemon.wait_log(&format!(
        "{FILES} files are delivered, but cannot be filed away"
    ));
    std::fs::remove_file(dir.join("blocked")).unwrap();
    wait_until("all to be filed", BOUND, || {
        dir.list("blocked/done").len() == FILES
    });
    daemon.wait_log("done: nothing waits to be filed away any more");
    let lines = lines_with(&daemon, &[" done: "]);
    assert!(lines.len() <= 4, "{lines:?}");
    assert_eq!(server.requests().len(), FILES);
}

/// Runs `once` on a terminal of 60 columns; what that shows. `None` where there is no script(1).
#[cfg(target_os = "linux")]
fn on_a_terminal(config: &str, args: &str) -> Option<String> {
    let place = Dir::new();
    let file = place.write("dirpost.toml", config);
    let program = env!("CARGO_BIN_EXE_dirpost");
    let command = format!(
        "stty cols 60; {program} once --config {} {args}",
        file.display()
    );
    let run = std::process::Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(std::process::Stdio::null())
        .output();
    match run {
        Ok(run) => Some(String::from_utf8_lossy(&run.stdout).into_owned()),
        Err(err) => {
            crate::util::skip(format!("script(1) cannot be run: {err}"));
            None
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_progress_bar_moves_within_a_file() {
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("large.bin", vec![b'x'; 600 * 1024]);
    let text = config(dir.path(), &server.url(), "send.max_rate = \"200 KiB\"");
    let Some(shown) = on_a_terminal(&text, "") else {
        return;
    };
    let mut steps: Vec<&str> = shown
        .split("/600.00 KiB")
        .filter_map(|front| front.rsplit([' ', '\u{2591}', '\u{2588}']).nth(1))
        .filter(|number| number.parse::<f64>().is_ok_and(|at| at > 0.0 && at < 600.0))
        .collect();
    steps.dedup();
    assert!(steps.len() >= 3, "{steps:?} in {shown}");
    assert!(
        shown.contains("1 file delivered (600 KiB), 0 to dead-letter"),
        "{shown}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn the_progress_bar_knows_no_time_while_nothing_moves() {
    let dir = Dir::new();
    dir.write("a.bin", "x");
    let text = config(dir.path(), "http://127.0.0.1:1/", "");
    let Some(shown) = on_a_terminal(&text, "--deadline 2s") else {
        return;
    };
    assert!(shown.contains("waiting, "), "{shown}");
    assert!(
        !shown.contains("0s left") && !shown.contains("0 ms left"),
        "{shown}"
    );
    assert!(
        shown.contains("0 files delivered (0 B), 0 to dead-letter, 1 left"),
        "{shown}"
    );
}
