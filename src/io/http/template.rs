//! Words from a file's path that go into URLs and headers, made harmless.
//!
//! A path is bytes that anybody may have chosen. Everything but the characters
//! RFC 3986 calls unreserved is percent-encoded, so nothing of it can end a
//! header, add a part to a URL or mean anything but itself, and the path can be
//! had back from it byte by byte.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::FileMeta;

const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const PATH: &AsciiSet = &NAME.remove(b'/');

/// The path, percent-encoded, with `/` between its parts.
pub(super) fn path(letter: &FileMeta) -> String {
    percent_encode(letter.path, PATH).to_string()
}

/// The last part of the path, percent-encoded.
pub(super) fn name(letter: &FileMeta) -> String {
    percent_encode(last_part(letter.path), NAME).to_string()
}

pub(super) fn last_part(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

/// Fills `{path} {name} {size} {mtime} {key} {sha256}` in; other braces stay.
pub(super) fn fill(template: &str, letter: &FileMeta) -> String {
    let mut filled = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        let word = rest.find('}').map(|close| &rest[1..close]);
        let value = match word {
            Some("path") => path(letter),
            Some("name") => name(letter),
            Some("size") => letter.size.to_string(),
            Some("mtime") => rfc3339(letter.mtime_ns),
            Some("key") => letter.key.to_owned(),
            Some("sha256") => letter.sha256.as_ref().map(hex).unwrap_or_default(),
            _ => {
                filled.push('{');
                rest = &rest[1..];
                continue;
            }
        };
        filled.push_str(&value);
        rest = &rest[word.map_or(0, str::len) + 2..];
    }
    filled.push_str(rest);
    filled
}

fn hex(digest: &[u8; 32]) -> String {
    digest
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Nanoseconds since the epoch as RFC 3339 in UTC, with as many digits of a
/// second as it needs. Years beyond four digits are cut to what can be written.
pub(super) fn rfc3339(ns: i128) -> String {
    const SECOND: i128 = 1_000_000_000;
    const FIRST: i128 = -62_167_219_200;
    const LAST: i128 = 253_402_300_799;
    let (seconds, fraction) = (ns.div_euclid(SECOND), ns.rem_euclid(SECOND));
    let (seconds, fraction) = match seconds {
        ..FIRST => (FIRST, 0),
        FIRST..=LAST => (seconds, fraction),
        _ => (LAST, 0),
    };
    let (days, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let mut text = format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        time / 3600,
        time / 60 % 60,
        time % 60
    );
    if fraction > 0 {
        let digits = format!("{fraction:09}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// The date of a day counted from 1970-01-01, in the Gregorian calendar.
/// Years are taken to begin in March, so that a leap day is the last of one.
fn civil(days: i128) -> (i128, i128, i128) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(path: &[u8]) -> FileMeta<'_> {
        FileMeta {
            path,
            size: 5,
            mtime_ns: 0,
            key: "k1",
            sha256: None,
        }
    }

    #[test]
    fn nothing_in_a_path_stays_dangerous() {
        let evil = letter(b"a b/\r\nX: 1/\xff%?#{size}\"\xc3\xa9");
        assert_eq!(
            path(&evil),
            "a%20b/%0D%0AX%3A%201/%FF%25%3F%23%7Bsize%7D%22%C3%A9"
        );
        assert_eq!(name(&evil), "%FF%25%3F%23%7Bsize%7D%22%C3%A9");
    }

    #[test]
    fn templates_fill_known_words_and_keep_others() {
        let letter = letter(b"in/{size}.csv");
        assert_eq!(
            fill("{path}|{name}|{size}|{key}", &letter),
            "in/%7Bsize%7D.csv|%7Bsize%7D.csv|5|k1"
        );
        assert_eq!(
            fill("{\"a\":{}} {unknown} {", &letter),
            "{\"a\":{}} {unknown} {"
        );
        assert_eq!(fill("{{size}}", &letter), "{5}");
    }

    #[test]
    fn times_are_written_with_the_digits_they_need() {
        let cases: [(i128, &str); 9] = [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_500_000_000, "2024-02-29T23:59:59.5Z"),
            (1_709_251_200_000_000_100, "2024-03-01T00:00:00.0000001Z"),
            (-2_203_891_200_000_000_000, "1900-03-01T00:00:00Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00Z"),
            (i128::MAX, "9999-12-31T23:59:59Z"),
            (i128::MIN, "0000-01-01T00:00:00Z"),
        ];
        for (ns, text) in cases {
            assert_eq!(rfc3339(ns), text);
        }
    }
}
