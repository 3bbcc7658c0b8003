//! What is known from before: of files that were not seen yet, of dead letters that had to stay, of
//! markers that were used, of retries; and when all of it is written down again.
//!
//! Invariants:
//! - What an earlier process knew of a file is used once, for the version that it is about.
//! - What it knew of files in a folder is dropped when that folder was listed without them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::flow::file::{FileNo, Rel, Stamp};
use crate::flow::marker::MarkerRule;
use crate::flow::memory::{self, Used};
use crate::flow::messages::Content;
use crate::flow::time::Mono;

/// What was learned is written down so long after it was learned.
const SAVE_AFTER: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What an earlier process knew of files that were not seen yet, by folder.
    recalled: BTreeMap<Rel, BTreeMap<Rel, memory::File>>,
    /// Condemned, copied to dead-letter, and still at their places; with the keys they had.
    copied: BTreeMap<Rel, (Stamp, String)>,
    /// With a marker and `keep`: the marker that vouched for what was delivered last.
    used_markers: BTreeMap<Rel, Used>,
    /// By folder and name: the marker that vouched for a version that has left its place, and that
    /// stays there for other files.
    left_markers: BTreeMap<Rel, BTreeMap<Box<[u8]>, Used>>,
    /// Of markers that vouch for several files: which of these takes it along.
    takers: BTreeMap<Rel, FileNo>,
    /// Where another version was seen that has no record yet, since the one before it has left.
    nexts: Vec<Rel>,
    /// The numbers of the keys of what was taken out of dead-letter.
    retries: BTreeMap<(Rel, Stamp), u32>,
    /// Further versions that an earlier process had to file from a name that the tree knows as
    /// another one's. Which of them lies there is known when their filings come back.
    same_name: BTreeMap<Rel, Vec<FileNo>>,
    save_at: Option<Mono>,
    /// One file that waits after a failure of its own may go at once: somebody has started this.
    pub hurried: bool,
    /// It was said that there are folders whose files have no mtime.
    pub timeless: bool,
}

/// Whose a name is that one version has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameOf {
    /// What is listed there next is new.
    Nobody,
    /// This version is to be filed from there, too.
    Other(FileNo),
    /// It was never the tree's.
    AsBefore,
}

impl Known {
    // ---- what an earlier process knew -----------------------------------------------

    /// Takes over what an earlier process knew.
    pub fn recall(&mut self, files: impl IntoIterator<Item = memory::File>) {
        for file in files {
            let folder = self.recalled.entry(file.path.parent()).or_default();
            folder.insert(file.path.clone(), file);
        }
    }

    /// What it knew of `path`, which is seen for the first time.
    pub fn take(&mut self, path: &Rel) -> Option<memory::File> {
        if self.recalled.is_empty() {
            return None;
        }
        self.recalled.get_mut(&path.parent())?.remove(path)
    }

    /// What it knew of files in `folder`.
    pub fn recalled_in(&self, folder: &Rel) -> Vec<Rel> {
        let files = self.recalled.get(folder);
        files.map_or_else(Vec::new, |files| files.keys().cloned().collect())
    }

    /// Whether it knew of any file in `folder`.
    pub fn recalls_in(&self, folder: &Rel) -> bool {
        self.recalled.contains_key(folder)
    }

    /// `folder` was listed: what was known of it and was not taken is not there.
    pub fn listed(&mut self, folder: &Rel) {
        self.recalled.remove(folder);
        self.nexts.retain(|path| path.parent() != *folder);
    }

    /// `path` was left by a version beside which another one was seen: the next listing shows that.
    pub fn has_next(&mut self, path: Rel) {
        self.nexts.push(path);
    }

    /// Whether such a version has the marker of `path` as well.
    pub fn shares_marker_with_next(&self, path: &Rel, rule: &MarkerRule) -> bool {
        let marker = rule.path_of(path);
        let mut nexts = self.nexts.iter();
        nexts.any(|next| next != path && rule.path_of(next) == marker)
    }

    /// Everything was listed.
    pub fn all_listed(&mut self) {
        self.recalled.clear();
    }

    /// What was known and was not seen yet.
    pub fn unseen(&self) -> impl Iterator<Item = &memory::File> {
        self.recalled.values().flat_map(BTreeMap::values)
    }

    // ---- several versions of one name -----------------------------------------------

    /// `file` is to be filed from `path`, which the tree knows as another version's.
    pub fn share_name(&mut self, path: Rel, file: FileNo) {
        self.same_name.entry(path).or_default().push(file);
    }

