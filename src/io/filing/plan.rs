//! Where a file goes: a free name, or after a crash the one that was written down, and how far
//! it had come.

use std::io;
use std::sync::Arc;

use super::across::{draft_of, same_content};
use super::folders::Opened;
use super::name::{REASON, free};
use super::{Area, Filer, Origin, Plan, Stage, dead, remove_if_there};
use crate::flow::file::{Look, Rel};
use crate::flow::messages::Filing;
use crate::io::dir::{Dir, draft_name};

impl Filer {
    /// Chooses where a file goes. `None`: nowhere, it stays.
    pub(super) fn plan(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
    ) -> io::Result<Option<Plan>> {
        let Some(wanted) = Area::of(job) else {
            return Ok(None);
        };
        if let Some(moving) = &job.resumed
            && let Some((area, path)) =
                Area::parse(&moving.to).filter(|(area, _)| *area != Area::Watched)
        {
            let resumed = match self.origin(root, opened, job)? {
                Some(origin) => self.resume_copy(root, opened, job, area, &path, origin)?,
                None => self.resume(root, opened, job, area, &path)?,
            };
            if resumed.is_some() {
                return Ok(resumed);
            }
        }
        if self.stays(job) {
            return self.plan_to_stay(root, opened, job).map(Some);
        }
        self.fresh_plan(root, opened, job, wanted).map(Some)
    }

    pub(super) fn fresh_plan(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        area: Area,
    ) -> io::Result<Plan> {
        let parent = if area == Area::Staging {
            Rel::root()
        } else {
            job.path.parent()
        };
        let folder = self.target(root, opened, area, &parent)?;
        let beside = self.beside(area, job);
        let wanted = if area == Area::Staging {
            draft_name()
        } else {
            job.path.name().to_vec()
        };
        let name = free(&folder, &wanted, &beside, &|name| {
            opened.is_claimed(area, &parent, name)
        })?;
        for suffix in std::iter::once(&b""[..]).chain(beside) {
            opened
                .claimed
                .insert((area, parent.join(&[&name, suffix].concat())));
        }
        let to = area.entry(&parent.join(&name));
        Ok(Plan {
            area,
            folder,
            name,
            to,
            stage: Stage::Planned,
        })
    }

    /// What else must be free where a file goes: suffixes of its name.
    fn beside(&self, area: Area, job: &Filing) -> Vec<&[u8]> {
        match (area, job.marker) {
            (Area::Dead, None) => vec![REASON],
            (Area::Dead, Some(_)) => vec![REASON, &self.marker],
            (Area::Done, Some(_)) => vec![&self.marker],
            _ => vec![],
        }
    }

    /// After a crash: whether the rename that was written down took place.
    fn resume(
        &self,
        root: &Arc<Dir>,
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
                if area == Area::Dead {
                    dead::remove_reason(job, &folder, path.name());
                }
                return Ok(None);
            }
            Err(err) => return Err(err),
        };
        // Who did the rename may not have lived to bring it onto the disk.
        opened.touch(&folder);
        // A rename by link and unlink may have stopped in between: then both are one file.
        if let Ok(source) = self.source(root, opened, &job.path) {
            opened.touch(&source);
            if let Ok(Some(look)) = source.look(job.path.name()) {
                if look.ino != 0 && (look.dev, look.ino) == (there.dev, there.ino) {
                    source.remove(job.path.name())?;
                } else if look.stamp == job.look.stamp && there.stamp != job.look.stamp {
                    // It never left; the name has gone to another one.
                    return Ok(None);
                }
            }
        }
        opened
            .claimed
            .insert((area, path.parent().join(&[path.name(), REASON].concat())));
        Ok(Some(Plan {
            area,
            folder,
            name: path.name().to_vec(),
            to: area.entry(path),
            stage: Stage::Moved,
        }))
    }

    /// What a copy that was written down is made of.
    fn origin(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
    ) -> io::Result<Option<Origin>> {
        let Some(from) = job
            .resumed
            .as_ref()
            .and_then(|moving| moving.from.as_deref())
        else {
            return Ok(None);
        };
        let folder = match Area::parse(from) {
            Some((Area::Staging, path)) => {
                Some(self.target(root, opened, Area::Staging, &path.parent())?)
            }
            Some((Area::Watched, path)) if path == job.path => {
                match self.source(root, opened, &path) {
                    Err(err) if err.kind() == io::ErrorKind::NotFound => None,
                    other => Some(other?),
                }
            }
            _ => return Ok(None),
        };
        Ok(Area::parse(from).map(|(area, path)| Origin {
            area,
            folder,
            name: path.name().to_vec(),
            from: from.to_owned(),
        }))
    }

    /// After a crash: how far the copy had come. `None`: there is neither it nor what it was
    /// to be made of.
    fn resume_copy(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        area: Area,
        path: &Rel,
        origin: Origin,
    ) -> io::Result<Option<Plan>> {
        let (folder, name) = (
            self.target(root, opened, area, &path.parent())?,
            path.name(),
        );
        remove_if_there(&folder, &draft_of(&origin.from))?;
        let left = origin.look()?;
        let there = match folder.look(name) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        let is_ours = match (&there, &left) {
            (None, None) => {
                // Its reason was written first.
                dead::remove_reason(job, &folder, name);
                return Ok(None);
            }
            // What was written down is removed only when the copy is whole.
            (Some(there), None) => there.is_some(),
            (Some(Some(there)), Some(_)) => is_the_copy(job, there, (&folder, name), &origin)?,
            (Some(None), Some(_)) => false,
            (None, Some(_)) => !opened.is_claimed(area, &path.parent(), name),
        };
        if !is_ours {
            // The name has gone to another one.
            let plan = self.fresh_plan(root, opened, job, area)?;
            return Ok(Some(Plan {
                stage: Stage::Copying(origin),
                ..plan
            }));
        }
        for suffix in std::iter::once(&b""[..]).chain(self.beside(area, job)) {
            opened
                .claimed
                .insert((area, path.parent().join(&[name, suffix].concat())));
        }
        let stage = if there.is_some() {
            Stage::Copied(origin)
        } else {
            Stage::Copying(origin)
        };
        Ok(Some(Plan {
            area,
            folder,
            name: name.to_vec(),
            to: area.entry(path),
            stage,
        }))
    }
}

/// Whether what has the name of the copy is the copy. The stamps may differ where the file
/// system keeps coarser times; then the bytes decide.
fn is_the_copy(
    job: &Filing,
    there: &Look,
    copy: (&Dir, &[u8]),
    origin: &Origin,
) -> io::Result<bool> {
    if there.stamp == job.look.stamp {
        return Ok(true);
    }
    let (folder, name) = origin.at()?;
    Ok(there.stamp.size == job.look.stamp.size && same_content(copy, (folder, name))?)
}
