//! The journal on the disk: numbered files of lines in `journal/` in the state folder.
//!
//! Invariants:
//! - Each process that holds the lock writes a file of its own, numbered above all others,
//!   so that a late write of a former holder is never in the middle of another's lines.
//! - The first line of each file names the share.
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
//! - A file that somebody removes under the running process is begun again with all that is live,
//!   read through the handle that is still held. Only the holder of the lock may do so: the next
//!   holder removes the files of the one before it, which must not bring them back.

mod files;
mod removed;
mod reserve;
mod rewrite;

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use self::files::{begin, name, numbers, read};
use self::removed::Guard;
use self::reserve::Reserve;
use self::rewrite::COMPACT_MIN;
use crate::flow::alarm::Alarm;
use crate::flow::file::Rel;
use crate::flow::journal::{self, Entry, Replay};
use crate::flow::time::{Mono, Wall};
use crate::io::dir::{Dir, is_unlinked};
use crate::io::os::clock;

pub use self::files::share_of;

/// Where a journal lies, and whose it is.
#[derive(Clone, Debug)]
pub struct Home {
    /// The state folder.
    pub folder: Arc<Dir>,
    /// Its path, for messages.
    pub path: PathBuf,
    /// The share, as the first line of each file names it.
    pub share: String,
}

/// What is to be done after an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// Somebody has to be told: nothing else waited for an fsync, or the reserve was used.
    SyncDue,
    /// Lines before these wait for an fsync, which brings these onto the disk as well.
    SyncAwaited,
}

/// The journal of the process that holds the lock, for all its threads.
#[derive(Debug)]
pub struct Journal {
    home: Home,
    inner: Mutex<Inner>,
    reserve: Reserve,
    /// There was none.
    is_new: bool,
    /// Whether it can be rewritten, and when that is tried again where it could not.
    rewriting: Mutex<(Alarm, Mono)>,
    guard: Guard,
}

