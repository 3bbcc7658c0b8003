//! XML 1.0 (fifth edition): is the document well-formed? Section numbers are of that document.
//!
//! Read byte by byte; what is kept are the names of the open elements and of the attributes of
//! one tag. They are bounded: a name has at most [`NAME`] bytes, elements nest at most [`DEPTH`]
//! deep, and an attribute's name is compared with the first [`ATTRIBUTES`] of its tag. That is
//! less than 1.5 MiB at the worst.
//!
//! Not looked at: validity, namespaces, what a document type declares (see `xml_prolog`). Without
//! a document type only the five predefined entities exist (4.1); with one, any name is taken.

use super::Stop;
use super::input::Input;
use super::text::Text;
use super::xml_encoding;

const NAME: usize = 1024;
const DEPTH: usize = 1024;
const ATTRIBUTES: usize = 256;

const IN_TAG: &str = "inside a tag";
const IN_VALUE: &str = "inside the value of an attribute";
const IN_ROOT: &str = "inside the root element, whose end tag is missing";
const IN_COMMENT: &str = "inside a comment";
const IN_CDATA: &str = "inside a CDATA section";
const IN_INSTRUCTION: &str = "inside a processing instruction";
const IN_REFERENCE: &str = "inside a reference";
const IN_MARKUP: &str = "after `<`";

/// A file of one document.
pub(super) fn document(input: Input) -> Result<(), Stop> {
    let mut text = xml_encoding::open(input)?;
    Xml {
        text: &mut text,
        open: Vec::new(),
        lengths: Vec::new(),
        name: Vec::new(),
        attributes: Names::default(),
        root_seen: false,
        doctype_seen: false,
    }
    .read()
}

/// A reader in the midst of a document.
pub(super) struct Xml<'t, 'a> {
    pub(super) text: &'t mut Text<'a>,
    /// The names of the open elements, one after the other, and how long each is.
    open: Vec<u8>,
    lengths: Vec<usize>,
    /// The name that was read last.
    pub(super) name: Vec<u8>,
    attributes: Names,
    root_seen: bool,
    doctype_seen: bool,
}

/// The attribute names of one tag.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// False when `name` was there already; beyond the bound it is not remembered.
    fn add(&mut self, name: &[u8]) -> bool {
        let mut start = 0;
        for &end in &self.ends {
            if &self.bytes[start..end] == name {
                return false;
            }
            start = end;
        }
        if self.ends.len() < ATTRIBUTES {
            self.bytes.extend_from_slice(name);
            self.ends.push(self.bytes.len());
        }
        true
    }
}

impl Xml<'_, '_> {
    fn read(&mut self) -> Result<(), Stop> {
        // A declaration stands at the very start or nowhere.
        if self.text.eat(b'<')? {
            self.markup(true)?;
        }
        loop {
            if !self.lengths.is_empty() {
                self.content()?;
            } else {
                self.text.skip_while(is_blank)?;
                match self.text.peek()? {
                    None if self.root_seen => return Ok(()),
                    None => return Err(self.text.cut("before the root element")),
                    Some(b'<') => {}
                    Some(_) => return Err(self.text.bad("text outside the root element")),
                }
            }
            self.text.skip(1);
            self.markup(false)?;
        }
    }

    /// Text up to the next `<` (2.4).
    fn content(&mut self) -> Result<(), Stop> {
        loop {
            match self.until(|byte| matches!(byte, b'<' | b'&' | b']'), IN_ROOT)? {
                b'<' => return Ok(()),
                b'&' => self.reference()?,
                _ => {
                    if self.brackets()? && self.text.peek()? == Some(b'>') {
                        return Err(self.text.bad("`]]>` outside a CDATA section"));
                    }
                }
            }
        }
    }

    /// Whatever begins with the `<` that has just been read.
    fn markup(&mut self, at_start: bool) -> Result<(), Stop> {
        match self.text.look(IN_MARKUP)? {
            b'?' => {
                self.text.skip(1);
                self.instruction(at_start)
            }
            b'/' => self.end_tag(),
            b'!' => {
                self.text.skip(1);
                match self.text.look(IN_MARKUP)? {
                    b'-' => self.comment(),
                    b'[' if !self.lengths.is_empty() => self.cdata(),
                    b'D' if !self.root_seen && !self.doctype_seen => {
                        self.doctype_seen = true;
                        self.doctype()
                    }
                    b'[' => Err(self.text.bad("a CDATA section outside the root element")),
                    b'D' => Err(self.text.bad(
                        "a document type declaration must come only once, \
                                               before the root element",
                    )),
                    _ => Err(self
                        .text
                        .bad("expected `--`, `[CDATA[` or `DOCTYPE` after `<!`")),
                }
            }
            _ if self.root_seen && self.lengths.is_empty() => {
                Err(self.text.bad("a second root element"))
            }
            _ => self.start_tag(),
        }
    }

