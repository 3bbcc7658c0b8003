//! The configuration as a whole: the shipped example, every kind of mistake.

mod example;

use super::read::{self, Source};
use super::*;
use std::path::Path;

/// Where the sources are, for the files that belong to the tests.
pub(super) fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub(super) fn env(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("s3cret".to_owned()),
        "HOST" => Some("example.org".to_owned()),
        "EXT" => Some("csv".to_owned()),
        _ => None,
    }
}

const BOTH: &str = "watch.dir = \"/srv/outbox\"\nsend.url = \"https://example.org/in/{path}\"\n";

/// The two required keys, and `more`; the paths begin at /etc/dirpost.
fn with(more: &str) -> Result<Config, Error> {
    parse(
        &format!("{BOTH}{more}"),
        Path::new("/etc/dirpost/x.toml"),
        &env,
    )
}

fn message(more: &str) -> String {
    with(more).expect_err("must be refused").to_string()
}

/// With what is wrong with it, and every key.
fn resolved(text: &str) -> (Option<Config>, Vec<error::Problem>, Vec<String>) {
    let tree = read::tree(text, Path::new("x.toml")).unwrap();
    let source = Source::new(text, Path::new("/etc/dirpost"), &env);
    let config = resolve::resolve(&source, tree.get_ref(), None);
    (config, source.problems(), source.known())
}

/// Every key, also one that is not set.
pub(super) fn known() -> Vec<String> {
    resolved(BOTH).2
}

#[test]
fn defaults() {
    let config = with("").unwrap();
    assert_eq!(config.watch.dir, Path::new("/srv/outbox"));
    assert_eq!(config.watch.interval, Duration::from_secs(5));
    assert_eq!(config.ready.settle, Settle::Auto);
    assert_eq!(&*config.send.url, "https://example.org/in/{path}");
    assert_eq!(config.send.body, BodyKind::Raw);
    assert_eq!(config.send.proxy, Proxy::Environment);
    assert!(config.send.accept.contains(204) && !config.send.accept.contains(300));
    assert!(config.send.reject.contains(422) && !config.send.reject.contains(404));
    assert_eq!(config.state.dir, Path::new("/srv/outbox/.dirpost"));
    assert_eq!(config.delivered.dir, Path::new("/srv/outbox/.dirpost/done"));
    assert_eq!(
        config.dead_letter.dir,
        Path::new("/srv/outbox/.dirpost/dead-letter")
    );
    assert_eq!(
        config.delivered.remember,
        Duration::from_secs(30 * 24 * 3600)
    );
    assert_eq!(config.retry.give_up_after, None);
    assert_eq!(config.log.level, None);
}

