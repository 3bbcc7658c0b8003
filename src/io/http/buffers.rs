//! The buffers of a connection: what ureq writes into and reads from.
//!
//! They cost memory only as far as they are used: a small file touches a few
//! pages of the output, and the input grows with the answer's head.

use std::fmt;

use ureq::unversioned::transport::Buffers;

/// Bytes that go out in one write at most.
pub(super) const OUTPUT: usize = 128 * 1024;

/// With less room than so many bytes behind it, a held head is sent on its own.
pub(super) const ROOM: usize = 64 * 1024;

/// Bytes that the buffer for input begins with.
const INPUT: usize = 8 * 1024;

/// Bytes that it grows to at most, for the head of an answer.
const INPUT_MOST: usize = 128 * 1024;

/// The buffers that ureq reads and writes, with a held head before the output.
#[derive(Default)]
pub(super) struct ConnectionBuffers {
    pub output: Vec<u8>,
    /// Bytes at the start of `output` that wait to leave with those that follow.
    pub held: usize,
    /// The body is sent in chunks, for which ureq wants a buffer more.
    pub is_chunked: bool,
    scratch: Vec<u8>,
    input: Vec<u8>,
    /// What has come and is not consumed yet is `input[start..end]`.
    start: usize,
    end: usize,
    /// Whether the last look at the input used some of it.
    has_progress: bool,
}

/// The bytes themselves hold credentials.
impl fmt::Debug for ConnectionBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionBuffers")
            .field("held", &self.held)
            .field("input", &(self.end - self.start))
            .finish_non_exhaustive()
    }
}

impl ConnectionBuffers {
    fn prepare(&mut self) {
        if self.output.is_empty() {
            self.output = vec![0; OUTPUT];
        }
    }
}

impl Buffers for ConnectionBuffers {
    fn output(&mut self) -> &mut [u8] {
        self.prepare();
        &mut self.output[self.held..]
    }

    fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.input.len() && self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.input.len() && self.input.len() < INPUT_MOST {
            let size = (self.input.len() * 2).clamp(INPUT, INPUT_MOST);
            self.input.resize(size, 0);
        }
        &mut self.input[self.end..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.end += amount;
        self.has_progress = true;
    }

    fn input_consume(&mut self, amount: usize) {
        self.start += amount;
        self.has_progress = amount > 0;
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.prepare();
        if self.is_chunked && self.scratch.is_empty() {
            self.scratch = vec![0; ROOM];
        }
        (&mut self.scratch, &mut self.output[self.held..])
    }

    fn can_use_input(&self) -> bool {
        self.start < self.end && self.has_progress
    }
}
