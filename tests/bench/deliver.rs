//! How many small files a second the client sends, beside raw sockets and a
//! bare ureq loop in the same run:
//!
//!     deliver-bench                        all three against a receiver of its own
//!     deliver-bench serve                  only the receiver; prints its URL
//!     deliver-bench send URL KIND N [SIZE] one kind (raw, ours, ureq), for strace
//!     deliver-bench zeros URL SIZE         one large file that is nowhere, and the peak memory
//!     deliver-bench hash SIZE              what SHA-256 alone takes for so many bytes

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use dirpost::config;
use dirpost::flow::endpoint::reply::Reply;
use dirpost::flow::time::Wall;
use dirpost::io::http::{Body, Client, FileMeta, Outcome, Shared};

const THREADS: usize = 4;

struct Bytes(Arc<Vec<u8>>, usize);

impl Body for Bytes {
    type Broken = io::Error;

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let amount = buf.len().min(self.0.len() - self.1);
        buf[..amount].copy_from_slice(&self.0[self.1..self.1 + amount]);
        self.1 += amount;
        Ok(amount)
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.1 = 0;
        Ok(())
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => {
            let url = serve();
            for (size, count) in [(4096, 40_000), (5 << 20, 200)] {
                for round in 1..=3 {
                    for kind in ["raw", "ureq", "ours"] {
                        let took = run(&url, kind, count, size);
                        let rate = count as f64 / took.as_secs_f64();
                        println!("{size:8} bytes, round {round}: {kind:5} {rate:10.0} files/s");
                    }
                }
            }
        }
        ["serve"] => {
            println!("{}", serve());
            loop {
                thread::park();
            }
        }
        ["send", url, kind, count, ref size @ ..] => {
            let size = size
                .first()
                .map_or(4096, |size| size.parse().expect("a size"));
            let took = run(url, kind, count.parse().expect("a count"), size);
            println!("{kind}: {took:?}");
        }
        ["zeros", url, size] => zeros(url, size.parse().expect("a size")),
        ["hash", size] => hash(size.parse().expect("a size")),
        _ => eprintln!("see the top of this file"),
    }
}

fn run(url: &str, kind: &str, count: usize, size: usize) -> Duration {
    let data = Arc::new(vec![b'x'; size]);
    let config = config(url);
    let shared = Shared::new(&config).expect("a config");
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| match kind {
                "raw" => raw(url, &data, count / THREADS),
                "ureq" => bare(url, &data, count / THREADS),
                _ => ours(&config, &shared, &data, count / THREADS),
            });
        }
    });
    begun.elapsed()
}

fn ours(config: &config::Send, shared: &Arc<Shared>, data: &Arc<Vec<u8>>, count: usize) {
    let mut client = Client::new(config, shared);
    for _ in 0..count {
        let letter = FileMeta {
            path: b"in/some-file.csv",
            size: data.len() as u64,
            mtime: Wall(1_700_000_000_123_456_700),
            key: "0123456789abcdef0123456789abcdef",
            sha256: None,
        };
        let outcome = client.send(&letter, &mut Bytes(data.clone(), 0));
        assert!(matches!(outcome, Outcome::Reply(Reply::Answer(ref a)) if a.status == 200));
    }
}

struct Zeros(u64);

impl Body for Zeros {
    type Broken = io::Error;

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let amount = buf.len().min(usize::try_from(self.0).unwrap_or(usize::MAX));
        buf[..amount].fill(0);
        self.0 -= amount as u64;
        Ok(amount)
    }

    fn rewind(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn zeros(url: &str, size: u64) {
    let config = config(url);
    let shared = Shared::new(&config).expect("a config");
    let mut client = Client::new(&config, &shared);
    let letter = FileMeta {
        path: b"big",
        size,
        mtime: Wall(0),
        key: "k",
        sha256: None,
    };
    let begun = Instant::now();
    let outcome = client.send(&letter, &mut Zeros(size));
    println!("{outcome:?} in {:?}", begun.elapsed());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .filter(|line| line.starts_with("VmHWM"))
        .for_each(|line| println!("{line}"));
}

/// In pieces as an upload reads them, from memory that the processor has at hand.
fn hash(size: u64) {
    let piece = vec![b'x'; 64 * 1024];
    let begun = Instant::now();
    let mut hash = Sha256::new();
    let mut left = size;
    while left > 0 {
        let amount = left.min(piece.len() as u64) as usize;
        hash.update(std::hint::black_box(&piece[..amount]));
        left -= amount as u64;
    }
    std::hint::black_box(hash.finalize());
    let took = begun.elapsed();
    println!(
        "{size} bytes in {took:?}: {:.0} MB/s",
        size as f64 / took.as_secs_f64() / 1e6
    );
}

fn bare(url: &str, data: &Arc<Vec<u8>>, count: usize) {
    let agent = ureq::Agent::new_with_defaults();
    for _ in 0..count {
        let mut answer = agent.post(url).send(&data[..]).expect("an answer");
        answer.body_mut().read_to_vec().expect("a body");
    }
}

fn raw(url: &str, data: &Arc<Vec<u8>>, count: usize) {
    let host = url[7..].trim_end_matches('/');
    let mut stream = TcpStream::connect(host).expect("a connection");
    stream.set_nodelay(true).expect("nodelay");
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\ncontent-type: text/csv\r\n\r\n",
        data.len()
    );
    let mut request = head.into_bytes();
    request.extend_from_slice(data);
    let mut buf = [0; 1024];
    for _ in 0..count {
        stream.write_all(&request).expect("a write");
        assert!(stream.read(&mut buf).expect("an answer") > 0);
    }
}

fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || receive(stream));
        }
    });
    url
}

fn receive(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut buf = vec![0; 256 * 1024];
    let mut filled = 0;
    loop {
        let head = loop {
            if let Some(at) = buf[..filled].windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read(&mut buf[filled..]).ok()? {
                0 => return None,
                amount => filled += amount,
            }
        };
        let text = str::from_utf8(&buf[..head]).ok()?.to_ascii_lowercase();
        let field = text.split_once("content-length: ")?.1;
        let length: usize = field.split("\r\n").next()?.parse().ok()?;
        if text.contains("expect: 100-continue") {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        let mut left = length - (filled - head);
        filled = 0;
        while left > 0 {
            left -= match stream.read(&mut buf).ok()? {
                0 => return None,
                amount => amount,
            };
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .ok()?;
    }
}

fn config(url: &str) -> config::Send {
    config::Send {
        url: url.into(),
        method: config::Method::Post,
        body: config::BodyKind::Raw,
        content_type: None,
        headers: Vec::new(),
        fields: Vec::new(),
        expect: config::Expect::Auto,
        workers: THREADS,
        connect_timeout: Duration::from_secs(10),
        stall_timeout: Duration::from_secs(30),
        response_timeout: Duration::from_secs(120),
        digest: config::Digest::Auto,
        compress: config::Compress::None,
        accept: config::Statuses(vec![(200, 299)]),
        reject: config::Statuses(Vec::new()),
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
