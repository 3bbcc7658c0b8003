//! Where bytes go out and come in, a short wait at a time.
//!
//! A [`Stream`] waits for at most as long as it is told and then says `WouldBlock`, having kept
//! its place: what a write has not taken can be offered again. So whoever waits on a stream can
//! look at something else in between, which is how an early answer is heard while the endpoint
//! does not read. [`Tcp`] is a socket of our own; [`ProxiedStream`] is a connection made by ureq
//! (a proxy's), which waits for as long as it is set to and then says `TimedOut`.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ureq::unversioned::transport::time::Duration as Span;
use ureq::unversioned::transport::{NextTimeout, Transport};

/// How long a write or a read waits before its caller looks at the clock and for input.
pub(super) const POLL: Duration = Duration::from_millis(200);

/// Bytes to and from a peer.
pub(super) trait Stream: fmt::Debug + Send + Sync + 'static {
    /// Takes some of `bytes`; `WouldBlock` when it could not take any for `wait`.
    fn write(&mut self, bytes: &[u8], wait: Duration) -> io::Result<usize>;

    /// Passes on what `write` took and has not passed on yet.
    fn flush(&mut self, _wait: Duration) -> io::Result<()> {
        Ok(())
    }

    /// 0 is the end. `WouldBlock` when nothing came for `wait`; zero does not wait.
    fn read(&mut self, buf: &mut [u8], wait: Duration) -> io::Result<usize>;

    /// How many bytes have gone out in all, to tell slow from stalled.
    fn moved(&self) -> u64;
}

/// One wait out of `whole`, of at most `piece`. On Windows a socket whose timeout was over is not
/// to be relied on (its state is indeterminate then, says Microsoft of SO_SNDTIMEO), so there one
/// wait is all there is.
pub(super) fn within(piece: Duration, whole: Duration) -> Duration {
    if cfg!(windows) {
        whole
    } else {
        piece.min(whole)
    }
}

/// The longest that one wait for input takes; most of them take so long, so that the socket's timeout
/// is set only once.
const INPUT_PIECE: Duration = Duration::from_secs(1);

/// A wait for input, made of several short ones.
#[derive(Debug)]
pub(super) struct InputWait {
    deadline: Option<Instant>,
    left: Duration,
    reason: ureq::Timeout,
}

impl InputWait {
    /// As long as ureq wants to wait.
    pub fn new(timeout: NextTimeout) -> InputWait {
        let (deadline, left) = match timeout.after {
            Span::Exact(after) => (Instant::now().checked_add(after), after),
            Span::NotHappening => (None, INPUT_PIECE),
        };
        InputWait {
            deadline,
            left,
            reason: timeout.reason,
        }
    }

    /// Takes only what is there already.
    pub fn none(reason: ureq::Timeout) -> InputWait {
        InputWait {
            deadline: Some(Instant::now()),
            left: Duration::ZERO,
            reason,
        }
    }

    /// How long the next single wait may take.
    pub fn piece(&self) -> Duration {
        within(INPUT_PIECE, self.left)
    }

    /// What a single wait has brought: `None` if nothing came, and there is time for another one.
    ///
    /// # Errors
    /// The time is over, or reading has failed.
    pub fn brought(&mut self, read: io::Result<usize>) -> Result<Option<usize>, ureq::Error> {
        match read {
            Ok(amount) => return Ok(Some(amount)),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            Err(err) => return Err(err.into()),
        }
        self.go_on().map(|()| None)
    }

    /// Before another single wait.
    ///
    /// # Errors
    /// The time is over.
    pub fn go_on(&mut self) -> Result<(), ureq::Error> {
        if let Some(deadline) = self.deadline {
            self.left = deadline.saturating_duration_since(Instant::now());
            if self.left.is_zero() {
                return Err(ureq::Error::Timeout(self.reason));
            }
        }
        Ok(())
    }
}

/// Tells a peer that takes bytes slowly from one that takes none.
#[derive(Debug)]
pub(super) struct StallTimer {
    /// How long no byte at all may go out.
    limit: Duration,
    /// What had gone out when a byte was last seen to.
    moved: u64,
    /// Since when no byte has gone out; `None` while the last write took some.
    since: Option<Instant>,
}

impl StallTimer {
    pub fn new(stream: &dyn Stream, limit: Duration) -> StallTimer {
        StallTimer {
            limit,
            moved: stream.moved(),
            since: None,
        }
    }

    /// A write took something.
    pub fn has_moved(&mut self) {
        self.since = None;
    }

    /// Whether writing may go on after a write that failed with `err` and had waited for `wait`.
    /// If not, that is the failure.
    pub fn go_on_after(
        &mut self,
        err: io::Error,
        stream: &dyn Stream,
        wait: Duration,
    ) -> Result<(), ureq::Error> {
        match err.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock => self.check(stream, wait),
            io::ErrorKind::TimedOut => Err(ureq::Error::Timeout(ureq::Timeout::SendBody)),
            _ => Err(err.into()),
        }
    }

    fn check(&mut self, stream: &dyn Stream, wait: Duration) -> Result<(), ureq::Error> {
        let now = Instant::now();
        if self.moved != stream.moved() {
            self.moved = stream.moved();
            self.since = Some(now);
        }
        // The first wait is over when it is first seen.
        let since = *self
            .since
            .get_or_insert(now.checked_sub(wait).unwrap_or(now));
        if now.duration_since(since) >= self.limit {
            return Err(ureq::Error::Timeout(ureq::Timeout::SendBody));
        }
        Ok(())
    }
}

