//! To another file system: copied, by way of the staging folder, which is on the share's own,
//! so that nobody can change the file while it is copied.
//!
//! Before the copy is begun, the journal says what it is made of (`from`) and where it goes.
//! The draft of the copy is called after `from`, so that who goes on after a crash finds it.
//! The copy takes its name only when it is whole and on the disk, and what it was made of is
//! removed only after that. So, after a crash: where both are there, only the removal is left;
//! where the copy is not there, it is made again; where only the copy is there, it is filed.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::folders::Opened;
use super::name::REASON;
use super::{
    Area, Filer, Origin, Plan, Stage, dead, fresh_look, is_what_was_sent, line, remove_if_there,
};
use crate::flow::endpoint::idempotency_key::hex;
use crate::flow::file::{Look, Rel};
use crate::flow::journal::Record;
use crate::flow::messages::{Destination, Filed, Filing};
use crate::flow::time::Wall;
use crate::io::dir::{DRAFT, Dir, Renamed};
use crate::io::os::clock::wall;

impl Filer {
    /// The target is on another file system: first to the staging folder. `None`: the plan
    /// goes on from there.
    pub(super) fn across(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        plan: &mut Plan,
    ) -> io::Result<Option<Filed>> {
        dead::remove_reason(job, &plan.folder, &plan.name);
        let wanted = plan.area;
        // The names are for the copy.
        for suffix in [&b""[..], REASON, &self.marker] {
            opened.claimed.remove(&(
                plan.area,
                job.path.parent().join(&[&plan.name, suffix].concat()),
            ));
        }
        *plan = self.fresh_plan(root, opened, job, Area::Staging)?;
        self.append(&line(job, Record::moving(&plan.moving())))?;
        // A power cut must not keep the rename and lose its line.
        self.journal.sync(wall())?;
        match self.rename(root, opened, job, plan) {
            Ok(Renamed::Done) => {
                plan.stage = Stage::Moved;
                Ok(None)
            }
            Ok(Renamed::Taken) => Err(io::ErrorKind::AlreadyExists.into()),
            Ok(Renamed::CrossesDevices) => self.copy_in_place(root, opened, job, plan, wanted),
            // The first rename could not tell: it crosses devices whether there is a file or not.
            Err(err) if err.kind() == io::ErrorKind::NotFound && self.is_gone(root, &job.path) => {
                self.marker_away(root, opened, job, plan)?;
                Ok(Some(Filed::Gone))
            }
            Err(err) => Err(err),
        }
    }

    /// A folder of the share is a mount point of its own: the file stays where it is until the
    /// copy is whole.
    fn copy_in_place(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        plan: &mut Plan,
        wanted: Area,
    ) -> io::Result<Option<Filed>> {
        let folder = self.source(root, opened, &job.path)?;
        let look = fresh_look(&folder, job.path.name())?;
        if !is_what_was_sent(&look, &job.look) {
            return Ok(Some(Filed::PutBack(look)));
        }
        if wanted == Area::Staging {
            folder.remove(job.path.name())?;
            opened.touch(&folder);
            self.marker_away(root, opened, job, plan)?;
            return Ok(Some(Filed::Away { to: None }));
        }
        *plan = self.plan_copy(root, opened, job, origin_in_place(folder, job), wanted)?;
        Ok(None)
    }

    /// Whether `job` is to be copied only, for dirpost may not write to the share.
    pub(super) fn stays(&self, job: &Filing) -> bool {
        self.share.is_read_only() && matches!(job.to, Destination::DeadLetter(_))
    }

    /// Chooses where the copy of a file goes that stays where it is.
    pub(super) fn plan_to_stay(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
    ) -> io::Result<Plan> {
        let origin = origin_in_place(self.source(root, opened, &job.path)?, job);
        Ok(Plan {
            stage: Stage::Copying(origin),
            ..self.fresh_plan(root, opened, job, Area::Dead)?
        })
    }

    /// Goes on from the staging folder to another file system.
    pub(super) fn begin_copy(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        plan: &mut Plan,
        wanted: Area,
    ) -> io::Result<()> {
        // A power cut must not undo the way there and leave the line that it is copied from there.
        plan.folder.sync()?;
        if let Ok(source) = self.source(root, opened, &job.path) {
            source.sync()?;
        }
        let (folder, name) = (Some(Arc::clone(&plan.folder)), plan.name.clone());
        let origin = Origin {
            area: Area::Staging,
            folder,
            name,
            from: plan.to.clone(),
        };
        *plan = self.plan_copy(root, opened, job, origin, wanted)?;
        Ok(())
    }

    fn plan_copy(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        origin: Origin,
        wanted: Area,
    ) -> io::Result<Plan> {
        let plan = Plan {
            stage: Stage::Copying(origin),
            ..self.fresh_plan(root, opened, job, wanted)?
        };
        self.append(&line(job, Record::moving(&plan.moving())))?;
        Ok(plan)
    }

