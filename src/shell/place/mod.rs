//! FILE AWAY: moves, deletes and condemns files, in groups.
//!
//! One thread does it all, for renames by several contend for the folder. A group costs one
//! fsync of the journal and one of each folder.
//!
//! Invariants, in this order for each file:
//! 1. The acceptance, or the reason of the condemnation, stands in the journal.
//! 2. A name that is free is chosen, and written down as the target.
//! 3. The file is renamed there; nothing is ever replaced. For `delete`, and across file
//!    systems, "there" is the staging folder, which only dirpost writes to.
//! 4. It is looked at there through a fresh open. Only if it is what was sent is it filed,
//!    deleted, or copied on; else it is a new version, and goes back.
//! 5. Only when the move is on the disk does the journal say `filed`.

mod dead;
mod name;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use self::name::{REASON, free};
use crate::config::Config;
use crate::flow::escape::{escape, unescape};
use crate::flow::file::{Look, Rel};
use crate::flow::gate::FileNo;
use crate::flow::job::{Destination, Filed, Filing};
use crate::flow::record::{Event, Record};
use crate::shell::clock::wall;
use crate::shell::folder::{Folder, Renamed, draft_name};
use crate::shell::journal::Journal;
use crate::shell::share::{Share, below, explain};

/// Files things away.
#[derive(Debug)]
pub struct Placer {
    share: Arc<Share>,
    journal: Arc<Journal>,
    done: PathBuf,
    dead: PathBuf,
    marker: Vec<u8>,
    /// The folders of the last group, good for as long as the share was not opened again.
    opened: Mutex<Opened>,
}

/// Where a file goes, by the word that the journal has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Area {
    Done,
    Dead,
    Staging,
}

/// One move that was written down.
struct Plan {
    area: Area,
    folder: Arc<Folder>,
    name: Vec<u8>,
    /// For the journal and the log: area and relative path.
    to: String,
    /// A former process has done the rename already.
    moved: bool,
}

/// So many folders are held open between two groups.
const HELD: usize = 64;

/// Folders opened for filing.
#[derive(Debug, Default)]
struct Opened {
    /// The watched folder that they were opened below.
    root: Option<Arc<Folder>>,
    sources: HashMap<Rel, Arc<Folder>>,
    targets: HashMap<(Area, Rel), Arc<Folder>>,
    /// Names that are promised to files of this group.
    claimed: HashSet<(Area, Rel)>,
    /// To be brought onto the disk.
    dirty: HashMap<(u64, u64), Arc<Folder>>,
}

impl Opened {
    /// Lets go of what was opened before the share was opened again.
    fn renew(&mut self, root: &Arc<Folder>) {
        let same = self.root.as_ref().is_some_and(|held| Arc::ptr_eq(held, root));
        if !same || self.sources.len() + self.targets.len() > HELD {
            *self = Opened { root: Some(Arc::clone(root)), ..Opened::default() };
        }
        self.dirty.clear();
        self.claimed.clear();
    }

    fn is_claimed(&self, area: Area, parent: &Rel, name: &[u8]) -> bool {
        self.claimed.contains(&(area, parent.join(name)))
    }
}

impl Area {
    const fn word(self) -> &'static str {
        match self {
            Area::Done => "done",
            Area::Dead => "dead-letter",
            Area::Staging => "staging",
        }
    }

    fn parse(to: &str) -> Option<(Area, Rel)> {
        let (word, rest) = to.split_once('/')?;
        let area = [Area::Done, Area::Dead, Area::Staging].into_iter().find(|area| area.word() == word)?;
        let path = Rel::new(&unescape(rest));
        path.is_plain().then_some((area, path))
    }
}

impl Placer {
    pub fn new(config: &Config, share: Arc<Share>, journal: Arc<Journal>) -> Placer {
        Placer {
            share,
            journal,
            done: config.delivered.dir.clone(),
            dead: config.dead_letter.dir.clone(),
            marker: config.ready.marker.clone().unwrap_or_default().into_bytes(),
            opened: Mutex::default(),
        }
    }

