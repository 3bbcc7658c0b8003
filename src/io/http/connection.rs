//! A connection to the endpoint, as ureq sees it.
//!
//! What ureq's own connection does not do, and this one does:
//!
//! - *The head leaves with the body.* A request's head is held back until the first piece of the
//!   body is there; both go out in one write.
//! - *Early answers are heard.* Before every piece of the body after the first, and whenever the
//!   endpoint takes nothing for [`POLL`], it looks for input. An answer ends the writing: what
//!   ureq hands over from then on is swallowed, so that it comes to reading the answer, and the
//!   connection is not used again.
//! - *Interim answers are skipped*, those with fields of their own, too.
//! - *A failed write is not the end.* The answer that came before the failure is read if there is
//!   one; only when there is none is it the failure.
//! - *Stalled is not slow.* Only when no byte at all has gone out for the stall timeout does
//!   writing fail.

use std::io;
use std::time::{Duration, Instant};

use ureq::unversioned::transport::{Buffers, NextTimeout, Transport};

use super::buffers::{ConnectionBuffers, OUTPUT, ROOM};
use super::exchange::{Exchange, Phase};
use super::stream::{InputWait, POLL, StallTimer, Stream, within};

/// How long an answer is waited for after a write has failed.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// A connection is given up at this age, so that a name that has come to mean another host is
/// followed even when files never cease.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The connection that requests are written to and answers are read from.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    is_tls: bool,
    exchange: Exchange,
    /// `send.stall_timeout`: how long no byte at all may go out.
    stall: Duration,
    /// Goes into the request line before the path, for a proxy that forwards.
    absolute: Option<String>,
    born: Instant,
    buffers: ConnectionBuffers,
    /// The number of the exchange that uses it, or used it last.
    number: u64,
    /// How many exchanges have used it.
    exchanges: u64,
    /// Something of this exchange's request has gone out.
    has_written: bool,
    /// Input was the last thing that happened: then there is no need to probe.
    has_just_read: bool,
    /// Nothing more is written, whatever ureq hands over.
    is_write_closed: bool,
    /// The write that failed, until it is known whether an answer had come before.
    failed_write: Option<ureq::Error>,
}

/// What came of handing bytes to the stream.
enum Written {
    All,
    /// Not all of them, for an answer has come.
    UntilAnswer,
    Failed(ureq::Error),
}

impl Connection {
    pub fn new(
        stream: Box<dyn Stream>,
        is_tls: bool,
        exchange: Exchange,
        stall: Duration,
    ) -> Connection {
        Connection {
            stream,
            is_tls,
            exchange,
            stall,
            absolute: None,
            born: Instant::now(),
            buffers: ConnectionBuffers::default(),
            number: 0,
            exchanges: 0,
            has_written: false,
            has_just_read: false,
            is_write_closed: false,
            failed_write: None,
        }
    }

    /// To a proxy that forwards: `absolute` is the scheme and authority of what it is asked for.
    pub fn forwarded(mut self, absolute: Option<String>) -> Connection {
        self.absolute = absolute;
        self
    }

    /// Notes the first use of this connection in an exchange. True if it was that.
    fn enter(&mut self) -> bool {
        let mut state = self.exchange.state();
        if state.number == self.number {
            return false;
        }
        self.number = state.number;
        state.advance(Phase::Head);
        state.is_reused = self.exchanges > 0;
        self.buffers.is_chunked = state.plan.is_chunked;
        self.exchanges += 1;
        self.has_written = false;
        true
    }