    /// After `<` (3.1).
    fn start_tag(&mut self) -> Result<(), Stop> {
        self.name(IN_TAG)?;
        if self.lengths.len() == DEPTH {
            return Err(self
                .text
                .bad(format_args!("elements nested more than {DEPTH} deep")));
        }
        self.root_seen = true;
        self.lengths.push(self.name.len());
        self.open.extend_from_slice(&self.name);
        self.attributes.clear();
        loop {
            let blanks = self.blanks(IN_TAG)?;
            match self.text.look(IN_TAG)? {
                b'>' => {
                    self.text.skip(1);
                    return Ok(());
                }
                b'/' => {
                    self.text.skip(1);
                    self.text.expect(">", IN_TAG)?;
                    self.close();
                    return Ok(());
                }
                _ if !blanks => return Err(self.text.bad("expected `>`, `/>` or a blank")),
                _ => self.attribute()?,
            }
        }
    }

    fn attribute(&mut self) -> Result<(), Stop> {
        self.name(IN_TAG)?;
        if !self.attributes.add(&self.name) {
            return Err(self.text.bad("an attribute that this tag has already"));
        }
        self.equals(IN_TAG)?;
        let quote = self.quote(IN_TAG)?;
        loop {
            let stops = |byte: u8| byte == quote || matches!(byte, b'<' | b'&');
            match self.until(stops, IN_VALUE)? {
                b'<' => return Err(self.text.bad("`<` inside the value of an attribute")),
                b'&' => self.reference()?,
                _ => {
                    self.text.skip(1);
                    return Ok(());
                }
            }
        }
    }

    /// At the `/` of `</`.
    fn end_tag(&mut self) -> Result<(), Stop> {
        let Some(&len) = self.lengths.last() else {
            return Err(self.text.bad("an end tag with nothing open"));
        };
        self.text.skip(1);
        self.name(IN_TAG)?;
        let open = &self.open[self.open.len() - len..];
        if open != self.name {
            let open = String::from_utf8_lossy(open);
            return Err(self
                .text
                .bad(format_args!("expected the end tag `</{open}>`")));
        }
        self.blanks(IN_TAG)?;
        self.text.expect(">", IN_TAG)?;
        self.close();
        Ok(())
    }

    fn close(&mut self) {
        let len = self.lengths.pop().unwrap_or(0);
        self.open.truncate(self.open.len() - len);
    }

    /// At the first `-` of `<!--` (2.5).
    pub(super) fn comment(&mut self) -> Result<(), Stop> {
        self.text.expect("--", IN_COMMENT)?;
        loop {
            self.until(|byte| byte == b'-', IN_COMMENT)?;
            self.text.skip(1);
            if self.text.eat(b'-')? {
                return match self.text.look(IN_COMMENT)? {
                    b'>' => {
                        self.text.skip(1);
                        Ok(())
                    }
                    _ => Err(self.text.bad("`--` inside a comment")),
                };
            }
        }
    }

    /// At the first bracket of `<![CDATA[` (2.7).
    fn cdata(&mut self) -> Result<(), Stop> {
        self.text.expect("[CDATA[", IN_CDATA)?;
        loop {
            self.until(|byte| byte == b']', IN_CDATA)?;
            if self.brackets()? && self.text.eat(b'>')? {
                return Ok(());
            }
        }
    }

    /// Reads all `]` in a row; true if there are two or more.
    fn brackets(&mut self) -> Result<bool, Stop> {
        self.text.skip(1);
        let two = self.text.eat(b']')?;
        while self.text.eat(b']')? {}
        Ok(two)
    }

    /// After `<?` (2.6); a declaration if it is one and stands `at_start`.
    pub(super) fn instruction(&mut self, at_start: bool) -> Result<(), Stop> {
        self.name(IN_INSTRUCTION)?;
        if self.name == b"xml" && at_start {
            return self.declaration();
        }
        if self.name.eq_ignore_ascii_case(b"xml") {
            return Err(self
                .text
                .bad("an XML declaration must stand at the very start"));
        }
        if !self.blanks(IN_INSTRUCTION)? {
            return self.text.expect("?>", IN_INSTRUCTION);
        }
        loop {
            self.until(|byte| byte == b'?', IN_INSTRUCTION)?;
            self.text.skip(1);
            if self.text.eat(b'>')? {
                return Ok(());
            }
        }
    }

