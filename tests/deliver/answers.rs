//! Answers: early ones, interim ones, odd ones.

use std::time::{Duration, Instant};

use crate::util::*;

const BIG: usize = 8 * 1024 * 1024;

fn big() -> Bytes {
    Bytes::new(vec![7; BIG])
}

#[test]
fn an_early_200_that_closes_is_early() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        peer.head();
        peer.say(&format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"));
    });
    let answer = answer(send(&mut client(&config(&url)), "a", &mut big()));
    assert!(answer.status == 200 && answer.early, "{answer:?}");
    server.join().unwrap();
}

#[test]
fn an_early_413_is_read_though_the_connection_is_reset() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        peer.head();
        peer.say("HTTP/1.1 100 Continue\r\n\r\n");
        peer.body(200_000);
        peer.say("HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nbig!");
        std::thread::sleep(Duration::from_millis(20));
        peer.reset();
    });
    let outcome = send(&mut client(&config(&url)), "a", &mut big());
    server.join().unwrap();
    let answer = answer(outcome);
    assert!(answer.status == 413 && answer.early, "{answer:?}");
}

#[test]
fn an_early_413_is_read_though_it_comes_with_the_reset() {
    for _ in 0..5 {
        let (url, server) = serve(|listener| {
            let mut peer = accept(&listener);
            peer.head();
            peer.say("HTTP/1.1 100 Continue\r\n\r\n");
            // By now the client waits in a write, and is still there when both come.
            std::thread::sleep(Duration::from_millis(250));
            peer.say("HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nbig!");
            peer.reset();
        });
        let outcome = send(&mut client(&config(&url)), "a", &mut big());
        server.join().unwrap();
        let answer = answer(outcome);
        assert!(answer.status == 413 && answer.early, "{answer:?}");
    }
}

#[test]
fn an_early_answer_is_heard_while_the_server_goes_on_reading() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        peer.head();
        peer.say("HTTP/1.1 100 Continue\r\n\r\n");
        peer.body(100_000);
        peer.say("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
        peer.rest().len()
    });
    let mut client = client(&config(&url));
    let mut body = Bytes {
        pause: Duration::from_millis(5),
        piece: 50_000,
        ..big()
    };
    let answer = answer(send(&mut client, "a", &mut body));
    assert!(answer.status == 401 && answer.early, "{answer:?}");
    drop(client);
    assert!(server.join().unwrap() < BIG / 2);
}

#[test]
fn an_early_answer_is_heard_while_the_server_has_stopped_reading() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        peer.head();
        peer.say("HTTP/1.1 100 Continue\r\n\r\n");
        std::thread::sleep(Duration::from_millis(300));
        peer.say("HTTP/1.1 507 Full\r\nContent-Length: 0\r\n\r\n");
        // Keeps the connection until the client has gone.
        accept(&listener);
    });
    let begun = Instant::now();
    let answer = answer(send(
        &mut client(&config(&url)),
        "a",
        &mut Bytes::new(vec![7; 4 * BIG]),
    ));
    assert!(answer.status == 507 && answer.early, "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(std::net::TcpStream::connect(url[7..].trim_end_matches('/')));
    server.join().unwrap();
}

#[test]
fn an_answer_that_comes_along_with_the_continue_is_heard() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        peer.head();
        peer.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
        peer.rest().len()
    });
    let answer = answer(send(&mut client(&config(&url)), "a", &mut big()));
    assert!(answer.status == 403 && answer.early, "{answer:?}");
    assert!(server.join().unwrap() <= 128 * 1024);
}

/// Proxies put fields such as `Via` into it, and RFC 9110 (15.2) allows that.
#[test]
fn a_continue_with_fields_of_its_own_is_one() {
    for pieces in [
        vec!["HTTP/1.1 100 Continue\r\nVia: 1.1 proxy\r\nX: y\r\n\r\n"],
        vec!["HTTP/1.1 100 Continue\r\nVia: 1.1 pro", "xy\r\n\r\n"],
        vec![
            "HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n",
            "HTTP/1.1 100 Continue\r\nVia: 1.1 proxy\r\n\r\n",
        ],
        vec!["HTTP/1.1 102 Hm\r\n\r\nHTTP/1.1 100 Continue\r\nVia: 1.1 proxy\r\n\r\n"],
    ] {
        let (url, server) = serve(move |listener| {
            let mut peer = accept(&listener);
            peer.head().unwrap();
            for piece in pieces {
                peer.say(piece);
                std::thread::sleep(Duration::from_millis(100));
            }
            let body = peer.body(BIG).len();
            peer.say(&format!("HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n{OK}"));
            body
        });
        let answer = answer(send(&mut client(&config(&url)), "a", &mut big()));
        assert!(answer.status == 200 && !answer.early, "{answer:?}");
        assert_eq!(server.join().unwrap(), BIG);
    }
}

