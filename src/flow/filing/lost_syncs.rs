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
