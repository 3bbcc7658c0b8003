//! The journal on the disk: numbered files of lines in `journal/` in the state folder.
//!
//! Invariants:
//! - Each process that holds the lock writes a file of its own, numbered above all others,
//!   so that a late write of a former holder is never in the middle of another's lines.
//! - The first line of each file names the share.
//! - An older file is removed only after what is live of it stands in a newer one that is on the
//!   disk, and which says so: whichever of the older ones a power cut brings back does not count.
//! - It is read and written line by line: what it costs in memory is a few bytes for each file that
//!   stays ([`crate::flow::journal::AtRest`]), whatever its size.
//! - A line is handed to the kernel at once ([`Journal::append`]) and brought onto the disk
//!   in groups ([`Journal::sync`]). Lines whose fsync failed are written again into a new
//!   file: a second fsync of the same one would lie.
//! - A line that could be written in part only is closed by a newline before the next one,
//!   so that it spoils no other.
//! - A full disk stops deliveries before it can cause repeats: room for the lines of what is in
//!   flight is set aside (`journal/reserve`), and nothing is sent while it is not there.
//! - A start begins a file and leaves the older ones as they are, but for small ones, whose lines it
//!   takes over: else a run every minute would leave as many. Where all are small together, it
//!   takes over what is live.
//! - A journal in which lines that are outdated outweigh the others is rewritten in the background.
//!   What that costs is in `docs/journal.md`; lines are appended meanwhile. Where it fails, the
//!   journal is only longer than it needs to be.
//! - A file that somebody removes under the running process is begun again with all that is live,
//!   read through the handle that is still held. Only the holder of the lock may do so: the next
//!   holder removes the files of the one before it, which must not bring them back.

mod files;
mod history;
mod lines;
pub mod parting;
mod removed;
mod reserve;
mod rewrite;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use self::files::{OldFile, begin, name, open_all, read};
pub use self::history::history_of;
use self::lines::each_line;
use self::removed::Guard;
use self::reserve::Reserve;
use self::rewrite::{COMPACT_MIN, FILES_MAX, Rewriting, write_live};
use crate::flow::file::Rel;
use crate::flow::journal::{Entry, Head, LINE, Replay};
use crate::flow::time::Wall;
use crate::io::dir::{Dir, is_unlinked};
use crate::io::os::clock;
use crate::io::os::error::explain;

pub use self::files::share_of;
pub use self::reserve::try_room;

/// Upper bound on the bytes of older files that a start copies into its own.
const TAKEN_OVER_MAX: u64 = 1 << 20;
/// What stands in for the newest file once that is handed over: nothing can be written through it.
const NOTHING: &str = if cfg!(windows) { "NUL" } else { "/dev/null" };

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
    rewriting: Rewriting,
    guard: Guard,
}

