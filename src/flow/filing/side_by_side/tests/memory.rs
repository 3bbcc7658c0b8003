//! A file system in memory.

use super::*;

/// Names and what is under them: the inode tells which file it is.
#[derive(Clone, Default)]
pub struct Memory {
    pub names: BTreeMap<Place, Look>,
    pub last: u64,
    /// It has a rename that replaces nothing.
    pub renames: bool,
    /// A file can have two names.
    pub links: bool,
    pub lines: Vec<Line>,
    /// How often each folder was brought onto the disk.
    pub synced: BTreeMap<Place, usize>,
    /// This file is another version once it is renamed.
    pub grows: Option<Place>,
    /// A file is moved to this name and the answer is an error, and so is that of the next look there.
    pub unclear: Option<Place>,
    /// Names that files were moved to, or that were removed, and folders that were brought onto the disk, in
    /// that order.
    pub order: Vec<Place>,
    /// The first fsync of this folder fails.
    pub fails: Option<Place>,
    /// Somebody writes to this file once the names in its folder are on the disk.
    pub changes: Option<Place>,
    /// What was written down of `done`, each time with the lines that the journal had by then.
    pub kept: Vec<(Kept, Vec<Line>)>,
}

pub fn place(area: Area, name: &str) -> Place {
    Place::new(area, Rel::new(name.as_bytes()))
}

fn enoent() -> Fault {
    Fault::new(FaultKind::Unclear, "ENOENT")
}

impl Memory {
    pub fn put(&mut self, at: Place, size: u64) -> Look {
        self.last += 1;
        let stamp = Stamp {
            size,
            mtime: Wall(1),
        };
        let look = Look {
            stamp,
            ino: self.last,
            ..Look::default()
        };
        let before = self.names.insert(at.clone(), look);
        assert_eq!(before, None, "{at} is replaced");
        look
    }

    fn find(&self, at: &Place) -> Result<Look, Fault> {
        self.names.get(at).copied().ok_or_else(enoent)
    }

    /// The file at `from` lies at `to` now, perhaps as another version.
    fn take_name(&mut self, from: &Place, to: &Place, mut look: Look) {
        self.names.remove(from);
        if self.grows.as_ref() == Some(from) {
            look.stamp.size += 1;
        }
        self.names.insert(to.clone(), look);
        self.order.push(to.clone());
    }

    fn is_free(&self, at: &Place) -> Result<(), Fault> {
        match self.names.contains_key(at) {
            true => Err(Fault::new(FaultKind::Exists, "EEXIST")),
            false => Ok(()),
        }
    }
}

impl Disk for Memory {
    fn note_kept(&mut self, kept: &[Kept]) {
        let lines = &self.lines;
        let kept = kept.iter().map(|kept| (kept.clone(), lines.clone()));
        self.kept.extend(kept);
    }

    fn look(&mut self, at: &Place) -> Result<Entry, Fault> {
        let is_moved_there = self.order.contains(at);
        if self
            .unclear
            .take_if(|unclear| unclear == at && is_moved_there)
            .is_some()
        {
            return Err(Fault::new(FaultKind::Unclear, "EIO"));
        }
        Ok(self
            .names
            .get(at)
            .map_or(Entry::Absent, |look| Entry::File(*look)))
    }
    fn same_device(&mut self, _: &Place, _: &Place) -> Result<bool, Fault> {
        Ok(true)
    }
    fn digest(&mut self, at: &Place) -> Result<[u8; 32], Fault> {
        let ino = self.find(at)?.ino;
        Ok([u8::try_from(ino).unwrap(); 32])
    }
    fn rename(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        if !self.renames {
            return Err(Fault::new(FaultKind::Unsupported, "EINVAL"));
        }
        let look = self.find(from)?;
        self.is_free(to)?;
        self.take_name(from, to, look);
        match self.unclear.as_ref() == Some(to) {
            true => Err(Fault::new(FaultKind::Unclear, "EIO")),
            false => Ok(()),
        }
    }
    fn link(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        if !self.links {
            return Err(Fault::new(FaultKind::Unsupported, "EPERM"));
        }
        let look = self.find(from)?;
        self.is_free(to)?;
        self.names.insert(to.clone(), look);
        self.order.push(to.clone());
        Ok(())
    }
    fn reserve(&mut self, at: &Place) -> Result<Look, Fault> {
        self.is_free(at)?;
        Ok(self.put(at.clone(), 0))
    }
    fn rename_over(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        let look = self.find(from)?;
        let there = self.names.get(to).map_or(0, |look| look.stamp.size);
        assert_eq!(there, 0, "{to} is replaced");
        self.take_name(from, to, look);
        Ok(())
    }
    fn remove(&mut self, at: &Place) -> Result<(), Fault> {
        self.order.push(at.clone());
        self.names.remove(at).map(drop).ok_or_else(enoent)
    }
    fn copy(&mut self, _: &Place, _: &Place) -> Result<Copied, Fault> {
        unreachable!("all is on one file system")
    }
    fn write_beside(&mut self, at: &Place, text: &[u8], _: &Place) -> Result<(), Fault> {
        self.names.remove(at);
        self.put(at.clone(), text.len() as u64);
        Ok(())
    }
    fn make_folder(&mut self, _: &Place) -> Result<(), Fault> {
        Ok(())
    }
    fn sync_folder(&mut self, folder: &Place) -> Result<(), Fault> {
        if self.fails.take_if(|fails| fails == folder).is_some() {
            return Err(Fault::new(FaultKind::Unclear, "EIO"));
        }
        *self.synced.entry(folder.clone()).or_default() += 1;
        self.order.push(folder.clone());
        if let Some(at) = self.changes.take_if(|at| at.folder() == *folder) {
            self.names.get_mut(&at).expect("it is there").stamp.size += 1;
        }
        Ok(())
    }
    fn append(&mut self, lines: &[Line]) -> Result<(), Fault> {
        self.lines.extend_from_slice(lines);
        Ok(())
    }
    fn append_or_owe(&mut self, lines: &[Line]) -> Result<(), Fault> {
        self.append(lines)
    }
    fn sync_journal(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}
