//! What comes before the root element of XML: the encoding (XML 1.0 section 4.3.3 and appendix
//! F), the XML declaration (2.8) and the document type declaration, which is skipped.
//!
//! UTF-8 and UTF-16 are decoded. Other encodings that agree with ASCII (ISO 8859, code pages, and
//! in all that matters to markup those of East Asia) are taken as they are, any byte above 0x7F
//! being a character. The rest, such as UTF-32, EBCDIC and ISO-2022, are refused by name. Of a
//! document type only the shape is looked at; no entity is ever expanded and nothing is fetched.

use super::Stop;
use super::input::Input;
use super::text::{Encoding, Text, UTF8_MARK, UTF16BE_MARK, UTF16LE_MARK};
use super::xml::Xml;

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

const IN_DECLARATION: &str = "inside the XML declaration";
const IN_DOCTYPE: &str = "inside the document type declaration";

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

impl Xml<'_, '_> {
    /// After `<?xml`: version, then perhaps encoding and standalone, in this order.
    pub(super) fn declaration(&mut self) -> Result<(), Stop> {
        let mut allowed: &[&str] = &["version", "encoding", "standalone"];
        loop {
            let blanks = self.blanks(IN_DECLARATION)?;
            if self.text.eat(b'?')? {
                self.text.expect(">", IN_DECLARATION)?;
                return match allowed.len() {
                    3 => Err(self.text.bad("an XML declaration without a version")),
                    _ => Ok(()),
                };
            }
            if !blanks {
                return Err(self.text.bad("expected `?>` or a blank"));
            }
            self.name(IN_DECLARATION)?;
            let found = allowed.iter().position(|key| key.as_bytes() == self.name);
            match found {
                Some(i) if i == 0 || allowed.len() < 3 => allowed = &allowed[i + 1..],
                _ => {
                    return Err(self
                        .text
                        .bad("not a part of an XML declaration, or not here"));
                }
            }
            self.equals(IN_DECLARATION)?;
            let quote = self.quote(IN_DECLARATION)?;
            let mut value = Vec::new();
            while self.text.look(IN_DECLARATION)? != quote {
                let byte = self.text.look(IN_DECLARATION)?;
                let fits = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
                if !fits || value.len() == 64 {
                    return Err(self.text.bad("not a value for an XML declaration"));
                }
                value.push(byte);
                self.text.skip(1);
            }
            let fits = match allowed.len() {
                2 => value.starts_with(b"1.") && value[2..].iter().all(u8::is_ascii_digit),
                1 => value.first().is_some_and(u8::is_ascii_alphabetic),
                _ => value == b"yes" || value == b"no",
            };
            if !fits || value == b"1." {
                return Err(self.text.bad("not a value for an XML declaration"));
            }
            self.text.skip(1);
        }
    }

    /// After `<!`: up to the `>` that ends it.
    pub(super) fn doctype(&mut self) -> Result<(), Stop> {
        self.text.expect("DOCTYPE", IN_DOCTYPE)?;
        if !self.blanks(IN_DOCTYPE)? {
            return Err(self.text.bad("expected a blank after `<!DOCTYPE`"));
        }
        self.name(IN_DOCTYPE)?;
        loop {
            self.blanks(IN_DOCTYPE)?;
            match self.text.look(IN_DOCTYPE)? {
                b'>' => {
                    self.text.skip(1);
                    return Ok(());
                }
                b'[' => {
                    self.text.skip(1);
                    self.subset()?;
                    self.blanks(IN_DOCTYPE)?;
                    return self.text.expect(">", IN_DOCTYPE);
                }
                b'"' | b'\'' => self.literal()?,
                _ => {
                    self.name(IN_DOCTYPE)?;
                    if self.name != b"SYSTEM" && self.name != b"PUBLIC" {
                        return Err(self.text.bad("expected `SYSTEM`, `PUBLIC`, `[` or `>`"));
                    }
                }
            }
        }
    }

    /// The declarations between brackets.
    fn subset(&mut self) -> Result<(), Stop> {
        loop {
            self.blanks(IN_DOCTYPE)?;
            match self.text.look(IN_DOCTYPE)? {
                b']' => {
                    self.text.skip(1);
                    return Ok(());
                }
                b'%' => {
                    self.text.skip(1);
                    self.name(IN_DOCTYPE)?;
                    self.text.expect(";", IN_DOCTYPE)?;
                }
                b'<' => {
                    self.text.skip(1);
                    self.subset_markup()?;
                }
                _ => return Err(self.text.bad("expected a declaration or `]`")),
            }
        }
    }

    fn subset_markup(&mut self) -> Result<(), Stop> {
        if self.text.look(IN_DOCTYPE)? == b'?' {
            self.text.skip(1);
            return self.instruction(false);
        }
        self.text.expect("!", IN_DOCTYPE)?;
        if self.text.look(IN_DOCTYPE)? == b'-' {
            return self.comment();
        }
        self.name(IN_DOCTYPE)?;
        if !["ELEMENT", "ATTLIST", "ENTITY", "NOTATION"]
            .iter()
            .any(|k| k.as_bytes() == self.name)
        {
            return Err(self
                .text
                .bad("expected ELEMENT, ATTLIST, ENTITY or NOTATION"));
        }
        loop {
            match self.until(
                |byte| matches!(byte, b'"' | b'\'' | b'<' | b'>'),
                IN_DOCTYPE,
            )? {
                b'>' => {
                    self.text.skip(1);
                    return Ok(());
                }
                b'<' => return Err(self.text.bad("`<` inside a declaration")),
                _ => self.literal()?,
            }
        }
    }

    /// From quote to quote.
    fn literal(&mut self) -> Result<(), Stop> {
        let quote = self.quote(IN_DOCTYPE)?;
        self.until(|byte| byte == quote, IN_DOCTYPE)?;
        self.text.skip(1);
        Ok(())
    }
}
