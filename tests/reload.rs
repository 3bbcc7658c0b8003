//! SIGHUP reads the configuration again.
#![cfg(unix)]

use serde_json::Value;

use crate::util::{BOUND, Daemon, Dir, Gate, Reaction, Server, config, wait_until};

/// What `status.json` says, once it says anything.
fn status(dir: &Dir) -> Value {
    let mut status = Value::Null;
    wait_until("a status", BOUND, || {
        let text = std::fs::read(dir.path().join(".dirpost/status.json"));
        status = text
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        !status.is_null()
    });
    status
}

/// What it says of the configuration file.
fn fault(dir: &Dir) -> Option<String> {
    let status = status(dir);
    let faults = status["faults"].as_array().expect("a list");
    let fault = faults.iter().find(|it| it["what"] == "configuration")?;
    Some(fault["why"].as_str().expect("a sentence").to_string())
}

/// What it has accepted.
fn names(server: &Server) -> Vec<String> {
    server.accepted().into_iter().map(|it| it.path).collect()
}

#[test]
fn a_configuration_that_is_read_again_holds_from_then_on_and_what_is_in_flight_ends_as_it_began() {
    let (dir, gate) = (Dir::new(), Gate::new());
    let held = gate.clone();
    let first = Server::start(move |_| Reaction::Hold(held.clone(), 200));
    let second = Server::accepting();
    dir.write("a.csv", "a");
    let text = |url: &str, extra: &str| config(dir.path(), url, extra);
    let daemon = Daemon::start(&text(&first.url(), "send.workers = 1"));
    wait_until("the body at the endpoint", BOUND, || {
        first.whole_bodies() == 1
    });
    // It waits for the one worker.
    dir.write("b.csv", "b");
    dir.write("b.bak", "b");
    daemon.reload(&text(
        &second.url(),
        "send.workers = 2\nwatch.exclude = ['*.bak']\nlog.level = 'debug'",
    ));
    daemon.wait_log(
        "configuration: read again; from now on as it says: watch.exclude, send.url, send.workers, \
         log.level",
    );
    wait_until("b.csv at the new endpoint", BOUND, || {
        names(&second) == ["b.csv"]
    });
    gate.open();
    wait_until("both in done", BOUND, || dir.done() == ["a.csv", "b.csv"]);
    assert_eq!(first.requests().len(), 1, "a.csv alone");
    assert_eq!(dir.waiting(), ["b.bak"]);
    daemon.wait_log("DEBUG");
    let url = second.url();
    wait_until("the new endpoint in the status", BOUND, || {
        status(&dir)["process"]["url"] == url.as_str()
    });
    // Fewer again, and a check that was not there before.
    daemon.reload(&text(
        &second.url(),
        "send.workers = 1\ncheck.format = 'json'\ncheck.grace = '0s'",
    ));
    daemon.wait_log("watch.exclude, check.format, check.grace, send.workers, log.level");
    wait_until("b.bak in dead-letter", BOUND, || dir.dead() == ["b.bak"]);
}

#[test]
fn a_configuration_that_is_wrong_is_refused_and_one_that_cannot_be_taken_over_whole_says_so() {
    let (dir, other, server) = (Dir::new(), Dir::new(), Server::accepting());
    let good = config(dir.path(), &server.url(), "");
    let daemon = Daemon::start(&good);
    daemon.wait_log("first look");
    assert_eq!(fault(&dir), None);
    let endpoint = "http://127.0.0.1:1/";
    daemon.reload(&config(dir.path(), endpoint, "send.wokers = 2"));
    daemon.wait_log("configuration: read again and refused, so that all goes on as it was read");
    daemon.wait_log("send.wokers: unknown key");
    wait_until("the fault in the status", BOUND, || {
        fault(&dir).is_some_and(|why| why.contains("dirpost.toml:8: send.wokers: unknown key"))
    });
    dir.write("a.csv", "a");
    wait_until("it at the old endpoint", BOUND, || dir.done() == ["a.csv"]);
    // A certificate that is not there is found before anything is taken over.
    let https = "https://127.0.0.1:1/";
    daemon.reload(&config(
        dir.path(),
        https,
        "send.tls.ca = '/nonexistent/ca.pem'",
    ));
    daemon.wait_log("/nonexistent/ca.pem");
    dir.write("b.csv", "b");
    wait_until("it at the old endpoint", BOUND, || {
        dir.done() == ["a.csv", "b.csv"]
    });

    daemon.reload(&config(
        other.path(),
        &server.url(),
        "send.in_order = true\nretry.max = '7s'",
    ));
    daemon.wait_log("from now on as it says: retry.max");
    daemon.wait_log(
        "what cannot change while dirpost runs stays as it was until a restart: watch.dir, \
         send.order, send.in_order",
    );
    wait_until("what waits for a restart in the status", BOUND, || {
        fault(&dir)
            .is_some_and(|why| why.starts_with("watch.dir, send.order, send.in_order differ"))
    });
    daemon.reload(&good);
    daemon.wait_log("from now on as it says: retry.max");
    wait_until("no fault in the status", BOUND, || fault(&dir).is_none());
    daemon.reload(&good);
    daemon.wait_log("configuration: read again; it says what it said before");
}

#[test]
fn a_configuration_is_taken_over_while_the_folder_is_waited_for() {
    let (place, server) = (Dir::new(), Server::accepting());
    let missing = place.path().join("in");
    let daemon = Daemon::start(&config(&missing, "http://127.0.0.1:1/", ""));
    daemon.wait_log("waiting for it");
    daemon.reload(&config(&missing, &server.url(), ""));
    daemon.wait_log("from now on as it says: send.url");
    place.mkdir("in");
    place.write("in/a.csv", "a");
    wait_until("it at the new endpoint", BOUND, || {
        names(&server) == ["a.csv"]
    });
    drop(daemon);
}
