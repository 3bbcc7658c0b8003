//! TRACK: the folders and what is known of the files in them.
//!
//! A file is either *at rest* (delivered and kept in place: its name and its stamp in its
//! folder's [`Listing`], nothing else) or *in motion* (it has a number, and the engine
//! has a record of it). [`Tree::merge`] takes a new listing of one folder and says what is
//! new, seen again and missing; what is at rest and unchanged costs a comparison.
//!
//! Invariants:
//! - A name is at rest, in motion, or away (was at rest and is missing), never two of these.
//! - Only the complete listing of a folder makes anything in it missing. A folder that could
//!   not be listed is left as it was, with all that is below it.
//! - What was filed away while a scan was under way may still stand in that scan's listing:
//!   it is passed over there, and what stands in the next scan's is new.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::file::{Look, Rel, Stamp};
use super::gate::FileNo;
use super::job::Content;
use super::listing::{Listing, Pair, merge};
use super::time::Wall;

/// All folders, by their paths.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    folders: BTreeMap<Rel, Folder>,
}

#[derive(Clone, Debug, Default)]
struct Folder {
    rest: Listing,
    /// What came to rest since the last listing, to be merged into `rest` by the next one.
    rested: BTreeMap<Box<[u8]>, Stamp>,
    moving: BTreeMap<Box<[u8]>, FileNo>,
    /// What was at rest and is missing, and since when.
    away: BTreeMap<Box<[u8]>, (Stamp, Wall)>,
    /// What was filed away, with the number of the scan that was under way.
    left: BTreeMap<Box<[u8]>, u64>,
    /// Names of the folders in it, sorted.
    folders: Vec<Vec<u8>>,
}

/// What a listing says of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    New { name: Box<[u8]>, look: Look, marker: Option<Look> },
    Seen { file: FileNo, look: Look, marker: Option<Look> },
    Missing { file: FileNo },
}

impl Tree {
    /// Merges the complete listing of `path`, taken by scan number `scan`.
    pub fn merge(&mut self, path: &Rel, content: Content, scan: u64, wall: Wall) -> Vec<Event> {
        let mut events = Vec::new();
        let kept = self.drop_folders(path, &content.folders, &mut events);
        let folder = self.folders.entry(path.clone()).or_default();
        folder.folders = content.folders;
        folder.folders.extend(kept);
        folder.folders.sort_unstable();

        let marker_of = |name: &[u8]| {
            content.markers.binary_search_by(|(own, _)| own.as_slice().cmp(name)).ok().map(|at| content.markers[at].1)
        };
        let mut resting = Vec::new();
        let mut missing_rest = Vec::new();
        // Whether `rest` is right as it stands: the usual case, in which nothing is built.
        let mut intact = folder.rested.is_empty();
        for pair in merge(&folder.rest, &content.files) {
            let (at, rested) = match pair {
                Pair::Old(old) => {
                    missing_rest.push(old);
                    continue;
                }
                Pair::New(new) => (new, None),
                Pair::Both(old, new) => (new, Some(folder.rest.stamp(old))),
            };
            let (name, look) = (content.files.name(at), content.looks[at]);
            let known = resting.len();
            if let Some(&file) = folder.moving.get(name) {
                events.push(Event::Seen { file, look, marker: marker_of(name) });
            } else if folder.left.get(name).is_some_and(|&left| left >= scan) {
                // Listed before it was filed away.
            } else if folder.is_known(rested, name, look.stamp) {
                resting.push(at);
            } else {
                events.push(Event::New { name: name.into(), look, marker: marker_of(name) });
            }
            intact &= rested.is_some() == (resting.len() > known);
        }
        intact &= missing_rest.is_empty();
        for (name, &file) in &folder.moving {
            if content.files.find(name).is_none() {
                events.push(Event::Missing { file });
            }
        }
        if !intact {
            folder.rebuild_rest(&content.files, &resting, &missing_rest, wall);
        }
        folder.left.retain(|_, left| *left >= scan);
        events
    }

    /// Forgets folders in `path` that are no longer listed, with all that is below them. Gives
    /// those of which something is still known: they are for a later listing to forget.
    fn drop_folders(&mut self, path: &Rel, now_there: &[Vec<u8>], events: &mut Vec<Event>) -> Vec<Vec<u8>> {
        let Some(known) = self.folders.get(path) else { return Vec::new() };
        let mut gone: Vec<Vec<u8>> = known.folders.clone();
        gone.retain(|name| now_there.binary_search(name).is_err());
        gone.retain(|name| {
            let mut kept = false;
            for below in self.subtree(&path.join(name)) {
                let node = self.folders.get_mut(&below).expect("it was just listed");
                events.extend(node.moving.values().map(|&file| Event::Missing { file }));
                // Delivered files in a folder that is missing stay known like any others.
                if node.is_forgettable() {
                    self.folders.remove(&below);
                } else {
                    kept = true;
                }
            }
            kept
        });
        gone
    }

