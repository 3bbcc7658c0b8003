//! JSON (RFC 8259) and JSON Lines, read byte by byte with one bit for each open bracket.
//!
//! What the RFC leaves open is decided so:
//! - Nesting ends at [`DEPTH`] levels (section 9 allows a limit); serde_json has about the same.
//! - `\u` escapes must form characters: half of a surrogate pair is refused (section 8.2 calls
//!   its effects unpredictable).
//! - A byte order mark is ignored; repeated names in an object are not looked for.
//! - A file that is one bare number is good, as the RFC has it, though more digits might follow.
//!
//! JSON Lines: one value a line; empty lines and lines of blanks are allowed, CRLF too. A last
//! line without its newline is good when its value is complete. If that value is a bare number it
//! is unfinished: lines are appended one by one, and there more digits are likely.

use super::Stop;
use super::text::Text;

/// How deep brackets may nest.
const DEPTH: u32 = 128;

const IN_NUMBER: &str = "inside a number";
const IN_STRING: &str = "inside a string";

/// A file of one value.
pub(super) fn document(text: &mut Text) -> Result<(), Stop> {
    let blank = Blank::WithNewline;
    blank.skip(text)?;
    value(text, blank)?;
    blank.skip(text)?;
    match text.peek()? {
        None => Ok(()),
        Some(_) => Err(text.bad("expected nothing more after the value")),
    }
}

/// A file of one value a line.
pub(super) fn lines(text: &mut Text) -> Result<(), Stop> {
    let blank = Blank::WithinLine;
    loop {
        blank.skip(text)?;
        match text.peek()? {
            None => return Ok(()),
            Some(b'\n') => {
                text.skip(1);
                continue;
            }
            Some(_) => {}
        }
        let kind = value(text, blank)?;
        if kind == Kind::BareNumber && text.peek()?.is_none() {
            return Err(text.cut("after a bare number, to which digits may be added"));
        }
        blank.skip(text)?;
        match text.peek()? {
            None => return Ok(()),
            Some(b'\n') => text.skip(1),
            Some(_) => return Err(text.bad("expected the end of the line after its value")),
        }
    }
}

/// What may stand between tokens.
#[derive(Clone, Copy)]
enum Blank {
    WithNewline,
    WithinLine,
}

impl Blank {
    #[inline]
    fn skip(self, text: &mut Text) -> Result<(), Stop> {
        text.skip_while(|byte| match byte {
            b' ' | b'\t' | b'\r' => true,
            b'\n' => matches!(self, Blank::WithNewline),
            _ => false,
        })?;
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    BareNumber,
    Other,
}

#[derive(Clone, Copy)]
enum Bracket {
    Square,
    Curly,
}

/// The brackets that are open, the innermost in the lowest bit.
#[derive(Default)]
struct Open {
    depth: u32,
    curly: u128,
}

impl Open {
    fn push(&mut self, bracket: Bracket, text: &mut Text) -> Result<(), Stop> {
        if self.depth == DEPTH {
            return Err(text.bad(format_args!("nested more than {DEPTH} deep")));
        }
        self.depth += 1;
        self.curly = self.curly << 1 | u128::from(matches!(bracket, Bracket::Curly));
        text.skip(1);
        Ok(())
    }

    fn pop(&mut self, text: &mut Text) {
        self.depth -= 1;
        self.curly >>= 1;
        text.skip(1);
    }

