//! A fault that somebody has mended is believed to be mended: a changed configuration, a changed
//! credential, a start by hand and SIGUSR1 let one probe go at once; runs from a crontab in which
//! nothing has changed keep to the pause that an earlier one has learned. A brake outlives all of it.
#![cfg(unix)]

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;

use crate::util::{BOUND, Daemon, Dir, Reaction, Server, config, once, wait_until};

/// A pause that is over in no test. It is drawn from 0 to its length: seconds at most once in a
/// thousand times.
const LONG: &str = "retry.first = \"24h\"\nretry.max = \"48h\"";

/// Answers with this status until the test changes it.
fn switchable(status: u16) -> (Server, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let says = Arc::clone(&status);
    let server = Server::start(move |_| Reaction::Answer(says.load(Ordering::SeqCst)));
    (server, status)
}

/// A URL at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/up", listener.local_addr().unwrap())
}

/// Ends it as an administrator does, so that it writes down what it has learned.
fn stop(mut daemon: Daemon) -> Vec<String> {
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit(BOUND), 0);
    daemon.log()
}

fn write_many(dir: &Dir, count: usize) {
    for number in 0..count {
        dir.write(format!("f{number:02}.csv"), format!("content {number}"));
    }
}

/// How a process is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Run,
    Once,
    /// `once --no-wait`, as from a crontab, until something has come of it.
    NoWait,
}

const ALL: [Start; 3] = [Start::Run, Start::Once, Start::NoWait];

impl Start {
    /// Works until this is so, and then not any more; what it has logged.
    fn until(self, text: &str, what: &str, condition: impl Fn() -> bool) -> String {
        match self {
            Start::Run => {
                let daemon = Daemon::start(text);
                // It hears a signal from then on.
                daemon.wait_log("first look");
                wait_until(what, BOUND, condition);
                stop(daemon).join("\n")
            }
            Start::Once => {
                let run = once(text, &["--deadline", "8s"]);
                assert!(
                    condition(),
                    "{what}: {}",
                    String::from_utf8_lossy(&run.stderr)
                );
                String::from_utf8_lossy(&run.stderr).into_owned()
            }
            Start::NoWait => {
                let mut said = String::new();
                wait_until(what, BOUND, || {
                    let run = once(text, &["--no-wait"]);
                    said += &String::from_utf8_lossy(&run.stderr);
                    condition()
                });
                said
            }
        }
    }
}

// ---- a configuration that was wrong -------------------------------------------------

#[test]
fn a_url_that_is_corrected_is_tried_at_once_and_the_old_one_is_named_no_more() {
    for start in ALL {
        let (dir, server, wrong) = (Dir::new(), Server::accepting(), nobody());
        write_many(&dir, 3);
        let text = config(dir.path(), &wrong, LONG);
        let daemon = Daemon::start(&text);
        daemon.wait_log("refuses connections");
        stop(daemon);
        let text = config(dir.path(), &server.url(), LONG);
        let said = start.until(&text, "all to be delivered", || dir.done().len() == 3);
        let port = wrong.rsplit(':').next().unwrap().trim_end_matches("/up");
        assert!(!said.contains(port), "{start:?}: {said}");
        assert_eq!(server.requests().len(), 3);
    }
}

#[test]
fn whatever_is_corrected_in_the_configuration_of_the_endpoint_is_tried_at_once() {
    let keys = Dir::new();
    let token = keys.write("token", "good");
    let auth = format!("send.auth = {{ bearer_file = '{}' }}", token.display());
    let changes = [
        auth.as_str(),
        "send.headers.X-Tenant = \"7\"",
        "send.method = \"PUT\"",
        "send.body = \"multipart\"",
    ];
    for change in changes {
        for start in ALL {
            let dir = Dir::new();
            // Without the change nobody gets in.
            let server = Server::start(|head| {
                let is_right = head.headers.contains_key("authorization")
                    || head.headers.contains_key("x-tenant")
                    || head.method == "PUT"
                    || head.headers["content-type"].starts_with("multipart/");
                Reaction::Answer(if is_right { 200 } else { 403 })
            });
            write_many(&dir, 2);
            let url = format!("{}/{{path}}", server.url());
            let daemon = Daemon::start(&config(dir.path(), &url, LONG));
            daemon.wait_log("answered 403");
            stop(daemon);
            let text = config(dir.path(), &url, &format!("{LONG}\n{change}"));
            start.until(&text, "all to be delivered", || dir.done().len() == 2);
        }
    }
}

