//! csv.

use super::{Endless, Rng, across_buffers, bad, dribbled, good, look, prefixes, unfinished};
use crate::config::Format::Csv;
use crate::io::check::formats::Finding;

const TABLE: &str =
    "name,\"size, in \"\"cm\"\"\",note\r\na,1,\"two\r\nlines\"\r\n,,\r\n5\" pipe,2,x\r\n";

#[test]
fn a_table_is_good_and_no_beginning_of_it_bad() {
    prefixes(Csv, TABLE.as_bytes(), false);
    dribbled(Csv, TABLE.as_bytes());
    let rest = format!("\",b,c\n{TABLE}");
    across_buffers(Csv, "\"", 'x', rest.as_bytes());
    for newline in ["\n", "\r"] {
        good(Csv, TABLE.replace("\r\n", newline));
    }
}

#[test]
fn the_delimiter_is_the_one_that_divides_all_records_alike() {
    good(Csv, "a;b\n1,5;2\n3;4,5,6\n");
    good(Csv, "a\tb\n1,5\t2\n");
    good(Csv, "a|b\n1|2\n");
    good(Csv, "Total, EUR;Count\n1;2\n3;4\n");
    good(Csv, "\"x\";\"y\"\n\"1\";\"2\"\n");
    good(Csv, "one column\n\nmore\n");
    good(Csv, "one column; really\n1;2\n");
    bad(
        Csv,
        "a;b\n1;2;3\n",
        "line 2, column 4: more fields than the 2 of the first record",
    );
    bad(Csv, "a,b;c\n1\n2\n", "1 fields, but the first record has 2");
}

#[test]
fn a_record_of_another_length_is_bad_unless_the_file_ends_in_it() {
    bad(
        Csv,
        "a,b,c\n1,2\n3,4,5\n",
        "line 2, column 4: 2 fields, but the first record has 3",
    );
    bad(Csv, "a,b\n1,2,3", "line 2, column 4: more fields");
    unfinished(
        Csv,
        "a,b,c\n1,2",
        "line 2, column 4 inside a record of 2 fields, of which",
    );
    good(Csv, "a,b\n1,2");
    good(Csv, "a,b\n1,");
    good(Csv, "a,b\n\n1,2\n\n");
}

#[test]
fn quotes_must_close_and_end_the_field() {
    unfinished(Csv, "a,b\n1,\"2\n3,4\n", "inside a quoted field");
    bad(Csv, "a,b\n\"1\"x,2\n", "line 2, column 4: after the quote");
    bad(Csv, "\"a\" ,b\n", "line 1, column 4: after the quote");
    good(Csv, "a,b\n1,\"\"\"\"\n");
}

#[test]
fn no_encoding_is_asked_for() {
    good(Csv, b"caf\xE9,\xFF\n1,2\n");
    good(Csv, "\u{FEFF}\"a\",b\n1,2\n");
    let utf16: Vec<u8> = "\u{FEFF}ž\tb\r\n1\t2\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    good(Csv, &utf16);
    for cut in 2..utf16.len() {
        assert!(
            !matches!(look(Csv, &utf16[..cut]), Finding::Bad(_)),
            "cut at {cut}"
        );
    }
}

#[test]
fn memory_does_not_grow_with_a_field_or_a_record() {
    let endless = |head, body, tail| Endless {
        head,
        body,
        repeats: 1_000,
        tail,
        at: 0,
    };
    assert_eq!(
        endless(b"a,b\n1,", &[b'x'; 4_000], b"\n").check(Csv),
        Finding::Good
    );
    assert_eq!(
        endless(b"a,b\n1,\"", b"line,\n\"\";", b"\"\n").check(Csv),
        Finding::Good
    );
    assert_eq!(endless(b"a", &[b','; 4_000], b"").check(Csv), Finding::Good);
    assert_eq!(
        endless(b"a,b\n", b"1,2\n", b"3,4").check(Csv),
        Finding::Good
    );
}

#[test]
fn no_damage_makes_it_panic() {
    let mut rng = Rng::new(0x637376);
    for _ in 0..4_000 {
        let mut table = TABLE.as_bytes().to_vec();
        rng.mutate(&mut table, b",;\t|\"\r\n\xFF\0");
        look(Csv, &table);
    }
}