    /// At `&` (4.1).
    fn reference(&mut self) -> Result<(), Stop> {
        self.text.skip(1);
        if self.text.look(IN_REFERENCE)? != b'#' {
            self.name(IN_REFERENCE)?;
            let predefined: [&[u8]; 5] = [b"amp", b"lt", b"gt", b"apos", b"quot"];
            if !self.doctype_seen && !predefined.contains(&self.name.as_slice()) {
                return Err(self.text.bad("an entity that is not declared"));
            }
            return self.text.expect(";", IN_REFERENCE);
        }
        self.text.skip(1);
        let radix = match self.text.look(IN_REFERENCE)? {
            b'x' => {
                self.text.skip(1);
                16
            }
            _ => 10,
        };
        let mut code = None;
        while let Some(digit) = (self.text.look(IN_REFERENCE)? as char).to_digit(radix) {
            // Saturating far above the last character.
            code = Some((code.unwrap_or(0) * radix + digit).min(0x0100_0000));
            self.text.skip(1);
        }
        match code.and_then(char::from_u32) {
            Some(character) if is_char(character) => self.text.expect(";", IN_REFERENCE),
            _ => Err(self.text.bad("a reference to no character")),
        }
    }

    /// Reads a name (2.3) into `self.name`.
    pub(super) fn name(&mut self, inside: &str) -> Result<(), Stop> {
        self.name.clear();
        loop {
            let byte = self.text.look(inside)?;
            let fits = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-' | b'.');
            if !fits && byte < 0x80 {
                break;
            }
            if self.name.len() == NAME {
                return Err(self
                    .text
                    .bad(format_args!("a name of more than {NAME} bytes")));
            }
            self.name.push(byte);
            self.text.skip(1);
        }
        let single_bytes = self.text.single_bytes();
        match std::str::from_utf8(&self.name) {
            Ok("") => Err(self.text.bad("expected a name")),
            Ok(name) if is_name(name) => Ok(()),
            // Which letters the bytes above ASCII are is not known; the first is one.
            _ if single_bytes && is_single_byte_name(&self.name) => Ok(()),
            _ => Err(self
                .text
                .bad("before this, a name with characters that names do not have")),
        }
    }

    /// `=`, with blanks around it.
    pub(super) fn equals(&mut self, inside: &str) -> Result<(), Stop> {
        self.blanks(inside)?;
        self.text.expect("=", inside)?;
        self.blanks(inside)?;
        Ok(())
    }

    /// An opening quote; returns which.
    pub(super) fn quote(&mut self, inside: &str) -> Result<u8, Stop> {
        match self.text.look(inside)? {
            quote @ (b'"' | b'\'') => {
                self.text.skip(1);
                Ok(quote)
            }
            _ => Err(self.text.bad("expected a value in quotes")),
        }
    }

    /// Skips blanks, after which something must come; true if there was one.
    pub(super) fn blanks(&mut self, inside: &str) -> Result<bool, Stop> {
        let any = self.text.skip_while(is_blank)?;
        self.text.look(inside)?;
        Ok(any)
    }

    /// Moves over characters that XML allows (2.2) to the next that `stops`, and returns it.
    pub(super) fn until(&mut self, stops: impl Fn(u8) -> bool, inside: &str) -> Result<u8, Stop> {
        // U+FFFE and U+FFFF begin with it; single bytes have no such characters.
        let wide = if self.text.single_bytes() {
            None
        } else {
            Some(0xEF)
        };
        loop {
            let rest = self.text.rest()?;
            if rest.is_empty() {
                return Err(self.text.cut(inside));
            }
            let notable = |byte: u8| {
                stops(byte)
                    || (byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r'))
                    || Some(byte) == wide
            };
            let count = rest.iter().take_while(|&&byte| !notable(byte)).count();
            let Some(&byte) = rest.get(count) else {
                self.text.skip(count);
                continue;
            };
            // The buffer holds whole characters.
            let no_char = byte < 0x20 || matches!(rest[count..], [0xEF, 0xBF, 0xBE | 0xBF, ..]);
            self.text.skip(count);
            if stops(byte) {
                return Ok(byte);
            }
            if no_char {
                return Err(self.text.bad("a character that XML does not allow"));
            }
            self.text.skip(1);
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..)
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(is_name_start) && chars.all(is_name_char)
}

fn is_single_byte_name(name: &[u8]) -> bool {
    !matches!(name.first(), None | Some(b'-' | b'.' | b'0'..=b'9'))
}

fn is_name_start(c: char) -> bool {
    matches!(c,
        ':' | 'A'..='Z' | '_' | 'a'..='z' | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}'
        | '\u{F8}'..='\u{2FF}' | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}'
        | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}'
        | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}'
        | '\u{10000}'..='\u{EFFFF}')
}

fn is_name_char(c: char) -> bool {
    is_name_start(c)
        || matches!(c,
            '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}