    /// Whether several versions are to be filed from `path`.
    pub fn is_name_shared(&self, path: &Rel) -> bool {
        self.same_name.contains_key(path)
    }

    /// Whether `file` is to be filed from `path`, though the tree knows that as another's.
    pub fn shares_name(&self, path: &Rel, file: FileNo) -> bool {
        self.same_name
            .get(path)
            .is_some_and(|files| files.contains(&file))
    }

    /// `file` is no longer to be filed from `path`. Gives whose the name is now.
    pub fn release_name(&mut self, path: &Rel, file: FileNo) -> NameOf {
        let Some(others) = self.same_name.get_mut(path) else {
            return NameOf::Nobody;
        };
        let now = match others.iter().position(|&other| other == file) {
            Some(at) => {
                others.remove(at);
                NameOf::AsBefore
            }
            None => others.pop().map_or(NameOf::Nobody, NameOf::Other),
        };
        if others.is_empty() {
            self.same_name.remove(path);
        }
        now
    }

    // ---- what stays at its place ----------------------------------------------------

    /// The marker that vouched for the version of `path` that was dealt with last, and so does not for
    /// `version`, if that is another one.
    pub fn used(&self, path: &Rel, version: Stamp) -> Option<Used> {
        let kept = self.used_markers.get(path);
        let used = kept.or_else(|| {
            let left = self.left_markers.get(&path.parent())?;
            left.get(path.name())
        });
        used.filter(|used| used.version != version).copied()
    }

    /// The stamp of [`Known::used`].
    pub fn used_marker(&self, path: &Rel, version: Stamp) -> Option<Stamp> {
        self.used(path, version).map(|used| used.marker)
    }

    /// A version of `path` leaves its place, and its marker stays there for other files.
    pub fn leaves_marker(&mut self, path: &Rel, used: Used) {
        let left = self.left_markers.entry(path.parent()).or_default();
        left.insert(path.name().into(), used);
    }

    /// Filing `file` takes the marker at `path` along, from now on until it is filed.
    pub fn takes_marker(&mut self, path: Rel, file: FileNo) {
        self.takers.insert(path, file);
    }

    /// The file that the marker at `path` goes along with.
    pub fn marker_taker(&self, path: &Rel) -> Option<FileNo> {
        self.takers.get(path).copied()
    }

    /// Filing `file` does not take the marker at `path` along any more, if it ever did.
    pub fn leaves_marker_alone(&mut self, path: &Rel, file: FileNo) {
        if self.takers.get(path) == Some(&file) {
            self.takers.remove(path);
        }
    }

    /// For the next process: the markers that stay and have vouched for what has left.
    pub fn left_markers(&self) -> Vec<memory::UsedMarker> {
        let folders = self.left_markers.iter();
        let all = folders.flat_map(|(folder, left)| {
            left.iter().map(|(name, used)| memory::UsedMarker {
                path: folder.join(name),
                version: used.version,
                marker: used.marker,
            })
        });
        all.collect()
    }

    /// `folder` was listed, with these markers: what has left is forgotten with its marker, and not as long
    /// as that lies there, be it alone. They are called by `rule`.
    pub fn markers_listed(&mut self, folder: &Rel, content: &Content, rule: &MarkerRule) {
        let Some(left) = self.left_markers.get_mut(folder) else {
            return;
        };
        let Content {
            markers,
            markers_alone,
            ..
        } = content;
        left.retain(|name, used| {
            let subject = rule.subject(name);
            let mut beside = rule.files_of(subject, markers.from(subject));
            let alone = markers_alone.get(subject);
            beside.any(|(at, _)| markers.value(at).stamp == used.marker)
                || alone.is_some_and(|alone| alone.stamp == used.marker)
        });
        if left.is_empty() {
            self.left_markers.remove(folder);
        }
    }

    /// `stamp` of `path` is delivered or condemned, with `marker`, and stays where it is.
    pub fn rests(&mut self, path: &Rel, stamp: Stamp, marker: Option<Stamp>) {
        // A retry of another version, which dead-letter has a copy of, is none of this one.
        if self
            .copied
            .get(path)
            .is_some_and(|(copied, _)| *copied != stamp)
        {
            self.copied.remove(path);
        }
        if let Some(marker) = marker {
            let version = stamp;
            self.used_markers
                .insert(path.clone(), Used { marker, version });
        }
    }

    /// Dead-letter has a copy of `stamp` of `path`, which was condemned under `key`.
    pub fn copied(&mut self, path: Rel, stamp: Stamp, key: String) {
        self.copied.insert(path, (stamp, key));
    }

