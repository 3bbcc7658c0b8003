//! What `[check] format` looks for: whether a file's content is whole and well-formed.
//!
//! Every format is read in one pass through fixed buffers, so that memory depends on nothing in
//! the file: not on its size, nor on one string, record, name or nesting in it. Where a crate
//! keeps that promise it does the work (flate2 for deflate and CRC-32); the grammars are small
//! readers of our own, since the parsers at hand hold a whole string, event or directory.
//!
//! A finding is careful in one direction: `Bad` is said only of what no appending can mend. What
//! may be the beginning of a good file is `Unfinished`, and so is what holds NUL bytes where data
//! may have been meant: a network file system shows them for data that has not arrived.
//!
//! | format | follows | an empty file is |
//! |---|---|---|
//! | utf8 | RFC 3629 | good |
//! | json | RFC 8259 | unfinished |
//! | jsonl | RFC 8259, one value a line | good |
//! | xml | XML 1.0, fifth edition: well-formedness | unfinished |
//! | csv | RFC 4180, with the delimiter found out | good |
//! | gzip | RFC 1952 and RFC 1951 | unfinished |
//! | zip | APPNOTE.TXT 6.3 | unfinished |
//! | pdf | ISO 32000-2: header and end | unfinished |
//!
//! [`edges`] looks for texts of the user's own at both sides of a file.

mod csv;
pub mod edges;
mod gzip;
mod inflate;
mod input;
mod json;
mod pdf;
mod text;
mod xml;
mod xml_encoding;
mod xml_prolog;
mod zip;

#[cfg(test)]
mod tests;

use std::io::{self, Read, Seek};

use crate::config::Format;
use input::Input;
use text::Text;

/// What a look at the content says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Whole and well-formed.
    Good,
    /// May only be unfinished: what is there is a valid beginning. The reason is for a person.
    Unfinished(String),
    /// Cannot become valid by appending.
    Bad(String),
}

/// What a check reads: an open file, or a buffer in a test.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek + ?Sized> ReadSeek for T {}

/// Looks at the first `size` bytes of `source`, the size that was observed, and never beyond.
///
/// The only errors are those of reading; a source that ends before `size` is `UnexpectedEof`.
pub fn validate(format: Format, source: &mut dyn ReadSeek, size: u64) -> io::Result<Finding> {
    let mut input = Input::new(source, size);
    let checked = match format {
        Format::Any => Ok(()),
        Format::Utf8 => Text::utf8(input).and_then(|mut text| text.drain()),
        Format::Json => Text::utf8(input).and_then(|mut text| json::document(&mut text)),
        Format::Jsonl => Text::utf8(input).and_then(|mut text| json::lines(&mut text)),
        Format::Xml => xml::document(input),
        Format::Csv => csv::records(input),
        Format::Gzip => gzip::members(&mut input).or_else(|stop| input::doubt(stop, &mut input)),
        Format::Zip => zip::archive(&mut input).or_else(|stop| input::doubt(stop, &mut input)),
        Format::Pdf => pdf::document(&mut input).or_else(|stop| input::doubt(stop, &mut input)),
    };
    match checked {
        Ok(()) => Ok(Finding::Good),
        Err(Stop::Unfinished(reason)) => Ok(Finding::Unfinished(reason)),
        Err(Stop::Bad(reason)) => Ok(Finding::Bad(reason)),
        Err(Stop::Io(err)) => Err(err),
    }
}

/// Why a check ended before it could say that all is good.
#[derive(Debug)]
enum Stop {
    /// See [`Finding::Unfinished`].
    Unfinished(String),
    /// See [`Finding::Bad`].
    Bad(String),
    /// The source could not be read.
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(err: io::Error) -> Stop {
        Stop::Io(err)
    }
}
