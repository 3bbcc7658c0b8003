//! `[send]`: what endpoints want, and what they do wrong.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::util::{BOUND, Daemon, Dir, Gate, Reaction, Rng, Server, check, config, wait_until};

/// An endpoint that can be told what to say from now on.
fn saying(first: Reaction) -> (Server, Arc<Mutex<Reaction>>) {
    let said = Arc::new(Mutex::new(first));
    let now = Arc::clone(&said);
    (Server::start(move |_| now.lock().unwrap().clone()), said)
}

fn page(content_type: &str, body: &str) -> Reaction {
    Reaction::AnswerWith(
        200,
        vec![("Content-Type".into(), content_type.into())],
        body.into(),
    )
}

#[test]
fn a_token_that_rotates_is_taken_up_without_a_restart() {
    let valid = Arc::new(Mutex::new("Bearer tok-alpha".to_string()));
    let now = Arc::clone(&valid);
    let server = Server::start(move |head| {
        let right = head.headers.get("authorization") == Some(&*now.lock().unwrap());
        Reaction::Answer(if right { 200 } else { 401 })
    });
    let (dir, keys) = (Dir::new(), Dir::new());
    let token = keys.write("token", "tok-alpha\n");
    let extra = format!("send.auth = {{ bearer_file = '{}' }}", token.display());
    let daemon = Daemon::start(&config(dir.path(), &server.url(), &extra));
    dir.write("one", "1");
    wait_until("the first delivered", BOUND, || dir.done() == ["one"]);
    *valid.lock().unwrap() = "Bearer tok-beta".into();
    dir.write("two", "2");
    daemon.wait_log("answered 401");
    keys.write("token.new", "tok-beta\n");
    std::fs::rename(keys.join("token.new"), &token).unwrap();
    wait_until("the second delivered", BOUND, || {
        dir.done() == ["one", "two"]
    });
    assert!(dir.dead().is_empty());
    let log = daemon.log().join("\n");
    assert!(!log.contains("tok-"), "{log}");
}

#[test]
fn a_login_page_is_no_acceptance() {
    let (server, said) = saying(page(
        "text/html; charset=utf-8",
        "<form>Please log in, stored",
    ));
    let dir = Dir::new();
    let extra =
        "send.accept_content_type = \"application/json\"\nsend.accept_body = \"\\\"stored\\\"\"";
    let daemon = Daemon::start(&config(dir.path(), &server.url(), extra));
    for number in 0..20 {
        dir.write(format!("{number}"), "x");
    }
    let tried = |count| wait_until("tries", BOUND, || server.requests().len() >= count);
    tried(3);
    *said.lock().unwrap() = page("application/json", "{\"queued\": true}");
    let before = server.requests().len();
    tried(before + 3);
    assert!(dir.done().is_empty() && dir.dead().is_empty());
    // The gate is closed: one file a step, not twenty.
    assert!(server.requests().len() < 60, "{}", server.requests().len());
    assert!(daemon.has_logged("nothing is lost"));
    *said.lock().unwrap() = page("Application/JSON; charset=utf-8", "{\"stored\": true}");
    wait_until("all filed", BOUND, || dir.done().len() == 20);
}

/// The paths in the order in which they were asked for, with b refused three times.
fn order_of_requests(extra: &str) -> Vec<String> {
    let server = Server::start(|head| {
        Reaction::Answer(if head.path == "b" && head.attempt < 4 {
            500
        } else {
            200
        })
    });
    let dir = Dir::new();
    let names = ["c", "b", "e", "a", "d"];
    for (number, name) in names.iter().enumerate() {
        dir.write(name, "x");
        dir.set_mtime(
            name,
            SystemTime::now() - Duration::from_secs(1000 - number as u64),
        );
    }
    // All of them are ready at the first look.
    let extra = format!("ready.settle = \"0s\"\n{extra}");
    let _daemon = Daemon::start(&config(dir.path(), &server.url(), &extra));
    wait_until("all filed", BOUND, || dir.done().len() == names.len());
    let requests = server.requests().into_iter();
    requests.map(|request| request.path).collect()
}

#[test]
fn in_order_nothing_passes_a_head_that_fails() {
    let order = order_of_requests("send.in_order = true\nsend.workers = 8");
    assert_eq!(order, ["c", "b", "b", "b", "b", "e", "a", "d"]);
    let order = order_of_requests("send.in_order = true\nsend.order = \"name\"");
    assert_eq!(order, ["a", "b", "b", "b", "b", "c", "d", "e"]);
}

