//! What requests look like: heads, headers, templates, credentials.

use dirpost::config::{Auth, Digest, Method};
use dirpost::flow::time::Wall;
use dirpost::io::http::{Client, FileMeta, Outcome, Shared};

use crate::util::*;

fn one_head(
    change: impl FnOnce(&mut dirpost::config::Send),
    letter: &FileMeta,
    body: &str,
) -> String {
    let (url, server) = answering(vec![OK.into()]);
    let mut send = config(&url);
    change(&mut send);
    send.url = send.url.replace("http://X/", &url).into();
    let mut client = client(&send);
    assert_eq!(
        answer(client.send(letter, &mut Bytes::new(body))).status,
        200
    );
    drop(client);
    server.join().unwrap().remove(0).0
}

#[test]
fn a_request_says_what_the_contract_says() {
    let letter = FileMeta {
        path: b"in/a b.csv",
        size: 5,
        mtime: Wall(1_700_000_000_120_000_000),
        key: "k-1",
        sha256: Some([0; 32]),
    };
    let head = one_head(|_| {}, &letter, "hello");
    assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
    let expected = [
        ("content-type", "text/csv"),
        ("content-length", "5"),
        ("idempotency-key", "\"k-1\""),
        (
            "content-digest",
            "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:",
        ),
        ("x-file-path", "in/a%20b.csv"),
        ("x-file-mtime", "2023-11-14T22:13:20.12Z"),
        ("user-agent", concat!("dirpost/", env!("CARGO_PKG_VERSION"))),
    ];
    for (name, value) in expected {
        assert_eq!(field(&head, name), Some(value), "{name} in {head}");
    }
    for name in [
        "expect",
        "transfer-encoding",
        "authorization",
        "accept-encoding",
    ] {
        assert_eq!(field(&head, name), None, "{head}");
    }
}

#[test]
fn the_digest_can_be_left_out_and_the_method_be_put() {
    let letter = FileMeta {
        sha256: Some([1; 32]),
        ..letter("a.json", 2)
    };
    let head = one_head(
        |send| {
            send.digest = Digest::Never;
            send.method = Method::Put;
            send.content_type = Some("application/x-own".into());
        },
        &letter,
        "{}",
    );
    assert!(head.starts_with("PUT / "));
    assert_eq!(field(&head, "content-digest"), None);
    assert_eq!(field(&head, "content-type"), Some("application/x-own"));
}

#[test]
fn no_path_can_inject_anything() {
    let evil = b"x/..%2f\r\nX-Evil: 1\r\n\r\n?#{key}\xff y";
    let letter = FileMeta {
        path: evil,
        ..letter("", 1)
    };
    let head = one_head(
        |send| {
            send.url = "http://X/up/{path}?n={name}".into();
            send.headers = vec![
                ("X-Name".into(), "n={name};{size};{key};{mtime}".into()),
                ("User-Agent".into(), "mine".into()),
                ("X-Name".into(), "second".into()),
            ];
        },
        &letter,
        "1",
    );
    let coded = "..%252f%0D%0AX-Evil%3A%201%0D%0A%0D%0A%3F%23%7Bkey%7D%FF%20y";
    assert!(
        head.starts_with(&format!("POST /up/x/{coded}?n={coded} HTTP/1.1\r\n")),
        "{head}"
    );
    assert_eq!(field(&head, "x-evil"), None);
    assert_eq!(field(&head, "x-file-path"), Some(&*format!("x/{coded}")));
    let names: Vec<_> = head
        .lines()
        .filter(|line| line.starts_with("x-name"))
        .collect();
    assert_eq!(
        names,
        [
            &*format!("x-name: n={coded};1;the-key;1970-01-01T00:00:00Z"),
            "x-name: second"
        ]
    );
    assert_eq!(head.matches("mine").count(), 1);
    assert!(!head.contains("dirpost/"));
}

#[test]
fn headers_that_frame_the_request_cannot_be_set() {
    for name in [
        "Content-Length",
        "transfer-encoding",
        "Expect",
        "Connection",
    ] {
        let mut send = config("http://localhost/");
        send.headers = vec![(name.into(), "1".into())];
        assert!(Shared::new(&send).unwrap_err().to_string().contains(name));
    }
}

#[test]
fn credentials_are_read_again_when_they_change_and_never_shown() {
    let dir = Dir::new("auth");
    let file = dir.file("token", "first-secret\n");
    let (url, server) = answering(vec![OK.into(); 3]);
    let mut send = config(&url);
    send.auth = Some(Auth::Bearer { file: file.clone() });
    let mut client = client(&send);
    for token in ["first-secret", "first-secret", "second-secret-longer"] {
        std::fs::write(&file, format!("{token}\r\n")).unwrap();
        answer(super::util::send(&mut client, "a", &mut Bytes::new("x")));
        assert!(!format!("{client:?}").contains("secret"));
    }
    let seen = server.join().unwrap();
    let tokens: Vec<_> = seen
        .iter()
        .map(|(head, _)| field(head, "authorization"))
        .collect();
    assert_eq!(
        tokens,
        [
            Some("Bearer first-secret"),
            Some("Bearer first-secret"),
            Some("Bearer second-secret-longer")
        ]
    );
}

#[test]
fn basic_and_header_credentials() {
    let dir = Dir::new("basic");
    let file = dir.file("password", "open:sesame\n");
    let auth = Auth::Basic {
        user: "ali".into(),
        password_file: file.clone(),
    };
    let head = one_head(|send| send.auth = Some(auth), &letter("a", 1), "1");
    assert_eq!(
        field(&head, "authorization"),
        Some("Basic YWxpOm9wZW46c2VzYW1l")
    );
    let auth = Auth::Header {
        name: "X-Api-Key".into(),
        value_file: file,
    };
    let head = one_head(|send| send.auth = Some(auth), &letter("a", 1), "1");
    assert_eq!(field(&head, "x-api-key"), Some("open:sesame"));
}

#[test]
fn credentials_that_cannot_be_had_are_a_local_fault() {
    let dir = Dir::new("noauth");
    let mut send = config("http://127.0.0.1:9/");
    let cases = [
        (dir.0.join("missing"), "cannot be read"),
        (dir.file("empty", "\n"), "is empty"),
        (dir.file("evil", "hush\r\nX-Evil: 1"), "line break"),
    ];
    for (file, word) in cases {
        send.auth = Some(Auth::Bearer { file });
        let mut client: Client = client(&send);
        match super::util::send(&mut client, "a", &mut Bytes::new("x")) {
            Outcome::Local(sentence) => {
                assert!(sentence.contains(word), "{sentence}");
                assert!(!sentence.contains("hush"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_empty_value_leaves_one_of_dirposts_own_headers_out() {
    let letter = FileMeta {
        sha256: Some([0; 32]),
        ..letter("a.csv", 1)
    };
    let own = [
        "Content-Type",
        "Idempotency-Key",
        "Content-Digest",
        "X-File-Path",
        "X-File-Mtime",
        "User-Agent",
    ];
    for name in own {
        let head = one_head(
            |send| {
                send.headers.push((name.to_ascii_lowercase(), "".into()));
                send.headers.push(("X-Empty".into(), "".into()));
            },
            &letter,
            "x",
        );
        for other in own {
            assert_eq!(field(&head, other).is_none(), other == name, "{head}");
        }
        assert!(head.contains("x-empty:"), "{head}");
    }
}
