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

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Mutex;

use crate::flow::file::Rel;
use crate::flow::record::Replay;
use crate::flow::time::Wall;
use crate::shell::folder::{DRAFT, Folder};

/// See the module.
#[derive(Debug)]
pub struct Journal {
    folder: Folder,
    inner: Mutex<Inner>,
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
    /// Bytes in the file.
    size: u64,
    /// The file is rewritten when it reaches this size.
    compact_at: u64,
}

impl Inner {
    /// A file that was begun with `size` bytes, all of them on the disk.
    fn new(file: File, number: u64, size: u64) -> Inner {
        let compact_at = COMPACT_MIN.max(4 * size);
        Inner { file, number, torn: false, suspect: false, unsynced: Vec::new(), size, compact_at }
    }
}

/// The least size at which a journal is rewritten.
const COMPACT_MIN: u64 = 4 << 20;

impl Journal {
    /// Reads what is there and begins a new file with what is still live of it.
    ///
    /// # Errors
    /// Of the calls.
    pub fn open(state: &Folder, now: Wall) -> io::Result<(Journal, Replay)> {
        let folder = state.make(&Rel::new(b"journal"))?;
        let numbers = numbers(&folder)?;
        let replay = read(&folder, &numbers)?;
        let number = numbers.last().map_or(1, |last| last + 1);
        let (file, size) = begin(&folder, number, &replay.lines(now))?;
        for old in numbers {
            folder.remove(&name(old))?;
        }
        // A former process may have been killed while it wrote one.
        for draft in state.names(&Rel::new(b"journal"))?.iter().filter(|name| name.starts_with(DRAFT.as_bytes())) {
            let _ = folder.remove(draft);
        }
        let inner = Inner::new(file, number, size);
        Ok((Journal { folder, inner: Mutex::new(inner) }, replay))
    }

    /// Hands whole lines to the kernel. True if they are the first since the last fsync.
    ///
    /// # Errors
    /// Of `write`. Then none of the lines counts.
    pub fn append(&self, lines: &[u8]) -> io::Result<bool> {
        let mut inner = self.lock();
        if inner.torn {
            inner.file.write_all(b"\n")?;
            inner.torn = false;
        }
        if let Err(err) = inner.file.write_all(lines) {
            inner.torn = true;
            return Err(err);
        }
        let first = inner.unsynced.is_empty();
        inner.unsynced.extend_from_slice(lines);
        inner.size += lines.len() as u64;
        Ok(first)
    }

    /// Whether lines wait for an fsync.
    pub fn is_pending(&self) -> bool {
        !self.lock().unsynced.is_empty()
    }

    /// Brings all that was appended onto the disk. Deliveries do not wait for it.
    ///
    /// # Errors
    /// Of the calls; the next call tries again with a new file.
    pub fn sync(&self, now: Wall) -> io::Result<()> {
        let (file, pending, compact, suspect) = {
            let inner = self.lock();
            if inner.unsynced.is_empty() {
                return Ok(());
            }
            (inner.file.try_clone()?, inner.unsynced.len(), inner.size >= inner.compact_at, inner.suspect)
        };
        // Not under the lock: workers go on appending meanwhile.
        let synced = if suspect { Err(io::Error::other("an fsync before this failed")) } else { file.sync_data() };
        match synced {
            Ok(()) => {
                self.lock().unsynced.drain(..pending);
            }
            Err(err) => {
                self.lock().suspect = true;
                self.move_on().map_err(|_| err)?;
            }
        }
        if compact { self.compact(now) } else { Ok(()) }
    }

    /// Begins the next file with all that is not known to be on the disk.
    fn move_on(&self) -> io::Result<()> {
        let mut inner = self.lock();
        let number = inner.number + 1;
        let (file, size) = begin(&self.folder, number, &inner.unsynced)?;
        let compact_at = inner.compact_at;
        *inner = Inner { compact_at, ..Inner::new(file, number, size) };
        Ok(())
    }

