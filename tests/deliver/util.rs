//! A server that does what a test tells it to, and files that are not there.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dirpost::config;
use dirpost::flow::endpoint::reply::{Answer, Failure, Reply};
use dirpost::flow::time::Wall;
use dirpost::io::http::{Body, Client, FileMeta, Outcome, Shared};

/// Long enough for any machine, short enough to end a hung test.
pub const LONG: Duration = Duration::from_secs(20);

pub fn config(url: &str) -> config::Send {
    config::Send {
        url: url.into(),
        method: config::Method::Post,
        body: config::BodyKind::Raw,
        content_type: None,
        headers: Vec::new(),
        fields: Vec::new(),
        expect: config::Expect::Auto,
        workers: 1,
        connect_timeout: LONG,
        stall_timeout: LONG,
        response_timeout: LONG,
        digest: config::Digest::Auto,
        compress: config::Compress::None,
        accept: config::Statuses(vec![(200, 299)]),
        reject: config::Statuses(vec![]),
        brake: 10,
        key_scope: None,
        accept_content_type: None,
        accept_body: None,
        order: config::SendOrder::Arrival,
        in_order: false,
        max_rate: None,
        auth: None,
        tls: config::Tls::default(),
        proxy: config::Proxy::None,
    }
}

pub fn client(send: &config::Send) -> Client {
    Client::new(send, &Shared::new(send).unwrap())
}

pub fn letter(path: &str, size: u64) -> FileMeta<'_> {
    FileMeta {
        path: path.as_bytes(),
        size,
        mtime: Wall(0),
        key: "the-key",
        sha256: None,
    }
}

/// A file in memory, or one that breaks at a point.
pub struct Bytes {
    pub data: Arc<Vec<u8>>,
    pub at: usize,
    pub breaks_at: Option<usize>,
    pub pause: Duration,
    pub piece: usize,
    pub rewinds: usize,
}

impl Bytes {
    pub fn new(data: impl Into<Vec<u8>>) -> Bytes {
        Bytes {
            data: Arc::new(data.into()),
            at: 0,
            breaks_at: None,
            pause: Duration::ZERO,
            piece: usize::MAX,
            rewinds: 0,
        }
    }

    pub fn len(&self) -> u64 {
        self.data.len() as u64
    }
}

impl Body for Bytes {
    type Broken = io::Error;

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.breaks_at.is_some_and(|at| self.at >= at) {
            return Err(io::Error::other("it has changed"));
        }
        thread::sleep(self.pause);
        let end = self.breaks_at.unwrap_or(self.data.len());
        let amount = (end - self.at).min(buf.len()).min(self.piece);
        buf[..amount].copy_from_slice(&self.data[self.at..self.at + amount]);
        self.at += amount;
        Ok(amount)
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.at = 0;
        self.rewinds += 1;
        Ok(())
    }
}

/// One connection, from the server's side.
pub struct Peer {
    pub stream: TcpStream,
    pub early: Vec<u8>,
}

impl Peer {
    pub fn new(stream: TcpStream) -> Peer {
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        Peer {
            stream,
            early: Vec::new(),
        }
    }

    /// The head of a request; `None` at the end of the connection.
    pub fn head(&mut self) -> Option<String> {
        let mut buf = [0; 4096];
        loop {
            if let Some(at) = self.early.windows(4).position(|end| end == b"\r\n\r\n") {
                let head = self.early.drain(..at + 4).collect();
                return Some(String::from_utf8(head).unwrap());
            }
            match self.stream.read(&mut buf) {
                Ok(0) | Err(_) => return None,
                Ok(amount) => self.early.extend_from_slice(&buf[..amount]),
            }
        }
    }

    pub fn body(&mut self, len: usize) -> Vec<u8> {
        let early = self.early.len().min(len);
        let mut body: Vec<u8> = self.early.drain(..early).collect();
        (&self.stream)
            .take((len - early) as u64)
            .read_to_end(&mut body)
            .unwrap();
        body
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.early);
        let mut buf = [0; 65536];
        while let Ok(amount) = self.stream.read(&mut buf) {
            if amount == 0 {
                break;
            }
            rest.extend_from_slice(&buf[..amount]);
        }
        rest
    }

    /// A whole request with a length.
    pub fn request(&mut self) -> Option<(String, Vec<u8>)> {
        let head = self.head()?;
        let len = field(&head, "content-length").map_or(0, |len| len.parse().unwrap());
        let body = self.body(len);
        Some((head, body))
    }

    pub fn say(&mut self, text: &str) {
        // The client may be gone, which is what some tests are about.
        let _ = self.stream.write_all(text.as_bytes());
    }

    /// Ends the connection with a reset and not with an end.
    pub fn reset(self) {
        linger_zero(&self.stream);
    }
}

#[cfg(unix)]
fn linger_zero(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

#[cfg(not(unix))]
fn linger_zero(_: &TcpStream) {}

pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server that runs `script` in a thread of its own.
pub fn serve<T: Send + 'static>(
    script: impl FnOnce(TcpListener) -> T + Send + 'static,
) -> (String, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    (url, thread::spawn(move || script(listener)))
}

pub fn accept(listener: &TcpListener) -> Peer {
    Peer::new(listener.accept().unwrap().0)
}

/// A head and a body.
pub type Request = (String, Vec<u8>);

/// A server for one connection that gives these answers to whole requests.
pub fn answering(answers: Vec<String>) -> (String, JoinHandle<Vec<Request>>) {
    serve(move |listener| {
        let mut peer = accept(&listener);
        let mut seen = Vec::new();
        for answer in answers {
            let Some(request) = peer.request() else { break };
            seen.push(request);
            peer.say(&answer);
        }
        seen
    })
}

pub fn send(client: &mut Client, path: &str, body: &mut Bytes) -> Outcome<io::Error> {
    client.send(&letter(path, body.len()), body)
}

#[track_caller]
pub fn answer(outcome: Outcome<io::Error>) -> Answer {
    match outcome {
        Outcome::Reply(Reply::Answer(answer)) => answer,
        other => panic!("no answer: {other:?}"),
    }
}

#[track_caller]
pub fn failure(outcome: Outcome<io::Error>) -> Failure {
    match outcome {
        Outcome::Reply(Reply::Failed(failure)) => failure,
        other => panic!("no failure: {other:?}"),
    }
}

/// A folder that goes away with the test.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("dirpost-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
