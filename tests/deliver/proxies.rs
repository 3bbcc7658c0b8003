//! The ways through proxies: forwarding, CONNECT, SOCKS.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use dirpost::config::Proxy;
use dirpost::flow::endpoint::reply::FailureKind;

use crate::tls::{Pki, request, secure, serve_tls, trusting};
use crate::util::*;

/// Passes bytes on in both directions until either side ends.
fn join(one: TcpStream, other: TcpStream) {
    let (mut a, mut b) = (one.try_clone().unwrap(), other.try_clone().unwrap());
    let back = thread::spawn(move || {
        let _ = std::io::copy(&mut b, &mut a);
        let _ = a.shutdown(std::net::Shutdown::Both);
    });
    let (mut a, mut b) = (one, other);
    let _ = std::io::copy(&mut a, &mut b);
    let _ = b.shutdown(std::net::Shutdown::Both);
    back.join().unwrap();
}

fn proxy(script: impl FnOnce(TcpListener) -> String + Send + 'static) -> (u16, JoinHandle<String>) {
    let (url, handle) = serve(script);
    (url[17..].trim_end_matches('/').parse().unwrap(), handle)
}

#[test]
fn plain_urls_are_handed_to_a_proxy_whole() {
    let (port, handle) = proxy(|listener| {
        let mut peer = accept(&listener);
        let mut heads = String::new();
        for _ in 0..2 {
            let (head, body) = peer.request().unwrap();
            assert_eq!(body, b"file");
            heads += &head;
            peer.say(OK);
        }
        heads
    });
    let mut config = config("http://files.invalid:8080/in/{name}");
    config.proxy = Proxy::Url(format!("http://me:s3cret@127.0.0.1:{port}"));
    let mut client = client(&config);
    for _ in 0..2 {
        assert_eq!(
            answer(send(&mut client, "a", &mut Bytes::new("file"))).status,
            200
        );
    }
    assert!(!format!("{client:?}{config:?}").contains("s3cret"));
    let heads = handle.join().unwrap();
    assert_eq!(
        heads
            .matches("POST http://files.invalid:8080/in/a HTTP/1.1\r\n")
            .count(),
        2
    );
    assert_eq!(field(&heads, "host"), Some("files.invalid:8080"));
    assert_eq!(
        field(&heads, "proxy-authorization"),
        Some("Basic bWU6czNjcmV0")
    );
}

#[test]
fn https_goes_through_a_tunnel() {
    let Some(pki) = Pki::new("proxy-connect") else {
        return;
    };
    let (url, server) = serve_tls(pki.server("server", false), |listener, config| {
        let mut stream = secure(&listener, &config);
        for _ in 0..2 {
            assert_eq!(request(&mut stream), Some(3_000_000));
            stream.write_all(OK.as_bytes()).unwrap();
        }
        assert_eq!(request(&mut stream), Some(3));
        stream
            .write_all(b"HTTP/1.1 413 Big\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let (port, handle) = proxy(|listener| {
        let mut peer = accept(&listener);
        let head = peer.head().unwrap();
        let target = head.split(' ').nth(1).unwrap();
        let onward = TcpStream::connect(target).unwrap();
        peer.say("HTTP/1.1 200 Connected\r\n\r\n");
        join(peer.stream, onward);
        head
    });
    let mut config = trusting(&url, &pki);
    config.proxy = Proxy::Url(format!("http://me:s3cret@127.0.0.1:{port}"));
    let mut client = client(&config);
    for _ in 0..2 {
        let mut body = Bytes::new(vec![5; 3_000_000]);
        assert_eq!(answer(send(&mut client, "a", &mut body)).status, 200);
    }
    assert_eq!(
        answer(send(&mut client, "a", &mut Bytes::new("abc"))).status,
        413
    );
    drop(client);
    server.join().unwrap();
    let head = handle.join().unwrap();
    assert!(head.starts_with("CONNECT localhost:"));
    assert_eq!(
        field(&head, "proxy-authorization"),
        Some("Basic bWU6czNjcmV0")
    );
}

#[test]
fn an_early_answer_is_heard_through_a_tunnel() {
    let Some(pki) = Pki::new("proxy-early") else {
        return;
    };
    let (url, server) = serve_tls(pki.server("server", false), |listener, config| {
        let mut stream = secure(&listener, &config);
        crate::tls::head(&mut stream).unwrap();
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 50_000]).unwrap();
        stream
            .write_all(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        // Goes on reading.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (port, handle) = proxy(|listener| {
        let mut peer = accept(&listener);
        let head = peer.head().unwrap();
        let onward = TcpStream::connect(head.split(' ').nth(1).unwrap()).unwrap();
        peer.say("HTTP/1.1 200 Connected\r\n\r\n");
        join(peer.stream, onward);
        head
    });
    let mut config = trusting(&url, &pki);
    config.proxy = Proxy::Url(format!("http://127.0.0.1:{port}"));
    let mut client = client(&config);
    let mut body = Bytes {
        pause: std::time::Duration::from_millis(5),
        piece: 50_000,
        ..Bytes::new(vec![5; 8_000_000])
    };
    let answer = answer(send(&mut client, "a", &mut body));
    assert!(answer.status == 401 && answer.early, "{answer:?}");
    assert!(body.at < 4_000_000);
    drop(client);
    server.join().unwrap();
    handle.join().unwrap();
}

