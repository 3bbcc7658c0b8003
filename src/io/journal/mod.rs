//! The journal on the disk: numbered files of lines in `journal/` in the state folder.
//!
//! Invariants:
//! - Each process that holds the lock writes a file of its own, numbered above all others,
//!   so that a late write of a former holder is never in the middle of another's lines.
//! - An older file is removed only after its content stands in a newer one that is on the disk.
//! - A line is handed to the kernel at once ([`Journal::append`]) and brought onto the disk
//!   in groups ([`Journal::sync`]). Lines whose fsync failed are written again into a new
//!   file: a second fsync of the same one would lie.
//! - A line that could be written in part only is closed by a newline before the next one,
//!   so that it spoils no other.
//! - A full disk stops deliveries before it can cause repeats: room for the lines of what is in
//!   flight is set aside (`journal/reserve`), and nothing is sent while it is not there.
//! - A file that has grown is rewritten without what is filed. What that costs is in
//!   `docs/journal.md`; lines are appended meanwhile. Where it fails, the journal is only
//!   longer than it needs to be.

mod reserve;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use self::reserve::Reserve;
use crate::flow::alarm::Alarm;
use crate::flow::file::Rel;
use crate::flow::journal::Replay;
use crate::flow::time::{Mono, Wall};
use crate::io::dir::{DRAFT, Dir, draft_name};
use crate::io::fault::explain;
use crate::io::os::clock;

/// See the module.
#[derive(Debug)]
pub struct Journal {
    folder: Dir,
    inner: Mutex<Inner>,
    reserve: Reserve,
    /// There was none.
    is_new: bool,
    /// Whether it can be rewritten, and when that is tried again where it could not.
    rewriting: Mutex<(Alarm, Mono)>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    number: u64,
    /// The last write stopped in the middle of a line.
    torn: bool,
    /// An fsync failed: another one of this file would lie.
    suspect: bool,
    /// What was written since the last fsync.
    unsynced: Vec<u8>,
    /// What could not be written, and is to be written before anything else.
    owed: Vec<u8>,
    /// Bytes in the file.
    size: u64,
    /// The file is rewritten when it reaches this size.
    compact_at: u64,
}

impl Inner {
    /// A file that was begun with `size` bytes, all of them on the disk.
    fn new(file: File, number: u64, size: u64) -> Inner {
        let compact_at = COMPACT_MIN.max(4 * size);
        Inner {
            file,
            number,
            torn: false,
            suspect: false,
            unsynced: Vec::new(),
            owed: Vec::new(),
            size,
            compact_at,
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        if let Err(err) = self.file.write_all(lines) {
            self.torn = true;
            return Err(err);
        }
        self.unsynced.extend_from_slice(lines);
        self.size += lines.len() as u64;
        Ok(())
    }

    fn pay(&mut self) -> io::Result<()> {
        if !self.owed.is_empty() {
            let owed = std::mem::take(&mut self.owed);
            self.write(&owed).inspect_err(|_| self.owed = owed)?;
        }
        Ok(())
    }

    /// Goes on in another file, which holds all of this one that counts.
    fn replace(&mut self, new: Inner) {
        let owed = std::mem::take(&mut self.owed);
        *self = Inner { owed, ..new };
    }
}

/// The least size at which a journal is rewritten.
const COMPACT_MIN: u64 = 4 << 20;
/// A rewriting that failed is tried again after that.
const COMPACT_AGAIN: Duration = Duration::from_secs(60);

impl Journal {
    /// Reads what is there and begins a new file with what is still live of it.
    ///
    /// # Errors
    /// Of the calls.
    pub fn open(state: &Dir, now: Wall) -> io::Result<(Journal, Replay)> {
        let folder = state.make(&Rel::new(b"journal"))?;
        let numbers = numbers(&folder)?;
        let replay = read(&folder, &numbers)?;
        let reserve = Reserve::new(&folder)?;
        let is_new = numbers.is_empty();
        let number = numbers.last().map_or(1, |last| last + 1);
        let (file, size) = begin(&folder, number, &replay.lines(now))?;
        for old in numbers {
            folder.remove(&name(old))?;
        }
        // A former process may have been killed while it wrote one.
        for draft in state
            .names(&Rel::new(b"journal"))?
            .iter()
            .filter(|name| name.starts_with(DRAFT.as_bytes()))
        {
            let _ = folder.remove(draft);
        }
        let inner = Inner::new(file, number, size);
        Ok((
            Journal {
                folder,
                inner: Mutex::new(inner),
                reserve,
                is_new,
                rewriting: Mutex::default(),
            },
            replay,
        ))
    }

