//! Disks that stop after some operations, or that can only link.

use super::*;

/// The real disk, until it is cut off.
pub(super) struct CutOff<'a, 'disk> {
    pub disk: &'a mut RealDisk<'disk>,
    /// How many operations are still to be carried out.
    pub left: usize,
    /// How many were.
    pub done: usize,
}

impl CutOff<'_, '_> {
    fn take<T>(
        &mut self,
        operation: impl FnOnce(&mut dyn Disk) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.left == 0 {
            return Err(Fault::new(FaultKind::Stopped, "it is cut off"));
        }
        self.left -= 1;
        self.done += 1;
        operation(self.disk)
    }
}

impl Disk for CutOff<'_, '_> {
    fn look(&mut self, at: &Place) -> Result<Entry, Fault> {
        self.take(|disk| disk.look(at))
    }
    fn same_device(&mut self, one: &Place, other: &Place) -> Result<bool, Fault> {
        self.take(|disk| disk.same_device(one, other))
    }
    fn digest(&mut self, at: &Place) -> Result<[u8; 32], Fault> {
        self.take(|disk| disk.digest(at))
    }
    fn rename(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        self.take(|disk| disk.rename(from, to))
    }
    fn link(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        self.take(|disk| disk.link(from, to))
    }
    fn reserve(&mut self, at: &Place) -> Result<Look, Fault> {
        self.take(|disk| disk.reserve(at))
    }
    fn rename_over(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        self.take(|disk| disk.rename_over(from, to))
    }
    fn remove(&mut self, at: &Place) -> Result<(), Fault> {
        self.take(|disk| disk.remove(at))
    }
    fn copy(&mut self, from: &Place, draft: &Place) -> Result<Copied, Fault> {
        self.take(|disk| disk.copy(from, draft))
    }
    fn write_beside(&mut self, at: &Place, text: &[u8], like: &Place) -> Result<(), Fault> {
        self.take(|disk| disk.write_beside(at, text, like))
    }
    fn make_folder(&mut self, folder: &Place) -> Result<(), Fault> {
        self.take(|disk| disk.make_folder(folder))
    }
    fn sync_folder(&mut self, folder: &Place) -> Result<(), Fault> {
        self.take(|disk| disk.sync_folder(folder))
    }
    fn append(&mut self, lines: &[Line]) -> Result<(), Fault> {
        self.take(|disk| disk.append(lines))
    }
    fn note_kept(&mut self, kept: &[Kept]) {
        self.disk.note_kept(kept);
    }

    fn append_or_owe(&mut self, lines: &[Line]) -> Result<(), Fault> {
        self.take(|disk| disk.append_or_owe(lines))
    }
    fn sync_journal(&mut self) -> Result<(), Fault> {
        self.take(|disk| disk.sync_journal())
    }
}

/// A disk without renames that replace nothing, on which a writer comes in between.
pub(super) struct WithLinks<'a, 'disk, W> {
    pub disk: CutOff<'a, 'disk>,
    /// Called before a rename and after a link.
    pub writer: W,
}

impl<W: FnMut(Moment)> Disk for WithLinks<'_, '_, W> {
    fn rename(&mut self, _: &Place, _: &Place) -> Result<(), Fault> {
        Err(Fault::new(
            FaultKind::Unsupported,
            "there is no such rename",
        ))
    }
    fn link(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        self.disk.link(from, to)?;
        (self.writer)(Moment::AfterLink);
        Ok(())
    }
    fn rename_over(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        (self.writer)(Moment::BeforeRename);
        self.disk.rename_over(from, to)
    }
    fn look(&mut self, at: &Place) -> Result<Entry, Fault> {
        self.disk.look(at)
    }
    fn same_device(&mut self, one: &Place, other: &Place) -> Result<bool, Fault> {
        self.disk.same_device(one, other)
    }
    fn digest(&mut self, at: &Place) -> Result<[u8; 32], Fault> {
        self.disk.digest(at)
    }
    fn reserve(&mut self, at: &Place) -> Result<Look, Fault> {
        self.disk.reserve(at)
    }
    fn remove(&mut self, at: &Place) -> Result<(), Fault> {
        self.disk.remove(at)
    }
    fn copy(&mut self, from: &Place, draft: &Place) -> Result<Copied, Fault> {
        self.disk.copy(from, draft)
    }
    fn write_beside(&mut self, at: &Place, text: &[u8], like: &Place) -> Result<(), Fault> {
        self.disk.write_beside(at, text, like)
    }
    fn make_folder(&mut self, folder: &Place) -> Result<(), Fault> {
        self.disk.make_folder(folder)
    }
    fn sync_folder(&mut self, folder: &Place) -> Result<(), Fault> {
        self.disk.sync_folder(folder)
    }
    fn append(&mut self, lines: &[Line]) -> Result<(), Fault> {
        self.disk.append(lines)
    }
    fn note_kept(&mut self, kept: &[Kept]) {
        self.disk.note_kept(kept);
    }
    fn append_or_owe(&mut self, lines: &[Line]) -> Result<(), Fault> {
        self.disk.append_or_owe(lines)
    }
    fn sync_journal(&mut self) -> Result<(), Fault> {
        self.disk.sync_journal()
    }
}
