//! A connection to the endpoint, as ureq sees it.
//!
//! What ureq's own connection does not do, and this one does:
//!
//! - *The head leaves with the body.* A request's head is held back until the
//!   first piece of the body is there; both go out in one write.
//! - *Early answers are heard.* Before every piece of the body after the first,
//!   and whenever the endpoint takes nothing for [`SLICE`], it looks for input.
//!   An answer ends the writing: what ureq hands over from then on is
//!   swallowed, so that it comes to reading the answer, and the connection is
//!   not used again.
//! - *Interim answers are passed over*, those with fields of their own, too.
//! - *A failed write is not the last word.* The answer that came before the
//!   failure is read if there is one; only when there is none is it the failure.
//! - *Stalled is not slow.* Only when no byte at all has gone out for the stall
//!   timeout does writing fail.

use std::io;
use std::time::{Duration, Instant};

use ureq::unversioned::transport::time::Duration as Span;
use ureq::unversioned::transport::{Buffers, NextTimeout, Transport};

use super::buffers::{ConnectionBuffers, OUTPUT, ROOM};
use super::exchange::Exchange;
use super::stream::Stream;

/// How long a write or a read waits before it looks at the clock and for input.
const SLICE: Duration = Duration::from_millis(200);

/// How long an answer is waited for after a write has failed.
const LAST_WORD: Duration = Duration::from_secs(1);

/// A connection is given up at this age, so that a name that has come to mean
/// another host is followed even when files never cease.
const MAX_AGE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Connection {
    pipe: Box<dyn Stream>,
    tls: bool,
    exchange: Exchange,
    stall: Duration,
    /// Goes into the request line before the path, for a proxy that forwards.
    absolute: Option<String>,
    /// Carries only the bytes of a tunnel: the exchange is that of a line above.
    tunnel: bool,
    born: Instant,
    buffers: ConnectionBuffers,

    number: u64,
    exchanges: u64,
    wrote: bool,
    /// Whether input was the last thing that happened: then there is no need to probe.
    just_read: bool,
    deaf: bool,
    failed: Option<ureq::Error>,
}

/// What came of handing bytes to the pipe.
enum Pushed {
    All,
    Answer,
    Failed(ureq::Error),
}

impl Connection {
    pub fn new(
        pipe: Box<dyn Stream>,
        tls: bool,
        exchange: Exchange,
        stall: Duration,
    ) -> Connection {
        Connection {
            pipe,
            tls,
            exchange,
            stall,
            absolute: None,
            tunnel: false,
            born: Instant::now(),
            buffers: ConnectionBuffers::default(),
            number: 0,
            exchanges: 0,
            wrote: false,
            just_read: false,
            deaf: false,
            failed: None,
        }
    }

    pub fn tunnel(mut self) -> Connection {
        self.tunnel = true;
        self
    }

    pub fn forwarded(mut self, absolute: Option<String>) -> Connection {
        self.absolute = absolute;
        self
    }

    /// Notes the first use of this connection in an exchange.
    fn enter(&mut self) {
        let mut state = self.exchange.state();
        if state.number == self.number {
            return;
        }
        self.number = state.number;
        state.reached = true;
        state.reused = self.exchanges > 0;
        self.buffers.chunked = state.chunked;
        self.exchanges += 1;
        self.wrote = false;
    }

