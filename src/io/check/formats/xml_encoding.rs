//! The encoding of XML (XML 1.0, section 4.3.3 and appendix F).
//!
//! UTF-8 and UTF-16 are decoded. Other encodings that agree with ASCII (ISO 8859, code pages, and
//! in all that matters to markup those of East Asia) are taken as they are, any byte above 0x7F
//! being a character. The rest, such as UTF-32, EBCDIC and ISO-2022, are refused by name.

use super::Stop;
use super::input::Input;
use super::text::{Encoding, Text, UTF8_MARK, UTF16BE_MARK, UTF16LE_MARK};

/// An encoding is looked for in so many bytes.
const HEAD: usize = 1024;

/// How the names begin of encodings that agree with ASCII wherever markup does.
const OPAQUE: [&str; 20] = [
    "iso-8859-",
    "iso_8859-",
    "latin",
    "windows-125",
    "windows-874",
    "cp125",
    "cp8",
    "ibm8",
    "koi8-",
    "mac",
    "x-mac",
    "tis-620",
    "gb2312",
    "gbk",
    "gb18030",
    "big5",
    "shift_jis",
    "windows-31j",
    "euc-",
    "cp93",
];

/// Begins to read `input` in the encoding that its first bytes tell.
pub(super) fn open(mut input: Input) -> Result<Text, Stop> {
    let mut head = [0; HEAD];
    let count = input.read_at(0, &mut head)?;
    let (encoding, mark) = match &head[..count] {
        head if head.starts_with(UTF8_MARK) => (Encoding::Utf8, UTF8_MARK.len()),
        head if head.starts_with(UTF16LE_MARK) => (Encoding::Utf16Le, UTF16LE_MARK.len()),
        head if head.starts_with(UTF16BE_MARK) => (Encoding::Utf16Be, UTF16BE_MARK.len()),
        head if head.starts_with(b"<\0?\0") => (Encoding::Utf16Le, 0),
        head if head.starts_with(b"\0<\0?") => (Encoding::Utf16Be, 0),
        head => (declared(head)?, 0),
    };
    Ok(Text::new(input, encoding, mark))
}

/// The encoding that an XML declaration in ASCII names, else UTF-8.
fn declared(head: &[u8]) -> Result<Encoding, Stop> {
    let Some(name) = encoding_name(head) else {
        return Ok(Encoding::Utf8);
    };
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    if OPAQUE.iter().any(|prefix| name.starts_with(prefix)) {
        return Ok(Encoding::SingleByte);
    }
    match name.as_str() {
        "utf-8" | "utf8" | "us-ascii" | "ascii" => Ok(Encoding::Utf8),
        _ => Err(Stop::Bad(format!(
            "line 1: the file says it is in the encoding {name:?}, which it is not, or which this \
             check does not know"
        ))),
    }
}

/// `X` of `<?xml … encoding="X"`, when the declaration is whole.
fn encoding_name(head: &[u8]) -> Option<&[u8]> {
    let inner = head.strip_prefix(b"<?xml")?;
    let inner = &inner[..inner.windows(2).position(|two| two == b"?>")?];
    let key = b"encoding";
    let at = inner.windows(key.len()).position(|word| word == key)?;
    let value = inner[at + key.len()..]
        .trim_ascii_start()
        .strip_prefix(b"=")?
        .trim_ascii_start();
    let (&quote, value) = value.split_first()?;
    let end = value.iter().position(|&byte| byte == quote)?;
    matches!(quote, b'"' | b'\'').then(|| &value[..end])
}
