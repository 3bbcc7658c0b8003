//! What stands in a journal about single files, for people who ask.

use std::collections::{BTreeMap, BTreeSet};

use super::files::{FOLDER, open_all};
use super::lines::each_line;
use crate::flow::file::{Rel, Stamp};
use crate::flow::journal::{Entry, Event};
use crate::io::dir::Dir;

/// What the journal in the folder `state` says of `paths`, the oldest first: when (as its lines say it),
/// of which version, what. Without the lock: what is being written is passed over, and so is what
/// cannot be read.
pub fn history_of(
    state: &Dir,
    paths: &BTreeSet<Rel>,
) -> BTreeMap<Rel, Vec<(String, Stamp, Event)>> {
    let mut history: BTreeMap<Rel, Vec<(String, Stamp, Event)>> = BTreeMap::new();
    let folder = state.folder(&Rel::new(FOLDER));
    let Ok((files, _)) = folder.and_then(|folder| open_all(&folder)) else {
        return history;
    };
    for old in files {
        // A file that cannot be read says nothing.
        let _ = each_line(&old.file, u64::MAX, |line| {
            if let Some((at, entry)) = Entry::read(line.strip_suffix(b"\n").unwrap_or(line), paths)
            {
                let of = history.entry(entry.path).or_default();
                of.push((at, entry.stamp, entry.event));
            }
            Ok(())
        });
    }
    history
}