    /// Writes what is live into a new file and removes the old ones.
    fn compact(&self, now: Wall) -> io::Result<()> {
        // Appends wait: nothing may be written to the old file behind what is read here.
        let mut inner = self.lock();
        let numbers = numbers(&self.folder)?;
        let replay = read(&self.folder, &numbers)?;
        let number = inner.number + 1;
        let (file, size) = begin(&self.folder, number, &replay.lines(now))?;
        *inner = Inner::new(file, number, size);
        drop(inner);
        for old in numbers {
            match self.folder.remove(&name(old)) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no thread panics with it")
    }
}

fn name(number: u64) -> Vec<u8> {
    format!("{number:08}.jsonl").into_bytes()
}

/// The numbers of the files that are there, in order.
fn numbers(folder: &Folder) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = folder
        .names(&Rel::root())?
        .iter()
        .filter_map(|name| std::str::from_utf8(name).ok()?.strip_suffix(".jsonl")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn read(folder: &Folder, numbers: &[u64]) -> io::Result<Replay> {
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
fn begin(folder: &Folder, number: u64, lines: &[u8]) -> io::Result<(File, u64)> {
    folder.write_new(&name(number), lines)?;
    let begun = folder.sync().and_then(|()| folder.append(&name(number)));
    // Left there it would be in the way of the next attempt, and read as newer than it is.
    let file = begun.inspect_err(|_| drop(folder.remove(&name(number))))?;
    Ok((file, lines.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::file::Stamp;
    use crate::flow::job::Acceptance;
    use crate::flow::record::{Event, Record};
    use crate::shell::testing::TempDir;

    const NOW: Wall = Wall(1_700_000_000_000_000_000);

    fn accepted(name: &str) -> Vec<u8> {
        let acceptance = Acceptance { key: "k".into(), status: 200, marker: None };
        Record::line(
            &Rel::new(name.as_bytes()),
            Stamp { size: 1, mtime: NOW },
            NOW,
            Record::accepted(&acceptance, false),
        )
    }

    fn filed(name: &str) -> Vec<u8> {
        Record::line(&Rel::new(name.as_bytes()), Stamp { size: 1, mtime: NOW }, NOW, Event::Filed)
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart_and_old_files_are_gone() {
        let dir = TempDir::new();
        let state = Folder::at(dir.path()).unwrap();
        for round in 0..4 {
            let (journal, replay) = Journal::open(&state, NOW).unwrap();
            assert_eq!(replay.live.len(), round);
            journal.append(&accepted(&format!("f{round}"))).unwrap();
            journal.append(&accepted("gone")).unwrap();
            journal.append(&filed("gone")).unwrap();
            journal.sync(NOW).unwrap();
        }
        assert_eq!(std::fs::read_dir(dir.path().join("journal")).unwrap().count(), 1);
    }

    #[test]
    fn a_former_holder_that_writes_late_spoils_nothing() {
        let dir = TempDir::new();
        let state = Folder::at(dir.path()).unwrap();
        let (former, _) = Journal::open(&state, NOW).unwrap();
        let (journal, _) = Journal::open(&state, NOW).unwrap();
        journal.append(&accepted("a")).unwrap();
        former.append(&accepted("late")).unwrap();
        let (_, replay) = Journal::open(&state, NOW).unwrap();
        assert!(replay.live.contains_key(&Rel::new(b"a")));
    }

    #[test]
    fn a_journal_that_grows_is_rewritten_to_what_is_live() {
        let dir = TempDir::new();
        let state = Folder::at(dir.path()).unwrap();
        let (journal, _) = Journal::open(&state, NOW).unwrap();
        journal.append(&accepted("live")).unwrap();
        let mut size = 0;
        while size < COMPACT_MIN as usize {
            let lines = [accepted("x"), filed("x")].concat();
            size += lines.len();
            journal.append(&lines).unwrap();
        }
        journal.sync(NOW).unwrap();
        assert!(journal.lock().size < 1_000);
        assert_eq!(std::fs::read_dir(dir.path().join("journal")).unwrap().count(), 1);
        journal.append(&accepted("after")).unwrap();
        let (_, replay) = Journal::open(&state, NOW).unwrap();
        assert_eq!(replay.live.len(), 2);
    }
}
