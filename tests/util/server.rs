//! A scriptable HTTP/1.1 endpoint that writes down all it sees.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What is known when the head of a request has been read.
#[derive(Clone, Debug)]
pub struct Head {
    pub method: String,
    pub target: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    /// `X-File-Path`, decoded.
    pub path: String,
    /// The how-manyeth request for this path, from 1.
    pub attempt: usize,
}

/// What the endpoint does then.
#[derive(Clone)]
pub enum Reaction {
    /// Reads the body and answers.
    Answer(u16),
    AnswerWith(u16, Vec<(String, String)>, String),
    AnswerAndClose(u16),
    /// Answers before it has read the body, and closes.
    Early(u16),
    /// Reads the body, and answers when the test opens the gate.
    Hold(Gate, u16),
    /// Resets the connection: before the body, after so many bytes of it, after it.
    ResetBeforeBody,
    ResetDuringBody(usize),
    ResetAfterBody,
    /// Reads the body and never answers.
    Never,
}

/// Closed until it is opened.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn new() -> Gate {
        Gate::default()
    }

    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let mut open = self.0.0.lock().unwrap();
        while !*open {
            open = self.0.1.wait(open).unwrap();
        }
    }
}

/// One request, as far as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub target: String,
    pub headers: HashMap<String, String>,
    pub path: String,
    pub key: String,
    pub body: Vec<u8>,
    /// All bytes that were promised have come.
    pub whole: bool,
    /// What was answered.
    pub status: Option<u16>,
    pub at: Instant,
    pub connection: usize,
}

impl Head {
    /// Whether it has this header (in lower case) with this value.
    fn has(&self, name: &str, value: &str) -> bool {
        let there = self.headers.get(name);
        there.is_some_and(|there| there.eq_ignore_ascii_case(value))
    }
}

impl Received {
    /// Its body is still to come.
    fn begun(head: &Head, connection: usize) -> Received {
        let key = head.headers.get("idempotency-key");
        Received {
            method: head.method.clone(),
            target: head.target.clone(),
            path: head.path.clone(),
            key: key.cloned().unwrap_or_default(),
            headers: head.headers.clone(),
            body: Vec::new(),
            whole: false,
            status: None,
            at: Instant::now(),
            connection,
        }
    }
}

type Script = dyn Fn(&Head) -> Reaction + Send + Sync;

struct Shared {
    script: Box<Script>,
    received: Mutex<Vec<Received>>,
    attempts: Mutex<HashMap<String, usize>>,
    connections: AtomicUsize,
    /// Connections are accepted and reset at once.
    refusing: AtomicBool,
    /// The body of the request on a connection has come.
    bodies: AtomicUsize,
    /// Bytes of bodies that have come, whole or not.
    bytes: AtomicUsize,
}

/// Listens on a free port of the loopback interface.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    listener: Option<thread::JoinHandle<()>>,
    /// While nothing listens: keeps the port from the servers of other tests.
    #[cfg(unix)]
    held: Option<std::os::fd::OwnedFd>,
}

/// A socket that has the port and does not listen: whoever connects is refused.
#[cfg(unix)]
fn hold(address: SocketAddr) -> Option<std::os::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

    let held = socket(AddressFamily::INET, SocketType::STREAM, None).ok()?;
    sockopt::set_socket_reuseaddr(&held, true).ok()?;
    bind(&held, &address).ok()?;
    Some(held)
}

