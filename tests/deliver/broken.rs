//! Connections that break, stall, go stale or never come to be.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use dirpost::flow::endpoint::reply::FailureKind;

use crate::util::*;

#[test]
fn a_stale_connection_is_retried_once_and_not_seen() {
    let (url, server) = serve(|listener| {
        let mut seen = 0;
        for _ in 0..3 {
            let mut peer = accept(&listener);
            if peer.request().is_some() {
                seen += 1;
                peer.say(OK);
            }
            // Reads the next one, and closes without an answer.
            if seen < 3 {
                peer.request();
            }
        }
        seen
    });
    let mut client = client(&config(&url));
    let mut body = Bytes::new("file");
    for _ in 0..3 {
        body.at = 0;
        assert_eq!(answer(send(&mut client, "a", &mut body)).status, 200);
    }
    assert_eq!(body.rewinds, 2);
    assert_eq!(server.join().unwrap(), 3);
}

#[test]
fn a_connection_closed_while_idle_is_not_used() {
    let (closed, told) = std::sync::mpsc::channel();
    let (url, server) = serve(move |listener| {
        for _ in 0..2 {
            let mut peer = accept(&listener);
            peer.request();
            peer.say(OK);
            drop(peer);
            closed.send(()).unwrap();
        }
    });
    let mut client = client(&config(&url));
    let mut body = Bytes::new("file");
    answer(send(&mut client, "a", &mut body));
    told.recv().unwrap();
    body.at = 0;
    answer(send(&mut client, "a", &mut body));
    server.join().unwrap();
}

#[test]
fn a_fresh_connection_that_breaks_counts_at_once() {
    let (url, server) = serve(|listener| {
        accept(&listener).request();
        accept(&listener).request();
        listener.set_nonblocking(true).unwrap();
        listener.accept().is_err()
    });
    let mut client = client(&config(&url));
    for _ in 0..2 {
        let failure = failure(send(&mut client, "a", &mut Bytes::new("x")));
        assert_eq!(failure.kind, FailureKind::Broken);
        assert!(
            failure.detail.contains("without an answer"),
            "{}",
            failure.detail
        );
    }
    assert!(server.join().unwrap());
}

#[test]
fn a_retry_that_fails_counts() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        peer.request();
        peer.say(OK);
        peer.request();
        drop(peer);
        accept(&listener).request();
        listener.set_nonblocking(true).unwrap();
        listener.accept().is_err()
    });
    let mut client = client(&config(&url));
    answer(send(&mut client, "a", &mut Bytes::new("x")));
    assert_eq!(
        failure(send(&mut client, "a", &mut Bytes::new("x"))).kind,
        FailureKind::Broken
    );
    assert!(server.join().unwrap());
}

#[test]
fn resets_at_every_stage_are_broken_connections() {
    let stages: [(&str, usize); 4] = [
        ("", 0),
        ("", 100),
        ("HTTP/1.1 20", 100),
        ("HTTP/1.1 200 OK\r\nX", 100),
    ];
    for (said, read) in stages {
        let (url, server) = serve(move |listener| {
            let mut peer = accept(&listener);
            if read > 0 {
                peer.request();
            }
            peer.say(said);
            std::thread::sleep(Duration::from_millis(20));
            peer.reset();
        });
        let failure = failure(send(&mut client(&config(&url)), "a", &mut Bytes::new("x")));
        assert_eq!(
            failure.kind,
            FailureKind::Broken,
            "{said:?}: {}",
            failure.detail
        );
        server.join().unwrap();
    }
}

#[test]
fn a_server_that_stops_reading_is_given_up_within_stall_timeout() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        peer.head();
        accept(&listener);
    });
    let mut config = config(&url);
    config.stall_timeout = Duration::from_millis(300);
    let begun = Instant::now();
    let mut client = client(&config);
    let failure = failure(send(&mut client, "a", &mut Bytes::new(vec![1; 40_000_000])));
    let took = begun.elapsed();
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert!(
        failure.detail.contains("send.stall_timeout (300ms)"),
        "{}",
        failure.detail
    );
    // One second of it for the 100 that does not come.
    assert!(
        took > Duration::from_millis(1200) && took < Duration::from_secs(6),
        "{took:?}"
    );
    drop(std::net::TcpStream::connect(url[7..].trim_end_matches('/')));
    server.join().unwrap();
}

