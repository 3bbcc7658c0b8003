//! A file whose ctime moves while its size and mtime stand still, in the middle of an upload:
//! nothing is broken off by that, and nothing that has changed under it goes out mixed.
#![cfg(unix)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::util::{
    BOUND, Daemon, Dir, Gate, Reaction, Rng, Server, config, draw_bytes, wait_until,
};

/// Large enough that most of it is still to be read when the endpoint has its first bytes.
const SIZE: usize = 16 << 20;

/// What the endpoint has of each request.
type Bodies = Arc<Mutex<Vec<Body>>>;

#[derive(Clone, Debug, Default)]
struct Body {
    bytes: Vec<u8>,
    whole: bool,
}

/// An endpoint that reads a MiB of each body, calls `meddle` with the number of the request (from
/// 0), and reads the rest, with a pause after each MiB. The receive buffers are small, so that the
/// rest cannot be out by then.
fn endpoint(pause: Duration, meddle: impl Fn(usize) + Send + Sync + 'static) -> (String, Bodies) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    rustix::net::sockopt::set_socket_recv_buffer_size(&listener, 64 * 1024).expect("its buffer");
    let url = format!("http://{}/", listener.local_addr().expect("its address"));
    let bodies = Bodies::default();
    let (seen, meddle) = (Arc::clone(&bodies), Arc::new(meddle));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (seen, meddle) = (Arc::clone(&seen), Arc::clone(&meddle));
            let mut stream = stream.expect("a connection");
            std::thread::spawn(
                move || {
                    while receive(&mut stream, pause, &seen, &*meddle).is_some() {}
                },
            );
        }
    });
    (url, bodies)
}

/// Reads one request and answers it; `None` when the connection is over.
fn receive(
    stream: &mut TcpStream,
    pause: Duration,
    seen: &Bodies,
    meddle: &dyn Fn(usize),
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)
        .expect("a head")
        .to_ascii_lowercase();
    let field = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = field.expect("a length").parse().expect("a number");
    if head.contains("100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(Body::default());
        seen.len() - 1
    };
    let mut bytes = vec![0; length];
    let mut got = 0;
    while got < length {
        let piece = (length - got).min(1 << 20);
        let read = stream.take(piece as u64).read(&mut bytes[got..]);
        let Some(amount) = read.ok().filter(|&amount| amount > 0) else {
            break;
        };
        if got < 1 << 20 && got + amount >= 1 << 20 {
            meddle(number);
        }
        if got >> 20 != (got + amount) >> 20 {
            std::thread::sleep(pause);
        }
        got += amount;
    }
    bytes.truncate(got);
    seen.lock().unwrap()[number] = Body {
        bytes,
        whole: got == length,
    };
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .ok()
        .filter(|()| got == length)
}

/// A folder on a local disk, or on a share: what is watched, and where a test works on it.
enum Place {
    Local(Dir),
    #[cfg(target_os = "linux")]
    Share(Box<crate::util::fuse::Share>),
}

impl Place {
    /// All that there are here.
    fn all() -> Vec<Place> {
        vec![
            Place::Local(Dir::new()),
            #[cfg(target_os = "linux")]
            match crate::util::fuse::Share::mount() {
                Some(share) => Place::Share(Box::new(share)),
                None => return vec![Place::Local(Dir::new())],
            },
        ]
    }

    fn watched(&self) -> std::path::PathBuf {
        match self {
            Place::Local(dir) => dir.path().to_path_buf(),
            #[cfg(target_os = "linux")]
            Place::Share(share) => share.path(),
        }
    }

    /// The same folder, for the writer: never through the mount.
    fn back(&self) -> std::path::PathBuf {
        match self {
            Place::Local(dir) => dir.path().to_path_buf(),
            #[cfg(target_os = "linux")]
            Place::Share(share) => share.path().parent().expect("a parent").join("back"),
        }
    }

    fn is_filed(&self, name: &str) -> bool {
        self.back().join(".dirpost/done").join(name).exists()
    }
}