    fn subtree(&self, folder: &Rel) -> Vec<Rel> {
        // Everything below `a/b` lies between `a/b/` and `a/b0`, for `0` follows `/`.
        let edge = |end: u8| Rel::new(&[folder.as_bytes(), &[end]].concat());
        let below = (Bound::Included(edge(b'/')), Bound::Excluded(edge(b'0')));
        let mut all: Vec<Rel> = self.folders.range(below).map(|(path, _)| path.clone()).collect();
        all.extend(self.folders.contains_key(folder).then(|| folder.clone()));
        all
    }

    /// `path` is in motion from now on, as number `file`.
    pub fn set_moving(&mut self, path: &Rel, file: FileNo) {
        let folder = self.folders.entry(path.parent()).or_default();
        folder.rested.remove(path.name());
        folder.moving.insert(path.name().into(), file);
    }

    /// `path` is no longer in motion, and nothing is known of it.
    pub fn forget(&mut self, path: &Rel) {
        if let Some(folder) = self.folders.get_mut(&path.parent()) {
            folder.moving.remove(path.name());
        }
    }

    /// `path` was filed away. `scan` is the scan under way, if one is.
    pub fn set_left(&mut self, path: &Rel, scan: Option<u64>) {
        self.forget(path);
        if let (Some(folder), Some(scan)) = (self.folders.get_mut(&path.parent()), scan) {
            folder.left.insert(path.name().into(), scan);
        }
    }

    /// `path` is delivered and stays where it is.
    pub fn set_resting(&mut self, path: &Rel, stamp: Stamp) {
        let folder = self.folders.entry(path.parent()).or_default();
        folder.moving.remove(path.name());
        folder.away.remove(path.name());
        folder.rested.insert(path.name().into(), stamp);
    }

    /// Forgets what has been missing since before `moment`.
    pub fn forget_away_since(&mut self, moment: Wall) {
        for folder in self.folders.values_mut() {
            folder.away.retain(|_, (_, since)| *since > moment);
        }
    }

    /// How many files are at rest.
    pub fn resting(&self) -> usize {
        self.folders.values().map(|folder| folder.rest.len() + folder.rested.len()).sum()
    }
}

impl Folder {
    /// Whether this version was delivered before.
    fn is_known(&self, rested: Option<Stamp>, name: &[u8], stamp: Stamp) -> bool {
        // What came to rest last counts: `rest` may still hold the version before it.
        let last = self.rested.get(name).copied().or(rested).or_else(|| self.away.get(name).map(|(stamp, _)| *stamp));
        last == Some(stamp)
    }

    /// Takes over what is at rest by the new listing.
    fn rebuild_rest(&mut self, files: &Listing, resting: &[usize], missing: &[usize], wall: Wall) {
        for &old in missing {
            self.away.entry(self.rest.name(old).into()).or_insert((self.rest.stamp(old), wall));
        }
        for (name, stamp) in std::mem::take(&mut self.rested) {
            match files.find(&name) {
                None => {
                    self.away.insert(name, (stamp, wall));
                }
                Some(_) => {
                    self.away.remove(&name);
                }
            }
        }
        let mut rest = Listing::new();
        for &at in resting {
            rest.push(files.name(at), files.stamp(at));
            self.away.remove(files.name(at));
        }
        rest.shrink();
        self.rest = rest;
    }

