//! PDF (ISO 32000-2): whether its end is there.
//!
//! A reader begins at the end: `startxref`, an offset, `%%EOF` (7.5.5). What is between is not
//! looked at, for programs read damaged files in many ways, and dirpost is to see what is cut off.
//!
//! - An incremental update (7.5.6) appends objects and another `%%EOF`. A cut in the middle of one
//!   leaves the earlier end behind, so an end counts only near the end of the file. A cut exactly
//!   between two updates is a whole file: the earlier version of it.
//! - A linearized file (Annex F) has an `%%EOF` behind its first page as well. It says how long it is
//!   (`/L`), and one that is shorter is cut.
//! - Bytes before the header and behind the end are common; readers have always looked for `%PDF-`
//!   within the first 1024 bytes and for `%%EOF` within the last 1024 (PDF Reference 1.7,
//!   implementation notes 13 and 18). White space at the end does not count.

use super::Stop;
use super::edges::rfind;
use super::input::Input;

/// How far header and end may lie within.
const NEAR: usize = 1024;

pub(super) fn document(input: &mut Input) -> Result<(), Stop> {
    let size = input.size();
    let mut head = [0; NEAR];
    let filled = input.read_at(0, &mut head)?;
    let head = &head[..filled];
    let Some(header) = position(head, b"%PDF-") else {
        // As far as it goes it may be one.
        return Err(if filled < NEAR && could_begin(head) {
            unfinished("it ends before its header")
        } else {
            Stop::Bad("there is no %PDF- within the first 1024 bytes".into())
        });
    };
    if let Some(length) = linearized(&head[header..])
        && size < length
    {
        return Err(unfinished(&format!(
            "it says that it is {length} bytes long, and has {size}"
        )));
    }
    let (tail, from) = tail(input)?;
    let Some(end) = rfind(&tail, b"%%EOF") else {
        return Err(unfinished("there is no %%EOF near its end"));
    };
    if goes_on(&tail[end + 5..]) {
        return Err(unfinished("there is an object behind its last %%EOF"));
    }
    let Some(offset) = start_of_references(&tail[..end]) else {
        return Err(unfinished("there is no startxref before its last %%EOF"));
    };
    // Some writers count from the header and some from the first byte; both are within the file.
    if offset >= from + end as u64 {
        return Err(unfinished(&format!(
            "its cross-references are said to be at byte {offset}, which is not there"
        )));
    }
    let mut there = [1; 8];
    input.read_at(offset, &mut there)?;
    if there == [0; 8] {
        return Err(unfinished(&format!(
            "from byte {offset} on there are NUL bytes in place of its cross-references"
        )));
    }
    Ok(())
}

fn unfinished(why: &str) -> Stop {
    Stop::Unfinished(why.into())
}

fn position(text: &[u8], piece: &[u8]) -> Option<usize> {
    text.windows(piece.len()).position(|part| part == piece)
}

/// Whether bytes may follow that make this the beginning of a PDF: a part of the header is at its end.
fn could_begin(head: &[u8]) -> bool {
    (0..b"%PDF-".len()).any(|len| len > 0 && head.ends_with(&b"%PDF-"[..len])) || head.is_empty()
}

/// The length that a linearized file says of itself, in the dictionary that is its first object.
fn linearized(head: &[u8]) -> Option<u64> {
    let dictionary = &head[..position(head, b">>")?];
    position(dictionary, b"/Linearized")?;
    let at = dictionary
        .windows(3)
        .position(|part| part[..2] == *b"/L" && !part[2].is_ascii_alphabetic())?;
    number(&dictionary[at + 2..])
}

/// The number that the text begins with.
fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

/// The last bytes before the white space at the end of the file, enough for `startxref` as well, and
/// where they begin.
fn tail(input: &mut Input) -> Result<(Vec<u8>, u64), Stop> {
    const PIECE: usize = 64 * 1024;
    let mut end = input.size();
    let mut buf = vec![0; PIECE];
    // Back over pieces that are white space and nothing else.
    loop {
        let from = end.saturating_sub(PIECE as u64);
        let filled = input.read_at(from, &mut buf[..(end - from) as usize])?;
        let text = buf[..filled].trim_ascii_end();
        if !text.is_empty() || from == 0 {
            end = from + text.len() as u64;
            break;
        }
        end = from;
    }
    let from = end.saturating_sub(2 * NEAR as u64);
    let mut tail = vec![0; (end - from) as usize];
    input.read_at(from, &mut tail)?;
    // Only an end that begins within the last 1024 bytes counts.
    let far = tail.len().saturating_sub(NEAR);
    match rfind(&tail, b"%%EOF") {
        Some(at) if at < far => Ok((Vec::new(), from)),
        _ => Ok((tail, from)),
    }
}

/// Whether an object begins in the bytes behind an end: `12 0 obj`.
fn goes_on(behind: &[u8]) -> bool {
    let text = behind.trim_ascii_start();
    let mut words = text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let is_number = |word: &[u8]| word.iter().all(u8::is_ascii_digit);
    words.next().is_some_and(is_number)
        && words.next().is_none_or(is_number)
        && words
            .next()
            .is_none_or(|word| b"obj".starts_with(&word[..word.len().min(3)]))
}

