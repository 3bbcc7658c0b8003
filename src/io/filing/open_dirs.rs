//! The folders that files are moved from and to: opened once, and kept open for the next batches.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Roots;
use crate::flow::file::Rel;
use crate::flow::filing::{Area, Place};
use crate::flow::scan::filter::OWN_FOLDER;
use crate::io::dir::{Dir, GroupRights, below, name_of};
use crate::io::share::Share;

/// Upper bound on the folders that are held open between two batches.
const HELD: usize = 64;

/// Folders opened for filing.
#[derive(Debug, Default)]
pub(super) struct OpenDirs {
    /// The watched folder that they were opened below.
    root: Option<Arc<Dir>>,
    dirs: HashMap<Place, Arc<Dir>>,
    /// Areas of which it was said that they are wider open than the watched folder.
    said: BTreeSet<Area>,
}

impl OpenDirs {
    /// Lets go of what was opened below another opening of the watched folder.
    pub fn begin_batch(&mut self, root: &Arc<Dir>) {
        let same = self
            .root
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, root));
        if !same || self.dirs.len() > HELD {
            self.forget();
            self.root = Some(Arc::clone(root));
        }
    }

    /// After a fault: what is held may be another folder than the one of that name, or one that
    /// the server no longer knows.
    pub fn forget(&mut self) {
        self.dirs.clear();
    }

    /// The folder at `place`. Those of dirpost's own areas are made where they are missing, no
    /// wider open than the folders that they mirror.
    ///
    /// # Errors
    /// It cannot be opened or made; `NotFound` for one in the watched folder that is not there.
    pub fn open(&mut self, place: &Place, roots: &Roots, share: &Share) -> io::Result<Arc<Dir>> {
        if let Some(dir) = self.dirs.get(place) {
            return Ok(Arc::clone(dir));
        }
        let dir = match place.area {
            Area::Watched => self.root()?.folder(&place.path)?,
            Area::Staging => self.root()?.make(&staging().join(place.path.as_bytes()))?,
            Area::Done => self.mirror(place, &roots.done, GroupRights::Kept, share)?,
            Area::DeadLetter => {
                self.mirror(place, &roots.dead_letter, GroupRights::Dropped, share)?
            }
        };
        let dir = Arc::new(dir);
        self.dirs.insert(place.clone(), Arc::clone(&dir));
        Ok(dir)
    }

    /// The folder at `place` in the watched folder, made where it is missing.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn make_watched(&mut self, place: &Place) -> io::Result<()> {
        let dir = self.root()?.make(&place.path)?;
        self.dirs.insert(place.clone(), Arc::new(dir));
        Ok(())
    }

    fn root(&self) -> io::Result<&Arc<Dir>> {
        self.root
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A folder in an area that mirrors the watched folder.
    fn mirror(
        &mut self,
        place: &Place,
        area: &Path,
        group: GroupRights,
        share: &Share,
    ) -> io::Result<Dir> {
        let root = Arc::clone(self.root()?);
        let base = match below(share.path(), area) {
            // What is between the watched folder and the area is dirpost's own.
            Some(rel) => root
                .make(&rel.parent())?
                .make_as(rel.name(), &root, group)?,
            None => Dir::make_at_like(area, &root, group)?,
        };
        let made = base.folder.make_like(&place.path, &root, group)?;
        if let Some(wider) = base.wider.first().or(made.wider.first())
            && self.said.insert(place.area)
        {
            let path = area.join(name_of(wider.path.as_bytes()));
            log::warn!(
                target: "dirpost",
                "{}: it is open to more users than {}: what is filed there can be read by others",
                path.display(),
                share.path().display()
            );
        }
        Ok(made.folder)
    }
}

/// The staging folder, below the watched one.
fn staging() -> Rel {
    Rel::new(OWN_FOLDER.as_bytes()).join(b"staging")
}
