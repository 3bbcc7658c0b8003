//! `report.listen`: what is answered over HTTP, to whom, and what no client can do.

#[cfg(target_os = "linux")]
mod browser;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::util::{
    BOUND, Daemon, Dir, Reaction, Reply, Server, config, dirpost, get, listens_at, send, wait_until,
};

const LISTEN: &str = "report.listen = \"127.0.0.1:0\"\n";

/// An endpoint that answers as it is told.
fn answering(status: &Arc<AtomicU16>) -> Server {
    let status = Arc::clone(status);
    Server::start(move |_| Reaction::Answer(status.load(Ordering::SeqCst)))
}

fn page_says(at: SocketAddr, text: &str) -> bool {
    get(at, "/").body.contains(text)
}

#[test]
#[cfg(unix)]
fn it_shows_what_waits_why_and_that_all_is_well_again_and_no_path_but_names() {
    let (dir, place) = (Dir::new(), Dir::new());
    let status = Arc::new(AtomicU16::new(503));
    let server = answering(&status);
    let metrics = place.join("dirpost.prom");
    let more = format!(
        "{LISTEN}report.metrics_file = {:?}\nready.settle = \"0s\"",
        metrics.display().to_string()
    );
    let daemon = Daemon::start(&config(dir.path(), &server.url(), &more));
    let at = listens_at(&daemon);
    dir.write("<script>.csv", "x");
    wait_until("trouble", BOUND, || {
        page_says(at, "<h1>in trouble: the endpoint has not accepted for")
    });
    let page = get(at, "/");
    assert_eq!(page.status, 200);
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.field("content-security-policy").expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(page.body.contains("&lt;script&gt;.csv"), "{}", page.body);
    assert!(!page.body.contains("<script"), "{}", page.body);
    assert!(
        page.body.contains("<strong>What to do:</strong>"),
        "{}",
        page.body
    );
    // Health is the process's.
    let health = get(at, "/healthz");
    assert_eq!(health.status, 200, "{}", health.body);
    assert!(
        health.body.contains("endpoint: has not accepted for"),
        "{}",
        health.body
    );
    status.store(201, Ordering::SeqCst);
    wait_until("all to be well", BOUND, || {
        page_says(at, "<h1>all is well: ")
    });
    let shown: Value = serde_json::from_str(&get(at, "/status.json").body).unwrap();
    assert_eq!(shown["delivered"]["since_start"]["files"], 1);
    assert_eq!(shown["failures"][0]["path"], "<script>.csv");
    // The file and the answer come from one and the same status.
    let lines = || {
        let text = get(at, "/metrics").body;
        (text, std::fs::read_to_string(&metrics).unwrap_or_default())
    };
    wait_until("the metrics file to say it as well", BOUND, || {
        let (answered, written) = lines();
        answered == written
    });
    assert!(
        lines()
            .0
            .contains("\ndirpost_delivery_delay_seconds_count 1\n")
    );
    for path in ["/", "/status.json", "/healthz", "/metrics"] {
        let answer = get(at, path);
        let outside = dir.path().display().to_string();
        assert!(!answer.body.contains(&outside), "{path}: {}", answer.body);
        let head = send(at, &format!("HEAD {path} HTTP/1.1\nHost: localhost\n\n"));
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        let length: usize = head.field("content-length").unwrap().parse().unwrap();
        // Ages and dates have other lengths a moment later.
        assert!(length.abs_diff(answer.body.len()) < 50, "{path}");
    }
}

#[test]
fn what_is_no_reading_under_its_own_name_is_refused() {
    let dir = Dir::new();
    let server = Server::accepting();
    let daemon = Daemon::start(&config(dir.path(), &server.url(), LISTEN));
    let at = listens_at(&daemon);
    let long = "x".repeat(8 * 1024);
    for (request, status) in [
        ("GET / HTTP/1.1\nHost: evil.example\n\n".into(), 421),
        ("GET /metrics HTTP/1.1\nHost: localhost\n\n".into(), 200),
        (
            "POST / HTTP/1.1\nHost: localhost\nContent-Length: 3\n\nabc".into(),
            405,
        ),
        (
            "DELETE /status.json HTTP/1.1\nHost: localhost\n\n".into(),
            405,
        ),
        (
            format!("GET / HTTP/1.1\nHost: localhost\nX: {long}\n\n"),
            431,
        ),
        ("GET / HTTP/1.1\n\n".into(), 400),
        ("what is this\n\n".into(), 400),
        (
            "GET /../../etc/passwd HTTP/1.1\nHost: localhost\n\n".into(),
            404,
        ),
    ] {
        let reply = send(at, &request);
        assert_eq!(reply.status, status, "{request}: {}", reply.body);
        assert_eq!(reply.field("connection"), Some("close"));
        let allow = (status == 405).then_some("get, head");
        assert_eq!(reply.field("allow"), allow);
    }
}

