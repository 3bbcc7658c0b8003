//! An endpoint that is never the bottleneck: it reads, counts and answers.
//!
//! For rclone it is as much of a WebDAV server as a move into it needs.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

/// Runs until the process ends.
pub struct Receiver {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    count: AtomicUsize,
    /// When the last file had come.
    last: Mutex<Instant>,
    /// What was stored by PUT, with its size.
    stored: Mutex<HashMap<String, usize>>,
}

impl Receiver {
    pub fn start() -> Receiver {
        Receiver::on("127.0.0.1:0".parse().expect("an address")).expect("a port")
    }

    /// # Errors
    /// If the address cannot be listened at.
    pub fn on(address: SocketAddr) -> io::Result<Receiver> {
        let listener = TcpListener::bind(address)?;
        let url = format!("http://{}/", listener.local_addr()?);
        let shared = Arc::new(Shared {
            count: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
            stored: Mutex::default(),
        });
        let given = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&given);
                // A peer that breaks a connection off is no fault of the measurement.
                thread::spawn(move || serve(stream, &shared).unwrap_or_default());
            }
        });
        Ok(Receiver { url, shared })
    }

    /// How many files have come whole.
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// When the last file had come.
    pub fn last(&self) -> Instant {
        *self.shared.last.lock().expect("no panic under it")
    }
}

/// The parts of a request that matter here.
struct Head {
    method: String,
    path: String,
    length: usize,
    expects: bool,
}

fn parse(head: &[u8]) -> Option<Head> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let mut head = Head {
        method: first.next()?.into(),
        path: first.next()?.into(),
        length: 0,
        expects: false,
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            head.length = value.trim().parse().ok()?;
        } else if name.eq_ignore_ascii_case("expect") {
            head.expects = true;
        }
    }
    Some(head)
}

fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buf = vec![0; 256 * 1024];
    let mut filled = 0;
    loop {
        let end = loop {
            if let Some(at) = buf[..filled].windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read(&mut buf[filled..])? {
                0 => return Ok(()),
                amount => filled += amount,
            }
        };
        let head = parse(&buf[..end]).ok_or(io::ErrorKind::InvalidData)?;
        if head.expects {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let here = head.length.min(filled - end);
        buf.copy_within(end + here..filled, 0);
        filled -= end + here;
        let mut left = head.length - here;
        while left > 0 {
            let most = left.min(buf.len());
            left -= match stream.read(&mut buf[..most])? {
                0 => return Ok(()),
                amount => amount,
            };
        }
        answer(&mut stream, &head, shared)?;
    }
}

fn answer(stream: &mut TcpStream, head: &Head, shared: &Shared) -> io::Result<()> {
    let stores = matches!(&*head.method, "POST" | "PUT");
    if head.method == "PUT" {
        let mut stored = shared.stored.lock().expect("no panic under it");
        stored.insert(head.path.clone(), head.length);
    }
    // Before the answer: who has that may ask at once how many there were.
    if stores {
        *shared.last.lock().expect("no panic under it") = Instant::now();
        shared.count.fetch_add(1, Ordering::SeqCst);
    }
    match &*head.method {
        "PROPFIND" => properties(stream, &head.path, shared)?,
        "MKCOL" => stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")?,
        _ => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?,
    }
    Ok(())
}

/// What a WebDAV server says of one path.
fn properties(stream: &mut TcpStream, path: &str, shared: &Shared) -> io::Result<()> {
    let size = shared
        .stored
        .lock()
        .expect("no panic under it")
        .get(path)
        .copied();
    let what = match size {
        Some(size) => format!("<d:resourcetype/><d:getcontentlength>{size}</d:getcontentlength>"),
        None if path.ends_with('/') => "<d:resourcetype><d:collection/></d:resourcetype>".into(),
        None => {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        }
    };
    let body = format!(
        "<?xml version=\"1.0\"?><d:multistatus xmlns:d=\"DAV:\"><d:response><d:href>{path}</d:href>\
         <d:propstat><d:prop>{what}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat>\
         </d:response></d:multistatus>"
    );
    write!(
        stream,
        "HTTP/1.1 207 Multi-Status\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
