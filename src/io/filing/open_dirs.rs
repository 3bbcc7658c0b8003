//! The folders that files are moved from and to: opened once, and kept open for the next batches.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::Roots;
use crate::flow::filing::{Area, Place};
use crate::flow::scan::filter::OWN_FOLDER;
use crate::io::dir::{Dir, below};
use crate::io::share::Share;

/// Upper bound on the folders that are held open between two batches.
const HELD: usize = 64;

/// Folders opened for filing.
#[derive(Debug, Default)]
pub(super) struct OpenDirs {
    /// The watched folder that they were opened below.
    root: Option<Arc<Dir>>,
    dirs: HashMap<Place, Arc<Dir>>,
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

    /// The folder at `place`. Those of dirpost's own areas are made where they are missing.
    ///
    /// # Errors
    /// It cannot be opened or made; `NotFound` for one in the watched folder that is not there.
    pub fn open(&mut self, place: &Place, roots: &Roots, share: &Share) -> io::Result<Arc<Dir>> {
        if let Some(dir) = self.dirs.get(place) {
            return Ok(Arc::clone(dir));
        }
        let dir = match place.area {
            Area::Watched => self.root()?.folder(&place.path)?,
            Area::Done | Area::DeadLetter | Area::Staging => {
                self.area(place.area, roots, share)?.make(&place.path)?
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

    fn area(&self, area: Area, roots: &Roots, share: &Share) -> io::Result<Dir> {
        let staging = share.path().join(OWN_FOLDER).join("staging");
        let path = match area {
            Area::Done => &roots.done,
            Area::DeadLetter => &roots.dead_letter,
            Area::Staging => &staging,
            Area::Watched => share.path(),
        };
        match below(share.path(), path) {
            Some(rel) => self.root()?.make(&rel),
            None => std::fs::create_dir_all(path).and_then(|()| Dir::at(path)),
        }
    }
}
