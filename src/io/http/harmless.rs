//! Text from outside, to be shown.

/// Text from outside, to be shown: what would begin another line of a log, move the cursor of a
/// terminal or turn the direction of what follows is percent-encoded, and so is what is not UTF-8.
pub(super) fn harmless(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if char.is_control() || is_format(char) {
                let mut utf8 = [0; 4];
                push_percent(&mut text, char.encode_utf8(&mut utf8).as_bytes());
            } else {
                text.push(char);
            }
        }
        push_percent(&mut text, chunk.invalid());
    }
    text
}

/// Unicode's line and paragraph separators, and its marks of direction (UAX #9).
fn is_format(char: char) -> bool {
    matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn push_percent(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("%{byte:02X}"));
    }
}