/// Makes a file that is whole from its first look on.
fn put(path: &Path, bytes: &[u8]) {
    let draft = path.with_extension("tmp");
    std::fs::write(&draft, bytes).unwrap();
    std::fs::rename(draft, path).unwrap();
}

/// Writes other content of the same size, and puts the mtime back.
fn rewrite(path: &Path, bytes: &[u8]) {
    let mtime = path.metadata().unwrap().modified().unwrap();
    let mut file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
    file.set_modified(mtime).unwrap();
    assert_eq!(path.metadata().unwrap().modified().unwrap(), mtime);
}

#[test]
fn a_chmod_every_100_ms_breaks_no_upload_off() {
    for place in Place::all() {
        let bytes = draw_bytes(&mut Rng::new(1), SIZE);
        let file = place.back().join("large.bin");
        let begun = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&begun);
        let (url, bodies) = endpoint(Duration::from_millis(200), move |_| {
            tell.store(true, Ordering::SeqCst);
        });
        let daemon = Daemon::start(&config(&place.watched(), &url, ""));
        put(&file, &bytes);
        wait_until("the upload", BOUND, || begun.load(Ordering::SeqCst));
        let mut chmods = 0;
        let mut last: Option<Instant> = None;
        wait_until("a whole body", BOUND, || {
            if last.is_none_or(|last| last.elapsed() >= Duration::from_millis(100)) {
                let mode = if chmods % 2 == 0 { 0o640 } else { 0o644 };
                std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
                chmods += 1;
                last = Some(Instant::now());
            }
            bodies.lock().unwrap().iter().any(|body| body.whole)
        });
        assert!(chmods > 10, "{chmods} chmods: too few to show anything");
        wait_until("it filed", BOUND, || place.is_filed("large.bin"));
        let bodies = bodies.lock().unwrap();
        assert!(bodies.len() == 1 && bodies[0].bytes == bytes);
        assert!(!daemon.has_logged("changed"), "{:?}", daemon.log());
    }
}

#[test]
fn a_hard_link_and_an_attribute_break_no_upload_off() {
    for place in Place::all() {
        let bytes = draw_bytes(&mut Rng::new(2), SIZE);
        let file = place.back().join("large.bin");
        let (source, elsewhere) = (file.clone(), Dir::new());
        let link = elsewhere.join("link");
        let (url, bodies) = endpoint(Duration::ZERO, move |number| {
            if number > 0 {
                return;
            }
            // As a scanner marks what it has seen; tmpfs has no user attributes before Linux 6.6.
            #[cfg(any(target_os = "linux", target_vendor = "apple"))]
            let _ = rustix::fs::setxattr(
                &source,
                "user.scanned",
                b"1",
                rustix::fs::XattrFlags::empty(),
            );
            std::fs::hard_link(&source, &link).unwrap();
        });
        let daemon = Daemon::start(&config(&place.watched(), &url, ""));
        put(&file, &bytes);
        wait_until("it filed", BOUND, || place.is_filed("large.bin"));
        let bodies = bodies.lock().unwrap();
        assert!(bodies.len() == 1 && bodies[0].bytes == bytes);
        assert!(elsewhere.exists("link"));
        assert!(!daemon.has_logged("changed"), "{:?}", daemon.log());
    }
}

/// A zip archive of one file, which is not compressed (APPNOTE.TXT, 4.3).
fn zip(content: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(content);
    let size = u32::try_from(content.len()).unwrap();
    // Version and flags, method, time and date, CRC, both sizes, the lengths of name and extra field.
    let mut entry = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
    for number in [crc.sum(), size, size] {
        entry.extend(number.to_le_bytes());
    }
    entry.extend([1, 0, 0, 0]);
    let mut archive = b"PK\x03\x04".to_vec();
    archive.extend(&entry);
    archive.extend(b"a");
    archive.extend(content);
    let directory = u32::try_from(archive.len()).unwrap();
    archive.extend(b"PK\x01\x02\x14\x00");
    archive.extend(&entry);
    // Comment, disk, attributes, and where its entry begins.
    archive.extend([0; 14]);
    archive.extend(b"a");
    let length = u32::try_from(archive.len()).unwrap() - directory;
    archive.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    archive.extend(length.to_le_bytes());
    archive.extend(directory.to_le_bytes());
    archive.extend([0, 0]);
    archive
}

