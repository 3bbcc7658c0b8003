//! The way to a proxy, as ureq sees it while it speaks `CONNECT` or SOCKS.
//!
//! A [`Tunnel`] carries bytes and knows nothing of requests: it writes what it is given at once
//! and passes on what comes. The request is written to the [`Connection`] above it, by way of
//! [`ProxiedStream`].
//!
//! [`Connection`]: super::connection::Connection
//! [`ProxiedStream`]: super::stream::ProxiedStream

use std::io;
use std::time::Duration;

use ureq::unversioned::transport::time::Duration as Span;
use ureq::unversioned::transport::{Buffers, NextTimeout, Transport};

use super::buffers::ConnectionBuffers;
use super::stream::{InputWait, POLL, StallTimer, Stream, within};

/// A wait of up to this is none: [`ProxiedStream`](super::stream::ProxiedStream) has no shorter one
/// to ask for.
const NO_WAIT: Duration = Duration::from_millis(1);

/// A connection to a proxy that carries what another connection writes.
#[derive(Debug)]
pub(super) struct Tunnel {
    stream: Box<dyn Stream>,
    /// The way to the proxy itself is encrypted.
    is_tls: bool,
    /// `send.stall_timeout`: how long no byte at all may go out.
    stall: Duration,
    buffers: ConnectionBuffers,
}

impl Tunnel {
    pub fn new(stream: Box<dyn Stream>, is_tls: bool, stall: Duration) -> Tunnel {
        Tunnel {
            stream,
            is_tls,
            stall,
            buffers: ConnectionBuffers::default(),
        }
    }

    /// Reads what has come; `WouldBlock` when nothing came for `wait`.
    fn fill(&mut self, wait: Duration) -> io::Result<usize> {
        let room = self.buffers.input_append_buf();
        let amount = self.stream.read(room, wait)?;
        self.buffers.input_appended(amount);
        Ok(amount)
    }
}

impl Transport for Tunnel {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let wait = within(POLL, self.stall);
        let mut timer = StallTimer::new(&*self.stream, self.stall);
        let mut sent = 0;
        loop {
            let step = if sent < amount {
                self.stream.write(&self.buffers.output[sent..amount], wait)
            } else {
                match self.stream.flush(wait) {
                    Ok(()) => return Ok(()),
                    Err(err) => Err(err),
                }
            };
            match step {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(written) => {
                    sent += written;
                    timer.has_moved();
                }
                Err(err) => timer.go_on_after(err, &*self.stream, wait)?,
            }
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let mut wait = match timeout.after {
            Span::Exact(after) if after <= NO_WAIT => InputWait::none(timeout.reason),
            Span::Exact(_) | Span::NotHappening => InputWait::new(timeout),
        };
        loop {
            let read = self.fill(wait.piece());
            if let Some(amount) = wait.brought(read)? {
                return Ok(amount > 0);
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // Nothing is due while nobody asks: bytes are as bad as the end.
        let quiet = self.stream.read(&mut [0], Duration::ZERO);
        matches!(quiet, Err(err) if err.kind() == io::ErrorKind::WouldBlock)
    }

    fn is_tls(&self) -> bool {
        self.is_tls
    }
}
