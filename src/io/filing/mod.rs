//! FILE AWAY: moves, deletes and condemns files, in groups.
//!
//! One thread does it all, for renames by several contend for the folder. A group costs one
//! fsync of the journal and one of each folder.
//!
//! Invariants, in this order for each file:
//! 1. The acceptance, or the reason of the condemnation, stands in the journal.
//! 2. A name that is free is chosen, and written down as the target. All of that is on the disk
//!    before anything is moved.
//! 3. The file is renamed there; nothing is ever replaced. For `delete`, and across file
//!    systems, "there" is the staging folder, which only dirpost writes to.
//! 4. It is looked at there through a fresh open. Only if it is what was sent is it filed,
//!    deleted, or copied on; else it is a new version, and goes back.
//! 5. Only when the move is on the disk does the journal say `filed`.
//!
//! To 5: a folder whose fsync failed is not asked again, for a second fsync may lie. The files
//! of that group are where they belong, and the journal goes on holding their acceptances;
//! the next start finds both, and says `filed` then. Where it is the journal that cannot be
//! written, it is told `filed` as soon as it can be ([`Journal::append_or_owe`]).
//!
//! In the order of the stages: `plan` chooses names and picks up what a crash left, `carry`
//! renames and looks, `across` copies to another file system, `back` returns a new version to
//! its place. `folders` holds what is open, `name` finds free names, `dead` writes reasons.

mod across;
mod back;
mod carry;
mod dead;
mod folders;
mod name;
mod plan;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use self::folders::Opened;
use crate::config::Config;
use crate::flow::escape::{escape, unescape};
use crate::flow::file::FileNo;
use crate::flow::file::{Look, Rel};
use crate::flow::journal::Moving;
use crate::flow::journal::{Event, Record};
use crate::flow::messages::{Destination, Filed, Filing};
use crate::io::dir::Dir;
use crate::io::fault::explain;
use crate::io::journal::Journal;
use crate::io::os::clock::wall;
use crate::io::share::Share;

/// Files things away.
#[derive(Debug)]
pub struct Filer {
    share: Arc<Share>,
    journal: Arc<Journal>,
    done: PathBuf,
    dead: PathBuf,
    marker: Vec<u8>,
    /// The folders of the last group, good for as long as the share was not opened again.
    opened: Mutex<Opened>,
}

/// What came of a group.
#[derive(Debug)]
pub struct Placed {
    pub filed: Vec<(FileNo, Filed)>,
    /// Whether it is on the disk.
    pub synced: io::Result<()>,
}

/// Where a file lies or goes, by the word that the journal has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Area {
    Done,
    Dead,
    Staging,
    /// Its own place. Nothing is moved there, but something may be copied from there.
    Watched,
}

/// One move that was written down.
struct Plan {
    area: Area,
    folder: Arc<Dir>,
    name: Vec<u8>,
    /// For the journal and the log: area and relative path.
    to: String,
    stage: Stage,
}

/// How far a move has come.
enum Stage {
    /// The file is at its place.
    Planned,
    /// The rename is done.
    Moved,
    /// It goes to another file system, and is to be copied from there.
    Copying(Origin),
    /// The copy has its name. What it was made of is to be removed, if it is still there.
    Copied(Origin),
}

/// What a copy is made of: it lies in the staging folder, or is still at its place.
#[derive(Clone, Debug)]
struct Origin {
    area: Area,
    /// `None`: it has gone, and the file with it.
    folder: Option<Arc<Dir>>,
    name: Vec<u8>,
    /// For the journal: area and relative path.
    from: String,
}

