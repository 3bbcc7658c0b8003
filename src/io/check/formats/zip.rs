//! Zip (APPNOTE.TXT 6.3): the directory, every entry it names, and the CRC-32 of their data.
//!
//! The end of central directory record (section 4.3.16) is looked for at the end, then the
//! directory is walked entry by entry, in windows: a million entries take no more memory than
//! one. Data that are stored or deflated are read and their CRC compared; of other methods and of
//! encrypted entries only the place is looked at. Zip64 (4.3.14, 4.3.15) is known, and so are
//! self-extracting archives, which have a program before them.
//!
//! A file that begins as a zip does but has no directory of its own is unfinished. The entries
//! together must not claim more bytes than there are: entries that share their data (as those of
//! a "better zip bomb" do) are refused, so that the time a check takes is bounded by the size.

use super::Stop;
use super::inflate::{Content, Inflater};
use super::input::{Input, Window};

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const SIGNATURE: u32 = 0x0505_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;
const SPLIT: u32 = 0x0807_4b50;

const LOCAL_LEN: u64 = 30;
const END_LEN: usize = 22;
const LOCATOR64_LEN: u64 = 20;

/// Encrypted, strongly encrypted, or with a masked local header (4.4.4).
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;

/// Reads a whole archive.
pub(super) fn archive(input: &mut Input) -> Result<(), Stop> {
    let Some(end) = find_end(input)? else {
        return Err(if begins_as_zip(input)? {
            Stop::Unfinished(format!(
                "the file ends at byte {} without a central directory",
                input.size()
            ))
        } else {
            Stop::Bad("not a zip: no signature at the start, no directory at the end".to_owned())
        });
    };
    let directory = Directory::locate(end, input)?;
    directory.walk(input)
}

/// Whether the first bytes, as far as there are any, are those of a zip.
fn begins_as_zip(input: &mut Input) -> Result<bool, Stop> {
    let mut head = [0; 4];
    let count = input.read_at(0, &mut head)?;
    let starts = [LOCAL, END, END64, SPLIT];
    Ok(starts
        .iter()
        .any(|start| start.to_le_bytes().starts_with(&head[..count])))
}

/// The record at the very end of the file, and where it begins.
struct End {
    at: u64,
    record: [u8; END_LEN],
}

/// Looks backwards for the record whose comment ends where the file does.
fn find_end(input: &mut Input) -> Result<Option<End>, Stop> {
    let from = input
        .size()
        .saturating_sub((END_LEN + usize::from(u16::MAX)) as u64);
    let mut tail = vec![0; END_LEN + usize::from(u16::MAX)];
    let count = input.read_at(from, &mut tail)?;
    let tail = &tail[..count];
    Ok(tail
        .windows(END_LEN)
        .enumerate()
        .rev()
        .find_map(|(i, window)| {
            let record: [u8; END_LEN] = window.try_into().ok()?;
            let whole = i + END_LEN + usize::from(u16_at(&record, 20)) == tail.len();
            (u32_at(&record, 0) == END && whole).then_some(End {
                at: from + i as u64,
                record,
            })
        }))
}

/// Where the central directory is and how much it holds.
struct Directory {
    /// What lies before the archive: a program that unpacks it, mostly nothing.
    base: u64,
    start: u64,
    len: u64,
    entries: u64,
}

