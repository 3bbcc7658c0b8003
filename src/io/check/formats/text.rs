//! Text as the grammars read it: whole characters, a buffer at a time, with line and column.
//!
//! UTF-8 is RFC 3629 (no overlong forms, no surrogates), UTF-16 is RFC 2781. A byte order mark at
//! the start is taken off: Windows programs write one, and RFC 8259 section 8.1 lets a parser
//! ignore it. A NUL byte ends the reading of any text with `Unfinished`, wherever it stands: no
//! text has a use for it, and a network file system shows NUL for data that has not arrived.

use std::fmt::Display;
use std::io;

use super::Stop;
use super::input::{BUFFER, Input};

pub(super) const UTF8_MARK: &[u8] = b"\xEF\xBB\xBF";
pub(super) const UTF16LE_MARK: &[u8] = b"\xFF\xFE";
pub(super) const UTF16BE_MARK: &[u8] = b"\xFE\xFF";

/// How bytes become characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    /// ASCII, and above it any byte: ISO 8859, code pages, or not known at all.
    SingleByte,
    Utf16Le,
    Utf16Be,
}

/// What follows the characters in the buffer when it is not more characters.
enum Fault {
    Nul,
    Encoding(&'static str),
}

/// A reader of characters, as UTF-8 (or single bytes), that knows where it stands.
pub(super) struct Text<'a> {
    input: Input<'a>,
    encoding: Encoding,
    /// How much of the input has been read.
    read: u64,
    /// UTF-16 only: bytes before they are decoded.
    raw: Vec<u8>,
    /// Whole characters up to `end`, then the beginning of the next up to `filled`.
    text: Vec<u8>,
    at: usize,
    end: usize,
    filled: usize,
    fault: Option<Fault>,
    /// Line and column, from 1, of `text[0]`.
    line: u64,
    column: u64,
}

