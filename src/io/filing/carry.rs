//! Carrying out a plan on one file system: rename, look, and what remains.

use std::io;
use std::sync::Arc;

use super::folders::Opened;
use super::name::free;
use super::{Area, Filer, Plan, Stage, dead, fresh_look, is_what_was_sent, line};
use crate::flow::file::Rel;
use crate::flow::journal::Record;
use crate::flow::messages::{Destination, Filed, Filing};
use crate::io::dir::{Dir, Renamed};
use crate::io::os::clock::wall;

impl Filer {
    /// Does what `plan` says, from where it is.
    pub(super) fn carry_out(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        plan: &mut Plan,
    ) -> io::Result<Filed> {
        match plan.stage {
            Stage::Planned => {
                if let Some(filed) = self.leave_place(root, opened, job, plan)? {
                    return Ok(filed);
                }
            }
            // A crash may have come while it was written.
            Stage::Moved | Stage::Copied(_) => self.write_reason(job, plan)?,
            Stage::Copying(_) => {}
        }
        if matches!(plan.stage, Stage::Moved)
            && let Some(filed) = self.look_behind(root, opened, job, plan)?
        {
            return Ok(filed);
        }
        if matches!(plan.stage, Stage::Copying(_) | Stage::Copied(_))
            && let Some(filed) = self.copy_across(root, opened, job, plan)?
        {
            return Ok(filed);
        }
        if plan.area == Area::Staging {
            plan.folder.remove(&plan.name)?;
            opened.touch(&plan.folder);
        }
        if self.stays(job) {
            return Ok(Filed::Copied {
                to: plan.to.clone(),
            });
        }
        self.marker_away(root, opened, job, plan)?;
        Ok(Filed::Away {
            to: (plan.area != Area::Staging).then(|| plan.to.clone()),
        })
    }

    /// Renames the file away from its place. `None`: the plan goes on from there.
    fn leave_place(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        plan: &mut Plan,
    ) -> io::Result<Option<Filed>> {
        self.write_reason(job, plan)?;
        match self.rename(root, opened, job, plan) {
            Ok(Renamed::Done) => {
                plan.stage = Stage::Moved;
                Ok(None)
            }
            Ok(Renamed::Taken) => self.start_over(root, opened, job, plan).map(Some),
            Ok(Renamed::CrossesDevices) => self.across(root, opened, job, plan),
            Err(err) if err.kind() == io::ErrorKind::NotFound && self.is_gone(root, &job.path) => {
                dead::remove_reason(job, &plan.folder, &plan.name);
                self.marker_away(root, opened, job, plan)?;
                Ok(Some(Filed::Gone))
            }
            Err(err) => {
                dead::remove_reason(job, &plan.folder, &plan.name);
                // The target's folder may be gone: it is opened anew for the next try.
                opened.targets.clear();
                Err(err)
            }
        }
    }

    /// The reason is there before its file.
    pub(super) fn write_reason(&self, job: &Filing, plan: &Plan) -> io::Result<()> {
        match &job.to {
            Destination::DeadLetter(reason) if plan.area == Area::Dead => {
                dead::write_reason(&plan.folder, &plan.name, job, reason)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn rename(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        plan: &Plan,
    ) -> io::Result<Renamed> {
        let source = self.source(root, opened, &job.path)?;
        let renamed = source.rename(job.path.name(), &plan.folder, &plan.name, true)?;
        opened.touch(&source);
        opened.touch(&plan.folder);
        Ok(renamed)
    }

    /// Somebody took the name meanwhile: another one.
    fn start_over(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        plan: &mut Plan,
    ) -> io::Result<Filed> {
        dead::remove_reason(job, &plan.folder, &plan.name);
        *plan = self.fresh_plan(root, opened, job, plan.area)?;
        self.append(&line(job, Record::moving(&plan.moving())))?;
        self.journal.sync(wall())?;
        self.carry_out(root, opened, job, plan)
    }

    /// Whether what was moved is what was sent. `None`: it is, and the plan goes on.
    fn look_behind(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        plan: &mut Plan,
    ) -> io::Result<Option<Filed>> {
        if !is_what_was_sent(&fresh_look(&plan.folder, &plan.name)?, &job.look) {
            dead::remove_reason(job, &plan.folder, &plan.name);
            return self
                .put_back(root, opened, job, (&plan.folder, &plan.name))
                .map(Some);
        }
        match Area::of(job) {
            Some(wanted) if plan.area == Area::Staging && wanted != Area::Staging => self
                .begin_copy(root, opened, job, plan, wanted)
                .map(|()| None),
            _ => Ok(None),
        }
    }

    /// A marker goes where its file went, unless it is a new one by now.
    pub(super) fn marker_away(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        plan: &mut Plan,
    ) -> io::Result<()> {
        let Some(known) = job.marker else {
            return Ok(());
        };
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
            let target = free(
                &plan.folder,
                &[&plan.name[..], &self.marker].concat(),
                &[],
                &|_| false,
            )?;
            match source.rename(&name, &plan.folder, &target, true)? {
                Renamed::Done => {}
                // It is empty or nearly so, and has done its work.
                Renamed::Taken | Renamed::CrossesDevices => source.remove(&name)?,
            }
        }
        opened.touch(&source);
        Ok(())
    }

    /// Whether `path` itself is not there: `NotFound` may also be said of the target's folder.
    /// A share that has lost its mark says it of everything.
    pub(super) fn is_gone(&self, root: &Arc<Dir>, path: &Rel) -> bool {
        if self.share.reopen().is_err() {
            return false;
        }
        let look = root
            .folder(&path.parent())
            .and_then(|folder| folder.look(path.name()));
        matches!(look, Err(err) if err.kind() == io::ErrorKind::NotFound)
    }
}
