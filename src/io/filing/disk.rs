//! The real file system and journal, one operation at a time.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::copy::{At, copy, digest, write_beside};
use super::{Filer, Ledger, OpenDirs, Roots};
use crate::flow::file::{Entry, FsKind, Look};
use crate::flow::filing::disk::{Copied, Disk, Line};
use crate::flow::filing::{Area, Fault, FaultKind, Kept, Place};
use crate::flow::scan::filter::OWN_FOLDER;
use crate::io::dir::{DRAFT, Dir, file_look, link_is_unsupported, name_of, rename_is_unsupported};
use crate::io::journal::Journal;
use crate::io::os::clock::wall;
use crate::io::os::error::explain;
use crate::io::share::Share;

/// What a batch is carried out on, as one thread has it.
pub(super) struct RealDisk<'a> {
    share: &'a Share,
    journal: &'a Journal,
    roots: &'a Roots,
    dirs: &'a OpenDirs,
    /// Of the thread that owns the batch.
    ledger: Option<&'a mut Ledger>,
    /// What is to be written into that.
    kept: Vec<Kept>,
    /// When the last operation of this thread began: after one that took long, another process may hold the
    /// lock.
    began: Instant,
}

/// What an error of an operation says beyond what all of them share.
type Special = fn(&io::Error) -> Option<FaultKind>;

impl<'a> RealDisk<'a> {
    fn journal_fault(&self, err: &io::Error) -> Fault {
        Fault::new(FaultKind::Journal, self.journal.fault(err))
    }

    pub fn new(filer: &'a mut Filer) -> RealDisk<'a> {
        RealDisk {
            share: &filer.share,
            journal: &filer.journal,
            roots: &filer.roots,
            dirs: &filer.dirs,
            ledger: filer.ledger.as_mut(),
            kept: Vec::new(),
            began: Instant::now(),
        }
    }

    /// One write for all files of a batch.
    fn write_kept(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        let (Some(ledger), Some(first)) = (&mut self.ledger, kept.first()) else {
            return;
        };
        if let Err(err) = ledger.note(&kept, wall()) {
            log::warn!(
                target: "dirpost",
                "{}: it cannot be written down that it was put there ({}): delivered.keep_for does not \
                 remove it, nor {} others",
                first.place,
                explain(&err),
                kept.len() - 1
            );
        }
    }

    /// The same disk, for another thread.
    pub fn another(&self) -> RealDisk<'a> {
        RealDisk {
            ledger: None,
            kept: Vec::new(),
            ..*self
        }
    }

    /// Whether the watched folder is not known to lie on a disk of this machine.
    pub fn is_share(&self) -> bool {
        self.share.folder().kind() == FsKind::Share
    }

    /// Before anything is changed: the lock is still ours.
    fn confirm(&mut self) -> Result<(), Fault> {
        let before = std::mem::replace(&mut self.began, Instant::now());
        self.share
            .confirm_after(before)
            .map_err(|err| Fault::new(FaultKind::Stopped, err.to_string()))
    }

    fn open(&mut self, folder: &Place) -> io::Result<Arc<Dir>> {
        self.dirs.open(folder, self.roots, self.share)
    }

    /// Does `body` with the folder of `place` and its name there.
    fn at<T>(
        &mut self,
        doing: &str,
        place: &Place,
        body: impl FnOnce(&Dir, &[u8]) -> io::Result<T>,
    ) -> Result<T, Fault> {
        let result = self
            .open(&place.folder())
            .and_then(|dir| body(&dir, place.path.name()));
        result.map_err(|err| self.fault(doing, place, &err, |_| None))
    }

    /// Does `body` with the folders and names of both places.
    fn between(
        &mut self,
        doing: &str,
        (from, to): (&Place, &Place),
        special: Special,
        body: impl FnOnce(&At, &At) -> io::Result<()>,
    ) -> Result<(), Fault> {
        self.confirm()?;
        let target = self.open(&to.folder());
        let target = target.map_err(|err| self.fault(doing, to, &err, |_| None))?;
        let result = self.open(&from.folder()).and_then(|source| {
            let from = At {
                dir: &source,
                name: from.path.name(),
            };
            body(
                &from,
                &At {
                    dir: &target,
                    name: to.path.name(),
                },
            )
        });
        result.map_err(|err| self.fault(doing, to, &err, special))
    }

    fn fault(&mut self, doing: &str, place: &Place, err: &io::Error, special: Special) -> Fault {
        let kind = special(err).unwrap_or(match err.kind() {
            io::ErrorKind::AlreadyExists => FaultKind::Exists,
            io::ErrorKind::CrossesDevices => FaultKind::CrossesDevices,
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::ResourceBusy => FaultKind::Refused,
            _ => FaultKind::Unclear,
        });
        if kind == FaultKind::Unclear {
            self.dirs.forget();
        }
        let mut path = self.path_of(place);
        // The name of a draft tells nobody anything, and would make another cause of it each time.
        if place.path.name().starts_with(DRAFT.as_bytes()) {
            path.pop();
        }
        Fault::new(
            kind,
            format!("{doing} {}: {}", path.display(), explain(err)),
        )
    }

    fn path_of(&self, place: &Place) -> PathBuf {
        let area = match place.area {
            Area::Done => self.roots.done.clone(),
            Area::DeadLetter => self.roots.dead_letter.clone(),
            Area::Staging => self.share.path().join(OWN_FOLDER).join("staging"),
            Area::Watched => self.share.path().to_path_buf(),
        };
        area.join(name_of(place.path.as_bytes()))
    }

