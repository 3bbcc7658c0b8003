//! What comes before the root element of XML (XML 1.0): the XML declaration (section 2.8) and the
//! document type declaration, which is skipped.
//!
//! Of a document type only the shape is looked at; no entity is ever expanded and nothing is fetched.

use super::Stop;
use super::xml::Xml;

const IN_DECLARATION: &str = "inside the XML declaration";
const IN_DOCTYPE: &str = "inside the document type declaration";

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
