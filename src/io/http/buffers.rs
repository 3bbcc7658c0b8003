//! The buffers of a [`Connection`](super::connection::Connection): what ureq writes into and reads from.
//!
//! They cost memory only as far as they are used: a small file touches a few
//! pages of the output, and the input grows with the answer's head.

use ureq::unversioned::transport::Buffers;

/// The most that goes out in one write.
pub(super) const OUTPUT: usize = 128 * 1024;

/// Less room than this behind a held head sends it on its own.
pub(super) const ROOM: usize = 64 * 1024;

/// The buffer for input begins small and grows up to this, for a head of that size.
const INPUT: usize = 8 * 1024;
const INPUT_MOST: usize = 128 * 1024;

/// The buffers that ureq reads and writes, with a held head before the output.
#[derive(Debug, Default)]
pub(super) struct ConnectionBuffers {
    pub output: Vec<u8>,
    pub held: usize,
    pub chunked: bool,
    scratch: Vec<u8>,
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether the last look at the input used some of it.
    progress: bool,
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
        self.progress = true;
    }

    fn input_consume(&mut self, amount: usize) {
        self.start += amount;
        self.progress = amount > 0;
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.prepare();
        if self.chunked && self.scratch.is_empty() {
            self.scratch = vec![0; ROOM];
        }
        (&mut self.scratch, &mut self.output[self.held..])
    }

    fn can_use_input(&self) -> bool {
        self.start < self.end && self.progress
    }
}