    fn push(&mut self, total: usize) -> Pushed {
        if self.wrote && !self.tunnel {
            match self.hear() {
                Ok(false) => {}
                Ok(true) => return Pushed::Answer,
                Err(err) => return Pushed::Failed(err.into()),
            }
        }
        self.wrote = true;
        let wait = slice(SLICE, self.stall);
        let mut sent = 0;
        let mut moved = self.pipe.moved();
        let mut since: Option<Instant> = None;
        loop {
            let result = if sent < total {
                self.pipe.write(&self.buffers.output[sent..total], wait)
            } else {
                match self.pipe.flush(wait) {
                    Ok(()) => return Pushed::All,
                    Err(err) => Err(err),
                }
            };
            match result {
                Ok(0) => return Pushed::Failed(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(amount) => {
                    sent += amount;
                    since = None;
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    if !self.tunnel {
                        match self.hear() {
                            Ok(false) => {}
                            Ok(true) => return Pushed::Answer,
                            Err(err) => return Pushed::Failed(err.into()),
                        }
                    }
                    let now = Instant::now();
                    if moved != self.pipe.moved() {
                        moved = self.pipe.moved();
                        since = Some(now);
                    }
                    // The first wait is over when it is first seen.
                    let since = *since.get_or_insert(now.checked_sub(wait).unwrap_or(now));
                    if now.duration_since(since) >= self.stall {
                        return Pushed::Failed(ureq::Error::Timeout(ureq::Timeout::SendBody));
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::TimedOut => {
                    return Pushed::Failed(ureq::Error::Timeout(ureq::Timeout::SendBody));
                }
                Err(err) => return Pushed::Failed(err.into()),
            }
        }
    }

    /// Looks, without waiting, whether a final answer has begun. The end of the
    /// input is an error: nobody is left to send to.
    fn hear(&mut self) -> io::Result<bool> {
        loop {
            // The answer may have come together with an interim one.
            self.pass_over();
            if interim(self.buffers.input()) == Interim::No && !self.buffers.input().is_empty() {
                return Ok(true);
            }
            match self.fill(Duration::ZERO) {
                Ok(0) => return Err(io::ErrorKind::ConnectionAborted.into()),
                Ok(_) => {}
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(err) => return Err(err),
            }
        }
    }

    /// Takes the interim answers from the front of the input. True if one of them says to go
    /// on (100). ureq must not see them: it takes one with fields for the answer.
    fn pass_over(&mut self) -> bool {
        let mut go_on = false;
        while let Interim::Whole(len) = interim(self.buffers.input()) {
            go_on |= self.buffers.input()[9..].starts_with(b"100");
            self.buffers.input_consume(len);
        }
        go_on
    }

    fn fill(&mut self, wait: Duration) -> io::Result<usize> {
        let room = self.buffers.input_append_buf();
        let amount = self.pipe.read(room, wait)?;
        self.buffers.input_appended(amount);
        if amount > 0 && !self.tunnel {
            self.exchange.state().heard = true;
            self.just_read = true;
        }
        Ok(amount)
    }

    /// Reads what the endpoint had said before writing to it failed.
    fn last_word(&mut self, failed: ureq::Error) -> Result<bool, ureq::Error> {
        let stalled = matches!(failed, ureq::Error::Timeout(_));
        let wait = if stalled { Duration::ZERO } else { LAST_WORD };
        match self.fill(wait) {
            Ok(amount) if amount > 0 => {
                self.failed = Some(failed);
                Ok(true)
            }
            // The peer's alert says more than the broken connection after it.
            Err(err) if err.get_ref().is_some_and(|err| err.is::<rustls::Error>()) => {
                Err(err.into())
            }
            _ => Err(failed),
        }
    }

    /// `POST /path` becomes `POST http://host/path`.
    fn make_absolute(&mut self, amount: usize) -> usize {
        let (Some(prefix), true) = (&self.absolute, self.buffers.held == 0) else {
            return amount;
        };
        let output = &mut self.buffers.output;
        let Some(space) = output[..amount].iter().position(|&byte| byte == b' ') else {
            return amount;
        };
        if amount + prefix.len() > output.len() {
            return amount;
        }
        output.copy_within(space + 1..amount, space + 1 + prefix.len());
        output[space + 1..][..prefix.len()].copy_from_slice(prefix.as_bytes());
        amount + prefix.len()
    }

    fn stop(&mut self) {
        self.deaf = true;
        self.exchange.state().stopped = true;
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        if self.tunnel {
            return match self.push(amount) {
                Pushed::Failed(err) => Err(err),
                _ => Ok(()),
            };
        }
        let first = self.number;
        self.enter();
        self.just_read = false;
        if self.deaf {
            return Ok(());
        }
        let amount = if first == self.number {
            amount
        } else {
            self.make_absolute(amount)
        };
        let total = self.buffers.held + amount;
        let holding = {
            let state = self.exchange.state();
            state.hold_head && !state.in_body
        };
        if holding && total + ROOM <= OUTPUT {
            self.buffers.held = total;
            return Ok(());
        }
        self.buffers.held = 0;
        match self.push(total) {
            Pushed::All => {}
            Pushed::Answer => self.stop(),
            Pushed::Failed(err) => {
                self.failed = Some(err);
                self.stop();
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        if let Some(failed) = self.failed.take() {
            return self.last_word(failed);
        }
        if self.tunnel && *timeout.after <= Duration::from_millis(1) {
            return match self.fill(Duration::ZERO) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    Err(ureq::Error::Timeout(timeout.reason))
                }
                result => Ok(result? > 0),
            };
        }
        let deadline = match timeout.after {
            Span::Exact(after) => Instant::now().checked_add(after),
            Span::NotHappening => None,
        };
        let mut left = match timeout.after {
            Span::Exact(after) => after,
            Span::NotHappening => LAST_WORD,
        };
        loop {
            // One and the same wait for most reads, so that it is set only once.
            match self.fill(slice(LAST_WORD, left)) {
                Ok(0) => return Ok(false),
                Ok(_) if self.tunnel => return Ok(true),
                Ok(_) => {
                    let go_on = self.pass_over() && timeout.reason == ureq::Timeout::Await100;
                    match interim(self.buffers.input()) {
                        Interim::No if !self.buffers.input().is_empty() => return Ok(true),
                        // To ureq the end of the wait is as good as the word to go on.
                        _ if go_on => return Err(ureq::Error::Timeout(timeout.reason)),
                        _ => {}
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                Err(err) => return Err(err.into()),
            }
            if let Some(deadline) = deadline {
                left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(ureq::Error::Timeout(timeout.reason));
                }
            }
        }
    }

    fn is_open(&mut self) -> bool {
        if self.deaf || self.failed.is_some() || self.born.elapsed() >= MAX_AGE {
            return false;
        }
        if std::mem::take(&mut self.just_read) {
            return true;
        }
        // Nothing is due now: bytes are as bad as the end.
        let quiet = self.pipe.read(&mut [0], Duration::ZERO);
        matches!(quiet, Err(err) if err.kind() == io::ErrorKind::WouldBlock)
    }

    fn is_tls(&self) -> bool {
        self.tls
    }
}

/// How long to wait at once. On Windows a socket whose timeout was over is not to
/// be relied on, so there one wait is all there is.
fn slice(slice: Duration, whole: Duration) -> Duration {
    if cfg!(windows) {
        whole
    } else {
        slice.min(whole)
    }
}

/// Whether input begins with an interim answer (1xx), which is not the answer. (Nobody asked
/// for 101: where it comes, nothing follows.)
#[derive(Debug, PartialEq, Eq)]
enum Interim {
    No,
    /// As many bytes long.
    Whole(usize),
    /// It may become one.
    Perhaps,
}

fn interim(input: &[u8]) -> Interim {
    const START: &[u8] = b"HTTP/1.";
    let shown = input.len().min(START.len());
    if input[..shown] != START[..shown] {
        return Interim::No;
    }
    if input.is_empty() {
        return Interim::No;
    }
    match input.get(9) {
        None => Interim::Perhaps,
        Some(b'1') if input[9..].starts_with(b"101") => Interim::No,
        Some(b'1') => match input.windows(4).position(|end| end == b"\r\n\r\n") {
            Some(at) => Interim::Whole(at + 4),
            None => Interim::Perhaps,
        },
        Some(_) => Interim::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interim_answer_is_told_from_a_final_one() {
        assert_eq!(interim(b""), Interim::No);
        assert_eq!(interim(b"HT"), Interim::Perhaps);
        assert_eq!(interim(b"HTTP/1.1 "), Interim::Perhaps);
        assert_eq!(interim(b"HTTP/1.1 4"), Interim::No);
        assert_eq!(interim(b"HTTP/1.1 101 Switching Protocols"), Interim::No);
        assert_eq!(interim(b"HTTP/1.1 100 Continue\r\n"), Interim::Perhaps);
        assert_eq!(
            interim(b"HTTP/1.1 100 Continue\r\n\r\nHTTP"),
            Interim::Whole(25)
        );
        assert_eq!(
            interim(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"),
            Interim::Whole(31)
        );
        assert_eq!(interim(b"SSH-2.0"), Interim::No);
    }
}