    fn is_forgettable(&mut self) -> bool {
        self.rest.is_empty() && self.rested.is_empty() && self.away.is_empty() && self.moving.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(size: u64) -> Look {
        Look { stamp: Stamp { size, mtime: Wall(1) }, ..Look::default() }
    }

    fn content(files: &[(&str, u64)], folders: &[&str]) -> Content {
        let mut content = Content::default();
        for &(name, size) in files {
            content.files.push(name.as_bytes(), look(size).stamp);
            content.looks.push(look(size));
        }
        content.folders = folders.iter().map(|name| name.as_bytes().to_vec()).collect();
        content
    }

    fn new(name: &str, size: u64) -> Event {
        Event::New { name: name.as_bytes().into(), look: look(size), marker: None }
    }

    const NOW: Wall = Wall(1_000);

    #[test]
    fn nothing_is_left_of_a_folder_that_went_with_files_in_motion() {
        let mut tree = Tree::default();
        let (root, path) = (Rel::root(), Rel::new(b"a/b/f"));
        tree.merge(&root, content(&[], &["a"]), 1, NOW);
        tree.merge(&Rel::new(b"a"), content(&[], &["b"]), 1, NOW);
        tree.merge(&Rel::new(b"a/b"), content(&[("f", 1)], &[]), 1, NOW);
        tree.set_moving(&path, 7);
        assert_eq!(tree.merge(&root, content(&[], &[]), 2, NOW), [Event::Missing { file: 7 }]);
        tree.forget(&path);
        tree.merge(&root, content(&[], &[]), 3, NOW);
        assert_eq!(tree.folders.keys().collect::<Vec<_>>(), [&root]);
    }

    #[test]
    fn a_file_is_new_once_then_seen_then_missing() {
        let mut tree = Tree::default();
        let root = Rel::root();
        assert_eq!(tree.merge(&root, content(&[("a", 1)], &[]), 1, NOW), [new("a", 1)]);
        tree.set_moving(&Rel::new(b"a"), 7);
        let seen = Event::Seen { file: 7, look: look(2), marker: None };
        assert_eq!(tree.merge(&root, content(&[("a", 2)], &[]), 2, NOW), [seen]);
        assert_eq!(tree.merge(&root, content(&[], &[]), 3, NOW), [Event::Missing { file: 7 }]);
    }

    #[test]
    fn a_kept_file_is_silent_until_it_changes_and_stays_known_while_it_is_away() {
        let mut tree = Tree::default();
        let root = Rel::root();
        tree.set_resting(&Rel::new(b"a"), look(1).stamp);
        for scan in 1..4 {
            assert_eq!(tree.merge(&root, content(&[("a", 1)], &[]), scan, NOW), []);
        }
        assert_eq!(tree.merge(&root, content(&[], &[]), 4, NOW), []);
        assert_eq!(tree.merge(&root, content(&[("a", 1)], &[]), 5, NOW), []);
        assert_eq!(tree.merge(&root, content(&[("a", 2)], &[]), 6, NOW), [new("a", 2)]);
        tree.set_moving(&Rel::new(b"a"), 1);
        tree.set_resting(&Rel::new(b"a"), look(2).stamp);
        assert_eq!(tree.merge(&root, content(&[("a", 2)], &[]), 7, NOW), []);
        assert_eq!(tree.merge(&root, content(&[], &[]), 8, NOW), []);
        tree.forget_away_since(Wall(2_000));
        assert_eq!(tree.merge(&root, content(&[("a", 2)], &[]), 9, NOW), [new("a", 2)]);
    }

    #[test]
    fn a_listing_from_before_a_file_was_filed_does_not_bring_it_back_but_the_next_one_does() {
        let mut tree = Tree::default();
        let root = Rel::root();
        tree.merge(&root, content(&[("a", 1)], &[]), 1, NOW);
        tree.set_moving(&Rel::new(b"a"), 7);
        tree.set_left(&Rel::new(b"a"), Some(2));
        assert_eq!(tree.merge(&root, content(&[("a", 1)], &[]), 2, NOW), []);
        assert_eq!(tree.merge(&root, content(&[("a", 1)], &[]), 3, NOW), [new("a", 1)]);
    }

    #[test]
    fn a_folder_that_is_gone_takes_what_is_below_it_along_and_no_neighbour() {
        let mut tree = Tree::default();
        tree.merge(&Rel::root(), content(&[], &["d", "d-e"]), 1, NOW);
        tree.merge(&Rel::new(b"d"), content(&[], &["x"]), 1, NOW);
        for (file, path) in [(1, "d/x/f"), (2, "d/f"), (3, "d-e/f")] {
            tree.set_moving(&Rel::new(path.as_bytes()), file);
        }
        let events = tree.merge(&Rel::root(), content(&[], &["d-e"]), 2, NOW);
        assert_eq!(events, [Event::Missing { file: 1 }, Event::Missing { file: 2 }]);
    }

    #[test]
    fn a_marker_comes_with_its_file() {
        let mut tree = Tree::default();
        let mut listed = content(&[("a", 1), ("b", 1)], &[]);
        listed.markers.push((b"b".to_vec(), look(0)));
        let events = tree.merge(&Rel::root(), listed, 1, NOW);
        assert_eq!(events[1], Event::New { name: (*b"b").into(), look: look(1), marker: Some(look(0)) });
        assert_eq!(events[0], new("a", 1));
    }
}
