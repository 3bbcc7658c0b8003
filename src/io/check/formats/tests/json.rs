//! json and jsonl.

use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::error::Category;

use super::{Endless, Rng, across_buffers, bad, dribbled, good, look, prefixes, unfinished};
use crate::config::Format::{Json, Jsonl};
use crate::io::check::formats::Finding;

const DOCUMENT: &str = r#"{"a": [1, -0.5e+10, 2E-3, 0, true, false, null, {}, []], "b\n\"\u00e4": {"c": "\ud83e\udd80 ž 🦀 \/\\"}, "": " "}"#;

#[test]
fn a_document_is_good_and_every_beginning_of_it_unfinished() {
    prefixes(Json, DOCUMENT.as_bytes(), true);
    dribbled(Json, DOCUMENT.as_bytes());
    across_buffers(Json, "", ' ', DOCUMENT.as_bytes());
    good(Json, format!("\u{FEFF} \r\n\t{DOCUMENT}\r\n"));
}

#[test]
fn any_value_may_stand_alone() {
    for value in [
        "1", "-0", "1.5", "1e9", "\"\"", "true", "false", "null", "[]", "{}",
    ] {
        good(Json, value);
        good(Jsonl, format!("{value}\n"));
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    bad(
        Json,
        "{\"a\": 1,\n \"b\": 2\n \"c\": 3}",
        "line 3, column 2: expected `,` or `}`",
    );
    bad(Json, "[1 2]", "line 1, column 4: expected `,` or `]`");
    bad(Json, "[1, ]", "expected a value");
    bad(Json, "{\"a\": 1, }", "expected a name in quotes");
    bad(Json, "{\"a\" 1}", "expected `:`");
    bad(Json, "[1]]", "line 1, column 4: expected nothing more");
    bad(Json, "{} {}", "expected nothing more");
    bad(Json, "[01]", "must not begin with a zero");
    bad(Json, "[1.]", "expected a digit");
    bad(Json, "[+1]", "expected a value");
    bad(Json, "[1e+]", "expected a digit");
    bad(Json, "[nul]", "expected `null`");
    bad(Json, "['a']", "expected a value");
    bad(Json, "[NaN]", "expected a value");
    bad(Json, "\"a\tb\"", "line 1, column 3: a control character");
    bad(Json, r#""\x""#, "after a backslash");
    bad(Json, r#""\u12g4""#, "four hexadecimal digits");
    bad(Json, b"\"\xFF\"", "line 1, column 2: not UTF-8");
}

#[test]
fn half_of_a_surrogate_pair_is_bad() {
    for half in [
        r#""\ud83e""#,
        r#""\ud83ex""#,
        r#""\ud83e\n""#,
        r#""\ud83e\u0041""#,
        r#""\udd80""#,
    ] {
        bad(Json, half, "half of a surrogate pair");
    }
    unfinished(Json, r#""\ud83e"#, "inside a string");
}

#[test]
fn what_is_cut_says_in_what() {
    unfinished(Json, "", "line 1, column 1 where a value is expected");
    unfinished(Json, "[\"ab", "line 1, column 5 inside a string");
    unfinished(Json, "{\n", "line 2, column 1 inside an object");
    unfinished(
        Json,
        "[1,\n2",
        "line 2, column 2 inside brackets that are still open",
    );
    unfinished(Json, "tru", "inside `true`");
    unfinished(Json, "1.", "inside a number");
}

#[test]
fn nesting_is_bounded() {
    let nest = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    good(Json, nest(128));
    bad(
        Json,
        nest(129),
        "line 1, column 129: nested more than 128 deep",
    );
    bad(Json, "{\"a\":[".repeat(1_000_000), "nested more than");
}

#[test]
fn memory_does_not_grow_with_a_string_a_number_or_a_line() {
    let endless = |head, body, tail| Endless {
        head,
        body,
        repeats: 1_000,
        tail,
        at: 0,
    };
    let string = || endless(b"[\"", &[b'x'; 5_000], b"\"]");
    assert_eq!(string().check(Json), Finding::Good);
    assert_eq!(string().check(Jsonl), Finding::Good);
    assert_eq!(
        endless(b"[1", &[b'7'; 1_000], b"]").check(Json),
        Finding::Good
    );
    assert_eq!(
        endless(b"[0", b",{\"k\":[true,\"v\"]}", b"]").check(Json),
        Finding::Good
    );
    let cut = endless(b"[\"", &[b'x'; 5_000], b"").check(Json);
    assert!(matches!(cut, Finding::Unfinished(_)), "{cut:?}");
}

#[test]
fn lines_hold_one_value_each() {
    good(Jsonl, "{\"a\": 1}\r\n[2]\n\n  \n\"three\"\n4\n");
    good(Jsonl, "{\"a\": 1}\n{\"b\": 2}");
    good(Jsonl, "\u{FEFF}{}\n");
    bad(Jsonl, "{\"a\":\n1}\n", "line 1, column 6: expected a value");
    bad(Jsonl, "{} {}\n", "expected the end of the line");
    bad(
        Jsonl,
        "{}\n{\"a\": 1}}\n{}",
        "line 2, column 9: expected the end of the line",
    );
    unfinished(Jsonl, "{}\n{\"a\"", "line 2, column 5 inside an object");
    unfinished(Jsonl, "{}\ntru", "inside `true`");
    prefixes(Jsonl, b"{\"a\": [1, 2]}\r\n-17\n\"x\"\n", false);
    dribbled(Jsonl, b"{\"a\": [1, 2]}\r\n-17\n\"x\"\n");
}

#[test]
fn a_bare_number_may_go_on_in_a_line_but_not_in_a_document() {
    unfinished(Jsonl, "1\n23", "after a bare number");
    good(Jsonl, "1\n23\n");
    good(Jsonl, "1\n23 ");
    good(Json, "23");
}

#[test]
fn serde_json_agrees_about_documents_made_up_and_damaged() {
    let mut rng = Rng::new(0x6a73_6f6e);
    let likely = b"{}[]:,\"\\u0019.eE+-truefalsn dD\n\t";
    for _ in 0..6_000 {
        let mut document = Vec::new();
        generate(&mut rng, &mut document, 4);
        compare(&document);
        for _ in 0..4 {
            rng.mutate(&mut document, likely);
            compare(&document);
        }
    }
}

fn compare(document: &[u8]) {
    let finding = look(Json, document);
    if std::str::from_utf8(document).is_err() || document.contains(&0) {
        assert_ne!(
            finding,
            Finding::Good,
            "{:?}",
            String::from_utf8_lossy(document)
        );
        return;
    }
    // As a `Value` surrogates are looked at, but large numbers have no place.
    let value = serde_json::from_slice::<Value>(document);
    let expected = match &value {
        Err(err) if err.to_string().contains("out of range") => {
            serde_json::from_slice::<IgnoredAny>(document).map(drop)
        }
        Err(_) => value.map(drop),
        Ok(_) => Ok(()),
    };
    let agrees = match (&finding, &expected) {
        (Finding::Good, expected) => expected.is_ok(),
        (Finding::Unfinished(_), Err(err)) => err.classify() == Category::Eof,
        // It looks at a `\u` escape only when four bytes of it are there.
        (Finding::Bad(reason), Err(err)) => {
            err.classify() != Category::Eof || reason.contains("four hexadecimal digits")
        }
        (_, Ok(())) => false,
    };
    let shown = String::from_utf8_lossy(document);
    assert!(agrees, "{finding:?}, but serde_json: {expected:?}: {shown}");
}

fn generate(rng: &mut Rng, out: &mut Vec<u8>, depth: usize) {
    let scalars: [&str; 12] = [
        "null",
        "true",
        "false",
        "0",
        "-1",
        "12.50",
        "1e5",
        "\"\"",
        "\"a\\n\\u20ac\"",
        "\"ž🦀\"",
        "\"\\ud83e\\udd80\"",
        "3E-2",
    ];
    match rng.below(if depth == 0 { 1 } else { 3 }) {
        0 => out.extend_from_slice(scalars[rng.below(scalars.len())].as_bytes()),
        kind => {
            out.push(if kind == 1 { b'[' } else { b'{' });
            for i in 0..rng.below(4) {
                out.extend_from_slice(if i > 0 { b", " } else { b"\n" });
                if kind == 2 {
                    out.extend_from_slice(b"\"k\" :");
                }
                generate(rng, out, depth - 1);
            }
            out.push(if kind == 1 { b']' } else { b'}' });
        }
    }
}
