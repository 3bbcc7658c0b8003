//! The real disk, with something that comes before each of its operations.

use super::*;
use crate::flow::filing::disk::{Operation, Side};

/// The real disk; `before` is called before each operation, and may refuse it. It is told which one it is,
/// but for those of which no test has to know more than that they are carried out.
pub(super) struct Scripted<'a, 'disk, B> {
    pub(super) disk: &'a mut RealDisk<'disk>,
    pub(super) before: B,
}

/// The real disk; `before` is called before each operation that tests tell from others.
pub(super) fn scripted<'a, 'disk>(
    disk: &'a mut RealDisk<'disk>,
    mut before: impl FnMut(&Operation) -> Result<(), Fault>,
) -> Scripted<'a, 'disk, impl FnMut(Option<&Operation>) -> Result<(), Fault>> {
    let before = move |operation: Option<&Operation>| operation.map_or(Ok(()), &mut before);
    Scripted { disk, before }
}

impl<B: FnMut(Option<&Operation>) -> Result<(), Fault>> Disk for Scripted<'_, '_, B> {
    fn look(&mut self, at: &Place) -> Result<Entry, Fault> {
        (self.before)(Some(&Operation::Look(at.clone())))?;
        self.disk.look(at)
    }
    fn same_device(&mut self, one: &Place, other: &Place) -> Result<bool, Fault> {
        (self.before)(None)?;
        self.disk.same_device(one, other)
    }
    fn digest(&mut self, at: &Place) -> Result<[u8; 32], Fault> {
        (self.before)(Some(&Operation::Digest(at.clone())))?;
        self.disk.digest(at)
    }
    fn rename(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        (self.before)(Some(&Operation::Rename(from.clone(), to.clone())))?;
        self.disk.rename(from, to)
    }
    fn link(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        (self.before)(Some(&Operation::Link(from.clone(), to.clone())))?;
        self.disk.link(from, to)
    }
    fn reserve(&mut self, at: &Place) -> Result<Look, Fault> {
        (self.before)(Some(&Operation::Reserve(at.clone())))?;
        self.disk.reserve(at)
    }
    fn rename_over(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        (self.before)(Some(&Operation::RenameOver(from.clone(), to.clone())))?;
        self.disk.rename_over(from, to)
    }
    fn remove(&mut self, at: &Place) -> Result<(), Fault> {
        (self.before)(Some(&Operation::Remove(at.clone())))?;
        self.disk.remove(at)
    }
    fn copy(&mut self, from: &Place, draft: &Place) -> Result<Copied, Fault> {
        (self.before)(Some(&Operation::Copy(from.clone(), draft.clone())))?;
        self.disk.copy(from, draft)
    }
    fn write_beside(&mut self, at: &Place, text: &[u8], like: &Place) -> Result<(), Fault> {
        (self.before)(None)?;
        self.disk.write_beside(at, text, like)
    }
    fn make_folder(&mut self, folder: &Place) -> Result<(), Fault> {
        (self.before)(None)?;
        self.disk.make_folder(folder)
    }
    fn sync_folder(&mut self, folder: &Place) -> Result<(), Fault> {
        // Which side of a move it is, the disk is not told.
        let operation = Operation::SyncFolder(Side::Target, folder.clone());
        (self.before)(Some(&operation))?;
        self.disk.sync_folder(folder)
    }
    fn append(&mut self, lines: &[Line]) -> Result<(), Fault> {
        (self.before)(None)?;
        self.disk.append(lines)
    }
    fn note_kept(&mut self, kept: &[Kept]) {
        self.disk.note_kept(kept);
    }
    fn append_or_owe(&mut self, lines: &[Line]) -> Result<(), Fault> {
        (self.before)(None)?;
        self.disk.append_or_owe(lines)
    }
    fn sync_journal(&mut self) -> Result<(), Fault> {
        (self.before)(None)?;
        self.disk.sync_journal()
    }
}