#[test]
fn a_file_that_waits_by_its_own_clock_goes_at_once_when_the_configuration_is_corrected() {
    for start in ALL {
        let (dir, server) = (Dir::new(), Server::accepting());
        // One failure of one file: the gate stays open, and the file waits.
        let (wrong, _) = switchable(500);
        dir.write("a.csv", "a");
        let daemon = Daemon::start(&config(dir.path(), &wrong.url(), LONG));
        daemon.wait_log("answered 500");
        stop(daemon);
        let text = config(dir.path(), &server.url(), LONG);
        start.until(&text, "it to be delivered", || dir.done() == ["a.csv"]);
    }
}

#[test]
fn runs_in_which_nothing_of_the_endpoint_has_changed_keep_to_the_pause() {
    let (dir, (server, status)) = (Dir::new(), switchable(503));
    write_many(&dir, 5);
    let text = config(dir.path(), &server.url(), LONG);
    Start::NoWait.until(&text, "the first attempt", || !server.requests().is_empty());
    // The first other file may probe at once: one of them alone may have been the cause.
    once(&text, &["--no-wait"]);
    status.store(200, Ordering::SeqCst);
    let tried = server.requests().len();
    let other = config(
        dir.path(),
        &server.url(),
        &format!(
            "{LONG}\nwatch.interval = \"90ms\"\nlog.level = \"debug\"\nwatch.exclude = [\"x\"]"
        ),
    );
    for text in [&text, &text, &other, &text] {
        let run = once(text, &["--no-wait"]);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(3), "{said}");
        assert_eq!(server.requests().len(), tried, "{said}");
    }
}

// ---- a credential that was wrong ----------------------------------------------------

/// An endpoint that wants this value in this field.
fn wanting(field: &'static str) -> (Server, Arc<Mutex<String>>) {
    let wanted = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&wanted);
    let server = Server::start(move |head| {
        let is_right = head.headers.get(field) == Some(&*shared.lock().unwrap());
        Reaction::Answer(if is_right { 200 } else { 401 })
    });
    (server, wanted)
}

/// The file of a secret, how it is configured, and the field that shows it.
fn secrets(keys: &Dir) -> Vec<(PathBuf, String, &'static str, &'static str)> {
    let file = |name: &str| keys.write(name, "old-1\n");
    let (bearer, password, value) = (file("bearer"), file("password"), file("value"));
    let auth = |inner: String| format!("send.auth = {{ {inner} }}");
    let bearer_auth = auth(format!("bearer_file = '{}'", bearer.display()));
    let basic = auth(format!(
        "user = \"me\", password_file = '{}'",
        password.display()
    ));
    let header = auth(format!(
        "header = \"X-Api-Key\", value_file = '{}'",
        value.display()
    ));
    vec![
        (bearer, bearer_auth, "authorization", "Bearer new-2"),
        // me:new-2, in base64.
        (password, basic, "authorization", "Basic bWU6bmV3LTI="),
        (value, header, "x-api-key", "new-2"),
    ]
}

#[test]
fn a_daemon_whose_credential_is_corrected_tries_it_at_once() {
    let keys = Dir::new();
    for (file, auth, field, right) in secrets(&keys) {
        let (dir, (server, wanted)) = (Dir::new(), wanting(field));
        *wanted.lock().unwrap() = right.into();
        write_many(&dir, 3);
        let text = config(dir.path(), &server.url(), &format!("{LONG}\n{auth}"));
        let daemon = Daemon::start(&text);
        daemon.wait_log("answered 401");
        // As an administrator does it, and as long as the old one.
        let draft = keys.write("draft", "new-2\n");
        std::fs::rename(draft, &file).unwrap();
        wait_until("all to be delivered", BOUND, || dir.done().len() == 3);
        drop(daemon);
        keys.write("draft", "old-1\n");
    }
}