    /// Files a group away.
    pub fn place(&self, jobs: &[Filing]) -> Vec<(FileNo, Filed)> {
        let root = self.share.folder();
        let mut held = self.opened.lock().expect("one thread files");
        let opened = &mut *held;
        opened.renew(&root);
        let mut results: Vec<Option<Filed>> = jobs.iter().map(|_| None).collect();
        let mut plans: Vec<Option<Plan>> = jobs.iter().map(|_| None).collect();

        if let Err(why) = self.write_first(jobs) {
            return jobs.iter().map(|job| (job.file, Filed::Unwritten(why.clone()))).collect();
        }
        let mut moving = Vec::new();
        for (at, job) in jobs.iter().enumerate() {
            match self.plan(&root, opened, job) {
                Ok(Some(plan)) => {
                    if !plan.moved {
                        moving.extend(line(job, Event::Moving { to: plan.to.clone() }));
                    }
                    plans[at] = Some(plan);
                }
                Ok(None) => results[at] = Some(Filed::Away { to: None }),
                Err(err) => results[at] = Some(self.failed(job, None, &err)),
            }
        }
        if let Err(err) = self.append(&moving) {
            let why = explain(&err);
            return jobs.iter().map(|job| (job.file, Filed::Unwritten(why.clone()))).collect();
        }
        for ((job, plan), result) in jobs.iter().zip(&mut plans).zip(&mut results) {
            if let Some(plan) = plan {
                let filed = self.carry_out(&root, opened, job, plan);
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
                lines.extend(line(job, Record::accepted(acceptance, matches!(job.to, Destination::Keep))));
            }
            if let Destination::DeadLetter(reason) = &job.to
                && job.resumed.is_none()
            {
                lines.extend(line(job, Record::condemned(reason, job.marker.map(|marker| marker.stamp))));
            }
        }
        self.append(&lines).map_err(|err| explain(&err))
    }

    fn append(&self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() { Ok(()) } else { self.journal.append(lines).map(drop) }
    }

    /// Brings the group onto the disk, and writes down what is filed.
    fn settle(&self, jobs: &[Filing], opened: &Opened, results: Vec<Option<Filed>>) -> Vec<(FileNo, Filed)> {
        let mut synced = self.journal.sync(wall());
        for folder in opened.dirty.values() {
            synced = synced.and(folder.sync());
        }
        let mut filed = Vec::new();
        let mut answers = Vec::new();
        for (job, result) in jobs.iter().zip(results) {
            let result = result.unwrap_or_else(|| Filed::Failed { why: "it was passed over".into(), moved: None });
            let over = !matches!(result, Filed::Failed { .. } | Filed::Unwritten(_));
            // Until the move is on the disk the journal keeps the acceptance. The files are
            // where they belong all the same; the next start finds them there.
            if over && synced.is_ok() && !matches!(job.to, Destination::Keep) {
                filed.extend(line(job, Event::Filed));
            }
            answers.push((job.file, result));
        }
        if let Err(err) = self.append(&filed) {
            log::warn!("journal: what was filed away could not be written down: {}", explain(&err));
        }
        if let Err(err) = synced {
            log::warn!("bringing the state folder onto the disk failed: {}", explain(&err));
        }
        answers
    }

    fn failed(&self, job: &Filing, plan: Option<&Plan>, err: &io::Error) -> Filed {
        let to = match job.to {
            Destination::Done => self.done.display().to_string(),
            Destination::DeadLetter(_) => self.dead.display().to_string(),
            Destination::Delete | Destination::Keep => String::from(".dirpost/staging"),
        };
        let moved = plan.filter(|plan| plan.moved && !plan.to.is_empty()).map(|plan| plan.to.clone());
        Filed::Failed { why: format!("moving it to {to}: {}", explain(err)), moved }
    }

