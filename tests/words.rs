//! What the log says to whoever is called at night.

use crate::util::{Daemon, Dir, Reaction, Server, config, once};

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