    /// That nothing is there means something only of a folder that is the share's.
    fn absent(&mut self, place: &Place) -> Result<Entry, Fault> {
        if place.area != Area::Watched {
            return Ok(Entry::Absent);
        }
        let root = self.share.reopen().map_err(|unusable| {
            let why = format!("looking for {}: {unusable}", self.path_of(place).display());
            Fault::new(FaultKind::Stopped, why)
        })?;
        // Not through a folder that was held: it may have been replaced.
        let entry = match root.folder(&place.path.parent()) {
            Ok(dir) => dir.fresh_entry(place.path.name()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Entry::Absent),
            Err(err) => Err(err),
        };
        entry.map_err(|err| self.fault("looking at", place, &err, |_| None))
    }
}

impl Disk for RealDisk<'_> {
    fn look(&mut self, at: &Place) -> Result<Entry, Fault> {
        let opened = self.open(&at.folder());
        let looked = opened.and_then(|dir| match dir.kind() {
            FsKind::Share if at.area != Area::Watched => dir.moved_entry(at.path.name()),
            FsKind::Share => dir.fresh_entry(at.path.name()),
            FsKind::Local | FsKind::LocalNoCtime => dir.entry(at.path.name()),
        });
        match looked {
            Ok(Entry::Absent) => self.absent(at),
            Err(err) if err.kind() == io::ErrorKind::NotFound => self.absent(at),
            other => other.map_err(|err| self.fault("looking at", at, &err, |_| None)),
        }
    }

    fn same_device(&mut self, one: &Place, other: &Place) -> Result<bool, Fault> {
        let mut open = |folder: &Place| {
            let opened = self.open(folder);
            opened.map_err(|err| self.fault("opening", folder, &err, |_| None))
        };
        Ok(open(one)?.same_fs(&*open(other)?))
    }

    fn digest(&mut self, at: &Place) -> Result<[u8; 32], Fault> {
        self.at("reading", at, |dir, name| digest(&At { dir, name }))
    }

    fn rename(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        let special =
            |err: &io::Error| rename_is_unsupported(err).then_some(FaultKind::Unsupported);
        self.between("moving it to", (from, to), special, |from, to| {
            from.dir.rename_no_replace(from.name, to.dir, to.name)
        })
    }

    fn link(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        let special = |err: &io::Error| link_is_unsupported(err).then_some(FaultKind::Unsupported);
        self.between("moving it to", (from, to), special, |from, to| {
            from.dir.link(from.name, to.dir, to.name)
        })
    }

    fn reserve(&mut self, at: &Place) -> Result<Look, Fault> {
        self.confirm()?;
        self.at("reserving the name", at, |dir, name| {
            file_look(&dir.create_new(name, 0o600)?, dir.kind())
        })
    }

    fn rename_over(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        self.between(
            "moving it to",
            (from, to),
            |_| None,
            |from, to| from.dir.rename_over(from.name, to.dir, to.name),
        )
    }

    fn remove(&mut self, at: &Place) -> Result<(), Fault> {
        self.confirm()?;
        self.at("removing", at, |dir, name| dir.remove(name))
    }

    fn copy(&mut self, from: &Place, draft: &Place) -> Result<Copied, Fault> {
        let mut copied = None;
        self.between(
            "copying it to",
            (from, draft),
            |_| None,
            |from, to| {
                copied = Some(copy(from, to)?);
                Ok(())
            },
        )?;
        copied.ok_or_else(|| Fault::new(FaultKind::Unclear, "it was not copied"))
    }

    fn write_beside(&mut self, at: &Place, text: &[u8], like: &Place) -> Result<(), Fault> {
        self.between(
            "writing beside it",
            (like, at),
            |_| None,
            |like, at| write_beside(at, text, like),
        )
    }

    fn make_folder(&mut self, folder: &Place) -> Result<(), Fault> {
        self.confirm()?;
        let made = self.dirs.make_watched(folder);
        made.map_err(|err| self.fault("making", folder, &err, |_| None))
    }

    fn sync_folder(&mut self, folder: &Place) -> Result<(), Fault> {
        let synced = match self.open(folder) {
            // A folder that is gone has nothing that a power cut could bring back.
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(err) => Err(err),
            Ok(dir) => dir.fsync(),
        };
        synced.map_err(|err| self.fault("bringing onto the disk", folder, &err, |_| None))
    }

    fn append(&mut self, lines: &[Line]) -> Result<(), Fault> {
        if self.journal.is_stuck() {
            // Each try would write the same lines again, and none would reach the disk.
            self.sync_journal()?;
        }
        let appended = self.journal.append(lines).map(drop);
        appended.map_err(|err| self.journal_fault(&err))
    }

    fn note_kept(&mut self, kept: &[Kept]) {
        self.kept.extend_from_slice(kept);
    }

    fn append_or_owe(&mut self, lines: &[Line]) -> Result<(), Fault> {
        self.write_kept();
        let appended = self.journal.append_or_owe(lines);
        appended.map_err(|err| self.journal_fault(&err))
    }

    fn sync_journal(&mut self) -> Result<(), Fault> {
        let synced = self.journal.sync(wall());
        synced.map_err(|err| self.journal_fault(&err))
    }
}
