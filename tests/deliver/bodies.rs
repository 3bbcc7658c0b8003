//! Bodies: raw, forms, gzip, large, slow, and those that break.

use std::io::Read;
use std::time::{Duration, Instant};

use dirpost::config::{BodyKind, Compress};
use dirpost::io::http::{FileMeta, Outcome};

use crate::util::*;

#[test]
fn a_small_file_leaves_in_one_piece_with_its_head() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        let mut buf = [0; 65536];
        let amount = peer.stream.read(&mut buf).unwrap();
        peer.say(OK);
        String::from_utf8_lossy(&buf[..amount]).into_owned()
    });
    let mut client = client(&config(&url));
    answer(send(&mut client, "a", &mut Bytes::new(vec![b'x'; 4096])));
    let first = server.join().unwrap();
    assert!(
        first.starts_with("POST") && first.ends_with("xxxx"),
        "{} bytes",
        first.len()
    );
}

#[test]
fn an_empty_file_is_a_request_of_length_zero() {
    let (url, server) = answering(vec![OK.into(); 2]);
    let mut client = client(&config(&url));
    for _ in 0..2 {
        let answer = answer(send(&mut client, "a", &mut Bytes::new("")));
        assert!(answer.status == 200 && !answer.early);
    }
    assert_eq!(
        field(&server.join().unwrap()[1].0, "content-length"),
        Some("0")
    );
}

#[test]
fn bytes_arrive_as_they_are_whatever_the_size() {
    for size in [1, 65_535, 131_072, 131_073, 1_048_576, 5_000_001] {
        let data: Vec<u8> = (0..size).map(|n| (n * 7 + n / 251) as u8).collect();
        let (url, server) = answering(vec![OK.into()]);
        let mut client = client(&config(&url));
        let answer = answer(send(&mut client, "a", &mut Bytes::new(data.clone())));
        assert!(answer.status == 200 && !answer.early);
        let (head, body) = server.join().unwrap().remove(0);
        assert_eq!(field(&head, "expect").is_some(), size > 1_048_576);
        assert!(body == data, "{size}");
    }
}

#[test]
fn a_form_has_an_exact_length_and_a_safe_name() {
    let (url, server) = answering(vec![OK.into()]);
    let mut config = config(&url);
    config.body = BodyKind::Multipart("file".into());
    let mut client = client(&config);
    let letter = FileMeta {
        path: b"d/a\"\r\nb\xff.csv",
        ..letter("", 5)
    };
    answer(client.send(&letter, &mut Bytes::new("1,2,3")));
    let (head, body) = server.join().unwrap().remove(0);
    let body = String::from_utf8(body).unwrap();
    let kind = field(&head, "content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    assert_eq!(
        body,
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"a%22%0D%0Ab%FF.csv\"\r\nContent-Type: text/csv\r\n\r\n1,2,3\r\n\
             --{boundary}--\r\n"
        )
    );
}

/// The pieces of a chunked body, and whether it was ended.
fn dechunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(at) = raw.windows(2).position(|end| end == b"\r\n") else {
            return (body, false);
        };
        let size = usize::from_str_radix(str::from_utf8(&raw[..at]).unwrap(), 16).unwrap();
        raw = &raw[at + 2..];
        if size == 0 {
            return (body, true);
        }
        body.extend_from_slice(&raw[..size.min(raw.len())]);
        raw = raw.get(size + 2..).unwrap_or_default();
    }
}

fn gzip_server() -> (String, std::thread::JoinHandle<(String, Vec<u8>)>) {
    serve(|listener| {
        let mut peer = accept(&listener);
        let head = peer.head().unwrap();
        if field(&head, "expect").is_some() {
            peer.say("HTTP/1.1 100 Continue\r\n\r\n");
        }
        let mut raw = std::mem::take(&mut peer.early);
        let mut buf = [0; 65536];
        while !raw.ends_with(b"\r\n0\r\n\r\n") {
            match peer.stream.read(&mut buf) {
                Ok(0) | Err(_) => break,
                Ok(amount) => raw.extend_from_slice(&buf[..amount]),
            }
        }
        peer.say(OK);
        (head, raw)
    })
}

