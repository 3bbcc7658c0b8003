//! Each format against documents that are whole, cut, damaged, huge, or read byte by byte.

mod archives;
mod csv;
mod json;
mod text;
mod xml;

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use super::input::BUFFER;
use super::{Finding, validate};
use crate::config::Format;

pub(super) fn look(format: Format, bytes: &[u8]) -> Finding {
    validate(format, &mut Cursor::new(bytes), bytes.len() as u64).expect("a cursor can be read")
}

#[track_caller]
pub(super) fn good(format: Format, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    let finding = look(format, bytes);
    assert_eq!(
        finding,
        Finding::Good,
        "{format:?} of {:?}",
        String::from_utf8_lossy(bytes)
    );
}

#[track_caller]
pub(super) fn unfinished(format: Format, bytes: impl AsRef<[u8]>, reason: &str) {
    let bytes = bytes.as_ref();
    match look(format, bytes) {
        Finding::Unfinished(given) if given.contains(reason) => {}
        other => panic!(
            "{format:?} of {:?}: {other:?}",
            String::from_utf8_lossy(bytes)
        ),
    }
}

#[track_caller]
pub(super) fn bad(format: Format, bytes: impl AsRef<[u8]>, reason: &str) {
    let bytes = bytes.as_ref();
    match look(format, bytes) {
        Finding::Bad(given) if given.contains(reason) => {}
        other => panic!(
            "{format:?} of {:?}: {other:?}",
            String::from_utf8_lossy(bytes)
        ),
    }
}

/// No proper prefix may be bad; with `end_is_seen` none may be good.
#[track_caller]
pub(super) fn prefixes(format: Format, whole: &[u8], end_is_seen: bool) {
    good(format, whole);
    for cut in 0..whole.len() {
        let finding = look(format, &whole[..cut]);
        let shown = || String::from_utf8_lossy(&whole[..cut]).into_owned();
        assert!(
            !matches!(finding, Finding::Bad(_)),
            "cut at {cut}: {finding:?}: {}",
            shown()
        );
        assert!(
            !end_is_seen || finding != Finding::Good,
            "cut at {cut}: good: {}",
            shown()
        );
    }
}

/// Lays every byte of `document` once on the border between two buffers.
#[track_caller]
pub(super) fn across_buffers(format: Format, before: &str, filler: char, document: &[u8]) {
    for k in 1..=document.len() {
        let mut bytes = before.as_bytes().to_vec();
        bytes.resize(BUFFER - k, filler as u8);
        bytes.extend_from_slice(document);
        assert_eq!(
            look(format, &bytes),
            Finding::Good,
            "the border is before byte {k} from the end"
        );
    }
}

/// What a reader that gives one byte at a time is told must be the same.
#[track_caller]
pub(super) fn dribbled(format: Format, bytes: &[u8]) {
    struct Dribble<'a>(Cursor<&'a [u8]>);
    impl Read for Dribble<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let len = buf.len().min(1);
            self.0.read(&mut buf[..len])
        }
    }
    impl Seek for Dribble<'_> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    let size = bytes.len() as u64;
    let slow = validate(format, &mut Dribble(Cursor::new(bytes)), size).expect("readable");
    assert_eq!(slow, look(format, bytes));
}

/// A file that exists only while it is read: `head`, then `body` again and again, then `tail`.
pub(super) struct Endless {
    pub(super) head: &'static [u8],
    pub(super) body: &'static [u8],
    pub(super) repeats: u64,
    pub(super) tail: &'static [u8],
    pub(super) at: u64,
}

impl Endless {
    pub(super) fn size(&self) -> u64 {
        (self.head.len() + self.tail.len()) as u64 + self.body.len() as u64 * self.repeats
    }

    pub(super) fn check(mut self, format: Format) -> Finding {
        let size = self.size();
        validate(format, &mut self, size).expect("readable")
    }
}

impl Read for Endless {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let body_end = self.size() - self.tail.len() as u64;
        let head_end = self.head.len() as u64;
        let left: &[u8] = if self.at < head_end {
            &self.head[self.at as usize..]
        } else if self.at < body_end {
            &self.body[((self.at - head_end) % self.body.len() as u64) as usize..]
        } else {
            &self.tail[((self.at - body_end) as usize).min(self.tail.len())..]
        };
        let count = left.len().min(buf.len());
        buf[..count].copy_from_slice(&left[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Endless {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        if let SeekFrom::Start(at) = to {
            self.at = at;
        }
        Ok(self.at)
    }
}

/// Xorshift64*, for documents that are the same in every run of one seed.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Rng {
        println!("seed {seed:#x}");
        Rng(seed.max(1))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 33) % bound.max(1) as u64) as usize
    }

    /// Changes, drops, doubles or inserts a few bytes; `likely` are those of the grammar.
    pub(super) fn mutate(&mut self, bytes: &mut Vec<u8>, likely: &[u8]) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(6) {
                _ if bytes.is_empty() => bytes.push(self.next() as u8),
                0 => bytes[at] = self.next() as u8,
                1 => bytes[at] = likely[self.below(likely.len())],
                2 => bytes.insert(at, likely[self.below(likely.len())]),
                3 => drop(bytes.remove(at)),
                4 => bytes.truncate(at),
                _ => bytes.extend_from_within(at..),
            }
        }
    }
}

#[test]
fn any_content_is_good_unread() {
    struct Unreadable;
    impl Read for Unreadable {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("must not be read"))
        }
    }
    impl Seek for Unreadable {
        fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
            Err(io::Error::other("must not be read"))
        }
    }
    assert_eq!(
        validate(Format::Any, &mut Unreadable, 1).unwrap(),
        Finding::Good
    );
    assert!(validate(Format::Utf8, &mut Unreadable, 1).is_err());
}

#[test]
fn an_empty_file_is_good_only_where_it_holds_nothing_less_than_expected() {
    for format in [Format::Utf8, Format::Jsonl, Format::Csv] {
        good(format, b"");
    }
    for format in [Format::Json, Format::Xml, Format::Gzip, Format::Zip] {
        unfinished(format, b"", "the file ends at");
    }
}

#[test]
fn nothing_beyond_the_observed_size_is_read() {
    let mut source = Cursor::new(b"[1] and more".to_vec());
    assert_eq!(
        validate(Format::Json, &mut source, 3).unwrap(),
        Finding::Good
    );
}

#[test]
fn reading_begins_at_the_start_wherever_the_source_stands() {
    let mut source = Cursor::new(b"[1]".to_vec());
    source.set_position(2);
    assert_eq!(
        validate(Format::Json, &mut source, 3).unwrap(),
        Finding::Good
    );
}

#[test]
fn a_file_that_became_shorter_is_an_error_of_reading() {
    for format in [
        Format::Utf8,
        Format::Json,
        Format::Xml,
        Format::Csv,
        Format::Gzip,
        Format::Zip,
    ] {
        let err = validate(format, &mut Cursor::new(b"[1]".to_vec()), 4).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::UnexpectedEof, "{format:?}");
    }
}