#[test]
fn eight_connections_are_served_and_no_client_keeps_the_others_waiting() {
    let dir = Dir::new();
    let server = Server::accepting();
    let daemon = Daemon::start(&config(dir.path(), &server.url(), LISTEN));
    let at = listens_at(&daemon);
    let connect = || {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream
    };
    // One that sends a byte at a time, and seven that say nothing.
    let mut slow = connect();
    let mut idle: Vec<TcpStream> = (0..7).map(|_| connect()).collect();
    // Connections are taken in turn, so that by now each of the eight has its place.
    let refused = get(at, "/healthz");
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(refused.field("retry-after"), Some("1"), "{}", refused.head);
    assert!(
        refused.body.contains("eight connections"),
        "{}",
        refused.body
    );
    drop(idle.pop());
    wait_until("its place to be free", BOUND, || {
        get(at, "/healthz").status == 200
    });
    // It is cut off, however steadily it sends.
    let start = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ".iter();
    let mut bytes = start.chain(std::iter::repeat(&b'x'));
    slow.set_nonblocking(true).unwrap();
    let mut said = Vec::new();
    wait_until("it to be cut off", BOUND, || {
        let _ = slow.write(&[*bytes.next().unwrap()]);
        std::thread::sleep(Duration::from_millis(250));
        let mut some = [0; 4096];
        match slow.read(&mut some) {
            Ok(count) => {
                said.extend_from_slice(&some[..count]);
                count == 0
            }
            Err(err) => err.kind() != ErrorKind::WouldBlock,
        }
    });
    assert_eq!(Reply::read(said.as_slice()).status, 408);
    // And so are those that say nothing.
    for stream in idle {
        assert_eq!(Reply::read(stream).status, 408);
    }
    assert_eq!(get(at, "/healthz").status, 200);
}

#[test]
fn a_port_that_is_taken_is_said_stops_nothing_and_is_taken_when_it_is_free() {
    let dir = Dir::new();
    let server = Server::accepting();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let more = format!("report.listen = \"{at}\"\nready.settle = \"0s\"");
    let daemon = Daemon::start(&config(dir.path(), &server.url(), &more));
    daemon.wait_log("cannot be listened at: ");
    dir.write("a.csv", "a");
    daemon.wait_log("delivered a.csv");
    drop(taken);
    wait_until("it to answer", BOUND, || TcpStream::connect(at).is_ok());
    assert_eq!(get(at, "/healthz").status, 200);
}

#[test]
fn a_folder_that_is_not_there_is_said_by_the_page_and_the_metrics_until_it_is() {
    let place = Dir::new();
    let server = Server::accepting();
    let dir = place.path().join("share");
    let file = place.path().join("dirpost.prom");
    let more = format!("{LISTEN}report.metrics_file = '{}'", file.display());
    let daemon = Daemon::start(&config(&dir, &server.url(), &more));
    let at = listens_at(&daemon);
    wait_until("trouble", BOUND, || {
        page_says(at, "<h1>in trouble: the folder has been away for")
    });
    assert_eq!(get(at, "/healthz").status, 200, "no reason to restart it");
    let metrics = get(at, "/metrics").body;
    assert!(
        metrics.contains("\ndirpost_faults{part=\"share\"} 1\n"),
        "{metrics}"
    );
    wait_until("the metrics file to say it as well", BOUND, || {
        std::fs::read_to_string(&file).is_ok_and(|it| it.contains("{part=\"share\"} 1\n"))
    });
    std::fs::create_dir(&dir).unwrap();
    wait_until("all to be well", BOUND, || {
        page_says(at, "<h1>all is well: ")
    });
}

