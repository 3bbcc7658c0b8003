//! Words from a file's path that go into URLs and headers, made harmless.
//!
//! A path is bytes that anybody may have chosen. Everything but the characters
//! RFC 3986 calls unreserved is percent-encoded, so nothing of it can end a
//! header, add a part to a URL or mean anything but itself, and the path can be
//! had back from it byte by byte.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_encode};

use super::FileMeta;
use crate::flow::endpoint::idempotency_key::hex;
use crate::flow::file::{last_part, stem};

/// What RFC 3986 (2.3) calls unreserved stays as it is.
pub(super) const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// And `/` with it.
pub(super) const PATH: &AsciiSet = &NAME.remove(b'/');

/// The path, percent-encoded, with `/` between its parts.
pub(super) fn path<'a>(meta: &FileMeta<'a>) -> PercentEncode<'a> {
    percent_encode(meta.path, PATH)
}

/// The last part of the path, percent-encoded.
pub(super) fn name(meta: &FileMeta) -> String {
    percent_encode(last_part(meta.path), NAME).to_string()
}

/// Fills `{path} {name} {stem} {size} {mtime} {key} {sha256}` in; other braces stay.
pub(super) fn fill(template: &str, meta: &FileMeta) -> String {
    let mut filled = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        let word = rest.find('}').map(|close| &rest[1..close]);
        let value = match word {
            Some("path") => path(meta).to_string(),
            Some("name") => name(meta),
            Some("stem") => percent_encode(stem(last_part(meta.path)), NAME).to_string(),
            Some("size") => meta.size.to_string(),
            Some("mtime") => meta.mtime.rfc3339(),
            Some("key") => meta.key.to_owned(),
            Some("sha256") => meta.sha256.map(|digest| hex(&digest)).unwrap_or_default(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::time::Wall;

    fn meta(path: &[u8]) -> FileMeta<'_> {
        FileMeta {
            path,
            size: 5,
            mtime: Wall(0),
            key: "k1",
            sha256: None,
        }
    }

    #[test]
    fn nothing_in_a_path_stays_dangerous() {
        let evil = meta(b"a b/\r\nX: 1/\xff%?#{size}\"\xc3\xa9");
        assert_eq!(
            path(&evil).to_string(),
            "a%20b/%0D%0AX%3A%201/%FF%25%3F%23%7Bsize%7D%22%C3%A9"
        );
        assert_eq!(name(&evil), "%FF%25%3F%23%7Bsize%7D%22%C3%A9");
    }

    #[test]
    fn templates_fill_known_words_and_keep_others() {
        let meta = meta(b"in/{size}.csv");
        assert_eq!(
            fill("{path}|{name}|{stem}|{size}|{key}", &meta),
            "in/%7Bsize%7D.csv|%7Bsize%7D.csv|%7Bsize%7D|5|k1"
        );
        assert_eq!(
            fill("{\"a\":{}} {unknown} {", &meta),
            "{\"a\":{}} {unknown} {"
        );
        assert_eq!(fill("{{size}}", &meta), "{5}");
    }
}