#[test]
fn a_server_that_never_answers_is_given_up_within_response_timeout() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        peer.request();
        peer.say("HTTP/1.1 102 Processing\r\n\r\n");
        peer.rest();
    });
    let mut config = config(&url);
    config.response_timeout = Duration::from_millis(300);
    let begun = Instant::now();
    let mut client = client(&config);
    let failure = failure(send(&mut client, "a", &mut Bytes::new("x")));
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert!(
        failure.detail.contains("response_timeout"),
        "{}",
        failure.detail
    );
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(300) && took < Duration::from_secs(5),
        "{took:?}"
    );
    server.join().unwrap();
}

#[test]
fn what_is_not_http_is_said_so() {
    let (url, server) = answering(vec!["SSH-2.0-OpenSSH\r\n\r\n".into()]);
    let failure = failure(send(&mut client(&config(&url)), "a", &mut Bytes::new("x")));
    assert_eq!(failure.kind, FailureKind::Broken);
    assert!(failure.detail.contains("not HTTP"), "{}", failure.detail);
    server.join().unwrap();
}

#[test]
fn names_and_ports_that_lead_nowhere() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let failure_of = |url: &str| {
        let mut body = Bytes::new("x");
        failure(send(&mut client(&config(url)), "a", &mut body))
    };
    let refused = failure_of(&format!("http://{closed}/"));
    assert_eq!(refused.kind, FailureKind::Connect);
    assert!(
        refused.detail.contains("refuses connections"),
        "{}",
        refused.detail
    );
    let unknown = failure_of("http://no-such-host.invalid/");
    assert_eq!(unknown.kind, FailureKind::Resolve);
    assert!(
        unknown.detail.contains("no-such-host.invalid"),
        "{}",
        unknown.detail
    );
}

#[test]
fn a_probe_says_what_is_wrong() {
    for (answer, fine, word) in [
        ("HTTP/1.1 204 No\r\n\r\n", true, "answers"),
        (
            "HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n",
            true,
            "OPTIONS",
        ),
        (
            "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
            false,
            "credentials",
        ),
        (
            "HTTP/1.1 302 F\r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n",
            false,
            "https://x/",
        ),
    ] {
        let (url, server) = answering(vec![answer.into()]);
        let probe = client(&config(&url)).probe();
        assert!(
            probe.fine == fine && probe.sentence.contains(word),
            "{probe:?}"
        );
        assert!(server.join().unwrap()[0].0.starts_with("OPTIONS / "));
    }
}

/// To some servers a question with OPTIONS has no address.
#[test]
fn a_404_to_a_probe_is_asked_about_again() {
    const NO: &str = "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
    for (second, fine, word) in [
        (NO, false, "path of send.url"),
        (OK, true, "does not take OPTIONS (status 404)"),
        (
            "HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n",
            true,
            "does not take OPTIONS",
        ),
        (
            "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
            false,
            "credentials",
        ),
    ] {
        let (url, server) = answering(vec![NO.into(), second.into()]);
        let probe = client(&config(&url)).probe();
        assert!(
            probe.fine == fine && probe.sentence.contains(word),
            "{probe:?}"
        );
        assert!(server.join().unwrap()[1].0.starts_with("GET / "));
    }
    // Where each file has an address, there is nothing yet at that of a new one.
    let (url, server) = answering(vec![NO.into()]);
    let probe = client(&config(&format!("{url}in/{{path}}"))).probe();
    assert!(
        probe.fine && probe.sentence.contains("no file of the name"),
        "{probe:?}"
    );
    server.join().unwrap();
}

#[test]
fn an_address_of_version_6_is_reached() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        crate::skip::skip("there is no IPv6 here");
        return;
    };
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut peer = accept(&listener);
        let head = peer.request().unwrap().0;
        peer.say(OK);
        head
    });
    assert_eq!(
        answer(send(&mut client(&config(&url)), "a", &mut Bytes::new("x"))).status,
        200
    );
    assert!(
        field(&server.join().unwrap(), "host")
            .unwrap()
            .starts_with("[::1]:")
    );
}

#[test]
fn a_client_at_rest_keeps_no_connection() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        peer.request();
        peer.say(OK);
        peer.rest().len()
    });
    let mut client = client(&config(&url));
    answer(send(&mut client, "a", &mut Bytes::new("x")));
    client.close_idle();
    assert_eq!(server.join().unwrap(), 0);
}
