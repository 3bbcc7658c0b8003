//! A journal is rewritten to what is still of interest, in the background.
//!
//! The lines of all files are read one after the other, more than once, and those that are still of
//! interest are copied into a draft, while lines are appended to the newest file as before. Then
//! what was appended meanwhile is copied, the draft is brought onto the disk and gets the next
//! number, and only then are the old files removed. The first line of the new file names the
//! numbers that it replaces. So a kill or a power cut at any moment leaves either the old
//! files, or the new one with any of the old ones, which then do not count.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::flow::alarm::Alarm;
use crate::flow::journal::rewrite::{LineSet, Part};
use crate::flow::journal::{Head, Replay};
use crate::flow::time::{Mono, Wall};
use crate::io::dir::{Dir, FileId, draft_name};
use crate::io::os::clock;
use crate::io::os::error::explain;
use crate::io::os::lock;

use super::files::{OldFile, begun, filled, name, open_all};
use super::lines::{copy, each_line};
use super::{Inner, Journal};

/// Bytes of lines that are outdated: with fewer a journal is not rewritten.
pub(super) const COMPACT_MIN: u64 = 4 << 20;
/// Upper bound on the files of a journal: each start begins one, and each is held open.
pub(super) const FILES_MAX: usize = 64;
/// A rewriting that failed is tried again after that.
const COMPACT_AGAIN: Duration = Duration::from_secs(60);
/// Bytes of a journal for each reading: about 15 MB of memory for the files in it that stay.
const PART: u64 = 64 << 20;
/// What was appended during the rewriting is copied before the lock is taken until no more than so
/// many bytes are left: what is accepted waits for the rest.
const TAIL: u64 = 64 << 10;

/// The rewriting in the background.
#[derive(Debug, Default)]
pub(super) struct Rewriting {
    is_running: Mutex<bool>,
    is_over: Condvar,
    /// Nobody needs it any more.
    is_stopped: AtomicBool,
    /// Whether it fails, and when it is tried again then.
    pub trouble: Mutex<(Alarm, Mono)>,
    #[cfg(test)]
    pub at_step: Mutex<Option<super::tests::Step>>,
}

/// What is rewritten.
struct Old {
    folder: Arc<Dir>,
    /// All files, the newest last.
    files: Vec<OldFile>,
    /// Files whose lines stand in one of those, and which could not be removed yet.
    replaced: Vec<u64>,
    /// What the newest one holds up to here is in the draft.
    end: u64,
}

impl Old {
    fn newest(&self) -> &OldFile {
        self.files.last().expect("there is one")
    }
}

impl Journal {
    /// Whether lines that are outdated outweigh the others, or the files have become many.
    pub fn is_rewriting_due(&self) -> bool {
        let is_grown = self.lock().is_grown();
        is_grown && {
            let trouble = lock(&self.rewriting.trouble);
            !trouble.0.is_raised() || clock::now().mono >= trouble.1
        }
    }

    /// Rewrites it by a thread that `spawn` starts, if that is due and not under way.
    pub fn rewrite_in_background(
        self: &Arc<Self>,
        spawn: impl FnOnce(Box<dyn FnOnce() + Send>) -> Result<(), String>,
    ) {
        if !self.is_rewriting_due()
            || std::mem::replace(&mut *lock(&self.rewriting.is_running), true)
        {
            return;
        }
        let journal = Arc::clone(self);
        let started = spawn(Box::new(move || {
            journal.rewrite_if_due(clock::wall());
            journal.rewriting_is_over();
        }));
        if let Err(why) = started {
            self.say_of_rewriting(Err(&why));
            self.rewriting_is_over();
        }
    }

    fn rewriting_is_over(&self) {
        *lock(&self.rewriting.is_running) = false;
        self.rewriting.is_over.notify_all();
    }

    /// Waits for a rewriting that is under way: the process would end, and each one after it might
    /// begin the same work again.
    pub fn wait_rewritten(&self, bound: Duration) {
        let running = lock(&self.rewriting.is_running);
        let waited =
            (self.rewriting.is_over).wait_timeout_while(running, bound, |running| *running);
        // What is rewritten later is no less right.
        drop(waited);
    }

    /// A rewriting that is under way is given up, and none begins any more: the folder is let go.
    pub fn stop_rewriting(&self) {
        self.rewriting.is_stopped.store(true, Ordering::Relaxed);
    }

