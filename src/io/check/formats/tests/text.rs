//! utf8, and what all text formats have in common.

use super::{across_buffers, bad, dribbled, good, prefixes, unfinished};
use crate::config::Format::{Csv, Json, Jsonl, Utf8, Xml};

const TEXT: &str = "žluťoučký kůň, 10 €, 🦀\r\nsecond line";

#[test]
fn text_of_all_lengths_of_characters_is_good() {
    good(Utf8, TEXT);
    good(Utf8, "\u{FEFF}with a mark");
    prefixes(Utf8, TEXT.as_bytes(), false);
    dribbled(Utf8, TEXT.as_bytes());
    across_buffers(Utf8, "", 'x', TEXT.as_bytes());
}

#[test]
fn a_cut_character_is_unfinished() {
    unfinished(Utf8, b"ab\xE2\x82", "line 1, column 3 inside a character");
    unfinished(Utf8, b"\xEF\xBB", "inside a character");
}

#[test]
fn what_is_not_utf8_is_bad_and_says_where() {
    bad(Utf8, b"one\nt\xC3\xA4\xFFwo", "line 2, column 3: not UTF-8");
    bad(Utf8, b"\xC0\x80", "not UTF-8");
    bad(Utf8, b"\xED\xA0\x80", "not UTF-8");
    bad(Utf8, b"\xFF\xFEa\0", "UTF-16");
}

#[test]
fn places_are_counted_over_buffers() {
    let mut bytes = "line of text\n".repeat(20_000).into_bytes();
    bytes.extend_from_slice("€€\u{1F980}".as_bytes());
    bytes.push(0xFF);
    bad(Utf8, &bytes, "line 20001, column 4: ");
    let mut bytes = "€".repeat(70_000).into_bytes();
    bytes.push(0xFF);
    bad(Utf8, &bytes, "line 1, column 70001: ");
}

#[test]
fn nul_bytes_are_data_that_may_not_have_arrived() {
    for format in [Utf8, Jsonl, Csv] {
        unfinished(format, b"1\n2\n\0\0\0\0", "line 3, column 1: a NUL byte");
    }
    unfinished(Json, b"{\"a\": \0\0\0", "line 1, column 7: a NUL byte");
    unfinished(Json, b"{\"a\": 1}\0\0", "a NUL byte");
    unfinished(Json, b"{\"a\": \"\0\0\0\"}", "a NUL byte");
    unfinished(Xml, b"<a>\0\0\0</a>", "a NUL byte");
    unfinished(Utf8, b"\xE2\x82\0\0", "a NUL byte");
    unfinished(Utf8, [0; 100_000], "line 1, column 1: a NUL byte");
}
