//! What the commands print: the one place that writes to stdout and, but for the log, to stderr.
//!
//! Printing never panics. A pipe whose reader has gone, as in `dirpost check | head -1`, ends
//! the command quietly; any other error of stdout is said on stderr.

use std::io::{self, Write};

use super::exit::Exit;
use crate::flow::escape::printable;

/// Stdout, or what stands for it in a test.
pub struct Output<'a>(Box<dyn Write + 'a>);

/// Stdout cannot be written to.
#[derive(Debug)]
pub struct PrintError(io::Error);

/// What came of printing.
pub type Printed = Result<(), PrintError>;

impl<'a> Output<'a> {
    /// The stdout of the process.
    pub fn stdout() -> Output<'static> {
        Output(Box::new(io::stdout()))
    }

    /// Prints to something else.
    pub fn to(out: impl Write + 'a) -> Output<'a> {
        Output(Box::new(out))
    }

    /// Prints one line. Whatever is in `text` makes no second one, and sends no control
    /// sequences to a terminal.
    ///
    /// # Errors
    /// If it cannot be written; a part of it may have been.
    pub fn line(&mut self, text: &str) -> Printed {
        self.raw(format!("{}\n", printable(text)).as_bytes())
    }

    /// Prints `text`, which is dirpost's own, as it is.
    ///
    /// # Errors
    /// If it cannot be written; a part of it may have been.
    pub fn raw(&mut self, text: &[u8]) -> Printed {
        self.0
            .write_all(text)
            .and_then(|()| self.0.flush())
            .map_err(PrintError)
    }
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Output")
    }
}

impl PrintError {
    /// How the program ends. `unread` is for a reader that has gone: [`Exit::Success`] where
    /// printing was all there was to do.
    pub fn exit(&self, unread: Exit) -> Exit {
        if self.0.kind() == io::ErrorKind::BrokenPipe {
            return unread;
        }
        complain(&format!("standard output: {}", self.0));
        Exit::Failed
    }
}

/// Says on stderr what is wrong, which may be several lines of dirpost's own. Where even that
/// cannot be written nobody reads it.
pub fn complain(why: &str) {
    print_error(&format!("dirpost: {why}"));
}

/// Prints `text`, whose lines are dirpost's own, to stderr; what is in them is made printable.
pub fn print_error(text: &str) {
    let mut safe = String::new();
    for line in text.lines() {
        safe += &printable(line);
        safe.push('\n');
    }
    let _ = io::stderr().write_all(safe.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        let mut printed = Vec::new();
        Output::to(&mut printed)
            .line("a\nb \u{1b}[2J\u{202e}")
            .unwrap();
        assert_eq!(printed, b"a%0Ab %1B[2J%E2%80%AE\n");
    }

    /// Answers every write with one error.
    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_ends_as_the_command_says_and_a_full_disk_is_a_failure() {
        let ends = |kind| {
            let mut output = Output::to(Broken(kind));
            output.line("x").unwrap_err().exit(Exit::Success)
        };
        assert_eq!(ends(io::ErrorKind::BrokenPipe), Exit::Success);
        assert_eq!(ends(io::ErrorKind::StorageFull), Exit::Failed);
    }
}