    /// Chooses where a file goes. `None`: nowhere, it stays.
    fn plan(&self, root: &Arc<Folder>, opened: &mut Opened, job: &Filing) -> io::Result<Option<Plan>> {
        let area = match job.to {
            Destination::Keep => return Ok(None),
            Destination::Done => Area::Done,
            Destination::DeadLetter(_) => Area::Dead,
            Destination::Delete => Area::Staging,
        };
        if let Some((area, path)) = job.resumed.as_deref().and_then(Area::parse)
            && let Some(plan) = self.resume(root, opened, job, area, &path)?
        {
            return Ok(Some(plan));
        }
        self.fresh_plan(root, opened, job, area).map(Some)
    }

    fn fresh_plan(&self, root: &Arc<Folder>, opened: &mut Opened, job: &Filing, area: Area) -> io::Result<Plan> {
        let parent = if area == Area::Staging { Rel::root() } else { job.path.parent() };
        let folder = self.target(root, opened, area, &parent)?;
        let beside: &[&[u8]] = match (area, job.marker) {
            (Area::Dead, None) => &[REASON],
            (Area::Dead, Some(_)) => &[REASON, &self.marker],
            (Area::Done, Some(_)) => &[&self.marker],
            _ => &[],
        };
        let wanted = if area == Area::Staging { draft_name() } else { job.path.name().to_vec() };
        let name = free(&folder, &wanted, beside, &|name| opened.is_claimed(area, &parent, name))?;
        for suffix in std::iter::once(&b""[..]).chain(beside.iter().copied()) {
            opened.claimed.insert((area, parent.join(&[&name, suffix].concat())));
        }
        let to = format!("{}/{}", area.word(), escape(parent.join(&name).as_bytes()));
        Ok(Plan { area, folder, name, to, moved: false })
    }