#[test]
fn the_next_run_tries_a_corrected_credential_at_once_and_remembers_none() {
    for start in ALL {
        let keys = Dir::new();
        for (file, auth, field, right) in secrets(&keys) {
            let (dir, (server, wanted)) = (Dir::new(), wanting(field));
            *wanted.lock().unwrap() = right.into();
            write_many(&dir, 3);
            let text = config(dir.path(), &server.url(), &format!("{LONG}\n{auth}"));
            let daemon = Daemon::start(&text);
            daemon.wait_log("answered 401");
            stop(daemon);
            let memory = dir.text(".dirpost/memory.jsonl");
            let draft = keys.write("draft", "new-2\n");
            std::fs::rename(draft, &file).unwrap();
            start.until(&text, "all to be delivered", || dir.done().len() == 3);
            // Nothing that a guess could be compared with: SHA-256 of "old-1", with and without its
            // newline, begins so in hexadecimal.
            for trace in ["old-1", "b2xkLTE", "6e99d191", "055fb83c"] {
                assert!(!memory.contains(trace), "{trace}: {memory}");
            }
        }
    }
}

// ---- a fault that was mended elsewhere ----------------------------------------------

#[test]
fn sigusr1_lets_one_probe_go_at_once() {
    let (dir, (server, status)) = (Dir::new(), switchable(503));
    write_many(&dir, 5);
    let daemon = Daemon::start(&config(dir.path(), &server.url(), LONG));
    daemon.wait_log("answered 503");
    // The first other file may probe at once: one of them alone may have been the cause.
    wait_until("a second attempt", BOUND, || server.requests().len() >= 2);
    // Others had begun side by side with the first.
    wait_until("all attempts to be over", BOUND, || {
        let over = || {
            let status = std::fs::read(dir.join(".dirpost/status.json")).ok()?;
            let status: serde_json::Value = serde_json::from_slice(&status).ok()?;
            status["attempts"]["later"].as_u64()
        };
        over() == Some(server.requests().len() as u64)
    });
    for _ in 0..3 {
        let tried = server.requests().len();
        daemon.signal(Signal::USR1);
        wait_until("a probe", BOUND, || server.requests().len() > tried);
        // One, not one for each file that waits.
        dir.write("late.csv", "late");
        let worked = daemon.cpu_time();
        wait_until("it to have worked on", BOUND, || {
            daemon.cpu_time() > worked + Duration::from_millis(30)
        });
        assert_eq!(server.requests().len(), tried + 1);
    }
    status.store(200, Ordering::SeqCst);
    daemon.signal(Signal::USR1);
    wait_until("all to be delivered", BOUND, || dir.done().len() == 6);
}

#[test]
fn a_start_by_hand_lets_one_probe_go_at_once() {
    for start in [Start::Run, Start::Once] {
        let (dir, (server, status)) = (Dir::new(), switchable(503));
        write_many(&dir, 5);
        let text = config(dir.path(), &server.url(), LONG);
        let daemon = Daemon::start(&text);
        wait_until("two attempts", BOUND, || server.requests().len() >= 2);
        stop(daemon);
        for _ in 0..2 {
            let tried = server.requests().len();
            start.until(&text, "a probe", || server.requests().len() > tried);
            assert_eq!(server.requests().len(), tried + 1, "{start:?}: one probe");
        }
        status.store(200, Ordering::SeqCst);
        start.until(&text, "all to be delivered", || dir.done().len() == 5);
    }
}

