//! `check.starts_with` and `check.ends_with`: what a whole file begins and ends with, as bytes.
//!
//! `*` stands for any bytes within a line, none too; all else for itself. White space behind the end
//! does not count, for programs differ in whether the last line has an end. Only 64 KiB at each side
//! are looked at.

use std::io;

use super::input::Input;
use super::{Finding, ReadSeek};

/// How much of each side is looked at.
const REACH: u64 = 64 * 1024;

/// Whether a text is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Yes,
    /// The file ends before it can be told.
    Perhaps,
    No,
}

/// Looks at both sides of the first `size` bytes of `source`, of which any of the texts will do; no
/// texts are no condition.
///
/// # Errors
/// Only those of reading; a source that ends before `size` is `UnexpectedEof`.
pub fn edges(
    starts: &[String],
    ends: &[String],
    source: &mut dyn ReadSeek,
    size: u64,
) -> io::Result<Finding> {
    let mut input = Input::new(source, size);
    let reach = size.min(REACH);
    let mut buf = vec![0; usize::try_from(reach).unwrap_or(0)];
    if !starts.is_empty() {
        input.read_at(0, &mut buf)?;
        let fits = starts
            .iter()
            .map(|text| begins_with(&buf, text.as_bytes(), size > reach));
        match fits.reduce(better) {
            Some(Fit::No) if buf.first() != Some(&0) => {
                return Ok(Finding::Bad(format!(
                    "it does not begin as check.starts_with says ({})",
                    listed(starts)
                )));
            }
            Some(Fit::No | Fit::Perhaps) => {
                return Ok(Finding::Unfinished(format!(
                    "it has not yet the beginning of check.starts_with ({})",
                    listed(starts)
                )));
            }
            Some(Fit::Yes) | None => {}
        }
    }
    if !ends.is_empty() {
        input.read_at(size - reach, &mut buf)?;
        let end = buf.trim_ascii_end();
        if !ends.iter().any(|text| ends_with(end, text.as_bytes())) {
            return Ok(Finding::Unfinished(format!(
                "it does not end as check.ends_with says ({})",
                listed(ends)
            )));
        }
    }
    Ok(Finding::Good)
}

fn listed(texts: &[String]) -> String {
    let all: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    all.join(" or ")
}

