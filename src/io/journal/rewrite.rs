//! A journal that has grown is rewritten to what is live of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::flow::journal;
use crate::flow::time::Wall;
use crate::io::dir::{Dir, FileId, Renamed, draft_name};
use crate::io::os::clock;
use crate::io::os::error::explain;
use crate::io::os::lock;

use super::files::{begun, name, numbers, read};
use super::{Inner, Journal};

/// The least size, in bytes, at which a journal is rewritten.
pub(super) const COMPACT_MIN: u64 = 4 << 20;
/// A rewriting that failed is tried again after that.
const COMPACT_AGAIN: Duration = Duration::from_secs(60);

/// The file that is rewritten, as it was when that began.
struct Old {
    folder: Arc<Dir>,
    number: u64,
    file: File,
    /// What it holds up to here is in the new one.
    end: u64,
}

impl Journal {
    /// The lines are on the disk whether this succeeds or not: it is no error of theirs.
    pub(super) fn compact_if_due(&self, now: Wall) {
        let at = clock::now().mono;
        let mut rewriting = lock(&self.rewriting);
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
    ///
    /// # Errors
    /// Of reading the old files or writing the new one. Then the old ones go on.
    pub(super) fn compact(&self, now: Wall) -> io::Result<()> {
        let (folder, number, held, end) = {
            let inner = self.lock();
            let end = inner.file.metadata()?.len();
            let held = FileId::of(&inner.file)?;
            (Arc::clone(&inner.folder), inner.number, held, end)
        };
        let mut numbers = numbers(&folder)?;
        // A file with a higher number is another holder's.
        numbers.retain(|&old| old < number);

        // Not under the lock: this takes as long as the journal is large.
        let mut replay = read(&folder, &numbers)?;
        let mut file = folder.file(&name(number))?;
        if FileId::of(&file)? != held {
            return Err(io::Error::other("another file has its name"));
        }
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(end).read_to_end(&mut bytes)?;
        replay.add(&bytes);
        drop(bytes);

        let mut lines = journal::head(&self.home.share, now);
        lines.extend(replay.lines(now));
        let old = Old {
            folder: Arc::clone(&folder),
            number,
            file,
            end,
        };
        self.replace_by(&lines, old)?;
        numbers.push(number);
        for old in numbers {
            // One that stays says nothing that the new one does not say after it.
            let _ = folder.remove(&name(old));
        }
        Ok(())
    }

    /// Goes on in a new file with `lines`, which is what `old` adds up to.
    fn replace_by(&self, lines: &[u8], old: Old) -> io::Result<()> {
        let folder = Arc::clone(&old.folder);
        let draft = draft_name();
        let mut file = folder.create(&draft)?;
        let replaced = file
            .write_all(lines)
            .and_then(|()| file.sync_all())
            .and_then(|()| self.switch(file, &draft, lines.len() as u64, old));
        replaced.inspect_err(|_| drop(folder.remove(&draft)))
    }

    /// Takes over what was appended to `old` meanwhile, while nothing more can be.
    fn switch(&self, mut new: File, draft: &[u8], size: u64, mut old: Old) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.number != old.number {
            return Err(io::Error::other("another file was begun meanwhile"));
        }
        let mut since = Vec::new();
        old.file.seek(SeekFrom::Start(old.end))?;
        old.file.read_to_end(&mut since)?;
        if !since.is_empty() {
            new.write_all(&since)?;
            new.sync_all()?;
        }

        let number = old.number + 1;
        match old.folder.rename(draft, &old.folder, &name(number), true)? {
            Renamed::Done => {}
            Renamed::Taken | Renamed::CrossesDevices => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
        }
        let file = begun(&old.folder, number)?;
        let size = size + since.len() as u64;
        let before = inner.replace(Inner::new(old.folder, file, number, size));
        inner.torn = before.torn;
        Ok(())
    }
}