    /// `path` has been missing for too long.
    pub fn forget(&mut self, path: &Rel) {
        self.copied.remove(path);
        self.used_markers.remove(path);
    }

    // ---- retries from dead-letter ---------------------------------------------------

    /// All versions that were ever taken out of dead-letter, with the numbers of their keys.
    pub fn set_retries(&mut self, retries: Vec<(Rel, Stamp, u32)>) {
        self.retries = retries
            .into_iter()
            .map(|(path, stamp, retry)| ((path, stamp), retry))
            .collect();
    }

    /// The number of the key of this version; 0 for one that was never taken out of dead-letter.
    pub fn retry(&self, path: &Rel, stamp: Stamp) -> u32 {
        if self.retries.is_empty() {
            return 0;
        }
        let retry = self.retries.get(&(path.clone(), stamp));
        retry.copied().unwrap_or(0)
    }

    /// Takes out the copied files whose key is another one now: they were retried. `key_of` makes
    /// the key of a version from the number of its retry.
    pub fn take_retried(&mut self, key_of: impl Fn(&Rel, Stamp, u32) -> String) -> Vec<Rel> {
        let is_retried = |path: &Rel, stamp: Stamp, old: &str| {
            key_of(path, stamp, self.retry(path, stamp)) != old
        };
        let retried: Vec<Rel> = self
            .copied
            .iter()
            .filter(|(path, (stamp, old))| is_retried(path, *stamp, old))
            .map(|(path, _)| path.clone())
            .collect();
        for path in &retried {
            self.copied.remove(path);
        }
        retried
    }

    // ---- when it is written down ----------------------------------------------------

    /// Something was learned that the next process should know.
    pub fn learned(&mut self, now: Mono) {
        self.save_at.get_or_insert(now + SAVE_AFTER);
    }

    /// It has been written down.
    pub fn saved(&mut self) {
        self.save_at = None;
    }

    /// It cannot be written down now, and is tried later.
    pub fn postpone(&mut self, now: Mono) {
        self.save_at = Some(now + SAVE_AFTER);
    }

    /// When it is written down.
    pub fn save_at(&self) -> Option<Mono> {
        self.save_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::memory::Learned;
    use crate::flow::settle::StabilityMemory;
    use crate::flow::time::Wall;

    fn stamp(size: u64) -> Stamp {
        Stamp {
            size,
            mtime: Wall(1),
        }
    }

    fn file(path: &str) -> memory::File {
        memory::File {
            path: Rel::new(path.as_bytes()),
            stamp: stamp(1),
            still: StabilityMemory {
                since: Mono(0),
                suspicions: Default::default(),
            },
            learned: Learned::default(),
            at_gate: Default::default(),
        }
    }

    #[test]
    fn what_was_known_is_taken_once_and_dropped_with_the_listing_of_its_folder() {
        let mut known = Known::default();
        known.recall(vec![file("a"), file("d/b"), file("d/c")]);
        assert!(known.take(&Rel::new(b"d/b")).is_some());
        assert!(known.take(&Rel::new(b"d/b")).is_none());
        known.listed(&Rel::new(b"d"));
        let unseen: Vec<String> = known.unseen().map(|file| file.path.to_string()).collect();
        assert_eq!(unseen, ["a"]);
        known.all_listed();
        assert_eq!(known.unseen().count(), 0);
    }

    #[test]
    fn a_copied_version_is_retried_once_and_not_for_another_one() {
        let path = Rel::new(b"a");
        let key_of = |_: &Rel, _: Stamp, retry: u32| retry.to_string();
        let mut known = Known::default();
        known.copied(path.clone(), stamp(1), "0".into());
        assert!(known.take_retried(key_of).is_empty());
        known.set_retries(vec![(path.clone(), stamp(1), 1)]);
        assert_eq!(known.take_retried(key_of), std::slice::from_ref(&path));
        assert!(known.take_retried(key_of).is_empty());
        // The next version was delivered meanwhile.
        known.copied(path.clone(), stamp(1), "0".into());
        known.rests(&path, stamp(2), None);
        assert!(known.take_retried(key_of).is_empty());
    }

    #[test]
    fn it_is_written_down_a_while_after_the_first_thing_that_was_learned() {
        let mut known = Known::default();
        known.learned(Mono(0));
        known.learned(Mono(9_000));
        assert_eq!(known.save_at(), Some(Mono(30_000)));
        known.postpone(Mono(30_000));
        assert_eq!(known.save_at(), Some(Mono(60_000)));
        known.saved();
        assert_eq!(known.save_at(), None);
    }
}