#[test]
fn by_name_or_mtime_the_first_goes_first_and_one_that_fails_holds_nothing_up() {
    for (order, expected) in [
        ("name", ["a", "b", "c", "d", "e"]),
        ("mtime", ["c", "b", "e", "a", "d"]),
    ] {
        let extra = format!("send.order = \"{order}\"\nsend.workers = 1");
        let mut requests = order_of_requests(&extra);
        let of_b = requests.iter().filter(|path| *path == "b").count();
        assert_eq!(of_b, 4, "it is tried until it is taken");
        let mut seen = std::collections::BTreeSet::new();
        requests.retain(|path| seen.insert(path.clone()));
        assert_eq!(requests, expected);
    }
}

#[test]
fn max_rate_holds_for_all_workers_together() {
    let (server, dir) = (Server::accepting(), Dir::new());
    for number in 0..4 {
        dir.write(format!("{number}"), vec![7; 1 << 20]);
    }
    let daemon = Daemon::start(&config(
        dir.path(),
        &server.url(),
        "send.max_rate = \"1 MiB\"",
    ));
    daemon.wait_log("first look");
    let started = Instant::now();
    wait_until("all filed", BOUND, || dir.done().len() == 4);
    let took = started.elapsed();
    println!("4 MiB at 1 MiB/s took {took:?}");
    assert!(
        took > Duration::from_millis(3500) && took < Duration::from_secs(20),
        "{took:?}"
    );
}

#[test]
fn sixty_four_workers_send_side_by_side() {
    let gate = Gate::new();
    let hold = gate.clone();
    let server = Server::start(move |_| Reaction::Hold(hold.clone(), 200));
    let dir = Dir::new();
    for number in 0..100 {
        dir.write(format!("{number}"), "x");
    }
    let _daemon = Daemon::start(&config(dir.path(), &server.url(), "send.workers = 64"));
    wait_until("64 bodies at once", BOUND, || server.whole_bodies() == 64);
    gate.open();
    wait_until("all filed", BOUND, || dir.done().len() == 100);
    assert_eq!(server.requests().len(), 100);
    assert_eq!(server.connections(), 64);
}

#[test]
fn a_form_holds_the_file_under_its_name_whatever_that_is() {
    let (server, dir) = (Server::accepting(), Dir::new());
    let mut rng = Rng::new(8);
    let names = [
        "plain.csv",
        "a \"quoted\" one",
        "line\r\nbreak",
        "ü ☃.json",
        "100%; x=y",
        "sub/back\\slash",
    ];
    let mut sources = Vec::new();
    for name in names {
        let bytes = crate::util::draw_bytes(&mut rng, 100_000);
        dir.write(name, &bytes);
        sources.push((name, bytes));
    }
    let extra = "send.body = \"multipart\"\nsend.field = \"upload\"";
    let _daemon = Daemon::start(&config(dir.path(), &server.url(), extra));
    wait_until("all filed", BOUND, || dir.done().len() == sources.len());
    for (name, bytes) in sources {
        let request = server
            .requests()
            .into_iter()
            .find(|request| request.path == name)
            .expect("its request");
        let boundary = request.headers["content-type"]
            .strip_prefix("multipart/form-data; boundary=")
            .unwrap();
        let body = request
            .body
            .strip_prefix(format!("--{boundary}\r\n").as_bytes())
            .expect("the first boundary");
        let head = body
            .windows(4)
            .position(|end| end == b"\r\n\r\n")
            .expect("the part's head");
        let (head, rest) = (
            String::from_utf8(body[..head].to_vec()).unwrap(),
            &body[head + 4..],
        );
        let last = name.rsplit('/').next().unwrap();
        let quoted = last
            .replace('"', "%22")
            .replace('\r', "%0D")
            .replace('\n', "%0A");
        let mut lines = head.split("\r\n");
        let field =
            format!("Content-Disposition: form-data; name=\"upload\"; filename=\"{quoted}\"");
        assert_eq!(lines.next(), Some(&*field));
        assert!(lines.next().unwrap().starts_with("Content-Type: ") && lines.next().is_none());
        let content = rest
            .strip_suffix(format!("\r\n--{boundary}--\r\n").as_bytes())
            .expect("the last boundary");
        assert!(content == bytes, "{name} differs");
    }
}