    /// Writes the first `total` bytes of the output.
    fn write_out(&mut self, total: usize) -> Written {
        if self.has_written {
            match self.poll_answer() {
                Ok(false) => {}
                Ok(true) => return Written::UntilAnswer,
                Err(err) => return Written::Failed(err.into()),
            }
        }
        self.has_written = true;
        let wait = within(POLL, self.stall);
        let mut timer = StallTimer::new(&*self.stream, self.stall);
        let mut sent = 0;
        loop {
            let step = if sent < total {
                self.stream.write(&self.buffers.output[sent..total], wait)
            } else {
                match self.stream.flush(wait) {
                    Ok(()) => return Written::All,
                    Err(err) => Err(err),
                }
            };
            let err = match step {
                Ok(0) => return Written::Failed(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(amount) => {
                    sent += amount;
                    timer.has_moved();
                    continue;
                }
                Err(err) => err,
            };
            if err.kind() == io::ErrorKind::WouldBlock {
                match self.poll_answer() {
                    Ok(false) => {}
                    Ok(true) => return Written::UntilAnswer,
                    Err(err) => return Written::Failed(err.into()),
                }
            }
            if let Err(failed) = timer.go_on_after(err, &*self.stream, wait) {
                return Written::Failed(failed);
            }
        }
    }

    /// Looks, without waiting, whether a final answer has begun. The end of the input is an
    /// error: nobody is left to send to.
    fn poll_answer(&mut self) -> io::Result<bool> {
        loop {
            // The answer may have come together with an interim one.
            self.skip_interim();
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
    fn skip_interim(&mut self) -> bool {
        let mut says_go_on = false;
        while let Interim::Whole(len) = interim(self.buffers.input()) {
            says_go_on |= self.buffers.input()[9..].starts_with(b"100");
            self.buffers.input_consume(len);
        }
        says_go_on
    }

    /// Reads what has come; `WouldBlock` when nothing came for `wait`.
    fn fill(&mut self, wait: Duration) -> io::Result<usize> {
        let room = self.buffers.input_append_buf();
        let amount = self.stream.read(room, wait)?;
        self.buffers.input_appended(amount);
        if amount > 0 {
            self.exchange.state().has_answer = true;
            self.has_just_read = true;
        }
        Ok(amount)
    }

    /// Reads what the endpoint had said before writing to it failed. True if it had; an error
    /// if it had not, or if the rest is broken off as well.
    fn answer_after_failed_write(&mut self, failed: ureq::Error) -> Result<bool, ureq::Error> {
        let stalled = matches!(failed, ureq::Error::Timeout(_));
        let wait = if stalled { Duration::ZERO } else { ANSWER_WAIT };
        match self.fill(wait) {
            Ok(amount) if amount > 0 => {
                self.failed_write = Some(failed);
                Ok(true)
            }
            // The peer's alert says more than the broken connection after it.
            Err(err) if err.get_ref().is_some_and(|err| err.is::<rustls::Error>()) => {
                Err(err.into())
            }
            _ => Err(failed),
        }
    }

    /// `POST /path` becomes `POST http://host/path`. Gives the new length of the output.
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

    fn close_write(&mut self) {
        self.is_write_closed = true;
        self.exchange.state().advance(Phase::Stopped);
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let is_first = self.enter();
        self.has_just_read = false;
        if self.is_write_closed {
            return Ok(());
        }
        let amount = if is_first {
            self.make_absolute(amount)
        } else {
            amount
        };
        let total = self.buffers.held + amount;
        let is_head_to_wait = {
            let state = self.exchange.state();
            state.plan.holds_head && state.phase == Phase::Head
        };
        if is_head_to_wait && total + ROOM <= OUTPUT {
            self.buffers.held = total;
            return Ok(());
        }
        self.buffers.held = 0;
        match self.write_out(total) {
            Written::All => {}
            Written::UntilAnswer => self.close_write(),
            Written::Failed(err) => {
                self.failed_write = Some(err);
                self.close_write();
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        if let Some(failed) = self.failed_write.take() {
            return self.answer_after_failed_write(failed);
        }
        let reason = timeout.reason;
        let mut wait = InputWait::new(timeout);
        loop {
            let read = self.fill(wait.piece());
            let Some(amount) = wait.brought(read)? else {
                continue;
            };
            if amount == 0 {
                return Ok(false);
            }
            let go_on = self.skip_interim() && reason == ureq::Timeout::Await100;
            match interim(self.buffers.input()) {
                Interim::No if !self.buffers.input().is_empty() => return Ok(true),
                // To ureq the end of the wait is as good as the word to go on.
                _ if go_on => return Err(ureq::Error::Timeout(reason)),
                _ => wait.go_on()?,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        let is_old = self.born.elapsed() >= MAX_AGE;
        if self.is_write_closed || self.failed_write.is_some() || is_old {
            return false;
        }
        if std::mem::take(&mut self.has_just_read) {
            return true;
        }
        // Nothing is due now: bytes are as bad as the end.
        let quiet = self.stream.read(&mut [0], Duration::ZERO);
        matches!(quiet, Err(err) if err.kind() == io::ErrorKind::WouldBlock)
    }

    fn is_tls(&self) -> bool {
        self.is_tls
    }
}

/// Whether input begins with an interim answer (1xx), which is not the answer (RFC 9110, 15.2).
/// (Nobody asked for 101: where it comes, nothing follows.)
#[derive(Debug, PartialEq, Eq)]
enum Interim {
    No,
    /// It is whole, and so many bytes long.
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