impl<'a> Text<'a> {
    /// UTF-8, as most formats want it.
    pub(super) fn utf8(mut input: Input<'a>) -> Result<Text<'a>, Stop> {
        let mut head = [0; 3];
        let count = input.read_at(0, &mut head)?;
        let head = &head[..count];
        if head.starts_with(UTF16LE_MARK) || head.starts_with(UTF16BE_MARK) {
            return Err(Stop::Bad(
                "the file begins with the byte order mark of UTF-16; this check wants UTF-8"
                    .to_owned(),
            ));
        }
        let mark = if head == UTF8_MARK {
            UTF8_MARK.len()
        } else {
            0
        };
        Ok(Text::new(input, Encoding::Utf8, mark))
    }

    /// In `encoding`, after a byte order mark of `mark` bytes.
    pub(super) fn new(input: Input<'a>, encoding: Encoding, mark: usize) -> Text<'a> {
        Text {
            input,
            encoding,
            read: mark as u64,
            raw: Vec::new(),
            text: vec![0; BUFFER],
            at: 0,
            end: 0,
            filled: 0,
            fault: None,
            line: 1,
            column: 1,
        }
    }

    /// True when bytes above ASCII are not characters of UTF-8.
    pub(super) fn single_bytes(&self) -> bool {
        self.encoding == Encoding::SingleByte
    }

    /// The next byte, not consumed; `None` at the end.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<Option<u8>, Stop> {
        if self.at == self.end && !self.refill()? {
            return Ok(None);
        }
        Ok(Some(self.text[self.at]))
    }

    /// The next byte, not consumed, where the text must not end.
    #[inline]
    pub(super) fn look(&mut self, inside: &str) -> Result<u8, Stop> {
        match self.peek()? {
            Some(byte) => Ok(byte),
            None => Err(self.cut(inside)),
        }
    }

    /// What is buffered, whole characters; empty only at the end.
    #[inline]
    pub(super) fn rest(&mut self) -> Result<&[u8], Stop> {
        if self.at == self.end {
            self.refill()?;
        }
        Ok(&self.text[self.at..self.end])
    }

    /// Consumes `count` bytes of [`rest`](Text::rest).
    #[inline]
    pub(super) fn skip(&mut self, count: usize) {
        debug_assert!(self.at + count <= self.end);
        self.at += count;
    }

    /// Consumes the next byte if it is `byte`.
    pub(super) fn eat(&mut self, byte: u8) -> Result<bool, Stop> {
        let found = self.peek()? == Some(byte);
        if found {
            self.skip(1);
        }
        Ok(found)
    }

    /// Consumes all bytes that come next and fit; true if there was one.
    #[inline]
    pub(super) fn skip_while(&mut self, fits: impl Fn(u8) -> bool) -> Result<bool, Stop> {
        let mut any = false;
        loop {
            let rest = self.rest()?;
            let count = rest.iter().take_while(|&&byte| fits(byte)).count();
            let more = count > 0 && count == rest.len();
            any |= count > 0;
            self.skip(count);
            if !more {
                return Ok(any);
            }
        }
    }

    /// Consumes `literal`, which must come next.
    pub(super) fn expect(&mut self, literal: &str, inside: &str) -> Result<(), Stop> {
        for &byte in literal.as_bytes() {
            if self.look(inside)? != byte {
                return Err(self.bad(format_args!("expected `{literal}`")));
            }
            self.skip(1);
        }
        Ok(())
    }

    /// Reads all of it, which checks the encoding.
    pub(super) fn drain(&mut self) -> Result<(), Stop> {
        loop {
            let count = self.rest()?.len();
            if count == 0 {
                return Ok(());
            }
            self.skip(count);
        }
    }

    /// Wrong at the next byte.
    #[cold]
    pub(super) fn bad(&self, reason: impl Display) -> Stop {
        Stop::Bad(self.place_of(0, reason))
    }

    /// `reason`, with the place `ahead` bytes into [`rest`](Text::rest) before it.
    #[cold]
    pub(super) fn place_of(&self, ahead: usize, reason: impl Display) -> String {
        let (line, column) = self.place(self.at + ahead);
        format!("line {line}, column {column}: {reason}")
    }

    /// Ended too early; `inside` says in what.
    #[cold]
    pub(super) fn cut(&self, inside: &str) -> Stop {
        let (line, column) = self.place(self.at);
        Stop::Unfinished(format!(
            "the file ends at line {line}, column {column} {inside}"
        ))
    }

    fn place(&self, to: usize) -> (u64, u64) {
        let passed = &self.text[..to];
        let newlines = passed.iter().filter(|&&byte| byte == b'\n').count();
        let (tail, column) = match passed.iter().rposition(|&byte| byte == b'\n') {
            Some(newline) => (&passed[newline + 1..], 1),
            None => (passed, self.column),
        };
        let characters = match self.encoding {
            Encoding::SingleByte => tail.len(),
            _ => tail.iter().filter(|&&byte| byte & 0xC0 != 0x80).count(),
        };
        (self.line + newlines as u64, column + characters as u64)
    }

    /// Brings the next characters in; false at the end.
    #[cold]
    fn refill(&mut self) -> Result<bool, Stop> {
        loop {
            match self.fault.take() {
                Some(Fault::Nul) => {
                    return Err(Stop::Unfinished(self.place_of(
                        0,
                        "a NUL byte, as a network file system shows it for data that has not \
                         arrived",
                    )));
                }
                Some(Fault::Encoding(reason)) => return Err(self.bad(reason)),
                None => {}
            }
            (self.line, self.column) = self.place(self.end);
            let (fresh, pending) = match self.encoding {
                Encoding::Utf8 | Encoding::SingleByte => self.fill_bytes()?,
                Encoding::Utf16Le | Encoding::Utf16Be => self.fill_utf16()?,
            };
            if self.end > 0 {
                return Ok(true);
            }
            if fresh == 0 {
                return match pending {
                    0 => Ok(false),
                    _ => Err(self.cut("inside a character of several bytes")),
                };
            }
        }
    }

    /// Returns how many bytes were read, and how many of the last character wait for its rest.
    fn fill_bytes(&mut self) -> io::Result<(usize, usize)> {
        self.text.copy_within(self.end..self.filled, 0);
        let carried = self.filled - self.end;
        (self.at, self.end, self.filled) = (0, 0, carried);
        let fresh = self.input.read_at(self.read, &mut self.text[carried..])?;
        self.read += fresh as u64;
        self.filled += fresh;

        let filled = &self.text[..self.filled];
        self.end = self.filled;
        if self.encoding == Encoding::Utf8
            && let Err(err) = std::str::from_utf8(filled)
        {
            self.end = err.valid_up_to();
            // A character whose rest is a hole is not wrong, it is cut.
            self.fault = err.error_len().map(|len| match filled.get(self.end + len) {
                Some(0) => Fault::Nul,
                _ => Fault::Encoding("not UTF-8"),
            });
        }
        self.stop_at_nul();
        Ok((fresh, self.filled - self.end))
    }

    /// As [`fill_bytes`](Text::fill_bytes); what waits stays in `raw`.
    fn fill_utf16(&mut self) -> io::Result<(usize, usize)> {
        let carried = self.raw.len();
        self.raw.resize(carried + BUFFER, 0);
        (self.at, self.end, self.filled) = (0, 0, 0);
        let fresh = self.input.read_at(self.read, &mut self.raw[carried..])?;
        self.read += fresh as u64;
        self.raw.truncate(carried + fresh);

        let mut whole = self.raw.len() & !1;
        let unit = |pair: &[u8]| match self.encoding {
            Encoding::Utf16Be => u16::from_be_bytes([pair[0], pair[1]]),
            _ => u16::from_le_bytes([pair[0], pair[1]]),
        };
        if whole > 0 && matches!(unit(&self.raw[whole - 2..whole]), 0xD800..=0xDBFF) {
            whole -= 2;
        }
        self.text.clear();
        let mut bytes = [0; 4];
        for decoded in char::decode_utf16(self.raw[..whole].chunks_exact(2).map(unit)) {
            let Ok(character) = decoded else {
                self.fault = Some(Fault::Encoding("not UTF-16: half of a surrogate pair"));
                break;
            };
            self.text
                .extend_from_slice(character.encode_utf8(&mut bytes).as_bytes());
        }
        self.raw.drain(..whole);
        self.end = self.text.len();
        self.filled = self.end;
        self.stop_at_nul();
        Ok((fresh, self.raw.len()))
    }

    fn stop_at_nul(&mut self) {
        let text = &self.text[..self.end];
        // `contains` is the fast one.
        if text.contains(&0)
            && let Some(nul) = text.iter().position(|&byte| byte == 0)
        {
            self.end = nul;
            self.fault = Some(Fault::Nul);
        }
    }
}