#[test]
fn the_body_is_not_sent_when_the_answer_comes_first() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        assert_eq!(field(&peer.head().unwrap(), "expect"), Some("100-continue"));
        peer.say("HTTP/1.1 401 No\r\nContent-Length: 0\r\nX: y\r\n\r\n");
        let rest = peer.rest().len();
        let mut peer = accept(&listener);
        peer.request().unwrap();
        peer.say(OK);
        rest
    });
    let mut client = client(&config(&url));
    let mut body = big();
    let first = answer(send(&mut client, "a", &mut body));
    assert!(
        first.status == 401 && first.early && body.at == 0,
        "{first:?}"
    );
    let second = answer(send(&mut client, "a", &mut Bytes::new("x")));
    assert!(second.status == 200 && !second.early);
    assert_eq!(server.join().unwrap(), 0);
}

/// RFC 9110, 10.1.1: then it is asked again without.
#[test]
fn a_server_that_knows_no_expect_gets_the_body_all_the_same() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        assert_eq!(field(&peer.head().unwrap(), "expect"), Some("100-continue"));
        peer.say("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
        let mut peer = accept(&listener);
        let (head, body) = peer.request().unwrap();
        peer.say(OK);
        (field(&head, "expect").map(str::to_owned), body.len())
    });
    let mut body = big();
    let answer = answer(send(&mut client(&config(&url)), "a", &mut body));
    assert!(answer.status == 200 && !answer.early, "{answer:?}");
    assert_eq!(server.join().unwrap(), (None, BIG));
}

#[test]
fn a_continue_that_never_comes_or_comes_late_is_no_hindrance() {
    for late in [false, true] {
        let (url, server) = serve(move |listener| {
            let mut peer = accept(&listener);
            peer.head();
            let begun = Instant::now();
            let mut body = peer.body(300_000).len();
            let waited = begun.elapsed();
            if late {
                peer.say("HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 102 Hm\r\n\r\n");
            }
            body += peer.body(BIG - 300_000).len();
            peer.say(OK);
            (waited, body)
        });
        let mut body = Bytes {
            pause: Duration::from_millis(2),
            ..big()
        };
        let answer = answer(send(&mut client(&config(&url)), "a", &mut body));
        assert!(answer.status == 200 && !answer.early, "{answer:?}");
        let (waited, body) = server.join().unwrap();
        assert!(waited > Duration::from_millis(900) && waited < Duration::from_secs(5));
        assert_eq!(body, BIG);
    }
}

#[test]
fn a_short_stall_timeout_does_not_cut_the_wait_for_continue() {
    let (url, server) = answering(vec![OK.into()]);
    let mut config = config(&url);
    config.stall_timeout = Duration::from_millis(300);
    assert_eq!(
        answer(send(&mut client(&config), "a", &mut big())).status,
        200
    );
    server.join().unwrap();
}

#[test]
fn interim_answers_are_passed_over() {
    let (url, server) = answering(vec![format!(
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n{OK}"
    )]);
    assert_eq!(
        answer(send(&mut client(&config(&url)), "a", &mut Bytes::new("x"))).status,
        200
    );
    server.join().unwrap();
}

#[test]
fn redirects_and_refusals_are_answers() {
    for (status, extra) in [
        (301, "Location: /there\r\n"),
        (307, "Location: /x\r\n"),
        (404, ""),
        (503, "Retry-After: 7\r\n"),
    ] {
        let (url, server) = answering(vec![format!(
            "HTTP/1.1 {status} X\r\n{extra}Content-Length: 3\r\n\r\nwhy"
        )]);
        let answer = answer(send(&mut client(&config(&url)), "a", &mut Bytes::new("x")));
        assert_eq!(answer.status, status);
        assert_eq!(answer.body, b"why");
        assert!(!answer.early);
        assert_eq!(answer.location.is_some(), extra.starts_with('L'));
        assert_eq!(
            answer.retry_after.as_deref(),
            extra.starts_with('R').then_some("7")
        );
        server.join().unwrap();
    }
}