impl Directory {
    fn locate(end: End, input: &mut Input) -> Result<Directory, Stop> {
        let disks = [u16_at(&end.record, 4), u16_at(&end.record, 6)];
        let mut entries = u64::from(u16_at(&end.record, 10));
        let mut len = u64::from(u32_at(&end.record, 12));
        let mut start = u64::from(u32_at(&end.record, 16));
        let mut at = end.at;
        let large = entries == 0xFFFF || len == 0xFFFF_FFFF || start == 0xFFFF_FFFF;
        if large && let Some((at64, record)) = find_end64(end.at, input)? {
            entries = u64_at(&record, 32);
            len = u64_at(&record, 40);
            start = u64_at(&record, 48);
            at = at64;
        } else if disks.iter().any(|&disk| disk != 0) {
            return Err(bad(end.at, "a part of an archive that was split"));
        }

        let Some(base) = at.checked_sub(len).and_then(|real| real.checked_sub(start)) else {
            return Err(bad(end.at, "the directory is larger than the file"));
        };
        let as_said = Directory {
            base: 0,
            start,
            len,
            entries,
        };
        if base == 0 || as_said.begins(input)? {
            return Ok(as_said);
        }
        if begins_as_zip(input)? {
            // The end of an archive inside this one, whose own directory is still to come.
            return Err(Stop::Unfinished(format!(
                "the file ends at byte {} with the directory of another archive, not its own",
                input.size()
            )));
        }
        Ok(Directory {
            base,
            start: base + start,
            len,
            entries,
        })
    }

    fn begins(&self, input: &mut Input) -> Result<bool, Stop> {
        let mut head = [0; 4];
        input.read_at(self.start, &mut head)?;
        Ok(self.entries > 0 && u32::from_le_bytes(head) == CENTRAL)
    }

    fn walk(&self, input: &mut Input) -> Result<(), Stop> {
        let end = self.start + self.len;
        let mut window = Window::new(self.start, end);
        let mut data = Data::new(self);
        for number in 0..self.entries {
            let at = window.at();
            let entry = Entry::read(&mut window, input)?.ok_or_else(|| {
                let entries = self.entries;
                bad(
                    at,
                    &format!("the directory ends after {number} of its {entries} entries"),
                )
            })?;
            data.check(&entry, input)?;
        }
        let at = window.at();
        match window.take::<4>(input)? {
            None if at == end => Ok(()),
            Some(signature) if u32::from_le_bytes(signature) == SIGNATURE => Ok(()),
            _ => Err(bad(
                at,
                "the directory has another length than its end record says",
            )),
        }
    }
}

/// The zip64 record that the locator before the end record points to, and where it begins.
fn find_end64(end_at: u64, input: &mut Input) -> Result<Option<(u64, [u8; 56])>, Stop> {
    let Some(locator_at) = end_at.checked_sub(LOCATOR64_LEN) else {
        return Ok(None);
    };
    let mut locator = [0; LOCATOR64_LEN as usize];
    input.read_at(locator_at, &mut locator)?;
    if u32_at(&locator, 0) != LOCATOR64 {
        return Ok(None);
    }
    // With something before the archive it lies further on than is said: just before the locator.
    let mut record = [0; 56];
    for at in [u64_at(&locator, 8), locator_at.saturating_sub(56)] {
        let fits = at.checked_add(56).is_some_and(|to| to <= locator_at);
        if fits && input.read_at(at, &mut record)? == 56 && u32_at(&record, 0) == END64 {
            return Ok(Some((at, record)));
        }
    }
    Err(bad(
        locator_at,
        "the zip64 locator points to no zip64 record",
    ))
}

/// One entry of the directory (4.3.12).
struct Entry {
    /// Where in the directory it stands.
    at: u64,
    flags: u16,
    method: u16,
    crc: u32,
    compressed: u64,
    size: u64,
    /// Where its local header stands, from the beginning of the archive.
    offset: u64,
}

impl Entry {
    /// `None` when the directory ends before the entry does.
    fn read(window: &mut Window, input: &mut Input) -> Result<Option<Entry>, Stop> {
        let at = window.at();
        let Some(fixed) = window.take::<46>(input)? else {
            return Ok(None);
        };
        if u32_at(&fixed, 0) != CENTRAL {
            return Err(bad(at, "no entry of the directory where one should be"));
        }
        let mut entry = Entry {
            at,
            flags: u16_at(&fixed, 8),
            method: u16_at(&fixed, 10),
            crc: u32_at(&fixed, 16),
            compressed: u64::from(u32_at(&fixed, 20)),
            size: u64::from(u32_at(&fixed, 24)),
            offset: u64::from(u32_at(&fixed, 42)),
        };
        window.skip(u64::from(u16_at(&fixed, 28)));
        let extra_end = window.at() + u64::from(u16_at(&fixed, 30));
        entry.large(window, extra_end, input)?;
        window.set_at(extra_end + u64::from(u16_at(&fixed, 32)));
        Ok((!window.is_beyond_end()).then_some(entry))
    }