#[test]
fn gzip_is_streamed_in_chunks() {
    for size in [0_u32, 10, 3_000_000] {
        let data: Vec<u8> = (0..size).map(|n| (n / 100) as u8).collect();
        let (url, server) = gzip_server();
        let mut config = config(&url);
        config.compress = Compress::Gzip;
        let mut client = client(&config);
        let answer = answer(send(&mut client, "a.txt", &mut Bytes::new(data.clone())));
        assert!(answer.status == 200 && !answer.early);
        let (head, raw) = server.join().unwrap();
        assert_eq!(field(&head, "content-encoding"), Some("gzip"));
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"));
        assert_eq!(field(&head, "content-length"), None);
        let (body, ended) = dechunk(&raw);
        assert!(ended);
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&body[..])
            .read_to_end(&mut plain)
            .unwrap();
        assert!(plain == data, "{size}");
    }
}

#[test]
fn a_file_that_changes_is_never_sent_whole() {
    for (kind, compress) in [
        (BodyKind::Raw, Compress::None),
        (BodyKind::Multipart("f".into()), Compress::None),
        (BodyKind::Raw, Compress::Gzip),
    ] {
        for (size, breaks_at) in [(4096, 4000), (4096, 0), (3_000_000, 2_999_999)] {
            let (url, server) = serve(move |listener| {
                let mut peer = accept(&listener);
                let head = peer.head();
                (head, peer.rest())
            });
            let mut config = config(&url);
            config.body = kind.clone();
            config.compress = compress;
            let mut client = client(&config);
            let noise: Vec<u8> = (0..size as u32)
                .map(|n| (n.wrapping_mul(n) >> 7) as u8)
                .collect();
            let mut body = Bytes {
                breaks_at: Some(breaks_at),
                ..Bytes::new(noise)
            };
            match send(&mut client, "a", &mut body) {
                Outcome::Broken(err) => assert_eq!(err.to_string(), "it has changed"),
                other => panic!("{other:?}"),
            }
            drop(client);
            let (head, rest) = server.join().unwrap();
            let Some(head) = head else { continue };
            match field(&head, "content-length") {
                Some(len) => assert!(rest.len() < len.parse().unwrap()),
                None => assert!(!dechunk(&rest).1),
            }
        }
    }
}

#[test]
fn a_file_shorter_than_its_size_is_broken_off() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        peer.head();
        peer.rest().len()
    });
    let mut client = client(&config(&url));
    let outcome = client.send(&letter("a", 10), &mut Bytes::new("12345"));
    assert!(matches!(outcome, Outcome::Broken(_)), "{outcome:?}");
    drop(client);
    assert!(server.join().unwrap() < 10);
}

#[test]
fn a_slow_upload_that_moves_outlives_every_timeout() {
    let (url, server) = answering(vec![OK.into()]);
    let mut config = config(&url);
    config.stall_timeout = Duration::from_millis(200);
    config.response_timeout = Duration::from_millis(200);
    config.connect_timeout = Duration::from_millis(200);
    let mut client = client(&config);
    let mut body = Bytes {
        pause: Duration::from_millis(100),
        piece: 20_000,
        ..Bytes::new(vec![1; 300_000])
    };
    let begun = Instant::now();
    assert_eq!(answer(send(&mut client, "a", &mut body)).status, 200);
    assert!(begun.elapsed() > Duration::from_millis(1000));
    assert_eq!(server.join().unwrap()[0].1.len(), 300_000);
}

#[test]
fn a_server_that_reads_slowly_is_waited_for() {
    let (url, server) = serve(|listener| {
        let mut peer = accept(&listener);
        peer.head();
        let mut buf = [0; 400_000];
        let mut read = peer.early.len();
        while read < 16_000_000 {
            std::thread::sleep(Duration::from_millis(40));
            read += peer.stream.read(&mut buf).unwrap();
        }
        peer.say(OK);
    });
    let mut config = config(&url);
    config.stall_timeout = Duration::from_millis(700);
    let mut client = client(&config);
    let begun = Instant::now();
    assert_eq!(
        answer(send(&mut client, "a", &mut Bytes::new(vec![1; 16_000_000]))).status,
        200
    );
    assert!(
        begun.elapsed() > Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
    server.join().unwrap();
}

#[test]
fn the_rate_is_kept() {
    let (url, server) = answering(vec![OK.into()]);
    let mut config = config(&url);
    config.max_rate = Some(100_000);
    let mut client = client(&config);
    let begun = Instant::now();
    answer(send(&mut client, "a", &mut Bytes::new(vec![1; 60_000])));
    assert!(
        begun.elapsed() >= Duration::from_millis(590),
        "{:?}",
        begun.elapsed()
    );
    server.join().unwrap();
}