/// A plain socket. The socket's own timeouts are set only when they change.
pub(super) struct Tcp {
    socket: TcpStream,
    write_wait: Duration,
    read_wait: Duration,
    moved: u64,
}

impl Tcp {
    pub fn new(socket: TcpStream) -> Tcp {
        Tcp {
            socket,
            write_wait: Duration::ZERO,
            read_wait: Duration::ZERO,
            moved: 0,
        }
    }

    #[cfg(unix)]
    fn read_now(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        use rustix::net::{RecvFlags, recv};
        let (amount, _) = recv(&self.socket, buf, RecvFlags::DONTWAIT)?;
        Ok(amount)
    }

    #[cfg(not(unix))]
    fn read_now(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.set_nonblocking(true)?;
        let result = self.socket.read(buf);
        self.socket.set_nonblocking(false)?;
        result
    }
}

impl Stream for Tcp {
    fn write(&mut self, bytes: &[u8], wait: Duration) -> io::Result<usize> {
        if self.write_wait != wait {
            tolerate(self.socket.set_write_timeout(Some(at_least_1ms(wait))))?;
            self.write_wait = wait;
        }
        let amount = self.socket.write(bytes).map_err(would_block)?;
        self.moved += amount as u64;
        Ok(amount)
    }

    fn read(&mut self, buf: &mut [u8], wait: Duration) -> io::Result<usize> {
        if wait.is_zero() {
            return self.read_now(buf).map_err(would_block);
        }
        if self.read_wait != wait {
            tolerate(self.socket.set_read_timeout(Some(at_least_1ms(wait))))?;
            self.read_wait = wait;
        }
        self.socket.read(buf).map_err(would_block)
    }

    fn moved(&self) -> u64 {
        self.moved
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tcp")
            .field(&self.socket.peer_addr().ok())
            .finish()
    }
}

fn at_least_1ms(wait: Duration) -> Duration {
    wait.max(Duration::from_millis(1))
}

/// macOS refuses to set a timeout once the peer has gone, while an answer may
/// still be there to read; the read or write that follows tells what is the case.
fn tolerate(set: io::Result<()>) -> io::Result<()> {
    match set {
        Err(err) if cfg!(target_os = "macos") && err.kind() == io::ErrorKind::InvalidInput => {
            Ok(())
        }
        set => set,
    }
}

/// Unix says `EAGAIN` and Windows `ETIMEDOUT` when a socket's timeout is over.
/// (On Unix `ETIMEDOUT` is the peer's host gone silent, and stays what it is.)
fn would_block(err: io::Error) -> io::Error {
    if cfg!(windows) && err.kind() == io::ErrorKind::TimedOut {
        io::ErrorKind::WouldBlock.into()
    } else {
        err
    }
}

/// A connection that one of ureq's connectors has made.
#[derive(Debug)]
pub(super) struct ProxiedStream {
    transport: Box<dyn Transport>,
    /// How long one write may take.
    stall: Duration,
    /// When a transport that cannot look without waiting looked last.
    looked: Option<Instant>,
    moved: u64,
}

/// Interval between looks for input at ureq's own sockets: each takes a few milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl ProxiedStream {
    /// Over a [`Tunnel`](super::tunnel::Tunnel), which can look for input without any wait.
    pub fn tunnel(transport: Box<dyn Transport>, stall: Duration) -> ProxiedStream {
        ProxiedStream {
            transport,
            stall,
            looked: None,
            moved: 0,
        }
    }

    /// Over a socket of ureq's, whose shortest wait is a tick of the system's clock.
    pub fn socket(transport: Box<dyn Transport>, stall: Duration) -> ProxiedStream {
        ProxiedStream {
            transport,
            stall,
            looked: Some(Instant::now()),
            moved: 0,
        }
    }
}

impl Stream for ProxiedStream {
    fn write(&mut self, bytes: &[u8], _wait: Duration) -> io::Result<usize> {
        let output = self.transport.buffers().output();
        let amount = bytes.len().min(output.len());
        output[..amount].copy_from_slice(&bytes[..amount]);
        let timeout = NextTimeout {
            after: Span::from(self.stall),
            reason: ureq::Timeout::SendBody,
            per_read: None,
            per_write: Some(Span::from(self.stall)),
        };
        match self.transport.transmit_output(amount, timeout) {
            Ok(()) => {
                self.moved += amount as u64;
                Ok(amount)
            }
            Err(ureq::Error::Timeout(_)) => Err(io::ErrorKind::TimedOut.into()),
            Err(err) => Err(err.into_io()),
        }
    }

    fn read(&mut self, buf: &mut [u8], wait: Duration) -> io::Result<usize> {
        if self.transport.buffers().input().is_empty() {
            if let (true, Some(looked)) = (wait.is_zero(), &mut self.looked) {
                if looked.elapsed() < LOOK_EVERY {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                *looked = Instant::now();
            }
            let timeout = NextTimeout {
                after: Span::from(at_least_1ms(wait)),
                reason: ureq::Timeout::RecvResponse,
                per_read: None,
                per_write: None,
            };
            match self.transport.await_input(timeout) {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(ureq::Error::Timeout(_)) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(err) => return Err(err.into_io()),
            }
        }
        let input = self.transport.buffers().input();
        let amount = buf.len().min(input.len());
        buf[..amount].copy_from_slice(&input[..amount]);
        self.transport.buffers().input_consume(amount);
        Ok(amount)
    }

    fn moved(&self) -> u64 {
        self.moved
    }
}