fn better(one: Fit, other: Fit) -> Fit {
    match (one, other) {
        (Fit::Yes, _) | (_, Fit::Yes) => Fit::Yes,
        (Fit::Perhaps, _) | (_, Fit::Perhaps) => Fit::Perhaps,
        (Fit::No, Fit::No) => Fit::No,
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Whether `file`, of which there is more if `goes_on`, begins with the text.
fn begins_with(file: &[u8], text: &[u8], goes_on: bool) -> Fit {
    let mut pieces = text.split(|&byte| byte == b'*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = file.strip_prefix(first) else {
        let is_cut = !goes_on && first.starts_with(file);
        return if is_cut { Fit::Perhaps } else { Fit::No };
    };
    for piece in pieces {
        // As early as possible, so that most is left for what follows.
        let Some(at) = find(rest, piece) else {
            let is_cut = !goes_on && !rest.iter().copied().any(is_line_end);
            return if is_cut { Fit::Perhaps } else { Fit::No };
        };
        if rest[..at].iter().copied().any(is_line_end) {
            return Fit::No;
        }
        rest = &rest[at + piece.len()..];
    }
    Fit::Yes
}

/// Whether what is left of a file without the white space at its end ends with the text.
fn ends_with(file: &[u8], text: &[u8]) -> bool {
    let mut pieces = text.rsplit(|&byte| byte == b'*');
    let last = pieces.next().unwrap_or_default();
    let Some(mut rest) = file.strip_suffix(last) else {
        return false;
    };
    for piece in pieces {
        let Some(at) = rfind(rest, piece) else {
            return false;
        };
        if rest[at + piece.len()..].iter().copied().any(is_line_end) {
            return false;
        }
        rest = &rest[..at];
    }
    true
}

fn find(text: &[u8], piece: &[u8]) -> Option<usize> {
    match piece.len() {
        0 => Some(0),
        len => text.windows(len).position(|part| part == piece),
    }
}

pub(super) fn rfind(text: &[u8], piece: &[u8]) -> Option<usize> {
    match piece.len() {
        0 => Some(text.len()),
        len => text.windows(len).rposition(|part| part == piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn of(starts: &[&str], ends: &[&str], file: &[u8]) -> Finding {
        let own = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_string())
                .collect::<Vec<_>>()
        };
        edges(
            &own(starts),
            &own(ends),
            &mut Cursor::new(file),
            file.len() as u64,
        )
        .unwrap()
    }

    fn is_whole(ends: &[&str], file: &[u8]) -> bool {
        match of(&[], ends, file) {
            Finding::Good => true,
            Finding::Unfinished(_) => false,
            Finding::Bad(why) => panic!("{why}"),
        }
    }

    #[test]
    fn the_trailers_of_the_trade_are_told_from_a_cut() {
        const EDIFACT: &[u8] = b"UNA:+.? 'UNB+UNOC:3+A+B'\r\nUNH+1'\r\nUNT+2+1'\r\nUNZ+1+17'\r\n";
        const X12: &[u8] = b"ISA*00*  ~GS*PO~ST*850~SE*2~GE*1*1~IEA*1*000000001~";
        const HL7: &[u8] = b"BHS|^~\\&|A\rMSH|^~\\&|A\rBTS|1\rFTS|1\r";
        for (ends, file) in [
            (&["UNZ+*'"][..], EDIFACT),
            (&["IEA*~"], X12),
            (&["FTS|*"], HL7),
            (&["TRAILER*"], b"a;b\nTRAILER;2\n"),
            (&["</root>"], b"<root>\n</root>\n\n \t\n"),
        ] {
            assert!(is_whole(ends, file), "{ends:?}");
            // Cut anywhere before its last character that is no white space: not whole. (Of a trailer
            // that ends in `*` any part behind its name is taken.)
            let len = file.trim_ascii_end().len();
            let name = ends[0].split('*').next().unwrap();
            let from = rfind(file, name.as_bytes()).unwrap() + name.len();
            let least = if ends[0].ends_with('*') { from } else { len };
            for cut in 0..least {
                assert!(!is_whole(ends, &file[..cut]), "{ends:?} at {cut}");
            }
        }
    }

    #[test]
    fn a_star_stays_within_its_line() {
        assert!(is_whole(&["END*."], b"x\nEND of all."));
        assert!(!is_whole(&["END*."], b"END\nof all."));
        assert!(!is_whole(&["END*."], b"END\rof all."));
        assert!(is_whole(&["a*b*c"], b"abXbYc"));
        assert!(!is_whole(&["a*b*c"], b"a c"));
        assert_eq!(of(&["A*B"], &[], b"A 1 B 2"), Finding::Good);
        assert!(matches!(of(&["A*B"], &[], b"A 1\nB 2"), Finding::Bad(_)));
    }

    #[test]
    fn a_wrong_beginning_is_bad_and_a_short_one_unfinished() {
        let starts = ["UNA", "UNB+*+"];
        for (file, good) in [
            (&b"UNA:+"[..], true),
            (b"UNB+UNOC:3+A", true),
            (b"", false),
            (b"U", false),
            (b"UNB+UN", false),
            // What a network file system shows for data that has not arrived.
            (b"\0\0\0\0\0\0", false),
        ] {
            match of(&starts, &[], file) {
                Finding::Good => assert!(good, "{file:?}"),
                Finding::Unfinished(_) => assert!(!good, "{file:?}"),
                Finding::Bad(why) => panic!("{file:?} {why}"),
            }
        }
        for file in [&b"una"[..], b"X", b" UNA", b"UNB+UN\r\n+", b"UNC"] {
            assert!(
                matches!(of(&starts, &[], file), Finding::Bad(_)),
                "{file:?}"
            );
        }
    }

    #[test]
    fn the_end_is_looked_for_in_the_last_64_kib() {
        let mut file = vec![b'x'; 200_000];
        file.extend_from_slice(b"\nEND");
        assert!(is_whole(&["END"], &file));
        file.extend_from_slice(&vec![b'\n'; 60_000]);
        assert!(is_whole(&["END"], &file));
        file.extend_from_slice(&vec![b'\n'; 10_000]);
        assert!(!is_whole(&["END"], &file));
    }
}