    /// Hands whole lines to the kernel. True if they are the first since the last fsync, or took
    /// from the reserve.
    ///
    /// # Errors
    /// Of `write`. Then none of the lines counts.
    pub fn append(&self, lines: &[u8]) -> io::Result<bool> {
        let mut inner = self.lock();
        let first = inner.unsynced.is_empty();
        match inner.pay().and_then(|()| inner.write(lines)) {
            Ok(()) => Ok(first),
            Err(err) if self.reserve.give_up(&self.folder, &err) => {
                inner.pay().and_then(|()| inner.write(lines)).map(|()| true)
            }
            Err(err) => Err(err),
        }
    }

    /// Whether there was none before: each process leaves one file at least.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether the room for the lines of what is in flight is used up.
    pub fn is_low(&self) -> bool {
        !self.reserve.is_there()
    }

    /// Sets that room aside again.
    ///
    /// # Errors
    /// Of the calls; as long as the disk is full.
    pub fn restore_reserve(&self) -> io::Result<()> {
        self.reserve.restore(&self.folder)
    }

    /// The same, for lines that must not be dropped: after an error they are written before
    /// any other line, so that their order is kept; a later [`Journal::sync`] tries as well.
    /// They are few, for while they are owed nothing else can be written, and nothing filed.
    ///
    /// # Errors
    /// Of `write`.
    pub fn append_or_owe(&self, lines: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        let written = inner.pay().and_then(|()| inner.write(lines));
        written.inspect_err(|_| inner.owed.extend_from_slice(lines))
    }

    /// Whether lines wait for an fsync, or to be written at all.
    pub fn is_pending(&self) -> bool {
        let inner = self.lock();
        !inner.unsynced.is_empty() || !inner.owed.is_empty()
    }

    /// Brings all that was appended onto the disk. Deliveries do not wait for it.
    ///
    /// # Errors
    /// Of the calls; the next call tries again with a new file.
    pub fn sync(&self, now: Wall) -> io::Result<()> {
        self.sync_lines()?;
        self.lock().pay()?;
        self.compact_if_due(now);
        Ok(())
    }

    /// Whether lines are known to be kept from the disk: more of them would only make that worse.
    pub fn is_stuck(&self) -> bool {
        let inner = self.lock();
        inner.suspect && !inner.unsynced.is_empty()
    }

    #[cfg(test)]
    pub fn fail_next_sync(&self) {
        self.lock().suspect = true;
    }

    fn sync_lines(&self) -> io::Result<()> {
        let (file, pending, suspect) = {
            let inner = self.lock();
            if inner.unsynced.is_empty() {
                return Ok(());
            }
            (inner.file.try_clone()?, inner.unsynced.len(), inner.suspect)
        };
        // Not under the lock: workers go on appending meanwhile.
        let synced = if suspect {
            Err(io::Error::other("an fsync before this failed"))
        } else {
            file.sync_data()
        };
        match synced {
            Ok(()) => drop(self.lock().unsynced.drain(..pending)),
            Err(err) => {
                self.lock().suspect = true;
                self.move_on().map_err(|_| err)?;
            }
        }
        Ok(())
    }

    /// Begins the next file with all that is not known to be on the disk.
    fn move_on(&self) -> io::Result<()> {
        let mut inner = self.lock();
        let number = inner.number + 1;
        let (file, size) = begin(&self.folder, number, &inner.unsynced).or_else(|err| {
            if self.reserve.give_up(&self.folder, &err) {
                begin(&self.folder, number, &inner.unsynced)
            } else {
                Err(err)
            }
        })?;
        let compact_at = inner.compact_at;
        inner.replace(Inner {
            compact_at,
            ..Inner::new(file, number, size)
        });
        Ok(())
    }

