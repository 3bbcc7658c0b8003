//! Back to its place: what was moved turned out to be a new version, which was never sent.

use std::io;
use std::sync::Arc;

use super::across::{copy_by_draft, draft_of};
use super::folders::Opened;
use super::name::{REASON, free};
use super::{Area, Filer, dead, fresh_look};
use crate::flow::endpoint::idempotency_key::hex;
use crate::flow::messages::{Filed, Filing};
use crate::io::dir::{Dir, Renamed};

impl Filer {
    /// Moves what lies at `from` back to its place, replacing nothing; to dead-letter if the
    /// place is taken.
    pub(super) fn put_back(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        (folder, name): (&Arc<Dir>, &[u8]),
    ) -> io::Result<Filed> {
        opened.touch(folder);
        let home = root.make(&job.path.parent())?;
        match folder.rename(name, &home, job.path.name(), false)? {
            Renamed::Done => {
                home.sync()?;
                Ok(Filed::PutBack(fresh_look(&home, job.path.name())?))
            }
            Renamed::Taken | Renamed::CrossesDevices => {
                self.displace(root, opened, job, (folder, name))
            }
        }
    }

    fn displace(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        job: &Filing,
        (from, from_name): (&Dir, &[u8]),
    ) -> io::Result<Filed> {
        let look = fresh_look(from, from_name)?;
        let parent = job.path.parent();
        let folder = self.target(root, opened, Area::Dead, &parent)?;
        let name = free(&folder, job.path.name(), &[REASON], &|name| {
            opened.is_claimed(Area::Dead, &parent, name)
        })?;
        dead::write_displaced(&folder, &name, job, &look)?;
        let moved = match from.rename(from_name, &folder, &name, true) {
            Ok(Renamed::Done) => Ok(()),
            Ok(Renamed::Taken) => Err(io::ErrorKind::AlreadyExists.into()),
            Ok(Renamed::CrossesDevices) => {
                // Called after what it is made of, so that a next try finds a draft that was left.
                let draft = draft_of(&hex(from_name));
                copy_by_draft((from, from_name), (&folder, &name), &draft, &look).and_then(|()| {
                    from.remove(from_name)
                        .inspect_err(|_| drop(folder.remove(&name)))
                })
            }
            Err(err) => Err(err),
        };
        moved.inspect_err(|_| dead::remove_sidecar(&folder, &name))?;
        folder.sync()?;
        Ok(Filed::Displaced {
            to: Area::Dead.entry(&parent.join(&name)),
        })
    }
}