#[test]
fn a_standby_says_that_it_is_one() {
    let dir = Dir::new();
    let server = Server::accepting();
    let place = Dir::new();
    let file = place.path().join("dirpost.prom");
    let more = format!("report.metrics_file = '{}'\n", file.display());
    let text = config(dir.path(), &server.url(), &more);
    let first = Daemon::start(&text);
    let written = || std::fs::read_to_string(&file).unwrap_or_default();
    wait_until("metrics", BOUND, || {
        written().contains("\ndirpost_standby 0\n")
    });
    let second = Daemon::start(&format!("{text}{LISTEN}"));
    let at = listens_at(&second);
    wait_until("it to stand by", BOUND, || {
        page_says(at, "<h1>standby: another dirpost")
    });
    let health = get(at, "/healthz");
    assert_eq!(health.status, 200);
    assert!(health.body.contains("\nstandby: pid "), "{}", health.body);
    assert!(get(at, "/metrics").body.contains("\ndirpost_standby 1\n"));
    // The file is the holder's.
    assert!(written().contains("\ndirpost_standby 0\n"), "{}", written());
    drop(first);
    wait_until("it to take over", BOUND, || {
        page_says(at, "<h1>all is well: ")
    });
    assert!(get(at, "/metrics").body.contains("\ndirpost_standby 0\n"));
}

#[test]
#[cfg(unix)]
fn a_socket_is_for_its_owner_and_the_group_of_its_folder_and_replaces_one_that_nobody_has() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    use std::os::unix::net::UnixStream;

    let (dir, place) = (Dir::new(), Dir::new());
    let server = Server::accepting();
    let path = place.path().join("http");
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        chown(place.path(), None, Some(1234)).unwrap();
    }
    let text = config(
        dir.path(),
        &server.url(),
        &format!("report.listen = \"unix:{}\"", path.display()),
    );
    let ask = || {
        let mut stream = UnixStream::connect(&path).ok()?;
        stream.set_read_timeout(Some(BOUND)).unwrap();
        let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        Some(Reply::read(stream).status)
    };
    let mut daemon = Daemon::start(&text);
    wait_until("it to answer", BOUND, || ask() == Some(200));
    let found = std::fs::symlink_metadata(&path).unwrap();
    assert_eq!(found.mode() & 0o7777, 0o660);
    assert!(!is_root || found.gid() == 1234, "{}", found.gid());
    // Another process does not take it away.
    let other = Daemon::start(&text);
    other.wait_log("cannot be listened at: ");
    daemon.kill();
    drop(daemon);
    wait_until("the other one to answer", BOUND, || ask() == Some(200));
    drop(other);
    assert!(path.exists(), "a kill leaves it");
    let daemon = Daemon::start(&text);
    wait_until("it to answer", BOUND, || ask() == Some(200));
    drop(daemon);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "mine").unwrap();
    let daemon = Daemon::start(&text);
    daemon.wait_log("there is something else than a socket; move it away");
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
}

#[test]
fn check_says_whether_it_can_be_listened_at_and_by_whom_it_is_reached() {
    let dir = Dir::new();
    let server = Server::accepting();
    let place = Dir::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    for (address, wanted) in [
        (
            "127.0.0.1:0".into(),
            "ok       report.listen: 127.0.0.1:0 can be listened at",
        ),
        (
            format!("{at}"),
            "ok       report.listen: something listens at 127.0.0.1:",
        ),
        (
            "0.0.0.0:0".into(),
            "warning  report.listen: 0.0.0.0:0 may be reached from other machines",
        ),
        (
            "192.0.2.1:9470".into(),
            "WRONG    report.listen: 192.0.2.1:9470: ",
        ),
    ] {
        let more = format!("report.listen = \"{address}\"");
        let file = place.write("c.toml", config(dir.path(), &server.url(), &more));
        let out = dirpost(&["check", "--config", file.to_str().unwrap()]);
        let said = String::from_utf8(out.stdout).unwrap();
        let warns = said.contains("may be reached from other machines");
        assert!(said.contains(wanted), "{address}: {said}");
        assert_eq!(warns, !address.starts_with("127."), "{said}");
    }
}
