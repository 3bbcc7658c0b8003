//! What people have asked for of names, checks and requests, as a user sees it.

use crate::util::{BOUND, Daemon, Dir, Reaction, Server, config, dirpost, once, wait_until};

/// All that `check` prints.
fn check_says(config: &str) -> String {
    let dir = Dir::new();
    let file = dir.write("dirpost.toml", config);
    let output = dirpost(&["check", "--config", file.to_str().unwrap()]);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn warnings(said: &str) -> Vec<&str> {
    said.lines()
        .filter(|line| line.starts_with("warning"))
        .collect()
}

#[test]
fn put_to_one_url_for_all_files_is_refused_before_anything_is_sent() {
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("a.csv", "a");
    let output = once(
        &config(dir.path(), &server.url(), "send.method = \"PUT\""),
        &[],
    );
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("send.url: is the same for all files"),
        "{said}"
    );
    assert!(server.requests().is_empty());
}

#[test]
fn check_warns_of_names_that_meet_at_one_url() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let said = |url: &str, extra: &str| {
        check_says(&config(
            dir.path(),
            &format!("{}{url}", server.url()),
            extra,
        ))
    };
    for url in ["/{name}", "/{stem}.x", "?file={name}"] {
        let said = said(url, "");
        let all = warnings(&said);
        assert!(
            all.len() == 1 && all[0].contains("files of one name"),
            "{said}"
        );
    }
    for (url, extra) in [
        ("/{path}", ""),
        ("/{name}?of={path}", ""),
        ("/{name}", "watch.max_depth = 1"),
        ("/{name}", "send.headers = { X-Where = \"{path}\" }"),
        ("", ""),
    ] {
        let said = said(url, extra);
        assert_eq!(warnings(&said), [""; 0], "{url} {extra}: {said}");
    }
}