    fn innermost(&self) -> Option<Bracket> {
        match (self.depth, self.curly & 1) {
            (0, _) => None,
            (_, 0) => Some(Bracket::Square),
            _ => Some(Bracket::Curly),
        }
    }
}

/// One value with all that is in it, up to its last byte.
fn value(text: &mut Text, blank: Blank) -> Result<Kind, Stop> {
    let mut open = Open::default();
    loop {
        // Here a value must begin.
        let first = text.look("where a value is expected")?;
        let kind = match (first, open.depth) {
            (b'-' | b'0'..=b'9', 0) => Kind::BareNumber,
            _ => Kind::Other,
        };
        match first {
            b'{' => {
                open.push(Bracket::Curly, text)?;
                blank.skip(text)?;
                if text.look("inside an object")? != b'}' {
                    member(text, blank)?;
                    continue;
                }
                open.pop(text);
            }
            b'[' => {
                open.push(Bracket::Square, text)?;
                blank.skip(text)?;
                if text.look("inside an array")? != b']' {
                    continue;
                }
                open.pop(text);
            }
            b'"' => string(text)?,
            b'-' | b'0'..=b'9' => number(text)?,
            b't' => text.expect("true", "inside `true`")?,
            b'f' => text.expect("false", "inside `false`")?,
            b'n' => text.expect("null", "inside `null`")?,
            _ => return Err(text.bad("expected a value")),
        }
        // Here a value has ended, and with it perhaps what holds it.
        loop {
            let Some(bracket) = open.innermost() else {
                return Ok(kind);
            };
            blank.skip(text)?;
            match (bracket, text.look("inside brackets that are still open")?) {
                (Bracket::Square, b',') => {
                    text.skip(1);
                    blank.skip(text)?;
                    break;
                }
                (Bracket::Curly, b',') => {
                    text.skip(1);
                    blank.skip(text)?;
                    member(text, blank)?;
                    break;
                }
                (Bracket::Square, b']') | (Bracket::Curly, b'}') => open.pop(text),
                (Bracket::Square, _) => return Err(text.bad("expected `,` or `]`")),
                (Bracket::Curly, _) => return Err(text.bad("expected `,` or `}`")),
            }
        }
    }
}

/// A name and its colon, up to where the value begins.
fn member(text: &mut Text, blank: Blank) -> Result<(), Stop> {
    if text.look("inside an object")? != b'"' {
        return Err(text.bad("expected a name in quotes"));
    }
    string(text)?;
    blank.skip(text)?;
    if text.look("inside an object")? != b':' {
        return Err(text.bad("expected `:`"));
    }
    text.skip(1);
    blank.skip(text)
}

/// Section 7, from quote to quote. That it is UTF-8 has been seen to already.
fn string(text: &mut Text) -> Result<(), Stop> {
    text.skip(1);
    loop {
        let rest = text.rest()?;
        if rest.is_empty() {
            return Err(text.cut(IN_STRING));
        }
        let plain = |&byte: &u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
        let count = rest.iter().take_while(|byte| plain(byte)).count();
        let found = rest.get(count).copied();
        text.skip(count);
        match found {
            None => {}
            Some(b'"') => {
                text.skip(1);
                return Ok(());
            }
            Some(b'\\') => escape(text)?,
            Some(_) => return Err(text.bad("a control character inside a string")),
        }
    }
}

fn escape(text: &mut Text) -> Result<(), Stop> {
    text.skip(1);
    match text.look(IN_STRING)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
            text.skip(1);
            Ok(())
        }
        b'u' => match hex(text)? {
            0xD800..=0xDBFF => {
                if text.look(IN_STRING)? == b'\\' {
                    text.skip(1);
                    if text.look(IN_STRING)? == b'u' && matches!(hex(text)?, 0xDC00..=0xDFFF) {
                        return Ok(());
                    }
                }
                Err(text.bad("half of a surrogate pair"))
            }
            0xDC00..=0xDFFF => Err(text.bad("half of a surrogate pair")),
            _ => Ok(()),
        },
        _ => Err(text.bad("expected one of \" \\ / b f n r t u after a backslash")),
    }
}

/// `u` and four digits.
fn hex(text: &mut Text) -> Result<u32, Stop> {
    text.skip(1);
    let mut unit = 0;
    for _ in 0..4 {
        let Some(digit) = (text.look(IN_STRING)? as char).to_digit(16) else {
            return Err(text.bad("expected four hexadecimal digits after `\\u`"));
        };
        unit = unit << 4 | digit;
        text.skip(1);
    }
    Ok(unit)
}

/// Section 6.
fn number(text: &mut Text) -> Result<(), Stop> {
    text.eat(b'-')?;
    match text.look(IN_NUMBER)? {
        b'0' => {
            text.skip(1);
            if matches!(text.peek()?, Some(b'0'..=b'9')) {
                return Err(text.bad("a number must not begin with a zero"));
            }
        }
        _ => digits(text)?,
    }
    if text.eat(b'.')? {
        digits(text)?;
    }
    if matches!(text.peek()?, Some(b'e' | b'E')) {
        text.skip(1);
        if matches!(text.look(IN_NUMBER)?, b'+' | b'-') {
            text.skip(1);
        }
        digits(text)?;
    }
    Ok(())
}

/// At least one.
fn digits(text: &mut Text) -> Result<(), Stop> {
    if !text.look(IN_NUMBER)?.is_ascii_digit() {
        return Err(text.bad("expected a digit"));
    }
    text.skip_while(|byte| byte.is_ascii_digit())?;
    Ok(())
}