    /// The lines are on the disk whether this succeeds or not: it is no error of theirs.
    fn compact_if_due(&self, now: Wall) {
        let at = clock::now().mono;
        let mut rewriting = self.rewriting.lock().expect("no thread panics with it");
        let (alarm, again) = &mut *rewriting;
        let is_grown = {
            let inner = self.lock();
            inner.size >= inner.compact_at
        };
        if !is_grown || alarm.is_raised() && at < *again {
            return;
        }
        match self.compact(now) {
            Ok(()) => {
                if alarm.clear(at).is_some() {
                    log::info!(target: "dirpost", "journal: it has been rewritten without what is filed");
                }
            }
            Err(err) => {
                *again = at + COMPACT_AGAIN;
                let why = explain(&err);
                if alarm.raise(&why, at).is_some() {
                    log::warn!(
                        target: "dirpost",
                        "journal: rewriting it without what is filed failed: {why}; nothing is lost, it grows until \
                         that succeeds (tried again every minute)"
                    );
                }
            }
        }
    }

    /// Writes what is live into a new file and removes the old ones.
    fn compact(&self, now: Wall) -> io::Result<()> {
        let (number, end) = {
            let inner = self.lock();
            (inner.number, inner.file.metadata()?.len())
        };
        let mut numbers = numbers(&self.folder)?;
        // A file with a higher number is another holder's.
        numbers.retain(|&old| old < number);
        // Not under the lock: this takes as long as the journal is large.
        let mut replay = read(&self.folder, &numbers)?;
        let mut old = self.folder.file(&name(number))?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut old).take(end).read_to_end(&mut bytes)?;
        replay.add(&bytes);
        drop(bytes);
        self.replace_by(&replay.lines(now), number, (old, end))?;
        numbers.push(number);
        for old in numbers {
            // One that stays says nothing that the new one does not say after it.
            let _ = self.folder.remove(&name(old));
        }
        Ok(())
    }

    /// Goes on in a new file with `lines`, which add up to `old` until `end`.
    fn replace_by(&self, lines: &[u8], number: u64, (old, end): (File, u64)) -> io::Result<()> {
        let draft = draft_name();
        let mut file = self.folder.create(&draft)?;
        let replaced = file
            .write_all(lines)
            .and_then(|()| file.sync_all())
            .and_then(|()| self.switch(file, &draft, lines.len() as u64, number + 1, (old, end)));
        replaced.inspect_err(|_| drop(self.folder.remove(&draft)))
    }

    /// Takes over what was appended to `old` since `end`, while nothing more can be.
    fn switch(
        &self,
        mut new: File,
        draft: &[u8],
        size: u64,
        number: u64,
        (mut old, end): (File, u64),
    ) -> io::Result<()> {
        let mut inner = self.lock();
        let mut since = Vec::new();
        old.seek(SeekFrom::Start(end))?;
        old.read_to_end(&mut since)?;
        if !since.is_empty() {
            new.write_all(&since)?;
            new.sync_all()?;
        }
        self.folder.place(draft, &new, &name(number))?;
        let file = begun(&self.folder, number)?;
        let torn = inner.torn;
        inner.replace(Inner {
            torn,
            ..Inner::new(file, number, size + since.len() as u64)
        });
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no thread panics with it")
    }
}

fn name(number: u64) -> Vec<u8> {
    format!("{number:08}.jsonl").into_bytes()
}

/// The numbers of the files that are there, in order.
fn numbers(folder: &Dir) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = folder
        .names(&Rel::root())?
        .iter()
        .filter_map(|name| {
            std::str::from_utf8(name)
                .ok()?
                .strip_suffix(".jsonl")?
                .parse()
                .ok()
        })
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn read(folder: &Dir, numbers: &[u64]) -> io::Result<Replay> {
    let mut replay = Replay::default();
    for &number in numbers {
        let mut bytes = Vec::new();
        match folder.file(&name(number)) {
            Ok(mut file) => file.read_to_end(&mut bytes)?,
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            Err(err) => return Err(err),
        };
        replay.add(&bytes);
    }
    Ok(replay)
}

/// Makes the file `number` with `lines` in it, all of it on the disk.
fn begin(folder: &Dir, number: u64, lines: &[u8]) -> io::Result<(File, u64)> {
    folder.write_new(&name(number), lines)?;
    Ok((begun(folder, number)?, lines.len() as u64))
}

/// Opens a file that has just got its name, and sees that the name is on the disk.
fn begun(folder: &Dir, number: u64) -> io::Result<File> {
    let begun = folder.sync().and_then(|()| folder.append(&name(number)));
    // Left there it would be in the way of the next attempt, and read as newer than it is.
    begun.inspect_err(|_| drop(folder.remove(&name(number))))
}

#[cfg(test)]
mod tests;
