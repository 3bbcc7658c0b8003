//! Fsyncs of folders that have failed for one machine, and concern others.
//!
//! That an fsync has failed is said once, to whoever has asked for it; the next one of the same folder may
//! succeed, though what the first one has lost will never be on the disk (fsync(2): errors are reported
//! once for each open file description; the pages count as clean from then on). One machine of a batch
//! may bring a folder onto the disk in which others have changed names: if that fails, none of these
//! may believe a later one, or it would remove the last copy of a file whose new name a power cut takes.

use std::collections::{BTreeMap, BTreeSet};

use super::Place;
use super::disk::{Fault, Operation};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LostSyncs {
    /// In which folder which machine has changed a name since the last fsync that succeeded.
    changed: BTreeSet<(Place, usize)>,
    /// Those of them for which an fsync has failed since.
    lost: BTreeMap<(Place, usize), Fault>,
}

impl LostSyncs {
    /// This machine has this carried out.
    pub fn changes(&mut self, number: usize, operation: &Operation) {
        let names = operation.changed_names();
        let folders = names.map(|name| (name.folder(), number));
        self.changed.extend(folders);
    }

    /// An fsync of `folder` has succeeded or failed, whoever has asked for it.
    pub fn synced(&mut self, folder: &Place, result: &Result<(), Fault>) {
        let changed = std::mem::take(&mut self.changed);
        let (here, others) = changed.into_iter().partition(|(at, _)| at == folder);
        self.changed = others;
        if let Err(fault) = result {
            let here: BTreeSet<(Place, usize)> = here;
            let lost = here.into_iter().map(|change| (change, fault.clone()));
            self.lost.extend(lost);
        }
    }

    /// What this machine is to be told, which asks for `folder`: `result`, unless one has failed before.
    pub fn told<T>(
        &mut self,
        number: usize,
        folder: &Place,
        result: Result<T, Fault>,
    ) -> Result<T, Fault> {
        match self.lost.remove(&(folder.clone(), number)) {
            Some(before) => result.and(Err(before)),
            None => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::file::Rel;
    use crate::flow::filing::{Area, FaultKind};

    #[test]
    fn a_failed_fsync_is_said_once_to_each_that_had_changed_a_name_there_since_the_last_good_one() {
        let at = |area, name: &[u8]| Place::new(area, Rel::new(name));
        let moves = |name: &[u8]| Operation::Rename(at(Area::Watched, name), at(Area::Done, name));
        let done = at(Area::Done, b"");
        let failed = || Err(Fault::new(FaultKind::Unclear, "EIO"));
        let mut lost = LostSyncs::default();
        lost.changes(0, &moves(b"a"));
        lost.synced(&done, &Ok(()));
        lost.changes(1, &moves(b"b"));
        lost.synced(&done, &failed());
        lost.changes(2, &moves(b"c"));
        lost.synced(&done, &Ok(()));
        let mut told = |number| lost.told(number, &done, Ok(()));
        assert_eq!(told(0), Ok(()), "its name was on the disk before");
        assert_eq!(told(1), failed());
        assert_eq!(told(1), Ok(()), "it has heard of it");
        assert_eq!(told(2), Ok(()), "its name came later");
    }
}