    /// Takes the values that did not fit from the zip64 extra field (4.5.3).
    fn large(
        &mut self,
        window: &mut Window,
        extra_end: u64,
        input: &mut Input,
    ) -> Result<(), Stop> {
        let large = [&mut self.size, &mut self.compressed, &mut self.offset];
        let mut large = large
            .into_iter()
            .filter(|value| **value == 0xFFFF_FFFF)
            .peekable();
        while large.peek().is_some() && window.at() + 4 <= extra_end {
            let Some(head) = window.take::<4>(input)? else {
                return Ok(());
            };
            let field_end = window.at() + u64::from(u16_at(&head, 2));
            if u16_at(&head, 0) == 1 {
                while window.at() + 8 <= field_end.min(extra_end)
                    && let Some(value) = large.next()
                    && let Some(bytes) = window.take::<8>(input)?
                {
                    *value = u64::from_le_bytes(bytes);
                }
            }
            window.set_at(field_end);
        }
        Ok(())
    }
}

/// What the directory's entries stand for.
struct Data {
    base: u64,
    /// Where the data end and the directory begins.
    end: u64,
    /// The bytes that no entry has claimed yet.
    unclaimed: u64,
    window: Window,
    inflater: Inflater,
}

impl Data {
    fn new(directory: &Directory) -> Data {
        Data {
            base: directory.base,
            end: directory.start,
            unclaimed: directory.start,
            window: Window::new(0, 0),
            inflater: Inflater::new(),
        }
    }

    fn check(&mut self, entry: &Entry, input: &mut Input) -> Result<(), Stop> {
        let outside = || bad(entry.at, "an entry that does not lie before the directory");
        let header_at = self.base.checked_add(entry.offset).ok_or_else(outside)?;
        self.window.set(header_at, self.end);
        let header = self
            .window
            .take::<{ LOCAL_LEN as usize }>(input)?
            .ok_or_else(outside)?;
        if u32_at(&header, 0) != LOCAL {
            return Err(bad(
                header_at,
                "no local header where the directory says there is one",
            ));
        }
        let data_at =
            self.window.at() + u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        let data_end = data_at
            .checked_add(entry.compressed)
            .filter(|&data_end| data_end <= self.end)
            .ok_or_else(outside)?;
        self.unclaimed = self
            .unclaimed
            .checked_sub(data_end - header_at)
            .ok_or_else(|| bad(entry.at, "entries that overlap"))?;

        self.window.set(data_at, data_end);
        let content = match entry.method {
            _ if entry.flags & ENCRYPTED != 0 => return Ok(()),
            0 => self.stored(input)?,
            8 if entry.compressed == 0 && entry.size == 0 => self.stored(input)?,
            8 => match self.inflater.run(&mut self.window, input)? {
                Some(content) if self.window.at() == data_end => content,
                _ => return Err(bad(data_at, "the compressed data have another length")),
            },
            _ => return Ok(()),
        };
        if content.len != entry.size {
            return Err(bad(
                data_at,
                "the data have another length than the directory says",
            ));
        }
        if content.crc != entry.crc {
            return Err(bad(data_at, "the CRC-32 is not that of the data"));
        }
        Ok(())
    }

    fn stored(&mut self, input: &mut Input) -> Result<Content, Stop> {
        let mut crc = flate2::Crc::new();
        let start = self.window.at();
        loop {
            let rest = self.window.rest(input)?;
            if rest.is_empty() {
                return Ok(Content {
                    crc: crc.sum(),
                    len: self.window.at() - start,
                });
            }
            crc.update(rest);
            let count = rest.len() as u64;
            self.window.skip(count);
        }
    }
}

fn bad(at: u64, reason: &str) -> Stop {
    Stop::Bad(format!("byte {at}: {reason}"))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
