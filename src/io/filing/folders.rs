//! The folders that files are moved from and to: opened once for a group, and kept open for
//! the next ones.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::{Area, Filer};
use crate::flow::file::Rel;
use crate::io::dir::Dir;
use crate::io::dir::below;

/// So many folders are held open between two groups.
const HELD: usize = 64;

/// Folders opened for filing.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// The watched folder that they were opened below.
    root: Option<Arc<Dir>>,
    sources: HashMap<Rel, Arc<Dir>>,
    pub(super) targets: HashMap<(Area, Rel), Arc<Dir>>,
    /// Names that are promised to files of this group.
    pub(super) claimed: HashSet<(Area, Rel)>,
    /// To be brought onto the disk.
    pub(super) dirty: HashMap<(u64, u64), Arc<Dir>>,
}

impl Opened {
    /// Lets go of what was opened before the share was opened again.
    pub(super) fn renew(&mut self, root: &Arc<Dir>) {
        let same = self
            .root
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, root));
        if !same || self.sources.len() + self.targets.len() > HELD {
            *self = Opened {
                root: Some(Arc::clone(root)),
                ..Opened::default()
            };
        }
        self.dirty.clear();
        self.claimed.clear();
    }

    pub(super) fn is_claimed(&self, area: Area, parent: &Rel, name: &[u8]) -> bool {
        self.claimed.contains(&(area, parent.join(name)))
    }

    /// `folder` is to be brought onto the disk at the end of the group.
    pub(super) fn touch(&mut self, folder: &Arc<Dir>) {
        self.dirty.insert(folder.number(), Arc::clone(folder));
    }
}

impl Filer {
    pub(super) fn source(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        path: &Rel,
    ) -> io::Result<Arc<Dir>> {
        let parent = path.parent();
        if let Some(folder) = opened.sources.get(&parent) {
            return Ok(Arc::clone(folder));
        }
        let folder = Arc::new(root.folder(&parent)?);
        opened.sources.insert(parent, Arc::clone(&folder));
        Ok(folder)
    }

    /// The folder `path` in an area, made if it is missing.
    pub(super) fn target(
        &self,
        root: &Arc<Dir>,
        opened: &mut Opened,
        area: Area,
        path: &Rel,
    ) -> io::Result<Arc<Dir>> {
        let key = (area, path.clone());
        if let Some(folder) = opened.targets.get(&key) {
            return Ok(Arc::clone(folder));
        }
        let staging = self
            .share
            .path()
            .join(crate::flow::scan::filter::OWN_FOLDER)
            .join("staging");
        let base = match area {
            Area::Done => &self.done,
            Area::Dead => &self.dead,
            Area::Staging => &staging,
            Area::Watched => self.share.path(),
        };
        let folder = match below(self.share.path(), base) {
            Some(rel) => root.make(&rel)?,
            None => {
                std::fs::create_dir_all(base)?;
                Dir::at(base)?
            }
        };
        let folder = Arc::new(folder.make(path)?);
        opened.targets.insert(key, Arc::clone(&folder));
        Ok(folder)
    }
}
