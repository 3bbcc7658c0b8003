//! The lines of a file, one after the other: a journal of any size is read in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

/// Bytes that are read at a time.
const CHUNK: usize = 128 * 1024;
/// Longer than any line that was ever written: the path and the start of an answer, escaped. What
/// is longer (a hole of zeros after a power cut) is handed on in pieces, none of which can be read
/// as a line.
const LINE_MAX: u64 = 1 << 20;

/// Calls `take` for each line of the first `end` bytes of `file`, with its newline, and gives their
/// bytes. What follows the last newline is left out.
///
/// # Errors
/// Of reading, and of `take`.
pub(super) fn each_line(
    mut file: &File,
    end: u64,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    // Where to read from; what is appended goes to the end all the same.
    file.rewind()?;
    let mut reader = BufReader::with_capacity(CHUNK, file).take(end);
    let (mut line, mut whole, mut read) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let bytes = reader
            .by_ref()
            .take(LINE_MAX)
            .read_until(b'\n', &mut line)?;
        read += bytes as u64;
        let is_whole = line.last() == Some(&b'\n');
        if !is_whole && (bytes as u64) < LINE_MAX {
            return Ok(whole);
        }
        if is_whole {
            whole = read;
        }
        take(&line)?;
    }
}

/// Copies the bytes of `file` from `from` up to `end` as they stand.
///
/// # Errors
/// Of reading or writing.
pub(super) fn copy(mut file: &File, from: u64, end: u64, to: &mut impl Write) -> io::Result<()> {
    file.seek(SeekFrom::Start(from))?;
    io::copy(&mut file.take(end.saturating_sub(from)), to).map(drop)
}
