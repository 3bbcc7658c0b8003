//! Names as text: readable where they are, and always to be read back.
//!
//! Used in the log, the journal and the reason files. UTF-8 stays as it is; `%`,
//! control characters and bytes that are not UTF-8 become `%XX` (RFC 3986, 2.1).

use std::fmt::Write as _;

/// Bytes to text.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if char == '%' || char.is_control() {
                let mut utf8 = [0; 4];
                percent(&mut text, char.encode_utf8(&mut utf8).as_bytes());
            } else {
                text.push(char);
            }
        }
        percent(&mut text, chunk.invalid());
    }
    text
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
}