/// The offset behind the last `startxref`, if nothing else follows it.
fn start_of_references(before_end: &[u8]) -> Option<u64> {
    let at = rfind(before_end, b"startxref")?;
    number(&before_end[at + b"startxref".len()..])
}

#[cfg(test)]
mod tests {
    use super::super::{Finding, validate};
    use crate::config::Format;
    use std::io::Cursor;

    fn of(file: &[u8]) -> Finding {
        validate(Format::Pdf, &mut Cursor::new(file), file.len() as u64).unwrap()
    }

    fn is_whole(file: &[u8]) -> bool {
        match of(file) {
            Finding::Good => true,
            Finding::Unfinished(_) => false,
            Finding::Bad(why) => panic!("{why}"),
        }
    }

    const OBJECT: &str = "1 0 obj\n<< /Type /Catalog >>\nendobj\n";

    /// A file with a stream of so many bytes and one section of references.
    fn plain(size: usize) -> Vec<u8> {
        let mut file =
            format!("%PDF-1.7\n%\u{e2}\n{OBJECT}2 0 obj\n<< /Length {size} >>\nstream\n")
                .into_bytes();
        file.extend(std::iter::repeat_n(0xaa, size));
        file.extend_from_slice(b"\nendstream\nendobj\n");
        let at = file.len();
        file.extend_from_slice(
            format!("xref\n0 3\ntrailer\n<< /Size 3 >>\nstartxref\n{at}\n%%EOF\n").as_bytes(),
        );
        file
    }

    fn updated(mut file: Vec<u8>) -> Vec<u8> {
        file.extend_from_slice(b"2 0 obj\n<< /Length 3000 >>\nstream\n");
        file.extend(std::iter::repeat_n(b'x', 3000));
        file.extend_from_slice(b"\nendstream\nendobj\n");
        let at = file.len();
        file.extend_from_slice(
            format!("xref\n2 1\ntrailer\n<< /Size 3 /Prev 9 >>\nstartxref\n{at}\n%%EOF").as_bytes(),
        );
        file
    }

    #[test]
    fn a_whole_one_is_good_and_one_that_is_cut_anywhere_is_not() {
        for size in [0, 5000, 100_000] {
            let file = plain(size);
            assert!(is_whole(&file));
            let whole = file.len() - 1;
            for cut in (0..whole).step_by(if size > 10_000 { 97 } else { 1 }) {
                assert!(!is_whole(&file[..cut]), "{size} at {cut}");
            }
            assert!(is_whole(&file[..whole]));
        }
    }

    #[test]
    fn an_update_that_is_cut_is_unfinished_but_between_two_versions() {
        let first = plain(2000);
        let file = updated(first.clone());
        assert!(is_whole(&file));
        for cut in first.len() + 1..file.len() {
            // Of the first number of an object that is all there is it cannot be told.
            assert!(!is_whole(&file[..cut]), "at {cut} of {}", first.len());
        }
        assert!(is_whole(&file[..first.len()]));
    }

    #[test]
    fn a_linearized_one_says_how_long_it_is() {
        let rest = plain(4000);
        let head = |length: usize| {
            format!(
                "%PDF-1.5\n9 0 obj\n<< /Linearized 1 /L {length:>9} /H [ 5 6 ] /O 11 /E 99 /N 1 /T 9 >>\n\
                 endobj\nxref\ntrailer\n<< >>\nstartxref\n0\n%%EOF\n"
            )
        };
        let first = head(0).len();
        let file = [head(first + rest.len()).as_bytes(), &rest].concat();
        assert!(is_whole(&file));
        for cut in 0..file.len() - 1 {
            assert!(!is_whole(&file[..cut]), "at {cut}");
        }
        // Updated later, it is longer than it says.
        assert!(is_whole(&updated(file)));
    }

    #[test]
    fn bytes_around_it_do_not_matter() {
        let file = plain(3000);
        let with = |before: &[u8], behind: &[u8]| [before, &file, behind].concat();
        for (before, behind) in [
            (&b""[..], &b"\r\n\r\n"[..]),
            (b"\xef\xbb\xbf", b""),
            (b"@PJL ENTER LANGUAGE=PDF\r\n", b"\x1b%-12345X@PJL EOJ\r\n"),
            (b"", &[b'\n'; 70_000]),
            (b"", b"<!-- added by a gateway -->"),
            (b"", &[0; 100]),
        ] {
            assert!(is_whole(&with(before, behind)), "{:?}", behind.get(..9));
        }
        // An end that is far away is that of an earlier version.
        assert!(!is_whole(&with(b"", &[b'x'; 2000])));
    }

    #[test]
    fn another_format_is_bad_and_data_that_has_not_arrived_is_not() {
        assert!(matches!(of(b"<html>not found</html>"), Finding::Bad(_)));
        assert!(matches!(of(&[b'x'; 5000]), Finding::Bad(_)));
        for file in [&b""[..], b"%", b"%PDF", &[0; 5000]] {
            assert!(!is_whole(file), "{file:?}");
        }
        // The end is there, and what it leads to is not.
        let mut file = plain(3000);
        let at = super::position(&file, b"xref\n0 3").unwrap();
        file[at..at + 20].fill(0);
        let Finding::Unfinished(_) = of(&file) else {
            panic!("{:?}", of(&file));
        };
    }
}
