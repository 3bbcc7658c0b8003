//! The body of a request, as ureq asks for it piece by piece.
//!
//! A [`BodyReader`] turns the file's bytes into what goes on the wire: as they are, between the
//! parts of a form, or compressed. It keeps to the promised length whatever happens, because the
//! length is what tells a server that it has it all: a file that ends too soon, or changes, is an
//! error *before* the last byte is given, never a shorter body.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Body;
use super::exchange::{Exchange, Phase};
use super::rate::Rate;

/// Bytes of a file that are compressed at once.
const PIECE: usize = 32 * 1024;

/// What ureq reads the body of a request from.
pub(super) struct BodyReader<'a, B: Body> {
    body: &'a mut B,
    exchange: &'a Exchange,
    /// `send.max_rate`.
    rate: Option<&'a Rate>,
    /// Bytes of the file.
    size: u64,
    /// Bytes of the file still to come.
    left: u64,
    /// What goes before the file's bytes, as far as it is still to come.
    before: &'a [u8],
    /// What goes after them, as far as it is still to come.
    after: &'a [u8],
    /// Bytes still to come in all; of no meaning with gzip, whose length nobody knows before.
    promised: u64,
    gzip: Option<GzEncoder<Vec<u8>>>,
    /// Where the bytes to be compressed are read into.
    piece: Vec<u8>,
    /// How much of what gzip has made has been given.
    given: usize,
    /// All of it has been given.
    pub is_done: bool,
    /// Why the file cannot be sent.
    pub broken: Option<B::Broken>,
}

impl<'a, B: Body> BodyReader<'a, B> {
    /// Gives the `size` bytes of `body` as they are.
    pub fn new(body: &'a mut B, size: u64, exchange: &'a Exchange) -> BodyReader<'a, B> {
        BodyReader {
            body,
            exchange,
            rate: None,
            size,
            left: size,
            before: &[],
            after: &[],
            promised: size,
            gzip: None,
            piece: Vec::new(),
            given: 0,
            is_done: false,
            broken: None,
        }
    }

    /// Puts the file's bytes between the parts of a form.
    pub fn within(mut self, before: &'a [u8], after: &'a [u8]) -> BodyReader<'a, B> {
        (self.before, self.after) = (before, after);
        self.promised = self.size + before.len() as u64 + after.len() as u64;
        self
    }

    /// Bytes of the file that were read so far.
    pub fn taken(&self) -> u64 {
        self.size - self.left
    }

    /// Keeps to a rate.
    pub fn limited(mut self, rate: &'a Rate) -> BodyReader<'a, B> {
        self.rate = Some(rate);
        self
    }

    /// Compresses; the length is then not known beforehand.
    pub fn gzipped(mut self) -> BodyReader<'a, B> {
        self.gzip = Some(GzEncoder::new(
            Vec::with_capacity(PIECE),
            Compression::default(),
        ));
        self.piece = vec![0; PIECE];
        self
    }

    /// Reads from the file, no further than its size and no faster than the rate.
    fn file(&mut self, buf: &mut [u8]) -> Result<usize, B::Broken> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let most = self.rate.map_or(most, |rate| rate.piece().min(most));
        let amount = self.body.read(&mut buf[..most])?;
        if amount == 0 && most > 0 {
            let why = format!(
                "the file ends {} bytes before its size of {}",
                self.left, self.size
            );
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why).into());
        }
        self.left -= amount as u64;
        if let Some(rate) = self.rate {
            rate.pace(amount);
        }
        Ok(amount)
    }

    fn plain(&mut self, buf: &mut [u8]) -> Result<usize, B::Broken> {
        let mut filled = take(&mut self.before, buf);
        while self.left > 0 && filled < buf.len() && self.before.is_empty() {
            filled += self.file(&mut buf[filled..])?;
            if self.rate.is_some() {
                break;
            }
        }
        if self.left == 0 {
            filled += take(&mut self.after, &mut buf[filled..]);
        }
        self.promised -= filled as u64;
        self.is_done = self.promised == 0;
        Ok(filled)
    }

    fn compressed(&mut self, buf: &mut [u8]) -> Result<usize, B::Broken> {
        loop {
            let Some(gzip) = &mut self.gzip else {
                return Ok(0);
            };
            let ready = &gzip.get_ref()[self.given..];
            if !ready.is_empty() {
                let amount = ready.len().min(buf.len());
                buf[..amount].copy_from_slice(&ready[..amount]);
                self.given += amount;
                return Ok(amount);
            }
            gzip.get_mut().clear();
            self.given = 0;
            if self.is_done {
                return Ok(0);
            }
            if self.left == 0 {
                gzip.try_finish()?;
                self.is_done = true;
                continue;
            }
            let mut piece = std::mem::take(&mut self.piece);
            let amount = self.file(&mut piece)?;
            if let Some(gzip) = &mut self.gzip {
                gzip.write_all(&piece[..amount])?;
            }
            self.piece = piece;
        }
    }

    /// What nobody will see: the connection writes nothing any more, but ureq
    /// wants to be done with the body before it reads the answer.
    fn filler(&mut self, len: usize) -> usize {
        if self.gzip.is_some() {
            return 0;
        }
        let amount = usize::try_from(self.promised)
            .unwrap_or(usize::MAX)
            .min(len);
        self.promised -= amount as u64;
        amount
    }
}

impl<B: Body> Read for BodyReader<'_, B> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        {
            let mut state = self.exchange.state();
            state.advance(Phase::Body);
            if state.phase == Phase::Stopped {
                drop(state);
                return Ok(self.filler(buf.len()));
            }
        }
        let result = if self.gzip.is_some() {
            self.compressed(buf)
        } else {
            self.plain(buf)
        };
        result.map_err(|err| {
            self.broken = Some(err);
            io::Error::other("the body was broken off")
        })
    }
}

/// Moves as much as there is room for.
fn take(from: &mut &[u8], buf: &mut [u8]) -> usize {
    let amount = from.len().min(buf.len());
    let (now, later) = from.split_at(amount);
    buf[..amount].copy_from_slice(now);
    *from = later;
    amount
}