    /// Copies, and removes what the copy was made of. `None`: all of that is done.
    pub(super) fn copy_across(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        plan: &mut Plan,
    ) -> io::Result<Option<Filed>> {
        let origin = match &plan.stage {
            Stage::Copying(origin) => origin.clone(),
            Stage::Copied(origin) => {
                // Who made it may not have lived to bring its name onto the disk.
                plan.folder.sync()?;
                return self.remove_origin(root, opened, job, plan, &origin.clone());
            }
            Stage::Planned | Stage::Moved => return Ok(None),
        };
        let (folder, name) = origin.at()?;
        let look = fresh_look(folder, name)?;
        if !is_what_was_sent(&look, &job.look) {
            dead::remove_reason(job, &plan.folder, &plan.name);
            return self.is_changed(root, opened, job, &origin, look).map(Some);
        }
        // A power cut must not leave the copy without the line that tells what it is.
        self.journal.sync(wall())?;
        self.write_reason(job, plan)?;
        copy_by_draft(
            (folder, name),
            (&plan.folder, &plan.name),
            &draft_of(&origin.from),
            &job.look,
        )
        .inspect_err(|_| dead::remove_reason(job, &plan.folder, &plan.name))?;
        plan.stage = Stage::Copied(origin.clone());
        self.remove_origin(root, opened, job, plan, &origin)
    }

    /// The copy has its name: removes what it was made of, if that is still what was sent.
    fn remove_origin(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        plan: &Plan,
        origin: &Origin,
    ) -> io::Result<Option<Filed>> {
        let Ok((folder, name)) = origin.at() else {
            return Ok(None);
        };
        opened.touch(folder);
        let Some(look) = origin.look()? else {
            return Ok(None);
        };
        // At its place an equal stamp may be that of a new drop, after a crash: the bytes decide.
        let may_be_new = origin.area == Area::Watched && job.look.ino == 0;
        if !is_what_was_sent(&look, &job.look)
            || may_be_new && !same_content((&plan.folder, &plan.name), (folder, name))?
        {
            return self.is_changed(root, opened, job, origin, look).map(Some);
        }
        if !self.stays(job) {
            folder.remove(name)?;
        }
        Ok(None)
    }

    /// What was to be copied, or removed, is a new version.
    fn is_changed(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        origin: &Origin,
        look: Look,
    ) -> io::Result<Filed> {
        match origin.area {
            Area::Watched => Ok(Filed::PutBack(look)),
            _ => self.put_back(root, opened, job, origin.at()?),
        }
    }
}

fn origin_in_place(folder: Arc<Dir>, job: &Filing) -> Origin {
    let from = Area::Watched.entry(&job.path);
    Origin {
        area: Area::Watched,
        folder: Some(folder),
        name: job.path.name().to_vec(),
        from,
    }
}

/// The name of the draft of a copy of `from`.
pub(super) fn draft_of(from: &str) -> Vec<u8> {
    [
        DRAFT.as_bytes(),
        &hex(&Sha256::digest(from)[..8]).into_bytes(),
    ]
    .concat()
}

/// Copies a file to another file system: what takes the name is whole, and on the disk. After
/// an error nothing is left there.
pub(super) fn copy_by_draft(
    from: (&Dir, &[u8]),
    (target, name): (&Dir, &[u8]),
    draft: &[u8],
    sent: &Look,
) -> io::Result<()> {
    remove_if_there(target, draft)?;
    let copied = copy(from, (target, draft), sent).and_then(|()| {
        match target.rename(draft, target, name, true)? {
            // A second fsync may lie: what it could not bring onto the disk is made anew.
            Renamed::Done => target.sync().inspect_err(|_| drop(target.remove(name))),
            Renamed::Taken | Renamed::CrossesDevices => Err(io::ErrorKind::AlreadyExists.into()),
        }
    });
    copied.inspect_err(|_| drop(target.remove(draft)))
}

/// Copies, brings the copy onto the disk, and sees that it is whole and that the file was not
/// changed meanwhile.
fn copy((from, name): (&Dir, &[u8]), (to, draft): (&Dir, &[u8]), sent: &Look) -> io::Result<()> {
    let mut source = from.file(name)?;
    let mut target: File = to.create(draft)?;
    let copied = io::copy(&mut source, &mut target)?;
    target.set_modified(system_time(sent.stamp.mtime))?;
    target.sync_all()?;
    let size = fresh_look(to, draft)?.stamp.size;
    if copied != sent.stamp.size || size != copied {
        return Err(io::Error::other(format!(
            "{copied} of {} bytes were copied, and {size} arrived",
            sent.stamp.size
        )));
    }
    if !is_what_was_sent(&fresh_look(from, name)?, sent) {
        return Err(io::Error::other("it changed while it was copied"));
    }
    Ok(())
}

fn system_time(at: Wall) -> SystemTime {
    let distance = Duration::from_nanos(at.0.unsigned_abs());
    let time = if at.0 < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Whether two files hold the same bytes.
pub(super) fn same_content(one: (&Dir, &[u8]), other: (&Dir, &[u8])) -> io::Result<bool> {
    let (mut one, _) = one.0.open(&Rel::new(one.1))?;
    let (mut other, _) = other.0.open(&Rel::new(other.1))?;
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let count = fill(&mut one, &mut left)?;
        if count != fill(&mut other, &mut right)? || left[..count] != right[..count] {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
    }
}

/// Reads until `buf` is full or the file is at its end.
fn fill(file: &mut File, buf: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buf.len() {
        match file.read(&mut buf[count..])? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}