impl Area {
    const fn word(self) -> &'static str {
        match self {
            Area::Done => "done",
            Area::Dead => "dead-letter",
            Area::Staging => "staging",
            Area::Watched => "watched",
        }
    }

    /// The word of the journal for `path` in this area.
    fn entry(self, path: &Rel) -> String {
        format!("{}/{}", self.word(), escape(path.as_bytes()))
    }

    fn parse(entry: &str) -> Option<(Area, Rel)> {
        let (word, rest) = entry.split_once('/')?;
        let areas = [Area::Done, Area::Dead, Area::Staging, Area::Watched];
        let area = areas.into_iter().find(|area| area.word() == word)?;
        let path = Rel::new(&unescape(rest));
        path.is_plain().then_some((area, path))
    }

    /// Where `job` is to end; `None`: nowhere, it stays.
    fn of(job: &Filing) -> Option<Area> {
        match job.to {
            Destination::Keep => None,
            Destination::Done => Some(Area::Done),
            Destination::DeadLetter(_) => Some(Area::Dead),
            Destination::Delete => Some(Area::Staging),
        }
    }
}

impl Origin {
    /// Where it is to be found.
    fn at(&self) -> io::Result<(&Arc<Dir>, &[u8])> {
        let folder = self.folder.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok((folder, &self.name))
    }

    /// `None` if it is not there.
    fn look(&self) -> io::Result<Option<Look>> {
        self.folder
            .as_ref()
            .map_or(Ok(None), |folder| look_for(folder, &self.name))
    }
}

impl Plan {
    /// As the journal has it.
    fn moving(&self) -> Moving {
        let from = match &self.stage {
            Stage::Copying(origin) | Stage::Copied(origin) => Some(origin.from.clone()),
            Stage::Planned | Stage::Moved => None,
        };
        Moving {
            to: self.to.clone(),
            from,
        }
    }

    /// Whether the journal does not have it yet.
    fn is_new(&self, job: &Filing) -> bool {
        match self.stage {
            Stage::Planned => true,
            Stage::Moved => false,
            Stage::Copying(_) | Stage::Copied(_) => job.resumed.as_ref() != Some(&self.moving()),
        }
    }
}

impl Filer {
    pub fn new(config: &Config, share: Arc<Share>, journal: Arc<Journal>) -> Filer {
        Filer {
            share,
            journal,
            done: config.delivered.dir.clone(),
            dead: config.dead_letter.dir.clone(),
            marker: config.ready.marker.clone().unwrap_or_default().into_bytes(),
            opened: Mutex::default(),
        }
    }

    /// Files a group away.
    pub fn place(&self, jobs: &[Filing]) -> Placed {
        let root = self.share.folder();
        let mut held = self.opened.lock().expect("one thread files");
        let opened = &mut *held;
        opened.renew(&root);
        let mut results: Vec<Option<Filed>> = jobs.iter().map(|_| None).collect();
        let mut plans: Vec<Option<Plan>> = jobs.iter().map(|_| None).collect();

        if self.journal.is_stuck()
            && let Err(err) = self.journal.sync(wall())
        {
            // Each try would write the same lines again, and none would reach the disk.
            return unwritten(jobs, &explain(&err));
        }
        if let Err(why) = self.write_first(jobs) {
            return unwritten(jobs, &why);
        }
        let mut moving = Vec::new();
        for (at, job) in jobs.iter().enumerate() {
            match self.plan(&root, opened, job) {
                Ok(Some(plan)) => {
                    if plan.is_new(job) {
                        moving.extend(line(job, Record::moving(&plan.moving())));
                    }
                    plans[at] = Some(plan);
                }
                Ok(None) => results[at] = Some(Filed::Away { to: None }),
                Err(err) => results[at] = Some(self.failed(job, None, &err)),
            }
        }
        // Onto the disk before the first rename: a power cut that kept the rename and lost its line
        // would leave a file in the staging folder, or a new version in `done`, that nobody knows of.
        if let Err(err) = self
            .append(&moving)
            .and_then(|()| self.journal.sync(wall()))
        {
            return unwritten(jobs, &explain(&err));
        }
        let mut began = Instant::now();
        for ((job, plan), result) in jobs.iter().zip(&mut plans).zip(&mut results) {
            if let Some(plan) = plan {
                // The one before may have hung for as long as its share did.
                let ours = self.share.confirm_after(began);
                began = Instant::now();
                let filed = ours.and_then(|()| self.carry_out(&root, opened, job, plan));
                *result = Some(filed.unwrap_or_else(|err| self.failed(job, Some(plan), &err)));
            }
        }
        self.settle(jobs, opened, results)
    }

