//! A journal that somebody removes under the running process, in part or as a whole.
//!
//! It is noticed at once where an open file shows that it has lost its name, else by
//! [`Journal::look_after`]. What is live is read through the handles that are still held, and
//! written into a new file before any other line.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, MutexGuard, OnceLock};

use crate::flow::file::Rel;
use crate::flow::journal::Head;
use crate::flow::time::Wall;
use crate::io::dir::{Dir, FileId, is_unlinked};
use crate::io::os::error::explain;

use super::files::{self, is_there, name, numbers};
use super::lines::each_line;
use super::reserve;
use super::rewrite::write_live;
use super::{Inner, Journal};

/// What sees, through fresh opens, that the lock is still this process's and the state folder the
/// very one that is held, and then calls [`Journal::look_after`].
type Look = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

/// Asked before a journal that was removed is begun again outside of such a look.
#[derive(Default)]
pub(super) struct Guard(OnceLock<Look>);

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard")
            .field(&self.0.get().is_some())
            .finish()
    }
}

impl Inner {
    /// Whether the file that lines are written to has lost its name. Of the older ones there may be
    /// many, and this is asked before each line: for these [`Journal::look_after`] has to do.
    fn is_unlinked(&self) -> bool {
        if !self.counts_links {
            return false;
        }
        is_unlinked(&self.file)
    }

    /// The files that hold live lines.
    pub(super) fn held(&self) -> io::Result<Held> {
        let older = self.older.iter().map(|(number, file)| (*number, file));
        let files = older.chain(std::iter::once((self.number, &self.file)));
        Ok(Held {
            folder: Arc::clone(&self.folder),
            number: self.number,
            files: files
                .map(|(number, file)| Ok((number, FileId::of(file)?)))
                .collect::<io::Result<_>>()?,
        })
    }
}

/// The files that held live lines at some moment.
#[derive(Debug)]
pub(super) struct Held {
    folder: Arc<Dir>,
    /// That of the present one.
    number: u64,
    files: Vec<(u64, Option<FileId>)>,
}

impl Held {
    /// Whether all of them are in the state folder `state`, which was just opened by its path.
    ///
    /// # Errors
    /// Of opening them, unless that says that they are not there.
    pub(super) fn are_in(&self, state: &Dir) -> io::Result<bool> {
        let fresh = match state.folder(&Rel::new(files::FOLDER)) {
            Ok(fresh) if self.folder.is_still(&fresh) => fresh,
            Ok(_) => return Ok(false),
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(err) => return Err(err),
        };
        for (number, held) in &self.files {
            if !is_there(&fresh, *number, *held)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Journal {
    /// From now on `look` is called when a file turns out to be removed. It is to see that the lock
    /// is this process's, and to call [`Journal::look_after`].
    pub fn guard_by(&self, look: impl Fn() -> io::Result<()> + Send + Sync + 'static) {
        // Only the first one counts: there is one share to a journal.
        let _ = self.guard.0.set(Box::new(look));
    }

    /// Sees that the files and the reserve are in the state folder `state`, which was just opened
    /// by its path and is the one that is held; begins again what somebody has removed. To
    /// be called only with the lock seen to be this process's.
    ///
    /// # Errors
    /// Of looking, reading or writing. What is live is then still held, and the next look tries
    /// again.
    pub fn look_after(&self, state: &Dir, now: Wall) -> io::Result<()> {
        let held = self.lock().held()?;
        // Not under the lock: on a share that hangs this takes as long as it likes.
        if !held.are_in(state)? {
            self.begin_again_after(&held, now)?;
        }
        self.look_after_reserve()
    }

    /// Begins the next file, unless another thread, or a rewriting, has done so since `held` was the
    /// present one.
    pub(super) fn begin_again_after(&self, held: &Held, now: Wall) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.number == held.number {
            self.begin_again(&mut inner, now)?;
        }
        Ok(())
    }

    /// Sets the mtimes of the files to the present, so that a clean-up by age leaves them.
    pub fn touch(&self) {
        let (folder, number) = {
            let inner = self.lock();
            (Arc::clone(&inner.folder), inner.number)
        };
        for name in [reserve::NAME.to_vec(), name(number)] {
            if let Err(err) = folder.touch(&name)
                && err.kind() != io::ErrorKind::NotFound
            {
                log::debug!(target: "dirpost", "journal: a file cannot be touched: {}", explain(&err));
            }
        }
    }

    /// The lock on a journal whose files are there, as far as their handles tell.
    ///
    /// # Errors
    /// Of beginning it again.
    pub(super) fn lock_there(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.lock();
        if !inner.is_unlinked() {
            return Ok(inner);
        }
        // The look comes back to this journal.
        drop(inner);
        match self.guard.0.get() {
            Some(look) => look()?,
            None => return Err(io::Error::other("its file was removed")),
        }
        Ok(self.lock())
    }

    /// Begins the next file with all that is live.
    fn begin_again(&self, inner: &mut Inner, now: Wall) -> io::Result<()> {
        let older = inner.older.iter().map(|(_, file)| file);
        let (mut files, mut is_lost) = (Vec::new(), false);
        for file in older.chain(std::iter::once(&inner.file)) {
            match each_line(file, u64::MAX, |_| Ok(())) {
                Ok(_) => files.push((file, u64::MAX)),
                // NFSv3 knows no open files: what another client removes is gone.
                Err(err) if err.kind() == io::ErrorKind::StaleNetworkFileHandle => is_lost = true,
                Err(err) => return Err(err),
            }
        }

        let folder = Arc::new(self.home.folder.make(&Rel::new(files::FOLDER))?);
        let there = numbers(&folder)?;
        let number = inner.number.max(there.last().copied().unwrap_or(0)) + 1;
        let head = Head::new(&self.home.share, now).replacing(1, inner.number);
        let (file, size, live) = self.begin(&folder, number, |to| {
            to.write_all(&head.line())?;
            let live = write_live(&files, to, || Ok(()))?;
            if is_lost {
                to.write_all(&inner.unsynced)?;
            }
            Ok(live)
        })?;
        drop(files);
        for old in there.into_iter().filter(|&old| old <= inner.number) {
            // One that stays does not count: the new one says that it replaces it.
            let _ = folder.remove(&name(old));
        }
        inner.replace(Inner::new(folder, file, number, size));

        let path = self.home.path.join("journal");
        let path = path.display();
        if is_lost {
            log::error!(
                target: "dirpost",
                "journal: somebody has removed it from {path} on the file server, and it cannot be read any more: begun \
                 again with what is in flight. What was accepted before and stays in the folder is sent again after the \
                 next start, under the same key"
            );
        } else {
            log::warn!(
                target: "dirpost",
                "journal: somebody has removed files from {path}: begun again with all that is still of interest \
                 ({live} lines); nothing is lost"
            );
        }
        Ok(())
    }

    fn look_after_reserve(&self) -> io::Result<()> {
        let folder = Arc::clone(&self.lock().folder);
        if !self.reserve.is_gone(&folder) {
            return Ok(());
        }
        self.reserve.restore(&folder)?;
        log::warn!(
            target: "dirpost",
            "journal: somebody has removed {}: room for the lines of what is in flight is set aside again",
            self.home.path.join("journal/reserve").display()
        );
        Ok(())
    }
}
