//! Deflate data (RFC 1951), decompressed into a fixed buffer for its length and CRC-32 only.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::Stop;
use super::input::{BUFFER, Input, Window};

/// A decompressor that is used for one stream after another.
pub(super) struct Inflater {
    decompress: Decompress,
    out: Vec<u8>,
}

/// What a stream came to.
pub(super) struct Content {
    pub(super) crc: u32,
    pub(super) len: u64,
}

impl Inflater {
    pub(super) fn new() -> Inflater {
        Inflater {
            decompress: Decompress::new(false),
            out: vec![0; BUFFER],
        }
    }

    /// Reads one stream up to its last byte; `None` when the window ends before.
    pub(super) fn run(
        &mut self,
        window: &mut Window,
        input: &mut Input,
    ) -> Result<Option<Content>, Stop> {
        self.decompress.reset(false);
        let mut crc = Crc::new();
        loop {
            let at = window.at();
            let rest = window.rest(input)?;
            let at_end = rest.is_empty();
            let (read, written) = (self.decompress.total_in(), self.decompress.total_out());
            let status = self
                .decompress
                .decompress(rest, &mut self.out, FlushDecompress::None)
                .map_err(|_| corrupt(at))?;
            let read = self.decompress.total_in() - read;
            let written = self.decompress.total_out() - written;
            crc.update(&self.out[..written as usize]);
            window.skip(read);
            if status == Status::StreamEnd {
                return Ok(Some(Content {
                    crc: crc.sum(),
                    len: self.decompress.total_out(),
                }));
            }
            if read == 0 && written == 0 {
                return if at_end { Ok(None) } else { Err(corrupt(at)) };
            }
        }
    }
}

fn corrupt(at: u64) -> Stop {
    Stop::Bad(format!(
        "the compressed data are corrupt at or after byte {at}"
    ))
}