#[test]
fn a_gzip_body_unpacks_to_the_file() {
    let (server, dir) = (Server::accepting(), Dir::new());
    let mut rng = Rng::new(9);
    let sources = [
        b"a".to_vec(),
        crate::util::draw_bytes(&mut rng, 3 << 20),
        b"the same line\n".repeat(200_000),
    ];
    for (number, bytes) in sources.iter().enumerate() {
        dir.write(format!("{number}.txt"), bytes);
    }
    let _daemon = Daemon::start(&config(
        dir.path(),
        &server.url(),
        "send.compress = \"gzip\"",
    ));
    wait_until("all filed", BOUND, || dir.done().len() == sources.len());
    for request in server.requests() {
        let source = &sources[request.path[..1].parse::<usize>().unwrap()];
        assert_eq!(request.headers["content-encoding"], "gzip");
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&request.body[..])
            .read_to_end(&mut plain)
            .unwrap();
        assert!(plain == *source, "{} differs", request.path);
        if request.path == "2.txt" {
            assert!(request.body.len() < source.len() / 20);
        }
    }
}

/// An endpoint of one connection after the other, which is given the length of each body and
/// says whether to go on with the connection.
fn raw(serve: impl Fn(&mut TcpStream, u64) -> bool + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while let Some(head) = read_head(&mut stream) {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .unwrap();
                if head.contains("100-continue") {
                    stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
                }
                if !serve(&mut stream, length.parse().unwrap()) {
                    break;
                }
            }
        }
    });
    url
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.extend_from_slice(&byte);
    }
    Some(String::from_utf8_lossy(&head).to_ascii_lowercase())
}

fn say_ok(stream: &mut TcpStream) -> bool {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .is_ok()
}

fn sparse(dir: &Dir, name: &str, size: u64) {
    let file = std::fs::File::create(dir.join(name)).unwrap();
    file.set_len(size).unwrap();
}

#[test]
fn a_stalled_server_is_given_up_within_stall_timeout() {
    let tries = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&tries);
    let held = Mutex::new(Vec::new());
    let url = raw(move |stream, _| {
        seen.lock().unwrap().push(Instant::now());
        stream.read_exact(&mut vec![0; 100_000]).unwrap();
        // Never read again, and never closed.
        held.lock().unwrap().push(stream.try_clone().unwrap());
        false
    });
    let dir = Dir::new();
    sparse(&dir, "large", 64 << 20);
    let daemon = Daemon::start(&config(
        dir.path(),
        &url,
        "send.stall_timeout = \"1s\"\nsend.digest = \"never\"",
    ));
    daemon.wait_log("took no byte of the file for send.stall_timeout (1s)");
    let took = tries.lock().unwrap()[0].elapsed();
    println!("given up after {took:?}");
    assert!(
        // Nothing else ends it before send.response_timeout (2 m).
        took >= Duration::from_secs(1) && took < Duration::from_secs(30),
        "{took:?}"
    );
    wait_until("another try", BOUND, || tries.lock().unwrap().len() >= 2);
    assert!(dir.done().is_empty() && dir.dead().is_empty());
}

#[test]
fn an_upload_that_moves_may_take_longer_than_every_timeout() {
    let url = raw(|stream, length| {
        let mut left = length;
        let mut piece = vec![0; 512 * 1024];
        while left > 0 {
            let most = piece.len().min(left as usize);
            stream.read_exact(&mut piece[..most]).unwrap();
            left -= most as u64;
            std::thread::sleep(Duration::from_millis(50));
        }
        say_ok(stream)
    });
    let dir = Dir::new();
    sparse(&dir, "large", 48 << 20);
    let extra = "send.stall_timeout = \"1s\"\nsend.connect_timeout = \"1s\"\nsend.response_timeout = \"2s\"";
    let daemon = Daemon::start(&config(dir.path(), &url, extra));
    daemon.wait_log("first look");
    let started = Instant::now();
    wait_until("it delivered", BOUND, || dir.done() == ["large"]);
    assert!(
        started.elapsed() > Duration::from_secs(4),
        "too quick to show anything: {:?}",
        started.elapsed()
    );
    assert!(!daemon.has_logged("timeout"));
}