#[test]
fn from_the_command_line() {
    let config = from_dir_and_url(Path::new("in"), "http://h/${X}").unwrap_err();
    assert!(config.to_string().starts_with("send.url: "), "{config}");
    let config = from_dir_and_url(Path::new("in"), "http://localhost:8080/").unwrap();
    assert_eq!(
        config.watch.dir,
        std::env::current_dir().unwrap().join("in")
    );
    assert_eq!(config.state.dir, config.watch.dir.join(".dirpost"));
    assert_eq!(&*config.send.url, "http://localhost:8080/");
    let error = from_dir_and_url(Path::new("~/in"), "localhost")
        .unwrap_err()
        .to_string();
    assert!(error.contains("watch.dir: `~` is not expanded"), "{error}");
    assert!(
        error.contains("send.url: is not an absolute URL"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 2);
}

#[test]
fn all_kinds_of_values() {
    let config = with(
        r#"
        watch.include = ["*.${EXT}", "a/**/{b,c}"]
        watch.max_share = 1
        watch.max_depth = 0x2
        ready.settle = "0s"
        ready.marker = ".done"
        check.max_size = "1.5 GiB"
        check.min_size = 1_000
        check.command = ["check", "--token=${TOKEN}", "{file}", "$${X}"]
        send.body = "multipart"
        send.content_type = "text/csv; charset=utf-8"
        send.headers = { X-B = "Bearer ${TOKEN}", X-A = '{path} {sha256} {"a":1}' }
        send.accept = [200, "202-204"]
        send.reject = []
        send.auth = { user = "me", password_file = "secret" }
        send.tls = { ca = "../ca.pem", client_cert = "c.pem", client_key = "/k.pem" }
        send.proxy = "socks5://user:${TOKEN}@proxy:1080"
        retry.give_up_after = "7d"
        state.dir = "/var/lib/dirpost"
        log.level = "debug"
        "#,
    )
    .unwrap();
    assert_eq!(config.watch.include, ["*.csv", "a/**/{b,c}"]);
    assert_eq!(config.watch.max_depth, Some(2));
    assert_eq!(config.ready.settle, Settle::For(Duration::ZERO));
    assert_eq!(config.check.max_size, Some(3 << 29));
    assert_eq!(config.check.min_size, Some(1000));
    let command = config.check.command.unwrap();
    assert_eq!(*command, ["check", "--token=s3cret", "{file}", "${X}"]);
    assert_eq!(config.send.body, BodyKind::Multipart("file".to_owned()));
    // In the order of the file.
    assert_eq!(
        config.send.headers[0],
        ("X-B".to_owned(), "Bearer s3cret".into())
    );
    assert_eq!(&*config.send.headers[1].1, "{path} {sha256} {\"a\":1}");
    assert_eq!(config.send.accept, Statuses(vec![(200, 200), (202, 204)]));
    assert_eq!(config.send.reject, Statuses(vec![]));
    let password_file = PathBuf::from("/etc/dirpost/secret");
    assert_eq!(
        config.send.auth,
        Some(Auth::Basic {
            user: "me".to_owned(),
            password_file
        })
    );
    assert_eq!(
        config.send.tls.ca,
        Some(PathBuf::from("/etc/dirpost/../ca.pem"))
    );
    assert_eq!(
        config.send.proxy,
        Proxy::Url("socks5://user:s3cret@proxy:1080".to_owned())
    );
    assert_eq!(config.delivered.dir, Path::new("/var/lib/dirpost/done"));
}

#[test]
fn debug_shows_no_secret() {
    let config = with(
        r#"
        check.command = ["check", "--token=${TOKEN}", "{file}"]
        send.headers = { X-Token = "Bearer ${TOKEN}" }
        send.proxy = "http://user:${TOKEN}@proxy:3128"
        "#,
    )
    .unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    for rest in ["X-Token", "\"check\"", "https://example.org/in/{path}"] {
        assert!(shown.contains(rest), "no {rest} in {shown}");
    }
    let presigned = from_dir_and_url(Path::new("in"), "https://h/in?sig=s3cret").unwrap();
    let shown = format!("{presigned:?}");
    assert!(shown.contains("\"https://h/in?***\"") && !shown.contains("s3cret"));
    assert_eq!(presigned.send.url.shown(), "https://h/in");
}

#[test]
fn a_fingerprint_is_written_as_openssl_shows_it_or_without_colons() {
    let colons = vec!["0A"; 32].join(":");
    let plain = "0a".repeat(32);
    for (text, count) in [
        (format!("\"SHA256:{colons}\""), 1),
        (format!("\"sha256:{plain}\""), 1),
        (format!("[\"SHA256:{plain}\", \"SHA256:{colons}\"]"), 2),
    ] {
        let config = with(&format!("send.tls.fingerprint = {text}")).unwrap();
        assert_eq!(config.send.tls.fingerprint, vec![[10; 32]; count]);
    }
    for wrong in [
        format!("SHA1:{plain}"),
        plain.clone(),
        format!("SHA256:{}", &plain[2..]),
        format!("SHA256:{}", plain.replace('a', "g")),
        String::new(),
    ] {
        let message = message(&format!("send.tls.fingerprint = \"{wrong}\""));
        assert!(message.contains("is no fingerprint"), "{message}");
    }
}

#[test]
fn put_needs_a_url_for_each_file() {
    let of = |url: &str, more: &str| {
        let text =
            format!("watch.dir = \"/in\"\nsend.url = \"{url}\"\nsend.method = \"PUT\"\n{more}");
        parse(&text, Path::new("/etc/x.toml"), &env)
    };
    for (url, more) in [
        ("http://h/{path}", ""),
        ("http://h/?n={name}", ""),
        ("http://h/{key}", ""),
        ("http://h/in", "send.headers = { X-Name = \"{name}\" }"),
        // A presigned URL, say, for one file.
        (
            "http://h/in",
            "watch.include = [\"report.csv\"]\nwatch.max_depth = 1",
        ),
        ("http://h/in", "watch.include = [\"a/report.csv\"]"),
    ] {
        of(url, more).unwrap();
    }
    for more in [
        "",
        "send.headers = { X-Name = \"plant\" }",
        "watch.include = [\"report.csv\"]",
        "watch.include = [\"*.csv\"]\nwatch.max_depth = 1",
        "watch.include = [\"a.csv\", \"b.csv\"]\nwatch.max_depth = 1",
    ] {
        let error = of("http://h/in", more).expect_err(more).to_string();
        assert!(
            error.contains("x.toml:2: send.url: is the same for all files"),
            "{error}"
        );
    }
}

#[test]
fn a_marker_may_be_written_with_the_name_it_is_added_to() {
    for marker in [".done", "{name}.done"] {
        let config = with(&format!("ready.marker = \"{marker}\"")).unwrap();
        assert_eq!(config.ready.marker, Some(MarkerRule::of_name(".done")));
    }
    let config = with("ready.marker = \"{stem}.done\"").unwrap();
    assert_eq!(config.ready.marker, Some(MarkerRule::of_stem(".done")));
    for wrong in [
        "{stem}",
        "a{stem}.done",
        "{stem}{name}",
        "{date}.done",
        "{stem}/x",
    ] {
        let said = message(&format!("ready.marker = \"{wrong}\""));
        assert!(said.contains("ready.marker"), "{wrong}: {said}");
    }
}

#[test]
fn in_order_means_by_mtime_unless_another_order_is_said() {
    let order = |more: &str| {
        let send = with(more).unwrap().send;
        (send.order, send.in_order)
    };
    assert_eq!(order(""), (SendOrder::Arrival, false));
    assert_eq!(order("send.in_order = true"), (SendOrder::Mtime, true));
    assert_eq!(order("send.order = \"name\""), (SendOrder::Name, false));
    let both = "send.order = \"name\"\nsend.in_order = true";
    assert_eq!(order(both), (SendOrder::Name, true));
    let said = message("send.order = \"arrival\"\nsend.in_order = true");
    assert!(said.contains("outlives a restart"), "{said}");
}

#[test]
fn proxies() {
    for scheme in ["http", "https", "socks4", "socks4a", "socks5"] {
        with(&format!("send.proxy = \"{scheme}://proxy:3128\"")).unwrap();
    }
    for wrong in [
        "ftp://u:s3cret@p",
        "proxy:s3cret",
        "http://u:s3cret@",
        "http://u:s3cret@p:x",
    ] {
        let message = message(&format!("send.proxy = \"{wrong}\""));
        assert!(message.contains("x.toml:3: send.proxy: "), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn urls() {
    let of = |url: &str| from_dir_and_url(Path::new("/in"), url);
    for fine in [
        "http://localhost",
        "HTTPS://example.org:8443/a%20b/{path}?name={name}&x=[1]",
        "http://[::1]:80/{name}",
        "http://10.0.0.1?path={path}",
        "http://my_host/",
    ] {
        of(fine).unwrap();
    }
    for (wrong, why) in [
        ("", "not an absolute URL"),
        ("/in", "not an absolute URL"),
        ("ftp://h/", "must begin with http://"),
        ("http://", "no host"),
        ("http:///x", "no host"),
        ("http://:80/", "no host"),
        ("http://h:0/", "no usable port"),
        ("http://h:99999/", "no usable port"),
        ("http://h:/", "no usable port"),
        ("http://::1/", "no usable host"),
        ("http://bücher/", "no usable host"),
        ("http://u:s3cret@h/", "send.auth"),
        ("http://{name}/", "only be in the path"),
        ("http://h/{file}", "`{file}` is not filled in"),
        ("http://h/{}", "`{}` is not filled in"),
        ("http://h/{path", "characters in it"),
        ("http://h/a b", "characters in it"),
        ("http://h/%zz", "characters in it"),
        ("http://h/a%2", "characters in it"),
        ("http://h/ü", "characters in it"),
        ("http://h/#x", "never sent"),
    ] {
        let message = of(wrong).expect_err(wrong).to_string();
        assert!(message.contains(why), "{wrong}: {message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn a_signature_needs_a_region_and_keys_and_nothing_that_contradicts_it() {
    let of = |extra: &str| {
        with(&format!(
            "send.method = \"PUT\"\nsend.auth.aws_region = \"eu-central-1\"\n{extra}"
        ))
    };
    let keys = "send.auth.aws_credentials_file = \"keys\"\n";
    let aws = Aws {
        region: "eu-central-1".into(),
        service: "s3".into(),
        credentials_file: "/etc/dirpost/keys".into(),
        profile: "default".into(),
    };
    assert_eq!(of(keys).unwrap().send.auth, Some(Auth::Aws(aws)));
    for (extra, why) in [
        ("", "for a signature write"),
        (
            &*format!("{keys}send.auth.bearer_file = \"t\""),
            "no other key of send.auth",
        ),
        (
            &format!("{keys}send.compress = \"gzip\""),
            "do not go together",
        ),
        (
            &format!("{keys}send.body = \"multipart\""),
            "do not go together",
        ),
        (
            &format!("{keys}send.auth.aws_service = \"s3/x\""),
            "is no such name",
        ),
        (
            &format!("{keys}send.headers = {{ x-amz-date = \"1\" }}"),
            "is set by send.auth",
        ),
    ] {
        let message = of(extra).expect_err(extra).to_string();
        assert!(message.contains(why), "{extra}: {message}");
    }
    let post = with(&format!(
        "send.auth.aws_region = \"r\"\n{keys}send.auth.aws_service = \"execute-api\""
    ));
    assert!(post.is_ok(), "{post:?}");
    let post = with(&format!("send.auth.aws_region = \"r\"\n{keys}"));
    assert!(post.unwrap_err().to_string().contains("must be \"PUT\""));
}

#[test]
fn the_file_itself() {
    let error = load(Path::new("/nowhere/x.toml"), &env)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("/nowhere/x.toml: cannot be read: "),
        "{error}"
    );
    let error = load(&at("src"), &env).unwrap_err().to_string();
    assert!(error.contains("src: cannot be read: "), "{error}");
}

#[test]
fn the_shards_have_folders_of_their_own() {
    let (config, problems, _) = resolved(&format!("{BOTH}watch.shard = \"2/8\""));
    assert_eq!(problems, []);
    let config = config.unwrap();
    assert_eq!(
        config.state.dir,
        Path::new("/srv/outbox/.dirpost/shard-2-of-8")
    );
    assert_eq!(config.delivered.dir, config.state.dir.join("done"));
}

#[test]
fn folders_in_one_another() {
    for (more, expected) in [
        (
            "delivered.dir = \"/srv/outbox/done\"",
            "delivered.dir: lies in the watched folder",
        ),
        (
            "delivered.dir = \"/srv/x/../outbox\"",
            "delivered.dir: lies in the watched folder",
        ),
        (
            "delivered.dir = \"/srv\"",
            "delivered.dir: the watched folder lies in it",
        ),
        (
            "dead_letter.dir = \"/srv/outbox/.dirpost\"",
            "dead_letter.dir: is the state folder",
        ),
        (
            "state.dir = \"/srv\"",
            "state.dir: the watched folder is this folder or lies in it",
        ),
        (
            "state.dir = \"/srv/outbox/.\"",
            "state.dir: the watched folder is",
        ),
        (
            "delivered.dir = \"/var/a\"\ndead_letter.dir = \"/var/./b/../a\"",
            "x.toml:4: dead_letter.dir: is the same folder",
        ),
        (
            "delivered.dir = \"/a\"\ndead_letter.dir = \"/a/b\"",
            "lie in one another",
        ),
        (
            "report.metrics_file = \"/srv/outbox/m.prom\"",
            "would be sent",
        ),
    ] {
        let message = message(more);
        assert!(message.contains(expected), "{more}: {message}");
    }
    with("delivered.dir = \"/srv/outbox/.dirpost/sent\"").unwrap();
    with("delivered.dir = \"/srv/outbox-done\"").unwrap();
    with("state.dir = \"/srv/outbox/state\"\ndead_letter.dir = \"/srv/outbox/state/x\"").unwrap();
}

#[test]
fn an_address_to_listen_at_is_read_and_shown_as_it_was_written() {
    let listen = |value: &str| {
        with(&format!("report.listen = \"{value}\""))
            .unwrap()
            .report
            .listen
    };
    for value in ["127.0.0.1:9470", "[::1]:9470", "drop.example:0"] {
        assert_eq!(listen(value).unwrap().to_string(), value);
    }
    let tcp = listen("[::1]:9470").unwrap();
    let host = "::1".to_owned();
    assert_eq!(tcp, Listen::Tcp { host, port: 9470 });
    if cfg!(unix) {
        let socket = listen("unix:run/http").unwrap();
        assert!(
            matches!(&socket, Listen::Unix(path) if path.is_absolute()),
            "{socket}"
        );
        let long = message(&format!("report.listen = \"unix:/{}\"", "x".repeat(200)));
        assert!(
            long.contains("report.listen: has a path of 201 bytes"),
            "{long}"
        );
    }
}
