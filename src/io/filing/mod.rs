//! FILE AWAY: carries out what [`crate::flow::filing`] decides.
//!
//! It is done in batches: what has to be on the disk is brought there once for all files of a batch. On
//! a local disk one thread does it, for renames by several contend for the folder's lock. Where each
//! call takes a round trip, up to `watch.threads` do (`side_by_side`).

mod copy;
mod disk;
pub mod ledger;
mod open_dirs;
mod side_by_side;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use self::disk::RealDisk;
use self::ledger::Ledger;
use self::open_dirs::OpenDirs;
use self::side_by_side::Pace;
use crate::config::Config;
use crate::flow::engine::Handover;
use crate::flow::file::{FileNo, Rel};
use crate::flow::filing::{Batch, Carried, Fault, Filed, Filing, Outcome, Rules};
use crate::flow::messages::{Expired, FolderRemoved};
use crate::io::dir::Dir;
use crate::io::journal::Journal;
use crate::io::os::clock::wall;
use crate::io::os::error::explain;
use crate::io::share::Share;

/// Files things away.
#[derive(Debug)]
pub struct Filer {
    share: Arc<Share>,
    journal: Arc<Journal>,
    roots: Roots,
    rules: Rules,
    dirs: OpenDirs,
    carried: Carried,
    /// What was put into `done`, where that is to be removed some day.
    ledger: Option<Ledger>,
    /// `watch.threads`.
    threads: usize,
    /// How long calls take.
    pace: Pace,
}

/// Where the areas that may lie outside of the watched folder are.
#[derive(Debug)]
struct Roots {
    done: PathBuf,
    dead_letter: PathBuf,
}

impl Filer {
    /// A filer for one opening of the share with the state folder `state`; `past` is what was there
    /// before.
    pub fn new(
        config: &Config,
        (share, state): (Arc<Share>, Arc<Dir>),
        journal: Arc<Journal>,
        past: &Handover,
    ) -> Filer {
        let done = &config.delivered.dir;
        let keep_for = config.delivered.keep_for;
        let ledger = keep_for.map(|keep_for| Ledger::new(state, done, keep_for));
        let rules = Rules {
            action: config.delivered.action,
            marker: config.ready.marker.clone(),
            read_only: share.is_read_only(),
            notes_kept: ledger.is_some(),
        };
        Filer {
            roots: Roots {
                done: config.delivered.dir.clone(),
                dead_letter: config.dead_letter.dir.clone(),
            },
            carried: Carried::after(past.moves(), rules.marker.as_ref()),
            rules,
            share,
            journal,
            dirs: OpenDirs::default(),
            ledger,
            threads: config.watch.threads,
            pace: Pace::default(),
        }
    }

    /// Files a batch away. Gives what came of each file, and whether all of it is on the disk.
    /// Whatever goes wrong with one file stops no other.
    pub fn file(&mut self, jobs: Vec<Filing>) -> (Vec<(FileNo, Filed)>, Result<(), Fault>) {
        let (threads, mut pace) = (self.threads.min(jobs.len()), self.pace);
        let outcome = self.file_by(jobs, |batch, disk| match threads {
            0 | 1 => while batch.step(disk) {},
            threads => side_by_side::file(batch, disk, threads, &mut pace),
        });
        self.pace = pace;
        outcome
    }

    /// `watch.threads` is this from now on.
    pub fn set_threads(&mut self, threads: usize) {
        self.threads = threads;
    }

    /// Removes the folder `path` of the watched folder if nothing is in it.
    pub fn remove_folder(&self, path: &Rel) -> FolderRemoved {
        let root = self.share.folder();
        let parent = root.folder(&path.parent());
        match parent.and_then(|parent| parent.remove_folder(path.name())) {
            Ok(()) => FolderRemoved::Done,
            Err(err)
                if matches!(
                    err.kind(),
                    ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound
                ) =>
            {
                FolderRemoved::NotEmpty
            }
            Err(err) => FolderRemoved::Failed(explain(&err)),
        }
    }

    /// Removes some of what has been in `done` for long enough.
    pub fn expire(&mut self) -> Expired {
        let Some(mut ledger) = self.ledger.take() else {
            return Expired::default();
        };
        let root = self.share.folder();
        self.dirs.begin_batch(&root);
        let carried = std::mem::take(&mut self.carried);
        let is_promised = |place: &_| carried.is_promised(place);
        let expired = ledger.expire(&mut RealDisk::new(self), wall(), is_promised);
        self.carried = carried;
        self.ledger = Some(ledger);
        expired
    }

    /// Files a batch away, whose steps `drive` carries out on the disk, to the end.
    fn file_by(
        &mut self,
        jobs: Vec<Filing>,
        drive: impl FnOnce(&mut Batch, &mut RealDisk),
    ) -> (Vec<(FileNo, Filed)>, Result<(), Fault>) {
        let root = self.share.folder();
        self.dirs.begin_batch(&root);
        let (rules, carried) = (self.rules.clone(), std::mem::take(&mut self.carried));
        let begin = match self.threads.min(jobs.len()) {
            0 | 1 => Batch::new,
            _ => Batch::side_by_side,
        };
        let mut disk = RealDisk::new(self);
        let mut batch = begin(jobs, &rules, carried, wall());
        drive(&mut batch, &mut disk);
        let Outcome {
            filed,
            carried,
            synced,
        } = batch.outcome();
        self.carried = carried;
        (filed, synced)
    }
}