    /// The lines are on the disk whether this succeeds or not: it is no error of theirs.
    pub(super) fn rewrite_if_due(&self, now: Wall) {
        if !self.is_rewriting_due() || self.rewriting.is_stopped.load(Ordering::Relaxed) {
            return;
        }
        match self.rewrite(now) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => self.say_of_rewriting(Err(&explain(&err))),
            Ok(()) => self.say_of_rewriting(Ok(())),
        }
    }

    fn say_of_rewriting(&self, rewritten: Result<(), &str>) {
        let at = clock::now().mono;
        let mut trouble = lock(&self.rewriting.trouble);
        let (alarm, again) = &mut *trouble;
        match rewritten {
            Ok(()) => {
                if alarm.clear(at).is_some() {
                    log::info!(target: "dirpost", "journal: it has been rewritten without what is filed");
                }
            }
            Err(why) => {
                *again = at + COMPACT_AGAIN;
                if alarm.raise(why, at).is_some() {
                    log::warn!(
                        target: "dirpost",
                        "journal: rewriting it without what is filed failed: {why}; nothing is lost, it grows until \
                         that succeeds (tried again every minute)"
                    );
                }
            }
        }
    }

    /// Writes what is still of interest into a new file and removes the old ones.
    ///
    /// # Errors
    /// Of reading the old files or writing the new one; `Interrupted` if it was given up. Then the
    /// old ones go on. Room that is set aside is not used for it.
    pub(super) fn rewrite(&self, now: Wall) -> io::Result<()> {
        let old = self.to_rewrite()?;
        let (folder, draft) = (Arc::clone(&old.folder), draft_name());
        let rewritten = self.rewrite_to(&draft, old, now);
        rewritten.inspect_err(|_| drop(folder.remove(&draft)))
    }

    fn to_rewrite(&self) -> io::Result<Old> {
        let (folder, number, held, end) = {
            let inner = self.lock();
            let end = inner.file.metadata()?.len();
            let held = FileId::of(&inner.file)?;
            (Arc::clone(&inner.folder), inner.number, held, end)
        };
        // Not under the lock: this, and all that is read, takes as long as the share likes.
        let (mut files, replaced) = open_all(&folder)?;
        // A file with a higher number is another holder's.
        files.retain(|file| file.number <= number);
        match files.last() {
            Some(newest) if newest.number == number && FileId::of(&newest.file)? == held => {}
            _ => return Err(io::Error::other("another file has its name")),
        }
        Ok(Old {
            folder,
            files,
            replaced,
            end,
        })
    }

    fn rewrite_to(&self, draft: &[u8], mut old: Old, now: Wall) -> io::Result<()> {
        let new = old.folder.create(draft)?;
        self.step("the draft is made");
        let head = Head::new(&self.home.share, now).replacing(1, old.newest().number);
        filled(&new, |to| {
            to.write_all(&head.line())?;
            let newest = old.newest().number;
            let sources = old.files.iter().map(|file| {
                let end = if file.number == newest {
                    old.end
                } else {
                    u64::MAX
                };
                (&file.file, end)
            });
            let sources: Vec<_> = sources.collect();
            write_live(&sources, to, || {
                if self.rewriting.is_stopped.load(Ordering::Relaxed) {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                Ok(())
            })
        })?;
        self.step("the draft is written");
        self.catch_up(&new, &mut old)?;
        let (folder, files, replaced) = self.switch(&new, draft, old)?;
        for number in replaced.into_iter().chain(files) {
            // One that stays does not count: the new one says that it replaces it.
            let _ = folder.remove(&name(number));
            self.step("an old file is removed");
        }
        Ok(())
    }

    /// Copies most of what was appended meanwhile, so that little is left to be copied while nothing
    /// can be appended.
    fn catch_up(&self, new: &File, old: &mut Old) -> io::Result<()> {
        /// Each copy takes less time than the one before, unless the disk is slower than what is
        /// accepted.
        const COPIES: u32 = 4;
        for _ in 0..COPIES {
            let end = self.lock().file.metadata()?.len();
            if end.saturating_sub(old.end) <= TAIL {
                break;
            }
            filled(new, |to| copy(&old.newest().file, old.end, end, to))?;
            old.end = end;
            self.step("lines of the meantime are copied");
        }
        Ok(())
    }

    /// Takes over what is left of what was appended meanwhile, while nothing more can be; from then
    /// on lines go to the new file. Gives what is to be removed.
    fn switch(
        &self,
        new: &File,
        draft: &[u8],
        old: Old,
    ) -> io::Result<(Arc<Dir>, Vec<u64>, Vec<u64>)> {
        let mut inner = self.lock();
        let number = old.newest().number;
        if inner.number != number {
            return Err(io::Error::other("another file was begun meanwhile"));
        }
        if inner.file.metadata()?.len() > old.end {
            filled(new, |to| copy(&old.newest().file, old.end, u64::MAX, to))?;
        }
        self.step("the last lines are copied");
        old.folder.place(draft, new, &name(number + 1))?;
        self.step("it has its name");
        let file = begun(&old.folder, number + 1)?;
        self.step("its name is on the disk");
        let size = file.metadata()?.len();
        let new = Inner::new(Arc::clone(&old.folder), file, number + 1, size);
        let before = inner.replace(new);
        inner.torn = before.torn;
        let files = old.files.iter().map(|file| file.number).collect();
        Ok((old.folder, files, old.replaced))
    }

    #[cfg(not(test))]
    #[expect(
        clippy::unused_self,
        reason = "the tests look at the folder between any two operations"
    )]
    fn step(&self, _: &str) {}

    #[cfg(test)]
    fn step(&self, done: &str) {
        if let Some(step) = &mut *lock(&self.rewriting.at_step) {
            (step.0)(done);
        }
    }
}

/// Writes the lines of `files`, each up to its end, that are still of interest. `go_on` is asked
/// before each line is read. Gives how many they are.
///
/// # Errors
/// Of reading and writing, and of `go_on`.
pub(super) fn write_live(
    files: &[(&File, u64)],
    to: &mut impl Write,
    go_on: impl Fn() -> io::Result<()>,
) -> io::Result<u64> {
    let mut bytes = 0;
    for (file, end) in files {
        bytes += file.metadata()?.len().min(*end);
    }
    let mut live = LineSet::default();
    for part in Part::all(1 + bytes / PART) {
        let mut replay = Replay::of(part);
        for (file, end) in files {
            each_line(file, *end, |line| {
                go_on()?;
                replay.line(line.strip_suffix(b"\n").unwrap_or(line));
                Ok(())
            })?;
        }
        replay.mark_live(&mut live);
    }
    let mut number = 0;
    for (file, end) in files {
        each_line(file, *end, |line| {
            go_on()?;
            if live.has(number) {
                to.write_all(line)?;
            }
            number += 1;
            Ok(())
        })?;
    }
    Ok(live.len())
}