#[test]
fn a_proxy_that_refuses_is_named_and_its_password_is_not() {
    for (status, word) in [
        (407, "wants a user"),
        (403, "does not allow"),
        (502, "could not connect"),
    ] {
        let (port, handle) = proxy(move |listener| {
            let mut peer = accept(&listener);
            let head = peer.head().unwrap();
            peer.say(&format!(
                "HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n"
            ));
            head
        });
        let mut config = config("https://files.invalid/");
        config.tls.roots = dirpost::config::Roots::Bundled;
        config.proxy = Proxy::Url(format!("http://me:s3cret@127.0.0.1:{port}"));
        let failure = failure(send(&mut client(&config), "a", &mut Bytes::new("x")));
        assert_eq!(failure.kind, FailureKind::Connect);
        assert!(failure.detail.contains(word), "{}", failure.detail);
        assert!(
            failure.detail.contains("the proxy 127.0.0.1:"),
            "{}",
            failure.detail
        );
        assert!(!failure.detail.contains("s3cret"));
        handle.join().unwrap();
    }
}

#[test]
fn socks_carries_files_and_early_answers() {
    let (port, handle) = proxy(|listener| {
        let mut peer = accept(&listener);
        let stream = &mut peer.stream;
        let mut buf = [0; 300];
        stream.read_exact(&mut buf[..2]).unwrap();
        let methods = buf[1] as usize;
        stream.read_exact(&mut buf[..methods]).unwrap();
        stream.write_all(&[5, 0]).unwrap();
        stream.read_exact(&mut buf[..5]).unwrap();
        let len = buf[4] as usize;
        stream.read_exact(&mut buf[..len + 2]).unwrap();
        let host = String::from_utf8_lossy(&buf[..len]).into_owned();
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
        let (_, body) = peer.request().unwrap();
        assert_eq!(body.len(), 500_000);
        peer.say(OK);
        peer.head().unwrap();
        peer.say("HTTP/1.1 100 Continue\r\n\r\n");
        peer.body(100_000);
        peer.say("HTTP/1.1 413 Big\r\nContent-Length: 0\r\n\r\n");
        peer.rest();
        host
    });
    let mut config = config("http://files.invalid/");
    config.proxy = Proxy::Url(format!("socks5h://127.0.0.1:{port}"));
    let mut client = client(&config);
    assert_eq!(
        answer(send(&mut client, "a", &mut Bytes::new(vec![1; 500_000]))).status,
        200
    );
    let mut body = Bytes {
        pause: std::time::Duration::from_millis(5),
        piece: 50_000,
        ..Bytes::new(vec![5; 8_000_000])
    };
    let answer = answer(send(&mut client, "a", &mut body));
    assert!(answer.status == 413 && answer.early, "{answer:?}");
    drop(client);
    assert_eq!(handle.join().unwrap(), "files.invalid");
}

/// Not a test: what [`the_environment_names_the_proxy`] runs with an environment of its own.
#[test]
#[ignore = "run by another test"]
fn by_environment() {
    let mut config = config(&std::env::var("TEST_URL").unwrap());
    config.proxy = Proxy::Environment;
    config.stall_timeout = std::time::Duration::from_secs(5);
    println!(
        "{:?}",
        send(&mut client(&config), "a", &mut Bytes::new("x"))
    );
}

#[test]
fn the_environment_names_the_proxy() {
    let run = |url: &str, env: &[(&str, &str)]| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "proxies::by_environment",
            "--ignored",
            "--nocapture",
        ]);
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        let out = command
            .env("TEST_URL", url)
            .envs(env.iter().copied())
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        let (url, server) = answering(vec![OK.into()]);
        let said = run("http://files.invalid/x", &[(name, &url)]);
        assert!(said.contains("status: 200"), "{name}: {said}");
        assert!(
            server.join().unwrap()[0]
                .0
                .starts_with("POST http://files.invalid/x ")
        );
    }
    let (url, server) = answering(vec![OK.into()]);
    let said = run(
        &url,
        &[
            ("HTTP_PROXY", "http://proxy.invalid"),
            ("NO_PROXY", "127.0.0.0/8"),
        ],
    );
    assert!(said.contains("status: 200"), "{said}");
    assert!(server.join().unwrap()[0].0.starts_with("POST / "));
    let said = run(
        "http://a.invalid/",
        &[("https_proxy", "http://proxy.invalid")],
    );
    assert!(
        said.contains("Resolve") && said.contains("a.invalid:80 does not"),
        "{said}"
    );
}
