//! The folders that files are moved from and to: opened once, and kept open for the next batches.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::Roots;
use crate::flow::file::Rel;
use crate::flow::filing::{Area, Place};
use crate::flow::scan::filter::OWN_FOLDER;
use crate::io::dir::{Dir, GroupRights, below, name_of};
use crate::io::os::lock;
use crate::io::share::Share;

/// Upper bound on the folders that are held open between two batches.
const HELD: usize = 64;

/// Folders opened for filing, for all threads that file.
#[derive(Debug, Default)]
pub(super) struct OpenDirs {
    /// The watched folder that they were opened below.
    root: Option<Arc<Dir>>,
    held: Mutex<Held>,
    /// One thread at a time makes folders in dirpost's own areas: until one has its mode and its access
    /// list, another thread must not take it for a folder that was there. Areas of which it was
    /// said that they are wider open than the watched folder.
    said: Mutex<BTreeSet<Area>>,
}

/// What is open.
#[derive(Debug, Default)]
struct Held {
    dirs: HashMap<Place, Arc<Dir>>,
    /// How often all were let go of.
    forgotten: u64,
}

impl OpenDirs {
    /// Lets go of what was opened below another opening of the watched folder.
    pub fn begin_batch(&mut self, root: &Arc<Dir>) {
        let same = self
            .root
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, root));
        if !same || lock(&self.held).dirs.len() > HELD {
            self.forget();
            self.root = Some(Arc::clone(root));
        }
    }

    /// After a fault: what is held may be another folder than the one of that name, or one that
    /// the server no longer knows.
    pub fn forget(&self) {
        let mut held = lock(&self.held);
        held.dirs.clear();
        held.forgotten += 1;
    }

    /// The folder at `place`. Those of dirpost's own areas are made where they are missing, no
    /// wider open than the folders that they mirror.
    ///
    /// # Errors
    /// It cannot be opened or made; `NotFound` for one in the watched folder that is not there.
    pub fn open(&self, place: &Place, roots: &Roots, share: &Share) -> io::Result<Arc<Dir>> {
        let (dir, forgotten) = self.held(place);
        if let Some(dir) = dir {
            return Ok(dir);
        }
        if place.area == Area::Watched {
            return Ok(self.hold(place, self.root()?.folder(&place.path)?, forgotten));
        }
        let mut said = lock(&self.said);
        // Whoever was here before may have made it.
        let (dir, forgotten) = self.held(place);
        if let Some(dir) = dir {
            return Ok(dir);
        }
        let mut mirror = |area, group| self.mirror(place, area, group, (share, &mut said));
        let dir = match place.area {
            Area::Done => mirror(&roots.done, GroupRights::Kept)?,
            Area::DeadLetter => mirror(&roots.dead_letter, GroupRights::Dropped)?,
            Area::Staging | Area::Watched => {
                self.root()?.make(&staging().join(place.path.as_bytes()))?
            }
        };
        Ok(self.hold(place, dir, forgotten))
    }

    /// The folder at `place` in the watched folder, made where it is missing.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn make_watched(&self, place: &Place) -> io::Result<()> {
        let (_, forgotten) = self.held(place);
        let dir = self.root()?.make(&place.path)?;
        self.hold(place, dir, forgotten);
        Ok(())
    }

    /// The folder, if it is open, and how often all were let go of until now.
    fn held(&self, place: &Place) -> (Option<Arc<Dir>>, u64) {
        let held = lock(&self.held);
        (held.dirs.get(place).map(Arc::clone), held.forgotten)
    }

    /// Keeps a folder open, unless all were let go of while it was opened: it may be one of these.
    fn hold(&self, place: &Place, dir: Dir, forgotten: u64) -> Arc<Dir> {
        let dir = Arc::new(dir);
        let mut held = lock(&self.held);
        if held.forgotten == forgotten {
            held.dirs.insert(place.clone(), Arc::clone(&dir));
        }
        dir
    }

    fn root(&self) -> io::Result<&Arc<Dir>> {
        self.root
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A folder in an area that mirrors the watched folder.
    fn mirror(
        &self,
        place: &Place,
        area: &Path,
        group: GroupRights,
        (share, said): (&Share, &mut BTreeSet<Area>),
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
            && said.insert(place.area)
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