#[derive(Debug)]
struct Inner {
    folder: Arc<Dir>,
    file: File,
    number: u64,
    /// Files before this one whose lines stand nowhere else, the oldest first: an fsync of
    /// them failed.
    older: Vec<(u64, File)>,
    /// The file system counts links: an open file without any was removed.
    counts_links: bool,
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
    fn new(folder: Arc<Dir>, file: File, number: u64, size: u64) -> Inner {
        Inner {
            folder,
            counts_links: !is_unlinked(&file),
            file,
            number,
            older: Vec::new(),
            torn: false,
            suspect: false,
            unsynced: Vec::new(),
            owed: Vec::new(),
            size,
            compact_at: COMPACT_MIN.max(4 * size),
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

    /// Writes what is owed, and then `lines`.
    fn write_in_order(&mut self, lines: &[u8]) -> io::Result<()> {
        if !self.owed.is_empty() {
            let owed = std::mem::take(&mut self.owed);
            self.write(&owed).inspect_err(|_| self.owed = owed)?;
        }
        if lines.is_empty() {
            return Ok(());
        }
        self.write(lines)
    }

    /// Goes on in another file, and gives what was before, without what is owed.
    fn replace(&mut self, new: Inner) -> Inner {
        let mut before = std::mem::replace(self, new);
        self.owed = std::mem::take(&mut before.owed);
        before
    }
}

impl Journal {
    /// Reads what is there and begins a new file with what is still live of it.
    ///
    /// # Errors
    /// Of making the folder, reading the old files, writing the new one, or removing the old
    /// ones. What is live stands on the disk whatever fails.
    pub fn open(home: Home, now: Wall) -> io::Result<(Journal, Replay)> {
        let folder = Arc::new(home.folder.make(&Rel::new(files::FOLDER))?);
        let numbers = numbers(&folder)?;
        let replay = read(&folder, &numbers)?;
        let reserve = Reserve::new(&folder)?;
        let is_new = numbers.is_empty();

        let number = numbers.last().map_or(1, |last| last + 1);
        let mut lines = journal::head(&home.share, now);
        lines.extend(replay.lines(now));
        let (file, size) = begin(&folder, number, &lines)?;
        for old in numbers {
            folder.remove(&name(old))?;
        }
        files::clean(&folder)?;

        let journal = Journal {
            home,
            inner: Mutex::new(Inner::new(folder, file, number, size)),
            reserve,
            is_new,
            rewriting: Mutex::default(),
            guard: Guard::default(),
        };
        Ok((journal, replay))
    }

    /// Hands the lines of `entries` to the kernel, as of now.
    ///
    /// # Errors
    /// Of writing them, or of beginning a file again that was removed. Then none of them counts.
    pub fn append(&self, entries: impl IntoIterator<Item = Entry>) -> io::Result<Appended> {
        self.append_lines(&encode(entries))
    }

    /// Hands whole lines to the kernel.
    ///
    /// # Errors
    /// Of writing them, or of beginning a file again that was removed. Then none of them counts.
    pub fn append_lines(&self, lines: &[u8]) -> io::Result<Appended> {
        let mut inner = self.lock_there()?;
        let first = inner.unsynced.is_empty();
        match inner.write_in_order(lines) {
            Ok(()) if first => Ok(Appended::SyncDue),
            Ok(()) => Ok(Appended::SyncAwaited),
            Err(err) if self.reserve.give_up(&inner.folder, &err) => {
                inner.write_in_order(lines).map(|()| Appended::SyncDue)
            }
            Err(err) => Err(err),
        }
    }

    /// Hands the lines of `entries` to the kernel, which must not be dropped: after an error they
    /// are written before any other line, so that their order is kept; a later
    /// [`Journal::sync`] tries as well. They are few, for while they are owed nothing else can be
    /// written, and nothing filed.
    ///
    /// # Errors
    /// Of writing them. They are owed then.
    pub fn append_or_owe(&self, entries: impl IntoIterator<Item = Entry>) -> io::Result<()> {
        self.append_lines_or_owe(&encode(entries))
    }

    /// Hands whole lines to the kernel, and owes them after an error: see
    /// [`Journal::append_or_owe`].
    ///
    /// # Errors
    /// Of writing them. They are owed then.
    pub fn append_lines_or_owe(&self, lines: &[u8]) -> io::Result<()> {
        let written = self
            .lock_there()
            .and_then(|mut inner| inner.write_in_order(lines));
        written.inspect_err(|_| self.lock().owed.extend_from_slice(lines))
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
    /// Of making the file; as long as the disk is full.
    pub fn restore_reserve(&self) -> io::Result<()> {
        let folder = Arc::clone(&self.lock().folder);
        self.reserve.restore(&folder)
    }

    /// Whether lines wait for an fsync, or to be written at all.
    pub fn is_pending(&self) -> bool {
        let inner = self.lock();
        !inner.unsynced.is_empty() || !inner.owed.is_empty()
    }

    /// Whether lines that must not be dropped could not be written: until they are, no others can be.
    pub fn owes(&self) -> bool {
        !self.lock().owed.is_empty()
    }

    /// Brings all that was appended onto the disk. Deliveries do not wait for it.
    ///
    /// # Errors
    /// Of the fsync, and of the new file that is then begun, or of writing what is owed. The next
    /// call tries again, with a new file.
    pub fn sync(&self, now: Wall) -> io::Result<()> {
        drop(self.lock_there()?);
        self.sync_lines(now)?;
        self.lock().write_in_order(&[])?;
        self.compact_if_due(now);
        Ok(())
    }

    /// Whether lines are known to be kept from the disk: more of them would only make that worse.
    pub fn is_stuck(&self) -> bool {
        let inner = self.lock();
        inner.suspect && !inner.unsynced.is_empty()
    }

    /// Makes the next [`Journal::sync`] go on in a new file, as after an fsync that failed.
    #[cfg(test)]
    pub fn fail_next_sync(&self) {
        self.lock().suspect = true;
    }

    fn sync_lines(&self, now: Wall) -> io::Result<()> {
        let (file, number, pending, suspect) = {
            let inner = self.lock();
            if inner.unsynced.is_empty() {
                return Ok(());
            }
            let file = inner.file.try_clone()?;
            (file, inner.number, inner.unsynced.len(), inner.suspect)
        };
        // Not under the lock: workers go on appending meanwhile.
        let synced = if suspect {
            Err(io::Error::other("an fsync before this failed"))
        } else {
            file.sync_data()
        };
        let mut inner = self.lock();
        if inner.number != number {
            // Another thread has begun the next file with all of it, on the disk.
            return Ok(());
        }
        match synced {
            Ok(()) => drop(inner.unsynced.drain(..pending)),
            Err(err) => {
                inner.suspect = true;
                self.move_on(&mut inner, now).map_err(|_| err)?;
            }
        }
        Ok(())
    }

    /// Begins the next file with all that is not known to be on the disk.
    fn move_on(&self, inner: &mut Inner, now: Wall) -> io::Result<()> {
        let number = inner.number + 1;
        let mut lines = journal::head(&self.home.share, now);
        lines.extend_from_slice(&inner.unsynced);
        let (file, size) = self.begin(&inner.folder, number, &lines)?;

        let folder = Arc::clone(&inner.folder);
        let before = inner.replace(Inner::new(folder, file, number, size));
        inner.compact_at = before.compact_at;
        inner.older = before.older;
        inner.older.push((before.number, before.file));
        Ok(())
    }

    /// Begins the file `number` with `lines`, if need be with the room that is set aside.
    fn begin(&self, folder: &Dir, number: u64, lines: &[u8]) -> io::Result<(File, u64)> {
        begin(folder, number, lines).or_else(|err| {
            if self.reserve.give_up(folder, &err) {
                begin(folder, number, lines)
            } else {
                Err(err)
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        crate::io::os::lock(&self.inner)
    }
}

fn encode(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let at = clock::wall();
    entries
        .into_iter()
        .flat_map(|entry| entry.line(at))
        .collect()
}

#[cfg(test)]
mod tests;
