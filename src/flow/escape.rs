//! Names as text: readable where they are, and always to be read back.
//!
//! Used in the log, the journal and the reason files. UTF-8 stays as it is; `%`,
//! control characters and bytes that are not UTF-8 become `%XX` (RFC 3986, 2.1).

use std::borrow::Cow;
use std::fmt::Write as _;

/// Bytes to text.
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(is_escaped) => Cow::Borrowed(text),
        _ => Cow::Owned(escaped(bytes)),
    }
}

fn is_escaped(char: char) -> bool {
    char == '%' || char.is_control()
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if is_escaped(char) {
                percent_char(&mut text, char);
            } else {
                text.push(char);
            }
        }
        percent(&mut text, chunk.invalid());
    }
    text
}

/// `text` as one line that shows itself as it is, whoever wrote parts of it: control characters
/// (those of C1 as well), line ends and [what turns the direction of writing](is_deceptive)
/// become `%XX`. A `%` stays, so that text which was escaped before is not escaped twice.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_deceptive(char) {
            percent_char(&mut safe, char);
        } else {
            safe.push(char);
        }
    }
    Cow::Owned(safe)
}

/// Whether a character can make a terminal or a reader see something else than what is
/// written: a control character, a line or paragraph separator, or one of the formatting
/// characters of the Unicode bidirectional algorithm (UAX #9, 2), as U+202E, which shows
/// `exe.txt` for `txt.exe`.
pub fn is_deceptive(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{61c}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

fn percent_char(text: &mut String, char: char) {
    let mut utf8 = [0; 4];
    percent(text, char.encode_utf8(&mut utf8).as_bytes());
}

fn percent(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "%{byte:02X}").expect("writing to a string");
    }
}

/// Text to bytes: the reverse of [`escape`].
pub fn unescape(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back_as_it_was() {
        let mut all: Vec<Vec<u8>> = (0..=255u8)
            .map(|byte| vec![b'a', byte, byte, b'z'])
            .collect();
        all.push("größe 100%.csv".into());
        all.push(b"%41%zz%".to_vec());
        all.push("\u{85}\u{2028}x".into());
        for name in all {
            assert_eq!(unescape(&escape(&name)), name, "{name:?}");
        }
    }

    #[test]
    fn readable_names_stay_readable_and_no_name_makes_a_line() {
        assert_eq!(escape("größe.csv".as_bytes()), "größe.csv");
        assert_eq!(escape(b"a\r\nINFO delivered"), "a%0D%0AINFO delivered");
        assert_eq!(escape(b"\xff"), "%FF");
    }

    #[test]
    fn what_is_printed_is_one_line_and_shows_itself_as_it_is() {
        for text in ["größe 100%25.csv: 422", "日本語\u{a0}→ “x”"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
        }
        assert_eq!(printable("a\nb\r\u{1b}[2J\u{7f}"), "a%0Ab%0D%1B[2J%7F");
        // C1's CSI, LRM, ALM, line separator, an override, an isolate.
        let unseen = [
            '\u{9b}', '\u{200e}', '\u{61c}', '\u{2028}', '\u{202e}', '\u{2067}',
        ];
        for char in unseen {
            let shown = printable(&format!("x{char}y")).into_owned();
            assert!(shown.is_ascii() && shown.contains('%'), "{shown:?}");
            // In the log's form, so that `dead-letter show` understands it as well.
            assert_eq!(unescape(&shown), format!("x{char}y").into_bytes());
        }
    }
}