impl Server {
    pub fn start(script: impl Fn(&Head) -> Reaction + Send + Sync + 'static) -> Server {
        let shared = Arc::new(Shared {
            script: Box::new(script),
            received: Mutex::default(),
            attempts: Mutex::default(),
            connections: AtomicUsize::new(0),
            refusing: AtomicBool::new(false),
            bodies: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let mut server = Server {
            address,
            shared,
            stop: Arc::default(),
            listener: None,
            #[cfg(unix)]
            held: None,
        };
        server.listen(listener);
        server
    }

    /// Answers 200 to everything.
    pub fn accepting() -> Server {
        Server::start(|_| Reaction::Answer(200))
    }

    fn listen(&mut self, listener: TcpListener) {
        let stop = Arc::new(AtomicBool::new(false));
        self.stop = Arc::clone(&stop);
        let shared = Arc::clone(&self.shared);
        self.listener = Some(thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                if shared.refusing.load(Ordering::SeqCst) {
                    reset(&stream);
                    continue;
                }
                let (shared, stop) = (Arc::clone(&shared), Arc::clone(&stop));
                thread::spawn(move || serve(&shared, &stop, stream, number));
            }
        }));
    }

    pub fn url(&self) -> String {
        format!("http://{}/up", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn requests(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Whole requests that were answered with 2xx.
    pub fn accepted(&self) -> Vec<Received> {
        self.requests()
            .into_iter()
            .filter(|request| {
                request.whole && request.status.is_some_and(|status| status / 100 == 2)
            })
            .collect()
    }

    pub fn accepted_count(&self) -> usize {
        let all = self.shared.received.lock().unwrap();
        all.iter()
            .filter(|request| {
                request.whole && request.status.is_some_and(|status| status / 100 == 2)
            })
            .count()
    }

    pub fn accepted_bodies(&self, path: &str) -> Vec<Vec<u8>> {
        self.accepted()
            .into_iter()
            .filter(|request| request.path == path)
            .map(|request| request.body)
            .collect()
    }

    /// How many bodies have come whole, answered or not.
    pub fn whole_bodies(&self) -> usize {
        self.shared.bodies.load(Ordering::SeqCst)
    }

    /// How many bytes of bodies have come, whole or not.
    pub fn body_bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::SeqCst)
    }

    /// How many connections were made, refused ones included.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// From now on connections are accepted and reset at once; those that exist end.
    pub fn refuse(&self) {
        self.shared.refusing.store(true, Ordering::SeqCst);
    }

    pub fn serve(&self) {
        self.shared.refusing.store(false, Ordering::SeqCst);
    }

    /// Nothing listens on the port any more.
    pub fn down(&mut self) {
        self.close();
        #[cfg(unix)]
        {
            // A connection that is still about to close may have it: then it is left to chance.
            self.held = hold(self.address);
        }
    }

    fn close(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }

    /// Listens again on the same port.
    pub fn up(&mut self) {
        #[cfg(unix)]
        drop(self.held.take());
        let started = Instant::now();
        loop {
            match TcpListener::bind(self.address) {
                Ok(listener) => return self.listen(listener),
                Err(err) => assert!(
                    started.elapsed() < Duration::from_secs(30),
                    "the port is taken: {err}"
                ),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

fn serve(shared: &Shared, stop: &AtomicBool, stream: TcpStream, connection: usize) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    while !stop.load(Ordering::SeqCst) && !shared.refusing.load(Ordering::SeqCst) {
        match exchange(shared, &stream, &mut reader, connection) {
            Ok(true) => {}
            _ => break,
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

/// Reads one request and reacts. False when the connection ends.
fn exchange(
    shared: &Shared,
    mut stream: &TcpStream,
    reader: &mut BufReader<TcpStream>,
    connection: usize,
) -> std::io::Result<bool> {
    let Some(head) = read_head(shared, reader)? else {
        return Ok(false);
    };
    if shared.refusing.load(Ordering::SeqCst) {
        reset(stream);
        return Ok(false);
    }
    let reaction = (shared.script)(&head);
    let received = Received::begun(&head, connection);
    let mut exchange = Exchange {
        shared,
        stream,
        received,
    };
    let most = match reaction {
        Reaction::Early(status) => return exchange.answer_early(status),
        Reaction::ResetBeforeBody => return exchange.break_off(),
        Reaction::ResetDuringBody(most) => most,
        _ => usize::MAX,
    };
    if head.has("expect", "100-continue") {
        write!(stream, "HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let body = &mut exchange.received.body;
    exchange.received.whole = read_body(&head, reader, body, most, &shared.bytes)?;
    if most != usize::MAX || !exchange.received.whole {
        return exchange.break_off();
    }
    shared.bodies.fetch_add(1, Ordering::SeqCst);
    match reaction {
        Reaction::Answer(status) => exchange.answer(status, &[], "").map(|()| true),
        Reaction::AnswerAndClose(status) => {
            let close = [("Connection".into(), "close".into())];
            exchange.answer(status, &close, "").map(|()| false)
        }
        Reaction::AnswerWith(status, headers, body) => {
            exchange.answer(status, &headers, &body).map(|()| true)
        }
        Reaction::Hold(gate, status) => {
            gate.wait();
            exchange.answer(status, &[], "").map(|()| true)
        }
        Reaction::ResetAfterBody => exchange.break_off(),
        Reaction::Never => {
            exchange.keep();
            let _ = reader.read(&mut [0]);
            Ok(false)
        }
        Reaction::Early(_) | Reaction::ResetBeforeBody | Reaction::ResetDuringBody(_) => {
            unreachable!("handled above")
        }
    }
}

/// A request that is being read, and then answered or not.
struct Exchange<'a> {
    shared: &'a Shared,
    stream: &'a TcpStream,
    received: Received,
}

impl Exchange<'_> {
    /// From now on the test sees what has come.
    fn keep(self) {
        self.shared.received.lock().unwrap().push(self.received);
    }

    /// Ends the connection without an answer.
    fn break_off(self) -> std::io::Result<bool> {
        let stream = self.stream;
        self.keep();
        reset(stream);
        Ok(false)
    }

    /// Answers before the body is read, and ends the connection.
    fn answer_early(mut self, status: u16) -> std::io::Result<bool> {
        self.received.status = Some(status);
        let mut stream = self.stream;
        write!(
            stream,
            "HTTP/1.1 {status} Early\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        self.keep();
        Ok(false)
    }

    fn answer(
        mut self,
        status: u16,
        headers: &[(String, String)],
        body: &str,
    ) -> std::io::Result<()> {
        self.received.status = Some(status);
        let mut stream = self.stream;
        self.keep();
        let length = body.len();
        let mut answer = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {length}\r\n");
        for (name, value) in headers {
            answer += &format!("{name}: {value}\r\n");
        }
        stream.write_all((answer + "\r\n" + body).as_bytes())
    }
}

fn read_head(shared: &Shared, reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Head>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (
        words.next().unwrap_or("").to_string(),
        words.next().unwrap_or("").to_string(),
    );
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').expect("a header field");
        let double = headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
        assert!(double.is_none(), "{name} is there twice");
    }
    let path = headers.get("x-file-path").cloned().unwrap_or_default();
    let path = percent_encoding::percent_decode_str(&path)
        .decode_utf8_lossy()
        .into_owned();
    let mut attempts = shared.attempts.lock().unwrap();
    let attempt = attempts.entry(path.clone()).or_default();
    *attempt += 1;
    Ok(Some(Head {
        method,
        target,
        headers,
        path,
        attempt: *attempt,
    }))
}

/// True if all of it came.
fn read_body(
    head: &Head,
    reader: &mut BufReader<TcpStream>,
    body: &mut Vec<u8>,
    most: usize,
    count: &AtomicUsize,
) -> std::io::Result<bool> {
    if head.has("transfer-encoding", "chunked") {
        loop {
            let mut size = String::new();
            if reader.read_line(&mut size)? == 0 {
                return Ok(false);
            }
            let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
            let mut chunk = vec![0; size + 2];
            if reader.read_exact(&mut chunk).is_err() {
                return Ok(false);
            }
            body.extend_from_slice(&chunk[..size]);
            count.fetch_add(size, Ordering::SeqCst);
            if size == 0 {
                return Ok(true);
            }
        }
    }
    let length: usize = head
        .headers
        .get("content-length")
        .map_or(0, |length| length.parse().expect("a length"));
    let want = length.min(most);
    let mut piece = vec![0; 64 << 10];
    while body.len() < want {
        let room = piece.len().min(want - body.len());
        match reader.read(&mut piece[..room]) {
            Ok(0) | Err(_) => return Ok(false),
            Ok(some) => {
                body.extend_from_slice(&piece[..some]);
                count.fetch_add(some, Ordering::SeqCst);
            }
        }
    }
    Ok(body.len() == length)
}

/// Closes so that the other side sees a reset, not an end.
fn reset(stream: &TcpStream) {
    #[cfg(unix)]
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    // A second handle may keep it open: the shutdown ends it all the same.
    let _ = stream.shutdown(std::net::Shutdown::Both);
}
