//! A client of `report.listen`: what is sent and what comes back, byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{BOUND, Daemon, wait_until};

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    /// Reads an answer to its end.
    pub fn read(mut stream: impl Read) -> Reply {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).expect("a status");
        Reply {
            status: status.parse().expect("a number"),
            head: head.to_lowercase(),
            body: body.into(),
        }
    }

    /// The value of a field of the head.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// The address that a daemon with `report.listen = "127.0.0.1:0"` listens at.
pub fn listens_at(daemon: &Daemon) -> SocketAddr {
    const SAID: &str = "report.listen: status and metrics at http://";
    let find = || {
        let log = daemon.log();
        let line = log.iter().find_map(|line| line.split_once(SAID))?;
        line.1.trim_end_matches('/').parse().ok()
    };
    wait_until("an address in the log", BOUND, || find().is_some());
    find().expect("it was there")
}

/// Sends `request`, whose lines end in `\n` here, and reads what comes back.
pub fn send(at: SocketAddr, request: &str) -> Reply {
    let mut stream = TcpStream::connect(at).expect("it listens");
    stream.set_read_timeout(Some(BOUND)).expect("a bound");
    let request = request.replace('\n', "\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    Reply::read(stream)
}

/// Asks for `path`.
pub fn get(at: SocketAddr, path: &str) -> Reply {
    send(at, &format!("GET {path} HTTP/1.1\nHost: {at}\n\n"))
}