#[test]
fn a_303_that_is_named_says_that_a_file_is_stored_and_is_not_followed() {
    let server = Server::start(|_| {
        let there = vec![("Location".to_string(), "/stored/1".to_string())];
        Reaction::AnswerWith(303, there, String::new())
    });
    let dir = Dir::new();
    dir.write("a.csv", "a");
    let text = config(dir.path(), &server.url(), "send.accept = [201, 303]");
    assert!(check_says(&text).contains("answers (OPTIONS: 303)"));
    let before = server.requests().len();
    let output = once(&text, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(dir.done(), ["a.csv"]);
    let requests = server.requests();
    assert_eq!(requests.len(), before + 1);
    assert!(requests.iter().all(|request| request.target == "/up"));
}

#[test]
fn a_stem_is_filled_in_without_the_ending() {
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("sub/a b.tar.gz", "x");
    dir.write("plain", "x");
    let url = format!("{}/{{stem}}", server.url());
    let _daemon = Daemon::start(&config(
        dir.path(),
        &url,
        "send.headers = { X-Stem = \"<{stem}>\" }",
    ));
    wait_until("both delivered", BOUND, || dir.done().len() == 2);
    let mut seen: Vec<(String, String)> = server
        .accepted()
        .into_iter()
        .map(|request| (request.target, request.headers["x-stem"].clone()))
        .collect();
    seen.sort();
    let pair = |target: &str, header: &str| (target.to_string(), header.to_string());
    assert_eq!(
        seen,
        [
            pair("/up/a%20b.tar", "<a%20b.tar>"),
            pair("/up/plain", "<plain>")
        ]
    );
}

#[test]
fn what_is_not_a_users_file_is_left_alone_and_its_near_misses_are_sent() {
    let (dir, server) = (Dir::new(), Server::accepting());
    let left = [
        "#recycle/deleted.csv",
        "sub/@Recently-Snapshot/hourly/old.csv",
        "$RECYCLE.BIN/S-1-5/a.csv",
        "lost+found/1.csv",
        "__MACOSX/a.csv",
        "a.csv.!qB",
        "a.csv.aria2",
        "b.download",
        "c.csv._COPYING_",
    ];
    let sent = [
        "#recycled/kept.csv",
        "@Recently/a.csv",
        "a.aria2.csv",
        "download",
        "lost and found/1.csv",
        "lost+found.csv",
        "sub/trashbox",
    ];
    for name in left.iter().chain(&sent) {
        dir.write(name, "x");
    }
    let output = once(&config(dir.path(), &server.url(), ""), &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(dir.done(), sent);
    let mut waiting = left.map(str::to_string);
    waiting.sort();
    assert_eq!(dir.waiting(), waiting);
    // Who wants them all can have them.
    let all = "watch.ignore_temporary = false\nwatch.exclude = [\"**/@*/**\"]";
    let output = once(&config(dir.path(), &server.url(), all), &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(dir.waiting(), ["sub/@Recently-Snapshot/hourly/old.csv"]);
}

#[test]
fn globs_ignore_case_where_that_is_asked_for() {
    let (dir, server) = (Dir::new(), Server::accepting());
    for name in ["SCAN.PDF", "a.pdf", "Old/B.Pdf", "c.csv"] {
        dir.write(name, "x");
    }
    let globs = "watch.include = [\"*.pdf\"]\nwatch.exclude = [\"old/**\"]\n";
    once(&config(dir.path(), &server.url(), globs), &[]);
    assert_eq!(dir.done(), ["a.pdf"]);
    let ignoring = format!("{globs}watch.ignore_case = true");
    once(&config(dir.path(), &server.url(), &ignoring), &[]);
    assert_eq!(dir.done(), ["SCAN.PDF", "a.pdf"]);
    assert_eq!(dir.waiting(), ["Old/B.Pdf", "c.csv"]);
}

/// What becomes of a file that is finished late, of one that never is, and of one that begins otherwise.
fn ends_are_waited_for(check: &str, [half, rest]: [&str; 2], bad: &str) {
    let (dir, server) = (Dir::new(), Server::accepting());
    for name in ["slow", "never"] {
        dir.write(name, half);
    }
    let extra = format!("{check}\ncheck.grace = \"3s\"");
    let daemon = Daemon::start(&config(dir.path(), &server.url(), &extra));
    daemon.wait_log("perhaps unfinished: slow");
    dir.append("slow", rest);
    wait_until("the finished one accepted", BOUND, || {
        server.accepted_count() == 1
    });
    assert_eq!(
        server.accepted_bodies("slow"),
        [format!("{half}{rest}").into_bytes()]
    );
    wait_until("the other condemned", BOUND, || dir.dead() == ["never"]);
    if !bad.is_empty() {
        // What begins otherwise can never become right: no grace.
        dir.write("bad", bad);
        wait_until("the bad one condemned", BOUND, || dir.dead().len() == 2);
        let reason = dir.reason("bad").to_string();
        assert!(reason.contains("it does not begin as"), "{reason}");
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_file_that_lacks_its_last_line_is_waited_for() {
    ends_are_waited_for(
        "check.starts_with = [\"UNA\", \"UNB\"]\ncheck.ends_with = \"UNZ+*'\"",
        ["UNB+UNOC:3+A+B'\nUNH+1'\n", "UNT+2+1'\nUNZ+1+17'\n"],
        "<html>",
    );
}

#[test]
fn a_pdf_that_a_scanner_is_still_writing_is_waited_for() {
    ends_are_waited_for(
        "check.format = \"pdf\"",
        [
            "%PDF-1.4\n1 0 obj\n<< >>\nendobj\n",
            "xref\n0 1\ntrailer\n<< >>\nstartxref\n31\n%%EOF\n",
        ],
        "",
    );
}

#[test]
fn a_form_has_further_fields_and_a_header_of_dirposts_own_can_be_left_out() {
    let (dir, server) = (Dir::new(), Server::accepting());
    dir.write("sub/a b.jpg", "pixels");
    let output = once(
        &config(
            dir.path(),
            &server.url(),
            "send.body = \"multipart\"\nsend.field = \"assetData\"\n\
             send.headers = { X-File-Path = \"\" }\n\
             send.fields = { deviceId = \"plänt 7\", deviceAssetId = \"{stem}-{size}\" }",
        ),
        &[],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let request = server.requests().remove(0);
    assert!(!request.headers.contains_key("x-file-path"));
    assert!(request.headers.contains_key("x-file-mtime"));
    let body = String::from_utf8(request.body).unwrap();
    let boundary = body.lines().next().unwrap();
    let part = |name: &str, value: &str| {
        format!("{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    assert_eq!(
        body,
        format!(
            "{}{}{boundary}\r\nContent-Disposition: form-data; name=\"assetData\"; \
             filename=\"a b.jpg\"\r\nContent-Type: image/jpeg\r\n\r\npixels\r\n{boundary}--\r\n",
            part("deviceId", "plänt 7"),
            part("deviceAssetId", "a%20b-6")
        )
    );
}

/// A command that prints what is in `token`, and writes down that it was asked.
#[cfg(unix)]
fn token_command(place: &Dir) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let script = place.write(
        "print-token",
        format!(
            "#!/bin/sh\necho asked >> '{0}/calls'\ntest -f '{0}/token' || {{ echo 'no ticket' >&2; exit 7; }}\n\
             printf 'Bearer '; cat '{0}/token'\n",
            place.path().display()
        ),
    );
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!(
        "send.auth = {{ header = \"Authorization\", value_command = ['{}'] }}",
        script.display()
    )
}

#[cfg(unix)]
fn calls(place: &Dir) -> usize {
    match place.exists("calls") {
        true => place.text("calls").lines().count(),
        false => 0,
    }
}

#[cfg(unix)]
#[test]
fn a_command_is_asked_for_a_credential_once_for_all_and_again_after_a_401() {
    let place = Dir::new();
    place.write("token", "tok-alpha\n");
    let valid = std::sync::Arc::new(std::sync::Mutex::new("Bearer tok-alpha"));
    let now = std::sync::Arc::clone(&valid);
    let server = Server::start(move |head| {
        let right =
            head.headers.get("authorization").map(String::as_str) == Some(*now.lock().unwrap());
        Reaction::Answer(if right { 200 } else { 401 })
    });
    let dir = Dir::new();
    for number in 0..12 {
        dir.write(format!("{number}"), "x");
    }
    let daemon = Daemon::start(&config(dir.path(), &server.url(), &token_command(&place)));
    wait_until("the first twelve", BOUND, || dir.done().len() == 12);
    assert_eq!((calls(&place), server.requests().len()), (1, 12));
    // It has expired there: asked once more, and the same attempt succeeds.
    place.write("token", "tok-beta\n");
    *valid.lock().unwrap() = "Bearer tok-beta";
    dir.write("late", "x");
    wait_until("the late one", BOUND, || dir.done().len() == 13);
    assert_eq!((calls(&place), server.requests().len()), (2, 14));
    let log = daemon.log().join("\n");
    assert!(
        !log.contains("tok-") && !log.contains("answered 401"),
        "{log}"
    );
}

#[cfg(unix)]
#[test]
fn a_command_that_fails_says_why_and_is_no_verdict_on_a_file() {
    let (place, dir, server) = (Dir::new(), Dir::new(), Server::accepting());
    for number in 0..3 {
        dir.write(format!("{number}"), "x");
    }
    let text = config(dir.path(), &server.url(), &token_command(&place));
    let said = check_says(&text);
    assert!(
        said.contains("WRONG") && said.contains("ended with exit status: 7: no ticket"),
        "{said}"
    );
    let daemon = Daemon::start(&text);
    daemon.wait_log("print-token` ended with exit status: 7: no ticket");
    wait_until("it is asked again", BOUND, || calls(&place) >= 4);
    assert_eq!((dir.dead().len(), server.requests().len()), (0, 0));
    place.write("token", "tok-alpha");
    wait_until("all delivered", BOUND, || dir.done().len() == 3);
    for request in server.requests() {
        assert_eq!(request.headers["authorization"], "Bearer tok-alpha");
    }
    assert!(!daemon.log().join("\n").contains("tok-"));
}

#[cfg(unix)]
#[test]
fn a_value_is_asked_for_again_when_it_is_due_and_kept_where_that_fails() {
    let (place, dir, server) = (Dir::new(), Dir::new(), Server::accepting());
    place.write("token", "tok-alpha");
    let auth = token_command(&place).replace(" }", ", refresh = \"100ms\" }");
    let daemon = Daemon::start(&config(dir.path(), &server.url(), &auth));
    let mut number = 0;
    let mut drop_one = || {
        number += 1;
        dir.write(format!("{number}"), "x");
        wait_until("it is delivered", BOUND, || dir.done().len() == number);
    };
    drop_one();
    std::thread::sleep(std::time::Duration::from_millis(150));
    drop_one();
    assert!(calls(&place) >= 2);
    std::fs::remove_file(place.join("token")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(150));
    drop_one();
    daemon.wait_log("what it printed before is used for now");
    assert!(
        server
            .accepted()
            .iter()
            .all(|request| request.headers["authorization"] == "Bearer tok-alpha")
    );
}