#[derive(Debug)]
struct Inner {
    folder: Arc<Dir>,
    file: File,
    number: u64,
    /// Files before this one whose lines stand nowhere else, the oldest first. They are held open, so
    /// that who removes them takes nothing away.
    older: Vec<(u64, File)>,
    /// Bytes in those.
    older_size: u64,
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
    /// About so many bytes of all files are lines that are not outdated, as far as their kinds tell.
    live_size: u64,
    /// All is rewritten when there are so many bytes, whatever the kinds of the lines tell: a new
    /// version of a file that stays outdates the line of the one before.
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
            older_size: 0,
            torn: false,
            suspect: false,
            unsynced: Vec::new(),
            owed: Vec::new(),
            size,
            live_size: size,
            compact_at: COMPACT_MIN.max(4 * size),
        }
    }

    /// Whether it is to be rewritten.
    fn is_grown(&self) -> bool {
        let size = self.older_size + self.size;
        let outdated = size.saturating_sub(self.live_size);
        size >= self.compact_at
            || outdated >= self.live_size.max(COMPACT_MIN)
            || self.older.len() >= FILES_MAX
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
    /// What is in its way, for a person: where it lies, and the error.
    pub fn fault(&self, err: &io::Error) -> String {
        let path = self.home.path.join("journal");
        format!("{}: {}", path.display(), explain(err))
    }

    /// Reads what is there and begins a file of its own.
    ///
    /// # Errors
    /// Of making the folder, reading the old files, writing the new one, or removing those whose
    /// lines stand in it. What is live stands on the disk whatever fails.
    pub fn open(home: Home, now: Wall) -> io::Result<(Journal, Replay)> {
        let folder = Arc::new(home.folder.make(&Rel::new(files::FOLDER))?);
        let (mut old, mut over) = open_all(&folder)?;
        let replay = read(&mut old)?;
        let reserve = Reserve::new(&folder)?;
        let is_new = old.is_empty() && over.is_empty();

        let last = old.last().map(|file| file.number).max(over.last().copied());
        let small = old.split_off(first_small(&old));
        let head = Head::new(&home.share, now);
        let head = match (small.first(), small.last()) {
            (Some(first), Some(last)) => head.replacing(first.first(), last.number),
            _ => head,
        };
        let number = last.map_or(1, |last| last + 1);
        let (file, size, ()) = begin(&folder, number, |to| {
            to.write_all(&head.line())?;
            if old.is_empty() {
                // Nothing stands before them that an outdated line would have to outdate.
                let all: Vec<_> = small.iter().map(|old| (&old.file, u64::MAX)).collect();
                return write_live(&all, to, || Ok(())).map(drop);
            }
            small.iter().try_for_each(|file| take_over(file, to))
        })?;
        over.extend(small.iter().map(|file| file.number));
        drop(small);
        for number in over {
            folder.remove(&name(number))?;
        }
        files::clean(&folder)?;

        let mut inner = Inner::new(folder, file, number, size);
        inner.older_size = old.iter().map(|file| file.size).sum();
        let all = inner.older_size + size;
        let live = replay.lines_live().min(replay.lines_read());
        let live = u128::from(all) * u128::from(live) / u128::from(replay.lines_read().max(1));
        inner.live_size = u64::try_from(live).unwrap_or(all);
        inner.compact_at = COMPACT_MIN.max(4 * inner.live_size);
        inner.older = old.into_iter().map(|old| (old.number, old.file)).collect();
        let journal = Journal {
            home,
            inner: Mutex::new(inner),
            reserve,
            is_new,
            rewriting: Rewriting::default(),
            guard: Guard::default(),
        };
        Ok((journal, replay))
    }

    /// Hands the lines of `entries` to the kernel, as of now.
    ///
    /// # Errors
    /// Of writing them, or of beginning a file again that was removed. Then none of them counts.
    pub fn append(&self, entries: &[Entry]) -> io::Result<Appended> {
        let lines = encode(entries);
        let appended = self.append_lines(&lines.bytes)?;
        self.lock().live_size += lines.lasting;
        Ok(appended)
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
    pub fn append_or_owe(&self, entries: &[Entry]) -> io::Result<()> {
        self.append_lines_or_owe(&encode(entries).bytes)
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
        self.lock().write_in_order(&[])
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
        let head = Head::new(&self.home.share, now);
        let (file, size, ()) = self.begin(&inner.folder, number, |to| {
            to.write_all(&head.line())?;
            to.write_all(&inner.unsynced)
        })?;

        let folder = Arc::clone(&inner.folder);
        let before = inner.replace(Inner::new(folder, file, number, size));
        (inner.compact_at, inner.live_size) = (before.compact_at, before.live_size);
        inner.older = before.older;
        inner.older.push((before.number, before.file));
        inner.older_size = before.older_size + before.size;
        Ok(())
    }

    /// Begins the file `number` with the lines that `fill` writes, if need be with the room that is
    /// set aside.
    fn begin<T>(
        &self,
        folder: &Dir,
        number: u64,
        fill: impl Fn(&mut BufWriter<&File>) -> io::Result<T>,
    ) -> io::Result<(File, u64, T)> {
        begin(folder, number, &fill).or_else(|err| {
            if self.reserve.give_up(folder, &err) {
                begin(folder, number, &fill)
            } else {
                Err(err)
            }
        })
    }

    /// The files that are held open, to be closed: at the end of the process, after which nothing can be
    /// written or read any more. None where an operation on them hangs.
    pub fn hand_over(&self) -> Vec<File> {
        let (Ok(mut inner), Ok(nothing)) = (self.inner.try_lock(), File::open(NOTHING)) else {
            return Vec::new();
        };
        let newest = std::mem::replace(&mut inner.file, nothing);
        let older = std::mem::take(&mut inner.older).into_iter();
        older.map(|(_, file)| file).chain([newest]).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        crate::io::os::lock(&self.inner)
    }
}

/// Lines, and how many bytes of them are of those that last.
struct Lines {
    bytes: Vec<u8>,
    lasting: u64,
}

fn encode(entries: &[Entry]) -> Lines {
    let at = clock::wall().rfc3339_millis();
    let (mut bytes, mut lasting) = (Vec::with_capacity(LINE * entries.len()), 0);
    for entry in entries {
        let before = bytes.len();
        entry.write(&at, &mut bytes);
        if entry.event.is_lasting() {
            lasting += (bytes.len() - before) as u64;
        }
    }
    Lines { bytes, lasting }
}

/// Where those at the end of `files` begin that are small enough to be taken over.
fn first_small(files: &[OldFile]) -> usize {
    let mut size = 0;
    let small = files.iter().rev().take_while(|file| {
        size += file.size;
        size <= TAKEN_OVER_MAX
    });
    files.len() - small.count()
}

/// Writes the lines of `file` as they stand, but for the first one, which names the share.
fn take_over(file: &OldFile, to: &mut impl Write) -> io::Result<()> {
    let mut is_first = true;
    each_line(&file.file, u64::MAX, |line| {
        let is_head = std::mem::take(&mut is_first) && Head::read(line).is_some();
        if is_head { Ok(()) } else { to.write_all(line) }
    })
    .map(drop)
}

#[cfg(test)]
mod tests;
