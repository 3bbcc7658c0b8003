//! Gzip (RFC 1952): every member whole, with the CRC-32 and the length of its trailer.
//!
//! Members may follow one another (section 2.2). Zero bytes after the last are padding, as gzip
//! takes them; anything else there is wrong. A file that is cut exactly between two members looks
//! whole. There is no limit on the decompressed size: it costs time, not memory.

use flate2::Crc;

use super::Stop;
use super::inflate::Inflater;
use super::input::{Input, Window};

const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xE0;

/// Reads member after member.
pub(super) fn members(input: &mut Input) -> Result<(), Stop> {
    let mut window = Window::new(0, input.size());
    let mut inflater = Inflater::new();
    loop {
        Header {
            window: &mut window,
            input,
            crc: Crc::new(),
        }
        .read()?;
        let Some(content) = inflater.run(&mut window, input)? else {
            return Err(cut(
                window.at(),
                "inside the compressed data (no gzip trailer)",
            ));
        };
        let trailer_at = window.at();
        let Some([a, b, c, d, e, f, g, h]) = window.take::<8>(input)? else {
            return Err(cut(input.size(), "inside the gzip trailer"));
        };
        if u32::from_le_bytes([a, b, c, d]) != content.crc {
            return Err(bad(trailer_at, "the CRC-32 is not that of the data"));
        }
        // The length modulo 2^32, section 2.3.1.
        if u32::from_le_bytes([e, f, g, h]) != content.len as u32 {
            return Err(bad(trailer_at + 4, "the length is not that of the data"));
        }
        match window.rest(input)?.first() {
            None => return Ok(()),
            Some(0) => return padding(&mut window, input),
            Some(_) => {}
        }
    }
}

fn padding(window: &mut Window, input: &mut Input) -> Result<(), Stop> {
    loop {
        let at = window.at();
        let rest = window.rest(input)?;
        if rest.is_empty() {
            return Ok(());
        }
        if let Some(i) = rest.iter().position(|&byte| byte != 0) {
            return Err(bad(at + i as u64, "data after the end of the gzip data"));
        }
        let count = rest.len() as u64;
        window.skip(count);
    }
}

/// The header of a member (section 2.3), with the CRC over its bytes.
struct Header<'w, 'i, 's> {
    window: &'w mut Window,
    input: &'i mut Input<'s>,
    crc: Crc,
}

impl Header<'_, '_, '_> {
    fn read(mut self) -> Result<(), Stop> {
        let start = self.window.at();
        for magic in [0x1F, 0x8B] {
            if self.byte()? != magic {
                return Err(bad(
                    start,
                    match start {
                        0 => "not gzip: the file does not begin with 1F 8B",
                        _ => "data after the end of the gzip data",
                    },
                ));
            }
        }
        if self.byte()? != 8 {
            return Err(bad(start + 2, "a compression method that is not deflate"));
        }
        let flags = self.byte()?;
        if flags & RESERVED != 0 {
            return Err(bad(start + 3, "reserved flags are set"));
        }
        // Time, extra flags, operating system.
        for _ in 0..6 {
            self.byte()?;
        }
        if flags & EXTRA != 0 {
            let len = u16::from_le_bytes([self.byte()?, self.byte()?]);
            for _ in 0..len {
                self.byte()?;
            }
        }
        for field in [NAME, COMMENT] {
            if flags & field != 0 {
                while self.byte()? != 0 {}
            }
        }
        if flags & HEADER_CRC != 0 {
            let sum = self.crc.sum() as u16;
            let at = self.window.at();
            if u16::from_le_bytes([self.byte()?, self.byte()?]) != sum {
                return Err(bad(at, "the CRC of the header does not fit"));
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let Some([byte]) = self.window.take(self.input)? else {
            return Err(cut(self.window.at(), "inside a gzip header"));
        };
        self.crc.update(&[byte]);
        Ok(byte)
    }
}

fn cut(at: u64, inside: &str) -> Stop {
    Stop::Unfinished(format!("the file ends at byte {at} {inside}"))
}

fn bad(at: u64, reason: &str) -> Stop {
    Stop::Bad(format!("byte {at}: {reason}"))
}
