//! CSV (RFC 4180): quotes that close, and as many fields in every record as in the first.
//!
//! Where files in use differ from the RFC, or it is silent:
//! - The delimiter is `,`, `;`, tab or `|`: one that occurs in the first record and divides all
//!   records alike. A first record without any makes a file of one column, divided by commas.
//! - No encoding is asked for (RFC 4180 section 3 leaves it to a parameter); UTF-16 is read when
//!   it has its byte order mark, as Excel writes it.
//! - Lines end with CRLF, LF or CR. Empty lines are no records.
//! - A quote inside a field that does not begin with one is an ordinary character, as all readers
//!   take it.
//!
//! A last record without its newline is good if its fields are all there; if some are missing, or
//! a quote is open, the file is unfinished. A cut between two records cannot be seen.

use super::Stop;
use super::input::Input;
use super::text::{Encoding, Text, UTF8_MARK, UTF16BE_MARK, UTF16LE_MARK};

const DELIMITERS: [u8; 4] = *b",;\t|";

/// Reads all records, divided in each of the four ways at once.
pub(super) fn records(mut input: Input) -> Result<(), Stop> {
    let mut head = [0; 3];
    let count = input.read_at(0, &mut head)?;
    let (encoding, mark) = match &head[..count] {
        head if head.starts_with(UTF16LE_MARK) => (Encoding::Utf16Le, 2),
        head if head.starts_with(UTF16BE_MARK) => (Encoding::Utf16Be, 2),
        head if head.starts_with(UTF8_MARK) => (Encoding::SingleByte, 3),
        _ => (Encoding::SingleByte, 0),
    };
    let mut text = Text::new(input, encoding, mark);
    let mut tables = DELIMITERS.map(Table::new);
    loop {
        let rest = text.rest()?;
        let count = rest.len();
        if count == 0 {
            break;
        }
        let faults = tables.each_mut().map(|table| table.read(rest));
        for (table, fault) in tables.iter_mut().zip(faults) {
            if let Some(Fault { at, reason }) = fault {
                table.wrong = Some(text.place_of(at, reason));
            }
        }
        if tables.iter().all(|table| table.is_settled()) {
            break;
        }
        text.skip(count);
    }
    conclude(&text, tables)
}

/// The finding is that of the tables whose first record has more than one field; if there is
/// none, the file has one column, or is wrong from its first record on.
fn conclude(text: &Text, mut tables: [Table; 4]) -> Result<(), Stop> {
    for table in &mut tables {
        table.first = table.columns();
    }
    // The most fields first; among equals the comma.
    tables.sort_by_key(|table| std::cmp::Reverse(table.first));
    let divided = tables.iter().filter(|table| table.first > 1).count();
    let counted = match divided {
        0 => tables
            .iter()
            .position(|table| table.delimiter == b',')
            .map_or(0..1, |i| i..i + 1),
        _ => 0..divided,
    };
    let counted = &tables[counted];
    let mut sound = counted.iter().filter(|table| table.wrong.is_none());
    match (sound.next(), &counted[0].wrong) {
        (Some(table), _) => match table
            .missing()
            .filter(|_| sound.all(|t| t.missing().is_some()))
        {
            None => Ok(()),
            Some(missing) => Err(text.cut(&missing)),
        },
        (None, wrong) => Err(Stop::Bad(wrong.clone().unwrap_or_default())),
    }
}

struct Fault {
    at: usize,
    reason: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a record.
    Record,
    /// After a delimiter.
    Field,
    /// Inside a field without quotes.
    Plain,
    Quoted,
    /// After a quote inside a quoted field: its end, or the first half of a quote.
    Quote,
}

/// The file as one delimiter divides it.
struct Table {
    delimiter: u8,
    state: State,
    /// Fields of the current record so far.
    fields: u64,
    /// Fields of the first record; 0 until it has ended.
    first: u64,
    /// Why this delimiter does not fit.
    wrong: Option<String>,
}

impl Table {
    fn new(delimiter: u8) -> Table {
        Table {
            delimiter,
            state: State::Record,
            fields: 1,
            first: 0,
            wrong: None,
        }
    }

    /// Nothing that follows can change what this table says.
    fn is_settled(&self) -> bool {
        self.wrong.is_some() || (self.first == 1 && self.delimiter != b',')
    }

    fn read(&mut self, text: &[u8]) -> Option<Fault> {
        if self.is_settled() {
            return None;
        }
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            let taken = match self.state {
                State::Quoted => match text[at..].iter().position(|&byte| byte == b'"') {
                    Some(quote) => {
                        self.state = State::Quote;
                        Ok(quote + 1)
                    }
                    None => return None,
                },
                State::Record | State::Field if byte == b'"' => {
                    self.state = State::Quoted;
                    Ok(1)
                }
                State::Quote if byte == b'"' => {
                    self.state = State::Quoted;
                    Ok(1)
                }
                _ if byte == self.delimiter => self.end_field().map(|()| 1),
                _ if byte == b'\n' || byte == b'\r' => self.end_record().map(|()| 1),
                State::Quote => {
                    Err("after the quote that closes a field only a delimiter may come".to_owned())
                }
                _ => {
                    self.state = State::Plain;
                    let ends = |byte: u8| matches!(byte, b'\n' | b'\r') || byte == self.delimiter;
                    Ok(text[at..].iter().take_while(|&&byte| !ends(byte)).count())
                }
            };
            match taken {
                Ok(count) => at += count,
                Err(reason) => return Some(Fault { at, reason }),
            }
        }
        None
    }

    fn end_field(&mut self) -> Result<(), String> {
        self.state = State::Field;
        self.fields += 1;
        if self.first != 0 && self.fields > self.first {
            return Err(format!(
                "more fields than the {} of the first record",
                self.first
            ));
        }
        Ok(())
    }

    fn end_record(&mut self) -> Result<(), String> {
        let empty = self.state == State::Record;
        let fields = std::mem::replace(&mut self.fields, 1);
        self.state = State::Record;
        if empty {
            return Ok(());
        }
        if self.first == 0 {
            self.first = fields;
        }
        if fields != self.first {
            return Err(format!(
                "{fields} fields, but the first record has {}",
                self.first
            ));
        }
        Ok(())
    }

    /// How many fields the first record has, which may be the one that the file ends in.
    fn columns(&self) -> u64 {
        match (self.first, &self.wrong) {
            (0, None) => self.fields,
            (first, _) => first,
        }
    }

    /// What the end of the file is missing, if anything.
    fn missing(&self) -> Option<String> {
        match self.state {
            State::Quoted => Some("inside a quoted field".to_owned()),
            State::Record => None,
            _ if self.fields < self.first => Some(format!(
                "inside a record of {} fields, of which there should be {}",
                self.fields, self.first
            )),
            _ => None,
        }
    }
}