#[test]
fn a_pause_that_the_endpoint_has_asked_for_ends_with_a_start_by_hand() {
    for start in [Start::Run, Start::Once] {
        let dir = Dir::new();
        let server = Server::start(|head| {
            if head.attempt > 1 {
                return Reaction::Answer(200);
            }
            let later = vec![("Retry-After".to_string(), "3600".to_string())];
            Reaction::AnswerWith(503, later, String::new())
        });
        dir.write("a.csv", "a");
        let text = config(dir.path(), &server.url(), "");
        let daemon = Daemon::start(&text);
        daemon.wait_log("answered 503");
        stop(daemon);
        // A crontab goes on waiting.
        for _ in 0..3 {
            assert_eq!(once(&text, &["--no-wait"]).status.code(), Some(3));
        }
        assert_eq!(server.requests().len(), 1);
        start.until(&text, "it to be delivered", || dir.done() == ["a.csv"]);
    }
}

#[test]
fn a_single_file_that_has_failed_is_tried_at_once_after_a_start_by_hand() {
    for status in [500, 404, 409] {
        for start in [Start::Run, Start::Once] {
            let (dir, (server, says)) = (Dir::new(), switchable(status));
            dir.write("a.csv", "a");
            let text = config(dir.path(), &server.url(), LONG);
            let daemon = Daemon::start(&text);
            daemon.wait_log(&format!("answered {status}"));
            stop(daemon);
            says.store(200, Ordering::SeqCst);
            start.until(&text, "it to be delivered", || dir.done() == ["a.csv"]);
            assert_eq!(server.requests().len(), 2);
        }
    }
}

// ---- the brake ----------------------------------------------------------------------

const BRAKE: &str =
    "send.brake = 3\nsend.workers = 1\nretry.first = \"50ms\"\nretry.max = \"100ms\"";

/// A braked endpoint, and how many files it has condemned.
fn braked(dir: &Dir, text: &str) -> usize {
    write_many(dir, 20);
    let daemon = Daemon::start(text);
    daemon.wait_log("3 files in a row were rejected");
    wait_until("what is condemned to be filed", BOUND, || {
        dir.dead().len() >= 3
    });
    stop(daemon);
    assert!(dir.dead().len() <= 4, "{:?}", dir.dead());
    dir.dead().len()
}

#[test]
fn a_brake_outlives_a_changed_configuration_a_changed_credential_and_a_start_by_hand() {
    let keys = Dir::new();
    let token = keys.write("token", "old-1\n");
    for start in ALL {
        let (dir, (server, status)) = (Dir::new(), switchable(422));
        let auth = format!("send.auth = {{ bearer_file = '{}' }}", token.display());
        let text = config(dir.path(), &server.url(), &format!("{BRAKE}\n{auth}"));
        let condemned = braked(&dir, &text);
        // "Mended", and it still rejects everything.
        let mended = config(
            dir.path(),
            &format!("{}/other", server.url()),
            &format!("{BRAKE}\n{auth}\nsend.headers.X-Tenant = \"7\""),
        );
        for text in [&text, &mended, &mended] {
            let tried = server.requests().len();
            keys.write("token", format!("new-{tried}\n"));
            start.until(text, "a probe", || server.requests().len() > tried);
            assert_eq!(
                dir.dead().len(),
                condemned,
                "{start:?}: a probe was condemned"
            );
        }
        // SIGUSR1 and a credential that changes under the running daemon are no reason either.
        let daemon = Daemon::start(&mended);
        daemon.wait_log("first look");
        for number in 0..4 {
            let tried = server.requests().len();
            keys.write("token", format!("newer-{number}\n"));
            daemon.signal(Signal::USR1);
            wait_until("more probes", BOUND, || server.requests().len() > tried + 1);
        }
        stop(daemon);
        assert_eq!(
            dir.dead().len(),
            condemned,
            "{start:?}: the brake did not hold"
        );
        status.store(200, Ordering::SeqCst);
        start.until(&mended, "the rest to be delivered", || {
            dir.done().len() == 20 - condemned
        });
        // It is released: from now on a bad file is a bad file.
        status.store(422, Ordering::SeqCst);
        dir.write("bad.csv", "bad");
        start.until(&mended, "it to be condemned", || {
            dir.dead().len() == condemned + 1
        });
    }
}
