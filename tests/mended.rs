//! A fault that was mended is believed to be mended.

use crate::util::{BOUND, Daemon, Dir, Reaction, Server, config, once, wait_until};

/// With so long a backoff nothing is tried twice by itself.
const SLOW: &str = "retry.first = \"1h\"\nretry.max = \"2h\"";

/// A server that wants this token, and a configuration that sends what is in `token`.
fn guarded(dir: &Dir, secrets: &Dir) -> (Server, String) {
    let server = Server::start(|head| {
        let token = head.headers.get("authorization").map(String::as_str);
        Reaction::Answer(if token == Some("Bearer right") {
            200
        } else {
            401
        })
    });
    let file = secrets.write("token", "wrong");
    let auth = format!("send.auth = {{ bearer_file = '{}' }}", file.display());
    let text = config(dir.path(), &server.url(), &format!("{SLOW}\n{auth}"));
    (server, text)
}

/// Ends a daemon whose endpoint did not accept, so that it leaves what it has learned.
#[cfg(unix)]
fn stop(mut daemon: Daemon) {
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait_exit(BOUND), 0);
}

#[cfg(unix)]
#[test]
fn a_url_that_was_corrected_is_tried_at_once_and_the_old_host_is_not_named_again() {
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("a.csv", "a");
    // Nobody listens on the discard port.
    let wrong = Daemon::start(&config(dir.path(), "http://127.0.0.1:9/", SLOW));
    wrong.wait_log("endpoint: ");
    stop(wrong);
    assert!(dir.text(".dirpost/memory.jsonl").contains("127.0.0.1:9"));
    let right = Daemon::start(&config(dir.path(), &server.url(), SLOW));
    wait_until("the file to go", BOUND, || server.accepted_count() == 1);
    right.wait_log("delivered a.csv");
    assert!(!right.has_logged("127.0.0.1:9 "));
    assert!(!right.has_logged("earlier run"));
}

#[test]
fn a_token_that_was_replaced_is_tried_at_once() {
    let (dir, secrets) = (Dir::new(), Dir::new());
    let (server, text) = guarded(&dir, &secrets);
    dir.write("a.csv", "a");
    let daemon = Daemon::start(&text);
    daemon.wait_log("401");
    secrets.write("token", "right");
    wait_until("the file to go", BOUND, || server.accepted_count() == 1);
}

#[cfg(unix)]
#[test]
fn somebody_who_asks_is_believed_once() {
    let (dir, server) = (Dir::new(), Server::start(|_| Reaction::Answer(503)));
    dir.write("a.csv", "a");
    let text = config(dir.path(), &server.url(), SLOW);
    let daemon = Daemon::start(&text);
    wait_until("the first attempt", BOUND, || server.requests().len() == 1);
    daemon.wait_log("endpoint: ");
    daemon.signal(rustix::process::Signal::USR1);
    wait_until("the second one", BOUND, || server.requests().len() == 2);
    stop(daemon);
    // A timer does not ask; a person who starts it does.
    let run = |args: &[&str]| assert_eq!(once(&text, args).status.code(), Some(3));
    run(&["--no-wait"]);
    assert_eq!(server.requests().len(), 2);
    run(&["--deadline", "1s"]);
    assert_eq!(server.requests().len(), 3);
    let daemon = Daemon::start(&text);
    wait_until("the fourth one", BOUND, || server.requests().len() == 4);
    drop(daemon);
}
