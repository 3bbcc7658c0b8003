//! Requests with Signature Version 4, as an endpoint sees them. (Whether a store takes them:
//! `endpoints::s3`.)

use std::path::Path;

use crate::util::{BOUND, Daemon, Dir, Reaction, Server, config, dirpost, once, wait_until};

fn signed(dir: &Dir, server: &Server, keys: &Path) -> String {
    let extra = format!(
        "send.method = \"PUT\"\nsend.auth = {{ aws_region = \"garage\", aws_credentials_file = '{}' }}",
        keys.display()
    );
    let url = format!("{}/bucket/{{path}}", server.url());
    config(dir.path(), &url, &extra)
}

fn keys(place: &Dir, token: &str) {
    let text = format!(
        "[default]\naws_access_key_id = AKPLANT7\naws_secret_access_key = s3cret\naws_session_token = {token}\n"
    );
    // In one step, as what renews them does.
    place.write("new", text);
    std::fs::rename(place.join("new"), place.join("keys")).unwrap();
}

#[test]
fn an_expired_session_condemns_nothing_and_the_next_token_is_taken_from_the_file() {
    let (dir, place) = (Dir::new(), Dir::new());
    let expired = "<Error><Code>ExpiredToken</Code><Message>t0ken-of-old</Message></Error>";
    let server = Server::start(move |head| {
        if head.headers["x-amz-security-token"] == "t0ken-of-old" {
            Reaction::AnswerWith(400, Vec::new(), expired.into())
        } else {
            Reaction::Answer(200)
        }
    });
    keys(&place, "t0ken-of-old");
    for number in 0..12 {
        dir.write(format!("{number}.csv"), "x");
    }
    let daemon = Daemon::start(&signed(&dir, &server, &place.join("keys")));
    daemon.wait_log("ExpiredToken");
    // By default 400 means a bad file.
    assert!(dir.dead().is_empty());
    keys(&place, "t0ken-of-now");
    wait_until("all filed", BOUND, || dir.done().len() == 12);
    assert!(dir.dead().is_empty());
    assert!(!daemon.has_logged("t0ken"), "{:?}", daemon.log());
    let request = server.requests().pop().unwrap();
    let headers = &request.headers;
    let authorization = &headers["authorization"];
    let names = "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token";
    assert!(
        authorization.contains(&format!("SignedHeaders={names}, ")),
        "{authorization}"
    );
    assert!(authorization.contains("/garage/s3/aws4_request"));
    // The digest of "x".
    let digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    assert_eq!(headers["x-amz-content-sha256"], digest);
}

#[test]
fn a_file_of_more_than_5_gib_stays_where_it_is_and_holds_up_no_other() {
    let (dir, place) = (Dir::new(), Dir::new());
    let server = Server::accepting();
    keys(&place, "t");
    let large = std::fs::File::create(dir.join("a-large.bin")).unwrap();
    if large.set_len((5 << 30) + 1).is_err() {
        crate::util::skip("this file system has no files of 5 GiB");
        return;
    }
    dir.write("b-small.bin", "b");
    let text = signed(&dir, &server, &place.join("keys"));
    let run = once(&text, &["--deadline", "3s"]);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(3), "{said}");
    assert!(
        said.contains("a-large.bin: it is larger than 5 GiB"),
        "{said}"
    );
    assert_eq!(dir.done(), ["b-small.bin"]);
    assert_eq!(
        (dir.waiting(), dir.dead().len()),
        (vec!["a-large.bin".to_string()], 0)
    );
    assert_eq!(server.requests().len(), 1);
    let file = place.write("dirpost.toml", &text);
    let output = dirpost(&["check", "--list", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let why = "a-large.bin: for ever: it is larger than one request may be (5 GiB)";
    assert!(said.contains(why), "{said}");
    // `explain` asks whether a dirpost works before all else.
    let _daemon = Daemon::start(&text);
    let explained = || {
        let output = dirpost(&["explain", "--config", file.to_str().unwrap(), "a-large.bin"]);
        String::from_utf8_lossy(&output.stdout).contains("it is larger than 5 GiB")
    };
    wait_until("it to be explained", BOUND, explained);
}
