//! The parts of a form around the file: `multipart/form-data` with the fields of `send.fields` and the file.
//!
//! Names are quoted as browsers do it (the WHATWG's form encoding, which is
//! also what RFC 7578 servers meet most): `"`, CR and LF become `%22`, `%0D`
//! and `%0A`. A name that is not UTF-8 has those bytes percent-encoded which
//! are not; its `X-File-Path` says exactly what it was.

use super::{FileMeta, template};
use crate::flow::file::last_part;

/// What goes before the file's bytes and after them.
pub(super) struct Form {
    pub before: Vec<u8>,
    pub after: Vec<u8>,
    /// Of the whole body, with the boundary.
    pub content_type: String,
}

impl Form {
    /// `field` is the form's field that the file is in, `content_type` that of the file.
    /// The further `fields` come before it: some endpoints read a form no further than its file.
    pub fn new(
        field: &str,
        fields: &[(String, String)],
        meta: &FileMeta,
        content_type: &str,
    ) -> Form {
        let boundary = boundary(meta.key);
        let mut before = String::new();
        for (name, value) in fields {
            before += &format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n{}\r\n",
                quote(name.as_bytes()),
                template::fill(value, meta),
            );
        }
        before += &format!(
            "--{boundary}\r\n\
             Content-Disposition: form-data; name=\"{}\"; filename=\"{}\"\r\n\
             Content-Type: {content_type}\r\n\r\n",
            quote(field.as_bytes()),
            quote(last_part(meta.path)),
        );
        Form {
            before: before.into_bytes(),
            after: format!("\r\n--{boundary}--\r\n").into_bytes(),
            content_type: format!("multipart/form-data; boundary={boundary}"),
        }
    }

    /// Bytes that it adds to those of the file.
    pub fn len(&self) -> u64 {
        (self.before.len() + self.after.len()) as u64
    }
}

/// A line that no file holds by chance: it is new for every request, and 128
/// bits of it cannot be foreseen by whoever writes the files.
fn boundary(key: &str) -> String {
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher;
    let (one, two) = (
        RandomState::new().hash_one(key),
        RandomState::new().hash_one(key),
    );
    format!("dirpost-{one:016x}{two:016x}")
}

fn quote(name: &[u8]) -> String {
    let mut quoted = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => quoted.push_str("%22"),
                '\r' => quoted.push_str("%0D"),
                '\n' => quoted.push_str("%0A"),
                char => quoted.push(char),
            }
        }
        for byte in chunk.invalid() {
            quoted.push_str(&format!("%{byte:02X}"));
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_browsers_do() {
        assert_eq!(quote("é\"\r\nx\\".as_bytes()), "é%22%0D%0Ax\\");
        assert_eq!(quote(b"a\xffb"), "a%FFb");
    }

    #[test]
    fn no_two_forms_share_a_boundary() {
        assert_ne!(boundary("k"), boundary("k"));
    }
}
