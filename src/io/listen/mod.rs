//! `report.listen`: the status and the metrics over HTTP, for reading.
//!
//! A small server of our own on blocking sockets: a thread waits for connections, and each of them has a
//! thread of its own for as long as it lasts, eight at most and ten seconds each. It shows what
//! [`crate::io::status`] has, and asks the loop for nothing, so that no client can hold deliveries up, and
//! a share that hangs cannot hold up a client. Every answer closes its connection: who looks comes every
//! few seconds at most, and a connection that stays open would hold one of the eight.

mod answer;
mod http_status;
mod page;
mod picture;
mod public;
mod request;
mod socket;

use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use self::answer::Answer;
use self::http_status::Status;
use self::socket::{Listener, Stream};
use crate::config::Listen;
use crate::flow::alarm::Alarm;
use crate::io::os::clock;
use crate::io::os::error::explain;
use crate::io::status::Latest;

/// Upper bound on the connections that are served side by side.
const CONNECTIONS: usize = 8;
/// How long a connection may last.
const LASTS: Duration = Duration::from_secs(10);
/// How long one that finds no room is waited for, so that it hears that: a connection that is closed with
/// its request unread is reset, and the answer may be lost.
const REFUSED_WITHIN: Duration = Duration::from_millis(500);
/// How long what a client still sends is read after the answer, for the same reason; and what an answer
/// has to go out that was late.
const LINGER: Duration = Duration::from_secs(1);
/// The pause before what could not be bound is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// The stack of a thread that serves a connection, in bytes.
const STACK: usize = 256 * 1024;

/// Whether `address` can be listened at, for `check`. Of a `unix:` socket that is not there only its
/// folder is looked at: nothing is left behind.
///
/// # Errors
/// Those of binding it; `AddrInUse` where somebody listens there.
pub fn try_binding(address: &Listen) -> io::Result<()> {
    match address {
        Listen::Tcp { .. } => Listener::bind(address).map(drop),
        Listen::Unix(path) => socket::look_at(path),
    }
}

/// Whether more than this machine may reach `address`.
pub fn is_reached_from_elsewhere(address: &Listen) -> bool {
    match address {
        Listen::Unix(_) => false,
        Listen::Tcp { host, .. } => match host.parse::<IpAddr>() {
            Ok(ip) => !ip.to_canonical().is_loopback(),
            Err(_) => !host.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
        },
    }
}

/// Listens at `address` and answers, for as long as the process lives. What cannot be bound is said and
/// tried again.
pub fn serve(address: &Listen, latest: &Arc<Latest>) {
    let mut failing = Alarm::default();
    loop {
        match Listener::bind(address) {
            Ok(listener) => {
                failing.clear(clock::mono());
                let shown = listener.shown(address);
                log::info!(target: "dirpost", "report.listen: status and metrics at {shown}");
                accept(&listener, address, latest);
            }
            Err(err) => {
                let why = explain(&err);
                if failing.raise(&why, clock::mono()).is_some() {
                    log::warn!(
                        target: "dirpost",
                        "report.listen: {address} cannot be listened at: {why}; it is tried again, and \
                         deliveries go on without it"
                    );
                }
            }
        }
        thread::sleep(AGAIN);
    }
}

/// Serves one connection after the other, until the socket gives no more.
fn accept(listener: &Listener, address: &Listen, latest: &Arc<Latest>) {
    let room = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept() {
            Ok(stream) => stream,
            Err(err) if is_of_one_connection(&err) => continue,
            Err(err) => {
                // Mostly too many open files: what waits stays in the backlog.
                log::debug!(target: "dirpost", "report.listen: {}", explain(&err));
                thread::sleep(REFUSED_WITHIN);
                continue;
            }
        };
        let Some(place) = Place::take(&room) else {
            refuse(stream);
            continue;
        };
        let client = Client {
            stream,
            address: address.clone(),
            latest: Arc::clone(latest),
            until: Instant::now() + LASTS,
        };
        let serving = thread::Builder::new()
            .name("answer".into())
            .stack_size(STACK)
            .spawn(move || {
                // What fails with a client is the client's.
                let _ = client.serve();
                drop(place);
            });
        if let Err(err) = serving {
            log::debug!(target: "dirpost", "report.listen: {}", explain(&err));
        }
    }
}

/// Whether the error is of a connection that was there for a moment (accept(2)).
fn is_of_one_connection(err: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        err.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

/// One of the places for connections, until it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(room: &Arc<AtomicUsize>) -> Option<Place> {
        // Only the thread that accepts takes places.
        if room.load(Ordering::Acquire) >= CONNECTIONS {
            return None;
        }
        room.fetch_add(1, Ordering::AcqRel);
        Some(Place(Arc::clone(room)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Tells a client that there is no room, in the thread that accepts: it does not wait for it for long.
fn refuse(mut stream: Stream) {
    let _ = stream.wait_no_longer_than(REFUSED_WITHIN);
    let _ = stream.read(&mut [0; request::HEAD_MAX]);
    let busy = Answer::plain(
        Status::Busy,
        "eight connections are open already; try again\n",
    );
    let _ = stream.write_all(&busy.bytes(true));
    let _ = stream.end();
}

/// A connection, and what is answered there.
struct Client {
    stream: Stream,
    address: Listen,
    latest: Arc<Latest>,
    /// When it is over.
    until: Instant,
}

impl Client {
    fn serve(mut self) -> io::Result<()> {
        let read = request::read(&mut self.stream, self.until)?;
        let Some(request) = read else {
            return Ok(());
        };
        let (answer, has_body) = match request {
            Ok(request) => {
                let answer = answer::to(&request, &self.address, &self.latest);
                (answer, !request.is_head())
            }
            Err(refusal) => (refusal.into(), true),
        };
        self.until = self.until.max(Instant::now() + LINGER);
        self.write(&answer.bytes(has_body))?;
        self.stream.end()?;
        self.linger();
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.wait_until(self.until)?;
            let count = self.stream.write(bytes)?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Reads what the client still sends, until it closes.
    fn linger(&mut self) {
        let until = Instant::now() + LINGER;
        let mut rest = [0; 4096];
        while self.stream.wait_until(until).is_ok() {
            match self.stream.read(&mut rest) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}