    /// After a crash: whether the rename that was written down took place.
    fn resume(
        &self,
        root: &Arc<Folder>,
        opened: &mut Opened,
        job: &Filing,
        area: Area,
        path: &Rel,
    ) -> io::Result<Option<Plan>> {
        let folder = self.target(root, opened, area, &path.parent())?;
        let there = match folder.look(path.name()) {
            Ok(Some(look)) => look,
            Ok(None) => return Ok(None),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                // Its reason was written first.
                let plan = Plan { area, folder, name: path.name().to_vec(), to: String::new(), moved: false };
                if area == Area::Dead {
                    dead::remove_reason(job, &plan);
                }
                return Ok(None);
            }
            Err(err) => return Err(err),
        };
        // A rename by link and unlink may have stopped in between: then both are one file.
        if let Ok(source) = self.source(root, opened, &job.path)
            && let Ok(Some(look)) = source.look(job.path.name())
        {
            if look.ino != 0 && (look.dev, look.ino) == (there.dev, there.ino) {
                source.remove(job.path.name())?;
                opened.dirty.insert(source.number(), source);
            } else if look.stamp == job.look.stamp && there.stamp != job.look.stamp {
                // It never left; the name has gone to another one.
                return Ok(None);
            }
        }
        opened.claimed.insert((area, path.parent().join(&[path.name(), REASON].concat())));
        let to = job.resumed.clone().unwrap_or_default();
        Ok(Some(Plan { area, folder, name: path.name().to_vec(), to, moved: true }))
    }

    /// Renames, looks, and does what remains.
    fn carry_out(&self, root: &Arc<Folder>, opened: &mut Opened, job: &Filing, plan: &mut Plan) -> io::Result<Filed> {
        if let Destination::DeadLetter(reason) = &job.to
            && plan.area == Area::Dead
        {
            dead::write_reason(&plan.folder, &plan.name, job, reason)?;
        }
        if !plan.moved {
            match self.rename(root, opened, job, plan) {
                Ok(Renamed::Done) => plan.moved = true,
                Ok(Renamed::Taken) => return self.start_over(root, opened, job, plan),
                Ok(Renamed::CrossesDevices) => return self.across(root, opened, job, plan),
                Err(err) if err.kind() == io::ErrorKind::NotFound && self.is_gone(root, &job.path) => {
                    dead::remove_reason(job, plan);
                    self.marker_away(root, opened, job, plan)?;
                    return Ok(Filed::Gone);
                }
                Err(err) => {
                    dead::remove_reason(job, plan);
                    // The target's folder may be gone: it is opened anew for the next try.
                    opened.targets.clear();
                    return Err(err);
                }
            }
        }
        let look = fresh_look(&plan.folder, &plan.name)?;
        if !is_what_was_sent(&look, &job.look) {
            return self.put_back(root, opened, job, plan);
        }
        let wanted = match job.to {
            Destination::Done => Area::Done,
            Destination::DeadLetter(_) => Area::Dead,
            _ => Area::Staging,
        };
        if plan.area != wanted {
            return self.copy_on(root, opened, job, plan, wanted);
        }
        if plan.area == Area::Staging {
            plan.folder.remove(&plan.name)?;
            opened.dirty.insert(plan.folder.number(), Arc::clone(&plan.folder));
            self.marker_away(root, opened, job, plan)?;
            return Ok(Filed::Away { to: None });
        }
        self.marker_away(root, opened, job, plan)?;
        Ok(Filed::Away { to: Some(plan.to.clone()) })
    }

    fn rename(&self, root: &Arc<Folder>, opened: &mut Opened, job: &Filing, plan: &Plan) -> io::Result<Renamed> {
        let source = self.source(root, opened, &job.path)?;
        let renamed = source.rename(job.path.name(), &plan.folder, &plan.name, true)?;
        opened.dirty.insert(source.number(), source);
        opened.dirty.insert(plan.folder.number(), Arc::clone(&plan.folder));
        Ok(renamed)
    }

    /// Somebody took the name meanwhile: another one.
    fn start_over(&self, root: &Arc<Folder>, opened: &mut Opened, job: &Filing, plan: &mut Plan) -> io::Result<Filed> {
        dead::remove_reason(job, plan);
        *plan = self.fresh_plan(root, opened, job, plan.area)?;
        self.append(&line(job, Event::Moving { to: plan.to.clone() }))?;
        self.carry_out(root, opened, job, plan)
    }

    /// The target is on another file system: by way of the staging folder, which is on the
    /// share's own, so that nobody can change the file while it is copied.
    fn across(&self, root: &Arc<Folder>, opened: &mut Opened, job: &Filing, plan: &mut Plan) -> io::Result<Filed> {
        dead::remove_reason(job, plan);
        let wanted = plan.area;
        // The names are for the copy.
        for suffix in [&b""[..], REASON, &self.marker] {
            opened.claimed.remove(&(plan.area, job.path.parent().join(&[&plan.name, suffix].concat())));
        }
        *plan = self.fresh_plan(root, opened, job, Area::Staging)?;
        self.append(&line(job, Event::Moving { to: plan.to.clone() }))?;
        match self.rename(root, opened, job, plan)? {
            Renamed::Done => {
                plan.moved = true;
                if !is_what_was_sent(&fresh_look(&plan.folder, &plan.name)?, &job.look) {
                    return self.put_back(root, opened, job, plan);
                }
                self.copy_on(root, opened, job, plan, wanted)
            }
            Renamed::Taken => Err(io::ErrorKind::AlreadyExists.into()),
            Renamed::CrossesDevices => self.copy_in_place(root, opened, job, wanted),
        }
    }

    /// A folder of the share is a mount point of its own: copied from where it is.
    fn copy_in_place(&self, root: &Arc<Folder>, opened: &mut Opened, job: &Filing, wanted: Area) -> io::Result<Filed> {
        let folder = self.source(root, opened, &job.path)?;
        let name = job.path.name().to_vec();
        let look = fresh_look(&folder, &name)?;
        if !is_what_was_sent(&look, &job.look) {
            return Ok(Filed::PutBack(look));
        }
        if wanted == Area::Staging {
            folder.remove(&name)?;
            opened.dirty.insert(folder.number(), Arc::clone(&folder));
            let mut gone = Plan { area: Area::Staging, folder, name, to: String::new(), moved: true };
            self.marker_away(root, opened, job, &mut gone)?;
            return Ok(Filed::Away { to: None });
        }
        let mut in_place = Plan { area: Area::Staging, folder, name, to: String::new(), moved: true };
        self.copy_on(root, opened, job, &mut in_place, wanted)
    }

    /// Copies a file that lies in the staging folder to where it belongs, and removes it there.
    fn copy_on(
        &self,
        root: &Arc<Folder>,
        opened: &mut Opened,
        job: &Filing,
        from: &mut Plan,
        wanted: Area,
    ) -> io::Result<Filed> {
        let mut plan = self.fresh_plan(root, opened, job, wanted)?;
        if let Destination::DeadLetter(reason) = &job.to {
            dead::write_reason(&plan.folder, &plan.name, job, reason)?;
        }
        let draft = draft_name();
        let copied = copy(&from.folder, &from.name, &plan.folder, &draft, &job.look).and_then(|()| {
            match plan.folder.rename(&draft, &plan.folder, &plan.name, true)? {
                Renamed::Done => plan.folder.sync(),
                _ => Err(io::ErrorKind::AlreadyExists.into()),
            }
        });
        if let Err(err) = copied {
            let _ = plan.folder.remove(&draft);
            dead::remove_reason(job, &plan);
            return Err(err);
        }
        from.folder.remove(&from.name)?;
        opened.dirty.insert(from.folder.number(), Arc::clone(&from.folder));
        self.marker_away(root, opened, job, &mut plan)?;
        Ok(Filed::Away { to: Some(plan.to) })
    }

    /// What was moved is a new version: it goes back to its place, replacing nothing.
    fn put_back(&self, root: &Arc<Folder>, opened: &mut Opened, job: &Filing, plan: &Plan) -> io::Result<Filed> {
        dead::remove_reason(job, plan);
        let home = root.make(&job.path.parent())?;
        match plan.folder.rename(&plan.name, &home, job.path.name(), false)? {
            Renamed::Done => {
                home.sync()?;
                opened.dirty.insert(plan.folder.number(), Arc::clone(&plan.folder));
                Ok(Filed::PutBack(fresh_look(&home, job.path.name())?))
            }
            Renamed::Taken | Renamed::CrossesDevices => {
                let look = fresh_look(&plan.folder, &plan.name)?;
                let folder = self.target(root, opened, Area::Dead, &job.path.parent())?;
                let parent = job.path.parent();
                let name =
                    free(&folder, job.path.name(), &[REASON], &|name| opened.is_claimed(Area::Dead, &parent, name))?;
                dead::write_displaced(&folder, &name, job, &look)?;
                match plan.folder.rename(&plan.name, &folder, &name, true)? {
                    Renamed::Done => folder.sync()?,
                    Renamed::Taken => return Err(io::ErrorKind::AlreadyExists.into()),
                    Renamed::CrossesDevices => {
                        copy(&plan.folder, &plan.name, &folder, &name, &look)?;
                        plan.folder.remove(&plan.name)?;
                    }
                }
                let to = format!("{}/{}", Area::Dead.word(), escape(job.path.parent().join(&name).as_bytes()));
                Ok(Filed::Displaced { to })
            }
        }
    }

    /// A marker goes where its file went, unless it is a new one by now.
    fn marker_away(&self, root: &Arc<Folder>, opened: &mut Opened, job: &Filing, plan: &mut Plan) -> io::Result<()> {
        let Some(known) = job.marker else { return Ok(()) };
        let source = match self.source(root, opened, &job.path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let name = [job.path.name(), &self.marker].concat();
        match source.look(&name) {
            Ok(Some(look)) if look.stamp == known.stamp => {}
            Ok(_) => return Ok(()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(err) => return Err(err),
        }
        if plan.area == Area::Staging {
            source.remove(&name)?;
        } else {
            let target = free(&plan.folder, &[&plan.name[..], &self.marker].concat(), &[], &|_| false)?;
            match source.rename(&name, &plan.folder, &target, true)? {
                Renamed::Done => {}
                // It is empty or nearly so, and has done its work.
                Renamed::Taken | Renamed::CrossesDevices => source.remove(&name)?,
            }
        }
        opened.dirty.insert(source.number(), source);
        Ok(())
    }

    /// Whether `path` itself is not there: `NotFound` may also be said of the target's folder.
    fn is_gone(&self, root: &Arc<Folder>, path: &Rel) -> bool {
        let look = root.folder(&path.parent()).and_then(|folder| folder.look(path.name()));
        matches!(look, Err(err) if err.kind() == io::ErrorKind::NotFound)
    }

    fn source(&self, root: &Arc<Folder>, opened: &mut Opened, path: &Rel) -> io::Result<Arc<Folder>> {
        let parent = path.parent();
        if let Some(folder) = opened.sources.get(&parent) {
            return Ok(Arc::clone(folder));
        }
        let folder = Arc::new(root.folder(&parent)?);
        opened.sources.insert(parent, Arc::clone(&folder));
        Ok(folder)
    }

    /// The folder `path` in an area, made if it is missing.
    fn target(&self, root: &Arc<Folder>, opened: &mut Opened, area: Area, path: &Rel) -> io::Result<Arc<Folder>> {
        let key = (area, path.clone());
        if let Some(folder) = opened.targets.get(&key) {
            return Ok(Arc::clone(folder));
        }
        let staging = self.share.path().join(crate::flow::filter::OWN_FOLDER).join("staging");
        let base = match area {
            Area::Done => &self.done,
            Area::Dead => &self.dead,
            Area::Staging => &staging,
        };
        let folder = match below(self.share.path(), base) {
            Some(rel) => root.make(&rel)?,
            None => {
                std::fs::create_dir_all(base)?;
                Folder::at(base)?
            }
        };
        let folder = Arc::new(folder.make(path)?);
        opened.targets.insert(key, Arc::clone(&folder));
        Ok(folder)
    }
}

/// A line about the version that was sent.
fn line(job: &Filing, event: Event) -> Vec<u8> {
    Record::line(&job.path, job.look.stamp, wall(), event)
}

fn fresh_look(folder: &Folder, name: &[u8]) -> io::Result<Look> {
    match folder.open(&Rel::new(name)) {
        // A file that nobody may read can be condemned all the same.
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => {
            folder.look(name)?.ok_or_else(|| io::ErrorKind::InvalidInput.into())
        }
        opened => Ok(opened?.1),
    }
}

/// After a restart the inode is not known.
fn is_what_was_sent(look: &Look, sent: &Look) -> bool {
    if sent.ino == 0 { look.stamp == sent.stamp } else { look.same_but_moved(sent) }
}

/// Copies a file to another file system, brings it onto the disk, and sees that it is whole
/// and was not changed meanwhile.
fn copy(from: &Folder, name: &[u8], to: &Folder, draft: &[u8], sent: &Look) -> io::Result<()> {
    let mut source = from.file(name)?;
    let mut target: File = to.create(draft)?;
    let copied = io::copy(&mut source, &mut target)?;
    let mtime = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(u64::try_from(sent.stamp.mtime.0).unwrap_or(0));
    target.set_modified(mtime)?;
    target.sync_all()?;
    let size = fresh_look(to, draft)?.stamp.size;
    if copied != sent.stamp.size || size != copied {
        return Err(io::Error::other(format!("{copied} of {} bytes were copied, and {size} arrived", sent.stamp.size)));
    }
    if !is_what_was_sent(&fresh_look(from, name)?, sent) {
        return Err(io::Error::other("it changed while it was copied"));
    }
    Ok(())
}