/// What the whole program ever had in memory while it sent a sparse file of `size`.
#[cfg(target_os = "linux")]
fn peak(size: u64, extra: &str) -> u64 {
    let got = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&got);
    let url = raw(move |stream, length| {
        let mut left = length;
        let mut piece = vec![0; 1 << 20];
        while left > 0 {
            let amount = stream.read(&mut piece).unwrap();
            assert!(amount > 0, "it ended with {left} bytes to come");
            left -= amount as u64;
            count.fetch_add(amount, Ordering::Relaxed);
        }
        say_ok(stream)
    });
    let dir = Dir::new();
    sparse(&dir, "large", size);
    let started = Instant::now();
    let daemon = Daemon::start(&config(dir.path(), &url, extra));
    wait_until("it delivered", BOUND * 5, || dir.done() == ["large"]);
    let (peak, took) = (daemon.peak_memory(), started.elapsed());
    println!(
        "{} MiB: peak memory {} KiB, {took:?}",
        size >> 20,
        peak >> 10
    );
    assert!(got.load(Ordering::Relaxed) as u64 >= size);
    peak
}

#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_depend_on_the_size_of_the_file() {
    stays_flat(256 << 20);
}

/// What cannot be done in seconds: see README.md.
#[cfg(target_os = "linux")]
mod slow {
    #[test]
    #[ignore = "slow: it sends 3 GiB"]
    fn memory_is_flat_at_3_gib() {
        super::stays_flat(3 << 30);
    }
}

#[cfg(target_os = "linux")]
fn stays_flat(size: u64) {
    let small = peak(32 << 20, "");
    let large = peak(size, "");
    assert!(large <= 64 << 20, "{large}");
    assert!(large <= small + (8 << 20), "{small} and then {large}");
}

#[test]
fn check_says_what_an_answer_means() {
    let dir = Dir::new();
    let there = vec![("Location".to_string(), "https://new.example/in".to_string())];
    for (reaction, words) in [
        (Reaction::Answer(401), "check send.auth"),
        (Reaction::Answer(404), "check the path of send.url"),
        (
            Reaction::AnswerWith(308, there, String::new()),
            "redirects to https://new.example/in",
        ),
        (Reaction::Answer(500), "answers with status 500"),
    ] {
        let server = Server::start(move |_| reaction.clone());
        let wrong = check(&config(dir.path(), &server.url(), ""), &[]);
        assert!(
            wrong.len() == 1 && wrong[0].contains(words),
            "wanted `{words}`: {wrong:?}"
        );
    }
    for (url, words) in [
        ("http://nowhere.invalid/", "does not resolve"),
        ("http://127.0.0.1:1/", "refuses connections"),
        ("https://nowhere.invalid/", "does not resolve"),
    ] {
        let wrong = check(&config(dir.path(), url, ""), &[]);
        assert!(
            wrong.len() == 1 && wrong[0].contains(words),
            "wanted `{words}`: {wrong:?}"
        );
    }
}

#[test]
fn the_environment_names_a_proxy_and_hosts_without_it() {
    let (server, dir) = (Server::accepting(), Dir::new());
    let proxy = format!("http://{}", server.address());
    let text = config(
        dir.path(),
        "http://nowhere.invalid/in",
        "send.proxy = \"environment\"",
    );
    assert!(check(&text, &[("HTTP_PROXY", &proxy), ("http_proxy", &proxy)]).is_empty());
    assert_eq!(server.requests()[0].target, "http://nowhere.invalid/in");
    let env = [
        ("HTTP_PROXY", &*proxy),
        ("http_proxy", &proxy),
        ("NO_PROXY", "invalid"),
        ("no_proxy", "invalid"),
    ];
    let said = check(&text, &env);
    assert!(
        said.len() == 1 && said[0].contains("does not resolve"),
        "{said:?}"
    );
}

#[test]
fn a_secret_in_the_url_or_in_a_header_is_never_logged() {
    let dir = Dir::new();
    let server = Server::start(|head| Reaction::Answer(if head.attempt < 3 { 401 } else { 200 }));
    dir.write("a.csv", "a");
    let url = format!("{}/{{path}}?sig=s3cret", server.url());
    let extra = "send.headers.X-Api-Key = \"s3cret\"\nlog.level = \"trace\"";
    let daemon = Daemon::start(&config(dir.path(), &url, extra));
    wait_until("it to be filed", BOUND, || dir.done() == ["a.csv"]);
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.target.contains("s3cret"))
    );
    assert!(!daemon.has_logged("s3cret"), "{:?}", daemon.log());
}
