//! The file under check: no byte beyond its observed size, and windows of 64 KiB onto it.

use std::io::{self, SeekFrom};

use super::{ReadSeek, Stop};

/// The size of every read buffer.
pub(super) const BUFFER: usize = 64 * 1024;

/// How much is read after a jump, which may be for a header alone.
const JUMP: usize = 4 * 1024;

/// A run of NUL bytes this long in a broken archive may be data that has not arrived.
const HOLE: u64 = 512;

/// At the very end of a broken archive, fewer raise the same doubt.
const HOLE_AT_END: u64 = 16;

/// The source, cut off at the size that was observed.
pub(super) struct Input<'a> {
    source: &'a mut dyn ReadSeek,
    size: u64,
    /// Where the source stands, if that is known.
    at: Option<u64>,
}

impl<'a> Input<'a> {
    pub(super) fn new(source: &'a mut dyn ReadSeek, size: u64) -> Input<'a> {
        Input {
            source,
            size,
            at: None,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buf` from the offset `from` on; less only where the observed size ends.
    pub(super) fn read_at(&mut self, from: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(from);
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        if want == 0 {
            return Ok(0);
        }
        if self.at.take() != Some(from) {
            self.source.seek(SeekFrom::Start(from))?;
        }
        self.source.read_exact(&mut buf[..want])?;
        self.at = Some(from + want as u64);
        Ok(want)
    }
}

/// A buffered reader over one stretch of the input after another.
///
/// Moving to a place that is in the buffer reads nothing, so that the small entries of an archive
/// that lie one after the other cost one read for many.
pub(super) struct Window {
    buf: Vec<u8>,
    /// The offset of `buf[0]` in the file.
    start: u64,
    filled: usize,
    at: u64,
    end: u64,
}

impl Window {
    /// Over `from..to`; `to` is not beyond the observed size.
    pub(super) fn new(from: u64, to: u64) -> Window {
        Window {
            buf: vec![0; BUFFER],
            start: 0,
            filled: 0,
            at: from,
            end: to,
        }
    }

    pub(super) fn set(&mut self, from: u64, to: u64) {
        self.at = from;
        self.end = to;
    }

    /// The offset of the next byte in the file.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Moves within the stretch, or beyond it.
    pub(super) fn set_at(&mut self, at: u64) {
        self.at = at;
    }

    pub(super) fn is_beyond_end(&self) -> bool {
        self.at > self.end
    }

    /// What is buffered of the stretch, or read now; empty only at its end.
    pub(super) fn rest(&mut self, input: &mut Input) -> io::Result<&[u8]> {
        if self.at >= self.end {
            return Ok(&[]);
        }
        let buffered = self.start..self.start + self.filled as u64;
        if !buffered.contains(&self.at) {
            let next = self.at == buffered.end;
            let want = if next { BUFFER } else { JUMP };
            self.filled = 0;
            self.filled = input.read_at(self.at, &mut self.buf[..want])?;
            self.start = self.at;
        }
        let from = (self.at - self.start) as usize;
        let to = (self.end - self.start).min(self.filled as u64) as usize;
        Ok(&self.buf[from..to])
    }

    /// Moves on by `count` bytes, which need not be buffered.
    pub(super) fn skip(&mut self, count: u64) {
        self.at = self.at.saturating_add(count);
    }

    /// The next `N` bytes; `None` when the stretch ends before.
    pub(super) fn take<const N: usize>(
        &mut self,
        input: &mut Input,
    ) -> io::Result<Option<[u8; N]>> {
        let mut taken = [0; N];
        let mut have = 0;
        while have < N {
            let rest = self.rest(input)?;
            if rest.is_empty() {
                return Ok(None);
            }
            let count = rest.len().min(N - have);
            taken[have..have + count].copy_from_slice(&rest[..count]);
            have += count;
            self.skip(count as u64);
        }
        Ok(Some(taken))
    }
}

/// Turns `Bad` into `Unfinished` where NUL bytes may stand for data that has not arrived.
///
/// An archive whose middle or end is still missing looks corrupt, not short, when its writer gave
/// it its final size first.
pub(super) fn doubt(stop: Stop, input: &mut Input) -> Result<(), Stop> {
    let Stop::Bad(reason) = stop else {
        return Err(stop);
    };
    match hole(input)? {
        Some(at) => Err(Stop::Unfinished(format!(
            "{reason}; from byte {at} on there are NUL bytes, as a network file system shows \
             them for data that has not arrived"
        ))),
        None => Err(Stop::Bad(reason)),
    }
}

/// Where the first long run of NUL bytes begins.
fn hole(input: &mut Input) -> io::Result<Option<u64>> {
    let mut window = Window::new(0, input.size());
    let mut run = 0;
    loop {
        let at = window.at();
        let rest = window.rest(input)?;
        if rest.is_empty() {
            return Ok((run >= HOLE_AT_END).then(|| at - run));
        }
        for (i, &byte) in rest.iter().enumerate() {
            if byte == 0 {
                run += 1;
            } else if run >= HOLE {
                return Ok(Some(at + i as u64 - run));
            } else {
                run = 0;
            }
        }
        let count = rest.len() as u64;
        window.skip(count);
    }
}