#[test]
fn chunked_answers_and_long_ones_keep_the_connection() {
    let long = "y".repeat(60_000);
    let (url, server) = answering(vec![
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
            .into(),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n{long}"),
        OK.into(),
    ]);
    let mut client = client(&config(&url));
    assert_eq!(
        answer(send(&mut client, "a", &mut Bytes::new("x"))).body,
        b"abcde"
    );
    assert_eq!(
        answer(send(&mut client, "a", &mut Bytes::new("x")))
            .body
            .len(),
        4096
    );
    assert_eq!(
        answer(send(&mut client, "a", &mut Bytes::new("x"))).body,
        b"ok"
    );
    assert_eq!(server.join().unwrap().len(), 3);
}

#[test]
fn an_endless_answer_is_left() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        peer.request();
        peer.say("HTTP/1.1 200 OK\r\n\r\n");
        let chunk = [b'z'; 65536];
        while std::io::Write::write_all(&mut peer.stream, &chunk).is_ok() {}
    });
    let answer = answer(send(&mut client(&config(&url)), "a", &mut Bytes::new("x")));
    assert_eq!((answer.status, answer.body.len()), (200, 4096));
    server.join().unwrap();
}

#[test]
fn a_body_cut_short_takes_nothing_from_the_status() {
    let (url, server) = answering(vec![
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort".into(),
    ]);
    let answer = answer(send(&mut client(&config(&url)), "a", &mut Bytes::new("x")));
    assert_eq!((answer.status, &answer.body[..]), (200, &b"short"[..]));
    server.join().unwrap();
}

#[test]
fn a_body_that_stalls_is_waited_for_no_longer_than_stall_timeout() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        peer.request();
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nslow");
        peer.rest();
    });
    let mut config = config(&url);
    config.stall_timeout = Duration::from_millis(300);
    let begun = Instant::now();
    let mut client = client(&config);
    assert_eq!(
        answer(send(&mut client, "a", &mut Bytes::new("x"))).body,
        b"slow"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    server.join().unwrap();
}

#[test]
fn the_wanted_words_are_looked_for_beyond_what_is_kept() {
    let far = format!("{}stored as 17{}", "-".repeat(500_000), "-".repeat(10));
    for (wanted, found) in [("stored as", true), ("rejected", false)] {
        let (url, server) = answering(vec![format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{far}",
            far.len()
        )]);
        let mut config = config(&url);
        config.accept_body = Some(wanted.into());
        let answer = answer(send(&mut client(&config), "a", &mut Bytes::new("x")));
        assert_eq!(answer.body_matches, found);
        assert_eq!(answer.content_type.as_deref(), Some("text/html"));
        server.join().unwrap();
    }
}

/// A proxy that does not bear `Expect`: the connection ends, and nobody says why.
#[test]
fn what_drops_requests_with_expect_is_found_out_once() {
    let (url, server) = serve(|listener| {
        let mut expected = Vec::new();
        for _ in 0..3 {
            let mut peer = accept(&listener);
            let head = peer.head().unwrap();
            let expects = field(&head, "expect").is_some();
            expected.push(expects);
            if !expects {
                peer.body(BIG);
                peer.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            }
        }
        expected
    });
    let shared = dirpost::io::http::Shared::new(&config(&url)).unwrap();
    // What one worker has found out, the others know.
    for _ in 0..2 {
        let mut client = dirpost::io::http::Client::new(&config(&url), &shared);
        assert_eq!(answer(send(&mut client, "a", &mut big())).status, 200);
    }
    assert_eq!(server.join().unwrap(), [true, false, false]);
}

#[test]
fn an_endpoint_that_breaks_everything_off_is_not_blamed_on_expect() {
    let (url, server) = serve(|listener| {
        let mut expected = Vec::new();
        for number in 0..3 {
            let mut peer = accept(&listener);
            expected.push(field(&peer.head().unwrap(), "expect").is_some());
            if number == 2 {
                peer.body(BIG);
                peer.say(OK);
            }
        }
        expected
    });
    let mut client = client(&config(&url));
    let failure = failure(send(&mut client, "a", &mut big()));
    assert!(
        failure.detail.contains("closed the connection") || failure.detail.contains("broke"),
        "{failure:?}"
    );
    assert_eq!(answer(send(&mut client, "a", &mut big())).status, 200);
    assert_eq!(server.join().unwrap(), [true, false, true]);
}

#[test]
fn expect_can_be_left_out() {
    let (url, server) = answering(vec![OK.into()]);
    let mut config = config(&url);
    config.expect = dirpost::config::Expect::Never;
    assert_eq!(
        answer(send(&mut client(&config), "a", &mut big())).status,
        200
    );
    let (head, body) = server.join().unwrap().remove(0);
    assert_eq!((field(&head, "expect"), body.len()), (None, BIG));
}