#[test]
fn a_chmod_breaks_no_upload_off_of_what_a_command_or_a_zip_check_has_passed() {
    let bytes = zip(&draw_bytes(&mut Rng::new(4), SIZE));
    for check in ["check.command = [\"true\"]", "check.format = \"zip\""] {
        for place in Place::all() {
            let file = place.back().join("large.zip");
            let source = file.clone();
            let (url, bodies) = endpoint(Duration::ZERO, move |_| {
                let mode = PermissionsExt::from_mode(0o640);
                std::fs::set_permissions(&source, mode).unwrap();
            });
            let daemon = Daemon::start(&config(&place.watched(), &url, check));
            put(&file, &bytes);
            wait_until("it filed", BOUND, || place.is_filed("large.zip"));
            let bodies = bodies.lock().unwrap();
            assert_eq!(bodies.len(), 1, "{check}: {:?}", daemon.log());
            assert!(bodies[0].whole);
        }
    }
}

#[test]
fn content_that_changes_during_an_upload_with_size_and_mtime_put_back_is_never_accepted_mixed() {
    for place in Place::all() {
        let mut rng = Rng::new(3);
        let (old, new) = (draw_bytes(&mut rng, SIZE), draw_bytes(&mut rng, SIZE));
        let file = place.back().join("large.bin");
        let (source, other) = (file.clone(), new.clone());
        let (url, bodies) = endpoint(Duration::ZERO, move |number| {
            if number == 0 {
                rewrite(&source, &other);
            }
        });
        let daemon = Daemon::start(&config(&place.watched(), &url, ""));
        put(&file, &old);
        wait_until("it filed", BOUND, || place.is_filed("large.bin"));
        {
            let bodies = bodies.lock().unwrap();
            assert_eq!(bodies.len(), 2);
            assert!(!bodies[0].whole, "a mixture was accepted");
            assert!(bodies[1].whole && bodies[1].bytes == new);
        }
        daemon.wait_log("large.bin: its content changed while its size and mtime stood still");
        let filed = std::fs::read(place.back().join(".dirpost/done/large.bin")).unwrap();
        assert!(filed == new);
    }
}

/// What waits behind another file after it was checked is not sent under that check.
#[test]
fn content_that_changes_between_its_check_and_its_upload_is_checked_again() {
    for place in Place::all() {
        let gate = Gate::new();
        let (hold, held) = (gate.clone(), Arc::new(Mutex::new(None)));
        let first = Arc::clone(&held);
        let server = Server::start(move |head| {
            let mut first = first.lock().unwrap();
            match &*first {
                None => *first = Some(head.path.clone()),
                Some(_) => return Reaction::Answer(200),
            }
            Reaction::Hold(hold.clone(), 200)
        });
        let extra = "check.format = \"json\"\nsend.workers = 1\ncheck.grace = \"100ms\"\n\
                     watch.interval = \"1h\"";
        let names = ["one.json", "two.json"];
        for name in names {
            std::fs::write(place.back().join(name), "[1]").unwrap();
        }
        let _daemon = Daemon::start(&config(&place.watched(), &server.url(), extra));
        wait_until("the first", BOUND, || server.whole_bodies() == 1);
        let first = held.lock().unwrap().clone().expect("it is held");
        let second = names.into_iter().find(|name| *name != first).unwrap();
        rewrite(&place.back().join(second), b"no!");
        gate.open();
        wait_until("the first filed", BOUND, || place.is_filed(&first));
        let dead = place.back().join(".dirpost/dead-letter").join(second);
        wait_until("the second condemned", BOUND, || dead.exists());
        assert_eq!(server.requests().len(), 1);
    }
}