    /// Lines that must stand before anything is moved.
    fn write_first(&self, jobs: &[Filing]) -> Result<(), String> {
        let mut lines = Vec::new();
        for job in jobs {
            if let Some(acceptance) = &job.unwritten {
                lines.extend(line(
                    job,
                    Record::accepted(acceptance, matches!(job.to, Destination::Keep)),
                ));
            }
            if let Destination::DeadLetter(reason) = &job.to
                && job.resumed.is_none()
            {
                lines.extend(line(
                    job,
                    Record::condemned(reason, job.marker.map(|marker| marker.stamp)),
                ));
            }
        }
        self.append(&lines).map_err(|err| explain(&err))
    }

    fn append(&self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            Ok(())
        } else {
            self.journal.append_lines(lines).map(drop)
        }
    }

    /// Brings the group onto the disk, and writes down what is filed.
    fn settle(&self, jobs: &[Filing], opened: &Opened, results: Vec<Option<Filed>>) -> Placed {
        let mut folders = Ok(());
        for folder in opened.dirty.values() {
            folders = folders.and(folder.sync());
        }
        let mut lines = Vec::new();
        let mut filed = Vec::new();
        for (job, result) in jobs.iter().zip(results) {
            let result = result.unwrap_or_else(|| Filed::Failed {
                why: "it was passed over".into(),
                moved: None,
            });
            let over = !matches!(result, Filed::Failed { .. } | Filed::Unwritten(_));
            if over && folders.is_ok() && !matches!(job.to, Destination::Keep) {
                let event = if matches!(result, Filed::Copied { .. }) {
                    Event::Copied
                } else {
                    Event::Filed
                };
                lines.extend(line(job, event));
            }
            filed.push((job.file, result));
        }
        let owed = if lines.is_empty() {
            Ok(())
        } else {
            self.journal.append_lines_or_owe(&lines)
        };
        Placed {
            filed,
            synced: folders.and(owed),
        }
    }

    fn failed(&self, job: &Filing, plan: Option<&Plan>, err: &io::Error) -> Filed {
        let to = match job.to {
            Destination::Done => self.done.display().to_string(),
            Destination::DeadLetter(_) => self.dead.display().to_string(),
            Destination::Delete | Destination::Keep => String::from(".dirpost/staging"),
        };
        let moved = plan
            .filter(|plan| !matches!(plan.stage, Stage::Planned))
            .map(Plan::moving);
        Filed::Failed {
            why: format!("moving it to {to}: {}", explain(err)),
            moved,
        }
    }
}

/// Nothing is done with files that the journal cannot tell of.
fn unwritten(jobs: &[Filing], why: &str) -> Placed {
    Placed {
        filed: jobs
            .iter()
            .map(|job| (job.file, Filed::Unwritten(why.into())))
            .collect(),
        synced: Ok(()),
    }
}

/// A line about the version that was sent.
fn line(job: &Filing, event: Event) -> Vec<u8> {
    Record::line(&job.path, job.look.stamp, wall(), event)
}

fn fresh_look(folder: &Dir, name: &[u8]) -> io::Result<Look> {
    match folder.open(&Rel::new(name)) {
        // A file that nobody may read can be condemned all the same.
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => folder
            .look(name)?
            .ok_or_else(|| io::ErrorKind::InvalidInput.into()),
        opened => Ok(opened?.1),
    }
}

/// The same; `None` if no file is there.
fn look_for(folder: &Dir, name: &[u8]) -> io::Result<Option<Look>> {
    match fresh_look(folder, name) {
        Err(err)
            if matches!(
                err.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(None)
        }
        look => look.map(Some),
    }
}

fn remove_if_there(folder: &Dir, name: &[u8]) -> io::Result<()> {
    match folder.remove(name) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// After a restart the inode is not known.
fn is_what_was_sent(look: &Look, sent: &Look) -> bool {
    if sent.ino == 0 {
        look.stamp == sent.stamp
    } else {
        look.same_but_moved(sent)
    }
}
